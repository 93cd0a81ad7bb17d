/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup export: files of a backup as a tar stream. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/password.h"
#include "requester/pick.h"
#include "requester/tar_out.h"
#include "store/repository.h"

struct export {
    struct vb_cli *cli;
    struct vb_repo *repo;
    struct vb_catalog_entry *entry;
    struct vb_tar_out *out;
    struct vb_strv paths, texts;
    struct vb_ask *asks;
    size_t n_asks;
    bool *found;               /* [paths.n] */
    const char *host, *top;    /* of the running file set */
    const char *prefix;        /* host name where the backup has several, else NULL */
    unsigned group_space;
    uint64_t files, bytes, left_out;
    bool partial;
};

static char *name_in_archive(const struct export *x, const char *full)
{
    while (*full == '/')
        full++;
    if (x->prefix)
        return *full ? vb_printf("%s/%s", x->prefix, full) : vb_strdup(x->prefix);
    return vb_strdup(*full ? full : ".");
}

static int one_entry(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct export *x = arg;
    VB_AUTO_FREE char *full = *path ? vb_path_join(x->top, path) : vb_strdup(x->top);
    enum vb_pick pick = vb_pick_path(&x->paths, full);
    if (pick == VB_PICK_OUT)
        return e->type == VB_TREE_DIR ? VB_WALK_SKIP : 0;
    if (pick == VB_PICK_ABOVE)
        return 0;
    for (size_t i = 0; i < x->paths.n; i++)
        x->found[i] = x->found[i] || vb_path_below(full, x->paths.v[i]);
    VB_AUTO_FREE char *name = name_in_archive(x, full);
    int rc = vb_tar_out_add(x->out, name, x->group_space, e, err);
    if (rc < 0)
        return -1;
    if (rc > 0) {
        x->left_out++;
        if (!x->cli->quiet) {
            VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
            fprintf(stderr, "vbackup: warning: '%s' is a socket: a tar archive cannot hold it, left out\n", shown);
        }
        return 0;
    }
    x->files += e->type != VB_TREE_DIR;
    x->bytes += e->type == VB_TREE_FILE ? e->size : 0;
    return 0;
}

