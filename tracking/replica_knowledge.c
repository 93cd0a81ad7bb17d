/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_knowledge.c - knowledge of this replica, of peers and of backup sets, kept as rows; intents. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "tracking/replica_internal.h"

/* Forgotten knowledge is a holder like others, under a name no peer can have. */
#define FORGOTTEN "\x01" "forgotten"

static int add_row(struct vb_replica *r, sqlite3_stmt *s, struct vb_knowledge *k, struct vb_error *err)
{
    VB_AUTO_FREE char *item = vb_rs_text(s, 0);
    struct vb_version v = { *vb_rs_id(r, sqlite3_column_int64(s, 1)), 0 };
    int64_t tick = sqlite3_column_int64(s, 2);
    if (!item || tick < 0 || vb_replica_id_is_none(&v.replica))
        return vb_fail(err, VB_E_CORRUPT, "replica store '%s': its knowledge is damaged", r->name);
    v.tick = (uint64_t)tick;
    if (*item)
        vb_knowledge_set_item(k, item, &v);
    else
        vb_knowledge_raise(k, &v);
    return 0;
}

static struct vb_knowledge *read_holder(struct vb_replica *r, int64_t scope, const char *holder, const char *filter,
                                        struct vb_error *err)
{
    /* Main entries have an empty item and come first. */
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT item, key, tick FROM knowledge WHERE scope = ?1 AND holder = ?2 AND filter = ?3 "
                                       "ORDER BY item, key", err);
    if (!s)
        return NULL;
    sqlite3_bind_int64(s, 1, scope);
    sqlite3_bind_text(s, 2, holder, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, filter ? filter : "", -1, SQLITE_STATIC);
    struct vb_knowledge *k = vb_knowledge_new();
    bool own = !*holder && (!filter || !*filter);
    if (own && r->committed_tick) /* first, so that entries of single items are held against it */
        vb_knowledge_raise(k, &(struct vb_version){ r->own, r->committed_tick });
    int c;
    while ((c = vb_rs_step(r, s, "reading knowledge", err)) == 1)
        if (add_row(r, s, k, err) < 0)
            break;
    if (c == 0)
        return k;
    vb_knowledge_free(k);
    return NULL;
}

struct vb_knowledge *vb_replica_knowledge(struct vb_replica *r, int64_t scope, const char *holder, const char *filter,
                                          struct vb_error *err)
{
    return read_holder(r, scope, holder, filter, err);
}

struct saver {
    struct vb_replica *r;
    sqlite3_stmt *s;
    struct vb_error *err;
};

static int save_entry(void *arg, const char *item, const struct vb_version *v)
{
    struct saver *x = arg;
    int64_t key = vb_rs_key(x->r, &v->replica, true, x->err);
    if (key < 0)
        return -1;
    if (v->tick > INT64_MAX)
        return vb_fail(x->err, VB_E_CORRUPT, "knowledge: tick %llu is beyond what a replica can have counted",
                       (unsigned long long)v->tick);
    vb_rs_bind_path(x->s, 4, item ? item : "");
    sqlite3_bind_int64(x->s, 5, key);
    sqlite3_bind_int64(x->s, 6, (int64_t)v->tick);
    return vb_rs_run(x->r, x->s, "saving knowledge", x->err);
}

static int write_holder(struct vb_replica *r, int64_t scope, const char *holder, const char *filter,
                        const struct vb_knowledge *k, struct vb_error *err)
{
    if (vb_rs_need(r, "saving knowledge", err) < 0)
        return -1;
    VB_AUTO_STMT *del = vb_rs_prepare(r, "DELETE FROM knowledge WHERE scope = ?1 AND holder = ?2 AND filter = ?3", err);
    VB_AUTO_STMT *add = vb_rs_prepare(r, "INSERT INTO knowledge (scope, holder, filter, item, key, tick) "
                                         "VALUES (?1, ?2, ?3, ?4, ?5, ?6)", err);
    if (!del || !add)
        return -1;
    sqlite3_stmt *const both[] = { del, add };
    for (size_t i = 0; i < VB_COUNT(both); i++) {
        sqlite3_bind_int64(both[i], 1, scope);
        sqlite3_bind_text(both[i], 2, holder, -1, SQLITE_STATIC);
        sqlite3_bind_text(both[i], 3, filter ? filter : "", -1, SQLITE_STATIC);
    }
    struct saver x = { r, add, err };
    return vb_rs_run(r, del, "replacing knowledge", err) < 0 ? -1 : vb_knowledge_each(k, save_entry, &x);
}

