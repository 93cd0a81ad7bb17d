/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/chunk_sender.c - offers chunks, compresses and sends the wanted ones.
 *
 * An item goes: batch being filled -> offered batches (waiting for WANT) -> send queue (compressed by whoever is free,
 * sent strictly from its head) -> gone.  Only `queue`, `next_job` and the items' done flags are shared with the
 * threads.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "agent/chunk_sender.h"
#include "base/mem.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define BUCKETS 4096u
#define MAX_THREADS 8u

struct item {
    struct vb_name name;
    enum vb_chunk_type type;
    unsigned char *data;
    size_t len;
    struct vb_buf stored;
    uint8_t encoding;
    bool checked;           /* decompressed and compared */
    bool done;              /* compressed */
    struct item *next;      /* in its batch or in the send queue */
    struct item *same_hash;
};

struct batch {
    uint64_t id;
    struct item *first, **last;
    size_t n, bytes;
    struct batch *next;
};

struct vb_chunk_sender {
    int fd;
    struct vb_namer *namer;
    struct vb_codec *codec; /* without threads */
    struct vb_buf room;     /* and its work space */
    int level;
    bool checks;
    struct vb_buf in;
    bool broken;
    uint64_t next_id;
    uint64_t asked_id;       /* of a question, 0: none is open */
    bool *answer;
    size_t n_asked;
    size_t window, n_items;  /* bytes and number of all items */
    struct batch *filling;
    struct batch *offered, **offered_last;
    struct item *buckets[BUCKETS];
    /* shared */
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    struct item *queue, **queue_last;
    struct item *next_job;
    bool stop;
    unsigned n_threads;
    pthread_t threads[MAX_THREADS];
};

/* room: the thread's own, where the result has space before its size is known; what waits takes no more than it needs. */
static void compress_item(struct vb_codec *c, struct vb_buf *room, bool check, struct item *it)
{
    vb_buf_reset(room);
    bool small = vb_codec_compress(c, it->data, it->len, room, &it->encoding, NULL) == 0 && it->encoding != VB_ENC_RAW;
    /* Memory that has changed under our hands, or a compressor that errs: sent as it is. */
    if (small && check && vb_codec_check(c, it->encoding, room->data, room->len, it->data, it->len, NULL) < 0)
        small = false;
    it->checked = check;
    if (small) {
        it->stored = (struct vb_buf){ vb_memdup(room->data, room->len), room->len, room->len };
    } else { /* no second copy */
        it->encoding = VB_ENC_RAW;
        it->stored = (struct vb_buf){ VB_STEAL(it->data), it->len, it->len };
    }
    vb_free_ptr(&it->data);
}

static void *compressor(void *arg)
{
    struct vb_chunk_sender *s = arg;
    struct vb_codec *c = vb_codec_new(s->level);
    VB_AUTO_BUF room = VB_BUF_INIT;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->stop && !s->next_job)
            pthread_cond_wait(&s->work, &s->lock);
        if (s->stop)
            break;
        struct item *it = s->next_job;
        s->next_job = it->next;
        pthread_mutex_unlock(&s->lock);
        compress_item(c, &room, s->checks, it);
        pthread_mutex_lock(&s->lock);
        it->done = true;
        pthread_cond_signal(&s->ready);
    }
    pthread_mutex_unlock(&s->lock);
    vb_codec_free(c);
    return NULL;
}

static struct batch *new_batch(void)
{
    struct batch *b = vb_alloc(sizeof *b);
    b->last = &b->first;
    return b;
}

struct vb_chunk_sender *vb_chunk_sender_new(int fd, struct vb_namer *namer, int level, unsigned threads)
{
    struct vb_chunk_sender *s = vb_alloc(sizeof *s);
    s->fd = fd;
    s->namer = namer;
    s->level = level;
    s->next_id = 1;
    s->offered_last = &s->offered;
    s->queue_last = &s->queue;
    s->filling = new_batch();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->ready, NULL);
    while (s->n_threads < threads && s->n_threads < MAX_THREADS &&
           pthread_create(&s->threads[s->n_threads], NULL, compressor, s) == 0)
        s->n_threads++;
    if (!s->n_threads)
        s->codec = vb_codec_new(level);
    return s;
}

