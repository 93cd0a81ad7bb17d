/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/zfs/zfs.c - snapshots of ZFS datasets, through the command zfs(8).
 *
 * All datasets of one pool are snapshotted by one command, which is one instant for them; pools follow each other.
 * A snapshot is seen below .zfs/snapshot of the mounted dataset.  It has been run against a scripted command only, never
 * against real ZFS: vbackup-provider-zfs(8) says so.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "providers/support/command.h"

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_NO_WRITERS | VB_SA_CLIENT_ACCESSIBLE | \
     VB_SA_DIFFERENTIAL | VB_SA_DELAYED_POSTSNAPSHOT)
#define MARK "@vbackup-" /* only snapshots of this name are ever destroyed */
#define LOCK ".lock"

struct volume {
    struct vb_ps_record record; /* object: DATASET@vbackup-ID */
    char *dataset;
    bool shared; /* the dataset is mounted in two places: one snapshot for both (S-31) */
    struct volume *next;
};

struct ctx {
    struct vb_ps s;
    struct volume *volumes;
    int lock; /* held from pre_commit to the end of commit, which opens nothing */
};

static int zopen(void *host, const struct vb_provider_services *svc, void **out)
{
    struct ctx *c = vb_ps_alloc(sizeof *c);
    c->s = (struct vb_ps){ host, svc };
    c->lock = -1;
    *out = c;
    return 0;
}

static void unlock(struct ctx *c)
{
    if (c->lock >= 0)
        close(c->lock);
    c->lock = -1;
}

static void forget(struct ctx *c)
{
    unlock(c);
    while (c->volumes) {
        struct volume *v = c->volumes;
        c->volumes = v->next;
        vb_ps_record_clear(&v->record);
        free(v->dataset);
        free(v);
    }
}

static void zclose(void *ctx)
{
    forget(ctx);
    free(ctx);
}

/* ---- the command ---- */

/* A program that somebody else may change is not run. */
static bool trusted(const char *path)
{
    struct stat st;
    return path[0] == '/' && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) &&
           !(st.st_mode & 022) && (st.st_uid == 0 || st.st_uid == geteuid());
}

/* NULL: there is none that may be run. */
static const char *command(const struct ctx *c)
{
    static const char *const PLACES[] = { "/usr/sbin/zfs", "/sbin/zfs", "/usr/local/sbin/zfs", "/usr/bin/zfs" };
    const char *given = c->s.svc->option(c->s.host, "command");
    if (given)
        return trusted(given) ? given : NULL;
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++)
        if (trusted(PLACES[i]))
            return PLACES[i];
    return NULL;
}

static int no_command(const struct ctx *c)
{
    return vb_ps_fail(&c->s, VB_E_PREREQUISITE,
                      "Install zfsutils-linux, or set command = PATH in [provider zfs] to a program of root's.",
                      "there is no command zfs that may be run");
}

