/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/stream.h - what one replica tells another, as frames (wire/msg.h) over a pipe or in a file.
 *
 * A PASS, source -> destination (the destination's answers are missing in a bundle file, where P stands for its knowledge):
 *     S  BEGIN {VERSION, GUID, REPLICA, OWNERS, INTEGRITY, NUMBER?, BUNDLE?, DATE_MS}; blobs KNOWLEDGE M (the source's), FORGOTTEN F
 *        and, in a bundle, PREREQUISITE P
 *     D  WANTED {EMPTY, FULL}; blob KNOWLEDGE K
 *     S  GONE {PATH...}...  names that the source has deleted, for the guard (DSN-27), then GONE {LAST}
 *     D  GO {}
 *     S  ROWS {ROW...}: live ones first, directories before what they hold; tombstones last
 *     D  NEED {NEED {INDEX, OFFSET, BLOCK?}...}           in a bundle every file's content follows
 *     S  DATA {INDEX, OFFSET, BYTES or ZEROS}..., DATA_END {INDEX, CODE? TEXT?} for each; then ROWS_END {}
 *        For one with BLOCK: BLOCKS {INDEX, SIZE of a block, HASH sums, LAST}...; then, until LAST,
 *        D  NEED {NEED {OFFSET, SIZE}..., LAST?}   S  DATA of those; then DATA_END.
 *     ...
 *     S  END {EXCEPT path..., ROW {PATH, MTIME} of directories..., COUNT: some could not be read}..., until LAST; in a bundle:
 *        the SHA-256 of everything before, DIGEST {HASH}
 *     D  RESULT {counts}; blob KNOWLEDGE of the destination after the pass
 * THE WRITERS' SHARE, between passes, asked by the side whose writers are the source:
 *     EXT_LIST {WRITER {WRITER_NAME, CLASS}...} -> EXT_LIST {WRITER {WRITER_NAME, CALLS}...}: those that are there, too
 *     EXT_CALL {WRITER_NAME, CALL, LIMIT_MS}, and of deserialize: blob -> EXT_DONE {HASH (of a signature)? LOG {KIND, LINE}... CODE? TEXT? HINT?}
 *     in a bundle, behind GONE: EXT {WRITER_NAME, CLASS, HASH?, FLAGS, EXT_SEQ} blob, for each writer; in the BEGIN of an
 *     acknowledgement: WRITER {REPLICA, WRITER_NAME, EXT_SEQ} for each payload that was taken
 * Either side: ERROR {CODE, TEXT, HINT} ends it.
 */
#ifndef VB_REPLICA_STREAM_H
#define VB_REPLICA_STREAM_H

#include "tracking/replica.h"
#include "wire/msg.h"

#define VB_RSTREAM_VERSION 1u
#define VB_RSTREAM_PIECE (256u * 1024)
#define VB_RSTREAM_BLOB_MAX (1ull << 31)

enum vb_rstream_type {
    VB_R_HELLO = 300, VB_R_BEGIN, VB_R_BLOB, VB_R_WANTED, VB_R_GONE, VB_R_GO, VB_R_ROWS, VB_R_NEED, VB_R_DATA, VB_R_DATA_END,
    VB_R_ROWS_END, VB_R_END, VB_R_DIGEST, VB_R_RESULT, VB_R_ERROR, VB_R_PASS, VB_R_BYE, VB_R_BLOCKS,
    VB_R_EXT_LIST = 340, VB_R_EXT_CALL = 341, VB_R_EXT_DONE = 342, VB_R_EXT = 343
};
enum vb_rstream_field {
    VB_RF_VERSION = 1000, VB_RF_GUID, VB_RF_REPLICA, VB_RF_OWNERS, VB_RF_NUMBER, VB_RF_BUNDLE, VB_RF_DATE_MS, VB_RF_KIND, VB_RF_BYTES,
    VB_RF_LAST, VB_RF_EMPTY, VB_RF_FULL, VB_RF_PATH, VB_RF_ROW, VB_RF_NEED, VB_RF_INDEX, VB_RF_OFFSET, VB_RF_ZEROS, VB_RF_HASH,
    VB_RF_SIZE, VB_RF_MTIME, VB_RF_MODE, VB_RF_OWNER, VB_RF_ATTR, VB_RF_CONTENT, VB_RF_CREATED, VB_RF_CHANGED, VB_RF_ORIGIN,
    VB_RF_ORIGIN_MTIME, VB_RF_DELETED, VB_RF_MOVED_TO, VB_RF_BASE, VB_RF_ATTRS, VB_RF_TARGET, VB_RF_DEVICE, VB_RF_COUNT,
    VB_RF_DRY_RUN, VB_RF_ALLOW, VB_RF_DIRECTION, VB_RF_SCOPE, VB_RF_POLICY, VB_RF_EXACT, VB_RF_ACK, VB_RF_BLOCK,
    VB_RF_INTEGRITY, VB_RF_QUICK,
    VB_RF_WRITER = 1200, VB_RF_WRITER_NAME = 1201, VB_RF_CLASS = 1202, VB_RF_CALL = 1203, VB_RF_CALLS = 1204, VB_RF_LIMIT_MS = 1205,
    VB_RF_FLAGS = 1206, VB_RF_EXT_SEQ = 1207, VB_RF_LOG = 1208, VB_RF_LINE = 1209,
    VB_RF_HARD = 1220
};

struct vb_rstream {
    int in, out;            /* -1: there is no such direction (a bundle) */
    struct vb_buf buf;      /* read and not used yet */
    struct vb_buf pending;  /* not written yet: goes out before we wait for an answer, and at the end */
    struct vb_hasher *sum;  /* of all frames sent or received; NULL: not kept */
    const char *peer;       /* for messages; borrowed */
    uint64_t bytes_out, bytes_in;
};
#define VB_RSTREAM_INIT { .in = -1, .out = -1 }
void vb_rstream_clear(struct vb_rstream *s); /* closes */

int vb_rstream_send(struct vb_rstream *s, const struct vb_msg *m, struct vb_error *err);
/* What was sent last leaves the house. */
int vb_rstream_flush(struct vb_rstream *s, struct vb_error *err);
/* The next one.  ERROR of the peer and an early end are errors. */
int vb_rstream_recv(struct vb_rstream *s, struct vb_msg *m, struct vb_error *err);
/* It must be of this type. */
int vb_rstream_expect(struct vb_rstream *s, enum vb_rstream_type type, struct vb_msg *m, struct vb_error *err);
/* Tells the peer why we stop; best effort.  Returns -1. */
int vb_rstream_fail(struct vb_rstream *s, const struct vb_error *why);

int vb_rstream_send_blob(struct vb_rstream *s, const void *p, size_t n, struct vb_error *err);
int vb_rstream_recv_blob(struct vb_rstream *s, struct vb_buf *out, struct vb_error *err);
int vb_rstream_send_knowledge(struct vb_rstream *s, const struct vb_knowledge *k, struct vb_error *err);
struct vb_knowledge *vb_rstream_recv_knowledge(struct vb_rstream *s, struct vb_error *err);

/* One item on its way: the row, and what the row only has hashes of. */
struct vb_row {
    struct vb_item item;   /* strings owned */
    struct vb_buf attrs;
    char *target;          /* of a link */
    char *hard;            /* another name of the same inode, that the destination has or got before; NULL: none */
    uint64_t device;       /* of a special file: type and number, as mknod has them */
    uint32_t type;
};
void vb_row_clear(struct vb_row *r);
void vb_row_put(struct vb_msg *group, const struct vb_row *r);
/* Checks everything: path, kind, versions, hashes against attrs and target.  VB_E_PROTOCOL. */
int vb_row_get(const unsigned char *p, size_t n, struct vb_row *out, struct vb_error *err);

#endif
