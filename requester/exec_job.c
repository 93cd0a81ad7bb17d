/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_job.c - the beginning and the end of every job: OPEN, IDENTIFY, RELEASE, and ABORT on the way out.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "documents/events.h"
#include "wire/protocol.h"

#define DEFAULT_LEASE_MS 60000u
#define ABORT_MS 60000u
#define RELEASE_MS 600000u
#define ATTEMPTS 4u

/* ---- what comes without being asked ---- */

static void on_event(void *arg, uint64_t seq, const struct vb_msg *m)
{
    struct vb_xh *h = arg;
    struct vb_exec *x = h->x;
    const struct vb_run_event *e = vb_event_log_agent(x->p.log, vb_x_host_name(h), seq, m);
    vb_rjob_touch(h->rjob);
    if (x->h.event)
        x->h.event(x->arg, e);
    if (e->kind && strcmp(e->kind, "warning") == 0) {
        VB_AUTO_ERROR w = VB_ERROR_INIT;
        vb_fail(&w, e->code != VB_OK ? e->code : VB_E_UNEXPECTED, "%s", e->text ? e->text : "the agent warns");
        vb_x_warn(x, vb_x_host_name(h), &w);
    }
}

static void on_link(void *arg, bool up, const struct vb_error *why)
{
    struct vb_xh *h = arg;
    vb_x_log(h, "link", up ? "attached" : "lost", why, NULL);
    if (!up)
        vb_x_warn(h->x, vb_x_host_name(h), why);
}

static void on_lost(void *arg, const struct vb_error *why)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, why);
    vb_x_log(h, "link", "gone", &e, NULL);
    vb_rjob_free(VB_STEAL(h->rjob));
    h->gone = true;
    if (h->release_sent && h->step != VB_NO_INDEX && e.code == VB_E_JOB_LOST) {
        h->ended = true; /* it was released; only the answer got lost */
        vb_x_step_done(h);
    } else if (h->broken)
        h->ended = true;
    else if (h->x->p.resume && e.code == VB_E_JOB_LOST && !h->x->release_only)
        vb_x_abort_run(h->x, &e);
    else
        vb_x_break(h, &e);
    vb_x_kick(h->x);
}

/* ---- OPEN ---- */

static int write_job(struct vb_xh *h, struct vb_error *err)
{
    struct vb_exec *x = h->x;
    const struct vb_run_options *o = x->p.opt;
    const struct vb_plan_host *ph = &x->plan->hosts[h->index];
    struct vb_job *job = vb_job_new(x->plan->kind, ph->name);
    free(job->job_id);
    job->job_id = vb_strdup(ph->job_id);
    free(job->run_id);
    job->run_id = vb_strdup(x->plan->run_id ? x->plan->run_id : ph->job_id);
    if (ph->n_front_ends > 0)
        job->front_end = vb_strdup(x->plan->hosts[ph->front_ends[0]].name);
    job->requester = vb_strdup(o->requester);
    job->created_ms = vb_loop_wall_ms(x->loop);
    job->lease_ms = o->lease_ms ? o->lease_ms : DEFAULT_LEASE_MS;
    job->backup_type = x->plan->backup_type;
    job->min_consistency = o->min_consistency;
    job->freeze_limit_ms = o->freeze_limit_ms;
    job->overwrite = o->overwrite;
    job->allow_live = o->allow_live;
    job->allow_freeze = o->allow_freeze;
    for (size_t i = 0; i < o->n_writers; i++) {
        VB_GROW(job->writers, job->n_writers, job->cap_writers);
        job->writers[job->n_writers++] =
            (struct vb_job_writer){ vb_strdup(o->writers[i].writer), o->writers[i].policy };
    }
    if (x->plan->kind == VB_JOB_BACKUP && strcmp(ph->name, o->front_end) == 0) {
        for (size_t i = 0; i < o->n_paths; i++)
            vb_strv_add(&job->paths, o->paths[i]);
        for (size_t i = 0; i < o->n_path_rules; i++)
            vb_strv_add(&job->path_rules, o->path_rules[i]);
    }
    /* Backed up without a configuration: the same paths are the writer that puts them back. */
    const struct vb_strv *paths = x->plan->kind == VB_JOB_RESTORE && !x->plan->target_dir ? x->p.stored[h->index].paths
                                                                                        : NULL;
    for (size_t i = 0; paths && i < paths->n; i++)
        vb_strv_add(&job->paths, paths->v[i]);
    /* What is under way elsewhere: circles over several hosts end here (D-51). */
    for (size_t c = 0; x->plan->kind == VB_JOB_BACKUP && c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        if (pc->host == h->index || !pc->is_explicit)
            continue;
        VB_GROW(job->visited, job->n_visited, job->cap_visited);
        job->visited[job->n_visited++] = (struct vb_job_visited){ vb_strdup(x->plan->hosts[pc->host].name),
                                                                  vb_strdup(pc->writer_id), vb_strdup(pc->logical_path),
                                                                  vb_strdup(pc->name) };
    }
    int r = vb_job_write(job, &h->job_xml, err);
    vb_job_free(job);
    return r;
}

