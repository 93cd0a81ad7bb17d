/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/paths.c - state and runtime directories, and unix sockets below them.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/paths.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"

static const char *env_dir(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] == '/' ? v : NULL;
}

static char *choose_state(struct vb_error *err)
{
    const char *v = env_dir("VBACKUP_STATE_DIR");
    if (v)
        return vb_path_clean(v);
    if (geteuid() == 0)
        return vb_strdup("/var/lib/vbackup");
    if ((v = env_dir("XDG_STATE_HOME")))
        return vb_path_join(v, "vbackup");
    if ((v = env_dir("HOME")))
        return vb_path_join(v, ".local/state/vbackup");
    vb_fail(err, VB_E_CONFIG, "state directory cannot be found: neither VBACKUP_STATE_DIR nor HOME is set");
    vb_hint(err, "set VBACKUP_STATE_DIR to a directory of your own");
    return NULL;
}

static char *choose_runtime(const char *state)
{
    const char *v = env_dir("VBACKUP_RUNTIME_DIR");
    if (v)
        return vb_path_clean(v);
    /* A state directory of one's own brings its own runtime directory, so that two of them never meet at one socket. */
    if (env_dir("VBACKUP_STATE_DIR"))
        return vb_path_join(state, "run");
    if (geteuid() == 0)
        return vb_strdup("/run/vbackup");
    if ((v = env_dir("XDG_RUNTIME_DIR")))
        return vb_path_join(v, "vbackup");
    return vb_path_join(state, "run");
}

static int open_private(const char *path, mode_t mode, struct vb_error *err)
{
    struct stat st;
    if (vb_mkdirs_at(AT_FDCWD, path, mode, err) < 0)
        return -1;
    VB_AUTO_FD int fd = vb_open_dir_at(AT_FDCWD, path, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "directory '%s' cannot be examined", path);
    if (st.st_uid != geteuid()) {
        vb_fail(err, VB_E_ACCESS_DENIED, "directory '%s' belongs to user %ju, not to us (%ju)", path,
                (uintmax_t)st.st_uid, (uintmax_t)geteuid());
        vb_hint(
            err,
            "give it back with chown, or set VBACKUP_STATE_DIR and VBACKUP_RUNTIME_DIR to directories of your own");
        return -1;
    }
    if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
        return vb_fail_errno(err, errno, "directory '%s' is open to others and cannot be closed to them", path);
    return VB_STEAL_FD(fd);
}

int vb_paths_open(struct vb_paths *p, struct vb_error *err)
{
    vb_paths_clear(p);
    p->state = choose_state(err);
    if (!p->state)
        return -1;
    p->runtime = choose_runtime(p->state);
    p->state_fd = open_private(p->state, 0711, err);
    if (p->state_fd < 0)
        return -1;
    p->runtime_fd = open_private(p->runtime, 0700, err);
    return p->runtime_fd < 0 ? -1 : 0;
}

void vb_paths_clear(struct vb_paths *p)
{
    vb_free_ptr(&p->state);
    vb_free_ptr(&p->runtime);
    vb_close_fd(&p->state_fd);
    vb_close_fd(&p->runtime_fd);
}

const char *vb_self_path(void)
{
    static char path[4096];
    ssize_t n = path[0] ? 0 : readlink("/proc/self/exe", path, sizeof path - 1);
    /* The name serves the eyes of an administrator; when it does not fit or is gone, the link itself works as well. */
    if (n < 0 || (size_t)n == sizeof path - 1 || access(path, X_OK) < 0)
        return "/proc/self/exe";
    return path;
}

static int unix_address(int dirfd, const char *name, struct sockaddr_un *a, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_printf("/proc/self/fd/%d/%s", dirfd, name);
    size_t n = strlen(path);
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    if (n >= sizeof a->sun_path)
        return vb_fail(err, VB_E_LIMIT, "socket name '%s' is too long", name);
    memcpy(a->sun_path, path, n + 1);
    return 0;
}

int vb_unix_listen_at(int dirfd, const char *name, struct vb_error *err)
{
    struct sockaddr_un a;
    if (unix_address(dirfd, name, &a, err) < 0)
        return -1;
    VB_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vb_fail_errno(err, errno, "socket cannot be made");
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return vb_fail_errno(err, errno, "old socket '%s' cannot be removed", name);
    mode_t old = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)&a, sizeof a);
    int saved = errno;
    umask(old);
    if (rc < 0)
        return vb_fail_errno(err, saved, "socket '%s' cannot be bound", name);
    if (listen(fd, 64) < 0)
        return vb_fail_errno(err, errno, "socket '%s' cannot listen", name);
    return VB_STEAL_FD(fd);
}

int vb_unix_connect_at(int dirfd, const char *name, struct vb_error *err)
{
    struct sockaddr_un a;
    if (unix_address(dirfd, name, &a, err) < 0)
        return -1;
    VB_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return vb_fail_errno(err, errno, "socket cannot be made");
    while (connect(fd, (const struct sockaddr *)&a, sizeof a) < 0)
        if (errno != EINTR)
            return vb_fail_errno(err, errno, "supervisor does not answer at socket '%s'", name);
    return VB_STEAL_FD(fd);
}

int vb_unix_check_peer(int fd, struct vb_error *err)
{
    struct ucred c;
    socklen_t n = sizeof c;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) < 0)
        return vb_fail_errno(err, errno, "credentials of the peer cannot be read");
    if (c.uid != geteuid() && c.uid != 0)
        return vb_fail(err, VB_E_ACCESS_DENIED, "peer is user %ju, only user %ju and root may speak to this supervisor",
                       (uintmax_t)c.uid, (uintmax_t)geteuid());
    return 0;
}
