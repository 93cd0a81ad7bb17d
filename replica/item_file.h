/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/item_file.h - one item and its file: what is read of it, what is set on it, what it is compared by.
 *
 * Content hashes are SHA-256: of a regular file's bytes, of a link's target, of a special file's kind and number; a
 * directory has zeros.  Attributes (user.*, ACLs; with the scope's `owners` capabilities, too) are kept as one sorted list
 * and compared by its hash.
 */
#ifndef VB_REPLICA_ITEM_FILE_H
#define VB_REPLICA_ITEM_FILE_H

#include <sys/stat.h>
#include "base/buf.h"
#include "replica/place.h"

/* What makes a file "the same as when we looked": never 0.  Inode, size, times of content and of inode, mode and owner. */
uint64_t vb_file_look(const struct stat *st);
/* The file system's own idea of now, for files that changed so lately that a change might hide: see vb_file_settled. */
int vb_file_clock(struct vb_place *p, struct timespec *now, struct vb_error *err);
/* Whether a later change of the file must show in its times: it did not change within the last ticks of that clock. */
bool vb_file_settled(const struct stat *st, const struct timespec *now);

enum vb_file_state {
    VB_FILE_READ = 0,
    VB_FILE_GONE = 1,     /* vanished meanwhile: no error (DSN-28) */
    VB_FILE_UNSTABLE = 2, /* changed while it was read, twice: left for the next time (T49) */
    VB_FILE_LEFT = 3,     /* a kind that is not replicated: sockets; devices without `owners` */
    VB_FILE_ERROR = -1
};
/* Reads name below dirfd as the item `path`: kind, size, times, mode, owner, attributes, content, look (0 unless settled by
 * `now`; NULL: not asked).  The owner's string is the caller's, as vb_item_clear frees; path is borrowed. */
enum vb_file_state vb_file_read(struct vb_place *p, int dirfd, const char *name, const char *path,
                                const struct timespec *now, struct vb_item *out, struct vb_error *err);

/* The list of attributes of an open file, or of a link by its O_PATH descriptor (proc true). */
int vb_file_attrs(struct vb_place *p, int fd, bool proc, bool is_link, struct vb_buf *out, struct vb_error *err);
void vb_attrs_hash(const void *p, size_t n, unsigned char out[VB_HASH_LEN]); /* zeros for none */
/* Owner, attributes, mode and time of content.  Attributes the list does not have are removed.  fd: opened for the file, or
 * O_PATH (proc) for links and specials. */
int vb_file_set(struct vb_place *p, int fd, bool proc, const struct vb_item *item, const void *attrs, size_t n, struct vb_error *err);
/* Checks a list that came from elsewhere. */
bool vb_attrs_good(const void *p, size_t n);

/* A running SHA-256. */
struct vb_hasher;
struct vb_hasher *vb_hasher_new(void);
void vb_hasher_add(struct vb_hasher *h, const void *p, size_t n);
void vb_hasher_end(struct vb_hasher *h, unsigned char out[VB_HASH_LEN]); /* and frees it */
void vb_hasher_free(struct vb_hasher **h);
#define VB_AUTO_HASHER __attribute__((cleanup(vb_hasher_free))) struct vb_hasher
void vb_hash(const void *p, size_t n, unsigned char out[VB_HASH_LEN]);

#endif
