/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_session_restore.c - section 3 of the rule book on one host.
 */
#include "config.h"

#include "base/text.h"
#include "tests/cm.h"
#include "tests/fakes/agent_host.h"

static struct vb_fake_host *host(struct vb_fake_writer **w)
{
    struct vb_fake_host *h = vb_fake_host_new();
    *w = vb_fake_add_writer(h, "front", VB_LEVEL_FRONT_END, "/data/front");
    return h;
}

static void open_restore(struct vb_fake_host *h, bool overwrite)
{
    struct vb_job *job;
    vb_fake_open(h, VB_JOB_RESTORE, &job);
    job->overwrite = overwrite;
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_IDENTIFY, NULL)), VB_OK);
}

static const struct vb_msg *pre(struct vb_fake_host *h)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    vb_fake_bcd(h, true, &b);
    vb_fake_stored(h, &b);
    return vb_fake_command(h, VB_M_PRE_RESTORE, &b);
}

static const struct vb_msg *files(struct vb_fake_host *h)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    vb_fake_roots(h, &b);
    return vb_fake_command(h, VB_M_RESTORE_FILES, &b);
}

static const struct vb_msg *post(struct vb_fake_host *h)
{
    return vb_fake_command(h, VB_M_POST_RESTORE, NULL);
}

static void release(struct vb_fake_host *h)
{
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RELEASE, NULL)), VB_OK);
    assert_true(h->ended);
}

static size_t both(const struct vb_fake_host *h, const char *line)
{
    VB_AUTO_FREE char *owed = vb_printf("%s (owed)", line);
    return vb_fake_count(h, line) + vb_fake_count(h, owed);
}

static enum vb_file_restore_status status_of(const struct vb_msg *r)
{
    struct vb_components *c = vb_fake_read_bcd(r);
    assert_non_null(c);
    enum vb_file_restore_status st = c->writers[0].components[0].restore_status;
    vb_components_free(c);
    return st;
}

static bool placed_at(const struct vb_fake_host *h, const char *path)
{
    return memmem(h->mover_spec.body.data, h->mover_spec.body.len, path, strlen(path)) != NULL;
}

static void vss_3_1_order(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    const struct vb_msg *r = post(h);
    assert_int_equal(vb_fake_code(r), VB_OK);
    assert_int_equal(status_of(r), VB_FILE_RESTORE_ALL);
    assert_int_equal(vb_fake_state(r, "front"), VB_WS_STABLE);
    release(h);
    assert_true(vb_fake_at(h, "front PreRestore") < vb_fake_at(h, "mover restore"));
    assert_true(vb_fake_at(h, "mover restore") < vb_fake_at(h, "front PostRestore"));
    assert_int_equal(vb_fake_count(h, "front Abort"), 0); /* */
    assert_int_equal(vb_fake_count(h, "front BackupShutdown"), 1);
    vb_fake_host_free(h);
}

static void guard_refuses_before_any_event(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    vb_strv_add(&h->exists, "/data/front");
    open_restore(h, false);
    const struct vb_msg *r = pre(h);
    assert_int_equal(vb_fake_code(r), VB_E_GUARD);
    VB_AUTO_FREE char *text = vb_msg_str(r, VB_F_TEXT);
    assert_contains(text, "/data/front");
    assert_int_equal(vb_fake_count(h, "front PreRestore"), 0);
    release(h);
    vb_fake_host_free(h);
    h = host(&w); /* also what only a log backup takes would be written over */
    w->backup_bits = VB_FSB_LOG_BACKUP | VB_FSB_LOG_SNAPSHOT;
    vb_strv_add(&h->exists, "/data/front");
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_E_GUARD);
    release(h);
    vb_fake_host_free(h);
    h = host(&w);
    vb_strv_add(&h->exists, "/data/front");
    open_restore(h, true);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    release(h);
    vb_fake_host_free(h);
}

static void vss_r_26_never_gets_no_events(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->when = VB_WRITER_RESTORE_NEVER;
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(vb_fake_code(post(h)), VB_OK);
    release(h);
    assert_int_equal(h->mover_runs, 1);
    assert_int_equal(both(h, "front PreRestore") + both(h, "front PostRestore"), 0);
    vb_fake_host_free(h);
}

