/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_metadata.c - each function of the metadata store as programs see it (rule book part 4). */
#include <config.h>
#include "tests/cm.h"
#include "tests/replica/metadata_lab.h"

static void versions_and_ticks(void **state)
{
    (void)state;
    struct vb_metadata *m = ml_open("a.db");
    struct vb_version v, w;
    assert_int_equal(vb_metadata_next_tick(m, &v), VB_E_BAD_STATE);
    assert_contains(vb_metadata_error(m), "transaction");
    ml_ok(m, vb_metadata_begin(m));
    assert_int_equal(vb_metadata_begin(m), VB_E_BAD_STATE);
    ml_ok(m, vb_metadata_next_tick(m, &v));
    ml_ok(m, vb_metadata_commit(m));
    const struct vb_replica_id id = *vb_metadata_id(m);
    vb_metadata_close(m);
    m = ml_open("a.db");
    assert_memory_equal(vb_metadata_id(m)->b, id.b, sizeof id.b);
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_next_tick(m, &w));
    assert_true(w.tick > v.tick);
    vb_metadata_rollback(m);
    char path[4200], *text = NULL;
    enum vb_code code;
    snprintf(path, sizeof path, "%s/a.db", scratch_path);
    assert_null(vb_metadata_open(path, NULL, &code, &text));
    assert_int_equal(code, VB_E_BUSY);
    assert_contains(text, "in use by process");
    free(text);
    vb_metadata_close(m);
}

static void knowledge_travels(void **state)
{
    (void)state;
    struct vb_metadata *m = ml_open("a.db");
    ml_put(m, "f", '1', 1);
    struct vb_knowledge *k = vb_metadata_knowledge(m);
    assert_int_equal(vb_knowledge_tick(k, vb_metadata_id(m)), 1);
    size_t n;
    void *bytes = vb_knowledge_save(k, &n);
    struct vb_knowledge *l = vb_knowledge_load(bytes, n);
    assert_true(vb_knowledge_equal(k, l));
    assert_null(vb_knowledge_load(bytes, n - 1));
    const struct vb_version other = { .replica.b = { 9 }, .tick = 7 };
    vb_knowledge_raise(l, &other);
    assert_true(vb_knowledge_covers(l, k));
    assert_false(vb_knowledge_covers(k, l));
    const char *f = "f";
    struct vb_knowledge *p = vb_knowledge_project(l, &f, 1);
    assert_true(vb_knowledge_contains(p, "f", &other));
    assert_false(vb_knowledge_contains(p, "g", &other));
    vb_knowledge_join(k, p);
    assert_int_equal(vb_knowledge_item_tick(k, "f", &other.replica), 7);
    /* stored once per batch; the forgotten part stays (MSS-8) */
    assert_int_equal(vb_metadata_set_knowledge(m, l, NULL), VB_E_BAD_STATE);
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_set_knowledge(m, l, NULL));
    ml_ok(m, vb_metadata_forget_to(m, &other));
    ml_ok(m, vb_metadata_commit(m));
    struct vb_knowledge *is = vb_metadata_knowledge(m), *forgotten = vb_metadata_forgotten(m);
    assert_true(vb_knowledge_equal(is, l));
    assert_int_equal(vb_knowledge_tick(forgotten, &other.replica), 7);
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_exclude_item(m, "f"));
    ml_ok(m, vb_metadata_commit(m));
    struct vb_knowledge *less = vb_metadata_knowledge(m);
    assert_false(vb_knowledge_contains(less, "f", &other));
    assert_true(vb_knowledge_contains(less, "g", &other));
    struct vb_knowledge *const all[] = { k, l, p, is, forgotten, less };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        vb_knowledge_free(all[i]);
    free(bytes);
    vb_metadata_close(m);
}

