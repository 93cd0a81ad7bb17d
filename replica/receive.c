/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/receive.c - the destination's half of a pass: what it says, what it refuses, batches applied, and what it learns.
 *
 * Everything of a batch is decided, received and staged before the first name changes; the batch is durable, rows and
 * item knowledge with it, before the next one is taken.  The whole knowledge is learnt at the end (DSN-22).
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "replica/bundle_writers.h"
#include "replica/item_file.h"
#include "replica/receive.h"
#include "replica/role.h"
#include "replica/scan.h"

#define GUARD_ITEMS 50u
#define HEARD_MAX (64u << 20) /* of what END says: names, and what is kept with each */

const char *vb_action_word(enum vb_action a)
{
    static const char *const words[] = { "", "create", "change", "attributes", "delete", "rename", "conflict, ours stays",
                                         "conflict, theirs wins", "copy of the loser", "conflict, left", "same on both sides",
                                         "extra", "keep directory" };
    return (unsigned)a < VB_COUNT(words) ? words[a] : "";
}

bool vb_pass_quiet(const struct vb_pass_result *r)
{
    return !(r->created || r->changed || r->deleted || r->conflicts || r->converged || r->deferred || r->failed || r->minted || r->writers);
}

#define RESULT_TAG 2000

void vb_pass_result_put(struct vb_msg *m, const struct vb_pass_result *r)
{
    const uint64_t v[] = { r->created, r->changed, r->deleted, r->renamed, r->converged, r->conflicts, r->copies, r->deferred,
                           r->failed, r->left_out, r->extra, r->bytes, r->minted };
    for (size_t i = 0; i < VB_COUNT(v); i++)
        vb_msg_add_u64(m, (uint16_t)(RESULT_TAG + i), v[i]);
}

void vb_pass_result_get(const struct vb_msg *m, struct vb_pass_result *r)
{
    uint64_t *const v[] = { &r->created, &r->changed, &r->deleted, &r->renamed, &r->converged, &r->conflicts, &r->copies, &r->deferred,
                            &r->failed, &r->left_out, &r->extra, &r->bytes, &r->minted };
    for (size_t i = 0; i < VB_COUNT(v); i++)
        *v[i] = vb_msg_u64(m, (uint16_t)(RESULT_TAG + i), 0);
}

/* ---- before anything is taken ---- */

static int import_lock(struct vb_place *p, struct vb_error *err)
{
    unsigned count;
    int64_t since;
    if (vb_place_may(p, VB_ROLE_IMPORT, err) < 0 || vb_replica_locks(p->store, p->scope.id, VB_SIDE_IMPORT, &count, &since, err) < 0)
        return -1;
    return count ? vb_fail(err, VB_E_BUSY, "scope '%s' is locked at the target (%u)", p->scope.name, count) : 0;
}

static int check_begin(struct vb_receiver *x, const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_FREE char *guid = vb_msg_str(m, VB_RF_GUID);
    uint64_t version = vb_msg_u64(m, VB_RF_VERSION, 0);
    if (version != VB_RSTREAM_VERSION)
        return vb_fail(err, VB_E_NEWER_FORMAT, "the changes come in format %llu, this program knows %u", (unsigned long long)version,
                       VB_RSTREAM_VERSION);
    if (!guid || !vb_item_path_good(guid) || strcmp(guid, x->p->scope.guid) != 0) {
        vb_fail(err, VB_E_GUARD, "these are the changes of another scope than '%s'", x->p->scope.name);
        vb_hint(err, "name the scope they were made for, or register one with its identity: scope add --join");
        return -1;
    }
    if ((vb_msg_u64(m, VB_RF_OWNERS, 0) != 0) != x->p->set.owners) {
        vb_fail(err, VB_E_CONFIG, "scope '%s': one side replicates owners, the other does not", x->p->scope.name);
        vb_hint(err, "set it alike: vbackup scope set %s --owners=yes or no", x->p->scope.name);
        return -1;
    }
    x->bundle = vb_msg_u64(m, VB_RF_BUNDLE, 0) != 0;
    x->number = vb_msg_u64(m, VB_RF_NUMBER, 0);
    x->from = vb_msg_str(m, VB_RF_REPLICA);
    return 0;
}

