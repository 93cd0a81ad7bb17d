/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/data_end.h - how a data stream ends, for ingest and serve_restore alike: exactly one report to the
 * owner, from the loop, after what was still to be said has been sent.
 */
#ifndef VB_REQUESTER_DATA_END_H
#define VB_REQUESTER_DATA_END_H

#include <stdbool.h>
#include "base/error.h"
#include "wire/conn.h"

struct vb_data_end {
    struct vb_conn *conn;
    bool ended;              /* the outcome is known; further messages are ignored */
    bool told;
    struct vb_error outcome;
    struct vb_timer *timer;
    unsigned waited;
    void (*on_end)(void *arg, const struct vb_error *why); /* may free what holds this struct */
    void *arg;
};

/* The outcome; why NULL: orderly.  Unless the stream itself is lost the agent is told of a failure (ERROR). */
void vb_data_end_set(struct vb_data_end *e, const struct vb_error *why, bool tell_agent);
/* The same for a peer that broke the conversation. */
void vb_data_end_protocol(struct vb_data_end *e, const char *text);
/* The connection closed (on_close of its handler). */
void vb_data_end_closed(struct vb_data_end *e, const struct vb_error *why);
/* A message ERROR came from the agent. */
void vb_data_end_from_agent(struct vb_data_end *e, const struct vb_msg *m);
void vb_data_end_clear(struct vb_data_end *e);

#endif
