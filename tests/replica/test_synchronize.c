/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_synchronize.c - agent, synchronizer, collector and state, through the public header (rule book part 2). */
#include <config.h>
#include "tests/cm.h"
#include "tests/replica/metadata_lab.h"

/* One direction between two stores: the pair of ICS-13, each store's own state. */
struct side {
    struct vb_metadata *m;
    struct vb_synchronizer *x;
    struct vb_collector *c;
    struct vb_sync_state *state;
};

static struct side side_open(const char *name, enum vb_sync_kind kind, const struct vb_metadata_saver *saver)
{
    struct side s = { .m = ml_open(name) };
    s.x = vb_synchronizer_open(s.m);
    s.c = vb_collector_open(s.m, saver);
    s.state = vb_sync_state_new(kind);
    return s;
}

static void side_close(struct side *s)
{
    vb_synchronizer_close(s->x);
    vb_collector_close(s->c);
    vb_sync_state_free(s->state);
    vb_metadata_close(s->m);
}

static struct vb_synchronizer_setup setup_of(const struct side *from, const struct side *to, unsigned flags)
{
    return (struct vb_synchronizer_setup){ .size = sizeof(struct vb_synchronizer_setup), .state = from->state, .flags = flags,
                                           .collector = vb_collector_functions(), .collector_arg = to->c };
}

/* All steps of one synchronization; *sent: how many changes. */
static int run(struct side *from, struct side *to, unsigned flags, uint64_t *sent)
{
    const struct vb_synchronizer_setup set = setup_of(from, to, flags);
    uint64_t steps = 0, done = 0;
    int r = set.collector->config(to->c, to->state, flags);
    if (r == VB_SYNC_DONE)
        r = vb_synchronizer_config(from->x, &set);
    while (r == VB_SYNC_DONE || r == VB_SYNC_MORE) {
        r = vb_synchronizer_synchronize(from->x, &steps, &done);
        if (r == VB_SYNC_DONE || r == VB_SYNC_MORE || r == VB_SYNC_CONFLICT) {
            assert_int_equal(vb_synchronizer_update_state(from->x, NULL), VB_SYNC_DONE);
            assert_int_equal(set.collector->update_state(to->c, NULL), VB_SYNC_DONE);
        }
        if (r != VB_SYNC_MORE)
            break;
    }
    if (sent)
        *sent = done;
    return r;
}

static void loop_and_state(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    uint64_t steps, done;
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_UNSYNCHRONIZED);
    struct vb_synchronizer_setup set = setup_of(&a, &b, 0);
    set.collector = NULL;
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_FAILED);
    assert_contains(vb_synchronizer_error(a.x), "collector");
    for (char c = 'a'; c <= 'e'; c++) {
        const char name[] = { c, 0 };
        ml_put(a.m, name, c, 1);
    }
    set = setup_of(&a, &b, 0);
    set.step = 2;
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_UNSYNCHRONIZED); /* the collector was not configured */
    set.collector->config(b.c, b.state, 0);
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_MORE);
    assert_int_equal(steps, 5);
    assert_int_equal(done, 2);
    /* a checkpoint: another state, to resume from; the one of config is as it was */
    struct vb_sync_state *point = vb_sync_state_new(VB_SYNC_CONTENTS), *wrong = vb_sync_state_new(VB_SYNC_HIERARCHY);
    assert_int_equal(vb_synchronizer_update_state(a.x, point), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_update_state(a.x, wrong), VB_SYNC_FAILED);
    size_t n;
    void *bytes = vb_sync_state_save(point, &n);
    vb_sync_state_free(point);
    assert_null(vb_sync_state_load(bytes, 1));
    point = vb_sync_state_load(bytes, n);
    assert_non_null(point);
    set.state = point;
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_MORE);
    assert_int_equal(steps, 3); /* the two are not sent again (ICS-34) */
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_update_state(a.x, NULL), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "e"), 'e');
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_DONE);
    assert_int_equal(steps, 0);
    free(bytes);
    vb_sync_state_free(point);
    vb_sync_state_free(wrong);
    side_close(&a);
    side_close(&b);
}

