/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_pass.c - passes between real trees: no echo, conflicts, guards, what is kept. */
#include <config.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/mem.h"
#include "replica/apply.h"
#include "replica/item_file.h"
#include "replica/role.h"

static struct lab l;

static int start(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    lab_open(&l, 3);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    lab_close(&l);
    return 0;
}

#define assert_tree(at, text)                                                                          \
    do {                                                                                               \
        VB_AUTO_FREE char *lab_t = lab_tree(&l, at);                                                   \
        assert_string_equal(lab_t, text);                                                              \
    } while (0)
#define assert_alike(a, b)                                                                             \
    do {                                                                                               \
        VB_AUTO_FREE char *lab_a = lab_tree(&l, a);                                                    \
        VB_AUTO_FREE char *lab_b = lab_tree(&l, b);                                                    \
        assert_string_equal(lab_a, lab_b);                                                             \
    } while (0)
#define assert_quiet(from, to)                                                                         \
    do {                                                                                               \
        struct vb_pass_result lab_r = lab_go(&l, from, to);                                            \
        if (!vb_pass_quiet(&lab_r))                                                                    \
            fail_msg("not quiet: %s", vb_buf_str(&l.actions));                                         \
    } while (0)

static void no_echo(void **state)
{
    (void)state;
    lab_write(&l, 0, "f", "X");
    lab_go(&l, 0, 1);
    assert_tree(1, "f=X ");
    assert_quiet(1, 0);
    assert_int_equal(lab_tick(&l, 0), 1);
    assert_int_equal(lab_tick(&l, 1), 0);
    for (int i = 0; i < 10; i++) {
        assert_quiet(0, 1);
        assert_quiet(1, 0);
    }
    assert_int_equal(lab_tick(&l, 0), 1);
    assert_int_equal(lab_tick(&l, 1), 0);
}

static void a_ring(void **state)
{
    (void)state;
    lab_write(&l, 0, "d/f", "X");
    assert_int_equal(lab_go(&l, 0, 1).created, 2);
    assert_int_equal(lab_go(&l, 1, 2).created, 2);
    for (int i = 0; i < 2; i++) {
        assert_quiet(2, 0);
        assert_quiet(0, 1);
        assert_quiet(1, 2);
    }
}

static void conflict(void **state)
{
    (void)state;
    lab_write(&l, 0, "f.txt", "base");
    lab_both(&l, 0, 1);
    lab_write(&l, 0, "f.txt", "from A");
    lab_write(&l, 1, "f.txt", "from B");
    lab_mtime(&l, 0, "f.txt", 1000);
    lab_mtime(&l, 1, "f.txt", 2000);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.conflicts, 1);
    assert_int_equal(r.copies, 1);
    lab_go(&l, 1, 0);
    assert_alike(0, 1);
    VB_AUTO_FREE char *won = lab_read(&l, 0, "f.txt");
    assert_string_equal(won, "from B");
    assert_int_equal(lab_count(&l, 0, ".conflict-1000000000000-"), 1);
    assert_int_equal(lab_count(&l, 0, "=from A"), 1);
    assert_quiet(0, 1);
    assert_quiet(1, 0);
}

static void conflict_other_order(void **state)
{
    (void)state;
    lab_write(&l, 0, "f.txt", "base");
    lab_both(&l, 0, 1);
    lab_write(&l, 0, "f.txt", "from A");
    lab_write(&l, 1, "f.txt", "from B");
    lab_mtime(&l, 0, "f.txt", 1000);
    lab_mtime(&l, 1, "f.txt", 2000);
    lab_go(&l, 1, 0);
    lab_go(&l, 0, 1);
    assert_alike(0, 1);
    VB_AUTO_FREE char *won = lab_read(&l, 0, "f.txt");
    assert_string_equal(won, "from B");
    assert_int_equal(lab_count(&l, 1, "=from A"), 1);
    assert_quiet(0, 1);
}

static void the_same_edit(void **state)
{
    (void)state;
    lab_write(&l, 0, "f", "base");
    lab_both(&l, 0, 1);
    lab_write(&l, 0, "f", "same");
    lab_write(&l, 1, "f", "same");
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.conflicts, 0);
    assert_int_equal(r.converged, 1);
    lab_go(&l, 1, 0);
    assert_tree(0, "f=same ");
    assert_quiet(0, 1);
}

