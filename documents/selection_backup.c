/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/selection_backup.c - which components take part in a backup (rule book 4.2, 5.1 to 5.3).
 *
 * A pass marks what was asked for, then follows dependencies from a queue until nothing new comes.  Marks only grow
 * inside a pass, so circles end.  A marked component below a marked selectable one is implicit (C-16).  With the policy
 * DROP_DEPENDENT passes are repeated: each takes out the dependents that the one before could not satisfy, so that what
 * only they had brought does not stay.
 */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "documents/selection_graph.h"

struct mark {
    bool marked, in, asked;
    bool excluded; /* cannot be explicit: named, below a named one, or a head above one */
    bool cut;      /* excluded together with all below it */
    enum vb_why why;
    size_t because; /* node that brought it */
};

struct unmet { size_t dep; bool excluded; };

struct walk {
    struct vb_graph g;
    const struct vb_select_options *opt;
    struct mark *m;
    bool **taken;                  /* [host][writer]: something of it takes part */
    size_t *queue, q_head, q_tail; /* every node enters once per pass */
    struct unmet *unmet; size_t n_unmet, cap_unmet;
    struct vb_selection *out;
};

static const struct vb_node *node(const struct walk *w, size_t i)
{
    return &w->g.nodes[i];
}

/* C-13: not selectable, no selectable component above it. */
static bool compulsory(const struct walk *w, size_t i)
{
    return !node(w, i)->c->selectable && node(w, i)->head == VB_NODE_NONE;
}

/* ---- exclusion ---- */

static void exclude_writer(struct walk *w, size_t host, size_t writer)
{
    struct vb_graph_writer x = w->g.writers[host][writer];

    for (size_t i = x.first; i < x.first + x.n; i++)
        w->m[i].excluded = w->m[i].cut = true;
}

/* Takes out the component, all below it, every set head that would bring it, and the writer if it cannot do without. */
static void exclude(struct walk *w, size_t i)
{
    const struct vb_node *x = node(w, i);

    if (w->m[i].cut)
        return;
    bool needed = false;
    for (size_t k = x->order; k < x->order_end; k++) {
        w->m[w->g.sorted[k]].excluded = w->m[w->g.sorted[k]].cut = true;
        needed = needed || compulsory(w, w->g.sorted[k]);
    }
    for (size_t h = x->head; h != VB_NODE_NONE && !w->m[h].excluded; h = node(w, h)->head)
        w->m[h].excluded = true;
    if (!needed)
        return;
    VB_AUTO_FREE char *what = vb_graph_describe(&w->g, i);
    vb_strv_take(
        &w->out->warnings,
        vb_printf("%s is excluded, but its writer cannot be backed up without it: the writer is left out", what));
    exclude_writer(w, x->host, x->writer);
}

static int exclude_named(void *arg, size_t host, size_t writer, size_t i, struct vb_error *err VB_UNUSED)
{
    struct walk *w = arg;

    if (i == VB_NODE_NONE)
        exclude_writer(w, host, writer);
    else
        exclude(w, i);
    return 0;
}

static void apply_exclusions(struct walk *w)
{
    for (size_t i = 0; i < w->opt->n_excludes; i++) {
        const struct vb_ask *a = &w->opt->excludes[i];
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (a->host && vb_graph_host(&w->g, a->host) == VB_NODE_NONE)
            continue; /* of a host that takes no part */
        if (vb_graph_each(&w->g, a, exclude_named, w, &why) < 0)
            vb_strv_take(&w->out->warnings, vb_printf("an exclusion matches nothing: %s", vb_error_text(&why)));
    }
}

/* ---- marking ---- */

static void enter(struct walk *w, size_t i, enum vb_why why, size_t because)
{
    struct mark *m = &w->m[i];

    if (m->in)
        return;
    m->in = true;
    m->why = why;
    m->because = because;
    w->queue[w->q_tail++] = i;
}

static void take_writer(struct walk *w, size_t host, size_t writer, size_t because);

/* Makes a component explicit; false if it is excluded. */
static bool mark(struct walk *w, size_t i, enum vb_why why, size_t because)
{
    const struct vb_node *x = node(w, i);

    if (w->m[i].excluded)
        return false;
    if (w->m[i].marked)
        return true;
    w->m[i].marked = true;
    enter(w, i, why, because);
    if (x->c->selectable)
        for (size_t k = x->order + 1; k < x->order_end; k++)
            enter(w, w->g.sorted[k], why, i);
    take_writer(w, x->host, x->writer, i);
    return true;
}

/* B-16: with anything of a writer come its compulsory components. */
static void take_writer(struct walk *w, size_t host, size_t writer, size_t because)
{
    struct vb_graph_writer x = w->g.writers[host][writer];

    if (w->taken[host][writer])
        return;
    w->taken[host][writer] = true;
    for (size_t i = x.first; i < x.first + x.n; i++)
        if (compulsory(w, i))
            mark(w, i, VB_WHY_COMPULSORY, because);
}

