/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_open.c - the store's file: made, opened by one, transactions, and this replica's own identity. */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "tracking/replica_internal.h"

#define SHARED_WAIT_MS 60000
#define APPLICATION_ID 0x56425253 /* "VBRS" */

static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE replica (key INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, own INTEGER NOT NULL, note TEXT NOT NULL);"
    "CREATE TABLE scope (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, root BLOB NOT NULL, guid TEXT NOT NULL,"
    "  device INTEGER NOT NULL, trusted INTEGER NOT NULL, pass INTEGER NOT NULL DEFAULT 0,"
    "  integrity INTEGER NOT NULL DEFAULT 1, extent INTEGER NOT NULL DEFAULT 2, interval INTEGER NOT NULL DEFAULT 300,"
    "  pulse INTEGER NOT NULL DEFAULT 2, guard INTEGER NOT NULL DEFAULT 120, random INTEGER NOT NULL DEFAULT 60,"
    "  policy INTEGER NOT NULL DEFAULT 0, exact INTEGER NOT NULL DEFAULT 0, filter TEXT NOT NULL DEFAULT '',"
    "  owners INTEGER NOT NULL DEFAULT 0, deletes INTEGER NOT NULL DEFAULT 1, trash_keep INTEGER NOT NULL DEFAULT 2592000);"
    "CREATE TABLE hold (scope INTEGER NOT NULL, side INTEGER NOT NULL, n INTEGER NOT NULL, since INTEGER NOT NULL,"
    "  by TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (scope, side, n)) WITHOUT ROWID;"
    "CREATE TABLE item (scope INTEGER NOT NULL, path BLOB NOT NULL, kind INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  mtime INTEGER NOT NULL, mode INTEGER NOT NULL, owner TEXT, attr BLOB NOT NULL, content BLOB NOT NULL,"
    "  create_key INTEGER NOT NULL, create_tick INTEGER NOT NULL, change_key INTEGER NOT NULL, change_tick INTEGER NOT NULL,"
    "  origin_mtime INTEGER NOT NULL, origin_key INTEGER NOT NULL, origin_tick INTEGER NOT NULL, deleted INTEGER NOT NULL,"
    "  deleted_at INTEGER NOT NULL, moved_to BLOB, base BLOB, seq INTEGER NOT NULL, look INTEGER NOT NULL,"
    "  reported INTEGER NOT NULL,"
    "  PRIMARY KEY (scope, path)) WITHOUT ROWID;"
    "CREATE INDEX item_version ON item (scope, change_key, change_tick);"
    "CREATE INDEX item_seq ON item (scope, seq);"
    "CREATE INDEX item_content ON item (scope, content) WHERE NOT deleted AND kind = 1;"
    "CREATE INDEX item_dead ON item (scope, deleted_at) WHERE deleted;"
    "CREATE TABLE knowledge (scope INTEGER NOT NULL, holder TEXT NOT NULL, filter TEXT NOT NULL, item BLOB NOT NULL,"
    "  key INTEGER NOT NULL, tick INTEGER NOT NULL, PRIMARY KEY (scope, holder, filter, item, key)) WITHOUT ROWID;"
    "CREATE TABLE intent (scope INTEGER NOT NULL, path BLOB NOT NULL, key INTEGER NOT NULL, tick INTEGER NOT NULL,"
    "  content BLOB NOT NULL, staged BLOB NOT NULL, what BLOB NOT NULL, PRIMARY KEY (scope, path)) WITHOUT ROWID;";

/* Came later, and is missing from older stores; what it holds may be lost without harm, so the version stays. */
static const char later[] =
    "CREATE TABLE IF NOT EXISTS link (scope INTEGER NOT NULL, side INTEGER NOT NULL, name TEXT NOT NULL, peer TEXT NOT NULL,"
    "  tried INTEGER NOT NULL, done INTEGER NOT NULL, code INTEGER NOT NULL, text TEXT NOT NULL, deferred INTEGER NOT NULL,"
    "  failed INTEGER NOT NULL, PRIMARY KEY (scope, side, name)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS held (scope INTEGER NOT NULL, path BLOB NOT NULL, peer TEXT NOT NULL, replica BLOB NOT NULL,"
    "  tick INTEGER NOT NULL, kind INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, deleted INTEGER NOT NULL,"
    "  since INTEGER NOT NULL, choice INTEGER NOT NULL, PRIMARY KEY (scope, path, peer)) WITHOUT ROWID;";

