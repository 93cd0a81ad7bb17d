/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_closure.c - the selection against an oracle, over thousands of random topologies.
 *
 * The oracle knows the rules and nothing of the implementation: sets of components as flat arrays, every rule applied
 * to all of them again and again until nothing changes, names compared as text.
 */
#include "topology.h"
#include "base/rng.h"
#include "documents/validate.h"

#define MAX 200

struct item { size_t host, writer, component; const struct vb_wm_component *c; char *full; };
struct oracle {
    const struct world *w;
    struct item it[MAX]; size_t n;
    bool excluded[MAX], wanted[MAX], part[MAX], top[MAX];
};

static struct world *current; /* for resolve */

static const char *resolve(void *arg VB_UNUSED, const char *from, const char *text)
{
    if (strcmp(text, "self") == 0)
        return from;
    if (strcmp(text, "unknown") == 0)
        return NULL;
    for (size_t h = 0; h < current->n_hosts; h++)
        if (strcmp(current->hosts[h].host, text) == 0)
            return current->hosts[h].host;
    return "ungathered";
}

/* ---- random worlds ---- */

static char *random_path(struct vb_rng *r)
{
    VB_AUTO_BUF b = VB_BUF_INIT;

    for (uint64_t n = 1 + vb_rng_below(r, 4); n > 0; n--) {
        /* one draw per statement: the order in which arguments are evaluated is the compiler's */
        char c = (char)('a' + (int)vb_rng_below(r, 3));
        vb_buf_addf(&b, "%s%c%s", b.len ? "\\" : "", c, vb_rng_chance(r, 100) ? "2" : "");
    }
    return vb_buf_take_str(&b);
}

static void random_world(struct vb_rng *r, struct world *w, unsigned dependencies)
{
    uint64_t hosts = 1 + vb_rng_below(r, 4);

    for (uint64_t h = 0; h < hosts; h++) {
        VB_AUTO_FREE char *name = vb_printf("h%d", (int)h);
        size_t at = world_host(w, name);
        for (unsigned n = 1; n <= 3; n++) {
            if (!vb_rng_chance(r, 700))
                continue;
            struct vb_writer_metadata *m = world_writer(w, at, n);
            for (uint64_t k = vb_rng_below(r, 9); k > 0; k--) {
                VB_AUTO_FREE char *full = random_path(r);
                VB_AUTO_FREE char *path = NULL;
                const char *own = NULL;
                split(full, &path, &own);
                if (vb_wm_find(m, path, own))
                    continue;
                put(m, full,
                    vb_rng_chance(r, 600) ? (vb_rng_chance(r, 400) ? "Yr" : "Y")
                                          : (vb_rng_chance(r, 300) ? "Nr" : "N"));
            }
        }
    }
    for (size_t h = 0; h < w->n_hosts; h++)
        for (size_t k = 0; k < w->hosts[h].n_writers; k++) {
            struct vb_writer_metadata *m = w->hosts[h].writers[k];
            for (size_t i = 0; i < m->n_components; i++) {
                if (!vb_rng_chance(r, dependencies))
                    continue;
                VB_AUTO_FREE char *own = vb_full_path(m->components[i].logical_path, m->components[i].name);
                size_t th = (size_t)vb_rng_below(r, w->n_hosts);
                VB_AUTO_FREE char *target = random_path(r);
                unsigned class = 1 + (unsigned)vb_rng_below(r, 3);
                if (w->hosts[th].n_writers && vb_rng_chance(r, 900)) { /* mostly one that exists */
                    const struct vb_writer_metadata *t = w->hosts[th].writers[vb_rng_below(r, w->hosts[th].n_writers)];
                    class = (unsigned)strtoul(t->writer_id, NULL, 10);
                    if (t->n_components) {
                        const struct vb_wm_component *c = &t->components[vb_rng_below(r, t->n_components)];
                        free(target);
                        target = vb_full_path(c->logical_path, c->name);
                    }
                }
                VB_AUTO_FREE char *path = NULL;
                const char *name = NULL;
                split(target, &path, &name);
                const char *host = vb_rng_chance(r, 30) ? "unknown" : vb_rng_chance(r, 30) ? "elsewhere"
                                   : th == h && vb_rng_chance(r, 300) ? "self" : w->hosts[th].host;
                VB_AUTO_FREE char *full_name = vb_printf("\\\\%s\\%s", host, name);
                VB_AUTO_FREE char *full_path = vb_printf("\\\\%s\\%s", host, path);
                if (th == h && vb_rng_chance(r, 600))
                    need(m, own, class, path, name);
                else if (vb_rng_chance(r, 300))
                    need(m, own, class, path, full_name);
                else
                    need(m, own, class, full_path, name);
            }
        }
}

