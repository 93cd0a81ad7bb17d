/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/test_conn_fd.c - connections over descriptors: slow and broken peers, back-pressure, ends, keep-alive. */
#include "config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "tests/wire/peer.h"
#include "wire/protocol.h"

struct two {
    struct vb_loop *loop;
    struct peer a, b;
};

static void two_open(struct two *t)
{
    int fd[2];

    t->loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    peer_start(&t->a, t->loop, vb_conn_fd(t->loop, fd[0], fd[0]));
    peer_start(&t->b, t->loop, vb_conn_fd(t->loop, fd[1], fd[1]));
    vb_conn_set_name(t->a.conn, "host 'b'");
    vb_conn_set_name(t->b.conn, "host 'a'");
}

static void two_close(struct two *t)
{
    peer_stop(&t->a);
    peer_stop(&t->b);
    vb_loop_free(t->loop);
}

static void huge_queue_arrives_in_order(void **state)
{
    struct two t;

    (void)state;
    two_open(&t);
    for (uint64_t i = 1; i <= 64; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 1024 * 1024);
    for (uint64_t i = 65; i <= 20064; i++)
        peer_send(&t.a, VB_M_OK, i, (size_t)(i % 7));
    assert_true(vb_conn_queued(t.a.conn) > 60u * 1024 * 1024);
    assert_true(peer_wait(t.loop, &t.b.msgs, 20064, 20000));
    assert_true(t.b.in_order);
    assert_true(vb_conn_queued(t.a.conn) == 0);
    assert_int_equal(t.a.drains, 1);
    two_close(&t);
}

static void both_ways_at_once(void **state)
{
    struct two t;

    (void)state;
    two_open(&t);
    t.b.echo = true;
    for (uint64_t i = 1; i <= 300; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 100000);
    assert_true(peer_wait(t.loop, &t.a.msgs, 300, 20000));
    assert_true(t.a.in_order && t.b.in_order);
    assert_int_equal(t.a.bytes, t.b.bytes);
    two_close(&t);
}

static void pause_is_back_pressure(void **state)
{
    struct two t;
    unsigned never = 0;

    (void)state;
    two_open(&t);
    t.b.pause_after = 2;
    for (uint64_t i = 1; i <= 40; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 256 * 1024);
    peer_wait(t.loop, &never, 1, 150);
    assert_int_equal(t.b.msgs, 2);
    assert_true(vb_conn_queued(t.a.conn) > 5u * 1024 * 1024);
    assert_int_equal(t.a.drains, 0);
    vb_conn_pause(t.b.conn, false);
    assert_int_equal(t.b.msgs, 2); /* never from inside a call */
    assert_true(peer_wait(t.loop, &t.b.msgs, 40, 5000));
    assert_int_equal(t.a.drains, 1);
    two_close(&t);
}

static void finish_flushes_then_ends(void **state)
{
    struct two t;

    (void)state;
    two_open(&t);
    for (uint64_t i = 1; i <= 8; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 512 * 1024);
    vb_conn_finish(t.a.conn);
    peer_send(&t.a, VB_M_OK, 9, 0); /* dropped */
    assert_true(peer_wait(t.loop, &t.b.closes, 1, 5000));
    assert_int_equal(t.b.msgs, 8);
    assert_int_equal(t.b.why.code, VB_OK);
    assert_int_equal(t.a.closes, 0);
    two_close(&t);
}

/* The peer has ended its side but still reads: what we owe it goes out before we are told. */
static void half_close_still_gets_the_answer(void **state)
{
    struct two t;
    unsigned never = 0;

    (void)state;
    two_open(&t);
    t.b.echo = true;
    t.a.pause_after = 1;
    for (uint64_t i = 1; i <= 12; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 512 * 1024);
    vb_conn_finish(t.a.conn);
    assert_true(peer_wait(t.loop, &t.b.msgs, 12, 5000)); /* however slow the machine is */
    peer_wait(t.loop, &never, 1, 150);
    assert_int_equal(t.b.closes, 0);
    vb_conn_pause(t.a.conn, false);
    assert_true(peer_wait(t.loop, &t.a.msgs, 12, 5000));
    assert_true(peer_wait(t.loop, &t.b.closes, 1, 5000));
    assert_int_equal(t.b.why.code, VB_OK);
    two_close(&t);
}

