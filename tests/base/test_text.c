/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_text.c */
#include <config.h>
#include "base/mem.h"
#include "base/text.h"
#include "tests/cm.h"

static void guids(void **state)
{
    (void)state;
    char a[VB_GUID_LEN + 1], b[VB_GUID_LEN + 1];
    vb_guid_new(a);
    vb_guid_new(b);
    assert_true(vb_guid_valid(a));
    assert_int_equal(strlen(a), VB_GUID_LEN);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    assert_string_not_equal(a, b);
    static const char *const bad[] = {
        "", "x", "{0a1b2c3d-0000-4000-8000-00000000000}", "0a1b2c3d-0000-4000-8000-0000000000000",
        "0a1b2c3d00000-4000-8000-000000000000", "0a1b2c3g-0000-4000-8000-000000000000",
        "0a1b2c3d-0000-4000-8000-00000000000-",
    };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        assert_false(vb_guid_valid(bad[i]));
    }
    assert_false(vb_guid_valid(NULL));
}

static void vss_a_18_guids_compare_without_case(void **state)
{
    (void)state;
    assert_true(vb_guid_valid("0A1B2C3D-0000-4000-8000-00000000ABCD"));
    assert_true(vb_guid_equal("0A1B2C3D-0000-4000-8000-00000000ABCD", "0a1b2c3d-0000-4000-8000-00000000abcd"));
    assert_false(vb_guid_equal("0A1B2C3D-0000-4000-8000-00000000ABCD", "0a1b2c3d-0000-4000-8000-00000000abce"));
    assert_true(vb_guid_equal(NULL, NULL));
    assert_false(vb_guid_equal("x", NULL));
}

struct number_row {
    const char *text;
    bool good;
    uint64_t value;
};

static void check_numbers(const struct number_row *rows, size_t n, bool (*parse)(const char *, uint64_t *))
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 12345;
        if (parse(rows[i].text, &v) != rows[i].good || (rows[i].good && v != rows[i].value)) {
            fail_msg("'%s': got %llu", rows[i].text, (unsigned long long)v);
        }
    }
    assert_false(parse(NULL, NULL));
}

static void numbers(void **state)
{
    static const struct number_row rows[] = {
        { "0", true, 0 }, { "42", true, 42 }, { "007", true, 7 }, { "18446744073709551615", true, UINT64_MAX },
        { "18446744073709551616", false, 0 }, { "99999999999999999999999", false, 0 }, { "0x0", true, 0 },
        { "0xff", true, 255 }, { "0XFf", true, 255 }, { "0xffffffffffffffff", true, UINT64_MAX },
        { "0x10000000000000000", false, 0 }, { "0x", false, 0 }, { "0xg", false, 0 }, { "", false, 0 },
        { "-1", false, 0 }, { "+1", false, 0 }, { " 1", false, 0 }, { "1 ", false, 0 }, { "1x", false, 0 },
        { "1.5", false, 0 },
    };
    (void)state;
    check_numbers(rows, VB_COUNT(rows), vb_parse_u64);
    uint32_t v = 9;
    assert_true(vb_parse_u32("4294967295", &v));
    assert_int_equal(v, UINT32_MAX);
    assert_false(vb_parse_u32("4294967296", &v));
    assert_int_equal(v, UINT32_MAX);
}

static void durations(void **state)
{
    static const struct number_row rows[] = {
        { "90", true, 90000 }, { "90s", true, 90000 }, { "5m", true, 300000 }, { "2h", true, 7200000 },
        { "1d", true, 86400000 }, { "250ms", true, 250 }, { "0", true, 0 }, { "", false, 0 }, { "s", false, 0 },
        { "5 m", false, 0 }, { "5min", false, 0 }, { "-5m", false, 0 }, { "1.5h", false, 0 }, { "5M", false, 0 },
        { "18446744073709551615ms", true, UINT64_MAX }, { "18446744073709551615", false, 0 },
        { "213503982335d", false, 0 }, { "213503982334d", true, UINT64_C(213503982334) * 86400000 },
    };
    (void)state;
    check_numbers(rows, VB_COUNT(rows), vb_parse_duration_ms);
}

