/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_sql.c - statements, values and rows of the replica metadata store. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tracking/replica_internal.h"

static const char *const kept_sql[VB_RS_KEPT] = {
    [VB_RS_FIND] = "SELECT " VB_RS_COLUMNS " FROM item WHERE scope = ?1 AND path = ?2",
    [VB_RS_SAVE] = "INSERT OR REPLACE INTO item (" VB_RS_COLUMNS ", scope, reported) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
                   "?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
    [VB_RS_REFRESH] = "UPDATE item SET size = ?3, mtime = ?4, reported = ?5, look = ?6 WHERE scope = ?1 AND path = ?2",
    [VB_RS_REPORT] = "UPDATE item SET reported = ?3 WHERE scope = ?1 AND path = ?2",
    [VB_RS_DROP] = "DELETE FROM item WHERE scope = ?1 AND path = ?2",
    [VB_RS_KNOW] = "INSERT OR REPLACE INTO knowledge (scope, holder, filter, item, key, tick) VALUES (?1, '', '', ?2, ?3, ?4)",
    [VB_RS_TICK] = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
    [VB_RS_INTEND] = "INSERT OR REPLACE INTO intent (scope, path, key, tick, content, staged, what) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [VB_RS_INTENT_DONE] = "DELETE FROM intent WHERE scope = ?1 AND path = ?2",
};

int vb_rs_fail(struct vb_replica *r, struct vb_error *err, const char *what)
{
    int c = sqlite3_errcode(r->db) & 0xff;
    enum vb_code code = c == SQLITE_FULL ? VB_E_NO_SPACE
                        : c == SQLITE_CORRUPT || c == SQLITE_NOTADB ? VB_E_CORRUPT
                        : c == SQLITE_BUSY || c == SQLITE_LOCKED ? VB_E_BUSY
                        : c == SQLITE_PERM || c == SQLITE_READONLY || c == SQLITE_CANTOPEN ? VB_E_ACCESS_DENIED
                                                                                          : VB_E_IO;
    vb_fail(err, code, "replica store '%s': %s: %s", r->name, what, sqlite3_errmsg(r->db));
    if (code == VB_E_CORRUPT)
        vb_hint(err, "move '%s' away: the next run makes a new one, takes a new identity and deletes nothing", r->name);
    if (code == VB_E_NO_SPACE)
        vb_hint(err, "make room on the file system that holds '%s'", r->name);
    return -1;
}

int vb_rs_exec(struct vb_replica *r, const char *sql, struct vb_error *err)
{
    return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : vb_rs_fail(r, err, "a statement failed");
}

sqlite3_stmt *vb_rs_prepare(struct vb_replica *r, const char *sql, struct vb_error *err)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(r->db, sql, -1, &s, NULL) != SQLITE_OK)
        vb_rs_fail(r, err, "it does not have the tables of this version");
    return s;
}

sqlite3_stmt *vb_rs_kept(struct vb_replica *r, enum vb_rs_kept which, struct vb_error *err)
{
    sqlite3_stmt **s = &r->kept[which];
    if (*s) {
        sqlite3_reset(*s);
        sqlite3_clear_bindings(*s);
    } else {
        *s = vb_rs_prepare(r, kept_sql[which], err);
    }
    return *s;
}

void vb_rs_finalize(sqlite3_stmt **s)
{
    sqlite3_finalize(*s);
    *s = NULL;
}

int vb_rs_step(struct vb_replica *r, sqlite3_stmt *s, const char *what, struct vb_error *err)
{
    int c = sqlite3_step(s);
    return c == SQLITE_ROW ? 1 : c == SQLITE_DONE ? 0 : vb_rs_fail(r, err, what);
}

int vb_rs_run(struct vb_replica *r, sqlite3_stmt *s, const char *what, struct vb_error *err)
{
    int c = vb_rs_step(r, s, what, err);
    sqlite3_reset(s);
    return c < 0 ? -1 : 0;
}

int vb_rs_need(const struct vb_replica *r, const char *what, struct vb_error *err)
{
    return r->in_transaction ? 0 : vb_fail(err, VB_E_BAD_STATE, "replica store '%s': %s needs a transaction", r->name, what);
}

/* ---- values ---- */

