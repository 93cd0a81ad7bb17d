/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/reflink/reflink.c - shadow copies of single trees, made of cloned files, where no volume snapshot exists.
 *
 * The files are cloned one after the other, so this is one instant only while the writers hold; without them it is
 * no better than reading live, and says so.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "providers/support/staged.h"

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | \
     VB_SA_DELAYED_POSTSNAPSHOT)

/* ---- where ---- */

static char *parent_of(const char *path)
{
    char *up = vb_ps_strdup(path), *slash = strrchr(up, '/');
    slash[slash == up ? 1 : 0] = 0;
    return up;
}

/* A directory on the trees' file system that we may write to: the configured one, the top of the mount, or beside the
 * first tree.  NULL: none. */
static char *find_place(struct vb_ps_staged *c, const struct vb_provider_volume *vol)
{
    const char *where = c->s.svc->option(c->s.host, "place");
    struct stat tree, st;
    char *beside = vol->n_trees ? parent_of(vol->trees[0]) : NULL;
    const char *tries[] = { where, where ? NULL : vol->mount_point, where ? NULL : beside };
    char *found = NULL;
    dev_t dev = 0;
    for (size_t i = 0; i < vol->n_trees && !dev; i++)
        if (stat(vol->trees[i], &tree) == 0)
            dev = tree.st_dev;
    for (size_t i = 0; !found && i < sizeof tries / sizeof tries[0]; i++)
        if (tries[i] && faccessat(AT_FDCWD, tries[i], W_OK | X_OK, AT_EACCESS) == 0 && stat(tries[i], &st) == 0 &&
            (!dev || st.st_dev == dev || !strcmp(vol->fs_type, "btrfs")))
            found = vb_ps_strdup(tries[i]);
    free(beside);
    return found;
}

/* Whether clones can be made in the directory: NULL, or why not. */
static const char *try_clone(int dir)
{
    static const char block[4096] = { 1 };
    const char *why = NULL;
    int a = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int b = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (a < 0 || b < 0)
        why = strerror(errno);
    else if (write(a, block, sizeof block) != (ssize_t)sizeof block)
        why = strerror(errno);
    else if (ioctl(b, FICLONE, a) < 0)
        why = errno == EOPNOTSUPP || errno == EINVAL || errno == ENOTTY ? "the file system cannot clone files"
                                                                        : strerror(errno);
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    return why;
}

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct vb_ps_staged *c = ctx;
    const char *why = NULL;
    char *place = NULL;
    if (strcmp(vol->fs_type, "xfs") != 0 && strcmp(vol->fs_type, "btrfs") != 0) {
        why = "neither xfs nor btrfs";
    } else if (!(place = find_place(c, vol))) {
        why = "no directory on this file system can be written to; set 'place'";
    } else {
        int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        why = fd < 0 ? strerror(errno) : try_clone(fd);
        if (fd >= 0)
            close(fd);
    }
    free(place);
    snprintf(out->why, sizeof out->why, "%s",
             why ? why : "files are cloned one by one: one instant only while writers hold");
    if (why)
        return 0;
    out->supported = 1;
    out->hold = VB_HOLD_WRITERS; /* cloning blocks on a frozen file system */
    out->per_tree = 1;
    out->attributes = ATTRIBUTES;
    out->without_writers = VB_CONSISTENCY_NONE;
    return 0;
}

/* ---- making ---- */

static int begin_prepare(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct vb_ps_staged *c = ctx;
    char *place = find_place(c, vol);
    if (!place)
        return vb_ps_fail(&c->s, VB_E_CONFIG, "Set place = DIR in [provider reflink].",
                          "there is no writable directory beside the trees of '%s'", vol->mount_point);
    return vb_ps_staged_begin(c, set_id, vol, place);
}

static int commit(void *ctx, const char *set_id)
{
    static const struct vb_ps_tree CLONES = { .clone = true };
    (void)set_id;
    return vb_ps_staged_copy(ctx, &CLONES);
}

extern const struct vb_provider vb_provider_reflink;
const struct vb_provider vb_provider_reflink = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "2c7b8f4e-90c4-4f6d-8a63-0d5a7c1e9b03",
    .name = "reflink",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SOFTWARE,
    .preference = 50,
    .open = vb_ps_staged_open,
    .close = vb_ps_staged_close,
    .supports = supports,
    .begin_prepare = begin_prepare,
    .end_prepare = vb_ps_staged_end_prepare,
    .commit = commit,
    .post_commit = vb_ps_staged_post_commit,
    .pre_final = vb_ps_staged_pre_final,
    .post_final = vb_ps_staged_post_final,
    .abort = vb_ps_staged_abort,
    .snapshot_path = vb_ps_staged_path,
    .delete_snapshot = vb_ps_staged_delete,
    .query = vb_ps_staged_query,
};
