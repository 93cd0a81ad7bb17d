/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica/send.c - the source's half of a pass: rows that the destination does not know, and the contents it asks for.
 *
 * Live rows go first, each directory before what it holds; tombstones last, so that what was renamed is still there to be
 * copied when its new name arrives.
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/beneath.h"
#include "base/mem.h"
#include "replica/delta.h"
#include "replica/bundle_writers.h"
#include "replica/item_file.h"
#include "replica/pass.h"
#include "replica/role.h"
#include "replica/scan.h"

#define BATCH_ROWS 1024u
#define BATCH_BYTES (1u << 20)
#define TARGET_MAX 65536u

struct sender {
    struct vb_place *p;
    struct vb_rstream *s;
    const struct vb_pass_options *o;
    struct vb_pass_result *out;
    struct vb_knowledge *own, *forgotten, *known;
    struct vb_strv except;
    struct vb_strv dirs;      /* what was sent, and that holds something of it */
    char *last_dir;           /* of the row before: those above it were seen to */
    struct vb_row *rows;      /* of the batch */
    size_t n, cap, bytes;
    bool bundle, full, dry;
    uint64_t items;
    struct vb_error *err;     /* of a callback that ended a walk */
    char *peer;               /* its id, once it said so */
    bool failed;
};

static void warn(struct sender *x, const struct vb_error *what)
{
    if (x->o->warn)
        x->o->warn(x->o->arg, what);
}

/* Not now: the destination does not learn it, and asks again in the next pass (DSN-22). */
static void leave(struct sender *x, const char *path, const struct vb_error *why)
{
    vb_strv_add(&x->except, path);
    x->out->failed++;
    if (why)
        warn(x, why);
}

/* ---- rows ---- */

/* Another name of the same inode, that the destination knows or was sent before this one. */
static int name_other(struct sender *x, struct vb_row *r, uint64_t inode, struct vb_error *err)
{
    size_t first, n = vb_names_of(x->p, inode, &first);
    struct vb_inode_name *names = x->p->names + first;
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        struct vb_item row;
        if (!strcmp(names[i].path, r->item.path)) {
            names[i].sent = true;
            continue;
        }
        if (r->hard)
            continue;
        if (names[i].sent) {
            r->hard = vb_strdup(names[i].path);
        } else if (vb_replica_find(x->p->store, x->p->scope.id, names[i].path, &row, &e) == 0) {
            if (!row.deleted && vb_item_same(&row, &r->item) && vb_knowledge_contains(x->known, row.path, &row.changed))
                r->hard = vb_strdup(row.path);
            vb_item_clear(&row);
        } else if (e.code != VB_E_OBJECT_NOT_FOUND) {
            return vb_error_move(err, &e);
        }
    }
    return 0;
}

/* 1 it is what the row says, 0 it changed since, -1 it cannot be read. */
static int fill(struct sender *x, struct vb_row *r, struct vb_error *err)
{
    struct vb_item *i = &r->item;
    const char *name;
    unsigned char h[VB_HASH_LEN];
    struct stat st;
    VB_AUTO_FD int dir = vb_beneath_parent(x->p->root, i->path, &name);
    VB_AUTO_FD int fd = dir < 0 ? -1 : openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : vb_fail_errno(err, errno, "'%s' cannot be opened", i->path);
    bool is_link = S_ISLNK(st.st_mode);
    if (vb_file_attrs(x->p, fd, true, is_link, &r->attrs, err) < 0) {
        vb_context(err, "'%s'", i->path);
        return -1;
    }
    vb_attrs_hash(r->attrs.data, r->attrs.len, h);
    if (memcmp(h, i->attr, VB_HASH_LEN) != 0)
        return 0;
    switch (i->kind) {
    case VB_ITEM_FILE:
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != i->size)
            return 0;
        return st.st_nlink < 2 || name_other(x, r, st.st_ino, err) == 0 ? 1 : -1;
    case VB_ITEM_DIR:
        return S_ISDIR(st.st_mode);
    case VB_ITEM_LINK: {
        VB_AUTO_FREE char *target = vb_alloc(TARGET_MAX);
        ssize_t n = is_link ? readlinkat(fd, "", target, TARGET_MAX - 1) : -1;
        if (n <= 0)
            return 0;
        vb_hash(target, (size_t)n, h);
        r->target = vb_strdup(target);
        return memcmp(h, i->content, VB_HASH_LEN) == 0;
    }
    case VB_ITEM_SPECIAL:
        r->device = (uint64_t)st.st_rdev;
        r->type = (uint32_t)(st.st_mode & S_IFMT);
        return 1;
    case VB_ITEM_COMPONENT:
        break;
    }
    return 0;
}

