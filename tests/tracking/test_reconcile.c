/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/test_reconcile.c - decisions over passes between replicas: no echo, no lost edit, one end for all. */
#include <config.h>
#include "tests/cm.h"
#include "base/rng.h"
#include "tests/base/scratch.h"
#include "tests/tracking/replica_world.h"

enum { A, B, C };

static void same_trees(struct world *w)
{
    VB_AUTO_FREE char *first = world_tree(w, 0);
    for (size_t i = 1; i < w->n; i++) {
        VB_AUTO_FREE char *other = world_tree(w, i);
        assert_string_equal(first, other);
    }
}

static void no_echo(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, scratch_fd, 2);
    world_edit(&w, A, "f", 'X', 1);
    assert_int_equal(world_pass(&w, A, B, VB_POLICY_BOTH).applied, 1);
    assert_int_equal(world_pass(&w, B, A, VB_POLICY_BOTH).sent, 0);
    for (int i = 0; i < 100; i++) {
        struct pass p = world_pass(&w, (size_t)i % 2, (size_t)(i + 1) % 2, VB_POLICY_BOTH);
        assert_int_equal(p.sent + p.minted, 0);
    }
    assert_int_equal(vb_replica_tick(w.r[A]), 1);
    assert_int_equal(vb_replica_tick(w.r[B]), 0);
    world_close(&w);
}

static void ring(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, scratch_fd, 3);
    world_edit(&w, A, "f", 'X', 1);
    assert_int_equal(world_pass(&w, A, B, VB_POLICY_BOTH).sent, 1);
    assert_int_equal(world_pass(&w, B, C, VB_POLICY_BOTH).sent, 1);
    for (int i = 0; i < 9; i++)
        assert_int_equal(world_pass(&w, (size_t)(i + 2) % 3, (size_t)i % 3, VB_POLICY_BOTH).sent, 0);
    world_close(&w);
}

/* A and B hold f=O, then edit it apart. */
static void apart(struct world *w, size_t n, int64_t mtime_a, int64_t mtime_b)
{
    world_open(w, scratch_fd, n);
    world_edit(w, A, "f", 'O', 1);
    for (size_t i = 1; i < n; i++)
        world_pass(w, A, i, VB_POLICY_BOTH);
    world_edit(w, A, "f", 'X', mtime_a);
    world_edit(w, B, "f", 'Y', mtime_b);
}

static void conflict_keeps_both(void **state)
{
    (void)state;
    struct world w;
    apart(&w, 2, 100, 200);
    struct pass p = world_pass(&w, A, B, VB_POLICY_BOTH);
    assert_int_equal(p.conflicts, 1);
    assert_int_equal(p.copies, 1);
    p = world_pass(&w, B, A, VB_POLICY_BOTH);
    assert_int_equal(p.conflicts, 0);
    same_trees(&w);
    assert_int_equal(world_content(&w, A, "f"), 'Y'); /* the later origin */
    VB_AUTO_FREE char *tree = world_tree(&w, A);
    assert_contains(tree, "f.conflict-100-");
    assert_contains(tree, "=X ");
    assert_int_equal(world_pass(&w, A, B, VB_POLICY_BOTH).sent + world_pass(&w, B, A, VB_POLICY_BOTH).sent, 0);
    world_close(&w);
}

/* Equal times: the higher replica id, whichever pass comes first. */
static void equal_times(void **state)
{
    (void)state;
    for (size_t first = 0; first < 2; first++) {
        struct world w;
        apart(&w, 2, 100, 100);
        bool a_wins = vb_replica_id_compare(vb_replica_own(w.r[A]), vb_replica_own(w.r[B])) > 0;
        world_pass(&w, first, 1 - first, VB_POLICY_BOTH);
        world_pass(&w, 1 - first, first, VB_POLICY_BOTH);
        same_trees(&w);
        assert_int_equal(world_content(&w, B, "f"), a_wins ? 'X' : 'Y');
        world_close(&w);
        scratch_end(NULL);
        scratch_start(NULL);
    }
}

static void same_edit_is_no_conflict(void **state)
{
    (void)state;
    struct world w;
    apart(&w, 2, 100, 200);
    world_edit(&w, B, "f", 'X', 300);
    struct pass p = world_pass(&w, A, B, VB_POLICY_BOTH);
    assert_int_equal(p.converged, 1);
    assert_int_equal(p.conflicts + p.copies + p.minted, 0);
    world_pass(&w, B, A, VB_POLICY_BOTH);
    struct vb_item a, b;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_replica_find(w.r[A], w.scope[A], "f", &a, &err));
    assert_ok(vb_replica_find(w.r[B], w.scope[B], "f", &b, &err));
    assert_true(vb_version_equal(&a.changed, &b.changed));
    vb_item_clear(&a);
    vb_item_clear(&b);
    world_close(&w);
}

