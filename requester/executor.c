/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/executor.c - the walk over the plan; its beginning and its end.
 */
#include "requester/exec_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/text.h"
#include "requester/pick.h"

const char *vb_x_host_name(const struct vb_xh *h)
{
    return h->x->plan->hosts[h->index].name;
}

const char *vb_x_host_label(const struct vb_xh *h)
{
    const struct vb_plan_host *ph = &h->x->plan->hosts[h->index];
    return h->x->plan->target_dir && ph->stored_as ? ph->stored_as : ph->name;
}

char *vb_x_component_text(const struct vb_exec *x, size_t c)
{
    const struct vb_plan_component *pc = &x->plan->components[c];
    VB_AUTO_FREE char *full = vb_full_path(pc->logical_path, pc->name);
    return vb_printf("component '%s' of writer '%s' on '%s'", full, vb_plan_writer(pc), x->plan->hosts[pc->host].name);
}

/* ---- records ---- */

/* What follows the first failure fails for the same reason: it is told once. */
static int journal_failed(struct vb_exec *x)
{
    vb_hint(&x->journal_error, "make room on the file system that holds the requester's state, and run again");
    if (!x->journal_told)
        vb_x_warn(x, NULL, &x->journal_error);
    x->journal_told = true;
    return -1;
}

int vb_x_journal(struct vb_exec *x, bool sync, const char *fmt, ...)
{
    if (!x->p.journal)
        return 0;
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *s = vb_vprintf(fmt, ap);
    va_end(ap);
    vb_error_clear(&x->journal_error);
    return vb_journal_add(x->p.journal, sync, &x->journal_error, "%s", s) < 0 ? journal_failed(x) : 0;
}

void vb_x_log(struct vb_xh *h, const char *kind, const char *event, const struct vb_error *err, const char *text)
{
    const struct vb_run_event *e = vb_event_log_own(h->x->p.log, vb_x_host_name(h), kind, event, err, text);
    if (h->x->h.event)
        h->x->h.event(h->x->arg, e);
}

void vb_x_warn(struct vb_exec *x, const char *host, const struct vb_error *w)
{
    x->warnings++;
    if (x->h.warning)
        x->h.warning(x->arg, host, w);
}

void vb_x_save(struct vb_exec *x, const char *host, const char *suffix, const void *p, size_t n)
{
    struct vb_run_state *s = x->p.env->state;
    if (!s || !x->plan->run_id)
        return;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_FREE char *name = vb_printf("runs/%s/%s.%s", x->plan->run_id, host, suffix);
    if (s->save(s->ctx, name, p, n, &e) < 0)
        vb_x_warn(x, NULL, &e);
}

void vb_x_progress(struct vb_exec *x, const struct vb_xh *h, size_t step)
{
    if (!x->h.progress)
        return;
    struct vb_run_progress p = { .phase = x->aborting ? VB_PHASE_ABORT : VB_PHASE_RUN, .steps = x->plan->n_steps,
                                 .host = h ? vb_x_host_name(h) : NULL,
                                 .step = step == VB_NO_INDEX ? NULL : x->plan->steps[step].id };
    for (size_t i = 0; i < x->plan->n_steps; i++)
        p.steps_done += x->steps[i] >= VB_STEP_DONE;
    bool known = true;
    for (size_t i = 0; i < x->plan->n_hosts; i++) {
        p.files += x->hosts[i].files;
        p.bytes_done += x->hosts[i].bytes_done;
        const struct vb_xh *xh = &x->hosts[i];
        uint64_t total = xh->bytes_total;
        if (total == 0 && xh->stream_done) {
            total = xh->bytes_done;
        } else if (total == 0 && xh->bytes_guess > 0) {
            total = xh->bytes_guess > xh->bytes_done ? xh->bytes_guess : xh->bytes_done;
            p.estimate = true;
        }
        p.bytes_total += total;
        known = known && (total > 0 || xh->ended || xh->broken);
    }
    if (!known)
        p.bytes_total = 0;
    x->h.progress(x->arg, &p);
}

