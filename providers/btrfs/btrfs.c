/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/btrfs/btrfs.c - read-only snapshots of btrfs subvolumes.
 *
 * Everything that takes time or can fail for lack of rights happens before commit: the hidden directory is made, source
 * and destination are opened, the record is written.  commit is one ioctl per subvolume, through libbtrfsutil.
 *
 * Without root: the owner of a subvolume may make snapshots of it, and delete them if the file system is mounted with
 * user_subvol_rm_allowed.  Without that a snapshot could be made but not removed, so the volume is not supported then.
 */
#include "config.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "providers/support/support.h"

#define SUBVOLUME_ROOT_INODE 256
#define MAX_NAMED_NESTED 3

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_NO_WRITERS | VB_SA_CLIENT_ACCESSIBLE | \
     VB_SA_DIFFERENTIAL | VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | VB_SA_DELAYED_POSTSNAPSHOT)

struct volume {
    struct vb_ps_record record;
    uint32_t attributes;
    int source, place; /* descriptors, opened in end_prepare */
    bool made;
    struct volume *next;
};

struct ctx {
    struct vb_ps s;
    struct volume *volumes; /* of the set being made */
};

static int bopen(void *host, const struct vb_provider_services *svc, void **out)
{
    struct ctx *c = vb_ps_alloc(sizeof *c);
    c->s = (struct vb_ps){ host, svc };
    *out = c;
    return 0;
}

static void forget(struct ctx *c)
{
    while (c->volumes) {
        struct volume *v = c->volumes;
        c->volumes = v->next;
        if (v->source >= 0)
            close(v->source);
        if (v->place >= 0)
            close(v->place);
        vb_ps_record_clear(&v->record);
        free(v);
    }
}

static void bclose(void *ctx)
{
    forget(ctx);
    free(ctx);
}

static int failed(const struct ctx *c, enum btrfs_util_error e, int errnum, const char *what, const char *path)
{
    return vb_ps_fail_errno(&c->s, errnum ? errnum : EIO, NULL, "%s of '%s' failed (%s)", what, path,
                            btrfs_util_strerror(e));
}

/* ---- supports ---- */

/* The option is shown in the mount's options, for the longest mount point the path lies on. */
static bool users_may_delete(const char *path)
{
    FILE *f = setmntent("/proc/self/mounts", "r");
    size_t best = 0;
    bool may = false;
    for (const struct mntent *m; f && (m = getmntent(f));)
        if (vb_ps_below(path, m->mnt_dir) && strlen(m->mnt_dir) >= best) {
            best = strlen(m->mnt_dir);
            may = hasmntopt(m, "user_subvol_rm_allowed") != NULL;
        }
    if (f)
        endmntent(f);
    return may;
}

static const char *user_refusal(const char *path, const struct stat *st)
{
    if (geteuid() == 0)
        return NULL;
    if (st->st_uid != geteuid())
        return "the subvolume belongs to another user; only root and its owner may snapshot it";
    if (!users_may_delete(path))
        return "a user cannot delete snapshots here: mount with user_subvol_rm_allowed, or run as root";
    return NULL;
}

static bool touches(const struct vb_provider_volume *vol, const char *nested)
{
    for (size_t i = 0; i < vol->n_trees; i++)
        if (vb_ps_below(nested, vol->trees[i]))
            return true;
    return vol->n_trees == 0;
}

