/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/serve.c - the serving side: a client is believed nothing, and may do what the rules say.
 *
 * Append-only: a client makes packs, index files, records, leases and the ledger's records of backups; all else that
 * would end a backup's life (marks, states of prunes, removal) is done on this side.
 */
#include "config.h"
#include "store/serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/chunk/chunk.h"

#define OUT_MANY ((size_t)4 << 20)
#define ENTRIES_AT_ONCE 500u

struct vb_serve {
    struct vb_serve_rules rules;
    vb_serve_open_fn *open;
    void *arg;
    struct vb_backend *b; /* NULL: no HELLO yet */
    bool locked;
    struct vb_strv leases; /* that this client made; ids of others can be read in their names */
    struct vb_strv written;   /* packs and records that it made: it may read them back, write-only or not */
    /* a file that is on its way */
    bool writing;
    uint64_t id, size;
    char *name;
    struct vb_buf bytes;
    struct vb_error refused; /* and why it will not be taken: its bytes are dropped */
};

struct vb_serve *vb_serve_new(const struct vb_serve_rules *rules, vb_serve_open_fn *open, void *arg)
{
    struct vb_serve *s = vb_alloc(sizeof *s);
    s->rules = *rules;
    s->rules.append_only = rules->append_only || rules->write_only;
    s->open = open;
    s->arg = arg;
    return s;
}

static void end_writing(struct vb_serve *s)
{
    s->writing = false;
    free(s->name);
    s->name = NULL;
    vb_buf_clear(&s->bytes);
    vb_error_clear(&s->refused);
}

void vb_serve_free(struct vb_serve *s)
{
    if (!s)
        return;
    end_writing(s);
    vb_backend_close(s->b);
    vb_strv_clear(&s->leases);
    vb_strv_clear(&s->written);
    free(s);
}

/* ---- rules ---- */

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static int refuse(const char *what, struct vb_error *err)
{
    vb_fail(err, VB_E_GUARD, "%s", what);
    vb_hint(err, "backups are forgotten, held and pruned on the machine where the repository lies: this key may only add");
    return -1;
}

static int may_read(const struct vb_serve *s, const char *name, struct vb_error *err)
{
    if (!s->rules.write_only || (!begins(name, "packs/") && !begins(name, "catalog/")) || vb_strv_has(&s->written, name))
        return 0;
    vb_fail(err, VB_E_ACCESS_DENIED, "the repository is served write-only: backups are not read this way");
    vb_hint(err, "restore on the machine where the repository lies, or with a key that may read");
    return -1;
}

static int may_write(const struct vb_serve *s, const char *name, struct vb_error *err)
{
    static const char *const open_to_all[] = { "packs/", "index/", "catalog/", "leases/", "ledger/" };
    if (s->rules.read_only)
        return vb_fail(err, VB_E_GUARD, "the repository is served read-only");
    for (size_t i = 0; i < VB_COUNT(open_to_all); i++)
        if (!s->rules.append_only || begins(name, open_to_all[i]))
            return 0;
    return refuse("the repository is served append-only", err);
}

/* A record of the ledger says in its sixth byte what it is about: 1 is a backup. */
static int may_keep(const struct vb_serve *s, const char *name, const struct vb_buf *bytes, struct vb_error *err)
{
    if (!s->rules.append_only || !begins(name, "ledger/") ||
        (bytes->len > 5 && memcmp(bytes->data, "VBLG", 4) == 0 && bytes->data[5] == 1))
        return 0;
    return refuse("the repository is served append-only", err);
}

static int may_remove(struct vb_serve *s, const char *name, struct vb_error *err)
{
    uint64_t size;
    if (s->rules.read_only)
        return vb_fail(err, VB_E_GUARD, "the repository is served read-only");
    if (!s->rules.append_only || vb_strv_has(&s->leases, name))
        return 0;
    /* What is not there cannot be removed by anybody. */
    return vb_backend_size(s->b, name, &size, err) < 0 ? -1 : refuse("the repository is served append-only", err);
}

