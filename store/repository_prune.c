/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_prune.c - what no backup refers to any more is removed, in two phases.
 *
 * First: all that the backups refer to is found.  Packs with much that is not needed are written anew without it, an
 * index is made of what is needed and nothing else, and packs that are needed no more are condemned: a mark
 * condemned/NAME says in which generation, that is which prune, and when.  From then on no writer counts on them.
 * Later: a prune of a later generation, and after a delay, removes condemned packs.  Until then whoever began to read
 * before, a restore that holds no lock, finds everything where it was.
 *
 * The order of writing, each with a barrier: new packs, new index, records of forgotten backups away (from here on they
 * cannot be called back), marks, old index files away; packs, their marks.  A crash between any two leaves at worst
 * something that the next prune does again.
 *
 * Nothing is removed while something cannot be read: what an unreadable directory refers to is not known.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/mem.h"

static void json_release(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON VB_CLEANUP(json_release) json_t

#define REPACK_PERCENT 30u /* of a pack that are not needed */

struct prune {
    struct vb_repo *repo;
    const struct vb_prune_params *params;
    struct vb_prune_result *result;
    struct vb_repo_reach reach;
    uint64_t *live;           /* bytes of each pack of the index */
    struct vb_strv expired;   /* records of forgotten backups whose time is over */
    struct vb_strv old_index; /* files */
    struct vb_name *condemn;  /* packs */
    size_t n_condemn, cap_condemn;
    uint64_t generation;
};

/* ---- what is needed ---- */

static int count_live(void *arg, const struct vb_index_hit *hit, struct vb_error *err)
{
    struct prune *p = arg;
    (void)err;
    p->live[hit->pack] += vb_pack_span(p->repo->keys, &hit->entry);
    return 0;
}

static int missing(void *arg, const struct vb_name *name, unsigned type, const struct vb_index_hit *hit,
                   struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    (void)arg, (void)hit;
    vb_name_hex(name, hex);
    vb_fail(err, VB_E_CORRUPT, "the %s chunk %.16s... is missing, which a backup refers to",
            type ? vb_chunk_type_name(type) : "data", hex);
    return -1;
}

static bool has_path(const struct vb_strv *v, const char *path)
{
    return vb_strv_has(v, path);
}

/* Forgotten, and for long enough. */
static int is_expired(struct prune *p, const struct vb_strv *forgotten, const char *path, bool *expired,
                      struct vb_error *err)
{
    uint64_t when = 0, now = p->params->wall_ms;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    *expired = false;
    if (!has_path(forgotten, path))
        return 0;
    if (vb_repo_read_forgotten(p->repo, path, &when, &why) < 0) {
        if (why.code != VB_E_CORRUPT)
            return vb_error_move(err, &why);
        vb_log_error(VB_LOG_WARNING, &why); /* not forgotten, as for whoever lists it */
        return 0;
    }
    *expired = now >= when && now - when >= p->params->delay_ms;
    p->result->waiting_backups += !*expired;
    return 0;
}

static int mark_needed(struct prune *p, struct vb_error *err)
{
    struct vb_strv paths = { 0 }, forgotten = { 0 };
    int result = vb_repo_catalog_paths(p->repo, &paths, err);
    if (result == 0)
        result = vb_repo_forgotten_paths(p->repo, &forgotten, err);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        bool expired = false;
        result = is_expired(p, &forgotten, paths.v[i], &expired, err);
        if (result < 0)
            break;
        if (expired) {
            vb_strv_add(&p->expired, paths.v[i]);
            continue;
        }
        struct vb_catalog_entry *e = vb_repo_read_entry(p->repo, paths.v[i], err);
        result = e ? vb_repo_reach_entry(&p->reach, e, err) : -1;
        if (e && result < 0)
            vb_context(err, "backup %.8s", e->id);
        vb_catalog_entry_free(e);
    }
    if (result < 0)
        vb_hint(err, "nothing was removed; `vbackup check` tells what is damaged");
    vb_strv_clear(&paths);
    vb_strv_clear(&forgotten);
    return result;
}

