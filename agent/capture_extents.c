/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_extents.c - what is remembered of a large file, and which chunks are taken over.
 *
 *     part    version(1), file system(16), transaction(8), hash(32) of the entry's content, holes and size as the tree has
 *             them, extents (tracking/extents.h), count(4) of chunks, name(32) and size(4) of each
 *     part    version(2), hash(32), count(4) of chunks, name(32) and size(4) of each: where there are no extents to know
 *
 * The hash ties it to the entry in the remembered tree: whatever that refers to is in the repository.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/capture_extents.h"
#include "agent/capture_internal.h"
#include "agent/capture_look_internal.h"
#include "base/log.h"
#include "tracking/extents.h"

#define PART_VERSION 1u
#define PART_CHUNKS 2u
#define CHUNK_LEN (VB_NAME_LEN + 4u)
#define MAX_PART ((size_t)256 << 20)
#define NEAR ((uint64_t)1 << 20)
#define SMALL_STEP ((uint64_t)64 << 10)
#define LEAST_STEP ((uint64_t)4 << 10)

/* A stretch of the new content that is the same as one of the old. */
struct run {
    uint64_t now, then, len;
};

struct vb_cap_plan {
    struct vb_capture *c;
    int fd;
    char *path;                 /* of the file as the memory names it */
    struct vb_extents now, then;
    uint64_t transaction;       /* of then */
    bool known;                 /* what was remembered is usable */
    bool chunks_only;           /* no extents: of use for partial files only */
    struct vb_ref *old;         /* chunks of then */
    uint64_t *begin;            /* n_old + 1 positions of then */
    size_t n_old;
    struct run *runs;
    size_t n_runs, cap_runs, at_run;
    struct vb_cap_layout old_layout;
    struct vb_ref *chunks;      /* of now */
    size_t n_chunks, cap_chunks;
    uint64_t total;
};

void vb_cap_layout_add(struct vb_cap_layout *l, uint64_t offset, uint64_t len)
{
    if (!len)
        return;
    struct vb_cap_data *last = l->n ? &l->v[l->n - 1] : NULL;
    if (last && last->offset + last->len == offset) {
        last->len += len;
    } else {
        VB_GROW(l->v, l->n, l->cap);
        l->v[l->n++] = (struct vb_cap_data){ offset, len, l->total };
    }
    l->total += len;
}

void vb_cap_layout_clear(struct vb_cap_layout *l)
{
    free(l->v);
    *l = (struct vb_cap_layout){ .v = NULL };
}

const struct vb_cap_data *vb_cap_layout_find(const struct vb_cap_layout *l, uint64_t position)
{
    size_t low = 0, high = l->n;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (l->v[mid].position <= position)
            low = mid;
        else
            high = mid;
    }
    return &l->v[low];
}

void vb_cap_plan_free(struct vb_cap_plan *p)
{
    if (!p)
        return;
    vb_extents_clear(&p->now);
    vb_extents_clear(&p->then);
    vb_cap_layout_clear(&p->old_layout);
    free(p->path);
    free(p->old);
    free(p->begin);
    free(p->runs);
    free(p->chunks);
    free(p);
}

/* ---- what is the same ---- */

static void add_run(struct vb_cap_plan *p, const struct run *r)
{
    struct run *last = p->n_runs ? &p->runs[p->n_runs - 1] : NULL;
    if (last && last->now + last->len == r->now && last->then + last->len == r->then) {
        last->len += r->len;
        return;
    }
    VB_GROW(p->runs, p->n_runs, p->cap_runs);
    p->runs[p->n_runs++] = *r;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Where what is the same lies in the content, then and now. */
static void match(struct vb_cap_plan *p, const struct vb_cap_layout *now, const struct vb_extent_ranges *same)
{
    const struct vb_cap_layout *then = &p->old_layout;
    for (size_t s = 0, i = 0, k = 0; s < same->n && i < now->n && k < then->n;) {
        const struct vb_cap_data *a = &now->v[i], *b = &then->v[k];
        uint64_t s_end = same->v[s].offset + same->v[s].len, a_end = a->offset + a->len, b_end = b->offset + b->len;
        uint64_t from = same->v[s].offset, to = lower(s_end, lower(a_end, b_end));
        from = from < a->offset ? a->offset : from;
        from = from < b->offset ? b->offset : from;
        if (from < to)
            add_run(p, &(struct run){ a->position + (from - a->offset), b->position + (from - b->offset), to - from });
        uint64_t end = lower(s_end, lower(a_end, b_end));
        s += s_end == end;
        i += a_end == end;
        k += b_end == end;
    }
}

/* ---- what is remembered ---- */

static void hash_entry(const struct vb_tree_entry *e, struct vb_name *out)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_u64(&b, e->size);
    vb_buf_add_u8(&b, e->content.level);
    vb_buf_add_u32(&b, e->content.n);
    for (uint32_t i = 0; i < e->content.n; i++) {
        vb_buf_add(&b, e->content.refs[i].name.b, VB_NAME_LEN);
        vb_buf_add_u64(&b, e->content.refs[i].size);
    }
    for (size_t i = 0; i < e->n_holes; i++) {
        vb_buf_add_u64(&b, e->holes[i].offset);
        vb_buf_add_u64(&b, e->holes[i].len);
    }
    vb_sha256(b.data, b.len, out);
}

