/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow.h - shadow copies beyond one session: their records, and the calls that look at them and change
 * them (rule book sections 6.2, 6.5, 6.6).
 *
 * SHADOW {CALL, ...} -> REPLY, one after the other (S-22); in a job of kind identify or backup, whatever it is at:
 *
 *   CALL          in                            out
 *   "list"        -                             SNAPSHOT {SNAPSHOT, SET, COUNT, PATH (original volume), SUBVOLUME?,
 *                                               DEVICE?, FS_TYPE?, PROVIDER, PROVIDER_ID?, SNAPSHOT_PATH?, EXPOSED?,
 *                                               HOST?, SERVICE?, REMARK?, ATTRIBUTES, WALL_MS, STATE, JOB?,
 *                                               ACTIVE (the provider has it), ORPHAN?, STAMP? (what
 *                                               it holds, the same on every host that has it)}..., FAILED {PROVIDER, CODE, TEXT}...
 *   "providers"   -                             PROVIDER {NAME, PROVIDER_ID, VERSION, TYPE, PREFERENCE}..., FAILED...
 *   "volumes"     -                             VOLUME {PATH, SUBVOLUME, DEVICE, FS_TYPE, PROVIDER?, ATTRIBUTES?,
 *                                               REMARK?}...
 *   "documents"   SET, SNAPSHOT?                the record of agent/shadow_store.h, with only this shadow copy of the set
 *   "delete"      SNAPSHOT, PROVIDER? (needed   -                     an exposed one is unexposed first
 *                 where there is no record),
 *                 FORCE?
 *   "expose"      SNAPSHOT, PATH                -                     persistent only, whole root, read-only (S-51..S-53)
 *   "unexpose"    SNAPSHOT                      PATH (where it was)
 *   "revert"      SNAPSHOT, FORCE?,             KEEP, SET (of the old state, unless DISCARD)
 *                 DISCARD?                      refused while a writer of this job (after IDENTIFY) keeps data there,
 *                                               without FORCE; always for those of [shadow] never-revert (S-60, S-61)
 *   "break"       SNAPSHOT, PATH, LIVE?         -                     an independent copy at PATH, writable with LIVE;
 *                 (writable), KEEP?             without KEEP the shadow copy is deleted afterwards (S-54, S-55)
 *   "export"      SNAPSHOT, PATH (new file)     -                     on that host (S-56)
 *   "import"      PATH (file), TARGET (dir)     SNAPSHOT, SET, PATH   once per shadow copy (S-57)
 *   "send"        SNAPSHOT, PARENT? (a      STAMP, BYTES_DONE     to the data stream, which was opened before: CHUNK
 *                 shadow copy here that                         {BYTES}..., DATA_END.  With a parent only what changed
 *                 the other host has, too)                      since it
 *   "receive"     what "documents" told of  SNAPSHOT, SET, PATH   from the data stream: CHUNK..., DATA_END -> DATA_OK.
 *                 it, TARGET (dir), STAMP                       It counts only when DATA_END came: that the sending
 *                                                               provider succeeded is for the requester to know
 *   "note"        SNAPSHOT, REMARK, SERVICE?    -                     what a user may set of the properties
 */
#ifndef VB_AGENT_SESSION_SHADOW_H
#define VB_AGENT_SESSION_SHADOW_H

#include "agent/session_internal.h"
#include "agent/shadow_store.h"

/* Context and volumes of PREPARE, checked (S-3 to S-8, B-45). */
int vb_s_shadow_context(struct vb_session *s, struct vb_error *err);
/* Explicit volumes: they are the set; components that lie elsewhere too are taken out of s->bcd (required writers' ones
 * are an error: WRITER_INCONSISTENT_SNAPSHOT).  Called instead of looking for the volumes of the components. */
int vb_s_shadow_volumes(struct vb_session *s, struct vb_error *err);
/* Limits per volume (S-24), then the record of the set: before a provider is asked to begin. */
int vb_s_shadow_begin(struct vb_session *s, struct vb_error *err);
/* The set is made: paths and, if it outlives us, the documents into the record. */
int vb_s_shadow_created(struct vb_session *s, struct vb_error *err);
/* BackupComplete is done: the document once more. */
void vb_s_shadow_completed(struct vb_session *s);
/* The session's shadow copies are deleted (or not): the record follows. */
void vb_s_shadow_released(struct vb_session *s);

