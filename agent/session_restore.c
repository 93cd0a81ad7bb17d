/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_restore.c - PRE_RESTORE and POST_RESTORE: section 3.1 on this host, its services, and what is owed
 * whatever happens (R-25, R-40, D-62).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/session_restore.h"
#include "documents/selection.h"

/* ---- services ---- */

static void next_service(struct vb_session *s)
{
    if (s->queue.n == 0) {
        vb_step *next = s->after_service;
        s->after_service = NULL;
        if (next)
            next(s);
        return;
    }
    const char *name = s->queue.v[0];
    VB_AUTO_FREE char *e = vb_journal_escape(name);
    if (vb_s_journal(s, true, "service %s name=%s", s->queue_start ? "start" : "stop", e) < 0 && !s->queue_start) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_error_copy(&err, &s->journal_error);
        vb_session_service_done(s, &err); /* not stopped: nobody would know that it has to be started again */
        return;
    }
    if (!s->queue_start && !vb_strv_has(&s->stopped, name))
        vb_strv_add(&s->stopped, name); /* owed from here on, even if stopping fails half way */
    s->env->service(s->env->arg, name, s->queue_start);
}

void vb_session_service_done(struct vb_session *s, const struct vb_error *err)
{
    if (!s->after_service || s->queue.n == 0)
        return;
    const char *name = s->queue.v[0];
    vb_s_event(s, "service", name, err ? "failed" : s->queue_start ? "started" : "stopped", NULL, err, 0);
    if (err) {
        vb_s_warn(s, NULL, "service '%s' could not be %s: %s", name, s->queue_start ? "started" : "stopped", err->text);
        if (s->service_error.code == VB_OK)
            vb_error_copy(&s->service_error, err);
    }
    for (size_t i = 0; s->queue_start && i < s->stopped.n; i++)
        if (!strcmp(s->stopped.v[i], name)) {
            free(s->stopped.v[i]);
            s->stopped.v[i] = s->stopped.v[--s->stopped.n];
        }
    free(s->queue.v[0]);
    s->queue.n--;
    memmove(s->queue.v, s->queue.v + 1, s->queue.n * sizeof *s->queue.v);
    vb_s_post(s, next_service);
}

void vb_s_services(struct vb_session *s, const struct vb_strv *names, bool start, vb_step *next)
{
    vb_strv_clear(&s->queue);
    vb_error_clear(&s->service_error);
    for (size_t i = 0; i < names->n; i++)
        vb_strv_add(&s->queue, names->v[i]);
    s->queue_start = start;
    s->after_service = next;
    vb_s_post(s, next_service);
}

/* ---- who is restored how ---- */

const struct vb_writer_metadata *vb_r_stored(const struct vb_session *s, const struct vb_writer_components *r)
{
    for (size_t i = 0; i < s->n_stored; i++) {
        const char *a = s->stored[i]->instance_name, *b = r->instance_name;
        if (vb_guid_equal(s->stored[i]->writer_id, r->writer_id) && !strcmp(a ? a : "", b ? b : ""))
            return s->stored[i];
    }
    return NULL;
}

enum vb_restore_method vb_r_method(const struct vb_writer_metadata *m)
{
    return m->has_restore_method ? m->method : VB_RESTORE_IF_CAN_REPLACE; /* two real ones have none */
}

static bool selected(const struct vb_writer_components *r)
{
    for (size_t k = 0; r && k < r->n_components; k++)
        if (r->components[k].selected_for_restore)
            return true;
    return false;
}

static const struct vb_writer_metadata *stored_of(const struct vb_sw *w)
{
    const struct vb_writer_components *r = vb_sw_record(w);
    return r ? vb_r_stored(w->s, r) : NULL;
}

/* no selected component or "never" means no restore events. */
static bool gets_pre_restore(const struct vb_sw *w)
{
    const struct vb_writer_metadata *m = stored_of(w);
    return w->wmd && m && selected(vb_sw_record(w)) && m->writer_restore != VB_WRITER_RESTORE_NEVER;
}

/* A writer whose host died meanwhile gets it through a fresh one (W-35). */
static bool gets_post_restore(const struct vb_sw *w)
{
    const struct vb_writer_metadata *m = stored_of(w);
    if (!w->pre_restore || w->post_restore)
        return false;
    return !m || m->writer_restore != VB_WRITER_RESTORE_IF_REPLACE_FAILS || w->replace_failed || w->s->ending;
}

/* ---- checks before anything is touched ---- */

