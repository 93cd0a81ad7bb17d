/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/changes.h - the answer of every source of the change detector: which directories are to be looked at again.
 *
 * Paths are relative to the tree: "." is its top, "./a/b" a directory in it, and "" stands above the top and has the
 * single entry "." (the top directory's own metadata).
 *
 * A directory that is DIRTY has (or may have) other entries, or entries whose metadata or content changed.  One that is
 * only led THROUGH is as it was, but something deeper is not.  A CLEAN directory is as it was with everything below it.
 * Nothing is known of an UNKNOWN directory nor of anything below it, whatever the directories below are marked as.
 */
#ifndef VB_TRACKING_CHANGES_H
#define VB_TRACKING_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vb_change { VB_CHANGE_CLEAN = 0, VB_CHANGE_THROUGH = 1, VB_CHANGE_DIRTY = 2, VB_CHANGE_UNKNOWN = 3 };

struct vb_changes;
struct vb_changes *vb_changes_new(void);
void vb_changes_free(struct vb_changes *c); /* NULL ok */
/* Marks a directory dirty and all above it as led through.  From any thread. */
void vb_changes_mark(struct vb_changes *c, const char *path);
/* The same for a directory that could not be looked into: whoever asks for one below it gets what was marked there. */
void vb_changes_mark_unknown(struct vb_changes *c, const char *path);
/* A directory with this inode, wherever it is met, is not known to be the one that was there. */
void vb_changes_mark_moved(struct vb_changes *c, uint64_t ino);
bool vb_changes_moved(const struct vb_changes *c, uint64_t ino);
enum vb_change vb_changes_of(const struct vb_changes *c, const char *path);
size_t vb_changes_count(const struct vb_changes *c); /* of dirty and unknown directories */
/* Calls fn for every marked directory, in no order. */
void vb_changes_each(const struct vb_changes *c, void (*fn)(void *arg, const char *path, enum vb_change what), void *arg);

/* The directory above, as length of the path: "./a/b" -> 3, "./a" -> 1, "." -> 0. "" has none. */
size_t vb_changes_parent_len(const char *path);

#endif
