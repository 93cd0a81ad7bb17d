/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * samples/shop-front/shop_front.c - the writer of a small distributed application.
 *
 * The front end of the shop keeps its pages, a configuration file and an SQLite database in one directory; the
 * orders' other half is in a PostgreSQL cluster on another host.  Neither half is of use without the other, so this
 * writer says so: its component depends on two components of the PostgreSQL writer over there.  Two shapes are
 * possible:
 *
 *   shape = 1   component `shop` has the files and the dependencies: always everything together
 *   shape = 2   component `shop` has the files, component `backend` has no files and the dependencies: the user
 * chooses
 *
 * From PrepareForBackup to the end the writer holds the topology lock (run/topology.lock): nobody may move or add a
 * database while the backup of this host and the jobs on the other one must fit together (see shop-admin).  After a
 * restore the two halves are of slightly different instants; PostRestore says which orders have no counterpart.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <sqlite3.h>
#include <libpq-fe.h> /* lint: allow the sample application speaks to its own back end */
#include <vbackup/writer.h>

#define POSTGRESQL_WRITER "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0004"

struct shop {
    const struct vb_writer_services *svc;
    char *directory, *database; /* DIRECTORY, DIRECTORY/data/shop.db */
    int events;                 /* run/events.log, open for appending from the beginning */
    int topology;               /* run/topology.lock while we hold it, or -1 */
    sqlite3 *db;                /* between prepare_snapshot and the release */
    bool locked;
};

static const char *const OPTIONS[] = {
    "directory", "backend", "backend-path", "backend-components", "backend-conninfo", "shape", NULL
};

/* One line with the wall clock in microseconds: what a test, or a curious reader, sees of us. */
static void event(const struct shop *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void event(const struct shop *s, const char *fmt, ...)
{
    char text[512];
    struct timespec t;
    va_list ap;

    if (s->events < 0)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    clock_gettime(CLOCK_REALTIME, &t);
    dprintf(s->events, "%lld%06ld %s\n", (long long)t.tv_sec, t.tv_nsec / 1000, text);
}

static char *path_of(const struct shop *s, const char *name)
{
    char *p = NULL;

    return asprintf(&p, "%s/%s", s->directory, name) < 0 ? NULL : p;
}

static int shop_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    const char *directory = svc->option(h, "directory");
    struct shop *s = calloc(1, sizeof *s);
    char *run, *log;

    if (directory == NULL || directory[0] != '/')
        return svc->fail(h, VB_E_CONFIG, "the shop-front writer needs an absolute directory",
                         "add directory = /PATH");
    if (s == NULL || (s->directory = strdup(directory)) == NULL ||
        (s->database = path_of(s, "data/shop.db")) == NULL || (run = path_of(s, "run")) == NULL ||
        (log = path_of(s, "run/events.log")) == NULL)
        return svc->fail(h, VB_E_NO_MEMORY, "out of memory", NULL);
    s->svc = svc;
    s->topology = -1;
    mkdir(directory, 0755); /* a new machine has nothing yet, and is restored to */
    mkdir(run, 0755);
    s->events = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    free(run);
    free(log);
    *ctx = s;
    return 0;
}

/* ---- what there is ---- */

static int add_files(const struct shop *s, struct vb_host *h, const char *sub, const char *filespec, int recursive)
{
    char *path = path_of(s, sub);
    const struct vb_fileset_spec f = {
        .size = sizeof f, .path = *sub != '\0' ? path : s->directory, .filespec = filespec, .recursive = recursive
    };
    int rc = s->svc->add_files(h, NULL, "shop", &f);

    free(path);
    return rc;
}

