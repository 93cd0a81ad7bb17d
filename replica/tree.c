/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/tree.c - the new tree of a pass with tree integrity: what comes into it, what goes. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/io.h"
#include "base/mem.h"
#include "replica/item_file.h"
#include "replica/tree.h"

void (*vb_tree_step)(void);

void vb_tree_at_step(void)
{
    if (vb_tree_step)
        vb_tree_step();
}

/* ---- a set of paths ---- */

struct key {
    uint64_t a, b; /* b is never 0 */
};

static struct key key_of(const char *path)
{
    unsigned char h[VB_HASH_LEN];
    struct key k;
    vb_hash(path, strlen(path), h);
    memcpy(&k, h, sizeof k);
    k.b |= 1;
    return k;
}

/* Where the key is, or could be. */
static uint64_t *slot_of(const struct vb_path_set *s, struct key k)
{
    size_t i = (size_t)k.a & (s->cap - 1);
    while (s->slots[2 * i + 1] && (s->slots[2 * i] != k.a || s->slots[2 * i + 1] != k.b))
        i = (i + 1) & (s->cap - 1);
    return s->slots + 2 * i;
}

void vb_path_set_add(struct vb_path_set *s, const char *path)
{
    const struct key k = key_of(path);
    if (s->n * 4 >= s->cap * 3) {
        struct vb_path_set more = { .n = s->n, .cap = s->cap ? s->cap * 2 : 64 };
        more.slots = vb_alloc_n(more.cap, 2 * sizeof *more.slots);
        for (size_t i = 0; i < s->cap; i++)
            if (s->slots[2 * i + 1])
                memcpy(slot_of(&more, (struct key){ s->slots[2 * i], s->slots[2 * i + 1] }), s->slots + 2 * i, 2 * sizeof *s->slots);
        free(s->slots);
        *s = more;
    }
    uint64_t *at = slot_of(s, k);
    s->n += !at[1];
    at[0] = k.a;
    at[1] = k.b;
}

bool vb_path_set_has(const struct vb_path_set *s, const char *path)
{
    return s->n && slot_of(s, key_of(path))[1] != 0;
}

/* ---- directories ---- */

bool vb_live_is_dir(struct vb_place *p, const char *path)
{
    const char *name;
    struct stat st;
    VB_AUTO_FD int dir = vb_beneath_parent(p->root, path, &name);
    return dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static char *above(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? vb_strndup(path, (size_t)(slash - path)) : vb_strdup("");
}

int vb_tree_parent(struct vb_tree *t, const char *path, const char **name, struct vb_error *err)
{
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(at - path));
        const char *leaf;
        VB_AUTO_FD int up = vb_beneath_parent(t->fd, dir, &leaf);
        if (up < 0 || (mkdirat(up, leaf, vb_live_is_dir(t->p, dir) ? 0700 : 0755) < 0 && errno != EEXIST))
            return vb_fail_errno(err, errno, "directory '%s' cannot be made anew", dir);
    }
    int fd = vb_beneath_parent(t->fd, path, name);
    return fd >= 0 ? fd : vb_fail_errno(err, errno, "'%s': its directory cannot be opened anew", path);
}

static int root_can_swap(struct vb_place *p, struct vb_error *err)
{
    VB_AUTO_FREE char *up = above(p->scope.root);
    struct statx a, b;
    const char *why = NULL;
    unsigned want = STATX_BASIC_STATS | 0x1000u; /* STATX_MNT_ID */
    if (statx(AT_FDCWD, *up ? up : "/", 0, want, &a) < 0 || statx(AT_FDCWD, p->scope.root, 0, want, &b) < 0)
        return vb_fail_errno(err, errno, "'%s'", p->scope.root);
    if (!p->scope.root[1] || a.stx_dev_major != b.stx_dev_major || a.stx_dev_minor != b.stx_dev_minor ||
        ((a.stx_mask & b.stx_mask & 0x1000u) && a.stx_mnt_id != b.stx_mnt_id))
        why = "it is a mount point";
    else if (faccessat(AT_FDCWD, *up ? up : "/", W_OK | X_OK, AT_EACCESS) < 0)
        why = "the directory that holds it may not be written";
    if (!why)
        return 0;
    vb_fail(err, VB_E_NOT_SUPPORTED, "scope '%s': with tree integrity '%s' would be exchanged as a whole, but %s", p->scope.name, p->scope.root,
            why);
    vb_hint(err, "use a directory below it as the scope, or let it come file by file: scope set --integrity file, at the source");
    return -1;
}

