/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_memory.c - the repository in memory, with a model of what a power cut takes away.
 */
#include "config.h"
#include "store/backend.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

struct file {
    char *name;
    struct vb_buf bytes;
    bool durable; /* the name survives a power cut */
    bool removed; /* it is gone, but a power cut would bring it back */
};

/* The files, shared by all handles. */
struct disk {
    unsigned handles;
    struct file *files; /* sorted by name */
    size_t n, cap;
    uint64_t limit, used;
    const struct memory *holder;
    char *holder_text;
};

struct memory {
    struct vb_backend b;
    struct disk *disk;
};

static struct disk *disk_of(struct vb_backend *b)
{
    return ((struct memory *)b)->disk;
}

/* Where the name is, or where it would have to be inserted. */
static size_t place(const struct disk *k, const char *name, bool *found)
{
    size_t lo = 0, hi = k->n;
    *found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(k->files[mid].name, name);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct file *get(struct vb_backend *b, const char *name, struct vb_error *err)
{
    bool found;
    size_t i = place(disk_of(b), name, &found);
    if (found && !disk_of(b)->files[i].removed)
        return &disk_of(b)->files[i];
    vb_fail(err, VB_E_NOT_FOUND, "no such file");
    return NULL;
}

static void take_out(struct disk *k, size_t i)
{
    k->used -= k->files[i].bytes.len;
    free(k->files[i].name);
    vb_buf_clear(&k->files[i].bytes);
    memmove(&k->files[i], &k->files[i + 1], (k->n - i - 1) * sizeof *k->files);
    k->n--;
}

static int memory_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                       struct vb_error *err)
{
    const struct file *f = get(b, name, err);
    if (!f)
        return -1;
    if (offset > f->bytes.len || len > f->bytes.len - offset)
        return vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(offset + len));
    if (len)
        vb_buf_add(out, vb_buf_at(&f->bytes, (size_t)offset), len);
    return 0;
}

static int memory_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct disk *k = disk_of(b);
    bool found;
    size_t i = place(k, name, &found);
    if (found && !k->files[i].removed)
        return vb_fail(err, VB_E_EXISTS, "exists already");
    if (k->limit && (n > k->limit || k->used > k->limit - n))
        return vb_fail(err, VB_E_NO_SPACE, "cannot write: no space left");
    if (found)
        take_out(k, i);
    VB_GROW(k->files, k->n, k->cap);
    memmove(&k->files[i + 1], &k->files[i], (k->n - i) * sizeof *k->files);
    k->files[i] = (struct file){ .name = vb_strdup(name) };
    vb_buf_add(&k->files[i].bytes, p, n);
    k->n++;
    k->used += n;
    return 0;
}

static int memory_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg,
                       struct vb_error *err)
{
    struct disk *k = disk_of(b);
    struct vb_strv names = { 0 };
    int result = 0;
    /* fn may write and remove: walk over a copy of the names */
    for (size_t i = 0; i < k->n; i++)
        if (!k->files[i].removed && strncmp(k->files[i].name, prefix, strlen(prefix)) == 0)
            vb_strv_add(&names, k->files[i].name);
    for (size_t i = 0; i < names.n && result == 0; i++) {
        bool found;
        size_t at = place(k, names.v[i], &found);
        if (found && !k->files[at].removed)
            result = fn(arg, names.v[i], k->files[at].bytes.len, err);
    }
    vb_strv_clear(&names);
    return result;
}

static int memory_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    struct file *f = get(b, name, err);
    if (!f)
        return -1;
    if (f->durable)
        f->removed = true;
    else
        take_out(disk_of(b), (size_t)(f - disk_of(b)->files));
    return 0;
}

static int memory_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    const struct file *f = get(b, name, err);
    if (!f)
        return -1;
    *size = f->bytes.len;
    return 0;
}

static int memory_barrier(struct vb_backend *b, struct vb_error *err)
{
    struct disk *k = disk_of(b);
    (void)err;
    for (size_t i = k->n; i-- > 0;) {
        if (k->files[i].removed)
            take_out(k, i);
        else
            k->files[i].durable = true;
    }
    return 0;
}

static int memory_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    struct disk *k = disk_of(b);
    if (k->holder == (struct memory *)b)
        return vb_fail(err, VB_E_BAD_STATE, "already locked by this handle");
    if (k->holder) {
        vb_fail(err, VB_E_BUSY, "repository is in use by %s", k->holder_text);
        vb_hint(err, "wait until that has ended; the lock of a process that died clears itself");
        return -1;
    }
    k->holder = (struct memory *)b;
    k->holder_text = vb_strdup(holder);
    return 0;
}

static void free_lock(struct disk *k)
{
    k->holder = NULL;
    free(k->holder_text);
    k->holder_text = NULL;
}

static void memory_unlock(struct vb_backend *b)
{
    if (disk_of(b)->holder == (struct memory *)b)
        free_lock(disk_of(b));
}

static void memory_close(struct vb_backend *b)
{
    struct disk *k = disk_of(b);
    if (--k->handles == 0) {
        while (k->n > 0)
            take_out(k, k->n - 1);
        free(k->files);
        free(k);
    }
    free(b->location);
    free(b);
}

static const struct vb_backend_ops memory_ops = {
    .kind = "memory",
    .read = memory_read,
    .write = memory_write,
    .list = memory_list,
    .remove = memory_remove,
    .size = memory_size,
    .barrier = memory_barrier,
    .lock = memory_lock,
    .unlock = memory_unlock,
    .close = memory_close,
};

static struct vb_backend *handle(struct disk *k)
{
    struct memory *m = vb_alloc(sizeof *m);
    m->b.ops = &memory_ops;
    m->b.location = vb_strdup("memory");
    m->disk = k;
    k->handles++;
    return &m->b;
}

struct vb_backend *vb_backend_memory_new(void)
{
    return handle(vb_alloc(sizeof(struct disk)));
}

struct vb_backend *vb_backend_memory_share(struct vb_backend *b)
{
    return handle(disk_of(b));
}

void vb_backend_memory_power_cut(struct vb_backend *b, uint64_t seed)
{
    struct disk *k = disk_of(b);
    struct vb_rng rng;
    vb_rng_seed(&rng, seed);
    for (size_t i = k->n; i-- > 0;) {
        struct file *f = &k->files[i];
        bool kept = vb_rng_chance(&rng, 500);
        if (f->durable && f->removed) {
            f->removed = kept;
            f->durable = !kept;
        }
        if (f->removed || (!f->durable && !kept))
            take_out(k, i);
        else
            f->durable = true;
    }
    free_lock(k);
}

void vb_backend_memory_damage(struct vb_backend *b, const char *name, uint64_t offset, uint8_t mask)
{
    struct file *f = get(b, name, NULL);
    if (f && offset < f->bytes.len)
        f->bytes.data[offset] ^= mask;
}

void vb_backend_memory_set_limit(struct vb_backend *b, uint64_t bytes)
{
    disk_of(b)->limit = bytes;
}