static bool tree_is_empty(struct vb_receiver *x)
{
    uint64_t live = 0, dead = 0;
    return vb_replica_count(x->p->store, x->p->scope.id, &live, &dead, NULL) == 0 && live == 0;
}

static int check_stale(struct vb_receiver *x, struct vb_error *err)
{
    if (x->full || !vb_replica_stale(x->forgotten, x->own, tree_is_empty(x)))
        return 0;
    vb_fail(err, VB_E_STALE, "scope '%s' was away for so long that the source has forgotten deletions", x->p->scope.name);
    vb_hint(err, "nothing was changed; compare everything with: vbackup replicate --full");
    return -1;
}

/* Bundles of one sender are counted, so that a gap can be named. */
static char *counter_of(const struct vb_receiver *x)
{
    return vb_printf("from:%s", x->from ? x->from : "");
}

static int check_prerequisite(struct vb_receiver *x, const struct vb_knowledge *made_for, struct vb_error *err)
{
    VB_AUTO_FREE char *counter = counter_of(x);
    uint64_t last = 0;
    const char *item;
    struct vb_version v;
    char id[2 * VB_REPLICA_ID_LEN + 1];
    if (!vb_knowledge_missing(x->own, made_for, &item, &v))
        return 0;
    vb_replica_id_hex(&v.replica, id);
    vb_fail(err, VB_E_PREREQUISITE, "scope '%s': the bundle builds on replica %.8s's change %llu, which is not here", x->p->scope.name, id,
            (unsigned long long)v.tick);
    if (vb_replica_number(x->p->store, counter, &last, NULL) == 0)
        vb_hint(err, "this is number %llu; expected is number %llu", (unsigned long long)x->number, (unsigned long long)last + 1);
    return -1;
}

/* The items of which we have what the source never saw are asked for anew: it decides (exact). */
struct lower {
    struct vb_knowledge *k;
    const char *path;
};
static int lower_one(void *arg, const char *item, const struct vb_version *v)
{
    struct lower *l = arg;
    if (item)
        return 1;
    struct vb_version none = { v->replica, 0 };
    vb_knowledge_set_item(l->k, l->path, &none);
    return 0;
}

static int wish_exact(struct vb_receiver *x, struct vb_error *err)
{
    struct vb_strv paths = { NULL, 0, 0 };
    if (vb_receive_unknown(x, &paths, false, err) < 0)
        return -1;
    VB_AUTO_KNOWLEDGE *main_part = vb_knowledge_copy(x->own);
    for (size_t i = 0; i < paths.n; i++) {
        struct lower l = { x->own, paths.v[i] };
        vb_knowledge_each(main_part, lower_one, &l);
    }
    vb_strv_clear(&paths);
    return 0;
}

/* What would be deleted is known before the first file is touched (DSN-27). */
int vb_receive_guard(struct vb_receiver *x, uint64_t deletes, bool something_comes, struct vb_error *err)
{
    uint64_t live, dead;
    if (vb_replica_count(x->p->store, x->p->scope.id, &live, &dead, err) < 0)
        return -1;
    bool many = deletes > GUARD_ITEMS && deletes > live / 4, all = deletes && deletes >= live && !something_comes;
    if ((!many && !all) || x->o->allow_deletes >= deletes)
        return 0;
    vb_fail(err, VB_E_GUARD, "scope '%s': %llu of %llu items would be deleted", x->p->scope.name, (unsigned long long)deletes,
            (unsigned long long)live);
    vb_hint(err, "if that is meant, allow it: --allow-deletes=%llu", (unsigned long long)deletes);
    return -1;
}

