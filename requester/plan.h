/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/plan.h - the plan is data (house plan, idea 3).
 *
 * A plan is made by a pure function from what was asked, the selection over the gathered or stored documents, and which
 * hosts were reached.  It holds who takes part and why, and a graph of steps.  It is printed, compared in tests,
 * checked over random topologies, stored with the backup, and walked by the executor, which knows no order of its own.
 *
 * Steps of a host at backup                            wait for
 *     open      the job is sent (D-41)                 snapshot of every front end of this host
 *     identify, prepare, snapshot, capture             the one before
 *     barrier   data durable in the repository         capture
 *     complete  SetBackupSucceeded + BackupComplete    barrier; complete of every back end of this host (D-43, D-44)
 *     commit    catalog entry (requester, once)        complete of all
 *     release   BackupShutdown, snapshots deleted      commit
 * and at restore
 *     open      the job is sent (D-55)                 pre-restore of every front end of this host
 *     identify, pre-restore                            the one before
 *     files     copy, SetFileRestoreStatus             pre-restore of this host and of every host behind it, so that
 *                                                      nothing is overwritten here while a back end still refuses
 *     post-restore                                     files; post-restore of every back end of this host (D-58, D-59)
 *     release                                          post-restore of all
 * A private restore (to a directory, R-57) has open, files, release only: one job on the front end for each host of the
 * backup, without an order between them.
 *
 * Front end and back end are relations between hosts, made from the remote dependencies: in a chain A -> B -> C, B is a
 * back end of A and a front end of C.  An edge that closes a circle of hosts is cut (D-51): it orders nothing, and the
 * components that hang on it get no group consistency.
 */
#ifndef VB_REQUESTER_PLAN_H
#define VB_REQUESTER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "documents/job.h"
#include "documents/selection.h"
#include "vbackup/types.h"

#define VB_PLAN_SCHEMA 1u
#define VB_NO_INDEX ((size_t)-1)

enum vb_verb {
    VB_VERB_OPEN = 1, VB_VERB_IDENTIFY = 2, VB_VERB_PREPARE = 3, VB_VERB_SNAPSHOT = 4, VB_VERB_CAPTURE = 5,
    VB_VERB_BARRIER = 6, VB_VERB_COMPLETE = 7, VB_VERB_COMMIT = 8, VB_VERB_RELEASE = 9,
    VB_VERB_PRE_RESTORE = 10, VB_VERB_RESTORE_FILES = 11, VB_VERB_POST_RESTORE = 12
};
const char *vb_verb_word(enum vb_verb v);            /* "open", "prepare", "snapshot", "files" ... */
enum vb_verb vb_verb_from_word(const char *s);       /* 0 for an unknown one */

/* What the executor does when a step fails. */
enum vb_on_failure {
    VB_ON_FAILURE_ABORT_HOST = 1, /* AbortBackup and release there; its components failed; others go on (B-70, D-48) */
    VB_ON_FAILURE_MARK = 2,     /* its components are marked not succeeded; the host goes on to its end (B-57, D-62) */
    VB_ON_FAILURE_FAIL_RUN = 3, /* nothing usable can come of it: abort everywhere (D-49) */
    VB_ON_FAILURE_WARN = 4      /* reported, changes nothing */
};
const char *vb_on_failure_word(enum vb_on_failure f); /* "abort host", "mark", "fail run", "warn" */

/* A file set in the backup that a component builds on, and the tree that was captured of it there. */
struct vb_plan_base_root {
    char *path, *filespec;
    bool recursive;
    unsigned char tree[32];
};

struct vb_plan_component {
    size_t host;                  /* index into hosts */
    char *writer_id, *writer_name, *instance_name /* may be NULL */, *logical_path, *name;
    enum vb_component_type type;
    bool is_explicit;             /* has a record of its own; implicit ones come with an ancestor */
    enum vb_why why;
    size_t because;               /* component that brought it, or VB_NO_INDEX */
    struct vb_strv subcomponents; /* restore: only these; empty: all */
    enum vb_backup_type backup_type; /* backup: as it is done; full where it builds on nothing (I-5, I-21) */
    char *base, *previous_stamp;  /* backup: what it builds on, and the stamp that its writer set there (I-16); NULL: none */
    struct vb_plan_base_root *base_roots; size_t n_base_roots, cap_base_roots; /* not remembered for a resumed run */
    bool additional;              /* restore: later backups of the chain follow (I-34, I-35) */
};

/* dependent -> target.  cut: closes a circle of hosts, orders nothing (D-51). */
struct vb_plan_edge { size_t from, to; bool remote, cut; };

struct vb_plan_host {
    char *name;          /* in the host table: where the agent is */
    char *stored_as;     /* restore: its name in the backup (differs with --map); else NULL */
    char *job_id;        /* GUID of its job */
    bool reached;        /* metadata were gathered */
    enum vb_code code;   /* why not, when not reached */
    char *text, *hint;
    size_t *front_ends;
    size_t n_front_ends, cap_front_ends; /* hosts whose components depend on ours, cut ones left out */
};

