/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/chunk_fetcher.c - asks for chunks ahead of time, verifies what comes.
 *
 * A slot per chunk that was asked for or is kept.  `uses` counts the gets that were announced by want; a slot
 * without any and without a reason to be kept is dropped.
 *
 * What comes is decompressed and verified by the threads, in the order in which it came; whoever gets a chunk that none
 * has begun with does it himself.  A slot belongs to the thread while it is RUNNING; only `jobs`, the links of slots in it and
 * `state` are shared.  Requests are gathered, and sent when enough are together or before anything is waited for.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "agent/chunk_fetcher.h"
#include "base/mem.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define BUCKETS 8192u
#define ASSUMED_TREE 8192u
#define MAX_THREADS 8u
#define GATHER_REQUESTS 32u                    /* requests, and bytes asked for by them, that are sent together */
#define GATHER_WINDOW (VB_FETCH_WINDOW / 8)
#define WORTH_WAKING ((size_t)16 << 10)        /* stored bytes that wait; for fewer a sleeping thread is left alone */
#define ENOUGH_JOBS ((size_t)1 << 20)          /* above that no more is read than is asked for */

enum state {
    ASKED,   /* not there yet */
    WAITING, /* in jobs */
    RUNNING, /* with a thread */
    DONE     /* bytes or error are set */
};

struct slot {
    struct vb_name name;
    enum vb_chunk_type type;
    uint64_t id;
    size_t window; /* what it takes of the window */
    unsigned uses;
    bool arrived, kept, hinted;
    struct vb_msg message; /* as it came, until it is decoded */
    struct vb_buf bytes;
    struct vb_error error;
    struct slot *next;
    enum state state;
    struct slot *job_next, **job_prev; /* WAITING */
};

struct decoder {
    struct vb_namer *namer; /* NULL: nothing is verified */
    struct vb_codec *codec;
};

struct vb_chunk_fetcher {
    int fd;
    struct decoder own;
    struct vb_buf in;
    size_t in_at;                    /* handled of it */
    struct vb_buf out;               /* requests that were not sent yet */
    size_t out_requests, out_window; /* their number, and what they ask for */
    bool broken;
    uint64_t next_id;
    size_t window, requests, kept;
    struct slot *buckets[BUCKETS];
    struct slot *by_id[BUCKETS]; /* requests under way, id modulo; more than fit are not asked ahead */
    /* shared */
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    struct slot *jobs, **jobs_end;
    size_t jobs_bytes;
    bool stop;
    unsigned n_threads;
    pthread_t threads[MAX_THREADS];
    struct decoder decoders[MAX_THREADS];
    unsigned n_decoders; /* handed out */
};

static void decode(struct decoder *d, struct slot *s);

static void unlink_job(struct vb_chunk_fetcher *f, struct slot *s)
{
    *s->job_prev = s->job_next;
    if (s->job_next)
        s->job_next->job_prev = s->job_prev;
    else
        f->jobs_end = s->job_prev;
    f->jobs_bytes -= s->message.body.len;
    s->state = RUNNING;
}

