/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backup as text and as JSON. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "documents/components.h"
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
    VB_AUTO_FREE char *raw = vb_printf("%s/%s:%s%s%s", host, c->instance_name ? c->instance_name : c->writer_name, path,
                                       *path ? "\\" : "", c->name);
    return vb_escape_terminal(raw, strlen(raw));
}

/* What was read, and what was recognised as unchanged instead. */
static void show_detector(FILE *out, const struct vb_catalog_root *r)
{
    if (!r->detector)
        return;
    VB_AUTO_FREE char *how = vb_escape_terminal(r->detector, strlen(r->detector));
    fprintf(out, "        %llu of %llu files read; %s", (unsigned long long)r->files_read, (unsigned long long)r->files,
            how);
    VB_AUTO_FREE char *read = vb_size_human(r->bytes_read);
    if (r->bytes_read)
        fprintf(out, "; %s of content read", read);
    fputc('\n', out);
}

void vb_show_entry_text(FILE *out, const struct vb_catalog_entry *e)
{
    VB_AUTO_FREE char *begin = vb_time_iso(e->started_ms), *size = vb_size_human(e->bytes);
    VB_AUTO_FREE char *took = vb_duration_human(e->finished_ms >= e->started_ms ? e->finished_ms - e->started_ms : 0);
    VB_AUTO_FREE char *added = vb_size_human(e->added_stored);
    fprintf(out, "backup %s\n  taken        %s, in %s, by %s\n  state        %s\n  content      %llu file%s, %s (%s added)\n",
            e->id, begin, took, e->requester ? e->requester : "?", vb_catalog_state_name(e->state),
            (unsigned long long)e->files, e->files == 1 ? "" : "s", size, added);
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
            if (c->base)
                fprintf(out, "      %s, builds on %.8s\n", c->backup_type, c->base);
            if (c->left_files || c->left_dirs)
                fprintf(out, "      left out by exclusions: %llu file%s, %llu director%s\n",
                        (unsigned long long)c->left_files, c->left_files == 1 ? "" : "s",
                        (unsigned long long)c->left_dirs, c->left_dirs == 1 ? "y" : "ies");
            if (error)
                fprintf(out, "      %s: %s\n", vb_code_name(c->code), error);
            for (size_t k = 0; k < c->n_roots; k++) {
                const struct vb_catalog_root *r = &c->roots[k];
                VB_AUTO_FREE char *path = vb_escape_terminal(r->path, strlen(r->path));
                VB_AUTO_FREE char *spec = vb_escape_terminal(r->filespec ? r->filespec : "*",
                                                             strlen(r->filespec ? r->filespec : "*"));
                bool everything = r->recursive && strcmp(spec, "*") == 0;
                fprintf(out, "      %s%s%s%s\n", path, everything ? "" : "/", everything ? "" : spec,
                        r->recursive && !everything ? " (recursive)" : "");
                show_detector(out, r);
            }
        }
    }
}

/* ---- what ---- */

char *vb_show_content(const struct vb_catalog_entry *e)
{
    enum { MOST = 3 };
    VB_AUTO_BUF b = VB_BUF_INIT;
    size_t n = 0;
    bool adhoc = e->job && strcmp(e->job, "ad hoc") == 0;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t i = 0; i < e->hosts[h].n_components; i++) {
            const struct vb_catalog_component *c = &e->hosts[h].components[i];
            if (!c->is_explicit)
                continue;
            for (size_t k = 0; k < (adhoc && c->n_roots ? c->n_roots : 1); k++) {
                const struct vb_catalog_root *r = adhoc && c->n_roots ? &c->roots[k] : NULL;
                bool one = r && !r->recursive && strcmp(r->filespec, "*") != 0;
                VB_AUTO_FREE char *name = one ? vb_path_join(r->path, r->filespec)
                                          : r ? vb_strdup(r->path)
                                              : vb_show_component_name(e->hosts[h].name, c);
                VB_AUTO_FREE char *shown = r ? vb_escape_terminal(name, strlen(name)) : vb_strdup(name);
                if (n++ < MOST)
                    vb_buf_addf(&b, "%s%s", n > 1 ? ", " : "", shown);
            }
        }
    if (n > MOST)
        vb_buf_addf(&b, " and %zu more", n - MOST);
    return vb_buf_take_str(&b);
}

/* The host's document as its agent returned it, or NULL. */
static struct vb_components *document_of(struct vb_repo *r, const struct vb_catalog_entry *e, const char *host)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    const struct vb_catalog_document *d = vb_catalog_find_document(e, "components", host, NULL);
    if (!d || vb_repo_get_bytes(r, VB_CHUNK_DOC, &d->content, (size_t)64 << 20, &b, NULL) < 0)
        return NULL;
    return vb_components_read("components", b.data ? (const void *)b.data : "", b.len, NULL);
}

static void show_window(FILE *out, const char *host, const struct vb_components *c)
{
    uint64_t ours = c->window_us;
    if (!c->window_us)
        return;
    fprintf(out, "  window %s: %.3f ms:", host, (double)c->window_us / 1000.0);
    for (size_t i = 0; i < c->n_phases; i++) {
        VB_AUTO_FREE char *name = vb_escape_terminal(c->phases[i].name, strlen(c->phases[i].name));
        fprintf(out, "%s %s %.3f", i ? "," : "", name, (double)c->phases[i].us / 1000.0);
        ours -= c->phases[i].inner_us < ours ? c->phases[i].inner_us : ours;
    }
    if (c->n_phases)
        fprintf(out, "; %.3f of it neither a writer's nor a provider's", (double)ours / 1000.0);
    fputc('\n', out);
    if (c->skew_us)
        fprintf(out, "  skew %s: the instants of its volumes are at most %.3f ms apart\n", host,
                (double)c->skew_us / 1000.0);
}

