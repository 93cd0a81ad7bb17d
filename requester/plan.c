/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/plan.c - makes the plan: who takes part, which host is whose back end, and the graph of steps.
 */
#include "requester/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define MINUTE 60000u

struct limit {
    enum vb_verb verb;
    uint64_t ms;
    enum vb_on_failure on_failure;
};
/* The agent has its own, finer limits per writer and event; these only catch an agent that says nothing any more.
 * Capture and files count from the last sign of progress. */
static const struct limit limits[] = {
    { VB_VERB_OPEN, 2 * MINUTE, VB_ON_FAILURE_ABORT_HOST },
    { VB_VERB_IDENTIFY, 5 * MINUTE, VB_ON_FAILURE_ABORT_HOST },
    { VB_VERB_PREPARE, 15 * MINUTE, VB_ON_FAILURE_ABORT_HOST },
    { VB_VERB_SNAPSHOT, 30 * MINUTE, VB_ON_FAILURE_ABORT_HOST },
    { VB_VERB_CAPTURE, 15 * MINUTE, VB_ON_FAILURE_MARK },
    { VB_VERB_BARRIER, 0, VB_ON_FAILURE_MARK },
    { VB_VERB_COMPLETE, 15 * MINUTE, VB_ON_FAILURE_MARK },
    { VB_VERB_COMMIT, 0, VB_ON_FAILURE_FAIL_RUN },
    { VB_VERB_RELEASE, 10 * MINUTE, VB_ON_FAILURE_WARN },
    { VB_VERB_PRE_RESTORE, 35 * MINUTE, VB_ON_FAILURE_MARK },
    { VB_VERB_RESTORE_FILES, 15 * MINUTE, VB_ON_FAILURE_MARK },
    { VB_VERB_POST_RESTORE, 60 * MINUTE, VB_ON_FAILURE_MARK },
};

static const struct { enum vb_verb verb; const char *word;
} verbs[] = {
    { VB_VERB_OPEN, "open" },           { VB_VERB_IDENTIFY, "identify" },
    { VB_VERB_PREPARE, "prepare" },     { VB_VERB_SNAPSHOT, "snapshot" },
    { VB_VERB_CAPTURE, "capture" },     { VB_VERB_BARRIER, "barrier" },
    { VB_VERB_COMPLETE, "complete" },   { VB_VERB_COMMIT, "commit" },
    { VB_VERB_RELEASE, "release" },     { VB_VERB_PRE_RESTORE, "pre-restore" },
    { VB_VERB_RESTORE_FILES, "files" }, { VB_VERB_POST_RESTORE, "post-restore" },
};

const char *vb_verb_word(enum vb_verb v)
{
    for (size_t i = 0; i < VB_COUNT(verbs); i++)
        if (verbs[i].verb == v)
            return verbs[i].word;
    return "unknown";
}

enum vb_verb vb_verb_from_word(const char *s)
{
    for (size_t i = 0; s && i < VB_COUNT(verbs); i++)
        if (strcmp(verbs[i].word, s) == 0)
            return verbs[i].verb;
    return (enum vb_verb)0;
}

const char *vb_on_failure_word(enum vb_on_failure f)
{
    switch (f) {
    case VB_ON_FAILURE_ABORT_HOST: return "abort host";
    case VB_ON_FAILURE_MARK: return "mark";
    case VB_ON_FAILURE_FAIL_RUN: return "fail run";
    case VB_ON_FAILURE_WARN: return "warn";
    }
    return "unknown";
}

