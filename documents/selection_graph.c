/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/selection_graph.c - builds the graph of components and dependencies over all hosts.
 */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "documents/selection_graph.h"

/* ---- nodes ---- */

/* Order of full paths that keeps every subtree together: the separator sorts below every other byte. */
static int path_key(char c)
{
    return c == '\0' ? -1 : c == '\\' ? 0 : (unsigned char)c + 1;
}

static int compare_paths(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return path_key(*a) - path_key(*b);
}

static int compare_nodes(const void *a, const void *b, void *arg)
{
    const struct vb_node *nodes = arg;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int c = compare_paths(nodes[x].full, nodes[y].full);

    return c ? c : (x > y) - (x < y);
}

/* Nearest component above each, and the end of each subtree, by one walk over the sorted paths with a stack. */
static void relate(struct vb_graph *g, size_t first, size_t n)
{
    VB_AUTO_FREE size_t *stack = vb_alloc_n(n + 1, sizeof *stack);
    size_t depth = 0;

    for (size_t i = first; i < first + n; i++) {
        struct vb_node *x = &g->nodes[g->sorted[i]];
        x->order = i;
        while (depth && !vb_is_ancestor(g->nodes[stack[depth - 1]].full, x->c->logical_path))
            g->nodes[stack[--depth]].order_end = i;
        x->parent = depth ? stack[depth - 1] : VB_NODE_NONE;
        const struct vb_node *p = depth ? &g->nodes[x->parent] : NULL;
        x->head = !p ? VB_NODE_NONE : p->c->selectable ? x->parent : p->head;
        stack[depth++] = g->sorted[i];
    }
    while (depth)
        g->nodes[stack[--depth]].order_end = first + n;
}

static char *target_key(size_t host, const char *class_id, const char *full_path)
{
    char *key = vb_printf("%zu\n%s\n%s", host, class_id, full_path);

    for (char *p = key + strcspn(key, "\n") + 1; *p && *p != '\n'; p++) /* ids compare without case */
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return key;
}

static void add_writer(struct vb_graph *g, size_t host, size_t writer)
{
    const struct vb_writer_metadata *m = g->hosts[host].writers[writer];
    size_t first = g->n;

    for (size_t i = 0; i < m->n_components; i++) {
        VB_GROW(g->nodes, g->n, g->cap);
        struct vb_node *x = &g->nodes[g->n];
        memset(x, 0, sizeof *x);
        x->host = host;
        x->writer = writer;
        x->component = i;
        x->c = &m->components[i];
        x->full = vb_full_path(x->c->logical_path, x->c->name);
        VB_AUTO_FREE char *key = target_key(host, m->writer_id, x->full);
        vb_table_add(&g->by_target, key, g->n++);
    }
    g->writers[host][writer] = (struct vb_graph_writer){first, g->n - first};
}

/* ---- dependencies ---- */

static void resolve_one(struct vb_graph *g, struct vb_dep *d, vb_resolve_host_fn *resolve, void *arg)
{
    const struct vb_node *from = &g->nodes[d->from];
    const char *own = g->hosts[from->host].host;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_target t;

    if (vb_target_parse(d->declared, &t, &why) < 0) {
        d->state = VB_DEP_MALFORMED;
        d->text = vb_strdup(vb_error_text(&why));
        d->logical_path = vb_strdup(d->declared->target_logical_path);
        d->name = vb_strdup(d->declared->target_name);
        return;
    }
    if (t.both_prefixed) {
        VB_AUTO_FREE char *who = vb_graph_describe(g, d->from);
        vb_strv_take(g->warnings,
                     vb_printf("%s: a dependency names host '%s' both in the path and in the name", who, t.host));
    }
    const char *host = !t.host ? own : resolve ? resolve(arg, own, t.host) : t.host;
    d->host_text = VB_STEAL(t.host);
    d->logical_path = VB_STEAL(t.logical_path);
    d->name = VB_STEAL(t.name);
    vb_target_clear(&t);
    if (!host) {
        d->state = VB_DEP_NO_HOST;
        return;
    }
    d->host = vb_strdup(host);
    size_t h = vb_graph_host(g, host);
    if (h == VB_NODE_NONE) {
        d->state = VB_DEP_NOT_GATHERED;
        return;
    }
    VB_AUTO_FREE char *full = vb_full_path(d->logical_path, d->name);
    VB_AUTO_FREE char *key = target_key(h, d->declared->target_class_id, full);
    size_t at = vb_table_find(&g->by_target, key);
    if (at == VB_TABLE_NONE) {
        d->state = VB_DEP_NO_COMPONENT;
        return;
    }
    d->to = vb_table_value(&g->by_target, at);
    if (vb_table_next(&g->by_target, at) != VB_TABLE_NONE) {
        VB_AUTO_FREE char *what = vb_graph_describe(g, d->to);
        vb_strv_take(g->warnings, vb_printf("%s exists in more than one instance: the first is taken", what));
    }
}

