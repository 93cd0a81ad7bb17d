/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_schedule.c - days of notices, silence and locks in no time. */
#include <config.h>
#include "tests/cm.h"
#include "base/mem.h"
#include "replica/schedule.h"

#define S 1000LL
static const struct vb_schedule normal = VB_SCHEDULE_DEFAULT;

static void settings(void **state)
{
    (void)state;
    static const struct { struct vb_schedule s; const char *key; } cases[] = {
        { { 300, 2, 160, 60 }, "guard" }, { { 300, 2, 150, 60 }, NULL }, { { 300, 2, 0, 60 }, NULL }, { { 0, 2, 0, 60 }, "interval" },
        { { 300, 0, 0, 60 }, "pulse" },   { { 300, 11, 0, 60 }, "pulse" }, { { 300, 2, 0, 121 }, "random" }, { { 90000, 0, 0, 900 }, "interval" },
    };
    for (size_t i = 0; i < VB_COUNT(cases); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        const char *key = NULL;
        assert_int_equal(vb_schedule_check(&cases[i].s, &key, &err), cases[i].key ? -1 : 0);
        if (cases[i].key) {
            assert_string_equal(key, cases[i].key);
            assert_contains(err.text, cases[i].key);
        }
    }
}

static void notices(void **state)
{
    (void)state;
    struct vb_exporter e = { 0, 0 };
    int64_t wait, now = 5 * S;
    assert_int_equal(vb_exporter_due(&e, &normal, 7, now, &wait), VB_NOTICE_SYNC);
    assert_int_equal(wait, 300 * S);
    assert_int_equal(vb_exporter_due(&e, &normal, 8, now + 100 * S, &wait), VB_NOTICE_NONE);
    assert_int_equal(wait, 200 * S);
    assert_int_equal(vb_exporter_due(&e, &normal, 8, now + 300 * S, &wait), VB_NOTICE_SYNC);
    assert_int_equal(vb_exporter_due(&e, &normal, 8, now + 600 * S, &wait), VB_NOTICE_PULSE);
    assert_int_equal(vb_exporter_due(&e, &normal, 8, now + 900 * S, &wait), VB_NOTICE_PULSE);
}

static void guard_time(void **state)
{
    (void)state;
    const struct vb_schedule s = { 300, 2, 3, 0 };
    int64_t wait;
    for (int64_t t = 0; t <= 10; t++) { /* a write every second */
        assert_false(vb_tree_is_quiet(&s, t * S, t * S, &wait));
        assert_int_equal(wait, 3 * S);
    }
    assert_false(vb_tree_is_quiet(&s, 10 * S, 12 * S, &wait));
    assert_int_equal(wait, 1 * S);
    assert_true(vb_tree_is_quiet(&s, 10 * S, 13 * S, &wait));
}

static void never_then_ok(void **state)
{
    (void)state;
    struct vb_importer i = VB_IMPORTER_INIT;
    struct vb_rng g;
    int64_t wait;
    vb_rng_seed(&g, 1);
    assert_int_equal(vb_importer_due(&i, 100 * S, &wait), VB_IMPORT_WAIT);
    assert_string_equal(vb_import_state_word(i.state), "NEVER_REPLICATED");
    assert_int_equal(i.last_update_s, 0);
    assert_false(i.has_master);
    const struct vb_schedule at_once = { 300, 2, 120, 0 };
    vb_importer_notice(&i, &at_once, true, 100 * S, &g);
    assert_int_equal(vb_importer_due(&i, 100 * S, &wait), VB_IMPORT_PULL);
    vb_importer_pulled(&i, VB_E_CONNECTION_LOST, 100 * S, 1700000000);
    assert_string_equal(vb_import_state_word(i.state), "NEVER_REPLICATED"); /* that word stays until the first success */
    assert_string_equal(vb_import_reason_word(i.reason), "unreachable");
    assert_int_equal(vb_importer_due(&i, 399 * S, &wait), VB_IMPORT_WAIT);
    assert_int_equal(wait, 1 * S);
    assert_int_equal(vb_importer_due(&i, 400 * S, &wait), VB_IMPORT_PULL);
    vb_importer_pulled(&i, VB_OK, 400 * S, 1700000300);
    assert_int_equal(i.state, VB_IMPORT_OK);
    assert_int_equal(i.last_update_s, 1700000300);
    vb_importer_notice(&i, &at_once, false, 700 * S, &g); /* a pulse: nothing to pull */
    assert_int_equal(vb_importer_due(&i, 701 * S, &wait), VB_IMPORT_WAIT);
}

