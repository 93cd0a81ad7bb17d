/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/null/null.c - a writer without an application: for tests and rehearsals.
 *
 * It offers the components it is told to offer, and misbehaves where it is told to.  Every callback leaves lines with
 * the monotonic time in a log file, so that a test can see what came when.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/support/support.h"

struct null {
    struct vbw w;
    int log_fd;
    char *who; /* "null" or the instance name */
    bool holds_topology, frozen;
};

static const char *const OPTIONS[] = { "component",
                                       "*.logical-path",
                                       "*.caption",
                                       "*.selectable",
                                       "*.selectable-for-restore",
                                       "*.type",
                                       "*.path",
                                       "*.filespec",
                                       "*.recursive",
                                       "*.alternate-path",
                                       "*.alternate-location",
                                       "*.depends",
                                       "*.metadata",
                                       "*.private",
                                       "*.recovery",
                                       "*.repair",
                                       "*.logs",
                                       "*.backup-in",
                                       "*.stamp",
                                       "*.differenced",
                                       "*.partial",
                                       "exclude",
                                       "event-log",
                                       "delay.*",
                                       "fail.*",
                                       "hang",
                                       "crash",
                                       "broken",
                                       "topology-lock",
                                       "consistency",
                                       "schema",
                                       "restore-method",
                                       "service",
                                       "reboot-required",
                                       NULL };

static void note(const struct null *n, const char *event, const char *what)
{
    if (n->log_fd < 0)
        return;
    VBW_AUTO char *line = vbw_printf("%llu %s %s %s\n", (unsigned long long)vbw_now_us(), n->who, event, what);
    ssize_t k = write(n->log_fd, line, strlen(line));
    (void)k;
}

static int log_open(struct null *n)
{
    const char *path = n->w.svc->option(n->w.h, "event-log");

    if (path == NULL)
        return 0;
    n->log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    return n->log_fd >= 0 ? 0 : vbw_fail_errno(&n->w, errno, NULL, "cannot open the event log '%s'", path);
}

/* ---- misbehaving ---- */

static void rest(const struct null *n, uint64_t ms)
{
    uint64_t until = vbw_now_us() + ms * 1000u;

    while (vbw_now_us() < until && !n->w.svc->shutting_down(n->w.h))
        vbw_nap_us(1000);
}

static bool named(const struct null *n, const char *key, const char *event)
{
    const char *v;

    for (unsigned i = 0; (v = n->w.svc->option_n(n->w.h, key, i)) != NULL; i++)
        if (vbw_has_word(v, event))
            return true;
    return false;
}

/* "fail.freeze = retryable 2": the first two times only, counted over processes in the state directory. */
static bool still_failing(const struct null *n, const char *event, const char *setting)
{
    const char *blank = strchr(setting, ' ');

    if (blank == NULL)
        return true;
    VBW_AUTO char *name = vbw_printf("failed.%s", event);
    VBW_AUTO char *path = vbw_join(n->w.svc->state_dir(n->w.h), name);
    VBW_AUTO char *seen = vbw_read_file(path, 64, NULL);
    unsigned long count = seen != NULL ? strtoul(seen, NULL, 10) : 0, limit = strtoul(blank, NULL, 10);
    if (count >= limit)
        return false;
    VBW_AUTO char *next = vbw_printf("%lu", count + 1);
    return vbw_write_file(path, next, strlen(next), 0600) == 0;
}

static const struct {
    const char *word;
    enum vb_code code;
} CODES[] = {
    { "retryable", VB_E_WRITER_RETRYABLE },
    { "non-retryable", VB_E_WRITER_NON_RETRYABLE },
    { "timeout", VB_E_WRITER_TIMEOUT },
    { "out-of-resources", VB_E_WRITER_OUT_OF_RESOURCES },
    { "inconsistent", VB_E_WRITER_INCONSISTENT_SNAPSHOT },
    { "partial", VB_E_WRITER_PARTIAL_FAILURE },
};

