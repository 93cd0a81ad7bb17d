/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requester's ends of data streams, with agents that are orderly, hostile, or gone.
 */
#include "config.h"

#include "tests/cm.h"

#include "base/loop.h"
#include "base/mem.h"
#include "requester/ingest.h"
#include "requester/serve_restore.h"
#include "wire/protocol.h"

struct lab {
    struct vb_loop *loop;
    struct vb_backend *files;
    struct vb_repo *repo;
    struct vb_namer *namer;
    struct vb_conn *agent; /* our end: we play the agent */
    struct vb_ingest *in;
    struct vb_serve_restore *serve;
    struct vb_error end;
    unsigned ends, warns, progress;
    struct vb_msg last;    /* last message the agent got, ERROR is kept apart */
    unsigned got;
    enum vb_code error;
    bool cut;
};

static void agent_msg(void *arg, struct vb_msg *m)
{
    struct lab *l = arg;
    l->got++;
    if (m->type == VB_M_ERROR)
        l->error = (enum vb_code)vb_msg_u64(m, VB_F_CODE, 0);
    vb_msg_clear(&l->last);
    l->last.type = m->type;
    l->last.id = m->id;
    vb_buf_add(&l->last.body, m->body.data, m->body.len);
}

static void agent_close(void *arg, const struct vb_error *why)
{
    (void)arg;
    (void)why;
}

static const struct vb_conn_handler agent_handler = { agent_msg, agent_close, NULL };

static void on_warn(void *arg, const char *path, const struct vb_error *what)
{
    struct lab *l = arg;
    assert_string_equal(path, "/a/path");
    assert_int_equal(what->code, VB_E_FILE_CHANGED);
    l->warns++;
}

static void on_progress(void *arg, uint64_t files, uint64_t done, uint64_t total)
{
    struct lab *l = arg;
    assert_int_equal(files, 3);
    assert_int_equal(done, 4);
    assert_int_equal(total, 5);
    l->progress++;
}

static void on_end(void *arg, const struct vb_error *why)
{
    struct lab *l = arg;
    l->ends++;
    vb_error_copy(&l->end, why);
    vb_ingest_free(l->in); /* as an owner may */
    vb_serve_restore_free(l->serve);
    l->in = NULL;
    l->serve = NULL;
}

static vb_pair_action hook(void *arg, int from, const struct vb_msg *m, uint64_t *delay)
{
    const struct lab *l = arg;
    (void)from;
    (void)m;
    (void)delay;
    return l->cut ? VB_PAIR_CUT : VB_PAIR_PASS;
}

static struct lab *lab_new(bool restore)
{
    struct lab *l = vb_alloc(sizeof *l);
    struct vb_conn *c;
    l->loop = vb_loop_new_virtual(1000);
    l->files = vb_backend_memory_new();
    assert_int_equal(vb_repo_init_on(l->files, NULL, 1000, NULL), 0);
    l->repo = vb_repo_open_on(vb_backend_memory_share(l->files), VB_REPO_WRITE, NULL);
    assert_int_equal(vb_repo_lock(l->repo, 1000, NULL), 0);
    l->namer = vb_namer_new(vb_repo_info(l->repo)->naming_key);
    vb_conn_pair(l->loop, hook, l, &c, &l->agent);
    vb_conn_set_handler(l->agent, &agent_handler, l);
    if (restore) {
        struct vb_serve_restore_handler h = { on_progress, on_warn, on_end };
        l->serve = vb_serve_restore_new(c, l->repo, NULL, NULL, 0, &h, l);
    } else {
        struct vb_ingest_handler h = { on_progress, on_warn, on_end };
        l->in = vb_ingest_new(c, l->repo, 0, &h, l);
    }
    return l;
}

static void lab_free(struct lab *l)
{
    vb_ingest_free(l->in);
    vb_serve_restore_free(l->serve);
    vb_conn_free(l->agent);
    vb_loop_free(l->loop);
    vb_namer_free(l->namer);
    vb_repo_close(l->repo);
    vb_backend_close(l->files);
    vb_msg_clear(&l->last);
    vb_error_clear(&l->end);
    vb_free_ptr(&l);
}

static void settle(struct lab *l)
{
    for (int i = 0; i < 1000 && vb_loop_turn(l->loop, 0); i++)
        ;
}

static struct vb_name name_of(struct lab *l, const char *text)
{
    struct vb_name n;
    vb_namer_name(l->namer, VB_CHUNK_DATA, text, strlen(text), &n);
    return n;
}

static void describe(struct vb_msg *m, const struct vb_name *n, uint64_t type, uint64_t size)
{
    vb_msg_add(m, VB_F_CHUNK_NAME, n->b, sizeof n->b);
    vb_msg_add_u64(m, VB_F_CHUNK_TYPE, type);
    vb_msg_add_u64(m, VB_F_SIZE, size);
}