/* ---- the rules ---- */

static void oracle_init(struct oracle *o, const struct world *w)
{
    memset(o, 0, sizeof *o);
    o->w = w;
    for (size_t h = 0; h < w->n_hosts; h++)
        for (size_t k = 0; k < w->hosts[h].n_writers; k++)
            for (size_t i = 0; i < w->hosts[h].writers[k]->n_components; i++) {
                const struct vb_wm_component *c = &w->hosts[h].writers[k]->components[i];
                assert_true(o->n < MAX);
                o->it[o->n++] = (struct item){h, k, i, c, vb_full_path(c->logical_path, c->name)};
            }
}

static void oracle_clear(struct oracle *o)
{
    for (size_t i = 0; i < o->n; i++)
        free(o->it[i].full);
}

static bool same_writer(const struct oracle *o, size_t a, size_t b)
{
    return o->it[a].host == o->it[b].host && o->it[a].writer == o->it[b].writer;
}

/* C-7, as text. */
static bool above(const struct oracle *o, size_t a, size_t b)
{
    VB_AUTO_FREE char *with = vb_printf("%s\\", o->it[a].full);

    return same_writer(o, a, b) && strncmp(o->it[b].full, with, strlen(with)) == 0;
}

static bool has_head(const struct oracle *o, size_t b)
{
    for (size_t a = 0; a < o->n; a++)
        if (above(o, a, b) && o->it[a].c->selectable)
            return true;
    return false;
}

static bool compulsory(const struct oracle *o, size_t i)
{
    return !o->it[i].c->selectable && !has_head(o, i);
}

/* The nearest selectable one above: the longest name. */
static size_t nearest_head(const struct oracle *o, size_t b)
{
    size_t best = SIZE_MAX;

    for (size_t a = 0; a < o->n; a++)
        if (above(o, a, b) && o->it[a].c->selectable && (best == SIZE_MAX || above(o, best, a)))
            best = a;
    return best;
}

/* Target of a dependency: item, or SIZE_MAX; *gather: its host is known but not here. */
static size_t target_of(const struct oracle *o, size_t from, const struct vb_dependency *d, bool *gather)
{
    const char *host = o->w->hosts[o->it[from].host].host;
    const char *path = d->target_logical_path, *name = d->target_name;
    VB_AUTO_FREE char *text = NULL;

    *gather = false;
    if (strncmp(path, "\\\\", 2) == 0) {
        text = vb_strndup(path + 2, strcspn(path + 2, "\\"));
        path += 2 + strlen(text) + 1;
    } else if (strncmp(name, "\\\\", 2) == 0) {
        text = vb_strndup(name + 2, strcspn(name + 2, "\\"));
        name += 2 + strlen(text) + 1;
    }
    if (text && !(host = resolve(NULL, host, text)))
        return SIZE_MAX;
    VB_AUTO_FREE char *full = *path ? vb_printf("%s\\%s", path, name) : vb_strdup(name);
    *gather = true;
    for (size_t h = 0; h < o->w->n_hosts; h++)
        *gather = *gather && strcmp(o->w->hosts[h].host, host) != 0;
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->w->hosts[o->it[i].host].host, host) == 0 && strcmp(o->it[i].full, full) == 0 &&
            strcmp(o->w->hosts[o->it[i].host].writers[o->it[i].writer]->writer_id, d->target_class_id) == 0)
            return i;
    return SIZE_MAX;
}

