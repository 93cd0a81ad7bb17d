/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/sim/sim_store.c - the store: takes content by name, loses what has not passed the barrier when the requester
 * dies.
 *
 * It watches the rule that nothing counts before the barrier: an entry that names content which is not durable, or
 * calls a component usable that has none, is a broken rule.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/protocol.h"

struct stream {
    struct sim *s;
    struct vb_conn *c;
    struct vb_stream_handler h;
    void *arg;
};

static struct sim_blob *blob(const struct sim *s, const struct vb_name *name)
{
    for (size_t i = 0; i < s->n_blobs; i++)
        if (vb_name_equal(&s->blobs[i].name, name))
            return &s->blobs[i];
    return NULL;
}

const char *sim_store_content(const struct sim *s, const struct vb_name *name)
{
    const struct sim_blob *b = blob(s, name);
    return b ? b->content : NULL;
}

static void take(struct sim *s, const struct vb_name *name, const char *content, bool durable)
{
    if (blob(s, name))
        return;
    VB_GROW(s->blobs, s->n_blobs, s->cap_blobs);
    s->blobs[s->n_blobs++] = (struct sim_blob){ *name, vb_strdup(content), durable };
}

static int full(struct sim *s, struct vb_error *err)
{
    if (!s->script.chunks_fail && !vb_rng_chance(&s->rng, s->f.store_full))
        return 0;
    return vb_fail(err, VB_E_NO_SPACE, "no space left on the repository");
}

/* ---- streams ---- */

static void forget(struct sim *s, const struct stream *t)
{
    for (size_t i = 0; i < s->n_streams; i++)
        if (s->streams[i] == t)
            s->streams[i] = s->streams[--s->n_streams];
}

static void stream_free(void *ctx, void *stream)
{
    struct stream *t = stream;
    forget(ctx, t);
    vb_conn_free(t->c);
    free(t);
}

static void chunk_comes(struct stream *t, const struct vb_msg *m)
{
    const unsigned char *p;
    size_t n;
    struct vb_name name;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_FREE char *content = vb_msg_str(m, VB_F_BYTES);
    if (!content || !vb_msg_bytes(m, VB_F_CHUNK_NAME, &p, &n) || n != sizeof name.b)
        return;
    memcpy(name.b, p, n);
    if (full(t->s, &e) < 0) {
        VB_AUTO_MSG out = VB_MSG_INIT(VB_M_ERROR);
        vb_msg_add_error(&out, &e);
        vb_conn_send(t->c, &out);
        t->h.done(t->arg, &e);
        return;
    }
    take(t->s, &name, content, false);
    t->h.progress(t->arg, 1, n, 0);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct stream *t = arg;
    const unsigned char *p;
    size_t n;
    if (m->type == VB_M_CHUNK) {
        chunk_comes(t, m);
    } else if (m->type == VB_M_GET && vb_msg_bytes(m, VB_F_CHUNK_NAME, &p, &n) && n == VB_NAME_LEN) {
        struct vb_name name;
        memcpy(name.b, p, n);
        const struct sim_blob *b = blob(t->s, &name);
        if (!b || !b->durable)
            sim_broken(t->s, "a restore asks for content that no backup can hold");
        VB_AUTO_MSG out = VB_MSG_INIT(VB_M_CHUNK);
        vb_msg_add_str(&out, VB_F_BYTES, b ? b->content : NULL);
        vb_conn_send(t->c, &out);
        t->h.progress(t->arg, 1, 1, 1);
    } else if (m->type == VB_M_DATA_END) {
        VB_AUTO_MSG ok = VB_MSG_INIT(VB_M_DATA_OK);
        vb_conn_send(t->c, &ok);
        vb_conn_finish(t->c);
    }
    if (m->type == VB_M_DATA_END)
        t->h.done(t->arg, NULL);
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct stream *t = arg;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_CONNECTION_LOST, "the data stream broke off: %s", vb_error_text(why));
    t->h.done(t->arg, &e);
}

static void *stream(void *ctx, const char *host, bool restore, struct vb_conn *conn, const struct vb_stream_handler *h,
                    void *arg)
{
    static const struct vb_conn_handler handler = { on_msg, on_close, NULL };
    struct sim *s = ctx;
    struct stream *t = vb_alloc(sizeof *t);
    (void)host;
    (void)restore;
    *t = (struct stream){ s, conn, *h, arg };
    VB_GROW(s->streams, s->n_streams, s->cap_streams);
    s->streams[s->n_streams++] = t;
    vb_conn_set_handler(conn, &handler, t);
    return t;
}

/* ---- the rest ---- */

static int begin(void *ctx, bool write, const char *run_id, struct vb_error *err)
{
    (void)run_id;
    struct sim *s = ctx;
    (void)err;
    if (write && s->store_held)
        sim_broken(s, "the store is begun twice");
    s->store_held = s->store_held || write;
    return 0;
}

