/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_commit.c - the catalog: the entry that makes a backup, and finding it again.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/mem.h"

/* ---- reading ---- */

static int add_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size;
    (void)err;
    vb_strv_add(arg, path);
    return 0;
}

int vb_repo_catalog_paths(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err)
{
    int result = vb_backend_list(r->backend, "catalog/", add_path, paths, err);
    vb_strv_sort(paths); /* the sequence number comes first and has leading zeros */
    return result;
}

/* A mark that cannot be read, or was not made with a key that may forget, hides nothing. */
static bool is_forgotten(struct vb_repo *r, const struct vb_strv *marks, const char *path)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t when;
    if (!vb_strv_has(marks, path))
        return false;
    if (vb_repo_read_forgotten(r, path, &when, &why) == 0)
        return true;
    if (why.code != VB_E_NOT_FOUND) /* called back just now */
        vb_log_error(VB_LOG_WARNING, &why);
    return false;
}

bool vb_repo_path_stands(const struct vb_repo *r, const char *path)
{
    uint64_t sequence = 0;
    char id[VB_GUID_LEN + 1];
    struct vb_name hash;
    if (!vb_catalog_path_parse(path, &sequence, id, &hash))
        return true; /* whoever reads it will complain */
    return vb_repo_standing(r, sequence, &hash) == VB_STANDS && !vb_strv_has(&r->ledger.state.expired, path);
}

/* Those that are not forgotten. */
static int live_paths(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err)
{
    struct vb_strv all = { 0 }, forgotten = { 0 };
    /* The catalog first: whatever the ledger calls a backup by then was in it. */
    int result = vb_repo_catalog_paths(r, &all, err);
    if (result == 0)
        result = vb_repo_ledger_sync(r, err);
    if (result == 0)
        result = vb_repo_forgotten_paths(r, &forgotten, err);
    for (size_t i = 0; i < all.n && result == 0; i++)
        if (vb_repo_path_stands(r, all.v[i]) && !is_forgotten(r, &forgotten, all.v[i]))
            vb_strv_add(paths, all.v[i]);
    vb_strv_clear(&all);
    vb_strv_clear(&forgotten);
    return result;
}

/* What a record is bound to beside repository and group: its place in the chain. */
static size_t entry_aad(uint64_t sequence, const char *id, struct vb_buf *aad)
{
    vb_buf_add_u64(aad, sequence);
    vb_buf_add_str(aad, id);
    return aad->len;
}

/* Sealed with encryption, JSON without. */
static struct vb_catalog_entry *open_entry(struct vb_repo *r, const struct vb_buf *bytes, uint64_t sequence,
                                           const char *id, struct vb_object *o, struct vb_error *err)
{
    VB_AUTO_BUF aad = VB_BUF_INIT, plain = VB_BUF_INIT;
    if (!vb_keys_sealed(r->keys))
        return vb_catalog_decode(bytes->data, bytes->len, err);
    size_t n = entry_aad(sequence, id, &aad);
    if (vb_object_read(r->keys, VB_OBJECT_ENTRY, aad.data, n, bytes->data, bytes->len, o, &plain, err) < 0)
        return NULL;
    return vb_catalog_decode(plain.data, plain.len, err);
}

/* A write-only key speaks for its own host: it could claim to be another's newest backup otherwise. */
static bool may_speak_for(struct vb_repo *r, const struct vb_object *o, const struct vb_catalog_entry *e,
                          struct vb_error *err)
{
    if (!vb_keys_sealed(r->keys) || vb_keys_tag_is(r->keys, o->tag, ""))
        return true;
    for (size_t i = 0; i < e->n_hosts; i++)
        if (!vb_keys_tag_is(r->keys, o->tag, e->hosts[i].name)) {
            vb_fail(err, VB_E_CORRUPT, "was written with a write-only key that is not host '%s''s", e->hosts[i].name);
            return false;
        }
    return true;
}

