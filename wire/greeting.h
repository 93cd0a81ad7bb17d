/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/greeting.h - the HELLO that begins every stream: who is there, which versions, which features.
 *
 * Both ends send HELLO at once and take the highest protocol version that both know.  A peer that does not greet in
 * time, greets with something else, or prints text first, is refused with one error that begins with its name.
 */
#ifndef VB_WIRE_GREETING_H
#define VB_WIRE_GREETING_H

#include "base/mem.h"
#include "wire/conn.h"

#define VB_GREET_TIMEOUT_MS 10000u

struct vb_greet_params {
    const char *program;      /* "vbackup 0.1.0"; NULL: package name and version */
    const char *role;         /* what we are: "requester", "agent", ... */
    const char *host;         /* the name by which the requester knows the agent's host; NULL: left out */
    const char *expect_role;  /* refuse any other; NULL: any but our own (a reflected greeting) */
    const char *const *features;
    size_t n_features;
    uint32_t version_min, version_max; /* 0: VB_PROTOCOL_MIN, VB_PROTOCOL_MAX */
    uint64_t timeout_ms;      /* 0: VB_GREET_TIMEOUT_MS */
};

/* What the peer said. */
struct vb_hello {
    uint32_t version;         /* agreed upon */
    uint32_t version_min, version_max;
    char *program, *role, *host; /* host may be NULL */
    struct vb_strv features;
};
#define VB_HELLO_INIT { 0, 0, 0, NULL, NULL, NULL, { NULL, 0, 0 } }
void vb_hello_clear(struct vb_hello *h);
bool vb_hello_has(const struct vb_hello *h, const char *feature);

/* peer is NULL on failure (err says why).  On success the connection has no handler: what follows waits until the
 * callee sets its own; on failure only vb_conn_free is left to do.  May free the connection. */
typedef void vb_greet_fn(void *arg, const struct vb_hello *peer, const struct vb_error *err);

struct vb_greet;
/* Takes the connection's handler, sends HELLO and calls fn once, never from inside this call.  The handle is valid
 * until fn was called or the exchange was cancelled.  *p is not needed after the call. */
struct vb_greet *vb_greet(struct vb_conn *c, const struct vb_greet_params *p, vb_greet_fn *fn, void *arg);
/* fn will not be called; the connection stays the caller's, without handler.  NULL ok. */
void vb_greet_cancel(struct vb_greet *g);

/* The parts, for blocking peers and for the fuzz target. */
void vb_hello_make(const struct vb_greet_params *p, struct vb_msg *m);
/* Reads HELLO and agrees on a version: VB_E_PROTOCOL (no or broken greeting), VB_E_VERSION (both ranges in the text).
 */
int vb_hello_read(const struct vb_greet_params *p, const struct vb_msg *m, struct vb_hello *h, struct vb_error *err);

#endif
