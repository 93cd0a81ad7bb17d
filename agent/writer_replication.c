/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/writer_replication.c - the calls of a writer's replication block, and the bytes they give and take.
 *
 * What signature and serialize give is sent as it comes; what deserialize takes is asked for piece by piece, so that neither
 * side ever writes to one that does not read.
 */
#include "config.h"
#include <string.h>
#include "agent/writer_host.h"
#include "agent/writer_internal.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define PIECE (256u * 1024)

uint64_t vb_writer_replication_calls(const struct vb_host *h)
{
    const struct vb_replication *r = &h->repl;
    const bool has[VB_REPL_COUNT] = {
        [VB_REPL_SIGNATURE] = r->signature != NULL,     [VB_REPL_SERIALIZE] = r->serialize != NULL,
        [VB_REPL_PROPAGATE] = r->propagate != NULL,     [VB_REPL_DESERIALIZE] = r->deserialize != NULL,
        [VB_REPL_PROPAGATE2] = r->propagate2 != NULL,
    };
    uint64_t bits = 0;

    for (int i = VB_REPL_SIGNATURE; i < VB_REPL_COUNT; i++)
        bits |= (uint64_t)has[i] << i;
    return bits;
}

/* ---- out ---- */

struct out_sink {
    struct vb_sink sink;
    struct vb_host *h;
    uint64_t id;
    bool broken;
};

static int sink_write(struct vb_sink *s, const void *p, size_t n)
{
    struct out_sink *o = (struct out_sink *)(void *)s;
    const unsigned char *at = p;

    while (n > 0 && !o->broken) {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_BYTES);
        size_t piece = n < PIECE ? n : PIECE;
        m.id = o->id;
        vb_msg_add(&m, VB_F_BYTES, at, piece);
        o->broken = vb_msg_send_fd(o->h->fd, &m, NULL) != 0;
        at += piece;
        n -= piece;
    }
    return o->broken ? -1 : 0;
}

/* ---- in ---- */

struct in_payload {
    struct vb_payload payload;
    struct vb_host *h;
    uint64_t id;
    struct vb_buf piece;
    size_t at;
    bool last, broken;
};

static int next_piece(struct in_payload *i)
{
    VB_AUTO_MSG ask = VB_MSG_INIT(VB_M_W_MORE);
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    const unsigned char *p;
    size_t n;

    ask.id = i->id;
    vb_buf_reset(&i->piece);
    i->at = 0;
    if (vb_msg_send_fd(i->h->fd, &ask, NULL) != 0 || vb_msg_recv_fd(i->h->fd, i->h->in, &m, NULL) != 0 ||
        m.type != VB_M_W_BYTES) {
        i->broken = true;
        return -1;
    }
    if (vb_msg_bytes(&m, VB_F_BYTES, &p, &n))
        vb_buf_add(&i->piece, p, n);
    i->last = vb_msg_u64(&m, VB_F_LAST, 0) != 0;
    return 0;
}

static long payload_read(struct vb_payload *s, void *p, size_t n)
{
    struct in_payload *i = (struct in_payload *)(void *)s;

    while (i->at == i->piece.len && !i->last && !i->broken)
        next_piece(i);
    if (i->broken)
        return -1;
    size_t k = i->piece.len - i->at < n ? i->piece.len - i->at : n;
    if (k > 0)
        memcpy(p, i->piece.data + i->at, k);
    i->at += k;
    return (long)k;
}

/* ---- one call ---- */

static int run(struct vb_host *h, uint64_t call, const char *target, int differs, uint64_t id)
{
    const struct vb_replication *r = &h->repl;
    struct out_sink out = { .sink = { sizeof out.sink, sink_write }, .h = h, .id = id };
    struct in_payload in = { .payload = { sizeof in.payload, payload_read }, .h = h, .id = id };
    int result = 0;

    switch (call) {
    case VB_REPL_SIGNATURE: result = r->signature(h->ctx, h, &out.sink); break;
    case VB_REPL_SERIALIZE: result = r->serialize(h->ctx, h, &out.sink); break;
    case VB_REPL_PROPAGATE: result = r->propagate(h->ctx, h, target, differs); break;
    case VB_REPL_DESERIALIZE: result = r->deserialize(h->ctx, h, &in.payload); break;
    case VB_REPL_PROPAGATE2: result = r->propagate2(h->ctx, h, target, differs); break;
    default: break;
    }
    vb_buf_clear(&in.piece);
    /* bytes that are missing are not made good by a writer that does not notice */
    return result == 0 && !out.broken && !in.broken ? 0 : -1;
}

void vb_writer_handle_replication(struct vb_host *h, const struct vb_msg *m, struct vb_msg *out)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *target = vb_msg_str(m, VB_F_TARGET);
    uint64_t call = vb_msg_u64(m, VB_F_CALL, 0), limit = vb_msg_u64(m, VB_F_DEADLINE_MS, 0);

    if (h->repl.size == 0)
        vb_fail(&err, VB_E_NOT_SUPPORTED, "writer '%s' takes no part in replication", h->w.name);
    else if (call < VB_REPL_SIGNATURE || call >= VB_REPL_COUNT)
        vb_fail(&err, VB_E_PROTOCOL, "call %llu of replication is not known", (unsigned long long)call);
    else if (h->phase != VB_WP_NONE)
        vb_fail(&err, VB_E_BAD_STATE, "writer '%s' is in a session and cannot replicate", h->w.name);
    else if (vb_writer_replication_calls(h) & (UINT64_C(1) << call)) {
        h->deadline_us = limit > 0 && limit < UINT64_C(1) << 40 ? vb_writer_now_us() + limit * 1000u : 0;
        vb_error_clear(&h->failure);
        vb_error_clear(&h->trouble);
        vb_writer_set_busy(true);
        int rc = run(h, call, target != NULL ? target : "", vb_msg_u64(m, VB_F_DIFFERS, 0) != 0, m->id);
        vb_writer_set_busy(false);
        if (rc != 0 && h->failure.code != VB_OK)
            vb_error_copy(&err, &h->failure);
        else if (rc != 0 && h->trouble.code != VB_OK)
            vb_error_copy(&err, &h->trouble);
        else if (rc != 0)
            vb_fail(&err, VB_E_WRITER_NON_RETRYABLE, "writer '%s' failed in %s without giving a reason", h->w.name,
                    vb_repl_call_word((enum vb_repl_call)call));
        vb_strv_clear(&h->scratch);
    }
    vb_msg_add_error(out, &err);
}
