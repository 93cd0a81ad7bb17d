/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/agent_host.c - a host inside one process.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tests/fakes/agent_host.h"

static const char MOUNTS[] = "20 1 8:1 / / rw - ext4 /dev/root rw\n"
                             "21 20 8:2 / /data rw - btrfs /dev/data rw\n"
                             "22 20 8:3 / /other rw - btrfs /dev/other rw\n";

static void note(struct vb_fake_host *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct vb_fake_host *h, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vb_strv_take(&h->log, vb_vprintf(fmt, ap));
    va_end(ap);
}

/* ---- later: everything that takes time ---- */

struct later {
    struct vb_fake_host *h;
    void (*fn)(struct later *l);
    struct vb_fake_writer *w;
    struct vb_fake_provider *p;
    unsigned gen;
    struct vb_msg m;
    enum vb_event ev;
    int call;
    char *text;
    bool flag;
};

static void run_later(void *arg)
{
    struct later *l = arg;
    l->fn(l);
    vb_msg_clear(&l->m);
    free(l->text);
    free(l);
}

static struct later *later(struct vb_fake_host *h, void (*fn)(struct later *l))
{
    struct later *l = vb_alloc(sizeof *l);
    l->h = h;
    l->fn = fn;
    return l;
}

/* ---- writer hosts ---- */

struct vb_writer_metadata *vb_fake_metadata(const struct vb_fake_writer *w)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char inst[37];
    vb_guid_new(inst);
    struct vb_writer_metadata *m = vb_wm_new(w->class_id, inst, w->name);
    m->usage = VB_USAGE_USER_DATA;
    m->source = VB_SOURCE_OTHER;
    m->level = w->level;
    m->has_restore_method = true;
    m->method = w->method;
    m->writer_restore = w->when;
    m->service = vb_strdup(w->service);
    struct vb_wm_component *c = vb_wm_add_component(m, VB_COMPONENT_FILEGROUP, "", "c1", &err);
    if (!c) {
        fprintf(stderr, "fake: %s\n", vb_error_text(&err));
        abort();
    }
    c->selectable = true;
    struct vb_fileset fs = { 0, w->path, vb_strdup("*"), true, NULL, w->backup_bits ? w->backup_bits : VB_FSB_DEFAULT };
    if (w->path && vb_wm_add_fileset(m, "", "c1", &fs, &err) < 0) {
        fprintf(stderr, "fake: %s\n", vb_error_text(&err));
        abort();
    }
    free(fs.filespec);
    if (w->alm && vb_wm_add_alm(m, w->path, "*", true, w->alm, &err) < 0) {
        fprintf(stderr, "fake: %s\n", vb_error_text(&err));
        abort();
    }
    return m;
}

static void host_end(struct vb_fake_writer *w)
{
    w->gen++;
    vb_conn_free(w->conn);
    w->conn = NULL;
}

static void answer_event(struct later *l)
{
    struct vb_fake_writer *w = l->w;
    if (!w->conn || l->gen != w->gen)
        return;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_DONE);
    VB_AUTO_BUF xml = VB_BUF_INIT;
    m.id = l->m.id;
    switch (w->way[l->ev]) {
    case FAKE_HANG: return;
    case FAKE_CRASH:
        note(l->h, "%s crashed", w->name);
        host_end(w);
        return;
    case FAKE_FAIL:
    case FAKE_PARTIAL: {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        enum vb_code code = w->way[l->ev] == FAKE_PARTIAL ? VB_E_WRITER_PARTIAL_FAILURE
                            : w->code[l->ev] ? w->code[l->ev] : VB_E_WRITER_NON_RETRYABLE;
        vb_fail(&err, code, "writer '%s' says no to %s", w->name, vb_event_word(l->ev));
        vb_msg_add_error(&m, &err);
        break;
    }
    case FAKE_GARBAGE:
        if (l->ev == VB_EV_IDENTIFY)
            vb_msg_add_str(&m, VB_F_WMD, "<WRITER_METADATA>");
        else
            m.type = VB_M_OFFER;
        vb_conn_send(w->conn, &m);
        return;
    case FAKE_OK: break;
    }
    if (l->ev == VB_EV_IDENTIFY && w->way[l->ev] == FAKE_OK) {
        struct vb_writer_metadata *wm = vb_fake_metadata(w);
        if (vb_wm_write(wm, &xml, NULL) == 0)
            vb_msg_add(&m, VB_F_WMD, xml.data, xml.len);
        vb_wm_free(wm);
    }
    if (w->doc && w->doc->n_writers == 1 && w->doc->writers[0].n_components) {
        struct vb_component *c = &w->doc->writers[0].components[0];
        if (w->way[l->ev] == FAKE_PARTIAL) {
            c->failure_code = VB_E_WRITER_NON_RETRYABLE;
            c->failure_text = vb_strdup("only this one");
        }
        if (l->ev == VB_EV_PRE_RESTORE && w->target)
            c->target = w->target;
        if (l->ev != VB_EV_FREEZE && l->ev != VB_EV_IDENTIFY &&
            vb_writer_components_write(w->doc, &w->doc->writers[0], &xml, NULL) == 0)
            vb_msg_add(&m, VB_F_BCD, xml.data, xml.len);
    }
    if (l->ev == VB_EV_POST_SNAPSHOT && w->lowers)
        vb_msg_add_u64(&m, VB_F_CONSISTENCY, (uint64_t)w->lowers);
    vb_conn_send(w->conn, &m);
}

