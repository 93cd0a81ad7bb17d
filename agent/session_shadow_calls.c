/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow_calls.c - the SHADOW command: one call at a time (S-22), and those that change one shadow copy.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_shadow.h"
#include "base/log.h"
#include "documents/context.h"

static void op_free(struct vb_shadow_op *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++) {
        free(o->found[i].id);
        free(o->found[i].set);
        free(o->found[i].mount_point);
        free(o->found[i].path);
        free(o->found[i].provider);
        free(o->found[i].stamp);
    }
    free(o->found);
    vb_strv_clear(&o->answered);
    vb_msg_clear(&o->failed);
    free(o->id);
    free(o->provider);
    free(o->pipe);
    free(o->stamp);
    vb_error_clear(&o->stream_error);
    vb_shadow_set_free(o->set);
    vb_shadow_set_free(o->kept);
    vb_error_clear(&o->why);
    free(o);
}

void vb_s_shadow_clear(struct vb_session *s)
{
    op_free(s->shadow_op);
    s->shadow_op = NULL;
    vb_shadow_set_free(s->record);
    s->record = NULL;
    vb_free_ptr(&s->only_provider);
    vb_free_ptr(&s->incoming.set);
    vb_free_ptr(&s->incoming.id);
    vb_free_ptr(&s->incoming.provider);
}

int vb_so_store(const struct vb_session *s, struct vb_error *err)
{
    int dir = s->env->shadow_store ? s->env->shadow_store(s->env->arg) : -1;
    if (dir < 0)
        vb_fail(err, VB_E_PREREQUISITE, "this agent keeps no records of shadow copies");
    return dir;
}

bool vb_so_alive(const struct vb_session *s, const struct vb_shadow_set *r)
{
    return r->job && (vb_guid_equal(r->job, s->job->job_id) || (s->env->job_alive && s->env->job_alive(s->env->arg, r->job)));
}

void vb_so_done(struct vb_session *s, struct vb_msg *m)
{
    if (s->shadow_op && s->shadow_op->next)
        vb_mover_stop(s);
    for (size_t i = 0; i < s->n_providers; i++) /* those of a set that is being made or was made are still needed */
        if (!s->providers[i]->in_set)
            vb_sp_stop(s->providers[i], false);
    if (s->shadow_op && s->shadow_op->own_set) {
        for (size_t i = 0; i < s->n_set; i++)
            vb_sv_clear(&s->set[i]);
        vb_free_ptr(&s->set);
        s->n_set = 0;
        vb_volumes_clear(&s->volumes);
    }
    op_free(s->shadow_op);
    s->shadow_op = NULL;
    vb_s_reply(s, m);
}

void vb_so_failed(struct vb_session *s, struct vb_error *err)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    vb_msg_add_error(&m, err);
    vb_so_done(s, &m);
}

void vb_so_succeeded(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    vb_so_done(s, &m);
}

/* ---- calls about one shadow copy ---- */

int vb_so_find(struct vb_session *s, bool needed, struct vb_error *err)
{
    struct vb_shadow_op *o = s->shadow_op;
    struct vb_shadow_sets all = { NULL, 0, 0 };
    o->id = vb_msg_str(&s->cmd, VB_F_SNAPSHOT);
    if (!o->id || !vb_guid_valid(o->id))
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "'%s' is not the id of a shadow copy", o->id ? o->id : "");
    int dir = vb_so_store(s, err);
    if (dir < 0 || vb_shadow_load_all(dir, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n && !o->set; i++)
        if (vb_shadow_set_find(all.v[i], o->id)) {
            o->set = all.v[i];
            all.v[i] = all.v[--all.n];
        }
    vb_shadow_sets_clear(&all);
    if (!o->set && needed)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy '%s'", o->id);
    return 0;
}

struct vb_shadow *vb_so_the_shadow(struct vb_session *s)
{
    return vb_shadow_set_find(s->shadow_op->set, s->shadow_op->id);
}

