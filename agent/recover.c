/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/recover.c - cleaning up after a worker that died.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/recover.h"
#include "agent/session_env.h"
#include "agent/spool.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/protocol.h"

#define LOCK_WAIT_MS 60000   /* for a worker that is still ending by itself */
#define WRITER_WAIT_MS 35000 /* for its writers: VB_WRITER_LOST_MS and VB_WRITER_CLEANUP_MS of the writer host */
#define OTHER_WAIT_MS 2000   /* for its other children: they hold nothing that is not deleted afterwards */
#define PAUSE_MS 20
#define KEPT_MAX (16u * 1024 * 1024)

struct recovery {
    struct vb_loop *loop;
    struct vb_real_env *env;
    struct vb_session *session;
    struct vb_buf left;      /* what could not be released, as text */
    bool blocked;            /* a file system among it: no set may be made until it is thawed */
    int worker_pid;
    bool window;             /* it died inside the freeze window */
    struct vb_strv mounts;   /* that may be frozen */
};

static void pause_ms(long ms)
{
    struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };
    nanosleep(&t, NULL); /* lint: allow nanosleep, a process with nothing else to do */
}

/* ---- what the journal says about processes and file systems ---- */

static void take_mounts(struct recovery *r, const char *record)
{
    for (const char *p = strstr(record, " mount="); p; p = strstr(p + 1, " mount=")) {
        VB_AUTO_FREE char *m = vb_journal_value(p + 1, "mount");
        if (m)
            vb_strv_add(&r->mounts, m);
    }
}

static int on_record(void *arg, uint64_t seq, const char *record)
{
    struct recovery *r = arg;
    (void)seq;
    if (!strncmp(record, "worker ", 7)) {
        VB_AUTO_FREE char *pid = vb_journal_value(record, "pid");
        uint32_t v;
        if (pid && vb_parse_u32(pid, &v) && v > 1 && v < INT32_MAX)
            r->worker_pid = (int)v;
    } else if (!strncmp(record, "window-closed", 13)) {
        r->window = false;
        vb_strv_clear(&r->mounts);
    } else if (!strncmp(record, "window ", 7)) {
        r->window = true;
        take_mounts(r, record);
    }
    return 0;
}

static void add_left(struct recovery *r, const char *text)
{
    vb_log(VB_LOG_ERROR, "%s", text);
    vb_buf_addf(&r->left, "%s%s", r->left.len ? "; " : "", text);
}

static void thaw(struct recovery *r)
{
    for (size_t i = r->mounts.n; i > 0; i--) {
        VB_AUTO_FD int fd = open(r->mounts.v[i - 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || (ioctl(fd, FITHAW, 0) < 0 && errno != EINVAL)) { /* EINVAL: it is not frozen */
            VB_AUTO_FREE char *t = vb_printf("file system '%s' could not be thawed (%s)", r->mounts.v[i - 1],
                                             strerror(errno));
            add_left(r, t);
            r->blocked = true;
        }
    }
}

/* ---- the dead worker's children ---- */

/* A zombie holds nothing any more; it is only waiting for somebody to ask for its status. */
static bool is_zombie(int proc, uint32_t pid)
{
    VB_AUTO_FREE char *name = vb_printf("%u/stat", pid);
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(proc, name, 4096, &b, NULL) < 0)
        return true; /* gone meanwhile */
    const char *p = strrchr(vb_buf_str(&b), ')');
    return p && (!strncmp(p, ") Z", 3) || !strncmp(p, ") X", 3));
}

static bool is_writer_host(int proc, uint32_t pid)
{
    VB_AUTO_FREE char *name = vb_printf("%u/cmdline", pid);
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_read_file_at(proc, name, 65536, &b, NULL) < 0)
        return false;
    const char *first = vb_buf_str(&b);
    size_t n = strlen(first) + 1;
    return n < b.len && !strcmp(first + n, "writer-host");
}

enum whom { NOBODY, OTHERS, ALL };

/* Processes of the worker's group that are this very program; the number of a group may have been used again since. */
static size_t group_members(pid_t group, enum whom to_kill)
{
    struct stat self, st;
    size_t n = 0;
    VB_AUTO_DIR DIR *d = opendir("/proc");
    if (!d || stat("/proc/self/exe", &self) < 0)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        uint32_t pid;
        if (!vb_parse_u32(e->d_name, &pid) || pid < 2 || pid > INT32_MAX || getpgid((pid_t)pid) != group ||
            is_zombie(dirfd(d), pid))
            continue;
        VB_AUTO_FREE char *exe = vb_printf("%u/exe", pid);
        if (fstatat(dirfd(d), exe, &st, 0) == 0 && (st.st_dev != self.st_dev || st.st_ino != self.st_ino))
            continue;
        n++; /* also one whose program we may not look at: it runs as another user, as writers do */
        if (to_kill == ALL || (to_kill == OTHERS && !is_writer_host(dirfd(d), pid)))
            kill((pid_t)pid, SIGKILL);
    }
    return n;
}

