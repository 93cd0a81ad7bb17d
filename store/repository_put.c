/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_put.c - chunks in: verified, packed, written.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/mem.h"

/* A chunk counts for a group only where that group has it: what others have is not there. */
static bool has(struct vb_repo *r, uint32_t group, const struct vb_name *name, struct vb_index_hit *hit)
{
    return vb_index_get(r->index, name, hit) && vb_index_pack_at(r->index, hit->pack)->group == group;
}

void vb_repo_has_in(struct vb_repo *r, uint32_t group, const struct vb_name *names, size_t n, bool *present)
{
    struct vb_index_hit hit;
    for (size_t i = 0; i < n; i++)
        present[i] = has(r, group, &names[i], &hit);
}

void vb_repo_has(struct vb_repo *r, const struct vb_name *names, size_t n, bool *present)
{
    vb_repo_has_in(r, 0, names, n, present);
}

int vb_repo_group(struct vb_repo *r, const char *name, uint32_t *group, struct vb_error *err)
{
    return vb_keys_group(r->keys, name, group, err);
}

void vb_repo_group_keys(const struct vb_repo *r, uint32_t group, const uint8_t **naming_key, const uint8_t **cutter_seed)
{
    const struct vb_group *g = vb_keys_group_at(r->keys, group);
    *naming_key = g->naming;
    *cutter_seed = g->cutter;
}

/* ---- packs ---- */

void vb_repo_drop_open_packs(struct vb_repo *r)
{
    for (size_t i = 0; i < r->n_packs; i++) {
        struct vb_repo_pack *p = r->packs[i];
        if (p->open)
            vb_index_pack_at(r->index, p->number)->gone = true;
        vb_pack_clear(&p->pack);
        free(p);
    }
    free(r->packs);
    r->packs = NULL;
    r->n_packs = r->cap_packs = 0;
}

static int write_pack(struct vb_repo *r, struct vb_repo_pack *p, struct vb_error *err)
{
    struct vb_pack_id id;
    if (!p->open)
        return 0;
    if (vb_pack_write(&p->pack, r->keys, p->group, r->backend, &id, err) < 0)
        return -1;
    vb_index_name_pack(r->index, p->number, &id);
    p->open = false;
    return 0;
}

/* What directories refer to is written before them: then a crash leaves few directories that lack something.
 * group UINT32_MAX: of all groups. */
static int write_packs(struct vb_repo *r, uint32_t group, enum vb_repo_pack_kind last_kind, struct vb_error *err)
{
    for (int k = 0; k <= (int)last_kind; k++)
        for (size_t i = 0; i < r->n_packs; i++)
            if ((int)r->packs[i]->kind == k && (group == UINT32_MAX || r->packs[i]->group == group) &&
                write_pack(r, r->packs[i], err) < 0)
                return -1;
    return 0;
}

static int write_all_packs(struct vb_repo *r, struct vb_error *err)
{
    return write_packs(r, UINT32_MAX, VB_REPO_PACK_META, err);
}

static struct vb_repo_pack *pack_for(struct vb_repo *r, uint32_t group, enum vb_repo_pack_kind kind)
{
    for (size_t i = 0; i < r->n_packs; i++)
        if (r->packs[i]->group == group && r->packs[i]->kind == kind)
            return r->packs[i];
    struct vb_repo_pack *p = vb_alloc(sizeof *p);
    p->group = group;
    p->kind = kind;
    VB_GROW(r->packs, r->n_packs, r->cap_packs);
    return r->packs[r->n_packs++] = p;
}

/* Many groups with a pack each: all of them are written, and their memory is given back. */
static int keep_bounds(struct vb_repo *r, struct vb_error *err)
{
    size_t sum = 0;
    for (size_t i = 0; i < r->n_packs; i++)
        sum += r->packs[i]->pack.bytes.len;
    if (sum <= VB_REPO_OPEN_MAX)
        return 0;
    if (write_all_packs(r, err) < 0)
        return -1;
    vb_repo_drop_open_packs(r);
    return 0;
}

int vb_repo_add_to_pack(struct vb_repo *r, uint32_t group, struct vb_pack_entry *e, const void *stored,
                        struct vb_error *err)
{
    enum vb_repo_pack_kind kind = e->type == VB_CHUNK_DATA ? VB_REPO_PACK_DATA : VB_REPO_PACK_META;
    if (r->n_packs > VB_REPO_PACK_KINDS && keep_bounds(r, err) < 0)
        return -1;
    struct vb_repo_pack *p = pack_for(r, group, kind);
    size_t full = kind == VB_REPO_PACK_DATA ? VB_PACK_TARGET : VB_PACK_META_TARGET;
    if (p->open && p->pack.bytes.len >= full && write_packs(r, group, kind, err) < 0)
        return -1;
    if (!p->open) {
        vb_pack_reset(&p->pack, r->keys);
        p->number = vb_index_open_pack(r->index, group);
        p->open = true;
    }
    vb_pack_add(&p->pack, r->keys, e, stored);
    vb_index_add(r->index, p->number, e);
    r->stats.put_chunks++;
    r->stats.put_raw += e->raw_size;
    r->stats.put_stored += e->stored_size;
    return 0;
}

