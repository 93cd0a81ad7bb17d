/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_session_backup.c - sections 2.1 and 2.2 of the rule book: order, states, legality, levels, windows.
 */
#include "config.h"

#include "base/text.h"
#include "vbackup/provider.h"
#include "tests/cm.h"
#include "tests/fakes/agent_host.h"

static struct vb_fake_host *host(void)
{
    struct vb_fake_host *h = vb_fake_host_new();
    vb_fake_add_provider(h, "prov");
    return h;
}

static void identify(struct vb_fake_host *h)
{
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
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
    identify(h);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
}

static void assert_order(const struct vb_fake_host *h, const char *const *lines)
{
    size_t last = 0;
    for (; *lines; lines++) {
        size_t at = vb_fake_at(h, *lines);
        if (!at || at < last) {
            vb_fake_print(h);
            fail_msg("'%s' is missing or too early", *lines);
        }
        last = at;
    }
}

static void vss_2_1_order_of_events_and_calls(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    assert_int_equal(vb_fake_state(r, "front"), VB_WS_WAITING_FOR_BACKUP_COMPLETE);
    assert_true(vb_msg_has(r, VB_F_WINDOW_US));
    r = vb_fake_command(h, VB_M_CAPTURE, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    vb_fake_marks(h, true, &b);
    r = vb_fake_command(h, VB_M_COMPLETE, &b);
    assert_int_equal(vb_fake_code(r), VB_OK);
    assert_int_equal(vb_fake_state(r, "front"), VB_WS_STABLE);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
    assert_true(h->ended);
    assert_int_equal(h->why.code, VB_OK);
    static const char *const LINES[] = { "front Identify",
                                         "prov supports",
                                         "prov begin_prepare",
                                         "front PrepareForBackup",
                                         "front PrepareForSnapshot",
                                         "prov end_prepare",
                                         "wd START 0",
                                         "window begin",
                                         "wd ARM",
                                         "front Freeze",
                                         "prov pre_commit",
                                         "prov commit",
                                         "prov post_commit",
                                         "front Thaw",
                                         "wd DISARM",
                                         "window end",
                                         "prov pre_final",
                                         "prov snapshot_path",
                                         "front PostSnapshot",
                                         "prov post_final",
                                         "mover capture",
                                         "front BackupComplete",
                                         "front BackupShutdown",
                                         "prov delete",
                                         NULL };
    assert_order(h, LINES);
    assert_int_equal(vb_fake_count(h, "front Abort"), 0);
    assert_int_equal(vb_fake_count(h, "front killed"), 0);
    assert_int_equal(h->log_in_window, 0);
    assert_int_equal(h->slot_back, 1);
    vb_fake_host_free(h);
}

static void vss_2_1_states_after_each_step(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    identify(h);
    assert_int_equal(vb_fake_state(prepare(h), "front"), VB_WS_STABLE);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_state(r, "front"), VB_WS_WAITING_FOR_BACKUP_COMPLETE);
    struct vb_components *c = vb_fake_read_bcd(r);
    assert_non_null(c);
    assert_int_equal(c->n_snapshots, 1);
    assert_string_equal(c->snapshots[0].provider, "prov");
    assert_string_equal(c->snapshots[0].snapshot_path, "/snap/data");
    assert_int_equal(c->writers[0].components[0].consistency, VB_CONSISTENCY_APPLICATION);
    assert_true(c->freeze_wall_ms > 0);
    vb_components_free(c);
    vb_fake_host_free(h);
}

