/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup list, show: what the repository holds. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "requester/cli.h"
#include "requester/password.h"
#include "requester/show.h"
#include "store/repository.h"

static struct vb_repo *open_read(struct vb_cli *cli, struct vb_error *err)
{
    const char *location = vb_cli_repository(cli, err);
    return location ? vb_repo_open_auth(location, VB_REPO_READ, vb_settings_auth(&cli->settings), err) : NULL;
}

/* ---- list ---- */

struct listing {
    struct vb_cli *cli;
    const char *host;
    size_t shown, damaged;
};

static bool has_host(const struct vb_catalog_entry *e, const char *host)
{
    for (size_t i = 0; i < e->n_hosts; i++)
        if (strcmp(e->hosts[i].name, host) == 0)
            return true;
    return false;
}

static int list_one(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct listing *l = arg;
    struct vb_catalog_entry *e = *entry;
    if (!e) {
        l->damaged++;
        if (l->cli->json) {
            json_t *o = vb_cli_message("damaged");
            json_object_set_new(o, "object", vb_cli_text(path));
            json_object_set_new(o, "text", vb_cli_text(vb_error_text(damage)));
            vb_cli_json(o);
        } else {
            fprintf(stderr, "vbackup: damaged: %s: %s\n", path, vb_error_text(damage));
        }
        return 0;
    }
    if (l->host && !has_host(e, l->host))
        return 0;
    if (l->cli->json) {
        vb_cli_json(vb_show_entry_json(e));
    } else {
        VB_AUTO_FREE char *when = vb_time_iso(e->started_ms), *what = vb_show_content(e), *size = vb_size_human(e->bytes);
        if (l->shown == 0)
            printf("%-8s  %-20s  %-8s  %-11s  %9s  %10s  %s\n", "ID", "TAKEN", "STATE", "CONSISTENCY", "FILES", "SIZE",
                   "CONTENT");
        printf("%.8s  %-20s  %-8s  %-11s  %9llu  %10s  %s\n", e->id, when, vb_catalog_state_name(e->state),
               vb_show_consistency(e), (unsigned long long)e->files, size, what);
    }
    l->shown++;
    return 0;
}

static int run_list(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct listing l = { cli, vb_cli_opt(cli, "host"), 0, 0 };
    struct vb_repo *r = open_read(cli, &err);
    if (!r)
        return vb_cli_fail(cli, &err);
    int rc = vb_repo_list(r, list_one, &l, &err);
    vb_repo_close(r);
    if (rc < 0)
        return vb_cli_fail(cli, &err);
    if (l.shown == 0 && !cli->json && !cli->quiet)
        fprintf(stderr, "vbackup: the repository holds no backups%s%s\n", l.host ? " of host " : "", l.host ? l.host : "");
    return l.damaged ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}

static const struct vb_opt list_opts[] = { { "host", 0, "HOST", "only backups that have this host" },
                                           { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_list = { "list", "", "list the backups of the repository", list_opts, 0, 0, run_list };

/* ---- show ---- */


static int show_document(struct vb_cli *cli, struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_error *err)
{
    const char *kind = vb_cli_opt(cli, "document");
    const struct vb_catalog_document *d =
        vb_catalog_find_document(e, kind, vb_cli_opt(cli, "host"), vb_cli_opt(cli, "writer"));
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!d) {
        vb_fail(err, VB_E_NOT_FOUND, "backup %.8s has no document '%s'", e->id, kind);
        vb_hint(err, "the kinds are writer-metadata, components, job, plan, events, requester; see 'vbackup show %.8s'", e->id);
        return -1;
    }
    if (vb_repo_get_bytes(r, VB_CHUNK_DOC, &d->content, (size_t)64 << 20, &b, err) < 0)
        return -1;
    fwrite(b.data, 1, b.len, stdout);
    return 0;
}

static int run_show(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_repo *r = open_read(cli, &err);
    if (!r)
        return vb_cli_fail(cli, &err);
    int status = VB_EXIT_DONE;
    struct vb_catalog_entry *e = vb_repo_find(r, cli->argc ? cli->argv[0] : "latest", NULL, &err);
    if (!e || (vb_cli_opt(cli, "document") && show_document(cli, r, e, &err) < 0)) {
        status = vb_cli_fail(cli, &err);
    } else if (!vb_cli_opt(cli, "document")) {
        if (cli->json) {
            json_t *o = vb_show_entry_json(e);
            json_object_set_new(o, "volumes", vb_show_volumes_json(r, e));
            json_object_set_new(o, "left_out_mounts", vb_show_left_mounts_json(r, e));
            json_object_set_new(o, "windows", vb_show_windows_json(r, e));
            vb_cli_json(o);
        } else {
            vb_show_entry_text(stdout, e);
            vb_show_volumes_text(stdout, r, e);
            printf("  documents   ");
            for (size_t i = 0; i < e->n_documents; i++)
                printf(" %s%s%s", e->documents[i].kind, e->documents[i].host ? "@" : "",
                       e->documents[i].host ? e->documents[i].host : "");
            putchar('\n');
        }
    }
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    return status;
}

static const struct vb_opt show_opts[] = {
    { "document", 0, "KIND", "print a stored document: writer-metadata, components, job, plan, events, requester" },
    { "host", 0, "HOST", "the document of this host" },
    { "writer", 0, "ID", "the document of this writer instance" },
    { NULL, 0, NULL, NULL }
};
const struct vb_cli_verb vb_verb_show = { "show", "[BACKUP]", "show one backup: hosts, components, how consistent each is",
                                      show_opts, 0, 1, run_show };
