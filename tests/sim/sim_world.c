/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/sim/sim_world.c - the hosts: a supervisor each, the links to them, the sessions' environment, the trace.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "wire/protocol.h"

#define START_WALL_MS 1790000000000u

/* ---- bits and pieces ---- */

void sim_broken(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    VB_AUTO_FREE char *text = vb_vprintf(fmt, ap);
    va_end(ap);
    vb_strv_take(&s->broken, vb_printf("seed %llu, %llu ms: %s", (unsigned long long)s->seed,
                                       (unsigned long long)vb_loop_now_ms(s->loop), text));
}

uint64_t sim_delay(struct sim *s, uint64_t max_ms)
{
    if (vb_rng_chance(&s->rng, s->f.slow))
        max_ms *= 50;
    return vb_rng_below(&s->rng, max_ms + 1);
}

void sim_note(struct sim *s, const struct sim_job *j, size_t writer, enum vb_event ev, enum sim_what what, bool yes,
              bool no)
{
    VB_GROW(s->trace, s->n_trace, s->cap_trace);
    s->trace[s->n_trace++] =
        (struct sim_trace){ vb_loop_now_ms(s->loop), j->host->index, writer, j->number, ev, what, yes, no };
    j->host->counter++;
}

static vb_pair_action network_hook(void *arg, int from, const struct vb_msg *m, uint64_t *delay_ms)
{
    struct sim *s = arg;
    *delay_ms = sim_delay(s, 20);
    if (s->script.record && from == 1)
        (void)vb_msg_encode(m, s->script.record, NULL);
    if (s->script.cut_in > 0 && --s->script.cut_in == 0)
        return VB_PAIR_CUT;
    return vb_rng_chance(&s->rng, s->f.cut) ? VB_PAIR_CUT : VB_PAIR_PASS;
}

static vb_pair_action local_hook(void *arg, int from, const struct vb_msg *m, uint64_t *delay_ms)
{
    (void)arg;
    (void)from;
    (void)m;
    *delay_ms = 0;
    return VB_PAIR_PASS;
}

void sim_pair(struct sim *s, bool network, struct vb_conn **a, struct vb_conn **b)
{
    vb_conn_pair(s->loop, network ? network_hook : local_hook, s, a, b);
}

/* ---- the session's environment ---- */

static int env_writers(void *arg, const struct vb_job *job, struct vb_child_refs *out, struct vb_error *err)
{
    struct sim_job *j = arg;
    const struct topo_host *th = &j->host->sim->topo.hosts[j->host->index];
    (void)job;
    (void)err;
    for (size_t w = 0; w < th->n; w++) {
        VB_GROW(out->v, out->n, out->cap);
        out->v[out->n++] = (struct vb_child_ref){ .name = vb_strdup(th->writers[w].name) };
    }
    return 0;
}

static int env_providers(void *arg, struct vb_strv *names, struct vb_error *err)
{
    (void)arg;
    (void)err;
    vb_strv_add(names, "sim");
    return 0;
}

