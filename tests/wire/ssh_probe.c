/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/wire/ssh_probe.c - drives the SSH transport from a script, and is the far end, too.
 *
 *     ssh_probe [options] ADDRESS connect               logs in:            "ready METHODS"
 *     ssh_probe [options] ADDRESS greet COMMAND         and greets:         "greeted PROGRAM ROLE VERSION"
 *     ssh_probe [options] ADDRESS echo N MIB COMMAND    N channels, MIB each there and back: "echoed N BYTES"
 *     ssh_probe [options] ADDRESS up|down MIB COMMAND   one way, for measuring: "moved BYTES in MS ms"
 *     ssh_probe [options] ADDRESS hold COMMAND          greets, prints "held", waits for the end
 *     ssh_probe [options] ADDRESS stall COMMAND         the same, and reads nothing
 *     ssh_probe serve                                   far end: greets, then echoes every message
 *     ssh_probe sink | source MIB                       far ends of up and down
 *     ssh_probe junk                                    far end that greets and then breaks the format
 * What fails is printed as "CODE: text" and "hint: ...", exit status 1.
 */
#include "config.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/greeting.h"
#include "wire/protocol.h"
#include "wire/ssh.h"

#define CHUNK (1024u * 1024)
#define AHEAD 8u /* MiB in flight while echoing */

struct lane {
    struct probe *probe;
    struct vb_conn *conn;
    uint64_t sent, got; /* messages */
    bool done;
};

struct probe {
    struct vb_loop *loop;
    struct vb_ssh *ssh;
    const char *mode;
    char **args;
    struct lane *lanes;
    unsigned n, open;
    uint64_t mib, start_ms;
    bool pause_test;
};

static const char self_role[] = "requester";

static void fill(unsigned char *p, uint64_t seq)
{
    uint64_t x = seq * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < CHUNK; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(p + i, &x, 8);
    }
}

static int say(const struct vb_error *err)
{
    printf("%s: %s\n", vb_code_name(err->code), vb_error_text(err));
    if (err->hint)
        printf("hint: %s\n", err->hint);
    fflush(stdout);
    return 1;
}

static void quit(struct probe *p, int status)
{
    vb_loop_stop(p->loop, status + 1);
}

/* --- the far ends --- */

static int greet_blocking(struct vb_buf *in)
{
    VB_AUTO_MSG hello = VB_MSG_INIT(0);
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_greet_params p = { .role = "agent" };
    struct vb_hello peer = VB_HELLO_INIT;
    int rc;

    vb_hello_make(&p, &hello);
    rc = vb_msg_send_fd(1, &hello, &err) < 0 || vb_msg_recv_fd(0, in, &m, &err) != 0 ||
         vb_hello_read(&p, &m, &peer, &err) < 0;
    if (rc)
        vb_log_error(VB_LOG_ERROR, &err);
    vb_hello_clear(&peer);
    return rc;
}

static int far_end(const char *what, uint64_t mib)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_FREE unsigned char *bytes = vb_alloc(CHUNK);

    if (greet_blocking(&in) != 0)
        return 1;
    if (strcmp(what, "junk") == 0 && write(1, "\xff\xff\xff\xff", 4) != 4)
        return 1;
    for (uint64_t i = 0; strcmp(what, "source") == 0 && i < mib; i++) {
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);

        m.id = i + 1;
        vb_msg_add(&m, VB_F_BYTES, bytes, CHUNK);
        if (vb_msg_send_fd(1, &m, NULL) < 0)
            return 1;
    }
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        int rc = vb_msg_recv_fd(0, &in, &m, &err);

        if (rc != 0)
            return rc < 0;
        if (strcmp(what, "sink") == 0 && m.type == VB_M_CHUNK)
            continue;
        if (vb_msg_send_fd(1, &m, &err) < 0)
            return 1;
    }
}

/* --- this end --- */

static void send_chunk(struct lane *l)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);
    VB_AUTO_FREE unsigned char *bytes = vb_alloc(CHUNK);

    fill(bytes, l->sent);
    m.id = ++l->sent;
    vb_msg_add(&m, VB_F_BYTES, bytes, CHUNK);
    vb_conn_send(l->conn, &m);
}

