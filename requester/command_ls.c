/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup ls: the files of a backup. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/entry_show.h"
#include "requester/pick.h"
#include "store/repository.h"

struct ls {
    struct vb_cli *cli;
    struct vb_strv paths, texts;
    struct vb_ask *asks;
    size_t n_asks;
    const char *host, *top; /* of the running file set */
    bool *found;            /* [paths.n] */
};

static int one_entry(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct ls *l = arg;
    VB_AUTO_FREE char *full = *path ? vb_path_join(l->top, path) : vb_strdup(l->top);
    enum vb_pick pick = vb_pick_path(&l->paths, full);
    (void)err;
    if (pick == VB_PICK_OUT)
        return e->type == VB_TREE_DIR ? VB_WALK_SKIP : 0;
    if (pick == VB_PICK_ABOVE)
        return 0;
    for (size_t i = 0; i < l->paths.n; i++)
        l->found[i] = l->found[i] || vb_path_below(full, l->paths.v[i]);
    if (l->cli->json) {
        json_t *o = vb_cli_message("entry");
        json_object_set_new(o, "host", vb_cli_text(l->host));
        vb_entry_json(o, full, e);
        vb_cli_json(o);
    } else {
        VB_AUTO_FREE char *line = vb_entry_line(full, e);
        puts(line);
    }
    return 0;
}

static int one_host(struct ls *l, struct vb_repo *r, const struct vb_catalog_host *h, struct vb_error *err)
{
    l->host = h->name;
    for (size_t c = 0; c < h->n_components; c++) {
        const struct vb_catalog_component *k = &h->components[c];
        for (size_t i = 0; vb_pick_component(l->asks, l->n_asks, h, k) && i < k->n_roots; i++) {
            l->top = k->roots[i].path;
            if (k->roots[i].has_tree && vb_pick_path(&l->paths, l->top) != VB_PICK_OUT &&
                vb_tree_walk(r, &k->roots[i].tree, one_entry, l, err) != 0)
                return -1;
        }
    }
    return 0;
}

static int all(struct ls *l, struct vb_repo *r, const struct vb_catalog_entry *e, const char *host, struct vb_error *err)
{
    for (size_t h = 0; h < e->n_hosts; h++)
        if ((!host || strcmp(host, e->hosts[h].name) == 0) && one_host(l, r, &e->hosts[h], err) < 0)
            return -1;
    for (size_t i = 0; i < l->paths.n; i++)
        if (!l->found[i])
            return vb_fail(err, VB_E_NOT_FOUND, "'%s' is not in backup %.8s", l->paths.v[i], e->id);
    return 0;
}

static int run_ls(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct ls l = { .cli = cli };
    const char *which = vb_cli_backup_and_paths(cli, &l.paths), *host = vb_cli_opt(cli, "host");
    l.n_asks = vb_cli_asks(cli, "component", &l.texts, &l.asks);
    l.found = vb_alloc_n(l.paths.n + 1, sizeof *l.found);
    struct vb_repo *r = vb_cli_open(cli, VB_REPO_READ, &err);
    struct vb_catalog_entry *e = r ? vb_repo_find(r, which, host, &err) : NULL;
    int status = e && all(&l, r, e, host, &err) == 0 ? VB_EXIT_DONE : vb_cli_fail(cli, &err);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    free(l.asks);
    free(l.found);
    vb_strv_clear(&l.paths);
    vb_strv_clear(&l.texts);
    return status;
}

static const struct vb_opt ls_opts[] = {
    { "component", 'C', "[HOST/]WRITER[:COMPONENT]", "only the files of this (may repeat)" },
    { "host", 0, "HOST", "only what came from this host; of the latest backup that has it" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_ls = { "ls", "[BACKUP] [PATH...]", "list the files of one backup", ls_opts, 0, -1, run_ls };
