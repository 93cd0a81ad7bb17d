/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_prepare.c - IDENTIFY and PREPARE: who is there, what was chosen, on which volumes it lies, and who
 * makes the shadow copy of each.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "agent/session_shadow.h"
#include "base/log.h"
#include "documents/context.h"
#include "documents/selection.h"

/* ---- IDENTIFY ---- */

static bool every_writer(const struct vb_sw *w)
{
    return w->policy != VB_POLICY_IGNORED;
}

static bool policy_names(const struct vb_job_writer *p, const struct vb_sw *w)
{
    const char *n = p->writer;
    return !strcmp(n, w->ref.name) || (w->ref.module && !strcmp(n, w->ref.module)) ||
           (w->name && !strcmp(n, w->name)) || (w->ref.instance && !strcmp(n, w->ref.instance)) ||
           (w->class_id && vb_guid_equal(n, w->class_id));
}

static void apply_policies(struct vb_session *s)
{
    for (size_t i = 0; i < s->n_writers; i++)
        for (size_t k = 0; k < s->job->n_writers; k++)
            if (policy_names(&s->job->writers[k], s->writers[i]))
                s->writers[i]->policy = s->job->writers[k].policy;
}

static void identified(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    apply_policies(s); /* once more: some are known by class id or name only now */
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_sw *w = s->writers[i];
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        if (w->policy == VB_POLICY_IGNORED) {
            vb_wm_free(w->wmd);
            w->wmd = NULL;
            vb_sw_stop(w, false);
        } else if (w->wmd) {
            vb_msg_add_str(&g, VB_F_CLASS, w->class_id);
            vb_msg_add_str(&g, VB_F_INSTANCE, w->instance_id);
            vb_msg_add_str(&g, VB_F_INSTANCE_NAME, w->instance_name);
            vb_msg_add_str(&g, VB_F_WRITER, w->name);
            vb_msg_add(&g, VB_F_XML, w->wmd_xml.data, w->wmd_xml.len);
            vb_msg_add_group(&m, VB_F_WMD, &g);
        } else { /* present, but Identify failed: told, not hidden */
            vb_msg_add_str(&g, VB_F_WRITER, w->name ? w->name : w->ref.name);
            vb_msg_add_str(&g, VB_F_CLASS, w->class_id);
            vb_msg_add_str(&g, VB_F_INSTANCE_NAME, w->instance_name ? w->instance_name : w->ref.instance);
            if (w->policy == VB_POLICY_REQUIRED)
                vb_msg_add_u64(&g, VB_F_REQUIRED, 1);
            vb_msg_add_error(&g, &w->failure);
            vb_msg_add_group(&m, VB_F_FAILED, &g);
            vb_sw_stop(w, true);
        }
    }
    s->phase = VB_PH_IDENTIFIED;
    vb_s_reply(s, &m);
}

void vb_s_identify(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_child_refs refs = { NULL, 0, 0 };
    if (vb_s_call(s, s->restore ? "InitializeForRestore" : "InitializeForBackup") < 0) {
        vb_error_copy(&err, &s->journal_error);
        vb_s_fail(s, &err);
        return;
    }
    if (s->env->writers(s->env->arg, s->job, &refs, &err) < 0) {
        vb_child_refs_clear(&refs);
        vb_s_fail(s, &err);
        return;
    }
    for (size_t i = 0; i < refs.n; i++)
        vb_sw_add(s, &refs.v[i]);
    vb_child_refs_clear(&refs);
    apply_policies(s);
    if (vb_s_call(s, "GatherWriterMetadata") < 0) {
        vb_error_copy(&err, &s->journal_error);
        vb_s_fail(s, &err);
        return;
    }
    vb_round(s, VB_EV_IDENTIFY, every_writer, identified);
}

/* ---- the document ---- */

static const struct vb_writer_metadata *stored_metadata(const struct vb_session *s,
                                                        const struct vb_writer_components *r)
{
    for (size_t i = 0; i < s->n_stored; i++) {
        const char *a = s->stored[i]->instance_name, *b = r->instance_name;
        if (vb_guid_equal(s->stored[i]->writer_id, r->writer_id) && !strcmp(a ? a : "", b ? b : ""))
            return s->stored[i];
    }
    return NULL;
}

