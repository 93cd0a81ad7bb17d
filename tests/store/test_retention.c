/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_retention.c - which backups a policy keeps: examples, and what holds for any.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "store/retention.h"

#define HOUR ((uint64_t)3600 * 1000)
#define DAY (24 * HOUR)
#define T0 ((uint64_t)1767225600000) /* 2026-01-01 00:00 UTC, a Thursday */

static struct vb_retention_item item(uint64_t sequence, uint64_t time_ms)
{
    return (struct vb_retention_item){ .sequence = sequence, .time_ms = time_ms, .set = "a", .usable = true };
}

static size_t kept(const struct vb_retention_item *v, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i].kept;
    return sum;
}

static void a_policy_that_keeps_nothing_is_refused(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { 0 } };
    struct vb_retention_item v = item(1, T0);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(vb_retention_apply(&p, &v, 1, &err), -1);
    assert_int_equal(err.code, VB_E_USAGE);
}

static void each_rule_keeps_the_newest_of_each_period(void **state)
{
    (void)state;
    enum { N = 24 * 400 };
    struct vb_retention_item *v = vb_alloc_n(N, sizeof *v);
    const struct { enum vb_retention_rule rule; uint32_t keep; size_t want; uint64_t step; } rules[] = {
        { VB_KEEP_LAST, 5, 5, HOUR }, { VB_KEEP_HOURLY, 5, 5, HOUR }, { VB_KEEP_DAILY, 7, 7, DAY },
        { VB_KEEP_WEEKLY, 4, 4, 7 * DAY }, { VB_KEEP_MONTHLY, 12, 12, 0 }, { VB_KEEP_YEARLY, 9, 2, 0 },
    };
    for (size_t k = 0; k < VB_COUNT(rules); k++) {
        struct vb_retention_policy p = { { 0 } };
        p.keep[rules[k].rule] = rules[k].keep;
        for (size_t i = 0; i < N; i++)
            v[i] = item(i + 1, T0 + i * HOUR + 1);
        assert_int_equal(vb_retention_apply(&p, v, N, NULL), 0);
        assert_int_equal(kept(v, N), rules[k].want);
        assert_true(v[N - 1].kept); /* the newest is in the newest period */
        for (size_t i = 0, last = 0; i < N; i++)
            if (v[i].kept) {
                assert_int_equal(v[i].reasons, 1u << rules[k].rule);
                if (last && rules[k].step && i != N - 1)
                    assert_int_equal((i - last) * HOUR, rules[k].step);
                last = i;
            }
    }
    free(v);
}

static void failed_backups_take_nobodys_place(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_LAST] = 1 } };
    struct vb_retention_item v[] = { item(1, T0), item(2, T0 + DAY), item(3, T0 + 2 * DAY), item(4, T0 + 3 * DAY) };
    v[0].usable = v[3].usable = false;
    assert_int_equal(vb_retention_apply(&p, v, 4, NULL), 0);
    assert_false(v[0].kept);
    assert_false(v[1].kept);
    assert_true(v[2].kept);
    assert_true(v[3].kept); /* says what happened since */
}

static void sets_do_not_displace_one_another(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_LAST] = 1 } };
    struct vb_retention_item v[] = { item(1, T0), item(2, T0 + 1), item(3, T0 + 2) };
    v[0].set = "b";
    assert_int_equal(vb_retention_apply(&p, v, 3, NULL), 0);
    assert_true(v[0].kept && !v[1].kept && v[2].kept);
}

/* The requester's clock was years ahead for one backup: the days before and after it are kept as if it had not been. */
static void a_clock_that_jumped_spoils_little(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_DAILY] = 5 } };
    struct vb_retention_item v[10];
    for (size_t i = 0; i < 10; i++)
        v[i] = item(i + 1, T0 + i * DAY);
    v[6].time_ms += 3650 * DAY;
    assert_int_equal(vb_retention_apply(&p, v, 10, NULL), 0);
    assert_true(kept(v, 10) >= 5);
    assert_true(v[9].kept && v[8].kept && v[7].kept);
}

/* One backup was stamped 1970: the older ones keep their days. */
static void a_clock_that_fell_back_spoils_little(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_DAILY] = 5, [VB_KEEP_YEARLY] = 3 } };
    struct vb_retention_item v[10];
    for (size_t i = 0; i < 10; i++)
        v[i] = item(i + 1, T0 + i * DAY);
    v[0].time_ms -= 300 * DAY;
    v[6].time_ms = 0;
    assert_int_equal(vb_retention_apply(&p, v, 10, NULL), 0);
    assert_true(kept(v, 10) >= 5);
    assert_true(v[9].kept && v[8].kept && v[7].kept && v[4].kept && v[0].kept);
    assert_false(v[1].kept);
}

