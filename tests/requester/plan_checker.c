/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/plan_checker.c - the ordering rules 5.4 and 5.5, the closure 5.1 and the merging of jobs, from the
 * book.
 */
#include "tests/requester/plan_checker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
    const struct vb_plan *p;
    struct vb_strv *faults;
    bool *before;  /* [a * n + b]: step a has ended before step b begins */
    size_t n;
};

static void fault(struct check *k, const char *rule, const char *fmt, const char *a, const char *b)
{
    char text[600];
    snprintf(text, sizeof text, "%s: ", rule);
    size_t n = strlen(text);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text + n, sizeof text - n, fmt, a, b);
#pragma GCC diagnostic pop
    vb_strv_add(k->faults, text);
}

/* Transitive waits, by repeated widening. A step before itself is a circle. */
static void order_of_steps(struct check *k)
{
    const struct vb_plan *p = k->p;
    k->n = p->n_steps;
    k->before = calloc(k->n * k->n + 1, sizeof(bool));
    for (size_t b = 0; b < k->n; b++)
        for (size_t i = 0; i < p->steps[b].n_waits; i++)
            k->before[p->steps[b].waits[i] * k->n + b] = true;
    for (size_t m = 0; m < k->n; m++)
        for (size_t a = 0; a < k->n; a++)
            for (size_t b = 0; k->before[a * k->n + m] && b < k->n; b++)
                if (k->before[m * k->n + b])
                    k->before[a * k->n + b] = true;
    for (size_t a = 0; a < k->n; a++)
        if (k->before[a * k->n + a])
            fault(k, "order", "step '%s' waits for itself%s", p->steps[a].id, "");
}

/* The host's only step of this kind; VB_NO_INDEX and a fault when there is none or more than one. */
static size_t only(struct check *k, size_t host, enum vb_verb verb)
{
    size_t found = VB_NO_INDEX, count = 0;
    for (size_t i = 0; i < k->p->n_steps; i++)
        if (k->p->steps[i].host == host && k->p->steps[i].verb == verb) {
            found = i;
            count++;
        }
    if (count != 1)
        fault(k, "D-50", count == 0 ? "host '%s' has no step '%s'" : "host '%s' has more than one step '%s'",
              host == VB_NO_INDEX ? "requester" : k->p->hosts[host].name, vb_verb_word(verb));
    return count == 1 ? found : VB_NO_INDEX;
}

static void must_precede(struct check *k, const char *rule, size_t a, size_t b)
{
    if (a != VB_NO_INDEX && b != VB_NO_INDEX && !k->before[a * k->n + b])
        fault(k, rule, "'%s' is not before '%s'", k->p->steps[a].id, k->p->steps[b].id);
}

static bool takes_part(const struct vb_plan *p, size_t host)
{
    for (size_t c = 0; c < p->n_components; c++)
        if (p->components[c].host == host && p->components[c].is_explicit)
            return true;
    return false;
}

static void check_sequence(struct check *k, const enum vb_verb *v, size_t n, const char *rule)
{
    for (size_t h = 0; h < k->p->n_hosts; h++) {
        if (!k->p->hosts[h].reached) {
            for (size_t i = 0; i < k->p->n_steps; i++)
                if (k->p->steps[i].host == h)
                    fault(k, "D-33", "host '%s' was not reached, but has step '%s'", k->p->hosts[h].name,
                          k->p->steps[i].id);
            continue;
        }
        if (!takes_part(k->p, h))
            continue;
        for (size_t i = 0; i + 1 < n; i++)
            must_precede(k, rule, only(k, h, v[i]), only(k, h, v[i + 1]));
    }
}

