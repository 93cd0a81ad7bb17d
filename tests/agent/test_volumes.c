/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_volumes.c - from paths to volumes.
 */
#include "config.h"

#include "agent/volumes.h"
#include "base/buf.h"
#include "tests/cm.h"

static const char TABLE[] = "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                            "21 20 0:30 /sub /srv rw - btrfs /dev/sdb1 rw,subvol=/sub\n"
                            "22 21 8:3 / /srv/www/media ro - xfs /dev/sdc1 ro\n"
                            "23 20 0:4 / /proc rw - proc proc rw\n"
                            "24 20 0:5 / /srv2 rw - tmpfs tmpfs rw\n"
                            "25 21 8:9 / /srv/a\\040b rw - ext4 /dev/sdd1 rw\n"
                            "26 20 8:4 / /hidden rw - ext4 /dev/old rw\n"
                            "27 20 8:5 / /hidden rw master:2 propagate_from:3 - ext4 /dev/new rw\n";

static char *at_mount(void *arg, const char *path, const char *stop)
{
    (void)arg;
    return vb_strdup(!strncmp(path, "/srv/vol", 8) ? "/srv/vol" : stop);
}

static void table(struct vb_mounts *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    memset(m, 0, sizeof *m);
    assert_int_equal(vb_mounts_parse(m, TABLE, &err), 0);
}

static void longest_prefix_by_whole_elements(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        { "/etc/passwd", "/" },
        { "/srv", "/srv" },
        { "/srv/www", "/srv" },
        { "/srv/www/media/x", "/srv/www/media" },
        { "/srv/www/media2", "/srv" },
        { "/srv2/x", "/srv2" },
        { "/srv3", "/" },
        { "/srv/a b/c", "/srv/a b" },
    };
    struct vb_mounts m;
    table(&m);
    for (size_t i = 0; i < VB_COUNT(CASES); i++)
        assert_string_equal(vb_mounts_find(&m, CASES[i][0])->point, CASES[i][1]);
    assert_string_equal(vb_mounts_find(&m, "/hidden/x")->device, "/dev/new"); /* the later one hides the earlier */
    assert_true(vb_mounts_find(&m, "/srv/www/media")->read_only);
    assert_null(vb_mounts_find(&m, "relative"));
    vb_mounts_clear(&m);
}

static void broken_tables_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = { "20 1 8:1 / /\n", "20 1 8:1 / / rw ext4 /dev/sda1 rw\n",
                                       "20 1 8:1 / / rw - ext4\n", "20 1 8:1 / rel rw - ext4 /dev/sda1 rw\n",
                                       "garbage\n" };
    for (size_t i = 0; i < VB_COUNT(BAD); i++) {
        struct vb_mounts m = { NULL, 0, 0 };
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_int_equal(vb_mounts_parse(&m, BAD[i], &err), -1);
        assert_int_equal(err.code, VB_E_CORRUPT);
        vb_mounts_clear(&m);
    }
}

static void mounts_are_left_out(void **state)
{
    struct vb_mounts m = { NULL, 0, 0 };
    (void)state;
    assert_int_equal(vb_mounts_parse(&m,
                                     "1 0 8:1 / / rw - ext4 /dev/a rw\n"
                                     "2 1 8:2 / /s/p rw - ext4 /dev/b rw\n"
                                     "3 1 8:3 / /s/p/x rw - ext4 /dev/c rw\n"
                                     "4 1 8:4 / /s/px rw - ext4 /dev/d rw\n",
                                     NULL),
                     0);
    vb_mounts_leave_out(&m, "/s/p");
    assert_int_equal(m.n, 3);
    assert_string_equal(vb_mounts_find(&m, "/s/p/x")->point, "/s/p");
    assert_string_equal(vb_mounts_find(&m, "/s/px/y")->point, "/s/px");
    vb_mounts_clear(&m);
}

