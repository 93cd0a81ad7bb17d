/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/conn_impl.h - what the kinds of connection share; included by wire/ only.
 *
 * struct vb_conn is the part every kind begins with.  struct vb_stream adds the two byte queues of the kinds that
 * carry frames over bytes (descriptors, SSH channels).
 */
#ifndef VB_WIRE_CONN_IMPL_H
#define VB_WIRE_CONN_IMPL_H

#include "wire/conn.h"

#define VB_CONN_LOW (256u * 1024)  /* on_drain is called when the queue fell to this */
#define VB_READ_SIZE (1024u * 1024)

struct vb_conn {
    const struct vb_conn_ops *ops;
    struct vb_loop *loop;
    struct vb_conn_handler h;
    void *arg;
    bool has_handler;
    char *name;
    bool paused;
    bool finished;        /* vb_conn_finish was called: nothing more may be sent */
    bool ended;           /* on_close is posted or was called */
    bool told;            /* on_close was called */
    struct vb_error why;  /* for on_close */
    bool *gone;           /* set when the connection is freed inside one of its callbacks */
    uint64_t last_heard_ms, last_ping_ms;
    uint64_t ping_every_ms, silence_limit_ms; /* 0: no keep-alive */
    struct vb_timer *keepalive;
};

void vb_conn_init(struct vb_conn *c, struct vb_loop *l, const struct vb_conn_ops *ops);
/* Nothing may be delivered: paused, no handler, or ended. */
bool vb_conn_held(const struct vb_conn *c);
/* Bytes arrived, or the peer took bytes that it had been refusing. */
void vb_conn_heard(struct vb_conn *c);
/* Hands one message to the handler (pings are answered here).  False if the connection was freed in the callback. */
bool vb_conn_deliver(struct vb_conn *c, struct vb_msg *m);
/* Calls on_drain.  False if the connection was freed in the callback. */
bool vb_conn_drained(struct vb_conn *c);
/* The connection is over: posts on_close with *why (taken), the peer's name put before an error.  Only the first
 * call counts. */
void vb_conn_end(struct vb_conn *c, struct vb_error *why);

struct vb_stream {
    struct vb_conn base;
    struct vb_buf in, out;
    size_t in_at, out_at; /* consumed part of the queues */
    bool eof;             /* the peer's side has ended */
    bool above_low;       /* on_drain is owed */
    bool heard_any;       /* a whole message came */
};

/* Room for n more bytes from the peer; vb_stream_got says how many there were. */
unsigned char *vb_stream_room(struct vb_stream *s, size_t n);
void vb_stream_got(struct vb_stream *s, size_t n);
/* Delivers every whole frame that is there.  False if the connection was freed in a callback. */
bool vb_stream_deliver(struct vb_stream *s);
/* The end of the peer's bytes was read and all frames before it are delivered: VB_OK, or why it is not orderly. */
void vb_stream_end(struct vb_stream *s);
size_t vb_stream_queued(const struct vb_stream *s);
static inline const unsigned char *vb_stream_front(const struct vb_stream *s)
{
    return s->out.data + s->out_at;
}
/* Queues a frame; -1: too large, the connection ends. */
int vb_stream_queue(struct vb_stream *s, const struct vb_msg *m);
/* n bytes from the front have been written. */
void vb_stream_written(struct vb_stream *s, size_t n);
void vb_stream_clear(struct vb_stream *s);

/* The beginning of vb_msg_encode: what stands before the body. */
int vb_msg_encode_head(const struct vb_msg *m, struct vb_buf *out, struct vb_error *err);
/* As vb_msg_decode over plain memory. */
int vb_msg_parse(const unsigned char *p, size_t n, size_t *used, struct vb_msg *m, struct vb_error *err);

#endif
