/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/replica/test_extension.c - the order of the calls of replication blocks, and how far a failure reaches.
 *
 * The plug-in is a recorder: each call that the driver asks for becomes a line.  Runs go target after target, and with all
 * of them under way at once, answers in an order that a seed decides.
 */
#include <config.h>
#include "tests/cm.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/extension.h"
#include "vbackup/writer.h"
#include "wire/protocol.h"

#define MAX 8
#define ALL_CALLS 0x3eu

struct lab {
    struct vb_ext_writer writers[2];
    size_t n_writers, n_targets;
    const char *own[2], *theirs[MAX][2]; /* signatures */
    size_t own_len[2], their_len[MAX][2];
    bool missing[MAX][2];
    uint64_t their_calls[MAX][2];
    struct vb_ext_options o;
    enum vb_ext_kind fail_kind; /* of fail_target, or SIZE_MAX of the first one */
    size_t fail_target;
    bool at_once;
    uint64_t seed;
    struct vb_ext_driver *d;
    struct vb_strv log;
    unsigned running[2], most; /* calls at one instance of the source */
};

static void lab_init(struct lab *l, size_t n_targets)
{
    *l = (struct lab){ .n_writers = 1, .n_targets = n_targets, .fail_target = SIZE_MAX, .seed = 1 };
    for (size_t w = 0; w < 2; w++) {
        l->writers[w] = (struct vb_ext_writer){ w ? "second" : "rec", ALL_CALLS, 0 };
        l->own[w] = "S";
        l->own_len[w] = 1;
        for (size_t t = 0; t < MAX; t++) {
            l->theirs[t][w] = "S";
            l->their_len[t][w] = 1;
            l->their_calls[t][w] = ALL_CALLS;
        }
    }
}

static void differ(struct lab *l, size_t t, size_t w)
{
    l->theirs[t][w] = "other";
    l->their_len[t][w] = 5;
}

static bool of_source(enum vb_ext_kind k)
{
    return k == VB_EXT_SOURCE_SIGNATURE || k == VB_EXT_SERIALIZE || k == VB_EXT_PROPAGATE || k == VB_EXT_PROPAGATE2;
}

static void note(struct lab *l, const struct vb_ext_action *a)
{
    static const char *const words[] = { "", "sigS", "list", "sigT", "serialize", "propagate", "deserialize", "core", "prop2" };
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_str(&b, words[a->kind]);
    if (a->kind != VB_EXT_SOURCE_SIGNATURE && a->kind != VB_EXT_SERIALIZE)
        vb_buf_addf(&b, " T%zu", a->target + 1);
    if (a->kind == VB_EXT_PROPAGATE2)
        vb_buf_add_str(&b, a->differs ? " differs" : " same");
    if (a->kind == VB_EXT_PROPAGATE)
        assert_true(a->differs);
    if (l->n_writers > 1 && a->kind != VB_EXT_LIST && a->kind != VB_EXT_CORE)
        vb_buf_addf(&b, " %s", l->writers[a->writer].name);
    vb_strv_take(&l->log, vb_buf_take_str(&b));
}

/* The plug-in's side of one call. */
static void answer(struct lab *l, const struct vb_ext_action *a)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    if (of_source(a->kind))
        l->running[a->writer]--;
    if (a->kind == l->fail_kind && (l->fail_target == SIZE_MAX || l->fail_target == a->target)) {
        vb_fail(&e, VB_E_WRITER_NON_RETRYABLE, "no luck");
        vb_ext_done(l->d, a, &e);
        return;
    }
    if (a->kind == VB_EXT_SOURCE_SIGNATURE)
        vb_ext_sign(l->d, VB_EXT_SOURCE, a->writer, l->own[a->writer], l->own_len[a->writer]);
    if (a->kind == VB_EXT_TARGET_SIGNATURE)
        vb_ext_sign(l->d, a->target, a->writer, l->theirs[a->target][a->writer], l->their_len[a->target][a->writer]);
    for (size_t w = 0; a->kind == VB_EXT_LIST && w < l->n_writers; w++)
        if (!l->missing[a->target][w])
            vb_ext_present(l->d, a->target, w, l->their_calls[a->target][w]);
    vb_ext_done(l->d, a, NULL);
}

