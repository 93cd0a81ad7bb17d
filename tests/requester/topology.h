/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/topology.h - hosts, writers, components and dependencies as plain data: what tests build documents
 * from, and what checkers hold plans and event logs against.
 */
#ifndef VB_TESTS_TOPOLOGY_H
#define VB_TESTS_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include "base/rng.h"
#include "documents/selection.h"

struct topo_dep {
    size_t host, writer,
        component; /* the target; host SIZE_MAX: an unknown host, component SIZE_MAX: one that does not exist */
    bool prefix_in_name;            /* host prefix stands in the name field (D-24) instead of the path */
    bool alias;                     /* written as "NAME.example.org" */
};
struct topo_component {
    char *path, *name;
    bool selectable, files;
    struct topo_dep *deps; size_t n_deps, cap_deps;
};
struct topo_writer {
    char class_id[37], instance_id[37];
    char *name;
    int level;                      /* enum vb_level */
    struct topo_component *components; size_t n, cap;
};
struct topo_host {
    char *name;
    bool unreachable;
    struct topo_writer *writers; size_t n, cap;
    struct vb_writer_metadata **documents; size_t n_documents;
};
struct topo { struct topo_host *hosts; size_t n, cap; };

void topo_clear(struct topo *t);
size_t topo_host(struct topo *t, const char *name);
size_t topo_writer(struct topo *t, size_t host, const char *name);
size_t topo_component(struct topo *t, size_t host, size_t writer, const char *path, const char *name, bool selectable,
                      bool files);
void topo_dep(struct topo *t, size_t host, size_t writer, size_t component, struct topo_dep d);

struct topo_shape {
    size_t max_hosts, max_writers, max_components;
    unsigned dep_per_mille;         /* chance per component and try */
    unsigned dangling_per_mille;    /* of the dependencies */
    unsigned unreachable_per_mille; /* of the hosts but the first */
};
void topo_random(struct topo *t, struct vb_rng *r, const struct topo_shape *s);

/* Makes the writer metadata documents (kept in the hosts). Fails the test when the builder refuses. */
void topo_documents(struct topo *t);
/* Input of the selection: the hosts that are reachable. map[i]: index in the topology. Caller frees both. */
struct vb_sel_host *topo_sel_hosts(const struct topo *t, size_t *n, size_t **map);
/* vb_resolve_host_fn over a topology: names and "NAME.example.org". */
const char *topo_resolve(void *topo, const char *from, const char *text);
void topo_guid(struct vb_rng *r, char out[37]);

#endif