static void vss_2_2_calls_out_of_order_are_bad_state(void **state)
{
    (void)state;
    static const uint16_t BACKUP[] = { VB_M_PREPARE, VB_M_SNAPSHOT, VB_M_CAPTURE, VB_M_COMPLETE };
    static const uint16_t RESTORE[] = { VB_M_PRE_RESTORE, VB_M_RESTORE_FILES, VB_M_POST_RESTORE };
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    for (size_t i = 0; i < VB_COUNT(BACKUP); i++)
        assert_int_equal(vb_fake_code(vb_fake_command(h, BACKUP[i], NULL)), VB_E_BAD_STATE);
    identify(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_E_BAD_STATE);
    for (size_t i = 1; i < VB_COUNT(BACKUP); i++)
        assert_int_equal(vb_fake_code(vb_fake_command(h, BACKUP[i], NULL)), VB_E_BAD_STATE);
    for (size_t i = 0; i < VB_COUNT(RESTORE); i++)
        assert_int_equal(vb_fake_code(vb_fake_command(h, RESTORE[i], NULL)), VB_E_BAD_STATE);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
    assert_int_equal(vb_fake_code(prepare(h)), VB_E_BAD_STATE);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_COMPLETE, NULL)), VB_E_BAD_STATE);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_E_BAD_STATE);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_E_BAD_STATE);
    vb_fake_host_free(h);
}

static void vss_2_2_a_command_during_another_is_refused(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front")->delay_ms[VB_EV_IDENTIFY] = 100;
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    uint64_t first = vb_fake_send(h, VB_M_IDENTIFY, NULL);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_E_BAD_STATE);
    assert_int_equal(vb_fake_code(vb_fake_wait(h, first, 1000)), VB_OK);
    vb_fake_host_free(h);
}

static void vss_2_2_add_component_of_an_unknown_writer(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    identify(h);
    vb_guid_new(w->class_id); /* the document names a class that was not identified */
    assert_int_equal(vb_fake_code(prepare(h)), VB_E_OBJECT_NOT_FOUND);
    vb_fake_host_free(h);
}

static void vss_b_37_levels_freeze_in_order_and_thaw_backwards(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "sys", VB_LEVEL_SYSTEM, "/data/sys");
    vb_fake_add_writer(h, "back", VB_LEVEL_BACK_END, "/data/back")->delay_ms[VB_EV_FREEZE] = 50;
    vb_fake_add_writer(h, "front1", VB_LEVEL_FRONT_END, "/data/f1")->delay_ms[VB_EV_FREEZE] = 100;
    vb_fake_add_writer(h, "front2", VB_LEVEL_FRONT_END, "/data/f2")->delay_ms[VB_EV_FREEZE] = 100;
    until_prepared(h);
    uint64_t t0 = vb_loop_now_ms(h->loop);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    static const char *const LINES[] = { "front1 Freeze", "front2 Freeze", "back Freeze", "sys Freeze", "prov commit",
                                         "sys Thaw",      "back Thaw",     "front1 Thaw", NULL };
    assert_order(h, LINES);
    /* in parallel inside a level: 100 + 50, not 250 */
    assert_true(vb_loop_now_ms(h->loop) - t0 < 200);
    vb_fake_host_free(h);
}

static void vss_b_17_writers_without_component_hear_nothing(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    vb_fake_add_writer(h, "other", VB_LEVEL_FRONT_END, "/data/other");
    identify(h);
    h->n_w = 1; /* the document leaves 'other' out */
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
    h->n_w = 2;
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
    assert_int_equal(vb_fake_count(h, "other Identify"), 1);
    assert_int_equal(vb_fake_count(h, "other PrepareForBackup"), 0);
    assert_int_equal(vb_fake_count(h, "other BackupShutdown"), 0);
    assert_int_equal(vb_fake_count(h, "front BackupShutdown"), 1);
    vb_fake_host_free(h);
}

static void vss_b_24_an_empty_set_is_legal(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, NULL);
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_count(h, "front Freeze"), 1);
    assert_int_equal(vb_fake_count(h, "front Thaw"), 1);
    assert_int_equal(vb_fake_count(h, "prov commit"), 0);
    vb_fake_host_free(h);
}

