/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/io.h - whole reads and writes, and files that are either old or new, never half.
 */
#ifndef VB_BASE_IO_H
#define VB_BASE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/error.h"

/* All n bytes or an error; EINTR and short writes are handled. */
int vb_write_all(int fd, const void *p, size_t n, struct vb_error *err);
/* Reads exactly n bytes; returns 0, or -1 (VB_E_CONNECTION_LOST at an early end of file). */
int vb_read_all(int fd, void *p, size_t n, struct vb_error *err);
/* Whole file below dirfd into b (appended); refuses more than max bytes (VB_E_LIMIT). name is for messages too. */
int vb_read_file_at(int dirfd, const char *name, size_t max, struct vb_buf *b, struct vb_error *err);
/* Temporary name in the same directory, write, fsync, rename, fsync of the directory. mode as in open(2). */
int vb_write_file_at(int dirfd, const char *name, const void *p, size_t n, mode_t mode, struct vb_error *err);
int vb_fsync_dir(int dirfd, struct vb_error *err);
/* mkdirat with parents, mode for every directory made; existing ones are fine. */
int vb_mkdirs_at(int dirfd, const char *path, mode_t mode, struct vb_error *err);
/* Opens a directory below dirfd (O_DIRECTORY|O_CLOEXEC); -1 on error. */
int vb_open_dir_at(int dirfd, const char *name, struct vb_error *err);
/* Removes name and everything below it, without following links or crossing mounts; missing is fine. */
int vb_remove_tree_at(int dirfd, const char *name, struct vb_error *err);
int vb_set_nonblock(int fd, bool on);
int vb_set_cloexec(int fd, bool on);
/* Whole-file advisory lock (open file description lock); 0 got it, 1 held by another, -1 error. */
int vb_try_lock(int fd, bool exclusive, struct vb_error *err);
/* Sends/receives one byte block with at most 4 descriptors over a unix socket (blocking fd). */
int vb_send_fds(int sock, const void *p, size_t n, const int *fds, size_t nfds, struct vb_error *err);
ssize_t vb_recv_fds(int sock, void *p, size_t n, int *fds, size_t *nfds, struct vb_error *err);

#endif
