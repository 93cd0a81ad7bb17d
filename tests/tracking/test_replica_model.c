/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/tracking/test_replica_model.c - histories of three to five replicas at random, in memory: edits, deletions, renames, passes along
 * random connections, passes that are cut off, stores that are lost, clocks that jump.  Decisions and knowledge are the real ones
 * (tracking/reconcile.c, tracking/knowledge.c); what a pass does with them is modelled here, as world_pass does on stores.
 *
 * After each history: equal knowledge was equal trees at every moment; passes end, with nothing more to send and equal trees;
 * nothing that was written and not knowingly replaced is gone; without conflicts and losses nothing that was replaced is back; what
 * a pass brought it does not bring again.  The same with one rule broken must be found.
 *
 * MODEL_HISTORIES: how many (20,000); a million takes minutes.
 */
#include <config.h>
#include "tests/cm.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "tracking/reconcile.h"

#define REPLICAS 5
#define ROWS 96
#define WRITES 128

/* One rule of the book broken. */
enum broken {
    NOTHING = 0, NO_MINT_OURS, NO_MINT_THEIRS, LEARN_AFTER_CRASH, LEARN_EXCEPTED, DROP_NEVER_SEEN, LOCAL_WINS, SOURCE_WINS, NO_COPY,
    MINT_ON_APPLY, APPLY_BLINDLY, DELETION_WINS, EDIT_KEEPS_VERSION, OWN_NOT_KNOWN, SAME_ID_AFTER_LOSS,
    ORIGIN_OF_RESOLVER, NO_TOMBSTONES_SENT, NEVER_LEARN, COPY_NAMED_BY_RESOLVER, CRASH_FORGETS_ITEMS, DELETE_WITHOUT_VERSION,
    CONFLICT_DROPPED, BROKEN_END
};

struct replica {
    struct vb_replica_id id;
    uint64_t tick;
    struct vb_knowledge *k;
    struct vb_item row[ROWS];
    size_t n;
};
struct model {
    enum broken broken;
    struct vb_rng rng;
    size_t n;
    struct replica r[REPLICAS];
    bool replaced[WRITES];       /* knowingly: by who had it */
    uint32_t writes, ids;
    int64_t clock;
    uint64_t conflicts, losses, renames, resolver;
    const char *why;             /* what is wrong */
};

static void wrong(struct model *m, const char *why)
{
    if (!m->why)
        m->why = why;
}

static uint32_t written(const struct vb_item *i)
{
    uint32_t v;
    memcpy(&v, i->content, sizeof v);
    return v;
}

static struct vb_item *find(struct replica *r, const char *path)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->row[i].path, path))
            return &r->row[i];
    return NULL;
}

static void put(struct model *m, struct replica *r, const struct vb_item *new)
{
    struct vb_item *i = find(r, new->path);
    if (!i) {
        if (r->n == ROWS) {
            wrong(m, "rows without end");
            return;
        }
        i = &r->row[r->n++];
        vb_item_copy(i, new);
        return;
    }
    const char *path = i->path; /* rows own nothing else */
    *i = *new;
    i->path = path;
}

static struct vb_version mint(struct model *m, struct replica *r)
{
    struct vb_version v = { r->id, ++r->tick };
    if (m->broken != OWN_NOT_KNOWN)
        vb_knowledge_raise(r->k, &v);
    return v;
}

/* ---- what users do ---- */

static void edit(struct model *m, struct replica *r, const char *path)
{
    struct vb_item *old = find(r, path), new = { .path = path, .kind = VB_ITEM_FILE, .mode = 0644 };
    if (m->writes + 1 >= WRITES)
        return;
    uint32_t w = ++m->writes;
    if (old && !old->deleted)
        m->replaced[written(old)] = true;
    memcpy(new.content, &w, sizeof w);
    m->clock += (int64_t)vb_rng_below(&m->rng, 7) - 2; /* jumps, also back */
    new.changed = m->broken == EDIT_KEEPS_VERSION && old ? old->changed : mint(m, r);
    new.created = old ? old->created : new.changed;
    new.origin = (struct vb_origin){ m->clock, new.changed };
    put(m, r, &new);
}

