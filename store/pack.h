/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/pack.h - pack files: many chunks of one trust group in one immutable file named by the SHA-256 of its bytes.
 *
 *     header    as of every sealed object (store/keys.h), "VBPK"
 *     chunks    the stored bytes of each, sealed with its offset as nonce; bound to type, encoding, sizes and name
 *     trailer   sealed as one, nonce 0xffffffff; each chunk: type(1) encoding(1) zero(2) raw size(4) stored size(4)
 *               offset(4) name(32)
 *     footer    number of chunks(4) crc32 of the sealed trailer(4) version(1) zero(3) "KPBV"
 *
 * All numbers big endian.  Sizes are those before sealing, which adds 16 bytes, or none in a repository without
 * encryption.  The trailer is what the index is made from; a pack explains itself without it.
 *
 * In a repository of format 0 (version 0) the header has 8 bytes, nothing is sealed, and before each chunk's bytes
 * stands a record: what the trailer says of it, with the CRC-32 of the other 44 bytes in the place of the offset.
 */
#ifndef VB_STORE_PACK_H
#define VB_STORE_PACK_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/backend.h"
#include "store/chunk/chunk.h"
#include "store/keys.h"

#define VB_PACK_HEADER0_LEN 8u
#define VB_PACK_RECORD0_LEN 48u /* before the stored bytes */
#define VB_PACK_TRAILER_ENTRY_LEN 48u
#define VB_PACK_FOOTER_LEN 16u
#define VB_PACK_TARGET ((size_t)16 << 20) /* a pack is closed when it has reached this */
#define VB_PACK_META_TARGET ((size_t)4 << 20) /* one of directories and documents */
#define VB_PACK_MAX ((size_t)64 << 20)    /* readers refuse more */

/* One chunk in a pack. */
struct vb_pack_entry {
    struct vb_name name;
    uint8_t type, encoding;
    uint32_t raw_size, stored_size;
    uint32_t offset; /* of the stored bytes */
};

/* A pack in the making, in memory. */
struct vb_pack {
    struct vb_buf bytes;
    struct vb_pack_entry *entries;
    size_t n, cap;
};
void vb_pack_init(struct vb_pack *p, const struct vb_keys *k);
void vb_pack_reset(struct vb_pack *p, const struct vb_keys *k); /* empty again, keeps the memory; a zeroed struct will do */
void vb_pack_clear(struct vb_pack *p);
/* Appends a chunk; e->offset is set. The caller has verified it.  Until the pack is written its stored bytes can be
 * read from p->bytes there. */
void vb_pack_add(struct vb_pack *p, const struct vb_keys *k, struct vb_pack_entry *e, const void *stored);
/* What a written pack is known by. */
struct vb_pack_id {
    struct vb_name name;
    uint64_t size;
    uint32_t group;
    uint8_t salt[VB_KEY_LEN]; /* with the group it gives the key */
};
/* Seals it where it lies, names and writes it to the backend.  A pack of that name that is there already has the same
 * bytes and is fine.  Afterwards its chunks can be read from the backend only; after a failure it is as it was. */
int vb_pack_write(struct vb_pack *p, struct vb_keys *k, uint32_t group, struct vb_backend *b, struct vb_pack_id *id,
                  struct vb_error *err);

/* "packs/ab/abcd..."; caller frees. */
char *vb_pack_path(const struct vb_name *name);
/* The name from such a path; false for anything else. */
bool vb_pack_path_parse(const char *path, struct vb_name *name);

/* The entries of a pack from its trailer only (small reads).  Every entry is checked against the bounds of the file.
 * name and size of *id are given, the rest is set.  Caller frees *entries.  VB_E_ACCESS_DENIED: not with these keys. */
int vb_pack_read_entries(struct vb_backend *b, struct vb_keys *k, struct vb_pack_id *id,
                         struct vb_pack_entry **entries, size_t *n, struct vb_error *err);
/* The same from the whole bytes of a pack, with its name verified (with NULL: not compared, for the fuzz target). */
int vb_pack_parse(const void *p, size_t len, struct vb_keys *k, const struct vb_name *name, struct vb_pack_id *id,
                  struct vb_pack_entry **entries, size_t *n, struct vb_error *err);
/* How many bytes a chunk takes at its offset, and its stored form from them. o: the pack's, with its key. */
size_t vb_pack_span(const struct vb_keys *k, const struct vb_pack_entry *e);
int vb_pack_unseal(struct vb_keys *k, const struct vb_object *o, const struct vb_pack_entry *e, const void *sealed,
                   struct vb_buf *out, struct vb_error *err);

#endif
