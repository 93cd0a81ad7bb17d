/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/base/test_base64.c - bytes as text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/base64.h"
#include "base/mem.h"
#include "base/rng.h"

static void vectors(void **state VB_UNUSED)
{
    static const char *const rows[][2] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},        {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};

    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        VB_AUTO_FREE char *t = vb_base64_encode(rows[i][0], strlen(rows[i][0]));
        VB_AUTO_BUF b = VB_BUF_INIT;
        assert_string_equal(t, rows[i][1]);
        assert_true(vb_base64_decode(t, strlen(t), &b));
        assert_string_equal(vb_buf_str(&b), rows[i][0]);
    }
}

static void round_trips(void **state VB_UNUSED)
{
    struct vb_rng r;

    vb_rng_seed(&r, 1);
    for (size_t n = 0; n < 300; n++) {
        unsigned char bytes[300];
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)vb_rng_next(&r);
        VB_AUTO_FREE char *t = vb_base64_encode(bytes, n);
        VB_AUTO_BUF b = VB_BUF_INIT;
        assert_int_equal(strlen(t), (n + 2) / 3 * 4);
        assert_true(vb_base64_decode(t, strlen(t), &b));
        assert_int_equal(b.len, n);
        if (n)
            assert_memory_equal(b.data, bytes, n);
    }
}

static void refused(void **state VB_UNUSED)
{
    /* other characters, wrong padding, something behind it, bits that no value has */
    static const char *const bad[] = {"Zg", "Zg=", "Zg===", "Z", "=", "====", "Zm8=Zg==", "Zg==x", "Zm-v", "Zh==", "Zm9=", "Zm9v="};

    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        VB_AUTO_BUF b = VB_BUF_INIT;
        vb_buf_add_str(&b, "kept");
        if (vb_base64_decode(bad[i], strlen(bad[i]), &b))
            fail_msg("'%s' was taken", bad[i]);
        assert_string_equal(vb_buf_str(&b), "kept");
    }
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_true(vb_base64_decode(" Zm\n9v\tYg = =\r\n", 15, &b));
    assert_string_equal(vb_buf_str(&b), "foob");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"vectors of RFC 4648", vectors, NULL, NULL, NULL},
        {"any bytes make the round trip", round_trips, NULL, NULL, NULL},
        {"what is not base64 is refused and adds nothing", refused, NULL, NULL, NULL},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
