/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/selection_restore.c - which components are restored (rule book 3.2, 4.3, 5.5), over the stored documents
 * only.
 *
 * What was explicit at backup is picked whole or by some of its members; what was implicit only through its explicit
 * head. From everything that takes part dependencies are followed both ways: to the targets (D-17) and back to the
 * dependents, so that a front end learns that its back end came back (D-61).
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "documents/selection_graph.h"

struct mark {
    bool is_explicit;           /* has a record in the stored document */
    size_t record_writer, record;
    size_t carrier;             /* explicit component that holds it, itself if explicit; none: not in the backup */
    bool picked, whole;         /* of an explicit one: picked, and all of it */
    bool sub;                   /* named as a subcomponent of its carrier */
    bool in, excluded;
    enum vb_why why;            /* of a picked one */
};

struct unmet { size_t dep; bool excluded; };

struct walk {
    struct vb_graph g;
    const struct vb_select_options *opt;
    struct vb_components *const *stored;
    struct mark *m;
    size_t *queue, q_head, q_tail;
    struct unmet *unmet; size_t n_unmet, cap_unmet;
    struct vb_restore_selection *out;
};

static const struct vb_node *node(const struct walk *w, size_t i)
{
    return &w->g.nodes[i];
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void warn_node(struct walk *w, size_t i, const char *what)
{
    VB_AUTO_FREE char *who = vb_graph_describe(&w->g, i);

    vb_strv_take(&w->out->warnings, vb_printf("%s %s", who, what));
}

/* ---- the stored records ---- */

/* Writer metadata of a record: by class and instance name, never by the instance id. */
static size_t metadata_of(const struct walk *w, size_t host, const struct vb_writer_components *r)
{
    for (size_t k = 0; k < w->g.hosts[host].n_writers; k++) {
        const struct vb_writer_metadata *m = w->g.hosts[host].writers[k];
        if (vb_guid_equal(m->writer_id, r->writer_id) && same(m->instance_name, r->instance_name))
            return k;
    }
    return VB_NODE_NONE;
}

static void match_record(struct walk *w, size_t host, size_t rw, size_t writer)
{
    const struct vb_writer_components *r = &w->stored[host]->writers[rw];

    for (size_t k = 0; k < r->n_components; k++) {
        const struct vb_component *c = &r->components[k];
        VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
        size_t i = writer == VB_NODE_NONE ? VB_NODE_NONE : vb_graph_find(&w->g, host, writer, full);
        if (i == VB_NODE_NONE) {
            VB_AUTO_FREE char *shown = vb_escape_terminal(full, strlen(full));
            vb_strv_take(
                &w->out->warnings,
                vb_printf(
                    "component '%s' of writer '%s' on host '%s' cannot be restored: its writer's metadata are not "
                    "in the backup",
                    shown, r->name, w->g.hosts[host].host));
            continue;
        }
        w->m[i].is_explicit = true;
        w->m[i].record_writer = rw;
        w->m[i].record = k;
    }
}

static void match_records(struct walk *w)
{
    for (size_t h = 0; h < w->g.n_hosts; h++)
        for (size_t k = 0; w->stored[h] && k < w->stored[h]->n_writers; k++)
            match_record(w, h, k, metadata_of(w, h, &w->stored[h]->writers[k]));
    for (size_t k = 0; k < w->g.n; k++) { /* sorted: heads come before what they hold */
        size_t i = w->g.sorted[k];
        size_t head = node(w, i)->head;
        w->m[i].carrier = w->m[i].is_explicit        ? i
                          : head == VB_NODE_NONE     ? VB_NODE_NONE
                          : w->m[head].is_explicit   ? head
                                                     : w->m[head].carrier;
    }
}

static const struct vb_component *record(const struct walk *w, size_t i)
{
    return &w->stored[node(w, i)->host]->writers[w->m[i].record_writer].components[w->m[i].record];
}

/* ---- picking ---- */

static void enter(struct walk *w, size_t i)
{
    if (!w->m[i].in) {
        w->m[i].in = true;
        w->queue[w->q_tail++] = i;
    }
}

static void enter_below(struct walk *w, size_t i)
{
    enter(w, i);
    for (size_t k = node(w, i)->order + 1; k < node(w, i)->order_end; k++)
        if (w->m[w->g.sorted[k]].carrier == w->m[i].carrier)
            enter(w, w->g.sorted[k]);
}

static void pick(struct walk *w, size_t e, enum vb_why why)
{
    if (!w->m[e].picked)
        w->m[e].why = why;
    w->m[e].picked = true;
}

static bool holds_excluded(const struct walk *w, size_t i)
{
    for (size_t k = node(w, i)->order; k < node(w, i)->order_end; k++)
        if (w->m[w->g.sorted[k]].excluded)
            return true;
    return false;
}

static void pick_sub(struct walk *w, size_t s, enum vb_why why)
{
    size_t e = w->m[s].carrier;

    pick(w, e, why);
    w->m[s].sub = true;
    enter_below(w, s); /* */
}

/* All of an explicit component; if something of it is excluded, every restorable part that holds nothing excluded. */
static bool pick_whole(struct walk *w, size_t e, enum vb_why why)
{
    const struct vb_node *x = node(w, e);
    bool any = false;

    if (w->m[e].excluded)
        return false;
    if (!holds_excluded(w, e)) {
        pick(w, e, why);
        w->m[e].whole = true;
        if (x->c->selectable)
            enter_below(w, e);
        else
            enter(w, e);
        return true;
    }
    for (size_t k = x->order + 1; k < x->order_end;) {
        size_t i = w->g.sorted[k];
        if (w->m[i].carrier == e && node(w, i)->c->selectable_for_restore && !holds_excluded(w, i)) {
            pick_sub(w, i, why);
            k = node(w, i)->order_end;
            any = true;
        } else {
            k++;
        }
    }
    return any;
}

/* What must take part by a dependency: as little as the rules allow (R-4 to R-6, C-26, C-27). */
static bool pick_needed(struct walk *w, size_t i, enum vb_why why)
{
    size_t e = w->m[i].carrier;

    if (w->m[i].in)
        return true;
    if (e == VB_NODE_NONE || w->m[i].excluded || w->m[e].excluded)
        return false;
    if (e == i)
        return pick_whole(w, e, why) && w->m[i].in;
    for (size_t s = i; s != e && s != VB_NODE_NONE; s = node(w, s)->parent)
        if (node(w, s)->c->selectable_for_restore && !holds_excluded(w, s)) {
            pick_sub(w, s, why);
            return true;
        }
    return pick_whole(w, e, VB_WHY_ANCESTOR) && w->m[i].in;
}

static int ask(void *arg, size_t host, size_t writer, size_t i, struct vb_error *err)
{
    struct walk *w = arg;
    struct vb_graph_writer x = w->g.writers[host][writer];

    if (i == VB_NODE_NONE) {
        for (size_t k = x.first; k < x.first + x.n; k++)
            if (w->m[k].is_explicit)
                pick_whole(w, k, w->opt->n_asks ? VB_WHY_ASKED : VB_WHY_DEFAULT);
        return 0;
    }
    VB_AUTO_FREE char *what = vb_graph_describe(&w->g, i);
    size_t e = w->m[i].carrier;
    if (e == VB_NODE_NONE)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "%s is not in this backup", what);
    if (w->m[i].excluded || w->m[e].excluded) {
        VB_AUTO_FREE char *text = vb_printf("%s was asked for, but is excluded", what);
        if (!vb_strv_has(&w->out->warnings, text))
            vb_strv_add(&w->out->warnings, text);
        return 0;
    }
    if (e == i) {
        pick_whole(w, i, VB_WHY_ASKED);
        return 0;
    }
    if (!node(w, i)->c->selectable_for_restore) {
        size_t s = node(w, i)->parent;
        while (s != e && !node(w, s)->c->selectable_for_restore)
            s = node(w, s)->parent;
        VB_AUTO_FREE char *head = vb_escape_terminal(node(w, s)->full, strlen(node(w, s)->full));
        vb_fail(err, VB_E_USAGE, "%s cannot be restored alone: it belongs to '%s'", what, head);
        vb_hint(err, "ask for '%s'", head);
        return -1;
    }
    pick_sub(w, i, VB_WHY_ASKED);
    return 0;
}

