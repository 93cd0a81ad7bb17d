/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/manage.c - writable copies of shadow copies, and who uses a volume.
 */
#include "config.h"

#include <btrfsutil.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "providers/btrfs/manage.h"

bool vb_btrfs_is_guid(const char *name, size_t n)
{
    return n == VB_BTRFS_GUID && strspn(name, "0123456789abcdefABCDEF-") >= n;
}

/* A shadow copy in the hidden directory, or what is inside of one. */
static bool is_ours(const char *path)
{
    const size_t hidden = strlen(VB_PLACE "/");
    return strncmp(path, VB_PLACE "/", hidden) == 0 && vb_btrfs_is_guid(path + hidden, strcspn(path + hidden, "/"));
}

int vb_btrfs_foreign_nested(const struct vb_ps *s, const char *source, char **found)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    char *path = NULL;
    *found = NULL;
    errno = 0;
    enum btrfs_util_error e = btrfs_util_create_subvolume_iterator(source, 0, 0, &it);
    while (e == BTRFS_UTIL_OK && !*found && (e = btrfs_util_subvolume_iterator_next(it, &path, NULL)) == BTRFS_UTIL_OK) {
        if (!is_ours(path))
            *found = vb_ps_strdup(path);
        free(path);
    }
    int rc = e == BTRFS_UTIL_OK || e == BTRFS_UTIL_ERROR_STOP_ITERATION
                 ? 0
                 : vb_ps_fail_errno(s, errno ? errno : EIO, NULL, "subvolumes in '%s' cannot be listed (%s)", source,
                                    btrfs_util_strerror(e));
    if (it)
        btrfs_util_destroy_subvolume_iterator(it);
    return rc;
}

int vb_btrfs_refuse_nested(const struct vb_ps *s, const struct vb_ps_record *r)
{
    char *nested;
    if (vb_btrfs_foreign_nested(s, r->place, &nested) < 0)
        return -1;
    int rc = !nested ? 0
                     : vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Expose the shadow copy, and copy the files.",
                                  "shadow copy '%s' holds the nested subvolume '%s', which would be lost", r->snapshot_id,
                                  nested);
    free(nested);
    return rc;
}

int vb_btrfs_make_writable(const struct vb_ps *s, const char *snapshot_id, const char *path, int read_only)
{
    struct vb_ps_record r;
    struct stat st;
    int rc = vb_ps_record_load(s, snapshot_id, &r);
    errno = 0;
    if (rc == 0) {
        rc = vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, NULL, "there is no shadow copy '%s'", snapshot_id);
    } else if (rc == 1 && lstat(path, &st) == 0) {
        rc = vb_ps_fail(s, VB_E_EXISTS, "Give a path that does not exist yet.", "'%s' exists", path);
    } else if (rc == 1 && (rc = vb_btrfs_refuse_nested(s, &r)) == 0) {
        if (btrfs_util_create_snapshot(r.place, path, read_only ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0, NULL,
                                       NULL) != BTRFS_UTIL_OK)
            rc = vb_ps_fail_errno(s, errno ? errno : EIO, "Give a path on the same btrfs, below a directory that exists.",
                                  "copy of shadow copy '%s' cannot be made at '%s'", snapshot_id, path);
    }
    vb_ps_record_clear(&r);
    return rc;
}

/* ---- who uses it ---- */

static bool on_device(int dir, const char *name, dev_t dev)
{
    struct stat st;
    return fstatat(dir, name, &st, 0) == 0 && st.st_dev == dev;
}

static bool uses(int proc, const char *pid, dev_t dev)
{
    static const char *const LINKS[] = { "cwd", "root", "exe" };
    char name[288];
    bool found = false;
    for (size_t i = 0; i < sizeof LINKS / sizeof LINKS[0] && !found; i++) {
        snprintf(name, sizeof name, "%s/%s", pid, LINKS[i]);
        found = on_device(proc, name, dev);
    }
    static const char *const LISTS[] = { "fd", "map_files" };
    for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0] && !found; i++) {
        snprintf(name, sizeof name, "%s/%s", pid, LISTS[i]);
        int fd = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        for (const struct dirent *e; d && !found && (e = readdir(d));)
            found = e->d_name[0] != '.' && on_device(dirfd(d), e->d_name, dev);
        if (d)
            closedir(d);
        else if (fd >= 0)
            close(fd);
    }
    return found;
}

static void name_of(int proc, const char *pid, char *out, size_t size)
{
    char name[288];
    snprintf(name, sizeof name, "%s/comm", pid);
    int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

unsigned vb_btrfs_in_use(const char *subvolume, char *why, size_t max)
{
    struct stat st;
    unsigned n = 0;
    size_t used = 0;
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = proc < 0 ? NULL : fdopendir(proc);
    why[0] = 0;
    for (const struct dirent *e; d && stat(subvolume, &st) == 0 && (e = readdir(d));) {
        char comm[64];
        if (!isdigit((unsigned char)e->d_name[0]) || strtol(e->d_name, NULL, 10) == getpid() ||
            !uses(dirfd(d), e->d_name, st.st_dev))
            continue;
        name_of(dirfd(d), e->d_name, comm, sizeof comm);
        if (n++ < 4 && used < max)
            used += (size_t)snprintf(why + used, max - used, "%s%s (pid %s)", n > 1 ? ", " : "", comm, e->d_name);
    }
    if (n > 4 && used < max)
        snprintf(why + used, max - used, " and %u more", n - 4);
    if (d)
        closedir(d);
    else if (proc >= 0)
        close(proc);
    return n;
}
