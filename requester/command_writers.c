/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbackup writers, writers metadata: what the writers of a host offer. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "documents/writer_metadata.h"
#include "requester/cli.h"
#include "requester/gather.h"
#include "requester/link.h"
#include "vbackup/writer.h"

struct asking {
    struct vb_cli *cli;
    struct vb_loop *loop;
    struct vb_links *links;
    struct vb_gather *gather;
    const struct vb_gather_host *host;
};

static void gathered(void *arg)
{
    struct asking *a = arg;
    vb_loop_stop(a->loop, 0);
}

static void new_guid(void *arg, char out[37])
{
    (void)arg;
    vb_guid_new(out);
}

static void settled(void *arg)
{
    struct asking *a = arg;
    vb_loop_stop(a->loop, 0);
}

/* Asks exactly one host; no closure. */
static int ask_host(struct asking *a, struct vb_cli *cli, struct vb_error *err)
{
    static const struct vb_gather_handler handler = { NULL, NULL, gathered };
    const struct vb_host_entry *self = &cli->settings.hosts->v[cli->settings.hosts->self];
    const char *name = vb_cli_opt(cli, "host") ? vb_cli_opt(cli, "host") : self->name;
    struct vb_hosts_resolver resolver = { cli->settings.hosts, { 0 } };
    struct vb_select_options select = { .resolve = vb_hosts_resolve, .resolve_arg = &resolver };
    struct vb_strv fixed = { 0 };
    struct vb_gather_params p = { 0 };
    char run_id[VB_GUID_LEN + 1];
    size_t n = 0;

    vb_guid_new(run_id);
    a->cli = cli;
    a->loop = vb_loop_new();
    a->links = vb_links_real(a->loop, cli->settings.hosts);
    if (!vb_hosts_find(cli->settings.hosts, name)) {
        vb_fail(err, VB_E_HOST_UNKNOWN, "host '%s' is not in the configuration", name);
        vb_hint(err, "'vbackup host list' prints the hosts");
        return -1;
    }
    vb_strv_add(&fixed, name);
    p.loop = a->loop;
    p.links = a->links;
    p.front_end = name;
    p.run_id = run_id;
    p.new_guid = new_guid;
    p.requester = "vbackup writers";
    p.lease_ms = 10000;
    p.select = &select;
    p.fixed = &fixed;
    a->gather = vb_gather_start(&p, &handler, a);
    vb_loop_run(a->loop);
    vb_strv_clear(&fixed);
    a->host = vb_gather_hosts(a->gather, &n);
    if (n == 0 || !a->host->reached) {
        if (n)
            vb_error_copy(err, &a->host->error);
        else
            vb_fail(err, VB_E_UNEXPECTED, "host '%s' gave no answer", name);
        return -1;
    }
    return 0;
}

static void asking_end(struct asking *a)
{
    if (a->gather && a->host && a->host->reached) {
        vb_gather_settle(a->gather, 2000, settled, a);
        vb_loop_run(a->loop);
    }
    vb_gather_free(a->gather);
    vb_links_free(a->links);
    vb_loop_free(a->loop);
}

/* ---- writers ---- */

static json_t *component_json(const struct vb_wm_component *c)
{
    json_t *o = json_object(), *sets = json_array(), *deps = json_array();
    json_object_set_new(o, "logical_path", vb_cli_text(c->logical_path));
    json_object_set_new(o, "name", vb_cli_text(c->name));
    json_object_set_new(o, "caption", vb_cli_text(c->caption));
    json_object_set_new(o, "type", json_string(vb_component_type_word(c->type)));
    json_object_set_new(o, "selectable", json_boolean(c->selectable));
    json_object_set_new(o, "selectable_for_restore", json_boolean(c->selectable_for_restore));
    for (size_t i = 0; i < c->n_filesets; i++) {
        json_t *f = json_object();
        json_object_set_new(f, "path", vb_cli_text(c->filesets[i].path));
        json_object_set_new(f, "filespec", vb_cli_text(c->filesets[i].filespec));
        json_object_set_new(f, "recursive", json_boolean(c->filesets[i].recursive));
        json_object_set_new(f, "alternate_path", vb_cli_text(c->filesets[i].alternate_path));
        json_array_append_new(sets, f);
    }
    for (size_t i = 0; i < c->n_dependencies; i++) {
        json_t *d = json_object();
        json_object_set_new(d, "writer_id", vb_cli_text(c->dependencies[i].target_class_id));
        json_object_set_new(d, "logical_path", vb_cli_text(c->dependencies[i].target_logical_path));
        json_object_set_new(d, "name", vb_cli_text(c->dependencies[i].target_name));
        json_array_append_new(deps, d);
    }
    json_object_set_new(o, "file_sets", sets);
    json_object_set_new(o, "dependencies", deps);
    return o;
}

