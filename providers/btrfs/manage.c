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
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "providers/btrfs/manage.h"
#include "providers/support/command.h"

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

int vb_btrfs_foreign_nested(const struct vb_ps *s, const char *source, const char *shadow_copy, char **found)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    char *path = NULL;
    *found = NULL;
    errno = 0;
    enum btrfs_util_error e = btrfs_util_create_subvolume_iterator(source, 0, 0, &it);
    while (e == BTRFS_UTIL_OK && !*found && (e = btrfs_util_subvolume_iterator_next(it, &path, NULL)) == BTRFS_UTIL_OK) {
        struct stat st;
        char *there = shadow_copy ? vb_ps_printf("%s/%s", shadow_copy, path) : NULL;
        if (!is_ours(path) && (!there || lstat(there, &st) < 0 || st.st_ino != VB_BTRFS_ROOT_INODE))
            *found = vb_ps_strdup(path);
        free(there);
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
    if (vb_btrfs_foreign_nested(s, r->place, NULL, &nested) < 0)
        return -1;
    int rc = !nested ? 0
                     : vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Expose the shadow copy, and copy the files.",
                                  "shadow copy '%s' holds the nested subvolume '%s', which would be lost", r->snapshot_id,
                                  nested);
    free(nested);
    return rc;
}

/* ---- a copy of its own ---- */

/* A copy with nested subvolumes is made in several steps, under a name that says so and that a locked note keeps: what a
 * kill left of it goes with the next open of the provider. */
static int note_copy(const struct vb_ps *s, const char *snapshot_id, const char *temp)
{
    char *name = vb_ps_printf("%s%s", VB_BTRFS_COPYING, snapshot_id);
    int fd = vb_ps_lock(s, name);
    size_t n = strlen(temp);
    if (fd >= 0 && (ftruncate(fd, 0) < 0 || pwrite(fd, temp, n, 0) != (ssize_t)n || fsync(fd) < 0)) {
        vb_ps_fail_errno(s, errno, "Make room in the state directory.", "note of the copy cannot be written");
        close(fd);
        fd = -1;
    }
    free(name);
    return fd;
}

static void drop_note(const struct vb_ps *s, const char *name)
{
    char *path = vb_ps_printf("%s/%s", s->svc->state_dir(s->host), name);
    unlink(path);
    free(path);
}

static void finish_copy(const struct vb_ps *s, int dir, const char *name)
{
    char temp[4097];
    struct stat st;
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0) {
        ssize_t n = pread(fd, temp, sizeof temp - 1, 0);
        temp[n > 0 ? n : 0] = 0;
        const char *base = strrchr(temp, '/');
        bool there = base && !strncmp(base + 1, VB_PLACE "-", strlen(VB_PLACE "-")) && lstat(temp, &st) == 0 &&
                     st.st_ino == VB_BTRFS_ROOT_INODE;
        if (!there || vb_btrfs_delete(s, temp) == 0)
            unlinkat(dir, name, 0);
        else
            s->svc->log(s->host, 4, "what was left of a copy at '%s' cannot be removed", temp);
    }
    if (fd >= 0)
        close(fd);
}

void vb_btrfs_copies_finish(const struct vb_ps *s)
{
    DIR *d = opendir(s->svc->state_dir(s->host));
    for (const struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, VB_BTRFS_COPYING, strlen(VB_BTRFS_COPYING)) == 0)
            finish_copy(s, dirfd(d), e->d_name);
    if (d)
        closedir(d);
}

static int copy_with_nested(const struct vb_ps *s, const struct vb_ps_record *r, const char *path, bool read_only)
{
    const char *slash = strrchr(path, '/');
    char *temp = vb_ps_printf("%.*s/%s-%s", (int)(slash - path), path, VB_PLACE, r->snapshot_id);
    char *name = vb_ps_printf("%s%s", VB_BTRFS_COPYING, r->snapshot_id);
    int lock = note_copy(s, r->snapshot_id, temp);
    int rc = lock < 0 ? -1 : vb_btrfs_copy(s, r->place, temp, read_only);
    if (rc == 0 && renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
        rc = vb_ps_fail_errno(s, errno, NULL, "copy of shadow copy '%s' cannot get its name '%s'", r->snapshot_id, path);
        (void)vb_btrfs_delete(s, temp);
    }
    if (lock >= 0) {
        drop_note(s, name);
        close(lock);
    }
    free(name);
    free(temp);
    return rc;
}

int vb_btrfs_make_writable(const struct vb_ps *s, const char *snapshot_id, const char *path, int read_only)
{
    struct vb_ps_record r;
    struct stat st;
    char *nested = NULL;
    int rc = vb_ps_record_load(s, snapshot_id, &r);
    if (rc == 0)
        rc = vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, NULL, "there is no shadow copy '%s'", snapshot_id);
    else if (rc == 1 && lstat(path, &st) == 0)
        rc = vb_ps_fail(s, VB_E_EXISTS, "Give a path that does not exist yet.", "'%s' exists", path);
    else if (rc == 1 && (rc = vb_btrfs_foreign_nested(s, r.place, NULL, &nested)) == 0)
        rc = nested ? copy_with_nested(s, &r, path, read_only != 0) : vb_btrfs_copy(s, r.place, path, read_only != 0);
    free(nested);
    vb_ps_record_clear(&r);
    return rc;
}

/* ---- who uses it ---- */

/* Every subvolume has a device number of its own: that of the volume, and of those nested in it. */
struct devices { dev_t *v; size_t n; };

static void add_device(struct devices *d, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return;
    dev_t *v = vb_ps_alloc((d->n + 1) * sizeof *v);
    if (d->n)
        memcpy(v, d->v, d->n * sizeof *v);
    v[d->n++] = st.st_dev;
    free(d->v);
    d->v = v;
}

static struct devices devices_of(const char *subvolume)
{
    struct devices d = { NULL, 0 };
    struct btrfs_util_subvolume_iterator *it = NULL;
    char *path = NULL;
    add_device(&d, subvolume);
    enum btrfs_util_error e = btrfs_util_create_subvolume_iterator(subvolume, 0, 0, &it);
    while (e == BTRFS_UTIL_OK && (e = btrfs_util_subvolume_iterator_next(it, &path, NULL)) == BTRFS_UTIL_OK) {
        char *whole = vb_ps_printf("%s/%s", subvolume, path);
        if (!is_ours(path))
            add_device(&d, whole);
        free(whole);
        free(path);
    }
    if (it)
        btrfs_util_destroy_subvolume_iterator(it);
    return d;
}

static bool on_device(int dir, const char *name, const struct devices *d)
{
    struct stat st;
    bool found = false;
    bool there = fstatat(dir, name, &st, 0) == 0;
    for (size_t i = 0; there && i < d->n && !found; i++)
        found = st.st_dev == d->v[i];
    return found;
}

static bool uses(int proc, const char *pid, const struct devices *dev)
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
    struct devices dev = devices_of(subvolume);
    unsigned n = 0;
    size_t used = 0;
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = proc < 0 ? NULL : fdopendir(proc);
    why[0] = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        char comm[64];
        if (!isdigit((unsigned char)e->d_name[0]) || strtol(e->d_name, NULL, 10) == getpid() ||
            !uses(dirfd(d), e->d_name, &dev))
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
    free(dev.v);
    return n;
}
