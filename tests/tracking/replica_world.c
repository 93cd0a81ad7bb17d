/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/replica_world.c - passes on rows alone: enumerate, decide, save, learn. */
#include <config.h>
#include "tests/cm.h"
#include "base/mem.h"
#include "tests/tracking/replica_world.h"

#define MAX_ROWS 4096

void world_open(struct world *w, int dirfd, size_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_replica_setup setup = { .machine = "this machine" };
    const char *guid = "5d7a3b4e-0000-4000-8000-000000000001";
    *w = (struct world){ .dirfd = dirfd, .n = n };
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_FREE char *name = vb_printf("replica-%zu.db", i);
        assert_ok(vb_replica_open(dirfd, name, &setup, &w->r[i], &err));
        assert_ok(vb_replica_begin(w->r[i], &err));
        assert_ok(vb_replica_scope_add(w->r[i], "s", "/s", guid, 0, &w->scope[i], &err));
        assert_ok(vb_replica_commit(w->r[i], &err));
        assert_ok(vb_replica_reserve(w->r[i], 1000000, &err));
    }
}

void world_close(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        vb_replica_close(w->r[i]);
}

void world_edit(struct world *w, size_t at, const char *path, char content, int64_t mtime)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_item seen = { .path = path, .kind = VB_ITEM_FILE, .size = 1, .mtime_ns = mtime, .mode = 0644 };
    enum vb_change what;
    seen.content[0] = (unsigned char)content;
    assert_ok(vb_replica_begin(w->r[at], &err));
    assert_ok(vb_replica_note(w->r[at], w->scope[at], &seen, &what, &err));
    assert_ok(vb_replica_commit(w->r[at], &err));
}

void world_delete(struct world *w, size_t at, const char *path)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    enum vb_change what;
    assert_ok(vb_replica_begin(w->r[at], &err));
    assert_ok(vb_replica_note_deleted(w->r[at], w->scope[at], path, NULL, &what, &err));
    assert_ok(vb_replica_commit(w->r[at], &err));
}

struct rows {
    struct vb_item v[MAX_ROWS];
    size_t n;
};

static int keep(void *arg, const struct vb_item *i)
{
    struct rows *rows = arg;
    assert_true(rows->n < MAX_ROWS);
    vb_item_copy(&rows->v[rows->n++], i);
    return 0;
}

/* A conflict is settled under a version of its own, with the winner's content and origin (DSN-18). */
static void resolve(struct vb_replica *r, int64_t scope, const struct vb_item *winner, const struct vb_item *loser,
                    enum vb_conflict_policy policy, struct pass *p)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_item next = *winner;
    assert_ok(vb_replica_mint(r, &next.changed, &err));
    next.deleted_at_ms = 0;
    assert_ok(vb_replica_save(r, scope, &next, &err));
    p->conflicts++;
    if (policy != VB_POLICY_BOTH || loser->deleted || winner->deleted)
        return;
    VB_AUTO_FREE char *name = vb_conflict_name(loser->path, &loser->origin);
    struct vb_item copy = *loser;
    enum vb_change what;
    copy.path = name;
    copy.mtime_ns = loser->origin.mtime_ns;
    assert_ok(vb_replica_note(r, scope, &copy, &what, &err));
    p->copies += what == VB_CHANGE_CREATED;
}

static void take(struct vb_replica *r, int64_t scope, const struct vb_item *in, const struct vb_knowledge *own,
                 const struct vb_knowledge *source, enum vb_conflict_policy policy, struct vb_strv *except, struct pass *p)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_item local = { .path = NULL }, in_row = *in;
    bool had = vb_replica_find(r, scope, in->path, &local, &err) == 0;
    in_row.deleted_at_ms = 0;
    vb_error_clear(&err);
    switch (vb_reconcile(had ? &local : NULL, in, own, source, policy)) {
    case VB_DECIDE_DROP:
        break;
    case VB_DECIDE_APPLY:
        assert_ok(vb_replica_save(r, scope, &in_row, &err));
        p->applied++;
        break;
    case VB_DECIDE_CONVERGE:
        assert_ok(vb_replica_save(r, scope, vb_converged(&local, &in_row), &err));
        p->converged++;
        break;
    case VB_DECIDE_THEIRS:
        resolve(r, scope, &in_row, &local, policy, p);
        break;
    case VB_DECIDE_OURS:
        resolve(r, scope, &local, &in_row, policy, p);
        break;
    case VB_DECIDE_DEFER:
        vb_strv_add(except, in->path);
        p->deferred++;
        break;
    }
    if (had)
        vb_item_clear(&local);
}

struct pass world_pass(struct world *w, size_t from, size_t to, enum vb_conflict_policy policy)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_replica *r = w->r[to];
    struct pass p = { .sent = 0 };
    struct rows *rows = vb_alloc(sizeof *rows);
    struct vb_strv except = { 0 };
    VB_AUTO_KNOWLEDGE *source = world_knowledge(w, from);
    VB_AUTO_KNOWLEDGE *own = world_knowledge(w, to);
    struct vb_changes_query q = { .known = own };
    uint64_t next, tick = vb_replica_tick(r);
    bool last;
    assert_ok(vb_replica_changes(w->r[from], w->scope[from], &q, keep, rows, &next, &last, &err));
    p.sent = (unsigned)rows->n;
    assert_ok(vb_replica_begin(r, &err));
    for (size_t i = 0; i < rows->n; i++) {
        take(r, w->scope[to], &rows->v[i], own, source, policy, &except, &p);
        vb_item_clear(&rows->v[i]);
    }
    vb_knowledge_learn(own, source, (const char *const *)except.v, except.n);
    assert_ok(vb_replica_set_knowledge(r, w->scope[to], "", NULL, own, &err));
    assert_ok(vb_replica_commit(r, &err));
    p.minted = (unsigned)(vb_replica_tick(r) - tick);
    vb_strv_clear(&except);
    free(rows);
    return p;
}

char world_content(struct world *w, size_t at, const char *path)
{
    struct vb_item row;
    if (vb_replica_find(w->r[at], w->scope[at], path, &row, NULL) < 0)
        return 0;
    char c = row.deleted ? 0 : (char)row.content[0];
    vb_item_clear(&row);
    return c;
}

static int add_row(void *arg, const struct vb_item *i)
{
    vb_buf_addf(arg, "%s=%c ", i->path, i->content[0]);
    return 0;
}

char *world_tree(struct world *w, size_t at)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_ok(vb_replica_each(w->r[at], w->scope[at], NULL, false, add_row, &b, &err));
    return vb_buf_take_str(&b);
}

struct vb_knowledge *world_knowledge(struct world *w, size_t at)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_knowledge *k = vb_replica_knowledge(w->r[at], w->scope[at], "", NULL, &err);
    assert_non_null(k);
    return k;
}
