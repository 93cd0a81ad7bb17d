/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/expect.h - GOOD and BAD calls of host.h on the host H of the test program.
 */
#ifndef VB_TESTS_CONTRACT_EXPECT_H
#define VB_TESTS_CONTRACT_EXPECT_H

#include "tests/cm.h"
#include "tests/contract/host.h"

#define GOOD(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != 0)                                                                                               \
            fail_msg("%s: %s", #call, vb_error_text(&H.error));                                                        \
    } while (0)
#define BAD(call, want, part)                                                                                          \
    do {                                                                                                               \
        if ((call) == 0)                                                                                               \
            fail_msg("%s did not fail", #call);                                                                        \
        if (H.error.code != (want))                                                                                    \
            fail_msg("%s: %s '%s', wanted %s", #call, vb_code_name(H.error.code), vb_error_text(&H.error),             \
                     vb_code_name(want));                                                                              \
        assert_contains(vb_error_text(&H.error), (part));                                                              \
    } while (0)

#endif
