/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/test_replica_clean.c - clean-up with the seed's semantics, expiry by our own, recovery. */
#include <config.h>
#include "tests/cm.h"
#include "tests/tracking/store.h"

static bool cleanup(struct vb_replica *r, int64_t scope, int64_t interval)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    bool done = true;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_cleanup(r, scope, (uint64_t)interval, &done, &err));
    assert_ok(vb_replica_commit(r, &err));
    return done;
}

static uint64_t tombstones(struct vb_replica *r, int64_t scope)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t live, dead;
    assert_ok(vb_replica_count(r, scope, &live, &dead, &err));
    return dead;
}

static uint64_t forgotten(struct vb_replica *r, int64_t scope)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_KNOWLEDGE *f = vb_replica_forgotten(r, scope, &err);
    return vb_knowledge_tick(f, vb_replica_own(r));
}

static void two_intervals(void **state)
{
    (void)state;
    const int64_t day0 = store_now;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    store_note(r, scope, "first", '1', 1);
    store_note(r, scope, "second", '1', 1);
    store_now = day0 - 5 * DAY + 10 * DAY; /* the store's life began on day -10 */
    store_delete(r, scope, "first");       /* day -5, version 3 */
    store_now = day0 + 10 * DAY;           /* day 0 */
    assert_false(cleanup(r, scope, 20 * DAY));
    assert_int_equal(tombstones(r, scope), 1);
    store_now += 2 * DAY;
    store_delete(r, scope, "second"); /* day 2, version 4 */
    store_now += 8 * DAY;
    assert_false(cleanup(r, scope, 20 * DAY)); /* day 10 */
    assert_int_equal(tombstones(r, scope), 2);
    assert_int_equal(forgotten(r, scope), 0);
    store_now += 14 * DAY;
    assert_true(cleanup(r, scope, 20 * DAY)); /* day 24 */
    assert_int_equal(tombstones(r, scope), 1);
    assert_int_equal(forgotten(r, scope), 3);
    store_now += 20 * DAY;
    assert_true(cleanup(r, scope, 20 * DAY)); /* day 44 */
    assert_int_equal(tombstones(r, scope), 0);
    assert_int_equal(forgotten(r, scope), 4);
}

static void interval_zero(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    bool done;
    assert_int_equal(vb_replica_cleanup(r, scope, 0, &done, &err), -1);
    assert_int_equal(err.code, VB_E_BAD_STATE); /* MSS-27: a transaction is needed */
    store_note(r, scope, "f", '1', 1);
    store_delete(r, scope, "f");
    assert_true(cleanup(r, scope, 0));
    assert_int_equal(tombstones(r, scope), 0);
    assert_int_equal(forgotten(r, scope), 2);
}

static uint64_t expire(struct vb_replica *r, int64_t scope, const struct vb_expiry *x, bool *back)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t removed;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_expire(r, scope, x, &removed, back, &err));
    assert_ok(vb_replica_commit(r, &err));
    return removed;
}

static void clock_set_back(void **state)
{
    (void)state;
    struct vb_replica *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    const struct vb_expiry x = { .keep_ms = 180 * DAY };
    bool back;
    store_note(r, scope, "f", '1', 1);
    store_delete(r, scope, "f");
    store_now += 100 * DAY;
    assert_int_equal(expire(r, scope, &x, &back), 0);
    assert_false(back);
    store_now -= 50 * DAY;
    assert_int_equal(expire(r, scope, &x, &back), 0);
    assert_true(back);
    vb_replica_close(r);
    r = store_open("s.db"); /* the elapsed time is the store's, and lives on */
    store_now += 50 * DAY + 79 * DAY;
    assert_int_equal(expire(r, scope, &x, &back), 0);
    assert_int_equal(tombstones(r, scope), 1);
    store_now += 2 * DAY;
    assert_int_equal(expire(r, scope, &x, &back), 1);
    assert_false(back);
    assert_int_equal(forgotten(r, scope), 2);
    vb_replica_close(r);
}

static void all_links_acknowledged(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    store_note(r, scope, "f", '1', 1);
    VB_AUTO_KNOWLEDGE *before = vb_replica_knowledge(r, scope, "", NULL, &err);
    store_delete(r, scope, "f");
    VB_AUTO_KNOWLEDGE *after = vb_replica_knowledge(r, scope, "", NULL, &err);
    const struct vb_knowledge *one_missing[] = { after, before }, *all[] = { after, after };
    struct vb_expiry x = { 180 * DAY, one_missing, 2 };
    bool back;
    assert_int_equal(expire(r, scope, &x, &back), 0);
    x.acked = all;
    assert_int_equal(expire(r, scope, &x, &back), 1);
    VB_AUTO_KNOWLEDGE *f = vb_replica_forgotten(r, scope, &err);
    assert_false(vb_replica_stale(f, after, false)); /* no peer becomes stale by it */
    assert_true(vb_replica_stale(f, before, false));
    assert_false(vb_replica_stale(f, before, true)); /* T41: an empty one joins as usual */
}

static int join_paths(void *arg, const struct vb_item *i)
{
    vb_buf_addf(arg, "%s ", i->path);
    return 0;
}

/* The source enumerated a range: what of ours is gone there, and what it never knew. */
static void full_enumeration(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    VB_AUTO_KNOWLEDGE *source = vb_knowledge_new(), *gone = vb_knowledge_new();
    VB_AUTO_BUF list = VB_BUF_INIT;
    const struct vb_version known = { { { 1 } }, 5 }, forgot = { { { 2 } }, 6 };
    vb_knowledge_raise(source, &known);
    vb_knowledge_raise(gone, &forgot);
    const struct { const char *path; struct vb_version v; } rows[] = {
        { "a", known }, { "b", { { { 2 } }, 6 } }, { "c", { { { 1 } }, 6 } }, { "d", { { { 1 } }, 4 } }, { "e", known }, { "z", known },
    };
    assert_ok(vb_replica_begin(r, &err));
    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        struct vb_item f = store_file(rows[i].path, 'x', 1);
        f.created = f.changed = f.origin.version = rows[i].v;
        assert_ok(vb_replica_save(r, scope, &f, &err));
    }
    assert_ok(vb_replica_commit(r, &err));
    const char *const sent[] = { "a", "bb", "e" };
    assert_ok(vb_replica_unsent(r, scope, NULL, "z", sent, 3, source, gone, join_paths, &list, &err));
    assert_string_equal(vb_buf_str(&list), "b d "); /* c is ours alone; z lies in a range not finished (T42) */
    vb_buf_reset(&list);
    assert_ok(vb_replica_unsent(r, scope, "d", NULL, sent, 3, source, gone, join_paths, &list, &err));
    assert_string_equal(vb_buf_str(&list), "d z ");
}

static int tear_down(void **state)
{
    store_now = 1000 * DAY;
    return scratch_end(state);
}

#define T(text, fn) { text, fn, scratch_start, tear_down, NULL }

int main(void)
{
    const struct CMUnitTest t[] = {
        T("REPL-T35 REPL-MSS-24 REPL-MSS-26 clean-up removes what died before the last successful one", two_intervals),
        T("REPL-T36 REPL-MSS-27 interval 0 removes all tombstones at once", interval_zero),
        T("REPL-T43 REPL-DSN-24 with the clock set back nothing expires, and it is told", clock_set_back),
        T("REPL-T44 REPL-DSN-25 what all links acknowledged may go before its age", all_links_acknowledged),
        T("REPL-MSS-34 REPL-MSS-33 in a finished range goes what the source knew or has forgotten", full_enumeration),
    };
    return CM_RUN("replica_clean", t);
}
