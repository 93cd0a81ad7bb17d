/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/conn_stream.c - frames over bytes: the input and output queues of descriptor and SSH connections.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "wire/conn_impl.h"

#define TEXT_SHOWN 200u /* bytes of foreign text that are worth showing */
#define TEXT_LEAST 4u   /* fewer, with other bytes behind, may be anything */

unsigned char *vb_stream_room(struct vb_stream *s, size_t n)
{
    if (s->in_at == s->in.len) {
        vb_buf_reset(&s->in);
        s->in_at = 0;
    } else if (s->in_at > 0 && s->in.cap - s->in.len < n) {
        vb_buf_consume(&s->in, s->in_at);
        s->in_at = 0;
    }
    vb_buf_reserve(&s->in, n);
    return vb_buf_at(&s->in, s->in.len);
}

void vb_stream_got(struct vb_stream *s, size_t n)
{
    s->in.len += n;
    vb_conn_heard(&s->base);
}

/* How many bytes of what came instead of a first message are meant for people; frames may follow them. */
static size_t text_length(const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && (p[i] == '\n' || p[i] == '\r' || p[i] == '\t' || p[i] == 0x1b || (p[i] >= 0x20 && p[i] != 0x7f)))
        i++;
    return i;
}

static void explain_text(const struct vb_stream *s, struct vb_error *err)
{
    const unsigned char *p = vb_buf_at(&s->in, s->in_at);
    size_t n = s->in.len - s->in_at;
    size_t text = text_length(p, n);
    VB_AUTO_FREE char *shown = NULL;

    if (text == 0 || (text < n && text < TEXT_LEAST))
        return;
    n = text < TEXT_SHOWN ? text : TEXT_SHOWN;
    while (n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r'))
        n--;
    shown = vb_escape_terminal((const char *)p, n);
    vb_fail(err, VB_E_PROTOCOL, "sent text instead of a greeting: '%s'", shown);
    vb_hint(err, "is something printing in the login shell's start-up files?");
}

bool vb_stream_deliver(struct vb_stream *s)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0); /* its memory serves one message after the other, unless a handler keeps it */

    while (!vb_conn_held(&s->base) && s->in_at < s->in.len) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        size_t used;
        int got = vb_msg_parse(vb_buf_at(&s->in, s->in_at), s->in.len - s->in_at, &used, &m, &err);

        if (got == 0)
            break;
        if (got < 0) {
            if (!s->heard_any)
                explain_text(s, &err);
            /* To whoever waits for messages a message above the limit is a broken conversation, too. */
            if (err.code == VB_E_LIMIT)
                err.code = VB_E_PROTOCOL;
            s->base.ops->pause(&s->base, true);
            vb_conn_end(&s->base, &err);
            break;
        }
        s->in_at += used;
        s->heard_any = true;
        if (!vb_conn_deliver(&s->base, &m))
            return false;
    }
    return true;
}

void vb_stream_end(struct vb_stream *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    if (s->in_at < s->in.len) {
        vb_fail(&err, VB_E_CONNECTION_LOST, "connection ended in the middle of a message");
        if (!s->heard_any)
            explain_text(s, &err);
    }
    vb_conn_end(&s->base, &err);
}

size_t vb_stream_queued(const struct vb_stream *s)
{
    return s->out.len - s->out_at;
}

int vb_stream_queue(struct vb_stream *s, const struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    if (s->out_at > VB_READ_SIZE && s->out_at > s->out.len / 2) {
        vb_buf_consume(&s->out, s->out_at);
        s->out_at = 0;
    }
    if (vb_msg_encode(m, &s->out, &err) < 0) {
        vb_context(&err, "cannot send");
        s->base.ops->pause(&s->base, true);
        vb_conn_end(&s->base, &err);
        return -1;
    }
    return 0;
}

void vb_stream_written(struct vb_stream *s, size_t n)
{
    s->out_at += n;
    if (s->out_at == s->out.len) {
        /* A queue that once was huge does not keep its memory. */
        if (s->out.cap > 4 * VB_READ_SIZE)
            vb_buf_clear(&s->out);
        else
            vb_buf_reset(&s->out);
        s->out_at = 0;
    }
}

void vb_stream_clear(struct vb_stream *s)
{
    vb_buf_clear(&s->in);
    vb_buf_clear(&s->out);
    s->in_at = s->out_at = 0;
}