/* ---- packs ---- */

static void condemn(struct prune *p, const struct vb_index_pack *pack)
{
    VB_GROW(p->condemn, p->n_condemn, p->cap_condemn);
    p->condemn[p->n_condemn++] = pack->name;
    p->result->condemned_packs++;
    p->result->condemned_bytes += pack->size;
}

struct repack {
    struct prune *prune;
    const bool *chosen; /* packs */
    struct vb_name *names;
    size_t n, cap;
};

static int choose_chunk(void *arg, const struct vb_index_hit *hit)
{
    struct repack *x = arg;
    if (!x->chosen[hit->pack] || !vb_repo_reach_seen(&x->prune->reach, hit->number))
        return 0;
    VB_GROW(x->names, x->n, x->cap);
    x->names[x->n++] = hit->entry.name;
    return 0;
}

struct dead {
    const struct vb_repo_reach *reach;
    bool *packs; /* have a chunk that is not needed */
};

static int note_dead(void *arg, const struct vb_index_hit *hit)
{
    struct dead *d = arg;
    d->packs[hit->pack] = d->packs[hit->pack] || !vb_repo_reach_seen(d->reach, hit->number);
    return 0;
}

static int move_chunk(struct prune *p, const struct vb_name *name, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    struct vb_index_hit hit;
    VB_AUTO_BUF stored = VB_BUF_INIT, plain = VB_BUF_INIT;
    if (!vb_index_get(r->index, name, &hit))
        return vb_fail(err, VB_E_UNEXPECTED, "chunk is gone");
    uint32_t group = vb_index_pack_at(r->index, hit.pack)->group;
    if (vb_repo_read_stored(r, &hit, &stored, err) < 0 ||
        vb_repo_open_stored(r, group, &hit.entry, &stored, &plain, err) < 0)
        return -1;
    vb_index_drop(r->index, name);
    p->result->moved_bytes += hit.entry.stored_size;
    return vb_repo_add_to_pack(r, group, &hit.entry, stored.data, err);
}

static int repack(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    size_t packs = vb_index_pack_count(r->index);
    bool *chosen = vb_alloc_n(packs + 1, sizeof *chosen);
    struct dead dead_in = { &p->reach, vb_alloc_n(packs + 1, sizeof(bool)) };
    struct repack x = { .prune = p, .chosen = chosen };
    vb_index_each(r->index, note_dead, &dead_in);
    for (size_t i = 0; i < packs; i++) {
        const struct vb_index_pack *pack = vb_index_pack_at(r->index, (uint32_t)i);
        if (pack->gone || pack->open)
            continue;
        uint64_t dead = pack->size > p->live[i] ? pack->size - p->live[i] : 0;
        bool wasted = p->live[i] == 0 || dead * 100 > pack->size * REPACK_PERCENT;
        /* What a trailer takes is no waste, however small the pack: at least a whole chunk must be. */
        chosen[i] = wasted && (p->live[i] == 0 || dead_in.packs[i]);
        if (chosen[i])
            condemn(p, pack);
        p->result->kept_packs += !chosen[i];
    }
    int result = 0;
    if (!p->params->dry_run) {
        vb_index_each(r->index, choose_chunk, &x);
        for (size_t i = 0; i < x.n && result == 0; i++)
            result = move_chunk(p, &x.names[i], err);
        for (size_t i = 0; i < packs; i++)
            if (chosen[i])
                vb_index_pack_at(r->index, (uint32_t)i)->gone = true;
    }
    free(dead_in.packs);
    free(chosen);
    free(x.names);
    return result;
}

/* ---- the new index ---- */

static int gather_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

struct rebuild {
    struct prune *prune;
    struct vb_index *to;
};

