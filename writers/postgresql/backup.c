/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/backup.c - backup mode around the snapshot, in one session from start to stop.
 *
 * The session is idle while it holds: idle_session_timeout is the dead-man switch, the server ends backup mode by
 * itself when nobody comes back.  The copy of the data is worth nothing without the label, which is carried as a
 * private file byte for byte, and without every segment of the log from the start to the stop position.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/postgresql/pgw.h"

#define DEFAULT_IDLE_MS 600000u /* prepare_snapshot of other writers, the window, and the way back */
#define DEFAULT_LOCK_MS 5000u
#define ADVISORY_KEY "7594265023171125249" /* two backups of one cluster by us exclude each other */

char *pgw_wal_place(const struct pgw *p)
{
    return vbw_join(p->w.svc->state_dir(p->w.h), "wal");
}

/* ---- prepare ---- */

static bool is_record(const struct pgw *p, const char *name)
{
    const struct vb_writer_services *svc = p->w.svc;

    for (unsigned i = 0; i < svc->record_count(p->w.h); i++)
        if (strcmp(svc->record_name(svc->record(p->w.h, i)), name) == 0)
            return true;
    return false;
}

static int take_lock(struct pgw *p)
{
    VBW_AUTO char *path = vbw_join(p->w.svc->state_dir(p->w.h), "backup.lock");

    p->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->lock_fd < 0)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot open '%s'", path);
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return vbw_fail(&p->w, VB_E_WRITER_RETRYABLE, "wait for it to end",
                        "another backup of this cluster is running");
    return 0;
}

static int clear_place(struct pgw *p)
{
    VBW_AUTO char *place = pgw_wal_place(p);

    if (mkdir(place, 0700) != 0 && errno != EEXIST)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot create '%s'", place);
    if (vbw_empty_dir(place) != 0)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot empty '%s'", place);
    return 0;
}

int pgw_prepare_backup(struct pgw *p)
{
    p->wants_cluster = p->w.svc->record_count(p->w.h) == 0 || is_record(p, PGW_CLUSTER);
    if (take_lock(p) != 0 || pgw_connect(p, false) != 0)
        return -1;
    struct pgw_facts told = p->facts;
    memset(&p->facts, 0, sizeof p->facts);
    if (pgw_facts_ask(p) != 0) {
        pgw_facts_clear(&told);
        return -1;
    }
    VBW_AUTO char *a = pgw_facts_text(&told), *b = pgw_facts_text(&p->facts);
    bool changed = told.data_directory != NULL && strcmp(a, b) != 0;
    pgw_facts_clear(&told);
    if (pgw_facts_remember(p) != 0)
        return -1;
    if (changed)
        return vbw_fail(&p->w, VB_E_WRITER_RETRYABLE, "run the backup again",
                        "the cluster has changed since it was described (a tablespace, or a setting)");
    if (!p->wants_cluster)
        return 0;
    PGresult *r = pgw_query(p, p->conn, "look at the server's state",
                            "SELECT pg_is_in_recovery(), pg_try_advisory_lock(" ADVISORY_KEY ")", 0, NULL);
    if (r == NULL)
        return -1;
    bool recovery = PQgetvalue(r, 0, 0)[0] == 't', locked = PQgetvalue(r, 0, 1)[0] == 't';
    PQclear(r);
    if (recovery)
        return vbw_fail(&p->w, VB_E_NOT_SUPPORTED, "back up the primary", "this cluster is a standby");
    if (!locked)
        return vbw_fail(&p->w, VB_E_WRITER_RETRYABLE, "wait for it to end",
                        "another backup of this cluster is running");
    return clear_place(p);
}

static int arm(struct pgw *p)
{
    const struct {
        const char *key, *setting;
        uint64_t def, ms;
    } t[] = {
        { "idle-timeout", "idle_session_timeout", DEFAULT_IDLE_MS, 0 },
        { "lock-timeout", "lock_timeout", DEFAULT_LOCK_MS, 0 },
    };

    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        uint64_t ms = 0;
        if (vbw_duration_ms(&p->w, t[i].key, p->w.svc->option(p->w.h, t[i].key), t[i].def, &ms) != 0)
            return -1;
        VBW_AUTO char *sql = vbw_printf("SET %s = %llu", t[i].setting, (unsigned long long)ms);
        if (pgw_do(p, p->conn, "set the session's time limits", sql) != 0)
            return -1;
    }
    return 0;
}

/* Keeps the log from being recycled before we have copied it.  A role without REPLICATION does without: then a
 * recycled segment is noticed when it is copied, and the backup fails. */
static void reserve_log(struct pgw *p)
{
    VBW_AUTO char *sql = vbw_printf("SELECT pg_create_physical_replication_slot('vbackup_%ld_%ld', true, true)",
                                    (long)getpid(), (long)PQbackendPID(p->conn));
    PGresult *r = PQexec(p->conn, sql);

    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        p->w.svc->log(p->w.h, VB_WLOG_NOTICE, "cannot reserve the log by a replication slot, going on without: %s",
                      PQresultErrorMessage(r));
    PQclear(r);
}

