/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/chunk/tree_decode.c - directories from foreign bytes, and the rules every entry must keep.
 */
#include "config.h"
#include "store/chunk/tree_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

/* ---- rules ---- */

static bool name_ok(const char *s, size_t max)
{
    size_t n = s ? strlen(s) : 0;
    return n > 0 && n <= max;
}

static bool short_or_null(const char *s)
{
    return !s || strlen(s) <= 255;
}

static int bad(struct vb_error *err, const char *name, const char *what)
{
    VB_AUTO_FREE char *shown = vb_escape_terminal(name ? name : "", name ? strlen(name) : 0);
    return vb_fail(err, VB_E_CORRUPT, "directory entry '%s': %s", shown, what);
}

static int check_name(const char *name, const char *before, bool alone, struct vb_error *err)
{
    if (!name_ok(name, VB_TREE_MAX_NAME))
        return bad(err, NULL, "name is empty or too long");
    if (strchr(name, '/') || strcmp(name, "..") == 0 || (strcmp(name, ".") == 0 && !alone))
        return bad(err, name, "not a name a directory can hold");
    if (before && strcmp(before, name) >= 0)
        return bad(err, name, strcmp(before, name) == 0 ? "name stands twice" : "names are not in order");
    return 0;
}

static int check_xattrs(const struct vb_tree_entry *e, struct vb_error *err)
{
    uint64_t total = 0;
    if (e->n_xattrs > VB_TREE_MAX_XATTRS)
        return bad(err, e->name, "too many extended attributes");
    for (size_t i = 0; i < e->n_xattrs; i++) {
        const struct vb_xattr *x = &e->xattrs[i];
        if (!name_ok(x->name, 255))
            return bad(err, e->name, "name of an extended attribute is empty or too long");
        if (i && strcmp(e->xattrs[i - 1].name, x->name) >= 0)
            return bad(err, e->name, "extended attributes are not in order");
        total += strlen(x->name) + x->len;
    }
    return total > VB_TREE_MAX_XATTR_BYTES ? bad(err, e->name, "extended attributes are too large") : 0;
}

static int check_content(const struct vb_tree_entry *e, struct vb_error *err)
{
    uint64_t at = 0, holes = 0, data = 0;
    if (e->n_holes > VB_TREE_MAX_HOLES)
        return bad(err, e->name, "too many holes");
    for (size_t i = 0; i < e->n_holes; i++) {
        const struct vb_hole *h = &e->holes[i];
        uint64_t end;
        /* apart, not only ascending: two that touch would be a second encoding of one */
        if (h->len == 0 || (i && h->offset <= at) || __builtin_add_overflow(h->offset, h->len, &end) ||
            end > e->size)
            return bad(err, e->name, "holes do not fit");
        at = end;
        holes += h->len;
    }
    if (e->content.n > VB_CONTENT_MAX_DIRECT || e->content.level > VB_CONTENT_MAX_LEVEL ||
        (e->content.n == 0 && e->content.level != 0))
        return bad(err, e->name, "content list is too long or too deep");
    for (uint32_t i = 0; i < e->content.n; i++)
        if (e->content.refs[i].size == 0)
            return bad(err, e->name, "content list has an empty reference");
    if (!vb_content_size(&e->content, &data) || data != e->size - holes)
        return bad(err, e->name, "content does not add up to the size");
    return 0;
}

int vb_tree_check_entry(const struct vb_tree_entry *e, const char *before, bool alone, struct vb_error *err)
{
    bool file = e->type == VB_TREE_FILE, link = e->type == VB_TREE_SYMLINK, dir = e->type == VB_TREE_DIR;
    bool node = e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK;
    if (check_name(e->name, before, alone, err) < 0)
        return -1;
    if (e->type < VB_TREE_FILE || e->type > VB_TREE_BLOCK)
        return bad(err, e->name, "unknown type");
    if (strcmp(e->name, ".") == 0 && !dir)
        return bad(err, e->name, "only a directory can be the root itself");
    if (e->mode > 07777u || e->mtime_nsec > 999999999u || e->ctime_nsec > 999999999u ||
        e->btime_nsec > 999999999u)
        return bad(err, e->name, "mode or time out of range");
    if (!short_or_null(e->user) || !short_or_null(e->group))
        return bad(err, e->name, "name of the owner is too long");
    if (link ? !name_ok(e->target, VB_TREE_MAX_TARGET) || e->size != strlen(e->target) : e->target != NULL)
        return bad(err, e->name, "link target is missing, misplaced or too long");
    if ((!file && !link && e->size != 0) || (!file && (e->n_holes || e->content.n)))
        return bad(err, e->name, "content or size where there can be none");
    if ((!node && (e->rdev_major || e->rdev_minor)) || (dir && e->link_group))
        return bad(err, e->name, "device number or link group where there can be none");
    if (check_xattrs(e, err) < 0)
        return -1;
    return file ? check_content(e, err) : 0;
}

