/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/backend_sftp_list.c - listings over SFTP: many directories are read at once, for each takes three round trips.
 *
 * The whole listing is gathered before the first name is told, so that one that is cut off can be begun again.
 */
#include "config.h"
#include "store/backend_sftp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

#define AT_ONCE 32u
#define DEPTH 4u
#define LEFT_BEHIND_S 86400u

struct found {
    char *name;
    uint64_t size;
    uint32_t mtime;
};

struct node {
    char *dir; /* relative; "" for the root */
    unsigned depth;
};

/* A directory that is being read. */
struct reading {
    enum { IDLE, OPENING, READING, CLOSING } state;
    uint32_t id;
    struct node node;
    struct vb_buf handle;
};

struct walk {
    struct sftp_store *d;
    bool everything; /* also names that are none of a repository's, and no deeper than the first directory */
    struct node *todo;
    size_t n_todo, cap_todo;
    struct found *found;
    size_t n, cap;
    struct reading slots[AT_ONCE];
    struct reading *current;
    struct vb_error *err;
};

static void walk_reset(struct walk *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->found[i].name);
    for (size_t i = 0; i < w->n_todo; i++)
        free(w->todo[i].dir);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        free(w->slots[i].node.dir);
        vb_buf_clear(&w->slots[i].handle);
        w->slots[i] = (struct reading){ 0 };
    }
    w->n = w->n_todo = 0;
}

static void walk_clear(struct walk *w)
{
    walk_reset(w);
    free(w->found);
    free(w->todo);
}

static void push(struct walk *w, const char *dir, unsigned depth)
{
    VB_GROW(w->todo, w->n_todo, w->cap_todo);
    w->todo[w->n_todo++] = (struct node){ vb_strdup(dir), depth };
}

static bool on_name(void *arg, const unsigned char *p, size_t n, const struct vb_sftp_attrs *a)
{
    struct walk *w = arg;
    const struct node *at = &w->current->node;
    if (n == 0 || memchr(p, '/', n) || memchr(p, '\0', n))
        return false;
    VB_AUTO_FREE char *entry = vb_strndup((const char *)p, n);
    if (strcmp(entry, ".") == 0 || strcmp(entry, "..") == 0)
        return true;
    VB_AUTO_FREE char *name = *at->dir ? vb_printf("%s/%s", at->dir, entry) : vb_strdup(entry);
    if (!w->everything && (!vb_backend_name_valid(name) ||
                           (!*at->dir && (strcmp(name, "tmp") == 0 || strcmp(name, "lock") == 0))))
        return true;
    if (!a->has_mode || !a->has_size)
        return false;
    if (S_ISDIR(a->mode) && !w->everything) {
        if (at->depth < DEPTH)
            push(w, name, at->depth + 1);
        return true;
    }
    if (!S_ISREG(a->mode) && !w->everything)
        return true;
    VB_GROW(w->found, w->n, w->cap);
    w->found[w->n++] = (struct found){ VB_STEAL(name), a->size, a->has_time ? a->mtime : 0 };
    return true;
}

static void done(struct reading *r)
{
    free(r->node.dir);
    vb_buf_clear(&r->handle);
    *r = (struct reading){ 0 };
}

static int answer(struct walk *w, struct reading *r, const struct vb_sftp_reply *reply, struct vb_error *err)
{
    struct vb_sftp *s = w->d->s;
    struct vb_reader rest = reply->r;
    const unsigned char *p;
    size_t n;
    if (r->state == OPENING && reply->type == VB_SFTP_HANDLE) {
        if (!vb_sftp_get_string(&rest, &p, &n))
            return vb_fail(err, VB_E_PROTOCOL, "a handle that cannot be one");
        vb_buf_add(&r->handle, p, n);
    } else if (r->state == OPENING && vb_sftp_status(reply) == VB_SFTP_NO_SUCH_FILE) {
        done(r);
        return 0;
    } else if (r->state == READING && reply->type == VB_SFTP_NAME) {
        w->current = r;
        if (!vb_sftp_names(reply, on_name, w))
            return vb_fail(err, VB_E_PROTOCOL, "a listing that cannot be read, or without sizes");
    } else if (r->state == READING && vb_sftp_status(reply) == VB_SFTP_EOF) {
        r->state = CLOSING;
        r->id = vb_sftp_handle(s, VB_SFTP_CLOSE, &r->handle);
        return 0;
    } else if (r->state == CLOSING && reply->type == VB_SFTP_STATUS) {
        done(r);
        return 0;
    } else {
        if (vb_sftp_check(s, reply, "list", err) == 0)
            vb_fail(err, VB_E_PROTOCOL, "a listing without an end");
        vb_context(err, "'%s'", r->node.dir);
        return -1;
    }
    r->state = READING;
    r->id = vb_sftp_handle(s, VB_SFTP_READDIR, &r->handle);
    return 0;
}

