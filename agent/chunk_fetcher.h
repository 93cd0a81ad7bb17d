/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/chunk_fetcher.h - the restore's end of a data stream: asks for chunks ahead of time, verifies what comes.
 */
#ifndef VB_AGENT_CHUNK_FETCHER_H
#define VB_AGENT_CHUNK_FETCHER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "store/chunk/chunk.h"
#include "store/chunk/tree.h"
#include "wire/msg.h"

#define VB_FETCH_WINDOW ((size_t)16 << 20)   /* plaintext bytes asked for and not used yet */
#define VB_FETCH_REQUESTS 512u                /* and requests; all of them fit a socket buffer */
#define VB_FETCH_KEEP ((size_t)64 << 20)     /* bytes of directories kept between the check and the writing */

struct vb_chunk_fetcher;

/* Borrows the descriptor. key NULL: chunks are not checked against their names.  threads: that decompress and verify what
 * has come; with 0 the caller's does when it gets a chunk. */
struct vb_chunk_fetcher *vb_chunk_fetcher_new(int fd, const uint8_t *key, unsigned threads);
void vb_chunk_fetcher_free(struct vb_chunk_fetcher *f); /* NULL ok */

/* Asks for a chunk that will be got later, exactly once per successful call.  size: of the plaintext, or a guess.
 * False: the window is full (or the stream has failed); nothing was asked. */
bool vb_chunk_fetcher_want(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name,
                           uint64_t size);
/* Takes one want back: this get will not come. Of a chunk that was not wanted: nothing happens. */
void vb_chunk_fetcher_unwant(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name);
/* Asks for a chunk that will be wanted later, most likely; wants and gets find it.  Data take half of the window at
 * most: false when that is full.  Of directories one at a time is expected.  What is not needed after all is dropped by vb_chunk_fetcher_drop_hints. */
bool vb_chunk_fetcher_hint(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name, uint64_t size);
void vb_chunk_fetcher_drop_hints(struct vb_chunk_fetcher *f);
/* The bytes of a chunk that is there, kept or hinted at, until the next call; NULL. */
const struct vb_buf *vb_chunk_fetcher_peek(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name);
/* It was asked for and has not come. */
bool vb_chunk_fetcher_coming(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name);
/* Takes back every want, after a failure in the middle. */
void vb_chunk_fetcher_forget(struct vb_chunk_fetcher *f);
/* Waits for the plaintext, appended to out.  keep: it will be needed again.  A failure of the stream shows in
 * vb_chunk_fetcher_broken; otherwise the chunk is missing or damaged at the other end. */
int vb_chunk_fetcher_get(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name, bool keep,
                         struct vb_buf *out, struct vb_error *err);
/* Takes in what has arrived, without waiting, and answers pings. */
int vb_chunk_fetcher_poll(struct vb_chunk_fetcher *f, struct vb_error *err);
int vb_chunk_fetcher_send(struct vb_chunk_fetcher *f, const struct vb_msg *m, struct vb_error *err);
/* DATA_END and its DATA_OK. */
int vb_chunk_fetcher_finish(struct vb_chunk_fetcher *f, struct vb_error *err);
bool vb_chunk_fetcher_broken(const struct vb_chunk_fetcher *f);

/* The entries of one directory, leaf after leaf. */
struct vb_dirscan {
    struct vb_chunk_fetcher *f;
    bool keep;
    struct {
        struct vb_tree t;
        size_t next;
    } level[VB_TREE_MAX_HEIGHT + 1];
    size_t n;
};
int vb_dirscan_open(struct vb_dirscan *d, struct vb_chunk_fetcher *f, const struct vb_name *directory, bool keep,
                    struct vb_error *err);
/* 1: *e is the next entry, valid until the next call; 0: that was all; -1. */
int vb_dirscan_next(struct vb_dirscan *d, const struct vb_tree_entry **e, struct vb_error *err);
/* The leaf that the last entry came from, and how many of its entries were given out (to look ahead). */
const struct vb_tree *vb_dirscan_leaf(const struct vb_dirscan *d, size_t *next);
void vb_dirscan_close(struct vb_dirscan *d);

#endif