void vb_plan_free(struct vb_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_hosts; i++) {
        struct vb_plan_host *h = &p->hosts[i];
        free(h->name);
        free(h->stored_as);
        free(h->job_id);
        free(h->text);
        free(h->hint);
        free(h->front_ends);
    }
    for (size_t i = 0; i < p->n_components; i++) {
        struct vb_plan_component *c = &p->components[i];
        free(c->writer_id);
        free(c->writer_name);
        free(c->instance_name);
        free(c->logical_path);
        free(c->name);
        free(c->base);
        free(c->previous_stamp);
        for (size_t k = 0; k < c->n_base_roots; k++) {
            free(c->base_roots[k].path);
            free(c->base_roots[k].filespec);
        }
        free(c->base_roots);
        vb_strv_clear(&c->subcomponents);
    }
    for (size_t i = 0; i < p->n_missing; i++) {
        struct vb_plan_missing *m = &p->missing[i];
        free(m->host_text);
        free(m->host);
        free(m->writer_id);
        free(m->logical_path);
        free(m->name);
        free(m->text);
        free(m->writer);
    }
    for (size_t i = 0; i < p->n_steps; i++) {
        free(p->steps[i].id);
        free(p->steps[i].components);
        free(p->steps[i].waits);
    }
    for (size_t i = 0; i < p->n_volumes; i++) {
        free(p->volumes[i].mount_point);
        free(p->volumes[i].fs_type);
        free(p->volumes[i].provider);
        free(p->volumes[i].remark);
    }
    free(p->volumes);
    free(p->run_id);
    free(p->backup_id);
    free(p->target_dir);
    free(p->hosts);
    free(p->components);
    free(p->edges);
    free(p->missing);
    free(p->steps);
    vb_strv_clear(&p->warnings);
    vb_strv_clear(&p->paths);
    free(p);
}

size_t vb_plan_find_step(const struct vb_plan *p, size_t host, enum vb_verb verb)
{
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].host == host && p->steps[i].verb == verb)
            return i;
    return VB_NO_INDEX;
}

size_t vb_plan_find_host(const struct vb_plan *p, const char *name)
{
    for (size_t i = 0; i < p->n_hosts; i++)
        if (strcmp(p->hosts[i].name, name) == 0)
            return i;
    return VB_NO_INDEX;
}

static void add_index(size_t **v, size_t *n, size_t *cap, size_t x)
{
    VB_GROW(*v, *n, *cap);
    (*v)[(*n)++] = x;
}

void vb_plan_add_volume(struct vb_plan *p, size_t host, const char *mount_point, const char *fs_type, const char *provider,
                        const char *remark)
{
    VB_GROW(p->volumes, p->n_volumes, p->cap_volumes);
    p->volumes[p->n_volumes++] = (struct vb_plan_volume){ host, vb_strdup(mount_point), vb_strdup(fs_type),
                                                          vb_strdup(provider), vb_strdup(remark) };
}

/* ---- who takes part ---- */

static void add_host(struct vb_plan *p, const struct vb_plan_input *in, size_t i, size_t *map)
{
    const struct vb_plan_input_host *ih = &in->hosts[i];
    VB_GROW(p->hosts, p->n_hosts, p->cap_hosts);
    struct vb_plan_host *h = &p->hosts[p->n_hosts];
    memset(h, 0, sizeof *h);
    h->name = vb_strdup(ih->name);
    h->stored_as = vb_strdup(ih->stored_as);
    h->reached = ih->reached;
    if (!ih->reached) {
        h->code = ih->error && ih->error->code != VB_OK ? ih->error->code : VB_E_CONNECT;
        h->text = vb_strdup(ih->error ? vb_error_text(ih->error) : "host was not reached");
        h->hint = ih->error ? vb_strdup(ih->error->hint) : NULL;
    }
    char id[VB_GUID_LEN + 1];
    if (in->new_id) {
        in->new_id(in->arg, id);
        h->job_id = vb_strdup(id);
    } else {
        h->job_id = vb_printf("job-%zu", p->n_hosts + 1);
    }
    map[i] = p->n_hosts++;
}

static void add_hosts(struct vb_plan *p, const struct vb_plan_input *in, const bool *used, size_t *map)
{
    for (size_t i = 0; i < in->n_hosts; i++) {
        map[i] = VB_NO_INDEX;
        if (used[i] || !in->hosts[i].reached)
            add_host(p, in, i, map);
    }
}

static struct vb_plan_component *new_component(struct vb_plan *p, size_t host)
{
    VB_GROW(p->components, p->n_components, p->cap_components);
    struct vb_plan_component *c = &p->components[p->n_components++];
    memset(c, 0, sizeof *c);
    c->host = host;
    c->because = VB_NO_INDEX;
    return c;
}

