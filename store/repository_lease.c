/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_lease.c - a run that has begun says so: leases/GENERATION-ID-COUNT.
 *
 * A lease keeps a prune from removing what was condemned after this run looked at the repository.  It protects the run's
 * work, not the repository: a run whose lease was taken to be dead finds out from the ledger when it commits, and fails
 * if something that it needs has gone.  So leases may be judged by clocks, and clocks may be wrong.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

struct find {
    const char *id;
    uint64_t generation, count;
    struct vb_strv paths;
};

static int see_lease(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct find *f = arg;
    uint64_t generation = 0, count = 0;
    char id[VB_GUID_LEN + 1];
    (void)size, (void)err;
    if (!vb_lease_path_parse(path, &generation, id, &count) || strcmp(id, f->id) != 0)
        return 0;
    if (!f->paths.n || generation < f->generation)
        f->generation = generation;
    if (count > f->count)
        f->count = count;
    vb_strv_add(&f->paths, path);
    return 0;
}

static int put_lease(struct vb_repo *r, const char *path, uint64_t wall_ms, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_FREE char *since = vb_time_iso(wall_ms);
    VB_AUTO_FREE char *text = vb_printf("{\"since\":\"%s\",\"vbackup\":\"lease\"}\n", since);
    if (!vb_keys_sealed(r->keys))
        vb_buf_add_str(&bytes, text);
    else if (vb_object_write(r->keys, VB_OBJECT_ENTRY, 0, path, strlen(path), text, strlen(text), &bytes, err) < 0)
        return -1;
    return vb_backend_write(r->backend, path, bytes.data, bytes.len, err);
}

int vb_repo_lease_begin(struct vb_repo *r, const char *id, uint64_t wall_ms, struct vb_error *err)
{
    char own[VB_GUID_LEN + 1];
    struct find f = { .id = id };
    if (!id) {
        vb_guid_new(own);
        f.id = own;
    } else if (vb_backend_list(r->backend, "leases/", see_lease, &f, err) != 0) {
        vb_strv_clear(&f.paths);
        return -1;
    }
    int result = 0;
    bool begun = false;
    /* A prune in between: what it has removed is not to be counted on. */
    for (int i = 0; i < 8 && !begun; i++) {
        if ((result = vb_repo_ledger_sync(r, err)) < 0)
            break;
        r->generation = f.paths.n ? f.generation : r->ledger.prunes;
        r->lease = vb_lease_path(r->generation, f.id, f.count + 1);
        if ((result = put_lease(r, r->lease, wall_ms, err)) < 0 || (result = vb_repo_ledger_sync(r, err)) < 0)
            break;
        begun = f.paths.n || r->generation == r->ledger.prunes;
        if (!begun)
            vb_repo_lease_end(r);
        f.count++;
    }
    if (result == 0 && !begun) {
        result = vb_fail(err, VB_E_BUSY, "'%s': one prune comes after the other", r->backend->location);
        vb_hint(err, "try again later");
    }
    /* That of the run that is taken up. */
    for (size_t i = 0; i < f.paths.n && result == 0; i++)
        vb_backend_remove(r->backend, f.paths.v[i], NULL);
    vb_strv_clear(&f.paths);
    if (result < 0)
        vb_repo_lease_end(r);
    return result;
}

int vb_repo_renew(struct vb_repo *r, uint64_t wall_ms, struct vb_error *err)
{
    uint64_t generation = 0, count = 0;
    char id[VB_GUID_LEN + 1];
    if (!r->locked || !r->lease || !vb_lease_path_parse(r->lease, &generation, id, &count))
        return 0;
    char *next = vb_lease_path(generation, id, count + 1);
    if (put_lease(r, next, wall_ms, err) < 0) {
        free(next);
        return -1;
    }
    vb_backend_remove(r->backend, r->lease, NULL);
    free(r->lease);
    r->lease = next;
    return 0;
}

void vb_repo_lease_end(struct vb_repo *r)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (!r->lease)
        return;
    /* One that stays behind is cleared by a prune. */
    if (vb_backend_remove(r->backend, r->lease, &why) < 0)
        vb_log_error(VB_LOG_DEBUG, &why);
    free(r->lease);
    r->lease = NULL;
}
