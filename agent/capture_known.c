/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/capture_known.c - one directory of a look: what is known of it, what is taken over, what is remembered.
 *
 *     payload   tree name(32), totals(40): files, dirs, bytes, files and directories left out; count(4) of the directories
 *               among its entries, totals of each; count(4) of entries, each length(4) and a leaf of the tree format (store/chunk/tree.h)
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/capture_extents.h"
#include "agent/capture_internal.h"
#include "agent/capture_look_internal.h"
#include "base/log.h"

#define TOTALS 40u

struct vb_cap_old {
    unsigned char *row_bytes;
    struct vb_look_row row;
    struct vb_tree *leaves;
    size_t n_leaves;
    const struct vb_tree_entry **entries; /* sorted by name */
    size_t n;
    struct vb_cap_totals *sub; /* per entry, zero but for directories */
    struct vb_name tree;
};

/* ---- payload ---- */

static bool get_totals(struct vb_reader *r, struct vb_cap_totals *t)
{
    return vb_get_u64(r, &t->files) && vb_get_u64(r, &t->dirs) && vb_get_u64(r, &t->bytes) &&
           vb_get_u64(r, &t->left_files) && vb_get_u64(r, &t->left_dirs);
}

static bool get_head(struct vb_reader *r, struct vb_name *tree, struct vb_cap_totals *all)
{
    const unsigned char *name;
    if (!vb_get_bytes(r, sizeof tree->b, &name))
        return false;
    memcpy(tree->b, name, sizeof tree->b);
    return get_totals(r, all);
}

bool vb_cap_payload_head(struct vb_look *l, const char *path, struct vb_name *tree, struct vb_cap_totals *all)
{
    const unsigned char *p;
    size_t n;
    struct vb_reader r;
    if (vb_look_payload(l, path, &p, &n) != 1)
        return false;
    vb_reader_init(&r, p, n);
    return get_head(&r, tree, all);
}

static void put_totals(struct vb_buf *b, const struct vb_cap_totals *t)
{
    vb_buf_add_u64(b, t->files);
    vb_buf_add_u64(b, t->dirs);
    vb_buf_add_u64(b, t->bytes);
    vb_buf_add_u64(b, t->left_files);
    vb_buf_add_u64(b, t->left_dirs);
}

static void old_free(struct vb_cap_old *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n_leaves; i++)
        vb_tree_clear(&o->leaves[i]);
    free(o->leaves);
    free((void *)o->entries);
    free(o->sub);
    free(o->row_bytes);
    free(o);
}

static bool get_leaves(struct vb_cap_old *o, struct vb_reader *r)
{
    uint32_t leaves;
    size_t cap = 0;
    if (!vb_get_u32(r, &leaves) || leaves > r->left / 4)
        return false;
    o->leaves = vb_alloc_n(leaves + 1u, sizeof *o->leaves);
    for (uint32_t i = 0; i < leaves; i++) {
        const unsigned char *p;
        uint32_t len;
        if (!vb_get_u32(r, &len) || !vb_get_bytes(r, len, &p) || vb_tree_decode(p, len, &o->leaves[i], NULL) < 0)
            return false;
        o->n_leaves++;
        if (o->leaves[i].height || o->leaves[i].n != 1)
            return false;
        for (size_t k = 0; k < o->leaves[i].n; k++) {
            const struct vb_tree_entry *e = &o->leaves[i].entries[k];
            if (o->n && strcmp(o->entries[o->n - 1]->name, e->name) >= 0)
                return false;
            VB_GROW(o->entries, o->n, cap);
            o->entries[o->n++] = e;
        }
    }
    return r->left == 0;
}

