/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/test_executor.c - one rule of failure at a time: real requester and sessions, and a mishap where the
 * rule speaks of one.
 *
 * The stage: host "fe" with writer "shop" (component "content", which needs "accounts" and "ledger" on "backend") and
 * writer "other" (component "notes", which needs nothing); host "backend" with writer "postgresql".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/sim/sim.h"

enum { FE, BACKEND, SPARE };
enum { SHOP, OTHER };

struct part { char *host, *name, *text; enum vb_completeness done; enum vb_consistency level; enum vb_code code;
              enum vb_file_restore_status status; };

struct stage {
    struct sim s;
    struct vb_run_env env;
    struct vb_run_options opt;
    struct vb_run_state *state;
    struct vb_rng guids;
    struct vb_run *run;
    bool done;
    /* of the last run */
    enum vb_exit exit;
    enum vb_code code;
    char *backup_id, *error, *plan_text;
    uint64_t ended_ms;
    struct part parts[16];
    size_t n_parts;
    /* the mishap */
    size_t host, writer;
    enum vb_event event;
    enum sim_mishap mishap;
    const char *what;          /* provider call or component */
    uint64_t cancel_after_ms;  /* after the event */
    unsigned seen;
};

/* ---- the stage ---- */

static enum sim_mishap writer_mishap(void *arg, size_t host, size_t writer, enum vb_event ev)
{
    const struct stage *t = arg;
    return host == t->host && writer == t->writer && ev == t->event ? t->mishap : SIM_FINE;
}

static bool provider_mishap(void *arg, size_t host, const char *call)
{
    const struct stage *t = arg;
    return host == t->host && strcmp(call, t->what) == 0;
}

static bool mover_mishap(void *arg, size_t host, const char *component)
{
    const struct stage *t = arg;
    return host == t->host && strcmp(component, t->what) == 0;
}

static void guid(void *arg, char out[37])
{
    topo_guid(arg, out);
}

static struct stage *set_up(bool with_spare)
{
    struct stage *t = vb_alloc(sizeof *t);
    struct sim_faults none = { 0 };
    sim_init(&t->s, 1, &none);
    struct topo *p = &t->s.topo;
    topo_host(p, "fe");
    topo_host(p, "backend");
    topo_writer(p, FE, "shop");
    topo_writer(p, FE, "other");
    topo_component(p, FE, SHOP, "", "content", true, true);
    topo_component(p, FE, OTHER, "", "notes", true, true);
    topo_writer(p, BACKEND, "postgresql");
    topo_component(p, BACKEND, 0, "main", "accounts", true, true);
    topo_component(p, BACKEND, 0, "main", "ledger", true, true);
    topo_dep(p, FE, SHOP, 0, (struct topo_dep){ .host = BACKEND, .component = 0 });
    topo_dep(p, FE, SHOP, 0, (struct topo_dep){ .host = BACKEND, .component = 1 });
    if (with_spare) {
        topo_host(p, "spare");
        topo_writer(p, SPARE, "postgresql");
        memcpy(p->hosts[SPARE].writers[0].class_id, p->hosts[BACKEND].writers[0].class_id, 37);
        topo_component(p, SPARE, 0, "main", "accounts", true, true);
        topo_component(p, SPARE, 0, "main", "ledger", true, true);
    }
    sim_start(&t->s);
    vb_rng_seed(&t->guids, 7);
    t->state = vb_run_state_memory();
    t->env = (struct vb_run_env){ .loop = t->s.loop, .links = &t->s.links, .store = &t->s.store, .state = t->state,
                                  .new_guid = guid, .guid_arg = &t->guids };
    t->opt = (struct vb_run_options){ .front_end = "fe", .local_host = "fe", .resolve = topo_resolve,
                                      .resolve_arg = &t->s.topo, .requester = "test", .missing = VB_MISSING_CONTINUE };
    t->s.script.arg = t;
    t->host = SIZE_MAX;
    return t;
}

static void forget(struct stage *t)
{
    for (size_t i = 0; i < t->n_parts; i++) {
        free(t->parts[i].host);
        free(t->parts[i].name);
        free(t->parts[i].text);
    }
    t->n_parts = 0;
    vb_free_ptr(&t->backup_id);
    vb_free_ptr(&t->error);
    vb_free_ptr(&t->plan_text);
}

