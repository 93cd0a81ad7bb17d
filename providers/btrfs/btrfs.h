/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/btrfs.h - subvolumes inside subvolumes: what a snapshot of the outer one leaves out, and how it is put
 * back in.  Shared by btrfs.c and nested.c.
 */
#ifndef VB_PROVIDERS_BTRFS_H
#define VB_PROVIDERS_BTRFS_H

#include <btrfsutil.h>

#include "providers/support/support.h"

#define VB_BTRFS_ROOT_INODE 256
#define VB_BTRFS_STUB_INODE 2 /* of the empty directory that a snapshot shows where another subvolume was */

/* A subvolume below the one that is snapshotted, which is to be part of the shadow copy. */
struct vb_btrfs_nested {
    char *path; /* below the outer one, without a leading separator */
    int fd;
    struct vb_btrfs_nested *next; /* outer ones before inner ones */
};

/* NULL, or why this user may not snapshot (and delete) the subvolume. */
const char *vb_btrfs_user_refusal(const char *path, const struct stat *st);

/* Those that hold parts of the volume's trees, as a list; NULL: none is to be included.  why (may be NULL): says which are
 * part of the shadow copy and which are not. */
struct vb_btrfs_nested *vb_btrfs_nested_find(const struct vb_ps *s, const struct vb_provider_volume *vol, char *why,
                                             size_t size);
void vb_btrfs_nested_free(struct vb_btrfs_nested *list);
/* Opens them; who is gone meanwhile is dropped from the list. */
int vb_btrfs_nested_open(const struct vb_ps *s, const char *root, struct vb_btrfs_nested **list);
/* Snapshots each at its place in the snapshot of the outer one, which is writable still. */
int vb_btrfs_nested_snapshot(const struct vb_ps *s, const struct vb_btrfs_nested *list, int snapshot);

/* A copy of a shadow copy with all that are nested in it, at a path that does not exist; nothing is left of a failure, and of
 * a kill a part of it. */
int vb_btrfs_copy(const struct vb_ps *s, const char *shadow_copy, const char *at, bool read_only);

/* For a subvolume with all that are in it. */
int vb_btrfs_set_read_only(const struct vb_ps *s, const char *path, bool read_only);
int vb_btrfs_delete(const struct vb_ps *s, const char *path);

/* The failure of a call of libbtrfsutil; returns -1. */
int vb_btrfs_failed(const struct vb_ps *s, enum btrfs_util_error e, const char *what, const char *path);

#endif
