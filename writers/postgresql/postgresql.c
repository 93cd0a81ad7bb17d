/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/postgresql.c - the PostgreSQL writer: one section, one cluster, two components.
 *
 * The low-level backup interface is used in one session: backup mode begins in prepare_snapshot and ends in thaw, so
 * that any provider will do, an atomic one or one that clones file by file.  See vbackup-writer-postgresql(8).
 */
#include "config.h"
#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/postgresql/pgw.h"

static const char *const OPTIONS[] = { "conninfo",      "data-directory", "bin-directory",       "service",
                                       "start-command", "stop-command",   "start-after-restore", "start-timeout",
                                       "idle-timeout",  "lock-timeout",   "checkpoint",          NULL };

/* ---- components ---- */

static const char *logical_path(const struct pgw *p)
{
    return p->w.svc->option(p->w.h, "instance");
}

/* Directories of a data directory that the server makes anew, or that must not be copied from a running one.  They
 * are in no file set, so that not even an empty directory of a replication slot comes back; restore makes them. */
static bool left_out(const char *name)
{
    static const char *const names[] = { "pg_wal",    "pg_replslot",  "pg_dynshmem", "pg_notify",
                                         "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strstr(name, ".vbackup-old-") != NULL;
}

static int add_set(const struct pgw *p, const char *name, const char *path, const char *spec, bool recursive)
{
    const struct vb_fileset_spec f = { .size = sizeof f, .path = path, .filespec = spec, .recursive = recursive };

    return p->w.svc->add_files(p->w.h, logical_path(p), name, &f);
}

/* One file set per directory: the log has to come from another place, and an exclusion would hold for that as well.
 */
static int add_data_directory(const struct pgw *p)
{
    const char *pgdata = p->facts.data_directory;
    struct vbw_list dirs = { NULL, 0, 0 };
    DIR *d = opendir(pgdata);
    int rc = add_set(p, PGW_CLUSTER, pgdata, "*", false);

    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (!left_out(e->d_name) && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
            vbw_list_take(&dirs, vbw_strdup(e->d_name));
    }
    if (d != NULL)
        closedir(d);
    vbw_list_sort(&dirs);
    for (size_t i = 0; rc == 0 && i < dirs.n; i++) {
        VBW_AUTO char *path = vbw_join(pgdata, dirs.v[i]);
        rc = add_set(p, PGW_CLUSTER, path, "*", true);
    }
    vbw_list_clear(&dirs);
    return rc;
}

/* Only the directory of this server version; others may share the place. */
static int add_tablespace(const struct pgw *p, const char *location)
{
    VBW_AUTO char *prefix = vbw_printf("PG_%s_", p->facts.version != NULL ? p->facts.version : "");
    DIR *d = opendir(location);
    int rc = 0;

    for (const struct dirent *e; rc == 0 && d != NULL && (e = readdir(d)) != NULL;) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || left_out(e->d_name))
            continue;
        VBW_AUTO char *path = vbw_join(location, e->d_name);
        VBW_AUTO char *tmp = vbw_join(path, "pgsql_tmp");
        rc = add_set(p, PGW_CLUSTER, path, "*", true);
        if (rc == 0)
            rc = p->w.svc->add_exclude(p->w.h, path, "pg_internal.init*", 1);
        if (rc == 0)
            rc = p->w.svc->add_exclude(p->w.h, tmp, "*", 1);
    }
    if (d != NULL)
        closedir(d);
    return rc;
}

/* The log is read from our copies of the needed segments; they come into being between thaw and the end of
 * post_snapshot, need no snapshot (B-34, W-39), and are put back into the real log directory. */
