/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/conn_fd.c - connections over descriptors (socket pair, unix socket, two pipes), and the blocking helpers.
 */
#include "config.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "base/io.h"
#include "base/mem.h"
#include "wire/conn_impl.h"
#include "wire/protocol.h"

#define BROKEN_GRACE_MS 2000 /* how long the peer's last words are waited for once it takes nothing any more */

struct fd_conn {
    struct vb_stream s;
    int rfd, wfd;
    struct vb_watch *rw, *ww; /* ww only if wfd is another descriptor */
    bool hold;
    bool expecting;           /* another descriptor may come in the place of this one */
    bool passed;              /* it came */
    bool delivering;          /* what is sent meanwhile goes out together */
    bool write_broken;
    struct vb_error broken;   /* why nothing can be written any more */
    struct vb_timer *grace;
};

static void on_ready(void *arg, short revents);
static void on_write_ready(void *arg, short revents);
static void resume(void *arg);

/* A pipe has no MSG_NOSIGNAL, so SIGPIPE is held back for this one call. */
static ssize_t write_no_signal(int fd, const void *p, size_t n)
{
    ssize_t got = send(fd, p, n, MSG_NOSIGNAL);
    sigset_t pipe_set, old, pending;
    bool was_pending;

    if (got >= 0 || errno != ENOTSOCK)
        return got;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    got = write(fd, p, n);
    if (got < 0 && errno == EPIPE && !was_pending) {
        struct timespec zero = { 0, 0 };

        while (sigtimedwait(&pipe_set, NULL, &zero) < 0 && errno == EINTR)
            ;
        errno = EPIPE;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return got;
}

/* A descriptor that was handed over may still be non-blocking. */
static void wait_for(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events, .revents = 0 };

    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
}

static void close_fds(struct fd_conn *f)
{
    vb_watch_cancel(f->rw);
    vb_watch_cancel(f->ww);
    f->rw = f->ww = NULL;
    vb_timer_cancel(f->grace);
    f->grace = NULL;
    if (f->wfd >= 0 && f->wfd != f->rfd)
        vb_close_fd(&f->wfd);
    vb_close_fd(&f->rfd);
    f->wfd = -1;
}

static void end(struct fd_conn *f, struct vb_error *why)
{
    vb_watch_cancel(f->rw);
    vb_watch_cancel(f->ww);
    f->rw = f->ww = NULL;
    vb_timer_cancel(f->grace);
    f->grace = NULL;
    vb_conn_end(&f->s.base, why);
}

static void set_events(struct fd_conn *f)
{
    short r = 0, w = 0;

    if (f->s.base.ended || f->rfd < 0)
        return;
    if (!f->hold && !f->s.eof)
        r = POLLIN;
    if (vb_stream_queued(&f->s) > 0 && !f->write_broken && !f->expecting)
        w = POLLOUT;
    if (f->rfd == f->wfd) {
        r = (short)(r | w);
    } else if (f->wfd >= 0) {
        if (!f->ww && w)
            f->ww = vb_loop_watch(f->s.base.loop, f->wfd, w, on_write_ready, f);
        else if (f->ww)
            vb_watch_events(f->ww, w);
    }
    /* A watch is dropped while a hang-up cannot be looked at, and comes back with the wish for events. */
    if (!f->rw && r)
        f->rw = vb_loop_watch(f->s.base.loop, f->rfd, r, on_ready, f);
    else if (f->rw)
        vb_watch_events(f->rw, r);
}

static void grace_over(void *arg)
{
    struct fd_conn *f = arg;

    f->grace = NULL;
    end(f, &f->broken);
}

/* The peer takes nothing any more.  What it said before it went may still be on the way, so reading goes on. */
static void write_failed(struct fd_conn *f, int errnum)
{
    if (f->write_broken)
        return;
    f->write_broken = true;
    vb_fail(&f->broken, VB_E_CONNECTION_LOST, "connection lost while sending: %s", strerror(errnum));
    vb_stream_written(&f->s, vb_stream_queued(&f->s));
    vb_watch_cancel(f->ww);
    f->ww = NULL;
    if (f->s.eof)
        end(f, &f->broken);
    else if (!f->grace)
        f->grace = vb_loop_after(f->s.base.loop, BROKEN_GRACE_MS, grace_over, f);
}

static void shut_write(struct fd_conn *f)
{
    if (f->wfd < 0)
        return;
    if (f->wfd == f->rfd) {
        shutdown(f->wfd, SHUT_WR);
    } else {
        vb_watch_cancel(f->ww);
        f->ww = NULL;
        vb_close_fd(&f->wfd);
    }
}