void vb_rs_bind_path(sqlite3_stmt *s, int at, const char *path)
{
    if (path)
        sqlite3_bind_blob(s, at, *path ? path : "", (int)strlen(path), SQLITE_STATIC);
    else
        sqlite3_bind_null(s, at);
}

char *vb_rs_text(sqlite3_stmt *s, int column)
{
    if (sqlite3_column_type(s, column) == SQLITE_NULL)
        return NULL;
    const void *p = sqlite3_column_blob(s, column);
    return p ? vb_strndup(p, (size_t)sqlite3_column_bytes(s, column)) : vb_strdup("");
}

int vb_rs_bind_version(struct vb_replica *r, sqlite3_stmt *s, int at, const struct vb_version *v, struct vb_error *err)
{
    int64_t key = v->tick ? vb_rs_key(r, &v->replica, true, err) : 0;
    if (key < 0)
        return -1;
    if (v->tick > INT64_MAX)
        return vb_fail(err, VB_E_CORRUPT, "version: tick %llu is beyond what a replica can have counted",
                       (unsigned long long)v->tick);
    sqlite3_bind_int64(s, at, key);
    sqlite3_bind_int64(s, at + 1, (int64_t)v->tick);
    return 0;
}

int vb_rs_get_meta(struct vb_replica *r, const char *name, int64_t *v, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT value FROM meta WHERE name = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    int c = vb_rs_step(r, s, "reading its state", err);
    *v = c == 1 ? sqlite3_column_int64(s, 0) : 0;
    return c < 0 ? -1 : 0;
}

int vb_rs_set_meta(struct vb_replica *r, const char *name, int64_t v, struct vb_error *err)
{
    sqlite3_stmt *s = vb_rs_kept(r, VB_RS_TICK, err);
    if (!s)
        return -1;
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, v);
    return vb_rs_run(r, s, "saving its state", err);
}

/* ---- replicas ---- */

int vb_rs_load_keys(struct vb_replica *r, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT key, id, own FROM replica ORDER BY key", err);
    int c = -1;
    r->n_keys = 0;
    while (s && (c = vb_rs_step(r, s, "reading the replicas", err)) == 1) {
        if (sqlite3_column_bytes(s, 1) != VB_REPLICA_ID_LEN)
            return vb_fail(err, VB_E_CORRUPT, "replica store '%s': a replica's id has the wrong length", r->name);
        VB_GROW(r->keys, r->n_keys, r->cap_keys);
        struct vb_rs_key *k = &r->keys[r->n_keys++];
        k->key = sqlite3_column_int64(s, 0);
        memcpy(k->id.b, sqlite3_column_blob(s, 1), sizeof k->id.b);
        if (sqlite3_column_int(s, 2)) {
            r->own = k->id;
            r->own_key = k->key;
        }
    }
    return c < 0 ? -1 : 0;
}

int64_t vb_rs_key(struct vb_replica *r, const struct vb_replica_id *id, bool make, struct vb_error *err)
{
    for (size_t i = 0; i < r->n_keys; i++)
        if (vb_replica_id_compare(&r->keys[i].id, id) == 0)
            return r->keys[i].key;
    if (!make)
        return 0;
    if (vb_rs_need(r, "a new replica", err) < 0)
        return -1;
    VB_AUTO_STMT *s = vb_rs_prepare(r, "INSERT INTO replica (id, own, note) VALUES (?1, 0, '')", err);
    if (!s)
        return -1;
    sqlite3_bind_blob(s, 1, id->b, sizeof id->b, SQLITE_STATIC);
    if (vb_rs_run(r, s, "adding a replica", err) < 0)
        return -1;
    VB_GROW(r->keys, r->n_keys, r->cap_keys);
    r->keys[r->n_keys++] = (struct vb_rs_key){ sqlite3_last_insert_rowid(r->db), *id };
    return r->keys[r->n_keys - 1].key;
}

const struct vb_replica_id *vb_rs_id(struct vb_replica *r, int64_t key)
{
    static const struct vb_replica_id none;
    for (size_t i = 0; i < r->n_keys; i++)
        if (r->keys[i].key == key)
            return &r->keys[i].id;
    return &none;
}

/* ---- rows ---- */