static void lane_done(struct lane *l)
{
    struct probe *p = l->probe;

    l->done = true;
    vb_conn_finish(l->conn);
    if (--p->open > 0)
        return;
    if (strcmp(p->mode, "echo") == 0)
        printf("echoed %u %" PRIu64 "\n", p->n, p->n * p->mib * CHUNK);
    else
        printf("moved %" PRIu64 " in %" PRIu64 " ms\n", p->mib * CHUNK, vb_loop_now_ms(p->loop) - p->start_ms);
    quit(p, 0);
}

static void on_msg(void *arg, struct vb_msg *m)
{
    struct lane *l = arg;
    struct probe *p = l->probe;
    const unsigned char *bytes;
    size_t n;

    if (strcmp(p->mode, "up") == 0) {
        lane_done(l); /* the sink's answer to the last message */
        return;
    }
    vb_msg_bytes(m, VB_F_BYTES, &bytes, &n);
    if (strcmp(p->mode, "echo") == 0) {
        VB_AUTO_FREE unsigned char *want = vb_alloc(CHUNK);

        fill(want, l->got);
        if (m->id != l->got + 1 || n != CHUNK || memcmp(bytes, want, CHUNK) != 0) {
            printf("message %" PRIu64 " differs\n", l->got);
            quit(p, 1);
            return;
        }
        if (l->sent < p->mib)
            send_chunk(l);
    }
    if (++l->got == p->mib)
        lane_done(l);
}

static void on_drain(void *arg)
{
    struct lane *l = arg;
    struct probe *p = l->probe;

    if (strcmp(p->mode, "up") != 0 || l->sent > p->mib)
        return;
    for (unsigned i = 0; i < 2 && l->sent < p->mib; i++)
        send_chunk(l);
    if (l->sent == p->mib) {
        VB_AUTO_MSG last = VB_MSG_INIT(VB_M_DATA_END);

        l->sent++;
        vb_conn_send(l->conn, &last);
    }
}

static void on_close(void *arg, const struct vb_error *why)
{
    struct lane *l = arg;

    if (l->done)
        return;
    printf("closed ");
    quit(l->probe, say(why));
}

static void on_greeted(void *arg, const struct vb_hello *peer, const struct vb_error *err)
{
    static const struct vb_conn_handler h = { on_msg, on_close, on_drain };
    struct lane *l = arg;
    struct probe *p = l->probe;

    if (!peer) {
        quit(p, say(err));
        return;
    }
    if (strcmp(p->mode, "greet") == 0) {
        printf("greeted %s %s %u\n", peer->program, peer->role, (unsigned)peer->version);
        quit(p, 0);
        return;
    }
    vb_conn_set_handler(l->conn, &h, l);
    if (strcmp(p->mode, "stall") == 0)
        vb_conn_pause(l->conn, true);
    if (strcmp(p->mode, "hold") == 0 || strcmp(p->mode, "stall") == 0) {
        printf("held\n");
        fflush(stdout);
    } else if (strcmp(p->mode, "echo") == 0) {
        while (l->sent < p->mib && l->sent < AHEAD)
            send_chunk(l);
    } else if (strcmp(p->mode, "up") == 0) {
        p->start_ms = vb_loop_now_ms(p->loop);
        on_drain(l);
    } else {
        p->start_ms = vb_loop_now_ms(p->loop);
    }
}

static void start_lanes(struct probe *p, const char *command)
{
    struct vb_greet_params g = { .role = self_role, .expect_role = "agent" };

    p->lanes = vb_alloc_n(p->n, sizeof *p->lanes);
    p->open = p->n;
    for (unsigned i = 0; i < p->n; i++) {
        p->lanes[i].probe = p;
        p->lanes[i].conn = vb_ssh_exec(p->ssh, command);
        vb_greet(p->lanes[i].conn, &g, on_greeted, &p->lanes[i]);
    }
}

static void on_ready(void *arg)
{
    struct probe *p = arg;

    if (strcmp(p->mode, "connect") == 0) {
        printf("ready %s\n", vb_ssh_methods(p->ssh));
        quit(p, 0);
    }
}

