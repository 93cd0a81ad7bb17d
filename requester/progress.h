/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/progress.h - one line that tells how far a long run is, with rate and time left.
 *
 * Drawn on standard error, only on a terminal; elsewhere, with --verbose, one plain line a minute.  Silent with --quiet;
 * with --json "progress" objects on standard output, at most two a second.
 */
#ifndef VB_REQUESTER_PROGRESS_H
#define VB_REQUESTER_PROGRESS_H

#include <stdint.h>
#include "base/loop.h"
#include "requester/cli.h"

struct vb_progress;

struct vb_progress *vb_progress_new(const struct vb_cli *cli, struct vb_loop *loop, const char *what);
/* Totals so far over all hosts; bytes_total 0: not known (no percentage, no time left).  estimate: the total is only about right. */
void vb_progress_update(struct vb_progress *p, uint64_t files, uint64_t bytes, uint64_t bytes_total, bool estimate);
/* A line of its own above the progress: drawn without tearing it. */
void vb_progress_note(struct vb_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Clears the line and releases. NULL ok. */
void vb_progress_free(struct vb_progress *p);

#endif
