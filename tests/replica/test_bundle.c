/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_bundle.c - passes as files: order, damage, again, both ways, lost ones. */
#include <config.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "replica/bundle.h"

static struct lab l;

static int start(void **state)
{
    (void)state;
    lab_open(&l, 3);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    lab_close(&l);
    return 0;
}

static const struct vb_pass_options plain = VB_PASS_OPTIONS_INIT;

static void make(size_t at, const char *file, enum vb_bundle_since since)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_pass_result r;
    uint64_t number;
    VB_AUTO_FREE char *path = vb_printf("%s/%s", l.dir, file);
    VB_AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    VB_AUTO_PLACE *p = lab_place(&l, at);
    assert_ok(vb_scan(p, NULL, &l.scan[0], &err));
    assert_ok(vb_bundle_write(p, fd, since, "any", &plain, &r, &number, &err));
    assert_ok(vb_bundle_sent(p, "any", number, &err));
}

static char *text;
static enum vb_code apply(size_t at, const char *file, struct vb_pass_result *r)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_printf("%s/%s", l.dir, file);
    VB_AUTO_FD int fd = open(path, O_RDONLY);
    VB_AUTO_PLACE *p = lab_place(&l, at);
    assert_ok(vb_scan(p, NULL, &l.scan[1], &err));
    int rc = vb_bundle_apply(p, fd, &plain, r, &err);
    free(text);
    text = vb_printf("%s; %s", vb_error_text(&err), err.hint ? err.hint : "");
    return rc < 0 ? err.code : VB_OK;
}

static void good(size_t at, const char *file)
{
    struct vb_pass_result r;
    if (apply(at, file, &r) != VB_OK)
        fail_msg("%s: %s", file, text);
}

static void alike(size_t a, size_t b)
{
    VB_AUTO_FREE char *x = lab_tree(&l, a);
    VB_AUTO_FREE char *y = lab_tree(&l, b);
    assert_string_equal(x, y);
}

static void three_bundles(void)
{
    lab_write(&l, 0, "d/f", "one");
    make(0, "b1", VB_SINCE_SENT);
    lab_write(&l, 0, "d/f", "two");
    lab_write(&l, 0, "g", "g");
    make(0, "b2", VB_SINCE_SENT);
    lab_remove(&l, 0, "d/f");
    lab_write(&l, 0, "h", "three");
    make(0, "b3", VB_SINCE_SENT);
}

static void in_order_and_again(void **state)
{
    (void)state;
    struct vb_pass_result r;
    three_bundles();
    good(1, "b1");
    good(1, "b2");
    good(1, "b3");
    alike(0, 1);
    for (int i = 1; i <= 3; i++) {
        VB_AUTO_FREE char *name = vb_printf("b%d", i);
        assert_int_equal(apply(1, name, &r), VB_OK);
        assert_true(vb_pass_quiet(&r));
    }
    alike(0, 1);
    assert_int_equal(lab_tick(&l, 1), 0);
    r = lab_go(&l, 0, 1); /* the same knowledge as a live pass would have left */
    assert_true(vb_pass_quiet(&r));
}

static void out_of_order(void **state)
{
    (void)state;
    struct vb_pass_result r;
    three_bundles();
    good(1, "b1");
    VB_AUTO_FREE char *before = lab_tree(&l, 1);
    assert_int_equal(apply(1, "b3", &r), VB_E_PREREQUISITE);
    assert_contains(text, "number 2");
    VB_AUTO_FREE char *after = lab_tree(&l, 1);
    assert_string_equal(before, after);
    good(1, "b2");
    good(1, "b3");
    alike(0, 1);
}

static void damage(void **state)
{
    (void)state;
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_printf("%s/b", l.dir);
    struct vb_bundle_info info;
    lab_write(&l, 0, "f", "some content");
    make(0, "b", VB_SINCE_SENT);
    assert_ok(vb_read_file_at(AT_FDCWD, path, 1 << 20, &b, &err));
    VB_AUTO_FD int fd = open(path, O_RDWR);
    assert_ok(vb_bundle_verify(fd, &info, &err));
    assert_int_equal(info.rows, 1);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        unsigned char c = (unsigned char)(b.data[bit / 8] ^ (1u << bit % 8));
        assert_int_equal(pwrite(fd, &c, 1, (off_t)(bit / 8)), 1);
        lseek(fd, 0, SEEK_SET);
        if (vb_bundle_verify(fd, &info, NULL) == 0)
            fail_msg("bit %zu of %zu was not missed", bit, b.len * 8);
        assert_int_equal(pwrite(fd, &b.data[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    for (size_t n = 0; n < b.len; n++) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        lseek(fd, 0, SEEK_SET);
        assert_int_equal(vb_bundle_verify(fd, &info, NULL), -1);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, b.data, b.len, 0), (ssize_t)b.len);
    }
    struct vb_pass_result r;
    assert_int_equal(pwrite(fd, "x", 1, (off_t)b.len - 1), 1);
    assert_int_equal(apply(1, "b", &r), VB_E_CORRUPT);
    assert_int_equal(lab_count(&l, 1, "f="), 0);
}

static void another_scope(void **state)
{
    (void)state;
    struct vb_pass_result r;
    struct lab other = { .n = 0 };
    lab_write(&l, 0, "f", "f");
    make(0, "b", VB_SINCE_SENT);
    VB_AUTO_FREE char *from = vb_printf("%s/b", l.dir);
    struct lab first = l;
    lab_open(&other, 1);
    VB_AUTO_FREE char *to = vb_printf("%s/b", other.dir);
    assert_int_equal(rename(from, to), 0);
    l = other;
    assert_int_equal(apply(0, "b", &r), VB_E_GUARD);
    assert_contains(text, "another scope");
    lab_close(&l);
    l = first;
}

