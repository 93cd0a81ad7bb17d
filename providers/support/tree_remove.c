/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/tree_remove.c - removing copied trees, also what their flags and modes protect.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "providers/support/tree.h"

void vb_ps_tree_more_descriptors(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

static void unlock(int fd)
{
    unsigned flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & VB_PS_LOCKING_FLAGS)) {
        flags &= ~VB_PS_LOCKING_FLAGS;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

static int remove_file(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0)
        return 0;
    int fd = errno == EPERM ? openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0)
        return -1;
    unlock(fd);
    close(fd);
    return unlinkat(dir, name, 0);
}

static int remove_below(int fd);

static int remove_entry(int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return remove_file(dir, name);
    int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0 && fchmodat(dir, name, 0700, 0) == 0)
        sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return sub < 0 || remove_below(sub) < 0 ? -1 : unlinkat(dir, name, AT_REMOVEDIR);
}

/* Takes the descriptor. */
static int remove_below(int fd)
{
    int rc = 0;
    unlock(fd);
    DIR *d = fchmod(fd, 0700) == 0 ? fdopendir(fd) : NULL; /* copied modes may keep us out */
    if (!d) {
        close(fd);
        return -1;
    }
    for (const struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        rc = remove_entry(dirfd(d), e->d_name);
        if (rc < 0 && errno == ENOENT)
            rc = 0;
    }
    int saved = errno;
    closedir(d);
    errno = saved;
    return rc;
}

int vb_ps_tree_remove(const struct vb_ps *s, const char *path)
{
    vb_ps_tree_more_descriptors();
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || remove_below(fd) < 0 || rmdir(path) < 0)
        return vb_ps_fail_errno(s, errno, "Remove it by hand, then delete the shadow copy again.",
                                "shadow copy '%s' cannot be removed", path);
    return 0;
}
