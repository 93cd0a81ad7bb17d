/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_damage.c - every bit of a small repository flipped in turn, every file removed,
 * truncated, exchanged and emptied in turn.
 *
 * Each is noticed by check, or is provably harmless: everything is read back exactly.  And never, whatever is
 * damaged, is a wrong byte read out as a right one.
 */
#include <config.h>
#include "tests/cm.h"

#include <stdio.h>

#include "base/mem.h"
#include "tests/store/fixture.h"

static const struct fixture_size size = { 1, 1, 500 };

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

/* Two backups of the same things, so that there are a chain and several index files. */
static struct files sample(void)
{
    struct files l = { 0 };
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(fixture_init(b, &err));
    assert_ok(fixture_run(vb_backend_memory_share(b), 1, size, &err));
    assert_ok(fixture_run(vb_backend_memory_share(b), 2, size, &err));
    vb_backend_list(b, "", keep_file, &l, NULL);
    for (size_t i = 0; i < l.n; i++)
        assert_ok(vb_backend_read_all(b, l.f[i].name, 1 << 20, &l.f[i].bytes, &err));
    vb_backend_close(b);
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

static struct vb_backend *lay_out(const struct files *l)
{
    struct vb_backend *b = vb_backend_memory_new();
    for (size_t i = 0; i < l->n; i++)
        if (l->f[i].name[0])
            vb_backend_write(b, l->f[i].name, l->f[i].bytes.data, l->f[i].bytes.len, NULL);
    return b;
}

static void count_findings(void *arg, enum vb_check_severity severity, const char *object, const char *text)
{
    unsigned *n = arg;
    assert_non_null(object);
    assert_true(strlen(text) > 5);
    n[severity]++;
}

struct verdict {
    bool opens, damage, noted, exact;
    unsigned backups;
};

static struct verdict judge(const struct files *l, const char *what)
{
    struct verdict v = { 0 };
    unsigned findings[2] = { 0, 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = fixture_open(lay_out(l), VB_REPO_READ, NULL);
    v.opens = r != NULL;
    if (!r)
        return v;
    v.damage = vb_repo_check(r, true, count_findings, findings, NULL) != 0;
    v.noted = findings[VB_CHECK_NOTE] > 0;
    assert_int_equal(v.damage, findings[VB_CHECK_DAMAGE] > 0);
    v.exact = fixture_verify_all(r, size, &v.backups, &err) == 0;
    if (!v.exact && err.code == VB_E_UNEXPECTED)
        fail_msg("%s: read as right, but: %s", what, vb_error_text(&err));
    vb_repo_close(r);
    return v;
}

/* Noticed, or harmless; true when it was harmless and nothing was said. */
static bool assert_judged(const struct files *l, const char *what)
{
    struct verdict v = judge(l, what);
    bool noticed = !v.opens || v.damage || v.noted;
    if (!noticed && !(v.exact && v.backups == 2))
        fail_msg("%s: not noticed, and not harmless", what);
    if (v.opens && !v.damage && !(v.exact && v.backups == 2))
        fail_msg("%s: not damage to check, but not everything can be read", what);
    return !noticed;
}

static void the_sample_is_sound(void **state)
{
    (void)state;
    struct files l = sample();
    struct verdict v = judge(&l, "sample");
    assert_true(v.opens && !v.damage && !v.noted && v.exact && v.backups == 2);
    assert_true(l.n >= 1 + 2 + 2 + 3); /* config, index files, catalog entries, packs */
    free_files(&l);
}

static void every_flipped_bit_is_noticed_or_harmless(void **state)
{
    (void)state;
    struct files l = sample();
    size_t flips = 0, silent = 0;
    for (size_t i = 0; i < l.n; i++)
        for (size_t k = 0; k < l.f[i].bytes.len; k++) {
            unsigned bit = (unsigned)(k * 5 + i) % 8; /* one of each byte; all eight with VBACKUP_TEST_LONG */
            /* What is sealed is sealed as one: of it every fourth byte, all with VBACKUP_TEST_LONG. */
            if (k >= 64 && k + 16 < l.f[i].bytes.len && strchr("pic", l.f[i].name[0]) && strcmp(l.f[i].name, "config") &&
                k % 4 != 0 && !getenv("VBACKUP_TEST_LONG"))
                continue;
            for (unsigned b = 0; b < 8; b++) {
                if (b != bit && !getenv("VBACKUP_TEST_LONG"))
                    continue;
                VB_AUTO_FREE char *what = vb_printf("%s byte %zu bit %u", l.f[i].name, k, b);
                l.f[i].bytes.data[k] ^= (unsigned char)(1u << b);
                silent += assert_judged(&l, what);
                flips++;
                l.f[i].bytes.data[k] ^= (unsigned char)(1u << b);
            }
        }
    printf("# %zu flips, %zu of them harmless without a word\n", flips, silent);
    assert_true(silent * 50 < flips); /* white space in the configuration and the like */
    free_files(&l);
}

static void every_removed_file_is_noticed_or_harmless(void **state)
{
    (void)state;
    struct files l = sample();
    for (size_t i = 0; i < l.n; i++) {
        char *name = l.f[i].name;
        l.f[i].name = vb_strdup("");
        struct verdict v = judge(&l, name);
        bool newest = strncmp(name, "catalog/0000000002", 18) == 0;
        /* The newest entry leaves no trace: that is what clients remembering the chain's head are for. */
        if (v.opens && !v.damage && !v.noted && !newest)
            fail_msg("%s: its removal was not noticed", name);
        if (strncmp(name, "index/", 6) == 0)
            assert_true(v.exact && v.backups == 2); /* made anew from the packs */
        free(l.f[i].name);
        l.f[i].name = name;
    }
    free_files(&l);
}

static void every_truncated_file_is_noticed(void **state)
{
    (void)state;
    struct files l = sample();
    for (size_t i = 0; i < l.n; i++) {
        size_t len = l.f[i].bytes.len;
        for (size_t k = 0; k < len; k += k < 70 || k + 70 > len ? 1 : 13) {
            VB_AUTO_FREE char *what = vb_printf("%s cut to %zu", l.f[i].name, k);
            l.f[i].bytes.len = k;
            struct verdict v = judge(&l, what);
            if (v.opens && !v.damage && !v.noted && !(strcmp(l.f[i].name, "config") == 0 && v.exact))
                fail_msg("%s: not noticed", what);
            l.f[i].bytes.len = len;
        }
    }
    free_files(&l);
}

static void every_exchange_of_two_files_is_noticed(void **state)
{
    (void)state;
    struct files l = sample();
    for (size_t i = 0; i < l.n; i++)
        for (size_t k = i + 1; k < l.n; k++) {
            VB_AUTO_FREE char *what = vb_printf("%s and %s exchanged", l.f[i].name, l.f[k].name);
            struct vb_buf swap = l.f[i].bytes;
            l.f[i].bytes = l.f[k].bytes;
            l.f[k].bytes = swap;
            struct verdict v = judge(&l, what);
            if (v.opens && !v.damage && !v.noted)
                fail_msg("%s: not noticed", what);
            l.f[k].bytes = l.f[i].bytes;
            l.f[i].bytes = swap;
        }
    free_files(&l);
}

/* A file of another repository in the place of ours: the names are keyed, the hashes are not. */
static void packs_of_another_repository_do_no_harm(void **state)
{
    (void)state;
    struct files ours = sample(), theirs = sample();
    for (size_t i = 0; i < theirs.n; i++)
        if (strncmp(theirs.f[i].name, "packs/", 6) == 0) {
            VB_GROW(ours.f, ours.n, ours.cap);
            ours.f[ours.n] = (struct file){ .name = vb_strdup(theirs.f[i].name) };
            vb_buf_add(&ours.f[ours.n++].bytes, theirs.f[i].bytes.data, theirs.f[i].bytes.len);
        }
    struct verdict v = judge(&ours, "foreign packs");
    assert_true(v.opens && v.damage && v.exact && v.backups == 2);
    free_files(&ours);
    free_files(&theirs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_is_sound),
        cmocka_unit_test(every_flipped_bit_is_noticed_or_harmless),
        cmocka_unit_test(every_removed_file_is_noticed_or_harmless),
        cmocka_unit_test(every_truncated_file_is_noticed),
        cmocka_unit_test(every_exchange_of_two_files_is_noticed),
        cmocka_unit_test(packs_of_another_repository_do_no_harm),
    };
    return CM_RUN("repository_damage", tests);
}
