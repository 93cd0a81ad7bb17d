/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_probe.c - before a plan is shown: which provider would take which volume, and what would be refused.
 *
 * Walks the beginning of the plan, OPEN, IDENTIFY and a PREPARE that only asks, then RELEASE, on every host at once: no
 * writer hears more than Identify.
 */
#include "requester/run_internal.h"

#include <stdlib.h>
#include <string.h>

static bool is_asked(enum vb_verb v)
{
    return v == VB_VERB_OPEN || v == VB_VERB_IDENTIFY || v == VB_VERB_PREPARE || v == VB_VERB_RELEASE;
}

/* A copy with these steps only, each waiting for the one before on its host. */
static struct vb_plan *shortened(const struct vb_plan *p, struct vb_error *err)
{
    VB_AUTO_BUF json = VB_BUF_INIT;
    vb_plan_json(p, &json);
    struct vb_plan *q = vb_plan_from_json(json.data, json.len, err);
    if (!q)
        return NULL;
    vb_free_ptr(&q->run_id); /* nothing of it is remembered */
    for (size_t i = 0; i < q->n_hosts; i++)
        q->hosts[i].n_front_ends = 0;
    size_t n = 0;
    for (size_t i = 0; i < q->n_steps; i++) {
        struct vb_plan_step *s = &q->steps[i];
        if (s->host == VB_NO_INDEX || !is_asked(s->verb)) {
            free(s->id);
            free(s->components);
            free(s->waits);
            continue;
        }
        s->n_waits = 0;
        q->steps[n++] = *s;
    }
    q->n_steps = n;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            struct vb_plan_step *s = &q->steps[i];
            if (q->steps[k].host != s->host || q->steps[k].verb >= s->verb)
                continue;
            VB_GROW(s->waits, s->n_waits, s->cap_waits);
            s->waits[s->n_waits++] = k;
        }
    return q;
}

static void take(struct vb_run *r, size_t host)
{
    const struct vb_error *why;
    const struct vb_components *b = vb_exec_document(r->exec, host, &why);
    for (size_t i = 0; b && i < b->n_snapshots; i++) {
        const struct vb_snapshot_record *s = &b->snapshots[i];
        vb_plan_add_volume(r->plan, host, s->mount_point, s->fs_type, s->provider, s->remark);
    }
    if (why->code != VB_OK)
        vb_strv_take(&r->plan->warnings, vb_printf("the volumes of '%s' are not known: %s", r->plan->hosts[host].name,
                                                   vb_error_text(why)));
}

static void go_on(void *arg)
{
    vb_r_plan_made(arg);
}

static void on_done(void *arg)
{
    struct vb_run *r = arg;
    for (size_t i = 0; i < r->plan->n_hosts; i++)
        if (r->plan->hosts[i].reached)
            take(r, i);
    vb_exec_free(VB_STEAL(r->exec));
    if (r->cancelled) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_CANCELLED, "cancelled");
        vb_r_fail(r, &e);
        return;
    }
    vb_loop_post(r->env.loop, go_on, r);
}

static void on_event(void *arg, const struct vb_run_event *e)
{
    struct vb_run *r = arg;
    if (r->h.event)
        r->h.event(r->arg, e);
}

void vb_r_probe(struct vb_run *r)
{
    static const struct vb_exec_handler handler = { .event = on_event, .done = on_done };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    r->probed = true;
    r->probe = shortened(r->plan, &e);
    if (!r->probe) {
        vb_r_fail(r, &e);
        return;
    }
    struct vb_exec_params p = { .env = &r->env, .opt = &r->opts.o, .plan = r->probe, .log = &r->log, .probe = true,
                                .started_wall_ms = r->started_wall_ms, .started_ms = r->started_ms };
    r->exec = vb_exec_start(&p, &handler, r);
    if (r->cancelled)
        vb_exec_cancel(r->exec);
}
