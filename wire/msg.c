/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/msg.c - encoding and decoding of messages; every length is checked before a byte is taken or allocated.
 */
#include "config.h"
#include "wire/msg.h"

#include <string.h>
#include "base/mem.h"
#include "wire/conn_impl.h"
#include "wire/protocol.h"

#define FIELD_HEAD 6u /* tag, length */

void vb_msg_clear(struct vb_msg *m)
{
    vb_buf_clear(&m->body);
    m->type = 0;
    m->id = 0;
}

void vb_msg_add(struct vb_msg *m, uint16_t tag, const void *p, size_t n)
{
    /* A length that does not fit makes the body larger than any frame, so that encoding refuses it. */
    vb_buf_reserve(&m->body, FIELD_HEAD + n);
    vb_buf_add_u16(&m->body, tag);
    vb_buf_add_u32(&m->body, (uint32_t)n);
    vb_buf_add(&m->body, p, n);
}

void vb_msg_add_str(struct vb_msg *m, uint16_t tag, const char *s)
{
    if (s)
        vb_msg_add(m, tag, s, strlen(s));
}

void vb_msg_add_u64(struct vb_msg *m, uint16_t tag, uint64_t v)
{
    unsigned char b[8];

    for (unsigned i = 0; i < 8; i++)
        b[i] = (unsigned char)(v >> (56 - 8 * i));
    vb_msg_add(m, tag, b, sizeof b);
}

void vb_msg_add_group(struct vb_msg *m, uint16_t tag, const struct vb_msg *group)
{
    vb_msg_add(m, tag, group->body.data, group->body.len);
}

void vb_msg_add_error(struct vb_msg *m, const struct vb_error *err)
{
    if (!err || err->code == VB_OK)
        return;
    vb_msg_add_u64(m, VB_F_CODE, (uint64_t)err->code);
    vb_msg_add_str(m, VB_F_TEXT, vb_error_text(err));
    vb_msg_add_str(m, VB_F_HINT, err->hint);
}

void vb_field_iter_init(struct vb_field_iter *it, const struct vb_msg *m)
{
    vb_reader_init(&it->r, m->body.data, m->body.len);
}

bool vb_field_next(struct vb_field_iter *it, uint16_t *tag, const unsigned char **p, size_t *n)
{
    uint32_t len;

    if (it->r.bad || it->r.left == 0)
        return false;
    if (!vb_get_u16(&it->r, tag) || !vb_get_u32(&it->r, &len) || !vb_get_bytes(&it->r, len, p))
        return false;
    *n = len;
    return true;
}

bool vb_msg_bytes(const struct vb_msg *m, uint16_t tag, const unsigned char **p, size_t *n)
{
    struct vb_field_iter it;
    uint16_t t;

    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &t, p, n))
        if (t == tag)
            return true;
    *p = NULL;
    *n = 0;
    return false;
}

bool vb_msg_has(const struct vb_msg *m, uint16_t tag)
{
    const unsigned char *p;
    size_t n;

    return vb_msg_bytes(m, tag, &p, &n);
}

char *vb_field_str(const unsigned char *p, size_t n)
{
    if (n && memchr(p, 0, n))
        return NULL;
    return vb_strndup((const char *)p, n);
}

uint64_t vb_field_u64(const unsigned char *p, size_t n)
{
    struct vb_reader r;
    uint64_t v = 0;

    if (n != 8)
        return 0;
    vb_reader_init(&r, p, n);
    return vb_get_u64(&r, &v) ? v : 0;
}

char *vb_msg_str(const struct vb_msg *m, uint16_t tag)
{
    const unsigned char *p;
    size_t n;

    return vb_msg_bytes(m, tag, &p, &n) ? vb_field_str(p, n) : NULL;
}

uint64_t vb_msg_u64(const struct vb_msg *m, uint16_t tag, uint64_t def)
{
    const unsigned char *p;
    size_t n;

    return vb_msg_bytes(m, tag, &p, &n) && n == 8 ? vb_field_u64(p, n) : def;
}

int vb_msg_error(const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_FREE char *text = NULL;
    VB_AUTO_FREE char *hint = NULL;
    uint64_t code;

    if (!vb_msg_has(m, VB_F_CODE))
        return 0;
    code = vb_msg_u64(m, VB_F_CODE, VB_E_UNEXPECTED);
    if (code == VB_OK)
        return 0;
    /* A number that a newer peer knows and we do not is still a failure. */
    if (code > INT32_MAX)
        code = VB_E_UNEXPECTED;
    text = vb_msg_str(m, VB_F_TEXT);
    hint = vb_msg_str(m, VB_F_HINT);
    vb_fail(err, (enum vb_code)code, "%s", text && *text ? text : "failed without saying why");
    if (hint && *hint)
        vb_hint(err, "%s", hint);
    return -1;
}

