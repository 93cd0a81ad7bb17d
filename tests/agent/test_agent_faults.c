/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_agent_faults.c - one kill of worker, supervisor and recover at each journal transition of a backup
 * and of a restore, with a null writer.  Enumerated: n grows until nobody is killed any more.
 *
 * After each: thawed and cleaned at once, the requester learns why, the next run succeeds.
 */
#include "config.h"

#include <signal.h>
#include <unistd.h>

#include "base/text.h"
#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

static const char CONFIG[] = "[agent]\n"
                             "idle-exit = 20s\n"
                             "[provider null]\n"
                             "enable = yes\n"
                             "hold = 1\n"
                             "level = 2\n"
                             "[provider btrfs]\n"
                             "enabled = no\n"
                             "[provider reflink]\n"
                             "enabled = no\n"
                             "[service web]\n"
                             "start-command = /usr/bin/touch %D/started\n"
                             "stop-command = /bin/rm -f %D/started\n"
                             "[writer null one]\n"
                             "component = c1\n"
                             "c1.path = %D/data\n"
                             "c1.recursive = yes\n"
                             "restore-method = stop-restore-start\n"
                             "service = web\n"
                             "topology-lock = %D/locked\n"
                             "event-log = %D/events\n";

#define AT_ONCE_MS 5000

static bool there(struct alab *l, const char *name)
{
    VB_AUTO_FREE char *path = vb_path_join(l->dir, name);
    return access(path, F_OK) == 0;
}

static void arm(struct alab *l, const char *role, unsigned n)
{
    VB_AUTO_FREE char *at = vb_printf("%s:%u", role, n), *token = vb_path_join(l->dir, "token");
    alab_write(l, "token", "");
    setenv("VBACKUP_TEST_KILL", at, 1);
    setenv("VBACKUP_TEST_KILL_FILE", token, 1);
}

static void disarm(struct alab *l)
{
    VB_AUTO_FREE char *token = vb_path_join(l->dir, "token");
    unlink(token);
    unsetenv("VBACKUP_TEST_KILL");
}

static void assert_clean(struct alab *l, const char *role, unsigned n)
{
    if (!alab_spool_empty(l, AT_ONCE_MS))
        fail_msg("%s:%u: the job is still in the spool", role, n);
    if (alab_longest_freeze(l) > 2000)
        fail_msg("%s:%u: frozen for %ju ms", role, n, (uintmax_t)alab_longest_freeze(l));
    if (there(l, "locked"))
        fail_msg("%s:%u: the topology lock is still held", role, n);
    if (alab_count(l, "prepare-backup begin") && !alab_count(l, "backup-shutdown end ok"))
        fail_msg("%s:%u: no BackupShutdown (VSS-B-60)", role, n);
    if (alab_count(l, "pre-restore begin") && !alab_count(l, "post-restore end ok"))
        fail_msg("%s:%u: no PostRestore (VSS-R-25)", role, n);
    if (!there(l, "started"))
        fail_msg("%s:%u: the service was not started again (VSS-R-40)", role, n);
}

static struct alab *lab(void)
{
    struct alab *l = alab_new(CONFIG);
    alab_write(l, "data/a", "first\n");
    alab_write(l, "data/sub/b", "second\n");
    alab_write(l, "started", "");
    return l;
}

