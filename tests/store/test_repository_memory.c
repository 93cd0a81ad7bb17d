/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_memory.c - the owner of the storage takes the newest backup away, withholds one, exchanges
 * or reorders records, sets everything back, or puts another repository in its place: the next contact finds it.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "store/repository_internal.h"
#include "tests/base/scratch.h"
#include "tests/store/fixture.h"

static const struct fixture_size size = { 1, 2, 500 };

/* As a machine with that memory meets it. */
static int meet(struct vb_backend *files, const char *memory, bool accept, struct vb_error *err)
{
    VB_AUTO_FREE char *dir = vb_path_join(scratch_path, memory);
    struct vb_repo_auth auth = fixture_auth;
    auth.memory = dir;
    auth.accept = accept;
    struct vb_repo *r = vb_repo_open_auth_on(vb_backend_memory_share(files), VB_REPO_READ, &auth, err);
    vb_repo_close(r);
    return r ? 0 : -1;
}

static void assert_fine(struct vb_backend *files, const char *memory)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(meet(files, memory, false, &err));
}

/* Noticed again and again, until somebody says that it is meant. */
static void assert_noticed(struct vb_backend *files, const char *memory, const char *text)
{
    for (int i = 0; i < 2; i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_int_equal(meet(files, memory, false, &err), -1);
        assert_int_equal(err.code, VB_E_GUARD);
        assert_contains(err.text, text);
        assert_contains(err.hint, "vbackup accept");
    }
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(meet(files, memory, true, &err));
    assert_fine(files, memory); /* and is not asked for again */
}

static void backup(struct vb_backend *files, uint64_t seed)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(fixture_run(vb_backend_memory_share(files), seed, size, &err));
}

static struct vb_backend *sample(unsigned backups)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_backend *files = vb_backend_memory_new();
    assert_ok(fixture_init(files, &err));
    for (unsigned i = 1; i <= backups; i++)
        backup(files, i);
    return files;
}

struct path {
    const char *begins;
    char *found;
};

static int find_path(void *arg, const char *path, uint64_t bytes, struct vb_error *err)
{
    struct path *p = arg;
    (void)bytes, (void)err;
    if (!p->found && strncmp(path, p->begins, strlen(p->begins)) == 0)
        p->found = vb_strdup(path);
    return 0;
}

static void take_away(struct vb_backend *files, const char *begins)
{
    struct path p = { begins, NULL };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_backend_list(files, "", find_path, &p, NULL);
    assert_non_null(p.found);
    assert_ok(vb_backend_remove(files, p.found, &err));
    free(p.found);
}

static void what_was_seen_is_remembered(void **state)
{
    (void)state;
    struct vb_backend *files = sample(2);
    assert_fine(files, "a");
    backup(files, 3);
    assert_fine(files, "a");
    assert_fine(files, "a");
    vb_backend_close(files);
}

static void the_newest_backup_taken_away_is_noticed(void **state)
{
    (void)state;
    struct vb_backend *files = sample(3);
    assert_fine(files, "a");
    take_away(files, "catalog/0000000003");
    assert_noticed(files, "b", "backup number 3 is missing"); /* also by who never saw it: the ledger names it */
    take_away(files, "ledger/0000000003");
    assert_noticed(files, "a", "record number 3 of the ledger, which this machine saw");
    assert_fine(files, "a"); /* it was said to be meant */
    backup(files, 4);
    assert_fine(files, "a");
    vb_backend_close(files);
}

static void a_backup_that_is_withheld_is_noticed(void **state)
{
    (void)state;
    struct vb_backend *files = sample(3);
    take_away(files, "catalog/0000000002");
    assert_noticed(files, "a", "backup number 2 is missing");
    vb_backend_close(files);
    files = sample(3);
    take_away(files, "ledger/0000000002");
    assert_noticed(files, "b", "missing in the ledger");
    vb_backend_close(files);
    files = sample(3);
    take_away(files, "ledger/0000000001");
    assert_noticed(files, "c", "missing in the ledger");
    vb_backend_close(files);
}

