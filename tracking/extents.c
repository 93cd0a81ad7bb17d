/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/extents.c - reading a file's extents from the tree, comparing them, and asking for the age of those that match.
 */
#include "config.h"

#include <endian.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tracking/btrfs.h"
#include "tracking/extents.h"

#define ENCODED 42u
#define MAX_STEP 4096u
#define NO_CHECKSUMS 1u     /* flags of an inode item */
#define NO_COPY_ON_WRITE 2u

void vb_extents_clear(struct vb_extents *x)
{
    free(x->v);
    *x = (struct vb_extents){ .v = NULL };
}

void vb_extent_ranges_clear(struct vb_extent_ranges *r)
{
    free(r->v);
    *r = (struct vb_extent_ranges){ .v = NULL };
}

/* ---- reading ---- */

struct reading {
    uint64_t ino;
    struct vb_extents *x;
    bool inode; /* its flags were seen */
};

static void add(struct vb_extents *x, const struct vb_extent *e)
{
    VB_GROW(x->v, x->n, x->cap);
    x->v[x->n++] = *e;
}

/* What no item speaks of is a hole. */
static void zeros_to(struct vb_extents *x, uint64_t end)
{
    uint64_t at = x->n ? x->v[x->n - 1].offset + x->v[x->n - 1].len : 0;
    if (at < end)
        add(x, &(struct vb_extent){ .offset = at, .len = end - at, .kind = VB_EXTENT_ZEROS });
}

static int take_inode(struct reading *r, const struct btrfs_ioctl_search_header *h, const unsigned char *p,
                      struct vb_error *err)
{
    struct btrfs_inode_item item;
    if (h->len < sizeof item)
        return vb_fail(err, VB_E_IO, "inode %llu is cut off", (unsigned long long)h->objectid);
    memcpy(&item, p, sizeof item);
    if (le64toh(item.flags) & (NO_CHECKSUMS | NO_COPY_ON_WRITE))
        return vb_fail(err, VB_E_NOT_SUPPORTED, "a file without checksums may be written in place");
    r->inode = true;
    return 0;
}

static void fill(struct vb_extent *e, const struct btrfs_file_extent_item *item)
{
    bool coded = item->encryption || item->other_encoding;
    e->len = le64toh(item->num_bytes);
    e->address = le64toh(item->disk_bytenr);
    e->disk_len = le64toh(item->disk_num_bytes);
    e->inside = le64toh(item->offset);
    e->compression = item->compression;
    if (coded)
        e->kind = VB_EXTENT_OTHER;
    else if (item->type == BTRFS_FILE_EXTENT_PREALLOC || (item->type == BTRFS_FILE_EXTENT_REG && !e->address))
        *e = (struct vb_extent){ .offset = e->offset, .len = e->len, .kind = VB_EXTENT_ZEROS };
    else
        e->kind = item->type == BTRFS_FILE_EXTENT_REG ? VB_EXTENT_DATA : VB_EXTENT_OTHER;
}

static int take_item(void *arg, const struct btrfs_ioctl_search_header *h, const unsigned char *p, struct vb_error *err)
{
    struct reading *r = arg;
    struct vb_extents *x = r->x;
    struct vb_extent e = { .offset = h->offset };
    if (h->objectid == r->ino && h->type == BTRFS_INODE_ITEM_KEY)
        return take_inode(r, h, p, err);
    if (h->objectid != r->ino || h->type != BTRFS_EXTENT_DATA_KEY)
        return 0;
    struct btrfs_file_extent_item item;
    const size_t head = offsetof(struct btrfs_file_extent_item, disk_bytenr);
    memset(&item, 0, sizeof item);
    if (h->len < head)
        return vb_fail(err, VB_E_IO, "an extent of inode %llu is cut off", (unsigned long long)h->objectid);
    memcpy(&item, p, h->len < sizeof item ? head : sizeof item);
    if (item.type == BTRFS_FILE_EXTENT_INLINE || h->len < sizeof item)
        e = (struct vb_extent){ .offset = h->offset, .len = le64toh(item.ram_bytes), .kind = VB_EXTENT_OTHER };
    else
        fill(&e, &item);
    uint64_t end;
    if (x->n >= VB_EXTENTS_MAX || __builtin_add_overflow(e.offset, e.len, &end) || end > INT64_MAX || e.len == 0)
        return vb_fail(err, VB_E_NOT_SUPPORTED, "too many extents, or extents that make no sense");
    zeros_to(x, e.offset);
    if (x->n && x->v[x->n - 1].offset + x->v[x->n - 1].len != e.offset)
        return vb_fail(err, VB_E_NOT_SUPPORTED, "extents that lie upon each other");
    add(x, &e);
    return 0;
}

