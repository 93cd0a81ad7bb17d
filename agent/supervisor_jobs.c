/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/supervisor_jobs.c - jobs and their workers.
 *
 * A worker that dies is cleaned up at once, by a fresh process (recover) that reads the job's journal; nobody gets the
 * slot until that is done, so that nobody snapshots what is still frozen.  What cannot be cleaned up stays known: it is
 * tried again whenever a job wants the slot; one that left something frozen keeps everybody from it, one that left only
 * shadow copies is warned of.  The job then stays readable for a while, so that a requester that comes back learns why
 * it is gone.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/paths.h"
#include "agent/recover.h"
#include "agent/spool.h"
#include "agent/supervisor_internal.h"
#include "base/io.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "wire/protocol.h"

static void on_worker_gone(void *arg, int status);
static void grant_slot(struct vb_sup *s);

struct vb_sup_job *vb_sup_find(struct vb_sup *s, const char *id)
{
    for (size_t i = 0; i < s->n_jobs; i++)
        if (vb_guid_equal(s->jobs[i]->id, id))
            return s->jobs[i];
    return NULL;
}

static struct vb_sup_job *add_job(struct vb_sup *s, const char *id)
{
    struct vb_sup_job *j = vb_alloc(sizeof *j);
    j->sup = s;
    j->id = vb_strdup(id);
    j->control = j->report = -1;
    j->state = VB_SJ_RUNNING;
    j->created_ms = vb_loop_wall_ms(s->loop);
    VB_GROW(s->jobs, s->n_jobs, s->cap_jobs);
    s->jobs[s->n_jobs++] = j;
    return j;
}

static void close_control(struct vb_sup_job *j)
{
    vb_watch_cancel(j->watch);
    j->watch = NULL;
    vb_close_fd(&j->control);
}

void vb_sup_job_free(struct vb_sup_job *j)
{
    close_control(j);
    vb_timer_cancel(j->forget);
    if (j->pid > 0)
        vb_loop_unchild(j->sup->loop, j->pid);
    free(j->id);
    free(j->token);
    free(j->host);
    free(j->requester);
    free(j->word);
    free(j->left);
    vb_close_fd(&j->report);
    vb_error_clear(&j->why);
    free(j);
}

static void forget(void *arg)
{
    struct vb_sup_job *j = arg;
    struct vb_sup *s = j->sup;
    j->forget = NULL;
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i] == j) {
            memmove(&s->jobs[i], &s->jobs[i + 1], (s->n_jobs - i - 1) * sizeof *s->jobs);
            s->n_jobs--;
            break;
        }
    vb_sup_job_free(j);
    vb_sup_check_idle(s);
}

bool vb_sup_busy(const struct vb_sup *s)
{
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i]->state == VB_SJ_RUNNING || s->jobs[i]->state == VB_SJ_RECOVERING)
            return true; /* what is stuck does not run: the next supervisor finds it in the spool */
    return false;
}

/* ---- the slot (B-22, B-80, Q-1) ---- */

/* A dead job that keeps the others from the slot, or NULL. */
static const struct vb_sup_job *blocker(const struct vb_sup *s, enum vb_sup_state state)
{
    for (size_t i = 0; i < s->n_jobs; i++) {
        const struct vb_sup_job *j = s->jobs[i];
        if (j->state == state && (state == VB_SJ_STUCK ? j->blocks : j->holds))
            return j;
    }
    return NULL;
}

static char *all_left(const struct vb_sup *s)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i]->state == VB_SJ_STUCK)
            vb_buf_addf(&b, "%sjob %.8s: %s", b.len ? "; " : "", s->jobs[i]->id, s->jobs[i]->left);
    return b.len ? vb_buf_take_str(&b) : NULL;
}

static void tell_slot(struct vb_sup_job *j, unsigned pos)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_C_SLOT);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_sup_job *o = j->sup->slot ? j->sup->slot : blocker(j->sup, VB_SJ_RECOVERING);
    vb_msg_add_u64(&m, VB_F_POSITION, pos);
    if (pos && o) {
        VB_AUTO_FREE char *who =
            vb_printf("job %.8s of %s%s", o->id, o->requester ? o->requester : "an unnamed requester",
                      o->state == VB_SJ_RECOVERING ? ", which died and is being cleaned up after" : "");
        vb_msg_add_str(&m, VB_F_OWNER, who);
    } else if (!pos) {
        VB_AUTO_FREE char *left = all_left(j->sup);
        vb_msg_add_str(&m, VB_F_OWNER, left);
    }
    if (j->control >= 0 && vb_control_send(j->control, &m, NULL, 0, &err) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
}

