/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/s3_sign.h - signatures of requests to object storage (AWS Signature Version 4); pure.
 */
#ifndef VB_STORE_S3_SIGN_H
#define VB_STORE_S3_SIGN_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

struct vb_s3_key {
    const char *id, *secret, *token; /* token NULL: none */
    const char *region;
};

struct vb_s3_to_sign {
    const char *method, *host;
    const char *path;    /* "/bucket/name"; of characters that need no escape */
    const char *query;   /* "a=1&b=2", sorted and escaped; "" */
    const char *headers; /* "name:value\n" for each that is signed besides host and x-amz-*, sorted, lower case; "" */
    const char *payload; /* SHA-256 of the body in hex, or "UNSIGNED-PAYLOAD" */
};

/* "20261123T090807Z" for seconds since 1970. */
void vb_s3_date(uint64_t seconds, char out[17]);
/* The value of the header Authorization; x-amz-content-sha256, x-amz-date and the token's header are taken as sent. */
char *vb_s3_authorization(const struct vb_s3_key *k, const struct vb_s3_to_sign *r, const char *date);
/* The query of an address that lets whoever has it do this one request until it expires: everything after '?'. */
char *vb_s3_presign(const struct vb_s3_key *k, const struct vb_s3_to_sign *r, const char *date, unsigned expires_s);
void vb_s3_sha256_hex(const void *p, size_t n, char out[65]);
void vb_s3_md5_hex(const void *p, size_t n, char out[33]);
/* Appends s with everything but letters, digits, '-', '.', '_' and '~' as %XX. */
void vb_s3_escape(struct vb_buf *b, const char *s);

#endif