/* ---- verification ---- */

struct below {
    struct vb_repo *repo;
    uint32_t group;
};

static int must_have(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    const struct below *b = arg;
    struct vb_index_hit hit;
    char hex[VB_NAME_HEX_LEN + 1];
    bool fits = has(b->repo, b->group, name, &hit);
    if (fits)
        fits = type ? hit.entry.type == type : hit.entry.type == VB_CHUNK_DATA || hit.entry.type == VB_CHUNK_DOC;
    if (fits)
        return 0;
    vb_name_hex(name, hex);
    return vb_fail(err, VB_E_CORRUPT, "refers to the chunk %.16s..., which the repository has not got", hex);
}

static int name_context(const struct vb_name *name, enum vb_chunk_type type, struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(name, hex);
    vb_context(err, "%s chunk %.16s...", vb_chunk_type_name(type), hex);
    return -1;
}

static int check_size(enum vb_chunk_type type, size_t raw_size, size_t stored_size, struct vb_error *err)
{
    if (!vb_chunk_type_valid(type))
        return vb_fail(err, VB_E_CORRUPT, "unknown type %u", (unsigned)type);
    if (raw_size == 0 || raw_size > VB_CHUNK_MAX_RAW || stored_size == 0 || stored_size > raw_size)
        return vb_fail(err, VB_E_CORRUPT, "%zu bytes stored as %zu", raw_size, stored_size);
    return 0;
}

static int need_lock(const struct vb_repo *r, struct vb_error *err)
{
    return r->locked ? 0 : vb_fail(err, VB_E_BAD_STATE, "'%s': repository is not locked", r->backend->location);
}

/* ---- put ---- */

struct incoming {
    enum vb_chunk_type type;
    const struct vb_name *name;
    size_t raw_size, stored_size;
    uint8_t encoding;
    const void *stored;
};

/* Its bytes are what its name says, and all that it refers to is there. */
static int verify(struct vb_repo *r, uint32_t group, const struct incoming *c, struct vb_error *err)
{
    struct vb_name real;
    struct below below = { r, group };
    const void *plain = c->stored;
    if (c->encoding != VB_ENC_RAW || c->stored_size != c->raw_size) {
        vb_buf_reset(&r->plain);
        if (vb_codec_decompress(r->codec, c->encoding, c->stored, c->stored_size, c->raw_size, &r->plain, err) < 0)
            return -1;
        plain = r->plain.data;
    }
    vb_namer_name(vb_keys_group_at(r->keys, group)->namer, c->type, plain, c->raw_size, &real);
    if (!vb_name_equal(&real, c->name))
        return vb_fail(err, VB_E_CORRUPT, "its bytes do not match its name");
    return vb_chunk_refs(c->type, plain, c->raw_size, must_have, &below, err) != 0 ? -1 : 0;
}

static int put(struct vb_repo *r, uint32_t group, const struct incoming *c, bool believed, struct vb_error *err)
{
    struct vb_index_hit hit;
    if (need_lock(r, err) < 0)
        return -1;
    if (has(r, group, c->name, &hit)) {
        r->stats.duplicate_chunks++;
        return 0;
    }
    if (check_size(c->type, c->raw_size, c->stored_size, err) < 0)
        return name_context(c->name, c->type, err);
    /* What the form says must be so in any case: a pack with anything else in it is no pack. */
    bool form = c->encoding == VB_ENC_RAW ? c->stored_size == c->raw_size
                                          : c->encoding == VB_ENC_ZSTD && c->stored_size < c->raw_size;
    if (!(believed && form && c->type == VB_CHUNK_DATA) && verify(r, group, c, err) < 0)
        return name_context(c->name, c->type, err);
    struct vb_pack_entry e = { .name = *c->name, .type = (uint8_t)c->type, .encoding = c->encoding,
                               .raw_size = (uint32_t)c->raw_size, .stored_size = (uint32_t)c->stored_size };
    return vb_repo_add_to_pack(r, group, &e, c->stored, err);
}

int vb_repo_put_in(struct vb_repo *r, uint32_t group, enum vb_chunk_type type, const struct vb_name *name,
                   size_t raw_size, uint8_t encoding, const void *stored, size_t stored_size, struct vb_error *err)
{
    const struct incoming c = { type, name, raw_size, stored_size, encoding, stored };
    return put(r, group, &c, false, err);
}

int vb_repo_put_believed_in(struct vb_repo *r, uint32_t group, enum vb_chunk_type type, const struct vb_name *name,
                            size_t raw_size, uint8_t encoding, const void *stored, size_t stored_size, struct vb_error *err)
{
    const struct incoming c = { type, name, raw_size, stored_size, encoding, stored };
    return put(r, group, &c, true, err);
}

