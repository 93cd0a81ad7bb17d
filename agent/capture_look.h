/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_look.h - the capture's use of the change detector: what need not be read again, and what the next capture
 * will want to know.
 *
 * One memory (tracking/look.h) per file set, component and repository, below the agent's state directory.  A memory is
 * used only if the repository still has the tree that it ends in, and with it everything below; it is written only when
 * the requester has taken everything.  Without a memory, or with one that cannot be believed, everything is read.
 *
 * The walk keeps one vb_cap_dir per open directory.  All of it does nothing while the capture has no look.
 */
#ifndef VB_AGENT_CAPTURE_LOOK_H
#define VB_AGENT_CAPTURE_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "base/error.h"
#include "store/chunk/tree.h"
#include "tracking/changes.h"
#include "tracking/look.h"

struct vb_capture;
struct vb_cap_look;
struct vb_cap_old;

struct vb_cap_totals {
    uint64_t files, dirs, bytes, left_files, left_dirs;
};

/* What the look knows and gathers of one directory. Zero-initialise. */
struct vb_cap_dir {
    enum vb_change change;
    bool foreign;           /* it is not the directory that was seen under this path */
    struct vb_cap_old *old; /* NULL: nothing is known */
    struct vb_look_entry *rows; /* of the entries taken or left out so far; names owned */
    size_t n_rows, cap_rows;
    struct vb_cap_totals *sub;  /* of the directories among them that were taken, in order */
    size_t n_sub, cap_sub;
    struct vb_cap_totals all;
    struct vb_buf leaves;   /* the entries of its tree so far, each encoded */
    uint32_t n_leaves;
    uint64_t left_files, left_dirs; /* counted for the component when it began */
    bool behind_mark;       /* rows are to be sorted */
    bool again;             /* something in it could not be taken as it is */
    size_t rel_len;         /* of the path without it */
};

/* Begins the look at the current file set.  fd: its top directory, or for a single entry the directory that holds it.
 * -1: stream or worker gone. */
int vb_cap_look_begin(struct vb_capture *c, int fd, bool single, struct vb_error *err);
/* Nothing has changed: the tree of last time stands for all. */
bool vb_cap_look_whole(struct vb_capture *c, struct vb_name *tree, struct vb_cap_totals *all);
/* The tree that the memory of the current file set ends in; false: nothing is known. */
bool vb_cap_look_before(const struct vb_capture *c, struct vb_name *tree);
/* A file was composed of what the memory knows and what its writer says: only a backup that builds on this one may take over
 * what the memory ends in then, any other reads everything. */
void vb_cap_look_composed(struct vb_capture *c);
/* keep: everything is with the requester, and what was seen is kept.  forget: the memory is removed.  NULL ok. */
void vb_cap_look_finish(struct vb_cap_look *l, bool keep, bool forget);
/* Removes memories that no capture has used for long. */
void vb_cap_looks_sweep(const struct vb_capture *c);
/* For the record: "full read (why)", "walk", "generations (...)". */
const char *vb_cap_look_source(const struct vb_cap_look *l);
/* Files that were read, as opposed to recognised. */
uint64_t vb_cap_look_read(const struct vb_cap_look *l);
/* Bytes of content that were read, as opposed to known. */
uint64_t vb_cap_look_bytes_read(const struct vb_cap_look *l);
void vb_cap_look_count_bytes(struct vb_cap_look *l, uint64_t n); /* NULL ok */

/* A directory begins: name is "." for the top; parent NULL above it (name ""). */
void vb_cap_dir_begin(struct vb_capture *c, struct vb_cap_dir *d, const struct vb_cap_dir *parent, const char *name,
                      const struct stat *st);
/* An entry as it goes into the directory's tree, in order. */
void vb_cap_dir_entry(struct vb_capture *c, struct vb_cap_dir *d, const struct vb_tree_entry *e);
/* It ends, under this name. */
void vb_cap_dir_end(struct vb_capture *c, struct vb_cap_dir *d, struct vb_cap_dir *parent, const struct vb_name *tree);
void vb_cap_dir_clear(struct vb_cap_dir *d);

/* The names in a directory that is only led through, in order; *st as it was seen.  false: it was left out, and is again. */
bool vb_cap_dir_known(struct vb_capture *c, struct vb_cap_dir *d, size_t i, const char **name, struct stat *st);
size_t vb_cap_dir_known_count(const struct vb_cap_dir *d);
/* Fills *e from last time if the entry is known not to have changed; for a directory only if nothing below has either. */
bool vb_cap_dir_reuse(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st,
                      struct vb_tree_entry *e);
/* An entry was taken (st as seen before it was read).  closed: a directory that is not entered.  n: bytes of a file, or
 * directories that were counted as left out in its place. */
void vb_cap_dir_took(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st, bool closed,
                     uint64_t n);
/* An entry was left out because of its name or kind; flags VB_LOOK_LEFT: and counted. */
void vb_cap_dir_skipped(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st,
                        unsigned flags);
/* ... because of its size; and counted. */
void vb_cap_dir_left(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st);
/* ... because a mark in the directory says so; told before the other entries, in order. */
void vb_cap_dir_behind_mark(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *kind);
/* The entry as it was last time, NULL if there was none; borrowed from d. */
const struct vb_tree_entry *vb_cap_dir_before(const struct vb_cap_dir *d, const char *name);
/* The entry `name` could not be taken as it is. */
void vb_cap_dir_doubt(struct vb_capture *c, struct vb_cap_dir *d, const char *name);

#endif