static void sizes(void **state)
{
    static const struct number_row rows[] = {
        { "4096", true, 4096 }, { "64K", true, 65536 }, { "1M", true, 1 << 20 }, { "2G", true, UINT64_C(2) << 30 },
        { "1T", true, UINT64_C(1) << 40 }, { "1k", false, 0 }, { "1KB", false, 0 }, { "K", false, 0 },
        { "", false, 0 }, { "1 K", false, 0 }, { "16777215T", true, UINT64_C(16777215) << 40 },
        { "16777216T", false, 0 },
    };
    (void)state;
    check_numbers(rows, VB_COUNT(rows), vb_parse_size);
}

static void booleans(void **state)
{
    (void)state;
    bool v = false;
    assert_true(vb_parse_bool("yes", &v) && v);
    assert_true(vb_parse_bool("off", &v) && !v);
    assert_true(vb_parse_bool("1", &v) && v);
    assert_false(vb_parse_bool("Yes", &v));
    assert_false(vb_parse_bool("", &v));
    assert_false(vb_parse_bool(NULL, &v));
}

static void vss_d_32_host_text(void **state)
{
    (void)state;
    static const char *const good[] = { "backend", "db-1.example.org", "10.0.0.2", "fe80::1", "a_b" };
    static const char *const bad[] = { "", "-oProxyCommand=x", ".hidden", "a b", "a;b", "a/b", "a\\b", "a@b", "h\n",
                                       "$(x)", "\xc3\xa4", "[::1]" };
    for (size_t i = 0; i < VB_COUNT(good); i++) {
        assert_true(vb_host_text_valid(good[i]));
    }
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        assert_false(vb_host_text_valid(bad[i]));
    }
    char name[255];
    memset(name, 'a', 254);
    name[254] = 0;
    assert_false(vb_host_text_valid(name));
    name[253] = 0;
    assert_true(vb_host_text_valid(name));
    assert_false(vb_host_text_valid(NULL));
}

static void escaping(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "plain text", "plain text" }, { "\x1b[31mred", "\\x1B[31mred" }, { "a\nb\tc", "a\\x0Ab\\x09c" },
        { "\x7f", "\\x7F" }, { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" }, { "\xff\xfe", "\\xFF\\xFE" },
        { "\xc2\x9b", "\\xC2\\x9B" }, { "\xe2\x80\xae" "exe", "\\xE2\\x80\\xAE" "exe" }, { "\xc3", "\\xC3" },
        { "\xc0\xaf", "\\xC0\\xAF" }, { "\xed\xa0\x80", "\\xED\\xA0\\x80" }, { "", "" },
        { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        VB_AUTO_FREE char *s = vb_escape_terminal(rows[i].in, strlen(rows[i].in));
        assert_string_equal(s, rows[i].out);
    }
    VB_AUTO_FREE char *zero = vb_escape_terminal("a\0b", 3);
    assert_string_equal(zero, "a\\x00b");
    assert_true(vb_utf8_valid("\xf4\x8f\xbf\xbf", 4));
    assert_false(vb_utf8_valid("\xf4\x90\x80\x80", 4));
    assert_false(vb_utf8_valid("\xe0\x80\xaf", 3));
    assert_false(vb_utf8_valid("\xc3\xa4", 1));
    assert_true(vb_utf8_valid("", 0));
}

static void times(void **state)
{
    (void)state;
    VB_AUTO_FREE char *s = vb_time_iso(UINT64_C(1795424887999));
    assert_string_equal(s, "2026-11-23T09:08:07Z");
    uint64_t ms = 0;
    assert_true(vb_time_parse_iso(s, &ms));
    assert_int_equal(ms, UINT64_C(1795424887000));
    static const char *const bad[] = { "", "2026-11-23", "2026-11-23T09:08:07", "2026-11-23 09:08:07Z",
                                       "2026-04-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-23T24:00:00Z",
                                       "2026-11-23T09:60:00Z", "1969-12-31T23:59:59Z", "2026-11-23T09:08:07Zx" };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        assert_false(vb_time_parse_iso(bad[i], &ms));
    }
    assert_true(vb_time_parse_iso("2024-02-29T00:00:00Z", &ms));
    assert_false(vb_time_parse_iso("2025-02-29T00:00:00Z", &ms));
    VB_AUTO_FREE char *far = vb_time_iso(UINT64_MAX);
    assert_int_equal(far[0], '@');
}

