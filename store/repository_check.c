/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_check.c - looking at everything that is there, and saying what is wrong with it.
 *
 * Works from the storage, not from the index in memory: index files, packs, catalog, then every tree that a backup
 * refers to.  Goes on after damage; only a storage that cannot be listed ends it.
 *
 * Others write and prune meanwhile.  What is found broken in a file that is there is told at once.  What is found missing
 * may only be so because things have moved since their place was looked up: it is held back, and looked for once more, and
 * again as long as the ledger moves on; what then is still missing is told.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define LOOKS 5u /* before it is given up that the repository changes faster than it can be looked at */

struct finding {
    enum vb_check_severity severity;
    char *object, *text;
};

struct check {
    struct vb_repo *repo;
    const struct vb_check_share *share; /* read_data: of these packs */
    bool read_data;
    struct vb_check_result result;
    vb_check_fn *report;
    void *arg;
    struct vb_index *index;   /* from index files alone */
    struct vb_index *present; /* chunks that a pack really has */
    struct vb_strv entries;   /* records that can be read */
    struct vb_strv key_ids;
    struct vb_repo_reach reach; /* over present */
    const char *object;       /* the backup that is being looked at */
    struct vb_strv bad_packs; /* told already */
    bool again;               /* the files were looked at before: nothing new is told of them */
    bool hold_back;
    struct finding *held;
    size_t n_held, cap_held;
    uint64_t missing;         /* damages among them */
};

static void tell(struct check *c, enum vb_check_severity severity, const char *object, const char *text)
{
    if (c->hold_back) {
        c->missing += severity == VB_CHECK_DAMAGE;
        VB_GROW(c->held, c->n_held, c->cap_held);
        c->held[c->n_held++] = (struct finding){ severity, vb_strdup(object), vb_strdup(text) };
        return;
    }
    if (c->again)
        return;
    c->result.damages += severity == VB_CHECK_DAMAGE;
    if (c->report)
        c->report(c->arg, severity, object, text);
}

static void let_go(struct check *c, bool told)
{
    c->hold_back = false;
    c->again = c->again && !told;
    for (size_t i = 0; i < c->n_held; i++) {
        if (told)
            tell(c, c->held[i].severity, c->held[i].object, c->held[i].text);
        free(c->held[i].object);
        free(c->held[i].text);
    }
    c->n_held = 0;
    c->missing = 0;
}

static void tell_error(struct check *c, enum vb_check_severity severity, const char *object, struct vb_error *why)
{
    tell(c, severity, object, vb_error_text(why));
    vb_error_clear(why);
}

/* ---- the configuration, which was read when the repository was opened ---- */

static void check_config(struct check *c)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_repo_config *config = vb_secret_alloc(sizeof *config);
    if (vb_backend_read_all(c->repo->backend, "config", VB_REPO_CONFIG_MAX, &bytes, &why) < 0 ||
        vb_repo_config_decode(bytes.data, bytes.len, config, &why) < 0 ||
        (config->sealed && vb_repo_config_verify(bytes.data, bytes.len, c->repo->keys, &why) < 0))
        tell_error(c, VB_CHECK_DAMAGE, "config", &why);
    vb_secret_free(config, sizeof *config);
    vb_wipe(bytes.data, bytes.len);
}

static int check_key(void *arg, const char *path, const struct vb_repo_key *key, const struct vb_error *damage)
{
    struct check *c = arg;
    if (damage) /* others may open the repository: it is the user's to remove or to bring back */
        tell(c, VB_CHECK_DAMAGE, path, vb_error_text(damage));
    else if (vb_strv_has(&c->key_ids, key->id))
        tell(c, VB_CHECK_NOTE, path, "another file of the same key: a change of its password was interrupted, or an old file was "
                                     "brought back; both passwords open, until it is changed once more");
    else
        vb_strv_add(&c->key_ids, key->id);
    return 0;
}

/* ---- index files ---- */