static size_t bucket_of(const struct vb_name *name)
{
    size_t h;
    memcpy(&h, name->b, sizeof h);
    return h % BUCKETS;
}

/* Frees an item and takes it out of the set of those under way. */
static void drop_item(struct vb_chunk_sender *s, struct item *it)
{
    struct item **p = &s->buckets[bucket_of(&it->name)];
    while (*p != it)
        p = &(*p)->same_hash;
    *p = it->same_hash;
    s->window -= it->len;
    s->n_items--;
    vb_free_ptr(&it->data);
    vb_buf_clear(&it->stored);
    vb_free_ptr(&it);
}

static void drop_list(struct vb_chunk_sender *s, struct item *it)
{
    while (it) {
        struct item *next = it->next;
        drop_item(s, it);
        it = next;
    }
}

void vb_chunk_sender_free(struct vb_chunk_sender *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->n_threads; i++)
        pthread_join(s->threads[i], NULL);
    drop_list(s, s->queue);
    drop_list(s, s->filling->first);
    vb_free_ptr(&s->filling);
    while (s->offered) {
        struct batch *b = s->offered;
        s->offered = b->next;
        drop_list(s, b->first);
        vb_free_ptr(&b);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->ready);
    vb_codec_free(s->codec);
    vb_buf_clear(&s->in);
    vb_buf_clear(&s->room);
    vb_free_ptr(&s);
}

void vb_chunk_sender_check(struct vb_chunk_sender *s)
{
    s->checks = true;
}

bool vb_chunk_sender_broken(const struct vb_chunk_sender *s)
{
    return s->broken;
}

static int lost(struct vb_chunk_sender *s, struct vb_error *err, struct vb_error *why)
{
    s->broken = true;
    if (why->code != VB_E_PROTOCOL && why->code != VB_E_LIMIT)
        return vb_error_clear(why), vb_fail(err, VB_E_CONNECTION_LOST, "data stream to the requester is lost");
    return vb_error_move(err, why);
}

static int take_error(struct vb_chunk_sender *s, const struct vb_msg *m, struct vb_error *err)
{
    s->broken = true;
    if (vb_msg_error(m, err) == 0)
        return vb_fail(err, VB_E_PROTOCOL, "requester sent an error without a code");
    return -1;
}

/* bytes NULL: none, else the last field of the message. */
static int send_with(struct vb_chunk_sender *s, const struct vb_msg *m, const struct vb_buf *bytes, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (s->broken)
        return vb_fail(err, VB_E_CONNECTION_LOST, "data stream to the requester is lost");
    if ((bytes ? vb_msg_send_more_fd(s->fd, m, VB_F_BYTES, bytes->data, bytes->len, &why)
               : vb_msg_send_fd(s->fd, m, &why)) == 0)
        return 0;
    /* the requester may have said why before it closed */
    VB_AUTO_MSG last = VB_MSG_INIT(0);
    while (vb_msg_recv_fd(s->fd, &s->in, &last, NULL) == 0) {
        if (last.type == VB_M_ERROR)
            return take_error(s, &last, err);
        vb_msg_clear(&last);
    }
    return lost(s, err, &why);
}

int vb_chunk_sender_send(struct vb_chunk_sender *s, const struct vb_msg *m, struct vb_error *err)
{
    return send_with(s, m, NULL, err);
}

