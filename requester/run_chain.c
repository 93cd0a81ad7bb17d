/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_chain.c - backups that build on others: what a new one builds on, and in which order they come back.
 *
 * Incremental, differential and log backups are told apart by their writers (I-1 to I-6): a component is backed up so only if
 * its writer's schema has the bit and there is a backup that it can build on; else in full, which is said.  A restore makes
 * one complete pass for each backup of the chain, the oldest first (I-34).
 */
#include "requester/run_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "documents/selection_graph.h"
#include "requester/pick.h"

static bool builds(enum vb_backup_type t)
{
    return t == VB_BACKUP_INCREMENTAL || t == VB_BACKUP_DIFFERENTIAL || t == VB_BACKUP_LOG;
}

static uint32_t schema_bit(enum vb_backup_type t)
{
    return t == VB_BACKUP_INCREMENTAL ? VB_SCHEMA_INCREMENTAL
           : t == VB_BACKUP_DIFFERENTIAL ? VB_SCHEMA_DIFFERENTIAL
                                         : VB_SCHEMA_LOG;
}

/* ---- what a backup builds on ---- */

/* Of one component of the plan. */
struct base {
    const struct vb_writer_metadata *wm;
    struct vb_catalog_entry *entry; /* NULL: none yet */
    bool incremental, differential; /* made since the last full one */
    struct vb_plan_base_root *roots; size_t n_roots, cap_roots; /* the last of each file set in the chain */
};

struct search {
    struct vb_run *r;
    struct base *v;       /* one per component of the plan */
    struct vb_strv seen;  /* ids */
};

static void drop(struct base *b)
{
    vb_catalog_entry_free(b->entry);
    for (size_t i = 0; i < b->n_roots; i++) {
        free(b->roots[i].path);
        free(b->roots[i].filespec);
    }
    free(b->roots);
    *b = (struct base){ .wm = b->wm };
}

static struct vb_catalog_entry *copy_of(const struct vb_catalog_entry *e)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_catalog_entry *c = vb_catalog_encode(e, &b, NULL) < 0 ? NULL : vb_catalog_decode(b.data, b.len, NULL);
    return c;
}

static void take_root(struct base *b, const struct vb_catalog_root *r)
{
    struct vb_plan_base_root *to = NULL;
    const char *spec = r->filespec ? r->filespec : "";
    for (size_t i = 0; i < b->n_roots; i++)
        if (!strcmp(b->roots[i].path, r->path) && !strcmp(b->roots[i].filespec, spec) && b->roots[i].recursive == r->recursive)
            to = &b->roots[i];
    if (!to) {
        VB_GROW(b->roots, b->n_roots, b->cap_roots);
        to = &b->roots[b->n_roots++];
        *to = (struct vb_plan_base_root){ .path = vb_strdup(r->path), .filespec = vb_strdup(spec), .recursive = r->recursive };
    }
    memcpy(to->tree, r->tree.b, sizeof to->tree);
}

static const struct vb_catalog_component *in_entry(const struct search *s, size_t c, const struct vb_catalog_entry *e)
{
    const struct vb_plan_component *pc = &s->r->plan->components[c];
    for (size_t h = 0; h < e->n_hosts; h++)
        if (!strcmp(e->hosts[h].name, s->r->plan->hosts[pc->host].name))
            return vb_pick_find(&e->hosts[h], pc->writer_id, pc->instance_name, pc->logical_path, pc->name);
    return NULL;
}

/* K-21, I-17: an incremental one builds on the last full or incremental one, a differential one on the last full one, logs on
 * whatever was last. */
static void take_one(struct search *s, size_t c, const struct vb_catalog_entry *e)
{
    struct base *b = &s->v[c];
    enum vb_backup_type want = s->r->plan->backup_type;
    const struct vb_catalog_component *k = b->wm ? in_entry(s, c, e) : NULL;
    if (!k || !k->is_explicit || k->state == VB_CATALOG_FAILED)
        return;
    enum vb_backup_type t = vb_backup_type_from_word(k->backup_type ? k->backup_type : "");
    bool fits = t == VB_BACKUP_FULL;
    if (t == VB_BACKUP_INCREMENTAL)
        fits = want != VB_BACKUP_DIFFERENTIAL;
    else if (t == VB_BACKUP_DIFFERENTIAL || t == VB_BACKUP_LOG)
        fits = want == VB_BACKUP_LOG;
    if (t == VB_BACKUP_FULL)
        drop(b);
    if (fits && k->base && !vb_strv_has(&s->seen, k->base)) {
        drop(b); /* a link is missing */
        return;
    }
    b->incremental = b->incremental || t == VB_BACKUP_INCREMENTAL;
    b->differential = b->differential || t == VB_BACKUP_DIFFERENTIAL;
    if (fits) {
        vb_catalog_entry_free(b->entry);
        b->entry = copy_of(e);
        for (size_t i = 0; i < k->n_roots; i++)
            if (k->roots[i].has_tree)
                take_root(b, &k->roots[i]);
    }
}

