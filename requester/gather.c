/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/gather.c - Identify on all hosts of the closure, in parallel.
 */
#include "requester/gather.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "documents/events.h"
#include "requester/remote_job.h"
#include "wire/protocol.h"

#define IDENTIFY_MS 300000u
#define RELEASE_MS 30000u
#define LEASE_MS 3000u  /* nothing is lost with a throw-away job */

struct ask {
    struct vb_gather *g;
    struct vb_gather_host host;
    bool initial;
    struct vb_rjob *job;   /* until the job has ended */
};

struct vb_gather {
    struct vb_gather_params p;
    struct vb_gather_handler h;
    void *arg;
    struct ask **asks;     /* pointers: callbacks hold them */
    size_t n, cap, pending;
    bool done;
    struct vb_gather_host *view; /* sorted copy of the structs, made at the end; owns nothing */
    vb_loop_fn *settled_fn;
    void *settled_arg;
    struct vb_timer *settle_timer;
};

static void advance(struct vb_gather *g);

void vb_gather_host_clear(struct vb_gather_host *h)
{
    for (size_t i = 0; i < h->n_writers; i++)
        vb_wm_free(h->writers[i]);
    for (size_t i = 0; i < h->n_failed; i++) {
        free(h->failed[i].writer);
        free(h->failed[i].class_id);
        vb_error_clear(&h->failed[i].error);
    }
    free(h->writers);
    free(h->failed);
    free(h->name);
    vb_error_clear(&h->error);
    memset(h, 0, sizeof *h);
}

static struct ask *find(const struct vb_gather *g, const char *host)
{
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(g->asks[i]->host.name, host) == 0)
            return g->asks[i];
    return NULL;
}

/* ---- reading the answer ---- */

static struct vb_gather_failed *add_failed(struct vb_gather_host *h, char *writer, struct vb_error *err)
{
    VB_GROW(h->failed, h->n_failed, h->cap_failed);
    struct vb_gather_failed *f = &h->failed[h->n_failed++];
    memset(f, 0, sizeof *f);
    f->writer = writer;
    vb_error_move(&f->error, err);
    return f;
}

static void add_document(struct vb_gather_host *h, const void *xml, size_t n, char *name_if_broken)
{
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_FREE char *origin = vb_printf("writer metadata from host '%s'", h->name ? h->name : "?");
    struct vb_writer_metadata *m = vb_wm_read(origin, xml, n, &e);
    if (!m) {
        add_failed(h, name_if_broken, &e);
        return;
    }
    free(name_if_broken);
    VB_GROW(h->writers, h->n_writers, h->cap_writers);
    h->writers[h->n_writers++] = m;
}

void vb_gather_read_reply(struct vb_gather_host *h, const struct vb_msg *m)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg group = vb_msg_view(p, n);
        if (tag == VB_F_WMD) {
            const unsigned char *xml = NULL;
            size_t len = 0;
            char *class_id = vb_msg_str(&group, VB_F_CLASS);
            if (!vb_msg_bytes(&group, VB_F_XML, &xml, &len))
                len = 0;
            add_document(h, xml ? (const void *)xml : "", len, class_id ? class_id : vb_strdup("unknown"));
        } else if (tag == VB_F_FAILED) {
            VB_AUTO_ERROR e = VB_ERROR_INIT;
            char *writer = vb_msg_str(&group, VB_F_INSTANCE_NAME);
            if (!writer || !*writer) {
                free(writer);
                writer = vb_msg_str(&group, VB_F_WRITER);
            }
            if (vb_msg_error(&group, &e) == 0)
                vb_fail(&e, VB_E_UNEXPECTED, "Identify failed without a reason");
            struct vb_gather_failed *f = add_failed(h, writer ? writer : vb_strdup("unknown"), &e);
            f->class_id = vb_msg_str(&group, VB_F_CLASS);
            f->required = vb_msg_u64(&group, VB_F_REQUIRED, 0) != 0;
        }
    }
}

/* ---- one host ---- */

static void answered(struct ask *a)
{
    struct vb_gather *g = a->g;
    a->host.asked = true;
    g->pending--;
    advance(g);
}

static void failed(struct ask *a, const struct vb_error *err)
{
    struct vb_gather *g = a->g;
    vb_error_copy(&a->host.error, err);
    vb_rjob_free(VB_STEAL(a->job));
    if (g->h.call)
        g->h.call(g->arg, a->host.name, "IDENTIFY", err);
    answered(a);
}

