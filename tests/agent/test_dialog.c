/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_dialog.c - events and replies over connections that come and go.
 */
#include "config.h"

#include "agent/dialog.h"
#include "base/mem.h"
#include "tests/cm.h"
#include "wire/protocol.h"

struct world {
    struct vb_loop *loop;
    struct vb_dialog *d;
    struct vb_conn *peer;
    struct vb_strv got;      /* at the peer: "EVENT 3", "REPLY 30", "ATTACHED 5" */
    struct vb_strv commands; /* at the job */
    unsigned leases, flushes;
    bool closed;
};

static void peer_msg(void *arg, struct vb_msg *m)
{
    struct world *w = arg;
    if (m->type == VB_M_EVENT)
        vb_strv_take(&w->got, vb_printf("EVENT %ju", (uintmax_t)vb_msg_u64(m, VB_F_SEQ, 0)));
    else
        vb_strv_take(&w->got, vb_printf("%s %ju",
                                        m->type == VB_M_REPLY    ? "REPLY"
                                        : m->type == VB_M_OPENED ? "OPENED"
                                                                 : "ATTACHED",
                                        (uintmax_t)m->id));
}

static void peer_close(void *arg, const struct vb_error *why)
{
    struct world *w = arg;
    (void)why;
    w->closed = true;
    vb_conn_free(w->peer);
    w->peer = NULL;
}

static const struct vb_conn_handler PEER = { peer_msg, peer_close, NULL };

static void on_command(void *arg, const struct vb_msg *m)
{
    struct world *w = arg;
    vb_strv_take(&w->commands, vb_printf("%ju", (uintmax_t)m->id));
}
static void on_lease(void *arg)
{
    struct world *w = arg;
    w->leases++;
}
static void on_flushed(void *arg)
{
    struct world *w = arg;
    w->flushes++;
}

static void turn(struct world *w, uint64_t ms)
{
    uint64_t until = vb_loop_now_ms(w->loop) + ms;
    while (vb_loop_now_ms(w->loop) < until && vb_loop_turn(w->loop, 0))
        ;
}

static void later(void *arg)
{
    (void)arg;
}

static void run(struct world *w)
{
    vb_loop_after(w->loop, 5, later, NULL);
    turn(w, 5);
}

static void attach(struct world *w, uint16_t type, uint64_t seq)
{
    struct vb_conn *job;
    vb_conn_free(w->peer);
    vb_conn_pair(w->loop, NULL, NULL, &job, &w->peer);
    vb_conn_set_handler(w->peer, &PEER, w);
    vb_dialog_attach(w->d, job, type, 7, seq);
    run(w);
}

static void event(struct world *w)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_EVENT);
    vb_msg_add_str(&m, VB_F_KIND, "test");
    vb_dialog_event(w->d, &m);
}

static void reply(struct world *w, uint64_t id)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_REPLY);
    m.id = id;
    vb_dialog_reply(w->d, &m);
}

static void command(struct world *w, uint64_t id)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_IDENTIFY);
    m.id = id;
    vb_conn_send(w->peer, &m);
    run(w);
}

static void open_world(struct world *w, uint64_t lease)
{
    static const struct vb_dialog_handler H = { on_command, on_lease, on_flushed };
    memset(w, 0, sizeof *w);
    w->loop = vb_loop_new_virtual(0);
    w->d = vb_dialog_new(w->loop, "job", "token", lease, &H, w);
}

static void close_world(struct world *w)
{
    vb_dialog_free(w->d);
    vb_conn_free(w->peer);
    vb_loop_free(w->loop);
    vb_strv_clear(&w->got);
    vb_strv_clear(&w->commands);
}

static void assert_got(struct world *w, const char *const *lines, size_t n)
{
    for (size_t i = 0; i < n && i < w->got.n; i++)
        assert_string_equal(w->got.v[i], lines[i]);
    assert_int_equal(w->got.n, n);
    vb_strv_clear(&w->got);
}
#define GOT(w, ...)                                                       \
    do {                                                                  \
        static const char *const lines_[] = { __VA_ARGS__ };              \
        assert_got((w), lines_, sizeof lines_ / sizeof lines_[0]);        \
    } while (0)

