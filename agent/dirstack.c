/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/dirstack.c - the directories from a root down to where a walk is.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>

#include "agent/dirstack.h"
#include "base/mem.h"

#define OPEN_DIRS 64u

void vb_dirstack_push(struct vb_dirstack *s, int fd, const struct stat *st)
{
    VB_GROW(s->v, s->n, s->cap);
    s->v[s->n++] = (struct vb_dirstack_item){ fd, st->st_dev, st->st_ino };
    if (s->n > OPEN_DIRS)
        vb_close_fd(&s->v[s->n - OPEN_DIRS - 1].fd);
}

int vb_dirstack_fd(const struct vb_dirstack *s)
{
    return s->n ? s->v[s->n - 1].fd : -1;
}

static int reopen(struct vb_dirstack_item *parent, int child_fd, struct vb_error *err)
{
    struct stat st;
    VB_AUTO_FD int fd = openat(child_fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "parent directory cannot be opened again");
    if (st.st_dev != parent->dev || st.st_ino != parent->ino)
        return vb_fail(err, VB_E_FILE_CHANGED, "directory was moved meanwhile");
    parent->fd = VB_STEAL_FD(fd);
    return 0;
}

int vb_dirstack_pop(struct vb_dirstack *s, struct vb_error *err)
{
    int rc = 0;
    if (s->n > 1 && s->v[s->n - 2].fd < 0)
        rc = reopen(&s->v[s->n - 2], s->v[s->n - 1].fd, err);
    vb_close_fd(&s->v[--s->n].fd);
    return rc;
}

void vb_dirstack_clear(struct vb_dirstack *s)
{
    while (s->n)
        vb_close_fd(&s->v[--s->n].fd);
    vb_free_ptr(&s->v);
    s->cap = 0;
}
