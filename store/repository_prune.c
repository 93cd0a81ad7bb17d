/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_prune.c - what no backup refers to any more is removed, in two phases, while others write.
 *
 * First: all that the backups refer to is found.  Packs with much that is not needed are written anew without it, an
 * index is made of what is needed and nothing else, and packs that are needed no more are condemned: sessions that begin
 * from then on do not count on them.  Later, after a delay, and when no session is at work that began before, a prune
 * dooms condemned packs: nobody may refer to them any more; and removes them.
 *
 * Both take effect with one record in the ledger, created under the next number: what was committed before it has a lower
 * number, and was looked at; what is committed after it has a higher one, and its writer has read this record first.  If
 * a backup has taken the number meanwhile, what that refers to is taken off the list, and the next number is tried.
 *
 * The order of writing, each with a barrier: new packs, new index, the state, its record in the ledger; then records of
 * forgotten backups away, old index files, doomed packs.  A crash between any two leaves at worst something that the next
 * prune does again.
 *
 * Of a trust group of which something cannot be read, nothing is removed: what an unreadable directory refers to is not
 * known.  If it is not even known which group that is, nothing is removed at all.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/mem.h"

#define REPACK_PERCENT 30u /* of a pack that are not needed */

struct prune {
    struct vb_repo *repo;
    const struct vb_prune_params *params;
    struct vb_prune_result *result;
    struct vb_repo_reach reach;
    uint64_t *live;           /* bytes of each pack of the index */
    struct vb_strv expired;   /* records of forgotten backups whose time is over */
    struct vb_strv held;      /* records of backups that are to stay */
    struct vb_strv old_index; /* files */
    struct vb_strv dead;      /* leases */
    struct vb_state next;     /* what this prune will leave */
    struct vb_repo_listed *there; /* packs */
    size_t n_there;
    struct vb_index *told;    /* what the new index files tell */
    uint64_t generation, oldest; /* this prune's, and the lowest that a session at work knows */
    bool *frozen;             /* by group: something of it cannot be read */
    size_t n_frozen;
    uint32_t writer;          /* group of whoever wrote the record that is being looked at; 0: who may write for all */
    uint32_t group;           /* that is being looked at */
    bool group_known;
    bool incomplete;          /* a chunk is not in the index: every pack has to be asked */
    bool changes;             /* a state must be written */
    bool took_effect;
};

/* ---- who is at work ---- */

static int gather_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

/* When a lease was first seen with this very count: it is renewed under another. */
static uint64_t first_seen(struct prune *p, const char *path, bool *known)
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

static int find_leases(struct prune *p, struct vb_error *err)
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

static void freeze(struct prune *p, uint32_t group)
{
    if (group >= p->n_frozen) {
        p->frozen = vb_realloc_n(p->frozen, group + 1, sizeof *p->frozen);
        memset(p->frozen + p->n_frozen, 0, (group + 1 - p->n_frozen) * sizeof *p->frozen);
        p->n_frozen = group + 1;
    }
    p->frozen[group] = true;
}

static bool is_frozen(const struct prune *p, uint32_t group)
{
    return group < p->n_frozen && p->frozen[group];
}

/* Chunks refer to chunks of their own group only, and what cannot be read is of the group that is being looked at.  The
 * repository's own group has the documents of all: nothing tells whose. */
static int leave_alone(struct prune *p, struct vb_error *why, struct vb_error *err)
{
    if (!p->group_known || p->group == 0 || vb_keys_format(p->repo->keys) == 0)
        return vb_error_move(err, why);
    if (!is_frozen(p, p->group)) {
        vb_context(why, "nothing is removed of this host");
        vb_log_error(VB_LOG_WARNING, why);
    }
    vb_error_clear(why);
    freeze(p, p->group);
    return 0;
}

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
    struct prune *p = arg;
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
    struct prune *p = arg;
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
static int reach_backup(struct prune *p, struct vb_repo_reach *reach, const struct vb_catalog_entry *e, bool *whole,
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
                *whole = *whole && !(p->group_known && is_frozen(p, p->group));
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
static int is_expired(struct prune *p, const struct vb_strv *forgotten, const char *path, bool *expired,
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

/* A record that cannot be read is of whoever wrote it, as the ledger says. */
static int mark_entry(struct prune *p, struct vb_repo_reach *reach, const char *path, bool *whole, struct vb_error *err)
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
static int all_listed(struct prune *p, const struct vb_strv *paths, const struct vb_strv *forgotten, struct vb_error *err)
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

static int mark_listed(struct prune *p, const struct vb_strv *paths, const struct vb_strv *forgotten, struct vb_error *err)
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
        if (mark_entry(p, &p->reach, paths->v[i], &whole, err) < 0)
            return -1;
    }
    return 0;
}

