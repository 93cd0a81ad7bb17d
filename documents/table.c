/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/table.c - a chained hash table from text to numbers.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/mem.h"
#include "documents/table.h"

/* FNV-1a with a salted start and a final mix: the salt keeps a hostile document from choosing colliding names. */
static uint64_t hash(const struct vb_table *t, const char *key)
{
    uint64_t h = 1469598103934665603u ^ t->salt;

    for (const unsigned char *p = (const unsigned char *)key; *p; p++) {
        h = (h ^ *p) * 1099511628211u;
        h ^= h >> 29;
    }
    return h ^ h >> 32;
}

static void rehash(struct vb_table *t, size_t n_buckets)
{
    free(t->buckets);
    t->buckets = vb_alloc_n(n_buckets, sizeof *t->buckets);
    t->n_buckets = n_buckets;
    for (size_t i = 0; i < n_buckets; i++)
        t->buckets[i] = VB_TABLE_NONE;
    for (size_t i = 0; i < t->n; i++) {
        struct vb_table_entry *e = &t->entries[i];
        if (!e->key)
            continue; /* later value of a key: hangs on the first */
        size_t *b = &t->buckets[hash(t, e->key) & (n_buckets - 1)];
        e->next_bucket = *b;
        *b = i;
    }
}

size_t vb_table_find(const struct vb_table *t, const char *key)
{
    if (!t->n_buckets)
        return VB_TABLE_NONE;
    size_t i = t->buckets[hash(t, key) & (t->n_buckets - 1)];
    while (i != VB_TABLE_NONE && strcmp(t->entries[i].key, key) != 0)
        i = t->entries[i].next_bucket;
    return i;
}

/* The head of a chain remembers its last entry in the tail's stead: next_bucket of a non-head entry is unused, so the
 * tail position of a chain is kept there, in the head's second entry. */
void vb_table_add(struct vb_table *t, const char *key, size_t value)
{
    if (!t->n_buckets) {
        if (getrandom(&t->salt, sizeof t->salt, GRND_NONBLOCK) < 0)
            t->salt = (uint64_t)(uintptr_t)t;
        rehash(t, 64);
    } else if (t->n >= t->n_buckets) {
        rehash(t, t->n_buckets * 2);
    }
    size_t head = vb_table_find(t, key);
    VB_GROW(t->entries, t->n, t->cap);
    size_t at = t->n++;
    t->entries[at] = (struct vb_table_entry){NULL, value, VB_TABLE_NONE, VB_TABLE_NONE};
    if (head == VB_TABLE_NONE) {
        size_t *b = &t->buckets[hash(t, key) & (t->n_buckets - 1)];
        t->entries[at].key = vb_strdup(key);
        t->entries[at].next_bucket = *b;
        *b = at;
        return;
    }
    size_t second = t->entries[head].next_same;
    if (second == VB_TABLE_NONE) {
        t->entries[head].next_same = at;
        t->entries[at].next_bucket = at;
        return;
    }
    t->entries[t->entries[second].next_bucket].next_same = at;
    t->entries[second].next_bucket = at;
}

size_t vb_table_next(const struct vb_table *t, size_t pos)
{
    return t->entries[pos].next_same;
}

size_t vb_table_value(const struct vb_table *t, size_t pos)
{
    return t->entries[pos].value;
}

void vb_table_clear(struct vb_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->entries[i].key);
    free(t->entries);
    free(t->buckets);
    memset(t, 0, sizeof *t);
}