static void tear_down(struct stage *t)
{
    for (size_t i = 0; i < t->s.broken.n; i++)
        print_message("# %s\n", t->s.broken.v[i]);
    size_t broken = t->s.broken.n;
    vb_run_free(t->run);
    forget(t);
    vb_run_state_free(t->state);
    sim_free(&t->s);
    free(t);
    assert_int_equal(broken, 0);
}

/* ---- runs ---- */

static void on_plan(void *arg, const struct vb_plan *p)
{
    struct stage *t = arg;
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_plan_text(p, &b);
    free(t->plan_text);
    t->plan_text = vb_buf_take_str(&b);
}

static void on_done(void *arg, const struct vb_run_result *r)
{
    struct stage *t = arg;
    t->done = true;
    t->exit = r->exit;
    t->code = r->error.code;
    t->ended_ms = vb_loop_now_ms(t->s.loop);
    t->backup_id = vb_strdup(r->backup_id);
    t->error = vb_strdup(r->error.text);
    for (size_t i = 0; i < r->n_components && i < 16; i++) {
        const struct vb_run_component *c = &r->components[i];
        t->parts[t->n_parts++] = (struct part){ vb_strdup(r->hosts[c->host].name),
                                                vb_strdup(c->name),
                                                vb_strdup(c->text),
                                                c->completeness,
                                                c->consistency,
                                                c->code,
                                                c->restore_status };
    }
    if (getenv("LOUD")) {
        VB_AUTO_BUF b = VB_BUF_INIT;
        vb_run_events_json(t->run, &b);
        print_message("%s\n", vb_buf_str(&b));
    }
}

static const struct vb_run_handler handler = { on_plan, NULL, NULL, NULL, on_done };

static void settle(struct stage *t)
{
    for (unsigned i = 0; !t->done && i < 2000000; i++)
        if (!vb_loop_turn(t->s.loop, 0))
            break;
    assert_true(t->done);
    vb_run_free(VB_STEAL(t->run));
    for (unsigned i = 0; i < 2000000 && vb_loop_turn(t->s.loop, 0); i++)
        ;
    sim_check_end(&t->s);
}

static void begin(struct stage *t)
{
    forget(t);
    t->done = false;
    t->s.n_trace = 0;
}

static void backup(struct stage *t)
{
    begin(t);
    t->run = vb_run_backup(&t->env, &t->opt, &handler, t);
    settle(t);
}

static void restore(struct stage *t)
{
    begin(t);
    t->run = vb_run_restore(&t->env, &t->opt, &handler, t);
    settle(t);
}

static const struct part *part(const struct stage *t, const char *name)
{
    for (size_t i = 0; i < t->n_parts; i++)
        if (strcmp(t->parts[i].name, name) == 0)
            return &t->parts[i];
    fail_msg("component '%s' is not in the report", name);
    return NULL;
}

static void is(const struct stage *t, const char *name, enum vb_completeness done, enum vb_code code)
{
    const struct part *p = part(t, name);
    if (p->done != done || p->code != code)
        fail_msg("'%s' is %s with %s (%s)", name, vb_completeness_word(p->done), vb_code_name(p->code),
                 p->text ? p->text : "");
}

static unsigned count(const struct stage *t, size_t host, size_t writer, enum vb_event ev)
{
    unsigned n = 0;
    for (size_t i = 0; i < t->s.n_trace; i++) {
        const struct sim_trace *e = &t->s.trace[i];
        n += e->host == host && (writer == SIZE_MAX || e->writer == writer) && e->event == ev &&
             e->what == SIM_EVENT_BEGIN;
    }
    return n;
}

static bool told(const struct stage *t, size_t host, size_t writer, bool success)
{
    for (size_t i = 0; i < t->s.n_trace; i++) {
        const struct sim_trace *e = &t->s.trace[i];
        if (e->host == host && e->writer == writer && e->event == VB_EV_BACKUP_COMPLETE && e->what == SIM_EVENT_BEGIN)
            return success ? e->told_success && !e->told_failure : e->told_failure && !e->told_success;
    }
    return false;
}

