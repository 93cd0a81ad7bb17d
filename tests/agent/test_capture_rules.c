/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file set means: the rules of the rule book, captured and restored.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void assert_captured(struct lab *l, size_t i)
{
    VB_AUTO_FREE char *e = lab_error(l, i);
    if (lab_code(l, i) != VB_OK)
        fail_msg("capture failed: %s", e);
    assert_int_equal(l->end.code, VB_OK);
}

static void assert_restored(struct lab *l)
{
    VB_AUTO_FREE char *e = lab_error(l, 0);
    if (lab_code(l, 0) != VB_OK)
        fail_msg("restore failed: %s", e);
    assert_int_equal(lab_u64(l, 0, VB_F_RESTORE_STATUS), VB_FILE_RESTORE_ALL);
}

/* Captures `from`, restores it to `to`, and compares everything. */
static void round_trip(struct lab *l, const char *from, const char *to)
{
    struct lab_root root;
    lab_capture_tree(l, from);
    assert_captured(l, 0);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_COMPLETE);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, to, LAB_KEEP_OWNER);
    assert_restored(l);
    VB_AUTO_FREE char *a = lab_listing(l, from, true), *b = lab_listing(l, to, true);
    assert_string_equal(a, b);
}

static void make_rules_tree(struct lab *l)
{
    lab_mkdir(l, "w/sub/empty", 0755);
    lab_mkdir(l, "w/cache/deep", 0755);
    lab_text(l, "w/a.db", "a");
    lab_text(l, "w/b.log", "b");
    lab_text(l, "w/sub/a.db", "sa");
    lab_text(l, "w/sub/c.txt", "sc");
    lab_text(l, "w/cache/a.db", "ca");
    lab_text(l, "w/cache/deep/d", "cd");
}

/* Captures with one file set and restores to "out". */
static void pick(struct lab *l, const char *filespec, bool recursive, const char *ex_path, const char *ex_spec,
                 bool ex_rec)
{
    struct vb_msg c = lab_component("c");
    struct lab_root root;
    lab_fileset(l, &c, "w", NULL, filespec, recursive, false);
    if (ex_path)
        lab_exclude(l, &c, ex_path, ex_spec, ex_rec);
    lab_capture(l, &c, 1);
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "out", 0);
    assert_restored(l);
}

static void rule_c35_not_recursive(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    pick(l, "*", false, NULL, NULL, false);
    assert_true(lab_exists(l, "out/a.db"));
    assert_true(lab_exists(l, "out/b.log"));
    assert_false(lab_exists(l, "out/sub"));
}

static void rule_c34_name_in_every_directory(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    pick(l, "a.db", true, NULL, NULL, false);
    assert_true(lab_exists(l, "out/a.db"));
    assert_true(lab_exists(l, "out/sub/a.db"));
    assert_true(lab_exists(l, "out/cache/a.db"));
    assert_false(lab_exists(l, "out/b.log"));
    assert_false(lab_exists(l, "out/sub/c.txt"));
}

static void rule_b51_empty_directories(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    pick(l, "*.nothing", true, NULL, NULL, false);
    assert_true(lab_exists(l, "out/sub/empty"));
    assert_true(lab_exists(l, "out/cache/deep"));
    assert_false(lab_exists(l, "out/cache/deep/d"));
}

static void rule_c37_exclude_beats_include(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    pick(l, "*", true, "w", "*.db", true);
    assert_false(lab_exists(l, "out/a.db"));
    assert_false(lab_exists(l, "out/sub/a.db"));
    assert_true(lab_exists(l, "out/b.log"));
}

static void rule_c37_exclude_not_recursive(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    pick(l, "*", true, "w", "*.db", false);
    assert_false(lab_exists(l, "out/a.db"));
    assert_true(lab_exists(l, "out/sub/a.db"));
}

static void rule_c37_exclude_whole_directory(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    pick(l, "*", true, "w/cache", "*", true);
    assert_true(lab_exists(l, "out/cache"));
    assert_false(lab_exists(l, "out/cache/a.db"));
    assert_false(lab_exists(l, "out/cache/deep"));
    assert_true(lab_exists(l, "out/sub/c.txt"));
}

static void rule_b48_exclude_by_normal_path(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    make_rules_tree(l);
    lab_mkdir(l, "copy", 0755);
    lab_text(l, "copy/a.db", "from the copy");
    lab_text(l, "copy/keep", "k");
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "w", "copy", "*", true, false);
    lab_exclude(l, &c, "copy", "keep", false); /* not the normal path: excludes nothing */
    lab_exclude(l, &c, "w", "a.db", false);
    lab_capture(l, &c, 1);
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "out", 0);
    assert_true(lab_exists(l, "out/keep"));
    assert_false(lab_exists(l, "out/a.db"));
}

static void rule_b49_alternate_path(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    make_rules_tree(l);
    lab_mkdir(l, "alt", 0755);
    lab_text(l, "alt/a.db", "alternate");
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "w", "alt", "a.db", false, false);
    lab_capture(l, &c, 1);
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "out", 0);
    VB_AUTO_FREE char *text = lab_read(l, "out/a.db");
    assert_string_equal(text, "alternate");
}

