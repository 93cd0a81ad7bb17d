/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/wire/test_msg.c - round trips, limits, and a table of broken frames. */
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
#include "base/mem.h"
#include "wire/msg.h"
#include "wire/conn.h"
#include "wire/protocol.h"

static void round_trip_keeps_every_field(void **state)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_EVENT);
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    VB_AUTO_MSG got = VB_MSG_INIT(0);
    VB_AUTO_BUF wire = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *s = NULL;
    VB_AUTO_FREE char *inner_s = NULL;
    struct vb_msg inner;
    const unsigned char *p;
    size_t n;

    (void)state;
    m.id = 0x1122334455667788u;
    vb_msg_add_u64(&m, VB_F_SEQ, UINT64_MAX);
    vb_msg_add_str(&m, VB_F_TEXT, "gr\xc3\xbc\xc3\x9f" "e");
    vb_msg_add_str(&m, VB_F_HINT, NULL);
    vb_msg_add(&m, VB_F_BYTES, "\0\1\2", 3);
    vb_msg_add(&m, VB_F_BITMAP, "", 0);
    vb_msg_add_str(&g, VB_F_NAME, "inside");
    vb_msg_add_group(&m, VB_F_COMPONENT, &g);
    assert_int_equal(vb_msg_encode(&m, &wire, &err), 0);
    assert_int_equal(wire.len, VB_FRAME_HEAD + m.body.len);
    assert_int_equal(vb_msg_decode(&wire, &got, &err), 1);
    assert_int_equal(wire.len, 0);
    assert_int_equal(got.type, VB_M_EVENT);
    assert_true(got.id == m.id);
    assert_true(vb_msg_u64(&got, VB_F_SEQ, 0) == UINT64_MAX);
    assert_true(vb_msg_u64(&got, VB_F_SIZE, 7) == 7);
    s = vb_msg_str(&got, VB_F_TEXT);
    assert_string_equal(s, "gr\xc3\xbc\xc3\x9f" "e");
    assert_false(vb_msg_has(&got, VB_F_HINT));
    assert_true(vb_msg_bytes(&got, VB_F_BYTES, &p, &n));
    assert_int_equal(n, 3);
    assert_memory_equal(p, "\0\1\2", 3);
    assert_null(vb_msg_str(&got, VB_F_BYTES));
    assert_true(vb_msg_bytes(&got, VB_F_BITMAP, &p, &n));
    assert_int_equal(n, 0);
    assert_true(vb_msg_bytes(&got, VB_F_COMPONENT, &p, &n));
    inner = vb_msg_view(p, n);
    inner_s = vb_msg_str(&inner, VB_F_NAME);
    assert_string_equal(inner_s, "inside");
}

static void errors_travel_with_code_text_and_hint(void **state)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_REPLY);
    VB_AUTO_MSG none = VB_MSG_INIT(VB_M_REPLY);
    VB_AUTO_ERROR in = VB_ERROR_INIT;
    VB_AUTO_ERROR out = VB_ERROR_INIT;

    (void)state;
    vb_msg_add_error(&none, NULL);
    vb_msg_add_error(&none, &in);
    assert_int_equal(none.body.len, 0);
    assert_int_equal(vb_msg_error(&none, &out), 0);
    assert_int_equal(out.code, VB_OK);
    vb_fail(&in, VB_E_BUSY, "100%% taken");
    vb_hint(&in, "try %s", "later");
    vb_msg_add_error(&m, &in);
    assert_int_equal(vb_msg_error(&m, &out), -1);
    assert_int_equal(out.code, VB_E_BUSY);
    assert_string_equal(out.text, "100% taken");
    assert_string_equal(out.hint, "try later");
}

static void an_error_with_a_code_out_of_range_is_still_an_error(void **state)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_REPLY);
    VB_AUTO_ERROR out = VB_ERROR_INIT;

    (void)state;
    vb_msg_add_u64(&m, VB_F_CODE, UINT64_MAX);
    assert_int_equal(vb_msg_error(&m, &out), -1);
    assert_int_equal(out.code, VB_E_UNEXPECTED);
}

