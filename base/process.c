/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/process.c - children: everything that allocates is done before the fork, so that the child calls
 * only what is safe between fork and exec.
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/io.h"
#include "base/process.h"
#include "base/text.h"

/* What the child could not do, and why; written to the error pipe. */
struct spawn_failure {
    int step, errnum;
};
enum { STEP_DESCRIPTORS, STEP_SESSION, STEP_DIRECTORY, STEP_USER, STEP_PARENT, STEP_EXEC };
static const char *const step_text[] = {
    "cannot arrange the descriptors", "cannot make the session", "cannot enter the directory",
    "cannot switch the user", "cannot follow the parent", "cannot execute",
};

struct spawn_plan {
    const struct vb_spawn *s;
    const char *path;
    char *const *env;
    gid_t *groups;
    int n_groups;
    int *fds; /* for 0, 1, 2, 3 ... ; -1: leave as it is */
    int n_fds;
    int error_fd;
    pid_t parent;
};

static void child_fail(int fd, int step, int errnum) __attribute__((noreturn));
static void child_fail(int fd, int step, int errnum)
{
    struct spawn_failure f = { step, errnum };
    ssize_t r = write(fd, &f, sizeof f);
    (void)r;
    _exit(127);
}

/* Every source first moves above all targets, so that no target overwrites a source still needed. */
static int child_descriptors(struct spawn_plan *p)
{
    int above = p->n_fds + 1;
    int err_at = fcntl(p->error_fd, F_DUPFD_CLOEXEC, above);
    if (err_at < 0) {
        child_fail(p->error_fd, STEP_DESCRIPTORS, errno);
    }
    for (int i = 0; i < p->n_fds; i++) {
        if (p->fds[i] >= 0 && (p->fds[i] = fcntl(p->fds[i], F_DUPFD_CLOEXEC, above)) < 0) {
            child_fail(err_at, STEP_DESCRIPTORS, errno);
        }
    }
    for (int i = 0; i < p->n_fds; i++) {
        if (p->fds[i] >= 0 && dup2(p->fds[i], i) < 0) {
            child_fail(err_at, STEP_DESCRIPTORS, errno);
        }
    }
    if (dup3(err_at, p->n_fds, O_CLOEXEC) < 0) {
        child_fail(err_at, STEP_DESCRIPTORS, errno);
    }
    if (close_range((unsigned)p->n_fds + 1, ~0u, 0) < 0) {
        child_fail(p->n_fds, STEP_DESCRIPTORS, errno);
    }
    return p->n_fds;
}

static void child_signals(void)
{
    struct sigaction sa;
    sigset_t none;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = SIG_DFL;
    for (int i = 1; i < NSIG; i++) {
        sigaction(i, &sa, NULL); /* refused for KILL, STOP and the C library's own: they need no reset */
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_run(struct spawn_plan *p) __attribute__((noreturn));
static void child_run(struct spawn_plan *p)
{
    const struct vb_spawn *s = p->s;
    int e = child_descriptors(p);
    if ((s->new_session && setsid() < 0) || (s->new_group && !s->new_session && setpgid(0, 0) < 0)) {
        child_fail(e, STEP_SESSION, errno);
    }
    if (s->set_user && ((p->groups && setgroups((size_t)p->n_groups, p->groups) < 0) ||
                        setresgid(s->gid, s->gid, s->gid) < 0 || setresuid(s->uid, s->uid, s->uid) < 0)) {
        child_fail(e, STEP_USER, errno);
    }
    if (s->chdir_to && chdir(s->chdir_to) < 0) {
        child_fail(e, STEP_DIRECTORY, errno);
    }
    /* After the switch of user, which would clear it; and the parent may be gone already. */
    if (s->die_with_parent) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
            child_fail(e, STEP_PARENT, errno);
        }
        if (getppid() != p->parent) {
            _exit(127);
        }
    }
    child_signals();
    execve(p->path, (char *const *)(uintptr_t)s->argv, p->env);
    child_fail(e, STEP_EXEC, errno);
}

/* Looks argv[0] up in PATH as execvp would; NULL if it is nowhere. */
static char *search_path(const char *name)
{
    if (strchr(name, '/')) {
        return vb_strdup(name);
    }
    const char *path = getenv("PATH");
    for (const char *p = path && *path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";;) {
        size_t n = strcspn(p, ":");
        if (n > 0) { /* an empty element would mean the current directory: never */
            VB_AUTO_FREE char *dir = vb_strndup(p, n);
            VB_AUTO_FREE char *full = vb_path_join(dir, name);
            if (access(full, X_OK) == 0) {
                return VB_STEAL(full);
            }
        }
        if (!p[n]) {
            return NULL;
        }
        p += n + 1;
    }
}

