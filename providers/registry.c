/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/registry.c - the providers that are built in, best first.
 */
#include "config.h"

#include <strings.h>

#include "providers/registry.h"

extern const struct vb_provider vb_provider_fault, vb_provider_btrfs, vb_provider_lvm, vb_provider_zfs,
    vb_provider_reflink, vb_provider_null, vb_provider_freeze_only, vb_provider_live;

static const struct vb_provider *const ALL[] = { &vb_provider_fault,   &vb_provider_btrfs, &vb_provider_lvm,
                                                 &vb_provider_zfs,     &vb_provider_reflink, &vb_provider_null,
                                                 &vb_provider_freeze_only, &vb_provider_live };

const struct vb_provider *vb_provider_at(size_t i)
{
    return i < sizeof ALL / sizeof ALL[0] ? ALL[i] : NULL;
}

const struct vb_provider *vb_provider_find(const char *name_or_id)
{
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++)
        if (!strcasecmp(ALL[i]->name, name_or_id) || !strcasecmp(ALL[i]->id, name_or_id))
            return ALL[i];
    return NULL;
}