/* Each step concerns exactly the explicit components of its host, each once (D-50, B-55). */
static void check_step_components(struct check *k)
{
    const struct vb_plan *p = k->p;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct vb_plan_step *s = &p->steps[i];
        size_t expected = 0;
        for (size_t c = 0; c < p->n_components; c++)
            expected += p->components[c].is_explicit && (s->host == VB_NO_INDEX || p->components[c].host == s->host);
        if (s->n_components != expected)
            fault(k, "D-50", "step '%s' has the wrong components%s", s->id, "");
        for (size_t a = 0; a < s->n_components; a++) {
            if (!p->components[s->components[a]].is_explicit)
                fault(k, "A-15", "step '%s' names an implicit component%s", s->id, "");
            for (size_t b = a + 1; b < s->n_components; b++)
                if (s->components[a] == s->components[b])
                    fault(k, "D-50", "step '%s' names a component twice%s", s->id, "");
        }
        if (s->on_failure == 0)
            fault(k, "D-48", "step '%s' does not say what happens when it fails%s", s->id, "");
    }
    for (size_t a = 0; a < p->n_components; a++)
        for (size_t b = a + 1; b < p->n_components; b++) {
            const struct vb_plan_component *x = &p->components[a], *y = &p->components[b];
            if (x->host == y->host && strcmp(x->writer_id, y->writer_id) == 0 && strcmp(x->name, y->name) == 0 &&
                strcmp(x->logical_path, y->logical_path) == 0)
                fault(k, "D-50", "component '%s' of '%s' is in twice", x->name, x->writer_name);
        }
}

/* A cut edge is justified only if the orders that were kept lead back from its target to its source (D-51). */
static void check_cuts(struct check *k)
{
    const struct vb_plan *p = k->p;
    size_t n = p->n_hosts;
    bool *reach = calloc(n * n + 1, sizeof(bool));
    for (size_t i = 0; i < p->n_edges; i++) {
        size_t a = p->components[p->edges[i].from].host, b = p->components[p->edges[i].to].host;
        if (a != b && !p->edges[i].cut)
            reach[a * n + b] = true;
    }
    for (size_t m = 0; m < n; m++)
        for (size_t a = 0; a < n; a++)
            for (size_t b = 0; reach[a * n + m] && b < n; b++)
                if (reach[m * n + b])
                    reach[a * n + b] = true;
    for (size_t i = 0; i < p->n_edges; i++) {
        size_t a = p->components[p->edges[i].from].host, b = p->components[p->edges[i].to].host;
        if (p->edges[i].cut && !reach[b * n + a])
            fault(k, "D-51", "the order '%s' before '%s' was given up without a circle", p->hosts[a].name,
                  p->hosts[b].name);
    }
    free(reach);
}

static void check_backup(struct check *k)
{
    static const enum vb_verb own[] = { VB_VERB_OPEN,    VB_VERB_IDENTIFY, VB_VERB_PREPARE,  VB_VERB_SNAPSHOT,
                                        VB_VERB_CAPTURE, VB_VERB_BARRIER,  VB_VERB_COMPLETE, VB_VERB_RELEASE };
    const struct vb_plan *p = k->p;
    check_sequence(k, own, sizeof own / sizeof *own, "D-42");
    if (p->n_steps == 0)
        return;
    size_t commit = only(k, VB_NO_INDEX, VB_VERB_COMMIT);
    for (size_t i = 0; i < p->n_steps; i++) {
        if (p->steps[i].verb == VB_VERB_COMPLETE)
            must_precede(k, "catalog-after-complete", i, commit);
        if (p->steps[i].verb == VB_VERB_RELEASE)
            must_precede(k, "release-last", commit, i);
    }
    for (size_t i = 0; i < p->n_edges; i++) {
        size_t f = p->components[p->edges[i].from].host, b = p->components[p->edges[i].to].host;
        if (f == b || p->edges[i].cut || !p->hosts[f].reached || !p->hosts[b].reached)
            continue;
        must_precede(k, "D-41", only(k, f, VB_VERB_SNAPSHOT), only(k, b, VB_VERB_OPEN));
        must_precede(k, "D-43", only(k, b, VB_VERB_COMPLETE), only(k, f, VB_VERB_COMPLETE));
        size_t fc = only(k, f, VB_VERB_CAPTURE);
        for (size_t s = 0; fc != VB_NO_INDEX && s < p->n_steps; s++)
            if (p->steps[s].host == b && k->before[s * k->n + fc])
                fault(k, "D-47", "'%s' need not wait for '%s'", p->steps[fc].id, p->steps[s].id);
    }
}

