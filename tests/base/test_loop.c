/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_loop.c - order and clock of the loop, virtual and real. */
#include <config.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/cm.h"

static struct vb_loop *loop;
static struct vb_buf trace;

struct mark {
    char c;
    struct vb_timer *other;
    struct vb_watch *watch;
    int fd;
};

static void note(void *arg)
{
    const struct mark *m = arg;
    vb_buf_add_char(&trace, m->c);
}

static void note_and_post(void *arg)
{
    static struct mark posted = { .c = 'p' };
    note(arg);
    vb_loop_post(loop, note, &posted);
}

static void cancel_other(void *arg)
{
    struct mark *m = arg;
    note(arg);
    vb_timer_cancel(m->other);
}

static void stop_with_7(void *arg)
{
    note(arg);
    vb_loop_stop(loop, 7);
}

static int start_virtual(void **state)
{
    (void)state;
    loop = vb_loop_new_virtual(UINT64_C(1700000000000));
    return 0;
}

static int start_real(void **state)
{
    (void)state;
    loop = vb_loop_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    vb_loop_free(loop);
    loop = NULL;
    vb_buf_clear(&trace);
    return 0;
}

static void virtual_time_jumps_in_order(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, b = { .c = 'b' }, c = { .c = 'c' }, d = { .c = 'd' };
    vb_loop_after(loop, 3600000, note, &c);
    vb_loop_after(loop, 5, note, &a);
    vb_loop_after(loop, 5, note, &b); /* same time: order of creation */
    vb_loop_after(loop, UINT64_MAX, note, &d);
    assert_int_equal(vb_loop_run(loop), 0);
    assert_string_equal(vb_buf_str(&trace), "abcd");
    assert_int_equal(vb_loop_wall_ms(loop) - UINT64_C(1700000000000), vb_loop_now_ms(loop));
}

static void posts_run_before_the_next_jump(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, b = { .c = 'b' }, x = { .c = 'x' };
    vb_loop_after(loop, 5, note_and_post, &a);
    vb_loop_after(loop, 5, note, &b);
    vb_loop_post(loop, note, &x);
    vb_loop_run(loop);
    assert_string_equal(vb_buf_str(&trace), "xapb");
    assert_int_equal(vb_loop_now_ms(loop), 5);
    assert_int_equal(vb_loop_now_us(loop), 5000);
}

static void cancel_and_unpost(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, b = { .c = 'b' }, c = { .c = 'c' };
    struct vb_timer *t = vb_loop_after(loop, 10, note, &b);
    a.other = t;
    vb_loop_after(loop, 5, cancel_other, &a);
    vb_loop_after(loop, 20, note, &c);
    vb_loop_post(loop, note, &b);
    vb_loop_post(loop, note, &c);
    vb_loop_post(loop, note, &b);
    vb_loop_unpost(loop, &b);
    vb_loop_post(loop, note, &c); /* the queue's end is still right */
    vb_timer_cancel(NULL);
    vb_loop_run(loop);
    assert_string_equal(vb_buf_str(&trace), "ccac");
}

static void stop_ends_the_run_and_the_next_goes_on(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, b = { .c = 'b' };
    vb_loop_after(loop, 1, stop_with_7, &a);
    vb_loop_after(loop, 2, note, &b);
    assert_int_equal(vb_loop_run(loop), 7);
    assert_string_equal(vb_buf_str(&trace), "a");
    assert_int_equal(vb_loop_run(loop), 0);
    assert_string_equal(vb_buf_str(&trace), "ab");
    assert_false(vb_loop_turn(loop, 0));
}

static uint64_t last_seen;
static void note_time(void *arg)
{
    uint64_t now = vb_loop_now_ms(loop);
    assert_true(now >= last_seen);
    assert_int_equal(now, *(const uint64_t *)arg);
    last_seen = now;
}

/* Random timers, a third of them cancelled: the rest fire in order, each at its time. */
static void heap_keeps_its_order(void **state)
{
    (void)state;
    enum { N = 3000 };
    static uint64_t due[N];
    static struct vb_timer *t[N];
    struct vb_rng r;
    vb_rng_seed(&r, 11);
    last_seen = 0;
    for (size_t i = 0; i < N; i++) {
        due[i] = vb_rng_below(&r, 500);
        t[i] = vb_loop_after(loop, due[i], note_time, &due[i]);
    }
    for (size_t i = 0; i < N; i += 3) {
        vb_timer_cancel(t[i]);
    }
    size_t turns = 0;
    while (vb_loop_turn(loop, 0)) {
        turns++;
    }
    assert_int_equal(turns, N - N / 3);
}

static void virtual_loop_has_no_descriptors(void **state)
{
    (void)state;
    assert_null(vb_loop_watch(loop, 0, POLLIN, NULL, NULL));
    assert_int_equal(vb_loop_child(loop, 1, NULL, NULL), -1);
    assert_int_equal(vb_loop_signal(loop, SIGUSR1, NULL, NULL), -1);
}

/* --- real --- */

static void on_read(void *arg, short revents)
{
    struct mark *m = arg;
    char c;
    if ((revents & POLLIN) && read(m->fd, &c, 1) == 1) {
        vb_buf_add_char(&trace, c);
        return;
    }
    vb_buf_add_char(&trace, '.');
    vb_watch_cancel(m->watch);
}

