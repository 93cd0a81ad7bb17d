/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/replica_peer.c - serving a scope, and reaching one that is served.
 *
 * The passes block, the SSH connection lives in a loop: a thread runs the loop and carries frames between the channel and a
 * socket pair, whose other end the passes use.
 */
#include <config.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/process.h"
#include "base/text.h"
#include "replica/scan.h"
#include "requester/replica_peer.h"
#include "wire/ssh.h"

#define QUEUE_MAX (4u << 20)
#define FAREWELL_MS 15000u

struct vb_replica_peer {
    struct vb_rstream s;
    char *name;
    pid_t child;
    /* the carrier of an SSH channel */
    bool carried;
    pthread_t thread;
    struct vb_loop *loop;
    struct vb_ssh *ssh;
    struct vb_conn *far, *near;
    const struct vb_host_entry *host;
    struct vb_error why; /* set by the carrier before it ends */
};

struct vb_place_setup vb_replica_setup(const struct vb_cli *cli)
{
    return (struct vb_place_setup){ .state_dir = cli->settings.state_dir };
}

/* ---- serving ---- */

static void scan_warning(void *arg, const struct vb_error *what)
{
    (void)arg;
    fprintf(stderr, "vbackup: %s\n", vb_error_text(what));
}

static int serve_pass(struct vb_place *p, struct vb_rstream *s, const char *roles, const struct vb_msg *m, struct vb_error *err)
{
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    struct vb_pass_result r;
    struct vb_scan_result scan;
    const struct vb_scan_options so = { .tell = scan_warning };
    bool push = vb_msg_u64(m, VB_RF_DIRECTION, 1) != 0; /* as the asking side sees it */
    o.dry_run = vb_msg_u64(m, VB_RF_DRY_RUN, 0) != 0;
    o.full = vb_msg_u64(m, VB_RF_FULL, 0) != 0;
    o.exact = vb_msg_u64(m, VB_RF_EXACT, 0) != 0 || (push && p->set.exact);
    o.allow_deletes = vb_msg_u64(m, VB_RF_ALLOW, 0);
    uint64_t policy = vb_msg_u64(m, VB_RF_POLICY, 0); /* 0: the scope's own */
    o.policy = policy && policy <= VB_POLICY_DEFER + 1u ? (int)policy - 1 : -1;
    if (!strchr(roles, push ? 'w' : 'r'))
        return vb_fail(err, VB_E_ACCESS_DENIED, "scope '%s' may not be %s from here", p->scope.name, push ? "written" : "read");
    bool quick = push && vb_msg_u64(m, VB_RF_QUICK, 0) != 0 && p->scope.trusted;
    if ((!quick && vb_scan(p, &so, &scan, err) < 0) || (!push && vb_scan_quiet(p, &scan, scan.now_ns, NULL, err) < 0))
        return vb_rstream_fail(s, err);
    return push ? vb_pass_receive(p, s, &o, &r, err) : vb_pass_send(p, s, &o, &r, err);
}

/* The writers of the scope, for one who may write it. */
static int serve_writers(struct vb_place *p, struct vb_rstream *s, const char *state_dir, const char *roles, struct vb_ext_hosts **x,
                         const struct vb_msg *m, struct vb_error *err)
{
    VB_AUTO_FREE char *dir = vb_printf("%s/replica", state_dir);
    struct vb_strv names = { NULL, 0, 0 };
    uint64_t limit;
    if (!strchr(roles, 'w'))
        return vb_fail(err, VB_E_ACCESS_DENIED, "scope '%s' may not be written from here", p->scope.name);
    if (!*x) {
        if (vb_place_writers(p, &names, &limit, err) < 0)
            return -1;
        *x = vb_ext_hosts_new(NULL, state_dir, &names);
        vb_strv_clear(&names);
    }
    return vb_ext_serve(s, *x, dir, m, err);
}

