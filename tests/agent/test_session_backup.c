/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_session_backup.c - sections 2.1 and 2.2 of the rule book: order, states, legality, levels, windows.
 */
#include "config.h"

#include "base/text.h"
#include "tests/agent/session_lab.h"

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
        CM_TEST("CAPTURE without a stream can be repeated", capture_without_a_stream_can_be_repeated),
    };
    return CM_RUN("session_backup", t);
}
