/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/s3_http.c - requests to object storage through libcurl, with signatures of our own.
 *
 * No redirection is followed, certificates are always checked, and secrets are in no address, log or error text.
 */
#include "config.h"
#include "store/s3_http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/s3_sign.h"

#define CONNECT_S 20L
#define SILENT_S 60L
#define ERROR_MAX 65536u

struct vb_s3 {
    CURL *curl;
    char *scheme, *host, *bucket, *prefix, *base_path, *region, *id, *secret, *token, *ca_file;
    int64_t clock_offset_s; /* of the server's clock, when it refused ours */
    uint64_t rate_up, rate_down;
};

struct sending {
    const struct vb_s3_request *q;
    size_t at;
    struct vb_s3_reply *reply;
    bool too_long, resent;
    unsigned begun;
    long status;
    time_t server_date;
};

void vb_s3_reply_clear(struct vb_s3_reply *r)
{
    vb_buf_clear(&r->body);
    free(r->etag);
    memset(r, 0, sizeof *r);
}

/* ---- answers ---- */

static char *unescape(const char *p, size_t n)
{
    static const struct { const char *name; char c; } known[] = {
        { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' } };
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        while (k < VB_COUNT(known) && (n - i < strlen(known[k].name) || strncmp(p + i, known[k].name, strlen(known[k].name)) != 0))
            k++;
        vb_buf_add_char(&b, k < VB_COUNT(known) ? known[k].c : p[i]);
        i += k < VB_COUNT(known) ? strlen(known[k].name) : 1;
    }
    return vb_buf_take_str(&b);
}

static const char *find(const char *at, const char *end, const char *what)
{
    return at < end ? memmem(at, (size_t)(end - at), what, strlen(what)) : NULL;
}

char *vb_s3_xml(const char **at, const char *end, const char *tag)
{
    VB_AUTO_FREE char *open = vb_printf("<%s>", tag), *close = vb_printf("</%s>", tag);
    const char *p = find(*at, end, open);
    const char *q = p ? find(p + strlen(open), end, close) : NULL;
    if (!q)
        return NULL;
    p += strlen(open);
    *at = q + strlen(close);
    return unescape(p, (size_t)(q - p));
}

int vb_s3_parse_list(const char *text, size_t n, vb_s3_key_fn *fn, void *arg, char **next, struct vb_error *err)
{
    const char *at = text, *end = text + n, *p;
    *next = NULL;
    if (!find(text, end, "<ListBucketResult") || !find(text, end, "</ListBucketResult>"))
        return vb_fail(err, VB_E_PROTOCOL, "the server's listing is not whole");
    while ((p = find(at, end, "<Contents>"))) {
        const char *stop = find(p, end, "</Contents>");
        uint64_t size = 0;
        if (!stop)
            return vb_fail(err, VB_E_PROTOCOL, "the server's listing is not whole");
        const char *a = p, *b = p;
        VB_AUTO_FREE char *key = vb_s3_xml(&a, stop, "Key"), *length = vb_s3_xml(&b, stop, "Size");
        if (!key || !length || !vb_parse_u64(length, &size))
            return vb_fail(err, VB_E_PROTOCOL, "the server's listing has an entry without name or size");
        int result = fn(arg, key, size, err);
        if (result != 0)
            return result;
        at = stop;
    }
    at = text;
    VB_AUTO_FREE char *truncated = vb_s3_xml(&at, end, "IsTruncated");
    at = text;
    if (!truncated || (strcmp(truncated, "true") != 0 && strcmp(truncated, "false") != 0))
        return vb_fail(err, VB_E_PROTOCOL, "the server's listing does not say whether it is complete");
    if (strcmp(truncated, "true") == 0) {
        *next = vb_s3_xml(&at, end, "NextContinuationToken");
        if (!*next)
            return vb_fail(err, VB_E_PROTOCOL, "the server's listing is cut short, and does not say how to go on");
    }
    return 0;
}

/* "2010-11-10T20:48:33.000Z" */
static bool parse_time(const char *text, uint64_t *s)
{
    struct tm t = { .tm_isdst = 0 };
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    time_t at = end ? timegm(&t) : -1;
    if (at < 0)
        return false;
    *s = (uint64_t)at;
    return true;
}

int vb_s3_parse_uploads(const char *text, size_t n, vb_s3_upload_fn *fn, void *arg, struct vb_error *err)
{
    const char *at = text, *end = text + n, *p;
    if (!find(text, end, "<ListMultipartUploadsResult") || !find(text, end, "</ListMultipartUploadsResult>"))
        return vb_fail(err, VB_E_PROTOCOL, "the server's listing of uploads is not whole");
    while ((p = find(at, end, "<Upload>"))) {
        const char *stop = find(p, end, "</Upload>"), *a = p, *b = p, *c = p;
        if (!stop)
            return vb_fail(err, VB_E_PROTOCOL, "the server's listing of uploads is not whole");
        VB_AUTO_FREE char *key = vb_s3_xml(&a, stop, "Key"), *id = vb_s3_xml(&b, stop, "UploadId");
        VB_AUTO_FREE char *when = vb_s3_xml(&c, stop, "Initiated");
        uint64_t begun = 0;
        if (key && id && when && parse_time(when, &begun)) /* what cannot be understood is left alone */
            fn(arg, key, id, begun);
        at = stop;
    }
    return 0;
}

/* ---- curl's callbacks ---- */

static size_t take_body(char *p, size_t size, size_t count, void *arg)
{
    struct sending *x = arg;
    size_t n = size * count, most = x->q->most > ERROR_MAX ? x->q->most : ERROR_MAX;
    if (n > most || x->reply->body.len > most - n) {
        x->too_long = true;
        return 0;
    }
    vb_buf_add(&x->reply->body, p, n);
    return n;
}

static size_t give_body(char *p, size_t size, size_t count, void *arg)
{
    struct sending *x = arg;
    size_t n = x->q->n - x->at;
    if (x->at == 0 && x->begun++ > 0)
        x->resent = true;
    if (n > size * count)
        n = size * count;
    if (n)
        memcpy(p, (const char *)x->q->body + x->at, n);
    x->at += n;
    return n;
}

static int rewind_body(void *arg, curl_off_t offset, int origin)
{
    struct sending *x = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->q->n)
        return CURL_SEEKFUNC_FAIL;
    x->at = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static char *value_of(const char *p, size_t n, const char *name)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(p, name, len) != 0 || p[len] != ':')
        return NULL;
    p += len + 1;
    n -= len + 1;
    while (n > 0 && (*p == ' ' || *p == '"')) {
        p++;
        n--;
    }
    while (n > 0 && ((unsigned char)p[n - 1] <= ' ' || p[n - 1] == '"'))
        n--;
    return vb_strndup(p, n);
}