static void reach_begin(struct prune *p, struct vb_repo_reach *reach)
{
    vb_repo_reach_init(reach, p->repo, p->repo->index);
    reach->arg = p;
    reach->problem = missing;
    reach->unreadable = unreadable;
}

static int mark_needed(struct prune *p, struct vb_error *err)
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
        reach_begin(p, &p->reach);
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

/* ---- packs ---- */

static const struct vb_repo_listed *listed(const struct prune *p, const struct vb_name *pack)
{
    size_t lo = 0, hi = p->n_there;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = vb_name_compare(&p->there[mid].name, pack);
        if (c == 0)
            return &p->there[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* What earlier prunes have condemned: needed again, to be removed now, or to wait. */
static void judge_condemned(struct prune *p)
{
    struct vb_repo *r = p->repo;
    const struct vb_state *s = &r->ledger.state;
    for (size_t i = 0; i < s->n_packs; i++) {
        struct vb_state_pack k = s->packs[i];
        uint32_t pack;
        if (!listed(p, &k.name))
            continue; /* removed */
        if (k.doomed) {
            vb_state_add_pack(&p->next, &k.name, k.generation, k.wall_ms, true);
            continue;
        }
        bool known = vb_index_find_pack(r->index, &k.name, &pack);
        if (VB_CHECKED(6, known && p->live[pack] > 0)) {
            p->changes = true; /* a backup that was at work when it was condemned has come to refer to it */
            continue;
        }
        bool waits = p->params->wall_ms < k.wall_ms || p->params->wall_ms - k.wall_ms < p->params->delay_ms ||
                     VB_CHECKED(7, k.generation > p->oldest) ||
                     (known && is_frozen(p, vb_index_pack_at(r->index, pack)->group));
        p->result->waiting_packs += waits;
        p->changes = p->changes || !waits;
        vb_state_add_pack(&p->next, &k.name, k.generation, k.wall_ms, !waits);
    }
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

static void choose_packs(struct prune *p, bool *chosen)
{
    struct vb_repo *r = p->repo;
    size_t packs = vb_index_pack_count(r->index);
    struct dead dead_in = { &p->reach, vb_alloc_n(packs + 1, sizeof(bool)) };
    vb_index_each(r->index, note_dead, &dead_in);
    for (size_t i = 0; i < packs; i++) {
        const struct vb_index_pack *pack = vb_index_pack_at(r->index, (uint32_t)i);
        if (pack->gone || pack->open || vb_state_find(&r->ledger.state, &pack->name))
            continue;
        uint64_t dead = pack->size > p->live[i] ? pack->size - p->live[i] : 0;
        bool wasted = p->live[i] == 0 || dead * 100 > pack->size * REPACK_PERCENT;
        /* What a trailer takes is no waste, however small the pack: at least a whole chunk must be. */
        chosen[i] = wasted && (p->live[i] == 0 || dead_in.packs[i]) && !is_frozen(p, pack->group);
        p->result->kept_packs += !chosen[i];
        if (!chosen[i])
            continue;
        vb_state_add_pack(&p->next, &pack->name, p->generation, p->params->wall_ms, false);
        p->result->condemned_packs++;
        p->result->condemned_bytes += pack->size;
        p->changes = true;
    }
    free(dead_in.packs);
}

static int repack(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    size_t packs = vb_index_pack_count(r->index);
    bool *chosen = vb_alloc_n(packs + 1, sizeof *chosen);
    struct repack x = { .prune = p, .chosen = chosen };
    int result = 0;
    choose_packs(p, chosen);
    if (!p->params->dry_run) {
        vb_index_each(r->index, choose_chunk, &x);
        for (size_t i = 0; i < x.n && result == 0; i++)
            result = move_chunk(p, &x.names[i], err);
        for (size_t i = 0; i < packs; i++)
            if (chosen[i])
                vb_index_pack_at(r->index, (uint32_t)i)->gone = true;
    }
    free(chosen);
    free(x.names);
    return result;
}

/* ---- the new index ---- */

struct rebuild {
    struct prune *prune;
    struct vb_repo_reach *reach; /* what it has seen is told */
    struct vb_index *to;
};

static int copy_chunk(void *arg, const struct vb_index_hit *hit)
{
    struct rebuild *x = arg;
    const struct vb_index_pack *pack = vb_index_pack_at(x->prune->repo->index, hit->pack);
    if ((!vb_repo_reach_seen(x->reach, hit->number) && !is_frozen(x->prune, pack->group)) ||
        (x->prune->told && x->prune->told != x->to && vb_index_get(x->prune->told, &hit->entry.name, NULL)))
        return 0;
    struct vb_pack_id id = { .name = pack->name, .size = pack->size, .group = pack->group };
    memcpy(id.salt, pack->salt, sizeof id.salt);
    vb_index_add(x->to, vb_index_add_pack(x->to, &id, false), &hit->entry);
    return 0;
}

static int write_told(struct prune *p, struct vb_index *x, struct vb_error *err)
{
    struct vb_index *before = p->repo->index;
    p->repo->index = x;
    int result = vb_repo_write_index(p->repo, p->generation, &p->old_index, err);
    p->repo->index = before;
    return result == 0 ? vb_backend_barrier(p->repo->backend, err) : -1;
}

/* Only what is needed: a directory of a forgotten backup that lies in a pack which is kept must not be believed to be there
 * with all that is below it. */
static int write_new_index(struct prune *p, struct vb_error *err)
{
    p->told = vb_index_new();
    struct rebuild x = { p, &p->reach, p->told };
    vb_index_each(p->repo->index, copy_chunk, &x);
    return write_told(p, p->told, err);
}

/* ---- the record ---- */

static int see_pack(void *arg, const struct vb_index_hit *hit, struct vb_error *err)
{
    struct prune *p = arg;
    (void)err;
    const struct vb_name *name = &vb_index_pack_at(p->reach.index, hit->pack)->name;
    for (size_t i = 0; i < p->next.n_packs; i++)
        if (vb_name_equal(&p->next.packs[i].name, name)) {
            const struct vb_state_pack *before = vb_state_find(&p->repo->ledger.state, name);
            if (before && before->doomed)
                return 0; /* whoever committed this has known better: it is elsewhere, too */
            p->next.packs[i] = p->next.packs[--p->next.n_packs];
            break;
        }
    return 0;
}

static int find_entry(struct prune *p, const struct vb_ledger_record *rec, char **path, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = vb_repo_catalog_paths(p->repo, &paths, err);
    for (size_t i = 0; i < paths.n && result == 0 && !*path; i++) {
        uint64_t number = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(paths.v[i], &number, id, &hash) && number == rec->number &&
            vb_name_equal(&hash, &rec->what))
            *path = vb_strdup(paths.v[i]);
    }
    vb_strv_clear(&paths);
    if (result == 0 && !*path)
        result = vb_fail(err, VB_E_CORRUPT, "the record of backup number %llu is missing in the catalog",
                         (unsigned long long)rec->number);
    return result;
}

/* A backup was quicker: what it refers to is kept, and told by the index. */
static int take_note_of(struct prune *p, const struct vb_ledger_record *rec, struct vb_error *err)
{
    VB_AUTO_FREE char *path = NULL;
    bool whole = true;
    size_t frozen = p->result->left_alone;
    int result = find_entry(p, rec, &path, err);
    for (int level = VB_SCAN_PACKS; level <= VB_SCAN_DEEP && result == 0; level++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        p->incomplete = false;
        result = vb_repo_load_all(p->repo, (enum vb_repo_scan)level, NULL, err);
        if (result < 0)
            break;
        vb_repo_reach_clear(&p->reach);
        reach_begin(p, &p->reach);
        p->reach.visit = see_pack;
        result = mark_entry(p, &p->reach, path, &whole, &why);
        if (result < 0 && p->incomplete && level < VB_SCAN_DEEP) {
            result = 0;
            continue;
        }
        if (result < 0)
            vb_error_move(err, &why);
        break;
    }
    if (result == 0 && !whole && frozen == p->result->left_alone)
        result = vb_fail(err, VB_E_BUSY, "a backup that ended meanwhile cannot be read");
    if (result < 0) {
        vb_hint(err, "nothing was removed; prune again");
        return -1;
    }
    struct vb_index *more = vb_index_new();
    struct rebuild x = { p, &p->reach, more };
    vb_index_each(p->repo->index, copy_chunk, &x);
    result = write_told(p, more, err);
    vb_index_free(more);
    return result;
}

static int take_note(struct prune *p, uint64_t after, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    for (size_t i = 0; i < r->ledger.n; i++) {
        const struct vb_ledger_record rec = r->ledger.v[i];
        if (rec.number <= after || rec.kind == VB_LEDGER_UNKNOWN)
            continue;
        if (rec.kind == VB_LEDGER_BACKUP) {
            if (VB_CHECKED(8, true) && take_note_of(p, &rec, err) < 0)
                return -1;
            continue;
        }
        vb_fail(err, VB_E_BUSY, rec.kind == VB_LEDGER_PRUNE ? "another prune was quicker"
                                                             : "a backup was held or called back meanwhile");
        vb_hint(err, "nothing was removed; prune again");
        return -1;
    }
    return 0;
}

static int write_state(struct prune *p, char **path, struct vb_name *hash, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t number = 0;
    p->next.generation = p->generation;
    p->next.wall_ms = p->params->wall_ms;
    for (size_t i = 0; i < p->expired.n; i++)
        if (!vb_strv_has(&p->next.expired, p->expired.v[i]))
            vb_strv_add(&p->next.expired, p->expired.v[i]);
    vb_state_sort(&p->next);
    if (vb_repo_ledger_next(p->repo, &number, err) < 0 || vb_state_encode(&p->next, &bytes, err) < 0)
        return -1;
    vb_sha256(bytes.data, bytes.len, hash);
    *path = vb_state_path(number, hash);
    if (vb_backend_write(p->repo->backend, *path, bytes.data, bytes.len, &why) < 0 && why.code != VB_E_EXISTS)
        return vb_error_move(err, &why);
    return vb_backend_barrier(p->repo->backend, err);
}

/* From here on, for everybody. */
static int take_effect(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    for (;;) {
        VB_AUTO_FREE char *path = NULL;
        struct vb_name hash;
        bool unsure = false;
        uint64_t before = r->ledger.end;
        if (write_state(p, &path, &hash, err) < 0)
            return -1;
        vb_fault_point("store");
        int result = vb_repo_ledger_append(r, VB_LEDGER_PRUNE, &hash, &unsure, err);
        p->took_effect = p->took_effect || result == 0;
        if (result == 0)
            return vb_repo_ledger_sync(r, err); /* reads the state that is in force now */
        if (!unsure)
            vb_backend_remove(r->backend, path, NULL);
        if (result < 0 || take_note(p, before, err) < 0)
            return -1;
    }
}

/* ---- removing ---- */

/* Removes what others may have removed already. */
static int remove_one(struct vb_repo *r, const char *path, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_backend_remove(r->backend, path, &why) < 0 && why.code != VB_E_NOT_FOUND)
        return vb_error_move(err, &why);
    return 0;
}

static int remove_all(struct vb_repo *r, const struct vb_strv *paths, struct vb_error *err)
{
    for (size_t i = 0; i < paths->n; i++)
        if (remove_one(r, paths->v[i], err) < 0)
            return -1;
    return paths->n ? vb_backend_barrier(r->backend, err) : 0;
}

/* Never became a backup, or a state that counts: another has the number. */
static int find_void(struct prune *p, struct vb_strv *paths, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    struct vb_strv all = { 0 };
    int result = vb_repo_catalog_paths(r, &all, err);
    for (size_t i = 0; i < all.n && result == 0; i++) {
        uint64_t number = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(all.v[i], &number, id, &hash) && vb_repo_standing(r, number, &hash) == VB_VOID)
            vb_strv_add(paths, all.v[i]);
    }
    vb_strv_clear(&all);
    if (result == 0)
        result = vb_backend_list(r->backend, "state/", gather_path, &all, err);
    uint64_t newest = r->ledger.prune.number, before = 0;
    for (size_t i = 0; i < r->ledger.n; i++) /* the state before stays for those who have just read of it */
        if (r->ledger.v[i].kind == VB_LEDGER_PRUNE && r->ledger.v[i].number < newest)
            before = r->ledger.v[i].number;
    for (size_t i = 0; i < all.n && result == 0; i++) {
        uint64_t number = 0;
        struct vb_name hash;
        const struct vb_ledger_record *rec;
        if (vb_state_path_parse(all.v[i], &number, &hash) && number < newest &&
            (number != before || !(rec = vb_repo_ledger_at(r, number)) || !vb_name_equal(&rec->what, &hash)))
            vb_strv_add(paths, all.v[i]);
    }
    vb_strv_clear(&all);
    /* Marks of packs were files of their own once. */
    return result == 0 ? vb_backend_list(r->backend, "condemned/", gather_path, paths, err) : result;
}

