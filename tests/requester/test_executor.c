/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/test_executor.c - one rule of failure at a time: real requester and sessions, and a mishap where the
 * rule speaks of one.
 *
 * The stage: host "fe" with writer "shop" (component "content", which needs "accounts" and "ledger" on "backend") and
 * writer "other" (component "notes", which needs nothing); host "backend" with writer "postgresql".
 */
#include "tests/requester/stage.h"

/* ---- backup ---- */

/* RECORD_AGENT=DIR: what the agents sent, for the corpus of fuzz_agent_replies. */
static void write_record(const char *name, const struct vb_buf *b)
{
    const char *dir = getenv("RECORD_AGENT");
    VB_AUTO_FREE char *path = dir ? vb_path_join(dir, name) : NULL;
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fwrite(b->data, 1, b->len, f);
        fclose(f);
    }
}

static void everything_goes_well(void **state)
{
    struct stage *t = set_up(false);
    VB_AUTO_BUF record = VB_BUF_INIT;
    (void)state;
    t->s.script.record = &record;
    backup(t);
    write_record("two-hosts", &record);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    is(t, "content", VB_COMPLETE, VB_OK);
    is(t, "ledger", VB_COMPLETE, VB_OK);
    assert_int_equal(part(t, "content")->level, VB_CONSISTENCY_GROUP);
    assert_int_equal(part(t, "accounts")->level, VB_CONSISTENCY_GROUP);
    assert_int_equal(part(t, "notes")->level, VB_CONSISTENCY_APPLICATION); /* no group */
    assert_true(told(t, FE, SHOP, true));
    tear_down(t);
}

static void vss_b_32_optional_writer_fails(void **state)
{
    (void)state;
    static const enum vb_event events[] = { VB_EV_PREPARE_BACKUP, VB_EV_PREPARE_SNAPSHOT, VB_EV_FREEZE,
                                            VB_EV_POST_SNAPSHOT };
    for (size_t i = 0; i < VB_COUNT(events); i++) {
        struct stage *t = set_up(false);
        mishap(t, FE, OTHER, events[i], SIM_VETO);
        backup(t);
        assert_int_equal(t->exit, VB_EXIT_PARTIAL);
        is(t, "notes", VB_FAILED, VB_E_WRITER_NON_RETRYABLE);
        is(t, "content", VB_COMPLETE, VB_OK);
        assert_non_null(t->backup_id);
        tear_down(t);
    }
}

static void vss_b_65_required_writer_aborts_the_run(void **state)
{
    static const struct vb_job_writer required = { (char *)(uintptr_t)"other", VB_POLICY_REQUIRED };
    static const enum vb_event events[] = { VB_EV_PREPARE_BACKUP, VB_EV_FREEZE };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(events); i++) {
        struct stage *t = set_up(false);
        t->opt.writers = &required;
        t->opt.n_writers = 1;
        mishap(t, FE, OTHER, events[i], SIM_VETO);
        backup(t);
        assert_int_equal(t->exit, VB_EXIT_FAILED);
        assert_null(t->backup_id);
        assert_int_equal(count(t, BACKEND, 0, VB_EV_PREPARE_BACKUP), 0); /* D-41, D-49 */
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 0);
        assert_true(count(t, FE, SHOP, VB_EV_ABORT) > 0); /* B-69 */
        tear_down(t);
    }
}

static void vss_b_67_hanging_and_crashing_writer(void **state)
{
    (void)state;
    for (int m = SIM_HANG; m <= SIM_CRASH; m++) {
        struct stage *t = set_up(false);
        mishap(t, FE, OTHER, VB_EV_FREEZE, (enum sim_mishap)m);
        backup(t);
        assert_int_equal(part(t, "notes")->done, VB_FAILED);
        /* one that hangs may use half of the others' window, so that they are still within theirs (B-38) */
        assert_int_equal(t->exit, VB_EXIT_PARTIAL);
        is(t, "content", VB_COMPLETE, VB_OK);
        assert_int_equal(count(t, FE, SHOP, VB_EV_THAW), 1);
        tear_down(t);
    }
}

static void vss_d_48_remote_snapshot_fails(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = BACKEND;
    t->what = "commit";
    t->s.script.provider_fails = provider_mishap;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    assert_int_equal(part(t, "accounts")->done, VB_FAILED);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 1); /* so that its lock is released */
    assert_true(told(t, FE, SHOP, false));
    assert_true(told(t, FE, OTHER, true));
    assert_int_equal(count(t, BACKEND, 0, VB_EV_BACKUP_COMPLETE), 0); /* B-56 */
    tear_down(t);
}

