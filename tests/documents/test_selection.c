/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/documents/test_selection.c - what takes part in a backup: selectability, dependencies, policies.
 */
#include <strings.h>
#include <time.h>
#include "topology.h"
#include "documents/validate.h"

/* "be.example" and "be" are one host, "localhost" and "127.0.0.1" the asking one; "nowhere" is unknown. */
static const char *resolve(void *arg, const char *from, const char *text)
{
    struct world *w = arg;

    if (strcasecmp(text, "localhost") == 0 || strcmp(text, "127.0.0.1") == 0)
        return from;
    if (strcasecmp(text, "be.example") == 0)
        return "be";
    if (strcasecmp(text, "nowhere") == 0)
        return NULL;
    for (size_t h = 0; h < w->n_hosts; h++)
        if (strcasecmp(w->hosts[h].host, text) == 0)
            return w->hosts[h].host;
    return "far";
}

/* One line per component: host/writer/path, '+' explicit or '-' implicit; then edges and what is missing. */
static char *show(const struct world *w, const struct vb_selection *s)
{
    VB_AUTO_BUF b = VB_BUF_INIT;

    for (size_t i = 0; i < s->n; i++) {
        const struct vb_sel_component *c = &s->components[i];
        const struct vb_writer_metadata *m = w->hosts[c->host].writers[c->writer];
        VB_AUTO_FREE char *full =
            vb_full_path(m->components[c->component].logical_path, m->components[c->component].name);
        vb_buf_addf(&b, "%c%s/%s/%s ", c->is_explicit ? '+' : '-', w->hosts[c->host].host, m->name, full);
    }
    for (size_t i = 0; i < s->n_edges; i++)
        vb_buf_addf(&b, "%zu%s%zu ", s->edges[i].from, s->edges[i].remote ? "=>" : "->", s->edges[i].to);
    for (size_t i = 0; i < s->n_missing; i++)
        vb_buf_addf(&b, "?%s\\%s%s ", s->missing[i].logical_path, s->missing[i].name,
                    s->missing[i].host_not_gathered ? "(gather)" : "");
    return vb_buf_take_str(&b);
}

struct query {
    struct vb_ask asks[4]; size_t n_asks;
    struct vb_ask excludes[4]; size_t n_excludes;
    enum vb_missing_policy missing;
};

static int run(struct world *w, const struct query *q, struct vb_selection *s, struct vb_error *err)
{
    struct vb_select_options o = {q->asks, q->n_asks, q->excludes, q->n_excludes, q->missing, resolve, w};

    return vb_select_backup(w->hosts, w->n_hosts, &o, s, err);
}

static void expect(struct world *w, const struct query *q, const char *want)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    if (run(w, q, &s, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
    VB_AUTO_FREE char *got = show(w, &s);
    VB_AUTO_FREE char *end = vb_printf("%s%s", want, *want ? " " : "");
    assert_string_equal(got, end);
    vb_selection_clear(&s);
}

static void expect_error(struct world *w, const struct query *q, enum vb_code code, const char *part)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s = {0};

    assert_fails(run(w, q, &s, &err), err, code, part);
}