static void writer_msg(void *arg, struct vb_msg *m)
{
    struct vb_fake_writer *w = arg;
    const unsigned char *p;
    size_t n;
    if (m->type == VB_M_W_QUIT) {
        note(w->h, "%s quit", w->name);
        return;
    }
    if (m->type != VB_M_W_EVENT)
        return;
    uint64_t ev = vb_msg_u64(m, VB_F_EVENT, 0);
    note(w->h, "%s %s%s", w->name, vb_event_word((enum vb_event)ev), vb_msg_has(m, VB_F_OWED) ? " (owed)" : "");
    if (vb_msg_bytes(m, VB_F_BCD, &p, &n)) {
        if (w->h->in_window)
            w->h->log_in_window++;
        vb_components_free(w->doc);
        w->doc = vb_writer_components_read(p, n, NULL);
    }
    struct later *l = later(w->h, answer_event);
    l->w = w;
    l->gen = w->gen;
    l->ev = (enum vb_event)ev;
    l->m.id = m->id;
    vb_loop_after(w->h->loop, w->delay_ms[ev], run_later, l);
}

static void writer_closed(void *arg, const struct vb_error *why)
{
    struct vb_fake_writer *w = arg;
    (void)why;
    host_end(w);
}

static const struct vb_conn_handler WRITER = { writer_msg, writer_closed, NULL };

static void writer_ready(struct later *l)
{
    struct vb_fake_writer *w = l->w;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_W_READY);
    char inst[37];
    if (!w->conn || l->gen != w->gen || w->never_ready)
        return;
    if (w->ready_fails) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_fail(&err, VB_E_CONFIG, "module of '%s' is broken", w->name);
        vb_msg_add_error(&m, &err);
        vb_conn_send(w->conn, &m);
        return;
    }
    vb_guid_new(inst);
    vb_msg_add_str(&m, VB_F_WRITER, w->name);
    vb_msg_add_str(&m, VB_F_CLASS, w->class_id);
    vb_msg_add_str(&m, VB_F_INSTANCE, inst);
    vb_msg_add_u64(&m, VB_F_LEVEL, (uint64_t)w->level);
    vb_msg_add_u64(&m, VB_F_FREEZE_MS, w->freeze_ms);
    vb_conn_send(w->conn, &m);
}

/* ---- provider hosts ---- */

static void answer_call(struct later *l)
{
    struct vb_fake_provider *p = l->p;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_P_DONE);
    if (!p->conn || l->gen != p->gen)
        return;
    m.id = l->m.id;
    if (p->fail_call && !strcmp(p->fail_call, l->text) && p->way != FAKE_OK) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (p->way == FAKE_HANG)
            return;
        if (p->way == FAKE_CRASH) {
            p->gen++;
            vb_conn_free(p->conn);
            p->conn = NULL;
            return;
        }
        vb_fail(&err, VB_E_PROVIDER_VETO, "no %s today", l->text);
        vb_msg_add_error(&m, &err);
    }
    if (!strcmp(l->text, "supports")) {
        vb_msg_add_u64(&m, VB_F_SUPPORTED, p->supported);
        vb_msg_add_str(&m, VB_F_REMARK, p->supported ? "fine" : "not this file system");
        vb_msg_add_u64(&m, VB_F_HOLD, p->hold);
        vb_msg_add_u64(&m, VB_F_PREFERENCE, p->preference);
        if (p->type)
            vb_msg_add_u64(&m, VB_F_TYPE, p->type);
        vb_msg_add_u64(&m, VB_F_CONSENT, p->consent);
        vb_msg_add_str(&m, VB_F_GROUP, p->group);
        vb_msg_add_u64(&m, VB_F_CONSISTENCY, p->consistency);
        vb_msg_add_u64(&m, VB_F_ATOMIC, p->atomic);
        vb_msg_add_u64(&m, VB_F_GROUP_ATOMIC, p->group_atomic);
        vb_msg_add_u64(&m, VB_F_PER_TREE, p->per_tree);
    }
    if (!strcmp(l->text, "snapshot_path")) {
        VB_AUTO_FREE char *path = vb_msg_str(&l->m, VB_F_PATH);
        VB_AUTO_FREE char *to = vb_printf("/snap%s", path ? path : "");
        vb_msg_add_str(&m, VB_F_PATH, to);
    }
    vb_conn_send(p->conn, &m);
}

