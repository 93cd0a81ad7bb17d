/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_shadow.c - the set that a session makes, as something that may outlive it: context, named volumes, and
 * the record from before the first provider begins until the last shadow copy is deleted.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_shadow.h"
#include "base/log.h"
#include "documents/context.h"
#include "documents/selection.h"

#define MAX_SHADOWS 512u          /* per volume (S-24) */
#define MAX_CLIENT_ACCESSIBLE 64u

static int store_of(const struct vb_session *s)
{
    return s->env->shadow_store ? s->env->shadow_store(s->env->arg) : -1;
}

/* ---- PREPARE ---- */

int vb_s_shadow_context(struct vb_session *s, struct vb_error *err)
{
    s->attributes = (uint32_t)vb_msg_u64(&s->cmd, VB_F_ATTRIBUTES, VB_CTX_BACKUP);
    s->named_volumes = vb_msg_has(&s->cmd, VB_F_PATH);
    vb_free_ptr(&s->only_provider);
    s->only_provider = vb_msg_str(&s->cmd, VB_F_PROVIDER);
    if (vb_context_check(s->attributes, err) < 0)
        return -1;
    if (s->phase == VB_PH_NEW && !(s->attributes & VB_SA_NO_WRITERS))
        return vb_fail(err, VB_E_BAD_STATE, "'PrepareForBackup' refused: the session is 'new', and the writers of this "
                                            "context have not been asked yet");
    if (vb_context_kept(s->attributes) && store_of(s) < 0)
        return vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "persistent shadow copies need a place for their records");
    return 0;
}

static bool in_set(const struct vb_session *s, const struct vb_volume *v)
{
    for (size_t i = 0; i < s->volumes.n; i++)
        if (!strcmp(s->volumes.v[i].subvolume_root, v->subvolume_root))
            return true;
    return false;
}

/* 1: wholly on volumes of the set; 0: not, and *where says one that is missing; -1. */
static int lies_in_set(struct vb_session *s, const struct vb_mounts *mounts, const struct vb_writer_components *r,
                       const struct vb_component *c, char **where, struct vb_error *err)
{
    const struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
    struct vb_volumes need = { NULL, 0, 0 };
    size_t n = 0;
    struct vb_member_fileset *f =
        w ? vb_member_filesets(w->wmd, c->logical_path, c->name, vb_s_type(s, c), &n) : NULL;
    int rc = 1;
    for (size_t i = 0; rc == 1 && i < n; i++) {
        const struct vb_fileset *fs = f[i].fileset;
        if (vb_s_needs_snapshot(s, c, fs) &&
            vb_volumes_add(&need, mounts, fs->alternate_path ? fs->alternate_path : fs->path, fs->recursive,
                           s->env->subvolume, s->env->arg, err) < 0)
            rc = -1;
    }
    for (size_t i = 0; rc == 1 && i < need.n; i++)
        if (!in_set(s, &need.v[i])) {
            *where = vb_strdup(need.v[i].subvolume_root);
            rc = 0;
        }
    if (rc == 1 && need.n == 0 && n > 0)
        rc = 1; /* nothing of it needs a shadow copy */
    vb_volumes_clear(&need);
    free(f);
    return rc;
}

static int keep_component(struct vb_components *to, const struct vb_writer_components *r, const struct vb_component *c,
                          struct vb_error *err)
{
    struct vb_writer_components *w =
        vb_components_writer(to, r->writer_id, r->instance_id, r->instance_name, r->name);
    w->schema = r->schema;
    return vb_components_add(w, c->type, c->logical_path, c->name, err) ? 0 : -1;
}

