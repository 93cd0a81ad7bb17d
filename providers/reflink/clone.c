/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/reflink/clone.c - copying a tree by cloning its files.
 *
 * Contents are shared extents (FICLONE); directories, links and metadata are copied.  A file that vanishes between
 * being listed and being opened counts as removed before the instant; any other failure fails the whole set.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "providers/reflink/reflink.h"

#define MAX_DEPTH 400u /* two descriptors per level */
#define MAX_NAMES 65536u

struct seen { /* hard links */
    ino_t ino;
    char *path;  /* relative to the stage */
};

struct clone {
    const struct vb_ps *s;
    int stage;
    dev_t dev;
    struct seen *seen;
    size_t n_seen, cap_seen;
    bool root;
};

static int bad(struct clone *c, const char *path, const char *what)
{
    return vb_ps_fail_errno(c->s, errno, NULL, "'%s': %s", path, what);
}

/* ---- metadata ---- */

static void copy_xattrs(int from, int to)
{
    char *names = vb_ps_alloc(MAX_NAMES), *value = vb_ps_alloc(MAX_NAMES);
    ssize_t n = flistxattr(from, names, MAX_NAMES);
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t len = fgetxattr(from, names + at, value, MAX_NAMES);
        if (len >= 0)
            fsetxattr(to, names + at, value, (size_t)len, 0);
    }
    free(names);
    free(value);
}

static int copy_meta(struct clone *c, int from, int to, const struct stat *st, const char *path)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
    unsigned flags = 0;
    if (c->root && fchown(to, st->st_uid, st->st_gid) < 0)
        return bad(c, path, "owner of its copy cannot be set");
    copy_xattrs(from, to);
    if (fchmod(to, st->st_mode & 07777) < 0)
        return bad(c, path, "mode of its copy cannot be set");
    if (ioctl(from, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NODUMP_FL)) {
        flags &= (unsigned)FS_NODUMP_FL;
        ioctl(to, FS_IOC_SETFLAGS, &flags);
    }
    return futimens(to, t) < 0 ? bad(c, path, "time of its copy cannot be set") : 0;
}

static int copy_link_meta(struct clone *c, int dir, const char *name, const struct stat *st, const char *path)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
    if ((c->root && fchownat(dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0) ||
        (!S_ISLNK(st->st_mode) && fchmodat(dir, name, st->st_mode & 07777, 0) < 0) ||
        utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW) < 0)
        return bad(c, path, "metadata of its copy cannot be set");
    return 0;
}

/* ---- hard links ---- */

/* 1: linked to the copy made before; 0: this is the first name. */
static int link_again(struct clone *c, const struct stat *st, int to_dir, const char *name, const char *path)
{
    if (st->st_nlink < 2)
        return 0;
    for (size_t i = 0; i < c->n_seen; i++)
        if (c->seen[i].ino == st->st_ino)
            return linkat(c->stage, c->seen[i].path, to_dir, name, 0) == 0;
    if (c->n_seen == c->cap_seen) {
        size_t cap = c->cap_seen ? c->cap_seen * 2 : 64;
        struct seen *bigger = vb_ps_alloc(cap * sizeof *bigger);
        if (c->n_seen)
            memcpy(bigger, c->seen, c->n_seen * sizeof *bigger);
        free(c->seen);
        c->seen = bigger;
        c->cap_seen = cap;
    }
    c->seen[c->n_seen++] = (struct seen){ st->st_ino, vb_ps_strdup(path + 1) };
    return 0;
}

/* ---- entries ---- */

static int clone_file(struct clone *c, int from_dir, int to_dir, const char *name, const char *path)
{
    struct stat st;
    unsigned flags = 0;
    int rc = -1;
    int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (from < 0)
        return errno == ENOENT ? 0 : bad(c, path, "cannot be opened");
    int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0 || fstat(from, &st) < 0) {
        rc = bad(c, path, "its copy cannot be made");
    } else {
        /* a file without copy-on-write clones only into another such file */
        if (ioctl(from, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL)) {
            flags &= (unsigned)FS_NOCOW_FL;
            ioctl(to, FS_IOC_SETFLAGS, &flags);
        }
        if (st.st_size && ioctl(to, FICLONE, from) < 0) {
            rc = bad(c, path, "cannot be cloned");
        } else {
            rc = copy_meta(c, from, to, &st, path);
        }
    }
    close(from);
    if (to >= 0)
        close(to);
    return rc;
}

static int copy_symlink(struct clone *c, int from_dir, int to_dir, const char *name, const struct stat *st,
                        const char *path)
{
    size_t size = (size_t)st->st_size + 65536;
    char *target = vb_ps_alloc(size + 1);
    ssize_t n = readlinkat(from_dir, name, target, size);
    int rc = 0;
    if (n < 0 && errno != ENOENT)
        rc = bad(c, path, "symbolic link cannot be read");
    else if (n >= 0 && symlinkat(target, to_dir, name) < 0)
        rc = bad(c, path, "its copy cannot be made");
    else if (n >= 0)
        rc = copy_link_meta(c, to_dir, name, st, path);
    free(target);
    return rc;
}

static int copy_special(struct clone *c, int to_dir, const char *name, const struct stat *st, const char *path)
{
    if (mknodat(to_dir, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) < 0)
        return bad(c, path, "its copy cannot be made");
    return copy_link_meta(c, to_dir, name, st, path);
}

static int clone_dir(struct clone *c, int from_dir, int to_dir, const char *name, const char *path, unsigned depth);

