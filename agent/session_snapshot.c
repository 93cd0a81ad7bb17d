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
#include "agent/session_shadow.h"
#include "base/log.h"
#include "documents/selection.h"

#define WATCHDOG_MARGIN_MS 2000 /* the watchdog waits this much longer than the session itself would */

/* Who uses freezes before who is used (B-37, W-8); thawed backwards. */
static const enum vb_level LEVELS[] = { VB_LEVEL_FRONT_END, VB_LEVEL_BACK_END, VB_LEVEL_SYSTEM, VB_LEVEL_SYSTEM_RM };
#define N_LEVELS ((int)VB_COUNT(LEVELS))

static void freeze_level(struct vb_session *s);
static void thaw_level(struct vb_session *s);

/* ---- failure ---- */

static void failed(struct vb_session *s)
{
    vb_s_fail(s, &s->trouble);
}

static void fail_set(struct vb_session *s, const struct vb_error *err)
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

/* ---- the end of SNAPSHOT ---- */

static enum vb_consistency least(enum vb_consistency a, enum vb_consistency b)
{
    return a < b ? a : b;
}

/* One call of one provider made both at one instant. */
static bool share_instant(const struct vb_sv *a, const struct vb_sv *b)
{
    return a->provider == b->provider && a->group_atomic && b->group_atomic &&
           !strcmp(a->group ? a->group : "", b->group ? b->group : "");
}

/* The level that was reached, not the one hoped for: provider, writer's whole session, and the writer's own word. */
static enum vb_consistency reached(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c)
{
    bool held = w->froze && w->thawed && !w->aborted;
    enum vb_consistency level = held ? VB_CONSISTENCY_APPLICATION : VB_CONSISTENCY_CRASH;
    const struct vb_sv *first = NULL;
    size_t n;
    struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, s->bcd->backup_type, &n);
    for (size_t k = 0; k < s->n_set; k++) {
        const struct vb_sv *v = &s->set[k];
        bool used = false;
        for (size_t i = 0; i < n && !used; i++)
            used = vb_s_lies_on(s, f[i].fileset, v);
        if (!used)
            continue;
        if (!v->provider)
            level = least(level, VB_CONSISTENCY_NONE);
        else if (!held || v->hold == VB_HOLD_NONE)
            level = least(level, v->without_writers);
        /* Nobody held, and the volumes were not captured at one instant. */
        if (!held && first && !share_instant(first, v))
            level = least(level, VB_CONSISTENCY_NONE);
        first = first ? first : v;
    }
    free(f);
    if (!first && !held)
        level = VB_CONSISTENCY_NONE; /* nothing was in a snapshot and nobody held */
    return w->lowered ? least(level, w->lowered) : level;
}

/* Where one instant cannot be had, how far apart they may be is recorded (B-40). */
static void note_skew(struct vb_session *s, const struct vb_sv *v, struct vb_snapshot_record *r)
{
    bool apart = !v->atomic;
    for (size_t i = 0; i < s->n_set && !apart; i++)
        apart = s->set[i].provider && &s->set[i] != v && !share_instant(&s->set[i], v);
    if (!v->provider || !apart)
        return;
    char *was = r->remark;
    r->remark = vb_printf("%s%s%s within %ju.%01ju ms", was ? was : "", was ? "; " : "",
                          v->atomic ? "the shadow copies of the set were made" : "it was made",
                          (uintmax_t)(s->commit_us / 1000), (uintmax_t)(s->commit_us / 100 % 10));
    free(was);
}

static uint64_t in_window(const struct vb_session *s, uint64_t us)
{
    return us > s->window_us ? us - s->window_us : 0;
}

/* How far the instants of the volumes may lie apart: not at all where all were held before the first commit and released
 * after the last one, or where one provider makes one instant of them; else from the first commit to the last (B-40). */
