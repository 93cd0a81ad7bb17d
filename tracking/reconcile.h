/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/reconcile.h - what to do with one incoming change: pure decisions of rules DSN-15 to DSN-20.
 */
#ifndef VB_TRACKING_RECONCILE_H
#define VB_TRACKING_RECONCILE_H

#include "tracking/replica.h"

enum vb_decision {
    VB_DECIDE_DROP = 1,     /* known already: nothing to do, and nothing to tell (DSN-16) */
    VB_DECIDE_APPLY = 2,    /* no local row, or the source has seen ours: takes the foreign version as it is (DSN-5) */
    VB_DECIDE_CONVERGE = 3, /* the same on both sides: the row takes the higher version, no file is touched */
    VB_DECIDE_THEIRS = 4,   /* conflict, the incoming one wins: its content under a version minted here (DSN-18) */
    VB_DECIDE_OURS = 5,     /* conflict, the local one wins: the local content under a version minted here */
    VB_DECIDE_DEFER = 6     /* conflict, both sides stay as they are (policy defer) */
};

enum vb_conflict_policy {
    VB_POLICY_BOTH = 0,   /* the order of DSN-19 chooses; the loser stays as a visible copy */
    VB_POLICY_NEWER = 1,  /* the same order; the loser goes to the trash */
    VB_POLICY_SOURCE = 2, /* the incoming one wins */
    VB_POLICY_TARGET = 3, /* the local one wins */
    VB_POLICY_DEFER = 4
};

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
