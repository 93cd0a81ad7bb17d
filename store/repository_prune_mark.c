/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_prune_mark.c - of a prune: who is at work, and what is needed by the backups there are.
 */
#include "config.h"
#include "store/repository_prune.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* ---- who is at work ---- */

static int gather_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

/* When a lease was first seen with this very count: it is renewed under another. */
static uint64_t first_seen(struct vb_prune *p, const char *path, bool *known)
{
    const struct vb_state *s = &p->repo->ledger.state;
    for (size_t i = 0; i < s->n_leases; i++)
        if (strcmp(s->leases[i].path, path) == 0 && s->leases[i].first_seen_ms <= p->params->wall_ms) {
            *known = true;
            return s->leases[i].first_seen_ms;
        }
    *known = false;
    return p->params->wall_ms;
}

int vb_prune_find_leases(struct vb_prune *p, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    uint64_t limit = p->params->lease_ms ? p->params->lease_ms : VB_LEASE_MS;
    int result = vb_backend_list(p->repo->backend, "leases/", gather_path, &paths, err);
    p->oldest = UINT64_MAX;
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        uint64_t generation = 0, count = 0;
        char id[VB_GUID_LEN + 1];
        bool known = false;
        if ((p->repo->lease && strcmp(paths.v[i], p->repo->lease) == 0) ||
            !vb_lease_path_parse(paths.v[i], &generation, id, &count))
            continue;
        uint64_t since = first_seen(p, paths.v[i], &known);
        if (known && p->params->wall_ms - since >= limit) {
            vb_strv_add(&p->dead, paths.v[i]);
            continue;
        }
        p->result->leases++;
        p->oldest = generation < p->oldest ? generation : p->oldest;
        vb_state_add_lease(&p->next, paths.v[i], since);
        p->changes = p->changes || !known;
    }
    vb_strv_clear(&paths);
    return result;
}

/* ---- what is needed ---- */

static void freeze(struct vb_prune *p, uint32_t group)
{
    if (group >= p->n_frozen) {
        p->frozen = vb_realloc_n(p->frozen, group + 1, sizeof *p->frozen);
        memset(p->frozen + p->n_frozen, 0, (group + 1 - p->n_frozen) * sizeof *p->frozen);
        p->n_frozen = group + 1;
    }
    p->frozen[group] = true;
}

bool vb_prune_is_frozen(const struct vb_prune *p, uint32_t group)
{
    return group < p->n_frozen && p->frozen[group];
}

/* Chunks refer to chunks of their own group only, and what cannot be read is of the group that is being looked at.  The
 * repository's own group has the documents of all: nothing tells whose. */
static int leave_alone(struct vb_prune *p, struct vb_error *why, struct vb_error *err)
{
    if (!p->group_known || p->group == 0 || vb_keys_format(p->repo->keys) == 0)
        return vb_error_move(err, why);
    if (!vb_prune_is_frozen(p, p->group)) {
        vb_context(why, "nothing is removed of this host");
        vb_log_error(VB_LOG_WARNING, why);
    }
    vb_error_clear(why);
    freeze(p, p->group);
    return 0;
}

static int count_live(void *arg, const struct vb_index_hit *hit, struct vb_error *err)
{
    struct vb_prune *p = arg;
    (void)err;
    p->live[hit->pack] += vb_pack_span(p->repo->keys, &hit->entry);
    return 0;
}

static int missing(void *arg, const struct vb_name *name, unsigned type, const struct vb_index_hit *hit,
                   struct vb_error *err)
{
    struct vb_prune *p = arg;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    char hex[VB_NAME_HEX_LEN + 1];
    (void)hit;
    vb_name_hex(name, hex);
    p->incomplete = true;
    if (p->repo->scanned < VB_SCAN_DEEP)
        return vb_fail(err, VB_E_NOT_FOUND, "chunk %.16s... is not in the index", hex);
    vb_fail(&why, VB_E_CORRUPT, "the %s chunk %.16s... is missing, which a backup refers to",
            type ? vb_chunk_type_name(type) : "data", hex);
    return leave_alone(p, &why, err);
}

static int unreadable(void *arg, const struct vb_index_hit *hit, struct vb_error *why)
{
    struct vb_prune *p = arg;
    VB_AUTO_ERROR moved = VB_ERROR_INIT;
    (void)hit;
    p->incomplete = p->incomplete || p->repo->scanned < VB_SCAN_DEEP;
    if (p->repo->scanned < VB_SCAN_DEEP || leave_alone(p, why, &moved) < 0) {
        if (moved.code != VB_OK)
            vb_error_move(why, &moved);
        return -1;
    }
    return 0;
}