static int check_places(struct pgw *p)
{
    const struct vb_writer_services *svc = p->w.svc;
    const char *missing = NULL;

    if (svc->volume_count(p->w.h) == 0)
        return 0;
    if (!svc->path_affected(p->w.h, p->facts.data_directory))
        missing = p->facts.data_directory;
    for (size_t i = 0; i < p->facts.ts_location.n; i++)
        if (!svc->path_affected(p->w.h, p->facts.ts_location.v[i]))
            missing = p->facts.ts_location.v[i];
    if (missing == NULL)
        return 0;
    return vbw_fail(&p->w, VB_E_WRITER_INCONSISTENT_SNAPSHOT, "add the volume to the backup",
                    "'%s' lies on no volume of the shadow copy set", missing);
}

int pgw_prepare_snapshot(struct pgw *p)
{
    const struct vb_writer_services *svc = p->w.svc;
    const char *checkpoint = svc->option(p->w.h, "checkpoint");
    bool fast = checkpoint == NULL || strcmp(checkpoint, "fast") == 0;

    if (!p->wants_cluster)
        return 0;
    if (!fast && strcmp(checkpoint, "spread") != 0)
        return vbw_fail(&p->w, VB_E_CONFIG, NULL, "'checkpoint = %s': expected fast or spread", checkpoint);
    if (check_places(p) != 0 || arm(p) != 0)
        return -1;
    reserve_log(p);
    VBW_AUTO char *label = vbw_printf("vbackup %s", svc->session_id(p->w.h) != NULL ? svc->session_id(p->w.h) : "");
    const char *const v[] = { label, fast ? "true" : "false" };
    PGresult *r = pgw_query(p, p->conn, "start backup mode", "SELECT pg_backup_start(label => $1, fast => $2)", 2, v);
    if (r == NULL)
        return -1;
    free(p->start_lsn);
    p->start_lsn = vbw_strdup(PQgetvalue(r, 0, 0));
    PQclear(r);
    p->started = true;
    return 0;
}

/* ---- the window ---- */

int pgw_freeze(struct pgw *p)
{
    if (!p->wants_cluster)
        return 0;
    if (!p->started)
        return vbw_fail(&p->w, VB_E_BAD_STATE, NULL, "backup mode was not started");
    return pgw_do(p, p->conn, "freeze: the session that holds backup mode is gone", "SELECT 1");
}

static int remember(char **field, PGresult *r, int column)
{
    free(*field);
    *field = PQgetisnull(r, 0, column) ? NULL : vbw_strdup(PQgetvalue(r, 0, column));
    return *field != NULL ? 0 : -1;
}

/* The stop must succeed on the same session: only this proves that backup mode was on for the whole window. */
int pgw_thaw(struct pgw *p)
{
    if (!p->wants_cluster)
        return 0;
    PGresult *r = pgw_query(p, p->conn, "end backup mode on the session that began it",
                            "SELECT lsn, labelfile, spcmapfile, pg_walfile_name(lsn) FROM "
                            "pg_backup_stop(wait_for_archive => false)",
                            0, NULL);
    if (r == NULL) {
        p->w.svc->set_consistency(p->w.h,
                                  p->w.svc->snapshot_is_atomic(p->w.h) ? VB_CONSISTENCY_CRASH : VB_CONSISTENCY_NONE);
        pgw_disconnect(p);
        return -1;
    }
    int rc = remember(&p->stop_lsn, r, 0) | remember(&p->label, r, 1) | remember(&p->stop_file, r, 3);
    remember(&p->map, r, 2);
    PQclear(r);
    p->stopped = rc == 0;
    return rc == 0 ? 0 : vbw_fail(&p->w, VB_E_UNEXPECTED, NULL, "the server ended backup mode without a label");
}

/* ---- the log ---- */

static int copy_one(struct pgw *p, const char *from_dir, const char *to_dir, const char *name, bool segment)
{
    VBW_AUTO char *from = vbw_join(from_dir, name), *to = vbw_join(to_dir, name);

    if (vbw_copy_file(from, to, 0600) != 0)
        return vbw_fail_errno(&p->w, errno, "let the writer's role have REPLICATION, so that a slot keeps the log",
                              "cannot copy log file '%s', which the backup needs", from);
    const char *wrong = segment ? pgw_wal_check(to, name, p->facts.segment_size) : NULL;
    if (wrong != NULL)
        return vbw_fail(&p->w, VB_E_WRITER_RETRYABLE,
                        "let the writer's role have REPLICATION, so that a slot keeps the log",
                        "log segment '%s' is of no use: %s", name, wrong);
    return 0;
}

static int copy_histories(struct pgw *p, const char *from, const char *to)
{
    DIR *d = opendir(from);
    int rc = 0;

    if (d == NULL)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot read '%s'", from);
    for (const struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
        if (pgw_is_history(e->d_name))
            rc = copy_one(p, from, to, e->d_name, false);
    }
    closedir(d);
    return rc;
}

