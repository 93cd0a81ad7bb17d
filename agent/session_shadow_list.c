/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow_list.c - the calls that look: shadow copies, providers, volumes, documents.
 *
 * What really exists is the provider's word, whose it is the record's: a listing joins both.  A shadow copy that a
 * provider has and that no record and no living job claims is an orphan.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_shadow.h"
#include "base/log.h"
#include "documents/context.h"

/* ---- asking the providers ---- */

static void add_found(struct vb_session *s, const struct vb_msg *g, const char *provider)
{
    struct vb_shadow_op *o = s->shadow_op;
    struct vb_shadow_found f = { .id = vb_msg_str(g, VB_F_SNAPSHOT),
                                 .set = vb_msg_str(g, VB_F_SET),
                                 .mount_point = vb_msg_str(g, VB_F_PATH),
                                 .path = vb_msg_str(g, VB_F_SNAPSHOT_PATH),
                                 .provider = vb_strdup(provider),
                                 .stamp = vb_msg_str(g, VB_F_STAMP),
                                 .created_sec = vb_msg_u64(g, VB_F_CREATED_SEC, 0) };
    VB_GROW(o->found, o->n, o->cap);
    o->found[o->n++] = f;
}

static void on_query(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    if (err || !m) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_PROVIDER, c->p->name);
        vb_msg_add_error(&g, err);
        vb_msg_add_group(&s->shadow_op->failed, VB_F_FAILED, &g);
        return;
    }
    vb_strv_add(&s->shadow_op->answered, c->p->name);
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        if (tag == VB_F_SNAPSHOT)
            add_found(s, &g, c->p->name);
    }
}

void vb_so_query(struct vb_session *s, const char *provider, vb_step *next)
{
    struct vb_msg none = VB_MSG_INIT(0);
    vb_calls_begin(s);
    vb_calls_add_fields(s, vb_sp_get(s, provider), "query", &none);
    vb_calls_go(s, s->env->limits.provider_prepare, on_query, next);
}

/* Asks all that are enabled, and those that records name. */
static int query_all(struct vb_session *s, const struct vb_shadow_sets *sets, vb_step *next, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    if (s->env->providers(s->env->arg, &names, err) < 0) {
        vb_strv_clear(&names);
        return -1;
    }
    for (size_t i = 0; sets && i < sets->n; i++)
        for (size_t k = 0; k < sets->v[i]->n; k++)
            if (!vb_strv_has(&names, sets->v[i]->v[k].provider))
                vb_strv_add(&names, sets->v[i]->v[k].provider);
    vb_calls_begin(s);
    for (size_t i = 0; i < names.n; i++) {
        struct vb_msg none = VB_MSG_INIT(0);
        vb_calls_add_fields(s, vb_sp_get(s, names.v[i]), "query", &none);
    }
    vb_strv_clear(&names);
    vb_calls_go(s, s->env->limits.provider_start, on_query, next);
    return 0;
}

/* ---- list ---- */

/* A revert that was cut off: if the provider has finished it, what it kept is whole; if it never began, there is none. */
static void settle_revert(struct vb_session *s, int dir, struct vb_shadow_set *r)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_op *o = s->shadow_op;
    const struct vb_shadow_found *f = NULL;
    int rc = 0;
    if (!r->by_revert || vb_so_alive(s, r) || r->state == VB_SS_CREATED || r->n != 1)
        return;
    for (size_t i = 0; i < o->n; i++)
        if (vb_guid_equal(o->found[i].id, r->v[0].id))
            f = &o->found[i];
    if (f && f->created_sec) {
        r->state = VB_SS_CREATED;
        r->created_ms = f->created_sec * 1000;
        free(r->v[0].path);
        r->v[0].path = vb_strdup(f->path);
        vb_free_ptr(&r->job);
        rc = vb_shadow_save(dir, r, &err);
    } else if (!f && vb_strv_has(&o->answered, r->v[0].provider)) {
        rc = vb_shadow_remove(dir, r->id, &err);
        vb_shadow_set_drop(r, r->v[0].id);
    }
    if (rc < 0)
        vb_log_error(VB_LOG_WARNING, &err);
}

