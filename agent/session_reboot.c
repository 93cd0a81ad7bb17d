/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_reboot.c - components whose files may only be replaced at a restart of the machine.
 *
 * The restore process is told to put them in a staging directory; when a component is there as a whole, the exchange at
 * the next boot is written down, and the user is told.  What is staged and not written down goes with the session.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_restore.h"

static bool of_kind(const struct vb_writer_metadata *m)
{
    return vb_r_method(m) == VB_RESTORE_AT_REBOOT || vb_r_method(m) == VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE;
}

int vb_r_reboot_ready(struct vb_session *s, const struct vb_writer_metadata *m, const char *full, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_r_method(m) == VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE)
        return 0; /* it is looked at when it turns out that they cannot be replaced */
    if (!s->env->reboot_ready)
        vb_fail(&why, VB_E_NOT_SUPPORTED, "its files can only be replaced at a restart of the machine");
    else if (s->env->reboot_ready(s->env->arg, &why) == 0)
        return 0;
    vb_context(&why, "component '%s' cannot be put back by us", full);
    return vb_error_move(err, &why);
}

bool vb_r_reboot_wanted(struct vb_session *s, const struct vb_writer_metadata *m, const struct vb_component *c,
                        const struct vb_msg *comp, bool alternate)
{
    if (!of_kind(m) || c->n_new_targets || c->target == VB_TARGET_ORIGINAL_LOCATION)
        return false;
    if (vb_r_method(m) == VB_RESTORE_AT_REBOOT)
        return true; /* a writer's target makes no difference */
    return !alternate && !vb_r_can_replace(s, comp);
}

char *vb_r_reboot_place(struct vb_session *s, const struct vb_component *c, const char *path, struct vb_error *err)
{
    if (!s->env->reboot_ready || s->env->reboot_ready(s->env->arg, err) < 0)
        return NULL;
    VB_AUTO_FREE char *dir = s->env->reboot_stage(s->env->arg, s->job->job_id, s->waiting.staged.n, path, err);
    if (!dir)
        return NULL;
    VB_AUTO_FREE char *clean = vb_path_clean(path);
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
    char *to = vb_path_join(dir, strrchr(clean, '/') + 1);
    vb_strv_add(&s->waiting.components, full);
    vb_strv_add(&s->waiting.staged, to);
    vb_strv_add(&s->waiting.final, clean);
    return to;
}

void vb_r_reboot_begin(struct vb_session *s)
{
    vb_strv_clear(&s->waiting.components);
    vb_strv_clear(&s->waiting.staged);
    vb_strv_clear(&s->waiting.final);
}

int vb_r_reboot_commit(struct vb_session *s, const struct vb_component *c, struct vb_error *err)
{
    struct vb_strv staged = { NULL, 0, 0 }, final = { NULL, 0, 0 };
    VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
    int rc = 0;
    for (size_t i = 0; i < s->waiting.components.n; i++)
        if (!strcmp(s->waiting.components.v[i], full)) {
            vb_strv_add(&staged, s->waiting.staged.v[i]);
            vb_strv_add(&final, s->waiting.final.v[i]);
        }
    if (staged.n && c->restore_status == VB_FILE_RESTORE_ALL) {
        rc = s->env->reboot_commit(s->env->arg, s->job->job_id, full, &staged, &final, err);
        if (rc == 0)
            vb_s_warn(s, NULL, "component '%s' waits for a restart of the machine: its files are replaced then, and nothing "
                               "has changed until now", full);
    }
    vb_strv_clear(&staged);
    vb_strv_clear(&final);
    return rc;
}

void vb_s_reboot_discard(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (s->restore && s->env->reboot_discard && s->env->reboot_discard(s->env->arg, s->job->job_id, &err) < 0)
        vb_s_warn(s, NULL, "staged files were not removed: %s", vb_error_text(&err));
}

void vb_s_reboot_report(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_strv lines = { NULL, 0, 0 };
    if (s->env->reboot_report && s->env->reboot_report(s->env->arg, &lines, &err) < 0)
        vb_s_warn(s, NULL, "what became of files that waited for the restart cannot be told: %s", vb_error_text(&err));
    for (size_t i = 0; i < lines.n; i++)
        vb_s_warn(s, NULL, "%s", lines.v[i]);
    vb_strv_clear(&lines);
}

void vb_r_reboot_asked(struct vb_session *s)
{
    for (size_t i = 0; s->bcd && i < s->bcd->n_writers; i++) {
        const struct vb_writer_components *r = &s->bcd->writers[i];
        const struct vb_writer_metadata *m = vb_r_stored(s, r);
        bool any = false;
        for (size_t k = 0; k < r->n_components; k++)
            any = any || (r->components[k].selected_for_restore && r->components[k].restore_status == VB_FILE_RESTORE_ALL);
        if (m && m->reboot_required && any)
            vb_s_warn(s, NULL, "writer '%s' asks for a restart of the machine after this restore", m->name);
    }
}
