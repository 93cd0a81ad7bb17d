/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/pack.c - writing and reading pack files.
 */
#include "config.h"
#include "store/pack.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define TRAILER_NONCE UINT32_MAX

static const unsigned char magic_head[4] = { 'V', 'B', 'P', 'K' };
static const unsigned char magic_foot[4] = { 'K', 'P', 'B', 'V' };

static size_t header_len(const struct vb_keys *k)
{
    return vb_keys_format(k) ? VB_OBJECT_HEADER_LEN : VB_PACK_HEADER0_LEN;
}

static size_t record_len(const struct vb_keys *k)
{
    return vb_keys_format(k) ? 0 : VB_PACK_RECORD0_LEN;
}

void vb_pack_init(struct vb_pack *p, const struct vb_keys *k)
{
    memset(p, 0, sizeof *p);
    vb_pack_reset(p, k);
}

void vb_pack_reset(struct vb_pack *p, const struct vb_keys *k)
{
    static const unsigned char zero[VB_OBJECT_HEADER_LEN];
    vb_buf_reset(&p->bytes);
    p->n = 0;
    vb_buf_add(&p->bytes, magic_head, sizeof magic_head);
    vb_buf_add(&p->bytes, zero, header_len(k) - sizeof magic_head); /* format 1: made when it is written */
}

void vb_pack_clear(struct vb_pack *p)
{
    vb_buf_clear(&p->bytes);
    free(p->entries);
    memset(p, 0, sizeof *p);
}

/* type encoding zero raw stored: the beginning of a record and of a trailer entry. */
static void add_sizes(struct vb_buf *b, const struct vb_pack_entry *e)
{
    vb_buf_add_u8(b, e->type);
    vb_buf_add_u8(b, e->encoding);
    vb_buf_add_u16(b, 0);
    vb_buf_add_u32(b, e->raw_size);
    vb_buf_add_u32(b, e->stored_size);
}

static uint32_t record_crc(const unsigned char *sizes, const unsigned char *name)
{
    unsigned char both[12 + VB_NAME_LEN];
    memcpy(both, sizes, 12);
    memcpy(both + 12, name, VB_NAME_LEN);
    return vb_crc32(both, sizeof both);
}

void vb_pack_add(struct vb_pack *p, const struct vb_keys *k, struct vb_pack_entry *e, const void *stored)
{
    static const unsigned char zero[VB_AEAD_TAG_LEN];
    size_t at = p->bytes.len;
    vb_buf_reserve(&p->bytes, VB_PACK_RECORD0_LEN + e->stored_size + VB_AEAD_TAG_LEN);
    if (record_len(k)) {
        add_sizes(&p->bytes, e);
        vb_buf_add_u32(&p->bytes, record_crc(p->bytes.data + at, e->name.b));
        vb_buf_add(&p->bytes, e->name.b, VB_NAME_LEN);
    }
    e->offset = (uint32_t)p->bytes.len;
    vb_buf_add(&p->bytes, stored, e->stored_size);
    vb_buf_add(&p->bytes, zero, vb_object_overhead(k)); /* the place of its seal */
    VB_GROW(p->entries, p->n, p->cap);
    p->entries[p->n++] = *e;
}

size_t vb_pack_span(const struct vb_keys *k, const struct vb_pack_entry *e)
{
    return e->stored_size + vb_object_overhead(k);
}

/* What a chunk is bound to beside its place. */
static size_t chunk_aad(const struct vb_pack_entry *e, unsigned char aad[12 + VB_NAME_LEN])
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    add_sizes(&b, e);
    memcpy(aad, b.data, 12);
    memcpy(aad + 12, e->name.b, VB_NAME_LEN);
    return 12 + VB_NAME_LEN;
}

