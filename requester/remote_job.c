/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/remote_job.c - control and data streams of one job on one host.
 */
#include "requester/remote_job.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "wire/protocol.h"

#define GREETING_MS 60000u  /* a worker is started meanwhile */
#define PAUSE_FIRST_MS 200u
#define PAUSE_MAX_MS 5000u
#define PING_MS 10000u
#define SILENCE_MS 35000u

enum state { IDLE, LINKING, GREETING, UP, PAUSING, LOST, FINISHED };

struct command {
    struct command *next;
    struct vb_rjob *job;
    struct vb_msg msg;
    uint64_t limit_ms;
    struct vb_timer *timer;
    vb_rjob_reply_fn *fn;
    void *arg;
};

struct vb_rjob {
    struct vb_links *links;
    char *host, *job_id, *token;
    struct vb_buf doc;
    uint64_t lease_ms;
    unsigned attempts_left;
    struct vb_rjob_handler h;
    void *arg;
    enum state state;
    bool sent, opened;
    vb_rjob_open_fn *open_fn;
    void *open_arg;
    void *link_handle;
    struct vb_conn *conn;
    struct vb_timer *timer;      /* greeting or pause */
    uint64_t pause_ms, down_since_ms;
    uint64_t last_seq;
    struct command *commands;    /* without an answer, oldest first */
    /* data */
    void *data_handle;
    struct vb_conn *data_conn;
    struct vb_timer *data_timer;
    vb_rjob_data_fn *data_fn;
    void *data_arg;
};

static void connect_now(void *arg);

struct vb_rjob *vb_rjob_new(const struct vb_rjob_params *p, const struct vb_rjob_handler *h, void *arg)
{
    struct vb_rjob *j = vb_alloc(sizeof *j);
    j->links = p->links;
    j->host = vb_strdup(p->host);
    j->job_id = vb_strdup(p->job_id);
    j->token = vb_strdup(p->token);
    j->sent = p->token != NULL;
    if (p->job_doc_len > 0)
        vb_buf_add(&j->doc, p->job_doc, p->job_doc_len);
    j->lease_ms = p->lease_ms;
    j->attempts_left = p->attempts > 0 ? p->attempts : 1;
    j->h = *h;
    j->arg = arg;
    return j;
}

static void free_command(struct command *c)
{
    vb_timer_cancel(c->timer);
    vb_msg_clear(&c->msg);
    free(c);
}

void vb_rjob_drop_commands(struct vb_rjob *j)
{
    while (j->commands) {
        struct command *c = j->commands;
        j->commands = c->next;
        free_command(c);
    }
}

void vb_rjob_data_cancel(struct vb_rjob *j)
{
    if (j->data_handle)
        j->links->cancel(j->links->ctx, j->data_handle);
    j->data_handle = NULL;
    vb_conn_free(j->data_conn);
    j->data_conn = NULL;
    vb_timer_cancel(j->data_timer);
    j->data_timer = NULL;
    j->data_fn = NULL;
}

static void drop_stream(struct vb_rjob *j)
{
    if (j->link_handle)
        j->links->cancel(j->links->ctx, j->link_handle);
    j->link_handle = NULL;
    vb_conn_free(j->conn);
    j->conn = NULL;
    vb_timer_cancel(j->timer);
    j->timer = NULL;
}

void vb_rjob_free(struct vb_rjob *j)
{
    if (!j)
        return;
    drop_stream(j);
    vb_rjob_data_cancel(j);
    vb_rjob_drop_commands(j);
    vb_loop_unpost(j->links->loop, j);
    if (j->token)
        vb_wipe(j->token, strlen(j->token));
    free(j->token);
    free(j->host);
    free(j->job_id);
    vb_buf_clear(&j->doc);
    free(j);
}

bool vb_rjob_is_open(const struct vb_rjob *j)
{
    return j->opened && j->state != LOST && j->state != FINISHED;
}

bool vb_rjob_was_sent(const struct vb_rjob *j)
{
    return j->sent;
}

const char *vb_rjob_token(const struct vb_rjob *j)
{
    return j->token;
}

/* ---- the end ---- */

