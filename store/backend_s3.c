/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_s3.c - the repository as objects in S3-compatible storage.
 *
 * An object is there whole or not at all, and durable when its PUT is answered: the barrier has nothing to do.  Names are
 * exclusive where the server understands If-None-Match: *, which is tried out when the store is opened for writing; where
 * it does not, a name is only looked for before it is given, and the log says so.  Large files go in parts.
 *
 * A request that is cut off or told to wait is sent again, with growing pauses; when a file turns out to be there already
 * after a PUT whose answer was lost, it is read back and compared.
 */
#include "config.h"
#include "store/backend.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/link.h"
#include "store/s3_http.h"
#include "store/s3_sign.h"

#define PART_SIZE ((size_t)32 << 20)
#define PARTS_MAX 10000u
#define STALE_S 86400u
#define LIST_PAGE_MAX ((size_t)16 << 20)

struct store {
    struct vb_backend b;
    struct vb_s3 *s3;
    uint64_t retry_ms;
    size_t part_size;
    bool exclusive; /* the server refuses a name that is taken */
    bool opened, locked;
};

static struct store *self(struct vb_backend *b)
{
    return (struct store *)b;
}

/* Sends, again and again while it makes sense.  *lost (may be NULL): an earlier try may have done it. */
static int request(struct store *d, const struct vb_s3_request *q, struct vb_s3_reply *reply, bool *lost, struct vb_error *err)
{
    struct vb_retry retry;
    vb_retry_start(&retry, d->opened || d->retry_ms < VB_RETRY_OPEN_MS ? d->retry_ms : VB_RETRY_OPEN_MS);
    for (;;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        int result = vb_s3_send(d->s3, q, reply, &why);
        if (lost && reply->resent)
            *lost = true;
        if (result == 0)
            return 0;
        if (lost && vb_retry_worth(&why) && why.code != VB_E_CONNECT)
            *lost = true;
        if ((!d->opened && why.code == VB_E_CONNECT) ||
            !vb_retry_again(&retry, d->b.location, &why, reply->retry_after_ms)) {
            if (why.code == VB_E_BUSY) /* to the layers above that word is a lock */
                why.code = VB_E_IO;
            return vb_error_move(err, &why);
        }
    }
}

/* ---- reading ---- */

static int s3_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    const struct vb_s3_request q = { .method = "HEAD", .name = name };
    struct vb_s3_reply reply = { 0 };
    int result = request(self(b), &q, &reply, NULL, err);
    if (result == 0)
        *size = reply.length;
    vb_s3_reply_clear(&reply);
    return result;
}

static int s3_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                   struct vb_error *err)
{
    struct vb_s3_request q = { .method = "GET", .name = name, .range = true, .from = offset, .last = offset + len - 1, .most = len };
    struct vb_s3_reply reply = { 0 };
    uint64_t size = 0;
    if (len == 0)
        return s3_size(b, name, &size, err);
    if (offset > (uint64_t)INT64_MAX - len)
        return vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(offset + len));
    int result = request(self(b), &q, &reply, NULL, err);
    if (result == 0 && reply.status != 206 && !(offset == 0 && reply.body.len == len))
        result = vb_fail(err, VB_E_PROTOCOL, "the server does not read parts of objects");
    else if ((result == 0 && reply.body.len < len) || (result < 0 && reply.status == 416))
        result = vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(offset + len));
    if (result == 0)
        vb_buf_add(out, reply.body.data, len);
    vb_s3_reply_clear(&reply);
    return result;
}

struct found {
    char *name;
    uint64_t size;
};
struct listing {
    const char *full; /* what every key begins with */
    size_t strip;     /* of it, the repository's own prefix */
    struct found *v;
    size_t n, cap;
};

static int add_key(void *arg, const char *key, uint64_t size, struct vb_error *err)
{
    struct listing *l = arg;
    if (strncmp(key, l->full, strlen(l->full)) != 0)
        return vb_fail(err, VB_E_PROTOCOL, "the server's listing has names that were not asked for");
    const char *name = key + l->strip;
    if (!vb_backend_name_valid(name) || strcmp(name, "lock") == 0)
        return 0;
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = (struct found){ vb_strdup(name), size };
    return 0;
}

static int list_all(struct store *d, struct listing *l, struct vb_error *err)
{
    VB_AUTO_FREE char *token = NULL;
    for (;;) {
        VB_AUTO_BUF query = VB_BUF_INIT;
        struct vb_s3_reply reply = { 0 };
        char *next = NULL;
        if (token) {
            vb_buf_add_str(&query, "continuation-token=");
            vb_s3_escape(&query, token);
            vb_buf_add_char(&query, '&');
        }
        vb_buf_add_str(&query, "list-type=2&prefix=");
        vb_s3_escape(&query, l->full);
        const struct vb_s3_request q = { .method = "GET", .query = vb_buf_str(&query), .most = LIST_PAGE_MAX };
        int result = request(d, &q, &reply, NULL, err);
        if (result == 0)
            result = vb_s3_parse_list((const char *)reply.body.data, reply.body.len, add_key, l, &next, err);
        vb_s3_reply_clear(&reply);
        if (result == 0 && next && token && strcmp(next, token) == 0)
            result = vb_fail(err, VB_E_PROTOCOL, "the server's listing goes round in circles");
        free(token);
        token = next;
        if (result != 0 || !token)
            return result;
    }
}

