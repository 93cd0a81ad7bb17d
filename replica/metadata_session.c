/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/metadata_session.c - vbackup/replica.h: sessions, in which one replica enumerates and another applies. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "replica/metadata.h"

#define WISHED 1000u

struct vb_metadata_session {
    struct vb_metadata *m;
    struct vb_knowledge *own, *forgotten; /* as of the beginning */
    uint64_t cursor;                      /* source: rows up to it were given out */
    struct vb_strv except;                /* destination: not to be learnt */
};

struct vb_metadata_batch {
    struct vb_item *items;
    struct vb_metadata_item *views;
    size_t n, cap, wished;
    struct vb_knowledge *knowledge, *forgotten;
    char *from, *to; /* range of a full one */
    bool last, full, filtered;
    vb_metadata_filter filter;
    void *arg;
};

struct vb_metadata_session *vb_metadata_session_begin(struct vb_metadata *m)
{
    struct vb_metadata_session *s = vb_alloc(sizeof *s);
    s->m = m;
    s->own = vb_replica_knowledge(m->store, m->scope, "", NULL, &m->last);
    s->forgotten = s->own ? vb_replica_forgotten(m->store, m->scope, &m->last) : NULL;
    if (s->forgotten)
        return s;
    vb_metadata_session_end(s);
    return NULL;
}

void vb_metadata_session_end(struct vb_metadata_session *s)
{
    if (!s)
        return;
    vb_knowledge_free(s->own);
    vb_knowledge_free(s->forgotten);
    vb_strv_clear(&s->except);
    free(s);
}

struct vb_knowledge *vb_metadata_session_parameters(struct vb_metadata_session *s, size_t *wished)
{
    if (wished)
        *wished = WISHED;
    return vb_knowledge_copy(s->own);
}

/* ---- the source ---- */

static int take_one(void *arg, const struct vb_item *i)
{
    struct vb_metadata_batch *b = arg;
    if (b->full && b->wished && b->n == b->wished) {
        b->to = vb_strdup(i->path);
        return 1;
    }
    VB_GROW(b->items, b->n, b->cap);
    vb_item_copy(&b->items[b->n++], i);
    return 0;
}

static bool ask_filter(void *arg, const struct vb_item *i)
{
    const struct vb_metadata_batch *b = arg;
    const struct vb_metadata_item v = vb_metadata_item_of(i);
    return b->filter(b->arg, &v);
}

static struct vb_metadata_batch *new_batch(const struct vb_metadata_session *s, size_t wished)
{
    struct vb_metadata_batch *b = vb_alloc(sizeof *b);
    b->wished = wished;
    b->knowledge = vb_knowledge_copy(s->own);
    b->forgotten = vb_knowledge_copy(s->forgotten);
    return b;
}

static struct vb_metadata_batch *filled(struct vb_metadata_batch *b, int result)
{
    if (result < 0) {
        vb_metadata_batch_free(b);
        return NULL;
    }
    b->views = vb_alloc_n(b->n ? b->n : 1, sizeof *b->views);
    for (size_t i = 0; i < b->n; i++)
        b->views[i] = vb_metadata_item_of(&b->items[i]);
    return b;
}

struct vb_metadata_batch *vb_metadata_filtered_changes(struct vb_metadata_session *s, const struct vb_knowledge *known, size_t wished,
                                                       vb_metadata_filter filter, void *arg)
{
    if (vb_replica_publish(s->m->store, &s->m->last) < 0)
        return NULL;
    struct vb_metadata_batch *b = new_batch(s, wished);
    b->filter = filter;
    b->arg = arg;
    b->filtered = filter != NULL;
    const struct vb_changes_query q = { .known = known, .after_seq = s->cursor, .batch = wished, .filter = filter ? ask_filter : NULL,
                                        .filter_arg = b };
    return filled(b, vb_replica_changes(s->m->store, s->m->scope, &q, take_one, b, &s->cursor, &b->last, &s->m->last));
}

struct vb_metadata_batch *vb_metadata_changes(struct vb_metadata_session *s, const struct vb_knowledge *known, size_t wished)
{
    return vb_metadata_filtered_changes(s, known, wished, NULL, NULL);
}

struct vb_metadata_batch *vb_metadata_full_changes(struct vb_metadata_session *s, const char *from, size_t wished)
{
    if (vb_replica_publish(s->m->store, &s->m->last) < 0)
        return NULL;
    struct vb_metadata_batch *b = new_batch(s, wished);
    b->full = true;
    b->from = vb_strdup(from ? from : "");
    int result = vb_replica_each(s->m->store, s->m->scope, from, true, take_one, b, &s->m->last);
    b->last = !b->to;
    return filled(b, result);
}