static void settle(struct vb_gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->asks[i]->job)
            return;
    if (!g->settled_fn)
        return;
    vb_loop_fn *fn = g->settled_fn;
    g->settled_fn = NULL;
    vb_timer_cancel(g->settle_timer);
    g->settle_timer = NULL;
    fn(g->settled_arg);
}

static void on_released(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct ask *a = arg;
    (void)m;
    (void)err;
    vb_rjob_finish(a->job);
    vb_rjob_free(VB_STEAL(a->job));
    settle(a->g);
}

static void on_identified(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct ask *a = arg;
    if (!m || err) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_error_copy(&e, err);
        failed(a, &e);
        return;
    }
    vb_gather_read_reply(&a->host, m);
    a->host.reached = true;
    if (a->g->h.call)
        a->g->h.call(a->g->arg, a->host.name, "IDENTIFY", NULL);
    struct vb_msg release = VB_MSG_INIT(VB_M_RELEASE);
    release.id = VB_M_RELEASE;
    vb_rjob_command(a->job, &release, RELEASE_MS, on_released, a);
    answered(a);
}

static void on_opened(void *arg, const struct vb_error *err)
{
    struct ask *a = arg;
    if (err) {
        VB_AUTO_ERROR e = VB_ERROR_INIT;
        vb_error_copy(&e, err);
        failed(a, &e);
        return;
    }
    struct vb_msg m = VB_MSG_INIT(VB_M_IDENTIFY);
    m.id = VB_M_IDENTIFY;
    vb_rjob_command(a->job, &m, IDENTIFY_MS, on_identified, a);
}

static void on_event(void *arg, uint64_t seq, const struct vb_msg *m)
{
    struct ask *a = arg;
    if (a->g->h.event)
        a->g->h.event(a->g->arg, a->host.name, seq, m);
}

static void on_lost(void *arg, const struct vb_error *why)
{
    struct ask *a = arg;
    if (a->host.asked) { /* only its release was open */
        vb_rjob_free(VB_STEAL(a->job));
        settle(a->g);
        return;
    }
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_error_copy(&e, why);
    failed(a, &e);
}

static void ask_agent(struct ask *a)
{
    static const struct vb_rjob_handler handler = { on_event, NULL, on_lost };
    struct vb_gather *g = a->g;
    char id[VB_GUID_LEN + 1];
    g->p.new_guid(g->p.guid_arg, id);
    struct vb_job *job = vb_job_new(VB_JOB_IDENTIFY, a->host.name);
    free(job->job_id);
    job->job_id = vb_strdup(id);
    free(job->run_id);
    job->run_id = vb_strdup(g->p.run_id);
    job->requester = vb_strdup(g->p.requester);
    job->created_ms = vb_loop_wall_ms(g->p.loop);
    job->lease_ms = LEASE_MS;
    job->backup_type = VB_BACKUP_FULL;
    for (size_t i = 0; i < g->p.n_policies; i++) {
        VB_GROW(job->writers, job->n_writers, job->cap_writers);
        job->writers[job->n_writers++] = (struct vb_job_writer){ vb_strdup(g->p.policies[i].writer), g->p.policies[i].policy };
    }
    if (strcmp(a->host.name, g->p.front_end) != 0) {
        job->front_end = vb_strdup(g->p.front_end);
    } else {
        for (size_t i = 0; g->p.paths && i < g->p.paths->n; i++)
            vb_strv_add(&job->paths, g->p.paths->v[i]);
        for (size_t i = 0; g->p.path_rules && i < g->p.path_rules->n; i++)
            vb_strv_add(&job->path_rules, g->p.path_rules->v[i]);
    }
    VB_AUTO_BUF doc = VB_BUF_INIT;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    int r = vb_job_write(job, &doc, &e);
    vb_job_free(job);
    if (r < 0) {
        failed(a, &e);
        return;
    }
    struct vb_rjob_params p = { .links = g->p.links, .host = a->host.name, .job_id = id, .job_doc = doc.data,
                                .job_doc_len = doc.len, .lease_ms = LEASE_MS, .attempts = 1 };
    a->job = vb_rjob_new(&p, &handler, a);
    vb_rjob_open(a->job, on_opened, a);
}

