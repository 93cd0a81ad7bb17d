/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/topology.c - building topologies, by hand or at random, and their documents.
 */
#include "tests/requester/topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define DOMAIN ".example.org"

void topo_clear(struct topo *t)
{
    for (size_t h = 0; h < t->n; h++) {
        struct topo_host *host = &t->hosts[h];
        for (size_t w = 0; w < host->n; w++) {
            for (size_t c = 0; c < host->writers[w].n; c++) {
                free(host->writers[w].components[c].path);
                free(host->writers[w].components[c].name);
                free(host->writers[w].components[c].deps);
            }
            free(host->writers[w].components);
            free(host->writers[w].name);
        }
        for (size_t i = 0; i < host->n_documents; i++)
            vb_wm_free(host->documents[i]);
        free(host->documents);
        free(host->writers);
        free(host->name);
    }
    free(t->hosts);
    memset(t, 0, sizeof *t);
}

size_t topo_host(struct topo *t, const char *name)
{
    VB_GROW(t->hosts, t->n, t->cap);
    memset(&t->hosts[t->n], 0, sizeof *t->hosts);
    t->hosts[t->n].name = vb_strdup(name);
    return t->n++;
}

static void fixed_guid(char out[37], unsigned kind, size_t host, size_t writer)
{
    snprintf(out, 37, "%08x-%04x-4000-8000-%012x", kind, (unsigned)(host & 0xffff), (unsigned)(writer + 1));
}

size_t topo_writer(struct topo *t, size_t host, const char *name)
{
    struct topo_host *h = &t->hosts[host];
    VB_GROW(h->writers, h->n, h->cap);
    struct topo_writer *w = &h->writers[h->n];
    memset(w, 0, sizeof *w);
    w->name = vb_strdup(name);
    w->level = VB_LEVEL_FRONT_END;
    fixed_guid(w->class_id, 0xc1a55, host, h->n);
    fixed_guid(w->instance_id, 0x1157, host, h->n);
    return h->n++;
}

size_t topo_component(struct topo *t, size_t host, size_t writer, const char *path, const char *name, bool selectable,
                      bool files)
{
    struct topo_writer *w = &t->hosts[host].writers[writer];
    VB_GROW(w->components, w->n, w->cap);
    struct topo_component *c = &w->components[w->n];
    memset(c, 0, sizeof *c);
    c->path = vb_strdup(path);
    c->name = vb_strdup(name);
    c->selectable = selectable;
    c->files = files;
    return w->n++;
}

void topo_dep(struct topo *t, size_t host, size_t writer, size_t component, struct topo_dep d)
{
    struct topo_component *c = &t->hosts[host].writers[writer].components[component];
    for (size_t i = 0; i < c->n_deps; i++)
        if (c->deps[i].host == d.host && c->deps[i].writer == d.writer && c->deps[i].component == d.component)
            return;
    VB_GROW(c->deps, c->n_deps, c->cap_deps);
    c->deps[c->n_deps++] = d;
}

void topo_guid(struct vb_rng *r, char out[37])
{
    uint64_t a = vb_rng_next(r), b = vb_rng_next(r);
    snprintf(out, 37, "%08x-%04x-4%03x-8%03x-%04x%08x", (unsigned)(a & 0xffffffffu), (unsigned)(a >> 32 & 0xffff),
             (unsigned)(a >> 48 & 0xfff), (unsigned)(b & 0xfff), (unsigned)(b >> 12 & 0xffff), (unsigned)(b >> 32));
}

/* ---- at random ---- */

static void random_writer(struct topo *t, struct vb_rng *r, const struct topo_shape *s, size_t h)
{
    char name[32];
    snprintf(name, sizeof name, "w%zu", t->hosts[h].n);
    size_t w = topo_writer(t, h, name);
    t->hosts[h].writers[w].level =
        (int[]){ VB_LEVEL_FRONT_END, VB_LEVEL_BACK_END, VB_LEVEL_SYSTEM }[vb_rng_below(r, 3)];
    size_t n = 1 + vb_rng_below(r, s->max_components);
    for (size_t c = 0; c < n; c++) {
        const struct topo_writer *tw = &t->hosts[h].writers[w];
        VB_AUTO_FREE char *path = NULL;
        if (c > 0 && vb_rng_chance(r, 400)) { /* below an earlier one */
            const struct topo_component *up = &tw->components[vb_rng_below(r, c)];
            path = vb_full_path(up->path, up->name);
        } else {
            path = vb_strdup(vb_rng_chance(r, 200) ? "area" : "");
        }
        snprintf(name, sizeof name, "c%zu", c);
        topo_component(t, h, w, path, name, vb_rng_chance(r, 700), vb_rng_chance(r, 800));
    }
}

static void random_dep(struct topo *t, struct vb_rng *r, const struct topo_shape *s, size_t h, size_t w, size_t c)
{
    struct topo_dep d = { .prefix_in_name = vb_rng_chance(r, 100), .alias = vb_rng_chance(r, 100) };
    if (vb_rng_chance(r, s->dangling_per_mille)) {
        bool host = vb_rng_chance(r, 500);
        d.host = host ? SIZE_MAX : vb_rng_below(r, t->n);
        d.writer = 0;
        d.component = SIZE_MAX;
        if (d.host == h) /* one's own class may not be named (D-7) */
            return;
    } else {
        d.host = vb_rng_below(r, t->n);
        d.writer = vb_rng_below(r, t->hosts[d.host].n);
        d.component = vb_rng_below(r, t->hosts[d.host].writers[d.writer].n);
        if (d.host == h && d.writer == w)
            return; /* D-7 */
    }
    topo_dep(t, h, w, c, d);
}

