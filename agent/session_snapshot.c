/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_snapshot.c - SNAPSHOT: from the host's slot over the freeze window to PostSnapshot (sections 2.1, 6.4).
 *
 *   slot -> PrepareForSnapshot -> end_prepare -> watchdog ready -> journal "window" -> Freeze by level -> pre_commit ->
 *   [freezer] -> commit -> [thaw] -> post_commit -> Thaw by level, backwards -> journal "window-closed" -> pre_final ->
 *   PostSnapshot -> post_final -> slot back
 *
 * Nothing between "window" and "window-closed" writes to disk, makes a document or starts a process.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "base/log.h"

#define WATCHDOG_MARGIN_MS 2000 /* the watchdog waits this much longer than the session itself would */

/* Who uses freezes before who is used (B-37, W-8); thawed backwards. */
static const enum vb_level LEVELS[] = { VB_LEVEL_FRONT_END, VB_LEVEL_BACK_END, VB_LEVEL_SYSTEM, VB_LEVEL_SYSTEM_RM };
#define N_LEVELS ((int)VB_COUNT(LEVELS))

static void freeze_level(struct vb_session *s);
static void thaw_level(struct vb_session *s);

/* ---- failure ---- */

static void failed(struct vb_session *s)
{
    if (!s->delayed) {
        vb_s_fail(s, &s->trouble);
        return;
    }
    vb_s_event(s, "snapshot", "PostSnapshot", "failed", NULL, &s->trouble, 0);
    vb_log_error(VB_LOG_ERROR, &s->trouble); /* the requester may have left */
    if (s->busy) /* what waits has nothing to wait for */
        vb_s_fail(s, &s->trouble);
    s->held = NULL;
    if (s->leaving) {
        s->delayed = s->leaving = false;
        vb_session_end(s, s->trouble.code, vb_error_text(&s->trouble));
        return;
    }
    vb_s_delayed_over(s);
}

void vb_s_fail_set(struct vb_session *s, const struct vb_error *err)
{
    if (s->trouble.code == VB_OK)
        vb_error_copy(&s->trouble, err);
    vb_s_abort_all(s, failed); /* B-68, B-70 */
}

/* A writer's failure as the reason of the set's: with its name. */
static const struct vb_error *of_writer(struct vb_session *s, const struct vb_sw *w)
{
    if (s->trouble.code == VB_OK) {
        vb_error_copy(&s->trouble, &w->failure);
        if (strncmp(vb_error_text(&s->trouble), "writer '", 8) != 0)
            vb_context(&s->trouble, "writer '%s'", w->ref.instance && *w->ref.instance ? w->ref.instance : w->ref.name);
        if (w->policy == VB_POLICY_REQUIRED)
            vb_context(&s->trouble, "a required writer failed");
    }
    return &s->trouble;
}

/* A writer that the session may not do without has failed, or none is left: the reason, else NULL (B-65, Q-13). */
static const struct vb_error *writers_stop_us(struct vb_session *s, bool need_frozen)
{
    const struct vb_sw *first = NULL;
    bool any = false, left = false;
    for (size_t i = 0; i < s->n_writers; i++) {
        const struct vb_sw *w = s->writers[i];
        if (!vb_sw_takes_part(w))
            continue;
        any = true;
        if (w->failure.code != VB_OK) {
            if (w->policy == VB_POLICY_REQUIRED)
                return of_writer(s, w);
            if (!first)
                first = w;
        } else if (!need_frozen || w->froze) {
            left = true;
        }
    }
    return any && !left && first ? of_writer(s, first) : NULL;
}

/* ---- watchdog ---- */

/* In mount order: the watchdog freezes backwards, so that a file system whose image lies on another one goes first. */
static void mounts_to_freeze(struct vb_session *s, struct vb_strv *mounts)
{
    for (const struct vb_sv *last = NULL, *next;; last = next) {
        next = NULL;
        for (size_t i = 0; i < s->n_set; i++) {
            const struct vb_sv *v = &s->set[i];
            if (v->provider && v->hold == VB_HOLD_FREEZE && (!last || v->vol->mount_order > last->vol->mount_order) &&
                (!next || v->vol->mount_order < next->vol->mount_order))
                next = v;
        }
        if (!next)
            return;
        vb_strv_add(mounts, next->vol->mount_point);
    }
}

