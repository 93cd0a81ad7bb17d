/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/lvm/mount.c - the shadow copy's file system.
 *
 * The device is writable when it is mounted read-only for the first time: so the kernel replays the journal (ext4) or log
 * (xfs, which leaves it dirty on purpose when it is frozen) in the shadow copy itself, and files that were deleted but still
 * open are cleaned away.  noload or norecovery would show them as they happened to lie there.  xfs wants nouuid, because
 * the original is mounted under the same one.  Afterwards the device is closed for writing, too.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "providers/lvm/lvm.h"

#define FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME)

int vb_lvm_mount(const char *device, const char *dir, const char *fs_type)
{
    return mount(device, dir, fs_type, FLAGS | MS_RDONLY, strcmp(fs_type, "xfs") ? NULL : "nouuid") < 0 ? errno : 0;
}

int vb_lvm_mount_writable(const char *dir, bool writable)
{
    return mount("none", dir, NULL, MS_REMOUNT | FLAGS | (writable ? 0 : MS_RDONLY), NULL) < 0 ? errno : 0;
}

int vb_lvm_device_read_only(const char *device)
{
    int fd = open(device, O_RDONLY | O_CLOEXEC), on = 1, rc;
    if (fd < 0)
        return errno;
    rc = ioctl(fd, BLKROSET, &on) < 0 ? errno : 0;
    close(fd);
    return rc;
}

bool vb_lvm_is_mounted(const char *dir)
{
    struct stat st, up;
    char *above = vb_ps_printf("%s/..", dir);
    bool yes = lstat(dir, &st) == 0 && stat(above, &up) == 0 && st.st_dev != up.st_dev;
    free(above);
    return yes;
}

int vb_lvm_unmount(const char *dir)
{
    for (int i = 0; i < 16; i++) {
        if (umount2(dir, UMOUNT_NOFOLLOW) == 0)
            continue; /* there may be several on top of each other */
        if (errno == EINVAL || errno == ENOENT)
            return 0;
        if (errno != EBUSY || umount2(dir, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
            return errno;
    }
    return EBUSY;
}

int vb_lvm_flush(const char *mount_point)
{
    int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
    if (fd < 0)
        return errno;
    rc = syncfs(fd) < 0 ? errno : 0;
    close(fd);
    return rc;
}