static void a_lost_one(void **state)
{
    (void)state;
    three_bundles();
    good(1, "b1");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_printf("%s/ack", l.dir);
    VB_AUTO_FD int fd = open(path, O_RDWR | O_CREAT, 0600);
    struct vb_place *p = lab_place(&l, 1);
    assert_ok(vb_bundle_ack(p, fd, &err));
    vb_place_close(p);
    good(0, "ack");
    make(0, "b4", VB_SINCE_ACKED); /* b2 and b3 are lost */
    good(1, "b4");
    alike(0, 1);
}

static void both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        VB_AUTO_FREE char *a = vb_printf("a%d", i);
        VB_AUTO_FREE char *b = vb_printf("b%d", i);
        lab_write(&l, 0, a, a);
        lab_write(&l, 1, b, b);
        if (i == 5) {
            lab_write(&l, 0, "both", "from A");
            lab_write(&l, 1, "both", "from B");
        }
        make(0, "there", VB_SINCE_SENT);
        good(1, "there");
        make(1, "here", VB_SINCE_SENT);
        good(0, "here");
    }
    make(0, "there", VB_SINCE_SENT);
    good(1, "there");
    alike(0, 1);
    assert_int_equal(lab_count(&l, 0, ".conflict-"), 1);
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_true(vb_pass_quiet(&r));
}

static void after_a_live_session(void **state)
{
    (void)state;
    struct vb_pass_result r;
    lab_write(&l, 0, "f", "f");
    make(0, "b", VB_SINCE_SENT);
    lab_go(&l, 0, 1);
    assert_int_equal(apply(1, "b", &r), VB_OK);
    assert_true(vb_pass_quiet(&r));
}

/* REPL-T84: wherever it is cut off, the same bundle goes on, and nothing is taken for a change of ours. */
static void killed(void **state)
{
    (void)state;
    struct vb_rng rng;
    struct vb_pass_result r;
    unsigned hit = 0;
    uint64_t longest = 40000;
    vb_rng_seed(&rng, 84);
    for (unsigned k = 0; k < 6; k++) {
        for (int i = 0; i < 60; i++) {
            VB_AUTO_FREE char *name = vb_printf("d%d/f%d", i % 5, i);
            VB_AUTO_FREE char *content = vb_printf("round %u file %d", k, i);
            lab_write(&l, 0, name, content);
        }
        lab_remove(&l, 0, k % 2 ? "d3/f3" : "d4/f4");
        make(0, "b", VB_SINCE_SENT);
        pid_t pid = fork();
        if (pid == 0)
            _exit(apply(1, "b", &r) == VB_OK ? 0 : 1);
        usleep((useconds_t)vb_rng_below(&rng, longest));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        hit += WIFSIGNALED(status);
        longest = WIFSIGNALED(status) ? longest + longest / 4 : longest / 2 + 1000;
        if (apply(1, "b", &r) != VB_OK)
            fail_msg("%s", text);
        alike(0, 1);
        assert_int_equal(r.minted + r.conflicts, 0);
        assert_int_equal(l.scan[1].created + l.scan[1].changed + l.scan[1].deleted, 0);
        assert_int_equal(apply(1, "b", &r), VB_OK);
        assert_true(vb_pass_quiet(&r));
    }
    assert_true(hit > 0);
}

/* REPL-T88: deletions are forgotten while the receiver is away. */
static void expired(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_pass_result r;
    lab_write(&l, 0, "old", "old");
    lab_write(&l, 0, "stays", "s");
    make(0, "b1", VB_SINCE_SENT);
    lab_remove(&l, 0, "old");
    lab_write(&l, 0, "more", "m");
    {
        VB_AUTO_PLACE *p = lab_place(&l, 0);
        const struct vb_expiry x = { .keep_ms = 0 };
        uint64_t removed;
        bool back;
        assert_ok(vb_scan(p, NULL, &l.scan[0], &err));
        lab_now_ms += 200ll * 86400000;
        assert_ok(vb_replica_begin(p->store, &err));
        assert_ok(vb_replica_expire(p->store, p->scope.id, &x, &removed, &back, &err));
        assert_ok(vb_replica_commit(p->store, &err));
        assert_int_equal(removed, 1);
    }
    make(0, "b2", VB_SINCE_SENT);
    good(1, "b1"); /* it was made before: it still fits */
    VB_AUTO_FREE char *before = lab_tree(&l, 1);
    assert_contains(before, "old=old");
    assert_int_equal(apply(1, "b2", &r), VB_E_STALE);
    VB_AUTO_FREE char *after = lab_tree(&l, 1);
    assert_string_equal(before, after);
    /* An empty one has nothing to be stale. */
    make(0, "b3", VB_SINCE_NOTHING);
    good(2, "b3");
    alike(0, 2);
}

#define T(name, fn) { name, fn, start, stop, NULL }
int main(void)
{
    const struct CMUnitTest t[] = {
        T("REPL-T79 in order, and again", in_order_and_again),
        T("REPL-T80 the third before the second", out_of_order),
        T("REPL-T82 every bit and every length", damage),
        T("REPL-T83 another scope's", another_scope),
        T("REPL-T84 killed while it is applied", killed),
        T("REPL-T88 forgotten deletions", expired),
        T("REPL-T85 a lost one is healed by an acknowledgement", a_lost_one),
        T("REPL-T86 both ways by bundles only", both_ways),
        T("REPL-T87 after a live session", after_a_live_session),
    };
    int rc = CM_RUN("bundles", t);
    free(text);
    return rc;
}
