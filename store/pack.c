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

static const unsigned char magic_head[4] = { 'V', 'B', 'P', 'K' };
static const unsigned char magic_foot[4] = { 'K', 'P', 'B', 'V' };

void vb_pack_init(struct vb_pack *p)
{
    memset(p, 0, sizeof *p);
    vb_pack_reset(p);
}

void vb_pack_reset(struct vb_pack *p)
{
    vb_buf_reset(&p->bytes);
    p->n = 0;
    vb_buf_add(&p->bytes, magic_head, sizeof magic_head);
    vb_buf_add_u8(&p->bytes, VB_PACK_VERSION);
    vb_buf_add(&p->bytes, "\0\0", 3);
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

void vb_pack_add(struct vb_pack *p, struct vb_pack_entry *e, const void *stored)
{
    size_t at = p->bytes.len;
    vb_buf_reserve(&p->bytes, VB_PACK_RECORD_LEN + e->stored_size);
    add_sizes(&p->bytes, e);
    vb_buf_add_u32(&p->bytes, record_crc(p->bytes.data + at, e->name.b));
    vb_buf_add(&p->bytes, e->name.b, VB_NAME_LEN);
    e->offset = (uint32_t)p->bytes.len;
    vb_buf_add(&p->bytes, stored, e->stored_size);
    VB_GROW(p->entries, p->n, p->cap);
    p->entries[p->n++] = *e;
}

static void add_trailer(const struct vb_pack *p, struct vb_buf *b)
{
    size_t at = b->len;
    for (size_t i = 0; i < p->n; i++) {
        add_sizes(b, &p->entries[i]);
        vb_buf_add_u32(b, p->entries[i].offset);
        vb_buf_add(b, p->entries[i].name.b, VB_NAME_LEN);
    }
    uint32_t crc = vb_crc32(b->data + at, b->len - at);
    vb_buf_add_u32(b, (uint32_t)p->n);
    vb_buf_add_u32(b, crc);
    vb_buf_add_u8(b, VB_PACK_VERSION);
    vb_buf_add(b, "\0\0", 3);
    vb_buf_add(b, magic_foot, sizeof magic_foot);
}

/* A file of that name is there: true when it is what we were about to write. */
static bool same_there(struct vb_backend *b, const char *path, const struct vb_buf *bytes)
{
    VB_AUTO_BUF there = VB_BUF_INIT;
    return vb_backend_read_all(b, path, VB_PACK_MAX, &there, NULL) == 0 && there.len == bytes->len &&
           memcmp(there.data, bytes->data, bytes->len) == 0;
}

int vb_pack_write(struct vb_pack *p, struct vb_backend *b, struct vb_name *name, uint64_t *size,
                  struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    size_t records = p->bytes.len;
    add_trailer(p, &p->bytes);
    vb_sha256(p->bytes.data, p->bytes.len, name);
    *size = p->bytes.len;
    VB_AUTO_FREE char *path = vb_pack_path(name);
    int result = vb_backend_write(b, path, p->bytes.data, p->bytes.len, &why);
    if (result < 0 && why.code == VB_E_EXISTS) {
        /* Left by an interrupted run, or damaged since: the name says what the bytes must be. */
        result = same_there(b, path, &p->bytes) ? 0 : -1;
        if (result < 0 && vb_backend_remove(b, path, NULL) == 0) {
            vb_error_clear(&why);
            result = vb_backend_write(b, path, p->bytes.data, p->bytes.len, &why);
        }
    }
    p->bytes.len = records; /* so that a failed write can be tried again */
    return result < 0 ? vb_error_move(err, &why) : 0;
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

static int parse_footer(const unsigned char *p, uint32_t *n, uint32_t *crc, struct vb_error *err)
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
    if (version > VB_PACK_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "pack of format %u, this program knows up to %u", version,
                       VB_PACK_VERSION);
    return zero8 || zero16 ? damaged(err, "bad footer") : 0;
}

/* The entries lie one behind the other, with their records, between header and trailer. */
static int parse_trailer(const unsigned char *p, uint32_t n, uint64_t file_size, struct vb_pack_entry **out,
                         struct vb_error *err)
{
    VB_AUTO_FREE struct vb_pack_entry *list = vb_alloc_n(n ? n : 1, sizeof *list);
    uint64_t at = VB_PACK_HEADER_LEN;
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
        if (zero || !entry_ok(e) || e->offset != at + VB_PACK_RECORD_LEN)
            return damaged(err, "trailer does not fit");
        at = (uint64_t)e->offset + e->stored_size;
    }
    if (at + (uint64_t)n * VB_PACK_TRAILER_ENTRY_LEN + VB_PACK_FOOTER_LEN != file_size)
        return damaged(err, "trailer does not fit");
    *out = VB_STEAL(list);
    return 0;
}

