/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_commit.c - the commit and its checks, listing and finding backups.
 */
#include <config.h>
#include "tests/cm.h"

#include "store/repository_internal.h"
#include "tests/store/opened.h"

/* ---- commit, list, find ---- */

static struct vb_catalog_entry *entry_for(const char *host, enum vb_catalog_state state)
{
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    e->state = state;
    vb_catalog_add_host(e, host);
    return e;
}

static void commit(struct vb_repo *r, const char *host, enum vb_catalog_state state, char id[VB_GUID_LEN + 1])
{
    struct vb_catalog_entry *e = entry_for(host, state);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (id[0])
        memcpy(e->id, id, VB_GUID_LEN + 1);
    assert_ok(vb_repo_commit(r, e, &err));
    memcpy(id, e->id, VB_GUID_LEN + 1);
    vb_catalog_entry_free(e);
}

struct listed {
    unsigned n, damaged;
    uint64_t last;
    struct vb_name before;
};

static int list_one(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct listed *l = arg;
    l->n++;
    if (damage) {
        l->damaged++;
        assert_contains(damage->text, path);
        return 0;
    }
    assert_true((*entry)->sequence > l->last);
    if (l->last && l->last + 1 == (*entry)->sequence && !l->damaged)
        assert_true((*entry)->has_previous && vb_name_equal(&(*entry)->previous, &l->before));
    l->last = (*entry)->sequence;
    l->before = (*entry)->hash;
    return 0;
}

static void backups_are_listed_in_order_and_chained(void **state)
{
    struct bench *b = *state;
    struct listed l = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    for (unsigned i = 0; i < 12; i++)
        commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" });
    assert_ok(vb_repo_list(b->repo, list_one, &l, &err));
    assert_int_equal(l.n, 12);
    assert_int_equal(l.last, 12);
    assert_ok(vb_repo_check(b->repo, true, NULL, NULL, &err));
}

static int damage_third(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)err;
    if (strncmp(name, "catalog/0000000003", 18) == 0)
        vb_backend_memory_damage(arg, name, size / 2, 1);
    return 0;
}

static void a_damaged_entry_hides_no_other(void **state)
{
    struct bench *b = *state;
    struct listed l = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT, damage = VB_ERROR_INIT;
    for (unsigned i = 0; i < 5; i++)
        commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" });
    vb_backend_list(b->files, "catalog/", damage_third, b->files, NULL);
    assert_ok(vb_repo_list(b->repo, list_one, &l, &err));
    assert_int_equal(l.n, 5);
    assert_int_equal(l.damaged, 1);
    assert_int_equal(vb_repo_check(b->repo, false, NULL, NULL, &damage), -1);
    assert_int_equal(damage.code, VB_E_CORRUPT);
    commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" }); /* and the chain goes on */
    l = (struct listed){ 0 };
    assert_ok(vb_repo_list(b->repo, list_one, &l, &err));
    assert_int_equal(l.n, 6);
    assert_int_equal(l.last, 6);
}

static void assert_found(struct vb_repo *r, const char *which, const char *host, const char *id)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_catalog_entry *e = vb_repo_find(r, which, host, &err);
    if (!e)
        fail_msg("%s", vb_error_text(&err));
    assert_string_equal(e->id, id);
    vb_catalog_entry_free(e);
}

static void assert_not_found(struct vb_repo *r, const char *which, const char *host, enum vb_code code)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_repo_find(r, which, host, &err));
    assert_int_equal(err.code, code);
    assert_non_null(err.hint);
}