/* All of a writer: heads first, so that what they bring is not marked again (C-14 to C-17). */
static void mark_all(struct walk *w, size_t host, size_t writer, enum vb_why why)
{
    struct vb_graph_writer x = w->g.writers[host][writer];

    for (size_t k = x.first; k < x.first + x.n; k++) {
        size_t i = w->g.sorted[k];
        const struct mark *m = &w->m[i];
        if (m->in || m->excluded)
            continue;
        if (node(w, i)->c->selectable || compulsory(w, i)) {
            mark(w, i, compulsory(w, i) ? VB_WHY_COMPULSORY : why, SIZE_MAX);
            continue;
        }
        VB_AUTO_FREE char *what = vb_graph_describe(&w->g, i);
        vb_strv_take(&w->out->warnings,
                     vb_printf("%s is left out: it comes only with '%s', which holds something excluded", what,
                               node(w, node(w, i)->head)->full));
        w->m[i].excluded = true; /* said once, over all passes */
    }
}

static int ask(void *arg, size_t host, size_t writer, size_t i, struct vb_error *err)
{
    struct walk *w = arg;

    if (i == VB_NODE_NONE) {
        mark_all(w, host, writer, w->opt->n_asks ? VB_WHY_ASKED : VB_WHY_DEFAULT);
        return 0;
    }
    const struct vb_node *x = node(w, i);
    VB_AUTO_FREE char *what = vb_graph_describe(&w->g, i);
    if (!x->c->selectable && x->head != VB_NODE_NONE) {
        VB_AUTO_FREE char *head = vb_escape_terminal(node(w, x->head)->full, strlen(node(w, x->head)->full));
        vb_fail(err, VB_E_USAGE, "%s cannot be backed up alone: it belongs to '%s'", what, head);
        vb_hint(err, "ask for '%s'", head);
        return -1;
    }
    if (!mark(w, i, VB_WHY_ASKED, SIZE_MAX) && !w->m[i].asked)
        vb_strv_take(&w->out->warnings, vb_printf("%s was asked for, but is excluded", what));
    w->m[i].asked = true;
    if (w->m[i].in)
        w->m[i].why = VB_WHY_ASKED;
    return 0;
}

/* ---- dependencies ---- */

static void add_unmet(struct walk *w, size_t dep, bool excluded)
{
    VB_GROW(w->unmet, w->n_unmet, w->cap_unmet);
    w->unmet[w->n_unmet++] = (struct unmet){dep, excluded};
}

/* D-15: the target itself where that is allowed, else the nearest head that brings it. */
static bool take_target(struct walk *w, size_t t, size_t from)
{
    const struct vb_node *x = node(w, t);

    if (w->m[t].in)
        return true;
    if (x->c->selectable || x->head == VB_NODE_NONE)
        return mark(w, t, VB_WHY_TARGET, from);
    return !w->m[t].excluded && mark(w, x->head, VB_WHY_ANCESTOR, from);
}

static void follow(struct walk *w, size_t i)
{
    const struct vb_node *x = node(w, i);

    for (size_t d = x->first_dep; d < x->first_dep + x->n_deps; d++) {
        if (w->g.deps[d].state != VB_DEP_MET)
            add_unmet(w, d, false);
        else if (!take_target(w, w->g.deps[d].to, i))
            add_unmet(w, d, true);
    }
}

static int pass(struct walk *w, struct vb_error *err)
{
    static const struct vb_ask everything = {NULL, NULL, NULL};

    for (size_t i = 0; i < w->g.n; i++) {
        w->m[i].marked = w->m[i].in = false;
        w->m[i].because = SIZE_MAX;
    }
    for (size_t h = 0; h < w->g.n_hosts; h++)
        memset(w->taken[h], 0, (w->g.hosts[h].n_writers + 1) * sizeof **w->taken);
    w->q_head = w->q_tail = w->n_unmet = 0;
    for (size_t i = 0; i < w->opt->n_asks; i++)
        if (vb_graph_each(&w->g, &w->opt->asks[i], ask, w, err) < 0)
            return -1;
    if (!w->opt->n_asks && w->g.n_hosts && vb_graph_each(&w->g, &everything, ask, w, err) < 0)
        return -1;
    while (w->q_head < w->q_tail)
        follow(w, w->queue[w->q_head++]);
    return 0;
}

/* ---- what becomes of dependencies that cannot be met ---- */

static void add_missing(struct walk *w, const struct unmet *u)
{
    struct vb_selection *o = w->out;

    VB_GROW(o->missing, o->n_missing, o->cap_missing);
    o->missing[o->n_missing] = vb_graph_missing(&w->g, &w->g.deps[u->dep], u->excluded);
    o->missing[o->n_missing++].from = w->g.deps[u->dep].from; /* a node until finish() */
}

