/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/script/script.c - a writer as a program: called once for each event, answers with lines and an exit status.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/support/support.h"

struct script {
    struct vbw w;
    char *program;
    char *component, *logical_path; /* the one that lines of identify belong to */
};

static const char *const OPTIONS[] = { "program", "argument", NULL };

/* Exit statuses: 0 done, 1 failed, 2 this event is nothing to me, and failures that have a name. */
static const struct {
    int status;
    enum vb_code code;
} STATUSES[] = {
    { 1, VB_E_WRITER_NON_RETRYABLE },
    { 3, VB_E_WRITER_RETRYABLE },
    { 4, VB_E_WRITER_OUT_OF_RESOURCES },
    { 5, VB_E_WRITER_INCONSISTENT_SNAPSHOT },
    { 6, VB_E_GUARD },
};

/* ---- what the program is told ---- */

static void names(const struct script *s, struct vbw_list *env, const char *key,
                  int (*take)(const struct script *s, struct vb_record *r))
{
    const struct vb_writer_services *svc = s->w.svc;
    char *text = vbw_printf("%s=", key);

    for (unsigned i = 0; i < svc->record_count(s->w.h); i++) {
        struct vb_record *r = svc->record(s->w.h, i);
        if (take != NULL && !take(s, r))
            continue;
        char *more = vbw_printf("%s%s%s", text, text[strlen(text) - 1] == '=' ? "" : "\n", svc->record_name(r));
        free(text);
        text = more;
    }
    vbw_list_take(env, text);
}

static int succeeded(const struct script *s, struct vb_record *r)
{
    return s->w.svc->record_backup_succeeded(r);
}

static int restored(const struct script *s, struct vb_record *r)
{
    return s->w.svc->record_restore_status(r) == VB_FILE_RESTORE_ALL;
}

static void environment(const struct script *s, const char *event, struct vbw_list *env)
{
    const struct vb_writer_services *svc = s->w.svc;
    const char *session = svc->session_id(s->w.h), *set = svc->snapshot_set_id(s->w.h),
               *instance = svc->option(s->w.h, "instance");
    bool overwrite = false;

    for (unsigned i = 0; i < svc->record_count(s->w.h); i++)
        overwrite = overwrite || vbw_has_word(svc->record_restore_options(svc->record(s->w.h, i)), "overwrite");
    vbw_list_take(env, vbw_printf("VBACKUP_EVENT=%s", event));
    vbw_list_take(env, vbw_printf("VBACKUP_INSTANCE=%s", instance != NULL ? instance : ""));
    vbw_list_take(env, vbw_printf("VBACKUP_STATE_DIR=%s", svc->state_dir(s->w.h)));
    vbw_list_take(env, vbw_printf("VBACKUP_SESSION=%s", session != NULL ? session : ""));
    vbw_list_take(env, vbw_printf("VBACKUP_SNAPSHOT_SET=%s", set != NULL ? set : ""));
    vbw_list_take(env, vbw_printf("VBACKUP_DEADLINE_MS=%llu", (unsigned long long)svc->deadline_ms(s->w.h)));
    vbw_list_take(env, vbw_printf("VBACKUP_OVERWRITE=%d", overwrite));
    names(s, env, "VBACKUP_COMPONENTS", NULL);
    names(s, env, "VBACKUP_SUCCEEDED", succeeded);
    names(s, env, "VBACKUP_RESTORED", restored);
}

/* ---- what it answers ---- */