/* ---- exclusion ---- */

static int exclude_named(void *arg, size_t host, size_t writer, size_t i, struct vb_error *err VB_UNUSED)
{
    struct walk *w = arg;
    struct vb_graph_writer x = w->g.writers[host][writer];
    size_t first = i == VB_NODE_NONE ? x.first : node(w, i)->order;
    size_t end = i == VB_NODE_NONE ? x.first + x.n : node(w, i)->order_end;

    for (size_t k = first; k < end; k++)
        w->m[w->g.sorted[k]].excluded = true;
    return 0;
}

static void apply_exclusions(struct walk *w)
{
    for (size_t i = 0; i < w->opt->n_excludes; i++) {
        const struct vb_ask *a = &w->opt->excludes[i];
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (a->host && vb_graph_host(&w->g, a->host) == VB_NODE_NONE)
            continue;
        if (vb_graph_each(&w->g, a, exclude_named, w, &why) < 0)
            vb_strv_take(&w->out->warnings, vb_printf("an exclusion matches nothing: %s", vb_error_text(&why)));
    }
}

/* ---- closure ---- */

static void follow(struct walk *w, size_t i)
{
    const struct vb_node *x = node(w, i);

    for (size_t d = x->first_dep; d < x->first_dep + x->n_deps; d++) {
        const struct vb_dep *e = &w->g.deps[d];
        bool met = e->state == VB_DEP_MET && pick_needed(w, e->to, VB_WHY_TARGET);
        if (met)
            continue;
        VB_GROW(w->unmet, w->n_unmet, w->cap_unmet);
        w->unmet[w->n_unmet++] = (struct unmet){d, e->state == VB_DEP_MET && w->m[e->to].carrier != VB_NODE_NONE};
    }
    for (size_t k = x->first_rdep; k < x->first_rdep + x->n_rdeps; k++) {
        pick_needed(w, w->g.deps[w->g.rdeps[k]].from, VB_WHY_DEPENDENT); /* if it is in the backup */
    }
}