static void add_dependencies(struct vb_graph *g, vb_resolve_host_fn *resolve, void *arg)
{
    for (size_t i = 0; i < g->n; i++) {
        struct vb_node *x = &g->nodes[i];
        x->first_dep = g->n_deps;
        x->n_deps = x->c->n_dependencies;
        for (size_t k = 0; k < x->n_deps; k++) {
            VB_GROW(g->deps, g->n_deps, g->cap_deps);
            struct vb_dep *d = &g->deps[g->n_deps++];
            memset(d, 0, sizeof *d);
            d->from = i;
            d->to = VB_NODE_NONE;
            d->declared = &x->c->dependencies[k];
            resolve_one(g, d, resolve, arg);
        }
    }
    g->rdeps = vb_alloc_n(g->n_deps + 1, sizeof *g->rdeps);
    for (size_t i = 0; i < g->n_deps; i++)
        if (g->deps[i].state == VB_DEP_MET)
            g->nodes[g->deps[i].to].n_rdeps++;
    size_t at = 0;
    for (size_t i = 0; i < g->n; i++) {
        g->nodes[i].first_rdep = at;
        at += g->nodes[i].n_rdeps;
        g->nodes[i].n_rdeps = 0;
    }
    for (size_t i = 0; i < g->n_deps; i++) {
        if (g->deps[i].state != VB_DEP_MET)
            continue;
        struct vb_node *t = &g->nodes[g->deps[i].to];
        g->rdeps[t->first_rdep + t->n_rdeps++] = i;
    }
}

void vb_graph_build(struct vb_graph *g, const struct vb_sel_host *hosts, size_t n_hosts, vb_resolve_host_fn *resolve,
                    void *resolve_arg, struct vb_strv *warnings)
{
    memset(g, 0, sizeof *g);
    g->hosts = hosts;
    g->n_hosts = n_hosts;
    g->warnings = warnings;
    g->writers = vb_alloc_n(n_hosts + 1, sizeof *g->writers);
    for (size_t h = 0; h < n_hosts; h++) {
        vb_table_add(&g->hosts_by_name, hosts[h].host, h);
        g->writers[h] = vb_alloc_n(hosts[h].n_writers + 1, sizeof **g->writers);
        for (size_t w = 0; w < hosts[h].n_writers; w++)
            add_writer(g, h, w);
    }
    g->sorted = vb_alloc_n(g->n + 1, sizeof *g->sorted);
    for (size_t i = 0; i < g->n; i++)
        g->sorted[i] = i;
    for (size_t h = 0; h < n_hosts; h++)
        for (size_t w = 0; w < hosts[h].n_writers; w++) {
            struct vb_graph_writer *x = &g->writers[h][w];
            if (x->n)
                qsort_r(g->sorted + x->first, x->n, sizeof *g->sorted, compare_nodes, g->nodes);
            relate(g, x->first, x->n);
        }
    add_dependencies(g, resolve, resolve_arg);
}

void vb_graph_clear(struct vb_graph *g)
{
    for (size_t i = 0; i < g->n; i++)
        free(g->nodes[i].full);
    for (size_t i = 0; i < g->n_deps; i++) {
        free(g->deps[i].host_text);
        free(g->deps[i].host);
        free(g->deps[i].logical_path);
        free(g->deps[i].name);
        free(g->deps[i].text);
    }
    for (size_t h = 0; h < g->n_hosts; h++)
        free(g->writers[h]);
    free(g->writers);
    free(g->nodes);
    free(g->sorted);
    free(g->deps);
    free(g->rdeps);
    vb_table_clear(&g->hosts_by_name);
    vb_table_clear(&g->by_target);
    memset(g, 0, sizeof *g);
}

/* ---- look-ups and texts ---- */

size_t vb_graph_host(const struct vb_graph *g, const char *name)
{
    size_t at = vb_table_find(&g->hosts_by_name, name);

    return at == VB_TABLE_NONE ? VB_NODE_NONE : vb_table_value(&g->hosts_by_name, at);
}

bool vb_graph_writer_named(const struct vb_writer_metadata *m, const char *writer)
{
    return !writer || strcmp(m->name, writer) == 0 || vb_guid_equal(m->writer_id, writer) ||
           (m->instance_name && strcmp(m->instance_name, writer) == 0);
}

size_t vb_graph_find(const struct vb_graph *g, size_t host, size_t writer, const char *full_path)
{
    const char *s = full_path + (full_path[0] == '\\' && full_path[1] != '\\');
    VB_AUTO_FREE char *key = target_key(host, g->hosts[host].writers[writer]->writer_id, s);

    for (size_t at = vb_table_find(&g->by_target, key); at != VB_TABLE_NONE; at = vb_table_next(&g->by_target, at))
        if (g->nodes[vb_table_value(&g->by_target, at)].writer == writer)
            return vb_table_value(&g->by_target, at);
    return VB_NODE_NONE;
}

