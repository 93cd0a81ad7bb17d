/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/serve_restore.h - the requester's end of a restore's data stream: answers GET from the repository.
 *
 * Event driven, with bounded memory: while more than a few MiB wait to be sent, no further request is taken.
 * A chunk that is missing or damaged is answered with its error; the restore process names the file it belongs to.
 */
#ifndef VB_REQUESTER_SERVE_RESTORE_H
#define VB_REQUESTER_SERVE_RESTORE_H

#include <stdint.h>
#include "base/error.h"
#include "store/repository.h"
#include "wire/conn.h"

struct vb_serve_restore;

struct vb_serve_restore_handler {
    void (*on_progress)(void *arg, uint64_t files, uint64_t bytes_done, uint64_t bytes_total); /* may be NULL */
    void (*on_warn)(void *arg, const char *path, const struct vb_error *what);                 /* may be NULL */
    /* Once, never from inside _new: VB_OK after DATA_END, VB_E_CONNECTION_LOST when it broke off. May free the
     * object. */
    void (*on_end)(void *arg, const struct vb_error *why);
};

/* Roots of one entry that are not in the repository: made to restore one file or directory of a backup. */
struct vb_picked_root { struct vb_name name; struct vb_buf tree; };
struct vb_picked_roots { struct vb_picked_root *v; size_t n, cap; };
/* Makes (once) the root of what lies at this path below another root; VB_E_NOT_FOUND. */
int vb_picked_add(struct vb_picked_roots *p, struct vb_repo *r, const struct vb_name *root, const char *path,
                  struct vb_name *name, struct vb_error *err);
void vb_picked_clear(struct vb_picked_roots *p);

/* Takes over the connection (DATA was answered); borrows the repository, open for reading, and picked (may be NULL).
 * groups, copied: a chunk of another is answered as if it were not there; none: all.  With exactly one the agent has been
 * given its naming key, and verifies names itself. */
struct vb_serve_restore *vb_serve_restore_new(struct vb_conn *c, struct vb_repo *r, const struct vb_picked_roots *picked,
                                              const uint32_t *groups, size_t n_groups,
                                              const struct vb_serve_restore_handler *h, void *arg);
void vb_serve_restore_free(struct vb_serve_restore *s); /* NULL ok; closes the connection, no more callbacks */
/* Chunks served and bytes sent so far. */
void vb_serve_restore_stats(const struct vb_serve_restore *s, uint64_t *chunks, uint64_t *bytes);

#endif
