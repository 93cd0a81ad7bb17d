/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/crypto.h - the few primitives that sealing is made of, all from libcrypto: HMAC-SHA-256 as a keyed function
 * and in HKDF, X25519, scrypt, AES-256-GCM; and memory for secrets.
 *
 * A library that cannot do one of these, other than refusing foreign input, ends the process: a program that cannot
 * encrypt must not go on.
 */
#ifndef VB_STORE_CRYPTO_H
#define VB_STORE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

#define VB_KEY_LEN 32u
#define VB_AEAD_TAG_LEN 16u

/* Zeroed memory that is neither swapped out (as far as the limits of the user allow) nor dumped; wiped when freed.
 * size must be the same for both. */
void *vb_secret_alloc(size_t size);
void vb_secret_free(void *p, size_t size); /* NULL ok */
/* A buffer for a password: room bytes that are not swapped out, likewise; more than that may move it to memory that is
 * like any other.  Wiped when cleared (which is fine for one that was never reserved). */
void vb_secret_buf_reserve(struct vb_buf *b, size_t room);
void vb_secret_buf_clear(struct vb_buf *b);

/* From the kernel, at every call: a process that was forked, or a machine that was cloned, does not repeat them as a
 * generator in the process could. */
int vb_random(void *p, size_t n, struct vb_error *err);

/* HMAC-SHA-256(key, label, one zero byte, data). */
void vb_prf(const uint8_t key[VB_KEY_LEN], const char *label, const void *data, size_t n, uint8_t out[VB_KEY_LEN]);
/* HKDF-SHA-256 (RFC 5869), 32 bytes. */
void vb_hkdf(const void *secret, size_t n_secret, const void *salt, size_t n_salt, const void *info, size_t n_info,
             uint8_t out[VB_KEY_LEN]);

void vb_x25519_public(const uint8_t secret[VB_KEY_LEN], uint8_t pub[VB_KEY_LEN]);
/* VB_E_CORRUPT for a point of small order. */
int vb_x25519(const uint8_t secret[VB_KEY_LEN], const uint8_t pub[VB_KEY_LEN], uint8_t shared[VB_KEY_LEN],
              struct vb_error *err);

/* 2^log2_n rounds with r = 8, p = 1: 2^log2_n KiB of memory. */
#define VB_SCRYPT_MAX 20u
int vb_scrypt(const void *password, size_t n, const uint8_t salt[VB_KEY_LEN], unsigned log2_n,
              uint8_t out[VB_KEY_LEN], struct vb_error *err);

/* AES-256-GCM with the 12-byte nonce that is the number, big endian.  The caller sees to it that no number is used
 * twice with one key.  Not to be shared between threads. */
struct vb_aead;
struct vb_aead *vb_aead_new(void);
void vb_aead_free(struct vb_aead *a); /* NULL ok */
/* Appends n + 16 bytes. */
void vb_aead_seal(struct vb_aead *a, const uint8_t key[VB_KEY_LEN], uint32_t nonce, const void *aad, size_t n_aad,
                  const void *p, size_t n, struct vb_buf *out);
/* Appends n - 16 bytes; VB_E_CORRUPT, and out as it was, unless every bit is as it was sealed. */
int vb_aead_open(struct vb_aead *a, const uint8_t key[VB_KEY_LEN], uint32_t nonce, const void *aad, size_t n_aad,
                 const void *p, size_t n, struct vb_buf *out, struct vb_error *err);

#endif