/* ---- answers ---- */

static void answer(struct vb_buf *out, const struct vb_msg *m)
{
    vb_msg_encode(m, out, NULL);
}

static void answer_result(struct vb_buf *out, uint64_t id, int result, const struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(result < 0 ? VB_M_ERROR : VB_M_OK);
    m.id = id;
    if (result < 0)
        vb_msg_add_error(&m, err);
    answer(out, &m);
}

struct call {
    struct vb_serve *s;
    const struct vb_msg *m;
    struct vb_buf *out;
    vb_serve_flush_fn *flush;
    void *arg;
};

static int flush_if_many(struct call *c, struct vb_error *err)
{
    return c->out->len < OUT_MANY || !c->flush ? 0 : c->flush(c->arg, c->out, err);
}

static int broken(const char *what, struct vb_error *err)
{
    return vb_fail(err, VB_E_PROTOCOL, "the client %s", what);
}

/* ---- requests ---- */

static int hello(struct call *c, struct vb_error *err)
{
    struct vb_serve *s = c->s;
    bool create = vb_msg_u64(c->m, VB_SF_CREATE, 0) != 0;
    if (vb_msg_u64(c->m, VB_SF_VERSION, 0) != VB_SERVE_VERSION)
        return vb_fail(err, VB_E_VERSION, "the server speaks version %u, the client %llu", VB_SERVE_VERSION,
                       (unsigned long long)vb_msg_u64(c->m, VB_SF_VERSION, 0));
    if (create && (s->rules.append_only || s->rules.read_only)) {
        vb_fail(err, VB_E_GUARD, "a repository cannot be made by a key that may only %s", s->rules.read_only ? "read" : "add");
        vb_hint(err, "make it on the machine where it is to lie: vbackup init --repo DIR");
        return -1;
    }
    if (s->b)
        return vb_fail(err, VB_E_BAD_STATE, "said HELLO twice");
    s->b = s->open(s->arg, create, err);
    if (!s->b)
        return -1;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_HELLO);
    m.id = c->m->id;
    vb_msg_add_u64(&m, VB_SF_VERSION, VB_SERVE_VERSION);
    vb_msg_add_u64(&m, VB_SF_APPEND_ONLY, s->rules.append_only);
    vb_msg_add_str(&m, VB_SF_LOCATION, s->b->location);
    answer(c->out, &m);
    return 0;
}

static int serve_read(struct call *c, const char *name, struct vb_error *err)
{
    uint64_t at = vb_msg_u64(c->m, VB_SF_OFFSET, 0), left = vb_msg_u64(c->m, VB_SF_LENGTH, 0), size = 0;
    if (may_read(c->s, name, err) < 0 || vb_backend_size(c->s->b, name, &size, err) < 0)
        return -1;
    if (at > size || left > size - at)
        return vb_fail(err, VB_E_CORRUPT, "'%s/%s': file ends before byte %llu", c->s->b->location, name,
                       (unsigned long long)(at + left));
    do {
        VB_AUTO_BUF part = VB_BUF_INIT;
        VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_DATA);
        size_t n = left < VB_SERVE_DATA_MAX ? (size_t)left : VB_SERVE_DATA_MAX;
        if (vb_backend_read(c->s->b, name, at, n, &part, err) < 0)
            return -1;
        m.id = c->m->id;
        vb_msg_add(&m, VB_SF_BYTES, part.data, part.len);
        answer(c->out, &m);
        at += n;
        left -= n;
        if (flush_if_many(c, err) < 0)
            return -1;
    } while (left > 0);
    return 0;
}

struct lister {
    struct call *c;
    struct vb_msg m;
    unsigned n;
};

static int list_one(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct lister *l = arg;
    vb_msg_add_str(&l->m, VB_SF_NAME, name);
    vb_msg_add_u64(&l->m, VB_SF_SIZE, size);
    if (++l->n < ENTRIES_AT_ONCE)
        return 0;
    answer(l->c->out, &l->m);
    vb_buf_reset(&l->m.body);
    l->n = 0;
    return flush_if_many(l->c, err);
}

