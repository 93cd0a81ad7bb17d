/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_store.h - the store as a run sees it: a seam with a real side (store_run.c over store/repository.h and
 * the ingest) and a simulated one (tests/sim).
 *
 * Calls do not wait for anything but the storage.  Nothing counts before the barrier: only what barrier() has returned
 * 0 for may be marked as succeeded; only what commit() has returned 0 for is a backup.
 */
#ifndef VB_REQUESTER_RUN_STORE_H
#define VB_REQUESTER_RUN_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/catalog.h"
#include "wire/conn.h"

/* What a data stream reports. done is called once, last; err NULL: all was taken. */
struct vb_stream_handler {
    void (*progress)(void *arg, uint64_t files, uint64_t bytes_done, uint64_t bytes_total);
    void (*warn)(void *arg, const char *path, const struct vb_error *w);
    void (*done)(void *arg, const struct vb_error *err);
};

struct vb_run_store {
    void *ctx;
    /* Backup: begin to write; what the run with this id has stored before is taken up.  Restore: open for reading. */
    int (*begin)(void *ctx, bool write, const char *run_id, struct vb_error *err);
    /* Adds what that host must know to the CAPTURE or RESTORE_FILES command: naming key, cutter. */
    void (*announce)(void *ctx, const char *host, struct vb_msg *m);
    /* Takes over a data stream of this host (after DATA_OK): chunks come in (backup) or are asked for (restore).
     * Returns a handle; stream_free may be called at any time and ends the stream without a further callback. */
    void *(*stream)(void *ctx, const char *host, bool restore, struct vb_conn *conn, const struct vb_stream_handler *h,
                    void *arg);
    void (*stream_free)(void *ctx, void *stream);
    /* Everything that was taken so far is durable after this. */
    int (*barrier)(void *ctx, struct vb_error *err);
    /* Stores a document and adds its record to the entry. */
    int (*put_document)(void *ctx, struct vb_catalog_entry *e, const char *kind, const char *host, const char *writer,
                        const void *p, size_t n, struct vb_error *err);
    /* The entry's id is set by the caller (the run's id), so that a resumed run can ask find() whether it was
     * committed. */
    int (*commit)(void *ctx, struct vb_catalog_entry *e, struct vb_error *err);
    struct vb_catalog_entry *(*find)(void *ctx, const char *which, const char *host, struct vb_error *err);
    int (*get_document)(void *ctx, const struct vb_catalog_document *d, struct vb_buf *out, struct vb_error *err);
    /* Ends the use; what was not committed is dropped. */
    void (*end)(void *ctx);
    void (*free_ctx)(void *ctx);
    /* Restore: the name of a root that holds only what lies at this absolute path in the captured root; streams that are
     * opened later serve it.  VB_E_NOT_FOUND.  NULL: not possible. */
    int (*pick)(void *ctx, const struct vb_catalog_root *root, const char *path, struct vb_name *tree,
                struct vb_error *err);
    /* Every backup, the oldest first; NULL for one that cannot be read.  *newest_forgotten: highest sequence number of a
     * backup that was forgotten, 0: none.  NULL: not possible. */
    int (*each)(void *ctx, void (*fn)(void *arg, const struct vb_catalog_entry *e), void *arg, uint64_t *newest_forgotten,
                struct vb_error *err);
};

struct vb_repo;
struct vb_hosts;
/* Over a repository opened with VB_REPO_WRITE (backup) or VB_REPO_READ (restore); borrows it, and the table that tells
 * which trust group a host belongs to (NULL: each is its own). */
struct vb_run_store *vb_run_store_repo(struct vb_loop *l, struct vb_repo *r, const struct vb_hosts *hosts);
/* Of such a store: a document of the whole backup, put beside each backup that is committed. */
void vb_run_store_attach(struct vb_run_store *s, const char *kind, const void *p, size_t n);
void vb_run_store_free(struct vb_run_store *s); /* NULL ok */

#endif
