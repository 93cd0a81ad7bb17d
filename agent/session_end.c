/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_end.c - the one way out: cancel, abort, release.
 *
 * cancel   cuts the running operation short; a writer inside an event gets a short grace, then its process is killed
 * abort    frozen file systems thaw first, then the writers get Abort, then the window is closed, then the providers
 * release  a restore gets its PostRestore, services are started, BackupShutdown goes out, shadow copies are deleted
 */
#include "config.h"

#include <stdlib.h>

#include "agent/session_internal.h"
#include "agent/session_shadow.h"
#include "base/log.h"

/* ---- cancel ---- */

static bool must_finish(enum vb_event ev)
{
    return ev == VB_EV_ABORT || ev == VB_EV_BACKUP_SHUTDOWN || ev == VB_EV_POST_RESTORE;
}

static void cancelled(struct vb_session *s)
{
    vb_step *next = s->after_cancel;
    if (!s->cancelling || s->round.active || s->calls.active || s->after_watchdog || s->after_service)
        return;
    vb_timer_cancel(s->grace);
    s->grace = NULL;
    s->cancelling = false;
    s->after_cancel = NULL;
    if (next)
        next(s);
}

static void on_grace(void *arg)
{
    struct vb_session *s = arg;
    s->grace = NULL;
    s->after_watchdog = NULL;
    s->after_service = NULL;
    for (size_t i = 0; i < s->n_writers; i++)
        if (s->writers[i]->running != VB_EV_NONE && !must_finish(s->writers[i]->running))
            vb_sw_give_up(s->writers[i]);
    vb_calls_give_up(s);
    vb_s_post(s, cancelled);
}

void vb_s_cancel(struct vb_session *s, vb_step *next)
{
    s->after_cancel = next;
    if (s->cancelling)
        return;
    s->cancelling = true;
    s->delayed = s->leaving = false;
    s->held = NULL;
    vb_mover_stop(s);
    vb_s_watch_stop(s);
    if (s->slot_wanted && !s->slot_held)
        vb_s_slot_back(s);
    /* Posted steps belong to the operation that is being cut short; rounds and calls end in cancelled() instead. */
    vb_loop_unpost(s->env->loop, s);
    s->n_steps = 0;
    if (s->round.active) {
        s->round.done = cancelled;
        vb_round_check(s);
    }
    if (s->calls.active) {
        s->calls.done = cancelled;
        vb_calls_check(s);
    }
    if (s->after_watchdog)
        s->after_watchdog = cancelled;
    if (s->after_service) {
        s->after_service = cancelled;
        while (s->queue.n > 1) /* the one under way is waited for, the others are not begun */
            free(s->queue.v[--s->queue.n]);
    }
    s->grace = vb_loop_after(s->env->loop, s->env->limits.cancel_grace, on_grace, s);
    vb_s_post(s, cancelled);
}

/* ---- abort ---- */

static void aborted(struct vb_session *s)
{
    vb_step *next = s->after_abort;
    vb_s_slot_back(s);
    s->set_begun = false;
    s->after_abort = NULL;
    if (s->phase != VB_PH_NEW)
        s->phase = VB_PH_ABORTED;
    (void)vb_s_journal(s, true, "aborted");
    if (next)
        next(s);
}

static void abort_providers(struct vb_session *s)
{
    if (!s->set_begun) {
        aborted(s);
        return;
    }
    vb_calls_set(s, "abort", s->env->limits.provider_prepare, aborted);
}

/* From PrepareForBackup on, until PostSnapshot has returned (B-69, B-74, K-5). */
static bool needs_abort(const struct vb_sw *w)
{
    return w->prepared && !w->aborted && !w->past_post;
}

static bool needs_abort_and_lives(const struct vb_sw *w)
{
    return needs_abort(w) && w->child.conn;
}

