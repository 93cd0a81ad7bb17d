/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams to real agents: a socket pair to `vbackup-agent` on this machine, channels of one SSH connection per host
 * elsewhere.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/text.h"
#include "requester/hosts.h"
#include "requester/link.h"
#include "wire/greeting.h"
#include "wire/ssh.h"

struct real;

/* One SSH connection; lives until it fails or the links are freed. */
struct session {
    struct real *real;
    const struct vb_host_entry *host;
    struct vb_ssh *ssh;
    bool failed;
    struct vb_error why;
    struct session *next;
};

/* One stream being opened. */
struct opening {
    struct real *real;
    const struct vb_host_entry *host;
    struct session *session; /* NULL: local */
    struct vb_conn *conn;
    struct vb_greet *greet;
    struct vb_error err;
    vb_link_fn *fn;
    void *arg;
    struct opening *next;
};

struct real {
    struct vb_loop *loop;
    const struct vb_hosts *hosts;
    struct session *sessions;
    struct opening *openings;
    int *children; /* local relays that have not ended, or not been waited for */
    size_t n_children, cap_children;
};

static void opening_unlink(struct opening *o)
{
    for (struct opening **p = &o->real->openings; *p; p = &(*p)->next)
        if (*p == o) {
            *p = o->next;
            break;
        }
    vb_loop_unpost(o->real->loop, o);
    vb_greet_cancel(o->greet);
    vb_error_clear(&o->err);
    free(o);
}

static void opening_failed(void *arg)
{
    struct opening *o = arg;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_link_fn *fn = o->fn;
    void *fn_arg = o->arg;
    vb_error_copy(&err, &o->err);
    vb_conn_free(VB_STEAL(o->conn));
    opening_unlink(o);
    fn(fn_arg, NULL, &err);
}

/* An SSH connection that could not be made tells its reason better than the channel that never came to be. */
static void opening_fail_with(struct opening *o, const struct vb_error *err)
{
    const struct vb_error *why = o->session && o->session->failed ? &o->session->why : err;
    VB_AUTO_ERROR copy = VB_ERROR_INIT;
    vb_error_copy(&copy, why);
    vb_error_clear(&o->err);
    vb_error_move(&o->err, &copy);
    if (!strstr(vb_error_text(&o->err), o->host->name))
        vb_context(&o->err, "host '%s'", o->host->name);
    vb_loop_unpost(o->real->loop, o);
    vb_loop_post(o->real->loop, opening_failed, o);
}

static void greeted(void *arg, const struct vb_hello *peer, const struct vb_error *err)
{
    struct opening *o = arg;
    o->greet = NULL;
    if (!peer) {
        opening_fail_with(o, err);
        return;
    }
    vb_log(VB_LOG_DEBUG, "host '%s': %s, protocol %u", o->host->name, peer->program, peer->version);
    struct vb_conn *conn = VB_STEAL(o->conn);
    vb_link_fn *fn = o->fn;
    void *fn_arg = o->arg;
    opening_unlink(o);
    fn(fn_arg, conn, NULL);
}

/* ---- this machine ---- */

static void child_ended(void *arg, int status)
{
    (void)arg;
    (void)status; /* the stream's end says what matters */
}

/* The agent, and with it the writers, have no business with the password: where it lies is kept from them.  Caller frees
 * the array. */
static const char **without_password(void)
{
    static const char *const ours[] = { "VBACKUP_PASSWORD_FILE=", "VBACKUP_PASSWORD_COMMAND=", "CREDENTIALS_DIRECTORY=" };
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    const char **env = vb_alloc_n(n + 1, sizeof *env);
    for (size_t i = 0; i < n; i++) {
        bool mine = false;
        for (size_t k = 0; k < VB_COUNT(ours); k++)
            mine = mine || strncmp(environ[i], ours[k], strlen(ours[k])) == 0;
        if (!mine)
            env[kept++] = environ[i];
    }
    return env;
}

static struct vb_conn *open_local(struct real *r, const struct vb_host_entry *host, struct vb_error *err)
{
    int sv[2];
    VB_AUTO_FREE char *program = vb_program_path("vbackup-agent");
    const char *argv[] = { program, "relay", "--pass", NULL };
    struct vb_spawn s = VB_SPAWN_INIT;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
        vb_fail(err, VB_E_IO, "host '%s': no socket pair: %s", host->name, strerror(errno));
        return NULL;
    }
    VB_AUTO_FREE const char **env = without_password();
    s.argv = argv;
    s.env = env;
    s.stdin_fd = s.stdout_fd = sv[1];
    pid_t pid = vb_spawn(&s, err);
    close(sv[1]);
    if (pid < 0) {
        close(sv[0]);
        vb_context(err, "host '%s': the local agent cannot be started", host->name);
        if (err) {
            err->code = VB_E_AGENT_MISSING;
            vb_hint(err, "is vbackup-agent installed beside vbackup? expected '%s'", program);
        }
        return NULL;
    }
    vb_loop_child(r->loop, pid, child_ended, r);
    VB_GROW(r->children, r->n_children, r->cap_children);
    r->children[r->n_children++] = pid;
    struct vb_conn *c = vb_conn_fd(r->loop, sv[0], sv[0]);
    vb_conn_fd_expect(c); /* the supervisor's socket: bytes need not be copied between two processes of one machine */
    VB_AUTO_FREE char *name = vb_printf("host '%s'", host->name);
    vb_conn_set_name(c, name);
    return c;
}

