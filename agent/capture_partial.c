/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_partial.c - the partial files of a component: their ranges, checked, and whether they may be believed.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/capture_internal.h"
#include "base/text.h"
#include "wire/protocol.h"

void vb_cap_partials_clear(struct vb_cap_partials *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].path);
        free(p->v[i].read_path);
        free(p->v[i].text);
        free(p->v[i].ranges_read);
        vb_ranges_clear(&p->v[i].ranges);
    }
    for (size_t i = 0; i < p->n_bases; i++) {
        free(p->bases[i].path);
        free(p->bases[i].filespec);
    }
    free(p->v);
    free(p->bases);
    *p = (struct vb_cap_partials){ .v = NULL };
}

int vb_cap_partial_parse(struct vb_cap_partials *p, const struct vb_msg *g, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_msg_str(g, VB_F_PATH), *read = vb_msg_str(g, VB_F_READ_PATH);
    VB_GROW(p->v, p->n, p->cap);
    struct vb_cap_partial *f = &p->v[p->n++];
    *f = (struct vb_cap_partial){ .text = vb_msg_str(g, VB_F_RANGES) };
    f->ranges_read = vb_msg_str(g, VB_F_RANGES_PATH);
    if (!path || path[0] != '/' || !read || read[0] != '/' || !f->text)
        return vb_fail(err, VB_E_PROTOCOL, "capture request has a partial file without path or ranges");
    f->path = vb_path_clean(path);
    f->read_path = vb_path_clean(read);
    return 0;
}

int vb_cap_base_parse(struct vb_cap_partials *p, const struct vb_msg *g, struct vb_error *err)
{
    const unsigned char *name;
    size_t n;
    VB_AUTO_FREE char *path = vb_msg_str(g, VB_F_PATH);
    if (!path || !vb_msg_bytes(g, VB_F_CHUNK_NAME, &name, &n) || n != VB_NAME_LEN)
        return vb_fail(err, VB_E_PROTOCOL, "capture request has a base without path or name");
    VB_GROW(p->bases, p->n_bases, p->cap_bases);
    struct vb_cap_base *b = &p->bases[p->n_bases++];
    *b = (struct vb_cap_base){ .path = vb_path_clean(path), .filespec = vb_msg_str(g, VB_F_FILESPEC) };
    b->recursive = vb_msg_u64(g, VB_F_RECURSIVE, 0) != 0;
    memcpy(b->tree.b, name, sizeof b->tree.b);
    return 0;
}

static int read_ranges_file(struct vb_cap_partial *f, struct vb_error *why)
{
    struct stat st;
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FD int fd = open(f->ranges_read, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(why, errno, "ranges file '%s' cannot be read", vb_ranges_path(f->text));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > VB_RANGES_FILE_MAX)
        return vb_fail(why, VB_E_LIMIT, "ranges file '%s' is no file of at most %zu bytes", vb_ranges_path(f->text),
                       VB_RANGES_FILE_MAX);
    vb_buf_reserve(&b, (size_t)st.st_size + 1);
    for (;;) {
        ssize_t n = read(fd, b.data + b.len, (size_t)st.st_size + 1 - b.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(why, errno, "ranges file '%s' cannot be read", vb_ranges_path(f->text));
        b.len += (size_t)n;
        if (n == 0 || b.len > (size_t)st.st_size)
            break;
    }
    if (vb_ranges_decode(b.data, b.len, &f->ranges, why) == 0)
        return 0;
    vb_context(why, "ranges file '%s'", vb_ranges_path(f->text));
    return -1;
}

static int check_one(struct vb_cap_partial *f, struct vb_error *why)
{
    struct stat st;
    if ((f->ranges_read ? read_ranges_file(f, why) : vb_ranges_parse(f->text, &f->ranges, why)) < 0)
        return -1;
    if (lstat(f->read_path, &st) < 0)
        return errno == ENOENT ? vb_fail(why, VB_E_FILE_MISSING, "does not exist")
                               : vb_fail_errno(why, errno, "cannot be examined");
    if (!S_ISREG(st.st_mode))
        return vb_fail(why, VB_E_FILE_MISSING, "is not a regular file");
    return vb_ranges_check_size(&f->ranges, (uint64_t)st.st_size, why);
}

int vb_cap_partials_check(struct vb_capture *c, struct vb_error *err)
{
    struct vb_cap_partials *p = &c->cur->partials;
    for (size_t i = 0; i < p->n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        p->v[i].known = check_one(&p->v[i], &why) == 0;
        for (size_t k = 0; k < i && p->v[i].known; k++)
            if (!strcmp(p->v[k].path, p->v[i].path)) {
                vb_fail(&why, VB_E_OBJECT_ALREADY_EXISTS, "is named twice");
                p->v[i].known = false;
            }
        if (p->v[i].known)
            continue;
        vb_context(&why, "writer error: partial file");
        vb_buf_reset(&c->path);
        vb_buf_add_str(&c->path, p->v[i].path);
        if (vb_cap_fail_path(c, NULL, &why, err) < 0)
            return -1;
    }
    return 0;
}

bool vb_cap_is_base(const struct vb_capture *c, const struct vb_name *tree)
{
    const struct vb_cap_partials *p = &c->cur->partials;
    for (size_t i = 0; i < p->n_bases; i++) {
        const struct vb_cap_base *b = &p->bases[i];
        const char *x = b->filespec ? b->filespec : "", *y = c->set->filespec ? c->set->filespec : "";
        if (!strcmp(b->path, c->set->path) && !strcmp(x, y) && b->recursive == c->set->recursive)
            return vb_name_equal(&b->tree, tree);
    }
    return false;
}

const struct vb_ranges *vb_cap_partial_ranges(const struct vb_capture *c, const char *name)
{
    const struct vb_cap_partials *p = &c->cur->partials;
    struct vb_name tree;
    if (!p->n || !p->n_bases || !vb_cap_look_before(c, &tree) || !vb_cap_is_base(c, &tree))
        return NULL;
    VB_AUTO_FREE char *path = vb_cap_path(c, name);
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].known && !strcmp(p->v[i].path, path))
            return &p->v[i].ranges;
    return NULL;
}