int vb_tree_check_child(const struct vb_tree_child *c, const char *before, struct vb_error *err)
{
    if (check_name(c->first, before, false, err) < 0)
        return -1;
    return c->entries == 0 ? bad(err, c->first, "part of a directory is empty") : 0;
}

/* ---- reading ---- */

/* Arrays that belong to the entries; entries hold indexes while these may still move. */
struct arrays {
    struct vb_xattr *xattrs;
    size_t n_xattrs, cap_xattrs;
    struct vb_hole *holes;
    size_t n_holes, cap_holes;
    struct vb_ref *refs;
    size_t n_refs, cap_refs;
};

struct memory {
    unsigned char *bytes;
    struct arrays a;
};

void vb_tree_clear(struct vb_tree *t)
{
    struct memory *m = t->memory;
    if (m) {
        free(m->bytes);
        free(m->a.xattrs);
        free(m->a.holes);
        free(m->a.refs);
        free(m);
    }
    free(t->entries);
    free(t->children);
    memset(t, 0, sizeof *t);
}

/* A string that contains its own end and nothing after it; points into the copy of the chunk. */
static bool get_str16(struct vb_reader *r, const char **s)
{
    uint16_t n = 0;
    const unsigned char *p = NULL;
    if (!vb_get_u16(r, &n) || !vb_get_bytes(r, (size_t)n + 1, &p) || p[n] != 0 || memchr(p, 0, n)) {
        r->bad = true;
        return false;
    }
    *s = (const char *)p;
    return true;
}

static bool get_name(struct vb_reader *r, struct vb_name *name)
{
    const unsigned char *p = NULL;
    if (!vb_get_bytes(r, VB_NAME_LEN, &p))
        return false;
    memcpy(name->b, p, VB_NAME_LEN);
    return true;
}

static bool get_xattrs(struct vb_reader *r, struct vb_tree_entry *e, struct arrays *a)
{
    uint16_t n = 0;
    if (!vb_get_u16(r, &n) || n == 0)
        return false;
    e->n_xattrs = n;
    for (unsigned i = 0; i < n; i++) {
        struct vb_xattr x = { 0 };
        const unsigned char *value = NULL;
        if (!get_str16(r, &x.name) || !vb_get_u32(r, &x.len) || !vb_get_bytes(r, x.len, &value))
            return false;
        x.value = value;
        VB_GROW(a->xattrs, a->n_xattrs, a->cap_xattrs);
        a->xattrs[a->n_xattrs++] = x;
    }
    return true;
}

static bool get_holes(struct vb_reader *r, struct vb_tree_entry *e, struct arrays *a)
{
    uint32_t n = 0;
    if (!vb_get_u32(r, &n) || n == 0 || n > VB_TREE_MAX_HOLES)
        return false;
    e->n_holes = n;
    for (uint32_t i = 0; i < n; i++) {
        struct vb_hole h;
        if (!vb_get_u64(r, &h.offset) || !vb_get_u64(r, &h.len))
            return false;
        VB_GROW(a->holes, a->n_holes, a->cap_holes);
        a->holes[a->n_holes++] = h;
    }
    return true;
}

static bool get_content(struct vb_reader *r, struct vb_tree_entry *e, struct arrays *a)
{
    uint16_t n = 0;
    if (!vb_get_u8(r, &e->content.level) || !vb_get_u16(r, &n) || n == 0 || n > VB_CONTENT_MAX_DIRECT)
        return false;
    e->content.n = n;
    for (unsigned i = 0; i < n; i++) {
        struct vb_ref ref;
        if (!get_name(r, &ref.name) || !vb_get_u64(r, &ref.size))
            return false;
        VB_GROW(a->refs, a->n_refs, a->cap_refs);
        a->refs[a->n_refs++] = ref;
    }
    return true;
}