/* The job cannot be reached any more. The callback comes last: it may free the job. */
static void give_up(struct vb_rjob *j, const struct vb_error *why)
{
    drop_stream(j);
    vb_rjob_data_cancel(j);
    vb_rjob_drop_commands(j);
    j->state = LOST;
    if (j->open_fn) {
        vb_rjob_open_fn *fn = j->open_fn;
        j->open_fn = NULL;
        fn(j->open_arg, why);
    } else {
        j->h.lost(j->arg, why);
    }
}

void vb_rjob_finish(struct vb_rjob *j)
{
    vb_rjob_data_cancel(j);
    vb_rjob_drop_commands(j);
    drop_stream(j);
    j->state = FINISHED;
}

/* Whether it is worth to try again. */
static bool passes(enum vb_code code)
{
    switch (code) {
    case VB_OK:
    case VB_E_CONNECT:
    case VB_E_CONNECTION_LOST:
    case VB_E_TIMEOUT:
    case VB_E_IO:
    case VB_E_BUSY:
    case VB_E_AGENT_MISSING:
        return true;
    default:
        return false;
    }
}

static void pause_then_connect(struct vb_rjob *j)
{
    j->pause_ms = j->pause_ms == 0 ? PAUSE_FIRST_MS : j->pause_ms * 2;
    if (j->pause_ms > PAUSE_MAX_MS)
        j->pause_ms = PAUSE_MAX_MS;
    j->state = PAUSING;
    j->timer = vb_loop_after(j->links->loop, j->pause_ms, connect_now, j);
}

/* The stream is gone or could not be made. why->code VB_OK: the other side ended it. */
static void stream_failed(struct vb_rjob *j, const struct vb_error *why)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (why->code == VB_OK)
        vb_fail(&e, VB_E_CONNECTION_LOST, "host '%s': the agent closed the connection", j->host);
    else
        vb_error_copy(&e, why);
    bool was_up = j->state == UP;
    drop_stream(j);
    if (!j->opened) {
        if (--j->attempts_left == 0 || !passes(e.code))
            give_up(j, &e);
        else
            pause_then_connect(j);
        return;
    }
    uint64_t now = vb_loop_now_ms(j->links->loop);
    if (was_up) {
        j->down_since_ms = now;
        j->pause_ms = 0;
    }
    if (!passes(e.code)) {
        give_up(j, &e);
        return;
    }
    if (now - j->down_since_ms > j->lease_ms) {
        VB_AUTO_ERROR gone = VB_ERROR_INIT;
        vb_fail(&gone, VB_E_JOB_LOST, "host '%s': not reached for %llu s, its job has ended by itself: %s", j->host,
                (unsigned long long)((now - j->down_since_ms) / 1000), vb_error_text(&e));
        give_up(j, &gone);
        return;
    }
    pause_then_connect(j);
    if (was_up && j->h.link)
        j->h.link(j->arg, false, &e);
}

/* ---- the control stream ---- */

static void send_command(struct vb_rjob *j, const struct command *c)
{
    if (j->state == UP)
        vb_conn_send(j->conn, &c->msg);
}

static void greeted(struct vb_rjob *j, const struct vb_msg *m)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (vb_msg_error(m, &e) < 0) {
        vb_context(&e, "host '%s'", j->host);
        if (j->opened || j->token) { /* an answer is an answer: nothing to wait for */
            give_up(j, &e);
        } else {
            j->attempts_left = 1;
            stream_failed(j, &e);
        }
        return;
    }
    if (m->type == VB_M_OPENED) {
        char *token = vb_msg_str(m, VB_F_TOKEN);
        if (!token) {
            vb_fail(&e, VB_E_PROTOCOL, "host '%s': the agent opened the job without a token", j->host);
            give_up(j, &e);
            return;
        }
        free(j->token);
        j->token = token;
    } else if (m->type != VB_M_ATTACHED) {
        vb_fail(&e, VB_E_PROTOCOL, "host '%s': unexpected message %u instead of an answer to the job", j->host,
                m->type);
        give_up(j, &e);
        return;
    }
    vb_timer_cancel(j->timer);
    j->timer = NULL;
    j->state = UP;
    j->pause_ms = 0;
    bool first = !j->opened;
    j->opened = true;
    for (const struct command *c = j->commands; c; c = c->next)
        send_command(j, c);
    if (first) {
        vb_rjob_open_fn *fn = j->open_fn;
        j->open_fn = NULL;
        fn(j->open_arg, NULL);
    } else if (j->h.link) {
        j->h.link(j->arg, true, NULL);
    }
}

