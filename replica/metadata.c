/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/metadata.c - vbackup/replica.h: the metadata of a replica, over the store of tracking/. */
#include <config.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "base/io.h"
#include "base/mem.h"
#include "replica/metadata.h"

#define OWN_SCOPE "items"
#define TICKS 100000u

enum vb_code vb_metadata_end(const struct vb_metadata *m, int result)
{
    return result == 0 ? VB_OK : m->last.code != VB_OK ? m->last.code : VB_E_UNEXPECTED;
}

void vb_tell_failure(struct vb_error *err, enum vb_code *code, char **text)
{
    if (code)
        *code = err->code;
    if (text)
        *text = vb_strdup(vb_error_text(err));
}

/* ---- knowledge as bytes ---- */

void *vb_knowledge_save(const struct vb_knowledge *k, size_t *n)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_knowledge_encode(k, &b);
    *n = b.len;
    return vb_buf_take_str(&b);
}

struct vb_knowledge *vb_knowledge_load(const void *p, size_t n)
{
    return vb_knowledge_decode(p, n, NULL);
}

/* ---- items ---- */

struct vb_metadata_item vb_metadata_item_of(const struct vb_item *i)
{
    struct vb_metadata_item o = { .size = sizeof o, .kind = i->kind, .path = i->path, .bytes = i->size, .mtime_ns = i->mtime_ns,
                                  .mode = i->mode, .owner = i->owner, .created = i->created, .changed = i->changed,
                                  .origin = i->origin.version, .origin_mtime_ns = i->origin.mtime_ns, .deleted = i->deleted,
                                  .moved_to = i->moved_to };
    memcpy(o.attr, i->attr, VB_HASH_LEN);
    memcpy(o.content, i->content, VB_HASH_LEN);
    return o;
}

int vb_metadata_item_read(const struct vb_metadata_item *from, struct vb_item *to, struct vb_error *err)
{
    struct vb_metadata_item i = { .size = 0 };
    memcpy(&i, from, from->size < sizeof i ? from->size : sizeof i);
    if (!i.path || !vb_item_path_good(i.path) || i.kind < VB_ITEM_FILE || i.kind > VB_ITEM_COMPONENT)
        return vb_fail(err, VB_E_USAGE, "item '%s': no path below the root, or of no kind", i.path ? i.path : "");
    *to = (struct vb_item){ .path = i.path, .kind = i.kind, .size = i.bytes, .mtime_ns = i.mtime_ns, .mode = i.mode, .owner = i.owner,
                            .created = i.created, .changed = i.changed, .origin = { i.origin_mtime_ns, i.origin }, .deleted = i.deleted,
                            .moved_to = i.moved_to };
    memcpy(to->attr, i.attr, VB_HASH_LEN);
    memcpy(to->content, i.content, VB_HASH_LEN);
    return 0;
}

static char *put_text(char **at, const char *text)
{
    char *here = *at;
    size_t n = text ? strlen(text) + 1 : 0;
    if (!text)
        return NULL;
    memcpy(here, text, n);
    *at += n;
    return here;
}

/* One block with its strings behind it. */
static struct vb_metadata_item *item_block(const struct vb_item *i)
{
    struct vb_metadata_item v = vb_metadata_item_of(i);
    size_t n = sizeof v + strlen(i->path) + 1 + (i->owner ? strlen(i->owner) + 1 : 0) + (i->moved_to ? strlen(i->moved_to) + 1 : 0);
    struct vb_metadata_item *o = vb_alloc(n);
    char *at = (char *)(o + 1);
    *o = v;
    o->path = put_text(&at, i->path);
    o->owner = put_text(&at, i->owner);
    o->moved_to = put_text(&at, i->moved_to);
    return o;
}

/* ---- opened and closed ---- */

static struct vb_replica_setup setup_of(const struct vb_metadata_setup *setup, char **machine)
{
    struct vb_metadata_setup s = { .size = 0 };
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (setup)
        memcpy(&s, setup, setup->size < sizeof s ? setup->size : sizeof s);
    if (!s.machine && vb_read_file_at(AT_FDCWD, "/etc/machine-id", 256, &b, NULL) == 0) {
        *machine = vb_strdup(vb_buf_str(&b));
        (*machine)[strcspn(*machine, "\n")] = 0;
    }
    return (struct vb_replica_setup){ .machine = s.machine ? s.machine : *machine, .now_ms = s.now_ms, .arg = s.arg };
}

int vb_metadata_ticks(struct vb_metadata *m)
{
    if (m->place)
        return vb_place_ticks(m->place, &m->last);
    return vb_replica_bound(m->store) - vb_replica_tick(m->store) >= TICKS ? 0 : vb_replica_reserve(m->store, 2 * TICKS, &m->last);
}