/* The roots of one host after the other, so that what is missing can be told to be its. */
static int reach_backup(struct vb_prune *p, struct vb_repo_reach *reach, const struct vb_catalog_entry *e, bool *whole,
                        struct vb_error *err)
{
    struct vb_index_hit hit;
    *whole = true;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++) {
            const struct vb_catalog_component *k = &e->hosts[h].components[c];
            for (size_t i = 0; i < k->n_roots; i++) {
                if (!k->roots[i].has_tree)
                    continue;
                bool found = vb_index_get(reach->index, &k->roots[i].tree, &hit);
                p->group = found ? vb_index_pack_at(reach->index, hit.pack)->group : p->writer;
                p->group_known = found || p->writer;
                int result = vb_repo_reach_add(reach, &k->roots[i].tree, VB_CHUNK_TREE, err);
                if (result != 0 || (result = vb_repo_reach_run(reach, err)) != 0)
                    return result;
                *whole = *whole && !(p->group_known && vb_prune_is_frozen(p, p->group));
            }
        }
    p->group_known = true;
    p->group = p->writer; /* with a write-only key, documents too are of its group */
    for (size_t d = 0; d < e->n_documents; d++) {
        const struct vb_content *content = &e->documents[d].content;
        for (uint32_t i = 0; i < content->n; i++) {
            int result = vb_repo_reach_add(reach, &content->refs[i].name, content->level ? VB_CHUNK_LIST : 0, err);
            if (result != 0)
                return result;
        }
    }
    return vb_repo_reach_run(reach, err);
}

/* Forgotten, and for long enough. */
static int is_expired(struct vb_prune *p, const struct vb_strv *forgotten, const char *path, bool *expired,
                      struct vb_error *err)
{
    uint64_t when = 0, now = p->params->wall_ms;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    *expired = vb_strv_has(&p->repo->ledger.state.expired, path); /* an interrupted prune has said so */
    if (*expired || !vb_strv_has(forgotten, path))
        return 0;
    if (vb_strv_has(&p->held, path)) { /* somebody has held it while somebody else forgot it */
        p->result->waiting_backups++;
        return 0;
    }
    if (vb_repo_read_forgotten(p->repo, path, &when, &why) < 0) {
        if (why.code != VB_E_CORRUPT)
            return why.code == VB_E_NOT_FOUND ? 0 : vb_error_move(err, &why);
        vb_log_error(VB_LOG_WARNING, &why); /* not forgotten, as for whoever lists it */
        return 0;
    }
    *expired = now >= when && now - when >= p->params->delay_ms;
    p->result->waiting_backups += !*expired;
    return 0;
}

int vb_prune_mark_entry(struct vb_prune *p, struct vb_repo_reach *reach, const char *path, bool *whole, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t number = 0;
    char id[VB_GUID_LEN + 1];
    struct vb_name hash;
    const struct vb_ledger_record *rec =
        vb_catalog_path_parse(path, &number, id, &hash) ? vb_repo_ledger_at(p->repo, number) : NULL;
    p->writer = 0;
    bool known = rec && rec->kind == VB_LEDGER_BACKUP && vb_keys_group_by_tag(p->repo->keys, rec->tag, &p->writer);
    struct vb_catalog_entry *e = vb_repo_read_entry(p->repo, path, &why);
    if (e) {
        int result = reach_backup(p, reach, e, whole, err);
        if (result < 0)
            vb_context(err, "backup %.8s", e->id);
        vb_catalog_entry_free(e);
        return result;
    }
    *whole = false;
    p->group_known = known;
    p->group = p->writer;
    return leave_alone(p, &why, err);
}

/* A backup that the ledger names is there, or a mark says why it is not: a listing with a gap must not pass for a
 * repository with little in it. */
