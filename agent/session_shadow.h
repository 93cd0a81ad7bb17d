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
 *                                               ACTIVE (the provider has it), ORPHAN?}..., FAILED {PROVIDER, CODE, TEXT}...
 *   "providers"   -                             PROVIDER {NAME, PROVIDER_ID, VERSION, TYPE, PREFERENCE}..., FAILED...
 *   "volumes"     -                             VOLUME {PATH, SUBVOLUME, DEVICE, FS_TYPE, PROVIDER?, ATTRIBUTES?,
 *                                               REMARK?}...
 *   "documents"   SET                           BCD?, WMD {XML}...
 *   "delete"      SNAPSHOT, PROVIDER? (needed   -                     an exposed one is unexposed first
 *                 where there is no record),
 *                 FORCE?
 *   "expose"      SNAPSHOT, PATH                -                     persistent only, whole root, read-only (S-51..S-53)
 *   "unexpose"    SNAPSHOT                      PATH (where it was)
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

/* The SHADOW command. */
void vb_s_shadow(struct vb_session *s);
void vb_s_shadow_clear(struct vb_session *s);

#endif
