/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/ssh_agent.c - the agent protocol: u32 length, u8 type, fields.
 */
#include "config.h"
#include "wire/ssh_agent.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/known_hosts.h"

#define REPLY_MAX (256u * 1024)
#define KEYS_MAX 1000u
enum { REQUEST_IDENTITIES = 11, IDENTITIES_ANSWER = 12, SIGN_REQUEST = 13, SIGN_RESPONSE = 14 };

struct vb_ssh_agent {
    struct vb_loop *loop;
    int fd;
    struct vb_watch *watch;
    struct vb_buf in, out;
    struct vb_ssh_agent_key *keys;
    size_t n, cap;
    vb_ssh_agent_keys_fn *keys_fn;
    vb_ssh_agent_sign_fn *sign_fn;
    void *arg;
    struct vb_error err; /* why it does not work */
};

static void on_socket(void *arg, short revents);

static void stop(struct vb_ssh_agent *a)
{
    vb_watch_cancel(a->watch);
    a->watch = NULL;
    vb_close_fd(&a->fd);
}

/* Answers whatever is waited for with the error. */
static void tell_failure(void *arg)
{
    struct vb_ssh_agent *a = arg;
    vb_ssh_agent_keys_fn *keys_fn = a->keys_fn;
    vb_ssh_agent_sign_fn *sign_fn = a->sign_fn;

    stop(a);
    a->keys_fn = NULL;
    a->sign_fn = NULL;
    if (keys_fn)
        keys_fn(a->arg, NULL, 0, &a->err);
    else if (sign_fn)
        sign_fn(a->arg, NULL, 0, &a->err);
}

static void fail_now(struct vb_ssh_agent *a, const char *why)
{
    vb_fail(&a->err, VB_E_AUTH, "ssh-agent: %s", why);
    tell_failure(a);
}

static bool get_string(struct vb_reader *r, const unsigned char **p, size_t *n)
{
    uint32_t len;

    if (!vb_get_u32(r, &len) || !vb_get_bytes(r, len, p))
        return false;
    *n = len;
    return true;
}

static void take_keys(struct vb_ssh_agent *a, struct vb_reader *r)
{
    uint32_t count;
    vb_ssh_agent_keys_fn *fn = a->keys_fn;

    if (!vb_get_u32(r, &count) || count > KEYS_MAX) {
        fail_now(a, "malformed list of keys");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *blob, *comment;
        size_t blob_len, comment_len;
        char *type;

        if (!get_string(r, &blob, &blob_len) || !get_string(r, &comment, &comment_len)) {
            fail_now(a, "malformed list of keys");
            return;
        }
        type = vb_key_blob_type(blob, blob_len);
        if (!type)
            continue;
        VB_GROW(a->keys, a->n, a->cap);
        a->keys[a->n++] = (struct vb_ssh_agent_key){
            .blob = vb_memdup(blob, blob_len), .n = blob_len, .type = type,
            .comment = vb_escape_terminal((const char *)comment, comment_len < 200 ? comment_len : 200),
        };
    }
    a->keys_fn = NULL;
    fn(a->arg, a->keys, a->n, NULL);
}

static void take_signature(struct vb_ssh_agent *a, struct vb_reader *r)
{
    vb_ssh_agent_sign_fn *fn = a->sign_fn;
    struct vb_reader inner;
    const unsigned char *p, *type, *sig;
    size_t n, type_len, sig_len;

    if (!get_string(r, &p, &n)) {
        fail_now(a, "malformed signature");
        return;
    }
    vb_reader_init(&inner, p, n);
    if (!get_string(&inner, &type, &type_len) || !get_string(&inner, &sig, &sig_len)) {
        fail_now(a, "malformed signature");
        return;
    }
    a->sign_fn = NULL;
    fn(a->arg, sig, sig_len, NULL);
}

/* The reply is moved away first: the callback may close the agent. */
static void take_reply(struct vb_ssh_agent *a)
{
    struct vb_buf reply = a->in;
    struct vb_reader r;
    uint32_t len;
    uint8_t type = 0;

    a->in = (struct vb_buf)VB_BUF_INIT;
    vb_reader_init(&r, reply.data, reply.len);
    if (!vb_get_u32(&r, &len) || !vb_get_u8(&r, &type))
        fail_now(a, "malformed reply");
    else if (type == IDENTITIES_ANSWER && a->keys_fn)
        take_keys(a, &r);
    else if (type == SIGN_RESPONSE && a->sign_fn)
        take_signature(a, &r);
    else if (a->sign_fn) {
        vb_ssh_agent_sign_fn *fn = a->sign_fn;
        VB_AUTO_ERROR err = VB_ERROR_INIT;

        /* A refusal (a person said no, a key is locked) leaves the agent usable for the next key. */
        a->sign_fn = NULL;
        vb_fail(&err, VB_E_AUTH, "ssh-agent: refused to sign");
        fn(a->arg, NULL, 0, &err);
    } else {
        fail_now(a, "refused to list its keys");
    }
    vb_buf_clear(&reply);
}

