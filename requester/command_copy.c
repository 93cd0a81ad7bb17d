/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup copy: backups into another repository. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/text.h"
#include "requester/cli_pick.h"
#include "requester/password.h"
#include "store/repository.h"

struct copy {
    struct vb_cli *cli;
    struct vb_repo *from, *to;
    struct vb_copy *run;
    const char *host;
    uint64_t since, until;
    size_t copied, there, damaged;
    uint64_t bytes;
};

static const char *group_of(void *arg, const char *host)
{
    const struct copy *c = arg;
    return vb_hosts_group(c->cli->settings.hosts, host);
}

static bool has_host(const struct vb_catalog_entry *e, const char *host)
{
    for (size_t i = 0; host && i < e->n_hosts; i++)
        if (strcmp(e->hosts[i].name, host) == 0)
            return true;
    return !host;
}

static void tell(struct copy *c, const struct vb_catalog_entry *e, bool copied, const struct vb_copy_result *r)
{
    c->copied += copied;
    c->there += !copied;
    c->bytes += copied ? r->new_bytes : 0;
    if (c->cli->json) {
        json_t *o = vb_cli_message("copy");
        json_object_set_new(o, "backup", json_string(e->id));
        json_object_set_new(o, "copied", json_boolean(copied));
        json_object_set_new(o, "chunks", json_integer((json_int_t)(copied ? r->chunks : 0)));
        json_object_set_new(o, "new_chunks", json_integer((json_int_t)(copied ? r->new_chunks : 0)));
        json_object_set_new(o, "new_bytes", json_integer((json_int_t)(copied ? r->new_bytes : 0)));
        vb_cli_json(o);
    } else if (!c->cli->quiet) {
        VB_AUTO_FREE char *when = vb_time_iso(e->started_ms), *size = vb_size_human(r->new_bytes);
        printf("%.8s  %s  %s%s\n", e->id, when, copied ? "copied, new there: " : "is there already", copied ? size : "");
        fflush(stdout);
    }
}

static int copy_one(struct copy *c, struct vb_catalog_entry *e, struct vb_error *err)
{
    struct vb_copy_result r = { 0 };
    int rc = vb_copy_backup(c->run, e, group_of, c, &r, err);
    if (rc < 0) {
        vb_context(err, "backup %.8s", e->id);
        return -1;
    }
    tell(c, e, rc == 0, &r);
    return 0;
}

struct listed {
    struct copy *copy;
    struct vb_strv ids;
};

static int take(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct listed *l = arg;
    struct copy *c = l->copy;
    const struct vb_catalog_entry *e = *entry;
    if (!e) {
        c->damaged++;
        fprintf(stderr, "vbackup: damaged: %s: %s\n", path, vb_error_text(damage));
    } else if (e->state != VB_CATALOG_FAILED && has_host(e, c->host) && (!c->since || e->started_ms >= c->since) &&
               (!c->until || e->started_ms <= c->until)) {
        vb_strv_add(&l->ids, e->id);
    }
    return 0;
}

/* A backup that is damaged does not keep the others from being copied. */
static int copy_all(struct copy *c, struct vb_error *err)
{
    struct listed l = { .copy = c };
    int rc = 0;
    for (int i = 0; i < c->cli->argc && rc == 0; i++) {
        struct vb_catalog_entry *e = vb_repo_find(c->from, c->cli->argv[i], c->host, err);
        if (e && !vb_strv_has(&l.ids, e->id))
            vb_strv_add(&l.ids, e->id);
        rc = e ? 0 : -1;
        vb_catalog_entry_free(e);
    }
    if (c->cli->argc == 0)
        rc = vb_repo_list(c->from, take, &l, err);
    for (size_t i = 0; i < l.ids.n && rc == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_catalog_entry *e = vb_repo_find(c->from, l.ids.v[i], NULL, err);
        rc = e ? 0 : -1;
        if (e && copy_one(c, e, &why) < 0) {
            bool read = why.code == VB_E_CORRUPT || why.code == VB_E_NOT_FOUND;
            c->damaged += read;
            if (read && !c->cli->json)
                fprintf(stderr, "vbackup: not copied: %s\n", vb_error_text(&why));
            rc = read ? 0 : vb_error_move(err, &why);
        }
        vb_catalog_entry_free(e);
    }
    vb_strv_clear(&l.ids);
    return rc;
}