static int check_index_file(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct check *c = arg;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_name want, real;
    (void)size;
    (void)err;
    if (!vb_name_parse(path + strlen("index/"), &want)) {
        tell(c, VB_CHECK_NOTE, path, "not an index file");
        return 0;
    }
    if (vb_backend_read_all(c->repo->backend, path, VB_INDEX_MAX_FILE, &bytes, &why) == 0) {
        vb_sha256(bytes.data, bytes.len, &real);
        if (!vb_name_equal(&want, &real))
            vb_fail(&why, VB_E_CORRUPT, "its bytes do not match its name");
        else if (vb_index_decode(c->index, c->repo->keys, bytes.data, bytes.len, NULL, NULL, &why) == 0)
            return 0;
    }
    vb_context(&why, "index file is damaged and will be made anew from the packs");
    tell_error(c, VB_CHECK_NOTE, path, &why);
    return 0;
}

/* ---- packs ---- */

static int refs_are_well_formed(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    (void)arg;
    (void)name;
    (void)type;
    (void)err;
    return 0;
}

/* Whether it is whole. */
static bool check_chunk(struct check *c, const char *path, const struct vb_object *o, const unsigned char *pack,
                        const struct vb_pack_entry *e)
{
    VB_AUTO_BUF stored = VB_BUF_INIT, plain = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_pack_unseal(c->repo->keys, o, e, pack + e->offset, &stored, &why) == 0 &&
        vb_repo_open_stored(c->repo, o->group, e, &stored, &plain, &why) == 0 &&
        vb_chunk_refs((enum vb_chunk_type)e->type, plain.data, plain.len, refs_are_well_formed, NULL, &why) == 0)
        return true;
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(&e->name, hex);
    vb_context(&why, "%s chunk %.16s...", vb_chunk_type_name(e->type), hex);
    tell_error(c, VB_CHECK_DAMAGE, path, &why);
    return false;
}

static bool is_in_share(const struct check *c, const struct vb_name *name)
{
    uint64_t at = (uint64_t)name->b[0] << 24 | (uint64_t)name->b[1] << 16 | (uint64_t)name->b[2] << 8 | name->b[3];
    return c->read_data && (!c->share || (at + VB_CHECK_CIRCLE - c->share->from) % VB_CHECK_CIRCLE < c->share->width);
}

static int pack_entries(struct check *c, const char *path, bool whole, struct vb_pack_id *id, struct vb_object *o,
                        struct vb_buf *bytes, struct vb_pack_entry **entries, size_t *n, struct vb_error *why)
{
    struct vb_name name = id->name;
    if (!whole)
        return vb_pack_read_entries(c->repo->backend, c->repo->keys, id, entries, n, why);
    if (vb_backend_read_all(c->repo->backend, path, VB_PACK_MAX, bytes, why) < 0 ||
        vb_pack_parse(bytes->data, bytes->len, c->repo->keys, &name, id, entries, n, why) < 0)
        return -1;
    return vb_object_recall(c->repo->keys, VB_OBJECT_PACK, id->group, id->salt, o, why);
}

struct gather_entries {
    uint32_t pack;
    struct vb_pack_entry *v;
    size_t n, cap;
};

static int gather_entry(void *arg, const struct vb_index_hit *hit)
{
    struct gather_entries *g = arg;
    if (hit->pack != g->pack)
        return 0;
    VB_GROW(g->v, g->n, g->cap);
    g->v[g->n++] = hit->entry;
    return 0;
}

/* Of a pack that is damaged: the chunks that should be in it, by its own table or else by the index, so that each can be
 * tried.  What lies beyond the end of the file is left out. */
static int entries_of_damaged(struct check *c, const char *path, struct vb_pack_id *id, struct vb_object *o,
                              struct vb_buf *bytes, struct vb_pack_entry **entries, size_t *n)
{
    const struct vb_name name = id->name;
    uint32_t indexed;
    vb_buf_reset(bytes);
    if (vb_backend_read_all(c->repo->backend, path, VB_PACK_MAX, bytes, NULL) < 0)
        return -1;
    if (vb_pack_parse(bytes->data, bytes->len, c->repo->keys, NULL, id, entries, n, NULL) < 0) {
        if (!vb_index_find_pack(c->index, &name, &indexed))
            return -1;
        const struct vb_index_pack *said = vb_index_pack_at(c->index, indexed);
        struct gather_entries g = { .pack = indexed };
        vb_index_each(c->index, gather_entry, &g);
        id->group = said->group;
        memcpy(id->salt, said->salt, sizeof id->salt);
        *entries = g.v;
        *n = g.n;
    }
    id->name = name;
    for (size_t i = 0; i < *n;) {
        size_t span = vb_pack_span(c->repo->keys, &(*entries)[i]);
        if ((*entries)[i].offset <= bytes->len && span <= bytes->len - (*entries)[i].offset)
            i++;
        else
            (*entries)[i] = (*entries)[--*n];
    }
    return vb_object_recall(c->repo->keys, VB_OBJECT_PACK, id->group, id->salt, o, NULL);
}

