/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup key list, add, remove, change: the passwords of a repository. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/text.h"
#include "requester/cli.h"
#include "requester/password.h"

static struct vb_repo *open_repo(struct vb_cli *cli, struct vb_error *err)
{
    const char *location = vb_cli_repository(cli, err);
    return location ? vb_repo_open_auth(location, VB_REPO_READ, vb_settings_auth(&cli->settings), err) : NULL;
}

/* ---- list ---- */

struct listing {
    struct vb_cli *cli;
    unsigned shown, damaged;
};

static int list_one(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage)
{
    struct listing *l = arg;
    if (damage) {
        l->damaged++;
        fprintf(stderr, "vbackup: damaged: %s: %s\n", path, vb_error_text(damage));
        return 0;
    }
    VB_AUTO_FREE char *when = vb_time_iso(key->created_ms);
    if (l->cli->json) {
        json_t *o = vb_cli_message("key");
        json_object_set_new(o, "id", json_string(key->id));
        json_object_set_new(o, "created_ms", json_integer((json_int_t)key->created_ms));
        json_object_set_new(o, "label", vb_cli_text(key->label));
        json_object_set_new(o, "write_only", json_boolean(key->host != NULL));
        json_object_set_new(o, "host", vb_cli_text(key->host));
        json_object_set_new(o, "current", json_boolean(key->current));
        vb_cli_json(o);
        return 0;
    }
    VB_AUTO_FREE char *host = vb_escape_terminal(key->host ? key->host : "", key->host ? strlen(key->host) : 0);
    VB_AUTO_FREE char *label = vb_escape_terminal(key->label ? key->label : "", key->label ? strlen(key->label) : 0);
    if (l->shown++ == 0)
        printf("  %-8s  %-20s  %-24s  %s\n", "ID", "MADE", "MAY", "LABEL");
    VB_AUTO_FREE char *may = key->host ? vb_printf("add backups of %s", host) : vb_strdup("read and write");
    printf("%c %.8s  %-20s  %-24s  %s\n", key->current ? '*' : ' ', key->id, when, may, label);
    return 0;
}

static int run_list(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct listing l = { cli, 0, 0 };
    struct vb_repo *r = open_repo(cli, &err);
    int rc = r ? vb_repo_key_list(r, list_one, &l, &err) : -1;
    if (rc == 0 && !vb_repo_info(r)->encrypted && !cli->json && !cli->quiet)
        fprintf(stderr, "vbackup: the repository is not encrypted and has no keys\n");
    vb_repo_close(r);
    return rc < 0 ? vb_cli_fail(cli, &err) : l.damaged ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}

static const struct vb_opt list_opts[] = { { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_key_list = { "key list", "", "list the keys of the repository", list_opts, 0, 0,
                                              run_list };

/* ---- add, change ---- */

static struct vb_repo_key_params params_of(struct vb_cli *cli, struct vb_repo_auth *auth)
{
    vb_password_new(auth, vb_cli_opt(cli, "new-password-file"));
    struct vb_loop *loop = vb_loop_new();
    struct vb_repo_key_params p = { auth, vb_cli_opt(cli, "label"), vb_cli_opt(cli, "write-only"), vb_loop_wall_ms(loop),
                                    vb_password_cost() };
    vb_loop_free(loop);
    return p;
}

static int told(struct vb_cli *cli, const char *what, const char *id)
{
    if (cli->json) {
        json_t *o = vb_cli_message("key");
        json_object_set_new(o, "action", json_string(what));
        json_object_set_new(o, "id", json_string(id));
        vb_cli_json(o);
    } else if (!cli->quiet) {
        printf("key %.8s %s\n", id, what);
    }
    return VB_EXIT_DONE;
}

static int run_add(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_auth auth;
    char id[VB_GUID_LEN + 1] = "";
    struct vb_repo_key_params p = params_of(cli, &auth);
    struct vb_repo *r = open_repo(cli, &err);
    int rc = r ? vb_repo_key_add(r, &p, id, &err) : -1;
    vb_repo_close(r);
    return rc < 0 ? vb_cli_fail(cli, &err) : told(cli, "added", id);
}

static const struct vb_opt add_opts[] = {
    { "new-password-file", 0, "FILE", "its first line is the new key's password; without it the terminal asks" },
    { "write-only", 0, "HOST", "the key can add backups of this host and cannot read anything" },
    { "label", 0, "TEXT", "shown by key list" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_key_add = { "key add", "", "add a password to the repository", add_opts, 0, 0, run_add };

static int current_id(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage)
{
    (void)path;
    if (!damage && key->current)
        memcpy(arg, key->id, sizeof key->id);
    return 0;
}

static int run_change(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_auth auth;
    char id[VB_GUID_LEN + 1] = "";
    struct vb_repo_key_params p = params_of(cli, &auth);
    struct vb_repo *r = open_repo(cli, &err);
    int rc = r ? vb_repo_key_change(r, &p, &err) : -1;
    if (rc == 0)
        rc = vb_repo_key_list(r, current_id, id, &err);
    vb_repo_close(r);
    return rc < 0 ? vb_cli_fail(cli, &err) : told(cli, "changed", id);
}

static const struct vb_opt change_opts[] = {
    { "new-password-file", 0, "FILE", "its first line is the new password; without it the terminal asks" },
    { "label", 0, "TEXT", "shown by key list" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_key_change = { "key change", "", "give the key in use another password", change_opts, 0, 0,
                                                run_change };

/* ---- remove ---- */

static int run_remove(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = open_repo(cli, &err);
    int rc = r ? vb_repo_key_remove(r, cli->argv[0], &err) : -1;
    vb_repo_close(r);
    return rc < 0 ? vb_cli_fail(cli, &err) : told(cli, "removed", cli->argv[0]);
}

static const struct vb_opt remove_opts[] = { { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_key_remove = { "key remove", "ID", "remove a key: its password opens no more", remove_opts, 1,
                                                1, run_remove };
