/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/reboot_put.c - staged files into their places.
 *
 * Every step is relative to a held descriptor and takes one name beneath it without links, as a restore does.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/reboot.h"
#include "agent/safe_open.h"
#include "base/io.h"
#include "base/text.h"

/* Owner, mode, extended attributes (ACLs among them) and times of a directory that was there before. */
static int take_over(int from, int to, const struct stat *st)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
    ssize_t n = flistxattr(from, NULL, 0);
    VB_AUTO_FREE char *names = vb_alloc(n > 0 ? (size_t)n : 1);
    n = n > 0 ? flistxattr(from, names, (size_t)n) : 0;
    if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
        return -1;
    for (const char *x = names; n > 0 && x < names + n; x += strlen(x) + 1) {
        ssize_t size = fgetxattr(from, x, NULL, 0);
        VB_AUTO_FREE char *value = vb_alloc(size > 0 ? (size_t)size : 1);
        if (size < 0 || (size = fgetxattr(from, x, value, (size_t)size)) < 0 || fsetxattr(to, x, value, (size_t)size, 0) < 0)
            return -1;
    }
    return futimens(to, t);
}

static int put(int from, const char *staged, int to, const char *name, size_t *files, struct vb_error *err);

static int put_entries(int from, int to, size_t *files, struct vb_error *err)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_close_fd(&fd);
        return vb_fail_errno(err, errno, "a staged directory cannot be read");
    }
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && put(from, e->d_name, to, e->d_name, files, err) < 0)
            rc = -1; /* the others all the same */
    return rc;
}

static int merge(int from, const char *staged, int to, const char *name, const struct stat *st, size_t *files,
                 struct vb_error *err)
{
    VB_AUTO_FD int a = vb_open_beneath(from, staged, O_RDONLY | O_DIRECTORY, 0);
    VB_AUTO_FD int b = vb_open_beneath(to, name, O_RDONLY | O_DIRECTORY, 0);
    if (a < 0 || b < 0)
        return vb_fail_errno(err, errno, "directory '%s' cannot be opened", name);
    if (put_entries(a, b, files, err) < 0)
        return -1;
    if (take_over(a, b, st) < 0)
        return vb_fail_errno(err, errno, "attributes of directory '%s' cannot be set", name);
    if (fsync(b) < 0 || unlinkat(from, staged, AT_REMOVEDIR) < 0)
        return vb_fail_errno(err, errno, "staged directory '%s' cannot be removed", name);
    return 0;
}

/* Files of a whole directory that is renamed at once. */
static size_t count(int from, const char *name)
{
    int fd = vb_open_beneath(from, name, O_RDONLY | O_DIRECTORY, 0);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    size_t n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        n += S_ISDIR(st.st_mode) ? count(fd, e->d_name) : 1;
    }
    return n;
}

static int put(int from, const char *staged, int to, const char *name, size_t *files, struct vb_error *err)
{
    struct stat st, old;
    if (fstatat(from, staged, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vb_fail_errno(err, errno, "staged file '%s' cannot be examined", name);
    bool there = fstatat(to, name, &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (S_ISDIR(st.st_mode) && there && S_ISDIR(old.st_mode))
        return merge(from, staged, to, name, &st, files, err);
    if (there && S_ISDIR(old.st_mode))
        return vb_fail(err, VB_E_EXISTS, "'%s' is a directory now, and would be replaced by a file", name);
    if (S_ISDIR(st.st_mode) && there && unlinkat(to, name, 0) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be removed", name);
    size_t n = S_ISDIR(st.st_mode) ? count(from, staged) : 1;
    if (renameat(from, staged, to, name) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be put in its place", name);
    *files += n;
    return 0;
}

static char *split(const char *path, const char **name)
{
    char *dir = vb_strdup(path), *slash = strrchr(dir, '/');
    *name = path + (slash - dir) + 1;
    slash[slash == dir] = 0;
    return dir;
}

int vb_reboot_put(const char *staged, const char *final, size_t *files, struct vb_error *err)
{
    const char *a_name, *b_name;
    VB_AUTO_FREE char *final_clean = vb_path_clean(final);
    VB_AUTO_FREE char *a_dir = split(staged, &a_name), *b_dir = split(final_clean, &b_name);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FD int a = vb_safe_open_dir(a_dir, false, NULL, NULL, &why);
    if (a < 0 && why.code == VB_E_NOT_FOUND) /* it goes only after the record does */
        vb_hint(&why, "it is tried again at the next restart; is its file system mounted?");
    VB_AUTO_FD int b = a < 0 ? -1 : vb_safe_open_dir(b_dir, true, NULL, NULL, &why);
    int rc = b < 0 ? -1 : put(a, a_name, b, b_name, files, &why);
    if (rc == 0 && fsync(b) < 0)
        rc = vb_fail_errno(&why, errno, "directory '%s' cannot be flushed", b_dir);
    if (rc < 0 && err) {
        vb_context(&why, "'%s'", final);
        vb_error_move(err, &why);
    }
    return rc;
}
