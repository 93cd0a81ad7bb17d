/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/retention.h - which backups a policy keeps: a pure function.
 *
 * Backups are looked at per set (what was backed up, of which hosts), from the newest to the oldest by their sequence
 * number: the order in which the requester received them.  Its wall clock only says into which hour, day, week, month or
 * year a backup falls, and is taken not to run backwards, so that a clock that was set wrong for a while, ahead or
 * behind, spoils little: what is kept under either correction is kept.
 *
 * A rule "keep daily 7" keeps the newest usable backup of each of the last 7 days that have one; likewise the others.
 * A failed backup is nothing that could be restored: it takes nobody's place, and is kept while it is newer than all
 * usable ones of its set, as a record of what happened.
 */
#ifndef VB_STORE_RETENTION_H
#define VB_STORE_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum vb_retention_rule {
    VB_KEEP_LAST,
    VB_KEEP_HOURLY,
    VB_KEEP_DAILY,
    VB_KEEP_WEEKLY, /* from Monday */
    VB_KEEP_MONTHLY,
    VB_KEEP_YEARLY,
    VB_KEEP_RULES
};
const char *vb_retention_rule_name(enum vb_retention_rule rule); /* "last", "hourly" ... */

struct vb_retention_policy {
    uint32_t keep[VB_KEEP_RULES];
};

struct vb_retention_item {
    uint64_t sequence;
    uint64_t time_ms; /* UTC */
    const char *set;  /* compared as text */
    bool usable;      /* not failed */
    /* results */
    bool kept;
    unsigned reasons; /* bit for each rule that keeps it */
};

/* Fills kept and reasons; items in any order, sequence numbers differ.  A policy that keeps nothing is refused
 * (VB_E_USAGE): it is more likely a mistake than meant. */
int vb_retention_apply(const struct vb_retention_policy *p, struct vb_retention_item *items, size_t n,
                       struct vb_error *err);

#endif
