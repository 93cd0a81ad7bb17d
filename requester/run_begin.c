/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_begin.c - from the start of a run to its plan: gather, select, or take up what an earlier life left.
 */
#include "requester/run_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

static void gathered_for_backup(struct vb_run *r);
static void gathered_for_restore(struct vb_run *r);

/* ---- gathering ---- */

static void on_event(void *arg, const char *host, uint64_t seq, const struct vb_msg *m)
{
    struct vb_run *r = arg;
    const struct vb_run_event *e = vb_event_log_agent(&r->log, host, seq, m);
    if (r->h.event)
        r->h.event(r->arg, e);
}

static void on_call(void *arg, const char *host, const char *what, const struct vb_error *err)
{
    struct vb_run *r = arg;
    const struct vb_run_event *e = vb_event_log_own(&r->log, host, "gather", what, err, NULL);
    if (r->h.event)
        r->h.event(r->arg, e);
}

/* A host that was not reached; when the run is about to be refused for exactly this one, once is enough. */
static void warn_unreached(struct vb_run *r, const struct vb_gather_host *hosts, size_t n)
{
    size_t unreached = 0;
    for (size_t i = 0; i < n; i++)
        unreached += !hosts[i].reached;
    if (unreached == 1 && r->opts.o.missing == VB_MISSING_FAIL && !r->plan_only)
        return;
    for (size_t i = 0; i < n; i++)
        if (!hosts[i].reached && !r->over)
            vb_r_warn(r, hosts[i].name, &hosts[i].error);
}

static void on_gathered(void *arg)
{
    struct vb_run *r = arg;
    size_t n;
    const struct vb_gather_host *hosts = vb_gather_hosts(r->gather, &n);
    warn_unreached(r, hosts, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < hosts[i].n_failed; k++) {
            VB_AUTO_ERROR e = VB_ERROR_INIT;
            vb_error_copy(&e, &hosts[i].failed[k].error);
            vb_context(&e, "writer '%s' is present, but Identify failed", hosts[i].failed[k].writer);
            vb_r_warn(r, hosts[i].name, &e);
        }
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (r->env.state && !r->opts.o.offline && vb_gather_save(r->gather, r->env.state, &e) < 0)
        vb_log_error(VB_LOG_WARNING, &e);
    if (r->kind == VB_JOB_RESTORE)
        gathered_for_restore(r);
    else
        gathered_for_backup(r);
}

static void gather(struct vb_run *r, const struct vb_strv *fixed)
{
    static const struct vb_gather_handler handler = { on_event, on_call, on_gathered };
    const struct vb_run_options *o = &r->opts.o;
    struct vb_gather_params p = { .loop = r->env.loop, .links = r->env.links, .offline = o->offline ? r->env.state : NULL,
                                  .front_end = o->front_end, .run_id = r->run_id, .requester = o->requester,
                                  .select = &r->select, .policies = o->writers,
                                  .n_policies = o->n_writers, .paths = &r->opts.path_list,
                                  .path_rules = &r->opts.path_rule_list, .fixed = fixed,
                                  .new_guid = r->env.new_guid, .guid_arg = r->env.guid_arg };
    vb_r_phase(r, VB_PHASE_GATHER);
    r->gather = vb_gather_start(&p, &handler, r);
}