static uint64_t skew(const struct vb_session *s)
{
    uint64_t first = UINT64_MAX, last = 0;
    bool held = true, one = true;
    size_t n = 0;
    const struct vb_sv *any = NULL;
    for (size_t i = 0; i < s->n_set; i++) {
        const struct vb_sv *v = &s->set[i];
        if (!v->commit_end)
            continue;
        n++;
        held = held && v->hold == VB_HOLD_FREEZE;
        one = one && (!any || share_instant(v, any));
        any = v;
        first = v->commit_begin < first ? v->commit_begin : first;
        last = v->commit_end > last ? v->commit_end : last;
    }
    bool one_instant = n == 0 || held || (n > 1 && one) || (n == 1 && any->atomic);
    return one_instant ? 0 : last - first;
}

static void fill_window(struct vb_session *s)
{
    for (size_t i = 0; i < s->n_phases; i++)
        vb_components_add_phase(s->bcd, s->phases[i].name, in_window(s, s->phases[i].begin),
                                s->phases[i].end - s->phases[i].begin, s->phases[i].inner);
    for (size_t i = 0; i < s->n_set && i < s->bcd->n_snapshots; i++) {
        const struct vb_sv *v = &s->set[i];
        s->bcd->snapshots[i].commit_begin_us = v->commit_end ? in_window(s, v->commit_begin) : 0;
        s->bcd->snapshots[i].commit_us = v->commit_end - v->commit_begin;
    }
    s->bcd->skew_us = skew(s);
}

static void fill_document(struct vb_session *s)
{
    fill_window(s);
    for (size_t i = 0; i < s->n_set && i < s->bcd->n_snapshots; i++) {
        struct vb_snapshot_record *r = &s->bcd->snapshots[i];
        vb_free_ptr(&r->snapshot_path);
        if (s->set[i].map_to.n)
            r->snapshot_path = vb_strdup(s->set[i].map_to.v[0]);
        note_skew(s, &s->set[i], r);
    }
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_sw *w = s->writers[i];
        struct vb_writer_components *r = vb_sw_record(w);
        for (size_t k = 0; r && k < r->n_components; k++)
            r->components[k].consistency = reached(s, w, &r->components[k]);
    }
}

void vb_s_slot_back(struct vb_session *s)
{
    if (s->slot_wanted)
        s->env->slot(s->env->arg, false);
    s->slot_wanted = s->slot_held = false;
}

static void done(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    if (s->calls.failure.code != VB_OK) {
        fail_set(s, &s->calls.failure);
        return;
    }
    s->set_begun = false; /* "created": abort would be ignored from here on (S-34) */
    for (size_t i = 0; i < s->n_set; i++)
        s->set[i].created = s->set[i].provider != NULL;
    vb_s_slot_back(s);
    s->snapshot_ok = true;
    s->phase = VB_PH_SNAPSHOT;
    fill_document(s);
    if (vb_s_shadow_created(s, &err) < 0 || /* without a record nobody would find it again */
        vb_s_journal(s, true, "created set=%s kept=%d", s->set_id, s->kept) < 0) {
        vb_error_copy(&s->trouble, err.code != VB_OK ? &err : &s->journal_error);
        s->snapshot_ok = s->kept = false;
        vb_s_abort_all(s, failed); /* nobody needs it any more: past PostSnapshot, past "created" */
        return;
    }
    if (vb_s_add_bcd(s, &m, &err) < 0) {
        vb_msg_clear(&m);
        vb_s_fail(s, &err);
        return;
    }
    vb_s_add_status(s, &m);
    for (size_t i = 0; i < s->n_set; i++) {
        const struct vb_sv *v = &s->set[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_PATH, v->vol->mount_point);
        vb_msg_add_str(&g, VB_F_DEVICE, v->vol->device);
        vb_msg_add_str(&g, VB_F_FS_TYPE, v->vol->fs_type);
        vb_msg_add_str(&g, VB_F_PROVIDER, v->provider ? v->provider->name : "live");
        vb_msg_add_str(&g, VB_F_SNAPSHOT, v->snapshot_id);
        if (v->map_to.n)
            vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, v->map_to.v[0]);
        vb_msg_add_u64(&g, VB_F_ATOMIC, v->atomic);
        vb_msg_add_str(&g, VB_F_REMARK, v->remark);
        vb_msg_add_group(&m, VB_F_VOLUME, &g);
    }
    vb_msg_add_u64(&m, VB_F_WINDOW_US, s->bcd->window_us);
    vb_s_reply(s, &m);
}