static bool get_payload(struct vb_cap_old *o, const unsigned char *p, size_t len)
{
    struct vb_reader r;
    struct vb_cap_totals all;
    uint32_t dirs;
    vb_reader_init(&r, p, len);
    if (!get_head(&r, &o->tree, &all) || !vb_get_u32(&r, &dirs) || dirs > r.left / TOTALS)
        return false;
    struct vb_reader totals = r;
    const unsigned char *skip;
    if (!vb_get_bytes(&r, (size_t)dirs * TOTALS, &skip) || !get_leaves(o, &r))
        return false;
    o->sub = vb_alloc_n(o->n + 1, sizeof *o->sub);
    for (size_t i = 0; i < o->n; i++)
        if (o->entries[i]->type == VB_TREE_DIR && (dirs-- == 0 || !get_totals(&totals, &o->sub[i])))
            return false;
    return dirs == 0;
}

/* as: what the directory above calls it, NULL for the top; records of different looks do not fit each other. */
static struct vb_cap_old *old_load(struct vb_look *l, const char *path, const struct vb_name *as)
{
    struct vb_cap_old *o = vb_alloc(sizeof *o);
    struct vb_look_row row;
    const unsigned char *p;
    size_t n;
    if (vb_look_row(l, path, &row) == 1) {
        size_t len = vb_look_row_size(&row);
        o->row_bytes = vb_memdup(row.p, len);
        o->row = (struct vb_look_row){ o->row_bytes, row.n };
        if (vb_look_payload(l, path, &p, &n) == 1 && get_payload(o, p, n) &&
            (!as || vb_name_equal(as, &o->tree)))
            return o;
    }
    old_free(o);
    return NULL;
}

static bool find_entry(const struct vb_cap_old *o, const char *name, size_t *index)
{
    size_t low = 0, high = o->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = strcmp(name, o->entries[mid]->name);
        if (c == 0) {
            *index = mid;
            return true;
        }
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

/* Everything that is not left out has its entry. */
static bool complete(const struct vb_cap_old *o)
{
    for (size_t i = 0, k; i < o->row.n; i++) {
        struct vb_look_entry e;
        vb_look_row_get(&o->row, i, &e);
        if ((e.flags & VB_LOOK_MARKED) ||
            (!(e.flags & (VB_LOOK_SKIPPED | VB_LOOK_LEFT)) && !find_entry(o, e.name, &k)))
            return false;
    }
    return true;
}

/* ---- a directory ---- */

static const char *rel(struct vb_capture *c)
{
    return vb_buf_str(&c->rel);
}

/* What the detector says of a directory below d. */
static enum vb_change change_below(struct vb_capture *c, const struct vb_cap_dir *d, const char *name)
{
    if (!c->look->changes || d->foreign)
        return VB_CHANGE_DIRTY;
    VB_AUTO_FREE char *path = c->rel.len ? vb_printf("%s/%s", rel(c), name) : vb_strdup(name);
    return vb_changes_of(c->look->changes, path);
}

void vb_cap_dir_begin(struct vb_capture *c, struct vb_cap_dir *d, const struct vb_cap_dir *parent, const char *name,
                      const struct stat *st)
{
    d->rel_len = c->rel.len;
    d->change = VB_CHANGE_DIRTY;
    d->left_files = c->cur->left_files;
    d->left_dirs = c->cur->left_dirs;
    if (!c->look || !c->look->memory)
        return;
    size_t i;
    struct vb_look_entry e = { .name = NULL };
    if (parent && parent->old && vb_look_row_find(&parent->old->row, name, &i))
        vb_look_row_get(&parent->old->row, i, &e);
    /* the paths below say nothing if another directory has taken this one's place */
    d->foreign = parent && (parent->foreign || !e.name || e.st.ino != st->st_ino || !S_ISDIR(e.st.mode) ||
                            (e.flags & (VB_LOOK_SKIPPED | VB_LOOK_CLOSED)) ||
                            (c->look->changes && vb_changes_moved(c->look->changes, st->st_ino)));
    if (parent)
        d->change = change_below(c, d, name);
    else if (c->look->changes)
        d->change = vb_changes_of(c->look->changes, "");
    if (parent && c->rel.len)
        vb_buf_add_char(&c->rel, '/');
    vb_buf_add_str(&c->rel, name);
    if (c->look->changes && vb_changes_of(c->look->changes, rel(c)) == VB_CHANGE_UNKNOWN) {
        d->foreign = true; /* the detector did not look below it */
        d->change = VB_CHANGE_DIRTY;
    }
    if (c->look->changes && (!parent || (parent->old && find_entry(parent->old, name, &i))))
        d->old = old_load(c->look->memory, rel(c), parent ? &parent->old->entries[i]->subtree : NULL);
    if (d->change == VB_CHANGE_CLEAN)
        d->change = VB_CHANGE_THROUGH; /* only its own metadata are to be read */
    if (!d->old || (d->change == VB_CHANGE_THROUGH && !complete(d->old)))
        d->change = VB_CHANGE_DIRTY;
}

void vb_cap_dir_clear(struct vb_cap_dir *d)
{
    old_free(d->old);
    for (size_t i = 0; i < d->n_rows; i++)
        free((char *)(uintptr_t)d->rows[i].name);
    free(d->rows);
    free(d->sub);
    vb_buf_clear(&d->leaves);
    *d = (struct vb_cap_dir){ .old = NULL };
}

/* What was below directories that are gone, and of large files that are. */
static int forget_gone(struct vb_capture *c, const struct vb_cap_dir *d, struct vb_error *err)
{
    const struct vb_cap_old *o = d->old;
    for (size_t i = 0, k = 0; o && c->rel.len && i < o->n; i++) {
        const char *name = o->entries[i]->name;
        bool dir = o->entries[i]->type == VB_TREE_DIR;
        if (!dir && (o->entries[i]->type != VB_TREE_FILE || o->entries[i]->size < VB_CAP_LARGE))
            continue;
        while (k < d->n_rows && strcmp(d->rows[k].name, name) < 0)
            k++;
        if (k < d->n_rows && !strcmp(d->rows[k].name, name) && S_ISDIR(d->rows[k].st.mode) == dir)
            continue;
        VB_AUTO_FREE char *path = vb_printf("%s/%s", rel(c), name);
        if ((dir ? vb_look_forget(c->look->memory, path, true, err)
                 : vb_look_set_part(c->look->memory, path, NULL, err)) < 0)
            return -1;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vb_look_entry *)a)->name, ((const struct vb_look_entry *)b)->name);
}

