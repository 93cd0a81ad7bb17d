/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store/repository_repair_ledger.c - records of the ledger that are damaged or missing are made anew.
 *
 * A record's bytes follow from what it says and from the keys, and the record behind it names their hash.  So what it can
 * have said is tried: the entry, the state or the mark of its number; and only what gives that hash is written.  The newest
 * record has none behind it, and two in a row do not name one another: those stay as they are, and are told by a check.
 */
#include "config.h"
#include "store/repository_internal.h"

#include <string.h>

#include "base/mem.h"

struct gap {
    uint64_t number;
    bool there;              /* a file that is damaged */
    struct vb_name previous; /* hash of the record before */
    struct vb_name want;     /* of this one, as the record behind it says */
};

struct mend {
    struct vb_repo *repo;
    struct vb_strv entries; /* "catalog/...", whether there or not */
    struct vb_strv states;
};

static int take_path(void *arg, const char *path, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    vb_strv_add(arg, path);
    return 0;
}

static int gather(struct mend *m, struct vb_error *err)
{
    struct vb_repo *r = m->repo;
    if (vb_repo_catalog_paths(r, &m->entries, err) < 0 || vb_repo_forgotten_paths(r, &m->entries, err) < 0 ||
        vb_repo_marked_paths(r, VB_MARK_HOLD, &m->entries, err) < 0 || vb_repo_broken_paths(r, "catalog/", &m->entries, err) < 0)
        return -1;
    for (size_t i = 0; i < r->ledger.state.expired.n; i++)
        vb_strv_add(&m->entries, r->ledger.state.expired.v[i]);
    return vb_backend_list(r->backend, "state/", take_path, &m->states, err);
}

/* As any group that is known may have written it. */
static bool fits(struct mend *m, const struct gap *g, enum vb_ledger_kind kind, const struct vb_name *what, struct vb_buf *out)
{
    for (uint32_t group = 0; group < vb_keys_group_count(m->repo->keys); group++) {
        struct vb_ledger_record rec = { .number = g->number, .kind = kind, .previous = g->previous, .what = *what };
        vb_buf_reset(out);
        vb_ledger_encode(m->repo->keys, group, &rec, out);
        if (vb_name_equal(&rec.hash, &g->want))
            return true;
    }
    return false;
}

static bool reconstruct(struct mend *m, const struct gap *g, struct vb_buf *out)
{
    uint64_t number = 0;
    char id[VB_GUID_LEN + 1];
    struct vb_name what;
    for (size_t i = 0; i < m->entries.n; i++) {
        if (vb_catalog_path_parse(m->entries.v[i], &number, id, &what) && number == g->number &&
            fits(m, g, VB_LEDGER_BACKUP, &what, out))
            return true;
        vb_sha256(m->entries.v[i], strlen(m->entries.v[i]), &what);
        if (fits(m, g, VB_LEDGER_WORD, &what, out))
            return true;
    }
    for (size_t i = 0; i < m->states.n; i++)
        if (vb_state_path_parse(m->states.v[i], &number, &what) && number == g->number && fits(m, g, VB_LEDGER_PRUNE, &what, out))
            return true;
    return false;
}

/* The first from *at on; false: no more. */
static bool next_gap(const struct vb_repo *r, size_t *at, struct gap *g)
{
    const struct vb_repo_ledger *l = &r->ledger;
    for (; *at < l->n; ++*at) {
        const struct vb_ledger_record *rec = &l->v[*at], *before = *at ? &l->v[*at - 1] : NULL;
        if (rec->kind == VB_LEDGER_UNKNOWN || rec->number < 2)
            continue;
        memset(g, 0, sizeof *g);
        g->number = rec->number - 1;
        g->want = rec->previous;
        g->there = before && before->number == g->number;
        if (g->there && vb_name_equal(&before->hash, &rec->previous))
            continue; /* as it should be */
        const struct vb_ledger_record *first = g->there ? (*at > 1 ? &l->v[*at - 2] : NULL) : before;
        bool known = first ? first->number + 1 == g->number : g->number == 1 && r->info.format > 1;
        if (!known)
            continue;
        if (first)
            g->previous = first->hash;
        ++*at;
        return true;
    }
    return false;
}

int vb_repo_mend_ledger(struct vb_repo *r, vb_repo_set_aside_fn *set_aside, vb_check_fn *tell, void *arg,
                        struct vb_error *err)
{
    struct mend m = { .repo = r };
    struct gap g;
    unsigned mended = 0;
    int result = gather(&m, err);
    for (size_t at = 0; result == 0 && next_gap(r, &at, &g);) {
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        VB_AUTO_FREE char *path = vb_ledger_path(g.number);
        if (!reconstruct(&m, &g, &bytes))
            continue;
        if (g.there)
            result = set_aside(arg, path, "the record of the ledger is damaged", err);
        if (result == 0)
            result = vb_backend_write(r->backend, path, bytes.data, bytes.len, err);
        if (result == 0)
            result = vb_backend_barrier(r->backend, err);
        if (result == 0) {
            tell(arg, VB_CHECK_MENDED, path, "made anew: the record behind it vouches for what it says");
            mended++;
        }
    }
    vb_strv_clear(&m.entries);
    vb_strv_clear(&m.states);
    if (result < 0 || mended == 0)
        return result;
    vb_repo_ledger_clear(&r->ledger);
    return vb_repo_ledger_sync(r, err);
}
