/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_far.c - a backend around one that is far away, where each request costs a round trip.
 *
 * Read ahead: who reads a chunk of a pack most likely wants its neighbours next.  A part of the pack around it is asked
 * for at once, more each time when the reader goes on from there, in either direction (directories are written from the
 * bottom up and read from the top down).  Parts that were read last are kept in memory.
 *
 * Kept files: index files and records of backups never change, and have the hash of their bytes in their names.  They are
 * kept in a directory of this machine and believed if the hash is right, so whoever changes them there gains nothing, and
 * everything in it may be deleted at any time.  That a file is still there is always asked of the storage: only what a
 * listing has shown is read.
 */
#include "config.h"
#include "store/backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/catalog.h"

#define PARTS 6u
#define FIRST ((size_t)256 << 10) /* of a pack that was not read lately */
#define MOST ((size_t)4 << 20)    /* with PARTS the bound of the memory */
#define NEAR ((size_t)64 << 10)   /* a gap that is no jump */
#define KEPT_MAX ((size_t)64 << 20)
#define ABANDONED_S 86400 /* a temporary file of a process that is gone */

/* Bytes of a file that were read last. */
struct part {
    char *name; /* NULL: free */
    uint64_t from;
    struct vb_buf bytes;
    size_t step; /* how much was asked for */
    uint64_t used;
};

struct far {
    struct vb_backend b;
    struct vb_backend *inner;
    struct part parts[PARTS];
    uint64_t turn;
    char *dir; /* of kept files; NULL: none are kept */
};

static struct far *self(struct vb_backend *b)
{
    return (struct far *)b;
}

/* What the other side may have said at a new connection. */
static int told(struct far *f, int result)
{
    f->b.append_only = f->inner->append_only;
    return result;
}

/* ---- kept files ---- */

/* The hash that a name gives; its name in the directory.  NULL: not a file that can be kept.  Caller frees. */
static char *kept_name(const char *name, struct vb_name *hash)
{
    uint64_t number;
    char id[VB_GUID_LEN + 1], hex[VB_NAME_HEX_LEN + 1];
    if (strncmp(name, "index/", 6) == 0) {
        if (!vb_name_parse(name + 6, hash))
            return NULL;
    } else if (!vb_catalog_path_parse(name, &number, id, hash)) {
        return NULL;
    }
    vb_name_hex(hash, hex);
    return vb_printf("%.1s-%s", name, hex);
}

static bool is_whole(const struct vb_buf *b, const struct vb_name *hash)
{
    struct vb_name real;
    vb_sha256(b->data, b->len, &real);
    return vb_name_equal(&real, hash);
}

/* The file of that name with the right bytes, appended to the empty buffer. */
static bool read_kept(const struct far *f, const char *kept, const struct vb_name *hash, struct vb_buf *out)
{
    VB_AUTO_FREE char *path = vb_path_join(f->dir, kept);
    if (vb_read_file_at(AT_FDCWD, path, KEPT_MAX, out, NULL) == 0 && out->len > 0 && is_whole(out, hash))
        return true;
    vb_buf_reset(out);
    return false;
}

/* Nothing is lost if that fails, and nothing is believed that was cut short: no need to sync. */
static void keep(const struct far *f, const char *kept, const void *p, size_t n)
{
    char guid[VB_GUID_LEN + 1];
    vb_guid_new(guid);
    VB_AUTO_FREE char *path = vb_path_join(f->dir, kept), *tmp = vb_printf("%s/t-%s", f->dir, guid);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    bool fine = vb_write_all(fd, p, n, NULL) == 0;
    close(fd);
    if (!fine || rename(tmp, path) < 0)
        unlink(tmp);
}

static bool is_old(int dir, const char *name)
{
    struct stat st;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtim.tv_sec < now.tv_sec - ABANDONED_S;
}

