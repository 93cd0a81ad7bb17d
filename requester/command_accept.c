/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup accept: the administrator's word that what lies in the repository now is what is to be trusted from here on. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli.h"
#include "requester/password.h"
#include "store/repository.h"

static int count_one(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    (void)path, (void)damage;
    *(size_t *)arg += *entry != NULL;
    return 0;
}

static int run(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *location = vb_cli_repository(cli, &err);
    struct vb_repo_auth auth = *vb_settings_auth(&cli->settings);
    size_t backups = 0;
    auth.accept = true;
    struct vb_repo *r = location ? vb_repo_open_auth(location, VB_REPO_READ, &auth, &err) : NULL;
    if (!r || vb_repo_list(r, count_one, &backups, &err) != 0) {
        vb_repo_close(r);
        return vb_cli_fail(cli, &err);
    }
    const char *alarm = vb_repo_alarm(r);
    if (cli->json) {
        json_t *o = vb_cli_message("accept");
        json_object_set_new(o, "repository", json_string(vb_repo_info(r)->id));
        json_object_set_new(o, "accepted", vb_cli_text(alarm));
        json_object_set_new(o, "backups", json_integer((json_int_t)backups));
        vb_cli_json(o);
    } else if (!cli->quiet) {
        if (alarm) {
            VB_AUTO_FREE char *shown = vb_escape_terminal(alarm, strlen(alarm));
            printf("accepted, %s\n", shown);
        } else {
            printf("nothing to accept: all that this machine has seen is there\n");
        }
        printf("repository %s, %zu backup%s\n", vb_repo_info(r)->id, backups, backups == 1 ? "" : "s");
    }
    vb_repo_close(r);
    return VB_EXIT_DONE;
}

static const struct vb_opt opts[] = { { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_accept = { "accept", "", "trust a repository again that was set back or exchanged", opts, 0, 0,
                                            run };
