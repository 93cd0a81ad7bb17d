/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/tree_swap.c - the exchange of the new tree with the live one, and what comes after it, also after a kill. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/io.h"
#include "base/mem.h"
#include "replica/item_file.h"
#include "replica/scan.h"
#include "replica/tree.h"
#include "tracking/reconcile.h"

/* One exchange: what the intent "." says, and where that is. */
struct swap {
    struct vb_place *p;
    char *top;             /* "" the root */
    uint64_t ino;          /* of the new directory */
    char *name, *old_name; /* in `at`: the new one before; the old one after, by exchange or by a pair of renames */
    int at, live;          /* directories that hold name and leaf */
    char *leaf;            /* the live one */
    bool found;
    const struct vb_strv *stale; /* NULL: not known any more */
};

static void swap_clear(struct swap *s)
{
    vb_free_ptr(&s->top);
    vb_free_ptr(&s->name);
    vb_free_ptr(&s->old_name);
    vb_free_ptr(&s->leaf);
    vb_close_fd(&s->at);
    vb_close_fd(&s->live);
}
#define AUTO_SWAP VB_CLEANUP(swap_clear) struct swap
#define SWAP_INIT(place) { .p = (place), .at = -1, .live = -1 }

static int find_swap(void *arg, const struct vb_intent *i)
{
    struct swap *s = arg;
    struct vb_msg g = vb_msg_view(i->what, i->what_len);
    if (strcmp(i->path, ".") != 0)
        return 0;
    s->top = vb_msg_str(&g, VB_RF_PATH);
    s->ino = vb_msg_u64(&g, VB_RF_INDEX, 0);
    s->name = vb_strdup(i->staged);
    s->found = s->top && s->ino && *s->name;
    return 1;
}

/* Opens the directories on both sides. */
static int locate(struct swap *s, struct vb_error *err)
{
    const char *leaf;
    if (*s->top) {
        s->live = vb_beneath_parent(s->p->root, s->top, &leaf);
        s->at = fcntl(s->p->stage, F_DUPFD_CLOEXEC, 0);
    } else {
        const char *root = s->p->scope.root, *slash = strrchr(root, '/');
        VB_AUTO_FREE char *up = slash > root ? vb_strndup(root, (size_t)(slash - root)) : vb_strdup("/");
        leaf = slash + 1;
        s->live = open(up, O_PATH | O_DIRECTORY | O_CLOEXEC);
        s->at = s->live < 0 ? -1 : fcntl(s->live, F_DUPFD_CLOEXEC, 0);
    }
    s->leaf = vb_strdup(leaf);
    s->old_name = vb_printf("%s-old", s->name);
    return s->live >= 0 && s->at >= 0 ? 0 : vb_fail_errno(err, errno, "'%s/%s'", s->p->scope.root, s->top);
}

static uint64_t ino_at(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) ? (uint64_t)st.st_ino : 0;
}

/* ---- afterwards ---- */

struct after {
    struct swap *s;
    int old, fresh;        /* the two directories */
    struct timespec now;
    struct vb_error *err;
    bool failed;
};

/* A path of the scope as one below the top. */
static const char *below_top(const struct swap *s, const char *path)
{
    size_t n = strlen(s->top);
    return n && !strncmp(path, s->top, n) && path[n] == '/' ? path + n + 1 : path;
}

