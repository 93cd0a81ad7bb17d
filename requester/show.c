/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backup as text and as JSON. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "requester/cli.h"
#include "requester/show.h"
#include "vbackup/types.h"

char *vb_show_hosts(const struct vb_catalog_entry *e)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (size_t i = 0; i < e->n_hosts; i++)
        vb_buf_addf(&b, "%s%s", i ? ", " : "", e->hosts[i].name);
    return vb_buf_take_str(&b);
}

const char *vb_show_consistency(const struct vb_catalog_entry *e)
{
    enum vb_consistency lowest = VB_CONSISTENCY_UNKNOWN;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++) {
            const struct vb_catalog_component *comp = &e->hosts[h].components[c];
            enum vb_consistency v = vb_consistency_from_word(comp->consistency ? comp->consistency : "");
            if (comp->state != VB_CATALOG_FAILED && v != VB_CONSISTENCY_UNKNOWN &&
                (lowest == VB_CONSISTENCY_UNKNOWN || v < lowest))
                lowest = v;
        }
    return lowest == VB_CONSISTENCY_UNKNOWN ? "-" : vb_consistency_word(lowest);
}

char *vb_show_component_name(const char *host, const struct vb_catalog_component *c)
{
    const char *path = c->logical_path ? c->logical_path : "";
    VB_AUTO_FREE char *raw = vb_printf("%s:%s:%s%s%s", host, c->instance_name ? c->instance_name : c->writer_name, path,
                                       *path ? "\\" : "", c->name);
    return vb_escape_terminal(raw, strlen(raw));
}

void vb_show_entry_text(FILE *out, const struct vb_catalog_entry *e)
{
    VB_AUTO_FREE char *begin = vb_time_iso(e->started_ms), *size = vb_size_human(e->bytes);
    VB_AUTO_FREE char *took = vb_duration_human(e->finished_ms >= e->started_ms ? e->finished_ms - e->started_ms : 0);
    VB_AUTO_FREE char *added = vb_size_human(e->added_stored);
    fprintf(out, "backup %s\n  taken        %s, in %s, by %s\n  state        %s\n  content      %llu files, %s (%s added)\n",
            e->id, begin, took, e->requester ? e->requester : "?", vb_catalog_state_name(e->state),
            (unsigned long long)e->files, size, added);
    for (size_t h = 0; h < e->n_hosts; h++) {
        const struct vb_catalog_host *host = &e->hosts[h];
        fprintf(out, "  host %s (%s)%s%s\n", host->name, vb_catalog_state_name(host->state), host->error ? ": " : "",
                host->error ? host->error : "");
        for (size_t i = 0; i < host->n_components; i++) {
            const struct vb_catalog_component *c = &host->components[i];
            VB_AUTO_FREE char *name = vb_show_component_name(host->name, c), *bytes = vb_size_human(c->bytes);
            VB_AUTO_FREE char *error = c->error ? vb_escape_terminal(c->error, strlen(c->error)) : NULL;
            fprintf(out, "    %-40s %-8s %-12s %8llu files %10s%s\n", name, vb_catalog_state_name(c->state),
                    c->consistency ? c->consistency : "-", (unsigned long long)c->files, bytes,
                    c->is_explicit ? "" : "  (implicit)");
            if (c->left_files || c->left_dirs)
                fprintf(out, "      left out by exclusions: %llu file%s, %llu director%s\n",
                        (unsigned long long)c->left_files, c->left_files == 1 ? "" : "s",
                        (unsigned long long)c->left_dirs, c->left_dirs == 1 ? "y" : "ies");
            if (error)
                fprintf(out, "      %s: %s\n", vb_code_name(c->code), error);
        }
    }
}

static void set_text(json_t *o, const char *key, const char *s)
{
    json_object_set_new(o, key, vb_cli_text(s));
}

static void set_count(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *component_json(const struct vb_catalog_component *c)
{
    json_t *o = json_object(), *roots = json_array();
    set_text(o, "writer", c->writer_name);
    set_text(o, "writer_id", c->writer_class);
    set_text(o, "instance_name", c->instance_name);
    set_text(o, "logical_path", c->logical_path ? c->logical_path : "");
    set_text(o, "name", c->name);
    set_text(o, "type", c->type);
    set_text(o, "state", vb_catalog_state_name(c->state));
    set_text(o, "consistency", c->consistency);
    set_text(o, "backup_type", c->backup_type);
    json_object_set_new(o, "explicit", json_boolean(c->is_explicit));
    set_count(o, "files", c->files);
    set_count(o, "bytes", c->bytes);
    set_count(o, "left_out_files", c->left_files);
    set_count(o, "left_out_directories", c->left_dirs);
    set_text(o, "code", c->code ? vb_code_name(c->code) : NULL);
    set_text(o, "error", c->error);
    for (size_t i = 0; i < c->n_roots; i++) {
        json_t *r = json_object();
        set_text(r, "path", c->roots[i].path);
        set_text(r, "filespec", c->roots[i].filespec);
        json_object_set_new(r, "recursive", json_boolean(c->roots[i].recursive));
        set_count(r, "files", c->roots[i].files);
        set_count(r, "bytes", c->roots[i].bytes);
        set_count(r, "errors", c->roots[i].errors);
        json_array_append_new(roots, r);
    }
    json_object_set_new(o, "file_sets", roots);
    return o;
}

json_t *vb_show_entry_json(const struct vb_catalog_entry *e)
{
    json_t *o = vb_cli_message("backup"), *hosts = json_array();
    VB_AUTO_FREE char *begin = vb_time_iso(e->started_ms), *end = vb_time_iso(e->finished_ms);
    set_text(o, "id", e->id);
    set_count(o, "sequence", e->sequence);
    set_text(o, "started", begin);
    set_text(o, "finished", end);
    set_text(o, "requester", e->requester);
    set_text(o, "program", e->program);
    set_text(o, "job", e->job);
    set_text(o, "state", vb_catalog_state_name(e->state));
    set_text(o, "consistency", vb_show_consistency(e));
    set_count(o, "files", e->files);
    set_count(o, "bytes", e->bytes);
    set_count(o, "added_bytes", e->added_stored);
    for (size_t i = 0; i < e->n_hosts; i++) {
        json_t *h = json_object(), *list = json_array();
        set_text(h, "name", e->hosts[i].name);
        set_text(h, "state", vb_catalog_state_name(e->hosts[i].state));
        set_text(h, "error", e->hosts[i].error);
        for (size_t c = 0; c < e->hosts[i].n_components; c++)
            json_array_append_new(list, component_json(&e->hosts[i].components[c]));
        json_object_set_new(h, "components", list);
        json_array_append_new(hosts, h);
    }
    json_object_set_new(o, "hosts", hosts);
    return o;
}