int vb_pack_unseal(struct vb_keys *k, const struct vb_object *o, const struct vb_pack_entry *e, const void *sealed,
                   struct vb_buf *out, struct vb_error *err)
{
    unsigned char aad[12 + VB_NAME_LEN];
    size_t n = chunk_aad(e, aad);
    return vb_object_open(k, o, e->offset, aad, n, sealed, vb_pack_span(k, e), out, err);
}

static void add_entries(const struct vb_pack *p, struct vb_buf *b)
{
    for (size_t i = 0; i < p->n; i++) {
        add_sizes(b, &p->entries[i]);
        vb_buf_add_u32(b, p->entries[i].offset);
        vb_buf_add(b, p->entries[i].name.b, VB_NAME_LEN);
    }
}

static void add_footer(const struct vb_pack *p, const struct vb_keys *k, size_t trailer, struct vb_buf *b)
{
    uint32_t crc = vb_crc32(b->data + trailer, b->len - trailer);
    vb_buf_add_u32(b, (uint32_t)p->n);
    vb_buf_add_u32(b, crc);
    vb_buf_add_u8(b, (uint8_t)vb_keys_format(k));
    vb_buf_add(b, "\0\0", 3);
    vb_buf_add(b, magic_foot, sizeof magic_foot);
}

/* What stands for the content: the trailer, and the end of each chunk's stored bytes. */
static void add_digest(const struct vb_pack *p, const struct vb_buf *trailer, struct vb_buf *b)
{
    vb_buf_add(b, trailer->data, trailer->len);
    for (size_t i = 0; i < p->n; i++) {
        const struct vb_pack_entry *e = &p->entries[i];
        uint32_t n = e->stored_size < 16 ? e->stored_size : 16;
        vb_buf_add(b, p->bytes.data + e->offset + e->stored_size - n, n);
    }
}

/* What lies at a chunk's place, to be sealed or opened there: no second copy of the pack is needed.  A buffer wants room
 * for a zero byte that is written by texts only; so that it never moves, it is told that there is some. */
static struct vb_buf place(const struct vb_pack *p, size_t offset, size_t room)
{
    return (struct vb_buf){ p->bytes.data + offset, 0, room + 2 };
}

static int seal_pack(struct vb_pack *p, struct vb_keys *k, struct vb_object *o, uint32_t group, struct vb_error *err)
{
    VB_AUTO_BUF trailer = VB_BUF_INIT, digest = VB_BUF_INIT;
    add_entries(p, &trailer);
    add_digest(p, &trailer, &digest);
    if (vb_object_begin(k, VB_OBJECT_PACK, group, digest.data, digest.len, o, err) < 0)
        return -1;
    struct vb_buf head = place(p, 0, VB_OBJECT_HEADER_LEN);
    vb_object_header(k, o, &head);
    for (size_t i = 0; vb_keys_sealed(k) && i < p->n; i++) {
        unsigned char aad[12 + VB_NAME_LEN];
        const struct vb_pack_entry *e = &p->entries[i];
        struct vb_buf at = place(p, e->offset, vb_pack_span(k, e));
        size_t n = chunk_aad(e, aad);
        vb_object_seal(k, o, e->offset, aad, n, at.data, e->stored_size, &at);
    }
    size_t at = p->bytes.len;
    vb_object_seal(k, o, TRAILER_NONCE, NULL, 0, trailer.data, trailer.len, &p->bytes);
    add_footer(p, k, at, &p->bytes);
    return 0;
}

/* It was not written: the chunks are as they were, for reading and for another try. */
static void unseal_pack(struct vb_pack *p, struct vb_keys *k, const struct vb_object *o)
{
    for (size_t i = 0; vb_keys_sealed(k) && i < p->n; i++) {
        const struct vb_pack_entry *e = &p->entries[i];
        struct vb_buf at = place(p, e->offset, vb_pack_span(k, e));
        if (vb_pack_unseal(k, o, e, at.data, &at, NULL) < 0)
            abort(); /* what was sealed a moment ago */
    }
}

