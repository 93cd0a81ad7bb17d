/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_volume.h - the service's side of one volume: a fanotify mark on its superblock, and what came from it.
 *
 * A coverage begins when the mark is set and ends with the first thing that could have been missed: the queue ran over,
 * the mark is gone (the volume was unmounted), an event could not be read.  Each has a random name of its own, the session;
 * what was seen in another session says nothing any more.
 */
#ifndef VB_TRACKING_JOURNAL_VOLUME_H
#define VB_TRACKING_JOURNAL_VOLUME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/error.h"
#include "tracking/journal_set.h"

#define VB_JOURNAL_SESSION_LEN 16

struct vb_journal_volume {
    char *path;      /* of the mount point, or a directory on the volume */
    dev_t st_dev;    /* of its files */
    dev_t sb_dev;    /* of its superblock */
    int fan;         /* -1: not watched; *trouble says why */
    struct vb_error trouble;
    unsigned char session[VB_JOURNAL_SESSION_LEN];
    int64_t start;   /* boot time at which the coverage began, or to which it was cut for want of room */
    int64_t offset;  /* largest difference between wall clock and boot time that was seen */
    char *gap;       /* why it did not begin earlier */
    uint64_t gap_wall_ms;
    struct vb_journal_set *set;
    struct vb_journal_set *relinked[2]; /* files whose link count changed lately: now, and the generation before */
    uint64_t events, gaps;
};

struct vb_journal_volume *vb_journal_volume_new(const char *path, size_t max);
void vb_journal_volume_free(struct vb_journal_volume *v);
/* Begins a coverage if there is none.  false: it cannot be watched, v->trouble says why. */
bool vb_journal_volume_watch(struct vb_journal_volume *v, const char *why_gap);
/* Reads what is queued when it is called. */
void vb_journal_volume_drain(struct vb_journal_volume *v);
/* The mark stands and belongs to what is mounted there now; else a new coverage is begun. */
bool vb_journal_volume_check(struct vb_journal_volume *v);
/* Takes bytes as they are read from fanotify; false: they make no sense, or the queue ran over. */
bool vb_journal_volume_take(struct vb_journal_volume *v, const void *events, size_t n, int64_t now);

int64_t vb_journal_boot_ns(void);

#endif
