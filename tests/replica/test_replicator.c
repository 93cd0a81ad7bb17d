/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_replicator.c - exported and imported directories by the calls of the public header (rule book part 3). */
#include <config.h>
#include <signal.h>
#include <sys/stat.h>
#include "tests/replica/pass_lab.h"
#include "vbackup/replica.h"

static struct vb_replicator *at(struct lab *l, size_t i)
{
    return vb_replicator_open(lab_setup(l, i).state_dir, NULL, NULL);
}

#define rp_ok(r, call)                                                                      \
    do {                                                                                    \
        enum vb_code rp_code = (call);                                                      \
        if (rp_code != VB_OK)                                                               \
            fail_msg("%s: %s %s", #call, vb_code_name(rp_code), vb_replicator_error(r));    \
    } while (0)

static void info_by_level(void **state)
{
    (void)state;
    struct lab l = { .n = 0 };
    lab_open(&l, 1);
    struct vb_replicator *r = at(&l, 0);
    struct vb_replicator_info *i, set = { .size = sizeof set, .role = VB_ROLE_EXPORT, .interval_s = 600, .pulse = 3, .guard_s = 200, .random_s = 5 };
    const char *field;
    enum vb_code code;
    char *text = NULL;
    assert_null(vb_replicator_open("state", &code, &text));
    assert_int_equal(code, VB_E_USAGE);
    free(text);
    rp_ok(r, vb_replicator_get_info(r, "web", 0, &i));
    assert_int_equal(i->role, VB_ROLE_BOTH);
    assert_int_equal(i->interval_s, 300);
    assert_int_equal(i->pulse, 2);
    assert_int_equal(i->guard_s, 120);
    assert_int_equal(i->random_s, 60);
    assert_contains(i->path, "/t0");
    assert_string_equal(i->export_list, "");
    free(i);
    rp_ok(r, vb_replicator_set_info(r, "web", 0, &set, &field));
    for (unsigned level = 1000; level <= 1003; level++) {
        const uint32_t want[] = { 600, 3, 200, 5 };
        rp_ok(r, vb_replicator_get_info(r, "web", level, &i));
        const uint32_t is[] = { i->interval_s, i->pulse, i->guard_s, i->random_s };
        for (unsigned k = 0; k < 4; k++)
            assert_int_equal(is[k], k == level - 1000 ? want[k] : 0);
        free(i);
    }
    /* the first bad field is named; nothing of it is kept */
    set.guard_s = 301;
    assert_int_equal(vb_replicator_set_info(r, "web", 1002, &set, &field), VB_E_USAGE);
    assert_string_equal(field, "guard");
    set.interval_s = 0;
    assert_int_equal(vb_replicator_set_info(r, "web", 0, &set, &field), VB_E_USAGE);
    assert_string_equal(field, "interval");
    set.role = (enum vb_replica_role)4;
    assert_int_equal(vb_replicator_set_info(r, "web", 0, &set, &field), VB_E_USAGE);
    assert_string_equal(field, "role");
    assert_int_equal(vb_replicator_set_info(r, "web", 7, &set, NULL), VB_E_USAGE);
    assert_int_equal(vb_replicator_get_info(r, "none", 0, &i), VB_E_NOT_FOUND);
    set.random_s = 9;
    rp_ok(r, vb_replicator_set_info(r, "web", 1003, &set, NULL));
    rp_ok(r, vb_replicator_get_info(r, "web", 0, &i));
    assert_int_equal(i->random_s, 9);
    assert_int_equal(i->guard_s, 200);
    assert_int_equal(i->role, VB_ROLE_EXPORT);
    free(i);
    vb_replicator_close(r);
    lab_close(&l);
}

static int names(void *arg, const struct vb_export_dir *d)
{
    vb_buf_addf(arg, "%s ", d->name);
    return 0;
}

static void export_dirs(void **state)
{
    (void)state;
    struct lab l = { .n = 0 };
    lab_open(&l, 1);
    struct vb_replicator *r = at(&l, 0);
    struct vb_export_dir *d, add = { .size = sizeof add, .name = "pages", .integrity = VB_INTEGRITY_TREE, .extent = VB_EXTENT_FILE };
    const char *field;
    VB_AUTO_FREE char *path = vb_printf("%s/pages", l.dir);
    add.path = path;
    assert_int_equal(vb_replicator_export_add(r, 1, &add, &field), VB_E_NOT_FOUND); /* an existing directory only */
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(vb_replicator_export_add(r, 2, &add, &field), VB_E_USAGE);
    add.integrity = (enum vb_integrity)3;
    assert_int_equal(vb_replicator_export_add(r, 1, &add, &field), VB_E_USAGE);
    assert_string_equal(field, "integrity");
    add.integrity = VB_INTEGRITY_TREE;
    rp_ok(r, vb_replicator_export_add(r, 1, &add, &field));
    assert_int_equal(vb_replicator_export_add(r, 1, &add, &field), VB_E_EXISTS);
    VB_AUTO_BUF b = VB_BUF_INIT;
    rp_ok(r, vb_replicator_export_enum(r, 0, names, &b));
    assert_string_equal(vb_buf_str(&b), "pages web ");
    assert_int_equal(vb_replicator_export_enum(r, 3, names, &b), VB_E_USAGE);
    rp_ok(r, vb_replicator_export_get(r, "pages", 0, &d));
    assert_null(d->path);
    free(d);
    rp_ok(r, vb_replicator_export_get(r, "pages", 2, &d));
    assert_int_equal(d->integrity, VB_INTEGRITY_TREE);
    assert_int_equal(d->extent, VB_EXTENT_FILE);
    assert_int_equal(d->lock_count, 0);
    assert_int_equal(d->lock_time, 0);
    assert_int_equal(strlen(d->scope_id), 36);
    free(d);
    add.extent = VB_EXTENT_TREE;
    add.integrity = VB_INTEGRITY_FILE;
    rp_ok(r, vb_replicator_export_set(r, "pages", 1001, &add, NULL)); /* the extent alone */
    rp_ok(r, vb_replicator_export_get(r, "pages", 1, &d));
    assert_int_equal(d->integrity, VB_INTEGRITY_TREE);
    assert_int_equal(d->extent, VB_EXTENT_TREE);
    free(d);
    rp_ok(r, vb_replicator_export_set(r, "pages", 1000, &add, NULL));
    assert_int_equal(vb_replicator_export_set(r, "pages", 2, &add, NULL), VB_E_USAGE); /* locks cannot be set */
    rp_ok(r, vb_replicator_export_del(r, "pages"));
    assert_int_equal(vb_replicator_export_get(r, "pages", 0, &d), VB_E_NOT_FOUND);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    /* one that does both gives up one part */
    rp_ok(r, vb_replicator_export_del(r, "web"));
    assert_int_equal(vb_replicator_export_lock(r, "web"), VB_E_NOT_FOUND);
    add = (struct vb_export_dir){ .size = sizeof add, .name = "web", .integrity = VB_INTEGRITY_FILE, .extent = VB_EXTENT_TREE };
    rp_ok(r, vb_replicator_export_add(r, 1, &add, &field));
    rp_ok(r, vb_replicator_export_lock(r, "web"));
    vb_replicator_close(r);
    lab_close(&l);
}

static void locks(void **state)
{
    (void)state;
    struct lab l = { .n = 0 };
    lab_open(&l, 2);
    struct vb_replicator *r = at(&l, 0), *s = at(&l, 1);
    struct vb_export_dir *d;
    struct vb_import_dir *i;
    struct vb_pass_result x;
    lab_write(&l, 0, "f", "1");
    rp_ok(r, vb_replicator_export_lock(r, "web"));
    rp_ok(r, vb_replicator_export_get(r, "web", 2, &d));
    int64_t first = d->lock_time;
    assert_true(first > 0);
    free(d);
    rp_ok(r, vb_replicator_export_lock(r, "web"));
    rp_ok(r, vb_replicator_export_get(r, "web", 2, &d));
    assert_int_equal(d->lock_count, 2);
    assert_int_equal(d->lock_time, first);
    free(d);
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &x), VB_E_BUSY);
    rp_ok(r, vb_replicator_export_unlock(r, "web", false));
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &x), VB_E_BUSY);
    rp_ok(r, vb_replicator_export_lock(r, "web"));
    rp_ok(r, vb_replicator_export_unlock(r, "web", true));
    assert_int_equal(vb_replicator_export_unlock(r, "web", false), VB_E_BAD_STATE);
    rp_ok(s, vb_replicator_import_lock(s, "web"));
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &x), VB_E_BUSY);
    rp_ok(s, vb_replicator_import_get(s, "web", 1, &i));
    assert_int_equal(i->lock_count, 1);
    assert_int_equal(i->state, VB_IMPORT_NEVER);
    assert_int_equal(i->reason, VB_REASON_LOCKED);
    free(i);
    rp_ok(s, vb_replicator_import_unlock(s, "web", false));
    lab_go(&l, 0, 1);
    assert_int_equal(vb_replicator_import_unlock(s, "web", true), VB_E_BAD_STATE);
    vb_replicator_close(r);
    vb_replicator_close(s);
    lab_close(&l);
}

