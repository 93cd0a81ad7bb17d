/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/io.c - whole reads and writes, atomic replacement, trees of any depth, locks, passed descriptors.
 */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"

/* A descriptor that somebody made non-blocking (a shared terminal, say) is waited for, not given up. */
static bool may_go_on(int fd, short events)
{
    if (errno == EINTR) {
        return true;
    }
    if (errno != EAGAIN) {
        return false;
    }
    struct pollfd p = { .fd = fd, .events = events };
    return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

int vb_write_all(int fd, const void *p, size_t n, struct vb_error *err)
{
    const char *at = p;
    while (n > 0) {
        ssize_t r = write(fd, at, n);
        if (r < 0) {
            if (may_go_on(fd, POLLOUT)) {
                continue;
            }
            return vb_fail_errno(err, errno, "write failed");
        }
        at += r;
        n -= (size_t)r;
    }
    return 0;
}

int vb_read_all(int fd, void *p, size_t n, struct vb_error *err)
{
    char *at = p;
    while (n > 0) {
        ssize_t r = read(fd, at, n);
        if (r < 0) {
            if (may_go_on(fd, POLLIN)) {
                continue;
            }
            return vb_fail_errno(err, errno, "read failed");
        }
        if (r == 0) {
            return vb_fail(err, VB_E_CONNECTION_LOST, "read ended %zu bytes early", n);
        }
        at += r;
        n -= (size_t)r;
    }
    return 0;
}

int vb_read_file_at(int dirfd, const char *name, size_t max, struct vb_buf *b, struct vb_error *err)
{
    VB_AUTO_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return vb_fail_errno(err, errno, "cannot open '%s'", name);
    }
    size_t got = 0;
    for (;;) {
        vb_buf_reserve(b, 65536);
        ssize_t r = read(fd, b->data + b->len, b->cap - b->len - 1);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return vb_fail_errno(err, errno, "cannot read '%s'", name);
        }
        if (r == 0) {
            return 0;
        }
        got += (size_t)r;
        if (got > max) {
            return vb_fail(err, VB_E_LIMIT, "'%s' is larger than %zu bytes", name, max);
        }
        b->len += (size_t)r;
    }
}

int vb_fsync_dir(int dirfd, struct vb_error *err)
{
    /* EINVAL: a file system that cannot sync directories keeps no promise that we could break */
    if (fsync(dirfd) < 0 && errno != EINVAL) {
        return vb_fail_errno(err, errno, "cannot sync the directory");
    }
    return 0;
}

int vb_open_dir_at(int dirfd, const char *name, struct vb_error *err)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return vb_fail_errno(err, errno, "cannot open directory '%s'", name);
    }
    return fd;
}

/* The directory that holds name, and name's last element. */
static int open_parent(int dirfd, const char *name, const char **base, struct vb_error *err)
{
    const char *slash = strrchr(name, '/');
    if (!slash) {
        *base = name;
        return vb_open_dir_at(dirfd, ".", err);
    }
    VB_AUTO_FREE char *parent = vb_strndup(name, slash == name ? 1 : (size_t)(slash - name));
    *base = slash + 1;
    return vb_open_dir_at(dirfd, parent, err);
}

int vb_write_file_at(int dirfd, const char *name, const void *p, size_t n, mode_t mode, struct vb_error *err)
{
    const char *base;
    char id[VB_GUID_LEN + 1];
    VB_AUTO_FD int dir = open_parent(dirfd, name, &base, err);
    if (dir < 0) {
        return -1;
    }
    vb_guid_new(id);
    VB_AUTO_FREE char *tmp = vb_printf(".tmp-%s", id);
    VB_AUTO_FD int fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return vb_fail_errno(err, errno, "cannot create a temporary file for '%s'", name);
    }
    int failed = 0;
    if (vb_write_all(fd, p, n, err) < 0) {
        failed = -1;
    } else if (fsync(fd) < 0) {
        failed = vb_fail_errno(err, errno, "sync failed");
    } else if (close(VB_STEAL_FD(fd)) < 0) {
        failed = vb_fail_errno(err, errno, "close failed");
    } else if (renameat(dir, tmp, dir, base) < 0) {
        failed = vb_fail_errno(err, errno, "rename failed");
    }
    if (failed) {
        unlinkat(dir, tmp, 0);
    } else {
        failed = vb_fsync_dir(dir, err);
    }
    if (failed) {
        vb_context(err, "cannot write '%s'", name);
    }
    return failed;
}

