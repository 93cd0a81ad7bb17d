/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/agent/test_relay.c - the relay between pipes (or a socket pair) and the supervisor's socket. */
#include "config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "agent/relay.h"
#include "base/mem.h"

struct relay {
    pid_t pid;
    int in, out; /* our ends of its standard input and output; may be the same */
    int sock;    /* the supervisor's end */
};

static void start(struct relay *r, bool one_socket)
{
    int s[2], i[2], o[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    if (one_socket) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, i), 0);
        o[0] = i[1];
        o[1] = i[0];
    } else {
        assert_int_equal(pipe(i), 0);
        assert_int_equal(pipe(o), 0);
    }
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        dup2(i[0], 0);
        dup2(o[1], 1);
        for (int fd = 3; fd < 64; fd++)
            if (fd != s[1])
                close(fd);
        _exit(vb_relay_run(s[1]));
    }
    r->in = i[1];
    r->out = o[0];
    r->sock = s[0];
    close(i[0]);
    if (!one_socket)
        close(o[1]);
    close(s[1]);
}

static int status_of(struct relay *r)
{
    int st = -1;

    for (int i = 0; i < 500; i++) {
        if (waitpid(r->pid, &st, WNOHANG) == r->pid)
            return WIFEXITED(st) ? WEXITSTATUS(st) : 1000;
        poll(NULL, 0, 10);
    }
    kill(r->pid, SIGKILL);
    waitpid(r->pid, &st, 0);
    return 2000; /* hung */
}

static void expect_bytes(int fd, const char *want)
{
    char b[64] = "";
    size_t n = strlen(want);

    for (size_t got = 0; got < n;) {
        ssize_t k = read(fd, b + got, n - got);

        assert_true(k > 0);
        got += (size_t)k;
    }
    assert_string_equal(b, want);
}

static void each_end_is_passed_on_by_itself(void **state)
{
    struct relay r;
    char c;

    (void)state;
    start(&r, false);
    assert_int_equal(write(r.in, "up", 2), 2);
    expect_bytes(r.sock, "up");
    assert_int_equal(write(r.sock, "down", 4), 4);
    expect_bytes(r.out, "down");
    close(r.in);
    assert_int_equal(read(r.sock, &c, 1), 0); /* half-closed ... */
    assert_int_equal(write(r.sock, "last words", 10), 10);
    expect_bytes(r.out, "last words"); /* ... and still answered */
    close(r.sock);
    assert_int_equal(read(r.out, &c, 1), 0);
    assert_int_equal(status_of(&r), 0);
    close(r.out);
}

static void ends_when_the_supervisor_goes(void **state)
{
    (void)state;
    for (int one = 0; one < 2; one++) {
        struct relay r;
        char c;

        start(&r, one);
        assert_int_equal(write(r.sock, "bye", 3), 3);
        close(r.sock);
        expect_bytes(r.out, "bye");
        assert_int_equal(read(r.out, &c, 1), 0);
        assert_int_equal(status_of(&r), 0); /* although its input is still open */
        close(r.in);
        if (!one)
            close(r.out);
    }
}

static void delivers_what_was_said_before_the_caller_went(void **state)
{
    (void)state;
    for (int one = 0; one < 2; one++) {
        struct relay r;

        start(&r, one);
        kill(r.pid, SIGSTOP);
        assert_int_equal(write(r.in, "release", 7), 7);
        close(r.in);
        if (!one)
            close(r.out);
        kill(r.pid, SIGCONT);
        expect_bytes(r.sock, "release");
        assert_int_equal(status_of(&r), 0);
        close(r.sock);
    }
}

static void notices_a_dead_reader_while_silent(void **state)
{
    struct relay r;
    char c;

    (void)state;
    start(&r, false);
    close(r.out);
    close(r.in);
    assert_int_equal(read(r.sock, &c, 1), 0);
    assert_int_equal(status_of(&r), 0);
    close(r.sock);
}

/* More than all buffers hold, both ways at once, with the far end echoing: no deadlock, nothing lost. */
static void megabytes_both_ways(void **state)
{
    struct relay r;
    size_t total = 32u * 1024 * 1024, sent = 0, got = 0;
    pid_t echo;
    VB_AUTO_FREE unsigned char *out = vb_alloc(65536);
    VB_AUTO_FREE unsigned char *in = vb_alloc(65536);
    int st;

    (void)state;
    start(&r, false);
    echo = fork();
    assert_true(echo >= 0);
    if (echo == 0) {
        char b[70000];
        ssize_t n;

        close(r.in);
        close(r.out);
        while ((n = read(r.sock, b, sizeof b)) > 0)
            for (ssize_t at = 0; at < n;) {
                ssize_t k = write(r.sock, b + at, (size_t)(n - at));

                if (k <= 0)
                    _exit(1);
                at += k;
            }
        _exit(0);
    }
    close(r.sock);
    fcntl(r.in, F_SETFL, O_NONBLOCK);
    while (got < total) {
        struct pollfd p[2] = { { sent < total ? r.in : -1, POLLOUT, 0 }, { r.out, POLLIN, 0 } };

        assert_true(poll(p, 2, 10000) > 0);
        if (p[0].revents & POLLOUT) {
            size_t n = total - sent < 65536 ? total - sent : 65536;
            ssize_t k;

            for (size_t i = 0; i < n; i++)
                out[i] = (unsigned char)((sent + i) * 2654435761u >> 13);
            k = write(r.in, out, n);
            if (k > 0)
                sent += (size_t)k;
            if (sent == total)
                close(r.in);
        }
        if (p[1].revents & POLLIN) {
            ssize_t k = read(r.out, in, 65536);

            assert_true(k > 0);
            for (ssize_t i = 0; i < k; i++)
                if (in[i] != (unsigned char)((got + (size_t)i) * 2654435761u >> 13))
                    fail_msg("byte %zu differs", got + (size_t)i);
            got += (size_t)k;
        }
    }
    assert_int_equal(status_of(&r), 0);
    waitpid(echo, &st, 0);
    assert_int_equal(st, 0);
    close(r.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_is_passed_on_by_itself),
        cmocka_unit_test(ends_when_the_supervisor_goes),
        cmocka_unit_test(delivers_what_was_said_before_the_caller_went),
        cmocka_unit_test(notices_a_dead_reader_while_silent),
        cmocka_unit_test(megabytes_both_ways),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
