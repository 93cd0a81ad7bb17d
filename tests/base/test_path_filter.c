/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules by which a walk leaves something out. */
#include "config.h"

#include "base/path_filter.h"
#include "tests/cm.h"

#include <time.h>

static void patterns(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool dir, match;
    } T[] = {
        { "*.o", "/src/a.o", false, true },          { "*.o", "/src/a.oo", false, false },
        { "*.o", "/src.o/a", false, false },         { "cache", "/home/a/cache", true, true },
        { "cache", "/home/a/cache", false, true },   { "cache/", "/home/a/cache", false, false },
        { "cache/", "/home/a/cache", true, true },   { "cache//", "/home/a/cache", true, true },
        { "/home/*/.cache", "/home/a/.cache", true, true },
        { "/home/*/.cache", "/home/a/b/.cache", true, false },
        { "/home/*/.cache", "/mnt/home/a/.cache", true, false },
        { "/home/**/.cache", "/home/a/b/.cache", true, true },
        { "/home/**/.cache", "/home/.cache", true, true },
        { "a/b", "/x/a/b", false, true },            { "a/b", "/x/aa/b", false, false },
        { "a/b", "/a/b", false, true },              { "a/b", "/b", false, false },
        { "a/b/", "/x/a/b", false, false },          { "**/b", "/x/a/b", false, true },
        { "a/**", "/x/a/b/c", false, true },         { "a/**", "/x/a", true, false },
        { "/a/**", "/a/b", false, true },            { "/a/**", "/a", true, false },
        { "/**", "/x", true, true },                 { "**", "/x/y", false, true },
        { "a/**/b", "/q/a/1/2/b", false, true },     { "a/**/b/**/c", "/a/b/x/b/y/c", false, true },
        { "a/**/b/**/c", "/a/c/b", false, false },   { "?", "/\xc3\xa9", false, true },
        { "??", "/\xc3\xa9", false, false },         { "?\xe9", "/a\xe9", false, true },
        { "caf?", "/caf\xe9", false, true },         { "[a-c]x", "/bx", false, true },
        { "[!a-c]x", "/bx", false, false },          { "[]]x", "/]x", false, true },
        { "[a", "/[a", false, true },                { "\\*", "/*", false, true },
        { "\\*", "/a", false, false },               { "a\\", "/a\\", false, true },
        { "*a*b*c*", "/xxaxxbxxcxx", false, true },  { "*a*b*c*", "/xxcxxbxxaxx", false, false },
        { "A.TXT", "/a.txt", false, false },         { "new\nline", "/new\nline", false, true },
        { "***", "/x", false, true },                { "a***b", "/ab", false, true },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(T); i++)
        if (vb_path_pattern_match(T[i].pattern, false, T[i].path, T[i].dir) != T[i].match)
            fail_msg("'%s' and '%s': not %d", T[i].pattern, T[i].path, T[i].match);
    assert_true(vb_path_pattern_match("A.[T-X]XT", true, "/a.txt", false));
    assert_true(vb_path_pattern_match("a.txt", true, "/d/A.TxT", false));
    assert_false(vb_path_pattern_match("\xc3\x89", true, "/\xc3\xa9", false));
}

static void rules(void **state)
{
    static const char *const bad[] = { "", "pattern", "pattern:", "pattern:/", "marker:", "marker:a/b", "marker:..",
                                       "larger-than:", "larger-than:0", "larger-than:big", "caches:x", "nothing:x",
                                       "one-file-system:no" };
    VB_CLEANUP(vb_path_filter_clear) struct vb_path_filter f = { .n = 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    assert_false(vb_path_filter_drops(&f, "/", "x", false));
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        assert_int_equal(vb_path_filter_add(&f, bad[i], &err), -1);
        assert_int_equal(err.code, VB_E_USAGE);
        vb_error_clear(&err);
    }
    assert_int_equal(vb_path_filter_add(&f, "pattern:*.tmp", &err), 0);
    assert_int_equal(vb_path_filter_add(&f, "ipattern:/top/THUMBS.db", &err), 0);
    assert_int_equal(vb_path_filter_add(&f, "larger-than:2M", &err), 0);
    assert_int_equal(vb_path_filter_add(&f, "caches:", &err), 0);
    assert_int_equal(vb_path_filter_add(&f, "marker:.nobackup", &err), 0);
    assert_int_equal(vb_path_filter_add(&f, "one-file-system:", &err), 0);
    assert_int_equal(f.larger_than, 2u << 20);
    assert_true(f.caches && f.one_file_system && vb_strv_has(&f.markers, ".nobackup"));
    assert_true(vb_path_filter_drops(&f, "/", "x.tmp", false));
    assert_true(vb_path_filter_drops(&f, "/top", "thumbs.DB", false));
    assert_false(vb_path_filter_drops(&f, "/other", "thumbs.DB", false));
}

/* Whoever makes a file's name must not be able to keep us busy. */
static void hostile_names_cost_little(void **state)
{
    struct vb_buf p = VB_BUF_INIT, s = VB_BUF_INIT;
    (void)state;
    for (int i = 0; i < 60; i++)
        vb_buf_add_str(&p, "**/*a*a*a*b/");
    vb_buf_add_str(&p, "end");
    for (int i = 0; i < 60; i++)
        vb_buf_add_str(&s, "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    clock_t from = clock();
    assert_false(vb_path_pattern_match(vb_buf_str(&p), false, vb_buf_str(&s), false));
    assert_true(clock() - from < 2 * CLOCKS_PER_SEC);
    vb_buf_clear(&p);
    vb_buf_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test(rules),
        cmocka_unit_test(hostile_names_cost_little),
    };
    return cmocka_run_group_tests_name("path filter", tests, NULL, NULL);
}
