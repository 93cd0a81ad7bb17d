/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/shadow_link.c - one job on one host, and its commands one after the other.
 */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "requester/shadow.h"
#include "wire/protocol.h"

#define LEASE_MS 15000u     /* a requester that dies is gone this long before its shadow copies go */
#define ABORT_MS 30000u
#define RELEASE_MS 600000u

static void on_signal(void *arg)
{
    struct vb_shadow_link *l = arg;
    l->interrupted = true;
    vb_loop_stop(l->loop, 0);
}

static void on_event(void *arg, uint64_t seq, const struct vb_msg *m)
{
    struct vb_shadow_link *l = arg;
    VB_AUTO_FREE char *kind = vb_msg_str(m, VB_F_KIND), *text = vb_msg_str(m, VB_F_TEXT);
    (void)seq;
    if (!kind || strcmp(kind, "warning") != 0 || !text)
        return;
    l->warnings++;
    VB_AUTO_FREE char *shown = vb_escape_terminal(text, strlen(text));
    if (!l->cli->quiet)
        fprintf(stderr, "vbackup: warning: %s\n", shown);
}

static void on_lost(void *arg, const struct vb_error *why)
{
    struct vb_shadow_link *l = arg;
    l->lost = true;
    vb_error_copy(&l->why, why);
    vb_loop_stop(l->loop, 0);
}

static void on_open(void *arg, const struct vb_error *err)
{
    struct vb_shadow_link *l = arg;
    l->waiting = false;
    l->status = err ? -1 : 0;
    if (err)
        vb_error_copy(&l->error, err);
    vb_loop_stop(l->loop, 0);
}

bool vb_shadow_interrupted(const struct vb_shadow_link *l)
{
    return l->interrupted || (l->with && l->with->interrupted);
}

/* Until nothing is waited for, the job is lost, or a signal came. */
static int wait_here(struct vb_shadow_link *l, bool whatever, struct vb_error *err)
{
    while (l->waiting && !l->lost && (whatever || !vb_shadow_interrupted(l)))
        vb_loop_run(l->loop);
    if (l->waiting && l->lost) {
        l->waiting = false;
        vb_error_copy(err, &l->why);
        return -1;
    }
    if (l->waiting)
        return vb_fail(err, VB_E_CANCELLED, "interrupted");
    if (l->status < 0)
        return vb_error_move(err, &l->error);
    return 0;
}

static int job_document(struct vb_shadow_link *l, enum vb_job_kind kind, const struct vb_job_writer *policies, size_t n,
                        char **id, struct vb_buf *xml, struct vb_error *err)
{
    struct vb_job *job = vb_job_new(kind, l->host);
    char guid[VB_GUID_LEN + 1];
    vb_guid_new(guid);
    free(job->job_id);
    job->job_id = vb_strdup(guid);
    free(job->run_id);
    job->run_id = vb_strdup(guid);
    free(job->requester);
    job->requester = vb_printf("vbackup shadow (pid %d)", (int)getpid());
    job->created_ms = vb_loop_wall_ms(l->loop);
    job->lease_ms = LEASE_MS;
    job->backup_type = VB_BACKUP_COPY;
    job->min_consistency = VB_CONSISTENCY_NONE;
    for (size_t i = 0; i < n; i++) {
        VB_GROW(job->writers, job->n_writers, job->cap_writers);
        job->writers[job->n_writers++] = (struct vb_job_writer){ vb_strdup(policies[i].writer), policies[i].policy };
    }
    *id = vb_strdup(guid);
    int rc = vb_job_write(job, xml, err);
    vb_job_free(job);
    return rc;
}

static int open_job(struct vb_shadow_link *l, enum vb_job_kind kind, const struct vb_job_writer *policies, size_t n,
                    struct vb_error *err)
{
    static const struct vb_rjob_handler handler = { on_event, NULL, on_lost };
    VB_AUTO_BUF xml = VB_BUF_INIT;
    VB_AUTO_FREE char *id = NULL;
    if (job_document(l, kind, policies, n, &id, &xml, err) < 0)
        return -1;
    struct vb_rjob_params p = { .links = l->links, .host = l->host, .job_id = id, .job_doc = xml.data,
                                .job_doc_len = xml.len, .lease_ms = LEASE_MS, .attempts = 1 };
    l->rjob = vb_rjob_new(&p, &handler, l);
    l->waiting = true;
    vb_rjob_open(l->rjob, on_open, l);
    return wait_here(l, false, err);
}

static const char *host_named(const struct vb_cli *cli, const char *name, struct vb_error *err)
{
    const struct vb_hosts *hosts = cli->settings.hosts;
    const struct vb_host_entry *h = vb_hosts_find(hosts, name ? name : hosts->v[hosts->self].name);
    if (h)
        return h->name;
    vb_fail(err, VB_E_HOST_UNKNOWN, "host '%s' is not in the configuration", name);
    vb_hint(err, "'vbackup host list' prints the hosts");
    return NULL;
}

