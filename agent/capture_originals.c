/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_originals.c - reading the records of originals, and putting them in the place of what was examined.
 */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/capture_internal.h"
#include "agent/capture_originals.h"
#include "base/io.h"
#include "base/log.h"
#include "providers/support/originals.h"

#define MAX_RECORDS ((uint64_t)50 << 20)

struct vb_cap_originals {
    char *stage; /* top of the shadow copy */
    dev_t dev;
    struct vb_original *v; /* by inode of the copy */
    size_t n;
};

void vb_cap_originals_free(struct vb_cap_originals *o)
{
    if (!o)
        return;
    free(o->stage);
    free(o->v);
    free(o);
}

static int by_copy(const void *a, const void *b)
{
    const struct vb_original *x = a, *y = b;
    return (x->copy > y->copy) - (x->copy < y->copy);
}

static bool parse(struct vb_cap_originals *o, const struct vb_buf *b)
{
    struct vb_originals_head h;
    if (b->len < sizeof h)
        return false;
    memcpy(&h, b->data, sizeof h);
    if (memcmp(h.magic, VB_ORIGINALS_MAGIC, sizeof VB_ORIGINALS_MAGIC) != 0 || h.count > MAX_RECORDS ||
        b->len - sizeof h != h.count * sizeof *o->v)
        return false;
    o->n = (size_t)h.count;
    o->v = vb_alloc_n(o->n + 1, sizeof *o->v);
    memcpy(o->v, b->data + sizeof h, o->n * sizeof *o->v);
    if (vb_originals_sum(o->v, o->n) != h.sum)
        return false;
    if (o->n)
        qsort(o->v, o->n, sizeof *o->v, by_copy);
    return true;
}

/* Only what nobody else can have written is believed. */
static bool load(struct vb_cap_originals *o)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct stat top, st;
    VB_AUTO_FD int dir = open(o->stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &top) < 0 || fstatat(dir, VB_ORIGINALS_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) || top.st_uid != geteuid() ||
        (top.st_mode & 022))
        return false;
    if (vb_read_file_at(dir, VB_ORIGINALS_NAME, (size_t)MAX_RECORDS * sizeof *o->v, &b, &why) < 0) {
        vb_log_error(VB_LOG_WARNING, &why);
        return false;
    }
    o->dev = st.st_dev;
    return parse(o, &b);
}

void vb_cap_originals_find(struct vb_capture *c)
{
    const char *path = c->set->path, *read_path = c->set->read_path;
    size_t n = strlen(path), all = strlen(read_path);
    VB_AUTO_FREE char *stage = all > n && !strcmp(read_path + all - n, path) ? vb_strndup(read_path, all - n) : NULL;
    if (c->originals && stage && !strcmp(c->originals->stage, stage))
        return;
    vb_cap_originals_free(c->originals);
    c->originals = NULL;
    if (!stage || c->set->live || !c->began)
        return;
    struct vb_cap_originals *o = vb_alloc(sizeof *o);
    o->stage = VB_STEAL(stage);
    if (load(o))
        c->originals = o;
    else
        vb_cap_originals_free(o);
}

static const struct vb_original *find(const struct vb_cap_originals *o, dev_t dev, uint64_t ino, int64_t ctime_sec,
                                      uint32_t ctime_nsec)
{
    const struct vb_original key = { .copy = ino };
    const struct vb_original *r = dev == o->dev && o->n ? bsearch(&key, o->v, o->n, sizeof key, by_copy) : NULL;
    return r && r->copy_ctime_sec == ctime_sec && r->copy_ctime_nsec == ctime_nsec ? r : NULL;
}

void vb_cap_originals_stat(const struct vb_cap_originals *o, struct stat *st)
{
    const struct vb_original *r =
        o ? find(o, st->st_dev, st->st_ino, st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec) : NULL;
    if (!r)
        return;
    st->st_ino = r->ino;
    st->st_nlink = r->nlink;
    st->st_ctim.tv_sec = r->ctime_sec;
    st->st_ctim.tv_nsec = r->ctime_nsec;
}

void vb_cap_originals_statx(const void *originals, struct statx *x)
{
    const struct vb_original *r = find(originals, makedev(x->stx_dev_major, x->stx_dev_minor), x->stx_ino,
                                       x->stx_ctime.tv_sec, x->stx_ctime.tv_nsec);
    if (!r)
        return;
    x->stx_ino = r->ino;
    x->stx_nlink = r->nlink;
    x->stx_ctime.tv_sec = r->ctime_sec;
    x->stx_ctime.tv_nsec = r->ctime_nsec;
}

bool vb_cap_originals_btime(const struct vb_cap_originals *o, int fd, int64_t *sec, uint32_t *nsec)
{
    struct stat st;
    const struct vb_original *r =
        fstat(fd, &st) == 0 ? find(o, st.st_dev, st.st_ino, st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec) : NULL;
    if (!r || (!r->btime_sec && !r->btime_nsec))
        return false;
    *sec = r->btime_sec;
    *nsec = r->btime_nsec;
    return true;
}
