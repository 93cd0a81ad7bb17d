/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_repair.c - what is broken is set aside, what is whole is brought into order.
 *
 * Nothing is deleted.  A broken file X is copied to broken/X, and only then taken away; a pack that has vanished leaves
 * broken/X.missing.  The chunks of packs that were set aside and can still be read go into new packs; where the pack's own
 * table is broken, the index files tell where they lie.  Then an index of all packs is written, and index files that are
 * broken or tell of broken packs are set aside, too.  A crash between any two steps leaves something that the next repair
 * does again.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct repair {
    struct vb_repo *repo;
    vb_check_fn *report;
    void *arg;
    uint64_t mended;
    struct vb_index *told;       /* what index files say, of packs that are there or not */
    struct vb_index *fresh;      /* what there is */
    struct vb_strv bad_index;    /* files that are set aside */
    struct vb_strv broken_packs;
    struct vb_repo_listed *packs;
    size_t n_packs;
};

static void tell(struct repair *p, enum vb_check_severity severity, const char *object, const char *text)
{
    p->mended += severity == VB_CHECK_MENDED;
    if (p->report)
        p->report(p->arg, severity, object, text);
}

/* ---- setting aside ---- */

static int take_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

int vb_repo_broken_paths(struct vb_repo *r, const char *prefix, struct vb_strv *paths, struct vb_error *err)
{
    VB_AUTO_FREE char *where = vb_printf("broken/%s", prefix);
    struct vb_strv all = { 0 };
    int result = vb_backend_list(r->backend, where, take_path, &all, err);
    for (size_t i = 0; i < all.n && result == 0; i++)
        vb_strv_add(paths, all.v[i] + strlen("broken/"));
    vb_strv_clear(&all);
    vb_strv_sort(paths);
    return result;
}

/* Under a name that is free; the same bytes that lie there from an interrupted repair will do. */
static int keep_copy(struct repair *p, const char *path, const void *bytes, size_t n, struct vb_error *err)
{
    for (unsigned i = 0; i < 1000; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        VB_AUTO_BUF there = VB_BUF_INIT;
        VB_AUTO_FREE char *to = i ? vb_printf("broken/%s.%u", path, i) : vb_printf("broken/%s", path);
        if (vb_backend_write(p->repo->backend, to, bytes, n, &why) == 0)
            return 0;
        if (why.code != VB_E_EXISTS)
            return vb_error_move(err, &why);
        if (vb_backend_read_all(p->repo->backend, to, VB_INDEX_MAX_FILE, &there, NULL) == 0 && there.len == n &&
            (n == 0 || memcmp(there.data, bytes, n) == 0))
            return 0;
    }
    return vb_fail(err, VB_E_LIMIT, "'%s': was set aside too often", path);
}

static int set_aside(struct repair *p, const char *path, const char *why_text, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_backend_read_all(p->repo->backend, path, VB_INDEX_MAX_FILE, &bytes, &why) < 0) {
        /* The storage does not give it out: then it cannot be moved either, and stays. */
        vb_context(&why, "%s; it cannot be set aside", why_text);
        tell(p, VB_CHECK_DAMAGE, path, vb_error_text(&why));
        return 0;
    }
    if (keep_copy(p, path, bytes.data ? (const void *)bytes.data : "", bytes.len, err) < 0 ||
        vb_backend_barrier(p->repo->backend, err) < 0 || vb_backend_remove(p->repo->backend, path, err) < 0)
        return -1;
    VB_AUTO_FREE char *text = vb_printf("%s; set aside as broken/%s", why_text, path);
    tell(p, VB_CHECK_MENDED, path, text);
    return 0;
}

/* ---- index files ---- */

struct agreement {
    const struct vb_index *fresh, *x;
};

/* Where the chunk lies in that pack, if that is where fresh has it, too. */
static int agrees(void *arg, const struct vb_index_hit *hit)
{
    const struct agreement *a = arg;
    struct vb_index_hit is;
    struct vb_index *fresh = (struct vb_index *)(uintptr_t)a->fresh, *x = (struct vb_index *)(uintptr_t)a->x;
    if (!vb_index_get(fresh, &hit->entry.name, &is))
        return 1;
    if (!vb_name_equal(&vb_index_pack_at(fresh, is.pack)->name, &vb_index_pack_at(x, hit->pack)->name))
        return 0;
    const struct vb_pack_entry *m = &is.entry, *n = &hit->entry;
    return m->type != n->type || m->encoding != n->encoding || m->raw_size != n->raw_size ||
           m->stored_size != n->stored_size || m->offset != n->offset;
}