static void flags(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    uint64_t sent;
    ml_put(a.m, "f", '1', 1);
    ml_put(a.m, "g", '1', 1);
    assert_int_equal(run(&a, &b, VB_SYNC_UNICODE, &sent), VB_SYNC_DONE);
    assert_int_equal(sent, 2);
    assert_int_equal(run(&a, &b, 0x8, NULL), VB_SYNC_FAILED); /* read state */
    assert_contains(vb_synchronizer_error(a.x), "not carried over");
    /* deletions stay away, and come when the flag is gone */
    ml_delete(a.m, "f", NULL);
    assert_int_equal(run(&a, &b, VB_SYNC_NO_DELETIONS, &sent), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "f"), '1');
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "f"), '-');
    /* hidden ones and others */
    ml_put(a.m, ".h", '1', 1);
    ml_put(a.m, "n", '1', 1);
    assert_int_equal(run(&a, &b, VB_SYNC_NORMAL, &sent), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, ".h"), 0);
    assert_int_equal(ml_has(b.m, "n"), '1');
    assert_int_equal(run(&a, &b, VB_SYNC_ASSOCIATED, &sent), VB_SYNC_DONE);
    assert_int_equal(sent, 1);
    assert_int_equal(ml_has(b.m, ".h"), '1');
    /* catch-up: the state advances, nothing is sent */
    ml_put(a.m, "late", '1', 1);
    assert_int_equal(run(&a, &b, VB_SYNC_CATCHUP, &sent), VB_SYNC_DONE);
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE);
    assert_int_equal(sent, 0);
    assert_int_equal(ml_has(b.m, "late"), 0);
    /* progress in bytes */
    struct vb_metadata_item big = ml_file("big", 'b', 1);
    big.bytes = 5000;
    ml_note(a.m, &big);
    assert_int_equal(run(&a, &b, VB_SYNC_PROGRESS, &sent), VB_SYNC_DONE);
    assert_int_equal(sent, 5000);
    /* fields: a change of mode alone does not interest */
    big.mode = 0600;
    ml_note(a.m, &big);
    struct vb_synchronizer_setup set = setup_of(&a, &b, VB_SYNC_ONLY_FIELDS);
    set.fields = VB_FIELD_CONTENT;
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    uint64_t steps;
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, NULL), VB_SYNC_DONE);
    assert_int_equal(steps, 0);
    side_close(&a);
    side_close(&b);
}

static bool in_public(void *arg, const struct vb_metadata_item *i)
{
    (void)arg;
    return i->mode & 4;
}

static void restriction(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    struct vb_metadata_item f = ml_file("f", '1', 1), g = ml_file("g", '1', 1);
    g.mode = 0600;
    ml_note(a.m, &f);
    ml_note(a.m, &g);
    struct vb_synchronizer_setup set = setup_of(&a, &b, 0);
    set.restriction = in_public;
    set.collector->config(b.c, b.state, 0);
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_DONE);
    vb_synchronizer_update_state(a.x, NULL);
    assert_int_equal(ml_has(b.m, "f"), '1');
    assert_int_equal(ml_has(b.m, "g"), 0);
    /* it leaves the restriction: gone there, and no tombstone; kept with the flag (ICS-36) */
    f.mode = 0600;
    ml_note(a.m, &f);
    set.flags = VB_SYNC_NO_SOFT_DELETIONS;
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "f"), '1');
    set.flags = 0;
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_DONE);
    vb_synchronizer_update_state(a.x, NULL);
    assert_int_equal(ml_has(b.m, "f"), 0);
    f.mode = 0644; /* and back */
    ml_note(a.m, &f);
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "f"), '1');
    side_close(&a);
    side_close(&b);
}

static void hierarchy_first(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_HIERARCHY, NULL), b = side_open("b.db", VB_SYNC_HIERARCHY, NULL);
    struct vb_sync_state *ca = vb_sync_state_new(VB_SYNC_CONTENTS);
    uint64_t sent;
    ml_dir(a.m, "d/e");
    ml_dir(a.m, "d"); /* known later than what lies in it */
    ml_put(a.m, "d/e/f", '1', 1);
    struct vb_synchronizer_setup set = setup_of(&a, &b, 0);
    set.state = ca;
    set.collector->config(b.c, NULL, 0);
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_NO_PARENT);
    assert_contains(vb_synchronizer_error(a.x), "d/e/f");
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE);
    assert_int_equal(sent, 2);
    assert_int_equal(ml_has(b.m, "d/e"), '/');
    /* held, not lost: the same step again (ICS-9) */
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, NULL, NULL), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "d/e/f"), '1');
    vb_sync_state_free(ca);
    side_close(&a);
    side_close(&b);
}

