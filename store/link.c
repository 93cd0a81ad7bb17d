/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/link.c - bytes over an SSH channel, with a loop of its own that is turned while somebody waits, or over the
 * standard input and output of a program.
 */
#include "config.h"
#include "store/link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/rng.h"

#define SILENCE_MS 60000u
#define READ_SIZE (256u * 1024)
#define SLICE (32u * 1024) /* of what is sent below a limit */

/* Below a limit the next bytes wait until those before are paid for by time. */
struct pace {
    uint64_t rate, paid_ns; /* on the clock of now_ns */
};

struct vb_link {
    uint64_t silence_ms;
    struct pace up, down;
    struct vb_buf out, arrived;
    size_t out_at;
    /* a program */
    int fd;
    pid_t pid;
    char *program;
    /* SSH */
    struct vb_loop *loop;
    struct vb_ssh *ssh;
    struct vb_conn *conn;
    bool over;
    struct vb_error why;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pay(struct pace *p, size_t n)
{
    if (!p->rate)
        return;
    uint64_t now = now_ns(), cost = (uint64_t)((double)n * 1e9 / (double)p->rate);
    p->paid_ns = (p->paid_ns > now ? p->paid_ns : now) + cost;
    for (uint64_t left = p->paid_ns - now; left >= 1000000u; left = p->paid_ns > now ? p->paid_ns - now : 0) {
        poll(NULL, 0, (int)(left / 1000000u));
        now = now_ns();
    }
}

/* ---- SSH ---- */

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_link *l = arg;
    vb_buf_add(&l->arrived, m->body.data, m->body.len);
}

static void lost(struct vb_link *l, const struct vb_error *why)
{
    if (l->over)
        return;
    l->over = true;
    if (why->code != VB_OK)
        vb_error_copy(&l->why, why);
    else
        vb_fail(&l->why, VB_E_CONNECTION_LOST, "the other side has ended the connection");
}

static void on_close(void *arg, const struct vb_error *why)
{
    lost(arg, why);
}

static void on_ready(void *arg)
{
    (void)arg;
}

/* Turns the loop until something has come, or with `most` until no more than that is queued. */
static int turn_ssh(struct vb_link *l, const size_t *most, struct vb_error *err)
{
    uint64_t since = vb_loop_now_ms(l->loop);
    size_t queued = vb_conn_queued(l->conn);
    while (!l->over && (most ? vb_conn_queued(l->conn) > *most : l->arrived.len == 0)) {
        uint64_t now = vb_loop_now_ms(l->loop);
        if (vb_conn_queued(l->conn) < queued) { /* the other side takes bytes: it is not silent */
            queued = vb_conn_queued(l->conn);
            since = now;
        }
        if (now - since >= l->silence_ms)
            return vb_fail(err, VB_E_TIMEOUT, "no answer in %llu s", (unsigned long long)l->silence_ms / 1000);
        vb_loop_turn(l->loop, l->silence_ms - (now - since));
    }
    if (most ? !l->over : l->arrived.len > 0)
        return 0;
    vb_error_copy(err, &l->why);
    return -1;
}

static int wait_ssh(struct vb_link *l, struct vb_buf *in, struct vb_error *err)
{
    if (turn_ssh(l, NULL, err) < 0)
        return -1;
    vb_buf_add(in, l->arrived.data, l->arrived.len);
    vb_buf_reset(&l->arrived);
    return 0;
}

static void open_ssh(struct vb_link *l, const struct vb_link_params *p)
{
    static const struct vb_ssh_handler session = { on_ready, on_close };
    static const struct vb_conn_handler channel = { on_msg, on_close, NULL };
    l->loop = vb_loop_new();
    l->ssh = vb_ssh_open(l->loop, &p->ssh, &session, l);
    l->conn = vb_ssh_raw(l->ssh, p->command, p->subsystem);
    vb_conn_set_handler(l->conn, &channel, l);
}

/* ---- a program ---- */

