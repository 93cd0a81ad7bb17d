/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/store_run.c - the store of a run over a repository: ingest and serving on the data streams, documents,
 * commit.
 */
#include "requester/run_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "requester/hosts.h"
#include "requester/ingest.h"
#include "requester/serve_restore.h"
#include "store/repository.h"
#include "wire/protocol.h"

#define RENEW_MS ((uint64_t)5 * 60 * 1000)
#define MAX_DOCUMENT ((size_t)256 << 20)

struct store {
    struct vb_loop *loop;
    struct vb_repo *repo;
    const struct vb_hosts *hosts;
    bool locked;
    struct vb_timer *renewal;
    struct vb_strv own;  /* hosts whose agent is a part of ourselves */
    struct vb_picked_roots picked;
    uint32_t *groups; /* of the hosts of the backups that were looked up: a restore sees their chunks */
    size_t n_groups, cap_groups;
    char *attached_kind; /* NULL: nothing */
    struct vb_buf attached;
};

struct stream {
    struct vb_ingest *in;
    struct vb_serve_restore *out;
    struct vb_stream_handler h;
    void *arg;
};

static void renew(void *ctx)
{
    struct store *s = ctx;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    s->renewal = vb_loop_after(s->loop, RENEW_MS, renew, s);
    if (vb_repo_renew(s->repo, vb_loop_wall_ms(s->loop), &why) < 0)
        vb_log_error(VB_LOG_INFO, &why); /* the commit finds out whether that mattered */
}

static int begin(void *ctx, bool write, const char *run_id, struct vb_error *err)
{
    struct store *s = ctx;
    if (!write)
        return 0;
    if (vb_repo_lock_as(s->repo, run_id && vb_guid_valid(run_id) ? run_id : NULL, vb_loop_wall_ms(s->loop), err) < 0)
        return -1;
    s->locked = true;
    s->renewal = vb_loop_after(s->loop, RENEW_MS, renew, s);
    return 0;
}

static uint32_t group_of(struct store *s, const char *host)
{
    uint32_t group = 0;
    /* Names that long cannot be in the table; in the repository's own group no host finds anything. */
    (void)vb_repo_group(s->repo, vb_hosts_group(s->hosts, host), &group, NULL);
    return group;
}

static void see_group(struct store *s, uint32_t group)
{
    for (size_t i = 0; i < s->n_groups; i++)
        if (s->groups[i] == group)
            return;
    VB_GROW(s->groups, s->n_groups, s->cap_groups);
    s->groups[s->n_groups++] = group;
}

static void announce(void *ctx, const char *host, struct vb_msg *m)
{
    struct store *s = ctx;
    const uint8_t *naming, *cutter;
    if (m->type == VB_M_CAPTURE) {
        vb_ingest_add_keys(m, s->repo, group_of(s, host));
        if (vb_strv_has(&s->own, host))
            vb_ingest_add_trust(m);
    } else if (s->n_groups == 1) {
        /* With several groups the agent cannot know which chunk is whose; they are verified here in any case. */
        vb_repo_group_keys(s->repo, s->groups[0], &naming, &cutter);
        vb_msg_add(m, VB_F_NAMING_KEY, naming, VB_CHUNK_KEY_LEN);
    }
}

/* ---- streams ---- */

static void on_progress(void *arg, uint64_t files, uint64_t done, uint64_t total)
{
    struct stream *t = arg;
    t->h.progress(t->arg, files, done, total);
}

static void on_warn(void *arg, const char *path, const struct vb_error *what)
{
    struct stream *t = arg;
    t->h.warn(t->arg, path, what);
}

static void on_end(void *arg, const struct vb_error *why)
{
    struct stream *t = arg;
    t->h.done(t->arg, why->code == VB_OK ? NULL : why); /* may free the stream */
}

static void *open_stream(void *ctx, const char *host, bool restore, struct vb_conn *conn,
                         const struct vb_stream_handler *h, void *arg)
{
    static const struct vb_ingest_handler in = { on_progress, on_warn, on_end };
    static const struct vb_serve_restore_handler out = { on_progress, on_warn, on_end };
    struct store *s = ctx;
    struct stream *t = vb_alloc(sizeof *t);
    t->h = *h;
    t->arg = arg;
    if (restore) {
        t->out = vb_serve_restore_new(conn, s->repo, &s->picked, s->groups, s->n_groups, &out, t);
        return t;
    }
    bool own = vb_conn_fd_is_own(conn);
    t->in = vb_ingest_new(conn, s->repo, group_of(s, host), &in, t);
    if (own)
        vb_ingest_trust(t->in);
    if (own && !vb_strv_has(&s->own, host))
        vb_strv_add(&s->own, host);
    return t;
}

static void stream_free(void *ctx, void *stream)
{
    struct stream *t = stream;
    (void)ctx;
    vb_ingest_free(t->in);
    vb_serve_restore_free(t->out);
    free(t);
}

/* ---- documents and the entry ---- */

static int barrier(void *ctx, struct vb_error *err)
{
    struct store *s = ctx;
    return vb_repo_flush(s->repo, err);
}