static void on_entry(void *arg, const struct vb_catalog_entry *e)
{
    struct search *s = arg;
    for (size_t c = 0; c < s->r->plan->n_components; c++) {
        if (!e)
            drop(&s->v[c]); /* it may be the very one */
        else
            take_one(s, c, e);
    }
    if (e)
        vb_strv_add(&s->seen, e->id);
}

/* The stamp that the writer set in the base (I-16). */
static int stamp_of(struct vb_run *r, const struct vb_catalog_entry *e, struct vb_plan_component *pc, struct vb_error *err)
{
    const char *host = r->plan->hosts[pc->host].name;
    const struct vb_catalog_document *d = vb_catalog_find_document(e, "components", host, NULL);
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!d)
        return 0;
    VB_AUTO_FREE char *origin = vb_printf("components of '%s' in backup '%s'", host, e->id);
    if (r->env.store->get_document(r->env.store->ctx, d, &b, err) < 0)
        return -1;
    struct vb_components *bcd = vb_components_read(origin, b.data ? (const void *)b.data : "", b.len, err);
    if (!bcd)
        return -1;
    const struct vb_writer_components *w = vb_components_find_writer(bcd, pc->writer_id, pc->instance_name);
    const struct vb_component *c = w ? vb_components_find(w, pc->logical_path, pc->name) : NULL;
    pc->previous_stamp = vb_strdup(c ? c->backup_stamp : NULL);
    vb_components_free(bcd);
    return 0;
}

static void in_full(struct vb_run *r, struct vb_plan_component *pc, enum vb_code code, const char *why)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_FREE char *full = vb_full_path(pc->logical_path, pc->name);
    pc->backup_type = VB_BACKUP_FULL;
    vb_fail(&e, code, "component '%s' of writer '%s' is backed up in full: %s", full, vb_plan_writer(pc), why);
    vb_r_warn(r, r->plan->hosts[pc->host].name, &e);
}

static int settle(struct vb_run *r, struct vb_plan_component *pc, struct base *b, uint64_t forgotten,
                  struct vb_error *err)
{
    bool exclusive = b->wm->schema & VB_SCHEMA_EXCLUSIVE_INC_DIFF;
    if (!b->entry) {
        in_full(r, pc, VB_E_NOT_FOUND, "there is no backup that it could build on"); /* I-21 */
    } else if (b->entry->sequence < forgotten) {
        in_full(r, pc, VB_E_NOT_FOUND, "a backup made since the one that it could build on was forgotten");
    } else if (exclusive && (pc->backup_type == VB_BACKUP_INCREMENTAL ? b->differential
                             : pc->backup_type == VB_BACKUP_DIFFERENTIAL && b->incremental)) { /* I-2 */
        in_full(r, pc, VB_E_NOT_SUPPORTED, "its writer does not mix incremental and differential backups");
    } else {
        pc->base = vb_strdup(b->entry->id);
        pc->base_roots = VB_STEAL(b->roots);
        pc->n_base_roots = pc->cap_base_roots = b->n_roots;
        b->n_roots = b->cap_roots = 0;
        if ((b->wm->schema & VB_SCHEMA_TIMESTAMPED) && stamp_of(r, b->entry, pc, err) < 0) { /* I-15 */
            vb_context(err, "what the backup builds on cannot be read");
            return -1;
        }
    }
    return 0;
}

static const struct vb_writer_metadata *metadata(const struct vb_run *r, const struct vb_plan_component *pc)
{
    size_t n;
    const struct vb_gather_host *hosts = vb_gather_hosts(r->gather, &n);
    for (size_t i = 0; i < n; i++)
        for (size_t w = 0; !strcmp(hosts[i].name, r->plan->hosts[pc->host].name) && w < hosts[i].n_writers; w++) {
            const struct vb_writer_metadata *m = hosts[i].writers[w];
            if (vb_guid_equal(m->writer_id, pc->writer_id) &&
                !strcmp(m->instance_name ? m->instance_name : "", pc->instance_name ? pc->instance_name : ""))
                return m;
        }
    return NULL;
}