static int check_size(uint64_t size, struct vb_error *err)
{
    if (size < VB_PACK_HEADER_LEN + VB_PACK_FOOTER_LEN || size > VB_PACK_MAX)
        return damaged(err, "size of the file");
    return 0;
}

static uint64_t most_entries(uint64_t size)
{
    return (size - VB_PACK_HEADER_LEN - VB_PACK_FOOTER_LEN) / (VB_PACK_TRAILER_ENTRY_LEN + VB_PACK_RECORD_LEN);
}

int vb_pack_read_entries(struct vb_backend *b, const struct vb_name *name, uint64_t size,
                         struct vb_pack_entry **entries, size_t *n, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_pack_path(name);
    VB_AUTO_BUF buf = VB_BUF_INIT;
    uint32_t count = 0, crc = 0;
    if (check_size(size, err) < 0 ||
        vb_backend_read(b, path, size - VB_PACK_FOOTER_LEN, VB_PACK_FOOTER_LEN, &buf, err) < 0 ||
        parse_footer(buf.data, &count, &crc, err) < 0)
        return -1;
    if (count > most_entries(size))
        return damaged(err, "number of records");
    size_t len = (size_t)count * VB_PACK_TRAILER_ENTRY_LEN;
    vb_buf_reset(&buf);
    if (vb_backend_read(b, path, size - VB_PACK_FOOTER_LEN - len, len, &buf, err) < 0)
        return -1;
    if (vb_crc32(buf.data, len) != crc)
        return damaged(err, "trailer does not match its checksum");
    if (parse_trailer(buf.data, count, size, entries, err) < 0)
        return -1;
    *n = count;
    return 0;
}

static int check_records(const unsigned char *p, const struct vb_pack_entry *list, uint32_t n, struct vb_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *rec = p + list[i].offset - VB_PACK_RECORD_LEN;
        VB_AUTO_BUF want = VB_BUF_INIT;
        add_sizes(&want, &list[i]);
        vb_buf_add_u32(&want, record_crc(want.data, list[i].name.b));
        vb_buf_add(&want, list[i].name.b, VB_NAME_LEN);
        if (memcmp(rec, want.data, VB_PACK_RECORD_LEN) != 0)
            return damaged(err, "a record does not match the trailer");
    }
    return 0;
}

int vb_pack_parse(const void *bytes, size_t len, const struct vb_name *name, struct vb_pack_entry **entries,
                  size_t *n, struct vb_error *err)
{
    const unsigned char *p = bytes;
    uint32_t count = 0, crc = 0;
    struct vb_name real;
    VB_AUTO_FREE struct vb_pack_entry *list = NULL;
    if (check_size(len, err) < 0)
        return -1;
    if (memcmp(p, magic_head, sizeof magic_head) != 0)
        return damaged(err, "it does not begin as a pack does");
    if (p[4] > VB_PACK_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "pack of format %u, this program knows up to %u", p[4],
                       VB_PACK_VERSION);
    if (name) {
        vb_sha256(p, len, &real);
        if (!vb_name_equal(&real, name))
            return damaged(err, "its bytes do not match its name");
    }
    if (p[5] || p[6] || p[7])
        return damaged(err, "bad header");
    if (parse_footer(p + len - VB_PACK_FOOTER_LEN, &count, &crc, err) < 0)
        return -1;
    if (count > most_entries(len))
        return damaged(err, "number of records");
    size_t trailer = (size_t)count * VB_PACK_TRAILER_ENTRY_LEN;
    const unsigned char *t = p + len - VB_PACK_FOOTER_LEN - trailer;
    if (vb_crc32(t, trailer) != crc)
        return damaged(err, "trailer does not match its checksum");
    if (parse_trailer(t, count, len, &list, err) < 0 || check_records(p, list, count, err) < 0)
        return -1;
    *entries = VB_STEAL(list);
    *n = count;
    return 0;
}
