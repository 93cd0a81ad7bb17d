/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/place.h - a scope where it lives: its store, its root, and our own directory in it.
 *
 * Each scope of a machine has a store of its own, STATE/replica/NAME.db: so each has an identity of its own, two scopes of
 * one machine may replicate with each other, and one that is being replicated holds up no other.
 *
 * The root holds ".vbackup" (mode 0700): the marker (DSN-8), stage/ for what is being received, trash/ for what was
 * overwritten or deleted (DSN-21).  Nothing in it is ever an item (DSN-11).
 */
#ifndef VB_REPLICA_PLACE_H
#define VB_REPLICA_PLACE_H

#include "base/path_filter.h"
#include "tracking/replica.h"

#define VB_PLACE_DIR ".vbackup"
#define VB_PLACE_TICKS 1000000u /* versions that may be minted after an open, or after vb_place_ticks */

/* One name of a file that has several. */
struct vb_inode_name {
    uint64_t inode;
    char *path;
    bool sent;         /* in this pass */
};

struct vb_place {
    struct vb_replica *store;
    struct vb_scope scope;
    struct vb_scope_settings set;
    struct vb_path_filter filter;
    int root;          /* of the tree */
    int own;           /* of ".vbackup" */
    int stage;         /* of ".vbackup/stage" */
    bool privileged;   /* owners and devices can be set */
    uint64_t serial;   /* of staged names */
    unsigned recovered; /* intents that were completed at open */
    struct vb_inode_name *names; /* of files with several names, as the last scan met them, by inode */
    size_t n_names, cap_names;
    bool keep_sums;    /* files that are read now: the sums of their blocks are kept (replica/delta.h) */
    struct vb_blocks **blocks;
    size_t n_blocks, cap_blocks, blocks_size;
};

struct vb_place_setup {
    const char *state_dir;        /* absolute */
    struct vb_replica_setup store; /* machine NULL: /etc/machine-id */
    const struct vb_place *held;   /* one that this process has open while it registers another; NULL: none */
};

/* Registers an existing directory (created if `create`) as a scope.  guid NULL: a new scope, or the one whose marker is
 * there already (a tree that was copied).  VB_E_EXISTS for a known name; VB_E_GUARD if the directory lies in another
 * scope's tree, or holds one. */
int vb_place_add(const struct vb_place_setup *s, const char *name, const char *root, const char *guid, bool create,
                 const struct vb_scope_settings *settings, struct vb_error *err);
/* Opens the store alone: for settings, locks and lists; root is -1.  VB_E_NOT_FOUND without such a scope. */
int vb_place_open_store(const struct vb_place_setup *s, const char *name, struct vb_place **out, struct vb_error *err);
/* Opens all of it, judges the marker, and completes what an interrupted pass left (DSN-7).  VB_E_BUSY: offline (T50). */
int vb_place_open(const struct vb_place_setup *s, const char *name, struct vb_place **out, struct vb_error *err);
/* The same place once more, for a pass in another thread; closed before it. */
int vb_place_share(struct vb_place *p, struct vb_place **out, struct vb_error *err);
void vb_place_close(struct vb_place *p); /* NULL ok */
void vb_place_close_ptr(struct vb_place **p);
#define VB_AUTO_PLACE __attribute__((cleanup(vb_place_close_ptr))) struct vb_place
/* Whether the tree of an opened store is there and the scope's: 0, or -1 with what vb_place_open would say.  Changes nothing;
 * the root is open afterwards if it is there.  A scope registered in advance has none yet, and is in order. */
int vb_place_look(struct vb_place *p, struct vb_error *err);
/* Forgets the scope; the files stay, our own directory goes unless its trash holds something. */
int vb_place_drop(const struct vb_place_setup *s, const char *name, struct vb_error *err);
/* Names of all scopes. */
int vb_place_list(const struct vb_place_setup *s, struct vb_strv *names, struct vb_error *err);

/* Sees to it that VB_PLACE_TICKS versions may be minted; not within a transaction. */
int vb_place_ticks(struct vb_place *p, struct vb_error *err);
/* Whether an item of the scope may have this path: not our own directory, not filtered, within the extent. */
bool vb_place_takes(struct vb_place *p, const char *path, bool is_dir);
/* Letters, digits, '.', '_', '-'; not first '.'; at most 64. */
bool vb_scope_name_valid(const char *name);
/* Default settings of a new scope (T61). */
struct vb_scope_settings vb_scope_defaults(void);

#endif