static json_t *writer_json(const struct vb_gather_host *h, const struct vb_writer_metadata *m)
{
    json_t *o = vb_cli_message("writer"), *list = json_array();
    json_object_set_new(o, "host", vb_cli_text(h->name));
    json_object_set_new(o, "name", vb_cli_text(m->name));
    json_object_set_new(o, "writer_id", vb_cli_text(m->writer_id));
    json_object_set_new(o, "instance_id", vb_cli_text(m->instance_id));
    json_object_set_new(o, "instance_name", vb_cli_text(m->instance_name));
    json_object_set_new(o, "version", vb_cli_text(m->version));
    json_object_set_new(o, "usage", json_string(vb_usage_word(m->usage)));
    json_object_set_new(o, "source", json_string(vb_source_word(m->source)));
    json_object_set_new(o, "level", json_string(vb_level_word(m->level)));
    json_object_set_new(o, "restore_method",
                        m->has_restore_method ? json_string(vb_restore_method_word(m->method)) : json_null());
    for (size_t i = 0; i < m->n_components; i++)
        json_array_append_new(list, component_json(&m->components[i]));
    json_object_set_new(o, "components", list);
    return o;
}

static void print_full_path(const char *indent, const struct vb_wm_component *c, bool details)
{
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
    VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
    printf("%s%-32s %s%s%s\n", indent, shown, vb_component_type_word(c->type), c->selectable ? "" : ", not selectable",
           c->n_dependencies ? ", has dependencies" : "");
    for (size_t i = 0; details && i < c->n_filesets; i++) {
        const struct vb_fileset *f = &c->filesets[i];
        VB_AUTO_FREE char *path = vb_escape_terminal(f->path, strlen(f->path));
        printf("%s  files %s/%s%s%s%s\n", indent, path, f->filespec, f->recursive ? " and below" : "",
               f->alternate_path ? ", read from " : "", f->alternate_path ? f->alternate_path : "");
    }
    for (size_t i = 0; details && i < c->n_dependencies; i++) {
        const struct vb_dependency *d = &c->dependencies[i];
        VB_AUTO_FREE char *target = vb_escape_terminal(d->target_logical_path, strlen(d->target_logical_path));
        printf("%s  needs %s%s%s of writer %s\n", indent, target,
               *target && target[strlen(target) - 1] != '\\' ? "\\" : "", d->target_name, d->target_class_id);
    }
}

static void writer_text(const struct vb_writer_metadata *m, bool details)
{
    VB_AUTO_FREE char *name = vb_escape_terminal(m->name, strlen(m->name));
    printf("%s%s%s%s  %s%s%s\n", name, m->instance_name ? " (" : "", m->instance_name ? m->instance_name : "",
           m->instance_name ? ")" : "", vb_level_word(m->level), m->version ? ", version " : "",
           m->version ? m->version : "");
    if (details) {
        printf("  class %s\n  %s, %s, restore %s\n", m->writer_id, vb_usage_word(m->usage), vb_source_word(m->source),
               m->has_restore_method ? vb_restore_method_word(m->method) : "method not given");
        for (size_t i = 0; i < m->n_excludes; i++)
            printf("  without %s/%s%s\n", m->excludes[i].path, m->excludes[i].filespec,
                   m->excludes[i].recursive ? " and below" : "");
    }
    for (size_t i = 0; i < m->n_components; i++)
        print_full_path("  ", &m->components[i], details);
}

