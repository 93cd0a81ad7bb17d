/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_repair.c - every file of a small repository broken in several ways, and repaired.
 *
 * Nothing is deleted, what can be saved is, what is lost is named, a second repair finds nothing to do, and the next
 * backup of the same things makes the old ones whole again.
 */
#include <config.h>
#include "tests/cm.h"

#include <stdio.h>

#include "base/mem.h"
#include "tests/store/fixture.h"

static const struct fixture_size size = { 2, 3, 3000 };
static bool plain;

struct file {
    char *name;
    struct vb_buf bytes;
};
struct files {
    struct file *f;
    size_t n, cap;
};

static int keep_file(void *arg, const char *name, uint64_t bytes, struct vb_error *err)
{
    struct files *l = arg;
    (void)bytes, (void)err;
    VB_GROW(l->f, l->n, l->cap);
    l->f[l->n++] = (struct file){ .name = vb_strdup(name) };
    return 0;
}

static struct files read_files(struct vb_backend *b)
{
    struct files l = { 0 };
    vb_backend_list(b, "", keep_file, &l, NULL);
    for (size_t i = 0; i < l.n; i++)
        assert_int_equal(vb_backend_read_all(b, l.f[i].name, 1 << 22, &l.f[i].bytes, NULL), 0);
    return l;
}

static void free_files(struct files *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->f[i].name);
        vb_buf_clear(&l->f[i].bytes);
    }
    free(l->f);
}

static struct files sample(void)
{
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(plain ? vb_repo_init_on(b, NULL, FIXTURE_NOW, &err) : fixture_init(b, &err));
    assert_ok(fixture_run(vb_backend_memory_share(b), 1, size, &err));
    assert_ok(fixture_run(vb_backend_memory_share(b), 2, size, &err));
    struct files l = read_files(b);
    vb_backend_close(b);
    return l;
}

enum harm { FLIP_FIRST, FLIP_MIDDLE, FLIP_LAST, HALVE, EMPTY, REMOVE, HARMS };

/* A repository with that harm done to file i. */
static struct vb_backend *harmed(const struct files *l, size_t i, enum harm harm, struct vb_buf *now)
{
    struct vb_backend *b = vb_backend_memory_new();
    for (size_t k = 0; k < l->n; k++) {
        size_t n = l->f[k].bytes.len;
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        vb_buf_add(&bytes, l->f[k].bytes.data, n);
        if (k == i) {
            if (harm == REMOVE)
                continue;
            if (harm <= FLIP_LAST)
                bytes.data[harm == FLIP_FIRST ? 70 % n : harm == FLIP_MIDDLE ? n / 2 : n - 3] ^= 4;
            else
                bytes.len = harm == HALVE ? n / 2 : 0;
            vb_buf_add(now, bytes.data, bytes.len);
        }
        vb_backend_write(b, l->f[k].name, bytes.data ? (const void *)bytes.data : "", bytes.len, NULL);
    }
    vb_backend_barrier(b, NULL);
    return b;
}

static void count(void *arg, enum vb_check_severity severity, const char *object, const char *text)
{
    unsigned *n = arg;
    assert_true(strlen(object) > 0 && strlen(text) > 5);
    n[severity]++;
}

/* 0; 1: it does not open; -1. */
static int repair(struct vb_backend *b, unsigned *findings, uint64_t *mended, struct vb_error *err)
{
    struct vb_repo *r = fixture_open(b, VB_REPO_WRITE, err);
    if (!r)
        return 1;
    int rc = vb_repo_lock(r, FIXTURE_NOW, err);
    if (rc == 0)
        rc = vb_repo_repair(r, mended, count, findings, err);
    vb_repo_close(r);
    return rc;
}

static void check(struct vb_backend *b, unsigned findings[VB_CHECK_MENDED + 1], unsigned *backups, bool *exact)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(b), VB_REPO_READ, &err);
    assert_non_null(r);
    memset(findings, 0, (VB_CHECK_MENDED + 1) * sizeof *findings);
    vb_repo_check(r, true, count, findings, NULL);
    *exact = fixture_verify_all(r, size, backups, &err) == 0;
    if (!*exact)
        assert_int_not_equal(err.code, VB_E_UNEXPECTED);
    vb_repo_close(r);
}

