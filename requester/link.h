/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/link.h - streams to agents: the seam between the executor and the world.
 *
 * Local is remote over a pipe (house plan, idea 1): the real implementation (link_real.c) starts `vbackup-agent` on a socket
 * pair for this machine and over one SSH connection per host otherwise; the simulation gives ends of vb_conn_pair.
 * The stream arrives after HELLO was exchanged.
 */
#ifndef VB_REQUESTER_LINK_H
#define VB_REQUESTER_LINK_H

#include "base/loop.h"
#include "wire/conn.h"

/* conn is NULL on failure (err says what and where); else it is the callee's and has no handler yet. */
typedef void vb_link_fn(void *arg, struct vb_conn *conn, const struct vb_error *err);

struct vb_links {
    struct vb_loop *loop;
    uint64_t answer_limit_ms; /* no wait for an agent is longer; 0: the usual limits */
    void *ctx;
    /* Opens one stream to the agent on this host; calls fn once, never from inside the call. Returns a handle for cancel. */
    void *(*open)(void *ctx, const char *host, vb_link_fn *fn, void *arg);
    void (*cancel)(void *ctx, void *handle);
    void (*free_ctx)(void *ctx);
};

/* A usual limit under the links' own; 0 (none) stays none. */
static inline uint64_t vb_links_limit(const struct vb_links *k, uint64_t usual_ms)
{
    return k->answer_limit_ms > 0 && usual_ms > k->answer_limit_ms ? k->answer_limit_ms : usual_ms;
}

struct vb_hosts;
struct vb_links *vb_links_real(struct vb_loop *l, const struct vb_hosts *hosts);
void vb_links_free(struct vb_links *k);

#endif
