/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/peer.c - a recording end of a connection. */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tests/wire/peer.h"
#include "wire/protocol.h"

static void on_msg(void *arg, struct vb_msg *m)
{
    struct peer *p = arg;

    p->msgs++;
    if (m->id != p->last_id + 1)
        p->in_order = false;
    p->last_id = m->id;
    p->bytes += m->body.len;
    p->last_msg_ms = vb_loop_now_ms(p->loop);
    if (p->echo)
        vb_conn_send(p->conn, m);
    if (p->pause_after && p->msgs == p->pause_after)
        vb_conn_pause(p->conn, true);
    if (p->free_on_msg) {
        vb_conn_free(p->conn);
        p->conn = NULL;
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct peer *p = arg;

    p->closes++;
    vb_error_copy(&p->why, why);
}

static void on_drain(void *arg)
{
    ((struct peer *)arg)->drains++;
}

void peer_start(struct peer *p, struct vb_loop *l, struct vb_conn *c)
{
    static const struct vb_conn_handler h = { on_msg, on_close, on_drain };

    memset(p, 0, sizeof *p);
    p->loop = l;
    p->conn = c;
    p->in_order = true;
    vb_conn_set_handler(c, &h, p);
}

void peer_stop(struct peer *p)
{
    vb_conn_free(p->conn);
    p->conn = NULL;
    vb_error_clear(&p->why);
}

void peer_send(struct peer *p, uint16_t type, uint64_t id, size_t n)
{
    VB_AUTO_MSG m = VB_MSG_INIT(type);
    VB_AUTO_FREE unsigned char *bytes = vb_alloc(n ? n : 1);

    memset(bytes, (int)(id & 0xff), n);
    m.id = id;
    vb_msg_add(&m, VB_F_BYTES, bytes, n);
    vb_conn_send(p->conn, &m);
}

bool peer_wait(struct vb_loop *l, const unsigned *flag, unsigned want, uint64_t ms)
{
    uint64_t end = vb_loop_now_ms(l) + (ms >= 5000 && getenv("VB_VALGRIND") ? 20 * ms : ms);

    while (*flag < want && vb_loop_now_ms(l) < end)
        if (!vb_loop_turn(l, 20))
            break;
    return *flag >= want;
}