static void vss_r_27_post_restore_only_if_replacing_failed(void **state)
{
    (void)state;
    for (int failed = 0; failed < 2; failed++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        w->when = VB_WRITER_RESTORE_IF_REPLACE_FAILS;
        if (failed) {
            h->mover_code = VB_E_IO;
            h->mover_status = VB_FILE_RESTORE_FAILED;
        }
        open_restore(h, false);
        assert_int_equal(vb_fake_code(pre(h)), VB_OK);
        assert_int_equal(vb_fake_code(files(h)), VB_OK);
        assert_int_equal(vb_fake_code(post(h)), VB_OK);
        assert_int_equal(vb_fake_count(h, "front PreRestore"), 1);
        assert_int_equal(vb_fake_count(h, "front PostRestore"), failed);
        vb_fake_host_free(h);
    }
}

static void vss_r_11_absent_writer(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    open_restore(h, false);
    vb_guid_new(w->class_id); /* the stored documents are of a class that does not run here */
    assert_int_equal(vb_fake_code(pre(h)), VB_E_OBJECT_NOT_FOUND);
    release(h);
    vb_fake_host_free(h);
}

static void vss_r_25_post_restore_is_always_sent(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        open_restore(h, false);
        if (way == 3)
            w->way[VB_EV_PRE_RESTORE] = FAKE_CRASH; /* then through a fresh host */
        if (way == 4)
            w->way[VB_EV_PRE_RESTORE] = FAKE_FAIL;
        assert_int_equal(vb_fake_code(pre(h)), VB_OK);
        w->way[VB_EV_PRE_RESTORE] = FAKE_OK;
        if (way == 0) {
            release(h);
        } else if (way == 1) {
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
            assert_int_equal(vb_fake_count(h, "front PostRestore"), 1);
            release(h);
        } else if (way == 2) {
            vb_session_end(h->session, VB_E_JOB_LOST, "lease");
            vb_fake_run(h, 5000);
            assert_true(h->ended);
        } else {
            const struct vb_msg *r = files(h);
            assert_int_equal(vb_fake_code(r), VB_OK);
            assert_int_equal(h->mover_runs, 0); /* the writer did not make room */
            r = post(h);
            assert_int_equal(status_of(r), VB_FILE_RESTORE_NONE);
            release(h);
        }
        assert_int_equal(both(h, "front PostRestore"), 1);
        assert_int_equal(both(h, "front BackupShutdown"), 1);
        vb_fake_host_free(h);
    }
}

static void vss_r_38_stop_restore_start(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->method = VB_RESTORE_STOP_RESTORE_START;
    w->service = "web";
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(vb_fake_code(post(h)), VB_OK);
    static const char *const ORDER[] = { "front PreRestore", "service stop web", "mover restore", "service start web",
                                         "front PostRestore" };
    for (size_t i = 1; i < VB_COUNT(ORDER); i++)
        assert_true(vb_fake_at(h, ORDER[i - 1]) < vb_fake_at(h, ORDER[i]));
    release(h);
    vb_fake_host_free(h);
}

static void vss_r_39_restore_stop_start(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->method = VB_RESTORE_RESTORE_STOP_START;
    w->service = "web";
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(vb_fake_code(post(h)), VB_OK);
    static const char *const ORDER[] = { "front PreRestore", "mover restore", "front PostRestore", "service stop web",
                                         "service start web" };
    for (size_t i = 1; i < VB_COUNT(ORDER); i++)
        assert_true(vb_fake_at(h, ORDER[i - 1]) < vb_fake_at(h, ORDER[i]));
    vb_fake_host_free(h);
}

