/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/delta.h - only what differs of a large file travels.
 *
 * A file is cut into blocks of one size; the source tells the sum of each (the first half of its SHA-256), the destination
 * compares them with what it has under that name, asks for the blocks that differ, and puts the new file together in stage/
 * in one go, from front to end: each side reads its file once.  The SHA-256 of the whole is checked as always: a block sum
 * that lies, or an old file that changes meanwhile, costs a pass and never a wrong file.
 *
 * Blocks are compared at their own offset only: an insertion shifts what follows, which then travels whole.
 *
 * The source's scan read the file already, to learn that it changed: the sums that it took then are kept in the place, by
 * content, until the place is closed (at most VB_BLOCKS_KEPT bytes of them).
 */
#ifndef VB_REPLICA_DELTA_H
#define VB_REPLICA_DELTA_H

#include "replica/pass.h"

#define VB_DELTA_MIN (256u * 1024)   /* smaller files go whole */
#define VB_BLOCK_SUM 16u
#define VB_BLOCKS_KEPT (32u << 20)

struct vb_blocks {
    unsigned char content[VB_HASH_LEN]; /* of the whole file */
    uint64_t file_size, n;
    uint32_t block;
    unsigned char *sums;                /* n times VB_BLOCK_SUM */
    /* while they are taken */
    uint64_t fed;
    struct vb_hasher *now;
};
/* For a file of that size; then its bytes in order.  End: false if that many did not come. */
struct vb_blocks *vb_blocks_new(uint64_t file_size);
void vb_blocks_add(struct vb_blocks *b, const void *p, size_t n);
bool vb_blocks_end(struct vb_blocks *b);
void vb_blocks_free(struct vb_blocks *b); /* NULL ok */
void vb_blocks_free_ptr(struct vb_blocks **b);
#define VB_AUTO_BLOCKS __attribute__((cleanup(vb_blocks_free_ptr))) struct vb_blocks

/* Keeps sums, taken over by the place, for the pass that follows; find: NULL if there are none of that content. */
void vb_blocks_keep(struct vb_place *p, struct vb_blocks *b);
const struct vb_blocks *vb_blocks_find(const struct vb_place *p, const unsigned char content[VB_HASH_LEN]);
void vb_blocks_drop_all(struct vb_place *p);

/* Source: the content of a file as DATA messages, from `offset`, or with `delta` what is asked for by block; then DATA_END,
 * that carries why, if it could not be had.  -1: the stream broke. */
int vb_give_content(struct vb_place *p, struct vb_rstream *s, size_t index, const struct vb_item *item, uint64_t offset, bool delta,
                    uint64_t *bytes, struct vb_error *why, struct vb_error *err);

struct vb_receiver;
/* Destination: first is the BLOCKS message that came for an item that was asked for so.  -1: the stream broke. */
int vb_delta_take(struct vb_receiver *x, const struct vb_msg *first, struct vb_error *err);

#endif
