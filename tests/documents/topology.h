/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/topology.h - small worlds of hosts, writers and components for the tests of the selection.
 */
#ifndef VB_TESTS_DOCUMENTS_TOPOLOGY_H
#define VB_TESTS_DOCUMENTS_TOPOLOGY_H

#include "support.h"
#include "documents/selection.h"

struct world {
    struct vb_sel_host *hosts; size_t n_hosts, cap_hosts;
    struct vb_components **stored; /* after world_store() */
};

static inline size_t world_host(struct world *w, const char *name)
{
    VB_GROW(w->hosts, w->n_hosts, w->cap_hosts);
    w->hosts[w->n_hosts] = (struct vb_sel_host){vb_strdup(name), NULL, 0};
    return w->n_hosts++;
}

/* Class ids are made of one number: writer 7 has the id 00000007-... */
static inline char *class_id(unsigned n)
{
    return vb_printf("%08u-aaaa-4bbb-8ccc-dddddddddddd", n);
}

static inline struct vb_writer_metadata *world_writer(struct world *w, size_t host, unsigned n)
{
    struct vb_sel_host *h = &w->hosts[host];
    VB_AUTO_FREE char *id = class_id(n);
    VB_AUTO_FREE char *name = vb_printf("w%u", n);
    struct vb_writer_metadata *m = vb_wm_new(id, INSTANCE, name);

    m->has_restore_method = true;
    m->method = VB_RESTORE_IF_CAN_REPLACE;
    m->writer_restore = VB_WRITER_RESTORE_ALWAYS;
    h->writers = vb_realloc_n(h->writers, h->n_writers + 1, sizeof *h->writers);
    h->writers[h->n_writers++] = m;
    return m;
}

static inline void split(const char *full, char **path, const char **name)
{
    const char *last = strrchr(full, '\\');

    *path = last ? vb_strndup(full, (size_t)(last - full)) : vb_strdup("");
    *name = last ? last + 1 : full;
}

/* flags: Y or N for backup, then r for restore. */
static inline void put(struct vb_writer_metadata *m, const char *full, const char *flags)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = NULL;
    const char *name = NULL;

    split(full, &path, &name);
    struct vb_wm_component *c = vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, path, name, &err);
    if (!c)
        fail_msg("%s", vb_error_text(&err));
    c->selectable = flags[0] == 'Y';
    c->selectable_for_restore = strchr(flags, 'r');
}

/* Dependency as declared: on_path may carry a host. */
static inline void need(struct vb_writer_metadata *m, const char *full, unsigned target, const char *on_path,
                        const char *name)
{
    VB_AUTO_FREE char *path = NULL;
    const char *own = NULL;

    split(full, &path, &own);
    struct vb_wm_component *c = vb_wm_find(m, path, own);
    assert_non_null(c);
    /* past the checks of the builder, so that malformed ones get in, too */
    VB_GROW(c->dependencies, c->n_dependencies, c->cap_dependencies);
    c->dependencies[c->n_dependencies++] =
        (struct vb_dependency){class_id(target), vb_strdup(on_path), vb_strdup(name)};
}

static inline void world_clear(struct world *w)
{
    for (size_t h = 0; h < w->n_hosts; h++) {
        for (size_t i = 0; i < w->hosts[h].n_writers; i++)
            vb_wm_free(w->hosts[h].writers[i]);
        free(w->hosts[h].writers);
        free(w->hosts[h].host);
        if (w->stored)
            vb_components_free(w->stored[h]);
    }
    free(w->stored);
    free(w->hosts);
    memset(w, 0, sizeof *w);
}

/* Backup components documents as a backup of this selection leaves them. */
static inline void world_store(struct world *w, const struct vb_selection *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    w->stored = vb_alloc_n(w->n_hosts + 1, sizeof(*w->stored));
    for (size_t h = 0; h < w->n_hosts; h++)
        w->stored[h] = vb_components_new(w->hosts[h].host);
    for (size_t i = 0; i < s->n; i++) {
        const struct vb_sel_component *c = &s->components[i];
        const struct vb_writer_metadata *m = w->hosts[c->host].writers[c->writer];
        if (!c->is_explicit)
            continue;
        struct vb_writer_components *r =
            vb_components_writer(w->stored[c->host], m->writer_id, m->instance_id, m->instance_name, m->name);
        if (!vb_components_add(r, m->components[c->component].type, m->components[c->component].logical_path,
                               m->components[c->component].name, &err))
            fail_msg("%s", vb_error_text(&err));
    }
}

#endif