static int prune(struct vb_session *s, const struct vb_mounts *mounts, struct vb_error *err)
{
    struct vb_components *from = s->bcd, *to = vb_components_new(s->job->host);
    int rc = 0;
    to->select_components = from->select_components;
    to->backup_type = from->backup_type;
    to->session_id = vb_strdup(s->session_id);
    for (size_t i = 0; rc == 0 && i < from->n_writers; i++)
        for (size_t k = 0; rc == 0 && k < from->writers[i].n_components; k++) {
            const struct vb_writer_components *r = &from->writers[i];
            const struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
            VB_AUTO_FREE char *where = NULL;
            int in = lies_in_set(s, mounts, r, &r->components[k], &where, err);
            VB_AUTO_FREE char *full = vb_full_path(r->components[k].logical_path, r->components[k].name);
            if (in < 0) {
                rc = -1;
            } else if (in) {
                rc = keep_component(to, r, &r->components[k], err);
            } else if (w && w->policy == VB_POLICY_REQUIRED) {
                rc = vb_fail(err, VB_E_WRITER_INCONSISTENT_SNAPSHOT,
                             "component '%s' of the required writer '%s' needs volume '%s' too", full,
                             r->name ? r->name : r->writer_id, where);
                vb_hint(err, "add the volume '%s' to the set", where);
            } else {
                vb_s_warn(s, w, "component '%s' of writer '%s' is left out: volume '%s' is not in the set", full,
                          r->name ? r->name : r->writer_id, where);
            }
        }
    if (rc < 0) {
        vb_components_free(to);
        return -1;
    }
    vb_components_free(from);
    s->bcd = to;
    return 0;
}

int vb_s_shadow_volumes(struct vb_session *s, struct vb_error *err)
{
    struct vb_mounts mounts = { NULL, 0, 0 };
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    int rc = s->env->mounts(s->env->arg, &mounts, err);
    vb_field_iter_init(&it, &s->cmd);
    while (rc == 0 && vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_PATH)
            continue;
        VB_AUTO_FREE char *path = vb_field_str(p, n);
        if (!path || path[0] != '/')
            rc = vb_fail(err, VB_E_USAGE, "'%s' is not an absolute path of a volume", path ? path : "");
        else if (s->env->is_there && !s->env->is_there(s->env->arg, path))
            rc = vb_fail(err, VB_E_OBJECT_NOT_FOUND, "volume '%s' does not exist", path);
        else
            rc = vb_volumes_add(&s->volumes, &mounts, path, false, s->env->subvolume, s->env->arg, err);
    }
    if (rc == 0)
        rc = prune(s, &mounts, err);
    vb_mounts_clear(&mounts);
    return rc;
}

/* ---- the record ---- */

static int check_limits(struct vb_session *s, int dir, struct vb_error *err)
{
    struct vb_shadow_sets all = { NULL, 0, 0 };
    unsigned max = s->env->max_shadows ? s->env->max_shadows : MAX_SHADOWS;
    unsigned max_client = s->env->max_client_accessible ? s->env->max_client_accessible : MAX_CLIENT_ACCESSIBLE;
    bool client = s->attributes & VB_SA_CLIENT_ACCESSIBLE;
    int rc = vb_shadow_load_all(dir, &all, err);
    for (size_t i = 0; rc == 0 && i < s->n_set; i++) {
        unsigned n = 0, n_client = 0;
        for (size_t k = 0; k < all.n; k++)
            for (size_t j = 0; j < all.v[k]->n; j++)
                if (all.v[k]->v[j].source && !strcmp(all.v[k]->v[j].source, s->set[i].vol->subvolume_root)) {
                    n++;
                    n_client += (all.v[k]->attributes & VB_SA_CLIENT_ACCESSIBLE) != 0;
                }
        if (n >= max || (client && n_client >= max_client)) {
            rc = vb_fail(err, VB_E_MAX_SNAPSHOTS, "volume '%s' has %u %sshadow copies, and %u are possible",
                         s->set[i].vol->subvolume_root, n >= max ? n : n_client, n >= max ? "" : "client-accessible ",
                         n >= max ? max : max_client);
            vb_hint(err, "delete the oldest one with 'vbackup shadow delete --oldest %s'",
                    s->set[i].vol->subvolume_root);
        }
    }
    vb_shadow_sets_clear(&all);
    return rc;
}

