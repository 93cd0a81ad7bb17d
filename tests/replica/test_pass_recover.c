/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_pass_recover.c - real trees: tombstones that expired, replicas that were away, full enumeration. */
#include <config.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/mem.h"

#define DAY_MS 86400000LL

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

/* What died more than 180 days ago is forgotten at `at`. */
static uint64_t expire(size_t at, const struct vb_knowledge *const *acked, size_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_PLACE *p = lab_place(&l, at);
    const struct vb_expiry x = { .keep_ms = 180 * (uint64_t)DAY_MS, .acked = acked, .n_acked = n };
    uint64_t removed;
    bool back;
    assert_ok(vb_replica_begin(p->store, &err));
    assert_ok(vb_replica_expire(p->store, p->scope.id, &x, &removed, &back, &err));
    assert_ok(vb_replica_commit(p->store, &err));
    assert_false(back);
    return removed;
}

static struct vb_knowledge *known(size_t at)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_PLACE *p = lab_place(&l, at);
    return vb_replica_knowledge(p->store, p->scope.id, "", NULL, &err);
}

static uint64_t tombstones(size_t at)
{
    uint64_t live, dead;
    VB_AUTO_PLACE *p = lab_place(&l, at);
    assert_int_equal(vb_replica_count(p->store, p->scope.id, &live, &dead, NULL), 0);
    return dead;
}

static void assert_tree(size_t at, const char *want)
{
    VB_AUTO_FREE char *t = lab_tree(&l, at);
    assert_string_equal(t, want);
}

/* f, g and m everywhere at A and B; A deletes f and m, and half a year passes. */
static void away(void)
{
    lab_write(&l, 0, "f", "1");
    lab_write(&l, 0, "g", "1");
    lab_write(&l, 0, "m", "1");
    lab_both(&l, 0, 1);
    lab_remove(&l, 0, "f");
    lab_remove(&l, 0, "m");
    lab_go(&l, 0, 2);
    lab_now_ms += 179 * DAY_MS;
    lab_go(&l, 0, 2);
    assert_int_equal(tombstones(0), 2);
    lab_now_ms += 2 * DAY_MS;
    lab_go(&l, 0, 2); /* each pass forgets what is older than 180 days */
    assert_int_equal(tombstones(0), 0);
}

static void never_seen(void **state)
{
    (void)state;
    lab_write(&l, 0, "f", "1");
    lab_write(&l, 0, "g", "1");
    lab_go(&l, 0, 1);
    lab_remove(&l, 0, "f");
    lab_go(&l, 0, 2); /* C: the deletion of what it never saw */
    assert_int_equal(tombstones(2), 1);
    struct vb_pass_result r = lab_go(&l, 1, 2); /* B still has it, in the older version */
    assert_int_equal(r.created + r.conflicts, 0);
    assert_tree(2, "g=1 ");
    lab_go(&l, 2, 1);
    assert_tree(1, "g=1 ");
}

static void stale(void **state)
{
    (void)state;
    struct vb_pass_result r;
    away();
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_E_STALE);
    assert_int_equal(vb_code_exit(VB_E_STALE), VB_EXIT_STALE);
    assert_tree(1, "f=1 g=1 m=1 ");
    assert_tree(0, "g=1 ");
    lab_go(&l, 1, 0); /* what it held is not alive again: A knows its versions */
    assert_tree(0, "g=1 ");
}

static void full(void **state)
{
    (void)state;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    away();
    o.full = true;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_int_equal(r.deleted, 2);
    assert_tree(1, "g=1 ");
    assert_int_equal(lab_trash(&l, 1), 2);
    assert_int_equal(tombstones(1), 0);
    VB_AUTO_KNOWLEDGE *a = known(0), *b = known(1);
    assert_true(vb_knowledge_covers(b, a));
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_OK);
    assert_true(vb_pass_quiet(&r));
}

static void full_with_edits(void **state)
{
    (void)state;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    away();
    lab_write(&l, 1, "n", "B made it");
    lab_write(&l, 1, "m", "B edited it");
    o.full = true;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    lab_go(&l, 1, 0);
    assert_tree(0, "g=1 m=B edited it n=B made it ");
    assert_tree(1, "g=1 m=B edited it n=B made it ");
}

