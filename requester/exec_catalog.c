/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/exec_catalog.c - COMMIT: the catalog entry and the documents beside it (A-10, D-52).
 *
 * The entry's id is the run's id: a resumed run asks the store whether it is there already and does not write it twice.
 */
#include "requester/exec_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static enum vb_catalog_state state_of(enum vb_completeness c)
{
    return c == VB_COMPLETE ? VB_CATALOG_COMPLETE : c == VB_PARTIAL ? VB_CATALOG_PARTIAL : VB_CATALOG_FAILED;
}

/* The explicit component whose record counts for c: itself, or the head of its set (1.6). */
static size_t head_of(const struct vb_plan *p, size_t c)
{
    const struct vb_plan_component *pc = &p->components[c];
    if (pc->is_explicit)
        return c;
    for (size_t i = 0; i < p->n_components; i++) {
        const struct vb_plan_component *h = &p->components[i];
        if (!h->is_explicit || h->host != pc->host || !vb_guid_equal(h->writer_id, pc->writer_id) ||
            strcmp(h->instance_name ? h->instance_name : "", pc->instance_name ? pc->instance_name : "") != 0)
            continue;
        VB_AUTO_FREE char *full = vb_full_path(h->logical_path, h->name);
        if (vb_is_ancestor(full, pc->logical_path))
            return i;
    }
    return c;
}

static void add_component(struct vb_exec *x, struct vb_catalog_entry *e, struct vb_catalog_host *ch, size_t c)
{
    const struct vb_plan_component *pc = &x->plan->components[c];
    size_t head = head_of(x->plan, c);
    const struct vb_xc *xc = &x->components[head];
    const struct vb_xh *h = &x->hosts[pc->host];
    const struct vb_writer_metadata *wm = vb_x_metadata(h, pc->writer_id, pc->instance_name);
    const struct vb_wm_component *wc = wm ? vb_wm_find(wm, pc->logical_path, pc->name) : NULL;
    struct vb_catalog_component *cc = vb_catalog_add_component(ch);
    cc->writer_class = vb_strdup(pc->writer_id);
    cc->writer_instance = vb_strdup(wm ? wm->instance_id : NULL);
    cc->instance_name = vb_strdup(pc->instance_name);
    cc->writer_name = vb_strdup(pc->writer_name);
    cc->logical_path = vb_strdup(pc->logical_path);
    cc->name = vb_strdup(pc->name);
    cc->caption = vb_strdup(wc ? wc->caption : NULL);
    cc->type = vb_strdup(vb_component_type_word(pc->type));
    cc->consistency = vb_strdup(vb_consistency_word(vb_x_consistency(x, head)));
    cc->backup_type = vb_strdup(vb_backup_type_word(x->plan->components[head].backup_type));
    cc->base = vb_strdup(x->plan->components[head].base);
    cc->state = state_of(vb_x_completeness(x, head));
    cc->code = xc->error.code;
    cc->error = vb_strdup(xc->error.text);
    cc->is_explicit = pc->is_explicit;
    if (!pc->is_explicit)
        return; /* its files stand with the head of its set */
    cc->files = xc->files;
    cc->bytes = xc->bytes;
    cc->left_files = xc->left_files;
    cc->left_dirs = xc->left_dirs;
    for (size_t i = 0; i < xc->n_roots; i++) {
        const struct vb_catalog_root *r = &xc->roots[i];
        struct vb_catalog_root *out = vb_catalog_add_root(cc, r->path, r->filespec, r->recursive);
        out->has_tree = r->has_tree && xc->durable;
        out->tree = r->tree;
        out->files = r->files;
        out->dirs = r->dirs;
        out->bytes = r->bytes;
        out->errors = r->errors;
        out->detector = vb_strdup(r->detector);
        out->files_read = r->files_read;
        out->bytes_read = r->bytes_read;
    }
    if (!xc->failed) {
        e->files += xc->files;
        e->bytes += xc->bytes;
    }
}

static enum vb_catalog_state overall(const struct vb_exec *x, size_t host)
{
    size_t n = 0, complete = 0, usable = 0;
    for (size_t c = 0; c < x->plan->n_components; c++) {
        if (!x->plan->components[c].is_explicit || (host != VB_NO_INDEX && x->plan->components[c].host != host))
            continue;
        enum vb_completeness done = vb_x_completeness(x, c);
        n++;
        complete += done == VB_COMPLETE;
        usable += done != VB_FAILED;
    }
    if (usable == 0)
        return VB_CATALOG_FAILED;
    bool whole = complete == n;
    for (size_t i = 0; host == VB_NO_INDEX && i < x->plan->n_hosts; i++)
        whole = whole && x->plan->hosts[i].reached;
    return whole && (host != VB_NO_INDEX || x->plan->n_missing == 0) ? VB_CATALOG_COMPLETE : VB_CATALOG_PARTIAL;
}