static void offer(struct lab *l, uint64_t id, const char *const *texts, size_t n)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OFFER);
    m.id = id;
    for (size_t i = 0; i < n; i++) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        struct vb_name name = name_of(l, texts[i]);
        describe(&g, &name, VB_CHUNK_DATA, strlen(texts[i]));
        vb_msg_add_group(&m, VB_F_CHUNK, &g);
    }
    vb_conn_send(l->agent, &m);
    settle(l);
}

static void send_chunk_as(struct lab *l, const char *as, const char *bytes, bool checked)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CHUNK);
    struct vb_name name = name_of(l, as);
    describe(&m, &name, VB_CHUNK_DATA, strlen(as));
    vb_msg_add_u64(&m, VB_F_COMP, VB_ENC_RAW);
    if (checked)
        vb_msg_add_u64(&m, VB_F_VERIFY, 1);
    vb_msg_add(&m, VB_F_BYTES, bytes, strlen(bytes));
    vb_conn_send(l->agent, &m);
    settle(l);
}

static void send_chunk(struct lab *l, const char *as, const char *bytes)
{
    send_chunk_as(l, as, bytes, false);
}

static void send_type(struct lab *l, uint16_t type)
{
    struct vb_msg m = VB_MSG_INIT(type);
    vb_conn_send(l->agent, &m);
    settle(l);
}

static unsigned wanted(const struct lab *l)
{
    const unsigned char *p;
    size_t n;
    assert_int_equal(l->last.type, VB_M_WANT);
    assert_true(vb_msg_bytes(&l->last, VB_F_BITMAP, &p, &n));
    assert_int_equal(n, 1);
    return p[0];
}

static void assert_end(struct lab *l, enum vb_code code)
{
    settle(l);
    assert_int_equal(l->ends, 1);
    assert_int_equal(l->end.code, code);
    lab_free(l);
}

static const char *const TEXTS[] = { "one", "two", "three" };

/* ---- ingest ---- */

static void orderly_capture(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    struct vb_ingest_stats s;
    offer(l, 7, TEXTS, 3);
    assert_int_equal(l->last.id, 7);
    assert_int_equal(wanted(l), 7);
    for (size_t i = 0; i < 3; i++)
        send_chunk(l, TEXTS[i], TEXTS[i]);
    static const char *const more[] = { "two", "four", "one" };
    offer(l, 8, more, 3);
    assert_int_equal(wanted(l), 2);
    send_chunk(l, "four", "four");
    VB_AUTO_MSG w = VB_MSG_INIT(VB_M_WARN);
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_FILE_CHANGED, "changed");
    vb_msg_add_str(&w, VB_F_PATH, "/a/path");
    vb_msg_add_error(&w, &e);
    vb_conn_send(l->agent, &w);
    VB_AUTO_MSG p = VB_MSG_INIT(VB_M_PROGRESS);
    vb_msg_add_u64(&p, VB_F_FILES, 3);
    vb_msg_add_u64(&p, VB_F_BYTES_DONE, 4);
    vb_msg_add_u64(&p, VB_F_BYTES_TOTAL, 5);
    vb_conn_send(l->agent, &p);
    settle(l);
    vb_ingest_stats(l->in, &s);
    assert_int_equal(s.offered_chunks, 6);
    assert_int_equal(s.wanted_chunks, 4);
    assert_int_equal(s.warnings, 1);
    send_type(l, VB_M_DATA_END);
    assert_int_equal(l->last.type, VB_M_DATA_OK);
    assert_int_equal(l->warns, 1);
    assert_int_equal(l->progress, 1);
    struct vb_name n = name_of(l, "four");
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_repo_get(l->repo, VB_CHUNK_DATA, &n, &b, NULL), 0);
    assert_end(l, VB_OK);
}

static void chunk_nobody_asked_for(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    send_chunk(l, "poison", "poison");
    assert_int_equal(l->error, VB_E_PROTOCOL);
    struct vb_name n = name_of(l, "poison");
    bool there = true;
    vb_repo_has(l->repo, &n, 1, &there);
    assert_false(there);
    assert_end(l, VB_E_PROTOCOL);
}

static void chunk_that_is_not_its_name(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    offer(l, 1, TEXTS, 1);
    send_chunk(l, "one", "eno");
    assert_int_equal(l->error, VB_E_CORRUPT);
    assert_end(l, VB_E_CORRUPT);
}

static void who_is_not_trusted_cannot_say_that_it_has_checked(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    offer(l, 1, TEXTS, 1);
    send_chunk_as(l, "one", "eno", true);
    assert_int_equal(l->error, VB_E_CORRUPT);
    assert_end(l, VB_E_CORRUPT);
}