int vb_s_take_bcd(struct vb_session *s, const struct vb_msg *m, bool restore, struct vb_error *err)
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(m, VB_F_BCD, &p, &n))
        return vb_fail(err, VB_E_PROTOCOL, "the backup components document is missing");
    struct vb_components *c = vb_components_read("the requester's document", p, n, err);
    if (!c)
        return -1;
    for (size_t i = 0; i < c->n_writers; i++) {
        struct vb_writer_components *r = &c->writers[i];
        struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
        const struct vb_writer_metadata *wm = restore ? stored_metadata(s, r) : w ? w->wmd : NULL;
        const char *name = r->name ? r->name : r->writer_id;
        if (!wm) {
            vb_fail(err, VB_E_OBJECT_NOT_FOUND, "writer '%s' %s", name,
                    restore ? "has no stored metadata document" : "is not among those that were identified");
            vb_components_free(c);
            return -1;
        }
        for (size_t k = 0; k < r->n_components; k++)
            if (!vb_wm_find(wm, r->components[k].logical_path, r->components[k].name)) {
                VB_AUTO_FREE char *full = vb_full_path(r->components[k].logical_path, r->components[k].name);
                vb_fail(err, VB_E_OBJECT_NOT_FOUND, "component '%s' is not in the metadata of writer '%s'", full, name);
                vb_components_free(c);
                return -1;
            }
        if (w) {
            vb_free_ptr(&r->instance_id);
            r->instance_id = vb_strdup(w->instance_id);
        }
    }
    vb_components_free(s->bcd);
    s->bcd = c;
    vb_free_ptr(&c->session_id);
    c->session_id = vb_strdup(s->session_id);
    c->restore = restore;
    return 0;
}

/* ---- volumes ---- */

enum vb_backup_type vb_s_type(const struct vb_session *s, const struct vb_component *c)
{
    enum vb_backup_type t = s->bcd->backup_type;
    bool builds = t == VB_BACKUP_INCREMENTAL || t == VB_BACKUP_DIFFERENTIAL || t == VB_BACKUP_LOG;
    return builds && !c->base_backup ? VB_BACKUP_FULL : t;
}

bool vb_s_needs_snapshot(const struct vb_session *s, const struct vb_component *c, const struct vb_fileset *f)
{
    switch (vb_s_type(s, c)) { /* the bit of this backup type (B-34, 1.7) */
    case VB_BACKUP_INCREMENTAL: return f->backup_type & VB_FSB_INCREMENTAL_SNAPSHOT;
    case VB_BACKUP_DIFFERENTIAL: return f->backup_type & VB_FSB_DIFFERENTIAL_SNAPSHOT;
    case VB_BACKUP_LOG: return f->backup_type & VB_FSB_LOG_SNAPSHOT;
    default: return f->backup_type & VB_FSB_FULL_SNAPSHOT;
    }
}

bool vb_s_one_file_system(const struct vb_wm_component *c)
{
    return vb_strv_has(&c->leave_out, "one-file-system:");
}

/* What is mounted below a file set and is none of its business (B-30).  Recorded under the path that is backed up. */
static void note_left_out(struct vb_session *s, const struct vb_mounts *mounts, const struct vb_fileset *fs)
{
    VB_AUTO_FREE char *from = vb_path_clean(fs->alternate_path ? fs->alternate_path : fs->path);
    for (size_t i = 0; i < mounts->n; i++) {
        const struct vb_mount *m = &mounts->v[i];
        if (!strcmp(m->point, from) || !vb_path_below(m->point, from) || !vb_mount_holds_data(m))
            continue;
        const char *rest = m->point + strlen(from);
        VB_AUTO_FREE char *path = vb_path_join(fs->path, rest + (*rest == '/'));
        vb_components_add_left_mount(s->bcd, path, m->device, m->fs_type);
    }
}

static int gather_volumes(struct vb_session *s, struct vb_error *err)
{
    struct vb_mounts mounts = { NULL, 0, 0 };
    int rc = s->env->mounts(s->env->arg, &mounts, err);
    for (size_t i = 0; rc == 0 && i < s->bcd->n_writers; i++) {
        const struct vb_writer_components *r = &s->bcd->writers[i];
        const struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
        for (size_t k = 0; rc == 0 && w && k < r->n_components; k++) {
            size_t n;
            struct vb_member_fileset *f = vb_member_filesets(w->wmd, r->components[k].logical_path,
                                                             r->components[k].name, vb_s_type(s, &r->components[k]), &n);
            for (size_t j = 0; rc == 0 && j < n; j++) {
                const struct vb_fileset *fs = f[j].fileset;
                if (vb_s_needs_snapshot(s, &r->components[k], fs))
                    rc = vb_volumes_add(&s->volumes, &mounts, fs->alternate_path ? fs->alternate_path : fs->path,
                                        fs->recursive && !vb_s_one_file_system(f[j].component), s->env->subvolume, s->env->arg, err);
                if (rc == 0 && fs->recursive && (vb_s_one_file_system(f[j].component) || !vb_s_needs_snapshot(s, &r->components[k], fs)))
                    note_left_out(s, &mounts, fs);
            }
            free(f);
        }
    }
    vb_mounts_clear(&mounts);
    return rc;
}