static int run_writers(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct asking a = { 0 };
    int status = VB_EXIT_DONE;
    if (ask_host(&a, cli, &err) < 0) {
        status = vb_cli_fail(cli, &err);
    } else {
        for (size_t i = 0; i < a.host->n_writers; i++) {
            if (cli->json)
                vb_cli_json(writer_json(a.host, a.host->writers[i]));
            else
                writer_text(a.host->writers[i], false);
        }
        for (size_t i = 0; i < a.host->n_failed; i++) { /* present, but silent ones are the worst surprise */
            const struct vb_gather_failed *f = &a.host->failed[i];
            if (cli->json) {
                json_t *o = vb_cli_message("writer_failed");
                json_object_set_new(o, "host", vb_cli_text(a.host->name));
                json_object_set_new(o, "name", vb_cli_text(f->writer));
                json_object_set_new(o, "code", json_string(vb_code_name(f->error.code)));
                json_object_set_new(o, "text", vb_cli_text(vb_error_text(&f->error)));
                json_object_set_new(o, "hint", vb_cli_text(f->error.hint));
                vb_cli_json(o);
            } else {
                printf("%s  FAILED: %s\n", f->writer, vb_error_text(&f->error));
                if (f->error.hint)
                    printf("  hint: %s\n", f->error.hint);
            }
            status = VB_EXIT_PARTIAL;
        }
        if (a.host->n_writers + a.host->n_failed == 0 && !cli->json && !cli->quiet)
            fprintf(stderr, "vbackup: host '%s' has no writers; declare one with a section [writer NAME]\n", a.host->name);
    }
    asking_end(&a);
    return status;
}

static const struct vb_opt writers_opts[] = { { "host", 0, "HOST", "the host to ask (default: this machine)" },
                                              { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_writers = { "writers", "", "show the writers of a host and their components", writers_opts,
                                             0, 0, run_writers };

/* ---- writers metadata ---- */

static bool is_named(const struct vb_writer_metadata *m, const char *name)
{
    return strcasecmp(m->name, name) == 0 || (m->instance_name && strcasecmp(m->instance_name, name) == 0) ||
           vb_guid_equal(m->writer_id, name);
}

static int run_metadata(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct asking a = { 0 };
    const char *name = cli->argv[0];
    size_t found = 0;
    int status = VB_EXIT_DONE;
    if (ask_host(&a, cli, &err) < 0) {
        status = vb_cli_fail(cli, &err);
        goto out;
    }
    for (size_t i = 0; i < a.host->n_writers; i++) {
        const struct vb_writer_metadata *m = a.host->writers[i];
        VB_AUTO_BUF xml = VB_BUF_INIT;
        if (!is_named(m, name))
            continue;
        found++;
        if (cli->json)
            vb_cli_json(writer_json(a.host, m));
        else if (!vb_cli_flag(cli, "raw"))
            writer_text(m, true);
        else if (vb_wm_write(m, &xml, &err) < 0)
            status = vb_cli_fail(cli, &err);
        else
            fwrite(xml.data, 1, xml.len, stdout);
    }
    for (size_t i = 0; i < a.host->n_failed && !found; i++)
        if (strcasecmp(a.host->failed[i].writer, name) == 0)
            vb_error_copy(&err, &a.host->failed[i].error);
    if (!found) {
        if (!err.code) {
            vb_fail(&err, VB_E_OBJECT_NOT_FOUND, "host '%s' has no writer '%s'", a.host->name, name);
            vb_hint(&err, "'vbackup writers' prints the writers");
        }
        status = vb_cli_fail(cli, &err);
    }
out:
    asking_end(&a);
    return status;
}

static const struct vb_opt metadata_opts[] = { { "host", 0, "HOST", "the host to ask (default: this machine)" },
                                               { "raw", 0, NULL, "the document itself, as XML" },
                                               { NULL, 0, NULL, NULL } };
const struct vb_cli_verb vb_verb_writers_metadata = { "writers metadata", "NAME",
                                                      "show what one writer offers and demands", metadata_opts, 1, 1,
                                                      run_metadata };