static void started(struct lab *l, const struct vb_ext_action *a)
{
    note(l, a);
    if (of_source(a->kind) && ++l->running[a->writer] > l->most)
        l->most = l->running[a->writer];
}

static void run(struct lab *l)
{
    struct vb_ext_action open[32], a;
    size_t n = 0;
    l->d = vb_ext_driver_new(l->writers, l->n_writers, l->n_targets, &l->o);
    for (size_t t = 0; t < l->n_targets && !l->at_once; t++) {
        while (vb_ext_next(l->d, t, &a) == VB_EXT_DO) {
            started(l, &a);
            answer(l, &a);
        }
        assert_int_equal(vb_ext_next(l->d, t, &a), VB_EXT_END);
    }
    for (;;) {
        enum vb_ext_turn turn = vb_ext_next(l->d, VB_EXT_ANY, &a);
        l->seed = l->seed * 6364136223846793005u + 1442695040888963407u;
        if (turn == VB_EXT_DO) {
            started(l, &a);
            open[n++] = a;
        }
        if (turn == VB_EXT_END)
            break;
        if (turn == VB_EXT_WAIT || (l->seed >> 33) % 3 == 0) {
            assert_true(n > 0);
            size_t i = (size_t)(l->seed >> 40) % n;
            a = open[i];
            open[i] = open[--n];
            answer(l, &a);
        }
    }
    assert_int_equal(n, 0);
}

static size_t count(const struct lab *l, const char *begin)
{
    size_t n = 0;
    for (size_t i = 0; i < l->log.n; i++)
        n += strncmp(l->log.v[i], begin, strlen(begin)) == 0;
    return n;
}

static size_t place(const struct lab *l, const char *line)
{
    for (size_t i = 0; i < l->log.n; i++)
        if (!strcmp(l->log.v[i], line))
            return i;
    fail_msg("no call '%s'", line);
    return 0;
}

static void lab_clear(struct lab *l)
{
    vb_ext_driver_free(l->d);
    vb_strv_clear(&l->log);
}

static void assert_log(const struct lab *l, const char *const *want)
{
    size_t n = 0;
    for (; want[n]; n++)
        assert_true(n < l->log.n && !strcmp(l->log.v[n], want[n]));
    assert_int_equal(l->log.n, n);
}

/* Each of these runs target after target, and at once in 50 orders. */
#define EACH_WAY(l, n) for (unsigned way = 0; way < 51 && (lab_init(&(l), n), (l).at_once = way > 0, (l).seed = way, true); lab_clear(&(l)), way++)

static void t1_equal(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 1) {
        run(&l);
        assert_log(&l, (const char *const[]){ "sigS", "list T1", "sigT T1", "core T1", "prop2 T1 same", NULL });
        assert_true(vb_ext_finished(l.d, 0));
    }
}

static void t2_different(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 1) {
        differ(&l, 0, 0);
        run(&l);
        assert_log(&l, (const char *const[]){ "sigS", "list T1", "sigT T1", "serialize", "propagate T1", "deserialize T1", "core T1",
                                              "prop2 T1 differs", NULL });
    }
}

static void t3_three(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 3) {
        differ(&l, 1, 0);
        differ(&l, 2, 0);
        run(&l);
        assert_int_equal(count(&l, "sigS"), 1);
        assert_int_equal(place(&l, "sigS"), 0);
        assert_int_equal(count(&l, "sigT"), 3);
        assert_int_equal(count(&l, "serialize"), 1);
        assert_int_equal(count(&l, "propagate"), 2);
        assert_int_equal(count(&l, "deserialize"), 2);
        assert_int_equal(count(&l, "deserialize T1"), 0);
        assert_int_equal(count(&l, "core"), 3);
        assert_true(place(&l, "serialize") < place(&l, "deserialize T2") && place(&l, "propagate T3") < place(&l, "deserialize T3"));
        assert_true(place(&l, "deserialize T2") < place(&l, "core T2") && place(&l, "core T2") < place(&l, "prop2 T2 differs"));
        place(&l, "prop2 T1 same");
        place(&l, "prop2 T3 differs");
        assert_int_equal(count(&l, "prop2"), 3);
        assert_int_equal(l.most, 1);
    }
}

