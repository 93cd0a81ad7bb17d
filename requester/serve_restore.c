/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/serve_restore.c - answers GET from the repository.
 */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "requester/data_end.h"
#include "requester/serve_restore.h"
#include "wire/protocol.h"

#define HIGH_WATER ((size_t)8 << 20) /* bytes waiting to be sent above which no request is taken */

struct vb_serve_restore {
    struct vb_conn *conn;
    struct vb_repo *repo;
    const struct vb_picked_roots *picked;
    uint32_t *groups;
    size_t n_groups;
    struct vb_serve_restore_handler handler;
    void *arg;
    uint64_t chunks, bytes;
    struct vb_data_end end;
};

/* ---- roots that are not in the repository ---- */

int vb_picked_add(struct vb_picked_roots *p, struct vb_repo *r, const struct vb_name *root, const char *path,
                  struct vb_name *name, struct vb_error *err)
{
    VB_AUTO_TREE found = { 0 };
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    const struct vb_tree_entry *e = NULL;
    if (vb_tree_lookup(r, root, path, &found, &e, err) < 0)
        return -1;
    struct vb_tree_entry only = *e;
    if (only.type == VB_TREE_DIR)
        only.name = "."; /* as every root that is a directory */
    struct vb_tree t = { .n = 1, .entries = &only };
    if (vb_tree_encode(&t, &bytes, err) < 0)
        return -1;
    const uint8_t *naming, *cutter;
    uint32_t group = 0; /* the agent names it with the key of what it was made from */
    if (vb_repo_group_of(r, root, &group))
        vb_repo_group_keys(r, group, &naming, &cutter);
    else
        naming = vb_repo_info(r)->naming_key;
    struct vb_namer *namer = vb_namer_new(naming);
    vb_namer_name(namer, VB_CHUNK_TREE, bytes.data, bytes.len, name);
    vb_namer_free(namer);
    for (size_t i = 0; i < p->n; i++)
        if (vb_name_equal(&p->v[i].name, name))
            return 0;
    VB_GROW(p->v, p->n, p->cap);
    p->v[p->n++] = (struct vb_picked_root){ *name, bytes };
    bytes = (struct vb_buf)VB_BUF_INIT;
    return 0;
}

void vb_picked_clear(struct vb_picked_roots *p)
{
    for (size_t i = 0; i < p->n; i++)
        vb_buf_clear(&p->v[i].tree);
    vb_free_ptr(&p->v);
    p->n = p->cap = 0;
}

static bool get_picked(const struct vb_serve_restore *s, const struct vb_name *name, struct vb_buf *out, size_t *raw)
{
    for (size_t i = 0; s->picked && i < s->picked->n; i++)
        if (vb_name_equal(&s->picked->v[i].name, name)) {
            vb_buf_add(out, s->picked->v[i].tree.data, s->picked->v[i].tree.len);
            *raw = out->len;
            return true;
        }
    return false;
}

/* ---- the stream ---- */

