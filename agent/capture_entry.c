/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_entry.c - the metadata of one entry: kind, mode, owners, times, extended attributes, inode flags.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/capture_internal.h"
#include "agent/data_spec.h"

#define XATTR_TRIES 5 /* the list may grow between asking its size and reading it */

/* Somebody (a file server, mostly) holds a lease: the kernel asks for it back and lets us wait, 45 seconds at most.
 * Waiting is for files only, so the name is looked at first without opening what it stands for. */
static int open_leased(int dirfd, const char *name, int flags)
{
    struct stat st;
    VB_AUTO_FD int path = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (path < 0 || fstat(path, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = EWOULDBLOCK;
        return -1;
    }
    VB_AUTO_FREE char *proc = vb_printf("/proc/self/fd/%d", path);
    return open(proc, flags & ~(O_NONBLOCK | O_NOFOLLOW));
}

int vb_cap_open(struct vb_capture *c, int dirfd, const char *name, const struct stat *st, int flags)
{
    flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    int fd = -1;
    bool noatime = c->noatime || st->st_uid == geteuid();
    if (noatime)
        fd = openat(dirfd, name, flags | O_NOATIME);
    if (!noatime || (fd < 0 && errno == EPERM))
        fd = openat(dirfd, name, flags);
    return fd < 0 && errno == EWOULDBLOCK ? open_leased(dirfd, name, flags) : fd;
}

/* Names of owners are looked up once per number; "" when there is none. */
static const char *user_name(struct vb_capture *c, uid_t uid)
{
    char *s = vb_idmap_get(&c->users, uid, 0);
    if (!s) {
        const struct passwd *p = getpwuid(uid);
        s = vb_strdup(p ? p->pw_name : "");
        vb_idmap_set(&c->users, uid, 0, s);
    }
    return s;
}

static const char *group_name(struct vb_capture *c, gid_t gid)
{
    char *s = vb_idmap_get(&c->groups_by_id, gid, 0);
    if (!s) {
        const struct group *g = getgrgid(gid);
        s = vb_strdup(g ? g->gr_name : "");
        vb_idmap_set(&c->groups_by_id, gid, 0, s);
    }
    return s;
}

static enum vb_tree_type type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR: return VB_TREE_DIR;
    case S_IFLNK: return VB_TREE_SYMLINK;
    case S_IFIFO: return VB_TREE_FIFO;
    case S_IFSOCK: return VB_TREE_SOCKET;
    case S_IFCHR: return VB_TREE_CHAR;
    case S_IFBLK: return VB_TREE_BLOCK;
    default: return VB_TREE_FILE;
    }
}

void vb_cap_entry_stat(struct vb_capture *c, struct vb_tree_entry *e, const char *name, const struct stat *st)
{
    *e = (struct vb_tree_entry){ .name = vb_strdup(name), .type = type_of(st->st_mode) };
    e->mode = st->st_mode & 07777;
    e->uid = st->st_uid;
    e->gid = st->st_gid;
    e->user = user_name(c, st->st_uid);
    e->group = group_name(c, st->st_gid);
    e->mtime_sec = st->st_mtim.tv_sec;
    e->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
    if (c->stable_ids) {
        e->ctime_sec = st->st_ctim.tv_sec;
        e->ctime_nsec = (uint32_t)st->st_ctim.tv_nsec;
        e->inode = st->st_ino;
    }
    if (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK) {
        e->rdev_major = major(st->st_rdev);
        e->rdev_minor = minor(st->st_rdev);
    }
}

static ssize_t list_names(int fd, const char *proc, char *buf, size_t n)
{
    return proc ? listxattr(proc, buf, n) : flistxattr(fd, buf, n);
}

static ssize_t get_value(int fd, const char *proc, const char *name, void *buf, size_t n)
{
    return proc ? getxattr(proc, name, buf, n) : fgetxattr(fd, name, buf, n);
}

/* xfs shows its access control lists a second time, in a form of its own. */
static bool kept(const char *name)
{
    if (!strncmp(name, "trusted.SGI_ACL_", 16))
        return false;
    return strncmp(name, "system.", 7) != 0 || !strcmp(name, "system.posix_acl_access") ||
           !strcmp(name, "system.posix_acl_default");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vb_xattr *)a)->name, ((const struct vb_xattr *)b)->name);
}

/* The whole list of names in *names; 0 bytes when there is none or the file system has no such thing. */
static int read_names(int fd, const char *proc, struct vb_buf *names, struct vb_error *err)
{
    for (int i = 0; i < XATTR_TRIES; i++) {
        ssize_t n = list_names(fd, proc, NULL, 0);
        if (n == 0 || (n < 0 && (errno == ENOTSUP || errno == ENOENT || errno == EPERM || errno == ELOOP)))
            return 0;
        if (n > 0) {
            vb_buf_reserve(names, (size_t)n + 1);
            n = list_names(fd, proc, (char *)names->data, (size_t)n);
        }
        if (n >= 0) {
            names->len = (size_t)n;
            return 0;
        }
        if (errno != ERANGE)
            return vb_fail_errno(err, errno, "extended attributes cannot be listed");
    }
    return vb_fail(err, VB_E_FILE_CHANGED, "extended attributes change all the time");
}

