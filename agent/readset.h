/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/readset.h - which files a file set means: pure rules over normal paths (C-32 to C-37, B-48, B-50, B-51).
 */
#ifndef VB_AGENT_READSET_H
#define VB_AGENT_READSET_H

#include <stdbool.h>
#include <stddef.h>
#include "base/path_filter.h"

struct vb_readset {
    char *path;      /* normal path: absolute, clean; what is recorded and what exclusions are tested with */
    char *read_path; /* where to read; equals path when there is no shadow copy and no alternate path */
    char *filespec;  /* NULL: the path itself, whatever it is, and all below */
    bool recursive;
    bool live;       /* it may change while it is read */
    bool cross;      /* follow mount points */
    struct vb_path_filter filter;
};
void vb_readset_clear(struct vb_readset *f);

struct vb_leave_out {
    char *path, *filespec;
    bool recursive;
    bool directories; /* leaves out matching directories as well, with all below */
};
struct vb_leave_outs {
    struct vb_leave_out *v;
    size_t n, cap;
};
void vb_leave_outs_clear(struct vb_leave_outs *x);

/* Whether a filespec is a pattern, which may match nothing, or a name, which must be there (B-50). */
bool vb_readset_is_pattern(const char *filespec);
/* Valid: not empty, no directory part (C-33). */
bool vb_readset_filespec_valid(const char *filespec);

/* Whether the file `name` in a directory is chosen: depth 0 is the file set's own directory. filespec NULL: all. */
bool vb_readset_takes(const char *filespec, bool recursive, size_t depth, const char *name);

/* Whether the file set has anything to do below a sub-directory: with recursion all are recreated (B-51). */
bool vb_readset_descends(const char *filespec, bool recursive);

/* What the exclusions say of an entry `name` in the directory with the normal path `dir` (B-48, C-37). */
bool vb_leave_outs_file(const struct vb_leave_outs *x, const char *dir, const char *name);
/* The directory itself is left out: only by an exclusion that names directories. */
bool vb_leave_outs_directory(const struct vb_leave_outs *x, const char *dir, const char *name);
/* No file of this directory and below can be chosen: it is recorded, but need not be read. */
bool vb_leave_outs_below(const struct vb_leave_outs *x, const char *dir);

#endif
