/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/store/test_backend_memory.c - memory keeps the contract; its power cuts take what no barrier has passed. */
#include <config.h>
#include "tests/cm.h"
#include "tests/store/backend_contract.h"

#include "base/mem.h"

static void power_cut_takes_only_what_no_barrier_has_passed(void **state)
{
    (void)state;
    unsigned kept = 0, lost = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct vb_backend *b = vb_backend_memory_new();
        uint64_t size;
        vb_backend_write(b, "index/aa", "1", 1, NULL);
        vb_backend_barrier(b, NULL);
        vb_backend_write(b, "index/bb", "2", 1, NULL);
        vb_backend_lock(b, "me", NULL);
        vb_backend_memory_power_cut(b, seed);
        assert_int_equal(vb_backend_size(b, "index/aa", &size, NULL), 0);
        if (vb_backend_size(b, "index/bb", &size, NULL) == 0)
            kept++;
        else
            lost++;
        assert_int_equal(vb_backend_lock(b, "me", NULL), 0);
        vb_backend_close(b);
    }
    assert_true(kept > 5 && lost > 5);
}

static void power_cut_may_bring_back_what_was_removed(void **state)
{
    (void)state;
    unsigned back = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct vb_backend *b = vb_backend_memory_new();
        uint64_t size;
        vb_backend_write(b, "index/aa", "1", 1, NULL);
        vb_backend_barrier(b, NULL);
        vb_backend_remove(b, "index/aa", NULL);
        vb_backend_memory_power_cut(b, seed);
        back += vb_backend_size(b, "index/aa", &size, NULL) == 0;
        vb_backend_close(b);
    }
    assert_in_range(back, 5, 45);
}

static void a_limit_is_a_full_disk(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_backend_memory_set_limit(b, 10);
    assert_ok(vb_backend_write(b, "index/aa", "12345678", 8, &err));
    assert_int_equal(vb_backend_write(b, "index/bb", "123", 3, &err), -1);
    assert_int_equal(err.code, VB_E_NO_SPACE);
    assert_int_equal(vb_backend_remove(b, "index/aa", NULL), 0);
    assert_int_equal(vb_backend_write(b, "index/bb", "123", 3, NULL), 0);
    vb_backend_close(b);
}

int main(void)
{
    const struct backend_contract contract = { "backend_memory", vb_backend_memory_new,
                                               vb_backend_memory_share, NULL, false, false };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut_takes_only_what_no_barrier_has_passed),
        cmocka_unit_test(power_cut_may_bring_back_what_was_removed),
        cmocka_unit_test(a_limit_is_a_full_disk),
    };
    return backend_contract_run(&contract, tests, VB_COUNT(tests));
}
