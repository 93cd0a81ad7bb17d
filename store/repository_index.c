/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_index.c - from index files and packs to the index in memory.
 *
 * Opening reads the index files only.  A scan (when a session begins, when an index file is damaged, when a chunk
 * cannot be found) also lists the packs: what is missing does not count, and what no index file names is taken in,
 * so that nothing an interrupted backup has stored is sent twice.  If that does not find it, every pack is asked.
 *
 * The rule that everything below a TREE or LIST chunk is there as well holds for what index files name, because put
 * sees to it, as far as their writers knew: a prune since may have given up what is below, so index files of an older
 * generation are suspect.  After a scan the rule is made true again for what they tell, for what was taken in, and for
 * everything if a pack is missing: chunks that refer to something that is not there are dropped from the index, and the
 * next backup stores them anew.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

struct scan {
    struct vb_repo_listed *packs; /* sorted by name */
    size_t n;
    enum vb_repo_scan level;
    bool all;      /* also condemned packs, and nothing is closed over: a prune finds its own way */
    bool missing;  /* an index file names a pack that is not there */
    bool damaged;  /* an index file cannot be used */
    bool vanished; /* an index file was listed and is gone: a prune has made it anew */
    struct vb_index *index;
    struct vb_repo *repo;
    struct vb_strv *files;
};

/* ---- the packs that are there ---- */

struct listing {
    struct vb_repo_listed *v;
    size_t n, cap;
};

static int by_name(const void *a, const void *b)
{
    return vb_name_compare(&((const struct vb_repo_listed *)a)->name, &((const struct vb_repo_listed *)b)->name);
}

static int see_pack(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct listing *l = arg;
    struct vb_repo_listed one = { .size = size };
    (void)err;
    if (!vb_pack_path_parse(path, &one.name))
        return 0;
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = one;
    return 0;
}

int vb_repo_list_packs(struct vb_repo *r, struct vb_repo_listed **packs, size_t *n, struct vb_error *err)
{
    struct listing l = { 0 };
    if (vb_backend_list(r->backend, "packs/", see_pack, &l, err) != 0) {
        free(l.v);
        return -1;
    }
    if (l.n > 1)
        qsort(l.v, l.n, sizeof *l.v, by_name);
    *packs = l.v;
    *n = l.n;
    return 0;
}

bool vb_repo_is_listed(const struct vb_repo_listed *packs, size_t n, const struct vb_name *name, uint64_t size)
{
    struct vb_repo_listed key = { .name = *name };
    const struct vb_repo_listed *l = n ? bsearch(&key, packs, n, sizeof key, by_name) : NULL;
    return l && l->size == size;
}

/* What a prune has given up before this session began does not count for it; that is no loss. */
static bool is_excluded(const struct scan *s, const struct vb_name *name)
{
    return s->repo->mode == VB_REPO_WRITE && vb_repo_is_lost_to(s->repo, name, s->all);
}

static bool is_there(void *arg, const struct vb_name *name, uint64_t size)
{
    struct scan *s = arg;
    if (is_excluded(s, name))
        return false;
    if (vb_repo_is_listed(s->packs, s->n, name, size))
        return true;
    s->missing = true;
    return false;
}

