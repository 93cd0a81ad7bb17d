/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/walk.h - the source of the change detector that needs no help: a parallel walk that compares every entry with
 * what the last look saw.
 *
 * Reads directories and examines entries (getdents64, statx relative to the directory), in several threads; opens no
 * file.  Whatever cannot be examined, lies on another file system, or is not settled, makes its directory dirty.
 */
#ifndef VB_TRACKING_WALK_H
#define VB_TRACKING_WALK_H

#include <stdbool.h>
#include <sys/stat.h>
#include "base/error.h"
#include "base/mem.h"
#include "tracking/changes.h"

struct vb_walk_options {
    unsigned threads;  /* 0: as many as processors, at most 4 */
    bool noatime;      /* open directories without touching their access time */
    /* Asked now and then by the calling thread; false ends the walk with VB_E_CANCELLED. NULL: never. */
    bool (*go_on)(void *arg);
    void *arg;
    /* What is examined is a copy: puts the original's identity in its place. From any thread. NULL: it is the original. */
    void (*original)(const void *originals, struct statx *x);
    const void *originals;
};

struct vb_walk_counts {
    unsigned long dirs, entries;
};

/* Compares the directory `fd` and all below it with the memory at look_path.  What differs is marked in *changes. */
int vb_walk(const char *look_path, int fd, const struct vb_walk_options *o, struct vb_changes *changes,
            struct vb_walk_counts *counts, struct vb_error *err);

/* The same for these directories only ("." or "./a/b"), and the top's own entry: of the others nothing is marked.  What is
 * no directory of the memory is passed over, unless the row above says that it should be one.  The memory's directories
 * that are to be looked at again (vb_look_each_again) are marked, those to be examined each time are compared as well. */
int vb_walk_some(const char *look_path, int fd, const struct vb_strv *paths, const struct vb_walk_options *o,
                 struct vb_changes *changes, struct vb_walk_counts *counts, struct vb_error *err);

#endif
