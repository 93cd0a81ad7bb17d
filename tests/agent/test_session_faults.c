/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_session_faults.c - veto, hang, crash and garbage at each event and call; abort, cancel and lease.
 *
 * What must hold whatever happens: exactly one Thaw or Abort for each Freeze (B-42), nothing but Abort and
 * BackupShutdown after an Abort (B-73), the window closed, the slot given back, every reply sent once, the shadow
 * copies deleted.
 */
#include "config.h"

#include "base/text.h"
#include "tests/cm.h"
#include "tests/fakes/agent_host.h"

static struct vb_fake_host *host(void)
{
    struct vb_fake_host *h = vb_fake_host_new();
    vb_fake_add_provider(h, "prov")->hold = 2; /* VB_HOLD_FREEZE: the most that can go wrong */
    return h;
}

static const struct vb_msg *prepare(struct vb_fake_host *h)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    vb_fake_bcd(h, false, &b);
    return vb_fake_command(h, VB_M_PREPARE, &b);
}

static void until_prepared(struct vb_fake_host *h)
{
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
}

static size_t lines(const struct vb_fake_host *h, const char *writer, const char *event)
{
    VB_AUTO_FREE char *a = vb_printf("%s %s", writer, event), *b = vb_printf("%s %s (owed)", writer, event);
    return vb_fake_count(h, a) + vb_fake_count(h, b);
}

/* The rules that hold on every path. */
static void assert_sound(struct vb_fake_host *h)
{
    for (size_t i = 0; i < h->n_w; i++) {
        const char *w = h->w[i].name;
        size_t freezes = lines(h, w, "Freeze"), thaws = lines(h, w, "Thaw"), aborts = lines(h, w, "Abort");
        if (freezes) {
            /* The freeze itself ends once.  A set that fails between Thaw and the end of PostSnapshot still brings an
             * Abort (B-67, B-68, B-69), never a second Thaw, and none after PostSnapshot (B-74). */
            if (thaws > 1 || aborts > 1 || thaws + aborts == 0 || (aborts && lines(h, w, "PostSnapshot"))) {
                vb_fake_print(h);
                fail_msg("VSS-B-42: '%s' froze, then %zu Thaw and %zu Abort", w, thaws, aborts);
            }
        }
        VB_AUTO_FREE char *abort_line = vb_printf("%s Abort", w), *prefix = vb_printf("%s ", w);
        VB_AUTO_FREE char *shutdown = vb_printf("%s BackupShutdown", w), *quit = vb_printf("%s quit", w);
        VB_AUTO_FREE char *killed = vb_printf("%s killed", w), *crashed = vb_printf("%s crashed", w);
        for (size_t k = vb_fake_at(h, abort_line); k && k < h->log.n; k++) {
            const char *l = h->log.v[k];
            if (!strncmp(l, prefix, strlen(prefix)) && strncmp(l, abort_line, strlen(abort_line)) != 0 &&
                strncmp(l, shutdown, strlen(shutdown)) != 0 && strcmp(l, quit) != 0 && strcmp(l, killed) != 0 &&
                strcmp(l, crashed) != 0)
                fail_msg("VSS-B-73: '%s' after an Abort", l);
        }
    }
    assert_false(h->frozen);
    assert_false(h->in_window);
    assert_int_equal(vb_fake_count(h, "window begin"), vb_fake_count(h, "window end"));
    assert_int_equal(h->log_in_window, 0);
    assert_false(h->slot_wanted);
    assert_int_equal(h->slot_given, h->slot_back);
}

static void release(struct vb_fake_host *h)
{
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
    assert_true(h->ended);
    for (size_t i = 0; i < h->n_w; i++)
        if (lines(h, h->w[i].name, "PrepareForBackup"))
            assert_int_equal(lines(h, h->w[i].name, "BackupShutdown"), 1); /* B-60 */
    assert_sound(h);
}

static const enum vb_fake_way WAYS[] = { FAKE_FAIL, FAKE_HANG, FAKE_CRASH, FAKE_GARBAGE };
static const enum vb_event EVENTS[] = { VB_EV_PREPARE_BACKUP, VB_EV_PREPARE_SNAPSHOT, VB_EV_FREEZE, VB_EV_THAW,
                                        VB_EV_POST_SNAPSHOT };