static int pass(struct walk *w, struct vb_error *err)
{
    for (size_t i = 0; i < w->g.n; i++)
        w->m[i].picked = w->m[i].whole = w->m[i].sub = w->m[i].in = false;
    w->q_head = w->q_tail = w->n_unmet = 0;
    for (size_t i = 0; i < w->opt->n_asks; i++)
        if (vb_graph_each(&w->g, &w->opt->asks[i], ask, w, err) < 0)
            return -1;
    for (size_t i = 0; !w->opt->n_asks && i < w->g.n; i++)
        if (w->m[i].is_explicit)
            pick_whole(w, i, VB_WHY_DEFAULT);
    while (w->q_head < w->q_tail)
        follow(w, w->queue[w->q_head++]);
    return 0;
}

static void add_missing(struct walk *w, const struct unmet *u)
{
    struct vb_restore_selection *o = w->out;

    VB_GROW(o->missing, o->n_missing, o->cap_missing);
    o->missing[o->n_missing] = vb_graph_missing(&w->g, &w->g.deps[u->dep], u->excluded);
    o->missing[o->n_missing++].from = w->g.deps[u->dep].from; /* a node until finish() */
}

/* Over stored documents nothing can be gathered later: every target that is not there is missing for good. */
static int fail_missing(struct walk *w, struct vb_error *err)
{
    if (!w->n_unmet)
        return 0;
    VB_AUTO_FREE char *text = vb_graph_unmet_text(&w->g, &w->g.deps[w->unmet[0].dep], w->unmet[0].excluded);
    vb_fail(err, VB_E_DEPENDENCY_MISSING, "%s", text);
    vb_hint(err, "choose what happens when a target is missing, or restore other components");
    return -1;
}

static bool drop_dependents(struct walk *w)
{
    bool any = false;

    for (size_t i = 0; i < w->n_unmet; i++) {
        size_t from = w->g.deps[w->unmet[i].dep].from;
        add_missing(w, &w->unmet[i]);
        if (w->m[from].excluded)
            continue;
        VB_AUTO_FREE char *text = vb_graph_unmet_text(&w->g, &w->g.deps[w->unmet[i].dep], w->unmet[i].excluded);
        VB_AUTO_FREE char *line = vb_printf("is left out: %s", text);
        warn_node(w, from, line);
        exclude_named(w, node(w, from)->host, node(w, from)->writer, from, NULL);
        any = true;
    }
    return any;
}

/* ---- result ---- */

struct slot { size_t host, writer, component, node; };

static int by_record(const void *pa, const void *pb)
{
    const struct slot *a = pa, *b = pb;

    if (a->host != b->host)
        return a->host < b->host ? -1 : 1;
    if (a->writer != b->writer)
        return a->writer < b->writer ? -1 : 1;
    return (a->component > b->component) - (a->component < b->component);
}

/* Members named for restore, unless all of it is restored or one above is named already. */
static void put_subcomponents(const struct walk *w, size_t e, struct vb_strv *out)
{
    const struct vb_node *x = node(w, e);

    for (size_t k = x->order + 1; !w->m[e].whole && k < x->order_end;) {
        size_t i = w->g.sorted[k];
        if (w->m[i].sub)
            vb_strv_add(out, node(w, i)->full);
        k = w->m[i].sub ? node(w, i)->order_end : k + 1;
    }
}