static void provider_msg(void *arg, struct vb_msg *m)
{
    struct vb_fake_provider *p = arg;
    struct later *l = later(p->h, answer_call);
    l->p = p;
    l->gen = p->gen;
    l->text = vb_msg_str(m, VB_F_CALL);
    l->m.id = m->id;
    vb_buf_add(&l->m.body, m->body.data, m->body.len);
    note(p->h, "%s %s", p->name, l->text);
    vb_loop_after(p->h->loop, !strcmp(l->text, "commit") ? p->delay_ms : 0, run_later, l);
}

static void provider_closed(void *arg, const struct vb_error *why)
{
    struct vb_fake_provider *p = arg;
    (void)why;
    p->gen++;
    vb_conn_free(p->conn);
    p->conn = NULL;
}

static const struct vb_conn_handler PROVIDER = { provider_msg, provider_closed, NULL };

static void provider_ready(struct later *l)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_P_READY);
    if (!l->p->conn || l->gen != l->p->gen)
        return;
    vb_msg_add_str(&m, VB_F_NAME, l->p->name);
    vb_conn_send(l->p->conn, &m);
}

/* ---- the mover ---- */

static void mover_msg(void *arg, struct vb_msg *m)
{
    struct vb_fake_host *h = arg;
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    VB_AUTO_MSG r = VB_MSG_INIT(VB_M_REPLY);
    vb_msg_clear(&h->mover_spec);
    vb_buf_add(&h->mover_spec.body, m->body.data, m->body.len);
    h->mover_runs++;
    if (h->mover_way == FAKE_HANG)
        return;
    if (h->mover_way == FAKE_CRASH) {
        vb_conn_free(h->mover);
        h->mover = NULL;
        return;
    }
    if (h->mover_way == FAKE_FAIL)
        vb_msg_add_u64(&r, VB_F_CODE, VB_E_CONNECTION_LOST);
    vb_field_iter_init(&it, m);
    while (h->mover_way == FAKE_OK && vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_COMPONENT)
            continue;
        struct vb_msg c = vb_msg_view(p, n);
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        VB_AUTO_FREE char *cl = vb_msg_str(&c, VB_F_CLASS), *name = vb_msg_str(&c, VB_F_NAME);
        vb_msg_add_str(&g, VB_F_CLASS, cl);
        vb_msg_add_str(&g, VB_F_LOGICAL_PATH, "");
        vb_msg_add_str(&g, VB_F_NAME, name);
        vb_msg_add_u64(&g, VB_F_COMPLETENESS, VB_COMPLETE);
        vb_msg_add_u64(&g, VB_F_CONSISTENCY, vb_msg_u64(&c, VB_F_CONSISTENCY, 0));
        if (h->mover_code && h->mover_runs == 1) {
            vb_msg_add_u64(&g, VB_F_CODE, h->mover_code);
            vb_msg_add_str(&g, VB_F_TEXT, "could not");
        }
        vb_msg_add_u64(&g, VB_F_RESTORE_STATUS,
                       h->mover_code && h->mover_runs == 1 ? h->mover_status : VB_FILE_RESTORE_ALL);
        vb_msg_add_group(&r, VB_F_COMPONENT, &g);
    }
    vb_conn_send(h->mover, &r);
}

static void mover_closed(void *arg, const struct vb_error *why)
{
    struct vb_fake_host *h = arg;
    (void)why;
    vb_conn_free(h->mover);
    h->mover = NULL;
}

static const struct vb_conn_handler MOVER = { mover_msg, mover_closed, NULL };