static void delete_against_edit(void **state)
{
    (void)state;
    lab_write(&l, 0, "f", "old");
    lab_write(&l, 0, "stays", "s");
    lab_both(&l, 0, 1);
    lab_go(&l, 0, 2);
    lab_remove(&l, 0, "f");
    lab_write(&l, 1, "f", "edited");
    lab_go(&l, 0, 1);
    lab_go(&l, 1, 0);
    assert_tree(0, "f=edited stays=s ");
    assert_tree(1, "f=edited stays=s ");
    lab_go(&l, 0, 2);
    assert_tree(2, "f=edited stays=s ");
}

static void touch_is_nothing(void **state)
{
    (void)state;
    lab_write(&l, 0, "f", "X");
    lab_go(&l, 0, 1);
    lab_mtime(&l, 0, "f", 5000);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, 0);
    assert_true(vb_pass_quiet(&r));
    assert_int_equal(lab_tick(&l, 0), 1);
}

static void policies(void **state)
{
    (void)state;
    static const struct { int policy; const char *left; size_t trash; } cases[] = {
        { VB_POLICY_SOURCE, "from A", 1 }, { VB_POLICY_TARGET, "from B", 1 }, { VB_POLICY_NEWER, "from B", 1 } };
    for (size_t i = 0; i < VB_COUNT(cases); i++) {
        struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
        struct vb_pass_result r;
        VB_AUTO_FREE char *name = vb_printf("f%zu", i);
        size_t before = lab_trash(&l, 1);
        lab_write(&l, 0, name, "base");
        lab_both(&l, 0, 1);
        lab_write(&l, 0, name, "from A");
        lab_write(&l, 1, name, "from B");
        lab_mtime(&l, 0, name, 1000);
        lab_mtime(&l, 1, name, 2000);
        o.policy = cases[i].policy;
        assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
        VB_AUTO_FREE char *left = lab_read(&l, 1, name);
        assert_string_equal(left, cases[i].left);
        assert_int_equal(lab_trash(&l, 1), before + cases[i].trash);
        lab_go(&l, 1, 0);
        assert_alike(0, 1);
    }
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    lab_write(&l, 0, "f0", "A again");
    lab_write(&l, 1, "f0", "B again");
    o.policy = VB_POLICY_DEFER;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_int_equal(r.deferred, 1);
    VB_AUTO_FREE char *a = lab_read(&l, 0, "f0");
    VB_AUTO_FREE char *b = lab_read(&l, 1, "f0");
    assert_string_equal(a, "A again");
    assert_string_equal(b, "B again");
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK); /* it comes again */
    assert_int_equal(r.deferred, 1);
}

static void renamed(void **state)
{
    (void)state;
    VB_AUTO_FREE char *big = vb_alloc(3u << 20);
    memset(big, 'x', (3u << 20) - 1);
    lab_write(&l, 0, "big.bin", big);
    lab_go(&l, 0, 1);
    VB_AUTO_FREE char *from = lab_path(&l, 0, "big.bin");
    VB_AUTO_FREE char *to = lab_path(&l, 0, "new.bin");
    assert_int_equal(rename(from, to), 0);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, 0);
    assert_int_equal(r.renamed, 1);
    assert_int_equal(lab_count(&l, 1, "big.bin"), 0);
    assert_int_equal(lab_count(&l, 1, "new.bin"), 1);
}

static void a_directory_renamed_and_edited(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        VB_AUTO_FREE char *name = vb_printf("d/x%d", i);
        lab_write(&l, 0, name, name);
    }
    lab_both(&l, 0, 1);
    VB_AUTO_FREE char *from = lab_path(&l, 0, "d");
    VB_AUTO_FREE char *to = lab_path(&l, 0, "e");
    assert_int_equal(rename(from, to), 0);
    lab_write(&l, 1, "d/x7", "edited at B");
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, 4); /* what B overwrote is not there any more to be copied */
    lab_go(&l, 1, 0);
    lab_go(&l, 0, 1);
    assert_alike(0, 1);
    assert_int_equal(lab_count(&l, 0, "e/x"), 40);
    assert_int_equal(lab_count(&l, 0, "edited at B"), 1);
    assert_quiet(0, 1);
    assert_quiet(1, 0);
}

