/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_get.c - chunks out: found, read, verified.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* The key of a pack: deriving it costs about as much as reading a small chunk. */
static const struct vb_object *pack_key(struct vb_repo *r, const struct vb_index_pack *pack, struct vb_error *err)
{
    struct vb_repo_pack_key *k = &r->pack_keys[pack->name.b[0] % VB_REPO_PACK_KEYS];
    if (k->used && vb_name_equal(&k->pack, &pack->name) && memcmp(k->object.salt, pack->salt, VB_KEY_LEN) == 0)
        return &k->object;
    k->used = false;
    if (vb_object_recall(r->keys, VB_OBJECT_PACK, pack->group, pack->salt, &k->object, err) < 0)
        return NULL;
    k->pack = pack->name;
    k->used = true;
    return &k->object;
}

int vb_repo_read_packed(struct vb_repo *r, const struct vb_index_pack *pack, const struct vb_pack_entry *e,
                        struct vb_buf *out, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_pack_path(&pack->name);
    if (!vb_keys_sealed(r->keys))
        return vb_backend_read_in(r->backend, path, e->offset, e->stored_size, pack->size, out, err);
    const struct vb_object *o = pack_key(r, pack, err);
    vb_buf_reset(&r->sealed);
    if (!o || vb_backend_read_in(r->backend, path, e->offset, vb_pack_span(r->keys, e), pack->size, &r->sealed, err) < 0)
        return -1;
    return vb_pack_unseal(r->keys, o, e, r->sealed.data, out, err);
}

int vb_repo_read_stored(struct vb_repo *r, const struct vb_index_hit *hit, struct vb_buf *out, struct vb_error *err)
{
    const struct vb_index_pack *pack = vb_index_pack_at(r->index, hit->pack);
    if (!pack->open)
        return vb_repo_read_packed(r, pack, &hit->entry, out, err);
    for (size_t i = 0; i < r->n_packs; i++)
        if (r->packs[i]->open && r->packs[i]->number == hit->pack) {
            vb_buf_add(out, r->packs[i]->pack.bytes.data + hit->entry.offset, hit->entry.stored_size);
            return 0;
        }
    return vb_fail(err, VB_E_UNEXPECTED, "pack is neither open nor written");
}

int vb_repo_open_stored(struct vb_repo *r, uint32_t group, const struct vb_pack_entry *e, const struct vb_buf *stored,
                        struct vb_buf *out, struct vb_error *err)
{
    struct vb_name real;
    size_t at = out->len;
    if (vb_codec_decompress(r->codec, e->encoding, stored->data, stored->len, e->raw_size, out, err) < 0)
        return -1;
    vb_namer_name(vb_keys_group_at(r->keys, group)->namer, (enum vb_chunk_type)e->type, out->data + at, out->len - at,
                  &real);
    if (vb_name_equal(&real, &e->name))
        return 0;
    out->len = at;
    return vb_fail(err, VB_E_CORRUPT, "its bytes do not match its name");
}

/* Says which chunk, and where it lies. */
static int chunk_context(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name,
                         const struct vb_index_hit *hit, struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1], pack[VB_NAME_HEX_LEN + 1] = "";
    vb_name_hex(name, hex);
    if (hit && !vb_index_pack_at(r->index, hit->pack)->open)
        vb_name_hex(&vb_index_pack_at(r->index, hit->pack)->name, pack);
    vb_context(err, "%s chunk %.16s...%s%.16s%s", vb_chunk_type_name(type), hex, *pack ? " in pack " : "", pack,
               *pack ? "..." : "");
    return -1;
}

/* Written since this handle was opened, in a pack whose index file is missing, or one that somebody lied about. */
bool vb_repo_look_deeper(struct vb_repo *r)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (r->locked || r->pinned || vb_keys_append_only(r->keys))
        return false;
    if (r->scanned < VB_SCAN_DEEP)
        return vb_repo_load_index(r, r->scanned + 1, &why) == 0;
    /* What a backup needs is always somewhere: a prune moves it, and the one after it removes the old place at the earliest.
     * So as long as prunes go on there is something new to be seen. */
    uint64_t before = r->looked_prune;
    if (vb_repo_ledger_sync(r, &why) < 0 || r->ledger.prune.number == before)
        return false;
    r->looked_prune = r->ledger.prune.number;
    return vb_repo_load_index(r, VB_SCAN_PACKS, &why) == 0;
}

static int find(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_index_hit *hit,
                struct vb_error *err)
{
    bool found = vb_index_get(r->index, name, hit);
    while (!found && vb_repo_look_deeper(r))
        found = vb_index_get(r->index, name, hit);
    if (!found) {
        vb_fail(err, VB_E_NOT_FOUND, "not in the repository");
        return chunk_context(r, type, name, NULL, err);
    }
    if (hit->entry.type == type)
        return 0;
    vb_fail(err, VB_E_CORRUPT, "has the type %s", vb_chunk_type_name(hit->entry.type));
    return chunk_context(r, type, name, hit, err);
}

