/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/lvm/lvm.c - snapshots of logical volumes, thick and thin, through the command lvm(8).
 *
 * Everything slow comes before commit: the volume group is looked at, the change store is sized, the volume is flushed, the
 * record is written.  commit is one lvcreate per volume; it suspends the device, which freezes the file system, for the
 * moment of the change: so this provider holds by its own call, and the volumes of a set follow each other.
 *
 * The record names the logical volume before it is made.  While lvcreate runs, it holds a lock (as its standard input),
 * so that whoever deletes after a killed provider does not come too early and miss what is just being made.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "providers/lvm/lvm.h"
#include "providers/support/command.h"

#define USUAL_COMMAND "/usr/sbin/lvm"
#define POOL_LIMIT 9500 /* a thin pool as full as this takes no new shadow copy */
/* Gone after a restart of the machine, like what is mounted there: an empty directory in its place would read like a tree
 * without files. */
#define MOUNTS "/run/vbackup-lvm"

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_NO_WRITERS | VB_SA_CLIENT_ACCESSIBLE | \
     VB_SA_DIFFERENTIAL | VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | VB_SA_DELAYED_POSTSNAPSHOT)

static int lopen(void *host, const struct vb_provider_services *svc, void **out)
{
    struct vb_lvm *c = vb_ps_alloc(sizeof *c);
    c->s = (struct vb_ps){ host, svc };
    *out = c;
    return 0;
}

static void forget(struct vb_lvm *c)
{
    while (c->volumes) {
        struct vb_lvm_volume *v = c->volumes;
        c->volumes = v->next;
        vb_ps_record_clear(&v->record);
        free(v->fs_type);
        free(v->vg);
        free(v->lv);
        free(v->device);
        free(v);
    }
}

static void lclose(void *ctx)
{
    forget(ctx);
    free(ctx);
}

/* ---- the command ---- */

const char *vb_lvm_option(const struct vb_lvm *c, const char *key)
{
    const char *v = c->s.svc->option(c->s.host, key);
    return v && v[0] ? v : NULL;
}

const char *vb_lvm_command(const struct vb_lvm *c)
{
    const char *v = vb_lvm_option(c, "command");
    return v ? v : USUAL_COMMAND;
}

int vb_lvm_report(struct vb_lvm *c, struct vb_lvm_list *l)
{
    const char *argv[] = { vb_lvm_command(c), "lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|",
                           "-o", VB_LVM_COLUMNS, NULL };
    const char *why = NULL;
    char *text = NULL;
    if (vb_ps_command(&c->s, argv, -1, &text) < 0)
        return -1;
    int rc = vb_lvm_parse(l, text, &why);
    free(text);
    if (rc < 0) {
        vb_lvm_list_clear(l);
        return vb_ps_fail(&c->s, VB_E_PROVIDER_VETO, "Run the command by hand and look at its output.",
                          "the report of '%s lvs' cannot be understood: %s", vb_lvm_command(c), why);
    }
    return 0;
}

const struct vb_lvm_lv *vb_lvm_of(const struct vb_lvm_list *l, const char *mount_point)
{
    struct stat st;
    if (stat(mount_point, &st) < 0)
        return NULL;
    return vb_lvm_by_number(l, major(st.st_dev), minor(st.st_dev));
}

/* ---- supports ---- */

static bool knows_file_system(const char *type)
{
    static const char *const TYPES[] = { "ext2", "ext3", "ext4", "xfs" };
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (!strcmp(type, TYPES[i]))
            return true;
    return false;
}