static void delete(struct model *m, struct replica *r, const char *path)
{
    struct vb_item *old = find(r, path);
    if (!old || old->deleted)
        return;
    m->replaced[written(old)] = true;
    struct vb_item new = *old;
    new.deleted = true;
    if (m->broken != DELETE_WITHOUT_VERSION)
        new.changed = mint(m, r);
    new.origin = (struct vb_origin){ m->clock, new.changed };
    put(m, r, &new);
}

static void rename_to(struct model *m, struct replica *r, const char *from, const char *to)
{
    struct vb_item *old = find(r, from), *there = find(r, to);
    if (!old || old->deleted || (there && !there->deleted))
        return;
    struct vb_item new = *old;
    uint32_t w = written(old);
    new.path = to;
    new.changed = new.created = mint(m, r);
    new.origin = (struct vb_origin){ old->origin.mtime_ns, new.changed };
    put(m, r, &new);
    delete(m, r, from);
    m->replaced[w] = false;
    m->renames++;
}

/* The store is gone, the files are there: a new identity, no tombstones, nothing known (T53). */
static void lose_store(struct model *m, struct replica *r)
{
    size_t n = 0;
    m->losses++;
    vb_knowledge_free(r->k);
    r->k = vb_knowledge_new();
    if (m->broken != SAME_ID_AFTER_LOSS)
        r->id.b[1] = (unsigned char)++m->ids;
    r->tick = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (r->row[i].deleted) {
            vb_item_clear(&r->row[i]);
            continue;
        }
        r->row[n] = r->row[i];
        r->row[n].changed = r->row[n].created = mint(m, r);
        r->row[n].origin.version = r->row[n].changed;
        n++;
    }
    r->n = n;
}

/* ---- a pass ---- */

static void resolve(struct model *m, struct replica *r, const struct vb_item *winner, const struct vb_item *loser, bool ours)
{
    struct vb_item next = *winner, copy = *loser;
    m->conflicts++;
    if (!(m->broken == NO_MINT_OURS && ours) && !(m->broken == NO_MINT_THEIRS && !ours))
        next.changed = mint(m, r);
    if (m->broken == ORIGIN_OF_RESOLVER)
        next.origin = (struct vb_origin){ ++m->clock, next.changed };
    put(m, r, &next);
    if (loser->deleted || winner->deleted || m->broken == NO_COPY)
        return;
    struct vb_origin stamp = loser->origin;
    if (m->broken == COPY_NAMED_BY_RESOLVER)
        stamp = (struct vb_origin){ (int64_t)++m->resolver, { r->id, r->tick } };
    VB_AUTO_FREE char *name = vb_conflict_name("f", &stamp); /* short, for speed */
    struct vb_item *there = find(r, name);
    if (there && !there->deleted && written(there) == written(loser))
        return;
    if (there && !there->deleted)
        m->replaced[written(there)] = true;
    copy.path = name;
    copy.changed = copy.created = mint(m, r);
    copy.origin = (struct vb_origin){ loser->origin.mtime_ns, copy.changed };
    put(m, r, &copy);
}

static enum vb_decision decide(const struct model *m, const struct vb_item *local, const struct vb_item *in,
                               const struct vb_knowledge *own, const struct vb_knowledge *source)
{
    enum vb_decision d = vb_reconcile(local, in, own, source, VB_POLICY_BOTH);
    bool conflict = d == VB_DECIDE_OURS || d == VB_DECIDE_THEIRS;
    if (m->broken == DROP_NEVER_SEEN && !local && in->deleted)
        return VB_DECIDE_DROP;
    if (conflict && m->broken == APPLY_BLINDLY)
        return VB_DECIDE_APPLY;
    if (conflict && m->broken == CONFLICT_DROPPED)
        return VB_DECIDE_DROP;
    if (conflict && m->broken == LOCAL_WINS)
        return VB_DECIDE_OURS;
    if (conflict && m->broken == SOURCE_WINS)
        return VB_DECIDE_THEIRS;
    if (conflict && m->broken == DELETION_WINS && local->deleted != in->deleted)
        return local->deleted ? VB_DECIDE_OURS : VB_DECIDE_THEIRS;
    return d;
}