static int serve_list(struct call *c, struct vb_error *err)
{
    VB_AUTO_FREE char *prefix = vb_msg_str(c->m, VB_SF_NAME);
    struct lister l = { c, VB_MSG_INIT(VB_SV_ENTRIES), 0 };
    l.m.id = c->m->id;
    int result = vb_backend_list(c->s->b, prefix ? prefix : "", list_one, &l, err);
    if (result == 0 && l.n > 0)
        answer(c->out, &l.m);
    vb_msg_clear(&l.m);
    return result;
}

static int finish_write(struct call *c)
{
    struct vb_serve *s = c->s;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const void *bytes = s->bytes.len ? (const void *)s->bytes.data : "";
    int result = 0;
    if (s->refused.code != VB_OK) {
        vb_error_copy(&why, &s->refused);
        result = -1;
    } else if (may_keep(s, s->name, &s->bytes, &why) < 0 || vb_backend_write(s->b, s->name, bytes, s->bytes.len, &why) < 0) {
        result = -1;
    }
    if (result == 0 && s->rules.write_only)
        vb_strv_add(&s->written, s->name);
    if (result == 0 && begins(s->name, "leases/"))
        vb_strv_add(&s->leases, s->name);
    answer_result(c->out, s->id, result, &why);
    end_writing(s);
    return 0;
}

static int serve_write(struct call *c, const char *name)
{
    struct vb_serve *s = c->s;
    s->writing = true;
    s->id = c->m->id;
    s->size = vb_msg_u64(c->m, VB_SF_SIZE, 0);
    s->name = vb_strdup(name);
    if (s->size > VB_SERVE_FILE_MAX)
        vb_fail(&s->refused, VB_E_LIMIT, "a file of %llu bytes is more than is taken", (unsigned long long)s->size);
    else
        may_write(s, name, &s->refused);
    return s->size == 0 ? finish_write(c) : 0;
}

/* -1: the conversation is over. */
static int serve_data(struct call *c, struct vb_error *err)
{
    struct vb_serve *s = c->s;
    const unsigned char *p;
    size_t n;
    if (!s->writing || c->m->id != s->id || !vb_msg_bytes(c->m, VB_SF_BYTES, &p, &n) || n == 0 || n > VB_SERVE_DATA_MAX ||
        n > s->size)
        return broken("sent bytes of no file", err);
    s->size -= n;
    if (s->refused.code == VB_OK)
        vb_buf_add(&s->bytes, p, n);
    return s->size == 0 ? finish_write(c) : 0;
}

static int serve_same(struct call *c, const char *name, struct vb_error *err)
{
    VB_AUTO_BUF there = VB_BUF_INIT;
    struct vb_name sum;
    const unsigned char *want;
    size_t n;
    uint64_t size = 0;
    if (!vb_msg_bytes(c->m, VB_SF_SUM, &want, &n) || n != sizeof sum)
        return vb_fail(err, VB_E_PROTOCOL, "no sum");
    if (vb_backend_size(c->s->b, name, &size, err) < 0)
        return -1;
    bool same = size == vb_msg_u64(c->m, VB_SF_SIZE, 0) && size <= VB_SERVE_FILE_MAX;
    if (same && vb_backend_read_all(c->s->b, name, (size_t)size, &there, err) < 0)
        return -1;
    if (same) {
        vb_sha256(there.len ? (const void *)there.data : "", there.len, &sum);
        same = memcmp(&sum, want, sizeof sum) == 0;
    }
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OK);
    m.id = c->m->id;
    vb_msg_add_u64(&m, VB_SF_SAME, same);
    answer(c->out, &m);
    return 0;
}

