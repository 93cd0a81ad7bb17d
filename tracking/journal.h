/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal.h - asking the journal service (vbackup-journal) what changed on a volume, and using it as a source of
 * the change detector.
 *
 * A reader keeps a position: the session of the coverage, and the moment from which on it wants to know.  The service is
 * asked over a socket that only root reaches.  It answers when it has read everything that fanotify had queued, and has
 * looked which files are open for writing; its answer covers everything that was done before it was asked.  If the session
 * is another one by now there is a gap: the reader looks at everything.
 */
#ifndef VB_TRACKING_JOURNAL_H
#define VB_TRACKING_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/error.h"
#include "tracking/changes.h"
#include "tracking/journal_set.h"
#include "tracking/walk.h"

#define VB_JOURNAL_SESSION_LEN 16
#define VB_JOURNAL_SOCKET "/run/vbackup/journal.sock" /* VBACKUP_JOURNAL names another */

/* Kept by the reader as it is, on this host. */
struct vb_journal_position {
    unsigned char session[VB_JOURNAL_SESSION_LEN];
    int64_t since; /* boot time in nanoseconds */
};

struct vb_journal_answer {
    unsigned char session[VB_JOURNAL_SESSION_LEN];
    int64_t start;  /* of the coverage */
    int64_t offset; /* at least the difference between wall clock and boot time at any time since */
    int64_t now;    /* boot time when it was asked */
    bool covered;   /* the records tell all since the position; else why not is in `reason` */
    bool open_known; /* all files that are open for writing are among the records */
    char *reason;
    struct vb_buf records; /* for vb_journal_record_take */
};
void vb_journal_answer_clear(struct vb_journal_answer *a);
/* Position for the next time, given the wall clock before the look began; false: the coverage does not reach so far. */
bool vb_journal_position_at(const struct vb_journal_answer *a, int64_t began, struct vb_journal_position *p);

/* The socket's path; static or from the environment. */
const char *vb_journal_socket(void);
/* st_dev: the device of the files asked about.  since NULL: only how things stand.  again: without looking for open files
 * anew.  -1: there is no service (VB_E_CONNECT), it does not watch the volume, or it is not to be trusted. */
int vb_journal_ask(const char *socket, dev_t st_dev, const struct vb_journal_position *since, bool again,
                   struct vb_journal_answer *a, struct vb_error *err);
/* Text of the service's state, one line each, fields separated by tabs; see vbackup-journal(8). */
int vb_journal_status(const char *socket, struct vb_buf *text, struct vb_error *err);

/* What the detector is to know beside the answer. */
struct vb_journal_source {
    const char *socket;
    int live;  /* the tree's top as it is now, on the volume that the answer is about */
    int tree;  /* what is looked at: the same, or a shadow copy of it with the same inodes */
};
/* Compares with the memory at look_path what an answer that covers names, and marks what differs.  *dirs: how many
 * directories were looked at.  -1: the journal cannot be used, nothing may be believed of *changes. */
int vb_journal_changes(const struct vb_journal_source *src, const struct vb_journal_answer *a, const char *look_path,
                       const struct vb_walk_options *o, struct vb_changes *changes, unsigned long *dirs,
                       struct vb_error *err);
/* The mounts below a directory as one text: fanotify does not tell of these. -1 when they cannot be known. */
int vb_journal_mounts(int fd, struct vb_buf *text, struct vb_error *err);

#endif
