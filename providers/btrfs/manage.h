/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/manage.h - what can be done with a finished shadow copy besides looking at it and deleting it.
 */
#ifndef VB_PROVIDERS_BTRFS_MANAGE_H
#define VB_PROVIDERS_BTRFS_MANAGE_H

#include "providers/btrfs/btrfs.h"

/* See the callbacks of the same names in vbackup/provider.h. */
int vb_btrfs_revert(const struct vb_ps *s, const char *snapshot_id, uint32_t flags, const char *kept_id,
                    const char *kept_set_id);
int vb_btrfs_make_writable(const struct vb_ps *s, const char *snapshot_id, const char *path, int read_only);
#define VB_BTRFS_STAMP 33
int vb_btrfs_stamp(const struct vb_ps *s, const char *snapshot_id, char *stamp, size_t size);
/* parent_id may be NULL */
int vb_btrfs_send(const struct vb_ps *s, const char *snapshot_id, const char *parent_id, int fd, char *stamp, size_t size);
/* Waits until no command receives this shadow copy any more: one whose provider died ends a moment later. */
int vb_btrfs_receive_over(const struct vb_ps *s, const char *snapshot_id);
int vb_btrfs_receive(const struct vb_ps *s, const char *set_id, const char *snapshot_id, const char *dir,
                     const char *stamp, int fd);
/* Reverts that were begun by a process that is gone: finished, or dropped where nothing was exchanged yet and the
 * volume is not there.  Failures are logged; the next one tries again. */
void vb_btrfs_revert_finish(const struct vb_ps *s);

#define VB_BTRFS_GUID 36
/* Whether these n bytes look like the id, and so the name, of a shadow copy. */
bool vb_btrfs_is_guid(const char *name, size_t n);
/* *found: a subvolume in this one that is none of our shadow copies, nor (unless that is NULL) at the same place in
 * this shadow copy; or NULL.  Caller frees.  -1: they cannot be listed. */
int vb_btrfs_foreign_nested(const struct vb_ps *s, const char *subvolume, const char *shadow_copy, char **found);
#define VB_BTRFS_COPYING ".copying-"
/* Removes what killed processes left of copies that they were making. */
void vb_btrfs_copies_finish(const struct vb_ps *s);
/* Fails with VB_E_NOT_SUPPORTED if the shadow copy holds nested ones: what would be made of it would lack them. */
int vb_btrfs_refuse_nested(const struct vb_ps *s, const struct vb_ps_record *r);

/* Programs and threads that have something below this subvolume open, at most `max` bytes of text about them in why;
 * how many.  vb_btrfs_in_use sees what /proc lets us see. */
unsigned vb_btrfs_in_use(const char *subvolume, char *why, size_t max);

#endif