static void a_peer_that_dies_is_told_once_after_its_last_message(void **state)
{
    struct two t;

    (void)state;
    two_open(&t);
    peer_send(&t.a, VB_M_OK, 1, 10);
    vb_conn_free(t.a.conn);
    t.a.conn = NULL;
    for (uint64_t i = 1; i <= 3; i++)
        peer_send(&t.b, VB_M_OK, i, 10); /* EPIPE, no SIGPIPE */
    assert_int_equal(t.b.closes, 0);
    assert_true(peer_wait(t.loop, &t.b.closes, 1, 5000));
    assert_int_equal(t.b.msgs, 1);
    assert_int_equal(t.b.why.code, VB_E_CONNECTION_LOST);
    assert_non_null(strstr(t.b.why.text, "host 'a'"));
    two_close(&t);
}

static void an_end_inside_a_message_is_a_loss(void **state)
{
    struct two t;
    int fd[2];

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, fd[0], fd[0]));
    assert_int_equal(write(fd[1], "\0\0\0\x0c\0\5\0\0\0\0\0\0\0\0\0\1\0\0\0", 19), 19);
    close(fd[1]);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.msgs, 1);
    assert_int_equal(t.a.why.code, VB_E_CONNECTION_LOST);
    peer_stop(&t.a);
    vb_loop_free(t.loop);
}

static void a_broken_frame_ends_with_the_peers_name(void **state)
{
    struct two t;
    int fd[2];

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, fd[0], fd[0]));
    vb_conn_set_name(t.a.conn, "writer 'bad'");
    assert_int_equal(write(fd[1], "\0\0\0\x0c\0\5\0\0\0\0\0\0\0\0\0\1\0\0\0\1", 20), 20);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.msgs, 1);
    assert_int_equal(t.a.why.code, VB_E_PROTOCOL);
    assert_non_null(strstr(t.a.why.text, "writer 'bad': "));
    peer_send(&t.a, VB_M_OK, 1, 1); /* dropped silently */
    peer_stop(&t.a);
    close(fd[1]);
    vb_loop_free(t.loop);
}

static void text_before_the_first_message_is_shown(void **state)
{
    struct two t;
    int fd[2];

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, fd[0], fd[0]));
    vb_conn_set_name(t.a.conn, "host 'x'");
    assert_int_equal(write(fd[1], "Welcome\x1b[31m to x\n", 18), 18);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.why.code, VB_E_PROTOCOL);
    assert_non_null(strstr(t.a.why.text, "host 'x': sent text instead of a greeting: 'Welcome\\x1B[31m to x'"));
    assert_non_null(strstr(t.a.why.hint, "start-up files"));
    peer_stop(&t.a);
    close(fd[1]);
    vb_loop_free(t.loop);
}

static void a_connection_may_be_freed_inside_its_callback(void **state)
{
    struct two t;

    (void)state;
    two_open(&t);
    t.b.free_on_msg = true;
    for (uint64_t i = 1; i <= 5; i++)
        peer_send(&t.a, VB_M_OK, i, 10);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.b.msgs, 1);
    assert_int_equal(t.b.closes, 0);
    two_close(&t);
}

static void too_large_a_message_ends_the_sender(void **state)
{
    struct two t;

    (void)state;
    two_open(&t);
    peer_send(&t.a, VB_M_CHUNK, 1, VB_FRAME_MAX);
    assert_int_equal(t.a.closes, 0);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.why.code, VB_E_LIMIT);
    two_close(&t);
}

