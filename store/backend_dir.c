/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_dir.c - the repository as a directory.
 *
 *     config  keys/...  lock  tmp/  packs/ab/...  index/...  catalog/...
 *
 * A file is written below tmp/, synced, and only then given its name, which must be free: so no name ever stands
 * for half a file, not even after a power cut.  The names themselves become durable with the barrier, which syncs
 * every directory that was changed or looked at.  What an interrupted write leaves below tmp/ is swept by the next
 * holder of the lock, which is an open file description lock and dies with its process.
 */
#include "config.h"
#include "store/backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/journal.h"
#include "base/mem.h"
#include "base/text.h"

#define OPEN_FILES 8u
#define LOCK_TEXT_MAX 512u

struct open_file {
    char *name;
    int fd;
};

struct dir {
    struct vb_backend b;
    int root;
    int lock_fd;
    struct vb_strv unsynced;             /* directories, relative to the root; "." for the root */
    struct open_file open[OPEN_FILES];   /* packs that were read last; files never change */
    unsigned next_slot;
};

static struct dir *self(struct vb_backend *b)
{
    return (struct dir *)b;
}

static char *parent_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? vb_strndup(name, (size_t)(slash - name)) : vb_strdup(".");
}

static void note_unsynced(struct dir *d, const char *dir)
{
    if (!vb_strv_has(&d->unsynced, dir))
        vb_strv_add(&d->unsynced, dir);
}

/* ---- reading ---- */

static void forget_open(struct dir *d, const char *name)
{
    for (unsigned i = 0; i < OPEN_FILES; i++) {
        struct open_file *o = &d->open[i];
        if (o->name && (!name || strcmp(o->name, name) == 0)) {
            vb_close_fd(&o->fd);
            free(o->name);
            o->name = NULL;
        }
    }
}

static int open_cached(struct dir *d, const char *name, struct vb_error *err)
{
    for (unsigned i = 0; i < OPEN_FILES; i++)
        if (d->open[i].name && strcmp(d->open[i].name, name) == 0)
            return d->open[i].fd;
    int fd = openat(d->root, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return vb_fail_errno(err, errno, "cannot open");
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return vb_fail(err, VB_E_IO, "not a regular file");
    }
    struct open_file *o = &d->open[d->next_slot];
    d->next_slot = (d->next_slot + 1) % OPEN_FILES;
    if (o->name) {
        vb_close_fd(&o->fd);
        free(o->name);
    }
    o->name = vb_strdup(name);
    o->fd = fd;
    return fd;
}

static int dir_read(struct vb_backend *b, const char *name, uint64_t offset, size_t len, struct vb_buf *out,
                    struct vb_error *err)
{
    struct dir *d = self(b);
    int fd = open_cached(d, name, err);
    if (fd < 0)
        return -1;
    vb_buf_reserve(out, len);
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, out->data + out->len + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vb_fail_errno(err, errno, "cannot read");
        if (n == 0)
            return vb_fail(err, VB_E_CORRUPT, "file ends before byte %llu", (unsigned long long)(offset + len));
        done += (size_t)n;
    }
    out->len += len;
    return 0;
}