/* ---- shared by the calls ---- */
struct vb_shadow_found {
    char *id, *set, *mount_point, *path, *provider, *stamp;
    uint64_t created_sec;
    bool known;
};

struct vb_shadow_op {
    struct vb_shadow_found *found; size_t n, cap;
    struct vb_strv answered;          /* providers that told what they have */
    struct vb_msg failed;             /* FAILED groups */
    char *id, *provider;              /* the shadow copy that the call is about */
    struct vb_shadow_set *set;        /* its set's record, or NULL */
    struct vb_shadow_set *kept;       /* revert: the old state's */
    struct vb_error why;              /* revert: what the provider said */
    bool own_set;                     /* "volumes": s->set was filled for it */
    char *pipe, *stamp;               /* send, receive: what the provider opens; what the stream holds */
    struct vb_error stream_error;
    uint64_t bytes;
    vb_step *next;                    /* send, receive: something new came */
    bool called, provider_done, told; /* the provider; and the stream's process of that */
    bool stream_over;                 /* all was moved, or the process is gone */
};

void vb_so_done(struct vb_session *s, struct vb_msg *m);     /* the answer; m is taken */
void vb_so_failed(struct vb_session *s, struct vb_error *err);
void vb_so_succeeded(struct vb_session *s);
int vb_so_store(const struct vb_session *s, struct vb_error *err);
/* Finds the record of the set that SNAPSHOT is in; OBJECT_NOT_FOUND when needed and not there. */
int vb_so_find(struct vb_session *s, bool needed, struct vb_error *err);
struct vb_shadow *vb_so_the_shadow(struct vb_session *s);
int vb_so_check_persistent(struct vb_session *s, const char *call, struct vb_error *err);
/* The job that the record belongs to lives. */
bool vb_so_alive(const struct vb_session *s, const struct vb_shadow_set *r);
/* Asks one provider what it has; the answer is in op->found. */
void vb_so_query(struct vb_session *s, const char *provider, vb_step *next);
/* Deletes op->id, which op->provider has, and its record; then the answer. */
void vb_so_delete(struct vb_session *s);
void vb_so_list(struct vb_session *s);
void vb_so_providers(struct vb_session *s);
void vb_so_volumes(struct vb_session *s);
void vb_so_documents(struct vb_session *s);
void vb_so_revert(struct vb_session *s);
void vb_so_break(struct vb_session *s);
void vb_so_export(struct vb_session *s);
void vb_so_import(struct vb_session *s);
void vb_so_send(struct vb_session *s);
void vb_so_receive(struct vb_session *s);

#define VB_SO_TRANSFER_MS (7u * 24 * 3600 * 1000) /* one whose peer is gone ends by that */

/* ---- session_shadow_transport.c: what import and receive share ---- */
/* The record of what comes, before anything of it is there. */
int vb_so_import_begin(struct vb_session *s, struct vb_shadow_set *from, const char *to, struct vb_error *err);
/* Fields of the provider's call but PATH. */
void vb_so_receive_fields(struct vb_session *s, const char *stamp, struct vb_msg *f);
/* The provider has succeeded: looks, completes the record, answers. */
void vb_so_import_check(struct vb_session *s);
/* It has not, or may have half: takes away what there is, then answers with this failure (copied). */
void vb_so_import_undo(struct vb_session *s, const struct vb_error *why);

/* What comes from outside is nobody's until it is settled: whoever ends the job before, deletes it. */
int vb_s_incoming_begin(struct vb_session *s, const char *set, const char *id, const char *provider, const char *to,
                        struct vb_error *err);
void vb_s_incoming_settled(struct vb_session *s);
/* Adds the call that deletes it to a round. */
void vb_s_incoming_add_delete(struct vb_session *s);
/* It is deleted: drops it from the records, too. */
void vb_s_incoming_deleted(struct vb_session *s);

/* The SHADOW command. */
void vb_s_shadow(struct vb_session *s);
void vb_s_shadow_clear(struct vb_session *s);

#endif
