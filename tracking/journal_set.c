/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/journal_set.c - the set of records, and their bytes.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tracking/journal_set.h"

#define HEAD (1u + 8u + 2u)
#define KEY_MAX (4u + VB_JOURNAL_HANDLE_MAX)
#define HINT_MAX 8192u

struct node {
    uint64_t hash;
    int64_t last;
    char *hint;
    uint8_t kind, n_key;
    unsigned char key[];
};
_Static_assert(KEY_MAX <= 255, "length of a key is one byte in memory");

struct vb_journal_set {
    struct node **slots;
    size_t n, cap, max;
    int64_t dropped;
};

struct vb_journal_set *vb_journal_set_new(size_t max)
{
    struct vb_journal_set *s = vb_alloc(sizeof *s);
    s->max = max < 16 ? 16 : max;
    return s;
}

static void node_free(struct node *n)
{
    if (n)
        free(n->hint);
    free(n);
}

void vb_journal_set_clear(struct vb_journal_set *s)
{
    for (size_t i = 0; i < s->cap; i++)
        node_free(s->slots[i]);
    vb_free_ptr(&s->slots);
    s->n = s->cap = 0;
    s->dropped = 0;
}

void vb_journal_set_free(struct vb_journal_set *s)
{
    if (s)
        vb_journal_set_clear(s);
    free(s);
}

size_t vb_journal_set_count(const struct vb_journal_set *s)
{
    return s->n;
}

int64_t vb_journal_set_dropped(const struct vb_journal_set *s)
{
    return s->dropped;
}

static uint64_t hash_of(unsigned kind, const unsigned char *p, size_t n)
{
    uint64_t h = 1469598103934665603u ^ kind;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static size_t find(const struct vb_journal_set *s, unsigned kind, const unsigned char *key, size_t n, uint64_t hash)
{
    size_t at = (size_t)hash & (s->cap - 1);
    for (const struct node *k; (k = s->slots[at]); at = (at + 1) & (s->cap - 1))
        if (k->hash == hash && k->kind == kind && k->n_key == n && !memcmp(k->key, key, n))
            break;
    return at;
}

static void rebuild(struct vb_journal_set *s, size_t cap)
{
    struct node **old = s->slots;
    size_t n_old = s->cap;
    s->cap = cap;
    s->slots = vb_alloc_n(cap, sizeof *s->slots);
    for (size_t i = 0; i < n_old; i++) {
        size_t at = old[i] ? (size_t)old[i]->hash & (cap - 1) : 0;
        while (old[i] && s->slots[at])
            at = (at + 1) & (cap - 1);
        if (old[i])
            s->slots[at] = old[i];
    }
    free(old);
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void drop_older_half(struct vb_journal_set *s)
{
    int64_t *times = vb_alloc_n(s->n, sizeof *times);
    size_t n = 0;
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i])
            times[n++] = s->slots[i]->last;
    qsort(times, n, sizeof *times, by_time);
    s->dropped = times[n / 2];
    free(times);
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i] && s->slots[i]->last <= s->dropped) {
            node_free(s->slots[i]);
            s->slots[i] = NULL;
            s->n--;
        }
    rebuild(s, s->cap);
}

void vb_journal_set_add(struct vb_journal_set *s, const struct vb_journal_record *r)
{
    uint64_t hash = hash_of(r->kind, r->key, r->n_key);
    if (r->n_key > KEY_MAX)
        abort(); /* both makers of keys keep below it */
    if (s->n >= s->max)
        drop_older_half(s);
    if ((s->n + 1) * 4 > s->cap * 3)
        rebuild(s, s->cap ? s->cap * 2 : 64);
    struct node **at = &s->slots[find(s, r->kind, r->key, r->n_key, hash)];
    if (!*at) {
        *at = vb_alloc(sizeof **at + r->n_key);
        **at = (struct node){ .hash = hash, .kind = (uint8_t)r->kind, .n_key = (uint8_t)r->n_key };
        memcpy((*at)->key, r->key, r->n_key);
        s->n++;
    }
    if (r->last > (*at)->last)
        (*at)->last = r->last;
    if (r->hint && ((*at)->hint == NULL || strlen((*at)->hint) != r->n_hint ||
                    memcmp((*at)->hint, r->hint, r->n_hint) != 0)) {
        free((*at)->hint);
        (*at)->hint = vb_strndup(r->hint, r->n_hint);
    }
}

void vb_journal_set_touch(struct vb_journal_set *s, enum vb_journal_kind kind, const void *key, size_t n_key, int64_t now)
{
    vb_journal_set_add(s, &(struct vb_journal_record){ .kind = kind, .last = now, .key = key, .n_key = n_key });
}

bool vb_journal_set_has(const struct vb_journal_set *s, enum vb_journal_kind kind, const void *key, size_t n_key)
{
    return s->cap && s->slots[find(s, kind, key, n_key, hash_of(kind, key, n_key))];
}