static int64_t system_now(void *arg)
{
    struct timespec t;
    (void)arg;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int random_id(struct vb_replica_id *id, struct vb_error *err)
{
    if (getrandom(id->b, sizeof id->b, 0) != (ssize_t)sizeof id->b)
        return vb_fail_errno(err, errno, "making a replica id");
    return 0;
}

/* ---- one process at a time (DSN-13) ---- */

static int take_lock(struct vb_replica *r, int dirfd, const char *path, struct vb_error *err)
{
    VB_AUTO_FREE char *name = vb_printf("%s.lock", path);
    r->lock_fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->lock_fd < 0)
        return vb_fail_errno(err, errno, "replica store '%s': opening '%s'", r->name, name);
    int got = vb_try_lock(r->lock_fd, true, err);
    if (got < 0)
        return -1;
    char pid[32] = "";
    if (got == 1) {
        ssize_t n = pread(r->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
        vb_fail(err, VB_E_BUSY, "replica store '%s' is in use by process %s", r->name, pid[0] ? pid : "(unknown)");
        vb_hint(err, "wait for it to end, or stop it");
        return -1;
    }
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(r->lock_fd, 0) < 0 || pwrite(r->lock_fd, pid, (size_t)n, 0) != n)
        return vb_fail_errno(err, errno, "replica store '%s': writing '%s'", r->name, name);
    return 0;
}

/* ---- first and later openings ---- */

static int set_machine(struct vb_replica *r, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "INSERT OR REPLACE INTO meta (name, value) VALUES ('machine', ?1)", err);
    if (!s)
        return -1;
    sqlite3_bind_text(s, 1, r->setup.machine, -1, SQLITE_STATIC);
    return vb_rs_run(r, s, "saving the machine's identity", err);
}

static int add_own(struct vb_replica *r, const struct vb_replica_id *id, const char *note, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "INSERT INTO replica (id, own, note) VALUES (?1, 1, ?2)", err);
    if (!s)
        return -1;
    sqlite3_bind_blob(s, 1, id->b, sizeof id->b, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, note, -1, SQLITE_STATIC);
    return vb_rs_run(r, s, "adding the own replica", err);
}

static int make(struct vb_replica *r, struct vb_error *err)
{
    struct vb_replica_id id;
    VB_AUTO_FREE char *version = vb_printf("PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID, VB_REPLICA_SCHEMA);
    return random_id(&id, err) < 0 || vb_replica_begin(r, err) < 0 || vb_rs_exec(r, schema, err) < 0 ||
           vb_rs_exec(r, version, err) < 0 || add_own(r, &id, "made", err) < 0 || set_machine(r, err) < 0 ||
           vb_replica_commit(r, err) < 0 ? -1 : 0;
}

static int pragma(struct vb_replica *r, const char *sql, int64_t *v, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, sql, err);
    int c = s ? vb_rs_step(r, s, "reading its header", err) : -1;
    *v = c == 1 ? sqlite3_column_int64(s, 0) : 0;
    return c < 0 ? -1 : 0;
}

static int check_version(struct vb_replica *r, bool *empty, struct vb_error *err)
{
    int64_t app, version, objects;
    if (pragma(r, "PRAGMA application_id", &app, err) < 0 || pragma(r, "PRAGMA user_version", &version, err) < 0 ||
        pragma(r, "SELECT count(*) FROM sqlite_master", &objects, err) < 0)
        return -1;
    *empty = objects == 0 && app == 0;
    if (*empty)
        return 0;
    if (app != APPLICATION_ID)
        return vb_fail(err, VB_E_CORRUPT, "'%s' is a database, but not a replica store", r->name);
    if (version == VB_REPLICA_SCHEMA)
        return 0;
    vb_fail(err, VB_E_NEWER_FORMAT, "replica store '%s' has schema version %lld, this program knows version %d", r->name,
            (long long)version, VB_REPLICA_SCHEMA);
    vb_hint(err, "use the version of vbackup that made it, or a later one");
    return -1;
}