static int copy_chunk(void *arg, const struct vb_index_hit *hit)
{
    struct rebuild *x = arg;
    struct vb_repo *r = x->prune->repo;
    if (!vb_repo_reach_seen(&x->prune->reach, hit->number))
        return 0;
    const struct vb_index_pack *pack = vb_index_pack_at(r->index, hit->pack);
    struct vb_pack_id id = { .name = pack->name, .size = pack->size, .group = pack->group };
    memcpy(id.salt, pack->salt, sizeof id.salt);
    vb_index_add(x->to, vb_index_add_pack(x->to, &id, false), &hit->entry);
    return 0;
}

/* Only what is needed: a directory of a forgotten backup that lies in a pack which is kept must not be believed to be there
 * with all that is below it. */
static int write_new_index(struct prune *p, struct vb_error *err)
{
    struct rebuild x = { p, vb_index_new() };
    vb_index_each(p->repo->index, copy_chunk, &x);
    struct vb_index *before = p->repo->index;
    p->repo->index = x.to;
    int result = vb_repo_write_index(p->repo, &p->old_index, err);
    p->repo->index = before;
    if (result == 0)
        result = vb_backend_barrier(p->repo->backend, err);
    vb_index_free(x.to);
    return result;
}

/* ---- condemned packs ---- */

static char *condemned_path(const struct vb_name *pack)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(pack, hex);
    return vb_printf("condemned/%s", hex);
}

int vb_repo_condemned(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err)
{
    int result = vb_backend_list(r->backend, "condemned/", gather_path, paths, err);
    vb_strv_sort(paths);
    return result;
}