static int env_mounts(void *arg, struct vb_mounts *out, struct vb_error *err)
{
    (void)arg;
    return vb_mounts_parse(out, "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                                "22 21 8:2 / /data rw,relatime shared:2 - simfs /dev/sda2 rw\n", err);
}

static char *env_subvolume(void *arg, const char *path, const char *stop)
{
    (void)arg;
    (void)path;
    return vb_strdup(stop);
}

static int env_exists(void *arg, const char *path, const char *filespec, bool recursive, struct vb_error *err)
{
    struct sim_job *j = arg;
    (void)filespec;
    (void)recursive;
    (void)err;
    for (size_t i = 0; i < j->host->n_files; i++)
        if (vb_path_below(j->host->files[i].path, path))
            return 1;
    return 0;
}

static int env_start(void *arg, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out,
                     struct vb_error *err)
{
    (void)err;
    return sim_child_start(arg, kind, who, out);
}

static void env_stop(void *arg, struct vb_child *c, bool kill)
{
    sim_child_stop(arg, c, kill);
}

static bool env_data_ready(void *arg)
{
    const struct sim_job *j = arg;
    return j->data != NULL;
}

struct answer { struct sim_job *j; enum vb_watchdog_call call; };

static void watchdog_answer(void *arg)
{
    struct answer *a = arg;
    if (!a->j->over)
        vb_session_watchdog_done(a->j->session, a->call, NULL);
    free(a);
}

static void env_watchdog(void *arg, enum vb_watchdog_call call, uint64_t deadline_ms, const int *pids, size_t n_pids,
                         const struct vb_strv *mounts)
{
    struct answer *a = vb_alloc(sizeof *a);
    (void)deadline_ms;
    (void)pids;
    (void)n_pids;
    (void)mounts;
    *a = (struct answer){ arg, call };
    vb_loop_post(((struct sim_job *)arg)->host->sim->loop, watchdog_answer, a);
}

static void env_window(void *arg, bool inside)
{
    struct sim_job *j = arg;
    if (!j->recovering)
        vb_dialog_hold(j->dialog, inside);
}

static void slot_granted(void *arg)
{
    struct sim_job *j = arg;
    if (j->host->slot == j && !j->over)
        vb_session_slot(j->session, 0, NULL);
}

/* The queue of snapshot sets (B-22): first come, first served. */
static void next_slot(struct sim_host *h)
{
    for (size_t i = 0; i < h->n_jobs && !h->slot; i++)
        if (h->jobs[i]->wants_slot && !h->jobs[i]->over) {
            h->slot = h->jobs[i];
            vb_loop_post(h->sim->loop, slot_granted, h->slot);
        }
}

static void env_slot(void *arg, bool want)
{
    struct sim_job *j = arg;
    j->wants_slot = want;
    if (!want && j->host->slot == j)
        j->host->slot = NULL;
    next_slot(j->host);
}

static void env_service(void *arg, const char *name, bool start)
{
    struct sim_job *j = arg;
    sim_broken(j->host->sim, "service '%s' asked for: %d", name, start);
}

static int env_keep(void *arg, const char *name, const void *p, size_t n, struct vb_error *err)
{
    struct sim_job *j = arg;
    (void)name;
    (void)err;
    vb_buf_reset(&j->kept);
    vb_buf_add(&j->kept, p, n);
    return 0;
}

static void env_reply(void *arg, const struct vb_msg *m)
{
    struct sim_job *j = arg;
    if (!j->recovering)
        vb_dialog_reply(j->dialog, m);
}

static void env_event(void *arg, struct vb_msg *m)
{
    struct sim_job *j = arg;
    if (!j->recovering)
        vb_dialog_event(j->dialog, m);
}

static void drop_job(void *arg);

static void env_ended(void *arg, const struct vb_error *why)
{
    struct sim_job *j = arg;
    (void)why;
    j->over = true;
    env_slot(j, false);
    if (j->recovering)
        vb_loop_post(j->host->sim->loop, drop_job, j);
    else
        vb_dialog_finish(j->dialog, 5000);
}

/* ---- jobs ---- */

static void on_command(void *arg, const struct vb_msg *m)
{
    struct sim_job *j = arg;
    vb_session_command(j->session, m);
}

static void on_lease_over(void *arg)
{
    struct sim_job *j = arg;
    vb_session_end(j->session, VB_E_CONNECTION_LOST, "the lease ran out");
}

static void drop_job(void *arg)
{
    struct sim_job *j = arg;
    struct sim_host *h = j->host;
    j->over = true;
    vb_loop_unpost(h->sim->loop, j);
    env_slot(j, false);
    vb_dialog_free(VB_STEAL(j->dialog));
    vb_session_free(VB_STEAL(j->session));
    sim_children_drop(j);
    vb_conn_free(VB_STEAL(j->data));
    vb_journal_close(j->env.journal);
    j->env.journal = NULL;
    vb_free_ptr(&j->id);     /* nobody finds it any more */
    vb_free_ptr(&j->token);
}

static void on_flushed(void *arg)
{
    struct sim_job *j = arg;
    vb_loop_post(j->host->sim->loop, drop_job, j);
}

static struct sim_job *find_job(struct sim_host *h, const char *id)
{
    for (size_t i = 0; i < h->n_jobs; i++)
        if (h->jobs[i]->id && id && strcmp(h->jobs[i]->id, id) == 0)
            return h->jobs[i];
    return NULL;
}

static struct sim_job *make_job(struct sim_host *h, struct vb_job *doc, const void *xml, size_t n)
{
    static const struct vb_dialog_handler handler = { on_command, on_lease_over, on_flushed };
    struct sim *s = h->sim;
    struct sim_job *j = vb_alloc(sizeof *j);
    j->host = h;
    j->id = vb_strdup(doc->job_id);
    j->token = vb_printf("token-%s", doc->job_id);
    j->number = ++s->jobs;
    j->kind = doc->kind;
    vb_buf_add(&j->doc, xml, n);
    j->writer_failed = vb_alloc_n(s->topo.hosts[h->index].n + 1, sizeof *j->writer_failed);
    j->env = (struct vb_session_env){ .arg = j, .loop = s->loop, .journal = vb_journal_memory("worker"),
                                      .host = s->topo.hosts[h->index].name, .writers = env_writers,
                                      .providers = env_providers, .mounts = env_mounts, .subvolume = env_subvolume,
                                      .exists = env_exists, .start = env_start, .stop = env_stop,
                                      .data_ready = env_data_ready, .watchdog = env_watchdog, .window = env_window,
                                      .slot = env_slot, .service = env_service, .reply = env_reply, .event = env_event,
                                      .keep = env_keep, .ended = env_ended };
    vb_limits_init(&j->env.limits);
    j->dialog = vb_dialog_new(s->loop, j->id, j->token, doc->lease_ms, &handler, j);
    j->session = vb_session_new(&j->env, doc);
    VB_GROW(h->jobs, h->n_jobs, h->cap_jobs);
    h->jobs[h->n_jobs++] = j;
    return j;
}

/* ---- the supervisor's door ---- */

struct visitor { struct sim_host *h; struct vb_conn *c; };

static void send_lost(struct vb_conn *c, uint64_t id)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ERROR);
    m.id = id;
    vb_msg_add_u64(&m, VB_F_CODE, VB_E_JOB_LOST);
    vb_msg_add_str(&m, VB_F_TEXT, "there is no such job");
    vb_conn_send(c, &m);
    vb_conn_finish(c);
}