static int dir_size(struct vb_backend *b, const char *name, uint64_t *size, struct vb_error *err)
{
    struct stat st;
    if (fstatat(self(b)->root, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return vb_fail_errno(err, errno, "cannot look at");
    if (!S_ISREG(st.st_mode))
        return vb_fail(err, VB_E_IO, "not a regular file");
    *size = (uint64_t)st.st_size;
    return 0;
}

struct listing {
    struct dir *d;
    vb_backend_list_fn *fn;
    void *arg;
    struct vb_error *err;
};

static int list_dir(struct listing *l, const char *dir, unsigned depth);

static int list_one(struct listing *l, const char *dir, int fd, const char *entry, unsigned depth)
{
    VB_AUTO_FREE char *name = strcmp(dir, ".") == 0 ? vb_strdup(entry) : vb_path_join(dir, entry);
    struct stat st;
    if (!vb_backend_name_valid(name) || (depth == 0 && (strcmp(name, "tmp") == 0 || strcmp(name, "lock") == 0)))
        return 0;
    if (fstatat(fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vb_fail_errno(l->err, errno, "'%s/%s': cannot look at", l->d->b.location, name);
    if (S_ISDIR(st.st_mode))
        return depth < 4 ? list_dir(l, name, depth + 1) : 0;
    return S_ISREG(st.st_mode) ? l->fn(l->arg, name, (uint64_t)st.st_size, l->err) : 0;
}

static int list_dir(struct listing *l, const char *dir, unsigned depth)
{
    VB_AUTO_DIR DIR *h = NULL;
    int fd = openat(l->d->root, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : vb_fail_errno(l->err, errno, "'%s/%s': cannot list", l->d->b.location, dir);
    h = fdopendir(fd);
    if (!h) {
        close(fd);
        return vb_fail_errno(l->err, errno, "'%s/%s': cannot list", l->d->b.location, dir);
    }
    note_unsynced(l->d, dir);
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(h);
        if (!e && errno)
            return vb_fail_errno(l->err, errno, "'%s/%s': cannot list", l->d->b.location, dir);
        if (!e)
            return 0;
        int result = list_one(l, dir, fd, e->d_name, depth);
        if (result != 0)
            return result;
    }
}

static int dir_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg,
                    struct vb_error *err)
{
    struct listing l = { self(b), fn, arg, err };
    size_t n = strlen(prefix);
    VB_AUTO_FREE char *dir = n ? vb_strndup(prefix, n - 1) : vb_strdup(".");
    return list_dir(&l, dir, n ? 1 : 0);
}

/* ---- writing ---- */

static int make_dir(struct dir *d, const char *dir, struct vb_error *err)
{
    if (strcmp(dir, ".") == 0)
        return 0;
    if (mkdirat(d->root, dir, 0700) == 0) {
        VB_AUTO_FREE char *up = parent_of(dir);
        note_unsynced(d, up);
        return 0;
    }
    if (errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return vb_fail_errno(err, errno, "cannot make the directory '%s'", dir);
    VB_AUTO_FREE char *up = parent_of(dir);
    return make_dir(d, up, err) < 0 ? -1 : make_dir(d, dir, err);
}

/* Gives the file its name if that is free: 0, or -1 with errno (EEXIST when it is not). */
static int give_name(struct dir *d, const char *tmp, const char *name)
{
    if (renameat2(d->root, tmp, d->root, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* A file system without that flag: a hard link is as atomic and refuses an existing name too. */
    if (linkat(d->root, tmp, d->root, name, 0) < 0)
        return -1;
    unlinkat(d->root, tmp, 0); /* if that fails, the name is given all the same, and a sweep removes the other one */
    return 0;
}

/* *keep stays open, and the file locked, until it has its name: nobody sweeps it away.  1: somebody just did. */
static int write_tmp(struct dir *d, const char *tmp, int *keep, const void *p, size_t n, struct vb_error *err)
{
    int fd = *keep = openat(d->root, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return vb_fail_errno(err, errno, "cannot create '%s'", tmp);
    struct stat st;
    /* A file system without locks: then nobody sweeps either. */
    if (vb_try_lock(fd, true, NULL) > 0 || (fstat(fd, &st) == 0 && st.st_nlink == 0))
        return 1;
    if (vb_write_all(fd, p, n, err) < 0)
        return -1;
    vb_fault_point("store");
    if (fsync(fd) < 0)
        return vb_fail_errno(err, errno, "cannot sync '%s'", tmp);
    return 0;
}

static int dir_write(struct vb_backend *b, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct dir *d = self(b);
    VB_AUTO_FREE char *dir = parent_of(name);
    char guid[VB_GUID_LEN + 1];
    vb_guid_new(guid); /* the directory may be mounted by several machines, whose process numbers meet */
    VB_AUTO_FREE char *tmp = vb_printf("tmp/%s", guid);
    if (make_dir(d, "tmp", err) < 0 || make_dir(d, dir, err) < 0)
        return -1;
    if (faccessat(d->root, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return vb_fail(err, VB_E_EXISTS, "exists already");
    VB_AUTO_FD int fd = -1;
    vb_fault_point("store");
    int result = write_tmp(d, tmp, &fd, p, n, err);
    if (result != 0) {
        unlinkat(d->root, tmp, 0);
        return result < 0 ? -1 : dir_write(b, name, p, n, err);
    }
    vb_fault_point("store");
    if (give_name(d, tmp, name) < 0) {
        int e = errno;
        unlinkat(d->root, tmp, 0);
        return e == EEXIST ? vb_fail(err, VB_E_EXISTS, "exists already") : vb_fail_errno(err, e, "cannot rename");
    }
    note_unsynced(d, dir);
    vb_fault_point("store");
    return 0;
}

static int dir_remove(struct vb_backend *b, const char *name, struct vb_error *err)
{
    struct dir *d = self(b);
    VB_AUTO_FREE char *dir = parent_of(name);
    forget_open(d, name);
    if (unlinkat(d->root, name, 0) < 0)
        return vb_fail_errno(err, errno, "cannot remove");
    note_unsynced(d, dir);
    return 0;
}

static int dir_barrier(struct vb_backend *b, struct vb_error *err)
{
    struct dir *d = self(b);
    vb_fault_point("store");
    for (size_t i = 0; i < d->unsynced.n; i++) {
        VB_AUTO_FD int fd = openat(d->root, d->unsynced.v[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue;
        if (fd < 0 || fsync(fd) < 0)
            return vb_fail_errno(err, errno, "cannot sync the directory '%s'", d->unsynced.v[i]);
    }
    vb_strv_clear(&d->unsynced);
    vb_fault_point("store");
    return 0;
}

/* ---- lock ---- */

static int busy(int fd, struct vb_error *err)
{
    char text[LOCK_TEXT_MAX + 1];
    ssize_t n = pread(fd, text, LOCK_TEXT_MAX, 0);
    VB_AUTO_FREE char *shown = vb_escape_terminal(text, n > 0 ? (size_t)n : 0);
    vb_fail(err, VB_E_BUSY, "repository is in use by %s", *shown ? shown : "another process");
    vb_hint(err, "wait until that has ended; the lock of a process that died clears itself");
    return -1;
}

/* Nobody is writing a file that can be locked. */
static void dir_sweep(struct vb_backend *b)
{
    struct dir *d = self(b);
    int root = openat(d->root, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    VB_AUTO_DIR DIR *h = root >= 0 ? fdopendir(root) : NULL;
    const struct dirent *e;
    if (!h) {
        vb_close_fd(&root);
        return;
    }
    while ((e = readdir(h)) != NULL) {
        struct stat st;
        VB_AUTO_FD int fd = openat(root, e->d_name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        if (vb_try_lock(fd, true, NULL) == 0)
            unlinkat(root, e->d_name, 0);
    }
}

static int dir_lock(struct vb_backend *b, const char *holder, struct vb_error *err)
{
    struct dir *d = self(b);
    if (d->lock_fd >= 0)
        return vb_fail(err, VB_E_BAD_STATE, "already locked by this handle");
    VB_AUTO_FD int fd = openat(d->root, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return vb_fail_errno(err, errno, "cannot open the lock file");
    int held = vb_try_lock(fd, true, err);
    if (held < 0)
        return -1;
    if (held > 0)
        return busy(fd, err);
    if (ftruncate(fd, 0) < 0)
        return vb_fail_errno(err, errno, "cannot write the lock file");
    /* The text only tells people who holds it: a full disk must not stop what may be about to free space. */
    if (pwrite(fd, holder, strnlen(holder, LOCK_TEXT_MAX), 0) < 0 && errno != ENOSPC)
        return vb_fail_errno(err, errno, "cannot write the lock file");
    dir_sweep(b); /* the lock is of few: others may be writing */
    d->lock_fd = VB_STEAL_FD(fd);
    return 0;
}

static void dir_unlock(struct vb_backend *b)
{
    struct dir *d = self(b);
    if (d->lock_fd >= 0 && ftruncate(d->lock_fd, 0) < 0)
        errno = 0; /* the text stays; nobody reads it while the lock is free */
    vb_close_fd(&d->lock_fd);
}

static void dir_close(struct vb_backend *b)
{
    struct dir *d = self(b);
    forget_open(d, NULL);
    vb_close_fd(&d->root);
    vb_strv_clear(&d->unsynced);
    free(d->b.location);
    free(d);
}

static const struct vb_backend_ops dir_ops = {
    .kind = "directory",
    .read = dir_read,
    .write = dir_write,
    .list = dir_list,
    .remove = dir_remove,
    .size = dir_size,
    .barrier = dir_barrier,
    .lock = dir_lock,
    .unlock = dir_unlock,
    .close = dir_close,
    .sweep = dir_sweep,
};

/* ---- opening ---- */

/* What a new repository may find: nothing, or what an init that was interrupted has left. */
int vb_backend_fresh_name(const char *path, const char *name, struct vb_error *err)
{
    static const char *const known[] = { ".", "..", "lost+found", "tmp", "lock", "keys", "packs", "index", "catalog", "forgotten",
                                        "condemned", "probe", "broken", "ledger", "state", "leases", "holds", "normal",
                                        "received" };
    for (size_t i = 0; i < VB_COUNT(known); i++)
        if (strcmp(name, known[i]) == 0)
            return 0;
    if (strcmp(name, "config") == 0) {
        vb_fail(err, VB_E_EXISTS, "'%s': is a repository already", path);
        vb_hint(err, "use it as it is, or name another directory");
    } else {
        vb_fail(err, VB_E_EXISTS, "'%s': directory is not empty", path);
        vb_hint(err, "name a new or empty directory for the repository");
    }
    return -1;
}

static int check_fresh(int root, const char *path, struct vb_error *err)
{
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *h = fd >= 0 ? fdopendir(fd) : NULL;
    if (!h) {
        vb_close_fd(&fd);
        return vb_fail_errno(err, errno, "'%s': cannot list", path);
    }
    const struct dirent *e;
    while ((e = readdir(h)) != NULL)
        if (vb_backend_fresh_name(path, e->d_name, err) < 0)
            return -1;
    return 0;
}

struct vb_backend *vb_backend_dir_open(const char *path, bool create, struct vb_error *err)
{
    if (create && mkdir(path, 0700) < 0 && errno != EEXIST) {
        bool parent = errno == ENOENT;
        vb_fail_errno(err, errno, "'%s': cannot make the directory", path);
        if (parent)
            vb_hint(err, "make the directory above it first, or mount what should be there");
        return NULL;
    }
    VB_AUTO_FD int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        bool missing = errno == ENOENT;
        vb_fail_errno(err, errno, "'%s': cannot open the repository", path);
        if (missing)
            vb_hint(err, "check the path, or make a repository there with: vbackup init --repo %s", path);
        return NULL;
    }
    if (create && check_fresh(root, path, err) < 0)
        return NULL;
    struct dir *d = vb_alloc(sizeof *d);
    d->b.ops = &dir_ops;
    d->b.location = vb_strdup(path);
    d->root = VB_STEAL_FD(root);
    d->lock_fd = -1;
    return &d->b;
}
