/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/documents/test_ranges.c - byte ranges of partial files. */
#include "config.h"
#include "tests/cm.h"

#include <string.h>

#include "base/mem.h"
#include "documents/ranges.h"

static void vss_r_60_text(void **state)
{
    struct vb_ranges r = { .v = NULL };
    (void)state;
    assert_int_equal(vb_ranges_parse("4096:0x10,0:10", &r, NULL), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.v[0].offset, 0);
    assert_int_equal(r.v[0].len, 10);
    assert_int_equal(r.v[1].offset, 4096);
    assert_int_equal(r.v[1].len, 16);
    assert_int_equal(vb_ranges_check_size(&r, 4112, NULL), 0);
    assert_int_equal(vb_ranges_check_size(&r, 4111, NULL), -1);
    vb_ranges_clear(&r);
}

static void k_10_a_path_with_and_without_prefix(void **state)
{
    (void)state;
    assert_string_equal(vb_ranges_path("File=/a/b"), "/a/b");
    assert_string_equal(vb_ranges_path("/a/b"), "/a/b");
    assert_null(vb_ranges_path("0:5"));
}

static void what_is_refused(void **state)
{
    static const struct { const char *text, *says; } BAD[] = {
        { "0:10,5:10", "overlap" }, { "5:10,0:6", "overlap" }, { "0:0", "empty" }, { "7", "pairs" }, { "0:1,", "pairs" },
        { "18446744073709551615:2", "pairs" }, { "File=/x", "in a file" }, { "", "empty" },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(BAD); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_ranges r = { .v = NULL };
        assert_int_equal(vb_ranges_parse(BAD[i].text, &r, &err), -1);
        assert_non_null(strstr(err.text, BAD[i].says));
        assert_null(strchr(err.text, '\n'));
        assert_null(r.v);
    }
}

static void vss_r_61_file(void **state)
{
    static const unsigned char TWO[] = { 2, 0, 0, 0, 0, 0, 0, 0, 0,    1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0,
                                         0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_ranges r = { .v = NULL };
    (void)state;
    assert_int_equal(vb_ranges_decode(TWO, sizeof TWO, &r, NULL), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.v[0].len, 255);
    assert_int_equal(r.v[1].offset, 256);
    assert_int_equal(r.v[1].len, 16);
    assert_int_equal(vb_ranges_decode(TWO, sizeof TWO - 1, &r, &err), -1);
    assert_non_null(strstr(err.text, "does not fit"));
    assert_null(r.v);
    assert_int_equal(vb_ranges_decode("", 0, &r, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "VSS-R-60 text of ranges", vss_r_60_text, NULL, NULL, NULL },
        { "VSS-K-10 a path with and without prefix", k_10_a_path_with_and_without_prefix, NULL, NULL, NULL },
        { "what is refused", what_is_refused, NULL, NULL, NULL },
        { "VSS-R-61 file of ranges", vss_r_61_file, NULL, NULL, NULL },
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
