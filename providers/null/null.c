/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/null/null.c - a provider for tests: makes nothing, keeps records, and fails, waits, hangs, dies or lies
 * when told.
 *
 * Options: enable, fail, fail-code, delay, hang, crash, hold, atomic, group-atomic, per-tree, level, root,
 * lie-count, bare. vbackup-provider-null(8) says what they mean.
 */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "providers/support/support.h"

#define ATTRIBUTES                                                                                                   \
    (VB_SA_PERSISTENT | VB_SA_NO_AUTORECOVERY | VB_SA_NO_AUTO_RELEASE | VB_SA_NO_WRITERS | VB_SA_CLIENT_ACCESSIBLE | \
     VB_SA_AUTORECOVER | VB_SA_ROLLBACK_RECOVERY | VB_SA_DELAYED_POSTSNAPSHOT)

struct null {
    struct vb_ps s;
    unsigned volumes;
};

static const char *option(const struct null *n, const char *key)
{
    return n->s.svc->option(n->s.host, key);
}

static bool is_yes(const char *v)
{
    return v && (!strcasecmp(v, "yes") || !strcasecmp(v, "true") || !strcmp(v, "1"));
}

/* "call" or "call:number" */
static bool names(const char *v, const char *call, long *number)
{
    size_t len = strlen(call);
    if (!v || strncmp(v, call, len) != 0 || (v[len] && v[len] != ':'))
        return false;
    if (number)
        *number = v[len] ? strtol(v + len + 1, NULL, 10) : 0;
    return true;
}

static int misbehave(struct null *n, const char *call)
{
    long ms = 0;
    if (names(option(n, "delay"), call, &ms)) {
        struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
        nanosleep(&t, NULL);
    }
    while (names(option(n, "hang"), call, NULL))
        pause();
    if (names(option(n, "crash"), call, NULL))
        raise(SIGKILL);
    if (!names(option(n, "fail"), call, NULL))
        return 0;
    if (is_yes(option(n, "bare")))
        return -1; /* breaks its contract: no reason */
    const char *code = option(n, "fail-code");
    return vb_ps_fail(&n->s, code ? (enum vb_code)strtol(code, NULL, 10) : VB_E_PROVIDER_VETO,
                      "Take 'fail' out of [provider null].", "told to fail at '%s'", call);
}

static int null_open(void *host, const struct vb_provider_services *svc, void **ctx)
{
    struct null *n = vb_ps_alloc(sizeof *n);
    n->s = (struct vb_ps){ host, svc };
    *ctx = n;
    return misbehave(n, "open");
}

static void null_close(void *ctx)
{
    free(ctx);
}

static int null_supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    struct null *n = ctx;
    const char *hold = option(n, "hold"), *level = option(n, "level");
    (void)vol;
    if (misbehave(n, "supports") < 0)
        return -1;
    out->supported = is_yes(option(n, "enable"));
    snprintf(out->why, sizeof out->why, "%s",
             out->supported ? "null provider: nothing is copied" : "the null provider is for tests; enable = yes");
    out->atomic = is_yes(option(n, "atomic"));
    out->group_atomic = is_yes(option(n, "group-atomic"));
    out->per_tree = is_yes(option(n, "per-tree"));
    out->hold = !hold ? VB_HOLD_WRITERS : (enum vb_hold)strtol(hold, NULL, 10);
    out->without_writers = !level ? VB_CONSISTENCY_NONE : (enum vb_consistency)strtol(level, NULL, 10);
    out->attributes = ATTRIBUTES;
    return 0;
}

static int null_begin(void *ctx, const char *set_id, const struct vb_provider_volume *vol)
{
    struct null *n = ctx;
    if (misbehave(n, "begin_prepare") < 0)
        return -1;
    struct vb_ps_record r = { (char *)(uintptr_t)vol->snapshot_id, (char *)(uintptr_t)set_id,
                              (char *)(uintptr_t)vol->mount_point, (char *)(uintptr_t)vol->subvolume_root,
                              (char *)(uintptr_t)vol->subvolume_root, NULL, NULL, 0 };
    n->volumes++;
    return vb_ps_record_save(&n->s, &r);
}

static int null_end(void *ctx, const char *set_id)
{
    (void)set_id;
    return misbehave(ctx, "end_prepare");
}

static int null_pre_commit(void *ctx, const char *set_id)
{
    (void)set_id;
    return misbehave(ctx, "pre_commit");
}

static int null_commit(void *ctx, const char *set_id)
{
    (void)set_id;
    return misbehave(ctx, "commit");
}

struct of_set {
    struct null *n;
    const char *set_id;
    bool remove;
};