static bool get_fixed(struct vb_reader *r, struct vb_tree_entry *e, uint16_t *fields)
{
    uint8_t type = 0;
    uint64_t mtime = 0, ctime = 0;
    if (!vb_get_u8(r, &type) || !vb_get_u16(r, fields) || (*fields & ~VB_TREE_HAS_ALL) || !get_str16(r, &e->name) ||
        !vb_get_u32(r, &e->mode) || !vb_get_u32(r, &e->uid) || !vb_get_u32(r, &e->gid) || !get_str16(r, &e->user) ||
        !get_str16(r, &e->group) || !vb_get_u64(r, &e->size) || !vb_get_u64(r, &mtime) ||
        !vb_get_u32(r, &e->mtime_nsec) || !vb_get_u64(r, &ctime) || !vb_get_u32(r, &e->ctime_nsec) ||
        !vb_get_u64(r, &e->inode))
        return false;
    e->type = (enum vb_tree_type)type;
    e->mtime_sec = (int64_t)mtime;
    e->ctime_sec = (int64_t)ctime;
    return true;
}

static bool get_btime(struct vb_reader *r, struct vb_tree_entry *e)
{
    uint64_t sec = 0;
    if (!vb_get_u64(r, &sec) || !vb_get_u32(r, &e->btime_nsec))
        return false;
    e->btime_sec = (int64_t)sec;
    return e->btime_sec || e->btime_nsec;
}

/* The bits must be those that the encoder would have set: type decides some, a zero value forbids the others. */
static bool get_entry(struct vb_reader *r, struct vb_tree_entry *e, struct arrays *a)
{
    uint16_t f = 0;
    if (!get_fixed(r, e, &f))
        return false;
    bool node = e->type == VB_TREE_CHAR || e->type == VB_TREE_BLOCK;
    if (!!(f & VB_TREE_HAS_RDEV) != node || !!(f & VB_TREE_HAS_TARGET) != (e->type == VB_TREE_SYMLINK) ||
        !!(f & VB_TREE_HAS_SUBTREE) != (e->type == VB_TREE_DIR))
        return false;
    if ((f & VB_TREE_HAS_DEVICE) && (!vb_get_u64(r, &e->device) || e->device == 0))
        return false;
    if (node && (!vb_get_u32(r, &e->rdev_major) || !vb_get_u32(r, &e->rdev_minor)))
        return false;
    if ((f & VB_TREE_HAS_TARGET) && !get_str16(r, &e->target))
        return false;
    if ((f & VB_TREE_HAS_LINK_GROUP) && (!vb_get_u64(r, &e->link_group) || e->link_group == 0))
        return false;
    if ((f & VB_TREE_HAS_FLAGS) && (!vb_get_u32(r, &e->inode_flags) || e->inode_flags == 0))
        return false;
    if ((f & VB_TREE_HAS_XATTRS) && !get_xattrs(r, e, a))
        return false;
    if ((f & VB_TREE_HAS_HOLES) && !get_holes(r, e, a))
        return false;
    if ((f & VB_TREE_HAS_CONTENT) && !get_content(r, e, a))
        return false;
    if ((f & VB_TREE_HAS_SUBTREE) && !get_name(r, &e->subtree))
        return false;
    if ((f & VB_TREE_HAS_BTIME) && !get_btime(r, e))
        return false;
    return !(f & VB_TREE_HAS_PROJECT) || (vb_get_u32(r, &e->project) && e->project != 0);
}

/* Turns counts into pointers, now that the arrays have stopped moving. */
static void set_pointers(struct vb_tree *t, const struct arrays *a)
{
    size_t x = 0, h = 0, c = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct vb_tree_entry *e = &t->entries[i];
        e->xattrs = e->n_xattrs ? a->xattrs + x : NULL;
        e->holes = e->n_holes ? a->holes + h : NULL;
        e->content.refs = e->content.n ? a->refs + c : NULL;
        x += e->n_xattrs;
        h += e->n_holes;
        c += e->content.n;
    }
}

static int decode_entries(struct vb_reader *r, struct vb_tree *t, size_t n, struct vb_error *err)
{
    struct memory *m = t->memory;
    t->entries = vb_alloc_n(n ? n : 1, sizeof *t->entries);
    for (t->n = 0; t->n < n; t->n++)
        if (!get_entry(r, &t->entries[t->n], &m->a))
            return vb_fail(err, VB_E_CORRUPT, "directory entry %zu of %zu is cut off or malformed", t->n + 1, n);
    set_pointers(t, &m->a);
    for (size_t i = 0; i < n; i++)
        if (vb_tree_check_entry(&t->entries[i], i ? t->entries[i - 1].name : NULL, n == 1, err) < 0)
            return -1;
    return 0;
}

