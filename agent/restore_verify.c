/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_verify.c - reads what was restored again, and compares it with the backup: contents by the names of their
 * chunks, so that nothing is fetched a second time but directories.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/restore_internal.h"
#include "agent/safe_open.h"

struct frame {
    struct vb_dirscan scan;
    size_t mark; /* of r->path */
};

struct verify {
    struct vb_restore *r;
    struct vb_rst_root *root;
    struct vb_dirstack dirs;
    struct frame *frames;
    size_t n, cap;
    uint64_t wrong;
};

/* -1 only when the stream is gone. name NULL: the directory itself. */
static int differs(struct verify *v, const char *name, const char *how, struct vb_error *err)
{
    VB_AUTO_ERROR what = VB_ERROR_INIT;
    v->wrong++;
    vb_fail(&what, VB_E_CORRUPT, "is not as it was restored: %s", how);
    return vb_rst_warn(v->r, name, &what, err);
}

static bool left_out(const struct vb_restore *r, const struct vb_tree_entry *e)
{
    return (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK) && !(r->is_root && r->keep_owner);
}

static int leaf(struct verify *v, int dirfd, const struct vb_tree_entry *e, const char *name, struct vb_error *err)
{
    struct vb_restore *r = v->r;
    struct stat st;
    if (left_out(r, e))
        return 0;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return differs(v, name, errno == ENOENT ? "it is not there" : "it cannot be examined", err);
    if (e->type != VB_TREE_FILE) {
        if (!vb_rst_same_special(dirfd, name, e, &st))
            return differs(v, name, "it is something else", err);
    } else {
        VB_AUTO_FD int fd = vb_open_beneath(dirfd, name, O_RDONLY | O_NONBLOCK, 0);
        if (fd < 0)
            return differs(v, name, "it cannot be read", err);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, as far as the kernel lets us */
        if (!vb_rst_same_content(r, fd, e))
            return vb_chunk_fetcher_broken(r->in) ? vb_fail(err, VB_E_CONNECTION_LOST, "data stream was lost")
                                                  : differs(v, name, "its content differs", err);
    }
    r->cur->verified++;
    return vb_rst_progress(r, false, err);
}

static int push(struct verify *v, const struct vb_tree_entry *e, int fd, size_t mark, struct vb_error *err)
{
    struct stat st;
    struct vb_name inner = e->subtree;
    VB_AUTO_FD int dir = fd;
    if (fstat(dir, &st) < 0)
        return vb_fail_errno(err, errno, "cannot be examined");
    VB_GROW(v->frames, v->n, v->cap);
    struct frame *f = &v->frames[v->n];
    memset(f, 0, sizeof *f);
    if (vb_dirscan_open(&f->scan, v->r->in, &inner, false, err) < 0)
        return -1;
    f->mark = mark;
    v->n++;
    v->r->cur->verified++;
    vb_dirstack_push(&v->dirs, VB_STEAL_FD(dir), &st);
    return 0;
}

static int take_dir(struct verify *v, const struct vb_tree_entry *e, struct vb_error *err)
{
    int fd = vb_open_beneath(vb_dirstack_fd(&v->dirs), e->name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return differs(v, e->name, errno == ENOENT ? "it is not there" : "it is no directory that can be read", err);
    return push(v, e, fd, vb_rst_enter(v->r, e->name), err);
}

static int walk(struct verify *v, struct vb_error *err)
{
    while (v->n) {
        struct frame *f = &v->frames[v->n - 1];
        const struct vb_tree_entry *e;
        int rc = vb_dirscan_next(&f->scan, &e, err);
        if (rc < 0)
            return -1;
        if (rc == 0) {
            vb_dirscan_close(&f->scan);
            vb_rst_leave(v->r, f->mark);
            v->n--;
            if (vb_dirstack_pop(&v->dirs, err) < 0)
                return -1;
        } else if (vb_rst_takes(v->root, e, v->n - 1) &&
                   (e->type == VB_TREE_DIR ? take_dir(v, e, err)
                                           : leaf(v, vb_dirstack_fd(&v->dirs), e, e->name, err)) < 0) {
            return -1;
        }
    }
    return 0;
}

static void verify_clear(struct verify *v)
{
    while (v->n)
        vb_dirscan_close(&v->frames[--v->n].scan);
    vb_free_ptr(&v->frames);
    vb_dirstack_clear(&v->dirs);
}

static int verify_root(struct vb_restore *r, struct vb_rst_root *root, uint64_t *wrong, struct vb_error *err)
{
    VB_CLEANUP(verify_clear) struct verify v = { .r = r, .root = root };
    struct vb_dirscan top = { .n = 0 };
    const struct vb_tree_entry *e = NULL;
    VB_AUTO_FREE char *dir = NULL, *base = NULL;
    r->root = root;
    vb_buf_reset(&r->path);
    int rc = vb_rst_root_entry(r, root, &top, &e, err);
    vb_rst_split(root->target, &dir, &base);
    bool is_dir = rc == 0 && e->type == VB_TREE_DIR;
    vb_buf_add_str(&r->path, is_dir ? root->target : dir);
    VB_AUTO_FD int fd = rc < 0 ? -1 : vb_safe_open_inside(r->base, is_dir ? root->target : dir, false, NULL, NULL, err);
    if (rc == 0 && fd < 0)
        rc = -1;
    if (rc == 0)
        rc = is_dir ? push(&v, e, VB_STEAL_FD(fd), r->path.len, err) : leaf(&v, fd, e, base, err);
    if (rc == 0)
        rc = walk(&v, err);
    vb_dirscan_close(&top);
    *wrong += v.wrong;
    return rc;
}

int vb_rst_verify(struct vb_restore *r, struct vb_error *err)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < r->cur->n_roots; i++)
        if (verify_root(r, &r->cur->roots[i], &wrong, err) < 0)
            return vb_rst_name_error(r, NULL, err);
    if (!wrong)
        return 0;
    vb_fail(err, VB_E_CORRUPT, "%llu entries are not as they were restored", (unsigned long long)wrong);
    vb_hint(err, "Something writes there, or the disk does not keep what it is given; see the warnings.");
    return -1;
}
