/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_fail.c - what follows when a step has ended: to the components, to the host, to the run.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/text.h"

#define CANCEL_MS 1000u

/* ---- components ---- */

size_t vb_x_alive(const struct vb_xh *h)
{
    size_t n = 0;
    for (size_t c = 0; c < h->x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &h->x->plan->components[c];
        n += pc->host == h->index && pc->is_explicit && !h->x->components[c].failed;
    }
    return n;
}

void vb_x_fail_component(struct vb_exec *x, size_t c, const struct vb_error *why)
{
    struct vb_xc *xc = &x->components[c];
    if (xc->failed)
        return;
    xc->failed = true;
    vb_error_copy(&xc->error, why);
    if (!x->plan->components[c].is_explicit)
        return;
    const struct vb_plan_component *pc = &x->plan->components[c];
    VB_AUTO_FREE char *who = vb_x_component_text(x, c), *full = vb_full_path(pc->logical_path, pc->name);
    VB_AUTO_FREE char *begins = vb_printf("component '%s'", full);
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, why);
    vb_free_ptr(&e.hint); /* the result says what to do */
    if (strncmp(vb_error_text(&e), begins, strlen(begins)) != 0) /* else the agent named it */
        vb_context(&e, "%s", who);
    vb_x_warn(x, x->plan->hosts[x->plan->components[c].host].name, &e);
}

enum vb_writer_policy vb_x_policy(const struct vb_exec *x, const struct vb_plan_component *c)
{
    for (size_t i = 0; i < x->p.opt->n_writers; i++) {
        const struct vb_job_writer *w = &x->p.opt->writers[i];
        if (strcmp(w->writer, c->writer_name) == 0 || vb_guid_equal(w->writer, c->writer_id) ||
            (c->instance_name && strcmp(w->writer, c->instance_name) == 0))
            return w->policy;
    }
    return VB_POLICY_OPTIONAL;
}

/* A target that was told success but whose host did not confirm BackupComplete is a failed job for its dependents
 * (D-48). */
static bool target_failed(const struct vb_exec *x, const struct vb_plan_edge *e)
{
    const struct vb_xc *t = &x->components[e->to];
    if (t->failed)
        return true;
    const struct vb_xh *h = &x->hosts[x->plan->components[e->to].host];
    return e->remote && !e->cut && h->broken && !t->confirmed;
}

void vb_x_spread(struct vb_exec *x, const struct vb_xh *only)
{
    bool again = true;
    for (size_t c = 0; c < x->plan->n_components; c++)
        if (x->components[c].doom.code != VB_OK && (!only || x->plan->components[c].host == only->index))
            vb_x_fail_component(x, c, &x->components[c].doom);
    while (again) {
        again = false;
        for (size_t i = 0; i < x->plan->n_edges; i++) {
            const struct vb_plan_edge *e = &x->plan->edges[i];
            if (x->components[e->from].failed || x->components[e->from].succeeded || !target_failed(x, e) ||
                (only && x->plan->components[e->from].host != only->index))
                continue;
            const struct vb_xc *t = &x->components[e->to];
            const struct vb_xh *th = &x->hosts[x->plan->components[e->to].host];
            VB_AUTO_FREE char *who = vb_x_component_text(x, e->to);
            VB_AUTO_ERROR why = VB_ERROR_INIT;
            vb_fail(&why, VB_E_REMOTE_FAILED, "what it depends on failed: %s: %s", who,
                    vb_error_text(t->failed ? &t->error : &th->error));
            vb_hint(&why, "%s", t->failed && t->error.hint ? t->error.hint
                                : th->error.hint           ? th->error.hint
                                                           : "mend that one and run again");
            vb_x_fail_component(x, e->from, &why);
            again = true;
        }
    }
}

/* ---- a step has ended ---- */

void vb_x_step_done(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    if (h->step == VB_NO_INDEX)
        return;
    size_t i = h->step;
    h->step = VB_NO_INDEX;
    x->steps[i] = VB_STEP_DONE;
    vb_x_hold_journal(x);
    (void)vb_x_journal(x, true, "done step=%s", x->plan->steps[i].id);
    vb_x_progress(x, h, i);
    if (x->plan->steps[i].verb == VB_VERB_RELEASE)
        h->ended = true;
    vb_x_kick(x);
}

static void end_step_as_failed(struct vb_xh *h, const struct vb_error *why)
{
    struct vb_exec *x = h->x;
    if (h->step == VB_NO_INDEX)
        return;
    size_t i = h->step;
    h->step = VB_NO_INDEX;
    x->steps[i] = VB_STEP_FAILED;
    vb_x_hold_journal(x);
    VB_AUTO_FREE char *t = vb_journal_escape(vb_error_text(why));
    (void)vb_x_journal(x, true, "failed step=%s code=%s text=%s", x->plan->steps[i].id, vb_code_name(why->code), t);
    vb_x_log(h, "step", x->plan->steps[i].id, why, NULL);
    vb_x_progress(x, h, i);
}