static void rows(void **state)
{
    (void)state;
    struct vb_metadata *m = ml_open("a.db");
    struct vb_metadata_item *i, f = ml_file("d/f", '1', 5);
    uint64_t live, dead;
    assert_int_equal(vb_metadata_find(m, "d/f", &i), VB_E_OBJECT_NOT_FOUND);
    assert_null(i);
    assert_true(ml_note(m, &f));
    f.mtime_ns = 6;
    assert_false(ml_note(m, &f)); /* a touch */
    ml_ok(m, vb_metadata_find(m, "d/f", &i));
    assert_string_equal(i->path, "d/f");
    assert_string_equal(i->owner, "u:g");
    assert_int_equal(i->changed.tick, 1);
    assert_int_equal(i->mtime_ns, 6);
    i->changed.tick = 900; /* as somebody else would have it */
    i->changed.replica.b[0] ^= 1;
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_save_item(m, i));
    f.path = "../f";
    assert_int_equal(vb_metadata_save_item(m, &f), VB_E_USAGE);
    ml_ok(m, vb_metadata_note_deleted(m, "d/f", "d/g"));
    ml_ok(m, vb_metadata_commit(m));
    free(i);
    assert_int_equal(ml_has(m, "d/f"), '-');
    ml_ok(m, vb_metadata_count(m, &live, &dead));
    assert_int_equal(live, 0);
    assert_int_equal(dead, 1);
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_drop_item(m, "d/f"));
    ml_ok(m, vb_metadata_commit(m));
    assert_int_equal(ml_has(m, "d/f"), 0);
    vb_metadata_close(m);
}

static int add_path(void *arg, const struct vb_metadata_item *i)
{
    char *all = arg;
    size_t n = strlen(all);
    snprintf(all + n, 64 - n, "%s", i->path);
    return 0;
}

static void delete_detector(void **state)
{
    (void)state;
    struct vb_metadata *m = ml_open("a.db");
    char left[64] = "";
    size_t n;
    unsigned char content[VB_HASH_LEN] = { '2' };
    ml_put(m, "a", '1', 1);
    ml_put(m, "b", '2', 1);
    ml_put(m, "c", '2', 1);
    ml_put(m, "d", '3', 1);
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_unreport_all(m));
    ml_ok(m, vb_metadata_report(m, "a"));
    assert_int_equal(vb_metadata_report(m, "nothing"), VB_E_OBJECT_NOT_FOUND);
    ml_ok(m, vb_metadata_report_content(m, content, &n));
    assert_int_equal(n, 2);
    ml_ok(m, vb_metadata_unreported(m, add_path, left));
    assert_string_equal(left, "d");
    ml_ok(m, vb_metadata_delete_unreported(m, &n));
    assert_int_equal(n, 1);
    ml_ok(m, vb_metadata_commit(m));
    assert_int_equal(ml_has(m, "d"), '-');
    assert_int_equal(ml_has(m, "b"), '2');
    vb_metadata_close(m);
}

static bool cleanup(struct vb_metadata *m, int64_t interval)
{
    bool done;
    ml_ok(m, vb_metadata_begin(m));
    ml_ok(m, vb_metadata_cleanup(m, (uint64_t)interval, &done));
    ml_ok(m, vb_metadata_commit(m));
    return done;
}

static uint64_t forgotten(struct vb_metadata *m)
{
    struct vb_knowledge *f = vb_metadata_forgotten(m);
    uint64_t tick = vb_knowledge_tick(f, vb_metadata_id(m));
    vb_knowledge_free(f);
    return tick;
}

static uint64_t tombstones(struct vb_metadata *m)
{
    uint64_t live, dead;
    ml_ok(m, vb_metadata_count(m, &live, &dead));
    return dead;
}

