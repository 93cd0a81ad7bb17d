/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/loop.c - the event loop, real and virtual.
 *
 * Timers stand in a binary heap ordered by (due, order of creation), posted calls in a queue.  The real loop
 * arms one timerfd on CLOCK_BOOTTIME, so that deadlines are right after a suspend, too; children are pidfds.
 * Objects that are cancelled while a turn hands out events are only marked, and freed when it ends.
 */
#include <config.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/loop.h"
#include "base/mem.h"

struct vb_timer {
    struct vb_loop *loop;
    uint64_t due_us, seq;
    size_t at; /* place in the heap */
    vb_loop_fn *fn;
    void *arg;
};

struct vb_watch {
    struct vb_loop *loop;
    struct vb_watch *next;
    int fd;
    short events;
    bool dead;
    vb_watch_fn *fn;
    void *arg;
};

struct child {
    struct child *next;
    int pid, pidfd;
    bool dead;
    vb_child_fn *fn;
    void *arg;
};

struct handler {
    struct handler *next;
    int signo;
    vb_loop_fn *fn;
    void *arg;
};

struct post {
    struct post *next;
    vb_loop_fn *fn;
    void *arg;
};

struct vb_loop {
    bool is_virtual;
    uint64_t virtual_us;      /* virtual: microseconds since start */
    uint64_t virtual_wall_ms; /* virtual: wall clock at start */
    struct vb_timer **heap;
    size_t n_timers, cap_timers;
    uint64_t next_seq;
    struct post *posts, **posts_end;
    struct vb_watch *watches;
    struct child *children;
    struct handler *handlers;
    sigset_t signals;
    int signal_fd, timer_fd;
    uint64_t armed_us; /* what timer_fd is set to, 0: not armed */
    unsigned depth;    /* turns under way (a callback may turn the loop itself) */
    bool stopped;
    int stop_value;
};

struct vb_loop *vb_loop_new(void)
{
    struct vb_loop *l = vb_alloc(sizeof *l);
    l->posts_end = &l->posts;
    l->signal_fd = -1;
    l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    sigemptyset(&l->signals);
    return l;
}

struct vb_loop *vb_loop_new_virtual(uint64_t start_wall_ms)
{
    struct vb_loop *l = vb_alloc(sizeof *l);
    l->posts_end = &l->posts;
    l->signal_fd = -1;
    l->timer_fd = -1;
    l->is_virtual = true;
    l->virtual_wall_ms = start_wall_ms;
    sigemptyset(&l->signals);
    return l;
}

void vb_loop_free(struct vb_loop *l)
{
    if (!l) {
        return;
    }
    for (size_t i = 0; i < l->n_timers; i++) {
        free(l->heap[i]);
    }
    free(l->heap);
    while (l->posts) {
        struct post *p = l->posts;
        l->posts = p->next;
        free(p);
    }
    while (l->watches) {
        struct vb_watch *w = l->watches;
        l->watches = w->next;
        free(w);
    }
    while (l->children) {
        struct child *c = l->children;
        l->children = c->next;
        vb_close_fd(&c->pidfd);
        free(c);
    }
    while (l->handlers) {
        struct handler *h = l->handlers;
        l->handlers = h->next;
        free(h);
    }
    vb_close_fd(&l->signal_fd);
    vb_close_fd(&l->timer_fd);
    free(l);
}

