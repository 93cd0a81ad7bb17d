/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session.h - one backup or restore on this host: the state machine of rule book sections 2.1 and 3.1.
 *
 * Sans-process: it sees time, children, volumes, services and the requester through `struct vb_session_env` only, so
 * tests/sim runs the very same code with writer and provider hosts inside one process under a virtual loop.  The real
 * environment is agent/session_env.c, driven by agent/worker.c.
 *
 * Nothing here blocks.  Everything that takes time is asked of the environment and comes back as a call of one of the
 * vb_session_* functions below, from the loop.
 *
 *          new -> IDENTIFIED -> PREPARED -> SNAPSHOT -> CAPTURED -> COMPLETED -> released
 *                     |            |           |           |            |
 *                     |            +-----------+-----------+------------+--> ABORTED -> released
 *                     +-> PRE_RESTORED -> RESTORED -> POST_RESTORED -> released
 *
 * Whatever ends the session (RELEASE, lease, cancel, supervisor gone), vb_session_end brings it to `released` by the
 * same path: writers still inside an event are killed after a grace, frozen ones get Abort, a restore gets its
 * PostRestore, services that were stopped are started, every writer gets BackupShutdown, shadow copies are deleted.
 */
#ifndef VB_AGENT_SESSION_H
#define VB_AGENT_SESSION_H

#include <stdbool.h>
#include "agent/limits.h"
#include "agent/volumes.h"
#include "base/journal.h"
#include "base/loop.h"
#include "documents/components.h"
#include "documents/job.h"
#include "documents/writer_metadata.h"
#include "wire/conn.h"

struct vb_session;

enum vb_child_kind { VB_CHILD_WRITER = 1, VB_CHILD_PROVIDER = 2, VB_CHILD_CAPTURE = 3, VB_CHILD_RESTORE = 4, VB_CHILD_SHADOW = 5 };

/* A process that speaks messages. */
struct vb_child {
    struct vb_conn *conn; /* NULL: not running */
    int pid;              /* 0 in a simulation */
    void *handle;         /* the environment's own */
};

/* A child to be started: one writer that the configuration (or the job's ad-hoc paths) asks for, or a provider. */
struct vb_child_ref {
    char *name;            /* section of the configuration, or name of the provider */
    char *module;          /* writers: what to load */
    char *instance;        /* writers: instance name, or NULL */
    bool required;         /* writers: the configuration says that no session may do without it */
    bool adhoc;            /* writers: the section is made from the job's paths */
};
struct vb_child_refs { struct vb_child_ref *v; size_t n, cap; };
void vb_child_ref_clear(struct vb_child_ref *r);
void vb_child_refs_clear(struct vb_child_refs *c);
void vb_child_ref_copy(struct vb_child_ref *to, const struct vb_child_ref *from);

/* The watchdog of the freeze window (agent/watchdog.h). Order: START, ARM, [FREEZE, THAW], DISARM. */
enum vb_watchdog_call {
    VB_WD_START = 1,  /* made, everything opened and locked */
    VB_WD_ARM = 2,    /* deadline_ms from now: kill the writer hosts, thaw */
    VB_WD_FREEZE = 3, /* all mounts it was given, reverse mount order; deadline_ms: thaw by itself */
    VB_WD_THAW = 4,
    VB_WD_DISARM = 5  /* and end */
};

struct vb_session_env {
    void *arg;
    struct vb_loop *loop;
    struct vb_journal *journal;
    struct vb_limits limits;
    const char *host;  /* our name, for documents */

    /* --- what there is --- */
    int (*writers)(void *arg, const struct vb_job *job, struct vb_child_refs *out, struct vb_error *err);
    int (*providers)(void *arg, struct vb_strv *names, struct vb_error *err);
    int (*mounts)(void *arg, struct vb_mounts *out, struct vb_error *err);
    vb_subvolume_fn *subvolume; /* called with arg */
    /* Whether anything that a file set names exists: 1, 0, -1 error. Ends at the first find. */
    int (*exists)(void *arg, const char *path, const char *filespec, bool recursive, struct vb_error *err);
    /* Whether every existing file that it names could be replaced by us, as things stand. */
    bool (*replaceable)(void *arg, const char *path, const char *filespec, bool recursive);

    /* --- children --- */
    /* Starts one; the session sets the handler of out->conn.  CAPTURE, RESTORE and SHADOW take the data
     * stream along. */
    int (*start)(void *arg, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out,
                 struct vb_error *err);
    /* Frees the connection.  kill: SIGKILL at once; otherwise end of file tells it to end, and it is reaped later. */
    void (*stop)(void *arg, struct vb_child *c, bool kill);
    /* Whether an unused data stream is at hand. */
    bool (*data_ready)(void *arg);

    /* Forgets what captures on this host have seen: the next ones read everything.  NULL: nothing is remembered. */
    void (*forget_looks)(void *arg);

