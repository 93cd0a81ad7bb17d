/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/finish.c - the end of a pass at the destination: directories that go, what only we have, what is learnt.
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "replica/receive.h"
#include "replica/role.h"

#define LATE_ROWS 512u

struct names {
    struct vb_strv paths;
};
static int add_name(void *arg, const struct vb_item *i)
{
    vb_strv_add(&((struct names *)arg)->paths, i->path);
    return 0;
}

static bool live_filter(void *arg, const struct vb_item *i)
{
    (void)arg;
    return !i->deleted;
}

int vb_receive_unknown(struct vb_receiver *x, struct vb_strv *paths, bool live_only, struct vb_error *err)
{
    struct vb_changes_query q = { .known = x->source, .filter = live_only ? live_filter : NULL };
    struct names names = { { NULL, 0, 0 } };
    uint64_t next;
    bool last;
    int result = vb_replica_changes(x->p->store, x->p->scope.id, &q, add_name, &names, &next, &last, err);
    *paths = names.paths;
    return result;
}

static int deepest_first(const void *a, const void *b)
{
    const struct vb_incoming *x = a, *y = b;
    if (x->row.item.deleted != y->row.item.deleted) /* directories go before files take their names */
        return x->row.item.deleted ? -1 : 1;
    return strcmp(y->row.item.path, x->row.item.path);
}

/* Out of the tree into the trash; then the row: a tombstone of our own, or none at all in recovery (MSS-34). */
static int throw_away(struct vb_receiver *x, struct vb_strv *paths, bool tombstones, struct vb_error *err)
{
    vb_strv_sort(paths);
    for (size_t i = paths->n; i-- > 0;) {
        const char *path = paths->v[i], *name;
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct stat st;
        if (x->whole) {
            int stays = vb_receive_need_tree(x, err) < 0 ? -1 : vb_tree_drop(x->tree, path, tombstones, err);
            if (stays < 0)
                return -1;
            x->out->deleted += !stays;
            x->out->minted += tombstones && !stays;
            if (!stays)
                vb_receive_tell(x, VB_ACT_DELETE, path, NULL);
            continue;
        }
        VB_AUTO_FD int dir = vb_beneath_parent(x->p->root, path, &name);
        bool there = dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (there && S_ISDIR(st.st_mode) ? unlinkat(dir, name, AT_REMOVEDIR) < 0 : there && vb_trash(x->p, dir, name, path, &why) < 0) {
            if (why.code == VB_OK)
                vb_fail_errno(&why, errno, "directory '%s' stays", path);
            if (x->o->warn)
                x->o->warn(x->o->arg, &why);
            continue;
        }
        enum vb_change what;
        if (vb_place_ticks(x->p, err) < 0 || vb_replica_begin(x->p->store, err) < 0)
            return -1;
        if ((tombstones ? vb_replica_note_deleted(x->p->store, x->p->scope.id, path, NULL, &what, err)
                        : vb_replica_forget_item(x->p->store, x->p->scope.id, path, err)) < 0) {
            vb_replica_rollback(x->p->store);
            return -1;
        }
        if (vb_replica_commit(x->p->store, err) < 0)
            return -1;
        x->out->deleted += there;
        x->out->minted += tombstones;
        if (there)
            vb_receive_tell(x, VB_ACT_DELETE, path, NULL);
    }
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Live here, and never seen by the source, but for what was resolved just now. */
static int extras(struct vb_receiver *x, struct vb_error *err)
{
    struct vb_strv paths = { NULL, 0, 0 }, extra = { NULL, 0, 0 };
    int result = vb_receive_unknown(x, &paths, true, err);
    vb_strv_sort(&x->resolved);
    for (size_t i = 0; i < paths.n && result == 0; i++)
        if (!x->resolved.n || !bsearch(&paths.v[i], x->resolved.v, x->resolved.n, sizeof *x->resolved.v, by_text)) {
            vb_strv_add(&extra, paths.v[i]);
            vb_receive_tell(x, VB_ACT_EXTRA, paths.v[i], NULL);
        }
    x->out->extra = extra.n;
    if (result == 0 && x->o->exact && extra.n && !x->o->dry_run) {
        result = vb_receive_guard(x, extra.n, true, err);
        if (result == 0)
            result = throw_away(x, &extra, true, err);
    }
    vb_strv_clear(&paths);
    vb_strv_clear(&extra);
    return result;
}

static int unsent(struct vb_receiver *x, struct vb_error *err)
{
    struct names a = { { NULL, 0, 0 } };
    vb_strv_sort(&x->sent);
    int result = vb_replica_unsent(x->p->store, x->p->scope.id, NULL, NULL, (const char *const *)x->sent.v, x->sent.n, x->source,
                                   x->forgotten, add_name, &a, err);
    if (result == 0)
        result = vb_receive_guard(x, a.paths.n, true, err);
    if (result == 0 && !x->o->dry_run)
        result = throw_away(x, &a.paths, false, err);
    vb_strv_clear(&a.paths);
    return result;
}

static int learn(struct vb_receiver *x, struct vb_error *err)
{
    struct vb_replica *r = x->p->store;
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(r, x->p->scope.id, "", NULL, err);
    if (!own || vb_replica_begin(r, err) < 0)
        return -1;
    if (!x->unlearnt)
        vb_knowledge_learn(own, x->source, (const char *const *)x->except.v, x->except.n);
    VB_AUTO_FREE char *counter = vb_printf("from:%s", x->from ? x->from : "");
    if (vb_replica_set_knowledge(r, x->p->scope.id, "", NULL, own, err) < 0 || vb_place_keep_master(x->p, x->from, err) < 0 ||
        (x->bundle && x->number && vb_replica_set_number(r, counter, x->number, err) < 0) ||
        (x->full && vb_replica_forget_to(r, x->p->scope.id, x->forgotten, err) < 0)) {
        vb_replica_rollback(r);
        return -1;
    }
    return vb_replica_commit(r, err);
}

/* Times of directories are no change (DSN-3): they go with what was done in them. */
static void set_times(struct vb_receiver *x)
{
    for (size_t i = 0; i < x->n_times; i++) {
        const struct vb_dir_time *t = &x->times[i];
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
                                           { .tv_sec = (time_t)(t->mtime_ns / 1000000000 - (t->mtime_ns % 1000000000 < 0)),
                                             .tv_nsec = (long)((t->mtime_ns % 1000000000 + 1000000000) % 1000000000) } };
        const char *name;
        struct stat st;
        VB_AUTO_FD int dir = vb_place_takes(x->p, t->path, true) ? vb_beneath_parent(x->p->root, t->path, &name) : -1;
        if (dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
            (void)utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW);
    }
}

