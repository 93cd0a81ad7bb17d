/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/test_knowledge.c - knowledge held against a table that says the same one by one. */
#include <config.h>
#include "tests/cm.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tracking/knowledge.h"

#define R 4 /* replicas */
#define I 5 /* items; the last one stands for all that are never named */

static const char *const items[I] = { "a", "b/c", "b/c d", "z", "never" };

static struct vb_replica_id id(int n)
{
    struct vb_replica_id r = { .b = { (unsigned char)(10 + n) } };
    return r;
}

static struct vb_version version(int replica, uint64_t tick)
{
    return (struct vb_version){ id(replica), tick };
}

/* The same knowledge as a table, one cell per item and replica. */
struct table {
    uint64_t v[I][R];
};

static void check(const struct vb_knowledge *k, const struct table *t)
{
    for (int i = 0; i < I; i++)
        for (int r = 0; r < R; r++) {
            struct vb_replica_id who = id(r);
            assert_int_equal(vb_knowledge_item_tick(k, items[i], &who), t->v[i][r]);
        }
}

static void set_main(struct vb_knowledge *k, struct table *t, bool own[I][R], int r, uint64_t tick)
{
    struct vb_version v = version(r, tick);
    uint64_t was = vb_knowledge_tick(k, &v.replica);
    vb_knowledge_raise(k, &v);
    for (int i = 0; i < I && tick > was; i++)
        if (!own[i][r] || t->v[i][r] == tick) {
            t->v[i][r] = tick;
            own[i][r] = false;
        }
}

static void set_item(struct vb_knowledge *k, struct table *t, bool own[I][R], int i, int r, uint64_t tick)
{
    struct vb_version v = version(r, tick);
    vb_knowledge_set_item(k, items[i], &v);
    t->v[i][r] = tick;
    own[i][r] = tick != vb_knowledge_tick(k, &v.replica);
}

static struct vb_knowledge *random_knowledge(struct vb_rng *g, struct table *t)
{
    struct vb_knowledge *k = vb_knowledge_new();
    bool own[I][R] = { { false } };
    memset(t, 0, sizeof *t);
    for (uint64_t n = vb_rng_below(g, 12); n > 0; n--) {
        int r = (int)vb_rng_below(g, R), i = (int)vb_rng_below(g, I - 1);
        uint64_t tick = vb_rng_below(g, 6);
        if (vb_rng_chance(g, 500) && tick)
            set_main(k, t, own, r, tick);
        else
            set_item(k, t, own, i, r, tick);
    }
    check(k, t);
    return k;
}

static bool table_covers(const struct table *a, const struct table *b)
{
    for (int i = 0; i < I; i++)
        for (int r = 0; r < R; r++)
            if (a->v[i][r] < b->v[i][r])
                return false;
    return true;
}

static void contains_join_cover(void **state)
{
    struct vb_rng g;
    (void)state;
    vb_rng_seed(&g, 4711);
    for (int round = 0; round < 20000; round++) {
        struct table ta, tb;
        VB_AUTO_KNOWLEDGE *a = random_knowledge(&g, &ta);
        VB_AUTO_KNOWLEDGE *b = random_knowledge(&g, &tb);
        assert_int_equal(vb_knowledge_covers(a, b), table_covers(&ta, &tb));
        assert_int_equal(vb_knowledge_equal(a, b), table_covers(&ta, &tb) && table_covers(&tb, &ta));
        VB_AUTO_KNOWLEDGE *sum = vb_knowledge_copy(a);
        vb_knowledge_join(sum, b);
        struct table ts = ta;
        for (int i = 0; i < I; i++)
            for (int r = 0; r < R; r++)
                if (tb.v[i][r] > ts.v[i][r])
                    ts.v[i][r] = tb.v[i][r];
        check(sum, &ts);
        assert_true(vb_knowledge_covers(sum, a) && vb_knowledge_covers(sum, b));
    }
}

