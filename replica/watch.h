/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/watch.h - which names of a scope's tree change while we look on (inotify).
 *
 * It tells what to look at, never what is there: the scan decides.  Whatever it cannot tell for sure (the kernel's queue
 * overflowed, directories came, went or were renamed, the root was exchanged) makes it say "all", and a full scan follows.
 */
#ifndef VB_REPLICA_WATCH_H
#define VB_REPLICA_WATCH_H

#include "replica/place.h"

struct vb_tree_watch;

/* Watches the root and every directory of the scope below it.  The place may be closed then.  VB_E_LIMIT: more directories
 * than the kernel lets a user watch. */
int vb_tree_watch_open(struct vb_place *p, struct vb_tree_watch **out, struct vb_error *err);
void vb_tree_watch_close(struct vb_tree_watch *w); /* NULL ok */
int vb_tree_watch_fd(const struct vb_tree_watch *w); /* readable: something happened */
/* Takes what there is, without waiting: paths are added (some of them twice), or *all becomes true.  *stale: directories
 * changed; it should be opened anew before the scan. */
int vb_tree_watch_read(struct vb_tree_watch *w, struct vb_strv *paths, bool *all, bool *stale, struct vb_error *err);

#endif
