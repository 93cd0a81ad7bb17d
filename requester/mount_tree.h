/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/mount_tree.h - backups as one tree of nodes, of which only what is looked at is in memory.
 *
 *     by-time/TIME-ID/HOST/...             all file sets of a host, at their paths
 *     by-host/HOST/TIME-ID/...             the same; latest is a link to the newest usable one
 *     by-component/HOST/WRITER/COMPONENT/TIME-ID/...
 *
 * The upper part is made from the catalog and stays.  What lies in a backup is made when it is looked up, and goes when
 * nobody holds it any more.
 */
#ifndef VB_REQUESTER_MOUNT_TREE_H
#define VB_REQUESTER_MOUNT_TREE_H

#include <sys/types.h>
#include "store/repository.h"

struct vb_mount_node {
    struct vb_mount_node *parent;
    char *name;
    struct vb_mount_node **kids; /* of the upper part: they stay */
    size_t n_kids, cap_kids;
    bool stays;
    uint64_t held;               /* by the kernel, and by nodes below */
    /* of the upper part: file sets begin here, several with different file specifications; they are looked at when they
     * are first needed */
    bool resolved;
    struct vb_name *roots;
    size_t n_roots, cap_roots;
    /* what it is */
    enum vb_tree_type type;
    uint32_t mode, uid, gid, rdev_major, rdev_minor;
    uint64_t size, inode;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    char *target;
    struct vb_name *subtrees;    /* of a directory: what is in it, from each file set that has it */
    size_t n_subtrees, cap_subtrees;
    struct vb_content content;
    struct vb_hole *holes;
    size_t n_holes;
    struct vb_xattr *xattrs;     /* owned */
    size_t n_xattrs;
    struct vb_mount_node *next;  /* in the table of what was looked up */
};

struct vb_mount_tree;
/* Of all backups that can be read; host NULL: of all hosts.  Borrows the repository.  *damaged: records that cannot be. */
struct vb_mount_tree *vb_mount_tree_new(struct vb_repo *r, const char *host, size_t *damaged, struct vb_error *err);
void vb_mount_tree_free(struct vb_mount_tree *t); /* NULL ok */
struct vb_mount_node *vb_mount_tree_root(struct vb_mount_tree *t);
size_t vb_mount_tree_backups(const struct vb_mount_tree *t);

/* What a node says of itself is known after this. */
int vb_mount_resolve(struct vb_mount_tree *t, struct vb_mount_node *n, struct vb_error *err);
/* The node of that name in a directory, held once more; VB_E_NOT_FOUND without a text worth telling. */
struct vb_mount_node *vb_mount_lookup(struct vb_mount_tree *t, struct vb_mount_node *dir, const char *name,
                                      struct vb_error *err);
void vb_mount_drop(struct vb_mount_tree *t, struct vb_mount_node *n, uint64_t times);
/* Names and types in a directory, each once; non-zero from fn stops and is returned. */
typedef int vb_mount_list_fn(void *arg, const char *name, enum vb_tree_type type);
int vb_mount_list(struct vb_mount_tree *t, struct vb_mount_node *dir, vb_mount_list_fn *fn, void *arg, struct vb_error *err);

/* Bytes of a file, as many of n as there are, appended to out.  Pieces read lately are kept, up to a bound. */
int vb_mount_read(struct vb_mount_tree *t, struct vb_mount_node *n, uint64_t offset, size_t len, struct vb_buf *out,
                  struct vb_error *err);

#endif