static void edit_survives_delete(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, scratch_fd, 3);
    world_edit(&w, A, "f", 'O', 1);
    world_pass(&w, A, B, VB_POLICY_BOTH);
    world_pass(&w, A, C, VB_POLICY_BOTH);
    world_delete(&w, A, "f");
    world_edit(&w, B, "f", 'Y', 2);
    struct pass p = world_pass(&w, A, B, VB_POLICY_BOTH);
    assert_int_equal(p.conflicts, 1);
    assert_int_equal(p.copies, 0);
    world_pass(&w, B, A, VB_POLICY_BOTH);
    world_pass(&w, B, C, VB_POLICY_BOTH);
    same_trees(&w);
    assert_int_equal(world_content(&w, C, "f"), 'Y');
    world_close(&w);
}

static void two_resolvers(void **state)
{
    (void)state;
    struct world w;
    apart(&w, 4, 100, 200); /* 0 and 1 differ; 2 hears from 0 then 1, 3 from 1 then 0 */
    world_pass(&w, 0, 2, VB_POLICY_BOTH);
    world_pass(&w, 1, 3, VB_POLICY_BOTH);
    assert_int_equal(world_pass(&w, 1, 2, VB_POLICY_BOTH).conflicts, 1);
    assert_int_equal(world_pass(&w, 0, 3, VB_POLICY_BOTH).conflicts, 1);
    assert_int_equal(world_pass(&w, 2, 3, VB_POLICY_BOTH).copies, 0);
    world_pass(&w, 3, 2, VB_POLICY_BOTH);
    VB_AUTO_FREE char *x = world_tree(&w, 2);
    VB_AUTO_FREE char *y = world_tree(&w, 3);
    assert_string_equal(x, y);
    const char *copy = strstr(x, ".conflict-");
    assert_non_null(copy);
    assert_null(strstr(copy + 1, ".conflict-"));
    world_close(&w);
}

static void clocks_detect_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, scratch_fd, 2);
    world_edit(&w, B, "f", 'O', 86400000000000); /* B's clock is a day ahead */
    world_pass(&w, B, A, VB_POLICY_BOTH);
    world_edit(&w, A, "f", 'X', 5);
    struct pass p = world_pass(&w, A, B, VB_POLICY_BOTH);
    assert_int_equal(p.applied, 1);
    assert_int_equal(p.conflicts, 0);
    world_edit(&w, A, "f", 'Z', -31536000000000000); /* and A's jumps back a year */
    world_pass(&w, A, B, VB_POLICY_BOTH);
    assert_int_equal(world_content(&w, B, "f"), 'Z');
    world_close(&w);
}

static void policies(void **state)
{
    static const struct { enum vb_conflict_policy policy; char f; } cases[] = {
        { VB_POLICY_SOURCE, 'X' }, { VB_POLICY_TARGET, 'Y' }, { VB_POLICY_NEWER, 'Y' },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(cases); i++) {
        struct world w;
        apart(&w, 2, 100, 200);
        struct pass p = world_pass(&w, A, B, cases[i].policy);
        assert_int_equal(p.conflicts, 1);
        assert_int_equal(p.copies, 0);
        world_pass(&w, B, A, cases[i].policy);
        same_trees(&w);
        assert_int_equal(world_content(&w, A, "f"), cases[i].f);
        world_close(&w);
        scratch_end(NULL);
        scratch_start(NULL);
    }
    struct world w;
    apart(&w, 2, 100, 200);
    assert_int_equal(world_pass(&w, A, B, VB_POLICY_DEFER).deferred, 1);
    assert_int_equal(world_content(&w, A, "f"), 'X');
    assert_int_equal(world_content(&w, B, "f"), 'Y');
    assert_int_equal(world_pass(&w, A, B, VB_POLICY_DEFER).deferred, 1); /* neither claimed nor forgotten */
    assert_int_equal(world_pass(&w, A, B, VB_POLICY_SOURCE).conflicts, 1);
    world_pass(&w, B, A, VB_POLICY_DEFER);
    same_trees(&w);
    world_close(&w);
}

static void deletion_of_the_never_seen(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, scratch_fd, 3);
    world_edit(&w, A, "f", 'X', 1);
    world_pass(&w, A, B, VB_POLICY_BOTH);
    world_delete(&w, A, "f");
    world_pass(&w, A, C, VB_POLICY_BOTH);                      /* C hears of the deletion first */
    assert_int_equal(world_pass(&w, B, C, VB_POLICY_BOTH).sent, 0); /* and knows the creation by it */
    assert_int_equal(world_content(&w, C, "f"), 0);
    world_pass(&w, C, B, VB_POLICY_BOTH);
    assert_int_equal(world_content(&w, B, "f"), 0);
    world_close(&w);
}