static void exclude(struct oracle *o, size_t x)
{
    bool writer = false;

    for (size_t i = 0; i < o->n; i++) {
        if (i == x || above(o, x, i)) {
            o->excluded[i] = true;
            writer = writer || compulsory(o, i);
        }
        if (above(o, i, x) && o->it[i].c->selectable)
            o->excluded[i] = true;
    }
    for (size_t i = 0; writer && i < o->n; i++)
        if (same_writer(o, i, x))
            o->excluded[i] = true;
}

static void settle(struct oracle *o)
{
    for (size_t i = 0; i < o->n; i++) {
        o->part[i] = o->wanted[i];
        o->top[i] = o->wanted[i];
        for (size_t a = 0; a < o->n; a++)
            if (o->wanted[a] && o->it[a].c->selectable && above(o, a, i)) {
                o->part[i] = true;
                o->top[i] = false;
            }
    }
}

/* A dependency that cannot be met by any marking. */
static bool unmet(const struct oracle *o, size_t from, const struct vb_dependency *d)
{
    bool gather;
    size_t t = target_of(o, from, d, &gather);

    if (t == SIZE_MAX)
        return true;
    if (o->it[t].c->selectable || !has_head(o, t))
        return o->excluded[t];
    return o->excluded[t] || o->excluded[nearest_head(o, t)];
}

static void fixpoint(struct oracle *o)
{
    for (bool changed = true; changed;) {
        bool before[MAX];
        memcpy(before, o->wanted, sizeof before);
        settle(o);
        for (size_t i = 0; i < o->n; i++) {
            if (!o->part[i])
                continue;
            for (size_t k = 0; k < o->n; k++) /* B-16 */
                if (same_writer(o, i, k) && compulsory(o, k))
                    o->wanted[k] = true;
            for (size_t k = 0; k < o->it[i].c->n_dependencies; k++) { /* D-3, D-15 */
                const struct vb_dependency *d = &o->it[i].c->dependencies[k];
                bool gather;
                size_t t = target_of(o, i, d, &gather);
                if (!unmet(o, i, d))
                    o->wanted[o->it[t].c->selectable || !has_head(o, t) ? t : nearest_head(o, t)] = true;
            }
        }
        changed = memcmp(before, o->wanted, sizeof before) != 0;
    }
    settle(o);
}

static void seed(struct oracle *o, const struct vb_select_options *opt)
{
    memset(o->wanted, 0, sizeof o->wanted);
    for (size_t i = 0; i < o->n; i++) {
        bool fits = opt->n_asks == 0 && o->it[i].host == 0;
        for (size_t k = 0; k < opt->n_asks; k++) {
            const struct vb_ask *a = &opt->asks[k];
            fits = fits || (strcmp(a->host, o->w->hosts[o->it[i].host].host) == 0 &&
                            (!a->component || strcmp(a->component, o->it[i].full) == 0));
        }
        if (fits && !o->excluded[i] && (o->it[i].c->selectable || compulsory(o, i)))
            o->wanted[i] = true;
    }
}

static size_t count_unmet(const struct oracle *o, bool gathered_only)
{
    size_t n = 0;

    for (size_t i = 0; i < o->n; i++)
        for (size_t k = 0; o->part[i] && k < o->it[i].c->n_dependencies; k++) {
            bool gather;
            target_of(o, i, &o->it[i].c->dependencies[k], &gather);
            n += unmet(o, i, &o->it[i].c->dependencies[k]) && !(gathered_only && gather);
        }
    return n;
}

static void solve(struct oracle *o, const struct vb_select_options *opt)
{
    for (size_t k = 0; k < opt->n_excludes; k++)
        for (size_t i = 0; i < o->n; i++)
            if (strcmp(opt->excludes[k].host, o->w->hosts[o->it[i].host].host) == 0 &&
                strcmp(opt->excludes[k].component, o->it[i].full) == 0)
                exclude(o, i);
    for (bool again = true; again;) {
        bool drop[MAX] = {false};
        again = false;
        seed(o, opt);
        fixpoint(o);
        for (size_t i = 0; opt->missing == VB_MISSING_DROP_DEPENDENT && i < o->n; i++)
            for (size_t k = 0; o->part[i] && k < o->it[i].c->n_dependencies; k++)
                drop[i] = drop[i] || unmet(o, i, &o->it[i].c->dependencies[k]);
        for (size_t i = 0; i < o->n; i++)
            if (drop[i]) {
                exclude(o, i);
                again = true;
            }
    }
}