/* One line of identify: words between tabs.  1: not one of ours. */
static int identify_line(struct script *s, char **f, size_t n)
{
    const struct vb_writer_services *svc = s->w.svc;
    const char *f1 = n > 1 ? f[1] : "", *f2 = n > 2 ? f[2] : NULL, *f3 = n > 3 ? f[3] : NULL;

    if (strcmp(f[0], "component") == 0) {
        const struct vb_component_spec c = {
            .size = sizeof c,
            .type = VB_COMPONENT_FILEGROUP,
            .name = f1,
            .logical_path = f2,
            .caption = f3,
            .selectable = n <= 4 || strcmp(f[4], "no") != 0,
            .selectable_for_restore = 1,
        };
        free(s->component);
        free(s->logical_path);
        s->component = vbw_strdup(f1);
        s->logical_path = vbw_strdup(f2 != NULL ? f2 : "");
        return svc->add_component(s->w.h, &c);
    }
    if (strcmp(f[0], "exclude") == 0)
        return svc->add_exclude(s->w.h, f1, f2 != NULL ? f2 : "*", f3 == NULL || strcmp(f3, "flat") != 0);
    if (strcmp(f[0], "files") != 0 && strcmp(f[0], "depends") != 0)
        return 1;
    if (s->component == NULL)
        return vbw_fail(&s->w, VB_E_WRITER_NON_RETRYABLE, NULL, "program '%s' wrote '%s' before any component",
                        s->program, f[0]);
    if (strcmp(f[0], "depends") == 0)
        return svc->add_dependency(s->w.h, s->logical_path, s->component, f1, f2 != NULL ? f2 : "",
                                   f3 != NULL ? f3 : "");
    const struct vb_fileset_spec fs = {
        .size = sizeof fs,
        .path = f1,
        .filespec = f2 != NULL && *f2 != '\0' ? f2 : "*",
        .recursive = f3 == NULL || strcmp(f3, "flat") != 0,
    };
    return svc->add_files(s->w.h, s->logical_path, s->component, &fs);
}

/* `metadata NAME TEXT` behind post-snapshot. */
static int metadata_line(struct script *s, char **f, size_t n)
{
    const struct vb_writer_services *svc = s->w.svc;

    if (strcmp(f[0], "metadata") != 0 || n != 3)
        return 1;
    for (unsigned i = 0; i < svc->record_count(s->w.h); i++)
        if (strcmp(svc->record_name(svc->record(s->w.h, i)), f[1]) == 0)
            return svc->set_backup_metadata(svc->record(s->w.h, i), f[2]);
    return 0;
}

