/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/fake_agent.c - an agent that misbehaves: fake_agent MODE [ARGUMENT] [-- REAL-AGENT]
 *
 * Alone, before any job:
 *     silent               reads and never says a word
 *     close                closes at once
 *     version MIN MAX      greets with these protocol versions
 *     role NAME            greets as something else
 *     garbage              bytes that are no frame;  text: what a login script prints;  big: a frame above the limit
 *     hang-open            greets, then is silent;   deaf-open: greets, answers pings, never takes the job
 *     open-reply N         greets, answers the job with a message of type N;   open-refuse: with an error
 *
 * Between the requester and a real agent (after --), once the reply to command N (a message type) is due:
 *     drop N               that reply is lost, pings are answered       stop N    from the command on nothing moves
 *     cut N                the stream ends                              noise N   garbage instead of the reply
 *     huge N               a frame head above the limit instead of it
 *     metadata-broken      IDENTIFY gives a document that is cut short
 *     metadata-path        ... one whose file set climbs out of its place
 *     component-unknown    the reply to CAPTURE speaks of a component that was not asked for
 *     chunk-bytes          the bytes of a chunk are not what its name says
 *     chunk-name           chunks come under another name than offered
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/process.h"
#include "wire/conn.h"
#include "wire/protocol.h"

static const char *mode;
static uint16_t at;
static bool stopped;

static void put(int fd, const void *p, size_t n)
{
    const char *at_byte = p;
    while (n > 0) {
        ssize_t got = write(fd, at_byte, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            exit(0);
        at_byte += got;
        n -= (size_t)got;
    }
}

static void send_msg(int fd, const struct vb_msg *m)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    if (vb_msg_encode(m, &b, NULL) < 0)
        exit(3);
    put(fd, b.data, b.len);
}

static bool is(const char *name)
{
    return strcmp(mode, name) == 0;
}

/* Until the other side is gone. */
static void listen_only(void)
{
    char b[4096];
    while (read(STDIN_FILENO, b, sizeof b) > 0)
        ;
    exit(0);
}

static void noise(void)
{
    unsigned char b[4096];
    unsigned v = 12345;
    for (size_t i = 0; i < sizeof b; i++) {
        v = v * 1103515245u + 12345u;
        b[i] = (unsigned char)(v >> 16);
    }
    memset(b, 0, 4);
    b[3] = 3; /* a frame too short to be one */
    put(STDOUT_FILENO, b, sizeof b);
    listen_only();
}

static void huge(void)
{
    static const unsigned char head[16] = { 0x7f, 0xff, 0xff, 0xff, 0, VB_M_REPLY };
    put(STDOUT_FILENO, head, sizeof head);
    listen_only();
}

static void hello(uint64_t lo, uint64_t hi, const char *role)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_HELLO);
    vb_msg_add_u64(&m, VB_F_VERSION_MIN, lo);
    vb_msg_add_u64(&m, VB_F_VERSION_MAX, hi);
    vb_msg_add_str(&m, VB_F_PROGRAM, "fake-agent 9.9");
    vb_msg_add_str(&m, VB_F_ROLE, role);
    send_msg(STDOUT_FILENO, &m);
}

static void after_hello(const char *argument)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    hello(VB_PROTOCOL_MIN, VB_PROTOCOL_MAX, "agent");
    if (is("hang-open"))
        listen_only();
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int got;
        while ((got = vb_msg_decode(&in, &m, NULL)) == 0) {
            vb_buf_reserve(&in, 65536);
            ssize_t n = read(STDIN_FILENO, in.data + in.len, 65536);
            if (n <= 0)
                exit(0);
            in.len += (size_t)n;
        }
        if (got < 0)
            exit(4);
        if (m.type == VB_M_PING) {
            VB_AUTO_MSG pong = VB_MSG_INIT(VB_M_PONG);
            send_msg(STDOUT_FILENO, &pong);
        } else if (m.type == VB_M_OPEN && !is("deaf-open")) {
            VB_AUTO_MSG reply = VB_MSG_INIT(is("open-refuse") ? VB_M_ERROR : at);
            VB_AUTO_ERROR e = VB_ERROR_INIT;
            vb_fail(&e, VB_E_ACCESS_DENIED, "%s", argument ? argument : "jobs of this requester are not taken");
            vb_hint(&e, "ask the administrator of that host");
            if (is("open-refuse"))
                vb_msg_add_error(&reply, &e);
            send_msg(STDOUT_FILENO, &reply);
        }
    }
}

/* ---- in the middle ---- */

/* The message with every first-level field `tag` of it passed through edit. */
typedef void edit_fn(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n);
static void edit_fields(struct vb_msg *m, uint16_t tag, edit_fn *edit)
{
    struct vb_msg out = VB_MSG_INIT(m->type);
    struct vb_field_iter it;
    uint16_t t;
    const unsigned char *p;
    size_t n;
    out.id = m->id;
    vb_field_iter_init(&it, m);
    while (vb_field_next(&it, &t, &p, &n)) {
        if (t == tag)
            edit(&out, t, p, n);
        else
            vb_msg_add(&out, t, p, n);
    }
    vb_msg_clear(m);
    *m = out;
}

static void flip(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add(&b, p, n);
    if (n > 0)
        b.data[n / 2] ^= 0x55;
    vb_msg_add(out, tag, b.data, b.len);
}

