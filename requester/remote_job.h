/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/remote_job.h - one job on one host: its control stream, kept alive across lost connections, and its data
 * streams.
 *
 * A job outlives its connection (house plan, idea 2): when the stream breaks, it is attached again with growing pauses,
 * the events missed meanwhile are told once and in order, and every command that has no answer yet is sent again under
 * its old id, which the agent answers from its record if it was executed already.  Only when the lease must have run
 * out, or the agent says that it does not know the job any more, is the job lost.
 */
#ifndef VB_REQUESTER_REMOTE_JOB_H
#define VB_REQUESTER_REMOTE_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"
#include "requester/link.h"
#include "wire/conn.h"

struct vb_rjob;

struct vb_rjob_handler {
    /* An EVENT of the agent, each sequence number once. */
    void (*event)(void *arg, uint64_t seq, const struct vb_msg *m);
    /* The stream broke (up false, why) or is back; may be NULL. */
    void (*link)(void *arg, bool up, const struct vb_error *why);
    /* Once; the job is out of reach for good. Commands without an answer are dropped without their callback. */
    void (*lost)(void *arg, const struct vb_error *why);
};

struct vb_rjob_params {
    struct vb_links *links;
    const char *host;
    const char *job_id;
    const char *token;        /* of an earlier life: attach instead of open; NULL otherwise */
    const void *job_doc;      /* XML; may be NULL with a token */
    size_t job_doc_len;
    uint64_t lease_ms;
    unsigned attempts;        /* how often the first connection is tried; at least 1 */
};

/* Copies what it needs. Nothing happens before vb_rjob_open. */
struct vb_rjob *vb_rjob_new(const struct vb_rjob_params *p, const struct vb_rjob_handler *h, void *arg);
/* Drops everything at once, no callbacks; the job's lease begins. NULL ok. */
void vb_rjob_free(struct vb_rjob *j);

/* fn once: err NULL when the job stands (opened or attached). */
typedef void vb_rjob_open_fn(void *arg, const struct vb_error *err);
void vb_rjob_open(struct vb_rjob *j, vb_rjob_open_fn *fn, void *arg);
bool vb_rjob_is_open(const struct vb_rjob *j);      /* was opened once and is not lost */
bool vb_rjob_was_sent(const struct vb_rjob *j);     /* the job may exist on the host */
const char *vb_rjob_token(const struct vb_rjob *j); /* NULL before it was opened */

/* Sends a command and calls fn once with the reply.  m NULL: no answer within limit_ms (0: no limit) since the command
 * was sent or since the last vb_rjob_touch.  A reply that carries a CODE gives both m and err.  msg's body is taken
 * over. */
typedef void vb_rjob_reply_fn(void *arg, const struct vb_msg *m, const struct vb_error *err);
void vb_rjob_command(struct vb_rjob *j, struct vb_msg *msg, uint64_t limit_ms, vb_rjob_reply_fn *fn, void *arg);
void vb_rjob_touch(struct vb_rjob *j);
/* Forgets commands without an answer; late ones are ignored. */
void vb_rjob_drop_commands(struct vb_rjob *j);

/* Opens a data stream: fn once, with a connection that has no handler and is the callee's, or with an error.  One at a
 * time. */
typedef void vb_rjob_data_fn(void *arg, struct vb_conn *c, const struct vb_error *err);
void vb_rjob_data(struct vb_rjob *j, vb_rjob_data_fn *fn, void *arg);
void vb_rjob_data_cancel(struct vb_rjob *j);

/* The job has ended (RELEASE was answered): closes the control stream orderly; no more callbacks. */
void vb_rjob_finish(struct vb_rjob *j);

#endif
