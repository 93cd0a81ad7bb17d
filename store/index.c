/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/index.c - the hash table of chunks, and index files.
 *
 * Names are outputs of a keyed hash, so their first bytes are as good a hash as any and nobody outside can make
 * them collide.  Open addressing; chunks lie in one array, the table holds their numbers.
 */
#include "config.h"
#include "store/index.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FILE_TARGET ((size_t)4 << 20) /* read as a whole, twice in memory at that */
#define HEADER0_LEN 8u
#define SALT_LEN 32u

struct chunk {
    struct vb_name name;
    uint32_t raw_size, stored_size, offset, pack;
    uint8_t type, encoding; /* type 0: dropped */
};

/* The beginning of the name stands beside the number, so that few chunks need to be touched. */
struct slot {
    uint32_t number; /* + 1; 0: free */
    uint32_t head;
};

struct vb_index {
    struct vb_index_pack *packs;
    size_t n_packs, cap_packs;
    uint32_t *by_name; /* packs by the beginning of their names: number + 1, 0: free */
    size_t n_by_name, pack_mask;
    struct chunk *chunks;
    size_t n_chunks, cap_chunks;
    struct slot *table;
    size_t mask;     /* size of the table - 1 */
    size_t n_dropped;
};

static const unsigned char magic[4] = { 'V', 'B', 'I', 'X' };
static const uint8_t version = VB_OBJECT_INDEX_VERSION;

struct vb_index *vb_index_new(void)
{
    struct vb_index *x = vb_alloc(sizeof *x);
    x->mask = 1023;
    x->table = vb_alloc_n(x->mask + 1, sizeof *x->table);
    x->pack_mask = 63;
    x->by_name = vb_alloc_n(x->pack_mask + 1, sizeof *x->by_name);
    return x;
}

void vb_index_free(struct vb_index *x)
{
    if (!x)
        return;
    free(x->packs);
    free(x->by_name);
    free(x->chunks);
    free(x->table);
    free(x);
}

/* ---- packs ---- */

static size_t place_of_pack(const struct vb_index *x, const struct vb_name *name)
{
    uint64_t head;
    memcpy(&head, name->b, sizeof head);
    return (size_t)head & x->pack_mask;
}

/* One that was named anew, or is gone, keeps its place: what is found is looked at. */
static void place_pack(struct vb_index *x, uint32_t pack)
{
    size_t i = place_of_pack(x, &x->packs[pack].name);
    while (x->by_name[i])
        i = (i + 1) & x->pack_mask;
    x->by_name[i] = pack + 1;
    x->n_by_name++;
}

static void remember_pack(struct vb_index *x, uint32_t pack)
{
    if ((x->n_by_name + 1) * 2 > x->pack_mask) {
        uint32_t *old = x->by_name;
        size_t n = x->pack_mask + 1;
        x->pack_mask = n * 2 - 1;
        x->n_by_name = 0;
        x->by_name = vb_alloc_n(n * 2, sizeof *x->by_name);
        for (size_t i = 0; i < n; i++)
            if (old[i])
                place_pack(x, old[i] - 1);
        free(old);
    }
    place_pack(x, pack);
}

bool vb_index_find_pack(const struct vb_index *x, const struct vb_name *name, uint32_t *pack)
{
    for (size_t i = place_of_pack(x, name); x->by_name[i]; i = (i + 1) & x->pack_mask) {
        const struct vb_index_pack *p = &x->packs[x->by_name[i] - 1];
        if (!p->open && !p->gone && vb_name_equal(&p->name, name)) {
            *pack = x->by_name[i] - 1;
            return true;
        }
    }
    return false;
}

static uint32_t append_pack(struct vb_index *x)
{
    VB_GROW(x->packs, x->n_packs, x->cap_packs);
    memset(&x->packs[x->n_packs], 0, sizeof *x->packs);
    return (uint32_t)x->n_packs++;
}

void vb_index_name_pack(struct vb_index *x, uint32_t pack, const struct vb_pack_id *id)
{
    struct vb_index_pack *p = &x->packs[pack];
    p->open = false;
    p->name = id->name;
    p->size = id->size;
    p->group = id->group;
    memcpy(p->salt, id->salt, sizeof p->salt);
    remember_pack(x, pack);
}

