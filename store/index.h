/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/index.h - which pack holds a chunk.
 *
 * In memory a hash table; on the backend immutable index files "index/<sha-256 of the bytes>", each telling the
 * trailers of some packs of one group once more (without chunks that have their place elsewhere), so that opening a
 * repository reads few files.  The index is a convenience: everything in it can be rebuilt from the packs, and a
 * damaged index file is treated as a missing one.
 *
 *     header    as of every sealed object (store/keys.h), "VBIX", version 2; then sealed as one, bound to the version:
 *     generation(8), that of the repository as its writer knew it
 *     per pack  name(32) size of the file(8) number of chunks(4) salt(32), then each chunk as in the pack's trailer
 *
 * In a repository of format 0: "VBIX", version and 3 zero bytes, nothing sealed, no salts.  Version 1 (0 in format 0) has
 * no generation.
 */
#ifndef VB_STORE_INDEX_H
#define VB_STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/pack.h"

#define VB_INDEX_MAX_FILE ((size_t)256 << 20)

struct vb_index;

struct vb_index_pack {
    struct vb_name name;
    uint64_t size;
    uint32_t group;           /* number of the trust group */
    uint8_t salt[VB_KEY_LEN]; /* of its key */
    uint64_t generation;      /* lowest of the index files that tell of it */
    bool contested; /* index files disagree about it, or one is not of its group: its trailer must settle it */
    bool open;     /* still in memory, has no name yet */
    bool durable;  /* stands in an index file that a barrier has passed */
    bool gone;     /* dropped: its chunks do not count */
};

/* Where a chunk is. */
struct vb_index_hit {
    struct vb_pack_entry entry;
    uint32_t pack;   /* number, for vb_index_pack_at */
    uint32_t number; /* of the chunk: below vb_index_numbers, stays while the index lives */
};

struct vb_index *vb_index_new(void);
void vb_index_free(struct vb_index *x); /* NULL ok */

/* Adds a pack; its number, or the number it has already. */
uint32_t vb_index_add_pack(struct vb_index *x, const struct vb_pack_id *id, bool durable);
size_t vb_index_pack_count(const struct vb_index *x);
struct vb_index_pack *vb_index_pack_at(struct vb_index *x, uint32_t pack);
bool vb_index_find_pack(const struct vb_index *x, const struct vb_name *name, uint32_t *pack);
/* A pack that is being filled, and its name once it is written. */
uint32_t vb_index_open_pack(struct vb_index *x, uint32_t group);
void vb_index_name_pack(struct vb_index *x, uint32_t pack, const struct vb_pack_id *id);

/* Adds a chunk; one that is known in another pack keeps its first place unless that pack is gone. */
void vb_index_add(struct vb_index *x, uint32_t pack, const struct vb_pack_entry *e);
/* Takes a chunk out. */
void vb_index_drop(struct vb_index *x, const struct vb_name *name);
bool vb_index_get(const struct vb_index *x, const struct vb_name *name, struct vb_index_hit *hit);
size_t vb_index_chunk_count(const struct vb_index *x);
size_t vb_index_numbers(const struct vb_index *x); /* one more than the highest number of a chunk */
/* Every chunk, in the order of adding; fn returning non-zero stops and is returned. */
int vb_index_each(const struct vb_index *x, int (*fn)(void *arg, const struct vb_index_hit *hit), void *arg);

/* Appends one index file for packs of that group that are named, not durable and not gone, beginning with pack *next, at
 * most about 32 MiB: 1.  *next is set to where the following file begins; 0 when nothing is left; -1. */
int vb_index_encode_new(const struct vb_index *x, struct vb_keys *k, uint64_t generation, uint32_t group, uint32_t *next,
                        struct vb_buf *out, struct vb_error *err);
/* Whether there is anything for it to encode. */
/* All named packs are to be written (again). */
void vb_index_mark_new(struct vb_index *x);
bool vb_index_has_new(const struct vb_index *x);
/* Marks all named packs as durable. */
void vb_index_mark_durable(struct vb_index *x);
/* Adds what an index file says, all or nothing: bytes that are not what an encoder would write are VB_E_CORRUPT, a file
 * of a group that these keys do not know VB_E_ACCESS_DENIED.  keep (may be NULL: all) decides which packs count; the
 * chunks of others are left out. */
typedef bool vb_index_keep_fn(void *arg, const struct vb_name *pack, uint64_t size);
int vb_index_decode(struct vb_index *x, struct vb_keys *k, const void *p, size_t len, vb_index_keep_fn *keep, void *arg,
                    struct vb_error *err);

#endif