uint64_t vb_loop_now_us(struct vb_loop *l)
{
    if (l->is_virtual) {
        return l->virtual_us;
    }
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t vb_loop_now_ms(struct vb_loop *l)
{
    return vb_loop_now_us(l) / 1000;
}

uint64_t vb_loop_wall_ms(struct vb_loop *l)
{
    if (l->is_virtual) {
        return l->virtual_wall_ms + l->virtual_us / 1000;
    }
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- timers --- */

static bool timer_before(const struct vb_timer *a, const struct vb_timer *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->seq < b->seq;
}

static void heap_put(struct vb_loop *l, size_t at, struct vb_timer *t)
{
    l->heap[at] = t;
    t->at = at;
}

static void heap_up(struct vb_loop *l, size_t at)
{
    struct vb_timer *t = l->heap[at];
    while (at > 0 && timer_before(t, l->heap[(at - 1) / 2])) {
        heap_put(l, at, l->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(l, at, t);
}

static void heap_down(struct vb_loop *l, size_t at)
{
    struct vb_timer *t = l->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= l->n_timers) {
            break;
        }
        if (child + 1 < l->n_timers && timer_before(l->heap[child + 1], l->heap[child])) {
            child++;
        }
        if (!timer_before(l->heap[child], t)) {
            break;
        }
        heap_put(l, at, l->heap[child]);
        at = child;
    }
    heap_put(l, at, t);
}

static void heap_remove(struct vb_loop *l, size_t at)
{
    struct vb_timer *last = l->heap[--l->n_timers];
    if (at < l->n_timers) {
        heap_put(l, at, last);
        heap_up(l, at);
        heap_down(l, last->at);
    }
}

struct vb_timer *vb_loop_after(struct vb_loop *l, uint64_t ms, vb_loop_fn *fn, void *arg)
{
    struct vb_timer *t = vb_alloc(sizeof *t);
    uint64_t us;
    t->loop = l;
    t->fn = fn;
    t->arg = arg;
    t->seq = l->next_seq++;
    if (__builtin_mul_overflow(ms, 1000, &us) || __builtin_add_overflow(vb_loop_now_us(l), us, &t->due_us)) {
        t->due_us = UINT64_MAX;
    }
    VB_GROW(l->heap, l->n_timers, l->cap_timers);
    l->heap[l->n_timers++] = t;
    heap_up(l, l->n_timers - 1);
    return t;
}

void vb_timer_cancel(struct vb_timer *t)
{
    if (t) {
        heap_remove(t->loop, t->at);
        free(t);
    }
}

static void fire_first(struct vb_loop *l)
{
    struct vb_timer *t = l->heap[0];
    heap_remove(l, 0);
    vb_loop_fn *fn = t->fn;
    void *arg = t->arg;
    free(t);
    fn(arg);
}

/* --- posted calls --- */

void vb_loop_post(struct vb_loop *l, vb_loop_fn *fn, void *arg)
{
    struct post *p = vb_alloc(sizeof *p);
    p->fn = fn;
    p->arg = arg;
    *l->posts_end = p;
    l->posts_end = &p->next;
}

void vb_loop_unpost(struct vb_loop *l, void *arg)
{
    struct post **at = &l->posts;
    while (*at) {
        struct post *p = *at;
        if (p->arg == arg) {
            *at = p->next;
            free(p);
        } else {
            at = &p->next;
        }
    }
    l->posts_end = at;
}

static bool run_one_post(struct vb_loop *l)
{
    struct post *p = l->posts;
    if (!p) {
        return false;
    }
    l->posts = p->next;
    if (!l->posts) {
        l->posts_end = &l->posts;
    }
    vb_loop_fn *fn = p->fn;
    void *arg = p->arg;
    free(p);
    fn(arg);
    return true;
}

/* As many as stand there now: calls that are posted meanwhile wait for the next turn, so that descriptors
 * and timers get theirs. */
static bool run_posts(struct vb_loop *l)
{
    size_t n = 0;
    for (const struct post *p = l->posts; p; p = p->next) {
        n++;
    }
    bool any = n > 0;
    while (n-- > 0 && run_one_post(l)) {
    }
    return any;
}

/* --- descriptors, children, signals --- */

struct vb_watch *vb_loop_watch(struct vb_loop *l, int fd, short events, vb_watch_fn *fn, void *arg)
{
    if (l->is_virtual || fd < 0) {
        return NULL;
    }
    struct vb_watch *w = vb_alloc(sizeof *w);
    w->loop = l;
    w->fd = fd;
    w->events = events;
    w->fn = fn;
    w->arg = arg;
    struct vb_watch **at = &l->watches;
    while (*at) {
        at = &(*at)->next;
    }
    *at = w;
    return w;
}

void vb_watch_events(struct vb_watch *w, short events)
{
    w->events = events;
}

static void sweep(struct vb_loop *l)
{
    if (l->depth > 0) {
        return;
    }
    for (struct vb_watch **at = &l->watches; *at;) {
        struct vb_watch *w = *at;
        if (w->dead) {
            *at = w->next;
            free(w);
        } else {
            at = &w->next;
        }
    }
    for (struct child **at = &l->children; *at;) {
        struct child *c = *at;
        if (c->dead) {
            *at = c->next;
            vb_close_fd(&c->pidfd);
            free(c);
        } else {
            at = &c->next;
        }
    }
}

void vb_watch_cancel(struct vb_watch *w)
{
    if (w) {
        w->dead = true;
        sweep(w->loop);
    }
}

int vb_loop_child(struct vb_loop *l, int pid, vb_child_fn *fn, void *arg)
{
    if (l->is_virtual) {
        errno = ENOTSUP;
        return -1;
    }
    int fd = pidfd_open(pid, 0);
    if (fd < 0) {
        return -1;
    }
    struct child *c = vb_alloc(sizeof *c);
    c->pid = pid;
    c->pidfd = fd;
    c->fn = fn;
    c->arg = arg;
    c->next = l->children;
    l->children = c;
    return 0;
}

void vb_loop_unchild(struct vb_loop *l, int pid)
{
    for (struct child *c = l->children; c; c = c->next) {
        if (c->pid == pid) {
            c->dead = true;
        }
    }
    sweep(l);
}

int vb_loop_signal(struct vb_loop *l, int signo, vb_loop_fn *fn, void *arg)
{
    sigset_t one;
    if (l->is_virtual) {
        errno = ENOTSUP;
        return -1;
    }
    sigemptyset(&one);
    if (sigaddset(&one, signo) < 0) {
        return -1;
    }
    sigaddset(&l->signals, signo);
    if (sigprocmask(SIG_BLOCK, &one, NULL) < 0) {
        return -1;
    }
    int fd = signalfd(l->signal_fd, &l->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    l->signal_fd = fd;
    struct handler *h = vb_alloc(sizeof *h);
    h->signo = signo;
    h->fn = fn;
    h->arg = arg;
    h->next = l->handlers;
    l->handlers = h;
    return 0;
}

static void take_signals(struct vb_loop *l)
{
    struct signalfd_siginfo si;
    while (read(l->signal_fd, &si, sizeof si) == (ssize_t)sizeof si) {
        for (struct handler *h = l->handlers; h; h = h->next) {
            if (h->signo == (int)si.ssi_signo) {
                h->fn(h->arg);
            }
        }
    }
}

static void take_child(struct child *c)
{
    int status = 0;
    pid_t r;
    do {
        r = waitpid(c->pid, &status, WNOHANG);
    } while (r < 0 && errno == EINTR);
    if (r == 0) {
        return;
    }
    if (r < 0) {
        status = W_EXITCODE(255, 0); /* somebody else reaped it: its true status is lost */
    }
    c->dead = true;
    c->fn(c->arg, status);
}

/* --- the turn --- */

static bool anything_left(const struct vb_loop *l)
{
    if (l->posts || l->n_timers) {
        return true;
    }
    for (const struct vb_watch *w = l->watches; w; w = w->next) {
        if (!w->dead) {
            return true;
        }
    }
    for (const struct child *c = l->children; c; c = c->next) {
        if (!c->dead) {
            return true;
        }
    }
    return false;
}

static void arm(struct vb_loop *l)
{
    uint64_t due = l->n_timers ? l->heap[0]->due_us : 0;
    if (due == l->armed_us) {
        return;
    }
    struct itimerspec it = { 0 };
    if (l->n_timers) {
        it.it_value.tv_sec = (time_t)(due / 1000000 > INT32_MAX ? INT32_MAX : due / 1000000);
        it.it_value.tv_nsec = (long)(due % 1000000) * 1000;
        if (it.it_value.tv_sec == 0 && it.it_value.tv_nsec == 0) {
            it.it_value.tv_nsec = 1; /* zero would disarm it */
        }
    }
    timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &it, NULL);
    l->armed_us = due;
}

static void fire_due(struct vb_loop *l)
{
    uint64_t now = vb_loop_now_us(l), seq = l->next_seq;
    while (l->n_timers && l->heap[0]->due_us <= now && l->heap[0]->seq < seq) {
        fire_first(l);
    }
}

/* A posted call may have been what the caller of the turn waits for, or have stopped the loop: look, don't wait. */
static int poll_timeout(const struct vb_loop *l, bool posts_ran, uint64_t max_ms)
{
    if (posts_ran || l->posts || l->stopped) {
        return 0;
    }
    return max_ms > INT32_MAX ? -1 : (int)max_ms;
}

static void real_turn(struct vb_loop *l, uint64_t max_ms)
{
    size_t n_watches = 0, n_children = 0, n = 0;
    bool posts_ran = run_posts(l);
    for (const struct vb_watch *w = l->watches; w; w = w->next) {
        n_watches++;
    }
    for (const struct child *c = l->children; c; c = c->next) {
        n_children++;
    }
    VB_AUTO_FREE struct pollfd *p = vb_alloc_n(n_watches + n_children + 2, sizeof *p);
    VB_AUTO_FREE void **who = vb_alloc_n(n_watches + n_children + 2, sizeof *who);
    for (struct vb_watch *w = l->watches; w; w = w->next) {
        p[n].fd = w->dead ? -1 : w->fd;
        p[n].events = w->events;
        who[n++] = w;
    }
    for (struct child *c = l->children; c; c = c->next) {
        p[n].fd = c->dead ? -1 : c->pidfd;
        p[n].events = POLLIN;
        who[n++] = c;
    }
    p[n].fd = l->signal_fd;
    p[n++].events = POLLIN;
    arm(l);
    p[n].fd = l->timer_fd;
    p[n++].events = POLLIN;
    int ready = anything_left(l) ? poll(p, (nfds_t)n, poll_timeout(l, posts_ran, max_ms)) : 0;
    if (ready > 0) {
        if (p[n - 1].revents) {
            uint64_t count;
            ssize_t r = read(l->timer_fd, &count, sizeof count);
            (void)r;
            l->armed_us = 0;
        }
        if (p[n - 2].revents) {
            take_signals(l);
        }
        for (size_t i = 0; i < n_watches; i++) {
            struct vb_watch *w = who[i];
            if (p[i].revents && !w->dead) {
                w->fn(w->arg, p[i].revents);
            }
        }
        for (size_t i = n_watches; i < n_watches + n_children; i++) {
            struct child *c = who[i];
            if (p[i].revents && !c->dead) {
                take_child(c);
            }
        }
    }
    fire_due(l);
}

bool vb_loop_turn(struct vb_loop *l, uint64_t max_ms)
{
    if (!anything_left(l)) {
        return false;
    }
    l->depth++;
    if (!l->is_virtual) {
        real_turn(l, max_ms);
    } else if (l->posts) {
        run_posts(l);
    } else {
        if (l->heap[0]->due_us > l->virtual_us) {
            l->virtual_us = l->heap[0]->due_us;
        }
        fire_first(l);
    }
    l->depth--;
    sweep(l);
    return true;
}

int vb_loop_run(struct vb_loop *l)
{
    while (!l->stopped && vb_loop_turn(l, UINT64_MAX)) {
    }
    int value = l->stopped ? l->stop_value : 0;
    l->stopped = false;
    return value;
}

void vb_loop_stop(struct vb_loop *l, int value)
{
    l->stopped = true;
    l->stop_value = value;
}