int vb_shadow_open(struct vb_shadow_link *l, const struct vb_cli *cli, enum vb_job_kind kind,
                   const struct vb_job_writer *policies, size_t n, struct vb_error *err)
{
    *l = (struct vb_shadow_link){ .cli = cli, .error = VB_ERROR_INIT, .why = VB_ERROR_INIT };
    if (!(l->host = host_named(cli, vb_cli_opt(cli, "host"), err)))
        return -1;
    l->loop = vb_loop_new();
    l->links = vb_links_real(l->loop, cli->settings.hosts);
    vb_loop_signal(l->loop, SIGINT, on_signal, l);
    vb_loop_signal(l->loop, SIGTERM, on_signal, l);
    vb_loop_signal(l->loop, SIGHUP, on_signal, l);
    return open_job(l, kind, policies, n, err);
}

int vb_shadow_open_beside(struct vb_shadow_link *l, const struct vb_shadow_link *with, const char *host,
                          struct vb_error *err)
{
    *l = (struct vb_shadow_link){ .cli = with->cli, .loop = with->loop, .links = with->links, .with = with,
                                  .error = VB_ERROR_INIT, .why = VB_ERROR_INIT };
    if (!(l->host = host_named(with->cli, host, err)))
        return -1;
    return open_job(l, VB_JOB_IDENTIFY, NULL, 0, err);
}

static void on_reply(void *arg, const struct vb_msg *m, const struct vb_error *err)
{
    struct vb_shadow_link *l = arg;
    l->waiting = false;
    vb_msg_clear(&l->reply);
    if (m) {
        l->reply = (struct vb_msg){ m->type, m->id, VB_BUF_INIT };
        vb_buf_add(&l->reply.body, m->body.data, m->body.len);
    }
    l->status = err ? -1 : 0;
    vb_error_clear(&l->error);
    if (err)
        vb_error_copy(&l->error, err);
    vb_loop_stop(l->loop, 0);
}

static void start(struct vb_shadow_link *l, struct vb_msg *m, uint64_t limit_ms)
{
    m->id = m->type == VB_M_SHADOW ? m->type + (uint64_t)1000 * ++l->shadows : m->type;
    l->waiting = true;
    vb_rjob_command(l->rjob, m, limit_ms, on_reply, l);
}

static int send(struct vb_shadow_link *l, struct vb_msg *m, uint64_t limit_ms, bool whatever, struct vb_error *err)
{
    if (l->lost) {
        vb_msg_clear(m);
        vb_error_copy(err, &l->why);
        return -1;
    }
    if (vb_shadow_interrupted(l) && !whatever) {
        vb_msg_clear(m);
        return vb_fail(err, VB_E_CANCELLED, "interrupted");
    }
    start(l, m, limit_ms);
    return wait_here(l, whatever, err);
}

int vb_shadow_command(struct vb_shadow_link *l, struct vb_msg *m, struct vb_error *err)
{
    return send(l, m, 0, false, err);
}

static struct vb_msg shadow_message(const char *call, struct vb_msg *fields)
{
    struct vb_msg m = VB_MSG_INIT(VB_M_SHADOW);
    vb_msg_add_str(&m, VB_F_CALL, call);
    if (fields) {
        vb_buf_add(&m.body, fields->body.data, fields->body.len);
        vb_msg_clear(fields);
    }
    return m;
}

int vb_shadow_call(struct vb_shadow_link *l, const char *call, struct vb_msg *fields, struct vb_error *err)
{
    struct vb_msg m = shadow_message(call, fields);
    return vb_shadow_command(l, &m, err);
}

void vb_shadow_start(struct vb_shadow_link *l, const char *call, struct vb_msg *fields)
{
    struct vb_msg m = shadow_message(call, fields);
    start(l, &m, 0);
}

void vb_shadow_close(struct vb_shadow_link *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (l->rjob && vb_rjob_is_open(l->rjob) && !l->lost) {
        struct vb_msg m = VB_MSG_INIT(VB_M_RELEASE);
        if (l->waiting) { /* a command was cut short */
            struct vb_msg a = VB_MSG_INIT(VB_M_ABORT);
            vb_msg_add_str(&a, VB_F_TEXT, "interrupted");
            vb_rjob_drop_commands(l->rjob);
            (void)send(l, &a, ABORT_MS, true, &err);
            vb_error_clear(&err);
        }
        if (send(l, &m, RELEASE_MS, true, &err) < 0 && !l->lost)
            vb_rjob_drop_commands(l->rjob);
        vb_rjob_finish(l->rjob);
    }
    vb_rjob_free(l->rjob);
    if (!l->with) {
        vb_links_free(l->links);
        vb_loop_free(l->loop);
    }
    vb_msg_clear(&l->reply);
    vb_error_clear(&l->error);
    vb_error_clear(&l->why);
    *l = (struct vb_shadow_link){ .error = VB_ERROR_INIT };
}

struct child { struct vb_shadow_link *l; bool ended; int status; };

static void child_ended(void *arg, int status)
{
    struct child *c = arg;
    c->ended = true;
    c->status = status;
    vb_loop_stop(c->l->loop, 0);
}

