/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/lvm/lvm.h - what the parts of the lvm provider share.
 *
 *   lvm.c      the callbacks that make a set
 *   kept.c     those about a shadow copy that is there
 *   report.c   what `lvm lvs` printed, as structs; sizes as a user writes them; how large a change store is (pure)
 *   mount.c    the shadow copy's file system
 */
#ifndef VB_PROVIDERS_LVM_H
#define VB_PROVIDERS_LVM_H

#include "providers/support/support.h"

#define VB_LVM_PREFIX "vbackup-" /* name of a shadow copy: this and its id */

/* One row of the report, in this order of columns. */
#define VB_LVM_COLUMNS                                                                                                \
    "vg_name,lv_name,lv_attr,lv_size,origin,pool_lv,data_percent,metadata_percent,lv_kernel_major,lv_kernel_minor,"    \
    "vg_free,vg_extent_size,lv_dm_path"
#define VB_LVM_N_COLUMNS 13

struct vb_lvm_lv {
    char *vg, *name, *attr; /* attr: ten characters, see lvs(8) */
    uint64_t size;          /* bytes */
    char *origin, *pool;    /* "" for none */
    int data, metadata;     /* hundredths of a percent, -1: none */
    int major, minor;       /* -1: not active */
    uint64_t vg_free, extent;
    char *path;             /* "" for internal ones */
};
struct vb_lvm_list { struct vb_lvm_lv *v; size_t n, cap; };
void vb_lvm_list_clear(struct vb_lvm_list *l);
/* Columns separated by '|', one volume a line.  Anything else than expected is refused: -1 and *why (static text). */
int vb_lvm_parse(struct vb_lvm_list *l, const char *text, const char **why);
const struct vb_lvm_lv *vb_lvm_by_number(const struct vb_lvm_list *l, unsigned major, unsigned minor);
const struct vb_lvm_lv *vb_lvm_by_name(const struct vb_lvm_list *l, const char *vg, const char *name);

bool vb_lvm_is_thin(const struct vb_lvm_lv *lv);
bool vb_lvm_is_suspended(const struct vb_lvm_lv *lv);
/* Why no shadow copy of it can be made, or NULL. */
const char *vb_lvm_refusal(const struct vb_lvm_lv *lv);
/* A shadow copy, and the pool of a thin one (else NULL): why it is no longer worth anything, or NULL.  Q-11 */
const char *vb_lvm_damage(const struct vb_lvm_lv *copy, const struct vb_lvm_lv *pool);

/* "512M", "2G", "15%" (of `whole`) -> bytes; K M G T of 1024, bytes without one. -1: not a size. */
int vb_lvm_size(const char *text, uint64_t whole, uint64_t *bytes);
/* The least change store of a volume (S-47). */
uint64_t vb_lvm_store_least(uint64_t volume);
/* The change store of a thick shadow copy in whole extents: as wanted (NULL: a tenth of the volume, S-47 at least), never
 * more than the volume needs or is free.  0: not even the least is free, or the option is no size (*why). */
uint64_t vb_lvm_store(const char *option, uint64_t volume, uint64_t extent, uint64_t free, const char **why);
/* What it is enlarged by when it is three quarters full, 0: not (full size, limit reached, nothing free). */
uint64_t vb_lvm_grow(const char *max_option, const struct vb_lvm_lv *copy, uint64_t volume);

/* ---- the provider ---- */

struct vb_lvm_volume {
    struct vb_ps_record record;
    char *fs_type;
    char *vg, *lv;      /* the origin */
    char *device;       /* of the shadow copy, once it is there */
    uint64_t store;     /* bytes; 0: thin */
    uint32_t attributes;
    struct vb_lvm_volume *next;
};

struct vb_lvm {
    struct vb_ps s;
    struct vb_lvm_volume *volumes; /* of the set being made */
};

#define VB_LVM_LOCK ".lock" /* held by every command that changes something */

/* lvm.c.  An option of the section, NULL for an empty one; the command's path; what `lvm lvs` says (-1 with a failure);
 * the volume that a path lies on, or NULL; the name that goes with an id (caller frees). */
const char *vb_lvm_option(const struct vb_lvm *c, const char *key);
const char *vb_lvm_command(const struct vb_lvm *c);
int vb_lvm_report(struct vb_lvm *c, struct vb_lvm_list *l);
const struct vb_lvm_lv *vb_lvm_of(const struct vb_lvm_list *l, const char *mount_point);
char *vb_lvm_name(const char *snapshot_id);
int vb_lvm_make_place(struct vb_lvm *c, const char *place);

/* kept.c: callbacks of vbackup/provider.h; remove is for a record that names its object and place. */
int vb_lvm_remove(void *ctx, const struct vb_ps_record *r);
int vb_lvm_delete(void *ctx, const char *snapshot_id);
int vb_lvm_path(void *ctx, const char *snapshot_id, const char *path, char **out);
int vb_lvm_query(void *ctx,
                 int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                           const char *path, int64_t created_sec), void *arg);
int vb_lvm_check(void *ctx, const char *snapshot_id);

/* mount.c.  All return 0 or an errno. */
int vb_lvm_mount(const char *device, const char *dir, const char *fs_type); /* read-only, after replaying the journal */
int vb_lvm_mount_writable(const char *dir, bool writable);
int vb_lvm_device_read_only(const char *device);
bool vb_lvm_is_mounted(const char *dir);
int vb_lvm_unmount(const char *dir); /* not mounted, or not there: success */
int vb_lvm_flush(const char *mount_point);

#endif