static void messages_wait_for_a_handler_and_follow_the_descriptor(void **state)
{
    struct two t;
    VB_AUTO_BUF rest = VB_BUF_INIT;
    unsigned never = 0;
    int r = -1;

    (void)state;
    two_open(&t);
    t.b.pause_after = 1;
    for (uint64_t i = 1; i <= 3; i++)
        peer_send(&t.a, VB_M_OK, i, 10);
    assert_true(peer_wait(t.loop, &t.b.msgs, 1, 5000));
    vb_conn_fd_release(t.b.conn, &r, NULL, &rest);
    assert_true(r >= 0 && rest.len == 2 * (VB_FRAME_HEAD + 16));
    t.b.conn = vb_conn_fd(t.loop, r, r);
    vb_conn_fd_prefill(t.b.conn, rest.data, rest.len);
    peer_wait(t.loop, &never, 1, 50);
    assert_int_equal(t.b.msgs, 1);
    peer_send(&t.a, VB_M_OK, 4, 10);
    peer_start(&t.b, t.loop, t.b.conn);
    t.b.last_id = 1;
    assert_true(peer_wait(t.loop, &t.b.msgs, 3, 5000));
    assert_true(t.b.in_order);
    two_close(&t);
}

/* What was to be sent waits for whoever is at the other end of the descriptor that the first peer passes. */
static void a_passed_descriptor_takes_the_place_of_ours(void **state)
{
    struct two t;
    int first[2], second[2];
    char byte;

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second), 0);
    struct vb_conn *c = vb_conn_fd(t.loop, first[0], first[0]);
    vb_conn_fd_expect(c);
    peer_start(&t.a, t.loop, c);
    for (uint64_t i = 1; i <= 3; i++)
        peer_send(&t.a, VB_M_OK, i, 512 * 1024);
    assert_true(recv(first[1], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    assert_false(vb_conn_fd_is_own(c)); /* the relay, and nobody knows yet for whom it speaks */
    assert_int_equal(vb_fd_pass(first[1], second[1], NULL), 0);
    close(second[1]);
    close(first[1]);
    peer_start(&t.b, t.loop, vb_conn_fd(t.loop, second[0], second[0]));
    t.b.echo = true;
    assert_true(peer_wait(t.loop, &t.a.msgs, 3, 5000));
    assert_true(t.a.in_order && t.b.in_order);
    assert_true(vb_conn_fd_is_own(c));
    assert_int_equal(t.a.closes, 0);
    two_close(&t);
}

/* Or for the first peer, if it speaks itself; its end is an end as always. */
static void who_passes_none_is_the_peer_himself(void **state)
{
    struct two t;
    int fd[2];

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    struct vb_conn *c = vb_conn_fd(t.loop, fd[0], fd[0]);
    vb_conn_fd_expect(c);
    peer_start(&t.a, t.loop, c);
    peer_send(&t.a, VB_M_OK, 1, 10);
    peer_start(&t.b, t.loop, vb_conn_fd(t.loop, fd[1], fd[1]));
    peer_send(&t.b, VB_M_OK, 1, 10);
    assert_true(peer_wait(t.loop, &t.b.msgs, 1, 5000));
    assert_int_equal(t.a.msgs, 1);
    assert_false(vb_conn_fd_is_own(c));
    vb_conn_finish(t.b.conn);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.why.code, VB_OK);
    two_close(&t);
    /* one that says nothing at all */
    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    c = vb_conn_fd(t.loop, fd[0], fd[0]);
    vb_conn_fd_expect(c);
    peer_start(&t.a, t.loop, c);
    peer_send(&t.a, VB_M_OK, 1, 10);
    close(fd[1]);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 10000));
    peer_stop(&t.a);
    vb_loop_free(t.loop);
}

static void pipes_carry_messages_and_their_ends(void **state)
{
    struct two t;
    int to_b[2], to_a[2];

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(pipe(to_a), 0);
    assert_int_equal(pipe(to_b), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, to_a[0], to_b[1]));
    peer_start(&t.b, t.loop, vb_conn_fd(t.loop, to_b[0], to_a[1]));
    t.b.echo = true;
    for (uint64_t i = 1; i <= 50; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 50000);
    vb_conn_finish(t.a.conn);
    assert_true(peer_wait(t.loop, &t.b.closes, 1, 5000));
    assert_true(peer_wait(t.loop, &t.a.msgs, 50, 5000));
    vb_conn_free(t.b.conn);
    t.b.conn = NULL;
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.why.code, VB_OK);
    two_close(&t);
}

