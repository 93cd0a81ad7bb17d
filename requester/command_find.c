/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup find, cat: files by name over all backups, and one file's content. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/loop.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/entry_show.h"
#include "requester/pick.h"
#include "store/repository.h"

/* ---- find ---- */

struct find {
    struct vb_cli *cli;
    struct vb_repo *repo;
    const char *pattern, *host, *type;
    bool whole_path;
    uint64_t since, until; /* of the backup; 0: not asked for */
    struct vb_strv texts, barren; /* roots in which nothing was found */
    struct vb_ask *asks;
    size_t n_asks;
    const struct vb_catalog_entry *entry; /* the running backup */
    const char *on, *top;
    bool named;            /* its line was printed */
    uint64_t found, damaged;
};

static void show_found(struct find *f, const char *full, const struct vb_tree_entry *e)
{
    f->found++;
    if (f->cli->json) {
        json_t *o = vb_cli_message("match");
        json_object_set_new(o, "backup", json_string(f->entry->id));
        json_object_set_new(o, "backup_ms", json_integer((json_int_t)f->entry->started_ms));
        json_object_set_new(o, "host", vb_cli_text(f->on));
        vb_entry_json(o, full, e);
        vb_cli_json(o);
        return;
    }
    VB_AUTO_FREE char *line = vb_entry_line(full, e);
    if (!f->named) {
        VB_AUTO_FREE char *when = vb_time_iso(f->entry->started_ms);
        printf("backup %.8s of %s\n", f->entry->id, when);
        f->named = true;
    }
    printf("  %s: %s\n", f->on, line);
}

static int look_at(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct find *f = arg;
    VB_AUTO_FREE char *full = *path ? vb_path_join(f->top, path) : vb_strdup(f->top);
    const char *slash = strrchr(full, '/'), *base = slash && slash[1] ? slash + 1 : full;
    (void)err;
    if ((!f->type || *f->type == vb_entry_letter(e->type)) && vb_filespec_match(f->pattern, f->whole_path ? full : base))
        show_found(f, full, e);
    return 0;
}

static int find_in_root(struct find *f, const struct vb_catalog_root *root, struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    uint64_t before = f->found;
    if (!root->has_tree)
        return 0;
    vb_name_hex(&root->tree, hex);
    VB_AUTO_FREE char *key = vb_printf("%s %s", hex, root->path);
    if (vb_strv_has(&f->barren, key))
        return 0; /* as in another backup */
    f->top = root->path;
    if (vb_tree_walk(f->repo, &root->tree, look_at, f, err) != 0)
        return -1;
    if (f->found == before)
        vb_strv_take(&f->barren, VB_STEAL(key));
    return 0;
}

static int find_in(struct find *f, const struct vb_catalog_entry *e, struct vb_error *err)
{
    f->entry = e;
    f->named = false;
    for (size_t h = 0; h < e->n_hosts; h++) {
        const struct vb_catalog_host *host = &e->hosts[h];
        if (f->host && strcmp(f->host, host->name) != 0)
            continue;
        f->on = host->name;
        for (size_t c = 0; c < host->n_components; c++)
            for (size_t i = 0; vb_pick_component(f->asks, f->n_asks, host, &host->components[c]) &&
                               i < host->components[c].n_roots; i++)
                if (find_in_root(f, &host->components[c].roots[i], err) < 0) {
                    vb_context(err, "backup %.8s", e->id);
                    return -1;
                }
    }
    return 0;
}

static int find_listed(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct find *f = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (!*entry) {
        f->damaged++;
        fprintf(stderr, "vbackup: damaged: %s: %s\n", path, vb_error_text(damage));
        return 0;
    }
    uint64_t when = (*entry)->started_ms;
    if ((f->since && when < f->since) || (f->until && when > f->until))
        return 0;
    if (find_in(f, *entry, &err) < 0) { /* the others may have what is looked for */
        f->damaged++;
        fprintf(stderr, "vbackup: damaged: %s\n", vb_error_text(&err));
    }
    return 0;
}