static void to_send_queue(struct vb_chunk_sender *s, struct item *it)
{
    it->next = NULL;
    pthread_mutex_lock(&s->lock);
    *s->queue_last = it;
    s->queue_last = &it->next;
    if (!s->next_job)
        s->next_job = it;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* The answer to a question comes after those to everything offered before. */
static bool on_answer(struct vb_chunk_sender *s, const struct vb_msg *m)
{
    const unsigned char *bits;
    size_t n;
    if (!s->asked_id || m->id != s->asked_id || s->offered || !vb_msg_bytes(m, VB_F_BITMAP, &bits, &n) ||
        n != (s->n_asked + 7) / 8)
        return false;
    for (size_t i = 0; i < s->n_asked; i++)
        s->answer[i] = !(bits[i / 8] >> (i % 8) & 1);
    s->asked_id = 0;
    return true;
}

static int on_want(struct vb_chunk_sender *s, const struct vb_msg *m, struct vb_error *err)
{
    struct batch *b = s->offered;
    const unsigned char *bits;
    size_t n;
    if (!b || m->id != b->id || !vb_msg_bytes(m, VB_F_BITMAP, &bits, &n) || n != (b->n + 7) / 8) {
        s->broken = true;
        return vb_fail(err, VB_E_PROTOCOL, "answer of the requester does not fit the chunks that were offered");
    }
    s->offered = b->next;
    if (!s->offered)
        s->offered_last = &s->offered;
    size_t i = 0;
    for (struct item *it = b->first, *next; it; it = next, i++) {
        next = it->next;
        if (bits[i / 8] >> (i % 8) & 1)
            to_send_queue(s, it);
        else
            drop_item(s, it);
    }
    vb_free_ptr(&b);
    return 0;
}

static int handle(struct vb_chunk_sender *s, const struct vb_msg *m, bool *ended, struct vb_error *err)
{
    if (m->type == VB_M_WANT && on_answer(s, m))
        return 0;
    if (m->type == VB_M_WANT)
        return on_want(s, m, err);
    if (m->type == VB_M_ERROR)
        return take_error(s, m, err);
    if (m->type == VB_M_DATA_OK && ended) {
        *ended = true;
        return 0;
    }
    s->broken = true;
    return vb_fail(err, VB_E_PROTOCOL, "requester sent message %u, which has no place in a capture", (unsigned)m->type);
}

/* Waits for one message and handles it; *ended is set by DATA_OK. */
static int receive(struct vb_chunk_sender *s, bool *ended, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    return vb_msg_recv_fd(s->fd, &s->in, &m, &why) != 0 ? lost(s, err, &why) : handle(s, &m, ended, err);
}

static int send_chunk(struct vb_chunk_sender *s, struct item *it, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);
    vb_msg_add(&m, VB_F_CHUNK_NAME, it->name.b, sizeof it->name.b);
    vb_msg_add_u64(&m, VB_F_CHUNK_TYPE, it->type);
    vb_msg_add_u64(&m, VB_F_SIZE, it->len);
    vb_msg_add_u64(&m, VB_F_COMP, it->encoding);
    if (it->checked)
        vb_msg_add_u64(&m, VB_F_VERIFY, 1);
    return send_with(s, &m, &it->stored, err);
}

/* Sends the head of the queue if it is ready, or waits until it is. 1: sent, 0: nothing to send, -1. */
static int send_head(struct vb_chunk_sender *s, bool wait, struct vb_error *err)
{
    pthread_mutex_lock(&s->lock);
    struct item *it = s->queue;
    if (it && !it->done && !s->n_threads) {
        compress_item(s->codec, &s->room, s->checks, it);
        it->done = true;
        s->next_job = it->next;
    }
    while (it && !it->done && wait)
        pthread_cond_wait(&s->ready, &s->lock);
    if (!it || !it->done) {
        pthread_mutex_unlock(&s->lock);
        return 0;
    }
    s->queue = it->next;
    if (!s->queue)
        s->queue_last = &s->queue;
    pthread_mutex_unlock(&s->lock);
    int rc = send_chunk(s, it, err);
    drop_item(s, it);
    return rc < 0 ? -1 : 1;
}

static int send_ready(struct vb_chunk_sender *s, struct vb_error *err)
{
    int rc;
    while ((rc = send_head(s, false, err)) > 0)
        ;
    return rc;
}

int vb_chunk_sender_poll(struct vb_chunk_sender *s, struct vb_error *err)
{
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        int rc = vb_msg_poll_fd(s->fd, &s->in, &m, &why);
        if (rc == 2)
            return send_ready(s, err);
        if (rc != 0)
            return lost(s, err, &why);
        if (handle(s, &m, NULL, err) < 0)
            return -1;
    }
}