int vb_shadow_wait_child(struct vb_shadow_link *l, int pid)
{
    struct child c = { l, false, 0 };
    bool told = false;
    vb_loop_child(l->loop, pid, child_ended, &c);
    while (!c.ended) {
        vb_loop_run(l->loop);
        if (l->interrupted && !told && !c.ended) { /* a signal for us alone is one for it, too */
            kill(pid, SIGTERM);
            told = true;
        }
    }
    return c.status;
}

/* ---- what there is ---- */

void vb_shadow_items_clear(struct vb_shadow_items *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct vb_shadow_item *x = &l->v[i];
        char *all[] = { x->id,          x->set,  x->volume,  x->subvolume, x->device,  x->fs_type, x->provider,
                        x->provider_id, x->path, x->exposed, x->host,      x->service, x->note,    x->job,
                        x->stamp };
        for (size_t k = 0; k < VB_COUNT(all); k++)
            free(all[k]);
    }
    free(l->v);
    vb_strv_clear(&l->troubles);
    *l = (struct vb_shadow_items){ 0 };
}

static void take_item(struct vb_shadow_items *l, const struct vb_msg *g)
{
    uint64_t state = vb_msg_u64(g, VB_F_STATE, 0);
    struct vb_shadow_item x = { .id = vb_msg_str(g, VB_F_SNAPSHOT), .set = vb_msg_str(g, VB_F_SET),
                                .volume = vb_msg_str(g, VB_F_PATH), .subvolume = vb_msg_str(g, VB_F_SUBVOLUME),
                                .device = vb_msg_str(g, VB_F_DEVICE), .fs_type = vb_msg_str(g, VB_F_FS_TYPE),
                                .provider = vb_msg_str(g, VB_F_PROVIDER),
                                .provider_id = vb_msg_str(g, VB_F_PROVIDER_ID),
                                .path = vb_msg_str(g, VB_F_SNAPSHOT_PATH), .exposed = vb_msg_str(g, VB_F_EXPOSED),
                                .host = vb_msg_str(g, VB_F_HOST), .service = vb_msg_str(g, VB_F_SERVICE),
                                .note = vb_msg_str(g, VB_F_REMARK), .job = vb_msg_str(g, VB_F_JOB),
                                .stamp = vb_msg_str(g, VB_F_STAMP),
                                .count = vb_msg_u64(g, VB_F_COUNT, 0), .wall_ms = vb_msg_u64(g, VB_F_WALL_MS, 0),
                                .attributes = (uint32_t)vb_msg_u64(g, VB_F_ATTRIBUTES, 0),
                                .state = state <= VB_SS_POSTCOMMITTED ? (enum vb_snapshot_state)state : VB_SS_UNKNOWN,
                                .active = vb_msg_u64(g, VB_F_ACTIVE, 0) != 0,
                                .orphan = vb_msg_u64(g, VB_F_ORPHAN, 0) != 0 };
    if (!x.id)
        x.id = vb_strdup("");
    if (!x.set)
        x.set = vb_strdup("");
    if (!x.provider)
        x.provider = vb_strdup("");
    VB_GROW(l->v, l->n, l->cap);
    l->v[l->n++] = x;
}

static int older(const void *a, const void *b)
{
    const struct vb_shadow_item *x = a, *y = b;
    if (x->wall_ms != y->wall_ms)
        return x->wall_ms < y->wall_ms ? -1 : 1;
    int c = strcmp(x->set, y->set);
    return c ? c : strcmp(x->id, y->id);
}

int vb_shadow_list(struct vb_shadow_link *l, struct vb_shadow_items *out, struct vb_error *err)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    if (vb_shadow_call(l, "list", NULL, err) < 0)
        return -1;
    vb_field_iter_init(&it, &l->reply);
    while (vb_field_next(&it, &tag, &p, &n)) {
        struct vb_msg g = vb_msg_view(p, n);
        if (tag == VB_F_SNAPSHOT)
            take_item(out, &g);
        if (tag == VB_F_FAILED) {
            VB_AUTO_ERROR why = VB_ERROR_INIT;
            VB_AUTO_FREE char *name = vb_msg_str(&g, VB_F_PROVIDER);
            (void)vb_msg_error(&g, &why);
            vb_strv_take(&out->troubles, vb_printf("provider '%s' cannot be asked: %s", name ? name : "?",
                                                   vb_error_text(&why)));
        }
    }
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, older);
    return 0;
}

const struct vb_shadow_item *vb_shadow_find(const struct vb_shadow_items *l, const char *id, struct vb_error *err)
{
    const struct vb_shadow_item *found = NULL;
    size_t n = strlen(id), hits = 0;
    for (size_t i = 0; n >= 4 && i < l->n; i++)
        if (vb_guid_equal(l->v[i].id, id) || !strncmp(l->v[i].id, id, n)) {
            found = &l->v[i];
            hits++;
        }
    if (hits == 1)
        return found;
    if (hits)
        vb_fail(err, VB_E_USAGE, "'%s' begins the ids of %zu shadow copies", id, hits);
    else
        vb_fail(err, VB_E_OBJECT_NOT_FOUND, "there is no shadow copy '%s'", id);
    vb_hint(err, "'vbackup shadow list' prints them");
    return NULL;
}