uint32_t vb_index_add_pack(struct vb_index *x, const struct vb_pack_id *id, bool durable)
{
    uint32_t pack;
    if (vb_index_find_pack(x, &id->name, &pack)) {
        struct vb_index_pack *p = &x->packs[pack];
        p->contested = p->contested || p->size != id->size || p->group != id->group ||
                       memcmp(p->salt, id->salt, sizeof p->salt) != 0;
        x->packs[pack].durable = x->packs[pack].durable || durable;
        return pack;
    }
    pack = append_pack(x);
    vb_index_name_pack(x, pack, id);
    x->packs[pack].durable = durable;
    return pack;
}

uint32_t vb_index_open_pack(struct vb_index *x, uint32_t group)
{
    uint32_t pack = append_pack(x);
    x->packs[pack].open = true;
    x->packs[pack].group = group;
    return pack;
}

size_t vb_index_pack_count(const struct vb_index *x)
{
    return x->n_packs;
}

struct vb_index_pack *vb_index_pack_at(struct vb_index *x, uint32_t pack)
{
    return &x->packs[pack];
}

/* ---- chunks ---- */

static size_t slot_of(const struct vb_index *x, const struct vb_name *name, uint32_t *head)
{
    memcpy(head, name->b, sizeof *head);
    size_t i = *head & x->mask;
    while (x->table[i].number &&
           (x->table[i].head != *head || !vb_name_equal(&x->chunks[x->table[i].number - 1].name, name)))
        i = (i + 1) & x->mask;
    return i;
}

static void grow_table(struct vb_index *x, size_t mask)
{
    struct slot *old = x->table;
    size_t n_old = x->mask + 1;
    x->mask = mask;
    x->table = vb_alloc_n(mask + 1, sizeof *x->table);
    for (size_t k = 0; k < n_old; k++) {
        size_t i = old[k].head & mask;
        if (!old[k].number)
            continue;
        while (x->table[i].number)
            i = (i + 1) & mask;
        x->table[i] = old[k];
    }
    free(old);
}

/* Room for so many more chunks. */
static void reserve(struct vb_index *x, size_t more)
{
    size_t mask = x->mask, n = x->n_chunks + more;
    while ((n + 1) * 4 > (mask + 1) * 3)
        mask = mask * 2 + 1;
    if (mask != x->mask)
        grow_table(x, mask);
}

static bool counts(const struct vb_index *x, const struct chunk *c)
{
    return c->type != 0 && !x->packs[c->pack].gone;
}

void vb_index_add(struct vb_index *x, uint32_t pack, const struct vb_pack_entry *e)
{
    uint32_t head;
    reserve(x, 0);
    size_t slot = slot_of(x, &e->name, &head);
    struct chunk *c;
    if (x->table[slot].number) {
        c = &x->chunks[x->table[slot].number - 1];
        if (counts(x, c))
            return;
        if (c->type == 0)
            x->n_dropped--;
    } else {
        VB_GROW(x->chunks, x->n_chunks, x->cap_chunks);
        c = &x->chunks[x->n_chunks++];
        x->table[slot] = (struct slot){ (uint32_t)x->n_chunks, head };
    }
    *c = (struct chunk){ e->name, e->raw_size, e->stored_size, e->offset, pack, e->type, e->encoding };
}

void vb_index_drop(struct vb_index *x, const struct vb_name *name)
{
    uint32_t head;
    size_t slot = slot_of(x, name, &head);
    if (x->table[slot].number && x->chunks[x->table[slot].number - 1].type != 0) {
        x->chunks[x->table[slot].number - 1].type = 0;
        x->n_dropped++;
    }
}

static void fill_hit(const struct vb_index *x, size_t number, struct vb_index_hit *hit)
{
    const struct chunk *c = &x->chunks[number];
    hit->entry = (struct vb_pack_entry){ c->name, c->type, c->encoding, c->raw_size, c->stored_size, c->offset };
    hit->pack = c->pack;
    hit->number = (uint32_t)number;
}

bool vb_index_get(const struct vb_index *x, const struct vb_name *name, struct vb_index_hit *hit)
{
    uint32_t head;
    size_t slot = slot_of(x, name, &head);
    if (!x->table[slot].number || !counts(x, &x->chunks[x->table[slot].number - 1]))
        return false;
    if (hit)
        fill_hit(x, x->table[slot].number - 1, hit);
    return true;
}

size_t vb_index_chunk_count(const struct vb_index *x)
{
    return x->n_chunks - x->n_dropped;
}

