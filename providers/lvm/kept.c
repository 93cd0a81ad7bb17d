/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/lvm/kept.c - shadow copies of lvm that are there, or half there: removed, looked at, watched.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "providers/lvm/lvm.h"
#include "providers/support/command.h"

/* ---- removing ---- */

/* A device that a killed command left suspended blocks everybody: lvm is told to put it right. */
static int resume_origin(struct vb_lvm *c, const struct vb_ps_record *r, const struct vb_lvm_list *l, int lock)
{
    const struct vb_lvm_lv *lv = vb_lvm_of(l, r->mount_point);
    if (!lv || !vb_lvm_is_suspended(lv))
        return 0;
    char *name = vb_ps_printf("%s/%s", lv->vg, lv->name);
    const char *argv[] = { vb_lvm_command(c), "lvchange", "--refresh", name, NULL };
    c->s.svc->log(c->s.host, 1, "logical volume '%s' was left suspended; it is resumed", name);
    int rc = vb_ps_command(&c->s, argv, lock, NULL);
    free(name);
    return rc;
}

/* Only a logical volume whose name is made of the shadow copy's own id is removed, whatever the record says. */
static int check_object(struct vb_lvm *c, const struct vb_ps_record *r)
{
    char *name = vb_lvm_name(r->snapshot_id);
    const char *slash = r->object ? strchr(r->object, '/') : NULL;
    bool ours = slash && slash != r->object && !strcmp(slash + 1, name);
    free(name);
    if (ours)
        return 0;
    return vb_ps_fail(&c->s, VB_E_PROVIDER_VETO, "Look at the record and remove it by hand.",
                      "record of shadow copy '%s' names the foreign volume '%s'", r->snapshot_id,
                      r->object ? r->object : "");
}

/* Nor is anything unmounted but what has the id as its name. */
static int check_place(struct vb_lvm *c, const struct vb_ps_record *r)
{
    const char *base = strrchr(r->place, '/');
    if (base && !strcasecmp(base + 1, r->snapshot_id))
        return 0;
    return vb_ps_fail(&c->s, VB_E_PROVIDER_VETO, "Look at the record and remove it by hand.",
                      "record of shadow copy '%s' names the foreign path '%s'", r->snapshot_id, r->place);
}

static int remove_lv(struct vb_lvm *c, const struct vb_ps_record *r, const struct vb_lvm_list *l, int lock)
{
    const char *argv[] = { vb_lvm_command(c), "lvremove", "--yes", "--force", "--quiet", r->object, NULL };
    char *vg = vb_ps_strdup(r->object);
    char *slash = strchr(vg, '/');
    *slash = 0;
    bool there = vb_lvm_by_name(l, vg, slash + 1) != NULL;
    free(vg);
    return there ? vb_ps_command(&c->s, argv, lock, NULL) : 0;
}

int vb_lvm_remove(void *ctx, const struct vb_ps_record *r)
{
    struct vb_lvm *c = ctx;
    struct vb_lvm_list l = { NULL, 0, 0 };
    if (check_object(c, r) < 0 || check_place(c, r) < 0)
        return -1;
    int lock = vb_ps_lock(&c->s, VB_LVM_LOCK);
    if (lock < 0)
        return -1;
    int rc = vb_lvm_report(c, &l);
    if (rc == 0)
        rc = resume_origin(c, r, &l, lock);
    int e = rc == 0 ? vb_lvm_unmount(r->place) : 0;
    if (e)
        rc = vb_ps_fail_errno(&c->s, e, "See who uses it with fuser -m.", "shadow copy at '%s' cannot be unmounted",
                              r->place);
    if (rc == 0)
        rc = remove_lv(c, r, &l, lock);
    vb_lvm_list_clear(&l);
    close(lock);
    if (rc == 0 && rmdir(r->place) < 0 && errno != ENOENT)
        rc = vb_ps_fail_errno(&c->s, errno, NULL, "mount point '%s' cannot be removed", r->place);
    return rc == 0 ? vb_ps_record_remove(&c->s, r->snapshot_id) : -1;
}

int vb_lvm_delete(void *ctx, const char *snapshot_id)
{
    return vb_ps_delete(&((struct vb_lvm *)ctx)->s, snapshot_id, vb_lvm_remove, ctx);
}

/* ---- looking ---- */