/* Nested subvolumes are not in a snapshot; which of them hold parts of the trees is worth recording. */
static void name_nested(const struct vb_provider_volume *vol, char *why, size_t size)
{
    struct btrfs_util_subvolume_iterator *it = NULL;
    size_t used = 0;
    unsigned n = 0;
    char *path = NULL;
    if (btrfs_util_create_subvolume_iterator(vol->subvolume_root, 0, 0, &it) != BTRFS_UTIL_OK)
        return;
    while (btrfs_util_subvolume_iterator_next(it, &path, NULL) == BTRFS_UTIL_OK) {
        char *whole = vb_ps_printf("%s/%s", strcmp(vol->subvolume_root, "/") ? vol->subvolume_root : "", path);
        bool ours = !strncmp(path, VB_PLACE "/", strlen(VB_PLACE) + 1) || strstr(path, "/" VB_PLACE "/");
        if (!ours && touches(vol, whole) && n++ < MAX_NAMED_NESTED && used < size)
            used += (size_t)snprintf(why + used, size - used, "%s'%s'",
                                     n == 1 ? "nested subvolumes are not part of it: " : ", ", whole);
        free(whole);
        free(path);
    }
    if (n > MAX_NAMED_NESTED && used < size)
        snprintf(why + used, size - used, " and %u more", n - MAX_NAMED_NESTED);
    btrfs_util_destroy_subvolume_iterator(it);
}

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct stat st;
    const char *why = NULL;
    (void)ctx;
    if (strcmp(vol->fs_type, "btrfs") != 0)
        why = "not btrfs";
    else if (stat(vol->subvolume_root, &st) < 0)
        why = strerror(errno);
    else if (st.st_ino != SUBVOLUME_ROOT_INODE || btrfs_util_is_subvolume(vol->subvolume_root) != BTRFS_UTIL_OK)
        why = "the directory is not the root of a subvolume";
    else
        why = user_refusal(vol->subvolume_root, &st);
    if (why) {
        snprintf(out->why, sizeof out->why, "%s", why);
        return 0;
    }
    out->supported = 1;
    out->atomic = 1;
    out->hold = VB_HOLD_WRITERS; /* the snapshot call blocks on a frozen file system until the thaw */
    out->attributes = ATTRIBUTES;
    out->without_writers = VB_CONSISTENCY_CRASH;
    name_nested(vol, out->why, sizeof out->why);
    return 0;
}

/* ---- making ---- */

static int begin_prepare(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct ctx *c = ctx;
    struct volume *v = vb_ps_alloc(sizeof *v);
    v->record = (struct vb_ps_record){ .snapshot_id = vb_ps_strdup(vol->snapshot_id),
                                       .set_id = vb_ps_strdup(set_id),
                                       .mount_point = vb_ps_strdup(vol->mount_point),
                                       .source = vb_ps_strdup(vol->subvolume_root) };
    v->attributes = vol->attributes;
    v->source = v->place = -1;
    v->next = c->volumes;
    c->volumes = v;
    return 0;
}

/* Device numbers differ between subvolumes, the id of the file system does not. */
static bool same_file_system(int a, int b)
{
    struct statfs x, y;
    return fstatfs(a, &x) == 0 && fstatfs(b, &y) == 0 && x.f_type == y.f_type &&
           x.f_fsid.__val[0] == y.f_fsid.__val[0];
}

/* The record first: whatever is made afterwards is known to who comes after us. */
static int prepare_volume(struct ctx *c, struct volume *v)
{
    const char *where = c->s.svc->option(c->s.host, "place");
    v->source = open(v->record.source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v->source < 0)
        return vb_ps_fail_errno(&c->s, errno, "Look whether it is still mounted, and run the job again.",
                                "subvolume '%s' cannot be opened", v->record.source);
    char *place = vb_ps_place_in(where ? where : v->record.source);
    v->record.place = vb_ps_printf("%s/%s", place, v->record.snapshot_id);
    free(place);
    if (vb_ps_record_save(&c->s, &v->record) < 0)
        return -1;
    v->place = vb_ps_place_open(&c->s, where ? where : v->record.source);
    if (v->place < 0)
        return -1;
    if (where && !same_file_system(v->source, v->place))
        return vb_ps_fail(&c->s, VB_E_CONFIG, "Give a directory on the same btrfs.",
                          "place '%s' is not on the file system of '%s'", where, v->record.source);
    return 0;
}

static int end_prepare(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (prepare_volume(c, v) < 0)
            return -1;
    return 0;
}

static int commit(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next) {
        enum btrfs_util_error e = btrfs_util_create_snapshot_fd2(v->source, v->place, v->record.snapshot_id,
                                                                 BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY, NULL, NULL);
        if (e != BTRFS_UTIL_OK)
            return failed(c, e, errno, "snapshot", v->record.source);
        v->made = true;
    }
    return 0;
}