static int other_machine(struct vb_replica *r, bool *other, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT value FROM meta WHERE name = 'machine'", err);
    int c = s ? vb_rs_step(r, s, "reading the machine's identity", err) : -1;
    VB_AUTO_FREE char *was = c == 1 ? vb_rs_text(s, 0) : NULL;
    *other = was && strcmp(was, r->setup.machine) != 0;
    return c < 0 ? -1 : 0;
}

static int load(struct vb_replica *r, struct vb_error *err)
{
    int64_t tick, bound, clean, seq, dead, told;
    if (vb_rs_load_keys(r, err) < 0 || vb_rs_get_meta(r, "tick", &tick, err) < 0 || vb_rs_get_meta(r, "bound", &bound, err) < 0 ||
        vb_rs_get_meta(r, "clean", &clean, err) < 0 || vb_rs_get_meta(r, "told", &told, err) < 0 || vb_rs_get_meta(r, "seq", &seq, err) < 0 ||
        vb_rs_get_meta(r, "elapsed", &r->elapsed_ms, err) < 0 ||
        vb_rs_get_meta(r, "now", &r->last_now_ms, err) < 0 || pragma(r, "SELECT coalesce(max(change_tick), 0) FROM item WHERE "
        "change_key = (SELECT key FROM replica WHERE own)", &dead, err) < 0)
        return -1;
    if (!r->own_key || tick < 0 || bound < tick || dead > tick || seq < 0)
        return vb_fail(err, VB_E_CORRUPT, "replica store '%s': its counters contradict each other", r->name);
    /* A version that was minted and lost with its transaction may have been seen by somebody: it is not used again. */
    r->tick = (uint64_t)(clean ? tick : bound);
    r->bound = (uint64_t)bound;
    r->seq = (uint64_t)seq;
    r->committed_tick = (uint64_t)tick;
    r->told = told > 0 && told - 1 <= tick ? (uint64_t)told - 1 : (uint64_t)tick; /* kept plus one; 0: never noted */
    return vb_replica_begin(r, err) < 0 || vb_rs_set_meta(r, "clean", 0, err) < 0 || vb_replica_commit(r, err) < 0 ? -1 : 0;
}

/* The engine opens by name, and follows no link on the way: where the directory is now. */
static char *path_below(int dirfd, const char *path)
{
    if (dirfd == AT_FDCWD || path[0] == '/')
        return vb_strdup(path);
    VB_AUTO_FREE char *link = vb_printf("/proc/self/fd/%d", dirfd);
    VB_AUTO_FREE char *dir = realpath(link, NULL);
    return vb_path_join(dir ? dir : link, path);
}

