/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/sqlite/sqlite.c - SQLite databases named in the configuration, held by their own write lock.
 *
 * Freeze takes BEGIN IMMEDIATE on every database, in the order of their paths; thaw rolls back.  While the lock is
 * held nobody can commit and nobody can reset a write-ahead log, so that database and log copied by another process
 * belong together.  This process never opens a database file except through its SQLite connection: closing any other
 * descriptor of the file would drop the lock (POSIX locks belong to the process).
 */
#include "config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/sqlite/sqlite_writer.h"

static const char *const OPTIONS[] = {
    "database", "group", "*.path", "*.caption", "lock-wait", "allow-in-use", NULL
};

/* ---- configuration ---- */

static void clear_dbs(struct sqlite_writer *s)
{
    for (size_t i = 0; i < s->n; i++) {
        sqw_release(&s->db[i]);
        free(s->db[i].name);
        free(s->db[i].path);
    }
    free(s->db);
    s->db = NULL;
    s->n = 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct sqw_db *)a)->path, ((const struct sqw_db *)b)->path);
}

/* `database = /path/shop.db` gives component "shop"; `database = NAME` with `NAME.path = /path` names it freely. */
static int take_db(struct sqlite_writer *s, const char *text)
{
    struct sqw_db *d = &s->db[s->n];
    const char *path = text[0] == '/' ? text : vbw_sub_option(&s->w, text, "path");

    if (path == NULL || path[0] != '/')
        return vbw_fail(&s->w, VB_E_CONFIG,
                        "write database = /PATH/FILE.db, or database = NAME and NAME.path = /PATH/FILE.db",
                        "'database = %s': no absolute path is given", text);
    memset(d, 0, sizeof *d);
    d->path = vbw_clean(path);
    s->n++;
    d->name = text[0] == '/' ? vbw_strdup(vbw_basename(d->path)) : vbw_strdup(text);
    if (text[0] == '/') {
        char *dot = strrchr(d->name, '.');
        if (dot != NULL && dot != d->name)
            *dot = '\0';
    }
    if (strpbrk(vbw_basename(d->path), "*?") != NULL)
        return vbw_fail(&s->w, VB_E_CONFIG, "rename the database", "the name of database '%s' contains '*' or '?'",
                        d->path);
    for (size_t i = 0; i + 1 < s->n; i++) {
        if (strcmp(s->db[i].path, d->path) == 0)
            return vbw_fail(&s->w, VB_E_CONFIG, "remove one of the lines", "database '%s' is named twice", d->path);
        if (strcmp(s->db[i].name, d->name) == 0)
            return vbw_fail(&s->w, VB_E_CONFIG, "write database = NAME and NAME.path = /PATH/FILE.db",
                            "databases '%s' and '%s' would both be component '%s'", s->db[i].path, d->path, d->name);
    }
    return 0;
}

static int load(struct sqlite_writer *s)
{
    struct vbw_list l = { NULL, 0, 0 };
    int rc = 0;

    vbw_list_option(&s->w, "database", &l);
    s->db = vbw_alloc(l.n, sizeof *s->db);
    for (size_t i = 0; rc == 0 && i < l.n; i++)
        rc = take_db(s, l.v[i]);
    if (rc == 0 && l.n == 0)
        rc = vbw_fail(&s->w, VB_E_CONFIG, "add database = /PATH/FILE.db", "the sqlite writer has no database");
    vbw_list_clear(&l);
    if (rc == 0)
        qsort(s->db, s->n, sizeof *s->db, by_path); /* all sessions lock in the same order */
    return rc;
}

static struct sqw_db *find(struct sqlite_writer *s, struct vb_record *r)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->db[i].name, s->w.svc->record_name(r)) == 0)
            return &s->db[i];
    return NULL;
}

/* Marks the databases of this session: those of the explicit records, or all when the head of the group is one, or
 * the session has no components. */
static void mark_chosen(struct sqlite_writer *s)
{
    const struct vb_writer_services *svc = s->w.svc;
    const char *group = svc->option(s->w.h, "group");
    unsigned n = svc->record_count(s->w.h);

    for (size_t i = 0; i < s->n; i++)
        s->db[i].chosen = n == 0;
    for (unsigned k = 0; k < n; k++) {
        struct vb_record *r = svc->record(s->w.h, k);
        struct sqw_db *d = find(s, r);
        if (d != NULL)
            d->chosen = true;
        else if (group != NULL && strcmp(group, svc->record_name(r)) == 0)
            for (size_t i = 0; i < s->n; i++)
                s->db[i].chosen = true;
    }
}

/* ---- identify ---- */

