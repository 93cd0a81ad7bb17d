/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/look.c - the memory of a look, on SQLite.
 *
 *     note(key, value)        "format" is ours, the rest the owner's
 *     dir(path, row)          what the sources compare with
 *     made(path, payload)     what the owner made of it; apart, so that a comparison does not read it
 *     again(path)             to be looked at whatever is found
 *     part(path, value)       what the owner knows of a single entry
 *     watched(path)           has an entry that a source which is told of changes must examine each time
 *
 * Every value has a checksum over itself and its key; that of a payload covers the row beside it as well, so that the two
 * are of the same look.
 *
 * A new memory is written without a journal at PATH.new, synced, and renamed: until then the old one stands.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "tracking/look.h"

#define FORMAT "vbackup look 3"

enum { Q_NOTE, Q_ROW, Q_PAYLOAD, Q_PART, Q_SET_NOTE, Q_PUT_ROW, Q_PUT_PAYLOAD, Q_FORGET_ROW, Q_FORGET_PAYLOAD, Q_FORGET_AGAIN,
       Q_FORGET_PART, Q_FORGET_WATCHED, Q_BELOW_ROW, Q_BELOW_PAYLOAD, Q_BELOW_AGAIN, Q_BELOW_PART, Q_BELOW_WATCHED, Q_AGAIN,
       Q_PUT_PART, Q_WATCHED, Q_COUNT };

static const char *const QUERIES[Q_COUNT] = {
    [Q_NOTE] = "SELECT value, sum FROM note WHERE key = ?1",
    [Q_ROW] = "SELECT row FROM dir WHERE path = ?1",
    [Q_PAYLOAD] = "SELECT payload, sum FROM made WHERE path = ?1",
    [Q_PART] = "SELECT value, sum FROM part WHERE path = ?1",
    [Q_SET_NOTE] = "INSERT OR REPLACE INTO note VALUES (?1, ?2, ?3)",
    [Q_PUT_ROW] = "INSERT OR REPLACE INTO dir VALUES (?1, ?2)",
    [Q_PUT_PAYLOAD] = "INSERT OR REPLACE INTO made VALUES (?1, ?2, ?3)",
    [Q_FORGET_ROW] = "DELETE FROM dir WHERE path = ?1",
    [Q_FORGET_PAYLOAD] = "DELETE FROM made WHERE path = ?1",
    [Q_FORGET_AGAIN] = "DELETE FROM again WHERE path = ?1",
    [Q_FORGET_PART] = "DELETE FROM part WHERE path = ?1",
    [Q_FORGET_WATCHED] = "DELETE FROM watched WHERE path = ?1",
    [Q_BELOW_ROW] = "DELETE FROM dir WHERE path > ?1 AND path < ?2",
    [Q_BELOW_PAYLOAD] = "DELETE FROM made WHERE path > ?1 AND path < ?2",
    [Q_BELOW_AGAIN] = "DELETE FROM again WHERE path > ?1 AND path < ?2",
    [Q_BELOW_PART] = "DELETE FROM part WHERE path > ?1 AND path < ?2",
    [Q_BELOW_WATCHED] = "DELETE FROM watched WHERE path > ?1 AND path < ?2",
    [Q_PUT_PART] = "INSERT OR REPLACE INTO part VALUES (?1, ?2, ?3)",
    [Q_WATCHED] = "INSERT OR IGNORE INTO watched VALUES (?1)",
    [Q_AGAIN] = "INSERT OR IGNORE INTO again VALUES (?1)",
};

struct vb_look {
    sqlite3 *db;
    sqlite3_stmt *q[Q_COUNT];
    char *path;
    bool created; /* lies at PATH.new */
    int lock;     /* on that file, while it is being written; closed last, as closing drops the database's own locks */
};

static char *new_name(const char *path)
{
    return vb_printf("%s.new", path);
}