static void t4_all_equal(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 3) {
        run(&l);
        assert_int_equal(count(&l, "serialize"), 0);
        assert_int_equal(count(&l, "propagate"), 0);
        assert_int_equal(count(&l, "core"), 3);
        assert_int_equal(count(&l, "prop2"), 3);
    }
}

static void t5_serialize_fails(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 3) {
        for (size_t t = 0; t < 3; t++)
            differ(&l, t, 0);
        l.fail_kind = VB_EXT_SERIALIZE;
        run(&l);
        assert_int_equal(count(&l, "serialize"), 1);
        assert_int_equal(count(&l, "deserialize") + count(&l, "prop2") + count(&l, "core") + count(&l, "propagate"), 0);
        assert_non_null(vb_ext_run_failure(l.d));
        assert_contains(vb_error_text(vb_ext_run_failure(l.d)), "writer 'rec': serialize: no luck");
        for (size_t t = 0; t < 3; t++)
            assert_non_null(vb_ext_failure(l.d, t));
    }
}

static void t6_propagate_fails(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 3) {
        for (size_t t = 0; t < 3; t++)
            differ(&l, t, 0);
        l.fail_kind = VB_EXT_PROPAGATE;
        l.fail_target = 1;
        run(&l);
        assert_int_equal(count(&l, "deserialize T2") + count(&l, "core T2") + count(&l, "prop2 T2"), 0);
        assert_true(vb_ext_finished(l.d, 0) && vb_ext_finished(l.d, 2) && !vb_ext_run_failure(l.d));
        assert_contains(vb_error_text(vb_ext_failure(l.d, 1)), "writer 'rec': propagate");
        assert_int_equal(count(&l, "prop2"), 2);
    }
}

static void t7_signatures_fail(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 3) {
        l.fail_kind = VB_EXT_TARGET_SIGNATURE;
        l.fail_target = 1;
        run(&l);
        assert_int_equal(count(&l, "core T2") + count(&l, "prop2 T2"), 0);
        assert_true(vb_ext_finished(l.d, 0) && vb_ext_finished(l.d, 2) && !vb_ext_finished(l.d, 1));
    }
    EACH_WAY(l, 3) {
        l.fail_kind = VB_EXT_SOURCE_SIGNATURE;
        run(&l);
        assert_log(&l, (const char *const[]){ "sigS", NULL });
        assert_contains(vb_error_text(vb_ext_run_failure(l.d)), "signature at the source");
    }
}

static void t8_deserialize_fails(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 3) {
        for (size_t t = 0; t < 3; t++)
            differ(&l, t, 0);
        l.fail_kind = VB_EXT_DESERIALIZE;
        l.fail_target = 2;
        run(&l);
        assert_int_equal(count(&l, "core T3") + count(&l, "prop2 T3"), 0);
        assert_int_equal(count(&l, "core"), 2);
        assert_contains(vb_error_text(vb_ext_failure(l.d, 2)), "deserialize");
    }
}

static void t9_propagate2_fails(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 2) {
        l.fail_kind = VB_EXT_PROPAGATE2;
        l.fail_target = 0;
        run(&l);
        assert_int_equal(count(&l, "core T1"), 1);
        assert_non_null(vb_ext_failure(l.d, 0));
        assert_true(vb_ext_finished(l.d, 1));
    }
}