/* What the command could take for an option, or for more than a dataset, is none. */
static bool is_dataset(const char *name)
{
    return ((name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z')) &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/ ")] == 0;
}

/* 1: a line of the command's listing is exactly `name`, 0: none, -1. */
static int listed(const struct ctx *c, const char *type, const char *name)
{
    const char *argv[] = { command(c), "list", "-H", "-o", "name", "-t", type, NULL };
    char *text = NULL, *rest;
    int found = 0;
    if (!argv[0])
        return no_command(c);
    if (vb_ps_command(&c->s, argv, -1, &text) < 0)
        return -1;
    rest = text;
    for (const char *line; !found && (line = strsep(&rest, "\n"));)
        found = !strcmp(line, name);
    free(text);
    return found;
}

/* ---- supports ---- */

static bool may(const struct ctx *c)
{
    const char *delegated = c->s.svc->option(c->s.host, "delegated");
    return geteuid() == 0 || (delegated && !strcasecmp(delegated, "yes"));
}

static const char *refusal(const struct ctx *c, const struct vb_provider_volume *vol)
{
    if (strcmp(vol->fs_type, "zfs") != 0)
        return "not zfs";
    if (!is_dataset(vol->device))
        return "what is mounted is not a dataset";
    if (vol->fs_root && strcmp(vol->fs_root, "/") != 0)
        return "a directory inside a dataset is mounted there, which has no .zfs";
    if (!may(c))
        return "only root makes snapshots of datasets; delegated = yes if 'zfs allow' lets this user";
    return command(c) ? NULL : "there is no command zfs that may be run";
}

static char *snapshots_of(const char *mount_point)
{
    return vb_ps_printf("%s/.zfs/snapshot", strcmp(mount_point, "/") ? mount_point : "");
}

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct ctx *c = ctx;
    const char *why = refusal(c, vol);
    if (!why) {
        char *seen = snapshots_of(vol->mount_point);
        int known = listed(c, "filesystem", vol->device);
        why = known == 0 ? "zfs does not list this dataset"
              : known > 0 && access(seen, X_OK) < 0 ? "its directory .zfs/snapshot cannot be entered"
                                                    : NULL;
        free(seen);
        if (known < 0)
            return -1;
    }
    if (why) {
        snprintf(out->why, sizeof out->why, "%s", why);
        return 0;
    }
    out->supported = out->atomic = out->group_atomic = 1;
    snprintf(out->group, sizeof out->group, "pool %.*s", (int)strcspn(vol->device, "/"), vol->device);
    out->hold = VB_HOLD_WRITERS;
    out->attributes = ATTRIBUTES;
    out->without_writers = VB_CONSISTENCY_CRASH;
    return 0;
}

/* ---- making ---- */

static int begin_prepare(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct ctx *c = ctx;
    const char *why = refusal(c, vol), *id = vol->snapshot_id;
    if (why)
        return vb_ps_fail(&c->s, VB_E_VOLUME_NOT_SUPPORTED, "Use another provider for it.", "volume '%s': %s",
                          vol->mount_point, why);
    struct volume *v = vb_ps_alloc(sizeof *v), **end = &c->volumes;
    for (; *end; end = &(*end)->next)
        if (!strcmp((*end)->dataset, vol->device) && !(*end)->shared) {
            v->shared = true;
            id = (*end)->record.snapshot_id;
        }
    char *at = snapshots_of(vol->mount_point);
    v->dataset = vb_ps_strdup(vol->device);
    v->record = (struct vb_ps_record){ .snapshot_id = vb_ps_strdup(vol->snapshot_id),
                                       .set_id = vb_ps_strdup(set_id),
                                       .mount_point = vb_ps_strdup(vol->mount_point),
                                       .source = vb_ps_strdup(vol->mount_point),
                                       .place = vb_ps_printf("%s/vbackup-%s", at, id),
                                       .object = vb_ps_printf("%s" MARK "%s", vol->device, id) };
    free(at);
    *end = v;
    return 0;
}

/* What was written just before is in the snapshot for certain only after it was synced. */
static int flush(const struct ctx *c)
{
    for (const struct volume *v = c->volumes; v; v = v->next) {
        int fd = open(v->record.mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || syncfs(fd) < 0) {
            vb_ps_fail_errno(&c->s, errno, "Look whether it is still mounted, and run the job again.",
                             "dataset '%s' at '%s' cannot be synced", v->dataset, v->record.mount_point);
            if (fd >= 0)
                close(fd);
            return -1;
        }
        close(fd);
    }
    return 0;
}

static int end_prepare(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (const struct volume *v = c->volumes; v; v = v->next)
        if (vb_ps_record_save(&c->s, &v->record) < 0)
            return -1;
    return flush(c);
}

static int pre_commit(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    if (flush(c) < 0)
        return -1;
    c->lock = vb_ps_lock(&c->s, LOCK);
    return c->lock < 0 ? -1 : 0;
}

static bool same_pool(const struct volume *a, const struct volume *b)
{
    size_t n = strcspn(a->dataset, "/");
    return n == strcspn(b->dataset, "/") && !strncmp(a->dataset, b->dataset, n);
}

/* The command runs on if we are killed; who deletes afterwards waits for the lock that it holds. */
static int snapshot_pool(struct ctx *c, const struct volume *first, const char **argv)
{
    size_t n = 0;
    argv[n++] = command(c);
    argv[n++] = "snapshot";
    for (const struct volume *v = first; v; v = v->next)
        if (!v->shared && same_pool(v, first))
            argv[n++] = v->record.object;
    argv[n] = NULL;
    return argv[0] ? vb_ps_command(&c->s, argv, c->lock, NULL) : no_command(c);
}

static int commit(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    size_t n = 3;
    int rc = 0;
    (void)set_id;
    for (const struct volume *v = c->volumes; v; v = v->next)
        n++;
    const char **argv = vb_ps_alloc(n * sizeof *argv);
    for (const struct volume *v = c->volumes; v && rc == 0; v = v->next) {
        bool done = v->shared;
        for (const struct volume *w = c->volumes; w != v && !done; w = w->next)
            done = !w->shared && same_pool(w, v);
        if (!done)
            rc = snapshot_pool(c, v, argv);
    }
    free(argv);
    unlock(c);
    return rc;
}

static int post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        *n_created += 1;
    return 0;
}