static int open_own(struct vb_metadata *m, const char *path, const struct vb_replica_setup *setup, struct vb_error *err)
{
    struct vb_scope s;
    VB_AUTO_ERROR none = VB_ERROR_INIT;
    if (vb_replica_open(AT_FDCWD, path, setup, &m->store, err) < 0)
        return -1;
    if (vb_replica_scope_find(m->store, OWN_SCOPE, &s, &none) == 0) {
        m->scope = s.id;
        vb_scope_clear(&s);
        return 0;
    }
    if (vb_replica_begin(m->store, err) < 0 || vb_replica_scope_add(m->store, OWN_SCOPE, "/", NULL, 0, &m->scope, err) < 0)
        return -1;
    return vb_replica_commit(m->store, err);
}

static struct vb_metadata *opened(struct vb_metadata *m, int result, struct vb_error *err, enum vb_code *code, char **text)
{
    if (result == 0 && vb_metadata_ticks(m) < 0)
        result = vb_error_move(err, &m->last);
    vb_tell_failure(err, code, text);
    if (result == 0)
        return m;
    vb_metadata_close(m);
    return NULL;
}

struct vb_metadata *vb_metadata_open(const char *path, const struct vb_metadata_setup *setup, enum vb_code *code, char **text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *machine = NULL;
    const struct vb_replica_setup s = setup_of(setup, &machine);
    struct vb_metadata *m = vb_alloc(sizeof *m);
    return opened(m, open_own(m, path, &s, &err), &err, code, text);
}

struct vb_metadata *vb_metadata_open_scope(const char *state_dir, const char *scope, const struct vb_metadata_setup *setup,
                                           enum vb_code *code, char **text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *machine = NULL;
    const struct vb_place_setup s = { .state_dir = state_dir, .store = setup_of(setup, &machine) };
    struct vb_metadata *m = vb_alloc(sizeof *m);
    int result = vb_place_open(&s, scope, &m->place, &err);
    if (result == 0) {
        m->store = m->place->store;
        m->scope = m->place->scope.id;
    }
    return opened(m, result, &err, code, text);
}

void vb_metadata_close(struct vb_metadata *m)
{
    if (!m)
        return;
    if (m->place)
        vb_place_close(m->place);
    else
        vb_replica_close(m->store);
    vb_error_clear(&m->last);
    free(m);
}

const char *vb_metadata_error(const struct vb_metadata *m)
{
    return m->last.text ? m->last.text : "";
}

enum vb_code vb_metadata_begin(struct vb_metadata *m)
{
    vb_error_clear(&m->last);
    /* A block of versions is reserved outside of it; within one, begin says what is wrong. */
    int result = vb_metadata_ticks(m);
    if (result < 0 && m->last.code == VB_E_BAD_STATE)
        vb_error_clear(&m->last);
    else if (result < 0)
        return vb_metadata_end(m, result);
    return vb_metadata_end(m, vb_replica_begin(m->store, &m->last));
}

enum vb_code vb_metadata_commit(struct vb_metadata *m)
{
    return vb_metadata_end(m, vb_replica_commit(m->store, &m->last));
}

void vb_metadata_rollback(struct vb_metadata *m)
{
    vb_replica_rollback(m->store);
}

/* ---- who we are, what we know ---- */

const struct vb_replica_id *vb_metadata_id(const struct vb_metadata *m)
{
    return vb_replica_own(m->store);
}

enum vb_code vb_metadata_next_tick(struct vb_metadata *m, struct vb_version *out)
{
    return vb_metadata_end(m, vb_replica_mint(m->store, out, &m->last));
}

struct vb_knowledge *vb_metadata_knowledge(struct vb_metadata *m)
{
    return vb_replica_knowledge(m->store, m->scope, "", NULL, &m->last);
}

struct vb_knowledge *vb_metadata_forgotten(struct vb_metadata *m)
{
    return vb_replica_forgotten(m->store, m->scope, &m->last);
}

enum vb_code vb_metadata_set_knowledge(struct vb_metadata *m, const struct vb_knowledge *k, const struct vb_knowledge *forgotten)
{
    int result = vb_replica_set_knowledge(m->store, m->scope, "", NULL, k, &m->last);
    if (result == 0 && forgotten)
        result = vb_replica_forget_to(m->store, m->scope, forgotten, &m->last);
    return vb_metadata_end(m, result);
}

enum vb_code vb_metadata_forget_to(struct vb_metadata *m, const struct vb_version *v)
{
    VB_AUTO_KNOWLEDGE *k = vb_knowledge_new();
    vb_knowledge_raise(k, v);
    return vb_metadata_end(m, vb_replica_forget_to(m->store, m->scope, k, &m->last));
}

struct exclusion {
    const struct vb_replica_id *own;
    struct vb_knowledge *k;
    const char *path;
};
static int exclude_one(void *arg, const char *item, const struct vb_version *v)
{
    const struct exclusion *x = arg;
    const struct vb_version none = { v->replica, 0 };
    if (!item && vb_replica_id_compare(&v->replica, x->own) != 0)
        vb_knowledge_set_item(x->k, x->path, &none);
    return 0;
}

