/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_internal.h - shared by restore.c (conversation), restore_check.c (before the first write),
 * restore_write.c (directories), restore_file.c (contents) and restore_meta.c (metadata).
 */
#ifndef VB_AGENT_RESTORE_INTERNAL_H
#define VB_AGENT_RESTORE_INTERNAL_H

#include <sys/stat.h>
#include "agent/chunk_fetcher.h"
#include "agent/dirstack.h"
#include "agent/idmap.h"
#include "base/buf.h"
#include "base/mem.h"

#define VB_RST_MAX_DEPTH 20000u

struct vb_rst_root {
    char *path, *filespec, *target, *source;
    bool recursive;
    struct vb_name name;
    uint64_t files, dirs, bytes;     /* written */
    uint64_t want_files, want_dirs, want_bytes; /* found by the check */
    bool empty_before;               /* the target directory is there and empty: it becomes ours */
    dev_t made_dev;                  /* the directory that another root of the component has made there; 0: none */
    ino_t made_ino;
};

struct vb_rst_component {
    char *class_id, *instance, *writer, *logical_path, *name;
    struct vb_rst_root *roots;
    size_t n_roots, cap_roots;
    struct vb_error error;
    bool touched;                    /* something was written */
    uint64_t warnings;
    uint64_t devices_omitted;        /* device nodes that were left out */
    uint64_t rights_lost;            /* as root: owners, modes, ACLs, capabilities that could not be set */
    uint64_t foreign;                /* entries whose owner could not be set, told once at the end */
    uint64_t flags_lost;             /* and those whose inode flags or project could not be */
    uint64_t links_lost;             /* names that became files of their own */
    uint64_t verified;               /* entries found as they were restored */
    struct vb_idmap links;           /* (link group, 0) -> struct vb_rst_link */
    struct vb_idmap asked;           /* (link group, 0) -> the entry whose content was asked for; compared only */
};

/* An inode with several names that this run has made. */
struct vb_rst_link {
    int fd;                          /* ours from the moment it was made */
    struct vb_name digest;           /* of what all its names must have in common */
    uint32_t flags_later;            /* immutable, append-only: set when all names are there */
    uint64_t *flags_lost;            /* of the component */
};

struct vb_restore {
    int worker_fd;
    struct vb_chunk_fetcher *in;
    struct vb_namer *namer;          /* NULL without a key */
    char *base;                      /* nothing may be put outside of it; NULL: everything goes to its own place */
    bool overwrite, keep_owner, is_root, resume, verify;
    uint64_t max_links;              /* descriptors that may be held for hard links */
    struct vb_rst_component *components;
    size_t n, cap;
    struct vb_rst_component *cur;
    struct vb_rst_root *root;
    uint64_t files, bytes, bytes_total, last_progress_ms;
    struct vb_idmap users, groups;   /* hash of name -> struct vb_rst_owner */
    struct vb_buf path;              /* target path of the directory being written, for messages */
    uint64_t temp_serial;
    bool plain; /* the directory being written is one whose new files have nothing to be taken away from them */
};

/* ---- restore.c ---- */
/* -1 only when stream or worker is gone. name NULL: the current directory. */
int vb_rst_warn(struct vb_restore *r, const char *name, const struct vb_error *what, struct vb_error *err);
int vb_rst_progress(struct vb_restore *r, bool now, struct vb_error *err);
/* Makes everything on the file system of fd durable.  This may take minutes: meanwhile the stream is kept alive. */
int vb_rst_sync(struct vb_restore *r, int fd, struct vb_error *err);
char *vb_rst_path(const struct vb_restore *r, const char *name);
/* Puts "'path': " before an error. Returns -1. */
int vb_rst_name_error(struct vb_restore *r, const char *name, struct vb_error *err);
size_t vb_rst_enter(struct vb_restore *r, const char *name); /* returns what to give to leave */
void vb_rst_leave(struct vb_restore *r, size_t mark);

/* ---- restore_check.c ---- */
/* The one entry that a root, or its SOURCE, stands for; it lies in *scan, which the caller closes. */
int vb_rst_root_entry(struct vb_restore *r, struct vb_rst_root *root, struct vb_dirscan *scan,
                      const struct vb_tree_entry **e, struct vb_error *err);
/* Whether the root's filespec takes an entry of a directory `depth` levels below it. */
bool vb_rst_takes(const struct vb_rst_root *root, const struct vb_tree_entry *e, size_t depth);
/* Splits a target into directory and last element; both owned by the caller. */
void vb_rst_split(const char *target, char **dir, char **base);
/* Reads all trees of the current component, looks at what is in the way, and at the space. Writes nothing. */
int vb_rst_check(struct vb_restore *r, struct vb_error *err);
/* Whether an open regular file has exactly this content, by its chunks' names; holes must read as zeros. */
bool vb_rst_same_content(struct vb_restore *r, int fd, const struct vb_tree_entry *e);
/* The same, and for what has no content: the same kind, a link with the same target. */
bool vb_rst_same_entry(struct vb_restore *r, int dirfd, const char *name, const struct vb_tree_entry *e);
/* Links and special files: the same target, kind and number. */
bool vb_rst_same_special(int dirfd, const char *name, const struct vb_tree_entry *e, const struct stat *st);
/* name NULL: dirfd itself. */
bool vb_rst_is_empty_dir(int dirfd, const char *name);

/* ---- restore_verify.c ---- */
/* Reads all of the current component again from where it was put, past the page cache where that can be had, and
 * compares it with the names of the chunks.  VB_E_CORRUPT: something differs; each was told. */
int vb_rst_verify(struct vb_restore *r, struct vb_error *err);

/* ---- restore_write.c ---- */
int vb_rst_write(struct vb_restore *r, struct vb_error *err);

/* ---- restore_file.c ---- */
/* How the look ahead over a directory and the writing of one file go together. */
struct vb_rst_ahead {
    uint32_t announced;     /* so many chunks of this file were asked for already (contents of level 0 only) */
    void (*more)(void *arg); /* the file has asked for all of its own: ask for what comes next; may be NULL */
    void *arg;
};
/* Everything but directories: made under a temporary name, then renamed. */
int vb_rst_leaf(struct vb_restore *r, int dirfd, const struct vb_tree_entry *e, const char *name,
                const struct vb_rst_ahead *ahead, struct vb_error *err);
void vb_rst_links_end(struct vb_restore *r);

/* ---- restore_meta.c ---- */
/* Owner, extended attributes, mode, times, flags.  path_only: fd is O_PATH (links and special files).  fresh: just made in a
 * plain directory, so that there is nothing to be taken away from it.
 * *later gets the flags that may only be set when all names of the inode are in place (NULL: all at once).
 * What cannot be set is a warning; -1 only when stream or worker is gone. */
int vb_rst_meta(struct vb_restore *r, int fd, bool path_only, bool fresh, const struct vb_tree_entry *e, const char *name,
                uint32_t *later, struct vb_error *err);
/* Whether what is made in this directory, which is ours, has our owner, no flag, no project and no ACL: six calls less for each
 * file. */
bool vb_rst_is_plain(int dirfd);
/* Flags that must be there before the first byte: no copy-on-write, compression. */
void vb_rst_early_flags(int fd, const struct vb_tree_entry *e);
bool vb_rst_late_flags(int fd, uint32_t flags);
/* The owner this host knows: by name if there is one, else by number. */
void vb_rst_owner(struct vb_restore *r, const struct vb_tree_entry *e, uid_t *uid, gid_t *gid);
void vb_rst_meta_clear(struct vb_restore *r);

#endif
