/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow_stream.c - send and receive: a shadow copy over the job's data stream, from one host's provider to
 * another's (S-56, S-57).
 *
 * A process of its own (agent/shadow_stream.c) stands between the stream and the provider.  What is received counts when
 * both are content: the provider with what it made, the process with how the stream ended.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_shadow.h"
#include "base/log.h"

static void stop_stream(struct vb_session *s, bool kill)
{
    s->shadow_op->stream_over = true;
    if (s->mover.conn)
        s->env->stop(s->env->arg, &s->mover, kill);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_session *s = arg;
    struct vb_shadow_op *o = s->shadow_op;
    if (m->type == VB_M_OK && !o->pipe) {
        o->pipe = vb_msg_str(m, VB_F_PATH);
    } else if (m->type == VB_M_REPLY) {
        o->bytes = vb_msg_u64(m, VB_F_BYTES_DONE, 0);
        if (vb_msg_error(m, &o->stream_error) < 0)
            stop_stream(s, true); /* the pipe ends with it, and the provider's work */
        else
            o->stream_over = true; /* it stays: a small stream lies in its pipe, perhaps unopened */
    } else {
        return;
    }
    vb_s_post(s, o->next);
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_session *s = arg;
    struct vb_shadow_op *o = s->shadow_op;
    (void)why;
    if (!o->stream_over && o->stream_error.code == VB_OK) {
        vb_fail(&o->stream_error, VB_E_UNEXPECTED, "the process between data stream and provider ended unexpectedly");
        vb_hint(&o->stream_error, "its messages are in the log of the agent's host");
    }
    stop_stream(s, false);
    vb_s_post(s, o->next);
}

/* next is called whenever something is new: the pipe, the end, the provider's answer. */
static int start_stream(struct vb_session *s, const char *call, vb_step *next, struct vb_error *err)
{
    static const struct vb_conn_handler handler = { on_msg, on_close, NULL };
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_SHADOW);
    if (!s->env->data_ready(s->env->arg))
        return vb_fail(err, VB_E_CONNECTION_LOST, "no data stream is open for the job");
    if (s->mover.conn)
        return vb_fail(err, VB_E_BAD_STATE, "'%s' refused: data of this job are being moved", call);
    if (s->env->start(s->env->arg, VB_CHILD_SHADOW, NULL, &s->mover, err) < 0)
        return -1;
    s->shadow_op->next = next;
    vb_conn_set_name(s->mover.conn, "shadow-stream");
    vb_conn_set_handler(s->mover.conn, &handler, s);
    m.id = s->next_id++;
    vb_msg_add_str(&m, VB_F_CALL, call);
    vb_conn_send(s->mover.conn, &m);
    return 0;
}

/* The reason to tell: a stream that broke is why the provider could not go on. */
static struct vb_error *reason(struct vb_shadow_op *o)
{
    return o->stream_error.code != VB_OK ? &o->stream_error : &o->why;
}

static void answered(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    o->provider_done = true;
    if (s->calls.failure.code != VB_OK) {
        vb_error_copy(&o->why, &s->calls.failure);
        stop_stream(s, true);
    }
    o->next(s);
}

static void call_provider(struct vb_session *s, const char *call, struct vb_msg *fields, vb_panswer *answer)
{
    struct vb_shadow_op *o = s->shadow_op;
    o->called = true;
    vb_msg_add_str(fields, VB_F_PATH, o->pipe);
    vb_msg_add_u64(fields, VB_F_LIVE, 1); /* PATH is a pipe */
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, o->provider), call, fields);
    vb_calls_go(s, VB_SO_TRANSFER_MS, answer, answered);
}

/* ---- send ---- */

static void on_sent(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    (void)c;
    if (m && !err)
        s->shadow_op->stamp = vb_msg_str(m, VB_F_STAMP);
}

static void send_next(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    if (o->called && !o->provider_done)
        return;
    if (reason(o)->code != VB_OK) {
        vb_so_failed(s, reason(o));
    } else if (!o->called && o->pipe) {
        VB_AUTO_FREE char *parent = vb_msg_str(&s->cmd, VB_F_PARENT);
        struct vb_msg f = VB_MSG_INIT(0);
        vb_msg_add_str(&f, VB_F_SNAPSHOT, o->id);
        vb_msg_add_str(&f, VB_F_PARENT, parent);
        call_provider(s, "send", &f, on_sent);
    } else if (o->provider_done && !o->told && !o->stream_over) {
        VB_AUTO_MSG all = VB_MSG_INIT(VB_M_OK); /* what it writes from here on is the rest */
        o->told = true;
        vb_conn_send(s->mover.conn, &all);
    } else if (o->provider_done && o->stream_over) {
        struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
        vb_msg_add_str(&m, VB_F_STAMP, o->stamp);
        vb_msg_add_u64(&m, VB_F_BYTES_DONE, o->bytes);
        vb_so_done(s, &m);
    }
}

void vb_so_send(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *parent = vb_msg_str(&s->cmd, VB_F_PARENT);
    int rc = vb_so_find(s, true, &err);
    if (rc == 0)
        rc = vb_so_check_persistent(s, "send", &err);
    if (rc == 0 && parent && !vb_guid_valid(parent))
        rc = vb_fail(&err, VB_E_OBJECT_NOT_FOUND, "'%s' is not the id of a shadow copy", parent);
    if (rc == 0) {
        s->shadow_op->provider = vb_strdup(vb_so_the_shadow(s)->provider);
        rc = start_stream(s, "send", send_next, &err);
    }
    if (rc < 0)
        vb_so_failed(s, &err);
}

/* ---- receive ---- */

static void receive_next(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    if (o->called && !o->provider_done)
        return;
    if (reason(o)->code != VB_OK) {
        vb_so_import_undo(s, reason(o));
    } else if (!o->called && o->pipe) {
        struct vb_msg f = VB_MSG_INIT(0);
        vb_so_receive_fields(s, o->stamp, &f);
        call_provider(s, "receive", &f, NULL);
    } else if (o->provider_done && o->stream_over) {
        stop_stream(s, false);
        vb_so_import_check(s);
    }
}

void vb_so_receive(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *to = vb_msg_str(&s->cmd, VB_F_TARGET);
    struct vb_shadow_set *from = vb_shadow_decode(&s->cmd, &err);
    int rc = from ? 0 : -1;
    if (rc == 0 && from->n != 1)
        rc = vb_fail(&err, VB_E_PROTOCOL, "'receive' takes one shadow copy, not %zu", from->n);
    else if (rc == 0 && (!to || to[0] != '/'))
        rc = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path", to ? to : "");
    if (rc == 0 && !s->env->data_ready(s->env->arg))
        rc = vb_fail(&err, VB_E_CONNECTION_LOST, "no data stream is open for the job");
    if (rc == 0)
        rc = vb_so_import_begin(s, from, to, &err);
    vb_shadow_set_free(from);
    if (rc < 0) {
        vb_so_failed(s, &err);
        return;
    }
    s->shadow_op->stamp = vb_msg_str(&s->cmd, VB_F_STAMP);
    if (start_stream(s, "receive", receive_next, &err) < 0)
        vb_so_import_undo(s, &err);
}
