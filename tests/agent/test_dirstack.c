/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ways into and out of directories that others may change: dirstack and safe_open.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/dirstack.h"
#include "agent/safe_open.h"
#include "base/io.h"
#include "base/mem.h"

enum { DEPTH = 200 };

struct place {
    char *dir;
    int fd;
};

static int setup(void **state)
{
    struct place *p = vb_alloc(sizeof *p);
    p->dir = vb_strdup("/tmp/vb-dirstack-XXXXXX");
    if (!mkdtemp(p->dir))
        return -1;
    p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    close(p->fd);
    vb_remove_tree_at(AT_FDCWD, p->dir, NULL);
    vb_free_ptr(&p->dir);
    vb_free_ptr(&p);
    return 0;
}

static size_t open_files(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void push(struct vb_dirstack *s, int fd)
{
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    vb_dirstack_push(s, fd, &st);
}

static void go_down(struct vb_dirstack *s, int top)
{
    push(s, dup(top));
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdirat(vb_dirstack_fd(s), "d", 0700), 0);
        push(s, vb_open_beneath(vb_dirstack_fd(s), "d", O_RDONLY | O_DIRECTORY, 0));
    }
}

static void deep_with_few_descriptors(void **state)
{
    struct place *p = *state;
    struct vb_dirstack s = VB_DIRSTACK_INIT;
    struct stat top, back;
    size_t before = open_files();
    go_down(&s, p->fd);
    assert_true(open_files() - before <= 70);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(vb_dirstack_pop(&s, NULL), 0);
    assert_int_equal(fstat(p->fd, &top), 0);
    assert_int_equal(fstat(vb_dirstack_fd(&s), &back), 0);
    assert_int_equal(top.st_ino, back.st_ino);
    vb_dirstack_clear(&s);
    assert_int_equal(open_files(), before);
}

/* Somebody moves the branch we are on below another directory: ".." would lead there. */
static void moved_branch_leads_nowhere(void **state)
{
    struct place *p = *state;
    struct vb_dirstack s = VB_DIRSTACK_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    go_down(&s, p->fd);
    assert_int_equal(mkdirat(p->fd, "trap", 0700), 0);
    /* the 100th directory, which is closed by now, gets another parent */
    VB_AUTO_FD int at = dup(p->fd);
    for (int i = 0; i < 100; i++) {
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
    }
    assert_int_equal(renameat(at, "d", p->fd, "trap/d"), 0);
    int rc = 0;
    for (int i = 0; i < DEPTH && rc == 0; i++)
        rc = vb_dirstack_pop(&s, &err);
    assert_int_equal(rc, -1);
    assert_int_equal(err.code, VB_E_FILE_CHANGED);
    assert_int_equal(vb_dirstack_fd(&s), -1);
    vb_dirstack_clear(&s);
}

static void open_beneath_takes_one_name(void **state)
{
    struct place *p = *state;
    assert_int_equal(mkdirat(p->fd, "real", 0700), 0);
    assert_int_equal(symlinkat("real", p->fd, "link"), 0);
    static const char *const bad[] = { "", ".", "..", "real/..", "/etc", "real/", "link" };
    for (size_t i = 0; i < VB_COUNT(bad); i++)
        assert_int_equal(vb_open_beneath(p->fd, bad[i], O_RDONLY | O_DIRECTORY, 0), -1);
    VB_AUTO_FD int fd = vb_open_beneath(p->fd, "real", O_RDONLY | O_DIRECTORY, 0);
    assert_true(fd >= 0);
}