void vb_journal_set_encode(const struct vb_journal_set *s, int64_t since, struct vb_buf *out)
{
    for (size_t i = 0; i < s->cap; i++) {
        const struct node *k = s->slots[i];
        if (!k || k->last < since)
            continue;
        vb_journal_record_encode(out, &(struct vb_journal_record){ .kind = (enum vb_journal_kind)k->kind, .last = k->last,
                                                                   .key = k->key, .n_key = k->n_key, .hint = k->hint,
                                                                   .n_hint = k->hint ? strlen(k->hint) : 0 });
    }
}

/* ---- records as bytes ---- */

void vb_journal_record_encode(struct vb_buf *out, const struct vb_journal_record *r)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    size_t n_hint = r->n_hint > HINT_MAX ? 0 : r->n_hint;
    vb_buf_add_u8(&b, (uint8_t)r->kind);
    vb_buf_add_u64(&b, (uint64_t)r->last);
    vb_buf_add_u16(&b, (uint16_t)r->n_key);
    vb_buf_add(&b, r->key, r->n_key);
    if (n_hint)
        vb_buf_add(&b, r->hint, n_hint);
    vb_buf_add_u32(out, (uint32_t)b.len + 4);
    vb_buf_add_u32(out, vb_crc32(b.data, b.len));
    vb_buf_add(out, b.data, b.len);
}

static bool key_fits(const struct vb_journal_record *r)
{
    switch (r->kind) {
    case VB_JOURNAL_DIR:
    case VB_JOURNAL_FILE:
    case VB_JOURNAL_PARENT:
        return r->n_key > 4 && r->n_key <= KEY_MAX;
    case VB_JOURNAL_MOVED:
    case VB_JOURNAL_OPEN:
        return r->n_key == 8;
    }
    return false;
}

int vb_journal_record_take(struct vb_reader *from, struct vb_journal_record *r)
{
    uint32_t len, crc;
    uint8_t kind;
    uint16_t n_key;
    uint64_t last;
    const unsigned char *body;
    struct vb_reader in;
    if (from->left == 0)
        return 0;
    if (!vb_get_u32(from, &len) || len < 4 + HEAD || len > 4 + HEAD + KEY_MAX + HINT_MAX || !vb_get_u32(from, &crc) ||
        !vb_get_bytes(from, len - 4, &body) || vb_crc32(body, len - 4) != crc)
        return -1;
    vb_reader_init(&in, body, len - 4);
    if (!vb_get_u8(&in, &kind) || !vb_get_u64(&in, &last) || !vb_get_u16(&in, &n_key) || last > INT64_MAX)
        return -1;
    *r = (struct vb_journal_record){ .kind = (enum vb_journal_kind)kind, .last = (int64_t)last, .n_key = n_key };
    if (!vb_get_bytes(&in, n_key, &r->key) || !key_fits(r))
        return -1;
    r->n_hint = in.left;
    r->hint = in.left ? (const char *)in.p : NULL;
    return r->hint && memchr(r->hint, 0, r->n_hint) ? -1 : 1;
}

/* ---- keys ---- */

size_t vb_journal_handle_key(unsigned char *key, int type, const void *handle, size_t n)
{
    const uint32_t t = (uint32_t)type;
    if (n > VB_JOURNAL_HANDLE_MAX)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        key[i] = (unsigned char)(t >> (24 - 8 * i));
    memcpy(key + 4, handle, n);
    return n + 4;
}

bool vb_journal_handle_ino(const unsigned char *key, size_t n_key, uint64_t *ino)
{
    if (n_key < 8)
        return false;
    const uint32_t type = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
    uint32_t small;
    switch (type) { /* the numbers are the kernel's (enum fid_type); bytes inside are in its own order */
    case 1:         /* inode and generation (ext2 to ext4, xfs with small numbers) ... */
    case 2:         /* ... and the parent's */
        memcpy(&small, key + 4, sizeof small);
        *ino = small;
        return true;
    case 0x4d: /* btrfs: object, root, generation ... */
    case 0x4e:
    case 0x4f:
    case 0x81: /* xfs: 64 bits ... */
    case 0x82:
        if (n_key < 12)
            return false;
        memcpy(ino, key + 4, sizeof *ino);
        return true;
    default:
        return false;
    }
}

void vb_journal_ino_key(unsigned char key[8], uint64_t ino)
{
    for (unsigned i = 0; i < 8; i++)
        key[i] = (unsigned char)(ino >> (56 - 8 * i));
}

bool vb_journal_key_ino(const struct vb_journal_record *r, uint64_t *ino)
{
    *ino = 0;
    if ((r->kind != VB_JOURNAL_MOVED && r->kind != VB_JOURNAL_OPEN) || r->n_key != 8)
        return false;
    for (unsigned i = 0; i < 8; i++)
        *ino = *ino << 8 | r->key[i];
    return true;
}