static void data_over(void *arg, const struct vb_error *why)
{
    struct sim_job *j = arg;
    (void)why;
    vb_conn_free(VB_STEAL(j->data));
}

static void data_early(void *arg, struct vb_msg *m)
{
    (void)arg;
    (void)m;
}

static const struct vb_conn_handler idle_data = { data_early, data_over, NULL };

static void deaf_msg(void *arg, struct vb_msg *m)
{
    (void)arg;
    (void)m;
}

static void deaf_close(void *arg, const struct vb_error *why)
{
    (void)why;
    vb_conn_free(arg);
}

static const struct vb_conn_handler *deaf(void)
{
    static const struct vb_conn_handler h = { deaf_msg, deaf_close, NULL };
    return &h;
}

static void visitor_msg(void *arg, struct vb_msg *m)
{
    struct visitor *v = arg;
    struct sim_host *h = v->h;
    struct vb_conn *c = v->c;
    VB_AUTO_FREE char *id = vb_msg_str(m, VB_F_JOB), *token = vb_msg_str(m, VB_F_TOKEN);
    struct sim_job *j = find_job(h, id);
    uint64_t seq = vb_msg_u64(m, VB_F_SEQ, 0);
    uint16_t type = m->type;
    if (type == VB_M_OPEN && h->manner != SIM_ORDERLY) {
        VB_AUTO_MSG odd = VB_MSG_INIT(VB_M_WANT);
        if (h->manner == SIM_GARBAGE)
            vb_conn_send(c, &odd);
        vb_conn_set_handler(c, deaf(), c);
    } else if (type == VB_M_OPEN) {
        const unsigned char *xml = NULL;
        size_t n = 0;
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        (void)vb_msg_bytes(m, VB_F_JOB_DOC, &xml, &n);
        struct vb_job *doc = vb_job_read("job", xml ? (const void *)xml : "", n, &e);
        if (!doc) {
            sim_broken(h->sim, "job document refused: %s", vb_error_text(&e));
            return;
        }
        j = find_job(h, doc->job_id);
        if (j)
            vb_job_free(doc);
        else
            j = make_job(h, doc, xml, n);
        vb_conn_set_handler(c, NULL, NULL);
        vb_dialog_attach(j->dialog, c, VB_M_OPENED, m->id, 0);
    } else if (!j || !j->dialog || strcmp(j->token, token ? token : "") != 0) {
        send_lost(c, m->id);
        vb_conn_set_handler(c, deaf(), c);
    } else if (type == VB_M_ATTACH) {
        vb_conn_set_handler(c, NULL, NULL);
        vb_dialog_attach(j->dialog, c, VB_M_ATTACHED, m->id, seq);
    } else {
        VB_AUTO_MSG ok = VB_MSG_INIT(VB_M_DATA_OK);
        vb_conn_free(j->data);
        j->data = c;
        vb_conn_set_handler(c, &idle_data, j);
        vb_conn_send(c, &ok);
    }
    free(v);
}

static void visitor_close(void *arg, const struct vb_error *why)
{
    struct visitor *v = arg;
    (void)why;
    vb_conn_free(v->c);
    free(v);
}

/* ---- links ---- */

struct dial { struct sim *s; size_t host; vb_link_fn *fn; void *arg; struct vb_timer *timer; };

