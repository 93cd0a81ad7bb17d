/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup init: makes a repository. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/loop.h"
#include "requester/cli.h"
#include "store/repository.h"

static const struct vb_opt opts[] = {
    { "compression", 0, "LEVEL", "zstd level 1 to 19, 0 for none (default 3)" },
    { NULL, 0, NULL, NULL }
};

static int run(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo_params params = VB_REPO_PARAMS_DEFAULT;
    const char *location = vb_cli_repository(cli, &err), *level = vb_cli_opt(cli, "compression");
    uint32_t n;

    if (!location)
        return vb_cli_fail(cli, &err);
    if (level) {
        if (!vb_parse_u32(level, &n) || n > 19) {
            vb_fail(&err, VB_E_USAGE, "compression level '%s' is not a number from 0 to 19", level);
            return vb_cli_fail(cli, &err);
        }
        params.compression = (int)n;
    }
    struct vb_loop *loop = vb_loop_new();
    int rc = vb_repo_init(location, &params, vb_loop_wall_ms(loop), &err);
    vb_loop_free(loop);
    if (rc < 0)
        return vb_cli_fail(cli, &err);
    struct vb_repo *r = vb_repo_open(location, VB_REPO_READ, &err);
    if (!r)
        return vb_cli_fail(cli, &err);
    if (cli->json) {
        json_t *o = vb_cli_message("init");
        json_object_set_new(o, "repository", vb_cli_text(location));
        json_object_set_new(o, "id", json_string(vb_repo_info(r)->id));
        json_object_set_new(o, "encryption", json_string("none"));
        vb_cli_json(o);
    } else {
        printf("repository %s made in '%s' (not encrypted)\n", vb_repo_info(r)->id, location);
    }
    vb_repo_close(r);
    return VB_EXIT_DONE;
}

const struct vb_cli_verb vb_verb_init = { "init", "", "make a repository", opts, 0, 0, run };