static int offer(struct vb_chunk_sender *s, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OFFER);
    struct batch *b = s->filling;
    if (!b->n)
        return 0;
    m.id = b->id = s->next_id++;
    for (struct item *it = b->first; it; it = it->next) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add(&g, VB_F_CHUNK_NAME, it->name.b, sizeof it->name.b);
        vb_msg_add_u64(&g, VB_F_CHUNK_TYPE, it->type);
        vb_msg_add_u64(&g, VB_F_SIZE, it->len);
        vb_msg_add_group(&m, VB_F_CHUNK, &g);
    }
    *s->offered_last = b;
    s->offered_last = &b->next;
    s->filling = new_batch();
    if (vb_chunk_sender_send(s, &m, err) < 0)
        return -1;
    return vb_chunk_sender_poll(s, err);
}

static int make_room(struct vb_chunk_sender *s, struct vb_error *err)
{
    while (s->window > VB_SENDER_WINDOW || s->n_items > VB_SENDER_CHUNKS) {
        int sent = send_head(s, true, err);
        if (sent < 0)
            return -1;
        if (!sent && (s->offered ? receive(s, NULL, err) : offer(s, err)) < 0)
            return -1;
    }
    return 0;
}

int vb_chunk_sender_emit(void *sender, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *name,
                         struct vb_error *err)
{
    struct vb_chunk_sender *s = sender;
    vb_namer_name(s->namer, type, p, len, name);
    struct item **head = &s->buckets[bucket_of(name)];
    for (struct item *it = *head; it; it = it->same_hash)
        if (vb_name_equal(&it->name, name))
            return 0;
    struct item *it = vb_alloc(sizeof *it);
    it->name = *name;
    it->type = type;
    it->data = vb_memdup(p, len);
    it->len = len;
    it->same_hash = *head;
    *head = it;
    s->window += len;
    s->n_items++;
    struct batch *b = s->filling;
    *b->last = it;
    b->last = &it->next;
    b->n++;
    b->bytes += len;
    if ((b->n >= VB_SENDER_BATCH_CHUNKS || b->bytes >= VB_SENDER_BATCH_BYTES) && offer(s, err) < 0)
        return -1;
    return make_room(s, err);
}

int vb_chunk_sender_ask(struct vb_chunk_sender *s, enum vb_chunk_type type, const struct vb_name *names, size_t n,
                        bool *present, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OFFER);
    if (offer(s, err) < 0)
        return -1;
    m.id = s->asked_id = s->next_id++;
    s->answer = present;
    s->n_asked = n;
    vb_msg_add_u64(&m, VB_F_KIND, 1);
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add(&g, VB_F_CHUNK_NAME, names[i].b, sizeof names[i].b);
        vb_msg_add_u64(&g, VB_F_CHUNK_TYPE, type);
        vb_msg_add_u64(&g, VB_F_SIZE, 1); /* not known; it must be something */
        vb_msg_add_group(&m, VB_F_CHUNK, &g);
    }
    if (vb_chunk_sender_send(s, &m, err) < 0)
        return -1;
    while (s->asked_id)
        if (receive(s, NULL, err) < 0)
            return -1;
    return 0;
}

int vb_chunk_sender_finish(struct vb_chunk_sender *s, struct vb_error *err)
{
    if (offer(s, err) < 0)
        return -1;
    for (;;) {
        int sent = send_head(s, true, err);
        if (sent < 0)
            return -1;
        if (sent)
            continue;
        if (!s->offered)
            break;
        if (receive(s, NULL, err) < 0)
            return -1;
    }
    struct vb_msg end = VB_MSG_INIT(VB_M_DATA_END);
    if (vb_chunk_sender_send(s, &end, err) < 0)
        return -1;
    bool ended = false;
    while (!ended)
        if (receive(s, &ended, err) < 0)
            return -1;
    return 0;
}
