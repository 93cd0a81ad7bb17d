/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_originals.h - shadow copies made by cloning files: who the originals were.
 *
 * A clone has an inode and a change time of its own.  The provider has recorded those of the original as it was when it was
 * cloned (providers/support/originals.h); what is examined in the shadow copy gets them back before anybody looks
 * at it.  A copy that was changed since, or of which there is no record, keeps its own: they are younger than the look and thus
 * never trusted.
 */
#ifndef VB_AGENT_CAPTURE_ORIGINALS_H
#define VB_AGENT_CAPTURE_ORIGINALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct vb_capture;
struct vb_cap_originals;

/* Looks for the records of the shadow copy in which the current file set is read; keeps them in c->originals (NULL: none). */
void vb_cap_originals_find(struct vb_capture *c);
void vb_cap_originals_free(struct vb_cap_originals *o); /* NULL ok */
/* Inode, change time and number of names become the original's, where there are records. */
void vb_cap_originals_stat(const struct vb_cap_originals *o, struct stat *st);
void vb_cap_originals_statx(const void *originals, struct statx *x); /* of the same kind; for tracking/walk.h */
/* When the original was made.  false: not known. */
bool vb_cap_originals_btime(const struct vb_cap_originals *o, int fd, int64_t *sec, uint32_t *nsec);

#endif