static bool is_kept(struct vb_backend *b, const struct file *was, const struct vb_buf *now)
{
    struct files l = read_files(b);
    bool kept = false;
    for (size_t i = 0; i < l.n && !kept; i++)
        kept = strstr(l.f[i].name, was->name) && l.f[i].bytes.len == now->len &&
               (now->len == 0 || memcmp(l.f[i].bytes.data, now->data, now->len) == 0);
    free_files(&l);
    return kept;
}

static void fail_at(const char *what, const struct file *f, enum harm harm)
{
    fail_msg("%s, harm %d: %s", f->name, (int)harm, what);
}

struct tally {
    unsigned cases, saved, lost;
};

/* After a repair, or several that died. */
static void must_be_in_order(struct vb_backend *b, const struct file *f, enum harm harm, struct tally *t)
{
    unsigned findings[VB_CHECK_MENDED + 1] = { 0 }, backups;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    bool exact, record = strncmp(f->name, "catalog/", 8) == 0;
    uint64_t mended = 0;
    check(b, findings, &backups, &exact);
    if ((findings[VB_CHECK_DAMAGE] > 0) != (findings[VB_CHECK_LOSS] > 0))
        if (!(record && harm == REMOVE)) /* the chain tells of it, for good */
            fail_at("damage that means no loss, or the other way round", f, harm);
    if (exact == (findings[VB_CHECK_LOSS] > 0))
        fail_at("a loss that is none, or an untold one", f, harm);
    if (backups != (record ? 1u : 2u) && exact)
        fail_at("number of backups", f, harm);
    t->cases++;
    t->saved += exact;
    t->lost += !exact;
    if (repair(vb_backend_memory_share(b), findings, &mended, &err) != 0 || mended != 0)
        fail_at("a second repair found something to do", f, harm);
    for (uint64_t seed = 1; seed <= 2; seed++)
        if (fixture_run(vb_backend_memory_share(b), seed, size, &err) < 0)
            fail_at(vb_error_text(&err), f, harm);
    check(b, findings, &backups, &exact);
    if (!exact || (findings[VB_CHECK_DAMAGE] > 0 && !(record && harm == REMOVE)) || backups != (record ? 3u : 4u))
        fail_at("the next backups did not make it whole", f, harm);
}

static void what_is_broken_is_mended_or_named(void **state)
{
    (void)state;
    struct files l = sample();
    struct tally t = { 0 };
    for (size_t i = 0; i < l.n; i++)
        for (int harm = 0; harm < HARMS && strncmp(l.f[i].name, "ledger/", 7) != 0; harm++) { /* that is told, not mended */
            unsigned findings[VB_CHECK_MENDED + 1] = { 0 };
            VB_AUTO_BUF now = VB_BUF_INIT;
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            uint64_t mended = 0;
            struct vb_backend *b = harmed(&l, i, (enum harm)harm, &now);
            int rc = repair(vb_backend_memory_share(b), findings, &mended, &err);
            if (rc < 0)
                fail_at(vb_error_text(&err), &l.f[i], (enum harm)harm);
            if (harm != REMOVE && !is_kept(b, &l.f[i], &now))
                fail_at("was deleted", &l.f[i], (enum harm)harm);
            if (rc == 0 && mended == 0 && !(harm == REMOVE && strncmp(l.f[i].name, "packs/", 6) != 0))
                fail_at("was not noticed", &l.f[i], (enum harm)harm);
            if (rc == 0)
                must_be_in_order(b, &l.f[i], (enum harm)harm, &t);
            vb_backend_close(b);
        }
    printf("# %s: %u cases, %u without a loss, %u with\n", plain ? "without encryption" : "encrypted", t.cases, t.saved, t.lost);
    assert_true(t.saved > 10 && t.lost > 5);
    free_files(&l);
}

/* Dies before, or after, each call; then it is repaired once more. */
static void a_repair_that_dies_is_done_again(void **state)
{
    (void)state;
    struct files l = sample();
    struct tally t = { 0 };
    for (size_t i = 0; i < l.n; i++) {
        if (strncmp(l.f[i].name, "packs/", 6) != 0)
            continue;
        for (unsigned n = 1, died = 1; died; n += 1 + n / 5) {
            unsigned findings[VB_CHECK_MENDED + 1] = { 0 };
            VB_AUTO_BUF now = VB_BUF_INIT;
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            uint64_t mended = 0;
            struct vb_backend *b = harmed(&l, i, FLIP_LAST, &now);
            struct vb_backend *faulty = vb_backend_fault_new(vb_backend_memory_share(b));
            vb_backend_fault_set(faulty, n % 2 ? VB_FAULT_DIE_BEFORE : VB_FAULT_DIE_AFTER, n);
            died = repair(faulty, findings, &mended, &err) != 0;
            vb_backend_memory_power_cut(b, n * 77);
            vb_error_clear(&err);
            if (repair(vb_backend_memory_share(b), findings, &mended, &err) != 0)
                fail_at(vb_error_text(&err), &l.f[i], FLIP_LAST);
            if (!is_kept(b, &l.f[i], &now))
                fail_at("was deleted", &l.f[i], FLIP_LAST);
            must_be_in_order(b, &l.f[i], FLIP_LAST, &t);
            vb_backend_close(b);
        }
    }
    printf("# %u deaths, %u without a loss, %u with\n", t.cases, t.saved, t.lost);
    assert_true(t.cases > 20 && t.lost == 0); /* the trailer alone was broken: the index knows where the chunks are */
    free_files(&l);
}