static void mishap(struct stage *t, size_t host, size_t writer, enum vb_event ev, enum sim_mishap m)
{
    t->host = host;
    t->writer = writer;
    t->event = ev;
    t->mishap = m;
    t->s.script.writer = writer_mishap;
}

/* ---- backup ---- */

/* RECORD_AGENT=DIR: what the agents sent, for the corpus of fuzz_agent_replies. */
static void write_record(const char *name, const struct vb_buf *b)
{
    const char *dir = getenv("RECORD_AGENT");
    VB_AUTO_FREE char *path = dir ? vb_path_join(dir, name) : NULL;
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fwrite(b->data, 1, b->len, f);
        fclose(f);
    }
}

static void everything_goes_well(void **state)
{
    struct stage *t = set_up(false);
    VB_AUTO_BUF record = VB_BUF_INIT;
    (void)state;
    t->s.script.record = &record;
    backup(t);
    write_record("two-hosts", &record);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    is(t, "content", VB_COMPLETE, VB_OK);
    is(t, "ledger", VB_COMPLETE, VB_OK);
    assert_int_equal(part(t, "content")->level, VB_CONSISTENCY_GROUP);
    assert_int_equal(part(t, "accounts")->level, VB_CONSISTENCY_GROUP);
    assert_int_equal(part(t, "notes")->level, VB_CONSISTENCY_APPLICATION); /* no group */
    assert_true(told(t, FE, SHOP, true));
    tear_down(t);
}

static void vss_b_32_optional_writer_fails(void **state)
{
    (void)state;
    static const enum vb_event events[] = { VB_EV_PREPARE_BACKUP, VB_EV_PREPARE_SNAPSHOT, VB_EV_FREEZE,
                                            VB_EV_POST_SNAPSHOT };
    for (size_t i = 0; i < VB_COUNT(events); i++) {
        struct stage *t = set_up(false);
        mishap(t, FE, OTHER, events[i], SIM_VETO);
        backup(t);
        assert_int_equal(t->exit, VB_EXIT_PARTIAL);
        is(t, "notes", VB_FAILED, VB_E_WRITER_NON_RETRYABLE);
        is(t, "content", VB_COMPLETE, VB_OK);
        assert_non_null(t->backup_id);
        tear_down(t);
    }
}

static void vss_b_65_required_writer_aborts_the_run(void **state)
{
    static const struct vb_job_writer required = { (char *)(uintptr_t)"other", VB_POLICY_REQUIRED };
    static const enum vb_event events[] = { VB_EV_PREPARE_BACKUP, VB_EV_FREEZE };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(events); i++) {
        struct stage *t = set_up(false);
        t->opt.writers = &required;
        t->opt.n_writers = 1;
        mishap(t, FE, OTHER, events[i], SIM_VETO);
        backup(t);
        assert_int_equal(t->exit, VB_EXIT_FAILED);
        assert_null(t->backup_id);
        assert_int_equal(count(t, BACKEND, 0, VB_EV_PREPARE_BACKUP), 0); /* D-41, D-49 */
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 0);
        assert_true(count(t, FE, SHOP, VB_EV_ABORT) > 0); /* B-69 */
        tear_down(t);
    }
}

static void vss_b_67_hanging_and_crashing_writer(void **state)
{
    (void)state;
    for (int m = SIM_HANG; m <= SIM_CRASH; m++) {
        struct stage *t = set_up(false);
        mishap(t, FE, OTHER, VB_EV_FREEZE, (enum sim_mishap)m);
        backup(t);
        assert_int_equal(part(t, "notes")->done, VB_FAILED);
        /* one that hangs may use half of the others' window, so that they are still within theirs (B-38) */
        assert_int_equal(t->exit, VB_EXIT_PARTIAL);
        is(t, "content", VB_COMPLETE, VB_OK);
        assert_int_equal(count(t, FE, SHOP, VB_EV_THAW), 1);
        tear_down(t);
    }
}

