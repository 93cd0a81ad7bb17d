/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/dialog.h - a job's side of the control stream: it outlives its connections (house plan, idea 2).
 *
 * Keeps every event, numbered, and the reply of every command; a requester that comes back gets what it missed, and a
 * command that it repeats is answered from the record, not executed again.  Without a connection the lease runs.
 * Sans-process: works on any vb_conn; worker.c and the simulation use it alike.
 */
#ifndef VB_AGENT_DIALOG_H
#define VB_AGENT_DIALOG_H

#include "wire/conn.h"

struct vb_dialog;

struct vb_dialog_handler {
    void (*command)(void *arg, const struct vb_msg *m); /* a new one; to be answered by vb_dialog_reply */
    void (*lease_over)(void *arg);                      /* nobody came back in time; called once */
    void (*flushed)(void *arg);                         /* after vb_dialog_finish: everything is written, or given up */
};

/* The lease runs from here on, until the first attach. */
struct vb_dialog *vb_dialog_new(struct vb_loop *l, const char *job, const char *token, uint64_t lease_ms,
                                const struct vb_dialog_handler *h, void *arg);
void vb_dialog_free(struct vb_dialog *d); /* NULL ok */

/* Takes the connection; an earlier one is dropped.  type VB_M_OPENED or VB_M_ATTACHED and id: how it is answered;
 * then all events after seq are sent. */
void vb_dialog_attach(struct vb_dialog *d, struct vb_conn *c, uint16_t type, uint64_t id, uint64_t seq);
bool vb_dialog_attached(const struct vb_dialog *d);

/* Adds SEQ, WALL_MS and MONO_US, keeps it and sends it (unless held). m is changed, and stays the caller's. */
void vb_dialog_event(struct vb_dialog *d, struct vb_msg *m);
void vb_dialog_reply(struct vb_dialog *d, const struct vb_msg *m);
/* While held, events and replies stay in memory (freeze window). */
void vb_dialog_hold(struct vb_dialog *d, bool held);
/* No more commands are taken; handler.flushed is called when the peer has everything, or after limit_ms. */
void vb_dialog_finish(struct vb_dialog *d, uint64_t limit_ms);

#endif
