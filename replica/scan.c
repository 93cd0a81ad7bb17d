/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/scan.c - the walk.
 *
 * What was there the last time is kept in memory as 32 bytes an item: a hash of the path, what its stat was, and whether it
 * was met.  An item that looks as it did costs one stat and one look-up; only what differs is read and touches the store.
 */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/item_file.h"
#include "replica/scan.h"

#define ROWS_PER_COMMIT 4000u
#define DEPTH_MAX 4000u

struct slot {
    uint64_t a, b; /* of the path; both 0: free */
    uint64_t look;
    bool met;
};
struct fresh {     /* a file that was not there: perhaps one that is gone, under another name */
    unsigned char content[VB_HASH_LEN];
    char *path;
};
struct scan {
    struct vb_place *p;
    const struct vb_scan_options *o;
    struct vb_scan_result *out;
    struct slot *slots;
    size_t n_slots, n_known; /* n_slots: a power of two, or 0 */
    struct timespec now;
    struct vb_strv blind;    /* directories below which nothing may be taken as deleted */
    struct fresh *fresh;
    size_t n_fresh, cap_fresh;
    uint64_t pending;        /* rows in the open transaction */
    bool root_blind;
};

/* ---- what is known ---- */

static void hash_path(const char *path, size_t n, uint64_t *a, uint64_t *b)
{
    unsigned char h[VB_HASH_LEN];
    vb_hash(path, n, h);
    memcpy(a, h, 8);
    memcpy(b, h + 8, 8);
    if (!*a && !*b)
        *a = 1;
}

static struct slot *slot_of(struct scan *s, const char *path, size_t n)
{
    uint64_t a, b;
    if (!s->n_slots)
        return NULL;
    hash_path(path, n, &a, &b);
    size_t i = (size_t)a & (s->n_slots - 1);
    while ((s->slots[i].a || s->slots[i].b) && (s->slots[i].a != a || s->slots[i].b != b))
        i = (i + 1) & (s->n_slots - 1);
    if (!s->slots[i].a && !s->slots[i].b) {
        s->slots[i].a = a;
        s->slots[i].b = b;
        return &s->slots[i];
    }
    return &s->slots[i];
}

static const struct slot *find(const struct scan *s, const char *path, size_t n)
{
    uint64_t a, b;
    if (!s->n_slots)
        return NULL;
    hash_path(path, n, &a, &b);
    for (size_t i = (size_t)a & (s->n_slots - 1); s->slots[i].a || s->slots[i].b; i = (i + 1) & (s->n_slots - 1))
        if (s->slots[i].a == a && s->slots[i].b == b)
            return &s->slots[i];
    return NULL;
}

static int remember(void *arg, const char *path, size_t n, uint64_t look)
{
    struct scan *s = arg;
    slot_of(s, path, n)->look = look;
    s->n_known++;
    return 0;
}

static int load_known(struct scan *s, struct vb_error *err)
{
    uint64_t live, dead;
    if (vb_replica_count(s->p->store, s->p->scope.id, &live, &dead, err) < 0)
        return -1;
    for (s->n_slots = live ? 64 : 0; s->n_slots && s->n_slots < live * 3 / 2 + 1;)
        s->n_slots *= 2;
    s->slots = s->n_slots ? vb_alloc_n(s->n_slots, sizeof *s->slots) : NULL;
    return live ? vb_replica_each_look(s->p->store, s->p->scope.id, remember, s, err) : 0;
}

/* ---- transactions ---- */

static int begin(struct scan *s, struct vb_error *err)
{
    if (s->pending)
        return 0;
    return vb_place_ticks(s->p, err) < 0 || vb_replica_begin(s->p->store, err) < 0 ? -1 : 0;
}

static int commit(struct scan *s, struct vb_error *err)
{
    if (!s->pending)
        return 0;
    s->pending = 0;
    return vb_replica_commit(s->p->store, err);
}