static void vss_d_48_remote_snapshot_fails(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = BACKEND;
    t->what = "commit";
    t->s.script.provider_fails = provider_mishap;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    assert_int_equal(part(t, "accounts")->done, VB_FAILED);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 1); /* so that its lock is released */
    assert_true(told(t, FE, SHOP, false));
    assert_true(told(t, FE, OTHER, true));
    assert_int_equal(count(t, BACKEND, 0, VB_EV_BACKUP_COMPLETE), 0); /* B-56 */
    tear_down(t);
}

static void vss_d_48_remote_capture_fails(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = BACKEND;
    t->what = "ledger";
    t->s.script.mover_fails = mover_mishap;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    is(t, "ledger", VB_FAILED, VB_E_FILE_MISSING);
    is(t, "accounts", VB_COMPLETE, VB_OK);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_int_equal(count(t, BACKEND, 0, VB_EV_BACKUP_COMPLETE), 1); /* B-57 */
    assert_true(told(t, FE, SHOP, false));
    assert_int_equal(part(t, "accounts")->level, VB_CONSISTENCY_APPLICATION); /* its group did not come through */
    tear_down(t);
}

static void vss_d_49_front_end_fails_before_any_job_is_sent(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = FE;
    t->what = "commit";
    t->s.script.provider_fails = provider_mishap;
    backup(t);
    assert_int_not_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(count(t, BACKEND, SIZE_MAX, VB_EV_PREPARE_BACKUP), 0);
    is(t, "accounts", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_true(count(t, FE, SHOP, VB_EV_ABORT) > 0); /* B-70 */
    assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 0);
    tear_down(t);
}

static void vss_d_33_back_end_cannot_be_reached(void **state)
{
    (void)state;
    for (int manner = 0; manner < 3; manner++) { /* refused, mute, garbage */
        struct stage *t = set_up(false);
        VB_AUTO_BUF record = VB_BUF_INIT;
        t->s.script.record = &record;
        if (manner == 0)
            t->s.topo.hosts[BACKEND].unreachable = true;
        else
            t->s.hosts[BACKEND].manner = manner == 1 ? SIM_MUTE : SIM_GARBAGE;
        backup(t);
        if (manner == 0)
            write_record("one-host", &record);
        assert_int_equal(t->exit, VB_EXIT_PARTIAL);
        is(t, "content", VB_FAILED, manner == 0 ? VB_E_CONNECT : manner == 1 ? VB_E_TIMEOUT : VB_E_PROTOCOL);
        is(t, "notes", VB_COMPLETE, VB_OK);
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 1); /* D-48 */
        assert_true(told(t, FE, SHOP, false));
        tear_down(t);
    }
}

static void vss_d_6_policy_fail_touches_nothing(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->s.topo.hosts[BACKEND].unreachable = true;
    t->opt.missing = VB_MISSING_FAIL;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_BUSY);
    assert_int_equal(t->code, VB_E_CONNECT);
    assert_non_null(strstr(t->error, "content"));
    assert_non_null(strstr(t->error, "backend"));
    assert_int_equal(count(t, FE, SHOP, VB_EV_PREPARE_BACKUP), 0);

    t->opt.missing = VB_MISSING_DROP_DEPENDENT; /* D-6 b */
    backup(t);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_int_equal(t->n_parts, 1);
    tear_down(t);
}

static void repository_full_at_every_stage(void **state)
{
    (void)state;
    for (int stage = 0; stage < 3; stage++) {
        struct stage *t = set_up(false);
        t->s.script.chunks_fail = stage == 0;
        t->s.script.barrier_fails = stage == 1;
        t->s.script.commit_fails = stage == 2;
        backup(t);
        assert_int_equal(t->exit, VB_EXIT_FAILED);
        assert_int_equal(t->code, VB_E_NO_SPACE);
        if (stage < 2) { /* nothing is marked before the barrier, but the lock is released (K-6) */
            assert_true(told(t, FE, SHOP, false));
            assert_true(told(t, FE, OTHER, false));
            assert_int_equal(part(t, "notes")->done, VB_FAILED);
        } else {
            assert_null(t->backup_id);
        }
        assert_true(count(t, FE, SHOP, VB_EV_BACKUP_SHUTDOWN) > 0);
        tear_down(t);
    }
}

