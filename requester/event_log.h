/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/event_log.h - one ordered list of what happened on all hosts and of what the requester called.
 *
 * The order is the order in which the requester knew: an agent's event stands after the call that caused it and before
 * the call that its reply released.  Stored with the backup as JSON lines and asserted on by tests.
 */
#ifndef VB_REQUESTER_EVENT_LOG_H
#define VB_REQUESTER_EVENT_LOG_H

#include "base/buf.h"
#include "base/loop.h"
#include "requester/run.h"

struct vb_event_log {
    struct vb_loop *loop;
    struct vb_run_event *v; /* strings owned */
    size_t n, cap;
};

void vb_event_log_clear(struct vb_event_log *l);
/* An EVENT message of an agent. Returns the entry, valid until the next addition. */
const struct vb_run_event *vb_event_log_agent(struct vb_event_log *l, const char *host, uint64_t seq,
                                              const struct vb_msg *m);
/* Our own. host, event, err may be NULL; text NULL: the error's. */
const struct vb_run_event *vb_event_log_own(struct vb_event_log *l, const char *host, const char *kind,
                                            const char *event, const struct vb_error *err, const char *text);
void vb_event_log_json(const struct vb_event_log *l, struct vb_buf *out);

#endif
