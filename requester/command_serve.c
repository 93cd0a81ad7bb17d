/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup serve: a repository for requesters on other machines, over standard input and output (behind SSH). */
#include "config.h"

#include <signal.h>
#include <unistd.h>

#include "requester/cli.h"
#include "requester/password.h"
#include "store/location.h"
#include "store/serve.h"

static const struct vb_opt opts[] = {
    { "append-only", 0, NULL, "backups are added and read, and nothing is removed or forgotten" },
    { "write-only", 0, NULL, "backups are added, and not read either" },
    { "read-only", 0, NULL, "backups are read" },
    { NULL, 0, NULL, NULL }
};

struct place {
    struct vb_cli *cli;
    const char *location;
    bool read_only;
};

static struct vb_backend *open_place(void *arg, bool create, struct vb_error *err)
{
    struct place *p = arg;
    enum vb_location_use use = create ? VB_LOCATION_CREATE : p->read_only ? VB_LOCATION_READ : VB_LOCATION_WRITE;
    return vb_location_open(p->location, use, vb_settings_storage(&p->cli->settings), err);
}

static int run(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_serve_rules rules = { .append_only = vb_cli_flag(cli, "append-only"),
                                    .write_only = vb_cli_flag(cli, "write-only"),
                                    .read_only = vb_cli_flag(cli, "read-only") };
    struct place place = { cli, cli->argc > 0 ? cli->argv[0] : vb_cli_repository(cli, &err), rules.read_only };
    if (!place.location)
        return vb_cli_fail(cli, &err);
    if (rules.read_only && (rules.append_only || rules.write_only)) {
        vb_fail(&err, VB_E_USAGE, "--read-only and --%s exclude each other", rules.write_only ? "write-only" : "append-only");
        return vb_cli_fail(cli, &err);
    }
    if (isatty(STDIN_FILENO)) {
        vb_fail(&err, VB_E_USAGE, "serve speaks with another vbackup on its standard input, and not with a terminal");
        vb_hint(&err, "name it as the command of a key in ~/.ssh/authorized_keys, see vbackup-serve(1)");
        return vb_cli_fail(cli, &err);
    }
    signal(SIGPIPE, SIG_IGN);
    struct vb_serve *s = vb_serve_new(&rules, open_place, &place);
    int result = vb_serve_run(s, STDIN_FILENO, STDOUT_FILENO, &err);
    vb_serve_free(s);
    return result < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
}

const struct vb_cli_verb vb_verb_serve = { "serve", "[LOCATION]", "serve a repository to other machines, behind SSH", opts, 0, 1,
                                           run };