static int post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next) {
        if (vb_ps_record_created(&c->s, &v->record) < 0)
            return -1;
        *n_created += 1;
    }
    return 0;
}

static bool wants_recovery(const struct volume *v)
{
    return (v->attributes & (VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY)) && !(v->attributes & VB_SA_NO_AUTORECOVERY);
}

static int set_read_only(struct ctx *c, bool read_only)
{
    for (struct volume *v = c->volumes; v; v = v->next) {
        enum btrfs_util_error e;
        if (!wants_recovery(v))
            continue;
        e = btrfs_util_set_subvolume_read_only(v->record.place, read_only);
        if (e != BTRFS_UTIL_OK)
            return failed(c, e, errno, read_only ? "making read-only" : "making writable", v->record.place);
    }
    return 0;
}

static int pre_final(void *ctx, const char *set_id)
{
    (void)set_id;
    return set_read_only(ctx, false);
}

static int post_final(void *ctx, const char *set_id)
{
    (void)set_id;
    if (set_read_only(ctx, true) < 0)
        return -1;
    forget(ctx);
    return 0;
}

/* ---- removing ---- */

/* Only what is a subvolume under its own id in our directory is deleted, whatever the record says. */
static int delete_place(struct ctx *c, const struct vb_ps_record *r)
{
    struct stat st;
    if (vb_ps_record_check_place(&c->s, r) < 0)
        return -1;
    if (lstat(r->place, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return vb_ps_fail_errno(&c->s, errno, NULL, "shadow copy '%s' cannot be examined", r->place);
    }
    if (!S_ISDIR(st.st_mode) || st.st_ino != SUBVOLUME_ROOT_INODE)
        return vb_ps_fail(&c->s, VB_E_PROVIDER_VETO, NULL, "'%s' is not a subvolume and was left alone", r->place);
    if (geteuid() != 0)
        btrfs_util_set_subvolume_read_only(r->place, false); /* to a user read-only means not to be deleted either */
    enum btrfs_util_error e = btrfs_util_delete_subvolume(r->place, 0);
    if (e == BTRFS_UTIL_OK || (errno == ENOENT))
        return 0;
    return failed(c, e, errno, "deleting the shadow copy", r->place);
}

static int remove_shadow(void *ctx, const struct vb_ps_record *r)
{
    struct ctx *c = ctx;
    if (r->place && delete_place(c, r) < 0)
        return -1;
    if (r->place)
        vb_ps_place_leave(r->place);
    return vb_ps_record_remove(&c->s, r->snapshot_id);
}

static int abort_set(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    int rc = 0;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (remove_shadow(c, &v->record) < 0)
            rc = -1;
    forget(c);
    return rc;
}

static int delete_snapshot(void *ctx, const char *snapshot_id)
{
    return vb_ps_delete(&((struct ctx *)ctx)->s, snapshot_id, remove_shadow, ctx);
}

/* ---- looking ---- */

static int snapshot_path(void *ctx, const char *snapshot_id, const char *path, char **out)
{
    return vb_ps_path(&((struct ctx *)ctx)->s, snapshot_id, path, out);
}

static int query(void *ctx,
                 int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                           const char *path, int64_t created_sec), void *arg)
{
    return vb_ps_query(&((struct ctx *)ctx)->s, fn, arg);
}

extern const struct vb_provider vb_provider_btrfs;
const struct vb_provider vb_provider_btrfs = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "6f0a1c26-6f0d-4a32-9a53-3f1c0f5d7b02",
    .name = "btrfs",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SOFTWARE,
    .preference = 100,
    .open = bopen,
    .close = bclose,
    .supports = supports,
    .begin_prepare = begin_prepare,
    .end_prepare = end_prepare,
    .commit = commit,
    .post_commit = post_commit,
    .pre_final = pre_final,
    .post_final = post_final,
    .abort = abort_set,
    .snapshot_path = snapshot_path,
    .delete_snapshot = delete_snapshot,
    .query = query,
};