static void on_get(struct vb_serve_restore *s, const struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF stored = VB_BUF_INIT;
    const unsigned char *p;
    size_t n, raw = 0;
    uint8_t encoding = VB_ENC_RAW;
    struct vb_name name;
    uint64_t type = vb_msg_u64(m, VB_F_CHUNK_TYPE, 0);
    if (!vb_msg_bytes(m, VB_F_CHUNK_NAME, &p, &n) || n != VB_NAME_LEN || type > 255 ||
        !vb_chunk_type_valid((unsigned)type)) {
        vb_data_end_protocol(&s->end, "asked for a chunk in a way that cannot be understood");
        return;
    }
    memcpy(name.b, p, n);
    VB_AUTO_MSG reply = VB_MSG_INIT(VB_M_CHUNK);
    reply.id = m->id;
    bool picked = type == VB_CHUNK_TREE && get_picked(s, &name, &stored, &raw);
    if (!picked && s->n_groups && !vb_repo_in_groups(s->repo, &name, s->groups, s->n_groups)) {
        vb_fail(&err, VB_E_NOT_FOUND, "%s chunk is not in this backup", vb_chunk_type_name((unsigned)type));
        vb_msg_add_error(&reply, &err);
    } else if (!picked && (s->n_groups == 1 ? vb_repo_get_sealed : vb_repo_get_stored)(
                              s->repo, (enum vb_chunk_type)type, &name, &stored, &encoding, &raw, &err) < 0) {
        vb_msg_add_error(&reply, &err);
    } else {
        vb_msg_add(&reply, VB_F_CHUNK_NAME, name.b, sizeof name.b);
        vb_msg_add_u64(&reply, VB_F_CHUNK_TYPE, type);
        vb_msg_add_u64(&reply, VB_F_SIZE, raw);
        vb_msg_add_u64(&reply, VB_F_COMP, encoding);
        vb_msg_add(&reply, VB_F_BYTES, stored.data, stored.len);
        s->chunks++;
        s->bytes += stored.len;
    }
    vb_conn_send(s->conn, &reply);
    if (vb_conn_queued(s->conn) > HIGH_WATER)
        vb_conn_pause(s->conn, true);
}

static void on_warn(struct vb_serve_restore *s, const struct vb_msg *m)
{
    VB_AUTO_FREE char *path = vb_msg_str(m, VB_F_PATH);
    VB_AUTO_ERROR what = VB_ERROR_INIT;
    vb_msg_error(m, &what);
    if (s->handler.on_warn)
        s->handler.on_warn(s->arg, path ? path : "", &what);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_serve_restore *s = arg;
    if (s->end.ended)
        return;
    switch (m->type) {
    case VB_M_GET: on_get(s, m); break;
    case VB_M_WARN: on_warn(s, m); break;
    case VB_M_PROGRESS:
        if (s->handler.on_progress)
            s->handler.on_progress(s->arg, vb_msg_u64(m, VB_F_FILES, 0), vb_msg_u64(m, VB_F_BYTES_DONE, 0),
                                   vb_msg_u64(m, VB_F_BYTES_TOTAL, 0));
        break;
    case VB_M_DATA_END: {
        struct vb_msg ok = VB_MSG_INIT(VB_M_DATA_OK);
        vb_conn_send(s->conn, &ok);
        vb_data_end_set(&s->end, NULL, false);
        break;
    }
    case VB_M_ERROR: vb_data_end_from_agent(&s->end, m); break;
    default: vb_data_end_protocol(&s->end, "sent a message that has no place in a restore"); break;
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_serve_restore *s = arg;
    vb_data_end_closed(&s->end, why);
}

static void on_drain(void *arg)
{
    struct vb_serve_restore *s = arg;
    vb_conn_pause(s->conn, false);
}

static const struct vb_conn_handler handler = { on_msg, on_close, on_drain };

struct vb_serve_restore *vb_serve_restore_new(struct vb_conn *c, struct vb_repo *r, const struct vb_picked_roots *picked,
                                              const uint32_t *groups, size_t n_groups,
                                              const struct vb_serve_restore_handler *h, void *arg)
{
    struct vb_serve_restore *s = vb_alloc(sizeof *s);
    s->conn = c;
    s->repo = r;
    s->picked = picked;
    s->groups = vb_memdup(groups, n_groups * sizeof *groups);
    s->n_groups = n_groups;
    s->handler = *h;
    s->arg = arg;
    s->end = (struct vb_data_end){ .conn = c, .on_end = h->on_end, .arg = arg };
    vb_conn_set_handler(c, &handler, s);
    return s;
}

void vb_serve_restore_free(struct vb_serve_restore *s)
{
    if (!s)
        return;
    vb_conn_free(s->conn);
    vb_data_end_clear(&s->end);
    vb_free_ptr(&s->groups);
    vb_free_ptr(&s);
}

void vb_serve_restore_stats(const struct vb_serve_restore *s, uint64_t *chunks, uint64_t *bytes)
{
    *chunks = s->chunks;
    *bytes = s->bytes;
}