static int open_both(struct copy *c, struct vb_repo_auth *auth, uint64_t now, struct vb_error *err)
{
    struct vb_cli *cli = c->cli;
    const char *to = vb_cli_opt(cli, "to"), *file = vb_cli_opt(cli, "to-password-file");
    bool plain = vb_cli_flag(cli, "to-unencrypted");
    if (!to) {
        vb_fail(err, VB_E_USAGE, "copy needs --to LOCATION");
        return -1;
    }
    if (plain && file)
        return vb_fail(err, VB_E_USAGE, "--to-unencrypted and --to-password-file contradict each other");
    if (vb_cli_time(cli, "since", now, &c->since, err) < 0 || vb_cli_time(cli, "until", now, &c->until, err) < 0)
        return -1;
    vb_password_file(&cli->settings, auth, file);
    if (!(c->from = vb_cli_open(cli, VB_REPO_READ, err)))
        return -1;
    c->to = vb_repo_open_auth(to, VB_REPO_WRITE, plain || file ? auth : vb_settings_auth(&cli->settings), err);
    if (!c->to) {
        vb_context(err, "the repository that is copied to");
        return -1;
    }
    if (strcmp(vb_repo_info(c->from)->id, vb_repo_info(c->to)->id) == 0) {
        vb_fail(err, VB_E_USAGE, "'%s' is the repository that is copied from", to);
        return -1;
    }
    if (plain && vb_repo_info(c->from)->encrypted && !cli->quiet)
        fprintf(stderr, "vbackup: warning: the copies will NOT BE ENCRYPTED\n");
    return vb_repo_lock(c->to, now, err);
}

static int run_copy(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct copy c = { .cli = cli, .host = vb_cli_opt(cli, "host") };
    struct vb_repo_auth auth = { 0 };
    struct vb_loop *loop = vb_loop_new();
    uint64_t now = vb_loop_wall_ms(loop);
    vb_loop_free(loop);
    int rc = open_both(&c, &auth, now, &err);
    if (rc == 0) {
        struct vb_cli_lease lease = { .repo = c.to };
        c.run = vb_copy_new(c.from, c.to);
        vb_copy_on_chunk(c.run, vb_cli_lease_keep, &lease);
        rc = copy_all(&c, &err);
    }
    if (rc == 0 && cli->json) {
        json_t *o = vb_cli_message("summary");
        json_object_set_new(o, "copied", json_integer((json_int_t)c.copied));
        json_object_set_new(o, "present", json_integer((json_int_t)c.there));
        json_object_set_new(o, "damaged", json_integer((json_int_t)c.damaged));
        json_object_set_new(o, "new_bytes", json_integer((json_int_t)c.bytes));
        vb_cli_json(o);
    } else if (rc == 0 && !cli->quiet) {
        printf("%zu copied, %zu there already%s\n", c.copied, c.there, c.damaged ? ", others cannot be read" : "");
    }
    vb_copy_free(c.run);
    vb_repo_close(c.from);
    vb_repo_close(c.to);
    return rc < 0 ? vb_cli_fail(cli, &err) : c.damaged ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}

static const struct vb_opt copy_opts[] = {
    { "to", 0, "LOCATION", "the repository that is copied to; it must be there" },
    { "to-password-file", 0, "FILE", "its password; without it the same as of the one that is copied from" },
    { "to-unencrypted", 0, NULL, "it is not encrypted, and that is meant" },
    { "host", 0, "HOST", "only backups that have this host" },
    { "since", 0, "TIME", "only backups taken at or after this time, or that long ago (7d)" },
    { "until", 0, "TIME", "only backups taken at or before it" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_copy = { "copy", "--to LOCATION [BACKUP...]", "copy backups into another repository", copy_opts, 0,
                                          -1, run_copy };
