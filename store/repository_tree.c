/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_tree.c - reading directories: one, one path, or everything below a root.
 */
#include "config.h"
#include "store/repository_internal.h"

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

struct walk {
    struct vb_repo *repo;
    vb_tree_walk_fn *fn;
    void *arg;
    struct vb_buf path;
    unsigned depth;
};

static int walk_entry(void *arg, const struct vb_tree_entry *entry, struct vb_error *err)
{
    struct walk *w = arg;
    size_t at = w->path.len;
    if (w->depth > 0) { /* the root's own entry has the path "" */
        if (at > 0)
            vb_buf_add_char(&w->path, '/');
        vb_buf_add_str(&w->path, entry->name);
    }
    int result = w->fn(w->arg, vb_buf_str(&w->path), entry, err);
    if (result == 0 && entry->type == VB_TREE_DIR) {
        if (w->depth >= VB_TREE_MAX_DEPTH)
            return vb_fail(err, VB_E_LIMIT, "'%s': directories are nested too deeply", vb_buf_str(&w->path));
        VB_AUTO_FREE char *path = vb_strdup(vb_buf_str(&w->path));
        w->depth++;
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        result = vb_tree_read(w->repo, &entry->subtree, walk_entry, w, &why);
        w->depth--;
        /* told once, at the directory itself, and not again at each one above it */
        if (result < 0 && why.code != VB_OK && w->path.len == strlen(path))
            vb_context(&why, "directory '%s'", path);
        if (result < 0)
            vb_error_move(err, &why);
    } else if (result == VB_WALK_SKIP && entry->type == VB_TREE_DIR) {
        result = 0;
    }
    if (result == 0)
        w->path.len = at;
    return result;
}

int vb_tree_walk(struct vb_repo *r, const struct vb_name *root, vb_tree_walk_fn *fn, void *arg, struct vb_error *err)
{
    struct walk w = { .repo = r, .fn = fn, .arg = arg };
    int result = vb_tree_read(r, root, walk_entry, &w, err);
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