static void vss_q_9_a_writer_that_fails_identify_is_listed(void **state)
{
    (void)state;
    static const enum vb_fake_way WAYS[] = { FAKE_FAIL, FAKE_HANG, FAKE_CRASH, FAKE_GARBAGE };
    for (size_t i = 0; i < VB_COUNT(WAYS) + 3; i++) {
        struct vb_fake_host *h = host();
        vb_fake_add_writer(h, "good", VB_LEVEL_FRONT_END, "/data/good");
        struct vb_fake_writer *w = vb_fake_add_writer(h, "bad", VB_LEVEL_FRONT_END, "/data/bad");
        if (i < VB_COUNT(WAYS))
            w->way[VB_EV_IDENTIFY] = WAYS[i];
        w->start_fails = i == VB_COUNT(WAYS);
        w->ready_fails = i == VB_COUNT(WAYS) + 1;
        w->never_ready = i == VB_COUNT(WAYS) + 2;
        vb_fake_open(h, VB_JOB_BACKUP, NULL);
        const struct vb_msg *r = vb_fake_command(h, VB_M_IDENTIFY, NULL);
        assert_int_equal(vb_fake_code(r), VB_OK);
        const unsigned char *p;
        size_t n;
        assert_true(vb_msg_bytes(r, VB_F_WMD, &p, &n));
        assert_true(vb_msg_bytes(r, VB_F_FAILED, &p, &n));
        struct vb_msg g = vb_msg_view(p, n);
        VB_AUTO_FREE char *name = vb_msg_str(&g, VB_F_WRITER), *text = vb_msg_str(&g, VB_F_TEXT);
        assert_string_equal(name, "bad");
        assert_non_null(text);
        vb_fake_host_free(h);
    }
}

static void vss_b_22_the_slot_is_waited_for(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    h->slot_busy = true;
    uint64_t id = vb_fake_send(h, VB_M_SNAPSHOT, NULL);
    assert_null(vb_fake_wait(h, id, 60000));
    assert_int_equal(vb_fake_count(h, "front PrepareForSnapshot"), 0);
    bool queued = false;
    for (size_t i = 0; i < h->n_events; i++) {
        VB_AUTO_FREE char *t = vb_msg_str(&h->events[i], VB_F_TEXT);
        queued = queued || (t && strstr(t, "position 2") && strstr(t, "job 4711"));
    }
    assert_true(queued); /* position and owner are shown */
    vb_session_slot(h->session, 0, NULL);
    assert_int_equal(vb_fake_code(vb_fake_wait(h, id, 60000)), VB_OK);
    assert_int_equal(h->slot_back, 1);
    vb_fake_host_free(h);
}

static void vss_s_25_the_highest_preference_wins(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_provider(h, "better");
    vb_fake_add_provider(h, "never")->supported = false;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_count(h, "better commit"), 1);
    assert_int_equal(vb_fake_count(h, "prov commit"), 0);
    assert_int_equal(vb_fake_count(h, "never commit"), 0);
    vb_fake_host_free(h);
}

static void vss_s_25_hardware_before_software_before_system(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    h->p[0].preference = 900;
    h->p[0].type = VB_PROVIDER_SOFTWARE;
    struct vb_fake_provider *array = vb_fake_add_provider(h, "array"), *last = vb_fake_add_provider(h, "last");
    array->preference = 1;
    array->type = VB_PROVIDER_HARDWARE;
    last->preference = 999;
    last->type = VB_PROVIDER_SYSTEM;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_count(h, "array commit"), 1);
    assert_int_equal(vb_fake_count(h, "prov commit") + vb_fake_count(h, "last commit"), 0);
    vb_fake_host_free(h);
}

static void a_copy_under_freeze_is_never_chosen_silently(void **state)
{
    (void)state;
    for (int allowed = 0; allowed < 2; allowed++) {
        struct vb_fake_host *h = host();
        struct vb_job *job;
        h->p[0].hold = VB_HOLD_FREEZE;
        h->p[0].consent = VB_CONSENT_FREEZE;
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
        vb_fake_open(h, VB_JOB_BACKUP, &job);
        job->allow_freeze = allowed;
        identify(h);
        const struct vb_msg *r = prepare(h);
        VB_AUTO_FREE char *text = vb_msg_str(r, VB_F_TEXT);
        assert_int_equal(vb_fake_code(r), allowed ? VB_OK : VB_E_VOLUME_NOT_SUPPORTED);
        if (!allowed)
            assert_contains(text, "--allow-freeze");
        assert_int_equal(vb_fake_count(h, "prov begin_prepare"), allowed);
        vb_fake_host_free(h);
    }
}

