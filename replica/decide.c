/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/decide.c - one incoming row against what is here: nothing, taken over, converged, or a conflict and its end.
 *
 * The decision itself is tracking/reconcile.h; here is what it means for names and files.
 */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "replica/item_file.h"
#include "replica/receive.h"
#include "replica/scan.h"

void vb_incoming_clear(struct vb_incoming *in)
{
    vb_row_clear(&in->row);
    vb_item_clear(&in->local);
    vb_apply_op_clear(&in->op);
    vb_free_ptr(&in->staged);
    vb_close_fd(&in->fd);
    vb_hasher_free(&in->sum);
    *in = (struct vb_incoming){ .fd = -1 };
}

void vb_receive_tell(struct vb_receiver *x, enum vb_action a, const char *path, const char *other)
{
    if (x->o->action)
        x->o->action(x->o->arg, a, path, other);
}

void vb_receive_leave(struct vb_receiver *x, struct vb_incoming *in, const struct vb_error *why)
{
    vb_strv_add(&x->except, in->row.item.path);
    x->out->failed++;
    in->acts = in->needs = false;
    in->failed = true;
    if (x->o->warn)
        x->o->warn(x->o->arg, why);
}

static void copy_row(struct vb_row *to, const struct vb_row *from)
{
    *to = (struct vb_row){ .device = from->device, .type = from->type, .target = vb_strdup(from->target) };
    vb_item_copy(&to->item, &from->item);
    vb_buf_add(&to->attrs, from->attrs.data, from->attrs.len);
}

static bool local_live(const struct vb_incoming *in)
{
    return in->local.path && !in->local.deleted;
}

/* The incoming state becomes the state here: which operation that is. */
static void plan_take(struct vb_receiver *x, struct vb_incoming *in)
{
    const struct vb_item *i = &in->row.item;
    in->acts = true;
    copy_row(&in->op.row, &in->row);
    in->op.learnt = i->changed;
    if (i->deleted) {
        vb_plan_delete(x, in);
        return;
    }
    bool same_kind = local_live(in) && in->local.kind == i->kind;
    if (i->kind == VB_ITEM_DIR) {
        in->op.kind = VB_APPLY_DIR;
    } else if (same_kind && !memcmp(in->local.content, i->content, VB_HASH_LEN) &&
               (i->kind != VB_ITEM_FILE || vb_path_links(x->p, i->path) < 2)) { /* its other names keep theirs */
        in->op.kind = VB_APPLY_META;
    } else {
        in->op.kind = VB_APPLY_PUT;
        in->needs = true;
        in->late = local_live(in) && in->local.kind == VB_ITEM_DIR;
    }
}

void vb_plan_delete(struct vb_receiver *x, struct vb_incoming *in)
{
    (void)x;
    in->acts = true;
    if (!local_live(in)) {
        in->op.kind = VB_APPLY_ROW;
    } else if (in->local.kind == VB_ITEM_DIR) {
        in->op.kind = VB_APPLY_RMDIR;
        in->late = true;
    } else {
        in->op.kind = VB_APPLY_TRASH;
    }
}

static int mint(struct vb_receiver *x, struct vb_item *i, struct vb_error *err)
{
    x->out->minted++;
    if (x->o->dry_run) { /* not even a tick is used */
        i->changed = (struct vb_version){ *vb_replica_own(x->p->store), vb_replica_tick(x->p->store) + 1 };
        return 0;
    }
    return vb_replica_mint(x->p->store, &i->changed, err);
}

/* The local state stays, under a version that says that the other was seen (DSN-18). */
static int keep_ours(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err)
{
    const struct vb_item *theirs = &in->row.item;
    in->acts = true;
    in->op.kind = VB_APPLY_ROW;
    in->op.learnt = theirs->changed;
    vb_item_copy(&in->op.row.item, &in->local);
    vb_strv_add(&x->resolved, theirs->path);
    x->out->conflicts++;
    vb_receive_tell(x, VB_ACT_CONFLICT_OURS, theirs->path, NULL);
    /* A loser that has content is kept: beside the winner, or in the trash (DSN-20, T27). */
    if (!theirs->deleted && theirs->kind != VB_ITEM_DIR && memcmp(theirs->content, in->local.content, VB_HASH_LEN) != 0)
        in->needs = in->loser_copy = true;
    if (in->loser_copy && in->policy == VB_POLICY_BOTH) {
        VB_AUTO_FREE char *copy = vb_conflict_name(theirs->path, &theirs->origin);
        vb_strv_add(&x->resolved, copy);
        x->out->copies++;
        vb_receive_tell(x, VB_ACT_COPY, theirs->path, copy);
    }
    return mint(x, &in->op.row.item, err);
}

static int take_theirs(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err)
{
    const struct vb_item *theirs = &in->row.item;
    plan_take(x, in);
    vb_strv_add(&x->resolved, theirs->path);
    x->out->conflicts++;
    vb_receive_tell(x, VB_ACT_CONFLICT_THEIRS, theirs->path, NULL);
    if (in->policy == VB_POLICY_BOTH && local_live(in) && in->local.kind != VB_ITEM_DIR && !theirs->deleted &&
        memcmp(theirs->content, in->local.content, VB_HASH_LEN) != 0) {
        in->op.copy_to = vb_conflict_name(theirs->path, &in->local.origin);
        vb_strv_add(&x->resolved, in->op.copy_to);
        x->out->copies++;
        vb_receive_tell(x, VB_ACT_COPY, theirs->path, in->op.copy_to);
    }
    return mint(x, &in->op.row.item, err);
}

