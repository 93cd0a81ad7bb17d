/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/supervisor_client.c - a stream until its first message is understood: greeting, then OPEN, ATTACH, DATA,
 * STATUS or CANCEL.  The peer is our own user or root (SO_PEERCRED); the token guards against one's own mistakes.
 */
#include "config.h"

#include <openssl/crypto.h> /* lint: allow CRYPTO_memcmp: a token is compared in constant time */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/supervisor_internal.h"
#include "base/log.h"
#include "wire/greeting.h"
#include "wire/protocol.h"

#define FIRST_MESSAGE_MS 10000u
#define LINGER_MS 5000u

struct client {
    struct vb_sup *s;
    struct vb_conn *conn;
    struct vb_timer *timer;
};

static void client_free(struct client *c)
{
    struct vb_sup *s = c->s;
    vb_timer_cancel(c->timer);
    vb_conn_free(c->conn);
    free(c);
    s->n_clients--;
    vb_sup_check_idle(s);
}

static void on_late(void *arg)
{
    struct client *c = arg;
    c->timer = NULL;
    client_free(c);
}

static void on_close(void *arg, const struct vb_error *why)
{
    (void)why;
    client_free(arg);
}

static void ignore(void *arg, struct vb_msg *m)
{
    (void)arg;
    (void)m;
}

static const struct vb_conn_handler LAST = { ignore, on_close, NULL };

/* Sends the only answer and waits for the peer to hang up. */
static void finish(struct client *c, struct vb_msg *m)
{
    vb_conn_set_handler(c->conn, &LAST, c);
    vb_conn_send(c->conn, m);
    vb_conn_finish(c->conn);
    vb_timer_cancel(c->timer);
    c->timer = vb_loop_after(c->s->loop, LINGER_MS, on_late, c);
}

static void refuse(struct client *c, uint64_t id, const struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ERROR);
    m.id = id;
    vb_msg_add_error(&m, err);
    vb_log(VB_LOG_INFO, "stream refused: %s", vb_error_text(err));
    finish(c, &m);
}

static bool token_right(const struct vb_sup_job *j, const char *token)
{
    size_t n = j->token ? strlen(j->token) : 0;
    return n && token && strlen(token) == n && CRYPTO_memcmp(token, j->token, n) == 0;
}

static void hand_over(struct client *c, struct vb_sup_job *j, const struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF rest = VB_BUF_INIT;
    uint16_t type = m->type;
    uint64_t id = m->id, seq = vb_msg_u64(m, VB_F_SEQ, 0);
    int fd = -1;
    vb_conn_fd_release(c->conn, &fd, NULL, &rest);
    c->conn = NULL;
    if (vb_sup_hand_over(j, type, id, seq, fd, &rest, &err) < 0)
        vb_log_error(VB_LOG_ERROR, &err); /* the peer sees its stream end, and tries again */
    client_free(c);
}

static struct vb_sup_job *known_job(struct client *c, const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_JOB), *token = vb_msg_str(m, VB_F_TOKEN);
    struct vb_sup_job *j = id ? vb_sup_find(c->s, id) : NULL;
    if (!j) {
        vb_fail(err, VB_E_JOB_LOST, "job '%s' is not known here", id ? id : "");
        vb_hint(err, "its lease ran out, or the machine was restarted; run it again");
        return NULL;
    }
    if (j->state == VB_SJ_RUNNING && !token_right(j, token)) {
        vb_fail(err, VB_E_ACCESS_DENIED, "the token does not belong to job '%s'", id);
        return NULL;
    }
    return j;
}

static bool gone(const struct vb_sup_job *j, struct vb_error *err)
{
    if (j->state == VB_SJ_RUNNING)
        return false;
    vb_fail(err, VB_E_JOB_LOST, "%s", j->why.code != VB_OK ? j->why.text : "the job was released");
    if (j->why.hint)
        vb_hint(err, "%s", j->why.hint);
    return true;
}

static void on_first(void *arg, struct vb_msg *m)
{
    struct client *c = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_sup_job *j = NULL;
    const unsigned char *p;
    size_t n;
    vb_conn_set_handler(c->conn, NULL, NULL);
    switch (m->type) {
    case VB_M_OPEN:
        if (!vb_msg_bytes(m, VB_F_JOB_DOC, &p, &n))
            vb_fail(&err, VB_E_PROTOCOL, "OPEN came without a job document");
        else if ((j = vb_sup_open(c->s, p, n, vb_msg_u64(m, VB_F_LEASE_MS, 0), &err)))
            (void)gone(j, &err);
        break;
    case VB_M_ATTACH:
    case VB_M_DATA:
        if ((j = known_job(c, m, &err)))
            (void)gone(j, &err);
        break;
    case VB_M_STATUS: {
        VB_AUTO_MSG r = VB_MSG_INIT(VB_M_STATUS_REPLY);
        r.id = m->id;
        vb_sup_status(c->s, &r);
        finish(c, &r);
        return;
    }
    case VB_M_CANCEL:
        if ((j = known_job(c, m, &err)) && vb_sup_cancel(j, "cancelled by the user", &err) == 0) {
            VB_AUTO_MSG r = VB_MSG_INIT(VB_M_OK);
            r.id = m->id;
            finish(c, &r);
            return;
        }
        break;
    default: vb_fail(&err, VB_E_PROTOCOL, "a stream cannot begin with message type %u", m->type); break;
    }
    if (err.code != VB_OK)
        refuse(c, m->id, &err);
    else
        hand_over(c, j, m);
}

static const struct vb_conn_handler HANDLER = { on_first, on_close, NULL };

static void greeted(void *arg, const struct vb_hello *peer, const struct vb_error *err)
{
    struct client *c = arg;
    if (!peer) {
        vb_log(VB_LOG_INFO, "stream refused: %s", vb_error_text(err));
        client_free(c);
        return;
    }
    c->timer = vb_loop_after(c->s->loop, FIRST_MESSAGE_MS, on_late, c);
    vb_conn_set_handler(c->conn, &HANDLER, c);
}

void vb_sup_client(struct vb_sup *s, int fd)
{
    struct client *c = vb_alloc(sizeof *c);
    char host[256] = "";
    c->s = s;
    s->n_clients++;
    c->conn = vb_conn_fd(s->loop, fd, fd);
    vb_conn_set_name(c->conn, "requester");
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    struct vb_greet_params p = { .role = "agent", .host = host };
    vb_greet(c->conn, &p, greeted, c);
    vb_sup_check_idle(s);
}
