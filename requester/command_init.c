/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup init: makes a repository. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/loop.h"
#include "requester/cli.h"
#include "requester/password.h"
#include "store/repository.h"

static const struct vb_opt opts[] = {
    { "compression", 0, "LEVEL", "zstd level 1 to 19, 0 for none (default 3)" },
    { "encryption", 0, "KIND", "aes-256-gcm (default), or none: whoever can read the repository can read the backups" },
    { NULL, 0, NULL, NULL }
};

static int run(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_params params = VB_REPO_PARAMS_DEFAULT;
    const char *location = vb_cli_repository(cli, &err), *level = vb_cli_opt(cli, "compression");
    uint32_t n;
    char id[VB_GUID_LEN + 1] = "";

    if (!location)
        return vb_cli_fail(cli, &err);
    if (level) {
        if (!vb_parse_u32(level, &n) || n > 19) {
            vb_fail(&err, VB_E_USAGE, "compression level '%s' is not a number from 0 to 19", level);
            return vb_cli_fail(cli, &err);
        }
        params.compression = (int)n;
    }
    const char *encryption = vb_cli_opt(cli, "encryption");
    if (!encryption || strcmp(encryption, "aes-256-gcm") == 0) {
        params.auth = vb_settings_auth(&cli->settings);
        params.key_cost = vb_password_cost();
    } else if (strcmp(encryption, "none") != 0) {
        vb_fail(&err, VB_E_USAGE, "--encryption: '%s' is not aes-256-gcm or none", encryption);
        return vb_cli_fail(cli, &err);
    }
    params.id = id;
    params.storage = vb_settings_storage(&cli->settings);
    params.memory = vb_settings_memory(&cli->settings);
    struct vb_loop *loop = vb_loop_new();
    int rc = vb_repo_init(location, &params, vb_loop_wall_ms(loop), &err);
    vb_loop_free(loop);
    if (rc < 0)
        return vb_cli_fail(cli, &err);
    if (cli->json) {
        json_t *o = vb_cli_message("init");
        json_object_set_new(o, "repository", vb_cli_text(location));
        json_object_set_new(o, "id", json_string(id));
        json_object_set_new(o, "encryption", json_string(params.auth ? "aes-256-gcm" : "none"));
        vb_cli_json(o);
    } else {
        printf("repository %s made in '%s' (%s)\n", id, location,
               params.auth ? "encrypted; keep the password: without it nothing can be read"
                           : "NOT ENCRYPTED: whoever can read it can read the backups");
    }
    return VB_EXIT_DONE;
}

const struct vb_cli_verb vb_verb_init = { "init", "", "make a repository", opts, 0, 0, run };
