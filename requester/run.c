/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run.c - the life of a run: start, callbacks, cancel, the end.
 */
#include "requester/run_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/text.h"

#define SETTLE_MS 2000u
#define CANCEL_MS 1000u /* for agents to end what they were asked to look at */

static void clear_result(struct vb_run_result *x)
{
    for (size_t i = 0; i < x->n_hosts; i++) {
        free(x->hosts[i].name);
        free(x->hosts[i].text);
        free(x->hosts[i].hint);
        for (size_t k = 0; k < x->hosts[i].n_phases; k++)
            free(x->hosts[i].phases[k].name);
        free(x->hosts[i].phases);
    }
    for (size_t i = 0; i < x->n_components; i++) {
        struct vb_run_component *c = &x->components[i];
        free(c->writer_id);
        free(c->writer_name);
        free(c->instance_name);
        free(c->logical_path);
        free(c->name);
        free(c->text);
        free(c->hint);
    }
    free(x->hosts);
    free(x->components);
    free(x->run_id);
    free(x->backup_id);
    vb_error_clear(&x->error);
    memset(x, 0, sizeof *x);
}

void vb_run_free(struct vb_run *r)
{
    if (!r)
        return;
    vb_loop_unpost(r->env.loop, r);
    vb_exec_free(r->exec);
    vb_gather_free(r->gather);
    if (r->journal)
        r->env.state->journal_close(r->env.state->ctx, r->journal);
    if (r->begun_store)
        r->env.store->end(r->env.store->ctx);
    vb_restore_selection_clear(&r->picks);
    vb_restore_source_clear(&r->source);
    free(r->stored);
    vb_plan_free(r->plan);
    vb_plan_free(r->probe);
    vb_r_passes_clear(r);
    vb_event_log_clear(&r->log);
    vb_strv_clear(&r->fixed);
    clear_result(&r->result);
    vb_run_opts_clear(&r->opts);
    free(r);
}

const struct vb_plan *vb_run_the_plan(const struct vb_run *r)
{
    return r->plan;
}

void vb_run_events_json(const struct vb_run *r, struct vb_buf *out)
{
    vb_event_log_json(&r->log, out);
}

/* ---- the end ---- */

static void report(void *arg)
{
    struct vb_run *r = arg;
    if (r->h.done)
        r->h.done(r->arg, &r->result);
}

static void end_journal(struct vb_run *r, enum vb_exit status)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (!r->journal)
        return;
    if (vb_journal_add(r->journal, true, &e, "finished exit=%d", (int)status) < 0)
        vb_log_error(VB_LOG_WARNING, &e);
    r->env.state->journal_close(r->env.state->ctx, r->journal);
    r->journal = NULL;
    /* The tokens are worthless now; plan and events stand with the backup. */
    if (vb_run_forget(r->env.state, r->run_id, &e) < 0)
        vb_log_error(VB_LOG_WARNING, &e);
}

/* A backup that builds on others comes back in passes of their own, each a run from its beginning (I-34). */
static bool another_pass(struct vb_run *r)
{
    if (r->result.exit != VB_EXIT_DONE || r->cancelled || !vb_r_next_pass(r))
        return false;
    vb_exec_free(VB_STEAL(r->exec));
    vb_gather_free(VB_STEAL(r->gather));
    end_journal(r, VB_EXIT_DONE);
    vb_restore_selection_clear(&r->picks);
    vb_restore_source_clear(&r->source);
    vb_free_ptr(&r->stored);
    vb_plan_free(VB_STEAL(r->plan));
    vb_strv_clear(&r->fixed);
    if (r->begun_store)
        r->env.store->end(r->env.store->ctx);
    r->begun_store = false;
    r->passed_files += r->result.files;
    r->passed_bytes += r->result.bytes;
    size_t warnings = r->result.warnings;
    clear_result(&r->result);
    r->result.warnings = warnings;
    r->env.new_guid(r->env.guid_arg, r->run_id);
    vb_loop_post(r->env.loop, vb_r_begin, r);
    return true;
}

/* Everything that was begun is over; result holds all but the common fields. */
static void finish(struct vb_run *r)
{
    if (r->over || another_pass(r))
        return;
    r->over = true;
    vb_exec_free(VB_STEAL(r->exec));
    vb_gather_free(VB_STEAL(r->gather));
    if (r->pass + 1 < r->n_passes) {
        VB_AUTO_ERROR w = VB_ERROR_INIT;
        vb_fail(&w, VB_E_REMOTE_FAILED, "the restore stopped in pass %zu of %zu: the later backups of the chain were not put back",
                r->pass + 1, r->n_passes);
        vb_r_warn(r, NULL, &w);
    }
    r->result.files += r->passed_files;
    r->result.bytes += r->passed_bytes;
    r->result.kind = r->kind;
    r->result.run_id = vb_strdup(r->run_id);
    r->result.started_wall_ms = r->started_wall_ms;
    r->result.finished_wall_ms = vb_loop_wall_ms(r->env.loop);
    end_journal(r, r->result.exit);
    if (r->begun_store)
        r->env.store->end(r->env.store->ctx);
    r->begun_store = false;
    vb_r_phase(r, VB_PHASE_END);
    vb_loop_unpost(r->env.loop, r);
    vb_loop_post(r->env.loop, report, r);
}