static int hear_gone(struct vb_receiver *x, struct vb_error *err)
{
    uint64_t deletes = 0;
    bool coming = true;
    for (bool last = false; !last;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        struct vb_field_iter it;
        const unsigned char *p;
        uint16_t tag;
        size_t n;
        if (vb_rstream_expect(x->s, VB_R_GONE, &m, err) < 0)
            return -1;
        vb_field_iter_init(&it, &m);
        while (vb_field_next(&it, &tag, &p, &n)) {
            VB_AUTO_FREE char *path = tag == VB_RF_PATH ? vb_field_str(p, n) : NULL;
            struct vb_item row;
            if (path && vb_replica_find(x->p->store, x->p->scope.id, path, &row, NULL) == 0) {
                deletes += !row.deleted;
                vb_item_clear(&row);
            }
        }
        last = vb_msg_u64(&m, VB_RF_LAST, 1) != 0;
        coming = vb_msg_u64(&m, VB_RF_COUNT, 1) != 0;
    }
    return vb_receive_guard(x, deletes, coming, err);
}

/* ---- a batch ---- */

int vb_receive_scan(struct vb_receiver *x, const struct vb_strv *paths, struct vb_error *err)
{
    if (!paths->n)
        return 0;
    struct timespec now;
    uint64_t tick = vb_replica_tick(x->p->store);
    if (vb_file_clock(x->p, &now, err) < 0 || vb_replica_begin(x->p->store, err) < 0)
        return -1;
    for (size_t i = 0; i < paths->n; i++) {
        struct vb_item row;
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (vb_scan_one(x->p, paths->v[i], &now, &row, &why) < 0 && why.code != VB_E_UNSTABLE) {
            vb_replica_rollback(x->p->store);
            return vb_error_move(err, &why);
        }
        vb_item_clear(&row);
        vb_strv_add(&x->resolved, paths->v[i]);
    }
    if (vb_replica_commit(x->p->store, err) < 0)
        return -1;
    x->out->minted += vb_replica_tick(x->p->store) - tick;
    return 0;
}

/* The loser's content: a file beside the winner, or thrown away where it can be found. */
static void keep_loser(struct vb_receiver *x, struct vb_incoming *in, struct vb_strv *made)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const char *name;
    if (in->policy == VB_POLICY_BOTH) {
        VB_AUTO_FREE char *copy = vb_conflict_name(in->row.item.path, &in->row.item.origin);
        if (x->whole) {
            if (vb_receive_need_tree(x, &why) < 0 || vb_tree_add(x->tree, in->staged, copy, &why) < 0)
                vb_receive_leave(x, in, &why);
            return;
        }
        VB_AUTO_FD int dir = vb_beneath_parent(x->p->root, copy, &name);
        if (dir >= 0 && renameat2(x->p->stage, in->staged, dir, name, RENAME_NOREPLACE) == 0) {
            vb_strv_add(made, copy);
            return;
        }
        if (dir >= 0 && errno == EEXIST) { /* resolved elsewhere in the same way: it is there already */
            unlinkat(x->p->stage, in->staged, 0);
            return;
        }
    }
    if (vb_trash(x->p, x->p->stage, in->staged, in->row.item.path, &why) < 0)
        vb_receive_leave(x, in, &why);
}

/* A directory that should go, or become a file, but holds what only we have: it stays, and everybody learns so. */
static int keep_dir(struct vb_receiver *x, struct vb_incoming *in, struct vb_strv *made, struct vb_error *err)
{
    struct vb_item row = in->local;
    struct vb_replica *r = x->p->store;
    if (vb_replica_begin(r, err) < 0)
        return -1;
    if (vb_replica_intent_done(r, x->p->scope.id, row.path, err) < 0 || vb_replica_mint(r, &row.changed, err) < 0 || vb_replica_save(r, x->p->scope.id, &row, err) < 0 ||
        vb_replica_know_item(r, x->p->scope.id, row.path, &in->row.item.changed, err) < 0) {
        vb_replica_rollback(r);
        return -1;
    }
    x->out->minted++;
    x->out->conflicts++;
    vb_strv_add(&x->resolved, row.path);
    vb_receive_tell(x, VB_ACT_KEEP_DIR, row.path, NULL);
    if (vb_replica_commit(r, err) < 0)
        return -1;
    if (in->staged && !in->row.item.deleted)
        keep_loser(x, in, made);
    return 0;
}