static int remember(struct vb_capture *c, struct vb_cap_dir *d, const struct vb_name *tree, struct vb_error *err)
{
    struct vb_look *l = c->look->memory;
    VB_AUTO_BUF row = VB_BUF_INIT;
    VB_AUTO_BUF payload = VB_BUF_INIT;
    if (d->behind_mark)
        qsort(d->rows, d->n_rows, sizeof *d->rows, by_name);
    vb_look_row_encode(&row, rel(c), d->rows, d->n_rows);
    vb_buf_add(&payload, tree->b, sizeof tree->b);
    put_totals(&payload, &d->all);
    vb_buf_add_u32(&payload, (uint32_t)d->n_sub);
    for (size_t i = 0; i < d->n_sub; i++)
        put_totals(&payload, &d->sub[i]);
    vb_buf_add_u32(&payload, d->n_leaves);
    vb_buf_add(&payload, d->leaves.data, d->leaves.len);
    if (forget_gone(c, d, err) < 0 || vb_look_put(l, rel(c), &row, &payload, err) < 0)
        return -1;
    return vb_look_set_again(l, rel(c), d->again, err);
}

void vb_cap_look_broken(struct vb_capture *c, struct vb_error *why)
{
    vb_log_error(VB_LOG_WARNING, why);
    c->look->broken = true;
}

