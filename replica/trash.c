/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/trash.c - trash/MILLISECONDS/path: everything that replication overwrote or deleted, for a while (DSN-21).
 */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/apply.h"

static int64_t now_ms(struct vb_place *p)
{
    struct stat st;
    /* The file system's clock as of this pass; made anew by each scan. */
    return fstatat(p->own, "clock", &st, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 : 0;
}

/* Level by level, and never through a link: what was thrown away before may be one. */
static int make_way(struct vb_place *p, const char *to, struct vb_error *err)
{
    for (const char *at = strchr(to, '/'); at; at = strchr(at + 1, '/')) {
        const char *leaf;
        VB_AUTO_FREE char *dir = vb_strndup(to, (size_t)(at - to));
        VB_AUTO_FD int up = vb_beneath_parent(p->own, dir, &leaf);
        if (up < 0 || (mkdirat(up, leaf, 0700) < 0 && errno != EEXIST))
            return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/%s' cannot be made", dir);
    }
    return 0;
}

int vb_trash(struct vb_place *p, int dirfd, const char *name, const char *path, struct vb_error *err)
{
    const char *leaf;
    VB_AUTO_FREE char *to = vb_printf("trash/%lld/%s", (long long)now_ms(p), path);
    struct stat st;
    if (make_way(p, to, err) < 0)
        return -1;
    VB_AUTO_FD int at = vb_beneath_parent(p->own, to, &leaf);
    if (at < 0)
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/%s' cannot be opened", to);
    for (unsigned i = 0; i < 10000; i++) {
        VB_AUTO_FREE char *other = i ? vb_printf("%.200s.%u", leaf, i) : vb_strdup(leaf);
        if (renameat2(dirfd, name, at, other, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno == ENOENT && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
            return 0; /* gone already */
        if (errno != EEXIST)
            break;
    }
    return vb_fail_errno(err, errno, "'%s' cannot be moved to the trash", path);
}

int vb_trash_expire(struct vb_place *p, int64_t now, uint64_t *removed, struct vb_error *err)
{
    int fd = openat(p->own, "trash", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    *removed = 0;
    if (!d) {
        vb_close_fd(&fd);
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/trash' cannot be read");
    }
    for (const struct dirent *e; (e = readdir(d));) {
        uint64_t then;
        if (!vb_parse_u64(e->d_name, &then) || now < 0 || then > (uint64_t)now || (uint64_t)now - then < (uint64_t)p->set.trash_keep_s * 1000)
            continue;
        if (vb_remove_tree_at(dirfd(d), e->d_name, err) < 0)
            return -1;
        ++*removed;
    }
    return 0;
}

static int size_below(int dirfd, const char *name, uint64_t *files, uint64_t *bytes, struct vb_error *err)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        int why = errno;
        vb_close_fd(&fd);
        return why == ENOENT ? 0 : vb_fail_errno(err, why, "the trash: '%s'", name);
    }
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            if (size_below(fd, e->d_name, files, bytes, err) < 0)
                return -1;
            continue;
        }
        ++*files;
        *bytes += (uint64_t)st.st_size;
    }
    return 0;
}

int vb_trash_size(struct vb_place *p, uint64_t *files, uint64_t *bytes, struct vb_error *err)
{
    *files = *bytes = 0;
    return size_below(p->own, "trash", files, bytes, err);
}