/* From 1; 0: it does not wait. */
static unsigned position(const struct vb_sup *s, const struct vb_sup_job *j)
{
    unsigned before = 1;
    if (!j->slot_order || j == s->slot)
        return 0;
    for (size_t k = 0; k < s->n_jobs; k++)
        if (s->jobs[k] != s->slot && s->jobs[k]->slot_order && s->jobs[k]->slot_order < j->slot_order)
            before++;
    return before;
}

static void tell_queue(struct vb_sup *s)
{
    for (size_t i = 0; i < s->n_jobs; i++)
        if (position(s, s->jobs[i]))
            tell_slot(s->jobs[i], position(s, s->jobs[i]));
}

static void grant_slot(struct vb_sup *s)
{
    struct vb_sup_job *next = NULL;
    if (s->slot || blocker(s, VB_SJ_RECOVERING) || blocker(s, VB_SJ_STUCK))
        return;
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i]->slot_order && s->jobs[i]->state == VB_SJ_RUNNING &&
            (!next || s->jobs[i]->slot_order < next->slot_order))
            next = s->jobs[i];
    if (!next)
        return;
    s->slot = next;
    vb_sup_journal(s, "slot job=%s", next->id);
    tell_slot(next, 0);
    tell_queue(s);
}

static void recover(struct vb_sup_job *j);

/* Whoever waits for the slot of a host on which something is frozen waits for a person: it is told at once. */
static void refuse_slot(struct vb_sup *s)
{
    const struct vb_sup_job *b = blocker(s, VB_SJ_STUCK);
    if (!b || blocker(s, VB_SJ_RECOVERING))
        return;
    for (size_t i = 0; i < s->n_jobs; i++) {
        struct vb_sup_job *j = s->jobs[i];
        VB_AUTO_MSG m = VB_MSG_INIT(VB_C_SLOT);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (!j->slot_order || j == s->slot || j->state != VB_SJ_RUNNING || j->control < 0)
            continue;
        VB_AUTO_FREE char *left = all_left(s);
        j->slot_order = 0;
        vb_fail(&why, VB_E_BUSY, "no shadow copy is made on this host: an earlier job could not be cleaned up after: %s",
                left);
        vb_hint(&why, "%s", b->why.hint);
        vb_msg_add_error(&m, &why);
        if (vb_control_send(j->control, &m, NULL, 0, &err) < 0)
            vb_log_error(VB_LOG_WARNING, &err);
    }
}

static void want_slot(struct vb_sup_job *j, bool want)
{
    struct vb_sup *s = j->sup;
    j->slot_order = want ? ++s->next_order : 0;
    if (!want && s->slot == j) {
        s->slot = NULL;
        vb_sup_journal(s, "slot-free job=%s", j->id);
    }
    for (size_t i = 0; want && i < s->n_jobs; i++)
        if (s->jobs[i]->state == VB_SJ_STUCK)
            recover(s->jobs[i]); /* the cause may be gone */
    refuse_slot(s);
    grant_slot(s);
    tell_queue(s);
}

/* ---- the end of a job ---- */

static void ended(struct vb_sup_job *j)
{
    struct vb_sup *s = j->sup;
    j->state = VB_SJ_ENDED;
    j->pid = 0;
    close_control(j);
    want_slot(j, false);
    vb_sup_journal(s, "end job=%s code=%d", j->id, (int)j->why.code);
    j->forget = vb_loop_after(s->loop, s->limits.keep_failed, forget, j);
    vb_sup_check_idle(s);
}

/* Its spool entry stays, so that it can be tried again: by us, by the next supervisor, by hand. */
static void stuck(struct vb_sup_job *j, const char *left, bool blocks)
{
    struct vb_sup *s = j->sup;
    j->state = VB_SJ_STUCK;
    j->pid = 0;
    vb_close_fd(&j->report);
    j->blocks = blocks;
    free(j->left);
    j->left = vb_strdup(left);
    vb_error_clear(&j->why); /* it claimed that everything was released */
    vb_fail(&j->why, VB_E_JOB_LOST, "the job died, and not everything that it held could be released: %s", left);
    vb_hint(&j->why,
            "%s, then run 'vbackup-agent recover %s' on that host or just the next backup; if nothing is left in truth, "
            "remove '%s/agent/jobs/%s'",
            blocks ? "mend it there (fsfreeze -u DIRECTORY thaws a file system)" : "mend it there", j->id,
            s->agent->paths.state, j->id);
    vb_log_error(VB_LOG_ERROR, &j->why);
    vb_sup_journal(s, "stuck job=%s", j->id);
    close_control(j);
    want_slot(j, false);
    vb_sup_check_idle(s);
}

