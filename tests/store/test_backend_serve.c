/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_backend_serve.c - a served repository keeps the contract, a line cut at any message loses nothing, a
 * client that lies gets nothing, and neither does a server.  tests/scenario/test_serve.sh is the same over SSH.
 */
#include <config.h>
#include "tests/cm.h"

#include <sys/mman.h>

#include "store/chunk/chunk.h"
#include "store/link.h"
#include "store/serve.h"
#include "tests/base/scratch.h"
#include "tests/store/backend_contract.h"

/* ---- the serving process: this program with other arguments ---- */

struct relay {
    uint64_t messages, cut_at, after, connections;
};
static struct relay *relay;
static char *relay_path;

static struct vb_backend *open_dir(void *arg, bool create, struct vb_error *err)
{
    return vb_backend_dir_open(arg, create, err);
}

static int write_all(void *arg, struct vb_buf *out, struct vb_error *err)
{
    (void)arg;
    int result = vb_write_all(1, out->data, out->len, err);
    vb_buf_reset(out);
    return result;
}

/* DIR RELAY-FILE: serves, and dies at the message that the file says. */
static int serve_main(char **argv)
{
    VB_AUTO_FD int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    struct relay *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const struct vb_serve_rules rules = { false, false, false };
    struct vb_serve *s = vb_serve_new(&rules, open_dir, argv[0]);
    VB_AUTO_BUF in = VB_BUF_INIT, out = VB_BUF_INIT;
    unsigned char bytes[65536];
    ssize_t n;
    r->connections++;
    while ((n = read(0, bytes, sizeof bytes)) > 0) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        vb_buf_add(&in, bytes, (size_t)n);
        while (vb_msg_decode(&in, &m, NULL) == 1) {
            bool cut = ++r->messages == r->cut_at;
            if (cut && !r->after)
                _exit(0);
            if (vb_serve_message(s, &m, &out, cut ? NULL : write_all, NULL, NULL) < 0)
                _exit(1);
            if (cut)
                _exit(0);
            write_all(NULL, &out, NULL);
            vb_msg_clear(&m);
        }
    }
    vb_serve_free(s);
    return 0;
}

static struct vb_backend *open_at(const char *path, bool create, uint64_t retry_ms, struct vb_error *err)
{
    const char *argv[] = { "/proc/self/exe", "--serve", path, relay_path, NULL };
    struct vb_link_params link = { .argv = argv };
    const struct vb_served_params p = { path, &link, create, retry_ms };
    return vb_backend_served_open(&p, err);
}

static void use_relay(void)
{
    VB_AUTO_FD int fd = openat(scratch_fd, "relay", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, sizeof *relay), 0);
    relay = mmap(NULL, sizeof *relay, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    relay_path = vb_path_join(scratch_path, "relay");
}

static void drop_relay(void)
{
    munmap(relay, sizeof *relay);
    free(relay_path);
    relay_path = NULL;
}

static struct vb_backend *make(void)
{
    scratch_start(NULL);
    use_relay();
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "repo");
    return open_at(path, true, 5000, NULL);
}

static struct vb_backend *again(struct vb_backend *first)
{
    return open_at(first->location, false, 5000, NULL);
}

static void finish(void)
{
    drop_relay();
    scratch_end(NULL);
}

/* ---- cuts ---- */

#define BIG ((size_t)2500000)

static int count_one(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)name, (void)size, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

static int work(struct vb_backend *b, const unsigned char *big, unsigned *done, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    unsigned n = 0;
    *done = 0;
    if (vb_backend_lock(b, "me", err) < 0 || vb_backend_write(b, "packs/aa/big", big, BIG, err) < 0 ||
        vb_backend_write(b, "index/one", "one", 3, err) < 0 || vb_backend_barrier(b, err) < 0)
        return -1;
    *done = 1;
    if (vb_backend_read(b, "packs/aa/big", 1000, BIG - 1000, &out, err) < 0)
        return -1;
    assert_memory_equal(out.data, big + 1000, BIG - 1000);
    if (vb_backend_list(b, "", count_one, &n, err) != 0)
        return -1;
    assert_int_equal(n, 2);
    if (vb_backend_remove(b, "index/one", err) < 0 || vb_backend_barrier(b, err) < 0)
        return -1;
    *done = 2;
    return 0;
}

