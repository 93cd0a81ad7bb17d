/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/base64.h - bytes as text for documents (RFC 4648 section 4, with padding).
 */
#ifndef VB_BASE_BASE64_H
#define VB_BASE_BASE64_H

#include "base/buf.h"

/* Zero-terminated text without line breaks; caller frees. */
char *vb_base64_encode(const void *p, size_t n);
/* Appends the bytes to *out.  White space between characters is skipped; false for any other character outside the
 * alphabet, wrong padding, or leftover bits that are not zero (one value has one text); *out is then as it was. */
bool vb_base64_decode(const char *s, size_t n, struct vb_buf *out);

#endif