/* The requester's own journal may lie on what this machine freezes: it is held while a local snapshot runs (idea 3). */
void vb_x_hold_journal(struct vb_exec *x)
{
    bool wanted = false;
    for (size_t i = 0; i < x->plan->n_steps; i++)
        if (x->steps[i] == VB_STEP_RUNNING && x->plan->steps[i].verb == VB_VERB_SNAPSHOT && x->p.opt->local_host &&
            strcmp(x->plan->hosts[x->plan->steps[i].host].name, x->p.opt->local_host) == 0)
            wanted = true;
    if (!x->p.journal || wanted == x->held)
        return;
    x->held = wanted;
    vb_error_clear(&x->journal_error);
    if (wanted)
        vb_journal_hold(x->p.journal);
    else if (vb_journal_release(x->p.journal, &x->journal_error) < 0)
        (void)journal_failed(x);
}

/* ---- the walk ---- */

static bool ended(enum vb_step_state s)
{
    return s >= VB_STEP_DONE;
}

static bool may_begin(const struct vb_exec *x, size_t i)
{
    const struct vb_plan_step *s = &x->plan->steps[i];
    if (x->steps[i] != VB_STEP_WAITING)
        return false;
    for (size_t k = 0; k < s->n_waits; k++)
        if (!ended(x->steps[s->waits[k]]))
            return false;
    return true;
}

/* All front ends that this host works for are gone: nothing may begin here (D-41, D-49). */
static bool orphaned(const struct vb_exec *x, const struct vb_xh *h, struct vb_error *why)
{
    const struct vb_plan_host *ph = &x->plan->hosts[h->index];
    if (ph->n_front_ends == 0)
        return false;
    for (size_t i = 0; i < ph->n_front_ends; i++)
        if (!x->hosts[ph->front_ends[i]].broken)
            return false;
    const struct vb_xh *f = &x->hosts[ph->front_ends[0]];
    vb_fail(why, VB_E_REMOTE_FAILED, "not begun, because its front end '%s' failed: %s", vb_x_host_name(f),
            vb_error_text(&f->error));
    return true;
}

/* At restore the database must not come back under a front end that refused: a target all of whose dependents failed is
 * left untouched (D-59, D-60). */
static void drop_unwanted_targets(struct vb_exec *x, const struct vb_xh *h)
{
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_plan_edge *bad = NULL;
        bool wanted = x->plan->components[c].host != h->index;
        for (size_t i = 0; i < x->plan->n_edges && !wanted; i++) {
            const struct vb_plan_edge *e = &x->plan->edges[i];
            if (e->to != c || !e->remote || e->cut)
                continue;
            if (x->components[e->from].failed)
                bad = e;
            else
                wanted = true;
        }
        if (wanted || !bad)
            continue;
        VB_AUTO_FREE char *who = vb_x_component_text(x, bad->from);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        vb_fail(&why, VB_E_REMOTE_FAILED, "not touched, because %s, which depends on it, failed: %s", who,
                vb_error_text(&x->components[bad->from].error));
        vb_x_fail_component(x, c, &why);
    }
}

static void begin_commit(struct vb_exec *x, size_t i)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    x->steps[i] = VB_STEP_RUNNING;
    if (vb_x_journal(x, true, "start step=%s", x->plan->steps[i].id) < 0) {
        vb_error_copy(&e, &x->journal_error);
        vb_context(&e, "step '%s' was not begun", x->plan->steps[i].id);
        x->steps[i] = VB_STEP_FAILED;
        vb_x_abort_run(x, &e);
        return;
    }
    vb_x_progress(x, NULL, i);
    if (vb_x_commit(x, &e) < 0) {
        VB_AUTO_FREE char *t = vb_journal_escape(vb_error_text(&e));
        (void)vb_x_journal(x, true, "failed step=%s code=%s text=%s", x->plan->steps[i].id, vb_code_name(e.code), t);
        x->steps[i] = VB_STEP_FAILED;
        vb_x_abort_run(x, &e);
        return;
    }
    (void)vb_x_journal(x, true, "done step=%s", x->plan->steps[i].id); /* whether it stands is asked of the catalog */
    x->steps[i] = VB_STEP_DONE;
}

