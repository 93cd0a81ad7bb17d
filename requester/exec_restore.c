/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_restore.c - PRE_RESTORE and POST_RESTORE of one host.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "wire/protocol.h"

/* The stored document with this restore's choices: writers' backup fields stay, for they are what the writers read
 * (1.5). */
static struct vb_components *make_bcd(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    struct vb_components *b = vb_components_copy(x->p.stored[h->index].bcd);
    b->restore = true;
    if (b->restore_type == VB_RESTORE_TYPE_UNDEFINED)
        b->restore_type = VB_RESTORE_TYPE_BY_COPY;
    for (size_t i = 0; i < b->n_writers; i++) {
        struct vb_writer_components *w = &b->writers[i];
        w->state = VB_WS_STABLE;
        w->failure_code = VB_OK;
        vb_free_ptr(&w->failure_text);
        vb_free_ptr(&w->failure_hint);
        const struct vb_writer_metadata *now = vb_x_metadata(h, w->writer_id, w->instance_name);
        if (now) { /* stored instance ids are worthless */
            free(w->instance_id);
            w->instance_id = vb_strdup(now->instance_id);
        }
        for (size_t k = 0; k < w->n_components; k++) {
            struct vb_component *c = &w->components[k];
            c->selected_for_restore = c->additional_restores = false;
            c->restore_status = VB_FILE_RESTORE_UNDEFINED;
            c->target = VB_TARGET_UNDEFINED;
            c->failure_code = VB_OK;
            vb_free_ptr(&c->failure_text);
            vb_strv_clear(&c->restore_subcomponents);
        }
    }
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        if (pc->host != h->index || x->components[c].failed)
            continue;
        struct vb_component *bc = vb_x_record(h->x, b, c, NULL);
        if (!bc)
            continue;
        bc->selected_for_restore = true;
        bc->additional_restores = pc->additional;
        for (size_t k = 0; k < pc->subcomponents.n; k++)
            vb_strv_add(&bc->restore_subcomponents, pc->subcomponents.v[k]);
    }
    return b;
}

static int add_documents(struct vb_xh *h, struct vb_msg *m, struct vb_error *err)
{
    const struct vb_exec_stored *s = &h->x->p.stored[h->index];
    VB_AUTO_BUF bcd = VB_BUF_INIT;
    if (vb_components_write(h->bcd, &bcd, err) < 0)
        return -1;
    vb_msg_add(m, VB_F_BCD, bcd.data, bcd.len);
    for (size_t i = 0; i < s->n_writers; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        VB_AUTO_BUF xml = VB_BUF_INIT;
        if (vb_wm_write(s->writers[i], &xml, err) < 0)
            return -1;
        vb_msg_add_str(&g, VB_F_CLASS, s->writers[i]->writer_id);
        vb_msg_add_str(&g, VB_F_INSTANCE, s->writers[i]->instance_id);
        vb_msg_add(&g, VB_F_XML, xml.data, xml.len);
        vb_msg_add_group(m, VB_F_WMD, &g);
    }
    return 0;
}

static void nothing_written(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    for (size_t c = 0; c < x->plan->n_components; c++)
        if (x->plan->components[c].host == h->index && x->components[c].failed && !x->components[c].writing)
            x->components[c].status = VB_FILE_RESTORE_NONE;
}

static void on_pre_restored(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (!vb_x_answered(h, m, err)) {
        nothing_written(h);
        return;
    }
    if (vb_x_take_bcd(h, m, &e) < 0) {
        vb_x_step_failed(h, &e);
        nothing_written(h);
        return;
    }
    vb_x_check_status(h, "failed at PreRestore"); /* */
    if (h->broken)
        return;
    nothing_written(h);
    vb_x_step_done(h);
}

void vb_x_pre_restore(struct vb_xh *h)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_PRE_RESTORE);
    vb_components_free(h->bcd);
    h->bcd = make_bcd(h);
    if (add_documents(h, &m, &e) < 0) {
        vb_msg_clear(&m);
        vb_x_step_failed(h, &e);
        return;
    }
    h->pre_restore_sent = true;
    vb_x_command(h, &m, 0, on_pre_restored);
}

/* ---- POST_RESTORE ---- */

static void on_post_restored(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_xh *h = arg;
    struct vb_exec *x = h->x;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    size_t pre = vb_plan_find_step(x->plan, h->index, VB_VERB_PRE_RESTORE);
    if (m && err && err->code == VB_E_BAD_STATE && x->steps[pre] != VB_STEP_DONE) {
        vb_x_step_done(h); /* PreRestore was refused before any writer heard of it: there is nothing to follow up */
        return;
    }
    if (!vb_x_answered(h, m, err))
        return;
    if (vb_x_take_bcd(h, m, &e) < 0) {
        vb_x_step_failed(h, &e);
        return;
    }
    vb_x_check_status(h, "failed at PostRestore");
    for (size_t c = 0; c < x->plan->n_components; c++)
        if (x->plan->components[c].host == h->index)
            x->components[c].confirmed = true;
    vb_x_step_done(h);
}

void vb_x_post_restore(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_x_spread(x, h); /* D-62 */
    for (size_t c = 0; c < x->plan->n_components; c++) {
        struct vb_xc *xc = &x->components[c];
        if (x->plan->components[c].host != h->index)
            continue;
        if (xc->failed && xc->status == VB_FILE_RESTORE_ALL)
            xc->status = xc->writing ? VB_FILE_RESTORE_FAILED : VB_FILE_RESTORE_NONE; /* the target is not there */
        else if (xc->status == VB_FILE_RESTORE_UNDEFINED)
            xc->status = xc->writing ? VB_FILE_RESTORE_FAILED : VB_FILE_RESTORE_NONE;
        struct vb_component *bc = vb_x_record(h->x, h->bcd, c, NULL);
        if (bc && bc->selected_for_restore)
            bc->restore_status = xc->status; /* */
    }
    struct vb_msg m = VB_MSG_INIT(VB_M_POST_RESTORE);
    VB_AUTO_BUF xml = VB_BUF_INIT;
    if (vb_components_write(h->bcd, &xml, &e) < 0) {
        vb_msg_clear(&m);
        vb_x_break(h, &e);
        return;
    }
    vb_msg_add(&m, VB_F_BCD, xml.data, xml.len);
    vb_x_command(h, &m, 0, on_post_restored);
}
