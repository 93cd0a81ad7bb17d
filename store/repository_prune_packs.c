/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_prune_packs.c - of a prune: what becomes of packs, and the index of what is needed.
 */
#include "config.h"
#include "store/repository_prune.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define REPACK_PERCENT 30u /* of a pack that are not needed */

/* ---- packs ---- */

const struct vb_repo_listed *vb_prune_listed(const struct vb_prune *p, const struct vb_name *pack)
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

void vb_prune_judge(struct vb_prune *p)
{
    struct vb_repo *r = p->repo;
    const struct vb_state *s = &r->ledger.state;
    for (size_t i = 0; i < s->n_packs; i++) {
        struct vb_state_pack k = s->packs[i];
        uint32_t pack;
        if (!vb_prune_listed(p, &k.name))
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
                     (known && vb_prune_is_frozen(p, vb_index_pack_at(r->index, pack)->group));
        p->result->waiting_packs += waits;
        p->changes = p->changes || !waits;
        vb_state_add_pack(&p->next, &k.name, k.generation, k.wall_ms, !waits);
    }
}

struct repack {
    struct vb_prune *prune;
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

static int move_chunk(struct vb_prune *p, const struct vb_name *name, struct vb_error *err)
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

static void choose_packs(struct vb_prune *p, bool *chosen)
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
        chosen[i] = wasted && (p->live[i] == 0 || dead_in.packs[i]) && !vb_prune_is_frozen(p, pack->group);
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

int vb_prune_repack(struct vb_prune *p, struct vb_error *err)
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
    struct vb_prune *prune;
    struct vb_repo_reach *reach; /* what it has seen is told */
    struct vb_index *to;
};

static int copy_chunk(void *arg, const struct vb_index_hit *hit)
{
    struct rebuild *x = arg;
    const struct vb_index_pack *pack = vb_index_pack_at(x->prune->repo->index, hit->pack);
    if ((!vb_repo_reach_seen(x->reach, hit->number) && !vb_prune_is_frozen(x->prune, pack->group)) ||
        (x->prune->told && x->prune->told != x->to && vb_index_get(x->prune->told, &hit->entry.name, NULL)))
        return 0;
    struct vb_pack_id id = { .name = pack->name, .size = pack->size, .group = pack->group };
    memcpy(id.salt, pack->salt, sizeof id.salt);
    vb_index_add(x->to, vb_index_add_pack(x->to, &id, false), &hit->entry);
    return 0;
}

static int write_told(struct vb_prune *p, struct vb_index *x, struct vb_error *err)
{
    struct vb_index *before = p->repo->index;
    p->repo->index = x;
    int result = vb_repo_write_index(p->repo, p->generation, &p->old_index, err);
    p->repo->index = before;
    return result == 0 ? vb_backend_barrier(p->repo->backend, err) : -1;
}

int vb_prune_write_index(struct vb_prune *p, struct vb_error *err)
{
    p->told = vb_index_new();
    struct rebuild x = { p, &p->reach, p->told };
    vb_index_each(p->repo->index, copy_chunk, &x);
    return write_told(p, p->told, err);
}

int vb_prune_tell_more(struct vb_prune *p, struct vb_error *err)
{
    struct vb_index *more = vb_index_new();
    struct rebuild x = { p, &p->reach, more };
    vb_index_each(p->repo->index, copy_chunk, &x);
    int result = write_told(p, more, err);
    vb_index_free(more);
    return result;
}