static void three_meet(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, scratch_fd, 3);
    world_edit(&w, A, "f", 'O', 1);
    world_pass(&w, A, B, VB_POLICY_BOTH);
    world_edit(&w, A, "f", 'X', 300);
    world_edit(&w, B, "f", 'Y', 200);
    world_pass(&w, A, C, VB_POLICY_BOTH); /* C takes A2, A deletes it */
    world_delete(&w, A, "f");
    world_pass(&w, B, C, VB_POLICY_BOTH);
    world_pass(&w, B, A, VB_POLICY_BOTH);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 3; j++)
                if (i != j)
                    world_pass(&w, i, j, VB_POLICY_BOTH);
    same_trees(&w);
    assert_int_equal(world_content(&w, A, "f"), 'X');
    VB_AUTO_FREE char *tree = world_tree(&w, A);
    assert_contains(tree, "f.conflict-200-");
    assert_contains(tree, "=Y ");
    world_close(&w);
}

/* Edits, deletions and passes at random: equal knowledge is equal trees at every moment, and at the end all are one. */
static void random_worlds(void **state)
{
    static const char *const paths[] = { "f", "d/g", "h.txt" };
    struct vb_rng g;
    (void)state;
    vb_rng_seed(&g, 20261123);
    const char *many = getenv("REPLICA_WORLDS"); /* thousands by hand, with TMPDIR on a tmpfs */
    uint64_t rounds = 25;
    assert_true(!many || vb_parse_u64(many, &rounds));
    vb_rng_seed(&g, 20261123);
    for (uint64_t round = 0; round < rounds; round++) {
        struct world w;
        size_t n = 2 + (size_t)vb_rng_below(&g, 3);
        world_open(&w, scratch_fd, n);
        for (int step = 0; step < 40; step++) {
            size_t at = (size_t)vb_rng_below(&g, n), other = (at + 1 + (size_t)vb_rng_below(&g, n - 1)) % n;
            const char *path = paths[vb_rng_below(&g, VB_COUNT(paths))];
            if (vb_rng_chance(&g, 300))
                world_edit(&w, at, path, (char)('A' + vb_rng_below(&g, 4)), (int64_t)vb_rng_below(&g, 5));
            else if (vb_rng_chance(&g, 150))
                world_delete(&w, at, path);
            else
                world_pass(&w, at, other, VB_POLICY_BOTH);
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < i; j++) {
                    VB_AUTO_KNOWLEDGE *ki = world_knowledge(&w, i);
                    VB_AUTO_KNOWLEDGE *kj = world_knowledge(&w, j);
                    if (!vb_knowledge_equal(ki, kj))
                        continue;
                    VB_AUTO_FREE char *ti = world_tree(&w, i);
                    VB_AUTO_FREE char *tj = world_tree(&w, j);
                    assert_string_equal(ti, tj);
                }
        }
        unsigned sent = 1;
        for (int turn = 0; sent && turn < 20; turn++) {
            sent = 0;
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++)
                    if (i != j)
                        sent += world_pass(&w, i, j, VB_POLICY_BOTH).sent;
        }
        assert_int_equal(sent, 0);
        same_trees(&w);
        world_close(&w);
        scratch_end(NULL);
        scratch_start(NULL);
    }
}

static void names_of_copies(void **state)
{
    (void)state;
    struct vb_origin o = { 1700000000000000000, { { { 0xab, 0xcd } }, 42 } };
    VB_AUTO_FREE char *n = vb_conflict_name("a.d/report.txt", &o);
    assert_string_equal(n, "a.d/report.conflict-1700000000000000000-abcd000000000000-42.txt");
    VB_AUTO_FREE char *hidden = vb_conflict_name(".profile", &o);
    assert_string_equal(hidden, ".profile.conflict-1700000000000000000-abcd000000000000-42");
    char longest[260];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "dir/", 4);
    memcpy(longest + 4 + 251, ".gz", 4);
    longest[4 + 254] = 0;
    VB_AUTO_FREE char *cut = vb_conflict_name(longest, &o);
    assert_int_equal(strlen(cut), 4 + 255);
    assert_string_equal(cut + 4 + 252, ".gz");
}

#define T(text, fn) { text, fn, scratch_start, scratch_end, NULL }

int main(void)
{
    const struct CMUnitTest t[] = {
        T("REPL-T16 what came from there is not sent back, and passes are quiet", no_echo),
        T("REPL-T17 a ring transfers once per link", ring),
        T("REPL-T18 a conflict ends in the later one and a copy of the other", conflict_keeps_both),
        T("REPL-T19 equal times: the higher replica id, in either order of passes", equal_times),
        T("REPL-T20 the same edit on both sides converges without a version", same_edit_is_no_conflict),
        T("REPL-T21 an edit outlives a deletion at the same time", edit_survives_delete),
        T("REPL-T22 delete, edit and an old copy meet in one end", three_meet),
        T("REPL-T23 two resolvers make one copy", two_resolvers),
        T("REPL-T24 REPL-T25 clocks neither make nor hide a change", clocks_detect_nothing),
        T("REPL-T27 source, target, newer and defer", policies),
        T("REPL-T34 the deletion of what was never seen keeps it dead", deletion_of_the_never_seen),
        T("REPL-DSN-18 REPL-DSN-19 random worlds: equal knowledge is equal trees, all end as one", random_worlds),
        T("REPL-DSN-20 names of copies come from the loser's origin", names_of_copies),
    };
    return CM_RUN("reconcile", t);
}
