/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/receive.h - what the files of the destination's half share: receive.c (conversation), decide.c (one row), take.c
 * (contents), finish.c (the end). */
#ifndef VB_REPLICA_RECEIVE_H
#define VB_REPLICA_RECEIVE_H

#include "replica/apply.h"
#include "replica/pass.h"
#include "replica/tree.h"

struct vb_incoming {
    struct vb_row row;
    struct vb_item local;       /* path NULL: there is no row */
    enum vb_decision decision;
    struct vb_apply_op op;
    bool acts;                  /* op is to be done */
    bool late;                  /* at the end of the pass: directories that go, files that replace one */
    bool needs;                 /* its content, as `staged` */
    char *staged;
    int fd;                     /* of it while it arrives */
    uint64_t offset;            /* so much of it is there */
    struct vb_hasher *sum;
    size_t same_as;             /* a row of this batch has the same content: its index + 1 */
    bool as_link;               /* ... and is another name of the same inode */
    bool delta;                 /* asked for by blocks, and none came yet */
    bool loser_copy;            /* the content is the loser's: it becomes a file of its own, or goes to the trash */
    bool finished;              /* staged, verified, with all that belongs to it */
    bool failed;
    enum vb_conflict_policy policy; /* of this item: the pass's, or what the user chose for it */
};

struct vb_dir_time {
    char *path;
    int64_t mtime_ns;
};

struct vb_receiver {
    struct vb_place *p;
    struct vb_rstream *s;
    const struct vb_pass_options *o;
    struct vb_pass_result *out;
    struct vb_knowledge *own, *source, *forgotten;
    enum vb_conflict_policy policy;
    struct timespec now;
    struct vb_strv except;      /* not learnt */
    size_t heard;               /* bytes of what END says */
    bool unlearnt;              /* it said too much to be kept: only single items are learnt */
    struct vb_dir_time *times;  /* of directories, to be set at the end */
    size_t n_times, cap_times;
    uint64_t live;              /* items at the beginning */
    struct vb_strv resolved;    /* minted here in this pass: no extras */
    struct vb_strv sent;        /* paths, with `full` */
    struct vb_incoming *rows;   /* of the batch */
    size_t n, cap;
    struct vb_incoming *late;
    size_t n_late, cap_late;
    bool whole;                 /* tree integrity: everything at once, or nothing */
    struct vb_tree *tree;       /* then, from the first change on */
    bool bundle, full;
    bool sync_all;              /* what is staged is synced at the end of the batch */
    uint64_t number;            /* of the bundle in its series */
    char *from;                 /* replica that sends, in hexadecimal; owned */
    uint64_t items;
    bool held;                  /* conflicts were left to the user before */
};

/* ---- decide.c ---- */
/* Looks at the local side of a row, decides, and fills op.  Within a transaction. */
int vb_decide(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err);
/* What a tombstone makes of a live local item, for the extras of exact scopes as well. */
void vb_plan_delete(struct vb_receiver *x, struct vb_incoming *in);
void vb_incoming_clear(struct vb_incoming *in);
/* Not applied: its knowledge is not learnt. */
void vb_receive_leave(struct vb_receiver *x, struct vb_incoming *in, const struct vb_error *why);
void vb_receive_tell(struct vb_receiver *x, enum vb_action a, const char *path, const char *other);

/* ---- take.c ---- */
/* Asks for the contents that are needed and not at hand, receives them into stage/, finishes the staged files. */
int vb_take_contents(struct vb_receiver *x, struct vb_error *err);
/* For replica/delta.c: a DATA message; bytes that are here already, the next ones of the file; and its end. */
int vb_take_piece(struct vb_receiver *x, const struct vb_msg *m, struct vb_error *err);
int vb_take_bytes(struct vb_receiver *x, struct vb_incoming *in, const void *p, size_t n, struct vb_error *err);
void vb_take_give_up(struct vb_receiver *x, struct vb_incoming *in, const struct vb_error *why);

/* ---- receive.c ---- */
/* Intents, files, rows of all that act.  What cannot be done is left and told. */
int vb_receive_apply(struct vb_receiver *x, struct vb_incoming *rows, size_t n, struct vb_error *err);
/* With tree integrity: begins the new tree if need be. */
int vb_receive_need_tree(struct vb_receiver *x, struct vb_error *err);
/* Paths that appeared beside what the source sent are looked at. */
int vb_receive_scan(struct vb_receiver *x, const struct vb_strv *paths, struct vb_error *err);
/* VB_E_UNSTABLE if anything failed and the tree must come whole. */
int vb_receive_all_well(struct vb_receiver *x, bool at_source, struct vb_error *err);
/* VB_E_GUARD if that many deletions are too many (DSN-27); something_comes: the tree would not be empty after them. */
int vb_receive_guard(struct vb_receiver *x, uint64_t deletes, bool something_comes, struct vb_error *err);

/* ---- finish.c ---- */
/* Paths whose rows here the source does not know; the caller clears them. */
int vb_receive_unknown(struct vb_receiver *x, struct vb_strv *paths, bool live_only, struct vb_error *err);
int vb_receive_finish(struct vb_receiver *x, struct vb_error *err);

#endif
