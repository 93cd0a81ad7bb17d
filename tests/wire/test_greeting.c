/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/test_greeting.c - agreement on versions, features, and every way a greeting can fail. */
#include "config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/wire/peer.h"
#include "wire/greeting.h"
#include "wire/protocol.h"

struct side {
    struct vb_conn *conn;
    unsigned done;
    bool ok;
    uint32_t version;
    char *role, *host;
    bool has_shm;
    struct vb_error err;
};

static void greeted(void *arg, const struct vb_hello *peer, const struct vb_error *err)
{
    struct side *s = arg;

    s->done++;
    s->ok = peer != NULL;
    if (peer) {
        s->version = peer->version;
        s->role = vb_strdup(peer->role);
        s->host = vb_strdup(peer->host);
        s->has_shm = vb_hello_has(peer, "shm");
    } else {
        vb_error_copy(&s->err, err);
    }
}

static void side_clear(struct side *s)
{
    vb_conn_free(s->conn);
    free(s->role);
    free(s->host);
    vb_error_clear(&s->err);
    memset(s, 0, sizeof *s);
}

static void exchange(struct side *a, const struct vb_greet_params *pa, struct side *b, const struct vb_greet_params *pb)
{
    struct vb_loop *l = vb_loop_new_virtual(0);

    memset(a, 0, sizeof *a);
    memset(b, 0, sizeof *b);
    vb_conn_pair(l, NULL, NULL, &a->conn, &b->conn);
    vb_conn_set_name(a->conn, "host 'backend'");
    vb_greet(a->conn, pa, greeted, a);
    vb_greet(b->conn, pb, greeted, b);
    assert_int_equal(a->done + b->done, 0);
    vb_loop_run(l);
    assert_int_equal(a->done, 1);
    assert_int_equal(b->done, 1);
    vb_conn_free(a->conn);
    vb_conn_free(b->conn);
    a->conn = b->conn = NULL;
    vb_loop_free(l);
}

static void both_take_the_highest_common_version(void **state)
{
    static const struct { uint32_t a[2], b[2], want; } t[] = {
        { { 1, 1 }, { 1, 1 }, 1 }, { { 1, 3 }, { 2, 5 }, 3 }, { { 2, 9 }, { 1, 2 }, 2 }, { { 1, 4 }, { 2, 3 }, 3 },
        { { 1, 2 }, { 3, 4 }, 0 }, { { 3, 4 }, { 1, 2 }, 0 },
    };
    const char *features[] = { "shm", "x" };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(t); i++) {
        struct side a, b;
        struct vb_greet_params pa = { .role = "requester", .host = "backend", .features = features, .n_features = 2,
                                      .version_min = t[i].a[0], .version_max = t[i].a[1] };
        struct vb_greet_params pb = { .role = "agent", .version_min = t[i].b[0], .version_max = t[i].b[1] };

        exchange(&a, &pa, &b, &pb);
        assert_int_equal(a.ok, t[i].want != 0);
        assert_int_equal(b.ok, t[i].want != 0);
        if (t[i].want) {
            assert_int_equal(a.version, t[i].want);
            assert_int_equal(b.version, t[i].want);
            assert_string_equal(b.host, "backend");
            assert_null(a.host);
            assert_true(b.has_shm && !a.has_shm);
        } else {
            assert_int_equal(a.err.code, VB_E_VERSION);
            assert_non_null(strstr(a.err.text, "host 'backend'"));
            assert_non_null(strstr(a.err.text, "1 to 2"));
            assert_non_null(strstr(a.err.text, "3 to 4"));
            bool we_are_older = t[i].a[0] == 1;

            assert_non_null(strstr(a.err.text, we_are_older ? "on this side is older" : "the peer is older"));
            assert_non_null(strstr(b.err.text, we_are_older ? "the peer is older" : "on this side is older"));
            assert_non_null(a.err.hint);
        }
        side_clear(&a);
        side_clear(&b);
    }
}

static void a_reflected_greeting_is_refused(void **state)
{
    struct side a, b;
    struct vb_greet_params p = { .role = "requester" };
    struct vb_greet_params want_agent = { .role = "writer-host", .expect_role = "agent" };

    (void)state;
    exchange(&a, &p, &b, &p);
    assert_false(a.ok);
    assert_int_equal(a.err.code, VB_E_PROTOCOL);
    side_clear(&a);
    side_clear(&b);
    exchange(&a, &want_agent, &b, &p);
    assert_false(a.ok);
    assert_non_null(strstr(a.err.text, "expected 'agent'"));
    assert_true(b.ok);
    side_clear(&a);
    side_clear(&b);
}

static void silence_has_a_limit(void **state)
{
    struct vb_loop *l = vb_loop_new_virtual(0);
    struct side a = { 0 };
    struct vb_conn *b;
    struct vb_greet_params p = { .role = "requester" };

    (void)state;
    vb_conn_pair(l, NULL, NULL, &a.conn, &b);
    vb_greet(a.conn, &p, greeted, &a);
    vb_loop_run(l);
    assert_true(vb_loop_now_ms(l) == VB_GREET_TIMEOUT_MS);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.err.code, VB_E_TIMEOUT);
    vb_conn_free(b);
    side_clear(&a);
    vb_loop_free(l);
}

