/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/buf.c - growable bytes, and a reader that cannot pass the end. */
#include <config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

void vb_buf_clear(struct vb_buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = 0;
    b->cap = 0;
}

void vb_buf_reset(struct vb_buf *b)
{
    b->len = 0;
}

/* One byte more than asked for, so that a text view can always be terminated. */
void vb_buf_reserve(struct vb_buf *b, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(b->len, more, &need) || __builtin_add_overflow(need, 1, &need)) {
        need = SIZE_MAX; /* vb_realloc_n stops the process */
    }
    if (need <= b->cap) {
        return;
    }
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) {
        if (__builtin_mul_overflow(cap, 2, &cap)) {
            cap = need;
        }
    }
    b->data = vb_realloc_n(b->data, cap, 1);
    b->cap = cap;
}

void vb_buf_add(struct vb_buf *b, const void *p, size_t n)
{
    if (n == 0) {
        return;
    }
    vb_buf_reserve(b, n);
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

void vb_buf_add_str(struct vb_buf *b, const char *s)
{
    vb_buf_add(b, s, strlen(s));
}

void vb_buf_add_char(struct vb_buf *b, char c)
{
    vb_buf_add(b, &c, 1);
}

void vb_buf_addf(struct vb_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vb_buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void vb_buf_vaddf(struct vb_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    vb_buf_reserve(b, 128);
    size_t room = b->cap - b->len;
    int n = vsnprintf((char *)b->data + b->len, room, fmt, ap);
    if (n > 0 && (size_t)n >= room) {
        vb_buf_reserve(b, (size_t)n);
        n = vsnprintf((char *)b->data + b->len, b->cap - b->len, fmt, again);
    }
    va_end(again);
    if (n > 0) {
        b->len += (size_t)n;
    }
}

void vb_buf_add_u8(struct vb_buf *b, uint8_t v)
{
    vb_buf_add(b, &v, 1);
}

static void add_be(struct vb_buf *b, uint64_t v, unsigned bytes)
{
    unsigned char t[8];
    for (unsigned i = 0; i < bytes; i++) {
        t[i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
    }
    vb_buf_add(b, t, bytes);
}

void vb_buf_add_u16(struct vb_buf *b, uint16_t v)
{
    add_be(b, v, 2);
}

void vb_buf_add_u32(struct vb_buf *b, uint32_t v)
{
    add_be(b, v, 4);
}

void vb_buf_add_u64(struct vb_buf *b, uint64_t v)
{
    add_be(b, v, 8);
}

void vb_buf_consume(struct vb_buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    if (n) {
        memmove(b->data, b->data + n, b->len - n);
        b->len -= n;
    }
}

const char *vb_buf_str(struct vb_buf *b)
{
    vb_buf_reserve(b, 0);
    b->data[b->len] = 0;
    return (const char *)b->data;
}

char *vb_buf_take_str(struct vb_buf *b)
{
    vb_buf_str(b);
    char *s = (char *)b->data;
    b->data = NULL;
    b->len = 0;
    b->cap = 0;
    return s;
}

void vb_reader_init(struct vb_reader *r, const void *p, size_t n)
{
    r->p = p;
    r->left = n;
    r->bad = false;
}

bool vb_get_bytes(struct vb_reader *r, size_t n, const unsigned char **p)
{
    if (r->bad || n > r->left) {
        r->bad = true;
        return false;
    }
    *p = r->p;
    if (n) {
        r->p += n;
        r->left -= n;
    }
    return true;
}

static bool get_be(struct vb_reader *r, unsigned bytes, uint64_t *v)
{
    const unsigned char *p;
    if (!vb_get_bytes(r, bytes, &p)) {
        return false;
    }
    uint64_t t = 0;
    for (unsigned i = 0; i < bytes; i++) {
        t = t << 8 | p[i];
    }
    *v = t;
    return true;
}

bool vb_get_u8(struct vb_reader *r, uint8_t *v)
{
    uint64_t t;
    if (!get_be(r, 1, &t)) {
        return false;
    }
    *v = (uint8_t)t;
    return true;
}

bool vb_get_u16(struct vb_reader *r, uint16_t *v)
{
    uint64_t t;
    if (!get_be(r, 2, &t)) {
        return false;
    }
    *v = (uint16_t)t;
    return true;
}

bool vb_get_u32(struct vb_reader *r, uint32_t *v)
{
    uint64_t t;
    if (!get_be(r, 4, &t)) {
        return false;
    }
    *v = (uint32_t)t;
    return true;
}

bool vb_get_u64(struct vb_reader *r, uint64_t *v)
{
    return get_be(r, 8, v);
}