int vb_r_build_on(struct vb_run *r, struct vb_error *err)
{
    struct vb_plan *p = r->plan;
    const char *word = vb_backup_type_word(p->backup_type);
    struct search s = { .r = r };
    uint64_t forgotten = 0;
    size_t able = 0;
    int rc = 0;
    if (!builds(p->backup_type))
        return 0;
    s.v = vb_alloc_n(p->n_components + 1, sizeof *s.v);
    for (size_t c = 0; c < p->n_components; c++) {
        const struct vb_writer_metadata *m = p->components[c].is_explicit ? metadata(r, &p->components[c]) : NULL;
        if (m && (m->schema & schema_bit(p->backup_type))) {
            s.v[c].wm = m;
            able++;
        }
    }
    if (!able) { /* I-1, I-6 */
        rc = vb_fail(err, VB_E_USAGE, "no writer of this backup supports the type '%s'", word);
        vb_hint(err, "leave out --type: a full backup stores only what changed, too");
    } else if (!r->plan_only && !r->env.store->each) {
        rc = vb_fail(err, VB_E_NOT_SUPPORTED, "this store cannot say what a backup of type '%s' could build on", word);
    } else if (!r->plan_only) {
        rc = r->env.store->each(r->env.store->ctx, on_entry, &s, &forgotten, err);
    }
    VB_AUTO_FREE char *unable = vb_printf("the writer does not support the type '%s'", word);
    for (size_t c = 0; rc == 0 && c < p->n_components; c++) {
        if (!p->components[c].is_explicit)
            continue;
        if (!s.v[c].wm)
            in_full(r, &p->components[c], VB_E_NOT_SUPPORTED, unable); /* I-5 */
        else if (!r->plan_only)
            rc = settle(r, &p->components[c], &s.v[c], forgotten, err);
    }
    for (size_t c = 0; c < p->n_components; c++)
        drop(&s.v[c]);
    free(s.v);
    vb_strv_clear(&s.seen);
    return rc;
}

/* ---- the passes of a restore ---- */

void vb_r_passes_clear(struct vb_run *r)
{
    for (size_t i = 0; i < r->n_passes; i++) {
        free(r->passes[i].id);
        for (size_t k = 0; r->passes[i].subcomponents && k < r->passes[i].keys.n; k++)
            vb_strv_clear(&r->passes[i].subcomponents[k]);
        free(r->passes[i].subcomponents);
        vb_strv_clear(&r->passes[i].keys);
    }
    vb_free_ptr(&r->passes);
    r->n_passes = r->cap_passes = 0;
}

static char *key_of(const char *host, const struct vb_writer_components *w, const struct vb_component *c)
{
    return vb_printf("%s\n%s\n%s\n%s\n%s", host, w->writer_id, w->instance_name ? w->instance_name : "",
                     c->logical_path ? c->logical_path : "", c->name);
}

static int by_sequence(const void *a, const void *b)
{
    const struct vb_run_pass *x = a, *y = b;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static struct vb_run_pass *pass_of(struct vb_run *r, const struct vb_catalog_entry *e)
{
    for (size_t i = 0; i < r->n_passes; i++)
        if (!strcmp(r->passes[i].id, e->id))
            return &r->passes[i];
    VB_GROW(r->passes, r->n_passes, r->cap_passes);
    r->passes[r->n_passes] = (struct vb_run_pass){ .id = vb_strdup(e->id), .sequence = e->sequence };
    return &r->passes[r->n_passes++];
}

/* In a second pass what lies there is of the first; methods that ask what was there before would answer wrongly. */
static int check_method(const struct vb_restore_source_host *h, const struct vb_writer_components *w,
                        const struct vb_component *c, struct vb_error *err)
{
    for (size_t i = 0; i < h->stored.n_writers; i++) {
        const struct vb_writer_metadata *m = h->stored.writers[i];
        if (!vb_guid_equal(m->writer_id, w->writer_id) ||
            strcmp(m->instance_name ? m->instance_name : "", w->instance_name ? w->instance_name : "") != 0)
            continue;
        bool asks = m->method == VB_RESTORE_IF_NOT_THERE && m->n_alms;
        if (!m->has_restore_method ||
            (!asks && m->method != VB_RESTORE_AT_REBOOT && m->method != VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE))
            return 0;
        vb_fail(err, VB_E_NOT_SUPPORTED, "component '%s' builds on earlier backups, and its restore method '%s' allows one pass only",
                c->name, vb_restore_method_word(m->method));
        vb_hint(err, "restore the backups one after the other to another place with --target, the oldest first");
        return -1;
    }
    return 0;
}

/* The backups below one component of the chosen one. */
static int add_chain(struct vb_run *r, const struct vb_restore_pick *p, struct vb_error *err)
{
    const struct vb_run_store *s = r->env.store;
    const struct vb_restore_source_host *h = &r->source.hosts[p->host];
    const struct vb_writer_components *w = &h->stored.bcd->writers[p->writer];
    const struct vb_component *c = &w->components[p->component];
    VB_AUTO_FREE char *key = key_of(h->name, w, c);
    const struct vb_catalog_component *k =
        vb_pick_find(h->stored.host, w->writer_id, w->instance_name, c->logical_path, c->name);
    VB_AUTO_FREE char *base = vb_strdup(k ? k->base : NULL);
    uint64_t below = r->source.entry->sequence;
    vb_strv_add(&pass_of(r, r->source.entry)->keys, key);
    if (base && !r->opts.o.target_dir && check_method(h, w, c, err) < 0)
        return -1;
    while (base) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_catalog_entry *e = s->find(s->ctx, base, NULL, &why);
        if (!e || e->sequence >= below) {
            vb_catalog_entry_free(e);
            vb_fail(err, VB_E_NOT_FOUND, "component '%s' builds on backup %.8s, which is not there", c->name, base);
            vb_hint(err, "see what there is with 'vbackup list'; a full backup needs no other one");
            return -1;
        }
        below = e->sequence;
        vb_strv_add(&pass_of(r, e)->keys, key);
        vb_free_ptr(&base);
        for (size_t i = 0; i < e->n_hosts; i++) {
            k = strcmp(e->hosts[i].name, h->name) == 0
                    ? vb_pick_find(&e->hosts[i], w->writer_id, w->instance_name, c->logical_path, c->name)
                    : NULL;
            if (k)
                base = vb_strdup(k->base);
        }
        vb_catalog_entry_free(e);
    }
    return 0;
}