static void check_restore(struct check *k)
{
    static const enum vb_verb own[] = { VB_VERB_OPEN, VB_VERB_IDENTIFY, VB_VERB_PRE_RESTORE, VB_VERB_RESTORE_FILES,
                                        VB_VERB_POST_RESTORE, VB_VERB_RELEASE };
    static const enum vb_verb private_own[] = { VB_VERB_OPEN, VB_VERB_RESTORE_FILES, VB_VERB_RELEASE };
    const struct vb_plan *p = k->p;
    if (p->target_dir) {
        check_sequence(k, private_own, sizeof private_own / sizeof *private_own, "R-57");
        for (size_t i = 0; i < p->n_steps; i++)
            if (p->steps[i].verb == VB_VERB_PRE_RESTORE || p->steps[i].verb == VB_VERB_POST_RESTORE)
                fault(k, "R-57", "step '%s' involves the writer%s", p->steps[i].id, "");
        return;
    }
    check_sequence(k, own, sizeof own / sizeof *own, "D-56");
    for (size_t i = 0; i < p->n_steps; i++)
        for (size_t j = 0; j < p->n_steps; j++)
            if (p->steps[i].verb == VB_VERB_POST_RESTORE && p->steps[j].verb == VB_VERB_RELEASE)
                must_precede(k, "R-70", i, j);
    for (size_t i = 0; i < p->n_edges; i++) {
        size_t f = p->components[p->edges[i].from].host, b = p->components[p->edges[i].to].host;
        if (f == b || p->edges[i].cut || !p->hosts[f].reached || !p->hosts[b].reached)
            continue;
        must_precede(k, "D-55", only(k, f, VB_VERB_PRE_RESTORE), only(k, b, VB_VERB_OPEN));
        must_precede(k, "D-58", only(k, b, VB_VERB_POST_RESTORE), only(k, f, VB_VERB_POST_RESTORE));
        must_precede(k, "D-62", only(k, b, VB_VERB_PRE_RESTORE), only(k, f, VB_VERB_RESTORE_FILES));
    }
}

/* ---- against the topology ---- */

static size_t find_component(const struct vb_plan *p, const char *host, const char *class_id, const char *path,
                             const char *name)
{
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_plan_component *pc = &p->components[c];
        const struct vb_plan_host *ph = &p->hosts[pc->host];
        if (strcmp(ph->stored_as ? ph->stored_as : ph->name, host) == 0 && strcmp(pc->writer_id, class_id) == 0 &&
            strcmp(pc->logical_path, path) == 0 && strcmp(pc->name, name) == 0)
            return c;
    }
    return VB_NO_INDEX;
}

/* D-4: whether a component takes part, itself or (restore plans hold explicit ones only) below a head that does. */
static size_t part_of(const struct vb_plan *p, const struct topo *t, size_t h, size_t w, size_t c)
{
    const struct topo_writer *tw = &t->hosts[h].writers[w];
    size_t found = find_component(p, t->hosts[h].name, tw->class_id, tw->components[c].path, tw->components[c].name);
    const char *path = tw->components[c].path;
    for (size_t i = 0; found == VB_NO_INDEX && i < tw->n; i++) {
        VB_AUTO_FREE char *full = tw->components[i].path[0]
                                      ? vb_printf("%s\\%s", tw->components[i].path, tw->components[i].name)
                                      : vb_strdup(tw->components[i].name);
        size_t n = strlen(full);
        if (i != c && strncmp(path, full, n) == 0 && (path[n] == '\0' || path[n] == '\\'))
            found = find_component(p, t->hosts[h].name, tw->class_id, tw->components[i].path, tw->components[i].name);
    }
    return found;
}

/* C-47: what holds for a member holds for the explicit component that brings it. */
static size_t carrier(const struct vb_plan *p, size_t c)
{
    return p->components[c].is_explicit ? c : p->components[c].because;
}

static bool has_edge(const struct vb_plan *p, size_t from, size_t to)
{
    if (from == to) /* a head that needs itself over another name of its host */
        return true;
    for (size_t i = 0; i < p->n_edges; i++)
        if (p->edges[i].from == from && p->edges[i].to == to)
            return true;
    return false;
}

