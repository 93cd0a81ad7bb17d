/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/reflink/reflink.h - copying a tree by cloning its files; shared by reflink.c and clone.c.
 */
#ifndef VB_PROVIDERS_REFLINK_H
#define VB_PROVIDERS_REFLINK_H

#include "providers/support/support.h"

/* Clones the file, directory or other entry `path` to the same path below `stage` (a directory descriptor; missing
 * parents are made).  -1 with a failure: then what was made so far is the caller's to remove. */
int vb_reflink_clone(const struct vb_ps *s, const char *path, int stage);

/* Removes a directory with everything below it; missing is fine. */
int vb_reflink_remove(const struct vb_ps *s, const char *path);

/* Whether clones can be made in the directory: NULL, or why not. */
const char *vb_reflink_try(int dir);

#endif
