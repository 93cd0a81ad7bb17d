/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/look_row.c - the row of one directory as bytes.
 *
 *     magic(4) crc(4) entries(4) length of the names(4), entries of 64 bytes, names with their zero bytes
 *
 * In the byte order of the machine, of which the magic is part: the memory never leaves it.  The checksum is over the
 * path of the directory and everything behind it.
 */
#include "config.h"

#include <string.h>

#include "base/text.h"
#include "tracking/look.h"

#define MAGIC 0x57306c76u /* "vl0W" */
#define HEAD 16u

struct disk_entry {
    uint64_t ino, size;
    int64_t mtime_sec, ctime_sec;
    uint32_t mtime_nsec, ctime_nsec, mode, nlink;
    uint32_t name, flags;
    uint64_t reserved;
};
_Static_assert(sizeof(struct disk_entry) == 64, "layout of rows");

void vb_look_stat_from(struct vb_look_stat *to, const struct stat *st)
{
    *to = (struct vb_look_stat){ .ino = st->st_ino,
                                 .size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
                                 .mtime_sec = st->st_mtim.tv_sec,
                                 .ctime_sec = st->st_ctim.tv_sec,
                                 .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
                                 .ctime_nsec = (uint32_t)st->st_ctim.tv_nsec,
                                 .mode = st->st_mode,
                                 .nlink = S_ISDIR(st->st_mode) ? 1 : (uint32_t)st->st_nlink };
}

bool vb_look_stat_equal(const struct vb_look_stat *a, const struct vb_look_stat *b)
{
    return a->ino == b->ino && a->ctime_sec == b->ctime_sec && a->ctime_nsec == b->ctime_nsec &&
           a->mtime_sec == b->mtime_sec && a->mtime_nsec == b->mtime_nsec && a->size == b->size &&
           a->mode == b->mode && a->nlink == b->nlink;
}

bool vb_look_stat_settled(const struct vb_look_stat *s, int64_t began)
{
    const int64_t second = 1000000000;
    if (s->ino == 0 || s->ctime_sec <= 0 || s->ctime_sec >= INT64_MAX / second || s->ctime_nsec >= second)
        return false;
    return s->ctime_sec * second + (int64_t)s->ctime_nsec <
           began - (s->ctime_nsec ? VB_LOOK_SLACK_NS : VB_LOOK_SLACK_COARSE_NS);
}

static uint32_t checksum(const char *path, const unsigned char *p, size_t n)
{
    uint32_t a = vb_crc32(path, strlen(path)), b = vb_crc32(p, n);
    return b ^ (a << 7 | a >> 25);
}

static const unsigned char *entry_at(const struct vb_look_row *r, size_t i)
{
    return r->p + HEAD + i * sizeof(struct disk_entry);
}

static const char *names_of(const struct vb_look_row *r)
{
    return (const char *)entry_at(r, r->n);
}

static uint32_t name_at(const struct vb_look_row *r, size_t i)
{
    uint32_t name;
    memcpy(&name, entry_at(r, i) + offsetof(struct disk_entry, name), sizeof name);
    return name;
}

bool vb_look_row_parse(struct vb_look_row *r, const void *p, size_t len, const char *path)
{
    uint32_t head[4];
    if (len < HEAD)
        return false;
    memcpy(head, p, HEAD);
    if (head[0] != MAGIC || head[2] > (len - HEAD) / sizeof(struct disk_entry) ||
        len - HEAD - head[2] * sizeof(struct disk_entry) != head[3])
        return false;
    *r = (struct vb_look_row){ p, head[2] };
    if (checksum(path, r->p + 8, len - 8) != head[1])
        return false;
    const char *names = names_of(r);
    size_t at = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (name_at(r, i) != at || at >= head[3])
            return false;
        const char *end = memchr(names + at, 0, head[3] - at);
        if (!end || end == names + at || (i && strcmp(names + name_at(r, i - 1), names + at) >= 0))
            return false;
        at = (size_t)(end - names) + 1;
    }
    return at == head[3];
}

size_t vb_look_row_size(const struct vb_look_row *r)
{
    uint32_t names;
    memcpy(&names, r->p + 12, sizeof names);
    return HEAD + r->n * sizeof(struct disk_entry) + names;
}

void vb_look_row_get(const struct vb_look_row *r, size_t i, struct vb_look_entry *e)
{
    struct disk_entry d;
    memcpy(&d, entry_at(r, i), sizeof d);
    e->st = (struct vb_look_stat){ d.ino, d.size, d.mtime_sec, d.ctime_sec, d.mtime_nsec, d.ctime_nsec, d.mode, d.nlink };
    e->flags = d.flags;
    e->name = names_of(r) + d.name;
}

bool vb_look_row_find(const struct vb_look_row *r, const char *name, size_t *index)
{
    const char *names = names_of(r);
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = strcmp(name, names + name_at(r, mid));
        if (c == 0) {
            *index = mid;
            return true;
        }
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

size_t vb_look_row_count(const void *p, size_t len)
{
    uint32_t n = 0;
    if (len >= HEAD)
        memcpy(&n, (const unsigned char *)p + 8, sizeof n);
    return len >= HEAD && n <= (len - HEAD) / sizeof(struct disk_entry) ? n : 0;
}

bool vb_look_row_has_inode(const void *p, size_t len, const uint64_t *inodes, size_t n)
{
    uint32_t head[4];
    if (len < HEAD || n == 0)
        return false;
    memcpy(head, p, HEAD);
    if (head[2] > (len - HEAD) / sizeof(struct disk_entry))
        return true; /* damaged */
    for (size_t i = 0; i < head[2]; i++) {
        uint64_t ino;
        memcpy(&ino, (const unsigned char *)p + HEAD + i * sizeof(struct disk_entry), sizeof ino);
        if (ino < inodes[0] || ino > inodes[n - 1])
            continue;
        size_t low = 0, high = n;
        while (low < high) {
            size_t mid = low + (high - low) / 2;
            if (inodes[mid] == ino)
                return true;
            if (ino < inodes[mid])
                high = mid;
            else
                low = mid + 1;
        }
    }
    return false;
}

bool vb_look_row_is_watched(const struct vb_look_row *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct vb_look_entry e;
        vb_look_row_get(r, i, &e);
        if (!(e.flags & VB_LOOK_SKIPPED) && (!(e.flags & VB_LOOK_TRUSTED) || e.st.nlink > 1))
            return true;
    }
    return false;
}

void vb_look_row_encode(struct vb_buf *out, const char *path, const struct vb_look_entry *v, size_t n)
{
    size_t start = out->len, names = 0;
    uint32_t head[4] = { MAGIC, 0, (uint32_t)n, 0 };
    vb_buf_add(out, head, HEAD);
    for (size_t i = 0; i < n; i++) {
        const struct vb_look_stat *s = &v[i].st;
        struct disk_entry d = { s->ino,        s->size,       s->mtime_sec, s->ctime_sec,    s->mtime_nsec,
                                s->ctime_nsec, s->mode,       s->nlink,     (uint32_t)names, v[i].flags,
                                0 };
        vb_buf_add(out, &d, sizeof d);
        names += strlen(v[i].name) + 1;
    }
    for (size_t i = 0; i < n; i++)
        vb_buf_add(out, v[i].name, strlen(v[i].name) + 1);
    head[3] = (uint32_t)names;
    memcpy(out->data + start, head, HEAD);
    head[1] = checksum(path, out->data + start + 8, out->len - start - 8);
    memcpy(out->data + start, head, HEAD);
}
