/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_providers.c - the providers of a session: their hosts, and one call to many of them at a time.
 *
 * A host works on its calls one after the other, in the order they were sent; different hosts work in parallel.  The
 * whole round has one limit: who has not answered by then is killed, and the set fails (B-41).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "base/log.h"


struct vb_sp *vb_sp_get(struct vb_session *s, const char *name)
{
    for (size_t i = 0; i < s->n_providers; i++)
        if (!strcmp(s->providers[i]->name, name))
            return s->providers[i];
    struct vb_sp *p = vb_alloc(sizeof *p);
    p->s = s;
    p->name = vb_strdup(name);
    VB_GROW(s->providers, s->n_providers, s->cap_providers);
    return s->providers[s->n_providers++] = p;
}

void vb_sp_stop(struct vb_sp *p, bool kill)
{
    p->ready = false;
    if (p->child.conn)
        p->s->env->stop(p->s->env->arg, &p->child, kill);
}

void vb_sp_free(struct vb_sp *p)
{
    if (!p)
        return;
    vb_sp_stop(p, false);
    free(p->name);
    free(p->id);
    free(p->version);
    free(p);
}

void vb_sv_clear(struct vb_sv *v)
{
    free(v->group);
    free(v->remark);
    vb_error_clear(&v->lost);
    vb_strv_clear(&v->refusals);
    vb_strv_clear(&v->map_from);
    vb_strv_clear(&v->map_to);
}

/* ---- a call round ---- */

static void calls_over(struct vb_session *s)
{
    vb_step *done = s->calls.done;
    vb_timer_cancel(s->calls.timer);
    s->calls.timer = NULL;
    s->calls.active = false;
    s->calls.done = NULL;
    if (done)
        done(s);
}

static void answered(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, struct vb_error *err)
{
    if (c->done)
        return;
    c->done = true;
    if (err && err->code != VB_OK) {
        vb_context(err, "provider '%s', call '%s'", c->p->name, c->call);
        vb_s_event(s, "snapshot", c->call, "failed", NULL, err, 0);
    }
    if (s->calls.answer)
        s->calls.answer(s, c, m, err && err->code != VB_OK ? err : NULL);
    if (err && err->code != VB_OK && s->calls.failure.code == VB_OK)
        vb_error_copy(&s->calls.failure, err);
    if (--s->calls.left == 0)
        vb_s_post(s, calls_over);
}

static void provider_lost(struct vb_sp *p, enum vb_code code, const char *text)
{
    struct vb_session *s = p->s;
    for (size_t i = 0; s->calls.active && i < s->calls.n; i++) {
        if (s->calls.v[i].p != p || s->calls.v[i].done)
            continue;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_fail(&err, code, "%s", text);
        answered(s, &s->calls.v[i], NULL, &err);
    }
}

static void give_up(struct vb_session *s, enum vb_code code, const char *text)
{
    for (size_t i = 0; i < s->n_providers; i++) {
        struct vb_sp *p = s->providers[i];
        bool waits = false;
        for (size_t k = 0; k < s->calls.n; k++)
            waits = waits || (s->calls.v[k].p == p && !s->calls.v[k].done);
        if (!waits)
            continue;
        p->broken = true;
        vb_sp_stop(p, true);
        provider_lost(p, code, text);
    }
}

static void on_limit(void *arg)
{
    struct vb_session *s = arg;
    s->calls.timer = NULL;
    give_up(s, VB_E_TIMEOUT, "no answer in time; its process was stopped");
}

void vb_calls_give_up(struct vb_session *s)
{
    if (s->calls.active)
        give_up(s, VB_E_CANCELLED, "its process was stopped: the job was cancelled");
}

void vb_calls_check(struct vb_session *s)
{
    if (s->calls.active && s->calls.left == 0)
        vb_s_post(s, calls_over);
}

uint32_t vb_sv_attributes(const struct vb_session *s, const struct vb_sv *v)
{
    return s->attributes | (v->recovers ? (uint32_t)VB_SA_AUTORECOVER : 0);
}