static void watches_and_end_of_file(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    struct mark m = { .fd = p[0] };
    m.watch = vb_loop_watch(loop, p[0], POLLIN, on_read, &m);
    assert_int_equal(write(p[1], "xy", 2), 2);
    close(p[1]);
    assert_int_equal(vb_loop_run(loop), 0); /* ends because the watch is gone */
    assert_string_equal(vb_buf_str(&trace), "xy.");
    close(p[0]);
}

static void cancel_watch(void *arg, short revents)
{
    (void)revents;
    struct mark *m = arg;
    note(arg);
    vb_watch_cancel(m->watch);
    m->watch = NULL;
}

static void cancelled_watch_is_not_called_in_the_same_turn(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    struct mark a = { .c = 'a', .fd = p[0] }, b = { .c = 'b', .fd = p[0] };
    struct vb_watch *wa = vb_loop_watch(loop, p[0], POLLIN, cancel_watch, &a);
    struct vb_watch *wb = vb_loop_watch(loop, p[0], POLLIN, cancel_watch, &b);
    a.watch = wb; /* the first takes the second away */
    b.watch = wb;
    assert_int_equal(write(p[1], "x", 1), 1);
    vb_loop_turn(loop, 1000);
    assert_string_equal(vb_buf_str(&trace), "a");
    vb_watch_events(wa, 0);
    assert_true(vb_loop_turn(loop, 0));
    assert_string_equal(vb_buf_str(&trace), "a");
    vb_watch_cancel(wa);
    assert_false(vb_loop_turn(loop, 0));
    close(p[0]);
    close(p[1]);
}

static int child_status;
static void on_child(void *arg, int status)
{
    note(arg);
    child_status = status;
}

static void children_are_reaped(void **state)
{
    (void)state;
    if (cm_on_valgrind()) {
        CM_SKIP("valgrind knows no pidfd_open");
    }
    struct mark a = { .c = 'a' }, b = { .c = 'b' };
    pid_t one = fork();
    if (one == 0) {
        _exit(3);
    }
    pid_t two = fork();
    if (two == 0) {
        pause();
        _exit(0);
    }
    assert_int_equal(vb_loop_child(loop, one, on_child, &a), 0);
    assert_int_equal(vb_loop_child(loop, two, on_child, &b), 0);
    while (trace.len == 0) {
        assert_true(vb_loop_turn(loop, 5000));
    }
    assert_int_equal(WEXITSTATUS(child_status), 3);
    assert_int_equal(waitpid(one, NULL, WNOHANG), -1);
    vb_loop_unchild(loop, two);
    kill(two, SIGKILL);
    assert_false(vb_loop_turn(loop, 0));
    assert_int_equal(waitpid(two, NULL, 0), two);
    assert_string_equal(vb_buf_str(&trace), "a");
}

static void signals_arrive_as_calls(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, late = { .c = 'l' };
    assert_int_equal(vb_loop_signal(loop, SIGUSR1, stop_with_7, &a), 0);
    assert_false(vb_loop_turn(loop, 0)); /* a handler alone does not keep the loop running */
    struct vb_timer *t = vb_loop_after(loop, 10000, note, &late);
    raise(SIGUSR1);
    assert_int_equal(vb_loop_run(loop), 7);
    assert_string_equal(vb_buf_str(&trace), "a");
    vb_timer_cancel(t);
}

static void real_timers_wait_their_time(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, b = { .c = 'b' };
    uint64_t start = vb_loop_now_ms(loop);
    vb_loop_after(loop, 30, note, &b);
    vb_loop_after(loop, 1, note, &a);
    vb_loop_run(loop);
    assert_string_equal(vb_buf_str(&trace), "ab");
    assert_true(vb_loop_now_ms(loop) - start >= 30);
    assert_true(vb_loop_wall_ms(loop) > UINT64_C(1500000000000));
}

static void stop_by_a_post_does_not_wait(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' }, late = { .c = 'l' };
    struct vb_timer *t = vb_loop_after(loop, 60000, note, &late);
    uint64_t start = vb_loop_now_ms(loop);
    vb_loop_post(loop, stop_with_7, &a);
    assert_int_equal(vb_loop_run(loop), 7);
    assert_true(vb_loop_now_ms(loop) - start < 5000);
    vb_timer_cancel(t);
}

static void repost(void *arg)
{
    vb_loop_post(loop, repost, arg);
}

/* Somebody who posts for ever must not starve timers. */
static void posts_do_not_starve_timers(void **state)
{
    (void)state;
    struct mark a = { .c = 'a' };
    vb_loop_post(loop, repost, &a);
    vb_loop_after(loop, 1, stop_with_7, &a);
    assert_int_equal(vb_loop_run(loop), 7);
}

#define VIRTUAL(fn) cmocka_unit_test_setup_teardown(fn, start_virtual, end)
#define REAL(fn) cmocka_unit_test_setup_teardown(fn, start_real, end)

int main(void)
{
    const struct CMUnitTest t[] = {
        VIRTUAL(virtual_time_jumps_in_order), VIRTUAL(posts_run_before_the_next_jump), VIRTUAL(cancel_and_unpost),
        VIRTUAL(stop_ends_the_run_and_the_next_goes_on), VIRTUAL(heap_keeps_its_order),
        VIRTUAL(virtual_loop_has_no_descriptors), REAL(watches_and_end_of_file),
        REAL(cancelled_watch_is_not_called_in_the_same_turn), REAL(children_are_reaped),
        REAL(signals_arrive_as_calls), REAL(real_timers_wait_their_time), REAL(stop_by_a_post_does_not_wait),
        REAL(posts_do_not_starve_timers),
    };
    return CM_RUN("loop", t);
}
