/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/cli.h - the command line: one table of verbs from which parsing, help and completion are made.
 *
 * A verb is one file command_NAME.c that exports one struct vb_cli_verb.  It reads its options through this header, prints
 * its result on standard output and everything else on standard error, and returns an exit status of result.h.
 */
#ifndef VB_REQUESTER_CLI_H
#define VB_REQUESTER_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include "base/config.h"
#include "base/error.h"
#include "requester/settings.h"
#include "vbackup/result.h"

struct vb_opt {
    const char *name;  /* long name */
    char letter;       /* 0: none */
    const char *arg;   /* NULL: a flag; else what --help shows, "DIR" */
    const char *help;
};

struct vb_cli;
struct vb_cli_verb {
    const char *name;             /* "backup" or "host list" */
    const char *args;             /* "[PATH...]" */
    const char *summary;          /* one line */
    const struct vb_opt *opts;    /* ends with a NULL name */
    int min_args, max_args;       /* max -1: any number */
    int (*run)(struct vb_cli *cli);
};

struct vb_cli {
    const struct vb_cli_verb *verb;
    int argc;                     /* positional arguments after the verb */
    char **argv;
    struct vb_settings settings;
    bool json, quiet;
    int verbose;
    bool tty;                     /* standard error is a terminal */
    struct vb_strv values;        /* "name=value" in the order given */
};

extern const struct vb_cli_verb vb_verb_init, vb_verb_backup, vb_verb_restore, vb_verb_plan_backup, vb_verb_plan_restore,
    vb_verb_list, vb_verb_show, vb_verb_writers, vb_verb_writers_metadata, vb_verb_host_list, vb_verb_host_test,
    vb_verb_resume, vb_verb_check, vb_verb_completion, vb_verb_ls, vb_verb_export, vb_verb_key_list, vb_verb_key_add,
    vb_verb_key_change, vb_verb_key_remove, vb_verb_forget, vb_verb_prune, vb_verb_find, vb_verb_cat, vb_verb_diff,
    vb_verb_stats, vb_verb_serve, vb_verb_copy, vb_verb_mount, vb_verb_key_sheet, vb_verb_recover_requester,
    vb_verb_import,
    vb_verb_accept,
    vb_verb_hold;
extern const struct vb_cli_verb vb_verb_shadow_create, vb_verb_shadow_list, vb_verb_shadow_providers, vb_verb_shadow_volumes,
    vb_verb_shadow_writers, vb_verb_shadow_delete, vb_verb_shadow_expose, vb_verb_shadow_unexpose, vb_verb_shadow_set,
    vb_verb_shadow_revert, vb_verb_shadow_break, vb_verb_shadow_run,
    vb_verb_shadow_export, vb_verb_shadow_import, vb_verb_shadow_send;
extern const struct vb_cli_verb vb_verb_scope_add, vb_verb_scope_set, vb_verb_scope_rm, vb_verb_scope_list, vb_verb_scope_serve,
    vb_verb_lock, vb_verb_unlock, vb_verb_replicate,
    vb_verb_status, vb_verb_resolve,
    vb_verb_bundle_create, vb_verb_bundle_verify, vb_verb_bundle_apply, vb_verb_bundle_ack;
extern const struct vb_cli_verb *const vb_verbs[]; /* ends with NULL */

/* Options of the running verb. */
bool vb_cli_flag(const struct vb_cli *cli, const char *name);
const char *vb_cli_opt(const struct vb_cli *cli, const char *name);               /* last value or NULL */
size_t vb_cli_list(const struct vb_cli *cli, const char *name, const char ***v);  /* caller frees the array */

/* Location of the repository: --repo, VBACKUP_REPOSITORY, `location` of [repository]; error with a hint otherwise. */
const char *vb_cli_repository(const struct vb_cli *cli, struct vb_error *err);

/* Prints the error ("vbackup: text", hint on its own line; with --json one error object) and returns its exit status. */
int vb_cli_fail(const struct vb_cli *cli, const struct vb_error *err);
/* Prints one JSON object as one line on standard output and releases it. */
void vb_cli_json(json_t *object);
/* A JSON object with "message_type" and "schema". */
json_t *vb_cli_message(const char *type);
/* A string value that survives bytes which are not UTF-8 (escaped as \xNN). */
json_t *vb_cli_text(const char *s);

int vb_cli_help(const struct vb_cli_verb *verb); /* NULL: the overview; returns VB_EXIT_DONE */
int vb_cli_main(int argc, char **argv);

#endif
