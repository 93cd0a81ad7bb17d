/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_talk.c - requests and answers, and the client's end.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "tracking/journal_talk.h"

#define MAGIC 0x76626a31u /* "vbj1" */
#define PATIENCE_S 20     /* the service may wait for processes that are ending */

void vb_journal_request_encode(const struct vb_journal_request *q, struct vb_buf *out)
{
    vb_buf_add_u32(out, MAGIC);
    vb_buf_add_u8(out, (uint8_t)q->op);
    vb_buf_add_u64(out, q->st_dev);
    vb_buf_add_u8(out, q->has_position);
    vb_buf_add(out, q->position.session, VB_JOURNAL_SESSION_LEN);
    vb_buf_add_u64(out, (uint64_t)q->position.since);
}

bool vb_journal_request_decode(const unsigned char *p, size_t n, struct vb_journal_request *q)
{
    struct vb_reader r;
    uint32_t magic;
    uint8_t op, has;
    uint64_t since;
    const unsigned char *session;
    vb_reader_init(&r, p, n);
    if (!vb_get_u32(&r, &magic) || magic != MAGIC || !vb_get_u8(&r, &op) || op < VB_JOURNAL_STATUS ||
        op > VB_JOURNAL_ASK_AGAIN || !vb_get_u64(&r, &q->st_dev) || !vb_get_u8(&r, &has) || has > 1 ||
        !vb_get_bytes(&r, VB_JOURNAL_SESSION_LEN, &session) || !vb_get_u64(&r, &since) || since > INT64_MAX || r.left)
        return false;
    q->op = (enum vb_journal_op)op;
    q->has_position = has == 1;
    q->position.since = (int64_t)since;
    memcpy(q->position.session, session, VB_JOURNAL_SESSION_LEN);
    return true;
}

void vb_journal_answer_encode(const struct vb_journal_answer *a, struct vb_buf *out)
{
    size_t n = a->reason ? strlen(a->reason) : 0;
    vb_buf_add_u8(out, 1);
    vb_buf_add(out, a->session, VB_JOURNAL_SESSION_LEN);
    vb_buf_add_u64(out, (uint64_t)a->start);
    vb_buf_add_u64(out, (uint64_t)a->offset);
    vb_buf_add_u64(out, (uint64_t)a->now);
    vb_buf_add_u8(out, a->covered);
    vb_buf_add_u8(out, a->open_known);
    vb_buf_add_u16(out, (uint16_t)(n > 1000 ? 1000 : n));
    if (n)
        vb_buf_add(out, a->reason, n > 1000 ? 1000 : n);
    if (a->records.len)
        vb_buf_add(out, a->records.data, a->records.len);
}

int vb_journal_answer_decode(const unsigned char *p, size_t n, struct vb_journal_answer *a, struct vb_error *err)
{
    struct vb_reader r;
    uint8_t ok, covered, known;
    uint16_t n_reason;
    uint64_t start, offset, now;
    const unsigned char *session, *text;
    vb_reader_init(&r, p, n);
    if (vb_get_u8(&r, &ok) && ok == 0) {
        VB_AUTO_FREE char *why = vb_strndup((const char *)r.p, r.left);
        return vb_fail(err, VB_E_BAD_STATE, "%s", why);
    }
    if (r.bad || ok != 1 || !vb_get_bytes(&r, VB_JOURNAL_SESSION_LEN, &session) || !vb_get_u64(&r, &start) ||
        !vb_get_u64(&r, &offset) || !vb_get_u64(&r, &now) || !vb_get_u8(&r, &covered) || covered > 1 ||
        !vb_get_u8(&r, &known) || known > 1 || !vb_get_u16(&r, &n_reason) || !vb_get_bytes(&r, n_reason, &text) ||
        start > INT64_MAX || now > INT64_MAX || offset > INT64_MAX)
        return vb_fail(err, VB_E_PROTOCOL, "journal service answers in an unknown form");
    memcpy(a->session, session, VB_JOURNAL_SESSION_LEN);
    a->start = (int64_t)start;
    a->offset = (int64_t)offset;
    a->now = (int64_t)now;
    a->covered = covered == 1;
    a->open_known = known == 1;
    a->reason = n_reason ? vb_strndup((const char *)text, n_reason) : NULL;
    vb_buf_add(&a->records, r.p, r.left);
    struct vb_journal_record one;
    int rc;
    while ((rc = vb_journal_record_take(&r, &one)) == 1)
        ;
    if (rc < 0) {
        vb_journal_answer_clear(a);
        return vb_fail(err, VB_E_CORRUPT, "journal service's records are damaged");
    }
    return 0;
}

void vb_journal_answer_clear(struct vb_journal_answer *a)
{
    free(a->reason);
    vb_buf_clear(&a->records);
    *a = (struct vb_journal_answer){ .start = 0 };
}

bool vb_journal_position_at(const struct vb_journal_answer *a, int64_t began, struct vb_journal_position *p)
{
    int64_t since;
    if (!a->open_known || __builtin_sub_overflow(began, a->offset, &since) || since < a->start || since > a->now)
        return false;
    memcpy(p->session, a->session, sizeof p->session);
    p->since = since;
    return true;
}

/* ---- the client's end ---- */

const char *vb_journal_socket(void)
{
    const char *v = getenv("VBACKUP_JOURNAL");
    return v && v[0] == '/' ? v : VB_JOURNAL_SOCKET;
}

static int reach(const char *path, struct vb_error *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = PATIENCE_S };
    struct ucred peer;
    socklen_t n = sizeof peer;
    if (strlen(path) >= sizeof a.sun_path)
        return vb_fail(err, VB_E_CONFIG, "socket's path '%s' is too long", path);
    memcpy(a.sun_path, path, strlen(path));
    VB_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof a) < 0)
        return vb_fail(err, VB_E_CONNECT, "journal service does not answer at '%s': %s", path, strerror(errno));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || peer.uid != 0)
        return vb_fail(err, VB_E_ACCESS_DENIED, "who answers at '%s' is not root", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return VB_STEAL_FD(fd);
}

static int talk(const char *socket, const struct vb_journal_request *q, struct vb_buf *reply, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    unsigned char head[4];
    VB_AUTO_FD int fd = reach(socket, err);
    vb_journal_request_encode(q, &out);
    if (fd < 0 || vb_write_all(fd, out.data, out.len, err) < 0 || vb_read_all(fd, head, sizeof head, err) < 0)
        return -1;
    uint32_t n = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    if (n > VB_JOURNAL_REPLY_MAX)
        return vb_fail(err, VB_E_PROTOCOL, "journal service answers in an unknown form");
    vb_buf_reserve(reply, n);
    if (vb_read_all(fd, reply->data, n, err) < 0)
        return -1;
    reply->len = n;
    return 0;
}

int vb_journal_ask(const char *socket, dev_t st_dev, const struct vb_journal_position *since, bool again,
                   struct vb_journal_answer *a, struct vb_error *err)
{
    struct vb_journal_request q = { .op = again ? VB_JOURNAL_ASK_AGAIN : VB_JOURNAL_ASK, .st_dev = st_dev };
    VB_AUTO_BUF reply = VB_BUF_INIT;
    if (since) {
        q.has_position = true;
        q.position = *since;
    }
    if (talk(socket, &q, &reply, err) < 0)
        return -1;
    return vb_journal_answer_decode(reply.data, reply.len, a, err);
}

int vb_journal_status(const char *socket, struct vb_buf *text, struct vb_error *err)
{
    const struct vb_journal_request q = { .op = VB_JOURNAL_STATUS };
    return talk(socket, &q, text, err);
}