/* The records are synced: not while the writers wait. */
static int pre_final(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    (void)set_id;
    for (struct volume *v = c->volumes; v; v = v->next)
        if (vb_ps_record_created(&c->s, &v->record) < 0)
            return -1;
    return 0;
}

static int post_final(void *ctx, const char *set_id)
{
    (void)set_id;
    forget(ctx);
    return 0;
}

/* ---- removing ---- */

static int destroy(struct ctx *c, const char *object)
{
    const char *argv[] = { command(c), "destroy", object, NULL }, *mark = strstr(object, MARK);
    if (!argv[0])
        return no_command(c);
    if (!mark || strchr(mark + 1, '@') || strpbrk(mark, ",%/"))
        return vb_ps_fail(&c->s, VB_E_PROVIDER_VETO, "Look at the record and remove it by hand.",
                          "a record names the foreign snapshot '%s'", object);
    int lock = vb_ps_lock(&c->s, LOCK);
    if (lock < 0)
        return -1;
    int rc = listed(c, "snapshot", object);
    if (rc == 1)
        rc = vb_ps_command(&c->s, argv, lock, NULL);
    close(lock);
    return rc;
}

static int remove_shadow(void *ctx, const struct vb_ps_record *r)
{
    struct ctx *c = ctx;
    int shared = r->object ? vb_ps_record_shared(&c->s, r) : 1;
    if (shared < 0 || (!shared && destroy(c, r->object) < 0))
        return -1;
    return vb_ps_record_remove(&c->s, r->snapshot_id);
}

static int abort_set(void *ctx, const char *set_id)
{
    struct ctx *c = ctx;
    int rc = 0;
    (void)set_id;
    unlock(c);
    for (const struct volume *v = c->volumes; v; v = v->next)
        if (vb_ps_delete(&c->s, v->record.snapshot_id, remove_shadow, c) < 0) /* only what has a record was begun */
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

extern const struct vb_provider vb_provider_zfs;
const struct vb_provider vb_provider_zfs = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "c1d5a7f0-64b2-4d39-a1e8-3f7b90d2e505",
    .name = "zfs",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SOFTWARE,
    .preference = 100,
    .open = zopen,
    .close = zclose,
    .supports = supports,
    .begin_prepare = begin_prepare,
    .end_prepare = end_prepare,
    .pre_commit = pre_commit,
    .commit = commit,
    .post_commit = post_commit,
    .pre_final = pre_final,
    .post_final = post_final,
    .abort = abort_set,
    .snapshot_path = snapshot_path,
    .delete_snapshot = delete_snapshot,
    .query = query,
};
