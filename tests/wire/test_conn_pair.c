/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/test_conn_pair.c - pairs under virtual time: order, delays, cuts, back-pressure, keep-alive. */
#include "config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rng.h"
#include "tests/wire/peer.h"
#include "wire/protocol.h"

struct net {
    struct vb_rng rng;
    unsigned cut_at; /* message number at which the line is cut; 0: never */
    unsigned seen;
    uint64_t max_delay;
};

static vb_pair_action hook(void *arg, int from_end, const struct vb_msg *m, uint64_t *delay_ms)
{
    struct net *n = arg;

    (void)from_end;
    (void)m;
    if (++n->seen == n->cut_at)
        return VB_PAIR_CUT;
    *delay_ms = n->max_delay ? vb_rng_below(&n->rng, n->max_delay) : 0;
    return VB_PAIR_PASS;
}

struct world {
    struct vb_loop *loop;
    struct net net;
    struct peer a, b;
};

static void open_world(struct world *w, uint64_t max_delay, unsigned cut_at)
{
    struct vb_conn *a, *b;

    memset(w, 0, sizeof *w);
    vb_rng_seed(&w->net.rng, 42);
    w->net.max_delay = max_delay;
    w->net.cut_at = cut_at;
    w->loop = vb_loop_new_virtual(0);
    vb_conn_pair(w->loop, hook, &w->net, &a, &b);
    peer_start(&w->a, w->loop, a);
    peer_start(&w->b, w->loop, b);
    vb_conn_set_name(w->a.conn, "host 'b'");
    vb_conn_set_name(w->b.conn, "host 'a'");
}

static void close_world(struct world *w)
{
    peer_stop(&w->a);
    peer_stop(&w->b);
    vb_loop_free(w->loop);
}

static void delays_never_change_the_order(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 1000, 0);
    w.b.echo = true;
    for (uint64_t i = 1; i <= 500; i++)
        peer_send(&w.a, VB_M_OK, i, 3);
    assert_int_equal(w.b.msgs, 0); /* never from inside a call */
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 500);
    assert_int_equal(w.a.msgs, 500);
    assert_true(w.a.in_order && w.b.in_order);
    assert_true(w.b.last_msg_ms >= 900 && w.b.last_msg_ms <= 1000);
    close_world(&w);
}

static void a_cut_tells_both_ends_and_loses_what_is_on_the_way(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 100, 4);
    for (uint64_t i = 1; i <= 10; i++)
        peer_send(&w.a, VB_M_OK, i, 3);
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 0);
    assert_int_equal(w.a.closes, 1);
    assert_int_equal(w.b.closes, 1);
    assert_int_equal(w.a.why.code, VB_E_CONNECTION_LOST);
    assert_int_equal(w.b.why.code, VB_E_CONNECTION_LOST);
    assert_non_null(strstr(w.a.why.text, "host 'b'"));
    close_world(&w);

    open_world(&w, 0, 0);
    peer_send(&w.a, VB_M_OK, 1, 3);
    vb_loop_run(w.loop);
    vb_conn_pair_cut(w.b.conn);
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 1);
    assert_int_equal(w.a.closes + w.b.closes, 2);
    close_world(&w);
}

static void a_freed_end_is_an_orderly_end_after_its_messages(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 50, 0);
    peer_send(&w.a, VB_M_OK, 1, 3);
    peer_send(&w.a, VB_M_OK, 2, 3);
    peer_stop(&w.a);
    peer_send(&w.b, VB_M_OK, 1, 3); /* nobody there */
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 2);
    assert_int_equal(w.b.closes, 1);
    assert_int_equal(w.b.why.code, VB_OK);
    close_world(&w);
}

static void finish_ends_one_direction(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 0, 0);
    peer_send(&w.a, VB_M_OK, 1, 3);
    vb_conn_finish(w.a.conn);
    vb_loop_run(w.loop);
    assert_int_equal(w.b.closes, 1);
    assert_int_equal(w.b.why.code, VB_OK);
    assert_int_equal(w.a.closes, 0);
    close_world(&w);
}

static void pause_is_back_pressure(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 0, 0);
    w.b.pause_after = 2;
    for (uint64_t i = 1; i <= 10; i++)
        peer_send(&w.a, VB_M_CHUNK, i, 100000);
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 2);
    assert_true(vb_conn_queued(w.a.conn) > 800000);
    assert_int_equal(w.a.drains, 0);
    vb_conn_pause(w.b.conn, false);
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 10);
    assert_int_equal(w.a.drains, 1);
    assert_true(vb_conn_queued(w.a.conn) == 0);
    close_world(&w);
}

static void freed_in_its_own_callback(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, 0, 0);
    w.b.free_on_msg = true;
    peer_send(&w.a, VB_M_OK, 1, 3);
    peer_send(&w.a, VB_M_OK, 2, 3);
    vb_loop_run(w.loop);
    assert_int_equal(w.b.msgs, 1);
    assert_int_equal(w.a.closes, 1);
    close_world(&w);
}

static void keep_alive_in_virtual_time(void **state)
{
    struct world w;
    unsigned never = 0;

    (void)state;
    open_world(&w, 0, 0);
    vb_conn_keepalive(w.a.conn, 15000, 60000);
    peer_wait(w.loop, &never, 1, 3600u * 1000);
    assert_true(vb_loop_now_ms(w.loop) >= 3600u * 1000);
    assert_int_equal(w.a.closes, 0);
    /* The other end stops looking: a hung process. */
    vb_conn_pause(w.b.conn, true);
    assert_true(peer_wait(w.loop, &w.a.closes, 1, 120000));
    assert_int_equal(w.a.why.code, VB_E_TIMEOUT);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_never_change_the_order),
        cmocka_unit_test(a_cut_tells_both_ends_and_loses_what_is_on_the_way),
        cmocka_unit_test(a_freed_end_is_an_orderly_end_after_its_messages),
        cmocka_unit_test(finish_ends_one_direction),
        cmocka_unit_test(pause_is_back_pressure),
        cmocka_unit_test(freed_in_its_own_callback),
        cmocka_unit_test(keep_alive_in_virtual_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
