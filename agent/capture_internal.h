/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_internal.h - shared by capture.c (conversation), capture_walk.c (directories), capture_entry.c
 * (metadata) and capture_file.c (contents).
 */
#ifndef VB_AGENT_CAPTURE_INTERNAL_H
#define VB_AGENT_CAPTURE_INTERNAL_H

#include <sys/stat.h>
#include "agent/capture_look.h"
#include "agent/capture_originals.h"
#include "agent/capture_partial.h"
#include "agent/chunk_sender.h"
#include "agent/readset.h"
#include "agent/idmap.h"
#include "base/buf.h"
#include "base/mem.h"
#include "store/chunk/content.h"
#include "store/chunk/cutter.h"
#include "store/chunk/tree.h"

struct vb_cap_root {
    struct vb_name name;
    uint64_t files, dirs, bytes;
    bool made;
    struct vb_cap_look *look; /* NULL before it is begun */
};

struct vb_cap_component {
    char *class_id, *instance, *writer, *logical_path, *name;
    uint64_t consistency;
    bool database;
    struct vb_readset *filesets;
    size_t n_filesets, cap_filesets;
    struct vb_leave_outs excludes;
    struct vb_cap_root *roots; /* one per file set */
    struct vb_error error;     /* the first failure (B-54) */
    bool partial;              /* something was read that may not be as it was, or was left out */
    uint64_t warnings;
    uint64_t left_files, left_dirs; /* by exclusions and rules */
    struct vb_idmap links;     /* (device, inode) -> struct vb_cap_link */
    struct vb_idmap groups;    /* (group, 0) -> any pointer: taken */
    uint64_t next_group;
    struct vb_cap_partials partials;
};

/* An inode with several names: its content is read once (B-53). */
struct vb_cap_link {
    uint64_t group;
    bool have; /* content and holes are valid, as of the first name */
    struct vb_tree_entry entry;
};

struct vb_capture {
    int worker_fd;
    struct vb_namer *namer;
    struct vb_chunk_sender *out;
    struct vb_cutter *cutter[2]; /* files, databases */
    uint32_t cut_max[2];
    struct vb_content_builder *builder;
    unsigned char *window;       /* read buffer, VB_CAP_READ + largest chunk */
    size_t window_size;
    struct vb_cap_component *components;
    size_t n, cap;
    struct vb_cap_component *cur; /* component, file set and root being captured */
    struct vb_readset *set;
    struct vb_cap_root *root;
    bool stable_ids;   /* inode numbers are those of the original */
    bool noatime;
    uint64_t files, bytes, last_progress_ms;
    struct vb_idmap users, groups_by_id; /* (number, 0) -> name */
    struct vb_buf path; /* normal path of the directory being read */
    /* change detection */
    char *looks;          /* directory of the memories; NULL: none */
    bool no_detector;     /* everything is to be read */
    int64_t began;        /* wall clock before the shadow copies were made, nanoseconds; 0: not known */
    uint64_t volume_mix;  /* tells volumes apart where inode numbers are compared */
    struct vb_buf cut_bytes; /* the cutters' parameters, as they came */
    struct vb_cap_look *look; /* of the current root */
    struct vb_cap_originals *originals; /* of the shadow copy that is read; NULL: no such records */
    struct vb_cap_dir *dir;   /* in which an entry is being taken; NULL: none */
    struct vb_buf rel;    /* path of the directory being read, as the look names it */
    bool doubt;           /* something was told since it was last cleared */
};

#define VB_CAP_READ ((size_t)1 << 20)

/* ---- capture.c: reporting.  Each returns -1 only when the stream or the worker is gone. ---- */
/* A file could not be captured: told by name, and its component fails (B-54). */
int vb_cap_fail_path(struct vb_capture *c, const char *name, const struct vb_error *why, struct vb_error *err);
/* Worth knowing, the component is partial. name is relative to the current directory, NULL for the directory itself. */
int vb_cap_warn_path(struct vb_capture *c, const char *name, enum vb_code code, const char *text,
                     struct vb_error *err);
/* Worth knowing, but what was taken is as good as without it. */
int vb_cap_note_path(struct vb_capture *c, const char *name, enum vb_code code, const char *text, struct vb_error *err);
int vb_cap_progress(struct vb_capture *c, bool now, struct vb_error *err);
/* Normal path of a name in the current directory for messages; caller frees. */
char *vb_cap_path(const struct vb_capture *c, const char *name);

/* ---- capture_walk.c ---- */
/* Captures the current file set into its root.  0 also when files failed (cur->error), -1: stream or worker gone. */
int vb_cap_fileset(struct vb_capture *c, struct vb_error *err);

/* ---- capture_entry.c ---- */
/* Opens for reading without touching the access time where that is allowed. */
int vb_cap_open(struct vb_capture *c, int dirfd, const char *name, const struct stat *st, int flags);
/* Name, kind, mode, owner, times from st; ids only where they are stable. */
void vb_cap_entry_stat(struct vb_capture *c, struct vb_tree_entry *e, const char *name, const struct stat *st);
/* Extended attributes and inode flags through a descriptor, or (O_PATH) through /proc/self/fd. */
int vb_cap_entry_attrs(const struct vb_capture *c, struct vb_tree_entry *e, int fd, bool path_only, struct vb_error *err);
void vb_cap_entry_clear(struct vb_tree_entry *e);
/* A copy with owned strings; the owners' names are those of today. */
void vb_cap_entry_copy(struct vb_capture *c, struct vb_tree_entry *to, const struct vb_tree_entry *from);
/* Copies content and holes of one entry to another. */
void vb_cap_entry_copy_content(struct vb_tree_entry *to, const struct vb_tree_entry *from);

/* ---- capture_file.c ---- */
/* Result of reading something that may fail alone. */
enum vb_cap_result {
    VB_CAP_LOST = -1,  /* stream or worker gone: give up */
    VB_CAP_TAKEN = 0,
    VB_CAP_FAILED = 1, /* *why says what */
    VB_CAP_VANISHED = 2 /* live only */
};
/* Everything that is not a directory. Fills *e. */
enum vb_cap_result vb_cap_leaf(struct vb_capture *c, int dirfd, const char *name, const struct stat *st,
                               struct vb_tree_entry *e, struct vb_error *why);

#endif