static void clean_up(void **state)
{
    (void)state;
    struct vb_metadata *m = ml_open("a.db");
    bool done;
    ml_put(m, "first", '1', 1);
    ml_put(m, "second", '1', 1);
    ml_now += 5 * DAY;
    ml_delete(m, "first", NULL); /* day -5 */
    ml_now += 5 * DAY;
    assert_int_equal(vb_metadata_cleanup(m, 20 * DAY, &done), VB_E_BAD_STATE); /* a transaction is needed (MSS-27) */
    assert_false(cleanup(m, 20 * DAY)); /* day 0 */
    ml_now += 2 * DAY;
    ml_delete(m, "second", NULL);
    ml_now += 8 * DAY;
    assert_false(cleanup(m, 20 * DAY)); /* day 10 */
    assert_int_equal(tombstones(m), 2);
    ml_now += 14 * DAY;
    assert_true(cleanup(m, 20 * DAY)); /* day 24 */
    assert_int_equal(tombstones(m), 1);
    assert_int_equal(forgotten(m), 3);
    ml_now += 20 * DAY;
    assert_true(cleanup(m, 20 * DAY)); /* day 44 */
    assert_int_equal(tombstones(m), 0);
    assert_int_equal(forgotten(m), 4);
    ml_put(m, "third", '1', 1);
    ml_delete(m, "third", NULL);
    assert_true(cleanup(m, 0));
    assert_int_equal(tombstones(m), 0);
    vb_metadata_close(m);
}

static bool not_b(void *arg, const struct vb_metadata_item *i)
{
    (void)arg;
    return strcmp(i->path, "b") != 0;
}

static void enumeration(void **state)
{
    (void)state;
    struct vb_metadata *a = ml_open("a.db"), *b = ml_open("b.db");
    struct vb_metadata_result r;
    ml_put(a, "a", '1', 1);
    ml_put(a, "b", '2', 1);
    ml_put(a, "c", '3', 1);
    ml_delete(a, "c", NULL);
    struct vb_metadata_session *s = vb_metadata_session_begin(a), *d = vb_metadata_session_begin(b);
    size_t wished;
    struct vb_knowledge *known = vb_metadata_session_parameters(d, &wished);
    assert_true(wished > 0);
    struct vb_metadata_batch *x = vb_metadata_changes(s, known, 2);
    assert_int_equal(vb_metadata_batch_count(x), 2);
    assert_false(vb_metadata_batch_last(x));
    assert_int_equal(vb_knowledge_tick(vb_metadata_batch_knowledge(x), vb_metadata_id(a)), 4);
    assert_true(vb_knowledge_is_empty(vb_metadata_batch_forgotten(x)));
    struct vb_version here[2];
    ml_ok(b, vb_metadata_versions(d, x, here));
    assert_int_equal(here[0].tick, 0);
    ml_ok(b, vb_metadata_process(d, x, NULL, NULL));
    ml_ok(b, vb_metadata_versions(d, x, here));
    assert_int_equal(here[0].tick, vb_metadata_batch_item(x, 0)->changed.tick);
    assert_int_equal(vb_metadata_process_full(d, x, NULL, NULL), VB_E_BAD_STATE);
    vb_metadata_batch_free(x);
    x = vb_metadata_changes(s, known, 2);
    assert_int_equal(vb_metadata_batch_count(x), 1);
    assert_true(vb_metadata_batch_last(x));
    ml_ok(b, vb_metadata_process(d, x, NULL, NULL));
    vb_metadata_batch_free(x);
    vb_knowledge_free(known);
    vb_metadata_session_end(s);
    vb_metadata_session_end(d);
    assert_int_equal(ml_has(b, "a"), '1');
    assert_int_equal(ml_has(b, "c"), '-');
    ml_ok(b, ml_pass(a, b, 1, false, NULL, &r));
    assert_int_equal(r.applied + r.dropped, 0); /* known: nothing is sent (MSS-6) */
    r = ml_go(b, a);
    assert_int_equal(r.applied + r.dropped, 0); /* and nothing echoes */
    vb_metadata_close(a);
    vb_metadata_close(b);
}

