/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/give.c - contents that the destination asked for: whole, from where it was cut off, or block by block. */
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

#define SUMS_PIECE (1u << 20)

struct giver {
    struct vb_rstream *s;
    int fd;
    size_t index;
    const struct vb_item *item;
    uint64_t *bytes;
};

static bool all_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* 1: it could not be read. */
static int give_range(struct giver *g, uint64_t offset, uint64_t end, struct vb_error *why, struct vb_error *err)
{
    VB_AUTO_FREE unsigned char *b = vb_alloc(end - offset < VB_RSTREAM_PIECE ? (size_t)(end - offset) + 1 : VB_RSTREAM_PIECE);
    while (offset < end) {
        size_t want = end - offset < VB_RSTREAM_PIECE ? (size_t)(end - offset) : VB_RSTREAM_PIECE;
        ssize_t n = pread(g->fd, b, want, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            vb_fail_errno(why, n < 0 ? errno : EIO, "'%s' cannot be read", g->item->path);
            return 1;
        }
        VB_AUTO_MSG m = VB_MSG_INIT(VB_R_DATA);
        vb_msg_add_u64(&m, VB_RF_INDEX, g->index);
        vb_msg_add_u64(&m, VB_RF_OFFSET, offset);
        if (all_zero(b, (size_t)n))
            vb_msg_add_u64(&m, VB_RF_ZEROS, (uint64_t)n);
        else
            vb_msg_add(&m, VB_RF_BYTES, b, (size_t)n);
        if (vb_rstream_send(g->s, &m, err) < 0)
            return -1;
        *g->bytes += (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int give_sums(struct giver *g, const struct vb_blocks *b, struct vb_error *err)
{
    size_t all = (size_t)b->n * VB_BLOCK_SUM, at = 0;
    do {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BLOCKS);
        size_t n = all - at < SUMS_PIECE ? all - at : SUMS_PIECE;
        vb_msg_add_u64(&m, VB_RF_INDEX, g->index);
        vb_msg_add_u64(&m, VB_RF_SIZE, b->block);
        vb_msg_add(&m, VB_RF_HASH, b->sums + at, n);
        at += n;
        vb_msg_add_u64(&m, VB_RF_LAST, at == all);
        if (vb_rstream_send(g->s, &m, err) < 0)
            return -1;
    } while (at < all);
    return 0;
}

static struct vb_blocks *read_sums(struct giver *g, struct vb_error *why)
{
    VB_AUTO_FREE unsigned char *b = vb_alloc(VB_RSTREAM_PIECE);
    VB_AUTO_BLOCKS *sums = vb_blocks_new(g->item->size);
    for (uint64_t at = 0; at < g->item->size;) {
        ssize_t n = pread(g->fd, b, VB_RSTREAM_PIECE, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            vb_fail_errno(why, n < 0 ? errno : EIO, "'%s' cannot be read", g->item->path);
            return NULL;
        }
        vb_blocks_add(sums, b, (size_t)n);
        at += (uint64_t)n;
    }
    return vb_blocks_end(sums) ? VB_STEAL(sums) : NULL;
}

/* One message of wishes.  *last: there are no more.  1: it could not be read. */
static int give_wanted(struct giver *g, const struct vb_msg *m, struct vb_error *why, struct vb_error *err)
{
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t n;
    int result = 0;
    vb_field_iter_init(&it, m);
    while (result == 0 && vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_RF_NEED)
            continue;
        struct vb_msg v = vb_msg_view(p, n);
        uint64_t offset = vb_msg_u64(&v, VB_RF_OFFSET, UINT64_MAX), len = vb_msg_u64(&v, VB_RF_SIZE, 0);
        if (offset > g->item->size || len > g->item->size - offset)
            return vb_fail(err, VB_E_PROTOCOL, "%s: asks for what was not offered", g->s->peer ? g->s->peer : "peer");
        result = give_range(g, offset, offset + len, why, err);
    }
    return result;
}

static int data_end(struct giver *g, const struct vb_error *why, struct vb_error *err)
{
    VB_AUTO_MSG end = VB_MSG_INIT(VB_R_DATA_END);
    vb_msg_add_u64(&end, VB_RF_INDEX, g->index);
    vb_msg_add_error(&end, why);
    return vb_rstream_send(g->s, &end, err);
}

/* The destination ends this; after trouble here, told at once, what it still asks for is not answered. */
static int give_blocks(struct giver *g, const struct vb_blocks *b, struct vb_error *why, bool *told, struct vb_error *err)
{
    if (give_sums(g, b, err) < 0)
        return -1;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_rstream_expect(g->s, VB_R_NEED, &m, err) < 0)
            return -1;
        int result = *told ? 0 : give_wanted(g, &m, why, err);
        if (result < 0 || (result > 0 && data_end(g, why, err) < 0))
            return -1;
        *told = *told || result > 0;
        if (vb_msg_u64(&m, VB_RF_LAST, 0))
            return 0;
    }
}

int vb_give_content(struct vb_place *p, struct vb_rstream *s, size_t index, const struct vb_item *item, uint64_t offset, bool delta,
                    uint64_t *bytes, struct vb_error *why, struct vb_error *err)
{
    struct stat before, after;
    VB_AUTO_FD int fd = vb_beneath_open(p->root, item->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, 0);
    struct giver g = { s, fd, index, item, bytes };
    VB_AUTO_BLOCKS *read = NULL;
    const struct vb_blocks *sums = NULL;
    bool told = false;
    if (fd < 0 || fstat(fd, &before) < 0)
        vb_fail_errno(why, errno, "'%s' cannot be opened", item->path);
    else if (!S_ISREG(before.st_mode) || (uint64_t)before.st_size != item->size)
        vb_fail(why, VB_E_FILE_CHANGED, "'%s' changed since it was looked at; it goes with the next pass", item->path);
    else if (!delta && give_range(&g, offset, item->size, why, err) < 0)
        return -1;
    else if (delta && !(sums = vb_blocks_find(p, item->content)))
        sums = read = read_sums(&g, why);
    if (sums && give_blocks(&g, sums, why, &told, err) < 0)
        return -1;
    if (why->code == VB_OK && (fstat(fd, &after) < 0 || vb_file_look(&before) != vb_file_look(&after)))
        vb_fail(why, VB_E_FILE_CHANGED, "'%s' changed while it was read; it goes with the next pass", item->path);
    return told ? 0 : data_end(&g, why, err);
}