static int s3_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err)
{
    VB_AUTO_FREE char *root = vb_s3_full(self(b)->s3, ""), *own = *root ? vb_printf("%s/", root) : vb_strdup("");
    VB_AUTO_FREE char *full = vb_printf("%s%s", own, prefix);
    struct listing l = { .full = full, .strip = strlen(own) };
    int result = list_all(self(b), &l, err);
    if (result < 0)
        vb_context(err, "'%s': cannot list", b->location);
    for (size_t i = 0; i < l.n; i++) {
        if (result == 0)
            result = fn(arg, l.v[i].name, l.v[i].size, err);
        free(l.v[i].name);
    }
    free(l.v);
    return result;
}

/* ---- writing ---- */

struct file {
    const char *name;
    const void *p;
    size_t n;
};

/* 1 the file there has these bytes, 0 it has not, -1. */
static int is_same(struct store *d, const struct file *f, struct vb_error *err)
{
    VB_AUTO_BUF there = VB_BUF_INIT;
    uint64_t size = 0;
    if (s3_size(&d->b, f->name, &size, err) < 0)
        return -1;
    if (size != f->n)
        return 0;
    if (s3_read(&d->b, f->name, 0, f->n, &there, err) < 0)
        return -1;
    return f->n == 0 || memcmp(there.data, f->p, f->n) == 0;
}

static int exists(struct store *d, const struct file *f, bool lost, struct vb_error *err)
{
    int same = lost ? is_same(d, f, err) : 0;
    if (same != 0)
        return same < 0 ? -1 : 0;
    return vb_fail(err, VB_E_EXISTS, "exists already");
}

/* The server says what it has stored: the MD5 of it, if it is not itself encrypting. */
static int check_etag(struct store *d, const struct file *f, const struct vb_s3_reply *reply, struct vb_error *err)
{
    char sum[33];
    vb_s3_md5_hex(f->n ? f->p : "", f->n, sum);
    if (!*sum || reply->encrypted || !reply->etag || strlen(reply->etag) != 32 || strcasecmp(reply->etag, sum) == 0)
        return 0;
    int same = is_same(d, f, err);
    if (same != 0)
        return same < 0 ? -1 : 0;
    struct vb_s3_reply gone = { 0 };
    const struct vb_s3_request q = { .method = "DELETE", .name = f->name };
    request(d, &q, &gone, NULL, NULL);
    vb_s3_reply_clear(&gone);
    return vb_fail(err, VB_E_CORRUPT, "what the server has stored is not what was sent");
}

static int put_whole(struct store *d, const struct file *f, struct vb_error *err)
{
    const struct vb_s3_request q = { .method = "PUT", .name = f->name, .body = f->p, .n = f->n, .create_only = d->exclusive };
    struct vb_s3_reply reply = { 0 };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool lost = false;
    int result = request(d, &q, &reply, &lost, &why);
    if (result == 0)
        result = check_etag(d, f, &reply, err);
    else
        result = why.code == VB_E_EXISTS ? exists(d, f, lost, err) : vb_error_move(err, &why);
    vb_s3_reply_clear(&reply);
    return result;
}

static char *begin_parts(struct store *d, const struct file *f, struct vb_error *err)
{
    const struct vb_s3_request q = { .method = "POST", .name = f->name, .query = "uploads=", .body = "", .n = 0 };
    struct vb_s3_reply reply = { 0 };
    char *id = NULL;
    if (request(d, &q, &reply, NULL, err) == 0) {
        const char *at = (const char *)reply.body.data;
        id = at ? vb_s3_xml(&at, at + reply.body.len, "UploadId") : NULL;
        if (!id)
            vb_fail(err, VB_E_PROTOCOL, "the server begins no upload in parts");
    }
    vb_s3_reply_clear(&reply);
    return id;
}

