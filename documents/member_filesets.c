/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/member_filesets.c - the file sets that an explicit component stands for in a backup of some type.
 */
#include <string.h>
#include "documents/selection.h"

static uint32_t needed_bit(enum vb_backup_type type)
{
    switch (type) {
    case VB_BACKUP_INCREMENTAL:
        return VB_FSB_INCREMENTAL_BACKUP;
    case VB_BACKUP_DIFFERENTIAL:
        return VB_FSB_DIFFERENTIAL_BACKUP;
    case VB_BACKUP_LOG:
        return VB_FSB_LOG_BACKUP;
    case VB_BACKUP_UNDEFINED:
        return UINT32_MAX;
    case VB_BACKUP_FULL:
    case VB_BACKUP_COPY:
    case VB_BACKUP_OTHER:
        break;
    }
    return VB_FSB_FULL_BACKUP;
}

struct vb_member_fileset *vb_member_filesets(const struct vb_writer_metadata *m, const char *logical_path,
                                             const char *name, enum vb_backup_type type, size_t *n)
{
    const struct vb_wm_component *head = vb_wm_find(m, logical_path, name);
    VB_AUTO_FREE char *full = head ? vb_full_path(head->logical_path, head->name) : NULL;
    struct vb_member_fileset *v = NULL;
    uint32_t bit = needed_bit(type);
    size_t cap = 0;

    *n = 0;
    for (size_t i = 0; head && i < m->n_components; i++) {
        const struct vb_wm_component *c = &m->components[i];
        if (c != head && !(head->selectable && vb_is_ancestor(full, c->logical_path)))
            continue;
        for (size_t k = 0; k < c->n_filesets; k++) {
            if (bit != UINT32_MAX && !(c->filesets[k].backup_type & bit))
                continue;
            VB_GROW(v, *n, cap);
            v[(*n)++] = (struct vb_member_fileset){c, &c->filesets[k]};
        }
    }
    return v;
}