static const enum vb_writer_state FAILED[] = { VB_WS_FAILED_AT_PREPARE_BACKUP, VB_WS_FAILED_AT_PREPARE_SNAPSHOT,
                                               VB_WS_FAILED_AT_FREEZE, VB_WS_FAILED_AT_THAW,
                                               VB_WS_FAILED_AT_POST_SNAPSHOT };

/* An optional writer fails in every way at every event: the others go on, and are thawed in time. */
static void vss_b_65_an_optional_writer_fails(void **state)
{
    (void)state;
    for (size_t e = 0; e < VB_COUNT(EVENTS); e++)
        for (size_t i = 0; i < VB_COUNT(WAYS); i++) {
            struct vb_fake_host *h = host();
            vb_fake_add_writer(h, "good", VB_LEVEL_BACK_END, "/data/good");
            struct vb_fake_writer *w = vb_fake_add_writer(h, "bad", VB_LEVEL_FRONT_END, "/data/bad");
            w->way[EVENTS[e]] = WAYS[i];
            w->freeze_ms = 1000;
            vb_fake_open(h, VB_JOB_BACKUP, NULL);
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
            const struct vb_msg *r = prepare(h);
            assert_int_equal(vb_fake_code(r), VB_OK);
            uint64_t t0 = vb_loop_now_ms(h->loop);
            if (EVENTS[e] != VB_EV_PREPARE_BACKUP)
                assert_int_equal(vb_fake_state(r, "bad"), VB_WS_STABLE);
            r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
            if (vb_fake_code(r) != VB_OK) {
                vb_fake_print(h);
                fail_msg("event %s way %d: %d", vb_event_word(EVENTS[e]), (int)WAYS[i], (int)vb_fake_code(r));
            }
            assert_int_equal(vb_fake_state(r, "bad"), FAILED[e]);
            assert_int_equal(vb_fake_state(r, "good"), VB_WS_WAITING_FOR_BACKUP_COMPLETE);
            if (EVENTS[e] == VB_EV_FREEZE || EVENTS[e] == VB_EV_THAW)
                assert_true(vb_loop_now_ms(h->loop) - t0 < 1500); /* not the good one's 60 s */
            assert_int_equal(vb_fake_count(h, "good Thaw"), 1);
            assert_int_equal(vb_fake_count(h, "good Abort"), 0);
            /* its component is not captured, except after a failed thaw, at a lower level */
            r = vb_fake_command(h, VB_M_CAPTURE, NULL);
            assert_int_equal(vb_fake_code(r), VB_OK);
            VB_AUTO_MSG b = VB_MSG_INIT(0);
            vb_fake_marks(h, true, &b);
            r = vb_fake_command(h, VB_M_COMPLETE, &b);
            assert_int_equal(vb_fake_code(r), VB_OK);
            assert_int_equal(vb_fake_count(h, "good BackupComplete"), 1);
            release(h);
            vb_fake_host_free(h);
        }
}

/* A required one stops the set, and everybody is aborted. */
static void vss_b_65_a_required_writer_fails(void **state)
{
    (void)state;
    for (size_t e = 0; e < VB_COUNT(EVENTS); e++)
        for (size_t i = 0; i < VB_COUNT(WAYS); i++) {
            struct vb_fake_host *h = host();
            vb_fake_add_writer(h, "good", VB_LEVEL_FRONT_END, "/data/good");
            struct vb_fake_writer *w = vb_fake_add_writer(h, "bad", VB_LEVEL_BACK_END, "/data/bad");
            w->way[EVENTS[e]] = WAYS[i];
            w->required = true;
            vb_fake_open(h, VB_JOB_BACKUP, NULL);
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
            assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
            const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
            if (EVENTS[e] == VB_EV_POST_SNAPSHOT) {
                assert_int_equal(vb_fake_code(r), VB_OK); /* the snapshot stands; its component is failed (B-43) */
                assert_int_equal(vb_fake_state(r, "bad"), VB_WS_FAILED_AT_POST_SNAPSHOT);
            } else {
                assert_int_not_equal(vb_fake_code(r), VB_OK);
                assert_int_equal(vb_fake_state(r, "bad"), FAILED[e]);
                if (EVENTS[e] != VB_EV_THAW)
                    assert_int_equal(vb_fake_count(h, "prov commit"), 0);
                assert_int_equal(vb_fake_count(h, "good Abort"),
                                 EVENTS[e] == VB_EV_THAW ? vb_fake_count(h, "good Abort") : 1);
                assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_COMPLETE, NULL)), VB_E_BAD_STATE); /* B-56 */
            }
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
            assert_false(h->frozen);
            assert_int_equal(h->slot_given, h->slot_back);
            if (EVENTS[e] != VB_EV_THAW)
                assert_sound(h);
            vb_fake_host_free(h);
        }
}

