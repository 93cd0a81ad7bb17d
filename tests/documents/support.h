/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/support.h - what the tests of documents share.
 */
#ifndef VB_TESTS_DOCUMENTS_SUPPORT_H
#define VB_TESTS_DOCUMENTS_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

/* The grammars and the fixtures of the source tree, unless the environment names others. */
#define USE_SOURCE_SCHEMA() setenv("VBACKUP_SCHEMA_DIR", VB_TEST_SRCDIR "/documents/schema", 0)
#define FIXTURES VB_TEST_SRCDIR "/tests/documents"
#define TEST(name, fn) {name, fn, NULL, NULL, NULL}

#define ID(n) "0000000" #n "-aaaa-4bbb-8ccc-dddddddddddd"
#define INSTANCE "11111111-2222-4333-8444-555555555555"

/* Whole file; fails the test if it cannot be read. */
static inline void read_fixture(const char *path, struct vb_buf *b)
{
    char chunk[65536];
    size_t n;
    FILE *f = fopen(path, "rb");

    if (!f)
        fail_msg("cannot open %s", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        vb_buf_add(b, chunk, n);
    fclose(f);
}

#define assert_ok(call, err)                                     \
    do {                                                         \
        if ((call) < 0)                                          \
            fail_msg("%s: %s", #call, vb_error_text(&(err)));    \
    } while (0)
/* The call fails with this code, and its text holds `part`. */
#define assert_fails(call, err, want, part)                                                                    \
    do {                                                                                                       \
        vb_error_clear(&(err));                                                                                \
        if ((call) >= 0)                                                                                       \
            fail_msg("%s did not fail", #call);                                                                \
        if ((err).code != (want) || !strstr(vb_error_text(&(err)), (part)))                                    \
            fail_msg("%s: got %s '%s', wanted %s '...%s...'", #call, vb_code_name((err).code),                 \
                     vb_error_text(&(err)), vb_code_name(want), (part));                                       \
        vb_error_clear(&(err));                                                                                \
    } while (0)

#endif
