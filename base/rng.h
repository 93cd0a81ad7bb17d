/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/rng.h - a small seeded generator for simulation, property tests and jitter.  Never for keys.
 */
#ifndef VB_BASE_RNG_H
#define VB_BASE_RNG_H
#include <stdbool.h>
#include <stdint.h>
struct vb_rng { uint64_t s[4]; };
void vb_rng_seed(struct vb_rng *r, uint64_t seed);
uint64_t vb_rng_next(struct vb_rng *r);
uint64_t vb_rng_below(struct vb_rng *r, uint64_t n);       /* 0 .. n-1, n > 0 */
bool vb_rng_chance(struct vb_rng *r, unsigned per_mille);  /* true in per_mille of 1000 draws */
#endif