static void on_recovered(void *arg, int status)
{
    struct vb_sup_job *j = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char text[2048];
    ssize_t n = j->report >= 0 ? read(j->report, text, sizeof text - 1) : 0;
    vb_close_fd(&j->report);
    text[n > 0 ? n : 0] = '\0';
    if (status == 0 || !vb_spool_has(j->sup->spool, j->id)) {
        vb_sup_journal(j->sup, "recovered job=%s", j->id);
        if (vb_spool_remove(j->sup->spool, j->id, &err) < 0)
            vb_log_error(VB_LOG_WARNING, &err);
        ended(j);
        return;
    }
    VB_AUTO_FREE char *t = vb_wait_status_text(status);
    stuck(j, n > 0 ? text : t, !WIFEXITED(status) || WEXITSTATUS(status) != VB_EXIT_PARTIAL);
}

static void recover(struct vb_sup_job *j)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const char *argv[] = { vb_self_path(), "recover", VB_RECOVER_REPORT, j->id, NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    int pipe_fds[2];
    j->state = VB_SJ_RECOVERING;
    j->holds = true;
    vb_sup_journal(j->sup, "recover job=%s", j->id);
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        vb_fail_errno(&err, errno, "pipe cannot be made");
        stuck(j, vb_error_text(&err), true);
        return;
    }
    j->report = pipe_fds[0];
    sp.argv = argv;
    sp.new_group = true;
    sp.pass_fds = &pipe_fds[1];
    sp.n_pass_fds = 1;
    j->pid = vb_spawn(&sp, &err);
    close(pipe_fds[1]);
    if (j->pid < 0 || vb_loop_child(j->sup->loop, j->pid, on_recovered, j) < 0)
        stuck(j, vb_error_text(&err), true);
}

static void take_control(struct vb_sup_job *j, const struct vb_msg *m)
{
    switch (m->type) {
    case VB_C_SLOT_WANT: want_slot(j, true); break;
    case VB_C_SLOT_BACK: want_slot(j, false); break;
    case VB_C_STATE:
        free(j->word);
        j->word = vb_msg_str(m, VB_F_TEXT);
        break;
    case VB_C_ENDED:
        j->said_ended = true;
        vb_error_clear(&j->why);
        (void)vb_msg_error(m, &j->why);
        break;
    default: break;
    }
}

static void on_control(void *arg, short revents)
{
    struct vb_sup_job *j = arg;
    (void)revents;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int fds[2];
        size_t n;
        int rc = vb_control_recv(j->control, &m, fds, &n, NULL);
        if (rc < 0) { /* what the end means is told by the process's status */
            vb_watch_cancel(j->watch);
            j->watch = NULL;
            return;
        }
        if (rc == 0)
            return;
        while (n > 0)
            close(fds[--n]);
        take_control(j, &m);
    }
}

static void on_worker_gone(void *arg, int status)
{
    struct vb_sup_job *j = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (j->watch)
        on_control(j, POLLIN);
    close_control(j);
    j->pid = 0;
    if (status == 0 && j->said_ended) {
        if (vb_spool_remove(j->sup->spool, j->id, &err) < 0)
            vb_log_error(VB_LOG_WARNING, &err);
        ended(j);
        return;
    }
    VB_AUTO_FREE char *t = vb_wait_status_text(status);
    vb_error_clear(&j->why);
    vb_fail(&j->why, VB_E_JOB_LOST, "the worker of the job died (%s); everything it held was released", t);
    vb_hint(&j->why, "run the backup or restore again");
    vb_log(VB_LOG_ERROR, "worker of job '%s' died: %s", j->id, t);
    vb_sup_journal(j->sup, "dead job=%s", j->id);
    recover(j);
}

/* ---- the begin of a job ---- */

static int start_worker(struct vb_sup_job *j, struct vb_error *err)
{
    int pair[2];
    const char *argv[] = { vb_self_path(), "worker", j->id, NULL };
    struct vb_spawn sp = VB_SPAWN_INIT;
    if (vb_control_pair(pair, err) < 0)
        return -1;
    sp.argv = argv;
    sp.pass_fds = &pair[1];
    sp.n_pass_fds = 1;
    sp.new_group = true;
    j->pid = vb_spawn(&sp, err);
    close(pair[1]);
    j->control = pair[0];
    if (j->pid < 0) {
        j->pid = 0;
        return -1;
    }
    vb_sup_journal(j->sup, "worker job=%s pid=%d", j->id, j->pid);
    j->watch = vb_loop_watch(j->sup->loop, j->control, POLLIN, on_control, j);
    if (vb_loop_child(j->sup->loop, j->pid, on_worker_gone, j) < 0)
        return vb_fail(err, VB_E_UNEXPECTED, "worker of job '%s' cannot be watched", j->id);
    return 0;
}

