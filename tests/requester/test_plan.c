/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/test_plan.c - plans of the two shapes of the book on two and three hosts, against golden files, and
 * of 10,000 random topologies, against an independent checker.
 *
 *     UPDATE_GOLDEN=1 make check TESTS=test_plan     writes the golden files anew (look at the difference)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "requester/plan.h"
#include "tests/requester/plan_checker.h"
#include "tests/requester/topology.h"

/* ---- planning over a topology ---- */

struct planned {
    struct vb_plan *plan;
    struct vb_plan_input_host *hosts; size_t n_hosts;
};

static struct vb_error unreachable_error(void)
{
    struct vb_error e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_CONNECT, "host cannot be reached");
    vb_hint(&e, "switch it on");
    return e;
}

static struct vb_plan_input_host *input_hosts(const struct topo *t, const struct vb_sel_host *sel, size_t n_sel,
                                              const struct vb_error *why, size_t *n)
{
    struct vb_plan_input_host *v = vb_alloc_n(t->n + 1, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < n_sel; i++)
        v[(*n)++] = (struct vb_plan_input_host){ .name = sel[i].host, .writers = sel[i].writers,
                                                 .n_writers = sel[i].n_writers, .reached = true };
    for (size_t h = 0; h < t->n; h++)
        if (t->hosts[h].unreachable)
            v[(*n)++] = (struct vb_plan_input_host){ .name = t->hosts[h].name, .error = why };
    return v;
}

static struct vb_plan *plan_of(struct topo *t, const struct vb_ask *asks, size_t n_asks, struct vb_error *err)
{
    size_t n_sel, n_hosts;
    VB_AUTO_FREE size_t *map = NULL;
    VB_AUTO_ERROR why = unreachable_error();
    struct vb_sel_host *sel = topo_sel_hosts(t, &n_sel, &map);
    struct vb_select_options o = {
        .asks = asks, .n_asks = n_asks, .missing = VB_MISSING_CONTINUE, .resolve = topo_resolve, .resolve_arg = t
    };
    struct vb_selection s = { 0 };
    struct vb_plan *p = NULL;
    struct vb_plan_input_host *hosts = input_hosts(t, sel, n_sel, &why, &n_hosts);
    if (vb_select_backup(sel, n_sel, &o, &s, err) == 0) {
        struct vb_plan_input in = {
            .kind = VB_JOB_BACKUP, .backup_type = VB_BACKUP_FULL, .hosts = hosts, .n_hosts = n_hosts, .selection = &s
        };
        p = vb_plan_make(&in);
    }
    vb_selection_clear(&s);
    free(hosts);
    free(sel);
    return p;
}

/* The documents that a backup by this plan would have stored: explicit components per host. */
static struct vb_components **stored_by(const struct vb_plan *p, const struct vb_sel_host *sel, size_t n_sel)
{
    struct vb_components **v = vb_alloc_n(n_sel + 1, sizeof *v);
    for (size_t i = 0; i < n_sel; i++) {
        v[i] = vb_components_new(sel[i].host);
        for (size_t c = 0; c < p->n_components; c++) {
            const struct vb_plan_component *pc = &p->components[c];
            VB_AUTO_ERROR e = VB_ERROR_INIT;
            if (!pc->is_explicit || strcmp(p->hosts[pc->host].name, sel[i].host) != 0)
                continue;
            struct vb_writer_components *w = vb_components_writer(
                v[i], pc->writer_id, "00001157-0000-4000-8000-000000000001", pc->instance_name, pc->writer_name);
            assert_non_null(vb_components_add(w, pc->type, pc->logical_path, pc->name, &e));
        }
    }
    return v;
}