static int take_lines(struct script *s, char *out, int (*line)(struct script *s, char **f, size_t n))
{
    for (char *save = NULL, *l = strtok_r(out, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
        VBW_AUTO char *whole = vbw_strdup(l);
        char *f[8];
        size_t n = 0;
        for (char *p = l; p != NULL && n < 8; n++) {
            f[n] = p;
            p = strchr(p, '\t');
            if (p != NULL)
                *p++ = '\0';
        }
        int rc = line != NULL ? line(s, f, n) : 1;
        if (rc < 0)
            return -1;
        if (rc > 0)
            s->w.svc->log(s->w.h, VB_WLOG_NOTICE, "%s", whole);
    }
    return 0;
}

/* The last line is the reason; a line "hint: ..." the hint. */
static int failed(struct script *s, const char *event, int status, char *out)
{
    const char *reason = NULL, *hint = NULL;
    enum vb_code code = VB_E_WRITER_NON_RETRYABLE;

    for (size_t i = 0; i < sizeof STATUSES / sizeof STATUSES[0]; i++)
        if (STATUSES[i].status == status)
            code = STATUSES[i].code;
    for (char *save = NULL, *l = strtok_r(out, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
        if (strncmp(l, "hint: ", 6) == 0)
            hint = l + 6;
        else
            reason = l;
    }
    if (status < 0)
        return vbw_fail(&s->w, VB_E_WRITER_TIMEOUT, hint, "program '%s' was killed, or did not end in time, in %s",
                        s->program, event);
    if (reason == NULL)
        return vbw_fail(&s->w, code, hint, "program '%s' failed in %s with status %d and no word", s->program, event,
                        status);
    return vbw_fail(&s->w, code, hint, "%s", reason);
}

static int call(struct script *s, struct vb_host *h, const char *event,
                int (*line)(struct script *s, char **f, size_t n), bool must)
{
    struct vbw_list argv = { NULL, 0, 0 }, env = { NULL, 0, 0 };
    VBW_AUTO char *out = NULL;
    uint64_t limit = s->w.svc->deadline_ms(h);
    int rc;

    s->w.h = h;
    vbw_list_take(&argv, vbw_strdup(s->program));
    vbw_list_option(&s->w, "argument", &argv);
    vbw_list_take(&argv, vbw_strdup(event));
    vbw_list_take(&argv, NULL);
    environment(s, event, &env);
    vbw_list_take(&env, NULL);
    int status = vbw_run(argv.v, env.v, limit > 400 ? limit - 200 : limit, false, &out);
    if (status == 0 || (status == 2 && !must))
        rc = take_lines(s, out, status == 0 ? line : NULL);
    else if (status == -1)
        rc = vbw_fail_errno(&s->w, errno, NULL, "cannot start program '%s'", s->program);
    else
        rc = failed(s, event, status, out);
    vbw_list_clear(&argv);
    vbw_list_clear(&env);
    return rc;
}

static int sc_identify(void *ctx, struct vb_host *h)
{
    struct script *s = ctx;

    vbw_free_ptr(&s->component);
    vbw_free_ptr(&s->logical_path);
    if (s->w.svc->set_restore_method(h, VB_RESTORE_IF_CAN_REPLACE, NULL, VB_WRITER_RESTORE_ALWAYS, 0) != 0)
        return -1;
    return call(s, h, "identify", identify_line, true);
}

#define CALLBACK(function, event, line)               \
    static int function(void *ctx, struct vb_host *h) \
    {                                                 \
        return call(ctx, h, event, line, false);      \
    }
CALLBACK(sc_prepare_backup, "prepare-backup", NULL)
CALLBACK(sc_prepare_snapshot, "prepare-snapshot", NULL)
CALLBACK(sc_freeze, "freeze", NULL)
CALLBACK(sc_thaw, "thaw", NULL)
CALLBACK(sc_post_snapshot, "post-snapshot", metadata_line)
CALLBACK(sc_abort, "abort", NULL)
CALLBACK(sc_backup_complete, "backup-complete", NULL)
CALLBACK(sc_backup_shutdown, "backup-shutdown", NULL)
CALLBACK(sc_pre_restore, "pre-restore", NULL)
CALLBACK(sc_post_restore, "post-restore", NULL)

static int sc_open(struct vb_host *h, const struct vb_writer_services *svc, void **ctx)
{
    struct script *s = vbw_alloc(1, sizeof *s);
    const char *program = svc->option(h, "program");
    struct stat st;

    s->w = (struct vbw){ svc, h };
    *ctx = s;
    if (program == NULL || program[0] != '/')
        return vbw_fail(&s->w, VB_E_CONFIG, "add program = /PATH/PROGRAM",
                        "the script writer needs an absolute program");
    s->program = vbw_strdup(program);
    if (stat(program, &st) != 0 || access(program, X_OK) != 0)
        return vbw_fail_errno(&s->w, errno, "chmod a+x it, or correct the path", "cannot run program '%s'", program);
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return vbw_fail(&s->w, VB_E_ACCESS_DENIED, "give it to root and take the write permission from others",
                        "program '%s' can be changed by other users", program);
    return 0;
}

static void sc_close(void *ctx)
{
    struct script *s = ctx;

    free(s->program);
    free(s->component);
    free(s->logical_path);
    free(s);
}

static const struct vb_writer SCRIPT_WRITER = {
    .size = sizeof(struct vb_writer),
    .magic = VB_WRITER_MAGIC,
    .abi = VB_WRITER_ABI,
    .class_id = "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0005",
    .name = "script writer",
    .version = "1.0",
    .usage = VB_USAGE_USER_DATA,
    .source = VB_SOURCE_OTHER,
    .options = OPTIONS,
    .open = sc_open,
    .close = sc_close,
    .identify = sc_identify,
    .prepare_backup = sc_prepare_backup,
    .prepare_snapshot = sc_prepare_snapshot,
    .freeze = sc_freeze,
    .thaw = sc_thaw,
    .post_snapshot = sc_post_snapshot,
    .abort = sc_abort,
    .backup_complete = sc_backup_complete,
    .backup_shutdown = sc_backup_shutdown,
    .pre_restore = sc_pre_restore,
    .post_restore = sc_post_restore,
};
VB_REGISTER_WRITER(SCRIPT_WRITER)