static int bad(struct vb_look *l, const char *what, struct vb_error *err)
{
    int rc = l->db ? sqlite3_errcode(l->db) : SQLITE_NOMEM;
    enum vb_code code = rc == SQLITE_BUSY || rc == SQLITE_LOCKED            ? VB_E_BUSY
                        : rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB       ? VB_E_CORRUPT
                        : rc == SQLITE_CANTOPEN && access(l->path, F_OK) < 0 ? VB_E_OBJECT_NOT_FOUND
                                                                             : VB_E_IO;
    return vb_fail(err, code, "memory of the last look '%s': %s failed: %s", l->path, what,
                   l->db ? sqlite3_errmsg(l->db) : "no memory");
}

static int run(struct vb_look *l, const char *sql, struct vb_error *err)
{
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : bad(l, sql, err);
}

static struct vb_look *open_db(const char *path, const char *file, int flags, struct vb_error *err)
{
    struct vb_look *l = vb_alloc(sizeof *l);
    l->path = vb_strdup(path);
    l->lock = -1;
    if (sqlite3_open_v2(file, &l->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        bad(l, "opening", err);
        vb_look_close(l);
        return NULL;
    }
    sqlite3_extended_result_codes(l->db, 0);
    return l;
}

static int prepare(struct vb_look *l, int from, int to, struct vb_error *err)
{
    for (int i = from; i < to; i++)
        if (sqlite3_prepare_v3(l->db, QUERIES[i], -1, SQLITE_PREPARE_PERSISTENT, &l->q[i], NULL) != SQLITE_OK)
            return bad(l, "reading", err);
    return 0;
}

static int check_format(struct vb_look *l, struct vb_error *err)
{
    const unsigned char *v;
    size_t n;
    if (vb_look_note(l, "format", &v, &n) != 1 || n != strlen(FORMAT) || memcmp(v, FORMAT, n) != 0)
        return vb_fail(err, VB_E_CORRUPT, "memory of the last look '%s' is damaged or of another version", l->path);
    return 0;
}

struct vb_look *vb_look_open(const char *path, struct vb_error *err)
{
    struct vb_look *l = open_db(path, path, SQLITE_OPEN_READWRITE, err);
    if (l && (run(l, "PRAGMA synchronous=FULL", err) < 0 || run(l, "PRAGMA mmap_size=1073741824", err) < 0 ||
              run(l, "BEGIN IMMEDIATE", err) < 0 || prepare(l, 0, Q_COUNT, err) < 0 || check_format(l, err) < 0)) {
        vb_look_close(l);
        return NULL;
    }
    return l;
}

struct vb_look *vb_look_reader(const char *path, struct vb_error *err)
{
    struct vb_look *l = open_db(path, path, SQLITE_OPEN_READONLY, err);
    if (l && (run(l, "PRAGMA mmap_size=1073741824", err) < 0 || prepare(l, 0, Q_SET_NOTE, err) < 0)) {
        vb_look_close(l);
        return NULL;
    }
    return l;
}

/* The empty file of a new memory, locked: two captures of the same tree may begin one at the same time.  Who comes second
 * does without, also if the file that he opened has been put in place meanwhile. */
static int make_file(const char *file, struct vb_error *err)
{
    struct stat mine, there;
    VB_AUTO_FD int fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600); /* the mode is ours, not umask's */
    if (fd < 0)
        return vb_fail_errno(err, errno, "memory of the look '%s' cannot be made", file);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &mine) < 0 || lstat(file, &there) < 0 ||
        mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        return vb_fail(err, VB_E_BUSY, "memory of the look '%s' is being made by another process", file);
    if (ftruncate(fd, 0) < 0)
        return vb_fail_errno(err, errno, "memory of the look '%s' cannot be made", file);
    return VB_STEAL_FD(fd);
}

