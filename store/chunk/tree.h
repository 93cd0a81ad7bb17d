/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/tree.h - the tree object: one directory as bytes.
 *
 * A directory is the list of its entries, sorted by name bytes, encoded canonically: the same entries give the
 * same bytes and thus the same name, so an unchanged directory is stored once and costs nothing afterwards.
 * A small directory is one TREE chunk (a leaf).  A large one is cut into several leaves, where the entry names
 * say so, below a branch that lists them with the first name of each; one name stands for the whole in either
 * case, and a lookup reads one chunk per level.
 *
 * The root of a backed-up path is a directory of exactly one entry: named "." when the path is a directory
 * (so that the directory's own owner, mode and times are kept), or the base name when it is anything else.
 *
 * Hard links: every name of an inode is a full entry with the same non-zero link_group, contents included
 * (chunks are stored once anyway).  Restoring one of the names needs none of the others, and restoring several
 * links those of one group.  There is no "see over there" entry, which a partial restore could not resolve.
 *
 * Bytes from a repository or an agent are foreign: the decoder checks every bound and every rule below, and
 * whatever it accepts encodes to the same bytes again.
 */
#ifndef VB_STORE_CHUNK_TREE_H
#define VB_STORE_CHUNK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/chunk/chunk.h"
#include "store/chunk/content.h"

#define VB_TREE_VERSION 0
#define VB_TREE_MAX_NAME 4095u            /* bytes of one name */
#define VB_TREE_MAX_TARGET 65535u         /* bytes of a symbolic link */
#define VB_TREE_MAX_XATTRS 1024u
#define VB_TREE_MAX_XATTR_BYTES (1u << 20) /* names and values of one entry together */
#define VB_TREE_MAX_HOLES 65536u
#define VB_TREE_MAX_DEPTH 100000u         /* of directories inside each other, for walkers; they keep no stack */
#define VB_TREE_MAX_HEIGHT 8u             /* of branches within one directory */

enum vb_tree_type {
    VB_TREE_FILE = 1,
    VB_TREE_DIR = 2,
    VB_TREE_SYMLINK = 3,
    VB_TREE_FIFO = 4,
    VB_TREE_SOCKET = 5,
    VB_TREE_CHAR = 6,
    VB_TREE_BLOCK = 7
};

struct vb_xattr {
    const char *name; /* with namespace: "user.x", "system.posix_acl_access" */
    const void *value;
    uint32_t len;
};

struct vb_hole {
    uint64_t offset, len; /* len > 0 */
};

/* One entry.  Pointers are borrowed: when encoding they are the caller's, after decoding they point into the
 * struct vb_tree.  Strings end with a zero byte.  Zero-initialise and fill what applies. */
struct vb_tree_entry {
    const char *name; /* 1 .. VB_TREE_MAX_NAME bytes, no '/', not "..", "." only as the entry of a root */
    enum vb_tree_type type;
    uint32_t mode;    /* permission bits and set-id bits: 07777 */
    uint32_t uid, gid;
    const char *user, *group; /* names on the host, "" or NULL when unknown */
    uint64_t size;    /* files: length; symbolic links: of the target; else 0 */
    int64_t mtime_sec;
    uint32_t mtime_nsec; /* < 1000000000 */
    int64_t ctime_sec;   /* for change detection, as inode and device; 0 when not to be kept */
    uint32_t ctime_nsec;
    uint64_t inode;
    uint64_t device;     /* 0 where the number is not stable, as on snapshots: it would rename every directory */
    uint32_t rdev_major, rdev_minor; /* VB_TREE_CHAR, VB_TREE_BLOCK */
    const char *target;  /* VB_TREE_SYMLINK: 1 .. VB_TREE_MAX_TARGET bytes */
    uint64_t link_group; /* not for directories; 0: no other name is known */
    uint32_t inode_flags; /* FS_IOC_GETFLAGS bits that are to be restored */
    const struct vb_xattr *xattrs; /* sorted by name, no duplicates; ACLs are system.posix_acl_* */
    size_t n_xattrs;
    const struct vb_hole *holes;  /* files: ascending, apart, within size; content holds the other bytes */
    size_t n_holes;
    struct vb_content content;    /* files: sizes sum up to size minus holes */
    struct vb_name subtree;       /* directories */
    int64_t btime_sec;            /* when it was made; both 0 when not known. Recorded: no file system lets it be set */
    uint32_t btime_nsec;
    uint32_t project;             /* project id of quotas; 0: none */
};

/* A decoded TREE chunk: a leaf (height 0) with entries, or a branch (height > 0) with children. */
struct vb_tree_child {
    struct vb_name name; /* TREE chunk of height one less */
    uint64_t entries;    /* directory entries below it, > 0 */
    const char *first;   /* name of its first entry */
};
struct vb_tree {
    uint8_t height;
    size_t n;                         /* of entries or children */
    struct vb_tree_entry *entries;    /* height 0 */
    struct vb_tree_child *children;   /* height > 0 */
    void *memory;                     /* private: everything the pointers point into */
};

/* Decodes a TREE chunk; the bytes are copied.  VB_E_CORRUPT (or VB_E_NEWER_FORMAT for a higher version byte).
 * The result is to be released with vb_tree_clear (clearing twice is harmless). */
int vb_tree_decode(const void *p, size_t len, struct vb_tree *t, struct vb_error *err);
void vb_tree_clear(struct vb_tree *t);
#define VB_AUTO_TREE __attribute__((cleanup(vb_tree_clear))) struct vb_tree

/* Encodes a leaf or a branch as one chunk.  Refuses (VB_E_USAGE) what the decoder would refuse. */
int vb_tree_encode(const struct vb_tree *t, struct vb_buf *out, struct vb_error *err);

/* Writes one directory: sorts the n entries (in place), encodes, cuts if need be, emits every TREE chunk and
 * returns the name that stands for the directory.  Duplicate or invalid names: VB_E_USAGE naming the entry.
 * Everything the entries refer to must have been emitted before (children first): the repository refuses a
 * tree that refers to a chunk it has not got. */
int vb_tree_write(struct vb_tree_entry *entries, size_t n, vb_emit_fn *emit, void *arg, struct vb_name *name,
                  struct vb_error *err);

/* The same, entry by entry in the order of their names (as strcmp gives it), with no more in memory than one chunk per
 * level.  After a failure only vb_tree_writer_free is allowed. */
struct vb_tree_writer;
struct vb_tree_writer *vb_tree_writer_new(vb_emit_fn *emit, void *arg);
int vb_tree_writer_add(struct vb_tree_writer *w, const struct vb_tree_entry *e, struct vb_error *err);
int vb_tree_writer_finish(struct vb_tree_writer *w, struct vb_name *name, struct vb_error *err);
void vb_tree_writer_free(struct vb_tree_writer *w); /* NULL ok */

/* True when the entry describes the same file as another look at it did: type, size, times, inode and mode are
 * equal, and ctime and inode are known.  Such a file's content need not be read again. */
bool vb_tree_entry_unchanged(const struct vb_tree_entry *old, const struct vb_tree_entry *now);

/* Calls fn for every chunk that a TREE or LIST chunk refers to directly.  type tells which kind the name must
 * have: VB_CHUNK_TREE, VB_CHUNK_LIST, or 0 for a leaf of a list (DATA or DOC). */
typedef int vb_chunk_ref_fn(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err);
int vb_chunk_refs(enum vb_chunk_type type, const void *p, size_t len, vb_chunk_ref_fn *fn, void *arg,
                  struct vb_error *err);

#endif