static void replied(struct vb_rjob *j, const struct vb_msg *m)
{
    for (struct command **p = &j->commands; *p; p = &(*p)->next) {
        struct command *c = *p;
        if (c->msg.id != m->id)
            continue;
        *p = c->next;
        vb_rjob_reply_fn *fn = c->fn;
        void *arg = c->arg;
        free_command(c);
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        int failed = vb_msg_error(m, &e);
        fn(arg, m, failed < 0 ? &e : NULL);
        return;
    }
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_rjob *j = arg;
    if (j->state == GREETING) {
        greeted(j, m);
        return;
    }
    if (m->type == VB_M_EVENT) {
        uint64_t seq = vb_msg_u64(m, VB_F_SEQ, 0);
        if (seq <= j->last_seq)
            return;
        j->last_seq = seq;
        j->h.event(j->arg, seq, m);
    } else if (m->type == VB_M_REPLY) {
        replied(j, m);
    } else if (m->type == VB_M_ERROR) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        if (vb_msg_error(m, &e) == 0)
            vb_fail(&e, VB_E_PROTOCOL, "the agent reports an error without saying which");
        vb_context(&e, "host '%s'", j->host);
        stream_failed(j, &e);
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    stream_failed(arg, why);
}

static void greeting_late(void *arg)
{
    struct vb_rjob *j = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    j->timer = NULL;
    vb_fail(&e, VB_E_TIMEOUT, "host '%s': the agent did not take the job within %llu s", j->host,
            (unsigned long long)(vb_links_limit(j->links, GREETING_MS) / 1000));
    vb_hint(&e, "look at the agent on that host: vbackup host test %s", j->host);
    stream_failed(j, &e);
}

static void keep_alive(const struct vb_rjob *j, struct vb_conn *conn)
{
    uint64_t silence = vb_links_limit(j->links, SILENCE_MS);
    vb_conn_keepalive(conn, PING_MS < silence / 3 ? PING_MS : silence / 3 + 1, silence);
}

static void linked(void *arg, struct vb_conn *conn, const struct vb_error *err)
{
    static const struct vb_conn_handler handler = { on_msg, on_close, NULL };
    struct vb_rjob *j = arg;
    j->link_handle = NULL;
    if (!conn) {
        stream_failed(j, err);
        return;
    }
    j->conn = conn;
    j->state = GREETING;
    vb_conn_set_name(conn, j->host);
    vb_conn_set_handler(conn, &handler, j);
    keep_alive(j, conn);
    VB_AUTO_MSG m = VB_MSG_INIT(j->token ? VB_M_ATTACH : VB_M_OPEN);
    if (j->token) {
        vb_msg_add_str(&m, VB_F_JOB, j->job_id);
        vb_msg_add_str(&m, VB_F_TOKEN, j->token);
        vb_msg_add_u64(&m, VB_F_SEQ, j->last_seq);
    } else {
        vb_msg_add(&m, VB_F_JOB_DOC, j->doc.data, j->doc.len);
        vb_msg_add_u64(&m, VB_F_LEASE_MS, j->lease_ms);
    }
    j->sent = true;
    vb_conn_send(conn, &m);
    j->timer = vb_loop_after(j->links->loop, vb_links_limit(j->links, GREETING_MS), greeting_late, j);
}

static void connect_now(void *arg)
{
    struct vb_rjob *j = arg;
    j->timer = NULL;
    j->state = LINKING;
    j->link_handle = j->links->open(j->links->ctx, j->host, linked, j);
}

void vb_rjob_open(struct vb_rjob *j, vb_rjob_open_fn *fn, void *arg)
{
    j->open_fn = fn;
    j->open_arg = arg;
    connect_now(j);
}

/* ---- commands ---- */