static void filtered(void **state)
{
    (void)state;
    struct vb_metadata *a = ml_open("a.db"), *b = ml_open("b.db");
    ml_put(a, "a", '1', 1);
    ml_put(a, "b", '2', 1);
    struct vb_metadata_session *s = vb_metadata_session_begin(a), *d = vb_metadata_session_begin(b);
    struct vb_knowledge *known = vb_metadata_session_parameters(d, NULL);
    struct vb_metadata_batch *x = vb_metadata_filtered_changes(s, known, 0, not_b, NULL);
    assert_int_equal(vb_metadata_batch_count(x), 1);
    ml_ok(b, vb_metadata_process(d, x, NULL, NULL));
    vb_metadata_batch_free(x);
    vb_knowledge_free(known);
    vb_metadata_session_end(s);
    vb_metadata_session_end(d);
    assert_int_equal(ml_has(b, "b"), 0);
    struct vb_metadata_result r = ml_go(a, b); /* what was kept out was not learnt (MSS-14) */
    assert_int_equal(r.applied, 1);
    assert_int_equal(ml_has(b, "b"), '2');
    vb_metadata_close(a);
    vb_metadata_close(b);
}

static enum vb_code fails_once(void *arg, enum vb_decision what, const struct vb_metadata_item *local, const struct vb_metadata_item *in)
{
    (void)what, (void)local;
    return !strcmp(in->path, "a") && ++*(int *)arg == 1 ? VB_E_NO_SPACE : VB_OK;
}

static void recoverable_errors(void **state)
{
    (void)state;
    struct vb_metadata *a = ml_open("a.db"), *b = ml_open("b.db");
    int calls = 0;
    struct vb_metadata_saver saver = VB_METADATA_SAVER_INIT;
    struct vb_metadata_result r;
    saver.save = fails_once;
    saver.arg = &calls;
    ml_put(a, "a", '1', 1);
    ml_put(a, "b", '2', 1);
    ml_ok(b, ml_pass(a, b, 0, false, &saver, &r));
    assert_int_equal(r.failed, 1);
    assert_int_equal(r.applied, 1);
    ml_ok(b, ml_pass(a, b, 0, false, &saver, &r));
    assert_int_equal(r.applied, 1); /* exactly that one */
    assert_int_equal(ml_has(b, "a"), '1');
    vb_metadata_close(a);
    vb_metadata_close(b);
}

static enum vb_conflict_policy ask(void *arg, const struct vb_metadata_item *local, const struct vb_metadata_item *in)
{
    assert_string_equal(local->path, in->path);
    return *(enum vb_conflict_policy *)arg;
}

static void conflicts(void **state)
{
    (void)state;
    static const struct { enum vb_conflict_policy p; char here; } cases[] = {
        { VB_POLICY_BOTH, 'B' }, { VB_POLICY_SOURCE, 'A' }, { VB_POLICY_TARGET, 'B' }, { VB_POLICY_DEFER, 'B' } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char an[16], bn[16];
        snprintf(an, sizeof an, "a%zu.db", i);
        snprintf(bn, sizeof bn, "b%zu.db", i);
        struct vb_metadata *a = ml_open(an), *b = ml_open(bn);
        struct vb_metadata_result r;
        enum vb_conflict_policy p = cases[i].p;
        struct vb_metadata_saver saver = VB_METADATA_SAVER_INIT;
        saver.resolve = ask;
        saver.arg = &p;
        ml_put(a, "f", '1', 1);
        ml_go(a, b);
        ml_put(a, "f", 'A', 10);
        ml_put(b, "f", 'B', 20); /* the later one */
        ml_ok(b, ml_pass(a, b, 0, false, &saver, &r));
        assert_int_equal(ml_has(b, "f"), cases[i].here);
        assert_int_equal(r.deferred, p == VB_POLICY_DEFER);
        assert_int_equal(r.conflicts, p != VB_POLICY_DEFER);
        assert_int_equal(r.minted, p != VB_POLICY_DEFER); /* a resolution is a version of its own (DSN-18) */
        if (p != VB_POLICY_DEFER) {
            ml_go(b, a);
            assert_int_equal(ml_has(a, "f"), cases[i].here);
            r = ml_go(a, b);
            assert_int_equal(r.applied + r.conflicts, 0);
        }
        vb_metadata_close(a);
        vb_metadata_close(b);
    }
}

