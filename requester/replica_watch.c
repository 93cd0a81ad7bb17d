/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/replica_watch.c - vbackup replicate --watch: rounds that are caused by changes, by the interval, and by retries.
 *
 * What the kernel tells of is sent at once.  Every interval everything is looked at, whatever was told or not; then, and after
 * failures, the scope's random time spreads the targets (replica/schedule.h decides).  A round runs in a thread; between
 * rounds nothing is open, so that settings and locks can be changed, and are in force at the next one.
 */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/loop.h"
#include "base/mem.h"
#include "base/rng.h"
#include "requester/replica_jobs.h"
#include "requester/replicate.h"

#define GATHER_MS 10       /* changes come in groups */
#define RETRY_MIN_MS 1000
#define BUSY_MAX_MS 30000

struct service {
    struct vb_cli *cli;
    struct vb_loop *loop;
    struct vb_rng rng;
    size_t n;
    struct vb_importer *targets;
    unsigned *fails;
    struct vb_exporter exporter;
    struct vb_timer *timer;
    /* what is known of changes */
    struct vb_tree_watch *tree;
    struct vb_watch *events, *ended;
    struct vb_strv paths;
    bool all, stale, told;
    int64_t changed_at;     /* a round is due for what is in paths; 0: none */
    /* the round that runs */
    struct vb_replicate_round round;
    struct vb_strv going;
    struct vb_error why;
    int result, pipe[2];
    pthread_t thread;
    bool running, stopping, once;
    unsigned rounds_failed;
    int64_t again_at;       /* after a round that could not be; 0: none */
};

static int64_t now_of(struct service *s)
{
    return (int64_t)vb_loop_now_ms(s->loop);
}

static void arm(struct service *s);
static void on_events(void *arg, short revents);

/* ---- states ---- */

static void tell_state(struct service *s, size_t i, enum vb_import_state was, enum vb_import_reason why)
{
    const struct vb_importer *t = &s->targets[i];
    if (t->state == was && t->reason == why)
        return;
    const char *name = s->cli->argv[i + 1], *state = vb_import_state_word(t->state), *reason = vb_import_reason_word(t->reason);
    vb_replica_print_begin();
    if (s->cli->json) {
        json_t *o = vb_cli_message("state");
        json_object_set_new(o, "target", vb_cli_text(name));
        json_object_set_new(o, "state", json_string(state));
        json_object_set_new(o, "reason", json_string(reason));
        json_object_set_new(o, "last_update", json_integer((json_int_t)t->last_update_s));
        vb_cli_json(o);
    } else if (!s->cli->quiet) {
        printf("%s: %s%s%s\n", name, state, *reason ? ", " : "", reason);
    }
    fflush(stdout);
    vb_replica_print_end();
}

/* The pause between tries grows to an hour; what is only locked or in use is asked for more often. */
static int64_t pause_of(unsigned fails, enum vb_code code)
{
    int64_t ms = RETRY_MIN_MS, most = code == VB_E_BUSY ? BUSY_MAX_MS : VB_ASK_PAUSE_MAX_MS;
    for (unsigned i = 1; i < fails && ms < most; i++)
        ms *= 2;
    return ms < most ? ms : most;
}

static void settle(struct service *s, size_t i)
{
    struct vb_importer *t = &s->targets[i];
    enum vb_import_state was = t->state;
    enum vb_import_reason why = t->reason;
    vb_importer_pulled(t, s->round.each[i].code, now_of(s), (int64_t)(vb_loop_wall_ms(s->loop) / 1000));
    s->fails[i] = s->round.each[i].code == VB_OK ? 0 : s->fails[i] + 1;
    if (s->round.each[i].locked)
        t->reason = VB_REASON_LOCKED;
    t->pull_at_ms = s->fails[i] ? now_of(s) + pause_of(s->fails[i], s->round.each[i].code) : 0;
    tell_state(s, i, was, why);
}

/* ---- a round ---- */

static void *work(void *arg)
{
    struct service *s = arg;
    s->result = vb_replicate_round(s->cli, &s->round, &s->why);
    while (write(s->pipe[1], "", 1) < 0 && errno == EINTR)
        ;
    return NULL;
}

static void listen_to_tree(struct service *s)
{
    if (s->tree && !s->events)
        s->events = vb_loop_watch(s->loop, vb_tree_watch_fd(s->tree), POLLIN, on_events, s);
}

static void begin(struct service *s, bool everything)
{
    s->all = s->all || everything || s->round.whole;
    if (s->stale || !s->tree) { /* watched anew before it is looked at: nothing falls between */
        vb_watch_cancel(s->events);
        s->events = NULL;
        vb_tree_watch_close(s->tree);
        s->tree = NULL;
        s->all = true;
    }
    vb_strv_clear(&s->going);
    s->going = s->paths;
    s->paths = (struct vb_strv){ NULL, 0, 0 };
    s->round.paths = s->all ? NULL : &s->going;
    s->round.tree = &s->tree;
    s->round.wait_ms = 0;
    s->all = s->stale = false;
    s->changed_at = s->again_at = 0;
    s->running = pthread_create(&s->thread, NULL, work, s) == 0;
    if (!s->running) {
        s->all = true;
        s->again_at = now_of(s) + RETRY_MIN_MS;
    }
}