struct vb_look *vb_look_create(const char *path, struct vb_error *err)
{
    VB_AUTO_FREE char *file = new_name(path);
    VB_AUTO_FD int fd = make_file(file, err);
    struct vb_look *l = fd < 0 ? NULL : open_db(path, file, SQLITE_OPEN_READWRITE, err);
    if (!l)
        return NULL;
    l->created = true;
    l->lock = VB_STEAL_FD(fd);
    if (run(l, "PRAGMA page_size=16384; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
               "PRAGMA cache_size=-16384; BEGIN;"
               "CREATE TABLE note(key TEXT PRIMARY KEY, value BLOB, sum INT) WITHOUT ROWID;"
               "CREATE TABLE dir(path BLOB PRIMARY KEY, row BLOB);"
               "CREATE TABLE made(path BLOB PRIMARY KEY, payload BLOB, sum INT);"
               "CREATE TABLE again(path BLOB PRIMARY KEY) WITHOUT ROWID;"
               "CREATE TABLE part(path BLOB PRIMARY KEY, value BLOB, sum INT);"
               "CREATE TABLE watched(path BLOB PRIMARY KEY) WITHOUT ROWID;", err) < 0 ||
        prepare(l, 0, Q_COUNT, err) < 0 || vb_look_set_note(l, "format", FORMAT, strlen(FORMAT), err) < 0) {
        vb_look_close(l);
        return NULL;
    }
    return l;
}

void vb_look_close(struct vb_look *l)
{
    if (!l)
        return;
    for (int i = 0; i < Q_COUNT; i++)
        sqlite3_finalize(l->q[i]);
    sqlite3_close(l->db); /* an open transaction is rolled back */
    if (l->created) {
        VB_AUTO_FREE char *file = new_name(l->path);
        unlink(file);
    }
    vb_close_fd(&l->lock);
    free(l->path);
    free(l);
}

/* ---- reading ---- */

static int lookup(struct vb_look *l, int which, const char *key, bool text, const unsigned char **v, size_t *n)
{
    sqlite3_stmt *q = l->q[which];
    sqlite3_reset(q);
    if (text)
        sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
    else
        sqlite3_bind_blob(q, 1, key, (int)strlen(key), SQLITE_STATIC);
    if (sqlite3_step(q) != SQLITE_ROW || sqlite3_column_type(q, 0) != SQLITE_BLOB)
        return 0;
    *v = sqlite3_column_blob(q, 0);
    *n = (size_t)sqlite3_column_bytes(q, 0);
    return *v != NULL;
}

static uint32_t sum_of(const char *key, const void *v, size_t n)
{
    uint32_t k = vb_crc32(key, strlen(key));
    return vb_crc32(v, n) ^ (k << 9 | k >> 23);
}

int vb_look_note(struct vb_look *l, const char *key, const unsigned char **v, size_t *n)
{
    return lookup(l, Q_NOTE, key, true, v, n) && sqlite3_column_int64(l->q[Q_NOTE], 1) == sum_of(key, *v, *n);
}

int vb_look_row(struct vb_look *l, const char *path, struct vb_look_row *row)
{
    const unsigned char *v;
    size_t n;
    return lookup(l, Q_ROW, path, false, &v, &n) && vb_look_row_parse(row, v, n, path);
}

int vb_look_payload(struct vb_look *l, const char *path, const unsigned char **v, size_t *n)
{
    const unsigned char *row;
    size_t n_row;
    return lookup(l, Q_ROW, path, false, &row, &n_row) && lookup(l, Q_PAYLOAD, path, false, v, n) &&
           sqlite3_column_int64(l->q[Q_PAYLOAD], 1) == (sum_of(path, *v, *n) ^ vb_crc32(row, n_row));
}

int vb_look_part(struct vb_look *l, const char *path, const unsigned char **v, size_t *n)
{
    return lookup(l, Q_PART, path, false, v, n) && sqlite3_column_int64(l->q[Q_PART], 1) == sum_of(path, *v, *n);
}

/* ---- changing ---- */

