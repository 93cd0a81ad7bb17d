/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_damage.c - every bit of a small repository flipped in turn, every file removed,
 * truncated, exchanged, emptied and replayed in turn; with encryption and without.
 *
 * Each is noticed by check, or is provably harmless: everything is read back exactly.  And never, whatever is
 * damaged, is a wrong byte read out as a right one.  With VBACKUP_TEST_LONG all of them, else a sample.
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

static void read_files(struct vb_backend *b, struct files *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_backend_list(b, "", keep_file, l, NULL);
    for (size_t i = 0; i < l->n; i++)
        assert_ok(vb_backend_read_all(b, l->f[i].name, 1 << 20, &l->f[i].bytes, &err));
}

static bool plain; /* without encryption */
static bool take_all(void)
{
    return getenv("VBACKUP_TEST_LONG") != NULL;
}

static int init(struct vb_backend *b, struct vb_error *err)
{
    return plain ? vb_repo_init_on(b, NULL, FIXTURE_NOW, err) : fixture_init(b, err);
}

static unsigned total_changes, total_noticed, total_harmless;
static void count_change(bool noticed)
{
    total_changes++;
    total_noticed += noticed;
    total_harmless += !noticed;
}

/* Two backups of the same things, so that there are a chain and several index files. */
static struct files sample(void)
{
    struct files l = { 0 };
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(init(b, &err));
    assert_ok(fixture_run(vb_backend_memory_share(b), 1, size, &err));
    assert_ok(fixture_run(vb_backend_memory_share(b), 2, size, &err));
    read_files(b, &l);
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
    unsigned findings[VB_CHECK_MENDED + 1] = { 0 };
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
    count_change(noticed);
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
            /* What is sealed, or hashed, is so as one: of it every eighth byte, all with VBACKUP_TEST_LONG. */
            if (k >= 64 && k + 16 < l.f[i].bytes.len && (plain || strchr("pic", l.f[i].name[0])) &&
                (strcmp(l.f[i].name, "config") || plain) && k % 8 != 0 && !take_all())
                continue;
            for (unsigned b = 0; b < 8; b++) {
                if (b != bit && !take_all())
                    continue;
                VB_AUTO_FREE char *what = vb_printf("%s byte %zu bit %u", l.f[i].name, k, b);
                l.f[i].bytes.data[k] ^= (unsigned char)(1u << b);
                silent += assert_judged(&l, what);
                flips++;
                l.f[i].bytes.data[k] ^= (unsigned char)(1u << b);
            }
        }
    printf("# %zu flips, %zu of them harmless without a word\n", flips, silent);
    assert_true(silent * 50 < flips || plain); /* white space in the configuration and the like */
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
        bool newest = strcmp(name, "ledger/0000000002") == 0;
        /* The newest record leaves no trace but an entry without one: that is what clients that remember are for. */
        if (v.opens && !v.damage && !v.noted && !newest)
            fail_msg("%s: its removal was not noticed", name);
        count_change(!v.opens || v.damage || v.noted);
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
        for (size_t k = 0; k < len; k += take_all() || k < 70 || k + 70 > len ? 1 : 23) {
            VB_AUTO_FREE char *what = vb_printf("%s cut to %zu", l.f[i].name, k);
            l.f[i].bytes.len = k;
            struct verdict v = judge(&l, what);
            if (v.opens && !v.damage && !v.noted && !(strcmp(l.f[i].name, "config") == 0 && v.exact))
                fail_msg("%s: not noticed", what);
            count_change(!v.opens || v.damage || v.noted);
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
            count_change(!v.opens || v.damage || v.noted);
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
    count_change(true);
    free_files(&ours);
    free_files(&theirs);
}

/* ---- replay: what was there once is put back, or put in the place of what is there now ---- */

#define STATES 8
struct history {
    struct files at[STATES];
    size_t n;
};

static void remember(struct history *h, struct vb_backend *b)
{
    assert_true(h->n < STATES);
    read_files(b, &h->at[h->n++]);
}

static void forget_first(struct vb_backend *b, bool prune, uint64_t now)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(b), VB_REPO_WRITE, &err);
    struct vb_prune_params p = { .wall_ms = now };
    struct vb_prune_result result;
    assert_non_null(r);
    assert_ok(vb_repo_lock(r, now, &err));
    if (!prune) {
        struct vb_catalog_entry *e = vb_repo_find(r, "latest", NULL, &err);
        assert_non_null(e);
        assert_ok(vb_repo_forget(r, e, now, "test", &err));
        vb_catalog_entry_free(e);
    } else {
        assert_ok(vb_repo_prune(r, &p, &result, &err));
    }
    vb_repo_close(r);
}

static void change_password(struct vb_backend *b)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = fixture_open(vb_backend_memory_share(b), VB_REPO_READ, &err);
    struct vb_repo_key_params p = { .auth = &fixture_auth, .wall_ms = FIXTURE_NOW, .cost = 2 };
    assert_non_null(r);
    assert_ok(vb_repo_key_change(r, &p, &err));
    vb_repo_close(r);
}

