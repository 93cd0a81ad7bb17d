/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_session_snapshot.c - the choice of providers, what the snapshot is worth, skew and freezing.
 */
#include "config.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "vbackup/provider.h"
#include "tests/agent/session_lab.h"

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

static int store_fd;

static int store(void *arg)
{
    (void)arg;
    return store_fd;
}

static enum vb_code prepare_with(struct vb_fake_host *h, uint32_t attributes)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    vb_fake_open(h, VB_JOB_BACKUP, NULL);
    identify(h);
    vb_fake_bcd(h, false, &b);
    vb_msg_add_u64(&b, VB_F_ATTRIBUTES, attributes);
    return vb_fake_code(vb_fake_command(h, VB_M_PREPARE, &b));
}

/* Only the volume with the component's data is made writable, and the writer that asks for it, or is asked, does it. */
static void vss_s_13_a_component_asks_for_auto_recovery(void **state)
{
    (void)state;
    static const struct {
        uint32_t flags, context, provider;
        enum vb_code code;
        size_t recovers;
    } CASES[] = {
        { 0, VB_CTX_BACKUP, ~0u, VB_OK, 0 },
        { VB_CF_BACKUP_RECOVERY, VB_CTX_BACKUP, ~0u, VB_OK, 1 },
        { VB_CF_BACKUP_RECOVERY, VB_CTX_BACKUP, 0, VB_E_VOLUME_NOT_SUPPORTED, 0 }, /* S-9, though live is allowed */
        { VB_CF_BACKUP_RECOVERY, VB_CTX_APP_ROLLBACK | VB_SA_NO_AUTORECOVERY, ~0u, VB_OK, 0 }, /* S-11 */
        { VB_CF_BACKUP_RECOVERY, VB_CTX_APP_ROLLBACK | VB_SA_TRANSPORTABLE, ~0u, VB_E_UNSUPPORTED_CONTEXT, 0 }, /* S-14 */
        { VB_CF_BACKUP_RECOVERY, VB_CTX_APP_ROLLBACK | VB_SA_TRANSPORTABLE | VB_SA_NO_AUTORECOVERY, ~0u, VB_OK, 0 },
        { VB_CF_ROLLBACK_RECOVERY, VB_CTX_APP_ROLLBACK, ~0u, VB_OK, 0 },
        { VB_CF_ROLLBACK_RECOVERY, VB_CTX_APP_ROLLBACK | VB_SA_ROLLBACK_RECOVERY, ~0u, VB_OK, 1 },
    };
    char dir[] = "/tmp/vbackup-store-XXXXXX";
    assert_non_null(mkdtemp(dir));
    store_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < VB_COUNT(CASES); i++) {
        struct vb_fake_host *h = host();
        h->env.shadow_store = store;
        h->p[0].attributes = CASES[i].provider;
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front")->flags = CASES[i].flags;
        vb_fake_add_writer(h, "two", VB_LEVEL_FRONT_END, "/other/two");
        assert_int_equal(prepare_with(h, CASES[i].context), CASES[i].code);
        assert_int_equal(vb_fake_count(h, "prov recovers /data"), CASES[i].recovers);
        assert_int_equal(vb_fake_count(h, "prov recovers /other"), 0);
        assert_int_equal(vb_fake_count(h, "front PrepareForBackup") > 0, CASES[i].code == VB_OK);
        vb_fake_host_free(h);
    }
    close(store_fd);
    assert_int_equal(vb_remove_tree_at(AT_FDCWD, dir, NULL), 0);
}