static void vss_d_48_remote_capture_fails(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = BACKEND;
    t->what = "ledger";
    t->s.script.mover_fails = mover_mishap;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    is(t, "ledger", VB_FAILED, VB_E_FILE_MISSING);
    is(t, "accounts", VB_COMPLETE, VB_OK);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_int_equal(count(t, BACKEND, 0, VB_EV_BACKUP_COMPLETE), 1); /* B-57 */
    assert_true(told(t, FE, SHOP, false));
    assert_int_equal(part(t, "accounts")->level, VB_CONSISTENCY_APPLICATION); /* its group did not come through */
    tear_down(t);
}

static void vss_d_49_front_end_fails_before_any_job_is_sent(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = FE;
    t->what = "commit";
    t->s.script.provider_fails = provider_mishap;
    backup(t);
    assert_int_not_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(count(t, BACKEND, SIZE_MAX, VB_EV_PREPARE_BACKUP), 0);
    is(t, "accounts", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_true(count(t, FE, SHOP, VB_EV_ABORT) > 0); /* B-70 */
    assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 0);
    tear_down(t);
}

static void vss_d_33_back_end_cannot_be_reached(void **state)
{
    (void)state;
    for (int manner = 0; manner < 3; manner++) { /* refused, mute, garbage */
        struct stage *t = set_up(false);
        VB_AUTO_BUF record = VB_BUF_INIT;
        t->s.script.record = &record;
        if (manner == 0)
            t->s.topo.hosts[BACKEND].unreachable = true;
        else
            t->s.hosts[BACKEND].manner = manner == 1 ? SIM_MUTE : SIM_GARBAGE;
        backup(t);
        if (manner == 0)
            write_record("one-host", &record);
        assert_int_equal(t->exit, VB_EXIT_PARTIAL);
        is(t, "content", VB_FAILED, manner == 0 ? VB_E_CONNECT : manner == 1 ? VB_E_TIMEOUT : VB_E_PROTOCOL);
        is(t, "notes", VB_COMPLETE, VB_OK);
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 1); /* D-48 */
        assert_true(told(t, FE, SHOP, false));
        tear_down(t);
    }
}

static void vss_d_6_policy_fail_touches_nothing(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->s.topo.hosts[BACKEND].unreachable = true;
    t->opt.missing = VB_MISSING_FAIL;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_BUSY);
    assert_int_equal(t->code, VB_E_CONNECT);
    assert_non_null(strstr(t->error, "content"));
    assert_non_null(strstr(t->error, "backend"));
    assert_int_equal(count(t, FE, SHOP, VB_EV_PREPARE_BACKUP), 0);

    t->opt.missing = VB_MISSING_DROP_DEPENDENT; /* D-6 b */
    backup(t);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_int_equal(t->n_parts, 1);
    tear_down(t);
}

static void repository_full_at_every_stage(void **state)
{
    (void)state;
    for (int stage = 0; stage < 3; stage++) {
        struct stage *t = set_up(false);
        t->s.script.chunks_fail = stage == 0;
        t->s.script.barrier_fails = stage == 1;
        t->s.script.commit_fails = stage == 2;
        backup(t);
        assert_int_equal(t->exit, VB_EXIT_FAILED);
        assert_int_equal(t->code, VB_E_NO_SPACE);
        if (stage < 2) { /* nothing is marked before the barrier, but the lock is released (K-6) */
            assert_true(told(t, FE, SHOP, false));
            assert_true(told(t, FE, OTHER, false));
            assert_int_equal(part(t, "notes")->done, VB_FAILED);
        } else {
            assert_null(t->backup_id);
        }
        assert_true(count(t, FE, SHOP, VB_EV_BACKUP_SHUTDOWN) > 0);
        tear_down(t);
    }
}

/* ---- connections and lives ---- */

static void cut_at_every_message(void **state)
{
    unsigned complete = 0, n = 1;
    (void)state;
    for (;; n++) { /* the stream breaks at its n-th message; until a run has fewer */
        struct stage *t = set_up(false);
        t->s.script.cut_in = n;
        backup(t);
        bool was_cut = t->s.script.cut_in == 0;
        complete += t->exit == VB_EXIT_DONE;
        if (t->exit != VB_EXIT_DONE && t->exit != VB_EXIT_BUSY && t->exit != VB_EXIT_PARTIAL)
            fail_msg("cut at message %u: exit %d, %s", n, (int)t->exit, t->error ? t->error : "");
        if (t->backup_id && t->exit == VB_EXIT_DONE)
            assert_int_equal(count(t, FE, SHOP, VB_EV_FREEZE), 1); /* nothing was done twice */
        tear_down(t);
        if (!was_cut)
            break;
    }
    print_message("# %u places, %u runs complete\n", n, complete);
    assert_true(n > 100);
    assert_true(complete > n * 3 / 4); /* gathering is not repeated; from OPEN on every cut is survived */
}

