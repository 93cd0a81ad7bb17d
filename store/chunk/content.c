/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/content.c - content lists and the LIST chunk.
 *
 *     LIST chunk   version(1) level(1) zero(2) count(4), then count times name(32) size(8)
 */
#include "config.h"
#include "store/chunk/content.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define LIST_VERSION 0u
#define LIST_HEADER 8u
#define REF_LEN 40u
#define LIST_MIN_REFS 64u
#define LIST_CUT_MASK 1023u /* a list ends, on average, 1024 references after its 64th */

static bool sum_refs(const struct vb_ref *refs, size_t n, uint64_t *sum)
{
    uint64_t s = 0;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(s, refs[i].size, &s))
            return false;
    *sum = s;
    return true;
}

bool vb_content_size(const struct vb_content *c, uint64_t *size)
{
    return sum_refs(c->refs, c->n, size);
}

void vb_content_clear(struct vb_content *c)
{
    free(c->refs);
    memset(c, 0, sizeof *c);
}

void vb_content_copy(struct vb_content *to, const struct vb_content *from)
{
    to->level = from->level;
    to->n = from->n;
    to->refs = from->n ? vb_memdup(from->refs, from->n * sizeof *from->refs) : NULL;
}

int vb_list_encode(uint8_t level, const struct vb_ref *refs, size_t n, struct vb_buf *out, struct vb_error *err)
{
    if (n == 0 || n > VB_LIST_MAX_REFS || level >= VB_CONTENT_MAX_LEVEL)
        return vb_fail(err, VB_E_USAGE, "list of %zu references at level %u", n, level);
    vb_buf_reserve(out, LIST_HEADER + n * REF_LEN);
    vb_buf_add_u8(out, LIST_VERSION);
    vb_buf_add_u8(out, level);
    vb_buf_add_u16(out, 0);
    vb_buf_add_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        vb_buf_add(out, refs[i].name.b, VB_NAME_LEN);
        vb_buf_add_u64(out, refs[i].size);
    }
    return 0;
}

int vb_list_decode(const void *p, size_t len, uint8_t *level, struct vb_ref **refs, size_t *n, struct vb_error *err)
{
    struct vb_reader r;
    uint8_t version = 0, lv = 0;
    uint16_t zero = 0;
    uint32_t count = 0;
    vb_reader_init(&r, p, len);
    if (vb_get_u8(&r, &version) && version > LIST_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "list of format %u, this program knows up to %u", version,
                       LIST_VERSION);
    vb_get_u8(&r, &lv);
    vb_get_u16(&r, &zero);
    if (!vb_get_u32(&r, &count) || zero != 0 || lv >= VB_CONTENT_MAX_LEVEL || count == 0 ||
        count > VB_LIST_MAX_REFS || r.left != (size_t)count * REF_LEN)
        return vb_fail(err, VB_E_CORRUPT, "list has a bad header or length");
    VB_AUTO_FREE struct vb_ref *list = vb_alloc_n(count, sizeof *list);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *name = NULL;
        if (!vb_get_bytes(&r, VB_NAME_LEN, &name) || !vb_get_u64(&r, &list[i].size) || list[i].size == 0)
            return vb_fail(err, VB_E_CORRUPT, "list has an empty reference at %u", i);
        memcpy(list[i].name.b, name, VB_NAME_LEN);
    }
    if (!sum_refs(list, count, &sum))
        return vb_fail(err, VB_E_CORRUPT, "list is longer than a file can be");
    *level = lv;
    *refs = VB_STEAL(list);
    *n = count;
    return 0;
}

/* ---- builder ---- */

/* References of one level that are not in a LIST chunk yet. */
struct pending {
    struct vb_ref *refs;
    size_t n, cap;
};

struct vb_content_builder {
    vb_emit_fn *emit;
    void *arg;
    struct pending levels[VB_CONTENT_MAX_LEVEL + 1];
    unsigned top; /* highest level in use */
};

struct vb_content_builder *vb_content_builder_new(vb_emit_fn *emit, void *arg)
{
    struct vb_content_builder *b = vb_alloc(sizeof *b);
    b->emit = emit;
    b->arg = arg;
    return b;
}

