/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/base64.c - bytes as text for documents.
 */
#include <string.h>
#include "base/base64.h"
#include "base/mem.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *vb_base64_encode(const void *p, size_t n)
{
    const unsigned char *b = p;
    char *out = vb_alloc_n(n / 3 + 2, 4); /* a group for the rest and one for the end mark */
    char *o = out;

    for (; n >= 3; n -= 3, b += 3) {
        *o++ = alphabet[b[0] >> 2];
        *o++ = alphabet[(b[0] & 3) << 4 | b[1] >> 4];
        *o++ = alphabet[(b[1] & 15) << 2 | b[2] >> 6];
        *o++ = alphabet[b[2] & 63];
    }
    if (n) {
        *o++ = alphabet[b[0] >> 2];
        *o++ = alphabet[(b[0] & 3) << 4 | (n == 2 ? b[1] >> 4 : 0)];
        *o++ = n == 2 ? alphabet[(b[1] & 15) << 2] : '=';
        *o++ = '=';
    }
    *o = '\0';
    return out;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool vb_base64_decode(const char *s, size_t n, struct vb_buf *out)
{
    size_t start = out->len;
    uint32_t acc = 0;
    unsigned have = 0, pad = 0;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r')
            continue;
        if (s[i] == '=' && have >= 2 && pad < 4 - have) {
            pad++;
            continue;
        }
        int v = value_of(s[i]);
        if (v < 0 || pad)
            goto bad;
        acc = acc << 6 | (uint32_t)v;
        if (++have == 4) {
            vb_buf_add_u8(out, (uint8_t)(acc >> 16));
            vb_buf_add_u8(out, (uint8_t)(acc >> 8));
            vb_buf_add_u8(out, (uint8_t)acc);
            acc = 0;
            have = 0;
        }
    }
    if (have == 0)
        return true;
    if (have + pad != 4 || (have == 2 && (acc & 15)) || (have == 3 && (acc & 3)))
        goto bad;
    vb_buf_add_u8(out, (uint8_t)(have == 2 ? acc >> 4 : acc >> 10));
    if (have == 3)
        vb_buf_add_u8(out, (uint8_t)(acc >> 2));
    return true;
bad:
    out->len = start;
    return false;
}
