/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup host list, host test: the host table and its connections. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "requester/cli.h"
#include "requester/link.h"

static const struct vb_opt no_opts[] = { { NULL, 0, NULL, NULL } };

static int run_list(struct vb_cli *cli)
{
    for (size_t i = 0; i < cli->settings.hosts->n; i++) {
        const struct vb_host_entry *h = &cli->settings.hosts->v[i];
        if (cli->json) {
            json_t *o = vb_cli_message("host"), *aliases = json_array();
            json_object_set_new(o, "name", vb_cli_text(h->name));
            json_object_set_new(o, "local", json_boolean(h->local));
            json_object_set_new(o, "address", h->local ? json_null() : vb_cli_text(h->address));
            json_object_set_new(o, "port", h->local ? json_null() : json_integer((json_int_t)h->port));
            json_object_set_new(o, "user", vb_cli_text(h->user));
            json_object_set_new(o, "declared", vb_cli_text(h->where));
            for (size_t k = 0; k < h->aliases.n; k++)
                json_array_append_new(aliases, vb_cli_text(h->aliases.v[k]));
            json_object_set_new(o, "aliases", aliases);
            vb_cli_json(o);
            continue;
        }
        if (h->local)
            printf("%-16s this machine\n", h->name);
        else
            printf("%-16s ssh %s%s%s port %u\n", h->name, h->user ? h->user : "", h->user ? "@" : "", h->address, h->port);
    }
    return VB_EXIT_DONE;
}

const struct vb_cli_verb vb_verb_host_list = { "host list", "", "print the host table", no_opts, 0, 0, run_list };

struct probe {
    struct vb_cli *cli;
    struct vb_loop *loop;
    const struct vb_host_entry *host;
    uint64_t begin_ms;
    size_t *ok, *left;
    int *status;
    struct vb_conn *conn;
};

static void probed(void *arg, struct vb_conn *conn, const struct vb_error *err)
{
    struct probe *p = arg;
    uint64_t took = vb_loop_now_ms(p->loop) - p->begin_ms;
    p->conn = conn;
    if (p->cli->json) {
        json_t *o = vb_cli_message("host_test");
        json_object_set_new(o, "host", vb_cli_text(p->host->name));
        json_object_set_new(o, "reached", json_boolean(conn != NULL));
        json_object_set_new(o, "milliseconds", json_integer((json_int_t)took));
        json_object_set_new(o, "code", conn ? json_null() : json_string(vb_code_name(err->code)));
        json_object_set_new(o, "text", conn ? json_null() : vb_cli_text(vb_error_text(err)));
        json_object_set_new(o, "hint", conn || !err->hint ? json_null() : vb_cli_text(err->hint));
        vb_cli_json(o);
    } else if (conn) {
        printf("%-16s ok, %llu ms\n", p->host->name, (unsigned long long)took);
    } else {
        VB_AUTO_FREE char *text = vb_escape_terminal(vb_error_text(err), strlen(vb_error_text(err)));
        printf("%-16s FAILED: %s\n", p->host->name, text);
        if (err->hint) {
            VB_AUTO_FREE char *hint = vb_escape_terminal(err->hint, strlen(err->hint));
            printf("%-16s hint: %s\n", "", hint);
        }
    }
    if (conn)
        (*p->ok)++;
    else
        *p->status = (int)vb_exit_worse((enum vb_exit)*p->status, vb_code_exit(err->code));
    if (--*p->left == 0)
        vb_loop_stop(p->loop, 0);
}

static int run_test(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    size_t n = cli->argc ? (size_t)cli->argc : cli->settings.hosts->n, ok = 0, left = n;
    int status = VB_EXIT_DONE;
    struct vb_loop *loop = vb_loop_new();
    struct vb_links *links = vb_links_real(loop, cli->settings.hosts);
    VB_AUTO_FREE struct probe *probes = vb_alloc_n(n + 1, sizeof *probes);

    for (size_t i = 0; i < n; i++) {
        const struct vb_host_entry *h = cli->argc ? vb_hosts_find(cli->settings.hosts, cli->argv[i]) : &cli->settings.hosts->v[i];
        if (!h) {
            vb_fail(&err, VB_E_HOST_UNKNOWN, "host '%s' is not in the configuration", cli->argv[i]);
            vb_hint(&err, "'vbackup host list' prints the hosts; declare it with a section [host %s]", cli->argv[i]);
            status = vb_cli_fail(cli, &err);
            goto out;
        }
        probes[i] = (struct probe){ cli, loop, h, vb_loop_now_ms(loop), &ok, &left, &status, NULL };
        links->open(links->ctx, h->name, probed, &probes[i]);
    }
    vb_loop_run(loop);
    if (ok && ok < n)
        status = VB_EXIT_PARTIAL;
out:
    for (size_t i = 0; i < n; i++)
        vb_conn_free(probes[i].conn);
    vb_links_free(links);
    vb_loop_free(loop);
    return status;
}

const struct vb_cli_verb vb_verb_host_test = { "host test", "[HOST...]", "connect to the hosts and greet their agents", no_opts, 0,
                                           -1, run_test };
