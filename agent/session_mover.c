/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_mover.c - the process that moves the bytes: capture or restore, on the requester's data stream.
 *
 * The session is not in the way of the bytes: the process has the data stream itself, gets one message with what to do
 * and answers with what became of it.
 */
#include "config.h"

#include "agent/session_internal.h"

static const char *word(const struct vb_session *s)
{
    return s->mover_kind == VB_CHILD_CAPTURE ? "capture" : "restore";
}

void vb_mover_stop(struct vb_session *s)
{
    if (s->mover.conn)
        s->env->stop(s->env->arg, &s->mover, true);
    s->after_mover = NULL;
}

static void over(struct vb_session *s)
{
    vb_step *next = s->after_mover;
    s->after_mover = NULL;
    if (next)
        next(s);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_session *s = arg;
    if (m->type != VB_M_REPLY)
        return; /* PROGRESS and WARN reach the requester on the data stream */
    vb_msg_clear(&s->mover_reply);
    s->mover_reply.type = m->type;
    vb_buf_add(&s->mover_reply.body, m->body.data, m->body.len);
    (void)vb_msg_error(m, &s->trouble);
    s->env->stop(s->env->arg, &s->mover, false);
    vb_s_post(s, over);
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_session *s = arg;
    (void)why;
    s->env->stop(s->env->arg, &s->mover, false);
    vb_fail(&s->trouble, VB_E_UNEXPECTED, "the %s process ended without an answer", word(s));
    vb_hint(&s->trouble, "its messages are in the log of the agent's host");
    vb_s_post(s, over);
}

static const struct vb_conn_handler HANDLER = { on_msg, on_close, NULL };

void vb_mover_run(struct vb_session *s, enum vb_child_kind kind, vb_step *next)
{
    s->mover_kind = kind;
    s->after_mover = next;
    vb_msg_clear(&s->mover_reply);
    vb_error_clear(&s->trouble);
    if (!s->env->data_ready(s->env->arg)) {
        vb_fail(&s->trouble, VB_E_CONNECTION_LOST, "no data stream is open for the job");
        vb_s_post(s, over);
        return;
    }
    if (vb_s_journal(s, true, "%s", word(s)) < 0) {
        vb_error_copy(&s->trouble, &s->journal_error);
        vb_s_post(s, over);
        return;
    }
    if (s->env->start(s->env->arg, kind, NULL, &s->mover, &s->trouble) < 0) {
        vb_s_post(s, over);
        return;
    }
    vb_conn_set_name(s->mover.conn, word(s));
    vb_conn_set_handler(s->mover.conn, &HANDLER, s);
    s->mover_spec.id = s->next_id++;
    vb_conn_send(s->mover.conn, &s->mover_spec);
}