static bool same_place(const struct vb_pack_entry *a, const struct vb_pack_entry *b)
{
    return a->type == b->type && a->encoding == b->encoding && a->raw_size == b->raw_size &&
           a->stored_size == b->stored_size && a->offset == b->offset;
}

static int check_pack(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct check *c = arg;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    VB_AUTO_FREE struct vb_pack_entry *entries = NULL;
    struct vb_pack_id id = { .size = size };
    struct vb_object o = { .kind = VB_OBJECT_PACK };
    uint32_t indexed = 0;
    size_t n = 0;
    (void)err;
    if (!vb_pack_path_parse(path, &id.name)) {
        tell(c, VB_CHECK_NOTE, path, "not a pack");
        return 0;
    }
    bool known = vb_index_find_pack(c->index, &id.name, &indexed);
    const struct vb_state_pack *given_up = vb_state_find(&c->repo->ledger.state, &id.name);
    if (!known && !given_up)
        tell(c, VB_CHECK_NOTE, path, "pack stands in no index file (an interrupted backup, or a lost index file)");
    bool whole = !c->again && is_in_share(c, &id.name);
    if (!c->again) {
        c->result.packs++;
        c->result.bytes += size;
        c->result.packs_read += whole;
        c->result.bytes_read += whole ? size : 0;
    }
    if (pack_entries(c, path, whole, &id, &o, &bytes, &entries, &n, &why) < 0) {
        if (why.code == VB_E_NOT_FOUND)
            return 0; /* removed since it was listed: who needs it will miss it */
        vb_strv_add(&c->bad_packs, path);
        tell_error(c, VB_CHECK_DAMAGE, path, &why);
        if (entries_of_damaged(c, path, &id, &o, &bytes, &entries, &n) < 0)
            return 0;
        whole = true;
    }
    uint32_t number = vb_index_add_pack(c->present, &id, true);
    for (size_t i = 0; i < n; i++) {
        struct vb_index_hit hit;
        vb_index_add(c->present, number, &entries[i]);
        if (whole && !check_chunk(c, path, &o, bytes.data, &entries[i]) &&
            vb_index_get(c->present, &entries[i].name, &hit) && hit.pack == number)
            vb_index_drop(c->present, &entries[i].name); /* a good one elsewhere may take its place */
        if (known && vb_index_get(c->index, &entries[i].name, &hit) && hit.pack == indexed &&
            !same_place(&hit.entry, &entries[i]))
            tell(c, VB_CHECK_DAMAGE, path, "index and pack disagree about a chunk");
    }
    if (known) {
        const struct vb_index_pack *p = vb_index_pack_at(c->index, indexed);
        if (p->group != id.group || memcmp(p->salt, id.salt, sizeof p->salt) != 0)
            tell(c, VB_CHECK_DAMAGE, path, "index and pack disagree about the key");
    }
    vb_object_end(&o);
    return 0;
}

/* Written since the packs were listed. */
static int check_late_pack(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct check *c = arg;
    struct vb_name name;
    uint32_t number;
    if (!vb_pack_path_parse(path, &name) || vb_index_find_pack(c->present, &name, &number) || vb_strv_has(&c->bad_packs, path))
        return 0;
    c->hold_back = false;
    int result = check_pack(arg, path, size, err);
    c->hold_back = true;
    return result;
}

static int is_missing(void *arg, const struct vb_index_hit *hit)
{
    struct check *c = arg;
    return !vb_index_get(c->present, &hit->entry.name, NULL);
}