/* Fresh hosts for those whose own are gone: no process is started inside the window. */
static void abort_lost(struct vb_session *s)
{
    vb_s_leave_window(s);
    vb_round(s, VB_EV_ABORT, needs_abort, abort_providers);
}

static void abort_writers(struct vb_session *s)
{
    s->still_frozen = s->still_frozen || (s->fs_frozen && s->watchdog_error.code != VB_OK);
    s->fs_frozen = false;
    vb_round(s, VB_EV_ABORT, needs_abort_and_lives, abort_lost);
}

void vb_s_abort_all(struct vb_session *s, vb_step *next)
{
    s->after_abort = next;
    vb_timer_cancel(s->limit);
    s->limit = NULL;
    if (!s->fs_frozen) {
        abort_writers(s);
        return;
    }
    s->after_watchdog = abort_writers;
    s->watchdog_asked = VB_WD_THAW;
    s->env->watchdog(s->env->arg, VB_WD_THAW, 0, NULL, 0, NULL);
}

static void abort_answered(struct vb_session *s)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_REPLY);
    s->aborting_ours = false;
    m.id = s->abort_id;
    vb_s_add_status(s, &m);
    s->env->reply(s->env->arg, &m);
}

static void abort_restore_done(struct vb_session *s)
{
    s->phase = VB_PH_ABORTED;
    abort_answered(s);
}

static void abort_now(struct vb_session *s)
{
    if (s->busy) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_error_copy(&err, &s->why);
        vb_s_fail(s, &err);
    }
    vb_error_clear(&s->why);
    if (s->restore) /* Abort does not exist in a restore, but PostRestore is owed */
        vb_s_restore_cleanup(s, abort_restore_done);
    else
        vb_s_abort_all(s, abort_answered);
}

void vb_s_abort(struct vb_session *s, const struct vb_msg *m)
{
    if (s->ending || s->leaving || s->phase == VB_PH_RELEASED || s->phase == VB_PH_ABORTED || s->aborting_ours ||
        (!s->busy && (s->phase == VB_PH_NEW || s->phase == VB_PH_COMPLETED || s->phase == VB_PH_POST_RESTORED))) {
        VB_AUTO_MSG r = VB_MSG_INIT(VB_M_REPLY); /* nothing is under way: harmless (B-71) */
        r.id = m->id;
        vb_s_add_status(s, &r);
        s->env->reply(s->env->arg, &r);
        return;
    }
    (void)vb_s_call(s, "AbortBackup");
    s->aborting_ours = true;
    s->abort_id = m->id;
    VB_AUTO_FREE char *text = vb_msg_str(m, VB_F_TEXT);
    vb_fail(&s->why, VB_E_CANCELLED, "%s", text ? text : "cancelled by the requester");
    vb_s_cancel(s, abort_now);
}

/* ---- release ---- */

static void delete_left(struct vb_session *s);

/* A provider's process that hangs or died is no reason to leave a shadow copy: a fresh one gets a second chance. */
static bool once_more(struct vb_session *s)
{
    if (s->calls.failure.code == VB_OK || s->delete_again)
        return false;
    s->delete_again = true;
    for (size_t i = 0; i < s->n_providers; i++)
        vb_sp_stop(s->providers[i], true);
    delete_left(s);
    return true;
}

static void released(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    if (once_more(s))
        return;
    if (s->calls.failure.code != VB_OK) {
        vb_s_warn(s, NULL, "a shadow copy was not deleted: %s", vb_error_text(&s->calls.failure));
        (void)vb_s_journal(s, true, "not-deleted");
    }
    vb_s_shadow_released(s);
    vb_s_reboot_discard(s);
    for (size_t i = 0; i < s->n_providers; i++)
        vb_sp_stop(s->providers[i], false);
    s->phase = VB_PH_RELEASED;
    (void)vb_s_journal(s, true, "end code=%d", (int)s->why.code);
    if (s->busy)
        vb_s_reply(s, &m);
    vb_msg_clear(&m);
    s->env->ended(s->env->arg, &s->why);
}