static struct vb_plan *restore_plan_of(struct topo *t, const struct vb_plan *backup, const struct vb_ask *asks,
                                       size_t n_asks, const char *target, struct vb_error *err)
{
    size_t n_sel;
    VB_AUTO_FREE size_t *map = NULL;
    struct vb_sel_host *sel = topo_sel_hosts(t, &n_sel, &map);
    struct vb_components **stored = stored_by(backup, sel, n_sel);
    struct vb_select_options o = {
        .asks = asks, .n_asks = n_asks, .missing = VB_MISSING_CONTINUE, .resolve = topo_resolve, .resolve_arg = t
    };
    struct vb_restore_selection s = { 0 };
    struct vb_plan *p = NULL;
    struct vb_plan_input_host *hosts = vb_alloc_n(n_sel + 1, sizeof *hosts);
    for (size_t i = 0; i < n_sel; i++)
        hosts[i] = (struct vb_plan_input_host){ .name = target ? "here" : sel[i].host,
                                                .stored_as = sel[i].host,
                                                .writers = sel[i].writers,
                                                .n_writers = sel[i].n_writers,
                                                .reached = true };
    if (vb_select_restore(sel, n_sel, stored, &o, &s, err) == 0) {
        struct vb_plan_input in = { .kind = VB_JOB_RESTORE,
                                    .backup_type = VB_BACKUP_FULL,
                                    .backup_id = "latest",
                                    .target_dir = target,
                                    .hosts = hosts,
                                    .n_hosts = n_sel,
                                    .restore = &s,
                                    .stored = stored };
        p = vb_plan_make(&in);
    }
    vb_restore_selection_clear(&s);
    for (size_t i = 0; i < n_sel; i++)
        vb_components_free(stored[i]);
    free(stored);
    free(hosts);
    free(sel);
    return p;
}

static void check(const struct vb_plan *p, const struct topo *t)
{
    struct vb_strv faults = { 0 };
    plan_check(p, t, &faults);
    for (size_t i = 0; i < faults.n; i++)
        print_message("# %s\n", faults.v[i]);
    size_t n = faults.n;
    vb_strv_clear(&faults);
    assert_int_equal(n, 0);
}

static void golden(const char *name, const struct vb_buf *b)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_BUF want = VB_BUF_INIT;
    const char *top = getenv("abs_top_srcdir");
    VB_AUTO_FREE char *path = vb_printf("%s/tests/requester/golden/%s", top ? top : ".", name);
    if (getenv("UPDATE_GOLDEN")) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
        fclose(f);
    }
    if (vb_read_file_at(AT_FDCWD, path, 1 << 20, &want, &e) < 0)
        fail_msg("%s", vb_error_text(&e));
    struct vb_buf have = VB_BUF_INIT;
    vb_buf_add(&have, b->data, b->len);
    assert_string_equal(vb_buf_str(&have), vb_buf_str(&want));
    vb_buf_clear(&have);
}

static void golden_plan(const char *name, const struct vb_plan *p)
{
    VB_AUTO_BUF text = VB_BUF_INIT;
    VB_AUTO_FREE char *file = vb_printf("%s.txt", name);
    vb_plan_text(p, &text);
    golden(file, &text);
}

/* ---- the story's hosts ---- */

static struct topo_dep on(size_t host, size_t writer, size_t component)
{
    return (struct topo_dep){ .host = host, .writer = writer, .component = component };
}

/* Shape 1 (D-34): one component with files and both dependencies. Shape 2 (D-35): files, and dependencies, apart. */
static void story(struct topo *t, int shape)
{
    topo_host(t, "fe");
    topo_host(t, "backend");
    size_t shop = topo_writer(t, 0, "shop");
    size_t files = topo_component(t, 0, shop, "", "content", true, true);
    size_t deps = shape == 1 ? files : topo_component(t, 0, shop, "", "databases", true, false);
    size_t pg = topo_writer(t, 1, "postgresql");
    size_t x = topo_component(t, 1, pg, "main", "accounts", true, true);
    size_t y = topo_component(t, 1, pg, "main", "ledger", true, true);
    topo_dep(t, 0, shop, deps, on(1, pg, x));
    topo_dep(t, 0, shop, deps, on(1, pg, y));
}