int vb_receive_need_tree(struct vb_receiver *x, struct vb_error *err)
{
    if (!x->tree)
        x->tree = vb_tree_begin(x->p, err);
    return x->tree ? 0 : -1;
}

int vb_receive_all_well(struct vb_receiver *x, bool at_source, struct vb_error *err)
{
    if (!x->whole || (!x->out->failed && !at_source))
        return 0;
    vb_fail(err, VB_E_UNSTABLE, "scope '%s': not all of its changes can be had now: with tree integrity the tree stays as it was", x->p->scope.name);
    vb_hint(err, "the reasons stand above; run it again");
    return -1;
}

/* Into the new tree, not into the live one; rows that need no file are saved at once. */
static int apply_whole(struct vb_receiver *x, struct vb_apply_op *ops, struct vb_incoming **from, size_t n, struct vb_error *err)
{
    struct vb_strv made = { NULL, 0, 0 };
    int result = n ? vb_receive_need_tree(x, err) : 0;
    size_t rows = 0;
    for (size_t i = 0; i < n && result == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (ops[i].kind == VB_APPLY_ROW) {
            struct vb_apply_op was = ops[rows];
            ops[i].done = true;
            ops[rows] = ops[i];
            if (rows++ != i)
                ops[i] = was;
        } else if (vb_tree_take(x->tree, &ops[i], &why) < 0) {
            result = why.code == VB_E_CONFLICT && from[i]->local.path ? keep_dir(x, from[i], &made, err) : vb_error_move(err, &why);
            continue;
        }
        if (from[i]->loser_copy)
            keep_loser(x, from[i], &made);
    }
    if (result == 0 && rows)
        result = vb_apply_settle(x->p, ops, rows, err);
    return result;
}

int vb_receive_apply(struct vb_receiver *x, struct vb_incoming *rows, size_t n, struct vb_error *err)
{
    struct vb_apply_op *ops = vb_alloc_n(n ? n : 1, sizeof *ops);
    struct vb_incoming **from = vb_alloc_n(n ? n : 1, sizeof(void *));
    struct vb_strv made = { NULL, 0, 0 };
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        struct vb_incoming *in = &rows[i];
        if (!in->acts || in->failed)
            continue;
        if (in->needs && !in->loser_copy)
            in->op.staged = vb_strdup(in->staged);
        from[k] = in;
        ops[k++] = in->op;
        in->op = (struct vb_apply_op){ .kind = VB_APPLY_ROW };
    }
    int result = 0;
    if (k) {
        result = vb_replica_begin(x->p->store, err);
        if (result == 0 && (result = vb_apply_intend(x->p, ops, k, err)) < 0)
            vb_replica_rollback(x->p->store);
        if (result == 0)
            result = vb_replica_commit(x->p->store, err);
    }
    if (result == 0 && x->whole)
        result = apply_whole(x, ops, from, k, err);
    for (size_t i = 0; i < k && result == 0 && !x->whole; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (vb_apply_do(x->p, &ops[i], &made, &why) == 0) {
            if (from[i]->loser_copy)
                keep_loser(x, from[i], &made);
        } else if (why.code == VB_E_CONFLICT && from[i]->local.path) {
            result = keep_dir(x, from[i], &made, err);
        } else {
            vb_receive_leave(x, from[i], &why);
        }
    }
    if (result == 0 && k && !x->whole)
        result = vb_apply_settle(x->p, ops, k, err);
    if (result == 0)
        result = vb_receive_scan(x, &made, err);
    for (size_t i = 0; i < k; i++)
        vb_apply_op_clear(&ops[i]);
    free(ops);
    free(from);
    vb_strv_clear(&made);
    return result;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int parse_rows(struct vb_receiver *x, const struct vb_msg *m, struct vb_error *err)
{
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t n;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_RF_ROW)
            continue;
        VB_GROW(x->rows, x->n, x->cap);
        x->rows[x->n] = (struct vb_incoming){ .fd = -1 };
        if (vb_row_get(p, n, &x->rows[x->n].row, err) < 0)
            return -1;
        const char *path = x->rows[x->n++].row.item.path;
        if (x->full)
            vb_strv_add(&x->sent, path);
    }
    VB_AUTO_FREE const char **paths = vb_alloc_n(x->n + 1, sizeof *paths);
    for (size_t i = 0; i < x->n; i++)
        paths[i] = x->rows[i].row.item.path;
    qsort(paths, x->n, sizeof *paths, by_text);
    for (size_t i = 1; i < x->n; i++)
        if (!strcmp(paths[i - 1], paths[i]))
            return vb_fail(err, VB_E_PROTOCOL, "'%s' comes twice at once", paths[i]);
    return 0;
}