static int add_db(struct sqlite_writer *s, const struct sqw_db *d, const char *group)
{
    const struct vb_writer_services *svc = s->w.svc;
    VBW_AUTO char *dir = vbw_dirname(d->path);
    const char *base = vbw_basename(d->path);
    /* patterns, because these two may or may not be there; -shm is never saved, it is made anew */
    VBW_AUTO char *wal = vbw_printf("%s-wa?", base), *journal = vbw_printf("%s-journa?", base);
    const struct vb_component_spec c = {
        .size = sizeof c,
        .type = VB_COMPONENT_DATABASE,
        .logical_path = group,
        .name = d->name,
        .caption = vbw_sub_option(&s->w, d->name, "caption"),
        .selectable = group == NULL,
        .selectable_for_restore = 1,
    };
    const struct {
        enum vb_fileset_kind kind;
        const char *spec;
    } f[] = {
        { VB_FILES_DATABASE, base },
        { VB_FILES_LOG, wal },
        { VB_FILES_LOG, journal },
    };

    if (svc->add_component(s->w.h, &c) != 0)
        return -1;
    for (size_t i = 0; i < sizeof f / sizeof f[0]; i++) {
        const struct vb_fileset_spec fs = {
            .size = sizeof fs, .kind = f[i].kind, .path = dir, .filespec = f[i].spec
        };
        if (svc->add_files(s->w.h, group, d->name, &fs) != 0)
            return -1;
    }
    return 0;
}

static int sq_identify(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;
    const struct vb_writer_services *svc = s->w.svc;
    const char *group = svc->option(h, "group");

    s->w.h = h;
    if (svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0 ||
        svc->set_backup_schema(h, VB_SCHEMA_NEW_TARGET) != 0)
        return -1;
    if (group != NULL) {
        const struct vb_component_spec c = { .size = sizeof c,
                                             .type = VB_COMPONENT_DATABASE,
                                             .name = group,
                                             .selectable = 1,
                                             .selectable_for_restore = 1 };
        if (svc->add_component(h, &c) != 0)
            return -1;
    }
    for (size_t i = 0; i < s->n; i++)
        if (add_db(s, &s->db[i], group) != 0)
            return -1;
    return 0;
}

/* ---- backup ---- */

/* Connections are made here, so that nothing slow, and no recovery of an old journal, is left for the freeze. */
static int sq_prepare_snapshot(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;

    s->w.h = h;
    mark_chosen(s);
    for (size_t i = 0; i < s->n; i++) {
        struct sqw_db *d = &s->db[i];
        if (!d->chosen)
            continue;
        if (s->w.svc->volume_count(h) > 0 && !s->w.svc->path_affected(h, d->path))
            return vbw_fail(&s->w, VB_E_WRITER_INCONSISTENT_SNAPSHOT, "add the volume to the backup",
                            "database '%s' lies on no volume of the shadow copy set", d->path);
        if (sqw_connect(&s->w, d) != 0)
            return -1;
    }
    return 0;
}

static int release_all(struct sqlite_writer *s)
{
    for (size_t i = s->n; i-- > 0;)
        sqw_release(&s->db[i]);
    return 0;
}

static int sq_freeze(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;
    uint64_t limit, left;

    s->w.h = h;
    if (vbw_duration_ms(&s->w, "lock-wait", s->w.svc->option(h, "lock-wait"), 10000, &limit) != 0)
        return -1;
    left = s->w.svc->deadline_ms(h);
    if (left > 200 && limit > left - 200) /* enough to answer */
        limit = left - 200;
    uint64_t until = vbw_now_us() + limit * 1000u;
    for (size_t i = 0; i < s->n; i++)
        if (s->db[i].chosen && sqw_lock(&s->w, &s->db[i], until) != 0) {
            release_all(s);
            return -1;
        }
    return 0;
}

/* Everything is released first; what was found out on the way is told afterwards. */
static int sq_thaw(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;
    int rc = 0;

    s->w.h = h;
    for (size_t i = 0; i < s->n; i++)
        if (s->db[i].chosen)
            sqw_check_held(&s->db[i]);
    release_all(s);
    for (size_t i = 0; i < s->n; i++)
        if (s->db[i].chosen && s->db[i].lost != NULL) {
            s->w.svc->set_consistency(h, VB_CONSISTENCY_CRASH);
            rc = vbw_fail(&s->w, VB_E_WRITER_RETRYABLE, "run the backup again",
                          "the lock on database '%s' was lost between freeze and "
                          "thaw: %s",
                          s->db[i].path, s->db[i].lost);
        }
    return rc;
}

static int sq_release(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;

    s->w.h = h;
    return release_all(s);
}

/* ---- restore ---- */

/* Where a record's database goes: the directory may be another one (new target). */
static char *place_of(struct sqlite_writer *s, struct vb_record *r, const struct sqw_db *d)
{
    VBW_AUTO char *dir = vbw_dirname(d->path);
    const char *to = s->w.svc->record_restored_to(r, dir);

    return to != NULL ? vbw_join(to, vbw_basename(d->path)) : NULL;
}