int vb_replica_serve(const struct vb_place_setup *setup, const char *name, const char *roles, int in, int out, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    struct vb_rstream s = { .in = in, .out = out, .peer = "the asking side" };
    struct vb_place *opened = NULL;
    int result = vb_place_open(setup, name, &opened, &why);
    VB_AUTO_PLACE *p = opened;
    struct vb_ext_hosts *writers = NULL;
    bool told = false;
    if (result == 0) {
        VB_AUTO_MSG hello = VB_MSG_INIT(VB_R_HELLO);
        vb_msg_add_u64(&hello, VB_RF_VERSION, VB_RSTREAM_VERSION);
        vb_msg_add_str(&hello, VB_RF_SCOPE, name);
        vb_msg_add_str(&hello, VB_RF_GUID, p->scope.guid);
        result = vb_rstream_send(&s, &hello, &why);
    }
    while (result == 0) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if ((result = vb_rstream_recv(&s, &m, &why)) < 0 || m.type == VB_R_BYE)
            break;
        if (m.type == VB_R_EXT_LIST || m.type == VB_R_EXT_CALL)
            result = serve_writers(p, &s, setup->state_dir, roles, &writers, &m, &why);
        else if (m.type != VB_R_PASS)
            result = vb_fail(&why, VB_E_PROTOCOL, "message %d where a pass was to be asked for", (int)m.type);
        else if ((result = serve_pass(p, &s, roles, &m, &why)) < 0)
            told = why.code != VB_E_ACCESS_DENIED && why.code != VB_E_BUSY;
    }
    if (result < 0 && !told)
        vb_rstream_fail(&s, &why);
    s.in = s.out = -1;
    vb_rstream_clear(&s);
    vb_ext_hosts_free(writers);
    return result < 0 ? vb_error_move(err, &why) : 0;
}

/* ---- a child of ours ---- */

static char *own_program(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    return n > 0 ? vb_strndup(path, (size_t)n) : vb_strdup("vbackup");
}

static int start_child(struct vb_replica_peer *peer, const char *scope, struct vb_error *err)
{
    VB_AUTO_FREE char *program = own_program();
    const char *argv[] = { program, "scope", "serve", scope, NULL };
    struct vb_spawn spawn = VB_SPAWN_INIT;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vb_fail_errno(err, errno, "a socket pair");
    spawn.argv = argv;
    spawn.stdin_fd = spawn.stdout_fd = pair[1];
    spawn.die_with_parent = true;
    peer->child = vb_spawn(&spawn, err);
    close(pair[1]);
    peer->s.in = peer->s.out = pair[0];
    return peer->child < 0 ? -1 : 0;
}

/* ---- a channel to another host ---- */

static void carry_end(struct vb_replica_peer *c, const struct vb_error *why)
{
    if (why && why->code != VB_OK && c->why.code == VB_OK)
        vb_error_copy(&c->why, why);
    vb_loop_stop(c->loop, 1);
}

static void from_far(void *arg, struct vb_msg *m)
{
    struct vb_replica_peer *c = arg;
    if (!c->near)
        return;
    vb_conn_send(c->near, m);
    if (vb_conn_queued(c->near) > QUEUE_MAX)
        vb_conn_pause(c->far, true);
}

static void from_near(void *arg, struct vb_msg *m)
{
    struct vb_replica_peer *c = arg;
    vb_conn_send(c->far, m);
    if (vb_conn_queued(c->far) > QUEUE_MAX)
        vb_conn_pause(c->near, true);
}

static void near_drained(void *arg)
{
    vb_conn_pause(((struct vb_replica_peer *)arg)->far, false);
}

static void far_drained(void *arg)
{
    struct vb_replica_peer *c = arg;
    if (c->near)
        vb_conn_pause(c->near, false);
}

static void far_closed(void *arg, const struct vb_error *why)
{
    carry_end(arg, why);
}

static void waited_enough(void *arg)
{
    carry_end(arg, NULL);
}

/* Our last word is still to arrive; and whoever comes next finds the scope there free when that end is gone. */
static void near_closed(void *arg, const struct vb_error *why)
{
    struct vb_replica_peer *c = arg;
    (void)why;
    vb_conn_free(c->near);
    c->near = NULL;
    vb_conn_pause(c->far, false);
    vb_conn_finish(c->far);
    vb_loop_after(c->loop, FAREWELL_MS, waited_enough, c);
}

static void ssh_failed(void *arg, const struct vb_error *why)
{
    carry_end(arg, why);
}

static void ssh_ready(void *arg)
{
    (void)arg;
}

static void *carry(void *arg)
{
    struct vb_replica_peer *c = arg;
    vb_loop_run(c->loop);
    vb_conn_free(c->near); /* the passes see the end */
    c->near = NULL;
    return NULL;
}

static struct vb_ssh *connect_to(struct vb_replica_peer *c, const struct vb_host_entry *h)
{
    static const struct vb_ssh_handler handler = { ssh_ready, ssh_failed };
    const struct vb_ssh_params params = {
        .name = h->name, .address = h->address, .port = h->port, .user = h->user,
        .identities = (const char *const *)h->identities.v, .n_identities = h->identities.n,
        .known_hosts = (const char *const *)h->known_hosts.v, .n_known_hosts = h->known_hosts.n,
    };
    return vb_ssh_open(c->loop, &params, &handler, c);
}