/* What was staged and has not gone to its place is of no use to anybody; a part of a large file is. */
static void unstage(struct vb_receiver *x, const struct vb_incoming *in)
{
    if (in->staged && in->staged[0] == 'n')
        unlinkat(x->p->stage, in->staged, 0);
}

static void drop_rows(struct vb_receiver *x)
{
    for (size_t i = 0; i < x->n; i++)
        vb_incoming_clear(&x->rows[i]);
    x->n = 0;
}

/* Decided in one transaction: what the scan had not seen, and versions of resolutions, are in the store before a file is
 * touched.  A dry run takes them back. */
static int decide_all(struct vb_receiver *x, struct vb_error *err)
{
    if (vb_place_ticks(x->p, err) < 0 || vb_replica_begin(x->p->store, err) < 0)
        return -1;
    for (size_t i = 0; i < x->n; i++) {
        if (vb_decide(x, &x->rows[i], err) < 0) {
            vb_replica_rollback(x->p->store);
            return -1;
        }
    }
    if (!x->o->dry_run)
        return vb_replica_commit(x->p->store, err);
    vb_replica_rollback(x->p->store);
    return 0;
}

static int take_batch(struct vb_receiver *x, const struct vb_msg *m, struct vb_error *err)
{
    int result = parse_rows(x, m, err);
    if (result == 0)
        result = decide_all(x, err);
    if (result == 0)
        result = vb_take_contents(x, err);
    if (result == 0 && !x->o->dry_run) {
        for (size_t i = 0; i < x->n; i++) {
            if (x->rows[i].acts && x->rows[i].late && !x->rows[i].failed) {
                if (x->n_late > x->live) /* each is a directory that was here */
                    return vb_fail(err, VB_E_PROTOCOL, "more directories go than there are");
                VB_GROW(x->late, x->n_late, x->cap_late);
                x->late[x->n_late++] = x->rows[i];
                x->rows[i] = (struct vb_incoming){ .fd = -1 };
            }
        }
        result = vb_receive_all_well(x, false, err) < 0 ? -1 : vb_receive_apply(x, x->rows, x->n, err);
    }
    x->items += x->n;
    if (x->o->progress)
        x->o->progress(x->o->arg, x->items, x->out->bytes);
    for (size_t i = 0; i < x->n && result < 0; i++)
        unstage(x, &x->rows[i]);
    drop_rows(x);
    return result;
}

/* ---- the end ---- */

/* What is left out is not learnt; if that is more than fits, nothing is, but what was applied one by one. */
static void hear_except(struct vb_receiver *x, const unsigned char *p, size_t n)
{
    VB_AUTO_FREE char *path = vb_field_str(p, n);
    if (x->heard > HEARD_MAX || !path) {
        x->unlearnt = true;
        vb_strv_clear(&x->except);
    }
    if (!x->unlearnt)
        vb_strv_take(&x->except, VB_STEAL(path));
}

static void hear_time(struct vb_receiver *x, const unsigned char *p, size_t n)
{
    struct vb_msg g = vb_msg_view(p, n);
    VB_AUTO_FREE char *path = vb_msg_str(&g, VB_RF_PATH);
    if (x->heard > HEARD_MAX || !path || !vb_item_path_good(path))
        return;
    VB_GROW(x->times, x->n_times, x->cap_times);
    x->times[x->n_times++] = (struct vb_dir_time){ VB_STEAL(path), (int64_t)vb_msg_u64(&g, VB_RF_MTIME, 0) };
}