static int check_indexed(void *arg, const struct vb_index_hit *hit)
{
    struct check *c = arg;
    if (!is_missing(arg, hit))
        return 0;
    char hex[VB_NAME_HEX_LEN + 1];
    uint64_t size;
    vb_name_hex(&hit->entry.name, hex);
    VB_AUTO_FREE char *path = vb_pack_path(&vb_index_pack_at(c->index, hit->pack)->name);
    if (!vb_strv_has(&c->bad_packs, path) && vb_backend_size(c->repo->backend, path, &size, NULL) == 0)
        return 0; /* written since */
    /* A session that slept through a prune may have told of its packs when they were given up already. */
    const struct vb_state_pack *given_up =
        vb_state_find(&c->repo->ledger.state, &vb_index_pack_at(c->index, hit->pack)->name);
    if (given_up && given_up->doomed)
        return 0;
    VB_AUTO_FREE char *text = vb_printf("%s chunk %.16s... is lost: its pack is missing or damaged",
                                        vb_chunk_type_name(hit->entry.type), hex);
    tell(c, VB_CHECK_DAMAGE, path, text);
    return 0;
}

/* A prune removes what tells of a pack before the pack: so what tells of it still when it was seen to be away is wrong. */
static int check_index(struct check *c, struct vb_error *err)
{
    bool again = c->again;
    if (vb_index_each(c->index, is_missing, c) == 0)
        return 0;
    vb_index_free(c->index);
    c->index = vb_index_new();
    c->hold_back = false;
    c->again = true;
    int result = vb_backend_list(c->repo->backend, "index/", check_index_file, c, err);
    c->again = again;
    c->hold_back = true;
    if (result == 0)
        result = vb_repo_ledger_sync(c->repo, err);
    if (result == 0)
        vb_index_each(c->index, check_indexed, c);
    return result;
}

/* ---- backups ---- */

static int bad_ref(void *arg, const struct vb_name *name, unsigned type, const struct vb_index_hit *hit,
                   struct vb_error *err)
{
    struct check *c = arg;
    char hex[VB_NAME_HEX_LEN + 1];
    (void)err;
    vb_name_hex(name, hex);
    VB_AUTO_FREE char *text = vb_printf("refers to the %s chunk %.16s..., which is %s",
                                        type ? vb_chunk_type_name(type) : "data", hex,
                                        hit ? "of another type" : "not there");
    tell(c, VB_CHECK_DAMAGE, c->object, text);
    return 0;
}

static int unreadable(void *arg, const struct vb_index_hit *hit, struct vb_error *why)
{
    struct check *c = arg;
    (void)hit;
    tell_error(c, VB_CHECK_DAMAGE, c->object, why);
    return 0;
}

static int check_backup(struct check *c, const char *path, const struct vb_catalog_entry *e, struct vb_error *err)
{
    c->object = path;
    return vb_repo_reach_entry(&c->reach, e, err);
}

/* Records from before there was a ledger: they are numbered without gaps. */
static void check_old_chain(struct check *c, const char *path, const struct vb_catalog_entry *e,
                            const struct vb_name *before, uint64_t before_sequence)
{
    const struct vb_repo_ledger *l = &c->repo->ledger;
    if (c->repo->info.format > 1 || (l->first && e->sequence >= l->first))
        return;
    if (e->has_previous != (before != NULL) || (before && !vb_name_equal(before, &e->previous)) ||
        e->sequence != before_sequence + 1)
        tell(c, VB_CHECK_DAMAGE, path, "the record before this one is missing or was exchanged");
}

static bool is_named(const struct vb_strv *paths, const struct vb_ledger_record *rec)
{
    for (size_t i = 0; i < paths->n; i++) {
        uint64_t sequence;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(paths->v[i], &sequence, id, &hash) && sequence == rec->number &&
            vb_name_equal(&hash, &rec->what))
            return true;
    }
    return false;
}

/* Each record names the one before; each backup is in the catalog, or forgotten. */
static void check_ledger(struct check *c, const struct vb_strv *paths)
{
    const struct vb_repo_ledger *l = &c->repo->ledger;
    for (size_t i = 0; i < l->n; i++) {
        const struct vb_ledger_record *rec = &l->v[i];
        VB_AUTO_FREE char *path = vb_ledger_path(rec->number);
        if (rec->kind == VB_LEDGER_UNKNOWN)
            tell(c, VB_CHECK_DAMAGE, path, "record of the ledger cannot be read, or was not made with a key that may");
        if (i > 0 ? rec->number != l->v[i - 1].number + 1 : rec->number > 1 && c->repo->info.format > 1)
            tell(c, VB_CHECK_DAMAGE, path, "the records before this one are missing in the ledger");
        else if (i > 0 && rec->kind != VB_LEDGER_UNKNOWN && !vb_name_equal(&rec->previous, &l->v[i - 1].hash))
            tell(c, VB_CHECK_DAMAGE, path, "the record before this one was exchanged");
        if (rec->kind == VB_LEDGER_BACKUP && !is_named(paths, rec) && !is_named(&l->state.expired, rec))
            tell(c, VB_CHECK_DAMAGE, path, "the backup that this record is about is missing in the catalog");
    }
    if (l->state_lost)
        tell(c, VB_CHECK_DAMAGE, "state", "what the last prune has left cannot be read; the next prune makes it anew");
}