static int note(struct scan *s, const struct vb_item *seen, struct vb_error *err)
{
    enum vb_change what;
    if (begin(s, err) < 0)
        return -1;
    s->pending++;
    if (vb_replica_note(s->p->store, s->p->scope.id, seen, &what, err) < 0)
        return -1;
    s->out->created += what == VB_CHANGE_CREATED;
    s->out->changed += what == VB_CHANGE_CHANGED;
    if (what == VB_CHANGE_CREATED && seen->kind == VB_ITEM_FILE && seen->size && s->n_known) {
        VB_GROW(s->fresh, s->n_fresh, s->cap_fresh);
        struct fresh *f = &s->fresh[s->n_fresh++];
        memcpy(f->content, seen->content, VB_HASH_LEN);
        f->path = vb_strdup(seen->path);
    }
    return s->pending >= ROWS_PER_COMMIT ? commit(s, err) : 0;
}

/* ---- the walk ---- */

static void blind(struct scan *s, const char *path, const struct vb_error *why)
{
    s->out->errors++;
    if (*path)
        vb_strv_add(&s->blind, path);
    else
        s->root_blind = true;
    if (s->o && s->o->tell)
        s->o->tell(s->o->arg, why);
}

static void see_time(struct scan *s, const struct stat *st)
{
    int64_t m = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    int64_t c = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
    if (m > s->out->last_change_ns && m <= s->out->now_ns)
        s->out->last_change_ns = m;
    if (c > s->out->last_change_ns)
        s->out->last_change_ns = c;
}

/* ---- files with several names ---- */

static int by_inode(const void *a, const void *b)
{
    const struct vb_inode_name *x = a, *y = b;
    return x->inode != y->inode ? (x->inode < y->inode ? -1 : 1) : strcmp(x->path, y->path);
}

size_t vb_names_of(struct vb_place *p, uint64_t inode, size_t *first)
{
    size_t low = 0, high = p->n_names, n = 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->names[mid].inode < inode)
            low = mid + 1;
        else
            high = mid;
    }
    *first = low;
    while (low + n < p->n_names && p->names[low + n].inode == inode)
        n++;
    return n;
}

void vb_names_unsent(struct vb_place *p)
{
    for (size_t i = 0; i < p->n_names; i++)
        p->names[i].sent = false;
}

void vb_names_drop_all(struct vb_place *p)
{
    for (size_t i = 0; i < p->n_names; i++)
        free(p->names[i].path);
    free(p->names);
    p->names = NULL;
    p->n_names = p->cap_names = 0;
}

static void note_name(struct vb_place *p, const char *path, const struct stat *st)
{
    if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
        return;
    VB_GROW(p->names, p->n_names, p->cap_names);
    p->names[p->n_names++] = (struct vb_inode_name){ .inode = st->st_ino, .path = vb_strdup(path) };
}

/* -1: the scan ends; what cannot be read is told and left. */
static int look_at(struct scan *s, int dirfd, const char *name, const char *path, const struct stat *st, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_item item;
    struct slot *k = (struct slot *)(uintptr_t)find(s, path, strlen(path));
    note_name(s->p, path, st);
    if (k)
        k->met = true;
    if (k && k->look && k->look == vb_file_look(st))
        return 0;
    s->p->keep_sums = k != NULL; /* it changed: the pass may need them */
    enum vb_file_state state = vb_file_read(s->p, dirfd, name, path, &s->now, &item, &why);
    s->p->keep_sums = false;
    switch (state) {
    case VB_FILE_READ:
        break;
    case VB_FILE_GONE:
        if (k)
            k->met = false;
        return 0;
    case VB_FILE_UNSTABLE:
        s->out->unstable++;
        return 0;
    case VB_FILE_LEFT:
        s->out->left++;
        if (k) /* it was something else: that is gone */
            k->met = false;
        return 0;
    case VB_FILE_ERROR:
    default:
        s->out->errors++;
        if (s->o && s->o->tell)
            s->o->tell(s->o->arg, &why);
        return 0;
    }
    if (item.kind == VB_ITEM_FILE)
        s->out->bytes += item.size;
    int result = note(s, &item, err);
    free((char *)(uintptr_t)item.owner);
    return result;
}