static void vss_d_34_one_component_with_files_and_dependencies(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    (void)state;
    story(&t, 1);
    topo_documents(&t);
    struct vb_plan *p = plan_of(&t, NULL, 0, &e);
    assert_non_null(p);
    check(p, &t);
    golden_plan("shape1-backup", p);
    VB_AUTO_BUF json = VB_BUF_INIT;
    vb_plan_json(p, &json);
    golden("shape1-backup.json", &json);
    struct vb_plan *r = restore_plan_of(&t, p, NULL, 0, NULL, &e);
    assert_non_null(r);
    check(r, &t);
    golden_plan("shape1-restore", r);
    vb_plan_free(r);
    vb_plan_free(p);
    topo_clear(&t);
}

static void vss_d_35_files_and_dependencies_apart(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    (void)state;
    story(&t, 2);
    topo_documents(&t);
    struct vb_plan *both = plan_of(&t, NULL, 0, &e);
    assert_non_null(both);
    check(both, &t);
    golden_plan("shape2-backup-both", both);

    struct vb_ask files = { .writer = "shop", .component = "content" },
                  deps = { .writer = "shop", .component = "databases" };
    struct vb_plan *a = plan_of(&t, &files, 1, &e);
    assert_non_null(a);
    check(a, &t);
    golden_plan("shape2-backup-files", a);
    assert_int_equal(a->n_hosts, 1); /* no remote job */

    struct vb_plan *b = plan_of(&t, &deps, 1, &e);
    assert_non_null(b);
    check(b, &t);
    golden_plan("shape2-backup-databases", b);

    struct vb_plan *r = restore_plan_of(&t, both, NULL, 0, NULL, &e);
    assert_non_null(r);
    check(r, &t);
    golden_plan("shape2-restore", r);

    /* D-61: restoring only a back-end component brings its front-end dependent in, so that its PostRestore runs. */
    struct vb_ask target = { .host = "backend", .writer = "postgresql", .component = "main\\ledger" };
    struct vb_plan *d61 = restore_plan_of(&t, both, &target, 1, NULL, &e);
    assert_non_null(d61);
    check(d61, &t);
    golden_plan("shape2-restore-target-only", d61);
    assert_true(vb_plan_find_host(d61, "fe") != VB_NO_INDEX);

    /* */
    struct vb_plan *priv = restore_plan_of(&t, both, NULL, 0, "/tmp/out", &e);
    assert_non_null(priv);
    check(priv, NULL);
    golden_plan("shape2-restore-private", priv);
    vb_plan_free(priv);
    vb_plan_free(d61);
    vb_plan_free(r);
    vb_plan_free(b);
    vb_plan_free(a);
    vb_plan_free(both);
    topo_clear(&t);
}

static void vss_d_51_chain_over_a_third_host(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    (void)state;
    story(&t, 1);
    topo_host(&t, "archive");
    size_t w = topo_writer(&t, 2, "files");
    topo_component(&t, 2, w, "", "wal", true, true);
    topo_dep(&t, 1, 0, 1, on(2, w, 0));
    topo_documents(&t);
    struct vb_plan *p = plan_of(&t, NULL, 0, &e);
    assert_non_null(p);
    check(p, &t);
    golden_plan("chain-backup", p);
    struct vb_plan *r = restore_plan_of(&t, p, NULL, 0, NULL, &e);
    assert_non_null(r);
    check(r, &t);
    golden_plan("chain-restore", r);
    vb_plan_free(r);
    vb_plan_free(p);
    topo_clear(&t);
}

static void vss_d_51_circle_is_cut(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    (void)state;
    story(&t, 1);
    size_t w = topo_writer(&t, 0, "sqlite");
    topo_component(&t, 0, w, "", "shop.db", true, true);
    topo_dep(&t, 1, 0, 0, on(0, w, 0)); /* back to the front end */
    topo_documents(&t);
    struct vb_plan *p = plan_of(&t, NULL, 0, &e);
    assert_non_null(p);
    check(p, &t);
    golden_plan("circle-backup", p);
    size_t cut = 0;
    for (size_t i = 0; i < p->n_edges; i++)
        cut += p->edges[i].cut;
    assert_int_equal(cut, 1);
    vb_plan_free(p);
    topo_clear(&t);
}

