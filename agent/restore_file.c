/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/restore_file.c - contents, links and special files: made under a temporary name, then renamed into place.
 *
 * An existing inode is never opened for writing.  What was made by name (links, special files) is opened again without
 * following anything, and believed only if it is what we made: ours, of that kind, with one name.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/data_spec.h"
#include "agent/restore_internal.h"
#include "agent/safe_open.h"
#include "store/chunk/content.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

/* ---- contents ---- */

struct writing {
    struct vb_restore *r;
    int fd;
    const struct vb_tree_entry *e;
    uint64_t pos;      /* in the file */
    size_t hole;       /* next hole */
    const struct vb_rst_ahead *ahead;
};

static int write_at(int fd, const unsigned char *p, size_t n, uint64_t pos, struct vb_error *err)
{
    while (n) {
        ssize_t k = pwrite(fd, p, n, (off_t)pos);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return vb_fail_errno(err, k < 0 ? errno : EIO, "write failed at byte %llu", (unsigned long long)pos);
        p += k;
        n -= (size_t)k;
        pos += (size_t)k;
    }
    return 0;
}

static void skip_holes(struct writing *w)
{
    while (w->hole < w->e->n_holes && w->e->holes[w->hole].offset == w->pos)
        w->pos += w->e->holes[w->hole++].len;
}

static int put(struct writing *w, const unsigned char *p, size_t n, struct vb_error *err)
{
    while (n) {
        skip_holes(w);
        uint64_t end = w->hole < w->e->n_holes ? w->e->holes[w->hole].offset : w->e->size;
        if (end <= w->pos)
            return vb_fail(err, VB_E_CORRUPT, "more content than the size of the file allows");
        size_t k = end - w->pos < n ? (size_t)(end - w->pos) : n;
        if (write_at(w->fd, p, k, w->pos, err) < 0)
            return -1;
        w->pos += k;
        p += k;
        n -= k;
    }
    return 0;
}

static int write_refs(struct writing *w, unsigned level, const struct vb_ref *refs, size_t n, size_t ahead,
                      struct vb_error *err);

static int write_data(struct writing *w, const struct vb_ref *ref, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    if (vb_chunk_fetcher_get(w->r->in, VB_CHUNK_DATA, &ref->name, false, &bytes, err) < 0)
        return -1;
    if (bytes.len != ref->size)
        return vb_fail(err, VB_E_CORRUPT, "data chunk has %zu bytes instead of %llu", bytes.len,
                       (unsigned long long)ref->size);
    if (put(w, bytes.data, bytes.len, err) < 0)
        return -1;
    w->r->bytes += bytes.len;
    w->r->root->bytes += bytes.len;
    return vb_rst_progress(w->r, false, err);
}

