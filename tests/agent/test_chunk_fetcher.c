/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent's end of a restore's stream: wants, hints and gets, with threads that decode and without, against requesters
 * that answer rightly and wrongly.
 */
#include "config.h"

#include "tests/cm.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/chunk_fetcher.h"
#include "base/mem.h"
#include "wire/conn.h"
#include "wire/protocol.h"

#define CHUNKS 600u

static const uint8_t key[VB_CHUNK_KEY_LEN] = { 7 };

struct lab {
    int ours;
    pid_t requester;
    struct vb_chunk_fetcher *f;
    struct vb_name names[CHUNKS];
};

/* Of different sizes; the last ones are large. */
static void content(unsigned i, struct vb_buf *out)
{
    size_t n = i < CHUNKS - 4 ? 1 + i % 700 : 300000;
    vb_buf_reset(out);
    for (size_t k = 0; k < n; k++)
        vb_buf_add_u8(out, (uint8_t)((k * (i + 3)) >> 3));
}

enum lie { HONEST, WRONG_BYTES, WRONG_SIZE, STRANGE_ID, DIES };

static void answer(struct lab *l, int fd, struct vb_codec *codec, const struct vb_msg *get, enum lie lie)
{
    VB_AUTO_BUF plain = VB_BUF_INIT, stored = VB_BUF_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);
    const unsigned char *p;
    size_t n;
    unsigned i = 0;
    uint8_t encoding = VB_ENC_RAW;
    vb_msg_bytes(get, VB_F_CHUNK_NAME, &p, &n);
    while (i < CHUNKS && memcmp(l->names[i].b, p, VB_NAME_LEN) != 0)
        i++;
    m.id = get->id;
    if (i == CHUNKS) {
        vb_msg_add_u64(&m, VB_F_CODE, VB_E_NOT_FOUND);
        vb_msg_send_fd(fd, &m, NULL);
        return;
    }
    bool now = i % 10 == 5; /* some are not as they should be */
    content(i, &plain);
    if (lie == WRONG_BYTES && now)
        plain.data[0] ^= 1;
    if (lie == STRANGE_ID && now)
        m.id += 1000000;
    if (lie == DIES && now)
        _exit(0);
    vb_codec_compress(codec, plain.data, plain.len, &stored, &encoding, NULL);
    vb_msg_add_u64(&m, VB_F_SIZE, plain.len + (lie == WRONG_SIZE && now));
    vb_msg_add_u64(&m, VB_F_COMP, encoding);
    vb_msg_add(&m, VB_F_BYTES, stored.data, stored.len);
    vb_msg_send_fd(fd, &m, NULL);
}

static void play_requester(struct lab *l, int fd, enum lie lie)
{
    struct vb_codec *codec = vb_codec_new(3);
    VB_AUTO_BUF in = VB_BUF_INIT;
    for (;;) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_msg_recv_fd(fd, &in, &m, NULL) != 0)
            _exit(0);
        if (m.type == VB_M_GET)
            answer(l, fd, codec, &m, lie);
        if (m.type == VB_M_DATA_END) {
            struct vb_msg ok = VB_MSG_INIT(VB_M_DATA_OK);
            vb_msg_send_fd(fd, &ok, NULL);
            _exit(0);
        }
    }
}

static void lab_open(struct lab *l, unsigned threads, enum lie lie)
{
    VB_AUTO_BUF plain = VB_BUF_INIT;
    struct vb_namer *namer = vb_namer_new(key);
    int s[2];
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < CHUNKS; i++) {
        content(i, &plain);
        vb_namer_name(namer, VB_CHUNK_DATA, plain.data, plain.len, &l->names[i]);
    }
    vb_namer_free(namer);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    l->ours = s[0];
    l->requester = fork();
    if (l->requester == 0) {
        close(s[0]);
        play_requester(l, s[1], lie);
    }
    close(s[1]);
    l->f = vb_chunk_fetcher_new(l->ours, key, threads);
}

