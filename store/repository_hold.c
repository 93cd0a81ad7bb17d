/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_hold.c - backups that are to stay, and what is said about those that looked suspicious: marks beside
 * their records, as those of repository_forget.c.
 *
 * holds/NAME: neither a policy nor anybody's word takes the backup off the list, and no prune removes it, until it is
 * released.  A mark that cannot be read holds all the same.  normal/NAME: that this backup differs from those before is
 * meant.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

int vb_repo_hold(struct vb_repo *r, const struct vb_catalog_entry *e, uint64_t wall_ms, const char *reason,
                 struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    if (vb_repo_may_mark(r, err) < 0)
        return -1;
    int there = vb_repo_is_marked(r, VB_MARK_HOLD, path, err);
    if (there < 0 || (there > 0 && vb_repo_remove_mark(r, VB_MARK_HOLD, path, err) < 0))
        return -1;
    /* After the word no prune takes effect that has not seen the mark. */
    if (vb_repo_put_mark(r, VB_MARK_HOLD, path, wall_ms, reason, err) < 0 || vb_backend_barrier(r->backend, err) < 0 ||
        vb_repo_say_word(r, path, err) < 0)
        return -1;
    uint64_t size;
    if (vb_strv_has(&r->ledger.state.expired, path) || vb_backend_size(r->backend, path, &size, NULL) < 0) {
        vb_repo_remove_mark(r, VB_MARK_HOLD, path, NULL);
        return vb_fail(err, VB_E_NOT_FOUND, "%.8s: a prune has removed it", e->id);
    }
    return 0;
}

int vb_repo_release(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    if (vb_repo_may_mark(r, err) < 0)
        return -1;
    int there = vb_repo_is_marked(r, VB_MARK_HOLD, path, err);
    if (there == 0)
        return vb_fail(err, VB_E_NOT_FOUND, "%.8s is not held", e->id);
    return there < 0 ? -1 : vb_repo_remove_mark(r, VB_MARK_HOLD, path, err);
}

static int each_mark(struct vb_repo *r, enum vb_repo_mark kind, vb_repo_mark_fn *fn, void *arg, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = vb_repo_marked_paths(r, kind, &paths, err);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        VB_AUTO_FREE char *reason = NULL;
        uint64_t number = 0, wall = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (!vb_catalog_path_parse(paths.v[i], &number, id, &hash))
            continue;
        if (vb_repo_read_mark(r, kind, paths.v[i], &wall, &reason, &why) < 0 && why.code != VB_E_CORRUPT) {
            result = why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
            continue;
        }
        result = fn(arg, number, id, wall, reason, why.code == VB_OK ? NULL : &why, err);
    }
    vb_strv_clear(&paths);
    return result;
}

int vb_repo_holds(struct vb_repo *r, vb_repo_mark_fn *fn, void *arg, struct vb_error *err)
{
    return each_mark(r, VB_MARK_HOLD, fn, arg, err);
}

int vb_repo_call_normal(struct vb_repo *r, const struct vb_catalog_entry *e, uint64_t wall_ms, const char *reason,
                        struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    if (vb_repo_may_mark(r, err) < 0)
        return -1;
    int there = vb_repo_is_marked(r, VB_MARK_NORMAL, path, err);
    if (there < 0 || (there > 0 && vb_repo_remove_mark(r, VB_MARK_NORMAL, path, err) < 0))
        return -1;
    return vb_repo_put_mark(r, VB_MARK_NORMAL, path, wall_ms, reason, err) < 0 ? -1 : vb_backend_barrier(r->backend, err);
}

int vb_repo_normals(struct vb_repo *r, vb_repo_mark_fn *fn, void *arg, struct vb_error *err)
{
    return each_mark(r, VB_MARK_NORMAL, fn, arg, err);
}
