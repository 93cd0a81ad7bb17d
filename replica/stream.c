/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/stream.c - frames sent and received, knowledge in parts, rows checked before anybody looks at them. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "base/io.h"
#include "base/mem.h"
#include "replica/item_file.h"
#include "replica/stream.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define BLOB_PIECE (4u << 20)
#define PENDING_MAX (128u << 10)

void vb_rstream_clear(struct vb_rstream *s)
{
    (void)vb_rstream_flush(s, NULL);
    if (s->out != s->in)
        vb_close_fd(&s->out);
    vb_close_fd(&s->in);
    s->out = -1;
    vb_buf_clear(&s->buf);
    vb_buf_clear(&s->pending);
    vb_hasher_free(&s->sum);
}

int vb_rstream_send(struct vb_rstream *s, const struct vb_msg *m, struct vb_error *err)
{
    size_t before = s->pending.len;
    if (s->out < 0)
        return 0;
    if (vb_msg_encode(m, &s->pending, err) < 0)
        return -1;
    if (s->sum)
        vb_hasher_add(s->sum, s->pending.data + before, s->pending.len - before);
    s->bytes_out += s->pending.len - before;
    return s->pending.len >= PENDING_MAX ? vb_rstream_flush(s, err) : 0;
}

int vb_rstream_flush(struct vb_rstream *s, struct vb_error *err)
{
    if (s->out < 0 || !s->pending.len)
        return 0;
    int result = vb_write_all(s->out, s->pending.data, s->pending.len, err);
    vb_buf_reset(&s->pending);
    if (result < 0)
        vb_context(err, "%s", s->peer ? s->peer : "peer");
    return result;
}

int vb_rstream_recv(struct vb_rstream *s, struct vb_msg *m, struct vb_error *err)
{
    const char *peer = s->peer ? s->peer : "peer";
    if (s->pending.len && vb_rstream_flush(s, err) < 0)
        return -1;
    int c = vb_msg_recv_fd(s->in, &s->buf, m, err);
    if (c > 0)
        return vb_fail(err, VB_E_CONNECTION_LOST, "%s: ended in the middle", peer);
    if (c < 0) {
        vb_context(err, "%s", peer);
        return -1;
    }
    s->bytes_in += m->body.len + VB_FRAME_HEAD;
    if (s->sum && m->type != VB_R_DIGEST) {
        VB_AUTO_BUF frame = VB_BUF_INIT;
        if (vb_msg_encode(m, &frame, err) < 0)
            return -1;
        vb_hasher_add(s->sum, frame.data, frame.len);
    }
    if (m->type != VB_R_ERROR)
        return 0;
    if (vb_msg_error(m, err) == 0)
        vb_fail(err, VB_E_PROTOCOL, "it failed and does not say why");
    vb_context(err, "%s", peer);
    vb_msg_clear(m);
    return -1;
}

int vb_rstream_expect(struct vb_rstream *s, enum vb_rstream_type type, struct vb_msg *m, struct vb_error *err)
{
    if (vb_rstream_recv(s, m, err) < 0)
        return -1;
    if (m->type == (uint16_t)type)
        return 0;
    int got = m->type;
    vb_msg_clear(m);
    return vb_fail(err, VB_E_PROTOCOL, "%s: message %d came where %d was due", s->peer ? s->peer : "peer", got, (int)type);
}

int vb_rstream_fail(struct vb_rstream *s, const struct vb_error *why)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_ERROR);
    vb_msg_add_error(&m, why);
    (void)vb_rstream_send(s, &m, NULL);
    (void)vb_rstream_flush(s, NULL);
    return -1;
}

/* ---- blobs ---- */

int vb_rstream_send_blob(struct vb_rstream *s, const void *p, size_t n, struct vb_error *err)
{
    const unsigned char *at = p;
    do {
        size_t piece = n < BLOB_PIECE ? n : BLOB_PIECE;
        VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BLOB);
        vb_msg_add(&m, VB_RF_BYTES, at ? (const void *)at : "", piece);
        vb_msg_add_u64(&m, VB_RF_LAST, piece == n);
        if (vb_rstream_send(s, &m, err) < 0)
            return -1;
        at = at ? at + piece : NULL;
        n -= piece;
    } while (n);
    return 0;
}

