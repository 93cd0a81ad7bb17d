/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/dirstack.h - the directories from a root down to where a walk is, at any depth with few descriptors.
 *
 * Only the innermost ones stay open.  The way back to one that was closed is ".." from its child, believed only if
 * device and inode are those that were seen on the way down: a directory that is moved meanwhile leads nowhere else.
 */
#ifndef VB_AGENT_DIRSTACK_H
#define VB_AGENT_DIRSTACK_H

#include <sys/stat.h>
#include "base/error.h"

struct vb_dirstack_item {
    int fd; /* -1: closed meanwhile */
    dev_t dev;
    ino_t ino;
};
struct vb_dirstack {
    struct vb_dirstack_item *v;
    size_t n, cap;
};
#define VB_DIRSTACK_INIT { NULL, 0, 0 }

void vb_dirstack_push(struct vb_dirstack *s, int fd, const struct stat *st); /* takes fd; st is its fstat */
/* Descriptor of the innermost directory; borrowed; -1 when there is none. */
int vb_dirstack_fd(const struct vb_dirstack *s);
/* Leaves the innermost directory. -1: the way back is lost (VB_E_FILE_CHANGED); then the next fd is -1. */
int vb_dirstack_pop(struct vb_dirstack *s, struct vb_error *err);
void vb_dirstack_clear(struct vb_dirstack *s);

#endif