struct vb_catalog_entry *vb_repo_read_entry(struct vb_repo *r, const char *path, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    uint64_t sequence = 0;
    char id[VB_GUID_LEN + 1];
    struct vb_name want, real;
    if (!vb_catalog_path_parse(path, &sequence, id, &want)) {
        vb_fail(err, VB_E_CORRUPT, "'%s': not the name of a backup's record", path);
        return NULL;
    }
    if (vb_backend_read_all(r->backend, path, VB_CATALOG_MAX_FILE, &bytes, err) < 0)
        return NULL;
    vb_sha256(bytes.data, bytes.len, &real);
    if (!vb_name_equal(&real, &want)) {
        vb_fail(err, VB_E_CORRUPT, "'%s': its bytes do not match its name", path);
        return NULL;
    }
    struct vb_object o = { .kind = VB_OBJECT_ENTRY };
    struct vb_catalog_entry *e = open_entry(r, &bytes, sequence, id, &o, err);
    if (!e) {
        vb_context(err, "'%s'", path);
        return NULL;
    }
    if (!may_speak_for(r, &o, e, err)) {
        vb_context(err, "'%s'", path);
        vb_catalog_entry_free(e);
        return NULL;
    }
    if (e->sequence != sequence || !vb_guid_equal(e->id, id)) {
        vb_fail(err, VB_E_CORRUPT, "'%s': does not hold the backup it is named after", path);
        vb_catalog_entry_free(e);
        return NULL;
    }
    e->hash = real;
    e->by_writer_only = vb_keys_sealed(r->keys) && !vb_keys_tag_is(r->keys, o.tag, "");
    return e;
}

/* Told once, and not as a damage of each record. */
static int need_reader(const struct vb_repo *r, struct vb_error *err)
{
    if (!vb_keys_append_only(r->keys))
        return 0;
    vb_fail(err, VB_E_ACCESS_DENIED, "this key can add to the repository, and cannot read from it");
    vb_hint(err, "use the password of a key that reads");
    return -1;
}

int vb_repo_list(struct vb_repo *r, vb_repo_list_fn *fn, void *arg, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    if (need_reader(r, err) < 0)
        return -1;
    int result = live_paths(r, &paths, err);
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        VB_AUTO_ERROR damage = VB_ERROR_INIT;
        struct vb_catalog_entry *e = vb_repo_read_entry(r, paths.v[i], &damage);
        result = fn(arg, paths.v[i], &e, e ? NULL : &damage);
        vb_catalog_entry_free(e);
    }
    vb_strv_clear(&paths);
    return result;
}

/* ---- finding ---- */

static bool has_host(const struct vb_catalog_entry *e, const char *host)
{
    for (size_t i = 0; host && i < e->n_hosts; i++)
        if (strcmp(e->hosts[i].name, host) == 0)
            return true;
    return !host;
}

static bool id_begins(const char *path, const char *which)
{
    uint64_t sequence;
    char id[VB_GUID_LEN + 1];
    struct vb_name hash;
    return vb_catalog_path_parse(path, &sequence, id, &hash) && strncasecmp(id, which, strlen(which)) == 0;
}

static struct vb_catalog_entry *find_latest(struct vb_repo *r, const struct vb_strv *paths, const char *host,
                                            struct vb_error *err)
{
    VB_AUTO_ERROR damage = VB_ERROR_INIT;
    for (size_t i = paths->n; i-- > 0;) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        struct vb_catalog_entry *e = vb_repo_read_entry(r, paths->v[i], &why);
        if (e && e->state != VB_CATALOG_FAILED && has_host(e, host))
            return e;
        vb_catalog_entry_free(e);
        if (e)
            continue;
        /* An older backup must not be taken for the newest one without a word. */
        vb_error_move(&damage, &why);
        vb_hint(&damage, "run `vbackup check`, or name the backup you want: `vbackup list` shows them");
        vb_error_move(err, &damage);
        return NULL;
    }
    vb_fail(err, VB_E_NOT_FOUND, "'%s': no usable backup%s%s%s", r->backend->location, host ? " of host '" : "",
            host ? host : "", host ? "'" : "");
    vb_hint(err, "make one with: vbackup backup");
    return NULL;
}

static struct vb_catalog_entry *find_id(struct vb_repo *r, const struct vb_strv *paths, const char *which,
                                        const char *host, struct vb_error *err)
{
    struct vb_catalog_entry *found = NULL;
    struct vb_strv ids = { 0 };
    for (size_t i = 0; i < paths->n; i++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (!id_begins(paths->v[i], which))
            continue;
        struct vb_catalog_entry *e = vb_repo_read_entry(r, paths->v[i], &why);
        if (!e) {
            vb_catalog_entry_free(found);
            vb_strv_clear(&ids);
            vb_error_move(err, &why);
            return NULL;
        }
        if (has_host(e, host) && !vb_strv_has(&ids, e->id)) {
            vb_strv_add(&ids, e->id);
            vb_catalog_entry_free(found);
            found = VB_STEAL(e);
        }
        vb_catalog_entry_free(e);
    }
    if (ids.n > 1) {
        vb_fail(err, VB_E_USAGE, "'%s': several backups begin so: %s, %s%s", which, ids.v[0], ids.v[1],
                ids.n > 2 ? " ..." : "");
        vb_hint(err, "give more characters of the id");
        vb_catalog_entry_free(found);
        found = NULL;
    } else if (ids.n == 0) {
        vb_fail(err, VB_E_NOT_FOUND, "'%s': no such backup%s%s%s", which, host ? " of host '" : "", host ? host : "",
                host ? "'" : "");
        vb_hint(err, "`vbackup list` shows the backups");
    }
    vb_strv_clear(&ids);
    return found;
}