static void *decoder(void *arg)
{
    struct vb_chunk_fetcher *f = arg;
    pthread_mutex_lock(&f->lock);
    struct decoder *d = &f->decoders[f->n_decoders++];
    for (;;) {
        while (!f->stop && !f->jobs)
            pthread_cond_wait(&f->work, &f->lock);
        if (f->stop)
            break;
        struct slot *s = f->jobs;
        unlink_job(f, s);
        pthread_mutex_unlock(&f->lock);
        decode(d, s);
        pthread_mutex_lock(&f->lock);
        s->state = DONE;
        pthread_cond_signal(&f->ready);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* The slot's chunk has come: afterwards it is decoded, by us if no thread has begun. */
static void settle(struct vb_chunk_fetcher *f, struct slot *s)
{
    pthread_mutex_lock(&f->lock);
    if (s->state == WAITING) {
        unlink_job(f, s);
        pthread_mutex_unlock(&f->lock);
        decode(&f->own, s);
        s->state = DONE;
        return;
    }
    while (s->state == RUNNING)
        pthread_cond_wait(&f->ready, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

/* Nobody needs the chunk: no thread begins with it, and one that has is waited for. */
static void withdraw(struct vb_chunk_fetcher *f, struct slot *s)
{
    pthread_mutex_lock(&f->lock);
    if (s->state == WAITING) {
        unlink_job(f, s);
        s->state = DONE;
    }
    while (s->state == RUNNING)
        pthread_cond_wait(&f->ready, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static struct decoder make_decoder(const uint8_t *key)
{
    return (struct decoder){ key ? vb_namer_new(key) : NULL, vb_codec_new(1) };
}

struct vb_chunk_fetcher *vb_chunk_fetcher_new(int fd, const uint8_t *key, unsigned threads)
{
    struct vb_chunk_fetcher *f = vb_alloc(sizeof *f);
    f->fd = fd;
    f->own = make_decoder(key);
    f->next_id = 1;
    f->jobs_end = &f->jobs;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->work, NULL);
    pthread_cond_init(&f->ready, NULL);
    while (f->n_threads < threads && f->n_threads < MAX_THREADS) {
        f->decoders[f->n_threads] = make_decoder(key);
        if (pthread_create(&f->threads[f->n_threads], NULL, decoder, f) != 0) {
            vb_namer_free(f->decoders[f->n_threads].namer);
            vb_codec_free(f->decoders[f->n_threads].codec);
            break;
        }
        f->n_threads++;
    }
    return f;
}

static void slot_free(struct slot *s)
{
    vb_msg_clear(&s->message);
    vb_buf_clear(&s->bytes);
    vb_error_clear(&s->error);
    vb_free_ptr(&s);
}

void vb_chunk_fetcher_free(struct vb_chunk_fetcher *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->work);
    pthread_mutex_unlock(&f->lock);
    for (unsigned i = 0; i < f->n_threads; i++) {
        pthread_join(f->threads[i], NULL);
        vb_namer_free(f->decoders[i].namer);
        vb_codec_free(f->decoders[i].codec);
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->work);
    pthread_cond_destroy(&f->ready);
    for (size_t i = 0; i < BUCKETS; i++)
        while (f->buckets[i]) {
            struct slot *s = f->buckets[i];
            f->buckets[i] = s->next;
            slot_free(s);
        }
    vb_namer_free(f->own.namer);
    vb_codec_free(f->own.codec);
    vb_buf_clear(&f->in);
    vb_buf_clear(&f->out);
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

static int send_requests(struct vb_chunk_fetcher *f, struct vb_error *err)
{
    if (f->broken)
        return lost(f, err);
    int rc = f->out.len ? vb_bytes_send_fd(f->fd, f->out.data, f->out.len, NULL) : 0;
    vb_buf_reset(&f->out);
    f->out_requests = f->out_window = 0;
    return rc < 0 ? lost(f, err) : 0;
}

int vb_chunk_fetcher_send(struct vb_chunk_fetcher *f, const struct vb_msg *m, struct vb_error *err)
{
    if (vb_msg_encode(m, &f->out, err) < 0)
        return -1;
    return send_requests(f, err);
}

static struct slot *ask(struct vb_chunk_fetcher *f, struct slot **place, enum vb_chunk_type type,
                        const struct vb_name *name, size_t size, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_GET);
    m.id = f->next_id;
    vb_msg_add(&m, VB_F_CHUNK_NAME, name->b, sizeof name->b);
    vb_msg_add_u64(&m, VB_F_CHUNK_TYPE, type);
    if (f->broken || vb_msg_encode(&m, &f->out, NULL) < 0)
        return lost(f, err), NULL;
    f->out_requests++;
    f->out_window += size;
    if ((f->out_requests >= GATHER_REQUESTS || f->out_window >= GATHER_WINDOW) && send_requests(f, err) < 0)
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
    (*p)->hinted = false;
    return true;
}

bool vb_chunk_fetcher_hint(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name, uint64_t size)
{
    struct slot **p = find(f, type, name);
    size_t n = size && size <= VB_CHUNK_MAX_RAW ? (size_t)size : ASSUMED_TREE;
    if (*p)
        return true;
    bool room = type == VB_CHUNK_TREE || (f->requests < VB_FETCH_REQUESTS / 2 && f->window + n <= VB_FETCH_WINDOW / 2);
    if (f->broken || !room || f->requests >= BUCKETS / 2 || !ask(f, p, type, name, n, NULL))
        return false;
    (*p)->hinted = true;
    return true;
}

bool vb_chunk_fetcher_coming(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name)
{
    const struct slot *s = *find(f, type, name);
    return s && !s->arrived;
}

/* Decompresses and verifies; what is wrong with the chunk becomes the slot's error. */
static void decode_message(struct decoder *d, struct slot *s)
{
    const struct vb_msg *m = &s->message;
    const unsigned char *p;
    size_t n;
    uint64_t size = vb_msg_u64(m, VB_F_SIZE, 0), comp = vb_msg_u64(m, VB_F_COMP, VB_ENC_RAW);
    if (vb_msg_error(m, &s->error) < 0)
        return;
    if (!vb_msg_bytes(m, VB_F_BYTES, &p, &n) || size == 0 || size > VB_CHUNK_MAX_RAW || comp > 255) {
        vb_fail(&s->error, VB_E_PROTOCOL, "requester sent a chunk that cannot be understood");
        return;
    }
    if (vb_codec_decompress(d->codec, (uint8_t)comp, p, n, (size_t)size, &s->bytes, &s->error) < 0)
        return;
    if (!d->namer)
        return;
    struct vb_name name;
    vb_namer_name(d->namer, s->type, s->bytes.data, s->bytes.len, &name);
    if (!vb_name_equal(&name, &s->name))
        vb_fail(&s->error, VB_E_CORRUPT, "%s chunk does not match its name", vb_chunk_type_name(s->type));
}

static void decode(struct decoder *d, struct slot *s)
{
    decode_message(d, s);
    vb_msg_clear(&s->message);
}

/* The chunk has come: takes the message over. */
static void take_chunk(struct vb_chunk_fetcher *f, struct slot *s, struct vb_msg *m)
{
    s->message = *m;
    *m = (struct vb_msg)VB_MSG_INIT(0);
    pthread_mutex_lock(&f->lock);
    s->state = WAITING;
    s->job_next = NULL;
    s->job_prev = f->jobs_end;
    *f->jobs_end = s;
    f->jobs_end = &s->job_next;
    f->jobs_bytes += s->message.body.len;
    if (f->jobs_bytes > WORTH_WAKING)
        pthread_cond_signal(&f->work);
    pthread_mutex_unlock(&f->lock);
}

static void use(struct vb_chunk_fetcher *f, struct slot **place, bool keep)
{
    struct slot *s = *place;
    if (s->uses)
        s->uses--;
    if (s->uses)
        return;
    withdraw(f, s);
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

static int handle(struct vb_chunk_fetcher *f, struct vb_msg *m, bool *ended, struct vb_error *err)
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
    if (s->uses || s->hinted) {
        take_chunk(f, s, m);
        return 0;
    }
    use(f, find(f, s->type, &s->name), false);
    return 0;
}

/* The threads have that much to do, at least. */
static bool has_jobs(struct vb_chunk_fetcher *f, size_t bytes)
{
    pthread_mutex_lock(&f->lock);
    bool enough = f->jobs_bytes >= bytes;
    pthread_mutex_unlock(&f->lock);
    return enough;
}

static int receive_some(struct vb_chunk_fetcher *f, bool *ended, bool wait, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    int rc = f->broken ? -1 : vb_msg_next_fd(f->fd, &f->in, &f->in_at, &m, wait, NULL);
    if (rc == 2)
        return 1;
    return rc != 0 ? lost(f, err) : handle(f, &m, ended, err);
}

/* Waits for a message, and takes what has come behind it, for the threads. */
static int receive(struct vb_chunk_fetcher *f, bool *ended, struct vb_error *err)
{
    if (send_requests(f, err) < 0)
        return -1;
    int rc = receive_some(f, ended, true, err);
    while (rc == 0 && f->n_threads && !(ended && *ended) && f->requests && !has_jobs(f, ENOUGH_JOBS))
        rc = receive_some(f, NULL, false, err);
    return rc < 0 ? -1 : 0;
}

int vb_chunk_fetcher_poll(struct vb_chunk_fetcher *f, struct vb_error *err)
{
    int rc;
    while ((rc = receive_some(f, NULL, false, err)) == 0)
        ;
    return rc < 0 ? -1 : 0;
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
            s->hinted = false;
            if (!s->kept && s->arrived)
                use(f, p, false);
            else
                p = &s->next;
        }
}

void vb_chunk_fetcher_drop_hints(struct vb_chunk_fetcher *f)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct slot **p = &f->buckets[i]; *p;) {
            struct slot *s = *p;
            bool drop = s->hinted && s->arrived;
            s->hinted = false; /* one that has not come is dropped when it does */
            if (drop)
                use(f, p, false);
            else
                p = &s->next;
        }
}

const struct vb_buf *vb_chunk_fetcher_peek(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name)
{
    struct slot *s = *find(f, type, name);
    if (!s || !s->arrived)
        return NULL;
    settle(f, s);
    return s->error.code == VB_OK ? &s->bytes : NULL;
}

int vb_chunk_fetcher_get(struct vb_chunk_fetcher *f, enum vb_chunk_type type, const struct vb_name *name, bool keep,
                         struct vb_buf *out, struct vb_error *err)
{
    struct slot **p = find(f, type, name), *s = *p;
    if (!s && !(s = ask(f, p, type, name, ASSUMED_TREE, err)))
        return -1;
    s->hinted = false;
    if (!s->uses && !s->arrived)
        s->uses = 1;
    while (!s->arrived)
        if (receive(f, NULL, err) < 0)
            return -1;
    /* What has come meanwhile gives the threads something to do before we need it. */
    while (f->n_threads && f->requests && !has_jobs(f, WORTH_WAKING)) {
        int more = receive_some(f, NULL, false, err);
        if (more < 0)
            return -1;
        if (more)
            break;
    }
    settle(f, s);
    p = find(f, type, name);
    int rc = 0;
    if (s->error.code != VB_OK) {
        vb_error_copy(err, &s->error);
        rc = -1;
    } else if (!keep && !s->kept && s->uses <= 1 && !out->len) {
        struct vb_buf empty = *out; /* nobody else wants it */
        *out = s->bytes;
        s->bytes = empty;
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