static int walk(struct scan *s, int dirfd, const char *path, unsigned depth, struct vb_error *err);

static int enter(struct scan *s, int dirfd, const char *name, const char *path, unsigned depth, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (depth >= DEPTH_MAX) {
        vb_fail(&why, VB_E_LIMIT, "'%s': more than %u levels", path, DEPTH_MAX);
        blind(s, path, &why);
        return 0;
    }
    int fd = vb_beneath_open(dirfd, name, O_RDONLY | O_DIRECTORY, 0, 0);
    if (fd < 0) {
        if (errno == EXDEV) /* something is mounted there: not of this tree */
            vb_fail(&why, VB_E_GUARD, "'%s': another file system is mounted there; it is not replicated", path);
        else if (errno == ENOENT)
            return 0;
        else
            vb_fail_errno(&why, errno, "directory '%s' cannot be read", path);
        blind(s, path, &why);
        return 0;
    }
    return walk(s, fd, path, depth + 1, err);
}

/* Takes dirfd. */
static int walk(struct scan *s, int dirfd, const char *path, unsigned depth, struct vb_error *err)
{
    VB_AUTO_DIR DIR *d = fdopendir(dirfd);
    int result = 0;
    if (!d) {
        close(dirfd);
        return vb_fail_errno(err, errno, "directory '%s'", path);
    }
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e)
            break;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        VB_AUTO_FREE char *at = *path ? vb_printf("%s/%s", path, e->d_name) : vb_strdup(e->d_name);
        struct stat st;
        if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
            continue; /* vanished */
        if (!vb_place_takes(s->p, at, S_ISDIR(st.st_mode)))
            continue;
        s->out->items++;
        see_time(s, &st);
        result = look_at(s, dirfd, e->d_name, at, &st, err);
        if (result == 0 && S_ISDIR(st.st_mode))
            result = enter(s, dirfd, e->d_name, at, depth, err);
        if (result < 0)
            return -1;
        if (s->o && s->o->progress && s->out->items % 1000 == 0)
            s->o->progress(s->o->arg, s->out);
    }
    if (errno) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        vb_fail_errno(&why, errno, "directory '%s' cannot be read", *path ? path : ".");
        blind(s, path, &why);
    }
    return result;
}

/* ---- what is gone ---- */

struct gone {
    struct scan *s;
    struct vb_strv paths;
    struct fresh *content; /* of each, by index; path unused */
    size_t cap;
};

static int is_gone(void *arg, const struct vb_item *i)
{
    struct gone *g = arg;
    const struct slot *k = find(g->s, i->path, strlen(i->path));
    if (!k || k->met || g->s->root_blind)
        return 0;
    for (size_t b = 0; b < g->s->blind.n; b++)
        if (vb_path_below(i->path, g->s->blind.v[b]))
            return 0;
    if (!vb_place_takes(g->s->p, i->path, i->kind == VB_ITEM_DIR)) /* left out since: not deleted (DSN-23) */
        return 0;
    VB_GROW(g->content, g->paths.n, g->cap);
    memcpy(g->content[g->paths.n].content, i->content, VB_HASH_LEN);
    vb_strv_add(&g->paths, i->path);
    return 0;
}

static int by_content(const void *a, const void *b)
{
    const struct fresh *x = a, *y = b;
    return memcmp(x->content, y->content, VB_HASH_LEN);
}

/* Without a trusted base a file that is missing was not deleted: its row goes, and the peers may send it again. */
static int unlearn(struct scan *s, const struct vb_strv *paths, struct vb_error *err)
{
    struct vb_replica *r = s->p->store;
    for (size_t i = 0; i < paths->n; i++) {
        struct vb_item row;
        if (vb_replica_find(r, s->p->scope.id, paths->v[i], &row, err) < 0)
            return -1;
        struct vb_version none = { row.changed.replica, 0 };
        vb_item_clear(&row);
        if (vb_replica_forget_item(r, s->p->scope.id, paths->v[i], err) < 0 ||
            vb_replica_know_item(r, s->p->scope.id, paths->v[i], &none, err) < 0)
            return -1;
    }
    return 0;
}

