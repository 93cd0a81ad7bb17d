/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/pass.h - one pass: what the destination does not know goes from one replica of a scope to another.
 *
 * Both ends call their half at the same time, each on its end of a stream (replica/stream.h).  Two-way is two passes.
 * The destination should have been scanned just before: what its scan has not seen yet is looked at before it is
 * overwritten (DSN-6), but what is only there, or gone, would be missed.
 */
#ifndef VB_REPLICA_PASS_H
#define VB_REPLICA_PASS_H

#include "replica/place.h"
#include "replica/stream.h"
#include "tracking/reconcile.h"

#define VB_DELETES_GUARDED 0u        /* the guard of DSN-27 decides */
#define VB_DELETES_ALL UINT64_MAX

/* What is, or with dry_run would be, done at the destination. */
enum vb_action {
    VB_ACT_CREATE = 1, VB_ACT_CHANGE, VB_ACT_ATTRIBUTES, VB_ACT_DELETE, VB_ACT_RENAME, VB_ACT_CONFLICT_OURS, VB_ACT_CONFLICT_THEIRS,
    VB_ACT_COPY, VB_ACT_DEFER, VB_ACT_CONVERGE, VB_ACT_EXTRA, VB_ACT_KEEP_DIR
};
const char *vb_action_word(enum vb_action a); /* "create" ... */

struct vb_bundle_writers;
struct vb_pass_options {
    bool dry_run;          /* decide and tell, touch nothing (T94) */
    bool full;             /* source lists everything; the recovery of a stale destination (MSS-33) */
    bool exact;            /* what the source does not have goes to the trash, what differs becomes its */
    uint64_t allow_deletes;
    int policy;            /* enum vb_conflict_policy; -1: the scope's */
    void (*action)(void *arg, enum vb_action a, const char *path, const char *other); /* destination; may be NULL */
    void (*warn)(void *arg, const struct vb_error *what);                             /* either end; may be NULL */
    void (*progress)(void *arg, uint64_t items, uint64_t bytes);                      /* may be NULL */
    void *arg;
    bool quick;            /* the destination is not scanned first: what is extra or missing there shows the next time */
    const char *peer;      /* what the user calls the other side, for status; NULL: its id */
    const struct vb_bundle_writers *writers; /* of a bundle's end (replica/bundle_writers.h); NULL: it has none here */
};
#define VB_PASS_OPTIONS_INIT { .policy = -1 }

struct vb_pass_result {
    uint64_t created, changed, deleted, renamed, converged, conflicts, copies, deferred;
    uint64_t failed;    /* items that could not be read, sent or applied: they come again */
    uint64_t left_out;  /* filtered, or deletions that are not passed on */
    uint64_t extra;     /* live at the destination only, and kept */
    uint64_t bytes;     /* of contents that travelled */
    uint64_t minted;    /* versions at the destination: resolved conflicts and changes its scan had not seen */
    uint64_t writers;   /* payloads of a bundle that were taken in */
};
/* Whether anything at all was to do. */
bool vb_pass_quiet(const struct vb_pass_result *r);

/* Source.  VB_E_BUSY: locked (REP-37).  The destination's counts come back in *out. */
int vb_pass_send(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, struct vb_pass_result *out,
                 struct vb_error *err);
/* Destination.  VB_E_BUSY locked, VB_E_GUARD too many deletions, VB_E_STALE full enumeration is needed (DSN-25). */
int vb_pass_receive(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, struct vb_pass_result *out,
                    struct vb_error *err);

/* Notes how a pass with a peer (its id in hexadecimal, or NULL: not known) ended; why NULL: well.  Best effort.  vb_pass_send
 * and vb_pass_receive do it themselves; it is for those that did not get that far. */
void vb_pass_note(const struct vb_place *p, enum vb_side side, const struct vb_pass_options *o, const char *peer, const struct vb_pass_result *r,
                  const struct vb_error *why);

/* ---- what replica/send.c and replica/bundle.c share ---- */

/* A bundle: written for a peer that knows `known` at least, read by nobody now. */
struct vb_bundle_to {
    const struct vb_knowledge *known;
    uint64_t number;       /* in the series for this addressee, from 1; 0: none */
};
int vb_pass_write(struct vb_place *p, struct vb_rstream *s, const struct vb_bundle_to *to, const struct vb_pass_options *o,
                  struct vb_pass_result *out, struct vb_error *err);

void vb_pass_result_put(struct vb_msg *m, const struct vb_pass_result *r);
void vb_pass_result_get(const struct vb_msg *m, struct vb_pass_result *r);

#endif