static int find_all(struct find *f, struct vb_error *err)
{
    uint64_t now;
    struct vb_loop *loop = vb_loop_new();
    now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    f->type = vb_cli_opt(f->cli, "type");
    if (f->type && strcmp(f->type, "f") == 0)
        f->type = "-";
    if (f->type && (strlen(f->type) != 1 || !strchr("-dlpscb", *f->type)))
        return vb_fail(err, VB_E_USAGE, "--type: '%s' is not one of f, d, l, p, s, c, b", f->type);
    if (vb_cli_time(f->cli, "since", now, &f->since, err) < 0 || vb_cli_time(f->cli, "until", now, &f->until, err) < 0)
        return -1;
    f->repo = vb_cli_open(f->cli, VB_REPO_READ, err);
    if (!f->repo)
        return -1;
    if (f->cli->argc == 1 && vb_repo_list(f->repo, find_listed, f, err) < 0)
        return -1;
    for (int i = 1; i < f->cli->argc; i++) {
        struct vb_catalog_entry *e = vb_repo_find(f->repo, f->cli->argv[i], f->host, err);
        int rc = e ? find_in(f, e, err) : -1;
        vb_catalog_entry_free(e);
        if (rc < 0)
            return -1;
    }
    if (f->found == 0 && f->damaged == 0) {
        vb_fail(err, VB_E_NOT_FOUND, "'%s': no backup has a file of that name", f->pattern);
        vb_hint(err, "'*' stands for any characters and '?' for one; a pattern with a '/' is compared with whole paths");
        return -1;
    }
    return 0;
}

static int run_find(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct find f = { .cli = cli, .pattern = cli->argv[0], .host = vb_cli_opt(cli, "host") };
    f.whole_path = strchr(f.pattern, '/') != NULL;
    f.n_asks = vb_cli_asks(cli, "component", &f.texts, &f.asks);
    int status = find_all(&f, &err) < 0 ? vb_cli_fail(cli, &err) : f.damaged ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
    vb_repo_close(f.repo);
    free(f.asks);
    vb_strv_clear(&f.texts);
    vb_strv_clear(&f.barren);
    return status;
}