struct vb_msg vb_msg_view(const unsigned char *p, size_t n)
{
    struct vb_msg m = VB_MSG_INIT(0);

    m.body.data = (unsigned char *)(uintptr_t)p;
    m.body.len = n;
    return m;
}

int vb_msg_encode_head(const struct vb_msg *m, struct vb_buf *out, struct vb_error *err)
{
    if (m->body.len > VB_FRAME_MAX - VB_FRAME_HEAD)
        return vb_fail(err, VB_E_LIMIT, "message of type %u has %zu bytes, the limit is %u", (unsigned)m->type,
                       m->body.len, VB_FRAME_MAX - VB_FRAME_HEAD);
    vb_buf_reserve(out, VB_FRAME_HEAD);
    vb_buf_add_u32(out, (uint32_t)(VB_FRAME_HEAD - 4 + m->body.len));
    vb_buf_add_u16(out, m->type);
    vb_buf_add_u16(out, 0);
    vb_buf_add_u64(out, m->id);
    return 0;
}

int vb_msg_encode(const struct vb_msg *m, struct vb_buf *out, struct vb_error *err)
{
    if (vb_msg_encode_head(m, out, err) < 0)
        return -1;
    vb_buf_reserve(out, m->body.len);
    if (m->body.len)
        vb_buf_add(out, m->body.data, m->body.len);
    return 0;
}

/* Walks the fields once, so that later readers need no error path. */
static int check_fields(const unsigned char *p, size_t n, struct vb_error *err)
{
    struct vb_reader r;
    uint32_t fields = 0;

    vb_reader_init(&r, p, n);
    while (r.left > 0) {
        uint16_t tag;
        uint32_t len;
        const unsigned char *bytes;

        if (++fields > VB_FIELDS_MAX)
            return vb_fail(err, VB_E_LIMIT, "message has more than %u fields", VB_FIELDS_MAX);
        if (!vb_get_u16(&r, &tag) || !vb_get_u32(&r, &len) || !vb_get_bytes(&r, len, &bytes))
            return vb_fail(err, VB_E_PROTOCOL, "field %u of a message passes the end of the message", fields);
    }
    return 0;
}

int vb_msg_parse(const unsigned char *p, size_t n, size_t *used, struct vb_msg *m, struct vb_error *err)
{
    struct vb_reader r;
    uint32_t len;
    uint16_t type, flags;
    uint64_t id;
    size_t body;

    *used = 0;
    vb_reader_init(&r, p, n);
    /* The highest byte of a length within the limit is zero: text or another protocol shows at its first byte. */
    if (n > 0 && n < 4 && p[0] != 0)
        return vb_fail(err, VB_E_PROTOCOL, "message does not begin with a length within the limit of %u bytes",
                       VB_FRAME_MAX);
    if (!vb_get_u32(&r, &len))
        return 0;
    if (len > VB_FRAME_MAX - 4)
        return vb_fail(err, VB_E_LIMIT, "message of %llu bytes, the limit is %u", (unsigned long long)len + 4,
                       VB_FRAME_MAX);
    if (len < VB_FRAME_HEAD - 4)
        return vb_fail(err, VB_E_PROTOCOL, "message of %u bytes is shorter than its head", (unsigned)len + 4);
    if (!vb_get_u16(&r, &type) || !vb_get_u16(&r, &flags))
        return 0;
    if (flags != 0)
        return vb_fail(err, VB_E_PROTOCOL, "message of type %u has unknown flags 0x%x", (unsigned)type,
                       (unsigned)flags);
    if (!vb_get_u64(&r, &id))
        return 0;
    body = len - (VB_FRAME_HEAD - 4);
    if (r.left < body)
        return 0;
    if (check_fields(r.p, body, err) < 0)
        return -1;
    m->type = type;
    m->id = id;
    vb_buf_reset(&m->body);
    if (body)
        vb_buf_add(&m->body, r.p, body);
    *used = VB_FRAME_HEAD + body;
    return 1;
}

int vb_msg_decode(struct vb_buf *in, struct vb_msg *m, struct vb_error *err)
{
    size_t used;
    int got = vb_msg_parse(in->data, in->len, &used, m, err);

    if (got == 1)
        vb_buf_consume(in, used);
    return got;
}