static int add_log(const struct pgw *p)
{
    VBW_AUTO char *normal = vbw_join(p->facts.data_directory, "pg_wal");
    VBW_AUTO char *place = pgw_wal_place(p);
    const struct vb_fileset_spec f = {
        .size = sizeof f,
        .path = normal,
        .filespec = "*",
        .alternate_path = place,
        .backup_type = VB_FSB_ALL_BACKUP | VB_FSB_CREATED_DURING_BACKUP,
    };

    return p->w.svc->add_files(p->w.h, logical_path(p), PGW_CLUSTER, &f);
}

static int add_excludes(const struct pgw *p)
{
    static const char *const top[] = { "postmaster.pid",           "postmaster.opts",   "backup_label",
                                       "tablespace_map",           "recovery.signal",   "standby.signal",
                                       "postgresql.auto.conf.tmp", "current_logfiles*", "pg_wal" };
    const char *pgdata = p->facts.data_directory;
    VBW_AUTO char *base = vbw_join(pgdata, "base"), *global = vbw_join(pgdata, "global");
    VBW_AUTO char *tmp = vbw_join(base, "pgsql_tmp");
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof top / sizeof top[0]; i++)
        rc = p->w.svc->add_exclude(p->w.h, pgdata, top[i], 0);
    if (rc == 0)
        rc = p->w.svc->add_exclude(p->w.h, base, "pg_internal.init*", 1);
    if (rc == 0)
        rc = p->w.svc->add_exclude(p->w.h, global, "pg_internal.init*", 1);
    if (rc == 0)
        rc = p->w.svc->add_exclude(p->w.h, tmp, "*", 1);
    return rc;
}

static int add_config_file(const struct pgw *p, const char *path)
{
    if (path == NULL || vbw_below(path, p->facts.data_directory) || !vbw_exists(path))
        return 0;
    VBW_AUTO char *dir = vbw_dirname(path);
    return add_set(p, PGW_CONFIG, dir, vbw_basename(path), false);
}

static int add_config(const struct pgw *p)
{
    static const char *const debian[] = { "environment", "pg_ctl.conf", "start.conf" };
    const struct pgw_facts *f = &p->facts;

    if (add_config_file(p, f->config_file) != 0 || add_config_file(p, f->hba_file) != 0 ||
        add_config_file(p, f->ident_file) != 0)
        return -1;
    if (!pgw_config_outside(f))
        return 0;
    VBW_AUTO char *dir = vbw_dirname(f->config_file);
    VBW_AUTO char *parts = vbw_join(dir, "conf.d");
    for (size_t i = 0; i < sizeof debian / sizeof debian[0]; i++) {
        VBW_AUTO char *path = vbw_join(dir, debian[i]);
        if (add_config_file(p, path) != 0)
            return -1;
    }
    return vbw_exists(parts) ? add_set(p, PGW_CONFIG, parts, "*.conf", false) : 0;
}

static int pg_identify(void *ctx, struct vb_host *h)
{
    struct pgw *p = ctx;
    const struct vb_writer_services *svc = p->w.svc;
    const char *lp = logical_path(p);
    struct vb_component_spec c = { .size = sizeof c,
                                   .type = VB_COMPONENT_FILEGROUP,
                                   .logical_path = lp,
                                   .selectable = 1,
                                   .selectable_for_restore = 1 };
    bool known, in_session = p->conn != NULL;

    p->w.h = h;
    /* a session's own connection is left alone: it is asked for nothing while it holds (W-9) */
    if (in_session) {
        known = p->facts.data_directory != NULL;
    } else if (pgw_connect(p, true) == 0) {
        int rc = pgw_facts_ask(p);
        pgw_disconnect(p);
        if (rc != 0 || pgw_facts_remember(p) != 0)
            return -1;
        known = true;
    } else {
        known = pgw_facts_recall(p) == 1;
        svc->log(h, VB_WLOG_WARNING,
                 known ? "the server does not answer; its places are those of the last time"
                       : "the server does not answer and nothing is known of it");
    }
    if (svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0)
        return -1;
    c.name = PGW_CLUSTER;
    c.caption = "data directory, tablespaces and the log they need";
    if (svc->add_component(h, &c) != 0)
        return -1;
    c.name = PGW_CONFIG;
    c.caption =
        known && !pgw_config_outside(&p->facts) ? "settings (inside the data directory: see the cluster)" : "settings";
    if (svc->add_component(h, &c) != 0)
        return -1;
    if (!known)
        return 0; /* a restore brings its own documents */
    if (add_data_directory(p) != 0 || add_log(p) != 0 || add_excludes(p) != 0 || add_config(p) != 0)
        return -1;
    for (size_t i = 0; i < p->facts.ts_location.n; i++)
        if (add_tablespace(p, p->facts.ts_location.v[i]) != 0)
            return -1;
    return 0;
}

