/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/supervisor_internal.h - what the parts of the supervisor share.
 *
 *   supervisor.c         the process: start, socket, sweep, idle end
 *   supervisor_client.c  a stream until its first message is understood
 *   supervisor_jobs.c    jobs: workers, the slot, death and recovery
 */
#ifndef VB_AGENT_SUPERVISOR_INTERNAL_H
#define VB_AGENT_SUPERVISOR_INTERNAL_H

#include "agent/agent.h"
#include "agent/control.h"
#include "agent/limits.h"
#include "base/journal.h"
#include "base/loop.h"
#include "wire/conn.h"

#define VB_TOKEN_BYTES 16

enum vb_sup_state {
    VB_SJ_RUNNING = 1,
    VB_SJ_RECOVERING = 2,
    VB_SJ_ENDED = 3,
    VB_SJ_STUCK = 4 /* recover could not release everything; it is tried again when the next job wants the slot */
};

struct vb_sup;

struct vb_sup_job {
    struct vb_sup *sup;
    char *id, *token;
    char *host, *requester;       /* for displays */
    enum vb_sup_state state;
    char *word;                   /* what the worker last said of itself */
    int control;                  /* -1: no worker */
    struct vb_watch *watch;
    int pid;                      /* worker, or recover */
    bool said_ended;
    struct vb_error why;          /* ENDED: VB_OK when it was released */
    struct vb_timer *forget;
    uint64_t created_ms, lease_ms;
    uint64_t slot_order;          /* 0: does not want the slot */
    bool holds;                   /* RECOVERING: something of it may be frozen */
    bool blocks;                  /* STUCK: something of it is frozen, or nobody knows */
    int report;                   /* what recover says is left, -1: none */
    char *left;                   /* STUCK: the text of it */
};

struct vb_sup {
    struct vb_agent *agent;
    struct vb_loop *loop;
    struct vb_limits limits;
    int spool, listen;
    struct vb_watch *watch;
    struct vb_journal *journal;
    struct vb_sup_job **jobs; size_t n_jobs, cap_jobs;
    struct vb_sup_job *slot;      /* who holds it */
    uint64_t next_order;
    size_t n_clients;
    struct vb_timer *idle;
    struct vb_timer *accept_pause; /* descriptors have run out: nobody is taken for a while */
    bool stopping;
};

/* ---- supervisor.c ---- */
/* Starts or stops the idle timer; after anything that changes the number of jobs or clients. */
void vb_sup_check_idle(struct vb_sup *s);
void vb_sup_journal(struct vb_sup *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- supervisor_client.c ---- */
/* Takes a fresh connection. */
void vb_sup_client(struct vb_sup *s, int fd);

/* ---- supervisor_jobs.c ---- */
struct vb_sup_job *vb_sup_find(struct vb_sup *s, const char *id);
/* Makes the spool entry and the worker. */
struct vb_sup_job *vb_sup_open(struct vb_sup *s, const void *xml, size_t n, uint64_t lease_ms, struct vb_error *err);
/* Hands a stream over; takes fd. */
int vb_sup_hand_over(struct vb_sup_job *j, uint16_t type, uint64_t id, uint64_t seq, int fd, const struct vb_buf *rest,
                     struct vb_error *err);
int vb_sup_cancel(struct vb_sup_job *j, const char *text, struct vb_error *err);
/* A job found in the spool at start: its worker is gone. */
void vb_sup_sweep(struct vb_sup *s, const char *id);
void vb_sup_job_free(struct vb_sup_job *j);
bool vb_sup_busy(const struct vb_sup *s);
/* STATUS_REPLY. */
void vb_sup_status(struct vb_sup *s, struct vb_msg *m);

#endif
