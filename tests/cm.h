/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/cm.h - what every cmocka program needs.  Include it after <config.h>.
 *
 *     static void buf_grows(void **state) { (void)state; ... }
 *     int main(void) { const struct CMUnitTest t[] = { cmocka_unit_test(buf_grows) }; return CM_RUN("buf", t); }
 */
#ifndef VB_TESTS_CM_H
#define VB_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Valgrind 3.19 knows no pidfd, and makes every time limit meaningless. */
static inline bool cm_on_valgrind(void)
{
    return getenv("VB_VALGRIND") != NULL;
}

/* Ends the test as skipped; the reason is shown at the end of scripts/test. */
#define CM_SKIP(reason)                                                                     \
    do {                                                                                    \
        printf("# skip: %s\n", (reason));                                                   \
        skip();                                                                             \
    } while (0)

#define CM_RUN(name, tests) cmocka_run_group_tests_name(name, tests, NULL, NULL)
/* A test whose name says more than a C identifier can: CM_TEST("VSS-D-43 ...", fn). */
#define CM_TEST(text, fn) { text, fn, NULL, NULL, NULL }
#define assert_contains(haystack, needle)                                                   \
    do {                                                                                    \
        const char *cm_h = (haystack);                                                      \
        if (!cm_h || !strstr(cm_h, (needle))) {                                             \
            fail_msg("'%s' does not contain '%s'", cm_h ? cm_h : "(null)", (needle));        \
        }                                                                                   \
    } while (0)
/* For a call with a struct vb_error err in scope: 0 expected. */
#define assert_ok(call)                                                                     \
    do {                                                                                    \
        if ((call) != 0) {                                                                  \
            fail_msg("%s: %s", #call, vb_error_text(&err));                                 \
        }                                                                                   \
    } while (0)

#endif