struct vb_sv *vb_s_volume_of(struct vb_session *s, const char *path)
{
    struct vb_sv *best = NULL;
    size_t len = 0;
    for (size_t i = 0; i < s->n_set; i++) {
        const char *root = s->set[i].vol->subvolume_root;
        if (vb_path_below(path, root) && (!best || strlen(root) > len)) {
            best = &s->set[i];
            len = strlen(root);
        }
    }
    return best;
}

/* ---- auto-recovery (S-12 to S-14) ---- */

/* Components with flag 1, and with flag 2 where the requester rolls back, may repair their shadow copies (S-13). */
static bool repairs(const struct vb_session *s, const struct vb_wm_component *c)
{
    return (c->flags & VB_CF_BACKUP_RECOVERY) ||
           ((c->flags & VB_CF_ROLLBACK_RECOVERY) && (s->attributes & VB_SA_ROLLBACK_RECOVERY));
}

static int ask_for_recovery(struct vb_session *s, struct vb_error *err)
{
    if (s->attributes & (VB_SA_NO_AUTORECOVERY | VB_SA_NO_WRITERS)) /* S-11 */
        return 0;
    for (size_t i = 0; i < s->bcd->n_writers; i++) {
        const struct vb_writer_components *r = &s->bcd->writers[i];
        const struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
        for (size_t k = 0; w && w->wmd && k < r->n_components; k++) {
            const struct vb_component *c = &r->components[k];
            size_t n;
            struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, vb_s_type(s, c), &n);
            for (size_t j = 0; j < n; j++)
                for (size_t v = 0; v < s->n_set && repairs(s, f[j].component); v++)
                    s->set[v].recovers = s->set[v].recovers || vb_s_lies_on(s, c, f[j].fileset, &s->set[v]);
            free(f);
        }
    }
    for (size_t v = 0; v < s->n_set && (s->attributes & VB_SA_TRANSPORTABLE); v++)
        if (s->set[v].recovers) {
            vb_fail(err, VB_E_UNSUPPORTED_CONTEXT, "a component on volume '%s' repairs its shadow copy, which excludes "
                    "'transportable'", s->set[v].vol->mount_point);
            vb_hint(err, "add the attribute 'no-autorecovery', or leave the component out");
            return -1;
        }
    return 0;
}

/* ---- choice of a provider per volume ---- */

/* Hardware before software before what the system has (S-25). */
static unsigned rank_of(uint64_t type)
{
    return type == VB_PROVIDER_HARDWARE ? 3 : type == VB_PROVIDER_SOFTWARE ? 2 : type == VB_PROVIDER_SYSTEM ? 1 : 0;
}

