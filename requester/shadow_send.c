/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow_send.c - a shadow copy from one host to another: two jobs, and the bytes between their data streams.
 *
 * The receiving host is told of the end only when the sending one has said that its provider succeeded: a stream that
 * just ends is one that was cut off, wherever that was.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/shadow.h"
#include "wire/protocol.h"

#define QUEUE_MAX ((size_t)4 << 20) /* bytes that wait for the slower side */
#define LAST_WORD_MS 30000u         /* until the agents have said why, after a stream broke */

struct transfer {
    struct vb_shadow_link from, to;
    struct vb_conn *in, *out;
    bool opening, all_came, end_sent, all_taken, held, late;
    struct vb_error broken; /* what became of a stream */
    struct vb_timer *timer;
    uint64_t bytes;
};

void vb_shadow_sent_clear(struct vb_shadow_sent *s)
{
    free(s->id);
    free(s->path);
    free(s->parent);
    *s = (struct vb_shadow_sent){ NULL, NULL, NULL, 0 };
}

/* ---- the streams ---- */

static void on_late(void *arg)
{
    struct transfer *t = arg;
    t->timer = NULL;
    t->late = true;
    vb_loop_stop(t->from.loop, 0);
}

/* Both are closed, so that both agents come to their end, and say what happened to them. */
static void break_off(struct transfer *t, const struct vb_error *why, const char *host)
{
    if (t->broken.code != VB_OK)
        return;
    if (why && why->code != VB_OK)
        vb_error_copy(&t->broken, why);
    else
        vb_fail(&t->broken, VB_E_CONNECTION_LOST, "host '%s': the agent closed the data stream", host);
    vb_conn_free(t->in);
    vb_conn_free(t->out);
    t->in = t->out = NULL;
    t->timer = vb_loop_after(t->from.loop, LAST_WORD_MS, on_late, t);
    vb_loop_stop(t->from.loop, 0);
}

static void error_of(const struct vb_msg *m, const char *host, struct vb_error *err)
{
    if (vb_msg_error(m, err) == 0)
        vb_fail(err, VB_E_PROTOCOL, "unexpected message %u on the data stream", m->type);
    vb_context(err, "host '%s'", host);
}

static void in_msg(void *arg, struct vb_msg *m)
{
    struct transfer *t = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    const unsigned char *p;
    size_t n;
    if (m->type == VB_M_CHUNK && !t->all_came && vb_msg_bytes(m, VB_F_BYTES, &p, &n)) {
        t->bytes += n;
        vb_conn_send(t->out, m);
        if (vb_conn_queued(t->out) > QUEUE_MAX) {
            t->held = true;
            vb_conn_pause(t->in, true);
        }
    } else if (m->type == VB_M_DATA_END && !t->all_came) {
        t->all_came = true;
        vb_loop_stop(t->from.loop, 0);
    } else {
        error_of(m, t->from.host, &e);
        break_off(t, &e, t->from.host);
    }
}

static void in_close(void *arg, const struct vb_error *why)
{
    struct transfer *t = arg;
    vb_conn_free(t->in);
    t->in = NULL;
    if (!t->all_came)
        break_off(t, why, t->from.host);
}

static void out_msg(void *arg, struct vb_msg *m)
{
    struct transfer *t = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (m->type == VB_M_DATA_OK && t->end_sent) {
        t->all_taken = true;
        return;
    }
    error_of(m, t->to.host, &e);
    break_off(t, &e, t->to.host);
}

static void out_close(void *arg, const struct vb_error *why)
{
    struct transfer *t = arg;
    vb_conn_free(t->out);
    t->out = NULL;
    if (!t->all_taken)
        break_off(t, why, t->to.host);
}

static void out_drain(void *arg)
{
    struct transfer *t = arg;
    if (t->held && t->in)
        vb_conn_pause(t->in, false);
    t->held = false;
}

/* ---- opening them ---- */

struct opened { struct transfer *t; struct vb_conn **to; struct vb_error *err; };

