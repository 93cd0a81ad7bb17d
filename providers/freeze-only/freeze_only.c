/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/freeze-only/freeze_only.c - a bounded copy of small trees, made while the agent's freezer holds the whole
 * file system, for file systems that have neither snapshots nor clones.
 *
 * Everybody who writes to that file system waits for the copy.  So it is never chosen unless the job allows it, it refuses
 * more than a little data, and it refuses the file systems that the machine itself lives on.  Nothing is written to the
 * frozen file system: the copies go to another one, and originals are opened without a change of their access time.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "providers/support/staged.h"

#define ATTRIBUTES (VB_SA_NO_AUTORECOVERY | VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | VB_SA_DELAYED_POSTSNAPSHOT)
#define DEFAULT_MAX_BYTES ((uint64_t)64 << 20)
#define DEFAULT_MAX_FILES 10000u
#define SPARE_BYTES ((uint64_t)16 << 20) /* left free beside the copy, for growth and for metadata */

struct limits {
    uint64_t bytes, files;
};

/* "10000", "64M": digits and one of K, M, G.  false: it is not a number above 0. */
static bool parse_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long n = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    unsigned shift = end && *end == 'K' ? 10 : end && *end == 'M' ? 20 : end && *end == 'G' ? 30 : 0;
    if (!n || errno || end[shift ? 1 : 0] || n > (UINT64_MAX >> 1) >> shift)
        return false;
    *out = (uint64_t)n << shift;
    return true;
}

static int limits(struct vb_ps_staged *c, struct limits *l)
{
    const char *bytes = c->s.svc->option(c->s.host, "max-bytes"), *files = c->s.svc->option(c->s.host, "max-files");
    *l = (struct limits){ DEFAULT_MAX_BYTES, DEFAULT_MAX_FILES };
    if ((bytes && !parse_number(bytes, &l->bytes)) || (files && !parse_number(files, &l->files)))
        return vb_ps_fail(&c->s, VB_E_CONFIG, "Write a number, or one with K, M or G behind it: max-bytes = 64M.",
                          "'max-bytes' or 'max-files' of [provider freeze-only] is not a number");
    return 0;
}

/* Directory above the hidden one that takes the copies. */
static const char *place_of(struct vb_ps_staged *c)
{
    const char *where = c->s.svc->option(c->s.host, "place");
    return where ? where : c->s.svc->state_dir(c->s.host);
}

/* File systems that are never frozen: the machine's own, ours, and the one that takes the copies. */
static const char *forbidden(struct vb_ps_staged *c, const struct stat *vol)
{
    const char *const places[] = { "/",    "/usr", "/etc",           "/var", "/var/log",
                                   "/run", "/tmp", "/proc/self/exe", c->s.svc->state_dir(c->s.host) };
    struct stat st;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (stat(places[i], &st) == 0 && st.st_dev == vol->st_dev)
            return "the system itself, or the agent's own state, lives on this file system: it is never frozen";
    if (stat(place_of(c), &st) < 0)
        return "the directory for the copies ('place') is not there";
    return st.st_dev == vol->st_dev ? "the copies ('place') must go to another file system than the frozen one" : NULL;
}

static const char *refusal(struct vb_ps_staged *c, const struct vb_provider_volume *vol)
{
    static const char *const TYPES[] = { "ext3", "ext4", "xfs", "f2fs", "jfs", "nilfs2", "gfs2" };
    struct stat st;
    bool known = false;
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
        known = known || !strcmp(vol->fs_type, TYPES[i]);
    if (!known)
        return "this file system cannot be frozen, or has snapshots of its own";
    if (geteuid() != 0)
        return "only root may freeze a file system";
    if (stat(vol->mount_point, &st) < 0)
        return strerror(errno);
    return forbidden(c, &st);
}

/* What the trees take now: 0, 1 over a limit, -1 failed. */
static int measure(struct vb_ps_staged *c, const char *const *trees, size_t n, const struct limits *l,
                   struct vb_ps_tree *t)
{
    int rc = 0;
    *t = (struct vb_ps_tree){ .s = &c->s, .stage = -1, .max_bytes = l->bytes, .max_files = l->files };
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = vb_ps_tree_measure(t, trees[i]);
    vb_ps_tree_clear(t);
    return rc < 0 && t->over ? 1 : rc;
}

