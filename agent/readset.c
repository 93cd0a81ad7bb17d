/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/readset.c - which files a file set means.
 */
#include "config.h"

#include <string.h>

#include "agent/readset.h"
#include "base/mem.h"
#include "base/text.h"

void vb_readset_clear(struct vb_readset *f)
{
    vb_free_ptr(&f->path);
    vb_free_ptr(&f->read_path);
    vb_free_ptr(&f->filespec);
    vb_path_filter_clear(&f->filter);
}

void vb_leave_outs_clear(struct vb_leave_outs *x)
{
    for (size_t i = 0; i < x->n; i++) {
        vb_free_ptr(&x->v[i].path);
        vb_free_ptr(&x->v[i].filespec);
    }
    vb_free_ptr(&x->v);
    x->n = x->cap = 0;
}

bool vb_readset_is_pattern(const char *filespec)
{
    return strpbrk(filespec, "*?") != NULL;
}

bool vb_readset_filespec_valid(const char *filespec)
{
    return filespec[0] && !strchr(filespec, '/') && strcmp(filespec, ".") != 0 && strcmp(filespec, "..") != 0;
}

bool vb_readset_takes(const char *filespec, bool recursive, size_t depth, const char *name)
{
    if (!filespec)
        return true;
    return (depth == 0 || recursive) && vb_filespec_match(filespec, name);
}

bool vb_readset_descends(const char *filespec, bool recursive)
{
    return !filespec || recursive;
}

static bool applies(const struct vb_leave_out *e, const char *dir)
{
    return e->recursive ? vb_path_below(dir, e->path) : strcmp(dir, e->path) == 0;
}

bool vb_leave_outs_file(const struct vb_leave_outs *x, const char *dir, const char *name)
{
    for (size_t i = 0; i < x->n; i++)
        if (applies(&x->v[i], dir) && vb_filespec_match(x->v[i].filespec, name))
            return true;
    return false;
}

bool vb_leave_outs_directory(const struct vb_leave_outs *x, const char *dir, const char *name)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->v[i].directories && applies(&x->v[i], dir) && vb_filespec_match(x->v[i].filespec, name))
            return true;
    return false;
}

bool vb_leave_outs_below(const struct vb_leave_outs *x, const char *dir)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->v[i].recursive && !strcmp(x->v[i].filespec, "*") && vb_path_below(dir, x->v[i].path))
            return true;
    return false;
}
