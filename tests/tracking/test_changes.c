/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The set of changed directories: marks, the way to them, and many of them.
 */
#include "config.h"

#include "tests/cm.h"

#include <string.h>

#include "base/mem.h"
#include "tracking/changes.h"

static void marks_lead_from_the_top(void **state)
{
    (void)state;
    struct vb_changes *c = vb_changes_new();
    assert_int_equal(vb_changes_of(c, ""), VB_CHANGE_CLEAN);
    vb_changes_mark(c, "./a/b");
    assert_int_equal(vb_changes_of(c, "./a/b"), VB_CHANGE_DIRTY);
    assert_int_equal(vb_changes_of(c, "./a"), VB_CHANGE_THROUGH);
    assert_int_equal(vb_changes_of(c, "."), VB_CHANGE_THROUGH);
    assert_int_equal(vb_changes_of(c, ""), VB_CHANGE_THROUGH);
    assert_int_equal(vb_changes_of(c, "./a/b/c"), VB_CHANGE_CLEAN);
    assert_int_equal(vb_changes_of(c, "./ab"), VB_CHANGE_CLEAN);
    vb_changes_mark(c, "./a");
    assert_int_equal(vb_changes_of(c, "./a"), VB_CHANGE_DIRTY);
    vb_changes_mark(c, "./a/b/c");
    assert_int_equal(vb_changes_of(c, "./a/b"), VB_CHANGE_DIRTY);
    assert_int_equal(vb_changes_count(c), 3);
    vb_changes_free(c);
}

static void unknown_is_worst(void **state)
{
    (void)state;
    struct vb_changes *c = vb_changes_new();
    vb_changes_mark(c, "./a");
    vb_changes_mark_unknown(c, "./a");
    vb_changes_mark_unknown(c, "./b/c");
    vb_changes_mark(c, "./b/c");
    assert_int_equal(vb_changes_of(c, "./a"), VB_CHANGE_UNKNOWN);
    assert_int_equal(vb_changes_of(c, "./b/c"), VB_CHANGE_UNKNOWN);
    assert_int_equal(vb_changes_of(c, "./b"), VB_CHANGE_THROUGH);
    assert_int_equal(vb_changes_of(c, ""), VB_CHANGE_THROUGH);
    assert_int_equal(vb_changes_count(c), 2);
    vb_changes_free(c);
}

static void many(void **state)
{
    (void)state;
    struct vb_changes *c = vb_changes_new();
    for (unsigned i = 0; i < 20000; i += 2) {
        VB_AUTO_FREE char *p = vb_printf("./d%u/e%u", i % 100, i);
        vb_changes_mark(c, p);
    }
    for (unsigned i = 0; i < 20000; i++) {
        VB_AUTO_FREE char *p = vb_printf("./d%u/e%u", i % 100, i);
        assert_int_equal(vb_changes_of(c, p), i % 2 ? VB_CHANGE_CLEAN : VB_CHANGE_DIRTY);
    }
    assert_int_equal(vb_changes_count(c), 10000);
    vb_changes_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_lead_from_the_top),
        cmocka_unit_test(unknown_is_worst),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