/* Until something has come, or with `most` until no more than that is queued; what comes goes to l->arrived. */
static int turn_program(struct vb_link *l, const size_t *most, struct vb_error *err)
{
    uint64_t since = now_ms();
    while (most ? l->out.len - l->out_at > *most : l->arrived.len == 0) {
        struct pollfd p = { l->fd, (short)(POLLIN | (l->out.len > l->out_at ? POLLOUT : 0)), 0 };
        uint64_t silent = now_ms() - since;
        if (silent >= l->silence_ms)
            return vb_fail(err, VB_E_TIMEOUT, "no answer in %llu s", (unsigned long long)l->silence_ms / 1000);
        if (poll(&p, 1, (int)(l->silence_ms - silent)) < 0 && errno != EINTR)
            return vb_fail_errno(err, errno, "cannot wait");
        if (p.revents & POLLOUT) {
            ssize_t n = send(l->fd, vb_buf_at(&l->out, l->out_at), l->out.len - l->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) {
                l->out_at += (size_t)n;
                since = now_ms();
            } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
                l->out_at = l->out.len; /* what it has said may be read still */
            }
        }
        if (l->out_at == l->out.len) {
            vb_buf_reset(&l->out);
            l->out_at = 0;
        }
        if (!(p.revents & (POLLIN | POLLHUP | POLLERR)))
            continue;
        vb_buf_reserve(&l->arrived, READ_SIZE);
        ssize_t n = recv(l->fd, l->arrived.data + l->arrived.len, READ_SIZE, MSG_DONTWAIT);
        if (n > 0)
            l->arrived.len += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return vb_fail(err, VB_E_CONNECTION_LOST, "'%s' has ended", l->program);
    }
    return 0;
}

static int wait_program(struct vb_link *l, struct vb_buf *in, struct vb_error *err)
{
    if (turn_program(l, NULL, err) < 0)
        return -1;
    vb_buf_add(in, l->arrived.data, l->arrived.len);
    vb_buf_reset(&l->arrived);
    return 0;
}

static int open_program(struct vb_link *l, const char *const *argv, struct vb_error *err)
{
    int pair[2];
    struct vb_spawn s = VB_SPAWN_INIT;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vb_fail_errno(err, errno, "cannot make a socket pair");
    s.argv = argv;
    s.search = true;
    s.stdin_fd = s.stdout_fd = pair[1];
    l->pid = vb_spawn(&s, err);
    close(pair[1]);
    l->fd = pair[0];
    l->program = vb_strdup(argv[0]);
    return l->pid < 0 ? -1 : 0;
}

static void end_program(struct vb_link *l)
{
    int status;
    vb_close_fd(&l->fd);
    if (l->pid <= 0)
        return;
    /* At the end of its input it ends by itself; what does not is not waited for long. */
    for (int i = 0; i < 200; i++) {
        pid_t got = waitpid(l->pid, &status, WNOHANG);
        if (got == l->pid || (got < 0 && errno != EINTR))
            return;
        poll(NULL, 0, i < 20 ? 1 : 10);
    }
    kill(l->pid, SIGKILL);
    while (waitpid(l->pid, &status, 0) < 0 && errno == EINTR)
        ;
}

/* ---- both ---- */

static const char *const *copy_list(const char *const *v, size_t n)
{
    char **to = n ? vb_alloc_n(n + 1, sizeof *to) : NULL;
    for (size_t i = 0; i < n; i++)
        to[i] = vb_strdup(v[i]);
    return (const char *const *)to;
}