static void learn_but_for(void **state)
{
    struct vb_rng g;
    (void)state;
    vb_rng_seed(&g, 815);
    for (int round = 0; round < 20000; round++) {
        struct table ta, tb, tl;
        VB_AUTO_KNOWLEDGE *a = random_knowledge(&g, &ta);
        VB_AUTO_KNOWLEDGE *b = random_knowledge(&g, &tb);
        const char *except[I];
        bool is_except[I] = { false };
        size_t n = 0;
        for (int i = 0; i < I - 1; i++)
            if (vb_rng_chance(&g, 300)) {
                except[n++] = items[i];
                is_except[i] = true;
            }
        tl = ta;
        for (int i = 0; i < I; i++)
            for (int r = 0; r < R && !is_except[i]; r++)
                if (tb.v[i][r] > tl.v[i][r])
                    tl.v[i][r] = tb.v[i][r];
        vb_knowledge_learn(a, b, except, n);
        check(a, &tl);
    }
}

static void projection(void **state)
{
    struct vb_rng g;
    (void)state;
    vb_rng_seed(&g, 99);
    for (int round = 0; round < 5000; round++) {
        struct table t;
        VB_AUTO_KNOWLEDGE *k = random_knowledge(&g, &t);
        const char *only[] = { items[1], items[3] };
        VB_AUTO_KNOWLEDGE *p = vb_knowledge_project(k, only, 2);
        for (int i = 0; i < I; i++)
            for (int r = 0; r < R; r++)
                if (i != 1 && i != 3)
                    t.v[i][r] = 0;
        check(p, &t);
        assert_true(vb_knowledge_covers(k, p));
    }
}

static void bytes_and_back(void **state)
{
    struct vb_rng g;
    (void)state;
    vb_rng_seed(&g, 7);
    for (int round = 0; round < 3000; round++) {
        struct table t;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        VB_AUTO_KNOWLEDGE *k = random_knowledge(&g, &t);
        vb_knowledge_encode(k, &bytes);
        VB_AUTO_KNOWLEDGE *back = vb_knowledge_decode(bytes.data, bytes.len, &err);
        assert_non_null(back);
        check(back, &t);
        size_t cut = (size_t)vb_rng_below(&g, bytes.len);
        assert_null(vb_knowledge_decode(bytes.data, cut, &err));
        assert_int_equal(err.code, VB_E_CORRUPT);
        bytes.data[0] = 2;
        assert_null(vb_knowledge_decode(bytes.data, bytes.len, &err));
        assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    }
}

static void an_entry_may_be_higher_or_lower(void **state)
{
    (void)state;
    VB_AUTO_KNOWLEDGE *k = vb_knowledge_new();
    struct vb_version v3 = version(0, 3), v5 = version(0, 5), v9 = version(0, 9);
    vb_knowledge_raise(k, &v5);
    vb_knowledge_set_item(k, "low", &v3);
    vb_knowledge_set_item(k, "high", &v9);
    assert_true(vb_knowledge_contains(k, "other", &v5));
    assert_false(vb_knowledge_contains(k, "other", &v9));
    assert_false(vb_knowledge_contains(k, "low", &v5));
    assert_true(vb_knowledge_contains(k, "high", &v9));
    VB_AUTO_KNOWLEDGE *other = vb_knowledge_copy(k);
    vb_knowledge_set_item(other, "low", &v5);
    const char *item;
    struct vb_version missing;
    assert_true(vb_knowledge_missing(k, other, &item, &missing));
    assert_string_equal(item, "low");
    assert_int_equal(missing.tick, 5);
    assert_false(vb_knowledge_missing(other, k, &item, &missing));
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("REPL-DSN-15 an item's entry may lie above or below the main one", an_entry_may_be_higher_or_lower),
        CM_TEST("REPL-MSS-7 contains, union and cover agree with a table", contains_join_cover),
        CM_TEST("REPL-DSN-22 learning keeps what failed as it was", learn_but_for),
        CM_TEST("REPL-MSS-7 projection speaks of the named items only", projection),
        CM_TEST("bytes and back; broken off or of another form is refused", bytes_and_back),
    };
    return CM_RUN("knowledge", t);
}
