/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_usage.c - how much of the repository belongs to which backup.
 *
 * Each chunk gets an owner when it is reached first, and becomes shared when another backup reaches it, with all that is
 * below it: so each is read at most twice, however many backups there are.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SHARED UINT32_MAX

struct waiting {
    struct vb_name name;
    bool shared;
};

struct usage {
    struct vb_repo *repo;
    struct vb_repo_usage *each, *all;
    uint32_t *owner; /* [number of the chunk]: 0, one more than the backup's place, or SHARED */
    uint32_t now;
    bool below_shared;
    struct waiting *list;
    size_t n, cap;
};

static void count(struct vb_repo_usage *u, const struct vb_pack_entry *e, bool more)
{
    u->unique_chunks += more ? 1 : UINT64_MAX;
    u->unique_raw += more ? e->raw_size : ~(uint64_t)e->raw_size + 1;
    u->unique_stored += more ? e->stored_size : ~(uint64_t)e->stored_size + 1;
}

static int reach(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    struct usage *u = arg;
    struct vb_index_hit hit;
    char hex[VB_NAME_HEX_LEN + 1];
    if (!vb_index_get(u->repo->index, name, &hit) || (type && hit.entry.type != type)) {
        vb_name_hex(name, hex);
        return vb_fail(err, VB_E_CORRUPT, "the %s chunk %.16s... is missing, which a backup refers to",
                       type ? vb_chunk_type_name(type) : "data", hex);
    }
    uint32_t *owner = &u->owner[hit.number], before = *owner;
    bool shared = u->below_shared || (before != 0 && before != u->now);
    if (before == SHARED || (before == u->now && !shared))
        return 0;
    if (before == 0) {
        u->all->chunks++;
        u->all->raw += hit.entry.raw_size;
        u->all->stored += hit.entry.stored_size;
    }
    *owner = shared ? SHARED : u->now;
    if (before != 0)
        count(&u->each[before - 1], &hit.entry, false);
    if (!shared)
        count(&u->each[u->now - 1], &hit.entry, true);
    if (hit.entry.type == VB_CHUNK_TREE || hit.entry.type == VB_CHUNK_LIST) {
        VB_GROW(u->list, u->n, u->cap);
        u->list[u->n++] = (struct waiting){ *name, shared };
    }
    return 0;
}

static int run(struct usage *u, struct vb_error *err)
{
    while (u->n > 0) {
        struct waiting w = u->list[--u->n];
        struct vb_index_hit hit;
        VB_AUTO_BUF plain = VB_BUF_INIT;
        if (!vb_index_get(u->repo->index, &w.name, &hit))
            continue;
        enum vb_chunk_type type = (enum vb_chunk_type)hit.entry.type;
        u->below_shared = w.shared;
        if (vb_repo_get(u->repo, type, &w.name, &plain, err) < 0 ||
            vb_chunk_refs(type, plain.data, plain.len, reach, u, err) != 0)
            return -1;
    }
    u->below_shared = false;
    return 0;
}

static int add_backup(struct usage *u, const struct vb_catalog_entry *e, struct vb_error *err)
{
    int rc = 0;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++)
            for (size_t i = 0; i < e->hosts[h].components[c].n_roots && rc == 0; i++) {
                const struct vb_catalog_root *root = &e->hosts[h].components[c].roots[i];
                if (root->has_tree)
                    rc = reach(u, &root->tree, VB_CHUNK_TREE, err);
                if (rc == 0)
                    rc = run(u, err);
            }
    for (size_t d = 0; d < e->n_documents; d++) {
        const struct vb_content *content = &e->documents[d].content;
        for (uint32_t i = 0; i < content->n && rc == 0; i++)
            rc = reach(u, &content->refs[i].name, content->level ? VB_CHUNK_LIST : VB_CHUNK_DOC, err);
    }
    return rc == 0 ? run(u, err) : rc;
}

/* All that one backup refers to, whoever else does. */
static int visit(void *arg, const struct vb_index_hit *hit, struct vb_error *err)
{
    struct vb_repo_usage *u = arg;
    (void)err;
    u->chunks++;
    u->raw += hit->entry.raw_size;
    u->stored += hit->entry.stored_size;
    return 0;
}

static int missing(void *arg, const struct vb_name *name, unsigned type, const struct vb_index_hit *hit, struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    (void)arg, (void)hit;
    vb_name_hex(name, hex);
    return vb_fail(err, VB_E_CORRUPT, "the %s chunk %.16s... is missing", type ? vb_chunk_type_name(type) : "data", hex);
}

/* What others have done since the index was loaded shows as chunks that are missing: then it is loaded anew, and all is
 * counted from the beginning, as the chunks have other numbers. */
static bool again(struct vb_repo *r, struct vb_error *why)
{
    return (why->code == VB_E_CORRUPT || why->code == VB_E_NOT_FOUND) && vb_repo_look_deeper(r);
}

static int usage_of(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_repo_usage *out, struct vb_error *err)
{
    struct vb_repo_reach x;
    r->pinned = true;
    vb_repo_reach_init(&x, r, r->index);
    x.arg = out;
    x.visit = visit;
    x.problem = missing;
    out->chunks = out->raw = out->stored = 0;
    int rc = vb_repo_reach_entry(&x, e, err);
    vb_repo_reach_clear(&x);
    r->pinned = false;
    return rc;
}

int vb_repo_usage_of(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_repo_usage *out, struct vb_error *err)
{
    for (;;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (usage_of(r, e, out, &why) == 0)
            return 0;
        if (!again(r, &why))
            return vb_error_move(err, &why);
    }
}

static int usage(struct usage *u, struct vb_catalog_entry *const *entries, size_t n, struct vb_error *err)
{
    int rc = 0;
    u->repo->pinned = true;
    u->n = 0;
    u->below_shared = false;
    u->owner = vb_alloc_n(vb_index_numbers(u->repo->index) + 1, sizeof *u->owner);
    memset(u->each, 0, n * sizeof *u->each);
    memset(u->all, 0, sizeof *u->all);
    for (size_t i = 0; i < n && rc == 0; i++) {
        u->now = (uint32_t)i + 1;
        rc = add_backup(u, entries[i], err);
        if (rc < 0)
            vb_context(err, "backup %.8s", entries[i]->id);
    }
    free(u->owner);
    u->repo->pinned = false;
    return rc;
}

int vb_repo_usage(struct vb_repo *r, struct vb_catalog_entry *const *entries, size_t n, struct vb_repo_usage *each,
                  struct vb_repo_usage *all, struct vb_error *err)
{
    struct usage u = { .repo = r, .each = each, .all = all };
    int rc;
    for (;;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if ((rc = usage(&u, entries, n, &why)) == 0 || !again(r, &why)) {
            rc = rc == 0 ? 0 : vb_error_move(err, &why);
            break;
        }
    }
    free(u.list);
    return rc;
}