static void cut_everywhere(bool after, uint64_t retry_ms)
{
    VB_AUTO_FREE unsigned char *big = vb_alloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (unsigned char)(i * 7 + (i >> 10));
    for (uint64_t n = 1;; n++) {
        VB_AUTO_FREE char *name = vb_printf("repo%llu", (unsigned long long)n);
        VB_AUTO_FREE char *path = vb_path_join(scratch_path, name);
        VB_AUTO_ERROR err = VB_ERROR_INIT, gone = VB_ERROR_INIT;
        VB_AUTO_BUF out = VB_BUF_INIT;
        unsigned done = 0;
        uint64_t size;
        *relay = (struct relay){ 0 };
        struct vb_backend *b = open_at(path, true, retry_ms, &err);
        assert_non_null(b);
        relay->after = after;
        relay->cut_at = relay->messages + n;
        int result = work(b, big, &done, &err);
        bool struck = relay->messages >= relay->cut_at;
        if (result < 0) {
            assert_true(struck && retry_ms == 0);
            assert_int_equal(err.code, VB_E_CONNECTION_LOST);
        } else if (retry_ms > 0) {
            assert_int_equal(relay->connections, struck ? 2 : 1);
        }
        relay->cut_at = 0;
        vb_backend_close(b);
        b = open_at(path, false, 0, &err);
        assert_non_null(b);
        assert_ok(vb_backend_lock(b, "the next command", &err));
        if (vb_backend_read_all(b, "packs/aa/big", BIG, &out, &gone) == 0)
            assert_memory_equal(out.data, big, BIG);
        else
            assert_true(gone.code == VB_E_NOT_FOUND && done == 0);
        if (done == 2)
            assert_int_equal(vb_backend_size(b, "index/one", &size, NULL), -1);
        vb_backend_close(b);
        assert_ok(vb_remove_tree_at(scratch_fd, name, &err));
        if (!struck) {
            assert_true(n > 12);
            break;
        }
    }
}

static int cut_start(void **state)
{
    scratch_start(state);
    use_relay();
    return 0;
}

static int cut_end(void **state)
{
    drop_relay();
    return scratch_end(state);
}

static void a_line_cut_at_any_message_is_mended(void **state)
{
    (void)state;
    cut_everywhere(false, 5000);
    cut_everywhere(true, 5000);
}

static void a_command_that_gives_up_has_lost_nothing(void **state)
{
    (void)state;
    cut_everywhere(false, 0);
    cut_everywhere(true, 0);
}

/* ---- a client that lies ---- */

struct client {
    struct vb_backend *files;
    struct vb_serve *s;
    struct vb_buf out;
    uint64_t id;
};

static struct vb_backend *share(void *arg, bool create, struct vb_error *err)
{
    struct client *c = arg;
    (void)create, (void)err;
    return vb_backend_memory_share(c->files);
}

static void client_start(struct client *c, struct vb_serve_rules rules)
{
    memset(c, 0, sizeof *c);
    c->files = vb_backend_memory_new();
    assert_int_equal(vb_backend_write(c->files, "config", "c", 1, NULL), 0);
    assert_int_equal(vb_backend_write(c->files, "packs/aa/one", "a pack", 6, NULL), 0);
    assert_int_equal(vb_backend_write(c->files, "catalog/one", "a record", 8, NULL), 0);
    c->s = vb_serve_new(&rules, share, c);
}

static void client_end(struct client *c)
{
    vb_serve_free(c->s);
    vb_backend_close(c->files);
    vb_buf_clear(&c->out);
}

/* Sends it; 1 when the conversation is over, else 0 with the last answer's type, and what an error says. */
static int tell(struct client *c, struct vb_msg *m, uint16_t *type, struct vb_error *err)
{
    VB_AUTO_ERROR why = VB_ERROR_INIT;
    vb_buf_reset(&c->out);
    if (m->type != VB_SV_DATA)
        m->id = ++c->id;
    else if (!m->id)
        m->id = c->id;
    int result = vb_serve_message(c->s, m, &c->out, NULL, NULL, &why);
    vb_msg_clear(m);
    *type = 0;
    for (;;) {
        VB_AUTO_MSG a = VB_MSG_INIT(0);
        if (vb_msg_decode(&c->out, &a, NULL) != 1)
            break;
        *type = a.type;
        if (a.type == VB_M_ERROR)
            vb_msg_error(&a, err);
    }
    return result < 0;
}

static void say_hello(struct client *c)
{
    struct vb_msg m = VB_MSG_INIT(VB_SV_HELLO);
    uint16_t type;
    vb_msg_add_u64(&m, VB_SF_VERSION, VB_SERVE_VERSION);
    assert_int_equal(tell(c, &m, &type, NULL), 0);
    assert_int_equal(type, VB_SV_HELLO);
}