static void components_of_selection(struct vb_plan *p, const struct vb_plan_input *in, const size_t *map)
{
    const struct vb_selection *s = in->selection;
    for (size_t i = 0; i < s->n; i++) {
        const struct vb_sel_component *sc = &s->components[i];
        const struct vb_writer_metadata *m = in->hosts[sc->host].writers[sc->writer];
        const struct vb_wm_component *wc = &m->components[sc->component];
        struct vb_plan_component *c = new_component(p, map[sc->host]);
        c->writer_id = vb_strdup(m->writer_id);
        c->writer_name = vb_strdup(m->name);
        c->instance_name = vb_strdup(m->instance_name);
        c->logical_path = vb_strdup(wc->logical_path ? wc->logical_path : "");
        c->name = vb_strdup(wc->name);
        c->type = wc->type;
        c->is_explicit = sc->is_explicit;
        c->why = sc->why;
        c->because = sc->because == SIZE_MAX ? VB_NO_INDEX : sc->because;
        c->backup_type = in->backup_type;
    }
}

static void components_of_picks(struct vb_plan *p, const struct vb_plan_input *in, const size_t *map)
{
    const struct vb_restore_selection *s = in->restore;
    for (size_t i = 0; i < s->n; i++) {
        const struct vb_restore_pick *k = &s->picks[i];
        const struct vb_writer_components *w = &in->stored[k->host]->writers[k->writer];
        const struct vb_component *bc = &w->components[k->component];
        struct vb_plan_component *c = new_component(p, map[k->host]);
        c->writer_id = vb_strdup(w->writer_id);
        c->writer_name = vb_strdup(w->name ? w->name : w->writer_id);
        c->instance_name = vb_strdup(w->instance_name);
        c->logical_path = vb_strdup(bc->logical_path ? bc->logical_path : "");
        c->name = vb_strdup(bc->name);
        c->type = bc->type;
        c->is_explicit = true;
        c->why = k->why;
        c->backup_type = in->backup_type;
        for (size_t j = 0; j < k->subcomponents.n; j++)
            vb_strv_add(&c->subcomponents, k->subcomponents.v[j]);
    }
}

static void add_missing(struct vb_plan *p, const struct vb_sel_missing *m)
{
    VB_GROW(p->missing, p->n_missing, p->cap_missing);
    struct vb_plan_missing *d = &p->missing[p->n_missing++];
    memset(d, 0, sizeof *d);
    d->from = m->from == SIZE_MAX ? VB_NO_INDEX : m->from;
    d->host_text = vb_strdup(m->host_text);
    d->host = vb_strdup(m->host);
    d->writer_id = vb_strdup(m->target_class_id);
    d->logical_path = vb_strdup(m->logical_path);
    d->name = vb_strdup(m->name);
    d->text = vb_strdup(m->text);
    d->code = VB_E_DEPENDENCY_MISSING;
    if (m->host_text && !m->host) {
        d->code = VB_E_HOST_UNKNOWN;
    } else if (m->host) {
        size_t h = vb_plan_find_host(p, m->host);
        if (h != VB_NO_INDEX && !p->hosts[h].reached) {
            d->code = p->hosts[h].code;
            VB_AUTO_FREE char *full = vb_full_path(m->logical_path ? m->logical_path : "", m->name ? m->name : "");
            free(d->text);
            d->text = vb_printf("needs '%s' on host '%s', which was not reached: %s", full, m->host, p->hosts[h].text);
        }
    }
}

/* ---- which host is whose back end ---- */

struct graph {
    size_t n;
    bool *edge; /* [from * n + to] */
    bool *cut;
    int *colour; /* 0 new, 1 on the path, 2 done */
};

/* Depth first in host order: an edge back to a host that is on the path closes a circle and is cut (D-51). */
static void visit(struct graph *g, size_t u)
{
    g->colour[u] = 1;
    for (size_t v = 0; v < g->n; v++) {
        if (!g->edge[u * g->n + v])
            continue;
        if (g->colour[v] == 1)
            g->cut[u * g->n + v] = true;
        else if (g->colour[v] == 0)
            visit(g, v);
    }
    g->colour[u] = 2;
}

static void relate_hosts(struct vb_plan *p)
{
    size_t n = p->n_hosts;
    struct graph g = { n, vb_alloc_n(n * n + 1, sizeof(bool)), vb_alloc_n(n * n + 1, sizeof(bool)),
                       vb_alloc_n(n + 1, sizeof(int)) };
    for (size_t i = 0; i < p->n_edges; i++) {
        size_t a = p->components[p->edges[i].from].host, b = p->components[p->edges[i].to].host;
        if (a != b)
            g.edge[a * n + b] = true;
    }
    for (size_t h = 0; h < n; h++)
        if (g.colour[h] == 0)
            visit(&g, h);
    for (size_t i = 0; i < p->n_edges; i++) {
        struct vb_plan_edge *e = &p->edges[i];
        size_t a = p->components[e->from].host, b = p->components[e->to].host;
        e->remote = a != b;
        e->cut = a != b && g.cut[a * n + b];
    }
    for (size_t b = 0; b < n; b++)
        for (size_t a = 0; a < n; a++)
            if (g.edge[a * n + b] && !g.cut[a * n + b])
                add_index(&p->hosts[b].front_ends, &p->hosts[b].n_front_ends, &p->hosts[b].cap_front_ends, a);
    free(g.edge);
    free(g.cut);
    free(g.colour);
}

