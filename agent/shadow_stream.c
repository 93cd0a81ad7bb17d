/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/shadow_stream.c - the process between a data stream and a provider that sends or receives a shadow copy.
 *
 * The provider reads or writes a pipe of ours, which has no name: it opens it below /proc while we live, and nothing is
 * left of it when we do not.  That the pipe ends says nothing (its writer may have died), so an end counts only when it
 * was told: by the agent when the provider succeeded, by DATA_END when the requester says that all was sent.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/shadow_stream.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define PIECE (256u * 1024)
#define ALIVE_MS 1000 /* a peer that waits for us hears this often that we are there */

struct stream {
    int agent, data;    /* sockets */
    int rfd, wfd;       /* the pipe */
    struct vb_buf from_agent, from_data;
    uint64_t bytes;
};

static int say_alive(struct stream *s, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_PONG);
    return vb_msg_send_fd(s->data, &m, err);
}

/* ---- pipe to data stream ---- */

static int send_piece(struct stream *s, unsigned char *buf, bool *end, struct vb_error *err)
{
    ssize_t n = read(s->rfd, buf, PIECE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return vb_fail_errno(err, errno, "what the provider sends cannot be read");
    if (n == 0) {
        *end = true;
        return 0;
    }
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);
    vb_msg_add(&m, VB_F_BYTES, buf, (size_t)n);
    s->bytes += (uint64_t)n;
    return vb_msg_send_fd(s->data, &m, err);
}

/* What the agent says, it says once: the provider is done, and the pipe's other writers are gone. */
static int heard_agent(struct stream *s, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    int rc = vb_msg_recv_fd(s->agent, &s->from_agent, &m, err);
    if (rc == 0 && m.type == VB_M_OK)
        return 0;
    return rc < 0 ? -1 : vb_fail(err, VB_E_CANCELLED, "the agent gave up");
}

static int heard_peer(struct stream *s, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    int rc = vb_msg_poll_fd(s->data, &s->from_data, &m, err);
    if (rc == 2)
        return 0;
    if (rc == 1)
        return vb_fail(err, VB_E_CONNECTION_LOST, "the requester closed the data stream");
    if (rc == 0 && vb_msg_error(&m, err) == 0)
        vb_fail(err, VB_E_PROTOCOL, "unexpected message %u on the data stream", m.type);
    return -1;
}

static int send_all(struct stream *s, struct vb_error *err)
{
    VB_AUTO_FREE unsigned char *buf = vb_alloc(PIECE);
    bool end = false;
    int rc = 0;
    if (vb_set_nonblock(s->rfd, true) < 0)
        return vb_fail_errno(err, errno, "pipe cannot be prepared");
    while (rc == 0 && !end) {
        struct pollfd p[3] = { { s->rfd, POLLIN, 0 }, { s->agent, POLLIN, 0 }, { s->data, POLLIN, 0 } };
        int n = poll(p, s->wfd >= 0 ? 3 : 1, ALIVE_MS);
        if (n < 0 && errno != EINTR)
            return vb_fail_errno(err, errno, "waiting for the provider failed");
        if (n == 0)
            rc = say_alive(s, err);
        if (n > 0 && p[2].revents)
            rc = heard_peer(s, err);
        if (rc == 0 && n > 0 && p[1].revents && (rc = heard_agent(s, err)) == 0)
            vb_close_fd(&s->wfd); /* from here on the pipe has an end */
        if (rc == 0 && n > 0 && p[0].revents)
            rc = send_piece(s, buf, &end, err);
    }
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_DATA_END);
    return rc < 0 ? -1 : vb_msg_send_fd(s->data, &m, err);
}

/* ---- data stream to pipe ---- */

