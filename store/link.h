/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/link.h - a line of bytes to the other side of a remote store, for code that waits.
 *
 * The other side is a subsystem or command behind SSH (connection, login and the host's key as in wire/ssh.h) or a
 * program on this machine.  A link belongs to one thread at a time.
 */
#ifndef VB_STORE_LINK_H
#define VB_STORE_LINK_H

#include "base/buf.h"
#include "base/error.h"
#include "wire/ssh.h"

struct vb_link;

/* Bytes a second of what goes there and of what comes from there; 0: no limit. */
struct vb_rates {
    uint64_t up, down;
};

struct vb_link_params {
    const char *const *argv;   /* a program to be run here; NULL: SSH */
    struct vb_ssh_params ssh;  /* texts are copied */
    const char *command;       /* behind SSH */
    bool subsystem;            /* command names one */
    uint64_t silence_ms;       /* given up after this long without a byte while one is waited for; default 60 s */
    struct vb_rates rates;
};

/* A copy that owns its texts, and its end. */
void vb_link_params_copy(struct vb_link_params *to, const struct vb_link_params *from);
void vb_link_params_clear(struct vb_link_params *p);

/* Nothing is waited for here except for the program's start: what keeps SSH from connecting is told by the first wait. */
struct vb_link *vb_link_open(const struct vb_link_params *p, struct vb_error *err);
/* Queues; what goes wrong is told by the next wait. */
void vb_link_send(struct vb_link *l, const void *p, size_t n);
/* Waits until no more than so many bytes are queued; what comes in meanwhile is kept for vb_link_wait. */
int vb_link_drain(struct vb_link *l, size_t most, struct vb_error *err);
/* Sends what is queued and waits until at least one byte has come, which is appended to in.  -1: the line is of no use
 * any more (VB_E_CONNECTION_LOST, VB_E_TIMEOUT, or what vb_ssh_open says). */
int vb_link_wait(struct vb_link *l, struct vb_buf *in, struct vb_error *err);
void vb_link_free(struct vb_link *l); /* NULL ok */

/* ---- trying again ---- */

/* Pauses that grow, with jitter, until the limit is used up. */
struct vb_retry {
    uint64_t limit_ms, began_ms, pause_ms;
};
#define VB_RETRY_LIMIT_MS 60000u
#define VB_RETRY_OPEN_MS 5000u /* at the opening, of a connection that was lost; one that cannot be made is told at once */
/* limit_ms 0: never again. */
void vb_retry_start(struct vb_retry *r, uint64_t limit_ms);
/* Whether what went wrong may be over soon (connection, time, busy server). */
bool vb_retry_worth(const struct vb_error *why);
/* Waits and returns true when there is to be another try; says so in the log.  least_ms: what the other side asked for. */
bool vb_retry_again(struct vb_retry *r, const char *location, const struct vb_error *why, uint64_t least_ms);

#endif
