/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_rng.c */
#include <config.h>
#include "base/rng.h"
#include "tests/cm.h"

static void same_seed_same_run(void **state)
{
    (void)state;
    struct vb_rng a, b, c;
    vb_rng_seed(&a, 42);
    vb_rng_seed(&b, 42);
    vb_rng_seed(&c, 43);
    int same = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t v = vb_rng_next(&a);
        assert_int_equal(v, vb_rng_next(&b));
        same += v == vb_rng_next(&c);
    }
    assert_int_equal(same, 0);
    /* The numbers are part of every recorded seed: xoshiro256** seeded by splitmix64(1). */
    vb_rng_seed(&a, 1);
    assert_int_equal(vb_rng_next(&a), UINT64_C(0xb3f2af6d0fc710c5));
}

static void below_is_even_and_in_range(void **state)
{
    (void)state;
    struct vb_rng r;
    unsigned count[6] = { 0 };
    vb_rng_seed(&r, 7);
    for (int i = 0; i < 60000; i++) {
        uint64_t v = vb_rng_below(&r, 6);
        assert_true(v < 6);
        count[v]++;
    }
    for (int i = 0; i < 6; i++) {
        assert_in_range(count[i], 9500, 10500);
    }
    assert_int_equal(vb_rng_below(&r, 1), 0);
    assert_true(vb_rng_below(&r, UINT64_MAX) < UINT64_MAX);
}

static void chance(void **state)
{
    (void)state;
    struct vb_rng r;
    unsigned hits = 0;
    vb_rng_seed(&r, 9);
    for (int i = 0; i < 10000; i++) {
        assert_false(vb_rng_chance(&r, 0));
        assert_true(vb_rng_chance(&r, 1000));
        hits += vb_rng_chance(&r, 250);
    }
    assert_in_range(hits, 2300, 2700);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(same_seed_same_run), cmocka_unit_test(below_is_even_and_in_range), cmocka_unit_test(chance),
    };
    return CM_RUN("rng", t);
}
