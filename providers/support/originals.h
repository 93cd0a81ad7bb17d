/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/originals.h - what the originals of copied entries looked like when they were copied: a file beside the
 * copies, by which a capture recognises what has not changed since its last look at them.
 *
 *     struct vb_originals_head, then count records, in no order; the machine's byte order
 *
 * An original is examined before it is copied, a directory before it is listed: what changes in between has a later
 * time at the next look.  A record speaks of a copy only while the copy's own time is the recorded one: whoever changes
 * a copy changes that.
 */
#ifndef VB_PROVIDERS_ORIGINALS_H
#define VB_PROVIDERS_ORIGINALS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VB_ORIGINALS_NAME ".vbackup.originals" /* at the top of the shadow copy */
#define VB_ORIGINALS_MAGIC "vbackup originals 1" /* and a zero byte, and nothing up to 24 */

struct vb_originals_head {
    char magic[24];
    uint64_t count, sum; /* of the records' bytes */
};

struct vb_original {
    uint64_t copy, ino; /* inode numbers */
    int64_t copy_ctime_sec, ctime_sec, mtime_sec, btime_sec;
    uint64_t size;
    uint32_t copy_ctime_nsec, ctime_nsec, mtime_nsec, btime_nsec;
    uint32_t mode, nlink;
};

/* FNV-1a over words: against truncation and accidents; nobody else can write there. */
static inline uint64_t vb_originals_sum(const struct vb_original *v, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n * (sizeof *v / sizeof h); i++) {
        uint64_t w;
        memcpy(&w, (const unsigned char *)v + i * sizeof w, sizeof w);
        h = (h ^ w) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h;
}

/* ---- for providers ---- */

struct stat;
struct vb_ps_originals {
    struct vb_original *v;
    size_t n, cap;
};
void vb_ps_originals_clear(struct vb_ps_originals *o);
/* The original as it was examined (fd >= 0: open, for the time when it was made), and its finished copy.  Returns the index
 * of the record. */
size_t vb_ps_originals_add(struct vb_ps_originals *o, const struct stat *original, int fd, const struct stat *copy);
/* The copy was given another name. */
void vb_ps_originals_again(struct vb_ps_originals *o, size_t index, const struct stat *copy);
/* Waits, some milliseconds at most, until a change of a copy gives another time than what was recorded. */
void vb_ps_originals_settle(const struct vb_ps_originals *o);
/* Writes the file into the directory; without it everything is read, so that a failure is none. */
void vb_ps_originals_write(const struct vb_ps_originals *o, int dir);

#endif