/* plain NULL: the seal is enough. */
static int read_verified(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name,
                         struct vb_index_hit *hit, struct vb_buf *stored, struct vb_buf *plain, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    for (;;) {
        if (find(r, type, name, hit, err) < 0)
            return -1;
        vb_buf_reset(stored);
        int result = vb_repo_read_stored(r, hit, stored, &why);
        if (result == 0 && plain)
            result = vb_repo_open_stored(r, vb_index_pack_at(r->index, hit->pack)->group, &hit->entry, stored, plain,
                                         &why);
        if (result == 0)
            return 0;
        chunk_context(r, type, name, hit, &why);
        /* A pack that is not where the index says: there may be another place. */
        if ((why.code != VB_E_NOT_FOUND && why.code != VB_E_CORRUPT) || !vb_repo_look_deeper(r))
            return vb_error_move(err, &why);
        vb_error_clear(&why);
    }
}

int vb_repo_get(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_buf *out,
                struct vb_error *err)
{
    struct vb_index_hit hit;
    return read_verified(r, type, name, &hit, &r->stored, out, err);
}

bool vb_repo_group_of(struct vb_repo *r, const struct vb_name *name, uint32_t *group)
{
    struct vb_index_hit hit;
    while (!vb_index_get(r->index, name, &hit))
        if (!vb_repo_look_deeper(r))
            return false;
    *group = vb_index_pack_at(r->index, hit.pack)->group;
    return true;
}

bool vb_repo_in_groups(struct vb_repo *r, const struct vb_name *name, const uint32_t *groups, size_t n)
{
    uint32_t group;
    if (!vb_repo_group_of(r, name, &group))
        return true; /* nothing to hide: it is not there */
    for (size_t i = 0; i < n; i++)
        if (groups[i] == group)
            return true;
    return false;
}

int vb_repo_get_stored(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_buf *out,
                       uint8_t *encoding, size_t *raw_size, struct vb_error *err)
{
    struct vb_index_hit hit;
    vb_buf_reset(&r->plain);
    if (read_verified(r, type, name, &hit, &r->stored, &r->plain, err) < 0)
        return -1;
    vb_buf_add(out, r->stored.data, r->stored.len);
    *encoding = hit.entry.encoding;
    *raw_size = hit.entry.raw_size;
    return 0;
}

int vb_repo_get_sealed(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, struct vb_buf *out,
                       uint8_t *encoding, size_t *raw_size, struct vb_error *err)
{
    struct vb_index_hit hit;
    if (!vb_keys_sealed(r->keys))
        return vb_repo_get_stored(r, type, name, out, encoding, raw_size, err);
    if (read_verified(r, type, name, &hit, &r->stored, NULL, err) < 0)
        return -1;
    vb_buf_add(out, r->stored.data, r->stored.len);
    *encoding = hit.entry.encoding;
    *raw_size = hit.entry.raw_size;
    return 0;
}

/* ---- content ---- */

static int walk_refs(struct vb_repo *r, const struct vb_ref *refs, size_t n, unsigned level, vb_content_fn *fn,
                     void *arg, struct vb_error *err);

static int walk_list(struct vb_repo *r, const struct vb_ref *ref, unsigned level, vb_content_fn *fn, void *arg,
                     struct vb_error *err)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    VB_AUTO_FREE struct vb_ref *refs = NULL;
    size_t n = 0;
    uint8_t own = 0;
    uint64_t sum = 0;
    if (vb_repo_get(r, VB_CHUNK_LIST, &ref->name, &plain, err) < 0 ||
        vb_list_decode(plain.data, plain.len, &own, &refs, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        sum += refs[i].size; /* cannot overflow: the decoder has added it up */
    if (own != level || sum != ref->size) {
        vb_fail(err, VB_E_CORRUPT, "list does not fit its place");
        return chunk_context(r, VB_CHUNK_LIST, &ref->name, NULL, err);
    }
    return walk_refs(r, refs, n, level, fn, arg, err);
}

static int walk_refs(struct vb_repo *r, const struct vb_ref *refs, size_t n, unsigned level, vb_content_fn *fn,
                     void *arg, struct vb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int result = level ? walk_list(r, &refs[i], level - 1, fn, arg, err)
                           : fn(arg, &refs[i].name, refs[i].size, err);
        if (result != 0)
            return result;
    }
    return 0;
}

int vb_content_walk(struct vb_repo *r, const struct vb_content *content, vb_content_fn *fn, void *arg,
                    struct vb_error *err)
{
    return walk_refs(r, content->refs, content->n, content->level, fn, arg, err);
}

struct gather {
    struct vb_repo *repo;
    enum vb_chunk_type type;
    struct vb_buf *out;
};

static int gather_piece(void *arg, const struct vb_name *name, uint64_t size, struct vb_error *err)
{
    struct gather *g = arg;
    size_t at = g->out->len;
    if (vb_repo_get(g->repo, g->type, name, g->out, err) < 0)
        return -1;
    if (g->out->len - at != size) {
        vb_fail(err, VB_E_CORRUPT, "has not the size its list says");
        return chunk_context(g->repo, g->type, name, NULL, err);
    }
    return 0;
}

int vb_repo_get_bytes(struct vb_repo *r, enum vb_chunk_type type, const struct vb_content *content, size_t max,
                      struct vb_buf *out, struct vb_error *err)
{
    struct gather g = { r, type, out };
    uint64_t size = 0;
    size_t at = out->len;
    if (!vb_content_size(content, &size) || size > max)
        return vb_fail(err, VB_E_LIMIT, "document is larger than the %zu bytes it may have", max);
    int result = vb_content_walk(r, content, gather_piece, &g, err);
    if (result != 0)
        out->len = at;
    return result;
}
