/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvbackup: the functions of vbackup/requester.h over the same run that the command line uses.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/text.h"
#include "requester/password.h"
#include "requester/password.h"
#include "requester/run.h"
#include "requester/settings.h"
#include "store/repository.h"
#include "vbackup/requester.h"

struct vb_requester {
    struct vb_settings settings;
    int cancel_fd; /* eventfd: may be written from a signal handler */
};

struct component {
    char *host, *writer, *instance_name, *logical_path, *name, *text, *hint;
    struct vb_component_report view;
};

struct vb_report {
    enum vb_exit exit;
    struct vb_error error;
    char *backup_id, *plan;
    enum vb_consistency consistency;
    struct component *components;
    size_t n_components;
};

/* One run in the making. */
struct call {
    struct vb_requester *r;
    const struct vb_observer *observer;
    void *arg;
    struct vb_loop *loop;
    struct vb_links *links;
    struct vb_repo *repo;
    struct vb_run *run;
    struct vb_report *report;
    struct vb_run_env env;
    struct vb_run_options opt;
    struct vb_hosts_resolver resolver;
    struct vb_ask *asks, *excludes;
    char *requester;
    bool want_plan;
};

struct vb_requester *vb_requester_open(const char *config, enum vb_code *code, char **text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_requester *r = vb_alloc(sizeof *r);
    r->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->cancel_fd < 0)
        vb_fail_errno(&err, errno, "no descriptor for cancelling");
    if (r->cancel_fd < 0 || vb_settings_load(&r->settings, config, &err) < 0) {
        if (code)
            *code = err.code;
        if (text)
            *text = vb_strdup(vb_error_text(&err));
        vb_requester_close(r);
        return NULL;
    }
    if (code)
        *code = VB_OK;
    return r;
}

void vb_requester_close(struct vb_requester *r)
{
    if (!r)
        return;
    vb_settings_clear(&r->settings);
    vb_close_fd(&r->cancel_fd);
    free(r);
}

void vb_requester_cancel(struct vb_requester *r)
{
    uint64_t one = 1;
    ssize_t n = write(r->cancel_fd, &one, sizeof one);
    (void)n; /* the counter is not zero already: that is as good */
}

static struct vb_ask *asks_of(const struct vb_component_ref *refs, size_t n)
{
    struct vb_ask *a = vb_alloc_n(n + 1, sizeof *a);
    for (size_t i = 0; i < n; i++)
        a[i] = (struct vb_ask){ refs[i].host, refs[i].writer, refs[i].component };
    return a;
}

/* ---- callbacks of the run ---- */

static void on_plan(void *arg, const struct vb_plan *p)
{
    struct call *c = arg;
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (!c->want_plan)
        return;
    vb_plan_json(p, &b);
    free(c->report->plan);
    c->report->plan = vb_buf_take_str(&b);
}

static void on_event(void *arg, const struct vb_run_event *e)
{
    struct call *c = arg;
    if (!c->observer || !c->observer->event)
        return;
    struct vb_event_info info = { sizeof info, e->host, e->kind, e->event, e->writer, e->text, e->wall_ms, e->code };
    c->observer->event(c->arg, &info);
}

static void on_progress(void *arg, const struct vb_run_progress *p)
{
    struct call *c = arg;
    if (!c->observer || !c->observer->progress)
        return;
    struct vb_progress_info info = { sizeof info, p->files, p->bytes_done, p->bytes_total, p->estimate };
    c->observer->progress(c->arg, &info);
}

static void on_warning(void *arg, const char *host, const struct vb_error *w)
{
    struct call *c = arg;
    if (c->observer && c->observer->warning)
        c->observer->warning(c->arg, host, w->code, vb_error_text(w), w->hint);
}

static void on_done(void *arg, const struct vb_run_result *res)
{
    struct call *c = arg;
    struct vb_report *p = c->report;
    p->exit = res->exit;
    vb_error_copy(&p->error, &res->error);
    p->backup_id = vb_strdup(res->backup_id);
    p->consistency = res->consistency;
    p->components = vb_alloc_n(res->n_components + 1, sizeof *p->components);
    p->n_components = res->n_components;
    for (size_t i = 0; i < res->n_components; i++) {
        const struct vb_run_component *from = &res->components[i];
        struct component *to = &p->components[i];
        to->host = vb_strdup(res->hosts[from->host].name);
        to->writer = vb_strdup(from->writer_name);
        to->instance_name = vb_strdup(from->instance_name);
        to->logical_path = vb_strdup(from->logical_path ? from->logical_path : "");
        to->name = vb_strdup(from->name);
        to->text = vb_strdup(from->text);
        to->hint = vb_strdup(from->hint);
        to->view = (struct vb_component_report){
            sizeof to->view, to->host,           to->writer,           to->instance_name, to->logical_path, to->name,
            from->completeness, from->consistency, from->restore_status, from->code,        to->text,         to->hint,
            from->files,        from->bytes
        };
    }
    vb_loop_stop(c->loop, 0);
}

