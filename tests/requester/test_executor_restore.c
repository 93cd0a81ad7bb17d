/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/test_executor_restore.c - the executor at restore: refusals on either side, other places, other hosts; plans
 * and progress.
 */
#include "tests/requester/stage.h"

/* ---- restore ---- */

static struct stage *backed_up(bool with_spare)
{
    struct stage *t = set_up(with_spare);
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    t->opt.overwrite = true;
    return t;
}

static void restore_goes_well(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(part(t, "content")->status, VB_FILE_RESTORE_ALL);
    assert_int_equal(t->s.hosts[BACKEND].n_files, 2);
    tear_down(t);
}

static void vss_d_62_back_end_refuses_pre_restore(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    mishap(t, BACKEND, 0, VB_EV_PRE_RESTORE, SIM_VETO);
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    assert_int_equal(part(t, "accounts")->status, VB_FILE_RESTORE_NONE);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_int_equal(part(t, "content")->status, VB_FILE_RESTORE_NONE); /* nothing was done */
    assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);        /* never left out */
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0);
    assert_int_equal(t->s.hosts[FE].n_files, 1); /* notes alone */
    tear_down(t);
}

static void vss_d_62_back_end_files_fail(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    t->host = BACKEND;
    t->what = "accounts";
    t->s.script.mover_fails = mover_mishap;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    assert_int_equal(part(t, "accounts")->status, VB_FILE_RESTORE_FAILED);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_int_equal(part(t, "content")->status, VB_FILE_RESTORE_FAILED);
    assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);
    assert_int_equal(count(t, BACKEND, 0, VB_EV_POST_RESTORE), 1);
    is(t, "notes", VB_COMPLETE, VB_OK);
    tear_down(t);
}

/* Place in the trace, from 1; 0: not there. */
static size_t place(const struct stage *t, size_t host, enum vb_event ev, bool begin)
{
    for (size_t i = 0; i < t->s.n_trace; i++) {
        const struct sim_trace *e = &t->s.trace[i];
        if (e->host == host && e->event == ev && (begin ? e->what == SIM_EVENT_BEGIN : e->what == SIM_EVENT_OK))
            return i + 1;
    }
    return 0;
}

/* Stopped at any moment, the writers hear PostRestore in the order of a restore that went well: what is behind first, for
 * a front end that looks at its back end in PostRestore must not find one that is still being put back. */
static void vss_d_59_order_of_aborts(void **state)
{
    (void)state;
    unsigned both = 0, stopped = 0;
    bool over = false;
    for (unsigned turns = 1; !over; turns += 3) {
        struct stage *t = backed_up(false);
        begin(t);
        t->run = vb_run_restore(&t->env, &t->opt, &stage_handler, t);
        for (unsigned i = 0; i < turns && !t->done; i++)
            if (!vb_loop_turn(t->s.loop, 0))
                break;
        over = t->done;
        if (!over) {
            vb_run_cancel(t->run);
            stopped++;
        }
        settle(t);
        size_t back = place(t, BACKEND, VB_EV_POST_RESTORE, false), front = place(t, FE, VB_EV_POST_RESTORE, true);
        if (place(t, BACKEND, VB_EV_PRE_RESTORE, true) && place(t, FE, VB_EV_PRE_RESTORE, true)) {
            both += !over;
            if (!back || !front || front < back)
                fail_msg("stopped after %u turns: PostRestore of the back end is %zu, of the front end %zu", turns, back,
                         front);
        }
        tear_down(t);
    }
    print_message("# stopped at %u moments, at %u of them both had heard PreRestore\n", stopped, both);
    assert_true(both > 5);
}

static void vss_d_60_front_end_refuses_so_the_back_end_is_not_touched(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    mishap(t, FE, SHOP, VB_EV_PRE_RESTORE, SIM_VETO);
    restore(t);
    assert_int_equal(count(t, BACKEND, SIZE_MAX, VB_EV_PRE_RESTORE), 0);
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0);
    is(t, "accounts", VB_FAILED, VB_E_REMOTE_FAILED);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);
    tear_down(t);
}

static void existing_data_are_not_overwritten_without_consent(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    restore(t);
    t->opt.overwrite = false;
    size_t files = t->s.hosts[FE].n_files;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_GUARD);
    assert_int_equal(count(t, FE, SHOP, VB_EV_PRE_RESTORE), 0);
    assert_int_equal(count(t, BACKEND, 0, VB_EV_PRE_RESTORE), 0);
    assert_int_equal(t->s.hosts[FE].n_files, files);
    tear_down(t);
}