static void add_host(struct vb_exec *x, struct vb_catalog_entry *e, size_t i)
{
    const struct vb_xh *h = &x->hosts[i];
    struct vb_catalog_host *ch = vb_catalog_add_host(e, vb_x_host_name(h));
    ch->state = overall(x, i);
    ch->code = h->error.code;
    ch->error = vb_strdup(h->error.text);
    for (size_t c = 0; c < x->plan->n_components; c++)
        if (x->plan->components[c].host == i)
            add_component(x, e, ch, c);
}

/* ---- documents ---- */

static int put(struct vb_exec *x, struct vb_catalog_entry *e, const char *kind, const char *host, const char *writer,
               const struct vb_buf *b, struct vb_error *err)
{
    const struct vb_run_store *s = x->p.env->store;
    return s->put_document(s->ctx, e, kind, host, writer, b->data ? (const void *)b->data : "", b->len, err);
}

/* The record says what was reached in the end: whether a group kept its rules is known only now. */
static void claim_groups(struct vb_xh *h)
{
    struct vb_exec *x = h->x;
    for (size_t c = 0; c < x->plan->n_components; c++) {
        const struct vb_plan_component *pc = &x->plan->components[c];
        if (pc->host != h->index || !pc->is_explicit)
            continue;
        struct vb_component *bc = vb_x_record(x, h->bcd, c, NULL);
        if (!bc)
            continue;
        bc->consistency = vb_x_consistency(x, c);
        bc->completeness = vb_x_completeness(x, c);
    }
}

static int add_host_documents(struct vb_exec *x, struct vb_catalog_entry *e, struct vb_xh *h, struct vb_error *err)
{
    const char *host = vb_x_host_name(h);
    if (h->bcd) {
        VB_AUTO_BUF b = VB_BUF_INIT;
        claim_groups(h);
        if (vb_components_write(h->bcd, &b, err) < 0 || put(x, e, "components", host, NULL, &b, err) < 0)
            return -1;
    }
    for (size_t i = 0; h->bcd && i < h->here.n_writers; i++) {
        const struct vb_writer_metadata *m = h->here.writers[i];
        if (!vb_components_find_writer(h->bcd, m->writer_id, m->instance_name))
            continue; /* those in the backup */
        VB_AUTO_BUF b = VB_BUF_INIT;
        if (vb_wm_write(m, &b, err) < 0 || put(x, e, "writer-metadata", host, m->instance_id, &b, err) < 0)
            return -1;
    }
    return h->job_xml.len > 0 ? put(x, e, "job", host, NULL, &h->job_xml, err) : 0;
}

int vb_x_commit(struct vb_exec *x, struct vb_error *err)
{
    const struct vb_run_store *s = x->p.env->store;
    const struct vb_run_options *o = x->p.opt;
    const char *id = x->plan->run_id;
    if (x->p.resume && id) {
        struct vb_catalog_entry *there = s->find(s->ctx, id, NULL, NULL);
        if (there) {
            x->added_bytes = there->added_stored;
            vb_catalog_entry_free(there);
            x->committed = true;
            x->backup_id = vb_strdup(id);
            return 0;
        }
    }
    vb_x_spread(x, NULL); /* what was told success on one side of a circle before the other side failed */
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    for (size_t i = 0; id && i < VB_GUID_LEN && id[i]; i++)
        e->id[i] = id[i];
    e->started_ms = x->p.started_wall_ms;
    e->finished_ms = vb_loop_wall_ms(x->loop);
    e->requester = vb_strdup(o->requester_host ? o->requester_host : o->front_end);
    e->user = vb_strdup(o->user);
    e->program = vb_strdup(o->program);
    e->job = vb_strdup(o->job_name ? o->job_name : o->n_paths > 0 ? "ad hoc" : NULL);
    e->state = overall(x, VB_NO_INDEX);
    size_t *order = vb_plan_host_order(x->plan);
    int r = 0;
    for (size_t i = 0; i < x->plan->n_hosts; i++)
        add_host(x, e, order[i]);
    for (size_t i = 0; i < x->plan->n_hosts && r == 0; i++)
        r = add_host_documents(x, e, &x->hosts[order[i]], err);
    free(order);
    VB_AUTO_BUF plan = VB_BUF_INIT;
    VB_AUTO_BUF events = VB_BUF_INIT;
    vb_plan_json(x->plan, &plan);
    vb_event_log_json(x->p.log, &events);
    if (r == 0)
        r = put(x, e, "plan", NULL, NULL, &plan, err);
    if (r == 0)
        r = put(x, e, "events", NULL, NULL, &events, err);
    if (r == 0)
        r = s->commit(s->ctx, e, err);
    if (r == 0) {
        x->committed = true;
        x->backup_id = vb_strdup(e->id);
        x->added_bytes = e->added_stored;
    }
    vb_catalog_entry_free(e);
    return r;
}