static void rule_b50_named_file_missing(void **state)
{
    struct lab *l = *state;
    make_rules_tree(l);
    struct vb_msg c[3] = { lab_component("named"), lab_component("pattern"), lab_component("deep") };
    lab_fileset(l, &c[0], "w", NULL, "nobody.db", false, false);
    lab_fileset(l, &c[1], "w", NULL, "nobody*.db", false, false);
    lab_fileset(l, &c[2], "w", NULL, "c.txt", true, false);
    lab_capture(l, c, 3);
    VB_AUTO_FREE char *text = lab_error(l, 0);
    assert_int_equal(lab_code(l, 0), VB_E_FILE_MISSING);
    assert_non_null(strstr(text, "/w/nobody.db'"));
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_FAILED);
    assert_int_equal(lab_code(l, 1), VB_OK);
    assert_int_equal(lab_u64(l, 1, VB_F_FILES), 0);
    assert_int_equal(lab_code(l, 2), VB_OK);
}

static void rule_b50_directory_missing(void **state)
{
    struct lab *l = *state;
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "not/there", NULL, "*", true, false);
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_E_FILE_MISSING);
}

static void rule_b53_hard_links_once(void **state)
{
    struct lab *l = *state;
    lab_mkdir(l, "src/a", 0755);
    lab_mkdir(l, "src/b", 0755);
    lab_noise(l, "src/a/one", 2u << 20, 5);
    for (int i = 0; i < 5; i++) {
        VB_AUTO_FREE char *to = vb_printf("src/b/n%d", i);
        assert_int_equal(linkat(l->fd, "src/a/one", l->fd, to, 0), 0);
    }
    round_trip(l, "src", "dst");
    struct stat st;
    assert_int_equal(fstatat(l->fd, "dst/b/n3", &st, 0), 0);
    assert_int_equal(st.st_nlink, 6);
    assert_true(l->get_bytes < 3u << 20);
}

/* As an ordinary user: one file that he may not read, in one component. */
static void capture_unreadable(struct lab *l, bool database, const char *filespec)
{
    struct vb_msg c = lab_component("c");
    l->as_nobody = geteuid() == 0; /* root can read everything */
    assert_int_equal(chmod(l->dir, 0755), 0);
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/bad", "secret");
    lab_text(l, "src/good", "fine");
    assert_int_equal(fchmodat(l->fd, "src/bad", 0, 0), 0);
    vb_msg_add_u64(&c, VB_F_TYPE, database ? VB_COMPONENT_DATABASE : VB_COMPONENT_FILEGROUP);
    lab_fileset(l, &c, "src", NULL, filespec, !database, false);
    lab_capture(l, &c, 1);
    assert_true(lab_warned(l, "/src/bad", VB_E_ACCESS_DENIED));
}

static void rule_b54_one_failed_file(void **state)
{
    struct lab *l = *state;
    capture_unreadable(l, true, "*");
    VB_AUTO_FREE char *text = lab_error(l, 0);
    assert_int_equal(lab_code(l, 0), VB_E_ACCESS_DENIED);
    assert_non_null(strstr(text, "/src/bad'"));
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_FAILED);
    assert_int_equal(lab_u64(l, 0, VB_F_FILES), 1);
}

static void named_file_is_needed(void **state)
{
    struct lab *l = *state;
    capture_unreadable(l, false, "bad");
    assert_int_equal(lab_code(l, 0), VB_E_ACCESS_DENIED);
}

static void user_gets_what_he_may_read(void **state)
{
    struct lab *l = *state;
    capture_unreadable(l, false, "*");
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_PARTIAL);
    assert_int_equal(lab_u64(l, 0, VB_F_FILES), 1);
}

static void single_file(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/one", "the one");
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src/one", NULL, NULL, false, false);
    lab_capture(l, &c, 1);
    assert_captured(l, 0);
    assert_true(lab_root(l, 0, 0, &root));
    assert_int_equal(root.files, 1);
    lab_restore_tree(l, &root.name, "new/place/renamed", 0);
    assert_restored(l);
    VB_AUTO_FREE char *text = lab_read(l, "new/place/renamed");
    assert_string_equal(text, "the one");
}

static void filespec_with_directory_is_refused(void **state)
{
    struct lab *l = *state;
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "", NULL, "a/b", false, false);
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_E_USAGE);
}

/* ---- rules of what is left out ---- */