static void on_supports(struct vb_session *s, struct vb_pcall *c, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_sv *v = &s->set[c->volume];
    VB_AUTO_FREE char *why = m ? vb_msg_str(m, VB_F_REMARK) : NULL;
    uint32_t lacks = vb_sv_attributes(s, v) & ~(m ? (uint32_t)vb_msg_u64(m, VB_F_ATTRIBUTES, 0) : 0);
    if (err || !m || !vb_msg_u64(m, VB_F_SUPPORTED, 0)) {
        const char *text = err ? err->text : why ? why : "does not support it";
        vb_strv_take(&v->refusals, err ? vb_strdup(text) : vb_printf("provider '%s': %s", c->p->name, text));
        return;
    }
    if (vb_msg_u64(m, VB_F_HOLD, 0) == VB_HOLD_FREEZE && s->env->never_frozen) {
        const char *what = s->env->never_frozen(s->env->arg, v->vol->mount_point);
        if (what) {
            vb_strv_take(&v->refusals, vb_printf("provider '%s': it freezes the file system, and the one %s is never frozen",
                                                 c->p->name, what));
            return;
        }
    }
    if (lacks) { /* S-9 */
        VB_AUTO_BUF text = VB_BUF_INIT;
        vb_attributes_text(lacks, &text);
        vb_strv_take(&v->refusals, vb_printf("provider '%s' cannot honour '%s'", c->p->name, vb_buf_str(&text)));
        return;
    }
    if (vb_msg_u64(m, VB_F_CONSENT, VB_CONSENT_NONE) == VB_CONSENT_FREEZE && !s->job->allow_freeze) {
        vb_strv_take(&v->refusals, vb_printf("provider '%s': %s, which is not allowed (--allow-freeze)", c->p->name,
                                             why ? why : "the file system is frozen while it is copied"));
        return;
    }
    uint64_t hold = vb_msg_u64(m, VB_F_HOLD, 0), pref = vb_msg_u64(m, VB_F_PREFERENCE, 0);
    uint64_t level = vb_msg_u64(m, VB_F_CONSISTENCY, VB_CONSISTENCY_NONE);
    if (hold == VB_HOLD_NONE && level <= VB_CONSISTENCY_NONE)
        return; /* live reading under another name: ours is the loud one */
    /* With writers that hold, every provider but live reading reaches the application's level. */
    bool held = hold && !(s->attributes & VB_SA_NO_WRITERS);
    enum vb_consistency reach = held ? VB_CONSISTENCY_APPLICATION : (enum vb_consistency)level;
    enum vb_consistency need = s->job->min_consistency;
    if (need > VB_CONSISTENCY_APPLICATION)
        need = VB_CONSISTENCY_APPLICATION; /* the group's level is the requester's to judge */
    if (reach < need) {
        vb_strv_take(&v->refusals,
                     vb_printf("provider '%s' reaches only '%s'", c->p->name, vb_consistency_word(reach)));
        return;
    }
    unsigned rank = rank_of(vb_msg_u64(m, VB_F_TYPE, VB_PROVIDER_SOFTWARE));
    if (v->provider && (v->rank > rank || (v->rank == rank && v->preference >= pref)))
        return;
    v->provider = c->p;
    v->rank = rank;
    v->preference = pref;
    free(v->group);
    v->group = vb_msg_str(m, VB_F_GROUP);
    v->hold = hold;
    v->atomic = vb_msg_u64(m, VB_F_ATOMIC, 0);
    v->group_atomic = vb_msg_u64(m, VB_F_GROUP_ATOMIC, 0);
    v->per_tree = vb_msg_u64(m, VB_F_PER_TREE, 0);
    v->without_writers = level <= VB_CONSISTENCY_GROUP ? (enum vb_consistency)level : VB_CONSISTENCY_NONE;
    free(v->remark);
    v->remark = vb_strdup(why);
}

static bool takes_part(const struct vb_sw *w)
{
    return vb_sw_alive(w);
}

static void prepared(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    s->phase = VB_PH_PREPARED;
    if (vb_s_add_bcd(s, &m, &err) < 0) {
        vb_msg_clear(&m);
        vb_s_fail(s, &err);
        return;
    }
    vb_s_add_status(s, &m);
    vb_s_reply(s, &m);
}

static void fail_aborted(struct vb_session *s)
{
    vb_s_fail(s, &s->trouble);
}

static void fail_set(struct vb_session *s, const struct vb_error *why)
{
    vb_error_copy(&s->trouble, why);
    vb_s_abort_all(s, fail_aborted);
}

static void begun(struct vb_session *s)
{
    if (s->calls.failure.code != VB_OK) {
        fail_set(s, &s->calls.failure);
        return;
    }
    if (s->attributes & VB_SA_NO_WRITERS) { /* B-45: nobody hears of it */
        prepared(s);
        return;
    }
    if (vb_s_call(s, "PrepareForBackup") < 0) {
        fail_set(s, &s->journal_error);
        return;
    }
    vb_round(s, VB_EV_PREPARE_BACKUP, takes_part, prepared);
}