/* Everything that goes is gone from the new tree before it takes the old one's place. */
static int finish_whole(struct vb_receiver *x, struct vb_error *err)
{
    struct vb_strv seen = { NULL, 0, 0 };
    int result = x->full ? unsent(x, err) : 0;
    if (result == 0)
        result = extras(x, err);
    if (result == 0)
        result = vb_receive_all_well(x, false, err);
    if (result == 0 && x->tree)
        result = vb_tree_swap(x->tree, &seen, err);
    if (result == 0)
        result = vb_receive_scan(x, &seen, err);
    if (result == 0)
        set_times(x);
    vb_strv_clear(&seen);
    return result < 0 ? -1 : learn(x, err);
}

int vb_receive_finish(struct vb_receiver *x, struct vb_error *err)
{
    if (x->n_late)
        qsort(x->late, x->n_late, sizeof *x->late, deepest_first);
    for (size_t i = 0; i < x->n_late; i += LATE_ROWS) /* in this order: a directory goes when those below it are gone */
        if (vb_receive_apply(x, &x->late[i], x->n_late - i < LATE_ROWS ? x->n_late - i : LATE_ROWS, err) < 0)
            return -1;
    if (!x->o->dry_run && !x->whole)
        set_times(x);
    if (x->whole)
        return finish_whole(x, err);
    if (x->full && unsent(x, err) < 0)
        return -1;
    if (!x->o->dry_run && learn(x, err) < 0)
        return -1;
    return extras(x, err);
}