static int step(struct vb_look *l, int which, struct vb_error *err)
{
    int rc = sqlite3_step(l->q[which]);
    if (rc != SQLITE_DONE)
        bad(l, "writing", err);
    sqlite3_reset(l->q[which]);
    sqlite3_clear_bindings(l->q[which]);
    return rc == SQLITE_DONE ? 0 : -1;
}

int vb_look_set_note(struct vb_look *l, const char *key, const void *v, size_t n, struct vb_error *err)
{
    sqlite3_reset(l->q[Q_NOTE]); /* a pending read would hold the transaction open */
    sqlite3_bind_text(l->q[Q_SET_NOTE], 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(l->q[Q_SET_NOTE], 2, v, n, SQLITE_STATIC);
    sqlite3_bind_int64(l->q[Q_SET_NOTE], 3, sum_of(key, v, n));
    return step(l, Q_SET_NOTE, err);
}

static int put(struct vb_look *l, int which, const char *path, const struct vb_buf *b, struct vb_error *err)
{
    sqlite3_bind_blob(l->q[which], 1, path, (int)strlen(path), SQLITE_STATIC);
    sqlite3_bind_blob64(l->q[which], 2, b->data, b->len, SQLITE_STATIC);
    return step(l, which, err);
}

static void end_reads(struct vb_look *l)
{
    for (int i = 0; i < Q_SET_NOTE; i++)
        sqlite3_reset(l->q[i]);
}

static int set(struct vb_look *l, int which, const char *path, struct vb_error *err)
{
    sqlite3_bind_blob(l->q[which], 1, path, (int)strlen(path), SQLITE_STATIC);
    return step(l, which, err);
}

int vb_look_put(struct vb_look *l, const char *path, const struct vb_buf *row, const struct vb_buf *payload,
                struct vb_error *err)
{
    end_reads(l);
    sqlite3_bind_int64(l->q[Q_PUT_PAYLOAD], 3, sum_of(path, payload->data, payload->len) ^ vb_crc32(row->data, row->len));
    if (put(l, Q_PUT_ROW, path, row, err) < 0 || put(l, Q_PUT_PAYLOAD, path, payload, err) < 0)
        return -1;
    bool watched = vb_look_row_is_watched(&(struct vb_look_row){ row->data, vb_look_row_count(row->data, row->len) });
    return l->created && !watched ? 0 : set(l, watched ? Q_WATCHED : Q_FORGET_WATCHED, path, err);
}

int vb_look_set_part(struct vb_look *l, const char *path, const struct vb_buf *value, struct vb_error *err)
{
    int which = value ? Q_PUT_PART : Q_FORGET_PART;
    end_reads(l);
    if (value) {
        sqlite3_bind_int64(l->q[which], 3, sum_of(path, value->data, value->len));
        return put(l, which, path, value, err);
    }
    sqlite3_bind_blob(l->q[which], 1, path, (int)strlen(path), SQLITE_STATIC);
    return step(l, which, err);
}

int vb_look_forget(struct vb_look *l, const char *path, bool and_below, struct vb_error *err)
{
    end_reads(l);
    for (int which = Q_FORGET_ROW; which <= Q_FORGET_WATCHED; which++) {
        sqlite3_bind_blob(l->q[which], 1, path, (int)strlen(path), SQLITE_STATIC);
        if (step(l, which, err) < 0)
            return -1;
    }
    VB_AUTO_FREE char *from = vb_printf("%s/", path), *to = vb_printf("%s0", path); /* '0' follows '/' */
    for (int which = Q_BELOW_ROW; and_below && which <= Q_BELOW_WATCHED; which++) {
        sqlite3_bind_blob(l->q[which], 1, from, (int)strlen(from), SQLITE_STATIC);
        sqlite3_bind_blob(l->q[which], 2, to, (int)strlen(to), SQLITE_STATIC);
        if (step(l, which, err) < 0)
            return -1;
    }
    return 0;
}

int vb_look_set_again(struct vb_look *l, const char *path, bool again, struct vb_error *err)
{
    end_reads(l);
    return l->created && !again ? 0 : set(l, again ? Q_AGAIN : Q_FORGET_AGAIN, path, err);
}

struct pick {
    const uint64_t *inodes; /* NULL: every row */
    size_t n;
    void (*fn)(void *arg, const char *path);
    void *arg;
};

static int each(struct vb_look *l, const char *sql, const struct pick *k, struct vb_error *err)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(l->db, sql, -1, &q, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(q);
        if (rc != SQLITE_ROW)
            break;
        if (k->inodes && !vb_look_row_has_inode(sqlite3_column_blob(q, 1), (size_t)sqlite3_column_bytes(q, 1), k->inodes, k->n))
            continue;
        VB_AUTO_FREE char *path = vb_strndup(sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0));
        k->fn(k->arg, path ? path : "");
    }
    if (rc != SQLITE_DONE)
        bad(l, "reading", err);
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? 0 : -1;
}

