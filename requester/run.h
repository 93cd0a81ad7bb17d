/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run.h - a backup or a restore over all its hosts, asynchronous on a loop.  What the command line and
 * libvbackup stand on.
 *
 *     struct vb_run *r = vb_run_backup(&env, &opt, &handler, arg);
 *     vb_loop_run(loop);               callbacks: warning, plan, event, progress ..., done (once, last)
 *     vb_run_free(r);
 *
 * A run first gathers (a throw-away IDENTIFY job on every host that the closure of the dependencies reaches, B-8), then
 * makes the plan, then walks it.  No callback is called from inside vb_run_backup and its sisters.
 */
#ifndef VB_REQUESTER_RUN_H
#define VB_REQUESTER_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/loop.h"
#include "base/mem.h"
#include "documents/components.h"
#include "documents/job.h"
#include "documents/selection.h"
#include "requester/link.h"
#include "requester/plan.h"
#include "requester/run_state.h"
#include "requester/run_store.h"
#include "vbackup/result.h"

struct vb_run;

/* The world of a run. All borrowed until vb_run_free. */
struct vb_run_env {
    struct vb_loop *loop;
    struct vb_links *links;
    struct vb_run_store *store; /* NULL: plan only */
    struct vb_run_state *state; /* NULL: nothing is remembered (no resume, no --offline) */
    void (*new_guid)(void *arg, char out[37]); /* NULL: vb_guid_new.  The simulation draws from its seed. */
    void *guid_arg;
};

/* Zero is a sensible default everywhere but front_end. Borrowed during the call only: copied. */
struct vb_run_options {
    const char *front_end;              /* host table name of the host where the backup starts: usually this machine */
    const char *local_host; /* table name of this machine: journals are held while it freezes; may be NULL */
    const struct vb_ask *asks; size_t n_asks;          /* none: everything on the front end */
    const struct vb_ask *excludes; size_t n_excludes;
    /* D-6, D-12, D-33, also for hosts that cannot be reached while gathering:
     *   FAIL            the run ends before anything is touched (exit 1)
     *   DROP_DEPENDENT  the dependent component is left out
     *   CONTINUE        the dependent takes part, is marked not succeeded and the run is partial (D-48) */
    enum vb_missing_policy missing;
    vb_resolve_host_fn *resolve; void *resolve_arg;    /* vb_hosts_resolve; must outlive the run */
    enum vb_backup_type backup_type;    /* 0: full */
    enum vb_consistency min_consistency;
    uint64_t freeze_limit_ms;
    uint64_t lease_ms;                  /* 0: 60 s.  How long a job outlives a lost connection */
    const struct vb_job_writer *writers; size_t n_writers; /* policies */
    const char *const *paths; size_t n_paths;              /* ad-hoc component on the front end; restore: only these files
                                                              and directories, no writer takes part */
    const char *const *path_rules; size_t n_path_rules;    /* base/path_filter.h */
    const char *requester;              /* "vbackup 0.1.0 on fe (pid 1234)" */
    const char *requester_host, *user, *program, *job_name; /* for the catalog entry; may be NULL */
    /* restore */
    const char *backup;                 /* "latest", id or unique prefix */
    const char *backup_host;            /* only backups that have this host, or NULL */
    const struct vb_strv *maps;         /* "stored=actual" (--map) */
    const char *target_dir;             /* private restore: files below this directory on the front end; no writer takes
                                           part.  One host in the backup: DIR/path, several: DIR/host/path */
    bool overwrite;                     /* consent to put back over existing data */
    bool later_pass;                    /* of a chain: what lies there is of the pass before (set by the run itself) */
    bool verify;                        /* read everything again afterwards and compare it with the backup */
    /* plan only */
    bool offline;                       /* from the metadata of the last gather; no connection is made */
    /* backup: consent, recorded with the job; without it the host's part is refused (VB_E_VOLUME_NOT_SUPPORTED) */
    bool allow_live;                    /* to read without a shadow copy where none can be made */
    bool allow_freeze;                  /* to copy while the file system is kept frozen */
    bool no_detector;                   /* backup: every file is read, whatever the change detector says */
    bool level_set;                     /* backup: zstd level of the data; else the repository's */
    uint32_t level;                     /* 1 to 19, 0: as they are */
};

enum vb_run_phase { VB_PHASE_GATHER = 1, VB_PHASE_PLAN = 2, VB_PHASE_RUN = 3, VB_PHASE_ABORT = 4, VB_PHASE_END = 5 };

