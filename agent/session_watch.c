/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_watch.c - whether the shadow copies are still what they were while they are read (S-49, Q-11).
 *
 * Change storage that runs full takes the shadow copy with it, and what is read afterwards is an error at best.  So the
 * providers that can say are asked every few seconds, which is also when they may enlarge it, and once more when all is
 * read and before it counts.  An answer that is lost on the way there only matters the last time.
 */
#include "config.h"

#include <stdlib.h>

#include "agent/session_internal.h"
#include "documents/selection.h"

static void look(struct vb_session *s);

bool vb_s_lies_on(struct vb_session *s, const struct vb_component *c, const struct vb_fileset *fs, const struct vb_sv *v)
{
    const char *path = fs->alternate_path ? fs->alternate_path : fs->path;
    if (!vb_s_needs_snapshot(s, c, fs))
        return false;
    return v == vb_s_volume_of(s, path) || (fs->recursive && vb_path_below(v->vol->mount_point, path));
}

static bool watched(const struct vb_sv *v)
{
    return v->provider && v->provider->checks && v->created && !v->deleted && v->lost.code == VB_OK;
}

static void on_answer(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_sv *v = &s->set[c->volume];
    (void)m;
    if (!err || (!s->after_watch && err->code != VB_E_INSUFFICIENT_STORAGE && err->code != VB_E_OBJECT_NOT_FOUND))
        return;
    vb_error_copy(&v->lost, err);
    vb_s_warn(s, NULL, "the shadow copy of volume '%s' is lost: %s", v->vol->mount_point, vb_error_text(err));
    VB_AUTO_FREE char *text = vb_journal_escape(vb_error_text(err));
    vb_s_journal(s, false, "lost id=%s text=%s", v->snapshot_id, text);
}

static void on_time(void *arg)
{
    struct vb_session *s = arg;
    s->watch_timer = NULL;
    if (!s->calls.active)
        look(s);
}

static void looked(struct vb_session *s)
{
    if (!s->after_watch && s->env->limits.shadow_check)
        s->watch_timer = vb_loop_after(s->env->loop, s->env->limits.shadow_check, on_time, s);
}

static void over(struct vb_session *s)
{
    vb_step *next = s->after_watch;
    s->after_watch = NULL;
    next(s);
}

static void look(struct vb_session *s)
{
    vb_calls_begin(s);
    for (size_t i = 0; i < s->n_set; i++)
        if (watched(&s->set[i]))
            vb_calls_add(s, s->set[i].provider, "check", i, NULL);
    vb_calls_go(s, s->env->limits.provider_start, on_answer, s->after_watch ? over : looked);
}

void vb_s_watch_begin(struct vb_session *s)
{
    bool any = false;
    for (size_t i = 0; i < s->n_set; i++)
        any = any || watched(&s->set[i]);
    vb_s_watch_stop(s);
    if (any && s->env->limits.shadow_check)
        s->watch_timer = vb_loop_after(s->env->loop, s->env->limits.shadow_check, on_time, s);
}

void vb_s_watch_end(struct vb_session *s, vb_step *next)
{
    vb_s_watch_stop(s);
    s->after_watch = next;
    if (s->calls.active)
        s->calls.done = look; /* after the answers that are still to come */
    else
        look(s);
}

void vb_s_watch_stop(struct vb_session *s)
{
    vb_timer_cancel(s->watch_timer);
    s->watch_timer = NULL;
}

const struct vb_error *vb_s_lost_below(struct vb_session *s, const struct vb_sw *w, const struct vb_component *c)
{
    const struct vb_error *lost = NULL;
    size_t n;
    struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, vb_s_type(s, c), &n);
    for (size_t k = 0; k < s->n_set && !lost; k++)
        for (size_t i = 0; i < n && s->set[k].lost.code != VB_OK && !lost; i++)
            if (vb_s_lies_on(s, c, f[i].fileset, &s->set[k]))
                lost = &s->set[k].lost;
    free(f);
    return lost;
}
