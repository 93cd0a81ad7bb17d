/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/chunk_sender.h - the capture's end of a data stream: offers chunks, compresses and sends the wanted ones.
 *
 * Chunks are offered and sent in the order in which they were emitted, children before what refers to them; one that is
 * on its way is not offered again.  What waits for an answer or for being sent is bounded (VB_SENDER_WINDOW); then emit
 * waits.  Compression runs in threads; they see only the bytes of one chunk each.
 */
#ifndef VB_AGENT_CHUNK_SENDER_H
#define VB_AGENT_CHUNK_SENDER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "store/chunk/chunk.h"
#include "wire/msg.h"

#define VB_SENDER_WINDOW ((size_t)16 << 20) /* bytes of plaintext under way */
#define VB_SENDER_CHUNKS 8192u                  /* and chunks */
#define VB_SENDER_BATCH_CHUNKS 128u
#define VB_SENDER_BATCH_BYTES ((size_t)2 << 20)

struct vb_chunk_sender;

/* From now on every compressed chunk is decompressed and compared here, and says so (VB_M_CHUNK with VERIFY): the requester
 * believes us. */
void vb_chunk_sender_check(struct vb_chunk_sender *s);

/* Borrows the descriptor and the namer. level: zstd, 0 none. threads 0: compresses in the caller's thread. */
struct vb_chunk_sender *vb_chunk_sender_new(int fd, struct vb_namer *namer, int level, unsigned threads);
void vb_chunk_sender_free(struct vb_chunk_sender *s); /* NULL ok */

/* A vb_emit_fn with arg = the sender.  Failures are those of the stream. */
int vb_chunk_sender_emit(void *sender, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *name,
                         struct vb_error *err);
/* Asks whether the requester has these chunks; waits for the answer. n at most VB_SENDER_BATCH_CHUNKS. */
int vb_chunk_sender_ask(struct vb_chunk_sender *s, enum vb_chunk_type type, const struct vb_name *names, size_t n,
                        bool *present, struct vb_error *err);
/* Takes in what has arrived, without waiting. */
int vb_chunk_sender_poll(struct vb_chunk_sender *s, struct vb_error *err);
/* Sends another message in between. */
int vb_chunk_sender_send(struct vb_chunk_sender *s, const struct vb_msg *m, struct vb_error *err);
/* Everything offered, answered and sent; then DATA_END and its DATA_OK. */
int vb_chunk_sender_finish(struct vb_chunk_sender *s, struct vb_error *err);
/* The stream has failed: nothing more can be done with it. */
bool vb_chunk_sender_broken(const struct vb_chunk_sender *s);

#endif
