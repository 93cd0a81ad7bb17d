/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/scan.h - a tree is compared with its rows: what differs gets a version, what is gone a tombstone.
 */
#ifndef VB_REPLICA_SCAN_H
#define VB_REPLICA_SCAN_H

#include "replica/place.h"

struct vb_scan_result {
    uint64_t items;                          /* that are there */
    uint64_t created, changed, deleted, renamed;
    uint64_t unstable;                       /* changed while they were read: the next time (T49) */
    uint64_t errors;                         /* told through `tell`; nothing below them was taken as deleted (DSN-28) */
    uint64_t left;                           /* of a kind that is not replicated */
    uint64_t bytes;                          /* read */
    int64_t last_change_ns;                  /* latest change of content or inode that was seen, on the file system's clock */
    int64_t now_ns;                          /* that clock at the beginning */
};
struct vb_scan_options {
    void (*tell)(void *arg, const struct vb_error *what); /* a part that could not be read; may be NULL */
    void (*progress)(void *arg, const struct vb_scan_result *so_far); /* may be NULL */
    void *arg;
};

/* Scans all of the scope.  Rows are saved in transactions of a few thousand; one that breaks off leaves what it found, and
 * no tombstones: they come last, and only if the scope has a trusted base (DSN-9).  After a whole scan it has one. */
int vb_scan(struct vb_place *p, const struct vb_scan_options *o, struct vb_scan_result *out, struct vb_error *err);

/* Some paths only, as a scan would: what a watch told of.  Their directories are taken to have rows already. */
int vb_scan_some(struct vb_place *p, const struct vb_strv *paths, struct vb_scan_result *out, struct vb_error *err);
/* Tree integrity: VB_E_UNSTABLE unless nothing changed for the guard time (REP-20).  now_ns: the tree's clock, usually
 * r->now_ns.  *wait_ms (may be NULL): when it would be. */
int vb_scan_quiet(const struct vb_place *p, const struct vb_scan_result *r, int64_t now_ns, int64_t *wait_ms, struct vb_error *err);

/* One path, as a scan would: what is there now against its row (DSN-6).  Needs a transaction.  *row becomes the row as it is
 * then (path NULL: there is none).  VB_E_UNSTABLE if it does not hold still. */
int vb_scan_one(struct vb_place *p, const char *path, const struct timespec *now, struct vb_item *row, struct vb_error *err);

/* The other names of a file, as the last scan met them: the first of them in place->names, and how many there are. */
size_t vb_names_of(struct vb_place *p, uint64_t inode, size_t *first);
void vb_names_unsent(struct vb_place *p); /* a pass begins */
void vb_names_drop_all(struct vb_place *p);

#endif
