/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_mem.c */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "tests/cm.h"

static void allocation_is_zeroed(void **state)
{
    (void)state;
    VB_AUTO_FREE unsigned char *p = vb_alloc_n(7, 3);
    for (size_t i = 0; i < 21; i++) {
        assert_int_equal(p[i], 0);
    }
    VB_AUTO_FREE void *none = vb_alloc(0);
    assert_non_null(none);
}

static void overflow_stops_the_process(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        close(STDERR_FILENO);
        void *volatile p = vb_realloc_n(NULL, SIZE_MAX / 2, 3);
        (void)p;
        _exit(0);
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGABRT);
}

static void strings(void **state)
{
    (void)state;
    assert_null(vb_strdup(NULL));
    VB_AUTO_FREE char *a = vb_strndup("abcdef", 3);
    VB_AUTO_FREE char *b = vb_strndup("ab", 10);
    VB_AUTO_FREE char *c = vb_printf("%s-%d", a, 5);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "abc-5");
}

static void scope_cleanup_closes_and_keeps_errno(void **state)
{
    (void)state;
    int seen;
    errno = ENOTTY;
    {
        VB_AUTO_FD int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        VB_AUTO_FILE FILE *f = fopen("/dev/null", "re");
        seen = fd;
        assert_non_null(f);
        errno = ENOTTY;
    }
    assert_int_equal(errno, ENOTTY);
    assert_int_equal(fcntl(seen, F_GETFD), -1);
    int kept;
    {
        VB_AUTO_FD int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        kept = VB_STEAL_FD(fd);
    }
    assert_int_not_equal(fcntl(kept, F_GETFD), -1);
    close(kept);
}

static void lists(void **state)
{
    (void)state;
    struct vb_strv l = { 0 };
    for (int i = 20; i > 0; i--) {
        vb_strv_take(&l, vb_printf("%02d", i));
    }
    vb_strv_add(&l, "\xff");
    vb_strv_sort(&l);
    assert_int_equal(l.n, 21);
    assert_string_equal(l.v[0], "01");
    assert_string_equal(l.v[20], "\xff"); /* bytewise, not signed */
    assert_true(vb_strv_has(&l, "07"));
    assert_false(vb_strv_has(&l, "7"));
    vb_strv_clear(&l);
    vb_strv_clear(&l);
    assert_int_equal(l.n, 0);
}

static void wipe(void **state)
{
    (void)state;
    char secret[] = "secret";
    vb_wipe(secret, sizeof secret);
    vb_wipe(NULL, 0);
    for (size_t i = 0; i < sizeof secret; i++) {
        assert_int_equal(secret[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(allocation_is_zeroed), cmocka_unit_test(overflow_stops_the_process),
        cmocka_unit_test(strings), cmocka_unit_test(scope_cleanup_closes_and_keeps_errno), cmocka_unit_test(lists),
        cmocka_unit_test(wipe),
    };
    return CM_RUN("mem", t);
}
