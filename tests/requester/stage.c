/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stage of the executor's tests. */
#include "tests/requester/stage.h"

/* ---- the stage ---- */

enum sim_mishap writer_mishap(void *arg, size_t host, size_t writer, enum vb_event ev)
{
    const struct stage *t = arg;
    return host == t->host && writer == t->writer && ev == t->event ? t->mishap : SIM_FINE;
}

bool provider_mishap(void *arg, size_t host, const char *call)
{
    const struct stage *t = arg;
    return host == t->host && strcmp(call, t->what) == 0;
}

bool mover_mishap(void *arg, size_t host, const char *component)
{
    const struct stage *t = arg;
    return host == t->host && strcmp(component, t->what) == 0;
}

static void guid(void *arg, char out[37])
{
    topo_guid(arg, out);
}

struct stage *set_up(bool with_spare)
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

void forget(struct stage *t)
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

void tear_down(struct stage *t)
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

static void on_progress(void *arg, const struct vb_run_progress *p)
{
    struct stage *t = arg;
    if (p->phase == VB_PHASE_RUN && p->bytes_total > t->total)
        t->total = p->bytes_total;
    t->estimate = t->estimate || p->estimate;
}

const struct vb_run_handler stage_handler = { on_plan, NULL, on_progress, NULL, on_done };

void settle(struct stage *t)
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

void begin(struct stage *t)
{
    forget(t);
    t->done = false;
    t->s.n_trace = 0;
    t->total = 0;
    t->estimate = false;
}

void backup(struct stage *t)
{
    begin(t);
    t->run = vb_run_backup(&t->env, &t->opt, &stage_handler, t);
    settle(t);
}

void restore(struct stage *t)
{
    begin(t);
    t->run = vb_run_restore(&t->env, &t->opt, &stage_handler, t);
    settle(t);
}

const struct part *part(const struct stage *t, const char *name)
{
    for (size_t i = 0; i < t->n_parts; i++)
        if (strcmp(t->parts[i].name, name) == 0)
            return &t->parts[i];
    fail_msg("component '%s' is not in the report", name);
    return NULL;
}

void is(const struct stage *t, const char *name, enum vb_completeness done, enum vb_code code)
{
    const struct part *p = part(t, name);
    if (p->done != done || p->code != code)
        fail_msg("'%s' is %s with %s (%s)", name, vb_completeness_word(p->done), vb_code_name(p->code),
                 p->text ? p->text : "");
}

unsigned count(const struct stage *t, size_t host, size_t writer, enum vb_event ev)
{
    unsigned n = 0;
    for (size_t i = 0; i < t->s.n_trace; i++) {
        const struct sim_trace *e = &t->s.trace[i];
        n += e->host == host && (writer == SIZE_MAX || e->writer == writer) && e->event == ev &&
             e->what == SIM_EVENT_BEGIN;
    }
    return n;
}

bool told(const struct stage *t, size_t host, size_t writer, bool success)
{
    for (size_t i = 0; i < t->s.n_trace; i++) {
        const struct sim_trace *e = &t->s.trace[i];
        if (e->host == host && e->writer == writer && e->event == VB_EV_BACKUP_COMPLETE && e->what == SIM_EVENT_BEGIN)
            return success ? e->told_success && !e->told_failure : e->told_failure && !e->told_success;
    }
    return false;
}

void mishap(struct stage *t, size_t host, size_t writer, enum vb_event ev, enum sim_mishap m)
{
    t->host = host;
    t->writer = writer;
    t->event = ev;
    t->mishap = m;
    t->s.script.writer = writer_mishap;
}