static void dialled(void *arg)
{
    static const struct vb_conn_handler handler = { visitor_msg, visitor_close, NULL };
    struct dial *d = arg;
    struct sim *s = d->s;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_link_fn *fn = d->fn;
    void *fn_arg = d->arg;
    size_t host = d->host;
    free(d);
    if (host == SIZE_MAX || s->topo.hosts[host].unreachable || vb_rng_chance(&s->rng, s->f.link_refused)) {
        vb_fail(&e, host == SIZE_MAX ? VB_E_HOST_UNKNOWN : VB_E_CONNECT, "host cannot be reached");
        fn(fn_arg, NULL, &e);
        return;
    }
    struct vb_conn *mine, *theirs;
    sim_pair(s, true, &mine, &theirs);
    struct visitor *v = vb_alloc(sizeof *v);
    *v = (struct visitor){ &s->hosts[host], theirs };
    vb_conn_set_handler(theirs, &handler, v);
    fn(fn_arg, mine, NULL);
}

static void *link_open(void *ctx, const char *host, vb_link_fn *fn, void *arg)
{
    struct sim *s = ctx;
    struct dial *d = vb_alloc(sizeof *d);
    *d = (struct dial){ s, SIZE_MAX, fn, arg, NULL };
    for (size_t h = 0; h < s->topo.n; h++)
        if (strcmp(s->topo.hosts[h].name, host) == 0)
            d->host = h;
    d->timer = vb_loop_after(s->loop, 1 + sim_delay(s, 100), dialled, d);
    return d;
}

static void link_cancel(void *ctx, void *handle)
{
    struct dial *d = handle;
    (void)ctx;
    vb_timer_cancel(d->timer);
    free(d);
}

/* ---- crash, begin and end ---- */

/* The supervisor cleans up after a dead worker at once, from its journal (house plan, idea 2). */
static void recover(struct sim_job *j)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    j->over = false;
    j->recovering = true;
    j->session = vb_session_recover(&j->env, vb_job_read("job", j->doc.data, j->doc.len, &e), &j->kept, &e);
    if (!j->session) {
        sim_broken(j->host->sim, "a dead worker cannot be cleaned up: %s", vb_error_text(&e));
        j->over = true;
        return;
    }
    vb_session_end(j->session, VB_E_JOB_LOST, "the worker died");
}

static void free_left(struct sim_job *j)
{
    vb_journal_close(j->env.journal);
    j->env.journal = NULL;
}

void sim_agent_crash(struct sim_host *h)
{
    size_t n = h->n_jobs;
    h->slot = NULL;
    h->crashed = true;
    for (size_t i = 0; i < n; i++) {
        struct sim_job *j = h->jobs[i];
        if (!j->session)
            continue;
        struct vb_journal *journal = VB_STEAL(j->env.journal);
        drop_job(j);
        j->env.journal = journal;
        if (j->recovering)
            free_left(j); /* the test is at its end */
        else
            recover(j);
    }
}

void sim_init(struct sim *s, uint64_t seed, const struct sim_faults *f)
{
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->f = *f;
    s->loop = vb_loop_new_virtual(START_WALL_MS);
    vb_rng_seed(&s->rng, seed);
    s->links = (struct vb_links){ .loop = s->loop, .ctx = s, .open = link_open, .cancel = link_cancel };
}

void sim_start(struct sim *s)
{
    topo_documents(&s->topo);
    s->hosts = vb_alloc_n(s->topo.n + 1, sizeof *s->hosts);
    for (size_t h = 0; h < s->topo.n; h++) {
        s->hosts[h].sim = s;
        s->hosts[h].index = h;
        s->hosts[h].counter = 1;
        s->hosts[h].apps = vb_alloc_n(s->topo.hosts[h].n + 1, sizeof *s->hosts[h].apps);
    }
    sim_store_init(s);
}

void sim_free(struct sim *s)
{
    for (size_t h = 0; h < s->topo.n; h++) {
        struct sim_host *sh = &s->hosts[h];
        for (size_t i = 0; i < sh->n_jobs; i++) {
            if (sh->jobs[i]->session)
                drop_job(sh->jobs[i]);
            vb_buf_clear(&sh->jobs[i]->doc);
            free(sh->jobs[i]->writer_failed);
            free(sh->jobs[i]->children);
            vb_buf_clear(&sh->jobs[i]->kept);
            free(sh->jobs[i]);
        }
        for (size_t i = 0; i < sh->n_files; i++) {
            free(sh->files[i].path);
            free(sh->files[i].content);
        }
        for (size_t i = 0; i < sh->n_snaps; i++)
            free(sh->snaps[i].id);
        free(sh->files);
        free(sh->jobs);
        free(sh->apps);
        free(sh->snaps);
    }
    free(s->hosts);
    sim_store_free(s);
    free(s->trace);
    vb_strv_clear(&s->broken);
    vb_loop_free(s->loop);
    topo_clear(&s->topo);
    memset(s, 0, sizeof *s);
}