/* The peer's end was read: what we still owe it is flushed first. */
static void maybe_end(struct fd_conn *f)
{
    if (!f->s.eof || f->s.base.ended)
        return;
    if (f->write_broken) {
        end(f, &f->broken);
    } else if (vb_stream_queued(&f->s) == 0) {
        vb_watch_cancel(f->rw);
        vb_watch_cancel(f->ww);
        f->rw = f->ww = NULL;
        vb_stream_end(&f->s);
    }
}

/* Writes what the descriptor takes. */
static void flush(struct fd_conn *f, bool was_blocked)
{
    bool some = false;

    while (!f->write_broken && !f->expecting && vb_stream_queued(&f->s) > 0) {
        ssize_t n = write_no_signal(f->wfd, vb_stream_front(&f->s), vb_stream_queued(&f->s));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0) {
            write_failed(f, errno);
            break;
        }
        some = true;
        vb_stream_written(&f->s, (size_t)n);
    }
    if (some && was_blocked)
        vb_conn_heard(&f->s.base);
    if (f->s.base.ended)
        return;
    if (vb_stream_queued(&f->s) > VB_CONN_LOW)
        f->s.above_low = true;
    if (vb_stream_queued(&f->s) == 0 && f->s.base.finished)
        shut_write(f);
}

static void after_write(struct fd_conn *f)
{
    maybe_end(f);
    set_events(f);
    if (f->s.above_low && vb_stream_queued(&f->s) <= VB_CONN_LOW) {
        f->s.above_low = false;
        vb_conn_drained(&f->s.base);
    }
}

static void on_write_ready(void *arg, short revents)
{
    struct fd_conn *f = arg;

    if (vb_stream_queued(&f->s) == 0 && (revents & (POLLERR | POLLHUP)))
        write_failed(f, EPIPE);
    else
        flush(f, true);
    if (!f->s.base.ended)
        after_write(f);
}

/* The first bytes of a peer that may pass a descriptor: takes it in the place of ours, or what was read instead. */
static ssize_t read_first(struct fd_conn *f, unsigned char *room)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = { room, VB_READ_SIZE };
    struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t n = recvmsg(f->rfd, &h, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
    int fd;

    if (n < 0)
        return n;
    f->expecting = false;
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fd))
        return n;
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    vb_watch_cancel(f->rw);
    f->rw = NULL;
    vb_close_fd(&f->rfd);
    f->rfd = f->wfd = fd;
    f->passed = true;
    vb_set_nonblock(fd, true);
    errno = EAGAIN; /* nothing was read from it yet */
    return -1;
}

/* Answers to messages that came together are sent together, unless they are many.  False: the connection was freed. */
static bool deliver(struct fd_conn *f)
{
    f->delivering = true;
    if (!vb_stream_deliver(&f->s))
        return false;
    f->delivering = false;
    if (!f->s.base.ended && vb_stream_queued(&f->s) > 0)
        flush(f, false);
    return true;
}

/* False: the connection was freed. */
static bool read_some(struct fd_conn *f)
{
    ssize_t n;

    do {
        unsigned char *room = vb_stream_room(&f->s, VB_READ_SIZE);

        n = f->expecting ? read_first(f, room) : read(f->rfd, room, VB_READ_SIZE);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        vb_stream_got(&f->s, (size_t)n);
        return deliver(f);
    }
    if (n == 0) {
        f->s.eof = true;
        maybe_end(f);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        vb_fail(&err, VB_E_CONNECTION_LOST, "connection lost: %s", strerror(errno));
        end(f, &err);
    }
    return true;
}

static void on_ready(void *arg, short revents)
{
    struct fd_conn *f = arg;

    if (f->rfd == f->wfd && vb_stream_queued(&f->s) > 0 && (revents & (POLLOUT | POLLERR | POLLHUP))) {
        flush(f, true);
        if (f->s.base.ended)
            return;
    }
    if (!f->hold && !f->s.eof && (revents & (POLLIN | POLLHUP | POLLERR))) {
        bool expected = f->expecting;

        if (!read_some(f) || f->s.base.ended)
            return;
        if (expected && !f->expecting)
            flush(f, false); /* what had to wait */
        if (f->s.base.ended)
            return;
    } else if (revents & (POLLHUP | POLLERR)) {
        vb_watch_cancel(f->rw);
        f->rw = NULL;
    }
    after_write(f);
}

