/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Backups as a tree of nodes; see mount_tree.h. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "requester/mount_internal.h"

/* ---- nodes ---- */

static struct vb_mount_node *add_kid(struct vb_mount_node *dir, const char *name)
{
    for (size_t i = 0; i < dir->n_kids; i++)
        if (strcmp(dir->kids[i]->name, name) == 0)
            return dir->kids[i];
    struct vb_mount_node *n = vb_alloc(sizeof *n);
    n->parent = dir;
    n->name = vb_strdup(name);
    n->stays = true;
    n->type = VB_TREE_DIR;
    n->mode = 0555;
    n->mtime_sec = dir->mtime_sec;
    VB_GROW(dir->kids, dir->n_kids, dir->cap_kids);
    return dir->kids[dir->n_kids++] = n;
}

static void clear_what(struct vb_mount_node *n)
{
    free(n->target);
    vb_content_clear(&n->content);
    free(n->holes);
    for (size_t i = 0; i < n->n_xattrs; i++) {
        free((char *)(uintptr_t)n->xattrs[i].name);
        free((void *)(uintptr_t)n->xattrs[i].value);
    }
    free(n->xattrs);
    n->target = NULL;
    n->holes = NULL;
    n->xattrs = NULL;
    n->n_holes = n->n_xattrs = 0;
}

static void free_node(struct vb_mount_node *n)
{
    for (size_t i = 0; i < n->n_kids; i++)
        free_node(n->kids[i]); /* the upper part: not deeper than paths in the catalog */
    clear_what(n);
    free(n->subtrees);
    free(n->roots);
    free(n->kids);
    free(n->name);
    free(n);
}

static void add_subtree(struct vb_mount_node *n, const struct vb_name *subtree)
{
    for (size_t i = 0; i < n->n_subtrees; i++)
        if (vb_name_equal(&n->subtrees[i], subtree))
            return;
    VB_GROW(n->subtrees, n->n_subtrees, n->cap_subtrees);
    n->subtrees[n->n_subtrees++] = *subtree;
}

static void fill(struct vb_mount_node *n, const struct vb_tree_entry *e)
{
    clear_what(n);
    n->type = e->type;
    n->mode = e->mode;
    n->uid = e->uid;
    n->gid = e->gid;
    n->size = e->size;
    n->inode = e->inode;
    n->mtime_sec = e->mtime_sec;
    n->mtime_nsec = e->mtime_nsec;
    n->rdev_major = e->rdev_major;
    n->rdev_minor = e->rdev_minor;
    n->target = vb_strdup(e->target);
    if (e->type == VB_TREE_DIR)
        add_subtree(n, &e->subtree);
    vb_content_copy(&n->content, &e->content);
    n->n_holes = e->n_holes;
    n->holes = e->n_holes ? vb_memdup(e->holes, e->n_holes * sizeof *e->holes) : NULL;
    n->n_xattrs = e->n_xattrs;
    n->xattrs = e->n_xattrs ? vb_alloc_n(e->n_xattrs, sizeof *n->xattrs) : NULL;
    for (size_t i = 0; i < e->n_xattrs; i++) {
        n->xattrs[i].name = vb_strdup(e->xattrs[i].name);
        n->xattrs[i].value = vb_memdup(e->xattrs[i].value ? e->xattrs[i].value : "", e->xattrs[i].len);
        n->xattrs[i].len = e->xattrs[i].len;
    }
}

/* ---- the upper part ---- */

