/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/conn_pair.c - two connected ends inside one process; the network of the simulation.
 *
 * Each direction is a queue of messages with the time at which they arrive.  Messages never overtake each other,
 * as on a real stream, whatever delays the hook gives.
 */
#include "config.h"
#include <stdlib.h>
#include "base/mem.h"
#include "wire/conn_impl.h"

struct parcel {
    struct parcel *next;
    struct vb_msg msg;
    uint64_t due_ms;
    bool is_end; /* the sender's orderly end */
};

struct pair_end {
    struct vb_conn base;
    int number;
    struct pair_end *other;    /* NULL once it was freed */
    struct parcel *head, *tail; /* on the way to this end */
    size_t bytes;              /* of head .. tail */
    uint64_t last_due_ms;
    struct vb_timer *timer;
    bool hold, posted;
    bool other_above_low;      /* the sender is owed an on_drain */
    vb_pair_hook *hook;
    void *hook_arg;
};

static void deliver_due(void *arg);

static void drop_parcels(struct pair_end *e)
{
    while (e->head) {
        struct parcel *p = e->head;

        e->head = p->next;
        vb_msg_clear(&p->msg);
        free(p);
    }
    e->tail = NULL;
    e->bytes = 0;
    vb_timer_cancel(e->timer);
    e->timer = NULL;
}

/* Makes sure that deliver_due runs when the first parcel is due. */
static void schedule(struct pair_end *e)
{
    uint64_t now;

    if (!e->head || e->hold || e->base.ended || e->posted || e->timer)
        return;
    now = vb_loop_now_ms(e->base.loop);
    if (e->head->due_ms > now) {
        e->timer = vb_loop_after(e->base.loop, e->head->due_ms - now, deliver_due, e);
    } else {
        e->posted = true;
        vb_loop_post(e->base.loop, deliver_due, e);
    }
}

static void put(struct pair_end *to, const struct vb_msg *m, uint64_t delay_ms)
{
    struct parcel *p = vb_alloc(sizeof *p);
    uint64_t due = vb_loop_now_ms(to->base.loop) + delay_ms;

    p->due_ms = due > to->last_due_ms ? due : to->last_due_ms;
    to->last_due_ms = p->due_ms;
    if (m) {
        p->msg.type = m->type;
        p->msg.id = m->id;
        if (m->body.len)
            vb_buf_add(&p->msg.body, m->body.data, m->body.len);
        to->bytes += VB_FRAME_HEAD + m->body.len;
    } else {
        p->is_end = true;
    }
    if (to->tail)
        to->tail->next = p;
    else
        to->head = p;
    to->tail = p;
    schedule(to);
}

static void cut(struct pair_end *e, const char *what)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    drop_parcels(e);
    vb_fail(&err, VB_E_CONNECTION_LOST, "%s", what);
    vb_conn_end(&e->base, &err);
}

static void deliver_due(void *arg)
{
    struct pair_end *e = arg;
    struct parcel *p;
    bool alive;

    e->timer = NULL;
    e->posted = false;
    if (e->hold || e->base.ended || !e->head || e->head->due_ms > vb_loop_now_ms(e->base.loop)) {
        schedule(e);
        return;
    }
    /* One message a turn, so that ends take turns as processes would. */
    p = e->head;
    e->head = p->next;
    if (!e->head)
        e->tail = NULL;
    if (p->is_end) {
        VB_AUTO_ERROR none = VB_ERROR_INIT;

        free(p);
        vb_conn_end(&e->base, &none);
        return;
    }
    e->bytes -= VB_FRAME_HEAD + p->msg.body.len;
    if (e->other_above_low && e->bytes <= VB_CONN_LOW) {
        e->other_above_low = false;
        if (e->other) {
            bool gone = false;
            bool *outer = e->base.gone;

            e->base.gone = &gone;
            vb_conn_drained(&e->other->base);
            if (gone) {
                if (outer)
                    *outer = true;
                vb_msg_clear(&p->msg);
                free(p);
                return;
            }
            e->base.gone = outer;
        }
    }
    vb_conn_heard(&e->base);
    alive = vb_conn_deliver(&e->base, &p->msg);
    vb_msg_clear(&p->msg);
    free(p);
    if (alive)
        schedule(e);
}

static void pair_send(struct vb_conn *c, const struct vb_msg *m)
{
    struct pair_end *e = (struct pair_end *)c;
    struct pair_end *to = e->other;
    uint64_t delay = 0;

    if (m->body.len > VB_FRAME_MAX - VB_FRAME_HEAD) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        vb_fail(&err, VB_E_LIMIT, "cannot send: message of type %u has %zu bytes, the limit is %u", (unsigned)m->type,
                m->body.len, VB_FRAME_MAX - VB_FRAME_HEAD);
        vb_conn_end(c, &err);
        return;
    }
    if (!to || to->base.ended)
        return;
    if (e->hook && e->hook(e->hook_arg, e->number, m, &delay) == VB_PAIR_CUT) {
        vb_conn_pair_cut(c);
        return;
    }
    put(to, m, delay);
    if (to->bytes > VB_CONN_LOW)
        to->other_above_low = true;
}

void vb_conn_pair_cut(struct vb_conn *c)
{
    struct pair_end *e = (struct pair_end *)c;

    if (e->other)
        cut(e->other, "connection lost");
    cut(e, "connection lost");
}

static size_t pair_queued(const struct vb_conn *c)
{
    const struct pair_end *e = (const struct pair_end *)c;

    return e->other ? e->other->bytes : 0;
}

static void pair_pause(struct vb_conn *c, bool hold)
{
    struct pair_end *e = (struct pair_end *)c;

    e->hold = hold;
    if (!hold)
        schedule(e);
}

static void pair_finish(struct vb_conn *c)
{
    struct pair_end *e = (struct pair_end *)c;

    if (e->other && !e->other->base.ended)
        put(e->other, NULL, 0);
}

static void pair_destroy(struct vb_conn *c)
{
    struct pair_end *e = (struct pair_end *)c;

    if (e->other) {
        /* As when a process dies: what it had sent arrives, then the end; also when the other side ended first. */
        if (!c->finished && !e->other->base.ended)
            put(e->other, NULL, 0);
        e->other->other = NULL;
    }
    drop_parcels(e);
    free(e);
}

static const struct vb_conn_ops pair_ops = { pair_send, pair_queued, pair_pause, pair_finish, pair_destroy };

void vb_conn_pair(struct vb_loop *l, vb_pair_hook *hook, void *arg, struct vb_conn **a, struct vb_conn **b)
{
    struct pair_end *e[2];

    for (int i = 0; i < 2; i++) {
        e[i] = vb_alloc(sizeof *e[i]);
        vb_conn_init(&e[i]->base, l, &pair_ops);
        e[i]->number = i;
        e[i]->hold = true; /* until there is a handler */
        e[i]->hook = hook;
        e[i]->hook_arg = arg;
    }
    e[0]->other = e[1];
    e[1]->other = e[0];
    *a = &e[0]->base;
    *b = &e[1]->base;
}
