/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/supervisor.c - the supervisor's process: started on demand, one per user and host, ends when idle.
 *
 * Race-free start: whoever finds no one at the socket starts a supervisor; of several that start only the one that
 * gets the lock stays, and everybody tries the socket again until one greets.  The greeting is waited for, because a
 * socket in the queue of a supervisor that is just ending would be lost otherwise.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/relay.h"
#include "agent/shadow_expose.h"
#include "agent/spool.h"
#include "agent/supervisor.h"
#include "agent/supervisor_internal.h"
#include "base/io.h"
#include "base/log.h"
#include "base/process.h"

#define LOG_MAX (1024 * 1024)
#define CONNECT_TRIES 240u /* ten seconds in all */
#define CONNECT_QUICK 40u  /* the first ones follow fast: it usually takes some milliseconds */
#define GREETING_MS 10000
#define ACCEPT_PAUSE_MS 500

void vb_sup_journal(struct vb_sup *s, const char *fmt, ...)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    if (vb_journal_add(s->journal, true, &err, "%s", text) < 0)
        vb_log_error(VB_LOG_ERROR, &err);
}

/* ---- life ---- */

static void on_idle(void *arg)
{
    struct vb_sup *s = arg;
    s->idle = NULL;
    unlinkat(s->agent->paths.runtime_fd, VB_SUPERVISOR_SOCKET, 0);
    vb_loop_stop(s->loop, 0); /* who is in the queue sees its stream end and starts another one */
}

void vb_sup_check_idle(struct vb_sup *s)
{
    bool busy = s->n_clients > 0 || vb_sup_busy(s);
    if (s->stopping && !vb_sup_busy(s)) {
        vb_loop_stop(s->loop, 0);
        return;
    }
    if (busy) {
        vb_timer_cancel(s->idle);
        s->idle = NULL;
    } else if (!s->idle) {
        s->idle = vb_loop_after(s->loop, s->limits.idle, on_idle, s);
    }
}

/* Workers see the end of their control socket and abort their jobs in order. */
static void on_term(void *arg)
{
    struct vb_sup *s = arg;
    if (s->stopping)
        return;
    s->stopping = true;
    unlinkat(s->agent->paths.runtime_fd, VB_SUPERVISOR_SOCKET, 0);
    vb_watch_cancel(s->watch);
    s->watch = NULL;
    vb_timer_cancel(s->accept_pause);
    s->accept_pause = NULL;
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i]->state == VB_SJ_RUNNING)
            (void)vb_sup_cancel(s->jobs[i], "the agent is being stopped", NULL);
    vb_sup_check_idle(s);
}

static void on_accept(void *arg, short revents);

static void accept_again(void *arg)
{
    struct vb_sup *s = arg;
    s->accept_pause = NULL;
    if (!s->stopping)
        s->watch = vb_loop_watch(s->loop, s->listen, POLLIN, on_accept, s);
}

/* The one who waits stays in the queue, and the socket readable: without a pause we would spin. */
static void pause_accepting(struct vb_sup *s, int error)
{
    vb_log(VB_LOG_WARNING, "no connection can be taken for now: %s", strerror(error));
    vb_watch_cancel(s->watch);
    s->watch = NULL;
    s->accept_pause = vb_loop_after(s->loop, ACCEPT_PAUSE_MS, accept_again, s);
}

static void on_accept(void *arg, short revents)
{
    struct vb_sup *s = arg;
    (void)revents;
    for (;;) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        VB_AUTO_FD int fd = accept4(s->listen, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                pause_accepting(s, errno);
            return;
        }
        if (vb_unix_check_peer(fd, &err) < 0) {
            vb_log_error(VB_LOG_WARNING, &err);
            continue;
        }
        vb_sup_client(s, VB_STEAL_FD(fd));
    }
}

static int sweep(struct vb_sup *s, struct vb_error *err)
{
    struct vb_strv jobs = { NULL, 0, 0 };
    int rc = vb_spool_list(s->spool, &jobs, err);
    for (size_t i = 0; rc == 0 && i < jobs.n; i++)
        vb_sup_sweep(s, jobs.v[i]);
    vb_strv_clear(&jobs);
    return rc;
}

