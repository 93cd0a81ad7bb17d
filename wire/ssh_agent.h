/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_agent.h - a client of ssh-agent that does not block: list the keys, sign with one.
 *
 * libssh2's own client waits for the agent, which may wait for a person to confirm.
 */
#ifndef VB_WIRE_SSH_AGENT_H
#define VB_WIRE_SSH_AGENT_H

#include <stddef.h>
#include "base/error.h"
#include "base/loop.h"

struct vb_ssh_agent_key {
    unsigned char *blob;
    size_t n;
    char *type;     /* never NULL */
    char *comment;  /* escaped for a terminal */
};

struct vb_ssh_agent;
/* keys are the agent object's and live as long; err is NULL or why there are none. */
typedef void vb_ssh_agent_keys_fn(void *arg, const struct vb_ssh_agent_key *keys, size_t n, const struct vb_error *err);
/* sig: the bare signature (without its type name), or NULL with an error. */
typedef void vb_ssh_agent_sign_fn(void *arg, const unsigned char *sig, size_t n, const struct vb_error *err);

/* Asks the agent at socket_path for its keys; fn is called once, never from inside the call. */
struct vb_ssh_agent *vb_ssh_agent_open(struct vb_loop *l, const char *socket_path, vb_ssh_agent_keys_fn *fn, void *arg);
/* After the keys came; one request at a time. */
void vb_ssh_agent_sign(struct vb_ssh_agent *a, const struct vb_ssh_agent_key *key, const void *data, size_t n,
                       vb_ssh_agent_sign_fn *fn, void *arg);
void vb_ssh_agent_close(struct vb_ssh_agent *a); /* NULL ok; no callbacks any more */

#endif