/* Made, and it outlives its requester: what expose, revert and the like may be asked of. */
int vb_so_check_persistent(struct vb_session *s, const char *call, struct vb_error *err)
{
    const struct vb_shadow_set *r = s->shadow_op->set;
    if (!(r->attributes & VB_SA_PERSISTENT) || r->state != VB_SS_CREATED) {
        vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "'%s' refused: shadow copy '%s' is %s", call, s->shadow_op->id,
                r->state != VB_SS_CREATED ? "not complete" : "not persistent");
        vb_hint(err, "make it with 'vbackup shadow create --persistent'");
        return -1;
    }
    return 0;
}

static int unexpose(struct vb_session *s, struct vb_error *err)
{
    struct vb_shadow *x = vb_so_the_shadow(s);
    int dir = vb_so_store(s, err);
    if (dir < 0 || !s->env->unexpose || s->env->unexpose(s->env->arg, x->exposed, err) < 0)
        return -1;
    vb_free_ptr(&x->exposed);
    return vb_shadow_save(dir, s->shadow_op->set, err);
}

static void deleted(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    int dir = vb_so_store(s, &err);
    if (s->calls.failure.code != VB_OK) {
        vb_so_failed(s, &s->calls.failure);
        return;
    }
    for (size_t i = 0; i < s->n_set; i++) /* one of this very session */
        if (vb_guid_equal(s->set[i].snapshot_id, o->id)) {
            s->set[i].deleted = true;
            (void)vb_s_journal(s, false, "deleted id=%s", s->set[i].snapshot_id);
        }
    if (o->set && vb_shadow_set_drop(o->set, o->id) &&
        (o->set->n ? vb_shadow_save(dir, o->set, &err) : vb_shadow_remove(dir, o->set->id, &err)) < 0) {
        vb_so_failed(s, &err);
        return;
    }
    vb_so_succeeded(s);
}

void vb_so_delete(struct vb_session *s)
{
    struct vb_msg f = VB_MSG_INIT(0);
    vb_msg_add_str(&f, VB_F_SNAPSHOT, s->shadow_op->id);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, s->shadow_op->provider), "delete", &f);
    vb_calls_go(s, s->env->limits.provider_prepare, NULL, deleted);
}