static int walk_op(struct sftp_store *d, void *arg, struct vb_error *err)
{
    struct walk *w = arg;
    struct vb_sftp_reply reply;
    VB_AUTO_FREE char *from = vb_strdup(w->n_todo ? w->todo[0].dir : "");
    const unsigned depth = *from ? 1 : 0;
    walk_reset(w);
    push(w, from, depth);
    int result = 0;
    while (result == 0) {
        bool busy = false;
        for (unsigned i = 0; i < AT_ONCE; i++) {
            struct reading *r = &w->slots[i];
            if (r->state == IDLE && w->n_todo > 0) {
                r->node = w->todo[--w->n_todo];
                VB_AUTO_FREE char *path = vb_sftp_full(d, r->node.dir);
                r->state = OPENING;
                r->id = vb_sftp_path(d->s, VB_SFTP_OPENDIR, path);
            }
            busy = busy || r->state != IDLE;
        }
        if (!busy)
            break;
        result = vb_sftp_next(d->s, &reply, err);
        unsigned i = 0;
        while (result == 0 && i < AT_ONCE && (w->slots[i].state == IDLE || w->slots[i].id != reply.id))
            i++;
        if (result == 0)
            result = i < AT_ONCE ? answer(w, &w->slots[i], &reply, err)
                                 : vb_fail(err, VB_E_PROTOCOL, "an answer to nothing that was asked");
    }
    if (result < 0) {
        d->s->broken = true; /* with its open handles */
        walk_reset(w);
        push(w, from, depth);
    }
    return result;
}

int vb_sftp_list(struct vb_backend *b, const char *prefix, vb_backend_list_fn *fn, void *arg, struct vb_error *err)
{
    struct sftp_store *d = sftp_self(b);
    struct walk w = { .d = d };
    size_t n = strlen(prefix);
    VB_AUTO_FREE char *dir = vb_strndup(prefix, n ? n - 1 : 0);
    push(&w, dir, 0);
    int result = vb_sftp_try(d, walk_op, &w, err);
    if (result < 0)
        vb_context(err, "'%s%s%s'", b->location, *dir ? "/" : "", dir);
    if (result == 0 && w.n > 0)
        d->unsettled = true;
    for (size_t i = 0; i < w.n && result == 0; i++)
        result = fn(arg, w.found[i].name, w.found[i].size, err);
    walk_clear(&w);
    return result;
}

int vb_sftp_sweep(struct sftp_store *d, void *arg, struct vb_error *err)
{
    struct walk w = { .d = d, .everything = true };
    struct vb_sftp_reply reply;
    struct vb_sftp_attrs lock;
    (void)arg;
    /* The lock was written just now: its time is "now" by the server's own clock. */
    VB_AUTO_FREE char *path = vb_sftp_full(d, "lock");
    if (vb_sftp_answer(d->s, vb_sftp_path(d->s, VB_SFTP_LSTAT, path), &reply, err) < 0)
        return -1;
    if (reply.type != VB_SFTP_ATTRS || !vb_sftp_get_attrs(&reply.r, &lock) || !lock.has_time)
        return 0;
    push(&w, "tmp", 0);
    int result = walk_op(d, &w, err);
    for (size_t i = 0; i < w.n && result == 0; i++) {
        VB_AUTO_FREE char *old = vb_sftp_full(d, w.found[i].name);
        if (w.found[i].mtime < lock.mtime && lock.mtime - w.found[i].mtime > LEFT_BEHIND_S)
            result = vb_sftp_answer(d->s, vb_sftp_path(d->s, VB_SFTP_REMOVE, old), &reply, err);
    }
    walk_clear(&w);
    return result;
}

int vb_sftp_check_fresh(struct sftp_store *d, struct vb_error *err)
{
    struct walk w = { .d = d, .everything = true };
    push(&w, "", 0);
    int result = walk_op(d, &w, err);
    for (size_t i = 0; i < w.n && result == 0; i++)
        result = vb_backend_fresh_name(d->root, w.found[i].name, err);
    walk_clear(&w);
    return result;
}
