/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/changes.c - a set of directories, each unknown, dirty or led through.
 */
#include "config.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tracking/changes.h"

struct slot {
    char *path;
    uint64_t hash;
    enum vb_change what;
};

struct vb_changes {
    pthread_mutex_t lock;
    struct slot *slots;
    size_t n, cap, dirty;
    uint64_t *moved; /* a hash table; 0 is no inode */
    size_t n_moved, cap_moved;
};

struct vb_changes *vb_changes_new(void)
{
    struct vb_changes *c = vb_alloc(sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void vb_changes_free(struct vb_changes *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->cap; i++)
        free(c->slots[i].path);
    pthread_mutex_destroy(&c->lock);
    free(c->slots);
    free(c->moved);
    free(c);
}

static uint64_t hash_of(const char *p, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h ^ h >> 32;
}

static size_t find(const struct vb_changes *c, const char *path, size_t n, uint64_t hash)
{
    size_t at = (size_t)hash & (c->cap - 1);
    while (c->slots[at].path &&
           (c->slots[at].hash != hash || strncmp(c->slots[at].path, path, n) != 0 || c->slots[at].path[n]))
        at = (at + 1) & (c->cap - 1);
    return at;
}

static void grow(struct vb_changes *c)
{
    struct slot *old = c->slots;
    size_t n_old = c->cap;
    c->cap = n_old ? n_old * 2 : 64;
    c->slots = vb_alloc_n(c->cap, sizeof *c->slots);
    for (size_t i = 0; i < n_old; i++) {
        if (!old[i].path)
            continue;
        size_t at = (size_t)old[i].hash & (c->cap - 1);
        while (c->slots[at].path)
            at = (at + 1) & (c->cap - 1);
        c->slots[at] = old[i];
    }
    free(old);
}

/* False when it was marked so, or worse, before. */
static bool raise_to(struct vb_changes *c, const char *path, size_t n, enum vb_change what)
{
    uint64_t hash = hash_of(path, n);
    if ((c->n + 1) * 4 > c->cap * 3)
        grow(c);
    struct slot *s = &c->slots[find(c, path, n, hash)];
    if (s->path && s->what >= what)
        return false;
    if (!s->path) {
        *s = (struct slot){ vb_strndup(path, n), hash, VB_CHANGE_CLEAN };
        c->n++;
    }
    if (what >= VB_CHANGE_DIRTY && s->what < VB_CHANGE_DIRTY)
        c->dirty++;
    s->what = what;
    return true;
}

static size_t parent_len(const char *path, size_t n)
{
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n ? n - 1 : 0;
}

size_t vb_changes_parent_len(const char *path)
{
    return parent_len(path, strlen(path));
}

static void mark(struct vb_changes *c, const char *path, enum vb_change what)
{
    size_t n = strlen(path);
    pthread_mutex_lock(&c->lock);
    bool more = raise_to(c, path, n, what);
    while (more && n > 0) {
        n = parent_len(path, n);
        more = raise_to(c, path, n, VB_CHANGE_THROUGH);
    }
    pthread_mutex_unlock(&c->lock);
}

static size_t place_of(const uint64_t *table, size_t cap, uint64_t ino)
{
    size_t at = (size_t)(ino * 11400714819323198485u >> 20) & (cap - 1);
    while (table[at] && table[at] != ino)
        at = (at + 1) & (cap - 1);
    return at;
}

void vb_changes_mark_moved(struct vb_changes *c, uint64_t ino)
{
    if (!ino)
        return;
    pthread_mutex_lock(&c->lock);
    if ((c->n_moved + 1) * 2 > c->cap_moved) {
        size_t cap = c->cap_moved ? c->cap_moved * 2 : 64;
        uint64_t *table = vb_alloc_n(cap, sizeof *table);
        for (size_t i = 0; i < c->cap_moved; i++)
            if (c->moved[i])
                table[place_of(table, cap, c->moved[i])] = c->moved[i];
        free(c->moved);
        c->moved = table;
        c->cap_moved = cap;
    }
    uint64_t *to = &c->moved[place_of(c->moved, c->cap_moved, ino)];
    c->n_moved += *to == 0;
    *to = ino;
    pthread_mutex_unlock(&c->lock);
}

bool vb_changes_moved(const struct vb_changes *c, uint64_t ino)
{
    return c->cap_moved && ino && c->moved[place_of(c->moved, c->cap_moved, ino)] == ino;
}

void vb_changes_mark(struct vb_changes *c, const char *path)
{
    mark(c, path, VB_CHANGE_DIRTY);
}

void vb_changes_mark_unknown(struct vb_changes *c, const char *path)
{
    mark(c, path, VB_CHANGE_UNKNOWN);
}

enum vb_change vb_changes_of(const struct vb_changes *c, const char *path)
{
    size_t n = strlen(path);
    if (!c->cap)
        return VB_CHANGE_CLEAN;
    const struct slot *s = &c->slots[find(c, path, n, hash_of(path, n))];
    return s->path ? s->what : VB_CHANGE_CLEAN;
}

size_t vb_changes_count(const struct vb_changes *c)
{
    return c->dirty;
}

void vb_changes_each(const struct vb_changes *c, void (*fn)(void *arg, const char *path, enum vb_change what), void *arg)
{
    for (size_t i = 0; i < c->cap; i++)
        if (c->slots[i].path)
            fn(arg, c->slots[i].path, c->slots[i].what);
}