static int send_file(struct sender *x, size_t index, uint64_t offset, bool delta, struct vb_error *err);
static int flush_rows(struct sender *x, struct vb_error *err);

static bool in_batch(const struct sender *x, const char *path)
{
    for (size_t i = x->n; i-- > 0;)
        if (!strcmp(x->rows[i].item.path, path))
            return true;
    return false;
}

/* Whose times the destination sets at the end: what it does there moves them. */
static void note_dirs(struct sender *x, const struct vb_item *i)
{
    const char *slash = strrchr(i->path, '/');
    VB_AUTO_FREE char *up = slash ? vb_strndup(i->path, (size_t)(slash - i->path)) : NULL;
    if (up && (!x->dirs.n || strcmp(x->dirs.v[x->dirs.n - 1], up) != 0))
        vb_strv_take(&x->dirs, VB_STEAL(up));
    if (i->kind == VB_ITEM_DIR && !i->deleted)
        vb_strv_add(&x->dirs, i->path);
}

static int put_row(struct sender *x, const struct vb_item *item, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_row r = { .target = NULL };
    if (!vb_place_takes(x->p, item->path, item->kind == VB_ITEM_DIR)) {
        vb_strv_add(&x->except, item->path);
        x->out->left_out++;
        return 0;
    }
    vb_item_copy(&r.item, item);
    int ok = item->deleted ? 1 : fill(x, &r, &why);
    if (ok <= 0) {
        if (ok == 0)
            vb_fail(&why, VB_E_FILE_CHANGED, "'%s' changed since it was looked at; it goes with the next pass", item->path);
        leave(x, item->path, &why);
        vb_row_clear(&r);
        return 0;
    }
    note_dirs(x, item);
    VB_GROW(x->rows, x->n, x->cap);
    x->rows[x->n++] = r;
    x->bytes += strlen(r.item.path) + r.attrs.len + 400;
    x->items++;
    return x->n >= BATCH_ROWS || x->bytes >= BATCH_BYTES ? flush_rows(x, err) : 0;
}

/* A directory that is as new as what it holds, and was saved after it. */
static int parents_first(struct sender *x, const char *path, struct vb_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t up = slash ? (size_t)(slash - path) : 0;
    if (!slash || (x->last_dir && strlen(x->last_dir) == up && !memcmp(x->last_dir, path, up)))
        return 0;
    vb_free_ptr(&x->last_dir);
    x->last_dir = vb_strndup(path, up);
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        VB_AUTO_FREE char *dir = vb_strndup(path, (size_t)(at - path));
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        struct vb_item row;
        if (in_batch(x, dir))
            continue;
        if (vb_replica_find(x->p->store, x->p->scope.id, dir, &row, &e) < 0) {
            if (e.code != VB_E_OBJECT_NOT_FOUND)
                return vb_error_move(err, &e);
            continue;
        }
        int result = row.deleted || vb_knowledge_contains(x->known, dir, &row.changed) ? 0 : put_row(x, &row, err);
        vb_item_clear(&row);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int one_row(void *arg, const struct vb_item *i)
{
    struct sender *x = arg;
    if (!i->deleted && i->kind == VB_ITEM_DIR && in_batch(x, i->path))
        return 0;
    if ((!i->deleted && parents_first(x, i->path, x->err) < 0) || put_row(x, i, x->err) < 0)
        x->failed = true;
    return x->failed;
}

/* ---- a batch ---- */

static int send_needed(struct sender *x, struct vb_error *err)
{
    VB_AUTO_MSG need = VB_MSG_INIT(0);
    struct vb_field_iter it;
    const unsigned char *p;
    uint16_t tag;
    size_t n;
    if (vb_rstream_expect(x->s, VB_R_NEED, &need, err) < 0)
        return -1;
    vb_field_iter_init(&it, &need);
    while (vb_field_next(&it, &tag, &p, &n)) {
        if (tag != VB_RF_NEED)
            continue;
        struct vb_msg g = vb_msg_view(p, n);
        uint64_t index = vb_msg_u64(&g, VB_RF_INDEX, UINT64_MAX), offset = vb_msg_u64(&g, VB_RF_OFFSET, 0);
        if (index >= x->n || x->rows[index].item.kind != VB_ITEM_FILE || x->rows[index].item.deleted || offset > x->rows[index].item.size)
            return vb_fail(err, VB_E_PROTOCOL, "%s: asks for what was not offered", x->s->peer ? x->s->peer : "peer");
        if (send_file(x, (size_t)index, offset, vb_msg_u64(&g, VB_RF_BLOCK, 0) != 0, err) < 0)
            return -1;
    }
    return 0;
}

static int flush_rows(struct sender *x, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_ROWS);
    int result;
    if (!x->n)
        return 0;
    for (size_t i = 0; i < x->n; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_row_put(&g, &x->rows[i]);
        vb_msg_add_group(&m, VB_RF_ROW, &g);
    }
    result = vb_rstream_send(x->s, &m, err);
    if (result == 0 && !x->bundle)
        result = send_needed(x, err);
    for (size_t i = 0; i < x->n && result == 0 && x->bundle; i++)
        if (x->rows[i].item.kind == VB_ITEM_FILE && !x->rows[i].item.deleted && x->rows[i].item.size)
            result = send_file(x, i, 0, false, err);
    if (result == 0) {
        VB_AUTO_MSG end = VB_MSG_INIT(VB_R_ROWS_END);
        result = vb_rstream_send(x->s, &end, err) < 0 ? -1 : vb_rstream_flush(x->s, err); /* they begin while we go on */
    }
    for (size_t i = 0; i < x->n; i++)
        vb_row_clear(&x->rows[i]);
    x->n = x->bytes = 0;
    if (x->o->progress)
        x->o->progress(x->o->arg, x->items, x->out->bytes);
    return result;
}