/* Two volumes, one after the other: how far apart is recorded with each (B-40); where one call made both, it is not. */
static void vss_b_40_skew_is_recorded(void **state)
{
    (void)state;
    static const char *const GROUPS[] = { NULL, "pool one" };
    for (size_t together = 0; together < 2; together++) {
        struct vb_fake_host *h = host();
        h->p[0].atomic = true;
        h->p[0].group_atomic = together;
        h->p[0].group = GROUPS[together];
        h->p[0].delay_ms = 7;
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
        vb_fake_add_writer(h, "two", VB_LEVEL_FRONT_END, "/other/two");
        until_prepared(h);
        const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        assert_int_equal(c->n_snapshots, 2);
        for (size_t i = 0; i < 2; i++) {
            const char *remark = c->snapshots[i].remark ? c->snapshots[i].remark : "";
            if (together)
                assert_null(strstr(remark, "within"));
            else
                assert_contains(remark, "the shadow copies of the set were made within 7.");
        }
        vb_components_free(c);
        vb_fake_host_free(h);
    }
}

static void vss_s_27_two_providers_share_the_window(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    h->p[0].per_tree = true;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_add_writer(h, "two", VB_LEVEL_FRONT_END, "/other/two");
    until_prepared(h);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    struct vb_components *c = vb_fake_read_bcd(r);
    assert_int_equal(c->n_snapshots, 2);
    vb_components_free(c);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_OK);
    assert_non_null(memmem(h->mover_spec.body.data, h->mover_spec.body.len, "/snap/other/two", 15));
    assert_non_null(memmem(h->mover_spec.body.data, h->mover_spec.body.len, "/snap/data/front", 16));
    vb_fake_host_free(h);
}

static void vss_s_9_no_provider_and_no_live_reading_fails(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    struct vb_job *job;
    h->p[0].supported = false;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, &job);
    (void)job; /* as it is made: nothing is allowed */
    identify(h);
    const struct vb_msg *r = prepare(h);
    assert_int_equal(vb_fake_code(r), VB_E_VOLUME_NOT_SUPPORTED);
    VB_AUTO_FREE char *text = vb_msg_str(r, VB_F_TEXT), *hint = vb_msg_str(r, VB_F_HINT);
    assert_contains(text, "/data");
    assert_contains(text, "of writer 'front'");
    assert_contains(hint, "--allow-live");
    assert_contains(text, "not this file system");
    assert_int_equal(vb_fake_count(h, "front PrepareForBackup"), 0);
    vb_fake_host_free(h);
}

static void asked_only_tells_what_would_be_done(void **state)
{
    (void)state;
    for (int supported = 0; supported < 2; supported++) {
        struct vb_fake_host *h = host();
        h->p[0].supported = supported;
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
        vb_fake_open(h, VB_JOB_BACKUP, NULL);
        identify(h);
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        vb_fake_bcd(h, false, &m);
        vb_msg_add_u64(&m, VB_F_PROBE, 1);
        const struct vb_msg *r = vb_fake_command(h, VB_M_PREPARE, &m);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        assert_int_equal(c->n_snapshots, 1);
        assert_string_equal(c->snapshots[0].mount_point, "/data");
        if (supported)
            assert_string_equal(c->snapshots[0].provider, h->p[0].name);
        else
            assert_null(c->snapshots[0].provider);
        vb_components_free(c);
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_E_BAD_STATE);
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
        assert_int_equal(vb_fake_count(h, "front PrepareForBackup"), 0);
        assert_int_equal(vb_fake_count(h, "prov begin_prepare"), 0);
        vb_fake_host_free(h);
    }
}