/* The top becomes what holds `dir` as well. */
static int widen(struct vb_tree *t, const char *dir, struct vb_error *err)
{
    VB_AUTO_FREE char *at = vb_strdup(dir);
    bool was_root = t->top && !*t->top;
    while (*at && !vb_live_is_dir(t->p, at)) {
        char *up = above(at);
        free(at);
        at = up;
    }
    if (!t->top) {
        t->top = VB_STEAL(at);
    } else {
        size_t n = 0, last = 0;
        for (; t->top[n] && t->top[n] == at[n]; n++)
            if (t->top[n] == '/')
                last = n;
        if ((!t->top[n] || t->top[n] == '/') && (!at[n] || at[n] == '/'))
            last = n;
        t->top[last] = 0;
    }
    return !*t->top && !was_root && !t->holds ? root_can_swap(t->p, err) : 0;
}

static int widen_for(struct vb_tree *t, const struct vb_apply_op *op, struct vb_error *err)
{
    const char *path = op->row.item.path;
    VB_AUTO_FREE char *dir = op->kind == VB_APPLY_DIR && vb_live_is_dir(t->p, path) ? vb_strdup(path) : above(path);
    return widen(t, dir, err);
}

/* Everything in a live directory is going, too. */
static bool all_gone(struct vb_tree *t, const char *path)
{
    int fd = vb_beneath_open(t->p->root, path, O_RDONLY | O_DIRECTORY, 0, 0);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_close_fd(&fd);
        return errno == ENOENT || errno == ENOTDIR;
    }
    for (const struct dirent *e; (e = readdir(d));) {
        VB_AUTO_FREE char *at = vb_printf("%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !vb_path_set_has(&t->gone, at))
            return false;
    }
    return true;
}

/* ---- one change ---- */

static int unstable(struct vb_error *err, const char *path)
{
    return vb_fail(err, VB_E_UNSTABLE, "'%s' was changed by somebody else just now; it comes with the next pass", path);
}