static void vss_b_67_prepare_snapshot_failure_is_no_abort(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "good", VB_LEVEL_FRONT_END, "/data/good");
    vb_fake_add_writer(h, "bad", VB_LEVEL_FRONT_END, "/data/bad")->way[VB_EV_PREPARE_SNAPSHOT] = FAKE_FAIL;
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(lines(h, "bad", "Abort"), 0);
    assert_int_equal(lines(h, "bad", "Freeze"), 0);
    vb_fake_host_free(h);
}

static void vss_b_41_any_provider_failure_fails_the_set(void **state)
{
    (void)state;
    static const char *const CALLS[] = { "begin_prepare", "end_prepare", "pre_commit",    "commit",
                                         "post_commit",   "pre_final",   "snapshot_path", "post_final" };
    static const enum vb_fake_way PWAYS[] = { FAKE_FAIL, FAKE_HANG, FAKE_CRASH };
    for (size_t c = 0; c < VB_COUNT(CALLS); c++)
        for (size_t i = 0; i < VB_COUNT(PWAYS); i++) {
            struct vb_fake_host *h = host();
            vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
            h->p[0].fail_call = CALLS[c];
            h->p[0].way = PWAYS[i];
            vb_fake_open(h, VB_JOB_BACKUP, NULL);
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
            const struct vb_msg *r = prepare(h);
            if (c == 0)
                assert_int_not_equal(vb_fake_code(r), VB_OK);
            else
                assert_int_not_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
            r = &h->replies[h->n_replies - 1];
            VB_AUTO_FREE char *text = vb_msg_str(r, VB_F_TEXT);
            assert_contains(text, "prov");
            if (c >= 2 && c <= 4)
                assert_int_equal(lines(h, "front", "Abort"), 1); /* B-68 */
            release(h);
            vb_fake_host_free(h);
        }
}

static void vss_b_38_the_window_of_a_writer_passes_in_commit(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "quick", VB_LEVEL_FRONT_END, "/data/quick")->freeze_ms = 1000;
    vb_fake_add_writer(h, "slow", VB_LEVEL_FRONT_END, "/data/slow");
    h->p[0].delay_ms = 3000;
    until_prepared(h);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    assert_int_equal(vb_fake_state(r, "quick"), VB_WS_FAILED_AT_FREEZE);
    assert_int_equal(vb_fake_state(r, "slow"), VB_WS_WAITING_FOR_BACKUP_COMPLETE);
    assert_true(vb_fake_at(h, "quick Abort") < vb_fake_at(h, "wd THAW"));
    assert_int_equal(vb_fake_count(h, "quick Thaw"), 0);
    release(h);
    vb_fake_host_free(h);
}

/* a late timer must never fail a writer that has thawed. */
static void vss_q_4_no_false_timeout_after_thaw(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    w->freeze_ms = 1000;
    w->delay_ms[VB_EV_FREEZE] = 400;
    w->delay_ms[VB_EV_THAW] = 500;
    w->delay_ms[VB_EV_POST_SNAPSHOT] = 5000;
    until_prepared(h);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    assert_int_equal(vb_fake_state(r, "front"), VB_WS_WAITING_FOR_BACKUP_COMPLETE);
    vb_fake_run(h, 120000);
    release(h);
    vb_fake_host_free(h);
}

static void the_jobs_freeze_limit_ends_the_window(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    struct vb_job *job;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    h->p[0].delay_ms = 9000;
    vb_fake_open(h, VB_JOB_BACKUP, &job);
    job->freeze_limit_ms = 2000;
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
    uint64_t t0 = vb_loop_now_ms(h->loop);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_E_HOLD_WRITES_TIMEOUT);
    assert_true(vb_loop_now_ms(h->loop) - t0 < 3500);
    release(h);
    vb_fake_host_free(h);
}

