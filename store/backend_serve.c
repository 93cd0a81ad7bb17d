/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_serve.c - the repository that `vbackup serve` offers on another machine; the client's side of serve.h.
 *
 * The server is believed no more than a disk is: what it answers is checked for form here, and for truth by the layers
 * above.  What is cut off is asked again over a new connection.
 */
#include "config.h"
#include "store/serve.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "store/chunk/chunk.h"
#include "store/link.h"

#define QUEUED_MAX ((size_t)2 << 20)

struct served {
    struct vb_backend b;
    struct vb_link_params params;
    uint64_t retry_ms, next_id;
    bool opened, create, broken;
    bool unsure;          /* a server before this one has written what this one knows nothing of */
    char *holder;         /* of the lock, while it is held */
    bool lock_said;       /* on this connection */
    struct vb_link *link; /* NULL: not connected */
    struct vb_buf in;
};

static struct served *self(struct vb_backend *b)
{
    return (struct served *)b;
}

/* ---- messages ---- */

static void disconnect(struct served *d)
{
    vb_link_free(d->link);
    d->link = NULL;
    d->broken = d->lock_said = false;
    vb_buf_reset(&d->in);
}

static int bad_answer(struct served *d, struct vb_error *err)
{
    d->broken = true;
    return vb_fail(err, VB_E_PROTOCOL, "the server does not keep to the protocol (is it vbackup serve?)");
}

static int send_msg(struct served *d, struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_BUF frame = VB_BUF_INIT;
    if (vb_msg_encode(m, &frame, err) < 0)
        return -1;
    vb_link_send(d->link, frame.data, frame.len);
    if (vb_link_drain(d->link, QUEUED_MAX, err) == 0)
        return 0;
    d->broken = true;
    return -1;
}

static int receive(struct served *d, uint64_t id, struct vb_msg *m, struct vb_error *err)
{
    for (;;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        int got = vb_msg_decode(&d->in, m, &why);
        if (got < 0)
            return bad_answer(d, err);
        if (got > 0)
            break;
        if (vb_link_wait(d->link, &d->in, err) < 0) {
            d->broken = true;
            return -1;
        }
    }
    if (m->id != id)
        return bad_answer(d, err);
    if (m->type == VB_M_ERROR)
        return vb_msg_error(m, err) < 0 ? -1 : bad_answer(d, err);
    return 0;
}

static int ask(struct served *d, struct vb_msg *request, uint16_t type, struct vb_msg *reply, struct vb_error *err)
{
    request->id = ++d->next_id;
    if (send_msg(d, request, err) < 0 || receive(d, request->id, reply, err) < 0)
        return -1;
    return reply->type == type ? 0 : bad_answer(d, err);
}

static int say_lock(struct served *d, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_LOCK), reply = VB_MSG_INIT(0);
    if (d->lock_said)
        return 0;
    vb_msg_add_str(&m, VB_SF_TEXT, d->holder);
    if (ask(d, &m, VB_M_OK, &reply, err) < 0)
        return -1;
    d->lock_said = true;
    return 0;
}

static int connect_to(struct served *d, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_HELLO), reply = VB_MSG_INIT(0);
    if (d->link)
        return 0;
    d->link = vb_link_open(&d->params, err);
    if (!d->link)
        return -1;
    vb_msg_add_u64(&m, VB_SF_VERSION, VB_SERVE_VERSION);
    if (d->create && !d->opened)
        vb_msg_add_u64(&m, VB_SF_CREATE, 1);
    if (ask(d, &m, VB_SV_HELLO, &reply, err) < 0)
        return -1;
    d->unsure = d->opened;
    d->b.append_only = vb_msg_u64(&reply, VB_SF_APPEND_ONLY, 0) != 0;
    return d->holder ? say_lock(d, err) : 0;
}

typedef int op_fn(struct served *d, void *arg, struct vb_error *err);

static int try_op(struct served *d, op_fn *op, void *arg, struct vb_error *err)
{
    struct vb_retry retry;
    vb_retry_start(&retry, d->opened || d->retry_ms < VB_RETRY_OPEN_MS ? d->retry_ms : VB_RETRY_OPEN_MS);
    for (;;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        bool connected = connect_to(d, &why) == 0;
        if (connected && op(d, arg, &why) == 0)
            return 0;
        if (!connected || d->broken)
            disconnect(d);
        /* A lock that another holds is no reason to wait, but for our own of a moment ago. */
        bool busy = connected && why.code == VB_E_BUSY;
        if (busy || (!d->opened && why.code != VB_E_CONNECTION_LOST) || !vb_retry_again(&retry, d->b.location, &why, 0))
            return vb_error_move(err, &why);
    }
}

/* ---- operations ---- */

struct read_op {
    const char *name;
    uint64_t offset;
    size_t len;
    struct vb_buf *out;
};