/* The loser's file keeps its inode under the name of the copy. */
static int keep_copy(struct vb_tree *t, const struct vb_apply_op *op, struct vb_error *err)
{
    const char *from, *as;
    struct stat st;
    bool copied;
    if (!op->copy_to)
        return 0;
    VB_AUTO_FD int live = vb_beneath_parent(t->p->root, op->row.item.path, &from);
    VB_AUTO_FD int dir = vb_tree_parent(t, op->copy_to, &as, err);
    if (dir < 0)
        return -1;
    if (live < 0 || fstatat(live, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return unstable(err, op->row.item.path);
    if (vb_tree_link(live, from, dir, as, &st, &copied) < 0 && errno != EEXIST)
        return vb_fail_errno(err, errno, "'%s' cannot be kept as '%s'", op->row.item.path, op->copy_to);
    return 0;
}

static int put(struct vb_tree *t, struct vb_apply_op *op, struct vb_error *err)
{
    const char *path = op->row.item.path, *name;
    VB_AUTO_FD int dir = vb_tree_parent(t, path, &name, err);
    if (dir < 0)
        return -1;
    return renameat2(t->p->stage, op->staged, dir, name, RENAME_NOREPLACE) == 0
               ? keep_copy(t, op, err)
               : vb_fail_errno(err, errno, "'%s' cannot be put into the new tree", path);
}

static int make_dir(struct vb_tree *t, struct vb_apply_op *op, struct vb_error *err)
{
    const char *path = op->row.item.path, *name;
    VB_AUTO_FD int dir = vb_tree_parent(t, path, &name, err);
    if (dir < 0)
        return -1;
    if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
        return vb_fail_errno(err, errno, "directory '%s' cannot be made anew", path);
    return vb_live_is_dir(t->p, path) ? 0 : keep_copy(t, op, err);
}

/* The live inode is not touched: what it gets, a copy gets. */
static int set_meta(struct vb_tree *t, struct vb_apply_op *op, struct vb_error *err)
{
    const char *path = op->row.item.path, *from, *name;
    struct stat st;
    VB_AUTO_FD int live = vb_beneath_parent(t->p->root, path, &from);
    VB_AUTO_FD int dir = vb_tree_parent(t, path, &name, err);
    if (dir < 0)
        return -1;
    if (live < 0 || fstatat(live, from, &st, AT_SYMLINK_NOFOLLOW) < 0 || vb_file_identity(&st) != op->expect)
        return unstable(err, path);
    if (vb_tree_copy(live, from, dir, name, &st) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be copied for its new attributes", path);
    VB_AUTO_FD int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be opened anew", path);
    return vb_file_set(t->p, fd, true, &op->row.item, op->row.attrs.data, op->row.attrs.len, err);
}

static int place(struct vb_tree *t, struct vb_apply_op *op, struct vb_error *err)
{
    vb_tree_at_step();
    if (vb_path_identity(t->p, op->row.item.path) != op->expect)
        return unstable(err, op->row.item.path);
    switch (op->kind) {
    case VB_APPLY_PUT:
        return put(t, op, err);
    case VB_APPLY_DIR:
        return make_dir(t, op, err);
    case VB_APPLY_META:
        return set_meta(t, op, err);
    case VB_APPLY_TRASH:
    case VB_APPLY_RMDIR:
    case VB_APPLY_ROW:
        break;
    }
    return 0;
}

static int place_held(struct vb_tree *t, struct vb_error *err)
{
    if (!t->holds)
        return 0;
    t->holds = false;
    int result = !*t->top ? root_can_swap(t->p, err) : 0;
    if (result == 0)
        result = place(t, &t->held, err);
    vb_apply_op_clear(&t->held);
    return result;
}

int vb_tree_take(struct vb_tree *t, struct vb_apply_op *op, struct vb_error *err)
{
    const char *path = op->row.item.path;
    bool goes = op->kind == VB_APPLY_RMDIR || op->kind == VB_APPLY_TRASH;
    int result = 0;
    if (op->kind != VB_APPLY_DIR && op->kind != VB_APPLY_TRASH && vb_live_is_dir(t->p, path) && !all_gone(t, path))
        return vb_fail(err, VB_E_CONFLICT, "directory '%s' is not empty here", path);
    if (goes && !op->expect) /* gone already */
        goes = false;
    bool only = !t->ops++;
    t->holds = t->holds || only;
    if (!only)
        result = place_held(t, err);
    if (result == 0)
        result = widen_for(t, op, err);
    if (goes && result == 0)
        vb_path_set_add(&t->gone, path);
    if (only) {
        t->held = *op;
        *op = (struct vb_apply_op){ .kind = VB_APPLY_ROW };
        return result;
    }
    if (result == 0)
        result = place(t, op, err);
    vb_apply_op_clear(op);
    return result;
}

int vb_tree_add(struct vb_tree *t, const char *staged, const char *path, struct vb_error *err)
{
    const char *name;
    VB_AUTO_FREE char *dir_path = above(path);
    t->ops++;
    if (place_held(t, err) < 0 || widen(t, dir_path, err) < 0)
        return -1;
    VB_AUTO_FD int dir = vb_tree_parent(t, path, &name, err);
    if (dir < 0)
        return -1;
    if (vb_path_identity(t->p, path)) { /* resolved elsewhere in the same way */
        unlinkat(t->p->stage, staged, 0);
        return 0;
    }
    if (renameat2(t->p->stage, staged, dir, name, RENAME_NOREPLACE) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be put into the new tree", path);
    vb_strv_add(&t->seen, path);
    return 0;
}

int vb_tree_drop(struct vb_tree *t, const char *path, bool tombstone, struct vb_error *err)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    VB_AUTO_FREE char *dir = above(path);
    uint64_t is = vb_path_identity(t->p, path);
    if (vb_live_is_dir(t->p, path) && !all_gone(t, path))
        return 1;
    t->ops++;
    if (place_held(t, err) < 0 || widen(t, dir, err) < 0)
        return -1;
    vb_path_set_add(&t->gone, path);
    vb_msg_add_u64(&g, VB_RF_KIND, tombstone ? VB_TREE_BURY : VB_TREE_FORGET);
    vb_msg_add_u64(&g, VB_RF_OFFSET, is);
    const struct vb_intent in = { .path = path, .staged = "", .what = g.body.data, .what_len = g.body.len };
    if (vb_replica_begin(t->p->store, err) < 0)
        return -1;
    if (vb_replica_intend(t->p->store, t->p->scope.id, &in, err) < 0) {
        vb_replica_rollback(t->p->store);
        return -1;
    }
    return vb_replica_commit(t->p->store, err);
}

/* ---- begun and ended ---- */

struct vb_tree *vb_tree_begin(struct vb_place *p, struct vb_error *err)
{
    struct vb_tree *t = vb_alloc(sizeof *t);
    *t = (struct vb_tree){ .p = p, .fd = -1, .held = { .kind = VB_APPLY_ROW } };
    if (mkdirat(p->stage, VB_TREE_NEW, 0700) == 0)
        t->fd = openat(p->stage, VB_TREE_NEW, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (t->fd >= 0)
        return t;
    vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/" VB_TREE_NEW "' cannot be made");
    free(t);
    return NULL;
}

void vb_tree_free(struct vb_tree *t)
{
    if (!t)
        return;
    vb_apply_op_clear(&t->held);
    vb_close_fd(&t->fd);
    (void)vb_tree_recover(t->p, NULL); /* the next opening tries again */
    vb_free_ptr(&t->top);
    free(t->gone.slots);
    vb_strv_clear(&t->stale);
    vb_strv_clear(&t->seen);
    free(t);
}