static void fd_send(struct vb_conn *c, const struct vb_msg *m)
{
    struct fd_conn *f = (struct fd_conn *)c;
    bool idle = vb_stream_queued(&f->s) == 0;

    if (f->write_broken || vb_stream_queue(&f->s, m) < 0)
        return;
    if (f->delivering && vb_stream_queued(&f->s) < VB_CONN_LOW)
        return;
    if (idle || f->delivering) {
        flush(f, false);
        set_events(f);
    } else if (vb_stream_queued(&f->s) > VB_CONN_LOW) {
        f->s.above_low = true;
    }
}

static size_t fd_queued(const struct vb_conn *c)
{
    return vb_stream_queued(&((const struct fd_conn *)c)->s);
}

/* Frames that came before a pause are delivered from the loop, never from inside a call. */
static void resume(void *arg)
{
    struct fd_conn *f = arg;

    if (!f->hold && !f->s.base.ended && deliver(f) && !f->s.base.ended)
        after_write(f);
}

static void fd_pause(struct vb_conn *c, bool hold)
{
    struct fd_conn *f = (struct fd_conn *)c;

    if (f->hold == hold)
        return;
    f->hold = hold;
    if (hold)
        set_events(f);
    else
        vb_loop_post(c->loop, resume, f);
}

static void fd_finish(struct vb_conn *c)
{
    struct fd_conn *f = (struct fd_conn *)c;

    if (vb_stream_queued(&f->s) == 0)
        shut_write(f);
}

static void fd_destroy(struct vb_conn *c)
{
    struct fd_conn *f = (struct fd_conn *)c;

    if (f->delivering && !f->write_broken && f->wfd >= 0 && vb_stream_queued(&f->s) > 0) /* last words, said just now */
        (void)!write_no_signal(f->wfd, vb_stream_front(&f->s), vb_stream_queued(&f->s));
    close_fds(f);
    vb_error_clear(&f->broken);
    vb_stream_clear(&f->s);
    free(f);
}

static const struct vb_conn_ops fd_ops = { fd_send, fd_queued, fd_pause, fd_finish, fd_destroy };

struct vb_conn *vb_conn_fd(struct vb_loop *l, int rfd, int wfd)
{
    struct fd_conn *f = vb_alloc(sizeof *f);

    vb_conn_init(&f->s.base, l, &fd_ops);
    f->rfd = rfd;
    f->wfd = wfd;
    f->hold = true; /* until there is a handler */
    vb_set_nonblock(rfd, true);
    if (wfd != rfd)
        vb_set_nonblock(wfd, true);
    return &f->s.base;
}

void vb_conn_fd_expect(struct vb_conn *c)
{
    ((struct fd_conn *)c)->expecting = true;
}

bool vb_conn_fd_is_own(const struct vb_conn *c)
{
    const struct fd_conn *f = (const struct fd_conn *)c;
    struct ucred peer;
    socklen_t n = sizeof peer;

    return c->ops == &fd_ops && f->passed && getsockopt(f->rfd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && n == sizeof peer &&
           (peer.uid == 0 || peer.uid == geteuid());
}

int vb_fd_pass(int sock, int fd, struct vb_error *err)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    char byte = 0;
    struct iovec v = { &byte, 1 };
    struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t n;

    control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    do {
        n = sendmsg(sock, &h, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            wait_for(sock, POLLOUT);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK));
    return n == 1 ? 0 : vb_fail_errno(err, errno, "cannot pass a descriptor");
}

void vb_conn_fd_release(struct vb_conn *c, int *rfd, int *wfd, struct vb_buf *rest)
{
    struct fd_conn *f = (struct fd_conn *)c;

    if (vb_stream_queued(&f->s) > 0)
        flush(f, false);
    vb_watch_cancel(f->rw);
    vb_watch_cancel(f->ww);
    f->rw = f->ww = NULL;
    if (f->s.in.len > f->s.in_at)
        vb_buf_add(rest, vb_buf_at(&f->s.in, f->s.in_at), f->s.in.len - f->s.in_at);
    *rfd = VB_STEAL_FD(f->rfd);
    if (wfd)
        *wfd = f->wfd;
    f->wfd = -1;
    vb_conn_free(c);
}

void vb_conn_fd_prefill(struct vb_conn *c, const void *p, size_t n)
{
    struct fd_conn *f = (struct fd_conn *)c;

    vb_buf_add(&f->s.in, p, n);
}