/* ---- the environment ---- */

static int env_writers(void *arg, const struct vb_job *job, struct vb_child_refs *out, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)job;
    (void)err;
    for (size_t i = 0; i < h->n_w; i++) {
        VB_GROW(out->v, out->n, out->cap);
        out->v[out->n++] =
            (struct vb_child_ref){ vb_strdup(h->w[i].name), vb_strdup("fake"), NULL, h->w[i].required, false };
    }
    return 0;
}

static int env_providers(void *arg, struct vb_strv *names, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)err;
    for (size_t i = 0; i < h->n_p; i++)
        vb_strv_add(names, h->p[i].name);
    return 0;
}

static int env_mounts(void *arg, struct vb_mounts *out, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    return vb_mounts_parse(out, h->mounts, err);
}

static char *env_subvolume(void *arg, const char *path, const char *stop)
{
    (void)arg;
    (void)path;
    return vb_strdup(stop);
}

static int env_exists(void *arg, const char *path, const char *filespec, bool recursive, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)filespec;
    (void)recursive;
    (void)err;
    return vb_strv_has(&h->exists, path);
}

static bool env_replaceable(void *arg, const char *path, const char *filespec, bool recursive)
{
    struct vb_fake_host *h = arg;
    (void)path;
    (void)filespec;
    (void)recursive;
    return !h->busy_files;
}

static int env_start(void *arg, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out,
                     struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    struct vb_conn *theirs;
    if (h->in_window)
        h->log_in_window++;
    if (kind == VB_CHILD_WRITER) {
        for (size_t i = 0; i < h->n_w; i++) {
            struct vb_fake_writer *w = &h->w[i];
            if (strcmp(w->name, who->name) != 0)
                continue;
            w->starts++;
            if (w->start_fails)
                return vb_fail(err, VB_E_IO, "writer '%s' cannot be started", w->name);
            vb_conn_pair(h->loop, NULL, NULL, &out->conn, &theirs);
            vb_conn_free(w->conn);
            w->gen++;
            w->conn = theirs;
            vb_conn_set_handler(theirs, &WRITER, w);
            struct later *l = later(h, writer_ready);
            l->w = w;
            l->gen = w->gen;
            vb_loop_after(h->loop, 1, run_later, l);
            out->handle = w;
            out->pid = 1000 + (int)i;
            return 0;
        }
    } else if (kind == VB_CHILD_PROVIDER) {
        for (size_t i = 0; i < h->n_p; i++) {
            struct vb_fake_provider *p = &h->p[i];
            if (strcmp(p->name, who->name) != 0)
                continue;
            vb_conn_pair(h->loop, NULL, NULL, &out->conn, &theirs);
            vb_conn_free(p->conn);
            p->gen++;
            p->conn = theirs;
            vb_conn_set_handler(theirs, &PROVIDER, p);
            struct later *l = later(h, provider_ready);
            l->p = p;
            l->gen = p->gen;
            vb_loop_after(h->loop, 1, run_later, l);
            return 0;
        }
    } else {
        note(h, "mover %s", kind == VB_CHILD_CAPTURE ? "capture" : "restore");
        vb_conn_free(h->mover);
        vb_conn_pair(h->loop, NULL, NULL, &out->conn, &h->mover);
        vb_conn_set_handler(h->mover, &MOVER, h);
        return 0;
    }
    return vb_fail(err, VB_E_NOT_FOUND, "no such child");
}

static void env_stop(void *arg, struct vb_child *c, bool kill)
{
    struct vb_fake_host *h = arg;
    for (size_t i = 0; kill && i < h->n_w; i++)
        if (c->handle == &h->w[i]) {
            note(h, "%s killed", h->w[i].name);
            host_end(&h->w[i]);
        }
    vb_conn_free(c->conn);
    *c = (struct vb_child){ NULL, 0, NULL };
}

static bool env_data_ready(void *arg)
{
    struct vb_fake_host *h = arg;
    return h->data;
}

static const char *const CALLS[] = { "", "START", "ARM", "FREEZE", "THAW", "DISARM" };

static void wd_answer(struct later *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (l->h->wd_fail[l->call])
        vb_fail(&err, l->h->wd_fail[l->call], "watchdog says no");
    vb_session_watchdog_done(l->h->session, (enum vb_watchdog_call)l->call, err.code ? &err : NULL);
}