static void vss_r_40_a_stopped_service_is_always_started(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        w->method = VB_RESTORE_STOP_RESTORE_START;
        w->service = "web";
        open_restore(h, false);
        assert_int_equal(vb_fake_code(pre(h)), VB_OK);
        if (way == 0) {
            h->mover_way = FAKE_CRASH;
            assert_int_equal(vb_fake_code(files(h)), VB_E_UNEXPECTED);
            release(h);
        } else if (way == 1) {
            h->mover_way = FAKE_HANG;
            VB_AUTO_MSG b = VB_MSG_INIT(0);
            vb_fake_roots(h, &b);
            uint64_t id = vb_fake_send(h, VB_M_RESTORE_FILES, &b);
            assert_null(vb_fake_wait(h, id, 100));
            vb_session_end(h->session, VB_E_JOB_LOST, "lease");
            vb_fake_run(h, 5000);
            assert_int_equal(vb_fake_code(vb_fake_wait(h, id, 0)), VB_E_JOB_LOST);
            assert_true(h->ended);
        } else if (way == 2) { /* stopping failed half way */
            h->service_fails = "stop";
            assert_int_equal(vb_fake_code(files(h)), VB_E_IO);
            assert_int_equal(h->mover_runs, 0);
            release(h);
        } else { /* stopping hangs, the job is cancelled */
            h->service_hangs = true;
            VB_AUTO_MSG b = VB_MSG_INIT(0);
            vb_fake_roots(h, &b);
            uint64_t id = vb_fake_send(h, VB_M_RESTORE_FILES, &b);
            assert_null(vb_fake_wait(h, id, 100));
            h->service_hangs = false;
            assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_ABORT, NULL)), VB_OK);
            release(h);
        }
        assert_int_equal(vb_fake_count(h, "service stop web"), 1);
        assert_int_equal(vb_fake_count(h, "service start web"), 1);
        assert_int_equal(vb_fake_count(h, "front PostRestore"), 1);
        vb_fake_host_free(h);
    }
}

static void vss_r_34_if_not_there(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->method = VB_RESTORE_IF_NOT_THERE; /* nothing there: restored in place */
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(h->mover_runs, 1);
    vb_fake_host_free(h);
    h = host(&w); /* there, no alternate location: nothing */
    w->method = VB_RESTORE_IF_NOT_THERE;
    vb_strv_add(&h->exists, "/data/front");
    open_restore(h, true);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(h->mover_runs, 0);
    assert_int_equal(status_of(post(h)), VB_FILE_RESTORE_NONE);
    vb_fake_host_free(h);
    h = host(&w); /* there, alternate location free: it is used */
    w->method = VB_RESTORE_IF_NOT_THERE;
    w->alm = "/data/else";
    vb_strv_add(&h->exists, "/data/front");
    open_restore(h, true);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_true(placed_at(h, "/data/else"));
    vb_fake_host_free(h);
}

static void vss_r_35_alternate_if_it_cannot_be_replaced(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->alm = "/data/else";
    h->busy_files = true;
    open_restore(h, true);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_true(placed_at(h, "/data/else"));
    struct vb_components *c = vb_fake_read_bcd(post(h));
    assert_int_equal(c->writers[0].components[0].restore_status, VB_FILE_RESTORE_ALL);
    assert_int_equal(c->writers[0].components[0].n_used_alms, 1); /* */
    vb_components_free(c);
    vb_fake_host_free(h);
}

static void vss_r_42_to_alternate_needs_a_mapping(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        w->method = VB_RESTORE_TO_ALTERNATE;
        w->alm = mapped ? "/data/else" : NULL;
        open_restore(h, false);
        assert_int_equal(vb_fake_code(pre(h)), VB_OK);
        assert_int_equal(vb_fake_code(files(h)), VB_OK);
        assert_int_equal(h->mover_runs, mapped);
        if (mapped)
            assert_true(placed_at(h, "/data/else"));
        vb_fake_host_free(h);
    }
}

static void vss_r_30_target_set_by_the_writer_beats_the_method(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->alm = "/data/else";
    w->target = VB_TARGET_ALTERNATE;
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_true(placed_at(h, "/data/else"));
    vb_fake_host_free(h);
}

static void methods_that_are_refused_say_why(void **state)
{
    (void)state;
    static const struct { enum vb_restore_method method; enum vb_code code; } METHODS[] = {
        { VB_RESTORE_CUSTOM, VB_E_NOT_SUPPORTED },
        { VB_RESTORE_AT_REBOOT, VB_E_PREREQUISITE }, /* nothing would put the files in place */
    };
    for (size_t i = 0; i < VB_COUNT(METHODS); i++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        w->method = METHODS[i].method;
        open_restore(h, false);
        const struct vb_msg *r = pre(h);
        assert_int_equal(vb_fake_code(r), METHODS[i].code);
        VB_AUTO_FREE char *hint = vb_msg_str(r, VB_F_HINT);
        assert_non_null(hint);
        assert_int_equal(vb_fake_count(h, "front PreRestore"), 0);
        vb_fake_host_free(h);
    }
}

