/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/safe_open.c - opening places in trees that other users may change at the same time.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/safe_open.h"
#include "base/beneath.h"
#include "base/mem.h"
#include "base/text.h"

#define MAX_LINKS 40u
#define MAX_LINK_TARGET 65536u

int vb_open_beneath(int dirfd, const char *name, int flags, mode_t mode)
{
    if (!name[0] || strchr(name, '/') || !strcmp(name, "..") || !strcmp(name, ".")) {
        errno = EINVAL;
        return -1;
    }
    int fd = vb_beneath_open(dirfd, name, flags, mode, 1);
    if (fd < 0 && errno == ENOSYS) /* one name without following links is the same by itself */
        fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    return fd;
}

struct way {
    int at;           /* O_PATH of where we are */
    char *rest;       /* what is left of the path */
    unsigned links;
    bool made;
    bool inside;      /* of the base: no way out any more */
    bool more;        /* what is walked now is not the end of the path */
};

static void way_clear(struct way *w)
{
    vb_close_fd(&w->at);
    vb_free_ptr(&w->rest);
}

/* Takes the next element off the path; NULL at the end. */
static char *next_element(struct way *w)
{
    size_t skip = strspn(w->rest, "/");
    size_t len = strcspn(w->rest + skip, "/");
    if (!len)
        return NULL;
    char *element = vb_strndup(w->rest + skip, len);
    char *rest = vb_strdup(w->rest + skip + len);
    vb_free_ptr(&w->rest);
    w->rest = rest;
    return element;
}

static bool is_last(const struct way *w)
{
    return w->rest[strspn(w->rest, "/")] == 0;
}

static int follow(struct way *w, int link, const struct stat *st, const char *element, struct vb_error *err)
{
    VB_AUTO_FREE char *target = vb_alloc(MAX_LINK_TARGET + 1);
    ssize_t n;
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        vb_fail(err, VB_E_GUARD, "'%s' is a symbolic link of another user (%u)", element, (unsigned)st->st_uid);
        vb_hint(err, "Name the place without symbolic links.");
        return -1;
    }
    if (++w->links > MAX_LINKS)
        return vb_fail(err, VB_E_IO, "too many symbolic links");
    n = readlinkat(link, "", target, MAX_LINK_TARGET);
    if (n <= 0)
        return vb_fail_errno(err, n < 0 ? errno : EINVAL, "symbolic link '%s' cannot be read", element);
    char *rest = vb_printf("%s/%s", target, w->rest);
    vb_free_ptr(&w->rest);
    w->rest = rest;
    if (target[0] != '/')
        return 0;
    vb_close_fd(&w->at);
    w->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return w->at < 0 ? vb_fail_errno(err, errno, "'/' cannot be opened") : 0;
}

static int step(struct way *w, const char *element, bool create, struct vb_error *err)
{
    struct stat st;
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    VB_AUTO_FD int fd = openat(w->at, element, flags);
    w->made = false;
    if (w->inside && !strcmp(element, ".."))
        return vb_fail(err, VB_E_GUARD, "'..' would lead out of the place to restore to");
    if (fd < 0 && errno == ENOENT && create) {
        if (mkdirat(w->at, element, is_last(w) && !w->more ? 0700 : 0755) == 0)
            w->made = true;
        else if (errno != EEXIST)
            return vb_fail_errno(err, errno, "directory '%s' cannot be made", element);
        fd = openat(w->at, element, flags);
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be opened", element);
    if (S_ISLNK(st.st_mode) && w->inside) {
        vb_fail(err, VB_E_GUARD, "'%s' is a symbolic link, which may lead out of the place to restore to", element);
        vb_hint(err, "Restore this part alone, to another directory.");
        return -1;
    }
    if (S_ISLNK(st.st_mode))
        return follow(w, fd, &st, element, err);
    if (!S_ISDIR(st.st_mode))
        return vb_fail(err, VB_E_GUARD, "'%s' is in the way: it is not a directory", element);
    if (w->made && st.st_uid != geteuid())
        return vb_fail(err, VB_E_GUARD, "directory '%s' was replaced while it was made", element);
    vb_close_fd(&w->at);
    w->at = VB_STEAL_FD(fd);
    return 0;
}

static int walk(struct way *w, const char *path, bool create, int *nearest, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    for (;;) {
        VB_AUTO_FREE char *element = next_element(w);
        if (!element)
            return 0;
        if (step(w, element, create, &why) < 0) {
            if (why.code == VB_E_NOT_FOUND && nearest)
                *nearest = VB_STEAL_FD(w->at);
            vb_context(&why, "'%s'", path);
            return vb_error_move(err, &why);
        }
    }
}

int vb_safe_open_inside(const char *base, const char *path, bool create, bool *made, int *nearest, struct vb_error *err)
{
    size_t skip = base ? strlen(base) : 0;
    if (path[0] != '/')
        return vb_fail(err, VB_E_USAGE, "'%s' is not an absolute path", path);
    if (base && !vb_path_below(path, base))
        return vb_fail(err, VB_E_GUARD, "'%s' is not inside '%s'", path, base);
    VB_CLEANUP(way_clear) struct way w = { .at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
                                           .rest = base ? vb_strdup(base) : vb_strdup(path) };
    if (base) {
        w.more = path[skip + strspn(path + skip, "/")] != 0;
        if (walk(&w, path, create, nearest, err) < 0)
            return -1;
        vb_free_ptr(&w.rest);
        w.rest = vb_strdup(path + skip);
        w.inside = true;
        w.more = false;
    }
    if (walk(&w, path, create, nearest, err) < 0)
        return -1;
    int fd = openat(w.at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be opened", path);
    if (made)
        *made = w.made;
    return fd;
}

int vb_safe_open_dir(const char *path, bool create, bool *made, int *nearest, struct vb_error *err)
{
    return vb_safe_open_inside(NULL, path, create, made, nearest, err);
}