int vb_r_find_passes(struct vb_run *r, struct vb_error *err)
{
    for (size_t i = 0; i < r->picks.n; i++)
        if (add_chain(r, &r->picks.picks[i], err) < 0)
            return -1;
    if (r->n_passes) {
        struct vb_run_pass *own = pass_of(r, r->source.entry);
        own->subcomponents = vb_alloc_n(own->keys.n + 1, sizeof *own->subcomponents);
        for (size_t i = 0; i < r->picks.n; i++)
            for (size_t k = 0; k < r->picks.picks[i].subcomponents.n; k++)
                vb_strv_add(&own->subcomponents[i], r->picks.picks[i].subcomponents.v[k]);
    }
    if (r->n_passes > 1)
        qsort(r->passes, r->n_passes, sizeof *r->passes, by_sequence);
    return 0;
}

/* What was chosen of it in the last backup holds for those before. */
static void narrow(const struct vb_run *r, const char *key, struct vb_restore_pick *p)
{
    const struct vb_run_pass *last = &r->passes[r->n_passes - 1];
    for (size_t i = 0; i < last->keys.n; i++) {
        if (strcmp(last->keys.v[i], key) != 0)
            continue;
        vb_strv_clear(&p->subcomponents);
        for (size_t k = 0; k < last->subcomponents[i].n; k++)
            vb_strv_add(&p->subcomponents, last->subcomponents[i].v[k]);
    }
}

void vb_r_limit_picks(struct vb_run *r)
{
    struct vb_restore_selection *s = &r->picks;
    if (r->n_passes < 2)
        return;
    size_t *to = vb_alloc_n(s->n + 1, sizeof *to), n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct vb_restore_pick *p = &s->picks[i];
        const struct vb_restore_source_host *h = &r->source.hosts[p->host];
        const struct vb_writer_components *w = &h->stored.bcd->writers[p->writer];
        VB_AUTO_FREE char *key = key_of(h->name, w, &w->components[p->component]);
        bool in = vb_strv_has(&r->passes[r->pass].keys, key);
        to[i] = in ? n : SIZE_MAX;
        if (in) {
            s->picks[n] = *p;
            narrow(r, key, &s->picks[n++]);
        } else {
            vb_strv_clear(&s->picks[i].subcomponents);
        }
    }
    s->n = n;
    n = 0;
    for (size_t i = 0; i < s->n_edges; i++) {
        struct vb_sel_edge e = s->edges[i];
        if (to[e.from] == SIZE_MAX || to[e.to] == SIZE_MAX)
            continue;
        e.from = to[e.from];
        e.to = to[e.to];
        s->edges[n++] = e;
    }
    s->n_edges = n;
    n = 0;
    for (size_t i = 0; i < s->n_missing; i++) {
        struct vb_sel_missing m = s->missing[i];
        if (m.from != SIZE_MAX && to[m.from] == SIZE_MAX) {
            vb_sel_missing_clear(&m);
            continue;
        }
        m.from = m.from == SIZE_MAX ? m.from : to[m.from];
        s->missing[n++] = m;
    }
    s->n_missing = n;
    free(to);
}

void vb_r_mark_additional(struct vb_run *r)
{
    for (size_t c = 0; r->pass + 1 < r->n_passes && c < r->plan->n_components; c++)
        r->plan->components[c].additional = true; /* every chain ends with the backup that was asked for */
}

bool vb_r_next_pass(struct vb_run *r)
{
    if (r->kind != VB_JOB_RESTORE || r->pass + 1 >= r->n_passes)
        return false;
    r->pass++;
    r->opts.o.overwrite = r->opts.o.later_pass = true; /* what lies there is ours (I-37) */
    return true;
}
