/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/agent_host_children.c - the processes of the fake host: hosts of writers and providers, and the mover.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tests/fakes/agent_host_internal.h"

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
    c->flags = w->flags;
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

static void answer_event(struct vb_fake_later *l)
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
        vb_fake_note(l->h, "%s crashed", w->name);
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
        vb_fake_note(w->h, "%s quit", w->name);
        return;
    }
    if (m->type != VB_M_W_EVENT)
        return;
    uint64_t ev = vb_msg_u64(m, VB_F_EVENT, 0);
    vb_fake_note(w->h, "%s %s%s", w->name, vb_event_word((enum vb_event)ev), vb_msg_has(m, VB_F_OWED) ? " (owed)" : "");
    if (vb_msg_bytes(m, VB_F_BCD, &p, &n)) {
        if (w->h->in_window)
            w->h->log_in_window++;
        vb_components_free(w->doc);
        w->doc = vb_writer_components_read(p, n, NULL);
    }
    struct vb_fake_later *l = vb_fake_later(w->h, answer_event);
    l->w = w;
    l->gen = w->gen;
    l->ev = (enum vb_event)ev;
    l->m.id = m->id;
    vb_loop_after(w->h->loop, w->delay_ms[ev], vb_fake_run_later, l);
}

static void writer_closed(void *arg, const struct vb_error *why)
{
    struct vb_fake_writer *w = arg;
    (void)why;
    host_end(w);
}

static const struct vb_conn_handler WRITER = { writer_msg, writer_closed, NULL };

static void writer_ready(struct vb_fake_later *l)
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

static void answer_call(struct vb_fake_later *l)
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
        vb_msg_add_u64(&m, VB_F_ATTRIBUTES, p->attributes);
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
    struct vb_fake_later *l = vb_fake_later(p->h, answer_call);
    l->p = p;
    l->gen = p->gen;
    l->text = vb_msg_str(m, VB_F_CALL);
    l->m.id = m->id;
    vb_buf_add(&l->m.body, m->body.data, m->body.len);
    vb_fake_note(p->h, "%s %s", p->name, l->text);
    const unsigned char *q;
    size_t n;
    if (!strcmp(l->text, "begin_prepare") && vb_msg_bytes(m, VB_F_VOLUME, &q, &n)) {
        struct vb_msg g = vb_msg_view(q, n);
        VB_AUTO_FREE char *path = vb_msg_str(&g, VB_F_PATH);
        if (vb_msg_u64(&g, VB_F_ATTRIBUTES, 0) & VB_SA_AUTORECOVER)
            vb_fake_note(p->h, "%s recovers %s", p->name, path);
    }
    vb_loop_after(p->h->loop, !strcmp(l->text, "commit") ? p->delay_ms : 0, vb_fake_run_later, l);
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

static void provider_ready(struct vb_fake_later *l)
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

/* ---- their begin and end ---- */

int vb_fake_env_start(void *arg, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out,
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
            struct vb_fake_later *l = vb_fake_later(h, writer_ready);
            l->w = w;
            l->gen = w->gen;
            vb_loop_after(h->loop, 1, vb_fake_run_later, l);
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
            struct vb_fake_later *l = vb_fake_later(h, provider_ready);
            l->p = p;
            l->gen = p->gen;
            vb_loop_after(h->loop, 1, vb_fake_run_later, l);
            return 0;
        }
    } else {
        vb_fake_note(h, "mover %s", kind == VB_CHILD_CAPTURE ? "capture" : "restore");
        vb_conn_free(h->mover);
        vb_conn_pair(h->loop, NULL, NULL, &out->conn, &h->mover);
        vb_conn_set_handler(h->mover, &MOVER, h);
        return 0;
    }
    return vb_fail(err, VB_E_NOT_FOUND, "no such child");
}

void vb_fake_env_stop(void *arg, struct vb_child *c, bool kill)
{
    struct vb_fake_host *h = arg;
    for (size_t i = 0; kill && i < h->n_w; i++)
        if (c->handle == &h->w[i]) {
            vb_fake_note(h, "%s killed", h->w[i].name);
            host_end(&h->w[i]);
        }
    vb_conn_free(c->conn);
    *c = (struct vb_child){ NULL, 0, NULL };
}
