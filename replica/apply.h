/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/apply.h - files put into a tree, and out of it, so that each is either old or new whatever happens (DSN-7).
 *
 * ORDER.  Contents are staged and synced; the store commits an intent for each; names are exchanged; the store commits the
 * rows and drops the intents.  What an intent names is found again by vb_apply_recover: in place, it takes the foreign
 * version it came with; not in place, it never happened.
 *
 * Nothing is overwritten: the name is exchanged with the staged file's, then what was there goes to the trash, or to the
 * name of a conflict's copy.
 */
#ifndef VB_REPLICA_APPLY_H
#define VB_REPLICA_APPLY_H

#include <sys/stat.h>
#include "replica/place.h"
#include "replica/stream.h"

/* What is to be done with one name. */
enum vb_apply_kind {
    VB_APPLY_PUT = 1,   /* the staged file takes the name */
    VB_APPLY_DIR = 2,   /* a directory, made or its attributes set */
    VB_APPLY_META = 3,  /* attributes only */
    VB_APPLY_TRASH = 4, /* the name goes */
    VB_APPLY_RMDIR = 5, /* an empty directory goes */
    VB_APPLY_ROW = 6    /* nothing on disk */
};
struct vb_apply_op {
    enum vb_apply_kind kind;
    struct vb_row row;     /* as it will be saved: `changed` is the version it gets */
    char *staged;          /* name in stage/, or NULL */
    uint64_t expect;       /* vb_file_identity of what is there now; 0: nothing is */
    char *copy_to;         /* what was there becomes the item of this path; NULL: it goes to the trash */
    struct vb_version learnt; /* of the item as the source has it; tick 0: nothing to learn */
    bool done;
};
void vb_apply_op_clear(struct vb_apply_op *op);

/* Inode, size, times of content: what stays when a file is renamed.  Never 0. */
uint64_t vb_file_identity(const struct stat *st);
/* The same of what is at path now; 0 if nothing is. */
uint64_t vb_path_identity(struct vb_place *p, const char *path);

/* How many names the file at path has; 0: there is none. */
uint64_t vb_path_links(struct vb_place *p, const char *path);

/* A new, unused name in stage/. */
char *vb_stage_name(struct vb_place *p);
/* Saves the intents of all ops, in one transaction of its own. */
int vb_apply_intend(struct vb_place *p, struct vb_apply_op *ops, size_t n, struct vb_error *err);
/* Does it.  VB_E_UNSTABLE: somebody else changed that name meanwhile; it is as it was.  VB_E_CONFLICT: a directory is in the
 * way that is not empty.  made: directories that had to be made on the way are added. */
int vb_apply_do(struct vb_place *p, struct vb_apply_op *op, struct vb_strv *made, struct vb_error *err);
/* Syncs the tree, saves the rows of those that are done, drops all intents, in one transaction. */
int vb_apply_settle(struct vb_place *p, struct vb_apply_op *ops, size_t n, struct vb_error *err);
/* The row and item knowledge of one that is done.  Needs a transaction; now: vb_file_clock. */
int vb_apply_save(struct vb_place *p, struct vb_apply_op *op, const struct timespec *now, struct vb_error *err);
/* As intents keep them. */
void vb_apply_encode(const struct vb_apply_op *op, struct vb_buf *out);
bool vb_apply_decode(const struct vb_intent *i, struct vb_apply_op *op);
/* Completes or drops what a killed pass left; clears stage/ of what nobody will ask for. */
int vb_apply_recover(struct vb_place *p, struct vb_error *err);

/* Moves what is at a name (dirfd, name) to the trash as `path`.  Missing is fine. */
int vb_trash(struct vb_place *p, int dirfd, const char *name, const char *path, struct vb_error *err);
/* What lies in the trash: files that are no directories, and their bytes. */
int vb_trash_size(struct vb_place *p, uint64_t *files, uint64_t *bytes, struct vb_error *err);
/* Removes what was thrown away longer than trash-keep ago.  *removed: entries. */
int vb_trash_expire(struct vb_place *p, int64_t now_ms, uint64_t *removed, struct vb_error *err);

#endif