static void frames_arrive_byte_by_byte(void **state)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OK);
    VB_AUTO_BUF wire = VB_BUF_INIT;
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned got = 0;

    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        m.id = i;
        vb_buf_reset(&m.body);
        vb_msg_add_u64(&m, VB_F_SEQ, i);
        assert_int_equal(vb_msg_encode(&m, &wire, &err), 0);
    }
    for (size_t i = 0; i < wire.len; i++) {
        VB_AUTO_MSG r = VB_MSG_INIT(0);
        int rc;

        vb_buf_add(&in, wire.data + i, 1);
        rc = vb_msg_decode(&in, &r, &err);
        assert_true(rc >= 0);
        if (rc == 1) {
            got++;
            assert_true(r.id == got && vb_msg_u64(&r, VB_F_SEQ, 0) == got);
            assert_int_equal((i + 1) % (wire.len / 3), 0);
        }
    }
    assert_int_equal(got, 3);
    assert_int_equal(in.len, 0);
}

struct broken {
    const char *name;
    const char *bytes;
    size_t n;
    int rc;
    enum vb_code code;
};
#define B(s) (s), sizeof(s) - 1
#define HEAD(len) "\0\0\0" len "\0\5\0\0\0\0\0\0\0\0\0\1"
static const struct broken broken[] = {
    { "nothing", B(""), 0, VB_OK },
    { "half a length", B("\0\0"), 0, VB_OK },
    { "half a head", B("\0\0\0\x0c\0\5"), 0, VB_OK },
    { "empty message", B(HEAD("\x0c")), 1, VB_OK },
    { "text", B("Welcome to host"), -1, VB_E_LIMIT },
    { "one byte of text", B("W"), -1, VB_E_PROTOCOL },
    { "length above the limit by one", B("\x00\xff\xff\xfd"), -1, VB_E_LIMIT },
    { "length at the limit, rest missing", B("\x00\xff\xff\xfc\0\5\0\0"), 0, VB_OK },
    { "largest length", B("\xff\xff\xff\xff"), -1, VB_E_LIMIT },
    { "length zero", B("\0\0\0\0"), -1, VB_E_PROTOCOL },
    { "length below the head", B("\0\0\0\x0b"), -1, VB_E_PROTOCOL },
    { "flags", B("\0\0\0\x0c\0\5\0\1"), -1, VB_E_PROTOCOL },
    { "half a tag", B(HEAD("\x0d") "\0"), -1, VB_E_PROTOCOL },
    { "tag without length", B(HEAD("\x0e") "\0\1"), -1, VB_E_PROTOCOL },
    { "half a field length", B(HEAD("\x11") "\0\1\0\0\0"), -1, VB_E_PROTOCOL },
    { "field passes the end by one", B(HEAD("\x13") "\0\1\0\0\0\2x"), -1, VB_E_PROTOCOL },
    { "field of 4 GiB", B(HEAD("\x13") "\0\1\xff\xff\xff\xffx"), -1, VB_E_PROTOCOL },
    { "field fits", B(HEAD("\x13") "\0\1\0\0\0\1x"), 1, VB_OK },
    { "empty field", B(HEAD("\x12") "\0\1\0\0\0\0"), 1, VB_OK },
};

static void broken_frames_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < VB_COUNT(broken); i++) {
        VB_AUTO_BUF in = VB_BUF_INIT;
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        int rc;

        if (broken[i].n)
            vb_buf_add(&in, broken[i].bytes, broken[i].n);
        rc = vb_msg_decode(&in, &m, &err);
        if (rc != broken[i].rc || err.code != broken[i].code)
            fail_msg("%s: returned %d (%s), expected %d", broken[i].name, rc, vb_error_text(&err), broken[i].rc);
    }
}