static int hear_end(struct vb_receiver *x, const struct vb_msg *first, struct vb_error *err)
{
    struct vb_msg m = *first;
    bool failed;
    for (;;) {
        struct vb_field_iter it;
        const unsigned char *p;
        uint16_t tag;
        size_t n;
        vb_field_iter_init(&it, &m);
        while (vb_field_next(&it, &tag, &p, &n)) {
            x->heard += n + sizeof(struct vb_dir_time);
            if (tag == VB_RF_ROW)
                hear_time(x, p, n);
            if (tag == VB_RF_PATH)
                hear_except(x, p, n);
        }
        bool last = vb_msg_u64(&m, VB_RF_LAST, 1) != 0;
        failed = vb_msg_u64(&m, VB_RF_COUNT, 0) != 0;
        if (m.body.data != first->body.data)
            vb_msg_clear(&m);
        if (last)
            return vb_receive_all_well(x, failed, err);
        m = (struct vb_msg)VB_MSG_INIT(0);
        if (vb_rstream_expect(x->s, VB_R_END, &m, err) < 0)
            return -1;
    }
}

static int tell_result(struct vb_receiver *x, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_RESULT);
    char id[2 * VB_REPLICA_ID_LEN + 1];
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(x->p->store, x->p->scope.id, "", NULL, err);
    if (!own)
        return -1;
    vb_replica_id_hex(vb_replica_own(x->p->store), id);
    vb_msg_add_str(&m, VB_RF_REPLICA, id);
    vb_pass_result_put(&m, x->out);
    return vb_rstream_send(x->s, &m, err) < 0 || vb_rstream_send_knowledge(x->s, own, err) < 0 ? -1 : vb_rstream_flush(x->s, err);
}

static int wish(struct vb_receiver *x, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_WANTED);
    VB_AUTO_MSG go = VB_MSG_INIT(VB_R_GO);
    if (x->o->exact && wish_exact(x, err) < 0)
        return -1;
    vb_msg_add_u64(&m, VB_RF_EMPTY, tree_is_empty(x));
    vb_msg_add_u64(&m, VB_RF_FULL, x->full);
    vb_msg_add_u64(&m, VB_RF_DRY_RUN, x->o->dry_run);
    if (vb_rstream_send(x->s, &m, err) < 0 || vb_rstream_send_knowledge(x->s, x->own, err) < 0 || hear_gone(x, err) < 0)
        return -1;
    return vb_rstream_send(x->s, &go, err);
}

static int any_held(void *arg, const struct vb_held *h)
{
    (void)h;
    *(bool *)arg = true;
    return 1;
}

/* 1: a bundle that was applied before. */
static int hear_begin(struct vb_receiver *x, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_KNOWLEDGE *made_for = NULL;
    bool renewed = false;
    if (vb_rstream_expect(x->s, VB_R_BEGIN, &m, err) < 0)
        return -1;
    x->full = x->o->full || vb_msg_u64(&m, VB_RF_FULL, 0) != 0;
    x->whole = !x->o->dry_run && (x->p->set.integrity == VB_INTEGRITY_TREE || vb_msg_u64(&m, VB_RF_INTEGRITY, 0) == VB_INTEGRITY_TREE);
    if (check_begin(x, &m, err) < 0 || !(x->source = vb_rstream_recv_knowledge(x->s, err)) ||
        !(x->forgotten = vb_rstream_recv_knowledge(x->s, err)) || (x->bundle && !(made_for = vb_rstream_recv_knowledge(x->s, err))) ||
        !(x->own = vb_replica_knowledge(x->p->store, x->p->scope.id, "", NULL, err)) ||
        vb_replica_each_conflict(x->p->store, x->p->scope.id, NULL, any_held, &x->held, err) < 0 ||
        vb_replica_check_peer(x->p->store, x->source, &renewed, err) < 0)
        return -1;
    if (vb_place_check_master(x->p, x->from, err) < 0)
        return -1;
    if (renewed)
        return vb_fail(err, VB_E_BUSY, "scope '%s' was an old copy of itself and took a new identity; run this again", x->p->scope.name);
    if (x->bundle && vb_knowledge_covers(x->own, x->source))
        return 1;
    if (x->bundle && check_prerequisite(x, made_for, err) < 0)
        return -1;
    return check_stale(x, err);
}

