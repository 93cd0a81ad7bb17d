/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/components.c - the backup components document in memory: records of writers and components.
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "documents/check.h"
#include "documents/component_fields.h"
#include "documents/writer_metadata.h"

struct vb_components *vb_components_new(const char *host)
{
    struct vb_components *c = vb_alloc(sizeof *c);

    c->host = vb_strdup(host ? host : "");
    c->backup_type = VB_BACKUP_FULL;
    c->select_components = true;
    return c;
}

void vb_components_add_left_mount(struct vb_components *c, const char *path, const char *device, const char *fs_type)
{
    for (size_t i = 0; i < c->n_left_mounts; i++)
        if (strcmp(c->left_mounts[i].path, path) == 0)
            return;
    VB_GROW(c->left_mounts, c->n_left_mounts, c->cap_left_mounts);
    c->left_mounts[c->n_left_mounts++] =
        (struct vb_left_mount){ vb_strdup(path), vb_strdup(device), vb_strdup(fs_type) };
}

void vb_components_add_phase(struct vb_components *c, const char *name, uint64_t begin_us, uint64_t us, uint64_t inner_us)
{
    VB_GROW(c->phases, c->n_phases, c->cap_phases);
    c->phases[c->n_phases++] = (struct vb_window_phase){ vb_strdup(name), begin_us, us, inner_us };
}

static void clear_writer(struct vb_writer_components *w)
{
    for (size_t i = 0; i < w->n_components; i++)
        vb_component_clear(&w->components[i]);
    free(w->components);
    free(w->writer_id);
    free(w->instance_id);
    free(w->instance_name);
    free(w->name);
    free(w->failure_text);
    free(w->failure_hint);
}

void vb_components_free(struct vb_components *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_writers; i++)
        clear_writer(&c->writers[i]);
    free(c->writers);
    for (size_t i = 0; i < c->n_left_mounts; i++) {
        free(c->left_mounts[i].path);
        free(c->left_mounts[i].device);
        free(c->left_mounts[i].fs_type);
    }
    free(c->left_mounts);
    for (size_t i = 0; i < c->n_snapshots; i++) {
        struct vb_snapshot_record *s = &c->snapshots[i];
        free(s->snapshot_id);
        free(s->mount_point);
        free(s->device);
        free(s->fs_type);
        free(s->provider);
        free(s->snapshot_path);
        free(s->remark);
    }
    free(c->snapshots);
    for (size_t i = 0; i < c->n_phases; i++)
        free(c->phases[i].name);
    free(c->phases);
    free(c->host);
    free(c->session_id);
    free(c->snapshot_set_id);
    free(c);
}

static void copy_writer(struct vb_writer_components *to, const struct vb_writer_components *from)
{
    *to = *from;
    to->writer_id = vb_strdup(from->writer_id);
    to->instance_id = vb_strdup(from->instance_id);
    to->instance_name = vb_strdup(from->instance_name);
    to->name = vb_strdup(from->name);
    to->failure_text = vb_strdup(from->failure_text);
    to->failure_hint = vb_strdup(from->failure_hint);
    to->components = from->n_components ? vb_alloc_n(from->n_components, sizeof *to->components) : NULL;
    to->cap_components = from->n_components;
    for (size_t i = 0; i < from->n_components; i++)
        vb_component_copy_into(&to->components[i], &from->components[i]);
}

struct vb_components *vb_components_copy(const struct vb_components *c)
{
    struct vb_components *n = vb_memdup(c, sizeof *c);

    n->host = vb_strdup(c->host);
    n->session_id = vb_strdup(c->session_id);
    n->snapshot_set_id = vb_strdup(c->snapshot_set_id);
    n->snapshots = c->n_snapshots ? vb_alloc_n(c->n_snapshots, sizeof *n->snapshots) : NULL;
    n->cap_snapshots = c->n_snapshots;
    for (size_t i = 0; i < c->n_snapshots; i++) {
        const struct vb_snapshot_record *s = &c->snapshots[i];
        n->snapshots[i] = (struct vb_snapshot_record){
            vb_strdup(s->snapshot_id), vb_strdup(s->mount_point),    vb_strdup(s->device), vb_strdup(s->fs_type),
            vb_strdup(s->provider),    vb_strdup(s->snapshot_path), vb_strdup(s->remark), s->atomic,
            s->commit_begin_us,        s->commit_us};
    }
    n->left_mounts = NULL;
    n->n_left_mounts = n->cap_left_mounts = 0;
    for (size_t i = 0; i < c->n_left_mounts; i++)
        vb_components_add_left_mount(n, c->left_mounts[i].path, c->left_mounts[i].device, c->left_mounts[i].fs_type);
    n->phases = NULL;
    n->n_phases = n->cap_phases = 0;
    for (size_t i = 0; i < c->n_phases; i++)
        vb_components_add_phase(n, c->phases[i].name, c->phases[i].begin_us, c->phases[i].us, c->phases[i].inner_us);
    n->writers = c->n_writers ? vb_alloc_n(c->n_writers, sizeof *n->writers) : NULL;
    n->cap_writers = c->n_writers;
    for (size_t i = 0; i < c->n_writers; i++)
        copy_writer(&n->writers[i], &c->writers[i]);
    return n;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

struct vb_writer_components *vb_components_find_writer(const struct vb_components *c, const char *writer_id,
                                                       const char *instance_name)
{
    for (size_t i = 0; i < c->n_writers; i++)
        if (vb_guid_equal(c->writers[i].writer_id, writer_id) && same(c->writers[i].instance_name, instance_name))
            return &c->writers[i];
    return NULL;
}

struct vb_writer_components *vb_components_writer(struct vb_components *c, const char *writer_id,
                                                  const char *instance_id, const char *instance_name, const char *name)
{
    struct vb_writer_components *w = vb_components_find_writer(c, writer_id, instance_name);

    if (w)
        return w;
    VB_GROW(c->writers, c->n_writers, c->cap_writers);
    w = &c->writers[c->n_writers++];
    memset(w, 0, sizeof *w);
    w->writer_id = vb_strdup(writer_id);
    w->instance_id = vb_strdup(instance_id);
    w->instance_name = vb_strdup(instance_name);
    w->name = vb_strdup(name ? name : "");
    return w;
}

struct vb_component *vb_components_find(const struct vb_writer_components *w, const char *logical_path,
                                        const char *name)
{
    VB_AUTO_FREE char *path = vb_check_logical_path(logical_path, NULL);

    for (size_t i = 0; path && name && i < w->n_components; i++)
        if (strcmp(w->components[i].name, name) == 0 && strcmp(w->components[i].logical_path, path) == 0)
            return &w->components[i];
    return NULL;
}

struct vb_component *vb_components_add(struct vb_writer_components *w, enum vb_component_type type,
                                       const char *logical_path, const char *name, struct vb_error *err)
{
    VB_AUTO_FREE char *path = NULL;

    if (vb_check_component_name(name, err) < 0 || !(path = vb_check_logical_path(logical_path, err)))
        return NULL;
    if (vb_components_find(w, path, name)) {
        VB_AUTO_FREE char *full = vb_full_path(path, name);
        VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
        vb_fail(err, VB_E_OBJECT_ALREADY_EXISTS, "component '%s' of writer '%s' is in the document already", shown,
                w->name);
        return NULL;
    }
    VB_GROW(w->components, w->n_components, w->cap_components);
    struct vb_component *c = &w->components[w->n_components++];
    memset(c, 0, sizeof *c);
    c->type = type;
    c->logical_path = VB_STEAL(path);
    c->name = vb_strdup(name);
    return c;
}
