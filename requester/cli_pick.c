/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names on the command line. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/password.h"

static const char *keep(struct vb_strv *texts, char *text)
{
    vb_strv_take(texts, text);
    return text;
}

static void parse_ask(struct vb_strv *texts, const char *text, struct vb_ask *ask)
{
    const char *slash = strchr(text, '/'), *rest = slash ? slash + 1 : text, *colon = strchr(rest, ':');
    ask->host = slash ? keep(texts, vb_strndup(text, (size_t)(slash - text))) : NULL;
    ask->writer = *rest && colon != rest ? keep(texts, vb_strndup(rest, colon ? (size_t)(colon - rest) : strlen(rest)))
                                         : NULL;
    ask->component = colon && colon[1] ? keep(texts, vb_strdup(colon + 1)) : NULL;
}

size_t vb_cli_asks(const struct vb_cli *cli, const char *option, struct vb_strv *texts, struct vb_ask **out)
{
    const char **v = NULL;
    size_t n = vb_cli_list(cli, option, &v);
    *out = vb_alloc_n(n + 1, sizeof **out);
    for (size_t i = 0; i < n; i++)
        parse_ask(texts, v[i], &(*out)[i]);
    free(v);
    return n;
}

const char *vb_cli_backup_and_paths(const struct vb_cli *cli, struct vb_strv *paths)
{
    VB_AUTO_FREE char *cwd = getcwd(NULL, 0);
    bool named = cli->argc > 0 && !strchr(cli->argv[0], '/');
    for (int i = named ? 1 : 0; i < cli->argc; i++) {
        VB_AUTO_FREE char *joined = vb_path_join(cwd ? cwd : "/", cli->argv[i]);
        vb_strv_take(paths, vb_path_clean(joined));
    }
    for (size_t i = 0; i < paths->n;) { /* one that lies below another comes with it */
        bool covered = false;
        for (size_t k = 0; k < paths->n && !covered; k++)
            covered = k != i && vb_path_below(paths->v[i], paths->v[k]) && (strcmp(paths->v[i], paths->v[k]) != 0 || k < i);
        if (!covered) {
            i++;
            continue;
        }
        free(paths->v[i]);
        memmove(&paths->v[i], &paths->v[i + 1], (--paths->n - i) * sizeof *paths->v);
    }
    return named ? cli->argv[0] : "latest";
}

struct vb_repo *vb_cli_open(struct vb_cli *cli, enum vb_repo_mode mode, struct vb_error *err)
{
    const char *location = vb_cli_repository(cli, err);
    return location ? vb_repo_open_auth(location, mode, vb_settings_auth(&cli->settings), err) : NULL;
}

int vb_cli_time(const struct vb_cli *cli, const char *option, uint64_t now, uint64_t *ms, struct vb_error *err)
{
    const char *text = vb_cli_opt(cli, option);
    uint64_t ago;
    if (!text || vb_time_parse_iso(text, ms))
        return 0;
    VB_AUTO_FREE char *midnight = vb_printf("%sT00:00:00Z", text);
    if (vb_time_parse_iso(midnight, ms))
        return 0;
    if (!vb_parse_duration_ms(text, &ago))
        return vb_fail(err, VB_E_USAGE, "--%s: '%s' is not a time such as 2026-11-23, 2026-11-23T09:08:07Z or 7d", option, text);
    *ms = ago < now ? now - ago : 1;
    return 0;
}

#define RENEW_MS 300000u
#define RENEW_CALLS 64u /* between two looks at the clock */

void vb_cli_lease_keep(void *lease)
{
    struct vb_cli_lease *l = lease;
    if (l->calls++ % RENEW_CALLS != 0)
        return;
    struct vb_loop *loop = vb_loop_new();
    uint64_t now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    if (l->last_ms && now >= l->last_ms && now - l->last_ms < RENEW_MS)
        return;
    l->last_ms = now;
    vb_repo_renew(l->repo, now, NULL); /* the commit finds out whether it mattered */
}