static void record_snapshots(struct vb_session *s)
{
    struct vb_components *c = s->bcd;
    vb_free_ptr(&c->snapshot_set_id);
    c->snapshot_set_id = vb_strdup(s->set_id);
    for (size_t i = 0; i < s->n_set; i++) {
        struct vb_sv *v = &s->set[i];
        VB_GROW(c->snapshots, c->n_snapshots, c->cap_snapshots);
        struct vb_snapshot_record *r = &c->snapshots[c->n_snapshots++];
        *r = (struct vb_snapshot_record){ vb_strdup(v->snapshot_id),
                                          vb_strdup(v->vol->mount_point),
                                          vb_strdup(v->vol->device),
                                          vb_strdup(v->vol->fs_type),
                                          vb_strdup(v->provider ? v->provider->name : v->refused ? NULL : "live"),
                                          NULL,
                                          vb_strdup(v->remark),
                                          v->atomic,
                                          0,
                                          0 };
    }
}

/* "component 'db' of writer 'app'": the first one whose data lie on the volume; caller frees. */
static char *component_on(const struct vb_session *s, const struct vb_volume *vol)
{
    for (size_t i = 0; i < s->bcd->n_writers; i++) {
        const struct vb_writer_components *r = &s->bcd->writers[i];
        const struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
        for (size_t k = 0; w && k < r->n_components; k++) {
            size_t n;
            const struct vb_component *c = &r->components[k];
            struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, vb_s_type(s, c), &n);
            bool found = false;
            for (size_t j = 0; j < n && !found; j++) {
                const struct vb_fileset *fs = f[j].fileset;
                const char *path = fs->alternate_path ? fs->alternate_path : fs->path;
                for (size_t t = 0; t < vol->trees.n && !found; t++)
                    found = vb_s_needs_snapshot(s, c, fs) &&
                            (vb_path_below(path, vol->trees.v[t]) || vb_path_below(vol->trees.v[t], path));
            }
            free(f);
            if (found) {
                VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
                return vb_printf("component '%s' of writer '%s'", full, w->name ? w->name : w->ref.name);
            }
        }
    }
    return vb_strdup("the job's data");
}

/* Only asked: nothing was begun and no writer was told, so the job may just be released (B-69). */
static void probed(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    for (size_t i = 0; i < s->n_providers; i++)
        vb_sp_stop(s->providers[i], false);
    record_snapshots(s);
    s->phase = VB_PH_ABORTED;
    if (vb_s_add_bcd(s, &m, &err) < 0) {
        vb_msg_clear(&m);
        vb_s_fail(s, &err);
        return;
    }
    vb_s_reply(s, &m);
}

/* Nobody has a shadow copy that recover could not know of: the records stand before the first call. */
static int record_choice(struct vb_session *s)
{
    for (size_t i = 0; i < s->n_set; i++) {
        struct vb_sv *v = &s->set[i];
        if (!v->provider)
            continue;
        VB_AUTO_FREE char *mp = vb_journal_escape(v->vol->mount_point);
        if (vb_s_journal(s, true, "snapshot id=%s set=%s provider=%s volume=%s", v->snapshot_id, s->set_id,
                         v->provider->name, mp) < 0)
            return -1;
        v->begun = true; /* from here on it is deleted at the end, whatever becomes of the set */
        vb_s_event(s, "call", "AddToSnapshotSet", NULL, NULL, NULL, 0);
    }
    return 0;
}