void vb_x_step_failed(struct vb_xh *h, const struct vb_error *why)
{
    struct vb_exec *x = h->x;
    if (h->step == VB_NO_INDEX)
        return;
    const struct vb_plan_step *s = &x->plan->steps[h->step];
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, why);
    if (s->on_failure == VB_ON_FAILURE_ABORT_HOST) {
        vb_x_break(h, &e);
        return;
    }
    end_step_as_failed(h, &e);
    if (s->on_failure == VB_ON_FAILURE_MARK) {
        for (size_t k = 0; k < s->n_components; k++)
            if (!x->components[s->components[k]].succeeded)
                vb_x_fail_component(x, s->components[k], &e);
    } else if (s->on_failure == VB_ON_FAILURE_FAIL_RUN) {
        vb_x_abort_run(x, &e);
    } else {
        vb_x_warn(x, vb_x_host_name(h), &e);
    }
    if (s->verb == VB_VERB_RELEASE)
        h->ended = true;
    vb_x_kick(x);
}

void vb_x_break(struct vb_xh *h, const struct vb_error *why)
{
    struct vb_exec *x = h->x;
    if (h->broken || h->ended)
        return;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, why);
    h->broken = true;
    vb_error_copy(&h->error, &e);
    if (!x->aborting) {
        VB_AUTO_FREE char *t = vb_journal_escape(vb_error_text(&e));
        (void)vb_x_journal(x, true, "broken host=%s code=%s text=%s", vb_x_host_label(h), vb_code_name(e.code), t);
    }
    vb_x_data_stop(h);
    if (h->step != VB_NO_INDEX)
        end_step_as_failed(h, &e);
    bool release_only = true; /* its work was done; only the end was left */
    for (size_t i = 0; i < x->plan->n_steps; i++)
        if (x->plan->steps[i].host == h->index && x->plan->steps[i].verb != VB_VERB_RELEASE &&
            x->steps[i] != VB_STEP_DONE)
            release_only = false;
    for (size_t c = 0; c < x->plan->n_components; c++) {
        struct vb_xc *xc = &x->components[c];
        if (x->plan->components[c].host != h->index || xc->confirmed || release_only)
            continue;
        if (xc->succeeded && xc->error.code == VB_OK)
            vb_error_copy(&xc->error, &e); /* the data are safe, its writer's end is not known */
        else if (!xc->succeeded)
            vb_x_fail_component(x, c, &e);
    }
    /* A required writer takes the run with it. */
    bool required = false;
    for (size_t c = 0; c < x->plan->n_components && !x->aborting; c++)
        required = required || (x->plan->components[c].host == h->index && x->components[c].failed &&
                                vb_x_policy(x, &x->plan->components[c]) == VB_POLICY_REQUIRED);
    vb_x_send_abort(h);
    if (required)
        vb_x_abort_run(x, &e);
    vb_x_kick(x);
}

void vb_x_abort_run(struct vb_exec *x, const struct vb_error *why)
{
    if (x->aborting)
        return;
    x->aborting = true;
    vb_error_copy(&x->error, why);
    VB_AUTO_FREE char *t = vb_journal_escape(vb_error_text(&x->error));
    (void)vb_x_journal(x, true, "abort code=%s text=%s", vb_code_name(x->error.code), t);
    for (size_t i = 0; i < x->plan->n_hosts; i++)
        vb_x_break(&x->hosts[i], &x->error);
    vb_x_kick(x);
}

/* ---- cancel ---- */

static void cancel_late(void *arg)
{
    struct vb_exec *x = arg;
    x->cancel_timer = NULL;
    for (size_t i = 0; i < x->plan->n_hosts; i++) {
        struct vb_xh *h = &x->hosts[i];
        if (h->ended)
            continue;
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_TIMEOUT, "host '%s' has not confirmed the abort yet; its lease ends the job",
                vb_x_host_name(h));
        vb_x_warn(x, vb_x_host_name(h), &e);
        vb_rjob_free(VB_STEAL(h->rjob));
        h->ended = true;
    }
    vb_x_kick(x);
}

void vb_exec_cancel(struct vb_exec *x)
{
    if (x->finished || x->cancelled)
        return;
    x->cancelled = true;
    x->cancel_timer = vb_loop_after(x->loop, CANCEL_MS, cancel_late, x);
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_CANCELLED, "cancelled");
    vb_x_abort_run(x, &e);
}
