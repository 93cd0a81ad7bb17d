/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/test_replica_changes.c - enumeration held against a walk over all rows; knowledge kept and given back. */
#include <config.h>
#include "tests/cm.h"
#include "base/rng.h"
#include "tests/tracking/store.h"

static struct vb_version foreign(int replica, uint64_t tick)
{
    return (struct vb_version){ { { (unsigned char)replica } }, tick };
}

static void save_foreign(struct vb_replica *r, int64_t scope, const char *path, int replica, uint64_t tick)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_item f = store_file(path, 'F', 1);
    f.created = f.changed = f.origin.version = foreign(replica, tick);
    assert_ok(vb_replica_save(r, scope, &f, &err));
}

struct wanted {
    const struct vb_knowledge *known;
    struct vb_strv expect, got;
    uint64_t last_seq;
    size_t batch, in_batch;
};

static int expect_one(void *arg, const struct vb_item *i)
{
    struct wanted *w = arg;
    if (!vb_knowledge_contains(w->known, i->path, &i->changed))
        vb_strv_add(&w->expect, i->path);
    return 0;
}

static int got_one(void *arg, const struct vb_item *i)
{
    struct wanted *w = arg;
    assert_true(i->seq > w->last_seq); /* in the order of saving, never twice */
    w->last_seq = i->seq;
    w->in_batch++;
    vb_strv_add(&w->got, i->path);
    return 0;
}

/* All batches together are the rows that a walk finds. */
static void check_enumeration(struct vb_replica *r, int64_t scope, const struct vb_knowledge *known, size_t batch)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct wanted w = { .known = known, .batch = batch };
    struct vb_changes_query q = { .known = known, .batch = batch };
    bool last = false;
    assert_ok(vb_replica_each(r, scope, NULL, true, expect_one, &w, &err));
    while (!last) {
        w.in_batch = 0;
        assert_ok(vb_replica_changes(r, scope, &q, got_one, &w, &q.after_seq, &last, &err));
        assert_true(!batch || w.in_batch <= batch);
        assert_true(last || w.in_batch == batch);
    }
    uint64_t lag;
    assert_ok(vb_replica_lag(r, scope, known, &lag, &err));
    assert_int_equal(lag, w.expect.n);
    vb_strv_sort(&w.expect);
    vb_strv_sort(&w.got);
    assert_int_equal(w.got.n, w.expect.n);
    for (size_t i = 0; i < w.got.n; i++)
        assert_string_equal(w.got.v[i], w.expect.v[i]);
    vb_strv_clear(&w.expect);
    vb_strv_clear(&w.got);
}

static void enumeration(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web"), other = store_scope(r, "other");
    struct vb_rng g;
    vb_rng_seed(&g, 31);
    assert_ok(vb_replica_begin(r, &err));
    for (int n = 0; n < 3000; n++) {
        VB_AUTO_FREE char *path = vb_printf("d%llu/f%llu", (unsigned long long)vb_rng_below(&g, 20), (unsigned long long)vb_rng_below(&g, 60));
        enum vb_change what;
        struct vb_item seen = store_file(path, (char)vb_rng_below(&g, 200), n);
        switch (vb_rng_below(&g, 4)) {
        case 0:
            assert_ok(vb_replica_note(r, scope, &seen, &what, &err));
            break;
        case 1:
            assert_ok(vb_replica_note_deleted(r, scope, path, NULL, &what, &err));
            break;
        case 2:
            assert_ok(vb_replica_note(r, other, &seen, &what, &err));
            break;
        default:
            save_foreign(r, scope, path, 1 + (int)vb_rng_below(&g, 3), 1 + vb_rng_below(&g, 1000));
        }
    }
    assert_ok(vb_replica_commit(r, &err));
    for (int round = 0; round < 60; round++) {
        VB_AUTO_KNOWLEDGE *k = vb_knowledge_new();
        struct vb_version own = { *vb_replica_own(r), round % 3 ? vb_replica_tick(r) - vb_rng_below(&g, 40) : vb_rng_below(&g, 900) };
        if (round)
            vb_knowledge_raise(k, &own);
        for (int i = 1; i < 4 && round; i++) {
            struct vb_version v = foreign(i, round % 2 ? 1000 - vb_rng_below(&g, 20) : 1 + vb_rng_below(&g, 1000));
            vb_knowledge_raise(k, &v);
        }
        for (int i = 0; i < round % 7 * 5; i++) {
            VB_AUTO_FREE char *path = vb_printf("d%llu/f%llu", (unsigned long long)vb_rng_below(&g, 20), (unsigned long long)vb_rng_below(&g, 60));
            struct vb_version v = vb_rng_chance(&g, 500) ? foreign(1 + (int)vb_rng_below(&g, 3), vb_rng_below(&g, 1200))
                                                         : (struct vb_version){ *vb_replica_own(r), vb_rng_below(&g, 1000) };
            vb_knowledge_set_item(k, path, &v);
        }
        check_enumeration(r, scope, k, 0);
        check_enumeration(r, scope, k, 1 + vb_rng_below(&g, 150));
    }
}

