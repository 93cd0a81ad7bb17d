/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * documents/selection_graph.h - the components of all hosts as one graph: what lies below what, what depends on what.
 *
 * Private to the selection.  Built once, near-linear in the size of the documents; backup and restore then walk it.
 */
#ifndef VB_DOCUMENTS_SELECTION_GRAPH_H
#define VB_DOCUMENTS_SELECTION_GRAPH_H

#include "documents/selection.h"
#include "documents/table.h"

#define VB_NODE_NONE SIZE_MAX

enum vb_dep_state {
    VB_DEP_MET = 0,
    VB_DEP_MALFORMED = 1,    /* `text` says why */
    VB_DEP_NO_HOST = 2,      /* not in the host table (D-33) */
    VB_DEP_NOT_GATHERED = 3, /* known host, no documents of it */
    VB_DEP_NO_COMPONENT = 4  /* no such writer or component there (D-12) */
};

struct vb_dep {
    size_t from, to; /* nodes; to only if met */
    enum vb_dep_state state;
    const struct vb_dependency *declared;
    char *host_text, *host; /* as written, NULL: local; name in the host table */
    char *logical_path, *name;
    char *text; /* why it is malformed */
};

struct vb_node {
    size_t host, writer, component;
    const struct vb_wm_component *c;
    char *full;
    size_t parent;                 /* nearest component above, or none */
    size_t head;                   /* nearest selectable component above, or none */
    size_t order, order_end;       /* place in `sorted`; what lies below is order+1 .. order_end-1 */
    size_t first_dep, n_deps;
    size_t first_rdep, n_rdeps;    /* into rdeps */
};

struct vb_graph_writer { size_t first, n; }; /* nodes of one writer */

struct vb_graph {
    const struct vb_sel_host *hosts;
    size_t n_hosts;
    struct vb_node *nodes; size_t n, cap;
    size_t *sorted;                /* nodes, subtree after subtree, writer after writer */
    struct vb_dep *deps; size_t n_deps, cap_deps;
    size_t *rdeps;                 /* dependencies by their target */
    struct vb_graph_writer **writers; /* [host][writer] */
    struct vb_table hosts_by_name, by_target;
    struct vb_strv *warnings;      /* of the caller */
};

void vb_graph_build(struct vb_graph *g, const struct vb_sel_host *hosts, size_t n_hosts, vb_resolve_host_fn *resolve,
                    void *resolve_arg, struct vb_strv *warnings);
void vb_graph_clear(struct vb_graph *g);

/* Index of a host by its name, or VB_NODE_NONE. */
size_t vb_graph_host(const struct vb_graph *g, const char *name);
/* Does this writer answer to the name of an ask (NULL: every one does)? */
bool vb_graph_writer_named(const struct vb_writer_metadata *m, const char *writer);
/* Node of the component of this writer, or VB_NODE_NONE. */
size_t vb_graph_find(const struct vb_graph *g, size_t host, size_t writer, const char *full_path);
/* "component 'a\b' of writer 'w' on host 'h'", for messages; caller frees. */
char *vb_graph_describe(const struct vb_graph *g, size_t node);
/* One line why this dependency cannot be met; excluded: its target was left out. */
char *vb_graph_unmet_text(const struct vb_graph *g, const struct vb_dep *d, bool excluded);
/* Fills an entry of a `missing` list. */
struct vb_sel_missing vb_graph_missing(const struct vb_graph *g, const struct vb_dep *d, bool excluded);
void vb_sel_missing_clear(struct vb_sel_missing *m);

/* Sorts the edges and leaves each pair once: several members may need the same component, or one says it twice. */
void vb_sel_edges_tidy(struct vb_sel_edge *edges, size_t *n);

/* Walks the nodes that an ask names: calls fn for every writer that matches (component NULL: node is VB_NODE_NONE).
 * OBJECT_NOT_FOUND if nothing matches. */
typedef int vb_ask_fn(void *arg, size_t host, size_t writer, size_t node, struct vb_error *err);
int vb_graph_each(const struct vb_graph *g, const struct vb_ask *ask, vb_ask_fn *fn, void *arg, struct vb_error *err);

#endif
