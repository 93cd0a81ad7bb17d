/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/executor.h - walks a plan.
 *
 * The executor knows no order but the plan's: a step begins when all that it waits for has ended, in either way.  What
 * it adds is what happens when something fails: which components are lost with it, who has to be told to abort, and
 * that every job is brought to its end on every path.  Every step is in the journal before it acts.
 */
#ifndef VB_REQUESTER_EXECUTOR_H
#define VB_REQUESTER_EXECUTOR_H

#include "requester/event_log.h"
#include "requester/plan.h"
#include "requester/run.h"
#include "store/catalog.h"

struct vb_exec;

/* What a host's part of the backup holds, at restore. Index as the plan's hosts. */
struct vb_exec_stored {
    struct vb_components *bcd;
    struct vb_writer_metadata **writers; size_t n_writers;
    const struct vb_catalog_host *host;  /* in the entry */
    const struct vb_strv *paths;         /* the ad-hoc paths of its backup, NULL or empty: there were none */
};

struct vb_exec_params {
    const struct vb_run_env *env;
    const struct vb_run_options *opt;    /* strings are valid until the executor is freed */
    const struct vb_plan *plan;
    struct vb_event_log *log;
    struct vb_journal *journal;          /* may be NULL */
    bool resume;                         /* jobs may exist already; tokens are in the state */
    const struct vb_exec_stored *stored; /* restore: [plan->n_hosts] */
    uint64_t started_wall_ms, started_ms;
    bool probe;                          /* PREPARE only asks which provider would take which volume */
};

struct vb_exec_handler {
    void (*event)(void *arg, const struct vb_run_event *e);
    void (*progress)(void *arg, const struct vb_run_progress *p);
    void (*warning)(void *arg, const char *host, const struct vb_error *w);
    void (*done)(void *arg); /* once; nothing runs any more */
};

struct vb_exec *vb_exec_start(const struct vb_exec_params *p, const struct vb_exec_handler *h, void *arg);
void vb_exec_cancel(struct vb_exec *x);
/* The document as this host's agent returned it last, NULL without one; and why its part is over, VB_OK if it is not. */
const struct vb_components *vb_exec_document(const struct vb_exec *x, size_t host, const struct vb_error **why);
void vb_exec_free(struct vb_exec *x); /* NULL ok; at once, without a word to the agents */
/* Fills hosts, components, sums, completeness, exit and error of an empty result. */
void vb_exec_result(const struct vb_exec *x, struct vb_run_result *r);

#endif