static void properties_hold_for_random_histories(void **state)
{
    (void)state;
    struct vb_rng rng;
    vb_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 300; round++) {
        size_t n = 1 + (size_t)vb_rng_below(&rng, 60);
        struct vb_retention_item *v = vb_alloc_n(n, sizeof *v), *more = vb_alloc_n(n, sizeof *v);
        struct vb_retention_policy p = { { 0 } }, q;
        uint64_t t = T0;
        for (int r = 0; r < VB_KEEP_RULES; r++)
            p.keep[r] = vb_rng_chance(&rng, 400) ? (uint32_t)vb_rng_below(&rng, 6) : 0;
        p.keep[vb_rng_below(&rng, VB_KEEP_RULES)] = 1;
        for (size_t i = 0; i < n; i++) {
            t += vb_rng_below(&rng, 20 * DAY);
            v[i] = item(i + 1, vb_rng_chance(&rng, 50) ? T0 + vb_rng_below(&rng, 4000 * DAY) : t);
            v[i].set = vb_rng_chance(&rng, 500) ? "a" : "b";
            v[i].usable = !vb_rng_chance(&rng, 150);
        }
        memcpy(more, v, n * sizeof *v);
        assert_int_equal(vb_retention_apply(&p, v, n, NULL), 0);
        /* the newest usable of each set is always kept */
        for (const char *set = "a"; set; set = *set == 'a' ? "b" : NULL)
            for (size_t i = n; i-- > 0;)
                if (strcmp(v[i].set, set) == 0) {
                    assert_true(v[i].kept);
                    if (v[i].usable)
                        break;
                }
        /* a policy that keeps more forgets nothing that this one keeps */
        q = p;
        q.keep[vb_rng_below(&rng, VB_KEEP_RULES)] += 3;
        assert_int_equal(vb_retention_apply(&q, more, n, NULL), 0);
        for (size_t i = 0; i < n; i++)
            assert_true(!v[i].kept || more[i].kept);
        free(more);
        free(v);
    }
}

static struct vb_retention_item sized(uint64_t sequence, uint64_t files, uint64_t mib, uint64_t new_mib, unsigned percent)
{
    struct vb_retention_item it = item(sequence, T0 + sequence * DAY);
    it.files = files;
    it.bytes = mib << 20;
    it.added_raw = new_mib << 20;
    it.added_stored = it.added_raw / 100 * percent;
    return it;
}

static void what_is_held_is_kept(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_LAST] = 1 } };
    struct vb_retention_item v[] = { item(1, T0), item(2, T0 + DAY), item(3, T0 + 2 * DAY) };
    v[0].held = true;
    assert_int_equal(vb_retention_apply(&p, v, 3, NULL), 0);
    assert_true(v[0].kept && !v[1].kept && v[2].kept);
    assert_false(v[0].paused);
}

static void a_suspicious_change_pauses_its_set(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_LAST] = 1 } };
    const struct { struct vb_retention_item odd; enum vb_change want; } cases[] = {
        { { .files = 1000, .bytes = 100 << 20, .added_raw = 2 << 20, .added_stored = 1 << 20 }, VB_CHANGE_NONE },
        { { .files = 499, .bytes = 100 << 20 }, VB_CHANGE_FEWER_FILES },
        { { .files = 0, .bytes = 0 }, VB_CHANGE_FEWER_FILES },
        { { .files = 1000, .bytes = 49 << 20 }, VB_CHANGE_FEWER_BYTES },
        { { .files = 1000, .bytes = 100 << 20, .added_raw = 60 << 20, .added_stored = 30 << 20 }, VB_CHANGE_MOSTLY_NEW },
        { { .files = 1000, .bytes = 100 << 20, .added_raw = 30 << 20, .added_stored = 30 << 20 }, VB_CHANGE_INCOMPRESSIBLE },
        { { .files = 9000, .bytes = 110 << 20, .added_raw = 20 << 20, .added_stored = 20 << 20 }, VB_CHANGE_NONE },
    };
    for (size_t i = 0; i < VB_COUNT(cases); i++) {
        struct vb_retention_item v[] = { sized(1, 1000, 100, 100, 50), sized(2, 1000, 100, 1, 50), sized(3, 1001, 100, 2, 50),
                                         sized(4, 0, 0, 0, 0), sized(5, 0, 0, 0, 0), sized(6, 7, 1, 1, 50) };
        for (size_t k = 3; k < 5; k++) { /* it stays so: also the next one is not what those before were */
            v[k] = cases[i].odd;
            v[k].sequence = k + 1;
            v[k].set = "a";
            v[k].usable = true;
        }
        v[5].set = "b"; /* others are not concerned */
        assert_int_equal(vb_retention_apply(&p, v, 6, NULL), 0);
        assert_int_equal(v[3].change, cases[i].want);
        assert_int_equal(kept(v, 6), cases[i].want ? 6 : 2);
        assert_int_equal(v[0].paused, cases[i].want != VB_CHANGE_NONE);
        assert_false(v[5].paused);
        /* It is meant: from there on this is what the others are compared with. */
        v[3].normal = v[4].normal = true;
        assert_int_equal(vb_retention_apply(&p, v, 6, NULL), 0);
        assert_int_equal(kept(v, 6), 2);
        assert_false(v[0].paused);
    }
}