static const struct vb_run_handler handler = { on_plan, on_event, on_progress, on_warning, on_done };

static void on_cancel(void *arg, short revents)
{
    struct call *c = arg;
    uint64_t count;
    (void)revents;
    if (read(c->r->cancel_fd, &count, sizeof count) == (ssize_t)sizeof count)
        vb_run_cancel(c->run);
}

/* ---- the frame of every call ---- */

static int call_open(struct call *c, struct vb_requester *r, const char *repository, int mode, struct vb_error *err)
{
    const struct vb_host_entry *self = &r->settings.hosts->v[r->settings.hosts->self];
    VB_AUTO_FREE char *state = vb_printf("%s/requester", r->settings.state_dir);
    uint64_t old;
    c->r = r;
    c->report = vb_alloc(sizeof *c->report);
    c->report->exit = VB_EXIT_FAILED;
    c->loop = vb_loop_new();
    c->links = vb_links_real(c->loop, r->settings.hosts);
    c->env.loop = c->loop;
    c->env.links = c->links;
    c->resolver.hosts = r->settings.hosts;
    c->opt.resolve = vb_hosts_resolve;
    c->opt.resolve_arg = &c->resolver;
    c->opt.front_end = c->opt.local_host = c->opt.requester_host = self->name;
    c->requester = vb_printf("libvbackup %s on %s (pid %d)", PACKAGE_VERSION, self->name, (int)getpid());
    c->opt.requester = c->requester;
    c->opt.program = "libvbackup " PACKAGE_VERSION;
    while (read(r->cancel_fd, &old, sizeof old) > 0) /* a cancel meant for an earlier call */
        ;
    c->env.state = vb_run_state_dir(state, err);
    if (!c->env.state)
        return -1;
    if (mode < 0)
        return 0;
    const char *location = vb_settings_repository(&r->settings, repository, err);
    c->repo = location ? vb_repo_open_auth(location, (enum vb_repo_mode)mode, vb_settings_auth(&r->settings), err) : NULL;
    if (!c->repo)
        return -1;
    c->env.store = vb_run_store_repo(c->loop, c->repo, r->settings.hosts);
    return 0;
}

static struct vb_report *call_end(struct call *c, struct vb_error *err)
{
    if (err->code) {
        vb_error_copy(&c->report->error, err);
        c->report->exit = vb_code_exit(err->code);
    } else {
        struct vb_watch *w = vb_loop_watch(c->loop, c->r->cancel_fd, POLLIN, on_cancel, c);
        vb_loop_run(c->loop);
        vb_watch_cancel(w);
    }
    vb_run_free(c->run);
    vb_run_store_free(c->env.store);
    vb_repo_close(c->repo);
    vb_run_state_free(c->env.state);
    vb_links_free(c->links);
    vb_loop_free(c->loop);
    free(c->asks);
    free(c->excludes);
    free(c->requester);
    vb_strv_clear(&c->resolver.maps);
    return c->report;
}

/* A caller built against an older header gives a smaller struct: the rest is the default. */
#define TAKE_REQUEST(to, from, init)                                                                \
    do {                                                                                            \
        static const __typeof__(to) defaults = init;                                                \
        (to) = defaults;                                                                            \
        if ((from)->size > sizeof(uint32_t))                                                        \
            memcpy(&(to), (from), (from)->size < sizeof(to) ? (from)->size : sizeof(to));           \
    } while (0)

static void backup_options(struct call *c, const struct vb_backup_request *q)
{
    c->asks = asks_of(q->components, q->n_components);
    c->excludes = asks_of(q->excludes, q->n_excludes);
    c->opt.asks = c->asks;
    c->opt.n_asks = q->n_components;
    c->opt.excludes = c->excludes;
    c->opt.n_excludes = q->n_excludes;
    c->opt.paths = q->paths;
    c->opt.n_paths = q->n_paths;
    c->opt.backup_type = q->type;
    c->opt.min_consistency = q->min_consistency;
    c->opt.allow_live = q->min_consistency == VB_CONSISTENCY_NONE;
    c->opt.allow_freeze = q->allow_freeze != 0;
    c->opt.freeze_limit_ms = q->freeze_limit_ms;
    c->opt.lease_ms = q->lease_ms;
}

