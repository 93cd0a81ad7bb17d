/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_ledger.c - the ledger of a repository: reading on, adding a record, and what it says about the others.
 *
 * A record is added by creating the file with the next number, which only one can do.  Whoever is second reads what the
 * first has written, looks again at what that changes, and tries the number after it.  Nothing here depends on a clock, or
 * on a listing being fresh: beyond the first listing, numbers are asked for one by one.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/journal.h"
#include "base/log.h"
#include "base/mem.h"

#define HOLE_MAX 64u /* a listing that is not complete: so many numbers are asked for */

#ifdef VB_FAULT_POINTS
int vb_repo_unchecked;
#endif

void vb_repo_ledger_clear(struct vb_repo_ledger *l)
{
    free(l->v);
    vb_state_clear(&l->state);
    memset(l, 0, sizeof *l);
}

static size_t place_of(const struct vb_repo_ledger *l, uint64_t number)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->v[mid].number < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct vb_ledger_record *vb_repo_ledger_at(const struct vb_repo *r, uint64_t number)
{
    size_t i = place_of(&r->ledger, number);
    return i < r->ledger.n && r->ledger.v[i].number == number ? &r->ledger.v[i] : NULL;
}

/* 1: read; 0: not there; -1. */
static int read_record(struct vb_repo *r, uint64_t number, struct vb_ledger_record *rec, struct vb_error *err)
{
    VB_AUTO_FREE char *path = vb_ledger_path(number);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    if (vb_backend_read_all(r->backend, path, 4096, &bytes, &why) < 0) {
        if (why.code == VB_E_NOT_FOUND)
            return 0;
        if (why.code != VB_E_CORRUPT && why.code != VB_E_LIMIT)
            return vb_error_move(err, &why);
        memset(rec, 0, sizeof *rec); /* it takes up its number all the same */
        rec->number = number;
        return 1;
    }
    if (vb_ledger_decode(r->keys, number, bytes.data, bytes.len, rec, &why) < 0) {
        vb_context(&why, "'%s/%s'", r->backend->location, path);
        vb_log_error(VB_LOG_WARNING, &why);
    }
    return 1;
}

static void take(struct vb_repo_ledger *l, const struct vb_ledger_record *rec)
{
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = *rec;
    if (l->first == 0)
        l->first = rec->number;
    l->end = rec->number;
    l->end_hash = rec->hash;
    if (rec->kind == VB_LEDGER_PRUNE) {
        l->prunes++;
        l->prune = *rec;
    }
}

static int gather_number(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    uint64_t number = 0;
    (void)size, (void)err;
    if (vb_ledger_path_parse(path, &number))
        vb_strv_add(arg, path);
    return 0;
}

/* Made by whoever may also prune: nobody else can make it look as if records had been there that are not. */
static bool is_own(const struct vb_repo *r, const struct vb_ledger_record *rec)
{
    if (rec->kind == VB_LEDGER_UNKNOWN)
        return false;
    return vb_keys_append_only(r->keys) ? memcmp(rec->tag, vb_keys_group_at(r->keys, 0)->tag, sizeof rec->tag) == 0
                                        : vb_keys_format(r->keys) == 0 || vb_keys_tag_is(r->keys, rec->tag, "");
}

/* What the listing has left out, as far as it is there. */
static int fill_hole(struct vb_repo *r, uint64_t before, struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    uint64_t from = l->first ? l->end + 1 : before > HOLE_MAX ? before - HOLE_MAX : 1;
    for (uint64_t n = from; n < before && n - from < HOLE_MAX; n++) {
        struct vb_ledger_record rec;
        int there = read_record(r, n, &rec, err);
        if (there < 0)
            return -1;
        if (there > 0)
            take(l, &rec);
    }
    return 0;
}

static int read_listed(struct vb_repo *r, const struct vb_strv *paths, struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    for (size_t i = 0; i < paths->n; i++) {
        uint64_t number = 0;
        struct vb_ledger_record rec;
        if (!vb_ledger_path_parse(paths->v[i], &number) || (l->first && number <= l->end))
            continue;
        uint64_t next = l->first ? l->end + 1 : 1;
        if (number != next && (l->first || r->info.format > 1) && fill_hole(r, number, err) < 0)
            return -1;
        int there = read_record(r, number, &rec, err);
        if (there < 0)
            return -1;
        bool joins = number == (l->first ? l->end + 1 : 1) || (!l->first && r->info.format < 2);
        if (!there || (!joins && !is_own(r, &rec)))
            continue; /* far from all others, and anybody can have made it */
        l->holes = l->holes || !joins;
        take(l, &rec);
    }
    return 0;
}

static int load_state(struct vb_repo *r, struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    VB_AUTO_FREE char *path = vb_state_path(l->prune.number, &l->prune.what);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_name real;
    vb_state_clear(&l->state);
    l->state_lost = false;
    int result = vb_backend_read_all(r->backend, path, VB_STATE_MAX_FILE, &bytes, &why);
    if (result == 0) {
        vb_sha256(bytes.data, bytes.len, &real);
        result = !vb_name_equal(&real, &l->prune.what)
                     ? vb_fail(&why, VB_E_CORRUPT, "its bytes do not match its name")
                     : vb_state_decode(bytes.data, bytes.len, &l->state, &why);
    }
    if (result < 0) {
        vb_state_clear(&l->state);
        vb_context(&why, "'%s/%s'", r->backend->location, path);
        if (why.code != VB_E_CORRUPT && why.code != VB_E_NOT_FOUND && why.code != VB_E_LIMIT)
            return vb_error_move(err, &why);
        l->state_lost = true;
        vb_log_error(VB_LOG_WARNING, &why);
    }
    l->state.generation = l->prunes; /* also when it cannot be read */
    l->state_number = l->prune.number;
    return 0;
}