struct vb_catalog_entry *vb_repo_find(struct vb_repo *r, const char *which, const char *host, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    struct vb_catalog_entry *e = NULL;
    bool latest = strcmp(which, "latest") == 0;
    if (!latest && strlen(which) < 4) {
        vb_fail(err, VB_E_USAGE, "'%s': at least 4 characters of a backup's id are needed", which);
        vb_hint(err, "`vbackup list` shows the backups; `latest` is the newest");
        return NULL;
    }
    if (need_reader(r, err) == 0 && live_paths(r, &paths, err) == 0)
        e = latest ? find_latest(r, &paths, host, err) : find_id(r, &paths, which, host, err);
    vb_strv_clear(&paths);
    return e;
}

/* ---- commit ---- */

/* One reference of the entry, once more against the durable index and the storage itself. */
static int recheck(struct vb_repo *r, const struct vb_name *name, enum vb_chunk_type type, struct vb_index_hit *hit,
                   struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    vb_name_hex(name, hex);
    if (!vb_index_get(r->index, name, hit) || hit->entry.type != type)
        return vb_fail(err, VB_E_CORRUPT, "%s chunk %.16s... is not in the repository", vb_chunk_type_name(type), hex);
    const struct vb_index_pack *pack = vb_index_pack_at(r->index, hit->pack);
    VB_AUTO_FREE char *path = vb_pack_path(&pack->name);
    uint64_t size = 0;
    if (!pack->durable || pack->open)
        return vb_fail(err, VB_E_UNEXPECTED, "%s chunk %.16s... is not durable", vb_chunk_type_name(type), hex);
    if (vb_backend_size(r->backend, path, &size, err) < 0)
        return -1;
    return size == pack->size ? 0 : vb_fail(err, VB_E_CORRUPT, "'%s': pack has changed its size", path);
}

static int recheck_root(struct vb_repo *r, const struct vb_catalog_root *root, struct vb_error *err)
{
    struct vb_index_hit hit;
    VB_AUTO_BUF plain = VB_BUF_INIT;
    VB_AUTO_TREE tree = { 0 };
    if (!root->has_tree)
        return 0;
    if (vb_keys_append_only(r->keys))
        return recheck(r, &root->tree, VB_CHUNK_TREE, &hit, err);
    if (recheck(r, &root->tree, VB_CHUNK_TREE, &hit, err) < 0 ||
        vb_repo_get(r, VB_CHUNK_TREE, &root->tree, &plain, err) < 0 ||
        vb_tree_decode(plain.data, plain.len, &tree, err) < 0) {
        vb_context(err, "root of '%s'", root->path);
        return -1;
    }
    if (tree.height == 0 && tree.n == 1)
        return 0;
    return vb_fail(err, VB_E_CORRUPT, "root of '%s' must have exactly one entry", root->path);
}

static int recheck_roots(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_error *err)
{
    struct vb_index_hit hit;
    for (size_t h = 0; h < e->n_hosts; h++)
        for (size_t c = 0; c < e->hosts[h].n_components; c++) {
            const struct vb_catalog_component *comp = &e->hosts[h].components[c];
            for (size_t i = 0; i < comp->n_roots; i++)
                if (recheck_root(r, &comp->roots[i], err) < 0)
                    return -1;
        }
    for (size_t d = 0; d < e->n_documents; d++) {
        const struct vb_content *content = &e->documents[d].content;
        for (uint32_t i = 0; i < content->n; i++)
            if (recheck(r, &content->refs[i].name, content->level ? VB_CHUNK_LIST : VB_CHUNK_DOC, &hit, err) < 0) {
                vb_context(err, "document '%s'", e->documents[d].kind);
                return -1;
            }
    }
    return 0;
}

/* ---- everything below ---- */

/*
 * What was put in this run was accepted only when all it refers to was in the index, and the index was true when the run
 * began.  So all that is below the roots is there unless packs have vanished since, or have been given up by a prune: one
 * listing tells.  Only if one has is it necessary to look what this backup needs of it.
 */