static int serve_size(struct call *c, const char *name, struct vb_error *err)
{
    uint64_t size = 0;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OK);
    if (vb_backend_size(c->s->b, name, &size, err) < 0)
        return -1;
    m.id = c->m->id;
    vb_msg_add_u64(&m, VB_SF_SIZE, size);
    answer(c->out, &m);
    return 0;
}

static int serve_lock(struct call *c, struct vb_error *err)
{
    VB_AUTO_FREE char *holder = vb_msg_str(c->m, VB_SF_TEXT);
    if (c->s->rules.read_only)
        return vb_fail(err, VB_E_GUARD, "the repository is served read-only");
    return vb_backend_lock(c->s->b, holder ? holder : "a client", err);
}

/* 0 done and answered, 1 done and to be answered by OK, -1. */
static int request(struct call *c, struct vb_error *err)
{
    VB_AUTO_FREE char *name = vb_msg_str(c->m, VB_SF_NAME);
    const char *n = name ? name : "";
    if (c->m->type == VB_SV_HELLO)
        return hello(c, err);
    if (!c->s->b)
        return vb_fail(err, VB_E_BAD_STATE, "said no HELLO");
    switch (c->m->type) {
    case VB_SV_READ:
        return serve_read(c, n, err);
    case VB_SV_WRITE:
        return serve_write(c, n);
    case VB_SV_SAME:
        return serve_same(c, n, err);
    case VB_SV_SIZE:
        return serve_size(c, n, err);
    case VB_SV_LIST:
        return serve_list(c, err) < 0 ? -1 : 1;
    case VB_SV_REMOVE:
        return may_remove(c->s, n, err) < 0 || vb_backend_remove(c->s->b, n, err) < 0 ? -1 : 1;
    case VB_SV_BARRIER:
        return vb_backend_barrier(c->s->b, err) < 0 ? -1 : 1;
    case VB_SV_LOCK:
        return serve_lock(c, err) < 0 ? -1 : 1;
    case VB_SV_UNLOCK:
        vb_backend_unlock(c->s->b);
        return 1;
    case VB_SV_SWEEP:
        return 1; /* leftovers are this side's to remove */
    default:
        return vb_fail(err, VB_E_PROTOCOL, "sent a request of type %u, which is none", c->m->type);
    }
}

int vb_serve_message(struct vb_serve *s, const struct vb_msg *m, struct vb_buf *out, vb_serve_flush_fn *flush, void *arg,
                     struct vb_error *err)
{
    struct call c = { s, m, out, flush, arg };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (m->type == VB_SV_DATA) {
        if (serve_data(&c, &why) == 0)
            return 0;
        return vb_error_move(err, &why);
    }
    if (s->writing)
        return broken("sent a request in the middle of a file", err);
    int result = request(&c, &why);
    if (result != 0)
        answer_result(out, m->id, result, &why);
    return why.code == VB_E_PROTOCOL ? vb_error_move(err, &why) : 0;
}

static int write_out(void *arg, struct vb_buf *out, struct vb_error *err)
{
    const int *fd = arg;
    int result = out->len ? vb_write_all(*fd, out->data, out->len, err) : 0;
    vb_buf_reset(out);
    return result;
}

int vb_serve_run(struct vb_serve *s, int in, int out, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT, answers = VB_BUF_INIT;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int got = vb_msg_decode(&bytes, &m, err);
        if (got < 0)
            return -1;
        if (got > 0) {
            int result = vb_serve_message(s, &m, &answers, write_out, &out, err);
            if (write_out(&out, &answers, result < 0 ? NULL : err) < 0 || result < 0)
                return -1;
            continue;
        }
        vb_buf_reserve(&bytes, 256 * 1024);
        ssize_t n = read(in, bytes.data + bytes.len, 256 * 1024);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(err, errno, "cannot read from the client");
        if (n == 0)
            return s->writing || bytes.len ? vb_fail(err, VB_E_CONNECTION_LOST, "the client left in the middle of a message") : 0;
        bytes.len += (size_t)n;
    }
}
