/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/wire/peer.h - a recording end of a connection, shared by the tests of wire/.
 */
#ifndef VB_TESTS_WIRE_PEER_H
#define VB_TESTS_WIRE_PEER_H

#include "wire/conn.h"

struct peer {
    struct vb_loop *loop;
    struct vb_conn *conn;
    unsigned msgs;           /* that came */
    uint64_t last_id;
    bool in_order;           /* ids came as 1, 2, 3, ... */
    size_t bytes;            /* of bodies */
    uint64_t last_msg_ms;
    unsigned closes, drains;
    struct vb_error why;
    unsigned pause_after;    /* pauses itself after so many messages; 0: never */
    bool echo;               /* sends every message back */
    bool free_on_msg;        /* frees its connection inside on_msg */
};

void peer_start(struct peer *p, struct vb_loop *l, struct vb_conn *c);
void peer_stop(struct peer *p);
/* A message with n bytes in field VB_F_BYTES. */
void peer_send(struct peer *p, uint16_t type, uint64_t id, size_t n);
/* Turns the loop until *flag >= want or ms of loop time are over. */
bool peer_wait(struct vb_loop *l, const unsigned *flag, unsigned want, uint64_t ms);

#endif