struct below {
    struct vb_repo *repo;
    struct vb_repo_listed *there; /* sorted */
    size_t n;
    bool *lost;                   /* packs of the index */
    bool any;
};

static int is_lost(void *arg, const struct vb_index_hit *hit, struct vb_error *err)
{
    struct below *b = arg;
    const struct vb_index_pack *pack = vb_index_pack_at(b->repo->index, hit->pack);
    if (!b->lost[hit->pack])
        return 0;
    char chunk[VB_NAME_HEX_LEN + 1];
    VB_AUTO_FREE char *path = vb_pack_path(&pack->name);
    vb_name_hex(&hit->entry.name, chunk);
    vb_fail(err, VB_E_NOT_FOUND, "'%s': pack has vanished, changed its size or been given up by a prune since the backup began, "
            "and with it the %s chunk %.16s...", path, vb_chunk_type_name(hit->entry.type), chunk);
    vb_hint(err, "if this machine slept for long, or its run was taken to be dead, that is why; else find out what removes "
            "files from the repository; then back up again: what is missing is stored anew");
    return -1;
}

static int not_indexed(void *arg, const struct vb_name *name, unsigned type, const struct vb_index_hit *hit,
                       struct vb_error *err)
{
    char hex[VB_NAME_HEX_LEN + 1];
    (void)arg, (void)hit;
    vb_name_hex(name, hex);
    return vb_fail(err, VB_E_CORRUPT, "%s chunk %.16s... is not in the repository",
                   type ? vb_chunk_type_name(type) : "data", hex);
}

static void find_lost(struct below *b)
{
    struct vb_repo *r = b->repo;
    size_t packs = vb_index_pack_count(r->index);
    b->lost = vb_alloc_n(packs + 1, sizeof *b->lost);
    for (size_t i = 0; i < packs; i++) {
        const struct vb_index_pack *p = vb_index_pack_at(r->index, (uint32_t)i);
        if (p->gone || p->open)
            continue;
        b->lost[i] = VB_CHECKED(1, !vb_repo_is_listed(b->there, b->n, &p->name, p->size)) ||
                     VB_CHECKED(2, vb_repo_is_lost_to(r, &p->name, true));
        b->any = b->any || b->lost[i];
    }
}

static int recheck_below(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_error *err)
{
    struct below b = { .repo = r };
    if (vb_repo_list_packs(r, &b.there, &b.n, err) < 0)
        return -1;
    find_lost(&b);
    int result = 0;
    if (b.any && vb_keys_append_only(r->keys)) {
        result = vb_fail(err, VB_E_NOT_FOUND, "packs have vanished since the backup began, and a write-only key cannot "
                         "tell what is lost");
        vb_hint(err, "find out what removes files from the repository, then back up again");
    } else if (b.any) {
        struct vb_repo_reach reach;
        vb_repo_reach_init(&reach, r, r->index);
        reach.arg = &b;
        reach.visit = is_lost;
        reach.problem = not_indexed;
        result = vb_repo_reach_entry(&reach, e, err);
        vb_repo_reach_clear(&reach);
    }
    for (size_t i = 0; i < vb_index_pack_count(r->index) && result == 0; i++)
        if (b.lost[i])
            vb_index_pack_at(r->index, (uint32_t)i)->gone = true; /* and nothing that this backup needs */
    free(b.there);
    free(b.lost);
    return result;
}

/* All that this backup refers to is there, and no prune that is in the ledger so far has given it up. */
static int recheck_all(struct vb_repo *r, const struct vb_catalog_entry *e, struct vb_error *err)
{
    uint64_t prune = r->ledger.prune.number;
    if (r->ledger.state_lost)
        return vb_fail(err, VB_E_CORRUPT, "'%s': what the last prune has given up cannot be read", r->backend->location);
    if (recheck_below(r, e, err) < 0 || recheck_roots(r, e, err) < 0)
        return -1;
    if (prune != r->loaded_prune) {
        /* It may have left out of the index what this backup needs. */
        vb_index_mark_new(r->index);
        if (vb_repo_flush(r, err) < 0)
            return -1;
        r->loaded_prune = prune;
    }
    r->checked_prune = prune;
    return 0;
}

/* ---- the entry ---- */

