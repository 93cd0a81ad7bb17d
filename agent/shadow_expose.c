/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/shadow_expose.c - read-only bind mounts of shadow copies.
 *
 * The mount is made detached, turned read-only, and only then put in place: nobody ever sees it writable.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/shadow_expose.h"
#include "agent/shadow_store.h"
#include "agent/volumes.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"

static int is_mounted(const char *at, bool *yes, struct vb_error *err)
{
    struct vb_mounts m = { NULL, 0, 0 };
    VB_AUTO_FREE char *clean = vb_path_clean(at);
    if (vb_mounts_load(&m, err) < 0)
        return -1;
    *yes = false;
    for (size_t i = 0; i < m.n; i++)
        *yes = *yes || !strcmp(m.v[i].point, clean);
    vb_mounts_clear(&m);
    return 0;
}

static bool is_empty(int dirfd)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool empty = d != NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        empty = empty && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."));
    return empty;
}

int vb_expose(const char *from, const char *at, struct vb_error *err)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
    bool mounted;
    VB_AUTO_FD int place = open(at, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0)
        return vb_fail_errno(err, errno, "directory '%s' to expose a shadow copy at cannot be opened", at);
    VB_AUTO_FREE char *clean = vb_path_clean(at), *real = realpath(at, NULL);
    if (!real)
        return vb_fail_errno(err, errno, "directory '%s' to expose a shadow copy at cannot be found", at);
    if (strcmp(real, clean) != 0) { /* mounts are known by their real paths: it could not be taken away again */
        vb_fail(err, VB_E_GUARD, "the way to directory '%s' leads over a symbolic link", at);
        vb_hint(err, "give its real path, '%s'", real);
        return -1;
    }
    if (is_mounted(at, &mounted, err) < 0)
        return -1;
    if (mounted || !is_empty(place)) {
        vb_fail(err, VB_E_GUARD, "directory '%s' is %s", at, mounted ? "a mount point already" : "not empty");
        vb_hint(err, "give an empty directory");
        return -1;
    }
    VB_AUTO_FD int tree = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0 ||
        move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
        int e = errno;
        vb_fail_errno(err, e, "shadow copy at '%s' cannot be exposed at '%s'", from, at);
        if (e == EPERM)
            vb_hint(err, "mounting needs root on that host");
        return -1;
    }
    return 0;
}

int vb_unexpose(const char *at, struct vb_error *err)
{
    bool mounted;
    if (is_mounted(at, &mounted, err) < 0)
        return -1;
    if (!mounted || umount2(at, UMOUNT_NOFOLLOW) == 0)
        return 0;
    int e = errno;
    vb_fail_errno(err, e, "shadow copy exposed at '%s' cannot be unmounted", at);
    if (err && e == EBUSY) {
        err->code = VB_E_VOLUME_IN_USE;
        vb_hint(err, "a program has it open; 'fuser -vm %s' names it", at);
    }
    return -1;
}

static void ended(void *arg, int status)
{
    (void)arg;
    (void)status; /* it logs for itself, and what it could not finish it tries again when it is opened next */
}

static bool has_revert(int providers, const char *name)
{
    int fd = openat(providers, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = !strncmp(e->d_name, ".revert-", 8);
    return found;
}

void vb_revert_again(const struct vb_paths *p, struct vb_loop *l)
{
    int fd = openat(p->state_fd, "providers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        int pair[2];
        if (e->d_name[0] == '.' || !has_revert(dirfd(d), e->d_name) ||
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            continue;
        const char *argv[] = { vb_self_path(), "provider-host", e->d_name, "--state-dir", p->state, NULL };
        struct vb_spawn s = VB_SPAWN_INIT;
        s.argv = argv;
        s.pass_fds = &pair[1];
        s.n_pass_fds = 1;
        pid_t pid = vb_spawn(&s, &err);
        close(pair[0]); /* it has nobody to talk to: it opens its provider, and ends */
        close(pair[1]);
        if (pid < 0)
            vb_log_error(VB_LOG_WARNING, &err);
        else
            vb_loop_child(l, pid, ended, NULL);
    }
}

void vb_expose_again(const struct vb_paths *p)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_shadow_sets all = { NULL, 0, 0 };
    VB_AUTO_FD int dir = vb_shadow_store_open(p, &err);
    if (dir < 0 || vb_shadow_load_all(dir, &all, &err) < 0)
        vb_log_error(VB_LOG_WARNING, &err);
    for (size_t i = 0; i < all.n; i++)
        for (size_t k = 0; k < all.v[i]->n; k++) {
            const struct vb_shadow *x = &all.v[i]->v[k];
            VB_AUTO_ERROR why = VB_ERROR_INIT;
            bool mounted;
            if (!x->exposed || !x->path || is_mounted(x->exposed, &mounted, &why) < 0 || mounted)
                continue;
            if (vb_expose(x->path, x->exposed, &why) < 0)
                vb_log_error(VB_LOG_WARNING, &why);
            else
                vb_log(VB_LOG_INFO, "shadow copy %s is exposed again at '%s'", x->id, x->exposed);
        }
    vb_shadow_sets_clear(&all);
}
