/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/tree.c - copying trees by cloning or reading their files.
 *
 * Directories are walked with one descriptor each for the original and the copy; a directory's times and flags are set
 * after its entries.  Flags that keep a file from being changed come last, and are taken off before it is removed.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "providers/support/tree.h"

#define MAX_DEPTH 4000u /* two descriptors per level */
#define MAX_XATTR 65536u
#define XFS_ACL "trusted.SGI_ACL_" /* what xfs makes of an ACL, beside the ACL itself */
#define COPY_STEP ((size_t)1 << 20)
/* What a user or root may set on a file and capture records. */
#define CARRIED_FLAGS                                                                                             \
    ((unsigned)(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL | \
                FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_TOPDIR_FL))
#define MORE_FILES "Raise the limit of open files of vbackup-agent, or use a file system with snapshots."
#define USE_SNAPSHOTS "Use a provider with snapshots for this volume, or leave it out."

struct walk {
    struct vb_ps_tree *t;
    const struct vb_ps *s;
    dev_t dev;
    bool root, measure;
    char *path; /* of the entry at hand: one buffer, cut back on the way up */
    size_t len, cap;
};

static int bad(const struct walk *w, const char *what)
{
    bool files = errno == EMFILE || errno == ENFILE;
    return vb_ps_fail_errno(w->s, errno, files ? MORE_FILES : USE_SNAPSHOTS, "'%s': %s", w->path, what);
}

static size_t push(struct walk *w, const char *name)
{
    size_t was = w->len, n = strlen(name);
    if (w->len + n + 2 > w->cap) {
        w->cap = (w->len + n + 2) * 2;
        char *bigger = vb_ps_alloc(w->cap);
        memcpy(bigger, w->path, w->len);
        free(w->path);
        w->path = bigger;
    }
    if (w->len && w->path[w->len - 1] != '/')
        w->path[w->len++] = '/';
    memcpy(w->path + w->len, name, n + 1);
    w->len += n;
    return was;
}

static void pop(struct walk *w, size_t was)
{
    w->len = was;
    w->path[was] = 0;
}

/* Reading must not change the access time of the original, least of all on a frozen file system; only the owner of a
 * file may ask for that. */
static int open_original(int dir, const char *name, int flags)
{
    flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(dir, name, flags | O_NOATIME);
    return fd < 0 && errno == EPERM ? openat(dir, name, flags) : fd;
}

/* ---- metadata ---- */

/* What an ordinary user may not set belongs to files that he cannot restore either. */
static bool not_ours_to_set(const struct walk *w)
{
    return !w->root && (errno == EPERM || errno == EACCES);
}

/* Through the directory's descriptor and the name, which serves every kind of file alike. */
static char *proc_path(int dir, const char *name)
{
    return vb_ps_printf("/proc/self/fd/%d/%s", dir, name);
}

static int copy_one_xattr(const struct walk *w, const char *from, const char *to, const char *name, char *value)
{
    ssize_t n = lgetxattr(from, name, value, MAX_XATTR);
    if (n < 0)
        return errno == ENODATA ? 0 : bad(w, "an extended attribute cannot be read");
    if (lsetxattr(to, name, value, (size_t)n, 0) < 0 && !not_ours_to_set(w))
        return vb_ps_fail_errno(w->s, errno, "Set 'place' to a directory on a file system that keeps it.",
                                "'%s': extended attribute '%s' of its copy cannot be set", w->path, name);
    return 0;
}

static int copy_xattrs(const struct walk *w, int from_dir, int to_dir, const char *name)
{
    char *from = proc_path(from_dir, name);
    ssize_t n = llistxattr(from, NULL, 0);
    int rc = 0;
    if (n > 0) {
        char *to = proc_path(to_dir, name), *names = vb_ps_alloc(MAX_XATTR + 1), *value = vb_ps_alloc(MAX_XATTR);
        n = llistxattr(from, names, MAX_XATTR);
        for (ssize_t at = 0; at < n && rc == 0; at += (ssize_t)strlen(names + at) + 1)
            if (strncmp(names + at, XFS_ACL, strlen(XFS_ACL)) != 0)
                rc = copy_one_xattr(w, from, to, names + at, value);
        free(value);
        free(names);
        free(to);
    }
    if (n < 0 && errno != ENOTSUP)
        rc = bad(w, "extended attributes cannot be listed");
    free(from);
    return rc;
}