int vb_replica_set_knowledge(struct vb_replica *r, int64_t scope, const char *holder, const char *filter,
                             const struct vb_knowledge *k, struct vb_error *err)
{
    if (holder[0] == FORGOTTEN[0])
        return vb_fail(err, VB_E_USAGE, "knowledge: '%s' is not a holder's name", holder + 1);
    return write_holder(r, scope, holder, filter, k, err);
}

int vb_replica_know_item(struct vb_replica *r, int64_t scope, const char *path, const struct vb_version *v,
                         struct vb_error *err)
{
    if (vb_rs_need(r, "learning an item", err) < 0)
        return -1;
    sqlite3_stmt *s = vb_rs_kept(r, VB_RS_KNOW, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, path);
    return vb_rs_bind_version(r, s, 3, v, err) < 0 ? -1 : vb_rs_run(r, s, "learning an item", err);
}

struct vb_knowledge *vb_replica_forgotten(struct vb_replica *r, int64_t scope, struct vb_error *err)
{
    return read_holder(r, scope, FORGOTTEN, NULL, err);
}

int vb_replica_forget_to(struct vb_replica *r, int64_t scope, const struct vb_knowledge *k, struct vb_error *err)
{
    VB_AUTO_KNOWLEDGE *sum = vb_replica_forgotten(r, scope, err);
    if (!sum)
        return -1;
    vb_knowledge_join(sum, k);
    return write_holder(r, scope, FORGOTTEN, NULL, sum, err);
}

bool vb_replica_stale(const struct vb_knowledge *source_forgotten, const struct vb_knowledge *destination, bool empty)
{
    return !empty && !vb_knowledge_covers(destination, source_forgotten);
}

/* ---- intents ---- */

int vb_replica_intend(struct vb_replica *r, int64_t scope, const struct vb_intent *i, struct vb_error *err)
{
    if (vb_rs_need(r, "an intent", err) < 0)
        return -1;
    sqlite3_stmt *s = vb_rs_kept(r, VB_RS_INTEND, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, i->path);
    sqlite3_bind_blob(s, 5, i->content, VB_HASH_LEN, SQLITE_STATIC);
    vb_rs_bind_path(s, 6, i->staged);
    sqlite3_bind_blob(s, 7, i->what_len ? i->what : "", (int)i->what_len, SQLITE_STATIC);
    return vb_rs_bind_version(r, s, 3, &i->version, err) < 0 ? -1 : vb_rs_run(r, s, "saving an intent", err);
}

int vb_replica_intent_done(struct vb_replica *r, int64_t scope, const char *path, struct vb_error *err)
{
    if (vb_rs_need(r, "ending an intent", err) < 0)
        return -1;
    sqlite3_stmt *s = vb_rs_kept(r, VB_RS_INTENT_DONE, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, path);
    return vb_rs_run(r, s, "ending an intent", err);
}

int vb_replica_intents(struct vb_replica *r, int64_t scope, int (*fn)(void *arg, const struct vb_intent *i), void *arg,
                       struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT path, key, tick, content, staged, what FROM intent WHERE scope = ?1 ORDER BY path", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    int c, stop = 0;
    while (!stop && (c = vb_rs_step(r, s, "reading intents", err)) != 0) {
        if (c < 0)
            return -1;
        VB_AUTO_FREE char *path = vb_rs_text(s, 0);
        VB_AUTO_FREE char *staged = vb_rs_text(s, 4);
        struct vb_intent i = { .path = path, .staged = staged };
        i.version = (struct vb_version){ *vb_rs_id(r, sqlite3_column_int64(s, 1)), (uint64_t)sqlite3_column_int64(s, 2) };
        if (!path || !staged || sqlite3_column_bytes(s, 3) != VB_HASH_LEN)
            return vb_fail(err, VB_E_CORRUPT, "replica store '%s': an intent is damaged", r->name);
        memcpy(i.content, sqlite3_column_blob(s, 3), VB_HASH_LEN);
        i.what = sqlite3_column_blob(s, 5);
        i.what_len = (size_t)sqlite3_column_bytes(s, 5);
        stop = fn(arg, &i);
    }
    return 0;
}

int vb_replica_intents_drop(struct vb_replica *r, int64_t scope, struct vb_error *err)
{
    if (vb_rs_need(r, "ending intents", err) < 0)
        return -1;
    VB_AUTO_STMT *s = vb_rs_prepare(r, "DELETE FROM intent WHERE scope = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    return vb_rs_run(r, s, "ending intents", err);
}
