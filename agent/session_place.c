/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_place.c - RESTORE_FILES: where every file goes (sections 3.4, 3.5), and the copying.
 *
 * Order of precedence: new target, restore target set by the writer, restore method.  Whether files can
 * be replaced is looked at after PreRestore, for the whole component: all of them, or all to the alternate
 * location.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/session_restore.h"

/* ---- placing ---- */

/* Target of one root, or NULL with the reason. */
static char *place(struct vb_session *s, const struct vb_writer_metadata *m, struct vb_component *c,
                   const struct vb_msg *root, bool to_alternate, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_msg_str(root, VB_F_PATH), *spec = vb_msg_str(root, VB_F_FILESPEC);
    VB_AUTO_FREE char *given = vb_msg_str(root, VB_F_TARGET);
    bool recursive = vb_msg_u64(root, VB_F_RECURSIVE, 0);
    if (!path || path[0] != '/') {
        vb_fail(err, VB_E_PROTOCOL, "a root without an absolute path came");
        return NULL;
    }
    if (given)
        return VB_STEAL(given);
    char *to = vb_r_new_target(c, path, spec);
    if (to)
        return to;
    if (c->target == VB_TARGET_DIRECTED) {
        vb_fail(err, VB_E_NOT_SUPPORTED, "component '%s' has directed targets, which this version cannot place",
                c->name);
        return NULL;
    }
    if (!to_alternate)
        return vb_strdup(path);
    const struct vb_alternate_location *a = vb_r_alm(m, path, spec);
    if (!a) { /* */
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "file set '%s' in '%s' has no alternate location", spec ? spec : "*", path);
        return NULL;
    }
    to = vb_r_move(path, a->path, a->alternate_path);
    VB_GROW(c->used_alms, c->n_used_alms, c->cap_used_alms);
    c->used_alms[c->n_used_alms++] =
        (struct vb_placed){ vb_strdup(path), vb_strdup(spec ? spec : "*"), vb_strdup(to), recursive }; /* */
    (void)s;
    return to;
}

/* if-not-there: 0 nothing there, 1 something is, -1 error. */
static int anything_there(struct vb_session *s, const struct vb_writer_metadata *m, const struct vb_msg *comp,
                          bool alternate, struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    int there = 0;
    vb_field_iter_init(&it, comp);
    while (there == 0 && vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_ROOT)
            continue;
        struct vb_msg root = vb_msg_view(p, n);
        VB_AUTO_FREE char *path = vb_msg_str(&root, VB_F_PATH), *spec = vb_msg_str(&root, VB_F_FILESPEC);
        if (!path)
            continue;
        const struct vb_alternate_location *a = alternate ? vb_r_alm(m, path, spec) : NULL;
        if (alternate && !a)
            return 1; /* no alternate location counts as occupied */
        VB_AUTO_FREE char *where = a ? vb_r_move(path, a->path, a->alternate_path) : vb_strdup(path);
        there = s->env->exists(s->env->arg, where, spec ? spec : "*", vb_msg_u64(&root, VB_F_RECURSIVE, 0), err);
    }
    return there;
}

/* if-can-replace: every existing target could be replaced. */
bool vb_r_can_replace(struct vb_session *s, const struct vb_msg *comp)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, comp);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg root = vb_msg_view(p, n);
        VB_AUTO_FREE char *path = tag == VB_F_ROOT ? vb_msg_str(&root, VB_F_PATH) : NULL;
        VB_AUTO_FREE char *spec = tag == VB_F_ROOT ? vb_msg_str(&root, VB_F_FILESPEC) : NULL;
        if (path && !s->env->replaceable(s->env->arg, path, spec ? spec : "*", vb_msg_u64(&root, VB_F_RECURSIVE, 0)))
            return false;
    }
    return true;
}

static void copy_identity(struct vb_msg *to, const struct vb_msg *from)
{
    static const uint16_t TAGS[] = { VB_F_CLASS,  VB_F_INSTANCE,     VB_F_INSTANCE_NAME,
                                     VB_F_WRITER, VB_F_LOGICAL_PATH, VB_F_NAME };
    const unsigned char *p;
    size_t n;
    for (size_t i = 0; i < VB_COUNT(TAGS); i++)
        if (vb_msg_bytes(from, TAGS[i], &p, &n))
            vb_msg_add(to, TAGS[i], p, n);
}

static void answer_locally(struct vb_session *s, const struct vb_msg *comp, struct vb_component *c,
                           const struct vb_error *err, enum vb_file_restore_status status)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    copy_identity(&g, comp);
    vb_msg_add_error(&g, err);
    vb_msg_add_u64(&g, VB_F_RESTORE_STATUS, (uint64_t)status);
    vb_msg_add_u64(&g, VB_F_FILES, 0);
    vb_msg_add_u64(&g, VB_F_BYTES, 0);
    if (c)
        c->restore_status = status;
    vb_msg_add_group(&s->mover_local, VB_F_COMPONENT, &g);
}