/* A file of that name is there: true when it is what we were about to write. */
static bool same_there(struct vb_backend *b, const char *path, const struct vb_buf *bytes)
{
    VB_AUTO_BUF there = VB_BUF_INIT;
    return vb_backend_read_all(b, path, VB_PACK_MAX, &there, NULL) == 0 && there.len == bytes->len &&
           memcmp(there.data, bytes->data, bytes->len) == 0;
}

static int write_named(const struct vb_pack *p, struct vb_backend *b, struct vb_pack_id *id, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_buf *all = &p->bytes;
    vb_sha256(all->data, all->len, &id->name);
    id->size = all->len;
    VB_AUTO_FREE char *path = vb_pack_path(&id->name);
    int result = vb_backend_write(b, path, all->data, all->len, &why);
    if (result < 0 && why.code == VB_E_EXISTS) {
        /* Left by an interrupted run, or damaged since: the name says what the bytes must be. */
        result = same_there(b, path, all) ? 0 : -1;
        if (result < 0 && vb_backend_remove(b, path, NULL) == 0) {
            vb_error_clear(&why);
            result = vb_backend_write(b, path, all->data, all->len, &why);
        }
    }
    return result < 0 ? vb_error_move(err, &why) : 0;
}

int vb_pack_write(struct vb_pack *p, struct vb_keys *k, uint32_t group, struct vb_backend *b, struct vb_pack_id *id,
                  struct vb_error *err)
{
    struct vb_object o = { .group = group };
    size_t plain = p->bytes.len;
    memset(id, 0, sizeof *id);
    id->group = group;
    if (vb_keys_format(k) == 0) {
        add_entries(p, &p->bytes);
        add_footer(p, k, plain, &p->bytes);
    } else if (seal_pack(p, k, &o, group, err) < 0) {
        return -1;
    }
    memcpy(id->salt, o.salt, sizeof id->salt);
    int result = write_named(p, b, id, err);
    p->bytes.len = plain;
    if (result < 0 && vb_keys_format(k))
        unseal_pack(p, k, &o);
    vb_object_end(&o);
    return result;
}

char *vb_pack_path(const struct vb_name *name)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(name, hex);
    return vb_printf("packs/%.2s/%s", hex, hex);
}

bool vb_pack_path_parse(const char *path, struct vb_name *name)
{
    return strncmp(path, "packs/", 6) == 0 && strlen(path) == 9 + VB_NAME_HEX_LEN && path[8] == '/' &&
           path[6] == path[9] && path[7] == path[10] && vb_name_parse(path + 9, name);
}

/* ---- reading ---- */

static int damaged(struct vb_error *err, const char *what)
{
    return vb_fail(err, VB_E_CORRUPT, "damaged pack: %s", what);
}

static bool entry_ok(const struct vb_pack_entry *e)
{
    return vb_chunk_type_valid(e->type) && e->encoding <= VB_ENC_ZSTD && e->raw_size > 0 &&
           e->raw_size <= VB_CHUNK_MAX_RAW && e->stored_size > 0 &&
           (e->encoding == VB_ENC_RAW ? e->stored_size == e->raw_size : e->stored_size < e->raw_size);
}

static int parse_footer(const unsigned char *p, const struct vb_keys *k, uint32_t *n, uint32_t *crc,
                        struct vb_error *err)
{
    struct vb_reader r;
    uint8_t version = 0, zero8 = 0;
    uint16_t zero16 = 0;
    vb_reader_init(&r, p, VB_PACK_FOOTER_LEN);
    vb_get_u32(&r, n);
    vb_get_u32(&r, crc);
    vb_get_u8(&r, &version);
    vb_get_u8(&r, &zero8);
    vb_get_u16(&r, &zero16);
    if (memcmp(r.p, magic_foot, sizeof magic_foot) != 0)
        return damaged(err, "it does not end as a pack does");
    if (version > VB_OBJECT_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "pack of format %u, this program knows up to %u", version,
                       VB_OBJECT_VERSION);
    return version != vb_keys_format(k) || zero8 || zero16 ? damaged(err, "bad footer") : 0;
}

