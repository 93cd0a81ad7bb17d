/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_provider_faults.c - a whole backup with a null writer, and a provider that fails, hangs, dies or lies
 * at each call (vbackup-provider-fault(8)).
 *
 * Each ends in one clear line that names provider and call; the writer is thawed in time; nothing is left; and the next
 * run succeeds.
 */
#include "config.h"

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

static const char CONFIG[] = "[agent]\n"
                             "idle-exit = 20s\n"
                             "timeout-provider-start = %s\n"
                             "timeout-provider-prepare = %s\n"
                             "timeout-provider-commit = %s\n"
                             "[provider fault]\n"
                             "enable = yes\n"
                             "fault = %s\n"
                             "once = %%D/once\n"
                             "hold = 1\n"
                             "[provider btrfs]\n"
                             "enabled = no\n"
                             "[provider reflink]\n"
                             "enabled = no\n"
                             "[writer null one]\n"
                             "component = c1\n"
                             "c1.path = %%D/data\n"
                             "c1.recursive = yes\n"
                             "topology-lock = %%D/locked\n"
                             "event-log = %%D/events\n";

static const char *const CALLS[] = { "open", "supports", "begin_prepare", "end_prepare", "pre_commit", "commit",
                                     "post_commit", "pre_final", "snapshot_path", "post_final", "abort", "delete" };

/* The null provider makes nothing and shows the original, so these lies make no difference; the contract of a provider
 * that makes something tells them (tests/root/test_providers.sh). */
static bool harmless_lie(const char *call)
{
    return !strcmp(call, "open") || !strcmp(call, "supports") || !strcmp(call, "end_prepare") ||
           !strcmp(call, "pre_commit") || !strcmp(call, "commit") || !strcmp(call, "pre_final") ||
           !strcmp(call, "post_final");
}

