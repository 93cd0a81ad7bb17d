/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/originals.c - gathering and writing the identities of originals.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "providers/support/originals.h"
#include "providers/support/support.h"

#define SETTLE_TRIES 40 /* of a millisecond */

void vb_ps_originals_clear(struct vb_ps_originals *o)
{
    free(o->v);
    *o = (struct vb_ps_originals){ .v = NULL };
}

void vb_ps_originals_again(struct vb_ps_originals *o, size_t index, const struct stat *copy)
{
    o->v[index].copy_ctime_sec = copy->st_ctim.tv_sec;
    o->v[index].copy_ctime_nsec = (uint32_t)copy->st_ctim.tv_nsec;
}

static void grow(struct vb_ps_originals *o)
{
    if (o->n < o->cap)
        return;
    size_t cap = o->cap ? o->cap * 2 : 256;
    struct vb_original *v = vb_ps_alloc(cap * sizeof *v);
    if (o->n)
        memcpy(v, o->v, o->n * sizeof *v);
    free(o->v);
    o->v = v;
    o->cap = cap;
}

size_t vb_ps_originals_add(struct vb_ps_originals *o, const struct stat *st, int fd, const struct stat *copy)
{
    struct statx x;
    grow(o);
    struct vb_original *r = &o->v[o->n];
    memset(r, 0, sizeof *r);
    r->copy = copy->st_ino;
    r->ino = st->st_ino;
    r->size = (uint64_t)st->st_size;
    r->mode = st->st_mode;
    r->nlink = (uint32_t)st->st_nlink;
    r->mtime_sec = st->st_mtim.tv_sec;
    r->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
    r->ctime_sec = st->st_ctim.tv_sec;
    r->ctime_nsec = (uint32_t)st->st_ctim.tv_nsec;
    if (fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 && (x.stx_mask & STATX_BTIME)) {
        r->btime_sec = x.stx_btime.tv_sec;
        r->btime_nsec = x.stx_btime.tv_nsec;
    }
    vb_ps_originals_again(o, o->n, copy);
    return o->n++;
}

static bool later(const struct timespec *t, const struct vb_original *r)
{
    return t->tv_sec != r->copy_ctime_sec ? t->tv_sec > r->copy_ctime_sec : t->tv_nsec > (long)r->copy_ctime_nsec;
}

void vb_ps_originals_settle(const struct vb_ps_originals *o)
{
    const struct vb_original *last = NULL;
    struct timespec now;
    for (size_t i = 0; i < o->n; i++)
        if (!last || o->v[i].copy_ctime_sec > last->copy_ctime_sec ||
            (o->v[i].copy_ctime_sec == last->copy_ctime_sec && o->v[i].copy_ctime_nsec > last->copy_ctime_nsec))
            last = &o->v[i];
    for (int i = 0; last && i < SETTLE_TRIES; i++) {
        if (clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0 || later(&now, last)) /* the clock of file times */
            return;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
}

static bool put(int fd, const void *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t k = write(fd, (const char *)p + at, n - at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}

void vb_ps_originals_write(const struct vb_ps_originals *o, int dir)
{
    struct vb_originals_head h = { .magic = VB_ORIGINALS_MAGIC, .count = o->n, .sum = vb_originals_sum(o->v, o->n) };
    int fd = openat(dir, VB_ORIGINALS_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool ok = put(fd, &h, sizeof h) && put(fd, o->v, o->n * sizeof *o->v);
    if (close(fd) < 0 || !ok)
        unlinkat(dir, VB_ORIGINALS_NAME, 0);
}
