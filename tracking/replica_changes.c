/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/replica_changes.c - enumeration: the rows whose version a destination does not know.
 *
 * Two ways to the same rows.  By version: per replica, the index gives what lies above the destination's main entry, and
 * the items with a lower entry of their own are looked up; cost follows the changes.  By order: rows are read in the
 * order in which they were saved and held against the knowledge; for a first synchronisation, where most rows travel and
 * the candidates would have to be sorted again for each batch.
 */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "tracking/replica_internal.h"

struct candidate {
    uint64_t seq;
    char *path;
};
struct candidates {
    struct candidate *v;
    size_t n, cap, limit; /* above the limit the other way is cheaper */
};

static void candidates_clear(struct candidates *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->v[i].path);
    free(c->v);
}

static int by_seq(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

struct search {
    struct vb_replica *r;
    int64_t scope;
    const struct vb_changes_query *q;
    struct candidates c;
    struct vb_error *err;
};

static bool is_wanted(const struct vb_changes_query *q, const struct vb_item *i)
{
    return i->seq > q->after_seq && !vb_knowledge_contains(q->known, i->path, &i->changed);
}

static void add_candidate(struct candidates *c, uint64_t seq, char *path)
{
    VB_GROW(c->v, c->n, c->cap);
    c->v[c->n++] = (struct candidate){ seq, path };
}

/* 0 all found, 1 too many, -1 error */
static int above_main(struct search *x)
{
    VB_AUTO_STMT *s = vb_rs_prepare(x->r, "SELECT seq, path FROM item INDEXED BY item_version WHERE scope = ?1 AND change_key = ?2 "
                                          "AND change_tick > ?3", x->err);
    if (!s)
        return -1;
    for (size_t i = 0; i < x->r->n_keys; i++) {
        uint64_t known = vb_knowledge_tick(x->q->known, &x->r->keys[i].id);
        int c;
        sqlite3_reset(s);
        sqlite3_bind_int64(s, 1, x->scope);
        sqlite3_bind_int64(s, 2, x->r->keys[i].key);
        sqlite3_bind_int64(s, 3, known > INT64_MAX ? INT64_MAX : (int64_t)known);
        while ((c = vb_rs_step(x->r, s, "looking for changes", x->err)) == 1) {
            if ((uint64_t)sqlite3_column_int64(s, 0) <= x->q->after_seq)
                continue;
            if (x->c.limit && x->c.n >= x->c.limit)
                return 1;
            add_candidate(&x->c, (uint64_t)sqlite3_column_int64(s, 0), vb_rs_text(s, 1));
        }
        if (c < 0)
            return -1;
    }
    return 0;
}

/* An item that is known less of than the rest may be due although its version is below the main entry. */
static int lower_entry(void *arg, const char *item, const struct vb_version *v)
{
    struct search *x = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_item row;
    if (!item || v->tick >= vb_knowledge_tick(x->q->known, &v->replica))
        return 0;
    if (vb_replica_find(x->r, x->scope, item, &row, &e) < 0)
        return e.code == VB_E_OBJECT_NOT_FOUND ? 0 : vb_error_move(x->err, &e);
    if (is_wanted(x->q, &row) && row.changed.tick <= vb_knowledge_tick(x->q->known, &row.changed.replica) &&
        vb_replica_id_compare(&row.changed.replica, &v->replica) == 0)
        add_candidate(&x->c, row.seq, vb_strdup(row.path));
    vb_item_clear(&row);
    return 0;
}

/* Hands out one row: false if the batch is full. */
struct batch {
    const struct vb_changes_query *q;
    vb_item_fn fn;
    void *arg;
    size_t sent;
    uint64_t next;
    bool stopped;
};

static bool hand_out(struct batch *b, const struct vb_item *i)
{
    if (b->stopped || (b->q->batch && b->sent >= b->q->batch))
        return false;
    b->next = i->seq;
    if (!b->q->filter || b->q->filter(b->q->filter_arg, i)) {
        b->sent++;
        b->stopped = b->fn(b->arg, i) != 0;
    }
    return true;
}

static int by_version(struct search *x, struct batch *b, bool *last)
{
    *last = true;
    if (x->c.n)
        qsort(x->c.v, x->c.n, sizeof *x->c.v, by_seq);
    for (size_t i = 0; i < x->c.n && *last; i++) {
        struct vb_item row;
        if (vb_replica_find(x->r, x->scope, x->c.v[i].path, &row, x->err) < 0)
            return -1;
        if (is_wanted(x->q, &row))
            *last = hand_out(b, &row);
        vb_item_clear(&row);
    }
    return 0;
}

static int by_order(struct search *x, struct batch *b, bool *last)
{
    VB_AUTO_STMT *s = vb_rs_prepare(x->r, "SELECT " VB_RS_COLUMNS " FROM item INDEXED BY item_seq WHERE scope = ?1 AND seq > ?2 "
                                          "ORDER BY seq", x->err);
    int c = s ? 1 : -1;
    if (s) {
        sqlite3_bind_int64(s, 1, x->scope);
        sqlite3_bind_int64(s, 2, (int64_t)x->q->after_seq);
    }
    *last = true;
    while (*last && c > 0 && (c = vb_rs_step(x->r, s, "looking for changes", x->err)) == 1) {
        struct vb_item row;
        if (vb_rs_item(x->r, s, &row, x->err) < 0)
            return -1;
        if (is_wanted(x->q, &row))
            *last = hand_out(b, &row);
        vb_item_clear(&row);
    }
    return c < 0 ? -1 : 0;
}

int vb_replica_changes(struct vb_replica *r, int64_t scope, const struct vb_changes_query *q, vb_item_fn fn, void *arg,
                       uint64_t *next, bool *last, struct vb_error *err)
{
    struct search x = { .r = r, .scope = scope, .q = q, .err = err };
    struct batch b = { .q = q, .fn = fn, .arg = arg, .next = q->after_seq };
    x.c.limit = q->batch ? q->batch * 4 + 1000 : 0;
    int way = above_main(&x);
    int result = way < 0 || (way == 0 && vb_knowledge_each(q->known, lower_entry, &x) != 0) ? -1
                 : way == 0 ? by_version(&x, &b, last)
                            : by_order(&x, &b, last);
    candidates_clear(&x.c);
    *next = b.next;
    if (b.stopped)
        *last = false;
    return result;
}

static int count_one(void *arg, const struct vb_item *i)
{
    uint64_t *n = arg;
    (void)i;
    ++*n;
    return 0;
}

int vb_replica_lag(struct vb_replica *r, int64_t scope, const struct vb_knowledge *known, uint64_t *count,
                   struct vb_error *err)
{
    struct vb_changes_query q = { .known = known };
    uint64_t next;
    bool last;
    *count = 0;
    return vb_replica_changes(r, scope, &q, count_one, count, &next, &last, err);
}

int vb_replica_versions(struct vb_replica *r, int64_t scope, const char *const *paths, size_t n, struct vb_version *out,
                        struct vb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        struct vb_item row;
        out[i] = (struct vb_version){ .tick = 0 };
        if (vb_replica_find(r, scope, paths[i], &row, &e) == 0) {
            out[i] = row.changed;
            vb_item_clear(&row);
        } else if (e.code != VB_E_OBJECT_NOT_FOUND) {
            return vb_error_move(err, &e);
        }
    }
    return 0;
}
