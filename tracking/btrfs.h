/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/btrfs.h - reading the trees of a btrfs.  Needs CAP_SYS_ADMIN.
 */
#ifndef VB_TRACKING_BTRFS_H
#define VB_TRACKING_BTRFS_H

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include "base/error.h"

#define VB_BTRFS_SEARCH_BUFFER ((size_t)256 << 10)

/* One item of a tree; p is not aligned, h->len bytes long. */
typedef int vb_btrfs_item_fn(void *arg, const struct btrfs_ioctl_search_header *h, const unsigned char *p,
                             struct vb_error *err);

/* Memory for searches. Caller frees. */
struct btrfs_ioctl_search_args_v2 *vb_btrfs_search_new(void);
/* Calls fn for the items between two keys, in order.  tree_id 0 in the key: the subvolume of fd.  The same error as fn's
 * ends it. */
int vb_btrfs_search(int fd, struct btrfs_ioctl_search_args_v2 *a, const struct btrfs_ioctl_search_key *from,
                    vb_btrfs_item_fn *fn, void *arg, struct vb_error *err);
/* The same with one call of the file system, from->nr_items items at most.  *n: how many there were. */
int vb_btrfs_search_some(int fd, struct btrfs_ioctl_search_args_v2 *a, const struct btrfs_ioctl_search_key *from,
                         vb_btrfs_item_fn *fn, void *arg, struct btrfs_ioctl_search_header *last, uint32_t *n,
                         struct vb_error *err);

#endif