static void add_volume(const struct vb_sv *v, uint32_t attributes, struct vb_msg *m)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, v->vol->mount_point);
    vb_msg_add_str(&g, VB_F_DEVICE, v->vol->device);
    vb_msg_add_str(&g, VB_F_FS_TYPE, v->vol->fs_type);
    vb_msg_add_str(&g, VB_F_SUBVOLUME, v->vol->subvolume_root);
    vb_msg_add_str(&g, VB_F_FS_ROOT, v->vol->fs_root);
    for (size_t i = 0; i < v->vol->trees.n; i++)
        vb_msg_add_str(&g, VB_F_TREE, v->vol->trees.v[i]);
    vb_msg_add_u64(&g, VB_F_ATTRIBUTES, attributes);
    vb_msg_add_group(m, VB_F_VOLUME, &g);
}

static void send_call(struct vb_session *s, struct vb_pcall *c)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_P_CALL);
    m.id = c->id;
    vb_msg_add_str(&m, VB_F_CALL, c->call);
    vb_msg_add_u64(&m, VB_F_DEADLINE_MS, s->calls.limit_ms);
    if (c->fields)
        vb_buf_add(&m.body, c->fields->body.data, c->fields->body.len);
    else if (s->set_id[0])
        vb_msg_add_str(&m, VB_F_SET, s->set_id);
    if (c->volume != SIZE_MAX) {
        vb_msg_add_str(&m, VB_F_SNAPSHOT, s->set[c->volume].snapshot_id);
        add_volume(&s->set[c->volume], vb_sv_attributes(s, &s->set[c->volume]), &m);
    }
    vb_msg_add_str(&m, VB_F_PATH, c->path);
    c->sent = true;
    c->sent_us = vb_loop_now_us(s->env->loop);
    vb_conn_send(c->p->child.conn, &m);
}

static void send_waiting(struct vb_sp *p)
{
    struct vb_session *s = p->s;
    for (size_t i = 0; s->calls.active && i < s->calls.n; i++)
        if (s->calls.v[i].p == p && !s->calls.v[i].sent && !s->calls.v[i].done)
            send_call(s, &s->calls.v[i]);
}