static void who_is_trusted_must_have_checked(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    vb_ingest_trust(l->in);
    offer(l, 1, TEXTS, 2);
    send_chunk(l, "one", "one");
    assert_int_equal(l->ends, 0);
    send_chunk(l, "two", "owt");
    assert_end(l, VB_E_CORRUPT);
}

/* What it vouches for is not named again; the form is looked at all the same, and a wrong name shows when it is read. */
static void who_is_trusted_is_believed_data(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_ingest_trust(l->in);
    offer(l, 1, TEXTS, 3);
    send_chunk_as(l, "one", "one", true);
    send_chunk_as(l, "two", "owt", true);
    assert_int_equal(l->ends, 0);
    struct vb_name one = name_of(l, "one"), two = name_of(l, "two");
    assert_int_equal(vb_repo_get(l->repo, VB_CHUNK_DATA, &one, &b, NULL), 0);
    assert_int_equal(vb_repo_get(l->repo, VB_CHUNK_DATA, &two, &b, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
    send_chunk_as(l, "three", "3", true); /* not as long as it says */
    assert_end(l, VB_E_CORRUPT);
}

static void who_is_trusted_is_not_believed_directories(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    struct vb_name name;
    vb_ingest_trust(l->in);
    vb_namer_name(l->namer, VB_CHUNK_TREE, "no tree", 7, &name);
    VB_AUTO_MSG o = VB_MSG_INIT(VB_M_OFFER), g = VB_MSG_INIT(0), m = VB_MSG_INIT(VB_M_CHUNK);
    describe(&g, &name, VB_CHUNK_TREE, 7);
    vb_msg_add_group(&o, VB_F_CHUNK, &g);
    vb_conn_send(l->agent, &o);
    describe(&m, &name, VB_CHUNK_TREE, 7);
    vb_msg_add_u64(&m, VB_F_COMP, VB_ENC_RAW);
    vb_msg_add_u64(&m, VB_F_VERIFY, 1);
    vb_msg_add(&m, VB_F_BYTES, "no tree", 7);
    vb_conn_send(l->agent, &m);
    assert_end(l, VB_E_NEWER_FORMAT);
}

static void chunk_out_of_order(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    offer(l, 1, TEXTS, 3);
    send_chunk(l, "two", "two");
    assert_end(l, VB_E_PROTOCOL);
}

static void end_before_all_came(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    offer(l, 1, TEXTS, 3);
    send_chunk(l, "one", "one");
    send_type(l, VB_M_DATA_END);
    assert_end(l, VB_E_PROTOCOL);
}

static void offers_that_make_no_sense(void **state)
{
    (void)state;
    static const struct { uint64_t type, size; size_t name; } bad[] = {
        { VB_CHUNK_DATA, 0, 32 }, { VB_CHUNK_DATA, VB_CHUNK_MAX_RAW + 1, 32 }, { 77, 10, 32 }, { 1u << 20, 10, 32 },
        { VB_CHUNK_DATA, 10, 31 }, { VB_CHUNK_DATA, 10, 0 },
    };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        struct lab *l = lab_new(false);
        unsigned char name[32] = { 1 };
        VB_AUTO_MSG m = VB_MSG_INIT(VB_M_OFFER), g = VB_MSG_INIT(0);
        vb_msg_add(&g, VB_F_CHUNK_NAME, name, bad[i].name);
        vb_msg_add_u64(&g, VB_F_CHUNK_TYPE, bad[i].type);
        vb_msg_add_u64(&g, VB_F_SIZE, bad[i].size);
        vb_msg_add_group(&m, VB_F_CHUNK, &g);
        vb_conn_send(l->agent, &m);
        settle(l);
        assert_end(l, VB_E_PROTOCOL);
    }
    struct lab *l = lab_new(false);
    send_type(l, VB_M_OFFER);
    assert_end(l, VB_E_PROTOCOL);
    l = lab_new(false);
    send_type(l, VB_M_GET);
    assert_end(l, VB_E_PROTOCOL);
}

static void stream_breaks_off(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    offer(l, 1, TEXTS, 3);
    l->cut = true;
    send_chunk(l, "one", "one");
    assert_end(l, VB_E_CONNECTION_LOST);
}

static void agent_says_why(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_ERROR);
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    vb_fail(&e, VB_E_ACCESS_DENIED, "no");
    vb_msg_add_error(&m, &e);
    vb_conn_send(l->agent, &m);
    assert_end(l, VB_E_ACCESS_DENIED);
}

