/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_backup.c - PREPARE, SNAPSHOT, BARRIER and COMPLETE of one host; and what may be claimed of a
 * component.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "wire/protocol.h"

/* ---- the backup components document ---- */

static struct vb_components *make_bcd(struct vb_xh *h, struct vb_error *err)
{
    const struct vb_plan *p = h->x->plan;
    struct vb_components *b = vb_components_new(vb_x_host_name(h));
    b->select_components = b->partial_files = true;
    b->backup_type = p->backup_type;
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_plan_component *pc = &p->components[c];
        if (pc->host != h->index || !pc->is_explicit || h->x->components[c].failed)
            continue;
        const struct vb_writer_metadata *wm = vb_x_metadata(h, pc->writer_id, pc->instance_name);
        if (!wm) {
            vb_fail(err, VB_E_OBJECT_NOT_FOUND, "writer '%s' is not there", vb_plan_writer(pc));
            vb_components_free(b);
            return NULL;
        }
        struct vb_writer_components *w =
            vb_components_writer(b, wm->writer_id, wm->instance_id, wm->instance_name, wm->name);
        w->schema = wm->schema;
        struct vb_component *bc = vb_components_add(w, pc->type, pc->logical_path, pc->name, err);
        if (!bc) {
            vb_components_free(b);
            return NULL;
        }
        bc->base_backup = vb_strdup(pc->base);
        bc->previous_stamp = vb_strdup(pc->previous_stamp); /* I-16 */
    }
    return b;
}

static int add_bcd(struct vb_msg *m, const struct vb_components *b, struct vb_error *err)
{
    VB_AUTO_BUF xml = VB_BUF_INIT;
    if (vb_components_write(b, &xml, err) < 0)
        return -1;
    vb_msg_add(m, VB_F_BCD, xml.data, xml.len);
    return 0;
}

int vb_x_take_bcd(struct vb_xh *h, const struct vb_msg *m, struct vb_error *err)
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(m, VB_F_BCD, &p, &n))
        return vb_fail(err, VB_E_PROTOCOL, "host '%s': the reply lacks the backup components document",
                       vb_x_host_name(h));
    VB_AUTO_FREE char *origin = vb_printf("backup components document from host '%s'", vb_x_host_name(h));
    struct vb_components *b = vb_components_read(origin, p, n, err);
    if (!b)
        return -1;
    vb_components_free(h->bcd);
    h->bcd = b;
    return 0;
}

static bool state_failed(enum vb_writer_state s)
{
    return s >= VB_WS_FAILED_AT_IDENTIFY && s <= VB_WS_FAILED_AT_BACKUP_SHUTDOWN;
}

/* A failure of the component's own, or of its writer; VB_OK in e: none. */
static void failure_of(const struct vb_writer_components *w, const struct vb_component *c, const char *event,
                       struct vb_error *e)
{
    const char *message = c->failure_text             ? c->failure_text
                          : c->post_restore_failure   ? c->post_restore_failure
                          : c->pre_restore_failure    ? c->pre_restore_failure
                          : c->post_snapshot_failure  ? c->post_snapshot_failure
                                                      : c->prepare_failure;
    if (c->failure_code != VB_OK) {
        vb_fail(e, c->failure_code, "%s", message ? message : "its writer marked it as failed");
    } else if (w->failure_code == VB_E_WRITER_PARTIAL_FAILURE) {
        if (message)
            vb_fail(e, VB_E_WRITER_PARTIAL_FAILURE, "%s", message);
    } else if (w->failure_code != VB_OK || state_failed(w->state)) {
        vb_fail(e, w->failure_code != VB_OK ? w->failure_code : VB_E_WRITER_NON_RETRYABLE, "writer '%s' %s: %s",
                w->instance_name && *w->instance_name ? w->instance_name
                : w->name                             ? w->name
                                                      : w->writer_id,
                state_failed(w->state) ? vb_writer_state_word(w->state) : event,
                w->failure_text ? w->failure_text
                : message       ? message
                                : "no reason was given");
        if (w->failure_hint)
            vb_hint(e, "%s", w->failure_hint);
    }
}

/* B-32, B-33, B-43: the call's own success says nothing; each writer's status is looked at.  Writers without a
 * component of this backup do not matter (B-66). */