static int remove_doomed(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    const struct vb_state *s = p->params->dry_run ? &p->next : &r->ledger.state;
    bool any = false;
    for (size_t i = 0; i < s->n_packs; i++) {
        const struct vb_repo_listed *l = listed(p, &s->packs[i].name);
        if (!s->packs[i].doomed || !l)
            continue;
        VB_AUTO_FREE char *path = vb_pack_path(&s->packs[i].name);
        p->result->removed_packs++;
        p->result->removed_bytes += l->size;
        vb_fault_point("store");
        if (!p->params->dry_run && remove_one(r, path, err) < 0)
            return -1;
        any = true;
    }
    return any && !p->params->dry_run ? vb_backend_barrier(r->backend, err) : 0;
}

static int clear_away(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    struct vb_strv unused = { 0 };
    /* An interrupted prune may have left some of each. */
    int result = remove_all(r, &p->expired, err);
    vb_fault_point("store");
    if (result == 0 && p->changes)
        result = remove_all(r, &p->old_index, err);
    vb_fault_point("store");
    if (result == 0)
        result = remove_doomed(p, err);
    vb_fault_point("store");
    if (result == 0)
        result = remove_all(r, &p->dead, err);
    if (result == 0)
        result = find_void(p, &unused, err);
    if (result == 0)
        result = remove_all(r, &unused, err);
    vb_strv_clear(&unused);
    return result;
}