static int start_remote(struct vb_replica_peer *c, struct vb_cli *cli, const char *host, const char *scope, struct vb_error *err)
{
    static const struct vb_conn_handler far = { from_far, far_closed, far_drained };
    static const struct vb_conn_handler near = { from_near, near_closed, near_drained };
    int pair[2];
    c->host = vb_hosts_find(cli->settings.hosts, host);
    if (!c->host || c->host->local) {
        vb_fail(err, VB_E_HOST_UNKNOWN, "host '%s' is not in the host table", host);
        vb_hint(err, "add a section [host %s] to the configuration", host);
        return -1;
    }
    if (!vb_scope_name_valid(scope))
        return vb_fail(err, VB_E_USAGE, "'%s' is not the name of a scope", scope);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vb_fail_errno(err, errno, "a socket pair");
    c->s.in = c->s.out = pair[0];
    c->loop = vb_loop_new();
    c->ssh = connect_to(c, c->host);
    const char *program = getenv("VBACKUP_REMOTE_COMMAND");
    VB_AUTO_FREE char *command = vb_printf("%s scope serve %s", program && *program ? program : "vbackup", scope);
    c->far = vb_ssh_exec(c->ssh, command);
    c->near = vb_conn_fd(c->loop, pair[1], pair[1]);
    vb_conn_set_handler(c->far, &far, c);
    vb_conn_set_handler(c->near, &near, c);
    c->carried = pthread_create(&c->thread, NULL, carry, c) == 0;
    return c->carried ? 0 : vb_fail(err, VB_E_NO_MEMORY, "a thread cannot be made");
}

/* ---- opened and closed ---- */

/* The scope that has this directory; made if there is none. */
static int scope_of_directory(struct vb_cli *cli, const char *dir, const struct vb_place *like, char **name, struct vb_error *err)
{
    struct vb_place_setup s = vb_replica_setup(cli);
    struct vb_strv names = { NULL, 0, 0 };
    s.held = like;
    VB_AUTO_FREE char *real = realpath(dir, NULL);
    VB_AUTO_FREE char *cwd = real || dir[0] == '/' ? NULL : realpath(".", NULL);
    VB_AUTO_FREE char *full = real ? vb_strdup(real) : cwd ? vb_path_join(cwd, dir) : vb_strdup(dir);
    int result = vb_place_list(&s, &names, err);
    for (size_t i = 0; i < names.n && result == 0 && !*name; i++) {
        struct vb_place *other = NULL;
        if (!strcmp(names.v[i], like->scope.name))
            continue;
        if ((result = vb_place_open_store(&s, names.v[i], &other, err)) == 0 && !strcmp(other->scope.root, full))
            *name = vb_strdup(names.v[i]);
        vb_place_close(other);
    }
    for (unsigned i = 2; result == 0 && !*name; i++) {
        VB_AUTO_FREE char *fresh = vb_printf("%.50s.%u", like->scope.name, i);
        if (!vb_strv_has(&names, fresh) && (result = vb_place_add(&s, fresh, full, like->scope.guid, true, &like->set, err)) == 0)
            *name = VB_STEAL(fresh);
    }
    vb_strv_clear(&names);
    return result;
}

/* A lost connection is told by its cause. */
static int explain(struct vb_replica_peer *peer, struct vb_error *err)
{
    if (peer->carried) {
        shutdown(peer->s.in, SHUT_RDWR);
        pthread_join(peer->thread, NULL);
        peer->carried = false;
        if (peer->why.code != VB_OK && err && (err->code == VB_E_CONNECTION_LOST || err->code == VB_E_IO)) {
            vb_error_clear(err);
            vb_error_copy(err, &peer->why);
        }
    }
    return -1;
}

static bool is_directory(const char *target)
{
    const char *colon = strchr(target, ':'), *slash = strchr(target, '/');
    return slash && (!colon || colon > slash);
}

int vb_replica_peer_scope(struct vb_cli *cli, const char *target, const struct vb_place *like, char **scope, struct vb_error *err)
{
    return is_directory(target) ? scope_of_directory(cli, target, like, scope, err) : 0;
}

