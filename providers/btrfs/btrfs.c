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

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "providers/btrfs/btrfs.h"
#include "providers/btrfs/manage.h"

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_NO_WRITERS | VB_SA_CLIENT_ACCESSIBLE | \
     VB_SA_TRANSPORTABLE | VB_SA_DIFFERENTIAL | VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | VB_SA_DELAYED_POSTSNAPSHOT)

struct volume {
    struct vb_ps_record record;
    uint32_t attributes;
    int source, place; /* descriptors, opened in end_prepare */
    struct vb_btrfs_nested *nested;
    const struct volume *same; /* the same subvolume, mounted in two places: one snapshot for both (S-31) */
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
    vb_btrfs_copies_finish(&c->s);
    vb_btrfs_revert_finish(&c->s);
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
        vb_btrfs_nested_free(v->nested);
        vb_ps_record_clear(&v->record);
        free(v);
    }
}

static void bclose(void *ctx)
{
    forget(ctx);
    free(ctx);
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

const char *vb_btrfs_user_refusal(const char *path, const struct stat *st)
{
    if (geteuid() == 0)
        return NULL;
    if (st->st_uid != geteuid())
        return "the subvolume belongs to another user; only root and its owner may snapshot it";
    if (!users_may_delete(path))
        return "a user cannot delete snapshots here: mount with user_subvol_rm_allowed, or run as root";
    return NULL;
}

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct stat st;
    const char *why = NULL;
    struct ctx *c = ctx;
    if (strcmp(vol->fs_type, "btrfs") != 0)
        why = "not btrfs";
    else if (stat(vol->subvolume_root, &st) < 0)
        why = strerror(errno);
    else if (st.st_ino != VB_BTRFS_ROOT_INODE || btrfs_util_is_subvolume(vol->subvolume_root) != BTRFS_UTIL_OK)
        why = "the directory is not the root of a subvolume";
    else
        why = vb_btrfs_user_refusal(vol->subvolume_root, &st);
    if (why) {
        snprintf(out->why, sizeof out->why, "%s", why);
        return 0;
    }
    out->supported = 1;
    out->atomic = 1;
    out->hold = VB_HOLD_WRITERS; /* the snapshot call blocks on a frozen file system until the thaw */
    out->attributes = ATTRIBUTES;
    out->without_writers = VB_CONSISTENCY_CRASH;
    struct vb_btrfs_nested *nested = vb_btrfs_nested_find(&c->s, vol, out->why, sizeof out->why);
    if (nested) { /* several snapshots, one after the other */
        out->atomic = 0;
        out->without_writers = VB_CONSISTENCY_NONE;
    }
    vb_btrfs_nested_free(nested);
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
    v->nested = vb_btrfs_nested_find(&c->s, vol, NULL, 0);
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

/* Every subvolume has a device number of its own. */
static const struct volume *same_subvolume(const struct ctx *c, const struct volume *v)
{
    struct stat a, b;
    if (v->nested || fstat(v->source, &a) < 0)
        return NULL;
    for (const struct volume *w = c->volumes; w; w = w->next)
        if (w != v && w->place >= 0 && !w->nested && fstat(w->source, &b) == 0 && a.st_dev == b.st_dev)
            return w;
    return NULL;
}

/* The record first: whatever is made afterwards is known to who comes after us. */
static int prepare_volume(struct ctx *c, struct volume *v)
{
    const char *where = c->s.svc->option(c->s.host, "place");
    v->source = open(v->record.source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v->source < 0)
        return vb_ps_fail_errno(&c->s, errno, "Look whether it is still mounted, and run the job again.",
                                "subvolume '%s' cannot be opened", v->record.source);
    v->same = same_subvolume(c, v);
    if (v->same) {
        v->record.place = vb_ps_strdup(v->same->record.place);
        return vb_ps_record_save(&c->s, &v->record);
    }
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
    return vb_btrfs_nested_open(&c->s, v->record.source, &v->nested);
}

static int end_prepare(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (prepare_volume(c, v) < 0)
            return -1;
    /* The snapshot writes out what is dirty: what can be written while nobody is held is written now. */
    for (struct volume *v = c->volumes; v; v = v->next)
        (void)syncfs(v->source);
    return 0;
}

/* What holds others is writable until they are in place. */
static int snapshot_volume(struct ctx *c, struct volume *v)
{
    int flags = v->nested ? 0 : BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY;
    enum btrfs_util_error e = btrfs_util_create_snapshot_fd2(v->source, v->place, v->record.snapshot_id, flags, NULL,
                                                             NULL);
    if (e != BTRFS_UTIL_OK)
        return vb_btrfs_failed(&c->s, e, "snapshot", v->record.source);
    if (!v->nested)
        return 0;
    int made = openat(v->place, v->record.snapshot_id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0)
        return vb_ps_fail_errno(&c->s, errno, NULL, "snapshot of '%s' cannot be opened", v->record.source);
    int rc = vb_btrfs_nested_snapshot(&c->s, v->nested, made);
    close(made);
    return rc;
}

static int commit(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (!v->same && snapshot_volume(c, v) < 0)
            return -1;
    return 0;
}

static int post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next) {
        if (v->nested && vb_btrfs_set_read_only(&c->s, v->record.place, true) < 0)
            return -1;
        *n_created += 1;
    }
    return 0;
}