static int all_listed(struct vb_prune *p, const struct vb_strv *paths, const struct vb_strv *forgotten, struct vb_error *err)
{
    const struct vb_repo_ledger *l = &p->repo->ledger;
    struct vb_strv both = { 0 };
    int result = 0;
    if (l->holes)
        return vb_fail(err, VB_E_CORRUPT, "records are missing in the ledger");
    if (vb_repo_broken_paths(p->repo, "catalog/", &both, err) < 0) { /* set aside by a repair */
        vb_strv_clear(&both);
        return -1;
    }
    for (size_t i = 0; i < paths->n; i++)
        vb_strv_add(&both, paths->v[i]);
    for (size_t i = 0; i < forgotten->n; i++)
        vb_strv_add(&both, forgotten->v[i]);
    for (size_t i = 0; i < l->state.expired.n; i++)
        vb_strv_add(&both, l->state.expired.v[i]);
    vb_strv_sort(&both);
    for (size_t i = 0, at = 0; i < l->n && result == 0; i++) {
        bool found = l->v[i].kind != VB_LEDGER_BACKUP;
        uint64_t number = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        while (!found && at < both.n) {
            bool parsed = vb_catalog_path_parse(both.v[at], &number, id, &hash);
            if (parsed && number > l->v[i].number)
                break;
            found = parsed && number == l->v[i].number && vb_name_equal(&hash, &l->v[i].what);
            at++;
        }
        if (found)
            continue;
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        vb_fail(&why, VB_E_CORRUPT, "the record of backup number %llu is missing in the catalog",
                (unsigned long long)l->v[i].number);
        p->group_known = vb_keys_group_by_tag(p->repo->keys, l->v[i].tag, &p->group);
        result = leave_alone(p, &why, err);
    }
    vb_strv_clear(&both);
    return result;
}

static int mark_listed(struct vb_prune *p, const struct vb_strv *paths, const struct vb_strv *forgotten, struct vb_error *err)
{
    if (VB_CHECKED(5, true) && all_listed(p, paths, forgotten, err) < 0)
        return -1;
    const struct vb_strv *gone = &p->repo->ledger.state.expired;
    p->result->waiting_backups = 0;
    vb_strv_clear(&p->expired);
    vb_strv_clear(&p->next.expired);
    for (size_t i = 0; i < gone->n; i++)
        vb_strv_add(&p->next.expired, gone->v[i]);
    for (size_t i = 0; i < paths->n; i++) {
        bool expired = false, whole = true;
        uint64_t number = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (is_expired(p, forgotten, paths->v[i], &expired, err) < 0)
            return -1;
        if (expired) {
            vb_strv_add(&p->expired, paths->v[i]);
            continue;
        }
        if (vb_catalog_path_parse(paths->v[i], &number, id, &hash) &&
            vb_repo_standing(p->repo, number, &hash) != VB_STANDS)
            continue;
        if (vb_prune_mark_entry(p, &p->reach, paths->v[i], &whole, err) < 0)
            return -1;
    }
    return 0;
}

void vb_prune_reach_begin(struct vb_prune *p, struct vb_repo_reach *reach)
{
    vb_repo_reach_init(reach, p->repo, p->repo->index);
    reach->arg = p;
    reach->problem = missing;
    reach->unreadable = unreadable;
}

int vb_prune_mark_needed(struct vb_prune *p, struct vb_error *err)
{
    struct vb_strv paths = { 0 }, forgotten = { 0 };
    int result = vb_repo_catalog_paths(p->repo, &paths, err);
    if (result == 0)
        result = vb_repo_forgotten_paths(p->repo, &forgotten, err);
    if (result == 0)
        result = vb_repo_ledger_sync(p->repo, err);
    /* What was written since the listing: */
    if (result == 0) {
        vb_strv_clear(&paths);
        result = vb_repo_catalog_paths(p->repo, &paths, err);
    }
    /* And what was held before the ledger was read; after it, the word of it is in the way of this prune. */
    if (result == 0)
        result = vb_repo_marked_paths(p->repo, VB_MARK_HOLD, &p->held, err);
    for (int level = VB_SCAN_PACKS; level <= VB_SCAN_DEEP && result == 0; level++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        p->incomplete = false;
        result = vb_repo_load_all(p->repo, (enum vb_repo_scan)level, &p->old_index, err);
        if (result < 0)
            break;
        free(p->live);
        p->live = vb_alloc_n(vb_index_pack_count(p->repo->index) + 1, sizeof *p->live);
        vb_repo_reach_clear(&p->reach);
        vb_prune_reach_begin(p, &p->reach);
        p->reach.visit = count_live;
        result = mark_listed(p, &paths, &forgotten, &why);
        if (result < 0 && p->incomplete && level < VB_SCAN_DEEP) {
            result = 0; /* index files may be wrong, packs are not */
            continue;
        }
        if (result < 0)
            vb_error_move(err, &why);
        break;
    }
    if (result < 0)
        vb_hint(err, "nothing was removed; `vbackup check` tells what is damaged");
    for (size_t i = 0; i < p->n_frozen; i++)
        p->result->left_alone += p->frozen[i];
    vb_strv_clear(&paths);
    vb_strv_clear(&forgotten);
    return result;
}
