/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/chunk_fetcher.c - asks for chunks ahead of time, verifies what comes.
 *
 * A slot per chunk that was asked for or is kept.  `uses` counts the gets that were announced by want; a slot
 * without any and without a reason to be kept is dropped.
 */
#include "config.h"

#include <string.h>

#include "agent/chunk_fetcher.h"
#include "base/mem.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define BUCKETS 8192u
#define ASSUMED_TREE 8192u

struct slot {
    struct vb_name name;
    enum vb_chunk_type type;
    uint64_t id;
    size_t window; /* what it takes of the window */
    unsigned uses;
    bool arrived, kept;
    struct vb_buf bytes;
    struct vb_error error;
    struct slot *next;
};

struct vb_chunk_fetcher {
    int fd;
    struct vb_namer *namer;
    struct vb_codec *codec;
    struct vb_buf in;
    bool broken;
    uint64_t next_id;
    size_t window, requests, kept;
    struct slot *buckets[BUCKETS];
    struct slot *by_id[BUCKETS]; /* requests under way, id modulo; more than fit are not asked ahead */
};

struct vb_chunk_fetcher *vb_chunk_fetcher_new(int fd, const uint8_t *key)
{
    struct vb_chunk_fetcher *f = vb_alloc(sizeof *f);
    f->fd = fd;
    f->namer = key ? vb_namer_new(key) : NULL;
    f->codec = vb_codec_new(1);
    f->next_id = 1;
    return f;
}

static void slot_free(struct slot *s)
{
    vb_buf_clear(&s->bytes);
    vb_error_clear(&s->error);
    vb_free_ptr(&s);
}

void vb_chunk_fetcher_free(struct vb_chunk_fetcher *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (f->buckets[i]) {
            struct slot *s = f->buckets[i];
            f->buckets[i] = s->next;
            slot_free(s);
        }
    vb_namer_free(f->namer);
    vb_codec_free(f->codec);
    vb_buf_clear(&f->in);
    vb_free_ptr(&f);
}

bool vb_chunk_fetcher_broken(const struct vb_chunk_fetcher *f)
{
    return f->broken;
}

static struct slot **find(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name)
{
    size_t h;
    memcpy(&h, name->b, sizeof h);
    struct slot **p = &f->buckets[h % BUCKETS];
    while (*p && ((*p)->type != type || !vb_name_equal(&(*p)->name, name)))
        p = &(*p)->next;
    return p;
}

static int lost(struct vb_chunk_fetcher *f, struct vb_error *err)
{
    f->broken = true;
    return vb_fail(err, VB_E_CONNECTION_LOST, "data stream to the requester is lost");
}

int vb_chunk_fetcher_send(struct vb_chunk_fetcher *f, const struct vb_msg *m, struct vb_error *err)
{
    if (f->broken || vb_msg_send_fd(f->fd, m, NULL) < 0)
        return lost(f, err);
    return 0;
}

static struct slot *ask(struct vb_chunk_fetcher *f, struct slot **place, enum vb_chunk_type type,
                        const struct vb_name *name, size_t size, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_GET);
    m.id = f->next_id;
    vb_msg_add(&m, VB_F_CHUNK_NAME, name->b, sizeof name->b);
    vb_msg_add_u64(&m, VB_F_CHUNK_TYPE, type);
    if (vb_chunk_fetcher_send(f, &m, err) < 0)
        return NULL;
    struct slot *s = vb_alloc(sizeof *s);
    s->name = *name;
    s->type = type;
    s->id = f->next_id++;
    s->window = size;
    f->window += size;
    f->requests++;
    f->by_id[s->id % BUCKETS] = s;
    *place = s;
    return s;
}