static bool get_chunks(struct vb_cap_plan *p, struct vb_reader *r)
{
    uint32_t n;
    if (!vb_get_u32(r, &n) || n != r->left / CHUNK_LEN || r->left % CHUNK_LEN)
        return false;
    p->old = vb_alloc_n(n + (size_t)1, sizeof *p->old);
    p->begin = vb_alloc_n(n + (size_t)1, sizeof *p->begin);
    for (; p->n_old < n; p->n_old++) {
        const unsigned char *name;
        uint32_t size;
        if (!vb_get_bytes(r, VB_NAME_LEN, &name) || !vb_get_u32(r, &size) || !size)
            return false;
        memcpy(p->old[p->n_old].name.b, name, VB_NAME_LEN);
        p->old[p->n_old].size = size;
        p->begin[p->n_old + 1] = p->begin[p->n_old] + size;
    }
    return true;
}

static bool get_part(struct vb_cap_plan *p, struct vb_reader *r, const struct vb_tree_entry *before)
{
    const struct vb_cap_look *l = p->c->look;
    const unsigned char *fs, *hash;
    struct vb_name now;
    uint8_t version;
    hash_entry(before, &now);
    return vb_get_u8(r, &version) && version == PART_VERSION && vb_get_bytes(r, sizeof l->generation.file_system, &fs) &&
           !memcmp(fs, l->generation.file_system, sizeof l->generation.file_system) &&
           vb_get_u64(r, &p->transaction) && p->transaction <= l->generation.generation &&
           vb_get_bytes(r, sizeof now.b, &hash) && !memcmp(hash, now.b, sizeof now.b) &&
           vb_extents_decode(r, &p->then) && get_chunks(p, r);
}

/* What of the old content lay where. */
static void layout_before(struct vb_cap_plan *p, const struct vb_tree_entry *before)
{
    uint64_t at = 0;
    for (size_t i = 0; i < before->n_holes; i++) {
        vb_cap_layout_add(&p->old_layout, at, before->holes[i].offset - at);
        at = before->holes[i].offset + before->holes[i].len;
    }
    vb_cap_layout_add(&p->old_layout, at, before->size - at);
}

static void load(struct vb_cap_plan *p, const char *name)
{
    const unsigned char *v;
    size_t n;
    struct vb_reader r;
    const struct vb_tree_entry *before = vb_cap_dir_before(p->c->dir, name);
    if (!before || before->type != VB_TREE_FILE || vb_look_part(p->c->look->memory, p->path, &v, &n) != 1)
        return;
    vb_reader_init(&r, v, n);
    if (!get_part(p, &r, before))
        return;
    layout_before(p, before);
    p->known = p->then.size == before->size && p->old_layout.total == p->begin[p->n_old];
}

static struct vb_cap_plan *new_plan(struct vb_capture *c, int fd, const char *name)
{
    struct vb_cap_plan *p = vb_alloc(sizeof *p);
    p->c = c;
    p->fd = fd;
    p->path = vb_printf("%s/%s", vb_buf_str(&c->rel), name);
    return p;
}

static bool remembers(const struct vb_capture *c)
{
    return c->look && c->look->memory && !c->look->broken && c->dir;
}