static int serve(struct vb_sup *s, struct vb_error *err)
{
    struct vb_agent *a = s->agent;
    if (vb_limits_read(&s->limits, a->config, err) < 0)
        return -1;
    s->spool = vb_spool_open(&a->paths, err);
    if (s->spool < 0)
        return -1;
    /* What an earlier one wrote is of no use any more: the jobs' own journals say what is to be cleaned up. */
    VB_AUTO_FD int dir = vb_open_dir_at(a->paths.state_fd, "agent", err);
    if (dir < 0)
        return -1;
    unlinkat(dir, "supervisor.journal", 0);
    s->journal = vb_journal_open(dir, "supervisor.journal", "supervisor", err);
    if (!s->journal)
        return -1;
    vb_sup_journal(s, "start pid=%d", (int)getpid());
    if (sweep(s, err) < 0)
        return -1;
    vb_revert_again(&a->paths, s->loop);
    if (geteuid() == 0)
        vb_expose_again(&a->paths);
    s->listen = vb_unix_listen_at(a->paths.runtime_fd, VB_SUPERVISOR_SOCKET, err);
    if (s->listen < 0)
        return -1;
    s->watch = vb_loop_watch(s->loop, s->listen, POLLIN, on_accept, s);
    vb_loop_signal(s->loop, SIGTERM, on_term, s);
    vb_loop_signal(s->loop, SIGINT, on_term, s);
    vb_sup_check_idle(s);
    vb_loop_run(s->loop);
    return 0;
}

static int run(struct vb_agent *a)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FD int lock =
        openat(a->paths.runtime_fd, "supervisor.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0) {
        vb_fail_errno(&err, errno, "lock in '%s' cannot be opened", a->paths.runtime);
        vb_log_error(VB_LOG_ERROR, &err);
        return VB_EXIT_FAILED;
    }
    int got = vb_try_lock(lock, true, &err);
    if (got == 1)
        return 0; /* another one runs */
    struct vb_sup s = { .agent = a, .spool = -1, .listen = -1, .loop = vb_loop_new() };
    int rc = got < 0 ? -1 : serve(&s, &err);
    if (rc < 0)
        vb_log_error(VB_LOG_ERROR, &err);
    while (s.n_jobs > 0)
        vb_sup_job_free(s.jobs[--s.n_jobs]);
    free(s.jobs);
    vb_journal_close(s.journal);
    vb_close_fd(&s.spool);
    vb_close_fd(&s.listen);
    vb_loop_free(s.loop);
    return rc < 0 ? (int)vb_code_exit(err.code) : 0;
}

/* ---- standing alone ---- */

static int open_log(struct vb_agent *a)
{
    struct stat st;
    if (fstatat(a->paths.state_fd, "agent.log", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > LOG_MAX)
        renameat(a->paths.state_fd, "agent.log", a->paths.state_fd, "agent.log.1");
    return openat(a->paths.state_fd, "agent.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static int detach(struct vb_agent *a)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid < 0 ? VB_EXIT_FAILED : 0;
    setsid();
    pid = fork();
    if (pid != 0)
        _exit(pid < 0 ? 1 : 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open_log(a);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(log >= 0 ? log : null, STDERR_FILENO);
    }
    vb_close_fd(&null);
    vb_close_fd(&log);
    umask(0077);
    if (chdir("/") < 0)
        _exit(1);
    _exit(run(a));
}

int vb_supervisor_main(struct vb_agent *a, int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--detach"))
        return detach(a);
    return run(a);
}

/* ---- from the relay's side ---- */

static int start_one(struct vb_error *err)
{
    const char *argv[] = { vb_self_path(), "supervisor", "--detach", NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    sp.argv = argv;
    return vb_run(&sp, GREETING_MS, 4096, NULL, err);
}

/* The supervisor greets at once; a stream that ends instead was in the queue of one that ended. */
static bool greets(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    char byte;
    return poll(&p, 1, GREETING_MS) == 1 && recv(fd, &byte, 1, MSG_PEEK) == 1;
}

int vb_supervisor_connect(struct vb_agent *a, struct vb_error *err)
{
    for (unsigned i = 0; i < CONNECT_TRIES; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        VB_AUTO_FD int fd = vb_unix_connect_at(a->paths.runtime_fd, VB_SUPERVISOR_SOCKET, &why);
        if (fd >= 0 && vb_unix_check_peer(fd, err) < 0)
            return -1;
        if (fd >= 0 && greets(fd))
            return VB_STEAL_FD(fd);
        if (i % CONNECT_QUICK == 0 && start_one(err) < 0)
            return -1;
        struct timespec pause = { 0, (i < CONNECT_QUICK ? 5 : 50) * 1000000L };
        nanosleep(&pause, NULL); /* lint: allow nanosleep, a blocking client outside of any loop */
    }
    vb_fail(err, VB_E_AGENT_MISSING, "the supervisor does not start");
    vb_hint(err, "see '%s/agent.log' on this host", a->paths.state);
    return -1;
}

int vb_relay_main(struct vb_agent *a, int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *how = getenv("VBACKUP_RELAY");
    bool pass = argc > 1 && !strcmp(argv[1], "--pass") && !(how && !strcmp(how, "copy"));
    int fd = vb_supervisor_connect(a, &err);
    if (fd >= 0 && !pass)
        return vb_relay_run(fd);
    if (fd >= 0 && vb_fd_pass(STDIN_FILENO, fd, &err) == 0)
        return VB_EXIT_DONE;
    vb_log_error(VB_LOG_ERROR, &err);
    return (int)vb_code_exit(err.code);
}
