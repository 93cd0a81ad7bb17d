/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/tree_encode.c - directories to bytes: one leaf, or several below branches.
 *
 * The layout is described in tree_internal.h and, for other readers, in vbackup-repository(5).
 */
#include "config.h"
#include "store/chunk/tree_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

static void add_str16(struct vb_buf *out, const char *s)
{
    size_t n = s ? strlen(s) : 0;
    vb_buf_add_u16(out, (uint16_t)n);
    vb_buf_add(out, s ? s : "", n + 1);
}

static uint16_t fields_of(const struct vb_tree_entry *e)
{
    unsigned f = 0;
    if (e->device)
        f |= VB_TREE_HAS_DEVICE;
    if (e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK)
        f |= VB_TREE_HAS_RDEV;
    if (e->type == VB_TREE_SYMLINK)
        f |= VB_TREE_HAS_TARGET;
    if (e->link_group)
        f |= VB_TREE_HAS_LINK_GROUP;
    if (e->inode_flags)
        f |= VB_TREE_HAS_FLAGS;
    if (e->n_xattrs)
        f |= VB_TREE_HAS_XATTRS;
    if (e->n_holes)
        f |= VB_TREE_HAS_HOLES;
    if (e->content.n)
        f |= VB_TREE_HAS_CONTENT;
    if (e->type == VB_TREE_DIR)
        f |= VB_TREE_HAS_SUBTREE;
    if (e->btime_sec || e->btime_nsec)
        f |= VB_TREE_HAS_BTIME;
    if (e->project)
        f |= VB_TREE_HAS_PROJECT;
    return (uint16_t)f;
}

static void encode_entry(struct vb_buf *out, const struct vb_tree_entry *e)
{
    uint16_t f = fields_of(e);
    vb_buf_add_u8(out, (uint8_t)e->type);
    vb_buf_add_u16(out, f);
    add_str16(out, e->name);
    vb_buf_add_u32(out, e->mode);
    vb_buf_add_u32(out, e->uid);
    vb_buf_add_u32(out, e->gid);
    add_str16(out, e->user);
    add_str16(out, e->group);
    vb_buf_add_u64(out, e->size);
    vb_buf_add_u64(out, (uint64_t)e->mtime_sec);
    vb_buf_add_u32(out, e->mtime_nsec);
    vb_buf_add_u64(out, (uint64_t)e->ctime_sec);
    vb_buf_add_u32(out, e->ctime_nsec);
    vb_buf_add_u64(out, e->inode);
    if (f & VB_TREE_HAS_DEVICE)
        vb_buf_add_u64(out, e->device);
    if (f & VB_TREE_HAS_RDEV) {
        vb_buf_add_u32(out, e->rdev_major);
        vb_buf_add_u32(out, e->rdev_minor);
    }
    if (f & VB_TREE_HAS_TARGET)
        add_str16(out, e->target);
    if (f & VB_TREE_HAS_LINK_GROUP)
        vb_buf_add_u64(out, e->link_group);
    if (f & VB_TREE_HAS_FLAGS)
        vb_buf_add_u32(out, e->inode_flags);
    if (f & VB_TREE_HAS_XATTRS) {
        vb_buf_add_u16(out, (uint16_t)e->n_xattrs);
        for (size_t i = 0; i < e->n_xattrs; i++) {
            add_str16(out, e->xattrs[i].name);
            vb_buf_add_u32(out, e->xattrs[i].len);
            vb_buf_add(out, e->xattrs[i].value, e->xattrs[i].len);
        }
    }
    if (f & VB_TREE_HAS_HOLES) {
        vb_buf_add_u32(out, (uint32_t)e->n_holes);
        for (size_t i = 0; i < e->n_holes; i++) {
            vb_buf_add_u64(out, e->holes[i].offset);
            vb_buf_add_u64(out, e->holes[i].len);
        }
    }
    if (f & VB_TREE_HAS_CONTENT) {
        vb_buf_add_u8(out, e->content.level);
        vb_buf_add_u16(out, (uint16_t)e->content.n);
        for (uint32_t i = 0; i < e->content.n; i++) {
            vb_buf_add(out, e->content.refs[i].name.b, VB_NAME_LEN);
            vb_buf_add_u64(out, e->content.refs[i].size);
        }
    }
    if (f & VB_TREE_HAS_SUBTREE)
        vb_buf_add(out, e->subtree.b, VB_NAME_LEN);
    if (f & VB_TREE_HAS_BTIME) {
        vb_buf_add_u64(out, (uint64_t)e->btime_sec);
        vb_buf_add_u32(out, e->btime_nsec);
    }
    if (f & VB_TREE_HAS_PROJECT)
        vb_buf_add_u32(out, e->project);
}