static int bury(struct scan *s, const struct gone *g, struct vb_error *err)
{
    if (s->n_fresh)
        qsort(s->fresh, s->n_fresh, sizeof *s->fresh, by_content);
    for (size_t i = 0; i < g->paths.n; i++) {
        enum vb_change what;
        const struct fresh *to = s->n_fresh ? bsearch(&g->content[i], s->fresh, s->n_fresh, sizeof *s->fresh, by_content) : NULL;
        if (begin(s, err) < 0)
            return -1;
        s->pending++;
        if (vb_replica_note_deleted(s->p->store, s->p->scope.id, g->paths.v[i], to ? to->path : NULL, &what, err) < 0)
            return -1;
        s->out->deleted += what == VB_CHANGE_DELETED;
        s->out->renamed += what == VB_CHANGE_DELETED && to;
        if (s->pending >= ROWS_PER_COMMIT && commit(s, err) < 0)
            return -1;
    }
    return 0;
}

static int take_stock(struct scan *s, struct vb_error *err)
{
    struct gone g = { .s = s };
    size_t met = 0;
    int result = 0;
    for (size_t i = 0; i < s->n_slots; i++)
        met += s->slots[i].met;
    if (met < s->n_known)
        result = vb_replica_each(s->p->store, s->p->scope.id, NULL, false, is_gone, &g, err);
    bool whole = !s->root_blind;
    if (result == 0 && begin(s, err) < 0)
        result = -1;
    s->pending++;
    if (result == 0)
        result = s->p->scope.trusted ? bury(s, &g, err) : unlearn(s, &g.paths, err);
    if (result == 0 && whole && !s->p->scope.trusted) {
        result = begin(s, err) < 0 ? -1 : vb_replica_scope_trust(s->p->store, s->p->scope.id, true, err);
        s->pending++;
        s->p->scope.trusted = result == 0;
    }
    if (result == 0)
        result = commit(s, err);
    vb_strv_clear(&g.paths);
    free(g.content);
    return result;
}

/* What was made or deleted in the root itself; that our own directory was made does not count. */
static void see_root(struct scan *s, int fd)
{
    struct stat st;
    struct statx own;
    if (fstat(fd, &st) < 0)
        return;
    if (statx(s->p->own, "", AT_EMPTY_PATH, STATX_BTIME, &own) == 0 && (own.stx_mask & STATX_BTIME)) {
        int64_t after = ((int64_t)st.st_mtim.tv_sec - own.stx_btime.tv_sec) * 1000000000 + st.st_mtim.tv_nsec - own.stx_btime.tv_nsec;
        if (after < 50000000)
            return;
    }
    st.st_ctim = st.st_mtim;
    see_time(s, &st);
}

int vb_scan_quiet(const struct vb_place *p, const struct vb_scan_result *r, int64_t now_ns, int64_t *wait_ms, struct vb_error *err)
{
    int64_t quiet_ns = now_ns - r->last_change_ns, guard_ns = (int64_t)p->set.guard_s * 1000000000;
    bool waits = p->set.integrity == VB_INTEGRITY_TREE && quiet_ns < guard_ns;
    if (wait_ms)
        *wait_ms = waits ? (guard_ns - quiet_ns) / 1000000 + 1 : 0;
    if (!waits)
        return 0;
    vb_fail(err, VB_E_UNSTABLE, "scope '%s' changed %lld s ago: with tree integrity it must be quiet for %u s", p->scope.name,
            (long long)(quiet_ns > 0 ? quiet_ns / 1000000000 : 0), (unsigned)p->set.guard_s);
    vb_hint(err, "try again later, or set another guard time: vbackup scope set %s --guard=", p->scope.name);
    return -1;
}