static void expect_warning(struct world *w, const struct query *q, const char *part)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;
    bool found = false;

    if (run(w, q, &s, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
    for (size_t i = 0; i < s.warnings.n; i++)
        found = found || strstr(s.warnings.v[i], part);
    if (!found)
        fail_msg("no warning '%s'", part);
    vb_selection_clear(&s);
}

#define ALL {.n_asks = 0}
#define ASK(host, writer, component) {.asks = {{host, writer, component}}, .n_asks = 1}

/* ---- the writer of 4.2 ---- */

static void pages_writer(struct world *w)
{
    struct vb_writer_metadata *m = world_writer(w, world_host(w, "fe"), 1);

    put(m, "Executables", "N");
    put(m, "Executables\\ConfigFiles", "N");
    put(m, "LicenseInfo", "Y");
    put(m, "Security", "Y");
    put(m, "Security\\UserInfo", "N");
    put(m, "Security\\Certificates", "N");
    put(m, "writerData", "Y");
    put(m, "writerData\\Set1", "N");
    put(m, "writerData\\Set1\\Jan", "N");
    put(m, "writerData\\Set1\\Dec", "N");
    put(m, "writerData\\Set2", "N");
    put(m, "writerData\\Set2\\Jan", "N");
    put(m, "writerData\\Set2\\Dec", "N");
    put(m, "writerData\\QueryLogs\\Query", "N");
    put(m, "writerData\\Usage", "Y");
    put(m, "writerData\\Usage\\Jan", "N");
    put(m, "writerData\\Usage\\Dec", "N");
}

#define FE(x) "fe/w1/" x " "

static void pages_case(void **state VB_UNUSED)
{
    struct world w = {0};
    pages_writer(&w);
    struct query data = ASK(NULL, "w1", "writerData"), usage = ASK(NULL, "w1", "writerData\\Usage");
    struct query both = {.asks = {{NULL, "w1", "writerData\\Usage"}, {NULL, "w1", "writerData"}}, .n_asks = 2};
    const char *whole = "+" FE("Executables") "+" FE("Executables\\ConfigFiles") "+" FE("writerData")
        "-" FE("writerData\\Set1") "-" FE("writerData\\Set1\\Jan") "-" FE("writerData\\Set1\\Dec")
        "-" FE("writerData\\Set2") "-" FE("writerData\\Set2\\Jan") "-" FE("writerData\\Set2\\Dec")
        "-" FE("writerData\\QueryLogs\\Query") "-" FE("writerData\\Usage") "-" FE("writerData\\Usage\\Jan")
        "-fe/w1/writerData\\Usage\\Dec";

    expect(&w, &data, whole);
    expect(&w, &both, whole); /* Usage may not be explicit beside its head */
    expect(&w, &usage, "+" FE("Executables") "+" FE("Executables\\ConfigFiles") "+" FE("writerData\\Usage")
           "-" FE("writerData\\Usage\\Jan") "-fe/w1/writerData\\Usage\\Dec");
    world_clear(&w);
}

static void vss_c_13(void **state VB_UNUSED)
{
    struct world w = {0};
    pages_writer(&w);
    struct query q = ASK(NULL, "w1", "LicenseInfo");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    expect(&w, &q, "+" FE("Executables") "+" FE("Executables\\ConfigFiles") "+fe/w1/LicenseInfo");
    assert_ok(run(&w, &q, &s, &err), err);
    assert_int_equal(s.components[0].why, VB_WHY_COMPULSORY);
    assert_int_equal(s.components[0].because, 2);
    assert_int_equal(s.components[2].why, VB_WHY_ASKED);
    assert_int_equal(s.components[2].because, SIZE_MAX);
    vb_selection_clear(&s);
    world_clear(&w);
}

static void vss_c_14(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);
    struct query all = ALL, b = ASK("fe", NULL, "b");

    put(m, "a", "Y");
    put(m, "b", "Y");
    expect(&w, &all, "+fe/w1/a +fe/w1/b");
    expect(&w, &b, "+fe/w1/b");
    world_clear(&w);
}

static void vss_c_15_b_20(void **state VB_UNUSED)
{
    struct world w = {0};
    pages_writer(&w);
    struct query q = ASK(NULL, "w1", "writerData\\Set1\\Jan"), deep = ASK(NULL, "w1", "writerData\\Usage\\Jan");

    expect_error(&w, &q, VB_E_USAGE, "belongs to 'writerData'");
    expect_error(&w, &deep, VB_E_USAGE, "belongs to 'writerData\\Usage'");
    world_clear(&w);
}

static void vss_c_17(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);
    struct query q = ASK(NULL, NULL, "a");

    put(m, "a", "Y");
    put(m, "a\\b", "Y");
    put(m, "a\\b\\c", "N");
    put(m, "a\\x\\y\\z", "Y"); /* C-9: elements of the path need not be components */
    put(m, "ab", "Y");          /* whole elements */
    put(m, "a!", "Y");
    expect(&w, &q, "+fe/w1/a -fe/w1/a\\b -fe/w1/a\\b\\c -fe/w1/a\\x\\y\\z");
    world_clear(&w);
}

static void vss_c_18(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);
    struct query q = ALL;

    put(m, "n", "N");
    put(m, "n\\m", "N");
    put(m, "n\\y", "Y");
    put(m, "n\\y\\z", "N");
    expect(&w, &q, "+fe/w1/n +fe/w1/n\\m +fe/w1/n\\y -fe/w1/n\\y\\z");
    world_clear(&w);
}