/* ---- comparing ---- */

static size_t explicit_of(const struct oracle *o, size_t i)
{
    for (size_t a = 0; a < o->n; a++)
        if (o->top[a] && (a == i || (o->it[a].c->selectable && above(o, a, i))))
            return a;
    fail_msg("no explicit component for %s", o->it[i].full);
    return SIZE_MAX;
}

static void compare(const struct oracle *o, const struct vb_selection *s, uint64_t seed_no)
{
    size_t n = 0, edges = 0;

    for (size_t i = 0; i < o->n; i++) {
        const struct vb_sel_component *c = n < s->n ? &s->components[n] : NULL;
        bool here = c && c->host == o->it[i].host && c->writer == o->it[i].writer && c->component == o->it[i].component;
        if (here != o->part[i])
            fail_msg("seed %d: h%zu %s: %s", (int)seed_no, o->it[i].host, o->it[i].full,
                     here ? "should not take part" : "is not there");
        if (here && c->is_explicit != o->top[i])
            fail_msg("seed %d: h%zu %s: explicit is %d", (int)seed_no, o->it[i].host, o->it[i].full, c->is_explicit);
        if (here && !c->is_explicit)
            assert_true(s->components[c->because].is_explicit);
        n += here;
    }
    assert_int_equal(n, s->n);
    bool pair[MAX][MAX] = {{false}}; /* D-3, C-47: every pair of dependent and target, between their explicit ones */
    for (size_t i = 0; i < o->n; i++)
        for (size_t k = 0; o->part[i] && k < o->it[i].c->n_dependencies; k++) {
            bool gather;
            size_t t = target_of(o, i, &o->it[i].c->dependencies[k], &gather);
            if (t == SIZE_MAX || !o->part[t])
                continue;
            size_t a = explicit_of(o, i), b = explicit_of(o, t);
            edges += a != b && !pair[a][b];
            pair[a][b] = true;
        }
    assert_int_equal(edges, s->n_edges);
    for (size_t k = 0; k < s->n_edges; k++) {
        assert_true(s->components[s->edges[k].from].is_explicit && s->components[s->edges[k].to].is_explicit);
        assert_int_equal(s->edges[k].remote,
                         s->components[s->edges[k].from].host != s->components[s->edges[k].to].host);
    }
}

static void backup_against_oracle(void **state VB_UNUSED)
{
    size_t explicit_ones = 0, parts = 0, failed = 0, missing = 0, dropped = 0;

    for (uint64_t no = 1; no <= 3000; no++) {
        struct world w = {0};
        struct vb_rng r;
        struct oracle *o = vb_alloc(sizeof *o);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_ask asks[2], excludes[2];
        struct vb_selection s;

        vb_rng_seed(&r, no);
        random_world(&r, &w, (unsigned)vb_rng_below(&r, 700));
        current = &w;
        oracle_init(o, &w);
        struct vb_select_options opt = {asks,    0,   excludes, 0, (enum vb_missing_policy)vb_rng_below(&r, 3),
                                        resolve, NULL};
        if (o->n && vb_rng_chance(&r, 500)) {
            const struct item *x = &o->it[vb_rng_below(&r, o->n)];
            bool all = vb_rng_chance(&r, 300);
            bool member = !x->c->selectable && has_head(o, (size_t)(x - o->it));
            if (all || !member)
                asks[opt.n_asks++] = (struct vb_ask){w.hosts[x->host].host, NULL, all ? NULL : x->full};
            /* the same path of other writers on that host must be fit to be asked for as well */
            for (size_t i = 0; opt.n_asks && asks[0].component && i < o->n; i++)
                if (o->it[i].host == x->host && strcmp(o->it[i].full, x->full) == 0 && !o->it[i].c->selectable &&
                    has_head(o, i))
                    opt.n_asks = 0;
        }
        for (uint64_t k = vb_rng_below(&r, 3); o->n && k > 0; k--) {
            const struct item *x = &o->it[vb_rng_below(&r, o->n)];
            excludes[opt.n_excludes++] = (struct vb_ask){w.hosts[x->host].host, NULL, x->full};
        }
        solve(o, &opt);
        int rc = vb_select_backup(w.hosts, w.n_hosts, &opt, &s, &err);
        if (opt.missing == VB_MISSING_FAIL && count_unmet(o, true) > 0) {
            assert_int_equal(rc, -1);
            assert_int_equal(err.code, VB_E_DEPENDENCY_MISSING);
            failed++;
        } else {
            if (rc < 0)
                fail_msg("seed %d: %s", (int)no, vb_error_text(&err));
            compare(o, &s, no);
            if (opt.missing != VB_MISSING_DROP_DEPENDENT)
                assert_int_equal(s.n_missing, count_unmet(o, false));
            else
                dropped += s.n_missing;
            for (size_t i = 0; i < s.n; i++)
                explicit_ones += s.components[i].is_explicit;
            parts += s.n;
            missing += s.n_missing;
            vb_selection_clear(&s);
        }
        oracle_clear(o);
        free(o);
        world_clear(&w);
    }
    print_message("# %zu parts, %zu explicit, %zu missing, %zu dropped, %zu failed\n", parts, explicit_ones, missing,
                  dropped, failed);
    /* the generator must reach the interesting corners */
    assert_true(parts > 10000 && explicit_ones < parts && missing > 500 && dropped > 100 && failed > 100);
}

