/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/password.c - see password.h.
 */
#include "config.h"
#include "requester/password.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "store/crypto.h"

#define MAX_PASSWORD 4096u
#define COMMAND_MS 120000

/* ---- bytes from a descriptor ---- */

/* Up to the end or max bytes, without a copy left behind by a growing buffer. */
static int read_all(int fd, int timeout_ms, struct vb_buf *out, struct vb_error *err)
{
    vb_buf_reserve(out, MAX_PASSWORD + 2);
    for (;;) {
        struct pollfd p = { fd, POLLIN, 0 };
        if (timeout_ms > 0 && poll(&p, 1, timeout_ms) == 0)
            return vb_fail(err, VB_E_TIMEOUT, "no password in %d s", timeout_ms / 1000);
        ssize_t n = read(fd, out->data + out->len, MAX_PASSWORD + 1 - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(err, errno, "cannot read");
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len > MAX_PASSWORD)
            return vb_fail(err, VB_E_LIMIT, "more than %u bytes", MAX_PASSWORD);
    }
}

/* The first line is the password. */
static int first_line(struct vb_buf *b, struct vb_error *err)
{
    unsigned char *end = b->len ? memchr(b->data, '\n', b->len) : NULL;
    if (end) {
        size_t n = (size_t)(end - b->data);
        vb_wipe(end, b->len - n);
        b->len = n;
    }
    if (b->len && b->data[b->len - 1] == '\r')
        b->len--;
    return b->len ? 0 : vb_fail(err, VB_E_CONFIG, "is empty");
}

static int from_file(const char *path, struct vb_buf *out, struct vb_error *err)
{
    VB_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    int result = 0;
    if (fd < 0)
        result = vb_fail_errno(err, errno, "cannot open");
    else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IROTH | S_IWOTH))) {
        result = vb_fail(err, VB_E_ACCESS_DENIED, "everybody may %s it", st.st_mode & S_IWOTH ? "write to" : "read");
        vb_hint(err, "chmod 600 %s; and if others may have read it, change the password: vbackup key change", path);
    }
    if (result == 0)
        result = read_all(fd, 0, out, err);
    if (result == 0)
        result = first_line(out, err);
    if (result < 0)
        vb_context(err, "password file '%s'", path);
    return result;
}

/* ---- a command ---- */