static void call_delete(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    int rc = vb_so_find(s, false, &err);
    if (rc == 0 && o->set) {
        const struct vb_shadow *x = vb_so_the_shadow(s);
        bool kept = vb_context_kept(o->set->attributes) && o->set->state == VB_SS_CREATED;
        o->provider = vb_strdup(x->provider);
        if (!kept && vb_so_alive(s, o->set) && !vb_guid_equal(o->set->job, s->job->job_id) &&
            !vb_msg_u64(&s->cmd, VB_F_FORCE, 0)) {
            rc = vb_fail(&err, VB_E_BUSY, "shadow copy '%s' belongs to job '%s', which is running", o->id, o->set->job);
            vb_hint(&err, "it goes when the job ends; cancel the job, or use --force");
        } else if (x->exposed) {
            rc = unexpose(s, &err);
        }
    } else if (rc == 0) {
        o->provider = vb_msg_str(&s->cmd, VB_F_PROVIDER);
        if (!o->provider)
            rc = vb_fail(&err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy '%s'", o->id);
    }
    if (rc < 0) {
        vb_so_failed(s, &err);
        return;
    }
    vb_so_delete(s);
}

static void call_expose(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *at = vb_msg_str(&s->cmd, VB_F_PATH);
    int rc = vb_so_find(s, true, &err), dir = vb_so_store(s, &err);
    struct vb_shadow *x = rc == 0 ? vb_so_the_shadow(s) : NULL;
    if (x && (rc = vb_so_check_persistent(s, "expose", &err)) == 0) {
        if (s->shadow_op->set->attributes & VB_SA_CLIENT_ACCESSIBLE)
            rc = vb_fail(&err, VB_E_UNSUPPORTED_CONTEXT, "'expose' refused: shadow copy '%s' is client-accessible", x->id);
        else if (x->exposed)
            rc = vb_fail(&err, VB_E_OBJECT_ALREADY_EXISTS, "shadow copy '%s' is exposed at '%s'", x->id, x->exposed);
        else if (!at || at[0] != '/')
            rc = vb_fail(&err, VB_E_USAGE, "'%s' is not an absolute path to expose a shadow copy at", at ? at : "");
        else if (!x->path || !s->env->expose)
            rc = vb_fail(&err, VB_E_NOT_SUPPORTED, "shadow copy '%s' has no path of its own", x->id);
        else
            rc = s->env->expose(s->env->arg, x->path, at, &err);
    }
    if (rc == 0) {
        x->exposed = vb_path_clean(at);
        rc = vb_shadow_save(dir, s->shadow_op->set, &err);
        if (rc < 0)
            (void)s->env->unexpose(s->env->arg, x->exposed, NULL);
    }
    if (rc < 0)
        vb_so_failed(s, &err);
    else
        vb_so_succeeded(s);
}

static void call_unexpose(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    int rc = vb_so_find(s, true, &err);
    struct vb_shadow *x = rc == 0 ? vb_so_the_shadow(s) : NULL;
    if (x && !x->exposed)
        rc = vb_fail(&err, VB_E_OBJECT_NOT_FOUND, "shadow copy '%s' is not exposed", x->id);
    if (rc == 0) {
        vb_msg_add_str(&m, VB_F_PATH, x->exposed);
        rc = unexpose(s, &err);
    }
    if (rc == 0) {
        vb_so_done(s, &m);
        return;
    }
    vb_msg_clear(&m);
    vb_so_failed(s, &err);
}

static void call_note(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int rc = vb_so_find(s, true, &err), dir = vb_so_store(s, &err);
    if (rc == 0) {
        struct vb_shadow_set *r = s->shadow_op->set;
        if (vb_msg_has(&s->cmd, VB_F_REMARK)) {
            free(r->note);
            r->note = vb_msg_str(&s->cmd, VB_F_REMARK);
        }
        if (vb_msg_has(&s->cmd, VB_F_SERVICE)) {
            free(r->service);
            r->service = vb_msg_str(&s->cmd, VB_F_SERVICE);
        }
        rc = vb_shadow_save(dir, r, &err);
    }
    if (rc < 0)
        vb_so_failed(s, &err);
    else
        vb_so_succeeded(s);
}

/* ---- the command ---- */

static const struct { const char *call; void (*run)(struct vb_session *s); } CALLS[] = {
    { "list", vb_so_list },     { "providers", vb_so_providers }, { "volumes", vb_so_volumes },
    { "documents", vb_so_documents }, { "delete", call_delete },  { "expose", call_expose },
    { "unexpose", call_unexpose },   { "note", call_note },   { "revert", vb_so_revert },
    { "break", vb_so_break },        { "export", vb_so_export }, { "import", vb_so_import },
    { "send", vb_so_send },          { "receive", vb_so_receive },
};

void vb_s_shadow(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *call = vb_msg_str(&s->cmd, VB_F_CALL);
    op_free(s->shadow_op);
    s->shadow_op = vb_alloc(sizeof *s->shadow_op);
    for (size_t i = 0; call && i < VB_COUNT(CALLS); i++)
        if (!strcmp(CALLS[i].call, call)) {
            VB_AUTO_FREE char *id = vb_msg_str(&s->cmd, VB_F_SNAPSHOT);
            if (vb_s_journal(s, true, "shadow call=%s id=%s", call, id && vb_guid_valid(id) ? id : "-") == 0) {
                CALLS[i].run(s);
            } else {
                vb_error_copy(&err, &s->journal_error);
                vb_so_failed(s, &err);
            }
            return;
        }
    vb_fail(&err, VB_E_PROTOCOL, "there is no call '%s' for shadow copies", call ? call : "");
    vb_so_failed(s, &err);
}