static int one_component(struct export *x, const struct vb_catalog_host *h, const struct vb_catalog_component *c,
                         struct vb_error *err)
{
    if (c->state == VB_CATALOG_FAILED) {
        x->partial = true;
        fprintf(stderr, "vbackup: warning: component '%s' on '%s' failed at backup and is not in the archive\n", c->name,
                h->name);
        return 0;
    }
    for (size_t i = 0; i < c->n_roots; i++) {
        const struct vb_catalog_root *r = &c->roots[i];
        x->group_space++;
        x->top = r->path;
        if (!r->has_tree || (vb_pick_path(&x->paths, r->path) == VB_PICK_OUT))
            continue;
        int rc = vb_tree_walk(x->repo, &r->tree, one_entry, x, err);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int export_all(struct export *x, struct vb_error *err)
{
    size_t n = 0;
    for (size_t h = 0; h < x->entry->n_hosts; h++) {
        const struct vb_catalog_host *host = &x->entry->hosts[h];
        if (x->host && strcmp(x->host, host->name) != 0)
            continue;
        x->prefix = x->entry->n_hosts > 1 && !x->host ? host->name : NULL;
        for (size_t c = 0; c < host->n_components; c++) {
            if (!vb_pick_component(x->asks, x->n_asks, host, &host->components[c]))
                continue;
            n++;
            if (one_component(x, host, &host->components[c], err) < 0)
                return -1;
        }
    }
    if (n == 0) {
        vb_fail(err, VB_E_NOT_FOUND, "backup %.8s has no such component", x->entry->id);
        vb_hint(err, "'vbackup show %.8s' prints its components", x->entry->id);
        return -1;
    }
    for (size_t i = 0; i < x->paths.n; i++)
        if (!x->found[i]) {
            vb_fail(err, VB_E_NOT_FOUND, "'%s' is not in backup %.8s", x->paths.v[i], x->entry->id);
            vb_hint(err, "'vbackup ls %.8s' prints what is", x->entry->id);
            return -1;
        }
    return vb_tar_out_finish(x->out, err);
}

static int open_output(const struct vb_cli *cli, struct vb_error *err)
{
    const char *file = vb_cli_opt(cli, "output");
    if (file && strcmp(file, "-") != 0) {
        int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EEXIST) {
            vb_fail(err, VB_E_EXISTS, "'%s' is there already", file);
            vb_hint(err, "name another file, or remove this one");
        } else if (fd < 0) {
            vb_fail_errno(err, errno, "'%s' cannot be written", file);
        }
        return fd;
    }
    if (cli->json)
        return vb_fail(err, VB_E_USAGE, "--json prints on standard output, where the archive goes: give --output FILE as well");
    if (isatty(STDOUT_FILENO)) {
        vb_fail(err, VB_E_USAGE, "an archive is not for the terminal");
        vb_hint(err, "give --output FILE, or a pipe: vbackup export latest | tar -x");
        return -1;
    }
    return dup(STDOUT_FILENO);
}

static void summary(const struct export *x)
{
    json_t *o = vb_cli_message("summary");
    json_object_set_new(o, "verb", json_string("export"));
    json_object_set_new(o, "backup", vb_cli_text(x->entry->id));
    json_object_set_new(o, "output", vb_cli_text(vb_cli_opt(x->cli, "output")));
    json_object_set_new(o, "files", json_integer((json_int_t)x->files));
    json_object_set_new(o, "bytes", json_integer((json_int_t)x->bytes));
    json_object_set_new(o, "left_out", json_integer((json_int_t)x->left_out));
    json_object_set_new(o, "partial", json_boolean(x->partial));
    vb_cli_json(o);
}

static int run_export(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct export x = { .cli = cli, .host = vb_cli_opt(cli, "host") };
    const char *which = vb_cli_backup_and_paths(cli, &x.paths), *file = vb_cli_opt(cli, "output");
    int status = VB_EXIT_DONE;
    x.n_asks = vb_cli_asks(cli, "component", &x.texts, &x.asks);
    x.found = vb_alloc_n(x.paths.n + 1, sizeof *x.found);
    const char *location = vb_cli_repository(cli, &err);
    x.repo = location ? vb_repo_open_auth(location, VB_REPO_READ, vb_settings_auth(&cli->settings), &err) : NULL;
    x.entry = x.repo ? vb_repo_find(x.repo, which, x.host, &err) : NULL;
    VB_AUTO_FD int fd = x.entry ? open_output(cli, &err) : -1;
    bool made = fd >= 0 && file && strcmp(file, "-") != 0;
    x.out = fd >= 0 ? vb_tar_out_new(x.repo, fd, &err) : NULL;
    if (!x.out || export_all(&x, &err) < 0 ||
        (made && fsync(fd) < 0 && vb_fail_errno(&err, errno, "'%s' cannot be written", file) < 0)) {
        if (made)
            unlink(file); /* a part of an archive helps nobody */
        status = vb_cli_fail(cli, &err);
    } else {
        status = x.partial ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
        VB_AUTO_FREE char *size = vb_size_human(x.bytes);
        if (cli->json)
            summary(&x);
        else if (!cli->quiet)
            fprintf(stderr, "vbackup: exported %llu file%s, %s, of backup %.8s\n", (unsigned long long)x.files,
                    x.files == 1 ? "" : "s", size, x.entry->id);
    }
    vb_tar_out_free(x.out);
    vb_catalog_entry_free(x.entry);
    vb_repo_close(x.repo);
    free(x.asks);
    free(x.found);
    vb_strv_clear(&x.paths);
    vb_strv_clear(&x.texts);
    return status;
}

static const struct vb_opt export_opts[] = {
    { "output", 'o', "FILE", "write the archive to this new file instead of standard output" },
    { "component", 'C', "[HOST/]WRITER[:COMPONENT]", "only this (may repeat)" },
    { "host", 0, "HOST", "only what came from this host; of the latest backup that has it" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_export = { "export", "[BACKUP] [PATH...]", "write files of a backup as a tar archive",
                                            export_opts, 0, -1, run_export };