static void vss_b_28_mounted_volumes_are_members(void **state)
{
    (void)state;
    struct vb_mounts m;
    struct vb_volumes v = { NULL, 0, 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    table(&m);
    assert_int_equal(vb_volumes_add(&v, &m, "/srv/www/", true, at_mount, NULL, &err), 0);
    assert_int_equal(v.n, 2);
    assert_string_equal(v.v[0].mount_point, "/srv");
    assert_string_equal(v.v[0].trees.v[0], "/srv/www");
    assert_string_equal(v.v[1].mount_point, "/srv/www/media");
    vb_volumes_clear(&v);
    assert_int_equal(vb_volumes_add(&v, &m, "/srv/www", false, at_mount, NULL, &err), 0);
    assert_int_equal(v.n, 1);
    vb_volumes_clear(&v);
    /* pseudo file systems below are no volumes */
    assert_int_equal(vb_volumes_add(&v, &m, "/", true, at_mount, NULL, &err), 0);
    for (size_t i = 0; i < v.n; i++)
        assert_string_not_equal(v.v[i].fs_type, "proc");
    vb_volumes_clear(&v);
    vb_mounts_clear(&m);
}

static void trees_of_one_volume_are_gathered(void **state)
{
    (void)state;
    struct vb_mounts m;
    struct vb_volumes v = { NULL, 0, 0 };
    table(&m);
    static const char *const PATHS[] = { "/srv/a/b", "/srv/a", "/srv/a/c", "/srv/ab", "/srv/vol/x" };
    for (size_t i = 0; i < VB_COUNT(PATHS); i++)
        assert_int_equal(vb_volumes_add(&v, &m, PATHS[i], false, at_mount, NULL, NULL), 0);
    assert_int_equal(v.n, 2); /* the nested subvolume is a volume of its own */
    assert_int_equal(v.v[0].trees.n, 2);
    assert_true(vb_strv_has(&v.v[0].trees, "/srv/a"));
    assert_true(vb_strv_has(&v.v[0].trees, "/srv/ab"));
    assert_string_equal(v.v[1].subvolume_root, "/srv/vol");
    vb_volumes_clear(&v);
    vb_mounts_clear(&m);
}

static void vss_b_23_sixty_four_volumes(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_mounts m = { NULL, 0, 0 };
    struct vb_volumes v = { NULL, 0, 0 };
    for (int i = 0; i < 65; i++)
        vb_buf_addf(&b, "%d 1 8:%d / /m%d rw - ext4 /dev/m%d rw\n", i + 20, i, i, i);
    assert_int_equal(vb_mounts_parse(&m, vb_buf_str(&b), &err), 0);
    for (int i = 0; i < 65; i++) {
        VB_AUTO_FREE char *p = vb_printf("/m%d", i);
        assert_int_equal(vb_volumes_add(&v, &m, p, false, NULL, NULL, &err), i < 64 ? 0 : -1);
    }
    assert_int_equal(err.code, VB_E_MAX_VOLUMES);
    assert_non_null(err.hint);
    vb_volumes_clear(&v);
    vb_mounts_clear(&m);
}

static void the_real_table_can_be_read(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_mounts m = { NULL, 0, 0 };
    assert_int_equal(vb_mounts_load(&m, &err), 0);
    assert_non_null(vb_mounts_find(&m, "/"));
    vb_mounts_clear(&m);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("the volume of a path: longest prefix by whole elements", longest_prefix_by_whole_elements),
        CM_TEST("broken mount tables are refused", broken_tables_are_refused),
        CM_TEST("mounts below a directory are left out", mounts_are_left_out),
        CM_TEST("VSS-B-28 volumes mounted below are members of the set", vss_b_28_mounted_volumes_are_members),
        CM_TEST("trees of one volume are gathered, none below another", trees_of_one_volume_are_gathered),
        CM_TEST("VSS-B-23 the 65th volume is MAX_VOLUMES", vss_b_23_sixty_four_volumes),
        CM_TEST("the real table can be read", the_real_table_can_be_read),
    };
    return CM_RUN("volumes", t);
}