static bool load(struct vb_xh *h, const char *suffix, struct vb_buf *out)
{
    struct vb_run_state *s = h->x->p.env->state;
    if (!h->x->p.resume || !s || !h->x->plan->run_id)
        return false;
    VB_AUTO_FREE char *name = vb_printf("runs/%s/%s.%s", h->x->plan->run_id, vb_x_host_label(h), suffix);
    return s->load(s->ctx, name, out, NULL) == 0 && out->len > 0;
}

static int make_rjob(struct vb_xh *h, struct vb_error *err)
{
    static const struct vb_rjob_handler handler = { on_event, on_link, on_lost };
    VB_AUTO_BUF token = VB_BUF_INIT;
    struct vb_exec *x = h->x;
    bool attach = load(h, "token", &token);
    vb_buf_reset(&h->job_xml);
    if (!load(h, "job", &h->job_xml)) {
        if (write_job(h, err) < 0)
            return -1;
        vb_x_save(x, vb_x_host_label(h), "job", h->job_xml.data, h->job_xml.len);
    }
    struct vb_rjob_params p = { .links = x->p.env->links, .host = vb_x_host_name(h),
                                .job_id = x->plan->hosts[h->index].job_id, .token = attach ? vb_buf_str(&token) : NULL,
                                .job_doc = h->job_xml.data, .job_doc_len = h->job_xml.len,
                                .lease_ms = x->p.opt->lease_ms ? x->p.opt->lease_ms : DEFAULT_LEASE_MS,
                                .attempts = ATTEMPTS };
    h->rjob = vb_rjob_new(&p, &handler, h);
    return 0;
}

static void send_release(struct vb_xh *h);
static void abort_now(struct vb_xh *h);

static void on_opened(void *arg, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (err) {
        vb_error_copy(&e, err);
        vb_x_log(h, "reply", "OPEN", &e, NULL);
        vb_rjob_free(VB_STEAL(h->rjob));
        h->gone = true;
        if (h->broken || h->x->release_only) {
            h->ended = true;
            vb_x_step_done(h);
        } else if (h->x->p.resume && e.code == VB_E_JOB_LOST) {
            vb_x_abort_run(h->x, &e);
        } else {
            vb_x_break(h, &e);
        }
        vb_x_kick(h->x);
        return;
    }
    vb_x_log(h, "reply", "OPEN", NULL, NULL);
    const char *token = vb_rjob_token(h->rjob);
    vb_x_save(h->x, vb_x_host_label(h), "token", token, strlen(token));
    if (h->broken)
        abort_now(h);
    else if (h->x->release_only)
        send_release(h);
    else
        vb_x_step_done(h);
}

static void open_job(struct vb_xh *h)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_x_log(h, "call", "OPEN", NULL, NULL);
    if (make_rjob(h, &e) < 0) {
        h->gone = true;
        if (h->broken)
            h->ended = true;
        else
            vb_x_break(h, &e);
        return;
    }
    vb_rjob_open(h->rjob, on_opened, h);
}

void vb_x_open(struct vb_xh *h)
{
    open_job(h);
}

