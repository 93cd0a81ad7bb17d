/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_prune.c - what no backup refers to any more is removed, in two phases, while others write.
 *
 * First: all that the backups refer to is found.  Packs with much that is not needed are written anew without it, an
 * index is made of what is needed and nothing else, and packs that are needed no more are condemned: sessions that begin
 * from then on do not count on them.  Later, after a delay, and when no session is at work that began before, a prune
 * dooms condemned packs: nobody may refer to them any more; and removes them.
 *
 * Both take effect with one record in the ledger, created under the next number: what was committed before it has a lower
 * number, and was looked at; what is committed after it has a higher one, and its writer has read this record first.  If
 * a backup has taken the number meanwhile, what that refers to is taken off the list, and the next number is tried.
 *
 * The order of writing, each with a barrier: new packs, new index, the state, its record in the ledger; then records of
 * forgotten backups away, old index files, doomed packs.  A crash between any two leaves at worst something that the next
 * prune does again.
 *
 * Of a trust group of which something cannot be read, nothing is removed: what an unreadable directory refers to is not
 * known.  If it is not even known which group that is, nothing is removed at all.
 *
 * What is needed is found in repository_prune_mark.c; what becomes of packs and index is in repository_prune_packs.c; here
 * is the order of it, the record, and what is removed then.
 */
#include "config.h"
#include "store/repository_prune.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/mem.h"

/* ---- the record ---- */

static int see_pack(void *arg, const struct vb_index_hit *hit, struct vb_error *err)
{
    struct vb_prune *p = arg;
    (void)err;
    const struct vb_name *name = &vb_index_pack_at(p->reach.index, hit->pack)->name;
    for (size_t i = 0; i < p->next.n_packs; i++)
        if (vb_name_equal(&p->next.packs[i].name, name)) {
            const struct vb_state_pack *before = vb_state_find(&p->repo->ledger.state, name);
            if (before && before->doomed)
                return 0; /* whoever committed this has known better: it is elsewhere, too */
            p->next.packs[i] = p->next.packs[--p->next.n_packs];
            break;
        }
    return 0;
}

static int find_entry(struct vb_prune *p, const struct vb_ledger_record *rec, char **path, struct vb_error *err)
{
    struct vb_strv paths = { 0 };
    int result = vb_repo_catalog_paths(p->repo, &paths, err);
    for (size_t i = 0; i < paths.n && result == 0 && !*path; i++) {
        uint64_t number = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(paths.v[i], &number, id, &hash) && number == rec->number &&
            vb_name_equal(&hash, &rec->what))
            *path = vb_strdup(paths.v[i]);
    }
    vb_strv_clear(&paths);
    if (result == 0 && !*path)
        result = vb_fail(err, VB_E_CORRUPT, "the record of backup number %llu is missing in the catalog",
                         (unsigned long long)rec->number);
    return result;
}

/* A backup was quicker: what it refers to is kept, and told by the index. */
static int take_note_of(struct vb_prune *p, const struct vb_ledger_record *rec, struct vb_error *err)
{
    VB_AUTO_FREE char *path = NULL;
    bool whole = true;
    size_t frozen = p->result->left_alone;
    int result = find_entry(p, rec, &path, err);
    for (int level = VB_SCAN_PACKS; level <= VB_SCAN_DEEP && result == 0; level++) {
        VB_AUTO_ERROR why = VB_ERROR_INIT;
        p->incomplete = false;
        result = vb_repo_load_all(p->repo, (enum vb_repo_scan)level, NULL, err);
        if (result < 0)
            break;
        vb_repo_reach_clear(&p->reach);
        vb_prune_reach_begin(p, &p->reach);
        p->reach.visit = see_pack;
        result = vb_prune_mark_entry(p, &p->reach, path, &whole, &why);
        if (result < 0 && p->incomplete && level < VB_SCAN_DEEP) {
            result = 0;
            continue;
        }
        if (result < 0)
            vb_error_move(err, &why);
        break;
    }
    if (result == 0 && !whole && frozen == p->result->left_alone)
        result = vb_fail(err, VB_E_BUSY, "a backup that ended meanwhile cannot be read");
    if (result < 0) {
        vb_hint(err, "nothing was removed; prune again");
        return -1;
    }
    return vb_prune_tell_more(p, err);
}