static int imports(void *arg, const struct vb_import_dir *d)
{
    vb_buf_addf(arg, "%s=%s ", d->name, vb_import_state_word(d->state));
    return 0;
}

static void import_dirs(void **state)
{
    (void)state;
    struct lab l = { .n = 0 };
    lab_open(&l, 2);
    struct vb_replicator *r = at(&l, 0), *s = at(&l, 1);
    struct vb_import_dir *i, add = { .size = sizeof add, .name = "early" };
    struct vb_export_dir *d;
    struct stat st;
    rp_ok(r, vb_replicator_export_get(r, "web", 1, &d));
    VB_AUTO_FREE char *root = vb_printf("%s/early/tree", l.dir);
    /* T71: before the first success */
    rp_ok(s, vb_replicator_import_get(s, "web", 1, &i));
    assert_int_equal(i->state, VB_IMPORT_NEVER);
    assert_string_equal(i->master, "");
    assert_int_equal(i->last_update, 0);
    free(i);
    lab_write(&l, 0, "f", "1");
    lab_go(&l, 0, 1);
    rp_ok(s, vb_replicator_import_get(s, "web", 1, &i));
    assert_int_equal(i->state, VB_IMPORT_OK);
    assert_int_equal(strlen(i->master), 8);
    assert_int_equal(i->last_update, lab_now_ms / 1000);
    free(i);
    /* T75: in advance, locked: no directory, no update */
    assert_int_equal(vb_replicator_import_add(s, 1, &add), VB_E_USAGE);
    assert_int_equal(vb_replicator_import_add(s, 0, &add), VB_E_USAGE);
    add.path = root;
    add.scope_id = d->scope_id;
    rp_ok(s, vb_replicator_import_add(s, 0, &add));
    assert_int_equal(vb_replicator_import_add(s, 0, &add), VB_E_EXISTS);
    rp_ok(s, vb_replicator_import_lock(s, "early"));
    assert_int_equal(vb_replicator_export_lock(s, "early"), VB_E_NOT_FOUND); /* it is imported only */
    struct vb_place_setup setup = lab_setup(&l, 1);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_place *p = NULL;
    assert_int_equal(vb_place_open(&setup, "early", &p, &err), -1);
    assert_int_equal(err.code, VB_E_BUSY);
    assert_int_equal(stat(root, &st), -1);
    rp_ok(s, vb_replicator_import_unlock(s, "early", false));
    assert_ok(vb_place_open(&setup, "early", &p, &err));
    assert_int_equal(stat(root, &st), 0);
    vb_place_close(p);
    assert_ok(vb_place_open(&setup, "early", &p, &err));
    vb_place_close(p);
    VB_AUTO_BUF b = VB_BUF_INIT;
    rp_ok(s, vb_replicator_import_enum(s, 1, imports, &b));
    assert_string_equal(vb_buf_str(&b), "early=NEVER_REPLICATED web=OK ");
    assert_int_equal(vb_replicator_import_enum(s, 2, imports, &b), VB_E_USAGE);
    rp_ok(s, vb_replicator_import_del(s, "early")); /* the files stay */
    assert_int_equal(stat(root, &st), 0);
    free(d);
    vb_replicator_close(r);
    vb_replicator_close(s);
    lab_close(&l);
}