static void on_ended(void *arg, short revents)
{
    struct service *s = arg;
    char c;
    (void)revents;
    if (read(s->pipe[0], &c, 1) != 1)
        return;
    pthread_join(s->thread, NULL);
    s->running = false;
    listen_to_tree(s);
    if (s->stopping) {
        vb_loop_stop(s->loop, 0);
        return;
    }
    if (s->result == 0) {
        s->once = true;
        s->rounds_failed = 0;
        for (size_t i = 0; i < s->n; i++)
            if (!s->round.each[i].skip)
                settle(s, i);
    } else if (s->round.wait_ms) { /* not quiet yet */
        s->again_at = now_of(s) + s->round.wait_ms;
        s->all = true;
    } else {
        if (!s->told || s->why.code != VB_E_BUSY) {
            vb_replica_print_begin();
            vb_cli_fail(s->cli, &s->why);
            vb_replica_print_end();
        }
        s->told = s->why.code == VB_E_BUSY;
        s->all = true;
        s->rounds_failed++;
        s->again_at = now_of(s) + (s->why.code == VB_E_BUSY && s->rounds_failed < 10 ? 200 : pause_of(s->rounds_failed, s->why.code));
        if (!s->once && s->why.code != VB_E_BUSY) /* it never began */
            vb_loop_stop(s->loop, (int)vb_code_exit(s->why.code));
    }
    vb_error_clear(&s->why);
    arm(s);
}

/* ---- when ---- */

static void sooner(int64_t *wait, int64_t at, int64_t now)
{
    int64_t ms = at > now ? at - now : 0;
    if (at && ms < *wait)
        *wait = ms;
}

/* Looks what is due; begins a round, or waits for the next thing. */
static void look(void *arg)
{
    struct service *s = arg;
    int64_t now = now_of(s), wait = INT64_MAX, more;
    bool due = false, everything = !s->once;
    s->timer = NULL;
    if (s->running || s->stopping)
        return;
    enum vb_notice notice = VB_NOTICE_NONE;
    if (s->once) {
        notice = vb_exporter_due(&s->exporter, &s->round.schedule, s->round.tick, now, &more);
        sooner(&wait, now + more, now);
    }
    bool change = s->changed_at && now >= s->changed_at;
    sooner(&wait, s->changed_at, now);
    sooner(&wait, s->again_at, now);
    bool again = s->again_at && now >= s->again_at;
    for (size_t i = 0; i < s->n; i++) {
        struct vb_importer *t = &s->targets[i];
        bool pull = !s->once || again;
        if (notice != VB_NOTICE_NONE && !s->fails[i])
            vb_importer_notice(t, &s->round.schedule, true, now, &s->rng);
        if (vb_importer_due(t, now, &more) != VB_IMPORT_WAIT)
            pull = everything = true;
        else if (more < wait)
            wait = more;
        if (change && !s->fails[i])
            pull = true;
        s->round.each[i] = (struct vb_replicate_each){ .skip = !pull };
        due = due || pull;
    }
    if (due && (!s->again_at || again))
        begin(s, everything);
    if (!s->running && wait != INT64_MAX)
        s->timer = vb_loop_after(s->loop, (uint64_t)(wait > 0 ? wait : 1), look, s);
}

static void arm(struct service *s)
{
    vb_timer_cancel(s->timer);
    s->timer = vb_loop_after(s->loop, 0, look, s);
}

static void on_events(void *arg, short revents)
{
    struct service *s = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)revents;
    if (vb_tree_watch_read(s->tree, &s->paths, &s->all, &s->stale, &err) < 0)
        s->all = s->stale = true;
    if (!s->paths.n && !s->all)
        return;
    /* A tree that must be quiet is looked at when it may be. */
    s->changed_at = now_of(s) + (s->round.whole ? (int64_t)s->round.schedule.guard_s * 1000 + GATHER_MS : GATHER_MS);
    if (!s->running)
        arm(s);
}

static void on_signal(void *arg)
{
    struct service *s = arg;
    s->stopping = true;
    if (s->running)
        vb_replicate_cut();
    else
        vb_loop_stop(s->loop, 0);
}

int vb_replicate_watch(struct vb_cli *cli)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct service s = { .cli = cli, .loop = vb_loop_new(), .n = (size_t)cli->argc - 1 };
    static const struct vb_importer fresh = VB_IMPORTER_INIT;
    if (pipe2(s.pipe, O_CLOEXEC) < 0) {
        vb_fail_errno(&err, errno, "a pipe");
        return vb_cli_fail(cli, &err);
    }
    vb_rng_seed(&s.rng, vb_loop_now_us(s.loop) ^ ((uint64_t)getpid() << 40));
    s.targets = vb_alloc_n(s.n, sizeof *s.targets);
    s.fails = vb_alloc_n(s.n, sizeof *s.fails);
    s.round.each = vb_alloc_n(s.n, sizeof *s.round.each);
    for (size_t i = 0; i < s.n; i++)
        s.targets[i] = fresh;
    s.ended = vb_loop_watch(s.loop, s.pipe[0], POLLIN, on_ended, &s);
    vb_loop_signal(s.loop, SIGTERM, on_signal, &s);
    vb_loop_signal(s.loop, SIGINT, on_signal, &s);
    arm(&s);
    int status = vb_loop_run(s.loop);
    vb_timer_cancel(s.timer);
    vb_watch_cancel(s.events);
    vb_watch_cancel(s.ended);
    vb_tree_watch_close(s.tree);
    vb_loop_free(s.loop);
    vb_strv_clear(&s.paths);
    vb_strv_clear(&s.going);
    vb_error_clear(&s.why);
    close(s.pipe[0]);
    close(s.pipe[1]);
    free(s.targets);
    free(s.fails);
    free(s.round.each);
    return status;
}
