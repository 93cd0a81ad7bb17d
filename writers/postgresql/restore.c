/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/restore.c - making room for a cluster, and making a restored copy fit to be started.
 *
 * Nothing is ever deleted: what is in the way is moved aside.  A copy without its label or its log would start and be
 * wrong, so both are demanded before any server is let near it.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/postgresql/pgw.h"

static struct vb_record *find_record(const struct pgw *p, const char *name)
{
    const struct vb_writer_services *svc = p->w.svc;

    for (unsigned i = 0; i < svc->record_count(p->w.h); i++)
        if (strcmp(svc->record_name(svc->record(p->w.h, i)), name) == 0)
            return svc->record(p->w.h, i);
    return NULL;
}

/* The cluster as it was at backup time; the restore works from this alone, the machine may be a new one (W-35). */
static int facts_of(struct pgw *p, struct vb_record *r, struct pgw_facts *f)
{
    const char *meta = p->w.svc->record_backup_metadata(r);
    const char *dir = p->w.svc->option(p->w.h, "data-directory");

    memset(f, 0, sizeof *f);
    if (meta != NULL)
        pgw_facts_parse(f, meta);
    if (f->data_directory == NULL || f->data_directory[0] != '/' || f->version == NULL)
        return vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup",
                        "the backup of this cluster does not say where its data belong");
    if (dir != NULL) {
        VBW_AUTO char *clean = vbw_clean(dir);
        if (strcmp(clean, f->data_directory) != 0)
            return vbw_fail(&p->w, VB_E_CONFIG, "set data-directory as it was at backup time, or leave it out",
                            "the backup belongs to data directory '%s', the configuration names '%s'",
                            f->data_directory, dir);
    }
    return 0;
}

/* ---- pre_restore ---- */

/* Without the right to rename the directory itself (a mount point, a parent that is not ours) its entries go below
 * it.
 */
static int move_entries(struct pgw *p, const char *dir)
{
    VBW_AUTO char *inner = vbw_join(dir, "old"), *place = NULL;
    DIR *d;
    int rc = 0;

    if (mkdir(inner, 0700) != 0 && errno != EEXIST)
        return vbw_fail_errno(&p->w, errno, "the writer's user must own the directory", "cannot make room in '%s'",
                              dir);
    if (vbw_move_aside(inner, &place) != 0 || (d = opendir(dir)) == NULL)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot make room in '%s'", dir);
    for (const struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strstr(e->d_name, ".vbackup-old-") != NULL)
            continue;
        VBW_AUTO char *from = vbw_join(dir, e->d_name), *to = vbw_join(place, e->d_name);
        if (rename(from, to) != 0)
            rc = vbw_fail_errno(&p->w, errno, NULL, "cannot move '%s' aside", from);
    }
    closedir(d);
    if (rc == 0)
        p->w.svc->log(p->w.h, VB_WLOG_NOTICE, "moved the contents of '%s' to '%s'", dir, place);
    return rc;
}

static int make_room(struct pgw *p, const char *dir)
{
    VBW_AUTO char *to = NULL;
    struct stat st;

    if (!vbw_dir_empty(dir)) {
        if (vbw_move_aside(dir, &to) == 0)
            p->w.svc->log(p->w.h, VB_WLOG_NOTICE, "moved '%s' to '%s'", dir, to != NULL ? to : dir);
        else if (errno == EACCES || errno == EPERM || errno == EBUSY || errno == EXDEV || errno == EROFS)
            return move_entries(p, dir);
        else
            return vbw_fail_errno(&p->w, errno, NULL, "cannot move '%s' aside", dir);
    }
    if (mkdir(dir, 0700) == 0)
        return 0;
    if (errno == ENOENT) {
        VBW_AUTO char *parent = vbw_dirname(dir);
        if (make_room(p, parent) != 0)
            return -1;
        if (mkdir(dir, 0700) == 0)
            return 0;
    }
    if (errno == EEXIST && lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) &&
        (st.st_uid != geteuid() || chmod(dir, 0700) == 0))
        return 0;
    return vbw_fail_errno(&p->w, errno, "create it for the user of the server", "cannot create directory '%s'", dir);
}

