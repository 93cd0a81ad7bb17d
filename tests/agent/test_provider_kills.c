/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_provider_kills.c - worker, supervisor or the provider's own process are killed while the provider is
 * inside of a call: at its beginning, or when its work is done and not answered yet.
 *
 * After each, within seconds and without anybody starting anything: everybody is thawed, and nothing is left of shadow
 * copies, records, mounts, processes and jobs.  By itself with the null provider; with the variables
 *   KILLS_BASE=PROVIDER KILLS_DATA=DIR [KILLS_HOLD=N]   with that one, on the file system at DIR (test_provider_kills.sh)
 *   KILLS_CALLS="CALL ..."                              only these calls
 *   KILLS_ALL=1                                         every kind of kill at each call
 *   KILLS_SERIAL=1                                      one after the other (DIR is frozen by each)
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/process.h"
#include "base/text.h"
#include "tests/cm.h"
#include "tests/agent/agent_lab.h"

static const char CONFIG[] = "[agent]\n"
                             "idle-exit = 60s\n"
                             "[provider fault]\n"
                             "enable = yes\n"
                             "base = %s\n"
                             "hold = %s\n"
                             "place = %s\n"
                             "fault = %s:%s%s\n"
                             "once = %%D/once\n"
                             "inside = %%D/inside\n"
                             "[provider btrfs]\n"
                             "enabled = no\n"
                             "[provider reflink]\n"
                             "enabled = no\n"
                             "[writer null one]\n"
                             "component = c1\n"
                             "c1.path = %s/data\n"
                             "c1.recursive = yes\n"
                             "topology-lock = %%D/locked\n"
                             "event-log = %%D/events\n";

static const char *const CALLS[] = { "open",      "supports",      "begin_prepare", "end_prepare", "pre_commit",
                                     "commit",    "post_commit",   "pre_final",     "snapshot_path", "post_final",
                                     "check",     "abort",         "delete",        "query" };

enum victim { WORKER, HOST, SUPERVISOR };
static const char *const VICTIMS[] = { "worker", "provider", "supervisor" };

struct kill {
    const char *call;
    enum victim victim;
    bool after;   /* the work of the call is done */
    bool goes_on; /* the provider's process goes on as soon as the other is dead */
};

#define SECONDS_MS 20000u /* for a loaded machine; the usual time is printed */
#define FROZEN_MS 8000u

/* ---- the run in which somebody is killed ---- */

struct run {
    struct alab *l;
    const struct kill *k;
    bool killed;
    char *inside;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static void go_on(void *arg)
{
    struct run *r = arg;
    unlink(r->inside);
}

static void look(void *arg)
{
    struct run *r = arg;
    VB_AUTO_BUF b = VB_BUF_INIT;
    (void)vb_read_file_at(AT_FDCWD, r->inside, 64, &b, NULL);
    int host = strchr(vb_buf_str(&b), '\n') ? (int)strtol(vb_buf_str(&b), NULL, 10) : 0;
    if (host < 2) {
        vb_loop_after(r->l->loop, 5, look, r);
        return;
    }
    int pid = r->k->victim == HOST ? host : alab_pid(r->l, r->k->victim == WORKER ? "worker" : "start");
    if (pid < 2 || kill(pid, SIGKILL) < 0)
        return;
    r->killed = true;
    if (r->k->victim == HOST || r->k->goes_on)
        vb_loop_after(r->l->loop, r->k->victim == HOST ? 0 : 30, go_on, r);
}

/* ---- what may be left ---- */

static size_t names_in(const char *path)
{
    VB_AUTO_DIR DIR *d = opendir(path);
    size_t n = 0;
    for (const struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    return n;
}

static bool mentions(int at, const char *name, const char *what, bool words)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(at, name, 1u << 20, &b, NULL) < 0)
        return false;
    for (size_t i = 0; words && i < b.len; i++)
        if (!b.data[i])
            b.data[i] = '\n';
    return strstr(vb_buf_str(&b), what) != NULL;
}

/* Processes of this lab's agent; the supervisor among them. */
static size_t processes(struct alab *l)
{
    VB_AUTO_FREE char *mark = vb_printf("VBACKUP_STATE_DIR=%s/state", l->dir);
    VB_AUTO_DIR DIR *d = opendir("/proc");
    size_t n = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        uint32_t pid;
        VB_AUTO_FREE char *environ_ = vb_printf("%s/environ", e->d_name), *cmdline = vb_printf("%s/cmdline", e->d_name);
        if (vb_parse_u32(e->d_name, &pid) && pid != (uint32_t)getpid() && mentions(dirfd(d), environ_, mark, true))
            n += mentions(dirfd(d), cmdline, "vbackup-agent\n", true) && !mentions(dirfd(d), cmdline, "\nrelay", true) &&
                 !mentions(dirfd(d), cmdline, "\nsupervisor", true);
    }
    return n;
}

