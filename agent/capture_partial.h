/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_partial.h - partial files: what their writers say has changed is read, the rest is as the base has it.
 *
 * Only where the last capture of the file set is the very one that the backup builds on (the tree of the base is the tree that
 * the memory ends in): a writer's ranges are those since that one.  Else, and in a full backup, the file is read whole.  Either
 * way the whole file is in the backup.
 */
#ifndef VB_AGENT_CAPTURE_PARTIAL_H
#define VB_AGENT_CAPTURE_PARTIAL_H

#include <sys/stat.h>
#include "base/error.h"
#include "documents/ranges.h"
#include "store/chunk/tree.h"
#include "wire/msg.h"

struct vb_capture;
struct vb_cap_component;

struct vb_cap_partial {
    char *path;        /* normal path */
    char *read_path;
    char *text;        /* of the ranges */
    char *ranges_read; /* where the ranges file is read; NULL: they stand in the text */
    struct vb_ranges ranges;
    bool known;        /* ranges are valid */
};
/* A file set of the base, and the tree it ended in. */
struct vb_cap_base {
    char *path, *filespec;
    bool recursive;
    struct vb_name tree;
};
struct vb_cap_partials {
    struct vb_cap_partial *v;
    size_t n, cap;
    struct vb_cap_base *bases;
    size_t n_bases, cap_bases;
    bool possible; /* the writer may name some next time: the chunks of large files are remembered */
};
void vb_cap_partials_clear(struct vb_cap_partials *p);

/* PARTIAL {PATH, READ_PATH, RANGES, RANGES_PATH?}; ROOT {PATH, FILESPEC, RECURSIVE, CHUNK_NAME} of the base. */
int vb_cap_partial_parse(struct vb_cap_partials *p, const struct vb_msg *g, struct vb_error *err);
int vb_cap_base_parse(struct vb_cap_partials *p, const struct vb_msg *g, struct vb_error *err);

/* Reads ranges files and holds all ranges against their files: what is wrong is told, and fails the component.  -1: stream or
 * worker gone. */
int vb_cap_partials_check(struct vb_capture *c, struct vb_error *err);
/* The current file set ended in this tree in the backup that this one builds on. */
bool vb_cap_is_base(const struct vb_capture *c, const struct vb_name *tree);
/* The ranges of the file `name` in the current directory, if they tell what has changed since what the memory knows. */
const struct vb_ranges *vb_cap_partial_ranges(const struct vb_capture *c, const char *name);

#endif
