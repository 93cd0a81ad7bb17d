/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_liar.c - a source that lies, in streams and in bundles: nothing leaves the root, nothing grows for ever. */
#include <config.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"
#include "replica/bundle.h"
#include "replica/item_file.h"

static struct lab l;
static const char *guid;
static const struct vb_replica_id liar = { { 0xee, 1, 2, 3 } };

/* What it says after GO. */
struct lie {
    struct vb_row row;
    const char *bytes;       /* of the row's content; NULL: none are sent */
    const char *sums_of;     /* answers a wish for blocks with the sums of this; NULL: not */
    uint64_t block;          /* and says that they are so large */
    uint64_t flood;          /* so many paths are left out */
};

static void begin(struct vb_rstream *s, bool bundle)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BEGIN);
    VB_AUTO_KNOWLEDGE *k = vb_knowledge_new();
    VB_AUTO_KNOWLEDGE *none = vb_knowledge_new();
    const struct vb_version v = { liar, 7 };
    char id[2 * VB_REPLICA_ID_LEN + 1];
    vb_replica_id_hex(&liar, id);
    vb_knowledge_raise(k, &v);
    vb_msg_add_u64(&m, VB_RF_VERSION, VB_RSTREAM_VERSION);
    vb_msg_add_str(&m, VB_RF_GUID, guid);
    vb_msg_add_str(&m, VB_RF_REPLICA, id);
    vb_msg_add_u64(&m, VB_RF_OWNERS, 0);
    if (bundle) {
        vb_msg_add_u64(&m, VB_RF_BUNDLE, 1);
        vb_msg_add_u64(&m, VB_RF_NUMBER, 1);
    }
    assert_ok(vb_rstream_send(s, &m, &err));
    assert_ok(vb_rstream_send_knowledge(s, k, &err));
    assert_ok(vb_rstream_send_knowledge(s, none, &err));
    if (bundle)
        assert_ok(vb_rstream_send_knowledge(s, none, &err));
}

static void say(struct vb_rstream *s, enum vb_rstream_type type, const char *path, bool last)
{
    VB_AUTO_MSG m = VB_MSG_INIT((uint16_t)type);
    if (path)
        vb_msg_add_str(&m, VB_RF_PATH, path);
    vb_msg_add_u64(&m, VB_RF_LAST, last);
    vb_msg_add_u64(&m, VB_RF_COUNT, 1);
    (void)vb_rstream_send(s, &m, NULL);
}

static void say_blocks(struct vb_rstream *s, const struct lie *lie)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_BLOCKS);
    VB_AUTO_MSG end = VB_MSG_INIT(VB_R_DATA_END);
    size_t n = strlen(lie->sums_of);
    VB_AUTO_BUF sums = VB_BUF_INIT;
    for (size_t at = 0; at < n; at += 16384) {
        unsigned char h[VB_HASH_LEN];
        vb_hash(lie->sums_of + at, n - at < 16384 ? n - at : 16384, h);
        vb_buf_add(&sums, h, 16);
    }
    vb_msg_add_u64(&m, VB_RF_INDEX, 0);
    vb_msg_add_u64(&m, VB_RF_SIZE, lie->block);
    vb_msg_add(&m, VB_RF_HASH, sums.data, sums.len);
    vb_msg_add_u64(&m, VB_RF_LAST, 1);
    (void)vb_rstream_send(s, &m, NULL);
    for (;;) {
        VB_AUTO_MSG wish = VB_MSG_INIT(0);
        if (vb_rstream_recv(s, &wish, NULL) < 0 || vb_msg_u64(&wish, VB_RF_LAST, 0))
            break;
    }
    vb_msg_add_u64(&end, VB_RF_INDEX, 0);
    (void)vb_rstream_send(s, &end, NULL);
}

