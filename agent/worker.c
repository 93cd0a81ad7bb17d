/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/worker.c - the process that owns one job.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/control.h"
#include "agent/dialog.h"
#include "agent/session_env.h"
#include "agent/spool.h"
#include "agent/worker.h"
#include "base/io.h"
#include "base/log.h"
#include "base/memlock.h"
#include "wire/protocol.h"

#define KEEPALIVE_MS 20000u
#define SILENCE_MS 120000u
#define FIRST_STREAM_MS 30000u
#define LINGER_MS 5000u      /* for the last words to be read, and for children to end */
#define AHEAD_MAX (64u * 1024 * 1024)

struct worker {
    struct vb_agent *agent;
    struct vb_loop *loop;
    int dir;
    char *job;
    struct vb_journal *journal;
    struct vb_real_env *env;
    struct vb_session *session;
    struct vb_dialog *dialog;
    struct vb_watch *watch;
    struct vb_timer *first, *linger;
    bool over, said_all;
};

static void tell_supervisor(struct worker *w, const struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (w->watch && vb_control_send(VB_CHILD_SOCKET_FD, m, NULL, 0, &err) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
}

static void tell_state(struct worker *w)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_C_STATE);
    vb_msg_add_str(&m, VB_F_TEXT, vb_session_state_word(w->session));
    tell_supervisor(w, &m);
}

/* ---- hooks of the environment ---- */

static void on_slot(void *arg, bool want)
{
    VB_AUTO_MSG m = VB_MSG_INIT(want ? VB_C_SLOT_WANT : VB_C_SLOT_BACK);
    tell_supervisor(arg, &m);
}

static void on_reply(void *arg, const struct vb_msg *m)
{
    struct worker *w = arg;
    if (w->dialog)
        vb_dialog_reply(w->dialog, m);
    tell_state(w);
}

static void on_event(void *arg, struct vb_msg *m)
{
    struct worker *w = arg;
    if (w->dialog)
        vb_dialog_event(w->dialog, m);
}

static void on_window(void *arg, bool inside)
{
    struct worker *w = arg;
    if (inside) {
        vb_log_hold();
        vb_memory_lock(); /* as far as our rights go: no page of ours may come from a frozen file system */
    } else {
        (void)munlockall();
        vb_log_release();
    }
    if (w->dialog)
        vb_dialog_hold(w->dialog, inside);
}

static int on_keep(void *arg, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct worker *w = arg;
    return vb_write_file_at(w->dir, name, p, n, 0600, err);
}

static void maybe_stop(void *arg)
{
    struct worker *w = arg;
    if (w->said_all && !vb_real_env_children(w->env))
        vb_loop_stop(w->loop, 0);
    else
        w->linger = vb_loop_after(w->loop, 10, maybe_stop, w);
}

static void on_late_end(void *arg)
{
    struct worker *w = arg;
    vb_loop_stop(w->loop, 0);
}

static void on_ended(void *arg, const struct vb_error *why)
{
    struct worker *w = arg;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_C_ENDED);
    vb_msg_add_error(&m, why);
    tell_supervisor(w, &m);
    w->over = true;
    vb_loop_after(w->loop, LINGER_MS, on_late_end, w);
    if (w->dialog)
        vb_dialog_finish(w->dialog, LINGER_MS);
    else
        w->said_all = true;
    maybe_stop(w);
}

/* ---- the dialog ---- */

static void on_command(void *arg, const struct vb_msg *m)
{
    struct worker *w = arg;
    vb_session_command(w->session, m);
}

static void on_lease_over(void *arg)
{
    struct worker *w = arg;
    vb_session_end(w->session, VB_E_JOB_LOST, "the requester was gone for longer than the job's lease");
}

static void on_flushed(void *arg)
{
    struct worker *w = arg;
    w->said_all = true;
}

static const struct vb_dialog_handler DIALOG = { on_command, on_lease_over, on_flushed };

/* ---- the supervisor ---- */

static void take_stream(struct worker *w, const struct vb_msg *m, int fd, int ahead)
{
    VB_AUTO_FD int stream = fd;
    VB_AUTO_FD int rest = ahead;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t type = vb_msg_u64(m, VB_F_TYPE, 0), id = vb_msg_u64(m, VB_F_COUNT, 0);
    VB_AUTO_FREE char *token = vb_msg_str(m, VB_F_TOKEN);
    vb_timer_cancel(w->first);
    w->first = NULL;
    while (rest >= 0) {
        unsigned char part[8192];
        ssize_t n = read(rest, part, sizeof part);
        if (n <= 0 || bytes.len > AHEAD_MAX)
            break;
        vb_buf_add(&bytes, part, (size_t)n);
    }
    if (type == VB_M_DATA) {
        VB_AUTO_MSG ok = VB_MSG_INIT(VB_M_DATA_OK);
        ok.id = id;
        vb_set_nonblock(stream, false);
        if (bytes.len) /* nothing may follow DATA before it was answered */
            vb_log(VB_LOG_WARNING, "a data stream was refused: the requester did not wait for the answer");
        else if (!w->over && vb_msg_send_fd(stream, &ok, &err) == 0)
            vb_real_env_data(w->env, VB_STEAL_FD(stream));
        return;
    }
    if (!w->dialog)
        w->dialog = vb_dialog_new(w->loop, w->job, token ? token : "", vb_msg_u64(m, VB_F_LEASE_MS, 60000), &DIALOG, w);
    int s = VB_STEAL_FD(stream);
    struct vb_conn *c = vb_conn_fd(w->loop, s, s);
    vb_conn_set_name(c, "requester");
    if (bytes.len)
        vb_conn_fd_prefill(c, bytes.data, bytes.len);
    vb_conn_keepalive(c, KEEPALIVE_MS, SILENCE_MS);
    vb_dialog_attach(w->dialog, c, type == VB_M_OPEN ? VB_M_OPENED : VB_M_ATTACHED, id, vb_msg_u64(m, VB_F_SEQ, 0));
}