static int read_op(struct served *d, void *arg, struct vb_error *err)
{
    struct read_op *o = arg;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_READ);
    size_t before = o->out->len, got = 0;
    vb_msg_add_str(&m, VB_SF_NAME, o->name);
    vb_msg_add_u64(&m, VB_SF_OFFSET, o->offset);
    vb_msg_add_u64(&m, VB_SF_LENGTH, o->len);
    m.id = ++d->next_id;
    int result = send_msg(d, &m, err);
    do {
        VB_AUTO_MSG reply = VB_MSG_INIT(0);
        const unsigned char *p;
        size_t n;
        if (result == 0)
            result = receive(d, m.id, &reply, err);
        if (result == 0 && (reply.type != VB_SV_DATA || !vb_msg_bytes(&reply, VB_SF_BYTES, &p, &n) || n > o->len - got ||
                            (n == 0 && o->len > 0)))
            result = bad_answer(d, err);
        if (result == 0) {
            vb_buf_add(o->out, p, n);
            got += n;
        }
    } while (result == 0 && got < o->len);
    if (result < 0)
        o->out->len = before;
    return result;
}

static int served_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                       struct vb_error *err)
{
    struct read_op o = { name, offset, len, out };
    return try_op(self(b), read_op, &o, err);
}

struct write_op {
    const char *name;
    const void *p;
    size_t n;
    bool again; /* an earlier try may have done it */
};

static int is_same(struct served *d, const struct write_op *o, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_SAME), reply = VB_MSG_INIT(0);
    struct vb_name sum;
    vb_sha256(o->p, o->n, &sum);
    vb_msg_add_str(&m, VB_SF_NAME, o->name);
    vb_msg_add_u64(&m, VB_SF_SIZE, o->n);
    vb_msg_add(&m, VB_SF_SUM, &sum, sizeof sum);
    if (ask(d, &m, VB_M_OK, &reply, err) < 0)
        return -1;
    return vb_msg_u64(&reply, VB_SF_SAME, 0) != 0;
}

static int send_file(struct served *d, const struct write_op *o, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_WRITE), reply = VB_MSG_INIT(0);
    m.id = ++d->next_id;
    vb_msg_add_str(&m, VB_SF_NAME, o->name);
    vb_msg_add_u64(&m, VB_SF_SIZE, o->n);
    if (send_msg(d, &m, err) < 0)
        return -1;
    for (size_t at = 0; at < o->n;) {
        VB_AUTO_MSG data = VB_MSG_INIT(VB_SV_DATA);
        size_t n = o->n - at < VB_SERVE_DATA_MAX ? o->n - at : VB_SERVE_DATA_MAX;
        data.id = m.id;
        vb_msg_add(&data, VB_SF_BYTES, (const char *)o->p + at, n);
        if (send_msg(d, &data, err) < 0)
            return -1;
        at += n;
    }
    if (receive(d, m.id, &reply, err) < 0)
        return -1;
    return reply.type == VB_M_OK ? 0 : bad_answer(d, err);
}

static int write_op(struct served *d, void *arg, struct vb_error *err)
{
    struct write_op *o = arg;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool again = o->again;
    o->again = true;
    if (send_file(d, o, &why) == 0)
        return 0;
    if (again && why.code == VB_E_EXISTS) {
        int same = is_same(d, o, err);
        if (same != 0)
            return same < 0 ? -1 : 0;
    }
    return vb_error_move(err, &why);
}

static int served_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct write_op o = { name, p, n, false };
    return try_op(self(b), write_op, &o, err);
}

struct found {
    char *name;
    uint64_t size;
};
struct list_op {
    const char *prefix;
    struct found *v;
    size_t n, cap;
};

static void drop_found(struct list_op *o)
{
    for (size_t i = 0; i < o->n; i++)
        free(o->v[i].name);
    o->n = 0;
}

static int take_entries(struct served *d, struct list_op *o, const struct vb_msg *m, struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    VB_AUTO_FREE char *name = NULL;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag == VB_SF_NAME) {
            free(name);
            name = vb_field_str(p, n);
            if (!name || !vb_backend_name_valid(name) || strncmp(name, o->prefix, strlen(o->prefix)) != 0)
                return bad_answer(d, err);
        } else if (tag == VB_SF_SIZE && name) {
            VB_GROW(o->v, o->n, o->cap);
            o->v[o->n++] = (struct found){ VB_STEAL(name), vb_field_u64(p, n) };
        }
    }
    return 0;
}