enum vb_code vb_metadata_exclude_item(struct vb_metadata *m, const char *path)
{
    VB_AUTO_KNOWLEDGE *k = vb_metadata_knowledge(m);
    if (!k)
        return vb_metadata_end(m, -1);
    VB_AUTO_KNOWLEDGE *lower = vb_knowledge_copy(k);
    struct exclusion x = { vb_replica_own(m->store), lower, path };
    vb_knowledge_each(k, exclude_one, &x);
    return vb_metadata_end(m, vb_replica_set_knowledge(m->store, m->scope, "", NULL, lower, &m->last));
}

/* ---- rows ---- */

enum vb_code vb_metadata_find(struct vb_metadata *m, const char *path, struct vb_metadata_item **out)
{
    struct vb_item i;
    int result = vb_replica_find(m->store, m->scope, path, &i, &m->last);
    *out = result == 0 ? item_block(&i) : NULL;
    if (result == 0)
        vb_item_clear(&i);
    return vb_metadata_end(m, result);
}

enum vb_code vb_metadata_save_item(struct vb_metadata *m, const struct vb_metadata_item *item)
{
    struct vb_item i;
    return vb_metadata_end(m, vb_metadata_item_read(item, &i, &m->last) < 0 ? -1 : vb_replica_save(m->store, m->scope, &i, &m->last));
}

enum vb_code vb_metadata_note(struct vb_metadata *m, const struct vb_metadata_item *seen, bool *changed)
{
    struct vb_item i;
    enum vb_change what = VB_CHANGE_NONE;
    int result = vb_metadata_item_read(seen, &i, &m->last) < 0 ? -1 : vb_replica_note(m->store, m->scope, &i, &what, &m->last);
    if (changed)
        *changed = what == VB_CHANGE_CREATED || what == VB_CHANGE_CHANGED;
    return vb_metadata_end(m, result);
}

enum vb_code vb_metadata_note_deleted(struct vb_metadata *m, const char *path, const char *moved_to)
{
    enum vb_change what;
    return vb_metadata_end(m, vb_replica_note_deleted(m->store, m->scope, path, moved_to, &what, &m->last));
}

enum vb_code vb_metadata_drop_item(struct vb_metadata *m, const char *path)
{
    return vb_metadata_end(m, vb_replica_forget_item(m->store, m->scope, path, &m->last));
}

enum vb_code vb_metadata_count(struct vb_metadata *m, uint64_t *live, uint64_t *tombstones)
{
    return vb_metadata_end(m, vb_replica_count(m->store, m->scope, live, tombstones, &m->last));
}

/* ---- delete detector, clean-up ---- */

struct walk {
    vb_metadata_fn fn;
    void *arg;
    struct vb_strv paths;
};

static int show_one(void *arg, const struct vb_item *i)
{
    const struct walk *w = arg;
    const struct vb_metadata_item v = vb_metadata_item_of(i);
    return w->fn(w->arg, &v);
}

static int list_one(void *arg, const struct vb_item *i)
{
    vb_strv_add(&((struct walk *)arg)->paths, i->path);
    return 0;
}

enum vb_code vb_metadata_unreport_all(struct vb_metadata *m)
{
    return vb_metadata_end(m, vb_replica_unreport_all(m->store, m->scope, &m->last));
}

enum vb_code vb_metadata_report(struct vb_metadata *m, const char *path)
{
    return vb_metadata_end(m, vb_replica_report(m->store, m->scope, path, &m->last));
}

enum vb_code vb_metadata_report_content(struct vb_metadata *m, const unsigned char content[VB_HASH_LEN], size_t *n)
{
    struct walk w = { .fn = NULL };
    int result = vb_replica_by_content(m->store, m->scope, content, list_one, &w, &m->last);
    for (size_t i = 0; i < w.paths.n && result == 0; i++)
        result = vb_replica_report(m->store, m->scope, w.paths.v[i], &m->last);
    if (n)
        *n = w.paths.n;
    vb_strv_clear(&w.paths);
    return vb_metadata_end(m, result);
}

enum vb_code vb_metadata_unreported(struct vb_metadata *m, vb_metadata_fn fn, void *arg)
{
    struct walk w = { .fn = fn, .arg = arg };
    return vb_metadata_end(m, vb_replica_unreported(m->store, m->scope, show_one, &w, &m->last));
}

enum vb_code vb_metadata_delete_unreported(struct vb_metadata *m, size_t *n)
{
    struct walk w = { .fn = NULL };
    enum vb_change what;
    int result = vb_replica_unreported(m->store, m->scope, list_one, &w, &m->last);
    for (size_t i = 0; i < w.paths.n && result == 0; i++)
        result = vb_replica_note_deleted(m->store, m->scope, w.paths.v[i], NULL, &what, &m->last);
    if (n)
        *n = w.paths.n;
    vb_strv_clear(&w.paths);
    return vb_metadata_end(m, result);
}

enum vb_code vb_metadata_cleanup(struct vb_metadata *m, uint64_t interval_ms, bool *done)
{
    return vb_metadata_end(m, vb_replica_cleanup(m->store, m->scope, interval_ms, done, &m->last));
}

bool vb_metadata_is_stale(const struct vb_knowledge *source_forgotten, const struct vb_knowledge *destination, bool empty)
{
    return vb_replica_stale(source_forgotten, destination, empty);
}