static int run_command(const char *const *argv, struct vb_buf *out, struct vb_error *err)
{
    int pipes[2];
    int status = 0;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return vb_fail_errno(err, errno, "cannot make a pipe");
    struct vb_spawn sp = VB_SPAWN_INIT;
    sp.argv = argv;
    sp.search = true;
    sp.stdout_fd = pipes[1];
    sp.die_with_parent = true;
    pid_t pid = vb_spawn(&sp, err);
    vb_close_fd(&pipes[1]);
    int result = pid < 0 ? -1 : read_all(pipes[0], COMMAND_MS, out, err);
    vb_close_fd(&pipes[0]);
    if (pid < 0)
        return -1;
    if (result < 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (result == 0 && status != 0) {
        VB_AUTO_FREE char *how = vb_wait_status_text(status);
        return vb_fail(err, VB_E_CONFIG, "%s", how);
    }
    return result == 0 ? first_line(out, err) : -1;
}

/* Words separated by blanks; no shell, no quotes. */
static int from_command(const char *command, struct vb_buf *out, struct vb_error *err)
{
    struct vb_strv words = { 0 };
    for (const char *p = command; *p;) {
        size_t blank = strspn(p, " \t"), n = strcspn(p + blank, " \t");
        if (n)
            vb_strv_take(&words, vb_strndup(p + blank, n));
        p += blank + n;
    }
    const char **argv = vb_alloc_n(words.n + 1, sizeof *argv);
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.v[i];
    int result = words.n ? run_command(argv, out, err) : vb_fail(err, VB_E_CONFIG, "is empty");
    if (result < 0)
        vb_context(err, "password command '%s'", command);
    free(argv);
    vb_strv_clear(&words);
    return result;
}

/* ---- the terminal ---- */

/* Whoever interrupts gets the terminal back as it was: these are held up until it is. */
static const int held_up[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
static volatile sig_atomic_t arrived;

static void on_signal(int number)
{
    arrived = number;
}

struct quiet_terminal {
    int tty;
    struct termios before;
    struct sigaction actions[VB_COUNT(held_up)];
    sigset_t mask;
};

static int begin_quiet(struct quiet_terminal *q, int tty, struct vb_error *err)
{
    struct sigaction hold = { .sa_handler = on_signal }; /* without SA_RESTART */
    struct termios quiet;
    sigset_t block;
    q->tty = tty;
    if (tcgetattr(tty, &q->before) < 0)
        return vb_fail_errno(err, errno, "terminal");
    arrived = 0;
    sigemptyset(&block);
    sigemptyset(&hold.sa_mask);
    for (size_t i = 0; i < VB_COUNT(held_up); i++) {
        sigaddset(&block, held_up[i]);
        sigaction(held_up[i], NULL, &q->actions[i]);
        if (q->actions[i].sa_handler != SIG_IGN)
            sigaction(held_up[i], &hold, NULL);
    }
    sigprocmask(SIG_BLOCK, &block, &q->mask);
    quiet = q->before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    /* Quiet before the prompt: whoever types at once loses nothing. */
    return tcsetattr(tty, TCSAFLUSH, &quiet) < 0 ? vb_fail_errno(err, errno, "terminal") : 0;
}

/* What was held up happens now. */
static void end_quiet(struct quiet_terminal *q)
{
    tcsetattr(q->tty, TCSAFLUSH, &q->before);
    vb_write_all(q->tty, "\n", 1, NULL);
    for (size_t i = 0; i < VB_COUNT(held_up); i++)
        sigaction(held_up[i], &q->actions[i], NULL);
    sigprocmask(SIG_SETMASK, &q->mask, NULL);
    if (arrived)
        raise(arrived);
}

/* 1: a line was read; 0: the end, or a signal. */
static int read_line(const struct quiet_terminal *q, struct vb_buf *out, struct vb_error *err)
{
    int result = 1;
    for (;;) {
        struct pollfd p = { q->tty, POLLIN, 0 };
        char c;
        if (ppoll(&p, 1, NULL, &q->mask) < 0) {
            if (arrived)
                return 0;
            continue;
        }
        ssize_t n = read(q->tty, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || c == '\n')
            return result;
        if (out->len >= MAX_PASSWORD)
            result = vb_fail(err, VB_E_LIMIT, "password is longer than %u bytes", MAX_PASSWORD);
        else
            vb_buf_add_char(out, c);
    }
}

static int ask_once(int tty, const char *prompt, struct vb_buf *out, struct vb_error *err)
{
    for (;;) {
        struct quiet_terminal q;
        vb_secret_buf_reserve(out, MAX_PASSWORD + 2);
        int result = begin_quiet(&q, tty, err);
        if (result < 0)
            return -1;
        result = vb_write_all(tty, prompt, strlen(prompt), err);
        if (result == 0)
            result = read_line(&q, out, err);
        int by = arrived;
        end_quiet(&q);
        if (result < 0)
            return -1;
        if (!by)
            return out->len == 0 ? vb_fail(err, VB_E_USAGE, "no password was typed") : 0;
        if (by != SIGTSTP)
            return vb_fail(err, VB_E_CANCELLED, "interrupted");
        vb_wipe(out->data, out->cap); /* it goes on after a pause: asked once more */
        out->len = 0;
    }
}

static int from_terminal(bool new, struct vb_buf *out, struct vb_error *err)
{
    VB_AUTO_FD int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (tty < 0) {
        vb_fail(err, VB_E_ACCESS_DENIED, new ? "a password is needed for the new key, and none was given"
                                             : "the repository is encrypted, and no password was given");
        vb_hint(err, new ? "name a file that holds it, or run this on a terminal"
                         : "name a file that holds it in VBACKUP_PASSWORD_FILE, or set password-file or password-command "
                           "under [repository]");
        return -1;
    }
    if (ask_once(tty, new ? "new password: " : "password of the repository: ", out, err) < 0)
        return -1;
    if (!new)
        return 0;
    VB_CLEANUP(vb_secret_buf_clear) struct vb_buf again = VB_BUF_INIT;
    int result = ask_once(tty, "once more: ", &again, err);
    if (result == 0 && (again.len != out->len || memcmp(again.data, out->data, out->len) != 0))
        result = vb_fail(err, VB_E_USAGE, "the two passwords differ");
    return result;
}

/* ---- the sources ---- */

static const char *setting(const struct vb_settings *s, const char *key)
{
    const struct vb_config_section *r = vb_config_find(s->config, "repository", NULL);
    return r ? vb_section_get(r, key) : NULL;
}

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

struct source {
    const char *file, *command;
};

static struct source source_of(const struct vb_settings *s)
{
    struct source from = { env("VBACKUP_PASSWORD_FILE"), NULL };
    if (!from.file)
        from.command = env("VBACKUP_PASSWORD_COMMAND");
    if (!from.file && !from.command)
        from.file = setting(s, "password-file");
    if (!from.file && !from.command)
        from.command = setting(s, "password-command");
    return from;
}

/* What systemd hands to the service; NULL if nothing.  Caller frees. */
static char *credential(void)
{
    const char *dir = env("CREDENTIALS_DIRECTORY");
    char *path = dir ? vb_path_join(dir, "vbackup-password") : NULL;
    if (path && access(path, F_OK) != 0) {
        free(path);
        path = NULL;
    }
    return path;
}

/* Neither a core file nor a debugger of the same user gets to see the password, or the keys that follow from it. */
static void no_dumps(void)
{
    prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
}

static int get_password(void *arg, bool new, struct vb_buf *out, struct vb_error *err)
{
    no_dumps();
    struct source from = source_of(arg);
    if (from.file)
        return from_file(from.file, out, err);
    if (from.command)
        return from_command(from.command, out, err);
    VB_AUTO_FREE char *path = credential();
    if (path)
        return from_file(path, out, err);
    return from_terminal(new, out, err);
}

const struct vb_repo_auth *vb_settings_auth(struct vb_settings *s)
{
    struct source from = source_of(s);
    VB_AUTO_FREE char *handed = credential();
    if (!s->auth)
        s->auth = vb_alloc(sizeof *s->auth);
    *s->auth = (struct vb_repo_auth){ .password = get_password, .arg = s, .given = from.file || from.command || handed,
                                      .storage = vb_settings_storage(s), .memory = vb_settings_memory(s) };
    return s->auth;
}

static int new_password(void *arg, bool new, struct vb_buf *out, struct vb_error *err)
{
    const char *path = arg;
    no_dumps();
    return path ? from_file(path, out, err) : from_terminal(new, out, err);
}

void vb_password_new(struct vb_repo_auth *auth, const char *path)
{
    *auth = (struct vb_repo_auth){ .password = new_password, .arg = (void *)(uintptr_t)path, .given = true };
}

static int file_password(void *arg, bool new, struct vb_buf *out, struct vb_error *err)
{
    (void)new;
    no_dumps();
    return from_file(arg, out, err);
}

void vb_password_file(struct vb_settings *s, struct vb_repo_auth *auth, const char *path)
{
    *auth = (struct vb_repo_auth){ .password = path ? file_password : NULL, .arg = (void *)(uintptr_t)path,
                                    .given = path != NULL, .storage = vb_settings_storage(s),
                                    .memory = vb_settings_memory(s) };
}

unsigned vb_password_cost(void)
{
#ifdef VB_FAULT_POINTS
    uint32_t cost = 0;
    const char *v = env("VBACKUP_TEST_KEY_COST");
    if (v && vb_parse_u32(v, &cost) && cost <= 20)
        return cost;
#endif
    return 0;
}