static int list_op(struct served *d, void *arg, struct vb_error *err)
{
    struct list_op *o = arg;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_SV_LIST);
    drop_found(o);
    m.id = ++d->next_id;
    vb_msg_add_str(&m, VB_SF_NAME, o->prefix);
    if (send_msg(d, &m, err) < 0)
        return -1;
    for (;;) {
        VB_AUTO_MSG reply = VB_MSG_INIT(0);
        if (receive(d, m.id, &reply, err) < 0)
            return -1;
        if (reply.type == VB_M_OK)
            return 0;
        if (reply.type != VB_SV_ENTRIES)
            return bad_answer(d, err);
        if (take_entries(d, o, &reply, err) < 0)
            return -1;
    }
}

static int served_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err)
{
    struct list_op o = { .prefix = prefix };
    int result = try_op(self(b), list_op, &o, err);
    if (result < 0)
        vb_context(err, "'%s'", b->location);
    for (size_t i = 0; i < o.n && result == 0; i++)
        result = fn(arg, o.v[i].name, o.v[i].size, err);
    drop_found(&o);
    free(o.v);
    return result;
}

struct small_op {
    uint16_t type;
    const char *name;
    bool again;
    uint64_t size;
};

static int small_op(struct served *d, void *arg, struct vb_error *err)
{
    struct small_op *o = arg;
    VB_AUTO_MSG m = VB_MSG_INIT(o->type), reply = VB_MSG_INIT(0);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool again = o->again;
    vb_msg_add_str(&m, VB_SF_NAME, o->name);
    o->again = true;
    if (ask(d, &m, VB_M_OK, &reply, &why) < 0)
        return again && o->type == VB_SV_REMOVE && why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
    if (o->type == VB_SV_SIZE && !vb_msg_has(&reply, VB_SF_SIZE))
        return bad_answer(d, err);
    o->size = vb_msg_u64(&reply, VB_SF_SIZE, 0);
    return 0;
}

static int served_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    struct small_op o = { VB_SV_REMOVE, name, false, 0 };
    return try_op(self(b), small_op, &o, err);
}

static int served_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    struct small_op o = { VB_SV_SIZE, name, false, 0 };
    if (try_op(self(b), small_op, &o, err) < 0)
        return -1;
    *size = o.size;
    return 0;
}

/* A server that was started anew since has to pass on what the one before has written: it does so for what it lists. */
static int barrier_op(struct served *d, void *arg, struct vb_error *err)
{
    struct list_op all = { .prefix = "" };
    struct small_op o = { VB_SV_BARRIER, NULL, false, 0 };
    (void)arg;
    int result = d->unsure ? list_op(d, &all, err) : 0;
    drop_found(&all);
    free(all.v);
    if (result < 0 || small_op(d, &o, err) < 0)
        return -1;
    d->unsure = false;
    return 0;
}

static int served_barrier(struct vb_backend *b, struct vb_error *err)
{
    return try_op(self(b), barrier_op, NULL, err);
}

static int lock_op(struct served *d, void *arg, struct vb_error *err)
{
    (void)arg;
    return say_lock(d, err);
}

static int served_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    struct served *d = self(b);
    if (d->holder)
        return vb_fail(err, VB_E_BAD_STATE, "already locked by this handle");
    d->holder = vb_strdup(holder);
    if (try_op(d, lock_op, NULL, err) == 0)
        return 0;
    free(d->holder);
    d->holder = NULL;
    return -1;
}

static void served_unlock(struct vb_backend *b)
{
    struct served *d = self(b);
    struct small_op o = { VB_SV_UNLOCK, NULL, false, 0 };
    if (!d->holder)
        return;
    free(d->holder);
    d->holder = NULL;
    d->lock_said = false;
    if (d->link && (small_op(d, &o, NULL) < 0 || d->broken))
        disconnect(d); /* its end gives the lock back, too */
}

static void served_close(struct vb_backend *b)
{
    struct served *d = self(b);
    disconnect(d);
    vb_link_params_clear(&d->params);
    vb_buf_clear(&d->in);
    free(d->holder);
    free(b->location);
    free(d);
}

static const struct vb_backend_ops served_ops = {
    .kind = "served",
    .read = served_read,
    .write = served_write,
    .list = served_list,
    .remove = served_remove,
    .size = served_size,
    .barrier = served_barrier,
    .lock = served_lock,
    .unlock = served_unlock,
    .close = served_close,
};

static int nothing_op(struct served *d, void *arg, struct vb_error *err)
{
    (void)d, (void)arg, (void)err;
    return 0;
}

struct vb_backend *vb_backend_served_open(const struct vb_served_params *p, struct vb_error *err)
{
    struct served *d = vb_alloc(sizeof *d);
    d->b.ops = &served_ops;
    d->b.location = vb_strdup(p->location);
    vb_link_params_copy(&d->params, p->link);
    d->retry_ms = p->retry_ms;
    d->create = p->create;
    if (try_op(d, nothing_op, NULL, err) < 0) {
        vb_context(err, "'%s'", p->location);
        served_close(&d->b);
        return NULL;
    }
    d->opened = true;
    return &d->b;
}