static int add_to_spec(struct vb_session *s, const struct vb_writer_metadata *m, struct vb_component *c,
                       const struct vb_msg *comp, bool to_alternate, bool staged, struct vb_error *err)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, comp);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_ROOT) {
            vb_msg_add(&g, tag, p, n);
            continue;
        }
        struct vb_msg root = vb_msg_view(p, n);
        VB_AUTO_FREE char *path = staged ? vb_msg_str(&root, VB_F_PATH) : NULL;
        bool waits = path && path[0] == '/' && !vb_msg_has(&root, VB_F_TARGET);
        VB_AUTO_FREE char *to = waits ? vb_r_reboot_place(s, c, path, err) : place(s, m, c, &root, to_alternate, err);
        if (!to)
            return -1;
        VB_AUTO_MSG r = VB_MSG_INIT(0);
        if (!vb_msg_has(&root, VB_F_TARGET))
            vb_msg_add_str(&r, VB_F_TARGET, to);
        vb_buf_add(&r.body, p, n);
        vb_msg_add_group(&g, VB_F_ROOT, &r);
    }
    vb_msg_add_group(&s->mover_spec, VB_F_COMPONENT, &g);
    s->mover_count++;
    return 0;
}

static struct vb_component *find(struct vb_session *s, const struct vb_msg *comp, struct vb_writer_components **r)
{
    VB_AUTO_FREE char *class_id = vb_msg_str(comp, VB_F_CLASS), *inst = vb_msg_str(comp, VB_F_INSTANCE_NAME);
    VB_AUTO_FREE char *lp = vb_msg_str(comp, VB_F_LOGICAL_PATH), *name = vb_msg_str(comp, VB_F_NAME);
    *r = s->bcd && class_id ? vb_components_find_writer(s->bcd, class_id, inst && inst[0] ? inst : NULL) : NULL;
    return *r && name ? vb_components_find(*r, lp ? lp : "", name) : NULL;
}

/* One component of the command: into the spec, or answered at once. */
static void add_component(struct vb_session *s, const struct vb_msg *comp)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_writer_components *r;
    struct vb_component *c = find(s, comp, &r);
    const struct vb_writer_metadata *m = c ? vb_r_stored(s, r) : NULL;
    const struct vb_sw *w = c ? vb_sw_find(s, r->writer_id, r->instance_name) : NULL;
    if (!c || !m || !c->selected_for_restore) {
        VB_AUTO_FREE char *name = vb_msg_str(comp, VB_F_NAME);
        vb_fail(&err, VB_E_OBJECT_NOT_FOUND, "component '%s' was not selected before PreRestore",
                name ? name : "?"); /* */
        answer_locally(s, comp, c, &err, VB_FILE_RESTORE_NONE);
        return;
    }
    if (w && w->pre_restore &&
        w->failure.code != VB_OK) { /* the writer did not make room: nothing may be touched */
        vb_error_copy(&err, &w->failure);
        answer_locally(s, comp, c, &err, VB_FILE_RESTORE_NONE);
        return;
    }
    if (c->failure_code != VB_OK) {
        vb_fail(&err, c->failure_code, "%s", c->failure_text ? c->failure_text : "its writer marked it as failed");
        answer_locally(s, comp, c, &err, VB_FILE_RESTORE_NONE);
        return;
    }
    bool alternate = c->target == VB_TARGET_ALTERNATE ||
                     (c->target != VB_TARGET_ORIGINAL_LOCATION && vb_r_method(m) == VB_RESTORE_TO_ALTERNATE);
    /* On a repetition what is there may be our own work of the attempt before. */
    if (!alternate && vb_r_method(m) == VB_RESTORE_IF_NOT_THERE && c->target != VB_TARGET_ORIGINAL_LOCATION &&
        c->n_new_targets == 0 && vb_msg_u64(&s->cmd, VB_F_COUNT, 1) <= 1) {
        int there = anything_there(s, m, comp, false, &err);
        if (there > 0) {
            alternate = true;
            there = anything_there(s, m, comp, true, &err);
            if (there > 0) {
                vb_fail(&err, VB_E_EXISTS, "component '%s' is restored only if none of its files exists, and some do",
                        c->name);
                vb_hint(&err, "move the existing files away and restore again");
            }
        }
        if (there != 0) {
            answer_locally(s, comp, c, &err, VB_FILE_RESTORE_NONE);
            return;
        }
    }
    if (!alternate && vb_r_method(m) == VB_RESTORE_IF_CAN_REPLACE && m->n_alms &&
        c->target != VB_TARGET_ORIGINAL_LOCATION && c->n_new_targets == 0 && !vb_r_can_replace(s, comp))
        alternate = true; /* */
    bool staged = vb_r_reboot_wanted(s, m, c, comp, alternate);
    if (add_to_spec(s, m, c, comp, alternate, staged, &err) < 0)
        answer_locally(s, comp, c, &err, VB_FILE_RESTORE_NONE);
}

