/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_tree.c - reading directories back: walk and lookup.
 */
#include <config.h>
#include "tests/cm.h"

#include <sys/resource.h>

#include "tests/store/opened.h"

/* ---- trees ---- */

static int skip_dir1(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct vb_buf *b = arg;
    (void)err;
    vb_buf_addf(b, "[%s]", path);
    return e->type == VB_TREE_DIR && strcmp(path, "dir1") == 0 ? VB_WALK_SKIP : 0;
}

static int stop_at_file(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    (void)arg, (void)path, (void)err;
    return e->type == VB_TREE_FILE ? 5 : 0;
}

static void trees_are_walked_and_looked_up(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF seen = VB_BUF_INIT;
    assert_ok(fixture_backup(b->repo, 1, FIXTURE_SMALL, NULL, &err));
    struct vb_catalog_entry *e = vb_repo_find(b->repo, "latest", NULL, &err);
    const struct vb_name *root = &e->hosts[0].components[0].roots[0].tree;
    assert_ok(vb_tree_walk(b->repo, root, skip_dir1, &seen, &err));
    assert_string_equal(vb_buf_str(&seen), "[][dir0][dir0/file0][dir0/file1][dir0/file2][dir1][link]");
    assert_int_equal(vb_tree_walk(b->repo, root, stop_at_file, NULL, &err), 5);
    const struct {
        const char *path;
        enum vb_tree_type type;
    } found[] = { { "", VB_TREE_DIR }, { "dir1", VB_TREE_DIR }, { "dir1/file2", VB_TREE_FILE },
                  { "/dir1//file2", VB_TREE_FILE }, { "link", VB_TREE_SYMLINK } };
    for (size_t i = 0; i < VB_COUNT(found); i++) {
        VB_AUTO_TREE t = { 0 };
        const struct vb_tree_entry *entry = NULL;
        assert_ok(vb_tree_lookup(b->repo, root, found[i].path, &t, &entry, &err));
        assert_int_equal(entry->type, found[i].type);
    }
    const char *const missing[] = { "dir2", "dir1/file", "dir1/file9", "link/x", "dir1/file1/x" };
    for (size_t i = 0; i < VB_COUNT(missing); i++) {
        VB_AUTO_TREE t = { 0 };
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        const struct vb_tree_entry *entry = NULL;
        assert_int_equal(vb_tree_lookup(b->repo, root, missing[i], &t, &entry, &why), -1);
        assert_int_equal(why.code, VB_E_NOT_FOUND);
        assert_contains(why.text, missing[i]);
    }
    vb_catalog_entry_free(e);
}

static int count_entry(void *arg, const struct vb_tree_entry *e, struct vb_error *err)
{
    (void)e, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

static void large_directories_are_read_in_parts(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const unsigned n = 20000;
    struct vb_tree_entry *list = vb_alloc_n(n, sizeof *list);
    struct vb_tree_entry self = { .name = ".", .type = VB_TREE_DIR };
    struct vb_name root;
    unsigned seen = 0;
    for (unsigned i = 0; i < n; i++) {
        list[i].name = vb_printf("entry %u", i);
        list[i].type = VB_TREE_FIFO;
        list[i].inode = i;
    }
    assert_ok(vb_tree_write(list, n, vb_repo_put_raw, b->repo, &self.subtree, &err));
    assert_ok(vb_tree_write(&self, 1, vb_repo_put_raw, b->repo, &root, &err));
    assert_ok(vb_tree_read(b->repo, &self.subtree, count_entry, &seen, &err));
    assert_int_equal(seen, n);
    for (unsigned i = 0; i < n; i += 777) {
        VB_AUTO_TREE t = { 0 };
        const struct vb_tree_entry *entry = NULL;
        VB_AUTO_FREE char *path = vb_printf("entry %u", i);
        assert_ok(vb_tree_lookup(b->repo, &root, path, &t, &entry, &err));
        assert_int_equal(entry->inode, i);
        assert_true(t.n < n / 4);
    }
    VB_AUTO_TREE t = { 0 };
    const struct vb_tree_entry *entry = NULL;
    assert_int_equal(vb_tree_lookup(b->repo, &root, "a", &t, &entry, NULL), -1);
    assert_int_equal(vb_tree_lookup(b->repo, &root, "z", &t, &entry, NULL), -1);
    for (unsigned i = 0; i < n; i++)
        free((char *)(uintptr_t)list[i].name);
    free(list);
}

struct deepest {
    size_t entries, longest;
};

static int measure(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct deepest *d = arg;
    size_t n = strlen(path);
    (void)e, (void)err;
    d->entries++;
    d->longest = n > d->longest ? n : d->longest;
    return 0;
}

/* As deep as a file system goes, with a sibling behind each directory, so that the walk must come back to each level. */
static void trees_of_12000_levels_are_walked_without_a_deep_stack(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const unsigned levels = 12000;
    struct vb_tree_entry two[2] = { { .name = "d", .type = VB_TREE_DIR }, { .name = "z", .type = VB_TREE_FIFO } };
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    struct vb_catalog_root *r = vb_catalog_add_root(vb_catalog_add_component(vb_catalog_add_host(e, "h")), "/d", "*", true);
    struct deepest d = { 0, 0 };
    assert_ok(vb_tree_write(&two[1], 1, vb_repo_put_raw, b->repo, &two[0].subtree, &err));
    for (unsigned i = 1; i < levels; i++) {
        struct vb_name name;
        assert_ok(vb_tree_write(two, 2, vb_repo_put_raw, b->repo, &name, &err));
        two[0].subtree = name;
    }
    two[0].name = ".";
    r->has_tree = true;
    assert_ok(vb_tree_write(two, 1, vb_repo_put_raw, b->repo, &r->tree, &err));
    assert_ok(vb_repo_commit(b->repo, e, &err));
    struct rlimit small = { 256 << 10, RLIM_INFINITY }, before;
    assert_int_equal(getrlimit(RLIMIT_STACK, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_STACK, &small), 0);
    assert_ok(vb_tree_walk(b->repo, &r->tree, measure, &d, &err));
    assert_int_equal(d.entries, 2 * levels);
    assert_int_equal(d.longest, 2 * levels - 1);
    assert_ok(vb_repo_check(b->repo, true, NULL, NULL, &err));
    VB_AUTO_BUF path = VB_BUF_INIT;
    for (unsigned i = 1; i < levels; i++)
        vb_buf_add_str(&path, "d/");
    vb_buf_add_str(&path, "z");
    VB_AUTO_TREE t = { 0 };
    const struct vb_tree_entry *found = NULL;
    assert_ok(vb_tree_lookup(b->repo, &r->tree, vb_buf_str(&path), &t, &found, &err));
    assert_int_equal(found->type, VB_TREE_FIFO);
    assert_int_equal(setrlimit(RLIMIT_STACK, &before), 0);
    vb_catalog_entry_free(e);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    const struct CMUnitTest tests[] = {
        T(trees_are_walked_and_looked_up),
        T(large_directories_are_read_in_parts),
        T(trees_of_12000_levels_are_walked_without_a_deep_stack),
    };
    return CM_RUN("repository_tree", tests);
}
