/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/generations.h - the source of the change detector on btrfs snapshots: the file system's own transaction numbers.
 *
 * Every inode carries the number of the transaction that changed it last, and a tree block that of its newest change, so
 * that a search for "changed since" never sees the blocks in which nothing has.  Between two snapshots of one subvolume
 * every inode with a lower number than the first snapshot's is as it was, whatever its times say; its content as well,
 * since new extents, also of stores through mappings and of files without copy-on-write, update it.
 *
 * Needs CAP_SYS_ADMIN.
 */
#ifndef VB_TRACKING_GENERATIONS_H
#define VB_TRACKING_GENERATIONS_H

#include <stdint.h>
#include "base/error.h"
#include "tracking/changes.h"

/* Where a look stood.  Stored as it is, in the machine's byte order. */
struct vb_generation {
    uint8_t file_system[16];
    uint8_t source[16];  /* subvolume that the snapshot was made of */
    uint64_t generation; /* transaction that made it */
    uint64_t top;        /* inode of the tree's top directory */
};

/* Of the snapshot in which the directory fd lies.  -1 (VB_E_NOT_SUPPORTED): no btrfs, no read-only snapshot, one that was
 * written to after it was made, or not allowed. */
int vb_generation_of(int fd, struct vb_generation *g, struct vb_error *err);

/* Marks the directories below fd in which something has changed since `then`.  fd is where vb_generation_of gave `now`.
 * -1: the two have nothing to do with each other, or a failure; then nothing is known.  *inodes: how many had changed. */
int vb_generations(int fd, const struct vb_generation *then, const struct vb_generation *now, struct vb_changes *changes,
                   uint64_t *inodes, struct vb_error *err);

#endif