static bool no_logs(void *arg, const struct vb_item *i)
{
    size_t n = strlen(i->path);
    (void)arg;
    return n < 4 || strcmp(i->path + n - 4, ".log") != 0;
}

static int join_paths(void *arg, const struct vb_item *i)
{
    vb_buf_addf(arg, "%s ", i->path);
    return 0;
}

static void filtered(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    VB_AUTO_KNOWLEDGE *none = vb_knowledge_new();
    VB_AUTO_BUF got = VB_BUF_INIT;
    store_note(r, scope, "a", '1', 1);
    store_note(r, scope, "b.log", '1', 1);
    store_note(r, scope, "c", '1', 1);
    struct vb_changes_query q = { .known = none, .filter = no_logs, .batch = 2 };
    bool last;
    assert_ok(vb_replica_changes(r, scope, &q, join_paths, &got, &q.after_seq, &last, &err));
    assert_string_equal(vb_buf_str(&got), "a c ");
    assert_true(last);
}

static void destination_versions(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    store_note(r, scope, "a", '1', 1);
    store_note(r, scope, "b", '1', 1);
    store_delete(r, scope, "a");
    const char *const paths[] = { "b", "nowhere", "a" };
    struct vb_version v[3];
    assert_ok(vb_replica_versions(r, scope, paths, 3, v, &err));
    assert_int_equal(v[0].tick, 2);
    assert_int_equal(v[1].tick, 0);
    assert_int_equal(v[2].tick, 3);
}

static void knowledge_is_kept(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_replica *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    VB_AUTO_KNOWLEDGE *peer = vb_knowledge_new();
    struct vb_version v7 = foreign(3, 7), v2 = foreign(3, 2), v9 = foreign(4, 9);
    vb_knowledge_raise(peer, &v7);
    vb_knowledge_set_item(peer, "failed", &v2);
    vb_knowledge_set_item(peer, "ahead", &v9);
    assert_int_equal(vb_replica_set_knowledge(r, scope, "peer", NULL, peer, &err), -1);
    assert_int_equal(err.code, VB_E_BAD_STATE);
    vb_error_clear(&err);
    store_note(r, scope, "own", '1', 1);
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_set_knowledge(r, scope, "peer", NULL, peer, &err));
    assert_ok(vb_replica_set_knowledge(r, scope, "", NULL, peer, &err));
    assert_ok(vb_replica_know_item(r, scope, "single", &v9, &err));
    assert_ok(vb_replica_commit(r, &err));
    vb_replica_close(r);
    r = store_open("s.db");
    VB_AUTO_KNOWLEDGE *back = vb_replica_knowledge(r, scope, "peer", NULL, &err);
    assert_true(vb_knowledge_equal(back, peer));
    VB_AUTO_KNOWLEDGE *under = vb_replica_knowledge(r, scope, "peer", "filter hash", &err);
    assert_true(vb_knowledge_is_empty(under));
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(r, scope, "", NULL, &err);
    assert_true(vb_knowledge_covers(own, peer));
    assert_int_equal(vb_knowledge_tick(own, vb_replica_own(r)), 1); /* MSS-4 */
    assert_true(vb_knowledge_contains(own, "single", &v9));
    assert_false(vb_knowledge_contains(own, "failed", &v7));
    vb_replica_close(r);
}

#define T(text, fn) { text, fn, scratch_start, scratch_end, NULL }

int main(void)
{
    const struct CMUnitTest t[] = {
        T("REPL-MSS-6 REPL-MSS-3 batches together are what the destination does not know", enumeration),
        T("REPL-MSS-11 a filter keeps items out of the batch", filtered),
        T("REPL-MSS-15 destination versions for a batch", destination_versions),
        T("REPL-MSS-4 REPL-MSS-8 REPL-DSN-23 knowledge is kept per holder and filter, the own one with the own tick", knowledge_is_kept),
    };
    return CM_RUN("replica_changes", t);
}
