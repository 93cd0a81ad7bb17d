/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_internal.h - what the parts of a run share: run.c (life, callbacks, the end), run_begin.c (from the
 * start to the executor: gather, select, plan, resume).
 */
#ifndef VB_REQUESTER_RUN_INTERNAL_H
#define VB_REQUESTER_RUN_INTERNAL_H

#include "requester/executor.h"
#include "requester/gather.h"
#include "requester/run.h"
#include "requester/run_options.h"
#include "requester/run_restore.h"

/* One pass of a restore: a backup, and the components that are put back from it (I-34). */
struct vb_run_pass {
    char *id;
    uint64_t sequence;
    struct vb_strv keys;
    struct vb_strv *subcomponents; /* of the picks of the chosen backup, one list per key; only in its own pass */
};

struct vb_run {
    struct vb_run_env env;
    struct vb_run_opts opts;
    struct vb_select_options select;  /* of the options */
    struct vb_run_handler h;
    void *arg;
    enum vb_job_kind kind;
    bool plan_only, resume, begun_store, cancelled, over, probed, in_place;
    char run_id[37];
    uint64_t started_wall_ms, started_ms;
    struct vb_event_log log;
    struct vb_gather *gather;
    struct vb_strv fixed;             /* restore: hosts to gather */
    struct vb_restore_source source;
    struct vb_restore_selection picks;
    struct vb_plan *plan;
    struct vb_exec_stored *stored;    /* [plan->n_hosts] */
    struct vb_plan *probe;            /* what of the plan is walked to ask for providers */
    struct vb_exec *exec;
    struct vb_journal *journal;
    struct vb_run_result result;
    struct vb_run_pass *passes; size_t n_passes, cap_passes; /* restore: oldest first; none before they are known */
    size_t pass;
    uint64_t passed_files, passed_bytes; /* of the passes before */
};

/* run.c */
void vb_r_fail(struct vb_run *r, const struct vb_error *why);  /* ends the run */
void vb_r_plan_made(struct vb_run *r);                         /* plan only: end; else save and execute */
void vb_r_execute(struct vb_run *r);
void vb_r_warn(struct vb_run *r, const char *host, const struct vb_error *w);
void vb_r_phase(struct vb_run *r, enum vb_run_phase phase);

/* run_probe.c: asks the hosts of a backup's plan which provider would take which volume; then vb_r_plan_made again. */
void vb_r_probe(struct vb_run *r);

/* run_chain.c */
/* The plan of a backup stands: fills type, base and previous stamp of its components.  Says what is backed up in full
 * instead (I-5, I-21); refused where no writer of the plan supports the type. */
int vb_r_build_on(struct vb_run *r, struct vb_error *err);
/* The passes that the picks of the chosen backup need. */
int vb_r_find_passes(struct vb_run *r, struct vb_error *err);
void vb_r_passes_clear(struct vb_run *r);
/* Leaves in the selection of a pass what has this pass. */
void vb_r_limit_picks(struct vb_run *r);
/* The plan of a pass stands: whether more follow (I-35). */
void vb_r_mark_additional(struct vb_run *r);
/* A pass has ended well: whether another one follows, which is then the current one. */
bool vb_r_next_pass(struct vb_run *r);

/* run_begin.c */
void vb_r_begin(void *run);                                    /* posted */

#endif
