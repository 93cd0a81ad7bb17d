/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_result.c */
#include <config.h>
#include <stdio.h>
#include "base/mem.h"
#include "vbackup/result.h"
#include "tests/cm.h"

static void every_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    size_t named = 0;
    for (int i = 0; i < 256; i++) {
        const char *name = vb_code_name((enum vb_code)i);
        if (strcmp(name, "UNKNOWN") != 0) {
            assert_int_equal(vb_code_from_name(name), i);
            named++;
        }
    }
    assert_int_equal(named, 1 + 34 + (VB_E_STALE - VB_E_USAGE + 1));
    assert_string_equal(vb_code_name(VB_E_WRITER_TIMEOUT), "WRITER_TIMEOUT");
    assert_int_equal(vb_code_from_name("no such"), VB_E_UNEXPECTED);
    assert_int_equal(vb_code_from_name(NULL), VB_E_UNEXPECTED);
}

static void retry_is_the_column_of_the_rule_book(void **state)
{
    (void)state;
    int n = 0;
    for (int i = 0; i < 256; i++) {
        n += vb_code_retryable((enum vb_code)i) != 0;
    }
    assert_int_equal(n, 8);
    assert_true(vb_code_retryable(VB_E_WRITER_RETRYABLE));
    assert_true(vb_code_retryable(VB_E_SNAPSHOT_SET_IN_PROGRESS));
    assert_false(vb_code_retryable(VB_E_WRITER_NON_RETRYABLE));
    assert_false(vb_code_retryable(VB_E_MAX_SNAPSHOTS));
}

static void exit_of_codes(void **state)
{
    (void)state;
    assert_int_equal(vb_code_exit(VB_OK), VB_EXIT_DONE);
    assert_int_equal(vb_code_exit(VB_E_CONFIG), VB_EXIT_USAGE);
    assert_int_equal(vb_code_exit(VB_E_GUARD), VB_EXIT_GUARD);
    assert_int_equal(vb_code_exit(VB_E_BUSY), VB_EXIT_BUSY);
    assert_int_equal(vb_code_exit(VB_E_STALE), VB_EXIT_STALE);
    assert_int_equal(vb_code_exit(VB_E_AGENT_MISSING), VB_EXIT_PREREQUISITE);
    assert_int_equal(vb_code_exit(VB_E_IO), VB_EXIT_FAILED);
    assert_int_equal(vb_code_exit((enum vb_code)9999), VB_EXIT_FAILED);
}

static void worse_exit_follows_the_order(void **state)
{
    static const enum vb_exit order[] = { 2, 1, 5, 6, 7, 3, 8, 4, 0 };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(order); i++) {
        for (size_t k = i; k < VB_COUNT(order); k++) {
            assert_int_equal(vb_exit_worse(order[i], order[k]), order[i]);
            assert_int_equal(vb_exit_worse(order[k], order[i]), order[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(every_code_has_a_name_of_its_own), cmocka_unit_test(retry_is_the_column_of_the_rule_book),
        cmocka_unit_test(exit_of_codes), cmocka_unit_test(worse_exit_follows_the_order),
    };
    return CM_RUN("result", t);
}
