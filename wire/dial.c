/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/dial.c - name to connected socket.
 */
#include "config.h"
#include "wire/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"

#define SHARE_MIN_MS 1000u /* an address gets at least this long */

/* Shared by the thread and the loop; whoever leaves last frees it. */
struct lookup {
    char *address, *port;
    int rc;
    struct addrinfo *found;
    int done_fd;          /* written by the thread */
    pthread_mutex_t lock;
    bool abandoned, finished;
};

struct vb_dial {
    struct vb_loop *loop;
    char *name, *address;
    uint32_t port;
    uint64_t deadline_ms;
    vb_dial_fn *fn;
    void *arg;
    struct lookup *lookup;
    int lookup_fd;
    struct addrinfo *found, *next;
    int fd;
    struct vb_watch *watch;
    struct vb_timer *timer;
    struct vb_buf tried;  /* "10.0.0.1: Connection refused; ..." */
    char *trying;
    bool timed_out;
};

static void try_next(void *arg);

static void lookup_free(struct lookup *k)
{
    if (k->found)
        freeaddrinfo(k->found);
    pthread_mutex_destroy(&k->lock);
    free(k->address);
    free(k->port);
    free(k);
}

static int resolve(const char *address, const char *port, int flags, struct addrinfo **found)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

    hints.ai_flags = flags | AI_NUMERICSERV;
    return getaddrinfo(address, port, &hints, found);
}

static void *lookup_main(void *arg)
{
    struct lookup *k = arg;
    int fd;
    bool abandoned;

    k->rc = resolve(k->address, k->port, AI_ADDRCONFIG, &k->found);
    fd = k->done_fd;
    pthread_mutex_lock(&k->lock);
    k->finished = true;
    abandoned = k->abandoned;
    if (!abandoned) {
        while (write(fd, "", 1) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&k->lock);
    close(fd);
    if (abandoned)
        lookup_free(k);
    return NULL;
}

static void lookup_leave(struct vb_dial *d)
{
    struct lookup *k = d->lookup;
    bool finished;

    vb_close_fd(&d->lookup_fd);
    if (!k)
        return;
    d->lookup = NULL;
    pthread_mutex_lock(&k->lock);
    k->abandoned = true;
    finished = k->finished;
    pthread_mutex_unlock(&k->lock);
    if (finished)
        lookup_free(k);
}

static void dial_free(struct vb_dial *d)
{
    vb_loop_unpost(d->loop, d);
    vb_watch_cancel(d->watch);
    vb_timer_cancel(d->timer);
    d->watch = NULL;
    d->timer = NULL;
    lookup_leave(d);
    if (d->found)
        freeaddrinfo(d->found);
    vb_close_fd(&d->fd);
    vb_buf_clear(&d->tried);
    free(d->trying);
    free(d->name);
    free(d->address);
    free(d);
}

void vb_dial_cancel(struct vb_dial *d)
{
    if (d)
        dial_free(d);
}

/* Frees the handle and tells the result. */
static void result(struct vb_dial *d, int fd, const struct vb_error *err)
{
    vb_dial_fn *fn = d->fn;
    void *arg = d->arg;

    dial_free(d);
    fn(arg, fd, err);
}

static void failed(struct vb_dial *d)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    vb_fail(&err, d->timed_out ? VB_E_TIMEOUT : VB_E_CONNECT, "cannot connect to port %u of %s",
            (unsigned)d->port, vb_buf_str(&d->tried));
    vb_hint(&err, "is the host up, does its sshd listen there, and does a firewall let us through? (ssh -p %u %s)",
            (unsigned)d->port, d->address);
    result(d, -1, &err);
}

static void note_failure(struct vb_dial *d, const char *why)
{
    if (d->tried.len)
        vb_buf_add_str(&d->tried, "; ");
    vb_buf_addf(&d->tried, "%s: %s", d->trying, why);
    vb_watch_cancel(d->watch);
    d->watch = NULL;
    vb_timer_cancel(d->timer);
    d->timer = NULL;
    vb_close_fd(&d->fd);
}

