/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/manage.h - what can be done with a finished shadow copy besides looking at it and deleting it.
 */
#ifndef VB_PROVIDERS_BTRFS_MANAGE_H
#define VB_PROVIDERS_BTRFS_MANAGE_H

#include "providers/support/support.h"

#define VB_BTRFS_ROOT_INODE 256 /* of every subvolume */

/* See the callbacks of the same names in vbackup/provider.h. */
int vb_btrfs_revert(const struct vb_ps *s, const char *snapshot_id, uint32_t flags, const char *kept_id,
                    const char *kept_set_id);
int vb_btrfs_make_writable(const struct vb_ps *s, const char *snapshot_id, const char *path, int read_only);
/* Reverts that were begun by a process that is gone: finished, or dropped where nothing was exchanged yet and the
 * volume is not there.  Failures are logged; the next one tries again. */
void vb_btrfs_revert_finish(const struct vb_ps *s);

/* Programs and threads that have something below this subvolume open, at most `max` bytes of text about them in why;
 * how many.  vb_btrfs_in_use sees what /proc lets us see. */
unsigned vb_btrfs_in_use(const char *subvolume, char *why, size_t max);

#endif