/* ---- restore ---- */

struct restored { bool saved_explicit[MAX], saved[MAX], whole[MAX], sub[MAX], part[MAX]; };

/* The explicit component that holds it: the nearest explicit selectable one above, or itself. */
static size_t holder(const struct oracle *o, const struct restored *x, size_t i)
{
    size_t best = SIZE_MAX;

    if (x->saved_explicit[i])
        return i;
    for (size_t a = 0; a < o->n; a++)
        if (x->saved_explicit[a] && o->it[a].c->selectable && above(o, a, i) && (best == SIZE_MAX || above(o, best, a)))
            best = a;
    return best;
}

static void settle_restore(const struct oracle *o, struct restored *x)
{
    for (size_t i = 0; i < o->n; i++) {
        size_t e = holder(o, x, i);
        x->part[i] = e != SIZE_MAX && x->whole[e];
        for (size_t a = 0; e != SIZE_MAX && a < o->n; a++)
            if (x->sub[a] && (a == i || above(o, a, i)))
                x->part[i] = true;
    }
}

static void restore_one(const struct oracle *o, struct restored *x, size_t i)
{
    size_t e = holder(o, x, i), best = SIZE_MAX;

    if (e == SIZE_MAX || e == i) {
        x->whole[i] = e == i;
        return;
    }
    /* the nearest that may be restored alone, itself included, below the explicit one */
    for (size_t a = 0; a < o->n; a++)
        if ((a == i || above(o, a, i)) && above(o, e, a) && o->it[a].c->selectable_for_restore &&
            (best == SIZE_MAX || above(o, best, a)))
            best = a;
    if (best == SIZE_MAX)
        x->whole[e] = true;
    else
        x->sub[best] = true;
}

static void restore_fixpoint(const struct oracle *o, struct restored *x)
{
    for (bool changed = true; changed;) {
        struct restored before = *x;
        settle_restore(o, x);
        for (size_t i = 0; i < o->n; i++)
            for (size_t k = 0; x->saved[i] && k < o->it[i].c->n_dependencies; k++) {
                bool gather;
                size_t t = target_of(o, i, &o->it[i].c->dependencies[k], &gather);
                if (t == SIZE_MAX || !x->saved[t])
                    continue;
                if (x->part[i] && !x->part[t])
                    restore_one(o, x, t); /* D-17 */
                if (x->part[t] && !x->part[i])
                    restore_one(o, x, i); /* D-61 */
                settle_restore(o, x);
            }
        changed = memcmp(&before, x, sizeof before) != 0;
    }
}