/* ---- commands in general ---- */

static const struct {
    uint16_t type;
    const char *name;
} names[] = {
    { VB_M_IDENTIFY, "IDENTIFY" },
    { VB_M_PREPARE, "PREPARE" },
    { VB_M_SNAPSHOT, "SNAPSHOT" },
    { VB_M_CAPTURE, "CAPTURE" },
    { VB_M_COMPLETE, "COMPLETE" },
    { VB_M_RELEASE, "RELEASE" },
    { VB_M_ABORT, "ABORT" },
    { VB_M_PRE_RESTORE, "PRE_RESTORE" },
    { VB_M_RESTORE_FILES, "RESTORE_FILES" },
    { VB_M_POST_RESTORE, "POST_RESTORE" },
};

static const char *name_of(uint16_t type)
{
    for (size_t i = 0; i < VB_COUNT(names); i++)
        if (names[i].type == type)
            return names[i].name;
    return "?";
}

void vb_x_command(struct vb_xh *h, struct vb_msg *m, uint64_t id, vb_rjob_reply_fn *fn)
{
    m->id = id ? id : m->type;
    vb_x_log(h, "call", name_of(m->type), NULL, NULL);
    uint64_t limit = h->step != VB_NO_INDEX ? h->x->plan->steps[h->step].limit_ms : ABORT_MS;
    vb_rjob_command(h->rjob, m, limit, fn, h);
}

bool vb_x_answered(struct vb_xh *h, const struct vb_msg *m, const struct vb_error *err)
{
    const char *name = h->step != VB_NO_INDEX ? h->x->plan->steps[h->step].id : "?";
    vb_x_log(h, "reply", name, err, NULL);
    if (!err)
        return true;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, err);
    if (!m) /* no answer at all: whatever it does there must be stopped */
        vb_x_break(h, &e);
    else
        vb_x_step_failed(h, &e);
    return false;
}

/* ---- IDENTIFY ---- */

static void missing_writer(struct vb_xh *h, size_t c)
{
    const struct vb_plan_component *pc = &h->x->plan->components[c];
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    for (size_t i = 0; i < h->here.n_failed; i++) {
        const struct vb_gather_failed *f = &h->here.failed[i];
        if (strcmp(f->writer, pc->writer_name) != 0 && strcmp(f->writer, vb_plan_writer(pc)) != 0)
            continue;
        vb_error_copy(&e, &h->here.failed[i].error);
        vb_context(&e, "writer '%s' is present, but Identify failed", vb_plan_writer(pc));
    }
    if (e.code == VB_OK) {
        vb_fail(&e, VB_E_OBJECT_NOT_FOUND, "writer '%s' is not there", vb_plan_writer(pc));
        vb_hint(&e, "is it configured and enabled on '%s'? vbackup writers --host %s", vb_x_host_name(h),
                vb_x_host_name(h));
    }
    vb_x_fail_component(h->x, c, &e);
}

static void on_identified(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    struct vb_exec *x = h->x;
    if (!vb_x_answered(h, m, err))
        return;
    vb_gather_host_clear(&h->here);
    h->here.name = vb_strdup(vb_x_host_name(h));
    vb_gather_read_reply(&h->here, m);
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        if (pc->host != h->index || !pc->is_explicit || x->components[c].failed)
            continue;
        const struct vb_writer_metadata *wm = vb_x_metadata(h, pc->writer_id, pc->instance_name);
        if (!wm) {
            missing_writer(h, c);
        } else if (x->plan->kind == VB_JOB_BACKUP && !vb_wm_find(wm, pc->logical_path, pc->name)) {
            VB_AUTO_ERROR e = VB_ERROR_INIT;
            vb_fail(&e, VB_E_OBJECT_NOT_FOUND, "writer '%s' does not offer it any more", vb_plan_writer(pc));
            vb_x_fail_component(x, c, &e);
        }
    }
    if (vb_x_alive(h) == 0) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_OBJECT_NOT_FOUND, "nothing of what was chosen on '%s' is there any more", vb_x_host_name(h));
        vb_x_break(h, &e);
        return;
    }
    vb_x_step_done(h);
}