size_t vb_metadata_batch_count(const struct vb_metadata_batch *b)
{
    return b->n;
}

const struct vb_metadata_item *vb_metadata_batch_item(const struct vb_metadata_batch *b, size_t i)
{
    return i < b->n ? &b->views[i] : NULL;
}

bool vb_metadata_batch_last(const struct vb_metadata_batch *b)
{
    return b->last;
}

void vb_metadata_batch_range(const struct vb_metadata_batch *b, const char **from, const char **to)
{
    *from = b->from ? b->from : "";
    *to = b->to;
}

const struct vb_knowledge *vb_metadata_batch_knowledge(const struct vb_metadata_batch *b)
{
    return b->knowledge;
}

const struct vb_knowledge *vb_metadata_batch_forgotten(const struct vb_metadata_batch *b)
{
    return b->forgotten;
}

void vb_metadata_batch_free(struct vb_metadata_batch *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n; i++)
        vb_item_clear(&b->items[i]);
    free(b->items);
    free(b->views);
    vb_knowledge_free(b->knowledge);
    vb_knowledge_free(b->forgotten);
    vb_free_ptr(&b->from);
    vb_free_ptr(&b->to);
    free(b);
}

/* ---- the destination's versions ---- */

enum vb_code vb_metadata_versions(struct vb_metadata_session *s, const struct vb_metadata_batch *b, struct vb_version *out)
{
    const char **paths = vb_alloc_n(b->n ? b->n : 1, sizeof *paths);
    for (size_t i = 0; i < b->n; i++)
        paths[i] = b->items[i].path;
    int result = vb_replica_versions(s->m->store, s->m->scope, paths, b->n, out, &s->m->last);
    free(paths);
    return vb_metadata_end(s->m, result);
}

struct ranged {
    const char *to;
    vb_metadata_fn fn;
    void *arg;
};
static int in_range(void *arg, const struct vb_item *i)
{
    const struct ranged *r = arg;
    const struct vb_metadata_item v = vb_metadata_item_of(i);
    return r->to && strcmp(i->path, r->to) >= 0 ? 1 : r->fn(r->arg, &v);
}

enum vb_code vb_metadata_full_versions(struct vb_metadata_session *s, const struct vb_metadata_batch *b, vb_metadata_fn fn, void *arg)
{
    struct ranged r = { b->to, fn, arg };
    return vb_metadata_end(s->m, vb_replica_each(s->m->store, s->m->scope, b->from, true, in_range, &r, &s->m->last));
}

/* ---- one change applied ---- */

static int save_row(struct vb_metadata *m, const struct vb_item *incoming, const struct vb_item *row, bool mint, struct vb_applied *out)
{
    struct vb_item next = *row;
    next.look = 0;
    if (mint && vb_replica_mint(m->store, &next.changed, &m->last) < 0)
        return -1;
    if (vb_replica_save(m->store, m->scope, &next, &m->last) < 0)
        return -1;
    out->dropped = false;
    return vb_replica_know_item(m->store, m->scope, incoming->path, &incoming->changed, &m->last);
}

static enum vb_code call_saver(const struct vb_metadata_saver *saver, enum vb_decision what, const struct vb_item *local,
                               const struct vb_item *in)
{
    if (!saver || !saver->save || what == VB_DECIDE_CONVERGE)
        return VB_OK;
    const struct vb_metadata_item theirs = vb_metadata_item_of(in);
    struct vb_metadata_item ours = { .size = 0 };
    if (local)
        ours = vb_metadata_item_of(local);
    return saver->save(saver->arg, what, local ? &ours : NULL, &theirs);
}

static enum vb_conflict_policy policy_of(const struct vb_metadata_saver *saver, const struct vb_item *local, const struct vb_item *in)
{
    if (!saver || !saver->resolve || !local)
        return saver ? saver->policy : VB_POLICY_BOTH;
    const struct vb_metadata_item theirs = vb_metadata_item_of(in), ours = vb_metadata_item_of(local);
    return saver->resolve(saver->arg, &ours, &theirs);
}

