/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/extents.h - which parts of a file are as they were, told by where the file system keeps them.
 *
 * Only btrfs, and only where the look then was at a read-only snapshot.  What is compared and why it proves anything:
 *
 *   1. A file refers to data by extent: an address of the file system, fixed when the data were allocated there.  The snapshot that
 *      was looked at then was made by transaction T, and referred at this place of the file to the extent at address A.
 *   2. The file refers now, at the same place, to the same part of an extent at address A of the same length and coding.
 *   3. The file system's own record of the extent at A says that it was allocated by T or before.  An address is given away
 *      again only by a transaction after the one that freed it, and the snapshot held it at T.  So it is the same extent, whatever
 *      was overwritten, cloned, deduplicated, moved by a balance, freed and allocated in the meantime.
 *   4. An extent is not written to again once a file refers to it as written data, unless a file without copy-on-write does.
 *      Those have no checksums, and files with and without checksums cannot share an extent.  So a file with
 *      checksums has none that was ever written in place.
 *
 * Where one of these does not hold the part counts as changed: files without checksums or copy-on-write, data kept
 * inside of the metadata, other codings than compression.  Holes, and what is allocated but not written, are zeros then and now.
 *
 * The generation in a file's reference proves nothing by itself: a clone keeps the one of its origin, and a balance keeps
 * it while the address changes.  On ext4 and xfs data are overwritten at their address, and addresses prove nothing at all.
 */
#ifndef VB_TRACKING_EXTENTS_H
#define VB_TRACKING_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

enum vb_extent_kind { VB_EXTENT_ZEROS = 0, VB_EXTENT_DATA = 1, VB_EXTENT_OTHER = 2 /* never the same */ };

struct vb_extent {
    uint64_t offset, len;       /* in the file */
    uint64_t address, disk_len; /* of the whole extent */
    uint64_t inside;            /* where in the (decompressed) extent these bytes begin */
    uint8_t kind, compression;
};

/* Zero-initialise. */
struct vb_extents {
    struct vb_extent *v; /* without gaps from 0 to size, or a little further */
    size_t n, cap;
    uint64_t size; /* of the file */
};

struct vb_extent_range {
    uint64_t offset, len;
};
struct vb_extent_ranges {
    struct vb_extent_range *v; /* ascending, apart */
    size_t n, cap;
};

#define VB_EXTENTS_MAX 4000000u

/* The extents of an open file of this inode number and size.  VB_E_NOT_SUPPORTED: nothing can be said about it. */
int vb_extents_read(int fd, uint64_t ino, uint64_t size, struct vb_extents *x, struct vb_error *err);
/* The ranges of the file that hold the same bytes now as then; transaction: the one that made the snapshot of then. */
int vb_extents_same(int fd, const struct vb_extents *then, uint64_t transaction, const struct vb_extents *now,
                    struct vb_extent_ranges *same, struct vb_error *err);
void vb_extents_clear(struct vb_extents *x);
void vb_extent_ranges_clear(struct vb_extent_ranges *r);

/* Step 2 alone: ranges with equal references; address 0 for zeros.  One per pair of extents, not joined. */
struct vb_extent_pair {
    uint64_t offset, len, address, disk_len;
};
struct vb_extent_pairs {
    struct vb_extent_pair *v;
    size_t n, cap;
};
void vb_extents_pair(const struct vb_extents *then, const struct vb_extents *now, struct vb_extent_pairs *out);

void vb_extents_encode(const struct vb_extents *x, struct vb_buf *out);
bool vb_extents_decode(struct vb_reader *r, struct vb_extents *x); /* false: damaged, *x is empty */

#endif
