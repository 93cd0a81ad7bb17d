/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/data_end.c - how a data stream ends.
 *
 * The other side may keep its end open for long after the last message, so the end is not waited for; the last
 * words are, for a bounded time.
 */
#include "config.h"

#include "requester/data_end.h"
#include "base/mem.h"
#include "wire/protocol.h"

#define SETTLE_MS 10u
#define SETTLE_TRIES 500u

static void tell(struct vb_data_end *e)
{
    if (e->told)
        return;
    e->told = true;
    VB_AUTO_ERROR outcome = VB_ERROR_INIT;
    vb_error_copy(&outcome, &e->outcome);
    e->on_end(e->arg, &outcome);
}

static void settle(void *arg)
{
    struct vb_data_end *e = arg;
    e->timer = NULL;
    if (vb_conn_queued(e->conn) == 0 || e->waited++ >= SETTLE_TRIES)
        tell(e);
    else
        e->timer = vb_loop_after(vb_conn_loop(e->conn), SETTLE_MS, settle, e);
}

void vb_data_end_set(struct vb_data_end *e, const struct vb_error *why, bool tell_agent)
{
    if (e->ended)
        return;
    e->ended = true;
    if (why)
        vb_error_copy(&e->outcome, why);
    if (why && tell_agent) {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ERROR);
        vb_msg_add_error(&m, why);
        vb_conn_send(e->conn, &m);
    }
    vb_conn_finish(e->conn);
    e->timer = vb_loop_after(vb_conn_loop(e->conn), 0, settle, e);
}

void vb_data_end_protocol(struct vb_data_end *e, const char *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_fail(&err, VB_E_PROTOCOL, "%s: agent %s", vb_conn_name(e->conn), text);
    vb_data_end_set(e, &err, true);
}

void vb_data_end_from_agent(struct vb_data_end *e, const struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (vb_msg_error(m, &err) == 0)
        vb_fail(&err, VB_E_PROTOCOL, "%s: agent sent an error without a code", vb_conn_name(e->conn));
    vb_data_end_set(e, &err, false);
}

void vb_data_end_closed(struct vb_data_end *e, const struct vb_error *why)
{
    if (!e->ended) {
        e->ended = true;
        if (why && why->code == VB_E_PROTOCOL)
            vb_error_copy(&e->outcome, why);
        else
            vb_fail(&e->outcome, VB_E_CONNECTION_LOST, "%s: data stream broke off", vb_conn_name(e->conn));
    }
    vb_timer_cancel(e->timer);
    e->timer = NULL;
    tell(e);
}

void vb_data_end_clear(struct vb_data_end *e)
{
    vb_timer_cancel(e->timer);
    e->timer = NULL;
    vb_error_clear(&e->outcome);
}
