/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/beneath.c - openat2 with everything forbidden that could lead elsewhere. */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"

int vb_beneath_open(int dirfd, const char *path, int flags, mode_t mode, int cross_mounts)
{
    struct open_how how = { .flags = (unsigned long long)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW) };
    if (flags & (O_CREAT | O_TMPFILE))
        how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    if (!cross_mounts)
        how.resolve |= RESOLVE_NO_XDEV;
    long fd;
    do {
        fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    } while (fd < 0 && (errno == EAGAIN || errno == EINTR)); /* EAGAIN: somebody renames while we look */
    return (int)fd;
}

int vb_beneath_parent(int dirfd, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!slash)
        return fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(slash - path));
    return vb_beneath_open(dirfd, dir, O_PATH | O_DIRECTORY, 0, 0);
}
