/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/cutter.h - content-defined cutting of a byte stream into chunks.
 *
 * A gear hash over the last 64 bytes decides where a chunk ends, so an insertion moves only the cuts around it.
 * The table of the hash is derived from the repository's secret cutter seed: who sees only the sizes of chunks
 * cannot compare them with those of a file that he knows.  Normalised as FastCDC: a harder condition before the
 * average size and an easier one after it, so that few chunks are very small or cut by force at the maximum.
 *
 * The boundaries depend on the bytes, the parameters and the seed, never on how the bytes were fed.
 */
#ifndef VB_STORE_CHUNK_CUTTER_H
#define VB_STORE_CHUNK_CUTTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "store/chunk/chunk.h"

struct vb_cut_params {
    uint32_t min; /* >= 256 */
    uint32_t avg; /* a power of two, 2 * min <= avg <= max / 2 */
    uint32_t max; /* <= VB_CHUNK_MAX_RAW */
};

/*
 * Presets.  Default: files and streams.  With 64 KiB on average a random 8 KiB write dirties about 64 KiB rather
 * than the 1 to 2 MiB of the usual tools, zstd at level 3 loses little against larger windows, and the index
 * costs 60 bytes of memory per 64 KiB (0.1 %).  Pages: databases whose pages (4 to 16 KiB) change one by one.
 * Both are measured in bench/bench_store.c.
 */
#define VB_CUT_DEFAULT ((struct vb_cut_params){ 16u << 10, 64u << 10, 256u << 10 })
#define VB_CUT_PAGES ((struct vb_cut_params){ 4u << 10, 16u << 10, 64u << 10 })

struct vb_cutter;

/* NULL with VB_E_USAGE when the parameters are out of their bounds.  The seed is copied and wiped when freed. */
struct vb_cutter *vb_cutter_new(const struct vb_cut_params *params, const uint8_t seed[VB_CHUNK_KEY_LEN],
                                struct vb_error *err);
void vb_cutter_free(struct vb_cutter *c); /* NULL ok */

/*
 * Looks at the next n bytes of the stream.  Returns how many of them belong to the current chunk (1 .. n for
 * n > 0) and sets *boundary when the chunk ends with the last of them; the next call begins a new chunk.
 * Without a boundary all n bytes were taken and the chunk goes on.  Nothing is copied: the caller keeps the
 * bytes, for instance in a buffer of `max` bytes or in a mapped file:
 *
 *     while (off < n) {
 *         size_t k = vb_cutter_feed(c, p + off, n - off, &end);
 *         off += k;
 *         if (end) { chunk is p + start .. p + off; start = off; }
 *     }
 *     at the end of the file: if (start < n) the rest is the last chunk; vb_cutter_reset(c);
 */
size_t vb_cutter_feed(struct vb_cutter *c, const void *p, size_t n, bool *boundary);
/* Ends the stream: the next feed begins a new chunk. */
void vb_cutter_reset(struct vb_cutter *c);
/* Bytes of the current, unfinished chunk. */
size_t vb_cutter_pending(const struct vb_cutter *c);

#endif