/* Flags that the other file system does not know are lost there only if they do not matter to the content. */
static int carry_flags(const struct walk *w, int to, unsigned flags)
{
    unsigned now = 0, want;
    if (ioctl(to, FS_IOC_GETFLAGS, &now) < 0)
        return flags & VB_PS_LOCKING_FLAGS ? bad(w, "flags of its copy cannot be set") : 0;
    want = (now & ~CARRIED_FLAGS) | (flags & CARRIED_FLAGS) | (now & (unsigned)FS_NOCOW_FL);
    if (want == now || ioctl(to, FS_IOC_SETFLAGS, &want) == 0 || not_ours_to_set(w) ||
        !((want ^ now) & (VB_PS_LOCKING_FLAGS | (unsigned)FS_NODUMP_FL)))
        return 0;
    return bad(w, "flags of its copy cannot be set");
}

/* The project of xfs's and ext4's quotas, and whether a directory hands it on. */
static int carry_project(const struct walk *w, int from, int to)
{
    struct fsxattr original, copy;
    if (ioctl(from, FS_IOC_FSGETXATTR, &original) < 0 || ioctl(to, FS_IOC_FSGETXATTR, &copy) < 0)
        return 0;
    unsigned inherit = original.fsx_xflags & (unsigned)FS_XFLAG_PROJINHERIT;
    if (copy.fsx_projid == original.fsx_projid && (copy.fsx_xflags & (unsigned)FS_XFLAG_PROJINHERIT) == inherit)
        return 0;
    copy.fsx_projid = original.fsx_projid;
    copy.fsx_xflags = (copy.fsx_xflags & ~(unsigned)FS_XFLAG_PROJINHERIT) | inherit;
    return ioctl(to, FS_IOC_FSSETXATTR, &copy) == 0 || not_ours_to_set(w) ? 0 : bad(w, "project of its copy cannot be set");
}

/* Of a file or directory that is open on both sides; the last step, since it may lock the copy. */
static int copy_meta(const struct walk *w, int from_dir, int to_dir, const char *name, int from, int to,
                     const struct stat *st)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
    unsigned flags = 0;
    if (w->root && fchown(to, st->st_uid, st->st_gid) < 0)
        return bad(w, "owner of its copy cannot be set");
    if (copy_xattrs(w, from_dir, to_dir, name) < 0)
        return -1;
    if (fchmod(to, st->st_mode & 07777) < 0)
        return bad(w, "mode of its copy cannot be set");
    if (carry_project(w, from, to) < 0)
        return -1;
    if (futimens(to, t) < 0)
        return bad(w, "time of its copy cannot be set");
    return ioctl(from, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & CARRIED_FLAGS) ? 0 : carry_flags(w, to, flags);
}

/* Of a link or special file, which is not opened. */
static int copy_name_meta(const struct walk *w, int from_dir, int to_dir, const char *name, const struct stat *st)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
    if ((w->root && fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0) ||
        (!S_ISLNK(st->st_mode) && fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0))
        return bad(w, "metadata of its copy cannot be set");
    if (copy_xattrs(w, from_dir, to_dir, name) < 0)
        return -1;
    return utimensat(to_dir, name, t, AT_SYMLINK_NOFOLLOW) < 0 ? bad(w, "time of its copy cannot be set") : 0;
}

/* ---- hard links ---- */

struct link {
    dev_t dev;
    ino_t ino;
    char *path; /* of the copy, below the stage */
    size_t original; /* its record, if they are recorded */
};

static int compare(const void *a, const void *b)
{
    const struct link *x = a, *y = b;
    return x->ino != y->ino ? (x->ino < y->ino ? -1 : 1) : x->dev != y->dev ? (x->dev < y->dev ? -1 : 1) : 0;
}

static void free_link(void *p)
{
    free(((struct link *)p)->path);
    free(p);
}

void vb_ps_tree_clear(struct vb_ps_tree *t)
{
    tdestroy(t->links, free_link);
    t->links = NULL;
}

/* The copy is immutable or append-only already, as its original is: it gets another name with that flag off. */
static int link_locked(const struct walk *w, const char *path, int to_dir, const char *name)
{
    unsigned flags = 0, open_flags = 0;
    int fd = openat(w->t->stage, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc = -1;
    if (fd < 0)
        return -1;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & VB_PS_LOCKING_FLAGS)) {
        open_flags = flags & ~VB_PS_LOCKING_FLAGS;
        if (ioctl(fd, FS_IOC_SETFLAGS, &open_flags) == 0) {
            rc = linkat(w->t->stage, path, to_dir, name, 0);
            if (ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0)
                rc = -1;
        }
    }
    close(fd);
    return rc;
}