static void kinds_change(void **state)
{
    (void)state;
    lab_write(&l, 0, "p", "file");
    lab_write(&l, 0, "q/x", "in q");
    lab_both(&l, 0, 1);
    lab_remove(&l, 0, "p");
    lab_write(&l, 0, "p/inner", "now a directory");
    lab_remove(&l, 0, "q");
    lab_write(&l, 0, "q", "now a file");
    lab_go(&l, 0, 1);
    assert_tree(1, "p/ p/inner=now a directory q=now a file ");
    assert_quiet(1, 0);
    assert_true(lab_trash(&l, 1) >= 2);
    lab_remove(&l, 1, "p");
    lab_write(&l, 1, "p", "a file again");
    lab_both(&l, 1, 0);
    assert_alike(0, 1);
    assert_int_equal(lab_count(&l, 0, "a file again"), 1);
}

static void attributes(void **state)
{
    (void)state;
    VB_AUTO_FREE char *f = lab_path(&l, 0, "f");
    VB_AUTO_FREE char *g = lab_path(&l, 1, "f");
    VB_AUTO_FREE char *s = lab_path(&l, 0, "link");
    VB_AUTO_FREE char *fifo = lab_path(&l, 0, "pipe");
    VB_AUTO_FREE char *odd = lab_path(&l, 0, "name\nwith \xff");
    struct stat a, b;
    char value[16] = "";
    lab_write(&l, 0, "f", "X");
    lab_write(&l, 0, "name\nwith \xff", "odd");
    assert_int_equal(chmod(f, 0640), 0);
    assert_int_equal(symlink("nowhere/at/all", s), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int has = setxattr(f, "user.note", "hello", 5, 0) == 0;
    lab_mtime(&l, 0, "f", 12345);
    assert_int_equal(lab_go(&l, 0, 1).failed, 0);
    assert_alike(0, 1);
    assert_int_equal(stat(f, &a), 0);
    assert_int_equal(stat(g, &b), 0);
    assert_int_equal(a.st_mode, b.st_mode);
    assert_int_equal(b.st_mtim.tv_sec, 12345);
    if (has)
        assert_int_equal(getxattr(g, "user.note", value, sizeof value), 5);
    assert_quiet(1, 0);
    /* and each of them alone */
    assert_int_equal(chmod(f, 0600), 0);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.changed, 1);
    assert_int_equal(r.bytes, 0);
    assert_int_equal(stat(g, &b), 0);
    assert_int_equal(b.st_mode & 07777, 0600);
    if (has) {
        assert_int_equal(removexattr(f, "user.note"), 0);
        assert_int_equal(lab_go(&l, 0, 1).changed, 1);
        assert_int_equal(getxattr(g, "user.note", value, sizeof value), -1);
    }
    assert_int_equal(access(odd, F_OK), 0);
}

static void the_guard(void **state)
{
    (void)state;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    for (int i = 0; i < 100; i++) {
        VB_AUTO_FREE char *name = vb_printf("f%03d", i);
        lab_write(&l, 0, name, name);
    }
    lab_go(&l, 0, 1);
    for (int i = 0; i < 60; i++) {
        VB_AUTO_FREE char *name = vb_printf("f%03d", i);
        lab_remove(&l, 0, name);
    }
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_E_GUARD);
    assert_contains(lab_error(), "60 of 100");
    assert_int_equal(lab_count(&l, 1, "f0"), 200); /* name and content */
    o.allow_deletes = 60;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_int_equal(r.deleted, 60);
    for (int i = 60; i < 100; i++) {
        VB_AUTO_FREE char *name = vb_printf("f%03d", i);
        lab_remove(&l, 0, name);
    }
    o.allow_deletes = 0;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_E_GUARD);
    o.allow_deletes = VB_DELETES_ALL;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_tree(1, "");
    assert_int_equal(lab_trash(&l, 1), 100);
}