static const struct vb_gather_host *find_gathered(const struct vb_run *r, const char *name)
{
    size_t n;
    const struct vb_gather_host *v = vb_gather_hosts(r->gather, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    return NULL;
}

/* ---- backup ---- */

/* D-33, D-12: which component needs which host, why it cannot be had, and what to do. */
static void missing_error(const struct vb_plan *p, struct vb_error *err)
{
    const struct vb_plan_missing *m = &p->missing[0];
    VB_AUTO_FREE char *from = NULL;
    if (m->from != VB_NO_INDEX && !(m->text && strncmp(m->text, "component '", 11) == 0)) {
        const struct vb_plan_component *c = &p->components[m->from];
        VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
        from = vb_printf("component '%s' of writer '%s' on '%s': ", full, vb_plan_writer(c), p->hosts[c->host].name);
    }
    VB_AUTO_FREE char *hint = vb_plan_missing_hint(p, m);
    vb_fail(err, m->code, "%s%s%s", from ? from : "", m->text ? m->text : "a dependency cannot be met",
            p->n_missing > 1 ? " (and others)" : "");
    vb_hint(err, "%s", hint);
}

static bool ask_reached(const struct vb_run *r, const struct vb_ask *a)
{
    const struct vb_gather_host *h = find_gathered(r, a->host ? a->host : r->opts.o.front_end);
    return h && h->reached;
}

static void new_id(void *arg, char out[37])
{
    struct vb_run *r = arg;
    r->env.new_guid(r->env.guid_arg, out);
}

static int plan_backup(struct vb_run *r, struct vb_error *err)
{
    size_t n_all, n_reached;
    VB_AUTO_FREE size_t *map = NULL;
    const struct vb_gather_host *all = vb_gather_hosts(r->gather, &n_all);
    struct vb_sel_host *reached = vb_gather_sel_hosts(r->gather, &n_reached, &map);
    struct vb_plan_input_host *hosts = vb_alloc_n(n_all + 1, sizeof *hosts);
    size_t n = 0;
    for (size_t i = 0; i < n_reached; i++)
        hosts[n++] = (struct vb_plan_input_host){ .name = reached[i].host, .writers = reached[i].writers,
                                                  .n_writers = reached[i].n_writers, .reached = true };
    for (size_t i = 0; i < n_all; i++)
        if (!all[i].reached)
            hosts[n++] = (struct vb_plan_input_host){ .name = all[i].name, .error = &all[i].error };
    struct vb_select_options so = r->select;
    struct vb_ask *asks = vb_alloc_n(so.n_asks + 1, sizeof *asks);
    so.n_asks = 0;
    for (size_t i = 0; i < r->select.n_asks; i++)
        if (ask_reached(r, &r->select.asks[i]))
            asks[so.n_asks++] = r->select.asks[i];
    so.asks = asks;
    if (so.missing == VB_MISSING_FAIL) /* ours to report: we know why a host was not reached */
        so.missing = VB_MISSING_CONTINUE;
    struct vb_selection sel = { 0 };
    int rc = vb_select_backup(reached, n_reached, &so, &sel, err);
    if (rc == 0) {
        struct vb_plan_input in = { .kind = VB_JOB_BACKUP, .backup_type = r->opts.o.backup_type, .run_id = r->run_id,
                                    .offline = r->opts.o.offline, .hosts = hosts, .n_hosts = n, .selection = &sel,
                                    .new_id = new_id, .arg = r };
        r->plan = vb_plan_make(&in);
    }
    vb_selection_clear(&sel);
    free(asks);
    free(hosts);
    free(reached);
    return rc;
}

static bool names_writer(const char *text, const char *name, const char *class_id, const char *instance_name)
{
    return strcmp(text, name) == 0 || (class_id && vb_guid_equal(text, class_id)) ||
           (instance_name && strcmp(text, instance_name) == 0);
}

/* Whether a writer of this host was to take part, were it able to. */
static bool wanted(const struct vb_run *r, const struct vb_gather_host *h, const struct vb_gather_failed *f)
{
    const struct vb_run_options *o = &r->opts.o;
    bool in = o->n_asks == 0 && o->n_paths == 0 && strcmp(h->name, o->front_end) == 0;
    for (size_t i = 0; i < o->n_asks; i++)
        in = in || (strcmp(o->asks[i].host ? o->asks[i].host : o->front_end, h->name) == 0 &&
                    (!o->asks[i].writer || names_writer(o->asks[i].writer, f->writer, f->class_id, NULL)));
    for (size_t i = 0; i < o->n_excludes; i++)
        if (!o->excludes[i].component && o->excludes[i].writer &&
            strcmp(o->excludes[i].host ? o->excludes[i].host : o->front_end, h->name) == 0 &&
            names_writer(o->excludes[i].writer, f->writer, f->class_id, NULL))
            in = false;
    return in;
}

/* Writers that were to take part and cannot: the run is refused for a required one, and partial for others (B-65, Q-13). */
static int judge_writers(struct vb_run *r, struct vb_error *err)
{
    const struct vb_run_options *o = &r->opts.o;
    size_t n;
    const struct vb_gather_host *hosts = vb_gather_hosts(r->gather, &n);
    for (size_t k = 0; k < o->n_writers && !r->plan_only; k++) {
        const struct vb_job_writer *p = &o->writers[k];
        bool there = p->policy != VB_POLICY_REQUIRED;
        for (size_t i = 0; i < n; i++) {
            for (size_t w = 0; w < hosts[i].n_writers; w++)
                there = there || names_writer(p->writer, hosts[i].writers[w]->name, hosts[i].writers[w]->writer_id,
                                              hosts[i].writers[w]->instance_name);
            for (size_t w = 0; w < hosts[i].n_failed && !there; w++)
                if (hosts[i].failed[w].required || names_writer(p->writer, hosts[i].failed[w].writer, hosts[i].failed[w].class_id, NULL)) {
                    vb_error_copy(err, &hosts[i].failed[w].error);
                    vb_context(err, "required writer '%s' on '%s' cannot take part", hosts[i].failed[w].writer, hosts[i].name);
                    return -1;
                }
        }
        if (!there) {
            vb_fail(err, VB_E_OBJECT_NOT_FOUND, "required writer '%s' is not there", p->writer);
            vb_hint(err, "'vbackup writers' prints those of this machine, with --host those of another");
            return -1;
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t w = 0; w < hosts[i].n_failed; w++) {
            const struct vb_gather_failed *f = &hosts[i].failed[w];
            if (!wanted(r, &hosts[i], f))
                continue;
            if (f->required && !r->plan_only) {
                vb_error_copy(err, &f->error);
                vb_context(err, "required writer '%s' on '%s' cannot take part", f->writer, hosts[i].name);
                return -1;
            }
            vb_plan_add_lost_writer(r->plan, hosts[i].name, f->writer, &f->error);
        }
    return 0;
}

static void gathered_for_backup(struct vb_run *r)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    size_t n, reachable = 0;
    const struct vb_gather_host *hosts = vb_gather_hosts(r->gather, &n);
    bool fail = r->opts.o.missing == VB_MISSING_FAIL;
    for (size_t i = 0; i < r->select.n_asks; i++)
        reachable += ask_reached(r, &r->select.asks[i]);
    /* The first host is the one that was asked for: without it, or without any that was named, there is nothing to do.
     */
    if (n > 0 && !hosts[0].reached && (reachable == 0 || fail)) {
        vb_r_fail(r, &hosts[0].error);
        return;
    }
    for (size_t i = 0; fail && i < r->select.n_asks; i++) {
        const struct vb_ask *a = &r->select.asks[i];
        const struct vb_gather_host *h = find_gathered(r, a->host ? a->host : r->opts.o.front_end);
        if (h && !h->reached) {
            vb_r_fail(r, &h->error);
            return;
        }
    }
    if (plan_backup(r, &e) < 0) {
        vb_r_fail(r, &e);
        return;
    }
    if (vb_r_build_on(r, &e) < 0) {
        vb_r_fail(r, &e);
        return;
    }
    bool unmet = r->plan->n_missing > 0; /* lost writers are another matter */
    if (judge_writers(r, &e) < 0) {
        vb_r_fail(r, &e);
        return;
    }
    if (fail && unmet && !r->plan_only) {
        missing_error(r->plan, &e);
        if (r->h.plan)
            r->h.plan(r->arg, r->plan);
        vb_r_fail(r, &e);
        return;
    }
    vb_r_plan_made(r);
}

/* ---- restore ---- */

static struct vb_exec_stored *stored_of_plan(const struct vb_run *r)
{
    struct vb_exec_stored *v = vb_alloc_n(r->plan->n_hosts + 1, sizeof *v);
    for (size_t i = 0; i < r->plan->n_hosts; i++)
        for (size_t k = 0; k < r->source.n; k++)
            if (r->plan->hosts[i].stored_as && strcmp(r->plan->hosts[i].stored_as, r->source.hosts[k].name) == 0) {
                v[i] = r->source.hosts[k].stored;
                v[i].paths = &r->source.hosts[k].paths;
            }
    return v;
}

static void plan_restore(struct vb_run *r)
{
    const struct vb_run_options *o = &r->opts.o;
    struct vb_plan_input_host *hosts = vb_alloc_n(r->source.n + 1, sizeof *hosts);
    struct vb_components **stored = vb_alloc_n(r->source.n + 1, sizeof *stored);
    for (size_t i = 0; i < r->source.n; i++) {
        const struct vb_restore_source_host *s = &r->source.hosts[i];
        const struct vb_gather_host *g = r->gather ? find_gathered(r, s->actual) : NULL;
        hosts[i] = (struct vb_plan_input_host){ .name = o->target_dir && !r->in_place ? o->front_end : s->actual, .stored_as = s->name,
                                                .writers = s->stored.writers, .n_writers = s->stored.n_writers,
                                                .reached = !g || g->reached, .error = g ? &g->error : NULL };
        stored[i] = s->stored.bcd;
    }
    struct vb_plan_input in = { .kind = VB_JOB_RESTORE,
                                .backup_type = VB_BACKUP_FULL,
                                .run_id = r->run_id,
                                .backup_id = r->source.entry->id,
                                .target_dir = o->target_dir,
                                .paths = &r->opts.path_list,
                                .in_place = r->in_place,
                                .hosts = hosts,
                                .n_hosts = r->source.n,
                                .restore = &r->picks,
                                .stored = stored,
                                .new_id = new_id,
                                .arg = r };
    r->plan = vb_plan_make(&in);
    r->stored = stored_of_plan(r);
    vb_r_mark_additional(r);
    free(hosts);
    free(stored);
    vb_r_plan_made(r);
}

static void gathered_for_restore(struct vb_run *r)
{
    size_t n;
    const struct vb_gather_host *hosts = vb_gather_hosts(r->gather, &n);
    for (size_t i = 0; i < n && r->opts.o.missing != VB_MISSING_CONTINUE && !r->plan_only; i++)
        if (!hosts[i].reached) { /* before anything is touched */
            vb_r_fail(r, &hosts[i].error);
            return;
        }
    plan_restore(r);
}

/* The backup that was named, or once the passes are known that of the current one. */
static int load_pass(struct vb_run *r, const struct vb_select_options *asked, struct vb_error *err)
{
    const struct vb_run_options *o = &r->opts.o;
    const char *which = r->n_passes ? r->passes[r->pass].id : o->backup;
    struct vb_select_options so = *asked;
    if (r->pass + 1 < r->n_passes) { /* what was asked for was found in the last one */
        so.n_asks = so.n_excludes = 0;
        so.missing = VB_MISSING_CONTINUE;
    }
    return vb_restore_source_load(&r->source, r->env.store, which, o->backup_host, o->maps, err) < 0 ||
                   vb_restore_source_select(&r->source, &so, o->maps, &r->picks, err) < 0
               ? -1
               : 0;
}

static void begin_restore(struct vb_run *r)
{
    struct vb_run_options *o = &r->opts.o;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_select_options so = r->select;
    if (r->opts.path_list.n > 0 && !o->target_dir) {
        r->in_place = true;
        o->target_dir = "/";
    }
    if (o->target_dir)
        so.missing = VB_MISSING_CONTINUE; /* nothing is brought back into service */
    bool chain = r->opts.path_list.n == 0;
    if (load_pass(r, &so, &e) < 0 || (chain && r->n_passes == 0 && vb_r_find_passes(r, &e) < 0)) {
        vb_r_fail(r, &e);
        return;
    }
    if (r->n_passes > 1 && strcmp(r->passes[r->pass].id, r->source.entry->id) != 0) { /* the oldest comes first */
        vb_restore_selection_clear(&r->picks);
        vb_restore_source_clear(&r->source);
        if (load_pass(r, &so, &e) < 0) {
            vb_r_fail(r, &e);
            return;
        }
    }
    vb_r_limit_picks(r);
    if (r->opts.path_list.n > 0 &&
        vb_restore_source_paths(&r->source, r->env.store, &r->opts.path_list, &r->picks, &e) < 0) {
        vb_r_fail(r, &e);
        return;
    }
    if (o->target_dir) {
        plan_restore(r);
        return;
    }
    for (size_t i = 0; i < r->picks.n; i++) {
        const char *actual = r->source.hosts[r->picks.picks[i].host].actual;
        if (!vb_strv_has(&r->fixed, actual))
            vb_strv_add(&r->fixed, actual);
    }
    gather(r, &r->fixed);
}

/* ---- an earlier life ---- */

static int load_file(struct vb_run *r, const char *name, struct vb_buf *b, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_printf("runs/%s/%s", r->run_id, name);
    return r->env.state->load(r->env.state->ctx, path, b, err);
}

static int take_up(struct vb_run *r, struct vb_error *err)
{
    VB_AUTO_BUF plan = VB_BUF_INIT;
    VB_AUTO_BUF opts = VB_BUF_INIT;
    if (!r->env.state || !vb_guid_valid(r->run_id))
        return vb_fail(err, VB_E_USAGE, "'%s' is not the id of a run that could be resumed", r->run_id);
    if (load_file(r, "plan.json", &plan, err) < 0 || load_file(r, "run.json", &opts, err) < 0) {
        vb_context(err, "run '%s' cannot be resumed", r->run_id);
        return -1;
    }
    r->plan = vb_plan_from_json(plan.data, plan.len, err);
    if (!r->plan || vb_run_opts_from_json(&r->opts, opts.data, opts.len, err) < 0)
        return -1;
    r->kind = r->plan->kind;
    r->opts.o.backup_type = r->plan->backup_type;
    if (r->env.store->begin(r->env.store->ctx, r->kind == VB_JOB_BACKUP, r->run_id, err) < 0)
        return -1;
    r->begun_store = true;
    if (r->kind == VB_JOB_RESTORE) {
        if (vb_restore_source_load(&r->source, r->env.store, r->plan->backup_id, NULL, NULL, err) < 0)
            return -1;
        r->stored = stored_of_plan(r);
    }
    VB_AUTO_FREE char *journal = vb_printf("runs/%s/journal", r->run_id);
    r->journal = r->env.state->journal(r->env.state->ctx, journal, err);
    return r->journal ? 0 : -1;
}

static void begin_resume(struct vb_run *r)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (take_up(r, &e) < 0) {
        if (r->journal) { /* not ours to end: it may be resumed later */
            r->env.state->journal_close(r->env.state->ctx, r->journal);
            r->journal = NULL;
        }
        vb_r_fail(r, &e);
        return;
    }
    if (r->h.plan)
        r->h.plan(r->arg, r->plan);
    vb_r_execute(r);
}

/* ---- begin ---- */

void vb_r_begin(void *arg)
{
    struct vb_run *r = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (r->over)
        return;
    if (r->resume) {
        begin_resume(r);
        return;
    }
    if (!r->env.store && (!r->plan_only || r->kind == VB_JOB_RESTORE)) {
        vb_fail(&e, VB_E_USAGE, "no repository was given");
        vb_hint(&e, "name one with --repo or VBACKUP_REPOSITORY");
        vb_r_fail(r, &e);
        return;
    }
    if (r->opts.o.offline && !r->env.state) {
        vb_fail(&e, VB_E_USAGE, "there is no state directory to read the metadata of the last run from");
        vb_r_fail(r, &e);
        return;
    }
    bool backup = r->kind == VB_JOB_BACKUP;
    if (!backup || !r->plan_only) {
        if (r->env.store->begin(r->env.store->ctx, backup, r->run_id, &e) < 0) {
            vb_r_fail(r, &e);
            return;
        }
        r->begun_store = true;
    }
    if (backup)
        gather(r, NULL);
    else
        begin_restore(r);
}
