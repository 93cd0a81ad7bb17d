/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/buf.h - a growable byte buffer and a bounds-checked reader.
 *
 * struct vb_buf b = VB_BUF_INIT;  ... vb_buf_clear(&b);   Clearing twice is harmless.
 * `data` may be NULL while len is 0.  Text helpers keep a terminating zero after len.
 */
#ifndef VB_BASE_BUF_H
#define VB_BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdarg.h>
#include <stddef.h>

struct vb_buf {
    unsigned char *data;
    size_t len, cap;
};
#define VB_BUF_INIT { NULL, 0, 0 }
#define VB_AUTO_BUF __attribute__((cleanup(vb_buf_clear))) struct vb_buf

void vb_buf_clear(struct vb_buf *b);
/* Where byte `at` is or would be; NULL of an empty one: nothing may be added to a null pointer. */
static inline unsigned char *vb_buf_at(const struct vb_buf *b, size_t at)
{
    return b->data ? b->data + at : NULL;
}
void vb_buf_reset(struct vb_buf *b);                     /* len = 0, keeps the memory */
void vb_buf_reserve(struct vb_buf *b, size_t more);      /* room for `more` bytes beyond len */
void vb_buf_add(struct vb_buf *b, const void *p, size_t n);
void vb_buf_add_str(struct vb_buf *b, const char *s);
void vb_buf_add_char(struct vb_buf *b, char c);
void vb_buf_addf(struct vb_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vb_buf_vaddf(struct vb_buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void vb_buf_add_u8(struct vb_buf *b, uint8_t v);
void vb_buf_add_u16(struct vb_buf *b, uint16_t v);       /* big endian, as everything on wire and disk */
void vb_buf_add_u32(struct vb_buf *b, uint32_t v);
void vb_buf_add_u64(struct vb_buf *b, uint64_t v);
void vb_buf_consume(struct vb_buf *b, size_t n);         /* drops n bytes from the front */
const char *vb_buf_str(struct vb_buf *b);                /* zero-terminated view, "" when empty */
char *vb_buf_take_str(struct vb_buf *b);                 /* zero-terminated, caller frees; b is empty afterwards */

/* A reader over foreign bytes.  Every get returns false, and sets `bad`, when it would pass the end;
 * once bad, every further get fails, so a parser may check once at the end. */
struct vb_reader {
    const unsigned char *p;
    size_t left;
    bool bad;
};
void vb_reader_init(struct vb_reader *r, const void *p, size_t n);
bool vb_get_u8(struct vb_reader *r, uint8_t *v);
bool vb_get_u16(struct vb_reader *r, uint16_t *v);
bool vb_get_u32(struct vb_reader *r, uint32_t *v);
bool vb_get_u64(struct vb_reader *r, uint64_t *v);
bool vb_get_bytes(struct vb_reader *r, size_t n, const unsigned char **p); /* borrowed */

#endif