static int guard(struct pgw *p, struct vb_record *r, const struct pgw_facts *f)
{
    bool consent = vbw_has_word(p->w.svc->record_restore_options(r), "overwrite");
    pid_t pid = pgw_running(f->data_directory);

    if (!consent && pid > 0)
        return vbw_fail(&p->w, VB_E_GUARD, "allow overwriting: the server is then stopped and its data are moved aside",
                        "a server (process %ld) is running on '%s'", (long)pid, f->data_directory);
    if (!consent && !vbw_dir_empty(f->data_directory))
        return vbw_fail(&p->w, VB_E_GUARD, "allow overwriting: the data are then moved aside",
                        "data directory '%s' is not empty", f->data_directory);
    return pid > 0 ? pgw_stop(p, f) : 0;
}

static int room_for_tablespaces(struct pgw *p, const struct pgw_facts *f)
{
    VBW_AUTO char *prefix = vbw_printf("PG_%s_", f->version);

    for (size_t i = 0; i < f->ts_location.n; i++) {
        const char *location = f->ts_location.v[i];
        if (location[0] != '/')
            return vbw_fail(&p->w, VB_E_CORRUPT, NULL, "the backup names a tablespace in '%s'", location);
        if (!vbw_exists(location) && make_room(p, location) != 0)
            return -1;
        DIR *d = opendir(location);
        if (d == NULL)
            return vbw_fail_errno(&p->w, errno, NULL, "cannot open tablespace '%s'", location);
        for (const struct dirent *e; (e = readdir(d)) != NULL;) {
            VBW_AUTO char *dir = vbw_join(location, e->d_name), *to = NULL;
            if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || strstr(e->d_name, ".vbackup-old-") != NULL)
                continue;
            if (vbw_move_aside(dir, &to) != 0) {
                closedir(d);
                return vbw_fail_errno(&p->w, errno, NULL, "cannot move '%s' aside", dir);
            }
            p->w.svc->log(p->w.h, VB_WLOG_NOTICE, "moved '%s' to '%s'", dir, to);
            rewinddir(d);
        }
        closedir(d);
    }
    return 0;
}

int pgw_pre_restore(struct pgw *p)
{
    struct vb_record *r = find_record(p, PGW_CLUSTER);
    struct pgw_facts f;
    int rc;

    if (r == NULL)
        return 0; /* settings alone: they are files like any other */
    rc = facts_of(p, r, &f);
    size_t len = 0;
    if (rc == 0 && p->w.svc->private_file(r, "backup_label", &len) == NULL)
        rc = vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup",
                      "the backup of this cluster has no label: it cannot be made consistent");
    if (rc == 0)
        rc = guard(p, r, &f);
    if (rc == 0)
        rc = make_room(p, f.data_directory);
    if (rc == 0)
        rc = room_for_tablespaces(p, &f);
    pgw_facts_clear(&f);
    return rc;
}

/* ---- post_restore ---- */

static int check_owner(struct pgw *p, const char *dir)
{
    struct stat st;

    if (stat(dir, &st) != 0)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot look at the restored '%s'", dir);
    if (st.st_uid != geteuid())
        return vbw_fail(&p->w, VB_E_ACCESS_DENIED,
                        "chown -R it to the user of the server, and start the server by hand",
                        "restored directory '%s' belongs to user %lu, the server runs as %lu", dir,
                        (unsigned long)st.st_uid, (unsigned long)geteuid());
    return chmod(dir, 0700) == 0 ? 0 : vbw_fail_errno(&p->w, errno, NULL, "cannot close '%s' to others", dir);
}