static int put_document(void *ctx, struct vb_catalog_entry *e, const char *kind, const char *host, const char *writer,
                        const void *p, size_t n, struct vb_error *err)
{
    struct store *s = ctx;
    struct vb_content content;
    memset(&content, 0, sizeof content);
    if (vb_repo_put_bytes(s->repo, VB_CHUNK_DOC, p, n, &content, err) < 0)
        return -1;
    struct vb_catalog_document *d = vb_catalog_add_document(e, kind, host, writer, &content);
    d->size = n;
    return 0;
}

/* An agent names the roots it captured: what another host's group holds is not its own. */
static int check_roots(struct store *s, const struct vb_catalog_host *h, struct vb_error *err)
{
    uint32_t group = group_of(s, h->name);
    for (size_t c = 0; c < h->n_components; c++)
        for (size_t i = 0; i < h->components[c].n_roots; i++) {
            const struct vb_catalog_root *root = &h->components[c].roots[i];
            bool present = true;
            if (root->has_tree)
                vb_repo_has_in(s->repo, group, &root->tree, 1, &present);
            if (!present)
                return vb_fail(err, VB_E_CORRUPT, "host '%s' named a directory that is not its own", h->name);
        }
    return 0;
}

static int commit(void *ctx, struct vb_catalog_entry *e, struct vb_error *err)
{
    struct store *s = ctx;
    for (size_t h = 0; h < e->n_hosts; h++)
        if (check_roots(s, &e->hosts[h], err) < 0)
            return -1;
    if (s->attached_kind && !vb_catalog_find_document(e, s->attached_kind, NULL, NULL) &&
        put_document(ctx, e, s->attached_kind, NULL, NULL, s->attached.data, s->attached.len, err) < 0)
        return -1;
    return vb_repo_commit(s->repo, e, err);
}

static struct vb_catalog_entry *find(void *ctx, const char *which, const char *host, struct vb_error *err)
{
    struct store *s = ctx;
    struct vb_catalog_entry *e = vb_repo_find(s->repo, which, host, err);
    for (size_t h = 0; e && h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++)
            for (size_t i = 0; i < e->hosts[h].components[c].n_roots; i++) {
                const struct vb_catalog_root *root = &e->hosts[h].components[c].roots[i];
                uint32_t group;
                if (root->has_tree && vb_repo_group_of(s->repo, &root->tree, &group))
                    see_group(s, group); /* as it was stored, whatever the configuration says by now */
            }
    return e;
}

static int get_document(void *ctx, const struct vb_catalog_document *d, struct vb_buf *out, struct vb_error *err)
{
    struct store *s = ctx;
    return vb_repo_get_bytes(s->repo, VB_CHUNK_DOC, &d->content, MAX_DOCUMENT, out, err);
}

static void end(void *ctx)
{
    struct store *s = ctx;
    if (s->locked) {
        vb_timer_cancel(s->renewal);
        s->renewal = NULL;
        vb_repo_unlock(s->repo);
    }
    s->locked = false;
}

static int pick(void *ctx, const struct vb_catalog_root *root, const char *path, struct vb_name *tree,
                struct vb_error *err)
{
    struct store *s = ctx;
    const char *rest = path + strlen(root->path);
    while (*rest == '/')
        rest++;
    return vb_picked_add(&s->picked, s->repo, &root->tree, rest, tree, err);
}

struct every {
    void (*fn)(void *arg, const struct vb_catalog_entry *e);
    void *arg;
};

static int on_each(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    const struct every *x = arg;
    (void)path, (void)damage;
    x->fn(x->arg, *entry);
    return 0;
}

static int each(void *ctx, void (*fn)(void *arg, const struct vb_catalog_entry *e), void *arg, uint64_t *newest_forgotten,
                struct vb_error *err)
{
    struct store *s = ctx;
    struct every x = { fn, arg };
    return vb_repo_list(s->repo, on_each, &x, err) != 0 || vb_repo_newest_forgotten(s->repo, newest_forgotten, err) < 0 ? -1
                                                                                                                       : 0;
}

static void free_store(void *ctx)
{
    struct store *s = ctx;
    vb_picked_clear(&s->picked);
    free(s->groups);
    vb_strv_clear(&s->own);
    free(s->attached_kind);
    vb_buf_clear(&s->attached);
    free(s);
}

struct vb_run_store *vb_run_store_repo(struct vb_loop *l, struct vb_repo *r, const struct vb_hosts *hosts)
{
    struct store *c = vb_alloc(sizeof *c);
    c->loop = l;
    c->repo = r;
    c->hosts = hosts;
    struct vb_run_store *s = vb_alloc(sizeof *s);
    *s = (struct vb_run_store){ c, begin, announce, open_stream, stream_free, barrier, put_document, commit, find,
                                get_document, end, free_store, pick, each };
    return s;
}

void vb_run_store_attach(struct vb_run_store *s, const char *kind, const void *p, size_t n)
{
    struct store *c = s->ctx;
    free(c->attached_kind);
    c->attached_kind = vb_strdup(kind);
    vb_buf_reset(&c->attached);
    vb_buf_add(&c->attached, p, n);
}

void vb_run_store_free(struct vb_run_store *s)
{
    if (!s)
        return;
    end(s->ctx);
    s->free_ctx(s->ctx);
    free(s);
}