static void check_dep(struct check *k, const struct topo *t, size_t from, const struct topo_dep *d)
{
    const struct vb_plan *p = k->p;
    from = carrier(p, from);
    bool can = d->host != SIZE_MAX && d->component != SIZE_MAX && !t->hosts[d->host].unreachable;
    size_t to = can ? part_of(p, t, d->host, d->writer, d->component) : VB_NO_INDEX;
    if (to == VB_NO_INDEX) {
        for (size_t i = 0; i < p->n_missing; i++)
            if (p->missing[i].from == from)
                return;
        fault(k, can ? "D-3" : "D-33", "a target of '%s' on '%s' is neither in nor reported as missing",
              p->components[from].name, p->hosts[p->components[from].host].name);
        return;
    }
    to = carrier(p, to);
    if (!has_edge(p, from, to))
        fault(k, "D-14", "the dependency of '%s' on '%s' is not in the plan", p->components[from].name,
              p->components[to].name);
}

static void check_closure(struct check *k, const struct topo *t)
{
    for (size_t h = 0; h < t->n; h++)
        for (size_t w = 0; w < t->hosts[h].n; w++)
            for (size_t c = 0; c < t->hosts[h].writers[w].n; c++) {
                const struct topo_component *tc = &t->hosts[h].writers[w].components[c];
                size_t from =
                    find_component(k->p, t->hosts[h].name, t->hosts[h].writers[w].class_id, tc->path, tc->name);
                for (size_t d = 0; from != VB_NO_INDEX && d < tc->n_deps; d++)
                    check_dep(k, t, from, &tc->deps[d]);
            }
}

/* 4.2 by the book: C-13, C-15, C-16, C-17. */
static void check_selectability(struct check *k, const struct topo *t)
{
    for (size_t h = 0; h < t->n; h++)
        for (size_t w = 0; w < t->hosts[h].n; w++) {
            const struct topo_writer *tw = &t->hosts[h].writers[w];
            bool any = false;
            for (size_t c = 0; c < tw->n; c++)
                any = any || find_component(k->p, t->hosts[h].name, tw->class_id, tw->components[c].path,
                                            tw->components[c].name) != VB_NO_INDEX;
            for (size_t c = 0; any && c < tw->n; c++) {
                const struct topo_component *tc = &tw->components[c];
                size_t me = find_component(k->p, t->hosts[h].name, tw->class_id, tc->path, tc->name);
                bool selectable_above = false, head_explicit = false;
                for (size_t i = 0; i < tw->n; i++) {
                    const struct topo_component *up = &tw->components[i];
                    VB_AUTO_FREE char *full =
                        up->path[0] ? vb_printf("%s\\%s", up->path, up->name) : vb_strdup(up->name);
                    size_t n = strlen(full);
                    if (i == c || strncmp(tc->path, full, n) != 0 || (tc->path[n] != '\0' && tc->path[n] != '\\'))
                        continue;
                    size_t a = find_component(k->p, t->hosts[h].name, tw->class_id, up->path, up->name);
                    selectable_above = selectable_above || up->selectable;
                    head_explicit =
                        head_explicit || (up->selectable && a != VB_NO_INDEX && k->p->components[a].is_explicit);
                }
                bool is_explicit = me != VB_NO_INDEX && k->p->components[me].is_explicit;
                if (!tc->selectable && !selectable_above && !is_explicit)
                    fault(k, "C-13", "'%s' of '%s' must be explicit", tc->name, tw->name);
                if (!tc->selectable && selectable_above && is_explicit)
                    fault(k, "C-15", "'%s' of '%s' may only be implicit", tc->name, tw->name);
                if (head_explicit && is_explicit)
                    fault(k, "C-16", "'%s' of '%s' is explicit below an explicit head", tc->name, tw->name);
                if (head_explicit && me == VB_NO_INDEX)
                    fault(k, "C-17", "'%s' of '%s' is missing below an explicit head", tc->name, tw->name);
                if (me != VB_NO_INDEX && !is_explicit && !head_explicit)
                    fault(k, "C-15", "'%s' of '%s' is implicit without a head", tc->name, tw->name);
            }
        }
}

void plan_check(const struct vb_plan *p, const struct topo *t, struct vb_strv *faults)
{
    struct check k = { .p = p, .faults = faults };
    order_of_steps(&k);
    check_step_components(&k);
    check_cuts(&k);
    if (p->kind == VB_JOB_RESTORE)
        check_restore(&k);
    else
        check_backup(&k);
    if (t)
        check_closure(&k, t);
    if (t && p->kind == VB_JOB_BACKUP)
        check_selectability(&k, t);
    free(k.before);
}
