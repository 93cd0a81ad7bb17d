/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/tar_out.h - files of a backup as a tar stream in pax form: nanosecond times, owners by name and number, hard
 * links, holes, extended attributes, ACLs, flags.
 */
#ifndef VB_REQUESTER_TAR_OUT_H
#define VB_REQUESTER_TAR_OUT_H

#include "base/error.h"
#include "store/repository.h"

struct vb_tar_out;

/* Writes to fd, which stays the caller's; repo is borrowed. */
struct vb_tar_out *vb_tar_out_new(struct vb_repo *repo, int fd, struct vb_error *err);
/* name: as it stands in the archive, relative.  Hard links are known within one group_space.  1: a socket, which tar
 * cannot hold; it was left out. */
int vb_tar_out_add(struct vb_tar_out *t, const char *name, unsigned group_space, const struct vb_tree_entry *e,
                   struct vb_error *err);
int vb_tar_out_finish(struct vb_tar_out *t, struct vb_error *err); /* the end of the archive */
void vb_tar_out_free(struct vb_tar_out *t);                        /* NULL ok; without finish the archive is cut */

#endif