static void vss_d_33_unreachable_host_is_reported(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    (void)state;
    story(&t, 1);
    t.hosts[1].unreachable = true;
    topo_dep(&t, 0, 0, 0, (struct topo_dep){ .host = SIZE_MAX, .component = SIZE_MAX });
    topo_documents(&t);
    struct vb_plan *p = plan_of(&t, NULL, 0, &e);
    assert_non_null(p);
    check(p, &t);
    golden_plan("unreachable-backup", p);
    assert_int_equal(p->n_missing, 3);
    vb_plan_free(p);
    topo_clear(&t);
}

static void json_round_trip(const struct vb_plan *p)
{
    VB_AUTO_BUF a = VB_BUF_INIT;
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_plan_json(p, &a);
    struct vb_plan *q = vb_plan_from_json(a.data, a.len, &e);
    if (!q)
        fail_msg("%s", vb_error_text(&e));
    vb_plan_json(q, &b);
    assert_string_equal(vb_buf_str(&a), vb_buf_str(&b));
    vb_plan_free(q);
}

static void stored_plan_is_checked_when_read(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_BUF a = VB_BUF_INIT;
    (void)state;
    story(&t, 1);
    topo_documents(&t);
    struct vb_plan *p = plan_of(&t, NULL, 0, &e);
    vb_plan_json(p, &a);
    const char *good = vb_buf_str(&a);
    static const struct { const char *from, *to; enum vb_code code;
    } bad[] = {
        { "\"schema\": 1", "\"schema\": 2", VB_E_NEWER_FORMAT },
        { "\"host\": 0", "\"host\": 7", VB_E_CORRUPT },
        { "\"verb\": \"open\"", "\"verb\": \"opem\"", VB_E_CORRUPT },
        { "\"because\": 0", "\"because\": 99", VB_E_CORRUPT },
        { "\"name\": \"fe\"", "\"name\": 3", VB_E_CORRUPT },
        { "vbackup-plan", "vbackup-plam", VB_E_CORRUPT },
        { "\"hosts\": [", "\"hosts\": {", VB_E_CORRUPT },
    };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        const char *at = strstr(good, bad[i].from);
        assert_non_null(at);
        VB_AUTO_FREE char *text = vb_printf("%.*s%s%s", (int)(at - good), good, bad[i].to, at + strlen(bad[i].from));
        vb_error_clear(&e);
        assert_null(vb_plan_from_json(text, strlen(text), &e));
        assert_int_equal(e.code, bad[i].code);
    }
    vb_plan_free(p);
    topo_clear(&t);
}

/* The checker is worth something only if it sees what is wrong: every wait that carries a rule is taken out once. */
static void checker_sees_every_missing_order(void **state)
{
    struct topo t = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    size_t tried = 0;
    (void)state;
    story(&t, 1);
    topo_documents(&t);
    struct vb_plan *p = plan_of(&t, NULL, 0, &e);
    struct vb_plan *r = restore_plan_of(&t, p, NULL, 0, NULL, &e);
    struct vb_plan *both[] = { p, r };
    for (size_t k = 0; k < 2; k++)
        for (size_t s = 0; s < both[k]->n_steps; s++) {
            struct vb_plan_step *step = &both[k]->steps[s];
            for (size_t w = 0; w < step->n_waits; w++) {
                struct vb_strv faults = { 0 };
                size_t kept = step->waits[w];
                if (step->verb == VB_VERB_COMMIT || step->verb == VB_VERB_RELEASE ||
                    (step->verb == VB_VERB_RESTORE_FILES && both[k]->steps[kept].host == step->host &&
                     step->n_waits > 1))
                    continue; /* another way leads there as well */
                step->waits[w] = step->waits[step->n_waits - 1];
                step->n_waits--;
                plan_check(both[k], NULL, &faults);
                if (faults.n == 0)
                    print_message("# '%s' without waiting for '%s' was not seen\n", step->id, both[k]->steps[kept].id);
                assert_true(faults.n > 0);
                vb_strv_clear(&faults);
                step->n_waits++;
                step->waits[step->n_waits - 1] = step->waits[w];
                step->waits[w] = kept;
                tried++;
            }
        }
    assert_true(tried >= 20);
    check(p, &t);
    check(r, &t);
    vb_plan_free(r);
    vb_plan_free(p);
    topo_clear(&t);
}

