/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_resume.c - going on after the requester itself was gone.
 *
 * A resumed run walks the whole plan again: agents answer what they did before from their records, so nothing happens
 * twice.  The journal is needed for what only the requester decided: steps that it gave up, hosts that it aborted, a
 * run that was being stopped, and - once the first job was released - what came of each component.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/text.h"

static int see_record(void *arg, uint64_t seq, const char *record)
{
    struct vb_exec *x = arg;
    (void)seq;
    if (strncmp(record, "failed ", 7) == 0) {
        vb_strv_add(&x->failed_before, record);
    } else if (strncmp(record, "broken ", 7) == 0) {
        vb_strv_add(&x->broken_before, record);
    } else if (strncmp(record, "outcome ", 8) == 0) {
        vb_strv_add(&x->outcomes, record);
    } else if (strncmp(record, "done ", 5) == 0) {
        vb_strv_add(&x->done_before, record);
    } else if (strncmp(record, "abort ", 6) == 0) {
        VB_AUTO_FREE char *code = vb_journal_value(record, "code");
        VB_AUTO_FREE char *t = vb_journal_value(record, "text");
        vb_fail(&x->error, vb_code_from_name(code ? code : ""), "%s", t ? t : "aborted");
    }
    return 0;
}

static void read_error(const char *record, struct vb_error *e)
{
    VB_AUTO_FREE char *code = vb_journal_value(record, "code");
    VB_AUTO_FREE char *t = vb_journal_value(record, "text");
    enum vb_code c = vb_code_from_name(code ? code : "");
    if (c != VB_OK)
        vb_fail(e, c, "%s", t ? t : "failed before the requester was started again");
}

bool vb_x_failed_before(const struct vb_exec *x, const char *step, struct vb_error *e)
{
    for (size_t i = 0; i < x->failed_before.n; i++) {
        VB_AUTO_FREE char *id = vb_journal_value(x->failed_before.v[i], "step");
        if (id && strcmp(id, step) == 0) {
            read_error(x->failed_before.v[i], e);
            return true;
        }
    }
    return false;
}

bool vb_x_done_before(const struct vb_exec *x, const char *step)
{
    for (size_t i = 0; i < x->done_before.n; i++) {
        VB_AUTO_FREE char *id = vb_journal_value(x->done_before.v[i], "step");
        if (id && strcmp(id, step) == 0)
            return true;
    }
    return false;
}

static uint64_t number(const char *record, const char *key)
{
    VB_AUTO_FREE char *s = vb_journal_value(record, key);
    uint64_t v = 0;
    return s && vb_parse_u64(s, &v) ? v : 0;
}

void vb_x_write_outcome(struct vb_exec *x)
{
    if (x->outcome_written)
        return;
    x->outcome_written = true;
    if (x->plan->kind == VB_JOB_RESTORE)
        vb_x_spread(x, NULL); /* what failed at PostRestore, or on the far side of a circle */
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_xc *xc = &x->components[c];
        VB_AUTO_FREE char *t = vb_journal_escape(xc->error.text ? xc->error.text : "");
        (void)vb_x_journal(
            x, false, "outcome component=%zu failed=%d status=%d consistency=%d files=%llu bytes=%llu code=%s text=%s",
            c, xc->failed, (int)xc->status, (int)vb_x_consistency(x, c), (unsigned long long)xc->files,
            (unsigned long long)xc->bytes, vb_code_name(xc->error.code), t);
    }
    (void)vb_x_journal(x, true, "outcome-written backup=%s", x->backup_id ? x->backup_id : "");
}

static void take_outcomes(struct vb_exec *x)
{
    for (size_t i = 0; i < x->outcomes.n; i++) {
        const char *r = x->outcomes.v[i];
        uint64_t c = number(r, "component");
        if (c >= x->plan->n_components)
            continue;
        struct vb_xc *xc = &x->components[c];
        xc->failed = number(r, "failed") != 0;
        xc->succeeded = xc->confirmed = xc->durable = !xc->failed;
        xc->status = (enum vb_file_restore_status)number(r, "status");
        xc->consistency = (enum vb_consistency)number(r, "consistency");
        xc->files = number(r, "files");
        xc->bytes = number(r, "bytes");
        vb_error_clear(&xc->error);
        read_error(r, &xc->error);
    }
    x->release_only = x->outcome_written = true;
    x->committed = x->plan->kind == VB_JOB_BACKUP;
    if (x->committed)
        x->backup_id = vb_strdup(x->plan->run_id);
    for (size_t i = 0; i < x->plan->n_steps; i++) {
        if (x->plan->steps[i].verb != VB_VERB_RELEASE) {
            x->steps[i] = VB_STEP_DONE;
            continue;
        }
        if (vb_x_done_before(x, x->plan->steps[i].id)) {
            x->steps[i] = VB_STEP_DONE;
            x->hosts[x->plan->steps[i].host].ended = true;
        }
    }
}

void vb_x_resume(struct vb_exec *x)
{
    (void)vb_journal_replay(x->p.journal, see_record, x, NULL);
    bool whole = false; /* outcomes count once the record after the last of them is there */
    for (size_t i = 0; i < x->outcomes.n; i++)
        whole = whole || number(x->outcomes.v[i], "component") + 1 == x->plan->n_components;
    if (whole && x->error.code == VB_OK) {
        take_outcomes(x);
        return;
    }
    if (x->error.code != VB_OK) { /* it was being stopped: attach only to end the jobs */
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_error_move(&e, &x->error);
        vb_x_abort_run(x, &e);
        return;
    }
    for (size_t i = 0; i < x->broken_before.n; i++) {
        VB_AUTO_FREE char *host = vb_journal_value(x->broken_before.v[i], "host");
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        read_error(x->broken_before.v[i], &e);
        for (size_t k = 0; host && k < x->plan->n_hosts; k++)
            if (strcmp(vb_x_host_label(&x->hosts[k]), host) == 0)
                vb_x_break(&x->hosts[k], &e);
    }
}