static void take(struct model *m, struct replica *r, const struct vb_item *in, const struct vb_knowledge *own,
                 const struct vb_knowledge *source)
{
    struct vb_item *at = find(r, in->path), local = { .path = NULL };
    if (at)
        local = *at;
    struct vb_item new = *in;
    switch (decide(m, at ? &local : NULL, in, own, source)) {
    case VB_DECIDE_APPLY:
        if (m->broken == MINT_ON_APPLY)
            new.changed = mint(m, r);
        put(m, r, &new);
        break;
    case VB_DECIDE_CONVERGE:
        put(m, r, vb_converged(&local, &new));
        break;
    case VB_DECIDE_THEIRS:
        resolve(m, r, &new, &local, false);
        break;
    case VB_DECIDE_OURS:
        resolve(m, r, &local, &new, true);
        break;
    case VB_DECIDE_DROP:
    case VB_DECIDE_DEFER:
        break;
    }
    vb_knowledge_set_item(r->k, in->path, &in->changed);
}

/* Returns what was sent.  skip: one row cannot be had; stop: cut off before that row, and nothing but items was learnt. */
static unsigned pass(struct model *m, size_t from, size_t to, size_t skip, size_t stop)
{
    struct replica *a = &m->r[from], *b = &m->r[to];
    VB_AUTO_KNOWLEDGE *source = vb_knowledge_copy(a->k);
    VB_AUTO_KNOWLEDGE *own = vb_knowledge_copy(b->k);
    unsigned sent = 0;
    bool cut = false;
    const char *except = NULL;
    for (size_t i = 0; i < a->n && !cut; i++) {
        const struct vb_item *row = &a->row[i];
        if (vb_knowledge_contains(own, row->path, &row->changed) || (m->broken == NO_TOMBSTONES_SENT && row->deleted))
            continue;
        if (sent == stop) {
            cut = true;
            break;
        }
        if (sent++ == skip)
            except = row->path;
        else
            take(m, b, row, own, source);
    }
    if (cut && m->broken == CRASH_FORGETS_ITEMS) {
        vb_knowledge_free(b->k);
        b->k = vb_knowledge_copy(own);
    }
    if ((!cut || m->broken == LEARN_AFTER_CRASH) && m->broken != NEVER_LEARN)
        vb_knowledge_learn(b->k, source, &except, except && m->broken != LEARN_EXCEPTED ? 1 : 0);
    if (!cut && !except && !vb_knowledge_covers(b->k, source))
        wrong(m, "not learnt");
    return sent;
}

/* ---- what must hold ---- */

static bool same_trees(struct replica *a, struct replica *b)
{
    size_t live[2] = { 0, 0 };
    for (size_t i = 0; i < b->n; i++)
        live[1] += !b->row[i].deleted;
    for (size_t i = 0; i < a->n; i++) {
        const struct vb_item *x = &a->row[i], *y = x->deleted ? NULL : find(b, x->path);
        live[0] += !x->deleted;
        if (!x->deleted && (!y || y->deleted || written(x) != written(y)))
            return false;
    }
    return live[0] == live[1];
}

static void check_moment(struct model *m)
{
    for (size_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < i; j++)
            if (vb_knowledge_equal(m->r[i].k, m->r[j].k) && !same_trees(&m->r[i], &m->r[j]))
                wrong(m, "equal knowledge, different trees");
}

static void check_end(struct model *m)
{
    bool there[WRITES] = { false }, copied[WRITES] = { false };
    unsigned sent = 1;
    for (int turn = 0; sent && turn < 12; turn++) {
        sent = 0;
        for (size_t i = 0; i < m->n; i++)
            for (size_t j = 0; j < m->n; j++)
                sent += i != j ? pass(m, i, j, SIZE_MAX, SIZE_MAX) : 0;
    }
    if (sent)
        wrong(m, "never quiet");
    for (size_t i = 1; i < m->n; i++)
        if (!same_trees(&m->r[0], &m->r[i]))
            wrong(m, "different trees at the end");
    for (size_t i = 0; i < m->r[0].n; i++) {
        const struct vb_item *x = &m->r[0].row[i];
        if (x->deleted)
            continue;
        bool copy = strstr(x->path, ".conflict") != NULL;
        if (copied[written(x)] && copy && !m->renames && !m->losses)
            wrong(m, "two copies of one loser");
        copied[written(x)] |= copy;
        there[written(x)] = true;
        if (m->replaced[written(x)] && !m->conflicts && !m->losses && !m->renames)
            wrong(m, "something replaced is back");
    }
    for (uint32_t w = 1; w <= m->writes; w++)
        if (!there[w] && !m->replaced[w])
            wrong(m, "something written is gone");
}