/* \\HOST\ in front of the path makes a dependency remote. */
static int add_dependencies(const struct shop *s, struct vb_host *h, const char *component)
{
    const char *host = s->svc->option(h, "backend"), *lp = s->svc->option(h, "backend-path");
    const char *list = s->svc->option(h, "backend-components");
    char *path = NULL, *copy = strdup(list != NULL ? list : "cluster config");
    int rc = 0;

    if (host == NULL)
        rc = s->svc->fail(h, VB_E_CONFIG, "the shop-front writer does not know its back end", "add backend = HOST");
    else if (copy == NULL || asprintf(&path, "\\\\%s\\%s", host, lp != NULL ? lp : "") < 0)
        rc = s->svc->fail(h, VB_E_NO_MEMORY, "out of memory", NULL);
    for (char *save = NULL, *name = rc == 0 ? strtok_r(copy, " ", &save) : NULL; rc == 0 && name != NULL;
         name = strtok_r(NULL, " ", &save))
        rc = s->svc->add_dependency(h, NULL, component, POSTGRESQL_WRITER, path, name);
    free(path);
    free(copy);
    return rc;
}

static int shop_identify(void *ctx, struct vb_host *h)
{
    const struct shop *s = ctx;
    const char *shape = s->svc->option(h, "shape");
    bool apart = shape != NULL && strcmp(shape, "2") == 0;
    struct vb_component_spec c = { .size = sizeof c,
                                   .type = VB_COMPONENT_FILEGROUP,
                                   .name = "shop",
                                   .caption = "pages, settings and database of the shop",
                                   .selectable = 1,
                                   .selectable_for_restore = 1 };

    if (s->svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0 ||
        s->svc->add_component(h, &c) != 0 || add_files(s, h, "content", "*", 1) != 0 ||
        add_files(s, h, "", "shop.conf", 0) != 0 || add_files(s, h, "data", "shop.db", 0) != 0 ||
        add_files(s, h, "data", "shop.db-wa?", 0) != 0) /* a pattern: the log may or may not be there */
        return -1;
    if (apart) {
        c.name = "backend";
        c.caption = "the databases behind the shop";
        if (s->svc->add_component(h, &c) != 0)
            return -1;
    }
    return add_dependencies(s, h, apart ? "backend" : "shop");
}

/* ---- backup ---- */

static int shop_prepare_backup(void *ctx, struct vb_host *h)
{
    struct shop *s = ctx;
    char *path = path_of(s, "run/topology.lock");
    int tries = 20, rc = -1;

    s->topology = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    free(path);
    /* somebody may just be looking at it (shop-admin status): that is over in no time */
    while (s->topology >= 0 && (rc = flock(s->topology, LOCK_EX | LOCK_NB)) != 0 && --tries > 0)
        nanosleep(&(struct timespec){ 0, 50 * 1000 * 1000 }, NULL);
    if (rc != 0)
        return s->svc->fail(h, VB_E_WRITER_RETRYABLE,
                            "the topology of the shop is being changed, or another backup runs",
                            "try again when it is done");
    event(s, "topology locked");
    return 0;
}

static void unlock_topology(struct shop *s)
{
    if (s->topology >= 0) {
        close(s->topology);
        event(s, "topology unlocked");
    }
    s->topology = -1;
}

static void unlock_database(struct shop *s)
{
    if (s->locked)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close_v2(s->db);
    s->db = NULL;
    s->locked = false;
}