static void silence(void **state)
{
    (void)state;
    struct vb_importer i = VB_IMPORTER_INIT;
    struct vb_rng g;
    int64_t wait, now = 1000 * S;
    const struct vb_schedule s = { 300, 2, 0, 0 };
    vb_rng_seed(&g, 1);
    vb_importer_notice(&i, &s, true, now, &g);
    assert_int_equal(vb_importer_due(&i, now, &wait), VB_IMPORT_PULL);
    vb_importer_pulled(&i, VB_OK, now, 1);
    assert_int_equal(vb_importer_due(&i, now + 599 * S, &wait), VB_IMPORT_WAIT);
    assert_int_equal(vb_importer_due(&i, now + 600 * S, &wait), VB_IMPORT_ASK);
    assert_int_equal(vb_importer_due(&i, now + 601 * S, &wait), VB_IMPORT_WAIT); /* one question */
    vb_importer_unanswered(&i, now + 601 * S);
    assert_int_equal(i.state, VB_IMPORT_OK);
    assert_int_equal(vb_importer_due(&i, now + 1201 * S, &wait), VB_IMPORT_ASK);
    vb_importer_unanswered(&i, now + 1202 * S);
    assert_int_equal(i.state, VB_IMPORT_NO_SYNC);
    assert_int_equal(i.reason, VB_REASON_UNREACHABLE);
    /* Not quiet for ever: it asks on, with pauses that grow up to an hour. */
    int64_t at = now + 1202 * S, last = 0;
    unsigned asked = 0;
    for (int64_t t = at; t < at + 24 * 3600 * S; t += S)
        if (vb_importer_due(&i, t, &wait) == VB_IMPORT_ASK) {
            assert_true(!last || t - last <= 3601 * S);
            last = t;
            asked++;
            vb_importer_unanswered(&i, t);
        }
    assert_in_range(asked, 24, 30);
    vb_importer_notice(&i, &s, false, at, &g); /* back: even a pulse is enough to pull */
    assert_int_equal(vb_importer_due(&i, at, &wait), VB_IMPORT_PULL);
    vb_importer_pulled(&i, VB_OK, at, 2);
    assert_int_equal(i.state, VB_IMPORT_OK);
    vb_importer_withdrawn(&i);
    assert_string_equal(vb_import_state_word(i.state), "NO_MASTER");
    assert_int_equal(vb_importer_due(&i, at + 9999 * S, &wait), VB_IMPORT_WAIT);
}

static void each_cause_has_its_word(void **state)
{
    (void)state;
    static const struct { enum vb_code code; const char *word; } cases[] = {
        { VB_E_CONNECT, "unreachable" }, { VB_E_BUSY, "busy" },   { VB_E_UNSTABLE, "unstable" },
        { VB_E_STALE, "stale" },         { VB_E_GUARD, "guard" }, { VB_OK, "" },
    };
    for (size_t k = 0; k < VB_COUNT(cases); k++)
        assert_string_equal(vb_import_reason_word(vb_import_reason_of(cases[k].code)), cases[k].word);
}

static void locked(void **state)
{
    (void)state;
    struct vb_importer i = VB_IMPORTER_INIT;
    struct vb_rng g;
    int64_t wait;
    const struct vb_schedule s = { 300, 2, 0, 0 };
    vb_rng_seed(&g, 1);
    vb_importer_lock(&i, true, 1 * S); /* in advance */
    vb_importer_notice(&i, &s, true, 2 * S, &g);
    assert_int_equal(vb_importer_due(&i, 500 * S, &wait), VB_IMPORT_WAIT);
    assert_int_equal(i.state, VB_IMPORT_NEVER);
    vb_importer_lock(&i, false, 600 * S);
    assert_int_equal(vb_importer_due(&i, 600 * S, &wait), VB_IMPORT_PULL);
    vb_importer_pulled(&i, VB_OK, 600 * S, 5);
    vb_importer_lock(&i, true, 601 * S);
    vb_importer_notice(&i, &s, true, 700 * S, &g);
    assert_int_equal(vb_importer_due(&i, 1299 * S, &wait), VB_IMPORT_WAIT);
    assert_int_equal(i.state, VB_IMPORT_OK);
    assert_int_equal(vb_importer_due(&i, 1300 * S, &wait), VB_IMPORT_WAIT);
    assert_int_equal(i.state, VB_IMPORT_NO_SYNC);
    assert_string_equal(vb_import_reason_word(i.reason), "locked");
}

static void spread(void **state)
{
    (void)state;
    struct vb_rng g;
    int64_t sum = 0, wait;
    vb_rng_seed(&g, 77);
    for (int n = 0; n < 50; n++) {
        struct vb_importer i = VB_IMPORTER_INIT;
        i.schedule.random_s = 5; /* its own value does not count */
        vb_importer_notice(&i, &normal, true, 1000 * S, &g);
        assert_in_range(i.pull_at_ms - 1000 * S, 0, 60 * S);
        sum += i.pull_at_ms - 1000 * S;
    }
    assert_in_range(sum / 50, 22 * S, 38 * S);
    struct vb_importer i = VB_IMPORTER_INIT;
    const struct vb_schedule none = { 300, 2, 0, 0 };
    vb_importer_notice(&i, &none, true, 1000 * S, &g);
    assert_int_equal(vb_importer_due(&i, 1000 * S, &wait), VB_IMPORT_PULL);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("REPL-T65 REPL-REP-16 the first field out of range is named; guard is at most half the interval", settings),
        CM_TEST("REPL-REP-11 REPL-REP-12 sync if it changed, else pulse, again and again", notices),
        CM_TEST("REPL-REP-20 a tree is quiet after the guard time", guard_time),
        CM_TEST("REPL-REP-33 never replicated until the first success", never_then_ok),
        CM_TEST("REPL-T72 REPL-REP-13 REPL-REP-14 silence: one question, then not in step, and back", silence),
        CM_TEST("REPL-T73 REPL-REP-32 each cause has its word", each_cause_has_its_word),
        CM_TEST("REPL-REP-37 a lock holds pulls, registered in advance as well", locked),
        CM_TEST("REPL-T77 REPL-REP-15 pulls are spread over the exporter's random time", spread),
    };
    return CM_RUN("schedule", t);
}
