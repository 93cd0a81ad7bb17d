/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/safe_open.h - opening places in trees that other users may change at the same time.
 */
#ifndef VB_AGENT_SAFE_OPEN_H
#define VB_AGENT_SAFE_OPEN_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"

/* Opens one name beneath dirfd: no links, no way upwards, close-on-exec. As open(2): -1 and errno. */
int vb_open_beneath(int dirfd, const char *name, int flags, mode_t mode);

/*
 * Opens an absolute path to a directory for reading.  Symbolic links on the way are followed only if they belong to
 * root or to us: a link that somebody else put there would lead our writing to where he likes (VB_E_GUARD).
 *
 * create: missing directories are made, parents with mode 0755, the last one with 0700; *made tells whether the
 * last one is new.  Without create a missing one is VB_E_NOT_FOUND, and *nearest (may be NULL) becomes a descriptor
 * (O_PATH, caller closes) of the nearest directory that exists.
 */
int vb_safe_open_dir(const char *path, bool create, bool *made, int *nearest, struct vb_error *err);

/* The same for a path that must stay inside `base` (absolute; NULL: as above): below it no link is followed, whoever
 * owns it, and no ".." is taken, else VB_E_GUARD.  What was restored a moment ago may be a link to anywhere. */
int vb_safe_open_inside(const char *base, const char *path, bool create, bool *made, int *nearest,
                        struct vb_error *err);

#endif