static void vss_c_10(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);
    struct query q = ALL;

    put(m, "server\\db1", "Y"); /* no component "server": both are top level */
    put(m, "server\\db2", "N");
    expect(&w, &q, "+fe/w1/server\\db1 +fe/w1/server\\db2");
    world_clear(&w);
}

static void vss_c_19(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *m = world_writer(&w, world_host(&w, "fe"), 1);
    struct query q = {.excludes = {{NULL, "w1", "a\\secret"}}, .n_excludes = 1};

    put(m, "a", "Y");
    put(m, "a\\secret", "Y");
    put(m, "a\\inner", "Y");
    put(m, "a\\inner\\n", "N");
    put(m, "a\\lost", "N");
    put(m, "z", "Y");
    /* the head cannot be taken; what stands on its own below it can */
    expect(&w, &q, "+fe/w1/a\\inner -fe/w1/a\\inner\\n +fe/w1/z");
    expect_warning(&w, &q, "'a\\lost' of writer 'w1' on host 'fe' is left out");
    world_clear(&w);
}

static void vss_c_22(void **state VB_UNUSED)
{
    struct world w = {0};
    pages_writer(&w);
    struct query q = {.excludes = {{NULL, "w1", "Executables\\ConfigFiles"}}, .n_excludes = 1};
    struct query whole = {.excludes = {{"fe", "00000001-AAAA-4bbb-8ccc-dddddddddddd", NULL}}, .n_excludes = 1};
    struct query asked = {
        .asks = {{NULL, "w1", "Security"}}, .n_asks = 1, .excludes = {{NULL, "w1", "Security"}}, .n_excludes = 1};
    struct query none = {.excludes = {{NULL, "w9", NULL}}, .n_excludes = 1};

    expect(&w, &q, ""); /* its required component is excluded: the writer takes no part */
    expect_warning(&w, &q, "the writer is left out");
    expect(&w, &whole, "");
    expect(&w, &asked, "");
    expect_warning(&w, &asked, "asked for, but is excluded");
    expect_warning(&w, &none, "matches nothing");
    world_clear(&w);
}

static void asks(void **state VB_UNUSED)
{
    struct world w = {0};
    pages_writer(&w);
    struct query host = ASK("nix", NULL, NULL), writer = ASK(NULL, "w2", NULL), comp = ASK(NULL, "w1", "nix");
    struct query any = ASK(NULL, NULL, "nix"), slash = ASK(NULL, NULL, "\\LicenseInfo");

    expect_error(&w, &host, VB_E_OBJECT_NOT_FOUND, "host 'nix'");
    expect_error(&w, &writer, VB_E_OBJECT_NOT_FOUND, "no writer 'w2'");
    expect_error(&w, &comp, VB_E_OBJECT_NOT_FOUND, "no component 'nix'");
    expect_error(&w, &any, VB_E_OBJECT_NOT_FOUND, "no writer on host 'fe'");
    expect(&w, &slash, "+" FE("Executables") "+" FE("Executables\\ConfigFiles") "+fe/w1/LicenseInfo");
    world_clear(&w);
}

/* ---- dependencies ---- */

static struct vb_writer_metadata *two_hosts(struct world *w)
{
    struct vb_writer_metadata *fe = world_writer(w, world_host(w, "fe"), 1);
    struct vb_writer_metadata *be = world_writer(w, world_host(w, "be"), 2);

    put(be, "db\\X", "Y");
    put(be, "db\\Y", "Y");
    put(be, "other", "Y");
    return fe;
}