static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN, .revents = 0 };

    return poll(&p, 1, 0) > 0;
}

/* Reads on from *at of what was read before. */
static int recv_at(int fd, struct vb_buf *in, size_t *at, struct vb_msg *m, bool wait, struct vb_error *err)
{
    for (;;) {
        size_t used;
        int got = vb_msg_parse(vb_buf_at(in, *at), in->len - *at, &used, m, err);
        ssize_t n;

        if (got < 0)
            return -1;
        *at += used;
        if (got == 1 && m->type == VB_M_PING) {
            struct vb_msg pong = VB_MSG_INIT(VB_M_PONG);

            pong.id = m->id;
            if (vb_msg_send_fd(fd, &pong, err) < 0)
                return -1;
            continue;
        }
        if (got == 1 && m->type == VB_M_PONG)
            continue;
        if (got == 1)
            return 0;
        if (!wait && !readable(fd))
            return 2;
        if (*at > 0)
            vb_buf_consume(in, *at);
        *at = 0;
        vb_buf_reserve(in, 64 * 1024);
        n = read(fd, in->data + in->len, in->cap - in->len);
        if (n > 0)
            in->len += (size_t)n;
        else if (n == 0 && in->len == 0)
            return 1;
        else if (n == 0)
            return vb_fail(err, VB_E_CONNECTION_LOST, "connection ended in the middle of a message");
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            wait_for(fd, POLLIN);
        else if (errno != EINTR)
            return vb_fail(err, VB_E_CONNECTION_LOST, "connection lost: %s", strerror(errno));
    }
}

static int recv_fd(int fd, struct vb_buf *in, struct vb_msg *m, bool wait, struct vb_error *err)
{
    size_t at = 0;
    int got = recv_at(fd, in, &at, m, wait, err);

    if (at > 0)
        vb_buf_consume(in, at);
    return got;
}

int vb_msg_next_fd(int fd, struct vb_buf *in, size_t *at, struct vb_msg *m, bool wait, struct vb_error *err)
{
    return recv_at(fd, in, at, m, wait, err);
}

int vb_msg_recv_fd(int fd, struct vb_buf *in, struct vb_msg *m, struct vb_error *err)
{
    return recv_fd(fd, in, m, true, err);
}

int vb_msg_poll_fd(int fd, struct vb_buf *in, struct vb_msg *m, struct vb_error *err)
{
    return recv_fd(fd, in, m, false, err);
}

int vb_msg_send_fd(int fd, const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;

    return vb_msg_encode(m, &out, err) < 0 ? -1 : vb_bytes_send_fd(fd, out.data, out.len, err);
}

int vb_msg_send_more_fd(int fd, const struct vb_msg *m, uint16_t tag, const void *p, size_t n, struct vb_error *err)
{
    VB_AUTO_BUF head = VB_BUF_INIT;
    struct vb_msg all = *m;

    all.body.len += 6 + n; /* what the head says */
    if (n > VB_FRAME_MAX || vb_msg_encode_head(&all, &head, err) < 0)
        return n > VB_FRAME_MAX ? vb_fail(err, VB_E_LIMIT, "field of %zu bytes in a message", n) : -1;
    vb_buf_add(&head, m->body.data, m->body.len);
    vb_buf_add_u16(&head, tag);
    vb_buf_add_u32(&head, (uint32_t)n);
    struct iovec v[2] = { { head.data, head.len }, { (void *)(uintptr_t)p, n } };
    struct msghdr h = { .msg_iov = v, .msg_iovlen = 2 };
    ssize_t sent = sendmsg(fd, &h, MSG_NOSIGNAL);
    size_t done = sent > 0 ? (size_t)sent : 0; /* the rest, or an error, in the ordinary way */

    if (done < head.len && vb_bytes_send_fd(fd, vb_buf_at(&head, done), head.len - done, err) < 0)
        return -1;
    done = done > head.len ? done - head.len : 0;
    return vb_bytes_send_fd(fd, (const unsigned char *)p + done, n - done, err);
}

int vb_bytes_send_fd(int fd, const void *p, size_t n, struct vb_error *err)
{
    const unsigned char *from = p;

    while (n > 0) {
        ssize_t sent = write_no_signal(fd, from, n);

        if (sent >= 0)
            from += sent, n -= (size_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            wait_for(fd, POLLOUT);
        else if (errno != EINTR)
            return vb_fail(err, VB_E_CONNECTION_LOST, "connection lost while sending: %s", strerror(errno));
    }
    return 0;
}