static struct history live(void)
{
    struct history h = { 0 };
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(init(b, &err));
    remember(&h, b);
    assert_ok(fixture_run(vb_backend_memory_share(b), 1, size, &err));
    remember(&h, b);
    forget_first(b, false, FIXTURE_NOW);
    assert_ok(fixture_run(vb_backend_memory_share(b), 2, size, &err));
    remember(&h, b);
    forget_first(b, true, FIXTURE_NOW + 1);
    remember(&h, b);
    if (!plain)
        change_password(b);
    assert_ok(fixture_run(vb_backend_memory_share(b), 3, size, &err));
    remember(&h, b);
    forget_first(b, true, FIXTURE_NOW + 2);
    remember(&h, b);
    vb_backend_close(b);
    return h;
}

/* Never wrong; and what check calls whole is whole. */
static void judge_replay(const struct files *l, const char *what)
{
    struct verdict v = judge(l, what);
    if (v.opens && !v.damage && !v.exact)
        fail_msg("%s: not damage to check, but not everything can be read", what);
    count_change(!v.opens || v.damage || v.noted);
}

static struct file *find_file(const struct files *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->f[i].name, name) == 0)
            return &l->f[i];
    return NULL;
}

static bool same_kind(const char *a, const char *b)
{
    return strcspn(a, "/") == strcspn(b, "/") && strncmp(a, b, strcspn(a, "/")) == 0;
}

/* Every file that ever was is brought back under its name; and stands under the name of every other of its kind. */
static void replayed_files_are_noticed_or_harmless(void **state)
{
    (void)state;
    struct history h = live();
    struct files *now = &h.at[h.n - 1];
    size_t back = 0, over = 0;
    struct verdict v = judge(now, "history");
    assert_true(v.opens && !v.damage && v.exact && v.backups == 2);
    for (size_t s = 0; s + 1 < h.n; s++)
        for (size_t i = 0; i < h.at[s].n; i++) {
            struct file *old = &h.at[s].f[i], *there = find_file(now, old->name);
            if (s > 0 && find_file(&h.at[s - 1], old->name))
                continue;
            if (!there) {
                VB_AUTO_FREE char *what = vb_printf("%s of state %zu brought back", old->name, s);
                VB_GROW(now->f, now->n, now->cap);
                now->f[now->n++] = *old;
                judge_replay(now, what);
                now->n--;
                back++;
            }
            for (size_t k = 0; k < now->n; k++) {
                if (!same_kind(now->f[k].name, old->name) || strcmp(now->f[k].name, old->name) == 0)
                    continue;
                VB_AUTO_FREE char *what = vb_printf("%s of state %zu as %s", old->name, s, now->f[k].name);
                struct vb_buf mine = now->f[k].bytes;
                now->f[k].bytes = old->bytes;
                judge_replay(now, what);
                v = judge(now, what);
                if (v.opens && !v.damage && !v.noted)
                    fail_msg("%s: not noticed", what);
                now->f[k].bytes = mine;
                over++;
            }
        }
    printf("# %zu files brought back, %zu older contents under the names of others\n", back, over);
    assert_true(back >= (plain ? 5 : 8) && over > 20);
    for (size_t s = 0; s < h.n; s++)
        free_files(&h.at[s]);
}

/* One directory of the repository as it was in an earlier state, the others as they are. */
static void rolled_back_directories_never_read_wrong(void **state)
{
    static const char *const kinds[] = { "catalog", "index", "packs", "keys", "forgotten", "condemned" };
    (void)state;
    struct history h = live();
    for (size_t s = 0; s + 1 < h.n; s++)
        for (size_t k = 0; k < VB_COUNT(kinds); k++) {
            struct files mix = { 0 };
            VB_AUTO_FREE char *what = vb_printf("%s/ of state %zu", kinds[k], s);
            for (int old = 0; old < 2; old++)
                for (size_t i = 0; i < h.at[old ? s : h.n - 1].n; i++) {
                    struct file *f = &h.at[old ? s : h.n - 1].f[i];
                    if (same_kind(f->name, kinds[k]) != (old == 1))
                        continue;
                    VB_GROW(mix.f, mix.n, mix.cap);
                    mix.f[mix.n++] = *f;
                }
            judge_replay(&mix, what);
            free(mix.f);
        }
    for (size_t s = 0; s < h.n; s++)
        free_files(&h.at[s]);
}

static void the_totals(void **state)
{
    (void)state;
    printf("# %s: %u changes, %u noticed, %u harmless without a word, 0 read wrong\n",
           plain ? "without encryption" : "encrypted", total_changes, total_noticed, total_harmless);
    total_changes = total_noticed = total_harmless = 0;
}

static void from_here_without_encryption(void **state)
{
    (void)state;
    plain = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ALL                                                                                                            \
    cmocka_unit_test(the_sample_is_sound), cmocka_unit_test(every_flipped_bit_is_noticed_or_harmless),                 \
        cmocka_unit_test(every_removed_file_is_noticed_or_harmless),                                                   \
        cmocka_unit_test(every_truncated_file_is_noticed), cmocka_unit_test(every_exchange_of_two_files_is_noticed),   \
        cmocka_unit_test(replayed_files_are_noticed_or_harmless),                                                      \
        cmocka_unit_test(rolled_back_directories_never_read_wrong),                                                    \
        cmocka_unit_test(packs_of_another_repository_do_no_harm), cmocka_unit_test(the_totals)
        ALL,
        cmocka_unit_test(from_here_without_encryption),
        ALL,
    };
    return CM_RUN("repository_damage", tests);
}
