/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/relay.c - copies bytes between standard input and output and the supervisor's socket.
 */
#include "config.h"
#include "agent/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/io.h"
#include "base/journal.h"
#include "base/log.h"
#include "base/mem.h"

#define ROOM (256u * 1024)

/* One direction. */
struct way {
    int from, to;
    unsigned char *buf;
    size_t at, len;
    bool from_over;  /* nothing more comes */
    bool to_broken;  /* nobody takes it */
    bool closed;     /* the end was passed on */
    const char *what;
};

static bool would_block(int e)
{
    return e == EAGAIN || e == EWOULDBLOCK || e == EINTR;
}

static void fill(struct way *w, bool *failed)
{
    ssize_t n = read(w->from, w->buf, ROOM);

    if (n > 0) {
        w->at = 0;
        w->len = (size_t)n;
    } else if (n == 0 || errno == ECONNRESET || errno == EIO) {
        w->from_over = true;
    } else if (!would_block(errno)) {
        vb_log(VB_LOG_ERROR, "relay: cannot read from %s: %s", w->what, strerror(errno));
        w->from_over = true;
        *failed = true;
    }
}

static void drain(struct way *w)
{
    while (w->at < w->len && !w->to_broken) {
        ssize_t n = write(w->to, w->buf + w->at, w->len - w->at);

        if (n > 0) {
            w->at += (size_t)n;
            vb_fault_point("relay");
        } else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && would_block(errno))
            return;
        else
            w->to_broken = true;
    }
    /* What nobody takes is dropped, so that the sender does not hang on us. */
    w->at = w->len = 0;
}

static bool wants_read(const struct way *w)
{
    return !w->from_over && w->at == w->len;
}

static bool wants_write(const struct way *w)
{
    return !w->to_broken && w->at < w->len;
}

static int copy(struct way *in, struct way *out)
{
    bool failed = false;

    for (;;) {
        if (in->from_over && in->at == in->len && !in->closed) {
            in->closed = true;
            shutdown(in->to, SHUT_WR);
        }
        if (out->from_over && out->at == out->len && !out->closed) {
            out->closed = true;
            shutdown(out->to, SHUT_WR); /* standard input may be the same socket, and keep it open */
            close(out->to);
        }
        if ((in->closed || in->to_broken) && (out->closed || out->to_broken))
            return failed ? 1 : 0;
        struct pollfd p[4] = {
            { wants_read(in) ? in->from : -1, POLLIN, 0 },
            /* Once the socket has said its last it may be gone altogether, which shows as a hang-up only. */
            { wants_write(in) || (out->closed && !in->to_broken && !in->closed) ? in->to : -1,
              wants_write(in) ? POLLOUT : 0, 0 },
            { wants_read(out) ? out->from : -1, POLLIN, 0 },
            /* Watched even with nothing to say: its reader's death shows here only. */
            { out->closed || out->to_broken ? -1 : out->to, wants_write(out) ? POLLOUT : 0, 0 },
        };

        if (poll(p, 4, -1) < 0) {
            if (errno == EINTR)
                continue;
            vb_log(VB_LOG_ERROR, "relay: cannot wait: %s", strerror(errno));
            return 1;
        }
        if (p[3].revents & (POLLERR | POLLNVAL | POLLHUP)) {
            out->to_broken = true;
            drain(out);
        } else if (p[3].revents & POLLOUT) {
            drain(out);
        }
        if (p[1].revents & POLLOUT)
            drain(in);
        if (p[1].revents & (POLLERR | POLLHUP | POLLNVAL))
            in->to_broken = true;
        if (p[0].revents) {
            fill(in, &failed);
            drain(in);
        }
        if (p[2].revents) {
            fill(out, &failed);
            drain(out);
        }
    }
}

int vb_relay_run(int sock_fd)
{
    VB_AUTO_FREE unsigned char *up = vb_alloc(ROOM);
    VB_AUTO_FREE unsigned char *down = vb_alloc(ROOM);
    struct way in = { .from = STDIN_FILENO, .to = sock_fd, .buf = up, .what = "standard input" };
    struct way out = { .from = sock_fd, .to = STDOUT_FILENO, .buf = down, .what = "the supervisor" };
    int flags_in = fcntl(STDIN_FILENO, F_GETFL), flags_out = fcntl(STDOUT_FILENO, F_GETFL);
    int status;

    signal(SIGPIPE, SIG_IGN);
    vb_set_nonblock(STDIN_FILENO, true);
    vb_set_nonblock(STDOUT_FILENO, true);
    vb_set_nonblock(sock_fd, true);
    status = copy(&in, &out);
    /* The open files may belong to others, too: a terminal, a shell. */
    if (flags_in >= 0)
        fcntl(STDIN_FILENO, F_SETFL, flags_in);
    if (!out.closed && flags_out >= 0)
        fcntl(STDOUT_FILENO, F_SETFL, flags_out);
    close(sock_fd);
    return status;
}