static void watchdog(struct vb_session *s, enum vb_watchdog_call call, uint64_t ms, vb_step *next)
{
    int *pids = NULL;
    size_t n = 0;
    struct vb_strv mounts = { NULL, 0, 0 };
    s->after_watchdog = next;
    s->watchdog_asked = call;
    if (call == VB_WD_START) {
        pids = vb_alloc_n(s->n_writers + 1, sizeof *pids);
        for (size_t i = 0; i < s->n_writers; i++)
            if (vb_sw_alive(s->writers[i]) && s->writers[i]->child.pid > 0)
                pids[n++] = s->writers[i]->child.pid;
        mounts_to_freeze(s, &mounts);
        s->freezes = mounts.n > 0;
    }
    s->env->watchdog(s->env->arg, call, ms, pids, n, &mounts);
    free(pids);
    vb_strv_clear(&mounts);
}

void vb_session_watchdog_done(struct vb_session *s, enum vb_watchdog_call call, const struct vb_error *err)
{
    vb_step *next = s->after_watchdog;
    if (call == VB_WD_DISARM || s->watchdog_asked != call || !next)
        return;
    s->after_watchdog = NULL;
    vb_error_clear(&s->watchdog_error);
    if (err)
        vb_error_copy(&s->watchdog_error, err);
    vb_s_post(s, next);
}

void vb_session_watchdog_fired(struct vb_session *s, const char *text)
{
    vb_s_event(s, "window", "watchdog", text, NULL, NULL, 0);
    vb_fail(&s->watchdog_fired, VB_E_HOLD_WRITES_TIMEOUT, "the watchdog ended the freeze window: %s", text);
    vb_hint(&s->watchdog_fired, "the snapshot took too long; try when the machine is less busy");
}

/* ---- the window ---- */

static void end_phase(struct vb_session *s)
{
    if (s->n_phases && !s->phases[s->n_phases - 1].end)
        s->phases[s->n_phases - 1].end = vb_loop_now_us(s->env->loop);
}

/* Nothing is allocated here: the record is made after the window. */
static void begin_phase(struct vb_session *s, const char *name)
{
    end_phase(s);
    if (s->n_phases == VB_COUNT(s->phases))
        return;
    s->phases[s->n_phases].name = name;
    s->phases[s->n_phases].begin = vb_loop_now_us(s->env->loop);
    s->phases[s->n_phases].end = s->phases[s->n_phases].inner = 0;
    s->n_phases++;
}

void vb_s_inner(struct vb_session *s, uint64_t us)
{
    if (s->window_open && s->n_phases && us > s->phases[s->n_phases - 1].inner)
        s->phases[s->n_phases - 1].inner = us;
}

void vb_s_leave_window(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_timer_cancel(s->limit);
    s->limit = NULL;
    if (s->watchdog_on) {
        s->env->watchdog(s->env->arg, VB_WD_DISARM, 0, NULL, 0, NULL);
        s->watchdog_on = s->fs_frozen = false;
    }
    if (!s->window_open)
        return;
    s->bcd->window_us = vb_loop_now_us(s->env->loop) - s->window_us;
    end_phase(s);
    s->window_open = false;
    if (vb_journal_release(s->env->journal, &err) < 0)
        vb_log_error(VB_LOG_ERROR, &err);
    s->env->window(s->env->arg, false);
    if (!s->still_frozen)
        (void)vb_s_journal(s, true, "window-closed set=%s us=%ju", s->set_id, (uintmax_t)s->bcd->window_us);
    vb_s_event(s, "window", "Window", "end", NULL, NULL, s->bcd->window_us);
}

/* Whether the level has anybody, so that an empty one costs nothing. */
static bool anybody(struct vb_session *s, vb_sw_filter *filter)
{
    for (size_t i = 0; i < s->n_writers; i++)
        if (filter(s->writers[i]))
            return true;
    return false;
}

static bool in_thaw_level(const struct vb_sw *w)
{
    return w->holds && w->froze && w->child.conn && !w->aborted && w->level == LEVELS[w->s->level];
}

static void thaw_next(struct vb_session *s)
{
    if (--s->level >= 0) {
        thaw_level(s);
        return;
    }
    const struct vb_error *why = NULL;
    vb_s_leave_window(s);
    for (size_t i = 0; i < s->n_writers && !why; i++)
        if (vb_sw_takes_part(s->writers[i]) && s->writers[i]->policy == VB_POLICY_REQUIRED &&
            s->writers[i]->failure.code != VB_OK)
            why = of_writer(s, s->writers[i]);
    if (why)
        vb_s_fail_set(s, why);
    else
        vb_s_window_settled(s); /* B-43: a writer that failed at thaw does not undo the snapshot */
}