static int shop_prepare_snapshot(void *ctx, struct vb_host *h)
{
    struct shop *s = ctx;

    if (sqlite3_open_v2(s->database, &s->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_exec(s->db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK)
        return s->svc->fail(h, VB_E_WRITER_RETRYABLE, sqlite3_errmsg(s->db),
                            "is the shop's database there and readable?");
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return 0;
}

/* The lock that every writer of the database needs.  The library's own waiting loses against busy writers. */
static int shop_freeze(void *ctx, struct vb_host *h)
{
    struct shop *s = ctx;
    int rc;

    event(s, "freeze begin");
    while ((rc = sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL)) == SQLITE_BUSY &&
           s->svc->deadline_ms(h) > 1000 && !s->svc->shutting_down(h)) {
        const struct timespec a_moment = { 0, 500000 };
        nanosleep(&a_moment, NULL);
    }
    if (rc != SQLITE_OK)
        return s->svc->fail(h, VB_E_WRITER_RETRYABLE, sqlite3_errmsg(s->db), "try again when the shop is less busy");
    s->locked = true;
    event(s, "freeze end");
    return 0;
}

static int shop_thaw(void *ctx, struct vb_host *h)
{
    struct shop *s = ctx;
    bool held = s->locked && sqlite3_get_autocommit(s->db) == 0;

    unlock_database(s);
    event(s, "thaw end");
    return held ? 0 : s->svc->fail(h, VB_E_WRITER_RETRYABLE, "the lock on the shop's database was lost", NULL);
}

/* Abort, BackupShutdown: whatever we hold, from any point, twice. */
static int shop_release(void *ctx, struct vb_host *h)
{
    struct shop *s = ctx;

    (void)h;
    unlock_database(s);
    unlock_topology(s);
    return 0;
}

/* Comes when everything is over, the jobs on the back end included: only now may the topology change again. */
static int shop_backup_complete(void *ctx, struct vb_host *h)
{
    struct shop *s = ctx;

    for (unsigned i = 0; i < s->svc->record_count(h); i++) {
        struct vb_record *r = s->svc->record(h, i);
        event(s, "backup of %s %s", s->svc->record_name(r),
              s->svc->record_backup_succeeded(r) ? "succeeded" : "failed");
    }
    return shop_release(ctx, h);
}

/* ---- restore ---- */

static struct vb_record *shop_record(const struct shop *s, struct vb_host *h)
{
    for (unsigned i = 0; i < s->svc->record_count(h); i++)
        if (strcmp(s->svc->record_name(s->svc->record(h, i)), "shop") == 0)
            return s->svc->record(h, i);
    return NULL;
}

/* Database and log go aside together: an old log beside a restored database would destroy it. */
static int shop_pre_restore(void *ctx, struct vb_host *h)
{
    static const char *const parts[] = { "data/shop.db-wal", "data/shop.db-shm", "data/shop.db-journal",
                                         "data/shop.db" };
    const struct shop *s = ctx;
    struct vb_record *r = shop_record(s, h);
    const char *options = r != NULL ? s->svc->record_restore_options(r) : NULL;

    event(s, "pre-restore");
    if (r == NULL)
        return 0;
    if (access(s->database, F_OK) == 0 && (options == NULL || strstr(options, "overwrite") == NULL))
        return s->svc->fail(h, VB_E_GUARD, "the shop has a database already",
                            "allow overwriting if it may be replaced");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char *from = path_of(s, parts[i]), *to = NULL;
        int rc = from == NULL || asprintf(&to, "%s.vbackup-old-%lld", from, (long long)time(NULL)) < 0
                     ? -1
                     : rename(from, to);
        bool bad = rc != 0 && errno != ENOENT;
        free(from);
        free(to);
        if (bad)
            return s->svc->fail(h, VB_E_IO, "cannot move the old database of the shop aside", NULL);
    }
    return 0;
}

/* libpq's messages have several lines; a reason is one. */
static int fail_connect(const struct shop *s, struct vb_host *h, const char *why)
{
    char text[256];

    snprintf(text, sizeof text, "cannot ask the back end: %.*s", (int)strcspn(why, "\n"), why);
    return s->svc->fail(h, VB_E_CONNECT, text, "is the back end running, and backend-conninfo right?");
}

static int exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* The orders that the back end knows, into a temporary table of our own database. */
static int fetch_orders(const struct shop *s, struct vb_host *h, sqlite3 *db, const char *conninfo)
{
    PGconn *c = PQconnectdb(conninfo);
    PGresult *r = PQstatus(c) == CONNECTION_OK ? PQexec(c, "SELECT client, n FROM orders") : NULL;
    sqlite3_stmt *st = NULL;
    int rc = PQresultStatus(r) == PGRES_TUPLES_OK ? 0 : -1;

    if (rc != 0)
        fail_connect(s, h, PQerrorMessage(c));
    else if (exec(db, "CREATE TEMP TABLE theirs(client INTEGER, n INTEGER, PRIMARY KEY(client, n))") != SQLITE_OK ||
             sqlite3_prepare_v2(db, "INSERT INTO theirs VALUES(?, ?)", -1, &st, NULL) != SQLITE_OK)
        rc = s->svc->fail(h, VB_E_WRITER_NON_RETRYABLE, sqlite3_errmsg(db), NULL);
    exec(db, "BEGIN");
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        sqlite3_bind_int64(st, 1, strtoll(PQgetvalue(r, i, 0), NULL, 10));
        sqlite3_bind_int64(st, 2, strtoll(PQgetvalue(r, i, 1), NULL, 10));
        rc = sqlite3_step(st) == SQLITE_DONE ? 0
                                             : s->svc->fail(h, VB_E_WRITER_NON_RETRYABLE, sqlite3_errmsg(db), NULL);
        sqlite3_reset(st);
    }
    exec(db, "COMMIT");
    sqlite3_finalize(st);
    PQclear(r);
    PQfinish(c);
    return rc;
}