static int clone_entry(struct clone *c, int from_dir, int to_dir, const char *name, const char *path, unsigned depth)
{
    struct stat st;
    if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return errno == ENOENT ? 0 : bad(c, path, "cannot be examined");
    if (S_ISDIR(st.st_mode))
        return clone_dir(c, from_dir, to_dir, name, path, depth);
    if (link_again(c, &st, to_dir, name, path))
        return 0;
    if (S_ISREG(st.st_mode))
        return clone_file(c, from_dir, to_dir, name, path);
    if (S_ISLNK(st.st_mode))
        return copy_symlink(c, from_dir, to_dir, name, &st, path);
    return copy_special(c, to_dir, name, &st, path);
}

static int clone_children(struct clone *c, DIR *d, int to, const char *path, unsigned depth)
{
    for (const struct dirent *e; (errno = 0, e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char *below = vb_ps_printf("%s/%s", path, e->d_name);
        int rc = clone_entry(c, dirfd(d), to, e->d_name, below, depth + 1);
        free(below);
        if (rc < 0)
            return -1;
    }
    return errno ? bad(c, path, "directory cannot be read") : 0;
}

static int clone_dir(struct clone *c, int from_dir, int to_dir, const char *name, const char *path, unsigned depth)
{
    struct stat st;
    char mark[8];
    int rc = -1, to = -1;
    if (depth > MAX_DEPTH)
        return vb_ps_fail(c->s, VB_E_LIMIT, "Use a file system with snapshots for trees this deep.",
                          "'%s': more than %u directories inside each other", path, MAX_DEPTH);
    int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return errno == ENOENT ? 0 : bad(c, path, "directory cannot be opened");
    if (!strcmp(name, VB_PLACE) && fgetxattr(from, VB_PLACE_MARK, mark, sizeof mark) >= 0) {
        close(from);
        return 0; /* our own shadow copies are no data */
    }
    if ((mkdirat(to_dir, name, 0700) == 0 || errno == EEXIST) && fstat(from, &st) == 0)
        to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0) {
        bad(c, path, "its copy cannot be made");
        close(from);
        return -1;
    }
    DIR *d = fdopendir(dup(from));
    rc = !d ? bad(c, path, "directory cannot be read")
            : st.st_dev != c->dev ? 0 : clone_children(c, d, to, path, depth); /* another file system begins here */
    if (d)
        closedir(d);
    if (rc == 0)
        rc = copy_meta(c, from, to, &st, path);
    close(from);
    close(to);
    return rc;
}

/* Makes the directories above `path` in the stage; *base is its last element. Returns the descriptor of the
 * innermost. */
static int make_parents(struct clone *c, const char *path, const char **base)
{
    int at = dup(c->stage);
    while (at >= 0) {
        while (*path == '/')
            path++;
        const char *slash = strchr(path, '/');
        if (!slash) {
            *base = path;
            break;
        }
        char *name = vb_ps_alloc((size_t)(slash - path) + 1);
        memcpy(name, path, (size_t)(slash - path));
        int next = -1;
        if (mkdirat(at, name, 0700) == 0 || errno == EEXIST)
            next = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        free(name);
        close(at);
        at = next;
        path = slash;
    }
    return at;
}

int vb_reflink_clone(const struct vb_ps *s, const char *path, int stage)
{
    struct clone c = { .s = s, .stage = stage, .root = geteuid() == 0 };
    struct stat st;
    const char *base = NULL;
    int rc = -1;
    char *up = vb_ps_strdup(path), *slash = strrchr(up, '/');
    slash[slash == up ? 1 : 0] = 0;
    if (lstat(path, &st) < 0) {
        rc = errno == ENOENT ? 0 : bad(&c, path, "cannot be examined"); /* what is missing, the capture will name */
        free(up);
        return rc;
    }
    c.dev = st.st_dev;
    int from = open(up, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int to = make_parents(&c, path, &base);
    if (from < 0 || to < 0)
        bad(&c, path, "its place in the shadow copy cannot be made");
    else if (base[0])
        rc = clone_entry(&c, from, to, base, path, 0);
    else
        rc = vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Name directories below it.", "a whole root directory cannot be cloned");
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    for (size_t i = 0; i < c.n_seen; i++)
        free(c.seen[i].path);
    free(c.seen);
    free(up);
    return rc;
}

/* ---- removing ---- */

static int remove_below(int fd)
{
    int rc = 0;
    DIR *d;
    /* copied modes may keep us out */
    d = fchmod(fd, 0700) == 0 ? fdopendir(fd) : NULL;
    if (!d) {
        close(fd);
        return -1;
    }
    for (const struct dirent *e; rc == 0 && (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
            int sub = fchmodat(dirfd(d), e->d_name, 0700, 0) < 0
                          ? -1
                          : openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            rc = sub < 0 ? -1 : remove_below(sub);
            if (rc == 0)
                rc = unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        } else {
            rc = unlinkat(dirfd(d), e->d_name, 0);
        }
        if (rc < 0 && errno == ENOENT)
            rc = 0;
    }
    int saved = errno;
    closedir(d);
    errno = saved;
    return rc;
}

int vb_reflink_remove(const struct vb_ps *s, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || remove_below(fd) < 0 || rmdir(path) < 0)
        return vb_ps_fail_errno(s, errno, NULL, "shadow copy '%s' cannot be removed", path);
    return 0;
}

const char *vb_reflink_try(int dir)
{
    static const char block[4096] = { 1 };
    const char *why = NULL;
    int a = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int b = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (a < 0 || b < 0)
        why = strerror(errno);
    else if (write(a, block, sizeof block) != (ssize_t)sizeof block)
        why = strerror(errno);
    else if (ioctl(b, FICLONE, a) < 0)
        why = errno == EOPNOTSUPP || errno == EINVAL || errno == ENOTTY ? "the file system cannot clone files"
                                                                        : strerror(errno);
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    return why;
}