bool vb_chunk_fetcher_want(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name,
                           uint64_t size)
{
    struct slot **p = find(f, type, name);
    if (!*p) {
        size_t n = size && size <= VB_CHUNK_MAX_RAW ? (size_t)size : ASSUMED_TREE;
        if (f->broken || f->requests >= VB_FETCH_REQUESTS || f->window + n > VB_FETCH_WINDOW ||
            !ask(f, p, type, name, n, NULL))
            return false;
    }
    (*p)->uses++;
    return true;
}

/* Decompresses and verifies; what is wrong with the chunk becomes the slot's error. */
static void take_chunk(struct vb_chunk_fetcher *f, struct slot *s, const struct vb_msg *m)
{
    const unsigned char *p;
    size_t n;
    uint64_t size = vb_msg_u64(m, VB_F_SIZE, 0), comp = vb_msg_u64(m, VB_F_COMP, VB_ENC_RAW);
    if (vb_msg_error(m, &s->error) < 0)
        return;
    if (!vb_msg_bytes(m, VB_F_BYTES, &p, &n) || size == 0 || size > VB_CHUNK_MAX_RAW || comp > 255) {
        vb_fail(&s->error, VB_E_PROTOCOL, "requester sent a chunk that cannot be understood");
        return;
    }
    if (vb_codec_decompress(f->codec, (uint8_t)comp, p, n, (size_t)size, &s->bytes, &s->error) < 0)
        return;
    if (!f->namer)
        return;
    struct vb_name name;
    vb_namer_name(f->namer, s->type, s->bytes.data, s->bytes.len, &name);
    if (!vb_name_equal(&name, &s->name))
        vb_fail(&s->error, VB_E_CORRUPT, "%s chunk does not match its name", vb_chunk_type_name(s->type));
}

static void use(struct vb_chunk_fetcher *f, struct slot **place, bool keep)
{
    struct slot *s = *place;
    if (s->uses)
        s->uses--;
    if (s->uses)
        return;
    if (!s->kept) {
        f->window -= s->window;
        s->window = 0;
    }
    if (keep && !s->kept && f->kept + s->bytes.len <= VB_FETCH_KEEP && s->error.code == VB_OK) {
        s->kept = true;
        f->kept += s->bytes.len;
    }
    if (keep && s->kept)
        return;
    if (s->kept)
        f->kept -= s->bytes.len;
    *place = s->next;
    slot_free(s);
}

static int handle(struct vb_chunk_fetcher *f, const struct vb_msg *m, bool *ended, struct vb_error *err)
{
    if (m->type == VB_M_DATA_OK && ended) {
        *ended = true;
        return 0;
    }
    if (m->type == VB_M_ERROR) {
        f->broken = true;
        return vb_msg_error(m, err) < 0 ? -1 : vb_fail(err, VB_E_PROTOCOL, "requester sent an error without a code");
    }
    struct slot *s = f->by_id[m->id % BUCKETS];
    if (m->type != VB_M_CHUNK || !s || s->id != m->id) {
        f->broken = true;
        return vb_fail(err, VB_E_PROTOCOL, "requester sent message %u, which was not asked for", (unsigned)m->type);
    }
    f->by_id[m->id % BUCKETS] = NULL;
    f->requests--;
    s->arrived = true;
    if (s->uses)
        take_chunk(f, s, m);
    else
        use(f, find(f, s->type, &s->name), false);
    return 0;
}

static int receive(struct vb_chunk_fetcher *f, bool *ended, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    if (f->broken || vb_msg_recv_fd(f->fd, &f->in, &m, NULL) != 0)
        return lost(f, err);
    return handle(f, &m, ended, err);
}

int vb_chunk_fetcher_poll(struct vb_chunk_fetcher *f, struct vb_error *err)
{
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int rc = f->broken ? -1 : vb_msg_poll_fd(f->fd, &f->in, &m, NULL);
        if (rc == 2)
            return 0;
        if (rc != 0)
            return lost(f, err);
        if (handle(f, &m, NULL, err) < 0)
            return -1;
    }
}

