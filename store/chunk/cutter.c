/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/cutter.c - the gear hash and its two conditions.
 *
 * h = (h << 1) + table[byte]: after 64 bytes nothing of the earlier ones is left, so h is a function of the last
 * 64 bytes.  The conditions look at the highest bits, which depend on all 64.  Hashing starts 64 bytes before the
 * smallest allowed size, so whether a place is a cut depends on its surroundings alone.
 */
#include "config.h"
#include "store/chunk/cutter.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define WINDOW 64u

struct vb_cutter {
    struct vb_cut_params params;
    size_t warm;                /* where in a chunk hashing starts */
    uint64_t mask_hard, mask_easy;
    size_t pos;                 /* bytes of the current chunk */
    uint64_t hash;
    uint64_t table[256];
};

static unsigned log2_of(uint32_t v)
{
    unsigned n = 0;
    while (v > 1) {
        v >>= 1;
        n++;
    }
    return n;
}

/* The table is the first 2048 bytes of HMAC(seed, "gear" i) for i = 0 .. 63, read as big-endian numbers. */
static void fill_table(uint64_t table[256], const uint8_t seed[VB_CHUNK_KEY_LEN])
{
    struct vb_namer *n = vb_namer_new(seed);
    for (unsigned i = 0; i < 64; i++) {
        unsigned char label[5] = { 'g', 'e', 'a', 'r', (unsigned char)i };
        struct vb_name out;
        vb_namer_name(n, VB_CHUNK_DATA, label, sizeof label, &out);
        for (unsigned j = 0; j < 4; j++) {
            uint64_t v = 0;
            for (unsigned k = 0; k < 8; k++)
                v = v << 8 | out.b[8 * j + k];
            table[4 * i + j] = v;
        }
    }
    vb_namer_free(n);
}

struct vb_cutter *vb_cutter_new(const struct vb_cut_params *p, const uint8_t seed[VB_CHUNK_KEY_LEN],
                                struct vb_error *err)
{
    if (p->min < 256 || p->avg < 2 * (uint64_t)p->min || (p->avg & (p->avg - 1)) != 0 ||
        p->max < 2 * (uint64_t)p->avg || p->max > VB_CHUNK_MAX_RAW) {
        vb_fail(err, VB_E_USAGE,
                "chunk sizes %u/%u/%u: the smallest must be 256 or more, the average a power of two and at least "
                "twice that, the largest at least twice the average and at most %zu",
                p->min, p->avg, p->max, VB_CHUNK_MAX_RAW);
        return NULL;
    }
    struct vb_cutter *c = vb_alloc(sizeof *c);
    c->params = *p;
    c->warm = p->min - WINDOW;
    unsigned bits = log2_of(p->avg - p->min);
    c->mask_hard = ~(uint64_t)0 << (64 - (bits + 2));
    c->mask_easy = ~(uint64_t)0 << (64 - (bits - 2));
    fill_table(c->table, seed);
    return c;
}

void vb_cutter_free(struct vb_cutter *c)
{
    if (!c)
        return;
    vb_wipe(c, sizeof *c);
    free(c);
}

void vb_cutter_reset(struct vb_cutter *c)
{
    c->pos = 0;
    c->hash = 0;
}

size_t vb_cutter_pending(const struct vb_cutter *c)
{
    return c->pos;
}

/* Hashes up to position `end` of the chunk or the end of the input; stops after the byte that fulfils mask. */
static size_t scan(struct vb_cutter *c, const unsigned char *p, size_t n, size_t end, uint64_t mask, bool *hit)
{
    size_t room = end - c->pos;
    size_t m = n < room ? n : room;
    uint64_t h = c->hash;
    const uint64_t *table = c->table;
    size_t i = 0;
    while (i < m) {
        h = (h << 1) + table[p[i++]];
        if (!(h & mask)) {
            *hit = true;
            break;
        }
    }
    c->hash = h;
    c->pos += i;
    return i;
}

size_t vb_cutter_feed(struct vb_cutter *c, const void *data, size_t n, bool *boundary)
{
    const unsigned char *p = data;
    size_t i = 0;
    bool hit = false;
    *boundary = false;
    if (c->pos < c->warm) {
        size_t skip = c->warm - c->pos;
        i = n < skip ? n : skip;
        c->pos += i;
    }
    while (i < n && c->pos < c->params.min - 1) {
        c->hash = (c->hash << 1) + c->table[p[i++]];
        c->pos++;
    }
    if (i < n && c->pos < c->params.avg)
        i += scan(c, p + i, n - i, c->params.avg, c->mask_hard, &hit);
    if (!hit && i < n && c->pos >= c->params.avg)
        i += scan(c, p + i, n - i, c->params.max, c->mask_easy, &hit);
    if (hit || c->pos == c->params.max) {
        *boundary = true;
        vb_cutter_reset(c);
    }
    return i;
}