static void events_after_seq_are_sent_again(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    attach(&w, VB_M_OPENED, 0);
    event(&w);
    event(&w);
    run(&w);
    GOT(&w, "OPENED 7", "EVENT 1", "EVENT 2");
    vb_conn_free(w.peer); /* the connection is gone */
    w.peer = NULL;
    run(&w);
    event(&w);
    attach(&w, VB_M_ATTACHED, 1); /* only the first one had arrived */
    GOT(&w, "ATTACHED 7", "EVENT 2", "EVENT 3");
    attach(&w, VB_M_ATTACHED, 99); /* a number that never was */
    GOT(&w, "ATTACHED 7");
    assert_int_equal(w.leases, 0);
    close_world(&w);
}

static void a_command_is_executed_once(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    attach(&w, VB_M_OPENED, 0);
    command(&w, 30);
    command(&w, 30); /* repeated while it is executed: answered when it is done */
    assert_int_equal(w.commands.n, 1);
    reply(&w, 30);
    run(&w);
    GOT(&w, "OPENED 7", "REPLY 30");
    attach(&w, VB_M_ATTACHED, 0);
    command(&w, 30); /* repeated afterwards: from the record */
    GOT(&w, "ATTACHED 7", "REPLY 30");
    assert_int_equal(w.commands.n, 1);
    close_world(&w);
}

static void a_reply_nobody_heard_is_kept(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    attach(&w, VB_M_OPENED, 0);
    command(&w, 31);
    vb_conn_free(w.peer);
    w.peer = NULL;
    run(&w);
    reply(&w, 31);
    attach(&w, VB_M_ATTACHED, 0);
    command(&w, 31);
    GOT(&w, "OPENED 7", "ATTACHED 7", "REPLY 31");
    assert_int_equal(w.commands.n, 1);
    close_world(&w);
}

static void the_lease_runs_only_without_a_connection(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    attach(&w, VB_M_OPENED, 0);
    vb_loop_after(w.loop, 5000, later, NULL);
    turn(&w, 5000);
    assert_int_equal(w.leases, 0);
    vb_conn_free(w.peer);
    w.peer = NULL;
    vb_loop_after(w.loop, 600, later, NULL);
    turn(&w, 600);
    attach(&w, VB_M_ATTACHED, 0); /* in time */
    vb_loop_after(w.loop, 3000, later, NULL);
    turn(&w, 3000);
    assert_int_equal(w.leases, 0);
    vb_conn_free(w.peer);
    w.peer = NULL;
    vb_loop_after(w.loop, 3000, later, NULL);
    turn(&w, 3000);
    assert_int_equal(w.leases, 1);
    close_world(&w);
}

static void nobody_ever_comes(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    vb_loop_after(w.loop, 3000, later, NULL);
    turn(&w, 3000);
    assert_int_equal(w.leases, 1);
    close_world(&w);
}

static void what_is_held_comes_in_order_afterwards(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    attach(&w, VB_M_OPENED, 0);
    command(&w, 32);
    vb_dialog_hold(w.d, true);
    event(&w);
    reply(&w, 32);
    run(&w);
    GOT(&w, "OPENED 7");
    vb_dialog_hold(w.d, false);
    run(&w);
    GOT(&w, "EVENT 1", "REPLY 32");
    close_world(&w);
}

static void the_last_words_are_flushed(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 1000);
    attach(&w, VB_M_OPENED, 0);
    command(&w, 35);
    reply(&w, 35);
    vb_dialog_finish(w.d, 5000);
    run(&w);
    GOT(&w, "OPENED 7", "REPLY 35");
    assert_true(w.closed);
    run(&w);
    assert_int_equal(w.flushes, 1);
    close_world(&w);
    open_world(&w, 1000); /* nobody there */
    vb_dialog_finish(w.d, 5000);
    run(&w);
    assert_int_equal(w.flushes, 1);
    assert_int_equal(w.leases, 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("events after SEQ are sent again", events_after_seq_are_sent_again),
        CM_TEST("a command is executed once", a_command_is_executed_once),
        CM_TEST("a reply nobody heard is kept", a_reply_nobody_heard_is_kept),
        CM_TEST("the lease runs only without a connection", the_lease_runs_only_without_a_connection),
        CM_TEST("nobody ever comes", nobody_ever_comes),
        CM_TEST("what is held comes in order afterwards", what_is_held_comes_in_order_afterwards),
        CM_TEST("the last words are flushed", the_last_words_are_flushed),
    };
    return CM_RUN("dialog", t);
}