static void exact(void **state)
{
    (void)state;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    lab_write(&l, 0, "a", "A");
    lab_write(&l, 0, "b", "B");
    lab_go(&l, 0, 1);
    lab_write(&l, 1, "extra", "only here");
    lab_write(&l, 1, "a", "changed here");
    lab_remove(&l, 1, "b");
    r = lab_go(&l, 0, 1);
    assert_int_equal(r.extra, 2);
    assert_tree(1, "a=changed here extra=only here ");
    o.exact = true;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_tree(1, "a=A b=B ");
    assert_int_equal(lab_trash(&l, 1), 2);
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_tree(1, "a=A b=B ");
}

static void dry_run(void **state)
{
    (void)state;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result dry, wet;
    lab_write(&l, 0, "f", "base");
    lab_write(&l, 0, "gone", "g");
    lab_both(&l, 0, 1);
    lab_write(&l, 0, "f", "from A");
    lab_write(&l, 1, "f", "from B");
    lab_write(&l, 0, "new", "n");
    lab_remove(&l, 0, "gone");
    lab_write(&l, 1, "late", "not known yet");
    lab_go(&l, 2, 0); /* scans A */
    VB_AUTO_FREE char *tree = lab_tree(&l, 1);
    o.dry_run = true;
    o.exact = false;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &dry), VB_OK);
    VB_AUTO_FREE char *would = vb_strdup(vb_buf_str(&l.actions));
    uint64_t tick = lab_tick(&l, 1);
    assert_int_equal(lab_pass(&l, 0, 1, &o, &dry), VB_OK);
    assert_int_equal(lab_tick(&l, 1), tick);
    assert_tree(1, tree);
    assert_int_equal(lab_trash(&l, 1), 0);
    wet = lab_go(&l, 0, 1);
    (void)wet;
    assert_string_equal(would, vb_buf_str(&l.actions));
}

static void offline(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    lab_write(&l, 0, "f", "X");
    lab_go(&l, 0, 1);
    VB_AUTO_FREE char *root = vb_printf("%s/t0", l.dir);
    VB_AUTO_FREE char *away = vb_printf("%s/away", l.dir);
    assert_int_equal(rename(root, away), 0);
    assert_int_equal(mkdir(root, 0755), 0); /* the empty mount point */
    struct vb_place_setup s = lab_setup(&l, 0);
    struct vb_place *p = NULL;
    assert_int_equal(vb_place_open(&s, "web", &p, &err), -1);
    assert_int_equal(err.code, VB_E_BUSY);
    assert_contains(err.text, "no marker");
    assert_int_equal(rmdir(root), 0);
    assert_int_equal(rename(away, root), 0);
    assert_quiet(0, 1);
}

static void locked(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_pass_result r;
    lab_write(&l, 0, "f", "X");
    for (int side = VB_SIDE_EXPORT; side <= VB_SIDE_IMPORT; side++) {
        size_t at = side == VB_SIDE_EXPORT ? 0 : 1;
        struct vb_place *p = lab_place(&l, at);
        assert_ok(vb_replica_begin(p->store, &err));
        assert_ok(vb_replica_lock(p->store, p->scope.id, (enum vb_side)side, "test", "", &err));
        assert_ok(vb_replica_commit(p->store, &err));
        vb_place_close(p);
        assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_E_BUSY);
        assert_contains(lab_error(), "locked");
        assert_tree(1, "");
        p = lab_place(&l, at);
        assert_ok(vb_replica_begin(p->store, &err));
        assert_ok(vb_replica_unlock(p->store, p->scope.id, (enum vb_side)side, false, &err));
        assert_ok(vb_replica_commit(p->store, &err));
        vb_place_close(p);
    }
    lab_go(&l, 0, 1);
    assert_tree(1, "f=X ");
}

