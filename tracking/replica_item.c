/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_item.c - rows: found, saved, noted by a scan, and the delete detector. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "tracking/replica_internal.h"

/* Rows carry the number of the pass of the delete detector that saw them last; a scan asks for it for every item. */
static int64_t pass_of(struct vb_replica *r, int64_t scope, struct vb_error *err)
{
    if (r->pass_scope != scope || !scope) {
        VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT pass FROM scope WHERE id = ?1", err);
        if (!s)
            return -1;
        sqlite3_bind_int64(s, 1, scope);
        int c = vb_rs_step(r, s, "reading a scope", err);
        if (c < 0)
            return -1;
        if (c == 0)
            return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "replica store '%s': there is no scope number %lld", r->name,
                           (long long)scope);
        r->pass = sqlite3_column_int64(s, 0);
        r->pass_scope = scope;
    }
    return r->pass;
}

int vb_replica_find(struct vb_replica *r, int64_t scope, const char *path, struct vb_item *out, struct vb_error *err)
{
    sqlite3_stmt *s = vb_rs_kept(r, VB_RS_FIND, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, path);
    int c = vb_rs_step(r, s, "reading an item", err);
    int result = c == 1 ? vb_rs_item(r, s, out, err) : -1;
    sqlite3_reset(s);
    if (c == 0)
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "'%s' is not known in this scope", path);
    return result;
}

bool vb_item_path_good(const char *path)
{
    if (!*path || *path == '/' || strlen(path) > VB_ITEM_PATH_MAX)
        return false;
    if (strcmp(path, ".") == 0)
        return true;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
        if (*p == '/' && !*++p)
            return false;
    }
    return true;
}

static int save(struct vb_replica *r, int64_t scope, const struct vb_item *i, struct vb_error *err)
{
    int64_t pass = pass_of(r, scope, err);
    sqlite3_stmt *s = pass < 0 ? NULL : vb_rs_kept(r, VB_RS_SAVE, err);
    if (!s)
        return -1;
    vb_rs_bind_path(s, 1, i->path);
    sqlite3_bind_int(s, 2, (int)i->kind);
    sqlite3_bind_int64(s, 3, (int64_t)i->size);
    sqlite3_bind_int64(s, 4, i->mtime_ns);
    sqlite3_bind_int64(s, 5, i->mode);
    sqlite3_bind_text(s, 6, i->owner, -1, SQLITE_STATIC);
    sqlite3_bind_blob(s, 7, i->attr, VB_HASH_LEN, SQLITE_STATIC);
    sqlite3_bind_blob(s, 8, i->content, VB_HASH_LEN, SQLITE_STATIC);
    if (vb_rs_bind_version(r, s, 9, &i->created, err) < 0 || vb_rs_bind_version(r, s, 11, &i->changed, err) < 0 ||
        vb_rs_bind_version(r, s, 14, &i->origin.version, err) < 0)
        return -1;
    sqlite3_bind_int64(s, 13, i->origin.mtime_ns);
    sqlite3_bind_int(s, 16, i->deleted);
    sqlite3_bind_int64(s, 17, i->deleted ? (i->deleted_at_ms ? i->deleted_at_ms : r->elapsed_ms) : 0);
    vb_rs_bind_path(s, 18, i->moved_to);
    if (i->have_base)
        sqlite3_bind_blob(s, 19, i->base, VB_HASH_LEN, SQLITE_STATIC);
    sqlite3_bind_int64(s, 20, (int64_t)++r->seq);
    sqlite3_bind_int64(s, 21, (int64_t)i->look);
    sqlite3_bind_int64(s, 22, scope);
    sqlite3_bind_int64(s, 23, pass);
    return vb_rs_run(r, s, "saving an item", err);
}

