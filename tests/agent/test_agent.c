/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_agent.c - relay, supervisor and worker as real processes, with null writers.
 */
#include "config.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

static const char CONFIG[] = "[agent]\n"
                             "idle-exit = 3s\n"
                             "[provider null]\n"
                             "enable = yes\n"
                             "hold = 1\n"
                             "level = 2\n"
                             "[writer null one]\n"
                             "component = c1\n"
                             "c1.path = %D/data\n"
                             "c1.recursive = yes\n"
                             "event-log = %D/events\n";

static struct alab *lab(const char *config)
{
    struct alab *l = alab_new(config);
    alab_write(l, "data/a", "first\n");
    alab_write(l, "data/sub/b", "second\n");
    return l;
}

static void backup_and_restore_of_a_null_writer(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_backup(l), VB_OK);
    assert_int_equal(alab_count(l, "freeze end ok"), 1);
    assert_int_equal(alab_count(l, "thaw end ok"), 1);
    assert_int_equal(alab_count(l, "backup-complete end ok"), 1);
    assert_int_equal(alab_count(l, "backup-shutdown end ok"), 1);
    assert_int_equal(alab_count(l, "abort"), 0);
    assert_true(alab_spool_empty(l, 5000));
    alab_reset(l);
    alab_write(l, "data/a", "changed\n");
    if (!alab_open(l, VB_JOB_RESTORE, 5000, false))
        fail_msg("%s", vb_error_text(&l->lost));
    assert_int_equal(alab_restore(l), VB_E_GUARD); /* nothing is overwritten without consent */
    assert_int_equal(alab_count(l, "pre-restore"), 0);
    assert_int_equal(alab_release(l), VB_OK);
    alab_reset(l);
    assert_true(alab_open(l, VB_JOB_RESTORE, 5000, true));
    assert_int_equal(alab_restore(l), VB_OK);
    VB_AUTO_FREE char *a = alab_read(l, "data/a"), *b = alab_read(l, "data/sub/b");
    assert_string_equal(a, "first\n");
    assert_string_equal(b, "second\n");
    assert_int_equal(alab_count(l, "pre-restore end ok"), 1);
    assert_int_equal(alab_count(l, "post-restore end ok"), 1);
    alab_free(l);
}

static enum vb_code until_snapshot(struct alab *l)
{
    enum vb_code c = alab_identify(l);
    if (c == VB_OK)
        c = alab_prepare(l);
    return c == VB_OK ? alab_snapshot(l) : c;
}

/* The relay is killed after each command, and while one runs: the job goes on, and nothing comes twice. */
static void a_lost_connection_is_attached_again(void **state)
{
    (void)state;
    enum vb_code (*const STEPS[])(struct alab *) = { alab_identify, alab_prepare, alab_snapshot, alab_capture,
                                                     alab_complete };
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        assert_int_equal(STEPS[i](l), VB_OK);
        alab_cut(l);
        assert_true(alab_attach(l));
    }
    /* answered again from the record, not executed again */
    size_t completes = alab_count(l, "backup-complete begin");
    for (size_t i = 0; i < l->n_replies; i++)
        vb_msg_clear(&l->replies[i]);
    l->n_replies = 0;
    const struct vb_msg *r = alab_command(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL, 5000);
    assert_non_null(r);
    assert_int_equal(alab_code(r), VB_OK);
    assert_true(vb_msg_has(r, VB_F_WINDOW_US));
    assert_int_equal(alab_count(l, "freeze begin"), 1);
    assert_int_equal(alab_count(l, "backup-complete begin"), completes);
    assert_int_equal(alab_release(l), VB_OK);
    assert_int_equal(l->repeats, 0);
    alab_free(l);
}