static void vss_d_34_35(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct query one = ASK(NULL, NULL, "one"), a = ASK(NULL, NULL, "A"), b = ASK(NULL, NULL, "B");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    put(fe, "one", "Y"); /* example 1: files and dependencies in one component */
    need(fe, "one", 2, "\\\\be\\db", "X");
    need(fe, "one", 2, "\\\\be\\db", "Y");
    put(fe, "A", "Y"); /* example 2: files only, dependencies only */
    put(fe, "B", "Y");
    need(fe, "B", 2, "\\\\BE.example\\db", "X");
    need(fe, "B", 2, "\\\\be\\db", "Y");
    expect(&w, &one, "+fe/w1/one +be/w2/db\\X +be/w2/db\\Y 0=>1 0=>2");
    expect(&w, &a, "+fe/w1/A");
    expect(&w, &b, "+fe/w1/B +be/w2/db\\X +be/w2/db\\Y 0=>1 0=>2"); /* D-36 */
    assert_ok(run(&w, &b, &s, &err), err);
    assert_int_equal(s.components[1].why, VB_WHY_TARGET);
    assert_int_equal(s.components[1].because, 0);
    vb_selection_clear(&s);
    world_clear(&w);
}

static void vss_d_4(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct query q = ALL;

    put(fe, "head", "Y");
    put(fe, "head\\member", "N");
    need(fe, "head\\member", 2, "\\\\be\\", "other");
    expect(&w, &q, "+fe/w1/head -fe/w1/head\\member +be/w2/other 0=>2"); /* implicit counts, too */
    world_clear(&w);
}

static void vss_d_8_14(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *a = world_writer(&w, world_host(&w, "a"), 1);
    struct vb_writer_metadata *b = world_writer(&w, world_host(&w, "b"), 2);
    struct vb_writer_metadata *c = world_writer(&w, world_host(&w, "c"), 3);
    struct query q = ALL;

    put(a, "x", "Y");
    put(a, "back", "Y");
    put(b, "y", "Y");
    put(c, "z", "Y");
    need(a, "x", 2, "\\\\b", "y");
    need(b, "y", 3, "\\\\c\\", "z");
    need(c, "z", 1, "\\\\a\\", "x"); /* the circle, D-51 */
    need(c, "z", 1, "\\\\a\\", "back");
    expect(&w, &q, "+a/w1/x +a/w1/back +b/w2/y +c/w3/z 0=>2 2=>3 3=>0 3=>1");
    world_clear(&w);
}

static void vss_d_11(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct vb_writer_metadata *second = world_writer(&w, 1, 2);
    struct query q = ALL;

    second->instance_name = vb_strdup("second");
    put(second, "db2\\X", "Y");
    put(fe, "a", "Y");
    need(fe, "a", 2, "\\\\be\\db2", "X");
    expect(&w, &q, "+fe/w1/a +be/w2/db2\\X 0=>1");
    world_clear(&w);
}

static void vss_d_12_33(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct query go = {.missing = VB_MISSING_CONTINUE}, stop = {.missing = VB_MISSING_FAIL};
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    put(fe, "a", "Y");
    need(fe, "a", 9, "\\\\be\\db", "X"); /* no such writer */
    need(fe, "a", 2, "\\\\be\\db", "Z"); /* no such component */
    need(fe, "a", 2, "\\\\nowhere\\db", "X");
    need(fe, "a", 2, "\\\\third\\db", "X");
    expect(&w, &go, "+fe/w1/a ?db\\X ?db\\Z ?db\\X ?db\\X(gather)");
    assert_ok(run(&w, &go, &s, &err), err);
    assert_string_equal(s.missing[2].host_text, "nowhere");
    assert_null(s.missing[2].host);
    assert_non_null(strstr(s.missing[2].text, "host 'nowhere'"));
    assert_non_null(strstr(s.missing[2].text, "component 'a'"));
    assert_string_equal(s.missing[3].host, "far");
    assert_int_equal(s.missing[0].from, 0);
    vb_selection_clear(&s);
    expect_error(&w, &stop, VB_E_DEPENDENCY_MISSING, "component 'db\\X' of writer class");
    world_clear(&w);
}

static void only_not_gathered(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct query stop = {.missing = VB_MISSING_FAIL};

    put(fe, "a", "Y");
    need(fe, "a", 2, "\\\\third\\db", "X");
    expect(&w, &stop, "+fe/w1/a ?db\\X(gather)");
    world_clear(&w);
}