static const char *no_room(const struct vb_lvm *c, const struct vb_lvm_list *l, const struct vb_lvm_lv *lv, uint64_t taken,
                           uint64_t *store)
{
    const char *why = NULL;
    *store = 0;
    if (vb_lvm_is_thin(lv)) {
        const struct vb_lvm_lv *pool = vb_lvm_by_name(l, lv->vg, lv->pool);
        if (!pool)
            return "its thin pool is not there";
        if (pool->data >= POOL_LIMIT || pool->metadata >= POOL_LIMIT)
            return "its thin pool is nearly full";
        return NULL;
    }
    *store = vb_lvm_store(vb_lvm_option(c, "change-store"), lv->size, lv->extent, lv->vg_free > taken ? lv->vg_free - taken : 0,
                          &why);
    return why;
}

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct vb_lvm *c = ctx;
    struct vb_lvm_list l = { NULL, 0, 0 };
    const struct vb_lvm_lv *lv;
    const char *why = NULL;
    uint64_t store;
    if (!knows_file_system(vol->fs_type)) {
        why = "not a file system that it knows (ext2, ext3, ext4, xfs)";
    } else if (geteuid() != 0) {
        why = "only root may make snapshots of logical volumes";
    } else if (access(vb_lvm_command(c), X_OK) < 0) {
        why = "the command lvm is not there (install lvm2, or give its path)";
    } else if (vb_lvm_report(c, &l) < 0) {
        return -1;
    } else if (!(lv = vb_lvm_of(&l, vol->mount_point))) {
        why = "not on a logical volume";
    } else if (!(why = vb_lvm_refusal(lv)) && !(why = no_room(c, &l, lv, 0, &store))) {
        out->supported = 1;
        out->atomic = 1;
        out->hold = VB_HOLD_OWN;
        out->attributes = ATTRIBUTES;
        out->without_writers = VB_CONSISTENCY_FILE_SYSTEM; /* suspending the device flushes and freezes it */
        if (store)
            snprintf(out->why, sizeof out->why, "change store of %llu MiB in volume group '%s'",
                     (unsigned long long)(store >> 20), lv->vg);
        else
            snprintf(out->why, sizeof out->why, "in thin pool '%s/%s'", lv->vg, lv->pool);
    }
    if (why)
        snprintf(out->why, sizeof out->why, "%s", why);
    vb_lvm_list_clear(&l);
    return 0;
}

/* ---- making ---- */

static int begin_prepare(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct vb_lvm *c = ctx;
    struct vb_lvm_volume *v = vb_ps_alloc(sizeof *v), **end = &c->volumes;
    v->record = (struct vb_ps_record){ .snapshot_id = vb_ps_strdup(vol->snapshot_id),
                                       .set_id = vb_ps_strdup(set_id),
                                       .mount_point = vb_ps_strdup(vol->mount_point),
                                       .source = vb_ps_strdup(vol->mount_point) };
    v->fs_type = vb_ps_strdup(vol->fs_type);
    v->attributes = vol->attributes;
    while (*end)
        end = &(*end)->next;
    *end = v;
    return 0;
}

char *vb_lvm_name(const char *snapshot_id)
{
    char *name = vb_ps_printf(VB_LVM_PREFIX "%s", snapshot_id);
    for (char *p = name; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return name;
}

/* What the volumes before it in the set take from the same group. */
static uint64_t taken_before(const struct vb_lvm *c, const struct vb_lvm_volume *v, const char *vg)
{
    uint64_t sum = 0;
    for (const struct vb_lvm_volume *x = c->volumes; x && x != v; x = x->next)
        if (x->vg && !strcmp(x->vg, vg))
            sum += x->store;
    return sum;
}

/* The mount point, in a directory that is ours alone. */
int vb_lvm_make_place(struct vb_lvm *c, const char *place)
{
    struct stat st;
    char *above = vb_ps_strdup(place);
    *strrchr(above, '/') = 0;
    int rc = 0;
    if ((mkdir(above, 0700) < 0 && errno != EEXIST) || lstat(above, &st) < 0)
        rc = vb_ps_fail_errno(&c->s, errno, NULL, "directory '%s' for mount points cannot be made", above);
    else if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 077))
        rc = vb_ps_fail(&c->s, VB_E_ACCESS_DENIED, "Remove it.", "directory '%s' does not belong to root alone", above);
    else if (mkdir(place, 0700) < 0 && errno != EEXIST)
        rc = vb_ps_fail_errno(&c->s, errno, NULL, "mount point '%s' cannot be made", place);
    free(above);
    return rc;
}