static void read_offline(struct ask *a)
{
    struct vb_run_state *s = a->g->p.offline;
    VB_AUTO_FREE char *dir = vb_printf("last/%s", a->host.name);
    struct vb_strv names = { 0 };
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    int r = s->list(s->ctx, dir, &names, &e);
    if (r == 0 && names.n == 0) {
        r = vb_fail(&e, VB_E_NOT_FOUND, "host '%s': no metadata of an earlier run are kept here", a->host.name);
        vb_hint(&e, "run 'vbackup plan backup' without --offline once");
    }
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        VB_AUTO_FREE char *name = vb_printf("%s/%s", dir, names.v[i]);
        VB_AUTO_BUF b = VB_BUF_INIT;
        r = s->load(s->ctx, name, &b, &e);
        if (r == 0)
            add_document(&a->host, b.data ? (const void *)b.data : "", b.len, vb_strdup(names.v[i]));
    }
    vb_strv_clear(&names);
    if (r < 0) {
        failed(a, &e);
        return;
    }
    a->host.reached = true;
    answered(a);
}

static void begin(void *arg)
{
    struct ask *a = arg;
    if (a->g->p.offline)
        read_offline(a);
    else
        ask_agent(a);
}

static void add(struct vb_gather *g, const char *host, bool initial)
{
    if (find(g, host))
        return;
    struct ask *a = vb_alloc(sizeof *a);
    a->g = g;
    a->host.name = vb_strdup(host);
    a->initial = initial;
    VB_GROW(g->asks, g->n, g->cap);
    g->asks[g->n++] = a;
    g->pending++;
    vb_loop_post(g->p.loop, begin, a);
}

/* ---- all hosts ---- */

struct vb_sel_host *vb_gather_sel_hosts(const struct vb_gather *g, size_t *n, size_t **map)
{
    struct vb_sel_host *v = vb_alloc_n(g->n + 1, sizeof *v);
    *map = vb_alloc_n(g->n + 1, sizeof **map);
    *n = 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct vb_gather_host *h = g->view ? &g->view[i] : &g->asks[i]->host;
        if (!h->reached)
            continue;
        (*map)[*n] = i;
        v[(*n)++] = (struct vb_sel_host){ h->name, h->writers, h->n_writers };
    }
    return v;
}

/* Asks that name a host which was not reached would be an error of the selection. */
static struct vb_ask *asks_of_reached(const struct vb_gather *g, size_t *n)
{
    const struct vb_select_options *o = g->p.select;
    struct vb_ask *v = vb_alloc_n(o->n_asks + 1, sizeof *v);
    *n = 0;
    for (size_t i = 0; i < o->n_asks; i++) {
        const struct ask *a = find(g, o->asks[i].host ? o->asks[i].host : g->p.front_end);
        if (a && a->host.reached)
            v[(*n)++] = o->asks[i];
    }
    return v;
}

static void close_over(struct vb_gather *g)
{
    struct vb_select_options o = *g->p.select;
    size_t n_asks = 0, n_hosts = 0;
    struct vb_ask *asks = asks_of_reached(g, &n_asks);
    VB_AUTO_FREE size_t *map = NULL;
    struct vb_sel_host *hosts = vb_gather_sel_hosts(g, &n_hosts, &map);
    o.asks = asks;
    o.n_asks = n_asks;
    o.missing = VB_MISSING_CONTINUE;
    struct vb_selection s = { 0 };
    if (n_hosts > 0 && (n_asks > 0 || g->p.select->n_asks == 0) && vb_select_backup(hosts, n_hosts, &o, &s, NULL) == 0)
        for (size_t i = 0; i < s.n_missing; i++)
            if (s.missing[i].host && s.missing[i].host_not_gathered)
                add(g, s.missing[i].host, false);
    vb_selection_clear(&s);
    free(hosts);
    free(asks);
}

static int by_name(const void *pa, const void *pb)
{
    const struct ask *a = *(struct ask *const *)pa, *b = *(struct ask *const *)pb;
    return strcmp(a->host.name, b->host.name);
}

static void finish(void *arg)
{
    struct vb_gather *g = arg;
    g->h.done(g->arg);
}

static void advance(struct vb_gather *g)
{
    if (!g->p.fixed)
        close_over(g);
    if (g->pending > 0 || g->done)
        return;
    g->done = true;
    size_t first = 0;
    while (first < g->n && g->asks[first]->initial)
        first++;
    if (g->n > first)
        qsort(g->asks + first, g->n - first, sizeof *g->asks, by_name);
    g->view = vb_alloc_n(g->n + 1, sizeof *g->view);
    for (size_t i = 0; i < g->n; i++)
        g->view[i] = g->asks[i]->host;
    vb_loop_post(g->p.loop, finish, g);
}