static void backups_are_found_by_id_prefix_host_and_latest(void **state)
{
    struct bench *b = *state;
    char one[] = "aaaa1111-1111-4111-8111-111111111111", two[] = "aaaa2222-1111-4111-8111-111111111111";
    char three[] = "cccc3333-1111-4111-8111-111111111111", failed[] = "dddd4444-1111-4111-8111-111111111111";
    assert_not_found(b->repo, "latest", NULL, VB_E_NOT_FOUND);
    commit(b->repo, "front", VB_CATALOG_COMPLETE, one);
    commit(b->repo, "backend", VB_CATALOG_PARTIAL, two);
    commit(b->repo, "front", VB_CATALOG_COMPLETE, three);
    commit(b->repo, "backend", VB_CATALOG_FAILED, failed);
    assert_found(b->repo, "latest", NULL, three);
    assert_found(b->repo, "latest", "backend", two); /* partial counts, failed does not */
    assert_not_found(b->repo, "latest", "other", VB_E_NOT_FOUND);
    assert_found(b->repo, "aaaa1", NULL, one);
    assert_found(b->repo, "AAAA1", NULL, one);
    assert_found(b->repo, two, NULL, two);
    assert_found(b->repo, "dddd", NULL, failed);
    assert_found(b->repo, "aaaa", "backend", two);
    assert_not_found(b->repo, "aaaa", NULL, VB_E_USAGE);
    assert_not_found(b->repo, "aaa", NULL, VB_E_USAGE);
    assert_not_found(b->repo, "bbbb", NULL, VB_E_NOT_FOUND);
    assert_not_found(b->repo, one, "backend", VB_E_NOT_FOUND);
}

static void an_id_is_committed_once(void **state)
{
    struct bench *b = *state;
    char id[] = "aaaa1111-1111-4111-8111-111111111111";
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    commit(b->repo, "front", VB_CATALOG_COMPLETE, id);
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    memcpy(e->id, id, sizeof id);
    assert_int_equal(vb_repo_commit(b->repo, e, &err), -1);
    assert_int_equal(err.code, VB_E_EXISTS);
    vb_catalog_entry_free(e);
}

/* Somebody may want to use up the numbers. */
static void far_numbers_are_nobodys(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_name hash = { { 1 } };
    VB_AUTO_FREE char *path = vb_catalog_path(9999999999u, "aaaa1111-1111-4111-8111-111111111111", &hash);
    assert_ok(vb_backend_write(b->files, path, "x", 1, &err));
    assert_ok(vb_backend_write(b->files, "ledger/9999999999", "x", 1, &err));
    struct vb_repo *r = open_again(b, VB_REPO_WRITE, &err);
    assert_ok(vb_repo_lock(r, FIXTURE_NOW, &err));
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    assert_ok(vb_repo_commit(r, e, &err));
    assert_int_equal(e->sequence, 1);
    vb_catalog_entry_free(e);
    /* the next number, with nonsense in it */
    assert_ok(vb_backend_write(b->files, "ledger/0000000002", "x", 1, &err));
    e = entry_for("front", VB_CATALOG_COMPLETE);
    assert_ok(vb_repo_commit(r, e, &err));
    assert_int_equal(e->sequence, 3);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
}

static void commit_rechecks_what_the_entry_names(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR root = VB_ERROR_INIT, doc = VB_ERROR_INIT, list = VB_ERROR_INIT;
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    struct vb_catalog_root *r = vb_catalog_add_root(vb_catalog_add_component(&e->hosts[0]), "/srv", "*", true);
    unsigned n = 9;
    r->has_tree = true;
    assert_int_equal(vb_repo_commit(b->repo, e, &root), -1);
    assert_int_equal(root.code, VB_E_CORRUPT);
    assert_contains(root.text, "root of '/srv'");
    struct vb_tree_entry two[2] = { { .name = "a", .type = VB_TREE_FIFO }, { .name = "b", .type = VB_TREE_FIFO } };
    assert_int_equal(vb_tree_write(two, 2, vb_repo_put_raw, b->repo, &r->tree, NULL), 0);
    assert_int_equal(vb_repo_commit(b->repo, e, &list), -1); /* a root has one entry */
    r->has_tree = false;
    struct vb_content c = { 0, 1, vb_alloc_n(1, sizeof(struct vb_ref)) };
    c.refs[0].size = 3;
    vb_catalog_add_document(e, "plan", NULL, NULL, &c);
    assert_int_equal(vb_repo_commit(b->repo, e, &doc), -1);
    assert_contains(doc.text, "document 'plan'");
    assert_int_equal(fixture_verify_all(b->repo, FIXTURE_SMALL, &n, NULL), 0);
    assert_int_equal(n, 0);
    vb_catalog_entry_free(e);
}