static void rules_leave_out(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    static const char *const files[] = {
        "src/keep", "src/a.tmp", "src/sub/b.TMP", "src/sub/c.tmp", "src/node_modules/x/y", "src/sub/node_modules/z",
        "src/top/out/f", "src/sub/top/out/f", "src/cache/data", "src/cache/more/data", "src/fake/data", "src/mark/data",
        "src/mark/deeper/data"
    };
    for (size_t i = 0; i < VB_COUNT(files); i++) {
        VB_AUTO_FREE char *dir = vb_strndup(files[i], (size_t)(strrchr(files[i], '/') - files[i]));
        lab_mkdir(l, dir, 0755);
        lab_text(l, files[i], "x");
    }
    lab_text(l, "src/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# really\n");
    lab_text(l, "src/fake/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc5");
    lab_text(l, "src/mark/.nobackup", "");
    lab_noise(l, "src/sub/large", 1 << 20, 1);
    lab_noise(l, "src/sub/just", 1 << 19, 1);
    VB_AUTO_FREE char *anchored = vb_printf("pattern:%s/top/out", lab_path(l, "src"));
    struct vb_msg c = lab_component("c");
    const char *const rules[] = { "ipattern:*.tmp", "pattern:node_modules/", anchored,         "caches:",
                                  "marker:.nobackup", "larger-than:512K" };
    lab_fileset_rules(l, &c, "src", "*", rules, VB_COUNT(rules));
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_COMPLETE);
    assert_int_equal(lab_u64(l, 0, VB_F_LEFT_FILES), 4); /* three .tmp and the large one */
    assert_int_equal(lab_u64(l, 0, VB_F_LEFT_DIRS), 5);  /* two node_modules, top/out, the contents of cache and mark */
    assert_true(lab_root(l, 0, 0, &root));
    lab_restore_tree(l, &root.name, "dst", 0);
    static const char *const there[] = { "keep", "sub/top/out/f", "cache/CACHEDIR.TAG", "fake/data", "fake/CACHEDIR.TAG",
                                         "mark/.nobackup", "sub/just", "top" };
    static const char *const gone[] = { "a.tmp", "sub/b.TMP", "sub/c.tmp", "node_modules", "sub/node_modules", "top/out",
                                        "cache/data", "cache/more", "mark/data", "mark/deeper", "sub/large" };
    for (size_t i = 0; i < VB_COUNT(there) + VB_COUNT(gone); i++) {
        bool must = i < VB_COUNT(there);
        VB_AUTO_FREE char *p = vb_printf("dst/%s", must ? there[i] : gone[i - VB_COUNT(there)]);
        if (lab_exists(l, p) != must)
            fail_msg("'%s' is %sthere", p, must ? "not " : "");
    }
}

/* B-50: what is named without a wildcard is meant, whatever the rules say. */
static void rules_do_not_hold_for_named_files(void **state)
{
    struct lab *l = *state;
    const char *const rules[] = { "pattern:*", "larger-than:1" };
    lab_mkdir(l, "src", 0755);
    lab_text(l, "src/named", "more than a byte");
    struct vb_msg c = lab_component("c");
    lab_fileset_rules(l, &c, "src", "named", rules, 2);
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_int_equal(lab_u64(l, 0, VB_F_FILES), 1);
}

static void wrong_rule_is_refused(void **state)
{
    struct lab *l = *state;
    const char *const rules[] = { "nonsense" };
    struct vb_msg c = lab_component("c");
    lab_fileset_rules(l, &c, "", "*", rules, 1);
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_E_USAGE);
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, lab_teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("VSS-C-35 not recursive takes only the directory itself", rule_c35_not_recursive),
        LAB_TEST("VSS-C-34 a name with recursion means it in every directory", rule_c34_name_in_every_directory),
        LAB_TEST("VSS-B-51 empty directories are part of it", rule_b51_empty_directories),
        LAB_TEST("VSS-C-37 an exclusion beats an inclusion", rule_c37_exclude_beats_include),
        LAB_TEST("VSS-C-37 an exclusion without recursion", rule_c37_exclude_not_recursive),
        LAB_TEST("VSS-C-37 a whole directory excluded", rule_c37_exclude_whole_directory),
        LAB_TEST("VSS-B-48 exclusions are tested with the normal path", rule_b48_exclude_by_normal_path),
        LAB_TEST("VSS-B-49 read at the alternate path, recorded at the normal one", rule_b49_alternate_path),
        LAB_TEST("VSS-B-50 a named file that is missing fails the component", rule_b50_named_file_missing),
        LAB_TEST("VSS-B-50 a directory that is missing fails the component", rule_b50_directory_missing),
        LAB_TEST("VSS-B-53 hard links are read once and come back linked", rule_b53_hard_links_once),
        LAB_TEST("VSS-B-54 one failed file fails its component", rule_b54_one_failed_file),
        LAB_TEST("VSS-B-54 a named file that cannot be read fails it, too", named_file_is_needed),
        LAB_TEST("an ordinary user's files: what he may not read is left out and named", user_gets_what_he_may_read),
        LAB_TEST("a single file, restored under another name", single_file),
        LAB_TEST("rules leave out by pattern, size, cache tag and marker, and count", rules_leave_out),
        LAB_TEST("VSS-B-50 rules do not hold for named files", rules_do_not_hold_for_named_files),
        LAB_TEST("a rule that is none is refused", wrong_rule_is_refused),
        LAB_TEST("VSS-C-33 a filespec with a directory part is refused", filespec_with_directory_is_refused),
    };
    return cmocka_run_group_tests_name("rules of capture", tests, NULL, NULL);
}
