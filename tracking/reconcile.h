/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/reconcile.h - what to do with one incoming change: pure decisions of rules DSN-15 to DSN-20.
 */
#ifndef VB_TRACKING_RECONCILE_H
#define VB_TRACKING_RECONCILE_H

#include "tracking/replica.h"

/* The total order of DSN-19: negative if a loses against b, positive if it wins, 0 only for the same origin and life state.
 * It looks at life and origin only: the same on every replica, at any time. */
int vb_item_order(const struct vb_item *a, const struct vb_item *b);

/* local NULL: there is no row.  own: this replica's knowledge; source: the sender's knowledge, as of the enumeration. */
enum vb_decision vb_reconcile(const struct vb_item *local, const struct vb_item *incoming, const struct vb_knowledge *own,
                              const struct vb_knowledge *source, enum vb_conflict_policy policy);

/* Of two versions of the same content the one that both sides keep (VB_DECIDE_CONVERGE). */
const struct vb_item *vb_converged(const struct vb_item *a, const struct vb_item *b);

/*
 * Name of the copy in which a conflict's loser stays: "name.conflict-TIME-REPLICA-TICK.ext" beside the item, from the
 * loser's origin alone, so that two resolvers make the same copy (DSN-20).  At most 255 bytes in its last element: the
 * name is shortened before it.  A new string.
 */
char *vb_conflict_name(const char *path, const struct vb_origin *loser);

#endif