static void vss_q_14_live_reading_is_loud_and_recorded(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    struct vb_job *job;
    h->p[0].supported = false;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, &job);
    job->allow_live = true;
    identify(h);
    assert_int_equal(vb_fake_code(prepare(h)), VB_OK);
    const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
    assert_int_equal(vb_fake_code(r), VB_OK);
    struct vb_components *c = vb_fake_read_bcd(r);
    assert_int_equal(c->writers[0].components[0].consistency, VB_CONSISTENCY_NONE);
    vb_components_free(c);
    bool warned = false;
    for (size_t i = 0; i < h->n_events; i++) {
        VB_AUTO_FREE char *k = vb_msg_str(&h->events[i], VB_F_KIND);
        warned = warned || (k && !strcmp(k, "warning"));
    }
    assert_true(warned);
    vb_fake_host_free(h);
}

static void consistency_is_what_was_reached(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct vb_fake_host *h = host();
        struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
        enum vb_consistency want = VB_CONSISTENCY_APPLICATION;
        if (i == 1) {
            w->lowers = VB_CONSISTENCY_CRASH; /* the writer's own word */
            want = VB_CONSISTENCY_CRASH;
        } else if (i == 2) {
            w->way[VB_EV_THAW] = FAKE_FAIL; /* its session was lost: what the provider gives without writers */
            want = VB_CONSISTENCY_CRASH;
        }
        until_prepared(h);
        const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        assert_int_equal(c->writers[0].components[0].consistency, want);
        vb_components_free(c);
        vb_fake_host_free(h);
    }
}

/* A tree over two volumes: with the writer's hold one instant, without it none, unless the provider takes both at
 * once. */
static void vss_b_28_a_tree_over_two_volumes(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct vb_fake_host *h = host();
        struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data");
        h->mounts = "20 1 8:1 / / rw - ext4 /dev/root rw\n21 20 8:2 / /data rw - btrfs /dev/data rw\n"
                    "22 21 8:3 / /data/more rw - btrfs /dev/more rw\n";
        if (i > 0)
            w->way[VB_EV_THAW] = FAKE_FAIL;
        h->p[0].group_atomic = i == 2;
        until_prepared(h);
        const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        static const enum vb_consistency WANT[] = { VB_CONSISTENCY_APPLICATION, VB_CONSISTENCY_NONE,
                                                    VB_CONSISTENCY_CRASH };
        assert_int_equal(c->n_snapshots, 2);
        assert_int_equal(c->writers[0].components[0].consistency, WANT[i]);
        vb_components_free(c);
        if (i == 0) { /* each volume's files are read from its own shadow copy */
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_OK);
            assert_non_null(memmem(h->mover_spec.body.data, h->mover_spec.body.len, "/snap/data/more", 15));
        }
        vb_fake_host_free(h);
    }
}

static uint64_t phase_us(const struct vb_components *c, const char *name)
{
    for (size_t i = 0; i < c->n_phases; i++)
        if (!strcmp(c->phases[i].name, name))
            return c->phases[i].us;
    return UINT64_MAX;
}