int vb_mkdirs_at(int dirfd, const char *path, mode_t mode, struct vb_error *err)
{
    VB_AUTO_FD int cur = vb_open_dir_at(dirfd, *path == '/' ? "/" : ".", err);
    if (cur < 0) {
        return -1;
    }
    for (const char *p = path;;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (n == 0) {
            return 0;
        }
        VB_AUTO_FREE char *element = vb_strndup(p, n);
        if (mkdirat(cur, element, mode) < 0 && errno != EEXIST) {
            /* on a read-only file system an existing directory is reported as EROFS by some */
            int saved = errno;
            struct stat st;
            if (fstatat(cur, element, &st, 0) < 0 || !S_ISDIR(st.st_mode)) {
                return vb_fail_errno(err, saved, "cannot make directory '%.*s'", (int)(p + n - path), path);
            }
        }
        int next = openat(cur, element, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (next < 0) {
            return vb_fail_errno(err, errno, "cannot open directory '%.*s'", (int)(p + n - path), path);
        }
        close(cur);
        cur = next;
        p += n;
    }
}

/* --- removing a tree --- */

/*
 * One level of the descent.  Only the deepest LEVELS_OPEN levels keep their directory open; a level that was
 * closed is opened again through ".." of its child, and must then be the directory it was.
 */
#define LEVELS_OPEN 64
struct level {
    DIR *dir;
    dev_t dev;
    ino_t ino;
    char *name; /* in the level above; NULL for the directory that holds the tree */
};
struct levels {
    struct level *v;
    size_t n, cap;
    const char *name; /* of the tree, for messages */
};

static void levels_clear(struct levels *ls)
{
    for (size_t i = 0; i < ls->n; i++) {
        vb_close_dir(&ls->v[i].dir);
        free(ls->v[i].name);
    }
    free(ls->v);
    ls->v = NULL;
    ls->n = 0;
}

static int level_push(struct levels *ls, int fd, const char *name, struct vb_error *err)
{
    struct stat st;
    VB_AUTO_FD int own = fd;
    if (fstat(own, &st) < 0) {
        return vb_fail_errno(err, errno, "cannot remove '%s'", ls->name);
    }
    DIR *dir = fdopendir(own);
    if (!dir) {
        return vb_fail_errno(err, errno, "cannot remove '%s'", ls->name);
    }
    own = -1;
    if (ls->n > LEVELS_OPEN) {
        vb_close_dir(&ls->v[ls->n - LEVELS_OPEN].dir);
    }
    VB_GROW(ls->v, ls->n, ls->cap);
    struct level *l = &ls->v[ls->n++];
    l->dir = dir;
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    l->name = vb_strdup(name);
    return 0;
}

static bool is_mount_root(int fd)
{
    struct statx sx;
    return statx(fd, "", AT_EMPTY_PATH, 0, &sx) == 0 && (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int descend(struct levels *ls, const char *name, struct vb_error *err)
{
    int up = dirfd(ls->v[ls->n - 1].dir);
    VB_AUTO_FD int fd = openat(up, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return vb_fail_errno(err, errno, "cannot remove '%s': cannot open directory '%s' in it", ls->name, name);
    }
    if (is_mount_root(fd)) {
        vb_fail(err, VB_E_BUSY, "cannot remove '%s': something is mounted on '%s'", ls->name, name);
        vb_hint(err, "Unmount it first.");
        return -1;
    }
    return level_push(ls, VB_STEAL_FD(fd), name, err);
}

/* Leaves the deepest level, which is empty, and removes it from the one above. */
static int ascend(struct levels *ls, struct vb_error *err)
{
    struct level *done = &ls->v[ls->n - 1], *up = &ls->v[ls->n - 2];
    if (!up->dir) {
        struct stat st;
        VB_AUTO_FD int fd = openat(dirfd(done->dir), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0) {
            return vb_fail_errno(err, errno, "cannot remove '%s'", ls->name);
        }
        if (st.st_dev != up->dev || st.st_ino != up->ino) {
            return vb_fail(err, VB_E_UNSTABLE, "cannot remove '%s': it was moved meanwhile", ls->name);
        }
        up->dir = fdopendir(fd);
        if (!up->dir) {
            return vb_fail_errno(err, errno, "cannot remove '%s'", ls->name);
        }
        fd = -1;
    }
    vb_close_dir(&done->dir);
    if (unlinkat(dirfd(up->dir), done->name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        return vb_fail_errno(err, errno, "cannot remove directory '%s' of '%s'", done->name, ls->name);
    }
    free(done->name);
    ls->n--;
    return 0;
}

static int remove_levels(struct levels *ls, struct vb_error *err)
{
    while (ls->n > 1) {
        DIR *dir = ls->v[ls->n - 1].dir;
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) {
            if (errno) {
                return vb_fail_errno(err, errno, "cannot remove '%s'", ls->name);
            }
            if (ascend(ls, err) < 0) {
                return -1;
            }
            continue;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        if (e->d_type != DT_DIR) {
            if (unlinkat(dirfd(dir), e->d_name, 0) == 0 || errno == ENOENT) {
                continue;
            }
            if (errno != EISDIR && (errno != EPERM || e->d_type != DT_UNKNOWN)) {
                return vb_fail_errno(err, errno, "cannot remove '%s' of '%s'", e->d_name, ls->name);
            }
        }
        if (descend(ls, e->d_name, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int vb_remove_tree_at(int dirfd, const char *name, struct vb_error *err)
{
    VB_CLEANUP(levels_clear) struct levels ls = { .name = name };
    const char *base;
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : vb_fail_errno(err, errno, "cannot remove '%s'", name);
    }
    VB_AUTO_FREE char *clean = vb_path_clean(name);
    VB_AUTO_FD int parent = open_parent(dirfd, clean, &base, err);
    if (parent < 0) {
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(parent, base, 0) < 0 && errno != ENOENT) {
            return vb_fail_errno(err, errno, "cannot remove '%s'", name);
        }
        return 0;
    }
    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        return vb_fail(err, VB_E_USAGE, "cannot remove '%s': not the name of a directory", name);
    }
    if (level_push(&ls, VB_STEAL_FD(parent), NULL, err) < 0 || descend(&ls, base, err) < 0) {
        return -1;
    }
    return remove_levels(&ls, err);
}

/* --- flags, locks, descriptors --- */

int vb_set_nonblock(int fd, bool on)
{
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0) {
        return -1;
    }
    return fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK) < 0 ? -1 : 0;
}

int vb_set_cloexec(int fd, bool on)
{
    return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -1 : 0;
}

int vb_try_lock(int fd, bool exclusive, struct vb_error *err)
{
    struct flock fl = { .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };
    while (fcntl(fd, F_OFD_SETLK, &fl) < 0) {
        if (errno == EAGAIN || errno == EACCES) {
            return 1;
        }
        if (errno != EINTR) {
            return vb_fail_errno(err, errno, "cannot lock");
        }
    }
    return 0;
}

#define MAX_FDS 4
union fd_control {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
};

int vb_send_fds(int sock, const void *p, size_t n, const int *fds, size_t nfds, struct vb_error *err)
{
    union fd_control control;
    struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (nfds > MAX_FDS || n == 0) {
        return vb_fail(err, VB_E_UNEXPECTED, "cannot pass %zu descriptors with %zu bytes", nfds, n);
    }
    if (nfds) {
        memset(&control, 0, sizeof control);
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    ssize_t r;
    while ((r = sendmsg(sock, &m, MSG_NOSIGNAL)) < 0) {
        if (!may_go_on(sock, POLLOUT)) {
            return vb_fail_errno(err, errno, "send failed");
        }
    }
    /* the descriptors went with the first byte; the rest is plain */
    return vb_write_all(sock, (const char *)p + r, n - (size_t)r, err);
}

/* Takes what came; false if it is not what the caller made room for. */
static bool take_fds(struct msghdr *m, int *fds, size_t max, size_t *got)
{
    bool fits = !(m->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*got < max) {
                fds[(*got)++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    return fits;
}

ssize_t vb_recv_fds(int sock, void *p, size_t n, int *fds, size_t *nfds, struct vb_error *err)
{
    union fd_control control;
    struct iovec iov = { .iov_base = p, .iov_len = n };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    size_t max = nfds ? *nfds : 0, got = 0;
    ssize_t r;
    while ((r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC)) < 0) {
        if (!may_go_on(sock, POLLIN)) {
            return vb_fail_errno(err, errno, "receive failed");
        }
    }
    if (!take_fds(&m, fds, max, &got)) {
        while (got > 0) {
            close(fds[--got]);
        }
        return vb_fail(err, VB_E_PROTOCOL, "the other side passed more descriptors than expected");
    }
    if (nfds) {
        *nfds = got;
    }
    return r;
}