/* An index file that cannot be used is a missing one, unless a newer program wrote it. */
static int read_index_file(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    struct scan *s = arg;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_name want, real;
    if (strncmp(path, "index/", 6) != 0 || !vb_name_parse(path + 6, &want))
        return 0;
    if (s->files)
        vb_strv_add(s->files, path);
    if (size > VB_INDEX_MAX_FILE)
        vb_fail(&why, VB_E_LIMIT, "has %llu bytes", (unsigned long long)size);
    /* The listing has told the size: it is not asked for again. */
    if (why.code != VB_OK || vb_backend_read(s->repo->backend, path, 0, (size_t)size, &bytes, &why) < 0) {
        if (why.code == VB_E_NOT_FOUND) {
            s->vanished = true;
            return 0;
        }
        if (why.code != VB_E_CORRUPT && why.code != VB_E_LIMIT)
            return vb_error_move(err, &why);
    } else {
        vb_sha256(bytes.data, bytes.len, &real);
        if (!vb_name_equal(&want, &real))
            vb_fail(&why, VB_E_CORRUPT, "its bytes do not match its name");
        else if (vb_index_decode(s->index, s->repo->keys, bytes.data, bytes.len, s->level ? is_there : NULL, s,
                                 &why) == 0)
            return 0;
    }
    if (why.code == VB_E_ACCESS_DENIED)
        return 0; /* of a group that a write-only key knows nothing about */
    vb_context(&why, "'%s/%s'", s->repo->backend->location, path);
    if (why.code == VB_E_NEWER_FORMAT)
        return vb_error_move(err, &why);
    s->damaged = true;
    vb_log_error(VB_LOG_INFO, &why);
    return 0;
}

/* ---- packs that no index file names ---- */

/* Every chunk is what its name says. */
static int verify_chunks(struct scan *s, const struct vb_pack_id *id, const struct vb_buf *bytes,
                         const struct vb_pack_entry *entries, size_t n, struct vb_error *err)
{
    struct vb_object o;
    VB_AUTO_BUF stored = VB_BUF_INIT, plain = VB_BUF_INIT;
    int result = vb_object_recall(s->repo->keys, VB_OBJECT_PACK, id->group, id->salt, &o, err);
    for (size_t i = 0; i < n && result == 0; i++) {
        vb_buf_reset(&stored);
        vb_buf_reset(&plain);
        result = vb_pack_unseal(s->repo->keys, &o, &entries[i], bytes->data + entries[i].offset, &stored, err);
        if (result == 0)
            result = vb_repo_open_stored(s->repo, id->group, &entries[i], &stored, &plain, err);
    }
    vb_object_end(&o);
    return result;
}

/* For a writer the whole pack is verified: what is taken in will be referred to without being sent again. */
static int pack_entries(struct scan *s, struct vb_pack_id *id, struct vb_pack_entry **entries, size_t *n,
                        struct vb_error *err)
{
    if (s->repo->mode == VB_REPO_READ || s->all)
        return vb_pack_read_entries(s->repo->backend, s->repo->keys, id, entries, n, err);
    VB_AUTO_FREE char *path = vb_pack_path(&id->name);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    struct vb_name name = id->name;
    if (vb_backend_read_all(s->repo->backend, path, VB_PACK_MAX, &bytes, err) < 0 ||
        vb_pack_parse(bytes.data, bytes.len, s->repo->keys, &name, id, entries, n, err) < 0)
        return -1;
    return verify_chunks(s, id, &bytes, *entries, *n, err);
}

static int take_in(struct scan *s, const struct vb_repo_listed *l, struct vb_error *err)
{
    VB_AUTO_FREE struct vb_pack_entry *entries = NULL;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_pack_id id = { .name = l->name, .size = l->size };
    size_t n = 0;
    if (pack_entries(s, &id, &entries, &n, &why) < 0) {
        if (why.code == VB_E_NOT_FOUND)
            return 0; /* a prune was quicker */
        if (why.code != VB_E_CORRUPT && why.code != VB_E_LIMIT && why.code != VB_E_ACCESS_DENIED)
            return vb_error_move(err, &why);
        vb_log_error(VB_LOG_INFO, &why); /* damaged and without a place in the index: nothing counts on it */
        return 0;
    }
    uint32_t pack = vb_index_add_pack(s->index, &id, false);
    for (size_t i = 0; i < n; i++)
        vb_index_add(s->index, pack, &entries[i]);
    return 0;
}