static void put_picks(struct walk *w, size_t *index)
{
    struct vb_restore_selection *o = w->out;
    VB_AUTO_FREE struct slot *slots = vb_alloc_n(w->g.n + 1, sizeof *slots);
    size_t n = 0;

    for (size_t i = 0; i < w->g.n; i++)
        if (w->m[i].picked)
            slots[n++] = (struct slot){node(w, i)->host, w->m[i].record_writer, w->m[i].record, i};
    if (n)
        qsort(slots, n, sizeof *slots, by_record);
    o->picks = vb_alloc_n(n + 1, sizeof *o->picks);
    o->cap = n + 1;
    for (size_t k = 0; k < n; k++) {
        size_t e = slots[k].node;
        struct vb_restore_pick *p = &o->picks[o->n];
        *p = (struct vb_restore_pick){.host = slots[k].host, .writer = slots[k].writer, .component = slots[k].component,
                                      .why = w->m[e].why};
        put_subcomponents(w, e, &p->subcomponents);
        index[e] = o->n++;
        const struct vb_component *c = record(w, e);
        if (c->completeness == VB_FAILED || (c->backup_succeeded_set && !c->backup_succeeded))
            warn_node(w, e, "is marked as not succeeded in this backup");
        if (!w->m[e].whole && holds_excluded(w, e))
            warn_node(w, e, "is restored in part: something of it is excluded");
    }
}

static void finish(struct walk *w)
{
    struct vb_restore_selection *o = w->out;
    VB_AUTO_FREE size_t *index = vb_alloc_n(w->g.n + 1, sizeof *index);

    for (size_t i = 0; i < w->g.n; i++)
        index[i] = SIZE_MAX;
    put_picks(w, index);
    for (size_t k = 0; k < w->g.n_deps; k++) {
        const struct vb_dep *d = &w->g.deps[k];
        if (d->state != VB_DEP_MET || !w->m[d->from].in)
            continue;
        if (!w->m[d->to].in)
            continue;
        VB_GROW(o->edges, o->n_edges, o->cap_edges);
        o->edges[o->n_edges++] = (struct vb_sel_edge){index[w->m[d->from].carrier], index[w->m[d->to].carrier],
                                                      node(w, d->from)->host != node(w, d->to)->host};
    }
    vb_sel_edges_tidy(o->edges, &o->n_edges);
    for (size_t k = 0; k < w->g.n_deps; k++) {
        const struct vb_dep *d = &w->g.deps[k];
        if (d->state == VB_DEP_MET && w->m[d->to].in && !w->m[d->from].in && w->m[d->from].carrier != VB_NODE_NONE)
            warn_node(w, d->from, "will not learn that its target is restored: it is excluded"); /* D-60 */
    }
    for (size_t k = 0; k < o->n_missing; k++) {
        size_t e = w->m[o->missing[k].from].carrier;
        o->missing[k].from = w->m[o->missing[k].from].in ? index[e] : SIZE_MAX;
    }
}

static int run(struct walk *w, struct vb_error *err)
{
    match_records(w);
    apply_exclusions(w);
    for (;;) {
        if (pass(w, err) < 0)
            return -1;
        if (w->opt->missing == VB_MISSING_FAIL && fail_missing(w, err) < 0)
            return -1;
        if (w->opt->missing != VB_MISSING_DROP_DEPENDENT || !drop_dependents(w))
            break;
    }
    for (size_t i = 0; w->opt->missing != VB_MISSING_DROP_DEPENDENT && i < w->n_unmet; i++)
        add_missing(w, &w->unmet[i]);
    finish(w);
    return 0;
}

int vb_select_restore(const struct vb_sel_host *hosts, size_t n_hosts, struct vb_components *const *stored,
                      const struct vb_select_options *opt, struct vb_restore_selection *out, struct vb_error *err)
{
    struct walk w = {.opt = opt, .stored = stored, .out = out};

    memset(out, 0, sizeof *out);
    vb_graph_build(&w.g, hosts, n_hosts, opt->resolve, opt->resolve_arg, &out->warnings);
    w.m = vb_alloc_n(w.g.n + 1, sizeof *w.m);
    w.queue = vb_alloc_n(w.g.n + 1, sizeof *w.queue);
    int rc = run(&w, err);
    free(w.m);
    free(w.queue);
    free(w.unmet);
    vb_graph_clear(&w.g);
    if (rc < 0)
        vb_restore_selection_clear(out);
    return rc;
}

void vb_restore_selection_clear(struct vb_restore_selection *s)
{
    for (size_t i = 0; i < s->n; i++)
        vb_strv_clear(&s->picks[i].subcomponents);
    for (size_t i = 0; i < s->n_missing; i++)
        vb_sel_missing_clear(&s->missing[i]);
    free(s->picks);
    free(s->edges);
    free(s->missing);
    vb_strv_clear(&s->warnings);
    memset(s, 0, sizeof *s);
}
