/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_scout.h - asks for the contents of files in directories that the writer has not reached yet.
 */
#ifndef VB_AGENT_RESTORE_SCOUT_H
#define VB_AGENT_RESTORE_SCOUT_H

#include "agent/restore_internal.h"

struct vb_rst_scout;

/* Borrows all; directory: the tree of the root's directory. */
struct vb_rst_scout *vb_rst_scout_new(struct vb_restore *r, const struct vb_rst_root *root, const struct vb_name *directory);
void vb_rst_scout_free(struct vb_rst_scout *s); /* NULL ok */
/* Goes on as far as the fetcher takes hints. written: how many entries the writer has passed, in the same order. */
void vb_rst_scout_run(struct vb_rst_scout *s, uint64_t written);

#endif