static void vss_r_57_private_restore_has_no_events(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    t->opt.target_dir = "/tmp/elsewhere";
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    for (size_t h = 0; h < 2; h++) {
        assert_int_equal(count(t, h, SIZE_MAX, VB_EV_PRE_RESTORE), 0);
        assert_int_equal(count(t, h, SIZE_MAX, VB_EV_POST_RESTORE), 0);
    }
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0); /* all of it on the front end */
    assert_int_equal(t->s.hosts[FE].n_files, 4);
    tear_down(t);
}

static void back_end_is_mapped_to_another_host(void **state)
{
    struct stage *t = backed_up(true);
    struct vb_strv maps = { 0 };
    (void)state;
    vb_strv_add(&maps, "backend=spare");
    t->opt.maps = &maps;
    t->s.topo.hosts[BACKEND].unreachable = true; /* it burnt down */
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(t->s.hosts[SPARE].n_files, 2);
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0);
    assert_int_equal(count(t, SPARE, 0, VB_EV_POST_RESTORE), 1);
    vb_strv_clear(&maps);
    tear_down(t);
}

static void what_failed_at_backup_is_not_restored(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = FE;
    t->what = "notes";
    t->s.script.mover_fails = mover_mishap;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    t->s.script.mover_fails = NULL;
    t->opt.overwrite = true;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    is(t, "notes", VB_FAILED, VB_E_NOT_FOUND);
    is(t, "content", VB_COMPLETE, VB_OK);
    tear_down(t);
}

/* ---- plans ---- */

static void offline_plan_is_the_plan_of_the_last_run(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    begin(t);
    t->run = vb_run_plan_only(&t->env, VB_JOB_BACKUP, &t->opt, &stage_handler, t);
    settle(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(count(t, FE, SHOP, VB_EV_PREPARE_BACKUP), 0); /* nothing is touched */
    VB_AUTO_FREE char *online = VB_STEAL(t->plan_text);
    for (size_t h = 0; h < 2; h++)
        t->s.topo.hosts[h].unreachable = true;
    t->opt.offline = true;
    begin(t);
    t->run = vb_run_plan_only(&t->env, VB_JOB_BACKUP, &t->opt, &stage_handler, t);
    settle(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_non_null(strstr(t->plan_text, "from the metadata of the last run"));
    /* Only the volumes cannot be known offline. */
    const char *from = strstr(online, "\nvolumes\n"), *to = from ? strstr(from, "\ndependencies\n") : NULL;
    assert_non_null(to);
    assert_non_null(strstr(from, "snapshot by"));
    VB_AUTO_FREE char *without = vb_printf("%.*s%s", (int)(from - online), online, to);
    assert_string_equal(strstr(without, "\nhost"), strstr(t->plan_text, "\nhost"));
    tear_down(t);
}

/* ---- progress ---- */

static void the_last_backup_says_how_much_there_will_be(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    backup(t);
    assert_false(t->estimate); /* the first one cannot know */
    backup(t);
    assert_true(t->estimate);
    assert_true(t->total > 0);
    tear_down(t);
}

int main(void)
{
    vb_log_init("test_executor_restore: ");
    vb_log_set_level(VB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        T("a restore goes well", restore_goes_well),
        T("VSS-D-62 the back end refuses PreRestore", vss_d_62_back_end_refuses_pre_restore),
        T("VSS-D-62 files of the back end fail", vss_d_62_back_end_files_fail),
        T("VSS-D-59 a restore stopped at any moment: PostRestore behind comes before PostRestore in front",
          vss_d_59_order_of_aborts),
        T("VSS-D-60 the front end refuses, so the back end is not touched",
          vss_d_60_front_end_refuses_so_the_back_end_is_not_touched),
        T("existing data are not overwritten without consent", existing_data_are_not_overwritten_without_consent),
        T("VSS-R-57 a private restore has no events", vss_r_57_private_restore_has_no_events),
        T("a back end is mapped to another host", back_end_is_mapped_to_another_host),
        T("what failed at backup is not restored", what_failed_at_backup_is_not_restored),
        T("an offline plan is the plan of the last run", offline_plan_is_the_plan_of_the_last_run),
        T("the last backup says how much there will be", the_last_backup_says_how_much_there_will_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
