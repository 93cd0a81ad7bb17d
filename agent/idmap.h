/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/idmap.h - a hash table from a pair of numbers (device and inode, or a link group) to a pointer.
 */
#ifndef VB_AGENT_IDMAP_H
#define VB_AGENT_IDMAP_H

#include <stddef.h>
#include <stdint.h>

struct vb_idmap_slot {
    uint64_t a, b;
    void *value; /* NULL: free slot */
};
struct vb_idmap {
    struct vb_idmap_slot *slots;
    size_t n, cap;
};
#define VB_IDMAP_INIT { NULL, 0, 0 }

void *vb_idmap_get(const struct vb_idmap *m, uint64_t a, uint64_t b);
/* Sets or replaces; value must not be NULL. */
void vb_idmap_set(struct vb_idmap *m, uint64_t a, uint64_t b, void *value);
/* Calls fn (may be NULL) for every value, and empties the table. */
void vb_idmap_clear(struct vb_idmap *m, void (*fn)(void *value));

#endif