static void a_command_runs_on_while_nobody_listens(void **state)
{
    (void)state;
    static const char SLOW[] = "[provider null]\nenable = yes\n[writer null one]\ncomponent = c1\nc1.path = %D/data\n"
                               "event-log = %D/events\ndelay.prepare-backup = 500ms\n";
    struct alab *l = lab(SLOW);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    alab_send(l, VB_M_SNAPSHOT, 999, NULL);             /* out of order: answered BAD_STATE */
    assert_int_equal(alab_code(alab_wait(l, 999, 5000)), VB_E_BAD_STATE);
    assert_int_equal(alab_prepare(l), VB_OK);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    alab_run(l, 5);
    alab_cut(l);
    alab_run(l, 600);
    assert_int_equal(alab_count(l, "thaw end ok"), 1);
    if (!alab_attach(l))
        fail_msg("%s", vb_error_text(&l->lost));
    assert_int_equal(alab_code(alab_command(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL, 5000)), VB_OK);
    assert_int_equal(alab_count(l, "freeze begin"), 1);
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

static void the_same_job_sent_twice_is_one_job(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    if (!alab_open(l, VB_JOB_BACKUP, 5000, false)) /* as after a lost OPENED */
        fail_msg("%s", vb_error_text(&l->lost));
    assert_int_equal(alab_prepare(l), VB_OK);
    assert_int_equal(alab_count(l, "identify begin"), 1);
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

static void the_lease_runs_out(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 300, false));
    assert_int_equal(until_snapshot(l), VB_OK);
    alab_cut(l);
    assert_true(alab_spool_empty(l, 5000));
    assert_int_equal(alab_count(l, "backup-shutdown end ok"), 1); /* B-60, B-61 */
    assert_int_equal(alab_count(l, "backup-complete begin"), 0);
    assert_false(alab_attach(l));
    assert_int_equal(l->lost.code, VB_E_JOB_LOST);
    assert_contains(l->lost.text, "lease");
    alab_reset(l);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_backup(l), VB_OK);
    alab_free(l);
}

static void a_wrong_token_is_refused(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    l->token[0] = l->token[0] == '0' ? '1' : '0';
    assert_false(alab_data(l));
    assert_int_equal(l->lost.code, VB_E_ACCESS_DENIED);
    assert_int_equal(alab_identify(l), VB_OK); /* the control stream is not disturbed */
    assert_false(alab_attach(l));
    assert_int_equal(l->lost.code, VB_E_ACCESS_DENIED);
    alab_free(l);
}

static void status_and_cancel_are_answered_by_the_supervisor(void **state)
{
    (void)state;
    static const char HANG[] = "[provider null]\nenable = yes\n[writer null one]\ncomponent = c1\nc1.path = %D/data\n"
                               "event-log = %D/events\nhang = prepare-snapshot\n";
    struct alab *l = lab(HANG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_prepare(l), VB_OK);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    for (int i = 0; i < 200 && !alab_count(l, "prepare-snapshot begin"); i++)
        alab_run(l, 20);
    VB_AUTO_MSG q = VB_MSG_INIT(VB_M_STATUS);
    VB_AUTO_MSG a = VB_MSG_INIT(0);
    assert_true(alab_query(l, &q, &a));
    const unsigned char *p;
    size_t n;
    assert_true(vb_msg_bytes(&a, VB_F_JOB_INFO, &p, &n));
    struct vb_msg g = vb_msg_view(p, n);
    VB_AUTO_FREE char *id = vb_msg_str(&g, VB_F_JOB);
    assert_string_equal(id, l->job);
    uint64_t t0 = vb_loop_now_ms(l->loop);
    VB_AUTO_MSG c = VB_MSG_INIT(VB_M_CANCEL);
    vb_msg_add_str(&c, VB_F_JOB, l->job);
    vb_msg_add_str(&c, VB_F_TOKEN, l->token);
    assert_true(alab_query(l, &c, NULL));
    assert_int_equal(alab_code(alab_wait(l, VB_M_SNAPSHOT, 5000)), VB_E_CANCELLED);
    assert_true(vb_loop_now_ms(l->loop) - t0 <
                2000); /* the hanging writer is killed; processes start on a busy machine */
    assert_true(alab_spool_empty(l, 5000));
    assert_int_equal(alab_count(l, "abort end ok"), 1); /* through a fresh host */
    assert_int_equal(alab_count(l, "backup-shutdown end ok"), 1);
    alab_free(l);
}