int vb_repo_put(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, size_t raw_size,
                uint8_t encoding, const void *stored, size_t stored_size, struct vb_error *err)
{
    return vb_repo_put_in(r, 0, type, name, raw_size, encoding, stored, stored_size, err);
}

int vb_repo_put_raw(void *repo, enum vb_chunk_type type, const void *p, size_t n, struct vb_name *name,
                    struct vb_error *err)
{
    struct vb_repo *r = repo;
    struct vb_index_hit hit;
    uint8_t encoding = VB_ENC_RAW;
    if (need_lock(r, err) < 0)
        return -1;
    vb_namer_name(vb_keys_group_at(r->keys, 0)->namer, type, p, n, name);
    if (has(r, 0, name, &hit)) {
        r->stats.duplicate_chunks++;
        return 0;
    }
    vb_buf_reset(&r->stored);
    if (vb_codec_compress(r->codec, p, n, &r->stored, &encoding, err) < 0)
        return name_context(name, type, err);
    return vb_repo_put(r, type, name, n, encoding, r->stored.data, r->stored.len, err);
}

static int put_piece(struct vb_repo *r, enum vb_chunk_type type, struct vb_content_builder *b, const void *p, size_t n,
                     struct vb_error *err)
{
    struct vb_name name;
    if (vb_repo_put_raw(r, type, p, n, &name, err) < 0)
        return -1;
    return vb_content_builder_add(b, &name, n, err);
}

int vb_repo_put_bytes(struct vb_repo *r, enum vb_chunk_type type, const void *data, size_t n,
                      struct vb_content *content, struct vb_error *err)
{
    const unsigned char *p = data;
    struct vb_content_builder *b = vb_content_builder_new(vb_repo_put_raw, r);
    size_t start = 0, at = 0;
    int result = 0;
    vb_cutter_reset(r->cutter);
    while (at < n && result == 0) {
        bool end;
        at += vb_cutter_feed(r->cutter, p + at, n - at, &end);
        if (end || at == n) {
            result = put_piece(r, type, b, p + start, at - start, err);
            start = at;
        }
    }
    if (result == 0)
        result = vb_content_builder_finish(b, content, err);
    vb_content_builder_free(b);
    return result;
}

/* ---- flush ---- */

static int write_index_file(struct vb_repo *r, const struct vb_buf *bytes, struct vb_strv *keep, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_name name;
    char hex[VB_NAME_HEX_LEN + 1];
    vb_sha256(bytes->data, bytes->len, &name);
    vb_name_hex(&name, hex);
    VB_AUTO_FREE char *path = vb_printf("index/%s", hex);
    for (size_t i = 0; keep && i < keep->n; i++)
        if (strcmp(keep->v[i], path) == 0) {
            free(keep->v[i]);
            keep->v[i] = keep->v[--keep->n];
            return 0;
        }
    int result = vb_backend_write(r->backend, path, bytes->data, bytes->len, &why);
    if (result < 0 && why.code == VB_E_EXISTS && vb_backend_remove(r->backend, path, NULL) == 0) {
        vb_error_clear(&why); /* its packs are new to us, so it was damaged, and is convenience only */
        result = vb_backend_write(r->backend, path, bytes->data, bytes->len, &why);
    }
    return result < 0 ? vb_error_move(err, &why) : 0;
}

int vb_repo_write_index(struct vb_repo *r, uint64_t generation, struct vb_strv *keep, struct vb_error *err)
{
    for (uint32_t group = 0; group < vb_keys_group_count(r->keys); group++)
        for (uint32_t next = 0;;) {
            VB_AUTO_BUF bytes = VB_BUF_INIT;
            int more = vb_index_encode_new(r->index, r->keys, generation, group, &next, &bytes, err);
            if (more < 0 || (more > 0 && write_index_file(r, &bytes, keep, err) < 0))
                return -1;
            if (more == 0)
                break;
        }
    return 0;
}

int vb_repo_flush_packs(struct vb_repo *r, struct vb_error *err)
{
    return write_all_packs(r, err) < 0 ? -1 : vb_backend_barrier(r->backend, err);
}

int vb_repo_flush(struct vb_repo *r, struct vb_error *err)
{
    if (need_lock(r, err) < 0 || write_all_packs(r, err) < 0)
        return -1;
    vb_fault_point("store");
    /* An index file must never outlive, in a power cut, the packs it tells about: two barriers. */
    if (vb_index_has_new(r->index) && (vb_backend_barrier(r->backend, err) < 0 || vb_repo_write_index(r, r->generation, NULL, err) < 0))
        return -1;
    vb_fault_point("store");
    if (vb_backend_barrier(r->backend, err) < 0)
        return -1;
    vb_index_mark_durable(r->index);
    return 0;
}