static bool tells_only_of(struct repair *p, const struct vb_index *x)
{
    for (size_t i = 0; i < vb_index_pack_count(x); i++) {
        const struct vb_index_pack *pack = vb_index_pack_at((struct vb_index *)(uintptr_t)x, (uint32_t)i);
        uint32_t at;
        if (!vb_index_find_pack(p->fresh, &pack->name, &at))
            return false;
        const struct vb_index_pack *is = vb_index_pack_at(p->fresh, at);
        if (is->gone || is->size != pack->size || is->group != pack->group ||
            memcmp(is->salt, pack->salt, sizeof is->salt) != 0)
            return false;
    }
    struct agreement a = { p->fresh, x };
    return vb_index_each(x, agrees, &a) == 0;
}

/* Decodes; NULL when it is damaged. */
static struct vb_index *read_index(struct repair *p, const char *path, struct vb_error *why)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    struct vb_name want, real;
    if (!vb_name_parse(path + strlen("index/"), &want)) {
        vb_fail(why, VB_E_CORRUPT, "not an index file");
        return NULL;
    }
    if (vb_backend_read_all(p->repo->backend, path, VB_INDEX_MAX_FILE, &bytes, why) < 0)
        return NULL;
    vb_sha256(bytes.data, bytes.len, &real);
    if (!vb_name_equal(&want, &real)) {
        vb_fail(why, VB_E_CORRUPT, "its bytes do not match its name");
        return NULL;
    }
    struct vb_index *x = vb_index_new();
    if (vb_index_decode(x, p->repo->keys, bytes.data, bytes.len, NULL, NULL, why) == 0 &&
        vb_index_decode(p->told, p->repo->keys, bytes.data, bytes.len, NULL, NULL, NULL) == 0)
        return x;
    if (why->code == VB_OK)
        vb_fail(why, VB_E_CORRUPT, "another index file says otherwise");
    vb_index_free(x);
    return NULL;
}

/* First only to know what they tell, then, with fresh, to find those that must go. */
static int look_at_index_files(struct repair *p, bool decide, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = vb_backend_list(p->repo->backend, "index/", take_path, &paths, err);
    vb_strv_sort(&paths);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_index *x = read_index(p, paths.v[i], &why);
        if (!x && why.code == VB_E_NEWER_FORMAT) {
            vb_context(&why, "'%s'", paths.v[i]);
            result = vb_error_move(err, &why);
        } else if (decide && !x) {
            vb_strv_add(&p->bad_index, paths.v[i]);
        } else if (decide && !tells_only_of(p, x)) {
            vb_strv_add(&p->bad_index, paths.v[i]);
        }
        vb_index_free(x);
    }
    vb_strv_clear(&paths);
    return result;
}

/* ---- packs ---- */

static bool chunk_is_whole(struct repair *p, const struct vb_object *o, const struct vb_buf *pack, const struct vb_pack_entry *e,
                           struct vb_buf *stored)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    size_t span = vb_pack_span(p->repo->keys, e);
    vb_buf_reset(stored);
    return vb_chunk_type_valid(e->type) && e->raw_size <= VB_CHUNK_MAX_RAW && e->offset <= pack->len &&
           span <= pack->len - e->offset && vb_pack_unseal(p->repo->keys, o, e, pack->data + e->offset, stored, NULL) == 0 &&
           vb_repo_open_stored(p->repo, o->group, e, stored, &plain, NULL) == 0;
}

struct told_entries {
    uint32_t pack;
    struct vb_pack_entry *v;
    size_t n, cap;
};

static int take_entry(void *arg, const struct vb_index_hit *hit)
{
    struct told_entries *t = arg;
    if (hit->pack != t->pack)
        return 0;
    VB_GROW(t->v, t->n, t->cap);
    t->v[t->n++] = hit->entry;
    return 0;
}

/* What a pack's own table says, else what the index files do. */
static int entries_of(struct repair *p, const struct vb_buf *bytes, struct vb_pack_id *id, struct vb_pack_entry **v, size_t *n)
{
    uint32_t pack;
    const struct vb_name name = id->name;
    if (vb_pack_parse(bytes->data, bytes->len, p->repo->keys, NULL, id, v, n, NULL) == 0)
        return 0;
    if (!vb_index_find_pack(p->told, &name, &pack))
        return -1;
    const struct vb_index_pack *said = vb_index_pack_at(p->told, pack);
    struct told_entries t = { .pack = pack };
    vb_index_each(p->told, take_entry, &t);
    id->group = said->group;
    memcpy(id->salt, said->salt, sizeof id->salt);
    *v = t.v;
    *n = t.n;
    return 0;
}