static void reset(struct vb_content_builder *b)
{
    for (unsigned i = 0; i <= b->top; i++)
        b->levels[i].n = 0;
    b->top = 0;
}

void vb_content_builder_free(struct vb_content_builder *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < VB_COUNT(b->levels); i++)
        free(b->levels[i].refs);
    free(b);
}

static int emit_list(struct vb_content_builder *b, unsigned level, size_t from, size_t n, struct vb_ref *out,
                     struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    const struct vb_ref *refs = b->levels[level].refs + from;
    if (!sum_refs(refs, n, &out->size))
        return vb_fail(err, VB_E_LIMIT, "file is longer than a file can be");
    if (vb_list_encode((uint8_t)level, refs, n, &bytes, err) < 0)
        return -1;
    return b->emit(b->arg, VB_CHUNK_LIST, bytes.data, bytes.len, &out->name, err);
}

/* The length of the list that begins at `from`: up to where a name says so, or 0 if more has to come first. */
static size_t list_end(const struct pending *l, size_t from, bool last)
{
    size_t n = l->n - from;
    for (size_t i = LIST_MIN_REFS; i < n && i < VB_LIST_MAX_REFS; i++) {
        const uint8_t *b = l->refs[from + i - 1].name.b;
        if ((((unsigned)b[VB_NAME_LEN - 2] << 8 | b[VB_NAME_LEN - 1]) & LIST_CUT_MASK) == 0)
            return i;
    }
    if (n >= VB_LIST_MAX_REFS)
        return VB_LIST_MAX_REFS;
    return last ? n : 0;
}

static int push(struct vb_content_builder *b, unsigned level, const struct vb_ref *ref, struct vb_error *err);

/* Emits the whole lists of a level, and with `last` the rest as well, and hands them to the level above. */
static int drain(struct vb_content_builder *b, unsigned level, bool last, struct vb_error *err)
{
    struct pending *l = &b->levels[level];
    size_t from = 0, n;
    if (level >= VB_CONTENT_MAX_LEVEL)
        return vb_fail(err, VB_E_LIMIT, "file has too many chunks");
    while (from < l->n && (n = list_end(l, from, last)) > 0) {
        struct vb_ref ref;
        if (emit_list(b, level, from, n, &ref, err) < 0 || push(b, level + 1, &ref, err) < 0)
            return -1;
        from += n;
    }
    memmove(l->refs, l->refs + from, (l->n - from) * sizeof *l->refs);
    l->n -= from;
    return 0;
}

static int push(struct vb_content_builder *b, unsigned level, const struct vb_ref *ref, struct vb_error *err)
{
    struct pending *l = &b->levels[level];
    VB_GROW(l->refs, l->n, l->cap);
    l->refs[l->n++] = *ref;
    if (level > b->top)
        b->top = level;
    /* A level stays direct while it may be the whole file; twice the largest list is always enough to cut. */
    if (l->n >= 2u * VB_LIST_MAX_REFS)
        return drain(b, level, false, err);
    return 0;
}

int vb_content_builder_add(struct vb_content_builder *b, const struct vb_name *name, uint64_t size,
                           struct vb_error *err)
{
    struct vb_ref ref = { *name, size };
    if (size == 0)
        return vb_fail(err, VB_E_USAGE, "empty chunk in a content list");
    return push(b, 0, &ref, err);
}

int vb_content_builder_finish(struct vb_content_builder *b, struct vb_content *out, struct vb_error *err)
{
    unsigned level = 0;
    int result = 0;
    while (level < b->top || b->levels[level].n > VB_CONTENT_MAX_DIRECT) {
        result = drain(b, level, true, err);
        if (result < 0)
            break;
        level++;
    }
    if (result == 0) {
        struct pending *l = &b->levels[level];
        uint64_t sum;
        out->level = (uint8_t)level;
        out->n = (uint32_t)l->n;
        out->refs = l->n ? vb_memdup(l->refs, l->n * sizeof *l->refs) : NULL;
        if (!vb_content_size(out, &sum)) {
            vb_content_clear(out);
            result = vb_fail(err, VB_E_LIMIT, "file is longer than a file can be");
        }
    }
    reset(b);
    return result;
}