int vb_replica_save(struct vb_replica *r, int64_t scope, const struct vb_item *item, struct vb_error *err)
{
    if (vb_rs_need(r, "saving an item", err) < 0)
        return -1;
    if (!vb_item_path_good(item->path) || (item->moved_to && !vb_item_path_good(item->moved_to)))
        return vb_fail(err, VB_E_CORRUPT, "item '%s': not a path below the scope's root", item->path);
    if (item->kind < VB_ITEM_FILE || item->kind > VB_ITEM_COMPONENT || !item->changed.tick || !item->created.tick ||
        vb_replica_id_is_none(&item->changed.replica) || vb_replica_id_is_none(&item->created.replica))
        return vb_fail(err, VB_E_CORRUPT, "item '%s': without kind or version", item->path);
    return save(r, scope, item, err);
}

int vb_replica_forget_item(struct vb_replica *r, int64_t scope, const char *path, struct vb_error *err)
{
    if (vb_rs_need(r, "forgetting an item", err) < 0)
        return -1;
    sqlite3_stmt *s = vb_rs_kept(r, VB_RS_DROP, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, path);
    return vb_rs_run(r, s, "forgetting an item", err);
}

/* ---- what a scan saw ---- */

static int refresh(struct vb_replica *r, int64_t scope, const struct vb_item *seen, struct vb_error *err)
{
    int64_t pass = pass_of(r, scope, err);
    sqlite3_stmt *s = pass < 0 ? NULL : vb_rs_kept(r, VB_RS_REFRESH, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, seen->path);
    sqlite3_bind_int64(s, 3, (int64_t)seen->size);
    sqlite3_bind_int64(s, 4, seen->mtime_ns);
    sqlite3_bind_int64(s, 5, pass);
    sqlite3_bind_int64(s, 6, (int64_t)seen->look);
    return vb_rs_run(r, s, "refreshing an item", err);
}

/* 1 found, 0 no row, -1 error */
static int find_row(struct vb_replica *r, int64_t scope, const char *path, struct vb_item *row, struct vb_error *err)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (vb_replica_find(r, scope, path, row, &e) == 0)
        return 1;
    return e.code == VB_E_OBJECT_NOT_FOUND ? 0 : vb_error_move(err, &e);
}

int vb_replica_note(struct vb_replica *r, int64_t scope, const struct vb_item *seen, enum vb_change *what,
                    struct vb_error *err)
{
    struct vb_item row = { .path = NULL };
    if (vb_rs_need(r, "noting an item", err) < 0)
        return -1;
    int had = find_row(r, scope, seen->path, &row, err);
    if (had < 0)
        return -1;
    int result;
    if (had && !row.deleted && vb_item_same(&row, seen)) {
        *what = row.mtime_ns == seen->mtime_ns && row.size == seen->size && row.look == seen->look ? VB_CHANGE_NONE : VB_CHANGE_REFRESHED;
        result = *what == VB_CHANGE_NONE ? vb_replica_report(r, scope, seen->path, err) : refresh(r, scope, seen, err);
    } else {
        struct vb_item next = *seen;
        *what = had && !row.deleted ? VB_CHANGE_CHANGED : VB_CHANGE_CREATED;
        result = vb_replica_mint(r, &next.changed, err);
        next.created = *what == VB_CHANGE_CREATED ? next.changed : row.created;
        next.deleted = false;
        next.moved_to = NULL;
        next.have_base = *what == VB_CHANGE_CHANGED;
        if (next.have_base)
            memcpy(next.base, row.content, sizeof next.base);
        /* A change of mode alone is one as well: two of them must not tie in the order of DSN-19. */
        next.origin = (struct vb_origin){ seen->mtime_ns, next.changed };
        if (result == 0)
            result = vb_replica_save(r, scope, &next, err);
    }
    vb_item_clear(&row);
    return result;
}