static void random_topologies_obey_the_rules(void **state)
{
    const char *one = getenv("SEED");
    uint64_t from = 1, n = 10000;
    size_t cuts = 0, remote = 0, missing = 0, restores = 0, refused = 0;
    (void)state;
    if (one) {
        assert_true(vb_parse_u64(one, &from));
        n = 1;
    }
    for (uint64_t seed = from; seed < from + n; seed++) {
        struct vb_rng r;
        struct topo t = { 0 };
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_rng_seed(&r, seed);
        struct topo_shape shape = { .max_hosts = 6, .max_writers = 3, .max_components = 4,
                                    .dep_per_mille = (unsigned)(50 + seed % 7 * 40), .dangling_per_mille = 30,
                                    .unreachable_per_mille = 60 };
        topo_random(&t, &r, &shape);
        topo_documents(&t);
        struct vb_strv faults = { 0 };
        struct vb_plan *p = plan_of(&t, NULL, 0, &e);
        if (!p)
            fail_msg("seed %llu: %s", (unsigned long long)seed, vb_error_text(&e));
        plan_check(p, &t, &faults);
        for (size_t i = 0; i < p->n_edges; i++) {
            cuts += p->edges[i].cut;
            remote += p->edges[i].remote;
        }
        missing += p->n_missing;
        if (seed % 16 == 0)
            json_round_trip(p);
        struct vb_ask ask = { .host = p->hosts[vb_rng_below(&r, p->n_hosts)].name };
        struct vb_plan *back = restore_plan_of(&t, p, &ask, vb_rng_chance(&r, 500), NULL, &e);
        if (back) {
            plan_check(back, NULL, &faults);
            restores++;
            vb_plan_free(back);
        } else {
            refused++;
        }
        if (faults.n > 0) {
            for (size_t i = 0; i < faults.n; i++)
                print_message("# seed %llu: %s\n", (unsigned long long)seed, faults.v[i]);
            VB_AUTO_BUF text = VB_BUF_INIT;
            vb_plan_text(p, &text);
            print_message("%s\n", vb_buf_str(&text));
        }
        assert_int_equal(faults.n, 0);
        vb_strv_clear(&faults);
        vb_plan_free(p);
        topo_clear(&t);
    }
    print_message("# %zu remote edges, %zu cut, %zu missing, %zu restore plans, %zu refused\n", remote, cuts, missing,
                  restores, refused);
    if (n > 1) { /* the draw must reach what it is meant to test */
        assert_true(remote > n);
        assert_true(cuts > n / 20);
        assert_true(missing > n / 20);
        assert_true(restores > n / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "VSS-D-34 one component with files and dependencies", vss_d_34_one_component_with_files_and_dependencies,
          NULL, NULL, NULL },
        { "VSS-D-35 VSS-D-36 VSS-D-61 files and dependencies apart", vss_d_35_files_and_dependencies_apart, NULL, NULL,
          NULL },
        { "VSS-D-51 chain over a third host", vss_d_51_chain_over_a_third_host, NULL, NULL, NULL },
        { "VSS-D-51 circle is cut", vss_d_51_circle_is_cut, NULL, NULL, NULL },
        { "VSS-D-33 unreachable and unknown hosts are reported", vss_d_33_unreachable_host_is_reported, NULL, NULL,
          NULL },
        { "a stored plan is checked when it is read", stored_plan_is_checked_when_read, NULL, NULL, NULL },
        { "the checker sees every missing order", checker_sees_every_missing_order, NULL, NULL, NULL },
        { "VSS-D-41 VSS-D-43 VSS-D-50 VSS-D-55 VSS-D-58 in 10,000 random topologies", random_topologies_obey_the_rules,
          NULL, NULL, NULL },
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