int vb_scan(struct vb_place *p, const struct vb_scan_options *o, struct vb_scan_result *out, struct vb_error *err)
{
    struct scan s = { .p = p, .o = o, .out = out };
    vb_names_drop_all(p);
    *out = (struct vb_scan_result){ .items = 0 };
    int result = vb_file_clock(p, &s.now, err);
    out->now_ns = (int64_t)s.now.tv_sec * 1000000000 + s.now.tv_nsec;
    if (result == 0)
        result = load_known(&s, err);
    int fd = result == 0 ? openat(p->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (result == 0 && fd < 0)
        result = vb_fail_errno(err, errno, "'%s' cannot be read", p->scope.root);
    if (result == 0) {
        see_root(&s, fd);
        result = walk(&s, fd, "", 0, err);
        if (p->n_names)
            qsort(p->names, p->n_names, sizeof *p->names, by_inode);
    }
    if (result == 0)
        result = take_stock(&s, err);
    if (result < 0)
        vb_replica_rollback(p->store);
    for (size_t i = 0; i < s.n_fresh; i++)
        vb_free_ptr(&s.fresh[i].path);
    free(s.fresh);
    free(s.slots);
    vb_strv_clear(&s.blind);
    return result;
}

/* ---- one ---- */

int vb_scan_one(struct vb_place *p, const char *path, const struct timespec *now, struct vb_item *row, struct vb_error *err)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    const char *name;
    enum vb_change what;
    struct stat st;
    struct vb_item item = { .path = NULL };
    *row = (struct vb_item){ .path = NULL };
    if (vb_replica_find(p->store, p->scope.id, path, row, &e) < 0 && e.code != VB_E_OBJECT_NOT_FOUND)
        return vb_error_move(err, &e);
    VB_AUTO_FD int dir = vb_beneath_parent(p->root, path, &name);
    bool there = dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && row->path && !row->deleted && row->look && row->look == vb_file_look(&st))
        return 0;
    if (!there && (!row->path || row->deleted))
        return 0;
    enum vb_file_state s = there ? vb_file_read(p, dir, name, path, now, &item, err) : VB_FILE_GONE;
    int result = 0;
    if (s == VB_FILE_READ)
        result = vb_replica_note(p->store, p->scope.id, &item, &what, err);
    else if (s == VB_FILE_GONE || s == VB_FILE_LEFT)
        result = row->path && p->scope.trusted ? vb_replica_note_deleted(p->store, p->scope.id, path, NULL, &what, err) : 0;
    else
        result = s == VB_FILE_ERROR ? -1 : vb_fail(err, VB_E_UNSTABLE, "'%s' changes while it is read", path);
    free((char *)(uintptr_t)item.owner);
    vb_item_clear(row);
    vb_error_clear(&e);
    if (result == 0 && vb_replica_find(p->store, p->scope.id, path, row, &e) < 0) {
        *row = (struct vb_item){ .path = NULL };
        if (e.code != VB_E_OBJECT_NOT_FOUND)
            result = vb_error_move(err, &e);
    }
    return result;
}

int vb_scan_some(struct vb_place *p, const struct vb_strv *paths, struct vb_scan_result *out, struct vb_error *err)
{
    struct timespec now;
    uint64_t tick;
    *out = (struct vb_scan_result){ .items = 0 };
    if (vb_file_clock(p, &now, err) < 0 || vb_place_ticks(p, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    out->now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    tick = vb_replica_tick(p->store);
    for (size_t i = 0; i < paths->n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_item row;
        if (!vb_place_takes(p, paths->v[i], false))
            continue;
        out->items++;
        if (vb_scan_one(p, paths->v[i], &now, &row, &why) == 0) {
            vb_item_clear(&row);
            continue;
        }
        if (why.code != VB_E_UNSTABLE && why.code != VB_E_ACCESS_DENIED) {
            vb_replica_rollback(p->store);
            return vb_error_move(err, &why);
        }
        out->unstable += why.code == VB_E_UNSTABLE;
        out->errors += why.code != VB_E_UNSTABLE;
    }
    if (vb_replica_commit(p->store, err) < 0)
        return -1;
    out->changed = vb_replica_tick(p->store) - tick;
    return 0;
}