bool vb_repo_is_condemned(const struct vb_strv *paths, const struct vb_name *pack)
{
    if (paths->n == 0)
        return false;
    VB_AUTO_FREE char *path = condemned_path(pack);
    size_t lo = 0, hi = paths->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(paths->v[mid], path);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static int read_condemned(struct vb_repo *r, const char *path, uint64_t *generation, uint64_t *when,
                          struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    if (vb_backend_read_all(r->backend, path, 65536, &bytes, err) < 0)
        return -1;
    AUTO_JSON *j = json_loadb((const char *)bytes.data, bytes.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *g = json_object_get(j, "generation"), *w = json_object_get(j, "condemned_ms");
    if (!json_is_integer(g) || json_integer_value(g) < 1 || !json_is_integer(w) || json_integer_value(w) < 0) {
        *generation = UINT64_MAX; /* damaged: it waits until it is condemned anew */
        *when = UINT64_MAX;
        return 0;
    }
    *generation = (uint64_t)json_integer_value(g);
    *when = (uint64_t)json_integer_value(w);
    return 0;
}

static int write_marks(struct prune *p, struct vb_error *err)
{
    for (size_t i = 0; i < p->n_condemn; i++) {
        uint32_t used;
        if (vb_index_find_pack(p->repo->index, &p->condemn[i], &used))
            continue; /* what was moved made the same pack once more */
        VB_AUTO_FREE char *path = condemned_path(&p->condemn[i]);
        VB_AUTO_FREE char *text = vb_printf("{\"condemned_ms\":%llu,\"generation\":%llu}\n",
                                            (unsigned long long)p->params->wall_ms, (unsigned long long)p->generation);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (vb_backend_write(p->repo->backend, path, text, strlen(text), &why) < 0 && why.code != VB_E_EXISTS)
            return vb_error_move(err, &why);
    }
    return vb_backend_barrier(p->repo->backend, err);
}

static int remove_all(struct vb_repo *r, const struct vb_strv *paths, struct vb_error *err)
{
    for (size_t i = 0; i < paths->n; i++)
        if (vb_backend_remove(r->backend, paths->v[i], err) < 0)
            return -1;
    return paths->n ? vb_backend_barrier(r->backend, err) : 0;
}

/* The marks that were there before this prune. */
static int remove_condemned(struct prune *p, const struct vb_strv *marks, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    for (size_t i = 0; i < marks->n; i++) {
        uint64_t generation = 0, when = 0, size = 0;
        uint32_t used;
        struct vb_name name;
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (!vb_name_parse(marks->v[i] + strlen("condemned/"), &name) || vb_index_find_pack(r->index, &name, &used))
            continue; /* in use: written anew under that name, see write_pack */
        if (read_condemned(r, marks->v[i], &generation, &when, err) < 0)
            return -1;
        if (generation >= p->generation || p->params->wall_ms < when || p->params->wall_ms - when < p->params->delay_ms) {
            p->result->waiting_packs++;
            continue;
        }
        VB_AUTO_FREE char *path = vb_pack_path(&name);
        if (vb_backend_size(r->backend, path, &size, &why) < 0 && why.code != VB_E_NOT_FOUND)
            return vb_error_move(err, &why);
        p->result->removed_packs += size > 0;
        p->result->removed_bytes += size;
        if (p->params->dry_run)
            continue;
        vb_fault_point("store");
        if ((size > 0 && vb_backend_remove(r->backend, path, err) < 0) || vb_backend_barrier(r->backend, err) < 0 ||
            vb_backend_remove(r->backend, marks->v[i], err) < 0)
            return -1;
    }
    return 0;
}

static int next_generation(struct prune *p, const struct vb_strv *marks, struct vb_error *err)
{
    p->generation = 1;
    for (size_t i = 0; i < marks->n; i++) {
        uint64_t generation = 0, when = 0;
        if (read_condemned(p->repo, marks->v[i], &generation, &when, err) < 0)
            return -1;
        if (generation != UINT64_MAX && generation >= p->generation)
            p->generation = generation + 1;
    }
    return 0;
}

/* ---- all together ---- */

static int change(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    if (vb_repo_flush(r, err) < 0)
        return -1;
    vb_fault_point("store");
    if (vb_backend_list(r->backend, "index/", gather_path, &p->old_index, err) < 0 || write_new_index(p, err) < 0)
        return -1;
    vb_fault_point("store");
    if (remove_all(r, &p->expired, err) < 0)
        return -1;
    vb_fault_point("store");
    if (write_marks(p, err) < 0)
        return -1;
    vb_fault_point("store");
    return remove_all(r, &p->old_index, err);
}

static int run(struct prune *p, struct vb_error *err)
{
    struct vb_strv marks = { 0 };
    int result = vb_repo_condemned(p->repo, &marks, err);
    if (result == 0)
        result = next_generation(p, &marks, err);
    if (result == 0)
        result = mark_needed(p, err);
    p->result->removed_backups = p->expired.n;
    if (result == 0)
        result = repack(p, err);
    if (result == 0 && !p->params->dry_run && (p->n_condemn || p->expired.n))
        result = change(p, err);
    if (result == 0)
        result = remove_condemned(p, &marks, err);
    vb_strv_clear(&marks);
    return result;
}

int vb_repo_prune(struct vb_repo *r, const struct vb_prune_params *params, struct vb_prune_result *out,
                  struct vb_error *err)
{
    memset(out, 0, sizeof *out);
    if (!r->locked)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': repository is not locked", r->backend->location);
    if (vb_keys_append_only(r->keys))
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key cannot prune");
    struct prune p = { .repo = r, .params = params, .result = out };
    p.live = vb_alloc_n(vb_index_pack_count(r->index) + 1, sizeof *p.live);
    vb_repo_reach_init(&p.reach, r, r->index);
    p.reach.arg = &p;
    p.reach.visit = count_live;
    p.reach.problem = missing;
    int result = run(&p, err);
    vb_repo_reach_clear(&p.reach);
    free(p.live);
    free(p.condemn);
    vb_strv_clear(&p.expired);
    vb_strv_clear(&p.old_index);
    /* The index in memory is of before. */
    vb_repo_unlock(r);
    return result;
}