void topo_random(struct topo *t, struct vb_rng *r, const struct topo_shape *s)
{
    char name[32];
    size_t n = 1 + vb_rng_below(r, s->max_hosts);
    for (size_t h = 0; h < n; h++) {
        snprintf(name, sizeof name, "h%zu", h);
        topo_host(t, name);
        t->hosts[h].unreachable = h > 0 && vb_rng_chance(r, s->unreachable_per_mille);
        size_t writers = 1 + vb_rng_below(r, s->max_writers);
        for (size_t w = 0; w < writers; w++)
            random_writer(t, r, s, h);
    }
    for (size_t h = 0; h < n; h++)
        for (size_t w = 0; w < t->hosts[h].n; w++)
            for (size_t c = 0; c < t->hosts[h].writers[w].n; c++)
                for (int k = 0; k < 3; k++)
                    if (vb_rng_chance(r, s->dep_per_mille))
                        random_dep(t, r, s, h, w, c);
}

/* ---- documents ---- */

static void must(int rc, const struct vb_error *e)
{
    if (rc < 0) {
        fprintf(stderr, "topology: %s\n", vb_error_text(e));
        abort();
    }
}

static void add_dependency(const struct topo *t, struct vb_writer_metadata *m, size_t h, const struct topo_component *c,
                           const struct topo_dep *d)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    const struct topo_host *th = d->host == SIZE_MAX ? NULL : &t->hosts[d->host];
    const struct topo_component *tc =
        d->component == SIZE_MAX ? NULL : &th->writers[d->writer].components[d->component];
    const char *class_id = th ? th->writers[d->writer].class_id : "deadbeef-0000-4000-8000-000000000001";
    const char *path = tc ? tc->path : "", *name = tc ? tc->name : "nothing";
    VB_AUTO_FREE char *prefix =
        d->host == h ? vb_strdup("") : vb_printf("\\\\%s%s\\", th ? th->name : "nowhere", d->alias ? DOMAIN : "");
    VB_AUTO_FREE char *on_path = d->prefix_in_name && prefix[0] ? vb_strdup(path) : vb_printf("%s%s", prefix, path);
    VB_AUTO_FREE char *on_name = d->prefix_in_name && prefix[0] ? vb_printf("%s%s", prefix, name) : vb_strdup(name);
    must(vb_wm_add_dependency(m, c->path, c->name, class_id, on_path, on_name, &e), &e);
}

static struct vb_writer_metadata *make_document(const struct topo *t, size_t h, size_t w)
{
    const struct topo_writer *tw = &t->hosts[h].writers[w];
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_writer_metadata *m = vb_wm_new(tw->class_id, tw->instance_id, tw->name);
    m->usage = VB_USAGE_USER_DATA;
    m->source = VB_SOURCE_OTHER;
    m->level = (enum vb_level)tw->level;
    m->has_restore_method = true;
    m->method = VB_RESTORE_IF_CAN_REPLACE;
    m->writer_restore = VB_WRITER_RESTORE_ALWAYS;
    for (size_t c = 0; c < tw->n; c++) {
        const struct topo_component *tc = &tw->components[c];
        struct vb_wm_component *wc = vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, tc->path, tc->name, &e);
        must(wc ? 0 : -1, &e);
        wc->selectable = tc->selectable;
        if (!tc->files)
            continue;
        VB_AUTO_FREE char *dir = vb_printf("/data/%s/%s/%zu", t->hosts[h].name, tw->name, c);
        struct vb_fileset fs = { .path = dir, .filespec = (char *)(uintptr_t)"*", .recursive = true,
                                 .backup_type = VB_FSB_DEFAULT };
        must(vb_wm_add_fileset(m, tc->path, tc->name, &fs, &e), &e);
    }
    for (size_t c = 0; c < tw->n; c++)
        for (size_t d = 0; d < tw->components[c].n_deps; d++)
            add_dependency(t, m, h, &tw->components[c], &tw->components[c].deps[d]);
    return m;
}

void topo_documents(struct topo *t)
{
    for (size_t h = 0; h < t->n; h++) {
        struct topo_host *host = &t->hosts[h];
        host->documents = vb_alloc_n(host->n + 1, sizeof *host->documents);
        for (size_t w = 0; w < host->n; w++)
            host->documents[host->n_documents++] = make_document(t, h, w);
    }
}

struct vb_sel_host *topo_sel_hosts(const struct topo *t, size_t *n, size_t **map)
{
    struct vb_sel_host *v = vb_alloc_n(t->n + 1, sizeof *v);
    *map = vb_alloc_n(t->n + 1, sizeof **map);
    *n = 0;
    for (size_t h = 0; h < t->n; h++) {
        if (t->hosts[h].unreachable)
            continue;
        (*map)[*n] = h;
        v[(*n)++] = (struct vb_sel_host){ t->hosts[h].name, t->hosts[h].documents, t->hosts[h].n_documents };
    }
    return v;
}

const char *topo_resolve(void *topo, const char *from, const char *text)
{
    const struct topo *t = topo;
    (void)from;
    for (size_t h = 0; h < t->n; h++) {
        size_t n = strlen(t->hosts[h].name);
        if (strncmp(text, t->hosts[h].name, n) == 0 && (text[n] == '\0' || strcmp(text + n, DOMAIN) == 0))
            return t->hosts[h].name;
    }
    return NULL;
}
