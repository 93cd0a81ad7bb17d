/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/cli_run.h - what the verbs backup, restore, plan and resume share: from the command line to a run and from its
 * result to text, JSON and exit status.
 */
#ifndef VB_REQUESTER_CLI_RUN_H
#define VB_REQUESTER_CLI_RUN_H

#include "requester/cli.h"
#include "requester/progress.h"
#include "requester/run.h"
#include "store/repository.h"

struct vb_cli_run {
    struct vb_cli *cli;
    struct vb_loop *loop;
    struct vb_links *links;
    struct vb_repo *repo;
    struct vb_run_env env;
    struct vb_run_options opt;
    struct vb_hosts_resolver resolver;
    struct vb_run *run;
    struct vb_progress *progress;
    struct vb_ask *asks, *excludes;
    struct vb_strv named;               /* restore: paths */
    struct vb_strv texts;               /* owns the pieces the options point into */
    struct vb_job_writer *writers;
    size_t n_writers, cap_writers;
    char **paths;
    size_t n_paths;
    const char **path_rules;
    char *requester, *user;
    enum vb_job_kind kind;
    bool show_plan, stopped;
    int status;
};

/* Loop, links, state and, if mode >= 0, the repository (enum vb_repo_mode).  On error prints nothing: the caller does. */
int vb_cli_run_open(struct vb_cli_run *r, struct vb_cli *cli, int mode, struct vb_error *err);
/* Options from the configuration and the command line into r->opt. */
int vb_cli_run_options(struct vb_cli_run *r, enum vb_job_kind kind, struct vb_error *err);
extern const struct vb_run_handler vb_cli_run_handler; /* arg: struct vb_cli_run */
/* Runs to the end (r->run was started), with orderly cancel on SIGINT, SIGTERM and SIGHUP.  The exit status. */
int vb_cli_run_wait(struct vb_cli_run *r);
void vb_cli_run_close(struct vb_cli_run *r);

#endif
