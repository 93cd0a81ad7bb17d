/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/idmap.c - a hash table from a pair of numbers to a pointer: open addressing, never more than half full.
 */
#include "config.h"

#include "agent/idmap.h"
#include "base/mem.h"

static size_t place(const struct vb_idmap *m, uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b * 0x9e3779b97f4a7c15u)) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
    size_t i = (size_t)h & (m->cap - 1);
    while (m->slots[i].value && (m->slots[i].a != a || m->slots[i].b != b))
        i = (i + 1) & (m->cap - 1);
    return i;
}

void *vb_idmap_get(const struct vb_idmap *m, uint64_t a, uint64_t b)
{
    return m->cap ? m->slots[place(m, a, b)].value : NULL;
}

static void grow(struct vb_idmap *m)
{
    struct vb_idmap bigger = { NULL, m->n, m->cap ? m->cap * 2 : 64 };
    bigger.slots = vb_alloc_n(bigger.cap, sizeof *bigger.slots);
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            bigger.slots[place(&bigger, m->slots[i].a, m->slots[i].b)] = m->slots[i];
    vb_free_ptr(&m->slots);
    *m = bigger;
}

void vb_idmap_set(struct vb_idmap *m, uint64_t a, uint64_t b, void *value)
{
    if (m->n + 1 > m->cap / 2)
        grow(m);
    struct vb_idmap_slot *s = &m->slots[place(m, a, b)];
    if (!s->value)
        m->n++;
    *s = (struct vb_idmap_slot){ a, b, value };
}

void vb_idmap_clear(struct vb_idmap *m, void (*fn)(void *value))
{
    for (size_t i = 0; fn && i < m->cap; i++)
        if (m->slots[i].value)
            fn(m->slots[i].value);
    vb_free_ptr(&m->slots);
    m->n = m->cap = 0;
}
