/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/tar_in.h - a tar archive (ustar, pax, GNU), or one stream, as a file set in a repository.
 *
 * Nothing is written anywhere but to the repository.  Refused: names with "..", names below what is no directory, links to
 * what is not in the archive before, numbers out of range, compressed archives, and an archive without its end mark.
 */
#ifndef VB_REQUESTER_TAR_IN_H
#define VB_REQUESTER_TAR_IN_H

#include "base/error.h"
#include "store/repository.h"

struct vb_tar_in;

/* repo is borrowed, and locked; what is put belongs to that trust group. */
struct vb_tar_in *vb_tar_in_new(struct vb_repo *repo, uint32_t group, struct vb_error *err);
void vb_tar_in_free(struct vb_tar_in *t); /* NULL ok */
/* Called as often as a chunk is met, so that a caller can renew the session. */
void vb_tar_in_on_chunk(struct vb_tar_in *t, void (*fn)(void *arg), void *arg);
int vb_tar_in_archive(struct vb_tar_in *t, int fd, struct vb_error *err);
/* All bytes as one file of that name. */
int vb_tar_in_stream(struct vb_tar_in *t, int fd, const char *name, uint64_t wall_ms, struct vb_error *err);
struct vb_tar_in_result {
    struct vb_name root;
    uint64_t files, dirs, bytes;
};
int vb_tar_in_finish(struct vb_tar_in *t, struct vb_tar_in_result *out, struct vb_error *err);

#endif
