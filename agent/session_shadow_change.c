/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow_change.c - revert and break: what a shadow copy is good for besides looking at it.
 *
 * A revert keeps what the volume held before as a shadow copy of its own.  That it is there afterwards is the proof
 * that the revert was done, whatever became of the provider's process meanwhile.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/session_shadow.h"
#include "base/log.h"

/* ---- revert ---- */

static bool never(const struct vb_session *s, const struct vb_sw *w)
{
    const struct vb_strv *l = s->env->never_revert;
    for (size_t i = 0; l && i < l->n; i++)
        if (!strcmp(l->v[i], w->ref.name) || (w->name && !strcmp(l->v[i], w->name)) ||
            (w->class_id && vb_guid_equal(l->v[i], w->class_id)))
            return true;
    return false;
}

static bool keeps_data_on(const struct vb_sw *w, const char *volume)
{
    for (size_t i = 0; w->wmd && i < w->wmd->n_components; i++)
        for (size_t k = 0; k < w->wmd->components[i].n_filesets; k++)
            if (vb_path_below(w->wmd->components[i].filesets[k].path, volume))
                return true;
    return false;
}

/* S-61 */
static int check_writers(const struct vb_session *s, const struct vb_shadow *x, bool force, struct vb_error *err)
{
    const char *volume = x->source ? x->source : x->mount_point;
    for (size_t i = 0; i < s->n_writers; i++) {
        const struct vb_sw *w = s->writers[i];
        if (!keeps_data_on(w, volume))
            continue;
        if (never(s, w)) {
            vb_fail(err, VB_E_GUARD, "volume '%s' holds data of writer '%s', and is never reverted", volume,
                    w->name ? w->name : w->ref.name);
            vb_hint(err, "take it out of 'never-revert' under [shadow] of that host, or restore from a backup");
            return -1;
        }
        if (!force) {
            vb_fail(err, VB_E_VOLUME_IN_USE, "volume '%s' holds data of writer '%s'", volume,
                    w->name ? w->name : w->ref.name);
            vb_hint(err, "stop the application, then revert with --force");
            return -1;
        }
    }
    return 0;
}

