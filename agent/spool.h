/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/spool.h - the jobs on disk: <state>/agent/jobs/<job>/{job.xml, journal, lock}.
 *
 * A directory exists from OPEN until the job is released or cleaned up.  Whoever works on a job (its worker, or
 * recover) holds the lock; a job directory without a holder is one whose worker died.
 */
#ifndef VB_AGENT_SPOOL_H
#define VB_AGENT_SPOOL_H

#include "agent/paths.h"
#include "base/mem.h"
#include "documents/job.h"

/* Directory of all jobs, made if missing. Caller closes. */
int vb_spool_open(const struct vb_paths *p, struct vb_error *err);
/* Makes the entry; VB_E_EXISTS if there is one. */
int vb_spool_create(int spool, const char *job, const void *xml, size_t n, struct vb_error *err);
/* Directory of one job; caller closes. */
int vb_spool_job(int spool, const char *job, struct vb_error *err);
struct vb_job *vb_spool_read(int dir, const char *job, struct vb_error *err);
/* Takes the lock: the descriptor (held until closed), or -1; VB_E_BUSY if another holds it. */
int vb_spool_lock(int dir, struct vb_error *err);
bool vb_spool_has(int spool, const char *job);
int vb_spool_remove(int spool, const char *job, struct vb_error *err);
/* Names of all entries, sorted. */
int vb_spool_list(int spool, struct vb_strv *jobs, struct vb_error *err);

#endif