static uint64_t records(struct stage *t)
{
    struct vb_strv ids = { 0 };
    uint64_t n = 0;
    if (vb_run_unfinished(t->state, &ids, NULL) == 0 && ids.n > 0) {
        VB_AUTO_FREE char *name = vb_printf("runs/%s/journal", ids.v[0]);
        struct vb_journal *j = t->state->journal(t->state->ctx, name, NULL);
        n = vb_journal_count(j);
    }
    vb_strv_clear(&ids);
    return n;
}

/* The requester dies as soon as its journal has n records; another takes the run up. True while there are that many. */
static bool die_at_record(struct stage *t, uint64_t n, bool at_restore)
{
    begin(t);
    t->run = at_restore ? vb_run_restore(&t->env, &t->opt, &stage_handler, t) : vb_run_backup(&t->env, &t->opt, &stage_handler, t);
    while (!t->done && records(t) < n)
        assert_true(vb_loop_turn(t->s.loop, 0));
    if (t->done) {
        settle(t);
        return false;
    }
    struct vb_strv ids = { 0 };
    vb_run_free(VB_STEAL(t->run));
    sim_store_crash(&t->s);
    assert_int_equal(vb_run_unfinished(t->state, &ids, NULL), 0);
    assert_int_equal(ids.n, 1);
    t->run = vb_run_resume(&t->env, ids.v[0], &stage_handler, t);
    settle(t);
    vb_strv_clear(&ids);
    return true;
}

static void requester_dies_at_every_transition_of_a_backup(void **state)
{
    uint64_t n = 1;
    bool more = true;
    (void)state;
    for (; more; n++) {
        struct stage *t = set_up(false);
        more = die_at_record(t, n, false);
        if (t->exit != VB_EXIT_DONE)
            fail_msg("record %llu: exit %d, %s", (unsigned long long)n, (int)t->exit, t->error ? t->error : "");
        assert_int_equal(t->s.n_entries, 1);
        assert_int_equal(count(t, FE, SHOP, VB_EV_FREEZE), 1);
        assert_int_equal(count(t, BACKEND, 0, VB_EV_FREEZE), 1);
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 1);
        assert_true(told(t, FE, SHOP, true));
        is(t, "content", VB_COMPLETE, VB_OK);
        assert_int_equal(part(t, "content")->level, VB_CONSISTENCY_GROUP);
        tear_down(t);
    }
    print_message("# %llu transitions\n", (unsigned long long)n);
    assert_true(n > 35);
}

static void requester_dies_at_every_transition_of_a_restore(void **state)
{
    uint64_t n = 1;
    bool more = true;
    (void)state;
    for (; more; n++) {
        struct stage *t = set_up(false);
        backup(t);
        t->opt.overwrite = true;
        more = die_at_record(t, n, true);
        if (t->exit != VB_EXIT_DONE)
            fail_msg("record %llu: exit %d, %s", (unsigned long long)n, (int)t->exit, t->error ? t->error : "");
        assert_int_equal(count(t, FE, SHOP, VB_EV_PRE_RESTORE), 1);
        assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);
        assert_int_equal(count(t, BACKEND, 0, VB_EV_POST_RESTORE), 1);
        is(t, "content", VB_COMPLETE, VB_OK);
        tear_down(t);
    }
    print_message("# %llu transitions\n", (unsigned long long)n);
    assert_true(n > 20);
}