static int remove_packs(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)size;
    return vb_backend_remove(arg, name, err);
}

static void commit_notices_packs_that_vanished(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_content c = { 0 };
    struct vb_catalog_entry *e = entry_for("front", VB_CATALOG_COMPLETE);
    assert_ok(vb_repo_put_bytes(b->repo, VB_CHUNK_DOC, "text", 4, &c, &err));
    vb_catalog_add_document(e, "plan", NULL, NULL, &c);
    assert_ok(vb_repo_flush(b->repo, &err));
    assert_ok(vb_backend_list(b->files, "packs/", remove_packs, b->files, &err));
    assert_int_equal(vb_repo_commit(b->repo, e, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    vb_catalog_entry_free(e);
}

struct find_pack {
    struct vb_backend *files;
    struct vb_repo *repo;
    unsigned n;
};

/* Removes the packs whose first record is data: directories and documents stay. */
static int remove_data_packs(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct find_pack *f = arg;
    struct vb_pack_id id = { .size = size };
    VB_AUTO_FREE struct vb_pack_entry *entries = NULL;
    size_t n = 0;
    if (!vb_pack_path_parse(path, &id.name) ||
        vb_pack_read_entries(f->files, f->repo->keys, &id, &entries, &n, err) < 0)
        return -1;
    if (n == 0 || entries[0].type != VB_CHUNK_DATA)
        return 0;
    f->n++;
    return vb_backend_remove(f->files, path, err);
}

/* Root and directories are all there; a chunk of a file far below them is not. */
static void commit_notices_what_vanished_below_the_root(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, gone = VB_ERROR_INIT;
    struct find_pack f = { b->files, b->repo, 0 };
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    vb_repo_unlock(b->repo);
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err)); /* the next run: all it needs is there */
    assert_ok(vb_backend_list(b->files, "packs/", remove_data_packs, &f, &err));
    assert_true(f.n > 0);
    assert_int_equal(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &gone), -1);
    assert_int_equal(gone.code, VB_E_NOT_FOUND);
    assert_contains(gone.text, "data chunk");
    /* A backup that needs nothing of it is not hindered, and the next run stores it again. */
    commit(b->repo, "front", VB_CATALOG_COMPLETE, (char[VB_GUID_LEN + 1]){ "" });
    vb_repo_unlock(b->repo);
    assert_ok(vb_repo_lock(b->repo, FIXTURE_NOW, &err));
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    assert_ok(fixture_verify(b->repo, "latest", FIXTURE_SMALL, &err));
    assert_ok(vb_repo_check(b->repo, true, NULL, NULL, &err));
}

static void whole_backups_come_back_and_share_their_chunks(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_stats first, second;
    unsigned n = 0;
    const struct fixture_size size = { 5, 20, 30000 };
    assert_ok(fixture_backup(b->repo, 1, size, NULL, &err));
    vb_repo_stats(b->repo, &first);
    assert_ok(fixture_backup(b->repo, 1, size, NULL, &err));
    vb_repo_stats(b->repo, &second);
    assert_int_equal(first.put_chunks, second.put_chunks); /* the same again adds nothing */
    assert_ok(fixture_backup(b->repo, 2, size, NULL, &err));
    vb_repo_stats(b->repo, &second);
    assert_true(second.put_raw - first.put_raw < first.put_raw / 2);
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_ok(fixture_verify_all(r, size, &n, &err));
    assert_int_equal(n, 3);
    assert_ok(vb_repo_check(r, true, NULL, NULL, &err));
    vb_repo_close(r);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    const struct CMUnitTest tests[] = {
        T(backups_are_listed_in_order_and_chained),
        T(a_damaged_entry_hides_no_other),
        T(backups_are_found_by_id_prefix_host_and_latest),
        T(an_id_is_committed_once),
        T(far_numbers_are_nobodys),
        T(commit_rechecks_what_the_entry_names),
        T(commit_notices_packs_that_vanished),
        T(commit_notices_what_vanished_below_the_root),
        T(whole_backups_come_back_and_share_their_chunks),
    };
    return CM_RUN("repository_commit", tests);
}