/* Answered before PostSnapshot; released while it runs, the requester gone; the set comes to its end by itself. */
static void vss_s_15_delayed_post_snapshot(void **state)
{
    (void)state;
    enum { WELL, BROKEN, CANCELLED, WAITED, N };
    char dir[] = "/tmp/vbackup-store-XXXXXX";
    assert_non_null(mkdtemp(dir));
    store_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int how = 0; how < N; how++) {
        struct vb_fake_host *h = host();
        h->env.shadow_store = store;
        h->p[0].attributes = ~0u;
        if (how == BROKEN) {
            h->p[0].fail_call = "post_final";
            h->p[0].way = FAKE_FAIL;
        }
        vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front")->delay_ms[VB_EV_POST_SNAPSHOT] = 5000;
        assert_int_equal(prepare_with(h, VB_CTX_APP_ROLLBACK | VB_SA_DELAYED_POSTSNAPSHOT), VB_OK);
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_SNAPSHOT, NULL)), VB_OK);
        assert_int_equal(vb_fake_count(h, "front Thaw"), 1);
        assert_int_equal(vb_fake_count(h, "prov post_final"), 0);
        if (how == WAITED) { /* another command waits until it is over */
            VB_AUTO_MSG marks = VB_MSG_INIT(0);
            vb_fake_marks(h, true, &marks);
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_COMPLETE, &marks)), VB_OK);
            assert_int_equal(vb_fake_count(h, "prov post_final"), 1);
        }
        assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
        if (how != WAITED) {
            assert_int_equal(vb_fake_count(h, "prov post_final"), 0);
            assert_false(h->ended);
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_CAPTURE, NULL)), VB_E_BAD_STATE);
            vb_session_end(h->session, VB_E_JOB_LOST, "the requester was gone for longer than the job's lease");
            if (how == CANCELLED)
                vb_session_end(h->session, VB_E_CANCELLED, "by hand");
            vb_fake_run(h, 20000);
        }
        assert_true(h->ended);
        assert_int_equal(h->why.code, how == BROKEN ? VB_E_PROVIDER_VETO : how == CANCELLED ? VB_E_CANCELLED : VB_OK);
        assert_int_equal(vb_fake_count(h, "prov post_final"), how != CANCELLED);
        assert_int_equal(vb_fake_count(h, "front PostSnapshot"), 1);
        assert_true(vb_fake_count(h, "front BackupShutdown") + vb_fake_count(h, "front BackupShutdown (owed)") > 0);
        assert_int_equal(vb_fake_count(h, "prov delete"), how == BROKEN || how == CANCELLED);
        vb_fake_host_free(h);
    }
    close(store_fd);
    assert_int_equal(vb_remove_tree_at(AT_FDCWD, dir, NULL), 0);
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

static void vss_b_30_mounts_that_are_left_out_are_recorded(void **state)
{
    (void)state;
    for (size_t out = 0; out < 2; out++) {
        struct vb_fake_host *h = host();
        struct vb_fake_writer *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data");
        h->mounts = "20 1 8:1 / / rw - ext4 /dev/root rw\n21 20 8:2 / /data rw - btrfs /dev/data rw\n"
                    "22 21 8:3 / /data/more rw - btrfs /dev/more rw\n23 21 0:5 / /data/proc rw - proc proc rw\n";
        if (out) /* read live: nothing below is followed */
            w->backup_bits = VB_FSB_ALL_BACKUP;
        vb_fake_open(h, VB_JOB_BACKUP, NULL);
        identify(h);
        const struct vb_msg *r = prepare(h);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        assert_int_equal(c->n_left_mounts, out);
        if (out) {
            assert_string_equal(c->left_mounts[0].path, "/data/more");
            assert_string_equal(c->left_mounts[0].device, "/dev/more");
            assert_string_equal(c->left_mounts[0].fs_type, "btrfs");
        }
        vb_components_free(c);
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

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("VSS-S-25 the highest preference wins", vss_s_25_the_highest_preference_wins),
        CM_TEST("VSS-S-25 hardware before software before system provider",
                vss_s_25_hardware_before_software_before_system),
        CM_TEST("a copy under freeze is never chosen silently", a_copy_under_freeze_is_never_chosen_silently),
        CM_TEST("VSS-S-13 a component asks for auto-recovery of its volume (S-9, S-11, S-14)",
                vss_s_13_a_component_asks_for_auto_recovery),
        CM_TEST("VSS-S-15 a delayed PostSnapshot: the requester leaves before it", vss_s_15_delayed_post_snapshot),
        CM_TEST("VSS-B-40 how far apart the volumes are is recorded", vss_b_40_skew_is_recorded),
        CM_TEST("VSS-S-27 volumes with different providers share the window",
                vss_s_27_two_providers_share_the_window),
        CM_TEST("VSS-S-9 no provider: the volume and the reasons are named",
                vss_s_9_no_provider_and_no_live_reading_fails),
        CM_TEST("a PREPARE that only asks says who would do it and touches nothing", asked_only_tells_what_would_be_done),
        CM_TEST("VSS-Q-14 live reading is loud and recorded", vss_q_14_live_reading_is_loud_and_recorded),
        CM_TEST("consistency is what was reached", consistency_is_what_was_reached),
        CM_TEST("VSS-B-28 a tree over two volumes", vss_b_28_a_tree_over_two_volumes),
        CM_TEST("VSS-B-30 mounts that are left out are recorded", vss_b_30_mounts_that_are_left_out_are_recorded),
        CM_TEST("VSS-B-40 the skew between volumes is measured and recorded, and the parts of the window",
                vss_b_40_skew_and_phases_are_recorded),
        CM_TEST("file systems freeze in reverse mount order", file_systems_freeze_in_reverse_mount_order),
        CM_TEST("the file systems of the system and of our own state are never frozen",
                our_own_file_systems_are_never_frozen),
        CM_TEST("the freezer is used only where a provider asks for it", freezer_is_used_only_where_a_provider_asks),
    };
    return CM_RUN("session_snapshot", t);
}