static void tell(struct vb_rstream *s, const struct lie *lie, bool bundle)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_ROWS);
    VB_AUTO_MSG end = VB_MSG_INIT(VB_R_ROWS_END);
    VB_AUTO_MSG need = VB_MSG_INIT(0);
    if (lie->row.item.path) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_row_put(&g, &lie->row);
        vb_msg_add_group(&m, VB_RF_ROW, &g);
        (void)vb_rstream_send(s, &m, NULL);
        if (!bundle && vb_rstream_recv(s, &need, NULL) < 0)
            return;
        if (lie->sums_of)
            say_blocks(s, lie);
        if (lie->bytes) {
            VB_AUTO_MSG data = VB_MSG_INIT(VB_R_DATA);
            VB_AUTO_MSG data_end = VB_MSG_INIT(VB_R_DATA_END);
            vb_msg_add_u64(&data, VB_RF_INDEX, 0);
            vb_msg_add_u64(&data, VB_RF_OFFSET, 0);
            vb_msg_add(&data, VB_RF_BYTES, lie->bytes, strlen(lie->bytes));
            (void)vb_rstream_send(s, &data, NULL);
            vb_msg_add_u64(&data_end, VB_RF_INDEX, 0);
            (void)vb_rstream_send(s, &data_end, NULL);
        }
        (void)vb_rstream_send(s, &end, NULL);
    }
    for (uint64_t i = 0; i < lie->flood;) {
        VB_AUTO_MSG f = VB_MSG_INIT(VB_R_END);
        for (unsigned k = 0; k < 40000 && i < lie->flood; k++, i++)
            vb_msg_add_str(&f, VB_RF_PATH, "some/path/that/is/not/there");
        vb_msg_add_u64(&f, VB_RF_LAST, 0);
        if (vb_rstream_send(s, &f, NULL) < 0)
            return;
    }
    say(s, VB_R_END, NULL, true);
}

struct source {
    struct vb_rstream s;
    const struct lie *lie;
};

static void *play(void *arg)
{
    struct source *x = arg;
    VB_AUTO_MSG m = VB_MSG_INIT(0);
    begin(&x->s, false);
    if (vb_rstream_recv(&x->s, &m, NULL) < 0)
        return NULL;
    vb_knowledge_free(vb_rstream_recv_knowledge(&x->s, NULL));
    say(&x->s, VB_R_GONE, NULL, true);
    vb_msg_clear(&m);
    if (vb_rstream_recv(&x->s, &m, NULL) < 0)
        return NULL;
    tell(&x->s, x->lie, false);
    for (int rc = 0; rc == 0;) {
        vb_msg_clear(&m);
        rc = vb_rstream_recv(&x->s, &m, NULL);
    }
    return NULL;
}

static char *text;

static enum vb_code hear(const struct lie *lie, struct vb_pass_result *r)
{
    const struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    struct vb_scan_result scan;
    struct vb_rstream s = VB_RSTREAM_INIT;
    struct source x = { .s = VB_RSTREAM_INIT, .lie = lie };
    pthread_t t;
    int pair[2];
    guid = p->scope.guid;
    assert_ok(vb_scan(p, NULL, &scan, &err));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    s.in = s.out = pair[0];
    x.s.in = x.s.out = pair[1];
    assert_int_equal(pthread_create(&t, NULL, play, &x), 0);
    int rc = vb_pass_receive(p, &s, &o, r, &err);
    shutdown(pair[0], SHUT_RDWR);
    pthread_join(t, NULL);
    vb_rstream_clear(&s);
    vb_rstream_clear(&x.s);
    free(text);
    text = vb_strdup(vb_error_text(&err));
    return rc < 0 ? err.code : VB_OK;
}

static enum vb_code hear_bundle(const struct lie *lie, struct vb_pass_result *r)
{
    const struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_MSG m = VB_MSG_INIT(VB_R_DIGEST);
    unsigned char h[VB_HASH_LEN];
    struct vb_rstream s = VB_RSTREAM_INIT;
    VB_AUTO_FREE char *path = vb_printf("%s/bundle", l.dir);
    VB_AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    guid = p->scope.guid;
    s.out = fd;
    s.sum = vb_hasher_new();
    begin(&s, true);
    say(&s, VB_R_GONE, NULL, true);
    tell(&s, lie, true);
    vb_hasher_end(VB_STEAL(s.sum), h);
    vb_msg_add(&m, VB_RF_HASH, h, sizeof h);
    assert_ok(vb_rstream_send(&s, &m, &err));
    assert_ok(vb_rstream_flush(&s, &err));
    s.out = -1;
    vb_rstream_clear(&s);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    int rc = vb_bundle_apply(p, fd, &o, r, &err);
    free(text);
    text = vb_strdup(vb_error_text(&err));
    return rc < 0 ? err.code : VB_OK;
}

static struct lie file(const char *path, const char *bytes)
{
    static uint64_t tick;
    struct lie lie = { .bytes = bytes };
    struct vb_item *i = &lie.row.item;
    *i = (struct vb_item){ .path = path, .kind = VB_ITEM_FILE, .mode = 0644, .size = strlen(bytes), .mtime_ns = 1700000000000000000 };
    i->created = i->changed = i->origin.version = (struct vb_version){ liar, ++tick % 7 + 1 };
    vb_hash(bytes, i->size, i->content);
    return lie;
}