/* ---- contents ---- */

static int send_file(struct sender *x, size_t index, uint64_t offset, bool delta, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_item *i = &x->rows[index].item;
    int result = vb_give_content(x->p, x->s, index, i, offset, delta, &x->out->bytes, &why, err);
    if (result == 0 && why.code != VB_OK)
        leave(x, i->path, &why);
    return result;
}

/* ---- the pass ---- */

static bool is_live(void *arg, const struct vb_item *i)
{
    (void)arg;
    return !i->deleted;
}

static bool is_dead(void *arg, const struct vb_item *i)
{
    (void)arg;
    return i->deleted;
}

static int each_change(struct sender *x, bool dead, vb_item_fn fn, struct vb_error *err)
{
    struct vb_changes_query q = { .known = x->known, .batch = 2000, .filter = dead ? is_dead : is_live };
    bool last = false;
    x->err = err;
    while (!last) {
        if (vb_replica_changes(x->p->store, x->p->scope.id, &q, fn, x, &q.after_seq, &last, err) < 0 || x->failed)
            return -1;
    }
    return 0;
}

static int one_gone(void *arg, const struct vb_item *i)
{
    struct sender *x = arg;
    if (!x->p->set.deletes) {
        vb_strv_add(&x->except, i->path);
        x->out->left_out++;
        return 0;
    }
    VB_GROW(x->rows, x->n, x->cap);
    x->rows[x->n] = (struct vb_row){ .item.path = vb_strdup(i->path) };
    x->bytes += strlen(i->path) + 8;
    x->n++;
    return 0;
}

static int send_paths(struct sender *x, enum vb_rstream_type type, const struct vb_strv *names, bool note, struct vb_error *err)
{
    size_t i = 0;
    do {
        VB_AUTO_MSG m = VB_MSG_INIT((uint16_t)type);
        for (size_t n = 0; i < names->n && n < 50000 && m.body.len < BATCH_BYTES; i++, n++)
            vb_msg_add(&m, VB_RF_PATH, names->v[i], strlen(names->v[i]));
        vb_msg_add_u64(&m, VB_RF_LAST, i == names->n);
        vb_msg_add_u64(&m, VB_RF_COUNT, note);
        if (vb_rstream_send(x->s, &m, err) < 0)
            return -1;
    } while (i < names->n);
    return 0;
}

static int stop_at_first(void *arg, const struct vb_item *i)
{
    (void)i;
    *(bool *)arg = true;
    return 1;
}

static int any_live(struct sender *x, bool *any, struct vb_error *err)
{
    struct vb_changes_query q = { .known = x->known, .batch = 1, .filter = is_live };
    uint64_t next;
    bool last;
    return vb_replica_changes(x->p->store, x->p->scope.id, &q, stop_at_first, any, &next, &last, err);
}

static int send_gone(struct sender *x, struct vb_error *err)
{
    struct vb_strv names = { NULL, 0, 0 };
    bool coming = false;
    if (each_change(x, true, one_gone, err) < 0)
        return -1;
    for (size_t i = 0; i < x->n; i++)
        vb_strv_take(&names, VB_STEAL(*(char **)(uintptr_t)&x->rows[i].item.path));
    x->n = x->bytes = 0;
    int result = any_live(x, &coming, err) < 0 ? -1 : send_paths(x, VB_R_GONE, &names, coming, err);
    vb_strv_clear(&names);
    return result;
}

