/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/s3_sign.c - see s3_sign.h.
 */
#include "config.h"
#include "store/s3_sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

static void hex(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

void vb_s3_sha256_hex(const void *p, size_t n, char out[65])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_Digest(p, n, sum, &len, EVP_sha256(), NULL);
    hex(sum, 32, out);
}

void vb_s3_md5_hex(const void *p, size_t n, char out[33])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    out[0] = '\0';
    if (EVP_Digest(p, n, sum, &len, EVP_md5(), NULL) == 1 && len == 16)
        hex(sum, 16, out);
}

void vb_s3_escape(struct vb_buf *b, const char *s)
{
    for (; *s; s++)
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr("-._~", *s))
            vb_buf_add_char(b, *s);
        else
            vb_buf_addf(b, "%%%02X", (unsigned)(unsigned char)*s);
}

void vb_s3_date(uint64_t seconds, char out[17])
{
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    if (strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm) != 16)
        memcpy(out, "19700101T000000Z", 17);
}

static void hmac(const unsigned char *key, size_t n, const char *text, unsigned char out[32])
{
    unsigned len = 0;
    HMAC(EVP_sha256(), key, (int)n, (const unsigned char *)text, strlen(text), out, &len);
}

static void signature(const struct vb_s3_key *k, const char *date, const char *scope, const char *canonical, char out[65])
{
    unsigned char a[32], b[32];
    char sum[65];
    VB_AUTO_FREE char *first = vb_printf("AWS4%s", k->secret), *day = vb_strndup(date, 8);
    vb_s3_sha256_hex(canonical, strlen(canonical), sum);
    VB_AUTO_FREE char *text = vb_printf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, sum);
    hmac((const unsigned char *)first, strlen(first), day, a);
    hmac(a, 32, k->region, b);
    hmac(b, 32, "s3", a);
    hmac(a, 32, "aws4_request", b);
    hmac(b, 32, text, a);
    hex(a, 32, out);
    vb_wipe(first, strlen(first));
    vb_wipe(b, sizeof b);
}

/* Names of "name:value\n"... with ';' between. */
static void add_names(struct vb_buf *b, const char *headers)
{
    while (*headers) {
        size_t n = strcspn(headers, ":");
        if (b->len)
            vb_buf_add_char(b, ';');
        vb_buf_add(b, headers, n);
        headers += strcspn(headers, "\n");
        headers += *headers == '\n';
    }
}

/* host sorts among the others: those that sort before it, it, those behind, and then x-amz-*. */
static void sorted_headers(const struct vb_s3_to_sign *r, const char *amz, struct vb_buf *all)
{
    const char *h = r->headers;
    bool host = false;
    for (;;) {
        if (!host && (!*h || strncmp(h, "host", 4) > 0)) {
            vb_buf_addf(all, "host:%s\n", r->host);
            host = true;
        }
        if (!*h)
            break;
        size_t n = strcspn(h, "\n") + 1;
        vb_buf_add(all, h, n);
        h += n;
    }
    vb_buf_add_str(all, amz);
}

char *vb_s3_authorization(const struct vb_s3_key *k, const struct vb_s3_to_sign *r, const char *date)
{
    VB_AUTO_BUF headers = VB_BUF_INIT, names = VB_BUF_INIT;
    char sum[65];
    VB_AUTO_FREE char *amz = vb_printf("x-amz-content-sha256:%s\nx-amz-date:%s\n%s%s%s", r->payload, date,
                                       k->token ? "x-amz-security-token:" : "", k->token ? k->token : "", k->token ? "\n" : "");
    VB_AUTO_FREE char *scope = vb_printf("%.8s/%s/s3/aws4_request", date, k->region);
    sorted_headers(r, amz, &headers);
    add_names(&names, vb_buf_str(&headers));
    VB_AUTO_FREE char *canonical = vb_printf("%s\n%s\n%s\n%s\n%s\n%s", r->method, r->path, r->query, vb_buf_str(&headers),
                                             vb_buf_str(&names), r->payload);
    signature(k, date, scope, canonical, sum);
    return vb_printf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", k->id, scope, vb_buf_str(&names), sum);
}

char *vb_s3_presign(const struct vb_s3_key *k, const struct vb_s3_to_sign *r, const char *date, unsigned expires_s)
{
    VB_AUTO_BUF headers = VB_BUF_INIT, names = VB_BUF_INIT, query = VB_BUF_INIT;
    char sum[65];
    VB_AUTO_FREE char *scope = vb_printf("%.8s/%s/s3/aws4_request", date, k->region);
    VB_AUTO_FREE char *credential = vb_printf("%s/%s", k->id, scope);
    sorted_headers(r, "", &headers);
    add_names(&names, vb_buf_str(&headers));
    vb_buf_add_str(&query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
    vb_s3_escape(&query, credential);
    vb_buf_addf(&query, "&X-Amz-Date=%s&X-Amz-Expires=%u", date, expires_s);
    if (k->token) {
        vb_buf_add_str(&query, "&X-Amz-Security-Token=");
        vb_s3_escape(&query, k->token);
    }
    vb_buf_add_str(&query, "&X-Amz-SignedHeaders=");
    vb_s3_escape(&query, vb_buf_str(&names));
    VB_AUTO_FREE char *canonical = vb_printf("%s\n%s\n%s\n%s\n%s\nUNSIGNED-PAYLOAD", r->method, r->path, vb_buf_str(&query),
                                             vb_buf_str(&headers), vb_buf_str(&names));
    signature(k, date, scope, canonical, sum);
    vb_buf_addf(&query, "&X-Amz-Signature=%s", sum);
    return vb_buf_take_str(&query);
}
