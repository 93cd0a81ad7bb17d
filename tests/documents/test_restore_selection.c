/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_restore_selection.c - what is restored, over stored documents.
 */
#include "topology.h"
#include "documents/validate.h"

struct query {
    struct vb_ask asks[4]; size_t n_asks;
    struct vb_ask excludes[4]; size_t n_excludes;
    enum vb_missing_policy missing;
};
#define ALL {.n_asks = 0}
#define ASK(host, writer, component) {.asks = {{host, writer, component}}, .n_asks = 1}

static int run(struct world *w, const struct query *q, struct vb_restore_selection *s, struct vb_error *err)
{
    struct vb_select_options o = {q->asks, q->n_asks, q->excludes, q->n_excludes, q->missing, NULL, NULL};

    return vb_select_restore(w->hosts, w->n_hosts, w->stored, &o, s, err);
}

/* Backs everything up that the asks name and stores the documents. */
static void back_up(struct world *w, const struct vb_ask *asks, size_t n)
{
    struct vb_select_options o = {asks, n, NULL, 0, VB_MISSING_CONTINUE, NULL, NULL};
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    assert_ok(vb_select_backup(w->hosts, w->n_hosts, &o, &s, &err), err);
    world_store(w, &s);
    vb_selection_clear(&s);
}

/* host/component[subcomponent,...] per pick, then edges, then what is missing. */
static char *show(const struct world *w, const struct vb_restore_selection *s)
{
    VB_AUTO_BUF b = VB_BUF_INIT;

    for (size_t i = 0; i < s->n; i++) {
        const struct vb_restore_pick *p = &s->picks[i];
        const struct vb_component *c = &w->stored[p->host]->writers[p->writer].components[p->component];
        VB_AUTO_FREE char *full = vb_full_path(c->logical_path, c->name);
        vb_buf_addf(&b, "%s/%s", w->hosts[p->host].host, full);
        for (size_t k = 0; k < p->subcomponents.n; k++)
            vb_buf_addf(&b, "%s%s", k ? "," : "[", p->subcomponents.v[k]);
        vb_buf_addf(&b, "%s ", p->subcomponents.n ? "]" : "");
    }
    for (size_t i = 0; i < s->n_edges; i++)
        vb_buf_addf(&b, "%zu%s%zu ", s->edges[i].from, s->edges[i].remote ? "=>" : "->", s->edges[i].to);
    for (size_t i = 0; i < s->n_missing; i++)
        vb_buf_addf(&b, "?%s\\%s ", s->missing[i].logical_path, s->missing[i].name);
    return vb_buf_take_str(&b);
}

static void expect(struct world *w, const struct query *q, const char *want)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_restore_selection s;

    if (run(w, q, &s, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
    VB_AUTO_FREE char *got = show(w, &s);
    VB_AUTO_FREE char *end = vb_printf("%s%s", want, *want ? " " : "");
    assert_string_equal(got, end);
    vb_restore_selection_clear(&s);
}

static void expect_error(struct world *w, const struct query *q, enum vb_code code, const char *part)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_restore_selection s = {0};

    assert_fails(run(w, q, &s, &err), err, code, part);
}