/* What was not one instant is measured, and stands in the record: from the first commit to the last. */
static void vss_b_40_skew_and_phases_are_recorded(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct vb_fake_host *h = host();
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data")->delay_ms[VB_EV_FREEZE] = 30;
        vb_fake_add_writer(h, "back", VB_LEVEL_BACK_END, "/data/more")->delay_ms[VB_EV_THAW] = 20;
        h->mounts = "20 1 8:1 / / rw - ext4 /dev/root rw\n21 20 8:2 / /data rw - btrfs /dev/data rw\n"
                    "22 21 8:3 / /data/more rw - btrfs /dev/more rw\n";
        h->p[0].delay_ms = 50;
        h->p[0].hold = i == 0 ? 2 : 1;     /* VB_HOLD_FREEZE: held before the first, released after the last */
        h->p[0].group_atomic = i == 1;     /* one instant of the provider's own making */
        if (i == 3)
            h->mounts = "20 1 8:1 / / rw - ext4 /dev/root rw\n21 20 8:2 / /data rw - btrfs /dev/data rw\n";
        h->p[0].atomic = true;
        until_prepared(h);
        const struct vb_msg *r = vb_fake_command(h, VB_M_SNAPSHOT, NULL);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        if (i == 2)
            assert_true(c->skew_us >= 49000 && c->skew_us < 80000);
        else
            assert_int_equal(c->skew_us, 0);
        assert_true(c->snapshots[0].commit_us >= 49000);
        assert_true(c->snapshots[0].commit_begin_us >= 30000);
        assert_true(phase_us(c, "freeze front-end") >= 29000 && phase_us(c, "freeze front-end") < 60000);
        assert_true(phase_us(c, "commit") >= 49000);
        assert_true(phase_us(c, "thaw back-end") >= 19000 && phase_us(c, "thaw back-end") < 60000);
        assert_int_equal(phase_us(c, "hold") != UINT64_MAX, i == 0);
        assert_int_equal(phase_us(c, "freeze system"), UINT64_MAX); /* nobody there */
        uint64_t sum = 0;
        for (size_t k = 0; k < c->n_phases; k++) { /* they follow each other, and make up the whole */
            assert_int_equal(c->phases[k].begin_us, sum);
            sum += c->phases[k].us;
        }
        assert_int_equal(sum, c->window_us);
        vb_components_free(c);
        vb_fake_host_free(h);
    }
}

/* Whatever the order of components: backwards in mount order, what lies on top first. */
static void file_systems_freeze_in_reverse_mount_order(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    h->p[0].hold = 2;
    vb_fake_add_writer(h, "inner", VB_LEVEL_FRONT_END, "/data/more");
    vb_fake_add_writer(h, "outer", VB_LEVEL_FRONT_END, "/data");
    vb_fake_add_writer(h, "image", VB_LEVEL_FRONT_END, "/a");
    h->mounts = "20 1 8:1 / / rw - ext4 /dev/root rw\n21 20 8:2 / /data rw - btrfs /dev/data rw\n"
                "22 21 8:3 / /data/more rw - btrfs /dev/more rw\n23 20 7:0 / /a rw - xfs /dev/loop0 rw\n";
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_count(h, "wd mounts /data /data/more /a"), 1);
    vb_fake_host_free(h);
}

/* Root, and what holds our own state: refused when it is chosen, before a writer hears of it. */
static const char *is_ours(void *arg, const char *mount_point)
{
    (void)arg;
    return strcmp(mount_point, "/data") == 0 ? "that holds the agent's state and journals" : NULL;
}

static void our_own_file_systems_are_never_frozen(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    h->p[0].hold = 2;
    h->env.never_frozen = is_ours;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    identify(h);
    const struct vb_msg *r = prepare(h);
    assert_int_equal(vb_fake_code(r), VB_E_VOLUME_NOT_SUPPORTED);
    VB_AUTO_FREE char *text = vb_msg_str(r, VB_F_TEXT);
    assert_contains(text, "that holds the agent's state and journals is never frozen");
    assert_int_equal(vb_fake_count(h, "front PrepareForBackup"), 0);
    vb_fake_host_free(h);
    h = host(); /* another provider takes it */
    h->p[0].hold = 2;
    h->p[0].preference = 90;
    vb_fake_add_provider(h, "other")->hold = 1;
    h->env.never_frozen = is_ours;
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    assert_int_equal(vb_fake_count(h, "other commit"), 1);
    vb_fake_host_free(h);
}

static void freezer_is_used_only_where_a_provider_asks(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    h->p[0].hold = 2; /* VB_HOLD_FREEZE */
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    static const char *const LINES[] = { "wd START 1",  "wd ARM",  "front Freeze",     "prov pre_commit", "wd FREEZE",
                                         "prov commit", "wd THAW", "prov post_commit", "front Thaw",      "wd DISARM",
                                         NULL };
    assert_order(h, LINES);
    assert_false(h->frozen);
    vb_fake_host_free(h);
}

