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
 *
 * Three things go before every rule.  What is held is kept.  A set in which a backup differs suspiciously from those before
 * loses none of them, until somebody has said that it is meant: most files deleted or shrunk, most content new where
 * little used to be, or not to be compressed any more, as after an encryption by a stranger; the good backups would
 * otherwise be pushed out, one by one, by what came of it.  And the times that the holder of a write-only key has told
 * are brought between those at which the trusted side knows to have received the backup (vb_received_bound): else a few
 * backups of one night, dated to as many days, would push out the real ones.
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

enum vb_change {
    VB_CHANGE_NONE,
    VB_CHANGE_FEWER_FILES,   /* less than half */
    VB_CHANGE_FEWER_BYTES,   /* likewise */
    VB_CHANGE_MOSTLY_NEW,    /* more than half of the content is new, and it used to be less than a tenth */
    VB_CHANGE_INCOMPRESSIBLE /* much is new that cannot be compressed, and it used to be possible */
};
const char *vb_change_text(enum vb_change c); /* "less than half of the files are left" */
/* Sets with fewer files or bytes than these before are too small to tell. */
#define VB_CHANGE_MIN_FILES 50u
#define VB_CHANGE_MIN_BYTES ((uint64_t)8 << 20)

struct vb_retention_policy {
    uint32_t keep[VB_KEEP_RULES];
};

struct vb_retention_item {
    uint64_t sequence;
    uint64_t time_ms; /* UTC */
    const char *set;  /* compared as text */
    bool usable;      /* not failed */
    bool held;
    bool normal;      /* however it differs from those before, that is meant */
    const char *type; /* only backups of the same type are compared with one another; NULL: one type */
    uint64_t files, bytes, added_raw, added_stored; /* what it holds, and what of it was new: before and after compression */
    /* results */
    bool kept;
    unsigned reasons; /* bit for each rule that keeps it */
    enum vb_change change; /* how it differs from those before, unless that is meant */
    bool paused;      /* kept for nothing but a change in its set */
};

/* Fills kept and reasons; items in any order, sequence numbers differ.  A policy that keeps nothing is refused
 * (VB_E_USAGE): it is more likely a mistake than meant. */
int vb_retention_apply(const struct vb_retention_policy *p, struct vb_retention_item *items, size_t n,
                       struct vb_error *err);

/* ---- when what was received ---- */

/* Said by the trusted side each time it applies a policy: all records of the ledger up to that number were there then. */
struct vb_received {
    uint64_t number, wall_ms;
};
/* Sorted by number; the time does not run backwards: a later one that is earlier refutes those before it.  *n shrinks to
 * what bounds something: numbers[] (sorted) are those of the backups there are; NULL: not known. */
void vb_received_tidy(struct vb_received *v, size_t *n, const uint64_t *numbers, size_t count);
/* The time told, brought between the two moments that enclose the backup; now_ms is the later one for the newest. */
uint64_t vb_received_bound(const struct vb_received *v, size_t n, uint64_t number, uint64_t told_ms, uint64_t now_ms);

#endif
