/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_link.c - how the last pass with each peer ended, and the conflicts that were left for the user. */
#include <config.h>
#include <string.h>
#include "tracking/replica_internal.h"

static sqlite3_stmt *of_scope(struct vb_replica *r, const char *sql, int64_t scope, struct vb_error *err)
{
    sqlite3_stmt *s = vb_rs_prepare(r, sql, err);
    if (s)
        sqlite3_bind_int64(s, 1, scope);
    return s;
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    sqlite3_bind_text(s, at, text ? text : "", -1, SQLITE_STATIC);
}

static int64_t small(uint64_t v)
{
    return v <= INT64_MAX ? (int64_t)v : INT64_MAX;
}

/* ---- links ---- */

int vb_replica_link_note(struct vb_replica *r, int64_t scope, const struct vb_link *l, struct vb_error *err)
{
    if (vb_rs_need(r, "noting a pass", err) < 0)
        return -1;
    VB_AUTO_STMT *s = of_scope(r, "INSERT INTO link (scope, side, name, peer, tried, done, code, text, deferred, failed) "
                                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (scope, side, name) DO UPDATE SET "
                                  "peer = CASE excluded.peer WHEN '' THEN peer ELSE excluded.peer END, tried = excluded.tried, "
                                  "done = max(done, excluded.done), code = excluded.code, text = excluded.text, "
                                  "deferred = excluded.deferred, failed = excluded.failed", scope, err);
    if (!s)
        return -1;
    int64_t now = r->setup.now_ms(r->setup.arg) / 1000;
    sqlite3_bind_int(s, 2, (int)l->side);
    bind_text(s, 3, l->name);
    bind_text(s, 4, l->peer);
    sqlite3_bind_int64(s, 5, now);
    sqlite3_bind_int64(s, 6, l->code == VB_OK ? now : 0);
    sqlite3_bind_int(s, 7, (int)l->code);
    bind_text(s, 8, l->text);
    sqlite3_bind_int64(s, 9, small(l->deferred));
    sqlite3_bind_int64(s, 10, small(l->failed));
    return vb_rs_run(r, s, "noting a pass", err);
}

int vb_replica_each_link(struct vb_replica *r, int64_t scope, int (*fn)(void *arg, const struct vb_link *l), void *arg,
                         struct vb_error *err)
{
    VB_AUTO_STMT *s = of_scope(r, "SELECT side, name, peer, tried, done, code, text, deferred, failed FROM link WHERE scope = ?1 "
                                  "ORDER BY side, name", scope, err);
    int c = s ? 1 : -1, stop = 0;
    while (c == 1 && !stop && (c = vb_rs_step(r, s, "reading links", err)) == 1) {
        VB_AUTO_FREE char *name = vb_rs_text(s, 1);
        VB_AUTO_FREE char *peer = vb_rs_text(s, 2);
        VB_AUTO_FREE char *text = vb_rs_text(s, 6);
        const struct vb_link l = {
            .side = sqlite3_column_int(s, 0) == VB_SIDE_IMPORT ? VB_SIDE_IMPORT : VB_SIDE_EXPORT,
            .name = name ? name : "",
            .peer = peer ? peer : "",
            .tried_s = sqlite3_column_int64(s, 3),
            .done_s = sqlite3_column_int64(s, 4),
            .code = (enum vb_code)sqlite3_column_int(s, 5),
            .text = text ? text : "",
            .deferred = (uint64_t)sqlite3_column_int64(s, 7),
            .failed = (uint64_t)sqlite3_column_int64(s, 8),
        };
        stop = fn(arg, &l);
    }
    return c < 0 ? -1 : 0;
}

/* ---- conflicts ---- */