static int fail_as_told(struct null *n, const char *event)
{
    VBW_AUTO char *key = vbw_printf("fail.%s", event);
    const char *setting = n->w.svc->option(n->w.h, key);

    if (setting == NULL || !still_failing(n, event, setting))
        return 0;
    size_t k = strcspn(setting, " ");
    if (k == strlen("silent") && strncmp(setting, "silent", k) == 0)
        return -1;
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (strlen(CODES[i].word) != k || strncmp(CODES[i].word, setting, k) != 0)
            continue;
        if (CODES[i].code == VB_E_WRITER_PARTIAL_FAILURE && n->w.svc->record_count(n->w.h) > 0)
            n->w.svc->component_fail(n->w.svc->record(n->w.h, 0), VB_E_WRITER_NON_RETRYABLE,
                                     "this component was told to fail");
        return vbw_fail(&n->w, CODES[i].code, "change the configuration of the null writer", "told to fail in %s",
                        event);
    }
    return vbw_fail(&n->w, VB_E_CONFIG, NULL,
                    "'%s = %s': expected silent, retryable, non-retryable, timeout, out-of-resources, "
                    "inconsistent or partial, and perhaps a count",
                    key, setting);
}

/* The common part of every callback; work runs between begin and end. */
static int act(struct null *n, struct vb_host *h, const char *event, int (*work)(struct null *n))
{
    uint64_t ms = 0;

    n->w.h = h;
    note(n, event, "begin");
    VBW_AUTO char *key = vbw_printf("delay.%s", event);
    if (vbw_duration_ms(&n->w, key, n->w.svc->option(h, key), 0, &ms) != 0)
        return -1;
    if (ms > 0)
        rest(n, ms);
    if (named(n, "crash", event)) {
        note(n, event, "crash");
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would catch it */
        raise(SIGSEGV);
    }
    if (named(n, "hang", event))
        for (;;)
            pause();
    int rc = fail_as_told(n, event);
    if (rc == 0 && work != NULL)
        rc = work(n);
    note(n, event, rc == 0 ? "end ok" : "end failed");
    return rc;
}

/* ---- components ---- */

static const struct {
    const char *word;
    enum vb_backup_type type;
    uint32_t bits;
} TYPES[] = {
    { "full", VB_BACKUP_FULL, VB_FSB_FULL_BACKUP },
    { "incremental", VB_BACKUP_INCREMENTAL, VB_FSB_INCREMENTAL_BACKUP },
    { "differential", VB_BACKUP_DIFFERENTIAL, VB_FSB_DIFFERENTIAL_BACKUP },
    { "log", VB_BACKUP_LOG, VB_FSB_LOG_BACKUP },
};