struct copy {
    struct vb_backend *from, *to;
};

static int copy_one(void *arg, const char *path, uint64_t bytes, struct vb_error *err)
{
    struct copy *c = arg;
    VB_AUTO_BUF all = VB_BUF_INIT;
    (void)bytes;
    if (vb_backend_read_all(c->from, path, 1 << 26, &all, err) < 0)
        return -1;
    return vb_backend_write(c->to, path, all.data, all.len, err);
}

static struct vb_backend *copy_of(struct vb_backend *files)
{
    struct copy c = { files, vb_backend_memory_new() };
    vb_backend_list(files, "", copy_one, &c, NULL);
    return c.to;
}

/* All that is left is genuine, and a client of another fork has even gone on. */
static void what_is_set_back_is_noticed(void **state)
{
    (void)state;
    struct vb_backend *files = sample(2), *before = copy_of(files);
    backup(files, 3);
    assert_fine(files, "a");
    assert_fine(before, "b");
    assert_noticed(before, "a", "record number 3");
    backup(before, 4); /* another record number 3 */
    assert_fine(files, "c");
    assert_noticed(before, "c", "is not the one that this machine saw");
    vb_backend_close(files);
    vb_backend_close(before);
}

static void records_in_another_order_are_noticed(void **state)
{
    (void)state;
    struct vb_backend *files = sample(3);
    VB_AUTO_BUF two = VB_BUF_INIT, three = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_fine(files, "a");
    assert_ok(vb_backend_read_all(files, "ledger/0000000002", 4096, &two, &err));
    assert_ok(vb_backend_read_all(files, "ledger/0000000003", 4096, &three, &err));
    vb_backend_remove(files, "ledger/0000000002", NULL);
    vb_backend_remove(files, "ledger/0000000003", NULL);
    assert_ok(vb_backend_write(files, "ledger/0000000002", three.data, three.len, &err));
    assert_ok(vb_backend_write(files, "ledger/0000000003", two.data, two.len, &err));
    assert_noticed(files, "a", "is not the one that this machine saw");
    vb_backend_close(files);
}

static void another_repository_in_its_place_is_noticed(void **state)
{
    (void)state;
    struct vb_backend *files = sample(2), *other = sample(1);
    assert_fine(files, "a");
    assert_noticed(other, "a", "another repository lies there");
    assert_fine(other, "a");
    vb_backend_close(files);
    vb_backend_close(other);
}

static void what_was_forgotten_and_pruned_is_not_missed(void **state)
{
    (void)state;
    struct vb_backend *files = sample(3);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_fine(files, "a");
    for (unsigned i = 0; i < 2; i++) {
        struct vb_prune_result res;
        struct vb_prune_params p = { .wall_ms = FIXTURE_NOW + i };
        struct vb_repo *r = fixture_open(vb_backend_memory_share(files), VB_REPO_WRITE, &err);
        assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
        struct vb_catalog_entry *e = vb_repo_find(r, "latest", NULL, &err);
        assert_ok(vb_repo_forget(r, e, FIXTURE_NOW, "test", &err));
        assert_ok(vb_repo_prune(r, &p, &res, &err));
        vb_catalog_entry_free(e);
        vb_repo_close(r);
        assert_fine(files, "a");
    }
    vb_backend_close(files);
}

int main(void)
{
#define S(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)
    const struct CMUnitTest tests[] = {
        S(what_was_seen_is_remembered),
        S(the_newest_backup_taken_away_is_noticed),
        S(a_backup_that_is_withheld_is_noticed),
        S(what_is_set_back_is_noticed),
        S(records_in_another_order_are_noticed),
        S(another_repository_in_its_place_is_noticed),
        S(what_was_forgotten_and_pruned_is_not_missed),
    };
    return CM_RUN("repository_memory", tests);
}
