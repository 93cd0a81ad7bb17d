/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_pass_meet.c - real trees: three that meet in odd orders, clocks that jump, stores that are lost or copied. */
#include <config.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"

static struct lab l;

static int start(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    lab_open(&l, 3);
    return 0;
}

static int end(void **state)
{
    (void)state;
    lab_close(&l);
    return 0;
}

static struct vb_knowledge *known(size_t at)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_PLACE *p = lab_place(&l, at);
    assert_ok(vb_scan(p, NULL, &l.scan[0], &err)); /* it knows what its tree is */
    return vb_replica_knowledge(p->store, p->scope.id, "", NULL, &err);
}

/* At no moment may two know the same and hold different trees. */
static void never_equal_and_different(void)
{
    for (size_t a = 0; a < l.n; a++)
        for (size_t b = a + 1; b < l.n; b++) {
            VB_AUTO_KNOWLEDGE *ka = known(a), *kb = known(b);
            VB_AUTO_FREE char *ta = lab_tree(&l, a), *tb = lab_tree(&l, b);
            if (vb_knowledge_equal(ka, kb) && strcmp(ta, tb) != 0)
                fail_msg("%zu and %zu know the same, but hold '%s' and '%s'", a, b, ta, tb);
        }
}

static void meet(size_t a, size_t b)
{
    lab_go(&l, a, b);
    never_equal_and_different();
    lab_go(&l, b, a);
    never_equal_and_different();
}

static void all_meet_twice(void)
{
    for (int i = 0; i < 2; i++) {
        meet(0, 1);
        meet(1, 2);
        meet(0, 2);
    }
}

static void assert_all(const char *want)
{
    for (size_t i = 0; i < l.n; i++) {
        VB_AUTO_FREE char *t = lab_tree(&l, i);
        assert_string_equal(t, want);
    }
}

static void base_everywhere(void)
{
    lab_write(&l, 0, "f", "base");
    lab_mtime(&l, 0, "f", 1000);
    lab_go(&l, 0, 1);
    lab_go(&l, 0, 2);
}

static void delete_edit_old(void **state)
{
    (void)state;
    base_everywhere();
    lab_remove(&l, 0, "f");
    lab_write(&l, 1, "f", "from B");
    meet(2, 1);
    meet(2, 0);
    all_meet_twice();
    assert_all("f=from B ");
}

static void edit_delete_edit(void **state)
{
    (void)state;
    base_everywhere();
    lab_write(&l, 0, "f", "A2");
    lab_mtime(&l, 0, "f", 3000);
    lab_go(&l, 0, 2);
    lab_remove(&l, 0, "f");
    lab_write(&l, 1, "f", "B1");
    lab_mtime(&l, 1, "f", 2000);
    meet(2, 1);
    meet(0, 1);
    all_meet_twice();
    VB_AUTO_FREE char *t = lab_tree(&l, 0);
    assert_all(t);
    assert_int_equal(lab_count(&l, 0, "f=A2 "), 1);
    assert_int_equal(lab_count(&l, 0, "f.conflict-"), 1);
    assert_int_equal(lab_count(&l, 0, "=B1 "), 1);
}

static void two_resolvers(void **state)
{
    (void)state;
    base_everywhere();
    lab_write(&l, 0, "f", "A");
    lab_mtime(&l, 0, "f", 3000);
    lab_write(&l, 1, "f", "B");
    lab_mtime(&l, 1, "f", 2000);
    /* C takes A's; then A resolves with B, and B with C, neither knowing of the other */
    lab_go(&l, 0, 2);
    lab_go(&l, 1, 0); /* resolved at A */
    lab_go(&l, 2, 1); /* resolved at B */
    assert_int_equal(lab_count(&l, 0, ".conflict-"), 1);
    assert_int_equal(lab_count(&l, 1, ".conflict-"), 1);
    meet(0, 1);
    VB_AUTO_FREE char *t = lab_tree(&l, 0), *u = lab_tree(&l, 1);
    assert_string_equal(t, u);
    assert_int_equal(lab_count(&l, 0, ".conflict-"), 1);
    meet(0, 1);
    all_meet_twice();
    assert_all(t);
}

static void clock_ahead(void **state)
{
    (void)state;
    base_everywhere();
    lab_mtime(&l, 1, "f", 4000000000); /* B's clock is far ahead; a touch is no change */
    lab_go(&l, 0, 1);
    lab_write(&l, 0, "f", "edited");
    lab_mtime(&l, 0, "f", 2000);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.conflicts, 0);
    assert_int_equal(r.changed, 1);
    VB_AUTO_FREE char *is = lab_read(&l, 1, "f");
    assert_string_equal(is, "edited");
}

static void clock_back(void **state)
{
    (void)state;
    base_everywhere();
    int64_t was = lab_now_ms;
    lab_now_ms -= 365 * 86400000LL;
    lab_write(&l, 0, "f", "later, says nobody");
    lab_mtime(&l, 0, "f", -40000000);
    assert_int_equal(lab_go(&l, 0, 1).changed, 1);
    VB_AUTO_FREE char *is = lab_read(&l, 1, "f");
    assert_string_equal(is, "later, says nobody");
    lab_now_ms = was;
}