static void what_follows_waits_for_the_next_handler(void **state)
{
    struct vb_loop *l = vb_loop_new_virtual(0);
    struct side a = { 0 };
    struct vb_conn *b;
    struct peer next, other;
    struct vb_greet_params p = { .role = "agent" }, pb = { .role = "requester" };
    VB_AUTO_MSG hello = VB_MSG_INIT(0);

    (void)state;
    vb_conn_pair(l, NULL, NULL, &a.conn, &b);
    peer_start(&other, l, b);
    vb_greet(a.conn, &p, greeted, &a);
    vb_hello_make(&pb, &hello);
    vb_conn_send(b, &hello);
    peer_send(&other, VB_M_OPEN, 1, 5);
    vb_loop_run(l);
    assert_true(a.ok);
    peer_start(&next, l, a.conn);
    vb_loop_run(l);
    assert_int_equal(next.msgs, 1);
    peer_stop(&other);
    side_clear(&a);
    vb_error_clear(&next.why);
    vb_loop_free(l);
}

static void cancelled_greetings_say_nothing(void **state)
{
    struct vb_loop *l = vb_loop_new_virtual(0);
    struct side a = { 0 };
    struct vb_conn *b;
    struct vb_greet_params p = { .role = "agent" };

    (void)state;
    vb_conn_pair(l, NULL, NULL, &a.conn, &b);
    vb_greet_cancel(vb_greet(a.conn, &p, greeted, &a));
    vb_greet_cancel(NULL);
    vb_loop_run(l);
    assert_int_equal(a.done, 0);
    vb_conn_free(b);
    side_clear(&a);
    vb_loop_free(l);
}

struct bad {
    const char *bytes;
    size_t n;
    bool close;
    enum vb_code code;
    const char *text;
};
#define S(s) (s), sizeof(s) - 1
static const struct bad bad[] = {
    { S("bash: vbackup-agent: command not found\n"), false, VB_E_PROTOCOL,
      "host 'x': sent text instead of a greeting: 'bash: vbackup-agent: command not found'" },
    { S("Welcome!\r\n\0\0\0\x0c\0\1\0\0\0\0\0\0\0\0\0\1"), false, VB_E_PROTOCOL,
      "sent text instead of a greeting: 'Welcome!'" },
    { S("hi"), true, VB_E_PROTOCOL, "sent text instead of a greeting: 'hi'" },
    { S("\xff\xfe\x00\x01\x02\x03"), false, VB_E_PROTOCOL, "host 'x': " },
    { S(""), true, VB_E_CONNECTION_LOST, "host 'x': closed the connection without a greeting" },
    { S("\0\0\0\x0c\0\5\0\0\0\0\0\0\0\0\0\1"), false, VB_E_PROTOCOL, "instead of a greeting" },
    { S("\0\0\0\x0c\0\1\0\0\0\0\0\0\0\0\0\1"), false, VB_E_PROTOCOL, "no sound range of versions" },
};

static void everything_else_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        struct vb_loop *l = vb_loop_new();
        struct side a = { 0 };
        struct vb_greet_params p = { .role = "requester", .timeout_ms = 3000 };
        int fd[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        a.conn = vb_conn_fd(l, fd[0], fd[0]);
        vb_conn_set_name(a.conn, "host 'x'");
        vb_greet(a.conn, &p, greeted, &a);
        assert_int_equal(write(fd[1], bad[i].bytes, bad[i].n), (int)bad[i].n);
        if (bad[i].close)
            shutdown(fd[1], SHUT_WR);
        peer_wait(l, &a.done, 1, 5000);
        assert_int_equal(a.done, 1);
        if (a.ok || a.err.code != bad[i].code || !strstr(a.err.text, bad[i].text))
            fail_msg("case %zu: %s", i, vb_error_text(&a.err));
        side_clear(&a);
        close(fd[1]);
        vb_loop_free(l);
    }
}

static void names_in_a_greeting_are_checked(void **state)
{
    struct vb_greet_params p = { .role = "requester" };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_hello h = VB_HELLO_INIT;

    (void)state;
    for (int i = 0; i < 6; i++) {
        static const struct { const char *role, *program; int more; } t[] = {
            { "agent", "vbackup 1", 0 }, { "agent\n", "vbackup 1", 0 }, { "", "vbackup 1", 0 }, { "agent", "\xff", 0 },
            { NULL, "vbackup 1", 0 }, { "agent", "vbackup 1", 100 },
        };
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_HELLO);
        int rc;

        vb_msg_add_u64(&m, VB_F_VERSION_MIN, 1);
        vb_msg_add_u64(&m, VB_F_VERSION_MAX, 1);
        vb_msg_add_str(&m, VB_F_PROGRAM, t[i].program);
        vb_msg_add_str(&m, VB_F_ROLE, t[i].role);
        for (int k = 0; k < t[i].more; k++)
            vb_msg_add_str(&m, VB_F_FEATURE, "f");
        rc = vb_hello_read(&p, &m, &h, &err);
        assert_int_equal(rc, i == 0 ? 0 : -1);
        if (i)
            assert_int_equal(err.code, VB_E_PROTOCOL);
        vb_error_clear(&err);
        vb_hello_clear(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_take_the_highest_common_version),
        cmocka_unit_test(a_reflected_greeting_is_refused),
        cmocka_unit_test(silence_has_a_limit),
        cmocka_unit_test(what_follows_waits_for_the_next_handler),
        cmocka_unit_test(cancelled_greetings_say_nothing),
        cmocka_unit_test(everything_else_is_refused_by_name),
        cmocka_unit_test(names_in_a_greeting_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