static void imports(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    const struct vb_collector_ops *c = vb_collector_functions();
    struct vb_metadata_item *f, *g;
    ml_put(a.m, "f", '1', 1);
    ml_put(b.m, "other", '1', 1);
    ml_ok(a.m, vb_metadata_find(a.m, "f", &f));
    struct vb_knowledge *ka = vb_metadata_knowledge(a.m);
    assert_int_equal(c->import_change(b.c, f, ka, 0), VB_SYNC_UNSYNCHRONIZED);
    c->config(b.c, b.state, 0);
    assert_int_equal(c->import_change(b.c, f, ka, 0), VB_SYNC_DONE);
    assert_int_equal(c->import_change(b.c, f, ka, 0), VB_SYNC_DONE); /* known: success (ICS-22) */
    ml_delete(b.m, "f", NULL);
    assert_int_equal(c->import_change(b.c, f, ka, 0), VB_SYNC_OBJECT_DELETED);
    assert_int_equal(ml_has(b.m, "f"), '-');
    /* deletion of what is deleted, and of what was never seen (ICS-26, ICS-27) */
    ml_put(a.m, "never", '1', 1);
    ml_ok(a.m, vb_metadata_find(a.m, "never", &g));
    ml_delete(a.m, "never", NULL);
    struct vb_metadata_item *dead;
    ml_ok(a.m, vb_metadata_find(a.m, "never", &dead));
    vb_knowledge_free(ka);
    ka = vb_metadata_knowledge(a.m);
    const struct vb_metadata_item *const list[] = { dead };
    assert_int_equal(c->import_deletion(b.c, 0, list, 1, ka), VB_SYNC_DONE);
    assert_int_equal(c->import_deletion(b.c, 0, list, 1, ka), VB_SYNC_DONE);
    /* the late change does not bring it to life: the tombstone supersedes it */
    struct vb_knowledge *early = vb_knowledge_new();
    vb_knowledge_raise(early, &g->changed);
    struct vb_metadata_session *s = vb_metadata_session_begin(b.m);
    struct vb_knowledge *kb = vb_metadata_session_parameters(s, NULL);
    vb_metadata_session_end(s);
    assert_true(vb_knowledge_contains(kb, "never", &g->changed));
    assert_int_equal(c->import_change(b.c, g, early, 0), VB_SYNC_OBJECT_DELETED);
    /* below itself */
    const struct vb_metadata_item d = { .size = sizeof d, .kind = VB_ITEM_DIR, .path = "d" };
    struct vb_metadata_item in = d;
    in.path = "d/x";
    assert_int_equal(c->import_move(b.c, &d, &in, ka), VB_SYNC_INCEST);
    assert_contains(c->last_error(b.c), "below itself");
    vb_knowledge_free(early);
    vb_knowledge_free(kb);
    vb_knowledge_free(ka);
    free(f);
    free(g);
    free(dead);
    side_close(&a);
    side_close(&b);
}

static void moves(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    uint64_t sent;
    ml_put(a.m, "old", '1', 1);
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE);
    ml_put(a.m, "new", '1', 1);
    ml_delete(a.m, "old", "new");
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE);
    assert_int_equal(ml_has(b.m, "old"), '-');
    assert_int_equal(ml_has(b.m, "new"), '1');
    /* the target has a newer one (ICS-29) */
    ml_put(a.m, "third", '1', 1);
    ml_delete(a.m, "new", "third");
    ml_put(b.m, "third", 'B', 9);
    const struct vb_collector_ops *c = vb_collector_functions();
    struct vb_metadata_item *from, *to;
    ml_ok(a.m, vb_metadata_find(a.m, "new", &from));
    ml_ok(a.m, vb_metadata_find(a.m, "third", &to));
    struct vb_knowledge *ka = vb_metadata_knowledge(a.m);
    assert_int_equal(c->import_move(b.c, from, to, ka), VB_SYNC_NEWER_HERE);
    assert_int_equal(ml_has(b.m, "third"), 'B');
    assert_int_equal(ml_has(b.m, "new"), '-');
    vb_knowledge_free(ka);
    free(from);
    free(to);
    side_close(&a);
    side_close(&b);
}

static void conflicts(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    uint64_t sent;
    ml_put(a.m, "f", '1', 1);
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE);
    ml_put(a.m, "f", 'A', 10);
    ml_put(b.m, "f", 'B', 20);
    ml_put(a.m, "g", '1', 1);
    assert_int_equal(run(&a, &b, VB_SYNC_NO_CONFLICTS, &sent), VB_SYNC_CONFLICT); /* reported, nothing changed; the rest goes on (ICS-23) */
    assert_int_equal(ml_has(b.m, "f"), 'B');
    assert_int_equal(ml_has(b.m, "g"), '1');
    assert_int_equal(run(&a, &b, 0, &sent), VB_SYNC_DONE); /* resolved: the later one */
    assert_int_equal(sent, 1);
    assert_int_equal(ml_has(b.m, "f"), 'B');
    assert_int_equal(run(&b, &a, 0, &sent), VB_SYNC_DONE);
    assert_int_equal(ml_has(a.m, "f"), 'B');
    side_close(&a);
    side_close(&b);
}

