/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/agent_host_talk.c - what a test says to the host inside one process, and what it sees of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tests/fakes/agent_host.h"

/* ---- talking ---- */

uint64_t vb_fake_send(struct vb_fake_host *h, uint16_t type, const struct vb_msg *body)
{
    VB_AUTO_MSG m = VB_MSG_INIT(type);
    m.id = h->next_id++;
    if (body)
        vb_buf_add(&m.body, body->body.data, body->body.len);
    vb_session_command(h->session, &m);
    return m.id;
}

const struct vb_msg *vb_fake_wait(struct vb_fake_host *h, uint64_t id, uint64_t ms)
{
    uint64_t until = vb_loop_now_ms(h->loop) + ms;
    for (;;) {
        for (size_t i = 0; i < h->n_replies; i++)
            if (h->replies[i].id == id)
                return &h->replies[i];
        if (vb_loop_now_ms(h->loop) > until || !vb_loop_turn(h->loop, 0))
            return NULL;
    }
}

const struct vb_msg *vb_fake_command(struct vb_fake_host *h, uint16_t type, const struct vb_msg *body)
{
    return vb_fake_wait(h, vb_fake_send(h, type, body), UINT64_C(36000000));
}

static void stop_run(void *arg)
{
    bool *over = arg;
    *over = true;
}

void vb_fake_run(struct vb_fake_host *h, uint64_t ms)
{
    bool over = false;
    vb_loop_after(h->loop, ms, stop_run, &over);
    while (!over && vb_loop_turn(h->loop, 0))
        ;
}

void vb_fake_bcd(struct vb_fake_host *h, bool restore, struct vb_msg *body)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF xml = VB_BUF_INIT;
    struct vb_components *c = vb_components_new("fake");
    c->select_components = true;
    c->restore = restore;
    c->backup_type = VB_BACKUP_FULL;
    c->restore_type = restore ? VB_RESTORE_TYPE_BY_COPY : VB_RESTORE_TYPE_UNDEFINED;
    for (size_t i = 0; i < h->n_w; i++) {
        char inst[37];
        vb_guid_new(inst);
        struct vb_writer_components *r = vb_components_writer(c, h->w[i].class_id, inst, NULL, h->w[i].name);
        struct vb_component *x = vb_components_add(r, VB_COMPONENT_FILEGROUP, "", "c1", &err);
        x->selected_for_restore = restore;
    }
    if (vb_components_write(c, &xml, &err) < 0) {
        fprintf(stderr, "fake: %s\n", vb_error_text(&err));
        abort();
    }
    vb_msg_add(body, VB_F_BCD, xml.data, xml.len);
    vb_components_free(c);
}

void vb_fake_marks(struct vb_fake_host *h, bool succeeded, struct vb_msg *body)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF xml = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    const unsigned char *p;
    size_t n;
    vb_fake_bcd(h, false, &m);
    vb_msg_bytes(&m, VB_F_BCD, &p, &n);
    struct vb_components *c = vb_components_read("fake", p, n, &err);
    for (size_t i = 0; i < c->n_writers; i++) {
        c->writers[i].components[0].backup_succeeded_set = true;
        c->writers[i].components[0].backup_succeeded = succeeded;
    }
    if (vb_components_write(c, &xml, &err) < 0)
        abort();
    vb_msg_add(body, VB_F_BCD, xml.data, xml.len);
    vb_components_free(c);
}

void vb_fake_stored(struct vb_fake_host *h, struct vb_msg *body)
{
    for (size_t i = 0; i < h->n_w; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        VB_AUTO_BUF xml = VB_BUF_INIT;
        struct vb_writer_metadata *m = vb_fake_metadata(&h->w[i]);
        if (vb_wm_write(m, &xml, NULL) < 0)
            abort();
        vb_wm_free(m);
        vb_msg_add_str(&g, VB_F_CLASS, h->w[i].class_id);
        vb_msg_add(&g, VB_F_XML, xml.data, xml.len);
        vb_msg_add_group(body, VB_F_WMD, &g);
    }
}

void vb_fake_roots(struct vb_fake_host *h, struct vb_msg *body)
{
    for (size_t i = 0; i < h->n_w; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        VB_AUTO_MSG r = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_CLASS, h->w[i].class_id);
        vb_msg_add_str(&g, VB_F_LOGICAL_PATH, "");
        vb_msg_add_str(&g, VB_F_NAME, "c1");
        vb_msg_add_str(&r, VB_F_PATH, h->w[i].path);
        vb_msg_add_str(&r, VB_F_FILESPEC, "*");
        vb_msg_add_u64(&r, VB_F_RECURSIVE, 1);
        vb_msg_add_str(&r, VB_F_CHUNK_NAME, "tree");
        vb_msg_add_group(&g, VB_F_ROOT, &r);
        vb_msg_add_group(body, VB_F_COMPONENT, &g);
    }
}

/* ---- looking ---- */

enum vb_code vb_fake_code(const struct vb_msg *reply)
{
    return reply ? (enum vb_code)vb_msg_u64(reply, VB_F_CODE, VB_OK) : VB_E_TIMEOUT;
}

size_t vb_fake_count(const struct vb_fake_host *h, const char *line)
{
    size_t n = 0;
    for (size_t i = 0; i < h->log.n; i++)
        n += !strcmp(h->log.v[i], line);
    return n;
}

size_t vb_fake_at(const struct vb_fake_host *h, const char *line)
{
    for (size_t i = 0; i < h->log.n; i++)
        if (!strcmp(h->log.v[i], line))
            return i + 1;
    return 0;
}

enum vb_writer_state vb_fake_state(const struct vb_msg *reply, const char *writer)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    if (!reply)
        return VB_WS_UNKNOWN;
    vb_field_iter_init(&it, reply);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        VB_AUTO_FREE char *name = tag == VB_F_STATUS ? vb_msg_str(&g, VB_F_WRITER) : NULL;
        if (name && !strcmp(name, writer))
            return (enum vb_writer_state)vb_msg_u64(&g, VB_F_STATE, 0);
    }
    return VB_WS_UNKNOWN;
}

struct vb_components *vb_fake_read_bcd(const struct vb_msg *reply)
{
    const unsigned char *p;
    size_t n;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (!reply || !vb_msg_bytes(reply, VB_F_BCD, &p, &n))
        return NULL;
    return vb_components_read("reply", p, n, &err);
}

void vb_fake_print(const struct vb_fake_host *h)
{
    for (size_t i = 0; i < h->log.n; i++)
        fprintf(stderr, "# %s\n", h->log.v[i]);
}
