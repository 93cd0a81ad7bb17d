/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/chunk.h - what a chunk is: a typed piece of plaintext with a keyed name.
 *
 * Everything the repository keeps is a chunk: pieces of files, directories, lists of chunks, documents.
 * Its name is HMAC-SHA-256, keyed by the repository's naming key, over one type byte and the plaintext.
 * So equal content has one name and is stored once, the name verifies the content, a directory can never
 * be passed off as file data, and nobody without the key can tell from a name what it names.
 *
 * Pure: bytes in, bytes out, no files, no clock.  The agent links this and nothing else of the store.
 *
 * The way of a piece of data:   vb_cutter_feed (store/chunk/cutter.h)  ->  vb_namer_name  ->  asked for?
 * ->  vb_codec_compress  ->  (wire)  ->  vb_repo_put, which decompresses and names again before it counts.
 */
#ifndef VB_STORE_CHUNK_CHUNK_H
#define VB_STORE_CHUNK_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

#define VB_NAME_LEN 32
#define VB_NAME_HEX_LEN 64
#define VB_CHUNK_KEY_LEN 32               /* naming key and cutter seed */
#define VB_CHUNK_MAX_RAW ((size_t)8 << 20) /* no chunk's plaintext is larger; readers refuse more */

struct vb_name {
    uint8_t b[VB_NAME_LEN];
};

/* The type byte: part of the name, of the pack record and of the wire message.  Only ever appended. */
enum vb_chunk_type {
    VB_CHUNK_DATA = 1, /* a piece of a file */
    VB_CHUNK_TREE = 2, /* a directory, or a part of a large one (store/chunk/tree.h) */
    VB_CHUNK_LIST = 3, /* a list of DATA, DOC or deeper LIST chunks (store/chunk/content.h) */
    VB_CHUNK_DOC = 4   /* a piece of a document kept beside a backup */
};
bool vb_chunk_type_valid(unsigned type);
const char *vb_chunk_type_name(unsigned type); /* "data", "tree", "list", "doc", "unknown"; static */

/* How the bytes are stored.  Part of the pack record and of the wire message. */
enum vb_chunk_encoding {
    VB_ENC_RAW = 0, /* as they are: compression would not pay */
    VB_ENC_ZSTD = 1 /* one zstd frame */
};

bool vb_name_equal(const struct vb_name *a, const struct vb_name *b);
int vb_name_compare(const struct vb_name *a, const struct vb_name *b); /* as memcmp */
void vb_name_hex(const struct vb_name *n, char out[VB_NAME_HEX_LEN + 1]); /* lower case */
bool vb_name_parse(const char *hex, struct vb_name *n);   /* exactly 64 lower-case hex digits */

/* Plain SHA-256, for files whose name is the hash of their bytes (packs, index files, catalog entries). */
void vb_sha256(const void *p, size_t n, struct vb_name *out);

/* A keyed namer; holds a copy of the key, wiped when freed.  Not to be shared between threads. */
struct vb_namer;
struct vb_namer *vb_namer_new(const uint8_t key[VB_CHUNK_KEY_LEN]);
void vb_namer_free(struct vb_namer *n); /* NULL ok */
void vb_namer_name(struct vb_namer *n, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *out);

/* A compressor and decompressor with their work memory.  Not to be shared between threads.
 * level: zstd level, 1 to 19; 0 stores everything raw. */
struct vb_codec;
struct vb_codec *vb_codec_new(int level);
void vb_codec_free(struct vb_codec *c); /* NULL ok */

/* Appends the stored form of p to out and sets *encoding.  Data that zstd cannot shrink by at least 1/32 is
 * appended as it is (VB_ENC_RAW), so that the stored form is never larger than the plaintext.
 * Fails only when len is 0 or above VB_CHUNK_MAX_RAW (VB_E_LIMIT). */
int vb_codec_compress(struct vb_codec *c, const void *p, size_t len, struct vb_buf *out, uint8_t *encoding,
                      struct vb_error *err);

/* Appends the plaintext, which must be exactly raw_size bytes, to out.  The stored bytes are foreign: never more
 * than raw_size bytes are produced, exactly one frame is accepted, anything else is VB_E_CORRUPT and leaves out
 * as it was. */
int vb_codec_decompress(struct vb_codec *c, uint8_t encoding, const void *p, size_t len, size_t raw_size,
                        struct vb_buf *out, struct vb_error *err);

/* Whether the stored form decompresses to exactly these bytes (VB_E_CORRUPT). */
int vb_codec_check(struct vb_codec *c, uint8_t encoding, const void *stored, size_t len, const void *p, size_t raw_size,
                   struct vb_error *err);

#endif