static void a_pipe_whose_reader_died_raises_no_signal(void **state)
{
    struct two t;
    int to_b[2], to_a[2];

    (void)state;
    t.loop = vb_loop_new();
    assert_int_equal(pipe(to_a), 0);
    assert_int_equal(pipe(to_b), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, to_a[0], to_b[1]));
    close(to_b[0]);
    peer_send(&t.a, VB_M_OK, 1, 10);
    close(to_a[1]);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 5000));
    assert_int_equal(t.a.why.code, VB_E_CONNECTION_LOST);
    peer_stop(&t.a);
    vb_loop_free(t.loop);
}

static void keep_alive_answers_and_notices_silence(void **state)
{
    struct two t;
    unsigned never = 0;
    int fd[2];

    (void)state;
    two_open(&t);
    vb_conn_keepalive(t.a.conn, 20, 100);
    peer_wait(t.loop, &never, 1, 400);
    assert_int_equal(t.a.closes, 0); /* b answers by itself */
    assert_int_equal(t.b.msgs, 0);
    two_close(&t);

    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, fd[0], fd[0]));
    vb_conn_set_name(t.a.conn, "host 'x'");
    vb_conn_keepalive(t.a.conn, 20, 100);
    assert_true(peer_wait(t.loop, &t.a.closes, 1, 2000));
    assert_int_equal(t.a.why.code, VB_E_TIMEOUT);
    assert_non_null(strstr(t.a.why.text, "host 'x'"));
    peer_stop(&t.a);
    close(fd[1]);
    vb_loop_free(t.loop);
}

/* A reader that takes a little at a time is alive, however long the queue takes. */
/* False if the machine gave us so little that the reader was nearly a dead one. */
static bool slow_reader(void)
{
    struct two t;
    int fd[2];
    char b[65536];
    uint64_t start, now, last, gap = 0;

    t.loop = vb_loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    peer_start(&t.a, t.loop, vb_conn_fd(t.loop, fd[0], fd[0]));
    vb_conn_keepalive(t.a.conn, 50, 300);
    for (uint64_t i = 1; i <= 20; i++)
        peer_send(&t.a, VB_M_CHUNK, i, 256 * 1024);
    for (start = last = now = vb_loop_now_ms(t.loop); now - start < 800 && !t.a.closes; last = now) {
        unsigned never = 0;

        assert_true(read(fd[1], b, sizeof b) > 0);
        peer_wait(t.loop, &never, 1, 20);
        now = vb_loop_now_ms(t.loop);
        gap = now - last > gap ? now - last : gap;
    }
    if (gap < 100) {
        assert_int_equal(t.a.closes, 0);
        assert_true(peer_wait(t.loop, &t.a.closes, 1, 2000));
        assert_int_equal(t.a.why.code, VB_E_TIMEOUT);
    }
    peer_stop(&t.a);
    close(fd[1]);
    vb_loop_free(t.loop);
    return gap < 100;
}

static void a_slow_reader_is_not_a_dead_one(void **state)
{
    unsigned tries = 0;

    (void)state;
    while (!slow_reader())
        assert_true(++tries < 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_queue_arrives_in_order),
        cmocka_unit_test(both_ways_at_once),
        cmocka_unit_test(pause_is_back_pressure),
        cmocka_unit_test(finish_flushes_then_ends),
        cmocka_unit_test(half_close_still_gets_the_answer),
        cmocka_unit_test(a_peer_that_dies_is_told_once_after_its_last_message),
        cmocka_unit_test(an_end_inside_a_message_is_a_loss),
        cmocka_unit_test(a_broken_frame_ends_with_the_peers_name),
        cmocka_unit_test(text_before_the_first_message_is_shown),
        cmocka_unit_test(a_connection_may_be_freed_inside_its_callback),
        cmocka_unit_test(too_large_a_message_ends_the_sender),
        cmocka_unit_test(messages_wait_for_a_handler_and_follow_the_descriptor),
        cmocka_unit_test(a_passed_descriptor_takes_the_place_of_ours),
        cmocka_unit_test(who_passes_none_is_the_peer_himself),
        cmocka_unit_test(pipes_carry_messages_and_their_ends),
        cmocka_unit_test(a_pipe_whose_reader_died_raises_no_signal),
        cmocka_unit_test(keep_alive_answers_and_notices_silence),
        cmocka_unit_test(a_slow_reader_is_not_a_dead_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
