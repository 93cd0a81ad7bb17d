/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_capture.c - CAPTURE and COMPLETE: what is read from where, and what the writers are told of it.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_internal.h"
#include "agent/session_shadow.h"
#include "documents/selection.h"

/* ---- where things are read ---- */

char *vb_s_read_path(struct vb_session *s, const char *path, bool *live)
{
    const struct vb_sv *v = vb_s_volume_of(s, path);
    *live = true;
    if (!v || !v->provider)
        return vb_strdup(path);
    size_t best = SIZE_MAX;
    for (size_t k = 0; k < v->map_from.n; k++)
        if (vb_path_below(path, v->map_from.v[k]) &&
            (best == SIZE_MAX || strlen(v->map_from.v[k]) > strlen(v->map_from.v[best])))
            best = k;
    if (best == SIZE_MAX)
        return NULL; /* the shadow copy does not hold it: never read live instead, silently */
    *live = false;
    size_t skip = strlen(v->map_from.v[best]);
    const char *rest = path + skip;
    while (*rest == '/')
        rest++;
    return *rest ? vb_path_join(v->map_to.v[best], rest) : vb_strdup(v->map_to.v[best]);
}

static int add_fileset(struct vb_session *s, struct vb_msg *comp, const struct vb_member_fileset *f, const char *path,
                       const char *source, bool snapshot, struct vb_error *err)
{
    const struct vb_fileset *fs = f->fileset;
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    bool live = true;
    VB_AUTO_FREE char *read = snapshot ? vb_s_read_path(s, source, &live) : vb_strdup(source);
    if (!read)
        return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "'%s' is in no shadow copy of the set", source);
    vb_msg_add_str(&g, VB_F_PATH, path);
    vb_msg_add_str(&g, VB_F_READ_PATH, read);
    vb_msg_add_str(&g, VB_F_FILESPEC, fs->filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, fs->recursive);
    vb_msg_add_u64(&g, VB_F_LIVE, live);
    vb_msg_add_u64(&g, VB_F_BACKUP_BITS, fs->backup_type);
    for (size_t i = 0; i < f->component->leave_out.n; i++)
        vb_msg_add_str(&g, VB_F_LEAVE_OUT, f->component->leave_out.v[i]);
    vb_msg_add_group(comp, VB_F_FILESET, &g);
    return 0;
}

int vb_s_add_filesets(struct vb_session *s, struct vb_msg *comp, const struct vb_component *c,
                      const struct vb_member_fileset *f, struct vb_error *err)
{
    const struct vb_fileset *fs = f->fileset;
    bool one_fs = vb_s_one_file_system(f->component);
    const char *source = fs->alternate_path ? fs->alternate_path : fs->path; /* B-49 */
    bool snapshot = vb_s_needs_snapshot(s, c, fs);
    if (add_fileset(s, comp, f, fs->path, source, snapshot, err) < 0)
        return -1;
    VB_AUTO_FREE char *clean = vb_path_clean(source);
    for (size_t i = 0; snapshot && fs->recursive && !one_fs && i < s->n_set; i++) {
        const char *mp = s->set[i].vol->mount_point;
        if (!strcmp(mp, clean) || !vb_path_below(mp, clean) || !strcmp(mp, "/"))
            continue;
        const char *below = mp + strlen(clean);
        while (*below == '/')
            below++;
        VB_AUTO_FREE char *path = vb_path_join(fs->path, below);
        if (add_fileset(s, comp, f, path, mp, true, err) < 0)
            return -1;
    }
    return 0;
}

/* Why a component is not to be captured: its writer was not there for it. */
static bool unusable(const struct vb_sw *w, const struct vb_component *c, struct vb_error *err)
{
    if (c->failure_code != VB_OK) {
        vb_fail(err, c->failure_code, "%s", c->failure_text ? c->failure_text : "its writer marked it as failed");
        return true;
    }
    if (w->failure.code == VB_OK || w->failure.code == VB_E_WRITER_PARTIAL_FAILURE)
        return false;
    /* A failed thaw leaves a shadow copy of lower consistency (recorded so); any earlier or later failure of the writer
     * means that nobody vouches for the data. */
    if (w->state == VB_WS_FAILED_AT_THAW)
        return false;
    vb_error_copy(err, &w->failure);
    return true;
}

static struct vb_component *find_named(struct vb_session *s, const struct vb_msg *g, struct vb_sw **w,
                                       struct vb_error *err)
{
    VB_AUTO_FREE char *class_id = vb_msg_str(g, VB_F_CLASS), *inst = vb_msg_str(g, VB_F_INSTANCE_NAME);
    VB_AUTO_FREE char *lp = vb_msg_str(g, VB_F_LOGICAL_PATH), *name = vb_msg_str(g, VB_F_NAME);
    *w = class_id ? vb_sw_find(s, class_id, inst) : NULL;
    struct vb_writer_components *r = *w ? vb_sw_record(*w) : NULL;
    struct vb_component *c = r && name ? vb_components_find(r, lp ? lp : "", name) : NULL;
    if (!c)
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "component '%s' is not explicit in this backup", name ? name : "?");
    return c;
}

