/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup backup, restore, plan backup, plan restore, resume. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli_run.h"

static int run_any(struct vb_cli *cli, enum vb_job_kind kind, bool plan_only)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_cli_run r = { 0 };
    bool restore = kind == VB_JOB_RESTORE;
    int mode = restore ? VB_REPO_READ : plan_only ? -1 : VB_REPO_WRITE, status;

    r.show_plan = plan_only;
    r.cli = cli;
    if (vb_cli_run_options(&r, kind, &err) < 0 || vb_cli_run_open(&r, cli, mode, &err) < 0) {
        status = vb_cli_fail(cli, &err);
    } else {
        r.progress = vb_progress_new(cli, r.loop, restore ? "restore" : "backup");
        if (plan_only)
            r.run = vb_run_plan_only(&r.env, kind, &r.opt, &vb_cli_run_handler, &r);
        else if (restore)
            r.run = vb_run_restore(&r.env, &r.opt, &vb_cli_run_handler, &r);
        else
            r.run = vb_run_backup(&r.env, &r.opt, &vb_cli_run_handler, &r);
        status = vb_cli_run_wait(&r);
    }
    vb_cli_run_close(&r);
    return status;
}

static int run_backup(struct vb_cli *cli)
{
    return run_any(cli, VB_JOB_BACKUP, vb_cli_flag(cli, "dry-run"));
}

static int run_plan_backup(struct vb_cli *cli)
{
    return run_any(cli, VB_JOB_BACKUP, true);
}

static int run_restore(struct vb_cli *cli)
{
    return run_any(cli, VB_JOB_RESTORE, vb_cli_flag(cli, "dry-run"));
}

static int run_plan_restore(struct vb_cli *cli)
{
    return run_any(cli, VB_JOB_RESTORE, true);
}

#define BACKUP_OPTS                                                                                                     \
    { "component", 'C', "[HOST/]WRITER[:COMPONENT]", "only this (may repeat); default: everything on this machine" },   \
    { "exclude-component", 0, "[HOST/]WRITER[:COMPONENT]", "leave this out (may repeat)" },                             \
    { "exclude", 'x', "PATTERN", "with PATH: leave out what matches: a name, a/b, /a/b or **/b (may repeat)" },         \
    { "iexclude", 0, "PATTERN", "the same, upper and lower case alike (may repeat)" },                                  \
    { "exclude-caches", 0, NULL, "with PATH: leave out what is in directories with a CACHEDIR.TAG" },                   \
    { "exclude-if-present", 0, "NAME", "with PATH: leave out what is in directories with such an entry (may repeat)" }, \
    { "exclude-larger-than", 0, "SIZE", "with PATH: leave out files that are larger" },                                 \
    { "one-file-system", 0, NULL, "with PATH: leave out what is mounted below" },                                       \
    { "require", 0, "WRITER", "fail if this writer cannot take part (may repeat)" },                                    \
    { "ignore", 0, "WRITER", "do not involve this writer (may repeat)" },                                               \
    { "on-missing", 0, "POLICY", "dependency that cannot be met: fail, drop or continue" },                             \
    { "allow-live", 0, NULL, "read live, while it may change, what no provider can take a snapshot of" },               \
    { "allow-freeze", 0, NULL, "let small data be copied while their file system is kept frozen" },                     \
    { "require-snapshot", 0, NULL, "neither of these, whatever the configuration allows" },                             \
    { "type", 0, "TYPE", "full (default), copy (outside of any chain), incremental, differential or log" },                             \
    { "no-detector", 0, NULL, "read every file, also where nothing seems to have changed" },                            \
    { "compression", 0, "LEVEL", "zstd level 1 to 19 of the data, 0 for none (else the repository's)" },                \
    { "freeze-limit", 0, "TIME", "longest time any application may be held" },                                          \
    { "lease", 0, "TIME", "how long agents keep the job without a connection" },                                        \
    { "front-end", 0, "HOST", "begin on this host instead of this machine" }