size_t vb_index_numbers(const struct vb_index *x)
{
    return x->n_chunks;
}

int vb_index_each(const struct vb_index *x, int (*fn)(void *arg, const struct vb_index_hit *hit), void *arg)
{
    for (size_t i = 0; i < x->n_chunks; i++) {
        struct vb_index_hit hit;
        if (!counts(x, &x->chunks[i]))
            continue;
        fill_hit(x, i, &hit);
        int result = fn(arg, &hit);
        if (result != 0)
            return result;
    }
    return 0;
}

/* ---- index files ---- */

static bool is_new(const struct vb_index_pack *p)
{
    return !p->open && !p->gone && !p->durable;
}

static void add_pack_section(const struct vb_index *x, unsigned format, uint32_t pack, const uint32_t *chunks,
                             uint32_t n, struct vb_buf *out)
{
    const struct vb_index_pack *p = &x->packs[pack];
    vb_buf_add(out, p->name.b, VB_NAME_LEN);
    vb_buf_add_u64(out, p->size);
    vb_buf_add_u32(out, n);
    if (format)
        vb_buf_add(out, p->salt, SALT_LEN);
    for (uint32_t i = 0; i < n; i++) {
        const struct chunk *c = &x->chunks[chunks[i]];
        vb_buf_add_u8(out, c->type);
        vb_buf_add_u8(out, c->encoding);
        vb_buf_add_u16(out, 0);
        vb_buf_add_u32(out, c->raw_size);
        vb_buf_add_u32(out, c->stored_size);
        vb_buf_add_u32(out, c->offset);
        vb_buf_add(out, c->name.b, VB_NAME_LEN);
    }
}

int vb_index_encode_new(const struct vb_index *x, struct vb_keys *k, uint64_t generation, uint32_t group, uint32_t *next,
                        struct vb_buf *out, struct vb_error *err)
{
    VB_AUTO_BUF body = VB_BUF_INIT;
    uint32_t pack = *next;
    while (pack < x->n_packs && !(is_new(&x->packs[pack]) && x->packs[pack].group == group))
        pack++;
    if (pack >= x->n_packs) {
        *next = pack;
        return 0;
    }
    /* Chunks in the order of their packs: first how many each has, then each in its place. */
    VB_AUTO_FREE uint32_t *start = vb_alloc_n(x->n_packs + 2, sizeof *start);
    VB_AUTO_FREE uint32_t *order = vb_alloc_n(x->n_chunks + 1, sizeof *order);
    for (size_t i = 0; i < x->n_chunks; i++)
        if (counts(x, &x->chunks[i]))
            start[x->chunks[i].pack + 2]++;
    for (size_t i = 2; i < x->n_packs + 2; i++)
        start[i] += start[i - 1];
    for (size_t i = 0; i < x->n_chunks; i++)
        if (counts(x, &x->chunks[i]))
            order[start[x->chunks[i].pack + 1]++] = (uint32_t)i;
    vb_buf_add_u64(&body, generation);
    for (; pack < x->n_packs && body.len < FILE_TARGET; pack++)
        if (is_new(&x->packs[pack]) && x->packs[pack].group == group)
            add_pack_section(x, vb_keys_format(k), pack, order + start[pack], start[pack + 1] - start[pack], &body);
    *next = pack;
    if (vb_keys_format(k))
        return vb_object_write(k, VB_OBJECT_INDEX, group, &version, 1, body.data, body.len, out, err) < 0 ? -1 : 1;
    vb_buf_add(out, magic, sizeof magic);
    vb_buf_add_u8(out, version);
    vb_buf_add_u8(out, 0);
    vb_buf_add_u16(out, 0);
    vb_buf_add(out, body.data, body.len);
    return 1;
}

void vb_index_mark_new(struct vb_index *x)
{
    for (size_t i = 0; i < x->n_packs; i++)
        x->packs[i].durable = false;
}

bool vb_index_has_new(const struct vb_index *x)
{
    for (size_t i = x->n_packs; i-- > 0;)
        if (is_new(&x->packs[i]))
            return true;
    return false;
}

void vb_index_mark_durable(struct vb_index *x)
{
    for (size_t i = 0; i < x->n_packs; i++)
        if (is_new(&x->packs[i]))
            x->packs[i].durable = true;
}

static int malformed(struct vb_error *err)
{
    return vb_fail(err, VB_E_CORRUPT, "index file is malformed");
}