static void begin_chunk(struct vb_buf *out, uint8_t height)
{
    vb_buf_add_u8(out, VB_TREE_VERSION);
    vb_buf_add_u8(out, height);
    vb_buf_add_u16(out, 0);
    vb_buf_add_u32(out, 0); /* count: set_count */
}

static void set_count(struct vb_buf *out, size_t at, size_t n)
{
    for (unsigned i = 0; i < 4; i++)
        out->data[at + 4 + i] = (unsigned char)(n >> (24 - 8 * i));
}

static void encode_child(struct vb_buf *out, const struct vb_tree_child *c)
{
    vb_buf_add(out, c->name.b, VB_NAME_LEN);
    vb_buf_add_u64(out, c->entries);
    add_str16(out, c->first);
}

/* The encoder's own refusals are the caller's mistakes, the decoder's are damage: same rules, other code. */
static int refuse(struct vb_error *err, struct vb_error *why)
{
    why->code = VB_E_USAGE;
    return vb_error_move(err, why);
}

int vb_tree_encode(const struct vb_tree *t, struct vb_buf *out, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    size_t at = out->len;
    if (t->height > VB_TREE_MAX_HEIGHT || t->n > UINT32_MAX || (t->height > 0 && t->n == 0))
        return vb_fail(err, VB_E_USAGE, "directory part of height %u with %zu entries", t->height, t->n);
    for (size_t i = 0; i < t->n; i++) {
        const char *before = NULL;
        if (t->height == 0) {
            before = i ? t->entries[i - 1].name : NULL;
            if (vb_tree_check_entry(&t->entries[i], before, t->n == 1, &why) < 0)
                return refuse(err, &why);
        } else {
            before = i ? t->children[i - 1].first : NULL;
            if (vb_tree_check_child(&t->children[i], before, &why) < 0)
                return refuse(err, &why);
        }
    }
    begin_chunk(out, t->height);
    for (size_t i = 0; i < t->n; i++) {
        if (t->height == 0)
            encode_entry(out, &t->entries[i]);
        else
            encode_child(out, &t->children[i]);
    }
    set_count(out, at, t->n);
    if (out->len - at > VB_CHUNK_MAX_RAW) {
        out->len = at;
        return vb_fail(err, VB_E_USAGE, "directory part is larger than a chunk may be");
    }
    return 0;
}

/* ---- whole directories ---- */

struct level {
    struct vb_buf bytes; /* a chunk in the making */
    size_t n;
    uint64_t entries;    /* of the directory, below this chunk */
    char *first;
};

struct vb_tree_writer {
    vb_emit_fn *emit;
    void *arg;
    struct level levels[VB_TREE_MAX_HEIGHT + 1];
    unsigned top;
    struct vb_buf last;  /* name of the last entry */
    uint64_t n;
};

static int add_child(struct vb_tree_writer *w, unsigned height, const struct vb_tree_child *child, struct vb_error *err);

static void begin_level(struct level *l, unsigned height)
{
    vb_buf_reset(&l->bytes);
    begin_chunk(&l->bytes, (uint8_t)height);
    l->n = 0;
    l->entries = 0;
    free(l->first);
    l->first = NULL;
}

static int emit_level(struct vb_tree_writer *w, unsigned height, struct vb_name *name, struct vb_error *err)
{
    struct level *l = &w->levels[height];
    set_count(&l->bytes, 0, l->n);
    if (l->bytes.len > VB_CHUNK_MAX_RAW)
        return vb_fail(err, VB_E_LIMIT, "directory entry is larger than a chunk may be");
    return w->emit(w->arg, VB_CHUNK_TREE, l->bytes.data, l->bytes.len, name, err);
}

/* Ends the chunk of this level and tells the one above. */
static int close_level(struct vb_tree_writer *w, unsigned height, struct vb_error *err)
{
    struct level *l = &w->levels[height];
    struct vb_tree_child child = { .entries = l->entries, .first = l->first };
    if (emit_level(w, height, &child.name, err) < 0 || add_child(w, height + 1, &child, err) < 0)
        return -1;
    begin_level(l, height);
    return 0;
}

