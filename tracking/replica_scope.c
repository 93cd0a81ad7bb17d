/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_scope.c - scopes, and the marker that tells a scope's root from an empty mount point (DSN-8). */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "tracking/replica_internal.h"

#define MARKER_MAX 4096
#define MARKER_HEAD "vbackup-scope 1"

void vb_scope_clear(struct vb_scope *s)
{
    free(s->name);
    free(s->root);
    *s = (struct vb_scope){ .name = NULL };
}

int vb_replica_scope_add(struct vb_replica *r, const char *name, const char *root, const char *guid, uint64_t device,
                         int64_t *id, struct vb_error *err)
{
    char fresh[VB_GUID_LEN + 1];
    if (vb_rs_need(r, "a new scope", err) < 0)
        return -1;
    if (!*name || root[0] != '/')
        return vb_fail(err, VB_E_USAGE, "scope '%s': a name and an absolute root are needed, not '%s'", name, root);
    if (guid && !vb_guid_valid(guid))
        return vb_fail(err, VB_E_USAGE, "scope '%s': '%s' is not an id of a scope", name, guid);
    VB_AUTO_STMT *s = vb_rs_prepare(r, "INSERT OR IGNORE INTO scope (name, root, guid, device, trusted) VALUES (?1, ?2, ?3, ?4, 0)", err);
    if (!s)
        return -1;
    vb_guid_new(fresh);
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    vb_rs_bind_path(s, 2, root);
    sqlite3_bind_text(s, 3, guid ? guid : fresh, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, (int64_t)device);
    if (vb_rs_run(r, s, "adding a scope", err) < 0)
        return -1;
    if (sqlite3_changes(r->db) == 0)
        return vb_fail(err, VB_E_EXISTS, "scope '%s' exists already", name);
    *id = sqlite3_last_insert_rowid(r->db);
    return 0;
}

int vb_replica_scope_find(struct vb_replica *r, const char *name, struct vb_scope *out, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT id, root, guid, device, trusted FROM scope WHERE name = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    int c = vb_rs_step(r, s, "reading a scope", err);
    if (c < 0)
        return -1;
    if (c == 0)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no scope '%s'", name);
    VB_AUTO_FREE char *guid = vb_rs_text(s, 2);
    if (!guid || !vb_guid_valid(guid))
        return vb_fail(err, VB_E_CORRUPT, "replica store '%s': the id of scope '%s' is damaged", r->name, name);
    *out = (struct vb_scope){ .id = sqlite3_column_int64(s, 0), .name = vb_strdup(name), .root = vb_rs_text(s, 1),
                              .device = (uint64_t)sqlite3_column_int64(s, 3), .trusted = sqlite3_column_int(s, 4) != 0 };
    memcpy(out->guid, guid, sizeof out->guid);
    return 0;
}

int vb_replica_scope_drop(struct vb_replica *r, int64_t scope, struct vb_error *err)
{
    static const char *const sql[] = { "DELETE FROM item WHERE scope = ?1", "DELETE FROM knowledge WHERE scope = ?1",
                                       "DELETE FROM intent WHERE scope = ?1",
                                       "DELETE FROM link WHERE scope = ?1", "DELETE FROM held WHERE scope = ?1",
                                       "DELETE FROM hold WHERE scope = ?1", "DELETE FROM scope WHERE id = ?1" };
    if (vb_rs_need(r, "dropping a scope", err) < 0)
        return -1;
    for (size_t i = 0; i < VB_COUNT(sql); i++) {
        VB_AUTO_STMT *s = vb_rs_prepare(r, sql[i], err);
        if (!s)
            return -1;
        sqlite3_bind_int64(s, 1, scope);
        if (vb_rs_run(r, s, "dropping a scope", err) < 0)
            return -1;
    }
    return 0;
}

int vb_replica_scope_trust(struct vb_replica *r, int64_t scope, bool trusted, struct vb_error *err)
{
    if (vb_rs_need(r, "trust in a scope", err) < 0)
        return -1;
    VB_AUTO_STMT *s = vb_rs_prepare(r, "UPDATE scope SET trusted = ?2 WHERE id = ?1", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    sqlite3_bind_int(s, 2, trusted);
    return vb_rs_run(r, s, "saving a scope", err);
}

/* ---- the marker ---- */

struct marker {
    char guid[VB_GUID_LEN + 1];
    struct vb_replica_id replica;
    uint64_t bound;
};

void vb_replica_marker(const struct vb_replica *r, const struct vb_scope *s, struct vb_buf *out)
{
    char id[2 * VB_REPLICA_ID_LEN + 1];
    vb_replica_id_hex(&r->own, id);
    vb_buf_addf(out, MARKER_HEAD "\nscope %s\nreplica %s\nbound %llu\n", s->guid, id, (unsigned long long)r->bound);
}

/* Takes "name value\n" off the text; value is cut out in place of a copy. */
static bool take_line(char **text, const char *name, char **value)
{
    size_t n = strlen(name);
    char *end = strchr(*text, '\n');
    if (!end || strncmp(*text, name, n) != 0 || (*text)[n] != ' ')
        return false;
    *end = 0;
    *value = *text + n + 1;
    *text = end + 1;
    return true;
}

static bool parse_marker(const char *text, size_t n, struct marker *m)
{
    char *guid, *id, *bound, *version;
    if (n > MARKER_MAX || memchr(text, 0, n))
        return false;
    VB_AUTO_FREE char *copy = vb_strndup(text, n);
    char *at = copy;
    if (!take_line(&at, "vbackup-scope", &version) || strcmp(version, "1") != 0 || !take_line(&at, "scope", &guid) ||
        !vb_guid_valid(guid) || !take_line(&at, "replica", &id) || !vb_replica_id_parse(id, &m->replica) ||
        !take_line(&at, "bound", &bound) || !vb_parse_u64(bound, &m->bound) || *at)
        return false;
    memcpy(m->guid, guid, sizeof m->guid);
    return true;
}

enum vb_marker_state vb_replica_judge_marker(const struct vb_replica *r, const struct vb_scope *s, const char *text, size_t n,
                                             uint64_t device, char **why)
{
    struct marker m;
    *why = NULL;
    if (!text) {
        *why = vb_printf("scope '%s': '%s' has no marker; is it mounted?", s->name, s->root);
        return VB_MARKER_OFFLINE;
    }
    if (!parse_marker(text, n, &m) || !vb_guid_equal(m.guid, s->guid)) {
        *why = vb_printf("scope '%s': the marker in '%s' is not this scope's", s->name, s->root);
        return VB_MARKER_OFFLINE;
    }
    if (s->device && device != s->device) {
        *why = vb_printf("scope '%s': '%s' lies on another device than when it was registered", s->name, s->root);
        return VB_MARKER_OFFLINE;
    }
    /* Another replica's marker: the tree was copied from there, or restored from before a renewal.  It has no say about
     * our counter. */
    if (vb_replica_id_compare(&m.replica, &r->own) == 0 && m.bound > r->bound) {
        *why = vb_printf("scope '%s': the tree has seen versions up to %llu, the store only up to %llu: it is an old copy",
                         s->name, (unsigned long long)m.bound, (unsigned long long)r->bound);
        return VB_MARKER_ROLLED_BACK;
    }
    return VB_MARKER_GOOD;
}
