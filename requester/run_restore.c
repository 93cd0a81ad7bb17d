/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_restore.c - loading a backup's documents and choosing from them.
 */
#include "requester/run_restore.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "documents/selection_graph.h"
#include "requester/pick.h"

#define MAX_DOCUMENT ((size_t)64 << 20)

/* "stored=actual" for this stored name, or NULL. */
static const char *mapped(const struct vb_strv *maps, const char *stored)
{
    size_t n = strlen(stored);
    for (size_t i = 0; maps && i < maps->n; i++)
        if (strncmp(maps->v[i], stored, n) == 0 && maps->v[i][n] == '=')
            return maps->v[i] + n + 1;
    return NULL;
}

void vb_restore_source_clear(struct vb_restore_source *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct vb_restore_source_host *h = &s->hosts[i];
        vb_components_free(h->stored.bcd);
        for (size_t k = 0; k < h->stored.n_writers; k++)
            vb_wm_free(h->stored.writers[k]);
        free(h->stored.writers);
        free(h->actual);
        vb_strv_clear(&h->paths);
    }
    free(s->hosts);
    vb_catalog_entry_free(s->entry);
    memset(s, 0, sizeof *s);
}

static int load_host(struct vb_restore_source *s, struct vb_restore_source_host *h, const struct vb_run_store *store,
                     struct vb_error *err)
{
    size_t cap = 0;
    for (size_t i = 0; i < s->entry->n_documents; i++) {
        const struct vb_catalog_document *d = &s->entry->documents[i];
        if (!d->host || strcmp(d->host, h->name) != 0)
            continue;
        bool bcd = strcmp(d->kind, "components") == 0, wmd = strcmp(d->kind, "writer-metadata") == 0;
        bool job = strcmp(d->kind, "job") == 0;
        if (!bcd && !wmd && !job)
            continue;
        VB_AUTO_BUF b = VB_BUF_INIT;
        if (d->size > MAX_DOCUMENT)
            return vb_fail(err, VB_E_LIMIT, "a stored document of host '%s' is larger than %zu MiB", h->name,
                           MAX_DOCUMENT >> 20);
        if (store->get_document(store->ctx, d, &b, err) < 0)
            return -1;
        VB_AUTO_FREE char *origin = vb_printf("%s of '%s' in backup '%s'", d->kind, h->name, s->entry->id);
        if (bcd) {
            vb_components_free(h->stored.bcd);
            h->stored.bcd = vb_components_read(origin, b.data ? (const void *)b.data : "", b.len, err);
            if (!h->stored.bcd)
                return -1;
        } else if (job) {
            struct vb_job *j = vb_job_read(origin, b.data ? (const void *)b.data : "", b.len, err);
            if (!j)
                return -1;
            for (size_t k = 0; k < j->paths.n; k++)
                vb_strv_add(&h->paths, j->paths.v[k]);
            vb_job_free(j);
        } else {
            struct vb_writer_metadata *m = vb_wm_read(origin, b.data ? (const void *)b.data : "", b.len, err);
            if (!m)
                return -1;
            VB_GROW(h->stored.writers, h->stored.n_writers, cap);
            h->stored.writers[h->stored.n_writers++] = m;
        }
    }
    return 0;
}

int vb_restore_source_load(struct vb_restore_source *s, const struct vb_run_store *store, const char *which,
                           const char *host, const struct vb_strv *maps, struct vb_error *err)
{
    memset(s, 0, sizeof *s);
    s->entry = store->find(store->ctx, which ? which : "latest", host, err);
    if (!s->entry)
        return -1;
    s->hosts = vb_alloc_n(s->entry->n_hosts + 1, sizeof *s->hosts);
    for (size_t i = 0; i < s->entry->n_hosts; i++) {
        struct vb_restore_source_host *h = &s->hosts[s->n];
        const char *name = s->entry->hosts[i].name, *to = mapped(maps, name);
        h->name = name;
        h->actual = vb_strdup(to ? to : name);
        h->stored.host = &s->entry->hosts[i];
        s->n++;
        if (load_host(s, h, store, err) < 0)
            return -1;
        if (!h->stored.bcd) { /* nothing of that host came into the backup */
            free(h->actual);
            for (size_t k = 0; k < h->stored.n_writers; k++)
                vb_wm_free(h->stored.writers[k]);
            free(h->stored.writers);
            vb_strv_clear(&h->paths);
            memset(h, 0, sizeof *h);
            s->n--;
        }
    }
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->hosts[i].actual, s->hosts[k].actual) == 0)
                return vb_fail(err, VB_E_USAGE, "hosts '%s' and '%s' of the backup are both mapped to '%s'",
                               s->hosts[k].name, s->hosts[i].name, s->hosts[i].actual);
    if (s->n == 0) {
        vb_fail(err, VB_E_NOT_FOUND, "backup '%s' holds no components that a writer could restore", s->entry->id);
        vb_hint(err, "name another one: `vbackup list` shows them; what was imported comes out with `vbackup export` or `mount`");
        return -1;
    }
    return 0;
}