/* A dependency that cannot be met; or a writer that was to take part and cannot: writer names it, from is VB_NO_INDEX. */
struct vb_plan_missing {
    size_t from;         /* component; VB_NO_INDEX: left out itself */
    char *writer;
    char *host_text, *host, *writer_id, *logical_path, *name;
    enum vb_code code;   /* VB_E_HOST_UNKNOWN, VB_E_DEPENDENCY_MISSING, or why the host was not reached */
    char *text;
};

struct vb_plan_step {
    char *id;            /* "backend/snapshot", "commit" */
    size_t host;         /* VB_NO_INDEX: the requester itself */
    enum vb_verb verb;
    size_t *components; size_t n_components, cap_components; /* explicit ones it is about */
    size_t *waits; size_t n_waits, cap_waits;                /* steps that must have ended, in either way */
    uint64_t limit_ms;   /* 0: none but keep-alive */
    enum vb_on_failure on_failure;
};

/* Which provider would take a volume, asked beforehand (plan backup); provider NULL: refused, remark says why. */
struct vb_plan_volume {
    size_t host;
    char *mount_point, *fs_type, *provider, *remark;
};

struct vb_plan {
    char *run_id;
    enum vb_job_kind kind;        /* VB_JOB_BACKUP or VB_JOB_RESTORE */
    enum vb_backup_type backup_type;
    char *backup_id;              /* restore: which backup */
    char *target_dir;             /* private restore */
    bool offline;                 /* made from the metadata of the last run */
    struct vb_plan_host *hosts; size_t n_hosts, cap_hosts;
    struct vb_plan_component *components; size_t n_components, cap_components;
    struct vb_plan_edge *edges; size_t n_edges, cap_edges;
    struct vb_plan_missing *missing; size_t n_missing, cap_missing;
    struct vb_plan_step *steps; size_t n_steps, cap_steps;
    struct vb_strv warnings;
    struct vb_strv paths;         /* restore: only these files and directories; none: everything */
    bool in_place;                /* with paths: back where they were, target_dir is "/" */
    struct vb_plan_volume *volumes; size_t n_volumes, cap_volumes; /* only in a plan that is shown */
};

/* One host of the input. */
struct vb_plan_input_host {
    const char *name, *stored_as;
    struct vb_writer_metadata **writers; size_t n_writers; /* borrowed */
    bool reached;
    const struct vb_error *error; /* when not reached; may be NULL */
};

struct vb_plan_input {
    enum vb_job_kind kind;
    enum vb_backup_type backup_type;
    const char *run_id;           /* NULL: left out of the plan (tests) */
    const char *backup_id, *target_dir;
    const struct vb_strv *paths;  /* may be NULL */
    bool in_place;
    bool offline;
    const struct vb_plan_input_host *hosts; size_t n_hosts; /* [0] is the front end */
    const struct vb_selection *selection;                   /* backup; indices into hosts */
    const struct vb_restore_selection *restore;             /* restore; indices into hosts and their stored documents */
    struct vb_components *const *stored;                    /* restore: [n_hosts] */
    /* Job ids: called once per host, in order; NULL: "job-1", "job-2" ... (tests). */
    void (*new_id)(void *arg, char out[37]);
    void *arg;
};

/* Notes a writer of this host that was to take part and cannot. */
void vb_plan_add_lost_writer(struct vb_plan *p, const char *host, const char *writer, const struct vb_error *why);
/* The name by which people know a writer: its instance's if it has one. */
const char *vb_plan_writer(const struct vb_plan_component *c);
/* Notes a volume; the strings are copied. */
void vb_plan_add_volume(struct vb_plan *p, size_t host, const char *mount_point, const char *fs_type, const char *provider,
                        const char *remark);
/* What to do about a dependency that cannot be met; caller frees. */
char *vb_plan_missing_hint(const struct vb_plan *p, const struct vb_plan_missing *m);
/* Pure: same input, same plan.  Never fails: what cannot be done is in missing and warnings. */
struct vb_plan *vb_plan_make(const struct vb_plan_input *in);
void vb_plan_free(struct vb_plan *p);
/* Index of a step by host and verb, or VB_NO_INDEX. host VB_NO_INDEX: the requester's own. */
size_t vb_plan_find_step(const struct vb_plan *p, size_t host, enum vb_verb verb);
size_t vb_plan_find_host(const struct vb_plan *p, const char *name);
/* Hosts by the order of work: front ends before their back ends; caller frees. */
size_t *vb_plan_host_order(const struct vb_plan *p);

/* For people: who, why, on which host, in which order, what waits for what.  Names are escaped for a terminal. */
void vb_plan_text(const struct vb_plan *p, struct vb_buf *out);
/* For programs: {"format": "vbackup-plan", "schema": 1, ...}; stable member order. */
void vb_plan_json(const struct vb_plan *p, struct vb_buf *out);
/* Reads vb_plan_json's output back, checking every index (a resumed run). VB_E_CORRUPT, VB_E_NEWER_FORMAT. */
struct vb_plan *vb_plan_from_json(const void *json, size_t n, struct vb_error *err);

#endif
