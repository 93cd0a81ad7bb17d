/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/tree_fill.c - what stays is linked into the new tree. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/io.h"
#include "base/mem.h"
#include "replica/item_file.h"
#include "replica/tree.h"

#define PIECE (256u << 10)
#define TARGET_MAX 65536u
#define DEPTH_MAX 4000u

/* ---- copies ---- */

void vb_tree_copy_attrs(int from, int to, const struct stat *st)
{
    ssize_t n = flistxattr(from, NULL, 0);
    VB_AUTO_FREE char *names = n > 0 ? vb_alloc((size_t)n + 1) : NULL;
    if (fchown(to, st->st_uid, st->st_gid) < 0 && errno == EPERM)
        (void)!fchown(to, (uid_t)-1, st->st_gid);
    n = names ? flistxattr(from, names, (size_t)n) : 0;
    for (const char *at = names; n > 0 && at < names + n; at += strlen(at) + 1) {
        ssize_t len = fgetxattr(from, at, NULL, 0);
        VB_AUTO_FREE void *value = len >= 0 ? vb_alloc((size_t)len + 1) : NULL;
        if (value && (len = fgetxattr(from, at, value, (size_t)len)) >= 0)
            (void)fsetxattr(to, at, value, (size_t)len, 0); /* some are not ours to set */
    }
    (void)fchmod(to, st->st_mode & 07777);
}

static bool all_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int copy_bytes(int from, int to)
{
    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    VB_AUTO_FREE unsigned char *b = vb_alloc(PIECE);
    off_t done = 0;
    for (ssize_t n; (n = pread(from, b, PIECE, done)) != 0; done += n) {
        if (n < 0)
            return -1;
        if (!all_zero(b, (size_t)n) && (lseek(to, done, SEEK_SET) < 0 || vb_write_all(to, b, (size_t)n, NULL) < 0))
            return -1;
    }
    return ftruncate(to, done);
}

int vb_tree_copy(int from, const char *name, int to, const char *as, const struct stat *st)
{
    if (S_ISLNK(st->st_mode)) {
        VB_AUTO_FREE char *target = vb_alloc(TARGET_MAX);
        return readlinkat(from, name, target, TARGET_MAX - 1) > 0 ? symlinkat(target, to, as) : -1;
    }
    if (!S_ISREG(st->st_mode))
        return mknodat(to, as, (st->st_mode & S_IFMT) | 0600, st->st_rdev);
    VB_AUTO_FD int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    VB_AUTO_FD int out = in < 0 ? -1 : openat(to, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return out >= 0 && copy_bytes(in, out) == 0 && fsync(out) == 0 ? 0 : -1;
}

int vb_tree_link(int from, const char *name, int to, const char *as, const struct stat *st, bool *copied)
{
    const struct timespec times[2] = { st->st_atim, st->st_mtim };
    *copied = false;
    if (linkat(from, name, to, as, 0) == 0)
        return 0;
    /* Too many links; files of others, which an ordinary user may not link; file systems without. */
    if (errno != EMLINK && errno != EPERM && errno != EACCES && errno != EOPNOTSUPP)
        return -1;
    *copied = true;
    if (vb_tree_copy(from, name, to, as, st) < 0)
        return -1;
    if (S_ISREG(st->st_mode)) {
        VB_AUTO_FD int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        VB_AUTO_FD int out = openat(to, as, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (in < 0 || out < 0)
            return -1;
        vb_tree_copy_attrs(in, out, st);
    } else {
        (void)!fchownat(to, as, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
        if (!S_ISLNK(st->st_mode))
            (void)!fchmodat(to, as, st->st_mode & 07777, 0);
    }
    return utimensat(to, as, times, AT_SYMLINK_NOFOLLOW);
}

/* ---- the walk ---- */

/* A link changes the inode's time: whether the row knew the inode as it was is to be remembered before. */
static void note_look(struct vb_tree *t, const char *path, const struct stat *st, bool copied)
{
    struct vb_item row;
    if (vb_replica_find(t->p->store, t->p->scope.id, path, &row, NULL) < 0)
        return;
    if (copied || (row.look && row.look != vb_file_look(st)))
        vb_strv_add(&t->stale, path);
    vb_item_clear(&row);
}

static int fill_dir(struct vb_tree *t, int live, int staged, const char *path, bool fresh, unsigned depth, struct vb_error *err);

static int enter(struct vb_tree *t, int live, int staged, const char *name, const char *path, bool fresh, unsigned depth,
                 struct vb_error *err)
{
    VB_AUTO_FD int from = vb_beneath_open(live, name, O_RDONLY | O_DIRECTORY, 0, 0);
    if (from < 0 && errno == EXDEV) {
        vb_fail(err, VB_E_NOT_SUPPORTED, "'%s': another file system is mounted there; a tree with it cannot be exchanged", path);
        vb_hint(err, "replicate it file by file: vbackup scope set %s --integrity file, at the source", t->p->scope.name);
        return -1;
    }
    if (from < 0)
        return errno == ENOENT ? 0 : vb_fail_errno(err, errno, "directory '%s' cannot be read", path);
    if (fresh && mkdirat(staged, name, 0700) < 0)
        return vb_fail_errno(err, errno, "directory '%s' cannot be made anew", path);
    VB_AUTO_FD int to = openat(staged, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0)
        return vb_fail_errno(err, errno, "directory '%s' cannot be opened anew", path);
    return depth >= DEPTH_MAX ? vb_fail(err, VB_E_LIMIT, "'%s': more than %u levels", path, DEPTH_MAX)
                              : fill_dir(t, from, to, path, fresh, depth + 1, err);
}

static int one(struct vb_tree *t, int live, int staged, const char *name, const char *path, unsigned depth, struct vb_error *err)
{
    struct stat st, there;
    bool copied;
    if (fstatat(live, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 || vb_path_set_has(&t->gone, path))
        return 0;
    bool has = fstatat(staged, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
    if (S_ISDIR(st.st_mode))
        return has && !S_ISDIR(there.st_mode) ? 0 : enter(t, live, staged, name, path, !has, depth, err);
    if (has)
        return 0;
    if (vb_tree_link(live, name, staged, name, &st, &copied) < 0 && fstatat(live, name, &there, AT_SYMLINK_NOFOLLOW) == 0)
        return vb_fail_errno(err, errno, "'%s' cannot be linked into the new tree", path);
    note_look(t, path, &st, copied);
    return 0;
}

static int fill_dir(struct vb_tree *t, int live, int staged, const char *path, bool fresh, unsigned depth, struct vb_error *err)
{
    struct stat st;
    int fd = openat(live, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d || fstat(live, &st) < 0) {
        if (!d)
            vb_close_fd(&fd);
        return vb_fail_errno(err, errno, "directory '%s' cannot be read", path);
    }
    for (const struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (!*path && !strcmp(e->d_name, VB_PLACE_DIR)))
            continue;
        VB_AUTO_FREE char *at = *path ? vb_printf("%s/%s", path, e->d_name) : vb_strdup(e->d_name);
        if (one(t, live, staged, e->d_name, at, depth, err) < 0)
            return -1;
    }
    vb_tree_copy_attrs(live, staged, &st);
    if (*path)
        note_look(t, path, &st, false);
    if (fresh) { /* nothing in it changed */
        const struct timespec times[2] = { st.st_atim, st.st_mtim };
        (void)futimens(staged, times);
    }
    return 0;
}

int vb_tree_fill(struct vb_tree *t, int live, int staged, const char *path, bool fresh, struct vb_error *err)
{
    return fill_dir(t, live, staged, path, fresh, 0, err);
}
