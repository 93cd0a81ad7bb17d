/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_copy.c - backups of one repository into another.
 *
 * Names are keyed, so each chunk has another name there, and what refers to it is written anew; the data themselves are
 * unsealed, verified, named and sealed again as they were compressed.  Children first, without recursion.  Which name a
 * chunk got is remembered for the whole run, per trust group; a run that comes after an interrupted one finds what is
 * there already by name, and stores nothing twice.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FLUSH_EVERY ((uint64_t)512 << 20) /* stored bytes, after which what was copied survives an interruption */

struct renamed {
    struct vb_name from, to;
    uint32_t group;
    bool used;
};

struct waiting {
    struct vb_name name;
    uint8_t type;
};

struct vb_copy {
    struct vb_repo *from, *to;
    struct renamed *map; /* open addressing; size is a power of two */
    size_t n, size;
    struct waiting *list;
    size_t n_list, cap_list;
    uint32_t group; /* in the new repository, of what is being copied */
    uint64_t flushed;
    struct vb_buf stored, plain, out;
    struct vb_codec *codec;
    struct vb_copy_result *result;
    void (*on_chunk)(void *arg);
    void *on_chunk_arg;
};

struct vb_copy *vb_copy_new(struct vb_repo *from, struct vb_repo *to)
{
    struct vb_copy *c = vb_alloc(sizeof *c);
    c->from = from;
    c->to = to;
    c->codec = vb_codec_new(to->info.params.compression);
    return c;
}

void vb_copy_on_chunk(struct vb_copy *c, void (*fn)(void *arg), void *arg)
{
    c->on_chunk = fn;
    c->on_chunk_arg = arg;
}

void vb_copy_free(struct vb_copy *c)
{
    if (!c)
        return;
    vb_codec_free(c->codec);
    vb_buf_clear(&c->stored);
    vb_buf_clear(&c->plain);
    vb_buf_clear(&c->out);
    free(c->map);
    free(c->list);
    free(c);
}

/* ---- which name a chunk has there ---- */

static struct renamed *slot(struct renamed *map, size_t size, const struct vb_name *name, uint32_t group)
{
    uint64_t h;
    memcpy(&h, name->b, sizeof h);
    size_t i = (size_t)(h + group * 0x9e3779b97f4a7c15u) & (size - 1);
    while (map[i].used && (map[i].group != group || !vb_name_equal(&map[i].from, name)))
        i = (i + 1) & (size - 1);
    return &map[i];
}

static const struct vb_name *new_name(const struct vb_copy *c, const struct vb_name *name)
{
    const struct renamed *r = c->size ? slot(c->map, c->size, name, c->group) : NULL;
    return r && r->used ? &r->to : NULL;
}

static void remember(struct vb_copy *c, const struct vb_name *from, const struct vb_name *to)
{
    if (2 * (c->n + 1) > c->size) {
        size_t size = c->size ? 2 * c->size : 1024;
        struct renamed *map = vb_alloc_n(size, sizeof *map);
        for (size_t i = 0; i < c->size; i++)
            if (c->map[i].used)
                *slot(map, size, &c->map[i].from, c->map[i].group) = c->map[i];
        free(c->map);
        c->map = map;
        c->size = size;
    }
    *slot(c->map, c->size, from, c->group) = (struct renamed){ *from, *to, c->group, true };
    c->n++;
}

/* ---- one chunk ---- */

static int flush_now_and_then(struct vb_copy *c, struct vb_error *err)
{
    if (c->to->stats.put_stored - c->flushed < FLUSH_EVERY)
        return 0;
    c->flushed = c->to->stats.put_stored;
    return vb_repo_flush(c->to, err);
}

/* Data or a piece of a document: as it was compressed. */
static int copy_leaf(struct vb_copy *c, enum vb_chunk_type type, const struct vb_name *name, struct vb_error *err)
{
    struct vb_name to;
    uint8_t encoding;
    size_t raw_size;
    bool there;
    vb_buf_reset(&c->stored);
    vb_buf_reset(&c->plain);
    if (vb_repo_get_stored(c->from, type, name, &c->stored, &encoding, &raw_size, err) < 0 ||
        vb_codec_decompress(c->codec, encoding, c->stored.data, c->stored.len, raw_size, &c->plain, err) < 0)
        return -1;
    vb_namer_name(vb_keys_group_at(c->to->keys, c->group)->namer, type, c->plain.data, c->plain.len, &to);
    vb_repo_has_in(c->to, c->group, &to, 1, &there);
    c->result->chunks++;
    if (c->on_chunk)
        c->on_chunk(c->on_chunk_arg);
    if (!there) {
        c->result->new_chunks++;
        c->result->new_bytes += c->stored.len;
        if (vb_repo_put_in(c->to, c->group, type, &to, raw_size, encoding, c->stored.data, c->stored.len, err) < 0)
            return -1;
    }
    remember(c, name, &to);
    return flush_now_and_then(c, err);
}

