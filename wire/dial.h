/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/dial.h - a TCP connection to a host by name, without blocking the loop.
 *
 * The name is looked up in a thread of its own (a resolver may take minutes to give up); then every address is tried,
 * one after the other, each with its share of the time that is left.
 */
#ifndef VB_WIRE_DIAL_H
#define VB_WIRE_DIAL_H

#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"

struct vb_dial;
/* fd is a connected, non-blocking socket with TCP_NODELAY and SO_KEEPALIVE set, the callee's; or -1 with VB_E_CONNECT
 * or VB_E_TIMEOUT, every address and its reason in the text. */
typedef void vb_dial_fn(void *arg, int fd, const struct vb_error *err);

/* name is for messages.  fn is called once, never from inside the call; the handle is valid until then. */
struct vb_dial *vb_dial(struct vb_loop *l, const char *name, const char *address, uint32_t port, uint64_t timeout_ms,
                        vb_dial_fn *fn, void *arg);
void vb_dial_cancel(struct vb_dial *d); /* NULL ok */

#endif
