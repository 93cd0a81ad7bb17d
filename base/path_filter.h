/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/path_filter.h - rules by which a walk through directories leaves something out: pure, over bytes of paths.
 *
 * A rule is one line of text, KIND:VALUE, so that it can travel through options, documents and messages as it is:
 *     pattern:PATTERN      files and directories, with all below, whose path matches
 *     ipattern:PATTERN     the same, ASCII letters of either case alike
 *     larger-than:SIZE     regular files that are larger (bytes, or 500M)
 *     caches:              what is in a directory with a genuine CACHEDIR.TAG (the tag stays)
 *     marker:NAME          what is in a directory that has an entry of this name (which stays)
 *     one-file-system:     what is mounted below
 *
 * A pattern that begins with '/' means the whole path.  One with a '/' further on means the last elements of a path, one
 * without the last element.  A '/' at the end: directories only.  '*' and '?' stand for bytes and for one character other
 * than '/', '[a-z]' and '[!a-z]' for a byte, '\' takes the next byte as it is; an element '**' stands for any number of
 * elements.
 */
#ifndef VB_BASE_PATH_FILTER_H
#define VB_BASE_PATH_FILTER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

struct vb_path_filter {
    struct vb_path_pattern { char *text; bool fold; } *patterns;
    size_t n, cap;
    struct vb_strv markers;
    uint64_t larger_than; /* 0: no limit */
    bool caches, one_file_system;
    struct vb_buf path;   /* scratch */
};

/* VB_E_USAGE for what is no rule. */
int vb_path_filter_add(struct vb_path_filter *f, const char *rule, struct vb_error *err);
void vb_path_filter_clear(struct vb_path_filter *f);

/* Whether a pattern leaves the entry `name` of the directory `dir` (absolute, clean) out. */
bool vb_path_filter_drops(struct vb_path_filter *f, const char *dir, const char *name, bool is_dir);
/* One pattern against one absolute, clean path. Takes time in the order of both lengths multiplied, whatever is in them. */
bool vb_path_pattern_match(const char *pattern, bool fold, const char *path, bool is_dir);

#endif