/* What the storage has no more need not be kept.  letter: which of the listings it was. */
static void forget_others(const struct far *f, char letter, struct vb_strv *there)
{
    VB_AUTO_DIR DIR *d = opendir(f->dir);
    vb_strv_sort(there);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] && e->d_name[1] == '-' &&
            (e->d_name[0] == letter ? !vb_strv_has(there, e->d_name) : e->d_name[0] == 't' && is_old(dirfd(d), e->d_name)))
            unlinkat(dirfd(d), e->d_name, 0);
}

/* 1: answered from what is kept, 0: not kept. */
static int from_kept(struct far *f, const char *name, uint64_t offset, size_t len, struct vb_buf *out)
{
    struct vb_name hash;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_FREE char *kept = f->dir && !f->b.afresh ? kept_name(name, &hash) : NULL;
    if (!kept || !read_kept(f, kept, &hash, &bytes) || offset > bytes.len || len > bytes.len - offset)
        return 0;
    vb_buf_add(out, bytes.data + offset, len);
    return 1;
}

static void keep_whole(const struct far *f, const char *name, const void *p, size_t n)
{
    struct vb_name hash;
    struct vb_buf all = { (void *)(uintptr_t)p, n, n };
    VB_AUTO_FREE char *kept = f->dir && n > 0 && n <= KEPT_MAX ? kept_name(name, &hash) : NULL;
    if (kept && is_whole(&all, &hash))
        keep(f, kept, p, n);
}

/* ---- read ahead ---- */

static struct part *part_with(struct far *f, const char *name, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < PARTS; i++) {
        struct part *p = &f->parts[i];
        if (p->name && strcmp(p->name, name) == 0 && offset >= p->from && offset - p->from <= p->bytes.len &&
            len <= p->bytes.len - (offset - p->from))
            return p;
    }
    return NULL;
}

/* The part that the reader goes on from, or the one that was used longest ago.  *forward, *backward: goes on. */
static struct part *part_to_fill(struct far *f, const char *name, uint64_t offset, size_t len, bool *forward, bool *backward)
{
    struct part *oldest = &f->parts[0];
    *forward = *backward = false;
    for (size_t i = 0; i < PARTS; i++) {
        struct part *p = &f->parts[i];
        uint64_t end = p->from + p->bytes.len;
        if (p->name && strcmp(p->name, name) == 0) {
            *forward = offset >= p->from && offset <= end + NEAR;
            *backward = !*forward && offset < p->from && offset + len + NEAR >= p->from;
            if (*forward || *backward)
                return p;
        }
        if (oldest->name && (!p->name || p->used < oldest->used))
            oldest = p;
    }
    return oldest;
}

static int fill(struct far *f, const char *name, uint64_t offset, size_t len, uint64_t file_size, struct vb_error *err)
{
    bool forward, backward;
    struct part *p = part_to_fill(f, name, offset, len, &forward, &backward);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    size_t step = !forward && !backward ? FIRST : p->step < MOST / 2 ? p->step * 2 : MOST;
    uint64_t from = offset, to = offset + len;
    if (backward)
        from = to > step ? to - step : 0;
    else if (offset + step > to)
        to = offset + step;
    if (from > offset)
        from = offset;
    if (to > file_size)
        to = file_size;
    vb_buf_reserve(&bytes, (size_t)(to - from));
    if (f->inner->ops->read(f->inner, name, from, (size_t)(to - from), &bytes, err) < 0)
        return -1;
    char *own = vb_strdup(name); /* it may be the part's */
    free(p->name);
    vb_buf_clear(&p->bytes);
    *p = (struct part){ .name = own, .from = from, .bytes = bytes, .step = step };
    bytes = (struct vb_buf)VB_BUF_INIT;
    return 0;
}

static int far_read_in(struct vb_backend *b, const char *name, uint64_t offset, size_t len, uint64_t file_size,
                       struct vb_buf *out, struct vb_error *err)
{
    struct far *f = self(b);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (len >= MOST || offset > file_size || len > file_size - offset)
        return told(f, f->inner->ops->read(f->inner, name, offset, len, out, err));
    struct part *p = part_with(f, name, offset, len);
    if (!p) {
        int result = told(f, fill(f, name, offset, len, file_size, &why));
        /* It may not be as large as the index says. */
        if (result < 0 && why.code == VB_E_CORRUPT)
            return told(f, f->inner->ops->read(f->inner, name, offset, len, out, err));
        if (result < 0)
            return vb_error_move(err, &why);
        p = part_with(f, name, offset, len);
    }
    p->used = ++f->turn;
    vb_buf_add(out, p->bytes.data + (offset - p->from), len);
    return 0;
}