static void begin_host_step(struct vb_exec *x, size_t i)
{
    const struct vb_plan_step *s = &x->plan->steps[i];
    struct vb_xh *h = &x->hosts[s->host];
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (s->verb == VB_VERB_OPEN && !h->broken && orphaned(x, h, &e)) {
        vb_x_break(h, &e);
    } else if (s->verb == VB_VERB_OPEN && !h->broken && x->plan->kind == VB_JOB_RESTORE && !x->plan->target_dir) {
        drop_unwanted_targets(x, h);
        if (vb_x_alive(h) == 0) {
            vb_fail(&e, VB_E_REMOTE_FAILED, "not begun, because nothing that depends on it can be restored");
            vb_x_break(h, &e);
        }
    }
    if (h->broken) {
        x->steps[i] = VB_STEP_SKIPPED;
        return;
    }
    x->steps[i] = VB_STEP_RUNNING;
    h->step = i;
    if (vb_x_failed_before(x, s->id, &e)) {
        vb_x_step_failed(h, &e);
        return;
    }
    if (s->verb == VB_VERB_RELEASE)
        vb_x_write_outcome(x);
    if (vb_x_journal(x, true, "start step=%s", s->id) < 0 && s->verb != VB_VERB_RELEASE) {
        vb_error_copy(&e, &x->journal_error);
        vb_context(&e, "step '%s' was not begun", s->id);
        vb_x_step_failed(h, &e);
        return;
    }
    vb_x_hold_journal(x);
    vb_x_progress(x, h, i);
    switch (s->verb) {
    case VB_VERB_OPEN: vb_x_open(h); break;
    case VB_VERB_IDENTIFY: vb_x_identify(h); break;
    case VB_VERB_PREPARE: vb_x_prepare(h); break;
    case VB_VERB_SNAPSHOT: vb_x_snapshot(h); break;
    case VB_VERB_CAPTURE:
    case VB_VERB_RESTORE_FILES: vb_x_data_step(h); break;
    case VB_VERB_BARRIER: vb_x_barrier(h); break;
    case VB_VERB_COMPLETE: vb_x_complete(h); break;
    case VB_VERB_PRE_RESTORE: vb_x_pre_restore(h); break;
    case VB_VERB_POST_RESTORE: vb_x_post_restore(h); break;
    case VB_VERB_RELEASE: vb_x_release(h); break;
    case VB_VERB_COMMIT: break;
    }
}

static void report_done(void *arg)
{
    struct vb_exec *x = arg;
    x->h.done(x->arg);
}

static void finish_if_idle(struct vb_exec *x)
{
    for (size_t i = 0; i < x->plan->n_steps; i++)
        if (!ended(x->steps[i]))
            return;
    for (size_t i = 0; i < x->plan->n_hosts; i++)
        if (!x->hosts[i].ended)
            return;
    if (x->finished)
        return;
    if (x->plan->kind == VB_JOB_RESTORE)
        vb_x_spread(x, NULL); /* D-62, also when the run was aborted before it wrote its outcome */
    x->finished = true;
    vb_timer_cancel(x->cancel_timer);
    x->cancel_timer = NULL;
    vb_loop_post(x->loop, report_done, x);
}

