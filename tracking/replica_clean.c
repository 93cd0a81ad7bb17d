/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/replica_clean.c - tombstones that may go, what is forgotten with them, and recovery by full enumeration. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "tracking/replica_internal.h"

struct sweep {
    struct vb_replica *r;
    const struct vb_expiry *x;   /* NULL: all that is walked goes */
    struct vb_knowledge *forgotten;
    struct vb_strv gone;
};

static bool all_acked(const struct vb_expiry *x, const struct vb_item *i)
{
    for (size_t k = 0; k < x->n_acked; k++)
        if (!vb_knowledge_contains(x->acked[k], i->path, &i->changed))
            return false;
    return x->n_acked > 0;
}

static int sweep_one(void *arg, const struct vb_item *i)
{
    struct sweep *s = arg;
    if (s->x && s->r->elapsed_ms - i->deleted_at_ms < (int64_t)s->x->keep_ms && !all_acked(s->x, i))
        return 0;
    vb_knowledge_raise(s->forgotten, &i->changed);
    vb_strv_add(&s->gone, i->path);
    return 0;
}

/* Walks the tombstones that died before `before`, removes what sweep_one chose, raises forgotten knowledge. */
static int sweep(struct sweep *w, int64_t scope, int64_t before, struct vb_error *err)
{
    struct vb_replica *r = w->r;
    VB_AUTO_STMT *s = vb_rs_prepare(r, "SELECT " VB_RS_COLUMNS " FROM item WHERE scope = ?1 AND deleted AND deleted_at < ?2 "
                                       "ORDER BY deleted_at", err);
    if (!s)
        return -1;
    sqlite3_bind_int64(s, 1, scope);
    sqlite3_bind_int64(s, 2, before);
    w->forgotten = vb_knowledge_new();
    int result = vb_rs_walk(r, s, sweep_one, w, err);
    for (size_t i = 0; result == 0 && i < w->gone.n; i++)
        result = vb_replica_forget_item(r, scope, w->gone.v[i], err);
    if (result == 0 && w->gone.n)
        result = vb_replica_forget_to(r, scope, w->forgotten, err);
    vb_knowledge_free(w->forgotten);
    return result;
}

int vb_replica_cleanup(struct vb_replica *r, int64_t scope, uint64_t interval_ms, bool *done, struct vb_error *err)
{
    VB_AUTO_FREE char *name = vb_printf("cleaned %lld", (long long)scope);
    int64_t mark; /* time of the last successful call plus one; 0: there was none */
    *done = false;
    if (vb_rs_need(r, "clean-up", err) < 0 || vb_rs_get_meta(r, name, &mark, err) < 0)
        return -1;
    if (mark == 0 && interval_ms)
        return vb_rs_set_meta(r, name, r->elapsed_ms + 1, err);
    if (interval_ms && r->elapsed_ms - (mark - 1) < (int64_t)interval_ms)
        return 0;
    struct sweep w = { .r = r };
    int result = sweep(&w, scope, interval_ms ? mark - 1 : INT64_MAX, err);
    vb_strv_clear(&w.gone);
    if (result < 0 || vb_rs_set_meta(r, name, r->elapsed_ms + 1, err) < 0)
        return -1;
    *done = true;
    return 0;
}

int vb_replica_expire(struct vb_replica *r, int64_t scope, const struct vb_expiry *x, uint64_t *removed, bool *clock_back,
                      struct vb_error *err)
{
    *removed = 0;
    if (vb_rs_need(r, "expiry of tombstones", err) < 0)
        return -1;
    *clock_back = r->clock_back;
    if (r->clock_back)
        return 0;
    struct sweep w = { .r = r, .x = x };
    /* Without acknowledgements only the old ones need be looked at. */
    int64_t keep = x->keep_ms < (uint64_t)r->elapsed_ms ? (int64_t)x->keep_ms : r->elapsed_ms + 1;
    int result = sweep(&w, scope, x->n_acked ? INT64_MAX : r->elapsed_ms - keep + 1, err);
    *removed = w.gone.n;
    vb_strv_clear(&w.gone);
    return result;
}

/* ---- recovery ---- */

struct unsent {
    const char *to;
    const char *const *sent;
    size_t n, at;
    const struct vb_knowledge *source, *forgotten;
    vb_item_fn fn;
    void *arg;
};

static int unsent_one(void *arg, const struct vb_item *i)
{
    struct unsent *u = arg;
    if (u->to && strcmp(i->path, u->to) >= 0)
        return 1;
    while (u->at < u->n && strcmp(u->sent[u->at], i->path) < 0)
        u->at++;
    if (u->at < u->n && strcmp(u->sent[u->at], i->path) == 0)
        return 0;
    if (!vb_knowledge_contains(u->source, i->path, &i->changed) && !vb_knowledge_contains(u->forgotten, i->path, &i->changed))
        return 0; /* the source never knew it: it is kept, and travels there */
    return u->fn(u->arg, i);
}

int vb_replica_unsent(struct vb_replica *r, int64_t scope, const char *from, const char *to, const char *const *sent,
                      size_t n_sent, const struct vb_knowledge *source, const struct vb_knowledge *forgotten, vb_item_fn fn,
                      void *arg, struct vb_error *err)
{
    struct unsent u = { to, sent, n_sent, 0, source, forgotten, fn, arg };
    return vb_replica_each(r, scope, from, true, unsent_one, &u, err);
}