int vb_replica_hold_conflict(struct vb_replica *r, int64_t scope, const struct vb_held *h, struct vb_error *err)
{
    if (vb_rs_need(r, "holding a conflict", err) < 0)
        return -1;
    VB_AUTO_STMT *s = of_scope(r, "INSERT INTO held (scope, path, peer, replica, tick, kind, size, mtime, deleted, since, choice) "
                                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0) ON CONFLICT (scope, path, peer) DO UPDATE SET "
                                  "choice = CASE WHEN replica = excluded.replica AND tick = excluded.tick THEN choice ELSE 0 END, "
                                  "replica = excluded.replica, tick = excluded.tick, kind = excluded.kind, size = excluded.size, "
                                  "mtime = excluded.mtime, deleted = excluded.deleted", scope, err);
    if (!s)
        return -1;
    vb_rs_bind_path(s, 2, h->path);
    bind_text(s, 3, h->peer);
    sqlite3_bind_blob(s, 4, h->version.replica.b, VB_REPLICA_ID_LEN, SQLITE_STATIC);
    sqlite3_bind_int64(s, 5, small(h->version.tick));
    sqlite3_bind_int(s, 6, (int)h->kind);
    sqlite3_bind_int64(s, 7, small(h->size));
    sqlite3_bind_int64(s, 8, h->mtime_ns);
    sqlite3_bind_int(s, 9, h->deleted);
    sqlite3_bind_int64(s, 10, r->setup.now_ms(r->setup.arg) / 1000);
    return vb_rs_run(r, s, "holding a conflict", err);
}

int vb_replica_each_conflict(struct vb_replica *r, int64_t scope, const char *path, int (*fn)(void *arg, const struct vb_held *h),
                             void *arg, struct vb_error *err)
{
    VB_AUTO_STMT *s = of_scope(r, "SELECT path, peer, replica, tick, kind, size, mtime, deleted, since, choice FROM held "
                                  "WHERE scope = ?1 AND (?2 IS NULL OR path = ?2) ORDER BY path, peer", scope, err);
    int c = s ? 1 : -1, stop = 0;
    if (s)
        vb_rs_bind_path(s, 2, path);
    while (c == 1 && !stop && (c = vb_rs_step(r, s, "reading conflicts", err)) == 1) {
        VB_AUTO_FREE char *is = vb_rs_text(s, 0);
        VB_AUTO_FREE char *peer = vb_rs_text(s, 1);
        struct vb_held h = {
            .path = is ? is : "",
            .peer = peer ? peer : "",
            .kind = (enum vb_item_kind)sqlite3_column_int(s, 4),
            .size = (uint64_t)sqlite3_column_int64(s, 5),
            .mtime_ns = sqlite3_column_int64(s, 6),
            .deleted = sqlite3_column_int(s, 7) != 0,
            .since_s = sqlite3_column_int64(s, 8),
            .choice = (enum vb_choice)sqlite3_column_int(s, 9),
        };
        if (sqlite3_column_bytes(s, 2) != VB_REPLICA_ID_LEN)
            return vb_fail(err, VB_E_CORRUPT, "replica store '%s': a held conflict is damaged", r->name);
        memcpy(h.version.replica.b, sqlite3_column_blob(s, 2), VB_REPLICA_ID_LEN);
        h.version.tick = (uint64_t)sqlite3_column_int64(s, 3);
        stop = fn(arg, &h);
    }
    return c < 0 ? -1 : 0;
}

int vb_replica_choose(struct vb_replica *r, int64_t scope, const char *path, enum vb_choice choice, struct vb_error *err)
{
    if (vb_rs_need(r, "choosing", err) < 0)
        return -1;
    VB_AUTO_STMT *s = of_scope(r, "UPDATE held SET choice = ?3 WHERE scope = ?1 AND path = ?2", scope, err);
    if (!s)
        return -1;
    vb_rs_bind_path(s, 2, path);
    sqlite3_bind_int(s, 3, (int)choice);
    if (vb_rs_run(r, s, "choosing", err) < 0)
        return -1;
    return sqlite3_changes(r->db) ? 0 : vb_fail(err, VB_E_OBJECT_NOT_FOUND, "no conflict about '%s' is left to decide here", path);
}

int vb_replica_settle_conflict(struct vb_replica *r, int64_t scope, const char *path, const char *peer, struct vb_error *err)
{
    if (vb_rs_need(r, "settling a conflict", err) < 0)
        return -1;
    VB_AUTO_STMT *s = of_scope(r, "DELETE FROM held WHERE scope = ?1 AND path = ?2 AND (?3 IS NULL OR peer = ?3)", scope, err);
    if (!s)
        return -1;
    vb_rs_bind_path(s, 2, path);
    sqlite3_bind_text(s, 3, peer, -1, SQLITE_STATIC);
    return vb_rs_run(r, s, "settling a conflict", err);
}