static int each_of_set(void *arg, const struct vb_ps_record *r)
{
    struct of_set *o = arg;
    if (strcasecmp(r->set_id, o->set_id) != 0)
        return 0;
    if (o->remove)
        return vb_ps_record_remove(&o->n->s, r->snapshot_id);
    struct vb_ps_record made = *r;
    made.created_sec = (long long)time(NULL);
    return vb_ps_record_save(&o->n->s, &made);
}

static int null_post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct null *n = ctx;
    struct of_set o = { n, set_id, false };
    if (misbehave(n, "post_commit") < 0 || vb_ps_record_each(&n->s, each_of_set, &o) != 0)
        return -1;
    *n_created = is_yes(option(n, "lie-count")) ? n->volumes + 1 : n->volumes;
    n->volumes = 0;
    return 0;
}

static int null_pre_final(void *ctx, const char *set_id)
{
    (void)set_id;
    return misbehave(ctx, "pre_final");
}

static int null_post_final(void *ctx, const char *set_id)
{
    (void)set_id;
    return misbehave(ctx, "post_final");
}

static int null_abort(void *ctx, const char *set_id)
{
    struct null *n = ctx;
    struct of_set o = { n, set_id, true };
    n->volumes = 0;
    if (misbehave(n, "abort") < 0)
        return -1;
    return vb_ps_record_each(&n->s, each_of_set, &o);
}

/* With the option root, content is looked for below that directory: a test can put something else there. */
static int null_path(void *ctx, const char *snapshot_id, const char *path, char **out)
{
    struct null *n = ctx;
    struct vb_ps_record r;
    const char *root = option(n, "root");
    if (misbehave(n, "snapshot_path") < 0)
        return -1;
    int rc = vb_ps_record_load(&n->s, snapshot_id, &r);
    vb_ps_record_clear(&r);
    if (rc <= 0)
        return rc < 0 ? -1
                      : vb_ps_fail(&n->s, VB_E_OBJECT_NOT_FOUND, NULL, "there is no shadow copy '%s'", snapshot_id);
    *out = vb_ps_printf("%s%s", root ? root : "", path);
    return 0;
}

static int null_delete(void *ctx, const char *snapshot_id)
{
    struct null *n = ctx;
    return misbehave(n, "delete") < 0 ? -1 : vb_ps_record_remove(&n->s, snapshot_id);
}

static int null_query(void *ctx,
                      int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                                const char *path, int64_t created_sec), void *arg)
{
    struct null *n = ctx;
    return misbehave(n, "query") < 0 ? -1 : vb_ps_query(&n->s, fn, arg);
}

static int null_revert(void *ctx, const char *snapshot_id, uint32_t flags, const char *kept_id, const char *kept_set_id)
{
    struct null *n = ctx;
    struct vb_ps_record r;
    const char *busy = option(n, "in-use");
    if (misbehave(n, "revert") < 0)
        return -1;
    if (!is_yes(option(n, "revert")))
        return vb_ps_fail(&n->s, VB_E_NOT_SUPPORTED, "Set revert = yes in [provider null].", "null reverts nothing");
    if (is_yes(busy) && !(flags & VB_REVERT_FORCE))
        return vb_ps_fail(&n->s, VB_E_VOLUME_IN_USE, "Take 'in-use' out of [provider null].", "told to be in use");
    int rc = vb_ps_record_load(&n->s, snapshot_id, &r);
    if (rc == 1) {
        struct vb_ps_record kept = r;
        kept.snapshot_id = (char *)(uintptr_t)kept_id;
        kept.set_id = (char *)(uintptr_t)kept_set_id;
        rc = vb_ps_record_created(&n->s, &kept);
    } else if (rc == 0) {
        rc = vb_ps_fail(&n->s, VB_E_OBJECT_NOT_FOUND, NULL, "there is no shadow copy '%s'", snapshot_id);
    }
    vb_ps_record_clear(&r);
    return rc;
}

extern const struct vb_provider vb_provider_null;
const struct vb_provider vb_provider_null = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "0b6a3a55-5d3f-4a43-8c8d-6d1f2f0e7a01",
    .name = "null",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SOFTWARE,
    .preference = 10,
    .open = null_open,
    .close = null_close,
    .supports = null_supports,
    .begin_prepare = null_begin,
    .end_prepare = null_end,
    .pre_commit = null_pre_commit,
    .commit = null_commit,
    .post_commit = null_post_commit,
    .pre_final = null_pre_final,
    .post_final = null_post_final,
    .abort = null_abort,
    .snapshot_path = null_path,
    .delete_snapshot = null_delete,
    .query = null_query,
    .revert = null_revert,
};