static const struct vb_placed *placed(const struct vb_placed *v, size_t n, const char *path, const char *filespec)
{
    for (size_t i = 0; i < n; i++)
        if (vb_path_below(path, v[i].path) && (!filespec || !v[i].filespec || !strcmp(filespec, v[i].filespec)))
            return &v[i];
    return NULL;
}

char *vb_r_move(const char *path, const char *from, const char *to)
{
    const char *rest = path + strlen(from);
    while (*rest == '/')
        rest++;
    return *rest ? vb_path_join(to, rest) : vb_strdup(to);
}

const struct vb_alternate_location *vb_r_alm(const struct vb_writer_metadata *m, const char *path, const char *filespec)
{
    for (size_t i = 0; i < m->n_alms; i++)
        if (vb_path_below(path, m->alms[i].path) && (!filespec || !strcmp(filespec, m->alms[i].filespec)))
            return &m->alms[i];
    return NULL;
}

char *vb_r_new_target(const struct vb_component *c, const char *path, const char *filespec)
{
    const struct vb_placed *p = placed(c->new_targets, c->n_new_targets, path, filespec);
    return p ? vb_r_move(path, p->path, p->where) : NULL;
}

static int check_method(struct vb_session *s, const struct vb_writer_metadata *m, const char *full, struct vb_error *err)
{
    const char *why = NULL;
    switch (vb_r_method(m)) {
    case VB_RESTORE_UNDEFINED:
        why = "its writer names no restore method, which is an error of the writer";
        break; /* */
    case VB_RESTORE_AT_REBOOT:
    case VB_RESTORE_AT_REBOOT_IF_CANNOT_REPLACE: return vb_r_reboot_ready(s, m, full, err);
    case VB_RESTORE_CUSTOM: why = "its writer wants a restore through its own interface"; break; /* */
    case VB_RESTORE_STOP_RESTORE_START:
    case VB_RESTORE_RESTORE_STOP_START:
        why = m->service ? NULL : "its writer names no service to stop and start";
        break;
    default: break;
    }
    if (!why)
        return 0;
    vb_fail(err, VB_E_NOT_SUPPORTED, "component '%s' cannot be put back by us: %s", full, why);
    vb_hint(err, "restore it to another place with --target and move the files by hand");
    return -1;
}

/* Existing data are not overwritten without consent (guard); if-not-there decides by itself. */
static int check_guard(struct vb_session *s, const struct vb_writer_metadata *m, const struct vb_component *c,
                       const char *full, struct vb_error *err)
{
    size_t n;
    int rc = 0;
    if (s->job->overwrite || vb_r_method(m) == VB_RESTORE_IF_NOT_THERE)
        return 0;
    struct vb_member_fileset *f = vb_member_filesets(m, c->logical_path, c->name, VB_BACKUP_UNDEFINED, &n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct vb_fileset *fs = f[i].fileset;
        if (c->restore_subcomponents.n) { /* only the named ones, and what is below them */
            VB_AUTO_FREE char *own = vb_full_path(f[i].component->logical_path, f[i].component->name);
            bool named = false;
            for (size_t k = 0; k < c->restore_subcomponents.n; k++)
                named = named || !strcmp(own, c->restore_subcomponents.v[k]) ||
                        vb_is_ancestor(c->restore_subcomponents.v[k], f[i].component->logical_path);
            if (!named)
                continue;
        }
        VB_AUTO_FREE char *to = vb_r_new_target(c, fs->path, fs->filespec);
        const struct vb_alternate_location *a =
            !to && vb_r_method(m) == VB_RESTORE_TO_ALTERNATE ? vb_r_alm(m, fs->path, fs->filespec) : NULL;
        const char *where = to ? to : a ? a->alternate_path : fs->path;
        int there = s->env->exists(s->env->arg, where, fs->filespec, fs->recursive, err);
        if (there < 0)
            rc = -1;
        if (there > 0) {
            rc = vb_fail(err, VB_E_GUARD, "component '%s' would overwrite existing data: '%s' in '%s'", full,
                         fs->filespec, where);
            vb_hint(err, "move the data away, restore elsewhere with --target, or consent with --overwrite");
        }
    }
    free(f);
    return rc;
}

