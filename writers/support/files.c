/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/support/files.c - files and programs for the in-box writers.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "writers/support/support.h"

static void close_keep_errno(int fd)
{
    int e = errno;

    if (fd >= 0)
        close(fd);
    errno = e;
}

bool vbw_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static bool dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

bool vbw_dir_empty(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    bool empty = true;

    if (d == NULL)
        return errno == ENOENT;
    while (empty && (e = readdir(d)) != NULL)
        empty = dots(e->d_name);
    closedir(d);
    return empty;
}

char *vbw_read_file(const char *path, size_t max, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0, cap = 4096;

    if (fd < 0)
        return NULL;
    char *buf = vbw_alloc(cap + 1, 1);
    for (;;) {
        if (len == cap) {
            char *more = vbw_alloc(cap * 2 + 1, 1);
            memcpy(more, buf, len);
            free(buf);
            buf = more;
            cap *= 2;
        }
        ssize_t k = read(fd, buf + len, cap - len);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0 || len + (size_t)k > max) {
            if (k > 0)
                errno = EFBIG;
            if (k != 0) {
                close_keep_errno(fd);
                free(buf);
                return NULL;
            }
            break;
        }
        len += (size_t)k;
    }
    close(fd);
    buf[len] = '\0';
    if (n != NULL)
        *n = len;
    return buf;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

int vbw_fsync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? -1 : 0;

    close_keep_errno(fd);
    return rc;
}

int vbw_write_file(const char *path, const void *p, size_t n, mode_t mode)
{
    VBW_AUTO char *tmp = vbw_printf("%s.vbackup-new", path);
    VBW_AUTO char *dir = vbw_dirname(path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);

    if (fd < 0)
        return -1;
    if (fchmod(fd, mode) != 0 || write_all(fd, p, n) != 0 || fsync(fd) != 0) {
        close_keep_errno(fd);
        unlink(tmp);
        return -1;
    }
    close(fd);
    return rename(tmp, path) == 0 ? vbw_fsync_dir(dir) : -1;
}

int vbw_copy_file(const char *from, const char *to, mode_t mode)
{
    char buf[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, rc = -1;
    ssize_t k = -1;

    if (in >= 0)
        out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (out >= 0) {
        while ((k = read(in, buf, sizeof buf)) != 0) {
            if (k < 0 && errno == EINTR)
                continue;
            if (k < 0 || write_all(out, buf, (size_t)k) != 0)
                break;
        }
        if (k == 0 && fsync(out) == 0)
            rc = 0;
    }
    close_keep_errno(in);
    close_keep_errno(out);
    return rc;
}

int vbw_move_aside(const char *path, char **to)
{
    time_t now = time(NULL);
    struct tm tm;
    char stamp[32];

    *to = NULL;
    if (!vbw_exists(path))
        return 0;
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    for (int i = 1; i < 1000; i++) {
        char *name = i == 1 ? vbw_printf("%s.vbackup-old-%s", path, stamp)
                            : vbw_printf("%s.vbackup-old-%s-%d", path, stamp, i);
        if (!vbw_exists(name)) {
            if (rename(path, name) != 0) {
                int e = errno;
                free(name);
                errno = e;
                return -1;
            }
            *to = name;
            return 0;
        }
        free(name);
    }
    errno = EEXIST;
    return -1;
}

int vbw_empty_dir(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    int rc = 0;

    if (d == NULL)
        return errno == ENOENT ? 0 : -1;
    while ((e = readdir(d)) != NULL)
        if (!dots(e->d_name) && unlinkat(dirfd(d), e->d_name, 0) != 0 && errno != EISDIR && errno != ENOENT)
            rc = -1;
    int err = errno;
    closedir(d);
    errno = err;
    return rc;
}

/* ---- programs ---- */

void vbw_argv_free(char **argv)
{
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++)
        free(argv[i]);
    free(argv);
}

char **vbw_argv(const char *text)
{
    size_t n = 0, len = strlen(text);
    char **argv = vbw_alloc(len / 2 + 2, sizeof *argv);
    const char *p = text;

    for (;;) {
        p += strspn(p, " \t");
        if (*p == '\0')
            return argv;
        char *word = vbw_alloc(len + 1, 1);
        size_t k = 0;
        argv[n++] = word;
        while (*p != '\0' && *p != ' ' && *p != '\t') {
            if (*p == '\'' || *p == '"') {
                const char *end = strchr(p + 1, *p);
                if (end == NULL) {
                    vbw_argv_free(argv);
                    return NULL;
                }
                memcpy(word + k, p + 1, (size_t)(end - p - 1));
                k += (size_t)(end - p - 1);
                p = end + 1;
            } else {
                word[k++] = *p++;
            }
        }
    }
}

static void child(char *const *argv, char *const *env, int out)
{
    int null = open("/dev/null", O_RDWR);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    setpgid(0, 0);
    dup2(null, 0);
    dup2(out >= 0 ? out : null, 1);
    dup2(out >= 0 ? out : null, 2);
    if (env != NULL)
        for (; *env != NULL; env++)
            putenv(*env);
    execvp(argv[0], argv);
    _exit(127);
}

/* Collects output until the program ends or its time is up. */
static void collect(int fd, uint64_t until, char *buf, size_t max, size_t *n)
{
    char chunk[4096];

    for (;;) {
        uint64_t now = vbw_now_us();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (now >= until || poll(&p, 1, (int)((until - now) / 1000u) + 1) <= 0)
            return;
        ssize_t k = read(fd, chunk, sizeof chunk);
        if (k <= 0)
            return;
        size_t room = max - *n, take = (size_t)k < room ? (size_t)k : room;
        memcpy(buf + *n, chunk, take);
        *n += take;
    }
}

int vbw_run(char *const *argv, char *const *env, uint64_t timeout_ms, bool daemon, char **out)
{
    int p[2] = { -1, -1 }, status = 0;
    uint64_t until = vbw_now_us() + timeout_ms * 1000u;
    enum { MAX = 65536 };

    if (out != NULL)
        *out = NULL;
    /* a daemon keeps what it was given open: a pipe would never end, a file does no harm */
    if (daemon)
        p[0] = p[1] = memfd_create("output", MFD_CLOEXEC);
    else if (pipe2(p, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        child(argv, env, p[1]);
    if (!daemon)
        close_keep_errno(p[1]);
    if (pid < 0) {
        close_keep_errno(p[0]);
        return -1;
    }
    char *buf = vbw_alloc(MAX + 1, 1);
    size_t n = 0;
    if (!daemon)
        collect(p[0], until, buf, MAX, &n);
    pid_t got;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && vbw_now_us() < until)
        vbw_nap_us(2000);
    if (got == 0) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    if (daemon) {
        ssize_t k = pread(p[0], buf, MAX, 0);
        n = k > 0 ? (size_t)k : 0;
    }
    close_keep_errno(p[0]);
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
        n--;
    buf[n] = '\0';
    if (out != NULL)
        *out = buf;
    else
        free(buf);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}