static size_t take_header(char *p, size_t size, size_t count, void *arg)
{
    struct sending *x = arg;
    size_t n = size * count;
    VB_AUTO_FREE char *after = value_of(p, n, "retry-after"), *date = value_of(p, n, "date");
    VB_AUTO_FREE char *sealed = value_of(p, n, "x-amz-server-side-encryption");
    char *etag = value_of(p, n, "etag");
    uint32_t seconds;
    if (n > 5 && strncmp(p, "HTTP/", 5) == 0) { /* after "100 Continue" comes the real one */
        free(x->reply->etag);
        x->reply->etag = NULL;
    }
    if (etag) {
        free(x->reply->etag);
        x->reply->etag = etag;
    }
    if (after && vb_parse_u32(after, &seconds))
        x->reply->retry_after_ms = (uint64_t)(seconds < 60 ? seconds : 60) * 1000;
    if (date)
        x->server_date = curl_getdate(date, NULL);
    x->reply->encrypted = x->reply->encrypted || sealed != NULL;
    return n;
}

/* ---- sending ---- */

char *vb_s3_full(const struct vb_s3 *s, const char *name)
{
    return *s->prefix && *name ? vb_printf("%s/%s", s->prefix, name) : vb_strdup(*name ? name : s->prefix);
}

static char *path_of(const struct vb_s3 *s, const char *name)
{
    VB_AUTO_FREE char *full = name ? vb_s3_full(s, name) : vb_strdup("");
    return vb_printf("%s/%s", s->base_path, full);
}

