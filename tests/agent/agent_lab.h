/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/agent_lab.h - a real vbackup-agent in a directory of its own, and a small requester to speak to it.
 *
 * The requester keeps the chunks it is sent in memory, and gives them back at a restore.
 */
#ifndef VB_TESTS_AGENT_AGENT_LAB_H
#define VB_TESTS_AGENT_AGENT_LAB_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/loop.h"
#include "base/mem.h"
#include "documents/components.h"
#include "documents/job.h"
#include "wire/conn.h"
#include "wire/protocol.h"

struct alab_chunk { char *name; struct vb_buf body; };

struct alab {
    char *dir;                 /* temporary; state in dir/state */
    struct vb_loop *loop;
    char *job, *token;
    struct vb_conn *control, *data;
    int relay;                 /* pid of the control stream's relay, 0: none */
    struct vb_error lost;      /* why the control stream ended */
    bool open;
    struct vb_msg *replies; size_t n_replies, cap_replies;
    struct vb_strv events;     /* "kind event text writer" */
    uint64_t last_seq;
    unsigned repeats;          /* of sequence numbers: events that came twice */
    struct alab_chunk *chunks; size_t n_chunks, cap_chunks;
    struct vb_msg wmds;        /* WMD fields of the last IDENTIFY */
    struct vb_buf bcd;         /* of the last reply that had one */
    struct vb_msg captured;    /* COMPONENT fields of the last CAPTURE */
};

/* config: text of the configuration; %D stands for the directory. */
struct alab *alab_new(const char *config);
void alab_free(struct alab *l); /* stops the supervisor, removes the directory */
/* A new configuration and a new event log, the old requester's state forgotten. */
void alab_reset(struct alab *l);

/* The lab itself has failed. */
void alab_die(const char *what, const struct vb_error *err) __attribute__((noreturn));

/* Ends a supervisor and waits for it. */
void alab_stop(int pid);

/* Streams; false: refused or lost (l->lost says why). */
bool alab_open(struct alab *l, enum vb_job_kind kind, uint64_t lease_ms, bool overwrite);
bool alab_attach(struct alab *l);
bool alab_data(struct alab *l);
/* Cuts the control stream as a dead relay or connection does. */
void alab_cut(struct alab *l);
/* Query streams. */
bool alab_query(struct alab *l, const struct vb_msg *m, struct vb_msg *answer);

/* Sends and waits: the reply, or NULL if the stream is lost or ms pass. */
const struct vb_msg *alab_command(struct alab *l, uint16_t type, uint64_t id, const struct vb_msg *body, uint64_t ms);
void alab_send(struct alab *l, uint16_t type, uint64_t id, const struct vb_msg *body);
const struct vb_msg *alab_wait(struct alab *l, uint64_t id, uint64_t ms);
void alab_run(struct alab *l, uint64_t ms);
enum vb_code alab_code(const struct vb_msg *reply);

/* Whole steps of a backup; each returns the code of its reply (VB_E_CONNECTION_LOST without one). */
enum vb_code alab_identify(struct alab *l);
enum vb_code alab_prepare(struct alab *l);    /* all components of all writers */
enum vb_code alab_snapshot(struct alab *l);
enum vb_code alab_capture(struct alab *l);
enum vb_code alab_complete(struct alab *l);
enum vb_code alab_release(struct alab *l);
/* All of them; the first code that is not OK. */
enum vb_code alab_backup(struct alab *l);
/* OPEN .. RELEASE of a restore of what the last backup captured. */
enum vb_code alab_restore(struct alab *l);

/* True when no job is left in the spool within ms. */
bool alab_spool_empty(struct alab *l, uint64_t ms);
/* Text of a file below the directory, "" if it is not there; caller frees. */
char *alab_read(struct alab *l, const char *name);
void alab_write(struct alab *l, const char *name, const char *text);
/* How often the null writer's event log has "WHO EVENT WHAT". */
size_t alab_count(struct alab *l, const char *what);
/* Longest time from "freeze begin" to the next thaw or abort of the null writer, in ms; UINT64_MAX: still frozen. */
uint64_t alab_longest_freeze(struct alab *l);
/* Pid from the last record "WORD ... pid=N" of the supervisor's journal, 0: none. */
int alab_pid(struct alab *l, const char *word);

#endif
