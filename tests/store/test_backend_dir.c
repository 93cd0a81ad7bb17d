/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/store/test_backend_dir.c - the directory keeps the contract, and what only a directory must. */
#include <config.h>
#include "tests/cm.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/base/scratch.h"
#include "tests/store/backend_contract.h"

static struct vb_backend *make(void)
{
    scratch_start(NULL);
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "repo");
    return vb_backend_dir_open(path, true, NULL);
}

static struct vb_backend *again(struct vb_backend *first)
{
    return vb_backend_dir_open(first->location, false, NULL);
}

static void finish(void)
{
    scratch_end(NULL);
}

static void write_text(const char *name, const char *text)
{
    assert_int_equal(vb_write_file_at(scratch_fd, name, text, strlen(text), 0600, NULL), 0);
}

static void missing_directory_has_a_hint(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "none");
    assert_null(vb_backend_dir_open(path, false, &err));
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_contains(err.hint, "vbackup init");
    VB_AUTO_FREE char *deep = vb_path_join(path, "deeper");
    assert_null(vb_backend_dir_open(deep, true, &err));
    assert_int_equal(err.code, VB_E_NOT_FOUND);
}

static void directory_with_something_in_it_is_not_taken(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, file = VB_ERROR_INIT;
    write_text("letter.txt", "dear");
    assert_null(vb_backend_dir_open(scratch_path, true, &err));
    assert_int_equal(err.code, VB_E_EXISTS);
    assert_contains(err.text, "not empty");
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "letter.txt");
    assert_null(vb_backend_dir_open(path, true, &file));
}

static void leftovers_are_not_listed_and_are_swept_by_the_lock(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_backend *b = vb_backend_dir_open(scratch_path, true, &err);
    uint64_t size;
    struct stat st;
    assert_ok(vb_backend_write(b, "config", "x", 1, &err));
    write_text("tmp/99.1", "half a pack");
    assert_int_equal(vb_backend_size(b, "config", &size, NULL), 0);
    assert_ok(vb_backend_lock(b, "me", &err));
    assert_int_equal(fstatat(scratch_fd, "tmp/99.1", &st, 0), -1);
    vb_backend_close(b);
}

static void the_lock_takes_nothing_from_who_is_writing(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_backend *b = vb_backend_dir_open(scratch_path, true, &err);
    struct stat st;
    assert_ok(vb_backend_write(b, "config", "x", 1, &err));
    write_text("tmp/writing", "half a pack");
    VB_AUTO_FD int fd = openat(scratch_fd, "tmp/writing", O_WRONLY | O_CLOEXEC);
    assert_int_equal(vb_try_lock(fd, true, &err), 0);
    assert_ok(vb_backend_lock(b, "whoever removes a key", &err));
    assert_int_equal(fstatat(scratch_fd, "tmp/writing", &st, 0), 0);
    vb_backend_close(b);
}

static void links_are_not_followed(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    struct vb_backend *b = vb_backend_dir_open(scratch_path, true, &err);
    assert_int_equal(mkdirat(scratch_fd, "index", 0700), 0);
    assert_int_equal(symlinkat("/etc/hostname", scratch_fd, "index/aa"), 0);
    assert_int_equal(mkfifoat(scratch_fd, "index/bb", 0600), 0);
    assert_int_equal(vb_backend_read(b, "index/aa", 0, 1, &out, &err), -1);
    assert_int_equal(vb_backend_read(b, "index/bb", 0, 1, &out, NULL), -1);
    vb_backend_close(b);
}

static void lock_of_a_dead_process_is_free(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, busy = VB_ERROR_INIT;
    int ready[2], status;
    char c;
    struct vb_backend *b = vb_backend_dir_open(scratch_path, true, &err);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct vb_backend *mine = vb_backend_dir_open(scratch_path, false, NULL);
        int locked = vb_backend_lock(mine, "the child", NULL);
        if (write(ready[1], locked == 0 ? "y" : "n", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    assert_int_equal(vb_backend_lock(b, "parent", &busy), -1);
    assert_contains(busy.text, "the child");
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_ok(vb_backend_lock(b, "parent", &err));
    close(ready[0]);
    close(ready[1]);
    vb_backend_close(b);
}

static void nothing_is_readable_for_others(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stat st;
    struct vb_backend *b = vb_backend_dir_open(scratch_path, true, &err);
    assert_ok(vb_backend_write(b, "packs/ab/abcd", "x", 1, &err));
    assert_int_equal(fstatat(scratch_fd, "packs/ab/abcd", &st, 0), 0);
    assert_int_equal(st.st_mode & 077, 0);
    assert_int_equal(fstatat(scratch_fd, "packs", &st, 0), 0);
    assert_int_equal(st.st_mode & 077, 0);
    vb_backend_close(b);
}

int main(void)
{
    const struct backend_contract contract = { "backend_dir", make, again, finish, true, false };
#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)
    const struct CMUnitTest tests[] = {
        T(missing_directory_has_a_hint),
        T(directory_with_something_in_it_is_not_taken),
        T(leftovers_are_not_listed_and_are_swept_by_the_lock),
        T(the_lock_takes_nothing_from_who_is_writing),
        T(links_are_not_followed),
        T(lock_of_a_dead_process_is_free),
        T(nothing_is_readable_for_others),
    };
    return backend_contract_run(&contract, tests, VB_COUNT(tests));
}
