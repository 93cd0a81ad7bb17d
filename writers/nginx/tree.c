/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* writers/nginx/tree.c - directories read and written. */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "writers/nginx/tree.h"

void ngx_tree_clear(struct ngx_tree *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->v[i].path);
        free(t->v[i].data);
    }
    free(t->v);
    *t = (struct ngx_tree){ .v = NULL };
}

static bool is_local(const struct vbw_list *local, const char *path)
{
    for (size_t i = 0; i < local->n; i++)
        if (fnmatch(local->v[i], path, 0) == 0 || fnmatch(local->v[i], vbw_basename(path), 0) == 0)
            return true;
    return false;
}

/* ---- read ---- */

static struct ngx_entry *add(struct ngx_tree *t, char type, unsigned root, const char *path)
{
    if (t->n >= t->cap) {
        t->cap = t->cap > 0 ? t->cap * 2 : 64;
        t->v = reallocarray(t->v, t->cap, sizeof *t->v);
        if (t->v == NULL)
            abort();
    }
    t->v[t->n] = (struct ngx_entry){ .type = type, .root = root, .path = vbw_strdup(path) };
    return &t->v[t->n++];
}

static int read_file(struct ngx_tree *t, struct ngx_entry *e, int dir, const char *name, const struct stat *st)
{
    size_t size = (size_t)st->st_size;

    if (st->st_size < 0 || size > NGX_MAX_BYTES - t->bytes) {
        errno = EFBIG;
        return -1;
    }
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    e->data = vbw_alloc(size + 1, 1);
    while (e->n < size) {
        ssize_t k = read(fd, e->data + e->n, size - e->n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break;
        e->n += (size_t)k;
    }
    int err = e->n < size ? EAGAIN : 0; /* it became shorter meanwhile */
    close(fd);
    t->bytes += e->n;
    errno = err;
    return err != 0 ? -1 : 0;
}

static int read_link(struct ngx_entry *e, int dir, const char *name)
{
    char target[4096];
    ssize_t k = readlinkat(dir, name, target, sizeof target);

    if (k <= 0 || (size_t)k >= sizeof target) {
        errno = k < 0 ? errno : ENAMETOOLONG;
        return -1;
    }
    e->data = vbw_alloc((size_t)k + 1, 1);
    memcpy(e->data, target, (size_t)k);
    e->n = (size_t)k;
    return 0;
}

static int names_of(int fd, struct vbw_list *names)
{
    DIR *d = fdopendir(fd);
    const struct dirent *e;

    if (d == NULL)
        return -1;
    while ((e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            vbw_list_take(names, vbw_strdup(e->d_name));
    closedir(d);
    vbw_list_sort(names);
    return 0;
}

static int read_dir(struct ngx_tree *t, unsigned number, int dir, const char *below, const struct vbw_list *local, char **where)
{
    struct vbw_list names = { NULL, 0, 0 };
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = copy < 0 ? -1 : names_of(copy, &names);

    for (size_t i = 0; i < names.n && rc == 0; i++) {
        const char *name = names.v[i];
        VBW_AUTO char *path = *below != '\0' ? vbw_printf("%s/%s", below, name) : vbw_strdup(name);
        struct stat st;
        if (is_local(local, path))
            continue;
        rc = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
        if (rc == 0 && S_ISREG(st.st_mode)) {
            struct ngx_entry *e = add(t, 'F', number, path);
            e->mode = st.st_mode & 0777;
            rc = read_file(t, e, dir, name, &st);
        } else if (rc == 0 && S_ISLNK(st.st_mode)) {
            rc = read_link(add(t, 'L', number, path), dir, name);
        } else if (rc == 0 && S_ISDIR(st.st_mode)) {
            add(t, 'D', number, path)->mode = st.st_mode & 0777;
            int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            rc = fd < 0 ? -1 : read_dir(t, number, fd, path, local, where);
            if (fd >= 0)
                close(fd);
        }
        if (rc != 0 && *where == NULL)
            *where = vbw_strdup(path);
    }
    int err = errno;
    vbw_list_clear(&names);
    errno = err;
    return rc;
}

int ngx_tree_read(struct ngx_tree *t, unsigned number, const char *root, const struct vbw_list *local, char **where)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *where = NULL;
    t->roots = number + 1 > t->roots ? number + 1 : t->roots;
    if (fd < 0 && errno == ENOENT)
        return 0;
    int rc = fd < 0 ? -1 : read_dir(t, number, fd, "", local, where), err = errno;
    if (fd >= 0)
        close(fd);
    if (rc != 0) {
        VBW_AUTO char *inner = *where;
        *where = inner != NULL ? vbw_join(root, inner) : vbw_strdup(root);
    }
    errno = err;
    return rc;
}

/* ---- write ---- */

static int write_file(int dir, const struct ngx_entry *e)
{
    int fd = openat(dir, e->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), rc = fd < 0 ? -1 : 0;
    size_t at = 0;

    while (rc == 0 && at < e->n) {
        ssize_t k = write(fd, e->data + at, e->n - at);
        if (k < 0 && errno != EINTR)
            rc = -1;
        at += k > 0 ? (size_t)k : 0;
    }
    if (rc == 0 && (fchmod(fd, e->mode) != 0 || fsync(fd) != 0))
        rc = -1;
    int err = errno;
    if (fd >= 0)
        close(fd);
    errno = err;
    return rc;
}

int ngx_tree_write(const struct ngx_tree *t, unsigned number, const char *dir, char **where)
{
    int rc = mkdir(dir, 0755), fd = -1;

    *where = NULL;
    if (rc == 0)
        rc = (fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0 ? -1 : 0;
    if (rc == 0)
        rc = fchmod(fd, 0755); /* whatever the umask made of it: the workers pass here */
    for (size_t i = 0; i < t->n && rc == 0; i++) {
        const struct ngx_entry *e = &t->v[i];
        if (e->root != number)
            continue;
        if (e->type == 'D')
            rc = mkdirat(fd, e->path, 0700) != 0 || fchmodat(fd, e->path, e->mode | 0700, 0) != 0 ? -1 : 0;
        else if (e->type == 'L')
            rc = symlinkat(e->data, fd, e->path);
        else
            rc = write_file(fd, e);
        if (rc != 0)
            *where = vbw_join(dir, e->path);
    }
    int err = errno;
    if (rc != 0 && *where == NULL)
        *where = vbw_strdup(dir);
    if (fd >= 0) {
        if (rc == 0 && fsync(fd) != 0) {
            rc = -1;
            err = errno;
        }
        close(fd);
    }
    errno = err;
    return rc;
}

static int copy_local(struct ngx_tree *t, int dir, const char *below, const struct vbw_list *local, char **where)
{
    static const struct vbw_list none = { NULL, 0, 0 };
    struct vbw_list names = { NULL, 0, 0 };
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = copy < 0 ? -1 : names_of(copy, &names);

    for (size_t i = 0; i < names.n && rc == 0; i++) {
        VBW_AUTO char *path = *below != '\0' ? vbw_printf("%s/%s", below, names.v[i]) : vbw_strdup(names.v[i]);
        bool own = is_local(local, path);
        struct stat st;
        rc = fstatat(dir, names.v[i], &st, AT_SYMLINK_NOFOLLOW);
        if (rc == 0 && S_ISDIR(st.st_mode)) {
            int fd = openat(dir, names.v[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (own)
                add(t, 'D', 0, path)->mode = st.st_mode & 0777;
            rc = fd < 0 ? -1 : own ? read_dir(t, 0, fd, path, &none, where) : copy_local(t, fd, path, local, where);
            if (fd >= 0)
                close(fd);
        } else if (rc == 0 && own && S_ISREG(st.st_mode)) {
            struct ngx_entry *e = add(t, 'F', 0, path);
            e->mode = st.st_mode & 0777;
            rc = read_file(t, e, dir, names.v[i], &st);
        } else if (rc == 0 && own && S_ISLNK(st.st_mode)) {
            rc = read_link(add(t, 'L', 0, path), dir, names.v[i]);
        }
        if (rc != 0 && *where == NULL)
            *where = vbw_strdup(path);
    }
    int err = errno;
    vbw_list_clear(&names);
    errno = err;
    return rc;
}

/* The directories above it, which the source may not have. */
static int make_above(int fd, const char *path)
{
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        VBW_AUTO char *dir = vbw_printf("%.*s", (int)(slash - path), path);
        if (mkdirat(fd, dir, 0755) == 0) {
            if (fchmodat(fd, dir, 0755, 0) != 0)
                return -1;
        } else if (errno != EEXIST) {
            return -1;
        }
    }
    return 0;
}

int ngx_copy_local(const char *from, const char *to, const struct vbw_list *local, char **where)
{
    struct ngx_tree t = { .v = NULL };
    int in = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), out = -1;

    *where = NULL;
    if (in < 0 && errno == ENOENT)
        return 0;
    int rc = in < 0 ? -1 : copy_local(&t, in, "", local, where);
    if (rc == 0)
        rc = (out = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ? -1 : 0;
    for (size_t i = 0; i < t.n && rc == 0; i++) {
        const struct ngx_entry *e = &t.v[i];
        rc = make_above(out, e->path);
        if (rc == 0 && e->type == 'D')
            rc = mkdirat(out, e->path, 0700) != 0 || fchmodat(out, e->path, e->mode | 0700, 0) != 0 ? -1 : 0;
        else if (rc == 0)
            rc = e->type == 'L' ? symlinkat(e->data, out, e->path) : write_file(out, e);
        if (rc != 0)
            *where = vbw_join(to, e->path);
    }
    int err = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    ngx_tree_clear(&t);
    errno = err;
    return rc;
}

static int remove_at(int dir, const char *name)
{
    struct vbw_list names = { NULL, 0, 0 };
    int fd;

    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3), rc = copy < 0 ? -1 : names_of(copy, &names);
    for (size_t i = 0; i < names.n && rc == 0; i++)
        rc = remove_at(fd, names.v[i]);
    vbw_list_clear(&names);
    if (fd >= 0)
        close(fd);
    return rc == 0 ? unlinkat(dir, name, AT_REMOVEDIR) : -1;
}

int ngx_remove(const char *path)
{
    return remove_at(AT_FDCWD, path);
}