/* ---- stores lost, set back, copied ---- */

static char *store_of(size_t at)
{
    return vb_printf("%s/s%zu/replica/web.db", l.dir, at);
}

static void copy_file(const char *from, const char *to)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_read_file_at(AT_FDCWD, from, 1u << 30, &b, &err));
    assert_ok(vb_write_file_at(AT_FDCWD, to, b.data, b.len, 0600, &err));
}

static struct vb_replica_id id_of(size_t at)
{
    VB_AUTO_PLACE *p = lab_place(&l, at);
    return *vb_replica_own(p->store);
}

static void store_deleted(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    lab_write(&l, 0, "same", "1");
    lab_write(&l, 0, "missing", "1");
    lab_both(&l, 0, 1);
    const struct vb_replica_id was = id_of(0);
    VB_AUTO_FREE char *store = store_of(0);
    assert_int_equal(unlink(store), 0);
    lab_remove(&l, 0, "missing");      /* lost with the store */
    lab_write(&l, 0, "extra", "only A");
    struct vb_place_setup s = lab_setup(&l, 0);
    VB_AUTO_FREE char *root = vb_printf("%s/t0", l.dir);
    assert_ok(vb_place_add(&s, "web", root, NULL, false, &l.settings, &err)); /* the marker says which scope it is */
    const struct vb_replica_id is = id_of(0);
    assert_int_not_equal(vb_replica_id_compare(&was, &is), 0);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(l.scan[0].deleted, 0);
    assert_int_equal(r.conflicts + r.deleted, 0);
    r = lab_go(&l, 1, 0);
    assert_int_equal(r.conflicts + r.deleted, 0);
    VB_AUTO_FREE char *a = lab_tree(&l, 0), *b = lab_tree(&l, 1);
    assert_string_equal(a, "extra=only A missing=1 same=1 ");
    assert_string_equal(a, b);
}

static void store_restored(void **state)
{
    (void)state;
    for (int marker_too = 0; marker_too < 2; marker_too++) {
        VB_AUTO_FREE char *store = store_of(0), *old = vb_printf("%s/old.db", l.dir), *marker = lab_path(&l, 0, VB_PLACE_DIR "/scope");
        VB_AUTO_FREE char *old_marker = vb_printf("%s/old.marker", l.dir);
        char name[32];
        lab_write(&l, 0, "f", marker_too ? "1b" : "1");
        lab_both(&l, 0, 1);
        copy_file(store, old); /* closed: all of it is in the file */
        copy_file(marker, old_marker);
        const struct vb_replica_id was = id_of(0);
        /* enough versions that a block more was reserved, as some days of use would */
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_place *p = lab_place(&l, 0);
        assert_ok(vb_replica_reserve(p->store, 5 * VB_PLACE_TICKS, &err));
        VB_AUTO_BUF text = VB_BUF_INIT;
        vb_replica_marker(p->store, &p->scope, &text);
        assert_ok(vb_write_file_at(p->own, "scope", text.data, text.len, 0600, &err));
        vb_place_close(p);
        snprintf(name, sizeof name, "yesterday%d", marker_too);
        lab_write(&l, 0, name, "1");
        lab_write(&l, 0, "f", marker_too ? "2b" : "2");
        lab_go(&l, 0, 1);
        copy_file(old, store);
        if (marker_too)
            copy_file(old_marker, marker);
        snprintf(name, sizeof name, "after%d", marker_too);
        lab_write(&l, 0, name, "made after the restore");
        struct vb_pass_result r;
        enum vb_code c = lab_pass(&l, 0, 1, NULL, &r);
        if (marker_too && c == VB_E_BUSY) /* B knew; it says: again */
            c = lab_pass(&l, 0, 1, NULL, &r);
        assert_int_equal(c, VB_OK);
        lab_both(&l, 0, 1);
        const struct vb_replica_id is = id_of(0);
        assert_int_not_equal(vb_replica_id_compare(&was, &is), 0);
        assert_int_equal(lab_count(&l, 1, "made after the restore"), (size_t)marker_too + 1);
        assert_int_equal(lab_count(&l, 0, ".conflict-"), 0);
        VB_AUTO_FREE char *a = lab_tree(&l, 0), *b = lab_tree(&l, 1);
        assert_string_equal(a, b);
    }
}

static int64_t now_of(void *arg)
{
    (void)arg;
    return lab_now_ms;
}