static int prepare_volume(struct vb_lvm *c, struct vb_lvm_volume *v, const struct vb_lvm_list *l)
{
    const struct vb_lvm_lv *lv = vb_lvm_of(l, v->record.mount_point);
    const char *why = lv ? vb_lvm_refusal(lv) : "it is not on a logical volume any more";
    if (why)
        return vb_ps_fail(&c->s, VB_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, "Look at the volume with lvs.",
                          "volume '%s' cannot be snapshotted: %s", v->record.mount_point, why);
    why = no_room(c, l, lv, taken_before(c, v, lv->vg), &v->store);
    if (why)
        return vb_ps_fail(&c->s, VB_E_INSUFFICIENT_STORAGE,
                          "Make room in the volume group or pool, or set change-store in [provider lvm].",
                          "volume '%s' cannot be snapshotted: %s", v->record.mount_point, why);
    v->vg = vb_ps_strdup(lv->vg);
    v->lv = vb_ps_strdup(lv->name);
    char *name = vb_lvm_name(v->record.snapshot_id);
    v->record.object = vb_ps_printf("%s/%s", v->vg, name);
    free(name);
    const char *mounts = vb_lvm_option(c, "mounts");
    v->record.place = vb_ps_printf("%s/%s", mounts ? mounts : MOUNTS, v->record.snapshot_id);
    int rc = vb_lvm_make_place(c, v->record.place);
    vb_lvm_flush(v->record.mount_point); /* less is left to write while the device is suspended */
    return rc < 0 ? -1 : vb_ps_record_save(&c->s, &v->record);
}

static int end_prepare(void *ctx, const char *set_id)
{
    struct vb_lvm *c = ctx;
    struct vb_lvm_list l = { NULL, 0, 0 };
    int rc = vb_lvm_report(c, &l);
    (void)set_id;
    for (struct vb_lvm_volume *v = c->volumes; rc == 0 && v; v = v->next)
        rc = prepare_volume(c, v, &l);
    vb_lvm_list_clear(&l);
    return rc;
}

static int pre_commit(void *ctx, const char *set_id)
{
    struct vb_lvm *c = ctx;
    (void)set_id;
    for (struct vb_lvm_volume *v = c->volumes; v; v = v->next)
        vb_lvm_flush(v->record.mount_point);
    return 0;
}

static int create(struct vb_lvm *c, const struct vb_lvm_volume *v, int lock)
{
    char *size = vb_ps_printf("%llub", (unsigned long long)v->store), *origin = vb_ps_printf("%s/%s", v->vg, v->lv);
    const char *name = strchr(v->record.object, '/') + 1;
    const char *thick[] = { vb_lvm_command(c), "lvcreate", "--yes", "--quiet", "--snapshot", "--addtag", "vbackup",
                            "--size",   size,       "--name", name,     origin,       NULL };
    const char *thin[] = { vb_lvm_command(c), "lvcreate", "--yes",  "--quiet", "--snapshot",         "--addtag", "vbackup",
                           "--name",   name,       "--activate", "y",   "--setactivationskip", "n",       origin, NULL };
    int rc = vb_ps_command(&c->s, v->store ? thick : thin, lock, NULL);
    free(size);
    free(origin);
    return rc;
}

static int commit(void *ctx, const char *set_id)
{
    struct vb_lvm *c = ctx;
    int rc = 0, lock = vb_ps_lock(&c->s, VB_LVM_LOCK);
    (void)set_id;
    if (lock < 0)
        return -1;
    for (struct vb_lvm_volume *v = c->volumes; rc == 0 && v; v = v->next)
        rc = create(c, v, lock);
    close(lock);
    return rc;
}