static bool wants_recovery(const struct volume *v)
{
    return (v->attributes & (VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY)) && !(v->attributes & VB_SA_NO_AUTORECOVERY);
}

/* One snapshot may stand for the subvolume in several places. */
static bool recovers(const struct ctx *c, const struct volume *v)
{
    bool yes = wants_recovery(v);
    for (const struct volume *w = c->volumes; w && !yes; w = w->next)
        yes = w->same == v && wants_recovery(w);
    return yes;
}

static int set_read_only(struct ctx *c, bool read_only)
{
    for (struct volume *v = c->volumes; v; v = v->next)
        if (!v->same && recovers(c, v) && vb_btrfs_set_read_only(&c->s, v->record.place, read_only) < 0)
            return -1;
    return 0;
}

/* The record is completed here and not in post_commit: it is synced, and the writers wait for post_commit. */
static int pre_final(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (vb_ps_record_created(&c->s, &v->record) < 0)
            return -1;
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
    if (!S_ISDIR(st.st_mode) || st.st_ino != VB_BTRFS_ROOT_INODE)
        return vb_ps_fail(&c->s, VB_E_PROVIDER_VETO, NULL, "'%s' is not a subvolume and was left alone", r->place);
    return vb_btrfs_delete(&c->s, r->place);
}

static int remove_shadow(void *ctx, const struct vb_ps_record *r)
{
    struct ctx *c = ctx;
    int shared = r->place ? vb_ps_record_shared(&c->s, r) : 1; /* the other one shows it still; or nothing was made */
    if (vb_btrfs_receive_over(&c->s, r->snapshot_id) < 0)
        return -1;
    if (shared < 0 || (!shared && delete_place(c, r) < 0))
        return -1;
    if (!shared)
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

static int revert(void *ctx, const char *snapshot_id, uint32_t flags, const char *kept_id, const char *kept_set_id)
{
    return vb_btrfs_revert(&((struct ctx *)ctx)->s, snapshot_id, flags, kept_id, kept_set_id);
}

static int make_writable(void *ctx, const char *snapshot_id, const char *path, int read_only)
{
    return vb_btrfs_make_writable(&((struct ctx *)ctx)->s, snapshot_id, path, read_only);
}

static int send_to(void *ctx, const char *snapshot_id, int fd, char *stamp, size_t size)
{
    return vb_btrfs_send(&((struct ctx *)ctx)->s, snapshot_id, NULL, fd, stamp, size);
}

static int send_from(void *ctx, const char *snapshot_id, const char *parent_id, int fd, char *stamp, size_t size)
{
    return vb_btrfs_send(&((struct ctx *)ctx)->s, snapshot_id, parent_id, fd, stamp, size);
}

static int stamp_of(void *ctx, const char *snapshot_id, char *stamp, size_t size)
{
    return vb_btrfs_stamp(&((struct ctx *)ctx)->s, snapshot_id, stamp, size);
}

static int receive(void *ctx, const char *set_id, const char *snapshot_id, const char *dir, const char *stamp, int fd)
{
    return vb_btrfs_receive(&((struct ctx *)ctx)->s, set_id, snapshot_id, dir, stamp, fd);
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
    .revert = revert,
    .make_writable = make_writable,
    .send = send_to,
    .receive = receive,
    .stamp = stamp_of,
    .send_from = send_from,
};
