/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/watchdog_client.c - the worker's side of the watchdog.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/paths.h"
#include "agent/watchdog.h"
#include "base/process.h"

struct vb_watchdog {
    struct vb_loop *loop;
    int sock, pid;
    struct vb_watch *watch;
    uint32_t asked;         /* the last request that is answered */
    int *mounts;            /* ours, for the case that the process dies with something frozen */
    size_t n_mounts;
    vb_watchdog_fn *fn;
    vb_watchdog_fired_fn *fired;
    void *arg;
};

static void on_ended(void *arg, int status)
{
    (void)arg;
    (void)status; /* reaped; whether it was expected is told by the socket */
}

/* A frozen file system stays frozen when who froze it is killed.  The stream ends only after the process's last
 * thread, so that no freeze is under way any more. */
static void thaw_after(const struct vb_watchdog *w)
{
    for (size_t i = 0; i < w->n_mounts; i++)
        (void)ioctl(w->mounts[i], FITHAW, 0); /* EINVAL: it is not frozen */
}

static void on_answer(void *arg, short revents)
{
    struct vb_watchdog *w = arg;
    struct vb_wd_answer a;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)revents;
    ssize_t n = recv(w->sock, &a, sizeof a, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof a) {
        vb_watch_cancel(w->watch);
        w->watch = NULL;
        thaw_after(w);
        w->fired(w->arg, "the watchdog process ended unexpectedly");
        vb_fail(&err, VB_E_HOLD_WRITES_TIMEOUT, "the watchdog process ended unexpectedly");
        w->fn(w->arg, (enum vb_watchdog_call)w->asked, &err); /* whoever waits for its answer */
        return;
    }
    a.text[sizeof a.text - 1] = '\0';
    if (a.call == VB_WD_FIRED) {
        w->fired(w->arg, a.text);
        return;
    }
    if (a.error) {
        vb_fail_errno(&err, a.error, "%s", a.text);
        err.code = (enum vb_code)a.code;
    }
    w->fn(w->arg, (enum vb_watchdog_call)a.call, a.error ? &err : NULL);
}

static int request(struct vb_watchdog *w, uint32_t call, int pid, uint64_t ms, int fd)
{
    struct vb_wd_request r;
    union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } ctl;
    struct iovec iov = { &r, sizeof r };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    memset(&r, 0, sizeof r);
    r.call = call;
    r.pid = pid;
    r.ms = ms;
    if (fd >= 0) {
        memset(&ctl, 0, sizeof ctl);
        h.msg_control = ctl.space;
        h.msg_controllen = sizeof ctl.space;
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(w->sock, &h, MSG_NOSIGNAL) == (ssize_t)sizeof r ? 0 : -1;
}

struct vb_watchdog *vb_watchdog_start(struct vb_loop *l, const int *pids, size_t n_pids, const struct vb_strv *mounts,
                                      vb_watchdog_fn *fn, vb_watchdog_fired_fn *fired, void *arg, struct vb_error *err)
{
    int pair[2];
    const char *argv[] = { vb_self_path(), "watchdog", NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        vb_fail_errno(err, errno, "socket pair cannot be made");
        return NULL;
    }
    sp.argv = argv;
    sp.pass_fds = &pair[1];
    sp.n_pass_fds = 1;
    sp.new_session = true; /* not in the worker's group: it must outlive what kills the worker */
    pid_t pid = vb_spawn(&sp, err);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return NULL;
    }
    struct vb_watchdog *w = vb_alloc(sizeof *w);
    *w = (struct vb_watchdog){ .loop = l, .sock = pair[0], .pid = pid, .asked = VB_WD_START };
    w->fn = fn;
    w->fired = fired;
    w->arg = arg;
    w->mounts = vb_alloc_n(mounts->n + 1, sizeof *w->mounts);
    vb_loop_child(l, pid, on_ended, NULL);
    for (size_t i = 0; i < n_pids; i++)
        if (request(w, VB_WD_ADD_HOST, pids[i], 0, -1) < 0) {
            vb_fail_errno(err, errno, "the watchdog does not take a writer's process");
            vb_watchdog_end(w);
            return NULL;
        }
    for (size_t i = 0; i < mounts->n; i++) {
        VB_AUTO_FD int fd = open(mounts->v[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || request(w, VB_WD_ADD_MOUNT, 0, 0, fd) < 0) {
            vb_fail_errno(err, errno, "mount point '%s' cannot be opened for freezing", mounts->v[i]);
            vb_watchdog_end(w);
            return NULL;
        }
        w->mounts[w->n_mounts++] = VB_STEAL_FD(fd);
    }
    w->watch = vb_loop_watch(l, w->sock, POLLIN, on_answer, w);
    if (request(w, VB_WD_START, 0, 0, -1) < 0) {
        vb_fail_errno(err, errno, "the watchdog does not answer");
        vb_watchdog_end(w);
        return NULL;
    }
    return w;
}

void vb_watchdog_call(struct vb_watchdog *w, enum vb_watchdog_call call, uint64_t ms)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    w->asked = (uint32_t)call;
    if (request(w, (uint32_t)call, 0, ms, -1) < 0) {
        vb_fail_errno(&err, errno, "the watchdog does not answer");
        w->fn(w->arg, call, &err);
    }
}

void vb_watchdog_end(struct vb_watchdog *w)
{
    if (!w)
        return;
    (void)request(w, VB_WD_DISARM, 0, 0, -1);
    vb_watch_cancel(w->watch);
    vb_close_fd(&w->sock);
    for (size_t i = 0; i < w->n_mounts; i++)
        vb_close_fd(&w->mounts[i]);
    free(w->mounts);
    free(w);
}