int vb_metadata_apply(struct vb_metadata *m, const struct vb_item *in, const struct vb_knowledge *own, const struct vb_knowledge *source,
                      const struct vb_metadata_saver *saver, int policy, struct vb_applied *out)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_item local = { .path = NULL };
    if (vb_replica_find(m->store, m->scope, in->path, &local, &e) < 0 && e.code != VB_E_OBJECT_NOT_FOUND)
        return vb_error_move(&m->last, &e);
    const struct vb_item *mine = local.path ? &local : NULL;
    /* Whether there is a conflict at all is asked first: a chooser sees nothing else. */
    enum vb_decision what = vb_reconcile(mine, in, own, source, VB_POLICY_DEFER);
    if (what == VB_DECIDE_DEFER)
        what = vb_reconcile(mine, in, own, source, policy >= 0 ? (enum vb_conflict_policy)policy : policy_of(saver, mine, in));
    *out = (struct vb_applied){ .what = what, .dropped = true };
    int result = 0;
    if (what != VB_DECIDE_DROP && what != VB_DECIDE_DEFER) {
        enum vb_code c = call_saver(saver, what, mine, in);
        const struct vb_item *row = what == VB_DECIDE_CONVERGE ? vb_converged(mine, in) : what == VB_DECIDE_OURS ? mine : in;
        if (c != VB_OK) {
            out->failed = true;
            vb_fail(&m->last, c, "'%s' was not taken", in->path);
        } else {
            result = save_row(m, in, row, what == VB_DECIDE_THEIRS || what == VB_DECIDE_OURS, out);
        }
    }
    vb_item_clear(&local);
    return result;
}

/* ---- a batch ---- */

static struct vb_metadata_saver saver_of(const struct vb_metadata_saver *s)
{
    struct vb_metadata_saver x = VB_METADATA_SAVER_INIT;
    if (s)
        memcpy(&x, s, s->size < sizeof x ? s->size : sizeof x);
    return x;
}

static void add_up(struct vb_metadata_result *sum, const struct vb_metadata_result *r)
{
    if (!sum)
        return;
    struct vb_metadata_result t = VB_METADATA_RESULT_INIT;
    memcpy(&t, sum, sum->size < sizeof t ? sum->size : sizeof t);
    t.wants_full |= r->wants_full;
    t.applied += r->applied;
    t.dropped += r->dropped;
    t.converged += r->converged;
    t.conflicts += r->conflicts;
    t.deferred += r->deferred;
    t.failed += r->failed;
    t.erased += r->erased;
    t.minted += r->minted;
    memcpy(sum, &t, t.size < sizeof t ? t.size : sizeof t);
}

static void count(struct vb_metadata_result *r, const struct vb_applied *a)
{
    bool conflict = a->what == VB_DECIDE_THEIRS || a->what == VB_DECIDE_OURS;
    r->failed += a->failed;
    r->dropped += a->what == VB_DECIDE_DROP;
    r->deferred += a->what == VB_DECIDE_DEFER;
    if (a->failed)
        return;
    r->applied += a->what == VB_DECIDE_APPLY || a->what == VB_DECIDE_THEIRS;
    r->converged += a->what == VB_DECIDE_CONVERGE;
    r->conflicts += conflict;
    r->minted += conflict;
}

static bool is_empty(struct vb_metadata *m)
{
    uint64_t live = 0, dead = 0;
    return vb_replica_count(m->store, m->scope, &live, &dead, NULL) == 0 && live == 0;
}

static int apply_items(struct vb_metadata_session *s, const struct vb_metadata_batch *b, const struct vb_knowledge *own,
                       const struct vb_metadata_saver *saver, struct vb_metadata_result *r)
{
    for (size_t i = 0; i < b->n; i++) {
        struct vb_applied a;
        if (vb_metadata_apply(s->m, &b->items[i], own, b->knowledge, saver, -1, &a) < 0)
            return -1;
        count(r, &a);
        if (a.failed || a.what == VB_DECIDE_DEFER)
            vb_strv_add(&s->except, b->items[i].path);
    }
    return 0;
}

static int erase_unsent(struct vb_metadata_session *s, const struct vb_metadata_batch *b, const struct vb_metadata_saver *saver,
                        struct vb_metadata_result *r);

static int learn(struct vb_metadata_session *s, const struct vb_metadata_batch *b)
{
    struct vb_metadata *m = s->m;
    VB_AUTO_KNOWLEDGE *k = vb_replica_knowledge(m->store, m->scope, "", NULL, &m->last);
    if (!k)
        return -1;
    vb_knowledge_learn(k, b->knowledge, (const char *const *)s->except.v, s->except.n);
    if (vb_replica_set_knowledge(m->store, m->scope, "", NULL, k, &m->last) < 0)
        return -1;
    return b->full ? vb_replica_forget_to(m->store, m->scope, b->forgotten, &m->last) : 0;
}

