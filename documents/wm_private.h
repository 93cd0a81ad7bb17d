/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/wm_private.h - what the reader of writer metadata shares with the builders.
 */
#ifndef VB_DOCUMENTS_WM_PRIVATE_H
#define VB_DOCUMENTS_WM_PRIVATE_H

#include "documents/writer_metadata.h"

/* Checks and appends a file set to component number `component`. A stored document is taken with overlapping sets,
 * because real ones have them; a writer that offers some is refused (check_overlap). */
int vb_wm_put_fileset(struct vb_writer_metadata *m, size_t component, const struct vb_fileset *fs, bool check_overlap,
                      struct vb_error *err);

/* Checks and adds a rule. */
int vb_wm_put_leave_out(struct vb_wm_component *c, const char *rule, struct vb_error *err);

#endif