static int check_catalog(struct check *c, struct vb_error *err)
{
    struct vb_strv paths = { 0 }, forgotten = { 0 }, broken = { 0 };
    struct vb_name before;
    uint64_t before_sequence = 0, when;
    char place[VB_GUID_LEN + 1];
    int result = vb_repo_catalog_paths(c->repo, &paths, err);
    if (result == 0)
        result = vb_repo_ledger_sync(c->repo, err);
    vb_strv_clear(&paths); /* what the ledger names by now was written before */
    if (result == 0)
        result = vb_repo_catalog_paths(c->repo, &paths, err);
    if (result == 0)
        result = vb_repo_forgotten_paths(c->repo, &forgotten, err);
    if (result == 0)
        result = vb_repo_broken_paths(c->repo, "catalog/", &broken, err);
    for (size_t i = 0; i < broken.n; i++) /* their places in the chain stay theirs */
        if (!vb_strv_has(&paths, broken.v[i]) && vb_catalog_path_parse(broken.v[i], &when, place, &before))
            vb_strv_add(&paths, broken.v[i]);
    for (size_t i = 0; i < forgotten.n; i++)
        if (!vb_strv_has(&paths, forgotten.v[i]))
            vb_strv_add(&paths, forgotten.v[i]);
    vb_strv_sort(&paths);
    /* All that these refer to was written before they were. */
    if (result == 0)
        result = vb_backend_list(c->repo->backend, "packs/", check_late_pack, c, err);
    vb_repo_reach_init(&c->reach, c->repo, c->present);
    c->reach.arg = c;
    c->reach.problem = bad_ref;
    c->reach.unreadable = unreadable;
    if (result == 0)
        check_ledger(c, &paths);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (vb_strv_has(&forgotten, paths.v[i]) && vb_repo_read_forgotten(c->repo, paths.v[i], &when, &why) < 0)
            tell_error(c, VB_CHECK_DAMAGE, paths.v[i], &why);
        uint64_t sequence;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (!vb_repo_path_stands(c->repo, paths.v[i])) {
            tell(c, VB_CHECK_NOTE, paths.v[i], "is not in the ledger: its writer is at work, or did not come to an end, or was "
                 "not quick enough; or a prune removes it");
            continue;
        }
        struct vb_catalog_entry *e = vb_repo_read_entry(c->repo, paths.v[i], &why);
        if (e) {
            vb_strv_add(&c->entries, paths.v[i]);
            check_old_chain(c, paths.v[i], e, before_sequence ? &before : NULL, before_sequence);
            result = check_backup(c, paths.v[i], e, err);
        } else if (why.code != VB_E_NOT_FOUND ||
                   (!vb_strv_has(&forgotten, paths.v[i]) && !vb_strv_has(&broken, paths.v[i]))) {
            tell_error(c, VB_CHECK_DAMAGE, paths.v[i], &why);
        }
        /* the name has the hash in it, so the chain can be followed past an entry that cannot be read */
        if (vb_catalog_path_parse(paths.v[i], &sequence, id, &hash)) {
            before = hash;
            before_sequence = sequence;
        }
        vb_catalog_entry_free(e);
    }
    vb_repo_reach_clear(&c->reach);
    vb_strv_clear(&paths);
    vb_strv_clear(&forgotten);
    vb_strv_clear(&broken);
    return result;
}

/* Once all damage is known: what it means for whom. */
static void tell_losses(struct check *c)
{
    for (size_t i = 0; i < c->entries.n; i++) {
        struct vb_catalog_entry *e = vb_repo_read_entry(c->repo, c->entries.v[i], NULL);
        if (e)
            c->result.losses += vb_repo_losses(c->repo, c->present, e, c->report, c->arg);
        vb_catalog_entry_free(e);
    }
}