/* What is left, as text; NULL: nothing. */
static char *left(struct alab *l, const char *data)
{
    VB_AUTO_FREE char *jobs = vb_path_join(l->dir, "state/agent/jobs"),
                      *records = vb_path_join(l->dir, "state/providers/fault"),
                      *lock = vb_path_join(l->dir, "locked"), *ours = vb_path_join(l->dir, "");
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (names_in(jobs))
        vb_buf_add_str(&b, " a job");
    if (names_in(records))
        vb_buf_addf(&b, " %zu records", names_in(records));
    if (names_in(data) != 1)
        vb_buf_addf(&b, " %zu names too many beside the data", names_in(data) - 1);
    if (mentions(AT_FDCWD, "/proc/self/mountinfo", ours, false))
        vb_buf_add_str(&b, " a mount");
    if (access(lock, F_OK) == 0)
        vb_buf_add_str(&b, " the topology lock");
    if (alab_count(l, "prepare-backup begin") && !alab_count(l, "backup-shutdown end ok"))
        vb_buf_add_str(&b, " no BackupShutdown (VSS-B-60)");
    if (alab_longest_freeze(l) == UINT64_MAX)
        vb_buf_add_str(&b, " a frozen writer");
    size_t n = processes(l);
    if (n)
        vb_buf_addf(&b, " %zu processes", n);
    return b.len ? vb_buf_take_str(&b) : NULL;
}

/* Writes and syncs, in a process of its own: on a frozen file system it would not return. */
static bool can_write(const char *data)
{
    pid_t pid = fork();
    if (pid == 0) {
        VB_AUTO_FREE char *path = vb_path_join(data, "data/written");
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        _exit(fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0);
    }
    for (int i = 0; i < 1000; i++) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status == 0;
        struct timespec t = { 0, 5000000 };
        nanosleep(&t, NULL);
    }
    kill(pid, SIGKILL);
    return false;
}

/* ---- one of them, in a process of its own ---- */

#define WRONG(...)                                                                                                    \
    do {                                                                                                              \
        VB_AUTO_FREE char *wrong = vb_printf(__VA_ARGS__);                                                            \
        print_error("%s killed %s %s%s: %s\n", VICTIMS[k->victim], k->after ? "at the end of" : "inside of", k->call, \
                    k->goes_on ? ", which goes on" : "", wrong);                                                      \
        return 1;                                                                                                     \
    } while (0)

static const char *setting(const char *key, const char *otherwise)
{
    const char *v = getenv(key);
    return v && *v ? v : otherwise;
}

static char *make_data(const struct kill *k)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *base = setting("KILLS_DATA", NULL);
    char template[] = "/tmp/vbackup-kills-XXXXXX";
    if (!base)
        return vb_strdup(mkdtemp(template) ? template : "");
    char *dir = vb_printf("%s/%s-%s-%d%d", base, k->call, VICTIMS[k->victim], k->after, k->goes_on);
    if (!strcmp(setting("KILLS_BASE", ""), "btrfs")) { /* a volume of its own for each */
        const char *argv[] = { "/bin/btrfs", "-q", "subvolume", "create", dir, NULL };
        struct vb_spawn sp = VB_SPAWN_INIT;
        sp.argv = argv;
        if (vb_run(&sp, 20000, 4096, NULL, &err) < 0)
            alab_die("subvolume", &err);
    } else if (vb_mkdirs_at(AT_FDCWD, dir, 0755, &err) < 0) {
        alab_die(dir, &err);
    }
    return dir;
}

/* The data are safe by then. */
static bool in_release(const char *call)
{
    return !strcmp(call, "delete") || !strcmp(call, "query");
}