static void command_late(void *arg)
{
    struct command *c = arg;
    struct vb_rjob *j = c->job;
    c->timer = NULL;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_TIMEOUT, "host '%s': no answer from the agent for %llu s", j->host,
            (unsigned long long)(c->limit_ms / 1000));
    for (struct command **p = &j->commands; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    vb_rjob_reply_fn *fn = c->fn;
    void *fn_arg = c->arg;
    free_command(c);
    fn(fn_arg, NULL, &e);
}

static void arm(struct command *c)
{
    vb_timer_cancel(c->timer);
    c->timer = c->limit_ms > 0 ? vb_loop_after(c->job->links->loop, c->limit_ms, command_late, c) : NULL;
}

void vb_rjob_command(struct vb_rjob *j, struct vb_msg *msg, uint64_t limit_ms, vb_rjob_reply_fn *fn, void *arg)
{
    struct command *c = vb_alloc(sizeof *c);
    c->job = j;
    c->msg = *msg;
    *msg = (struct vb_msg)VB_MSG_INIT(msg->type);
    c->limit_ms = vb_links_limit(j->links, limit_ms);
    c->fn = fn;
    c->arg = arg;
    struct command **p = &j->commands;
    while (*p)
        p = &(*p)->next;
    *p = c;
    arm(c);
    send_command(j, c);
}

void vb_rjob_touch(struct vb_rjob *j)
{
    for (struct command *c = j->commands; c; c = c->next)
        arm(c);
}

/* ---- data streams ---- */

static void data_failed(struct vb_rjob *j, const struct vb_error *why)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (why->code == VB_OK)
        vb_fail(&e, VB_E_CONNECTION_LOST, "host '%s': the agent closed the data stream", j->host);
    else
        vb_error_copy(&e, why);
    vb_rjob_data_fn *fn = j->data_fn;
    void *arg = j->data_arg;
    vb_rjob_data_cancel(j);
    fn(arg, NULL, &e);
}

static void data_msg(void *arg, struct vb_msg *m)
{
    struct vb_rjob *j = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (vb_msg_error(m, &e) < 0) {
        vb_context(&e, "host '%s': data stream", j->host);
        data_failed(j, &e);
        return;
    }
    if (m->type != VB_M_DATA_OK) {
        vb_fail(&e, VB_E_PROTOCOL, "host '%s': unexpected message %u on the data stream", j->host, m->type);
        data_failed(j, &e);
        return;
    }
    struct vb_conn *c = VB_STEAL(j->data_conn);
    vb_rjob_data_fn *fn = j->data_fn;
    void *fn_arg = j->data_arg;
    vb_conn_set_handler(c, NULL, NULL);
    vb_rjob_data_cancel(j);
    fn(fn_arg, c, NULL);
}

static void data_close(void *arg, const struct vb_error *why)
{
    data_failed(arg, why);
}

static void data_late(void *arg)
{
    struct vb_rjob *j = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    j->data_timer = NULL;
    vb_fail(&e, VB_E_TIMEOUT, "host '%s': the agent did not take the data stream within %llu s", j->host,
            (unsigned long long)(vb_links_limit(j->links, GREETING_MS) / 1000));
    data_failed(j, &e);
}

static void data_linked(void *arg, struct vb_conn *conn, const struct vb_error *err)
{
    static const struct vb_conn_handler handler = { data_msg, data_close, NULL };
    struct vb_rjob *j = arg;
    j->data_handle = NULL;
    if (!conn) {
        data_failed(j, err);
        return;
    }
    j->data_conn = conn;
    vb_conn_set_name(conn, j->host);
    vb_conn_set_handler(conn, &handler, j);
    keep_alive(j, conn);
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_DATA);
    vb_msg_add_str(&m, VB_F_JOB, j->job_id);
    vb_msg_add_str(&m, VB_F_TOKEN, j->token);
    vb_conn_send(conn, &m);
    j->data_timer = vb_loop_after(j->links->loop, vb_links_limit(j->links, GREETING_MS), data_late, j);
}

void vb_rjob_data(struct vb_rjob *j, vb_rjob_data_fn *fn, void *arg)
{
    vb_rjob_data_cancel(j);
    j->data_fn = fn;
    j->data_arg = arg;
    j->data_handle = j->links->open(j->links->ctx, j->host, data_linked, j);
}
