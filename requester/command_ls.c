/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup ls: the files of a backup. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/password.h"
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

static char kind_letter(enum vb_tree_type type)
{
    switch (type) {
    case VB_TREE_FILE: return '-';
    case VB_TREE_DIR: return 'd';
    case VB_TREE_SYMLINK: return 'l';
    case VB_TREE_FIFO: return 'p';
    case VB_TREE_SOCKET: return 's';
    case VB_TREE_CHAR: return 'c';
    case VB_TREE_BLOCK: return 'b';
    }
    return '?';
}

static char *owner(const char *name, uint32_t number)
{
    return name && *name ? vb_escape_terminal(name, strlen(name)) : vb_printf("%u", number);
}

static void print_text(const struct ls *l, const char *full, const struct vb_tree_entry *e)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
    VB_AUTO_FREE char *user = owner(e->user, e->uid), *group = owner(e->group, e->gid);
    VB_AUTO_FREE char *when = vb_time_iso(e->mtime_sec > 0 ? (uint64_t)e->mtime_sec * 1000 : 0);
    VB_AUTO_FREE char *target = e->type == VB_TREE_SYMLINK && e->target ? vb_escape_terminal(e->target, strlen(e->target))
                                                                       : NULL;
    (void)l;
    printf("%c%04o %-8s %-8s %12llu %s %s%s%s\n", kind_letter(e->type), (unsigned)e->mode & 07777U, user, group,
           (unsigned long long)e->size, when, shown, target ? " -> " : "", target ? target : "");
}

static void print_json(const struct ls *l, const char *full, const struct vb_tree_entry *e)
{
    json_t *o = vb_cli_message("entry");
    const char letter[2] = { kind_letter(e->type), 0 };
    json_object_set_new(o, "host", vb_cli_text(l->host));
    json_object_set_new(o, "path", vb_cli_text(full));
    json_object_set_new(o, "type", json_string(letter));
    json_object_set_new(o, "size", json_integer((json_int_t)e->size));
    json_object_set_new(o, "mode", json_integer((json_int_t)e->mode));
    json_object_set_new(o, "uid", json_integer((json_int_t)e->uid));
    json_object_set_new(o, "gid", json_integer((json_int_t)e->gid));
    json_object_set_new(o, "user", vb_cli_text(e->user));
    json_object_set_new(o, "group", vb_cli_text(e->group));
    json_object_set_new(o, "mtime", json_integer((json_int_t)e->mtime_sec));
    json_object_set_new(o, "mtime_nanoseconds", json_integer((json_int_t)e->mtime_nsec));
    json_object_set_new(o, "target", vb_cli_text(e->target));
    vb_cli_json(o);
}

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
    if (l->cli->json)
        print_json(l, full, e);
    else
        print_text(l, full, e);
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
    const char *location = vb_cli_repository(cli, &err);
    struct vb_repo *r = location ? vb_repo_open_auth(location, VB_REPO_READ, vb_settings_auth(&cli->settings), &err) : NULL;
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