static void core_fails(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 2) {
        l.fail_kind = VB_EXT_CORE;
        l.fail_target = 1;
        run(&l);
        assert_int_equal(count(&l, "prop2 T2"), 0);
        assert_string_equal(vb_error_text(vb_ext_failure(l.d, 1)), "no luck");
    }
}

static void t12_missing(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 2) {
        l.missing[1][0] = true;
        run(&l);
        assert_int_equal(count(&l, "sigT T2") + count(&l, "core T2") + count(&l, "prop2 T2"), 0);
        assert_contains(vb_error_text(vb_ext_failure(l.d, 1)), "writer 'rec' does not take part there");
        assert_true(vb_ext_finished(l.d, 0));
    }
    EACH_WAY(l, 2) {
        l.missing[1][0] = l.o.skip_missing = true;
        run(&l);
        assert_true(vb_ext_finished(l.d, 1) && vb_ext_missing(l.d, 1, 0) && !vb_ext_missing(l.d, 0, 0));
        assert_int_equal(count(&l, "sigT T2") + count(&l, "prop2 T2"), 0);
        assert_int_equal(count(&l, "core T2"), 1);
    }
}

/* The one that hangs is given up by whoever keeps the clock; the others do not wait for it, and it is not called again. */
static void t13_hangs(void **state)
{
    (void)state;
    struct lab l;
    struct vb_ext_action a, hanging = { .kind = VB_EXT_LIST };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    lab_init(&l, 3);
    for (size_t t = 0; t < 3; t++)
        differ(&l, t, 0);
    l.d = vb_ext_driver_new(l.writers, 1, 3, &l.o);
    while (vb_ext_next(l.d, VB_EXT_ANY, &a) == VB_EXT_DO) {
        started(&l, &a);
        if (a.kind == VB_EXT_DESERIALIZE && a.target == 1)
            hanging = a;
        else
            answer(&l, &a);
    }
    assert_true(vb_ext_finished(l.d, 0) && vb_ext_finished(l.d, 2));
    size_t before = l.log.n;
    assert_int_equal(hanging.kind, VB_EXT_DESERIALIZE);
    vb_fail(&e, VB_E_WRITER_TIMEOUT, "did not answer in time");
    vb_ext_done(l.d, &hanging, &e);
    assert_int_equal(vb_ext_next(l.d, VB_EXT_ANY, &a), VB_EXT_END);
    assert_int_equal(l.log.n, before);
    assert_contains(vb_error_text(vb_ext_failure(l.d, 1)), "deserialize: did not answer");
    lab_clear(&l);
}

static void t15_lengths(void **state)
{
    (void)state;
    static const struct { const char *s, *t; size_t sn, tn; bool differs; } cases[] = {
        { "", "", 0, 0, false }, { "ab", "ab\0", 2, 3, true }, { "ab", "ab", 2, 2, false }, { "", "x", 0, 1, true } };
    for (size_t i = 0; i < VB_COUNT(cases); i++) {
        struct lab l;
        lab_init(&l, 1);
        l.own[0] = cases[i].s;
        l.own_len[0] = cases[i].sn;
        l.theirs[0][0] = cases[i].t;
        l.their_len[0][0] = cases[i].tn;
        run(&l);
        assert_int_equal(vb_ext_differs(l.d, 0, 0), cases[i].differs);
        assert_int_equal(count(&l, "deserialize"), cases[i].differs);
        lab_clear(&l);
    }
}

static void dsn37_optional(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 2) { /* without signature it always differs; only what is there is called */
        l.writers[0].calls = 1u << VB_REPL_SERIALIZE;
        run(&l);
        assert_int_equal(count(&l, "sig") + count(&l, "propagate") + count(&l, "prop2"), 0);
        assert_int_equal(count(&l, "serialize"), 1);
        assert_int_equal(count(&l, "deserialize"), 2);
    }
    EACH_WAY(l, 1) { /* only the source has one */
        l.their_calls[0][0] = 0;
        run(&l);
        assert_log(&l, (const char *const[]){ "sigS", "list T1", "serialize", "propagate T1", "core T1", "prop2 T1 differs", NULL });
    }
    EACH_WAY(l, 2) { /* no writers at all */
        l.n_writers = 0;
        run(&l);
        assert_int_equal(l.log.n, 2);
        assert_int_equal(count(&l, "core"), 2);
    }
}