/* What the server expects and the backup leaves out. */
static int make_skeleton(struct pgw *p, const char *pgdata)
{
    static const char *const dirs[] = { "pg_wal",
                                        "pg_wal/archive_status",
                                        "pg_replslot",
                                        "pg_dynshmem",
                                        "pg_notify",
                                        "pg_serial",
                                        "pg_snapshots",
                                        "pg_stat",
                                        "pg_stat_tmp",
                                        "pg_subtrans",
                                        "pg_tblspc",
                                        "pg_twophase",
                                        "pg_commit_ts",
                                        "pg_logical",
                                        "pg_logical/snapshots",
                                        "pg_logical/mappings" };
    static const char *const gone[] = { "postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal" };

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        VBW_AUTO char *path = vbw_join(pgdata, dirs[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return vbw_fail_errno(&p->w, errno, NULL, "cannot create '%s'", path);
    }
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        VBW_AUTO char *path = vbw_join(pgdata, gone[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return vbw_fail_errno(&p->w, errno, NULL, "cannot remove '%s'", path);
    }
    return 0;
}

/* Every segment that was needed is there and is what it is called. */
static int check_log(struct pgw *p, const struct pgw_facts *f, const char *meta)
{
    VBW_AUTO char *names = pgw_line(meta, "log");
    VBW_AUTO char *dir = vbw_join(f->data_directory, "pg_wal");
    unsigned n = 0;

    for (char *save = NULL, *name = names != NULL ? strtok_r(names, " ", &save) : NULL; name != NULL;
         name = strtok_r(NULL, " ", &save), n++) {
        VBW_AUTO char *path = vbw_join(dir, name);
        const char *wrong = strchr(name, '/') != NULL ? "that is no name" : pgw_wal_check(path, name, f->segment_size);
        if (wrong != NULL)
            return vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup",
                            "log segment '%s' of the backup is not usable: %s", name, wrong);
    }
    return n > 0 ? 0 : vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup", "the backup of this cluster has no log");
}

static int put(struct pgw *p, const char *dir, const char *name, const void *data, size_t len)
{
    VBW_AUTO char *path = vbw_join(dir, name);

    return vbw_write_file(path, data, len, 0600) == 0 ? 0
                                                      : vbw_fail_errno(&p->w, errno, NULL, "cannot write '%s'", path);
}

/* Label and map byte for byte as the server gave them. */
static int put_label(struct pgw *p, struct vb_record *r, const struct pgw_facts *f)
{
    size_t len = 0, map_len = 0;
    const void *label = p->w.svc->private_file(r, "backup_label", &len);
    const void *map = p->w.svc->private_file(r, "tablespace_map", &map_len);

    if (label == NULL || len == 0)
        return vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup",
                        "the backup of this cluster has no label: it cannot be made consistent");
    if (map == NULL && f->ts_oid.n > 0)
        return vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup",
                        "the backup of this cluster has tablespaces and no map of them");
    if (map != NULL && put(p, f->data_directory, "tablespace_map", map, map_len) != 0)
        return -1;
    if (put(p, f->data_directory, "backup_label", label, len) != 0)
        return -1;
    return put(p, f->data_directory, "recovery.signal", "", 0);
}

static int make_ready(struct pgw *p, struct vb_record *r, const struct pgw_facts *f)
{
    bool start = true;

    if (check_owner(p, f->data_directory) != 0 || make_skeleton(p, f->data_directory) != 0 ||
        check_log(p, f, p->w.svc->record_backup_metadata(r)) != 0 || put_label(p, r, f) != 0 || pgw_recover(p, f) != 0)
        return -1;
    if (vbw_bool(&p->w, "start-after-restore", p->w.svc->option(p->w.h, "start-after-restore"), true, &start) != 0)
        return -1;
    if (start && pgw_start(p, f) != 0)
        return -1;
    p->w.svc->log(p->w.h, VB_WLOG_NOTICE, "the cluster in '%s' has recovered on a new timeline; make a new backup soon",
                  f->data_directory);
    return 0;
}

int pgw_post_restore(struct pgw *p)
{
    const struct vb_writer_services *svc = p->w.svc;
    struct vb_record *r = find_record(p, PGW_CLUSTER);
    struct pgw_facts f;

    if (r == NULL || svc->record_restore_status(r) == VB_FILE_RESTORE_NONE)
        return 0;
    if (svc->record_restore_status(r) != VB_FILE_RESTORE_ALL) {
        svc->component_fail(r, VB_E_WRITER_NON_RETRYABLE, "its files were restored in part only");
        return vbw_fail(&p->w, VB_E_WRITER_PARTIAL_FAILURE, "restore it again",
                        "the cluster was restored in part only and is not started");
    }
    if (svc->record_additional_restores(r))
        return 0; /* recovery would end the chain */
    int rc = facts_of(p, r, &f);
    if (rc == 0)
        rc = make_ready(p, r, &f);
    if (rc != 0)
        svc->component_fail(r, VB_E_WRITER_NON_RETRYABLE, "the restored cluster could not be brought up");
    pgw_facts_clear(&f);
    return rc;
}