/* The copy has one name more, and with it another time. */
static int note_again(const struct walk *w, const struct link *l, int to_dir, const char *name)
{
    struct stat copy;
    if (w->measure || !w->t->originals)
        return 1;
    if (fstatat(to_dir, name, &copy, AT_SYMLINK_NOFOLLOW) < 0)
        return bad(w, "its copy cannot be examined");
    vb_ps_originals_again(w->t->originals, l->original, &copy);
    return 1;
}

/* Records what the original looked like; fd, to: open, or -1. */
static int note(struct walk *w, const struct stat *st, int fd, int to, int to_dir, const char *name)
{
    struct stat copy;
    if (!w->t->originals)
        return 0;
    if ((to >= 0 ? fstat(to, &copy) : fstatat(to_dir, name, &copy, AT_SYMLINK_NOFOLLOW)) < 0)
        return bad(w, "its copy cannot be examined");
    size_t i = vb_ps_originals_add(w->t->originals, st, fd, &copy);
    const struct link key = { .dev = st->st_dev, .ino = st->st_ino };
    struct link **l = st->st_nlink > 1 && !S_ISDIR(st->st_mode) ? tfind(&key, &w->t->links, compare) : NULL;
    if (l)
        (*l)->original = i;
    return 0;
}

/* 1: another name of what was copied before, 0: the first one, -1. */
static int link_again(struct walk *w, const struct stat *st, int to_dir, const char *name)
{
    struct link *l, **found;
    if (st->st_nlink < 2)
        return 0;
    l = vb_ps_alloc(sizeof *l);
    *l = (struct link){ .dev = st->st_dev, .ino = st->st_ino };
    found = tsearch(l, &w->t->links, compare);
    if (!found || *found == l) {
        l->path = vb_ps_strdup(w->path + strspn(w->path, "/"));
        return 0;
    }
    free(l);
    if (w->measure || linkat(w->t->stage, (*found)->path, to_dir, name, 0) == 0 ||
        (errno == EPERM && link_locked(w, (*found)->path, to_dir, name) == 0))
        return note_again(w, *found, to_dir, name);
    return bad(w, "its copy cannot be linked");
}

/* ---- entries ---- */

static int count(struct walk *w, uint64_t bytes)
{
    struct vb_ps_tree *t = w->t;
    t->files++;
    t->bytes += bytes;
    bool files = t->max_files && t->files > t->max_files;
    t->over = files || (t->max_bytes && t->bytes > t->max_bytes);
    if (t->over && w->measure)
        return -1;
    if (t->over)
        return vb_ps_fail(w->s, VB_E_LIMIT,
                          "Raise 'max-files' or 'max-bytes', name fewer files, or use a provider with snapshots.",
                          "'%s': more than %llu %s would have to be copied", w->path,
                          (unsigned long long)(files ? t->max_files : t->max_bytes), files ? "files" : "bytes");
    if (w->s->svc->deadline_ms(w->s->host) == 0)
        return vb_ps_fail(w->s, VB_E_TIMEOUT, "Name fewer files, or use a provider with snapshots.",
                          "'%s': the time for copying is over", w->path);
    return 0;
}

/* One range of data; what lies beyond the size that was counted came later. */
static int copy_range(const struct walk *w, int from, int to, off_t at, off_t end, char *buf)
{
    while (at < end) {
        size_t want = (size_t)(end - at) < COPY_STEP ? (size_t)(end - at) : COPY_STEP;
        ssize_t n = pread(from, buf, want, at);
        if (n < 0)
            return bad(w, "cannot be read");
        if (n == 0)
            return 0;
        for (ssize_t done = 0, k; done < n; done += k)
            if ((k = pwrite(to, buf + done, (size_t)(n - done), at + done)) <= 0)
                return bad(w, "its copy cannot be written");
        at += n;
    }
    return 0;
}

/* Holes are trusted: the file system was flushed and is frozen. */
static int copy_data(const struct walk *w, int from, int to, off_t size)
{
    char *buf = vb_ps_alloc(COPY_STEP);
    int rc = 0;
    for (off_t at = 0; at < size && rc == 0;) {
        off_t data = lseek(from, at, SEEK_DATA), hole;
        if (data < 0 && errno == ENXIO)
            break; /* nothing but a hole is left */
        data = data < 0 ? at : data;
        hole = lseek(from, data, SEEK_HOLE);
        hole = hole < 0 || hole > size ? size : hole;
        rc = copy_range(w, from, to, data, hole, buf);
        at = hole;
    }
    free(buf);
    return rc == 0 && ftruncate(to, size) < 0 ? bad(w, "size of its copy cannot be set") : rc;
}