/* Where a name ends a part: about one in 128, so that an added or removed file moves no other cut. */
static bool name_cuts(const char *name)
{
    return (vb_crc32(name, strlen(name)) & 127u) == 0;
}

/* A part is closed after the entry just added when it is large enough and the name says so, or too large. */
static bool part_full(const struct level *l, const char *last)
{
    return l->bytes.len >= VB_TREE_PART_MAX || (l->bytes.len >= VB_TREE_PART_MIN && name_cuts(last));
}

static int add_child(struct vb_tree_writer *w, unsigned height, const struct vb_tree_child *child, struct vb_error *err)
{
    if (height > VB_TREE_MAX_HEIGHT)
        return vb_fail(err, VB_E_LIMIT, "directory has too many entries");
    struct level *l = &w->levels[height];
    if (height > w->top) {
        w->top = height;
        begin_level(l, height);
    } else if (part_full(l, child->first) && close_level(w, height, err) < 0) {
        return -1;
    }
    if (!l->first)
        l->first = vb_strdup(child->first);
    encode_child(&l->bytes, child);
    l->n++;
    l->entries += child->entries;
    return 0;
}

struct vb_tree_writer *vb_tree_writer_new(vb_emit_fn *emit, void *arg)
{
    struct vb_tree_writer *w = vb_alloc(sizeof *w);
    *w = (struct vb_tree_writer){ .emit = emit, .arg = arg };
    begin_level(&w->levels[0], 0);
    return w;
}

int vb_tree_writer_add(struct vb_tree_writer *w, const struct vb_tree_entry *e, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct level *leaf = &w->levels[0];
    const char *last = w->n ? vb_buf_str(&w->last) : NULL;
    if (last && !strcmp(last, ".")) /* it may only be alone */
        return vb_fail(err, VB_E_USAGE, "directory entry '.': not a name a directory can hold");
    if (vb_tree_check_entry(e, last, w->n == 0, &why) < 0)
        return refuse(err, &why);
    if (last && part_full(leaf, last) && close_level(w, 0, err) < 0)
        return -1;
    if (!leaf->first)
        leaf->first = vb_strdup(e->name);
    encode_entry(&leaf->bytes, e);
    leaf->n++;
    leaf->entries++;
    w->n++;
    vb_buf_reset(&w->last);
    vb_buf_add_str(&w->last, e->name);
    return 0;
}

/* The last part of each level goes up, until one chunk stands for the whole directory. */
int vb_tree_writer_finish(struct vb_tree_writer *w, struct vb_name *name, struct vb_error *err)
{
    for (unsigned h = 0; h < w->top; h++)
        if (close_level(w, h, err) < 0)
            return -1;
    return emit_level(w, w->top, name, err);
}

void vb_tree_writer_free(struct vb_tree_writer *w)
{
    for (size_t i = 0; w && i < VB_COUNT(w->levels); i++) {
        vb_buf_clear(&w->levels[i].bytes);
        free(w->levels[i].first);
    }
    if (w)
        vb_buf_clear(&w->last);
    free(w);
}

static int by_name(const void *a, const void *b)
{
    const struct vb_tree_entry *x = a, *y = b;
    return strcmp(x->name ? x->name : "", y->name ? y->name : "");
}

int vb_tree_write(struct vb_tree_entry *entries, size_t n, vb_emit_fn *emit, void *arg, struct vb_name *name,
                  struct vb_error *err)
{
    struct vb_tree_writer *w = vb_tree_writer_new(emit, arg);
    int result = 0;
    if (n > 1)
        qsort(entries, n, sizeof *entries, by_name);
    for (size_t i = 0; i < n && result == 0; i++)
        result = vb_tree_writer_add(w, &entries[i], err);
    if (result == 0)
        result = vb_tree_writer_finish(w, name, err);
    vb_tree_writer_free(w);
    return result;
}

bool vb_tree_entry_unchanged(const struct vb_tree_entry *old, const struct vb_tree_entry *now)
{
    return old->type == now->type && old->size == now->size && old->mode == now->mode && old->inode != 0 &&
           old->inode == now->inode && old->device == now->device && old->mtime_sec == now->mtime_sec &&
           old->mtime_nsec == now->mtime_nsec && (old->ctime_sec != 0 || old->ctime_nsec != 0) &&
           old->ctime_sec == now->ctime_sec && old->ctime_nsec == now->ctime_nsec;
}