struct vb_cap_plan *vb_cap_plan_new(struct vb_capture *c, int fd, const char *name, const struct stat *st)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_cap_look *l = c->look;
    if (!remembers(c) || (uint64_t)st->st_size < VB_CAP_LARGE)
        return NULL;
    bool extents = !c->set->live && l->has_generation && st->st_dev == l->device;
    if (!extents && !c->cur->partials.possible)
        return NULL;
    struct vb_cap_plan *p = new_plan(c, fd, name);
    if (extents && vb_extents_read(fd, st->st_ino, (uint64_t)st->st_size, &p->now, &why) == 0) {
        load(p, name);
        return p;
    }
    if (why.code != VB_OK)
        vb_log_error(VB_LOG_DEBUG, &why);
    p->chunks_only = true;
    if (c->cur->partials.possible)
        return p;
    vb_cap_plan_free(p);
    return NULL;
}

/* ---- partial files ---- */

/* The chunks of either kind of part, whatever it says of extents. */
static bool get_part_chunks(struct vb_cap_plan *p, struct vb_reader *r, const struct vb_tree_entry *before)
{
    const unsigned char *skipped, *hash;
    struct vb_name now;
    uint8_t version;
    hash_entry(before, &now);
    if (!vb_get_u8(r, &version) || (version != PART_VERSION && version != PART_CHUNKS))
        return false;
    if (version == PART_VERSION && !vb_get_bytes(r, sizeof p->c->look->generation.file_system + 8, &skipped))
        return false;
    return vb_get_bytes(r, sizeof now.b, &hash) && !memcmp(hash, now.b, sizeof now.b) &&
           (version != PART_VERSION || vb_extents_decode(r, &p->then)) && get_chunks(p, r);
}

/* A content of few chunks names them itself. */
static void direct_chunks(struct vb_cap_plan *p, const struct vb_tree_entry *before)
{
    p->n_old = before->content.n;
    p->old = vb_alloc_n(p->n_old + 1, sizeof *p->old);
    p->begin = vb_alloc_n(p->n_old + 1, sizeof *p->begin);
    for (size_t i = 0; i < p->n_old; i++) {
        p->old[i] = before->content.refs[i];
        p->begin[i + 1] = p->begin[i] + p->old[i].size;
    }
}

static bool load_chunks(struct vb_cap_plan *p, const struct vb_tree_entry *before)
{
    const unsigned char *v;
    size_t n;
    struct vb_reader r;
    if (before->content.level == 0) {
        direct_chunks(p, before);
    } else {
        if (vb_look_part(p->c->look->memory, p->path, &v, &n) != 1)
            return false;
        vb_reader_init(&r, v, n);
        if (!get_part_chunks(p, &r, before))
            return false;
    }
    layout_before(p, before);
    return p->n_old && p->old_layout.total == p->begin[p->n_old];
}

/* Data of the base between two offsets; what it did not have is data, too. */
static void add_of_base(const struct vb_cap_plan *p, uint64_t from, uint64_t to, uint64_t old_size, size_t *k,
                        struct vb_cap_layout *now)
{
    const struct vb_cap_layout *then = &p->old_layout;
    while (*k < then->n && then->v[*k].offset + then->v[*k].len <= from)
        ++*k;
    for (size_t i = *k; i < then->n && then->v[i].offset < to; i++) {
        uint64_t a = then->v[i].offset > from ? then->v[i].offset : from, end = then->v[i].offset + then->v[i].len;
        vb_cap_layout_add(now, a, lower(end, to) - a);
    }
    if (to > old_size)
        vb_cap_layout_add(now, from > old_size ? from : old_size, to - (from > old_size ? from : old_size));
}

static void add_same(struct vb_extent_ranges *same, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    VB_GROW(same->v, same->n, same->cap);
    same->v[same->n++] = (struct vb_extent_range){ .offset = from, .len = to - from };
}

struct vb_cap_plan *vb_cap_plan_partial(struct vb_capture *c, int fd, const char *name, const struct stat *st,
                                        const struct vb_ranges *ranges, struct vb_cap_layout *now)
{
    const struct vb_tree_entry *before = remembers(c) ? vb_cap_dir_before(c->dir, name) : NULL;
    struct vb_extent_ranges same = { .v = NULL };
    uint64_t size = (uint64_t)st->st_size, at = 0;
    size_t k = 0;
    if (!before || before->type != VB_TREE_FILE)
        return NULL;
    struct vb_cap_plan *p = new_plan(c, fd, name);
    p->chunks_only = true;
    if (!load_chunks(p, before)) {
        vb_cap_plan_free(p);
        return NULL;
    }
    for (size_t i = 0; i <= ranges->n; i++) {
        uint64_t from = i < ranges->n ? ranges->v[i].offset : size;
        add_of_base(p, at, from, before->size, &k, now);
        add_same(&same, at, lower(from, before->size));
        if (i < ranges->n)
            vb_cap_layout_add(now, from, ranges->v[i].len);
        at = i < ranges->n ? from + ranges->v[i].len : size;
    }
    p->total = now->total;
    match(p, now, &same);
    vb_extent_ranges_clear(&same);
    return p;
}