/* Edited between our last look and the exchange: it stays, beside what came. */
static int set_beside(struct after *a, int dir, const char *name, const char *path)
{
    struct stat st;
    const char *leaf;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    struct vb_place *p = a->s->p;
    const struct vb_origin origin = { (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec, { *vb_replica_own(p->store), 1 } };
    VB_AUTO_FREE char *as = vb_conflict_name(path, &origin);
    VB_AUTO_FD int to = vb_beneath_parent(a->fresh, below_top(a->s, as), &leaf);
    if (to >= 0 && renameat2(dir, name, to, leaf, RENAME_NOREPLACE) == 0)
        return 0;
    return vb_trash(p, dir, name, path, a->err);
}

/* What was there before a change that came finds its place. */
static int dispose(void *arg, const struct vb_intent *i)
{
    struct after *a = arg;
    struct vb_msg g = vb_msg_view(i->what, i->what_len);
    const char *name;
    struct stat st;
    if (!strcmp(i->path, "."))
        return 0;
    vb_tree_at_step();
    uint64_t kind = vb_msg_u64(&g, VB_RF_KIND, 0), expect = vb_msg_u64(&g, VB_RF_OFFSET, 0);
    VB_AUTO_FREE char *copy_to = vb_msg_str(&g, VB_RF_TARGET);
    VB_AUTO_FD int dir = vb_beneath_parent(a->old, below_top(a->s, i->path), &name);
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
        return 0;
    int result;
    if (vb_file_identity(&st) != expect)
        result = set_beside(a, dir, name, i->path);
    else if (copy_to || kind == VB_APPLY_META)
        result = unlinkat(dir, name, 0) == 0 ? 0 : vb_fail_errno(a->err, errno, "'%s'", i->path);
    else
        result = vb_trash(a->s->p, dir, name, i->path, a->err);
    a->failed = result < 0;
    return a->failed;
}

/* Whether it is what the row tells of: then nobody but us had a hand in it. */
static bool is_known(struct vb_place *p, const char *path, const struct stat *st)
{
    struct vb_item row;
    if (vb_replica_find(p->store, p->scope.id, path, &row, NULL) < 0)
        return false;
    bool known = !row.deleted && row.mtime_ns == (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec &&
                 (!S_ISREG(st->st_mode) || row.size == (uint64_t)st->st_size);
    vb_item_clear(&row);
    return known;
}

/* A name that the new tree does not have, or that was replaced since it was linked, moves over. */
static int carry_over(struct after *a, int dir, const char *name, const char *rel, const struct stat *st)
{
    const char *leaf;
    struct stat there;
    VB_AUTO_FREE char *copy = vb_strdup(rel);
    VB_AUTO_FREE char *path = *a->s->top ? vb_printf("%s/%s", a->s->top, rel) : vb_strdup(rel);
    for (char *at = strchr(copy, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        VB_AUTO_FD int up = vb_beneath_parent(a->fresh, copy, &leaf);
        if (up >= 0)
            (void)mkdirat(up, leaf, 0755);
        *at = '/';
    }
    VB_AUTO_FD int to = vb_beneath_parent(a->fresh, rel, &leaf);
    if (to < 0)
        return vb_fail_errno(a->err, errno, "'%s' cannot be kept", rel);
    bool gone = fstatat(to, leaf, &there, AT_SYMLINK_NOFOLLOW) < 0;
    if (gone && is_known(a->s->p, path, st)) /* removed from the new tree since: that stands */
        return vb_trash(a->s->p, dir, name, path, a->err);
    if (gone)
        return renameat2(dir, name, to, leaf, RENAME_NOREPLACE) == 0 ? 0 : vb_fail_errno(a->err, errno, "'%s' cannot be kept", rel);
    bool same = there.st_ino == st->st_ino ||
                (there.st_size == st->st_size && there.st_mode == st->st_mode && there.st_mtim.tv_sec == st->st_mtim.tv_sec &&
                 there.st_mtim.tv_nsec == st->st_mtim.tv_nsec);
    if (same)
        return unlinkat(dir, name, 0) == 0 ? 0 : vb_fail_errno(a->err, errno, "'%s'", rel);
    if (is_known(a->s->p, path, st)) /* the new tree's one was changed since */
        return vb_trash(a->s->p, dir, name, path, a->err);
    if (S_ISDIR(there.st_mode) || !is_known(a->s->p, path, &there))
        return set_beside(a, dir, name, path);
    return renameat(dir, name, to, leaf) == 0 ? 0 : vb_fail_errno(a->err, errno, "'%s' cannot be kept", rel);
}

/* The old directory, entry by entry; it is empty then. */
static int take_apart(struct after *a, int dir, const char *rel)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_close_fd(&fd);
        return vb_fail_errno(a->err, errno, "the old directory '%s' cannot be read", rel);
    }
    (void)fchmod(dir, 0700);
    for (const struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        VB_AUTO_FREE char *at = *rel ? vb_printf("%s/%s", rel, e->d_name) : vb_strdup(e->d_name);
        if (!S_ISDIR(st.st_mode)) {
            if (carry_over(a, dir, e->d_name, at, &st) < 0)
                return -1;
            continue;
        }
        VB_AUTO_FD int sub = vb_beneath_open(dir, e->d_name, O_RDONLY | O_DIRECTORY, 0, 0);
        if (sub < 0)
            return vb_fail_errno(a->err, errno, "the old directory '%s' cannot be opened", at);
        if (take_apart(a, sub, at) < 0)
            return -1;
        (void)unlinkat(dir, e->d_name, AT_REMOVEDIR);
    }
    return 0;
}

static int save_row(void *arg, const struct vb_intent *i)
{
    struct after *a = arg;
    struct vb_place *p = a->s->p;
    struct vb_msg g = vb_msg_view(i->what, i->what_len);
    uint64_t kind = vb_msg_u64(&g, VB_RF_KIND, 0);
    enum vb_change what;
    struct vb_apply_op op;
    int result;
    if (!strcmp(i->path, "."))
        return 0;
    if (kind == VB_TREE_FORGET || kind == VB_TREE_BURY) {
        result = kind == VB_TREE_BURY ? vb_replica_note_deleted(p->store, p->scope.id, i->path, NULL, &what, a->err)
                                      : vb_replica_forget_item(p->store, p->scope.id, i->path, a->err);
    } else if (vb_apply_decode(i, &op)) {
        result = vb_apply_save(p, &op, &a->now, a->err);
        vb_apply_op_clear(&op);
    } else {
        result = vb_fail(a->err, VB_E_CORRUPT, "what was to become of '%s' cannot be read", i->path);
    }
    a->failed = result < 0;
    return a->failed;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static uint64_t relook(void *arg, const char *path, uint64_t size, int64_t mtime_ns, uint64_t look)
{
    struct after *a = arg;
    const struct vb_strv *stale = a->s->stale;
    const char *name;
    struct stat st;
    (void)look;
    if (stale->n && bsearch(&path, stale->v, stale->n, sizeof *stale->v, by_text))
        return 0;
    VB_AUTO_FD int dir = vb_beneath_parent(a->fresh, below_top(a->s, path), &name);
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (S_ISREG(st.st_mode) && (uint64_t)st.st_size != size) ||
        (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec != mtime_ns)
        return 0;
    return vb_file_look(&st);
}

static int save_all(struct after *a, struct vb_error *err)
{
    struct vb_place *p = a->s->p;
    if (syncfs(p->root) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be made durable", p->scope.root);
    vb_tree_at_step();
    if (vb_file_clock(p, &a->now, err) < 0 || vb_place_ticks(p, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    int result = vb_replica_intents(p->store, p->scope.id, save_row, a, err) < 0 || a->failed ? -1 : 0;
    if (result == 0 && a->s->stale)
        result = vb_replica_relook(p->store, p->scope.id, a->s->top, relook, a, err);
    if (result == 0)
        result = vb_replica_intents_drop(p->store, p->scope.id, err);
    if (result < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, err);
}

/* The names were exchanged: everything else follows, and may be done again. */
static int complete(struct swap *s, struct vb_error *err)
{
    struct vb_place *p = s->p;
    const char *old = ino_at(s->at, s->old_name) ? s->old_name : s->name;
    struct after a = { .s = s, .old = -1, .fresh = -1, .err = err };
    VB_AUTO_FD int was = openat(s->at, old, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    VB_AUTO_FD int fresh = openat(s->live, s->leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fresh < 0)
        return vb_fail_errno(err, errno, "the new '%s' cannot be opened", s->leaf);
    a.old = was;
    a.fresh = fresh;
    if (!*s->top) {
        if (was >= 0 && renameat2(was, VB_PLACE_DIR, fresh, VB_PLACE_DIR, RENAME_NOREPLACE) < 0 && errno != ENOENT)
            return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "' cannot be moved to the new '%s'", p->scope.root);
        int root = fcntl(fresh, F_DUPFD_CLOEXEC, 0);
        if (root < 0)
            return vb_fail_errno(err, errno, "'%s'", p->scope.root);
        vb_close_fd(&p->root);
        p->root = root;
        vb_tree_at_step();
    }
    if (was >= 0) {
        if (vb_replica_intents(p->store, p->scope.id, dispose, &a, err) < 0 || a.failed || take_apart(&a, was, "") < 0)
            return -1;
        vb_tree_at_step();
        /* Something that cannot be moved, or is busy: it is not lost. */
        if (unlinkat(s->at, old, AT_REMOVEDIR) < 0 && errno != ENOENT && vb_trash(p, s->at, old, "old-tree", err) < 0)
            return -1;
    }
    vb_tree_at_step();
    if (vb_remove_tree_at(p->stage, VB_TREE_NEW, err) < 0 || save_all(&a, err) < 0)
        return -1;
    vb_tree_at_step();
    return 0;
}

/* ---- before ---- */

static int check(void *arg, const struct vb_intent *i)
{
    struct after *a = arg;
    struct vb_place *p = a->s->p;
    struct vb_msg g = vb_msg_view(i->what, i->what_len);
    struct vb_apply_op op = { .kind = VB_APPLY_ROW };
    uint64_t expect = vb_msg_u64(&g, VB_RF_OFFSET, 0);
    const char *name;
    int result = 0;
    if (vb_path_identity(p, i->path) != expect)
        result = vb_fail(a->err, VB_E_UNSTABLE, "'%s' was changed by somebody else just now; the tree stays as it is until the next pass", i->path);
    /* Attributes of a directory come when it is full: it might not let itself be filled any more. */
    if (result == 0 && vb_msg_u64(&g, VB_RF_KIND, 0) == VB_APPLY_DIR && vb_apply_decode(i, &op)) {
        VB_AUTO_FD int dir = vb_beneath_parent(a->fresh, i->path, &name);
        VB_AUTO_FD int fd = dir < 0 ? -1 : openat(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
        result = fd < 0 ? vb_fail_errno(a->err, errno, "the new directory '%s' cannot be opened", i->path)
                        : vb_file_set(p, fd, true, &op.row.item, op.row.attrs.data, op.row.attrs.len, a->err);
        vb_apply_op_clear(&op);
    }
    a->failed = result < 0;
    return a->failed;
}

static int intend(struct swap *s, struct vb_error *err)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_u64(&g, VB_RF_KIND, VB_TREE_SWAP_INTENT);
    vb_msg_add(&g, VB_RF_PATH, s->top, strlen(s->top));
    vb_msg_add_u64(&g, VB_RF_INDEX, s->ino);
    const struct vb_intent in = { .path = ".", .staged = s->name, .what = g.body.data, .what_len = g.body.len };
    if (vb_replica_begin(s->p->store, err) < 0)
        return -1;
    if (vb_replica_intend(s->p->store, s->p->scope.id, &in, err) < 0) {
        vb_replica_rollback(s->p->store);
        return -1;
    }
    return vb_replica_commit(s->p->store, err);
}

static int exchange(struct swap *s, struct vb_error *err)
{
    if (renameat2(s->at, s->name, s->live, s->leaf, RENAME_EXCHANGE) == 0)
        return 0;
    /* A file system that cannot exchange: for a moment the name is not there (rule book 5.f). */
    if ((errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) && renameat(s->live, s->leaf, s->at, s->old_name) == 0) {
        vb_tree_at_step();
        if (renameat(s->at, s->name, s->live, s->leaf) == 0)
            return 0;
        (void)!renameat(s->at, s->old_name, s->live, s->leaf);
    }
    return vb_fail_errno(err, errno, "'%s' cannot be exchanged for its new tree", s->leaf);
}

/* The new directory is full and holds; it goes to where it can be exchanged. */
static int bring_out(struct vb_tree *t, struct swap *s, struct vb_error *err)
{
    const char *name;
    if (!*s->top)
        return renameat2(t->p->stage, VB_TREE_NEW, s->at, s->name, RENAME_NOREPLACE) == 0
                   ? 0
                   : vb_fail_errno(err, errno, "the new tree cannot be put beside '%s'", t->p->scope.root);
    VB_AUTO_FD int dir = vb_beneath_parent(t->fd, s->top, &name);
    return dir >= 0 && renameat2(dir, name, s->at, s->name, RENAME_NOREPLACE) == 0
               ? 0
               : vb_fail_errno(err, errno, "the new '%s' cannot be brought out", s->top);
}

static int prepare(struct vb_tree *t, struct swap *s, struct vb_error *err)
{
    struct after a = { .s = s, .old = -1, .fresh = t->fd, .err = err };
    VB_AUTO_FREE char *inside = vb_printf("%s/x", s->top);
    const char *name;
    struct stat st;
    if (*s->top) {
        VB_AUTO_FD int made = vb_tree_parent(t, inside, &name, err);
        if (made < 0)
            return -1;
    }
    VB_AUTO_FD int live = *s->top ? vb_beneath_open(t->p->root, s->top, O_RDONLY | O_DIRECTORY, 0, 0) : fcntl(t->p->root, F_DUPFD_CLOEXEC, 0);
    VB_AUTO_FD int staged = *s->top ? vb_beneath_open(t->fd, s->top, O_RDONLY | O_DIRECTORY, 0, 0) : fcntl(t->fd, F_DUPFD_CLOEXEC, 0);
    if (live < 0 || staged < 0 || fstat(staged, &st) < 0)
        return vb_fail_errno(err, errno, "'%s/%s' cannot be opened", t->p->scope.root, s->top);
    s->ino = (uint64_t)st.st_ino;
    if (vb_tree_fill(t, live, staged, s->top, false, err) < 0)
        return -1;
    vb_tree_at_step();
    if (vb_replica_intents(t->p->store, t->p->scope.id, check, &a, err) < 0 || a.failed)
        return -1;
    return syncfs(t->p->root) == 0 ? 0 : vb_fail_errno(err, errno, "'%s' cannot be made durable", t->p->scope.root);
}

static int swap_all(struct vb_tree *t, struct vb_error *err)
{
    AUTO_SWAP s = SWAP_INIT(t->p);
    const char *slash = strrchr(t->p->scope.root, '/');
    s.top = vb_strdup(t->top);
    s.name = *s.top ? vb_strdup(VB_TREE_SWAP) : vb_printf(".%s.vbackup-%.8s", slash + 1, t->p->scope.guid);
    s.stale = &t->stale;
    if (locate(&s, err) < 0 || prepare(t, &s, err) < 0)
        return -1;
    vb_strv_sort(&t->stale);
    vb_tree_at_step();
    if (intend(&s, err) < 0)
        return -1;
    vb_tree_at_step();
    if (bring_out(t, &s, err) < 0)
        return -1;
    vb_tree_at_step();
    if (exchange(&s, err) < 0)
        return -1;
    vb_tree_at_step();
    return complete(&s, err);
}

static int only_one(struct vb_tree *t, struct vb_error *err)
{
    t->holds = false;
    vb_tree_at_step();
    if (vb_apply_do(t->p, &t->held, &t->seen, err) < 0)
        return -1;
    vb_tree_at_step();
    return vb_apply_settle(t->p, &t->held, 1, err);
}

int vb_tree_swap(struct vb_tree *t, struct vb_strv *seen, struct vb_error *err)
{
    int result = !t->ops ? 0 : t->holds ? only_one(t, err) : swap_all(t, err);
    for (size_t i = 0; i < t->seen.n; i++)
        vb_strv_take(seen, VB_STEAL(t->seen.v[i]));
    t->seen.n = 0;
    return result;
}

/* ---- after a kill ---- */

int vb_tree_recover_root(struct vb_place *p, struct vb_error *err)
{
    AUTO_SWAP s = SWAP_INIT(p);
    if (vb_replica_intents(p->store, p->scope.id, find_swap, &s, err) < 0)
        return -1;
    if (!s.found || *s.top)
        return 0;
    if (locate(&s, NULL) < 0) /* the root is not there at all: that is told by who opens it */
        return 0;
    struct stat st;
    if (fstatat(s.live, s.leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT && ino_at(s.at, s.name) == s.ino &&
        renameat2(s.at, s.name, s.live, s.leaf, RENAME_NOREPLACE) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be put in place", p->scope.root);
    if (ino_at(s.live, s.leaf) != s.ino)
        return 0;
    const char *old = ino_at(s.at, s.old_name) ? s.old_name : s.name;
    VB_AUTO_FD int was = openat(s.at, old, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    VB_AUTO_FD int fresh = openat(s.live, s.leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (was >= 0 && fresh >= 0)
        (void)!renameat2(was, VB_PLACE_DIR, fresh, VB_PLACE_DIR, RENAME_NOREPLACE);
    return 0;
}

/* Directories that their owner may not write would not let themselves be emptied. */
static void open_up(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_close_fd(&fd);
        return;
    }
    (void)fchmod(fd, 0700);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            open_up(fd, e->d_name);
}

static int drop(struct vb_place *p, struct swap *s, struct vb_error *err)
{
    if (!p->privileged) {
        open_up(p->stage, VB_TREE_NEW);
        if (s->found && s->at >= 0 && ino_at(s->at, s->name) == s->ino)
            open_up(s->at, s->name);
    }
    if (s->found && s->at >= 0 && ino_at(s->at, s->name) == s->ino && vb_remove_tree_at(s->at, s->name, err) < 0)
        return -1;
    if (vb_remove_tree_at(p->stage, VB_TREE_NEW, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    if (vb_replica_intents_drop(p->store, p->scope.id, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, err);
}

int vb_tree_recover(struct vb_place *p, struct vb_error *err)
{
    AUTO_SWAP s = SWAP_INIT(p);
    if (vb_replica_intents(p->store, p->scope.id, find_swap, &s, err) < 0)
        return -1;
    if (!s.found)
        return ino_at(p->stage, VB_TREE_NEW) ? drop(p, &s, err) : 0;
    if (locate(&s, err) < 0)
        return -1;
    if (*s.top && !ino_at(s.live, s.leaf) && ino_at(s.at, s.name) == s.ino &&
        renameat2(s.at, s.name, s.live, s.leaf, RENAME_NOREPLACE) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be put in place", s.leaf);
    if (ino_at(s.live, s.leaf) != s.ino)
        return drop(p, &s, err);
    p->recovered++;
    return complete(&s, err);
}