static int mount_copy(struct vb_lvm *c, struct vb_lvm_volume *v, const struct vb_lvm_list *l)
{
    const char *name = strchr(v->record.object, '/') + 1;
    const struct vb_lvm_lv *copy = vb_lvm_by_name(l, v->vg, name);
    if (!copy || !copy->path[0])
        return vb_ps_fail(&c->s, VB_E_OBJECT_NOT_FOUND, "Look at it with lvs.", "logical volume '%s' was not made",
                          v->record.object);
    v->device = vb_ps_strdup(copy->path);
    int e = vb_lvm_mount(v->device, v->record.place, v->fs_type);
    if (e)
        return vb_ps_fail_errno(&c->s, e, "The kernel's log says more.", "shadow copy '%s' (%s) cannot be mounted",
                                v->record.object, v->fs_type);
    return 0;
}

static int post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct vb_lvm *c = ctx;
    (void)set_id;
    for (struct vb_lvm_volume *v = c->volumes; v; v = v->next)
        *n_created += 1;
    return 0;
}

static bool wants_recovery(const struct vb_lvm_volume *v)
{
    return (v->attributes & (VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY)) && !(v->attributes & VB_SA_NO_AUTORECOVERY);
}

static int set_writable(struct vb_lvm *c, bool writable)
{
    for (struct vb_lvm_volume *v = c->volumes; v; v = v->next) {
        int e = wants_recovery(v) ? vb_lvm_mount_writable(v->record.place, writable) : 0;
        if (e)
            return vb_ps_fail_errno(&c->s, e, NULL, "shadow copy '%s' cannot be made %s", v->record.object,
                                    writable ? "writable" : "read-only");
    }
    return 0;
}

/* Mounted, and the record completed, here and not in post_commit: the writers wait for post_commit. */
static int pre_final(void *ctx, const char *set_id)
{
    struct vb_lvm *c = ctx;
    struct vb_lvm_list l = { NULL, 0, 0 };
    int rc = vb_lvm_report(c, &l);
    (void)set_id;
    for (struct vb_lvm_volume *v = c->volumes; rc == 0 && v; v = v->next) {
        rc = mount_copy(c, v, &l);
        if (rc == 0)
            rc = vb_ps_record_created(&c->s, &v->record);
    }
    vb_lvm_list_clear(&l);
    return rc == 0 ? set_writable(c, true) : rc;
}

/* The device as well: nothing may write to it any more, whoever mounts it once more. */
static int close_devices(struct vb_lvm *c)
{
    for (struct vb_lvm_volume *v = c->volumes; v; v = v->next) {
        int e = v->device ? vb_lvm_device_read_only(v->device) : ENODEV;
        if (e)
            return vb_ps_fail_errno(&c->s, e, NULL, "shadow copy '%s' cannot be made read-only", v->record.object);
    }
    return 0;
}

static int post_final(void *ctx, const char *set_id)
{
    (void)set_id;
    if (set_writable(ctx, false) < 0 || close_devices(ctx) < 0)
        return -1;
    forget(ctx);
    return 0;
}

static int abort_set(void *ctx, const char *set_id)
{
    struct vb_lvm *c = ctx;
    int rc = 0;
    (void)set_id;
    for (struct vb_lvm_volume *v = c->volumes; v; v = v->next)
        if (v->record.object && v->record.place && vb_lvm_remove(c, &v->record) < 0)
            rc = -1;
    forget(c);
    return rc;
}

extern const struct vb_provider vb_provider_lvm;
const struct vb_provider vb_provider_lvm = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "b8a1f7d4-2f1e-4e0b-8c57-9a5d7e6c3b10",
    .name = "lvm",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SOFTWARE,
    .preference = 90,
    .open = lopen,
    .close = lclose,
    .supports = supports,
    .begin_prepare = begin_prepare,
    .end_prepare = end_prepare,
    .pre_commit = pre_commit,
    .commit = commit,
    .post_commit = post_commit,
    .pre_final = pre_final,
    .post_final = post_final,
    .abort = abort_set,
    .snapshot_path = vb_lvm_path,
    .delete_snapshot = vb_lvm_delete,
    .query = vb_lvm_query,
    .check = vb_lvm_check,
};
