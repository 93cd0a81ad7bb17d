/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/watch.c - one inotify watch for each directory. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "replica/watch.h"

#define EVENTS (IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF)
#define DEPTH_MAX 4000u

struct vb_tree_watch {
    int fd;
    char **dirs; /* by watch descriptor: path, "" the root */
    size_t n;
    bool lost;   /* something was not watched */
};

static void remember(struct vb_tree_watch *w, int wd, const char *path)
{
    size_t at = (size_t)wd;
    if (at >= w->n) {
        size_t n = at < 64 ? 64 : at * 2;
        w->dirs = vb_realloc_n(w->dirs, n, sizeof *w->dirs);
        memset(w->dirs + w->n, 0, (n - w->n) * sizeof *w->dirs);
        w->n = n;
    }
    free(w->dirs[at]);
    w->dirs[at] = vb_strdup(path);
}

/* Watched before it is read: what is made meanwhile shows in one or the other. */
static int add(struct vb_tree_watch *w, struct vb_place *p, int fd, const char *path, unsigned depth, struct vb_error *err)
{
    VB_AUTO_FREE char *proc = vb_printf("/proc/self/fd/%d", fd);
    int wd = inotify_add_watch(w->fd, proc, EVENTS | IN_ONLYDIR), result = 0;
    if (wd < 0 && errno == ENOSPC) {
        vb_fail(err, VB_E_LIMIT, "'%s' has more directories than one user may watch", p->scope.root);
        vb_hint(err, "raise fs.inotify.max_user_watches (sysctl); until then changes are found once an interval");
        return -1;
    }
    if (wd < 0)
        return vb_fail_errno(err, errno, "'%s/%s' cannot be watched", p->scope.root, path);
    remember(w, wd, path);
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = again < 0 ? NULL : fdopendir(again);
    if (!d) {
        vb_close_fd(&again);
        return vb_fail_errno(err, errno, "'%s/%s' cannot be read", p->scope.root, path);
    }
    for (const struct dirent *e; result == 0 && (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
            continue;
        VB_AUTO_FREE char *at = *path ? vb_printf("%s/%s", path, e->d_name) : vb_strdup(e->d_name);
        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 || !S_ISDIR(st.st_mode) || !vb_place_takes(p, at, true))
            continue;
        VB_AUTO_FD int sub = depth < DEPTH_MAX ? vb_beneath_open(fd, e->d_name, O_RDONLY | O_DIRECTORY, 0, 0) : -1;
        if (sub >= 0)
            result = add(w, p, sub, at, depth + 1, err);
        else
            w->lost = true; /* unreadable, gone, or a mount: the scan says what it is */
    }
    return result;
}

int vb_tree_watch_open(struct vb_place *p, struct vb_tree_watch **out, struct vb_error *err)
{
    struct vb_tree_watch *w = vb_alloc(sizeof *w);
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    int result = w->fd < 0 ? vb_fail_errno(err, errno, "changes cannot be watched") : add(w, p, p->root, "", 0, err);
    if (result < 0) {
        vb_tree_watch_close(w);
        return -1;
    }
    *out = w;
    return 0;
}

void vb_tree_watch_close(struct vb_tree_watch *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++)
        free(w->dirs[i]);
    free(w->dirs);
    vb_close_fd(&w->fd);
    free(w);
}

int vb_tree_watch_fd(const struct vb_tree_watch *w)
{
    return w->fd;
}

static bool is_ours(const char *dir, const char *name)
{
    return !*dir && !strcmp(name, VB_PLACE_DIR);
}

static void take(struct vb_tree_watch *w, const struct inotify_event *e, struct vb_strv *paths, bool *all, bool *stale)
{
    const char *dir = e->wd >= 0 && (size_t)e->wd < w->n ? w->dirs[e->wd] : NULL;
    if (e->mask & IN_Q_OVERFLOW) { /* the watches stand, what happened is not known (T57) */
        *all = *stale = true;
        return;
    }
    if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) {
        *all = *stale = true;
        return;
    }
    if ((e->mask & IN_IGNORED) || !dir || !e->len || is_ours(dir, e->name))
        return;
    if ((e->mask & IN_ISDIR) && (e->mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO))) {
        *all = *stale = true;
        return;
    }
    VB_AUTO_FREE char *path = *dir ? vb_printf("%s/%s", dir, e->name) : vb_strdup(e->name);
    if (!paths->n || strcmp(paths->v[paths->n - 1], path) != 0)
        vb_strv_take(paths, VB_STEAL(path));
}

int vb_tree_watch_read(struct vb_tree_watch *w, struct vb_strv *paths, bool *all, bool *stale, struct vb_error *err)
{
    _Alignas(struct inotify_event) char b[65536];
    for (;;) {
        ssize_t n = read(w->fd, b, sizeof b);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return vb_fail_errno(err, errno, "changes cannot be read");
        if (n <= 0)
            return 0;
        for (const char *at = b; at < b + n;) {
            const struct inotify_event *e = (const void *)at;
            take(w, e, paths, all, stale);
            at += sizeof *e + e->len;
        }
    }
}
