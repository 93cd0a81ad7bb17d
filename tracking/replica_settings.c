/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_settings.c - how a scope is replicated, and the locks that hold it. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "tracking/replica_internal.h"

void vb_scope_settings_clear(struct vb_scope_settings *s)
{
    free(s->filter);
    *s = (struct vb_scope_settings){ .filter = NULL };
}

int vb_replica_scope_settings(struct vb_replica *r, int64_t scope, struct vb_scope_settings *out, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT integrity, extent, interval, pulse, guard, random, policy, exact, filter, owners, deletes, "
                                       "trash_keep "
                                       "FROM scope WHERE id = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    int c = vb_rs_step(r, s, "reading a scope", err);
    if (c < 0)
        return -1;
    if (c == 0)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "replica store '%s': there is no scope number %lld", r->name, (long long)scope);
    *out = (struct vb_scope_settings){
        .integrity = sqlite3_column_int(s, 0) == VB_INTEGRITY_TREE ? VB_INTEGRITY_TREE : VB_INTEGRITY_FILE,
        .extent = sqlite3_column_int(s, 1) == VB_EXTENT_FILE ? VB_EXTENT_FILE : VB_EXTENT_TREE,
        .interval_s = (uint32_t)sqlite3_column_int64(s, 2),
        .pulse = (uint32_t)sqlite3_column_int64(s, 3),
        .guard_s = (uint32_t)sqlite3_column_int64(s, 4),
        .random_s = (uint32_t)sqlite3_column_int64(s, 5),
        .policy = sqlite3_column_int(s, 6),
        .exact = sqlite3_column_int(s, 7) != 0,
        .filter = vb_rs_text(s, 8),
        .owners = sqlite3_column_int(s, 9) != 0,
        .deletes = sqlite3_column_int(s, 10) != 0,
        .trash_keep_s = (uint32_t)sqlite3_column_int64(s, 11),
    };
    return 0;
}

int vb_replica_scope_set(struct vb_replica *r, int64_t scope, const struct vb_scope_settings *v, struct vb_error *err)
{
    if (vb_rs_need(r, "settings of a scope", err) < 0)
        return -1;
    VB_AUTO_STMT *s = vb_rs_prepare(r, "UPDATE scope SET integrity = ?2, extent = ?3, interval = ?4, pulse = ?5, guard = ?6, "
                                       "random = ?7, policy = ?8, exact = ?9, filter = ?13, owners = ?10, "
                                       "deletes = ?11, trash_keep = ?12 WHERE id = ?1", err);
    if (!s)
        return -1;
    const int64_t numbers[] = { scope,      (int64_t)v->integrity, (int64_t)v->extent, v->interval_s, v->pulse,
                                v->guard_s, v->random_s,           v->policy,          v->exact,
                                v->owners,  v->deletes,            v->trash_keep_s };
    for (int i = 0; i < (int)VB_COUNT(numbers); i++)
        sqlite3_bind_int64(s, i + 1, numbers[i]);
    sqlite3_bind_text(s, 13, v->filter ? v->filter : "", -1, SQLITE_STATIC);
    return vb_rs_run(r, s, "saving a scope", err);
}

/* ---- locks: one row each, numbered from 1 ---- */

static sqlite3_stmt *of_side(struct vb_replica *r, const char *sql, int64_t scope, enum vb_side side, struct vb_error *err)
{
    sqlite3_stmt *s = vb_rs_prepare(r, sql, err);
    if (s) {
        sqlite3_bind_int64(s, 1, scope);
        sqlite3_bind_int(s, 2, (int)side);
    }
    return s;
}

int vb_replica_locks(struct vb_replica *r, int64_t scope, enum vb_side side, unsigned *count, int64_t *since_s,
                     struct vb_error *err)
{
    VB_AUTO_STMT *s = of_side(r, "SELECT count(*), coalesce(min(since), 0) FROM hold WHERE scope = ?1 AND side = ?2", scope, side, err);
    if (!s || vb_rs_step(r, s, "reading locks", err) != 1)
        return -1;
    *count = (unsigned)sqlite3_column_int64(s, 0);
    *since_s = sqlite3_column_int64(s, 1);
    return 0;
}

int vb_replica_lock(struct vb_replica *r, int64_t scope, enum vb_side side, const char *by, const char *reason,
                    struct vb_error *err)
{
    unsigned count;
    int64_t since;
    if (vb_rs_need(r, "a lock", err) < 0 || vb_replica_locks(r, scope, side, &count, &since, err) < 0)
        return -1;
    VB_AUTO_STMT *s = of_side(r, "INSERT INTO hold (scope, side, n, since, by, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", scope, side, err);
    if (!s)
        return -1;
    /* Never before the first, whatever the clock does: its time is what is shown. */
    int64_t now = r->last_now_ms / 1000;
    sqlite3_bind_int64(s, 3, (int64_t)count + 1);
    sqlite3_bind_int64(s, 4, count && now < since ? since : now);
    sqlite3_bind_text(s, 5, by, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 6, reason, -1, SQLITE_STATIC);
    return vb_rs_run(r, s, "locking", err);
}

