/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/ingest.c - says what is wanted, stores what comes.
 *
 * `expected` are the chunks that were asked for and have not come yet, in the order of asking, which is the order of
 * sending.
 */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "requester/data_end.h"
#include "requester/ingest.h"
#include "wire/protocol.h"

#define MAX_OFFER 65536u
#define MAX_EXPECTED 262144u /* more outstanding chunks than any honest window holds */

struct expected {
    struct vb_name name;
    enum vb_chunk_type type;
    uint32_t size;
};

struct vb_ingest {
    struct vb_conn *conn;
    struct vb_repo *repo;
    uint32_t group;
    bool trusted;
    struct vb_ingest_handler handler;
    void *arg;
    struct vb_ingest_stats stats;
    struct expected *expected; /* ring */
    size_t head, n_expected, cap;
    struct vb_data_end end;
};

static void expect(struct vb_ingest *in, const struct expected *x)
{
    if (in->n_expected == in->cap) {
        size_t cap = in->cap ? in->cap * 2 : 1024;
        struct expected *bigger = vb_alloc_n(cap, sizeof *bigger);
        for (size_t i = 0; i < in->n_expected; i++)
            bigger[i] = in->expected[(in->head + i) % in->cap];
        vb_free_ptr(&in->expected);
        in->expected = bigger;
        in->cap = cap;
        in->head = 0;
    }
    in->expected[(in->head + in->n_expected++) % in->cap] = *x;
}

static bool parse_offered(const struct vb_msg *g, struct expected *x)
{
    const unsigned char *p;
    size_t n;
    uint64_t type = vb_msg_u64(g, VB_F_CHUNK_TYPE, 0), size = vb_msg_u64(g, VB_F_SIZE, 0);
    if (!vb_msg_bytes(g, VB_F_CHUNK_NAME, &p, &n) || n != VB_NAME_LEN || type > 255 ||
        !vb_chunk_type_valid((unsigned)type) || size == 0 || size > VB_CHUNK_MAX_RAW)
        return false;
    memcpy(x->name.b, p, n);
    x->type = (enum vb_chunk_type)type;
    x->size = (uint32_t)size;
    return true;
}

struct offer {
    struct expected *v;
    struct vb_name *names;
    bool *present;
    size_t n, cap;
};

static void offer_clear(struct offer *o)
{
    vb_free_ptr(&o->v);
    vb_free_ptr(&o->names);
    vb_free_ptr(&o->present);
}

static bool parse_offer(const struct vb_msg *m, struct offer *o)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_F_CHUNK)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        VB_GROW(o->v, o->n, o->cap);
        if (o->n >= MAX_OFFER || !parse_offered(&g, &o->v[o->n]))
            return false;
        o->n++;
    }
    return o->n > 0;
}

static void on_offer(struct vb_ingest *in, const struct vb_msg *m)
{
    VB_CLEANUP(offer_clear) struct offer o = { NULL, NULL, NULL, 0, 0 };
    if (!parse_offer(m, &o) || in->n_expected + o.n > MAX_EXPECTED)
        return vb_data_end_protocol(&in->end, "offered chunks in a way that cannot be understood");
    o.names = vb_alloc_n(o.n, sizeof *o.names);
    o.present = vb_alloc_n(o.n, sizeof *o.present);
    for (size_t i = 0; i < o.n; i++)
        o.names[i] = o.v[i].name;
    vb_repo_has_in(in->repo, in->group, o.names, o.n, o.present);
    VB_AUTO_BUF bits = VB_BUF_INIT;
    vb_buf_reserve(&bits, (o.n + 7) / 8);
    memset(bits.data, 0, (o.n + 7) / 8);
    bits.len = (o.n + 7) / 8;
    bool only_asks = vb_msg_u64(m, VB_F_KIND, 0) == 1;
    for (size_t i = 0; only_asks && i < o.n; i++)
        if (!o.present[i])
            bits.data[i / 8] = (unsigned char)(bits.data[i / 8] | 1u << (i % 8));
    for (size_t i = 0; !only_asks && i < o.n; i++) {
        in->stats.offered_chunks++;
        in->stats.offered_bytes += o.v[i].size;
        if (o.present[i])
            continue;
        bits.data[i / 8] = (unsigned char)(bits.data[i / 8] | 1u << (i % 8));
        in->stats.wanted_chunks++;
        in->stats.wanted_bytes += o.v[i].size;
        expect(in, &o.v[i]);
    }
    VB_AUTO_MSG want = VB_MSG_INIT(VB_M_WANT);
    want.id = m->id;
    vb_msg_add(&want, VB_F_BITMAP, bits.data, bits.len);
    vb_conn_send(in->conn, &want);
}

