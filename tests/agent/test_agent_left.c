/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_agent_left.c - what a dead job left behind and recover could not release: the next job is told what it
 * is and what to do, and gets no slot while something may still be frozen.  And a supervisor out of descriptors.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/watchdog.h"
#include "base/process.h"
#include "base/text.h"
#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

#define CONFIG(more) \
    "[agent]\nidle-exit = 20s\n[provider btrfs]\nenabled = no\n[provider reflink]\nenabled = no\n" \
    "[provider null]\nenable = yes\nhold = 1\nlevel = 2\n" more \
    "[writer null one]\ncomponent = c1\nc1.path = %D/data\nevent-log = %D/events\n"

static struct alab *lab(const char *config)
{
    struct alab *l = alab_new(config);
    alab_write(l, "data/a", "first\n");
    return l;
}

static void until_prepared(struct alab *l)
{
    alab_reset(l);
    if (!alab_open(l, VB_JOB_BACKUP, 20000, false))
        fail_msg("%s", vb_error_text(&l->lost));
    assert_int_equal(alab_identify(l), VB_OK);
    assert_int_equal(alab_prepare(l), VB_OK);
}

/* What the supervisor says of the jobs in this phase. */
static unsigned in_phase(struct alab *l, const char *phase)
{
    VB_AUTO_MSG q = VB_MSG_INIT(VB_M_STATUS);
    VB_AUTO_MSG a = VB_MSG_INIT(0);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    unsigned found = 0;
    assert_true(alab_query(l, &q, &a));
    vb_field_iter_init(&it, &a);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag == VB_F_JOB_INFO) {
            struct vb_msg g = vb_msg_view(p, n);
            VB_AUTO_FREE char *ph = vb_msg_str(&g, VB_F_PHASE);
            found += ph && !strcmp(ph, phase);
        }
    return found;
}

static void wait_for_stuck(struct alab *l, unsigned n)
{
    for (int i = 0; i < 200 && (in_phase(l, "needs help") != n || in_phase(l, "cleaning up")); i++)
        alab_run(l, 50);
    assert_int_equal(in_phase(l, "needs help"), n);
}

static bool said(struct alab *l, const char *text)
{
    for (size_t i = 0; i < l->events.n; i++)
        if (strstr(l->events.v[i], text))
            return true;
    return false;
}

/* Only a shadow copy: backups go on, and say so, until it can be deleted. */
static void a_shadow_copy_is_left(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG("fail = delete\n"));
    until_prepared(l);
    assert_int_equal(alab_snapshot(l), VB_OK);
    kill(alab_pid(l, "worker"), SIGKILL);
    (void)alab_wait(l, 9999, 1000);
    wait_for_stuck(l, 1);
    if (alab_attach(l))
        fail_msg("attached to a dead job");
    assert_contains(vb_error_text(&l->lost), "shadow copy");
    assert_contains(l->lost.hint ? l->lost.hint : "", "vbackup-agent recover");
    until_prepared(l);
    assert_int_equal(alab_snapshot(l), VB_OK);
    assert_true(said(l, "an earlier job left something behind"));
    assert_true(said(l, "is still there"));
    /* mended: the next job that wants the slot has it tried again */
    VB_AUTO_FREE char *text = alab_read(l, "vbackup.conf");
    char *line = strstr(text, "fail = delete");
    assert_non_null(line);
    memcpy(line, "# il = delete", 13);
    alab_write(l, "vbackup.conf", text);
    assert_int_equal(alab_release(l), VB_OK);
    until_prepared(l);
    assert_int_equal(alab_snapshot(l), VB_OK);
    assert_false(said(l, "left something behind"));
    assert_int_equal(alab_release(l), VB_OK);
    assert_true(alab_spool_empty(l, 5000));
    alab_free(l);
}

/* A dead job of which nobody can tell what it held. */
static char *unreadable(struct alab *l, const char *id)
{
    VB_AUTO_FREE char *name = vb_printf("state/agent/jobs/%s/job.xml", id);
    alab_write(l, name, "<JOB");
    return vb_printf("%s/state/agent/jobs/%s", l->dir, id);
}

static void remove_entry(const char *dir)
{
    const char *argv[] = { "/bin/rm", "-r", dir, NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    sp.argv = argv;
    assert_int_equal(vb_run(&sp, 10000, 0, NULL, NULL), 0);
}

static void assert_refused(struct alab *l, const char *a, const char *b)
{
    until_prepared(l);
    const struct vb_msg *r = alab_command(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL, 20000);
    assert_int_equal(alab_code(r), VB_E_BUSY);
    VB_AUTO_FREE char *text = vb_msg_str(r, VB_F_TEXT), *hint = vb_msg_str(r, VB_F_HINT);
    assert_contains(text, "an earlier job could not be cleaned up after");
    assert_contains(text, a);
    if (b)
        assert_contains(text, b);
    assert_contains(hint, "vbackup-agent recover");
    assert_contains(hint, "fsfreeze -u");
    assert_int_equal(alab_count(l, "freeze begin"), 0);
    assert_int_equal(alab_release(l), VB_OK);
}

static void the_slot_is_not_given_back(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG("delay = commit:60000\n"));
    until_prepared(l);
    alab_send(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL);
    for (int i = 0; i < 200 && !alab_count(l, "freeze end ok"); i++)
        alab_run(l, 20);
    VB_AUTO_FREE char *id = vb_strdup(l->job), *dir = unreadable(l, id);
    id[8] = '\0';
    kill(alab_pid(l, "worker"), SIGKILL);
    (void)alab_wait(l, 9999, 500);
    wait_for_stuck(l, 1);
    assert_refused(l, id, NULL);
    assert_refused(l, id, NULL); /* tried again, and again in vain */
    remove_entry(dir);           /* as the hint says */
    alab_free(l);
}