/* Calls fn for every database of the session's records: one for a record of its own, all for the group's head. */
static int each_restored(struct sqlite_writer *s,
                         int (*fn)(struct sqlite_writer *s, struct vb_record *r, struct sqw_db *d))
{
    const struct vb_writer_services *svc = s->w.svc;
    const char *group = svc->option(s->w.h, "group");

    for (unsigned k = 0; k < svc->record_count(s->w.h); k++) {
        struct vb_record *r = svc->record(s->w.h, k);
        struct sqw_db *one = find(s, r);
        if (one == NULL && (group == NULL || strcmp(group, svc->record_name(r)) != 0)) {
            svc->component_fail(r, VB_E_CONFIG, "this database is not in the configuration of the sqlite writer");
            return vbw_fail(&s->w, VB_E_CONFIG, "name the database in the writer's section, as it was at backup time",
                            "component '%s' of the backup is no database of this configuration", svc->record_name(r));
        }
        for (size_t i = 0; i < s->n; i++)
            if ((one == NULL || one == &s->db[i]) && fn(s, r, &s->db[i]) != 0)
                return -1;
    }
    return 0;
}

static int clear_place(struct sqlite_writer *s, struct vb_record *r, struct sqw_db *d)
{
    VBW_AUTO char *path = place_of(s, r, d);
    bool consent = vbw_has_word(s->w.svc->record_restore_options(r), "overwrite"), allow = false;

    if (path == NULL)
        return 0;
    if (vbw_bool(&s->w, "allow-in-use", s->w.svc->option(s->w.h, "allow-in-use"), false, &allow) != 0)
        return -1;
    if (vbw_exists(path) && !consent)
        return vbw_fail(&s->w, VB_E_GUARD, "allow overwriting if it may be replaced, or restore to another place",
                        "database '%s' exists", path);
    if (!allow && sqw_check_unused(&s->w, path) != 0)
        return -1;
    return sqw_move_aside(&s->w, path);
}

/* The database and everything that belongs to it go aside together: a left-over log or journal beside a restored
 * database would destroy it. */
static int sq_pre_restore(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;

    s->w.h = h;
    return each_restored(s, clear_place);
}

static int check_place(struct sqlite_writer *s, struct vb_record *r, struct sqw_db *d)
{
    VBW_AUTO char *path = NULL;

    if (s->w.svc->record_restore_status(r) == VB_FILE_RESTORE_NONE)
        return 0;
    if (s->w.svc->record_restore_status(r) != VB_FILE_RESTORE_ALL) {
        s->w.svc->component_fail(r, VB_E_WRITER_NON_RETRYABLE, "its files were restored in part only");
        return vbw_fail(&s->w, VB_E_WRITER_PARTIAL_FAILURE, "restore it again",
                        "database '%s' was restored in part only; do not use it", d->path);
    }
    path = place_of(s, r, d);
    if (path == NULL || sqw_verify(&s->w, path) == 0)
        return 0;
    s->w.svc->component_fail(r, VB_E_CORRUPT, "the restored database did not pass SQLite's checks");
    return -1;
}

static int sq_post_restore(void *ctx, struct vb_host *h)
{
    struct sqlite_writer *s = ctx;

    s->w.h = h;
    for (unsigned k = 0; k < s->w.svc->record_count(h); k++)
        if (s->w.svc->record_additional_restores(s->w.svc->record(h, k)))
            return 0; /* opening it would recover it, and more is to come */
    return each_restored(s, check_place);
}

/* ---- life ---- */

static int sq_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct sqlite_writer *s = vbw_alloc(1, sizeof *s);

    s->w = (struct vbw){ svc, h };
    *ctx = s;
    return load(s);
}

static void sq_close(void *ctx)
{
    struct sqlite_writer *s = ctx;

    clear_dbs(s);
    free(s);
}

static const struct vb_writer SQLITE_WRITER = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0003",
    .name = "sqlite writer",
    .version = "1.0",
    .usage = VB_USAGE_USER_DATA,
    .source = VB_SOURCE_TRANSACTED_DB,
    .level = VB_LEVEL_BACK_END,
    .freeze_timeout_ms = 30000,
    .options = OPTIONS,
    .open = sq_open,
    .close = sq_close,
    .identify = sq_identify,
    .prepare_snapshot = sq_prepare_snapshot,
    .freeze = sq_freeze,
    .thaw = sq_thaw,
    .abort = sq_release,
    .backup_shutdown = sq_release,
    .pre_restore = sq_pre_restore,
    .post_restore = sq_post_restore,
};
VB_REGISTER_WRITER(SQLITE_WRITER)