static void jobs_that_are_gone_end_a_resumed_run(void **state)
{
    struct stage *t = set_up(false);
    struct vb_strv ids = { 0 };
    (void)state;
    begin(t);
    t->run = vb_run_backup(&t->env, &t->opt, &stage_handler, t);
    while (count(t, BACKEND, 0, VB_EV_FREEZE) == 0)
        assert_true(vb_loop_turn(t->s.loop, 0));
    vb_run_free(VB_STEAL(t->run));
    sim_store_crash(&t->s);
    uint64_t until = vb_loop_now_ms(t->s.loop) + 400000; /* longer than the lease */
    while (vb_loop_now_ms(t->s.loop) < until && vb_loop_turn(t->s.loop, 0))
        ;
    sim_check_end(&t->s); /* B-61: everything was cleaned up long before */
    assert_int_equal(vb_run_unfinished(t->state, &ids, NULL), 0);
    t->run = vb_run_resume(&t->env, ids.v[0], &stage_handler, t);
    settle(t);
    assert_int_equal(t->code, VB_E_JOB_LOST);
    assert_null(t->backup_id);
    assert_int_equal(t->s.n_entries, 0);
    vb_strv_clear(&ids);
    backup(t); /* the next run is not disturbed */
    assert_int_equal(t->exit, VB_EXIT_DONE);
    tear_down(t);
}

static void crash_on_freeze(void *arg, size_t host, size_t writer, enum vb_event ev)
{
    struct stage *t = arg;
    (void)writer;
    if (host == BACKEND && ev == VB_EV_POST_SNAPSHOT)
        t->seen = 1;
}

static void worker_of_the_back_end_dies(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    begin(t);
    t->s.script.event = crash_on_freeze;
    t->run = vb_run_backup(&t->env, &t->opt, &stage_handler, t);
    while (!t->seen)
        assert_true(vb_loop_turn(t->s.loop, 0));
    sim_agent_crash(&t->s.hosts[BACKEND]);
    settle(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    is(t, "accounts", VB_FAILED, VB_E_JOB_LOST);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_true(told(t, FE, SHOP, false));
    tear_down(t);
}

/* ---- cancel ---- */

static void cancel_now(void *arg)
{
    struct stage *t = arg;
    vb_run_cancel(t->run);
    vb_run_cancel(t->run); /* twice is harmless */
}

static void cancel_at_event(void *arg, size_t host, size_t writer, enum vb_event ev)
{
    struct stage *t = arg;
    if (host == t->host && writer == t->writer && ev == t->event && !t->seen) {
        t->seen = 1;
        t->cancel_after_ms = vb_loop_now_ms(t->s.loop) + 50;
        (void)vb_loop_after(t->s.loop, 50, cancel_now, t);
    }
}

static void cancel_ends_within_a_second(void **state)
{
    static const enum vb_event events[] = { VB_EV_PREPARE_BACKUP, VB_EV_FREEZE, VB_EV_POST_SNAPSHOT };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(events); i++) {
        struct stage *t = set_up(false);
        mishap(t, FE, SHOP, events[i], SIM_HANG);
        t->s.script.event = cancel_at_event;
        backup(t);
        assert_int_equal(t->code, VB_E_CANCELLED);
        assert_null(t->backup_id);
        assert_true(t->ended_ms - t->cancel_after_ms <= 1000);
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 0); /* B-72 */
        assert_int_equal(t->s.n_entries, 0);
        tear_down(t);
    }
}

int main(void)
{
    vb_log_init("test_executor: ");
    vb_log_set_level(VB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        T("everything goes well, and the group is called one", everything_goes_well),
        T("VSS-B-32 VSS-B-43 VSS-Q-13 an optional writer fails", vss_b_32_optional_writer_fails),
        T("VSS-B-65 VSS-B-69 a required writer aborts the run", vss_b_65_required_writer_aborts_the_run),
        T("VSS-B-67 a writer hangs or crashes in freeze", vss_b_67_hanging_and_crashing_writer),
        T("VSS-D-48 VSS-B-56 the remote snapshot fails", vss_d_48_remote_snapshot_fails),
        T("VSS-D-48 VSS-B-57 the remote capture fails", vss_d_48_remote_capture_fails),
        T("VSS-D-49 VSS-B-70 the front end fails before any job is sent",
          vss_d_49_front_end_fails_before_any_job_is_sent),
        T("VSS-D-33 VSS-D-48 the back end is refused, mute or talks garbage", vss_d_33_back_end_cannot_be_reached),
        T("VSS-D-6 VSS-D-12 policies for a missing target", vss_d_6_policy_fail_touches_nothing),
        T("the repository is full at every stage", repository_full_at_every_stage),
        T("a stream is cut at every message", cut_at_every_message),
        T("the requester dies at every transition of a backup", requester_dies_at_every_transition_of_a_backup),
        T("the requester dies at every transition of a restore", requester_dies_at_every_transition_of_a_restore),
        T("VSS-B-61 jobs that are gone end a resumed run", jobs_that_are_gone_end_a_resumed_run),
        T("the worker of the back end dies", worker_of_the_back_end_dies),
        T("cancel ends within a second", cancel_ends_within_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
