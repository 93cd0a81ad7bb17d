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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "providers/reflink/reflink.h"

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | \
     VB_SA_DELAYED_POSTSNAPSHOT)

struct volume {
    struct vb_ps_record record;
    bool staged; /* record.place is the shadow copy's; before, the directory above the hidden one */
    int stage;   /* descriptor of the shadow copy's directory */
    struct volume *next;
};

struct ctx {
    struct vb_ps s;
    struct volume *volumes;
};

static int ropen(void *host, const struct vb_provider_services *svc, void **out)
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
        if (v->stage >= 0)
            close(v->stage);
        vb_ps_record_clear(&v->record);
        free(v);
    }
}

static void rclose(void *ctx)
{
    forget(ctx);
    free(ctx);
}

/* ---- where ---- */

static char *parent_of(const char *path)
{
    char *up = vb_ps_strdup(path), *slash = strrchr(up, '/');
    slash[slash == up ? 1 : 0] = 0;
    return up;
}

/* A directory on the trees' file system that we may write to: the configured one, the top of the mount, or beside the
 * first tree.  NULL: none. */
static char *find_place(struct ctx *c, const struct vb_provider_volume *vol)
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

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct ctx *c = ctx;
    const char *why = NULL;
    char *place = NULL;
    if (strcmp(vol->fs_type, "xfs") != 0 && strcmp(vol->fs_type, "btrfs") != 0) {
        why = "neither xfs nor btrfs";
    } else if (!(place = find_place(c, vol))) {
        why = "no directory on this file system can be written to; set 'place'";
    } else {
        int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        why = fd < 0 ? strerror(errno) : vb_reflink_try(fd);
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

static char *join_trees(const struct vb_provider_volume *vol)
{
    size_t n = 1;
    for (size_t i = 0; i < vol->n_trees; i++)
        n += strlen(vol->trees[i]) + 1;
    char *all = vb_ps_alloc(n), *at = all;
    for (size_t i = 0; i < vol->n_trees; i++) {
        size_t len = strlen(vol->trees[i]);
        memcpy(at, vol->trees[i], len);
        at += len;
        *at++ = i + 1 < vol->n_trees ? '\n' : 0;
    }
    return all;
}

static int begin_prepare(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct ctx *c = ctx;
    if (!vol->n_trees)
        return vb_ps_fail(&c->s, VB_E_USAGE, NULL, "no tree of volume '%s' was named", vol->mount_point);
    for (size_t i = 0; i < vol->n_trees; i++)
        if (strchr(vol->trees[i], '\n'))
            return vb_ps_fail(&c->s, VB_E_NOT_SUPPORTED, "Use another provider for it.",
                              "tree '%s' has a line break in its name", vol->trees[i]);
    char *place = find_place(c, vol);
    if (!place)
        return vb_ps_fail(&c->s, VB_E_CONFIG, "Set place = DIR in [provider reflink].",
                          "there is no writable directory beside the trees of '%s'", vol->mount_point);
    struct volume *v = vb_ps_alloc(sizeof *v);
    v->stage = -1;
    v->record = (struct vb_ps_record){ .snapshot_id = vb_ps_strdup(vol->snapshot_id),
                                       .set_id = vb_ps_strdup(set_id),
                                       .mount_point = vb_ps_strdup(vol->mount_point),
                                       .source = vb_ps_strdup(vol->mount_point),
                                       .trees = join_trees(vol) };
    v->record.place = place; /* the directory that holds the hidden one, until end_prepare */
    v->next = c->volumes;
    c->volumes = v;
    return 0;
}

static int stage_volume(struct ctx *c, struct volume *v)
{
    char *above = v->record.place, *hidden = vb_ps_place_in(above);
    v->record.place = vb_ps_printf("%s/%s", hidden, v->record.snapshot_id);
    v->staged = true;
    int rc = vb_ps_record_save(&c->s, &v->record);
    int place = rc == 0 ? vb_ps_place_open(&c->s, above) : -1;
    free(hidden);
    free(above);
    if (place < 0)
        return -1;
    if (mkdirat(place, v->record.snapshot_id, 0700) == 0)
        v->stage = openat(place, v->record.snapshot_id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (v->stage < 0)
        rc = vb_ps_fail_errno(&c->s, errno, NULL, "directory '%s' cannot be made", v->record.place);
    close(place);
    return rc;
}

static int end_prepare(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (stage_volume(c, v) < 0)
            return -1;
    return 0;
}

static int commit(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    int rc = 0;
    (void)set_id;
    for (struct volume *v = c->volumes; v && rc == 0; v = v->next) {
        char *trees = vb_ps_strdup(v->record.trees), *rest = trees;
        for (char *tree; rc == 0 && (tree = strsep(&rest, "\n"));)
            rc = vb_reflink_clone(&c->s, tree, v->stage);
        free(trees);
    }
    return rc;
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

static int post_final(void *ctx, const char *set_id)
{
    (void)set_id;
    forget(ctx); /* the copies are ours alone: nobody else can reach them, so nothing has to be made read-only */
    return 0;
}

/* ---- removing ---- */

static int remove_shadow(void *ctx, const struct vb_ps_record *r)
{
    struct ctx *c = ctx;
    if (vb_ps_record_check_place(&c->s, r) < 0 || vb_reflink_remove(&c->s, r->place) < 0)
        return -1;
    vb_ps_place_leave(r->place);
    return vb_ps_record_remove(&c->s, r->snapshot_id);
}

static int abort_set(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    int rc = 0;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (v->staged && remove_shadow(c, &v->record) < 0)
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
    .open = ropen,
    .close = rclose,
    .supports = supports,
    .begin_prepare = begin_prepare,
    .end_prepare = end_prepare,
    .commit = commit,
    .post_commit = post_commit,
    .post_final = post_final,
    .abort = abort_set,
    .snapshot_path = snapshot_path,
    .delete_snapshot = delete_snapshot,
    .query = query,
};
