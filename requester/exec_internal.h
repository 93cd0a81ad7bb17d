/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_internal.h - what the parts of the executor share.
 *
 *   executor.c       the walk, journal, log, begin and end
 *   exec_find.c      the same component in plan, metadata and document
 *   exec_fail.c      failures of components, steps, hosts and the run; cancel
 *   exec_job.c       OPEN and IDENTIFY, ABORT and RELEASE: every job's beginning and end
 *   exec_backup.c    PREPARE, SNAPSHOT, BARRIER, COMPLETE
 *   exec_restore.c   PRE_RESTORE, POST_RESTORE
 *   exec_data.c      CAPTURE and RESTORE_FILES with their data streams
 *   exec_catalog.c   COMMIT: the catalog entry and the documents
 *   exec_resume.c    what an earlier life left in the journal
 *   exec_result.c    what came of it
 */
#ifndef VB_REQUESTER_EXEC_INTERNAL_H
#define VB_REQUESTER_EXEC_INTERNAL_H

#include "documents/components.h"
#include "requester/executor.h"
#include "requester/gather.h"
#include "requester/remote_job.h"

enum vb_step_state { VB_STEP_WAITING = 0, VB_STEP_RUNNING, VB_STEP_DONE, VB_STEP_FAILED, VB_STEP_SKIPPED };

/* One component of the plan and what became of it. */
struct vb_xc {
    bool failed;                  /* error says why */
    struct vb_error error;        /* also a blemish of one that did not fail */
    struct vb_error doom;         /* takes part, but will not have succeeded: a dependency cannot be met (D-48) */
    bool durable;                 /* backup: its data have passed the barrier */
    bool succeeded;               /* told SetBackupSucceeded */
    bool confirmed;               /* BackupComplete or PostRestore of its host was answered */
    bool writing;                 /* restore: its files were begun */
    enum vb_consistency consistency;
    enum vb_file_restore_status status;
    uint64_t files, bytes, dirs, warnings, left_files, left_dirs;
    struct vb_catalog_root *roots; size_t n_roots, cap_roots; /* captured */
};

/* One host of the plan. */
struct vb_xh {
    struct vb_exec *x;
    size_t index;
    struct vb_rjob *rjob;
    struct vb_buf job_xml;
    bool broken;                  /* its part of the run is over; error says why */
    bool gone;                    /* its job is out of reach: there is nobody to abort */
    bool abort_wanted, abort_sent, release_sent;
    bool ended;                   /* nothing more will be sent */
    bool pre_restore_sent;
    struct vb_error error;
    struct vb_gather_host here;   /* this session's Identify */
    struct vb_components *bcd;    /* as the agent returned it last */
    size_t step;                  /* running step, or VB_NO_INDEX */
    /* data */
    unsigned attempt, data_tries;
    void *stream;
    bool stream_done, reply_ok;
    struct vb_error stream_error;
    struct vb_timer *timer;       /* next try, or waiting for the end of the stream */
    uint64_t files, bytes_done, bytes_total, window_us;
    uint64_t bytes_guess;         /* backup: what the last backup of the same components had; 0: unknown */
};

struct vb_exec {
    struct vb_exec_params p;
    struct vb_exec_handler h;
    void *arg;
    struct vb_loop *loop;
    const struct vb_plan *plan;
    enum vb_step_state *steps;    /* [plan->n_steps] */
    struct vb_xh *hosts;          /* [plan->n_hosts] */
    struct vb_xc *components;     /* [plan->n_components] */
    struct vb_strv failed_before; /* resume: records of what failed in an earlier life */
    struct vb_strv broken_before, outcomes, done_before;
    bool release_only;            /* resume: the work was done, only the jobs' ends are left */
    bool outcome_written;
    bool aborting;                /* the run as a whole is being stopped: error */
    struct vb_error error;
    bool cancelled, finished, held;
    struct vb_timer *cancel_timer;
    bool committed;
    char *backup_id;
    uint64_t added_bytes, first_freeze_ms;
    size_t warnings;
    struct vb_error journal_error; /* of the last record */
    bool journal_told;
};

/* ---- executor.c ---- */
void vb_x_kick(struct vb_exec *x);                       /* begins what may begin; ends the run when nothing is left */
void vb_x_hold_journal(struct vb_exec *x);               /* while a snapshot of this machine runs */
/* ---- exec_fail.c ---- */
void vb_x_step_done(struct vb_xh *h);                    /* of the host's running step */
void vb_x_step_failed(struct vb_xh *h, const struct vb_error *why); /* then the plan's on_failure */
/* The host's part is over: its components that were not told success fail, its job is aborted and released. */
void vb_x_break(struct vb_xh *h, const struct vb_error *why);
void vb_x_abort_run(struct vb_exec *x, const struct vb_error *why);
void vb_x_fail_component(struct vb_exec *x, size_t c, const struct vb_error *why); /* the first reason stays */
void vb_x_warn(struct vb_exec *x, const char *host, const struct vb_error *w);
/* -1: the record is not there; x->journal_error says why (told once per run).  What is recorded before it is done is
 * then not done, unless it brings a job to its end. */
