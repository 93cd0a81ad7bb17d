/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_process.c */
#include <config.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include "base/process.h"
#include "tests/base/scratch.h"
#include "tests/cm.h"

#define SH(text) (const char *const[]){ "/bin/sh", "-c", text, NULL }

static int run(const char *const *argv, char **out, struct vb_error *err)
{
    struct vb_spawn s = VB_SPAWN_INIT;
    s.argv = argv;
    s.search = true;
    return vb_run(&s, 20000, 1 << 20, out, err);
}

static void output_and_status(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    VB_AUTO_FREE char *b = NULL;
    assert_ok(run(SH("echo out; echo err >&2"), &a, &err));
    assert_string_equal(a, "out\nerr\n");
    assert_int_equal(run(SH("echo first; printf 'the \\033 reason\\n\\n'; exit 3"), &b, &err), -1);
    assert_string_equal(err.text, "'/bin/sh' failed: exit status 3: the \\x1B reason");
    assert_int_equal(run(SH("kill -9 $$"), NULL, &err), -1);
    assert_string_equal(err.text, "'/bin/sh' failed: killed by signal 9 (SIGKILL)");
}

static void long_output_is_cut_not_waited_for(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    struct vb_spawn s = VB_SPAWN_INIT;
    s.argv = SH("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1");
    assert_int_equal(vb_run(&s, 20000, 10, &a, &err), -1);
    assert_string_equal(a, "xxxxxxxxxx");
    assert_contains(err.text, "exit status 1: last");
}

static void programs_that_are_not_there(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *const none[] = { "no-such-program-of-ours", NULL };
    assert_int_equal(run(none, NULL, &err), -1);
    assert_int_equal(err.code, VB_E_PREREQUISITE);
    assert_non_null(err.hint);
    struct vb_spawn s = VB_SPAWN_INIT;
    s.argv = (const char *const[]){ "/nonexistent/x", NULL };
    assert_int_equal(vb_spawn(&s, &err), -1);
    assert_contains(err.text, "cannot start '/nonexistent/x': cannot execute: No such file");
    s.argv = (const char *const[]){ "/etc/passwd", NULL };
    assert_int_equal(vb_spawn(&s, &err), -1);
    assert_int_equal(err.code, VB_E_ACCESS_DENIED);
    s.argv = SH("true");
    s.chdir_to = "/nonexistent";
    assert_int_equal(vb_spawn(&s, &err), -1);
    assert_contains(err.text, "cannot enter the directory");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie of a failed start */
    assert_int_equal(errno, ECHILD);
}

static void time_limit_kills_the_family(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct timespec a, b;
    struct vb_spawn s = VB_SPAWN_INIT;
    VB_AUTO_FREE char *pidfile = vb_path_join(scratch_path, "pid");
    VB_AUTO_FREE char *cmd = vb_printf("sleep 60 & echo $! >%s; wait", pidfile);
    VB_AUTO_BUF pid = VB_BUF_INIT;
    s.argv = SH(cmd);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(vb_run(&s, 500, 100, NULL, &err), -1);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_int_equal(err.code, VB_E_TIMEOUT);
    assert_contains(err.text, "did not end within 500 ms");
    assert_true(b.tv_sec - a.tv_sec < 10);
    assert_ok(vb_read_file_at(scratch_fd, "pid", 100, &pid, &err));
    pid_t child = (pid_t)strtol(vb_buf_str(&pid), NULL, 10);
    assert_true(child > 1);
    for (int i = 0; i < 200; i++) { /* an orphan is reaped by init in its own time: gone or a zombie will do */
        VB_AUTO_FREE char *path = vb_printf("/proc/%d/stat", child);
        VB_AUTO_BUF st = VB_BUF_INIT;
        if (vb_read_file_at(AT_FDCWD, path, 4096, &st, NULL) < 0 || strstr(vb_buf_str(&st), ") Z ")) {
            return;
        }
        usleep(20000);
    }
    fail_msg("the grandchild survived");
}

/* A daemon that the program leaves behind keeps the pipe open: we do not wait for it, nor kill it. */
static void a_daemon_left_behind_is_not_waited_for(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    assert_ok(run(SH("sleep 8 & echo $!"), &a, &err));
    clock_gettime(CLOCK_MONOTONIC, &t1);
    assert_true(t1.tv_sec - t0.tv_sec < 7);
    pid_t pid = (pid_t)strtol(a, NULL, 10);
    assert_int_equal(kill(pid, 0), 0);
    kill(pid, SIGKILL);
}