/* The front end's snapshot is the older one: the back end may know orders that we do not (they get a row), never the
 * other way round (such an order is marked lost). */
static int reconcile(const struct shop *s, struct vb_host *h, sqlite3 *db)
{
    const char *conninfo = s->svc->option(h, "backend-conninfo");
    int lost, recovered;

    if (conninfo == NULL)
        return 0;
    if (fetch_orders(s, h, db, conninfo) != 0)
        return -1;
    if (exec(db, "UPDATE orders SET status = 'lost' WHERE NOT EXISTS (SELECT 1 FROM theirs t WHERE t.client = "
                 "orders.client AND t.n = "
                 "orders.n)") != SQLITE_OK)
        return s->svc->fail(h, VB_E_WRITER_NON_RETRYABLE, sqlite3_errmsg(db), NULL);
    lost = sqlite3_changes(db);
    if (exec(db, "INSERT INTO orders(client, n, status) SELECT client, n, 'recovered' FROM theirs t WHERE NOT EXISTS "
                 "(SELECT 1 FROM "
                 "orders o WHERE o.client = t.client AND o.n = t.n)") != SQLITE_OK)
        return s->svc->fail(h, VB_E_WRITER_NON_RETRYABLE, sqlite3_errmsg(db), NULL);
    recovered = sqlite3_changes(db);
    event(s, "post-restore orders lost %d recovered %d", lost, recovered);
    s->svc->log(h, VB_WLOG_NOTICE,
                "orders of the shop that the back end does not know: %d; orders of the back end that got a row: %d",
                lost, recovered);
    return 0;
}

static int shop_post_restore(void *ctx, struct vb_host *h)
{
    const struct shop *s = ctx;
    struct vb_record *r = shop_record(s, h);
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int rc = 0;

    event(s, "post-restore begin");
    if (r != NULL && s->svc->record_restore_status(r) == VB_FILE_RESTORE_FAILED)
        return s->svc->fail(h, VB_E_WRITER_NON_RETRYABLE, "the files of the shop were restored in part only",
                            "restore them again");
    /* also when only the back end was restored: then our rows are of another instant all the more (D-60) */
    if (sqlite3_open_v2(s->database, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        rc = s->svc->fail(h, VB_E_CORRUPT, "the restored database of the shop is damaged", "restore an older backup");
    sqlite3_finalize(st);
    if (rc == 0)
        rc = reconcile(s, h, db);
    sqlite3_close_v2(db);
    event(s, "post-restore end %s", rc == 0 ? "ok" : "failed");
    return rc;
}

static void shop_close(void *ctx)
{
    struct shop *s = ctx;

    free(s->directory);
    free(s->database);
    free(s);
}

static const struct vb_writer SHOP_FRONT = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "7d3c1a58-2f1e-4a53-8b55-9a3c3c7a0002",
    .name = "shop-front writer",
    .version = "1.0",
    .usage = VB_USAGE_USER_DATA,
    .source = VB_SOURCE_TRANSACTED_DB,
    .level = VB_LEVEL_FRONT_END,
    .options = OPTIONS,
    .open = shop_open,
    .close = shop_close,
    .identify = shop_identify,
    .prepare_backup = shop_prepare_backup,
    .prepare_snapshot = shop_prepare_snapshot,
    .freeze = shop_freeze,
    .thaw = shop_thaw,
    .abort = shop_release,
    .backup_complete = shop_backup_complete,
    .backup_shutdown = shop_release,
    .pre_restore = shop_pre_restore,
    .post_restore = shop_post_restore,
};
VB_REGISTER_WRITER(SHOP_FRONT)