static void on_data(void *arg, struct vb_conn *c, const struct vb_error *err)
{
    struct opened *o = arg;
    *o->to = c;
    if (!c)
        vb_error_copy(o->err, err);
    o->t->opening = false;
    vb_loop_stop(o->t->from.loop, 0);
}

static int open_stream(struct transfer *t, struct vb_shadow_link *l, struct vb_conn **to, struct vb_error *err)
{
    struct opened o = { t, to, err };
    t->opening = true;
    vb_rjob_data(l->rjob, on_data, &o);
    while (t->opening && !l->lost && !vb_shadow_interrupted(l))
        vb_loop_run(t->from.loop);
    if (!t->opening)
        return *to ? 0 : -1;
    vb_rjob_data_cancel(l->rjob);
    if (!l->lost)
        return vb_fail(err, VB_E_CANCELLED, "interrupted");
    vb_error_copy(err, &l->why);
    return -1;
}

/* ---- choosing ---- */

static const struct vb_shadow_item *twin(const struct vb_shadow_items *there, const struct vb_shadow_item *x,
                                         const char *dir)
{
    for (size_t i = 0; i < there->n; i++) {
        const struct vb_shadow_item *y = &there->v[i];
        if (y->active && y->stamp && !strcmp(y->stamp, x->stamp) && y->volume && !strcmp(y->volume, dir) &&
            !strcmp(y->provider, x->provider))
            return y;
    }
    return NULL;
}

/* The newest of the same volume that both have (lists are oldest first); the one before x is likely the nearest. */
static const struct vb_shadow_item *common(const struct vb_shadow_items *here, const struct vb_shadow_items *there,
                                           const struct vb_shadow_item *x, const char *dir)
{
    const struct vb_shadow_item *found = NULL;
    for (size_t i = 0; i < here->n; i++) {
        const struct vb_shadow_item *p = &here->v[i];
        if (p != x && p->active && p->stamp && !strcmp(p->provider, x->provider) && p->subvolume && x->subvolume &&
            !strcmp(p->subvolume, x->subvolume) && (!found || p->wall_ms <= x->wall_ms) && twin(there, p, dir))
            found = p;
    }
    return found;
}

static int check(const struct vb_shadow_items *there, const struct vb_shadow_item *x, const char *to, struct vb_error *err)
{
    if (!x->active || !x->stamp) {
        vb_fail(err, VB_E_NOT_SUPPORTED, "shadow copy '%s' of provider '%s' cannot be sent", x->id, x->provider);
        vb_hint(err, "shadow copies of btrfs can be");
        return -1;
    }
    for (size_t i = 0; i < there->n; i++)
        if (vb_guid_equal(there->v[i].id, x->id)) { /* S-57 */
            vb_fail(err, VB_E_OBJECT_ALREADY_EXISTS, "shadow copy '%s' is on host '%s' already", x->id, to);
            return -1;
        }
    return 0;
}

/* ---- moving ---- */

static bool over(const struct transfer *t)
{
    return (!t->from.waiting && !t->to.waiting) || t->from.lost || t->to.lost || t->late ||
           vb_shadow_interrupted(&t->from);
}

/* The agent's own word says more than that its stream broke; who failed first made the other one fail. */
static int failed(struct transfer *t, struct vb_error *err)
{
    struct vb_shadow_link *l[] = { &t->to, &t->from };
    const struct vb_error *why = NULL;
    for (size_t i = 0; i < VB_COUNT(l); i++)
        if (!l[i]->waiting && l[i]->status < 0 && (!why || why->code == VB_E_CONNECTION_LOST)) {
            vb_context(&l[i]->error, "host '%s'", l[i]->host);
            why = &l[i]->error;
        }
    for (size_t i = 0; i < VB_COUNT(l); i++)
        if (l[i]->lost)
            why = &l[i]->why;
    if (vb_shadow_interrupted(&t->from))
        return vb_fail(err, VB_E_CANCELLED, "interrupted");
    vb_error_copy(err, why ? why : &t->broken);
    return -1;
}