static void false_alarm(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    lab_write(&l, 0, "f", "1");
    lab_write(&l, 0, "g", "1");
    lab_both(&l, 0, 1);
    lab_remove(&l, 0, "f");
    lab_both(&l, 0, 1); /* B knows it as deleted */
    lab_now_ms += 181 * DAY_MS;
    assert_int_equal(expire(0, NULL, 0), 1);
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_OK); /* it has seen it: no alarm at all */
    struct vb_place *p = lab_place(&l, 0);
    VB_AUTO_KNOWLEDGE *more = vb_knowledge_new(); /* an estimate that is too high (MSS-29) */
    const struct vb_version v = { *vb_replica_own(p->store), vb_replica_tick(p->store) + 1 };
    vb_knowledge_raise(more, &v);
    assert_ok(vb_replica_begin(p->store, &err));
    assert_ok(vb_replica_forget_to(p->store, p->scope.id, more, &err));
    assert_ok(vb_replica_commit(p->store, &err));
    vb_place_close(p);
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_E_STALE);
    o.full = true;
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_int_equal(r.created + r.changed + r.deleted + r.conflicts, 0);
    assert_tree(1, "g=1 ");
    assert_int_equal(lab_trash(&l, 1), 1); /* f, from when it was deleted */
}

static void newcomer(void **state)
{
    (void)state;
    away();
    struct vb_place_setup s = lab_setup(&l, 3);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_place *p = lab_place(&l, 0);
    VB_AUTO_FREE char *guid = vb_strdup(p->scope.guid), *root = vb_printf("%s/t3", l.dir);
    vb_place_close(p);
    assert_ok(vb_place_add(&s, "web", root, guid, true, &l.settings, &err));
    assert_int_equal(lab_go(&l, 0, 3).created, 1);
    assert_tree(3, "g=1 ");
}

static void die_early(void *arg, uint64_t items, uint64_t bytes)
{
    (void)arg, (void)bytes;
    if (items >= 256)
        _exit(9);
}

static void interrupted(void **state)
{
    (void)state;
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    for (int i = 0; i < 700; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%03d", i);
        lab_write(&l, 0, name, "1");
    }
    lab_both(&l, 0, 1);
    lab_remove(&l, 0, "k001");
    lab_remove(&l, 0, "k650");
    lab_go(&l, 0, 2);
    lab_now_ms += 181 * DAY_MS;
    assert_int_equal(expire(0, NULL, 0), 2);
    o.full = true;
    pid_t child = fork();
    if (child == 0) {
        o.progress = die_early;
        lab_pass(&l, 0, 1, &o, &r);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 9);
    assert_int_equal(lab_count(&l, 1, "k"), 700); /* nothing of an unfinished range went */
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_E_STALE);
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    assert_int_equal(r.deleted, 2);
    assert_int_equal(lab_count(&l, 1, "k"), 698);
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_OK);
    assert_true(vb_pass_quiet(&r));
}

static void acknowledged(void **state)
{
    (void)state;
    lab_write(&l, 0, "f", "1");
    lab_write(&l, 0, "g", "1");
    lab_go(&l, 0, 1);
    lab_go(&l, 0, 2);
    lab_remove(&l, 0, "f");
    lab_go(&l, 0, 1);
    VB_AUTO_KNOWLEDGE *b = known(1), *c = known(2);
    const struct vb_knowledge *const both[] = { b, c };
    assert_int_equal(expire(0, both, 2), 0); /* C has not got it */
    lab_go(&l, 0, 2);
    VB_AUTO_KNOWLEDGE *d = known(2);
    const struct vb_knowledge *const all[] = { b, d };
    assert_int_equal(expire(0, all, 2), 1); /* long before its age */
    lab_both(&l, 0, 1);
    lab_both(&l, 0, 2);
    lab_both(&l, 1, 2); /* none of them stale */
    assert_tree(2, "g=1 ");
}

int main(void)
{
#define T(name, fn) { name, fn, start, end, NULL }
    const struct CMUnitTest t[] = {
        T("REPL-T34 the deletion of what was never seen", never_seen),
        T("REPL-T37 away for too long: nothing moves", stale),
        T("REPL-T38 full enumeration", full),
        T("REPL-T39 full enumeration with edits made while away", full_with_edits),
        T("REPL-T40 a false alarm changes no file", false_alarm),
        T("REPL-T41 a new replica after expiry", newcomer),
        T("REPL-T42 full enumeration, killed and run again", interrupted),
        T("REPL-T44 acknowledged by all links", acknowledged),
    };
    return CM_RUN("pass_recover", t);
}
