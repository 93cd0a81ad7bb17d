/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_created.c - the end of SNAPSHOT, from the closed window to the reply (sections 2.1, 6.4).
 *
 *   pre_final -> where the data are seen -> PostSnapshot -> post_final -> slot back -> what was reached is recorded
 *
 * With the attribute delayed-postsnapshot the requester is answered before PostSnapshot, and may leave (S-15).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "agent/session_shadow.h"
#include "documents/selection.h"

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
    struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, vb_s_type(s, c), &n);
    for (size_t k = 0; k < s->n_set; k++) {
        const struct vb_sv *v = &s->set[k];
        bool used = false;
        for (size_t i = 0; i < n && !used; i++)
            used = vb_s_lies_on(s, c, f[i].fileset, v);
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

static void fill_consistency(struct vb_session *s)
{
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_sw *w = s->writers[i];
        struct vb_writer_components *r = vb_sw_record(w);
        for (size_t k = 0; r && k < r->n_components; k++)
            r->components[k].consistency = reached(s, w, &r->components[k]);
    }
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
    fill_consistency(s);
}

void vb_s_slot_back(struct vb_session *s)
{
    if (s->slot_wanted)
        s->env->slot(s->env->arg, false);
    s->slot_wanted = s->slot_held = false;
}

static void answer(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
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

void vb_s_delayed_over(struct vb_session *s)
{
    vb_step *next = s->leaving ? vb_s_release : s->held;
    s->delayed = s->leaving = false;
    s->held = NULL;
    if (next)
        next(s);
}

static void done(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (s->calls.failure.code != VB_OK) {
        vb_s_fail_set(s, &s->calls.failure);
        return;
    }
    s->set_begun = false; /* "created": abort would be ignored from here on (S-34) */
    for (size_t i = 0; i < s->n_set; i++)
        s->set[i].created = s->set[i].provider != NULL;
    vb_s_slot_back(s);
    s->snapshot_ok = true;
    s->phase = VB_PH_SNAPSHOT;
    if (s->delayed)
        fill_consistency(s); /* a writer may have said in PostSnapshot that it is less */
    else
        fill_document(s);
    if (vb_s_shadow_created(s, &err) < 0 || /* without a record nobody would find it again */
        vb_s_journal(s, true, "created set=%s kept=%d", s->set_id, s->kept) < 0) {
        s->snapshot_ok = s->kept = false;
        /* nobody needs the abort any more: past PostSnapshot, past "created" */
        vb_s_fail_set(s, err.code != VB_OK ? &err : &s->journal_error);
        return;
    }
    if (s->delayed)
        vb_s_delayed_over(s);
    else
        answer(s);
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
    if (s->calls.failure.code != VB_OK) {
        vb_s_fail_set(s, &s->calls.failure);
        return;
    }
    if (s->attributes & VB_SA_DELAYED_POSTSNAPSHOT) { /* S-15 */
        s->phase = VB_PH_SNAPSHOT;
        fill_document(s);
        answer(s);
        s->delayed = true;
    }
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
        vb_s_fail_set(s, &s->calls.failure);
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

void vb_s_window_settled(struct vb_session *s)
{
    vb_round(s, VB_EV_ABORT, lost_in_window, pre_final);
}