static struct vb_report *backup(struct vb_requester *r, const struct vb_backup_request *given, const struct vb_observer *o,
                                void *arg, bool plan_only)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct call c = { .observer = o, .arg = arg, .want_plan = plan_only };
    struct vb_backup_request q;
    TAKE_REQUEST(q, given, VB_BACKUP_REQUEST_INIT);
    if (call_open(&c, r, q.repository, plan_only ? -1 : VB_REPO_WRITE, &err) == 0) {
        backup_options(&c, &q);
        c.run = plan_only ? vb_run_plan_only(&c.env, VB_JOB_BACKUP, &c.opt, &handler, &c)
                          : vb_run_backup(&c.env, &c.opt, &handler, &c);
    }
    return call_end(&c, &err);
}

static struct vb_report *restore(struct vb_requester *r, const struct vb_restore_request *given, const struct vb_observer *o,
                                 void *arg, bool plan_only)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct call c = { .observer = o, .arg = arg, .want_plan = plan_only };
    struct vb_restore_request q;
    TAKE_REQUEST(q, given, VB_RESTORE_REQUEST_INIT);
    if (call_open(&c, r, q.repository, VB_REPO_READ, &err) == 0) {
        c.asks = asks_of(q.components, q.n_components);
        c.opt.asks = c.asks;
        c.opt.n_asks = q.n_components;
        for (size_t i = 0; i < q.n_maps; i++)
            vb_strv_add(&c.resolver.maps, q.maps[i]);
        c.opt.maps = &c.resolver.maps;
        c.opt.backup = q.backup ? q.backup : "latest";
        c.opt.target_dir = q.target_dir;
        c.opt.overwrite = q.overwrite != 0;
        c.opt.paths = q.paths;
        c.opt.n_paths = q.n_paths;
        c.opt.lease_ms = q.lease_ms;
        c.run = plan_only ? vb_run_plan_only(&c.env, VB_JOB_RESTORE, &c.opt, &handler, &c)
                          : vb_run_restore(&c.env, &c.opt, &handler, &c);
    }
    return call_end(&c, &err);
}

struct vb_report *vb_requester_backup(struct vb_requester *r, const struct vb_backup_request *q, const struct vb_observer *o,
                                      void *arg)
{
    return backup(r, q, o, arg, false);
}

struct vb_report *vb_requester_restore(struct vb_requester *r, const struct vb_restore_request *q,
                                       const struct vb_observer *o, void *arg)
{
    return restore(r, q, o, arg, false);
}

struct vb_report *vb_requester_plan_backup(struct vb_requester *r, const struct vb_backup_request *q)
{
    return backup(r, q, NULL, NULL, true);
}

struct vb_report *vb_requester_plan_restore(struct vb_requester *r, const struct vb_restore_request *q)
{
    return restore(r, q, NULL, NULL, true);
}

/* ---- the report ---- */

enum vb_exit vb_report_exit(const struct vb_report *p) { return p->exit; }
enum vb_code vb_report_code(const struct vb_report *p) { return p->error.code; }
const char *vb_report_error(const struct vb_report *p) { return p->error.text; }
const char *vb_report_hint(const struct vb_report *p) { return p->error.hint; }
const char *vb_report_backup_id(const struct vb_report *p) { return p->backup_id; }
enum vb_consistency vb_report_consistency(const struct vb_report *p) { return p->consistency; }
const char *vb_report_plan(const struct vb_report *p) { return p->plan; }
size_t vb_report_component_count(const struct vb_report *p) { return p->n_components; }

int vb_report_component(const struct vb_report *p, size_t i, struct vb_component_report *c)
{
    uint32_t size = c->size < sizeof *c ? c->size : (uint32_t)sizeof *c;
    if (i >= p->n_components || size < sizeof c->size)
        return -1;
    memcpy(c, &p->components[i].view, size);
    c->size = size;
    return 0;
}

void vb_report_free(struct vb_report *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_components; i++) {
        struct component *c = &p->components[i];
        free(c->host);
        free(c->writer);
        free(c->instance_name);
        free(c->logical_path);
        free(c->name);
        free(c->text);
        free(c->hint);
    }
    free(p->components);
    free(p->backup_id);
    free(p->plan);
    vb_error_clear(&p->error);
    free(p);
}