static void announce(void *ctx, const char *host, struct vb_msg *m)
{
    (void)ctx, (void)host;
    vb_msg_add_str(m, VB_F_NAMING_KEY, "key");
}

static int barrier(void *ctx, struct vb_error *err)
{
    struct sim *s = ctx;
    if (s->script.barrier_fails)
        return vb_fail(err, VB_E_NO_SPACE, "no space left on the repository");
    if (full(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->n_blobs; i++)
        s->blobs[i].durable = true;
    return 0;
}

static int put_document(void *ctx, struct vb_catalog_entry *e, const char *kind, const char *host, const char *writer,
                        const void *p, size_t n, struct vb_error *err)
{
    struct sim *s = ctx;
    (void)err;
    VB_AUTO_FREE char *text = vb_strndup(p, n);
    struct vb_content content = { 0, 1, vb_alloc(sizeof *content.refs) };
    vb_sha256(text, n, &content.refs[0].name);
    content.refs[0].size = n > 0 ? n : 1;
    take(s, &content.refs[0].name, text, true);
    vb_catalog_add_document(e, kind, host, writer, &content)->size = n;
    return 0;
}

static void check_entry(struct sim *s, const struct vb_catalog_entry *e)
{
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++) {
            const struct vb_catalog_component *cc = &e->hosts[h].components[c];
            for (size_t r = 0; r < cc->n_roots; r++) {
                const struct sim_blob *b = cc->roots[r].has_tree ? blob(s, &cc->roots[r].tree) : NULL;
                if (cc->state != VB_CATALOG_FAILED && (!b || !b->durable))
                    sim_broken(s, "before the barrier: the entry counts '%s' of '%s', whose content is not durable",
                               cc->name, e->hosts[h].name);
            }
        }
}

static int commit(void *ctx, struct vb_catalog_entry *e, struct vb_error *err)
{
    struct sim *s = ctx;
    if (s->script.commit_fails)
        return vb_fail(err, VB_E_NO_SPACE, "no space left on the repository");
    if (full(s, err) < 0)
        return -1;
    check_entry(s, e);
    e->sequence = s->n_entries + 1;
    struct vb_buf b = VB_BUF_INIT;
    if (vb_catalog_encode(e, &b, err) < 0) {
        sim_broken(s, "the entry cannot be encoded: %s", vb_error_text(err));
        vb_buf_clear(&b);
        return -1;
    }
    VB_GROW(s->entries, s->n_entries, s->cap_entries);
    s->entries[s->n_entries++] = b;
    return 0;
}

static struct vb_catalog_entry *find(void *ctx, const char *which, const char *host, struct vb_error *err)
{
    struct sim *s = ctx;
    (void)host;
    for (size_t i = s->n_entries; i-- > 0;) {
        struct vb_catalog_entry *e = vb_catalog_decode(s->entries[i].data, s->entries[i].len, err);
        if (!e) {
            sim_broken(s, "the entry cannot be decoded: %s", vb_error_text(err));
            return NULL;
        }
        if (strcmp(e->id, which) == 0 || (strcmp(which, "latest") == 0 && e->state != VB_CATALOG_FAILED))
            return e;
        vb_catalog_entry_free(e);
    }
    vb_fail(err, VB_E_NOT_FOUND, "no backup '%s'", which);
    return NULL;
}

static int get_document(void *ctx, const struct vb_catalog_document *d, struct vb_buf *out, struct vb_error *err)
{
    struct sim *s = ctx;
    const char *text = d->content.n == 1 ? sim_store_content(s, &d->content.refs[0].name) : NULL;
    if (!text)
        return vb_fail(err, VB_E_NOT_FOUND, "document missing");
    vb_buf_add_str(out, text);
    return 0;
}

static void end(void *ctx)
{
    struct sim *s = ctx;
    s->store_held = false;
}

void sim_store_init(struct sim *s)
{
    s->store = (struct vb_run_store){ s, begin, announce, stream, stream_free, barrier, put_document, commit, find,
                                      get_document, end, NULL, NULL, NULL };
}

void sim_store_crash(struct sim *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n_blobs; i++) {
        if (s->blobs[i].durable)
            s->blobs[kept++] = s->blobs[i];
        else
            free(s->blobs[i].content);
    }
    s->n_blobs = kept;
    s->store_held = false;
}

void sim_store_free(struct sim *s)
{
    while (s->n_streams > 0)
        stream_free(s, s->streams[0]);
    free(s->streams);
    for (size_t i = 0; i < s->n_blobs; i++)
        free(s->blobs[i].content);
    free(s->blobs);
    for (size_t i = 0; i < s->n_entries; i++)
        vb_buf_clear(&s->entries[i]);
    free(s->entries);
}