void vb_x_check_status(struct vb_xh *h, const char *event)
{
    struct vb_exec *x = h->x;
    for (size_t c = 0; h->bcd && c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        if (pc->host != h->index || !pc->is_explicit || x->components[c].failed)
            continue;
        struct vb_writer_components *w;
        const struct vb_component *bc = vb_x_record(x, h->bcd, c, &w);
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        if (!bc)
            vb_fail(&e, VB_E_PROTOCOL, "the agent dropped it from the backup components document");
        else if (w->state != VB_WS_FAILED_AT_THAW || bc->failure_code != VB_OK)
            failure_of(w, bc, event, &e); /* a failed thaw leaves a snapshot of lower consistency, which is recorded */
        if (bc && bc->consistency != VB_CONSISTENCY_UNKNOWN)
            x->components[c].consistency = bc->consistency;
        if (e.code == VB_OK)
            continue;
        if (x->components[c].succeeded) /* its data are safe: BackupComplete failed (B-58) */
            vb_error_copy(&x->components[c].error, &e);
        else
            vb_x_fail_component(x, c, &e);
        if (vb_x_policy(x, pc) == VB_POLICY_REQUIRED && !x->components[c].succeeded) {
            VB_AUTO_ERROR r = VB_ERROR_INIT;
            vb_error_copy(&r, &e);
            vb_context(&r, "required writer '%s' on '%s'", vb_plan_writer(pc), vb_x_host_name(h));
            vb_x_abort_run(x, &r);
            return;
        }
    }
}

/* ---- PREPARE, SNAPSHOT ---- */

static void on_prepared(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (!vb_x_answered(h, m, err))
        return;
    if (vb_x_take_bcd(h, m, &e) < 0) {
        vb_x_step_failed(h, &e);
        return;
    }
    vb_x_check_status(h, "failed at PrepareForBackup");
    if (h->broken)
        return;
    if (vb_x_alive(h) == 0) { /* nothing left to take a snapshot of */
        vb_fail(&e, VB_E_REMOTE_FAILED, "all components on '%s' failed at PrepareForBackup", vb_x_host_name(h));
        vb_x_break(h, &e);
        return;
    }
    vb_x_step_done(h);
}

void vb_x_prepare(struct vb_xh *h)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_PREPARE);
    struct vb_components *b = make_bcd(h, &e);
    if (!b || add_bcd(&m, b, &e) < 0) {
        vb_components_free(b);
        vb_msg_clear(&m);
        vb_x_step_failed(h, &e);
        return;
    }
    vb_components_free(b);
    if (h->x->p.probe)
        vb_msg_add_u64(&m, VB_F_PROBE, 1);
    vb_x_command(h, &m, 0, on_prepared);
}

static void on_snapshot(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (!vb_x_answered(h, m, err))
        return;
    if (vb_x_take_bcd(h, m, &e) < 0) {
        vb_x_step_failed(h, &e);
        return;
    }
    h->window_us = h->bcd->window_us ? h->bcd->window_us : vb_msg_u64(m, VB_F_WINDOW_US, 0);
    vb_x_check_status(h, "failed at the snapshot");
    if (!h->broken)
        vb_x_step_done(h); /* even if no writer is left: each hears BackupComplete with "not succeeded" (B-57, D-48) */
}

void vb_x_snapshot(struct vb_xh *h)
{
    if (h->x->first_freeze_ms == 0)
        h->x->first_freeze_ms = vb_loop_now_ms(h->x->loop) - h->x->p.started_ms;
    struct vb_msg m = VB_MSG_INIT(VB_M_SNAPSHOT);
    vb_x_command(h, &m, 0, on_snapshot);
}

/* ---- BARRIER ---- */

void vb_x_barrier(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    const struct vb_run_store *s = x->p.env->store;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (vb_x_alive(h) > 0 && s->barrier(s->ctx, &e) < 0) {
        vb_context(&e, "the repository did not take the data of '%s'", vb_x_host_name(h));
        vb_x_step_failed(h, &e);
        return;
    }
    for (size_t c = 0; c < x->plan->n_components; c++)
        if (x->plan->components[c].host == h->index && !x->components[c].failed)
            x->components[c].durable = true;
    vb_x_step_done(h);
}

/* ---- COMPLETE ---- */