static int count_one(void *arg, const struct vb_metadata_item *i)
{
    (void)i;
    ++*(size_t *)arg;
    return 0;
}

static enum vb_code note_erased(void *arg, const struct vb_metadata_item *i)
{
    add_path(arg, i);
    return VB_OK;
}

static void recovery(void **state)
{
    (void)state;
    struct vb_metadata *a = ml_open("a.db"), *b = ml_open("b.db");
    struct vb_metadata_saver saver = VB_METADATA_SAVER_INIT;
    struct vb_metadata_result r;
    char erased[64] = "";
    saver.erase = note_erased;
    saver.arg = erased;
    ml_put(a, "f", '1', 1);
    ml_put(a, "m", '1', 1);
    ml_put(a, "z", '1', 1);
    ml_go(a, b);
    ml_put(b, "n", 'B', 5);  /* made while away */
    ml_put(b, "m", 'B', 5);  /* edited; deleted and forgotten there */
    ml_delete(a, "f", NULL);
    ml_delete(a, "m", NULL);
    assert_true(cleanup(a, 0));
    /* stale: cancelled, unless something else is chosen (MSS-32) */
    assert_int_equal(ml_pass(a, b, 0, false, &saver, &r), VB_E_STALE);
    assert_int_equal(ml_has(b, "f"), '1');
    saver.recovery = VB_RECOVERY_FULL;
    assert_int_equal(ml_pass(a, b, 0, false, &saver, &r), VB_E_STALE);
    assert_true(r.wants_full);
    saver.recovery = VB_RECOVERY_PARTIAL;
    ml_put(a, "p", '1', 1);
    ml_ok(b, ml_pass(a, b, 0, false, &saver, &r));
    assert_int_equal(ml_has(b, "p"), '1');
    saver.recovery = VB_RECOVERY_CANCEL;
    assert_int_equal(ml_pass(a, b, 0, false, &saver, &r), VB_E_STALE); /* still (MSS-35) */
    /* the range of a batch, and what the destination has in it */
    struct vb_metadata_session *s = vb_metadata_session_begin(a), *d = vb_metadata_session_begin(b);
    struct vb_metadata_batch *x = vb_metadata_full_changes(s, NULL, 1);
    const char *from, *to;
    size_t n = 0;
    vb_metadata_batch_range(x, &from, &to);
    assert_string_equal(from, "");
    assert_string_equal(to, "z");
    ml_ok(b, vb_metadata_full_versions(d, x, count_one, &n));
    assert_int_equal(n, 4); /* f m n p */
    vb_metadata_batch_free(x);
    vb_metadata_session_end(s);
    vb_metadata_session_end(d);
    ml_ok(b, ml_pass(a, b, 1, true, &saver, &r));
    assert_string_equal(erased, "f");
    assert_int_equal(ml_has(b, "f"), 0); /* no tombstone */
    assert_int_equal(ml_has(b, "n"), 'B');
    assert_int_equal(ml_has(b, "m"), 'B');
    struct vb_knowledge *ka = vb_metadata_knowledge(a), *kb = vb_metadata_knowledge(b), *fb = vb_metadata_forgotten(b);
    assert_true(vb_knowledge_covers(kb, ka));
    assert_false(vb_metadata_is_stale(fb, kb, false));
    assert_true(vb_knowledge_tick(fb, vb_metadata_id(a)) > 0);
    vb_knowledge_free(ka);
    vb_knowledge_free(kb);
    vb_knowledge_free(fb);
    r = ml_go(a, b);
    assert_int_equal(r.applied, 0);
    ml_go(b, a);
    assert_int_equal(ml_has(a, "n"), 'B');
    assert_int_equal(ml_has(a, "m"), 'B');
    vb_metadata_close(a);
    vb_metadata_close(b);
}