int vb_rstream_recv_blob(struct vb_rstream *s, struct vb_buf *out, struct vb_error *err)
{
    for (bool last = false; !last;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        const unsigned char *p;
        size_t n;
        if (vb_rstream_expect(s, VB_R_BLOB, &m, err) < 0)
            return -1;
        if (!vb_msg_bytes(&m, VB_RF_BYTES, &p, &n) || out->len + n > VB_RSTREAM_BLOB_MAX)
            return vb_fail(err, VB_E_PROTOCOL, "%s: a part is missing or too large", s->peer ? s->peer : "peer");
        vb_buf_add(out, p, n);
        last = vb_msg_u64(&m, VB_RF_LAST, 1) != 0;
    }
    return 0;
}

int vb_rstream_send_knowledge(struct vb_rstream *s, const struct vb_knowledge *k, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_knowledge_encode(k, &b);
    return vb_rstream_send_blob(s, b.data, b.len, err);
}

struct vb_knowledge *vb_rstream_recv_knowledge(struct vb_rstream *s, struct vb_error *err)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    return vb_rstream_recv_blob(s, &b, err) < 0 ? NULL : vb_knowledge_decode(b.data, b.len, err);
}

/* ---- rows ---- */

void vb_row_clear(struct vb_row *r)
{
    vb_item_clear(&r->item);
    vb_buf_clear(&r->attrs);
    vb_free_ptr(&r->target);
    vb_free_ptr(&r->hard);
    *r = (struct vb_row){ .target = NULL };
}

static void put_version(struct vb_msg *g, uint16_t tag, const struct vb_version *v)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add(&b, v->replica.b, VB_REPLICA_ID_LEN);
    vb_buf_add_u64(&b, v->tick);
    vb_msg_add(g, tag, b.data, b.len);
}

static bool get_version(const struct vb_msg *g, uint16_t tag, struct vb_version *v)
{
    const unsigned char *p;
    size_t n;
    struct vb_reader r;
    if (!vb_msg_bytes(g, tag, &p, &n) || n != VB_REPLICA_ID_LEN + 8)
        return false;
    memcpy(v->replica.b, p, VB_REPLICA_ID_LEN);
    vb_reader_init(&r, p + VB_REPLICA_ID_LEN, 8);
    return vb_get_u64(&r, &v->tick) && v->tick > 0 && v->tick <= INT64_MAX && !vb_replica_id_is_none(&v->replica);
}

static bool get_hash(const struct vb_msg *g, uint16_t tag, unsigned char out[VB_HASH_LEN])
{
    const unsigned char *p;
    size_t n;
    if (!vb_msg_bytes(g, tag, &p, &n) || n != VB_HASH_LEN)
        return false;
    memcpy(out, p, n);
    return true;
}

void vb_row_put(struct vb_msg *g, const struct vb_row *r)
{
    const struct vb_item *i = &r->item;
    vb_msg_add(g, VB_RF_PATH, i->path, strlen(i->path));
    vb_msg_add_u64(g, VB_RF_KIND, (uint64_t)i->kind);
    vb_msg_add_u64(g, VB_RF_SIZE, i->size);
    vb_msg_add_u64(g, VB_RF_MTIME, (uint64_t)i->mtime_ns);
    vb_msg_add_u64(g, VB_RF_MODE, i->mode);
    vb_msg_add_str(g, VB_RF_OWNER, i->owner);
    vb_msg_add(g, VB_RF_ATTR, i->attr, VB_HASH_LEN);
    vb_msg_add(g, VB_RF_CONTENT, i->content, VB_HASH_LEN);
    put_version(g, VB_RF_CREATED, &i->created);
    put_version(g, VB_RF_CHANGED, &i->changed);
    vb_msg_add_u64(g, VB_RF_ORIGIN_MTIME, (uint64_t)i->origin.mtime_ns);
    put_version(g, VB_RF_ORIGIN, &i->origin.version);
    if (i->deleted)
        vb_msg_add_u64(g, VB_RF_DELETED, 1);
    vb_msg_add_str(g, VB_RF_MOVED_TO, i->moved_to);
    if (i->have_base)
        vb_msg_add(g, VB_RF_BASE, i->base, VB_HASH_LEN);
    if (r->attrs.len)
        vb_msg_add(g, VB_RF_ATTRS, r->attrs.data, r->attrs.len);
    vb_msg_add_str(g, VB_RF_TARGET, r->target);
    vb_msg_add_str(g, VB_RF_HARD, r->hard);
    if (i->kind == VB_ITEM_SPECIAL && !i->deleted) {
        vb_msg_add_u64(g, VB_RF_DEVICE, r->device);
        vb_msg_add_u64(g, VB_RF_COUNT, r->type);
    }
}