static void free_list(const char *const *v)
{
    char **list = (char **)(uintptr_t)v; /* ours: copy_list made it */
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void vb_link_params_copy(struct vb_link_params *to, const struct vb_link_params *from)
{
    size_t n = 0;
    *to = *from;
    while (from->argv && from->argv[n])
        n++;
    to->argv = copy_list(from->argv, n);
    to->command = vb_strdup(from->command);
    to->ssh.name = vb_strdup(from->ssh.name);
    to->ssh.address = vb_strdup(from->ssh.address);
    to->ssh.user = vb_strdup(from->ssh.user);
    to->ssh.identities = copy_list(from->ssh.identities, from->ssh.n_identities);
    to->ssh.known_hosts = copy_list(from->ssh.known_hosts, from->ssh.n_known_hosts);
}

static void free_text(const char *s)
{
    free((void *)(uintptr_t)s);
}

void vb_link_params_clear(struct vb_link_params *p)
{
    free_list(p->argv);
    free_text(p->command);
    free_text(p->ssh.name);
    free_text(p->ssh.address);
    free_text(p->ssh.user);
    free_list(p->ssh.identities);
    free_list(p->ssh.known_hosts);
    memset(p, 0, sizeof *p);
}

struct vb_link *vb_link_open(const struct vb_link_params *p, struct vb_error *err)
{
    struct vb_link *l = vb_alloc(sizeof *l);
    l->fd = -1;
    l->silence_ms = p->silence_ms ? p->silence_ms : SILENCE_MS;
    l->up.rate = p->rates.up;
    l->down.rate = p->rates.down;
    if (!p->argv) {
        open_ssh(l, p);
    } else if (open_program(l, p->argv, err) < 0) {
        vb_link_free(l);
        return NULL;
    }
    return l;
}

static void enqueue(struct vb_link *l, const void *p, size_t n)
{
    if (l->conn) {
        struct vb_msg m = VB_MSG_INIT(0);
        vb_buf_add(&m.body, p, n);
        vb_conn_send(l->conn, &m);
        vb_msg_clear(&m);
    } else {
        vb_buf_add(&l->out, p, n);
    }
}

void vb_link_send(struct vb_link *l, const void *p, size_t n)
{
    for (size_t at = 0; at < n || n == 0;) {
        size_t step = l->up.rate && n - at > SLICE ? SLICE : n - at;
        enqueue(l, (const char *)p + at, step);
        at += step;
        if (!l->up.rate || n == 0)
            return;
        vb_link_drain(l, 0, NULL); /* the next wait tells what is wrong */
        pay(&l->up, step);
    }
}

int vb_link_wait(struct vb_link *l, struct vb_buf *in, struct vb_error *err)
{
    size_t before = in->len;
    int result = l->conn ? wait_ssh(l, in, err) : wait_program(l, in, err);
    pay(&l->down, in->len - before);
    return result;
}

int vb_link_drain(struct vb_link *l, size_t most, struct vb_error *err)
{
    return l->conn ? turn_ssh(l, &most, err) : turn_program(l, &most, err);
}

void vb_link_free(struct vb_link *l)
{
    if (!l)
        return;
    vb_conn_free(l->conn);
    vb_ssh_close(l->ssh);
    vb_loop_free(l->loop);
    end_program(l);
    vb_buf_clear(&l->out);
    vb_buf_clear(&l->arrived);
    vb_error_clear(&l->why);
    free(l->program);
    free(l);
}

/* ---- trying again ---- */

void vb_retry_start(struct vb_retry *r, uint64_t limit_ms)
{
    *r = (struct vb_retry){ limit_ms, now_ms(), 25 };
}

bool vb_retry_worth(const struct vb_error *why)
{
    return why->code == VB_E_CONNECTION_LOST || why->code == VB_E_TIMEOUT || why->code == VB_E_CONNECT ||
           why->code == VB_E_BUSY;
}

bool vb_retry_again(struct vb_retry *r, const char *location, const struct vb_error *why, uint64_t least_ms)
{
    struct vb_rng rng;
    uint64_t now = now_ms();
    vb_rng_seed(&rng, now ^ (uint64_t)getpid() << 32);
    uint64_t pause = r->pause_ms + vb_rng_below(&rng, r->pause_ms);
    if (pause < least_ms)
        pause = least_ms;
    if (!vb_retry_worth(why) || now - r->began_ms + pause > r->limit_ms)
        return false;
    vb_log(VB_LOG_NOTICE, "'%s': %s; trying again in %llu.%llu s", location, vb_error_text(why),
           (unsigned long long)pause / 1000, (unsigned long long)pause % 1000 / 100);
    for (uint64_t until = now + pause; now < until; now = now_ms())
        poll(NULL, 0, (int)(until - now));
    if (r->pause_ms < 15000)
        r->pause_ms *= 2;
    return true;
}