static void identity(struct vb_msg *g, const struct vb_sw *w, const struct vb_component *c)
{
    vb_msg_add_str(g, VB_F_CLASS, w->class_id);
    vb_msg_add_str(g, VB_F_INSTANCE, w->instance_id);
    vb_msg_add_str(g, VB_F_INSTANCE_NAME, w->instance_name);
    vb_msg_add_str(g, VB_F_WRITER, w->name);
    vb_msg_add_str(g, VB_F_LOGICAL_PATH, c->logical_path ? c->logical_path : "");
    vb_msg_add_str(g, VB_F_NAME, c->name);
}

/* Adds the component to the spec, or, if it cannot be captured, its failure to the answer. */
static void add_component(struct vb_session *s, struct vb_sw *w, struct vb_component *c, const struct vb_msg *asked)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    size_t n = 0;
    identity(&g, w, c);
    vb_msg_add_u64(&g, VB_F_TYPE, (uint64_t)c->type);
    vb_msg_add_u64(&g, VB_F_CONSISTENCY, (uint64_t)c->consistency);
    struct vb_member_fileset *f = vb_member_filesets(w->wmd, c->logical_path, c->name, vb_s_type(s, c), &n);
    bool bad = unusable(w, c, &err);
    for (size_t i = 0; i < n && !bad; i++)
        bad = vb_s_add_filesets(s, &g, c, &f[i], &err) < 0;
    free(f);
    bad = bad || vb_s_add_changes(s, w, c, &g, &err) < 0;
    if (bad) {
        VB_AUTO_MSG fail = VB_MSG_INIT(0);
        identity(&fail, w, c);
        vb_msg_add_error(&fail, &err);
        vb_msg_add_u64(&fail, VB_F_CONSISTENCY, (uint64_t)c->consistency);
        vb_msg_add_u64(&fail, VB_F_COMPLETENESS, VB_FAILED);
        c->completeness = VB_FAILED;
        vb_msg_add_group(&s->mover_local, VB_F_COMPONENT, &fail);
        return;
    }
    for (size_t i = 0; i < w->wmd->n_excludes; i++) { /* writer-wide, beats every include (C-37) */
        VB_AUTO_MSG e = VB_MSG_INIT(0);
        vb_msg_add_str(&e, VB_F_PATH, w->wmd->excludes[i].path);
        vb_msg_add_str(&e, VB_F_FILESPEC, w->wmd->excludes[i].filespec);
        vb_msg_add_u64(&e, VB_F_RECURSIVE, w->wmd->excludes[i].recursive);
        vb_msg_add_group(&g, VB_F_EXCLUDE, &e);
    }
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t len;
    vb_field_iter_init(&it, asked);
    while (vb_field_next(&it, &tag, &p, &len))
        if (tag == VB_F_ROOT) /* of what it builds on */
            vb_msg_add(&g, tag, p, len);
    vb_msg_add_group(&s->mover_spec, VB_F_COMPONENT, &g);
    s->mover_count++;
}

/* ---- CAPTURE ---- */

/* What was read from a shadow copy that was lost meanwhile is not believed. */
static bool add_lost(struct vb_session *s, const struct vb_sw *w, struct vb_component *c, struct vb_msg *m)
{
    const struct vb_error *lost = vb_s_lost_below(s, w, c);
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    if (!lost)
        return false;
    if (s->env->forget_looks)
        s->env->forget_looks(s->env->arg); /* the capture believed what it read; what it remembers of it is all in there */
    identity(&g, w, c);
    vb_msg_add_error(&g, lost);
    vb_msg_add_u64(&g, VB_F_CONSISTENCY, (uint64_t)c->consistency);
    vb_msg_add_u64(&g, VB_F_COMPLETENESS, VB_FAILED);
    c->completeness = VB_FAILED;
    vb_msg_add_group(m, VB_F_COMPONENT, &g);
    return true;
}

static void captured(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    if (s->trouble.code != VB_OK) {
        vb_s_fail(s, &s->trouble); /* the phase stays: CAPTURE may be sent again on another stream */
        return;
    }
    vb_field_iter_init(&it, &s->mover_reply);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_COMPONENT)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_sw *w;
        struct vb_component *c = find_named(s, &g, &w, &err);
        if (c && add_lost(s, w, c, &m))
            continue;
        if (c) {
            uint64_t done = vb_msg_u64(&g, VB_F_COMPLETENESS, 0);
            uint64_t level = vb_msg_u64(&g, VB_F_CONSISTENCY, (uint64_t)c->consistency);
            c->completeness = done <= VB_FAILED ? (enum vb_completeness)done : VB_FAILED;
            if (level < (uint64_t)c->consistency)
                c->consistency = (enum vb_consistency)level; /* the reader may only lower it */
        }
        vb_msg_add(&m, VB_F_COMPONENT, p, n);
    }
    vb_field_iter_init(&it, &s->mover_local);
    while (vb_field_next(&it, &tag, &p, &n))
        vb_msg_add(&m, tag, p, n);
    s->phase = VB_PH_CAPTURED;
    vb_s_reply(s, &m);
}

