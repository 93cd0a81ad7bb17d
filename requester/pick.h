/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/pick.h - what of a backup was named: paths and components, for ls, export and restore.
 */
#ifndef VB_REQUESTER_PICK_H
#define VB_REQUESTER_PICK_H

#include <stdbool.h>
#include "base/mem.h"
#include "documents/selection.h"
#include "store/catalog.h"

enum vb_pick { VB_PICK_OUT = 0, VB_PICK_ABOVE /* on the way to a named path */, VB_PICK_IN };
/* paths are absolute and clean; none: everything is in. */
enum vb_pick vb_pick_path(const struct vb_strv *paths, const char *path);

/* A component's record, or NULL; NULL and "" are the same. */
const struct vb_catalog_component *vb_pick_find(const struct vb_catalog_host *host, const char *writer_class,
                                                const char *instance_name, const char *logical_path, const char *name);

/* Whether an explicit component of a backup is meant; no asks: all are.  A host that is left out means any. */
bool vb_pick_component(const struct vb_ask *asks, size_t n, const struct vb_catalog_host *host,
                       const struct vb_catalog_component *c);

#endif
