/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_target.c - the text of dependency targets, and the file sets that a component stands for.
 */
#include "topology.h"

/* ---- D-24 to D-33: the text of a target ---- */

static void vss_d_24_33(void **state VB_UNUSED)
{
    static const struct row { const char *path, *name, *host, *want_path, *want_name; bool both; } rows[] = {
        {"a\\b", "X", NULL, "a\\b", "X", false},
        {"", "X", NULL, "", "X", false},
        {"\\", "X", NULL, "", "X", false}, /* D-30 */
        {"\\a", "X", NULL, "a", "X", false},
        {"\\\\be\\a\\b", "X", "be", "a\\b", "X", false}, /* D-21 */
        {"\\\\be\\", "X", "be", "", "X", false},
        {"\\\\be", "X", "be", "", "X", false},
        {"\\\\be\\\\", "X", "be", "", "X", false}, /* the root of the target written as a separator */
        {"a\\b", "\\\\be\\X", "be", "a\\b", "X", false}, /* D-24 */
        {"", "\\\\be\\X", "be", "", "X", false},
        {"\\", "\\\\be\\X", "be", "", "X", false},
        {"", "\\\\be\\a\\X", "be", "a", "X", false},
        {"\\\\10.0.0.7\\db", "X", "10.0.0.7", "db", "X", false}, /* D-22 */
        {"\\\\fe80::1\\db", "X", "fe80::1", "db", "X", false},
        {"\\", "be\\X", "be", "", "X", false}, /* D-26: only the joined path shows it */
        {"", "\\be\\X", "be", "", "X", false},
        {"\\\\be\\a", "\\\\be\\X", "be", "a", "X", true}, /* D-28 */
        {"\\\\be\\a", "\\\\BE\\X", "be", "a", "X", true},
    };
    static const struct bad { const char *path, *name, *part; } bad[] = {
        {"\\\\\\a", "X", "empty"},
        {"\\\\", "X", "empty"},
        {"a", "\\\\\\X", "empty"},
        {"\\\\be\\a", "\\\\fe\\X", "different hosts"},
        {"\\\\-oProxyCommand=x\\a", "X", "host"},
        {"\\\\a b\\a", "X", "host"},
        {"\\\\be$(x)\\a", "X", "host"},
        {"\\\\be\\a\\\\b", "X", "empty element"},
        {"\\\\be\\a", "", "no name"},
        {"", "\\\\be", "no name"},
        {"a", "x\\y", "separator"},
    };
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        VB_AUTO_FREE char *p = vb_strdup(rows[i].path), *n = vb_strdup(rows[i].name), *c = class_id(2);
        struct vb_dependency d = {c, p, n};
        struct vb_target t;
        if (vb_target_parse(&d, &t, &err) < 0)
            fail_msg("row %zu: %s", i, vb_error_text(&err));
        if (rows[i].host)
            assert_string_equal(t.host, rows[i].host);
        else
            assert_null(t.host);
        assert_string_equal(t.logical_path, rows[i].want_path);
        assert_string_equal(t.name, rows[i].want_name);
        assert_int_equal(t.both_prefixed, rows[i].both);
        vb_target_clear(&t);
    }
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        VB_AUTO_FREE char *p = vb_strdup(bad[i].path), *n = vb_strdup(bad[i].name), *c = class_id(2);
        struct vb_dependency d = {c, p, n};
        struct vb_target t;
        assert_fails(vb_target_parse(&d, &t, &err), err, VB_E_INVALID_XML_DOCUMENT, bad[i].part);
    }
}

/* ---- file sets of a component and its members ---- */

static void members(void **state VB_UNUSED)
{
    static const struct { const char *full, *flags, *dir; uint32_t type; } sets[] = {
        {"a", "Y", "/a", 0}, {"a\\n", "N", "/n", 0}, {"a\\x\\log", "N", "/log", VB_FSB_LOG_BACKUP},
        {"n", "N", "/nn", 0}, {"n\\m", "N", "/nm", 0}, {"b", "Y", "/b", 0},
    };
    struct world w = {0};
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    size_t n = 0;

    for (size_t i = 0; i < VB_COUNT(sets); i++) {
        VB_AUTO_FREE char *path = NULL;
        const char *name = NULL;
        put(m, sets[i].full, sets[i].flags);
        split(sets[i].full, &path, &name);
        struct vb_fileset f = {0, (char *)(uintptr_t)sets[i].dir, (char *)(uintptr_t)"*", true, NULL, sets[i].type};
        assert_ok(vb_wm_add_fileset(m, path, name, &f, &err), err);
    }
    struct vb_member_fileset *v = vb_member_filesets(m, "", "a", VB_BACKUP_FULL, &n);
    assert_int_equal(n, 2);
    assert_string_equal(v[1].fileset->path, "/n");
    assert_string_equal(v[1].component->name, "n");
    free(v);
    free(vb_member_filesets(m, "", "a", VB_BACKUP_LOG, &n));
    assert_int_equal(n, 3);
    free(vb_member_filesets(m, "", "a", VB_BACKUP_UNDEFINED, &n));
    assert_int_equal(n, 3);
    free(vb_member_filesets(m, "", "n", VB_BACKUP_FULL, &n)); /* C-18 */
    assert_int_equal(n, 1);
    free(vb_member_filesets(m, "", "nix", VB_BACKUP_FULL, &n));
    assert_int_equal(n, 0);
    world_clear(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("VSS-D-24 to VSS-D-33 the text of a target", vss_d_24_33),
        TEST("VSS-C-17 VSS-I-8 VSS-I-11 file sets of members", members),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