void vb_plan_add_lost_writer(struct vb_plan *p, const char *host, const char *writer, const struct vb_error *why)
{
    VB_GROW(p->missing, p->n_missing, p->cap_missing);
    struct vb_plan_missing *m = &p->missing[p->n_missing++];
    memset(m, 0, sizeof *m);
    m->from = VB_NO_INDEX;
    m->writer = vb_strdup(writer);
    m->host = vb_strdup(host);
    m->code = why->code;
    m->text = vb_printf("writer '%s' on '%s' cannot take part: %s", writer, host, vb_error_text(why));
}

const char *vb_plan_writer(const struct vb_plan_component *c)
{
    return c->instance_name && *c->instance_name ? c->instance_name : c->writer_name;
}

char *vb_plan_missing_hint(const struct vb_plan *p, const struct vb_plan_missing *m)
{
    size_t h = m->host ? vb_plan_find_host(p, m->host) : VB_NO_INDEX;
    if (m->code == VB_E_HOST_UNKNOWN)
        return vb_printf("declare the host in the configuration: a section [host %s]", m->host_text ? m->host_text : "NAME");
    if (h != VB_NO_INDEX && p->hosts[h].hint)
        return vb_strdup(p->hosts[h].hint);
    if (m->writer)
        return vb_printf("mend it, or leave it out with --ignore '%s'", m->writer);
    return vb_strdup("make the target available, or go on without it with --on-missing continue");
}

size_t *vb_plan_host_order(const struct vb_plan *p)
{
    size_t *order = vb_alloc_n(p->n_hosts + 1, sizeof *order);
    bool *done = vb_alloc_n(p->n_hosts + 1, sizeof *done);
    for (size_t k = 0; k < p->n_hosts; k++) {
        size_t pick = VB_NO_INDEX;
        for (size_t h = 0; h < p->n_hosts && pick == VB_NO_INDEX; h++) {
            bool ready = !done[h];
            for (size_t i = 0; ready && i < p->hosts[h].n_front_ends; i++)
                ready = done[p->hosts[h].front_ends[i]];
            if (ready)
                pick = h;
        }
        if (pick == VB_NO_INDEX) /* a plan read from a file with a circle: any order will do for showing it */
            for (pick = 0; done[pick];)
                pick++;
        done[pick] = true;
        order[k] = pick;
    }
    free(done);
    return order;
}

/* ---- steps ---- */

static size_t add_step(struct vb_plan *p, size_t host, enum vb_verb verb)
{
    VB_GROW(p->steps, p->n_steps, p->cap_steps);
    struct vb_plan_step *s = &p->steps[p->n_steps];
    memset(s, 0, sizeof *s);
    s->host = host;
    s->verb = verb;
    /* In a private restore all jobs run on one host: what tells them apart is where the data came from. */
    const char *who = host == VB_NO_INDEX                           ? NULL
                      : p->target_dir && p->hosts[host].stored_as ? p->hosts[host].stored_as
                                                                    : p->hosts[host].name;
    s->id = who ? vb_printf("%s/%s", who, vb_verb_word(verb)) : vb_strdup(vb_verb_word(verb));
    for (size_t i = 0; i < VB_COUNT(limits); i++)
        if (limits[i].verb == verb) {
            s->limit_ms = limits[i].ms;
            s->on_failure = limits[i].on_failure;
        }
    for (size_t c = 0; c < p->n_components; c++)
        if (p->components[c].is_explicit && (host == VB_NO_INDEX || p->components[c].host == host))
            add_index(&s->components, &s->n_components, &s->cap_components, c);
    return p->n_steps++;
}

