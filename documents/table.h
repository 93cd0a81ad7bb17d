/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/table.h - text key to a chain of numbers: the index behind look-ups that must stay near-linear.
 *
 * Numbers added under one key are handed out in the order they were added.
 */
#ifndef VB_DOCUMENTS_TABLE_H
#define VB_DOCUMENTS_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct vb_table_entry { char *key; size_t value; size_t next_bucket, next_same; };
struct vb_table {
    struct vb_table_entry *entries; size_t n, cap;
    size_t *buckets, n_buckets;
    uint64_t salt; /* keys come from outside: a fixed hash could be flooded */
};
#define VB_TABLE_NONE SIZE_MAX

void vb_table_add(struct vb_table *t, const char *key, size_t value); /* key is copied */
/* Position of the first entry of the key, or VB_TABLE_NONE; go on with vb_table_next; read with vb_table_value. */
size_t vb_table_find(const struct vb_table *t, const char *key);
size_t vb_table_next(const struct vb_table *t, size_t pos);
size_t vb_table_value(const struct vb_table *t, size_t pos);
void vb_table_clear(struct vb_table *t);

#endif