static int supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct vb_ps_staged *c = ctx;
    struct vb_ps_tree t;
    struct limits l;
    const char *why = refusal(c, vol);
    if (why) {
        snprintf(out->why, sizeof out->why, "%s", why);
        return 0;
    }
    if (limits(c, &l) < 0)
        return -1;
    int over = measure(c, vol->trees, vol->n_trees, &l, &t);
    if (over < 0)
        return -1;
    if (over) {
        snprintf(out->why, sizeof out->why,
                 "there is more data than may be copied while everybody waits (max-bytes = %llu, max-files = %llu)",
                 (unsigned long long)l.bytes, (unsigned long long)l.files);
        return 0;
    }
    snprintf(out->why, sizeof out->why, "the whole file system is frozen while %llu files (%llu bytes) are copied",
             (unsigned long long)t.files, (unsigned long long)t.bytes);
    out->supported = 1;
    out->hold = VB_HOLD_FREEZE;
    out->atomic = out->group_atomic = 1; /* all volumes are frozen before the first file is copied */
    out->per_tree = 1;
    out->attributes = ATTRIBUTES;
    out->without_writers = VB_CONSISTENCY_FILE_SYSTEM;
    out->consent = VB_CONSENT_FREEZE;
    return 0;
}

static int begin_prepare(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct vb_ps_staged *c = ctx;
    const char *why = refusal(c, vol);
    if (why)
        return vb_ps_fail(&c->s, VB_E_VOLUME_NOT_SUPPORTED, "Use another provider for it.", "volume '%s': %s",
                          vol->mount_point, why);
    return vb_ps_staged_begin(c, set_id, vol, vb_ps_strdup(place_of(c)));
}

/* Once more for the whole set, now that it is known: the limits, and the space for it. */
static int end_prepare(void *ctx, const char *set_id)
{
    struct vb_ps_staged *c = ctx;
    struct limits l;
    struct statvfs fs;
    uint64_t bytes = 0, files = 0;
    if (limits(c, &l) < 0)
        return -1;
    for (const struct vb_ps_staged_volume *v = c->volumes; v; v = v->next) {
        char *trees = vb_ps_strdup(v->record.trees), *rest = trees;
        int rc = 0;
        for (const char *tree; rc == 0 && (tree = strsep(&rest, "\n"));) {
            struct vb_ps_tree t;
            rc = measure(c, &tree, 1, &l, &t);
            bytes += t.bytes;
            files += t.files;
        }
        free(trees);
        if (rc < 0)
            return -1;
    }
    if (bytes > l.bytes || files > l.files)
        return vb_ps_fail(&c->s, VB_E_LIMIT, "Raise 'max-bytes' or 'max-files' in [provider freeze-only], or name less.",
                          "%llu files of %llu bytes are more than may be copied while everybody waits",
                          (unsigned long long)files, (unsigned long long)bytes);
    if (statvfs(place_of(c), &fs) == 0 &&
        ((uint64_t)fs.f_bavail * fs.f_frsize < bytes + SPARE_BYTES || (fs.f_files && fs.f_favail < files + 16)))
        return vb_ps_fail(&c->s, VB_E_INSUFFICIENT_STORAGE, "Make room there, or set 'place' to another directory.",
                          "there is no room for %llu files of %llu bytes in '%s'", (unsigned long long)files,
                          (unsigned long long)bytes, place_of(c));
    return vb_ps_staged_end_prepare(ctx, set_id);
}

static int commit(void *ctx, const char *set_id)
{
    struct vb_ps_staged *c = ctx;
    struct limits l;
    (void)set_id;
    if (limits(c, &l) < 0)
        return -1;
    const struct vb_ps_tree how = { .max_bytes = l.bytes, .max_files = l.files };
    return vb_ps_staged_copy(c, &how);
}

extern const struct vb_provider vb_provider_freeze_only;
const struct vb_provider vb_provider_freeze_only = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "7e9d2c55-3b1a-4e7f-8f43-5a0d6c9b2e04",
    .name = "freeze-only",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SYSTEM,
    .preference = 5,
    .open = vb_ps_staged_open,
    .close = vb_ps_staged_close,
    .supports = supports,
    .begin_prepare = begin_prepare,
    .end_prepare = end_prepare,
    .commit = commit,
    .post_commit = vb_ps_staged_post_commit,
    .pre_final = vb_ps_staged_pre_final,
    .post_final = vb_ps_staged_post_final,
    .abort = vb_ps_staged_abort,
    .snapshot_path = vb_ps_staged_path,
    .delete_snapshot = vb_ps_staged_delete,
    .query = vb_ps_staged_query,
};
