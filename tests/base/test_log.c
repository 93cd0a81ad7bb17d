/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_log.c - what reaches stderr, byte for byte. */
#include <config.h>
#include <sys/wait.h>
#include "base/buf.h"
#include "base/log.h"
#include "tests/base/scratch.h"
#include "tests/cm.h"

/* Runs fn in a child with stderr in a file; returns what it wrote. */
static char *stderr_of(void (*fn)(void), const char *level)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = openat(scratch_fd, "err", O_RDWR | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDERR_FILENO);
        if (level) {
            setenv("VBACKUP_LOG", level, 1);
        }
        vb_log_init("vbackup: ");
        fn();
        _exit(0);
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(st, 0);
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_read_file_at(scratch_fd, "err", 1 << 20, &b, NULL), 0);
    return vb_buf_take_str(&b);
}

static void every_level(void)
{
    vb_log(VB_LOG_ERROR, "e %d", 1);
    vb_log(VB_LOG_WARNING, "w");
    vb_log(VB_LOG_NOTICE, "n");
    vb_log(VB_LOG_INFO, "i");
    vb_log(VB_LOG_DEBUG, "d");
}

static void levels(void **state)
{
    (void)state;
    VB_AUTO_FREE char *def = stderr_of(every_level, NULL);
    VB_AUTO_FREE char *all = stderr_of(every_level, "debug");
    VB_AUTO_FREE char *few = stderr_of(every_level, "error");
    assert_string_equal(def, "vbackup: e 1\nvbackup: warning: w\nvbackup: n\n");
    assert_string_equal(few, "vbackup: e 1\n");
    assert_contains(all, "vbackup: i\nvbackup: debug: d\n");
}

static void hostile(void)
{
    vb_log(VB_LOG_ERROR, "writer says '%s'", "\x1b]0;title\x07\nvbackup: all is well");
}

static void a_terminal_is_not_obeyed(void **state)
{
    (void)state;
    VB_AUTO_FREE char *s = stderr_of(hostile, NULL);
    assert_string_equal(s, "vbackup: writer says '\\x1B]0;title\\x07\nvbackup: vbackup: all is well'\n");
}

static void error_and_hint(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_fail(&err, VB_E_BUSY, "repository '/r' is locked");
    vb_hint(&err, "Wait for the other backup.");
    vb_log_error(VB_LOG_ERROR, &err);
}

static void errors_have_their_hint_on_a_line(void **state)
{
    (void)state;
    VB_AUTO_FREE char *s = stderr_of(error_and_hint, NULL);
    assert_string_equal(s, "vbackup: repository '/r' is locked\nvbackup: hint: Wait for the other backup.\n");
}

static void held_lines(void)
{
    vb_log(VB_LOG_ERROR, "before");
    vb_log_hold();
    vb_log_hold();
    vb_log(VB_LOG_ERROR, "in the window");
    if (lseek(STDERR_FILENO, 0, SEEK_END) != 16) { /* "vbackup: before\n" and nothing more */
        _exit(1);
    }
    for (int i = 0; i < 5000; i++) {
        vb_log(VB_LOG_WARNING, "line %04d of a very talkative writer", i);
    }
    vb_log_release();
    vb_log_release();
    vb_log(VB_LOG_ERROR, "after");
}

static void held_lines_come_after_the_release(void **state)
{
    (void)state;
    VB_AUTO_FREE char *s = stderr_of(held_lines, NULL);
    assert_memory_equal(s, "vbackup: before\nvbackup: in the window\nvbackup: warning: line 0000", 66);
    assert_contains(s, " lines of the freeze window were not kept\nvbackup: after\n");
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)

int main(void)
{
    const struct CMUnitTest t[] = {
        T(levels), T(a_terminal_is_not_obeyed), T(errors_have_their_hint_on_a_line),
        T(held_lines_come_after_the_release),
    };
    return CM_RUN("log", t);
}