/* Words of a WARN event. */
static bool warned(const struct vb_fake_host *h, const char *words)
{
    for (size_t i = 0; i < h->n_events; i++)
        if (memmem(h->events[i].body.data, h->events[i].body.len, words, strlen(words)))
            return true;
    return false;
}

static void vss_r_43_files_wait_for_a_restart(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    w->method = VB_RESTORE_AT_REBOOT;
    w->alm = "/data/else";
    w->target = VB_TARGET_ALTERNATE; /* makes no difference */
    h->reboot_ready = true;
    open_restore(h, true);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(vb_fake_count(h, "stage 0 /data/front"), 1);
    assert_true(placed_at(h, "/stage/0/front"));
    assert_false(placed_at(h, "/data/else"));
    assert_int_equal(vb_fake_count(h, "at-reboot c1 /stage/0/front -> /data/front"), 1);
    assert_true(warned(h, "waits for a restart"));
    assert_int_equal(status_of(post(h)), VB_FILE_RESTORE_ALL);
    release(h);
    assert_int_equal(vb_fake_count(h, "discard"), 1);
    vb_fake_host_free(h);
}

static void vss_r_43_nothing_is_promised_that_is_not_whole(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        w->method = VB_RESTORE_AT_REBOOT;
        h->reboot_ready = true;
        h->reboot_commit_fails = i == 1;
        open_restore(h, true);
        assert_int_equal(vb_fake_code(pre(h)), VB_OK);
        if (i == 0) {
            h->mover_code = VB_E_IO;
            h->mover_status = VB_FILE_RESTORE_FAILED;
        }
        assert_int_equal(vb_fake_code(files(h)), VB_OK);
        assert_int_equal(vb_fake_count(h, "at-reboot c1 /stage/0/front -> /data/front"), 0);
        assert_false(warned(h, "waits for a restart"));
        assert_int_equal(status_of(post(h)), i == 0 ? VB_FILE_RESTORE_FAILED : VB_FILE_RESTORE_NONE);
        release(h);
        vb_fake_host_free(h);
    }
}

static void vss_r_44_if_it_cannot_be_replaced(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        w->method = VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE;
        h->reboot_ready = true;
        h->busy_files = busy;
        open_restore(h, true);
        assert_int_equal(vb_fake_code(pre(h)), VB_OK);
        assert_int_equal(vb_fake_code(files(h)), VB_OK);
        assert_int_equal(placed_at(h, "/stage/0/front"), busy);
        assert_int_equal(vb_fake_count(h, "at-reboot c1 /stage/0/front -> /data/front"), (size_t)busy);
        assert_int_equal(status_of(post(h)), VB_FILE_RESTORE_ALL);
        vb_fake_host_free(h);
    }
}

static void what_became_of_it_is_told(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    h->reboot_told = "put in place at the restart";
    open_restore(h, true);
    assert_false(warned(h, "put in place at the restart")); /* nobody reads warnings of a look */
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_true(warned(h, "put in place at the restart"));
    vb_fake_host_free(h);
}

static void vss_r_57_private_restore_needs_targets(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    open_restore(h, false);
    assert_int_equal(vb_fake_code(files(h)), VB_E_BAD_STATE); /* original places without PreRestore */
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    VB_AUTO_MSG c = VB_MSG_INIT(0);
    VB_AUTO_MSG r = VB_MSG_INIT(0);
    vb_msg_add_str(&r, VB_F_PATH, "/data/front");
    vb_msg_add_str(&r, VB_F_TARGET, "/tmp/out");
    vb_msg_add_str(&c, VB_F_NAME, "c1");
    vb_msg_add_group(&c, VB_F_ROOT, &r);
    vb_msg_add_group(&b, VB_F_COMPONENT, &c);
    assert_int_equal(vb_fake_code(vb_fake_command(h, VB_M_RESTORE_FILES, &b)), VB_OK);
    assert_true(placed_at(h, "/tmp/out"));
    release(h);
    assert_int_equal(vb_fake_count(h, "front PreRestore") + both(h, "front PostRestore"), 0);
    vb_fake_host_free(h);
}