static int read_on(struct vb_repo *r, struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    for (;;) {
        struct vb_ledger_record rec;
        int there = l->listed ? read_record(r, l->end + 1, &rec, err) : 0;
        if (there <= 0)
            return there;
        take(l, &rec);
    }
}

int vb_repo_ledger_sync(struct vb_repo *r, struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    if (!l->listed) {
        struct vb_strv paths = { 0 };
        int result = vb_backend_list(r->backend, "ledger/", gather_number, &paths, err);
        vb_strv_sort(&paths);
        if (result == 0)
            result = read_listed(r, &paths, err);
        vb_strv_clear(&paths);
        if (result < 0)
            return -1;
        l->listed = l->first || r->info.format > 1; /* else it begins with a number that cannot be guessed */
    }
    for (int again = 0; again < 8; again++) {
        if (read_on(r, err) < 0)
            return -1;
        if (l->prune.number == l->state_number)
            return 0;
        if (load_state(r, err) < 0)
            return -1;
        /* A newer prune may have cleared it away meanwhile: then there is more to read. */
        if (!l->state_lost)
            return 0;
    }
    return 0;
}

/* The number that the next record gets. */
int vb_repo_ledger_next(struct vb_repo *r, uint64_t *number, struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    if (!l->first && r->info.format < 2) {
        struct vb_strv paths = { 0 };
        int result = vb_repo_catalog_paths(r, &paths, err);
        if (result == 0)
            result = vb_repo_forgotten_paths(r, &paths, err); /* also those whose record is gone */
        for (size_t i = 0; i < paths.n && result == 0; i++) {
            uint64_t sequence = 0;
            char id[VB_GUID_LEN + 1];
            struct vb_name hash;
            if (vb_catalog_path_parse(paths.v[i], &sequence, id, &hash) && sequence > l->end)
                l->end = sequence;
        }
        vb_strv_clear(&paths);
        if (result < 0)
            return -1;
    }
    *number = l->end + 1;
    if (*number <= 9999999999u) /* ten digits: a name with more is nobody's */
        return 0;
    vb_fail(err, VB_E_LIMIT, "'%s': a record with the highest number there is stands in the catalog", r->backend->location);
    vb_hint(err, "no backup has such a number: find out who wrote catalog/9999999999-*, and remove it");
    return -1;
}

int vb_repo_ledger_append(struct vb_repo *r, enum vb_ledger_kind kind, const struct vb_name *what, bool *unsure,
                          struct vb_error *err)
{
    struct vb_repo_ledger *l = &r->ledger;
    struct vb_ledger_record rec = { .number = l->end + 1, .kind = kind, .previous = l->end_hash, .what = *what }, there;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR why = VB_ERROR_INIT, second = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_ledger_path(rec.number);
    *unsure = false;
    vb_ledger_encode(r->keys, 0, &rec, &bytes);
    vb_fault_point("store");
    if (vb_backend_write(r->backend, path, bytes.data, bytes.len, &why) < 0) {
        /* A request may have been carried out although its answer was lost. */
        int found = read_record(r, rec.number, &there, &second);
        if (found < 0) {
            *unsure = true;
            return vb_error_move(err, &why);
        }
        if (found == 0)
            return vb_error_move(err, &why);
        if (!vb_name_equal(&there.hash, &rec.hash))
            return vb_repo_ledger_sync(r, err) < 0 ? -1 : 1;
    }
    take(l, &rec);
    vb_fault_point("store");
    for (int again = 0; again < 2; again++) {
        vb_error_clear(&why);
        if (vb_backend_barrier(r->backend, &why) == 0)
            return 0;
    }
    vb_error_move(err, &why);
    *unsure = true;
    return -1;
}

enum vb_repo_standing vb_repo_standing(const struct vb_repo *r, uint64_t number, const struct vb_name *hash)
{
    const struct vb_repo_ledger *l = &r->ledger;
    if (r->info.format < 2 && (!l->first || number < l->first))
        return VB_STANDS; /* from before there was a ledger */
    const struct vb_ledger_record *rec = vb_repo_ledger_at(r, number);
    if (!rec)
        return number > l->end ? VB_PENDING : VB_STANDS; /* the record is lost, not the backup */
    if (rec->kind == VB_LEDGER_UNKNOWN)
        return VB_STANDS;
    return rec->kind == VB_LEDGER_BACKUP && vb_name_equal(&rec->what, hash) ? VB_STANDS : VB_VOID;
}

bool vb_repo_is_lost_to(const struct vb_repo *r, const struct vb_name *pack, bool doomed_only)
{
    const struct vb_state_pack *p = vb_state_find(&r->ledger.state, pack);
    return p && (p->doomed || (!doomed_only && p->generation <= r->generation));
}