void vb_r_fail(struct vb_run *r, const struct vb_error *why)
{
    vb_error_copy(&r->result.error, why);
    r->result.completeness = VB_FAILED;
    r->result.exit = vb_code_exit(why->code);
    finish(r);
}

void vb_r_warn(struct vb_run *r, const char *host, const struct vb_error *w)
{
    r->result.warnings++;
    if (r->h.warning)
        r->h.warning(r->arg, host, w);
}

void vb_r_phase(struct vb_run *r, enum vb_run_phase phase)
{
    if (!r->h.progress)
        return;
    struct vb_run_progress p = { .phase = phase, .steps = r->plan ? r->plan->n_steps : 0 };
    r->h.progress(r->arg, &p);
}

/* ---- the plan stands ---- */

static void settled(void *arg)
{
    finish(arg);
}

static void plan_is_all(struct vb_run *r)
{
    const struct vb_plan *p = r->plan;
    struct vb_run_result *x = &r->result;
    x->hosts = vb_alloc_n(p->n_hosts + 1, sizeof *x->hosts);
    x->components = vb_alloc_n(p->n_components + 1, sizeof *x->components);
    x->backup_id = vb_strdup(p->backup_id);
    bool whole = p->n_missing == 0;
    for (size_t i = 0; i < p->n_volumes; i++)
        whole = whole && p->volumes[i].provider;
    for (size_t i = 0; i < p->n_hosts; i++) {
        struct vb_run_host *h = &x->hosts[x->n_hosts++];
        h->name = vb_strdup(p->hosts[i].name);
        h->code = p->hosts[i].code;
        h->text = vb_strdup(p->hosts[i].text);
        h->hint = vb_strdup(p->hosts[i].hint);
        whole = whole && p->hosts[i].reached;
    }
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_plan_component *pc = &p->components[c];
        if (!pc->is_explicit)
            continue;
        struct vb_run_component *rc = &x->components[x->n_components++];
        rc->host = pc->host;
        rc->writer_id = vb_strdup(pc->writer_id);
        rc->writer_name = vb_strdup(pc->writer_name);
        rc->instance_name = vb_strdup(pc->instance_name);
        rc->logical_path = vb_strdup(pc->logical_path);
        rc->name = vb_strdup(pc->name);
        rc->is_explicit = true;
    }
    x->exit = whole ? VB_EXIT_DONE : VB_EXIT_PARTIAL;
    if (r->gather)
        vb_gather_settle(r->gather, SETTLE_MS, settled, r);
    else
        finish(r);
}

static int save_start(struct vb_run *r, struct vb_error *err)
{
    struct vb_run_state *s = r->env.state;
    if (!s)
        return 0;
    VB_AUTO_BUF plan = VB_BUF_INIT;
    VB_AUTO_BUF opts = VB_BUF_INIT;
    VB_AUTO_FREE char *plan_name = vb_printf("runs/%s/plan.json", r->run_id);
    VB_AUTO_FREE char *opts_name = vb_printf("runs/%s/run.json", r->run_id);
    VB_AUTO_FREE char *journal_name = vb_printf("runs/%s/journal", r->run_id);
    vb_plan_json(r->plan, &plan);
    vb_run_opts_json(&r->opts.o, &opts);
    if (s->save(s->ctx, plan_name, plan.data, plan.len, err) < 0 ||
        s->save(s->ctx, opts_name, opts.data, opts.len, err) < 0)
        return -1;
    r->journal = s->journal(s->ctx, journal_name, err);
    if (!r->journal)
        return -1;
    return vb_journal_add(r->journal, true, err, "run id=%s kind=%s", r->run_id,
                          r->kind == VB_JOB_RESTORE ? "restore" : "backup");
}

void vb_r_plan_made(struct vb_run *r)
{
    if (r->plan_only && r->kind == VB_JOB_BACKUP && !r->opts.o.offline && !r->probed && r->plan->n_steps > 0) {
        vb_r_probe(r);
        return;
    }
    vb_r_phase(r, VB_PHASE_PLAN);
    for (size_t i = 0; i < r->plan->warnings.n; i++) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_DEPENDENCY_MISSING, "%s", r->plan->warnings.v[i]);
        vb_r_warn(r, NULL, &e);
    }
    if (r->h.plan)
        r->h.plan(r->arg, r->plan);
    if (r->over)
        return;
    if (r->plan_only) {
        plan_is_all(r);
        return;
    }
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (r->plan->n_steps == 0 && r->plan->n_missing > 0) {
        vb_fail(&e, r->plan->missing[0].code, "nothing is left to do: %s", r->plan->missing[0].text);
        VB_AUTO_FREE char *hint = vb_plan_missing_hint(r->plan, &r->plan->missing[0]);
        vb_hint(&e, "%s", hint);
        vb_r_fail(r, &e);
        return;
    }
    if (r->plan->n_steps == 0) {
        vb_fail(&e, VB_E_NOT_FOUND, "there is nothing to do: no component was chosen");
        vb_hint(&e, "see what there is with 'vbackup writers', or name paths to back up");
        vb_r_fail(r, &e);
        return;
    }
    if (save_start(r, &e) < 0) {
        vb_context(&e, "the state of the run cannot be kept");
        if (!e.hint)
            vb_hint(&e, "make room on the file system that holds the requester's state, and run again");
        vb_r_fail(r, &e);
        return;
    }
    vb_r_execute(r);
}