static int converge(struct vb_receiver *x, struct vb_incoming *in)
{
    const struct vb_item *w = vb_converged(&in->local, &in->row.item);
    in->acts = true;
    in->op.kind = VB_APPLY_ROW;
    in->op.learnt = in->row.item.changed;
    vb_item_copy(&in->op.row.item, w);
    in->op.row.item.look = in->local.look;
    in->op.row.item.mtime_ns = in->local.mtime_ns;
    vb_strv_add(&x->resolved, in->row.item.path);
    x->out->converged++;
    vb_receive_tell(x, VB_ACT_CONVERGE, in->row.item.path, NULL);
    return 0;
}

static void count_taken(struct vb_receiver *x, const struct vb_incoming *in)
{
    const struct vb_item *i = &in->row.item;
    if (!in->acts)
        return;
    if (i->deleted) {
        x->out->deleted += local_live(in);
        if (local_live(in))
            vb_receive_tell(x, i->moved_to ? VB_ACT_RENAME : VB_ACT_DELETE, i->path, i->moved_to);
        x->out->renamed += local_live(in) && i->moved_to;
    } else if (!local_live(in)) {
        x->out->created++;
        vb_receive_tell(x, VB_ACT_CREATE, i->path, NULL);
    } else {
        x->out->changed++;
        vb_receive_tell(x, in->op.kind == VB_APPLY_META ? VB_ACT_ATTRIBUTES : VB_ACT_CHANGE, i->path, NULL);
    }
}

/* For a dry run, just after a scan: what the store says. */
static int find_row(struct vb_receiver *x, const char *path, struct vb_item *row, struct vb_error *err)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    *row = (struct vb_item){ .path = NULL };
    if (vb_replica_find(x->p->store, x->p->scope.id, path, row, &e) == 0 || e.code == VB_E_OBJECT_NOT_FOUND)
        return 0;
    return vb_error_move(err, &e);
}

/* ---- conflicts that were left to the user ---- */

struct chosen {
    const struct vb_receiver *x;
    struct vb_incoming *in;
    bool found;
};
static int use_choice(void *arg, const struct vb_held *h)
{
    struct chosen *c = arg;
    if (strcmp(h->peer, c->x->from ? c->x->from : "") != 0)
        return 0;
    c->found = true;
    if (vb_version_equal(&h->version, &c->in->row.item.changed))
        c->in->policy = h->choice == VB_CHOICE_THEIRS ? VB_POLICY_SOURCE : h->choice == VB_CHOICE_BOTH ? VB_POLICY_BOTH : c->in->policy;
    return 0;
}

static int hold(struct vb_receiver *x, const struct vb_item *theirs, struct vb_error *err)
{
    const struct vb_held h = { .path = theirs->path, .peer = x->from ? x->from : "", .version = theirs->changed, .kind = theirs->kind,
                               .size = theirs->size, .mtime_ns = theirs->mtime_ns, .deleted = theirs->deleted };
    return vb_replica_hold_conflict(x->p->store, x->p->scope.id, &h, err);
}

int vb_decide(struct vb_receiver *x, struct vb_incoming *in, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_item *theirs = &in->row.item;
    uint64_t tick = vb_replica_tick(x->p->store);
    if (!vb_place_takes(x->p, theirs->path, theirs->kind == VB_ITEM_DIR)) {
        vb_strv_add(&x->except, theirs->path);
        x->out->left_out++;
        return 0;
    }
    if (vb_knowledge_contains(x->own, theirs->path, &theirs->changed))
        return 0;
    if ((x->o->dry_run ? find_row(x, theirs->path, &in->local, &why) : vb_scan_one(x->p, theirs->path, &x->now, &in->local, &why)) < 0) {
        if (why.code != VB_E_UNSTABLE && why.code != VB_E_ACCESS_DENIED)
            return vb_error_move(err, &why);
        vb_receive_leave(x, in, &why);
        return 0;
    }
    x->out->minted += vb_replica_tick(x->p->store) - tick;
    in->op.expect = vb_path_identity(x->p, theirs->path);
    struct chosen c = { x, in, false };
    in->policy = x->policy;
    if (x->held && vb_replica_each_conflict(x->p->store, x->p->scope.id, theirs->path, use_choice, &c, err) < 0)
        return -1;
    in->decision = vb_reconcile(in->local.path ? &in->local : NULL, theirs, x->own, x->source, in->policy);
    if (c.found && in->decision != VB_DECIDE_DEFER &&
        vb_replica_settle_conflict(x->p->store, x->p->scope.id, theirs->path, x->from ? x->from : "", err) < 0)
        return -1;
    switch (in->decision) {
    case VB_DECIDE_DROP:
        return 0;
    case VB_DECIDE_APPLY:
        plan_take(x, in);
        count_taken(x, in);
        return 0;
    case VB_DECIDE_CONVERGE:
        return converge(x, in);
    case VB_DECIDE_THEIRS:
        return take_theirs(x, in, err);
    case VB_DECIDE_OURS:
        return keep_ours(x, in, err);
    case VB_DECIDE_DEFER:
        vb_strv_add(&x->except, theirs->path);
        x->out->deferred++;
        vb_receive_tell(x, VB_ACT_DEFER, theirs->path, NULL);
        return hold(x, theirs, err);
    }
    return vb_fail(err, VB_E_UNEXPECTED, "'%s': no decision", theirs->path);
}