static void the_watchdog_fails_at_each_call(void **state)
{
    (void)state;
    for (int call = VB_WD_START; call <= VB_WD_THAW; call++) {
        struct vb_fake_host *h = host();
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
        h->wd_fail[call] = VB_E_FLUSH_WRITES_TIMEOUT;
        until_prepared(h);
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_E_FLUSH_WRITES_TIMEOUT);
        assert_int_equal(vb_session_still_frozen(h->session), call == VB_WD_THAW); /* recover tries it again */
        release(h);
        vb_fake_host_free(h);
    }
}

/* Cancelled at every event in which a writer hangs: answered within a second. */
static void cancel_of_a_hanging_writer_takes_less_than_a_second(void **state)
{
    (void)state;
    for (size_t e = 0; e < VB_COUNT(EVENTS); e++) {
        struct vb_fake_host *h = host();
        vb_fake_add_writer(h, "good", VB_LEVEL_FRONT_END, "/data/good");
        vb_fake_add_writer(h, "bad", VB_LEVEL_FRONT_END, "/data/bad")->way[EVENTS[e]] = FAKE_HANG;
        vb_fake_open(h, VB_JOB_BACKUP, NULL);
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
        VB_AUTO_MSG b = VB_MSG_INIT(0);
        uint64_t running;
        vb_fake_bcd(h, false, &b);
        if (EVENTS[e] == VB_EV_PREPARE_BACKUP) {
            running = vb_fake_send(h, VB_M_PREPARE, &b);
        } else {
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_PREPARE, &b)), VB_OK);
            running = vb_fake_send(h, VB_M_SNAPSHOT, NULL);
        }
        assert_null(vb_fake_wait(h, running, 500));
        uint64_t t0 = vb_loop_now_ms(h->loop);
        uint64_t cancel = vb_fake_send(h, VB_M_ABORT, NULL);
        assert_non_null(vb_fake_wait(h, cancel, 5000));
        assert_true(vb_loop_now_ms(h->loop) - t0 < 1000);
        assert_int_equal(vb_fake_code(vb_fake_wait(h, running, 0)),
                         VB_E_CANCELLED); /* every command is answered once */
        assert_int_equal(lines(h, "good", "Abort") + vb_fake_count(h, "good PostSnapshot"), 1); /* B-74 */
        release(h);
        vb_fake_host_free(h);
    }
}

/* The lease runs out, or the supervisor dies, at every millisecond of a backup. */
static void end_at_any_moment_releases_everything(void **state)
{
    (void)state;
    bool reached_end = false;
    for (uint64_t ms = 0; !reached_end; ms++) {
        struct vb_fake_host *h = host();
        for (int i = 0; i < 2; i++) {
            struct vb_fake_writer *w = vb_fake_add_writer(
                h, i ? "back" : "front", i ? VB_LEVEL_BACK_END : VB_LEVEL_FRONT_END, i ? "/data/b" : "/data/f");
            for (int e = 0; e < VB_EV_COUNT; e++)
                w->delay_ms[e] = 2;
        }
        h->p[0].delay_ms = 2;
        vb_fake_open(h, VB_JOB_BACKUP, NULL);
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
        VB_AUTO_MSG b = VB_MSG_INIT(0);
        vb_fake_bcd(h, false, &b);
        uint64_t id = vb_fake_send(h, VB_M_PREPARE, &b);
        uint64_t until = vb_loop_now_ms(h->loop) + ms;
        if (vb_fake_wait(h, id, ms) && vb_loop_now_ms(h->loop) <= until) {
            id = vb_fake_send(h, VB_M_SNAPSHOT, NULL);
            reached_end = vb_fake_wait(h, id, until - vb_loop_now_ms(h->loop)) != NULL;
        }
        vb_session_end(h->session, VB_E_JOB_LOST, "gone");
        vb_session_end(h->session, VB_E_CANCELLED, "twice is harmless");
        vb_fake_run(h, 10000);
        assert_true(h->ended);
        assert_int_equal(h->why.code, VB_E_JOB_LOST);
        const struct vb_msg *r = vb_fake_wait(h, id, 0);
        if (!reached_end)
            assert_int_equal(vb_fake_code(r), VB_E_JOB_LOST);
        assert_sound(h);
        for (size_t i = 0; i < h->n_w; i++)
            assert_int_equal(lines(h, h->w[i].name, "BackupShutdown"), lines(h, h->w[i].name, "PrepareForBackup"));
        if (vb_fake_count(h, "prov commit"))
            assert_int_equal(vb_fake_count(h, "prov delete"), 1);
        vb_fake_host_free(h);
    }
}

