/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_tree.c - reading directories: one, one path, or everything below a root.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int get_tree(struct vb_repo *r, const struct vb_name *name, struct vb_tree *t, struct vb_error *err)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    if (vb_repo_get(r, VB_CHUNK_TREE, name, &plain, err) < 0)
        return -1;
    return vb_tree_decode(plain.data, plain.len, t, err);
}

static uint64_t tree_entries(const struct vb_tree *t)
{
    uint64_t n = t->height ? 0 : t->n;
    for (size_t i = 0; t->height && i < t->n; i++)
        n += t->children[i].entries;
    return n;
}

/* A part must be what the branch above it says: one lower, that many entries, beginning with that name. */
static int get_part(struct vb_repo *r, const struct vb_tree *branch, size_t i, struct vb_tree *t, struct vb_error *err)
{
    const struct vb_tree_child *c = &branch->children[i];
    if (get_tree(r, &c->name, t, err) < 0)
        return -1;
    const char *first = t->n == 0 ? "" : t->height ? t->children[0].first : t->entries[0].name;
    if (t->height + 1 != branch->height || tree_entries(t) != c->entries || strcmp(first, c->first) != 0)
        return vb_fail(err, VB_E_CORRUPT, "part of a directory does not fit its place");
    return 0;
}

static int read_part(struct vb_repo *r, const struct vb_tree *t, vb_tree_dir_fn *fn, void *arg, struct vb_error *err)
{
    for (size_t i = 0; i < t->n; i++) {
        VB_AUTO_TREE part = { 0 };
        int result;
        if (t->height == 0) {
            result = fn(arg, &t->entries[i], err);
        } else {
            if (get_part(r, t, i, &part, err) < 0)
                return -1;
            result = read_part(r, &part, fn, arg, err);
        }
        if (result != 0)
            return result;
    }
    return 0;
}

int vb_tree_read(struct vb_repo *r, const struct vb_name *directory, vb_tree_dir_fn *fn, void *arg,
                 struct vb_error *err)
{
    VB_AUTO_TREE t = { 0 };
    return get_tree(r, directory, &t, err) < 0 ? -1 : read_part(r, &t, fn, arg, err);
}

/* ---- walk ---- */

/*
 * One TREE chunk on the way from the root to where the walk is. Directories nest as deep as the file system lets them,
 * so the way is kept here and not on the stack, and only its last chunks are kept decoded: the others are read again
 * when the walk comes back to them.
 */
struct place {
    struct vb_name name;
    size_t next;      /* child or entry that is looked at next */
    size_t path_len;  /* of the directory */
    bool loaded;
    bool directory;   /* the chunk that stands for a directory, not a part of one */
    struct vb_tree t; /* when loaded */
};
#define KEPT_DECODED 64u

struct walk {
    struct vb_repo *repo;
    vb_tree_walk_fn *fn;
    void *arg;
    struct vb_buf path;
    struct place *places;
    size_t n, cap;
    size_t depth; /* directories above and with this one */
};

static void unload(struct place *p)
{
    if (p->loaded)
        vb_tree_clear(&p->t);
    p->loaded = false;
}

/* parent: the branch of which this is part i; NULL for a directory. */
static int push(struct walk *w, const struct vb_name *name, const struct vb_tree *parent, size_t i,
                struct vb_error *err)
{
    struct place p = { .name = *name, .path_len = w->path.len, .directory = !parent, .loaded = true };
    int result = parent ? get_part(w->repo, parent, i, &p.t, err) : get_tree(w->repo, name, &p.t, err);
    if (result < 0) {
        vb_tree_clear(&p.t);
        if (w->depth > 0)
            vb_context(err, "directory '%s'", vb_buf_str(&w->path));
        return -1;
    }
    if (w->n >= KEPT_DECODED)
        unload(&w->places[w->n - KEPT_DECODED]);
    VB_GROW(w->places, w->n, w->cap);
    w->places[w->n++] = p;
    w->depth += p.directory;
    return 0;
}

static void pop(struct walk *w)
{
    struct place *p = &w->places[--w->n];
    unload(p);
    w->depth -= p->directory;
}