static void safe_open_makes_what_is_missing(void **state)
{
    struct place *p = *state;
    bool made = false;
    struct stat st;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_printf("%s/a/b/c", p->dir);
    VB_AUTO_FD int nearest = -1;
    assert_int_equal(vb_safe_open_dir(path, false, NULL, &nearest, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_int_equal(fstat(nearest, &st), 0);
    struct stat top;
    assert_int_equal(fstat(p->fd, &top), 0);
    assert_int_equal(st.st_ino, top.st_ino);
    VB_AUTO_FD int fd = vb_safe_open_dir(path, true, &made, NULL, &err);
    assert_true(fd >= 0 && made);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    VB_AUTO_FD int again = vb_safe_open_dir(path, true, &made, NULL, &err);
    assert_true(again >= 0 && !made);
}

static void safe_open_follows_own_links_only(void **state)
{
    struct place *p = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(mkdirat(p->fd, "real", 0700), 0);
    assert_int_equal(symlinkat("real", p->fd, "mine"), 0);
    assert_int_equal(symlinkat("loop", p->fd, "loop"), 0);
    VB_AUTO_FREE char *mine = vb_printf("%s/mine", p->dir), *loop = vb_printf("%s/loop", p->dir);
    VB_AUTO_FREE char *dots = vb_printf("%s/mine/../real/.", p->dir);
    VB_AUTO_FD int fd = vb_safe_open_dir(mine, false, NULL, NULL, &err);
    assert_true(fd >= 0);
    VB_AUTO_FD int fd2 = vb_safe_open_dir(dots, false, NULL, NULL, &err);
    assert_true(fd2 >= 0);
    assert_int_equal(vb_safe_open_dir(loop, false, NULL, NULL, &err), -1);
    if (geteuid() != 0)
        return;
    assert_int_equal(symlinkat("real", p->fd, "theirs"), 0);
    assert_int_equal(fchownat(p->fd, "theirs", 12345, 12345, AT_SYMLINK_NOFOLLOW), 0);
    VB_AUTO_FREE char *theirs = vb_printf("%s/theirs", p->dir);
    assert_int_equal(vb_safe_open_dir(theirs, true, NULL, NULL, &err), -1);
    assert_int_equal(err.code, VB_E_GUARD);
    assert_non_null(err.hint);
}

/* A link that a first part of a restore has just put there must not lead the second part out of the target. */
static void safe_open_inside_leaves_the_base_by_no_way(void **state)
{
    struct place *p = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stat st;
    assert_int_equal(mkdirat(p->fd, "outside", 0700), 0);
    assert_int_equal(mkdirat(p->fd, "target", 0700), 0);
    assert_int_equal(symlinkat("target", p->fd, "way"), 0);
    assert_int_equal(symlinkat("../outside", p->fd, "target/link"), 0);
    VB_AUTO_FREE char *base = vb_printf("%s/way", p->dir), *good = vb_printf("%s/a/b", base);
    VB_AUTO_FREE char *link = vb_printf("%s/link/a", base), *dots = vb_printf("%s/../outside", base);
    VB_AUTO_FREE char *beside = vb_printf("%s/outside", p->dir);
    VB_AUTO_FD int fd = vb_safe_open_inside(base, good, true, NULL, NULL, &err); /* the way to the base is the user's */
    assert_true(fd >= 0);
    assert_int_equal(fstatat(p->fd, "target/a/b", &st, 0), 0);
    const char *const bad[] = { link, dots, beside };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        vb_error_clear(&err);
        assert_int_equal(vb_safe_open_inside(base, bad[i], true, NULL, NULL, &err), -1);
        assert_int_equal(err.code, VB_E_GUARD);
    }
    assert_int_equal(fstatat(p->fd, "outside/a", &st, 0), -1);
    VB_AUTO_FREE char *fresh = vb_printf("%s/new/base", p->dir), *below = vb_printf("%s/x", fresh);
    mode_t mask = umask(022);
    VB_AUTO_FD int made = vb_safe_open_inside(fresh, below, true, NULL, NULL, &err);
    umask(mask);
    assert_true(made >= 0);
    assert_int_equal(fstatat(p->fd, "new/base", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(deep_with_few_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(moved_branch_leads_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(open_beneath_takes_one_name, setup, teardown),
        cmocka_unit_test_setup_teardown(safe_open_makes_what_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(safe_open_follows_own_links_only, setup, teardown),
        cmocka_unit_test_setup_teardown(safe_open_inside_leaves_the_base_by_no_way, setup, teardown),
    };
    return cmocka_run_group_tests_name("dirstack and safe_open", tests, NULL, NULL);
}