/* When the instants of its volumes were made: the host says how long its commit was, and we know when it was over. */
static void took(struct vb_session *s, const struct vb_pcall *c, uint64_t us)
{
    uint64_t now = vb_loop_now_us(s->env->loop), longest = now - c->sent_us;
    vb_s_inner(s, us);
    if (strcmp(c->call, "commit") != 0)
        return;
    for (size_t i = 0; i < s->n_set; i++)
        if (s->set[i].provider == c->p) {
            s->set[i].commit_end = now;
            s->set[i].commit_begin = now - (us && us < longest ? us : longest);
        }
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_sp *p = arg;
    struct vb_session *s = p->s;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (m->type == VB_M_P_READY && !p->ready) {
        if (vb_msg_error(m, &err) < 0) {
            p->broken = true;
            vb_sp_stop(p, true);
            provider_lost(p, err.code, vb_error_text(&err));
            return;
        }
        free(p->id);
        p->id = vb_msg_str(m, VB_F_PROVIDER_ID);
        free(p->version);
        p->version = vb_msg_str(m, VB_F_VERSION);
        p->type = vb_msg_u64(m, VB_F_TYPE, 0);
        p->preference = vb_msg_u64(m, VB_F_PREFERENCE, 0);
        VB_AUTO_FREE char *more = vb_msg_str(m, VB_F_CALL);
        p->checks = more && !strcmp(more, "check");
        p->ready = true;
        send_waiting(p);
    } else if (m->type == VB_M_P_DONE) {
        for (size_t i = 0; s->calls.active && i < s->calls.n; i++) {
            if (s->calls.v[i].p != p || s->calls.v[i].id != m->id)
                continue;
            (void)vb_msg_error(m, &err);
            took(s, &s->calls.v[i], vb_msg_u64(m, VB_F_DURATION_US, 0));
            answered(s, &s->calls.v[i], m, &err);
            return;
        }
    } else if (m->type == VB_M_W_LOG) {
        VB_AUTO_FREE char *t = vb_msg_str(m, VB_F_TEXT);
        vb_log(VB_LOG_NOTICE, "provider '%s': %s", p->name, t ? t : "");
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_sp *p = arg;
    (void)why;
    vb_sp_stop(p, false);
    p->broken = true;
    provider_lost(p, VB_E_UNEXPECTED_PROVIDER_ERROR, "its process ended unexpectedly");
}

static const struct vb_conn_handler HANDLER = { on_msg, on_close, NULL };

static int start(struct vb_sp *p, struct vb_error *err)
{
    struct vb_session *s = p->s;
    struct vb_child_ref ref = { p->name, NULL, NULL, false, false };
    if (s->env->start(s->env->arg, VB_CHILD_PROVIDER, &ref, &p->child, err) < 0)
        return -1;
    VB_AUTO_FREE char *name = vb_printf("provider '%s'", p->name);
    vb_conn_set_name(p->child.conn, name);
    vb_conn_set_handler(p->child.conn, &HANDLER, p);
    p->broken = false;
    return 0;
}

void vb_calls_clear(struct vb_session *s)
{
    for (size_t i = 0; i < s->calls.n; i++) {
        free(s->calls.v[i].path);
        if (s->calls.v[i].fields)
            vb_msg_clear(s->calls.v[i].fields);
        free(s->calls.v[i].fields);
    }
}

void vb_calls_begin(struct vb_session *s)
{
    vb_calls_clear(s);
    s->calls.n = s->calls.left = 0;
    vb_error_clear(&s->calls.failure);
}

void vb_calls_add(struct vb_session *s, struct vb_sp *p, const char *call, size_t volume, const char *path)
{
    VB_GROW(s->calls.v, s->calls.n, s->calls.cap);
    s->calls.v[s->calls.n++] = (struct vb_pcall){ p, volume, s->next_id++, call, vb_strdup(path), false, false, NULL, 0 };
}

void vb_calls_add_fields(struct vb_session *s, struct vb_sp *p, const char *call, struct vb_msg *fields)
{
    vb_calls_add(s, p, call, SIZE_MAX, NULL);
    struct vb_msg *own = s->calls.v[s->calls.n - 1].fields = vb_alloc(sizeof *own);
    *own = (struct vb_msg)VB_MSG_INIT(0);
    vb_buf_add(&own->body, fields->body.data, fields->body.len);
    vb_msg_clear(fields);
}

void vb_calls_go(struct vb_session *s, uint64_t limit_ms, vb_panswer *answer, vb_step *done)
{
    s->calls.active = true;
    s->calls.limit_ms = limit_ms;
    s->calls.answer = answer;
    s->calls.done = done;
    s->calls.left = s->calls.n;
    if (s->calls.n == 0) {
        vb_s_post(s, calls_over);
        return;
    }
    s->calls.timer = vb_loop_after(s->env->loop, limit_ms, on_limit, s);
    for (size_t i = 0; i < s->n_providers; i++) {
        struct vb_sp *p = s->providers[i];
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        bool wanted = false;
        for (size_t k = 0; k < s->calls.n; k++)
            wanted = wanted || s->calls.v[k].p == p;
        if (!wanted)
            continue;
        if (!p->child.conn && start(p, &err) < 0) {
            p->broken = true;
            provider_lost(p, err.code, vb_error_text(&err));
        } else if (p->ready) {
            send_waiting(p);
        }
    }
}

void vb_calls_set(struct vb_session *s, const char *call, uint64_t limit_ms, vb_step *done)
{
    vb_calls_begin(s);
    for (size_t i = 0; i < s->n_providers; i++)
        if (s->providers[i]->in_set)
            vb_calls_add(s, s->providers[i], call, SIZE_MAX, NULL);
    vb_s_event(s, "snapshot", call, "begin", NULL, NULL, 0);
    vb_calls_go(s, limit_ms, NULL, done);
}