/* Root hands over the user's groups; anybody else has none to give. */
static int find_groups(struct spawn_plan *p, struct vb_error *err)
{
    const struct vb_spawn *s = p->s;
    if (!s->set_user || geteuid() != 0) {
        return 0;
    }
    p->groups = vb_alloc_n(1, sizeof *p->groups);
    p->groups[0] = s->gid;
    p->n_groups = 1;
    if (!s->user_name) {
        return 0;
    }
    int n = 1;
    while (getgrouplist(s->user_name, s->gid, p->groups, &n) < 0) {
        if (n <= 0 || n > 65536) {
            return vb_fail(err, VB_E_UNEXPECTED, "cannot find the groups of user '%s'", s->user_name);
        }
        p->groups = vb_realloc_n(p->groups, (size_t)n, sizeof *p->groups);
    }
    p->n_groups = n;
    return 0;
}

static pid_t spawn_planned(struct spawn_plan *p, struct vb_error *err)
{
    const struct vb_spawn *s = p->s;
    VB_AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pipe_fds[2];
    if (null < 0) {
        return vb_fail_errno(err, errno, "cannot open '/dev/null'");
    }
    p->fds[0] = s->stdin_fd >= 0 ? s->stdin_fd : null;
    p->fds[1] = s->stdout_fd >= 0 ? s->stdout_fd : null;
    p->fds[2] = s->stderr_fd;
    for (size_t i = 0; i < s->n_pass_fds; i++) {
        p->fds[3 + i] = s->pass_fds[i];
    }
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return vb_fail_errno(err, errno, "cannot make a pipe");
    }
    VB_AUTO_FD int in = pipe_fds[0];
    VB_AUTO_FD int out = pipe_fds[1];
    p->error_fd = out;
    p->parent = getpid();
    /* No handler of ours may run in the child before it has been reset. */
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0) {
        child_run(p);
    }
    int saved = errno;
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (pid < 0) {
        return vb_fail_errno(err, saved, "cannot start '%s'", s->argv[0]);
    }
    vb_close_fd(&out);
    struct spawn_failure f;
    ssize_t r;
    do {
        r = read(in, &f, sizeof f);
    } while (r < 0 && errno == EINTR);
    if (r == (ssize_t)sizeof f) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        int step = f.step >= 0 && f.step <= STEP_EXEC ? f.step : STEP_EXEC;
        vb_fail_errno(err, f.errnum, "cannot start '%s': %s", s->argv[0], step_text[step]);
        if (err && step == STEP_EXEC && f.errnum == ENOENT) {
            err->code = VB_E_PREREQUISITE;
        }
        return -1;
    }
    return pid;
}

pid_t vb_spawn(const struct vb_spawn *s, struct vb_error *err)
{
    VB_AUTO_FREE char *path = s->search ? search_path(s->argv[0]) : vb_strdup(s->argv[0]);
    if (!path) {
        vb_fail(err, VB_E_PREREQUISITE, "cannot start '%s': not found in PATH", s->argv[0]);
        vb_hint(err, "Install the package that holds '%s', or extend PATH.", s->argv[0]);
        return -1;
    }
    struct spawn_plan p = { .s = s, .path = path };
    p.env = s->env ? (char *const *)(uintptr_t)s->env : environ;
    if (s->n_pass_fds > 1000) {
        return vb_fail(err, VB_E_UNEXPECTED, "cannot start '%s': too many descriptors", s->argv[0]);
    }
    p.n_fds = 3 + (int)s->n_pass_fds;
    p.fds = vb_alloc_n((size_t)p.n_fds, sizeof *p.fds);
    pid_t pid = find_groups(&p, err) < 0 ? -1 : spawn_planned(&p, err);
    free(p.fds);
    free(p.groups);
    return pid;
}

/* --- running to the end --- */

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Reads what is there; false at the end of the pipe.  What is beyond max is dropped, the last line is kept. */
static bool take_output(int fd, size_t max, struct vb_buf *out, struct vb_buf *last)
{
    char chunk[4096];
    for (;;) {
        ssize_t r = read(fd, chunk, sizeof chunk);
        if (r < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        if (r == 0) {
            return false;
        }
        size_t n = (size_t)r, room = max - out->len;
        vb_buf_add(out, chunk, n < room ? n : room);
        vb_buf_add(last, chunk, n);
        if (last->len > 2 * sizeof chunk) {
            vb_buf_consume(last, last->len - sizeof chunk);
        }
    }
}

static char *last_line(struct vb_buf *b)
{
    while (b->len > 0 && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == '\r' || b->data[b->len - 1] == ' ')) {
        b->len--;
    }
    size_t from = b->len;
    while (from > 0 && b->data[from - 1] != '\n') {
        from--;
    }
    size_t n = b->len - from;
    return b->len ? vb_escape_terminal((const char *)b->data + from, n > 500 ? 500 : n) : vb_strdup("");
}