static void confirm(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    for (size_t c = 0; c < x->plan->n_components; c++)
        if (x->plan->components[c].host == h->index)
            x->components[c].confirmed = true;
}

static void on_complete(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_exec *x = h->x;
    if (!vb_x_answered(h, m, err)) {
        for (size_t c = 0; c < x->plan->n_components && err; c++)
            if (x->plan->components[c].host == h->index && x->components[c].succeeded &&
                x->components[c].error.code == VB_OK)
                vb_error_copy(&x->components[c].error, err);
        return;
    }
    if (vb_x_take_bcd(h, m, &e) < 0) {
        vb_x_step_failed(h, &e);
        return;
    }
    vb_x_check_status(h, "failed at BackupComplete");
    confirm(h);
    vb_x_step_done(h);
}

static void mark(struct vb_xh *h, struct vb_component *bc, size_t c)
{
    struct vb_xc *xc = &h->x->components[c];
    bc->backup_succeeded_set = true;
    bc->backup_succeeded = xc->succeeded;
    bc->completeness = vb_x_completeness(h->x, c);
    if (xc->failed && bc->failure_code == VB_OK) {
        bc->failure_code = xc->error.code;
        free(bc->failure_text);
        bc->failure_text = vb_strdup(xc->error.text);
    }
}

void vb_x_complete(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_COMPLETE);
    vb_x_spread(x, h); /* D-48: what depends on a failed remote job has not succeeded */
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        struct vb_xc *xc = &x->components[c];
        if (pc->host != h->index || !pc->is_explicit)
            continue;
        if (!xc->failed && !xc->durable) {
            vb_fail(&e, VB_E_UNEXPECTED, "its data did not pass the barrier");
            vb_x_fail_component(x, c, &e);
            vb_error_clear(&e);
        }
        xc->succeeded = !xc->failed;
        struct vb_component *bc = vb_x_record(x, h->bcd, c, NULL);
        if (bc)
            mark(h, bc, c);
    }
    if (add_bcd(&m, h->bcd, &e) < 0) {
        vb_msg_clear(&m);
        vb_x_break(h, &e);
        return;
    }
    vb_x_command(h, &m, 0, on_complete);
}

/* ---- claims ---- */

enum vb_completeness vb_x_completeness(const struct vb_exec *x, size_t c)
{
    const struct vb_xc *xc = &x->components[c];
    if (xc->failed)
        return VB_FAILED;
    return xc->error.code != VB_OK ? VB_PARTIAL : VB_COMPLETE;
}

/* All components that hang together by edges, in either direction. */
static void group_of(const struct vb_plan *p, size_t c, bool *in)
{
    in[c] = true;
    bool again = true;
    while (again) {
        again = false;
        for (size_t i = 0; i < p->n_edges; i++)
            if (in[p->edges[i].from] != in[p->edges[i].to])
                in[p->edges[i].from] = in[p->edges[i].to] = again = true;
    }
}

enum vb_consistency vb_x_consistency(const struct vb_exec *x, size_t c)
{
    const struct vb_plan *p = x->plan;
    const struct vb_xc *xc = &x->components[c];
    if (xc->consistency != VB_CONSISTENCY_APPLICATION)
        return xc->consistency > VB_CONSISTENCY_APPLICATION ? VB_CONSISTENCY_APPLICATION : xc->consistency;
    bool *in = vb_alloc_n(p->n_components + 1, sizeof *in);
    group_of(p, c, in);
    bool whole = true, remote = false;
    for (size_t i = 0; i < p->n_components; i++)
        if (in[i] && p->components[i].is_explicit &&
            (x->components[i].failed || x->components[i].consistency < VB_CONSISTENCY_APPLICATION))
            whole = false;
    for (size_t i = 0; i < p->n_edges; i++) {
        if (!in[p->edges[i].from])
            continue;
        remote = remote || p->edges[i].remote;
        whole = whole && !p->edges[i].cut; /* the circle's last order could not be kept */
    }
    for (size_t i = 0; i < p->n_missing; i++)
        whole = whole && (p->missing[i].from == VB_NO_INDEX || !in[p->missing[i].from]);
    free(in);
    return whole && remote ? VB_CONSISTENCY_GROUP : VB_CONSISTENCY_APPLICATION;
}