/* ---- RESTORE_FILES ---- */

static void begin_spec(struct vb_session *s)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_r_reboot_begin(s);
    vb_msg_clear(&s->mover_spec);
    s->mover_spec.type = VB_M_RESTORE_FILES;
    s->mover_count = 0;
    vb_field_iter_init(&it, &s->cmd);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag != VB_F_COMPONENT && tag != VB_F_OVERWRITE && tag != VB_F_KEEP_OWNER && tag != VB_F_TARGET)
            vb_msg_add(&s->mover_spec, tag, p, n);
    vb_msg_add_u64(&s->mover_spec, VB_F_OVERWRITE, s->job->overwrite); /* consent is the job's, not the command's */
    vb_msg_add_u64(&s->mover_spec, VB_F_KEEP_OWNER, geteuid() == 0);
}

static void reply_files(struct vb_session *s)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_REPLY);
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, &s->mover_local);
    while (vb_field_next(&it, &tag, &p, &n))
        vb_msg_add(&m, tag, p, n);
    if (s->phase == VB_PH_PRE_RESTORED)
        s->phase = VB_PH_RESTORED;
    vb_s_reply(s, &m);
}

static void copied(struct vb_session *s)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    if (s->trouble.code != VB_OK) {
        vb_s_fail(s, &s->trouble);
        return;
    }
    vb_field_iter_init(&it, &s->mover_reply);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_COMPONENT)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        struct vb_writer_components *r;
        struct vb_component *c = find(s, &g, &r);
        uint64_t st = vb_msg_u64(&g, VB_F_RESTORE_STATUS, VB_FILE_RESTORE_FAILED);
        if (c)
            c->restore_status = st <= VB_FILE_RESTORE_FAILED ? (enum vb_file_restore_status)st : VB_FILE_RESTORE_FAILED;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (c && vb_r_reboot_commit(s, c, &err) < 0) {
            answer_locally(s, &g, c, &err, VB_FILE_RESTORE_NONE);
            continue;
        }
        vb_msg_add(&s->mover_local, VB_F_COMPONENT, p, n);
    }
    reply_files(s);
}

static void copy(struct vb_session *s)
{
    if (s->service_error.code != VB_OK) { /* a running service would write into what we put back */
        vb_context(&s->service_error, "nothing was restored");
        vb_s_fail(s, &s->service_error);
        return;
    }
    if (s->mover_count == 0) {
        reply_files(s);
        return;
    }
    s->files_begun = true;
    vb_mover_run(s, VB_CHILD_RESTORE, copied);
}

/* A private restore: to other places, no writer takes part. */
static int private_restore(struct vb_session *s, struct vb_error *err)
{
    struct vb_field_iter it, roots;
    uint16_t tag, t2;
    const unsigned char *p, *q;
    size_t n, k;
    VB_AUTO_FREE char *base = vb_msg_str(&s->cmd, VB_F_TARGET);
    vb_msg_add_str(&s->mover_spec, VB_F_TARGET, base); /* nothing leaves it */
    vb_field_iter_init(&it, &s->cmd);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_COMPONENT)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        vb_field_iter_init(&roots, &g);
        while (vb_field_next(&roots, &t2, &q, &k)) {
            struct vb_msg root = vb_msg_view(q, k);
            if (t2 == VB_F_ROOT && !vb_msg_has(&root, VB_F_TARGET))
                return vb_fail(err, VB_E_BAD_STATE, "files would go to their original place without PreRestore");
        }
        vb_msg_add(&s->mover_spec, VB_F_COMPONENT, p, n);
        s->mover_count++;
    }
    return 0;
}

void vb_s_restore_files(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    begin_spec(s);
    vb_msg_clear(&s->mover_local);
    if (s->phase == VB_PH_NEW || s->phase == VB_PH_IDENTIFIED) {
        if (private_restore(s, &err) < 0)
            vb_s_fail(s, &err);
        else
            copy(s);
        return;
    }
    vb_field_iter_init(&it, &s->cmd);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        if (tag == VB_F_COMPONENT)
            add_component(s, &g);
    }
    if (s->mover_count)
        vb_r_stop_services(s, copy);
    else
        reply_files(s);
}