static void walk(void *arg)
{
    struct vb_exec *x = arg;
    bool moved = true;
    while (moved) {
        moved = false;
        for (size_t i = 0; i < x->plan->n_steps; i++) {
            if (!may_begin(x, i))
                continue;
            moved = true;
            if (x->aborting && x->plan->steps[i].host == VB_NO_INDEX) {
                x->steps[i] = VB_STEP_SKIPPED;
            } else if (x->plan->steps[i].host == VB_NO_INDEX) {
                begin_commit(x, i);
            } else {
                begin_host_step(x, i);
            }
        }
    }
    vb_x_hold_journal(x);
    vb_x_try_aborts(x);
    finish_if_idle(x);
}

void vb_x_kick(struct vb_exec *x)
{
    vb_loop_unpost(x->loop, x);
    if (!x->finished)
        vb_loop_post(x->loop, walk, x);
    else
        vb_loop_post(x->loop, report_done, x);
}

/* ---- begin and end ---- */

/* Hosts that could not be reached are failures from the start.  What has a dependency that cannot be met takes part all
 * the same - its writer is to hear BackupComplete - and is marked as not succeeded then (D-33, D-48). */
static void known_failures(struct vb_exec *x)
{
    for (size_t i = 0; i < x->plan->n_hosts; i++) {
        const struct vb_plan_host *ph = &x->plan->hosts[i];
        if (ph->reached)
            continue;
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, ph->code, "%s", ph->text ? ph->text : "host was not reached");
        if (ph->hint)
            vb_hint(&e, "%s", ph->hint);
        x->hosts[i].broken = x->hosts[i].ended = true;
        vb_error_copy(&x->hosts[i].error, &e);
        for (size_t c = 0; c < x->plan->n_components; c++)
            if (x->plan->components[c].host == i)
                vb_x_fail_component(x, c, &e);
    }
    for (size_t i = 0; i < x->plan->n_missing; i++) {
        const struct vb_plan_missing *m = &x->plan->missing[i];
        if (m->from == VB_NO_INDEX || x->plan->kind == VB_JOB_RESTORE)
            continue;
        struct vb_error *doom = &x->components[m->from].doom;
        if (doom->code == VB_OK) {
            VB_AUTO_FREE char *hint = vb_plan_missing_hint(x->plan, m);
            vb_fail(doom, m->code, "%s", m->text ? m->text : "a dependency cannot be met");
            vb_hint(doom, "%s", hint);
        }
    }
}

/* What failed at backup cannot come back; the rest of its backup can. */
static void known_gaps(struct vb_exec *x)
{
    for (size_t c = 0; x->plan->kind == VB_JOB_RESTORE && c < x->plan->n_components; c++) {
        const struct vb_catalog_component *cc = vb_x_stored_component(x, c);
        if (!cc || cc->state != VB_CATALOG_FAILED)
            continue;
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_NOT_FOUND, "its backup failed: %s", cc->error ? cc->error : "no reason was recorded");
        vb_hint(&e, "restore it from another backup: vbackup list");
        x->components[c].status = VB_FILE_RESTORE_NONE;
        vb_x_fail_component(x, c, &e);
    }
}

/* Ad-hoc paths are one component whatever they are: the same ones? */
static bool same_paths(const struct vb_exec *x, const struct vb_catalog_component *c)
{
    const struct vb_run_options *o = x->p.opt;
    size_t met = 0;
    for (size_t i = 0; i < o->n_paths; i++) {
        bool there = false;
        for (size_t k = 0; k < c->n_roots && !there; k++) {
            VB_AUTO_FREE char *file = vb_path_join(c->roots[k].path, c->roots[k].filespec);
            there = strcmp(c->roots[k].path, o->paths[i]) == 0 || strcmp(file, o->paths[i]) == 0;
        }
        met += there;
    }
    return met == o->n_paths && (met == 0 || met == c->n_roots);
}