/* A request with a name; the code of the answer. */
static enum vb_code named(struct client *c, uint16_t request, const char *name)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(request);
    uint16_t type;
    vb_msg_add_str(&m, VB_SF_NAME, name);
    vb_msg_add_u64(&m, VB_SF_LENGTH, 1);
    tell(c, &m, &type, &err);
    return err.code;
}

static enum vb_code write_one(struct client *c, const char *name, const void *p, size_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_msg m = VB_MSG_INIT(VB_SV_WRITE), data = VB_MSG_INIT(VB_SV_DATA);
    uint16_t type;
    vb_msg_add_str(&m, VB_SF_NAME, name);
    vb_msg_add_u64(&m, VB_SF_SIZE, n);
    assert_int_equal(tell(c, &m, &type, &err), 0);
    vb_msg_add(&data, VB_SF_BYTES, p, n);
    assert_int_equal(tell(c, &data, &type, &err), 0);
    return err.code;
}

static void append_only_means_it(void **state)
{
    struct client c;
    uint64_t size;
    (void)state;
    static const unsigned char backup[128] = "VBLG\2\1", prune[128] = "VBLG\2\2", word[128] = "VBLG\2\3";
    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    say_hello(&c);
    assert_int_equal(write_one(&c, "packs/bb/two", "new", 3), VB_OK);
    assert_int_equal(write_one(&c, "packs/bb/two", "other", 5), VB_E_EXISTS);
    assert_int_equal(write_one(&c, "index/two", "new", 3), VB_OK);
    assert_int_equal(write_one(&c, "catalog/two", "new", 3), VB_OK);
    assert_int_equal(write_one(&c, "ledger/0000000001", backup, sizeof backup), VB_OK);
    assert_int_equal(write_one(&c, "ledger/0000000002", prune, sizeof prune), VB_E_GUARD);
    assert_int_equal(write_one(&c, "ledger/0000000002", word, sizeof word), VB_E_GUARD);
    assert_int_equal(write_one(&c, "ledger/0000000002", "x", 1), VB_E_GUARD);
    const char *const closed[] = { "config", "keys/aa", "forgotten/one", "condemned/one", "state/one", "holds/one", "lock" };
    for (size_t i = 0; i < VB_COUNT(closed); i++)
        assert_int_equal(write_one(&c, closed[i], "x", 1), VB_E_GUARD);
    const char *const kept[] = { "config", "packs/aa/one", "catalog/one", "packs/bb/two", "index/two", "ledger/0000000001" };
    for (size_t i = 0; i < VB_COUNT(kept); i++) {
        assert_int_equal(named(&c, VB_SV_REMOVE, kept[i]), VB_E_GUARD);
        assert_int_equal(vb_backend_size(c.files, kept[i], &size, NULL), 0);
    }
    assert_int_equal(named(&c, VB_SV_REMOVE, "condemned/nothing"), VB_E_NOT_FOUND);
    assert_int_equal(named(&c, VB_SV_READ, "packs/aa/one"), VB_OK);
    client_end(&c);
}

static void a_client_removes_its_own_leases_only(void **state)
{
    struct client c;
    (void)state;
#define OWN "11111111-2222-4333-8444-555555555555"
#define OTHER "99999999-2222-4333-8444-555555555555"
    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    assert_int_equal(vb_backend_write(c.files, "leases/0000000001-" OTHER "-0000000001", "x", 1, NULL), 0);
    assert_int_equal(vb_backend_write(c.files, "leases/0000000001-" OWN "-0000000001", "x", 1, NULL), 0);
    say_hello(&c);
    assert_int_equal(named(&c, VB_SV_REMOVE, "leases/0000000001-" OWN "-0000000001"), VB_E_GUARD);
    assert_int_equal(write_one(&c, "leases/0000000001-" OWN "-0000000002", "x", 1), VB_OK);
    assert_int_equal(named(&c, VB_SV_REMOVE, "leases/0000000001-" OWN "-0000000002"), VB_OK);
    /* the id of another, which is in the listing, does not help */
    assert_int_equal(write_one(&c, "leases/0000000000-" OTHER "-9999999999", "x", 1), VB_OK);
    assert_int_equal(named(&c, VB_SV_REMOVE, "leases/0000000001-" OTHER "-0000000001"), VB_E_GUARD);
    client_end(&c);
}