static void drop_parts(struct far *f, const char *name)
{
    for (size_t i = 0; i < PARTS; i++) {
        struct part *p = &f->parts[i];
        if (p->name && (!name || strcmp(p->name, name) == 0)) {
            vb_free_ptr(&p->name);
            vb_buf_clear(&p->bytes);
        }
    }
}

/* ---- operations ---- */

static int far_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                    struct vb_error *err)
{
    struct far *f = self(b);
    size_t at = out->len;
    if (from_kept(f, name, offset, len, out))
        return 0;
    if (told(f, f->inner->ops->read(f->inner, name, offset, len, out, err)) < 0)
        return -1;
    if (offset == 0)
        keep_whole(f, name, vb_buf_at(out, at), len);
    return 0;
}

static int far_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct far *f = self(b);
    drop_parts(f, name);
    if (told(f, f->inner->ops->write(f->inner, name, p, n, err)) < 0)
        return -1;
    keep_whole(f, name, p, n);
    return 0;
}

struct listing {
    const struct far *f;
    struct vb_strv there;
    vb_backend_list_fn *fn;
    void *arg;
};

static int see(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct listing *l = arg;
    struct vb_name hash;
    char *kept = kept_name(name, &hash);
    if (kept)
        vb_strv_take(&l->there, kept);
    return l->fn(l->arg, name, size, err);
}

static int far_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err)
{
    struct far *f = self(b);
    struct listing l = { .f = f, .fn = fn, .arg = arg };
    bool keeps = f->dir && (strcmp(prefix, "index/") == 0 || strcmp(prefix, "catalog/") == 0);
    int result = told(f, f->inner->ops->list(f->inner, prefix, keeps ? see : fn, keeps ? (void *)&l : arg, err));
    if (keeps && result == 0)
        forget_others(f, prefix[0], &l.there);
    vb_strv_clear(&l.there);
    return result;
}

static int far_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    struct far *f = self(b);
    drop_parts(f, name);
    return told(f, f->inner->ops->remove(f->inner, name, err));
}

static int far_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    return told(self(b), self(b)->inner->ops->size(self(b)->inner, name, size, err));
}

static int far_barrier(struct vb_backend *b, struct vb_error *err)
{
    return told(self(b), self(b)->inner->ops->barrier(self(b)->inner, err));
}

static int far_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    return told(self(b), self(b)->inner->ops->lock(self(b)->inner, holder, err));
}

static void far_unlock(struct vb_backend *b)
{
    self(b)->inner->ops->unlock(self(b)->inner);
}

static void far_sweep(struct vb_backend *b)
{
    vb_backend_sweep(self(b)->inner);
}

static void far_close(struct vb_backend *b)
{
    struct far *f = self(b);
    drop_parts(f, NULL);
    vb_backend_close(f->inner);
    free(f->dir);
    free(f->b.location);
    free(f);
}

static const struct vb_backend_ops far_ops = {
    .kind = "far",
    .read = far_read,
    .write = far_write,
    .list = far_list,
    .remove = far_remove,
    .size = far_size,
    .barrier = far_barrier,
    .lock = far_lock,
    .unlock = far_unlock,
    .close = far_close,
    .sweep = far_sweep,
    .read_in = far_read_in,
};

struct vb_backend *vb_backend_far_new(struct vb_backend *inner, const char *dir)
{
    struct far *f = vb_alloc(sizeof *f);
    f->b.ops = &far_ops;
    f->b.location = vb_strdup(inner->location);
    f->b.append_only = inner->append_only;
    f->inner = inner;
    if (dir && vb_mkdirs_at(AT_FDCWD, dir, 0700, NULL) == 0)
        f->dir = vb_strdup(dir);
    return &f->b;
}