    /* --- the freeze window --- */
    /* Answered by vb_session_watchdog_done.  START takes the pids of the writer hosts and the mounts to freeze. */
    void (*watchdog)(void *arg, enum vb_watchdog_call call, uint64_t deadline_ms, const int *pids, size_t n_pids,
                     const struct vb_strv *mounts);
    /* Why this file system must never be frozen ("of the system's root" ...), or NULL; the callback may be NULL. */
    const char *(*never_frozen)(void *arg, const char *mount_point);
    /* Entering and leaving the window: diagnostics and events stay in memory meanwhile. */
    void (*window)(void *arg, bool inside);
    /* The host's one slot for creating a set (B-22); answered by vb_session_slot. */
    void (*slot)(void *arg, bool want);

    /* --- services of restore methods; answered by vb_session_service_done --- */
    void (*service)(void *arg, const char *name, bool start);

    /* --- shadow copies that outlive a session; all may be NULL: no records are kept then --- */
    int (*shadow_store)(void *arg); /* directory of agent/shadow_store.h, borrowed; -1: there is none */
    bool (*job_alive)(void *arg, const char *job);
    bool (*is_there)(void *arg, const char *path);
    int (*expose)(void *arg, const char *from, const char *at, struct vb_error *err);
    int (*unexpose)(void *arg, const char *at, struct vb_error *err);
    const struct vb_strv *never_revert; /* writers whose volumes are never reverted (S-61); NULL: none */
    unsigned max_shadows, max_client_accessible; /* per volume (S-24); 0: 512 and 64 */

    /* --- files that wait for a restart of the machine (agent/reboot.h); all NULL: not possible --- */
    int (*reboot_ready)(void *arg, struct vb_error *err);
    char *(*reboot_stage)(void *arg, const char *job, size_t n, const char *path, struct vb_error *err);
    int (*reboot_commit)(void *arg, const char *job, const char *component, const struct vb_strv *staged,
                         const struct vb_strv *final, struct vb_error *err);
    int (*reboot_discard)(void *arg, const char *job, struct vb_error *err);
    int (*reboot_report)(void *arg, struct vb_strv *lines, struct vb_error *err);

    /* Keeps a small file beside the journal, for vb_session_recover. */
    int (*keep)(void *arg, const char *name, const void *p, size_t n, struct vb_error *err);

    /* --- to the requester --- */
    void (*reply)(void *arg, const struct vb_msg *m);
    void (*event)(void *arg, struct vb_msg *m); /* adds number and times */
    /* The session is released; why is VB_OK after RELEASE.  Called once, last. */
    void (*ended)(void *arg, const struct vb_error *why);
};

/* Takes the job.  The environment must outlive the session. */
struct vb_session *vb_session_new(const struct vb_session_env *env, struct vb_job *job);
/* Drops children without ceremony; orderly ends go through vb_session_end. NULL ok. */
void vb_session_free(struct vb_session *s);

/* After the death of a worker: a session filled from what its journal says, to be ended at once (vb_session_end).
 * That starts services, sends PostRestore, Abort and BackupShutdown through fresh hosts, and deletes the shadow
 * copies. bcd: what was kept under VB_KEPT_BCD, or NULL.  The journal is env->journal, read from its beginning. Takes
 * the job. */
struct vb_session *vb_session_recover(const struct vb_session_env *env, struct vb_job *job, const struct vb_buf *bcd,
                                      struct vb_error *err);
#define VB_KEPT_BCD "bcd.xml"

/* A command of the requester; answered by exactly one env->reply with its id. Illegal ones get BAD_STATE (2.2). */
void vb_session_command(struct vb_session *s, const struct vb_msg *m);
/* Brings the session to its end; code and text say why (lease, cancel ...). A second call changes nothing. */
void vb_session_end(struct vb_session *s, enum vb_code code, const char *text);

/* Answers of the environment. */
void vb_session_watchdog_done(struct vb_session *s, enum vb_watchdog_call call, const struct vb_error *err);
void vb_session_watchdog_fired(struct vb_session *s, const char *text);
/* 0: it is ours; owner then says what an earlier job left behind, or is NULL. */
void vb_session_slot(struct vb_session *s, unsigned position, const char *owner);
/* No set can be made on this host; why says what stands in the way. */
void vb_session_slot_refused(struct vb_session *s, const struct vb_error *why);
void vb_session_service_done(struct vb_session *s, const struct vb_error *err);

/* For status displays. */
const char *vb_session_state_word(const struct vb_session *s);
bool vb_session_in_window(const struct vb_session *s);

/* A file system could not be thawed: the journal must outlive the session, for recover. */
bool vb_session_still_frozen(const struct vb_session *s);

/* After the end: the shadow copies that could not be deleted, as text, or NULL. */
const char *vb_session_left_behind(struct vb_session *s);

#endif