static int take_note(struct vb_prune *p, uint64_t after, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    for (size_t i = 0; i < r->ledger.n; i++) {
        const struct vb_ledger_record rec = r->ledger.v[i];
        if (rec.number <= after || rec.kind == VB_LEDGER_UNKNOWN)
            continue;
        if (rec.kind == VB_LEDGER_BACKUP) {
            if (VB_CHECKED(8, true) && take_note_of(p, &rec, err) < 0)
                return -1;
            continue;
        }
        vb_fail(err, VB_E_BUSY, rec.kind == VB_LEDGER_PRUNE ? "another prune was quicker"
                                                             : "a backup was held or called back meanwhile");
        vb_hint(err, "nothing was removed; prune again");
        return -1;
    }
    return 0;
}

static int write_state(struct vb_prune *p, char **path, struct vb_name *hash, struct vb_error *err)
{
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    uint64_t number = 0;
    p->next.generation = p->generation;
    p->next.wall_ms = p->params->wall_ms;
    for (size_t i = 0; i < p->expired.n; i++)
        if (!vb_strv_has(&p->next.expired, p->expired.v[i]))
            vb_strv_add(&p->next.expired, p->expired.v[i]);
    vb_state_sort(&p->next);
    if (vb_repo_ledger_next(p->repo, &number, err) < 0 || vb_state_encode(&p->next, &bytes, err) < 0)
        return -1;
    vb_sha256(bytes.data, bytes.len, hash);
    *path = vb_state_path(number, hash);
    if (vb_backend_write(p->repo->backend, *path, bytes.data, bytes.len, &why) < 0 && why.code != VB_E_EXISTS)
        return vb_error_move(err, &why);
    return vb_backend_barrier(p->repo->backend, err);
}

/* From here on, for everybody. */
static int take_effect(struct vb_prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    for (;;) {
        VB_AUTO_FREE char *path = NULL;
        struct vb_name hash;
        bool unsure = false;
        uint64_t before = r->ledger.end;
        if (write_state(p, &path, &hash, err) < 0)
            return -1;
        vb_fault_point("store");
        int result = vb_repo_ledger_append(r, VB_LEDGER_PRUNE, &hash, &unsure, err);
        p->took_effect = p->took_effect || result == 0;
        if (result == 0)
            return vb_repo_ledger_sync(r, err); /* reads the state that is in force now */
        if (!unsure)
            vb_backend_remove(r->backend, path, NULL);
        if (result < 0 || take_note(p, before, err) < 0)
            return -1;
    }
}

/* ---- removing ---- */

/* Removes what others may have removed already. */
static int remove_one(struct vb_repo *r, const char *path, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_backend_remove(r->backend, path, &why) < 0 && why.code != VB_E_NOT_FOUND)
        return vb_error_move(err, &why);
    return 0;
}

static int remove_all(struct vb_repo *r, const struct vb_strv *paths, struct vb_error *err)
{
    for (size_t i = 0; i < paths->n; i++)
        if (remove_one(r, paths->v[i], err) < 0)
            return -1;
    return paths->n ? vb_backend_barrier(r->backend, err) : 0;
}

static int gather_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

/* Never became a backup, or a state that counts: another has the number. */
static int find_void(struct vb_prune *p, struct vb_strv *paths, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    struct vb_strv all = { 0 };
    int result = vb_repo_catalog_paths(r, &all, err);
    for (size_t i = 0; i < all.n && result == 0; i++) {
        uint64_t number = 0;
        char id[VB_GUID_LEN + 1];
        struct vb_name hash;
        if (vb_catalog_path_parse(all.v[i], &number, id, &hash) && vb_repo_standing(r, number, &hash) == VB_VOID)
            vb_strv_add(paths, all.v[i]);
    }
    vb_strv_clear(&all);
    if (result == 0)
        result = vb_backend_list(r->backend, "state/", gather_path, &all, err);
    uint64_t newest = r->ledger.prune.number, before = 0;
    for (size_t i = 0; i < r->ledger.n; i++) /* the state before stays for those who have just read of it */
        if (r->ledger.v[i].kind == VB_LEDGER_PRUNE && r->ledger.v[i].number < newest)
            before = r->ledger.v[i].number;
    for (size_t i = 0; i < all.n && result == 0; i++) {
        uint64_t number = 0;
        struct vb_name hash;
        const struct vb_ledger_record *rec;
        if (vb_state_path_parse(all.v[i], &number, &hash) && number < newest &&
            (number != before || !(rec = vb_repo_ledger_at(r, number)) || !vb_name_equal(&rec->what, &hash)))
            vb_strv_add(paths, all.v[i]);
    }
    vb_strv_clear(&all);
    /* Marks of packs were files of their own once. */
    return result == 0 ? vb_backend_list(r->backend, "condemned/", gather_path, paths, err) : result;
}