/* Store and tree copied to another machine: two of the same identity, until the copy starts. */
static void machine_copied(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    lab_write(&l, 0, "f", "1");
    lab_both(&l, 0, 1);
    const struct vb_replica_id was = id_of(0);
    VB_AUTO_FREE char *from = store_of(0), *to = store_of(2);
    VB_AUTO_FREE char *m = lab_path(&l, 0, VB_PLACE_DIR "/scope"), *n = lab_path(&l, 2, VB_PLACE_DIR "/scope");
    copy_file(from, to);
    copy_file(m, n);
    lab_write(&l, 2, "f", "1");
    /* its root stands in the store: the same name on the other machine, so it is put where the copy is */
    VB_AUTO_FREE char *root = vb_printf("%s/t2", l.dir);
    struct vb_replica_setup setup = { .machine = "another", .now_ms = now_of };
    struct vb_replica *r = NULL;
    assert_ok(vb_replica_open(AT_FDCWD, to, &setup, &r, &err));
    assert_int_not_equal(vb_replica_id_compare(&was, vb_replica_own(r)), 0);
    struct vb_scope s;
    int64_t id;
    assert_ok(vb_replica_scope_find(r, "web", &s, &err));
    assert_false(s.trusted);
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_scope_drop(r, s.id, &err));
    assert_ok(vb_replica_scope_add(r, "web", root, s.guid, s.device, &id, &err));
    assert_ok(vb_replica_scope_set(r, id, &l.settings, &err));
    assert_ok(vb_replica_commit(r, &err));
    vb_scope_clear(&s);
    vb_replica_close(r);
    /* edits on both: they arrive everywhere */
    lab_write(&l, 0, "a", "of the original");
    lab_write(&l, 2, "d", "of the copy");
    all_meet_twice();
    assert_all("a=of the original d=of the copy f=1 ");
}

/* ---- a filter ---- */

static void excluded_is_not_deleted(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    lab_write(&l, 0, "f", "1");
    lab_write(&l, 0, "x.tmp", "1");
    lab_both(&l, 0, 1);
    struct vb_place *p = lab_place(&l, 0);
    free(p->set.filter);
    p->set.filter = vb_strdup("pattern:*.tmp\n");
    assert_ok(vb_replica_begin(p->store, &err));
    assert_ok(vb_replica_scope_set(p->store, p->scope.id, &p->set, &err));
    assert_ok(vb_replica_commit(p->store, &err));
    vb_place_close(p);
    lab_write(&l, 0, "g", "1");
    lab_write(&l, 0, "y.tmp", "1");
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.deleted, 0);
    VB_AUTO_FREE char *b = lab_tree(&l, 1);
    assert_string_equal(b, "f=1 g=1 x.tmp=1 ");
    lab_write(&l, 1, "z.tmp", "1"); /* the other side sends it; this one does not take it */
    lab_go(&l, 1, 0);
    VB_AUTO_FREE char *a = lab_tree(&l, 0);
    assert_string_equal(a, "f=1 g=1 x.tmp=1 y.tmp=1 ");
}

/* ---- one process, one schema ---- */

static void in_use(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_place *p = lab_place(&l, 0);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    pid_t child = fork();
    if (child == 0) {
        struct vb_place_setup s = lab_setup(&l, 0);
        struct vb_place *q = NULL;
        char pid[32];
        snprintf(pid, sizeof pid, "process %ld", (long)getppid());
        _exit(vb_place_open(&s, "web", &q, &err) < 0 && err.code == VB_E_BUSY && strstr(vb_error_text(&err), pid) ? 7 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_true(b.tv_sec - a.tv_sec < 30); /* it does not wait for the first one to end */
    assert_int_equal(vb_code_exit(VB_E_BUSY), VB_EXIT_BUSY);
    lab_write(&l, 0, "f", "1");
    assert_ok(vb_scan(p, NULL, &l.scan[0], &err)); /* the first one is undisturbed */
    assert_int_equal(l.scan[0].created, 1);
    vb_place_close(p);
}

static void newer_schema(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *store = store_of(0);
    VB_AUTO_BUF before = VB_BUF_INIT, after = VB_BUF_INIT;
    /* user_version stands at offset 60 of the file, big endian */
    int fd = open(store, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\0\0\0\7", 4, 60), 4);
    close(fd);
    assert_ok(vb_read_file_at(AT_FDCWD, store, 1u << 30, &before, &err));
    struct vb_place_setup s = lab_setup(&l, 0);
    struct vb_place *p = NULL;
    assert_int_equal(vb_place_open(&s, "web", &p, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    assert_contains(vb_error_text(&err), "version 7");
    vb_error_clear(&err);
    assert_ok(vb_read_file_at(AT_FDCWD, store, 1u << 30, &after, &err));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
}

int main(void)
{
#define T(name, fn) { name, fn, start, end, NULL }
    const struct CMUnitTest t[] = {
        T("REPL-T22 a deletion, an edit and an old copy meet", delete_edit_old),
        T("REPL-T22 variant: an edit and its deletion against another edit", edit_delete_edit),
        T("REPL-T23 two resolvers make one copy", two_resolvers),
        T("REPL-T24 a clock that is ahead makes no conflict", clock_ahead),
        T("REPL-T25 a clock that jumps back hides no edit", clock_back),
        T("REPL-T53 a store that was lost", store_deleted),
        T("REPL-T54 a store that was set back, without and with its marker", store_restored),
        T("REPL-T55 store and tree copied to another machine", machine_copied),
        T("REPL-DSN-23 what a filter leaves out is not deleted", excluded_is_not_deleted),
        T("REPL-T56 a second process gets 'in use'", in_use),
        T("REPL-T56 a newer schema is refused, the file as it was", newer_schema),
    };
    return CM_RUN("pass_meet", t);
}
