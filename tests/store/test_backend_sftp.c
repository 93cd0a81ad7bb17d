/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_backend_sftp.c - the SFTP backend keeps the contract, whatever the server's rename does, and a line cut
 * at any request loses nothing.  The server is OpenSSH's own, run directly; tests/scenario/test_sftp.sh is the same over SSH.
 */
#include <config.h>
#include "tests/cm.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/link.h"
#include "tests/base/scratch.h"
#include "tests/store/backend_contract.h"
#include "tests/store/sftp_relay.h"

static struct sftp_relay_state *relay; /* NULL: none between */
static const char *server_option, *server_value;
static char *state_path;

static struct vb_backend *open_at(const char *path, bool create, uint64_t retry_ms, struct vb_error *err)
{
    const char *direct[] = { SFTP_SERVER, server_option, server_value, NULL };
    const char *relayed[] = { "/proc/self/exe", "--relay", state_path, server_option, server_value, NULL };
    struct vb_link_params link = { .argv = relay ? relayed : direct };
    const struct vb_sftp_params p = { .location = path, .link = &link, .path = path, .create = create, .write = true,
                                      .retry_ms = retry_ms };
    return vb_backend_sftp_open(&p, err);
}

static struct vb_backend *make(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    scratch_start(NULL);
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "repo");
    struct vb_backend *b = open_at(path, true, 5000, &err);
    if (!b)
        print_error("%s\n", vb_error_text(&err));
    return b;
}

static struct vb_backend *again(struct vb_backend *first)
{
    return open_at(first->location, false, 5000, NULL);
}

static void finish(void)
{
    scratch_end(NULL);
}

/* ---- servers ---- */

static void use_relay(void)
{
    VB_AUTO_FD int fd = openat(scratch_fd, "relay", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, sizeof *relay), 0);
    relay = mmap(NULL, sizeof *relay, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(relay, MAP_FAILED);
    state_path = vb_path_join(scratch_path, "relay");
}

static int end_all(void **state)
{
    if (relay)
        munmap(relay, sizeof *relay);
    relay = NULL;
    free(state_path);
    state_path = NULL;
    server_option = server_value = NULL;
    return scratch_end(state);
}

static void a_server_that_cannot_sync_is_refused(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "repo");
    server_option = "-P";
    server_value = "fsync";
    assert_null(open_at(path, true, 0, &err));
    assert_int_equal(err.code, VB_E_PREREQUISITE);
    assert_contains(err.text, "fsync@openssh.com");
    assert_contains(err.hint, "sftp-unsynced");
}

static void a_rename_that_replaces_is_found_out(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, exists = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "repo");
    use_relay();
    relay->replaces = 1;
    struct vb_backend *b = open_at(path, true, 0, &err);
    assert_non_null(b); /* by hard links */
    assert_ok(vb_backend_probe(b, &err));
    assert_ok(vb_backend_write(b, "index/aa", "first", 5, &err));
    assert_int_equal(vb_backend_write(b, "index/aa", "second", 6, &exists), -1);
    assert_int_equal(exists.code, VB_E_EXISTS);
    assert_ok(vb_backend_read_all(b, "index/aa", 100, &out, &err));
    assert_string_equal(vb_buf_str(&out), "first");
    vb_backend_close(b);
    server_option = "-P";
    server_value = "hardlink";
    assert_null(open_at(path, false, 0, &err));
    assert_int_equal(err.code, VB_E_PREREQUISITE);
    assert_contains(err.text, "rename replaces files");
}

static void a_missing_place_is_named_with_a_hint(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, deep = VB_ERROR_INIT, taken = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "none"), *deeper = vb_path_join(path, "deeper");
    assert_null(open_at(path, false, 5000, &err));
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_contains(err.hint, "vbackup init");
    assert_null(open_at(deeper, true, 5000, &deep));
    assert_int_equal(deep.code, VB_E_NOT_FOUND);
    assert_int_equal(vb_write_file_at(scratch_fd, "letter.txt", "dear", 4, 0600, NULL), 0);
    assert_null(open_at(scratch_path, true, 5000, &taken));
    assert_int_equal(taken.code, VB_E_EXISTS);
    assert_contains(taken.text, "not empty");
}