static void interrupted_recovery(void **state)
{
    (void)state;
    struct vb_metadata *a = ml_open("a.db"), *b = ml_open("b.db");
    struct vb_metadata_result r;
    ml_put(a, "a", '1', 1);
    ml_put(a, "c", '1', 1);
    ml_put(a, "y", '1', 1);
    ml_put(a, "z", '1', 1);
    ml_go(a, b);
    ml_delete(a, "c", NULL);
    ml_delete(a, "y", NULL);
    assert_true(cleanup(a, 0));
    struct vb_metadata_session *s = vb_metadata_session_begin(a), *d = vb_metadata_session_begin(b);
    struct vb_metadata_batch *x = vb_metadata_full_changes(s, NULL, 1); /* [first, z): the second batch never comes */
    const char *from, *to;
    vb_metadata_batch_range(x, &from, &to);
    assert_string_equal(to, "z");
    ml_ok(b, vb_metadata_process_full(d, x, NULL, NULL));
    vb_metadata_batch_free(x);
    vb_metadata_session_end(s);
    vb_metadata_session_end(d);
    assert_int_equal(ml_has(b, "z"), '1'); /* an unfinished range loses nothing */
    assert_int_equal(ml_pass(a, b, 0, false, NULL, &r), VB_E_STALE); /* the whole is learnt at the end only (MSS-36) */
    ml_ok(b, ml_pass(a, b, 1, true, NULL, &r));
    ml_ok(b, ml_pass(a, b, 0, false, NULL, &r));
    assert_int_equal(ml_has(b, "y"), 0);
    vb_metadata_close(a);
    vb_metadata_close(b);
}

static void an_old_copy(void **state)
{
    (void)state;
    struct vb_metadata *a = ml_open("a.db"), *b = ml_open("b.db");
    struct vb_metadata_result r;
    const struct vb_replica_id was = *vb_metadata_id(b);
    ml_put(b, "f", '1', 1);
    ml_go(b, a);
    struct vb_version far = { was, 5000000 };
    ml_ok(a, vb_metadata_begin(a));
    struct vb_knowledge *k = vb_metadata_knowledge(a);
    vb_knowledge_raise(k, &far); /* somebody knows more of B than B does */
    ml_ok(a, vb_metadata_set_knowledge(a, k, NULL));
    ml_ok(a, vb_metadata_commit(a));
    vb_knowledge_free(k);
    assert_int_equal(ml_pass(a, b, 0, false, NULL, &r), VB_E_BUSY);
    assert_memory_not_equal(vb_metadata_id(b)->b, was.b, sizeof was.b);
    ml_ok(b, ml_pass(a, b, 0, false, NULL, &r));
    vb_metadata_close(a);
    vb_metadata_close(b);
}

int main(void)
{
#define T(name, fn) { name, fn, scratch_start, scratch_end, NULL }
    const struct CMUnitTest t[] = {
        T("REPL-MSS-5 REPL-MSS-38 GetReplicaId, GetNextTickCount, one process", versions_and_ticks),
        T("REPL-MSS-42 Get/SetKnowledge, ForgetToVersion, exclude one item", knowledge_travels),
        T("REPL-MSS-20 REPL-MSS-21 items found, saved, deleted, dropped", rows),
        T("REPL-MSS-22 MarkAllItemsUnreported, ReportLiveItem, FindUnreportedItems", delete_detector),
        T("REPL-T35 REPL-T36 REPL-MSS-25 CleanupDeletedItems through the library", clean_up),
        T("REPL-MSS-1 REPL-MSS-2 GetChangeBatch, GetItemBatchVersions, ProcessChangeBatch", enumeration),
        T("REPL-MSS-14 GetFilteredChangeBatch learns item by item", filtered),
        T("REPL-MSS-9 what failed for now comes with the next session", recoverable_errors),
        T("REPL-MSS-16 REPL-MSS-18 conflicts are asked for, and settled", conflicts),
        T("REPL-MSS-30 REPL-MSS-34 full enumeration, partial recovery, cancel by default", recovery),
        T("REPL-MSS-36 an interrupted full enumeration learns nothing whole", interrupted_recovery),
        T("REPL-DSN-10 a peer that knows more of us: a new identity", an_old_copy),
    };
    return CM_RUN("metadata", t);
}