static void unseen_edits(void **state)
{
    (void)state;
    /* an edit between the destination's scan and the apply: the lab scans, so the edit is made by the source's side channel */
    lab_write(&l, 0, "d/f", "base");
    lab_both(&l, 0, 1);
    lab_write(&l, 0, "d/f", "from A");
    lab_write(&l, 1, "d/f", "from B, in the same second");
    lab_both(&l, 0, 1);
    lab_both(&l, 0, 1);
    assert_alike(0, 1);
    assert_int_equal(lab_count(&l, 0, "from A"), 1);
    assert_int_equal(lab_count(&l, 0, "from B"), 1);
}

static void trash_follows_no_link(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *outside = vb_printf("%s/outside", l.dir);
    struct timespec now;
    lab_write(&l, 1, "x", "X");
    assert_int_equal(mkdir(outside, 0755), 0);
    VB_AUTO_PLACE *p = lab_place(&l, 1);
    assert_ok(vb_file_clock(p, &now, &err));
    VB_AUTO_FREE char *dir = vb_printf("trash/%lld", (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    VB_AUTO_FREE char *link = vb_printf("%s/a", dir);
    assert_int_equal(mkdirat(p->own, dir, 0700), 0);
    assert_int_equal(symlinkat(outside, p->own, link), 0); /* thrown away a moment ago */
    assert_int_equal(vb_trash(p, p->root, "x", "a/b/x", &err), -1);
    assert_int_equal(rmdir(outside), 0);                   /* nothing was made in it */
    assert_int_equal(faccessat(p->root, "x", F_OK, 0), 0);
}

#define T(name, fn) { name, fn, start, stop, NULL }
static void set_role(size_t at, enum vb_replica_role role)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_PLACE *p = lab_place(&l, at);
    assert_ok(vb_replica_begin(p->store, &err));
    assert_ok(vb_place_set_role(p, role, &err));
    assert_ok(vb_replica_commit(p->store, &err));
}

static void one_master(void **state)
{
    (void)state;
    struct vb_pass_result r;
    lab_write(&l, 0, "f", "first master");
    lab_write(&l, 1, "g", "second master");
    set_role(2, VB_ROLE_IMPORT);
    lab_go(&l, 0, 2);
    assert_int_equal(lab_pass(&l, 1, 2, NULL, &r), VB_E_GUARD);
    assert_contains(lab_error(), "takes its changes from another replica already");
    assert_int_equal(lab_count(&l, 2, "second"), 0);
    lab_write(&l, 0, "f", "goes on");
    lab_go(&l, 0, 2);
    assert_int_equal(lab_count(&l, 2, "f=goes on"), 1);
    set_role(2, VB_ROLE_IMPORT); /* the other may take over now */
    lab_go(&l, 1, 2);
    assert_int_equal(lab_count(&l, 2, "g=second master"), 1);
    assert_int_equal(lab_pass(&l, 0, 2, NULL, &r), VB_E_GUARD);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        T("REPL-T16 nothing echoes", no_echo),
        T("REPL-T17 a ring of three", a_ring),
        T("REPL-T18 a conflict has a winner and a copy", conflict),
        T("REPL-T19 in either order of passes", conflict_other_order),
        T("REPL-T20 the same edit on both sides", the_same_edit),
        T("REPL-T21 an edit survives a deletion", delete_against_edit),
        T("REPL-T26 touch alone is nothing", touch_is_nothing),
        T("REPL-T27 policies, losers in the trash, deferred comes again", policies),
        T("REPL-T28 an edit on the other side is not lost", unseen_edits),
        T("REPL-T29 a renamed file is not sent", renamed),
        T("REPL-T30 a renamed directory with an edit on the other side", a_directory_renamed_and_edited),
        T("REPL-T31 file and directory change places", kinds_change),
        T("REPL-T32 REPL-T33 names, links, modes, attributes", attributes),
        T("REPL-T51 the deletion guard", the_guard),
        T("REPL-T62 locks at either side", locked),
        T("REPL-T78 extra files, and exact", exact),
        T("REPL-T76 REPL-REP-10 an importing scope has one master", one_master),
        T("REPL-T94 a dry run says what the run does", dry_run),
        T("REPL-T50 a root that is not mounted", offline),
        T("REPL-DSN-36 the trash follows no link", trash_follows_no_link),
    };
    return CM_RUN("passes", t);
}