/* ---- cuts ---- */

#define BIG ((size_t)700000)

static unsigned char *big_bytes(void)
{
    unsigned char *p = vb_alloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        p[i] = (unsigned char)(i * 7 + (i >> 10));
    return p;
}

static int count_one(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)name, (void)size, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

#define SMALL 20u /* more than are kept open there */

/* Many small files, each read twice: others are closed for them. */
static int read_small(struct vb_backend *b, struct vb_error *err)
{
    for (unsigned i = 0; i < 2 * SMALL; i++) {
        char name[32];
        VB_AUTO_BUF out = VB_BUF_INIT;
        snprintf(name, sizeof name, "ledger/%02u", i % SMALL);
        if (vb_backend_read_all(b, name, 64, &out, err) < 0)
            return -1;
        assert_int_equal(out.len, 1 + i % SMALL);
    }
    return 0;
}

/* What a command does: 0, or -1 at the first thing that cannot be done.  done: what was promised. */
static int work(struct vb_backend *b, const unsigned char *big, unsigned *done, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR exists = VB_ERROR_INIT;
    unsigned n = 0;
    *done = 0;
    if (vb_backend_write(b, "packs/aa/big", big, BIG, err) < 0 || vb_backend_write(b, "index/one", "one", 3, err) < 0)
        return -1;
    if (vb_backend_write(b, "index/two", "two", 3, err) < 0 || vb_backend_barrier(b, err) < 0)
        return -1;
    *done = 1;
    if (vb_backend_write(b, "index/one", "other", 5, &exists) == 0 || exists.code != VB_E_EXISTS)
        return exists.code == VB_OK ? vb_fail(err, VB_E_UNEXPECTED, "replaced") : vb_error_move(err, &exists);
    if (vb_backend_read(b, "packs/aa/big", 1000, BIG - 1000, &out, err) < 0)
        return -1;
    assert_memory_equal(out.data, big + 1000, BIG - 1000);
    if (vb_backend_list(b, "", count_one, &n, err) != 0)
        return -1;
    assert_int_equal(n, 3);
    if (vb_backend_remove(b, "index/two", err) < 0 || vb_backend_barrier(b, err) < 0)
        return -1;
    *done = 2;
    return 0;
}

static void assert_whole(struct vb_backend *b, const unsigned char *big, unsigned done)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t size = 0;
    bool one = vb_backend_size(b, "index/one", &size, NULL) == 0, two = vb_backend_size(b, "index/two", &size, NULL) == 0;
    if (vb_backend_read_all(b, "packs/aa/big", BIG, &out, &err) == 0) {
        assert_int_equal(out.len, BIG);
        assert_memory_equal(out.data, big, BIG);
    } else {
        assert_int_equal(err.code, VB_E_NOT_FOUND);
        assert_int_equal(done, 0);
    }
    assert_true(one || done == 0);
    assert_true(done == 2 ? !two : two || done != 1 || one);
}