static int fail_missing(struct walk *w, struct vb_error *err)
{
    for (size_t i = 0; i < w->n_unmet; i++) {
        const struct vb_dep *d = &w->g.deps[w->unmet[i].dep];
        if (d->state == VB_DEP_NOT_GATHERED)
            continue;
        VB_AUTO_FREE char *text = vb_graph_unmet_text(&w->g, d, w->unmet[i].excluded);
        vb_fail(err, VB_E_DEPENDENCY_MISSING, "%s", text);
        vb_hint(err, d->state == VB_DEP_NO_HOST
                         ? "declare the host in the configuration, or choose what happens when a target is missing"
                         : "choose what happens when a target is missing, or leave the dependent out as well");
        return -1;
    }
    return 0;
}

/* Takes out the dependents of what is missing (D-16); false if nothing was left to take out.  Their own dependents are
 * the next pass's: only then is it known which of them something else still wants. */
static bool drop_dependents(struct walk *w)
{
    bool any = false;

    for (size_t i = 0; i < w->n_unmet; i++) {
        const struct vb_dep *d = &w->g.deps[w->unmet[i].dep];
        add_missing(w, &w->unmet[i]);
        if (w->m[d->from].cut)
            continue;
        VB_AUTO_FREE char *who = vb_graph_describe(&w->g, d->from);
        VB_AUTO_FREE char *text = vb_graph_unmet_text(&w->g, d, w->unmet[i].excluded);
        vb_strv_take(&w->out->warnings, vb_printf("%s is left out: %s", who, text));
        exclude(w, d->from);
        any = true;
    }
    return any;
}

/* ---- result ---- */

/* The explicit component that stands for one that takes part: the topmost marked head above, or itself. */
static size_t carrier(const struct walk *w, size_t i)
{
    size_t top = i;

    for (size_t h = node(w, i)->head; h != VB_NODE_NONE; h = node(w, h)->head)
        if (w->m[h].marked)
            top = h;
    return top;
}

static void put_edges(struct walk *w, const size_t *index)
{
    struct vb_selection *o = w->out;

    for (size_t k = 0; k < w->g.n_deps; k++) {
        const struct vb_dep *d = &w->g.deps[k];
        if (d->state != VB_DEP_MET || !w->m[d->from].in || !w->m[d->to].in)
            continue;
        VB_GROW(o->edges, o->n_edges, o->cap_edges);
        o->edges[o->n_edges++] = (struct vb_sel_edge){index[carrier(w, d->from)], index[carrier(w, d->to)],
                                                      node(w, d->from)->host != node(w, d->to)->host};
    }
    vb_sel_edges_tidy(o->edges, &o->n_edges);
}

static void finish(struct walk *w)
{
    struct vb_selection *o = w->out;
    VB_AUTO_FREE size_t *index = vb_alloc_n(w->g.n + 1, sizeof *index);

    for (size_t i = 0; i < w->g.n; i++) {
        index[i] = SIZE_MAX;
        if (w->m[i].in)
            index[i] = o->n++;
    }
    o->components = vb_alloc_n(o->n + 1, sizeof *o->components);
    o->cap = o->n + 1;
    for (size_t i = 0; i < w->g.n; i++) {
        if (!w->m[i].in)
            continue;
        const struct vb_node *x = node(w, i);
        size_t head = carrier(w, i);
        size_t because = head != i ? head : w->m[i].because;
        o->components[index[i]] =
            (struct vb_sel_component){x->host, x->writer, x->component, head == i, w->m[head].why,
                                      because == SIZE_MAX ? SIZE_MAX : index[because]};
    }
    put_edges(w, index);
    for (size_t k = 0; k < o->n_missing; k++) {
        size_t from = o->missing[k].from;
        o->missing[k].from = w->m[from].in ? index[carrier(w, from)] : SIZE_MAX;
    }
}

static int run(struct walk *w, struct vb_error *err)
{
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

int vb_select_backup(const struct vb_sel_host *hosts, size_t n_hosts, const struct vb_select_options *opt,
                     struct vb_selection *out, struct vb_error *err)
{
    struct walk w = {.opt = opt, .out = out};

    memset(out, 0, sizeof *out);
    vb_graph_build(&w.g, hosts, n_hosts, opt->resolve, opt->resolve_arg, &out->warnings);
    w.m = vb_alloc_n(w.g.n + 1, sizeof *w.m);
    w.queue = vb_alloc_n(w.g.n + 1, sizeof *w.queue);
    w.taken = vb_alloc_n(n_hosts + 1, sizeof *w.taken);
    for (size_t h = 0; h < n_hosts; h++)
        w.taken[h] = vb_alloc_n(hosts[h].n_writers + 1, sizeof **w.taken);
    int rc = run(&w, err);
    for (size_t h = 0; h < n_hosts; h++)
        free(w.taken[h]);
    free(w.taken);
    free(w.m);
    free(w.queue);
    free(w.unmet);
    vb_graph_clear(&w.g);
    if (rc < 0)
        vb_selection_clear(out);
    return rc;
}

void vb_selection_clear(struct vb_selection *s)
{
    for (size_t i = 0; i < s->n_missing; i++)
        vb_sel_missing_clear(&s->missing[i]);
    free(s->components);
    free(s->edges);
    free(s->missing);
    vb_strv_clear(&s->warnings);
    memset(s, 0, sizeof *s);
}
