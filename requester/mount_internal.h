/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* requester/mount_internal.h - what mount_tree.c and mount_read.c share. */
#ifndef VB_REQUESTER_MOUNT_INTERNAL_H
#define VB_REQUESTER_MOUNT_INTERNAL_H

#include "requester/mount_tree.h"

#define VB_MOUNT_BUCKETS 65536u
#define VB_MOUNT_TREES 64u
#define VB_MOUNT_PIECES 256u
#define VB_MOUNT_PIECES_BYTES ((size_t)32 << 20)

struct vb_mount_tree_chunk {
    struct vb_name name;
    uint64_t used; /* 0: empty */
    struct vb_tree t;
};

struct vb_mount_piece {
    struct vb_name name;
    uint64_t used;
    struct vb_buf bytes; /* of data, or of a list */
};

struct vb_mount_tree {
    struct vb_repo *repo;
    struct vb_mount_node root;
    size_t backups;
    uint64_t clock;
    struct vb_mount_tree_chunk trees[VB_MOUNT_TREES];
    struct vb_mount_piece pieces[VB_MOUNT_PIECES];
    size_t pieces_bytes;
    struct vb_mount_node *table[VB_MOUNT_BUCKETS];
};

#endif