void vb_cap_dir_entry(struct vb_capture *c, struct vb_cap_dir *d, const struct vb_tree_entry *e)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_BUF leaf = VB_BUF_INIT;
    struct vb_tree t = { .n = 1, .entries = (struct vb_tree_entry *)(uintptr_t)e };
    if (!c->look || !c->look->memory || c->look->broken)
        return;
    if (vb_tree_encode(&t, &leaf, &why) < 0) {
        vb_cap_look_broken(c, &why);
        return;
    }
    vb_buf_add_u32(&d->leaves, (uint32_t)leaf.len);
    vb_buf_add(&d->leaves, leaf.data, leaf.len);
    d->n_leaves++;
}

void vb_cap_dir_end(struct vb_capture *c, struct vb_cap_dir *d, struct vb_cap_dir *parent, const struct vb_name *tree)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (!c->look || !c->look->memory)
        return;
    d->all.left_files = c->cur->left_files - d->left_files;
    d->all.left_dirs = c->cur->left_dirs - d->left_dirs;
    if (!c->look->broken && remember(c, d, tree, &why) < 0)
        vb_cap_look_broken(c, &why);
    if (parent && parent->n_sub) {
        struct vb_cap_totals *t = &parent->sub[parent->n_sub - 1];
        t->files += d->all.files;
        t->dirs += d->all.dirs;
        t->bytes += d->all.bytes;
        t->left_files += d->all.left_files;
        t->left_dirs += d->all.left_dirs;
        parent->all.files += d->all.files;
        parent->all.dirs += d->all.dirs;
        parent->all.bytes += d->all.bytes;
    }
    c->rel.len = d->rel_len;
}

/* ---- entries ---- */

const struct vb_tree_entry *vb_cap_dir_before(const struct vb_cap_dir *d, const char *name)
{
    size_t k;
    return d->old && find_entry(d->old, name, &k) ? d->old->entries[k] : NULL;
}

size_t vb_cap_dir_known_count(const struct vb_cap_dir *d)
{
    return d->old ? d->old->row.n : 0;
}

static struct vb_look_entry *add_row(struct vb_cap_dir *d, const char *name)
{
    VB_GROW(d->rows, d->n_rows, d->cap_rows);
    struct vb_look_entry *e = &d->rows[d->n_rows++];
    *e = (struct vb_look_entry){ .name = vb_strdup(name) };
    return e;
}

static void add_sub(struct vb_cap_dir *d, const struct vb_cap_totals *t)
{
    VB_GROW(d->sub, d->n_sub, d->cap_sub);
    d->sub[d->n_sub++] = *t;
    d->all.files += t->files;
    d->all.dirs += t->dirs + 1;
    d->all.bytes += t->bytes;
}

bool vb_cap_dir_reuse(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st,
                      struct vb_tree_entry *e)
{
    size_t i, k;
    struct vb_look_entry r;
    struct vb_look_stat now;
    if (!c->look || !c->look->memory || !d->old || !vb_look_row_find(&d->old->row, name, &i) ||
        !find_entry(d->old, name, &k))
        return false;
    vb_look_row_get(&d->old->row, i, &r);
    vb_look_stat_from(&now, st);
    bool dir = S_ISDIR(st->st_mode);
    if (d->change != VB_CHANGE_THROUGH &&
        (!(r.flags & VB_LOOK_TRUSTED) || (r.flags & VB_LOOK_SKIPPED) || !vb_look_stat_equal(&r.st, &now)))
        return false;
    if (dir && !(r.flags & VB_LOOK_CLOSED) &&
        (change_below(c, d, name) != VB_CHANGE_CLEAN || vb_changes_moved(c->look->changes, st->st_ino)))
        return false;
    if (dir != (d->old->entries[k]->type == VB_TREE_DIR))
        return false;
    vb_cap_entry_copy(c, e, d->old->entries[k]);
    struct vb_look_entry *row = add_row(d, name);
    row->st = r.st;
    row->flags = r.flags;
    struct vb_cap_totals t = dir ? d->old->sub[k] : (struct vb_cap_totals){ .files = 1, .bytes = e->size };
    if (dir) {
        add_sub(d, &t);
        t.dirs++;
    } else {
        d->all.files++;
        d->all.bytes += e->size;
    }
    c->root->files += t.files;
    c->root->dirs += t.dirs;
    c->root->bytes += t.bytes;
    c->files += t.files;
    c->bytes += t.bytes;
    c->cur->left_files += t.left_files;
    c->cur->left_dirs += t.left_dirs;
    return true;
}

