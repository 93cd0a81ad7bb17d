/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/chunk.c - names, types and hashes of chunks.
 */
#include "config.h"
#include "store/chunk/chunk.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

bool vb_chunk_type_valid(unsigned type)
{
    return type >= VB_CHUNK_DATA && type <= VB_CHUNK_DOC;
}

const char *vb_chunk_type_name(unsigned type)
{
    switch (type) {
    case VB_CHUNK_DATA:
        return "data";
    case VB_CHUNK_TREE:
        return "tree";
    case VB_CHUNK_LIST:
        return "list";
    case VB_CHUNK_DOC:
        return "doc";
    default:
        return "unknown";
    }
}

bool vb_name_equal(const struct vb_name *a, const struct vb_name *b)
{
    return memcmp(a->b, b->b, VB_NAME_LEN) == 0;
}

int vb_name_compare(const struct vb_name *a, const struct vb_name *b)
{
    return memcmp(a->b, b->b, VB_NAME_LEN);
}

void vb_name_hex(const struct vb_name *n, char out[VB_NAME_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < VB_NAME_LEN; i++) {
        out[2 * i] = digits[n->b[i] >> 4];
        out[2 * i + 1] = digits[n->b[i] & 15];
    }
    out[VB_NAME_HEX_LEN] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool vb_name_parse(const char *hex, struct vb_name *n)
{
    if (!hex || strlen(hex) != VB_NAME_HEX_LEN)
        return false;
    for (size_t i = 0; i < VB_NAME_LEN; i++) {
        int hi = hex_value(hex[2 * i]), lo = hex_value(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        n->b[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

/* The library calls below fail only when memory is exhausted or the library is broken; both are met as base/mem.h
 * meets the first: a process that cannot hash must not go on. */
static void crypto_must(bool ok)
{
    if (!ok) {
        fputs("vbackup: libcrypto cannot compute SHA-256\n", stderr);
        abort();
    }
}

void vb_sha256(const void *p, size_t n, struct vb_name *out)
{
    unsigned len = 0;
    crypto_must(EVP_Digest(p, n, out->b, &len, EVP_sha256(), NULL) == 1 && len == VB_NAME_LEN);
}

struct vb_namer {
    EVP_MAC *mac;
    EVP_MAC_CTX *ctx; /* keyed; each name re-initialises it with the same key */
};

struct vb_namer *vb_namer_new(const uint8_t key[VB_CHUNK_KEY_LEN])
{
    struct vb_namer *n = vb_alloc(sizeof *n);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    n->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    crypto_must(n->mac != NULL);
    n->ctx = EVP_MAC_CTX_new(n->mac);
    crypto_must(n->ctx && EVP_MAC_init(n->ctx, key, VB_CHUNK_KEY_LEN, params) == 1);
    return n;
}

void vb_namer_free(struct vb_namer *n)
{
    if (!n)
        return;
    EVP_MAC_CTX_free(n->ctx); /* cleanses the key */
    EVP_MAC_free(n->mac);
    free(n);
}

void vb_namer_name(struct vb_namer *n, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *out)
{
    unsigned char t = (unsigned char)type;
    size_t out_len = 0;
    crypto_must(EVP_MAC_init(n->ctx, NULL, 0, NULL) == 1 && EVP_MAC_update(n->ctx, &t, 1) == 1 &&
                EVP_MAC_update(n->ctx, p, len) == 1 &&
                EVP_MAC_final(n->ctx, out->b, &out_len, VB_NAME_LEN) == 1 && out_len == VB_NAME_LEN);
}