static void vss_d_15(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = world_writer(&w, world_host(&w, "fe"), 1);
    struct vb_writer_metadata *be = world_writer(&w, world_host(&w, "be"), 2);
    struct query n = ASK(NULL, NULL, "n"), y = ASK(NULL, NULL, "y");
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    put(be, "top", "Y");
    put(be, "top\\head", "Y");
    put(be, "top\\head\\n", "N");
    put(be, "top\\head\\y", "Y");
    put(be, "must", "N");
    put(fe, "n", "Y");
    put(fe, "y", "Y");
    need(fe, "n", 2, "\\\\be\\top\\head", "n");
    need(fe, "y", 2, "\\\\be\\top\\head", "y");
    /* B-16 holds on the back end, too */
    expect(&w, &n, "+fe/w1/n +be/w2/top\\head -be/w2/top\\head\\n -be/w2/top\\head\\y +be/w2/must 0=>1");
    expect(&w, &y, "+fe/w1/y +be/w2/top\\head\\y +be/w2/must 0=>1");
    assert_ok(run(&w, &n, &s, &err), err);
    assert_int_equal(s.components[1].why, VB_WHY_ANCESTOR);
    assert_int_equal(s.components[2].because, 1);
    assert_int_equal(s.components[4].why, VB_WHY_COMPULSORY);
    vb_selection_clear(&s);
    world_clear(&w);
}

static void vss_d_16(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct query q = {.excludes = {{"be", "w2", "db\\X"}}, .n_excludes = 1};

    put(fe, "a", "Y");
    put(fe, "b", "Y");
    put(fe, "c", "Y");
    put(fe, "set", "Y");
    put(fe, "set\\m", "N");
    need(fe, "a", 2, "\\\\be\\db", "X");
    need(fe, "a", 2, "\\\\be\\", "other"); /* only a brings it: it goes with a */
    need(fe, "b", 2, "\\\\be\\db", "Y");
    need(fe, "c", 3, "", "via");
    need(fe, "set\\m", 2, "\\\\be\\db", "X");
    struct vb_writer_metadata *via = world_writer(&w, 0, 3);
    put(via, "via", "Y");
    need(via, "via", 1, "", "a"); /* c -> via -> a -> excluded */
    q.missing = VB_MISSING_DROP_DEPENDENT;
    expect(&w, &q, "+fe/w1/b +be/w2/db\\Y 0=>1 ?db\\X ?db\\X ?\\a ?\\via");
    expect_warning(&w, &q, "component 'c' of writer 'w1' on host 'fe' is left out");
    q.missing = VB_MISSING_FAIL;
    expect_error(&w, &q, VB_E_DEPENDENCY_MISSING, "is left out");
    q.missing = VB_MISSING_CONTINUE;
    expect(&w, &q, "+fe/w1/a +fe/w1/b +fe/w1/c +fe/w1/set -fe/w1/set\\m +fe/w3/via +be/w2/db\\Y +be/w2/other "
           "0=>7 1=>6 2->5 5->0 ?db\\X ?db\\X");
    world_clear(&w);
}

static void vss_d_31(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct vb_writer_metadata *local = world_writer(&w, 0, 2);
    struct query q = ASK(NULL, "w1", NULL);

    put(local, "db\\X", "Y");
    put(fe, "a", "Y");
    need(fe, "a", 2, "\\\\localhost\\db", "X");
    need(fe, "a", 2, "\\\\127.0.0.1\\db", "X");
    need(fe, "a", 2, "\\\\FE\\db", "X");
    need(fe, "a", 2, "db", "X");
    expect(&w, &q, "+fe/w1/a +fe/w2/db\\X 0->1"); /* local, and one edge */
    world_clear(&w);
}

static void vss_d_28(void **state VB_UNUSED)
{
    struct world w = {0};
    struct vb_writer_metadata *fe = two_hosts(&w);
    struct query q = {.missing = VB_MISSING_CONTINUE};

    put(fe, "a", "Y");
    need(fe, "a", 2, "\\\\be\\db", "\\\\BE\\X");
    expect(&w, &q, "+fe/w1/a +be/w2/db\\X 0=>1");
    expect_warning(&w, &q, "both in the path and in the name");
    need(fe, "a", 2, "\\\\be\\db", "\\\\third\\X");
    expect(&w, &q, "+fe/w1/a +be/w2/db\\X 0=>1 ?\\\\be\\db\\\\\\third\\X");
    q.missing = VB_MISSING_FAIL;
    expect_error(&w, &q, VB_E_DEPENDENCY_MISSING, "different hosts");
    world_clear(&w);
}