static void repository_is_full(void **state)
{
    (void)state;
    struct lab *l = lab_new(false);
    size_t n = (size_t)4 << 20;
    VB_AUTO_FREE uint32_t *noise = vb_alloc(n);
    struct vb_name name;
    vb_backend_memory_set_limit(l->files, 100000);
    for (unsigned round = 0; round < 40 && l->ends == 0; round++) {
        VB_AUTO_MSG o = VB_MSG_INIT(VB_M_OFFER), g = VB_MSG_INIT(0), c = VB_MSG_INIT(VB_M_CHUNK);
        for (size_t i = 0; i < n / 4; i++)
            noise[i] = (uint32_t)(i * 2654435761u) ^ (round << 20);
        vb_namer_name(l->namer, VB_CHUNK_DATA, noise, n, &name);
        describe(&g, &name, VB_CHUNK_DATA, n);
        vb_msg_add_group(&o, VB_F_CHUNK, &g);
        vb_conn_send(l->agent, &o);
        settle(l);
        describe(&c, &name, VB_CHUNK_DATA, n);
        vb_msg_add_u64(&c, VB_F_COMP, VB_ENC_RAW);
        vb_msg_add(&c, VB_F_BYTES, noise, n);
        vb_conn_send(l->agent, &c);
        settle(l);
    }
    assert_int_equal(l->error, VB_E_NO_SPACE);
    assert_end(l, VB_E_NO_SPACE);
}

/* ---- serving a restore ---- */

static void ask(struct lab *l, uint64_t id, const struct vb_name *n, uint64_t type)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_GET);
    m.id = id;
    vb_msg_add(&m, VB_F_CHUNK_NAME, n->b, sizeof n->b);
    vb_msg_add_u64(&m, VB_F_CHUNK_TYPE, type);
    vb_conn_send(l->agent, &m);
}

static void orderly_restore(void **state)
{
    (void)state;
    struct lab *l = lab_new(true);
    struct vb_name there, missing;
    memset(&missing, 9, sizeof missing);
    assert_int_equal(vb_repo_put_raw(l->repo, VB_CHUNK_DATA, "content", 7, &there, NULL), 0);
    ask(l, 5, &there, VB_CHUNK_DATA);
    settle(l);
    assert_int_equal(l->last.type, VB_M_CHUNK);
    assert_int_equal(l->last.id, 5);
    assert_int_equal(vb_msg_u64(&l->last, VB_F_SIZE, 0), 7);
    ask(l, 6, &missing, VB_CHUNK_DATA);
    settle(l);
    assert_int_equal(vb_msg_u64(&l->last, VB_F_CODE, 0), VB_E_NOT_FOUND);
    ask(l, 7, &there, VB_CHUNK_TREE); /* of another type: not that chunk */
    settle(l);
    assert_int_not_equal(vb_msg_u64(&l->last, VB_F_CODE, 0), VB_OK);
    send_type(l, VB_M_DATA_END);
    assert_int_equal(l->last.type, VB_M_DATA_OK);
    assert_end(l, VB_OK);
}

static void restore_requests_that_make_no_sense(void **state)
{
    (void)state;
    struct lab *l = lab_new(true);
    struct vb_name n;
    memset(&n, 9, sizeof n);
    ask(l, 1, &n, 99);
    assert_end(l, VB_E_PROTOCOL);
    l = lab_new(true);
    send_type(l, VB_M_OFFER);
    assert_end(l, VB_E_PROTOCOL);
    l = lab_new(true);
    l->cut = true;
    ask(l, 1, &n, VB_CHUNK_DATA);
    assert_end(l, VB_E_CONNECTION_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CM_TEST("an orderly capture: only what is missing is wanted", orderly_capture),
        CM_TEST("a chunk that nobody asked for is refused and not stored", chunk_nobody_asked_for),
        CM_TEST("a chunk that is not its name is refused", chunk_that_is_not_its_name),
        CM_TEST("who is not trusted cannot say that it has checked", who_is_not_trusted_cannot_say_that_it_has_checked),
        CM_TEST("who is trusted must have checked", who_is_trusted_must_have_checked),
        CM_TEST("who is trusted is believed data", who_is_trusted_is_believed_data),
        CM_TEST("who is trusted is not believed directories", who_is_trusted_is_not_believed_directories),
        CM_TEST("chunks come in the order of the offers", chunk_out_of_order),
        CM_TEST("an end before everything came is none", end_before_all_came),
        CM_TEST("offers that make no sense", offers_that_make_no_sense),
        CM_TEST("a stream that breaks off is lost, not finished", stream_breaks_off),
        CM_TEST("the agent's own reason is handed up", agent_says_why),
        CM_TEST("a full repository is told to the agent", repository_is_full),
        CM_TEST("an orderly restore, with a missing chunk", orderly_restore),
        CM_TEST("restore requests that make no sense", restore_requests_that_make_no_sense),
    };
    return CM_RUN("data streams", tests);
}