static uint64_t trailer_len(const struct vb_keys *k, uint32_t n)
{
    return (uint64_t)n * VB_PACK_TRAILER_ENTRY_LEN + vb_object_overhead(k);
}

/* The entries lie one behind the other, with their records, between header and trailer. */
static int parse_trailer(const unsigned char *p, const struct vb_keys *k, uint32_t n, uint64_t file_size,
                         struct vb_pack_entry **out, struct vb_error *err)
{
    VB_AUTO_FREE struct vb_pack_entry *list = vb_alloc_n(n ? n : 1, sizeof *list);
    uint64_t at = header_len(k);
    struct vb_reader r;
    vb_reader_init(&r, p, (size_t)n * VB_PACK_TRAILER_ENTRY_LEN);
    for (uint32_t i = 0; i < n; i++) {
        struct vb_pack_entry *e = &list[i];
        uint16_t zero = 0;
        const unsigned char *name = NULL;
        if (!vb_get_u8(&r, &e->type) || !vb_get_u8(&r, &e->encoding) || !vb_get_u16(&r, &zero) ||
            !vb_get_u32(&r, &e->raw_size) || !vb_get_u32(&r, &e->stored_size) || !vb_get_u32(&r, &e->offset) ||
            !vb_get_bytes(&r, VB_NAME_LEN, &name))
            return damaged(err, "trailer is cut off");
        memcpy(e->name.b, name, VB_NAME_LEN);
        if (zero || !entry_ok(e) || e->offset != at + record_len(k))
            return damaged(err, "trailer does not fit");
        at = (uint64_t)e->offset + vb_pack_span(k, e);
    }
    if (at + trailer_len(k, n) + VB_PACK_FOOTER_LEN != file_size)
        return damaged(err, "trailer does not fit");
    *out = VB_STEAL(list);
    return 0;
}

static int check_size(const struct vb_keys *k, uint64_t size, struct vb_error *err)
{
    if (size < header_len(k) + trailer_len(k, 0) + VB_PACK_FOOTER_LEN || size > VB_PACK_MAX)
        return damaged(err, "size of the file");
    return 0;
}

/* Sealed trailer to entries. */
static int open_trailer(struct vb_keys *k, const struct vb_object *o, const unsigned char *t, uint32_t n, uint32_t crc,
                        uint64_t file_size, struct vb_pack_entry **entries, struct vb_error *err)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    size_t len = (size_t)trailer_len(k, n);
    if (vb_crc32(t, len) != crc)
        return damaged(err, "trailer does not match its checksum");
    if (vb_object_open(k, o, TRAILER_NONCE, NULL, 0, t, len, &plain, err) < 0)
        return vb_context(err, "trailer of the pack"), -1;
    return parse_trailer(plain.data, k, n, file_size, entries, err);
}

static int check_count(const struct vb_keys *k, uint64_t size, uint32_t n, struct vb_error *err)
{
    uint64_t room = size - header_len(k) - trailer_len(k, 0) - VB_PACK_FOOTER_LEN;
    return n > room / (VB_PACK_TRAILER_ENTRY_LEN + record_len(k)) ? damaged(err, "number of records") : 0;
}

