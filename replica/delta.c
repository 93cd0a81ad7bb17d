/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/delta.c - sums of blocks, and the destination's half: what is the same is taken from the file that is there. */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "replica/delta.h"
#include "replica/item_file.h"
#include "replica/receive.h"

#define BLOCK_MIN (16u * 1024)
#define BLOCK_MAX (64u << 20)
#define BLOCKS_WISHED 65536u /* a megabyte of sums */
#define WINDOW (4u << 20)    /* two of them are in memory, and on their way */

/* ---- sums ---- */

static uint64_t count_blocks(uint64_t size, uint32_t block)
{
    return size / block + (size % block != 0);
}

struct vb_blocks *vb_blocks_new(uint64_t file_size)
{
    struct vb_blocks *b = vb_alloc(sizeof *b);
    b->file_size = file_size;
    for (b->block = BLOCK_MIN; b->block < BLOCK_MAX && count_blocks(file_size, b->block) > BLOCKS_WISHED;)
        b->block *= 2;
    b->n = count_blocks(file_size, b->block);
    b->sums = vb_alloc_n((size_t)b->n + 1, VB_BLOCK_SUM);
    return b;
}

static void sum_of(struct vb_hasher *h, unsigned char out[VB_BLOCK_SUM])
{
    unsigned char all[VB_HASH_LEN];
    vb_hasher_end(h, all);
    memcpy(out, all, VB_BLOCK_SUM);
}

void vb_blocks_add(struct vb_blocks *b, const void *p, size_t n)
{
    const unsigned char *at = p;
    while (n && b->fed < b->file_size) {
        uint64_t room = b->block - b->fed % b->block;
        size_t part = n < room ? n : (size_t)room;
        if (!b->now)
            b->now = vb_hasher_new();
        vb_hasher_add(b->now, at, part);
        b->fed += part;
        at += part;
        n -= part;
        if (b->fed % b->block == 0)
            sum_of(VB_STEAL(b->now), b->sums + (b->fed / b->block - 1) * VB_BLOCK_SUM);
    }
    b->fed += n; /* more than was announced: not that file */
}

bool vb_blocks_end(struct vb_blocks *b)
{
    if (b->now)
        sum_of(VB_STEAL(b->now), b->sums + b->fed / b->block * VB_BLOCK_SUM);
    return b->fed == b->file_size;
}

void vb_blocks_free(struct vb_blocks *b)
{
    if (!b)
        return;
    vb_hasher_free(&b->now);
    free(b->sums);
    free(b);
}

void vb_blocks_free_ptr(struct vb_blocks **b)
{
    vb_blocks_free(*b);
    *b = NULL;
}

void vb_blocks_keep(struct vb_place *p, struct vb_blocks *b)
{
    size_t size = (size_t)b->n * VB_BLOCK_SUM + sizeof *b;
    if (vb_blocks_find(p, b->content) || p->blocks_size + size > VB_BLOCKS_KEPT) {
        vb_blocks_free(b);
        return;
    }
    p->blocks_size += size;
    VB_GROW(p->blocks, p->n_blocks, p->cap_blocks);
    p->blocks[p->n_blocks++] = b;
}

const struct vb_blocks *vb_blocks_find(const struct vb_place *p, const unsigned char content[VB_HASH_LEN])
{
    for (size_t i = 0; i < p->n_blocks; i++)
        if (!memcmp(p->blocks[i]->content, content, VB_HASH_LEN))
            return p->blocks[i];
    return NULL;
}

void vb_blocks_drop_all(struct vb_place *p)
{
    for (size_t i = 0; i < p->n_blocks; i++)
        vb_blocks_free(p->blocks[i]);
    free(p->blocks);
    p->blocks = NULL;
    p->n_blocks = p->cap_blocks = p->blocks_size = 0;
}

/* ---- the destination's half ---- */

struct window {
    uint64_t at, end;
    unsigned char *b;     /* the old file's bytes of it */
    bool *same;           /* for each block that it touches */
};
struct delta {
    struct vb_receiver *x;
    struct vb_incoming *in;
    uint64_t index, size;
    uint32_t block;
    struct vb_buf sums;
    int old;
    bool over;            /* the source told why there is no more */
};