/* Who is used comes up before who uses it. */
static void post_restore_goes_upwards(void **state)
{
    (void)state;
    struct vb_fake_writer *w;
    struct vb_fake_host *h = host(&w);
    vb_fake_add_writer(h, "back", VB_LEVEL_BACK_END, "/data/back");
    vb_fake_add_writer(h, "sys", VB_LEVEL_SYSTEM, "/data/sys");
    open_restore(h, false);
    assert_int_equal(vb_fake_code(pre(h)), VB_OK);
    assert_int_equal(vb_fake_code(files(h)), VB_OK);
    assert_int_equal(vb_fake_code(post(h)), VB_OK);
    assert_true(vb_fake_at(h, "sys PostRestore") < vb_fake_at(h, "back PostRestore"));
    assert_true(vb_fake_at(h, "back PostRestore") < vb_fake_at(h, "front PostRestore"));
    assert_int_equal(both(h, "front PostRestore"), 1);
    release(h);
    vb_fake_host_free(h);
}

static void consent_reaches_the_writers(void **state)
{
    (void)state;
    for (int consent = 0; consent < 2; consent++) {
        struct vb_fake_writer *w;
        struct vb_fake_host *h = host(&w);
        open_restore(h, consent);
        const struct vb_msg *r = pre(h);
        assert_int_equal(vb_fake_code(r), VB_OK);
        struct vb_components *c = vb_fake_read_bcd(r);
        const char *options = c->writers[0].components[0].restore_options;
        assert_int_equal(options && strstr(options, "overwrite") ? 1 : 0, consent);
        vb_components_free(c);
        release(h);
        vb_fake_host_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("VSS-3.1 order of a restore (R-24)", vss_3_1_order),
        CM_TEST("PostRestore: system, back end, front end", post_restore_goes_upwards),
        CM_TEST("consent to overwrite reaches the writers", consent_reaches_the_writers),
        CM_TEST("existing data: refused before any event, unless consented", guard_refuses_before_any_event),
        CM_TEST("VSS-R-26 writer-restore never: no events, plain files", vss_r_26_never_gets_no_events),
        CM_TEST("VSS-R-27 PostRestore only if replacing failed", vss_r_27_post_restore_only_if_replacing_failed),
        CM_TEST("VSS-R-11 a writer that is not here is OBJECT_NOT_FOUND", vss_r_11_absent_writer),
        CM_TEST("VSS-R-25 PostRestore is always sent (D-62)", vss_r_25_post_restore_is_always_sent),
        CM_TEST("VSS-R-38 stop-restore-start", vss_r_38_stop_restore_start),
        CM_TEST("VSS-R-39 restore-stop-start", vss_r_39_restore_stop_start),
        CM_TEST("VSS-R-40 a stopped service is always started", vss_r_40_a_stopped_service_is_always_started),
        CM_TEST("VSS-R-34 if-not-there", vss_r_34_if_not_there),
        CM_TEST("VSS-R-35 all to the alternate location if one cannot be replaced",
                vss_r_35_alternate_if_it_cannot_be_replaced),
        CM_TEST("VSS-R-42 to-alternate-location needs a mapping", vss_r_42_to_alternate_needs_a_mapping),
        CM_TEST("VSS-R-30 the target set by the writer beats the method",
                vss_r_30_target_set_by_the_writer_beats_the_method),
        CM_TEST("VSS-R-45 methods that are refused say why", methods_that_are_refused_say_why),
        CM_TEST("VSS-R-43 VSS-R-32 files wait for a restart of the machine", vss_r_43_files_wait_for_a_restart),
        CM_TEST("VSS-R-43 nothing is promised that is not whole", vss_r_43_nothing_is_promised_that_is_not_whole),
        CM_TEST("VSS-R-44 only if they cannot be replaced", vss_r_44_if_it_cannot_be_replaced),
        CM_TEST("what became of files that waited is told", what_became_of_it_is_told),
        CM_TEST("VSS-R-57 a private restore needs targets, and no writer takes part",
                vss_r_57_private_restore_needs_targets),
    };
    return CM_RUN("session_restore", t);
}