/* What only the hashes vouch for must be what they say: a liar could else plant one thing under the name of another. */
static bool parts_match(const struct vb_row *r)
{
    unsigned char h[VB_HASH_LEN];
    const struct vb_item *i = &r->item;
    if (i->deleted)
        return true;
    vb_attrs_hash(r->attrs.data, r->attrs.len, h);
    if (memcmp(h, i->attr, VB_HASH_LEN) != 0 || !vb_attrs_good(r->attrs.data, r->attrs.len))
        return false;
    if (i->kind == VB_ITEM_LINK) {
        if (!r->target || !*r->target)
            return false;
        vb_hash(r->target, strlen(r->target), h);
        return memcmp(h, i->content, VB_HASH_LEN) == 0;
    }
    if (i->kind == VB_ITEM_SPECIAL) {
        VB_AUTO_FREE char *what = vb_printf("%o %u %u", (unsigned)r->type, major((dev_t)r->device), minor((dev_t)r->device));
        vb_hash(what, strlen(what), h);
        return (S_ISFIFO(r->type) || S_ISCHR(r->type) || S_ISBLK(r->type)) && memcmp(h, i->content, VB_HASH_LEN) == 0;
    }
    return i->kind == VB_ITEM_FILE || i->kind == VB_ITEM_DIR;
}

int vb_row_get(const unsigned char *p, size_t n, struct vb_row *out, struct vb_error *err)
{
    struct vb_msg g = vb_msg_view(p, n);
    struct vb_row r = { .target = vb_msg_str(&g, VB_RF_TARGET) };
    struct vb_item *i = &r.item;
    const unsigned char *a;
    size_t len;
    i->path = vb_msg_str(&g, VB_RF_PATH);
    i->kind = (enum vb_item_kind)vb_msg_u64(&g, VB_RF_KIND, 0);
    i->size = vb_msg_u64(&g, VB_RF_SIZE, 0);
    i->mtime_ns = (int64_t)vb_msg_u64(&g, VB_RF_MTIME, 0);
    i->mode = (uint32_t)(vb_msg_u64(&g, VB_RF_MODE, 0) & 07777);
    i->owner = vb_msg_str(&g, VB_RF_OWNER);
    i->origin.mtime_ns = (int64_t)vb_msg_u64(&g, VB_RF_ORIGIN_MTIME, 0);
    i->deleted = vb_msg_u64(&g, VB_RF_DELETED, 0) != 0;
    i->moved_to = vb_msg_str(&g, VB_RF_MOVED_TO);
    i->have_base = get_hash(&g, VB_RF_BASE, i->base);
    r.hard = vb_msg_str(&g, VB_RF_HARD);
    r.device = vb_msg_u64(&g, VB_RF_DEVICE, 0);
    r.type = (uint32_t)vb_msg_u64(&g, VB_RF_COUNT, 0);
    if (vb_msg_bytes(&g, VB_RF_ATTRS, &a, &len))
        vb_buf_add(&r.attrs, a, len);
    bool good = i->path && vb_item_path_good(i->path) && strcmp(i->path, ".") != 0 && i->kind >= VB_ITEM_FILE &&
                i->kind <= VB_ITEM_SPECIAL && i->size <= INT64_MAX && (!i->moved_to || vb_item_path_good(i->moved_to)) &&
                (!r.hard || (vb_item_path_good(r.hard) && i->kind == VB_ITEM_FILE && strcmp(r.hard, i->path) != 0)) &&
                get_hash(&g, VB_RF_ATTR, i->attr) && get_hash(&g, VB_RF_CONTENT, i->content) &&
                get_version(&g, VB_RF_CREATED, &i->created) && get_version(&g, VB_RF_CHANGED, &i->changed) &&
                get_version(&g, VB_RF_ORIGIN, &i->origin.version) && parts_match(&r);
    if (!good) {
        vb_fail(err, VB_E_PROTOCOL, "item '%s' is not one: nothing of it is applied", i->path ? i->path : "?");
        vb_row_clear(&r);
        return -1;
    }
    *out = r;
    return 0;
}