int vb_replica_note_deleted(struct vb_replica *r, int64_t scope, const char *path, const char *moved_to,
                            enum vb_change *what, struct vb_error *err)
{
    struct vb_item row = { .path = NULL };
    if (vb_rs_need(r, "noting a deletion", err) < 0)
        return -1;
    int had = find_row(r, scope, path, &row, err);
    if (had < 0)
        return -1;
    *what = had && !row.deleted ? VB_CHANGE_DELETED : VB_CHANGE_NONE;
    int result = 0;
    if (*what == VB_CHANGE_DELETED) {
        struct vb_item dead = row;
        dead.deleted = true;
        dead.deleted_at_ms = r->elapsed_ms;
        dead.moved_to = moved_to;
        dead.have_base = true;
        memcpy(dead.base, row.content, sizeof dead.base);
        result = vb_replica_mint(r, &dead.changed, err);
        dead.origin = (struct vb_origin){ r->last_now_ms * 1000000, dead.changed };
        if (result == 0)
            result = vb_replica_save(r, scope, &dead, err);
    }
    vb_item_clear(&row);
    return result;
}

/* ---- delete detector ---- */

int vb_replica_unreport_all(struct vb_replica *r, int64_t scope, struct vb_error *err)
{
    if (vb_rs_need(r, "the delete detector", err) < 0)
        return -1;
    int64_t pass = pass_of(r, scope, err);
    VB_AUTO_STMT *s = pass < 0 ? NULL : vb_rs_prepare(r, "UPDATE scope SET pass = ?2 WHERE id = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    sqlite3_bind_int64(s, 2, pass + 1);
    if (vb_rs_run(r, s, "beginning a pass", err) < 0)
        return -1;
    r->pass = pass + 1;
    return 0;
}

int vb_replica_report(struct vb_replica *r, int64_t scope, const char *path, struct vb_error *err)
{
    if (vb_rs_need(r, "reporting an item", err) < 0)
        return -1;
    int64_t pass = pass_of(r, scope, err);
    sqlite3_stmt *s = pass < 0 ? NULL : vb_rs_kept(r, VB_RS_REPORT, err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, path);
    sqlite3_bind_int64(s, 3, pass);
    if (vb_rs_run(r, s, "reporting an item", err) < 0)
        return -1;
    return sqlite3_changes(r->db) ? 0 : vb_fail(err, VB_E_OBJECT_NOT_FOUND, "'%s' is not known in this scope", path);
}

int vb_replica_unreported(struct vb_replica *r, int64_t scope, vb_item_fn fn, void *arg, struct vb_error *err)
{
    int64_t pass = pass_of(r, scope, err);
    VB_AUTO_STMT *s = pass < 0 ? NULL
                               : vb_rs_prepare(r, "SELECT " VB_RS_COLUMNS " FROM item WHERE scope = ?1 AND reported <> ?2 AND NOT deleted ORDER BY path", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    sqlite3_bind_int64(s, 2, pass);
    return vb_rs_walk(r, s, fn, arg, err);
}

int vb_replica_each(struct vb_replica *r, int64_t scope, const char *from, bool tombstones, vb_item_fn fn, void *arg,
                    struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT " VB_RS_COLUMNS " FROM item WHERE scope = ?1 AND path >= ?2 AND (?3 OR NOT deleted) "
                                       "ORDER BY path", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    vb_rs_bind_path(s, 2, from ? from : "");
    sqlite3_bind_int(s, 3, tombstones);
    return vb_rs_walk(r, s, fn, arg, err);
}

int vb_replica_count(struct vb_replica *r, int64_t scope, uint64_t *live, uint64_t *tombstones, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT coalesce(sum(NOT deleted AND path <> x'2e'), 0), coalesce(sum(deleted), 0) "
                                       "FROM item WHERE scope = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    if (vb_rs_step(r, s, "counting", err) != 1)
        return -1;
    *live = (uint64_t)sqlite3_column_int64(s, 0);
    *tombstones = (uint64_t)sqlite3_column_int64(s, 1);
    return 0;
}

int vb_replica_each_look(struct vb_replica *r, int64_t scope, int (*fn)(void *arg, const char *path, size_t n, uint64_t look),
                         void *arg, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT path, look FROM item WHERE scope = ?1 AND NOT deleted ORDER BY path", err);
    int c = s ? 1 : -1, stop = 0;
    if (s)
        sqlite3_bind_int64(s, 1, scope);
    while (!stop && c == 1 && (c = vb_rs_step(r, s, "reading items", err)) == 1)
        stop = fn(arg, sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0), (uint64_t)sqlite3_column_int64(s, 1));
    return c < 0 ? -1 : 0;
}

int vb_replica_by_content(struct vb_replica *r, int64_t scope, const unsigned char content[VB_HASH_LEN], vb_item_fn fn, void *arg,
                          struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT " VB_RS_COLUMNS " FROM item WHERE scope = ?1 AND content = ?2 AND NOT deleted "
                                       "AND kind = 1", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    sqlite3_bind_blob(s, 2, content, VB_HASH_LEN, SQLITE_STATIC);
    return vb_rs_walk(r, s, fn, arg, err);
}

/* ---- looks ---- */

#define RELOOK_ROWS 1000u

struct looked {
    char *path;
    uint64_t size, look;
    int64_t mtime_ns;
};

static int read_looked(struct vb_replica *r, int64_t scope, const char *below, const char *after, struct looked *v, size_t *n,
                       struct vb_error *err)
{
    VB_AUTO_FREE char *end = *below ? vb_printf("%s0", below) : NULL; /* '0' comes after '/' */
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT path, size, look, mtime FROM item WHERE scope = ?1 AND path > ?2 AND (?3 IS NULL OR path < ?3) "
                                       "AND NOT deleted AND look != 0 ORDER BY path LIMIT 1000", err);
    int c = s ? 1 : -1;
    *n = 0;
    if (s) {
        sqlite3_bind_int64(s, 1, scope);
        vb_rs_bind_path(s, 2, after);
        vb_rs_bind_path(s, 3, end);
    }
    while (c == 1 && *n < RELOOK_ROWS && (c = vb_rs_step(r, s, "reading items", err)) == 1)
        v[(*n)++] = (struct looked){ vb_rs_text(s, 0), (uint64_t)sqlite3_column_int64(s, 1), (uint64_t)sqlite3_column_int64(s, 2),
                                     sqlite3_column_int64(s, 3) };
    return c < 0 ? -1 : 0;
}