/* One line of the merged event log: what agents reported (with their sequence) and what we called. */
struct vb_run_event {
    uint64_t n;              /* position in the merged log, from 1 */
    const char *host;        /* NULL: the requester itself */
    uint64_t seq;            /* agent's own numbering; 0 for ours */
    uint64_t wall_ms, mono_us;
    const char *kind; /* ours: "call", "reply", "step", "link"; agents': as the agent says ("event", "state" ...) */
    const char *event;       /* "PrepareForBackup", "Freeze", "OPEN", ... */
    const char *phase;       /* agents' "begin", "end", "failed"; may be NULL */
    const char *writer, *instance;
    enum vb_code code;
    const char *text;        /* may be NULL */
};

struct vb_run_progress {
    enum vb_run_phase phase;
    size_t steps, steps_done;
    const char *host;        /* whose progress it is; NULL: of the run */
    const char *step;        /* id of the step that was begun or moved, or NULL */
    uint64_t files, bytes_done, bytes_total; /* sums over all hosts; total 0 while unknown */
    bool estimate;           /* the total is what the last backup had */
};

struct vb_run_component {
    size_t host;             /* index into the result's hosts */
    char *writer_id, *writer_name, *instance_name, *logical_path, *name;
    bool is_explicit;
    enum vb_completeness completeness;      /* VB_COMPLETE, VB_PARTIAL (usable, but see code), VB_FAILED */
    enum vb_consistency consistency;        /* as it really was */
    enum vb_file_restore_status restore_status;
    enum vb_code code;
    char *text, *hint;
    uint64_t files, bytes;
    uint64_t left_files, left_dirs; /* left out by exclusions; a directory counts once, with all below it */
};
struct vb_run_host {
    char *name;
    enum vb_code code;       /* of the host's job as a whole; VB_OK although components failed */
    char *text, *hint;
    uint64_t files, bytes, window_us; /* window: length of the freeze window */
    struct vb_window_phase *phases; size_t n_phases; /* its parts */
    uint64_t skew_us;        /* so far apart are the instants of its volumes at most */
};
struct vb_run_result {
    enum vb_job_kind kind;                  /* of a resumed run: as it was begun */
    enum vb_exit exit;
    struct vb_error error;   /* why the run as a whole failed; VB_OK otherwise */
    char *run_id, *backup_id /* NULL: none was made (backup) */;
    enum vb_completeness completeness;
    enum vb_consistency consistency;        /* the least of all complete components */
    struct vb_run_host *hosts; size_t n_hosts;
    struct vb_run_component *components; size_t n_components; /* explicit ones, order of the plan */
    uint64_t files, bytes, added_bytes, started_wall_ms, finished_wall_ms;
    uint64_t first_freeze_ms; /* from the start of the run to the first snapshot command */
    size_t warnings;
};

/* Any may be NULL.  Everything passed is borrowed for the call. */
struct vb_run_handler {
    void (*plan)(void *arg, const struct vb_plan *p);        /* made; steps begin after it returns */
    void (*event)(void *arg, const struct vb_run_event *e);
    void (*progress)(void *arg, const struct vb_run_progress *p);
    void (*warning)(void *arg, const char *host, const struct vb_error *w);
    void (*done)(void *arg, const struct vb_run_result *r);
};

/* Start; the rest is callbacks.  Never NULL: problems come through done. */
struct vb_run *vb_run_backup(const struct vb_run_env *env, const struct vb_run_options *opt,
                             const struct vb_run_handler *h, void *arg);
struct vb_run *vb_run_restore(const struct vb_run_env *env, const struct vb_run_options *opt,
                              const struct vb_run_handler *h, void *arg);
/* Gathers and plans; touches nothing; done has result.components as the plan says.  kind: backup or restore. */
struct vb_run *vb_run_plan_only(const struct vb_run_env *env, enum vb_job_kind kind, const struct vb_run_options *opt,
                                const struct vb_run_handler *h, void *arg);
/* Goes on with a run that an earlier requester began: attaches to its jobs; commands that were executed before are
 * answered from the agents' records.  A job that is gone ends the run cleanly everywhere.  resolve of opt may be NULL;
 * the rest of the options comes from the state. */
struct vb_run *vb_run_resume(const struct vb_run_env *env, const char *run_id, const struct vb_run_handler *h,
                             void *arg);

/* Orderly stop: AbortBackup everywhere (at restore: PostRestore is still sent, D-62), then done with VB_E_CANCELLED.
 * Agents get a second to answer before the run ends without them (their leases clean up).  Twice is harmless. */
void vb_run_cancel(struct vb_run *r);
/* Ends at once: streams are cut, no message is sent; what a crash looks like to the agents.  After done: plain release.
 */
void vb_run_free(struct vb_run *r);

const struct vb_plan *vb_run_the_plan(const struct vb_run *r); /* NULL before it was made */
/* The merged event log so far, one JSON object per line. */
void vb_run_events_json(const struct vb_run *r, struct vb_buf *out);

#endif
