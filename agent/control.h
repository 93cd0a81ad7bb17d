/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/control.h - what supervisor and worker say to each other, on a SOCK_SEQPACKET pair: one message per packet,
 * descriptors beside it.
 *
 *   supervisor -> worker
 *     STREAM {TYPE (message type that opened it: OPEN, ATTACH, DATA), COUNT (id of that message), SEQ}
 *                                 descriptors: the stream; then, if it was read ahead, a memory file with those bytes
 *     SLOT {POSITION, OWNER}      0: the host's slot for creating a snapshot set is yours
 *     CANCEL {TEXT}
 *   worker -> supervisor
 *     SLOT_WANT {}, SLOT_BACK {}
 *     STATE {TEXT}                for status displays
 *     ENDED {CODE, TEXT, HINT}    the last one; no CODE: released in order
 *
 * The end of file on the worker's side means that the supervisor is dead: the worker aborts its job.
 */
#ifndef VB_AGENT_CONTROL_H
#define VB_AGENT_CONTROL_H

#include "wire/msg.h"

enum vb_control_type {
    VB_C_STREAM = 200, VB_C_SLOT = 201, VB_C_CANCEL = 202,
    VB_C_SLOT_WANT = 210, VB_C_SLOT_BACK = 211, VB_C_STATE = 212, VB_C_ENDED = 213
};
#define VB_CONTROL_MAX 65536u /* bytes in a packet */

/* A pair, close-on-exec. */
int vb_control_pair(int fds[2], struct vb_error *err);
/* Never blocks: a peer that takes nothing any more is an error. */
int vb_control_send(int fd, const struct vb_msg *m, const int *fds, size_t n_fds, struct vb_error *err);
/* 1 a message (descriptors, at most 2, in fds), 0 nothing there, -1 end of file or error. */
int vb_control_recv(int fd, struct vb_msg *m, int fds[2], size_t *n_fds, struct vb_error *err);

#endif