static void restore_against_oracle(void **state VB_UNUSED)
{
    size_t picks = 0, subs = 0, partly = 0;

    for (uint64_t no = 1; no <= 3000; no++) {
        struct world w = {0};
        struct vb_rng r;
        struct oracle *o = vb_alloc(sizeof *o);
        struct restored *x = vb_alloc(sizeof *x);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_selection s;
        struct vb_restore_selection rs;

        vb_rng_seed(&r, no);
        random_world(&r, &w, (unsigned)vb_rng_below(&r, 500));
        current = &w;
        oracle_init(o, &w);
        struct vb_select_options opt = {NULL, 0, NULL, 0, VB_MISSING_CONTINUE, resolve, NULL};
        assert_ok(vb_select_backup(w.hosts, w.n_hosts, &opt, &s, &err), err);
        world_store(&w, &s);
        for (size_t i = 0, n = 0; i < o->n && n < s.n; i++) {
            if (s.components[n].host != o->it[i].host || s.components[n].writer != o->it[i].writer ||
                s.components[n].component != o->it[i].component)
                continue;
            x->saved[i] = true;
            x->saved_explicit[i] = s.components[n++].is_explicit;
        }
        vb_selection_clear(&s);
        struct vb_ask one;
        size_t pick = o->n ? (size_t)vb_rng_below(&r, o->n) : 0;
        if (o->n && x->saved[pick] && (x->saved_explicit[pick] || o->it[pick].c->selectable_for_restore)) {
            const struct vb_writer_metadata *m = w.hosts[o->it[pick].host].writers[o->it[pick].writer];
            one = (struct vb_ask){w.hosts[o->it[pick].host].host, m->name, o->it[pick].full};
            opt.asks = &one;
            opt.n_asks = 1;
            if (x->saved_explicit[pick])
                x->whole[pick] = true;
            else
                x->sub[pick] = true;
        } else {
            memcpy(x->whole, x->saved_explicit, sizeof x->whole);
        }
        restore_fixpoint(o, x);
        assert_ok(vb_select_restore(w.hosts, w.n_hosts, w.stored, &opt, &rs, &err), err);
        size_t found = 0;
        for (size_t i = 0; i < o->n; i++) {
            bool any = x->whole[i];
            for (size_t a = 0; a < o->n; a++)
                any = any || (x->sub[a] && holder(o, x, a) == i);
            if (!x->saved_explicit[i] || !any)
                continue;
            const struct vb_restore_pick *p = NULL;
            for (size_t k = 0; k < rs.n; k++) {
                const struct vb_component *c =
                    &w.stored[rs.picks[k].host]->writers[rs.picks[k].writer].components[rs.picks[k].component];
                const char *id = w.stored[rs.picks[k].host]->writers[rs.picks[k].writer].writer_id;
                VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
                if (rs.picks[k].host == o->it[i].host && strcmp(full, o->it[i].full) == 0 &&
                    strcmp(id, w.hosts[o->it[i].host].writers[o->it[i].writer]->writer_id) == 0)
                    p = &rs.picks[k];
            }
            if (!p)
                fail_msg("seed %d: h%zu %s is not picked", (int)no, o->it[i].host, o->it[i].full);
            found++;
            for (size_t a = 0; a < o->n; a++) {
                bool covered = !x->sub[a] || x->whole[i] || holder(o, x, a) != i;
                for (size_t b = 0; b < o->n; b++)
                    covered = covered || (x->sub[b] && above(o, b, a));
                if (holder(o, x, a) == i && vb_strv_has(&p->subcomponents, o->it[a].full) == covered)
                    fail_msg("seed %d: subcomponent %s of %s", (int)no, o->it[a].full, o->it[i].full);
                subs += !covered;
            }
            partly += !x->whole[i];
        }
        if (found != rs.n)
            fail_msg("seed %d: %zu picked, %zu should be", (int)no, rs.n, found);
        picks += rs.n;
        vb_restore_selection_clear(&rs);
        oracle_clear(o);
        free(o);
        free(x);
        world_clear(&w);
    }
    print_message("# %zu picks, %zu in part, %zu subcomponents\n", picks, partly, subs);
    assert_true(picks > 5000 && partly > 50 && subs >= partly);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("VSS-D-3 VSS-D-14 VSS-C-13 to VSS-C-19: 3,000 random topologies at backup", backup_against_oracle),
        TEST("VSS-D-17 VSS-D-61 VSS-C-24 to VSS-C-27: 3,000 random topologies at restore", restore_against_oracle),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