/* ---- other machines ---- */

static void ssh_ready(void *arg)
{
    struct session *s = arg;
    vb_log(VB_LOG_DEBUG, "host '%s': connected, %s", s->host->name, vb_ssh_methods(s->ssh));
}

static void ssh_failed(void *arg, const struct vb_error *err)
{
    struct session *s = arg;
    s->failed = true;
    vb_error_copy(&s->why, err);
    vb_log(VB_LOG_DEBUG, "%s", vb_error_text(err));
    /* not closed here: its channels are told first, and what they say is replaced by our reason */
}

static struct session *session_for(struct real *r, const struct vb_host_entry *host)
{
    static const struct vb_ssh_handler handler = { ssh_ready, ssh_failed };
    for (struct session *s = r->sessions; s; s = s->next)
        if (s->host == host && !s->failed)
            return s;
    struct session *s = vb_alloc(sizeof *s);
    struct vb_ssh_params p = { 0 };
    p.name = host->name;
    p.address = host->address;
    p.port = host->port;
    p.user = host->user;
    p.identities = (const char *const *)host->identities.v;
    p.n_identities = host->identities.n;
    p.known_hosts = (const char *const *)host->known_hosts.v;
    p.n_known_hosts = host->known_hosts.n;
    s->real = r;
    s->host = host;
    s->next = r->sessions;
    r->sessions = s;
    s->ssh = vb_ssh_open(r->loop, &p, &handler, s);
    return s;
}

/* ---- struct vb_links ---- */

static void *real_open(void *ctx, const char *name, vb_link_fn *fn, void *arg)
{
    struct real *r = ctx;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_greet_params g = { .role = "requester", .expect_role = "agent" };
    static const struct vb_host_entry unknown = { .name = (char *)"?" };
    struct opening *o = vb_alloc(sizeof *o);

    o->real = r;
    o->fn = fn;
    o->arg = arg;
    o->next = r->openings;
    r->openings = o;
    o->host = vb_hosts_find(r->hosts, name);
    if (!o->host) {
        o->host = &unknown;
        vb_fail(&o->err, VB_E_HOST_UNKNOWN, "host '%s' is not in the configuration", name);
        vb_hint(&o->err, "declare it with a section [host %s]; see vbackup.conf(5)", name);
        vb_loop_post(r->loop, opening_failed, o);
        return o;
    }
    if (o->host->local) {
        o->conn = open_local(r, o->host, &err);
    } else {
        o->session = session_for(r, o->host);
        o->conn = vb_ssh_exec(o->session->ssh, o->host->agent_command);
    }
    if (!o->conn) {
        vb_error_move(&o->err, &err);
        vb_loop_post(r->loop, opening_failed, o);
        return o;
    }
    g.host = o->host->name;
    /* over SSH the time limit of the connection itself comes first and says more */
    g.timeout_ms = o->host->local ? VB_GREET_TIMEOUT_MS : 30000;
    if (r->hosts->answer_limit_ms > 0 && r->hosts->answer_limit_ms < g.timeout_ms)
        g.timeout_ms = r->hosts->answer_limit_ms;
    o->greet = vb_greet(o->conn, &g, greeted, o);
    return o;
}

static void real_cancel(void *ctx, void *handle)
{
    struct real *r = ctx;
    for (struct opening *o = r->openings; o; o = o->next)
        if (o == handle) {
            vb_greet_cancel(VB_STEAL(o->greet));
            vb_conn_free(VB_STEAL(o->conn));
            opening_unlink(o);
            return;
        }
}

static void real_free(void *ctx)
{
    struct real *r = ctx;
    while (r->openings)
        real_cancel(r, r->openings);
    while (r->sessions) {
        struct session *s = r->sessions;
        r->sessions = s->next;
        vb_ssh_close(s->ssh);
        vb_error_clear(&s->why);
        free(s);
    }
    for (size_t i = 0; i < r->n_children; i++)
        vb_loop_unchild(r->loop, r->children[i]);
    free(r->children);
    free(r);
}

struct vb_links *vb_links_real(struct vb_loop *l, const struct vb_hosts *hosts)
{
    struct vb_links *k = vb_alloc(sizeof *k);
    struct real *r = vb_alloc(sizeof *r);
    r->loop = l;
    r->hosts = hosts;
    k->loop = l;
    k->answer_limit_ms = hosts->answer_limit_ms;
    k->ctx = r;
    k->open = real_open;
    k->cancel = real_cancel;
    k->free_ctx = real_free;
    return k;
}

void vb_links_free(struct vb_links *k)
{
    if (!k)
        return;
    k->free_ctx(k->ctx);
    free(k);
}
