/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_io.c - the socket of a session: queues between it and libssh2, and when to go on.
 */
#include "config.h"
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "wire/ssh_internal.h"

static void on_socket(void *arg, short revents);

static ssize_t give_bytes(libssh2_socket_t fd, void *buffer, size_t length, int flags, void **abstract)
{
    struct vb_ssh *s = *abstract;
    size_t n = s->in.len - s->in_at;

    (void)fd;
    (void)flags;
    if (s->dead)
        return 0;
    if (n == 0)
        return -EAGAIN;
    if (n > length)
        n = length;
    memcpy(buffer, vb_buf_at(&s->in, s->in_at), n);
    s->in_at += n;
    return (ssize_t)n;
}

static ssize_t take_bytes(libssh2_socket_t fd, const void *buffer, size_t length, int flags, void **abstract)
{
    struct vb_ssh *s = *abstract;

    (void)fd;
    (void)flags;
    if (s->out_at > VB_SSH_OUT_MAX && s->out_at > s->out.len / 2) {
        vb_buf_consume(&s->out, s->out_at);
        s->out_at = 0;
    }
    vb_buf_add(&s->out, buffer, length);
    return (ssize_t)length;
}

/*
 * libssh2 keeps whatever packets a server sends until somebody asks for them, without a limit.  So its memory is
 * counted; the pump ends a session that has too much of it.  (It is not refused here: a failed allocation would be
 * tried out in code that nobody ever tested.)  Sizes are asked for and not stored, so that memory which libssh2 passes
 * between its own and the C library's functions does no harm.
 */
static void *counted_alloc(size_t n, void **abstract)
{
    struct vb_ssh *s = *abstract;
    void *p = malloc(n); /* lint: allow malloc, libssh2 takes no memory as an error and frees it by itself */

    s->memory += malloc_usable_size(p);
    return p;
}

static void counted_free(void *p, void **abstract)
{
    struct vb_ssh *s = *abstract;
    size_t n = malloc_usable_size(p);

    s->memory -= n < s->memory ? n : s->memory;
    free(p);
}

static void *counted_realloc(void *p, size_t n, void **abstract)
{
    struct vb_ssh *s = *abstract;
    size_t before = malloc_usable_size(p);
    void *q = realloc(p, n); /* lint: allow realloc, as above */

    if (q) {
        s->memory -= before < s->memory ? before : s->memory;
        s->memory += malloc_usable_size(q);
    }
    return q;
}

static size_t memory_limit(const struct vb_ssh *s)
{
    size_t limit = s->memory_limit;

    for (const struct ssh_chan *k = s->chans; k && !s->own_limit; k = k->next)
        limit += 4u * VB_SSH_WINDOW;
    return limit;
}

/* libssh2 takes its callbacks as void pointers. */
static void set_callback(LIBSSH2_SESSION *session, int which, void (*fn)(void))
{
    void *p;

    memcpy(&p, &fn, sizeof p);
    libssh2_session_callback_set(session, which, p);
}

int vb_ssh_io_start(struct vb_ssh *s, int fd, struct vb_error *err)
{
    s->fd = fd;
    s->session = libssh2_session_init_ex(counted_alloc, counted_free, counted_realloc, s);
    if (!s->session)
        return vb_fail(err, VB_E_UNEXPECTED, "libssh2 cannot start a session");
    libssh2_session_set_blocking(s->session, 0);
    set_callback(s->session, LIBSSH2_CALLBACK_RECV, (void (*)(void))give_bytes);
    set_callback(s->session, LIBSSH2_CALLBACK_SEND, (void (*)(void))take_bytes);
    s->heard_ms = vb_loop_now_ms(s->loop);
    s->watch = vb_loop_watch(s->loop, fd, POLLIN, on_socket, s);
    return 0;
}

void vb_ssh_io_stop(struct vb_ssh *s)
{
    vb_watch_cancel(s->watch);
    s->watch = NULL;
    vb_close_fd(&s->fd);
}

void vb_ssh_flush(struct vb_ssh *s)
{
    while (s->fd >= 0 && !s->out_errno && vb_ssh_out_queued(s) > 0) {
        ssize_t n = send(s->fd, vb_buf_at(&s->out, s->out_at), vb_ssh_out_queued(s), MSG_NOSIGNAL);

        if (n >= 0)
            s->out_at += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            s->out_errno = errno; /* the reading side tells why, or soon does */
    }
    if (s->out_errno)
        s->out_at = s->out.len;
    if (s->out_at == s->out.len) {
        vb_buf_reset(&s->out);
        s->out_at = 0;
    }
}

static void set_events(struct vb_ssh *s)
{
    short events = 0;

    if (!s->watch)
        return;
    if (!s->in_eof && s->in_at == s->in.len)
        events = POLLIN;
    if (vb_ssh_out_queued(s) > 0)
        events = (short)(events | POLLOUT);
    vb_watch_events(s->watch, events);
}

/* Takes from the socket what libssh2 may have at a time. */
static void fill(struct vb_ssh *s)
{
    ssize_t n;

    vb_buf_reset(&s->in);
    s->in_at = 0;
    vb_buf_reserve(&s->in, VB_SSH_IN_MAX);
    do {
        n = read(s->fd, s->in.data, VB_SSH_IN_MAX);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        s->in.len = (size_t)n;
        s->heard_ms = vb_loop_now_ms(s->loop);
        if (!s->offer.complete)
            vb_kex_offer_feed(&s->offer, s->in.data, s->in.len);
    } else if (n == 0) {
        s->in_eof = true;
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        s->in_eof = true;
        s->in_errno = errno;
    }
}

static void pump(struct vb_ssh *s)
{
    bool full;

    vb_ssh_step(s);
    if (s->memory > memory_limit(s) && s->state != VB_SSH_FAILED) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        vb_fail(&err, VB_E_LIMIT, "connection ended: the server sent %zu bytes that nobody asked for", s->memory);
        vb_ssh_fail(s, &err);
    }
    full = vb_ssh_out_queued(s) >= VB_SSH_OUT_MAX;
    vb_ssh_flush(s);
    if (full && vb_ssh_out_queued(s) < VB_SSH_OUT_MAX)
        vb_ssh_wake(s); /* channels that had to wait would not hear of it otherwise */
    if (s->in_eof && (s->in_at == s->in.len || !s->chans) && s->state != VB_SSH_FAILED) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        vb_fail(&err, VB_E_CONNECTION_LOST, "connection lost: %s",
                s->in_errno ? strerror(s->in_errno) : "the server closed it");
        vb_ssh_fail(s, &err);
    }
    set_events(s);
}

static void posted_pump(void *arg)
{
    struct vb_ssh *s = arg;

    s->posted = false;
    if (s->state != VB_SSH_FAILED)
        pump(s);
}

void vb_ssh_wake(struct vb_ssh *s)
{
    if (s->posted || s->state == VB_SSH_FAILED || s->state == VB_SSH_DIALING)
        return;
    s->posted = true;
    vb_loop_post(s->loop, posted_pump, s);
}

static void on_socket(void *arg, short revents)
{
    struct vb_ssh *s = arg;

    if (revents & POLLOUT) {
        size_t before = vb_ssh_out_queued(s);

        vb_ssh_flush(s);
        if (vb_ssh_out_queued(s) < before)
            s->heard_ms = vb_loop_now_ms(s->loop); /* the peer takes again what it had refused */
    }
    if ((revents & (POLLIN | POLLHUP | POLLERR)) && !s->in_eof && s->in_at == s->in.len)
        fill(s);
    pump(s);
}