static void add_shadow(struct vb_session *s, const struct vb_shadow_set *r, const struct vb_shadow *x, struct vb_msg *m)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    struct vb_shadow_op *o = s->shadow_op;
    bool there = !vb_strv_has(&o->answered, x->provider); /* nobody to ask: the record's word */
    const char *path = x->path;
    for (size_t i = 0; i < o->n; i++)
        if (vb_guid_equal(o->found[i].id, x->id)) {
            o->found[i].known = there = true;
            vb_msg_add_str(&g, VB_F_STAMP, o->found[i].stamp);
            if (!path)
                path = o->found[i].path;
        }
    vb_msg_add_str(&g, VB_F_SNAPSHOT, x->id);
    vb_msg_add_str(&g, VB_F_SET, r->id);
    vb_msg_add_u64(&g, VB_F_COUNT, r->count);
    vb_msg_add_str(&g, VB_F_PATH, x->mount_point);
    vb_msg_add_str(&g, VB_F_SUBVOLUME, x->source);
    vb_msg_add_str(&g, VB_F_DEVICE, x->device);
    vb_msg_add_str(&g, VB_F_FS_TYPE, x->fs_type);
    vb_msg_add_str(&g, VB_F_PROVIDER, x->provider);
    vb_msg_add_str(&g, VB_F_PROVIDER_ID, vb_sp_get(s, x->provider)->id);
    vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, path);
    vb_msg_add_str(&g, VB_F_EXPOSED, x->exposed);
    vb_msg_add_str(&g, VB_F_HOST, r->host);
    vb_msg_add_str(&g, VB_F_SERVICE, r->service ? r->service : s->env->host);
    vb_msg_add_str(&g, VB_F_REMARK, r->note);
    vb_msg_add_u64(&g, VB_F_ATTRIBUTES, r->attributes | (x->exposed ? (uint32_t)VB_SA_EXPOSED_LOCALLY : 0));
    vb_msg_add_u64(&g, VB_F_WALL_MS, r->created_ms);
    vb_msg_add_u64(&g, VB_F_STATE, (uint64_t)r->state);
    vb_msg_add_str(&g, VB_F_JOB, r->job);
    vb_msg_add_u64(&g, VB_F_ACTIVE, there);
    if (!(vb_context_kept(r->attributes) && r->state == VB_SS_CREATED) && !vb_so_alive(s, r))
        vb_msg_add_u64(&g, VB_F_ORPHAN, 1);
    vb_msg_add_group(m, VB_F_SNAPSHOT, &g);
}

static void listed(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    struct vb_shadow_op *o = s->shadow_op;
    struct vb_shadow_sets sets = { NULL, 0, 0 };
    int dir = vb_so_store(s, &err);
    if (dir < 0 || vb_shadow_load_all(dir, &sets, &err) < 0) { /* read again: it may have changed meanwhile */
        vb_so_failed(s, &err);
        return;
    }
    for (size_t i = 0; i < sets.n; i++)
        settle_revert(s, dir, sets.v[i]);
    for (size_t i = 0; i < sets.n; i++)
        for (size_t k = 0; k < sets.v[i]->n; k++)
            add_shadow(s, sets.v[i], &sets.v[i]->v[k], &m);
    for (size_t i = 0; i < o->n; i++) {
        const struct vb_shadow_found *f = &o->found[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        if (f->known || !f->id)
            continue;
        vb_msg_add_str(&g, VB_F_SNAPSHOT, f->id);
        vb_msg_add_str(&g, VB_F_SET, f->set);
        vb_msg_add_u64(&g, VB_F_COUNT, 0);
        vb_msg_add_str(&g, VB_F_PATH, f->mount_point);
        vb_msg_add_str(&g, VB_F_PROVIDER, f->provider);
        vb_msg_add_str(&g, VB_F_PROVIDER_ID, vb_sp_get(s, f->provider)->id);
        vb_msg_add_str(&g, VB_F_SNAPSHOT_PATH, f->path);
        vb_msg_add_str(&g, VB_F_SERVICE, s->env->host);
        vb_msg_add_u64(&g, VB_F_WALL_MS, f->created_sec < UINT64_MAX / 1000 ? f->created_sec * 1000 : 0);
        vb_msg_add_u64(&g, VB_F_STATE, f->created_sec ? VB_SS_CREATED : VB_SS_UNKNOWN);
        vb_msg_add_u64(&g, VB_F_ACTIVE, 1);
        vb_msg_add_u64(&g, VB_F_ORPHAN, 1);
        vb_msg_add_group(&m, VB_F_SNAPSHOT, &g);
    }
    vb_shadow_sets_clear(&sets);
    vb_buf_add(&m.body, o->failed.body.data, o->failed.body.len);
    vb_so_done(s, &m);
}

void vb_so_list(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_sets sets = { NULL, 0, 0 };
    int dir = vb_so_store(s, &err);
    int rc = dir < 0 ? -1 : vb_shadow_load_all(dir, &sets, &err);
    if (rc == 0)
        rc = query_all(s, &sets, listed, &err);
    vb_shadow_sets_clear(&sets);
    if (rc < 0)
        vb_so_failed(s, &err);
}

/* ---- providers, volumes, documents ---- */

static void providers_known(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    for (size_t i = 0; i < s->shadow_op->answered.n; i++) {
        const struct vb_sp *p = vb_sp_get(s, s->shadow_op->answered.v[i]);
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_NAME, p->name);
        vb_msg_add_str(&g, VB_F_PROVIDER_ID, p->id);
        vb_msg_add_str(&g, VB_F_VERSION, p->version);
        vb_msg_add_u64(&g, VB_F_TYPE, p->type);
        vb_msg_add_u64(&g, VB_F_PREFERENCE, p->preference);
        vb_msg_add_group(&m, VB_F_PROVIDER, &g);
    }
    vb_buf_add(&m.body, s->shadow_op->failed.body.data, s->shadow_op->failed.body.len);
    vb_so_done(s, &m);
}

