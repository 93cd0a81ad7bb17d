/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/crypto.c - see crypto.h.
 */
#include "config.h"
#include "store/crypto.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/mem.h"

static void must(bool ok)
{
    if (!ok) {
        fputs("vbackup: libcrypto cannot do what encryption needs\n", stderr);
        abort();
    }
}

/* ---- memory ---- */

void *vb_secret_alloc(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        fputs("vbackup: no memory\n", stderr);
        abort();
    }
    int r = mlock(p, size); /* an ordinary user may be refused more than a little */
    r |= madvise(p, size, MADV_DONTDUMP);
    (void)r;
    return p;
}

void vb_secret_free(void *p, size_t size)
{
    if (!p)
        return;
    vb_wipe(p, size);
    munmap(p, size);
}

void vb_secret_buf_reserve(struct vb_buf *b, size_t room)
{
    vb_buf_reserve(b, room);
    int r = mlock(b->data, b->cap);
    (void)r;
}

void vb_secret_buf_clear(struct vb_buf *b)
{
    if (b->data) {
        vb_wipe(b->data, b->cap);
        munlock(b->data, b->cap);
    }
    vb_buf_clear(b);
}

int vb_random(void *p, size_t n, struct vb_error *err)
{
    unsigned char *at = p;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return vb_fail_errno(err, errno, "cannot get random numbers");
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- derivation ---- */

static void hmac(const void *key, size_t n_key, const void *p, size_t n, uint8_t out[VB_KEY_LEN])
{
    static const unsigned char none[1];
    unsigned len = 0;
    must(HMAC(EVP_sha256(), n_key ? key : none, (int)n_key, p, n, out, &len) != NULL && len == VB_KEY_LEN);
}

void vb_prf(const uint8_t key[VB_KEY_LEN], const char *label, const void *data, size_t n, uint8_t out[VB_KEY_LEN])
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add(&b, label, strlen(label) + 1);
    vb_buf_add(&b, data, n);
    hmac(key, VB_KEY_LEN, b.data, b.len, out);
    vb_wipe(b.data, b.len);
}

void vb_hkdf(const void *secret, size_t n_secret, const void *salt, size_t n_salt, const void *info, size_t n_info,
             uint8_t out[VB_KEY_LEN])
{
    uint8_t prk[VB_KEY_LEN];
    VB_AUTO_BUF b = VB_BUF_INIT;
    hmac(salt, n_salt, secret, n_secret, prk);
    vb_buf_add(&b, info, n_info);
    vb_buf_add_u8(&b, 1);
    hmac(prk, sizeof prk, b.data, b.len, out);
    vb_wipe(prk, sizeof prk);
}

void vb_x25519_public(const uint8_t secret[VB_KEY_LEN], uint8_t pub[VB_KEY_LEN])
{
    size_t n = VB_KEY_LEN;
    EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, VB_KEY_LEN);
    must(k && EVP_PKEY_get_raw_public_key(k, pub, &n) == 1 && n == VB_KEY_LEN);
    EVP_PKEY_free(k);
}

int vb_x25519(const uint8_t secret[VB_KEY_LEN], const uint8_t pub[VB_KEY_LEN], uint8_t shared[VB_KEY_LEN],
              struct vb_error *err)
{
    size_t n = VB_KEY_LEN;
    EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, VB_KEY_LEN);
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, pub, VB_KEY_LEN);
    EVP_PKEY_CTX *ctx = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;
    must(own && peer && ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1);
    bool ok = EVP_PKEY_derive(ctx, shared, &n) == 1 && n == VB_KEY_LEN;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(own);
    EVP_PKEY_free(peer);
    return ok ? 0 : vb_fail(err, VB_E_CORRUPT, "not a public key");
}