struct back {
    const struct vb_restore_source *s;
    const struct vb_select_options *opt;
    const struct vb_strv *maps;
};

/* Dependencies name hosts as they were; the documents stand under the names of the backup. */
static const char *resolve(void *arg, const char *from, const char *text)
{
    const struct back *b = arg;
    for (size_t i = 0; i < b->s->n; i++)
        if (strcmp(b->s->hosts[i].name, text) == 0)
            return b->s->hosts[i].name;
    const char *now = b->opt->resolve ? b->opt->resolve(b->opt->resolve_arg, from, text) : NULL;
    for (size_t i = 0; now && i < b->s->n; i++)
        if (strcmp(b->s->hosts[i].name, now) == 0 || strcmp(b->s->hosts[i].actual, now) == 0)
            return b->s->hosts[i].name;
    return now;
}

int vb_restore_source_select(const struct vb_restore_source *s, const struct vb_select_options *opt,
                             const struct vb_strv *maps, struct vb_restore_selection *out, struct vb_error *err)
{
    struct back b = { s, opt, maps };
    struct vb_select_options o = *opt;
    o.resolve = resolve;
    o.resolve_arg = &b;
    struct vb_sel_host *hosts = vb_alloc_n(s->n + 1, sizeof *hosts);
    struct vb_components **stored = vb_alloc_n(s->n + 1, sizeof *stored);
    for (size_t i = 0; i < s->n; i++) {
        hosts[i].host = vb_strdup(s->hosts[i].name);
        hosts[i].writers = s->hosts[i].stored.writers;
        hosts[i].n_writers = s->hosts[i].stored.n_writers;
        stored[i] = s->hosts[i].stored.bcd;
    }
    int r = vb_select_restore(hosts, s->n, stored, &o, out, err);
    for (size_t i = 0; i < s->n; i++)
        free(hosts[i].host);
    free(hosts);
    free(stored);
    return r;
}

/* Whether the component holds any of the paths; those that it holds are marked. 0, 1, -1. */
static int holds(const struct vb_run_store *store, const struct vb_catalog_component *c, const struct vb_strv *paths,
                 bool *found, struct vb_error *err)
{
    int any = 0;
    for (size_t k = 0; k < c->n_roots; k++)
        for (size_t i = 0; i < paths->n; i++) {
            const struct vb_catalog_root *r = &c->roots[k];
            struct vb_name name;
            int rc = -1;
            if (!r->has_tree)
                continue;
            if (vb_path_below(r->path, paths->v[i])) {
                rc = 0;
            } else if (vb_path_below(paths->v[i], r->path)) {
                VB_AUTO_ERROR e = VB_ERROR_INIT;
                rc = store->pick(store->ctx, r, paths->v[i], &name, &e);
                if (rc < 0 && e.code != VB_E_NOT_FOUND)
                    return vb_error_move(err, &e);
            }
            if (rc == 0) {
                found[i] = true;
                any = 1;
            }
        }
    return any;
}

int vb_restore_source_paths(const struct vb_restore_source *s, const struct vb_run_store *store,
                            const struct vb_strv *paths, struct vb_restore_selection *picks, struct vb_error *err)
{
    VB_AUTO_FREE bool *found = vb_alloc_n(paths->n + 1, sizeof *found);
    size_t n = 0;
    if (!store->pick)
        return vb_fail(err, VB_E_USAGE, "this store cannot restore single files");
    for (size_t i = 0; i < picks->n; i++) {
        struct vb_restore_pick *p = &picks->picks[i];
        const struct vb_writer_components *w = &s->hosts[p->host].stored.bcd->writers[p->writer];
        const struct vb_component *bc = &w->components[p->component];
        const struct vb_catalog_component *c = vb_pick_find(s->hosts[p->host].stored.host, w->writer_id, w->instance_name,
                                                            bc->logical_path, bc->name);
        int rc = c ? holds(store, c, paths, found, err) : 0;
        if (rc < 0)
            return -1;
        if (rc > 0)
            picks->picks[n++] = *p;
        else
            vb_strv_clear(&p->subcomponents);
    }
    picks->n = n;
    picks->n_edges = 0; /* files are no application: nothing depends on them */
    for (size_t i = 0; i < picks->n_missing; i++)
        vb_sel_missing_clear(&picks->missing[i]);
    picks->n_missing = 0;
    for (size_t i = 0; i < paths->n; i++)
        if (!found[i]) {
            vb_fail(err, VB_E_NOT_FOUND, "'%s' is not in backup %.8s", paths->v[i], s->entry->id);
            vb_hint(err, "'vbackup ls %.8s' prints what is", s->entry->id);
            return -1;
        }
    return 0;
}