static int move(struct transfer *t, struct vb_msg *receive, struct vb_msg *send, struct vb_error *err)
{
    static const struct vb_conn_handler in = { in_msg, in_close, NULL }, out = { out_msg, out_close, out_drain };
    vb_conn_set_handler(t->in, &in, t);
    vb_conn_set_handler(t->out, &out, t);
    vb_shadow_start(&t->to, "receive", receive);
    vb_shadow_start(&t->from, "send", send);
    while (!over(t)) {
        vb_loop_run(t->from.loop);
        if (t->all_came && !t->from.waiting && t->from.status == 0 && !t->end_sent && t->out) {
            VB_AUTO_MSG end = VB_MSG_INIT(VB_M_DATA_END);
            t->end_sent = true;
            vb_conn_send(t->out, &end);
        }
        if ((!t->from.waiting && t->from.status < 0) || (!t->to.waiting && t->to.status < 0))
            break_off(t, t->to.waiting ? &t->from.error : &t->to.error, t->to.host);
    }
    bool good = !t->from.waiting && !t->to.waiting && t->from.status == 0 && t->to.status == 0 && t->end_sent;
    return good ? 0 : failed(t, err);
}

static int transfer(struct transfer *t, const struct vb_shadow_item *x, const struct vb_shadow_item *parent,
                    const char *dir, struct vb_error *err)
{
    struct vb_msg ask = VB_MSG_INIT(0), receive = VB_MSG_INIT(0), send = VB_MSG_INIT(0);
    vb_msg_add_str(&ask, VB_F_SET, x->set);
    vb_msg_add_str(&ask, VB_F_SNAPSHOT, x->id);
    if (vb_shadow_call(&t->from, "documents", &ask, err) < 0)
        return -1;
    if (open_stream(t, &t->to, &t->out, err) < 0 || open_stream(t, &t->from, &t->in, err) < 0)
        return -1;
    vb_buf_add(&receive.body, t->from.reply.body.data, t->from.reply.body.len);
    vb_msg_add_str(&receive, VB_F_TARGET, dir);
    vb_msg_add_str(&receive, VB_F_STAMP, x->stamp);
    vb_msg_add_str(&send, VB_F_SNAPSHOT, x->id);
    vb_msg_add_str(&send, VB_F_PARENT, parent ? parent->id : NULL);
    return move(t, &receive, &send, err);
}

int vb_shadow_send(const struct vb_cli *cli, const char *id, const char *to, const char *dir, bool whole, bool dry,
                   struct vb_shadow_sent *out, struct vb_error *err)
{
    struct transfer t = { .broken = VB_ERROR_INIT, .from = { .error = VB_ERROR_INIT }, .to = { .error = VB_ERROR_INIT } };
    struct vb_shadow_items here = { 0 }, there = { 0 };
    const struct vb_shadow_item *x = NULL, *parent = NULL;
    int rc = vb_shadow_open(&t.from, cli, VB_JOB_IDENTIFY, NULL, 0, err);
    if (rc == 0)
        rc = vb_shadow_open_beside(&t.to, &t.from, to, err);
    if (rc == 0 && (rc = vb_shadow_list(&t.from, &here, err)) == 0 && (rc = vb_shadow_list(&t.to, &there, err)) == 0 &&
        (rc = (x = vb_shadow_find(&here, id, err)) ? 0 : -1) == 0)
        rc = check(&there, x, t.to.host, err);
    if (rc == 0 && !whole)
        parent = common(&here, &there, x, dir);
    if (rc == 0 && !dry)
        rc = transfer(&t, x, parent, dir, err);
    if (rc == 0) {
        out->id = vb_strdup(x->id);
        out->parent = parent ? vb_strdup(parent->id) : NULL;
        out->path = dry ? NULL : vb_msg_str(&t.to.reply, VB_F_PATH);
        out->bytes = t.bytes;
    }
    vb_conn_free(t.in);
    vb_conn_free(t.out);
    vb_timer_cancel(t.timer);
    vb_error_clear(&t.broken);
    vb_shadow_close(&t.to);
    vb_shadow_close(&t.from);
    vb_shadow_items_clear(&here);
    vb_shadow_items_clear(&there);
    return rc;
}