/* Records that are or were in the catalog: also of what is forgotten and gone, or was set aside; sorted. */
static int all_records(struct vb_repo *r, struct vb_strv *paths, struct vb_error *err)
{
    int result = vb_repo_catalog_paths(r, paths, err);
    if (result == 0)
        result = vb_repo_forgotten_paths(r, paths, err);
    if (result == 0)
        result = vb_repo_broken_paths(r, "catalog/", paths, err);
    vb_strv_sort(paths);
    return result;
}

int vb_repo_has_backup(struct vb_repo *r, const char *id, bool *there, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = all_records(r, &paths, err);
    *there = false;
    for (size_t i = 0; i < paths.n && result == 0 && !*there; i++) {
        uint64_t sequence;
        char own[VB_GUID_LEN + 1];
        struct vb_name hash;
        *there = vb_catalog_path_parse(paths.v[i], &sequence, own, &hash) && vb_guid_equal(own, id) &&
                 vb_repo_standing(r, sequence, &hash) == VB_STANDS;
    }
    vb_strv_clear(&paths);
    return result;
}

/* Its place in the order: behind all that is in the ledger. */
static int set_place(struct vb_repo *r, struct vb_catalog_entry *e, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = vb_repo_ledger_next(r, &e->sequence, err);
    if (result == 0)
        result = all_records(r, &paths, err);
    e->has_previous = false;
    for (size_t i = 0; i < paths.n && result == 0; i++) {
        uint64_t sequence;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (!vb_catalog_path_parse(paths.v[i], &sequence, id, &hash) || sequence >= e->sequence ||
            vb_repo_standing(r, sequence, &hash) != VB_STANDS)
            continue;
        e->has_previous = true;
        e->previous = hash;
        if (vb_guid_equal(id, e->id))
            result = vb_fail(err, VB_E_EXISTS, "backup '%s' is in the repository already", id);
    }
    vb_strv_clear(&paths);
    return result;
}

/* In the catalog, and not yet a backup; *path is the caller's. */
static int write_entry(struct vb_repo *r, struct vb_catalog_entry *e, char **path, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT, plain = VB_BUF_INIT, aad = VB_BUF_INIT;
    size_t n = entry_aad(e->sequence, e->id, &aad);
    if (!vb_keys_sealed(r->keys)) {
        if (vb_catalog_encode(e, &bytes, err) < 0)
            return -1;
    } else if (vb_catalog_encode(e, &plain, err) < 0 ||
               vb_object_write(r->keys, VB_OBJECT_ENTRY, 0, aad.data, n, plain.data, plain.len, &bytes, err) < 0) {
        return -1;
    }
    if (bytes.len > VB_CATALOG_MAX_FILE)
        return vb_fail(err, VB_E_LIMIT, "record of the backup is larger than %zu bytes", VB_CATALOG_MAX_FILE);
    vb_sha256(bytes.data, bytes.len, &e->hash);
    *path = vb_catalog_path(e->sequence, e->id, &e->hash);
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    vb_fault_point("store");
    if (vb_backend_write(r->backend, *path, bytes.data, bytes.len, &why) < 0 && why.code != VB_E_EXISTS)
        return vb_error_move(err, &why);
    vb_fault_point("store");
    return vb_backend_barrier(r->backend, err);
}

/* 0: it is a backup; 1: somebody was quicker; -1. */
static int try_commit(struct vb_repo *r, struct vb_catalog_entry *e, struct vb_error *err)
{
    VB_AUTO_FREE char *path = NULL;
    bool unsure = false;
    int result = write_entry(r, e, &path, err);
    if (result == 0)
        result = vb_repo_ledger_append(r, VB_LEDGER_BACKUP, &e->hash, &unsure, err);
    if (result != 0 && path && !unsure)
        vb_backend_remove(r->backend, path, NULL); /* it never was one; a prune clears it away if this fails */
    return result;
}

int vb_repo_commit(struct vb_repo *r, struct vb_catalog_entry *e, struct vb_error *err)
{
    if (vb_repo_flush(r, err) < 0)
        return -1;
    if (!e->id[0])
        vb_guid_new(e->id);
    e->added_chunks = r->stats.put_chunks;
    e->added_raw = r->stats.put_raw;
    e->added_stored = r->stats.put_stored;
    for (bool first = true;; first = false) {
        if (vb_repo_ledger_sync(r, err) < 0 ||
            ((first || VB_CHECKED(3, r->ledger.prune.number != r->checked_prune)) && recheck_all(r, e, err) < 0) ||
            set_place(r, e, err) < 0)
            return -1;
        int result = try_commit(r, e, err);
        if (result == 0)
            vb_repo_remember(r);
        if (result <= 0)
            return result;
    }
}