static int reload(struct walk *w, struct place *p, struct vb_error *err)
{
    if (p->loaded)
        return 0;
    p->loaded = true;
    return get_tree(w->repo, &p->name, &p->t, err);
}

static int walk_entry(struct walk *w, const struct vb_tree_entry *entry, struct vb_error *err)
{
    if (w->depth > 1) { /* the root's own entry has the path "" */
        if (w->path.len > 0)
            vb_buf_add_char(&w->path, '/');
        vb_buf_add_str(&w->path, entry->name);
    }
    int result = w->fn(w->arg, vb_buf_str(&w->path), entry, err);
    if (result == VB_WALK_SKIP && entry->type == VB_TREE_DIR)
        return 0;
    if (result != 0 || entry->type != VB_TREE_DIR)
        return result;
    if (w->depth > VB_TREE_MAX_DEPTH)
        return vb_fail(err, VB_E_LIMIT, "more than %u directories inside each other", VB_TREE_MAX_DEPTH);
    return push(w, &entry->subtree, NULL, 0, err);
}

static int walk_on(struct walk *w, struct vb_error *err)
{
    while (w->n > 0) {
        struct place *p = &w->places[w->n - 1];
        w->path.len = p->path_len;
        if (reload(w, p, err) < 0)
            return -1;
        if (p->next == p->t.n) {
            pop(w);
            continue;
        }
        size_t i = p->next++;
        int result = p->t.height ? push(w, &p->t.children[i].name, &p->t, i, err)
                                 : walk_entry(w, &p->t.entries[i], err);
        if (result != 0)
            return result;
    }
    return 0;
}

int vb_tree_walk(struct vb_repo *r, const struct vb_name *root, vb_tree_walk_fn *fn, void *arg, struct vb_error *err)
{
    struct walk w = { .repo = r, .fn = fn, .arg = arg };
    int result = push(&w, root, NULL, 0, err);
    if (result == 0)
        result = walk_on(&w, err);
    while (w.n > 0)
        pop(&w);
    free(w.places);
    vb_buf_clear(&w.path);
    return result;
}

/* ---- lookup ---- */

/* The entry of that name in a directory: one chunk per level. 0, 1 when there is none, -1. */
static int find_name(struct vb_repo *r, const struct vb_name *directory, const char *name, size_t len,
                     struct vb_tree *t, const struct vb_tree_entry **entry, struct vb_error *err)
{
    VB_AUTO_FREE char *want = vb_strndup(name, len);
    if (get_tree(r, directory, t, err) < 0)
        return -1;
    while (t->height > 0) {
        size_t i = 0;
        while (i + 1 < t->n && strcmp(t->children[i + 1].first, want) <= 0)
            i++;
        struct vb_tree part = { 0 };
        if (get_part(r, t, i, &part, err) < 0) {
            vb_tree_clear(&part);
            return -1;
        }
        vb_tree_clear(t);
        *t = part;
    }
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(t->entries[mid].name, want);
        if (c == 0) {
            *entry = &t->entries[mid];
            return 0;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return 1;
}

int vb_tree_lookup(struct vb_repo *r, const struct vb_name *root, const char *path, struct vb_tree *t,
                   const struct vb_tree_entry **entry, struct vb_error *err)
{
    const struct vb_tree_entry *e;
    const char *p = path;
    memset(t, 0, sizeof *t);
    if (get_tree(r, root, t, err) < 0)
        return -1;
    if (t->height != 0 || t->n != 1) {
        vb_tree_clear(t);
        return vb_fail(err, VB_E_CORRUPT, "root must have exactly one entry");
    }
    e = &t->entries[0];
    for (;;) {
        size_t len = strcspn(p, "/");
        if (len > 0) {
            int found = 1;
            if (e->type == VB_TREE_DIR) {
                struct vb_name directory = e->subtree;
                vb_tree_clear(t);
                found = find_name(r, &directory, p, len, t, &e, err);
            }
            if (found != 0) {
                vb_tree_clear(t);
                return found < 0 ? -1 : vb_fail(err, VB_E_NOT_FOUND, "'%s': not in the backup", path);
            }
        }
        if (!p[len])
            break;
        p += len + 1;
    }
    *entry = e;
    return 0;
}
