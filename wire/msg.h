/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/msg.h - one message: a type, a correlation number, and typed fields.
 *
 * Frame on the wire (all big endian):
 *     u32 length of what follows | u16 type | u16 flags (0) | u64 id | fields
 * Field:
 *     u16 tag | u32 length | bytes
 * Tags may repeat (lists) and may hold a message body (groups).  A reader ignores tags it does not know and
 * refuses a frame above VB_FRAME_MAX, a field that passes the end, and more than VB_FIELDS_MAX fields.
 * Integers are 8 bytes, booleans an integer, strings UTF-8 or file-name bytes without zero inside.
 * The same encoding serves requester <-> agent, agent <-> writer host and agent <-> provider host.
 */
#ifndef VB_WIRE_MSG_H
#define VB_WIRE_MSG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

#define VB_FRAME_MAX (16u * 1024 * 1024)
#define VB_FIELDS_MAX 200000u
#define VB_FRAME_HEAD 16u /* length, type, flags, id */

struct vb_msg {
    uint16_t type;
    uint64_t id;          /* of the request; a reply carries the request's id */
    struct vb_buf body;   /* the fields */
};
#define VB_MSG_INIT(t) { (t), 0, VB_BUF_INIT }
#define VB_AUTO_MSG __attribute__((cleanup(vb_msg_clear))) struct vb_msg

void vb_msg_clear(struct vb_msg *m);

/* Adding fields. NULL strings are left out. */
void vb_msg_add(struct vb_msg *m, uint16_t tag, const void *p, size_t n);
void vb_msg_add_str(struct vb_msg *m, uint16_t tag, const char *s);
void vb_msg_add_u64(struct vb_msg *m, uint16_t tag, uint64_t v);
void vb_msg_add_group(struct vb_msg *m, uint16_t tag, const struct vb_msg *group); /* body only */
/* code, text and hint as the fields VB_F_CODE, VB_F_TEXT, VB_F_HINT; nothing for NULL or VB_OK. */
void vb_msg_add_error(struct vb_msg *m, const struct vb_error *err);

/* Reading: first field with the tag, or a default. Strings with a zero byte inside are refused at parse of that
 * field (NULL is returned).  Returned strings are owned by the caller. */
char *vb_msg_str(const struct vb_msg *m, uint16_t tag);
uint64_t vb_msg_u64(const struct vb_msg *m, uint16_t tag, uint64_t def);
bool vb_msg_has(const struct vb_msg *m, uint16_t tag);
bool vb_msg_bytes(const struct vb_msg *m, uint16_t tag, const unsigned char **p, size_t *n); /* borrowed */
/* VB_OK and untouched *err if the message has no VB_F_CODE; else sets *err and returns -1. */
int vb_msg_error(const struct vb_msg *m, struct vb_error *err);

/* Iteration over all fields, in order; 1 while there is one, 0 at the end. The body was checked on arrival. */
struct vb_field_iter { struct vb_reader r; };
void vb_field_iter_init(struct vb_field_iter *it, const struct vb_msg *m);
bool vb_field_next(struct vb_field_iter *it, uint16_t *tag, const unsigned char **p, size_t *n);
/* Views a group field as a message body (borrowed: do not clear). */
struct vb_msg vb_msg_view(const unsigned char *p, size_t n);
char *vb_field_str(const unsigned char *p, size_t n);      /* NULL if a zero byte is inside */
uint64_t vb_field_u64(const unsigned char *p, size_t n);   /* 0 unless n == 8 */

/* Encodes frame head and body behind out; -1 with VB_E_LIMIT above VB_FRAME_MAX. */
int vb_msg_encode(const struct vb_msg *m, struct vb_buf *out, struct vb_error *err);
/* Takes one whole frame from the front of in: 1 got one (*m filled, bytes consumed), 0 more bytes needed, -1 broken
 * (VB_E_PROTOCOL, VB_E_LIMIT).  The entry point of the fuzz target. */
int vb_msg_decode(struct vb_buf *in, struct vb_msg *m, struct vb_error *err);

#endif