static int remove_doomed(struct vb_prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    const struct vb_state *s = p->params->dry_run ? &p->next : &r->ledger.state;
    bool any = false;
    for (size_t i = 0; i < s->n_packs; i++) {
        const struct vb_repo_listed *l = vb_prune_listed(p, &s->packs[i].name);
        if (!s->packs[i].doomed || !l)
            continue;
        VB_AUTO_FREE char *path = vb_pack_path(&s->packs[i].name);
        p->result->removed_packs++;
        p->result->removed_bytes += l->size;
        vb_fault_point("store");
        if (!p->params->dry_run && remove_one(r, path, err) < 0)
            return -1;
        any = true;
    }
    return any && !p->params->dry_run ? vb_backend_barrier(r->backend, err) : 0;
}

static int clear_away(struct vb_prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    struct vb_strv unused = { 0 };
    /* An interrupted prune may have left some of each. */
    int result = remove_all(r, &p->expired, err);
    vb_fault_point("store");
    if (result == 0 && p->changes)
        result = remove_all(r, &p->old_index, err);
    vb_fault_point("store");
    if (result == 0)
        result = remove_doomed(p, err);
    vb_fault_point("store");
    if (result == 0)
        result = remove_all(r, &p->dead, err);
    if (result == 0)
        result = find_void(p, &unused, err);
    if (result == 0)
        result = remove_all(r, &unused, err);
    vb_strv_clear(&unused);
    return result;
}

/* ---- all together ---- */

static int change(struct vb_prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    if (vb_repo_flush_packs(r, err) < 0)
        return -1;
    vb_fault_point("store");
    if (vb_prune_write_index(p, err) < 0)
        return -1;
    vb_fault_point("store");
    return take_effect(p, err);
}

static int run(struct vb_prune *p, struct vb_error *err)
{
    struct vb_repo *r = p->repo;
    if (vb_repo_ledger_sync(r, err) < 0)
        return -1;
    p->generation = r->ledger.prunes + 1;
    if (vb_prune_find_leases(p, err) < 0 || vb_prune_mark_needed(p, err) < 0 || vb_repo_list_packs(r, &p->there, &p->n_there, err) < 0)
        return -1;
    /* Another prune since the beginning: its state is not what was looked at. */
    if (p->generation != r->ledger.prunes + 1)
        return vb_fail(err, VB_E_BUSY, "another prune was quicker");
    p->result->removed_backups = p->expired.n;
    p->changes = p->changes || p->expired.n > 0 || r->ledger.state_lost;
    vb_prune_judge(p);
    if (vb_prune_repack(p, err) < 0)
        return -1;
    if (p->params->dry_run)
        return remove_doomed(p, err);
    if (p->changes && change(p, err) < 0)
        return -1;
    return clear_away(p, err);
}

int vb_repo_prune(struct vb_repo *r, const struct vb_prune_params *params, struct vb_prune_result *out,
                  struct vb_error *err)
{
    memset(out, 0, sizeof *out);
    if (!r->locked)
        return vb_fail(err, VB_E_BAD_STATE, "'%s': no session has begun", r->backend->location);
    if (vb_keys_append_only(r->keys))
        return vb_fail(err, VB_E_ACCESS_DENIED, "a write-only key cannot prune");
    struct vb_prune p = { .repo = r, .params = params, .result = out };
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    int result = run(&p, &why);
    if (result < 0) {
        /* What another prune removes while this one looks is no damage. */
        if (p.generation && !p.took_effect && vb_repo_ledger_sync(r, NULL) == 0 && r->ledger.prunes >= p.generation) {
            vb_error_clear(&why);
            vb_fail(&why, VB_E_BUSY, "another prune was quicker");
            vb_hint(&why, "nothing was removed by this one; prune again");
        }
        vb_error_move(err, &why);
    }
    vb_repo_reach_clear(&p.reach);
    free(p.live);
    free(p.there);
    free(p.frozen);
    vb_index_free(p.told);
    vb_state_clear(&p.next);
    vb_strv_clear(&p.expired);
    vb_strv_clear(&p.held);
    vb_strv_clear(&p.old_index);
    vb_strv_clear(&p.dead);
    /* The index in memory is of before. */
    vb_repo_unlock(r);
    return result;
}
