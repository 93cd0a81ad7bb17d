/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_reach.c - everything below some roots, each chunk once.
 *
 * Directories nest as deep as a file system lets them: what is still to be read waits in a list, nothing recurses.
 * Memory: one bit for each chunk of the index, and the list.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void vb_repo_reach_init(struct vb_repo_reach *x, struct vb_repo *r, struct vb_index *index)
{
    memset(x, 0, sizeof *x);
    x->repo = r;
    x->index = index;
    x->seen = vb_alloc(vb_index_numbers(index) / 8 + 1);
}

void vb_repo_reach_clear(struct vb_repo_reach *x)
{
    free(x->seen);
    free(x->waiting);
    memset(x, 0, sizeof *x);
}

bool vb_repo_reach_seen(const struct vb_repo_reach *x, uint32_t number)
{
    return x->seen[number / 8] >> (number % 8) & 1;
}

int vb_repo_reach_add(struct vb_repo_reach *x, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    struct vb_index_hit hit;
    if (!vb_index_get(x->index, name, &hit))
        return x->problem(x->arg, name, type, NULL, err);
    bool refers = hit.entry.type == VB_CHUNK_TREE || hit.entry.type == VB_CHUNK_LIST;
    if (type ? hit.entry.type != type : refers)
        return x->problem(x->arg, name, type, &hit, err);
    if (vb_repo_reach_seen(x, hit.number))
        return 0;
    x->seen[hit.number / 8] = (unsigned char)(x->seen[hit.number / 8] | 1u << (hit.number % 8));
    int result = x->visit ? x->visit(x->arg, &hit, err) : 0;
    if (result == 0 && refers) {
        VB_GROW(x->waiting, x->n, x->cap);
        x->waiting[x->n++] = hit.entry.name;
    }
    return result;
}

static int add_ref(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    return vb_repo_reach_add(arg, name, type, err);
}

int vb_repo_reach_run(struct vb_repo_reach *x, struct vb_error *err)
{
    while (x->n > 0) {
        struct vb_name name = x->waiting[--x->n];
        struct vb_index_hit hit;
        VB_AUTO_BUF plain = VB_BUF_INIT;
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (!vb_index_get(x->index, &name, &hit))
            continue;
        enum vb_chunk_type type = (enum vb_chunk_type)hit.entry.type;
        int result = vb_repo_get(x->repo, type, &name, &plain, &why);
        if (result == 0)
            result = vb_chunk_refs(type, plain.data, plain.len, add_ref, x, &why);
        if (result < 0 && x->unreadable)
            result = x->unreadable(x->arg, &hit, &why);
        if (result != 0) {
            vb_error_move(err, &why);
            return result;
        }
    }
    return 0;
}

int vb_repo_reach_entry(struct vb_repo_reach *x, const struct vb_catalog_entry *e, struct vb_error *err)
{
    int result = 0;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t i = 0; i < e->hosts[h].n_components; i++) {
            const struct vb_catalog_component *comp = &e->hosts[h].components[i];
            for (size_t k = 0; k < comp->n_roots && result == 0; k++)
                if (comp->roots[k].has_tree)
                    result = vb_repo_reach_add(x, &comp->roots[k].tree, VB_CHUNK_TREE, err);
        }
    for (size_t d = 0; d < e->n_documents; d++) {
        const struct vb_content *content = &e->documents[d].content;
        for (uint32_t i = 0; i < content->n && result == 0; i++)
            result = vb_repo_reach_add(x, &content->refs[i].name, content->level ? VB_CHUNK_LIST : 0, err);
    }
    return result == 0 ? vb_repo_reach_run(x, err) : result;
}