static void expect_warning(struct world *w, const struct query *q, const char *part)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_restore_selection s;
    bool found = false;

    if (run(w, q, &s, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
    for (size_t i = 0; i < s.warnings.n; i++)
        found = found || strstr(s.warnings.v[i], part);
    if (!found)
        fail_msg("no warning '%s'", part);
    vb_restore_selection_clear(&s);
}

static struct vb_writer_metadata *one_writer(struct world *w)
{
    struct vb_writer_metadata *m = world_writer(w, world_host(w, "fe"), 1);

    put(m, "must", "N");
    put(m, "data", "Y");
    put(m, "data\\plain", "N");
    put(m, "data\\set", "Nr");
    put(m, "data\\set\\in", "N");
    put(m, "data\\set\\deep", "Nr");
    put(m, "data\\own", "Yr");
    put(m, "left", "Y");
    return m;
}

static void vss_r_4(void **state VB_UNUSED)
{
    struct world w = {0};
    one_writer(&w);
    struct vb_ask asked = {NULL, "w1", "data"};
    back_up(&w, &asked, 1);
    struct query all = ALL, must = ASK(NULL, NULL, "must"), data = ASK(NULL, "w1", "data");
    struct query left = ASK(NULL, NULL, "left"), nix = ASK(NULL, NULL, "nix"), other = ASK(NULL, "w9", NULL);

    expect(&w, &all, "fe/must fe/data");
    /* C-25: explicit ones singly, whatever selR says; no compulsory ones at restore (K-23) */
    expect(&w, &must, "fe/must");
    expect(&w, &data, "fe/data");
    expect_error(&w, &left, VB_E_OBJECT_NOT_FOUND, "not in this backup"); /* */
    expect_error(&w, &nix, VB_E_OBJECT_NOT_FOUND, "'nix'");
    expect_error(&w, &other, VB_E_OBJECT_NOT_FOUND, "'w9'");
    world_clear(&w);
}

static void vss_r_5(void **state VB_UNUSED)
{
    struct world w = {0};
    one_writer(&w);
    struct vb_ask asked = {NULL, "w1", "data"};
    back_up(&w, &asked, 1);
    struct query plain = ASK(NULL, NULL, "data\\plain"), in = ASK(NULL, NULL, "data\\set\\in");
    struct query set = ASK(NULL, NULL, "data\\set"), own = ASK(NULL, NULL, "data\\own");
    struct query two = {.asks = {{NULL, NULL, "data\\set\\deep"}, {NULL, NULL, "data\\own"}}, .n_asks = 2};
    struct query nested = {.asks = {{NULL, NULL, "data\\set\\deep"}, {NULL, NULL, "data\\set"}}, .n_asks = 2};
    struct query whole = {.asks = {{NULL, NULL, "data\\own"}, {NULL, NULL, "data"}}, .n_asks = 2};

    expect_error(&w, &plain, VB_E_USAGE, "belongs to 'data'"); /* C-26 */
    expect_error(&w, &in, VB_E_USAGE, "belongs to 'data\\set'");
    expect(&w, &set, "fe/data[data\\set]");
    expect(&w, &own, "fe/data[data\\own]");
    expect(&w, &two, "fe/data[data\\own,data\\set\\deep]");
    expect(&w, &nested, "fe/data[data\\set]"); /* what is below comes along */
    expect(&w, &whole, "fe/data");
    world_clear(&w);
}

/* A front end whose component needs two databases, in both shapes; restore from either end. */
static void story(struct world *w)
{
    struct vb_writer_metadata *fe = world_writer(w, world_host(w, "fe"), 1);
    struct vb_writer_metadata *be = world_writer(w, world_host(w, "be"), 2);

    put(fe, "files", "Y");
    put(fe, "links", "Y");
    put(fe, "other", "Y");
    need(fe, "links", 2, "\\\\be\\db", "X");
    need(fe, "links", 2, "\\\\be\\db", "Y");
    put(be, "db\\X", "Y");
    put(be, "db\\Y", "Y");
    put(be, "alone", "Y");
}

static void vss_d_17_61(void **state VB_UNUSED)
{
    struct world w = {0};
    story(&w);
    struct vb_ask asked[] = {{"fe", NULL, NULL}, {"be", NULL, NULL}};
    back_up(&w, asked, 2);
    struct query x = ASK("be", NULL, "db\\X"), links = ASK(NULL, NULL, "links"), files = ASK(NULL, NULL, "files");
    struct query alone = ASK("be", NULL, "alone");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_restore_selection s;

    expect(&w, &links, "fe/links be/db\\X be/db\\Y 0=>1 0=>2"); /* D-17 */
    expect(&w, &x, "fe/links be/db\\X be/db\\Y 0=>1 0=>2");     /* D-61, and what the dependent needs besides */
    expect(&w, &files, "fe/files");
    expect(&w, &alone, "be/alone");
    assert_ok(run(&w, &x, &s, &err), err);
    assert_int_equal(s.picks[0].why, VB_WHY_DEPENDENT);
    assert_int_equal(s.picks[1].why, VB_WHY_ASKED);
    assert_int_equal(s.picks[2].why, VB_WHY_TARGET);
    vb_restore_selection_clear(&s);
    world_clear(&w);
}

static void only_recorded_edges(void **state VB_UNUSED)
{
    struct world w = {0};
    story(&w);
    struct vb_ask asked[] = {{"fe", NULL, "files"}, {"be", NULL, NULL}};
    back_up(&w, asked, 2);
    struct query x = ASK("be", NULL, "db\\X");

    expect(&w, &x, "be/db\\X"); /* the dependent was not in the backup */
    world_clear(&w);
}

static void vss_d_15_restore(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = world_writer(&w, world_host(&w, "fe"), 1);
    struct vb_writer_metadata *be = world_writer(&w, world_host(&w, "be"), 2);
    struct query a = ASK(NULL, NULL, "a"), b = ASK(NULL, NULL, "b");

    put(fe, "a", "Y");
    put(fe, "b", "Y");
    put(be, "top", "Y");
    put(be, "top\\r", "Nr");
    put(be, "top\\r\\x", "N");
    put(be, "top\\n", "N");
    need(fe, "a", 2, "\\\\be\\top\\r", "x");
    need(fe, "b", 2, "\\\\be\\top", "n");
    back_up(&w, NULL, 0);
    expect(&w, &a, "fe/a be/top[top\\r] 0=>1"); /* the smallest set that may be restored */
    expect(&w, &b, "fe/a fe/b be/top 0=>2 1=>2"); /* all of it, and who depends on any of it */
    world_clear(&w);
}

static void policies(void **state VB_UNUSED)
{
    struct world w = {0};
    story(&w);
    struct vb_ask asked[] = {{"fe", NULL, NULL}, {"be", NULL, NULL}};
    back_up(&w, asked, 2);
    struct query q = {.asks = {{NULL, "w1", NULL}}, .n_asks = 1, .excludes = {{"be", NULL, "db\\Y"}}, .n_excludes = 1};
    struct query back = {
        .asks = {{"be", NULL, "db\\X"}}, .n_asks = 1, .excludes = {{"fe", NULL, NULL}}, .n_excludes = 1};

    q.missing = VB_MISSING_FAIL;
    expect_error(&w, &q, VB_E_DEPENDENCY_MISSING, "db\\Y");
    q.missing = VB_MISSING_DROP_DEPENDENT;
    expect(&w, &q, "fe/files fe/other ?db\\Y");
    expect_warning(&w, &q, "component 'links' of writer 'w1' on host 'fe' is left out");
    q.missing = VB_MISSING_CONTINUE;
    expect(&w, &q, "fe/files fe/links fe/other be/db\\X 1=>3 ?db\\Y");
    expect(&w, &back, "be/db\\X");
    expect_warning(&w, &back, "will not learn"); /* D-60 */
    world_clear(&w);
}

static void parts(void **state VB_UNUSED)
{
    struct world w = {0};
    one_writer(&w);
    struct vb_ask asked = {NULL, "w1", "data"};
    back_up(&w, &asked, 1);
    struct query q = {.excludes = {{NULL, NULL, "data\\own"}}, .n_excludes = 1};

    expect(&w, &q, "fe/must fe/data[data\\set]");
    expect_warning(&w, &q, "restored in part");
    world_clear(&w);
}

static void vss_a_5_6(void **state VB_UNUSED)
{
    struct world w = {0};
    struct query all = ALL;
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);

    put(m, "a", "Y");
    back_up(&w, NULL, 0);
    free(w.stored[0]->writers[0].instance_id);
    w.stored[0]->writers[0].instance_id = vb_strdup(ID(5)); /* another life of the writer: no matter */
    expect(&w, &all, "fe/a");
    w.stored[0]->writers[0].components[0].backup_succeeded_set = true;
    expect_warning(&w, &all, "not succeeded");
    w.stored[0]->writers[0].instance_name = vb_strdup("second"); /* another instance: not this one's metadata */
    expect(&w, &all, "");
    expect_warning(&w, &all, "metadata are not in the backup");
    world_clear(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("VSS-R-4 VSS-R-11 VSS-C-25 VSS-K-23 explicit components singly", vss_r_4),
        TEST("VSS-R-5 VSS-R-6 VSS-R-7 VSS-R-10 VSS-C-26 VSS-C-27 members alone", vss_r_5),
        TEST("VSS-D-17 VSS-D-61 closure both ways", vss_d_17_61),
        TEST("VSS-D-61 only edges that the documents record", only_recorded_edges),
        TEST("VSS-D-15 targets inside a set at restore", vss_d_15_restore),
        TEST("VSS-D-16 VSS-D-60 exclusions and policies at restore", policies),
        TEST("what is excluded inside a set leaves the rest of it", parts),
        TEST("VSS-A-5 VSS-A-6 records and metadata are matched by class and instance name", vss_a_5_6),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
