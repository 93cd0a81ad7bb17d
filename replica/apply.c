/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/apply.c - names exchanged, directories made and removed, and the rows that go with them. */
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
#include "replica/apply.h"
#include "replica/item_file.h"
#include "replica/scan.h"
#include "replica/tree.h"
#include "tracking/reconcile.h"

void vb_apply_op_clear(struct vb_apply_op *op)
{
    vb_row_clear(&op->row);
    vb_free_ptr(&op->staged);
    vb_free_ptr(&op->copy_to);
    *op = (struct vb_apply_op){ .kind = VB_APPLY_ROW };
}

uint64_t vb_file_identity(const struct stat *st)
{
    uint64_t h = 0x9e3779b97f4a7c15u;
    const uint64_t parts[] = { st->st_ino, S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size, st->st_mode & S_IFMT,
                               S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_mtim.tv_sec,
                               S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_mtim.tv_nsec };
    for (size_t i = 0; i < VB_COUNT(parts); i++) {
        h = (h ^ parts[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 31;
    }
    return h ? h : 1;
}

static uint64_t identity_at(int dirfd, const char *name)
{
    struct stat st;
    return dirfd >= 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? vb_file_identity(&st) : 0;
}

uint64_t vb_path_identity(struct vb_place *p, const char *path)
{
    const char *name;
    VB_AUTO_FD int dir = vb_beneath_parent(p->root, path, &name);
    return identity_at(dir, name);
}

uint64_t vb_path_links(struct vb_place *p, const char *path)
{
    const char *name;
    struct stat st;
    VB_AUTO_FD int dir = vb_beneath_parent(p->root, path, &name);
    return dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_nlink : 0;
}

char *vb_stage_name(struct vb_place *p)
{
    return vb_printf("n%ld-%llu", (long)getpid(), (unsigned long long)++p->serial);
}

/* ---- on disk ---- */

static int unstable(struct vb_error *err, const char *path)
{
    return vb_fail(err, VB_E_UNSTABLE, "'%s' was changed by somebody else just now; it comes with the next pass", path);
}

/* The parent of path, made where it is missing.  What stands in its place and is no directory goes aside. */
static int parent(struct vb_place *p, const char *path, struct vb_strv *made, const char **name, struct vb_error *err)
{
    int fd = vb_beneath_parent(p->root, path, name);
    if (fd >= 0)
        return fd;
    if (errno != ENOENT && errno != ENOTDIR)
        return vb_fail_errno(err, errno, "'%s': its directory cannot be opened", path);
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(at - path));
        const char *leaf;
        struct stat st;
        VB_AUTO_FD int up = vb_beneath_parent(p->root, dir, &leaf);
        if (up < 0)
            return vb_fail_errno(err, errno, "'%s': its directory cannot be opened", dir);
        if (fstatat(up, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            if (S_ISDIR(st.st_mode))
                continue;
            struct vb_item row = { .path = NULL };
            struct vb_origin origin = { (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec, { *vb_replica_own(p->store), 1 } };
            if (vb_replica_find(p->store, p->scope.id, dir, &row, NULL) == 0)
                origin = row.origin;
            VB_AUTO_FREE char *aside = vb_conflict_name(dir, &origin);
            vb_item_clear(&row);
            const char *slash = strrchr(aside, '/');
            if (renameat2(up, leaf, up, slash ? slash + 1 : aside, RENAME_NOREPLACE) < 0)
                return vb_fail_errno(err, errno, "'%s' is in the way of a directory and cannot be moved", dir);
            vb_strv_add(made, aside);
        }
        if (mkdirat(up, leaf, 0755) < 0 && errno != EEXIST)
            return vb_fail_errno(err, errno, "directory '%s' cannot be made", dir);
        vb_strv_add(made, dir);
    }
    fd = vb_beneath_parent(p->root, path, name);
    return fd >= 0 ? fd : vb_fail_errno(err, errno, "'%s': its directory cannot be opened", path);
}

/* What the exchange brought into stage/ finds its place. */
static int place_old(struct vb_place *p, struct vb_apply_op *op, struct vb_error *err)
{
    const char *path = op->row.item.path, *name;
    struct stat st;
    if (fstatat(p->stage, op->staged, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (op->copy_to) {
        VB_AUTO_FD int dir = vb_beneath_parent(p->root, op->copy_to, &name);
        if (dir >= 0 && renameat2(p->stage, op->staged, dir, name, RENAME_NOREPLACE) == 0)
            return 0;
        if (dir < 0 || errno != EEXIST)
            return vb_fail_errno(err, errno, "'%s' cannot be kept as '%s'", path, op->copy_to);
    }
    if (S_ISDIR(st.st_mode))
        return unlinkat(p->stage, op->staged, AT_REMOVEDIR) == 0 ? 0 : vb_fail_errno(err, errno, "'%s'", path);
    return vb_trash(p, p->stage, op->staged, path, err);
}

static int put(struct vb_place *p, struct vb_apply_op *op, struct vb_strv *made, struct vb_error *err)
{
    const char *path = op->row.item.path, *name;
    struct stat st;
    VB_AUTO_FD int dir = parent(p, path, made, &name, err);
    if (dir < 0)
        return -1;
    if (identity_at(dir, name) != op->expect)
        return unstable(err, path);
    if (!op->expect) {
        if (renameat2(p->stage, op->staged, dir, name, RENAME_NOREPLACE) == 0)
            return 0;
        return errno == EEXIST ? unstable(err, path) : vb_fail_errno(err, errno, "'%s' cannot be put in place", path);
    }
    if (renameat2(p->stage, op->staged, dir, name, RENAME_EXCHANGE) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be put in place", path);
    if (identity_at(p->stage, op->staged) != op->expect) { /* between our look and the exchange */
        if (renameat2(p->stage, op->staged, dir, name, RENAME_EXCHANGE) < 0)
            return vb_fail_errno(err, errno, "'%s' cannot be put back", path);
        return unstable(err, path);
    }
    if (fstatat(p->stage, op->staged, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
        unlinkat(p->stage, op->staged, AT_REMOVEDIR) < 0) {
        int why = errno;
        if (renameat2(p->stage, op->staged, dir, name, RENAME_EXCHANGE) < 0)
            return vb_fail_errno(err, errno, "'%s' cannot be put back", path);
        return vb_fail(err, why == ENOTEMPTY ? VB_E_CONFLICT : VB_E_IO, "'%s' is a directory here, and not empty", path);
    }
    return place_old(p, op, err);
}

/* Out of the way, before a directory takes the name. */
static int set_aside(struct vb_place *p, struct vb_apply_op *op, int dir, const char *name, struct vb_error *err)
{
    const char *leaf;
    if (!op->copy_to)
        return vb_trash(p, dir, name, op->row.item.path, err);
    VB_AUTO_FD int to = vb_beneath_parent(p->root, op->copy_to, &leaf);
    if (to < 0 || renameat2(dir, name, to, leaf, RENAME_NOREPLACE) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be kept as '%s'", op->row.item.path, op->copy_to);
    return 0;
}

static int set_meta(struct vb_place *p, struct vb_apply_op *op, int dir, const char *name, struct vb_error *err)
{
    struct stat st;
    VB_AUTO_FD int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be opened", op->row.item.path);
    if (vb_file_identity(&st) != op->expect)
        return unstable(err, op->row.item.path);
    return vb_file_set(p, fd, true, &op->row.item, op->row.attrs.data, op->row.attrs.len, err);
}

static int make_dir(struct vb_place *p, struct vb_apply_op *op, struct vb_strv *made, struct vb_error *err)
{
    const char *path = op->row.item.path, *name;
    struct stat st;
    VB_AUTO_FD int dir = parent(p, path, made, &name, err);
    if (dir < 0)
        return -1;
    if (identity_at(dir, name) != op->expect)
        return unstable(err, path);
    bool there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(st.st_mode)) {
        if (set_aside(p, op, dir, name, err) < 0)
            return -1;
        there = false;
    }
    if (!there && mkdirat(dir, name, 0700) < 0)
        return vb_fail_errno(err, errno, "directory '%s' cannot be made", path);
    op->expect = identity_at(dir, name);
    return set_meta(p, op, dir, name, err);
}

int vb_apply_do(struct vb_place *p, struct vb_apply_op *op, struct vb_strv *made, struct vb_error *err)
{
    const char *path = op->row.item.path, *name;
    int result = 0;
    if (op->kind == VB_APPLY_PUT) {
        result = put(p, op, made, err);
    } else if (op->kind == VB_APPLY_DIR) {
        result = make_dir(p, op, made, err);
    } else if (op->kind != VB_APPLY_ROW) {
        VB_AUTO_FD int dir = vb_beneath_parent(p->root, path, &name);
        uint64_t there = identity_at(dir, name);
        if (op->kind == VB_APPLY_META)
            result = there == op->expect ? set_meta(p, op, dir, name, err) : unstable(err, path);
        else if (there && there != op->expect)
            result = unstable(err, path);
        else if (there && op->kind == VB_APPLY_TRASH)
            result = vb_trash(p, dir, name, path, err);
        else if (there && unlinkat(dir, name, AT_REMOVEDIR) < 0)
            result = vb_fail_errno(err, errno, "directory '%s' cannot be removed", path) < 0 && err && errno == ENOTEMPTY
                         ? vb_fail(err, VB_E_CONFLICT, "directory '%s' is not empty here", path)
                         : -1;
    }
    op->done = result == 0;
    return result;
}

/* ---- in the store ---- */

void vb_apply_encode(const struct vb_apply_op *op, struct vb_buf *out)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    VB_AUTO_MSG row = VB_MSG_INIT(0);
    vb_row_put(&row, &op->row);
    vb_msg_add_group(&g, VB_RF_ROW, &row);
    vb_msg_add_u64(&g, VB_RF_KIND, (uint64_t)op->kind);
    vb_msg_add_u64(&g, VB_RF_COUNT, op->learnt.tick);
    vb_msg_add(&g, VB_RF_REPLICA, op->learnt.replica.b, VB_REPLICA_ID_LEN);
    vb_msg_add_str(&g, VB_RF_TARGET, op->copy_to);
    vb_msg_add_u64(&g, VB_RF_OFFSET, op->expect);
    vb_buf_add(out, g.body.data, g.body.len);
}

bool vb_apply_decode(const struct vb_intent *i, struct vb_apply_op *op)
{
    struct vb_msg g = vb_msg_view(i->what, i->what_len);
    const unsigned char *p;
    size_t n;
    *op = (struct vb_apply_op){ .kind = (enum vb_apply_kind)vb_msg_u64(&g, VB_RF_KIND, VB_APPLY_ROW) };
    if (!vb_msg_bytes(&g, VB_RF_ROW, &p, &n) || vb_row_get(p, n, &op->row, NULL) < 0)
        return false;
    op->learnt.tick = vb_msg_u64(&g, VB_RF_COUNT, 0);
    if (vb_msg_bytes(&g, VB_RF_REPLICA, &p, &n) && n == VB_REPLICA_ID_LEN)
        memcpy(op->learnt.replica.b, p, n);
    op->copy_to = vb_msg_str(&g, VB_RF_TARGET);
    op->expect = vb_msg_u64(&g, VB_RF_OFFSET, 0);
    op->staged = i->staged && *i->staged ? vb_strdup(i->staged) : NULL;
    return true;
}

int vb_apply_intend(struct vb_place *p, struct vb_apply_op *ops, size_t n, struct vb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct vb_apply_op *op = &ops[i];
        VB_AUTO_BUF what = VB_BUF_INIT;
        if (op->kind == VB_APPLY_ROW)
            continue;
        vb_apply_encode(op, &what);
        struct vb_intent in = { .path = op->row.item.path, .version = op->row.item.changed, .staged = op->staged ? op->staged : "",
                                .what = what.data, .what_len = what.len };
        memcpy(in.content, op->row.item.content, VB_HASH_LEN);
        if (vb_replica_intend(p->store, p->scope.id, &in, err) < 0)
            return -1;
    }
    return 0;
}

/* What the file looks like now that it is in place: a later change moves its time of content, unless that is as young. */
static void look_again(struct vb_place *p, struct vb_item *i, const struct timespec *now)
{
    const char *name;
    struct stat st, content;
    VB_AUTO_FD int dir = vb_beneath_parent(p->root, i->path, &name);
    i->look = 0;
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    content = st;
    content.st_ctim = st.st_mtim;
    i->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (vb_file_settled(&content, now))
        i->look = vb_file_look(&st);
}

int vb_apply_save(struct vb_place *p, struct vb_apply_op *op, const struct timespec *now, struct vb_error *err)
{
    struct vb_replica *r = p->store;
    struct vb_item row = op->row.item;
    if (!row.deleted && op->kind != VB_APPLY_ROW)
        look_again(p, &row, now);
    row.deleted_at_ms = 0;
    if (vb_replica_save(r, p->scope.id, &row, err) < 0 ||
        (op->learnt.tick && vb_replica_know_item(r, p->scope.id, row.path, &op->learnt, err) < 0))
        return -1;
    if (!op->copy_to)
        return 0;
    struct vb_item seen; /* the copy is what it is, and new here */
    if (vb_scan_one(p, op->copy_to, now, &seen, err) < 0)
        return -1;
    vb_item_clear(&seen);
    return 0;
}

int vb_apply_settle(struct vb_place *p, struct vb_apply_op *ops, size_t n, struct vb_error *err)
{
    struct timespec now;
    if (syncfs(p->root) < 0)
        return vb_fail_errno(err, errno, "'%s' cannot be made durable", p->scope.root);
    if (vb_file_clock(p, &now, err) < 0 || vb_replica_begin(p->store, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if ((ops[i].done && vb_apply_save(p, &ops[i], &now, err) < 0) ||
            (ops[i].kind != VB_APPLY_ROW && vb_replica_intent_done(p->store, p->scope.id, ops[i].row.item.path, err) < 0)) {
            vb_replica_rollback(p->store);
            return -1;
        }
    }
    return vb_replica_commit(p->store, err);
}

/* ---- after a kill ---- */

struct left {
    struct vb_apply_op *ops;
    size_t n, cap;
};

static int keep_intent(void *arg, const struct vb_intent *i)
{
    struct left *l = arg;
    VB_GROW(l->ops, l->n, l->cap);
    if (vb_apply_decode(i, &l->ops[l->n])) {
        l->n++;
    } else {
        vb_apply_op_clear(&l->ops[l->n]);
        l->ops[l->n] = (struct vb_apply_op){ .kind = VB_APPLY_RMDIR, .row.item.path = vb_strdup(i->path) };
        l->ops[l->n++].done = false;
    }
    return 0;
}

/* Whether what the intent wanted is what is there. */
static bool is_in_place(struct vb_place *p, const struct vb_apply_op *op)
{
    const struct vb_item *want = &op->row.item;
    struct vb_item is = { .path = NULL };
    const char *name;
    VB_AUTO_FD int dir = vb_beneath_parent(p->root, want->path, &name);
    enum vb_file_state s = dir < 0 ? VB_FILE_GONE : vb_file_read(p, dir, name, want->path, NULL, &is, NULL);
    bool same = want->deleted ? s == VB_FILE_GONE : s == VB_FILE_READ && vb_item_same(want, &is);
    free((char *)(uintptr_t)is.owner);
    return same;
}

static int clear_stage(struct vb_place *p, struct vb_error *err)
{
    int fd = openat(p->stage, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        vb_close_fd(&fd);
        return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage' cannot be read");
    }
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] == 'n' && unlinkat(p->stage, e->d_name, 0) < 0 && errno != ENOENT && errno != EISDIR)
            return vb_fail_errno(err, errno, "'" VB_PLACE_DIR "/stage/%s' cannot be removed", e->d_name);
    return 0;
}

int vb_apply_recover(struct vb_place *p, struct vb_error *err)
{
    struct left l = { NULL, 0, 0 };
    if (vb_tree_recover(p, err) < 0)
        return -1;
    int result = vb_replica_intents(p->store, p->scope.id, keep_intent, &l, err);
    for (size_t i = 0; i < l.n && result == 0; i++) {
        struct vb_apply_op *op = &l.ops[i];
        op->done = op->row.item.changed.tick && is_in_place(p, op);
        /* Exchanged, and killed before what was there found its place. */
        if (op->done && op->staged && !op->row.item.deleted)
            result = place_old(p, op, err);
        else if (op->staged) /* what is there may be the new file, or what it had replaced: neither is lost */
            result = vb_trash(p, p->stage, op->staged, op->row.item.path, err);
        p->recovered += op->done;
    }
    if (result == 0 && l.n)
        result = vb_apply_settle(p, l.ops, l.n, err);
    if (result == 0)
        result = clear_stage(p, err);
    for (size_t i = 0; i < l.n; i++)
        vb_apply_op_clear(&l.ops[i]);
    free(l.ops);
    return result;
}
