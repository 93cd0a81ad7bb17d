/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules of file sets as pure functions, and the table of pairs of numbers.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/idmap.h"
#include "agent/readset.h"
#include "base/mem.h"

static void vss_c_34_35_filespec_and_recursion(void **state)
{
    (void)state;
    assert_true(vb_readset_takes("*", true, 0, "f"));
    assert_true(vb_readset_takes("*", true, 5, ".hidden"));
    assert_true(vb_readset_takes("*", false, 0, "f"));
    assert_false(vb_readset_takes("*", false, 1, "f"));
    assert_true(vb_readset_takes("a.db", true, 3, "a.db"));
    assert_false(vb_readset_takes("a.db", true, 3, "b.db"));
    assert_true(vb_readset_takes("?.db", true, 0, "x.db"));
    assert_true(vb_readset_takes(NULL, false, 9, "anything"));
    assert_true(vb_readset_descends("*.db", true));
    assert_false(vb_readset_descends("*", false));
    assert_true(vb_readset_descends(NULL, false));
}

static void vss_b_50_patterns_and_names(void **state)
{
    (void)state;
    assert_true(vb_readset_is_pattern("*"));
    assert_true(vb_readset_is_pattern("a?"));
    assert_false(vb_readset_is_pattern("a.db"));
    assert_false(vb_readset_is_pattern("[a]"));
}

static void vss_c_33_no_directory_part(void **state)
{
    (void)state;
    assert_true(vb_readset_filespec_valid("*.x"));
    static const char *const bad[] = { "", "a/b", "/", ".", ".." };
    for (size_t i = 0; i < VB_COUNT(bad); i++)
        assert_false(vb_readset_filespec_valid(bad[i]));
}

static struct vb_leave_outs one(const char *path, const char *spec, bool recursive, bool directories)
{
    struct vb_leave_outs x = { vb_alloc(sizeof *x.v), 1, 1 };
    x.v[0] = (struct vb_leave_out){ vb_strdup(path), vb_strdup(spec), recursive, directories };
    return x;
}

static void vss_c_37_exclusions(void **state)
{
    (void)state;
    struct vb_leave_outs x = one("/a/b", "*.tmp", true, false);
    assert_true(vb_leave_outs_file(&x, "/a/b", "x.tmp"));
    assert_true(vb_leave_outs_file(&x, "/a/b/c/d", "x.tmp"));
    assert_false(vb_leave_outs_file(&x, "/a/bc", "x.tmp")); /* whole elements only */
    assert_false(vb_leave_outs_file(&x, "/a", "x.tmp"));
    assert_false(vb_leave_outs_directory(&x, "/a/b", "x.tmp"));
    assert_false(vb_leave_outs_below(&x, "/a/b"));
    vb_leave_outs_clear(&x);
    x = one("/a/b", "*", false, false);
    assert_true(vb_leave_outs_file(&x, "/a/b", "f"));
    assert_false(vb_leave_outs_file(&x, "/a/b/c", "f"));
    assert_false(vb_leave_outs_below(&x, "/a/b"));
    vb_leave_outs_clear(&x);
    x = one("/a/b", "*", true, false);
    assert_true(vb_leave_outs_below(&x, "/a/b"));
    assert_true(vb_leave_outs_below(&x, "/a/b/c"));
    assert_false(vb_leave_outs_below(&x, "/a"));
    vb_leave_outs_clear(&x);
    x = one("/", "node_modules", true, true);
    assert_true(vb_leave_outs_directory(&x, "/home/x", "node_modules"));
    vb_leave_outs_clear(&x);
}

/* Against a plain array. */
static void idmap_keeps_everything(void **state)
{
    (void)state;
    enum { N = 5000 };
    static int values[N];
    struct vb_idmap m = VB_IDMAP_INIT;
    assert_null(vb_idmap_get(&m, 1, 2));
    for (uint64_t i = 0; i < N; i++)
        vb_idmap_set(&m, i % 7, i * 4096, &values[i]);
    assert_int_equal(m.n, N);
    for (uint64_t i = 0; i < N; i++)
        assert_ptr_equal(vb_idmap_get(&m, i % 7, i * 4096), &values[i]);
    assert_null(vb_idmap_get(&m, 8, 0));
    vb_idmap_set(&m, 0, 0, &values[9]);
    assert_ptr_equal(vb_idmap_get(&m, 0, 0), &values[9]);
    assert_int_equal(m.n, N);
    vb_idmap_clear(&m, NULL);
    assert_null(vb_idmap_get(&m, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "VSS-C-34 VSS-C-35 filespec and recursion", vss_c_34_35_filespec_and_recursion, NULL, NULL, NULL },
        { "VSS-B-50 patterns may match nothing, names may not", vss_b_50_patterns_and_names, NULL, NULL, NULL },
        { "VSS-C-33 a filespec has no directory part", vss_c_33_no_directory_part, NULL, NULL, NULL },
        { "VSS-C-37 exclusions", vss_c_37_exclusions, NULL, NULL, NULL },
        cmocka_unit_test(idmap_keeps_everything),
    };
    return cmocka_run_group_tests_name("file sets", tests, NULL, NULL);
}
