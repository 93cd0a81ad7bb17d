/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/command.c - running a storage system's own command.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "providers/support/command.h"

#define NO_DEADLINE_MS 60000
#define STEP_MS 20
#define ERROR_MAX 4096

static const char *const ENVIRONMENT[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                           "LVM_SUPPRESS_FD_WARNINGS=1", NULL };

struct output { char *p; size_t n, cap, max; };

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t limit_ms(const struct vb_ps *s)
{
    uint64_t left = s->svc->deadline_ms ? s->svc->deadline_ms(s->host) : UINT64_MAX;
    return left == UINT64_MAX ? NO_DEADLINE_MS : left;
}

struct how { bool tied; int lock; pid_t parent; };

static void child(const char *const *argv, int in, int out, int err, struct how how) __attribute__((noreturn));
static void child(const char *const *argv, int in, int out, int err, struct how how)
{
    int high[4] = { in, out, err, how.lock };
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (how.tied && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != how.parent))
        _exit(126);
    for (int i = 0; i < 4; i++) /* out of the way of the numbers they get */
        if (high[i] >= 0 && (high[i] = fcntl(high[i], F_DUPFD, 16)) < 0)
            _exit(126);
    for (int i = 0; i < 4; i++)
        if (high[i] >= 0 && dup2(high[i], i) < 0)
            _exit(126);
    if (close_range(how.lock >= 0 ? 4 : 3, ~0u, 0) < 0)
        _exit(126);
    execve(argv[0], (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)ENVIRONMENT);
    _exit(errno == ENOENT ? 127 : 126);
}

/* 0: more may come, 1: end, -1: too much. */
static int take(int fd, struct output *o)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof buf);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return 1;
    if ((size_t)n > o->max - o->n) {
        if (o->max == ERROR_MAX) { /* of errors the end matters: keep what there is room for */
            o->n = 0;
            n = (size_t)n > o->max ? (ssize_t)o->max : n;
        } else {
            return -1;
        }
    }
    if (o->n + (size_t)n + 1 > o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 8192;
        char *p = vb_ps_alloc(cap);
        memcpy(p, o->p ? o->p : "", o->n);
        free(o->p);
        o->p = p;
        o->cap = cap;
    }
    memcpy(o->p + o->n, buf, (size_t)n);
    o->n += (size_t)n;
    o->p[o->n] = 0;
    return 0;
}

static const char *last_line(struct output *o)
{
    while (o->n > 0 && (o->p[o->n - 1] == '\n' || o->p[o->n - 1] == ' '))
        o->p[--o->n] = 0;
    if (o->n == 0)
        return NULL;
    const char *line = strrchr(o->p, '\n');
    line = line ? line + 1 : o->p;
    return line + strspn(line, " ");
}

static const char *word(const char *const *argv)
{
    return argv[1] ? argv[1] : argv[0];
}

static int judge(const struct vb_ps *s, const char *const *argv, int status, struct output *err)
{
    const char *line = last_line(err);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return vb_ps_fail(s, VB_E_PREREQUISITE, "Install it, or give its path in the provider's section.",
                          "command '%s' is not there", argv[0]);
    if (WIFEXITED(status))
        return vb_ps_fail(s, VB_E_PROVIDER_VETO, "Run the command by hand and see what it says.",
                          "'%s %s' failed with status %d: %s", argv[0], word(argv), WEXITSTATUS(status),
                          line ? line : "no reason given");
    return vb_ps_fail(s, VB_E_PROVIDER_VETO, NULL, "'%s %s' was killed by signal %d", argv[0], word(argv),
                      WTERMSIG(status));
}

/* Reads both until the ends, the limit, or too much. */
static bool collect(int fds[2], struct output o[2], uint64_t until)
{
    bool open[2] = { true, true };
    while (open[0] || open[1]) {
        struct pollfd p[2] = { { open[0] ? fds[0] : -1, POLLIN, 0 }, { open[1] ? fds[1] : -1, POLLIN, 0 } };
        uint64_t now = now_ms();
        if (now >= until)
            return false;
        int rc = poll(p, 2, until - now > 1000 ? 1000 : (int)(until - now));
        for (int i = 0; rc > 0 && i < 2; i++) {
            int got = p[i].revents ? take(fds[i], &o[i]) : 0;
            if (got < 0)
                return false;
            open[i] = open[i] && got == 0;
        }
    }
    return true;
}

static bool ended(pid_t pid, int *status, uint64_t until)
{
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid)
            return true;
        if ((got < 0 && errno != EINTR) || now_ms() >= until)
            return false;
        poll(NULL, 0, STEP_MS / 10);
    }
}

static int run(const struct vb_ps *s, const char *const *argv, int stdin_fd, struct how how, char **out)
{
    int a[2] = { -1, -1 }, b[2] = { -1, -1 }, status = 0, rc = -1;
    int null = stdin_fd >= 0 ? stdin_fd : open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct output o[2] = { { .max = VB_PS_OUTPUT_MAX }, { .max = ERROR_MAX } };
    uint64_t until = now_ms() + limit_ms(s);
    pid_t pid = -1;
    if (null >= 0 && pipe2(a, O_CLOEXEC) == 0 && pipe2(b, O_CLOEXEC) == 0)
        pid = fork();
    if (pid == 0)
        child(argv, null, a[1], b[1], how);
    for (int i = 0; i < 2; i++)
        if ((i ? b : a)[1] >= 0)
            close((i ? b : a)[1]);
    if (pid < 0) {
        vb_ps_fail_errno(s, errno, NULL, "'%s' cannot be run", argv[0]);
    } else {
        int fds[2] = { a[0], b[0] };
        bool whole = collect(fds, o, until);
        if (!whole)
            kill(pid, how.tied ? SIGKILL : SIGTERM);
        if (!ended(pid, &status, whole ? until : until + 1000) || !whole)
            vb_ps_fail(s, VB_E_TIMEOUT, "Look whether it still runs, and what it waits for.",
                       "'%s %s' did not end in time, or printed without end", argv[0], word(argv));
        else
            rc = judge(s, argv, status, &o[1]);
    }
    for (int i = 0; i < 2; i++)
        if ((i ? b : a)[0] >= 0)
            close((i ? b : a)[0]);
    if (stdin_fd < 0 && null >= 0)
        close(null);
    if (rc == 0 && out)
        *out = o[0].p ? o[0].p : vb_ps_strdup("");
    else
        free(o[0].p);
    free(o[1].p);
    return rc;
}

int vb_ps_command(const struct vb_ps *s, const char *const *argv, int stdin_fd, char **out)
{
    return run(s, argv, stdin_fd, (struct how){ false, -1, getpid() }, out);
}

int vb_ps_command_tied(const struct vb_ps *s, const char *const *argv, int stdin_fd, int lock_fd, char **out)
{
    return run(s, argv, stdin_fd, (struct how){ true, lock_fd, getpid() }, out);
}

int vb_ps_lock(const struct vb_ps *s, const char *name)
{
    char *path = vb_ps_printf("%s/%s", s->svc->state_dir(s->host), name);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    uint64_t until = now_ms() + limit_ms(s);
    if (fd < 0)
        vb_ps_fail_errno(s, errno, NULL, "lock '%s' cannot be opened", path);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || now_ms() >= until) {
            vb_ps_fail(s, VB_E_BUSY, "Look for a command of the provider that does not end.",
                       "lock '%s' is held by another process", path);
            close(fd);
            fd = -1;
            break;
        }
        poll(NULL, 0, STEP_MS);
    }
    free(path);
    return fd;
}