static void write_only_and_read_only_mean_it(void **state)
{
    struct client c;
    (void)state;
    client_start(&c, (struct vb_serve_rules){ .write_only = true });
    say_hello(&c);
    assert_int_equal(named(&c, VB_SV_READ, "config"), VB_OK);
    assert_int_equal(named(&c, VB_SV_READ, "packs/aa/one"), VB_E_ACCESS_DENIED);
    assert_int_equal(named(&c, VB_SV_READ, "catalog/one"), VB_E_ACCESS_DENIED);
    assert_int_equal(named(&c, VB_SV_REMOVE, "packs/aa/one"), VB_E_GUARD);
    assert_int_equal(write_one(&c, "packs/bb/two", "new", 3), VB_OK);
    assert_int_equal(named(&c, VB_SV_READ, "packs/bb/two"), VB_OK); /* its own */
    client_end(&c);
    client_start(&c, (struct vb_serve_rules){ .read_only = true });
    say_hello(&c);
    assert_int_equal(named(&c, VB_SV_READ, "packs/aa/one"), VB_OK);
    assert_int_equal(write_one(&c, "packs/bb/two", "new", 3), VB_E_GUARD);
    assert_int_equal(named(&c, VB_SV_REMOVE, "packs/aa/one"), VB_E_GUARD);
    assert_int_equal(named(&c, VB_SV_LOCK, NULL), VB_E_GUARD);
    client_end(&c);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    const char *const bad[] = { "../config", "/etc/passwd", "packs/../config", "packs//x", "", "packs/.", "Packs/x" };
    struct client c;
    (void)state;
    client_start(&c, (struct vb_serve_rules){ .append_only = false });
    say_hello(&c);
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        assert_int_equal(named(&c, VB_SV_READ, bad[i]), VB_E_USAGE);
        assert_int_equal(named(&c, VB_SV_REMOVE, bad[i]), VB_E_USAGE);
        assert_int_equal(named(&c, VB_SV_SIZE, bad[i]), VB_E_USAGE);
        assert_int_equal(write_one(&c, bad[i], "x", 1), VB_E_USAGE);
    }
    client_end(&c);
}

static void a_conversation_out_of_order_ends(void **state)
{
    struct client c;
    uint16_t type;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    assert_int_equal(named(&c, VB_SV_READ, "config"), VB_E_BAD_STATE); /* no HELLO */
    say_hello(&c);
    struct vb_msg data = VB_MSG_INIT(VB_SV_DATA);
    vb_msg_add(&data, VB_SF_BYTES, "x", 1);
    assert_int_equal(tell(&c, &data, &type, &err), 1); /* bytes of no file */
    client_end(&c);

    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    say_hello(&c);
    struct vb_msg m = VB_MSG_INIT(VB_SV_WRITE);
    vb_msg_add_str(&m, VB_SF_NAME, "packs/bb/two");
    vb_msg_add_u64(&m, VB_SF_SIZE, 3);
    assert_int_equal(tell(&c, &m, &type, &err), 0);
    data = (struct vb_msg)VB_MSG_INIT(VB_SV_DATA);
    vb_msg_add(&data, VB_SF_BYTES, "more than three", 15);
    assert_int_equal(tell(&c, &data, &type, &err), 1);
    client_end(&c);

    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    say_hello(&c);
    m = (struct vb_msg)VB_MSG_INIT(VB_SV_WRITE);
    vb_msg_add_str(&m, VB_SF_NAME, "packs/bb/two");
    vb_msg_add_u64(&m, VB_SF_SIZE, 3);
    assert_int_equal(tell(&c, &m, &type, &err), 0);
    m = (struct vb_msg)VB_MSG_INIT(VB_SV_BARRIER); /* in the middle of a file */
    assert_int_equal(tell(&c, &m, &type, &err), 1);
    uint64_t size;
    assert_int_equal(vb_backend_size(c.files, "packs/bb/two", &size, NULL), -1);
    client_end(&c);

    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    say_hello(&c);
    m = (struct vb_msg)VB_MSG_INIT(VB_SV_WRITE);
    vb_msg_add_str(&m, VB_SF_NAME, "packs/bb/huge");
    vb_msg_add_u64(&m, VB_SF_SIZE, UINT64_MAX);
    assert_int_equal(tell(&c, &m, &type, &err), 0); /* its bytes would be dropped, and nothing is kept for them */
    client_end(&c);
    client_start(&c, (struct vb_serve_rules){ .append_only = true });
    m = (struct vb_msg)VB_MSG_INIT(VB_SV_HELLO);
    vb_msg_add_u64(&m, VB_SF_VERSION, VB_SERVE_VERSION);
    vb_msg_add_u64(&m, VB_SF_CREATE, 1);
    tell(&c, &m, &type, &err);
    assert_int_equal(err.code, VB_E_GUARD);
    client_end(&c);
}