static size_t saved;
static void save(void *arg, size_t which, const struct vb_sync_state *s)
{
    size_t n;
    void *p = vb_sync_state_save(s, &n);
    (void)arg, (void)which;
    assert_true(n > 2);
    free(p);
    saved++;
}

static void two_ways(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL), b = side_open("b.db", VB_SYNC_CONTENTS, NULL);
    struct vb_sync_agent *agent = vb_sync_agent_new(save, NULL);
    struct vb_synchronizer_setup ab = setup_of(&a, &b, 0), ba = setup_of(&b, &a, 0);
    ab.step = ba.step = 1;
    assert_int_equal(vb_sync_agent_add(agent, a.x, &ab, b.state), 0);
    assert_int_equal(vb_sync_agent_add(agent, b.x, &ba, a.state), 1);
    ml_put(a.m, "a1", '1', 1);
    ml_put(a.m, "a2", '1', 1);
    ml_put(b.m, "b1", '1', 1);
    assert_int_equal(vb_sync_agent_run(agent, 1), VB_SYNC_MORE); /* stopped after a step, and gone on (ICS-10) */
    assert_int_equal(vb_sync_agent_run(agent, 0), VB_SYNC_DONE);
    assert_true(saved >= 3);
    assert_int_equal(ml_has(b.m, "a2"), '1');
    assert_int_equal(ml_has(a.m, "b1"), '1');
    /* nothing comes back (ICS-12, ICS-35) */
    uint64_t steps;
    for (int i = 0; i < 2; i++) {
        struct side *s = i ? &b : &a;
        assert_int_equal(vb_synchronizer_config(s->x, i ? &ba : &ab), VB_SYNC_DONE);
        assert_int_equal(vb_synchronizer_synchronize(s->x, &steps, NULL), VB_SYNC_DONE);
        assert_int_equal(steps, 0);
    }
    ml_put(b.m, "b2", '1', 1);
    assert_int_equal(vb_sync_agent_run(agent, 0), VB_SYNC_DONE); /* periodically, the same one (ICS-6) */
    assert_int_equal(ml_has(a.m, "b2"), '1');
    vb_sync_agent_free(agent);
    side_close(&a);
    side_close(&b);
}

static int refuse(void *arg, const struct vb_metadata_item *i, const struct vb_knowledge *k, unsigned fields)
{
    (void)k, (void)fields;
    int *calls = arg;
    ++*calls;
    return !strcmp(i->path, "skip") ? VB_SYNC_IGNORE : *calls < 3 ? VB_SYNC_FAILED : VB_SYNC_DONE;
}

static void a_collector_of_ones_own(void **state)
{
    (void)state;
    struct side a = side_open("a.db", VB_SYNC_CONTENTS, NULL);
    static const struct vb_collector_ops ops = { .size = sizeof ops, .import_change = refuse };
    int calls = 0;
    uint64_t steps, done;
    struct vb_synchronizer_setup set = setup_of(&a, &a, 0);
    set.collector = &ops;
    set.collector_arg = &calls;
    ml_put(a.m, "f", '1', 1);
    ml_put(a.m, "skip", '1', 1);
    assert_int_equal(vb_synchronizer_config(a.x, &set), VB_SYNC_DONE);
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_FAILED);
    assert_int_equal(done, 0); /* held: the state is as it was */
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_FAILED);
    assert_int_equal(vb_synchronizer_synchronize(a.x, &steps, &done), VB_SYNC_DONE);
    assert_int_equal(done, 2); /* ignored is done */
    side_close(&a);
}

int main(void)
{
#define T(name, fn) { name, fn, scratch_start, scratch_end, NULL }
    const struct CMUnitTest t[] = {
        T("REPL-ICS-7 REPL-ICS-8 REPL-ICS-34 Config, Synchronize, UpdateState, checkpoints", loop_and_state),
        T("REPL-ICS-2.2 flags: no deletions, hidden, catch-up, progress, fields", flags),
        T("REPL-ICS-36 a restriction, and what leaves it", restriction),
        T("REPL-ICS-15 hierarchy first; a step that fails is held", hierarchy_first),
        T("REPL-ICS-22 REPL-ICS-26 REPL-ICS-27 results of imports", imports),
        T("REPL-ICS-16 REPL-ICS-29 moves", moves),
        T("REPL-ICS-23 REPL-ICS-24 conflicts reported or resolved", conflicts),
        T("REPL-ICS-11 REPL-ICS-12 one agent, two ways, no echo", two_ways),
        T("REPL-ICS-9 REPL-ICS-19 a collector of one's own: held and ignored", a_collector_of_ones_own),
    };
    return CM_RUN("synchronize", t);
}