void vb_show_volumes_text(FILE *out, struct vb_repo *r, const struct vb_catalog_entry *e)
{
    for (size_t h = 0; h < e->n_hosts; h++) {
        struct vb_components *c = document_of(r, e, e->hosts[h].name);
        for (size_t i = 0; c && i < c->n_snapshots; i++) {
            const struct vb_snapshot_record *s = &c->snapshots[i];
            VB_AUTO_FREE char *mount = vb_escape_terminal(s->mount_point, strlen(s->mount_point));
            VB_AUTO_FREE char *remark = s->remark ? vb_escape_terminal(s->remark, strlen(s->remark)) : NULL;
            bool live = s->provider && strcmp(s->provider, "live") == 0;
            fprintf(out, "  volume %s:%s (%s): %s%s%s%s\n", e->hosts[h].name, mount, s->fs_type ? s->fs_type : "?",
                    live ? "" : "snapshot by ", live ? "" : s->provider ? s->provider : "?",
                    remark && *remark && !live ? ", " : "", remark ? remark : "");
        }
        for (size_t i = 0; c && i < c->n_left_mounts; i++) {
            const struct vb_left_mount *m = &c->left_mounts[i];
            VB_AUTO_FREE char *path = vb_escape_terminal(m->path, strlen(m->path));
            VB_AUTO_FREE char *device = vb_escape_terminal(m->device ? m->device : "?", strlen(m->device ? m->device : "?"));
            fprintf(out, "  left out %s:%s: %s (%s) is mounted there\n", e->hosts[h].name, path, device,
                    m->fs_type ? m->fs_type : "?");
        }
        if (c)
            show_window(out, e->hosts[h].name, c);
        vb_components_free(c);
    }
}

json_t *vb_show_phases_json(const struct vb_window_phase *phases, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *p = json_object();
        json_object_set_new(p, "name", vb_cli_text(phases[i].name));
        json_object_set_new(p, "begin_microseconds", json_integer((json_int_t)phases[i].begin_us));
        json_object_set_new(p, "microseconds", json_integer((json_int_t)phases[i].us));
        json_object_set_new(p, "inner_microseconds", json_integer((json_int_t)phases[i].inner_us));
        json_array_append_new(list, p);
    }
    return list;
}

json_t *vb_show_windows_json(struct vb_repo *r, const struct vb_catalog_entry *e)
{
    json_t *a = json_array();
    for (size_t h = 0; h < e->n_hosts; h++) {
        struct vb_components *c = document_of(r, e, e->hosts[h].name);
        json_t *o;
        if (!c || !c->window_us) {
            vb_components_free(c);
            continue;
        }
        o = json_object();
        json_object_set_new(o, "host", vb_cli_text(e->hosts[h].name));
        json_object_set_new(o, "begin_ms", json_integer((json_int_t)c->freeze_wall_ms));
        json_object_set_new(o, "microseconds", json_integer((json_int_t)c->window_us));
        json_object_set_new(o, "skew_microseconds", json_integer((json_int_t)c->skew_us));
        json_object_set_new(o, "phases", vb_show_phases_json(c->phases, c->n_phases));
        json_array_append_new(a, o);
        vb_components_free(c);
    }
    return a;
}

json_t *vb_show_volumes_json(struct vb_repo *r, const struct vb_catalog_entry *e)
{
    json_t *a = json_array();
    for (size_t h = 0; h < e->n_hosts; h++) {
        struct vb_components *c = document_of(r, e, e->hosts[h].name);
        for (size_t i = 0; c && i < c->n_snapshots; i++) {
            json_t *o = json_object();
            json_object_set_new(o, "host", vb_cli_text(e->hosts[h].name));
            json_object_set_new(o, "mount_point", vb_cli_text(c->snapshots[i].mount_point));
            json_object_set_new(o, "file_system", vb_cli_text(c->snapshots[i].fs_type));
            json_object_set_new(o, "provider", vb_cli_text(c->snapshots[i].provider));
            json_object_set_new(o, "atomic", json_boolean(c->snapshots[i].atomic));
            json_object_set_new(o, "commit_begin_microseconds", json_integer((json_int_t)c->snapshots[i].commit_begin_us));
            json_object_set_new(o, "commit_microseconds", json_integer((json_int_t)c->snapshots[i].commit_us));
            json_object_set_new(o, "remark", vb_cli_text(c->snapshots[i].remark));
            json_array_append_new(a, o);
        }
        vb_components_free(c);
    }
    return a;
}

json_t *vb_show_left_mounts_json(struct vb_repo *r, const struct vb_catalog_entry *e)
{
    json_t *a = json_array();
    for (size_t h = 0; h < e->n_hosts; h++) {
        struct vb_components *c = document_of(r, e, e->hosts[h].name);
        for (size_t i = 0; c && i < c->n_left_mounts; i++) {
            json_t *o = json_object();
            json_object_set_new(o, "host", vb_cli_text(e->hosts[h].name));
            json_object_set_new(o, "path", vb_cli_text(c->left_mounts[i].path));
            json_object_set_new(o, "device", vb_cli_text(c->left_mounts[i].device));
            json_object_set_new(o, "file_system", vb_cli_text(c->left_mounts[i].fs_type));
            json_array_append_new(a, o);
        }
        vb_components_free(c);
    }
    return a;
}

/* ---- one entry ---- */

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
    set_text(o, "base", c->base);
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
        if (c->roots[i].detector) {
            set_text(r, "detector", c->roots[i].detector);
            set_count(r, "files_read", c->roots[i].files_read);
            set_count(r, "bytes_read", c->roots[i].bytes_read);
        }
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
