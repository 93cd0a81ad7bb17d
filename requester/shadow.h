/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow.h - what the verbs `vbackup shadow ...` share: a job on one host whose commands are given one after
 * the other, the shadow copies it tells of, and a set being made.
 *
 * The requester touches no provider: everything is a command of the job (agent/session_shadow.h).  A command is waited
 * for inside the loop, so that signals end it in order: the job is aborted and released, and what was not to outlive
 * its requester goes with it (S-64).
 */
#ifndef VB_REQUESTER_SHADOW_H
#define VB_REQUESTER_SHADOW_H

#include "documents/components.h"
#include "documents/context.h"
#include "documents/job.h"
#include "requester/cli.h"
#include "requester/gather.h"
#include "requester/remote_job.h"

/* ---- a job ---- */

struct vb_shadow_link {
    const struct vb_cli *cli;
    const char *host;              /* name in the host table */
    struct vb_loop *loop;
    struct vb_links *links;
    struct vb_rjob *rjob;
    bool interrupted;              /* SIGINT, SIGTERM or SIGHUP came */
    bool lost;
    struct vb_error why;
    uint64_t shadows;              /* SHADOW commands sent */
    size_t warnings;               /* told by the agent, and printed */
    const struct vb_shadow_link *with; /* whose loop and links these are; NULL: ours */
    bool waiting;                  /* for the answer of a command */
    struct vb_msg reply;
    int status;
    struct vb_error error;
};

/* Opens a job of this kind on --host (this machine without it).  policies may be NULL. */
int vb_shadow_open(struct vb_shadow_link *l, const struct vb_cli *cli, enum vb_job_kind kind,
                   const struct vb_job_writer *policies, size_t n, struct vb_error *err);
/* The same for a second job, on another host (by its name), beside an open one; closed before that. */
int vb_shadow_open_beside(struct vb_shadow_link *l, const struct vb_shadow_link *with, const char *host,
                          struct vb_error *err);
/* Sends SHADOW without waiting: l->waiting until its answer came, then l->status and l->reply or l->error. */
void vb_shadow_start(struct vb_shadow_link *l, const char *call, struct vb_msg *fields);
bool vb_shadow_interrupted(const struct vb_shadow_link *l);
/* Sends m (taken) and waits for its answer, which stays in l->reply until the next one. */
int vb_shadow_command(struct vb_shadow_link *l, struct vb_msg *m, struct vb_error *err);
/* SHADOW with this call; fields may be NULL, otherwise they are taken. */
int vb_shadow_call(struct vb_shadow_link *l, const char *call, struct vb_msg *fields, struct vb_error *err);
/* Releases the job, aborting what is under way, and frees everything.  Harmless on a link that was never opened. */
void vb_shadow_close(struct vb_shadow_link *l);
/* Waits for the child; its wait status. */
int vb_shadow_wait_child(struct vb_shadow_link *l, int pid);

/* ---- shadow copies as told ---- */

struct vb_shadow_item { /* properties of S-16; texts may be NULL */
    char *id, *set, *volume, *subvolume, *device, *fs_type, *provider, *provider_id, *path, *exposed;
    char *host, *service, *note, *job, *stamp;
    uint64_t count, wall_ms;
    uint32_t attributes;
    enum vb_snapshot_state state;
    bool active, orphan;
};
struct vb_shadow_items {
    struct vb_shadow_item *v; size_t n, cap;
    struct vb_strv troubles;   /* providers that could not be asked, with the reason */
};
void vb_shadow_items_clear(struct vb_shadow_items *l);
/* Oldest first. */
int vb_shadow_list(struct vb_shadow_link *l, struct vb_shadow_items *out, struct vb_error *err);
/* The item with this id or unique beginning of it (at least 4 characters); OBJECT_NOT_FOUND otherwise. */
const struct vb_shadow_item *vb_shadow_find(const struct vb_shadow_items *l, const char *id, struct vb_error *err);
json_t *vb_shadow_item_json(const struct vb_shadow_item *i);
void vb_shadow_item_text(const struct vb_shadow_item *i);

/* ---- from host to host (shadow_send.c) ---- */

struct vb_shadow_sent { char *id, *path, *parent; uint64_t bytes; };
void vb_shadow_sent_clear(struct vb_shadow_sent *s);
/* The shadow copy `id` of --host, below the directory `dir` of the host `to`; only what changed since the newest one
 * that both have there, unless whole.  dry: only looks.  Interrupted or failed it leaves nothing at `to`. */
int vb_shadow_send(const struct vb_cli *cli, const char *id, const char *to, const char *dir, bool whole, bool dry,
                   struct vb_shadow_sent *out, struct vb_error *err);

/* ---- a set being made ---- */

struct vb_shadow_volume { char *id, *volume, *device, *fs_type, *provider, *path, *remark; bool atomic; };

struct vb_shadow_make {
    /* asked for */
    uint32_t attributes;
    const char *provider;              /* or NULL */
    struct vb_strv volumes;            /* absolute paths on the host */
    struct vb_strv components;         /* [WRITER][:COMPONENT] */
    struct vb_strv excluded;           /* the same */
    struct vb_strv required;           /* the same */
    bool dry_run;
    bool full;                         /* a full backup's session instead of a copy's: writers may cut their logs */
    /* came of it */
    struct vb_gather_host writers;     /* of IDENTIFY */
    struct vb_components *bcd;
    struct vb_shadow_volume *v; size_t n, cap;
    uint64_t window_us;
    bool identified, made, completed;
};
void vb_shadow_make_clear(struct vb_shadow_make *m);
/* Job policies of required and excluded writers; the array is the caller's, its texts are m's. */
struct vb_job_writer *vb_shadow_policies(const struct vb_shadow_make *m, size_t *n);
/* Context and demands as far as they can be judged without the host (B-45, S-3 to S-8). */
int vb_shadow_make_check(const struct vb_shadow_make *m, struct vb_error *err);
/* GatherWriterMetadata; once. */
int vb_shadow_identify(struct vb_shadow_link *l, struct vb_shadow_make *m, struct vb_error *err);
/* All up to PostSnapshot; with dry_run only what would be done stands in bcd->snapshots. */
int vb_shadow_make(struct vb_shadow_link *l, struct vb_shadow_make *m, struct vb_error *err);
/* SetBackupSucceeded for every component whose writer did not fail, BackupComplete (B-56); nothing without writers. */
int vb_shadow_complete(struct vb_shadow_link *l, struct vb_shadow_make *m, bool success, struct vb_error *err);
/* A writer that takes part has failed: printed; how many. */
size_t vb_shadow_failed_writers(const struct vb_shadow_link *l, const struct vb_shadow_make *m);
void vb_shadow_make_print(const struct vb_shadow_link *l, const struct vb_shadow_make *m);

/* Variables about the set, as NAME=VALUE (see vbackup-shadow(1)); the list is appended to. */
void vb_shadow_variables(const struct vb_shadow_make *m, struct vb_strv *out);
/* The same as a file a shell can read. */
int vb_shadow_write_script(const struct vb_shadow_make *m, const char *file, struct vb_error *err);
/* The bundle of documents: one JSON object with the set, the aliases (NAME=VALUE) and the documents as XML texts. */
int vb_shadow_write_bundle(const struct vb_shadow_make *m, const struct vb_strv *aliases, const char *host,
                           const char *file, struct vb_error *err);
/* Runs words of a command (blanks separate, no shell) with these variables added to the environment; 0..255, signals as
 * 128 + number; -1 if it could not be started. */
int vb_shadow_exec(struct vb_shadow_link *l, const char *command, const struct vb_strv *variables, struct vb_error *err);

#endif
