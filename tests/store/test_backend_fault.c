/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/store/test_backend_fault.c - without faults the wrapper keeps the contract; with them it fails as told. */
#include <config.h>
#include "tests/cm.h"
#include "tests/store/backend_contract.h"

#include "base/mem.h"

static struct vb_backend *make(void)
{
    return vb_backend_fault_new(vb_backend_memory_new());
}

static struct vb_backend *again(struct vb_backend *first)
{
    return vb_backend_fault_new(vb_backend_memory_share(vb_backend_fault_inner(first)));
}

static int write_n(struct vb_backend *b, unsigned i)
{
    VB_AUTO_FREE char *name = vb_printf("index/%u", i);
    return vb_backend_write(b, name, "x", 1, NULL);
}

static bool has(struct vb_backend *b, unsigned i)
{
    VB_AUTO_FREE char *name = vb_printf("index/%u", i);
    uint64_t size;
    return vb_backend_size(b, name, &size, NULL) == 0;
}

/* Four writes, of which the second is the nth call. */
static void run_mode(enum vb_fault_mode mode, const char *results, const char *there)
{
    struct vb_backend *b = make();
    vb_backend_fault_set(b, mode, 2);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_n(b, i), results[i] == 'y' ? 0 : -1);
    assert_int_equal(vb_backend_fault_calls(b), 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(has(vb_backend_fault_inner(b), i), there[i] == 'y');
    vb_backend_close(b);
}

static void faults_strike_where_they_should(void **state)
{
    (void)state;
    run_mode(VB_FAULT_NONE, "yyyy", "yyyy");
    run_mode(VB_FAULT_IO, "ynyy", "ynyy");
    run_mode(VB_FAULT_NO_SPACE, "ynnn", "ynnn");
    run_mode(VB_FAULT_SHORT_READ, "yyyy", "yyyy");
    run_mode(VB_FAULT_DIE_BEFORE, "ynnn", "ynnn");
    run_mode(VB_FAULT_DIE_AFTER, "ynnn", "yynn");
}

static void short_read_is_damage(void **state)
{
    (void)state;
    struct vb_backend *b = make();
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    write_n(b, 0);
    vb_backend_fault_set(b, VB_FAULT_SHORT_READ, 1);
    assert_int_equal(vb_backend_read(b, "index/0", 0, 1, &out, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
    assert_int_equal(vb_backend_read(b, "index/0", 0, 1, &out, NULL), 0);
    vb_backend_close(b);
}

int main(void)
{
    const struct backend_contract contract = { "backend_fault", make, again, NULL, false, false };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_strike_where_they_should),
        cmocka_unit_test(short_read_is_damage),
    };
    return backend_contract_run(&contract, tests, VB_COUNT(tests));
}