static void on_deleted(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    (void)m;
    if (c->volume == SIZE_MAX && !err) {
        vb_s_incoming_deleted(s);
        return;
    }
    if (err) {
        if (s->left_behind.len)
            vb_buf_add_str(&s->left_behind, "; ");
        if (c->volume == SIZE_MAX)
            vb_buf_addf(&s->left_behind, "shadow copy '%s', half received, is still there (%s)", s->incoming.id,
                        vb_error_text(err));
        else
            vb_buf_addf(&s->left_behind, "shadow copy '%s' of '%s' is still there (%s)", s->set[c->volume].snapshot_id,
                        s->set[c->volume].vol->mount_point, vb_error_text(err));
        return;
    }
    s->set[c->volume].deleted = true;
    (void)vb_s_journal(s, false, "deleted id=%s", s->set[c->volume].snapshot_id);
}

static void delete_left(struct vb_session *s)
{
    vb_calls_begin(s);
    for (size_t i = 0; i < s->n_set; i++)
        if (s->set[i].provider && s->set[i].begun && !s->set[i].deleted && !s->kept)
            vb_calls_add(s, s->set[i].provider, "delete", i, NULL);
    vb_s_incoming_add_delete(s);
    vb_calls_go(s, s->env->limits.provider_prepare, on_deleted, released);
}

static void delete_snapshots(struct vb_session *s)
{
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_sw *w = s->writers[i];
        if (w->child.conn) {
            VB_AUTO_MSG quit = VB_MSG_INIT(VB_M_W_QUIT);
            vb_conn_send(w->child.conn, &quit);
            vb_conn_finish(w->child.conn);
            vb_sw_stop(w, false);
        }
    }
    delete_left(s);
}

/* Whatever the end: normal, abort, crash of the requester (B-60). */
static bool needs_shutdown(const struct vb_sw *w)
{
    return (w->prepared || w->pre_restore) && !w->shut_down;
}

static void shutdown_writers(struct vb_session *s)
{
    vb_round(s, VB_EV_BACKUP_SHUTDOWN, needs_shutdown, delete_snapshots);
}

static void end_abort(struct vb_session *s)
{
    if (s->busy && s->cmd.type != VB_M_RELEASE) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_error_copy(&err, &s->why);
        vb_s_fail(s, &err);
    }
    if (s->aborting_ours)
        abort_answered(s);
    if (s->restore)
        vb_s_restore_cleanup(s, shutdown_writers);
    else if (s->phase == VB_PH_COMPLETED || s->phase == VB_PH_ABORTED)
        shutdown_writers(s);
    else
        vb_s_abort_all(s, shutdown_writers); /* B-69: whoever stops early aborts before releasing */
}

const char *vb_session_left_behind(struct vb_session *s)
{
    return s->left_behind.len ? vb_buf_str(&s->left_behind) : NULL;
}

void vb_session_end(struct vb_session *s, enum vb_code code, const char *text)
{
    if (s->ending || s->phase == VB_PH_RELEASED || (s->leaving && code == VB_E_JOB_LOST)) /* S-15: it was let go */
        return;
    s->ending = true;
    vb_error_clear(&s->why);
    if (code != VB_OK)
        vb_fail(&s->why, code, "%s", text);
    VB_AUTO_FREE char *e = vb_journal_escape(text ? text : "");
    (void)vb_s_journal(s, true, "ending code=%d text=%s", (int)code, e);
    vb_s_event(s, "state", "ending", NULL, NULL, code != VB_OK ? &s->why : NULL, 0);
    vb_s_cancel(s, end_abort);
}

void vb_s_release(struct vb_session *s)
{
    s->ending = true;
    vb_error_clear(&s->why);
    vb_s_event(s, "call", "Release", NULL, NULL, NULL, 0);
    end_abort(s);
}
