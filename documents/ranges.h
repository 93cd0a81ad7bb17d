/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/ranges.h - byte ranges of a partial file: the text of R-60 and the file of R-61.
 *
 *     text   "offset:length" pairs joined by commas, decimal or 0x-hex, 64 bit; or "File=PATH", or an absolute PATH (K-10)
 *     file   number of pairs, then offset and length of each, 64 bits little-endian
 */
#ifndef VB_DOCUMENTS_RANGES_H
#define VB_DOCUMENTS_RANGES_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define VB_RANGES_MAX 1000000u
#define VB_RANGES_FILE_MAX (8 + (size_t)16 * VB_RANGES_MAX)

struct vb_range {
    uint64_t offset, len;
};
/* Ascending, none empty, none touching another one's bytes.  Zero-initialise. */
struct vb_ranges {
    struct vb_range *v;
    size_t n, cap;
};
void vb_ranges_clear(struct vb_ranges *r);

/* The path of the ranges file that the text names, borrowed from it; NULL: the ranges stand in the text. */
const char *vb_ranges_path(const char *text);
/* Pairs in any order.  Empty and overlapping ranges, and those that end beyond 2^64, are refused in one line
 * (VB_E_INVALID_XML_DOCUMENT); more than VB_RANGES_MAX are VB_E_LIMIT. */
int vb_ranges_parse(const char *text, struct vb_ranges *out, struct vb_error *err);
int vb_ranges_decode(const void *p, size_t n, struct vb_ranges *out, struct vb_error *err);
/* All of them lie in a file of this size. */
int vb_ranges_check_size(const struct vb_ranges *r, uint64_t size, struct vb_error *err);

#endif