static void large(void **state VB_UNUSED)
{
    struct world w = {0};
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_selection s;

    for (unsigned h = 0; h < 1000; h++) {
        VB_AUTO_FREE char *name = vb_printf("h%u", h);
        struct vb_writer_metadata *m = world_writer(&w, world_host(&w, name), 1);
        for (unsigned i = 0; i < 20; i++) {
            VB_AUTO_FREE char *c = vb_printf("set%u\\c%u", i / 4, i);
            VB_AUTO_FREE char *target = vb_printf("\\\\h%u\\set%u", (h + 1) % 1000, i / 4);
            VB_AUTO_FREE char *tname = vb_printf("c%u", i);
            put(m, c, "Y");
            need(m, c, 1, target, tname);
        }
    }
    struct vb_select_options o = {NULL, 0, NULL, 0, VB_MISSING_FAIL, NULL, NULL};
    clock_t start = clock();
    assert_ok(vb_select_backup(w.hosts, w.n_hosts, &o, &s, &err), err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("# 1,000 hosts x 20 components: %.3f s\n", seconds);
    assert_int_equal(s.n, 20000);
    assert_int_equal(s.n_edges, 20000);
    assert_true(seconds < 5);
    vb_selection_clear(&s);
    /* the longest chain there can be, cut at its end: dependents are dropped one behind the other */
    world_clear(&w);
    struct vb_writer_metadata *a = world_writer(&w, world_host(&w, "a"), 1);
    struct vb_writer_metadata *b = world_writer(&w, 0, 2);
    for (unsigned i = 0; i < 5000; i++) {
        VB_AUTO_FREE char *c = vb_printf("c%05u", i);
        VB_AUTO_FREE char *next = vb_printf("c%05u", i + 1);
        put(i % 2 ? b : a, c, "Y");
        need(i % 2 ? b : a, c, i % 2 ? 1 : 2, "", next);
    }
    o.missing = VB_MISSING_DROP_DEPENDENT;
    start = clock();
    assert_ok(vb_select_backup(w.hosts, w.n_hosts, &o, &s, &err), err);
    assert_int_equal(s.n, 0);
    assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
    vb_selection_clear(&s);
    world_clear(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST("VSS section 4.2: the case of the pages", pages_case),
        TEST("VSS-C-10 top level is what has no component above it", vss_c_10),
        TEST("VSS-C-13 VSS-B-16 compulsory components come with anything of the writer", vss_c_13),
        TEST("VSS-C-14 selectable at the top: as the user wants", vss_c_14),
        TEST("VSS-C-15 VSS-B-20 a member cannot be explicit, the error names its head", vss_c_15_b_20),
        TEST("VSS-C-16 VSS-C-17 VSS-C-9 a head brings everything below, whole elements", vss_c_17),
        TEST("VSS-C-18 not selectable below not selectable: both explicit", vss_c_18),
        TEST("VSS-C-19 without the head only inner heads", vss_c_19),
        TEST("VSS-C-22 VSS-C-23 exclusions", vss_c_22),
        TEST("VSS-B-19 unknown hosts, writers, components", asks),
        TEST("VSS-D-4 implicit dependents count", vss_d_4),
        TEST("VSS-D-8 VSS-D-14 VSS-D-51 chains and circles over hosts", vss_d_8_14),
        TEST("VSS-D-11 the instance is found by path and name", vss_d_11),
        TEST("VSS-D-12 VSS-D-33 missing targets are named", vss_d_12_33),
        TEST("hosts that are still to be gathered fail nothing", only_not_gathered),
        TEST("VSS-D-15 a target below a head", vss_d_15),
        TEST("VSS-D-16 VSS-D-6 an excluded target takes its dependents along, or fails", vss_d_16),
        TEST("VSS-D-28 both fields carry a host", vss_d_28),
        TEST("VSS-D-31 a host that is this one is local", vss_d_31),
        TEST("VSS-D-34 VSS-D-35 VSS-D-36 both shapes", vss_d_34_35),
        TEST("a thousand hosts, a chain of thousands", large),
    };

    USE_SOURCE_SCHEMA();
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vb_grammar_unload();
    return rc;
}