static void connected(struct vb_dial *d)
{
    int one = 1, fd;

    vb_watch_cancel(d->watch);
    d->watch = NULL;
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(d->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    fd = VB_STEAL_FD(d->fd);
    result(d, fd, NULL);
}

static void on_socket(void *arg, short revents)
{
    struct vb_dial *d = arg;
    int e = 0;
    socklen_t len = sizeof e;

    (void)revents;
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        e = errno;
    if (e == 0) {
        connected(d);
    } else {
        note_failure(d, strerror(e));
        try_next(d);
    }
}

static void on_share_over(void *arg)
{
    struct vb_dial *d = arg;

    d->timer = NULL;
    d->timed_out = true;
    note_failure(d, "no answer in time");
    try_next(d);
}

static void try_next(void *arg)
{
    struct vb_dial *d = arg;

    while (d->next) {
        struct addrinfo *a = d->next;
        uint64_t now = vb_loop_now_ms(d->loop), left = d->deadline_ms > now ? d->deadline_ms - now : 0, share;
        unsigned n = 0;
        char host[NI_MAXHOST];

        d->next = a->ai_next;
        free(d->trying);
        if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
            d->trying = vb_strdup("?");
        else
            d->trying = vb_strdup(host);
        if (left == 0) {
            d->timed_out = true;
            note_failure(d, "no time left to try it");
            continue;
        }
        for (const struct addrinfo *i = a; i; i = i->ai_next)
            n++;
        share = left / n < SHARE_MIN_MS ? SHARE_MIN_MS : left / n;
        if (share > left)
            share = left;
        d->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        if (d->fd < 0) {
            note_failure(d, strerror(errno));
            continue;
        }
        if (connect(d->fd, a->ai_addr, a->ai_addrlen) == 0) {
            connected(d);
            return;
        }
        if (errno != EINPROGRESS) {
            note_failure(d, strerror(errno));
            continue;
        }
        d->watch = vb_loop_watch(d->loop, d->fd, POLLOUT, on_socket, d);
        d->timer = vb_loop_after(d->loop, share, on_share_over, d);
        return;
    }
    failed(d);
}

static void not_found(struct vb_dial *d, const char *why, enum vb_code code)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    vb_fail(&err, code, "cannot find the address of '%s': %s", d->address, why);
    vb_hint(&err, "set 'address' in the section [host %s] of the configuration", d->name);
    result(d, -1, &err);
}

static void on_lookup(void *arg, short revents)
{
    struct vb_dial *d = arg;
    struct lookup *k = d->lookup;

    (void)revents;
    vb_watch_cancel(d->watch);
    d->watch = NULL;
    vb_timer_cancel(d->timer);
    d->timer = NULL;
    pthread_mutex_lock(&k->lock); /* the thread is past its last touch once it let go */
    pthread_mutex_unlock(&k->lock);
    if (k->rc != 0) {
        not_found(d, gai_strerror(k->rc), VB_E_CONNECT);
        return;
    }
    d->found = d->next = k->found;
    k->found = NULL;
    lookup_leave(d);
    try_next(d);
}

static void on_lookup_late(void *arg)
{
    struct vb_dial *d = arg;

    d->timer = NULL;
    not_found(d, "the name server does not answer", VB_E_TIMEOUT);
}

static void no_thread(void *arg)
{
    not_found(arg, "no thread for the look-up", VB_E_CONNECT);
}

static int start_lookup(struct vb_dial *d, const char *port, uint64_t timeout_ms)
{
    struct lookup *k = vb_alloc(sizeof *k);
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int fd[2], rc;

    pthread_mutex_init(&k->lock, NULL);
    if (pipe2(fd, O_CLOEXEC) < 0) {
        lookup_free(k);
        return -1;
    }
    k->address = vb_strdup(d->address);
    k->port = vb_strdup(port);
    k->done_fd = fd[1];
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
    rc = pthread_create(&thread, &attr, lookup_main, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        close(fd[0]);
        close(fd[1]);
        lookup_free(k);
        return -1;
    }
    d->lookup = k;
    d->lookup_fd = fd[0];
    d->watch = vb_loop_watch(d->loop, fd[0], POLLIN, on_lookup, d);
    d->timer = vb_loop_after(d->loop, timeout_ms, on_lookup_late, d);
    return 0;
}

struct vb_dial *vb_dial(struct vb_loop *l, const char *name, const char *address, uint32_t port, uint64_t timeout_ms,
                        vb_dial_fn *fn, void *arg)
{
    struct vb_dial *d = vb_alloc(sizeof *d);
    VB_AUTO_FREE char *port_text = vb_printf("%u", (unsigned)port);

    d->loop = l;
    d->name = vb_strdup(name);
    d->address = vb_strdup(address);
    d->port = port;
    d->fd = d->lookup_fd = -1;
    d->fn = fn;
    d->arg = arg;
    d->deadline_ms = vb_loop_now_ms(l) + timeout_ms;
    /* Digits need no name server and no thread. */
    if (resolve(address, port_text, AI_NUMERICHOST, &d->found) == 0) {
        d->next = d->found;
        vb_loop_post(l, try_next, d);
    } else if (start_lookup(d, port_text, timeout_ms) < 0) {
        vb_loop_post(l, no_thread, d);
    }
    return d;
}