static void env_watchdog(void *arg, enum vb_watchdog_call call, uint64_t ms, const int *pids, size_t n,
                         const struct vb_strv *mounts)
{
    struct vb_fake_host *h = arg;
    (void)ms;
    (void)pids;
    (void)n;
    if (call == VB_WD_START) {
        VB_AUTO_BUF order = VB_BUF_INIT;
        for (size_t i = 0; i < mounts->n; i++)
            vb_buf_addf(&order, " %s", mounts->v[i]);
        note(h, "wd START %zu", mounts->n);
        if (mounts->n > 1)
            note(h, "wd mounts%s", vb_buf_str(&order));
    } else {
        note(h, "wd %s", CALLS[call]);
    }
    if (call == VB_WD_FREEZE)
        h->frozen = true;
    if (call == VB_WD_THAW || call == VB_WD_DISARM)
        h->frozen = false;
    if (call == VB_WD_DISARM || (call == VB_WD_FREEZE && h->wd_silent))
        return;
    struct later *l = later(h, wd_answer);
    l->call = (int)call;
    vb_loop_after(h->loop, 0, run_later, l);
}

static void env_window(void *arg, bool inside)
{
    struct vb_fake_host *h = arg;
    note(h, inside ? "window begin" : "window end");
    h->in_window = inside;
}

static void give_slot(struct later *l)
{
    if (l->h->slot_wanted)
        vb_session_slot(l->h->session, 0, NULL);
}

static void env_slot(void *arg, bool want)
{
    struct vb_fake_host *h = arg;
    if (!want) {
        if (h->slot_wanted)
            h->slot_back++;
        h->slot_wanted = false;
        return;
    }
    h->slot_wanted = true;
    if (h->slot_busy) {
        vb_session_slot(h->session, 2, "job 4711");
        return;
    }
    h->slot_given++;
    vb_loop_after(h->loop, 0, run_later, later(h, give_slot));
}

static void service_answer(struct later *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (l->flag)
        vb_fail(&err, VB_E_IO, "service does not");
    vb_session_service_done(l->h->session, l->flag ? &err : NULL);
}

static void env_service(void *arg, const char *name, bool start)
{
    struct vb_fake_host *h = arg;
    note(h, "service %s %s", start ? "start" : "stop", name);
    if (h->service_hangs)
        return;
    struct later *l = later(h, service_answer);
    l->flag = h->service_fails && !strcmp(h->service_fails, start ? "start" : "stop");
    vb_loop_after(h->loop, 1, run_later, l);
}

static int env_reboot_ready(void *arg, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    if (h->reboot_ready)
        return 0;
    vb_fail(err, VB_E_PREREQUISITE, "nothing happens at a restart here");
    vb_hint(err, "enable it");
    return -1;
}

static char *env_reboot_stage(void *arg, const char *job, size_t n, const char *path, struct vb_error *err)
{
    (void)job;
    (void)err;
    note(arg, "stage %zu %s", n, path);
    return vb_printf("/stage/%zu", n);
}

static int env_reboot_commit(void *arg, const char *job, const char *component, const struct vb_strv *staged,
                             const struct vb_strv *final, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)job;
    if (h->reboot_commit_fails)
        return vb_fail(err, VB_E_NO_SPACE, "the record cannot be written");
    for (size_t i = 0; i < staged->n; i++)
        note(h, "at-reboot %s %s -> %s", component, staged->v[i], final->v[i]);
    return 0;
}

static int env_reboot_discard(void *arg, const char *job, struct vb_error *err)
{
    (void)job;
    (void)err;
    note(arg, "discard");
    return 0;
}

static int env_reboot_report(void *arg, struct vb_strv *lines, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    (void)err;
    if (h->reboot_told)
        vb_strv_add(lines, h->reboot_told);
    return 0;
}

static int env_keep(void *arg, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct vb_fake_host *h = arg;
    if (h->keep_fails)
        return vb_fail(err, VB_E_NO_SPACE, "'%s' cannot be kept", name);
    vb_buf_reset(&h->kept);
    vb_buf_add(&h->kept, p, n);
    return 0;
}

static void keep_msg(struct vb_msg **v, size_t *n, size_t *cap, const struct vb_msg *m)
{
    VB_GROW(*v, *n, *cap);
    (*v)[*n] = (struct vb_msg){ m->type, m->id, VB_BUF_INIT };
    vb_buf_add(&(*v)[*n].body, m->body.data, m->body.len);
    ++*n;
}