static int tell_broken(struct check *c, struct vb_error *err)
{
    struct vb_strv broken = { 0 };
    int result = vb_repo_broken_paths(c->repo, "", &broken, err);
    if (broken.n > 0) {
        VB_AUTO_FREE char *text = vb_printf("%zu file%s set aside by a repair; nothing needs %s, and every backup takes longer "
                                            "while they are there: remove this directory once no backup lacks anything",
                                            broken.n, broken.n == 1 ? " was" : "s were", broken.n == 1 ? "it" : "them");
        tell(c, VB_CHECK_NOTE, "broken/", text);
    }
    vb_strv_clear(&broken);
    return result;
}

static int look_once(struct check *c, struct vb_error *err)
{
    struct vb_repo *r = c->repo;
    vb_strv_clear(&c->entries);
    vb_index_free(c->index);
    vb_index_free(c->present);
    c->index = vb_index_new();
    c->present = vb_index_new();
    if (vb_repo_ledger_sync(r, err) < 0 || vb_backend_list(r->backend, "index/", check_index_file, c, err) != 0 ||
        vb_backend_list(r->backend, "packs/", check_pack, c, err) != 0)
        return -1;
    c->hold_back = true;
    return check_index(c, err) < 0 ? -1 : check_catalog(c, err);
}

static int look(struct check *c, struct vb_error *err)
{
    struct vb_repo *r = c->repo;
    for (unsigned looks = 1;; looks++) {
        uint64_t end = r->ledger.end;
        if (look_once(c, err) < 0) {
            let_go(c, true);
            return -1;
        }
        if (vb_repo_ledger_sync(r, err) < 0) {
            let_go(c, true);
            return -1;
        }
        /* A file that is there and broken explains what is missing; and a prune whose record was there may have been at
         * work still when it was looked for the first time. */
        if (c->missing == 0 || c->result.damages > 0 || (looks > 1 && end == r->ledger.end)) {
            let_go(c, true);
            return 0;
        }
        let_go(c, false);
        c->again = true;
        if (looks == LOOKS) {
            vb_fail(err, VB_E_BUSY, "'%s': changes faster than it can be checked", r->backend->location);
            vb_hint(err, "check again when fewer backups and prunes are at work");
            return -1;
        }
    }
}

static int check_all(struct vb_repo *r, bool read_data, const struct vb_check_share *share,
                     struct vb_check_result *out, vb_check_fn *report, void *arg, struct vb_error *err)
{
    if (vb_keys_append_only(r->keys))
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key cannot check the repository");
    struct check c = { .repo = r, .share = share, .read_data = read_data, .report = report, .arg = arg,
                       .index = vb_index_new(), .present = vb_index_new() };
    check_config(&c);
    int result = vb_repo_key_list(r, check_key, &c, err);
    if (result == 0)
        result = look(&c, err);
    if (result == 0)
        result = tell_broken(&c, err);
    if (result == 0 && c.result.damages > 0)
        tell_losses(&c);
    vb_strv_clear(&c.entries);
    vb_strv_clear(&c.key_ids);
    vb_strv_clear(&c.bad_packs);
    free(c.held);
    vb_index_free(c.index);
    vb_index_free(c.present);
    if (out)
        *out = c.result;
    if (result < 0)
        return -1;
    if (c.result.damages == 0)
        return 0;
    vb_fail(err, VB_E_CORRUPT, "'%s': %llu findings of damage", r->backend->location,
            (unsigned long long)c.result.damages);
    vb_hint(err, "a new backup stores again what is missing; restore what you can to another place meanwhile; "
                 "`vbackup check --repair` sets aside what is in the way");
    return -1;
}

int vb_repo_check(struct vb_repo *r, bool read_data, vb_check_fn *report, void *arg, struct vb_error *err)
{
    r->backend->afresh = true;
    return check_all(r, read_data, NULL, NULL, report, arg, err);
}

int vb_repo_check_share(struct vb_repo *r, const struct vb_check_share *share, struct vb_check_result *result,
                        vb_check_fn *report, void *arg, struct vb_error *err)
{
    r->backend->afresh = true;
    return check_all(r, true, share, result, report, arg, err);
}