static int write_list(struct writing *w, unsigned level, const struct vb_ref *ref, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_FREE struct vb_ref *refs = NULL;
    uint8_t inner = 0;
    size_t n = 0;
    uint64_t sum = 0;
    if (vb_chunk_fetcher_get(w->r->in, VB_CHUNK_LIST, &ref->name, false, &bytes, err) < 0 ||
        vb_list_decode(bytes.data, bytes.len, &inner, &refs, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(sum, refs[i].size, &sum))
            sum = UINT64_MAX;
    if (inner + 1u != level || sum != ref->size)
        return vb_fail(err, VB_E_CORRUPT, "list of chunks does not fit where it is used");
    vb_buf_clear(&bytes);
    return write_refs(w, inner, refs, n, 0, err);
}

/* ahead: so many of the chunks were asked for already (by the look ahead over the directory). */
static int write_refs(struct writing *w, unsigned level, const struct vb_ref *refs, size_t n, size_t ahead,
                      struct vb_error *err)
{
    enum vb_chunk_type type = level ? VB_CHUNK_LIST : VB_CHUNK_DATA;
    for (size_t i = 0; i < n; i++) {
        if (ahead < i)
            ahead = i;
        while (ahead < n && (level == 0 || ahead < i + 2) &&
               vb_chunk_fetcher_want(w->r->in, type, &refs[ahead].name, level ? 0 : refs[ahead].size))
            ahead++;
        if (ahead == n && w->ahead->more)
            w->ahead->more(w->ahead->arg);
        if (ahead == i)
            ahead++; /* the window is full with other things: got without having been announced */
        if ((level ? write_list(w, level, &refs[i], err) : write_data(w, &refs[i], err)) < 0)
            return -1;
    }
    return 0;
}

static int write_content(struct vb_restore *r, int fd, const struct vb_tree_entry *e, const struct vb_rst_ahead *ahead,
                         struct vb_error *err)
{
    struct writing w = { r, fd, e, 0, 0, ahead };
    if (e->content.level > VB_CONTENT_MAX_LEVEL)
        return vb_fail(err, VB_E_CORRUPT, "content has too many levels");
    if (write_refs(&w, e->content.level, e->content.refs, e->content.n, e->content.level ? 0 : ahead->announced,
                   err) < 0)
        return -1;
    skip_holes(&w);
    if (w.pos != e->size || w.hole != e->n_holes)
        return vb_fail(err, VB_E_CORRUPT, "content ends at byte %llu instead of %llu", (unsigned long long)w.pos,
                       (unsigned long long)e->size);
    if (e->n_holes && ftruncate(fd, (off_t)e->size) < 0)
        return vb_fail_errno(err, errno, "size cannot be set");
    return 0;
}

/* ---- temporary names ---- */

static void temp_name(struct vb_restore *r, char out[48])
{
    uint64_t x = 0;
    if (getrandom(&x, sizeof x, 0) != sizeof x)
        x = (uint64_t)getpid();
    snprintf(out, 48, ".vbackup-%016llx-%llx", (unsigned long long)x, (unsigned long long)r->temp_serial++);
}

static int rename_no_replace(int dirfd, const char *from, const char *to)
{
    if (syscall(SYS_renameat2, dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (linkat(dirfd, from, dirfd, to, 0) < 0) /* a file system that cannot: link refuses an existing name, too */
        return -1;
    unlinkat(dirfd, from, 0);
    return 0;
}

/* A second attempt may replace what is the same as in the backup, and nothing else.  It is looked at once it has left
 * its name, where nobody puts something else in its place any more. */
static int replace_same(struct vb_restore *r, int dirfd, const char *temp, const char *name,
                        const struct vb_tree_entry *e)
{
    bool exchanged = syscall(SYS_renameat2, dirfd, temp, dirfd, name, RENAME_EXCHANGE) == 0;
    if (!exchanged && errno != EINVAL && errno != ENOSYS)
        return -1;
    if (!vb_rst_same_entry(r, dirfd, exchanged ? temp : name, e)) {
        if (exchanged)
            (void)syscall(SYS_renameat2, dirfd, temp, dirfd, name, RENAME_EXCHANGE);
        errno = EEXIST;
        return -1;
    }
    return exchanged ? unlinkat(dirfd, temp, 0) : renameat(dirfd, temp, dirfd, name);
}

static int into_place(struct vb_restore *r, int dirfd, const char *temp, const char *name,
                      const struct vb_tree_entry *e, struct vb_error *err)
{
    int rc;
    if (!r->overwrite) {
        rc = rename_no_replace(dirfd, temp, name);
        if (rc < 0 && errno == EEXIST && r->resume)
            rc = replace_same(r, dirfd, temp, name, e);
    } else {
        rc = renameat(dirfd, temp, dirfd, name);
        if (rc < 0 && errno == EISDIR && unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
            rc = renameat(dirfd, temp, dirfd, name);
    }
    if (rc == 0)
        return 0;
    if (errno == EEXIST || errno == ENOTEMPTY)
        return vb_fail(err, VB_E_GUARD, "something else appeared there while the restore was running");
    return vb_fail_errno(err, errno, "cannot be put into place");
}

/* ---- the kinds ---- */

static int make_file(struct vb_restore *r, int dirfd, const char *temp, const struct vb_tree_entry *e, const char *name,
                     const struct vb_rst_ahead *ahead, int *out, uint32_t *later, struct vb_error *err)
{
    VB_AUTO_FD int fd = vb_open_beneath(dirfd, temp, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return vb_fail_errno(err, errno, "cannot be created");
    if (!r->plain || (e->inode_flags & VB_KEPT_INODE_FLAGS))
        vb_rst_early_flags(fd, e);
    if (write_content(r, fd, e, ahead, err) < 0 || vb_rst_meta(r, fd, false, r->plain, e, name, later, err) < 0)
        return -1;
    *out = VB_STEAL_FD(fd);
    return 0;
}

static mode_t kind_of(enum vb_tree_type type)
{
    switch (type) {
    case VB_TREE_FIFO: return S_IFIFO;
    case VB_TREE_SOCKET: return S_IFSOCK;
    case VB_TREE_CHAR: return S_IFCHR;
    case VB_TREE_BLOCK: return S_IFBLK;
    case VB_TREE_SYMLINK: return S_IFLNK;
    default: return S_IFREG;
    }
}

static bool is_device(const struct vb_tree_entry *e)
{
    return e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK;
}

static int make_special(struct vb_restore *r, int dirfd, const char *temp, const struct vb_tree_entry *e,
                        const char *name, int *out, struct vb_error *err)
{
    struct stat st;
    mode_t kind = kind_of(e->type);
    int rc = e->type == VB_TREE_SYMLINK ? symlinkat(e->target, dirfd, temp)
                                        : mknodat(dirfd, temp, kind | 0600, makedev(e->rdev_major, e->rdev_minor));
    if (rc < 0)
        return vb_fail_errno(err, errno, "cannot be created");
    VB_AUTO_FD int fd = vb_open_beneath(dirfd, temp, O_PATH, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "cannot be opened after it was created");
    if ((st.st_mode & S_IFMT) != kind || st.st_uid != geteuid() || st.st_nlink != 1 ||
        (is_device(e) && st.st_rdev != makedev(e->rdev_major, e->rdev_minor)))
        return vb_fail(err, VB_E_GUARD, "was replaced while it was restored");
    if (vb_rst_meta(r, fd, true, r->plain, e, name, NULL, err) < 0)
        return -1;
    *out = VB_STEAL_FD(fd);
    return 0;
}

/* ---- hard links ---- */

/* Of everything that two names of one inode must have in common. */
static void inode_digest(const struct vb_tree_entry *e, struct vb_name *out)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_u32(&b, (uint32_t)e->type);
    vb_buf_add_u32(&b, e->mode);
    vb_buf_add_u32(&b, e->uid);
    vb_buf_add_u32(&b, e->gid);
    vb_buf_add_u64(&b, e->size);
    vb_buf_add_u64(&b, (uint64_t)e->mtime_sec);
    vb_buf_add_u32(&b, e->mtime_nsec);
    vb_buf_add_u32(&b, e->rdev_major);
    vb_buf_add_u32(&b, e->rdev_minor);
    vb_buf_add_u64(&b, e->n_holes);
    for (size_t i = 0; i < e->n_holes; i++) {
        vb_buf_add_u64(&b, e->holes[i].offset);
        vb_buf_add_u64(&b, e->holes[i].len);
    }
    vb_buf_add_u32(&b, e->content.level);
    for (uint32_t i = 0; i < e->content.n; i++) {
        vb_buf_add(&b, e->content.refs[i].name.b, sizeof e->content.refs[i].name.b);
        vb_buf_add_u64(&b, e->content.refs[i].size);
    }
    vb_buf_add_str(&b, e->target ? e->target : "");
    vb_sha256(b.data, b.len, out);
}

static bool same_inode_content(const struct vb_rst_link *l, const struct vb_tree_entry *e)
{
    struct vb_name digest;
    inode_digest(e, &digest);
    return vb_name_equal(&l->digest, &digest);
}

/* 1: linked, 0: must be made as a file of its own. */
static int try_link(struct vb_restore *r, int dirfd, const char *temp, const struct vb_tree_entry *e)
{
    struct vb_rst_link *l = e->link_group ? vb_idmap_get(&r->cur->links, e->link_group, 0) : NULL;
    if (!l || !same_inode_content(l, e))
        return 0;
    VB_AUTO_FREE char *proc = vb_printf("/proc/self/fd/%d", l->fd);
    return linkat(AT_FDCWD, proc, dirfd, temp, AT_SYMLINK_FOLLOW) == 0;
}

static void remember_link(struct vb_restore *r, int fd, const struct vb_tree_entry *e, uint32_t later)
{
    if (!e->link_group || vb_idmap_get(&r->cur->links, e->link_group, 0))
        return;
    int held = r->cur->links.n < r->max_links ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (held < 0) {
        r->cur->links_lost++;
        if (later && !vb_rst_late_flags(fd, later))
            r->cur->flags_lost++;
        return;
    }
    struct vb_rst_link *l = vb_alloc(sizeof *l);
    *l = (struct vb_rst_link){ .fd = held, .flags_later = later, .flags_lost = &r->cur->flags_lost };
    inode_digest(e, &l->digest);
    vb_idmap_set(&r->cur->links, e->link_group, 0, l);
}

static void link_free(void *p)
{
    struct vb_rst_link *l = p;
    if (l->flags_later && !vb_rst_late_flags(l->fd, l->flags_later))
        (*l->flags_lost)++;
    vb_close_fd(&l->fd);
    vb_free_ptr(&l);
}

void vb_rst_links_end(struct vb_restore *r)
{
    vb_idmap_clear(&r->cur->links, link_free);
}

/* Gives back what the look ahead has asked for and nobody will get. */
static void drop_announced(struct vb_restore *r, const struct vb_tree_entry *e, const struct vb_rst_ahead *ahead)
{
    for (uint32_t i = 0; e->type == VB_TREE_FILE && e->content.level == 0 && i < ahead->announced; i++)
        vb_chunk_fetcher_unwant(r->in, VB_CHUNK_DATA, &e->content.refs[i].name);
}

/* Kept from an earlier attempt, or as it was all the time: the content is right, the rest is set anew.  Only if it has
 * the owner already: somebody else's file, made ours, could still be written through what he holds open.  With holes only
 * if it has some as well. 1 kept, 0 no, -1. */
static int keep_existing(struct vb_restore *r, int dirfd, const struct vb_tree_entry *e, const char *name,
                         const struct vb_rst_ahead *ahead, struct vb_error *err)
{
    struct stat st;
    uid_t uid;
    gid_t gid;
    if ((!r->resume && !r->overwrite) || e->type != VB_TREE_FILE || e->link_group)
        return 0;
    VB_AUTO_FD int fd = vb_open_beneath(dirfd, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
        return 0;
    vb_rst_owner(r, e, &uid, &gid);
    if (st.st_uid != (r->is_root && r->keep_owner ? uid : geteuid()))
        return 0;
    if ((e->n_holes && (uint64_t)st.st_blocks * 512 >= e->size) || !vb_rst_same_content(r, fd, e))
        return 0;
    drop_announced(r, e, ahead);
    r->bytes += e->size;
    r->root->bytes += e->size;
    return vb_rst_meta(r, fd, false, false, e, name, NULL, err) < 0 ? -1 : 1;
}

static int make_leaf(struct vb_restore *r, int dirfd, const char *temp, const struct vb_tree_entry *e, const char *name,
                     const struct vb_rst_ahead *ahead, struct vb_error *err)
{
    VB_AUTO_FD int fd = -1;
    uint32_t later = 0;
    if (try_link(r, dirfd, temp, e)) {
        drop_announced(r, e, ahead);
    } else if ((e->type == VB_TREE_FILE ? make_file(r, dirfd, temp, e, name, ahead, &fd, &later, err)
                                        : make_special(r, dirfd, temp, e, name, &fd, err)) < 0) {
        return -1;
    }
    if (into_place(r, dirfd, temp, name, e, err) < 0)
        return -1;
    if (fd < 0)
        unlinkat(dirfd, temp, 0); /* renaming one name of an inode onto another leaves both */
    if (fd >= 0 && e->link_group)
        remember_link(r, fd, e, later);
    else if (later && !vb_rst_late_flags(fd, later))
        r->cur->flags_lost++;
    return 0;
}

int vb_rst_leaf(struct vb_restore *r, int dirfd, const struct vb_tree_entry *e, const char *name,
                const struct vb_rst_ahead *ahead, struct vb_error *err)
{
    char temp[48];
    if (is_device(e) && !(r->is_root && r->keep_owner)) {
        VB_AUTO_ERROR w = VB_ERROR_INIT;
        vb_fail(&w, VB_E_ACCESS_DENIED, "device nodes are restored only by root with owners kept; it was left out");
        r->cur->devices_omitted++;
        return vb_rst_warn(r, name, &w, err);
    }
    int rc = keep_existing(r, dirfd, e, name, ahead, err);
    if (rc == 0) {
        temp_name(r, temp);
        rc = make_leaf(r, dirfd, temp, e, name, ahead, err);
        if (rc < 0)
            unlinkat(dirfd, temp, 0);
    }
    if (rc < 0)
        return vb_rst_name_error(r, name, err);
    r->files++;
    r->root->files++;
    return vb_rst_progress(r, false, err);
}