/* The next supervisor finds two of them: one that is mended does not open the door for the other. */
static void a_sweep_holds_the_slot_for_all(void **state)
{
    (void)state;
    static const char A[] = "aaaaaaaa-0000-4000-8000-000000000001", B[] = "bbbbbbbb-0000-4000-8000-000000000002";
    struct alab *l = lab(CONFIG(""));
    VB_AUTO_FREE char *a = unreadable(l, A), *b = unreadable(l, B);
    wait_for_stuck(l, 2);
    assert_refused(l, "aaaaaaaa", "bbbbbbbb");
    remove_entry(a);
    assert_refused(l, "bbbbbbbb", NULL);
    remove_entry(b);
    until_prepared(l);
    assert_int_equal(alab_snapshot(l), VB_OK);
    assert_int_equal(alab_release(l), VB_OK);
    alab_free(l);
}

static uint64_t cpu_ticks(int pid)
{
    VB_AUTO_FREE char *path = vb_printf("/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    char line[1024];
    unsigned long u = 0, s = 0;
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    const char *p = strrchr(line, ')');
    assert_int_equal(sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s), 2);
    return u + s;
}

static rlim_t first_free(int pid)
{
    for (rlim_t n = 0;; n++) {
        struct stat st;
        VB_AUTO_FREE char *path = vb_printf("/proc/%d/fd/%ju", pid, (uintmax_t)n);
        if (lstat(path, &st) < 0)
            return n;
    }
}

/* Out of descriptors: it waits instead of spinning, and goes on when there are some. */
static void descriptors_run_out(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG(""));
    VB_AUTO_MSG q = VB_MSG_INIT(VB_M_STATUS);
    assert_true(alab_query(l, &q, NULL));
    int pid = alab_pid(l, "start");
    struct rlimit old, few;
    alab_run(l, 200); /* the connection of the question is gone */
    few.rlim_cur = first_free(pid);
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &old), 0);
    few.rlim_max = old.rlim_max;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &few, NULL), 0);
    pid_t child = fork(); /* somebody who waits in the queue */
    if (child == 0)
        _exit(alab_query(l, &q, NULL) ? 0 : 1);
    alab_run(l, 300);
    uint64_t before = cpu_ticks(pid);
    alab_run(l, 1500);
    uint64_t ticks = cpu_ticks(pid) - before;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &old, NULL), 0);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(ticks < 10); /* a tenth of a second in one and a half */
    alab_free(l);
}

static void a_writer_that_cannot_be_watched(void **state)
{
    (void)state;
    struct alab *l = lab(CONFIG(""));
    VB_AUTO_FREE char *agent = vb_program_path("vbackup-agent");
    const char *argv[] = { agent, "watchdog", NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    int pair[2];
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    sp.argv = argv;
    sp.pass_fds = &pair[1];
    sp.n_pass_fds = 1;
    pid_t pid = vb_spawn(&sp, &err);
    assert_true(pid > 0);
    close(pair[1]);
    struct vb_wd_request r = { VB_WD_ADD_HOST, -5, 0 }, go = { VB_WD_START, 0, 0 };
    struct vb_wd_answer a;
    assert_int_equal(send(pair[0], &r, sizeof r, 0), sizeof r);
    assert_int_equal(send(pair[0], &go, sizeof go, 0), sizeof go);
    assert_int_equal(recv(pair[0], &a, sizeof a, 0), sizeof a);
    assert_int_equal(a.call, VB_WD_START);
    assert_int_equal(a.error, EINVAL);
    assert_contains(a.text, "cannot be watched");
    close(pair[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    alab_free(l);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("a shadow copy is left: the next job is told, and it is tried again", a_shadow_copy_is_left),
        CM_TEST("the slot is not given back after a recover that failed", the_slot_is_not_given_back),
        CM_TEST("a sweep holds the slot for every dead job", a_sweep_holds_the_slot_for_all),
        CM_TEST("a supervisor out of descriptors does not spin", descriptors_run_out),
        CM_TEST("a writer that the watchdog cannot watch fails the set before the window",
                a_writer_that_cannot_be_watched),
    };
    return CM_RUN("agent_left", t);
}