static int start(void **state)
{
    (void)state;
    lab_open(&l, 1);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    lab_close(&l);
    return 0;
}

static void an_honest_one(void **state)
{
    (void)state;
    struct vb_pass_result r;
    struct lie lie = file("d/good", "good");
    assert_int_equal(hear(&lie, &r), VB_OK);
    VB_AUTO_FREE char *is = lab_read(&l, 0, "d/good");
    assert_string_equal(is, "good");
}

static void outside(void **state)
{
    (void)state;
    struct vb_pass_result r;
    static const char *const names[] = { "../evil", "/tmp/evil", "a/../../evil", "..", "a//b", "a/./b", "a/", "" };
    for (size_t i = 0; i < VB_COUNT(names); i++) {
        struct lie lie = file(names[i], "evil");
        assert_int_equal(hear(&lie, &r), VB_E_PROTOCOL);
        assert_int_equal(hear_bundle(&lie, &r), VB_E_PROTOCOL);
    }
    VB_AUTO_FREE char *tree = lab_tree(&l, 0);
    assert_string_equal(tree, "");
    VB_AUTO_FREE char *evil = vb_printf("%s/evil", l.dir);
    struct stat st;
    assert_int_equal(lstat(evil, &st), -1);
}

static void through_a_link(void **state)
{
    (void)state;
    struct vb_pass_result r;
    struct stat st;
    VB_AUTO_FREE char *away = vb_printf("%s/away", l.dir);
    VB_AUTO_FREE char *in = lab_path(&l, 0, "way");
    VB_AUTO_FREE char *evil = vb_printf("%s/evil", away);
    assert_int_equal(mkdir(away, 0755), 0);
    assert_int_equal(symlink(away, in), 0);
    struct lie lie = file("way/evil", "evil");
    hear(&lie, &r);
    assert_int_equal(lstat(evil, &st), -1);
    hear_bundle(&lie, &r);
    assert_int_equal(lstat(evil, &st), -1);
    lie = file("good", "evil");
    lie.row.hard = (char *)(uintptr_t)"way/none"; /* another name that would be out there */
    assert_int_equal(hear(&lie, &r), VB_OK);
    lie.row.hard = (char *)(uintptr_t)"../bundle";
    assert_int_equal(hear(&lie, &r), VB_E_PROTOCOL);
}

static bool knows_it(void)
{
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    VB_AUTO_KNOWLEDGE *k = vb_replica_knowledge(p->store, p->scope.id, "", NULL, NULL);
    const struct vb_version v = { liar, 7 };
    return vb_knowledge_contains(k, "f", &v);
}

static void flood(void **state)
{
    (void)state;
    struct vb_pass_result r;
    const struct lie lie = { .flood = 3000000 }; /* 80 MB of names */
    assert_int_equal(hear(&lie, &r), VB_OK);
    assert_false(knows_it()); /* nothing is learnt of what was not kept */
    const struct lie few = { .flood = 3 };
    assert_int_equal(hear(&few, &r), VB_OK);
    assert_true(knows_it());
}

/* Sums that match what is here, of a file that should be another. */
static void sums_that_lie(void **state)
{
    (void)state;
    struct vb_pass_result r;
    VB_AUTO_FREE char *old = vb_alloc(600001);
    VB_AUTO_FREE char *new = vb_alloc(600001);
    memset(old, 'o', 600000);
    memset(new, 'n', 600000);
    lab_write(&l, 0, "big", old);
    struct lie lie = file("big", new);
    lie.sums_of = old;
    lie.block = 16384;
    lie.bytes = NULL;
    assert_int_equal(hear(&lie, &r), VB_OK);
    assert_int_equal(r.failed, 1);
    VB_AUTO_FREE char *is = lab_read(&l, 0, "big");
    assert_string_equal(is, old);
    static const uint64_t sizes[] = { 0, 1, 3, 100, 16385, 1ull << 40, 8192, 32768 };
    for (size_t i = 0; i < VB_COUNT(sizes); i++) {
        lie.block = sizes[i];
        assert_int_equal(hear(&lie, &r), VB_E_PROTOCOL);
    }
}

#define T(name, fn) { name, fn, start, stop, NULL }
int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest t[] = {
        T("one that does not lie", an_honest_one),
        T("REPL-T58 names that lead out", outside),
        T("REPL-T58 through a link", through_a_link),
        T("names without end", flood),
        T("sums of blocks that lie", sums_that_lie),
    };
    int rc = CM_RUN("a source that lies", t);
    free(text);
    return rc;
}
