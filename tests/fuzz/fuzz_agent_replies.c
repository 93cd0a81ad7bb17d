/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz_agent_replies.c - an agent that says anything: a whole backup whose answers are the input's frames.
 * The corpus is written by RECORD_AGENT=tests/fuzz/corpus/agent_replies ./test_executor.
 *
 * Whatever comes, the run must end, in bounded virtual time, and must not claim a component for which nothing was
 * captured.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "tests/sim/sim.h"
#include "wire/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct stranger {
    struct sim sim;
    struct vb_buf in;
    struct vb_conn *open[64];
    size_t n_open;
    bool done;
};
struct line { struct stranger *x; struct vb_conn *c; };

static void drop(struct stranger *x, const struct vb_conn *c)
{
    for (size_t i = 0; i < x->n_open; i++)
        if (x->open[i] == c)
            x->open[i] = x->open[--x->n_open];
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct line *l = arg;
    (void)why;
    drop(l->x, l->c);
    vb_conn_free(l->c);
    free(l);
}

static void say(struct line *l, uint16_t type, uint64_t id)
{
    VB_AUTO_MSG m = VB_MSG_INIT(type);
    m.id = id;
    if (type == VB_M_OPENED)
        vb_msg_add_str(&m, VB_F_TOKEN, "token");
    vb_conn_send(l->c, &m);
}

/* Streams are opened and jobs released as they should be, so that the input is spent on what matters: events, and the
 * answers to commands. */
static void on_msg(void *arg, struct vb_msg *m)
{
    struct line *l = arg;
    if (m->type == VB_M_OPEN || m->type == VB_M_ATTACH || m->type == VB_M_RELEASE) {
        say(l, m->type == VB_M_OPEN ? VB_M_OPENED : m->type == VB_M_ATTACH ? VB_M_ATTACHED : VB_M_REPLY, m->id);
        return;
    }
    if (m->type == VB_M_DATA) {
        say(l, VB_M_DATA_OK, 0);
        say(l, VB_M_DATA_END, 0);
        return;
    }
    for (int i = 0; i < 400; i++) {
        VB_AUTO_MSG out = VB_MSG_INIT(0);
        if (vb_msg_decode(&l->x->in, &out, NULL) <= 0)
            return;
        if (out.type != VB_M_EVENT && out.type != VB_M_REPLY && out.type != VB_M_ERROR)
            continue;
        bool release = out.type == VB_M_REPLY && out.id == VB_M_RELEASE;
        out.id = m->id;
        if (!release)
            vb_conn_send(l->c, &out);
        if (!release && out.type == VB_M_REPLY)
            return;
    }
}

static void dialled(void *arg);
struct dial { struct stranger *x; vb_link_fn *fn; void *arg; struct vb_timer *timer; };

static void dialled(void *arg)
{
    static const struct vb_conn_handler handler = { on_msg, on_close, NULL };
    struct dial d = *(struct dial *)arg;
    struct vb_conn *mine, *theirs;
    free(arg);
    if (d.x->n_open == VB_COUNT(d.x->open)) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_fail(&e, VB_E_CONNECT, "too many");
        d.fn(d.arg, NULL, &e);
        return;
    }
    vb_conn_pair(d.x->sim.loop, NULL, NULL, &mine, &theirs);
    struct line *l = vb_alloc(sizeof *l);
    *l = (struct line){ d.x, theirs };
    d.x->open[d.x->n_open++] = theirs;
    vb_conn_set_handler(theirs, &handler, l);
    d.fn(d.arg, mine, NULL);
}

static void *link_open(void *ctx, const char *host, vb_link_fn *fn, void *arg)
{
    struct dial *d = vb_alloc(sizeof *d);
    (void)host;
    *d = (struct dial){ ctx, fn, arg, NULL };
    d->timer = vb_loop_after(d->x->sim.loop, 10, dialled, d);
    return d;
}

static void link_cancel(void *ctx, void *handle)
{
    struct dial *d = handle;
    (void)ctx;
    vb_timer_cancel(d->timer);
    free(d);
}

static const char *resolve(void *arg, const char *from, const char *text)
{
    (void)arg;
    (void)from;
    return strcmp(text, "backend") == 0 ? "backend" : NULL;
}

static void on_done(void *arg, const struct vb_run_result *r)
{
    struct stranger *x = arg;
    x->done = true;
    for (size_t i = 0; i < r->n_components; i++)
        if (r->components[i].completeness != VB_FAILED && !r->backup_id)
            abort(); /* a claim without a backup */
}

static void guid(void *arg, char out[37])
{
    topo_guid(arg, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vb_run_handler handler = { .done = on_done };
    struct stranger *x = vb_alloc(sizeof *x);
    struct sim_faults none = { 0 };
    vb_log_set_level(VB_LOG_ERROR);
    if (!getenv("VBACKUP_SCHEMA_DIR"))
        setenv("VBACKUP_SCHEMA_DIR", VB_TEST_SRCDIR "/documents/schema", 1);
    sim_init(&x->sim, 1, &none);
    sim_start(&x->sim);
    vb_buf_add(&x->in, data, size);
    struct vb_links links = { .loop = x->sim.loop, .ctx = x, .open = link_open, .cancel = link_cancel };
    struct vb_run_env env = { .loop = x->sim.loop, .links = &links, .store = &x->sim.store, .new_guid = guid,
                              .guid_arg = &x->sim.rng };
    struct vb_run_options opt = {
        .front_end = "fe", .missing = VB_MISSING_CONTINUE, .resolve = resolve, .requester = "fuzz"
    };
    struct vb_run *run = vb_run_backup(&env, &opt, &handler, x);
    for (unsigned i = 0; !x->done && i < 200000; i++)
        if (!vb_loop_turn(x->sim.loop, 0))
            break;
    if (!x->done)
        abort(); /* stuck */
    vb_run_free(run);
    for (unsigned i = 0; i < 10000 && x->n_open > 0 && vb_loop_turn(x->sim.loop, 0); i++)
        ;
    vb_buf_clear(&x->in);
    sim_free(&x->sim);
    free(x);
    return 0;
}