static void thaw_level(struct vb_session *s)
{
    static const char *const NAMES[] = { "thaw front-end", "thaw back-end", "thaw system", "thaw system-rm" };
    if (!anybody(s, in_thaw_level)) {
        thaw_next(s);
        return;
    }
    begin_phase(s, NAMES[s->level]);
    vb_round(s, VB_EV_THAW, in_thaw_level, thaw_next);
}

static void call_phase(struct vb_session *s, const char *call, vb_step *next)
{
    begin_phase(s, call);
    vb_calls_set(s, call, s->env->limits.provider_commit, next);
}

static void post_committed(struct vb_session *s)
{
    const struct vb_error *why = s->calls.failure.code != VB_OK ? &s->calls.failure
                                 : s->watchdog_fired.code != VB_OK ? &s->watchdog_fired
                                                                   : writers_stop_us(s, true);
    if (why) {
        vb_s_fail_set(s, why);
        return;
    }
    s->level = N_LEVELS - 1;
    thaw_level(s);
}

static void fs_thawed(struct vb_session *s)
{
    s->fs_frozen = s->fs_frozen && s->watchdog_error.code != VB_OK; /* else the abort asks once more */
    if (s->calls.failure.code != VB_OK || s->watchdog_error.code != VB_OK) {
        vb_s_fail_set(s, s->calls.failure.code != VB_OK ? &s->calls.failure : &s->watchdog_error);
        return;
    }
    call_phase(s, "post_commit", post_committed);
}

static void committed(struct vb_session *s)
{
    s->commit_us = vb_loop_now_us(s->env->loop) - s->commit_us;
    if (s->fs_frozen) {
        begin_phase(s, "release");
        watchdog(s, VB_WD_THAW, 0, fs_thawed); /* whether commit failed or not */
    } else {
        fs_thawed(s);
    }
}

static void commit(struct vb_session *s)
{
    if (s->freezes && s->watchdog_error.code != VB_OK) {
        vb_s_fail_set(s, &s->watchdog_error);
        return;
    }
    s->commit_us = vb_loop_now_us(s->env->loop);
    call_phase(s, "commit", committed);
}

static void pre_committed(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK) {
        vb_s_fail_set(s, &s->calls.failure);
    } else if (s->freezes) {
        s->fs_frozen = true;
        begin_phase(s, "hold");
        watchdog(s, VB_WD_FREEZE, s->env->limits.hold, commit);
    } else {
        commit(s);
    }
}

static bool in_freeze_level(const struct vb_sw *w)
{
    return vb_sw_alive(w) && w->state == VB_WS_WAITING_FOR_FREEZE && w->level == LEVELS[w->s->level];
}

static void freeze_next(struct vb_session *s)
{
    const struct vb_error *why = writers_stop_us(s, false);
    if (why) {
        vb_s_fail_set(s, why);
        return;
    }
    if (++s->level < N_LEVELS)
        freeze_level(s);
    else
        call_phase(s, "pre_commit", pre_committed);
}

static void freeze_level(struct vb_session *s)
{
    static const char *const NAMES[] = { "freeze front-end", "freeze back-end", "freeze system", "freeze system-rm" };
    if (!anybody(s, in_freeze_level)) {
        freeze_next(s);
        return;
    }
    begin_phase(s, NAMES[s->level]);
    vb_round(s, VB_EV_FREEZE, in_freeze_level, freeze_next);
}

static void too_long(struct vb_session *s)
{
    vb_fail(&s->trouble, VB_E_HOLD_WRITES_TIMEOUT, "the freeze window was longer than the job's limit of %ju ms",
            (uintmax_t)s->job->freeze_limit_ms);
    vb_hint(&s->trouble, "raise the limit of the job, or try when the machine is less busy");
    vb_s_fail_set(s, &s->trouble);
}

static void on_window_limit(void *arg)
{
    struct vb_session *s = arg;
    s->limit = NULL;
    vb_s_cancel(s, too_long);
}