static void cut_short(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n)
{
    vb_msg_add(out, tag, p, n * 2 / 3);
}

static void climb(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n)
{
    static const char from[] = "path=\"/", to[] = "path=\"/../../";
    VB_AUTO_BUF b = VB_BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (n - i >= sizeof from - 1 && memcmp(p + i, from, sizeof from - 1) == 0) {
            vb_buf_add(&b, to, sizeof to - 1);
            i += sizeof from - 2;
        } else {
            vb_buf_add(&b, p + i, 1);
        }
    }
    vb_msg_add(out, tag, b.data, b.len);
}

static void break_document(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n)
{
    struct vb_msg group = VB_MSG_INIT(0);
    vb_buf_add(&group.body, p, n);
    edit_fields(&group, VB_F_XML, is("metadata-path") ? climb : cut_short);
    vb_msg_add_group(out, tag, &group);
    vb_msg_clear(&group);
}

static void rename_it(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n)
{
    (void)p;
    (void)n;
    vb_msg_add_str(out, tag, "nobody asked for this");
}

static void rename_component(struct vb_msg *out, uint16_t tag, const unsigned char *p, size_t n)
{
    struct vb_msg group = VB_MSG_INIT(0);
    vb_buf_add(&group.body, p, n);
    edit_fields(&group, VB_F_NAME, rename_it);
    vb_msg_add_group(out, tag, &group);
    vb_msg_clear(&group);
}

/* What the agent says, on its way to the requester; false: it is lost. */
static bool tamper(struct vb_msg *m)
{
    bool due = m->type == VB_M_REPLY && m->id % 1000 == at && at != 0;
    if (due && is("drop"))
        return false;
    if (due && is("cut"))
        exit(0);
    if (due && is("noise"))
        noise();
    if (due && is("huge"))
        huge();
    if (m->type == VB_M_REPLY && m->id == VB_M_IDENTIFY && strncmp(mode, "metadata-", 9) == 0)
        edit_fields(m, VB_F_WMD, break_document);
    if (m->type == VB_M_REPLY && m->id % 1000 == VB_M_CAPTURE && is("component-unknown"))
        edit_fields(m, VB_F_COMPONENT, rename_component);
    if (m->type == VB_M_CHUNK && is("chunk-bytes"))
        edit_fields(m, VB_F_BYTES, flip);
    if (m->type == VB_M_CHUNK && is("chunk-name"))
        edit_fields(m, VB_F_CHUNK_NAME, flip);
    return true;
}

static void pass_on(struct vb_buf *in, int to, bool from_agent)
{
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        int got = vb_msg_decode(in, &m, NULL);
        if (got < 0)
            exit(4);
        if (got == 0)
            return;
        if (!from_agent && is("stop") && m.id == at)
            stopped = true;
        if (!stopped && (!from_agent || tamper(&m)))
            send_msg(to, &m);
    }
}

static void stand_between(char **argv)
{
    int sv[2];
    struct vb_spawn s = VB_SPAWN_INIT;
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    struct vb_buf from_requester = VB_BUF_INIT, from_agent = VB_BUF_INIT;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        exit(3);
    s.argv = (const char *const *)argv;
    s.stdin_fd = s.stdout_fd = sv[1];
    if (vb_spawn(&s, &e) < 0) {
        fprintf(stderr, "fake_agent: %s\n", vb_error_text(&e));
        exit(3);
    }
    close(sv[1]);
    for (;;) {
        struct pollfd p[2] = { { STDIN_FILENO, POLLIN, 0 }, { sv[0], POLLIN, 0 } };
        if (poll(p, 2, -1) < 0)
            exit(3);
        for (int i = 0; i < 2; i++) {
            struct vb_buf *b = i == 0 ? &from_requester : &from_agent;
            if (!p[i].revents)
                continue;
            vb_buf_reserve(b, 65536);
            ssize_t n = read(p[i].fd, b->data + b->len, 65536);
            if (n <= 0)
                exit(0);
            b->len += (size_t)n;
            pass_on(b, i == 0 ? sv[0] : STDOUT_FILENO, i == 1);
        }
    }
}

int main(int argc, char **argv)
{
    const char *argument = argc > 2 && strcmp(argv[2], "--") != 0 ? argv[2] : NULL;
    mode = argc > 1 ? argv[1] : "close";
    at = argument ? (uint16_t)strtoul(argument, NULL, 10) : 0;
    for (int i = 2; i + 1 < argc; i++)
        if (strcmp(argv[i], "--") == 0)
            stand_between(argv + i + 1);
    if (is("close"))
        return 0;
    if (is("silent"))
        listen_only();
    if (is("garbage"))
        noise();
    if (is("big"))
        huge();
    if (is("text"))
        put(STDOUT_FILENO, "Welcome to backend!\nLast login: yesterday\n", 42);
    else if (is("version"))
        hello(strtoul(argument ? argument : "2", NULL, 10), strtoul(argc > 3 ? argv[3] : "3", NULL, 10), "agent");
    else if (is("role"))
        hello(VB_PROTOCOL_MIN, VB_PROTOCOL_MAX, argument ? argument : "requester");
    else
        after_hello(argument);
    listen_only();
}