/* The order of names is the order of rows, nearly: what repeats is mostly one after the other. */
static int send_times(struct sender *x, struct vb_error *err)
{
    struct stat st;
    vb_strv_sort(&x->dirs);
    for (size_t i = 0; i < x->dirs.n;) {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_R_END);
        for (size_t n = 0; i < x->dirs.n && n < 50000 && m.body.len < BATCH_BYTES; i++) {
            const char *name, *path = x->dirs.v[i];
            VB_AUTO_FD int dir = i && !strcmp(path, x->dirs.v[i - 1]) ? -1 : vb_beneath_parent(x->p->root, path, &name);
            if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
                continue;
            VB_AUTO_MSG g = VB_MSG_INIT(0);
            vb_msg_add(&g, VB_RF_PATH, path, strlen(path));
            vb_msg_add_u64(&g, VB_RF_MTIME, (uint64_t)((int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec));
            vb_msg_add_group(&m, VB_RF_ROW, &g);
            n++;
        }
        vb_msg_add_u64(&m, VB_RF_LAST, 0);
        if (vb_rstream_send(x->s, &m, err) < 0)
            return -1;
    }
    return 0;
}

static int send_all(struct sender *x, struct vb_error *err)
{
    int result;
    if (x->full) {
        x->err = err;
        result = vb_replica_each(x->p->store, x->p->scope.id, NULL, true, one_row, x, err);
        result = result < 0 || x->failed ? -1 : flush_rows(x, err);
    } else {
        result = each_change(x, false, one_row, err) < 0 || flush_rows(x, err) < 0 ? -1 : 0;
        if (result == 0 && x->p->set.deletes)
            result = each_change(x, true, one_row, err) < 0 || flush_rows(x, err) < 0 ? -1 : 0;
    }
    return result < 0 || send_times(x, err) < 0 ? -1 : send_paths(x, VB_R_END, &x->except, x->out->failed > 0, err);
}

static int begin(struct sender *x, const struct vb_bundle_to *to, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BEGIN);
    char id[2 * VB_REPLICA_ID_LEN + 1];
    vb_replica_id_hex(vb_replica_own(x->p->store), id);
    vb_msg_add_u64(&m, VB_RF_VERSION, VB_RSTREAM_VERSION);
    vb_msg_add_str(&m, VB_RF_GUID, x->p->scope.guid);
    vb_msg_add_str(&m, VB_RF_REPLICA, id);
    vb_msg_add_u64(&m, VB_RF_OWNERS, x->p->set.owners);
    vb_msg_add_u64(&m, VB_RF_FULL, x->full);
    vb_msg_add_u64(&m, VB_RF_INTEGRITY, (uint64_t)x->p->set.integrity);
    if (to) {
        vb_msg_add_u64(&m, VB_RF_BUNDLE, 1);
        vb_msg_add_u64(&m, VB_RF_NUMBER, to->number);
    }
    return vb_rstream_send(x->s, &m, err) < 0 || vb_rstream_send_knowledge(x->s, x->own, err) < 0 ||
           vb_rstream_send_knowledge(x->s, x->forgotten, err) < 0 ||
           (to && vb_rstream_send_knowledge(x->s, to->known, err) < 0) ? -1 : 0;
}

static int locked(struct vb_place *p, struct vb_error *err)
{
    unsigned count;
    int64_t since;
    if (vb_place_may(p, VB_ROLE_EXPORT, err) < 0 || vb_replica_locks(p->store, p->scope.id, VB_SIDE_EXPORT, &count, &since, err) < 0)
        return -1;
    if (!count)
        return 0;
    vb_fail(err, VB_E_BUSY, "scope '%s' is locked at the source (%u)", p->scope.name, count);
    vb_hint(err, "see: vbackup scope list; take a lock away with: vbackup unlock %s", p->scope.name);
    return -1;
}

static int prepare(struct sender *x, struct vb_error *err)
{
    VB_AUTO_ERROR back = VB_ERROR_INIT;
    bool clock_back = false;
    if (locked(x->p, err) < 0 || (!x->o->dry_run && vb_place_forget_old(x->p, &clock_back, err) < 0))
        return -1;
    if (clock_back) {
        vb_fail(&back, VB_E_UNEXPECTED, "scope '%s': the clock went backwards; no deletion is forgotten this time", x->p->scope.name);
        warn(x, &back);
    }
    x->own = vb_replica_knowledge(x->p->store, x->p->scope.id, "", NULL, err);
    x->forgotten = x->own ? vb_replica_forgotten(x->p->store, x->p->scope.id, err) : NULL;
    return x->forgotten ? 0 : -1;
}