/* Index files disagree about a pack, because somebody lied about one that is not of his group: the pack itself says. */
static int settle(struct scan *s, struct vb_error *err)
{
    size_t n = vb_index_pack_count(s->index);
    for (size_t i = 0; i < n; i++) {
        struct vb_index_pack *p = vb_index_pack_at(s->index, (uint32_t)i);
        struct vb_repo_listed l = { p->name, p->size };
        if (!p->contested || p->gone)
            continue;
        p->gone = true;
        VB_AUTO_FREE char *path = vb_pack_path(&l.name);
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        if (vb_backend_size(s->repo->backend, path, &l.size, &why) < 0) {
            if (why.code != VB_E_NOT_FOUND)
                return vb_error_move(err, &why);
        } else if (take_in(s, &l, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- everything below is there ---- */

struct closure {
    struct vb_repo *repo;
    struct vb_index *index;
    bool all;               /* look at every chunk, else only at packs that were taken in */
    struct vb_name *suspects;
    size_t n, cap;
};

/* What index files tell that are older than this may refer to what prunes have removed since.  A run that was taken up
 * knows the repository as of long ago, and still must not believe more than one that begins now. */
static uint64_t suspect_before(const struct vb_repo *r)
{
    return r->lease && r->ledger.prunes > r->generation ? r->ledger.prunes : r->generation;
}

static int gather(void *arg, const struct vb_index_hit *hit)
{
    struct closure *c = arg;
    bool refers = hit->entry.type == VB_CHUNK_TREE || hit->entry.type == VB_CHUNK_LIST;
    const struct vb_index_pack *pack = vb_index_pack_at(c->index, hit->pack);
    if (refers && (c->all || !pack->durable || VB_CHECKED(4, pack->generation < suspect_before(c->repo)))) {
        VB_GROW(c->suspects, c->n, c->cap);
        c->suspects[c->n++] = hit->entry.name;
    }
    return 0;
}

struct same_group {
    struct vb_index *index;
    uint32_t group;
};

static int must_be_there(void *arg, const struct vb_name *name, unsigned type, struct vb_error *err)
{
    const struct same_group *g = arg;
    struct vb_index_hit hit;
    (void)type;
    (void)err;
    return vb_index_get(g->index, name, &hit) && vb_index_pack_at(g->index, hit.pack)->group == g->group ? 0 : 1;
}

/* 1: it stays; 0: it must go; -1: the storage failed. */
static int is_closed(struct closure *c, const struct vb_index_hit *hit, struct vb_error *err)
{
    VB_AUTO_BUF stored = VB_BUF_INIT, plain = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    const struct vb_index_pack *pack = vb_index_pack_at(c->index, hit->pack);
    struct same_group here = { c->index, pack->group };
    int result = vb_repo_read_packed(c->repo, pack, &hit->entry, &stored, &why);
    if (result == 0)
        result = vb_repo_open_stored(c->repo, pack->group, &hit->entry, &stored, &plain, &why);
    if (result == 0)
        result = vb_chunk_refs((enum vb_chunk_type)hit->entry.type, plain.data, plain.len, must_be_there, &here, &why);
    if (result < 0 && why.code != VB_E_CORRUPT && why.code != VB_E_NOT_FOUND)
        return vb_error_move(err, &why);
    return result == 0;
}

static int close_over(struct closure *c, struct vb_error *err)
{
    bool changed = true;
    vb_index_each(c->index, gather, c);
    /* Dropping one may open another that refers to it; children come first in packs, so this settles quickly. */
    while (changed) {
        changed = false;
        for (size_t i = 0; i < c->n; i++) {
            struct vb_index_hit hit;
            if (!vb_index_get(c->index, &c->suspects[i], &hit))
                continue;
            int closed = is_closed(c, &hit, err);
            if (closed < 0)
                return -1;
            if (!closed) {
                vb_index_drop(c->index, &c->suspects[i]);
                changed = true;
            }
        }
    }
    return 0;
}

/* This key cannot read what refers to others: it is stored anew. */
static int drop_suspects(struct closure *c)
{
    vb_index_each(c->index, gather, c);
    for (size_t i = 0; i < c->n; i++)
        vb_index_drop(c->index, &c->suspects[i]);
    return 0;
}

/* Whether there can be a directory in the index without what is below it. */
static bool is_suspect(struct scan *s, bool taken)
{
    if (s->repo->mode == VB_REPO_READ || s->all)
        return false; /* a reader reaches only what a backup refers to */
    for (size_t i = 0; i < vb_index_pack_count(s->index); i++)
        taken = taken || vb_index_pack_at(s->index, (uint32_t)i)->generation < suspect_before(s->repo);
    return taken || s->missing;
}

/* ---- all together ---- */

static int take_in_packs(struct scan *s, bool *taken, struct vb_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        uint32_t pack;
        if (vb_index_find_pack(s->index, &s->packs[i].name, &pack) || is_excluded(s, &s->packs[i].name))
            continue;
        if (vb_keys_append_only(s->repo->keys))
            continue; /* not to be read with this key: the next who can takes it in */
        if (take_in(s, &s->packs[i], err) < 0)
            return -1;
        *taken = true;
    }
    return 0;
}

static int load(struct scan *s, struct vb_error *err)
{
    struct vb_backend *b = s->repo->backend;
    bool taken = false;
    if (s->level && vb_repo_list_packs(s->repo, &s->packs, &s->n, err) < 0)
        return -1;
    if ((s->level < VB_SCAN_DEEP || s->files) && vb_backend_list(b, "index/", read_index_file, s, err) != 0)
        return -1;
    if (s->vanished)
        return 0;
    if (s->level == VB_SCAN_DEEP && s->files) { /* for their names only */
        vb_index_free(s->index);
        s->index = vb_index_new();
    }
    /* A repair has set packs aside: nobody must believe in directories whose parts were in them. */
    struct vb_strv broken = { 0 };
    bool asks = s->level && !s->all && s->repo->mode == VB_REPO_WRITE;
    int listed = asks ? vb_repo_broken_paths(s->repo, "packs/", &broken, err) : 0;
    s->missing = s->missing || broken.n > 0;
    vb_strv_clear(&broken);
    if (listed < 0)
        return -1;
    if (settle(s, err) < 0 || (s->level && take_in_packs(s, &taken, err) < 0))
        return -1;
    if (!s->level || !is_suspect(s, taken))
        return 0;
    struct closure c = { .repo = s->repo, .index = s->index, .all = s->missing };
    int result = vb_keys_append_only(s->repo->keys) ? drop_suspects(&c) : close_over(&c, err);
    free(c.suspects);
    return result;
}

static int load_once(struct vb_repo *r, struct scan *s, struct vb_error *err)
{
    s->index = vb_index_new();
    s->repo = r;
    s->missing = s->damaged = s->vanished = false;
    if (s->files)
        vb_strv_clear(s->files);
    int result = load(s, err);
    free(s->packs);
    s->packs = NULL;
    s->n = 0;
    if (result < 0 || s->vanished)
        vb_index_free(s->index);
    return result;
}

static int load_as(struct vb_repo *r, struct scan *s, struct vb_error *err)
{
    int tries = 0;
    do {
        if (load_once(r, s, err) < 0)
            return -1;
        if (!s->vanished && s->damaged && !s->level) { /* a damaged index file is a missing one */
            vb_index_free(s->index);
            s->level = VB_SCAN_PACKS;
            s->vanished = true;
        }
    } while (s->vanished && ++tries < 100);
    if (s->vanished)
        return vb_fail(err, VB_E_BUSY, "'%s': index files vanish faster than they can be read", r->backend->location);
    vb_index_free(r->index);
    r->index = s->index;
    r->scanned = s->level;
    return 0;
}

int vb_repo_load_index(struct vb_repo *r, enum vb_repo_scan level, struct vb_error *err)
{
    struct scan s = { .level = level };
    return load_as(r, &s, err);
}

int vb_repo_load_all(struct vb_repo *r, enum vb_repo_scan level, struct vb_strv *files, struct vb_error *err)
{
    struct scan s = { .level = level, .all = true, .files = files };
    return load_as(r, &s, err);
}