static void chosen(struct vb_session *s)
{
    bool probe = vb_msg_u64(&s->cmd, VB_F_PROBE, 0) != 0;
    for (size_t i = 0; i < s->n_set; i++) {
        struct vb_sv *v = &s->set[i];
        VB_AUTO_BUF why = VB_BUF_INIT;
        for (size_t k = 0; k < v->refusals.n; k++)
            vb_buf_addf(&why, "%s%s", k ? "; " : "", v->refusals.v[k]);
        if (!v->provider && s->only_provider) {
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            vb_fail(&err, VB_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, "provider '%s' does not take volume '%s' (%s): %s",
                    s->only_provider, v->vol->mount_point, v->vol->fs_type, vb_buf_str(&why));
            s->phase = VB_PH_ABORTED;
            vb_s_fail(s, &err);
            return;
        }
        if (!v->provider && (s->named_volumes || vb_sv_attributes(s, v))) { /* a live reading is no shadow copy */
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            vb_fail(&err, VB_E_VOLUME_NOT_SUPPORTED, "no provider makes such a shadow copy of volume '%s' (%s): %s",
                    v->vol->mount_point, v->vol->fs_type, v->refusals.n ? vb_buf_str(&why) : "there is none");
            vb_hint(&err, "'vbackup shadow volumes' prints which provider takes which volume, and its attributes");
            s->phase = VB_PH_ABORTED;
            vb_s_fail(s, &err);
            return;
        }
        if (!v->provider && (s->job->min_consistency > VB_CONSISTENCY_NONE || !s->job->allow_live)) {
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            VB_AUTO_FREE char *who = component_on(s, v->vol);
            vb_fail(&err, VB_E_VOLUME_NOT_SUPPORTED,
                    "%s lies on volume '%s' (%s), of which no provider can make a shadow copy (%s), and reading it live "
                    "is not allowed", who, v->vol->mount_point, v->vol->fs_type,
                    v->refusals.n ? vb_buf_str(&why) : "there is none");
            vb_hint(&err, "put the data on btrfs or xfs, or allow it to be read while it may change: --allow-live, or "
                          "'allow-live = yes' under [requester]");
            if (probe) {
                v->refused = true;
                free(v->remark);
                v->remark = vb_strdup(err.text);
                continue;
            }
            s->phase = VB_PH_ABORTED; /* nothing was sent to a writer yet: it may just be released (B-69) */
            vb_s_fail(s, &err);
            return;
        }
        if (!v->provider) {
            free(v->remark);
            v->remark = vb_printf("read live while it may change: no shadow copy of '%s' (%s) is possible%s%s",
                                  v->vol->mount_point, v->vol->fs_type, v->refusals.n ? ": " : "", vb_buf_str(&why));
            if (!probe)
                vb_s_warn(s, NULL, "volume '%s' is %s", v->vol->mount_point, v->remark);
            continue;
        }
        if (probe)
            continue;
        v->provider->in_set = true;
    }
    if (probe) {
        probed(s);
        return;
    }
    if (record_choice(s) < 0) {
        fail_set(s, &s->journal_error);
        return;
    }
    for (size_t i = 0; i < s->n_providers; i++)
        if (!s->providers[i]->in_set)
            vb_sp_stop(s->providers[i], false);
    record_snapshots(s);
    VB_AUTO_ERROR trouble = VB_ERROR_INIT;
    if (vb_s_shadow_begin(s, &trouble) < 0) {
        fail_set(s, &trouble);
        return;
    }
    vb_calls_begin(s);
    for (size_t i = 0; i < s->n_set; i++)
        if (s->set[i].provider)
            vb_calls_add(s, s->set[i].provider, "begin_prepare", i, NULL);
    vb_calls_go(s, s->env->limits.provider_prepare, NULL, begun);
}

void vb_s_prepare(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_strv names = { NULL, 0, 0 };
    if (vb_s_shadow_context(s, &err) < 0 || vb_s_take_bcd(s, &s->cmd, false, &err) < 0 ||
        (s->named_volumes ? vb_s_shadow_volumes(s, &err) : gather_volumes(s, &err)) < 0 ||
        s->env->providers(s->env->arg, &names, &err) < 0) {
        vb_strv_clear(&names);
        vb_s_fail(s, &err);
        return;
    }
    vb_guid_new(s->set_id);
    if (!vb_msg_u64(&s->cmd, VB_F_PROBE, 0) && vb_s_call(s, "StartSnapshotSet") < 0) {
        vb_strv_clear(&names);
        vb_error_copy(&err, &s->journal_error);
        vb_s_fail(s, &err);
        return;
    }
    if (!vb_msg_u64(&s->cmd, VB_F_PROBE, 0))
        vb_s_reboot_report(s);
    s->n_set = s->volumes.n;
    s->set = vb_alloc_n(s->n_set ? s->n_set : 1, sizeof *s->set);
    for (size_t i = 0; i < s->n_set; i++) {
        s->set[i].vol = &s->volumes.v[i];
        vb_guid_new(s->set[i].snapshot_id);
    }
    if (ask_for_recovery(s, &err) < 0) {
        vb_strv_clear(&names);
        s->phase = VB_PH_ABORTED; /* nothing was sent to a writer yet */
        vb_s_fail(s, &err);
        return;
    }
    vb_calls_begin(s);
    for (size_t k = 0; k < names.n; k++)
        for (size_t i = 0; i < s->n_set && (!s->only_provider || !strcmp(s->only_provider, names.v[k])); i++)
            vb_calls_add(s, vb_sp_get(s, names.v[k]), "supports", i, NULL);
    vb_strv_clear(&names);
    vb_calls_go(s, s->env->limits.provider_start, on_supports, chosen);
}