static void graft(struct vb_mount_node *at, const struct vb_catalog_root *root)
{
    VB_AUTO_FREE char *path = vb_path_clean(root->path);
    for (char *p = path; *p;) {
        while (*p == '/')
            p++;
        size_t n = strcspn(p, "/");
        VB_AUTO_FREE char *name = vb_strndup(p, n);
        if (n > 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            at = add_kid(at, name);
        p += n;
    }
    for (size_t i = 0; i < at->n_roots; i++)
        if (vb_name_equal(&at->roots[i], &root->tree))
            return;
    VB_GROW(at->roots, at->n_roots, at->cap_roots);
    at->roots[at->n_roots++] = root->tree;
}

/* A name for a directory out of any text. */
static char *as_name(const char *text)
{
    char *s = vb_strdup(text && *text ? text : "_");
    for (char *p = s; *p; p++)
        if (*p == '/')
            *p = '_';
    if (strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        *s = '_';
    return s;
}

static struct vb_mount_node *dated(struct vb_mount_node *dir, const char *when, const struct vb_catalog_entry *e)
{
    struct vb_mount_node *n = add_kid(dir, when);
    n->mtime_sec = (int64_t)(e->started_ms / 1000);
    return n;
}

static void point_at_latest(struct vb_mount_node *dir, const char *when)
{
    struct vb_mount_node *n = add_kid(dir, "latest");
    clear_what(n);
    n->type = VB_TREE_SYMLINK;
    n->mode = 0777;
    n->target = vb_strdup(when);
    n->size = strlen(when);
}

static void add_component(struct vb_mount_tree *t, const struct vb_catalog_host *h, const struct vb_catalog_component *c,
                          const char *host, const char *when, const struct vb_catalog_entry *e)
{
    VB_AUTO_FREE char *full = c->logical_path && *c->logical_path ? vb_printf("%s\\%s", c->logical_path, c->name)
                                                                  : vb_strdup(c->name);
    VB_AUTO_FREE char *writer = as_name(c->instance_name && *c->instance_name ? c->instance_name : c->writer_name),
                      *component = as_name(full);
    struct vb_mount_node *by_time = add_kid(dated(add_kid(&t->root, "by-time"), when, e), host),
                         *by_host = dated(add_kid(add_kid(&t->root, "by-host"), host), when, e), *by_component = NULL;
    (void)h;
    for (size_t i = 0; i < c->n_roots; i++) {
        if (!c->roots[i].has_tree)
            continue;
        if (!by_component)
            by_component = dated(add_kid(add_kid(add_kid(add_kid(&t->root, "by-component"), host), writer), component), when, e);
        graft(by_time, &c->roots[i]);
        graft(by_host, &c->roots[i]);
        graft(by_component, &c->roots[i]);
    }
}

struct adding {
    struct vb_mount_tree *tree;
    const char *host;
    size_t damaged;
};

static int add_backup(void *arg, const char *path, struct vb_catalog_entry **entry, const struct vb_error *damage)
{
    struct adding *a = arg;
    const struct vb_catalog_entry *e = *entry;
    if (!e) {
        a->damaged++;
        vb_log(VB_LOG_WARNING, "%s: %s", path, vb_error_text(damage));
        return 0;
    }
    if (e->state == VB_CATALOG_FAILED)
        return 0;
    VB_AUTO_FREE char *iso = vb_time_iso(e->started_ms), *when = vb_printf("%s-%.8s", iso, e->id);
    bool any = false;
    for (size_t h = 0; h < e->n_hosts; h++) {
        if (a->host && strcmp(a->host, e->hosts[h].name) != 0)
            continue;
        VB_AUTO_FREE char *host = as_name(e->hosts[h].name);
        for (size_t c = 0; c < e->hosts[h].n_components; c++)
            add_component(a->tree, &e->hosts[h], &e->hosts[h].components[c], host, when, e);
        if (e->hosts[h].n_components > 0)
            point_at_latest(add_kid(add_kid(&a->tree->root, "by-host"), host), when);
        any = true;
    }
    a->tree->backups += any;
    return 0;
}

struct vb_mount_tree *vb_mount_tree_new(struct vb_repo *r, const char *host, size_t *damaged, struct vb_error *err)
{
    struct vb_mount_tree *t = vb_alloc(sizeof *t);
    struct adding a = { t, host, 0 };
    t->repo = r;
    t->root.stays = true;
    t->root.type = VB_TREE_DIR;
    t->root.mode = 0555;
    t->root.name = vb_strdup("");
    add_kid(&t->root, "by-time");
    add_kid(&t->root, "by-host");
    add_kid(&t->root, "by-component");
    if (vb_repo_list(r, add_backup, &a, err) < 0) {
        vb_mount_tree_free(t);
        return NULL;
    }
    *damaged = a.damaged;
    return t;
}

void vb_mount_tree_free(struct vb_mount_tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < VB_MOUNT_BUCKETS; i++)
        while (t->table[i]) {
            struct vb_mount_node *n = t->table[i];
            t->table[i] = n->next;
            free_node(n);
        }
    for (size_t i = 0; i < t->root.n_kids; i++)
        free_node(t->root.kids[i]);
    free(t->root.kids);
    free(t->root.name);
    for (size_t i = 0; i < VB_MOUNT_TREES; i++)
        vb_tree_clear(&t->trees[i].t);
    for (size_t i = 0; i < VB_MOUNT_PIECES; i++)
        vb_buf_clear(&t->pieces[i].bytes);
    free(t);
}

struct vb_mount_node *vb_mount_tree_root(struct vb_mount_tree *t)
{
    return &t->root;
}

size_t vb_mount_tree_backups(const struct vb_mount_tree *t)
{
    return t->backups;
}

/* ---- directories ---- */

/* Decoded directories that were looked at lately. */
static struct vb_tree *get_tree(struct vb_mount_tree *t, const struct vb_name *name, struct vb_error *err)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    struct vb_mount_tree_chunk *oldest = &t->trees[0];
    for (size_t i = 0; i < VB_MOUNT_TREES; i++) {
        if (t->trees[i].used && vb_name_equal(&t->trees[i].name, name)) {
            t->trees[i].used = ++t->clock;
            return &t->trees[i].t;
        }
        if (t->trees[i].used < oldest->used)
            oldest = &t->trees[i];
    }
    vb_tree_clear(&oldest->t);
    oldest->used = 0;
    if (vb_repo_get(t->repo, VB_CHUNK_TREE, name, &plain, err) < 0 ||
        vb_tree_decode(plain.data, plain.len, &oldest->t, err) < 0)
        return NULL;
    oldest->name = *name;
    oldest->used = ++t->clock;
    return &oldest->t;
}