static void dsn40_two_writers(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 2) {
        l.n_writers = 2;
        differ(&l, 0, 0);
        differ(&l, 0, 1);
        differ(&l, 1, 1);
        run(&l);
        assert_int_equal(count(&l, "sigS"), 2);
        assert_int_equal(count(&l, "serialize"), 2);
        assert_int_equal(count(&l, "deserialize T1"), 2);
        assert_int_equal(count(&l, "deserialize T2"), 1);
        assert_true(place(&l, "deserialize T1 rec") < place(&l, "core T1") && place(&l, "deserialize T1 second") < place(&l, "core T1"));
        place(&l, "prop2 T2 same rec");
        place(&l, "prop2 T2 differs second");
    }
    EACH_WAY(l, 1) { /* the second's failure does not undo the first's */
        l.n_writers = 2;
        l.writers[0].calls &= ~(1u << VB_REPL_DESERIALIZE);
        l.their_calls[0][0] &= ~(1u << VB_REPL_DESERIALIZE);
        differ(&l, 0, 1);
        l.fail_kind = VB_EXT_DESERIALIZE;
        run(&l);
        assert_contains(vb_error_text(vb_ext_failure(l.d, 0)), "writer 'second': deserialize");
        assert_int_equal(count(&l, "core"), 0);
    }
}

static void dsn41_threads(void **state)
{
    (void)state;
    unsigned most = 0;
    for (unsigned seed = 0; seed < 50; seed++) {
        struct lab l;
        lab_init(&l, 6);
        l.at_once = true;
        l.seed = seed;
        l.writers[0].flags = VB_REPLICATION_THREAD_SAFE;
        for (size_t t = 0; t < 6; t++)
            differ(&l, t, 0);
        run(&l);
        assert_int_equal(count(&l, "serialize"), 1);
        most = l.most > most ? l.most : most;
        lab_clear(&l);
    }
    assert_true(most > 1);
}

static void dry_run(void **state)
{
    (void)state;
    struct lab l;
    EACH_WAY(l, 1) {
        differ(&l, 0, 0);
        l.o.dry_run = true;
        run(&l);
        assert_log(&l, (const char *const[]){ "sigS", "list T1", "sigT T1", "core T1", NULL });
        assert_true(vb_ext_finished(l.d, 0) && vb_ext_differs(l.d, 0, 0));
    }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("REPL-T1 one target, equal", t1_equal),
        CM_TEST("REPL-T2 one target, different", t2_different),
        CM_TEST("REPL-T3 three targets, two differ", t3_three),
        CM_TEST("REPL-T4 all equal", t4_all_equal),
        CM_TEST("REPL-T5 serialize fails: the run ends", t5_serialize_fails),
        CM_TEST("REPL-T6 propagate fails for one", t6_propagate_fails),
        CM_TEST("REPL-T7 signatures fail", t7_signatures_fail),
        CM_TEST("REPL-T8 deserialize fails on one", t8_deserialize_fails),
        CM_TEST("REPL-T9 propagate2 fails", t9_propagate2_fails),
        CM_TEST("IIS-15 the core copy fails: no propagate2", core_fails),
        CM_TEST("REPL-T12 a target lacks the writer", t12_missing),
        CM_TEST("REPL-T13 one target hangs", t13_hangs),
        CM_TEST("REPL-T15 signatures of length 0, and of other length", t15_lengths),
        CM_TEST("DSN-37 every call is optional", dsn37_optional),
        CM_TEST("DSN-40 two writers", dsn40_two_writers),
        CM_TEST("DSN-41 one call at a time unless thread safe", dsn41_threads),
        CM_TEST("T94 a dry run signs and does no more", dry_run),
    };
    return CM_RUN("extension", t);
}