static void armed(struct vb_session *s)
{
    if (s->watchdog_error.code != VB_OK) {
        vb_s_fail_set(s, &s->watchdog_error);
        return;
    }
    s->window_us = vb_loop_now_us(s->env->loop); /* until here nobody was held */
    s->bcd->freeze_wall_ms = vb_loop_wall_ms(s->env->loop);
    if (s->job->freeze_limit_ms)
        s->limit = vb_loop_after(s->env->loop, s->job->freeze_limit_ms, on_window_limit, s);
    s->level = 0;
    freeze_level(s);
}

/* One synced record stands for all until the window is closed (house plan, idea 3). */
static void enter_window(struct vb_session *s)
{
    VB_AUTO_BUF mounts = VB_BUF_INIT;
    uint64_t window = s->job->freeze_limit_ms;
    if (s->watchdog_error.code != VB_OK) {
        vb_s_fail_set(s, &s->watchdog_error);
        return;
    }
    for (size_t i = 0; i < s->n_writers; i++)
        if (vb_sw_alive(s->writers[i]) && (!window || s->writers[i]->freeze_ms < window))
            window = s->writers[i]->freeze_ms;
    for (size_t i = 0; i < s->n_set; i++)
        if (s->set[i].provider && s->set[i].hold == VB_HOLD_FREEZE) {
            VB_AUTO_FREE char *e = vb_journal_escape(s->set[i].vol->mount_point);
            vb_buf_addf(&mounts, " mount=%s", e);
        }
    if (vb_s_journal(s, true, "window set=%s%s", s->set_id, vb_buf_str(&mounts)) < 0) {
        vb_s_fail_set(s, &s->journal_error); /* recover would not know what to thaw */
        return;
    }
    vb_s_event(s, "window", "Window", "begin", NULL, NULL, 0);
    vb_journal_hold(s->env->journal);
    s->env->window(s->env->arg, true);
    s->window_open = true;
    s->window_us = vb_loop_now_us(s->env->loop);
    s->bcd->freeze_wall_ms = vb_loop_wall_ms(s->env->loop);
    s->n_phases = 0;
    s->watchdog_on = true;
    watchdog(s, VB_WD_ARM, (window ? window : VB_DEFAULT_FREEZE_MS) + WATCHDOG_MARGIN_MS, armed);
}

static void end_prepared(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK) {
        vb_s_fail_set(s, &s->calls.failure);
        return;
    }
    s->watchdog_on = true;
    watchdog(s, VB_WD_START, 0, enter_window);
}

static void snapshot_prepared(struct vb_session *s)
{
    const struct vb_error *why = writers_stop_us(s, false);
    if (why) {
        vb_s_fail_set(s, why);
        return;
    }
    vb_calls_set(s, "end_prepare", s->env->limits.provider_prepare, end_prepared);
}

static void prepare(struct vb_session *s)
{
    if (vb_s_journal(s, true, "creating set=%s", s->set_id) < 0) {
        vb_s_fail_set(s, &s->journal_error);
        return;
    }
    s->set_begun = true;
    vb_round(s, VB_EV_PREPARE_SNAPSHOT, vb_sw_alive, snapshot_prepared);
}

void vb_session_slot(struct vb_session *s, unsigned position, const char *owner)
{
    if (!s->slot_wanted || s->slot_held)
        return;
    if (position > 0) {
        VB_AUTO_FREE char *text =
            vb_printf("position %u, the slot is held by %s", position, owner ? owner : "another job");
        vb_s_event(s, "state", "queued", text, NULL, NULL, 0);
        return;
    }
    s->slot_held = true;
    if (owner)
        vb_s_warn(s, NULL, "an earlier job left something behind on this host: %s", owner);
    vb_s_post(s, prepare);
}

static void slot_refused(struct vb_session *s)
{
    vb_s_fail_set(s, &s->trouble);
}

void vb_session_slot_refused(struct vb_session *s, const struct vb_error *why)
{
    if (!s->slot_wanted || s->slot_held || s->trouble.code != VB_OK)
        return;
    vb_error_copy(&s->trouble, why);
    vb_s_post(s, slot_refused);
}

void vb_s_snapshot(struct vb_session *s)
{
    vb_error_clear(&s->trouble);
    const struct vb_error *why = writers_stop_us(s, false);
    if (why) { /* already at PrepareForBackup; the requester was told, but went on */
        vb_s_fail_set(s, why);
        return;
    }
    if (vb_s_call(s, "DoSnapshotSet") < 0) {
        vb_s_fail_set(s, &s->journal_error);
        return;
    }
    s->slot_wanted = true;
    s->env->slot(s->env->arg, true);
}