/* From the segment that the label names to the one that holds the stop position, without a gap. */
static int copy_log(struct pgw *p)
{
    static const char mark[] = "(file ";
    VBW_AUTO char *from = vbw_join(p->facts.data_directory, "pg_wal"), *to = pgw_wal_place(p);
    const char *file = strstr(p->label, mark);

    vbw_list_clear(&p->wal);
    if (file == NULL || strlen(file) < sizeof mark + 24)
        return vbw_fail(&p->w, VB_E_UNEXPECTED, NULL, "the label of the server does not name the first log segment");
    VBW_AUTO char *first = vbw_printf("%.24s", file + sizeof mark - 1);
    if (pgw_wal_names(first, p->stop_file, p->facts.segment_size, &p->wal) != 0)
        return vbw_fail(&p->w, VB_E_UNEXPECTED, NULL, "the log does not lead from segment '%s' to '%s'", first,
                        p->stop_file);
    for (size_t i = 0; i < p->wal.n; i++)
        if (copy_one(p, from, to, p->wal.v[i], true) != 0)
            return -1;
    if (copy_histories(p, from, to) != 0)
        return -1;
    return vbw_fsync_dir(to) == 0 ? 0 : vbw_fail_errno(&p->w, errno, NULL, "cannot sync '%s'", to);
}

/* ---- after the snapshot ---- */

static char *metadata(const struct pgw *p)
{
    VBW_AUTO char *facts = pgw_facts_text(&p->facts);
    VBW_AUTO char *wal = vbw_strdup("");

    for (size_t i = 0; i < p->wal.n; i++) {
        char *more = vbw_printf("%s%s%s", wal, i > 0 ? " " : "", p->wal.v[i]);
        free(wal);
        wal = more;
    }
    return vbw_printf("method=backup-mode\n%sstart-lsn=%s\nstop-lsn=%s\nlog=%s\n", facts, p->start_lsn, p->stop_lsn,
                      wal);
}

/* Without a snapshot the files would be read after backup mode has ended: such a copy starts and is wrong. */
static int check_snapshot(struct pgw *p)
{
    const char *seen = p->w.svc->snapshot_path(p->w.h, p->facts.data_directory);

    if (seen != NULL && strcmp(seen, p->facts.data_directory) != 0)
        return 0;
    return vbw_fail(&p->w, VB_E_WRITER_NON_RETRYABLE,
                    "put the data directory on a file system with snapshots (btrfs) or clones (XFS), or on LVM",
                    "no snapshot was made of '%s': a running cluster cannot be copied file by file without one",
                    p->facts.data_directory);
}

int pgw_post_snapshot(struct pgw *p)
{
    const struct vb_writer_services *svc = p->w.svc;
    int rc = 0;

    if (p->wants_cluster) {
        if (!p->stopped)
            return vbw_fail(&p->w, VB_E_BAD_STATE, NULL, "backup mode did not end in an orderly way");
        if (check_snapshot(p) != 0 || copy_log(p) != 0)
            return -1;
    }
    pgw_disconnect(p); /* gives back the slot and the lock */
    VBW_AUTO char *meta = p->wants_cluster ? metadata(p) : pgw_facts_text(&p->facts);
    for (unsigned i = 0; rc == 0 && i < svc->record_count(p->w.h); i++) {
        struct vb_record *r = svc->record(p->w.h, i);
        rc = svc->set_backup_metadata(r, meta);
        if (rc != 0 || strcmp(svc->record_name(r), PGW_CLUSTER) != 0)
            continue;
        rc = svc->set_backup_stamp(r, p->stop_lsn);
        if (rc == 0)
            rc = svc->add_private_file(r, "backup_label", p->label, strlen(p->label));
        if (rc == 0 && p->map != NULL && p->map[0] != '\0')
            rc = svc->add_private_file(r, "tablespace_map", p->map, strlen(p->map));
    }
    return rc;
}

void pgw_release(struct pgw *p)
{
    pgw_disconnect(p); /* the server aborts backup mode, and drops the slot, with the session */
    if (p->lock_fd >= 0) {
        VBW_AUTO char *place = pgw_wal_place(p);
        vbw_empty_dir(place);
        rmdir(place);
        close(p->lock_fd);
    }
    p->lock_fd = -1;
    p->started = p->stopped = false;
    vbw_free_ptr(&p->label);
    vbw_free_ptr(&p->map);
    vbw_free_ptr(&p->start_lsn);
    vbw_free_ptr(&p->stop_lsn);
    vbw_free_ptr(&p->stop_file);
    vbw_list_clear(&p->wal);
}

void pgw_shutdown(struct pgw *p)
{
    pgw_release(p);
    if (take_lock(p) == 0) /* the copies of a process that has died: nobody else has the lock */
        pgw_release(p);
    else if (p->lock_fd >= 0) {
        close(p->lock_fd);
        p->lock_fd = -1;
    }
}