/* ---- connections and lives ---- */

static void cut_at_every_message(void **state)
{
    unsigned complete = 0, n = 1;
    (void)state;
    for (;; n++) { /* the stream breaks at its n-th message; until a run has fewer */
        struct stage *t = set_up(false);
        t->s.script.cut_in = n;
        backup(t);
        bool was_cut = t->s.script.cut_in == 0;
        complete += t->exit == VB_EXIT_DONE;
        if (t->exit != VB_EXIT_DONE && t->exit != VB_EXIT_BUSY && t->exit != VB_EXIT_PARTIAL)
            fail_msg("cut at message %u: exit %d, %s", n, (int)t->exit, t->error ? t->error : "");
        if (t->backup_id && t->exit == VB_EXIT_DONE)
            assert_int_equal(count(t, FE, SHOP, VB_EV_FREEZE), 1); /* nothing was done twice */
        tear_down(t);
        if (!was_cut)
            break;
    }
    print_message("# %u places, %u runs complete\n", n, complete);
    assert_true(n > 100);
    assert_true(complete > n * 3 / 4); /* gathering is not repeated; from OPEN on every cut is survived */
}

static uint64_t records(struct stage *t)
{
    struct vb_strv ids = { 0 };
    uint64_t n = 0;
    if (vb_run_unfinished(t->state, &ids, NULL) == 0 && ids.n > 0) {
        VB_AUTO_FREE char *name = vb_printf("runs/%s/journal", ids.v[0]);
        struct vb_journal *j = t->state->journal(t->state->ctx, name, NULL);
        n = vb_journal_count(j);
    }
    vb_strv_clear(&ids);
    return n;
}

/* The requester dies as soon as its journal has n records; another takes the run up. True while there are that many. */
static bool die_at_record(struct stage *t, uint64_t n, bool at_restore)
{
    begin(t);
    t->run = at_restore ? vb_run_restore(&t->env, &t->opt, &handler, t) : vb_run_backup(&t->env, &t->opt, &handler, t);
    while (!t->done && records(t) < n)
        assert_true(vb_loop_turn(t->s.loop, 0));
    if (t->done) {
        settle(t);
        return false;
    }
    struct vb_strv ids = { 0 };
    vb_run_free(VB_STEAL(t->run));
    sim_store_crash(&t->s);
    assert_int_equal(vb_run_unfinished(t->state, &ids, NULL), 0);
    assert_int_equal(ids.n, 1);
    t->run = vb_run_resume(&t->env, ids.v[0], &handler, t);
    settle(t);
    vb_strv_clear(&ids);
    return true;
}

static void requester_dies_at_every_transition_of_a_backup(void **state)
{
    uint64_t n = 1;
    bool more = true;
    (void)state;
    for (; more; n++) {
        struct stage *t = set_up(false);
        more = die_at_record(t, n, false);
        if (t->exit != VB_EXIT_DONE)
            fail_msg("record %llu: exit %d, %s", (unsigned long long)n, (int)t->exit, t->error ? t->error : "");
        assert_int_equal(t->s.n_entries, 1);
        assert_int_equal(count(t, FE, SHOP, VB_EV_FREEZE), 1);
        assert_int_equal(count(t, BACKEND, 0, VB_EV_FREEZE), 1);
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 1);
        assert_true(told(t, FE, SHOP, true));
        is(t, "content", VB_COMPLETE, VB_OK);
        assert_int_equal(part(t, "content")->level, VB_CONSISTENCY_GROUP);
        tear_down(t);
    }
    print_message("# %llu transitions\n", (unsigned long long)n);
    assert_true(n > 35);
}

static void requester_dies_at_every_transition_of_a_restore(void **state)
{
    uint64_t n = 1;
    bool more = true;
    (void)state;
    for (; more; n++) {
        struct stage *t = set_up(false);
        backup(t);
        t->opt.overwrite = true;
        more = die_at_record(t, n, true);
        if (t->exit != VB_EXIT_DONE)
            fail_msg("record %llu: exit %d, %s", (unsigned long long)n, (int)t->exit, t->error ? t->error : "");
        assert_int_equal(count(t, FE, SHOP, VB_EV_PRE_RESTORE), 1);
        assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);
        assert_int_equal(count(t, BACKEND, 0, VB_EV_POST_RESTORE), 1);
        is(t, "content", VB_COMPLETE, VB_OK);
        tear_down(t);
    }
    print_message("# %llu transitions\n", (unsigned long long)n);
    assert_true(n > 20);
}