/* A tree or list, whose new plaintext is in out. */
static int put_anew(struct vb_copy *c, enum vb_chunk_type type, const struct vb_name *name, struct vb_error *err)
{
    struct vb_name to;
    uint8_t encoding = VB_ENC_RAW;
    bool there;
    vb_namer_name(vb_keys_group_at(c->to->keys, c->group)->namer, type, c->out.data, c->out.len, &to);
    vb_repo_has_in(c->to, c->group, &to, 1, &there);
    c->result->chunks++;
    if (c->on_chunk)
        c->on_chunk(c->on_chunk_arg);
    if (!there) {
        vb_buf_reset(&c->stored);
        if (vb_codec_compress(c->codec, c->out.data, c->out.len, &c->stored, &encoding, err) < 0 ||
            vb_repo_put_in(c->to, c->group, type, &to, c->out.len, encoding, c->stored.data, c->stored.len, err) < 0)
            return -1;
        c->result->new_chunks++;
        c->result->new_bytes += c->stored.len;
    }
    remember(c, name, &to);
    return 0;
}

static int rename_ref(struct vb_copy *c, struct vb_name *name, struct vb_error *err)
{
    const struct vb_name *to = new_name(c, name);
    if (!to)
        return vb_fail(err, VB_E_UNEXPECTED, "a chunk is referred to that was not copied");
    *name = *to;
    return 0;
}

static int rename_tree(struct vb_copy *c, struct vb_error *err)
{
    VB_AUTO_TREE t = { 0 };
    if (vb_tree_decode(c->plain.data, c->plain.len, &t, err) < 0)
        return -1;
    for (size_t i = 0; i < t.n; i++) {
        if (t.height > 0) {
            if (rename_ref(c, &t.children[i].name, err) < 0)
                return -1;
            continue;
        }
        struct vb_tree_entry *e = &t.entries[i];
        if (e->type == VB_TREE_DIR && rename_ref(c, &e->subtree, err) < 0)
            return -1;
        for (uint32_t k = 0; k < e->content.n; k++)
            if (rename_ref(c, &e->content.refs[k].name, err) < 0)
                return -1;
    }
    return vb_tree_encode(&t, &c->out, err);
}