static void too_many_fields_and_too_large_messages_are_refused(void **state)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OK);
    VB_AUTO_MSG r = VB_MSG_INIT(0);
    VB_AUTO_BUF wire = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *big = vb_alloc(VB_FRAME_MAX);

    (void)state;
    for (unsigned i = 0; i < VB_FIELDS_MAX; i++)
        vb_msg_add(&m, VB_F_FEATURE, "", 0);
    assert_int_equal(vb_msg_encode(&m, &wire, &err), 0);
    assert_int_equal(vb_msg_decode(&wire, &r, &err), 1);
    vb_msg_add(&m, VB_F_FEATURE, "", 0);
    assert_int_equal(vb_msg_encode(&m, &wire, &err), 0);
    assert_int_equal(vb_msg_decode(&wire, &r, &err), -1);
    assert_int_equal(err.code, VB_E_LIMIT);

    vb_buf_clear(&wire);
    vb_msg_clear(&m);
    vb_msg_add(&m, VB_F_BYTES, big, VB_FRAME_MAX - VB_FRAME_HEAD - 6);
    assert_int_equal(vb_msg_encode(&m, &wire, &err), 0);
    assert_int_equal(wire.len, VB_FRAME_MAX);
    assert_int_equal(vb_msg_decode(&wire, &r, &err), 1);
    vb_msg_clear(&m);
    vb_msg_add(&m, VB_F_BYTES, big, VB_FRAME_MAX - VB_FRAME_HEAD - 5);
    assert_int_equal(vb_msg_encode(&m, &wire, &err), -1);
    assert_int_equal(err.code, VB_E_LIMIT);
    assert_int_equal(wire.len, 0);
}

static void blocking_helpers_send_and_receive(void **state)
{
    int fd[2];
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);
    VB_AUTO_MSG r = VB_MSG_INIT(0);
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    vb_msg_add_u64(&m, VB_F_SIZE, 5);
    m.id = 1;
    assert_int_equal(vb_msg_send_fd(fd[0], &m, &err), 0);
    m.type = VB_M_PING;
    m.id = 77;
    assert_int_equal(vb_msg_send_fd(fd[0], &m, &err), 0);
    m.type = VB_M_CHUNK;
    m.id = 2;
    assert_int_equal(vb_msg_send_fd(fd[0], &m, &err), 0);
    assert_int_equal(vb_msg_recv_fd(fd[1], &in, &r, &err), 0);
    assert_true(r.id == 1 && vb_msg_u64(&r, VB_F_SIZE, 0) == 5);
    assert_int_equal(vb_msg_recv_fd(fd[1], &in, &r, &err), 0);
    assert_true(r.id == 2);
    assert_int_equal(write(fd[0], "\0\0", 2), 2);
    shutdown(fd[0], SHUT_WR);
    assert_int_equal(vb_msg_recv_fd(fd[1], &in, &r, &err), -1);
    assert_int_equal(err.code, VB_E_CONNECTION_LOST);
    vb_error_clear(&err);
    vb_buf_reset(&in);
    assert_int_equal(vb_msg_recv_fd(fd[1], &in, &r, &err), 1);
    /* The ping was answered by the helper itself. */
    close(fd[1]);
    vb_buf_reset(&in);
    {
        unsigned char b[VB_FRAME_HEAD];

        assert_int_equal(read(fd[0], b, sizeof b), (int)sizeof b);
        assert_int_equal(b[5], VB_M_PONG);
        assert_int_equal(b[15], 77);
    }
    assert_int_equal(vb_msg_send_fd(fd[0], &m, &err), -1);
    assert_int_equal(err.code, VB_E_CONNECTION_LOST);
    close(fd[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_keeps_every_field),
        cmocka_unit_test(errors_travel_with_code_text_and_hint),
        cmocka_unit_test(an_error_with_a_code_out_of_range_is_still_an_error),
        cmocka_unit_test(frames_arrive_byte_by_byte),
        cmocka_unit_test(broken_frames_are_refused),
        cmocka_unit_test(too_many_fields_and_too_large_messages_are_refused),
        cmocka_unit_test(blocking_helpers_send_and_receive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
