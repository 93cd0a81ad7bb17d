/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/tree.h - all changes of a pass at once (tree integrity, REP-20, REP-21).
 *
 * What a pass brings is put into a tree of its own, .vbackup/stage/tree.  At its end the smallest directory that holds all
 * changes is filled up with hard links of what stays, and exchanges names with the live one: a reader that looks a path up
 * finds the old files or the new ones.  Whatever goes wrong before leaves the live tree as it was.  A single change needs
 * none of this: the exchange of one name is enough.
 *
 * The root itself lies in a directory that is not ours: it is exchanged there, under a name beside it.  A root that is a
 * mount point, or lies where we may not write, cannot be: such a pass is refused before it brings anything.
 *
 * ORDER.  Intents of all changes are committed while they are put into the new tree; then the intent "." with the inode of
 * the new directory; then the exchange.  At the next opening that inode tells on which side of the exchange a kill came:
 * before it everything is dropped, after it everything is completed.
 *
 * Changes of others meanwhile: a file that is written in place is the same inode in both trees; names that were made in the
 * old tree after it was linked move over; one that the pass replaced, and was edited in that moment, becomes a conflict's copy.
 * A name removed between the linking and the exchange comes back.
 */
#ifndef VB_REPLICA_TREE_H
#define VB_REPLICA_TREE_H

#include <sys/stat.h>
#include "replica/apply.h"

struct vb_tree;

struct vb_tree *vb_tree_begin(struct vb_place *p, struct vb_error *err);
/* Drops what was not exchanged; NULL ok.  Not within a transaction. */
void vb_tree_free(struct vb_tree *t);
/* Takes over what op brings; its intent was committed.  VB_E_CONFLICT: a directory that should go holds what only we have.
 * VB_E_UNSTABLE: somebody changed that name.  VB_E_NOT_SUPPORTED: the root cannot be exchanged.  op is cleared. */
int vb_tree_take(struct vb_tree *t, struct vb_apply_op *op, struct vb_error *err);
/* A staged file that becomes one of its own, unless there is one. */
int vb_tree_add(struct vb_tree *t, const char *staged, const char *path, struct vb_error *err);
/* Names that go without having come as a change; each deeper one before what holds it.  Returns 1 if it has to stay. */
int vb_tree_drop(struct vb_tree *t, const char *path, bool tombstone, struct vb_error *err);
/* Puts all of it in place, and saves the rows.  *seen gets paths that are to be looked at then. */
int vb_tree_swap(struct vb_tree *t, struct vb_strv *seen, struct vb_error *err);

/* At opening, before the root is: brings a root back whose exchange was cut off. */
int vb_tree_recover_root(struct vb_place *p, struct vb_error *err);
/* Completes or drops. */
int vb_tree_recover(struct vb_place *p, struct vb_error *err);
/* Called between any two steps that a kill may separate; for tests. */
extern void (*vb_tree_step)(void);

/* ---- shared by tree.c, tree_fill.c and tree_swap.c ---- */

#define VB_TREE_NEW "tree"  /* below stage/ */
#define VB_TREE_SWAP "swap" /* likewise: where a directory that is not the root is exchanged */
/* Kinds of intents beside those of enum vb_apply_kind. */
enum { VB_TREE_SWAP_INTENT = 20, VB_TREE_FORGET = 21, VB_TREE_BURY = 22 };

struct vb_path_set {
    uint64_t *slots; /* two of each path's hash */
    size_t n, cap;
};
void vb_path_set_add(struct vb_path_set *s, const char *path);
bool vb_path_set_has(const struct vb_path_set *s, const char *path);

struct vb_tree {
    struct vb_place *p;
    int fd;                  /* stage/tree */
    char *top;               /* the smallest directory that holds all changes, "" the root; NULL: there is none */
    uint64_t ops;
    struct vb_apply_op held; /* the only change so far */
    bool holds;
    struct vb_path_set gone; /* names that are deleted */
    struct vb_strv stale;    /* linked, but not as the row knows it */
    struct vb_strv seen;
};
void vb_tree_at_step(void);
bool vb_live_is_dir(struct vb_place *p, const char *path);
/* The directory of path in the new tree, made with all above it. */
int vb_tree_parent(struct vb_tree *t, const char *path, const char **name, struct vb_error *err);

/* ---- tree_fill.c ---- */
/* A hard link, or where none can be had a copy with all attributes.  *copied tells. */
int vb_tree_link(int from, const char *name, int to, const char *as, const struct stat *st, bool *copied);
/* A copy of the content or target alone; mode 0600. */
int vb_tree_copy(int from, const char *name, int to, const char *as, const struct stat *st);
/* Owner, extended attributes and mode of an open file or directory, as far as we may. */
void vb_tree_copy_attrs(int from, int to, const struct stat *st);
/* Links everything that is live below path, and neither gone nor there already.  fresh: the new directory was made for this. */
int vb_tree_fill(struct vb_tree *t, int live, int staged, const char *path, bool fresh, struct vb_error *err);

#endif
