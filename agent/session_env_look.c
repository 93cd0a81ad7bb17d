/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_env_look.c - what there is on this host: writers, providers, mounts, files that match.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/session_env_internal.h"
#include "agent/writer_host.h"
#include "base/io.h"
#include "base/text.h"
#include "providers/registry.h"

int vb_real_env_writers(void *arg, const struct vb_job *job, struct vb_child_refs *out, struct vb_error *err)
{
    struct vb_real_env *e = arg;
    struct vb_writer_entry *list = NULL;
    size_t n = 0;
    if (job->paths.n) { /* vbackup backup PATH...: these paths and nothing else */
        vb_strv_clear(&e->adhoc);
        for (size_t i = 0; i < job->paths.n; i++)
            vb_strv_take(&e->adhoc, vb_printf("adhoc-path=%s", job->paths.v[i]));
        if (job->kind == VB_JOB_RESTORE)
            vb_strv_add(&e->adhoc, "adhoc-restore=yes"); /* they may be gone: that is why */
        for (size_t i = 0; i < job->path_excludes.n; i++)
            vb_strv_take(&e->adhoc, vb_printf("adhoc-exclude=%s", job->path_excludes.v[i]));
        for (size_t i = 0; i < job->path_rules.n; i++)
            vb_strv_take(&e->adhoc, vb_printf("adhoc-rule=%s", job->path_rules.v[i]));
        VB_GROW(out->v, out->n, out->cap);
        out->v[out->n++] = (struct vb_child_ref){ vb_strdup("paths"), vb_strdup("files"), NULL, true, true };
        return 0;
    }
    if (vb_writers_configured(e->agent->config, &list, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        VB_GROW(out->v, out->n, out->cap);
        out->v[out->n++] = (struct vb_child_ref){ vb_strdup(list[i].section), vb_strdup(list[i].module),
                                                  vb_strdup(list[i].instance), list[i].required, false };
    }
    vb_writers_free(list, n);
    return 0;
}

int vb_real_env_providers(void *arg, struct vb_strv *names, struct vb_error *err)
{
    struct vb_real_env *e = arg;
    const struct vb_provider *p;
    for (size_t i = 0; (p = vb_provider_at(i)); i++) {
        const struct vb_config_section *s = vb_config_find(e->agent->config, "provider", p->name);
        bool enabled = true;
        if (p->preference == 0)
            continue; /* reading live is what the session does, and says, when no other provider is left */
        if (!s && (!strcmp(p->name, "null") || !strcmp(p->name, "fault")))
            continue; /* for tests: nobody wants to hear that they refused */
        if (s && vb_section_bool(s, "enabled", true, &enabled, err) < 0)
            return -1;
        if (enabled)
            vb_strv_add(names, p->name);
    }
    return 0;
}

/* Shadow copies that are mounted below our own state are nobody's data. */
int vb_real_env_mounts(void *arg, struct vb_mounts *out, struct vb_error *err)
{
    struct vb_real_env *e = arg;
    VB_AUTO_FREE char *ours = vb_path_join(e->agent->paths.state, "providers");
    if (vb_mounts_load(out, err) < 0)
        return -1;
    vb_mounts_leave_out(out, ours);
    vb_mounts_leave_out(out, "/run/vbackup-lvm"); /* of the lvm provider */
    return 0;
}

static int match_below(int dirfd, const char *name, const char *filespec, bool recursive)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        vb_close_fd(&fd);
        errno = e;
        return e == ENOENT || e == ENOTDIR || e == ELOOP ? 0 : -1;
    }
    for (struct dirent *x; (x = readdir(d));) {
        struct stat st;
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, ".."))
            continue;
        bool dir = fstatat(fd, x->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
        if (!dir && vb_filespec_match(filespec, x->d_name))
            return 1;
        int rc = dir && recursive ? match_below(fd, x->d_name, filespec, true) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

int vb_exists_match(const char *path, const char *filespec, bool recursive, struct vb_error *err)
{
    int rc = match_below(AT_FDCWD, path, filespec, recursive);
    if (rc < 0)
        vb_fail_errno(err, errno, "directory '%s' cannot be examined", path);
    return rc;
}

int vb_real_env_exists(void *arg, const char *path, const char *filespec, bool recursive, struct vb_error *err)
{
    (void)arg;
    return vb_exists_match(path, filespec, recursive, err);
}

/* A file that runs, or lies on a read-only place, or may not be written by us, cannot be replaced. */
static bool replaceable_below(int dirfd, const char *name, const char *filespec, bool recursive)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        bool nothing_there = errno == ENOENT;
        vb_close_fd(&fd);
        return nothing_there;
    }
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return false;
    for (struct dirent *x; (x = readdir(d));) {
        struct stat st;
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, "..") || fstatat(fd, x->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            if (recursive && !replaceable_below(fd, x->d_name, filespec, true))
                return false;
        } else if (S_ISREG(st.st_mode) && vb_filespec_match(filespec, x->d_name)) {
            VB_AUTO_FD int f = openat(fd, x->d_name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
            if (f < 0 && errno != ENOENT)
                return false;
        }
    }
    return true;
}

bool vb_real_env_replaceable(void *arg, const char *path, const char *filespec, bool recursive)
{
    (void)arg;
    return replaceable_below(AT_FDCWD, path, filespec, recursive);
}
