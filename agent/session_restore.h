/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_restore.h - what the two files of the restore session share: session_restore.c (events, services,
 * checks) and session_place.c (where every file goes).
 */
#ifndef VB_AGENT_SESSION_RESTORE_H
#define VB_AGENT_SESSION_RESTORE_H

#include "agent/session_internal.h"

/* Stored metadata document of a writer record, or NULL. */
const struct vb_writer_metadata *vb_r_stored(const struct vb_session *s, const struct vb_writer_components *r);
enum vb_restore_method vb_r_method(const struct vb_writer_metadata *m);
/* Alternate location of a file set, or NULL. */
const struct vb_alternate_location *vb_r_alm(const struct vb_writer_metadata *m, const char *path,
                                             const char *filespec);
/* path, which is below from, moved below to. Caller frees. */
char *vb_r_move(const char *path, const char *from, const char *to);
/* New target of a file set, or NULL. Caller frees. */
char *vb_r_new_target(const struct vb_component *c, const char *path, const char *filespec);
/* Stops the services of stop-restore-start writers. */
void vb_r_stop_services(struct vb_session *s, vb_step *next);

#endif
