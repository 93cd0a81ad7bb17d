/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_extents.h - a large file that changed: which of its chunks are known to be as they were.
 *
 * Of every large file that was read in a btrfs snapshot the memory of the look keeps where its data lay (tracking/extents.h) and
 * its chunks with their sizes.  When it has changed, what the file system says now is compared with that.  A chunk is taken over
 * only if it begins where a chunk of the new content begins, all of its bytes are the same as then, and it did not
 * end merely because the file did: then cutting the new content anew would give the very same chunk.  So what is
 * captured is what a full read would have given, to the byte and to the name.
 *
 * Positions are those in the content: the file without its holes.
 */
#ifndef VB_AGENT_CAPTURE_EXTENTS_H
#define VB_AGENT_CAPTURE_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "base/error.h"
#include "documents/ranges.h"
#include "store/chunk/tree.h"

#define VB_CAP_LARGE ((uint64_t)1 << 20) /* smaller files are simply read */

struct vb_capture;

/* A range of a file that is no hole, and where it lies in the content. */
struct vb_cap_data {
    uint64_t offset, len, position;
};
struct vb_cap_layout {
    struct vb_cap_data *v; /* ascending */
    size_t n, cap;
    uint64_t total; /* bytes of content */
};
void vb_cap_layout_add(struct vb_cap_layout *l, uint64_t offset, uint64_t len);
void vb_cap_layout_clear(struct vb_cap_layout *l);
/* The range that holds this position, which is below the total. */
const struct vb_cap_data *vb_cap_layout_find(const struct vb_cap_layout *l, uint64_t position);

struct vb_cap_plan;

/* NULL: the file is not one of which anything could be remembered.  name: in the directory that is being read. */
struct vb_cap_plan *vb_cap_plan_new(struct vb_capture *c, int fd, const char *name, const struct stat *st);
/* A partial file: what is outside of the ranges, and was there before, is as it was.  *now, empty before, gets where the data are
 * to be taken from.  NULL: nothing is known of it. */
struct vb_cap_plan *vb_cap_plan_partial(struct vb_capture *c, int fd, const char *name, const struct stat *st,
                                        const struct vb_ranges *ranges, struct vb_cap_layout *now);
void vb_cap_plan_free(struct vb_cap_plan *p); /* NULL ok */
/* Compares with what was remembered, if anything was. */
void vb_cap_plan_compare(struct vb_cap_plan *p, const struct vb_cap_layout *now);
/* Something can be taken over. */
bool vb_cap_plan_helps(const struct vb_cap_plan *p);
/* The chunk that begins here, if it is as it was; position is where a chunk of the content begins. NULL: it is to be read. */
const struct vb_ref *vb_cap_plan_take(struct vb_cap_plan *p, uint64_t position);
/* How much to read from here on at once, at most. */
uint64_t vb_cap_plan_step(struct vb_cap_plan *p, uint64_t position);
/* A chunk of the new content, read or taken over, in order. */
void vb_cap_plan_chunk(struct vb_cap_plan *p, const struct vb_name *name, uint64_t size);
/* The file was taken as e: what the next look will want to know is put into the memory. */
void vb_cap_plan_remember(struct vb_cap_plan *p, const struct vb_tree_entry *e);

#endif