/* Waits for the end of the child; -1 and killed when the time is up. */
static int wait_collect(pid_t pid, int out_fd, uint64_t timeout_ms, size_t max, struct vb_buf *out,
                        struct vb_buf *last, int *status)
{
    VB_AUTO_FD int pidfd = pidfd_open(pid, 0);
    uint64_t start = now_ms();
    bool open = true;
    int result = 0;
    for (;;) {
        pid_t r = waitpid(pid, status, WNOHANG);
        if (r == pid || (r < 0 && errno != EINTR)) {
            break;
        }
        uint64_t spent = now_ms() - start;
        if (spent >= timeout_ms) {
            kill(-pid, SIGKILL);
            while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
            }
            result = -1;
            break;
        }
        uint64_t left = timeout_ms - spent;
        struct pollfd p[2] = { { .fd = open ? out_fd : -1, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
        /* without a pidfd (out of descriptors) look again every 20 ms */
        int wait = pidfd < 0 && left > 20 ? 20 : left > 3600000 ? 3600000 : (int)left;
        if (poll(p, 2, wait) > 0 && p[0].revents) {
            open = take_output(out_fd, max, out, last);
        }
    }
    if (open) {
        take_output(out_fd, max, out, last); /* a grandchild may keep the pipe open: only what is there */
    }
    return result;
}

int vb_run(const struct vb_spawn *s, uint64_t timeout_ms, size_t max_out, char **out, struct vb_error *err)
{
    VB_AUTO_BUF text = VB_BUF_INIT;
    VB_AUTO_BUF last = VB_BUF_INIT;
    int fds[2], status = 0;
    if (out) {
        *out = NULL;
    }
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return vb_fail_errno(err, errno, "cannot make a pipe");
    }
    VB_AUTO_FD int in = fds[0];
    VB_AUTO_FD int write_end = fds[1];
    vb_set_nonblock(in, true);
    struct vb_spawn own = *s;
    own.stdout_fd = write_end;
    own.stderr_fd = write_end;
    own.new_group = true;
    pid_t pid = vb_spawn(&own, err);
    if (pid < 0) {
        return -1;
    }
    vb_close_fd(&write_end);
    int timed_out = wait_collect(pid, in, timeout_ms, max_out, &text, &last, &status);
    if (out) {
        *out = vb_buf_take_str(&text);
    }
    if (timed_out) {
        VB_AUTO_FREE char *limit = vb_duration_human(timeout_ms);
        return vb_fail(err, VB_E_TIMEOUT, "'%s' did not end within %s and was killed", s->argv[0], limit);
    }
    if (status == 0) {
        return 0;
    }
    VB_AUTO_FREE char *how = vb_wait_status_text(status);
    VB_AUTO_FREE char *line = last_line(&last);
    return vb_fail(err, VB_E_IO, "'%s' failed: %s%s%s", s->argv[0], how, *line ? ": " : "", line);
}

char *vb_wait_status_text(int status)
{
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        if (name) {
            return vb_printf("killed by signal %d (SIG%s)", WTERMSIG(status), name);
        }
        return vb_printf("killed by signal %d", WTERMSIG(status));
    }
    return vb_printf("exit status %d", WEXITSTATUS(status));
}

static char *read_link(const char *path)
{
    for (size_t size = 256; size < 1 << 20; size *= 2) {
        VB_AUTO_FREE char *t = vb_alloc_n(size, 1);
        ssize_t n = readlink(path, t, size);
        if (n < 0) {
            return NULL;
        }
        if ((size_t)n < size) {
            return VB_STEAL(t);
        }
    }
    return NULL;
}

char *vb_program_path(const char *name)
{
    const char *dir = secure_getenv("VBACKUP_LIBEXECDIR");
    if (dir && *dir) {
        return vb_path_join(dir, name);
    }
    VB_AUTO_FREE char *self = read_link("/proc/self/exe");
    char *slash = self ? strrchr(self, '/') : NULL;
    if (slash) {
        *slash = 0;
        VB_AUTO_FREE char *beside = vb_path_join(self, name);
        if (access(beside, X_OK) == 0) {
            return VB_STEAL(beside);
        }
    }
    return vb_path_join(VB_LIBEXECDIR, name);
}