static void env_reply(void *arg, const struct vb_msg *m)
{
    struct vb_fake_host *h = arg;
    keep_msg(&h->replies, &h->n_replies, &h->cap_replies, m);
}

static void env_event(void *arg, struct vb_msg *m)
{
    struct vb_fake_host *h = arg;
    keep_msg(&h->events, &h->n_events, &h->cap_events, m);
}

static void env_ended(void *arg, const struct vb_error *why)
{
    struct vb_fake_host *h = arg;
    h->ended = true;
    vb_error_copy(&h->why, why);
}

/* ---- making one ---- */

struct vb_fake_writer *vb_fake_add_writer(struct vb_fake_host *h, const char *name, enum vb_level level,
                                          const char *path)
{
    struct vb_fake_writer *w = &h->w[h->n_w++];
    w->h = h;
    w->name = vb_strdup(name);
    vb_guid_new(w->class_id);
    w->level = level;
    w->freeze_ms = 60000;
    w->path = vb_strdup(path);
    w->method = VB_RESTORE_IF_CAN_REPLACE;
    w->when = VB_WRITER_RESTORE_ALWAYS;
    return w;
}

struct vb_fake_provider *vb_fake_add_provider(struct vb_fake_host *h, const char *name)
{
    struct vb_fake_provider *p = &h->p[h->n_p++];
    p->h = h;
    p->name = vb_strdup(name);
    p->supported = p->atomic = true;
    p->hold = 1;
    p->preference = 10 + h->n_p;
    p->consistency = VB_CONSISTENCY_CRASH;
    return p;
}

struct vb_fake_host *vb_fake_host_new(void)
{
    struct vb_fake_host *h = vb_alloc(sizeof *h);
    h->loop = vb_loop_new_virtual(1700000000000u);
    h->journal = vb_journal_memory("worker");
    h->mounts = MOUNTS;
    h->data = true;
    h->next_id = 1;
    h->env = (struct vb_session_env){
        .arg = h,
        .loop = h->loop,
        .journal = h->journal,
        .host = "fake",
        .writers = env_writers,
        .providers = env_providers,
        .mounts = env_mounts,
        .subvolume = env_subvolume,
        .exists = env_exists,
        .replaceable = env_replaceable,
        .start = env_start,
        .stop = env_stop,
        .data_ready = env_data_ready,
        .watchdog = env_watchdog,
        .window = env_window,
        .slot = env_slot,
        .service = env_service,
        .reboot_ready = env_reboot_ready,
        .reboot_stage = env_reboot_stage,
        .reboot_commit = env_reboot_commit,
        .reboot_discard = env_reboot_discard,
        .reboot_report = env_reboot_report,
        .keep = env_keep,
        .reply = env_reply,
        .event = env_event,
        .ended = env_ended,
    };
    vb_limits_init(&h->env.limits);
    return h;
}

void vb_fake_host_free(struct vb_fake_host *h)
{
    vb_session_free(h->session);
    for (size_t i = 0; i < h->n_w; i++) {
        vb_conn_free(h->w[i].conn);
        vb_components_free(h->w[i].doc);
        free(h->w[i].name);
        free(h->w[i].path);
    }
    for (size_t i = 0; i < h->n_p; i++) {
        vb_conn_free(h->p[i].conn);
        free(h->p[i].name);
    }
    vb_conn_free(h->mover);
    h->session = NULL;
    while (vb_loop_turn(h->loop, 0))
        ; /* what is still on its way frees itself */
    for (size_t i = 0; i < h->n_replies; i++)
        vb_msg_clear(&h->replies[i]);
    for (size_t i = 0; i < h->n_events; i++)
        vb_msg_clear(&h->events[i]);
    free(h->replies);
    free(h->events);
    vb_msg_clear(&h->mover_spec);
    vb_strv_clear(&h->log);
    vb_strv_clear(&h->exists);
    vb_buf_clear(&h->kept);
    vb_error_clear(&h->why);
    vb_journal_close(h->journal);
    vb_loop_free(h->loop);
    free(h);
}

void vb_fake_open(struct vb_fake_host *h, enum vb_job_kind kind, struct vb_job **edit)
{
    struct vb_job *job = vb_job_new(kind, "fake");
    if (!job->job_id) {
        char id[37];
        vb_guid_new(id);
        job->job_id = vb_strdup(id);
    }
    job->backup_type = VB_BACKUP_FULL;
    if (edit)
        *edit = job;
    h->session = vb_session_new(&h->env, job);
}
