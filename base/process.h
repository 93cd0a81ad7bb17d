/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/process.h - starting child processes, never through a shell.
 */
#ifndef VB_BASE_PROCESS_H
#define VB_BASE_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"
#include "base/loop.h"
#include "base/mem.h"

struct vb_spawn {
    const char *const *argv;   /* argv[0] is the path or, with search, a name looked up in PATH */
    bool search;
    const char *const *env;    /* NULL: inherit; else the whole environment */
    int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null for stdin/stdout, inherit for stderr */
    const int *pass_fds;       /* become descriptors 3, 4, ... in the child; all others are closed */
    size_t n_pass_fds;
    bool new_group;            /* own process group, so that the whole family can be killed */
    bool die_with_parent;      /* PR_SET_PDEATHSIG SIGKILL */
    bool new_session;          /* setsid */
    const char *chdir_to;
    bool set_user;             /* switch to uid/gid (supplementary groups set by initgroups(user_name)) */
    uid_t uid;
    gid_t gid;
    const char *user_name;
};
#define VB_SPAWN_INIT { .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 }

/* Returns the pid, or -1; exec failures are reported here (through a close-on-exec pipe), not by exit code. */
pid_t vb_spawn(const struct vb_spawn *s, struct vb_error *err);

/* Runs to the end and collects at most max_out bytes of stdout+stderr in *out (may be NULL); kills the group
 * after timeout_ms.  0 when it exited with 0, otherwise -1 with the output's last line in the error. Blocking. */
int vb_run(const struct vb_spawn *s, uint64_t timeout_ms, size_t max_out, char **out, struct vb_error *err);

/* "exit status 3", "killed by signal 9 (SIGKILL)"; caller frees. */
char *vb_wait_status_text(int status);

/* Absolute path of a program of ours: VBACKUP_LIBEXECDIR, else beside the running executable, else the
 * configured libexec directory; caller frees. */
char *vb_program_path(const char *name);

#endif