/* ---- a server that lies: this program once more ---- */

static const char *const lies[] = { "name", "prefix", "long", "id", "type", "frame", "empty", "text" };

static int lie_main(const char *lie)
{
    VB_AUTO_BUF in = VB_BUF_INIT, out = VB_BUF_INIT;
    unsigned char bytes[4096];
    ssize_t n;
    while ((n = read(0, bytes, sizeof bytes)) > 0) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        vb_buf_add(&in, bytes, (size_t)n);
        while (vb_msg_decode(&in, &m, NULL) == 1) {
            VB_AUTO_MSG a = VB_MSG_INIT(m.type == VB_SV_HELLO ? VB_SV_HELLO : m.type == VB_SV_LIST ? VB_SV_ENTRIES : VB_SV_DATA);
            a.id = m.id;
            if (m.type == VB_SV_LIST) {
                vb_msg_add_str(&a, VB_SF_NAME, strcmp(lie, "name") == 0 ? "packs/../config" : "index/aa");
                vb_msg_add_u64(&a, VB_SF_SIZE, 1);
            } else if (m.type == VB_SV_READ) {
                vb_msg_add(&a, VB_SF_BYTES, "0123456789", strcmp(lie, "long") == 0 ? 10 : 0);
            }
            if (m.type != VB_SV_HELLO && strcmp(lie, "id") == 0)
                a.id++;
            if (m.type != VB_SV_HELLO && strcmp(lie, "type") == 0)
                a.type = 77;
            vb_msg_encode(&a, &out, NULL);
            if (m.type != VB_SV_HELLO && strcmp(lie, "frame") == 0) {
                vb_buf_reset(&out);
                vb_buf_add_u32(&out, UINT32_MAX);
            }
            if (m.type != VB_SV_HELLO && strcmp(lie, "text") == 0) {
                vb_buf_reset(&out);
                vb_buf_add_str(&out, "Last login: yesterday on tty1, and many more words\n");
            }
            write_all(NULL, &out, NULL);
            vb_msg_clear(&m);
        }
    }
    return 0;
}

static void a_server_that_lies_is_found_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < VB_COUNT(lies); i++) {
        const char *argv[] = { "/proc/self/exe", "--lie", lies[i], NULL };
        struct vb_link_params link = { .argv = argv };
        const struct vb_served_params p = { "there", &link, false, 5000 };
        VB_AUTO_ERROR err = VB_ERROR_INIT, listing = VB_ERROR_INIT;
        VB_AUTO_BUF out = VB_BUF_INIT;
        unsigned n = 0;
        struct vb_backend *b = vb_backend_served_open(&p, &err);
        assert_non_null(b);
        assert_int_equal(vb_backend_read(b, "packs/aa/one", 0, 5, &out, &err), -1);
        assert_int_equal(err.code, VB_E_PROTOCOL);
        assert_int_equal(out.len, 0);
        assert_int_equal(vb_backend_list(b, "packs/", count_one, &n, &listing), -1);
        assert_int_equal(listing.code, VB_E_PROTOCOL);
        assert_int_equal(n, 0);
        vb_backend_close(b);
    }
}

int main(int argc, char **argv)
{
    const struct backend_contract contract = { "backend_serve", make, again, finish, true, false };
#define T(fn) cmocka_unit_test_setup_teardown(fn, cut_start, cut_end)
    const struct CMUnitTest tests[] = {
        T(a_line_cut_at_any_message_is_mended),
        T(a_command_that_gives_up_has_lost_nothing),
        cmocka_unit_test(append_only_means_it),
        cmocka_unit_test(a_client_removes_its_own_leases_only),
        cmocka_unit_test(write_only_and_read_only_mean_it),
        cmocka_unit_test(names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(a_conversation_out_of_order_ends),
        cmocka_unit_test(a_server_that_lies_is_found_out),
    };
    if (argc > 3 && strcmp(argv[1], "--serve") == 0)
        return serve_main(argv + 2);
    if (argc > 2 && strcmp(argv[1], "--lie") == 0)
        return lie_main(argv[2]);
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return backend_contract_run(&contract, tests, VB_COUNT(tests));
}