/* "db.backup-in = full differential": the files belong into backups of these types only; 0: into all. */
static uint32_t bits_of(const char *words)
{
    uint32_t bits = 0;

    for (size_t i = 0; words != NULL && i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (vbw_has_word(words, TYPES[i].word))
            bits |= TYPES[i].bits;
    return bits != 0 ? bits | VB_FSB_ALL_SNAPSHOT : 0;
}

static int add_one(struct null *n, const char *name)
{
    const struct vb_writer_services *svc = n->w.svc;
    struct vb_host *h = n->w.h;
    const char *type = vbw_sub_option(&n->w, name, "type"), *lp = vbw_sub_option(&n->w, name, "logical-path");
    const char *recovery = vbw_sub_option(&n->w, name, "recovery");
    const char *spec = vbw_sub_option(&n->w, name, "filespec"),
               *alm = vbw_sub_option(&n->w, name, "alternate-location");
    bool database = type != NULL && strcmp(type, "database") == 0, selectable, for_restore, recursive;
    struct vbw_list paths = { NULL, 0, 0 }, deps = { NULL, 0, 0 };
    int rc = 0;

    if (vbw_bool(&n->w, "selectable", vbw_sub_option(&n->w, name, "selectable"), true, &selectable) != 0 ||
        vbw_bool(&n->w, "selectable-for-restore", vbw_sub_option(&n->w, name, "selectable-for-restore"), false,
                 &for_restore) != 0 ||
        vbw_bool(&n->w, "recursive", vbw_sub_option(&n->w, name, "recursive"), !database, &recursive) != 0)
        return -1;
    const struct vb_component_spec c = {
        .size = sizeof c,
        .type = database ? VB_COMPONENT_DATABASE : VB_COMPONENT_FILEGROUP,
        .logical_path = lp,
        .name = name,
        .caption = vbw_sub_option(&n->w, name, "caption"),
        .selectable = selectable,
        .selectable_for_restore = for_restore,
        .flags = recovery == NULL                     ? 0
                 : strcmp(recovery, "rollback") == 0 ? VB_CF_ROLLBACK_RECOVERY
                                                      : VB_CF_BACKUP_RECOVERY,
    };
    if (svc->add_component(h, &c) != 0)
        return -1;
    vbw_list_sub_option(&n->w, name, "path", &paths);
    vbw_list_sub_option(&n->w, name, "depends", &deps);
    for (size_t i = 0; rc == 0 && i < paths.n; i++) {
        const struct vb_fileset_spec f = {
            .size = sizeof f,
            .kind = database ? VB_FILES_DATABASE : VB_FILES_GROUP,
            .path = paths.v[i],
            .filespec = spec != NULL ? spec : "*",
            .recursive = recursive,
            .alternate_path = vbw_sub_option(&n->w, name, "alternate-path"),
            .backup_type = bits_of(vbw_sub_option(&n->w, name, "backup-in")),
        };
        rc = svc->add_files(h, lp, name, &f);
        if (rc == 0 && alm != NULL)
            rc = svc->add_alternate_location(h, paths.v[i], f.filespec, f.recursive, alm);
    }
    if (rc == 0 && vbw_sub_option(&n->w, name, "logs") != NULL) {
        const struct vb_fileset_spec f = { .size = sizeof f,
                                           .kind = database ? VB_FILES_LOG : VB_FILES_GROUP,
                                           .path = vbw_sub_option(&n->w, name, "logs"),
                                           .filespec = "*" };
        rc = svc->add_files(h, lp, name, &f);
    }
    /* CLASS-ID|LOGICAL-PATH|NAME */
    for (size_t i = 0; rc == 0 && i < deps.n; i++) {
        char *a = deps.v[i], *b = strchr(a, '|'), *e = b != NULL ? strchr(b + 1, '|') : NULL;
        if (e == NULL)
            rc = vbw_fail(&n->w, VB_E_CONFIG, NULL, "'%s.depends = %s': expected CLASS-ID|LOGICAL-PATH|NAME", name, a);
        else {
            *b = *e = '\0';
            rc = svc->add_dependency(h, lp, name, a, b + 1, e + 1);
        }
    }
    vbw_list_clear(&paths);
    vbw_list_clear(&deps);
    return rc;
}

/* A document that breaks a rule, one kind each. */
static int add_broken(struct null *n, const char *kind)
{
    const struct vb_writer_services *svc = n->w.svc;
    struct vb_component_spec c = {
        .size = sizeof c, .type = VB_COMPONENT_FILEGROUP, .name = "broken", .selectable = 1
    };
    struct vb_fileset_spec f = { .size = sizeof f, .path = "/nowhere", .filespec = "*" };

    if (strcmp(kind, "separator") == 0)
        c.name = "a\\b";
    else if (strcmp(kind, "relative-path") == 0)
        f.path = "nowhere";
    else if (strcmp(kind, "dots") == 0)
        f.path = "/srv/../etc";
    else if (strcmp(kind, "directory-in-filespec") == 0)
        f.filespec = "a/b";
    else if (strcmp(kind, "wrong-kind") == 0)
        f.kind = VB_FILES_DATABASE;
    if (svc->add_component(n->w.h, &c) != 0 || svc->add_files(n->w.h, NULL, c.name, &f) != 0)
        return -1;
    if (strcmp(kind, "duplicate") == 0)
        return svc->add_component(n->w.h, &c);
    return 0;
}

static int identify_work(struct null *n)
{
    const struct vb_writer_services *svc = n->w.svc;
    struct vbw_list names = { NULL, 0, 0 }, excludes = { NULL, 0, 0 };
    const char *broken = svc->option(n->w.h, "broken"), *method = svc->option(n->w.h, "restore-method");
    const char *schema = svc->option(n->w.h, "schema");
    enum vb_restore_method m = VB_RESTORE_IF_CAN_REPLACE;
    int rc = 0;

    if (method != NULL && strcmp(method, "if-not-there") == 0)
        m = VB_RESTORE_IF_NOT_THERE;
    else if (method != NULL && strcmp(method, "stop-restore-start") == 0)
        m = VB_RESTORE_STOP_RESTORE_START;
    else if (method != NULL && strcmp(method, "restore-stop-start") == 0)
        m = VB_RESTORE_RESTORE_STOP_START;
    else if (method != NULL && strcmp(method, "to-alternate") == 0)
        m = VB_RESTORE_TO_ALTERNATE;
    else if (method != NULL && strcmp(method, "custom") == 0)
        m = VB_RESTORE_CUSTOM;
    else if (method != NULL && strcmp(method, "at-reboot") == 0)
        m = VB_RESTORE_AT_REBOOT;
    else if (method != NULL && strcmp(method, "at-reboot-if-cannot-replace") == 0)
        m = VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE;
    if (svc->set_restore_method(n->w.h, m, svc->option(n->w.h, "service"), VB_WRITER_RESTORE_ALWAYS,
                                svc->option(n->w.h, "reboot-required") != NULL) != 0)
        return -1;
    if (schema != NULL)
        svc->set_backup_schema(n->w.h, (uint32_t)strtoul(schema, NULL, 0));
    vbw_list_option(&n->w, "component", &names);
    for (size_t i = 0; rc == 0 && i < names.n; i++)
        rc = add_one(n, names.v[i]);
    vbw_list_clear(&names);
    vbw_list_option(&n->w, "exclude", &excludes);
    for (size_t i = 0; rc == 0 && i < excludes.n; i++) {
        VBW_AUTO char *dir = vbw_dirname(excludes.v[i]);
        rc = svc->add_exclude(n->w.h, dir, vbw_basename(excludes.v[i]), 1);
    }
    vbw_list_clear(&excludes);
    if (rc == 0 && broken != NULL)
        rc = add_broken(n, broken);
    return rc;
}

/* ---- session ---- */

/* The file bears the session's id: a fresh process that works off what a dead one owes finds its lock by it. */
static void unlock_topology(struct null *n)
{
    const char *path = n->w.svc->option(n->w.h, "topology-lock"), *session = n->w.svc->session_id(n->w.h);

    if (path == NULL)
        return;
    VBW_AUTO char *owner = vbw_read_file(path, 128, NULL);
    if (n->holds_topology || (owner != NULL && session != NULL && strcmp(owner, session) == 0))
        unlink(path);
    n->holds_topology = false;
}

/* What a writer hears of a backup that builds on another one (B-4, I-18). */
static void note_type(const struct null *n)
{
    const struct vb_writer_services *svc = n->w.svc;
    enum vb_backup_type type = svc->backup_type(n->w.h);

    for (size_t i = 1; i < sizeof TYPES / sizeof TYPES[0]; i++)
        for (unsigned k = 0; type == TYPES[i].type && k < svc->record_count(n->w.h); k++) {
            struct vb_record *r = svc->record(n->w.h, k);
            const char *before = svc->record_previous_stamp(r);
            VBW_AUTO char *what = vbw_printf("%s type=%s previous=%s", svc->record_name(r), TYPES[i].word,
                                             before != NULL ? before : "-");
            note(n, "prepare-backup", what);
        }
}

static int prepare_backup_work(struct null *n)
{
    note_type(n);
    const char *path = n->w.svc->option(n->w.h, "topology-lock");

    if (path == NULL || n->holds_topology)
        return 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return vbw_fail_errno(&n->w, errno, "another backup may be running", "cannot take the topology lock '%s'",
                              path);
    const char *session = n->w.svc->session_id(n->w.h);
    ssize_t k = session != NULL ? write(fd, session, strlen(session)) : 0;
    (void)k;
    close(fd);
    n->holds_topology = true;
    return 0;
}

static int freeze_work(struct null *n)
{
    n->frozen = true;
    return 0;
}

static int thaw_work(struct null *n)
{
    bool was = n->frozen;

    n->frozen = false;
    return was ? 0 : vbw_fail(&n->w, VB_E_WRITER_NON_RETRYABLE, NULL, "was thawed without having been frozen");
}

/* As an application would roll back what was open: a file in the shadow copy is made, where that may be done. */
static int repair(struct null *n, const char *name)
{
    const struct vb_writer_services *svc = n->w.svc;
    const char *file = vbw_sub_option(&n->w, name, "repair"), *path = vbw_sub_option(&n->w, name, "path");
    const char *seen = file != NULL && path != NULL ? svc->snapshot_path(n->w.h, path) : NULL;

    if (seen == NULL)
        return file != NULL && path != NULL ? -1 : 0;
    bool may = svc->snapshot_is_writable(n->w.h, path);
    VBW_AUTO char *where = vbw_join(seen, file);
    note(n, "post-snapshot", may ? "repairs" : "may-not-repair");
    if (!may || vbw_write_file(where, "repaired\n", strlen("repaired\n"), 0644) == 0)
        return 0;
    return vbw_fail_errno(&n->w, errno, NULL, "cannot repair the shadow copy: '%s'", where);
}

/* Stamp, and what the writer itself says is to be backed up (W-18). */
static int add_changes(struct null *n, struct vb_record *r)
{
    const struct vb_writer_services *svc = n->w.svc;
    const char *name = svc->record_name(r), *stamp = vbw_sub_option(&n->w, name, "stamp");
    struct vbw_list files = { NULL, 0, 0 };
    int rc = stamp != NULL ? svc->set_backup_stamp(r, stamp) : 0;

    if (svc->backup_type(n->w.h) == VB_BACKUP_INCREMENTAL || svc->backup_type(n->w.h) == VB_BACKUP_DIFFERENTIAL)
        vbw_list_sub_option(&n->w, name, "differenced", &files);
    for (size_t i = 0; rc == 0 && i < files.n; i++) {
        VBW_AUTO char *dir = vbw_dirname(files.v[i]);
        rc = svc->add_differenced_file(r, dir, vbw_basename(files.v[i]), 0, 0);
    }
    vbw_list_clear(&files);
    if (svc->partial_files_supported(n->w.h))
        vbw_list_sub_option(&n->w, name, "partial", &files);
    for (size_t i = 0; rc == 0 && i < files.n; i++) { /* FILE RANGES */
        char *blank = strrchr(files.v[i], ' ');
        if (blank == NULL) {
            rc = vbw_fail(&n->w, VB_E_CONFIG, NULL, "'%s.partial = %s': expected FILE RANGES", name, files.v[i]);
            break;
        }
        *blank = '\0';
        VBW_AUTO char *dir = vbw_dirname(files.v[i]);
        rc = svc->add_partial_file(r, dir, vbw_basename(files.v[i]), blank + 1, "partial");
    }
    vbw_list_clear(&files);
    return rc;
}

static int post_snapshot_work(struct null *n)
{
    const struct vb_writer_services *svc = n->w.svc;
    const char *level = svc->option(n->w.h, "consistency");

    if (level != NULL && strcmp(level, "crash") == 0)
        svc->set_consistency(n->w.h, VB_CONSISTENCY_CRASH);
    for (unsigned i = 0; i < svc->record_count(n->w.h); i++) {
        struct vb_record *r = svc->record(n->w.h, i);
        const char *meta = vbw_sub_option(&n->w, svc->record_name(r), "metadata");
        const char *private = vbw_sub_option(&n->w, svc->record_name(r), "private");
        if (repair(n, svc->record_name(r)) != 0 || (meta != NULL && svc->set_backup_metadata(r, meta) != 0))
            return -1;
        if (private != NULL && svc->add_private_file(r, "note", private, strlen(private)) != 0)
            return -1;
        if (add_changes(n, r) != 0)
            return -1;
    }
    return 0;
}

static int release_work(struct null *n)
{
    n->frozen = false;
    unlock_topology(n);
    return 0;
}

static int complete_work(struct null *n)
{
    const struct vb_writer_services *svc = n->w.svc;

    for (unsigned i = 0; i < svc->record_count(n->w.h); i++) {
        struct vb_record *r = svc->record(n->w.h, i);
        VBW_AUTO char *what =
            vbw_printf("%s %s", svc->record_name(r), svc->record_backup_succeeded(r) ? "succeeded" : "not-succeeded");
        note(n, "backup-complete", what);
    }
    return release_work(n);
}

static int post_restore_work(struct null *n)
{
    const struct vb_writer_services *svc = n->w.svc;

    for (unsigned i = 0; i < svc->record_count(n->w.h); i++) {
        struct vb_record *r = svc->record(n->w.h, i);
        const char *meta = svc->record_backup_metadata(r);
        size_t len = 0;
        const char *private = svc->private_file(r, "note", &len);
        VBW_AUTO char *what =
            vbw_printf("%s status=%d metadata=%s private=%.*s", svc->record_name(r), (int)svc->record_restore_status(r),
                       meta != NULL ? meta : "-", private != NULL ? (int)len : 1, private != NULL ? private : "-");
        note(n, "post-restore", what);
        for (unsigned k = 0; k < svc->partial_file_count(r); k++) {
            struct vb_partial_file_info f = { .size = sizeof f };
            if (svc->partial_file(r, k, &f) != 0)
                return -1;
            VBW_AUTO char *which = vbw_printf("partial %s/%s %s %s", f.path, f.filename, f.ranges, f.metadata);
            note(n, "post-restore", which);
        }
        if (svc->record_additional_restores(r))
            note(n, "post-restore", "additional restores follow");
    }
    return 0;
}

static int null_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct null *n = vbw_alloc(1, sizeof *n);
    const char *instance = svc->option(h, "instance");

    n->w = (struct vbw){ svc, h };
    n->log_fd = -1;
    n->who = vbw_strdup(instance != NULL ? instance : "null");
    *ctx = n;
    if (log_open(n) != 0)
        return -1;
    return act(n, h, "open", NULL);
}