/* Names in the provider's state directory. */
static size_t records(struct alab *l)
{
    VB_AUTO_FREE char *path = vb_path_join(l->dir, "state/providers/fault");
    DIR *d = opendir(path);
    size_t n = 0;
    for (const struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

/* Text of the reply that failed; caller frees. */
static char *failure(struct alab *l)
{
    for (size_t i = l->n_replies; i-- > 0;)
        if (alab_code(&l->replies[i]) != VB_OK)
            return vb_msg_str(&l->replies[i], VB_F_TEXT);
    return vb_strdup("");
}

/* In a process of its own: they all run at once, since most of it is waiting. */
#define WRONG(...)                                              \
    do {                                                        \
        VB_AUTO_FREE char *wrong = vb_printf(__VA_ARGS__);      \
        print_error("%s at %s: %s\n", kind, call, wrong);       \
        alab_free(l);                                           \
        return 1;                                               \
    } while (0)

/* Only a hang runs into its timeout; every other fault has all the time a loaded machine needs. */
#define HUNG_MS 1500
static char *configuration(const char *kind, const char *fault)
{
    VB_AUTO_FREE char *t = !strcmp(kind, "hang") ? vb_printf("%dms", HUNG_MS) : vb_strdup("10s");
    return vb_printf(CONFIG, t, t, t, fault);
}

static int one_fault(const char *call, const char *kind)
{
    bool of_abort = !strcmp(call, "abort"), of_delete = !strcmp(call, "delete");
    VB_AUTO_FREE char *fault = vb_printf("%s:%s%s", call, kind, of_abort ? " post_commit:fail" : "");
    VB_AUTO_FREE char *config = configuration(kind, fault), *token = vb_printf("once.%s", call);
    struct alab *l = alab_new(config);
    alab_write(l, "data/a", "first\n");
    alab_write(l, token, "");
    if (of_abort)
        alab_write(l, "once.post_commit", "");
    if (!alab_open(l, VB_JOB_BACKUP, 20000, false))
        WRONG("the job was not opened: %s", vb_error_text(&l->lost));
    enum vb_code c = alab_backup(l);
    VB_AUTO_FREE char *text = failure(l), *at = vb_printf("call '%s'", of_abort ? "post_commit" : call);
    bool lie = !strcmp(kind, "lie");
    if (of_delete) { /* the data is safe by then */
        if (c != VB_OK)
            WRONG("the backup failed: %s", text);
    } else if (lie && harmless_lie(call)) {
        if (c != VB_OK)
            WRONG("a lie that makes no difference failed the backup: %s", text);
    } else {
        if (c == VB_OK)
            WRONG("the backup succeeded");
        if (!strstr(text, "provider 'fault'") || (strcmp(call, "open") != 0 && !lie && !strstr(text, at)) ||
            strchr(text, '\n'))
            WRONG("no line that names provider and call: %s", text);
        (void)alab_release(l);
    }
    if (!alab_spool_empty(l, 5000))
        WRONG("the job is still there");
    if (alab_longest_freeze(l) > HUNG_MS + 2500)
        WRONG("frozen for %ju ms", (uintmax_t)alab_longest_freeze(l));
    if (alab_count(l, "prepare-backup begin") && !alab_count(l, "backup-shutdown end ok"))
        WRONG("no BackupShutdown (VSS-B-60)");
    for (int i = 0; i < 100 && records(l); i++)
        alab_run(l, 50);
    if (records(l))
        WRONG("%zu shadow copies are left", records(l));
    alab_reset(l);
    if ((of_abort || of_delete || !strcmp(call, "commit")) && /* the next one */
        (!alab_open(l, VB_JOB_BACKUP, 20000, false) || (c = alab_backup(l)) != VB_OK))
        WRONG("the next run failed: %s", vb_code_name(c));
    alab_free(l);
    return 0;
}

static void at_each_call(const char *kind)
{
    pid_t pids[VB_COUNT(CALLS)];
    int status, bad = 0;
    for (size_t i = 0; i < VB_COUNT(CALLS); i++)
        if ((pids[i] = fork()) == 0)
            _exit(one_fault(CALLS[i], kind));
    for (size_t i = 0; i < VB_COUNT(CALLS); i++)
        bad += waitpid(pids[i], &status, 0) != pids[i] || status != 0;
    assert_int_equal(bad, 0);
}

static void fails(void **state)
{
    (void)state;
    at_each_call("fail");
}

static void hangs(void **state)
{
    (void)state;
    at_each_call("hang");
}

static void crashes(void **state)
{
    (void)state;
    at_each_call("crash");
}

static void lies(void **state)
{
    (void)state;
    at_each_call("lie");
}

/* ---- a shadow copy that is lost while it is read ---- */

static size_t memories(struct alab *l)
{
    size_t n = 0;
    VB_AUTO_FREE char *looks = vb_printf("%s/state/looks", l->dir);
    VB_AUTO_DIR DIR *d = opendir(looks);
    for (const struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    return n;
}

static int one_loss(const char *kind)
{
    const char *call = "check";
    VB_AUTO_FREE char *fault = vb_printf("check:%s", kind), *config = configuration(kind, fault);
    struct alab *l = alab_new(config);
    alab_write(l, "data/a", "first\n");
    alab_write(l, "once.check", "");
    if (!alab_open(l, VB_JOB_BACKUP, 20000, false))
        WRONG("the job was not opened: %s", vb_error_text(&l->lost));
    (void)alab_backup(l);
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(&l->captured, VB_F_COMPONENT, &p, &n))
        WRONG("CAPTURE answered no component");
    struct vb_msg g = vb_msg_view(p, n);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)vb_msg_error(&g, &err);
    if (!strcmp(kind, "lie")) { /* that all is well */
        if (err.code != VB_OK)
            WRONG("component failed: %s", vb_error_text(&err));
    } else if (err.code == VB_OK || !strstr(vb_error_text(&err), "provider 'fault'")) {
        WRONG("the component did not fail for that reason: %s", vb_error_text(&err));
    } else if (vb_msg_u64(&g, VB_F_COMPLETENESS, 0) != VB_FAILED || vb_msg_has(&g, VB_F_ROOT)) {
        WRONG("what was read counts all the same");
    } else if (memories(l)) {
        WRONG("what was read is remembered");
    }
    (void)alab_release(l);
    if (!alab_spool_empty(l, 5000))
        WRONG("the job is still there");
    for (int i = 0; i < 100 && records(l); i++)
        alab_run(l, 50);
    if (records(l))
        WRONG("%zu shadow copies are left", records(l));
    alab_free(l);
    return 0;
}

static void lost_while_read(void **state)
{
    (void)state;
    assert_int_equal(one_loss("fail"), 0);
    assert_int_equal(one_loss("hang"), 0);
    assert_int_equal(one_loss("crash"), 0);
    assert_int_equal(one_loss("lie"), 0);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("VSS-B-41 a provider that fails at each call", fails),
        CM_TEST("VSS-S-41 a provider that hangs in each call", hangs),
        CM_TEST("VSS-S-41 a provider that dies in each call", crashes),
        CM_TEST("a provider that lies at each call", lies),
        CM_TEST("VSS-Q-11 a shadow copy that is lost while it is read fails what was read from it", lost_while_read),
    };
    return CM_RUN("provider_faults", t);
}
