/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend.c - the calls every backend shares: names checked, location added to what failed.
 */
#include "config.h"
#include "store/backend.h"

#include <string.h>

#include "base/mem.h"

bool vb_backend_name_valid(const char *name)
{
    bool start = true;
    if (!name || strlen(name) > 255)
        return false;
    for (const char *s = name; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9');
        if (*s == '/' ? start : !plain && (start || (*s != '.' && *s != '-')))
            return false; /* an element is not empty and begins with a letter or digit: no "." and no ".." */
        start = *s == '/';
    }
    return !start;
}

static int check_name(struct vb_backend *b, const char *name, struct vb_error *err)
{
    if (vb_backend_name_valid(name))
        return 0;
    return vb_fail(err, VB_E_USAGE, "'%s': not a name of a repository file: '%s'", b->location, name ? name : "");
}

static int where(struct vb_backend *b, const char *name, int result, struct vb_error *err)
{
    if (result < 0)
        vb_context(err, "'%s%s%s'", b->location, *name ? "/" : "", name);
    return result;
}

int vb_backend_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                    struct vb_error *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    return where(b, name, b->ops->read(b, name, offset, len, out, err), err);
}

int vb_backend_read_in(struct vb_backend *b, const char *name, uint64_t offset, size_t len, uint64_t file_size,
                       struct vb_buf *out, struct vb_error *err)
{
    if (!b->ops->read_in)
        return vb_backend_read(b, name, offset, len, out, err);
    if (check_name(b, name, err) < 0)
        return -1;
    return where(b, name, b->ops->read_in(b, name, offset, len, file_size, out, err), err);
}

int vb_backend_read_all(struct vb_backend *b, const char *name, size_t max, struct vb_buf *out,
                        struct vb_error *err)
{
    uint64_t size = 0;
    if (vb_backend_size(b, name, &size, err) < 0)
        return -1;
    if (size > max)
        return vb_fail(err, VB_E_LIMIT, "'%s/%s': has %llu bytes, more than the %zu it can have", b->location, name,
                       (unsigned long long)size, max);
    return vb_backend_read(b, name, 0, (size_t)size, out, err);
}

int vb_backend_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    return where(b, name, b->ops->write(b, name, p, n, err), err);
}

int vb_backend_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg,
                    struct vb_error *err)
{
    size_t n = strlen(prefix);
    VB_AUTO_FREE char *dir = vb_strndup(prefix, n ? n - 1 : 0);
    if (n > 0 && (prefix[n - 1] != '/' || check_name(b, dir, err) < 0))
        return n > 0 && prefix[n - 1] != '/' ? vb_fail(err, VB_E_USAGE, "'%s': prefix without '/'", prefix) : -1;
    return b->ops->list(b, prefix, fn, arg, err);
}

int vb_backend_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    return where(b, name, b->ops->remove(b, name, err), err);
}

int vb_backend_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    return where(b, name, b->ops->size(b, name, size, err), err);
}

int vb_backend_barrier(struct vb_backend *b, struct vb_error *err)
{
    return where(b, "", b->ops->barrier(b, err), err);
}

int vb_backend_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    return where(b, "", b->ops->lock(b, holder, err), err);
}

void vb_backend_unlock(struct vb_backend *b)
{
    b->ops->unlock(b);
}

int vb_backend_may_remove(const struct vb_backend *b, const char *what, struct vb_error *err)
{
    if (!b->append_only)
        return 0;
    vb_fail(err, VB_E_GUARD, "'%s': the repository is served append-only: %s is done on the machine where it lies", b->location,
            what);
    vb_hint(err, "run it there, with --repo and the directory");
    return -1;
}

void vb_backend_close(struct vb_backend *b)
{
    if (!b)
        return;
    b->ops->unlock(b);
    b->ops->close(b);
}

void vb_backend_sweep(struct vb_backend *b)
{
    if (b->ops->sweep)
        b->ops->sweep(b);
}