static const char *history(uint64_t seed, enum broken broken)
{
    static const char *const paths[] = { "f", "g", "h" };
    struct model m = { .broken = broken };
    vb_rng_seed(&m.rng, seed);
    m.n = 3 + (size_t)vb_rng_below(&m.rng, REPLICAS - 2);
    bool lossy = vb_rng_chance(&m.rng, 200);
    for (size_t i = 0; i < m.n; i++) {
        m.r[i].k = vb_knowledge_new();
        m.r[i].id.b[0] = (unsigned char)(1 + vb_rng_below(&m.rng, 250));
        m.r[i].id.b[2] = (unsigned char)(i + 1);
    }
    for (int step = 0; step < 30 && !m.why; step++) {
        size_t at = (size_t)vb_rng_below(&m.rng, m.n), to = (at + 1 + (size_t)vb_rng_below(&m.rng, m.n - 1)) % m.n;
        const char *path = paths[vb_rng_below(&m.rng, VB_COUNT(paths))];
        uint64_t what = vb_rng_below(&m.rng, 100);
        if (what < 22) {
            edit(&m, &m.r[at], path);
        } else if (what < 30) {
            delete(&m, &m.r[at], path);
        } else if (what < 34) {
            rename_to(&m, &m.r[at], path, paths[vb_rng_below(&m.rng, VB_COUNT(paths))]);
        } else if (what < 36 && lossy) {
            lose_store(&m, &m.r[at]);
        } else if (what < 46) {
            pass(&m, at, to, SIZE_MAX, (size_t)vb_rng_below(&m.rng, 3));
        } else if (what < 52) {
            pass(&m, at, to, (size_t)vb_rng_below(&m.rng, 3), SIZE_MAX);
        } else {
            uint64_t before = m.conflicts;
            pass(&m, at, to, SIZE_MAX, SIZE_MAX);
            if (pass(&m, at, to, SIZE_MAX, SIZE_MAX))
                wrong(&m, "sent again");
            if (m.conflicts == before && what < 76 && pass(&m, to, at, SIZE_MAX, SIZE_MAX) && pass(&m, at, to, SIZE_MAX, SIZE_MAX) &&
                m.conflicts == before)
                wrong(&m, "an echo");
        }
        check_moment(&m);
    }
    if (!m.why)
        check_end(&m);
    for (size_t i = 0; i < m.n; i++) {
        vb_knowledge_free(m.r[i].k);
        for (size_t k = 0; k < m.r[i].n; k++)
            vb_item_clear(&m.r[i].row[k]);
    }
    return m.why;
}

static void histories(void **state)
{
    (void)state;
    const char *many = getenv("MODEL_HISTORIES");
    uint64_t n = 20000;
    assert_true(!many || vb_parse_u64(many, &n));
    for (uint64_t seed = 1; seed <= n; seed++) {
        const char *why = history(seed, NOTHING);
        if (why)
            fail_msg("history %llu: %s", (unsigned long long)seed, why);
    }
}

static void mutants(void **state)
{
    (void)state;
    unsigned missed = 0;
    for (int b = NOTHING + 1; b < BROKEN_END; b++) {
        const char *why = NULL;
        uint64_t seed = 0;
        while (!why && seed < 20000)
            why = history(++seed, (enum broken)b);
        missed += !why;
        print_message("# broken rule %d: %s, history %llu\n", b, why ? why : "NOT FOUND", (unsigned long long)seed);
    }
    assert_int_equal(missed, 0);
}

int main(void)
{
    const struct CMUnitTest t[] = { CM_TEST("random histories", histories), CM_TEST("each broken rule is found", mutants) };
    return CM_RUN("model of replication", t);
}
