/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/s3_http.h - one request to object storage at a time, signed, over HTTP.
 */
#ifndef VB_STORE_S3_HTTP_H
#define VB_STORE_S3_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "store/backend.h"

struct vb_s3;

struct vb_s3_request {
    const char *method;
    const char *name;      /* of the object, below the prefix; NULL: the bucket itself */
    const char *query;     /* as in s3_sign.h; NULL: none */
    const void *body;      /* of PUT and POST */
    size_t n;
    bool create_only;      /* If-None-Match: * */
    bool range;
    uint64_t from, last;   /* bytes, both included */
    size_t most;           /* of an answer */
};
struct vb_s3_reply {
    long status;
    struct vb_buf body;
    char *etag;            /* without quotes; NULL: none */
    uint64_t length;       /* of the object, after HEAD */
    bool encrypted;        /* by the server: then the ETag is no sum */
    uint64_t retry_after_ms;
    bool resent;           /* libcurl found its old connection dead and sent the body once more: it may have been done twice */
};
void vb_s3_reply_clear(struct vb_s3_reply *r);

struct vb_s3 *vb_s3_new(const struct vb_s3_params *p, struct vb_error *err);
void vb_s3_free(struct vb_s3 *s);
/* One try.  0: it was answered with 2xx.  Else the status in *reply (0: none came), and by code: VB_E_NOT_FOUND (404),
 * VB_E_EXISTS (412), VB_E_ACCESS_DENIED (401, 403), VB_E_NOT_SUPPORTED (501), VB_E_NO_SPACE (507), VB_E_CORRUPT (416),
 * VB_E_BUSY (what may be over soon: 409, 429, 5xx), VB_E_CONNECTION_LOST, VB_E_CONNECT, VB_E_TIMEOUT. */
int vb_s3_send(struct vb_s3 *s, const struct vb_s3_request *q, struct vb_s3_reply *reply, struct vb_error *err);
/* The name of the object as the server knows it, "prefix/name"; caller frees. */
char *vb_s3_full(const struct vb_s3 *s, const char *name);
/* Seconds since 1970, by the server's clock where that differs. */
uint64_t vb_s3_now_s(const struct vb_s3 *s);
/* An address with which whoever has it can make this one object, once, until it expires; If-None-Match: * must be sent.
 * Caller frees. */
char *vb_s3_presign_create(struct vb_s3 *s, const char *name, unsigned expires_s);

/* ---- answers: the entry points of the fuzz target ---- */

/* The text of the first <tag> from *at on, entities resolved; *at moves behind it.  NULL: none.  Caller frees. */
char *vb_s3_xml(const char **at, const char *end, const char *tag);
typedef int vb_s3_key_fn(void *arg, const char *key, uint64_t size, struct vb_error *err);
/* One page of a listing; *next: the token of the next one, or NULL at the end.  -1: damaged. */
int vb_s3_parse_list(const char *text, size_t n, vb_s3_key_fn *fn, void *arg, char **next, struct vb_error *err);

/* One page of uploads in parts that were begun and not ended. */
typedef void vb_s3_upload_fn(void *arg, const char *key, const char *id, uint64_t begun_s);
int vb_s3_parse_uploads(const char *text, size_t n, vb_s3_upload_fn *fn, void *arg, struct vb_error *err);

#endif