void vb_cap_dir_took(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st, bool closed,
                     uint64_t n)
{
    const struct vb_cap_totals none = { .left_dirs = n };
    if (!c->look)
        return;
    c->look->read += S_ISREG(st->st_mode) ? 1 : 0;
    if (!c->look->memory)
        return;
    struct vb_look_entry *row = add_row(d, name);
    vb_look_stat_from(&row->st, st);
    row->flags = (vb_look_stat_settled(&row->st, c->look->began) ? VB_LOOK_TRUSTED : 0u) |
                 (closed ? VB_LOOK_CLOSED : 0u);
    if (S_ISDIR(st->st_mode)) {
        add_sub(d, &none);
    } else {
        d->all.files++;
        d->all.bytes += n;
    }
}

static void left(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct vb_look_stat *st,
                 unsigned flags)
{
    if (!c->look || !c->look->memory)
        return;
    struct vb_look_entry *row = add_row(d, name);
    row->st = *st;
    row->flags = flags;
}

void vb_cap_dir_skipped(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st,
                        unsigned flags)
{
    const struct vb_look_stat kind = { .mode = st->st_mode & S_IFMT };
    left(c, d, name, &kind, flags | VB_LOOK_SKIPPED);
}

void vb_cap_dir_left(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *st)
{
    struct vb_look_stat s;
    vb_look_stat_from(&s, st);
    bool settled = c->look && vb_look_stat_settled(&s, c->look->began);
    left(c, d, name, &s, VB_LOOK_LEFT | (settled ? (unsigned)VB_LOOK_TRUSTED : 0u));
}

void vb_cap_dir_behind_mark(struct vb_capture *c, struct vb_cap_dir *d, const char *name, const struct stat *kind)
{
    d->behind_mark = true;
    vb_cap_dir_skipped(c, d, name, kind, VB_LOOK_MARKED);
}

bool vb_cap_dir_known(struct vb_capture *c, struct vb_cap_dir *d, size_t i, const char **name, struct stat *st)
{
    struct vb_look_entry e;
    vb_look_row_get(&d->old->row, i, &e);
    *name = e.name;
    *st = (struct stat){ .st_mode = e.st.mode, .st_ino = e.st.ino, .st_nlink = e.st.nlink,
                         .st_size = (off_t)e.st.size,
                         .st_mtim = { e.st.mtime_sec, e.st.mtime_nsec },
                         .st_ctim = { e.st.ctime_sec, e.st.ctime_nsec } };
    if (!(e.flags & (VB_LOOK_SKIPPED | VB_LOOK_LEFT)))
        return true;
    left(c, d, e.name, &e.st, e.flags);
    if ((e.flags & VB_LOOK_LEFT) && S_ISDIR(e.st.mode))
        c->cur->left_dirs++;
    else if (e.flags & VB_LOOK_LEFT)
        c->cur->left_files++;
    return false;
}

void vb_cap_dir_doubt(struct vb_capture *c, struct vb_cap_dir *d, const char *name)
{
    if (!c->look || !c->look->memory)
        return;
    d->again = true;
    if (!name)
        return;
    if (d->n_rows == 0 || strcmp(d->rows[d->n_rows - 1].name, name) != 0)
        add_row(d, name);
    d->rows[d->n_rows - 1].flags &= ~(unsigned)VB_LOOK_TRUSTED;
}