int vb_replica_unlock(struct vb_replica *r, int64_t scope, enum vb_side side, bool force, struct vb_error *err)
{
    unsigned count;
    int64_t since;
    if (vb_rs_need(r, "unlocking", err) < 0 || vb_replica_locks(r, scope, side, &count, &since, err) < 0)
        return -1;
    if (count == 0)
        return vb_fail(err, VB_E_BAD_STATE, "the scope is not locked");
    VB_AUTO_STMT *s = of_side(r, "DELETE FROM hold WHERE scope = ?1 AND side = ?2 AND n > ?3", scope, side, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 3, force ? 0 : (int64_t)count - 1);
    return vb_rs_run(r, s, "unlocking", err);
}

int vb_replica_each_lock(struct vb_replica *r, int64_t scope, enum vb_side side,
                         int (*fn)(void *arg, int64_t since_s, const char *by, const char *reason), void *arg,
                         struct vb_error *err)
{
    VB_AUTO_STMT *s = of_side(r, "SELECT since, by, reason FROM hold WHERE scope = ?1 AND side = ?2 ORDER BY n", scope, side, err);
    int c = s ? 1 : -1, stop = 0;
    while (c == 1 && !stop && (c = vb_rs_step(r, s, "reading locks", err)) == 1) {
        VB_AUTO_FREE char *by = vb_rs_text(s, 1);
        VB_AUTO_FREE char *reason = vb_rs_text(s, 2);
        stop = fn(arg, sqlite3_column_int64(s, 0), by ? by : "", reason ? reason : "");
    }
    return c < 0 ? -1 : 0;
}

/* ---- numbers ---- */

int vb_replica_number(struct vb_replica *r, const char *name, uint64_t *v, struct vb_error *err)
{
    VB_AUTO_FREE char *key = vb_printf("n:%s", name);
    int64_t is = 0;
    if (vb_rs_get_meta(r, key, &is, err) < 0)
        return -1;
    *v = is > 0 ? (uint64_t)is : 0;
    return 0;
}

int vb_replica_set_number(struct vb_replica *r, const char *name, uint64_t v, struct vb_error *err)
{
    VB_AUTO_FREE char *key = vb_printf("n:%s", name);
    if (vb_rs_need(r, "a number", err) < 0)
        return -1;
    return vb_rs_set_meta(r, key, v <= INT64_MAX ? (int64_t)v : INT64_MAX, err);
}

/* ---- texts ---- */

int vb_replica_text(struct vb_replica *r, const char *name, char **v, struct vb_error *err)
{
    VB_AUTO_FREE char *key = vb_printf("t:%s", name);
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT value FROM meta WHERE name = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    int c = vb_rs_step(r, s, "reading a text", err);
    *v = c == 1 ? vb_rs_text(s, 0) : NULL;
    return c < 0 ? -1 : 0;
}

int vb_replica_set_text(struct vb_replica *r, const char *name, const char *v, struct vb_error *err)
{
    VB_AUTO_FREE char *key = vb_printf("t:%s", name);
    if (vb_rs_need(r, "a text", err) < 0)
        return -1;
    VB_AUTO_STMT *s = vb_rs_prepare(r, v ? "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)" : "DELETE FROM meta WHERE name = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    if (v)
        sqlite3_bind_text(s, 2, v, -1, SQLITE_STATIC);
    return vb_rs_run(r, s, "saving a text", err);
}

int vb_replica_each_text(struct vb_replica *r, const char *prefix, int (*fn)(void *arg, const char *name, const char *value), void *arg,
                         struct vb_error *err)
{
    VB_AUTO_FREE char *begin = vb_printf("t:%s", prefix);
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT name, value FROM meta WHERE substr(name, 1, ?2) = ?1 ORDER BY name", err);
    int c = s ? 1 : -1, stop = 0;
    if (s) {
        sqlite3_bind_text(s, 1, begin, -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 2, (int64_t)strlen(begin));
    }
    while (c == 1 && !stop && (c = vb_rs_step(r, s, "reading texts", err)) == 1) {
        VB_AUTO_FREE char *name = vb_rs_text(s, 0);
        VB_AUTO_FREE char *value = vb_rs_text(s, 1);
        stop = name && value ? fn(arg, name + 2, value) : 0;
    }
    return c < 0 ? -1 : 0;
}