static char *safe(const char *s)
{
    return vb_escape_terminal(s, strlen(s));
}

char *vb_graph_describe(const struct vb_graph *g, size_t node)
{
    const struct vb_node *x = &g->nodes[node];
    VB_AUTO_FREE char *full = safe(x->full);
    const struct vb_writer_metadata *m = g->hosts[x->host].writers[x->writer];
    VB_AUTO_FREE char *writer = safe(m->instance_name && *m->instance_name ? m->instance_name : m->name);

    return vb_printf("component '%s' of writer '%s' on host '%s'", full, writer, g->hosts[x->host].host);
}

char *vb_graph_unmet_text(const struct vb_graph *g, const struct vb_dep *d, bool excluded)
{
    VB_AUTO_FREE char *who = vb_graph_describe(g, d->from);
    VB_AUTO_FREE char *full = vb_full_path(d->logical_path, d->name);
    VB_AUTO_FREE char *target = safe(full);
    VB_AUTO_FREE char *text = d->host_text ? safe(d->host_text) : NULL;
    const char *on = d->host ? d->host : "";

    if (excluded)
        return vb_printf("%s needs component '%s' on host '%s', which is left out", who, target, on);
    switch (d->state) {
    case VB_DEP_MALFORMED:
        return vb_printf("%s declares a malformed dependency: %s", who, d->text);
    case VB_DEP_NO_HOST:
        return vb_printf("%s needs component '%s' on host '%s', which is not in the host table", who, target, text);
    case VB_DEP_NOT_GATHERED:
        return vb_printf("%s needs component '%s' on host '%s', whose metadata are not known", who, target, on);
    case VB_DEP_MET:
        return vb_printf("%s needs component '%s' on host '%s', which is not part of the backup", who, target, on);
    case VB_DEP_NO_COMPONENT:
        break;
    }
    return vb_printf("%s needs component '%s' of writer class %s, which host '%s' does not have", who, target,
                     d->declared->target_class_id, on);
}

struct vb_sel_missing vb_graph_missing(const struct vb_graph *g, const struct vb_dep *d, bool excluded)
{
    return (struct vb_sel_missing){.from = SIZE_MAX,
                                   .host_text = vb_strdup(d->host_text),
                                   .host = vb_strdup(d->host),
                                   .target_class_id = vb_strdup(d->declared->target_class_id),
                                   .logical_path = vb_strdup(d->logical_path),
                                   .name = vb_strdup(d->name),
                                   .host_not_gathered = d->state == VB_DEP_NOT_GATHERED,
                                   .text = vb_graph_unmet_text(g, d, excluded)};
}

void vb_sel_missing_clear(struct vb_sel_missing *m)
{
    free(m->host_text);
    free(m->host);
    free(m->target_class_id);
    free(m->logical_path);
    free(m->name);
    free(m->text);
}

int vb_graph_each(const struct vb_graph *g, const struct vb_ask *ask, vb_ask_fn *fn, void *arg, struct vb_error *err)
{
    size_t h = ask->host ? vb_graph_host(g, ask->host) : 0;
    bool writer = false, found = false;

    if (h >= g->n_hosts)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "host '%s' has no metadata here", ask->host ? ask->host : "");
    for (size_t w = 0; w < g->hosts[h].n_writers; w++) {
        if (!vb_graph_writer_named(g->hosts[h].writers[w], ask->writer))
            continue;
        writer = true;
        size_t node = ask->component ? vb_graph_find(g, h, w, ask->component) : VB_NODE_NONE;
        if (ask->component && node == VB_NODE_NONE)
            continue;
        found = true;
        if (fn(arg, h, w, node, err) < 0)
            return -1;
    }
    if (found || (!ask->writer && !ask->component))
        return 0;
    VB_AUTO_FREE char *wname = safe(ask->writer ? ask->writer : "");
    VB_AUTO_FREE char *cname = safe(ask->component ? ask->component : "");
    if (!writer)
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "host '%s' has no writer '%s'", g->hosts[h].host, wname);
    else if (ask->writer)
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "writer '%s' on host '%s' has no component '%s'", wname, g->hosts[h].host,
                cname);
    else
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "no writer on host '%s' has a component '%s'", g->hosts[h].host, cname);
    vb_hint(err, "vbackup writers lists what there is");
    return -1;
}

/* ---- edges ---- */

static int by_edge(const void *pa, const void *pb)
{
    const struct vb_sel_edge *a = pa, *b = pb;

    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to);
}

void vb_sel_edges_tidy(struct vb_sel_edge *edges, size_t *n)
{
    size_t left = 0;

    if (*n)
        qsort(edges, *n, sizeof *edges, by_edge);
    for (size_t k = 0; k < *n; k++)
        if (edges[k].from != edges[k].to && (!left || by_edge(&edges[k], &edges[left - 1]) != 0))
            edges[left++] = edges[k];
    *n = left;
}