static int examine(struct alab *l, const struct kill *k, const char *data)
{
    VB_AUTO_FREE char *inside = vb_printf("%s/inside.%s", l->dir, k->call);
    struct run r = { l, k, false, inside };
    vb_loop_after(l->loop, 1, look, &r);
    if (!alab_open(l, VB_JOB_BACKUP, 60000, false))
        WRONG("the job was not opened: %s", vb_error_text(&l->lost));
    enum vb_code c = alab_backup(l);
    uint64_t begin = now_ms();
    if (!can_write(data))
        WRONG("the file system is frozen");
    if (k->victim == HOST && c != VB_OK)
        (void)alab_release(l); /* the job lives, and its requester ends it */
    if (!r.killed)
        WRONG("nobody was inside of the call: %s", vb_code_name(c));
    if (k->victim != HOST && !in_release(k->call) && c == VB_OK)
        WRONG("the backup succeeded");
    for (;;) {
        VB_AUTO_FREE char *what = left(l, data);
        if (!what)
            break;
        if (now_ms() - begin > SECONDS_MS)
            WRONG("left:%s", what);
        alab_run(l, 20);
    }
    if (alab_longest_freeze(l) > FROZEN_MS)
        WRONG("frozen for %ju ms", (uintmax_t)alab_longest_freeze(l));
    printf("# %s killed %s %s%s: clean after %ju ms, frozen for %ju ms\n", VICTIMS[k->victim],
           k->after ? "at the end of" : "inside of", k->call, k->goes_on ? ", which goes on" : "",
           (uintmax_t)(now_ms() - begin), (uintmax_t)alab_longest_freeze(l));
    fflush(stdout);
    if (!strcmp(k->call, "commit")) { /* the next one finds nothing in its way */
        alab_reset(l);
        if (!alab_open(l, VB_JOB_BACKUP, 60000, false) || (c = alab_backup(l)) != VB_OK)
            WRONG("the next run failed: %s", vb_code_name(c));
    }
    return 0;
}

static int one_kill(const struct kill *k)
{
    bool of_abort = !strcmp(k->call, "abort");
    VB_AUTO_FREE char *data = make_data(k);
    VB_AUTO_FREE char *config =
        vb_printf(CONFIG, setting("KILLS_BASE", "null"), setting("KILLS_HOLD", "1"), data, k->call,
                  k->after ? "stop-after" : "stop", of_abort ? " post_commit:fail" : "", data);
    VB_AUTO_FREE char *token = vb_printf("once.%s", k->call), *file = vb_path_join(data, "data/a"),
                      *inside = vb_printf("inside.%s", k->call);
    struct alab *l = alab_new(config);
    VB_AUTO_FREE char *inside_path = vb_path_join(l->dir, inside);
    VB_AUTO_FREE char *dir = vb_path_join(data, "data");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (vb_mkdirs_at(AT_FDCWD, dir, 0755, &err) < 0 || vb_write_file_at(AT_FDCWD, file, "first\n", 6, 0644, &err) < 0)
        alab_die(file, &err);
    alab_write(l, token, "");
    if (of_abort)
        alab_write(l, "once.post_commit", "");
    int rc = examine(l, k, data);
    unlink(inside_path);
    alab_free(l);
    if (!getenv("KILLS_DATA"))
        (void)vb_remove_tree_at(AT_FDCWD, data, NULL);
    return rc;
}

/* ---- all of them ---- */

static bool wanted(const char *call)
{
    const char *only = getenv("KILLS_CALLS");
    size_t n = strlen(call);
    for (const char *p = only; p && (p = strstr(p, call)); p++)
        if ((p == only || p[-1] == ' ') && (!p[n] || p[n] == ' '))
            return true;
    return !only;
}

/* Of the four kinds of a kill at a call these are done in every run: whoever dies, the work is done and not answered. */
static bool usual(unsigned kind, size_t call)
{
    return kind == 1 || (kind == 3 && (call & 1));
}

/* At once, since most of it is waiting. */
static void at_each_call(enum victim victim)
{
    pid_t pids[4 * VB_COUNT(CALLS)];
    size_t n = 0;
    int status, bad = 0;
    bool all = getenv("KILLS_ALL") != NULL, serial = getenv("KILLS_SERIAL") != NULL;
    for (size_t i = 0; i < VB_COUNT(CALLS); i++)
        for (unsigned kind = 0; wanted(CALLS[i]) && kind < 4; kind++) {
            struct kill k = { CALLS[i], victim, kind & 1, kind & 2 };
            if ((victim == HOST && k.goes_on) || (!all && !usual(kind, i)))
                continue;
            /* Nobody hurries a provider that deletes: the job waits for it, whoever else has died. */
            if (victim == SUPERVISOR && in_release(k.call) && !k.goes_on)
                continue;
            if ((pids[n++] = fork()) == 0)
                _exit(one_kill(&k));
            if (serial)
                bad += waitpid(pids[--n], &status, 0) < 0 || status != 0;
        }
    while (n > 0)
        bad += waitpid(pids[--n], &status, 0) < 0 || status != 0;
    assert_int_equal(bad, 0);
}

static void worker(void **state)
{
    (void)state;
    at_each_call(WORKER);
}

static void provider(void **state)
{
    (void)state;
    at_each_call(HOST);
}

static void supervisor(void **state)
{
    (void)state;
    at_each_call(SUPERVISOR);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("worker killed while a provider is inside of each call", worker),
        CM_TEST("a provider's process killed inside of each call", provider),
        CM_TEST("supervisor killed while a provider is inside of each call", supervisor),
    };
    return CM_RUN("provider_kills", t);
}
