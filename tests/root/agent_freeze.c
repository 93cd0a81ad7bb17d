/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/root/agent_freeze.c - a real file system is frozen by the watchdog, and thaws whatever happens to the worker.
 * Started by test_freeze.sh as root; VB_FREEZE_DIR is a file system of its own.
 */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

static const char *place;

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A write to the file system from another process: its pid. */
static pid_t begin_write(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        VB_AUTO_FREE char *path = vb_printf("%s/probe", place);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        _exit(fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0);
    }
    return pid;
}

/* Milliseconds until a write goes through, or UINT64_MAX after limit. */
static uint64_t writable_after(uint64_t limit)
{
    uint64_t t0 = now_ms();
    pid_t pid = begin_write();
    while (now_ms() - t0 < limit) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status == 0 ? now_ms() - t0 : UINT64_MAX;
        struct timespec ts = { 0, 2000000 };
        nanosleep(&ts, NULL);
    }
    return UINT64_MAX;
}

static struct alab *lab(const char *more, const char *data)
{
    VB_AUTO_FREE char *conf =
        vb_printf("[agent]\ntimeout-hold = 2s\n[provider btrfs]\nenabled = no\n[provider reflink]\nenabled = no\n"
                  "[provider null]\nenable = yes\nhold = 2\n%s\n"
                  "[writer null one]\ncomponent = c1\nc1.path = %s\nevent-log = %%D/events\n",
                  more, data);
    return alab_new(conf);
}

static void until_frozen(struct alab *l)
{
    assert_true(alab_open(l, VB_JOB_BACKUP, 60000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_prepare(l), VB_OK);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    for (int i = 0; i < 500 && !alab_count(l, "freeze end ok"); i++)
        alab_run(l, 10);
    alab_run(l, 300); /* into commit, which takes its time */
}

static void held_during_commit_only(void **state)
{
    (void)state;
    struct alab *l = lab("delay = commit:1000", place);
    until_frozen(l);
    uint64_t blocked = writable_after(5000);
    assert_true(blocked != UINT64_MAX);
    assert_true(blocked > 200); /* it was frozen */
    assert_int_equal(alab_code(alab_wait(l, VB_M_SNAPSHOT, 10000)), VB_OK);
    assert_true(writable_after(1000) != UINT64_MAX);
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

static void a_killed_worker_thaws_at_once(void **state)
{
    (void)state;
    struct alab *l = lab("delay = commit:60000", place);
    until_frozen(l);
    kill(alab_pid(l, "worker"), SIGKILL);
    assert_true(writable_after(1000) != UINT64_MAX);
    assert_true(alab_spool_empty(l, 10000));
    alab_free(l);
}

static void a_stopped_worker_thaws_in_time(void **state)
{
    (void)state;
    struct alab *l = lab("delay = commit:60000", place);
    until_frozen(l);
    int worker = alab_pid(l, "worker");
    kill(worker, SIGSTOP);
    uint64_t after = writable_after(4000); /* timeout-hold is 2 s */
    kill(worker, SIGCONT);
    assert_true(after != UINT64_MAX);
    alab_cut(l);
    alab_free(l);
}

static void a_hanging_provider_fails_the_set(void **state)
{
    (void)state;
    struct alab *l = lab("hang = commit", place);
    until_frozen(l);
    assert_true(writable_after(4000) != UINT64_MAX);
    assert_int_not_equal(alab_code(alab_wait(l, VB_M_SNAPSHOT, 20000)), VB_OK);
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

/* Killed at each record of the journal: never frozen longer than a moment. */
static void killed_at_each_record(void **state)
{
    (void)state;
    unsigned n, fired = 0;
    struct alab *l = lab("", place);
    for (n = 1; n < 200; n++) {
        VB_AUTO_FREE char *at = vb_printf("worker:%u", n), *token = vb_printf("%s/token", l->dir);
        alab_stop(alab_pid(l, "start"));
        alab_reset(l);
        alab_write(l, "token", "");
        setenv("VBACKUP_TEST_KILL", at, 1);
        setenv("VBACKUP_TEST_KILL_FILE", token, 1);
        if (alab_open(l, VB_JOB_BACKUP, 5000, false))
            (void)alab_backup(l);
        alab_run(l, 20);
        bool done = access(token, F_OK) == 0;
        unlink(token);
        unsetenv("VBACKUP_TEST_KILL");
        if (writable_after(1000) == UINT64_MAX)
            fail_msg("worker:%u: the file system is still frozen", n);
        if (done)
            break;
        fired++;
        assert_true(alab_spool_empty(l, 10000));
    }
    printf("# %u transitions\n", fired);
    assert_true(fired > 20 && n < 200);
    alab_free(l);
}

static void the_root_file_system_is_never_frozen(void **state)
{
    (void)state;
    struct alab *l = lab("", "/etc");
    assert_true(alab_open(l, VB_JOB_BACKUP, 5000, false));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_prepare(l), VB_E_VOLUME_NOT_SUPPORTED);
    VB_AUTO_FREE char *text = vb_msg_str(&l->replies[l->n_replies - 1], VB_F_TEXT);
    assert_contains(text, "that holds the root directory is never frozen");
    assert_int_equal(alab_count(l, "prepare-backup begin"), 0); /* refused before a writer hears of it */
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

int main(void)
{
    place = getenv("VB_FREEZE_DIR");
    if (!place) {
        printf("1..0 # SKIP VB_FREEZE_DIR is not set\n");
        return 0;
    }
    const struct CMUnitTest t[] = {
        CM_TEST("a file system is held during commit only (VSS-B-39)", held_during_commit_only),
        CM_TEST("a killed worker: thawed at once", a_killed_worker_thaws_at_once),
        CM_TEST("a stopped worker: thawed by the watchdog's own clock (VSS-2.3)", a_stopped_worker_thaws_in_time),
        CM_TEST("a hanging provider: thawed, the set fails (VSS-B-41, S-39)", a_hanging_provider_fails_the_set),
        CM_TEST("killed at each transition: never left frozen", killed_at_each_record),
        CM_TEST("the root file system is never frozen", the_root_file_system_is_never_frozen),
    };
    return CM_RUN("agent_freeze", t);
}