static void sizes_are_compared_within_one_type(void **state)
{
    (void)state;
    struct vb_retention_policy p = { { [VB_KEEP_LAST] = 1 } };
    struct vb_retention_item v[] = { sized(1, 1000, 100, 100, 50), sized(2, 3, 1, 1, 50), sized(3, 1000, 100, 1, 50) };
    v[1].type = "incremental";
    assert_int_equal(vb_retention_apply(&p, v, 3, NULL), 0);
    assert_int_equal(kept(v, 3), 1);
    struct vb_retention_item small[] = { sized(1, 40, 1, 1, 50), sized(2, 1, 0, 0, 50) }; /* too small to tell */
    assert_int_equal(vb_retention_apply(&p, small, 2, NULL), 0);
    assert_int_equal(kept(small, 2), 1);
}

/* A host that may only add dates its backups as it likes: first far ahead, then, in one night, to ten days. */
static void days_cannot_be_flooded(void **state)
{
    (void)state;
    enum { GOOD = 10, BAD = 12 };
    struct vb_retention_policy p = { { [VB_KEEP_DAILY] = 7 } };
    struct vb_retention_item v[1 + GOOD + BAD];
    struct vb_received seen[GOOD + 3];
    uint64_t numbers[1 + GOOD + BAD], now = T0 + (GOOD + 1) * DAY;
    size_t n = 0, n_seen = 0;
    v[n++] = item(1, T0 + 9000 * DAY);
    seen[n_seen++] = (struct vb_received){ 1, T0 };
    for (uint64_t i = 0; i < GOOD; i++) {
        v[n] = item(n + 1, T0 + i * DAY + HOUR);
        n++;
        seen[n_seen++] = (struct vb_received){ n, T0 + i * DAY + 2 * HOUR }; /* each day the policy was applied */
    }
    for (uint64_t i = 0; i < BAD; i++) {
        v[n] = item(n + 1, T0 - (40 - i) * DAY);
        n++;
    }
    for (size_t i = 0; i < n; i++)
        numbers[i] = v[i].sequence;
    assert_int_equal(vb_retention_apply(&p, v, n, NULL), 0);
    size_t good = 0;
    for (size_t i = 1; i <= GOOD; i++)
        good += v[i].kept;
    assert_true(good < 6); /* as it would be */
    vb_received_tidy(seen, &n_seen, numbers, n);
    assert_int_equal(n_seen, GOOD + 1);
    for (size_t i = 0; i < n; i++)
        v[i].time_ms = vb_received_bound(seen, n_seen, v[i].sequence, v[i].time_ms, now);
    assert_int_equal(vb_retention_apply(&p, v, n, NULL), 0);
    /* The seventh is the day of the flood, whose newest it may well be. */
    for (size_t i = GOOD - 6; i < GOOD; i++)
        assert_true(v[i].kept);
}

static void notes_of_what_was_received_are_thinned(void **state)
{
    (void)state;
    struct vb_received v[] = { { 4, 40 }, { 2, 20 }, { 9, 95 }, { 3, 30 }, { 9, 90 }, { 6, 60 }, { 12, 80 } };
    const uint64_t numbers[] = { 5, 11 };
    size_t n = VB_COUNT(v);
    vb_received_tidy(v, &n, NULL, 0);
    assert_int_equal(n, 5); /* 9 is refuted by 12 */
    vb_received_tidy(v, &n, numbers, 2);
    assert_int_equal(n, 3);
    assert_int_equal(v[0].number, 4);
    assert_int_equal(v[1].number, 6);
    assert_int_equal(v[2].number, 12);
    assert_int_equal(vb_received_bound(v, n, 5, 1000, 100), 60);
    assert_int_equal(vb_received_bound(v, n, 5, 1, 100), 40);
    assert_int_equal(vb_received_bound(v, n, 5, 50, 100), 50);
    assert_int_equal(vb_received_bound(v, n, 13, 1000, 100), 100);
    assert_int_equal(vb_received_bound(v, n, 13, 1000, 70), 70); /* our clock was set back */
    n = 0;
    vb_received_tidy(NULL, &n, numbers, 2);
    assert_int_equal(vb_received_bound(NULL, 0, 5, 1000, 100), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_that_keeps_nothing_is_refused),
        cmocka_unit_test(each_rule_keeps_the_newest_of_each_period),
        cmocka_unit_test(failed_backups_take_nobodys_place),
        cmocka_unit_test(sets_do_not_displace_one_another),
        cmocka_unit_test(a_clock_that_jumped_spoils_little),
        cmocka_unit_test(a_clock_that_fell_back_spoils_little),
        cmocka_unit_test(what_is_held_is_kept),
        cmocka_unit_test(a_suspicious_change_pauses_its_set),
        cmocka_unit_test(sizes_are_compared_within_one_type),
        cmocka_unit_test(days_cannot_be_flooded),
        cmocka_unit_test(notes_of_what_was_received_are_thinned),
        cmocka_unit_test(properties_hold_for_random_histories),
    };
    return CM_RUN("retention", tests);
}
