/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_open.h - which files of a volume are open for writing, or mapped, by anybody.
 *
 * A store through a mapping, and a write by the old asynchronous interface, tell fanotify nothing: only the end of the
 * file's use does.  So every file whose use has not ended is one that may have changed.  All processes are looked at, as
 * are loop devices; where something hides its open files (a file system stacked on the volume, descriptors on their way
 * through a socket, files known to an io_uring only, another PID namespace) it is said, and the journal is not used.
 */
#ifndef VB_TRACKING_JOURNAL_OPEN_H
#define VB_TRACKING_JOURNAL_OPEN_H

#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

/* path: a name that the file may have; "" if none is known. */
typedef void vb_journal_open_fn(void *arg, uint64_t ino, const char *path);

/* st_dev: device of the volume's files; sb_dev: that of its superblock, as the mount table shows it (btrfs has two).
 * 0: fn was called for each file that is open for writing, and was so at any time since the call began and the events that
 * have come meanwhile do not tell of (some may be told more than once, or in vain).  -1: cannot be known, *why says it. */
int vb_journal_scan_open(dev_t st_dev, dev_t sb_dev, vb_journal_open_fn *fn, void *arg, struct vb_error *why);

#endif