static void read_to_the_end(struct vb_session *s)
{
    vb_s_watch_end(s, captured);
}

void vb_s_capture(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n, named = 0;
    VB_AUTO_MSG none = VB_MSG_INIT(0);
    vb_msg_clear(&s->mover_spec);
    vb_msg_clear(&s->mover_local);
    s->mover_spec.type = VB_M_CAPTURE;
    s->mover_count = 0;
    vb_error_clear(&s->trouble);
    vb_field_iter_init(&it, &s->cmd);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_COMPONENT) {
            vb_msg_add(&s->mover_spec, tag, p, n); /* NAMING_KEY, CUT_SEED, CUT_PARAMS, LEVEL */
            continue;
        }
        struct vb_msg g = vb_msg_view(p, n);
        struct vb_sw *w;
        struct vb_component *c = find_named(s, &g, &w, &err);
        if (!c) {
            vb_s_fail(s, &err);
            return;
        }
        add_component(s, w, c, &g);
        named++;
    }
    for (size_t i = 0; named == 0 && i < s->n_writers; i++) {
        struct vb_writer_components *r = vb_sw_record(s->writers[i]);
        for (size_t k = 0; r && s->writers[i]->wmd && k < r->n_components; k++)
            add_component(s, s->writers[i], &r->components[k], &none);
    }
    if (s->bcd->freeze_wall_ms)
        vb_msg_add_u64(&s->mover_spec, VB_F_WALL_MS, s->bcd->freeze_wall_ms); /* what changed later may not be in it */
    if (s->mover_count == 0) {
        vb_msg_clear(&s->mover_reply);
        captured(s);
        return;
    }
    vb_s_watch_begin(s);
    vb_mover_run(s, VB_CHILD_CAPTURE, read_to_the_end);
}

/* ---- COMPLETE ---- */

static bool gets_complete(const struct vb_sw *w)
{
    return vb_sw_alive(w) && w->thawed;
}

static void completed(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    s->phase = VB_PH_COMPLETED;
    vb_s_shadow_completed(s);
    if (vb_s_add_bcd(s, &m, &err) < 0) {
        vb_msg_clear(&m);
        vb_s_fail(s, &err);
        return;
    }
    vb_s_add_status(s, &m);
    vb_s_reply(s, &m);
}

/* SetBackupSucceeded: of the requester's document only the marks are taken, and only for explicit components (B-55). */
static int take_marks(struct vb_session *s, const struct vb_components *from, struct vb_error *err)
{
    for (size_t i = 0; i < from->n_writers; i++) {
        const struct vb_writer_components *r = &from->writers[i];
        const struct vb_sw *w = vb_sw_find(s, r->writer_id, r->instance_name);
        struct vb_writer_components *own = w ? vb_sw_record(w) : NULL;
        for (size_t k = 0; k < r->n_components; k++) {
            const struct vb_component *f = &r->components[k];
            struct vb_component *c = own ? vb_components_find(own, f->logical_path, f->name) : NULL;
            if (!c)
                return vb_fail(err, VB_E_OBJECT_NOT_FOUND, "component '%s' is not explicit in this backup", f->name);
            if (!f->backup_succeeded_set)
                continue;
            c->backup_succeeded_set = true;
            c->backup_succeeded = f->backup_succeeded;
            if (f->completeness != VB_COMPLETENESS_UNKNOWN)
                c->completeness = f->completeness;
            VB_AUTO_FREE char *full = vb_full_path(f->logical_path, f->name);
            VB_AUTO_FREE char *esc = vb_journal_escape(full);
            vb_s_journal(s, false, "call name=SetBackupSucceeded component=%s succeeded=%d", esc, f->backup_succeeded);
            vb_s_event(s, "call", "SetBackupSucceeded", f->backup_succeeded ? "yes" : "no", w, NULL, 0);
        }
    }
    return 0;
}

void vb_s_complete(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const unsigned char *p;
    size_t n;
    if (s->attributes & VB_SA_NO_WRITERS) { /* B-45 */
        vb_fail(&err, VB_E_BAD_STATE, "'BackupComplete' refused: the context of the set has no writers");
        vb_s_fail(s, &err);
        return;
    }
    if (vb_msg_bytes(&s->cmd, VB_F_BCD, &p, &n)) {
        struct vb_components *c = vb_components_read("the requester's document", p, n, &err);
        int rc = c ? take_marks(s, c, &err) : -1;
        vb_components_free(c);
        if (rc < 0) {
            vb_s_fail(s, &err);
            return;
        }
    }
    vb_s_call(s, "BackupComplete");
    vb_round(s, VB_EV_BACKUP_COMPLETE, gets_complete, completed);
}
