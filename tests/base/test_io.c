/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_io.c */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/text.h"
#include "tests/base/scratch.h"
#include "tests/cm.h"

static size_t entries(int dirfd)
{
    size_t n = 0;
    VB_AUTO_DIR DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    while (readdir(d)) {
        n++;
    }
    return n - 2;
}

static void files_are_replaced_whole(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_ok(vb_write_file_at(scratch_fd, "f", "old", 3, 0600, &err));
    assert_ok(vb_write_file_at(scratch_fd, "f", "newer", 5, 0640, &err));
    assert_ok(vb_read_file_at(scratch_fd, "f", 5, &b, &err));
    assert_string_equal(vb_buf_str(&b), "newer");
    assert_int_equal(entries(scratch_fd), 1); /* no temporary file stays */
    assert_int_equal(vb_read_file_at(scratch_fd, "f", 4, &b, &err), -1);
    assert_int_equal(err.code, VB_E_LIMIT);
    assert_int_equal(vb_read_file_at(scratch_fd, "none", 4, &b, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_contains(err.text, "'none'");
}

static void a_failed_replacement_leaves_the_old_file(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_ok(vb_write_file_at(scratch_fd, "f", "old", 3, 0600, &err));
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit lim = { 2, 2 };
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &lim);
        _exit(vb_write_file_at(scratch_fd, "f", "newer", 5, 0600, NULL) == -1 ? 0 : 1);
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(st, 0);
    assert_ok(vb_read_file_at(scratch_fd, "f", 9, &b, &err));
    assert_string_equal(vb_buf_str(&b), "old");
    assert_int_equal(entries(scratch_fd), 1);
    assert_ok(mkdirat(scratch_fd, "d", 0700));
    assert_int_equal(vb_write_file_at(scratch_fd, "d", "x", 1, 0600, &err), -1);
    assert_int_equal(entries(scratch_fd), 2);
}

static void directories_with_parents(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stat st;
    assert_ok(vb_mkdirs_at(scratch_fd, "a/b//c/", 0700, &err));
    assert_ok(vb_mkdirs_at(scratch_fd, "a/b/c", 0700, &err));
    assert_int_equal(fstatat(scratch_fd, "a/b/c", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    VB_AUTO_FREE char *absolute = vb_path_join(scratch_path, "x/y");
    assert_ok(vb_mkdirs_at(-1, absolute, 0700, &err));
    assert_int_equal(fstatat(scratch_fd, "x/y", &st, 0), 0);
    assert_ok(vb_write_file_at(scratch_fd, "a/file", "", 0, 0600, &err));
    assert_int_equal(vb_mkdirs_at(scratch_fd, "a/file/z", 0700, &err), -1);
    assert_contains(err.text, "'a/file'");
    int fd = vb_open_dir_at(scratch_fd, "a/file", &err);
    assert_int_equal(fd, -1);
}

static void remove_tree_is_thorough_and_follows_no_link(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stat st;
    assert_ok(vb_mkdirs_at(scratch_fd, "keep", 0700, &err));
    assert_ok(vb_write_file_at(scratch_fd, "keep/precious", "x", 1, 0600, &err));
    assert_ok(vb_mkdirs_at(scratch_fd, "t/a/b", 0700, &err));
    assert_ok(vb_mkdirs_at(scratch_fd, "t/c", 0700, &err));
    assert_ok(symlinkat("../keep", scratch_fd, "t/link"));
    assert_ok(symlinkat("nowhere", scratch_fd, "t/a/dangling"));
    assert_ok(mkfifoat(scratch_fd, "t/a/fifo", 0600));
    for (int i = 0; i < 300; i++) {
        VB_AUTO_FREE char *name = vb_printf("t/c/%d", i);
        assert_ok(i % 3 ? vb_write_file_at(scratch_fd, name, "", 0, 0600, &err) : mkdirat(scratch_fd, name, 0700));
    }
    assert_ok(vb_remove_tree_at(scratch_fd, "t", &err));
    assert_int_equal(fstatat(scratch_fd, "t", &st, 0), -1);
    assert_int_equal(fstatat(scratch_fd, "keep/precious", &st, 0), 0);
    assert_ok(vb_remove_tree_at(scratch_fd, "t", &err)); /* missing is fine */
    assert_ok(symlinkat("keep", scratch_fd, "top"));
    assert_ok(vb_remove_tree_at(scratch_fd, "top", &err)); /* the link itself */
    assert_int_equal(fstatat(scratch_fd, "keep/precious", &st, 0), 0);
    assert_ok(vb_remove_tree_at(scratch_fd, "keep/precious", &err));
    assert_ok(vb_remove_tree_at(scratch_fd, "keep/", &err));
    assert_int_equal(vb_remove_tree_at(scratch_fd, ".", &err), -1);
}

/* 10,000 levels: a path of 20,000 bytes and more descriptors than a process may have. */
static void remove_tree_of_ten_thousand_levels(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct rlimit lim, low;
    int at = dup(scratch_fd);
    for (int i = 0; i < 10000; i++) {
        assert_ok(mkdirat(at, "d", 0700));
        if (i % 1000 == 0) {
            assert_ok(vb_write_file_at(at, "f", "", 0, 0600, &err));
        }
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    assert_ok(getrlimit(RLIMIT_NOFILE, &lim));
    low = lim;
    low.rlim_cur = 128;
    assert_ok(setrlimit(RLIMIT_NOFILE, &low));
    int r = vb_remove_tree_at(scratch_fd, "d", &err);
    setrlimit(RLIMIT_NOFILE, &lim);
    assert_ok(r);
    assert_int_equal(faccessat(scratch_fd, "d", F_OK, 0), -1);
}

static void remove_tree_stops_at_a_mount(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (geteuid() != 0) {
        CM_SKIP("mounting needs root");
    }
    VB_AUTO_FREE char *mnt = vb_path_join(scratch_path, "t/a/mnt");
    VB_AUTO_FREE char *src = vb_path_join(scratch_path, "src");
    assert_ok(vb_mkdirs_at(scratch_fd, "t/a/mnt", 0700, &err));
    assert_ok(vb_mkdirs_at(scratch_fd, "src", 0700, &err));
    assert_ok(vb_write_file_at(scratch_fd, "src/precious", "", 0, 0600, &err));
    if (mount(src, mnt, "none", MS_BIND, NULL) < 0) { /* a bind mount has the same device number */
        CM_SKIP("mount is refused here");
    }
    int r = vb_remove_tree_at(scratch_fd, "t", &err);
    umount(mnt);
    assert_int_equal(r, -1);
    assert_int_equal(err.code, VB_E_BUSY);
    assert_non_null(err.hint);
    assert_int_equal(faccessat(scratch_fd, "src/precious", F_OK, 0), 0);
}

static void whole_reads_and_writes(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int p[2];
    assert_ok(pipe2(p, O_CLOEXEC));
    vb_set_nonblock(p[1], true);
    pid_t pid = fork();
    if (pid == 0) { /* a slow reader on the other side of a full, non-blocking pipe */
        close(p[1]);
        VB_AUTO_FREE char *got = vb_alloc_n(300000, 1);
        usleep(20000);
        bool whole = vb_read_all(p[0], got, 300000, NULL) == 0 && got[299999] == 'z';
        vb_free_ptr(&got);
        _exit(whole ? 0 : 1);
    }
    VB_AUTO_FREE char *big = vb_alloc_n(300000, 1);
    big[299999] = 'z';
    assert_ok(vb_write_all(p[1], big, 300000, &err));
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(st, 0);
    assert_ok(vb_write_all(p[1], "abc", 3, &err));
    close(p[1]);
    assert_int_equal(vb_read_all(p[0], big, 4, &err), -1);
    assert_int_equal(err.code, VB_E_CONNECTION_LOST);
    close(p[0]);
}

static void locks_exclude_each_other(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FD int a = openat(scratch_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    VB_AUTO_FD int b = openat(scratch_fd, "lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(vb_try_lock(a, true, &err), 0);
    assert_int_equal(vb_try_lock(b, true, &err), 1); /* same process, other description */
    assert_int_equal(vb_try_lock(b, false, &err), 1);
    vb_close_fd(&a);
    assert_int_equal(vb_try_lock(b, false, &err), 0);
    a = openat(scratch_fd, "lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(vb_try_lock(a, false, &err), 0);
    assert_int_equal(vb_try_lock(a, true, &err), 1);
    assert_int_equal(vb_try_lock(-1, true, &err), -1);
}

static void descriptors_travel(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int s[2], got[4], p[2];
    size_t n = 4;
    char msg[16];
    assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
    assert_ok(pipe2(p, O_CLOEXEC));
    assert_ok(vb_send_fds(s[0], "hello", 5, p, 2, &err));
    assert_int_equal(vb_recv_fds(s[1], msg, sizeof msg, got, &n, &err), 5);
    assert_int_equal(n, 2);
    assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(got[1], "x", 1), 1);
    assert_int_equal(read(p[0], msg, 1), 1);
    close(got[0]);
    close(got[1]);
    /* more than there is room for: refused, nothing leaks */
    assert_ok(vb_send_fds(s[0], "x", 1, p, 2, &err));
    n = 1;
    int before = dup(0);
    close(before);
    assert_int_equal(vb_recv_fds(s[1], msg, sizeof msg, got, &n, &err), -1);
    assert_int_equal(err.code, VB_E_PROTOCOL);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
    /* none is fine; five are not */
    assert_ok(vb_send_fds(s[0], "y", 1, NULL, 0, &err));
    n = 4;
    assert_int_equal(vb_recv_fds(s[1], msg, sizeof msg, got, &n, &err), 1);
    assert_int_equal(n, 0);
    int five[5] = { 0, 0, 0, 0, 0 };
    assert_int_equal(vb_send_fds(s[0], "z", 1, five, 5, &err), -1);
    close(s[0]);
    n = 4;
    assert_int_equal(vb_recv_fds(s[1], msg, sizeof msg, got, &n, &err), 0);
    close(s[1]);
    close(p[0]);
    close(p[1]);
}

static void descriptor_flags(void **state)
{
    (void)state;
    VB_AUTO_FD int fd = dup(scratch_fd);
    assert_int_equal(vb_set_cloexec(fd, true), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    vb_set_cloexec(fd, false);
    assert_false(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    vb_set_nonblock(fd, true);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    vb_set_nonblock(fd, false);
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(vb_set_nonblock(-1, true), -1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)

int main(void)
{
    const struct CMUnitTest t[] = {
        T(files_are_replaced_whole), T(a_failed_replacement_leaves_the_old_file), T(directories_with_parents),
        T(remove_tree_is_thorough_and_follows_no_link), T(remove_tree_of_ten_thousand_levels),
        T(remove_tree_stops_at_a_mount), T(whole_reads_and_writes), T(locks_exclude_each_other),
        T(descriptors_travel), T(descriptor_flags),
    };
    return CM_RUN("io", t);
}