void vb_chunk_fetcher_unwant(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name)
{
    struct slot **p = find(f, type, name), *s = *p;
    if (!s || !s->uses)
        return;
    if (s->arrived)
        use(f, p, s->kept);
    else
        s->uses--; /* dropped when it comes */
}

void vb_chunk_fetcher_forget(struct vb_chunk_fetcher *f)
{
    while (f->requests && receive(f, NULL, NULL) == 0)
        ;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct slot **p = &f->buckets[i]; *p;) {
            struct slot *s = *p;
            s->uses = 0;
            if (!s->kept && s->arrived)
                use(f, p, false);
            else
                p = &s->next;
        }
}

int vb_chunk_fetcher_get(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name, bool keep,
                         struct vb_buf *out, struct vb_error *err)
{
    struct slot **p = find(f, type, name), *s = *p;
    if (!s && !(s = ask(f, p, type, name, ASSUMED_TREE, err)))
        return -1;
    if (!s->uses && !s->arrived)
        s->uses = 1;
    while (!s->arrived)
        if (receive(f, NULL, err) < 0)
            return -1;
    p = find(f, type, name);
    int rc = 0;
    if (s->error.code != VB_OK) {
        vb_error_copy(err, &s->error);
        rc = -1;
    } else {
        vb_buf_add(out, s->bytes.data, s->bytes.len);
    }
    use(f, p, keep);
    return rc;
}

int vb_chunk_fetcher_finish(struct vb_chunk_fetcher *f, struct vb_error *err)
{
    struct vb_msg end = VB_MSG_INIT(VB_M_DATA_END);
    while (f->requests) /* asked ahead and not needed after all */
        if (receive(f, NULL, err) < 0)
            return -1;
    if (vb_chunk_fetcher_send(f, &end, err) < 0)
        return -1;
    bool ended = false;
    while (!ended)
        if (receive(f, &ended, err) < 0)
            return -1;
    return 0;
}

/* ---- directories ---- */

static int load(struct vb_dirscan *d, const struct vb_name *name, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    if (vb_chunk_fetcher_get(d->f, VB_CHUNK_TREE, name, d->keep, &bytes, err) < 0)
        return -1;
    struct vb_tree *t = &d->level[d->n].t;
    if (vb_tree_decode(bytes.data, bytes.len, t, err) < 0)
        return -1;
    d->level[d->n].next = 0;
    d->n++;
    if (d->n > 1 ? t->height + 1u != d->level[d->n - 2].t.height : t->height > VB_TREE_MAX_HEIGHT)
        return vb_fail(err, VB_E_CORRUPT, "parts of a directory do not fit together");
    return 0;
}

int vb_dirscan_open(struct vb_dirscan *d, struct vb_chunk_fetcher *f, const struct vb_name *directory, bool keep,
                    struct vb_error *err)
{
    memset(d, 0, sizeof *d);
    d->f = f;
    d->keep = keep;
    if (load(d, directory, err) == 0)
        return 0;
    vb_dirscan_close(d);
    return -1;
}

int vb_dirscan_next(struct vb_dirscan *d, const struct vb_tree_entry **e, struct vb_error *err)
{
    while (d->n) {
        size_t at = d->n - 1;
        struct vb_tree *t = &d->level[at].t;
        if (d->level[at].next == t->n) {
            vb_tree_clear(t);
            d->n--;
        } else if (t->height == 0) {
            *e = &t->entries[d->level[at].next++];
            return 1;
        } else if (load(d, &t->children[d->level[at].next++].name, err) < 0) {
            return -1;
        }
    }
    return 0;
}

const struct vb_tree *vb_dirscan_leaf(const struct vb_dirscan *d, size_t *next)
{
    if (!d->n || d->level[d->n - 1].t.height)
        return NULL;
    *next = d->level[d->n - 1].next;
    return &d->level[d->n - 1].t;
}

void vb_dirscan_close(struct vb_dirscan *d)
{
    while (d->n)
        vb_tree_clear(&d->level[--d->n].t);
}