/* How much there will be is known only when all was read; the last backup of the same components is a good guess. */
static void guess_sizes(struct vb_exec *x)
{
    const struct vb_run_store *s = x->p.env->store;
    for (size_t i = 0; s && s->find && x->plan->kind == VB_JOB_BACKUP && i < x->plan->n_hosts; i++) {
        struct vb_catalog_entry *e = s->find(s->ctx, "latest", x->plan->hosts[i].name, NULL);
        const struct vb_catalog_host *host = NULL;
        for (size_t k = 0; e && k < e->n_hosts; k++)
            if (strcmp(e->hosts[k].name, x->plan->hosts[i].name) == 0)
                host = &e->hosts[k];
        uint64_t sum = 0;
        bool all = host != NULL;
        for (size_t c = 0; all && c < x->plan->n_components; c++) {
            const struct vb_plan_component *pc = &x->plan->components[c];
            if (pc->host != i || !pc->is_explicit)
                continue;
            const struct vb_catalog_component *cc =
                vb_pick_find(host, pc->writer_id, pc->instance_name, pc->logical_path, pc->name);
            all = cc && cc->state != VB_CATALOG_FAILED && same_paths(x, cc);
            sum += all ? cc->bytes : 0;
        }
        x->hosts[i].bytes_guess = all ? sum : 0;
        vb_catalog_entry_free(e);
    }
}

struct vb_exec *vb_exec_start(const struct vb_exec_params *p, const struct vb_exec_handler *h, void *arg)
{
    struct vb_exec *x = vb_alloc(sizeof *x);
    x->p = *p;
    x->h = *h;
    x->arg = arg;
    x->loop = p->env->loop;
    x->plan = p->plan;
    x->steps = vb_alloc_n(p->plan->n_steps + 1, sizeof *x->steps);
    x->hosts = vb_alloc_n(p->plan->n_hosts + 1, sizeof *x->hosts);
    x->components = vb_alloc_n(p->plan->n_components + 1, sizeof *x->components);
    for (size_t i = 0; i < p->plan->n_hosts; i++) {
        x->hosts[i].x = x;
        x->hosts[i].index = i;
        x->hosts[i].step = VB_NO_INDEX;
    }
    known_failures(x);
    known_gaps(x);
    if (!p->probe)
        guess_sizes(x);
    if (p->resume && p->journal)
        vb_x_resume(x);
    vb_x_kick(x);
    return x;
}

const struct vb_components *vb_exec_document(const struct vb_exec *x, size_t host, const struct vb_error **why)
{
    *why = &x->hosts[host].error;
    return x->hosts[host].bcd;
}

void vb_exec_free(struct vb_exec *x)
{
    if (!x)
        return;
    vb_loop_unpost(x->loop, x);
    vb_timer_cancel(x->cancel_timer);
    for (size_t i = 0; i < x->plan->n_hosts; i++) {
        struct vb_xh *h = &x->hosts[i];
        vb_x_data_stop(h);
        vb_loop_unpost(x->loop, h);
        vb_rjob_free(h->rjob);
        vb_buf_clear(&h->job_xml);
        vb_gather_host_clear(&h->here);
        vb_components_free(h->bcd);
        vb_error_clear(&h->error);
        vb_error_clear(&h->stream_error);
    }
    for (size_t c = 0; c < x->plan->n_components; c++) {
        struct vb_xc *xc = &x->components[c];
        for (size_t k = 0; k < xc->n_roots; k++) {
            free(xc->roots[k].path);
            free(xc->roots[k].filespec);
            free(xc->roots[k].detector);
        }
        free(xc->roots);
        vb_error_clear(&xc->error);
        vb_error_clear(&xc->doom);
    }
    if (x->held && x->p.journal)
        (void)vb_journal_release(x->p.journal, NULL);
    vb_strv_clear(&x->failed_before);
    vb_strv_clear(&x->broken_before);
    vb_strv_clear(&x->outcomes);
    vb_strv_clear(&x->done_before);
    vb_error_clear(&x->error);
    vb_error_clear(&x->journal_error);
    free(x->steps);
    free(x->hosts);
    free(x->components);
    free(x->backup_id);
    free(x);
}
