/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/rng.c - xoshiro256**, seeded by splitmix64: the same seed gives the same run on every machine. */
#include <config.h>
#include "base/rng.h"

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void vb_rng_seed(struct vb_rng *r, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        r->s[i] = splitmix(&seed);
    }
}

static uint64_t rotl(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

uint64_t vb_rng_next(struct vb_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t vb_rng_below(struct vb_rng *r, uint64_t n)
{
    if (n < 2) {
        return 0;
    }
    uint64_t min = (UINT64_MAX - n + 1) % n; /* draws below it would favour small results */
    uint64_t v;
    do {
        v = vb_rng_next(r);
    } while (v < min);
    return v % n;
}

bool vb_rng_chance(struct vb_rng *r, unsigned per_mille)
{
    return vb_rng_below(r, 1000) < per_mille;
}