static void on_chunk(struct vb_ingest *in, const struct vb_msg *m)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct expected x;
    const unsigned char *p;
    size_t n;
    uint64_t comp = vb_msg_u64(m, VB_F_COMP, VB_ENC_RAW);
    if (!parse_offered(m, &x) || !vb_msg_bytes(m, VB_F_BYTES, &p, &n) || comp > 255)
        return vb_data_end_protocol(&in->end, "sent a chunk that cannot be understood");
    const struct expected *want = in->n_expected ? &in->expected[in->head] : NULL;
    if (!want || !vb_name_equal(&want->name, &x.name) || want->type != x.type || want->size != x.size)
        return vb_data_end_protocol(&in->end, "sent a chunk that was not asked for");
    in->head = (in->head + 1) % in->cap;
    in->n_expected--;
    in->stats.received_bytes += n;
    bool believed = in->trusted && vb_msg_u64(m, VB_F_VERIFY, 0) == 1;
    if ((believed ? vb_repo_put_believed_in : vb_repo_put_in)(in->repo, in->group, x.type, &x.name, x.size, (uint8_t)comp, p, n, &err) < 0)
        vb_data_end_set(&in->end, &err, true);
}

static void on_warn(struct vb_ingest *in, const struct vb_msg *m)
{
    VB_AUTO_FREE char *path = vb_msg_str(m, VB_F_PATH);
    VB_AUTO_ERROR what = VB_ERROR_INIT;
    vb_msg_error(m, &what);
    in->stats.warnings++;
    if (in->handler.on_warn)
        in->handler.on_warn(in->arg, path ? path : "", &what);
}

static void on_end(struct vb_ingest *in)
{
    if (in->n_expected)
        return vb_data_end_protocol(&in->end, "ended without sending all that was asked for");
    struct vb_msg ok = VB_MSG_INIT(VB_M_DATA_OK);
    vb_conn_send(in->conn, &ok);
    vb_data_end_set(&in->end, NULL, false);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct vb_ingest *in = arg;
    if (in->end.ended)
        return;
    switch (m->type) {
    case VB_M_OFFER: on_offer(in, m); break;
    case VB_M_CHUNK: on_chunk(in, m); break;
    case VB_M_WARN: on_warn(in, m); break;
    case VB_M_ROOT: in->stats.roots++; break;
    case VB_M_DATA_END: on_end(in); break;
    case VB_M_PROGRESS:
        if (in->handler.on_progress)
            in->handler.on_progress(in->arg, vb_msg_u64(m, VB_F_FILES, 0), vb_msg_u64(m, VB_F_BYTES_DONE, 0),
                                    vb_msg_u64(m, VB_F_BYTES_TOTAL, 0));
        break;
    case VB_M_ERROR: vb_data_end_from_agent(&in->end, m); break;
    default: vb_data_end_protocol(&in->end, "sent a message that has no place in a capture"); break;
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct vb_ingest *in = arg;
    vb_data_end_closed(&in->end, why);
}

static const struct vb_conn_handler handler = { on_msg, on_close, NULL };

struct vb_ingest *vb_ingest_new(struct vb_conn *c, struct vb_repo *r, uint32_t group, const struct vb_ingest_handler *h,
                                void *arg)
{
    struct vb_ingest *in = vb_alloc(sizeof *in);
    in->conn = c;
    in->repo = r;
    in->group = group;
    in->handler = *h;
    in->arg = arg;
    in->end = (struct vb_data_end){ .conn = c, .on_end = h->on_end, .arg = arg };
    vb_conn_set_handler(c, &handler, in);
    return in;
}

void vb_ingest_trust(struct vb_ingest *in)
{
    in->trusted = true;
}

void vb_ingest_free(struct vb_ingest *in)
{
    if (!in)
        return;
    vb_conn_free(in->conn);
    vb_data_end_clear(&in->end);
    vb_free_ptr(&in->expected);
    vb_free_ptr(&in);
}

void vb_ingest_stats(const struct vb_ingest *in, struct vb_ingest_stats *s)
{
    *s = in->stats;
}

static void add_cut(struct vb_msg *m, const struct vb_cut_params *c)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_u32(&b, c->min);
    vb_buf_add_u32(&b, c->avg);
    vb_buf_add_u32(&b, c->max);
    vb_msg_add(m, VB_F_CUT_PARAMS, b.data, b.len);
}

void vb_ingest_add_keys(struct vb_msg *m, const struct vb_repo *r, uint32_t group)
{
    const struct vb_repo_info *info = vb_repo_info(r);
    const uint8_t *naming, *cutter;
    vb_repo_group_keys(r, group, &naming, &cutter);
    vb_msg_add(m, VB_F_NAMING_KEY, naming, VB_CHUNK_KEY_LEN);
    vb_msg_add(m, VB_F_CUT_SEED, cutter, VB_CHUNK_KEY_LEN);
    add_cut(m, &info->params.cut);
    add_cut(m, &info->params.cut_pages);
    vb_msg_add_u64(m, VB_F_LEVEL, info->params.compression > 0 ? (uint64_t)info->params.compression : 0);
}

void vb_ingest_add_trust(struct vb_msg *m)
{
    vb_msg_add_u64(m, VB_F_VERIFY, 1);
}