int vb_extents_read(int fd, uint64_t ino, uint64_t size, struct vb_extents *x, struct vb_error *err)
{
    const struct btrfs_ioctl_search_key k = { .min_objectid = ino, .max_objectid = ino, .min_type = BTRFS_INODE_ITEM_KEY,
                                              .max_type = BTRFS_EXTENT_DATA_KEY, .max_offset = UINT64_MAX,
                                              .max_transid = UINT64_MAX };
    struct reading r = { .ino = ino, .x = x };
    VB_AUTO_FREE struct btrfs_ioctl_search_args_v2 *args = vb_btrfs_search_new();
    vb_extents_clear(x);
    int rc = vb_btrfs_search(fd, args, &k, take_item, &r, err);
    if (rc == 0 && !r.inode)
        rc = vb_fail(err, VB_E_NOT_SUPPORTED, "inode %llu is not in this tree", (unsigned long long)ino);
    if (rc < 0) {
        vb_extents_clear(x);
        return -1;
    }
    zeros_to(x, size);
    x->size = size;
    return 0;
}

/* ---- comparing ---- */

static bool same_bytes(const struct vb_extent *a, const struct vb_extent *b)
{
    if (a->kind != b->kind || a->kind == VB_EXTENT_OTHER)
        return false;
    if (a->kind == VB_EXTENT_ZEROS)
        return true;
    return a->address == b->address && a->disk_len == b->disk_len && a->compression == b->compression &&
           a->inside - a->offset == b->inside - b->offset;
}

void vb_extents_pair(const struct vb_extents *then, const struct vb_extents *now, struct vb_extent_pairs *out)
{
    uint64_t size = then->size < now->size ? then->size : now->size;
    for (size_t i = 0, k = 0; i < then->n && k < now->n;) {
        const struct vb_extent *a = &then->v[i], *b = &now->v[k];
        uint64_t a_end = a->offset + a->len, b_end = b->offset + b->len;
        uint64_t from = a->offset > b->offset ? a->offset : b->offset, to = a_end < b_end ? a_end : b_end;
        if (to > size)
            to = size;
        if (from < to && same_bytes(a, b)) {
            VB_GROW(out->v, out->n, out->cap);
            out->v[out->n++] = (struct vb_extent_pair){ from, to - from, a->address, a->disk_len };
        }
        i += a_end <= b_end;
        k += b_end <= a_end;
    }
}

/* ---- age ---- */

struct wanted {
    uint64_t address, disk_len;
    bool old; /* as old as it must be */
};

struct ages {
    struct wanted *v; /* ascending */
    size_t n, at, useful;
    uint64_t transaction;
};

static int by_address(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    return x->address != y->address ? (x->address < y->address ? -1 : 1)
                                    : (x->disk_len > y->disk_len) - (x->disk_len < y->disk_len);
}

static int take_age(void *arg, const struct btrfs_ioctl_search_header *h, const unsigned char *p, struct vb_error *err)
{
    struct ages *a = arg;
    struct btrfs_extent_item item;
    (void)err;
    while (a->at < a->n && (a->v[a->at].address < h->objectid ||
                            (a->v[a->at].address == h->objectid && h->type == BTRFS_EXTENT_ITEM_KEY &&
                             a->v[a->at].disk_len < h->offset)))
        a->at++;
    if (a->at == a->n || h->type != BTRFS_EXTENT_ITEM_KEY || h->len < sizeof item ||
        a->v[a->at].address != h->objectid || a->v[a->at].disk_len != h->offset)
        return 0;
    memcpy(&item, p, sizeof item);
    a->v[a->at].old = (le64toh(item.flags) & BTRFS_EXTENT_FLAG_DATA) && le64toh(item.generation) <= a->transaction;
    a->useful++;
    a->at++;
    return 0;
}

/* The file system's records of extents lie in the order of addresses among those of everything else: where ours lie close to
 * each other many are taken at once, else one by one. */