static void null_close(void *ctx)
{
    struct null *n = ctx;

    note(n, "close", "end ok");
    free(n->who);
    free(n);
}

#define CALLBACK(function, event, work)                                                                                \
    static int function(void *ctx, struct vb_host *h)                                                                  \
    {                                                                                                                  \
        return act(ctx, h, event, work);                                                                               \
    }
CALLBACK(null_identify, "identify", identify_work)
CALLBACK(null_prepare_backup, "prepare-backup", prepare_backup_work)
CALLBACK(null_prepare_snapshot, "prepare-snapshot", NULL)
CALLBACK(null_freeze, "freeze", freeze_work)
CALLBACK(null_thaw, "thaw", thaw_work)
CALLBACK(null_post_snapshot, "post-snapshot", post_snapshot_work)
CALLBACK(null_abort, "abort", release_work)
CALLBACK(null_backup_complete, "backup-complete", complete_work)
CALLBACK(null_backup_shutdown, "backup-shutdown", release_work)
CALLBACK(null_pre_restore, "pre-restore", NULL)
CALLBACK(null_post_restore, "post-restore", post_restore_work)

static const struct vb_writer NULL_WRITER = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0001",
    .name = "null writer",
    .version = "1.0",
    .usage = VB_USAGE_OTHER,
    .source = VB_SOURCE_OTHER,
    .options = OPTIONS,
    .open = null_open,
    .close = null_close,
    .identify = null_identify,
    .prepare_backup = null_prepare_backup,
    .prepare_snapshot = null_prepare_snapshot,
    .freeze = null_freeze,
    .thaw = null_thaw,
    .post_snapshot = null_post_snapshot,
    .abort = null_abort,
    .backup_complete = null_backup_complete,
    .backup_shutdown = null_backup_shutdown,
    .pre_restore = null_pre_restore,
    .post_restore = null_post_restore,
};
VB_REGISTER_WRITER(NULL_WRITER)