/* ---- the other callbacks: see backup.c and restore.c ---- */

#define CALLBACK(function, work)                                                                                       \
    static int function(void *ctx, struct vb_host *h)                                                                  \
    {                                                                                                                  \
        struct pgw *p = ctx;                                                                                           \
        p->w.h = h;                                                                                                    \
        return work(p);                                                                                                \
    }
CALLBACK(pg_prepare_backup, pgw_prepare_backup)
CALLBACK(pg_prepare_snapshot, pgw_prepare_snapshot)
CALLBACK(pg_freeze, pgw_freeze)
CALLBACK(pg_thaw, pgw_thaw)
CALLBACK(pg_post_snapshot, pgw_post_snapshot)
CALLBACK(pg_pre_restore, pgw_pre_restore)
CALLBACK(pg_post_restore, pgw_post_restore)

static int pg_release(void *ctx, struct vb_host *h)
{
    struct pgw *p = ctx;

    p->w.h = h;
    pgw_release(p);
    return 0;
}

/* The server admits its own operating-system user without a password, and only that user may read the data. */
static const char *pg_run_as(struct vb_host *h, const struct vb_writer_services *svc)
{
    static char name[256];
    const char *dir = svc->option(h, "data-directory");
    const struct passwd *pw = NULL;
    struct stat st;

    if (geteuid() != 0)
        return NULL;
    if (dir != NULL && stat(dir, &st) == 0 && st.st_uid != 0)
        pw = getpwuid(st.st_uid);
    if (pw == NULL)
        pw = getpwnam("postgres");
    if (pw == NULL || strlen(pw->pw_name) >= sizeof name)
        return NULL;
    memcpy(name, pw->pw_name, strlen(pw->pw_name) + 1);
    return name;
}

static int pg_shutdown(void *ctx, struct vb_host *h)
{
    struct pgw *p = ctx;

    p->w.h = h;
    pgw_shutdown(p);
    return 0;
}

static int pg_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct pgw *p = vbw_alloc(1, sizeof *p);

    p->w = (struct vbw){ svc, h };
    p->lock_fd = -1;
    *ctx = p;
    return 0;
}

static void pg_close(void *ctx)
{
    struct pgw *p = ctx;

    pgw_release(p);
    pgw_facts_clear(&p->facts);
    free(p);
}

static const struct vb_writer POSTGRESQL_WRITER = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0004",
    .name = "postgresql writer",
    .version = "1.0",
    .usage = VB_USAGE_USER_DATA,
    .source = VB_SOURCE_TRANSACTED_DB,
    .level = VB_LEVEL_BACK_END,
    .options = OPTIONS,
    .open = pg_open,
    .close = pg_close,
    .identify = pg_identify,
    .prepare_backup = pg_prepare_backup,
    .prepare_snapshot = pg_prepare_snapshot,
    .freeze = pg_freeze,
    .thaw = pg_thaw,
    .post_snapshot = pg_post_snapshot,
    .abort = pg_release,
    .backup_complete = pg_release,
    .backup_shutdown = pg_shutdown,
    .pre_restore = pg_pre_restore,
    .post_restore = pg_post_restore,
    .run_as = pg_run_as,
};
VB_REGISTER_WRITER(POSTGRESQL_WRITER)