int vb_pack_read_entries(struct vb_backend *b, struct vb_keys *k, struct vb_pack_id *id,
                         struct vb_pack_entry **entries, size_t *n, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_pack_path(&id->name);
    VB_AUTO_BUF buf = VB_BUF_INIT;
    struct vb_object o = { .kind = VB_OBJECT_PACK };
    uint32_t count = 0, crc = 0;
    id->group = 0;
    if (check_size(k, id->size, err) < 0)
        return -1;
    if (vb_keys_format(k) != 0) {
        if (vb_backend_read(b, path, 0, VB_OBJECT_HEADER_LEN, &buf, err) < 0 ||
            vb_object_open_header(k, VB_OBJECT_PACK, buf.data, buf.len, &o, err) < 0)
            return -1;
        id->group = o.group;
        memcpy(id->salt, o.salt, sizeof id->salt);
    }
    vb_buf_reset(&buf);
    int result = vb_backend_read(b, path, id->size - VB_PACK_FOOTER_LEN, VB_PACK_FOOTER_LEN, &buf, err);
    if (result == 0)
        result = parse_footer(buf.data, k, &count, &crc, err);
    if (result == 0)
        result = check_count(k, id->size, count, err);
    uint64_t len = trailer_len(k, count);
    vb_buf_reset(&buf);
    if (result == 0)
        result = vb_backend_read(b, path, id->size - VB_PACK_FOOTER_LEN - len, (size_t)len, &buf, err);
    if (result == 0)
        result = open_trailer(k, &o, buf.data, count, crc, id->size, entries, err);
    vb_object_end(&o);
    *n = count;
    return result;
}

static int check_records(const unsigned char *p, const struct vb_pack_entry *list, uint32_t n, struct vb_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *rec = p + list[i].offset - VB_PACK_RECORD0_LEN;
        VB_AUTO_BUF want = VB_BUF_INIT;
        add_sizes(&want, &list[i]);
        vb_buf_add_u32(&want, record_crc(want.data, list[i].name.b));
        vb_buf_add(&want, list[i].name.b, VB_NAME_LEN);
        if (memcmp(rec, want.data, VB_PACK_RECORD0_LEN) != 0)
            return damaged(err, "a record does not match the trailer");
    }
    return 0;
}

/* Magic, version, and what the header says. */
static int parse_header(const unsigned char *p, size_t len, struct vb_keys *k, struct vb_object *o,
                        struct vb_error *err)
{
    if (memcmp(p, magic_head, sizeof magic_head) != 0)
        return damaged(err, "it does not begin as a pack does");
    if (p[4] > VB_OBJECT_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "pack of format %u, this program knows up to %u", p[4],
                       VB_OBJECT_VERSION);
    if (vb_keys_format(k) != 0)
        return vb_object_open_header(k, VB_OBJECT_PACK, p, len, o, err);
    return p[4] || p[5] || p[6] || p[7] ? damaged(err, "bad header") : 0;
}

int vb_pack_parse(const void *bytes, size_t len, struct vb_keys *k, const struct vb_name *name, struct vb_pack_id *id,
                  struct vb_pack_entry **entries, size_t *n, struct vb_error *err)
{
    const unsigned char *p = bytes;
    uint32_t count = 0, crc = 0;
    struct vb_object o = { .kind = VB_OBJECT_PACK };
    VB_AUTO_FREE struct vb_pack_entry *list = NULL;
    memset(id, 0, sizeof *id);
    if (check_size(k, len, err) < 0)
        return -1;
    vb_sha256(p, len, &id->name);
    id->size = len;
    if (name && !vb_name_equal(&id->name, name))
        return damaged(err, "its bytes do not match its name");
    if (parse_header(p, len, k, &o, err) < 0)
        return -1;
    id->group = o.group;
    memcpy(id->salt, o.salt, sizeof id->salt);
    int result = parse_footer(p + len - VB_PACK_FOOTER_LEN, k, &count, &crc, err);
    if (result == 0)
        result = check_count(k, len, count, err);
    if (result == 0)
        result = open_trailer(k, &o, p + len - VB_PACK_FOOTER_LEN - trailer_len(k, count), count, crc, len, &list, err);
    vb_object_end(&o);
    if (result < 0 || (record_len(k) && check_records(p, list, count, err) < 0))
        return -1;
    *entries = VB_STEAL(list);
    *n = count;
    return 0;
}
