/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/dialog.c - events, replies and the lease of one job.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/dialog.h"
#include "base/mem.h"
#include "wire/protocol.h"

#define EVENTS_MAX 20000u /* the oldest go first; a backup of hundreds of components has some thousands */

struct record { uint64_t id; bool answered; struct vb_msg reply; };

struct vb_dialog {
    struct vb_loop *loop;
    struct vb_dialog_handler h;
    void *arg;
    char *job, *token;
    uint64_t lease_ms;
    struct vb_conn *conn;
    struct vb_timer *lease, *limit;
    struct vb_msg *events; size_t n_events, cap_events;
    uint64_t next_seq, sent_seq;     /* number of the next event; of the last one sent on this connection */
    struct record *records; size_t n_records, cap_records;
    struct vb_msg *held; size_t n_held, cap_held; /* replies that wait for the end of the hold */
    bool is_held, over, finishing, flushed;
};

static void lease_over(void *arg)
{
    struct vb_dialog *d = arg;
    d->lease = NULL;
    d->over = true;
    d->h.lease_over(d->arg);
}

static void start_lease(struct vb_dialog *d)
{
    if (!d->lease && !d->over && !d->finishing)
        d->lease = vb_loop_after(d->loop, d->lease_ms, lease_over, d);
}

struct vb_dialog *vb_dialog_new(struct vb_loop *l, const char *job, const char *token, uint64_t lease_ms,
                                const struct vb_dialog_handler *h, void *arg)
{
    struct vb_dialog *d = vb_alloc(sizeof *d);
    d->loop = l;
    d->h = *h;
    d->arg = arg;
    d->job = vb_strdup(job);
    d->token = vb_strdup(token);
    d->lease_ms = lease_ms;
    d->next_seq = 1;
    start_lease(d);
    return d;
}

static void clear_list(struct vb_msg *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        vb_msg_clear(&v[i]);
    free(v);
}

void vb_dialog_free(struct vb_dialog *d)
{
    if (!d)
        return;
    vb_loop_unpost(d->loop, d);
    vb_timer_cancel(d->lease);
    vb_timer_cancel(d->limit);
    vb_conn_free(d->conn);
    clear_list(d->events, d->n_events);
    clear_list(d->held, d->n_held);
    for (size_t i = 0; i < d->n_records; i++)
        vb_msg_clear(&d->records[i].reply);
    free(d->records);
    free(d->job);
    free(d->token);
    free(d);
}

bool vb_dialog_attached(const struct vb_dialog *d)
{
    return d->conn != NULL;
}

static void copy_msg(struct vb_msg *to, const struct vb_msg *from)
{
    *to = (struct vb_msg){ from->type, from->id, VB_BUF_INIT };
    vb_buf_add(&to->body, from->body.data, from->body.len);
}

/* ---- sending ---- */

static void send_events(struct vb_dialog *d)
{
    uint64_t first = d->next_seq - d->n_events;
    if (!d->conn || d->is_held)
        return;
    if (d->sent_seq + 1 < first)
        d->sent_seq = first - 1;
    while (d->sent_seq + 1 < d->next_seq) {
        vb_conn_send(d->conn, &d->events[d->sent_seq + 1 - first]);
        d->sent_seq++;
    }
}

void vb_dialog_event(struct vb_dialog *d, struct vb_msg *m)
{
    m->type = VB_M_EVENT;
    m->id = 0;
    vb_msg_add_u64(m, VB_F_SEQ, d->next_seq);
    vb_msg_add_u64(m, VB_F_WALL_MS, vb_loop_wall_ms(d->loop));
    vb_msg_add_u64(m, VB_F_MONO_US, vb_loop_now_us(d->loop));
    if (d->n_events == EVENTS_MAX) {
        vb_msg_clear(&d->events[0]);
        memmove(d->events, d->events + 1, --d->n_events * sizeof *d->events);
    }
    VB_GROW(d->events, d->n_events, d->cap_events);
    copy_msg(&d->events[d->n_events++], m);
    d->next_seq++;
    send_events(d);
}