static int write_piece(struct stream *s, const unsigned char *p, size_t n, struct vb_error *err)
{
    while (n > 0) {
        ssize_t k = write(s->wfd, p, n);
        if (k > 0) {
            p += k;
            n -= (size_t)k;
            s->bytes += (uint64_t)k;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return vb_fail_errno(err, errno, "the provider does not take what is received");
        struct pollfd w[2] = { { s->wfd, POLLOUT, 0 }, { s->agent, POLLIN, 0 } };
        int got = poll(w, 2, ALIVE_MS);
        if (got == 0 && say_alive(s, err) < 0)
            return -1;
        if (got > 0 && w[1].revents)
            return vb_fail(err, VB_E_CANCELLED, "the agent gave up");
    }
    return 0;
}

static int receive_all(struct stream *s, struct vb_error *err)
{
    if (vb_set_nonblock(s->wfd, true) < 0)
        return vb_fail_errno(err, errno, "pipe cannot be prepared");
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        const unsigned char *p;
        size_t n;
        int rc = vb_msg_recv_fd(s->data, &s->from_data, &m, err);
        if (rc < 0)
            return -1;
        if (rc == 1)
            return vb_fail(err, VB_E_CONNECTION_LOST, "the data stream ended in the middle");
        if (m.type == VB_M_DATA_END)
            break;
        if (m.type == VB_M_ERROR) {
            if (vb_msg_error(&m, err) == 0)
                vb_fail(err, VB_E_PROTOCOL, "the requester reports an error without saying which");
            return -1;
        }
        if (m.type != VB_M_CHUNK || !vb_msg_bytes(&m, VB_F_BYTES, &p, &n))
            return vb_fail(err, VB_E_PROTOCOL, "unexpected message %u on the data stream", m.type);
        if (write_piece(s, p, n, err) < 0)
            return -1;
    }
    vb_close_fd(&s->wfd);
    VB_AUTO_MSG ok = VB_MSG_INIT(VB_M_DATA_OK);
    return vb_msg_send_fd(s->data, &ok, err);
}

/* ---- conversation with the agent ---- */

static int ready(struct stream *s, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OK);
    VB_AUTO_FREE char *path = vb_printf("/proc/%d/fd/%d", (int)getpid(), s->rfd);
    vb_msg_add_str(&m, VB_F_PATH, path);
    return vb_msg_send_fd(s->agent, &m, err);
}

int vb_shadow_stream_serve(int agent, int data, struct vb_error *err)
{
    struct stream s = { .agent = agent, .data = data, .rfd = -1, .wfd = -1 };
    VB_AUTO_MSG spec = VB_MSG_INIT(0), answer = VB_MSG_INIT(VB_M_REPLY);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    int fds[2];
    int rc = vb_msg_recv_fd(agent, &s.from_agent, &spec, err);
    if (rc != 0 || spec.type != VB_M_SHADOW)
        return rc == 1 ? 0 : rc < 0 ? -1 : vb_fail(err, VB_E_PROTOCOL, "unexpected message %u", spec.type);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return vb_fail_errno(err, errno, "pipe cannot be made");
    s.rfd = fds[0];
    s.wfd = fds[1];
    answer.id = spec.id;
    if (ready(&s, err) < 0)
        return -1;
    VB_AUTO_FREE char *call = vb_msg_str(&spec, VB_F_CALL);
    rc = call && call[0] == 's' ? send_all(&s, &why) : receive_all(&s, &why);
    vb_msg_add_u64(&answer, VB_F_BYTES_DONE, s.bytes);
    if (rc < 0) {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ERROR);
        VB_AUTO_ERROR ignored = VB_ERROR_INIT;
        vb_msg_add_error(&answer, &why);
        vb_msg_add_error(&m, &why);
        (void)vb_msg_send_fd(data, &m, &ignored);
    }
    if (vb_msg_send_fd(agent, &answer, err) < 0)
        return -1;
    /* The provider may not have opened the pipe yet, in which all of a small one lies: we stay until we are told. */
    VB_AUTO_MSG over = VB_MSG_INIT(0);
    while (rc == 0 && vb_msg_recv_fd(agent, &s.from_agent, &over, &why) == 0)
        vb_msg_clear(&over);
    vb_close_fd(&s.rfd);
    vb_close_fd(&s.wfd);
    vb_buf_clear(&s.from_agent);
    vb_buf_clear(&s.from_data);
    return 0;
}

int vb_shadow_stream_main(int argc VB_UNUSED, char **argv VB_UNUSED)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    signal(SIGPIPE, SIG_IGN);
    if (vb_shadow_stream_serve(VB_CHILD_SOCKET_FD, VB_CHILD_DATA_FD, &err) == 0)
        return VB_EXIT_DONE;
    vb_log_error(VB_LOG_ERROR, &err);
    return (int)vb_code_exit(err.code);
}