struct vb_replica_peer *vb_replica_peer_reach(struct vb_cli *cli, const char *target, const char *scope, const struct vb_place *like,
                                              struct vb_error *err)
{
    struct vb_replica_peer *peer = vb_alloc(sizeof *peer);
    VB_AUTO_MSG hello = VB_MSG_INIT(0);
    const char *colon = strchr(target, ':');
    int result;
    peer->s = (struct vb_rstream)VB_RSTREAM_INIT;
    peer->child = -1;
    peer->name = vb_strdup(target);
    peer->s.peer = peer->name;
    signal(SIGPIPE, SIG_IGN);
    if (scope) {
        result = start_child(peer, scope, err);
    } else if (colon) {
        VB_AUTO_FREE char *host = vb_strndup(target, (size_t)(colon - target));
        result = start_remote(peer, cli, host, colon + 1, err);
    } else if (!strcmp(target, like->scope.name)) {
        result = vb_fail(err, VB_E_USAGE, "scope '%s' cannot be replicated to itself", target);
    } else {
        result = start_child(peer, target, err);
    }
    if (result == 0 && vb_rstream_expect(&peer->s, VB_R_HELLO, &hello, err) < 0)
        result = explain(peer, err);
    if (result < 0) {
        const struct vb_pass_options o = { .peer = target };
        const struct vb_pass_result none = { 0 };
        vb_pass_note(like, VB_SIDE_EXPORT, &o, NULL, &none, err);
        vb_replica_peer_close(peer);
        return NULL;
    }
    return peer;
}

int vb_replica_peer_pass(struct vb_replica_peer *peer, struct vb_place *p, bool push, const struct vb_pass_options *o,
                         struct vb_pass_result *out, struct vb_error *err)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_PASS);
    struct vb_pass_options named = *o;
    named.peer = peer->name;
    vb_msg_add_u64(&m, VB_RF_DIRECTION, push);
    vb_msg_add_u64(&m, VB_RF_DRY_RUN, o->dry_run);
    vb_msg_add_u64(&m, VB_RF_FULL, o->full);
    vb_msg_add_u64(&m, VB_RF_EXACT, push && o->exact);
    vb_msg_add_u64(&m, VB_RF_QUICK, push && o->quick);
    vb_msg_add_u64(&m, VB_RF_ALLOW, o->allow_deletes);
    vb_msg_add_u64(&m, VB_RF_POLICY, o->policy >= 0 ? (uint64_t)o->policy + 1 : 0);
    if (vb_rstream_send(&peer->s, &m, err) < 0 ||
        (push ? vb_pass_send(p, &peer->s, &named, out, err) : vb_pass_receive(p, &peer->s, &named, out, err)) < 0)
        return explain(peer, err);
    return 0;
}

/* What the writer says of itself leaves the connection as it is. */
static int explain_lost(struct vb_replica_peer *peer, struct vb_error *err)
{
    return err && err->code == VB_E_CONNECTION_LOST ? explain(peer, err) : -1;
}

int vb_replica_peer_writers(struct vb_replica_peer *peer, struct vb_ext_wanted *w, size_t n, struct vb_error *err)
{
    return vb_ext_ask_list(&peer->s, w, n, err) < 0 ? explain_lost(peer, err) : 0;
}

int vb_replica_peer_call(struct vb_replica_peer *peer, const char *writer, enum vb_repl_call call, uint64_t limit_ms, int payload,
                         unsigned char hash[32], struct vb_error *err)
{
    return vb_ext_ask(&peer->s, writer, call, limit_ms, payload, hash, err) < 0 ? explain_lost(peer, err) : 0;
}

void vb_replica_peer_cut(struct vb_replica_peer *peer)
{
    shutdown(peer->s.in, SHUT_RDWR);
}

void vb_replica_peer_close(struct vb_replica_peer *peer)
{
    if (!peer)
        return;
    VB_AUTO_MSG bye = VB_MSG_INIT(VB_R_BYE);
    if (peer->s.out >= 0)
        (void)(vb_rstream_send(&peer->s, &bye, NULL) < 0 || vb_rstream_flush(&peer->s, NULL) < 0);
    if (peer->s.in >= 0)
        shutdown(peer->s.in, SHUT_WR);
    if (peer->child > 0)
        waitpid(peer->child, NULL, 0);
    if (peer->carried)
        pthread_join(peer->thread, NULL);
    vb_conn_free(peer->near);
    vb_conn_free(peer->far);
    vb_ssh_close(peer->ssh);
    vb_loop_free(peer->loop);
    vb_rstream_clear(&peer->s);
    vb_error_clear(&peer->why);
    vb_free_ptr(&peer->name);
    free(peer);
}
