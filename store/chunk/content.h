/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/content.h - the ordered list of chunks that a file or document consists of.
 *
 * Up to 256 chunks stand directly where they are used (level 0).  Longer lists go into LIST chunks, and if
 * these are still more than 256, into LIST chunks of LIST chunks (level 1, 2 ...).  Lists are cut where the
 * names say so, not at a fixed count: an insertion into a large file rewrites one list, not all behind it.
 *
 * Chunk makers emit bytes through a callback: the agent's names, asks and sends; the requester's puts.
 */
#ifndef VB_STORE_CHUNK_CONTENT_H
#define VB_STORE_CHUNK_CONTENT_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/chunk/chunk.h"

#define VB_CONTENT_MAX_DIRECT 256u
#define VB_CONTENT_MAX_LEVEL 6u
#define VB_LIST_MAX_REFS 4096u

struct vb_ref {
    struct vb_name name;
    uint64_t size; /* plaintext bytes of the file or document below this reference, > 0 */
};

struct vb_content {
    uint8_t level;      /* 0: refs name DATA (or DOC) chunks; n: LIST chunks whose own level is n - 1 */
    uint32_t n;         /* <= VB_CONTENT_MAX_DIRECT; 0 for an empty file */
    struct vb_ref *refs;
};

/* Stores one chunk: names it into *name and sees to it that it gets into the repository.  0 or -1. */
typedef int vb_emit_fn(void *arg, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *name,
                       struct vb_error *err);

/* Sum of the sizes; false on overflow. */
bool vb_content_size(const struct vb_content *c, uint64_t *size);
void vb_content_clear(struct vb_content *c); /* frees refs that this struct owns */
void vb_content_copy(struct vb_content *to, const struct vb_content *from); /* deep; *to is overwritten */

/* Gathers references in order and emits LIST chunks as they fill up; memory stays bounded. */
struct vb_content_builder;
struct vb_content_builder *vb_content_builder_new(vb_emit_fn *emit, void *arg);
void vb_content_builder_free(struct vb_content_builder *b); /* NULL ok */
int vb_content_builder_add(struct vb_content_builder *b, const struct vb_name *name, uint64_t size,
                           struct vb_error *err);
/* Fills *out (owned by the caller) and leaves the builder ready for the next file. */
int vb_content_builder_finish(struct vb_content_builder *b, struct vb_content *out, struct vb_error *err);

/* The plaintext of a LIST chunk: version, level, references.  Decoding is strict: wrong version, level, count,
 * zero sizes, overflow and trailing bytes are VB_E_CORRUPT (a higher version VB_E_NEWER_FORMAT).
 * *level and *refs (caller frees) are set on success. */
int vb_list_encode(uint8_t level, const struct vb_ref *refs, size_t n, struct vb_buf *out, struct vb_error *err);
int vb_list_decode(const void *p, size_t len, uint8_t *level, struct vb_ref **refs, size_t *n,
                   struct vb_error *err);

#endif