int vb_x_journal(struct vb_exec *x, bool sync, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void vb_x_log(struct vb_xh *h, const char *kind, const char *event, const struct vb_error *err, const char *text);
void vb_x_progress(struct vb_exec *x, const struct vb_xh *h, size_t step);
void vb_x_save(struct vb_exec *x, const char *host, const char *suffix, const void *p, size_t n);
const char *vb_x_host_name(const struct vb_xh *h);
const char *vb_x_host_label(const struct vb_xh *h);      /* unique in the plan */
size_t vb_x_alive(const struct vb_xh *h);                /* explicit components that have not failed */
/* "writer 'x' component 'y'" */
char *vb_x_component_text(const struct vb_exec *x, size_t c);
enum vb_writer_policy vb_x_policy(const struct vb_exec *x, const struct vb_plan_component *c);
/* Fails dependents of failed targets, over any number of edges; on the host only, or everywhere (NULL). */
void vb_x_spread(struct vb_exec *x, const struct vb_xh *only);
/* Sends a command of the running step; fn gets the host. id 0: the type. */
void vb_x_command(struct vb_xh *h, struct vb_msg *m, uint64_t id, vb_rjob_reply_fn *fn);
/* Common beginning of a reply: true if the step goes on; else the failure was handled. */
bool vb_x_answered(struct vb_xh *h, const struct vb_msg *m, const struct vb_error *err);
size_t vb_x_find_component(const struct vb_xh *h, const char *writer_id, const char *instance_name,
                           const char *logical_path, const char *name);
/* What the writer offered in this session's Identify, NULL: it is not there. */
const struct vb_writer_metadata *vb_x_metadata(const struct vb_xh *h, const char *writer_id, const char *instance_name);
/* The record of the plan's component in a backup components document (NULL ok), and its writer's, or NULL. */
struct vb_component *vb_x_record(const struct vb_exec *x, struct vb_components *b, size_t c,
                                 struct vb_writer_components **writer);
/* BCD of a reply into h->bcd; writers' failures to their components. event: for messages. */
int vb_x_take_bcd(struct vb_xh *h, const struct vb_msg *m, struct vb_error *err);
void vb_x_check_status(struct vb_xh *h, const char *event);

/* ---- exec_job.c ---- */
void vb_x_open(struct vb_xh *h);
void vb_x_identify(struct vb_xh *h);
void vb_x_release(struct vb_xh *h);
void vb_x_send_abort(struct vb_xh *h);
void vb_x_try_aborts(struct vb_exec *x);                 /* those that had to wait for others */

/* ---- exec_backup.c ---- */
void vb_x_prepare(struct vb_xh *h);
void vb_x_snapshot(struct vb_xh *h);
void vb_x_barrier(struct vb_xh *h);
void vb_x_complete(struct vb_xh *h);
/* The consistency that a component may claim: group only if its whole group kept the rules (5.4). */
enum vb_consistency vb_x_consistency(const struct vb_exec *x, size_t c);
enum vb_completeness vb_x_completeness(const struct vb_exec *x, size_t c);

/* ---- exec_restore.c ---- */
void vb_x_pre_restore(struct vb_xh *h);
void vb_x_post_restore(struct vb_xh *h);

/* ---- exec_data.c ---- */
void vb_x_data_step(struct vb_xh *h);                    /* CAPTURE or RESTORE_FILES */
void vb_x_data_stop(struct vb_xh *h);
/* Restore: the component's record in the catalog entry, or NULL. */
const struct vb_catalog_component *vb_x_stored_component(const struct vb_exec *x, size_t c);

/* ---- exec_resume.c ---- */
void vb_x_resume(struct vb_exec *x);                     /* reads the journal */
bool vb_x_failed_before(const struct vb_exec *x, const char *step, struct vb_error *e);
bool vb_x_done_before(const struct vb_exec *x, const char *step); /* "done" stands in the journal of an earlier life */
void vb_x_write_outcome(struct vb_exec *x);              /* once, before the first release */

/* ---- exec_catalog.c ---- */
int vb_x_commit(struct vb_exec *x, struct vb_error *err);

#endif
