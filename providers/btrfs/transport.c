/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/transport.c - shadow copies into a file or a pipe and out of it, by `btrfs send` and `btrfs receive`.
 *
 * The stream carries the identity of what was sent, and receive notes it in the new subvolume only when the stream was
 * whole: a shadow copy counts when that identity is the one that was expected.
 */
#include "config.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "providers/btrfs/manage.h"
#include "providers/support/command.h"

static const char *program(void)
{
    static const char *const PLACES[] = { "/usr/bin/btrfs", "/bin/btrfs", "/usr/sbin/btrfs", "/sbin/btrfs" };
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++)
        if (access(PLACES[i], X_OK) == 0)
            return PLACES[i];
    return PLACES[0];
}

static void text(const uint8_t uuid[16], char out[VB_BTRFS_STAMP])
{
    for (size_t i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", uuid[i]);
}

static bool zero(const uint8_t uuid[16])
{
    static const uint8_t none[16];
    return memcmp(uuid, none, 16) == 0;
}

/* What was received itself goes on under its first identity. */
static int identity(const struct vb_ps *s, const struct vb_ps_record *r, char *stamp, size_t size)
{
    struct btrfs_util_subvolume_info info;
    char uuid[VB_BTRFS_STAMP];
    errno = 0;
    if (btrfs_util_subvolume_info(r->place, 0, &info) != BTRFS_UTIL_OK)
        return vb_ps_fail_errno(s, errno ? errno : EIO, NULL, "shadow copy '%s' cannot be examined", r->place);
    text(zero(info.received_uuid) ? info.uuid : info.received_uuid, uuid);
    snprintf(stamp, size, "%s", uuid);
    return 0;
}

static int load(const struct vb_ps *s, const char *snapshot_id, struct vb_ps_record *r)
{
    int rc = vb_ps_record_load(s, snapshot_id, r);
    if (rc == 0)
        return vb_ps_fail(s, VB_E_OBJECT_NOT_FOUND, NULL, "there is no shadow copy '%s'", snapshot_id);
    return rc < 0 ? -1 : 0;
}

int vb_btrfs_stamp(const struct vb_ps *s, const char *snapshot_id, char *stamp, size_t size)
{
    struct vb_ps_record r;
    int rc = load(s, snapshot_id, &r);
    if (rc == 0)
        rc = identity(s, &r, stamp, size);
    vb_ps_record_clear(&r);
    return rc;
}

/* The stream names what it makes by the last element of this path, which is the id that the receiver expects. */
static int refuse_shared(const struct vb_ps *s, const struct vb_ps_record *r)
{
    const char *name = strrchr(r->place, '/') + 1;
    if (!strcasecmp(name, r->snapshot_id))
        return 0;
    return vb_ps_fail(s, VB_E_NOT_SUPPORTED, "Send that one: both are the same subvolume, mounted in two places.",
                      "shadow copy '%s' is one with shadow copy '%s'", r->snapshot_id, name);
}

int vb_btrfs_send(const struct vb_ps *s, const char *snapshot_id, const char *parent_id, int fd, char *stamp, size_t size)
{
    struct vb_ps_record r, parent = { .place = NULL };
    int rc = load(s, snapshot_id, &r);
    if (rc == 0 && parent_id)
        rc = load(s, parent_id, &parent);
    if (rc == 0 && refuse_shared(s, &r) == 0 && vb_btrfs_refuse_nested(s, &r) == 0 &&
        (!parent_id || vb_btrfs_refuse_nested(s, &parent) == 0) && identity(s, &r, stamp, size) == 0) {
        const char *argv[] = { program(), "send", "-q", "-f", "/proc/self/fd/0", parent_id ? "-p" : r.place,
                               parent_id ? parent.place : NULL, parent_id ? r.place : NULL, NULL };
        rc = vb_ps_command_tied(s, argv, fd, -1, NULL);
    } else {
        rc = -1;
    }
    vb_ps_record_clear(&r);
    vb_ps_record_clear(&parent);
    return rc;
}

static int check(const struct vb_ps *s, const char *place, const char *stamp)
{
    struct btrfs_util_subvolume_info info;
    char uuid[VB_BTRFS_STAMP];
    bool read_only = false;
    errno = 0;
    if (btrfs_util_subvolume_info(place, 0, &info) != BTRFS_UTIL_OK ||
        btrfs_util_get_subvolume_read_only(place, &read_only) != BTRFS_UTIL_OK)
        return vb_ps_fail(s, VB_E_CORRUPT, "Export it again.", "nothing was received at '%s'", place);
    text(info.received_uuid, uuid);
    if (strcmp(uuid, stamp) != 0 || !read_only)
        return vb_ps_fail(s, VB_E_CORRUPT, "Export it again.",
                          "what was received at '%s' is not whole, or not what was sent", place);
    return 0;
}

static char *lock_name(const char *snapshot_id)
{
    return vb_ps_printf(".receive-%s", snapshot_id);
}

int vb_btrfs_receive_over(const struct vb_ps *s, const char *snapshot_id)
{
    char *name = lock_name(snapshot_id), *path = vb_ps_printf("%s/%s", s->svc->state_dir(s->host), name);
    int lock = access(path, F_OK) < 0 ? -1 : vb_ps_lock(s, name);
    int rc = lock < 0 && access(path, F_OK) == 0 ? -1 : 0;
    if (lock >= 0) {
        unlink(path);
        close(lock);
    }
    free(path);
    free(name);
    return rc;
}

/* The lock is held by the command, too: when it can be had, nothing more comes into being at `at`. */
static int run_receive(const struct vb_ps *s, const char *snapshot_id, const char *place, int fd)
{
    /* -C: no path of the stream leads out of the place; a user has no chroot, and only his own rights. */
    bool root = geteuid() == 0;
    const char *argv[] = { program(), "receive", "-q", "-e", root ? "-C" : place, root ? place : NULL, NULL };
    char *name = lock_name(snapshot_id);
    int lock = vb_ps_lock(s, name);
    int rc = lock < 0 ? -1 : vb_ps_command_tied(s, argv, fd, lock, NULL);
    if (lock >= 0)
        close(lock);
    free(name);
    return rc;
}

int vb_btrfs_receive(const struct vb_ps *s, const char *set_id, const char *snapshot_id, const char *dir,
                     const char *stamp, int fd)
{
    struct stat st;
    char *place = vb_ps_place_in(dir), *at = vb_ps_printf("%s/%s", place, snapshot_id);
    struct vb_ps_record r = { .snapshot_id = (char *)(uintptr_t)snapshot_id, .set_id = (char *)(uintptr_t)set_id,
                              .mount_point = (char *)(uintptr_t)dir, .source = (char *)(uintptr_t)dir, .place = at };
    int rc = 0, opened = -1;
    if (strlen(stamp) != VB_BTRFS_STAMP - 1)
        rc = vb_ps_fail(s, VB_E_CORRUPT, "Export it again.", "the file does not say what was sent");
    else if (lstat(at, &st) == 0)
        rc = vb_ps_fail(s, VB_E_OBJECT_ALREADY_EXISTS, NULL, "shadow copy '%s' is there already", at);
    else if (vb_ps_record_save(s, &r) < 0 || (opened = vb_ps_place_open(s, dir)) < 0)
        rc = -1;
    if (rc == 0 && (run_receive(s, snapshot_id, place, fd) < 0 || check(s, at, stamp) < 0))
        rc = -1;
    if (rc == 0)
        rc = vb_ps_record_created(s, &r);
    if (opened >= 0)
        (void)vb_btrfs_receive_over(s, snapshot_id);
    if (rc < 0 && opened >= 0) {
        if (lstat(at, &st) == 0 && st.st_ino == VB_BTRFS_ROOT_INODE)
            (void)btrfs_util_delete_subvolume(at, 0);
        vb_ps_place_leave(at);
        (void)vb_ps_record_remove(s, snapshot_id);
    }
    if (opened >= 0)
        close(opened);
    free(at);
    free(place);
    return rc;
}
