/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/bundle.h - a pass as a file: made here, carried by whatever there is, applied there.
 *
 * A bundle says what its receiver must know already (P), what the sender knew when it was made (M), and holds the rows and
 * contents between.  The SHA-256 of everything before stands at its end and is checked before the first file is touched
 * (T82).  Bundles of one series are numbered from 1.  An acknowledgement is a bundle that holds the receiver's knowledge only.
 */
#ifndef VB_REPLICA_BUNDLE_H
#define VB_REPLICA_BUNDLE_H

#include "replica/pass.h"

enum vb_bundle_since {
    VB_SINCE_SENT = 1,  /* what the last bundle of this series did not hold */
    VB_SINCE_ACKED = 2, /* what the last acknowledgement did not know: heals a lost bundle */
    VB_SINCE_NOTHING = 3 /* everything */
};
struct vb_bundle_info {
    char guid[37];
    struct vb_replica_id replica; /* that made it */
    uint64_t number;
    bool ack;
    uint64_t rows, tombstones, bytes; /* of a bundle that was read to its end */
};

/* Writes to fd.  Nothing is remembered as sent before vb_bundle_sent: the caller syncs and renames the file first. */
int vb_bundle_write(struct vb_place *p, int fd, enum vb_bundle_since since, const char *series, const struct vb_pass_options *o,
                    struct vb_pass_result *out, uint64_t *number, struct vb_error *err);
int vb_bundle_sent(struct vb_place *p, const char *series, uint64_t number, struct vb_error *err);
/* Reads all of it from the current position of fd, which is left at its end.  VB_E_CORRUPT: it was damaged or cut. */
int vb_bundle_verify(int fd, struct vb_bundle_info *info, struct vb_error *err);
/* Verified, then applied as a pass; fd must be seekable.  quiet results: it was applied before.  VB_E_PREREQUISITE,
 * VB_E_STALE, VB_E_GUARD as in a pass.  An acknowledgement is noted. */
int vb_bundle_apply(struct vb_place *p, int fd, const struct vb_pass_options *o, struct vb_pass_result *out, struct vb_error *err);
int vb_bundle_ack(struct vb_place *p, int fd, struct vb_error *err);

#endif