static void on_fail(void *arg, const struct vb_error *err)
{
    struct probe *p = arg;

    printf("failed ");
    quit(p, say(err));
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "name", 1, NULL, 'n' }, { "port", 1, NULL, 'p' }, { "user", 1, NULL, 'u' }, { "identity", 1, NULL, 'i' },
        { "known-hosts", 1, NULL, 'k' }, { "no-agent", 0, NULL, 'A' }, { "timeout", 1, NULL, 't' },
        { "keepalive", 1, NULL, 'a' }, { "limit", 1, NULL, 'l' }, { "memory", 1, NULL, 'm' }, { NULL, 0, NULL, 0 },
    };
    static const struct vb_ssh_handler handler = { on_ready, on_fail };
    struct vb_ssh_params params = { 0 };
    struct vb_strv ids = { 0 }, known = { 0 };
    struct probe p = { 0 };
    uint64_t port = 0, memory = 0;
    int c, rc;

    vb_log_init("ssh_probe: ");
    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        bool good = true;

        switch (c) {
        case 'n': params.name = optarg; break;
        case 'p': good = vb_parse_u64(optarg, &port); break;
        case 'u': params.user = optarg; break;
        case 'i': vb_strv_add(&ids, optarg); break;
        case 'k': vb_strv_add(&known, optarg); break;
        case 'A': params.no_agent = true; break;
        case 't': good = vb_parse_u64(optarg, &params.connect_timeout_ms); break;
        case 'a': good = vb_parse_u64(optarg, &params.keepalive_ms); break;
        case 'l': good = vb_parse_u64(optarg, &params.keepalive_limit_ms); break;
        case 'm': good = vb_parse_size(optarg, &memory); break;
        default: good = false; break;
        }
        if (!good)
            return 2;
    }
    argv += optind;
    argc -= optind;
    if (argc >= 1 && (strcmp(argv[0], "serve") == 0 || strcmp(argv[0], "sink") == 0 || strcmp(argv[0], "source") == 0 ||
                      strcmp(argv[0], "junk") == 0)) {
        uint64_t mib = 0;

        if (argc > 1 && !vb_parse_u64(argv[1], &mib))
            return 2;
        return far_end(argv[0], mib);
    }
    if (argc < 2)
        return 2;
    params.address = argv[0];
    if (!params.name)
        params.name = "x";
    params.port = (uint32_t)port;
    params.memory_limit = (size_t)memory;
    params.identities = (const char *const *)ids.v;
    params.n_identities = ids.n;
    params.known_hosts = (const char *const *)known.v;
    params.n_known_hosts = known.n;
    p.mode = argv[1];
    p.args = argv + 2;
    p.loop = vb_loop_new();
    p.n = 1;
    p.ssh = vb_ssh_open(p.loop, &params, &handler, &p);
    if (strcmp(p.mode, "echo") == 0 && argc == 5) {
        uint64_t n;

        if (!vb_parse_u64(argv[2], &n) || n > 100 || !vb_parse_u64(argv[3], &p.mib))
            return 2;
        p.n = (unsigned)n;
        start_lanes(&p, argv[4]);
    } else if ((strcmp(p.mode, "up") == 0 || strcmp(p.mode, "down") == 0) && argc == 4) {
        if (!vb_parse_u64(argv[2], &p.mib))
            return 2;
        start_lanes(&p, argv[3]);
    } else if ((strcmp(p.mode, "greet") == 0 || strcmp(p.mode, "hold") == 0 ||
                strcmp(p.mode, "stall") == 0) &&
               argc == 3) {
        start_lanes(&p, argv[2]);
    } else if (strcmp(p.mode, "connect") != 0) {
        return 2;
    }
    rc = vb_loop_run(p.loop);
    vb_ssh_close(p.ssh);
    for (unsigned i = 0; p.lanes && i < p.n; i++)
        vb_conn_free(p.lanes[i].conn);
    free(p.lanes);
    vb_strv_clear(&ids);
    vb_strv_clear(&known);
    vb_loop_free(p.loop);
    return rc > 0 ? rc - 1 : 3;
}