int vb_look_each_again(struct vb_look *l, void (*fn)(void *arg, const char *path), void *arg, struct vb_error *err)
{
    return each(l, "SELECT path FROM again", &(struct pick){ .fn = fn, .arg = arg }, err);
}

int vb_look_each_watched(struct vb_look *l, void (*fn)(void *arg, const char *path), void *arg, struct vb_error *err)
{
    return each(l, "SELECT path FROM watched", &(struct pick){ .fn = fn, .arg = arg }, err);
}

int vb_look_each_holder(struct vb_look *l, const uint64_t *inodes, size_t n, void (*fn)(void *arg, const char *path),
                        void *arg, struct vb_error *err)
{
    if (n == 0)
        return 0;
    return each(l, "SELECT path, row FROM dir", &(struct pick){ .inodes = inodes, .n = n, .fn = fn, .arg = arg }, err);
}

static int sync_path(const char *path, int flags, struct vb_error *err)
{
    VB_AUTO_FD int fd = open(path, flags | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? vb_fail_errno(err, errno, "'%s' cannot be made durable", path) : 0;
}

static int put_in_place(struct vb_look *l, struct vb_error *err)
{
    VB_AUTO_FREE char *file = new_name(l->path), *journal = vb_printf("%s-journal", l->path);
    const char *slash = strrchr(l->path, '/');
    VB_AUTO_FREE char *dir = slash ? vb_strndup(l->path, (size_t)(slash - l->path) + 1) : vb_strdup(".");
    if (sync_path(file, O_RDWR, err) < 0)
        return -1;
    unlink(journal); /* of the old one: it must not be played into the new one */
    if (sync_path(dir, O_RDONLY | O_DIRECTORY, err) < 0)
        return -1;
    if (rename(file, l->path) < 0)
        return vb_fail_errno(err, errno, "memory of the look '%s' cannot be put in place", l->path);
    l->created = false;
    return sync_path(dir, O_RDONLY | O_DIRECTORY, err);
}

int vb_look_commit(struct vb_look *l, struct vb_error *err)
{
    end_reads(l);
    if (run(l, "COMMIT", err) < 0)
        return -1;
    if (l->created)
        return put_in_place(l, err);
    return utimensat(AT_FDCWD, l->path, NULL, 0) < 0 ? vb_fail_errno(err, errno, "'%s' cannot be marked", l->path) : 0;
}

/* ---- keeping house ---- */

void vb_look_remove(const char *path)
{
    VB_AUTO_FREE char *file = new_name(path), *journal = vb_printf("%s-journal", path);
    unlink(path);
    unlink(journal);
    unlink(file);
}

void vb_look_sweep(const char *dir, unsigned days)
{
    VB_AUTO_DIR DIR *d = opendir(dir);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* lint: allow clock_gettime, compared with times of files */
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            now.tv_sec - st.st_mtim.tv_sec > (int64_t)days * 86400)
            unlinkat(dirfd(d), e->d_name, 0);
    }
}