static void wait_for_children(const struct recovery *r)
{
    if (r->worker_pid <= 1 || r->worker_pid == getpgrp())
        return;
    for (long waited = 0; group_members(r->worker_pid, waited < OTHER_WAIT_MS ? NOBODY : OTHERS) > 0;
         waited += PAUSE_MS) {
        if (waited >= WRITER_WAIT_MS) {
            vb_log(VB_LOG_WARNING, "writers of the dead worker do not end; they are killed");
            group_members(r->worker_pid, ALL);
            pause_ms(200);
            return;
        }
        pause_ms(PAUSE_MS);
    }
}

/* ---- the environment's other side: nobody listens ---- */

static void no_slot(void *arg, bool want)
{
    (void)arg;
    (void)want;
}
static void no_reply(void *arg, const struct vb_msg *m)
{
    (void)arg;
    (void)m;
}
static void on_event(void *arg, struct vb_msg *m)
{
    (void)arg;
    VB_AUTO_FREE char *kind = vb_msg_str(m, VB_F_KIND), *ev = vb_msg_str(m, VB_F_EVENT),
                      *w = vb_msg_str(m, VB_F_WRITER);
    VB_AUTO_FREE char *text = vb_msg_str(m, VB_F_TEXT);
    vb_log(VB_LOG_INFO, "recover: %s %s %s %s", kind ? kind : "", ev ? ev : "", w ? w : "", text ? text : "");
}
static void no_window(void *arg, bool inside)
{
    (void)arg;
    (void)inside;
}
static int no_keep(void *arg, const char *name, const void *p, size_t n, struct vb_error *err)
{
    (void)arg;
    (void)name;
    (void)p;
    (void)n;
    (void)err;
    return 0;
}
static void on_ended(void *arg, const struct vb_error *why)
{
    struct recovery *r = arg;
    (void)why;
    vb_loop_stop(r->loop, 0);
}
static int clean(struct vb_agent *a, struct recovery *r, int dir, const char *job, struct vb_error *err)
{
    static const struct vb_real_env_hooks HOOKS = { no_slot, no_reply, on_event, no_window, no_keep, on_ended };
    VB_AUTO_BUF bcd = VB_BUF_INIT;
    struct vb_journal *j = vb_journal_open(dir, "journal", "recover", err);
    if (!j)
        return -1;
    int rc = vb_journal_replay(j, on_record, r, err);
    if (rc == 0) {
        thaw(r); /* before anything else */
        VB_AUTO_FD int lock = -1;
        for (long waited = 0; (lock = vb_spool_lock(dir, err)) < 0 && err->code == VB_E_BUSY && waited < LOCK_WAIT_MS;
             waited += PAUSE_MS) {
            vb_error_clear(err);
            pause_ms(PAUSE_MS);
        }
        struct vb_job *doc = lock < 0 ? NULL : vb_spool_read(dir, job, err);
        wait_for_children(r);
        (void)vb_read_file_at(dir, VB_KEPT_BCD, KEPT_MAX, &bcd, NULL);
        r->env = doc ? vb_real_env_new(a, r->loop, j, &HOOKS, r, err) : NULL;
        r->session = r->env ? vb_session_recover(vb_real_env_table(r->env), doc, &bcd, err) : NULL;
        rc = r->session ? 0 : -1;
        if (rc == 0) {
            vb_real_env_bind(r->env, r->session);
            vb_session_end(r->session, VB_E_JOB_LOST, "the worker died");
            vb_loop_run(r->loop);
            if (vb_session_left_behind(r->session))
                add_left(r, vb_session_left_behind(r->session));
        } else if (doc && !r->env) {
            vb_job_free(doc);
        }
        vb_session_free(r->session);
        vb_real_env_free(r->env);
    }
    vb_journal_close(j);
    return rc;
}

int vb_recover_main(struct vb_agent *a, int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    bool report = argc > 1 && !strcmp(argv[1], VB_RECOVER_REPORT);
    argc -= report;
    argv += report;
    if (argc != 2) {
        fprintf(stderr, "usage: vbackup-agent recover JOB\n");
        return VB_EXIT_USAGE;
    }
    VB_AUTO_FD int spool = vb_spool_open(&a->paths, &err);
    VB_AUTO_FD int dir = spool < 0 ? -1 : vb_spool_job(spool, argv[1], &err);
    struct recovery r = { .loop = vb_loop_new() };
    int rc = dir < 0 ? -1 : clean(a, &r, dir, argv[1], &err);
    if (rc < 0) { /* nobody knows what it held */
        add_left(&r, vb_error_text(&err));
        r.blocked = true;
    }
    bool left = r.left.len > 0;
    if (report && left)
        (void)vb_write_all(VB_CHILD_SOCKET_FD, r.left.data, r.left.len, NULL);
    vb_buf_clear(&r.left);
    vb_strv_clear(&r.mounts);
    vb_loop_free(r.loop);
    return r.blocked ? VB_EXIT_FAILED : left ? VB_EXIT_PARTIAL : VB_EXIT_DONE;
}