static int decode_children(struct vb_reader *r, struct vb_tree *t, size_t n, struct vb_error *err)
{
    uint64_t total = 0;
    t->children = vb_alloc_n(n, sizeof *t->children);
    for (t->n = 0; t->n < n; t->n++) {
        struct vb_tree_child *c = &t->children[t->n];
        if (!get_name(r, &c->name) || !vb_get_u64(r, &c->entries) || !get_str16(r, &c->first))
            return vb_fail(err, VB_E_CORRUPT, "directory part %zu of %zu is cut off or malformed", t->n + 1, n);
        if (vb_tree_check_child(c, t->n ? c[-1].first : NULL, err) < 0)
            return -1;
        if (__builtin_add_overflow(total, c->entries, &total))
            return vb_fail(err, VB_E_CORRUPT, "directory says it has more entries than can be");
    }
    return 0;
}

static int decode(struct vb_reader *r, struct vb_tree *t, struct vb_error *err)
{
    uint8_t version = 0;
    uint16_t zero = 0;
    uint32_t count = 0;
    if (vb_get_u8(r, &version) && version > VB_TREE_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "directory of format %u, this program knows up to %u", version,
                       VB_TREE_VERSION);
    vb_get_u8(r, &t->height);
    vb_get_u16(r, &zero);
    size_t least = t->height ? VB_TREE_MIN_CHILD_LEN : VB_TREE_MIN_ENTRY_LEN;
    if (!vb_get_u32(r, &count) || zero != 0 || t->height > VB_TREE_MAX_HEIGHT || count > r->left / least ||
        (t->height > 0 && count == 0))
        return vb_fail(err, VB_E_CORRUPT, "directory has a bad header");
    if ((t->height ? decode_children(r, t, count, err) : decode_entries(r, t, count, err)) < 0)
        return -1;
    if (r->bad || r->left != 0)
        return vb_fail(err, VB_E_CORRUPT, "directory has bytes after its end");
    return 0;
}

int vb_tree_decode(const void *p, size_t len, struct vb_tree *t, struct vb_error *err)
{
    struct vb_reader r;
    memset(t, 0, sizeof *t);
    if (len > VB_CHUNK_MAX_RAW)
        return vb_fail(err, VB_E_CORRUPT, "directory is larger than a chunk may be");
    struct memory *m = vb_alloc(sizeof *m);
    t->memory = m;
    m->bytes = vb_memdup(p, len);
    vb_reader_init(&r, m->bytes, len);
    if (decode(&r, t, err) == 0)
        return 0;
    vb_tree_clear(t);
    return -1;
}

/* ---- references ---- */

static int content_refs(const struct vb_ref *refs, size_t n, unsigned level, vb_chunk_ref_fn *fn, void *arg,
                        struct vb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int result = fn(arg, &refs[i].name, level ? VB_CHUNK_LIST : 0, err);
        if (result != 0)
            return result;
    }
    return 0;
}

static int tree_refs(const struct vb_tree *t, vb_chunk_ref_fn *fn, void *arg, struct vb_error *err)
{
    int result = 0;
    for (size_t i = 0; i < t->n && result == 0; i++) {
        if (t->height > 0) {
            result = fn(arg, &t->children[i].name, VB_CHUNK_TREE, err);
            continue;
        }
        const struct vb_tree_entry *e = &t->entries[i];
        if (e->type == VB_TREE_DIR)
            result = fn(arg, &e->subtree, VB_CHUNK_TREE, err);
        else
            result = content_refs(e->content.refs, e->content.n, e->content.level, fn, arg, err);
    }
    return result;
}

int vb_chunk_refs(enum vb_chunk_type type, const void *p, size_t len, vb_chunk_ref_fn *fn, void *arg,
                  struct vb_error *err)
{
    if (type == VB_CHUNK_TREE) {
        VB_AUTO_TREE t = { 0 };
        return vb_tree_decode(p, len, &t, err) < 0 ? -1 : tree_refs(&t, fn, arg, err);
    }
    if (type == VB_CHUNK_LIST) {
        VB_AUTO_FREE struct vb_ref *refs = NULL;
        size_t n = 0;
        uint8_t level = 0;
        if (vb_list_decode(p, len, &level, &refs, &n, err) < 0)
            return -1;
        return content_refs(refs, n, level, fn, arg, err);
    }
    return 0;
}