int vb_replica_relook(struct vb_replica *r, int64_t scope, const char *below, vb_relook_fn fn, void *arg, struct vb_error *err)
{
    VB_AUTO_FREE struct looked *v = vb_alloc_n(RELOOK_ROWS, sizeof *v);
    VB_AUTO_FREE char *after = *below ? vb_printf("%s/", below) : vb_strdup("");
    size_t n = RELOOK_ROWS;
    int result = vb_rs_need(r, "looks of items", err);
    VB_AUTO_STMT *s = result == 0 ? vb_rs_prepare(r, "UPDATE item SET look = ?3 WHERE scope = ?1 AND path = ?2", err) : NULL;
    if (!s)
        return -1;
    while (result == 0 && n == RELOOK_ROWS) {
        result = read_looked(r, scope, below, after, v, &n, err);
        for (size_t i = 0; i < n; i++) {
            uint64_t look = result == 0 ? fn(arg, v[i].path, v[i].size, v[i].mtime_ns, v[i].look) : v[i].look;
            if (result == 0 && look != v[i].look) {
                sqlite3_bind_int64(s, 1, scope);
                vb_rs_bind_path(s, 2, v[i].path);
                sqlite3_bind_int64(s, 3, (int64_t)look);
                result = vb_rs_run(r, s, "saving a look", err);
            }
            if (i + 1 == n) {
                free(after);
                after = v[i].path;
            } else {
                free(v[i].path);
            }
        }
    }
    return result;
}