static void on_control(void *arg, short revents)
{
    struct worker *w = arg;
    (void)revents;
    while (w->watch) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int fds[2] = { -1, -1 };
        size_t n = 0;
        int rc = vb_control_recv(VB_CHILD_SOCKET_FD, &m, fds, &n, NULL);
        if (rc == 0)
            return;
        if (rc < 0) {
            vb_watch_cancel(w->watch);
            w->watch = NULL;
            vb_session_end(w->session, VB_E_JOB_LOST, "the supervisor of the agent ended; the job was aborted");
            return;
        }
        if (m.type == VB_C_STREAM && n > 0) {
            take_stream(w, &m, fds[0], n > 1 ? fds[1] : -1);
        } else if (m.type == VB_C_SLOT) {
            VB_AUTO_FREE char *owner = vb_msg_str(&m, VB_F_OWNER);
            VB_AUTO_ERROR refused = VB_ERROR_INIT;
            if (vb_msg_error(&m, &refused) < 0)
                vb_session_slot_refused(w->session, &refused);
            else
                vb_session_slot(w->session, (unsigned)vb_msg_u64(&m, VB_F_POSITION, 0), owner);
        } else if (m.type == VB_C_CANCEL) {
            VB_AUTO_FREE char *t = vb_msg_str(&m, VB_F_TEXT);
            vb_session_end(w->session, VB_E_CANCELLED, t ? t : "cancelled");
        }
    }
}

static void on_no_stream(void *arg)
{
    struct worker *w = arg;
    w->first = NULL;
    vb_session_end(w->session, VB_E_JOB_LOST, "no stream came for the job");
}

static void on_term(void *arg)
{
    struct worker *w = arg;
    vb_session_end(w->session, VB_E_CANCELLED, "the agent is being stopped");
}

static int start(struct worker *w, struct vb_error *err)
{
    static const struct vb_real_env_hooks HOOKS = { on_slot, on_reply, on_event, on_window, on_keep, on_ended };
    struct vb_job *doc = vb_spool_read(w->dir, w->job, err);
    if (!doc)
        return -1;
    w->journal = vb_journal_open(w->dir, "journal", "worker", err);
    if (!w->journal || vb_journal_add(w->journal, true, err, "worker pid=%d job=%s", (int)getpid(), w->job) < 0 ||
        !(w->env = vb_real_env_new(w->agent, w->loop, w->journal, &HOOKS, w, err))) {
        vb_job_free(doc);
        return -1;
    }
    w->session = vb_session_new(vb_real_env_table(w->env), doc);
    vb_real_env_bind(w->env, w->session);
    w->watch = vb_loop_watch(w->loop, VB_CHILD_SOCKET_FD, POLLIN, on_control, w);
    w->first = vb_loop_after(w->loop, FIRST_STREAM_MS, on_no_stream, w);
    vb_loop_signal(w->loop, SIGTERM, on_term, w);
    vb_loop_signal(w->loop, SIGINT, on_term, w);
    return 0;
}

int vb_worker_main(struct vb_agent *a, int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (argc != 2) {
        fprintf(stderr, "vbackup-agent: 'worker' is started by the supervisor\n");
        return VB_EXIT_USAGE;
    }
    struct worker w = { .agent = a, .loop = vb_loop_new(), .dir = -1, .job = vb_strdup(argv[1]) };
    vb_memory_lock_prepare();
    VB_AUTO_FD int spool = vb_spool_open(&a->paths, &err);
    VB_AUTO_FD int lock = -1;
    vb_set_cloexec(VB_CHILD_SOCKET_FD, true);
    w.dir = spool < 0 ? -1 : vb_spool_job(spool, argv[1], &err);
    lock = w.dir < 0 ? -1 : vb_spool_lock(w.dir, &err);
    int rc = lock < 0 ? -1 : start(&w, &err);
    if (rc == 0)
        vb_loop_run(w.loop);
    else
        vb_log_error(VB_LOG_ERROR, &err);
    if (w.session && vb_session_still_frozen(w.session))
        rc = -1; /* recover takes it from here, as after a death */
    /* With nobody to remove the entry, a job that released everything does it itself. */
    if (rc == 0 && w.over && !w.watch && !vb_session_left_behind(w.session) &&
        vb_spool_remove(spool, w.job, &err) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
    vb_dialog_free(w.dialog);
    vb_session_free(w.session);
    vb_real_env_free(w.env);
    vb_journal_close(w.journal);
    vb_close_fd(&w.dir);
    vb_loop_free(w.loop);
    free(w.job);
    return rc == 0 ? VB_EXIT_DONE : VB_EXIT_FAILED;
}