static int send_parts(struct store *d, const struct file *f, const char *upload, struct vb_buf *done, struct vb_error *err)
{
    unsigned number = 1;
    for (size_t at = 0; at < f->n; at += d->part_size, number++) {
        struct vb_s3_reply reply = { 0 };
        VB_AUTO_FREE char *query = vb_printf("partNumber=%u&uploadId=%s", number, upload);
        const struct vb_s3_request q = { .method = "PUT", .name = f->name, .query = query, .body = (const char *)f->p + at,
                                         .n = f->n - at < d->part_size ? f->n - at : d->part_size };
        int result = request(d, &q, &reply, NULL, err);
        if (result == 0 && (!reply.etag || strpbrk(reply.etag, "<>&")))
            result = vb_fail(err, VB_E_PROTOCOL, "the server does not say what it has stored");
        if (result == 0)
            vb_buf_addf(done, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>", number, reply.etag);
        vb_s3_reply_clear(&reply);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int end_parts(struct store *d, const struct file *f, const char *query, struct vb_buf *body, struct vb_error *err)
{
    const struct vb_s3_request q = { .method = "POST", .name = f->name, .query = query, .body = body->data, .n = body->len,
                                     .create_only = d->exclusive };
    struct vb_s3_reply reply = { 0 };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool lost = false;
    int result = request(d, &q, &reply, &lost, &why);
    /* A failure may come behind a status of 200. */
    if (result == 0 && (!reply.body.len || !memmem(reply.body.data, reply.body.len, "CompleteMultipartUploadResult", 29)))
        result = vb_fail(&why, VB_E_IO, "the server did not put the parts together");
    /* After a lost answer the upload is not known any more: it was put together, or is gone. */
    if (result < 0 && (why.code == VB_E_EXISTS || (lost && why.code == VB_E_NOT_FOUND)))
        result = exists(d, f, lost, err);
    else if (result < 0)
        vb_error_move(err, &why);
    vb_s3_reply_clear(&reply);
    return result;
}

static int put_parts(struct store *d, const struct file *f, struct vb_error *err)
{
    VB_AUTO_BUF body = VB_BUF_INIT, id = VB_BUF_INIT;
    if (f->n / d->part_size >= PARTS_MAX)
        return vb_fail(err, VB_E_LIMIT, "%zu bytes are too many for one object", f->n);
    VB_AUTO_FREE char *upload = begin_parts(d, f, err);
    if (!upload)
        return -1;
    vb_s3_escape(&id, upload);
    VB_AUTO_FREE char *query = vb_printf("uploadId=%s", vb_buf_str(&id));
    vb_buf_add_str(&body, "<CompleteMultipartUpload>");
    int result = send_parts(d, f, vb_buf_str(&id), &body, err);
    vb_buf_add_str(&body, "</CompleteMultipartUpload>");
    if (result == 0)
        result = end_parts(d, f, query, &body, err);
    if (result < 0) {
        struct vb_s3_reply reply = { 0 };
        const struct vb_s3_request q = { .method = "DELETE", .name = f->name, .query = query };
        vb_s3_send(d->s3, &q, &reply, NULL); /* the parts would be paid for; rules of the bucket clear them too */
        vb_s3_reply_clear(&reply);
    }
    return result;
}

static int s3_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct store *d = self(b);
    const struct file f = { name, p, n };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t size;
    if (!d->exclusive || n > d->part_size) {
        if (s3_size(b, name, &size, &why) == 0)
            return vb_fail(err, VB_E_EXISTS, "exists already");
        if (why.code != VB_E_NOT_FOUND)
            return vb_error_move(err, &why);
    }
    return n > d->part_size ? put_parts(d, &f, err) : put_whole(d, &f, err);
}

static int s3_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    const struct vb_s3_request q = { .method = "DELETE", .name = name };
    struct vb_s3_reply reply = { 0 };
    uint64_t size;
    /* What is not there is removed with success: so it is looked for first. */
    if (s3_size(b, name, &size, err) < 0)
        return -1;
    int result = request(self(b), &q, &reply, NULL, err);
    if (result < 0 && reply.status == 404) {
        vb_error_clear(err);
        result = 0; /* by a try before whose answer was lost */
    }
    vb_s3_reply_clear(&reply);
    return result;
}

static int s3_barrier(struct vb_backend *b, struct vb_error *err)
{
    (void)b, (void)err;
    return 0;
}

static int s3_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    if (self(b)->locked)
        return vb_fail(err, VB_E_BAD_STATE, "already locked by this handle");
    if (vb_remote_lock(b, holder, err) < 0)
        return -1;
    self(b)->locked = true;
    return 0;
}

static void s3_unlock(struct vb_backend *b)
{
    if (self(b)->locked)
        vb_remote_unlock(b);
    self(b)->locked = false;
}

/* ---- uploads that nobody will end ---- */

struct stale {
    struct store *d;
    const char *own; /* what every key of ours begins with */
    uint64_t before_s;
};