void vb_x_identify(struct vb_xh *h)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_IDENTIFY);
    vb_x_command(h, &m, 0, on_identified);
}

/* ---- the end ---- */

static void on_released(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    (void)m;
    vb_x_log(h, "reply", "RELEASE", err, NULL);
    vb_rjob_finish(h->rjob);
    vb_rjob_free(VB_STEAL(h->rjob));
    h->ended = true;
    if (h->step != VB_NO_INDEX && err)
        vb_x_step_failed(h, err);
    else
        vb_x_step_done(h);
    vb_x_kick(h->x);
}

static void send_release(struct vb_xh *h)
{
    h->release_sent = true;
    struct vb_msg m = VB_MSG_INIT(VB_M_RELEASE);
    m.id = VB_M_RELEASE;
    vb_x_log(h, "call", "RELEASE", NULL, NULL);
    vb_rjob_command(h->rjob, &m, RELEASE_MS, on_released, h);
}

void vb_x_release(struct vb_xh *h)
{
    if (!h->rjob) /* a resumed run that had only this left */
        open_job(h);
    else
        send_release(h);
}

static void on_aborted(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    vb_x_log(h, "reply", "ABORT", err, NULL);
    if (m) {
        send_release(h);
        return;
    }
    /* It does not answer any more: its lease ends the job, and waiting longer would help nobody. */
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_TIMEOUT, "the agent does not confirm the abort; its lease ends the job");
    vb_x_warn(h->x, vb_x_host_name(h), &e);
    vb_rjob_free(VB_STEAL(h->rjob));
    h->ended = true;
    vb_x_kick(h->x);
}

/* Whether everything has ended that must end before the writers here hear PostRestore, which an abort brings (D-59). */
static bool back_ends_over(const struct vb_exec *x, size_t host)
{
    for (size_t b = 0; b < x->plan->n_hosts; b++)
        for (size_t i = 0; i < x->plan->hosts[b].n_front_ends; i++) {
            if (x->plan->hosts[b].front_ends[i] != host || x->hosts[b].ended)
                continue;
            size_t post = vb_plan_find_step(x->plan, b, VB_VERB_POST_RESTORE);
            if (x->hosts[b].broken || post == VB_NO_INDEX || x->steps[post] < VB_STEP_DONE)
                return false;
        }
    return true;
}

static void abort_now(struct vb_xh *h)
{
    if (h->abort_sent)
        return;
    vb_rjob_drop_commands(h->rjob);
    vb_rjob_data_cancel(h->rjob);
    if (h->x->plan->kind == VB_JOB_RESTORE && h->pre_restore_sent && !back_ends_over(h->x, h->index)) {
        h->abort_wanted = true; /* vb_x_try_aborts */
        return;
    }
    h->abort_sent = true;
    struct vb_msg m = VB_MSG_INIT(VB_M_ABORT);
    m.id = VB_M_ABORT;
    vb_msg_add_error(&m, &h->error);
    vb_x_log(h, "call", "ABORT", NULL, h->error.text);
    vb_rjob_command(h->rjob, &m, ABORT_MS, on_aborted, h);
}

void vb_x_send_abort(struct vb_xh *h)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (h->rjob && vb_rjob_is_open(h->rjob)) {
        abort_now(h);
    } else if (h->rjob && vb_rjob_was_sent(h->rjob)) {
        return; /* the answer to OPEN comes first: see on_opened */
    } else if (!h->rjob && !h->gone && (load(h, "token", &b) || load(h, "job", &b))) {
        open_job(h); /* of an earlier life: it may still be there */
    } else {
        vb_rjob_free(VB_STEAL(h->rjob));
        h->ended = true;
    }
}

void vb_x_try_aborts(struct vb_exec *x)
{
    for (size_t i = 0; i < x->plan->n_hosts; i++) {
        struct vb_xh *h = &x->hosts[i];
        if (h->abort_wanted && !h->abort_sent && !h->ended && h->rjob && vb_rjob_is_open(h->rjob))
            abort_now(h);
    }
}