struct vb_gather *vb_gather_start(const struct vb_gather_params *p, const struct vb_gather_handler *h, void *arg)
{
    struct vb_gather *g = vb_alloc(sizeof *g);
    g->p = *p;
    g->h = *h;
    g->arg = arg;
    if (p->fixed) {
        for (size_t i = 0; i < p->fixed->n; i++)
            add(g, p->fixed->v[i], true);
    } else {
        bool front = p->select->n_asks == 0;
        for (size_t i = 0; i < p->select->n_asks; i++)
            front = front || !p->select->asks[i].host;
        if (front)
            add(g, p->front_end, true);
        for (size_t i = 0; i < p->select->n_asks; i++)
            if (p->select->asks[i].host)
                add(g, p->select->asks[i].host, true);
    }
    if (g->n == 0) {
        g->done = true;
        g->view = vb_alloc_n(1, sizeof *g->view);
        vb_loop_post(p->loop, finish, g);
    }
    return g;
}

void vb_gather_free(struct vb_gather *g)
{
    if (!g)
        return;
    vb_timer_cancel(g->settle_timer);
    vb_loop_unpost(g->p.loop, g);
    for (size_t i = 0; i < g->n; i++) {
        vb_loop_unpost(g->p.loop, g->asks[i]);
        vb_rjob_free(g->asks[i]->job);
        vb_gather_host_clear(&g->asks[i]->host);
        free(g->asks[i]);
    }
    free(g->asks);
    free(g->view);
    free(g);
}

const struct vb_gather_host *vb_gather_hosts(const struct vb_gather *g, size_t *n)
{
    *n = g->n;
    return g->view;
}

static void settle_late(void *arg)
{
    struct vb_gather *g = arg;
    g->settle_timer = NULL;
    for (size_t i = 0; i < g->n; i++)
        vb_rjob_free(VB_STEAL(g->asks[i]->job));
    settle(g);
}

static void on_cancelled(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct ask *a = arg;
    if (!m) {
        on_released(arg, m, err);
        return;
    }
    struct vb_msg release = VB_MSG_INIT(VB_M_RELEASE);
    release.id = VB_M_RELEASE;
    vb_rjob_command(a->job, &release, RELEASE_MS, on_released, a);
}

void vb_gather_cancel(struct vb_gather *g, uint64_t limit_ms, vb_loop_fn *fn, void *arg)
{
    vb_loop_unpost(g->p.loop, g);
    g->done = true;
    for (size_t i = 0; i < g->n; i++) {
        struct ask *a = g->asks[i];
        vb_loop_unpost(g->p.loop, a);
        if (!a->job || a->host.asked)
            continue;
        a->host.asked = true;
        if (!vb_rjob_is_open(a->job)) { /* if it comes to be after all, its lease ends it */
            vb_rjob_free(VB_STEAL(a->job));
            continue;
        }
        vb_rjob_drop_commands(a->job);
        struct vb_msg m = VB_MSG_INIT(VB_M_ABORT);
        m.id = VB_M_ABORT;
        vb_rjob_command(a->job, &m, limit_ms, on_cancelled, a);
    }
    vb_gather_settle(g, limit_ms, fn, arg);
}

static void settle_now(void *arg)
{
    settle(arg);
}

void vb_gather_settle(struct vb_gather *g, uint64_t limit_ms, vb_loop_fn *fn, void *arg)
{
    g->settled_fn = fn;
    g->settled_arg = arg;
    g->settle_timer = vb_loop_after(g->p.loop, limit_ms, settle_late, g);
    vb_loop_post(g->p.loop, settle_now, g);
}

int vb_gather_save(const struct vb_gather *g, struct vb_run_state *state, struct vb_error *err)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct vb_gather_host *h = &g->asks[i]->host;
        if (!h->reached)
            continue;
        VB_AUTO_FREE char *dir = vb_printf("last/%s", h->name);
        if (state->remove(state->ctx, dir, err) < 0)
            return -1;
        for (size_t k = 0; k < h->n_writers; k++) {
            const struct vb_writer_metadata *m = h->writers[k];
            VB_AUTO_BUF b = VB_BUF_INIT;
            if (vb_wm_write(m, &b, err) < 0)
                return -1;
            VB_AUTO_FREE char *name = vb_printf("%s/%04zu-%s.xml", dir, k, m->writer_id);
            if (state->save(state->ctx, name, b.data, b.len, err) < 0)
                return -1;
        }
    }
    return 0;
}
