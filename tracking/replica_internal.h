/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_internal.h - what the files of the replica metadata store share: statements, keys, rows. */
#ifndef VB_TRACKING_REPLICA_INTERNAL_H
#define VB_TRACKING_REPLICA_INTERNAL_H

#include <sqlite3.h>
#include "base/mem.h"
#include "tracking/replica.h"

/* Statements that run often are kept; walks prepare their own, so that a callback may ask the store. */
enum vb_rs_kept {
    VB_RS_FIND, VB_RS_SAVE, VB_RS_REFRESH, VB_RS_REPORT, VB_RS_DROP, VB_RS_KNOW, VB_RS_TICK, VB_RS_INTEND, VB_RS_INTENT_DONE,
    VB_RS_KEPT
};

struct vb_rs_key { /* replicas by their short local number */
    int64_t key;
    struct vb_replica_id id;
};
struct vb_replica {
    sqlite3 *db;
    sqlite3_stmt *kept[VB_RS_KEPT];
    char *name; /* for messages */
    int lock_fd;
    struct vb_replica_setup setup;
    struct vb_replica_id own;
    int64_t own_key;
    uint64_t tick, committed_tick, bound, seq;
    uint64_t told; /* highest version that others may have got from us */
    int64_t pass, pass_scope; /* number of the delete detector's pass of that scope; scope 0: not read yet */
    int64_t elapsed_ms, last_now_ms;
    bool clock_back;     /* the clock was behind last_now_ms when last asked */
    bool in_transaction;
    bool shared;         /* there are several connections: counters are read again at each begin */
    bool second;         /* one that vb_replica_share made */
    struct vb_rs_key *keys;
    size_t n_keys, cap_keys;
};

#define VB_RS_COLUMNS "path, kind, size, mtime, mode, owner, attr, content, create_key, create_tick, change_key, change_tick, " \
                      "origin_mtime, origin_key, origin_tick, deleted, deleted_at, moved_to, base, seq, look"

int vb_rs_fail(struct vb_replica *r, struct vb_error *err, const char *what); /* the engine's own error, with the store's name */
int vb_rs_exec(struct vb_replica *r, const char *sql, struct vb_error *err);
sqlite3_stmt *vb_rs_kept(struct vb_replica *r, enum vb_rs_kept which, struct vb_error *err); /* reset, NULL on error */
sqlite3_stmt *vb_rs_prepare(struct vb_replica *r, const char *sql, struct vb_error *err);
void vb_rs_finalize(sqlite3_stmt **s);
#define VB_AUTO_STMT __attribute__((cleanup(vb_rs_finalize))) sqlite3_stmt
/* Runs a statement that gives no rows, and resets it. */
int vb_rs_run(struct vb_replica *r, sqlite3_stmt *s, const char *what, struct vb_error *err);
/* 1 a row, 0 none, -1 error. */
int vb_rs_step(struct vb_replica *r, sqlite3_stmt *s, const char *what, struct vb_error *err);
/* 0 inside a transaction, else VB_E_BAD_STATE. */
int vb_rs_need(const struct vb_replica *r, const char *what, struct vb_error *err);

void vb_rs_bind_path(sqlite3_stmt *s, int at, const char *path); /* NULL: SQL NULL; not copied */
char *vb_rs_text(sqlite3_stmt *s, int column);                   /* copied; NULL for SQL NULL */
int vb_rs_bind_version(struct vb_replica *r, sqlite3_stmt *s, int at, const struct vb_version *v, struct vb_error *err);
/* Meta values are numbers by name. */
int vb_rs_get_meta(struct vb_replica *r, const char *name, int64_t *v, struct vb_error *err);
int vb_rs_set_meta(struct vb_replica *r, const char *name, int64_t v, struct vb_error *err);

/* The key of a replica, made if needed (then within a transaction); -1 on error, 0 if !make and unknown. */
int64_t vb_rs_key(struct vb_replica *r, const struct vb_replica_id *id, bool make, struct vb_error *err);
const struct vb_replica_id *vb_rs_id(struct vb_replica *r, int64_t key); /* of all zeros if unknown */
int vb_rs_load_keys(struct vb_replica *r, struct vb_error *err);

/* A row of VB_RS_COLUMNS.  Strings are owned by the item; the result is checked: VB_E_CORRUPT. */
int vb_rs_item(struct vb_replica *r, sqlite3_stmt *s, struct vb_item *out, struct vb_error *err);
/* Steps s, hands each row to fn until it says stop. */
int vb_rs_walk(struct vb_replica *r, sqlite3_stmt *s, vb_item_fn fn, void *arg, struct vb_error *err);
void vb_rs_tell_time(struct vb_replica *r); /* brings elapsed_ms up to now */

#endif