static bool get_chunk(struct vb_reader *r, uint64_t pack_size, struct vb_pack_entry *e)
{
    uint16_t zero = 0;
    const unsigned char *name = NULL;
    if (!vb_get_u8(r, &e->type) || !vb_get_u8(r, &e->encoding) || !vb_get_u16(r, &zero) ||
        !vb_get_u32(r, &e->raw_size) || !vb_get_u32(r, &e->stored_size) || !vb_get_u32(r, &e->offset) ||
        !vb_get_bytes(r, VB_NAME_LEN, &name))
        return false;
    memcpy(e->name.b, name, VB_NAME_LEN);
    return !zero && vb_chunk_type_valid(e->type) && e->encoding <= VB_ENC_ZSTD && e->raw_size > 0 &&
           e->raw_size <= VB_CHUNK_MAX_RAW && e->stored_size > 0 && e->stored_size <= e->raw_size &&
           e->offset >= VB_OBJECT_HEADER_LEN && e->offset <= pack_size &&
           e->stored_size <= pack_size - e->offset;
}

/* One pack's section; x NULL: only checks.  *total: chunks so far. */
static int get_section(struct vb_index *x, unsigned format, uint32_t group, uint64_t generation, struct vb_reader *r,
                       vb_index_keep_fn *keep, void *arg, size_t *total, struct vb_error *err)
{
    struct vb_pack_id id = { .group = group };
    const unsigned char *p = NULL, *salt = NULL;
    uint32_t n = 0, pack = 0;
    if (!vb_get_bytes(r, VB_NAME_LEN, &p) || !vb_get_u64(r, &id.size) || !vb_get_u32(r, &n) || id.size > VB_PACK_MAX ||
        (format && !vb_get_bytes(r, SALT_LEN, &salt)) || n > r->left / VB_PACK_TRAILER_ENTRY_LEN)
        return malformed(err);
    memcpy(id.name.b, p, VB_NAME_LEN);
    *total += n;
    if (salt)
        memcpy(id.salt, salt, SALT_LEN);
    bool kept = x && (!keep || keep(arg, &id.name, id.size));
    if (kept) {
        size_t before = x->n_packs;
        pack = vb_index_add_pack(x, &id, true);
        if (x->n_packs > before || generation < x->packs[pack].generation)
            x->packs[pack].generation = generation;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct vb_pack_entry e = { 0 };
        if (!get_chunk(r, id.size, &e))
            return malformed(err);
        if (kept && !x->packs[pack].contested)
            vb_index_add(x, pack, &e);
    }
    return 0;
}

static int decode_body(struct vb_index *x, unsigned format, uint32_t group, bool dated, const unsigned char *p, size_t len,
                       vb_index_keep_fn *keep, void *arg, struct vb_error *err)
{
    size_t total = 0, again = 0;
    for (int pass = 0; pass < 2; pass++) {
        struct vb_reader r;
        uint64_t generation = 0;
        vb_reader_init(&r, p, len);
        if (pass)
            reserve(x, total);
        if (dated && !vb_get_u64(&r, &generation))
            return malformed(err);
        while (r.left > 0)
            if (get_section(pass ? x : NULL, format, group, generation, &r, keep, arg, pass ? &again : &total, err) < 0)
                return -1;
    }
    return 0;
}

int vb_index_decode(struct vb_index *x, struct vb_keys *k, const void *bytes, size_t len, vb_index_keep_fn *keep,
                    void *arg, struct vb_error *err)
{
    const unsigned char *p = bytes;
    VB_AUTO_BUF body = VB_BUF_INIT;
    struct vb_object o;
    if (len < HEADER0_LEN || memcmp(p, magic, sizeof magic) != 0)
        return malformed(err);
    if (p[4] > version)
        return vb_fail(err, VB_E_NEWER_FORMAT, "index file of format %u, this program knows up to %u", p[4], version);
    bool dated = p[4] == version;
    if (vb_keys_format(k) == 0)
        return (!dated && p[4]) || p[5] || p[6] || p[7]
                   ? malformed(err)
                   : decode_body(x, 0, 0, dated, p + HEADER0_LEN, len - HEADER0_LEN, keep, arg, err);
    if (vb_object_read(k, VB_OBJECT_INDEX, dated ? &version : NULL, dated, bytes, len, &o, &body, err) < 0)
        return -1;
    return decode_body(x, 1, o.group, dated, body.data, body.len, keep, arg, err);
}