static void wait_for(struct vb_plan *p, size_t step, size_t other)
{
    struct vb_plan_step *s = &p->steps[step];
    if (other == VB_NO_INDEX || other == step)
        return;
    for (size_t i = 0; i < s->n_waits; i++)
        if (s->waits[i] == other)
            return;
    add_index(&s->waits, &s->n_waits, &s->cap_waits, other);
}

static void chain(struct vb_plan *p, size_t host, const enum vb_verb *v, size_t n)
{
    size_t before = VB_NO_INDEX;
    for (size_t i = 0; i < n; i++) {
        size_t s = add_step(p, host, v[i]);
        wait_for(p, s, before);
        before = s;
    }
}

/* verb on every front end before `mine` here; `mine` on every back end before `back` on its front end. */
static void across(struct vb_plan *p, enum vb_verb front_first, enum vb_verb then_here, enum vb_verb back_first,
                   enum vb_verb then_front)
{
    for (size_t b = 0; b < p->n_hosts; b++)
        for (size_t i = 0; i < p->hosts[b].n_front_ends; i++) {
            size_t f = p->hosts[b].front_ends[i];
            size_t here = vb_plan_find_step(p, b, then_here), front = vb_plan_find_step(p, f, then_front);
            if (here != VB_NO_INDEX)
                wait_for(p, here, vb_plan_find_step(p, f, front_first));
            if (front != VB_NO_INDEX)
                wait_for(p, front, vb_plan_find_step(p, b, back_first));
        }
}

static void wait_for_all(struct vb_plan *p, size_t step, enum vb_verb verb)
{
    for (size_t h = 0; step != VB_NO_INDEX && h < p->n_hosts; h++)
        wait_for(p, step, vb_plan_find_step(p, h, verb));
}

static void backup_steps(struct vb_plan *p, const size_t *order)
{
    static const enum vb_verb work[] = { VB_VERB_OPEN, VB_VERB_IDENTIFY, VB_VERB_PREPARE, VB_VERB_SNAPSHOT,
                                         VB_VERB_CAPTURE, VB_VERB_BARRIER, VB_VERB_COMPLETE };
    for (size_t k = 0; k < p->n_hosts; k++)
        if (p->hosts[order[k]].reached)
            chain(p, order[k], work, VB_COUNT(work));
    across(p, VB_VERB_SNAPSHOT, VB_VERB_OPEN, VB_VERB_COMPLETE, VB_VERB_COMPLETE);
    if (p->n_steps == 0)
        return;
    size_t commit = add_step(p, VB_NO_INDEX, VB_VERB_COMMIT);
    wait_for_all(p, commit, VB_VERB_COMPLETE);
    for (size_t k = 0; k < p->n_hosts; k++)
        if (p->hosts[order[k]].reached)
            wait_for(p, add_step(p, order[k], VB_VERB_RELEASE), commit);
}

/* Marks every host behind h, over any number of steps. */
static void hosts_behind(const struct vb_plan *p, size_t h, bool *behind)
{
    for (size_t b = 0; b < p->n_hosts; b++)
        for (size_t i = 0; i < p->hosts[b].n_front_ends; i++)
            if (p->hosts[b].front_ends[i] == h && !behind[b]) {
                behind[b] = true;
                hosts_behind(p, b, behind);
            }
}

static void restore_steps(struct vb_plan *p, const size_t *order)
{
    static const enum vb_verb work[] = { VB_VERB_OPEN, VB_VERB_IDENTIFY, VB_VERB_PRE_RESTORE, VB_VERB_RESTORE_FILES,
                                         VB_VERB_POST_RESTORE };
    static const enum vb_verb private_work[] = { VB_VERB_OPEN, VB_VERB_RESTORE_FILES };
    for (size_t k = 0; k < p->n_hosts; k++) {
        if (!p->hosts[order[k]].reached)
            continue;
        if (p->target_dir)
            chain(p, order[k], private_work, VB_COUNT(private_work));
        else
            chain(p, order[k], work, VB_COUNT(work));
    }
    if (!p->target_dir) {
        across(p, VB_VERB_PRE_RESTORE, VB_VERB_OPEN, VB_VERB_POST_RESTORE, VB_VERB_POST_RESTORE);
        bool *behind = vb_alloc_n(p->n_hosts + 1, sizeof *behind);
        for (size_t h = 0; h < p->n_hosts; h++) {
            size_t files = vb_plan_find_step(p, h, VB_VERB_RESTORE_FILES);
            memset(behind, 0, p->n_hosts * sizeof *behind);
            hosts_behind(p, h, behind);
            for (size_t b = 0; files != VB_NO_INDEX && b < p->n_hosts; b++)
                if (behind[b])
                    wait_for(p, files, vb_plan_find_step(p, b, VB_VERB_PRE_RESTORE));
        }
        free(behind);
    }
    size_t n = p->n_steps;
    for (size_t k = 0; n > 0 && k < p->n_hosts; k++)
        if (p->hosts[order[k]].reached)
            wait_for_all(p, add_step(p, order[k], VB_VERB_RELEASE),
                         p->target_dir ? VB_VERB_RESTORE_FILES : VB_VERB_POST_RESTORE);
}