/* One that outlives a restart of the machine is not mounted any more. */
static int mount_again(struct vb_lvm *c, const struct vb_ps_record *r)
{
    struct vb_lvm_list l = { NULL, 0, 0 };
    const struct vb_lvm_lv *copy = NULL;
    if (!r->created_sec || vb_lvm_is_mounted(r->place))
        return 0;
    if (check_object(c, r) < 0 || check_place(c, r) < 0 || vb_lvm_make_place(c, r->place) < 0 ||
        vb_lvm_report(c, &l) < 0)
        return -1;
    char *vg = vb_ps_strdup(r->object), *slash = strchr(vg, '/');
    *slash = 0;
    copy = vb_lvm_by_name(&l, vg, slash + 1);
    int e = copy && copy->path[0] ? vb_lvm_mount(copy->path, r->place, "ext4") : ENODEV;
    if (e == EINVAL)
        e = vb_lvm_mount(copy->path, r->place, "xfs");
    if (!e)
        e = vb_lvm_device_read_only(copy->path);
    free(vg);
    vb_lvm_list_clear(&l);
    if (!e)
        return 0;
    return vb_ps_fail_errno(&c->s, e, "Look at it with lvs; lvchange -ay activates it.",
                            "shadow copy '%s' cannot be mounted again", r->object);
}

int vb_lvm_path(void *ctx, const char *snapshot_id, const char *path, char **out)
{
    struct vb_lvm *c = ctx;
    struct vb_ps_record r;
    int rc = vb_ps_record_load(&c->s, snapshot_id, &r);
    if (rc == 1 && mount_again(c, &r) < 0)
        rc = -1;
    vb_ps_record_clear(&r);
    return rc < 0 ? -1 : vb_ps_path(&c->s, snapshot_id, path, out);
}

static int again(void *arg, const struct vb_ps_record *r)
{
    (void)mount_again(arg, r); /* who reads it hears why it cannot be */
    return 0;
}

int vb_lvm_query(void *ctx,
                 int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                           const char *path, int64_t created_sec), void *arg)
{
    struct vb_lvm *c = ctx;
    if (vb_ps_record_each(&c->s, again, c) < 0)
        return -1;
    return vb_ps_query(&c->s, fn, arg);
}

static int grow(struct vb_lvm *c, const char *object, const struct vb_lvm_lv *copy, const struct vb_lvm_lv *origin)
{
    uint64_t more = vb_lvm_grow(vb_lvm_option(c, "change-store-max"), copy, origin->size);
    if (!more)
        return 0;
    char *size = vb_ps_printf("+%llub", (unsigned long long)more);
    const char *argv[] = { vb_lvm_command(c), "lvextend", "--yes", "--quiet", "--size", size, object, NULL };
    c->s.svc->log(c->s.host, 2, "change store of '%s' is %d%% full; it grows by %llu MiB", object, copy->data / 100,
                  (unsigned long long)(more >> 20));
    int rc = vb_ps_command(&c->s, argv, -1, NULL);
    free(size);
    return rc;
}

static int check_volume(struct vb_lvm *c, const struct vb_ps_record *r)
{
    struct vb_lvm_list l = { NULL, 0, 0 };
    if (check_object(c, r) < 0 || vb_lvm_report(c, &l) < 0)
        return -1;
    char *vg = vb_ps_strdup(r->object);
    char *slash = strchr(vg, '/');
    *slash = 0;
    const struct vb_lvm_lv *copy = vb_lvm_by_name(&l, vg, slash + 1);
    const struct vb_lvm_lv *origin = copy ? vb_lvm_by_name(&l, vg, copy->origin) : NULL;
    const struct vb_lvm_lv *pool = copy && copy->pool[0] ? vb_lvm_by_name(&l, vg, copy->pool) : NULL;
    const char *why = copy ? vb_lvm_damage(copy, pool) : "its logical volume is gone";
    int rc = 0;
    if (why)
        rc = vb_ps_fail(&c->s, VB_E_INSUFFICIENT_STORAGE,
                        copy && !vb_lvm_is_thin(copy) ? "Set change-store larger in [provider lvm], or free more of the volume group."
                                                      : "Enlarge the thin pool.",
                        "shadow copy '%s' of '%s': %s", r->object, r->mount_point, why);
    else if (origin && !vb_lvm_is_thin(copy))
        rc = grow(c, r->object, copy, origin);
    free(vg);
    vb_lvm_list_clear(&l);
    return rc;
}

int vb_lvm_check(void *ctx, const char *snapshot_id)
{
    struct vb_lvm *c = ctx;
    struct vb_ps_record r;
    int rc = vb_ps_record_load(&c->s, snapshot_id, &r);
    if (rc == 1)
        rc = check_volume(c, &r);
    else if (rc == 0)
        rc = vb_ps_fail(&c->s, VB_E_OBJECT_NOT_FOUND, "It was deleted: make another one.",
                        "there is no shadow copy '%s'", snapshot_id);
    vb_ps_record_clear(&r);
    return rc;
}