static void jobs_that_are_gone_end_a_resumed_run(void **state)
{
    struct stage *t = set_up(false);
    struct vb_strv ids = { 0 };
    (void)state;
    begin(t);
    t->run = vb_run_backup(&t->env, &t->opt, &handler, t);
    while (count(t, BACKEND, 0, VB_EV_FREEZE) == 0)
        assert_true(vb_loop_turn(t->s.loop, 0));
    vb_run_free(VB_STEAL(t->run));
    sim_store_crash(&t->s);
    uint64_t until = vb_loop_now_ms(t->s.loop) + 400000; /* longer than the lease */
    while (vb_loop_now_ms(t->s.loop) < until && vb_loop_turn(t->s.loop, 0))
        ;
    sim_check_end(&t->s); /* B-61: everything was cleaned up long before */
    assert_int_equal(vb_run_unfinished(t->state, &ids, NULL), 0);
    t->run = vb_run_resume(&t->env, ids.v[0], &handler, t);
    settle(t);
    assert_int_equal(t->code, VB_E_JOB_LOST);
    assert_null(t->backup_id);
    assert_int_equal(t->s.n_entries, 0);
    vb_strv_clear(&ids);
    backup(t); /* the next run is not disturbed */
    assert_int_equal(t->exit, VB_EXIT_DONE);
    tear_down(t);
}

static void crash_on_freeze(void *arg, size_t host, size_t writer, enum vb_event ev)
{
    struct stage *t = arg;
    (void)writer;
    if (host == BACKEND && ev == VB_EV_POST_SNAPSHOT)
        t->seen = 1;
}

static void worker_of_the_back_end_dies(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    begin(t);
    t->s.script.event = crash_on_freeze;
    t->run = vb_run_backup(&t->env, &t->opt, &handler, t);
    while (!t->seen)
        assert_true(vb_loop_turn(t->s.loop, 0));
    sim_agent_crash(&t->s.hosts[BACKEND]);
    settle(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    is(t, "accounts", VB_FAILED, VB_E_JOB_LOST);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_true(told(t, FE, SHOP, false));
    tear_down(t);
}

/* ---- cancel ---- */

static void cancel_now(void *arg)
{
    struct stage *t = arg;
    vb_run_cancel(t->run);
    vb_run_cancel(t->run); /* twice is harmless */
}

static void cancel_at_event(void *arg, size_t host, size_t writer, enum vb_event ev)
{
    struct stage *t = arg;
    if (host == t->host && writer == t->writer && ev == t->event && !t->seen) {
        t->seen = 1;
        t->cancel_after_ms = vb_loop_now_ms(t->s.loop) + 50;
        (void)vb_loop_after(t->s.loop, 50, cancel_now, t);
    }
}

static void cancel_ends_within_a_second(void **state)
{
    static const enum vb_event events[] = { VB_EV_PREPARE_BACKUP, VB_EV_FREEZE, VB_EV_POST_SNAPSHOT };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(events); i++) {
        struct stage *t = set_up(false);
        mishap(t, FE, SHOP, events[i], SIM_HANG);
        t->s.script.event = cancel_at_event;
        backup(t);
        assert_int_equal(t->code, VB_E_CANCELLED);
        assert_null(t->backup_id);
        assert_true(t->ended_ms - t->cancel_after_ms <= 1000);
        assert_int_equal(count(t, FE, SHOP, VB_EV_BACKUP_COMPLETE), 0); /* B-72 */
        assert_int_equal(t->s.n_entries, 0);
        tear_down(t);
    }
}

/* ---- restore ---- */

static struct stage *backed_up(bool with_spare)
{
    struct stage *t = set_up(with_spare);
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    t->opt.overwrite = true;
    return t;
}

