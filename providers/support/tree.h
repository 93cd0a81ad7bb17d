/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/tree.h - copying trees with everything a capture looks at: contents cloned or copied, hard links,
 * special files, owners, modes, times to the nanosecond, extended attributes (ACLs, capabilities), flags.
 */
#ifndef VB_PROVIDERS_TREE_H
#define VB_PROVIDERS_TREE_H

#include <linux/fs.h>
#include "providers/support/originals.h"
#include "providers/support/support.h"

#define VB_PS_LOCKING_FLAGS ((unsigned)(FS_IMMUTABLE_FL | FS_APPEND_FL))

struct vb_ps_tree {
    const struct vb_ps *s;
    int stage;              /* directory the copies go to, under their whole names */
    bool clone;             /* share the contents (FICLONE); else copy the bytes */
    uint64_t max_bytes, max_files; /* 0: no limit; more is a failure, at once */
    /* counted over all trees */
    uint64_t bytes, files;
    bool over;              /* measuring ended at a limit */
    void *links;            /* inodes with several names that were met */
    struct vb_ps_originals *originals; /* where they are recorded; NULL: nowhere */
};

/* Copies the file, directory or other entry `path` to the same path below the stage; missing parents are made.  What is
 * not there, or vanishes between being listed and being opened, was removed before the instant.  Anything else that
 * cannot be copied whole is a failure: then what was made so far is the caller's to remove.  Access times of the
 * originals are left alone where we may. */
int vb_ps_tree_copy(struct vb_ps_tree *t, const char *path);
void vb_ps_tree_clear(struct vb_ps_tree *t);

/* Counts what a copy would take, without copying: t->bytes, t->files.  Beyond a limit it ends at once with t->over and
 * without a failure. */
int vb_ps_tree_measure(struct vb_ps_tree *t, const char *path);

/* Removes a directory with everything below it; missing is fine. */
int vb_ps_tree_remove(const struct vb_ps *s, const char *path);

/* Two descriptors a level: as many open files as we may have. */
void vb_ps_tree_more_descriptors(void);

/* The record's list of trees from a volume's; NULL with a failure if a name cannot be kept in it. */
char *vb_ps_tree_join(const struct vb_ps *s, const struct vb_provider_volume *vol);
/* Copies every tree of such a list. */
int vb_ps_tree_copy_list(struct vb_ps_tree *t, const char *list);

#endif