int vb_s_shadow_begin(struct vb_session *s, struct vb_error *err)
{
    int dir = store_of(s);
    if (dir < 0)
        return 0;
    if (check_limits(s, dir, err) < 0)
        return -1;
    vb_shadow_set_free(s->record);
    struct vb_shadow_set *r = s->record = vb_alloc(sizeof *r);
    r->id = vb_strdup(s->set_id);
    r->job = vb_strdup(s->job->job_id);
    r->host = vb_strdup(s->env->host);
    r->attributes = s->attributes;
    r->state = VB_SS_PREPARING;
    for (size_t i = 0; i < s->n_set; i++) {
        const struct vb_sv *v = &s->set[i];
        if (!v->provider)
            continue;
        r->attributes |= vb_sv_attributes(s, v);
        struct vb_shadow *x = vb_shadow_set_add(r);
        *x = (struct vb_shadow){ .id = vb_strdup(v->snapshot_id),
                                 .mount_point = vb_strdup(v->vol->mount_point),
                                 .source = vb_strdup(v->vol->subvolume_root),
                                 .device = vb_strdup(v->vol->device),
                                 .fs_type = vb_strdup(v->vol->fs_type),
                                 .provider = vb_strdup(v->provider->name) };
    }
    r->count = r->n;
    if (r->n == 0)
        return 0;
    return vb_shadow_save(dir, r, err);
}

static int take_documents(struct vb_session *s, struct vb_error *err)
{
    struct vb_shadow_set *r = s->record;
    vb_buf_reset(&r->bcd);
    if (vb_components_write(s->bcd, &r->bcd, err) < 0)
        return -1;
    if (r->n_wmd)
        return 0;
    for (size_t i = 0; i < s->n_writers; i++) {
        const struct vb_sw *w = s->writers[i];
        if (!w->wmd || !vb_sw_record(w))
            continue;
        VB_GROW(r->wmd, r->n_wmd, r->cap_wmd);
        r->wmd[r->n_wmd] = (struct vb_buf)VB_BUF_INIT;
        vb_buf_add(&r->wmd[r->n_wmd++], w->wmd_xml.data, w->wmd_xml.len);
    }
    return 0;
}

int vb_s_shadow_created(struct vb_session *s, struct vb_error *err)
{
    int dir = store_of(s);
    struct vb_shadow_set *r = s->record;
    if (dir < 0 || !r || r->n == 0)
        return 0;
    r->state = VB_SS_CREATED;
    r->created_ms = vb_loop_wall_ms(s->env->loop);
    for (size_t i = 0; i < s->n_set; i++) {
        struct vb_shadow *x = vb_shadow_set_find(r, s->set[i].snapshot_id);
        if (x && s->set[i].map_to.n) {
            free(x->path);
            x->path = vb_strdup(s->set[i].map_to.v[0]);
        }
    }
    bool kept = vb_context_kept(s->attributes);
    if (kept && take_documents(s, err) < 0)
        return -1;
    if (vb_shadow_save(dir, r, err) < 0)
        return -1;
    s->kept = kept;
    return 0;
}

void vb_s_shadow_completed(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int dir = store_of(s);
    if (!s->kept || !s->record || dir < 0)
        return;
    /* What a SHADOW call changed meanwhile stays: only the document is ours. */
    struct vb_shadow_set *now = vb_shadow_load(dir, s->record->id, &err);
    if (now) {
        vb_buf_reset(&now->bcd);
        if (vb_components_write(s->bcd, &now->bcd, &err) < 0 || vb_shadow_save(dir, now, &err) < 0)
            vb_log_error(VB_LOG_WARNING, &err);
        vb_shadow_set_free(now);
    }
}

void vb_s_shadow_released(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int dir = s->set_id[0] ? store_of(s) : -1;
    if (dir < 0 || s->kept)
        return;
    for (size_t i = 0; i < s->n_set; i++)
        if (s->set[i].provider && s->set[i].begun && !s->set[i].deleted)
            return; /* it stays in the record, as an orphan that can be deleted */
    if (vb_shadow_remove(dir, s->set_id, &err) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
}