static void abort_stale(void *arg, const char *key, const char *id, uint64_t begun_s)
{
    const struct stale *x = arg;
    VB_AUTO_BUF escaped = VB_BUF_INIT;
    struct vb_s3_reply reply = { 0 };
    if (begun_s >= x->before_s || strncmp(key, x->own, strlen(x->own)) != 0 || !vb_backend_name_valid(key + strlen(x->own)))
        return;
    vb_s3_escape(&escaped, id);
    VB_AUTO_FREE char *query = vb_printf("uploadId=%s", vb_buf_str(&escaped));
    const struct vb_s3_request q = { .method = "DELETE", .name = key + strlen(x->own), .query = query };
    if (vb_s3_send(x->d->s3, &q, &reply, NULL) == 0)
        vb_log(VB_LOG_INFO, "'%s': parts of an upload that was interrupted were removed", x->d->b.location);
    vb_s3_reply_clear(&reply);
}

/* The parts that a process has sent before it died would be paid for for ever.  An upload takes minutes; one that was begun
 * more than a day ago is nobody's.  A server that does not tell is left alone. */
static void s3_sweep(struct vb_backend *b)
{
    struct store *d = self(b);
    VB_AUTO_FREE char *root = vb_s3_full(d->s3, ""), *own = *root ? vb_printf("%s/", root) : vb_strdup("");
    VB_AUTO_BUF query = VB_BUF_INIT;
    struct vb_s3_reply reply = { 0 };
    uint64_t now = vb_s3_now_s(d->s3);
    struct stale x = { d, own, now > STALE_S ? now - STALE_S : 0 };
    vb_buf_add_str(&query, "prefix=");
    vb_s3_escape(&query, own);
    vb_buf_add_str(&query, "&uploads=");
    const struct vb_s3_request q = { .method = "GET", .query = vb_buf_str(&query), .most = LIST_PAGE_MAX };
    if (vb_s3_send(d->s3, &q, &reply, NULL) == 0 && reply.body.len)
        vb_s3_parse_uploads((const char *)reply.body.data, reply.body.len, abort_stale, &x, NULL);
    vb_s3_reply_clear(&reply);
}

static void s3_close(struct vb_backend *b)
{
    vb_s3_free(self(b)->s3);
    free(b->location);
    free(b);
}

static const struct vb_backend_ops s3_ops = {
    .kind = "s3",
    .read = s3_read,
    .write = s3_write,
    .list = s3_list,
    .remove = s3_remove,
    .size = s3_size,
    .barrier = s3_barrier,
    .lock = s3_lock,
    .unlock = s3_unlock,
    .close = s3_close,
    .sweep = s3_sweep,
};

/* ---- opening ---- */

/* One object that stays shows whether a second of its name is refused. */
static int try_exclusive(struct store *d, struct vb_error *err)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct vb_s3_request q = { .method = "PUT", .name = "probe/exclusive", .body = i ? "second" : "first",
                                         .n = i ? 6 : 5, .create_only = true };
        struct vb_s3_reply reply = { 0 };
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        int result = request(d, &q, &reply, NULL, &why);
        vb_s3_reply_clear(&reply);
        d->exclusive = result < 0 && why.code == VB_E_EXISTS;
        if (d->exclusive || (result < 0 && why.code == VB_E_NOT_SUPPORTED))
            break;
        if (result < 0)
            return vb_error_move(err, &why);
    }
    if (!d->exclusive)
        vb_log(VB_LOG_WARNING, "'%s': the server does not understand If-None-Match: *, so that names are not exclusive: never let "
                               "two programs write there at the same time", d->b.location);
    return 0;
}

static int first_look(struct store *d, bool write, struct vb_error *err)
{
    const struct vb_s3_request q = { .method = "GET", .query = "list-type=2&max-keys=1", .most = LIST_PAGE_MAX };
    struct vb_s3_reply reply = { 0 };
    int result = request(d, &q, &reply, NULL, err);
    if (result < 0 && reply.status == 404)
        vb_hint(err, "make the bucket first, or check its name and the endpoint");
    vb_s3_reply_clear(&reply);
    return result == 0 && write ? try_exclusive(d, err) : result;
}

struct vb_backend *vb_backend_s3_open(const struct vb_s3_params *p, struct vb_error *err)
{
    struct vb_s3 *s3 = vb_s3_new(p, err);
    if (!s3)
        return NULL;
    struct store *d = vb_alloc(sizeof *d);
    d->b.ops = &s3_ops;
    d->b.location = vb_strdup(p->location);
    d->s3 = s3;
    d->retry_ms = p->retry_ms;
    d->part_size = p->part_size ? p->part_size : PART_SIZE;
    if (first_look(d, p->write, err) < 0) {
        vb_context(err, "'%s'", p->location);
        s3_close(&d->b);
        return NULL;
    }
    d->opened = true;
    return &d->b;
}

char *vb_backend_s3_presign(struct vb_backend *b, const char *name, unsigned expires_s)
{
    return b->ops == &s3_ops && self(b)->exclusive && vb_backend_name_valid(name)
               ? vb_s3_presign_create(self(b)->s3, name, expires_s)
               : NULL;
}
