/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/control.c - packets between supervisor and worker.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/control.h"
#include "base/mem.h"

int vb_control_pair(int fds[2], struct vb_error *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return vb_fail_errno(err, errno, "socket pair cannot be made");
    return 0;
}

int vb_control_send(int fd, const struct vb_msg *m, const int *fds, size_t n_fds, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    union { struct cmsghdr h; char space[CMSG_SPACE(2 * sizeof(int))]; } ctl;
    if (vb_msg_encode(m, &b, err) < 0)
        return -1;
    if (b.len > VB_CONTROL_MAX || n_fds > 2)
        return vb_fail(err, VB_E_LIMIT, "control message of %zu bytes is too long", b.len);
    struct iovec iov = { b.data, b.len };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (n_fds) {
        memset(&ctl, 0, sizeof ctl);
        h.msg_control = ctl.space;
        h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? vb_fail_errno(err, errno, "control message cannot be sent") : 0;
}

int vb_control_recv(int fd, struct vb_msg *m, int fds[2], size_t *n_fds, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    union { struct cmsghdr h; char space[CMSG_SPACE(2 * sizeof(int))]; } ctl;
    vb_buf_reserve(&b, VB_CONTROL_MAX);
    struct iovec iov = { b.data, VB_CONTROL_MAX };
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.space, .msg_controllen = sizeof ctl.space
    };
    ssize_t n;
    *n_fds = 0;
    do
        n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0)
        return vb_fail_errno(err, errno, "control socket cannot be read");
    if (n == 0)
        return vb_fail(err, VB_E_CONNECTION_LOST, "the other side of the control socket is gone");
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
        }
    b.len = (size_t)n;
    int rc = vb_msg_decode(&b, m, err);
    if (rc == 0)
        vb_fail(err, VB_E_PROTOCOL, "control packet is cut off");
    if (rc == 1)
        return 1;
    while (*n_fds > 0)
        close(fds[--*n_fds]);
    return -1;
}