static void vss_b_71_abort_with_nothing_under_way_is_harmless(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
    assert_int_equal(lines(h, "front", "Abort"), 1); /* B-69 */
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
    assert_int_equal(lines(h, "front", "Abort"), 1);
    release(h);
    vb_fake_host_free(h);
}

static void vss_b_74_no_abort_after_post_snapshot(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
    assert_int_equal(lines(h, "front", "Abort"), 0);
    release(h);
    vb_fake_host_free(h);
}

static void vss_b_69_release_after_prepare_aborts_first(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    release(h);
    assert_int_equal(lines(h, "front", "Abort"), 1);
    assert_true(vb_fake_at(h, "front Abort") < vb_fake_at(h, "front BackupShutdown"));
    vb_fake_host_free(h);
}

static void vss_w_29_partial_failure_fails_one_component(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front")->way[VB_EV_POST_SNAPSHOT] = FAKE_PARTIAL;
    until_prepared(h);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    struct vb_components *c = vb_fake_read_bcd(r);
    assert_int_equal(c->writers[0].components[0].failure_code, VB_E_WRITER_NON_RETRYABLE);
    vb_components_free(c);
    r = vb_fake_command(h, VB_M_CAPTURE, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    assert_int_equal(h->mover_runs, 0);
    vb_fake_host_free(h);
}

static void a_lost_host_is_worked_off_by_a_fresh_one(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "good", VB_LEVEL_FRONT_END, "/data/good");
    struct vb_fake_writer *w = vb_fake_add_writer(h, "bad", VB_LEVEL_FRONT_END, "/data/bad");
    w->way[VB_EV_FREEZE] = FAKE_CRASH;
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(w->starts, 2);
    assert_int_equal(vb_fake_count(h, "bad Abort (owed)"), 1);
    assert_true(vb_fake_at(h, "window end") < vb_fake_at(h, "bad Abort (owed)"));
    release(h);
    vb_fake_host_free(h);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("VSS-B-65 an optional writer fails in every way at every event: the others go on",
                vss_b_65_an_optional_writer_fails),
        CM_TEST("VSS-B-65 a required writer fails: everybody is aborted (B-42, B-56, B-68, B-73)",
                vss_b_65_a_required_writer_fails),
        CM_TEST("VSS-B-67 a failed PrepareForSnapshot produces no Abort",
                vss_b_67_prepare_snapshot_failure_is_no_abort),
        CM_TEST("VSS-B-41 any provider failure fails the set (B-68, B-70)",
                vss_b_41_any_provider_failure_fails_the_set),
        CM_TEST("VSS-B-38 a writer's window passes during commit", vss_b_38_the_window_of_a_writer_passes_in_commit),
        CM_TEST("VSS-Q-4 no false time-out after the thaw", vss_q_4_no_false_timeout_after_thaw),
        CM_TEST("the job's freeze limit ends the window", the_jobs_freeze_limit_ends_the_window),
        CM_TEST("the watchdog fails at each call", the_watchdog_fails_at_each_call),
        CM_TEST("cancel of a hanging writer takes less than a second",
                cancel_of_a_hanging_writer_takes_less_than_a_second),
        CM_TEST("VSS-B-60 an end at any moment releases everything (B-61, B-72)",
                end_at_any_moment_releases_everything),
        CM_TEST("VSS-B-71 AbortBackup with nothing under way is harmless",
                vss_b_71_abort_with_nothing_under_way_is_harmless),
        CM_TEST("VSS-B-74 no Abort after PostSnapshot", vss_b_74_no_abort_after_post_snapshot),
        CM_TEST("VSS-B-69 a release after PrepareForBackup aborts first",
                vss_b_69_release_after_prepare_aborts_first),
        CM_TEST("VSS-W-29 a partial failure fails one component", vss_w_29_partial_failure_fails_one_component),
        CM_TEST("VSS-W-20 what a lost host owes is worked off by a fresh one",
                a_lost_host_is_worked_off_by_a_fresh_one),
    };
    return CM_RUN("session_faults", t);
}
