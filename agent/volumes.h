/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/volumes.h - from paths to volumes: the mount table, and which volumes the file sets of a job lie on.
 *
 * Pure over a table that was read before; only vb_mounts_load and vb_subvolume_root touch the system.
 */
#ifndef VB_AGENT_VOLUMES_H
#define VB_AGENT_VOLUMES_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "base/mem.h"
#include "vbackup/types.h" /* VB_MAX_VOLUMES */



struct vb_mount {
    char *point;    /* absolute, no trailing separator except "/" */
    char *root;     /* root of the mount inside its file system */
    char *device, *fs_type;
    char *dev;      /* "major:minor" */
    bool read_only;
};
struct vb_mounts { struct vb_mount *v; size_t n, cap; };

/* /proc/self/mountinfo; later mounts hide earlier ones at the same point. */
int vb_mounts_load(struct vb_mounts *m, struct vb_error *err);
/* The same from text; the entry point of the fuzz target. Lines that cannot be understood are refused. */
int vb_mounts_parse(struct vb_mounts *m, const char *text, struct vb_error *err);
void vb_mounts_clear(struct vb_mounts *m);
/* Drops all mounts that lie below the directory (not at it). */
void vb_mounts_leave_out(struct vb_mounts *m, const char *dir);
/* The mount a path lies on: longest prefix by whole elements; NULL only for a relative path or an empty table. */
const struct vb_mount *vb_mounts_find(const struct vb_mounts *m, const char *path);

/* Not one of the kernel's own views (proc, sysfs, ...). */
bool vb_mount_holds_data(const struct vb_mount *m);

/* One volume of a set. */
struct vb_volume {
    char *mount_point, *device, *fs_type;
    char *subvolume_root;    /* btrfs: the subvolume that holds the trees; else the mount point */
    struct vb_strv trees;    /* absolute paths of the job's data on this volume, no tree below another */
    char *fs_root;           /* what of the file system is mounted there; NULL: not known */
    size_t mount_order;      /* place in the mount table */
};
struct vb_volumes { struct vb_volume *v; size_t n, cap; };
void vb_volumes_clear(struct vb_volumes *v);

/* Path of the btrfs subvolume root that holds path (st_ino 256 going upwards, not above stop); caller frees. Used for
 * btrfs mounts only; a simulation gives another function. */
typedef char *vb_subvolume_fn(void *arg, const char *path, const char *stop);
char *vb_subvolume_root(void *arg, const char *path, const char *stop);

/* Adds the volume of `path` to the set, and, if recursive, every volume mounted below it (B-28).  VB_E_MAX_VOLUMES for
 * the 65th.  Pseudo file systems mounted below (proc, sysfs, devtmpfs ...) are left out. */
int vb_volumes_add(struct vb_volumes *v, const struct vb_mounts *m, const char *path, bool recursive,
                   vb_subvolume_fn *subvolume, void *arg, struct vb_error *err);

#endif