static uint64_t now_s(const struct vb_s3 *s)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)((int64_t)t.tv_sec + s->clock_offset_s);
}

uint64_t vb_s3_now_s(const struct vb_s3 *s)
{
    return now_s(s);
}

static struct curl_slist *headers_of(const struct vb_s3 *s, const struct vb_s3_request *q, const char *path)
{
    struct vb_s3_key key = { s->id, s->secret, s->token, s->region };
    char date[17], payload[65];
    struct curl_slist *list = NULL;
    vb_s3_date(now_s(s), date);
    vb_s3_sha256_hex(q->n ? q->body : "", q->n, payload);
    struct vb_s3_to_sign r = { q->method, s->host, path, q->query ? q->query : "", q->create_only ? "if-none-match:*\n" : "",
                               payload };
    VB_AUTO_FREE char *signed_by = vb_s3_authorization(&key, &r, date);
    VB_AUTO_FREE char *authorization = vb_printf("Authorization: %s", signed_by);
    VB_AUTO_FREE char *when = vb_printf("x-amz-date: %s", date), *sum = vb_printf("x-amz-content-sha256: %s", payload);
    VB_AUTO_FREE char *token = s->token ? vb_printf("x-amz-security-token: %s", s->token) : NULL;
    VB_AUTO_FREE char *range = vb_printf("Range: bytes=%llu-%llu", (unsigned long long)q->from, (unsigned long long)q->last);
    VB_AUTO_FREE char *host = vb_printf("Host: %s", s->host);
    list = curl_slist_append(list, authorization);
    list = curl_slist_append(list, host);
    list = curl_slist_append(list, when);
    list = curl_slist_append(list, sum);
    list = curl_slist_append(list, "Expect:");
    list = curl_slist_append(list, "Content-Type: application/octet-stream");
    if (token)
        list = curl_slist_append(list, token);
    if (q->create_only)
        list = curl_slist_append(list, "If-None-Match: *");
    if (q->range)
        list = curl_slist_append(list, range);
    return list;
}

static int curl_failed(const struct vb_s3 *s, CURLcode code, const char *detail, struct vb_error *err)
{
    const char *why = *detail ? detail : curl_easy_strerror(code);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return vb_fail(err, VB_E_CONNECT, "cannot connect to '%s': %s", s->host, why);
    case CURLE_OPERATION_TIMEDOUT:
        return vb_fail(err, VB_E_TIMEOUT, "'%s': %s", s->host, why);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        vb_fail(err, VB_E_HOST_KEY, "the certificate of '%s' is not good: %s", s->host, why);
        vb_hint(err, "name the authority that signed it by 'ca-file' under [repository]");
        return -1;
    default:
        return vb_fail(err, VB_E_CONNECTION_LOST, "connection to '%s' lost: %s", s->host, why);
    }
}