/* One that was set aside: its whole chunks go into new packs, unless they lie elsewhere as well. */
static int salvage(struct repair *p, const char *path, struct vb_pack_id *id, const struct vb_buf *bytes, struct vb_error *err)
{
    VB_AUTO_FREE struct vb_pack_entry *v = NULL;
    VB_AUTO_BUF stored = VB_BUF_INIT;
    struct vb_object o = { .kind = VB_OBJECT_PACK };
    size_t n = 0, saved = 0, elsewhere = 0, lost = 0;
    int result = 0;
    if (entries_of(p, bytes, id, &v, &n) == 0 &&
        vb_object_recall(p->repo->keys, VB_OBJECT_PACK, id->group, id->salt, &o, NULL) == 0) {
        for (size_t i = 0; i < n && result == 0; i++) {
            if (vb_index_get(p->fresh, &v[i].name, NULL)) {
                elsewhere++;
            } else if (!chunk_is_whole(p, &o, bytes, &v[i], &stored)) {
                lost++;
            } else {
                saved++;
                result = vb_repo_add_to_pack(p->repo, o.group, &v[i], stored.data, err);
            }
        }
        vb_object_end(&o);
    }
    if (saved == 0 && !vb_strv_has(&p->broken_packs, path))
        return result; /* of an earlier repair, and all that can be had of it was had */
    VB_AUTO_FREE char *text = n == 0 ? vb_strdup("nothing tells what was in it")
                                     : vb_printf("of its %zu chunks %zu were taken out, %zu lie elsewhere too, %zu are lost", n,
                                                 saved, elsewhere, lost);
    tell(p, VB_CHECK_MENDED, path, text);
    return result;
}

/* Reads every byte; 1: whole, and in fresh; 0: broken. */
static int try_pack(struct repair *p, const char *path, struct vb_pack_id *id, struct vb_buf *bytes, struct vb_error *err)
{
    VB_AUTO_FREE struct vb_pack_entry *v = NULL;
    VB_AUTO_BUF stored = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_object o = { .kind = VB_OBJECT_PACK };
    struct vb_name name = id->name;
    size_t n = 0;
    if (vb_backend_read_all(p->repo->backend, path, VB_PACK_MAX, bytes, &why) < 0)
        return 0;
    if (vb_pack_parse(bytes->data, bytes->len, p->repo->keys, &name, id, &v, &n, &why) < 0 ||
        vb_object_recall(p->repo->keys, VB_OBJECT_PACK, id->group, id->salt, &o, &why) < 0) {
        if (why.code == VB_E_NEWER_FORMAT)
            return vb_error_move(err, &why);
        return 0;
    }
    bool whole = true;
    for (size_t i = 0; i < n && whole; i++)
        whole = chunk_is_whole(p, &o, bytes, &v[i], &stored);
    vb_object_end(&o);
    if (!whole)
        return 0;
    uint32_t number = vb_index_add_pack(p->fresh, id, false);
    for (size_t i = 0; i < n; i++)
        vb_index_add(p->fresh, number, &v[i]);
    return 1;
}

static int look_at_packs(struct repair *p, struct vb_error *err)
{
    for (size_t i = 0; i < p->n_packs; i++) {
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        VB_AUTO_FREE char *path = vb_pack_path(&p->packs[i].name);
        struct vb_pack_id id = { .name = p->packs[i].name, .size = p->packs[i].size };
        if (vb_repo_is_lost_to(p->repo, &id.name, false))
            continue;
        int whole = try_pack(p, path, &id, &bytes, err);
        if (whole < 0)
            return -1;
        if (!whole)
            vb_strv_add(&p->broken_packs, path);
    }
    return 0;
}

/* The new packs go through the repository, with fresh as its index; it stays that from here on.  They may have the names
 * of broken ones (without encryption equal chunks make equal packs), so these have left their places before. */
static int salvage_packs(struct repair *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    struct vb_strv aside = { 0 };
    struct vb_index *before = r->index;
    int result = 0;
    r->index = p->fresh;
    vb_index_free(before);
    for (size_t i = 0; i < p->broken_packs.n && result == 0; i++)
        result = set_aside(p, p->broken_packs.v[i], "pack is broken", err);
    if (result == 0)
        result = vb_repo_broken_paths(r, "packs/", &aside, err);
    for (size_t i = 0; i < aside.n && result == 0; i++) {
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        struct vb_pack_id id = { .size = 0 };
        VB_AUTO_FREE char *from = vb_printf("broken/%s", aside.v[i]), *was = vb_strndup(aside.v[i], strcspn(aside.v[i], "."));
        if (vb_pack_path_parse(was, &id.name) && vb_backend_read_all(r->backend, from, VB_PACK_MAX, &bytes, NULL) == 0)
            result = salvage(p, was, &id, &bytes, err);
    }
    vb_strv_clear(&aside);
    return result == 0 ? vb_repo_flush(r, err) : -1;
}