static int check_all(struct vb_session *s, struct vb_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < s->bcd->n_writers; i++) {
        const struct vb_writer_components *r = &s->bcd->writers[i];
        const struct vb_writer_metadata *m = vb_r_stored(s, r);
        for (size_t k = 0; k < r->n_components; k++) {
            const struct vb_component *c = &r->components[k];
            if (!c->selected_for_restore)
                continue;
            VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
            n++;
            if (m->writer_restore != VB_WRITER_RESTORE_NEVER && !vb_sw_find(s, r->writer_id, r->instance_name)) {
                vb_fail(err, VB_E_OBJECT_NOT_FOUND,
                        "writer '%s' of component '%s' is not here, and it must take part in the restore", m->name,
                        full); /* */
                vb_hint(err, "configure the writer on this host, or restore the files elsewhere with --target");
                return -1;
            }
            if (c->target != VB_TARGET_ORIGINAL_LOCATION && check_method(s, m, full, err) < 0)
                return -1;
            if (check_guard(s, m, c, full, err) < 0)
                return -1;
        }
    }
    if (n == 0)
        return vb_fail(err, VB_E_BAD_STATE, "no component is selected for the restore");
    return 0;
}

/* ---- PRE_RESTORE ---- */

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
    vb_s_reply(s, &m);
}

static void pre_restored(struct vb_session *s)
{
    s->phase = VB_PH_PRE_RESTORED;
    answer(s);
}

static int take_stored(struct vb_session *s, struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p, *xml;
    size_t n, len;
    vb_field_iter_init(&it, &s->cmd);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_WMD)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        if (!vb_msg_bytes(&g, VB_F_XML, &xml, &len))
            return vb_fail(err, VB_E_PROTOCOL, "a stored metadata document is missing in its group");
        struct vb_writer_metadata *m = vb_wm_read("stored metadata document", xml, len, err);
        if (!m)
            return -1;
        VB_GROW(s->stored, s->n_stored, s->cap_stored);
        s->stored[s->n_stored++] = m;
    }
    return 0;
}

/* Writers learn of the user's consent by the word "overwrite" in the restore options of their records (writer.h): they
 * may then stop a server, or move data aside. */
static void pass_consent(struct vb_session *s)
{
    for (size_t i = 0; s->job->overwrite && i < s->bcd->n_writers; i++)
        for (size_t k = 0; k < s->bcd->writers[i].n_components; k++) {
            struct vb_component *c = &s->bcd->writers[i].components[k];
            char *options = c->restore_options ? vb_printf("%s overwrite", c->restore_options) : vb_strdup("overwrite");
            free(c->restore_options);
            c->restore_options = options;
        }
}

void vb_s_pre_restore(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (take_stored(s, &err) < 0 || vb_s_take_bcd(s, &s->cmd, true, &err) < 0 || check_all(s, &err) < 0) {
        vb_s_fail(s, &err);
        return;
    }
    vb_s_reboot_report(s);
    pass_consent(s);
    VB_AUTO_BUF xml = VB_BUF_INIT;
    if (vb_components_write(s->bcd, &xml, &err) < 0) {
        vb_s_fail(s, &err);
        return;
    }
    /* PostRestore is owed from here on, whoever sends it. */
    if (s->env->keep(s->env->arg, VB_KEPT_BCD, xml.data, xml.len, &err) < 0) {
        vb_s_fail(s, &err);
        return;
    }
    if (vb_s_call(s, "PreRestore") < 0) {
        vb_error_copy(&err, &s->journal_error);
        vb_s_fail(s, &err);
        return;
    }
    vb_round(s, VB_EV_PRE_RESTORE, gets_pre_restore, pre_restored);
}

/* ---- POST_RESTORE ---- */

/* What nobody has marked: nothing was touched, or the copy broke off half way. */
static void mark_the_rest(struct vb_session *s)
{
    for (size_t i = 0; s->bcd && i < s->bcd->n_writers; i++)
        for (size_t k = 0; k < s->bcd->writers[i].n_components; k++) {
            struct vb_component *c = &s->bcd->writers[i].components[k];
            if (c->selected_for_restore && c->restore_status == VB_FILE_RESTORE_UNDEFINED)
                c->restore_status = s->files_begun ? VB_FILE_RESTORE_FAILED : VB_FILE_RESTORE_NONE;
        }
}

static void note_replace_failed(struct vb_session *s)
{
    for (size_t i = 0; i < s->n_writers; i++) {
        struct vb_writer_components *r = vb_sw_record(s->writers[i]);
        for (size_t k = 0; r && k < r->n_components; k++)
            if (r->components[k].selected_for_restore && r->components[k].restore_status != VB_FILE_RESTORE_ALL)
                s->writers[i]->replace_failed = true;
    }
}

static void post_restored(struct vb_session *s)
{
    s->phase = VB_PH_POST_RESTORED;
    vb_r_reboot_asked(s);
    answer(s);
}

