/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup stats: how large the backups are, together and each. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli_pick.h"
#include "store/repository.h"

struct stats {
    struct vb_cli *cli;
    struct vb_repo *repo;
    const char *host;
    struct vb_catalog_entry **v;
    size_t n, cap, damaged;
};

static int take(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct stats *s = arg;
    if (!*entry) {
        s->damaged++;
        fprintf(stderr, "vbackup: damaged: %s: %s\n", path, vb_error_text(damage));
        return 0;
    }
    VB_GROW(s->v, s->n, s->cap);
    s->v[s->n++] = VB_STEAL(*entry);
    return 0;
}

static bool is_asked_for(const struct stats *s, const struct vb_catalog_entry *e, const struct vb_strv *ids)
{
    bool has = !s->host;
    for (size_t h = 0; h < e->n_hosts && !has; h++)
        has = strcmp(e->hosts[h].name, s->host) == 0;
    return has && (ids->n == 0 || vb_strv_has(ids, e->id));
}

static void show_one(const struct stats *s, const struct vb_catalog_entry *e, const struct vb_repo_usage *u)
{
    if (s->cli->json) {
        json_t *o = vb_cli_message("backup_stats");
        json_object_set_new(o, "id", json_string(e->id));
        json_object_set_new(o, "started_ms", json_integer((json_int_t)e->started_ms));
        json_object_set_new(o, "logical_bytes", json_integer((json_int_t)e->bytes));
        json_object_set_new(o, "files", json_integer((json_int_t)e->files));
        if (u->chunks) {
            json_object_set_new(o, "deduplicated_bytes", json_integer((json_int_t)u->raw));
            json_object_set_new(o, "compressed_bytes", json_integer((json_int_t)u->stored));
        }
        json_object_set_new(o, "unique_bytes", json_integer((json_int_t)u->unique_raw));
        json_object_set_new(o, "unique_compressed_bytes", json_integer((json_int_t)u->unique_stored));
        json_object_set_new(o, "added_compressed_bytes", json_integer((json_int_t)e->added_stored));
        vb_cli_json(o);
        return;
    }
    VB_AUTO_FREE char *when = vb_time_iso(e->started_ms), *logical = vb_size_human(e->bytes), *raw = vb_size_human(u->raw),
                      *stored = vb_size_human(u->stored), *unique = vb_size_human(u->unique_stored);
    printf("%.8s  %-20s  %9llu  %10s  %12s  %10s  %10s\n", e->id, when, (unsigned long long)e->files, logical,
           u->chunks ? raw : "", u->chunks ? stored : "", unique);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 1.0;
}

static void show_all(const struct stats *s, const struct vb_repo_usage *all, uint64_t logical)
{
    struct vb_repo_stats r;
    vb_repo_stats(s->repo, &r);
    uint64_t unused = r.stored_bytes > all->stored ? r.stored_bytes - all->stored : 0;
    if (s->cli->json) {
        json_t *o = vb_cli_message("stats");
        json_object_set_new(o, "backups", json_integer((json_int_t)s->n));
        json_object_set_new(o, "logical_bytes", json_integer((json_int_t)logical));
        json_object_set_new(o, "deduplicated_bytes", json_integer((json_int_t)all->raw));
        json_object_set_new(o, "compressed_bytes", json_integer((json_int_t)all->stored));
        json_object_set_new(o, "chunks", json_integer((json_int_t)all->chunks));
        json_object_set_new(o, "packs", json_integer((json_int_t)r.packs));
        json_object_set_new(o, "unused_bytes", json_integer((json_int_t)unused));
        vb_cli_json(o);
        return;
    }
    VB_AUTO_FREE char *l = vb_size_human(logical), *raw = vb_size_human(all->raw), *stored = vb_size_human(all->stored),
                      *rest = vb_size_human(unused);
    printf("\n%zu backup%s of %s\n  deduplicated  %10s  1/%.1f of that, with directories and documents\n"
           "  compressed    %10s  1/%.1f of that\n  not needed    %10s  by any backup in the list; a prune may free it\n",
           s->n, s->n == 1 ? "" : "s", l, raw, ratio(logical, all->raw), stored, ratio(all->raw, all->stored), rest);
}

static int show(struct stats *s, const struct vb_strv *ids, struct vb_error *err)
{
    struct vb_repo_usage *each = vb_alloc_n(s->n + 1, sizeof *each), all;
    uint64_t logical = 0;
    int rc = vb_repo_usage(s->repo, s->v, s->n, each, &all, err);
    if (rc == 0 && !s->cli->json)
        printf("%-8s  %-20s  %9s  %10s  %12s  %10s  %10s\n", "ID", "TAKEN", "FILES", "SIZE", "DEDUPLICATED", "COMPRESSED",
               "ONLY HERE");
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        logical += s->v[i]->bytes;
        if (!is_asked_for(s, s->v[i], ids))
            continue;
        if (ids->n) /* of those that are named: each is walked for itself */
            rc = vb_repo_usage_of(s->repo, s->v[i], &each[i], err);
        if (rc == 0)
            show_one(s, s->v[i], &each[i]);
    }
    if (rc == 0)
        show_all(s, &all, logical);
    free(each);
    return rc;
}

static int run_stats(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stats s = { .cli = cli, .host = vb_cli_opt(cli, "host") };
    struct vb_strv ids = { 0 };
    int rc = 0;
    s.repo = vb_cli_open(cli, VB_REPO_READ, &err);
    if (!s.repo || vb_repo_list(s.repo, take, &s, &err) < 0)
        rc = -1;
    for (int i = 0; i < cli->argc && rc == 0; i++) {
        struct vb_catalog_entry *e = vb_repo_find(s.repo, cli->argv[i], s.host, &err);
        if (e)
            vb_strv_add(&ids, e->id);
        rc = e ? 0 : -1;
        vb_catalog_entry_free(e);
    }
    if (rc == 0)
        rc = show(&s, &ids, &err);
    for (size_t i = 0; i < s.n; i++)
        vb_catalog_entry_free(s.v[i]);
    free(s.v);
    vb_strv_clear(&ids);
    vb_repo_close(s.repo);
    return rc < 0 ? vb_cli_fail(cli, &err) : s.damaged ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}

static const struct vb_opt stats_opts[] = { { "host", 0, "HOST", "only the lines of backups that have this host" },
                                            { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_stats = { "stats", "[BACKUP...]", "show how large the backups are, together and each", stats_opts,
                                           0, -1, run_stats };