static int refused(const struct vb_s3_request *q, const struct vb_s3_reply *r, struct vb_error *err)
{
    const char *text = r->body.len ? (const char *)r->body.data : "", *end = text + r->body.len, *a = text, *b = text;
    VB_AUTO_FREE char *code = r->body.len ? vb_s3_xml(&a, end, "Code") : NULL;
    VB_AUTO_FREE char *message = r->body.len ? vb_s3_xml(&b, end, "Message") : NULL;
    VB_AUTO_FREE char *said = vb_printf("%s%s%s", code ? code : "", code && message ? ": " : "", message ? message : "");
    VB_AUTO_FREE char *shown = vb_escape_terminal(said, strnlen(said, 300));
    enum vb_code c = VB_E_IO;
    if (r->status == 404)
        c = VB_E_NOT_FOUND;
    else if (r->status == 412)
        c = VB_E_EXISTS;
    else if (r->status == 401 || r->status == 403)
        c = VB_E_ACCESS_DENIED;
    else if (r->status == 416)
        c = VB_E_CORRUPT;
    else if (r->status == 501)
        c = VB_E_NOT_SUPPORTED;
    else if (r->status == 507)
        c = VB_E_NO_SPACE;
    else if (r->status == 409 || r->status == 429 || r->status >= 500)
        c = VB_E_BUSY;
    vb_fail(err, c, "the server answered %ld%s%s", r->status, *shown ? " " : "", shown);
    if (c == VB_E_ACCESS_DENIED && strcmp(q->method, "DELETE") == 0)
        vb_hint(err, "an object lock or the key's policy may keep what is there: prune where that is allowed, or when it has expired");
    else if (c == VB_E_ACCESS_DENIED)
        vb_hint(err, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or credentials-file, credentials-command), and what the key may do");
    return -1;
}