static void restore_goes_well(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(part(t, "content")->status, VB_FILE_RESTORE_ALL);
    assert_int_equal(t->s.hosts[BACKEND].n_files, 2);
    tear_down(t);
}

static void vss_d_62_back_end_refuses_pre_restore(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    mishap(t, BACKEND, 0, VB_EV_PRE_RESTORE, SIM_VETO);
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    assert_int_equal(part(t, "accounts")->status, VB_FILE_RESTORE_NONE);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_int_equal(part(t, "content")->status, VB_FILE_RESTORE_NONE); /* nothing was done */
    assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);        /* never left out */
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0);
    assert_int_equal(t->s.hosts[FE].n_files, 1); /* notes alone */
    tear_down(t);
}

static void vss_d_62_back_end_files_fail(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    t->host = BACKEND;
    t->what = "accounts";
    t->s.script.mover_fails = mover_mishap;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    assert_int_equal(part(t, "accounts")->status, VB_FILE_RESTORE_FAILED);
    is(t, "content", VB_FAILED, VB_E_REMOTE_FAILED);
    assert_int_equal(part(t, "content")->status, VB_FILE_RESTORE_FAILED);
    assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);
    assert_int_equal(count(t, BACKEND, 0, VB_EV_POST_RESTORE), 1);
    is(t, "notes", VB_COMPLETE, VB_OK);
    tear_down(t);
}

static void vss_d_60_front_end_refuses_so_the_back_end_is_not_touched(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    mishap(t, FE, SHOP, VB_EV_PRE_RESTORE, SIM_VETO);
    restore(t);
    assert_int_equal(count(t, BACKEND, SIZE_MAX, VB_EV_PRE_RESTORE), 0);
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0);
    is(t, "accounts", VB_FAILED, VB_E_REMOTE_FAILED);
    is(t, "notes", VB_COMPLETE, VB_OK);
    assert_int_equal(count(t, FE, SHOP, VB_EV_POST_RESTORE), 1);
    tear_down(t);
}

static void existing_data_are_not_overwritten_without_consent(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    restore(t);
    t->opt.overwrite = false;
    size_t files = t->s.hosts[FE].n_files;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_GUARD);
    assert_int_equal(count(t, FE, SHOP, VB_EV_PRE_RESTORE), 0);
    assert_int_equal(count(t, BACKEND, 0, VB_EV_PRE_RESTORE), 0);
    assert_int_equal(t->s.hosts[FE].n_files, files);
    tear_down(t);
}

static void vss_r_57_private_restore_has_no_events(void **state)
{
    struct stage *t = backed_up(false);
    (void)state;
    t->opt.target_dir = "/tmp/elsewhere";
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    for (size_t h = 0; h < 2; h++) {
        assert_int_equal(count(t, h, SIZE_MAX, VB_EV_PRE_RESTORE), 0);
        assert_int_equal(count(t, h, SIZE_MAX, VB_EV_POST_RESTORE), 0);
    }
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0); /* all of it on the front end */
    assert_int_equal(t->s.hosts[FE].n_files, 4);
    tear_down(t);
}

static void back_end_is_mapped_to_another_host(void **state)
{
    struct stage *t = backed_up(true);
    struct vb_strv maps = { 0 };
    (void)state;
    vb_strv_add(&maps, "backend=spare");
    t->opt.maps = &maps;
    t->s.topo.hosts[BACKEND].unreachable = true; /* it burnt down */
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(t->s.hosts[SPARE].n_files, 2);
    assert_int_equal(t->s.hosts[BACKEND].n_files, 0);
    assert_int_equal(count(t, SPARE, 0, VB_EV_POST_RESTORE), 1);
    vb_strv_clear(&maps);
    tear_down(t);
}