static void capture_without_a_stream_can_be_repeated(void **state)
{
    (void)state;
    struct vb_fake_host *h = host();
    vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    until_prepared(h);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
    h->data = false;
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_E_CONNECTION_LOST);
    h->data = true;
    h->mover_way = FAKE_FAIL; /* the stream breaks on the way */
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_E_CONNECTION_LOST);
    h->mover_way = FAKE_CRASH;
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_E_UNEXPECTED);
    h->mover_way = FAKE_OK;
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_OK);
    vb_fake_host_free(h);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("VSS-2.1 order of events and provider calls (B-36, B-39, 6.4)", vss_2_1_order_of_events_and_calls),
        CM_TEST("VSS-2.1 states after each step", vss_2_1_states_after_each_step),
        CM_TEST("VSS-2.2 calls out of order or of the wrong mode are BAD_STATE",
                vss_2_2_calls_out_of_order_are_bad_state),
        CM_TEST("VSS-2.2 a command during another one is refused", vss_2_2_a_command_during_another_is_refused),
        CM_TEST("VSS-2.2 a component of an unknown writer is OBJECT_NOT_FOUND",
                vss_2_2_add_component_of_an_unknown_writer),
        CM_TEST("VSS-B-37 levels freeze in order, in parallel inside, and thaw backwards",
                vss_b_37_levels_freeze_in_order_and_thaw_backwards),
        CM_TEST("VSS-B-17 writers without a component hear nothing", vss_b_17_writers_without_component_hear_nothing),
        CM_TEST("VSS-B-24 an empty set is legal", vss_b_24_an_empty_set_is_legal),
        CM_TEST("VSS-Q-9 a writer that fails Identify is listed with its reason",
                vss_q_9_a_writer_that_fails_identify_is_listed),
        CM_TEST("VSS-B-22 the host's slot is waited for, position and owner told", vss_b_22_the_slot_is_waited_for),
        CM_TEST("VSS-S-25 the highest preference wins", vss_s_25_the_highest_preference_wins),
        CM_TEST("VSS-S-25 hardware before software before system provider",
                vss_s_25_hardware_before_software_before_system),
        CM_TEST("a copy under freeze is never chosen silently", a_copy_under_freeze_is_never_chosen_silently),
        CM_TEST("VSS-B-40 how far apart the volumes are is recorded", vss_b_40_skew_is_recorded),
        CM_TEST("VSS-S-27 volumes with different providers share the window",
                vss_s_27_two_providers_share_the_window),
        CM_TEST("VSS-S-9 no provider: the volume and the reasons are named",
                vss_s_9_no_provider_and_no_live_reading_fails),
        CM_TEST("a PREPARE that only asks says who would do it and touches nothing", asked_only_tells_what_would_be_done),
        CM_TEST("VSS-Q-14 live reading is loud and recorded", vss_q_14_live_reading_is_loud_and_recorded),
        CM_TEST("consistency is what was reached", consistency_is_what_was_reached),
        CM_TEST("VSS-B-28 a tree over two volumes", vss_b_28_a_tree_over_two_volumes),
        CM_TEST("VSS-B-40 the skew between volumes is measured and recorded, and the parts of the window",
                vss_b_40_skew_and_phases_are_recorded),
        CM_TEST("file systems freeze in reverse mount order", file_systems_freeze_in_reverse_mount_order),
        CM_TEST("the file systems of the system and of our own state are never frozen",
                our_own_file_systems_are_never_frozen),
        CM_TEST("the freezer is used only where a provider asks for it", freezer_is_used_only_where_a_provider_asks),
        CM_TEST("CAPTURE without a stream can be repeated", capture_without_a_stream_can_be_repeated),
    };
    return CM_RUN("session_backup", t);
}
