/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_loss.c - what a backup has lost by the damage that was found: which files, and how much of each.
 *
 * Walks the backup's directories as far as they can be read, against an index of the chunks that are whole.  Directories
 * nest as deep as a file system lets them: what is still to be looked at waits in a list.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

struct waiting {
    struct vb_name name;
    char *path;
};

struct loss {
    struct vb_repo *repo;
    struct vb_index *whole;
    vb_check_fn *report;
    void *arg;
    char *object;     /* "backup 1234abcd" */
    const char *host;
    struct waiting *list;
    size_t n, cap;
    uint64_t found;
};

static void tell(struct loss *l, const char *path, const char *what)
{
    VB_AUTO_FREE char *text = vb_printf("host '%s': '%s': %s", l->host, path, what);
    l->found++;
    if (l->report)
        l->report(l->arg, VB_CHECK_LOSS, l->object, text);
}

static bool is_whole(const struct loss *l, const struct vb_name *name, enum vb_chunk_type type)
{
    struct vb_index_hit hit;
    return vb_index_get(l->whole, name, &hit) && hit.entry.type == type;
}

static bool read_chunk(struct loss *l, const struct vb_name *name, enum vb_chunk_type type, struct vb_buf *plain)
{
    struct vb_index_hit hit;
    VB_AUTO_BUF stored = VB_BUF_INIT;
    if (!vb_index_get(l->whole, name, &hit) || hit.entry.type != type)
        return false;
    const struct vb_index_pack *pack = vb_index_pack_at(l->whole, hit.pack);
    return vb_repo_read_packed(l->repo, pack, &hit.entry, &stored, NULL) == 0 &&
           vb_repo_open_stored(l->repo, pack->group, &hit.entry, &stored, plain, NULL) == 0;
}

/* Bytes that are not there any more; the depth is bounded by the decoder: each list is one level lower. */
static uint64_t lost_bytes(struct loss *l, enum vb_chunk_type leaf, const struct vb_ref *refs, size_t n, unsigned level)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < n; i++) {
        if (level == 0) {
            lost += is_whole(l, &refs[i].name, leaf) ? 0 : refs[i].size;
            continue;
        }
        VB_AUTO_BUF plain = VB_BUF_INIT;
        VB_AUTO_FREE struct vb_ref *below = NULL;
        size_t n_below = 0;
        uint8_t own = 0;
        if (!read_chunk(l, &refs[i].name, VB_CHUNK_LIST, &plain) ||
            vb_list_decode(plain.data, plain.len, &own, &below, &n_below, NULL) < 0 || own + 1u != level)
            lost += refs[i].size;
        else
            lost += lost_bytes(l, leaf, below, n_below, own);
    }
    return lost;
}

static void look_at_file(struct loss *l, const char *path, const struct vb_tree_entry *e)
{
    uint64_t lost = lost_bytes(l, VB_CHUNK_DATA, e->content.refs, e->content.n, e->content.level);
    if (lost == 0)
        return;
    VB_AUTO_FREE char *what = vb_printf("%llu of %llu bytes are lost", (unsigned long long)lost, (unsigned long long)e->size);
    tell(l, path, what);
}

static void wait_for(struct loss *l, const struct vb_name *name, char *path)
{
    VB_GROW(l->list, l->n, l->cap);
    l->list[l->n++] = (struct waiting){ *name, path };
}

static void look_at_directory(struct loss *l, const struct waiting *w)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    VB_AUTO_TREE t = { 0 };
    if (!read_chunk(l, &w->name, VB_CHUNK_TREE, &plain) || vb_tree_decode(plain.data, plain.len, &t, NULL) < 0) {
        tell(l, w->path, "the directory, or a part of it, is lost with all below");
        return;
    }
    for (size_t i = 0; i < t.n; i++) {
        if (t.height > 0) {
            wait_for(l, &t.children[i].name, vb_strdup(w->path));
            continue;
        }
        const struct vb_tree_entry *e = &t.entries[i];
        VB_AUTO_FREE char *path = strcmp(e->name, ".") == 0 ? vb_strdup(w->path) : vb_path_join(w->path, e->name);
        if (e->type == VB_TREE_DIR)
            wait_for(l, &e->subtree, VB_STEAL(path));
        else if (e->type == VB_TREE_FILE)
            look_at_file(l, path, e);
    }
}

static void look_at_root(struct loss *l, const struct vb_catalog_root *root)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    VB_AUTO_TREE t = { 0 };
    if (!root->has_tree)
        return;
    if (!read_chunk(l, &root->tree, VB_CHUNK_TREE, &plain) || vb_tree_decode(plain.data, plain.len, &t, NULL) < 0 ||
        t.height != 0 || t.n != 1) {
        tell(l, root->path, "all of it is lost");
        return;
    }
    if (t.entries[0].type == VB_TREE_DIR)
        wait_for(l, &t.entries[0].subtree, vb_strdup(root->path));
    else if (t.entries[0].type == VB_TREE_FILE)
        look_at_file(l, root->path, &t.entries[0]);
    while (l->n > 0) {
        struct waiting w = l->list[--l->n];
        look_at_directory(l, &w);
        free(w.path);
    }
}

uint64_t vb_repo_losses(struct vb_repo *r, struct vb_index *whole, const struct vb_catalog_entry *e, vb_check_fn *report,
                        void *arg)
{
    VB_AUTO_FREE char *object = vb_printf("backup %.8s", e->id);
    struct loss l = { .repo = r, .whole = whole, .report = report, .arg = arg, .object = object };
    for (size_t h = 0; h < e->n_hosts; h++) {
        l.host = e->hosts[h].name;
        for (size_t c = 0; c < e->hosts[h].n_components; c++)
            for (size_t i = 0; i < e->hosts[h].components[c].n_roots; i++)
                look_at_root(&l, &e->hosts[h].components[c].roots[i]);
    }
    for (size_t d = 0; d < e->n_documents; d++) {
        const struct vb_catalog_document *doc = &e->documents[d];
        l.host = doc->host ? doc->host : "";
        if (lost_bytes(&l, VB_CHUNK_DOC, doc->content.refs, doc->content.n, doc->content.level) > 0)
            tell(&l, doc->kind ? doc->kind : "?", "the document is lost, or a part of it");
    }
    free(l.list);
    return l.found;
}
