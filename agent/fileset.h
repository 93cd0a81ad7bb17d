/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/fileset.h - which files a file set means: pure rules over normal paths (C-32 to C-37, B-48, B-50, B-51).
 */
#ifndef VB_AGENT_FILESET_H
#define VB_AGENT_FILESET_H

#include <stdbool.h>
#include <stddef.h>

struct vb_fileset {
    char *path;      /* normal path: absolute, clean; what is recorded and what exclusions are tested with */
    char *read_path; /* where to read; equals path when there is no shadow copy and no alternate path */
    char *filespec;  /* NULL: the path itself, whatever it is, and all below */
    bool recursive;
    bool live;       /* it may change while it is read */
    bool cross;      /* follow mount points */
};
void vb_fileset_clear(struct vb_fileset *f);

struct vb_exclude {
    char *path, *filespec;
    bool recursive;
    bool directories; /* leaves out matching directories as well, with all below */
};
struct vb_excludes {
    struct vb_exclude *v;
    size_t n, cap;
};
void vb_excludes_clear(struct vb_excludes *x);

/* Whether a filespec is a pattern, which may match nothing, or a name, which must be there (B-50). */
bool vb_filespec_is_pattern(const char *filespec);
/* Valid: not empty, no directory part (C-33). */
bool vb_filespec_valid(const char *filespec);

/* Whether the file `name` in a directory is chosen: depth 0 is the file set's own directory. filespec NULL: all. */
bool vb_fileset_takes(const char *filespec, bool recursive, size_t depth, const char *name);

/* Whether the file set has anything to do below a sub-directory: with recursion all are recreated (B-51). */
bool vb_fileset_descends(const char *filespec, bool recursive);

/* What the exclusions say of an entry `name` in the directory with the normal path `dir` (B-48, C-37). */
bool vb_excludes_file(const struct vb_excludes *x, const char *dir, const char *name);
/* The directory itself is left out: only by an exclusion that names directories. */
bool vb_excludes_directory(const struct vb_excludes *x, const char *dir, const char *name);
/* No file of this directory and below can be chosen: it is recorded, but need not be read. */
bool vb_excludes_below(const struct vb_excludes *x, const char *dir);

#endif