static void set_events(struct vb_ssh_agent *a)
{
    vb_watch_events(a->watch, (short)(POLLIN | (a->out.len ? POLLOUT : 0)));
}

static void on_socket(void *arg, short revents)
{
    struct vb_ssh_agent *a = arg;
    struct vb_reader r;
    uint32_t len;
    ssize_t n;

    if (a->out.len > 0 && (revents & (POLLOUT | POLLERR | POLLHUP))) {
        n = send(a->fd, a->out.data, a->out.len, MSG_NOSIGNAL);
        if (n > 0) {
            vb_buf_consume(&a->out, (size_t)n);
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            fail_now(a, strerror(errno));
            return;
        }
    }
    set_events(a);
    if (!(revents & (POLLIN | POLLHUP | POLLERR)))
        return;
    vb_buf_reserve(&a->in, 4096);
    n = read(a->fd, a->in.data + a->in.len, 4096);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail_now(a, n == 0 ? "closed the connection" : strerror(errno));
        return;
    }
    a->in.len += (size_t)n;
    vb_reader_init(&r, a->in.data, a->in.len);
    if (!vb_get_u32(&r, &len))
        return;
    if (len == 0 || len > REPLY_MAX)
        fail_now(a, "reply of impossible length");
    else if (r.left >= len)
        take_reply(a);
}

struct vb_ssh_agent *vb_ssh_agent_open(struct vb_loop *l, const char *socket_path, vb_ssh_agent_keys_fn *fn, void *arg)
{
    struct vb_ssh_agent *a = vb_alloc(sizeof *a);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    size_t n = strlen(socket_path);

    a->loop = l;
    a->fd = -1;
    a->keys_fn = fn;
    a->arg = arg;
    if (n >= sizeof addr.sun_path) {
        vb_fail(&a->err, VB_E_AUTH, "ssh-agent: the path of its socket is too long");
        vb_loop_post(l, tell_failure, a);
        return a;
    }
    memcpy(addr.sun_path, socket_path, n);
    a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->fd < 0 || connect(a->fd, (const struct sockaddr *)&addr, sizeof addr) < 0) {
        vb_fail(&a->err, VB_E_AUTH, "ssh-agent: cannot connect to '%s': %s", socket_path, strerror(errno));
        vb_loop_post(l, tell_failure, a);
        return a;
    }
    vb_buf_add_u32(&a->out, 1);
    vb_buf_add_u8(&a->out, REQUEST_IDENTITIES);
    a->watch = vb_loop_watch(l, a->fd, POLLIN | POLLOUT, on_socket, a);
    return a;
}

void vb_ssh_agent_sign(struct vb_ssh_agent *a, const struct vb_ssh_agent_key *key, const void *data, size_t n,
                       vb_ssh_agent_sign_fn *fn, void *arg)
{
    a->sign_fn = fn;
    a->arg = arg;
    if (a->fd < 0) {
        vb_loop_post(a->loop, tell_failure, a);
        return;
    }
    vb_buf_add_u32(&a->out, (uint32_t)(1 + 4 + key->n + 4 + n + 4));
    vb_buf_add_u8(&a->out, SIGN_REQUEST);
    vb_buf_add_u32(&a->out, (uint32_t)key->n);
    vb_buf_add(&a->out, key->blob, key->n);
    vb_buf_add_u32(&a->out, (uint32_t)n);
    vb_buf_add(&a->out, data, n);
    vb_buf_add_u32(&a->out, 0); /* flags */
    set_events(a);
}

void vb_ssh_agent_close(struct vb_ssh_agent *a)
{
    if (!a)
        return;
    vb_loop_unpost(a->loop, a);
    stop(a);
    for (size_t i = 0; i < a->n; i++) {
        free(a->keys[i].blob);
        free(a->keys[i].type);
        free(a->keys[i].comment);
    }
    free(a->keys);
    vb_buf_clear(&a->in);
    vb_buf_clear(&a->out);
    vb_error_clear(&a->err);
    free(a);
}