/* Packs that only index files know. */
static int note_missing(struct repair *p, struct vb_error *err)
{
    for (size_t i = 0; i < vb_index_pack_count(p->told); i++) {
        const struct vb_index_pack *pack = vb_index_pack_at(p->told, (uint32_t)i);
        bool there = vb_repo_is_listed(p->packs, p->n_packs, &pack->name, pack->size);
        VB_AUTO_FREE char *path = vb_pack_path(&pack->name), *to = vb_printf("%s.missing", path);
        if (there || vb_strv_has(&p->broken_packs, path) || vb_repo_is_lost_to(p->repo, &pack->name, false))
            continue;
        VB_AUTO_FREE char *text = vb_printf("%llu bytes\n", (unsigned long long)pack->size);
        if (keep_copy(p, to, text, strlen(text), err) < 0)
            return -1;
        tell(p, VB_CHECK_MENDED, path, "pack is gone; the index does not tell of it any more");
    }
    return 0;
}

/* ---- records and marks ---- */

static int look_at_records(struct repair *p, struct vb_error *err)
{
    struct vb_strv paths = { 0 }, marks = { 0 };
    int result = vb_repo_catalog_paths(p->repo, &paths, err);
    if (result == 0)
        result = vb_repo_forgotten_paths(p->repo, &marks, err);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_catalog_entry *e = vb_repo_read_entry(p->repo, paths.v[i], &why);
        if (!e && why.code == VB_E_CORRUPT)
            result = set_aside(p, paths.v[i], "the record of a backup is broken, and the backup with it", err);
        vb_catalog_entry_free(e);
    }
    for (size_t i = 0; i < marks.n && result == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        uint64_t when;
        VB_AUTO_FREE char *path = vb_printf("forgotten/%s", strchr(marks.v[i], '/') + 1);
        if (vb_repo_read_forgotten(p->repo, marks.v[i], &when, &why) < 0 && why.code == VB_E_CORRUPT)
            result = set_aside(p, path, "the mark that a backup is forgotten is broken: it is not forgotten", err);
    }
    vb_strv_clear(&paths);
    vb_strv_clear(&marks);
    return result;
}

struct bad_keys {
    struct vb_strv paths;
};

static int bad_key(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage)
{
    struct bad_keys *b = arg;
    (void)key;
    if (damage && damage->code == VB_E_CORRUPT)
        vb_strv_add(&b->paths, path);
    return 0;
}

static int look_at_keys(struct repair *p, struct vb_error *err)
{
    struct bad_keys bad = { { 0 } };
    int result = vb_repo_key_list(p->repo, bad_key, &bad, err);
    for (size_t i = 0; i < bad.paths.n && result == 0; i++)
        result = set_aside(p, bad.paths.v[i], "the key is broken: its password opens nothing", err);
    vb_strv_clear(&bad.paths);
    return result;
}

static int aside(void *arg, const char *path, const char *why, struct vb_error *err)
{
    return set_aside(arg, path, why, err);
}

static void say(void *arg, enum vb_check_severity severity, const char *object, const char *text)
{
    tell(arg, severity, object, text);
}

/* ---- all together ---- */

static int run(struct repair *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    if (vb_repo_list_packs(r, &p->packs, &p->n_packs, err) < 0 || vb_repo_ledger_sync(r, err) < 0 ||
        look_at_index_files(p, false, err) < 0 || look_at_packs(p, err) < 0 || look_at_index_files(p, true, err) < 0)
        return -1;
    if (p->broken_packs.n || p->bad_index.n) {
        if (note_missing(p, err) < 0 || salvage_packs(p, err) < 0)
            return -1;
        for (size_t i = 0; i < p->bad_index.n; i++)
            if (set_aside(p, p->bad_index.v[i], "index file is broken or tells of broken packs; made anew from the packs", err) < 0)
                return -1;
    }
    return look_at_records(p, err) < 0 || look_at_keys(p, err) < 0 || vb_repo_mend_ledger(r, aside, say, p, err) < 0 ? -1 : vb_backend_barrier(r->backend, err);
}

int vb_repo_repair(struct vb_repo *r, uint64_t *mended, vb_check_fn *report, void *arg, struct vb_error *err)
{
    *mended = 0;
    if (!r->locked)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': repository is not locked", r->backend->location);
    if (vb_keys_append_only(r->keys))
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key cannot repair");
    r->backend->afresh = true;
    struct repair p = { .repo = r, .report = report, .arg = arg, .told = vb_index_new(), .fresh = vb_index_new() };
    int result = run(&p, err);
    *mended = p.mended;
    if (r->index != p.fresh)
        vb_index_free(p.fresh);
    vb_index_free(p.told);
    free(p.packs);
    vb_strv_clear(&p.bad_index);
    vb_strv_clear(&p.broken_packs);
    /* The index in memory is of before. */
    vb_repo_unlock(r);
    return result;
}
