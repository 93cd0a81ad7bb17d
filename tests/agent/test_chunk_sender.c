/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent's end of a capture's stream against requesters that answer wrongly.
 */
#include "config.h"

#include "tests/cm.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/chunk_sender.h"
#include "base/mem.h"
#include "wire/conn.h"
#include "wire/protocol.h"

struct lab {
    int ours, theirs;
    struct vb_namer *namer;
    struct vb_chunk_sender *s;
    struct vb_error err;
};

static void lab_open(struct lab *l, unsigned threads)
{
    static const uint8_t key[VB_CHUNK_KEY_LEN] = { 1 };
    int s[2];
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    *l = (struct lab){ .ours = s[0], .theirs = s[1], .namer = vb_namer_new(key), .err = VB_ERROR_INIT };
    l->s = vb_chunk_sender_new(l->ours, l->namer, 3, threads);
}

static void lab_close(struct lab *l)
{
    vb_chunk_sender_free(l->s);
    vb_namer_free(l->namer);
    vb_error_clear(&l->err);
    close(l->ours);
    if (l->theirs >= 0)
        close(l->theirs);
}

static void answer(struct lab *l, uint16_t type, uint64_t id, const void *bits, size_t n)
{
    VB_AUTO_MSG m = VB_MSG_INIT(type);
    m.id = id;
    if (bits)
        vb_msg_add(&m, VB_F_BITMAP, bits, n);
    if (type == VB_M_ERROR)
        vb_msg_add_u64(&m, VB_F_CODE, VB_E_NO_SPACE);
    assert_int_equal(vb_msg_send_fd(l->theirs, &m, NULL), 0);
}

static int emit(struct lab *l, const char *text)
{
    struct vb_name n;
    return vb_chunk_sender_emit(l->s, VB_CHUNK_DATA, text, strlen(text), &n, &l->err);
}

/* The requester's part, in a process of its own: exits with 0 if exactly these types come. */
static void play_requester(struct lab *l, const uint16_t *types, size_t n, bool checked)
{
    VB_AUTO_BUF in = VB_BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_msg_recv_fd(l->theirs, &in, &m, NULL) != 0 || m.type != types[i])
            _exit(1);
        if (m.type == VB_M_CHUNK && vb_msg_u64(&m, VB_F_VERIFY, 0) != checked)
            _exit(2);
        if (m.type == VB_M_OFFER)
            answer(l, VB_M_WANT, m.id, "\x05", 1); /* the first and the third */
    }
    answer(l, VB_M_DATA_OK, 0, NULL, 0);
    _exit(0);
}

static void orderly(void **state)
{
    (void)state;
    static const uint16_t sent[] = { VB_M_OFFER, VB_M_CHUNK, VB_M_CHUNK, VB_M_DATA_END };
    for (unsigned i = 0; i < 8; i++) {
        struct lab l;
        int status = -1;
        bool check = i % 2 != 0; /* only who was asked to says that he has checked */
        lab_open(&l, i / 2);
        if (check)
            vb_chunk_sender_check(l.s);
        pid_t pid = fork();
        if (pid == 0)
            play_requester(&l, sent, VB_COUNT(sent), check);
        assert_int_equal(emit(&l, "one") | emit(&l, "two") | emit(&l, "three") | emit(&l, "one"), 0);
        assert_int_equal(vb_chunk_sender_finish(l.s, &l.err), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        lab_close(&l);
    }
}

static void wrong(uint16_t type, uint64_t id, const char *bits, size_t n, enum vb_code code)
{
    struct lab l;
    lab_open(&l, 1);
    answer(&l, type, id, bits, n);
    assert_int_equal(emit(&l, "one"), 0);
    assert_int_equal(vb_chunk_sender_finish(l.s, &l.err), -1);
    assert_int_equal(l.err.code, code);
    assert_true(vb_chunk_sender_broken(l.s));
    struct vb_msg m = VB_MSG_INIT(VB_M_PROGRESS);
    assert_int_equal(vb_chunk_sender_send(l.s, &m, NULL), -1);
    lab_close(&l);
}

static void wrong_answers(void **state)
{
    (void)state;
    wrong(VB_M_WANT, 2, "\x01", 1, VB_E_PROTOCOL);     /* not the offer's number */
    wrong(VB_M_WANT, 1, "\x01\x00", 2, VB_E_PROTOCOL); /* not its size */
    wrong(VB_M_WANT, 1, NULL, 0, VB_E_PROTOCOL);
    wrong(VB_M_DATA_OK, 0, NULL, 0, VB_E_PROTOCOL);    /* before the end */
    wrong(VB_M_GET, 1, NULL, 0, VB_E_PROTOCOL);
    wrong(VB_M_ERROR, 0, NULL, 0, VB_E_NO_SPACE);      /* the requester's own reason */
}

/* A ping is answered in passing; nobody then waits for a message that will not come. */
static void ping_while_nothing_is_under_way(void **state)
{
    (void)state;
    struct lab l;
    lab_open(&l, 1);
    answer(&l, VB_M_PING, 77, NULL, 0);
    alarm(20);
    assert_int_equal(vb_chunk_sender_poll(l.s, &l.err), 0);
    alarm(0);
    VB_AUTO_BUF in = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    unsigned char raw[64];
    ssize_t n = read(l.theirs, raw, sizeof raw);
    assert_true(n > 0);
    vb_buf_add(&in, raw, (size_t)n);
    assert_int_equal(vb_msg_decode(&in, &m, NULL), 1);
    assert_int_equal(m.type, VB_M_PONG);
    assert_int_equal(m.id, 77);
    lab_close(&l);
}

static void requester_gone(void **state)
{
    (void)state;
    struct lab l;
    lab_open(&l, 2);
    close(l.theirs);
    l.theirs = -1;
    assert_int_equal(emit(&l, "one"), 0);
    assert_int_equal(vb_chunk_sender_finish(l.s, &l.err), -1);
    assert_int_equal(l.err.code, VB_E_CONNECTION_LOST);
    lab_close(&l);
}

/* What it said before it closed counts more than that it closed. */
static void last_words(void **state)
{
    (void)state;
    struct lab l;
    lab_open(&l, 0);
    answer(&l, VB_M_ERROR, 0, NULL, 0);
    close(l.theirs);
    l.theirs = -1;
    assert_int_equal(emit(&l, "one"), 0);
    assert_int_equal(vb_chunk_sender_finish(l.s, &l.err), -1);
    assert_int_equal(l.err.code, VB_E_NO_SPACE);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CM_TEST("only wanted chunks are sent, in order, whatever the number of threads", orderly),
        CM_TEST("answers that do not fit end the stream", wrong_answers),
        CM_TEST("a ping while nothing is under way", ping_while_nothing_is_under_way),
        CM_TEST("a requester that is gone", requester_gone),
        CM_TEST("a requester's last words", last_words),
    };
    return CM_RUN("chunk sender", tests);
}