static void post_final(struct vb_session *s)
{
    vb_calls_set(s, "post_final", s->env->limits.provider_prepare, done);
}

static bool waits_for_post(const struct vb_sw *w)
{
    return vb_sw_alive(w) && w->thawed;
}

static void post_snapshot(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK)
        fail_set(s, &s->calls.failure);
    else
        vb_round(s, VB_EV_POST_SNAPSHOT, waits_for_post, post_final);
}

static void on_path(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    VB_AUTO_FREE char *path = m && !err ? vb_msg_str(m, VB_F_PATH) : NULL;
    if (!path)
        return;
    vb_strv_add(&s->set[c->volume].map_from, c->path);
    vb_strv_add(&s->set[c->volume].map_to, path);
}

static void ask_paths(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK) {
        fail_set(s, &s->calls.failure);
        return;
    }
    vb_calls_begin(s);
    for (size_t i = 0; i < s->n_set; i++) {
        struct vb_sv *v = &s->set[i];
        if (!v->provider)
            continue;
        if (!v->per_tree)
            vb_calls_add(s, v->provider, "snapshot_path", i, v->vol->subvolume_root);
        for (size_t k = 0; v->per_tree && k < v->vol->trees.n; k++)
            vb_calls_add(s, v->provider, "snapshot_path", i, v->vol->trees.v[k]);
    }
    vb_calls_go(s, s->env->limits.provider_start, on_path, post_snapshot);
}

static void pre_final(struct vb_session *s)
{
    vb_calls_set(s, "pre_final", s->env->limits.provider_prepare, ask_paths);
}

/* Its host died or was killed in the window; whatever outlives the process is undone through a fresh one. */
static bool lost_in_window(const struct vb_sw *w)
{
    return w->prepared && !w->child.conn && !w->aborted && !w->past_post;
}

static void settled(struct vb_session *s)
{
    vb_round(s, VB_EV_ABORT, lost_in_window, pre_final);
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
        fail_set(s, why);
    else
        settled(s); /* B-43: a writer that failed at thaw does not undo the snapshot */
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
        fail_set(s, why);
        return;
    }
    s->level = N_LEVELS - 1;
    thaw_level(s);
}

static void fs_thawed(struct vb_session *s)
{
    s->fs_frozen = s->fs_frozen && s->watchdog_error.code != VB_OK; /* else the abort asks once more */
    if (s->calls.failure.code != VB_OK || s->watchdog_error.code != VB_OK) {
        fail_set(s, s->calls.failure.code != VB_OK ? &s->calls.failure : &s->watchdog_error);
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
        fail_set(s, &s->watchdog_error);
        return;
    }
    s->commit_us = vb_loop_now_us(s->env->loop);
    call_phase(s, "commit", committed);
}

static void pre_committed(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK) {
        fail_set(s, &s->calls.failure);
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
        fail_set(s, why);
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
    fail_set(s, &s->trouble);
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
        fail_set(s, &s->watchdog_error);
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
        fail_set(s, &s->watchdog_error);
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
        fail_set(s, &s->journal_error); /* recover would not know what to thaw */
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
        fail_set(s, &s->calls.failure);
        return;
    }
    s->watchdog_on = true;
    watchdog(s, VB_WD_START, 0, enter_window);
}

static void snapshot_prepared(struct vb_session *s)
{
    const struct vb_error *why = writers_stop_us(s, false);
    if (why) {
        fail_set(s, why);
        return;
    }
    vb_calls_set(s, "end_prepare", s->env->limits.provider_prepare, end_prepared);
}

static void prepare(struct vb_session *s)
{
    if (vb_s_journal(s, true, "creating set=%s", s->set_id) < 0) {
        fail_set(s, &s->journal_error);
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
    fail_set(s, &s->trouble);
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
        fail_set(s, why);
        return;
    }
    if (vb_s_call(s, "DoSnapshotSet") < 0) {
        fail_set(s, &s->journal_error);
        return;
    }
    s->slot_wanted = true;
    s->env->slot(s->env->arg, true);
}