void vb_so_providers(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (query_all(s, NULL, providers_known, &err) < 0)
        vb_so_failed(s, &err);
}

static void on_supports(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_sv *v = &s->set[c->volume];
    VB_AUTO_FREE char *why = m ? vb_msg_str(m, VB_F_REMARK) : NULL;
    if (err || !m || !vb_msg_u64(m, VB_F_SUPPORTED, 0)) {
        vb_strv_take(&v->refusals, vb_printf("%s: %s", c->p->name, err ? err->text : why ? why : "no"));
        return;
    }
    uint64_t pref = vb_msg_u64(m, VB_F_PREFERENCE, 0);
    if (v->provider && v->preference >= pref)
        return;
    v->provider = c->p;
    v->preference = pref;
    v->hold = vb_msg_u64(m, VB_F_ATTRIBUTES, 0); /* in this call: what it can honour */
    free(v->remark);
    v->remark = vb_strdup(why);
}

static void volumes_known(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    for (size_t i = 0; i < s->n_set; i++) {
        const struct vb_sv *v = &s->set[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        VB_AUTO_BUF why = VB_BUF_INIT;
        for (size_t k = 0; !v->provider && k < v->refusals.n; k++)
            vb_buf_addf(&why, "%s%s", k ? "; " : "", v->refusals.v[k]);
        vb_msg_add_str(&g, VB_F_PATH, v->vol->mount_point);
        vb_msg_add_str(&g, VB_F_SUBVOLUME, v->vol->subvolume_root);
        vb_msg_add_str(&g, VB_F_DEVICE, v->vol->device);
        vb_msg_add_str(&g, VB_F_FS_TYPE, v->vol->fs_type);
        if (v->provider) {
            vb_msg_add_str(&g, VB_F_PROVIDER, v->provider->name);
            vb_msg_add_u64(&g, VB_F_ATTRIBUTES, v->hold);
        }
        vb_msg_add_str(&g, VB_F_REMARK, v->provider ? v->remark : why.len ? vb_buf_str(&why) : NULL);
        vb_msg_add_group(&m, VB_F_VOLUME, &g);
    }
    vb_so_done(s, &m);
}

void vb_so_volumes(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_mounts mounts = { NULL, 0, 0 };
    struct vb_strv names = { NULL, 0, 0 };
    if (s->n_set || s->volumes.n) {
        vb_fail(&err, VB_E_BAD_STATE, "'volumes' refused: this job has a set of its own");
        vb_so_failed(s, &err);
        return;
    }
    int rc = s->env->mounts(s->env->arg, &mounts, &err);
    if (rc == 0)
        rc = s->env->providers(s->env->arg, &names, &err);
    s->shadow_op->own_set = true;
    for (size_t i = 0; rc == 0 && i < mounts.n && s->volumes.n < VB_MAX_VOLUMES; i++)
        if (vb_mount_holds_data(&mounts.v[i]) && vb_mounts_find(&mounts, mounts.v[i].point) == &mounts.v[i])
            rc = vb_volumes_add(&s->volumes, &mounts, mounts.v[i].point, false, s->env->subvolume, s->env->arg, &err);
    if (rc == 0) {
        s->n_set = s->volumes.n;
        s->set = vb_alloc_n(s->n_set ? s->n_set : 1, sizeof *s->set);
        vb_calls_begin(s);
        for (size_t i = 0; i < s->n_set; i++) {
            s->set[i].vol = &s->volumes.v[i];
            vb_guid_new(s->set[i].snapshot_id);
        }
        for (size_t k = 0; k < names.n; k++)
            for (size_t i = 0; i < s->n_set; i++)
                vb_calls_add(s, vb_sp_get(s, names.v[k]), "supports", i, NULL);
        vb_calls_go(s, s->env->limits.provider_start, on_supports, volumes_known);
    }
    vb_mounts_clear(&mounts);
    vb_strv_clear(&names);
    if (rc < 0)
        vb_so_failed(s, &err);
}

void vb_so_documents(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    VB_AUTO_FREE char *id = vb_msg_str(&s->cmd, VB_F_SET), *only = vb_msg_str(&s->cmd, VB_F_SNAPSHOT);
    int dir = vb_so_store(s, &err);
    struct vb_shadow_set *r = dir < 0 ? NULL : vb_shadow_load(dir, id ? id : "", &err);
    if (!r) {
        vb_so_failed(s, &err);
        return;
    }
    if (only)
        vb_shadow_set_only(r, only);
    vb_shadow_encode(r, &m);
    vb_shadow_set_free(r);
    vb_so_done(s, &m);
}