static void what_failed_at_backup_is_not_restored(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    t->host = FE;
    t->what = "notes";
    t->s.script.mover_fails = mover_mishap;
    backup(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    t->s.script.mover_fails = NULL;
    t->opt.overwrite = true;
    restore(t);
    assert_int_equal(t->exit, VB_EXIT_PARTIAL);
    is(t, "notes", VB_FAILED, VB_E_NOT_FOUND);
    is(t, "content", VB_COMPLETE, VB_OK);
    tear_down(t);
}

/* ---- plans ---- */

static void offline_plan_is_the_plan_of_the_last_run(void **state)
{
    struct stage *t = set_up(false);
    (void)state;
    begin(t);
    t->run = vb_run_plan_only(&t->env, VB_JOB_BACKUP, &t->opt, &handler, t);
    settle(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_int_equal(count(t, FE, SHOP, VB_EV_PREPARE_BACKUP), 0); /* nothing is touched */
    VB_AUTO_FREE char *online = VB_STEAL(t->plan_text);
    for (size_t h = 0; h < 2; h++)
        t->s.topo.hosts[h].unreachable = true;
    t->opt.offline = true;
    begin(t);
    t->run = vb_run_plan_only(&t->env, VB_JOB_BACKUP, &t->opt, &handler, t);
    settle(t);
    assert_int_equal(t->exit, VB_EXIT_DONE);
    assert_non_null(strstr(t->plan_text, "from the metadata of the last run"));
    /* Only the volumes cannot be known offline. */
    const char *from = strstr(online, "\nvolumes\n"), *to = from ? strstr(from, "\ndependencies\n") : NULL;
    assert_non_null(to);
    assert_non_null(strstr(from, "snapshot by"));
    VB_AUTO_FREE char *without = vb_printf("%.*s%s", (int)(from - online), online, to);
    assert_string_equal(strstr(without, "\nhost"), strstr(t->plan_text, "\nhost"));
    tear_down(t);
}

#define T(name, fn) { name, fn, NULL, NULL, NULL }

int main(void)
{
    vb_log_init("test_executor: ");
    vb_log_set_level(VB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        T("everything goes well, and the group is called one", everything_goes_well),
        T("VSS-B-32 VSS-B-43 VSS-Q-13 an optional writer fails", vss_b_32_optional_writer_fails),
        T("VSS-B-65 VSS-B-69 a required writer aborts the run", vss_b_65_required_writer_aborts_the_run),
        T("VSS-B-67 a writer hangs or crashes in freeze", vss_b_67_hanging_and_crashing_writer),
        T("VSS-D-48 VSS-B-56 the remote snapshot fails", vss_d_48_remote_snapshot_fails),
        T("VSS-D-48 VSS-B-57 the remote capture fails", vss_d_48_remote_capture_fails),
        T("VSS-D-49 VSS-B-70 the front end fails before any job is sent",
          vss_d_49_front_end_fails_before_any_job_is_sent),
        T("VSS-D-33 VSS-D-48 the back end is refused, mute or talks garbage", vss_d_33_back_end_cannot_be_reached),
        T("VSS-D-6 VSS-D-12 policies for a missing target", vss_d_6_policy_fail_touches_nothing),
        T("the repository is full at every stage", repository_full_at_every_stage),
        T("a stream is cut at every message", cut_at_every_message),
        T("the requester dies at every transition of a backup", requester_dies_at_every_transition_of_a_backup),
        T("the requester dies at every transition of a restore", requester_dies_at_every_transition_of_a_restore),
        T("VSS-B-61 jobs that are gone end a resumed run", jobs_that_are_gone_end_a_resumed_run),
        T("the worker of the back end dies", worker_of_the_back_end_dies),
        T("cancel ends within a second", cancel_ends_within_a_second),
        T("a restore goes well", restore_goes_well),
        T("VSS-D-62 the back end refuses PreRestore", vss_d_62_back_end_refuses_pre_restore),
        T("VSS-D-62 files of the back end fail", vss_d_62_back_end_files_fail),
        T("VSS-D-60 the front end refuses, so the back end is not touched",
          vss_d_60_front_end_refuses_so_the_back_end_is_not_touched),
        T("existing data are not overwritten without consent", existing_data_are_not_overwritten_without_consent),
        T("VSS-R-57 a private restore has no events", vss_r_57_private_restore_has_no_events),
        T("a back end is mapped to another host", back_end_is_mapped_to_another_host),
        T("what failed at backup is not restored", what_failed_at_backup_is_not_restored),
        T("an offline plan is the plan of the last run", offline_plan_is_the_plan_of_the_last_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