static int copy_content(const struct walk *w, int from, int to, const struct stat *st)
{
    unsigned flags = 0;
    if (!w->t->clone)
        return copy_data(w, from, to, st->st_size);
    /* a file without copy-on-write clones only into another such file */
    if (ioctl(from, FS_IOC_GETFLAGS, &flags) == 0 && (flags & (unsigned)FS_NOCOW_FL)) {
        flags &= (unsigned)FS_NOCOW_FL;
        ioctl(to, FS_IOC_SETFLAGS, &flags);
    }
    return st->st_size && ioctl(to, FICLONE, from) < 0 ? bad(w, "cannot be cloned") : 0;
}

static int copy_file(struct walk *w, int from_dir, int to_dir, const char *name)
{
    struct stat st;
    int rc = -1, to = -1, from = open_original(from_dir, name, 0);
    if (from < 0)
        return errno == ENOENT ? 0 : bad(w, "cannot be opened");
    if (fstat(from, &st) < 0)
        rc = bad(w, "cannot be examined");
    else if ((to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
        rc = bad(w, "its copy cannot be made");
    else if (copy_content(w, from, to, &st) == 0 && copy_meta(w, from_dir, to_dir, name, from, to, &st) == 0)
        rc = note(w, &st, from, to, to_dir, name);
    close(from);
    if (to >= 0)
        close(to);
    return rc;
}

static int copy_symlink(struct walk *w, int from_dir, int to_dir, const char *name, const struct stat *st)
{
    size_t size = (size_t)st->st_size + 65536;
    char *target = vb_ps_alloc(size + 1);
    ssize_t n = readlinkat(from_dir, name, target, size);
    int rc = 0;
    if (n < 0 && errno != ENOENT)
        rc = bad(w, "symbolic link cannot be read");
    else if (n >= 0 && symlinkat(target, to_dir, name) < 0)
        rc = bad(w, "its copy cannot be made");
    else if (n >= 0 && (rc = copy_name_meta(w, from_dir, to_dir, name, st)) == 0)
        rc = note(w, st, -1, -1, to_dir, name);
    free(target);
    return rc;
}

static int copy_special(struct walk *w, int from_dir, int to_dir, const char *name, const struct stat *st)
{
    if (mknodat(to_dir, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) < 0)
        return bad(w, "its copy cannot be made");
    return copy_name_meta(w, from_dir, to_dir, name, st) < 0 ? -1 : note(w, st, -1, -1, to_dir, name);
}

static int walk_dir(struct walk *w, int from_dir, int to_dir, const char *name, unsigned depth);

/* The entry `name`, whose path is in w->path. */
static int walk_entry(struct walk *w, int from_dir, int to_dir, const char *name, unsigned depth)
{
    struct stat st;
    if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return errno == ENOENT ? 0 : bad(w, "cannot be examined");
    if (S_ISDIR(st.st_mode))
        return walk_dir(w, from_dir, to_dir, name, depth);
    int again = link_again(w, &st, to_dir, name);
    if (again != 0)
        return again < 0 ? -1 : 0;
    if (count(w, S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0) < 0)
        return -1;
    if (w->measure)
        return 0;
    if (S_ISREG(st.st_mode))
        return copy_file(w, from_dir, to_dir, name);
    if (S_ISLNK(st.st_mode))
        return copy_symlink(w, from_dir, to_dir, name, &st);
    return copy_special(w, from_dir, to_dir, name, &st);
}

static int walk_children(struct walk *w, DIR *d, int to, unsigned depth)
{
    for (const struct dirent *e; (errno = 0, e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        size_t was = push(w, e->d_name);
        int rc = walk_entry(w, dirfd(d), to, e->d_name, depth + 1);
        pop(w, was);
        if (rc < 0)
            return -1;
    }
    return errno ? bad(w, "directory cannot be read") : 0;
}

static bool is_place(const char *name, int fd)
{
    char mark[8];
    return !strcmp(name, VB_PLACE) && fgetxattr(fd, VB_PLACE_MARK, mark, sizeof mark) >= 0;
}

static int open_copy(const struct walk *w, int to_dir, const char *name)
{
    int to = -1;
    if (mkdirat(to_dir, name, 0700) == 0 || errno == EEXIST)
        to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return to < 0 ? bad(w, "its copy cannot be made") : to;
}

static int walk_dir(struct walk *w, int from_dir, int to_dir, const char *name, unsigned depth)
{
    struct stat st;
    int rc = -1, to = -1;
    if (depth > MAX_DEPTH)
        return vb_ps_fail(w->s, VB_E_LIMIT, USE_SNAPSHOTS, "'%s': more than %u directories inside each other", w->path,
                          MAX_DEPTH);
    int from = open_original(from_dir, name, O_DIRECTORY);
    if (from < 0)
        return errno == ENOENT ? 0 : bad(w, "directory cannot be opened");
    if (is_place(name, from)) { /* our own shadow copies are no data */
        close(from);
        return 0;
    }
    DIR *d = fdopendir(from);
    if (!d) {
        bad(w, "directory cannot be read");
        close(from);
        return -1;
    }
    if (fstat(from, &st) < 0)
        rc = bad(w, "directory cannot be examined");
    else if (count(w, 0) == 0 && (w->measure || (to = open_copy(w, to_dir, name)) >= 0))
        rc = st.st_dev != w->dev ? 0 : walk_children(w, d, to, depth); /* another file system begins here */
    if (rc == 0 && !w->measure)
        rc = copy_meta(w, from_dir, to_dir, name, from, to, &st) < 0 ? -1 : note(w, &st, from, to, to_dir, name);
    closedir(d);
    if (to >= 0)
        close(to);
    return rc;
}

/* Makes the directories above `path` in the stage; *base is its last element, "." for the root.  Returns the
 * descriptor of the innermost. */
static int make_parents(const struct walk *w, const char *path, const char **base)
{
    int at = w->measure ? -1 : dup(w->t->stage);
    for (;;) {
        path += strspn(path, "/");
        const char *slash = strchr(path, '/');
        if (!slash) {
            *base = *path ? path : ".";
            return at;
        }
        if (at >= 0) {
            char *name = vb_ps_printf("%.*s", (int)(slash - path), path);
            int next = -1;
            if (mkdirat(at, name, 0700) == 0 || errno == EEXIST)
                next = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            free(name);
            close(at);
            at = next;
        }
        path = slash;
    }
}

static int walk_tree(struct vb_ps_tree *t, const char *path, bool measure)
{
    struct walk w = { .t = t, .s = t->s, .root = geteuid() == 0, .measure = measure };
    struct stat st;
    const char *base = NULL;
    int rc = -1;
    vb_ps_tree_more_descriptors();
    push(&w, path);
    if (lstat(path, &st) < 0) {
        rc = errno == ENOENT ? 0 : bad(&w, "cannot be examined"); /* what is missing, the capture will name */
        free(w.path);
        return rc;
    }
    w.dev = st.st_dev;
    char *up = vb_ps_strdup(path), *slash = strrchr(up, '/');
    slash[slash == up ? 1 : 0] = 0;
    int from = open(up, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int to = make_parents(&w, path, &base);
    if (from < 0)
        bad(&w, "the directory above it cannot be opened");
    else if (to < 0 && !measure)
        bad(&w, "its place in the shadow copy cannot be made");
    else
        rc = walk_entry(&w, from, to, base, 0);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    free(up);
    free(w.path);
    return rc;
}

int vb_ps_tree_copy(struct vb_ps_tree *t, const char *path)
{
    return walk_tree(t, path, false);
}

int vb_ps_tree_measure(struct vb_ps_tree *t, const char *path)
{
    return walk_tree(t, path, true);
}

/* ---- lists ---- */

char *vb_ps_tree_join(const struct vb_ps *s, const struct vb_provider_volume *vol)
{
    size_t n = 1;
    if (!vol->n_trees) {
        vb_ps_fail(s, VB_E_USAGE, "Name the files that are to be copied.", "no tree of volume '%s' was named",
                   vol->mount_point);
        return NULL;
    }
    for (size_t i = 0; i < vol->n_trees; i++) {
        if (strchr(vol->trees[i], '\n')) {
            vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Use another provider for it.", "tree '%s' has a line break in its name",
                       vol->trees[i]);
            return NULL;
        }
        n += strlen(vol->trees[i]) + 1;
    }
    char *all = vb_ps_alloc(n), *at = all;
    for (size_t i = 0; i < vol->n_trees; i++) {
        size_t len = strlen(vol->trees[i]);
        memcpy(at, vol->trees[i], len);
        at += len;
        *at++ = i + 1 < vol->n_trees ? '\n' : 0;
    }
    return all;
}

int vb_ps_tree_copy_list(struct vb_ps_tree *t, const char *list)
{
    char *trees = vb_ps_strdup(list), *rest = trees;
    int rc = 0;
    for (char *tree; rc == 0 && (tree = strsep(&rest, "\n"));)
        rc = vb_ps_tree_copy(t, tree);
    free(trees);
    return rc;
}