static int rename_list(struct vb_copy *c, struct vb_error *err)
{
    VB_AUTO_FREE struct vb_ref *refs = NULL;
    size_t n = 0;
    uint8_t level = 0;
    if (vb_list_decode(c->plain.data, c->plain.len, &level, &refs, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (rename_ref(c, &refs[i].name, err) < 0)
            return -1;
    return vb_list_encode(level, refs, n, &c->out, err);
}

/* ---- everything below ---- */

static void wait_for(struct vb_copy *c, const struct vb_name *name, unsigned type)
{
    VB_GROW(c->list, c->n_list, c->cap_list);
    c->list[c->n_list++] = (struct waiting){ *name, (uint8_t)type };
}

static int type_of(struct vb_copy *c, const struct vb_name *name, unsigned *type, struct vb_error *err)
{
    struct vb_index_hit hit;
    char hex[VB_NAME_HEX_LEN + 1];
    uint32_t group;
    if (*type)
        return 0;
    /* a leaf: data, or a piece of a document */
    if (vb_repo_group_of(c->from, name, &group) && vb_index_get(c->from->index, name, &hit) &&
        (hit.entry.type == VB_CHUNK_DATA || hit.entry.type == VB_CHUNK_DOC)) {
        *type = hit.entry.type;
        return 0;
    }
    vb_name_hex(name, hex);
    return vb_fail(err, VB_E_CORRUPT, "data chunk %.16s... is not in the repository", hex);
}

struct children {
    struct vb_copy *copy;
    bool waiting; /* for a tree or list */
};

static int see_child(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    struct children *k = arg;
    (void)err;
    if (new_name(k->copy, name))
        return 0;
    if (type == VB_CHUNK_TREE || type == VB_CHUNK_LIST) {
        wait_for(k->copy, name, type);
        k->waiting = true;
        return 0;
    }
    return 0; /* leaves come when it is this one's turn */
}

/* The leaves of a chunk whose trees and lists are there already. */
static int copy_child(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    struct vb_copy *c = arg;
    if (new_name(c, name))
        return 0;
    if (type_of(c, name, &type, err) < 0)
        return -1;
    return copy_leaf(c, (enum vb_chunk_type)type, name, err);
}

static int copy_below(struct vb_copy *c, const struct vb_name *root, unsigned root_type, struct vb_error *err)
{
    c->n_list = 0;
    wait_for(c, root, root_type);
    while (c->n_list > 0) {
        struct waiting w = c->list[c->n_list - 1];
        VB_AUTO_BUF plain = VB_BUF_INIT;
        struct children k = { c, false };
        if (new_name(c, &w.name)) {
            c->n_list--;
            continue;
        }
        if (w.type != VB_CHUNK_TREE && w.type != VB_CHUNK_LIST) {
            c->n_list--;
            if (copy_leaf(c, (enum vb_chunk_type)w.type, &w.name, err) < 0)
                return -1;
            continue;
        }
        if (vb_repo_get(c->from, (enum vb_chunk_type)w.type, &w.name, &plain, err) < 0 ||
            vb_chunk_refs((enum vb_chunk_type)w.type, plain.data, plain.len, see_child, &k, err) != 0)
            return -1;
        if (k.waiting)
            continue; /* it comes again when what it waits for is there */
        if (vb_chunk_refs((enum vb_chunk_type)w.type, plain.data, plain.len, copy_child, c, err) != 0)
            return -1;
        c->n_list--;
        vb_buf_reset(&c->plain);
        vb_buf_reset(&c->out);
        vb_buf_add(&c->plain, plain.data, plain.len);
        if ((w.type == VB_CHUNK_TREE ? rename_tree(c, err) : rename_list(c, err)) < 0 ||
            put_anew(c, (enum vb_chunk_type)w.type, &w.name, err) < 0)
            return -1;
    }
    return 0;
}

static int copy_root(struct vb_copy *c, struct vb_name *name, unsigned type, struct vb_error *err)
{
    return copy_below(c, name, type, err) < 0 ? -1 : rename_ref(c, name, err);
}

/* ---- a backup ---- */

int vb_copy_backup(struct vb_copy *c, struct vb_catalog_entry *e, vb_copy_group_fn *group_of, void *arg,
                   struct vb_copy_result *result, struct vb_error *err)
{
    struct vb_copy_result own = { 0 };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    bool there = false;
    int rc = vb_repo_ledger_sync(c->to, err);
    if (rc == 0)
        rc = vb_repo_has_backup(c->to, e->id, &there, err);
    if (rc < 0 || there)
        return rc < 0 ? -1 : 1;
    c->result = &own;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t k = 0; k < e->hosts[h].n_components; k++)
            for (size_t i = 0; i < e->hosts[h].components[k].n_roots && rc == 0; i++) {
                struct vb_catalog_root *root = &e->hosts[h].components[k].roots[i];
                if (!root->has_tree)
                    continue;
                rc = vb_repo_group(c->to, group_of(arg, e->hosts[h].name), &c->group, err);
                if (rc == 0)
                    rc = copy_root(c, &root->tree, VB_CHUNK_TREE, err);
                if (rc < 0)
                    vb_context(err, "'%s' of host '%s'", root->path, e->hosts[h].name);
            }
    c->group = 0;
    for (size_t d = 0; d < e->n_documents; d++) {
        struct vb_content *content = &e->documents[d].content;
        for (uint32_t i = 0; i < content->n && rc == 0; i++)
            rc = copy_root(c, &content->refs[i].name, content->level ? VB_CHUNK_LIST : VB_CHUNK_DOC, err);
    }
    if (rc == 0 && vb_repo_commit(c->to, e, &why) < 0)
        rc = why.code == VB_E_EXISTS ? 1 : vb_error_move(err, &why); /* another copy was quicker */
    if (result)
        *result = own;
    return rc;
}