static int find_ages(int fd, struct ages *a, struct vb_error *err)
{
    VB_AUTO_FREE struct btrfs_ioctl_search_args_v2 *args = vb_btrfs_search_new();
    uint32_t step = 16, n;
    while (a->at < a->n) {
        struct btrfs_ioctl_search_header last;
        struct btrfs_ioctl_search_key k = { .tree_id = BTRFS_EXTENT_TREE_OBJECTID, .nr_items = step,
                                            .min_objectid = a->v[a->at].address, .min_type = BTRFS_EXTENT_ITEM_KEY,
                                            .max_objectid = a->v[a->n - 1].address, .max_type = BTRFS_EXTENT_ITEM_KEY,
                                            .max_offset = UINT64_MAX, .max_transid = UINT64_MAX };
        size_t before = a->at;
        a->useful = 0;
        if (vb_btrfs_search_some(fd, args, &k, take_age, a, &last, &n, err) < 0)
            return -1;
        if (n == 0)
            break;
        if (a->at == before)
            a->at++; /* it was looked for by its address: there is no such extent */
        if (a->useful * 2 >= n && step < MAX_STEP)
            step *= 2;
        else if (step > 1)
            step /= 2;
    }
    return 0;
}

static struct wanted *wanted_list(const struct vb_extent_pairs *pairs, size_t *n)
{
    struct wanted *v = vb_alloc_n(pairs->n + 1, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < pairs->n; i++)
        if (pairs->v[i].address)
            v[(*n)++] = (struct wanted){ pairs->v[i].address, pairs->v[i].disk_len, false };
    if (!*n)
        return v;
    qsort(v, *n, sizeof *v, by_address);
    size_t out = 1;
    for (size_t i = 1; i < *n; i++)
        if (by_address(&v[i], &v[out - 1]) != 0)
            v[out++] = v[i];
    *n = out;
    return v;
}

static void join(struct vb_extent_ranges *r, uint64_t offset, uint64_t len)
{
    if (r->n && r->v[r->n - 1].offset + r->v[r->n - 1].len == offset) {
        r->v[r->n - 1].len += len;
        return;
    }
    VB_GROW(r->v, r->n, r->cap);
    r->v[r->n++] = (struct vb_extent_range){ offset, len };
}

int vb_extents_same(int fd, const struct vb_extents *then, uint64_t transaction, const struct vb_extents *now,
                    struct vb_extent_ranges *same, struct vb_error *err)
{
    struct vb_extent_pairs pairs = { .v = NULL };
    struct ages a = { .transaction = transaction };
    vb_extent_ranges_clear(same);
    vb_extents_pair(then, now, &pairs);
    a.v = wanted_list(&pairs, &a.n);
    int rc = a.n ? find_ages(fd, &a, err) : 0;
    for (size_t i = 0; rc == 0 && i < pairs.n; i++) {
        const struct vb_extent_pair *p = &pairs.v[i];
        const struct wanted key = { p->address, p->disk_len, false };
        const struct wanted *w = p->address ? bsearch(&key, a.v, a.n, sizeof *a.v, by_address) : NULL;
        if (!p->address || (w && w->old))
            join(same, p->offset, p->len);
    }
    free(a.v);
    free(pairs.v);
    return rc;
}

/* ---- keeping ---- */

void vb_extents_encode(const struct vb_extents *x, struct vb_buf *out)
{
    vb_buf_reserve(out, 12 + x->n * ENCODED);
    vb_buf_add_u64(out, x->size);
    vb_buf_add_u32(out, (uint32_t)x->n);
    for (size_t i = 0; i < x->n; i++) {
        const struct vb_extent *e = &x->v[i];
        vb_buf_add_u64(out, e->offset);
        vb_buf_add_u64(out, e->len);
        vb_buf_add_u64(out, e->address);
        vb_buf_add_u64(out, e->disk_len);
        vb_buf_add_u64(out, e->inside);
        vb_buf_add_u8(out, e->kind);
        vb_buf_add_u8(out, e->compression);
    }
}

bool vb_extents_decode(struct vb_reader *r, struct vb_extents *x)
{
    uint32_t n;
    uint64_t at = 0;
    vb_extents_clear(x);
    if (!vb_get_u64(r, &x->size) || !vb_get_u32(r, &n) || n > VB_EXTENTS_MAX + 1u || n > r->left / ENCODED)
        return false;
    x->v = vb_alloc_n(n + 1u, sizeof *x->v);
    for (x->cap = n + 1u; x->n < n; x->n++) {
        struct vb_extent *e = &x->v[x->n];
        if (!vb_get_u64(r, &e->offset) || !vb_get_u64(r, &e->len) || !vb_get_u64(r, &e->address) ||
            !vb_get_u64(r, &e->disk_len) || !vb_get_u64(r, &e->inside) || !vb_get_u8(r, &e->kind) ||
            !vb_get_u8(r, &e->compression) || e->offset != at || e->len == 0 || e->kind > VB_EXTENT_OTHER ||
            __builtin_add_overflow(at, e->len, &at)) {
            vb_extents_clear(x);
            return false;
        }
    }
    return true;
}