static enum vb_code process(struct vb_metadata_session *s, const struct vb_metadata_batch *b, const struct vb_metadata_saver *given,
                            struct vb_metadata_result *sum)
{
    struct vb_metadata *m = s->m;
    const struct vb_metadata_saver saver = saver_of(given);
    struct vb_metadata_result r = VB_METADATA_RESULT_INIT;
    bool renewed = false, partial = b->filtered;
    vb_error_clear(&m->last);
    if (vb_replica_check_peer(m->store, b->knowledge, &renewed, &m->last) < 0)
        return vb_metadata_end(m, -1);
    if (renewed)
        return vb_metadata_end(m, vb_fail(&m->last, VB_E_BUSY, "this replica was an old copy of itself and took a new identity; begin a new session"));
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(m->store, m->scope, "", NULL, &m->last);
    if (!own)
        return vb_metadata_end(m, -1);
    if (!b->full && vb_replica_stale(b->forgotten, own, is_empty(m))) {
        r.wants_full = saver.recovery == VB_RECOVERY_FULL;
        partial = saver.recovery == VB_RECOVERY_PARTIAL;
        add_up(sum, &r);
        if (!partial)
            return vb_metadata_end(m, vb_fail(&m->last, VB_E_STALE, "the source has forgotten deletions that were never seen here"));
    }
    int result = vb_metadata_ticks(m) < 0 || vb_replica_begin(m->store, &m->last) < 0 ? -1 : 0;
    if (result < 0)
        return vb_metadata_end(m, result);
    if (apply_items(s, b, own, &saver, &r) < 0 || (b->full && erase_unsent(s, b, &saver, &r) < 0) ||
        (b->last && !partial && learn(s, b) < 0) || vb_replica_commit(m->store, &m->last) < 0) {
        vb_replica_rollback(m->store);
        return vb_metadata_end(m, -1);
    }
    add_up(sum, &r);
    return VB_OK;
}

enum vb_code vb_metadata_process(struct vb_metadata_session *s, const struct vb_metadata_batch *b, const struct vb_metadata_saver *saver,
                                 struct vb_metadata_result *sum)
{
    if (b->full)
        return vb_metadata_end(s->m, vb_fail(&s->m->last, VB_E_BAD_STATE, "a batch of full enumeration where changes were due"));
    return process(s, b, saver, sum);
}

/* ---- full enumeration ---- */

struct unsent {
    struct vb_item *v;
    size_t n, cap;
};
static int keep_unsent(void *arg, const struct vb_item *i)
{
    struct unsent *u = arg;
    VB_GROW(u->v, u->n, u->cap);
    vb_item_copy(&u->v[u->n++], i);
    return 0;
}

static int erase_unsent(struct vb_metadata_session *s, const struct vb_metadata_batch *b, const struct vb_metadata_saver *saver,
                        struct vb_metadata_result *r)
{
    struct vb_metadata *m = s->m;
    struct unsent u = { NULL, 0, 0 };
    const char **sent = vb_alloc_n(b->n ? b->n : 1, sizeof *sent);
    for (size_t i = 0; i < b->n; i++)
        sent[i] = b->items[i].path;
    int result = vb_replica_unsent(m->store, m->scope, b->from, b->to, sent, b->n, b->knowledge, b->forgotten, keep_unsent, &u, &m->last);
    free(sent);
    for (size_t i = 0; i < u.n; i++) {
        const struct vb_metadata_item v = vb_metadata_item_of(&u.v[i]);
        enum vb_code c = result == 0 && !v.deleted && saver->erase ? saver->erase(saver->arg, &v) : VB_OK;
        if (c != VB_OK) {
            r->failed++;
            vb_strv_add(&s->except, v.path);
        } else if (result == 0) {
            result = vb_replica_forget_item(m->store, m->scope, v.path, &m->last);
            r->erased += !v.deleted;
        }
        vb_item_clear(&u.v[i]);
    }
    free(u.v);
    return result;
}

enum vb_code vb_metadata_process_full(struct vb_metadata_session *s, const struct vb_metadata_batch *b,
                                      const struct vb_metadata_saver *saver, struct vb_metadata_result *sum)
{
    if (!b->full)
        return vb_metadata_end(s->m, vb_fail(&s->m->last, VB_E_BAD_STATE, "a batch of changes where full enumeration was due"));
    return process(s, b, saver, sum);
}