static struct record *find(struct vb_dialog *d, uint64_t id)
{
    for (size_t i = 0; i < d->n_records; i++)
        if (d->records[i].id == id)
            return &d->records[i];
    return NULL;
}

void vb_dialog_reply(struct vb_dialog *d, const struct vb_msg *m)
{
    struct record *r = find(d, m->id);
    if (r && !r->answered) {
        r->answered = true;
        copy_msg(&r->reply, m);
    }
    if (d->is_held) {
        VB_GROW(d->held, d->n_held, d->cap_held);
        copy_msg(&d->held[d->n_held++], m);
        return;
    }
    send_events(d); /* what led to the reply comes before it */
    if (d->conn)
        vb_conn_send(d->conn, m);
}

void vb_dialog_hold(struct vb_dialog *d, bool held)
{
    d->is_held = held;
    if (held)
        return;
    send_events(d);
    for (size_t i = 0; i < d->n_held; i++)
        if (d->conn)
            vb_conn_send(d->conn, &d->held[i]);
    clear_list(d->held, d->n_held);
    d->held = NULL;
    d->n_held = d->cap_held = 0;
}

/* ---- the connection ---- */

static void flushed(void *arg)
{
    struct vb_dialog *d = arg;
    if (d->flushed)
        return;
    d->flushed = true;
    vb_timer_cancel(d->limit);
    d->limit = NULL;
    d->h.flushed(d->arg);
}

static void limit_over(void *arg)
{
    struct vb_dialog *d = arg;
    d->limit = NULL; /* it has fired: its handle is worth nothing any more */
    flushed(d);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_dialog *d = arg;
    struct record *r = find(d, m->id);
    if (d->finishing && !(r && r->answered))
        return;
    if (r) {
        if (r->answered)
            vb_conn_send(d->conn, &r->reply);
        return; /* being executed: it is answered when it is done */
    }
    VB_GROW(d->records, d->n_records, d->cap_records);
    d->records[d->n_records++] = (struct record){ m->id, false, VB_MSG_INIT(0) };
    d->h.command(d->arg, m);
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_dialog *d = arg;
    (void)why;
    vb_conn_free(d->conn);
    d->conn = NULL;
    if (d->finishing)
        vb_loop_post(d->loop, flushed, d);
    else
        start_lease(d);
}

static const struct vb_conn_handler HANDLER = { on_msg, on_close, NULL };

void vb_dialog_attach(struct vb_dialog *d, struct vb_conn *c, uint16_t type, uint64_t id, uint64_t seq)
{
    VB_AUTO_MSG m = VB_MSG_INIT(type);
    vb_conn_free(d->conn);
    d->conn = c;
    vb_timer_cancel(d->lease);
    d->lease = NULL;
    m.id = id;
    vb_msg_add_str(&m, VB_F_JOB, d->job);
    vb_msg_add_str(&m, VB_F_TOKEN, d->token);
    vb_msg_add_u64(&m, VB_F_SEQ, d->next_seq - 1);
    vb_msg_add_u64(&m, VB_F_LEASE_MS, d->lease_ms);
    vb_conn_send(c, &m);
    d->sent_seq = seq;
    if (d->sent_seq >= d->next_seq)
        d->sent_seq = d->next_seq - 1;
    send_events(d);
    vb_conn_set_handler(c, &HANDLER, d);
    if (d->finishing)
        vb_conn_finish(c);
}

void vb_dialog_finish(struct vb_dialog *d, uint64_t limit_ms)
{
    d->finishing = true;
    vb_timer_cancel(d->lease);
    d->lease = NULL;
    vb_dialog_hold(d, false);
    if (!d->conn) {
        vb_loop_post(d->loop, flushed, d);
        return;
    }
    vb_conn_finish(d->conn);
    d->limit = vb_loop_after(d->loop, limit_ms, limit_over, d);
}