/* One chunk per level of a large directory. */
static const struct vb_tree_entry *find_entry(struct vb_mount_tree *t, const struct vb_name *directory, const char *name,
                                              struct vb_error *err)
{
    struct vb_name at = *directory;
    for (unsigned level = 0; level <= VB_TREE_MAX_HEIGHT; level++) {
        const struct vb_tree *d = get_tree(t, &at, err);
        if (!d)
            return NULL;
        size_t lo = 0, hi = d->n;
        if (d->height > 0) {
            while (lo + 1 < hi) {
                size_t mid = lo + (hi - lo) / 2;
                *(strcmp(d->children[mid].first, name) <= 0 ? &lo : &hi) = mid;
            }
            if (d->n == 0)
                break;
            at = d->children[lo].name;
            continue;
        }
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            int c = strcmp(d->entries[mid].name, name);
            if (c == 0)
                return &d->entries[mid];
            if (c < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        break;
    }
    vb_fail(err, VB_E_OBJECT_NOT_FOUND, "not there");
    return NULL;
}

/* The first that has the name says what it is; a directory is the sum of all that have it. */
static int look_below(struct vb_mount_tree *t, const struct vb_mount_node *dir, const char *name, struct vb_mount_node *n,
                      bool *found, struct vb_error *err)
{
    for (size_t i = 0; i < dir->n_subtrees; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        const struct vb_tree_entry *e = find_entry(t, &dir->subtrees[i], name, &why);
        if (!e && why.code != VB_E_OBJECT_NOT_FOUND)
            return vb_error_move(err, &why);
        if (!e || (n->n_kids > 0 && e->type != VB_TREE_DIR))
            continue;
        if (!*found)
            fill(n, e);
        else if (e->type == VB_TREE_DIR && n->type == VB_TREE_DIR)
            add_subtree(n, &e->subtree);
        *found = true;
    }
    return 0;
}

int vb_mount_resolve(struct vb_mount_tree *t, struct vb_mount_node *n, struct vb_error *err)
{
    bool found = false;
    if (!n->stays || n->resolved || !n->parent || n->type != VB_TREE_DIR)
        return 0;
    for (size_t i = 0; i < n->n_roots; i++) {
        const struct vb_tree *root = get_tree(t, &n->roots[i], err);
        if (!root)
            return -1;
        if (root->height != 0 || root->n != 1)
            return vb_fail(err, VB_E_CORRUPT, "root must have exactly one entry");
        if (!found)
            fill(n, &root->entries[0]);
        else if (root->entries[0].type == VB_TREE_DIR && n->type == VB_TREE_DIR)
            add_subtree(n, &root->entries[0].subtree);
        found = true;
    }
    /* Other file sets begin above, and have it, too. */
    if (vb_mount_resolve(t, n->parent, err) < 0 || look_below(t, n->parent, n->name, n, &found, err) < 0)
        return -1;
    n->resolved = true;
    return 0;
}

static size_t bucket(const struct vb_mount_node *dir, const char *name)
{
    uint64_t h = (uint64_t)(uintptr_t)dir * 0x9e3779b97f4a7c15u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return (size_t)(h >> 24) % VB_MOUNT_BUCKETS;
}

struct vb_mount_node *vb_mount_lookup(struct vb_mount_tree *t, struct vb_mount_node *dir, const char *name,
                                      struct vb_error *err)
{
    for (size_t i = 0; i < dir->n_kids; i++)
        if (strcmp(dir->kids[i]->name, name) == 0) {
            dir->kids[i]->held++;
            return dir->kids[i];
        }
    size_t b = bucket(dir, name);
    for (struct vb_mount_node *n = t->table[b]; n; n = n->next)
        if (n->parent == dir && strcmp(n->name, name) == 0) {
            n->held++;
            return n;
        }
    if (vb_mount_resolve(t, dir, err) < 0)
        return NULL;
    bool found = false;
    struct vb_mount_node *n = vb_alloc(sizeof *n);
    int rc = look_below(t, dir, name, n, &found, err);
    if (rc < 0 || !found) {
        if (rc == 0)
            vb_fail(err, VB_E_OBJECT_NOT_FOUND, "not there");
        free_node(n);
        return NULL;
    }
    n->name = vb_strdup(name);
    n->parent = dir;
    dir->held++;
    n->held = 1;
    n->next = t->table[b];
    t->table[b] = n;
    return n;
}

void vb_mount_drop(struct vb_mount_tree *t, struct vb_mount_node *n, uint64_t times)
{
    while (n && times > 0) {
        n->held -= n->held < times ? n->held : times;
        if (n->held > 0 || n->stays)
            return;
        struct vb_mount_node *parent = n->parent, **p = &t->table[bucket(parent, n->name)];
        while (*p && *p != n)
            p = &(*p)->next;
        if (*p)
            *p = n->next;
        free_node(n);
        n = parent;
        times = 1;
    }
}

struct lister {
    struct vb_mount_tree *tree;
    const struct vb_mount_node *dir;
    size_t which; /* of its subtrees */
    vb_mount_list_fn *fn;
    void *arg;
};

static int list_one(void *arg, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct lister *l = arg;
    for (size_t i = 0; i < l->dir->n_kids; i++)
        if (strcmp(l->dir->kids[i]->name, e->name) == 0)
            return 0;
    for (size_t i = 0; i < l->which; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (find_entry(l->tree, &l->dir->subtrees[i], e->name, &why))
            return 0; /* told already */
        if (why.code != VB_E_OBJECT_NOT_FOUND)
            return vb_error_move(err, &why);
    }
    return l->fn(l->arg, e->name, e->type);
}

int vb_mount_list(struct vb_mount_tree *t, struct vb_mount_node *dir, vb_mount_list_fn *fn, void *arg, struct vb_error *err)
{
    struct lister l = { t, dir, 0, fn, arg };
    int rc = vb_mount_resolve(t, dir, err);
    for (size_t i = 0; i < dir->n_kids && rc == 0; i++)
        rc = fn(arg, dir->kids[i]->name, dir->kids[i]->type);
    for (; l.which < dir->n_subtrees && rc == 0; l.which++)
        rc = vb_tree_read(t->repo, &dir->subtrees[l.which], list_one, &l, err);
    return rc;
}