/* ---- executing ---- */

static void on_event(void *arg, const struct vb_run_event *e)
{
    struct vb_run *r = arg;
    if (r->h.event)
        r->h.event(r->arg, e);
}

static void on_progress(void *arg, const struct vb_run_progress *p)
{
    struct vb_run *r = arg;
    if (r->h.progress)
        r->h.progress(r->arg, p);
}

static void on_warning(void *arg, const char *host, const struct vb_error *w)
{
    struct vb_run *r = arg;
    if (r->h.warning)
        r->h.warning(r->arg, host, w);
}

static void on_exec_done(void *arg)
{
    struct vb_run *r = arg;
    vb_exec_result(r->exec, &r->result);
    finish(r);
}

void vb_r_execute(struct vb_run *r)
{
    static const struct vb_exec_handler handler = { on_event, on_progress, on_warning, on_exec_done };
    struct vb_exec_params p = { .env = &r->env,
                                .opt = &r->opts.o,
                                .plan = r->plan,
                                .log = &r->log,
                                .journal = r->journal,
                                .resume = r->resume,
                                .stored = r->stored,
                                .started_wall_ms = r->started_wall_ms,
                                .started_ms = r->started_ms };
    vb_r_phase(r, VB_PHASE_RUN);
    r->exec = vb_exec_start(&p, &handler, r);
    if (r->cancelled)
        vb_exec_cancel(r->exec);
}

/* ---- entry points ---- */

static void guid(void *arg, char out[37])
{
    (void)arg;
    vb_guid_new(out);
}

static struct vb_run *new_run(const struct vb_run_env *env, const struct vb_run_handler *h, void *arg)
{
    struct vb_run *r = vb_alloc(sizeof *r);
    r->env = *env;
    if (!r->env.new_guid)
        r->env.new_guid = guid;
    r->h = *h;
    r->arg = arg;
    r->log.loop = env->loop;
    r->started_ms = vb_loop_now_ms(env->loop);
    r->started_wall_ms = vb_loop_wall_ms(env->loop);
    vb_loop_post(env->loop, vb_r_begin, r);
    return r;
}

static struct vb_run *start(const struct vb_run_env *env, enum vb_job_kind kind, bool plan_only,
                            const struct vb_run_options *opt, const struct vb_run_handler *h, void *arg)
{
    struct vb_run *r = new_run(env, h, arg);
    r->kind = kind;
    r->plan_only = plan_only;
    vb_run_opts_copy(&r->opts, opt);
    const struct vb_run_options *o = &r->opts.o;
    r->select = (struct vb_select_options){ .asks = o->asks, .n_asks = o->n_asks, .excludes = o->excludes,
                                            .n_excludes = o->n_excludes, .missing = o->missing, .resolve = o->resolve,
                                            .resolve_arg = o->resolve_arg };
    r->env.new_guid(r->env.guid_arg, r->run_id);
    return r;
}

struct vb_run *vb_run_backup(const struct vb_run_env *env, const struct vb_run_options *opt,
                             const struct vb_run_handler *h, void *arg)
{
    return start(env, VB_JOB_BACKUP, false, opt, h, arg);
}

struct vb_run *vb_run_restore(const struct vb_run_env *env, const struct vb_run_options *opt,
                              const struct vb_run_handler *h, void *arg)
{
    return start(env, VB_JOB_RESTORE, false, opt, h, arg);
}

struct vb_run *vb_run_plan_only(const struct vb_run_env *env, enum vb_job_kind kind, const struct vb_run_options *opt,
                                const struct vb_run_handler *h, void *arg)
{
    return start(env, kind, true, opt, h, arg);
}

struct vb_run *vb_run_resume(const struct vb_run_env *env, const char *run_id, const struct vb_run_handler *h,
                             void *arg)
{
    struct vb_run *r = new_run(env, h, arg);
    r->resume = true;
    size_t n = strlen(run_id);
    memcpy(r->run_id, run_id, n < sizeof r->run_id ? n : sizeof r->run_id - 1);
    return r;
}

static void gather_cancelled(void *arg)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_CANCELLED, "cancelled");
    vb_r_fail(arg, &e);
}

void vb_run_cancel(struct vb_run *r)
{
    if (r->over || r->cancelled)
        return;
    r->cancelled = true;
    if (r->exec) {
        vb_exec_cancel(r->exec);
        return;
    }
    if (r->gather && !r->plan)
        vb_gather_cancel(r->gather, CANCEL_MS, gather_cancelled, r);
    else
        gather_cancelled(r);
}
