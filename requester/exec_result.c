/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_result.c - what came of a run: per component, per host, and as one exit status.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

static void fill_component(const struct vb_exec *x, size_t c, struct vb_run_component *r)
{
    const struct vb_plan_component *pc = &x->plan->components[c];
    const struct vb_xc *xc = &x->components[c];
    r->host = pc->host;
    r->writer_id = vb_strdup(pc->writer_id);
    r->writer_name = vb_strdup(pc->writer_name);
    r->instance_name = vb_strdup(pc->instance_name);
    r->logical_path = vb_strdup(pc->logical_path);
    r->name = vb_strdup(pc->name);
    r->is_explicit = true;
    r->completeness = vb_x_completeness(x, c);
    r->consistency = x->release_only ? xc->consistency : vb_x_consistency(x, c);
    r->restore_status = xc->status;
    r->code = xc->error.code;
    r->text = vb_strdup(xc->error.text);
    r->hint = vb_strdup(xc->error.hint);
    r->files = xc->files;
    r->bytes = xc->bytes;
    r->left_files = xc->left_files;
    r->left_dirs = xc->left_dirs;
}

static void judge(const struct vb_exec *x, struct vb_run_result *r)
{
    size_t usable = 0, complete = 0;
    enum vb_exit worst = VB_EXIT_DONE; /* of causes: what failed only because something else did says nothing */
    for (size_t i = 0; i < r->n_components; i++) {
        const struct vb_run_component *c = &r->components[i];
        usable += c->completeness != VB_FAILED;
        complete += c->completeness == VB_COMPLETE;
        if (c->completeness == VB_FAILED && c->code != VB_E_REMOTE_FAILED)
            worst = vb_exit_worse(worst, vb_code_exit(c->code));
        if (c->completeness != VB_FAILED &&
            (r->consistency == VB_CONSISTENCY_UNKNOWN || c->consistency < r->consistency))
            r->consistency = c->consistency;
    }
    bool whole = complete == r->n_components && (x->plan->kind == VB_JOB_RESTORE || x->plan->n_missing == 0);
    for (size_t i = 0; i < x->plan->n_hosts; i++)
        whole = whole && x->plan->hosts[i].reached;
    if (x->error.code != VB_OK) {
        r->completeness = VB_FAILED;
        r->exit = vb_code_exit(x->error.code);
        vb_error_copy(&r->error, &x->error);
    } else if (whole) {
        r->completeness = VB_COMPLETE;
        r->exit = VB_EXIT_DONE;
    } else if (usable > 0) {
        r->completeness = VB_PARTIAL;
        r->exit = VB_EXIT_PARTIAL;
    } else {
        r->completeness = VB_FAILED;
        r->exit = worst == VB_EXIT_DONE ? VB_EXIT_FAILED : worst;
        for (size_t i = 0; i < r->n_components && r->error.code == VB_OK; i++) {
            if (r->components[i].code == VB_OK)
                continue;
            vb_fail(&r->error, r->components[i].code, "%s", r->components[i].text ? r->components[i].text : "failed");
            if (r->components[i].hint)
                vb_hint(&r->error, "%s", r->components[i].hint);
        }
    }
}

void vb_exec_result(const struct vb_exec *x, struct vb_run_result *r)
{
    const struct vb_plan *p = x->plan;
    r->backup_id = vb_strdup(p->kind == VB_JOB_RESTORE ? p->backup_id : x->backup_id);
    r->added_bytes = x->added_bytes;
    r->first_freeze_ms = x->first_freeze_ms;
    r->warnings += x->warnings;
    r->n_hosts = p->n_hosts;
    r->hosts = vb_alloc_n(p->n_hosts + 1, sizeof *r->hosts);
    r->components = vb_alloc_n(p->n_components + 1, sizeof *r->components);
    for (size_t i = 0; i < p->n_hosts; i++) {
        const struct vb_xh *h = &x->hosts[i];
        r->hosts[i].name = vb_strdup(p->hosts[i].name);
        r->hosts[i].code = h->error.code;
        r->hosts[i].text = vb_strdup(h->error.text);
        r->hosts[i].hint = vb_strdup(h->error.hint);
        r->hosts[i].window_us = h->window_us;
        if (p->kind == VB_JOB_BACKUP && h->bcd && h->bcd->n_phases) {
            r->hosts[i].skew_us = h->bcd->skew_us;
            r->hosts[i].n_phases = h->bcd->n_phases;
            r->hosts[i].phases = vb_memdup(h->bcd->phases, h->bcd->n_phases * sizeof *h->bcd->phases);
            for (size_t k = 0; k < h->bcd->n_phases; k++)
                r->hosts[i].phases[k].name = vb_strdup(h->bcd->phases[k].name);
        }
    }
    for (size_t c = 0; c < p->n_components; c++) {
        if (!p->components[c].is_explicit)
            continue;
        struct vb_run_component *rc = &r->components[r->n_components++];
        fill_component(x, c, rc);
        r->hosts[rc->host].files += rc->files;
        r->hosts[rc->host].bytes += rc->bytes;
        if (rc->completeness != VB_FAILED) {
            r->files += rc->files;
            r->bytes += rc->bytes;
        }
    }
    judge(x, r);
}