static void services_of(struct vb_session *s, enum vb_restore_method method, struct vb_strv *names)
{
    for (size_t i = 0; s->bcd && i < s->bcd->n_writers; i++) {
        const struct vb_writer_metadata *m = vb_r_stored(s, &s->bcd->writers[i]);
        if (m && m->service && selected(&s->bcd->writers[i]) && vb_r_method(m) == method &&
            !vb_strv_has(names, m->service))
            vb_strv_add(names, m->service);
    }
}

void vb_r_stop_services(struct vb_session *s, vb_step *next)
{
    struct vb_strv names = { NULL, 0, 0 };
    services_of(s, VB_RESTORE_STOP_RESTORE_START, &names);
    vb_s_services(s, &names, false, next);
    vb_strv_clear(&names);
}

static void restart_second(struct vb_session *s)
{
    struct vb_strv names = { NULL, 0, 0 };
    services_of(s, VB_RESTORE_RESTORE_STOP_START, &names);
    vb_s_services(s, &names, true, post_restored);
    vb_strv_clear(&names);
}

static void after_events(struct vb_session *s) /* stopped and started only after PostRestore */
{
    struct vb_strv names = { NULL, 0, 0 };
    services_of(s, VB_RESTORE_RESTORE_STOP_START, &names);
    vb_s_services(s, &names, false, restart_second);
    vb_strv_clear(&names);
}

/* Who is used comes up before who uses it: a front end that looks at its back end in PostRestore finds it running. */
static const enum vb_level UPWARDS[] = { VB_LEVEL_SYSTEM_RM, VB_LEVEL_SYSTEM, VB_LEVEL_BACK_END, VB_LEVEL_FRONT_END };

static int rank(enum vb_level level)
{
    int i = 0;
    while (i + 1 < (int)VB_COUNT(UPWARDS) && UPWARDS[i] != level)
        i++;
    return i;
}

static bool in_post_restore_level(const struct vb_sw *w)
{
    return rank(w->level) == w->s->level && gets_post_restore(w);
}

static void post_restore_level(struct vb_session *s);

static void post_restore_next(struct vb_session *s)
{
    if (++s->level < (int)VB_COUNT(UPWARDS))
        post_restore_level(s);
    else
        s->after_post_restore(s);
}

static void post_restore_level(struct vb_session *s)
{
    vb_round(s, VB_EV_POST_RESTORE, in_post_restore_level, post_restore_next);
}

static void post_restore_all(struct vb_session *s, vb_step *next)
{
    s->after_post_restore = next;
    s->level = 0;
    post_restore_level(s);
}

static void send_post_restore(struct vb_session *s)
{
    post_restore_all(s, after_events);
}

static int take_statuses(struct vb_session *s, struct vb_error *err)
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(&s->cmd, VB_F_BCD, &p, &n))
        return 0;
    struct vb_components *from = vb_components_read("the requester's document", p, n, err);
    if (!from)
        return -1;
    for (size_t i = 0; i < from->n_writers; i++) {
        const struct vb_writer_components *r = &from->writers[i];
        struct vb_writer_components *own = vb_components_find_writer(s->bcd, r->writer_id, r->instance_name);
        for (size_t k = 0; own && k < r->n_components; k++) {
            const struct vb_component *f = &r->components[k];
            struct vb_component *c = vb_components_find(own, f->logical_path, f->name);
            if (c && f->restore_status != VB_FILE_RESTORE_UNDEFINED)
                c->restore_status = f->restore_status;
        }
    }
    vb_components_free(from);
    return 0;
}

void vb_s_post_restore(struct vb_session *s)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (take_statuses(s, &err) < 0) {
        vb_s_fail(s, &err);
        return;
    }
    if (vb_s_call(s, "PostRestore") < 0) {
        vb_error_copy(&err, &s->journal_error);
        vb_s_fail(s, &err);
        return;
    }
    mark_the_rest(s);
    note_replace_failed(s);
    vb_s_services(s, &s->stopped, true, send_post_restore); /* started before PostRestore */
}

/* ---- what is owed ---- */

static void cleanup_done(struct vb_session *s)
{
    vb_step *next = s->after_cleanup;
    s->after_cleanup = NULL;
    if (next)
        next(s);
}

static void cleanup_events(struct vb_session *s)
{
    mark_the_rest(s);
    post_restore_all(s, cleanup_done);
}

void vb_s_restore_cleanup(struct vb_session *s, vb_step *next)
{
    s->after_cleanup = next;
    vb_s_services(s, &s->stopped, true, cleanup_events);
}