/* 1: value read, 0: gone meanwhile. */
static int read_value(int fd, const char *proc, const char *name, struct vb_buf *v, struct vb_error *err)
{
    for (int i = 0; i < XATTR_TRIES; i++) {
        ssize_t n = get_value(fd, proc, name, NULL, 0);
        if (n >= 0) {
            vb_buf_reset(v);
            vb_buf_reserve(v, (size_t)n + 1);
            n = n ? get_value(fd, proc, name, v->data, (size_t)n) : 0;
        }
        if (n >= 0) {
            v->len = (size_t)n;
            return 1;
        }
        if (errno == ENODATA || errno == ENOTSUP)
            return 0;
        if (errno != ERANGE)
            return vb_fail_errno(err, errno, "extended attribute '%s' cannot be read", name);
    }
    return vb_fail(err, VB_E_FILE_CHANGED, "extended attribute '%s' changes all the time", name);
}

static int check_limits(const struct vb_tree_entry *e, struct vb_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < e->n_xattrs; i++)
        bytes += strlen(e->xattrs[i].name) + e->xattrs[i].len;
    if (e->n_xattrs <= VB_TREE_MAX_XATTRS && bytes <= VB_TREE_MAX_XATTR_BYTES)
        return 0;
    return vb_fail(err, VB_E_LIMIT, "%zu extended attributes with %zu bytes are more than can be kept", e->n_xattrs,
                   bytes);
}

static int read_xattrs(struct vb_tree_entry *e, int fd, const char *proc, struct vb_error *err)
{
    VB_AUTO_BUF names = VB_BUF_INIT;
    VB_AUTO_BUF value = VB_BUF_INIT;
    if (read_names(fd, proc, &names, err) < 0)
        return -1;
    if (!names.len)
        return 0;
    vb_buf_str(&names);
    struct vb_xattr *list = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    for (size_t at = 0; at < names.len && rc >= 0; at += strlen((char *)names.data + at) + 1) {
        const char *name = (const char *)names.data + at;
        if (!name[0] || !kept(name) || (rc = read_value(fd, proc, name, &value, err)) <= 0)
            continue;
        VB_GROW(list, n, cap);
        list[n++] = (struct vb_xattr){ vb_strdup(name), vb_memdup(value.data, value.len), (uint32_t)value.len };
    }
    if (n)
        qsort(list, n, sizeof *list, by_name);
    e->xattrs = list;
    e->n_xattrs = n;
    return rc < 0 ? -1 : check_limits(e, err);
}

/* The time when it was made, where inodes are the original's: in a copy it is the copy's. */
static void read_btime(const struct vb_capture *c, struct vb_tree_entry *e, int fd)
{
    struct statx sx;
    if (c->originals) {
        vb_cap_originals_btime(c->originals, fd, &e->btime_sec, &e->btime_nsec);
        return;
    }
    if (e->inode && statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, &sx) == 0 &&
        (sx.stx_mask & STATX_BTIME)) {
        e->btime_sec = sx.stx_btime.tv_sec;
        e->btime_nsec = sx.stx_btime.tv_nsec;
    }
}

int vb_cap_entry_attrs(const struct vb_capture *c, struct vb_tree_entry *e, int fd, bool path_only, struct vb_error *err)
{
    VB_AUTO_FREE char *proc = path_only ? vb_printf("/proc/self/fd/%d", fd) : NULL;
    unsigned flags = 0;
    struct fsxattr x = { .fsx_projid = 0 };
    read_btime(c, e, fd);
    if ((e->type == VB_TREE_FILE || e->type == VB_TREE_DIR) && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        e->inode_flags = flags & VB_KEPT_INODE_FLAGS;
        if (ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0)
            e->project = x.fsx_projid;
    }
    return read_xattrs(e, fd, proc, err);
}

static void free_const(const void *p)
{
    free((void *)(uintptr_t)p);
}

void vb_cap_entry_clear(struct vb_tree_entry *e)
{
    free_const(e->name);
    free_const(e->target);
    for (size_t i = 0; i < e->n_xattrs; i++) {
        free_const(e->xattrs[i].name);
        free_const(e->xattrs[i].value);
    }
    free_const(e->xattrs);
    free_const(e->holes);
    vb_content_clear(&e->content);
    *e = (struct vb_tree_entry){ .name = NULL };
}

void vb_cap_entry_copy(struct vb_capture *c, struct vb_tree_entry *to, const struct vb_tree_entry *from)
{
    *to = *from;
    to->name = vb_strdup(from->name);
    to->target = vb_strdup(from->target);
    to->user = user_name(c, from->uid);
    to->group = group_name(c, from->gid);
    to->xattrs = NULL;
    if (from->n_xattrs) {
        struct vb_xattr *x = vb_alloc_n(from->n_xattrs, sizeof *x);
        for (size_t i = 0; i < from->n_xattrs; i++)
            x[i] = (struct vb_xattr){ vb_strdup(from->xattrs[i].name),
                                      vb_memdup(from->xattrs[i].value, from->xattrs[i].len), from->xattrs[i].len };
        to->xattrs = x;
    }
    vb_cap_entry_copy_content(to, from);
}

void vb_cap_entry_copy_content(struct vb_tree_entry *to, const struct vb_tree_entry *from)
{
    to->size = from->size;
    to->n_holes = from->n_holes;
    to->holes = from->n_holes ? vb_memdup(from->holes, from->n_holes * sizeof *from->holes) : NULL;
    vb_content_copy(&to->content, &from->content);
}
