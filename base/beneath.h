/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/beneath.h - opening what lies below a directory, whatever others do to the tree meanwhile.
 */
#ifndef VB_BASE_BENEATH_H
#define VB_BASE_BENEATH_H

#include <sys/types.h>
#include "base/error.h"

/* Opens a relative path beneath dirfd: no symbolic link on the way or at the end, no "..", no way out, no other mount
 * unless cross_mounts, close-on-exec.  As open(2): -1 and errno (ELOOP for a link, EXDEV for a way out). */
int vb_beneath_open(int dirfd, const char *path, int flags, mode_t mode, int cross_mounts);
/* The directory that holds path's last element, O_PATH; *name points into path.  For a path of one element a duplicate of
 * dirfd. */
int vb_beneath_parent(int dirfd, const char *path, const char **name);

#endif