void vb_cap_plan_compare(struct vb_cap_plan *p, const struct vb_cap_layout *now)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_extent_ranges same = { .v = NULL };
    p->total = now->total;
    if (!p->known)
        return;
    if (vb_extents_same(p->fd, &p->then, p->transaction, &p->now, &same, &why) < 0) {
        vb_log_error(VB_LOG_DEBUG, &why);
        vb_extent_ranges_clear(&same);
        return;
    }
    match(p, now, &same);
    vb_extent_ranges_clear(&same);
}

bool vb_cap_plan_helps(const struct vb_cap_plan *p)
{
    return p && p->n_runs;
}

/* The first run that ends behind this position; positions only grow. */
static const struct run *run_at(struct vb_cap_plan *p, uint64_t position)
{
    while (p->at_run < p->n_runs && p->runs[p->at_run].now + p->runs[p->at_run].len <= position)
        p->at_run++;
    return p->at_run < p->n_runs ? &p->runs[p->at_run] : NULL;
}

/* The first chunk of then that begins at this position or behind it. */
static size_t chunk_from(const struct vb_cap_plan *p, uint64_t then)
{
    size_t low = 0, high = p->n_old;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->begin[mid] < then)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct vb_ref *vb_cap_plan_take(struct vb_cap_plan *p, uint64_t position)
{
    const struct run *r = run_at(p, position);
    if (!r || r->now > position)
        return NULL;
    uint64_t then = r->then + (position - r->now);
    size_t low = chunk_from(p, then);
    if (low >= p->n_old || p->begin[low] != then || p->old[low].size > r->now + r->len - position)
        return NULL;
    if (low + 1 == p->n_old && position + p->old[low].size != p->total)
        return NULL; /* it ended because the file did */
    return &p->old[low];
}

uint64_t vb_cap_plan_step(struct vb_cap_plan *p, uint64_t position)
{
    const struct run *r = run_at(p, position);
    if (!r || r->now >= position + NEAR)
        return VB_CAP_READ;
    /* up to where a chunk may begin as it did: mostly it will */
    uint64_t from = r->now > position ? r->now : position + 1;
    uint64_t begin = p->begin[chunk_from(p, r->then + (from - r->now))];
    if (begin < r->then + (from - r->now) || begin - r->then > r->len)
        return SMALL_STEP;
    uint64_t step = r->now + (begin - r->then) - position;
    return step < LEAST_STEP ? LEAST_STEP : step > VB_CAP_READ ? VB_CAP_READ : step;
}

void vb_cap_plan_chunk(struct vb_cap_plan *p, const struct vb_name *name, uint64_t size)
{
    VB_GROW(p->chunks, p->n_chunks, p->cap_chunks);
    p->chunks[p->n_chunks++] = (struct vb_ref){ *name, size };
}

void vb_cap_plan_remember(struct vb_cap_plan *p, const struct vb_tree_entry *e)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_cap_look *l = p->c->look;
    struct vb_name hash;
    if (l->broken)
        return;
    if (p->chunks_only && (e->size < VB_CAP_LARGE || e->content.level == 0))
        return;
    hash_entry(e, &hash);
    vb_buf_add_u8(&b, p->chunks_only ? PART_CHUNKS : PART_VERSION);
    if (!p->chunks_only) {
        vb_buf_add(&b, l->generation.file_system, sizeof l->generation.file_system);
        vb_buf_add_u64(&b, l->generation.generation);
    }
    vb_buf_add(&b, hash.b, sizeof hash.b);
    if (!p->chunks_only)
        vb_extents_encode(&p->now, &b);
    vb_buf_reserve(&b, 4 + p->n_chunks * CHUNK_LEN);
    vb_buf_add_u32(&b, (uint32_t)p->n_chunks);
    for (size_t i = 0; i < p->n_chunks; i++) {
        vb_buf_add(&b, p->chunks[i].name.b, VB_NAME_LEN);
        vb_buf_add_u32(&b, (uint32_t)p->chunks[i].size);
    }
    if (vb_look_set_part(l->memory, p->path, b.len > MAX_PART ? NULL : &b, &why) < 0)
        vb_cap_look_broken(p->c, &why);
}