static void descriptors_are_what_was_asked_for(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    /* two that must be swapped, one inheritable that must not leak */
    int leak = open("/dev/null", O_RDONLY);
    int x = openat(scratch_fd, "x", O_RDWR | O_CREAT, 0600), y = openat(scratch_fd, "y", O_RDWR | O_CREAT, 0600);
    int pass[2] = { x > y ? x : y, x > y ? y : x };
    struct vb_spawn s = VB_SPAWN_INIT;
    s.pass_fds = pass;
    s.n_pass_fds = 2;
    s.argv = SH("ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> .*\\/\\([^/]*\\)$/\\1=\\2/p' | sort");
    assert_ok(vb_run(&s, 20000, 4096, &a, &err));
    assert_contains(a, x > y ? "3=x\n4=y\n" : "3=y\n4=x\n");
    assert_contains(a, "0=null");
    assert_null(strstr(a, "6="));
    close(leak);
    close(x);
    close(y);
}

static void on_usr1(int signo)
{
    (void)signo;
}

static void signals_are_reset(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    sigset_t set, old;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, on_usr1);
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, &old);
    const char *const argv[] = { "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status", NULL };
    assert_ok(run(argv, &a, &err));
    sigset_t now;
    sigprocmask(SIG_SETMASK, &old, &now);
    assert_true(sigismember(&now, SIGTERM)); /* ours is as it was */
    signal(SIGPIPE, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
    assert_contains(a, "SigBlk:\t0000000000000000");
    /* 32 and 33 belong to the C library, which lets nobody touch them: as they were inherited */
    const char *ign = strstr(a, "SigIgn:\t");
    assert_non_null(ign);
    assert_int_equal(strtoull(ign + 8, NULL, 16) & ~UINT64_C(0x180000000), 0);
}

static void session_group_environment_directory(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    const char *const env[] = { "ONLY=this", NULL };
    struct vb_spawn s = VB_SPAWN_INIT;
    s.env = env;
    s.chdir_to = "/usr";
    s.new_session = true;
    s.die_with_parent = true;
    s.argv = SH("pwd; echo $ONLY $HOME; set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] && echo leader");
    assert_ok(vb_run(&s, 20000, 4096, &a, &err));
    assert_string_equal(a, "/usr\nthis\nleader\n");
}

static void a_child_dies_with_its_parent(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    pid_t mid = fork();
    if (mid == 0) {
        close(p[0]);
        struct vb_spawn s = VB_SPAWN_INIT;
        s.argv = SH("exec sleep 60");
        s.stdout_fd = p[1]; /* held open as long as it lives */
        s.die_with_parent = true;
        _exit(vb_spawn(&s, NULL) > 0 ? 0 : 1);
    }
    close(p[1]);
    int st;
    char c;
    assert_int_equal(waitpid(mid, &st, 0), mid);
    assert_int_equal(st, 0);
    assert_int_equal(read(p[0], &c, 1), 0); /* end of file: nobody holds it */
    close(p[0]);
}

static void user_is_switched(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = NULL;
    struct vb_spawn s = VB_SPAWN_INIT;
    s.set_user = true;
    s.uid = 65534;
    s.gid = 65534;
    s.user_name = "nobody";
    s.die_with_parent = true;
    s.argv = SH("id -u; id -g; id -G");
    if (geteuid() != 0) {
        assert_int_equal(vb_run(&s, 20000, 4096, &a, &err), -1);
        assert_contains(err.text, "cannot switch the user");
        return;
    }
    assert_ok(vb_run(&s, 20000, 4096, &a, &err));
    assert_string_equal(a, "65534\n65534\n65534\n");
}

static void program_paths(void **state)
{
    (void)state;
    VB_AUTO_FREE char *old = vb_strdup(getenv("VBACKUP_LIBEXECDIR"));
    setenv("VBACKUP_LIBEXECDIR", "/some/where", 1);
    VB_AUTO_FREE char *a = vb_program_path("vbackup-agent");
    assert_string_equal(a, "/some/where/vbackup-agent");
    unsetenv("VBACKUP_LIBEXECDIR");
    VB_AUTO_FREE char *b = vb_program_path("test_process");
    assert_int_equal(access(b, X_OK), 0); /* beside ourselves */
    VB_AUTO_FREE char *c = vb_program_path("no-such-program");
    assert_string_equal(c, VB_LIBEXECDIR "/no-such-program");
    if (old) {
        setenv("VBACKUP_LIBEXECDIR", old, 1);
    }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)

int main(void)
{
    const struct CMUnitTest t[] = {
        T(output_and_status), T(long_output_is_cut_not_waited_for), T(programs_that_are_not_there),
        T(time_limit_kills_the_family), T(a_daemon_left_behind_is_not_waited_for),
        T(descriptors_are_what_was_asked_for), T(signals_are_reset), T(session_group_environment_directory),
        T(a_child_dies_with_its_parent), T(user_is_switched), T(program_paths),
    };
    return CM_RUN("process", t);
}