static void sender_clear(struct sender *x)
{
    vb_knowledge_free(x->own);
    vb_knowledge_free(x->forgotten);
    vb_knowledge_free(x->known);
    for (size_t i = 0; i < x->n; i++)
        vb_row_clear(&x->rows[i]);
    free(x->rows);
    vb_strv_clear(&x->except);
    vb_free_ptr(&x->peer);
    vb_strv_clear(&x->dirs);
    vb_free_ptr(&x->last_dir);
}

/* What the destination wants; its knowledge may show that we are an old copy (DSN-10). */
static int hear_wishes(struct sender *x, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    bool renewed;
    if (vb_rstream_expect(x->s, VB_R_WANTED, &m, err) < 0)
        return -1;
    x->full = vb_msg_u64(&m, VB_RF_FULL, 0) != 0;
    x->dry = vb_msg_u64(&m, VB_RF_DRY_RUN, 0) != 0;
    x->known = vb_rstream_recv_knowledge(x->s, err);
    if (!x->known || vb_replica_check_peer(x->p->store, x->known, &renewed, err) < 0)
        return -1;
    if (!renewed)
        return 0;
    x->p->scope.trusted = false;
    return vb_fail(err, VB_E_BUSY, "scope '%s' was an old copy of itself and took a new identity; run this again", x->p->scope.name);
}

static int keep_result(struct sender *x, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    struct vb_pass_result theirs = { 0 };
    if (vb_rstream_expect(x->s, VB_R_RESULT, &m, err) < 0)
        return -1;
    vb_pass_result_get(&m, &theirs);
    VB_AUTO_FREE char *peer = vb_msg_str(&m, VB_RF_REPLICA);
    VB_AUTO_KNOWLEDGE *k = vb_rstream_recv_knowledge(x->s, err);
    struct vb_replica_id id;
    if (k && peer && vb_replica_id_parse(peer, &id))
        x->peer = vb_strdup(peer);
    if (!k || !peer || !vb_replica_id_parse(peer, &id))
        return k ? vb_fail(err, VB_E_PROTOCOL, "the destination does not say who it is") : -1;
    theirs.failed += x->out->failed;
    theirs.left_out += x->out->left_out;
    theirs.bytes = x->out->bytes;
    *x->out = theirs;
    if (x->dry)
        return 0;
    if (vb_replica_begin(x->p->store, err) < 0)
        return -1;
    if (vb_replica_set_knowledge(x->p->store, x->p->scope.id, peer, NULL, k, err) < 0) {
        vb_replica_rollback(x->p->store);
        return -1;
    }
    return vb_replica_commit(x->p->store, err);
}

int vb_pass_send(struct vb_place *p, struct vb_rstream *s, const struct vb_pass_options *o, struct vb_pass_result *out,
                 struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_MSG go = VB_MSG_INIT(0);
    VB_CLEANUP(sender_clear) struct sender x = { .p = p, .s = s, .o = o, .out = out, .full = o->full };
    vb_names_unsent(p);
    *out = (struct vb_pass_result){ 0 };
    if (prepare(&x, &why) < 0 || begin(&x, NULL, &why) < 0 || hear_wishes(&x, &why) < 0 ||
        (!x.dry && vb_replica_publish(p->store, &why) < 0) || send_gone(&x, &why) < 0 ||
        vb_rstream_expect(s, VB_R_GO, &go, &why) < 0 || send_all(&x, &why) < 0 || keep_result(&x, &why) < 0) {
        vb_rstream_fail(s, &why);
        vb_replica_rollback(p->store);
        vb_pass_note(p, VB_SIDE_EXPORT, o, x.peer, out, &why);
        return vb_error_move(err, &why);
    }
    vb_pass_note(p, VB_SIDE_EXPORT, o, x.peer, out, NULL);
    return 0;
}

int vb_pass_write(struct vb_place *p, struct vb_rstream *s, const struct vb_bundle_to *to, const struct vb_pass_options *o,
                  struct vb_pass_result *out, struct vb_error *err)
{
    VB_CLEANUP(sender_clear) struct sender x = { .p = p, .s = s, .o = o, .out = out, .bundle = true };
    vb_names_unsent(p);
    *out = (struct vb_pass_result){ 0 };
    x.known = vb_knowledge_copy(to->known);
    return prepare(&x, err) < 0 || vb_replica_publish(p->store, err) < 0 || begin(&x, to, err) < 0 || send_gone(&x, err) < 0 ||
                   vb_bundle_send_writers(p, s, o, err) < 0 || send_all(&x, err) < 0 ? -1 : 0;
}
