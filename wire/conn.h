/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/conn.h - a connection that carries messages; the only way two processes of ours talk.
 *
 * Implementations: vb_conn_fd (socket pair, unix socket, pipes), vb_conn_ssh (one channel of an SSH session),
 * vb_conn_pair (two ends inside one process, for simulation and tests: delays, cuts and losses are decided by the
 * caller's hook).
 *
 * Event driven: messages and the end arrive as callbacks from the loop.  on_close is called at most once, after the
 * last on_msg, never from inside a call to the connection; after it only vb_conn_free may be called.  Sending never
 * blocks: bytes queue up; vb_conn_queued tells how many, and on_drain is called when they fell below the low mark
 * (256 KiB) after having been above it.  Every callback may free the connection.
 *
 * The peer's orderly end (VB_OK) is told once what was queued for it is written.  A peer that breaks the format ends
 * the connection with VB_E_PROTOCOL, one that vanishes with VB_E_CONNECTION_LOST; the text begins with its name.
 */
#ifndef VB_WIRE_CONN_H
#define VB_WIRE_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include "base/loop.h"
#include "wire/msg.h"

struct vb_conn;

struct vb_conn_handler {
    void (*on_msg)(void *arg, struct vb_msg *m); /* m is the connection's; steal the body to keep it */
    void (*on_close)(void *arg, const struct vb_error *why);       /* VB_OK: orderly end of file */
    void (*on_drain)(void *arg);                                   /* may be NULL */
};

/* Reads from rfd and writes to wfd (may be the same); takes both; makes them non-blocking. */
struct vb_conn *vb_conn_fd(struct vb_loop *l, int rfd, int wfd);
/* Ends the connection without closing: gives back the descriptors (wfd may be NULL if both are one) and appends to
 * rest what was read from them and not delivered yet.  For handing a peer over to another process; sends must be
 * flushed.  c is freed. */
void vb_conn_fd_release(struct vb_conn *c, int *rfd, int *wfd, struct vb_buf *rest);
/* The peer may begin by passing a descriptor, one byte with it (vb_fd_pass), which takes the place of this one: the
 * connection goes on with whoever is at its other end.  Nothing is sent before it has said something; anything else than
 * a descriptor is an ordinary beginning.  Before the handler is set; rfd and wfd must be one socket. */
void vb_conn_fd_expect(struct vb_conn *c);
/* A descriptor came in its place, and behind it is a process of this machine that belongs to root or to our own user.  False
 * for every other kind of connection, and before the peer has said anything. */
bool vb_conn_fd_is_own(const struct vb_conn *c);
/* The peer's side of it, blocking. */
int vb_fd_pass(int sock, int fd, struct vb_error *err);
/* Bytes that were read before (by a release elsewhere); before the handler is set. */
void vb_conn_fd_prefill(struct vb_conn *c, const void *p, size_t n);
/* Two connected ends; max_delay 0: delivered by post in order. Hook may be NULL. */
typedef enum { VB_PAIR_PASS = 0, VB_PAIR_CUT = 1 } vb_pair_action;
typedef vb_pair_action vb_pair_hook(void *arg, int from_end, const struct vb_msg *m, uint64_t *delay_ms);
void vb_conn_pair(struct vb_loop *l, vb_pair_hook *hook, void *arg, struct vb_conn **a, struct vb_conn **b);

/* Cuts the line between the two ends of a pair: what is on the way is lost, both get VB_E_CONNECTION_LOST. */
void vb_conn_pair_cut(struct vb_conn *c);

/* Nothing is read or delivered while there is no handler (NULL takes it away); may be called inside on_msg. */
void vb_conn_set_handler(struct vb_conn *c, const struct vb_conn_handler *h, void *arg);
/* Queues; the message stays the caller's.  On a closed connection it is dropped silently (on_close tells). */
void vb_conn_send(struct vb_conn *c, const struct vb_msg *m);
size_t vb_conn_queued(const struct vb_conn *c);
/* Stops and resumes reading (back-pressure). */
void vb_conn_pause(struct vb_conn *c, bool paused);
/* Flushes what is queued, then ends our side (shutdown of write). */
void vb_conn_finish(struct vb_conn *c);
/* Closes at once, no callbacks. NULL ok. */
void vb_conn_free(struct vb_conn *c);
/* Name of the peer for messages: "backend", "writer 'sqlite'" ...; set by whoever opened it. */
void vb_conn_set_name(struct vb_conn *c, const char *name);
const char *vb_conn_name(const struct vb_conn *c);
struct vb_loop *vb_conn_loop(const struct vb_conn *c);

/* Implementing another kind: wire-internal. */
struct vb_conn_ops {
    void (*send)(struct vb_conn *c, const struct vb_msg *m);
    size_t (*queued)(const struct vb_conn *c);
    void (*pause)(struct vb_conn *c, bool paused);
    void (*finish)(struct vb_conn *c);
    void (*destroy)(struct vb_conn *c);
};

/* Keep-alive: sends VB_M_PING after interval_ms of silence and closes with VB_E_TIMEOUT after limit_ms without any
 * message from the peer.  Both ends answer pings by themselves. */
void vb_conn_keepalive(struct vb_conn *c, uint64_t interval_ms, uint64_t limit_ms);

/* Blocking helpers for child processes that have nothing else to do (writer host, capture, restore): the descriptor
 * stays blocking (one that is not is waited for).  0 got one, 1 orderly end, -1 error.  recv answers pings on the same
 * descriptor, so no other thread may be sending on it; `in` keeps what was read beyond the message. */
int vb_msg_recv_fd(int fd, struct vb_buf *in, struct vb_msg *m, struct vb_error *err);
/* The same without waiting: 2 when no whole message is there.  Pings are answered on the way. */
int vb_msg_poll_fd(int fd, struct vb_buf *in, struct vb_msg *m, struct vb_error *err);
/* Either of them for many messages at once: what was read is not moved for each.  *at: how much of in has been given out,
 * 0 at first. */
int vb_msg_next_fd(int fd, struct vb_buf *in, size_t *at, struct vb_msg *m, bool wait, struct vb_error *err);
int vb_msg_send_fd(int fd, const struct vb_msg *m, struct vb_error *err);
/* The message with one more field at its end, whose bytes are sent from where they lie. */
int vb_msg_send_more_fd(int fd, const struct vb_msg *m, uint16_t tag, const void *p, size_t n, struct vb_error *err);
/* Messages that were encoded before (vb_msg_encode), several at once. */
int vb_bytes_send_fd(int fd, const void *p, size_t n, struct vb_error *err);

#endif