static void cut_everywhere(bool after, uint64_t retry_ms)
{
    VB_AUTO_FREE unsigned char *big = big_bytes();
    use_relay();
    for (uint64_t n = 1;; n++) {
        VB_AUTO_FREE char *name = vb_printf("repo%llu", (unsigned long long)n);
        VB_AUTO_FREE char *path = vb_path_join(scratch_path, name);
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        unsigned done = 0;
        *relay = (struct sftp_relay_state){ 0 };
        struct vb_backend *b = open_at(path, true, retry_ms, &err);
        assert_non_null(b);
        uint64_t before = relay->requests;
        relay->after = after;
        relay->cut_at = before + n;
        int result = work(b, big, &done, &err);
        bool struck = relay->requests >= relay->cut_at;
        if (result < 0) {
            assert_true(struck && retry_ms == 0);
            assert_int_equal(err.code, VB_E_CONNECTION_LOST);
            assert_null(strchr(err.text, '\n'));
        } else if (retry_ms > 0) {
            assert_int_equal(relay->connections, struck ? 2 : 1);
        }
        relay->cut_at = 0;
        vb_backend_close(b);
        /* the next command */
        b = open_at(path, false, 0, &err);
        assert_non_null(b);
        assert_whole(b, big, done);
        for (unsigned i = 0; done < 2 && i < 2; i++) {
            static const char *const names[] = { "index/one", "index/two" };
            VB_AUTO_ERROR e = VB_ERROR_INIT;
            if (vb_backend_write(b, names[i], i ? "two" : "one", 3, &e) < 0)
                assert_int_equal(e.code, VB_E_EXISTS);
        }
        vb_backend_close(b);
        VB_AUTO_ERROR gone = VB_ERROR_INIT;
        assert_ok(vb_remove_tree_at(scratch_fd, name, &gone));
        if (!struck) {
            assert_true(n > 40); /* it was cut at as many places */
            break;
        }
    }
}

static void a_line_cut_before_any_request_is_mended(void **state)
{
    (void)state;
    cut_everywhere(false, 5000);
}

static void a_line_cut_after_any_request_is_mended(void **state)
{
    (void)state;
    cut_everywhere(true, 5000);
}

/* As a ledger is read: the cut may strike where a file is closed for another. */
static void a_line_cut_while_many_files_are_read_is_mended(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *path = vb_path_join(scratch_path, "many");
    (void)state;
    use_relay();
    struct vb_backend *b = open_at(path, true, 5000, &err);
    assert_non_null(b);
    for (unsigned i = 0; i < SMALL; i++) {
        char name[32];
        snprintf(name, sizeof name, "ledger/%02u", i);
        assert_ok(vb_backend_write(b, name, "12345678901234567890", 1 + i, &err));
    }
    vb_backend_close(b);
    for (unsigned n = 1; n <= 60; n++) {
        *relay = (struct sftp_relay_state){ 0 };
        b = open_at(path, false, n % 2 ? 5000 : 0, &err);
        assert_non_null(b);
        relay->cut_at = relay->requests + 20 + n;
        int result = read_small(b, &err);
        if (n % 2)
            assert_ok(result);
        else if (result < 0)
            assert_int_equal(err.code, VB_E_CONNECTION_LOST);
        vb_error_clear(&err);
        relay->cut_at = 0;
        vb_backend_close(b);
    }
}

static void a_command_that_gives_up_has_lost_nothing(void **state)
{
    (void)state;
    cut_everywhere(false, 0);
}

static void a_command_that_gives_up_after_a_request_has_lost_nothing(void **state)
{
    (void)state;
    cut_everywhere(true, 0);
}

int main(int argc, char **argv)
{
    const struct backend_contract contract = { "backend_sftp", make, again, finish, true, false };
#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, end_all)
    const struct CMUnitTest tests[] = {
        T(a_server_that_cannot_sync_is_refused),
        T(a_rename_that_replaces_is_found_out),
        T(a_missing_place_is_named_with_a_hint),
        T(a_line_cut_before_any_request_is_mended),
        T(a_line_cut_after_any_request_is_mended),
        T(a_line_cut_while_many_files_are_read_is_mended),
        T(a_command_that_gives_up_has_lost_nothing),
        T(a_command_that_gives_up_after_a_request_has_lost_nothing),
    };
    if (argc > 2 && strcmp(argv[1], "--relay") == 0)
        return sftp_relay_main(argc - 2, argv + 2);
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0); /* a sync of each file on a disk would take a minute */
    if (access(SFTP_SERVER, X_OK) != 0) {
        printf("1..0 # SKIP no " SFTP_SERVER " (apt-get install openssh-sftp-server)\n");
        return 0;
    }
    return backend_contract_run(&contract, tests, VB_COUNT(tests));
}