int vb_scrypt(const void *password, size_t n, const uint8_t salt[VB_KEY_LEN], unsigned log2_n,
              uint8_t out[VB_KEY_LEN], struct vb_error *err)
{
    if (log2_n < 1 || log2_n > VB_SCRYPT_MAX)
        return vb_fail(err, VB_E_CORRUPT, "cost of the password derivation is out of bounds");
    if (EVP_PBE_scrypt(password, n, salt, VB_KEY_LEN, (uint64_t)1 << log2_n, 8, 1, ((uint64_t)1024 << log2_n) + 65536, out,
                       VB_KEY_LEN) == 1)
        return 0;
    vb_fail(err, VB_E_NO_MEMORY, "cannot derive a key from the password: %llu MiB of memory are needed",
            (unsigned long long)(((uint64_t)1 << log2_n) >> 10));
    return -1;
}

/* ---- AES-256-GCM ---- */

struct vb_aead {
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *ctx;
};

struct vb_aead *vb_aead_new(void)
{
    struct vb_aead *a = vb_alloc(sizeof *a);
    a->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    a->ctx = EVP_CIPHER_CTX_new();
    must(a->cipher && a->ctx);
    return a;
}

void vb_aead_free(struct vb_aead *a)
{
    if (!a)
        return;
    EVP_CIPHER_CTX_free(a->ctx); /* cleanses the key */
    EVP_CIPHER_free(a->cipher);
    free(a);
}

static void set_nonce(uint8_t iv[12], uint32_t nonce)
{
    memset(iv, 0, 12);
    for (unsigned i = 0; i < 4; i++)
        iv[8 + i] = (uint8_t)(nonce >> (24 - 8 * i));
}

void vb_aead_seal(struct vb_aead *a, const uint8_t key[VB_KEY_LEN], uint32_t nonce, const void *aad, size_t n_aad,
                  const void *p, size_t n, struct vb_buf *out)
{
    uint8_t iv[12];
    int len = 0, end = 0;
    set_nonce(iv, nonce);
    vb_buf_reserve(out, n + VB_AEAD_TAG_LEN);
    unsigned char *to = out->data + out->len;
    must(n <= INT32_MAX && EVP_EncryptInit_ex2(a->ctx, a->cipher, key, iv, NULL) == 1 &&
         (n_aad == 0 || EVP_EncryptUpdate(a->ctx, NULL, &len, aad, (int)n_aad) == 1) &&
         (n == 0 || EVP_EncryptUpdate(a->ctx, to, &len, p, (int)n) == 1) &&
         EVP_EncryptFinal_ex(a->ctx, to + n, &end) == 1 && end == 0 &&
         EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, (int)VB_AEAD_TAG_LEN, to + n) == 1);
    out->len += n + VB_AEAD_TAG_LEN;
}

int vb_aead_open(struct vb_aead *a, const uint8_t key[VB_KEY_LEN], uint32_t nonce, const void *aad, size_t n_aad,
                 const void *p, size_t n, struct vb_buf *out, struct vb_error *err)
{
    const unsigned char *from = p;
    uint8_t iv[12], tag[VB_AEAD_TAG_LEN];
    int len = 0, end = 0;
    if (n < VB_AEAD_TAG_LEN || n > INT32_MAX)
        return vb_fail(err, VB_E_CORRUPT, "too short to be sealed");
    n -= VB_AEAD_TAG_LEN;
    set_nonce(iv, nonce);
    memcpy(tag, from + n, sizeof tag);
    vb_buf_reserve(out, n + 1);
    unsigned char *to = out->data + out->len;
    must(EVP_DecryptInit_ex2(a->ctx, a->cipher, key, iv, NULL) == 1 &&
         (n_aad == 0 || EVP_DecryptUpdate(a->ctx, NULL, &len, aad, (int)n_aad) == 1) &&
         (n == 0 || EVP_DecryptUpdate(a->ctx, to, &len, from, (int)n) == 1) &&
         EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, (int)sizeof tag, tag) == 1);
    if (EVP_DecryptFinal_ex(a->ctx, to + n, &end) != 1) {
        vb_wipe(to, n);
        return vb_fail(err, VB_E_CORRUPT, "seal is broken: the bytes were altered, or belong elsewhere");
    }
    out->len += n;
    return 0;
}