static const char *peer_of(const struct delta *d)
{
    return d->x->s->peer ? d->x->s->peer : "peer";
}

static int hear_sums(struct delta *d, const struct vb_msg *first, struct vb_error *err)
{
    uint64_t block = vb_msg_u64(first, VB_RF_SIZE, 0);
    if (block < 4096 || block > BLOCK_MAX || (block & (block - 1)))
        return vb_fail(err, VB_E_PROTOCOL, "%s: blocks of %llu bytes", peer_of(d), (unsigned long long)block);
    d->block = (uint32_t)block;
    uint64_t all = count_blocks(d->size, d->block) * VB_BLOCK_SUM;
    if (all > VB_RSTREAM_BLOB_MAX)
        return vb_fail(err, VB_E_PROTOCOL, "%s: too many blocks", peer_of(d));
    for (const struct vb_msg *m = first;;) {
        VB_AUTO_MSG next = VB_MSG_INIT(0);
        const unsigned char *p;
        size_t n;
        if (m != first) {
            if (vb_rstream_expect(d->x->s, VB_R_BLOCKS, &next, err) < 0)
                return -1;
            m = &next;
        }
        if (!vb_msg_bytes(m, VB_RF_HASH, &p, &n) || n > all - d->sums.len)
            return vb_fail(err, VB_E_PROTOCOL, "%s: sums of blocks are missing or too many", peer_of(d));
        vb_buf_add(&d->sums, p, n);
        if (vb_msg_u64(m, VB_RF_LAST, 1))
            break;
        m = NULL;
    }
    return d->sums.len == all ? 0 : vb_fail(err, VB_E_PROTOCOL, "%s: sums of blocks are missing or too many", peer_of(d));
}

