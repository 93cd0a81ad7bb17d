/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/conn.c - what all connections have in common: handlers, the end, pings and the keep-alive.
 */
#include "config.h"
#include "wire/conn.h"

#include <stdlib.h>
#include "base/mem.h"
#include "wire/conn_impl.h"
#include "wire/protocol.h"

static void tell_close(void *arg);
static void keepalive_due(void *arg);

void vb_conn_init(struct vb_conn *c, struct vb_loop *l, const struct vb_conn_ops *ops)
{
    c->ops = ops;
    c->loop = l;
}

bool vb_conn_held(const struct vb_conn *c)
{
    return c->paused || !c->has_handler || c->ended;
}

void vb_conn_set_handler(struct vb_conn *c, const struct vb_conn_handler *h, void *arg)
{
    c->has_handler = h != NULL;
    c->h = h ? *h : (struct vb_conn_handler){ NULL, NULL, NULL };
    c->arg = arg;
    if (c->ended && !c->told) {
        vb_loop_unpost(c->loop, c);
        if (h)
            vb_loop_post(c->loop, tell_close, c);
    } else if (!c->ended) {
        c->ops->pause(c, c->paused || !h);
    }
}

void vb_conn_send(struct vb_conn *c, const struct vb_msg *m)
{
    if (!c->ended && !c->finished)
        c->ops->send(c, m);
}

size_t vb_conn_queued(const struct vb_conn *c)
{
    return c->ended ? 0 : c->ops->queued(c);
}

void vb_conn_pause(struct vb_conn *c, bool paused)
{
    if (c->paused == paused)
        return;
    c->paused = paused;
    if (!paused)
        c->last_heard_ms = vb_loop_now_ms(c->loop); /* what came meanwhile was not looked at */
    if (!c->ended)
        c->ops->pause(c, paused || !c->has_handler);
}

void vb_conn_finish(struct vb_conn *c)
{
    if (c->ended || c->finished)
        return;
    c->finished = true;
    c->ops->finish(c);
}

void vb_conn_free(struct vb_conn *c)
{
    if (!c)
        return;
    if (c->gone)
        *c->gone = true;
    vb_loop_unpost(c->loop, c);
    vb_timer_cancel(c->keepalive);
    vb_error_clear(&c->why);
    free(c->name);
    c->name = NULL;
    c->ops->destroy(c);
}

void vb_conn_set_name(struct vb_conn *c, const char *name)
{
    char *copy = vb_strdup(name);

    free(c->name);
    c->name = copy;
}

const char *vb_conn_name(const struct vb_conn *c)
{
    return c->name ? c->name : "the peer";
}

struct vb_loop *vb_conn_loop(const struct vb_conn *c)
{
    return c->loop;
}

void vb_conn_heard(struct vb_conn *c)
{
    c->last_heard_ms = vb_loop_now_ms(c->loop);
}

bool vb_conn_deliver(struct vb_conn *c, struct vb_msg *m)
{
    bool gone = false;
    bool *outer = c->gone;

    if (m->type == VB_M_PING) {
        struct vb_msg pong = VB_MSG_INIT(VB_M_PONG);

        pong.id = m->id;
        vb_conn_send(c, &pong);
        return true;
    }
    if (m->type == VB_M_PONG)
        return true;
    c->gone = &gone;
    c->h.on_msg(c->arg, m);
    if (gone) {
        if (outer)
            *outer = true;
        return false;
    }
    c->gone = outer;
    return true;
}

bool vb_conn_drained(struct vb_conn *c)
{
    bool gone = false;
    bool *outer = c->gone;

    if (!c->has_handler || !c->h.on_drain || c->ended)
        return true;
    c->gone = &gone;
    c->h.on_drain(c->arg);
    if (gone) {
        if (outer)
            *outer = true;
        return false;
    }
    c->gone = outer;
    return true;
}

void vb_conn_end(struct vb_conn *c, struct vb_error *why)
{
    if (c->ended) {
        vb_error_clear(why);
        return;
    }
    c->ended = true;
    vb_timer_cancel(c->keepalive);
    c->keepalive = NULL;
    vb_error_clear(&c->why);
    c->why = *why;
    *why = (struct vb_error)VB_ERROR_INIT;
    if (c->why.code != VB_OK)
        vb_context(&c->why, "%s", vb_conn_name(c));
    if (c->has_handler)
        vb_loop_post(c->loop, tell_close, c);
}

static void tell_close(void *arg)
{
    struct vb_conn *c = arg;
    struct vb_error why = c->why;

    /* The handler may free the connection, so the error is kept apart from it. */
    c->why = (struct vb_error)VB_ERROR_INIT;
    c->told = true;
    c->h.on_close(c->arg, &why);
    vb_error_clear(&why);
}

void vb_conn_keepalive(struct vb_conn *c, uint64_t interval_ms, uint64_t limit_ms)
{
    vb_timer_cancel(c->keepalive);
    c->keepalive = NULL;
    c->ping_every_ms = interval_ms;
    c->silence_limit_ms = limit_ms;
    if (c->ended || (interval_ms == 0 && limit_ms == 0))
        return;
    vb_conn_heard(c);
    c->last_ping_ms = c->last_heard_ms;
    c->keepalive = vb_loop_after(c->loop, interval_ms ? interval_ms : limit_ms, keepalive_due, c);
}

/* Milliseconds from now to then, at least 1. */
static uint64_t until(uint64_t then, uint64_t now)
{
    return then > now ? then - now : 1;
}

static void keepalive_due(void *arg)
{
    struct vb_conn *c = arg;
    uint64_t now = vb_loop_now_ms(c->loop);
    uint64_t wait = UINT64_MAX, quiet_since;

    c->keepalive = NULL;
    /* A paused connection does not look, so it may not complain that it sees nothing. */
    if (c->paused || !c->has_handler)
        c->last_heard_ms = now;
    if (c->silence_limit_ms) {
        if (now - c->last_heard_ms >= c->silence_limit_ms) {
            VB_AUTO_ERROR err = VB_ERROR_INIT;

            vb_fail(&err, VB_E_TIMEOUT, "no sign of life for %llu ms", (unsigned long long)(now - c->last_heard_ms));
            vb_hint(&err, "the process there hangs or the network is cut; look at the host and at the line to it");
            c->ops->pause(c, true);
            vb_conn_end(c, &err);
            return;
        }
        wait = until(c->last_heard_ms + c->silence_limit_ms, now);
    }
    if (c->ping_every_ms) {
        quiet_since = c->last_heard_ms > c->last_ping_ms ? c->last_heard_ms : c->last_ping_ms;
        if (now - quiet_since >= c->ping_every_ms) {
            struct vb_msg ping = VB_MSG_INIT(VB_M_PING);

            c->last_ping_ms = quiet_since = now;
            vb_conn_send(c, &ping);
            if (c->ended)
                return;
        }
        if (until(quiet_since + c->ping_every_ms, now) < wait)
            wait = until(quiet_since + c->ping_every_ms, now);
    }
    c->keepalive = vb_loop_after(c->loop, wait, keepalive_due, c);
}
