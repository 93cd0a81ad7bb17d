/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_find.c - the same component in the plan, in the metadata of this session and in the backup components
 * document.
 */
#include "requester/exec_internal.h"

#include <string.h>

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

size_t vb_x_find_component(const struct vb_xh *h, const char *writer_id, const char *instance_name,
                           const char *logical_path, const char *name)
{
    const struct vb_plan *p = h->x->plan;
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_plan_component *pc = &p->components[c];
        if (pc->host == h->index && pc->is_explicit && vb_guid_equal(pc->writer_id, writer_id) &&
            same(pc->instance_name, instance_name) && same(pc->logical_path, logical_path) && same(pc->name, name))
            return c;
    }
    return VB_NO_INDEX;
}

const struct vb_writer_metadata *vb_x_metadata(const struct vb_xh *h, const char *writer_id, const char *instance_name)
{
    for (size_t i = 0; i < h->here.n_writers; i++)
        if (vb_guid_equal(h->here.writers[i]->writer_id, writer_id) &&
            same(h->here.writers[i]->instance_name, instance_name))
            return h->here.writers[i];
    return NULL;
}

struct vb_component *vb_x_record(const struct vb_exec *x, struct vb_components *b, size_t c,
                                 struct vb_writer_components **writer)
{
    const struct vb_plan_component *pc = &x->plan->components[c];
    struct vb_writer_components *w = b ? vb_components_find_writer(b, pc->writer_id, pc->instance_name) : NULL;
    if (writer)
        *writer = w;
    return w ? vb_components_find(w, pc->logical_path, pc->name) : NULL;
}