static size_t read_old(const struct delta *d, const struct window *w)
{
    size_t got = 0, want = (size_t)(w->end - w->at);
    while (d->old >= 0 && got < want) {
        ssize_t n = pread(d->old, w->b + got, want - got, (off_t)(w->at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

static uint64_t block_end(const struct delta *d, uint64_t at)
{
    uint64_t end = (at / d->block + 1) * d->block;
    return end < d->size ? end : d->size;
}

/* Looks at the old bytes from `at` on, and asks for what differs. */
static int look(struct delta *d, struct window *w, uint64_t at, struct vb_error *err)
{
    VB_AUTO_MSG need = VB_MSG_INIT(VB_R_NEED);
    uint64_t span = d->block > WINDOW ? d->block : WINDOW, from = 0;
    w->at = at;
    w->end = d->size - at / span * span > span ? (at / span + 1) * span : d->size;
    size_t got = read_old(d, w);
    bool open = false, any = false;
    for (uint64_t i = 0, b = w->at; b < w->end; b = block_end(d, b), i++) {
        uint64_t end = block_end(d, b);
        unsigned char h[VB_HASH_LEN];
        w->same[i] = b % d->block == 0 && end - w->at <= got;
        if (w->same[i]) {
            vb_hash(w->b + (b - w->at), (size_t)(end - b), h);
            w->same[i] = !memcmp(h, d->sums.data + b / d->block * VB_BLOCK_SUM, VB_BLOCK_SUM);
        }
        if (!w->same[i] && !open)
            from = b;
        if (open || !w->same[i]) {
            bool last = end == w->end && !w->same[i];
            if (w->same[i] || last) {
                VB_AUTO_MSG g = VB_MSG_INIT(0);
                vb_msg_add_u64(&g, VB_RF_OFFSET, from);
                vb_msg_add_u64(&g, VB_RF_SIZE, (last ? end : b) - from);
                vb_msg_add_group(&need, VB_RF_NEED, &g);
                any = true;
            }
            open = !w->same[i];
        }
    }
    return any ? vb_rstream_send(d->x->s, &need, err) : 0;
}

/* Receives the bytes up to `end`; what comes of a file that was given up is dropped. */
static int receive_range(struct delta *d, uint64_t at, uint64_t end, struct vb_error *err)
{
    while (at < end) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        const unsigned char *p;
        size_t n = 0;
        if (vb_rstream_recv(d->x->s, &m, err) < 0)
            return -1;
        if (m.type == VB_R_DATA_END && vb_msg_u64(&m, VB_RF_INDEX, UINT64_MAX) == d->index && vb_msg_error(&m, &why) < 0) {
            vb_take_give_up(d->x, d->in, &why);
            d->over = true;
            return 0;
        }
        uint64_t zeros = vb_msg_u64(&m, VB_RF_ZEROS, 0);
        if (m.type != VB_R_DATA || vb_msg_u64(&m, VB_RF_INDEX, UINT64_MAX) != d->index || vb_msg_u64(&m, VB_RF_OFFSET, UINT64_MAX) != at ||
            (!zeros && (!vb_msg_bytes(&m, VB_RF_BYTES, &p, &n) || !n)) || (zeros ? zeros : n) > end - at)
            return vb_fail(err, VB_E_PROTOCOL, "'%s': blocks out of order", d->in->row.item.path);
        if (vb_take_piece(d->x, &m, err) < 0)
            return -1;
        at += zeros ? zeros : n;
    }
    return 0;
}

static int put_together(struct delta *d, const struct window *w, struct vb_error *err)
{
    for (uint64_t i = 0, b = w->at, end; b < w->end && !d->over; i++, b = end) {
        end = block_end(d, b);
        for (; !w->same[i] && end < w->end && !w->same[i + 1]; i++) /* as it was asked for */
            end = block_end(d, end);
        if (!w->same[i] ? receive_range(d, b, end, err) < 0
                        : !d->in->failed && vb_take_bytes(d->x, d->in, w->b + (b - w->at), (size_t)(end - b), err) < 0)
            return -1;
    }
    return 0;
}

static int take_all(struct delta *d, struct vb_error *err)
{
    size_t span = d->block > WINDOW ? d->block : WINDOW;
    VB_AUTO_FREE unsigned char *bytes = vb_alloc_n(2, span);
    VB_AUTO_FREE bool *same = vb_alloc_n(2, span / d->block + 2);
    struct window w[2] = { { .b = bytes, .same = same }, { .b = bytes + span, .same = same + span / d->block + 2 } };
    if (d->in->offset >= d->size)
        return 0;
    if (look(d, &w[0], d->in->offset, err) < 0)
        return -1;
    for (unsigned i = 0;; i ^= 1) { /* the next is asked for before this one's blocks are waited for */
        bool more = w[i].end < d->size && !d->in->failed;
        if ((more && look(d, &w[i ^ 1], w[i].end, err) < 0) || put_together(d, &w[i], err) < 0)
            return -1;
        if (!more || d->over)
            return 0;
    }
}

int vb_delta_take(struct vb_receiver *x, const struct vb_msg *first, struct vb_error *err)
{
    uint64_t index = vb_msg_u64(first, VB_RF_INDEX, UINT64_MAX);
    if (index >= x->n || !x->rows[index].delta)
        return vb_fail(err, VB_E_PROTOCOL, "blocks of an item that was not asked for so");
    struct vb_incoming *in = &x->rows[index];
    struct delta d = { .x = x, .in = in, .index = index, .size = in->row.item.size };
    VB_AUTO_MSG end = VB_MSG_INIT(VB_R_NEED);
    in->delta = false;
    VB_AUTO_FD int old = vb_beneath_open(x->p->root, in->row.item.path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, 0);
    struct stat st;
    d.old = old >= 0 && fstat(old, &st) == 0 && S_ISREG(st.st_mode) ? old : -1;
    int result = hear_sums(&d, first, err) < 0 || (!in->failed && take_all(&d, err) < 0) ? -1 : 0;
    vb_buf_clear(&d.sums);
    vb_msg_add_u64(&end, VB_RF_LAST, 1);
    return result < 0 ? -1 : vb_rstream_send(x->s, &end, err);
}