/* The parts of the circle, end to end: each pack exactly once. */
static void parts_of_the_circle_read_everything_once(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(fixture_init(b, &err));
    for (uint64_t seed = 1; seed < 12; seed++)
        assert_ok(fixture_run(vb_backend_memory_share(b), seed, size, &err));
    struct vb_repo *r = fixture_open(b, VB_REPO_READ, &err);
    for (uint64_t parts = 1; parts < 9; parts++) {
        uint64_t read = 0, bytes = 0;
        struct vb_check_result result = { 0 };
        struct vb_check_share share = { 0xfffffff0u, (VB_CHECK_CIRCLE + parts - 1) / parts };
        for (uint64_t i = 0; i < parts; i++) {
            assert_ok(vb_repo_check_share(r, &share, &result, NULL, NULL, &err));
            read += result.packs_read;
            bytes += result.bytes_read;
            share.from = (share.from + share.width) % VB_CHECK_CIRCLE;
        }
        assert_true(result.packs > 20);
        assert_true(read >= result.packs && read <= result.packs + 1); /* rounding may take one twice */
        assert_true(bytes >= result.bytes);
    }
    vb_repo_close(r);
}

static void without_encryption(void **state)
{
    (void)state;
    plain = true;
}

/* A record of the ledger is made anew when the one behind it says what it must be; the newest is told. */
static void records_of_the_ledger_are_mended(void **state)
{
    (void)state;
    struct files l = sample();
    for (size_t i = 0; i < l.n; i++) {
        bool first = strcmp(l.f[i].name, "ledger/0000000001") == 0;
        if (strncmp(l.f[i].name, "ledger/", 7) != 0)
            continue;
        for (int harm = 0; harm < HARMS; harm++) {
            VB_AUTO_BUF now = VB_BUF_INIT, again = VB_BUF_INIT;
            VB_AUTO_ERROR err = VB_ERROR_INIT, check = VB_ERROR_INIT;
            unsigned findings[8] = { 0 };
            uint64_t mended = 0, twice = 0;
            if (!first && harm == REMOVE)
                continue; /* nothing tells that there was one */
            struct vb_backend *b = harmed(&l, i, (enum harm)harm, &now);
            assert_int_equal(repair(vb_backend_memory_share(b), findings, &mended, &err), 0);
            assert_int_equal(mended, first ? harm == REMOVE ? 1 : 2 : 0); /* set aside, and made */
            struct vb_repo *r = fixture_open(vb_backend_memory_share(b), VB_REPO_READ, &err);
            assert_int_equal(vb_repo_check(r, true, NULL, NULL, &check), first ? 0 : -1);
            vb_repo_close(r);
            if (first) {
                assert_ok(vb_backend_read_all(b, l.f[i].name, 4096, &again, &err));
                assert_int_equal(again.len, l.f[i].bytes.len);
                assert_memory_equal(again.data, l.f[i].bytes.data, again.len);
            }
            assert_int_equal(repair(vb_backend_memory_share(b), findings, &twice, &err), 0);
            assert_int_equal(twice, 0);
            vb_backend_close(b);
        }
    }
    free_files(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_the_ledger_are_mended),
        cmocka_unit_test(what_is_broken_is_mended_or_named),
        cmocka_unit_test(a_repair_that_dies_is_done_again),
        cmocka_unit_test(parts_of_the_circle_read_everything_once),
        cmocka_unit_test(without_encryption),
        cmocka_unit_test(what_is_broken_is_mended_or_named),
        cmocka_unit_test(a_repair_that_dies_is_done_again),
    };
    return CM_RUN("repository_repair", tests);
}