static int send_once(struct vb_s3 *s, const struct vb_s3_request *q, struct vb_s3_reply *reply, time_t *date, struct vb_error *err)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct sending x = { .q = q, .reply = reply };
    VB_AUTO_FREE char *path = path_of(s, q->name);
    VB_AUTO_FREE char *url = vb_printf("%s://%s%s%s%s", s->scheme, s->host, path, q->query ? "?" : "", q->query ? q->query : "");
    struct curl_slist *headers = headers_of(s, q, path);
    CURL *c = s->curl;
    vb_s3_reply_clear(reply);
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, NULL);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, SILENT_S);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &x);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &x);
    if (s->ca_file)
        curl_easy_setopt(c, CURLOPT_CAINFO, s->ca_file);
    if (s->rate_up)
        curl_easy_setopt(c, CURLOPT_MAX_SEND_SPEED_LARGE, (curl_off_t)s->rate_up);
    if (s->rate_down)
        curl_easy_setopt(c, CURLOPT_MAX_RECV_SPEED_LARGE, (curl_off_t)s->rate_down);
    if (strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(c, CURLOPT_READDATA, &x);
        curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, rewind_body);
        curl_easy_setopt(c, CURLOPT_SEEKDATA, &x);
        curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->n);
    } else if (strcmp(q->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, strcmp(q->method, "HEAD") == 0 ? NULL : q->method);
    CURLcode code = curl_easy_perform(c);
    curl_slist_free_all(headers);
    *date = x.server_date;
    reply->resent = x.resent;
    if (x.too_long)
        return vb_fail(err, VB_E_PROTOCOL, "the server's answer is longer than what was asked for");
    if (code != CURLE_OK)
        return curl_failed(s, code, detail, err);
    curl_off_t length = -1;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_getinfo(c, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    reply->length = length > 0 ? (uint64_t)length : 0;
    return reply->status >= 200 && reply->status < 300 ? 0 : refused(q, reply, err);
}

int vb_s3_send(struct vb_s3 *s, const struct vb_s3_request *q, struct vb_s3_reply *reply, struct vb_error *err)
{
    time_t date = 0;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (send_once(s, q, reply, &date, &why) == 0)
        return 0;
    /* A signature has a time in it: where the clocks differ, the server's counts. */
    if (reply->status == 403 && date > 0 && s->clock_offset_s == 0) {
        int64_t off = (int64_t)date - (int64_t)now_s(s);
        if (off > 300 || off < -300) {
            vb_log(VB_LOG_WARNING, "the clock of '%s' differs from ours by %lld s: its time is used for signatures", s->host,
                   (long long)off);
            s->clock_offset_s = off;
            vb_error_clear(&why);
            if (send_once(s, q, reply, &date, &why) == 0)
                return 0;
        }
    }
    return vb_error_move(err, &why);
}

char *vb_s3_presign_create(struct vb_s3 *s, const char *name, unsigned expires_s)
{
    struct vb_s3_key key = { s->id, s->secret, s->token, s->region };
    char date[17];
    VB_AUTO_FREE char *path = path_of(s, name);
    vb_s3_date(now_s(s), date);
    struct vb_s3_to_sign r = { "PUT", s->host, path, "", "if-none-match:*\n", "UNSIGNED-PAYLOAD" };
    VB_AUTO_FREE char *query = vb_s3_presign(&key, &r, date, expires_s);
    return vb_printf("%s://%s%s?%s", s->scheme, s->host, path, query);
}

/* ---- opening ---- */

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool plain(const char *s, const char *more, size_t least, size_t most)
{
    size_t n = strlen(s);
    for (const char *c = s; *c; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9') && !strchr(more, *c))
            return false;
    return n >= least && n <= most;
}

static int check(const struct vb_s3_params *p, struct vb_error *err)
{
    const char *rest = strstr(p->endpoint, "://");
    if (!rest || (strncmp(p->endpoint, "http://", 7) != 0 && strncmp(p->endpoint, "https://", 8) != 0) || !rest[3] ||
        strpbrk(rest + 3, "/?#@ \t\r\n"))
        return vb_fail(err, VB_E_CONFIG, "endpoint '%s' is not https://HOST[:PORT]", p->endpoint);
    if (!plain(p->bucket, ".-", 3, 63))
        return vb_fail(err, VB_E_USAGE, "'%s' is not the name of a bucket", p->bucket);
    if (!plain(p->prefix, ".-_/ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0, 500))
        return vb_fail(err, VB_E_USAGE, "prefix '%s': only letters, digits, '.', '-', '_' and '/' can be in it", p->prefix);
    if (!plain(p->region, "-", 1, 64))
        return vb_fail(err, VB_E_CONFIG, "'%s' is not the name of a region", p->region);
    for (const char *c = p->access_key; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c > '~')
            return vb_fail(err, VB_E_CONFIG, "the access key has characters that cannot be in one");
    return 0;
}

struct vb_s3 *vb_s3_new(const struct vb_s3_params *p, struct vb_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (check(p, err) < 0)
        return NULL;
    pthread_once(&once, start_curl);
    struct vb_s3 *s = vb_alloc(sizeof *s);
    const char *host = strstr(p->endpoint, "://") + 3;
    s->scheme = vb_strndup(p->endpoint, (size_t)(host - 3 - p->endpoint));
    s->host = p->virtual_style ? vb_printf("%s.%s", p->bucket, host) : vb_strdup(host);
    s->base_path = p->virtual_style ? vb_strdup("") : vb_printf("/%s", p->bucket);
    s->bucket = vb_strdup(p->bucket);
    s->prefix = vb_strdup(p->prefix);
    s->region = vb_strdup(p->region);
    s->id = vb_strdup(p->access_key);
    s->secret = vb_strdup(p->secret_key);
    s->token = vb_strdup(p->token);
    s->ca_file = vb_strdup(p->ca_file);
    s->rate_up = p->rate_up;
    s->rate_down = p->rate_down;
    s->curl = curl_easy_init();
    if (!s->curl) {
        vb_fail(err, VB_E_UNEXPECTED, "libcurl cannot start");
        vb_s3_free(s);
        return NULL;
    }
    return s;
}

void vb_s3_free(struct vb_s3 *s)
{
    if (!s)
        return;
    if (s->curl)
        curl_easy_cleanup(s->curl);
    if (s->secret)
        vb_wipe(s->secret, strlen(s->secret));
    char *const texts[] = { s->scheme, s->host, s->bucket, s->prefix, s->base_path, s->region, s->id, s->secret, s->token, s->ca_file };
    for (size_t i = 0; i < VB_COUNT(texts); i++)
        free(texts[i]);
    free(s);
}
