/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_fault.c - a backend around a backend that fails at the nth call.
 */
#include "config.h"
#include "store/backend.h"

#include <stdlib.h>

#include "base/mem.h"

enum kind { KIND_READ, KIND_WRITE, KIND_OTHER };

struct fault {
    struct vb_backend b;
    struct vb_backend *inner;
    enum vb_fault_mode mode;
    uint64_t n, calls;
};

static struct fault *self(struct vb_backend *b)
{
    return (struct fault *)b;
}

static int fail(struct vb_error *err)
{
    return vb_fail(err, VB_E_IO, "cannot go on: injected fault");
}

/* Decides over one call.  *after: the call is to be done and then to fail. */
static int turn(struct fault *f, enum kind kind, bool *after, struct vb_error *err)
{
    uint64_t call = ++f->calls;
    *after = false;
    switch (f->mode) {
    case VB_FAULT_IO:
        return call == f->n ? fail(err) : 0;
    case VB_FAULT_NO_SPACE:
        return call >= f->n && kind == KIND_WRITE ? vb_fail(err, VB_E_NO_SPACE, "cannot write: no space left") : 0;
    case VB_FAULT_SHORT_READ:
        return call == f->n && kind == KIND_READ ? vb_fail(err, VB_E_CORRUPT, "file ends too early") : 0;
    case VB_FAULT_DIE_BEFORE:
        return call >= f->n ? fail(err) : 0;
    case VB_FAULT_DIE_AFTER:
        *after = call == f->n;
        return call > f->n ? fail(err) : 0;
    case VB_FAULT_NONE:
        break;
    }
    return 0;
}

static int finish(int result, bool after, struct vb_error *err)
{
    return after && result == 0 ? fail(err) : result;
}

static int fault_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                      struct vb_error *err)
{
    struct fault *f = self(b);
    size_t before = out->len;
    bool after;
    if (turn(f, KIND_READ, &after, err) < 0)
        return -1;
    int result = finish(f->inner->ops->read(f->inner, name, offset, len, out, err), after, err);
    if (result < 0)
        out->len = before;
    return result;
}

static int fault_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct fault *f = self(b);
    bool after;
    if (turn(f, KIND_WRITE, &after, err) < 0)
        return -1;
    return finish(f->inner->ops->write(f->inner, name, p, n, err), after, err);
}

static int fault_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg,
                      struct vb_error *err)
{
    struct fault *f = self(b);
    bool after;
    if (turn(f, KIND_OTHER, &after, err) < 0)
        return -1;
    return finish(f->inner->ops->list(f->inner, prefix, fn, arg, err), after, err);
}

static int fault_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    struct fault *f = self(b);
    bool after;
    if (turn(f, KIND_OTHER, &after, err) < 0)
        return -1;
    return finish(f->inner->ops->remove(f->inner, name, err), after, err);
}

static int fault_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    struct fault *f = self(b);
    bool after;
    if (turn(f, KIND_OTHER, &after, err) < 0)
        return -1;
    return finish(f->inner->ops->size(f->inner, name, size, err), after, err);
}

static int fault_barrier(struct vb_backend *b, struct vb_error *err)
{
    struct fault *f = self(b);
    bool after;
    if (turn(f, KIND_OTHER, &after, err) < 0)
        return -1;
    return finish(f->inner->ops->barrier(f->inner, err), after, err);
}

static int fault_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    struct fault *f = self(b);
    bool after;
    if (turn(f, KIND_OTHER, &after, err) < 0)
        return -1;
    int result = f->inner->ops->lock(f->inner, holder, err);
    if (result == 0 && after)
        f->inner->ops->unlock(f->inner);
    return finish(result, after, err);
}

static void fault_unlock(struct vb_backend *b)
{
    self(b)->inner->ops->unlock(self(b)->inner);
}

static void fault_close(struct vb_backend *b)
{
    vb_backend_close(self(b)->inner);
    free(b->location);
    free(b);
}

static void fault_sweep(struct vb_backend *b)
{
    vb_backend_sweep(self(b)->inner);
}

static const struct vb_backend_ops fault_ops = {
    .kind = "fault",
    .read = fault_read,
    .write = fault_write,
    .list = fault_list,
    .remove = fault_remove,
    .size = fault_size,
    .barrier = fault_barrier,
    .lock = fault_lock,
    .unlock = fault_unlock,
    .close = fault_close,
    .sweep = fault_sweep,
};

struct vb_backend *vb_backend_fault_new(struct vb_backend *inner)
{
    struct fault *f = vb_alloc(sizeof *f);
    f->b.ops = &fault_ops;
    f->b.location = vb_strdup(inner->location);
    f->inner = inner;
    return &f->b;
}

void vb_backend_fault_set(struct vb_backend *b, enum vb_fault_mode mode, uint64_t n)
{
    self(b)->mode = mode;
    self(b)->n = n;
    self(b)->calls = 0;
}

uint64_t vb_backend_fault_calls(struct vb_backend *b)
{
    return self(b)->calls;
}

struct vb_backend *vb_backend_fault_inner(struct vb_backend *b)
{
    return self(b)->inner;
}
