/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/sqlite/lock.c - the lock on one database, the proof that it was held, and what a restore does to the files.
 *
 * Questions about locks are asked by a child process: it may open and close the files without harm to our own locks.
 * The places of the locks are part of SQLite's file format (sqlite.org/fileformat2.html, walformat.html).
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "writers/sqlite/sqlite_writer.h"

enum {
    RESERVED_BYTE = 0x40000001, /* in the database file: held by who writes, rollback journal */
    SHARED_FIRST = 0x40000002,
    SHARED_SIZE = 510,
    SHM_WRITE = 120, /* in the -shm file: held by who writes, write-ahead log */
    SHM_DMS = 128    /* held (shared) by every connection */
};

/* ---- asking through a child ---- */

/* The process that holds a lock which conflicts with a write lock on these bytes; 0 none, -1 unknown.  Runs in a
 * forked child with calls that are safe there. */
static pid_t lock_holder(const char *path, off_t start, off_t len)
{
    int p[2];
    pid_t answer = -1;

    if (pipe2(p, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && fcntl(fd, F_GETLK, &l) == 0)
            answer = l.l_type == F_UNLCK ? 0 : l.l_pid;
        else if (fd < 0 && errno == ENOENT)
            answer = 0;
        ssize_t k = write(p[1], &answer, sizeof answer);
        _exit(k == (ssize_t)sizeof answer ? 0 : 1);
    }
    close(p[1]);
    if (pid > 0) {
        if (read(p[0], &answer, sizeof answer) != (ssize_t)sizeof answer)
            answer = -1;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(p[0]);
    return answer;
}

/* ---- backup ---- */

static int exec(sqlite3 *c, const char *sql)
{
    return sqlite3_exec(c, sql, NULL, NULL, NULL);
}

/* First column of the first row, or NULL; caller frees. */
static char *one_value(sqlite3 *c, const char *sql)
{
    sqlite3_stmt *st = NULL;
    char *v = NULL;

    if (sqlite3_prepare_v2(c, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        v = vbw_strdup((const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return v;
}

static int fail_sqlite(const struct vbw *w, const struct sqw_db *d, const char *what)
{
    int rc = sqlite3_extended_errcode(d->conn) & 0xff;
    enum vb_code code = rc == SQLITE_BUSY || rc == SQLITE_LOCKED  ? VB_E_WRITER_RETRYABLE
                        : rc == SQLITE_NOMEM || rc == SQLITE_FULL ? VB_E_WRITER_OUT_OF_RESOURCES
                        : rc == SQLITE_READONLY || rc == SQLITE_PERM || rc == SQLITE_CANTOPEN
                            ? VB_E_ACCESS_DENIED
                            : VB_E_WRITER_NON_RETRYABLE;
    const char *hint = code == VB_E_ACCESS_DENIED
                           ? "the writer's user must be allowed to write the database and its directory"
                           : NULL;

    return vbw_fail(w, code, hint, "cannot %s database '%s': %s", what, d->path, sqlite3_errmsg(d->conn));
}

int sqw_connect(const struct vbw *w, struct sqw_db *d)
{
    struct stat before, after;

    sqw_release(d);
    if (stat(d->path, &before) != 0)
        return vbw_fail_errno(w, errno, "correct the path in the configuration of the sqlite writer",
                              "cannot find database '%s'", d->path);
    if (sqlite3_open_v2(d->path, &d->conn, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE,
                        NULL) != SQLITE_OK) {
        fail_sqlite(w, d, "open");
        sqw_release(d);
        return -1;
    }
    /* our going away must not change the application's files */
    sqlite3_db_config(d->conn, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(d->conn, 0);
    VBW_AUTO char *mode = NULL;
    for (int i = 0; i < 2000 && mode == NULL; i++) { /* reads the header; waits out an exclusive lock */
        mode = one_value(d->conn, "PRAGMA journal_mode");
        if (mode == NULL && (sqlite3_errcode(d->conn) & 0xff) != SQLITE_BUSY)
            break;
        if (mode == NULL)
            vbw_nap_us(1000);
    }
    VBW_AUTO char *version = mode != NULL ? one_value(d->conn, "PRAGMA schema_version") : NULL;
    if (mode == NULL || (version == NULL && (sqlite3_errcode(d->conn) & 0xff) != SQLITE_BUSY)) {
        fail_sqlite(w, d, "read");
        sqw_release(d);
        return -1;
    }
    d->wal = strcmp(mode, "wal") == 0;
    if (strcmp(mode, "off") == 0 || strcmp(mode, "memory") == 0)
        w->svc->log(w->h, VB_WLOG_WARNING,
                    "database '%s' has journal mode %s: a crash of its application can destroy it", d->path, mode);
    if (stat(d->path, &after) != 0 || after.st_dev != before.st_dev || after.st_ino != before.st_ino) {
        sqw_release(d);
        return vbw_fail(w, VB_E_WRITER_RETRYABLE, "run the backup again",
                        "database '%s' was replaced while it was opened", d->path);
    }
    d->dev = after.st_dev;
    d->ino = after.st_ino;
    return 0;
}

int sqw_lock(const struct vbw *w, struct sqw_db *d, uint64_t until_us)
{
    d->lost = NULL;
    for (;;) {
        int rc = exec(d->conn, "BEGIN IMMEDIATE");
        if (rc == SQLITE_OK)
            break;
        if ((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED)
            return fail_sqlite(w, d, "lock");
        if (w->svc->shutting_down(w->h))
            return vbw_fail(w, VB_E_WRITER_NON_RETRYABLE, NULL, "gave up locking database '%s': the agent is gone",
                            d->path);
        if (vbw_now_us() >= until_us)
            return vbw_fail(w, VB_E_WRITER_RETRYABLE,
                            "look for a transaction that stays open for long, or raise lock-wait",
                            "could not lock database '%s' in time: another process is writing", d->path);
        vbw_nap_us(500);
    }
    d->locked = true;
    /* the mode may have changed since we connected */
    VBW_AUTO char *mode = one_value(d->conn, "PRAGMA journal_mode");
    d->wal = mode != NULL && strcmp(mode, "wal") == 0;
    return 0;
}

void sqw_check_held(struct sqw_db *d)
{
    struct stat st;

    if (d->lost != NULL)
        return;
    if (d->conn == NULL || !d->locked || sqlite3_get_autocommit(d->conn) != 0) {
        d->lost = "the transaction is gone";
        return;
    }
    if (stat(d->path, &st) != 0 || st.st_dev != d->dev || st.st_ino != d->ino) {
        d->lost = "the file was replaced";
        return;
    }
    VBW_AUTO char *shm = vbw_printf("%s-shm", d->path);
    pid_t holder = d->wal ? lock_holder(shm, SHM_WRITE, 1) : lock_holder(d->path, RESERVED_BYTE, 1);
    if (holder != getpid())
        d->lost = holder == 0 ? "nobody holds it" : "it is not ours";
}

void sqw_release(struct sqw_db *d)
{
    if (d->conn != NULL) {
        if (d->locked)
            exec(d->conn, "ROLLBACK");
        sqlite3_close_v2(d->conn);
    }
    d->conn = NULL;
    d->locked = false;
}

/* ---- restore ---- */

int sqw_check_unused(const struct vbw *w, const char *path)
{
    VBW_AUTO char *shm = vbw_printf("%s-shm", path);
    pid_t holder = lock_holder(shm, SHM_DMS, 1);

    if (holder <= 0)
        holder = lock_holder(path, RESERVED_BYTE - 1, SHARED_FIRST + SHARED_SIZE - RESERVED_BYTE + 1);
    if (holder > 0)
        return vbw_fail(w, VB_E_BUSY, "stop the application", "database '%s' is in use by process %ld", path,
                        (long)holder);
    return 0;
}

int sqw_move_aside(const struct vbw *w, const char *path)
{
    static const char *const parts[] = { "-journal", "-wal", "-shm", "" };
    VBW_AUTO char *dir = vbw_dirname(path);

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        VBW_AUTO char *from = vbw_printf("%s%s", path, parts[i]);
        VBW_AUTO char *to = NULL;
        if (vbw_move_aside(from, &to) != 0)
            return vbw_fail_errno(w, errno, "the writer's user must be allowed to write the directory",
                                  "cannot move '%s' aside", from);
        if (to != NULL)
            w->svc->log(w->h, VB_WLOG_NOTICE, "moved '%s' to '%s'", from, to);
    }
    if (vbw_exists(dir) && vbw_fsync_dir(dir) != 0)
        return vbw_fail_errno(w, errno, NULL, "cannot sync directory '%s'", dir);
    return 0;
}

int sqw_verify(const struct vbw *w, const char *path)
{
    struct sqw_db d = { .path = (char *)(uintptr_t)path };
    int rc = -1;
    VBW_AUTO char *quick = NULL, *whole = NULL, *foreign = NULL;

    if (sqlite3_open_v2(path, &d.conn, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK) {
        fail_sqlite(w, &d, "open the restored");
        goto out;
    }
    sqlite3_busy_timeout(d.conn, 5000);
    quick = one_value(d.conn, "PRAGMA quick_check(1)");
    if (quick != NULL && strcmp(quick, "ok") == 0)
        whole = one_value(d.conn, "PRAGMA integrity_check(1)");
    if (quick == NULL || whole == NULL || strcmp(whole, "ok") != 0) {
        const char *why = quick == NULL || (whole == NULL && strcmp(quick, "ok") == 0) ? sqlite3_errmsg(d.conn)
                          : strcmp(quick, "ok") != 0                                   ? quick
                                                                                       : whole;
        vbw_fail(w, VB_E_CORRUPT, "restore an older backup, and check this one with vbackup check",
                 "restored database '%s' is damaged: %s", path, why);
        goto out;
    }
    foreign = one_value(d.conn, "PRAGMA foreign_key_check");
    if (foreign != NULL) {
        vbw_fail(w, VB_E_CORRUPT, "look at it with PRAGMA foreign_key_check",
                 "restored database '%s' breaks a foreign key in table '%s'", path, foreign);
        goto out;
    }
    if ((sqlite3_errcode(d.conn) & 0xff) != SQLITE_DONE && (sqlite3_errcode(d.conn) & 0xff) != SQLITE_OK) {
        fail_sqlite(w, &d, "check foreign keys of");
        goto out;
    }
    rc = 0;
out:
    sqlite3_close_v2(d.conn);
    return rc;
}