/* One place for all: the run of each n is the "next run" of the n before, and the last one is not killed at all. */
static void kill_at_each_record(const char *role, bool restore)
{
    unsigned n, fired = 0;
    struct alab *l = lab();
    if (restore) { /* something to restore */
        assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
        assert_int_equal(alab_backup(l), VB_OK);
        assert_true(alab_spool_empty(l, AT_ONCE_MS));
    }
    for (n = 1; n < 300; n++) {
        alab_stop(alab_pid(l, "start"));
        alab_reset(l);
        arm(l, role, n);
        enum vb_code c = VB_E_CONNECTION_LOST;
        if (alab_open(l, restore ? VB_JOB_RESTORE : VB_JOB_BACKUP, 5000, true))
            c = restore ? alab_restore(l) : alab_backup(l);
        alab_run(l, 20); /* what comes after the last reply */
        bool done = there(l, "token");
        disarm(l);
        if (done) {
            if (c != VB_OK)
                fail_msg("%s:%u: the run without a kill failed: %s", role, n, vb_code_name(c));
            break;
        }
        fired++;
        if (!strcmp(role, "worker") && c != VB_OK) { /* who comes back learns why */
            /* A stream that was handed to a worker which is dead, and not buried yet, just ends: whoever has it tries again. */
            bool attached = alab_attach(l);
            for (int again = 0; !attached && l->lost.code == VB_E_CONNECTION_LOST && again < 50; again++) {
                alab_run(l, 100);
                attached = alab_attach(l);
            }
            if (attached)
                fail_msg("%s:%u: attached to a dead job", role, n);
            if (l->lost.code != VB_E_JOB_LOST)
                fail_msg("%s:%u: %s", role, n, vb_error_text(&l->lost));
        }
        if (!strcmp(role, "supervisor")) { /* swept by the next one, which the next stream starts */
            VB_AUTO_MSG q = VB_MSG_INIT(VB_M_STATUS);
            assert_true(alab_query(l, &q, NULL));
        }
        assert_clean(l, role, n);
    }
    printf("# %s: %u transitions of a %s\n", role, fired, restore ? "restore" : "backup");
    assert_true(n < 300);
    assert_true(fired > 2);
    alab_free(l);
}

static void worker_backup(void **state)
{
    (void)state;
    kill_at_each_record("worker", false);
}

static void worker_restore(void **state)
{
    (void)state;
    kill_at_each_record("worker", true);
}

static void supervisor_backup(void **state)
{
    (void)state;
    kill_at_each_record("supervisor", false);
}

static void supervisor_restore(void **state)
{
    (void)state;
    kill_at_each_record("supervisor", true);
}

/* The one who cleans up is killed as well: what is left is cleaned by the next supervisor. */
static void recover_backup(void **state)
{
    (void)state;
    unsigned n, fired = 0;
    struct alab *l = lab();
    for (n = 1; n < 100; n++) {
        alab_reset(l);
        arm(l, "recover", n);
        assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
        assert_int_equal(alab_identify(l), VB_OK);
        assert_int_equal(alab_prepare(l), VB_OK);
        assert_int_equal(alab_snapshot(l), VB_OK);
        int worker = alab_pid(l, "worker");
        assert_true(worker > 1);
        kill(worker, SIGKILL);
        (void)alab_wait(l, 9999, AT_ONCE_MS);
        for (int i = 0; i < 100 && there(l, "token") && !alab_spool_empty(l, 0); i++)
            alab_run(l, 20);
        bool done = there(l, "token");
        fired += !done;
        disarm(l);
        alab_stop(alab_pid(l, "start"));
        VB_AUTO_MSG q = VB_MSG_INIT(VB_M_STATUS);
        assert_true(alab_query(l, &q, NULL));
        assert_clean(l, "recover", n);
        alab_stop(alab_pid(l, "start"));
        if (done)
            break;
    }
    alab_free(l);
    printf("# recover: %u transitions\n", fired);
    assert_true(fired > 2);
}

int main(void)
{
#ifdef VB_FAULT_POINTS
    const int built_for_it = 1;
#else
    const int built_for_it = 0;
#endif
    if (!built_for_it) {
        printf("1..0 # SKIP built without --enable-fault-points\n");
        return 0;
    }
    const struct CMUnitTest t[] = {
        CM_TEST("worker killed at each transition of a backup", worker_backup),
        CM_TEST("worker killed at each transition of a restore", worker_restore),
        CM_TEST("supervisor killed at each transition of a backup", supervisor_backup),
        CM_TEST("supervisor killed at each transition of a restore", supervisor_restore),
        CM_TEST("recover killed at each transition", recover_backup),
    };
    return CM_RUN("agent_faults", t);
}