static int hear_writer(struct vb_receiver *x, const struct vb_msg *m, struct vb_error *err)
{
    int taken = vb_bundle_take_writer(x->p, x->s, x->o, x->from, m, err);
    x->out->writers += taken > 0;
    return taken < 0 ? -1 : 0;
}

/* The rows of this bundle are here already; what its writers have may be new all the same. */
static int hear_writers_only(struct vb_receiver *x, struct vb_error *err)
{
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_rstream_recv(x->s, &m, err) < 0)
            return -1;
        if (m.type != VB_R_GONE && m.type != VB_R_EXT)
            return 0;
        if (m.type == VB_R_EXT && hear_writer(x, &m, err) < 0)
            return -1;
    }
}

static int receive(struct vb_receiver *x, struct vb_error *err)
{
    int done = hear_begin(x, err);
    if (done)
        return done < 0 ? -1 : hear_writers_only(x, err);
    uint64_t old, dead;
    if (vb_replica_count(x->p->store, x->p->scope.id, &x->live, &dead, err) < 0 || vb_file_clock(x->p, &x->now, err) < 0 ||
        (!x->o->dry_run && vb_trash_expire(x->p, (int64_t)x->now.tv_sec * 1000, &old, err) < 0) || (x->bundle ? hear_gone(x, err) : wish(x, err)) < 0)
        return -1;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_rstream_recv(x->s, &m, err) < 0)
            return -1;
        if (m.type == VB_R_ROWS) {
            if (take_batch(x, &m, err) < 0)
                return -1;
            continue;
        }
        if (m.type == VB_R_EXT && x->bundle) {
            if (hear_writer(x, &m, err) < 0)
                return -1;
            continue;
        }
        if (m.type != VB_R_END)
            return vb_fail(err, VB_E_PROTOCOL, "message %d where rows were due", (int)m.type);
        return hear_end(x, &m, err) < 0 || vb_receive_finish(x, err) < 0 ? -1 : tell_result(x, err);
    }
}

int vb_pass_receive(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, struct vb_pass_result *out,
                    struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_receiver x = { .p = p, .s = s, .o = o, .out = out };
    x.policy = (enum vb_conflict_policy)(o->policy >= 0 ? o->policy : o->exact ? (int)VB_POLICY_SOURCE : p->set.policy);
    *out = (struct vb_pass_result){ 0 };
    int result = import_lock(p, &why) < 0 ? -1 : receive(&x, &why);
    if (result < 0) {
        vb_replica_rollback(p->store);
        vb_rstream_fail(s, &why);
        vb_pass_note(p, VB_SIDE_IMPORT, o, x.from, out, &why);
        vb_error_move(err, &why);
    } else {
        vb_pass_note(p, VB_SIDE_IMPORT, o, x.from, out, NULL);
    }
    vb_tree_free(x.tree);
    drop_rows(&x);
    for (size_t i = 0; i < x.n_late; i++) {
        if (result < 0)
            unstage(&x, &x.late[i]);
        vb_incoming_clear(&x.late[i]);
    }
    free(x.rows);
    free(x.late);
    for (size_t i = 0; i < x.n_times; i++)
        free(x.times[i].path);
    free(x.times);
    vb_strv_clear(&x.except);
    vb_strv_clear(&x.resolved);
    vb_strv_clear(&x.sent);
    vb_free_ptr(&x.from);
    vb_knowledge_free(x.own);
    vb_knowledge_free(x.source);
    vb_knowledge_free(x.forgotten);
    return result;
}