/* ---- all together ---- */

static int change(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    if (vb_repo_flush_packs(r, err) < 0)
        return -1;
    vb_fault_point("store");
    if (write_new_index(p, err) < 0)
        return -1;
    vb_fault_point("store");
    return take_effect(p, err);
}

static int run(struct prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    if (vb_repo_ledger_sync(r, err) < 0)
        return -1;
    p->generation = r->ledger.prunes + 1;
    if (find_leases(p, err) < 0 || mark_needed(p, err) < 0 || vb_repo_list_packs(r, &p->there, &p->n_there, err) < 0)
        return -1;
    /* Another prune since the beginning: its state is not what was looked at. */
    if (p->generation != r->ledger.prunes + 1)
        return vb_fail(err, VB_E_BUSY, "another prune was quicker");
    p->result->removed_backups = p->expired.n;
    p->changes = p->changes || p->expired.n > 0 || r->ledger.state_lost;
    judge_condemned(p);
    if (repack(p, err) < 0)
        return -1;
    if (p->params->dry_run)
        return remove_doomed(p, err);
    if (p->changes && change(p, err) < 0)
        return -1;
    return clear_away(p, err);
}

int vb_repo_prune(struct vb_repo *r, const struct vb_prune_params *params, struct vb_prune_result *out,
                  struct vb_error *err)
{
    memset(out, 0, sizeof *out);
    if (!r->locked)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': no session has begun", r->backend->location);
    if (vb_keys_append_only(r->keys))
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key cannot prune");
    struct prune p = { .repo = r, .params = params, .result = out };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    int result = run(&p, &why);
    if (result < 0) {
        /* What another prune removes while this one looks is no damage. */
        if (p.generation && !p.took_effect && vb_repo_ledger_sync(r, NULL) == 0 && r->ledger.prunes >= p.generation) {
            vb_error_clear(&why);
            vb_fail(&why, VB_E_BUSY, "another prune was quicker");
            vb_hint(&why, "nothing was removed by this one; prune again");
        }
        vb_error_move(err, &why);
    }
    vb_repo_reach_clear(&p.reach);
    free(p.live);
    free(p.there);
    free(p.frozen);
    vb_index_free(p.told);
    vb_state_clear(&p.next);
    vb_strv_clear(&p.expired);
    vb_strv_clear(&p.held);
    vb_strv_clear(&p.old_index);
    vb_strv_clear(&p.dead);
    /* The index in memory is of before. */
    vb_repo_unlock(r);
    return result;
}
