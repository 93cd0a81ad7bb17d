/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/pack.h - pack files: many chunks in one immutable file named by the SHA-256 of its bytes.
 *
 *     header    "VBPK" version(1) zero(3)
 *     records   each: type(1) encoding(1) zero(2) raw size(4) stored size(4) crc32 of the 44 bytes(4)
 *               name(32), then the stored bytes
 *     trailer   each record again: type(1) encoding(1) zero(2) raw size(4) stored size(4) offset(4) name(32)
 *     footer    number of records(4) crc32 of the trailer(4) version(1) zero(3) "KPBV"
 *
 * All numbers big endian.  The trailer is what the index is made from; a pack explains itself without it.
 * Sealing (encryption) will be one layer between the stored bytes and the record: see vbackup-repository(5).
 */
#ifndef VB_STORE_PACK_H
#define VB_STORE_PACK_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/backend.h"
#include "store/chunk/chunk.h"

#define VB_PACK_VERSION 0
#define VB_PACK_HEADER_LEN 8u
#define VB_PACK_RECORD_LEN 48u /* before the stored bytes */
#define VB_PACK_TRAILER_ENTRY_LEN 48u
#define VB_PACK_FOOTER_LEN 16u
#define VB_PACK_TARGET ((size_t)16 << 20) /* a pack is closed when it has reached this */
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
void vb_pack_init(struct vb_pack *p);
void vb_pack_reset(struct vb_pack *p); /* empty again, keeps the memory; a zeroed struct will do */
void vb_pack_clear(struct vb_pack *p);
/* Appends a chunk; e->offset is set. The caller has verified it. */
void vb_pack_add(struct vb_pack *p, struct vb_pack_entry *e, const void *stored);
/* Adds trailer and footer, names the pack and writes it to the backend.  A pack of that name that is there
 * already has the same bytes and is fine.  The entries stay readable until vb_pack_clear. */
int vb_pack_write(struct vb_pack *p, struct vb_backend *b, struct vb_name *name, uint64_t *size,
                  struct vb_error *err);

/* "packs/ab/abcd..."; caller frees. */
char *vb_pack_path(const struct vb_name *name);
/* The name from such a path; false for anything else. */
bool vb_pack_path_parse(const char *path, struct vb_name *name);

/* The entries of a pack from its trailer only (two small reads).  Every entry is checked against the bounds of
 * the file.  Caller frees *entries. */
int vb_pack_read_entries(struct vb_backend *b, const struct vb_name *name, uint64_t size,
                         struct vb_pack_entry **entries, size_t *n, struct vb_error *err);
/* The same from the whole bytes of a pack, with everything verified that needs no key: its name, header,
 * records against trailer. The entry point of the fuzz target (with name NULL: not compared). */
int vb_pack_parse(const void *p, size_t len, const struct vb_name *name, struct vb_pack_entry **entries, size_t *n,
                  struct vb_error *err);

#endif