int vb_replica_open(int dirfd, const char *path, const struct vb_replica_setup *setup, struct vb_replica **out,
                    struct vb_error *err)
{
    struct vb_replica *r = vb_alloc(sizeof *r);
    r->lock_fd = -1;
    r->name = vb_strdup(path);
    r->setup = *setup;
    r->setup.machine = vb_strdup(setup->machine ? setup->machine : "");
    if (!r->setup.now_ms)
        r->setup.now_ms = system_now;
    VB_AUTO_FREE char *name = path_below(dirfd, path);
    bool empty = false, other = false;
    mode_t mask = umask(077);
    int ok = take_lock(r, dirfd, path, err) == 0;
    if (ok && sqlite3_open_v2(name, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW,
                              NULL) != SQLITE_OK) {
        if (r->db)
            vb_rs_fail(r, err, "opening");
        else
            vb_fail(err, VB_E_NO_MEMORY, "replica store '%s': opening", path);
        ok = 0;
    }
    ok = ok && check_version(r, &empty, err) == 0 &&
         vb_rs_exec(r, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;", err) == 0 &&
         (!empty || make(r, err) == 0) && vb_rs_exec(r, later, err) == 0 && load(r, err) == 0 && other_machine(r, &other, err) == 0;
    umask(mask);
    if (ok && other)
        ok = vb_replica_renew(r, "the store came from another machine", err) == 0 && vb_replica_begin(r, err) == 0 &&
             set_machine(r, err) == 0 && vb_replica_commit(r, err) == 0;
    if (!ok) {
        vb_replica_close(r);
        return -1;
    }
    *out = r;
    return 0;
}

int vb_replica_share(struct vb_replica *r, struct vb_replica **out, struct vb_error *err)
{
    struct vb_replica *s = vb_alloc(sizeof *s);
    const char *name = sqlite3_db_filename(r->db, "main");
    *s = (struct vb_replica){ .lock_fd = -1, .name = vb_strdup(r->name), .setup = r->setup, .own = r->own, .own_key = r->own_key, .tick = r->tick,
                              .committed_tick = r->committed_tick, .told = r->told, .bound = r->bound, .seq = r->seq, .elapsed_ms = r->elapsed_ms,
                              .last_now_ms = r->last_now_ms, .shared = true, .second = true };
    s->setup.machine = vb_strdup(r->setup.machine);
    r->shared = true;
    bool ok = name && sqlite3_open_v2(name, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW, NULL) == SQLITE_OK;
    if (!ok)
        vb_fail(err, VB_E_IO, "replica store '%s': opening it once more: %s", r->name, s->db ? sqlite3_errmsg(s->db) : "no memory");
    if (ok) {
        sqlite3_busy_timeout(s->db, SHARED_WAIT_MS);
        sqlite3_busy_timeout(r->db, SHARED_WAIT_MS);
        ok = vb_rs_exec(s, "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;", err) == 0 && vb_rs_load_keys(s, err) == 0;
    }
    if (!ok) {
        vb_replica_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

/* What another connection committed since. */
static int reload(struct vb_replica *r, struct vb_error *err)
{
    int64_t tick, bound, seq, told;
    if (vb_rs_load_keys(r, err) < 0 || vb_rs_get_meta(r, "told", &told, err) < 0 || vb_rs_get_meta(r, "tick", &tick, err) < 0 || vb_rs_get_meta(r, "bound", &bound, err) < 0 ||
        vb_rs_get_meta(r, "seq", &seq, err) < 0 || vb_rs_get_meta(r, "elapsed", &r->elapsed_ms, err) < 0 ||
        vb_rs_get_meta(r, "now", &r->last_now_ms, err) < 0)
        return -1;
    r->committed_tick = (uint64_t)tick;
    if (r->tick < (uint64_t)tick)
        r->tick = (uint64_t)tick;
    if (r->bound < (uint64_t)bound)
        r->bound = (uint64_t)bound;
    r->seq = (uint64_t)seq;
    if (told > 0 && r->told < (uint64_t)told - 1)
        r->told = (uint64_t)told - 1;
    return 0;
}

void vb_replica_close(struct vb_replica *r)
{
    if (!r)
        return;
    vb_replica_rollback(r);
    /* Not opened to its end, or no room to say so: the next opening skips the rest of the block. */
    if (r->db && r->own_key && !r->second && vb_replica_begin(r, NULL) == 0 &&
        (vb_rs_set_meta(r, "clean", 1, NULL) < 0 || vb_replica_commit(r, NULL) < 0))
        vb_replica_rollback(r);
    for (size_t i = 0; i < VB_RS_KEPT; i++)
        vb_rs_finalize(&r->kept[i]);
    sqlite3_close(r->db);
    vb_close_fd(&r->lock_fd);
    free((char *)(uintptr_t)r->setup.machine);
    free(r->keys);
    free(r->name);
    free(r);
}

void vb_replica_close_ptr(struct vb_replica **r)
{
    vb_replica_close(*r);
    *r = NULL;
}

/* ---- transactions ---- */

int vb_replica_begin(struct vb_replica *r, struct vb_error *err)
{
    if (r->in_transaction)
        return vb_fail(err, VB_E_BAD_STATE, "replica store '%s': a transaction is open already", r->name);
    if (vb_rs_exec(r, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    r->in_transaction = true;
    if (r->shared && reload(r, err) < 0) {
        vb_replica_rollback(r);
        return -1;
    }
    vb_rs_tell_time(r);
    return 0;
}

int vb_replica_commit(struct vb_replica *r, struct vb_error *err)
{
    if (vb_rs_need(r, "commit", err) < 0)
        return -1;
    if (vb_rs_set_meta(r, "tick", (int64_t)r->tick, err) < 0 || vb_rs_set_meta(r, "bound", (int64_t)r->bound, err) < 0 ||
        vb_rs_set_meta(r, "seq", (int64_t)r->seq, err) < 0 ||
        vb_rs_set_meta(r, "elapsed", r->elapsed_ms, err) < 0 || vb_rs_set_meta(r, "now", r->last_now_ms, err) < 0 ||
        vb_rs_exec(r, "COMMIT", err) < 0) {
        vb_replica_rollback(r);
        return -1;
    }
    r->in_transaction = false;
    r->committed_tick = r->tick;
    return 0;
}

/* The tick stays where it is: a version once handed out is not handed out again. */
void vb_replica_rollback(struct vb_replica *r)
{
    if (!r->in_transaction)
        return;
    sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    r->in_transaction = false;
    r->pass_scope = 0;
    vb_rs_load_keys(r, NULL);
}

/* ---- identity ---- */

const struct vb_replica_id *vb_replica_own(const struct vb_replica *r)
{
    return &r->own;
}

uint64_t vb_replica_tick(const struct vb_replica *r)
{
    return r->committed_tick;
}

uint64_t vb_replica_bound(const struct vb_replica *r)
{
    return r->bound;
}

int vb_replica_reserve(struct vb_replica *r, uint64_t more, struct vb_error *err)
{
    uint64_t was = r->bound;
    if (more > INT64_MAX - r->tick)
        return vb_fail(err, VB_E_LIMIT, "replica store '%s': no more versions can be counted", r->name);
    if (r->tick + more <= r->bound)
        return 0;
    if (vb_replica_begin(r, err) < 0)
        return -1;
    r->bound = r->tick + more;
    if (vb_replica_commit(r, err) == 0)
        return 0;
    r->bound = was;
    return -1;
}

int vb_replica_mint(struct vb_replica *r, struct vb_version *out, struct vb_error *err)
{
    if (vb_rs_need(r, "a new version", err) < 0)
        return -1;
    if (r->tick >= r->bound)
        return vb_fail(err, VB_E_BAD_STATE, "replica store '%s': no version is reserved beyond %llu", r->name,
                       (unsigned long long)r->tick);
    *out = (struct vb_version){ r->own, ++r->tick };
    return 0;
}

/* Every scope's own knowledge gets the old id's entry that was implied so far. */
static int keep_old_ticks(struct vb_replica *r, struct vb_error *err)
{
    VB_AUTO_STMT *s = vb_rs_prepare(r, "INSERT OR REPLACE INTO knowledge (scope, holder, filter, item, key, tick) "
                                       "SELECT id, '', '', x'', ?1, ?2 FROM scope", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, r->own_key);
    sqlite3_bind_int64(s, 2, (int64_t)r->told);
    return vb_rs_run(r, s, "keeping what the old identity knew", err);
}

/* Versions that nobody was told of may be another change's elsewhere, if this store is an old copy: live rows get new ones,
 * tombstones go (DSN-9). */
static int mint_anew(struct vb_replica *r, int64_t old_key, uint64_t *n, struct vb_error *err)
{
    VB_AUTO_STMT *drop = vb_rs_prepare(r, "DELETE FROM item WHERE deleted AND change_key = ?1 AND change_tick > ?2", err);
    VB_AUTO_STMT *list = drop ? vb_rs_prepare(r, "SELECT scope, path FROM item WHERE change_key = ?1 AND change_tick > ?2", err) : NULL;
    VB_AUTO_STMT *set = list ? vb_rs_prepare(r, "UPDATE item SET origin_tick = CASE WHEN origin_key = change_key AND origin_tick = change_tick "
                                                "THEN ?3 ELSE origin_tick END, origin_key = CASE WHEN origin_key = change_key AND origin_tick = "
                                                "change_tick THEN (SELECT key FROM replica WHERE own) ELSE origin_key END, change_tick = ?3, "
                                                "change_key = (SELECT key FROM replica WHERE own) WHERE scope = ?1 AND path = ?2", err) : NULL;
    int c = -1;
    if (!set)
        return -1;
    for (int i = 0; i < 2; i++) {
        sqlite3_bind_int64(i ? list : drop, 1, old_key);
        sqlite3_bind_int64(i ? list : drop, 2, (int64_t)r->told);
    }
    if (vb_rs_run(r, drop, "taking back deletions", err) < 0)
        return -1;
    struct vb_strv paths = { NULL, 0, 0 };
    int64_t *scopes = NULL;
    size_t n_scopes = 0, cap = 0;
    while ((c = vb_rs_step(r, list, "reading what nobody was told", err)) == 1) {
        VB_GROW(scopes, n_scopes, cap);
        scopes[n_scopes++] = sqlite3_column_int64(list, 0);
        vb_strv_take(&paths, vb_rs_text(list, 1));
    }
    for (size_t i = 0; i < paths.n && c == 0; i++) {
        sqlite3_bind_int64(set, 1, scopes[i]);
        vb_rs_bind_path(set, 2, paths.v[i]);
        sqlite3_bind_int64(set, 3, (int64_t)++*n);
        c = vb_rs_run(r, set, "minting anew", err);
    }
    vb_strv_clear(&paths);
    free(scopes);
    return c < 0 ? -1 : 0;
}

int vb_replica_publish(struct vb_replica *r, struct vb_error *err)
{
    bool inside = r->in_transaction;
    uint64_t was = r->told;
    if (r->told >= r->tick && r->tick)
        return 0;
    if (!inside && vb_replica_begin(r, err) < 0)
        return -1;
    r->told = r->tick;
    if (vb_rs_set_meta(r, "told", (int64_t)r->told + 1, err) == 0 && (inside || vb_replica_commit(r, err) == 0))
        return 0;
    if (!inside)
        vb_replica_rollback(r);
    r->told = was;
    return -1;
}

int vb_replica_renew(struct vb_replica *r, const char *why, struct vb_error *err)
{
    const int64_t old_key = r->own_key;
    uint64_t told = r->told, minted = 0;
    struct vb_replica_id id;
    uint64_t tick = r->tick, bound = r->bound;
    if (random_id(&id, err) < 0 || vb_replica_begin(r, err) < 0)
        return -1;
    if ((r->tick && keep_old_ticks(r, err) < 0) ||
        vb_rs_exec(r, "UPDATE replica SET own = 0; UPDATE scope SET trusted = 0;", err) < 0 || add_own(r, &id, why, err) < 0 ||
        mint_anew(r, old_key, &minted, err) < 0 || vb_rs_set_meta(r, "told", 1, err) < 0) {
        vb_replica_rollback(r);
        return -1;
    }
    r->tick = r->bound = minted;
    r->told = 0;
    if (vb_replica_commit(r, err) == 0)
        return vb_rs_load_keys(r, err);
    r->tick = tick;
    r->bound = bound;
    r->told = told;
    return -1;
}

static int beyond_own(void *arg, const char *item, const struct vb_version *v)
{
    const struct vb_replica *r = arg;
    (void)item;
    return v->tick > r->told && vb_replica_id_compare(&v->replica, &r->own) == 0;
}

int vb_replica_check_peer(struct vb_replica *r, const struct vb_knowledge *peer, bool *renewed, struct vb_error *err)
{
    *renewed = vb_knowledge_each(peer, beyond_own, r) != 0;
    return *renewed ? vb_replica_renew(r, "a peer knows more of this replica than the replica itself", err) : 0;
}