static const struct vb_opt find_opts[] = {
    { "component", 'C', "[HOST/]WRITER[:COMPONENT]", "only in this (may repeat)" },
    { "host", 0, "HOST", "only what came from this host" },
    { "since", 0, "TIME", "only in backups taken at or after this time, or that long ago (7d)" },
    { "until", 0, "TIME", "only in backups taken at or before it" },
    { "type", 0, "LETTER", "only entries of this type: f, d, l, p, s, c, b" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_find = { "find", "PATTERN [BACKUP...]", "find files by name, in all backups or some", find_opts,
                                          1, -1, run_find };

/* ---- cat ---- */

struct cat {
    struct vb_repo *repo;
    const struct vb_tree_entry *e;
    struct vb_buf chunk;
    uint64_t at;
    size_t hole;
};

static int put(const void *p, size_t n, struct vb_error *err)
{
    if (vb_write_all(STDOUT_FILENO, p, n, err) == 0)
        return 0;
    if (errno == EPIPE && err)
        err->code = VB_E_CANCELLED;
    vb_context(err, "standard output");
    return -1;
}

static int put_holes(struct cat *c, struct vb_error *err)
{
    static const char zeros[65536];
    for (; c->hole < c->e->n_holes && c->e->holes[c->hole].offset == c->at; c->hole++)
        for (uint64_t left = c->e->holes[c->hole].len; left > 0;) {
            size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
            if (put(zeros, n, err) < 0)
                return -1;
            left -= n;
            c->at += n;
        }
    return 0;
}

static int put_chunk(void *arg, const struct vb_name *name, uint64_t size, struct vb_error *err)
{
    struct cat *c = arg;
    vb_buf_reset(&c->chunk);
    if (vb_repo_get(c->repo, VB_CHUNK_DATA, name, &c->chunk, err) < 0)
        return -1;
    if (c->chunk.len != size)
        return vb_fail(err, VB_E_CORRUPT, "a chunk has not the size its list says");
    for (size_t done = 0; done < c->chunk.len;) {
        if (put_holes(c, err) < 0)
            return -1;
        uint64_t until = c->hole < c->e->n_holes ? c->e->holes[c->hole].offset : UINT64_MAX;
        size_t left = c->chunk.len - done, n = until - c->at < left ? (size_t)(until - c->at) : left;
        if (put(c->chunk.data + done, n, err) < 0)
            return -1;
        done += n;
        c->at += n;
    }
    return 0;
}

static int print_file(struct vb_repo *r, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct cat c = { .repo = r, .e = e };
    if (e->type != VB_TREE_FILE) {
        vb_fail(err, VB_E_USAGE, "'%s' is %s", path, e->type == VB_TREE_DIR ? "a directory"
                                                    : e->type == VB_TREE_SYMLINK ? "a symbolic link" : "no regular file");
        if (e->type == VB_TREE_SYMLINK)
            vb_hint(err, "it leads to '%s'", e->target);
        else
            vb_hint(err, "`vbackup export` writes directories and special files, as a tar archive");
        return -1;
    }
    int rc = vb_content_walk(r, &e->content, put_chunk, &c, err);
    if (rc == 0)
        rc = put_holes(&c, err);
    if (rc == 0 && c.at != e->size)
        rc = vb_fail(err, VB_E_CORRUPT, "its content has %llu bytes instead of %llu", (unsigned long long)c.at,
                     (unsigned long long)e->size);
    if (rc < 0)
        vb_context(err, "'%s'", path);
    vb_buf_clear(&c.chunk);
    return rc;
}

struct place {
    const struct vb_catalog_host *host;
    const struct vb_catalog_root *root;
    struct vb_tree t;
    const struct vb_tree_entry *e;
};

/* Roots nest: the longest that has it is the one.  1: found. */
static int find_path(struct vb_repo *r, const struct vb_catalog_entry *e, const struct vb_ask *asks, size_t n_asks,
                     const char *host, const char *path, struct place *found, struct vb_error *err)
{
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++)
            for (size_t i = 0; i < e->hosts[h].components[c].n_roots; i++) {
                const struct vb_catalog_root *root = &e->hosts[h].components[c].roots[i];
                VB_AUTO_ERROR why = VB_ERROR_INIT;
                struct place p = { .host = &e->hosts[h], .root = root };
                if (!root->has_tree || (host && strcmp(host, e->hosts[h].name) != 0) || !vb_path_below(path, root->path) ||
                    !vb_pick_component(asks, n_asks, &e->hosts[h], &e->hosts[h].components[c]))
                    continue;
                if (vb_tree_lookup(r, &root->tree, path + strlen(root->path), &p.t, &p.e, &why) < 0) {
                    if (why.code == VB_E_NOT_FOUND && strstr(vb_error_text(&why), "not in the backup"))
                        continue;
                    vb_tree_clear(&found->t);
                    return vb_error_move(err, &why);
                }
                if (found->root && found->host != p.host) {
                    vb_tree_clear(&p.t);
                    vb_tree_clear(&found->t);
                    vb_fail(err, VB_E_USAGE, "'%s' is there of hosts '%s' and '%s'", path, found->host->name, e->hosts[h].name);
                    vb_hint(err, "choose one with --host");
                    return -1;
                }
                if (found->root && strlen(found->root->path) >= strlen(root->path)) {
                    vb_tree_clear(&p.t);
                    continue;
                }
                vb_tree_clear(&found->t);
                *found = p;
            }
    if (found->root)
        return 0;
    vb_fail(err, VB_E_NOT_FOUND, "'%s' is not in backup %.8s", path, e->id);
    vb_hint(err, "`vbackup find` looks in all backups");
    return -1;
}

static int run_cat(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_strv paths = { 0 }, texts = { 0 };
    struct vb_ask *asks = NULL;
    struct place found = { .host = NULL };
    struct vb_repo *r = NULL;
    struct vb_catalog_entry *e = NULL;
    const char *which = vb_cli_backup_and_paths(cli, &paths), *host = vb_cli_opt(cli, "host");
    size_t n_asks = vb_cli_asks(cli, "component", &texts, &asks);
    int rc = 0;
    if (paths.n != 1)
        rc = vb_fail(&err, VB_E_USAGE, "one file is printed: name it by its path, with a '/'");
    else if (cli->json)
        rc = vb_fail(&err, VB_E_USAGE, "--json prints on standard output, where the file goes");
    if (rc == 0 && !(r = vb_cli_open(cli, VB_REPO_READ, &err)))
        rc = -1;
    if (rc == 0 && !(e = vb_repo_find(r, which, host, &err)))
        rc = -1;
    if (rc == 0)
        rc = find_path(r, e, asks, n_asks, host, paths.v[0], &found, &err);
    if (rc == 0) {
        rc = print_file(r, paths.v[0], found.e, &err);
        vb_tree_clear(&found.t);
    }
    int status = rc < 0 ? vb_cli_fail(cli, &err) : VB_EXIT_DONE;
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    free(asks);
    vb_strv_clear(&paths);
    vb_strv_clear(&texts);
    return status;
}

static const struct vb_opt cat_opts[] = {
    { "component", 'C', "[HOST/]WRITER[:COMPONENT]", "the file of this" },
    { "host", 0, "HOST", "the file of this host; of the latest backup that has it" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_cat = { "cat", "[BACKUP] PATH", "print one file of a backup", cat_opts, 1, 2, run_cat };
