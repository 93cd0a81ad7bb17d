/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/agent_lab_steps.c - whole steps of a backup and of a restore.
 */
#include "config.h"

#include <string.h>

#include "documents/writer_metadata.h"
#include "tests/agent/agent_lab.h"

#define LIMIT_MS 60000

static void copy_fields(struct vb_msg *to, const struct vb_msg *from, uint16_t want)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_msg_clear(to);
    vb_field_iter_init(&it, from);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag == want)
            vb_msg_add(to, tag, p, n);
}

enum vb_code alab_identify(struct alab *l)
{
    const struct vb_msg *r = alab_command(l, VB_M_IDENTIFY, VB_M_IDENTIFY, NULL, LIMIT_MS);
    if (r && alab_code(r) == VB_OK)
        copy_fields(&l->wmds, r, VB_F_WMD);
    return alab_code(r);
}

/* A document with every component of every writer. */
static void make_bcd(struct alab *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = vb_components_new("lab");
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p, *xml;
    size_t n, len;
    c->select_components = true;
    c->backup_type = VB_BACKUP_FULL;
    vb_field_iter_init(&it, &l->wmds);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        if (!vb_msg_bytes(&g, VB_F_XML, &xml, &len))
            continue;
        struct vb_writer_metadata *m = vb_wm_read("lab", xml, len, &err);
        if (!m)
            alab_die("metadata", &err);
        struct vb_writer_components *w =
            vb_components_writer(c, m->writer_id, m->instance_id, m->instance_name, m->name);
        for (size_t i = 0; i < m->n_components; i++)
            if (!vb_components_add(w, m->components[i].type, m->components[i].logical_path, m->components[i].name,
                                   &err))
                alab_die("component", &err);
        vb_wm_free(m);
    }
    vb_buf_reset(&l->bcd);
    if (vb_components_write(c, &l->bcd, &err) < 0)
        alab_die("document", &err);
    vb_components_free(c);
}

enum vb_code alab_prepare(struct alab *l)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    make_bcd(l);
    vb_msg_add(&b, VB_F_BCD, l->bcd.data, l->bcd.len);
    return alab_code(alab_command(l, VB_M_PREPARE, VB_M_PREPARE, &b, LIMIT_MS));
}

enum vb_code alab_snapshot(struct alab *l)
{
    return alab_code(alab_command(l, VB_M_SNAPSHOT, VB_M_SNAPSHOT, NULL, LIMIT_MS));
}

enum vb_code alab_capture(struct alab *l)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    unsigned char key[32];
    if (!l->data && !alab_data(l))
        return VB_E_CONNECTION_LOST;
    memset(key, 7, sizeof key);
    vb_msg_add(&b, VB_F_NAMING_KEY, key, sizeof key);
    vb_msg_add(&b, VB_F_CUT_SEED, key, sizeof key);
    const struct vb_msg *r = alab_command(l, VB_M_CAPTURE, VB_M_CAPTURE, &b, LIMIT_MS);
    if (r && alab_code(r) == VB_OK)
        copy_fields(&l->captured, r, VB_F_COMPONENT);
    return alab_code(r);
}

static void edit_bcd(struct alab *l, bool restore)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_components *c = vb_components_read("lab", l->bcd.data, l->bcd.len, &err);
    if (!c)
        alab_die("document", &err);
    c->restore = restore;
    for (size_t i = 0; i < c->n_writers; i++)
        for (size_t k = 0; k < c->writers[i].n_components; k++) {
            struct vb_component *x = &c->writers[i].components[k];
            if (restore) {
                x->selected_for_restore = true;
            } else {
                x->backup_succeeded_set = x->backup_succeeded = true;
            }
        }
    vb_buf_reset(&l->bcd);
    if (vb_components_write(c, &l->bcd, &err) < 0)
        alab_die("document", &err);
    vb_components_free(c);
}

enum vb_code alab_complete(struct alab *l)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    edit_bcd(l, false);
    vb_msg_add(&b, VB_F_BCD, l->bcd.data, l->bcd.len);
    return alab_code(alab_command(l, VB_M_COMPLETE, VB_M_COMPLETE, &b, LIMIT_MS));
}

enum vb_code alab_release(struct alab *l)
{
    return alab_code(alab_command(l, VB_M_RELEASE, VB_M_RELEASE, NULL, LIMIT_MS));
}

enum vb_code alab_backup(struct alab *l)
{
    enum vb_code (*const STEPS[])(struct alab *) = { alab_identify, alab_prepare,  alab_snapshot,
                                                     alab_capture,  alab_complete, alab_release };
    for (size_t i = 0; i < VB_COUNT(STEPS); i++) {
        enum vb_code c = STEPS[i](l);
        if (c != VB_OK)
            return c;
    }
    return VB_OK;
}

static void add_roots(struct alab *l, struct vb_msg *b)
{
    static const uint16_t KEEP[] = { VB_F_CLASS, VB_F_INSTANCE_NAME, VB_F_WRITER, VB_F_LOGICAL_PATH, VB_F_NAME };
    struct vb_field_iter it, in;
    uint16_t tag, t2;
    const unsigned char *p, *q;
    size_t n, k;
    unsigned char key[32];
    memset(key, 7, sizeof key);
    vb_msg_add(b, VB_F_NAMING_KEY, key, sizeof key);
    vb_field_iter_init(&it, &l->captured);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        VB_AUTO_MSG c = VB_MSG_INIT(0);
        for (size_t i = 0; i < VB_COUNT(KEEP); i++)
            if (vb_msg_bytes(&g, KEEP[i], &q, &k))
                vb_msg_add(&c, KEEP[i], q, k);
        vb_field_iter_init(&in, &g);
        while (vb_field_next(&in, &t2, &q, &k))
            if (t2 == VB_F_ROOT)
                vb_msg_add(&c, t2, q, k);
        vb_msg_add_group(b, VB_F_COMPONENT, &c);
    }
}

enum vb_code alab_restore(struct alab *l)
{
    VB_AUTO_MSG b = VB_MSG_INIT(0);
    VB_AUTO_MSG f = VB_MSG_INIT(0);
    VB_AUTO_MSG stored = VB_MSG_INIT(0);
    vb_buf_add(&stored.body, l->wmds.body.data, l->wmds.body.len);
    edit_bcd(l, true);
    vb_msg_add(&b, VB_F_BCD, l->bcd.data, l->bcd.len);
    enum vb_code c = alab_identify(l);
    if (c != VB_OK)
        return c;
    vb_buf_add(&b.body, stored.body.data, stored.body.len);
    c = alab_code(alab_command(l, VB_M_PRE_RESTORE, VB_M_PRE_RESTORE, &b, LIMIT_MS));
    if (c != VB_OK)
        return c;
    if (!alab_data(l))
        return VB_E_CONNECTION_LOST;
    add_roots(l, &f);
    c = alab_code(alab_command(l, VB_M_RESTORE_FILES, VB_M_RESTORE_FILES, &f, LIMIT_MS));
    if (c != VB_OK)
        return c;
    c = alab_code(alab_command(l, VB_M_POST_RESTORE, VB_M_POST_RESTORE, NULL, LIMIT_MS));
    return c != VB_OK ? c : alab_release(l);
}
