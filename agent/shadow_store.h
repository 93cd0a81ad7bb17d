/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/shadow_store.h - what this host knows of its shadow copy sets: <state>/agent/shadows/<set id>.
 *
 * A record is written before a provider is asked to begin, and goes when the last shadow copy of the set is deleted.
 * It says whose the set is (a job that lives, or nobody's: an orphan, S-67), with which context it was made, and, for
 * sets that outlive their requester, holds the documents.  The provider's own state says what really exists.
 *
 * File: one message frame of wire/msg.h, type VB_M_SHADOW, with
 *     SET, JOB, HOST (originating machine), SERVICE, REMARK (note), ATTRIBUTES, COUNT (at creation), WALL_MS, STATE, KEEP? (1: by_revert),
 *     SNAPSHOT {SNAPSHOT, PATH (mount point), SUBVOLUME, DEVICE, FS_TYPE, PROVIDER, SNAPSHOT_PATH?, EXPOSED?}...,
 *     BCD?, WMD {XML}...
 */
#ifndef VB_AGENT_SHADOW_STORE_H
#define VB_AGENT_SHADOW_STORE_H

#include <stdbool.h>
#include "agent/paths.h"
#include "base/mem.h"
#include "vbackup/types.h"
#include "wire/msg.h"

struct vb_shadow {
    char *id, *mount_point, *source, *device, *fs_type, *provider;
    char *path;     /* where its root is seen; NULL before it was made */
    char *exposed;  /* directory it is exposed at, or NULL */
};

struct vb_shadow_set {
    char *id, *job;                /* job NULL: nobody's (imported) */
    char *host, *service, *note;   /* originating machine, service machine, free text; NULL: not set */
    uint32_t attributes;           /* VB_SA_* */
    uint64_t count;                /* as at creation (S-17) */
    uint64_t created_ms;           /* 0: not made yet */
    enum vb_snapshot_state state;
    struct vb_shadow *v; size_t n, cap;
    struct vb_buf bcd;             /* XML, or empty */
    struct vb_buf *wmd; size_t n_wmd, cap_wmd;
    bool by_revert;                /* the state of a volume before a revert, which the provider finishes if need be */
};

void vb_shadow_set_free(struct vb_shadow_set *s); /* NULL ok */
struct vb_shadow *vb_shadow_set_add(struct vb_shadow_set *s);
struct vb_shadow *vb_shadow_set_find(const struct vb_shadow_set *s, const char *snapshot_id);
/* Takes one out; true if it was there. */
bool vb_shadow_set_drop(struct vb_shadow_set *s, const char *snapshot_id);

/* Takes all but this one out. */
void vb_shadow_set_only(struct vb_shadow_set *s, const char *snapshot_id);

/* An exported shadow copy (S-56) is a file: the provider's stream, then one message frame (type VB_M_SHADOW: the record of
 * the set with this one shadow copy, and STAMP, the provider's word for what the stream holds), then the frame's length
 * (u32) and the mark. */
#define VB_SHADOW_MARK "VBSHADOW"

/* The record as a message body, and back.  decode refuses what lacks an id or names no GUID (VB_E_CORRUPT). */
void vb_shadow_encode(const struct vb_shadow_set *s, struct vb_msg *m);
struct vb_shadow_set *vb_shadow_decode(const struct vb_msg *m, struct vb_error *err);

/* Directory of the records, made if missing; caller closes. */
int vb_shadow_store_open(const struct vb_paths *p, struct vb_error *err);
/* Old or new, never half; synced. */
int vb_shadow_save(int dir, const struct vb_shadow_set *s, struct vb_error *err);
/* OBJECT_NOT_FOUND if there is none. */
struct vb_shadow_set *vb_shadow_load(int dir, const char *set_id, struct vb_error *err);
/* Missing is fine. */
int vb_shadow_remove(int dir, const char *set_id, struct vb_error *err);
/* Every record that can be read; one that cannot is logged and left alone. */
struct vb_shadow_sets { struct vb_shadow_set **v; size_t n, cap; };
int vb_shadow_load_all(int dir, struct vb_shadow_sets *out, struct vb_error *err);
void vb_shadow_sets_clear(struct vb_shadow_sets *s);

#endif