static void roles(void **state)
{
    (void)state;
    struct lab l = { .n = 0 };
    lab_open(&l, 2);
    struct vb_replicator *s = at(&l, 1);
    struct vb_pass_result x;
    struct vb_import_dir *i;
    rp_ok(s, vb_replicator_import_del(s, "web")); /* it only exports from now on */
    lab_write(&l, 0, "f", "1");
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &x), VB_E_ACCESS_DENIED);
    assert_contains(lab_error(), "its role is export");
    assert_int_equal(vb_replicator_import_get(s, "web", 1, &i), VB_E_NOT_FOUND);
    lab_write(&l, 1, "g", "1");
    lab_go(&l, 1, 0);
    struct vb_replicator *r = at(&l, 0);
    rp_ok(r, vb_replicator_export_del(r, "web"));
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &x), VB_E_ACCESS_DENIED);
    vb_replicator_close(r);
    vb_replicator_close(s);
    lab_close(&l);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest t[] = {
        CM_TEST("REPL-REP-3.2 NetReplGetInfo, NetReplSetInfo: levels, ranges, the first bad field", info_by_level),
        CM_TEST("REPL-REP-3.3 REPL-T61 NetReplExportDir Add, Del, Enum, GetInfo, SetInfo", export_dirs),
        CM_TEST("REPL-REP-3.5 REPL-REP-39 NetRepl...DirLock, ...DirUnlock", locks),
        CM_TEST("REPL-REP-3.4 REPL-T71 REPL-T75 NetReplImportDir Add, Del, Enum, GetInfo", import_dirs),
        CM_TEST("REPL-REP-2 a scope exports, imports, or both", roles),
    };
    return CM_RUN("replicator", t);
}