static void lab_close(struct lab *l)
{
    int status;
    vb_chunk_fetcher_free(l->f);
    close(l->ours);
    assert_int_equal(waitpid(l->requester, &status, 0), l->requester);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int get(struct lab *l, unsigned i, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT, plain = VB_BUF_INIT;
    if (vb_chunk_fetcher_get(l->f, VB_CHUNK_DATA, &l->names[i], false, &out, err) < 0)
        return -1;
    content(i, &plain);
    assert_int_equal(out.len, plain.len);
    assert_memory_equal(out.data, plain.data, plain.len);
    return 0;
}

/* Wanted or hinted at far ahead, or not at all; once or twice; what is not needed after all disturbs nothing. */
static void every_chunk_comes_as_it_is(void **state)
{
    (void)state;
    for (unsigned threads = 0; threads < 4; threads += 3) {
        struct lab l;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        unsigned ahead = 0, hinted = 0;
        lab_open(&l, threads, HONEST);
        for (unsigned i = 0; i < CHUNKS; i++) {
            while (ahead < CHUNKS && ahead < i + 40 &&
                   vb_chunk_fetcher_want(l.f, VB_CHUNK_DATA, &l.names[ahead], 700))
                ahead++;
            if (hinted < ahead)
                hinted = ahead;
            while (hinted < CHUNKS && hinted < i + 200 &&
                   vb_chunk_fetcher_hint(l.f, VB_CHUNK_DATA, &l.names[hinted], 700))
                hinted++;
            if (i % 50 == 49) { /* this one is not needed */
                vb_chunk_fetcher_unwant(l.f, VB_CHUNK_DATA, &l.names[i]);
                continue;
            }
            assert_ok(get(&l, i, &err));
            if (i % 100 == 7)
                assert_ok(get(&l, i, &err)); /* asked for anew */
        }
        assert_true(vb_chunk_fetcher_hint(l.f, VB_CHUNK_DATA, &l.names[3], 0));
        vb_chunk_fetcher_drop_hints(l.f);
        assert_ok(vb_chunk_fetcher_finish(l.f, &err));
        lab_close(&l);
    }
}

static void what_is_wrong_is_told_for_that_chunk_only(void **state)
{
    static const enum vb_code codes[] = { [WRONG_BYTES] = VB_E_CORRUPT, [WRONG_SIZE] = VB_E_CORRUPT };
    (void)state;
    for (enum lie lie = WRONG_BYTES; lie <= WRONG_SIZE; lie++)
        for (unsigned threads = 0; threads < 4; threads += 3) {
            struct lab l;
            VB_AUTO_ERROR end = VB_ERROR_INIT;
            struct vb_name missing = { { 1 } };
            VB_AUTO_BUF none = VB_BUF_INIT;
            lab_open(&l, threads, lie);
            for (unsigned i = 0; i < 100; i++)
                assert_true(vb_chunk_fetcher_want(l.f, VB_CHUNK_DATA, &l.names[i], 700));
            for (unsigned i = 0; i < 100; i++) {
                VB_AUTO_ERROR err = VB_ERROR_INIT;
                assert_int_equal(get(&l, i, &err), i % 10 == 5 ? -1 : 0);
                assert_int_equal(err.code, i % 10 == 5 ? codes[lie] : VB_OK);
            }
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            assert_int_equal(vb_chunk_fetcher_get(l.f, VB_CHUNK_DATA, &missing, false, &none, &err), -1);
            assert_int_equal(err.code, VB_E_NOT_FOUND);
            assert_false(vb_chunk_fetcher_broken(l.f));
            assert_ok(vb_chunk_fetcher_finish(l.f, &end));
            lab_close(&l);
        }
}

static void answers_to_nothing_and_a_loss_end_the_stream(void **state)
{
    static const enum vb_code codes[] = { [STRANGE_ID] = VB_E_PROTOCOL, [DIES] = VB_E_CONNECTION_LOST };
    (void)state;
    for (enum lie lie = STRANGE_ID; lie <= DIES; lie++)
        for (unsigned threads = 0; threads < 4; threads += 3) {
            struct lab l;
            VB_AUTO_ERROR err = VB_ERROR_INIT;
            unsigned i = 0;
            lab_open(&l, threads, lie);
            for (unsigned k = 0; k < 100; k++)
                vb_chunk_fetcher_want(l.f, VB_CHUNK_DATA, &l.names[k], 700);
            while (i < 100 && get(&l, i, &err) == 0)
                i++;
            assert_true(i <= 5);
            assert_int_equal(err.code, codes[lie]);
            assert_true(vb_chunk_fetcher_broken(l.f));
            assert_int_equal(vb_chunk_fetcher_finish(l.f, NULL), -1);
            lab_close(&l);
        }
}

/* Freed in the middle, with threads at work. */
static void an_end_in_the_middle_leaves_nothing(void **state)
{
    (void)state;
    for (unsigned threads = 0; threads < 4; threads += 3) {
        struct lab l;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        lab_open(&l, threads, HONEST);
        for (unsigned i = 0; i < CHUNKS; i++)
            vb_chunk_fetcher_hint(l.f, VB_CHUNK_DATA, &l.names[CHUNKS - 1 - i], 300000);
        assert_ok(get(&l, CHUNKS - 20, &err));
        vb_chunk_fetcher_forget(l.f);
        assert_ok(get(&l, CHUNKS - 1, &err));
        vb_chunk_fetcher_hint(l.f, VB_CHUNK_DATA, &l.names[CHUNKS - 2], 300000);
        lab_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_comes_as_it_is),
        cmocka_unit_test(what_is_wrong_is_told_for_that_chunk_only),
        cmocka_unit_test(answers_to_nothing_and_a_loss_end_the_stream),
        cmocka_unit_test(an_end_in_the_middle_leaves_nothing),
    };
    return CM_RUN("chunk_fetcher", tests);
}