/* The session's own clock is stopped with the worker: the watchdog's is not. */
static void a_stopped_worker_does_not_hold_the_applications(void **state)
{
    (void)state;
    static const char SLOW[] = "[provider null]\nenable = yes\nhold = 1\ndelay = commit:2000\n"
                               "[writer null one]\ncomponent = c1\nc1.path = %D/data\nevent-log = %D/events\n"
                               "freeze-timeout = 1s\n";
    struct alab *l = lab(SLOW);
    assert_true(alab_open(l, VB_JOB_BACKUP, 60000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_prepare(l), VB_OK);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    for (int i = 0; i < 200 && !alab_count(l, "freeze end ok"); i++)
        alab_run(l, 20);
    int worker = alab_pid(l, "worker");
    assert_true(worker > 1);
    kill(worker, SIGSTOP);
    alab_run(l, 4000); /* 1 s window, 2 s margin of the watchdog */
    kill(worker, SIGCONT);
    const struct vb_msg *r = alab_wait(l, VB_M_SNAPSHOT, 20000);
    assert_non_null(r);
    assert_int_not_equal(alab_code(r), VB_OK);
    assert_int_equal(alab_count(l, "thaw begin"), 0);
    assert_int_equal(alab_count(l, "abort end ok"), 1); /* by a fresh host: its own was killed by the watchdog */
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

/* Two jobs on one host: the second waits for the slot, and is told for whom. */
static void vss_b_22_one_set_in_creation_at_a_time(void **state)
{
    (void)state;
    static const char SLOW[] = "[provider null]\nenable = yes\n[writer null one]\ncomponent = c1\nc1.path = %D/data\n"
                               "event-log = %D/events\ndelay.prepare-snapshot = 1s\n";
    struct alab *l = lab(SLOW), *two = alab_new(SLOW);
    VB_AUTO_FREE char *state_dir = vb_printf("%s/state", l->dir), *conf = vb_printf("%s/vbackup.conf", l->dir);
    setenv("VBACKUP_STATE_DIR", state_dir, 1); /* the same supervisor */
    setenv("VBACKUP_CONFIG", conf, 1);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_true(alab_open(two, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_identify(two), VB_OK);
    assert_int_equal(alab_prepare(l), VB_OK);
    assert_int_equal(alab_prepare(two), VB_OK);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    for (int i = 0; i < 200 && !alab_count(l, "prepare-snapshot begin"); i++)
        alab_run(l, 20);
    assert_int_equal(alab_snapshot(two), VB_OK);
    bool queued = false;
    for (size_t i = 0; i < two->events.n; i++)
        queued = queued || strstr(two->events.v[i], "position 1");
    assert_true(queued);
    assert_int_equal(alab_code(alab_wait(l, VB_M_SNAPSHOT, 5000)), VB_OK);
    assert_int_equal(alab_release(l), VB_OK);
    assert_int_equal(alab_release(two), VB_OK);
    alab_free(two);
    alab_free(l);
}

static void capture_goes_on_after_a_lost_data_stream(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(until_snapshot(l), VB_OK);
    assert_true(alab_data(l));
    vb_conn_free(l->data);
    l->data = NULL;
    alab_run(l, 100);
    assert_int_equal(alab_code(alab_command(l, VB_M_CAPTURE, 5000, NULL, 10000)), VB_E_CONNECTION_LOST);
    assert_int_equal(alab_capture(l), VB_OK);
    assert_int_equal(alab_complete(l), VB_OK);
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

static void garbage_does_no_harm(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG);
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    VB_AUTO_MSG junk = VB_MSG_INIT(VB_M_PREPARE);
    vb_msg_add_str(&junk, VB_F_BCD, "<BACKUP_COMPONENTS");
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_code(alab_command(l, VB_M_PREPARE, 77, &junk, 5000)), VB_E_INVALID_XML_DOCUMENT);
    assert_int_equal(alab_code(alab_command(l, VB_M_W_EVENT, 78, NULL, 5000)), VB_E_PROTOCOL);
    assert_int_equal(alab_prepare(l), VB_OK);
    VB_AUTO_MSG bad = VB_MSG_INIT(VB_M_OPEN);
    vb_msg_add_str(&bad, VB_F_JOB_DOC, "<JOB");
    assert_false(alab_query(l, &bad, NULL));
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

static void a_broken_configuration_names_file_and_line(void **state)
{
    (void)state;
    struct alab *l =
        lab("[agent]\nidle-exit = 3s\n[writer null one]\nno-such-key = 1\ncomponent = c1\nc1.path = %D/data\n");
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    const struct vb_msg *r = alab_command(l, VB_M_IDENTIFY, VB_M_IDENTIFY, NULL, 10000);
    const unsigned char *p;
    size_t n;
    assert_int_equal(alab_code(r), VB_OK);
    assert_true(vb_msg_bytes(r, VB_F_FAILED, &p, &n)); /* */
    struct vb_msg g = vb_msg_view(p, n);
    VB_AUTO_FREE char *text = vb_msg_str(&g, VB_F_TEXT);
    assert_contains(text, "vbackup.conf");
    assert_contains(text, "no-such-key");
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

/* Arguments of a process that contain both, 0: there is none. */
static int process_with(const char *a, const char *b, const char *what, bool *has)
{
    DIR *d = opendir("/proc");
    int found = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        uint32_t pid;
        VB_AUTO_BUF args = VB_BUF_INIT;
        VB_AUTO_FREE char *name = vb_printf("%s/cmdline", e->d_name);
        if (!vb_parse_u32(e->d_name, &pid) || vb_read_file_at(dirfd(d), name, 65536, &args, NULL) < 0 ||
            !memmem(args.data, args.len, a, strlen(a)) || !memmem(args.data, args.len, b, strlen(b)))
            continue;
        found++;
        *has = *has || memmem(args.data, args.len, what, strlen(what));
    }
    closedir(d);
    return found;
}

/* What stands in a provider's section may be a secret: it reaches its process, but no list of processes shows it. */
static void options_of_a_provider_are_not_shown(void **state)
{
    (void)state;
    struct alab *l = lab("[provider null]\nenable = yes\nhold = 1\nsecret = tiger\ndelay = commit:700\n"
                         "[writer null one]\ncomponent = c1\nc1.path = %D/data\nevent-log = %D/events\n");
    bool shown = false;
    assert_true(alab_open(l, VB_JOB_BACKUP, 20000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_prepare(l), VB_OK);
    assert_true(process_with("provider-host", l->dir, "tiger", &shown) >= 1); /* and what it is starting just now */
    assert_false(shown);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    const struct vb_msg *r = alab_wait(l, VB_M_SNAPSHOT, 20000);
    assert_int_equal(alab_code(r), VB_OK);
    assert_true(vb_msg_u64(r, VB_F_WINDOW_US, 0) > 600000); /* the other entry has arrived */
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("a backup and a restore of a null writer", backup_and_restore_of_a_null_writer),
        CM_TEST("a lost connection is attached again; commands are answered from the record",
                a_lost_connection_is_attached_again),
        CM_TEST("a command runs on while nobody listens", a_command_runs_on_while_nobody_listens),
        CM_TEST("the same job sent twice is one job", the_same_job_sent_twice_is_one_job),
        CM_TEST("VSS-B-61 the lease runs out: everything is released", the_lease_runs_out),
        CM_TEST("a wrong token is refused", a_wrong_token_is_refused),
        CM_TEST("STATUS and CANCEL are answered by the supervisor, also while a writer hangs",
                status_and_cancel_are_answered_by_the_supervisor),
        CM_TEST("the watchdog releases the applications of a stopped worker",
                a_stopped_worker_does_not_hold_the_applications),
        CM_TEST("VSS-B-22 one set in creation at a time; the queue is shown (Q-1)",
                vss_b_22_one_set_in_creation_at_a_time),
        CM_TEST("CAPTURE goes on after a lost data stream", capture_goes_on_after_a_lost_data_stream),
        CM_TEST("entries of a provider's section are not in its arguments", options_of_a_provider_are_not_shown),
        CM_TEST("garbage does no harm", garbage_does_no_harm),
        CM_TEST("VSS-Q-9 a broken section of a writer is told with file and key",
                a_broken_configuration_names_file_and_line),
    };
    return CM_RUN("agent", t);
}