static bool get_hash(sqlite3_stmt *s, int column, unsigned char out[VB_HASH_LEN])
{
    if (sqlite3_column_bytes(s, column) != VB_HASH_LEN)
        return false;
    memcpy(out, sqlite3_column_blob(s, column), VB_HASH_LEN);
    return true;
}

static struct vb_version get_version(struct vb_replica *r, sqlite3_stmt *s, int column)
{
    int64_t tick = sqlite3_column_int64(s, column + 1);
    return (struct vb_version){ *vb_rs_id(r, sqlite3_column_int64(s, column)), tick < 0 ? 0 : (uint64_t)tick };
}

int vb_rs_item(struct vb_replica *r, sqlite3_stmt *s, struct vb_item *out, struct vb_error *err)
{
    struct vb_item i = { .path = vb_rs_text(s, 0), .owner = vb_rs_text(s, 5), .moved_to = vb_rs_text(s, 17) };
    int kind = sqlite3_column_int(s, 1);
    i.kind = (enum vb_item_kind)kind;
    i.size = (uint64_t)sqlite3_column_int64(s, 2);
    i.mtime_ns = sqlite3_column_int64(s, 3);
    i.mode = (uint32_t)sqlite3_column_int64(s, 4);
    i.created = get_version(r, s, 8);
    i.changed = get_version(r, s, 10);
    i.origin.mtime_ns = sqlite3_column_int64(s, 12);
    i.origin.version = get_version(r, s, 13);
    i.deleted = sqlite3_column_int(s, 15) != 0;
    i.deleted_at_ms = sqlite3_column_int64(s, 16);
    i.have_base = sqlite3_column_type(s, 18) != SQLITE_NULL;
    i.seq = (uint64_t)sqlite3_column_int64(s, 19);
    i.look = (uint64_t)sqlite3_column_int64(s, 20);
    if (!i.path || kind < VB_ITEM_FILE || kind > VB_ITEM_COMPONENT || !get_hash(s, 6, i.attr) || !get_hash(s, 7, i.content) ||
        (i.have_base && !get_hash(s, 18, i.base)) || !i.changed.tick || vb_replica_id_is_none(&i.changed.replica)) {
        vb_fail(err, VB_E_CORRUPT, "replica store '%s': row of '%s' is damaged", r->name, i.path ? i.path : "?");
        vb_item_clear(&i);
        return -1;
    }
    *out = i;
    return 0;
}

int vb_rs_walk(struct vb_replica *r, sqlite3_stmt *s, vb_item_fn fn, void *arg, struct vb_error *err)
{
    int c, stop = 0;
    while (!stop && (c = vb_rs_step(r, s, "reading items", err)) != 0) {
        struct vb_item i;
        if (c < 0 || vb_rs_item(r, s, &i, err) < 0)
            return -1;
        stop = fn(arg, &i);
        vb_item_clear(&i);
    }
    return 0;
}

void vb_item_clear(struct vb_item *i)
{
    free((char *)(uintptr_t)i->path);
    free((char *)(uintptr_t)i->owner);
    free((char *)(uintptr_t)i->moved_to);
    *i = (struct vb_item){ .path = NULL };
}

void vb_item_copy(struct vb_item *to, const struct vb_item *from)
{
    *to = *from;
    to->path = vb_strdup(from->path);
    to->owner = vb_strdup(from->owner);
    to->moved_to = vb_strdup(from->moved_to);
}

bool vb_item_same(const struct vb_item *a, const struct vb_item *b)
{
    const char *ao = a->owner ? a->owner : "", *bo = b->owner ? b->owner : "";
    if (a->deleted || b->deleted)
        return a->deleted == b->deleted;
    return a->kind == b->kind && a->mode == b->mode && strcmp(ao, bo) == 0 && memcmp(a->attr, b->attr, VB_HASH_LEN) == 0 &&
           memcmp(a->content, b->content, VB_HASH_LEN) == 0;
}

void vb_rs_tell_time(struct vb_replica *r)
{
    int64_t now = r->setup.now_ms(r->setup.arg);
    r->clock_back = r->last_now_ms && now < r->last_now_ms;
    if (r->last_now_ms && now > r->last_now_ms)
        r->elapsed_ms += now - r->last_now_ms;
    if (!r->clock_back)
        r->last_now_ms = now;
}
