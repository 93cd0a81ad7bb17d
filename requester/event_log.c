/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/event_log.c - the merged event log.
 */
#include "requester/event_log.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "documents/events.h"
#include "wire/protocol.h"

static void drop(const char *s)
{
    free((void *)(uintptr_t)s);
}

void vb_event_log_clear(struct vb_event_log *l)
{
    for (size_t i = 0; i < l->n; i++) {
        drop(l->v[i].host);
        drop(l->v[i].kind);
        drop(l->v[i].event);
        drop(l->v[i].phase);
        drop(l->v[i].writer);
        drop(l->v[i].instance);
        drop(l->v[i].text);
    }
    free(l->v);
    l->v = NULL;
    l->n = l->cap = 0;
}

static struct vb_run_event *add(struct vb_event_log *l, const char *host)
{
    VB_GROW(l->v, l->n, l->cap);
    struct vb_run_event *e = &l->v[l->n];
    memset(e, 0, sizeof *e);
    e->n = ++l->n;
    e->host = vb_strdup(host);
    return e;
}

const struct vb_run_event *vb_event_log_agent(struct vb_event_log *l, const char *host, uint64_t seq,
                                              const struct vb_msg *m)
{
    struct vb_run_event *e = add(l, host);
    e->seq = seq;
    e->wall_ms = vb_msg_u64(m, VB_F_WALL_MS, 0);
    e->mono_us = vb_msg_u64(m, VB_F_MONO_US, 0);
    e->kind = vb_msg_str(m, VB_F_KIND);
    if (!e->kind)
        e->kind = vb_strdup("event");
    e->event = vb_msg_str(m, VB_F_EVENT);
    e->phase = vb_msg_str(m, VB_F_PHASE);
    e->writer = vb_msg_str(m, VB_F_WRITER);
    e->instance = vb_msg_str(m, VB_F_INSTANCE);
    e->code = (enum vb_code)vb_msg_u64(m, VB_F_CODE, VB_OK);
    e->text = vb_msg_str(m, VB_F_TEXT);
    return e;
}

const struct vb_run_event *vb_event_log_own(struct vb_event_log *l, const char *host, const char *kind,
                                            const char *event, const struct vb_error *err, const char *text)
{
    struct vb_run_event *e = add(l, host);
    e->wall_ms = vb_loop_wall_ms(l->loop);
    e->mono_us = vb_loop_now_us(l->loop);
    e->kind = vb_strdup(kind);
    e->event = vb_strdup(event);
    e->code = err ? err->code : VB_OK;
    e->text = vb_strdup(text ? text : err ? vb_error_text(err) : NULL);
    return e;
}

static void set_text(json_t *o, const char *key, const char *s)
{
    if (!s)
        return;
    json_t *v = json_string(s);
    json_object_set_new(o, key, v ? v : json_string("(not UTF-8)"));
}

void vb_event_log_json(const struct vb_event_log *l, struct vb_buf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct vb_run_event *e = &l->v[i];
        json_t *o = json_object();
        json_object_set_new(o, "n", json_integer((json_int_t)e->n));
        set_text(o, "host", e->host);
        if (e->seq)
            json_object_set_new(o, "seq", json_integer((json_int_t)e->seq));
        json_object_set_new(o, "wall_ms", json_integer((json_int_t)e->wall_ms));
        json_object_set_new(o, "mono_us", json_integer((json_int_t)e->mono_us));
        set_text(o, "kind", e->kind);
        set_text(o, "event", e->event);
        set_text(o, "phase", e->phase);
        set_text(o, "writer", e->writer);
        set_text(o, "instance", e->instance);
        if (e->code != VB_OK)
            set_text(o, "code", vb_code_name(e->code));
        set_text(o, "text", e->text);
        char *s = json_dumps(o, JSON_COMPACT);
        vb_buf_add_str(out, s ? s : "{}");
        vb_buf_add_char(out, '\n');
        free(s);
        json_decref(o);
    }
}