static void human(void **state)
{
    static const struct {
        uint64_t v;
        const char *size, *duration;
    } rows[] = {
        { 0, "0 B", "0 ms" }, { 512, "512 B", "512 ms" }, { 1024, "1.0 KiB", "1.0 s" }, { 3250, "3.2 KiB", "3.2 s" },
        { 130000, "127.0 KiB", "2 min 10 s" }, { 1048575, "1.0 MiB", "17 min 28 s" },
        { 11100000, "10.6 MiB", "3 h 5 min" }, { 183600000, "175.1 MiB", "2 d 3 h" },
        { UINT64_C(1825361101), "1.7 GiB", "21 d 3 h" }, { UINT64_MAX, "16.0 EiB", "213503982334 d 14 h" },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        VB_AUTO_FREE char *s = vb_size_human(rows[i].v);
        VB_AUTO_FREE char *d = vb_duration_human(rows[i].v);
        assert_string_equal(s, rows[i].size);
        assert_string_equal(d, rows[i].duration);
    }
}

static void vss_c_33_filespec(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool match;
    } rows[] = {
        { "*", "", true }, { "*", "anything", true }, { "?", "", false }, { "?", "a", true }, { "?", "ab", false },
        { "?", "\xc3\xa4", true }, { "a?c", "abc", true }, { "*.log", "x.log", true }, { "*.log", "x.logs", false },
        { "*.*", "noext", false }, { "a*b*c", "aXXbYYc", true }, { "a*b*c", "aXXcYYb", false },
        { "**", "x", true }, { "", "", true }, { "", "x", false }, { "[ab]", "a", false }, { "[ab]", "[ab]", true },
        { "\\*", "*", false }, { "*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
        { "A", "a", false }, { "*?", "x", true }, { "*\xa4", "\xc3\xa4", false },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        if (vb_filespec_match(rows[i].pattern, rows[i].name) != rows[i].match) {
            fail_msg("'%s' on '%s'", rows[i].pattern, rows[i].name);
        }
    }
}

static void paths(void **state)
{
    static const struct {
        const char *in, *out;
    } clean[] = {
        { "/", "/" }, { "//", "/" }, { "/a//b/./c/", "/a/b/c" }, { "./a", "a" }, { ".", "." }, { "", "" },
        { "a/..", "a/.." }, { "/.", "/" }, { "a/", "a" }, { "/..a/.b", "/..a/.b" },
    };
    static const struct {
        const char *path, *root;
        bool below;
    } below[] = {
        { "/srv/www", "/srv/www", true }, { "/srv/www/x", "/srv/www", true }, { "/srv/www2", "/srv/www", false },
        { "/srv", "/srv/www", false }, { "/x", "/", true }, { "x", "/", false }, { "/srv/www/../etc", "/srv/www", false },
        { "/srv/www/..", "/srv/www", false }, { "/srv/www/..x", "/srv/www", true }, { "/srv//www/", "/srv/www/", true },
        { "/", "/", true }, { "/..", "/", false },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(clean); i++) {
        VB_AUTO_FREE char *s = vb_path_clean(clean[i].in);
        assert_string_equal(s, clean[i].out);
    }
    for (size_t i = 0; i < VB_COUNT(below); i++) {
        if (vb_path_below(below[i].path, below[i].root) != below[i].below) {
            fail_msg("'%s' below '%s'", below[i].path, below[i].root);
        }
    }
    VB_AUTO_FREE char *a = vb_path_join("/a", "b");
    VB_AUTO_FREE char *b = vb_path_join("/a/", "b");
    VB_AUTO_FREE char *c = vb_path_join("/a", "/b");
    VB_AUTO_FREE char *d = vb_path_join("", "b");
    assert_string_equal(a, "/a/b");
    assert_string_equal(b, "/a/b");
    assert_string_equal(c, "/b");
    assert_string_equal(d, "b");
}

static void crc(void **state)
{
    (void)state;
    assert_int_equal(vb_crc32("123456789", 9), 0xcbf43926); /* the check value of CRC-32/ISO-HDLC */
    assert_int_equal(vb_crc32("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(guids),
        CM_TEST("VSS-A-18 ids compare without case", vss_a_18_guids_compare_without_case),
        cmocka_unit_test(numbers), cmocka_unit_test(durations), cmocka_unit_test(sizes), cmocka_unit_test(booleans),
        CM_TEST("VSS-D-32 host text that is safe for the transport", vss_d_32_host_text),
        cmocka_unit_test(escaping), cmocka_unit_test(times), cmocka_unit_test(human),
        CM_TEST("VSS-C-33 only ? and * are special in a filespec", vss_c_33_filespec), cmocka_unit_test(paths),
        cmocka_unit_test(crc),
    };
    return CM_RUN("text", t);
}
