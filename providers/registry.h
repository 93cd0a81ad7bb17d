/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/registry.h - the providers that are built in: data, no code of theirs runs by asking here.
 *
 * How to add one: a folder providers/NAME with NAME.c (one `const struct vb_provider vb_provider_NAME`) and the man
 * page vbackup-provider-NAME.8; a line in registry.c and in Makefile.inc; a line in tests/contract.
 */
#ifndef VB_PROVIDERS_REGISTRY_H
#define VB_PROVIDERS_REGISTRY_H

#include <stddef.h>
#include "vbackup/provider.h"

/* The i-th provider in falling order of preference, or NULL behind the last. */
const struct vb_provider *vb_provider_at(size_t i);
/* By name ("btrfs") or id (GUID in any case), or NULL. */
const struct vb_provider *vb_provider_find(const char *name_or_id);

#endif