static void kept_gone(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int dir = vb_so_store(s, &err);
    if (dir < 0 || vb_shadow_remove(dir, s->shadow_op->kept->id, &err) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
}

static void settled(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    struct vb_shadow *x = &o->kept->v[0];
    const struct vb_shadow_found *f = NULL;
    for (size_t i = 0; i < o->n; i++)
        if (vb_guid_equal(o->found[i].id, x->id) && o->found[i].created_sec)
            f = &o->found[i];
    if (!f) {
        bool noted = false; /* the provider has it in its records: what it began is not settled */
        for (size_t i = 0; i < o->n; i++)
            noted = noted || vb_guid_equal(o->found[i].id, x->id);
        if (s->calls.failure.code == VB_OK && !noted) /* the provider was asked, and knows nothing of it */
            kept_gone(s);
        if (o->why.code == VB_OK)
            vb_fail(&o->why, VB_E_UNEXPECTED_PROVIDER_ERROR, "the old state of volume '%s' is not there", x->mount_point);
        vb_so_failed(s, &o->why);
        return;
    }
    struct stat st;
    bool behind = lstat(f->path, &st) < 0 && errno == ENOENT; /* not in its place yet */
    if (o->why.code != VB_OK && behind)
        vb_s_warn(s, NULL, "the volume is reverted; what comes behind is finished by the next call (%s)",
                  vb_error_text(&o->why));
    else if (o->why.code != VB_OK)
        vb_s_warn(s, NULL, "the revert was cut off (%s), and finished by a second process", vb_error_text(&o->why));
    o->kept->state = VB_SS_CREATED;
    vb_free_ptr(&o->kept->job); /* nobody's from here on */
    o->kept->created_ms = vb_loop_wall_ms(s->env->loop);
    x->path = vb_strdup(f->path);
    int dir = vb_so_store(s, &err);
    if (dir < 0 || vb_shadow_save(dir, o->kept, &err) < 0) {
        vb_so_failed(s, &err);
        return;
    }
    if (vb_msg_u64(&s->cmd, VB_F_DISCARD, 0) && !(o->why.code != VB_OK && behind)) {
        vb_shadow_set_free(o->set);
        o->set = VB_STEAL(o->kept);
        free(o->id);
        o->id = vb_strdup(o->set->v[0].id);
        free(o->provider);
        o->provider = vb_strdup(o->set->v[0].provider);
        vb_so_delete(s);
        return;
    }
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    vb_msg_add_str(&m, VB_F_KEEP, x->id);
    vb_msg_add_str(&m, VB_F_SET, o->kept->id);
    vb_so_done(s, &m);
}

static void reverted(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    if (s->calls.failure.code != VB_OK)
        vb_error_copy(&o->why, &s->calls.failure);
    /* Whatever it said: it may have failed behind the exchange.  If it died, a fresh process finishes what it began. */
    vb_so_query(s, o->provider, settled);
}

void vb_so_revert(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    bool force = vb_msg_u64(&s->cmd, VB_F_FORCE, 0) != 0;
    char id[VB_GUID_LEN + 1];
    if (vb_so_find(s, true, &err) < 0 || vb_so_check_persistent(s, "revert", &err) < 0 ||
        check_writers(s, vb_so_the_shadow(s), force, &err) < 0) {
        vb_so_failed(s, &err);
        return;
    }
    const struct vb_shadow *x = vb_so_the_shadow(s);
    struct vb_shadow_set *k = o->kept = vb_alloc(sizeof *k);
    o->provider = vb_strdup(x->provider);
    vb_guid_new(id);
    k->id = vb_strdup(id);
    k->host = vb_strdup(s->env->host);
    k->note = vb_printf("before the revert to %s", x->id);
    k->attributes = VB_CTX_NAS_ROLLBACK;
    k->state = VB_SS_PREPARING;
    k->by_revert = true;
    k->job = vb_strdup(s->job->job_id);
    k->count = 1;
    vb_guid_new(id);
    *vb_shadow_set_add(k) = (struct vb_shadow){ .id = vb_strdup(id),
                                                .mount_point = vb_strdup(x->mount_point),
                                                .source = vb_strdup(x->source),
                                                .device = vb_strdup(x->device),
                                                .fs_type = vb_strdup(x->fs_type),
                                                .provider = vb_strdup(x->provider) };
    int dir = vb_so_store(s, &err);
    if (dir < 0 || vb_shadow_save(dir, k, &err) < 0) {
        vb_so_failed(s, &err);
        return;
    }
    struct vb_msg f = VB_MSG_INIT(0);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, o->id);
    vb_msg_add_str(&f, VB_F_KEEP, id);
    vb_msg_add_str(&f, VB_F_SET, k->id);
    if (force)
        vb_msg_add_u64(&f, VB_F_FORCE, 1);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, o->provider), "revert", &f);
    vb_calls_go(s, s->env->limits.provider_prepare, NULL, reverted);
}

/* ---- break ---- */

static void broken(struct vb_session *s)
{
    struct vb_shadow_op *o = s->shadow_op;
    if (s->calls.failure.code != VB_OK) {
        vb_so_failed(s, &s->calls.failure);
        return;
    }
    if (vb_msg_u64(&s->cmd, VB_F_KEEP, 0)) {
        vb_so_succeeded(s);
        return;
    }
    free(o->provider);
    o->provider = vb_strdup(vb_so_the_shadow(s)->provider);
    vb_so_delete(s);
}

void vb_so_break(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_msg_str(&s->cmd, VB_F_PATH);
    bool bad = vb_so_find(s, true, &err) < 0 || vb_so_check_persistent(s, "break", &err) < 0;
    const struct vb_shadow *x = bad ? NULL : vb_so_the_shadow(s);
    if (x && x->exposed) {
        vb_fail(&err, VB_E_VOLUME_IN_USE, "shadow copy '%s' is exposed at '%s'", x->id, x->exposed);
        vb_hint(&err, "unexpose it first");
        bad = true;
    } else if (x && (!path || path[0] != '/')) {
        bad = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path for the copy", path ? path : "") < 0;
    }
    if (bad) {
        vb_so_failed(s, &err);
        return;
    }
    struct vb_msg f = VB_MSG_INIT(0);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, x->id);
    vb_msg_add_str(&f, VB_F_PATH, path);
    if (vb_msg_u64(&s->cmd, VB_F_LIVE, 0))
        vb_msg_add_u64(&f, VB_F_LIVE, 1);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, x->provider), "make_writable", &f);
    vb_calls_go(s, s->env->limits.provider_prepare, NULL, broken);
}