static char *make_token(struct vb_error *err)
{
    unsigned char raw[VB_TOKEN_BYTES];
    static const char HEX[] = "0123456789abcdef";
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw) {
        vb_fail_errno(err, errno, "no random bytes for a token");
        return NULL;
    }
    char *t = vb_alloc(2 * VB_TOKEN_BYTES + 1);
    for (size_t i = 0; i < VB_TOKEN_BYTES; i++) {
        t[2 * i] = HEX[raw[i] >> 4];
        t[2 * i + 1] = HEX[raw[i] & 15];
    }
    return t;
}

struct vb_sup_job *vb_sup_open(struct vb_sup *s, const void *xml, size_t n, uint64_t lease_ms, struct vb_error *err)
{
    struct vb_job *doc = vb_job_read("the job's document", xml, n, err);
    if (!doc)
        return NULL;
    struct vb_sup_job *j = vb_sup_find(s, doc->job_id);
    if (!j) {
        VB_AUTO_FREE char *token = make_token(err);
        vb_sup_journal(s, "open job=%s", doc->job_id);
        if (token && vb_spool_create(s->spool, doc->job_id, xml, n, err) == 0) {
            j = add_job(s, doc->job_id);
            j->token = VB_STEAL(token);
            j->host = vb_strdup(doc->host);
            j->requester = vb_strdup(doc->requester);
            j->lease_ms = lease_ms ? lease_ms : doc->lease_ms ? doc->lease_ms : s->limits.lease_default;
            if (j->lease_ms > s->limits.lease_max)
                j->lease_ms = s->limits.lease_max;
            if (start_worker(j, err) < 0) {
                (void)vb_spool_remove(s->spool, j->id, NULL);
                j->forget = vb_loop_after(s->loop, 0, forget, j);
                j->state = VB_SJ_ENDED;
                j = NULL;
            }
        }
    }
    vb_job_free(doc);
    vb_sup_check_idle(s);
    return j;
}

static int memory_file(const struct vb_buf *b, struct vb_error *err)
{
    VB_AUTO_FD int fd = memfd_create("vbackup", MFD_CLOEXEC);
    if (fd < 0)
        return vb_fail_errno(err, errno, "memory file cannot be made");
    if (vb_write_all(fd, b->data, b->len, err) < 0)
        return -1;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return vb_fail_errno(err, errno, "memory file cannot be rewound");
    return VB_STEAL_FD(fd);
}

int vb_sup_hand_over(struct vb_sup_job *j, uint16_t type, uint64_t id, uint64_t seq, int fd, const struct vb_buf *rest,
                     struct vb_error *err)
{
    VB_AUTO_FD int stream = fd;
    VB_AUTO_FD int ahead = -1;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_C_STREAM);
    if (rest->len && (ahead = memory_file(rest, err)) < 0)
        return -1;
    vb_msg_add_u64(&m, VB_F_TYPE, type);
    vb_msg_add_u64(&m, VB_F_COUNT, id);
    vb_msg_add_u64(&m, VB_F_SEQ, seq);
    vb_msg_add_str(&m, VB_F_TOKEN, j->token);
    vb_msg_add_u64(&m, VB_F_LEASE_MS, j->lease_ms);
    int fds[2] = { stream, ahead };
    return vb_control_send(j->control, &m, fds, ahead >= 0 ? 2 : 1, err);
}

int vb_sup_cancel(struct vb_sup_job *j, const char *text, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_C_CANCEL);
    vb_msg_add_str(&m, VB_F_TEXT, text);
    return j->control < 0 ? 0 : vb_control_send(j->control, &m, NULL, 0, err);
}

void vb_sup_sweep(struct vb_sup *s, const char *id)
{
    struct vb_sup_job *j = add_job(s, id);
    vb_fail(&j->why, VB_E_JOB_LOST,
            "the supervisor of the job's host ended unexpectedly; everything the job held was released");
    vb_hint(&j->why, "run the backup or restore again");
    recover(j);
}

void vb_sup_status(struct vb_sup *s, struct vb_msg *m)
{
    static const char *const WORDS[] = { "", "running", "cleaning up", "ended", "needs help" };
    for (size_t i = 0; i < s->n_jobs; i++) {
        const struct vb_sup_job *j = s->jobs[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_JOB, j->id);
        vb_msg_add_str(&g, VB_F_HOST, j->host);
        vb_msg_add_str(&g, VB_F_OWNER, j->requester);
        vb_msg_add_str(&g, VB_F_PHASE, WORDS[j->state]);
        vb_msg_add_str(&g, VB_F_KIND, j->word);
        vb_msg_add_u64(&g, VB_F_CREATED_SEC, j->created_ms / 1000);
        vb_msg_add_u64(&g, VB_F_HOLD, s->slot == j || (j->state == VB_SJ_STUCK && j->blocks));
        if (position(s, j))
            vb_msg_add_u64(&g, VB_F_POSITION, position(s, j));
        vb_msg_add_error(&g, &j->why);
        vb_msg_add_group(m, VB_F_JOB_INFO, &g);
    }
}