/* Steps in an order in which they can happen, for people who read the list from top to bottom. */
static void sort_steps(struct vb_plan *p)
{
    size_t n = p->n_steps;
    size_t *place = vb_alloc_n(n + 1, sizeof *place); /* old index -> new */
    bool *done = vb_alloc_n(n + 1, sizeof *done);
    struct vb_plan_step *sorted = vb_alloc_n(n + 1, sizeof *sorted);
    for (size_t k = 0; k < n; k++) {
        size_t pick = VB_NO_INDEX;
        for (size_t i = 0; i < n && pick == VB_NO_INDEX; i++) {
            bool ready = !done[i];
            for (size_t w = 0; ready && w < p->steps[i].n_waits; w++)
                ready = done[p->steps[i].waits[w]];
            if (ready)
                pick = i;
        }
        done[pick] = true;
        place[pick] = k;
        sorted[k] = p->steps[pick];
    }
    for (size_t k = 0; k < n; k++)
        for (size_t w = 0; w < sorted[k].n_waits; w++)
            sorted[k].waits[w] = place[sorted[k].waits[w]];
    free(p->steps);
    p->steps = sorted;
    p->cap_steps = n + 1;
    free(place);
    free(done);
}

struct vb_plan *vb_plan_make(const struct vb_plan_input *in)
{
    struct vb_plan *p = vb_alloc(sizeof *p);
    p->run_id = vb_strdup(in->run_id);
    p->kind = in->kind;
    p->backup_type = in->backup_type;
    p->backup_id = vb_strdup(in->backup_id);
    p->target_dir = vb_strdup(in->target_dir);
    p->in_place = in->in_place;
    for (size_t i = 0; in->paths && i < in->paths->n; i++)
        vb_strv_add(&p->paths, in->paths->v[i]);
    p->offline = in->offline;

    bool *used = vb_alloc_n(in->n_hosts + 1, sizeof *used);
    size_t *map = vb_alloc_n(in->n_hosts + 1, sizeof *map);
    bool restore = in->kind == VB_JOB_RESTORE;
    size_t n = restore ? in->restore->n : in->selection->n;
    for (size_t i = 0; i < n; i++)
        used[restore ? in->restore->picks[i].host : in->selection->components[i].host] = true;
    add_hosts(p, in, used, map);
    if (restore)
        components_of_picks(p, in, map);
    else
        components_of_selection(p, in, map);
    const struct vb_sel_edge *edges = restore ? in->restore->edges : in->selection->edges;
    size_t n_edges = restore ? in->restore->n_edges : in->selection->n_edges;
    for (size_t i = 0; i < n_edges; i++) {
        VB_GROW(p->edges, p->n_edges, p->cap_edges);
        p->edges[p->n_edges++] = (struct vb_plan_edge){ edges[i].from, edges[i].to, edges[i].remote, false };
    }
    const struct vb_sel_missing *missing = restore ? in->restore->missing : in->selection->missing;
    size_t n_missing = restore ? in->restore->n_missing : in->selection->n_missing;
    for (size_t i = 0; i < n_missing; i++)
        add_missing(p, &missing[i]);
    const struct vb_strv *warnings = restore ? &in->restore->warnings : &in->selection->warnings;
    for (size_t i = 0; i < warnings->n; i++)
        vb_strv_add(&p->warnings, warnings->v[i]);
    free(used);
    free(map);

    if (!p->target_dir) /* a private restore has no order between the parts */
        relate_hosts(p);
    size_t *order = vb_plan_host_order(p);
    if (restore)
        restore_steps(p, order);
    else
        backup_steps(p, order);
    free(order);
    sort_steps(p);
    return p;
}