static const struct vb_opt backup_opts[] = { BACKUP_OPTS, { "dry-run", 'n', NULL, "show the plan and stop" },
                                             { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_backup = { "backup", "[PATH...]",
                                        "back up what the writers hold, or the paths that are given", backup_opts, 0, -1,
                                        run_backup };

static const struct vb_opt plan_backup_opts[] = {
    BACKUP_OPTS, { "offline", 0, NULL, "from the metadata of the last run; no host is asked" }, { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_plan_backup = { "plan backup", "[PATH...]",
                                             "show what a backup would do; nothing is touched", plan_backup_opts, 0, -1,
                                             run_plan_backup };

#define RESTORE_OPTS                                                                                                    \
    { "component", 'C', "[HOST/]WRITER[:COMPONENT]", "only this and what belongs to it (may repeat)" },                 \
    { "exclude-component", 0, "[HOST/]WRITER[:COMPONENT]", "leave this out (may repeat)" },                             \
    { "target", 't', "DIR", "put the files below DIR; no application is touched" },                                     \
    { "map", 'm', "OLD=NEW", "what came from host OLD goes to host NEW (may repeat)" },                                 \
    { "overwrite", 0, NULL, "consent to put back over existing data and into running servers" },                        \
    { "verify", 0, NULL, "read everything again afterwards and compare it with the backup" },                           \
    { "on-missing", 0, "POLICY", "dependency that cannot be met: fail, drop or continue" },                             \
    { "host", 0, "HOST", "the latest backup that has this host" },                                                      \
    { "lease", 0, "TIME", "how long agents keep the job without a connection" }

static const struct vb_opt restore_opts[] = { RESTORE_OPTS, { "dry-run", 'n', NULL, "show the plan and stop" },
                                              { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_restore = { "restore", "[BACKUP] [PATH...]", "bring a backup back, or files of it", restore_opts, 0,
                                         -1, run_restore };

static const struct vb_opt plan_restore_opts[] = { RESTORE_OPTS, { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_plan_restore = { "plan restore", "[BACKUP] [PATH...]",
                                              "show what a restore would do; nothing is touched", plan_restore_opts, 0, -1,
                                              run_plan_restore };

/* ---- resume ---- */

static int list_unfinished(struct vb_cli *cli, const struct vb_strv *ids)
{
    for (size_t i = 0; i < ids->n; i++) {
        if (cli->json) {
            json_t *o = vb_cli_message("unfinished");
            json_object_set_new(o, "run", vb_cli_text(ids->v[i]));
            vb_cli_json(o);
        } else {
            printf("%s\n", ids->v[i]);
        }
    }
    if (!ids->n && !cli->json && !cli->quiet)
        fprintf(stderr, "vbackup: there is no unfinished run\n");
    return VB_EXIT_DONE;
}

static int run_resume(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_cli_run r = { 0 };
    struct vb_strv ids = { 0 };
    int status;

    bool only_list = vb_cli_flag(cli, "list") || vb_cli_flag(cli, "forget");
    if (vb_cli_run_open(&r, cli, only_list ? -1 : VB_REPO_WRITE, &err) < 0 ||
        vb_run_unfinished(r.env.state, &ids, &err) < 0) {
        status = vb_cli_fail(cli, &err);
        goto out;
    }
    const char *id = cli->argc ? cli->argv[0] : ids.n == 1 ? ids.v[0] : NULL;
    if (vb_cli_flag(cli, "list")) {
        status = list_unfinished(cli, &ids);
    } else if (!id) {
        if (ids.n == 0)
            vb_fail(&err, VB_E_NOT_FOUND, "there is no unfinished run, nothing to resume");
        else
            vb_fail(&err, VB_E_USAGE, "there are %zu unfinished runs, name one", ids.n);
        if (ids.n > 0)
            vb_hint(&err, "'vbackup resume --list' prints them");
        status = vb_cli_fail(cli, &err);
    } else if (!vb_strv_has(&ids, id)) {
        vb_fail(&err, VB_E_NOT_FOUND, "there is no unfinished run '%s'", id);
        vb_hint(&err, "'vbackup resume --list' prints them");
        status = vb_cli_fail(cli, &err);
    } else if (vb_cli_flag(cli, "forget")) {
        status = vb_run_forget(r.env.state, id, &err) < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
    } else {
        r.progress = vb_progress_new(cli, r.loop, "resume");
        r.kind = VB_JOB_BACKUP;
        r.run = vb_run_resume(&r.env, id, &vb_cli_run_handler, &r);
        status = vb_cli_run_wait(&r);
    }
out:
    vb_strv_clear(&ids);
    vb_cli_run_close(&r);
    return status;
}

static const struct vb_opt resume_opts[] = { { "list", 0, NULL, "print the unfinished runs" },
                                             { "forget", 0, NULL, "forget the run; its jobs end with their leases" },
                                             { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_resume = { "resume", "[RUN]", "take up a run whose requester died", resume_opts, 0, 1,
                                        run_resume };
