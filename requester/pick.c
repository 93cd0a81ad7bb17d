/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a backup was named. */
#include "requester/pick.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum vb_pick vb_pick_path(const struct vb_strv *paths, const char *path)
{
    enum vb_pick best = paths->n == 0 ? VB_PICK_IN : VB_PICK_OUT;
    for (size_t i = 0; i < paths->n && best != VB_PICK_IN; i++) {
        if (vb_path_below(path, paths->v[i]))
            best = VB_PICK_IN;
        else if (vb_path_below(paths->v[i], path))
            best = VB_PICK_ABOVE;
    }
    return best;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool equal(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

const struct vb_catalog_component *vb_pick_find(const struct vb_catalog_host *host, const char *writer_class,
                                                const char *instance_name, const char *logical_path, const char *name)
{
    for (size_t i = 0; host && i < host->n_components; i++) {
        const struct vb_catalog_component *c = &host->components[i];
        if (vb_guid_equal(c->writer_class, writer_class) && equal(c->name, name) &&
            equal(c->instance_name, instance_name) && equal(c->logical_path, logical_path))
            return c;
    }
    return NULL;
}

bool vb_pick_component(const struct vb_ask *asks, size_t n, const struct vb_catalog_host *host,
                       const struct vb_catalog_component *c)
{
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path ? c->logical_path : "", c->name);
    if (!c->is_explicit)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct vb_ask *a = &asks[i];
        if ((!a->host || same(a->host, host->name)) &&
            (!a->writer || same(a->writer, c->writer_name) || same(a->writer, c->instance_name) ||
             (c->writer_class && vb_guid_equal(a->writer, c->writer_class))) &&
            (!a->component || same(a->component, full)))
            return true;
    }
    return n == 0;
}
