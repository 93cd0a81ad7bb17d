/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_backend_s3.c - the S3 backend keeps the contract against a scripted server (s3_server.py), which
 * checks each signature by itself, and loses nothing when that server cuts, refuses, lies or has another time.
 */
#include <config.h>
#include "tests/cm.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/s3_http.h"
#include "store/s3_sign.h"
#include "tests/store/backend_contract.h"

static pid_t server;
static int server_input = -1;
static uint32_t port;

static int start_server(void)
{
    const char *top = getenv("abs_top_srcdir");
    VB_AUTO_FREE char *script = vb_printf("%s/tests/store/s3_server.py", top ? top : "..");
    int in[2], out[2];
    char line[16] = "";
    if (pipe(in) < 0 || pipe(out) < 0)
        return -1;
    server = fork();
    if (server == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        execlp("python3", "python3", script, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server_input = in[1];
    for (size_t n = 0; n < sizeof line - 1; n++) {
        if (read(out[0], &line[n], 1) != 1)
            return -1;
        if (line[n] == '\n') {
            line[n] = '\0';
            break;
        }
    }
    return vb_parse_u32(line, &port) ? 0 : -1;
}

/* Tells the server what goes wrong at which request from now on; how many there were since the last time. */
static uint64_t control(const char *kind, uint64_t at)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    VB_AUTO_FREE char *text = vb_printf("GET /__control?kind=%s&at=%llu HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", kind,
                                        (unsigned long long)at);
    VB_AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VB_AUTO_BUF answer = VB_BUF_INIT;
    char bytes[4096];
    ssize_t n;
    uint64_t count = 0;
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(vb_write_all(fd, text, strlen(text), NULL), 0);
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        vb_buf_add(&answer, bytes, (size_t)n);
    const char *body = strstr(vb_buf_str(&answer), "\r\n\r\n");
    assert_non_null(body);
    assert_true(vb_parse_u64(body + 4, &count));
    return count;
}

static struct vb_backend *open_with(const char *secret, uint64_t retry_ms, struct vb_error *err)
{
    VB_AUTO_FREE char *endpoint = vb_printf("http://127.0.0.1:%u", port);
    const struct vb_s3_params p = { .location = "s3://bucket/some/place", .endpoint = endpoint, .bucket = "bucket",
                                    .prefix = "some/place", .region = "us-test-1", .access_key = "test-key",
                                    .secret_key = secret, .write = true, .retry_ms = retry_ms, .part_size = 256 * 1024 };
    return vb_backend_s3_open(&p, err);
}

static struct vb_backend *open_again(uint64_t retry_ms, struct vb_error *err)
{
    return open_with("test/secret", retry_ms, err);
}

static struct vb_backend *make(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    control("clear", 0);
    control("empty", 0);
    struct vb_backend *b = open_again(5000, &err);
    if (!b)
        print_error("%s\n", vb_error_text(&err));
    /* the object that tries out whether names are exclusive stays; the suite wants an empty place */
    if (b)
        vb_backend_remove(b, "probe/exclusive", NULL);
    return b;
}

static struct vb_backend *again(struct vb_backend *first)
{
    struct vb_backend *b = open_again(5000, NULL);
    (void)first;
    if (b)
        vb_backend_remove(b, "probe/exclusive", NULL);
    return b;
}

/* ---- what only this one must ---- */

static void the_example_of_the_documentation_is_signed_as_there(void **state)
{
    /* "Authenticating Requests: Using the Authorization Header", example GET Object */
    const struct vb_s3_key key = { "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL, "us-east-1" };
    const struct vb_s3_to_sign r = { "GET", "examplebucket.s3.amazonaws.com", "/test.txt", "", "range:bytes=0-9\n",
                                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" };
    VB_AUTO_FREE char *text = vb_s3_authorization(&key, &r, "20130524T000000Z");
    (void)state;
    /* the documentation signs host before range; both are sorted */
    assert_contains(text, "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date");
    assert_contains(text, "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void a_wrong_secret_is_refused_without_showing_it(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    control("clear", 0);
    assert_null(open_with("another/secret", 5000, &err));
    assert_int_equal(err.code, VB_E_ACCESS_DENIED);
    assert_contains(err.text, "SignatureDoesNotMatch");
    assert_null(strstr(err.text, "another/secret"));
    assert_contains(err.hint, "AWS_ACCESS_KEY_ID");
}

static void another_time_is_got_over(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    (void)state;
    control("clear", 0);
    control("skew", 0);
    struct vb_backend *b = open_again(5000, &err);
    assert_non_null(b);
    vb_backend_close(b);
    control("clear", 0);
}

static void a_server_without_exclusive_names_is_noticed(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT, exists = VB_ERROR_INIT;
    (void)state;
    control("clear", 0);
    control("empty", 0);
    control("no-conditional", 0);
    struct vb_backend *b = open_again(5000, &err);
    assert_non_null(b);
    assert_null(vb_backend_s3_presign(b, "packs/aa/one", 60));
    assert_ok(vb_backend_write(b, "packs/aa/one", "first", 5, &err));
    assert_int_equal(vb_backend_write(b, "packs/aa/one", "second", 6, &exists), -1);
    assert_int_equal(exists.code, VB_E_EXISTS);
    vb_backend_close(b);
    control("clear", 0);
}

static size_t drop(char *p, size_t size, size_t n, void *arg)
{
    (void)p, (void)arg;
    return size * n;
}

static long put_by_address(const char *url, const char *text, bool create_only)
{
    CURL *c = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, create_only ? "If-None-Match: *" : "X-Nothing: 1");
    long status = 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, "PUT");
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, text);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, drop);
    assert_int_equal(curl_easy_perform(c), CURLE_OK);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return status;
}

static void an_address_makes_one_object_once(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    struct vb_backend *b = make();
    (void)state;
    VB_AUTO_FREE char *url = vb_backend_s3_presign(b, "packs/aa/one", 60);
    assert_non_null(url);
    assert_null(strstr(url, "test/secret"));
    assert_int_equal(put_by_address(url, "from an agent", false), 403); /* it could replace */
    assert_int_equal(put_by_address(url, "from an agent", true), 200);
    assert_int_equal(put_by_address(url, "something else", true), 412);
    assert_ok(vb_backend_read_all(b, "packs/aa/one", 100, &out, &err));
    assert_string_equal(vb_buf_str(&out), "from an agent");
    char *other = strstr(url, "packs/aa/one");
    other[9] = 'x'; /* packs/aa/xne */
    assert_int_equal(put_by_address(url, "elsewhere", true), 403);
    vb_backend_close(b);
}

static void damage_on_the_way_is_found_out(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT, e2 = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    uint64_t size;
    struct vb_backend *b = make();
    (void)state;
    control("wrong-etag", 1); /* and one byte more is stored */
    assert_int_equal(vb_backend_write(b, "packs/aa/one", "what is sent", 12, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
    assert_int_equal(vb_backend_size(b, "packs/aa/one", &size, NULL), -1);
    assert_ok(vb_backend_write(b, "packs/aa/two", "0123456789", 10, &e2));
    control("truncate", 1);
    assert_ok(vb_backend_read(b, "packs/aa/two", 0, 10, &out, &e2)); /* asked for again */
    assert_string_equal(vb_buf_str(&out), "0123456789");
    vb_backend_close(b);
}

/* ---- faults at every request ---- */

#define BIG ((size_t)700000) /* three parts */

static int count_one(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)size, (void)err;
    *(unsigned *)arg += strncmp(name, "probe/", 6) != 0;
    return 0;
}

static int work(struct vb_backend *b, const unsigned char *big, unsigned *done, struct vb_error *err)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR exists = VB_ERROR_INIT;
    unsigned n = 0;
    *done = 0;
    if (vb_backend_write(b, "packs/aa/big", big, BIG, err) < 0 || vb_backend_write(b, "index/one", "one", 3, err) < 0 ||
        vb_backend_write(b, "index/two", "two", 3, err) < 0 || vb_backend_barrier(b, err) < 0)
        return -1;
    *done = 1;
    if (vb_backend_write(b, "index/one", "another", 7, &exists) == 0 || exists.code != VB_E_EXISTS)
        return exists.code == VB_OK ? vb_fail(err, VB_E_UNEXPECTED, "replaced") : vb_error_move(err, &exists);
    if (vb_backend_read(b, "packs/aa/big", 1000, BIG - 1000, &out, err) < 0)
        return -1;
    assert_memory_equal(out.data, big + 1000, BIG - 1000);
    if (vb_backend_list(b, "", count_one, &n, err) != 0)
        return -1;
    assert_int_equal(n, 3);
    if (vb_backend_remove(b, "index/two", err) < 0)
        return -1;
    *done = 2;
    return 0;
}

static void fault_everywhere(const char *kind, uint64_t retry_ms)
{
    VB_AUTO_FREE unsigned char *big = vb_alloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (unsigned char)(i * 7 + (i >> 10));
    for (uint64_t n = 1;; n++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT, gone = VB_ERROR_INIT;
        VB_AUTO_BUF out = VB_BUF_INIT;
        unsigned done = 0;
        uint64_t size;
        control("clear", 0);
        control("empty", 0);
        struct vb_backend *b = open_again(retry_ms, &err);
        assert_non_null(b);
        control(kind, n);
        int result = work(b, big, &done, &err);
        bool struck = control("clear", 0) >= n;
        if (result < 0) {
            if (!struck || retry_ms > 0)
                print_error("%s at %llu: %s\n", kind, (unsigned long long)n, vb_error_text(&err));
            assert_true(struck && retry_ms == 0);
            assert_null(strchr(err.text, '\n'));
        }
        vb_backend_close(b);
        b = open_again(0, &err);
        assert_non_null(b);
        if (vb_backend_read_all(b, "packs/aa/big", BIG, &out, &gone) == 0) {
            assert_int_equal(out.len, BIG);
            assert_memory_equal(out.data, big, BIG);
        } else {
            assert_true(gone.code == VB_E_NOT_FOUND && done == 0);
        }
        if (done == 2)
            assert_int_equal(vb_backend_size(b, "index/two", &size, NULL), -1);
        if (done > 0)
            assert_int_equal(vb_backend_size(b, "index/one", &size, NULL), 0);
        vb_backend_close(b);
        if (!struck) {
            assert_true(n > 10);
            break;
        }
    }
}

static void a_line_cut_at_any_request_is_mended(void **state)
{
    (void)state;
    fault_everywhere("cut-before", 5000);
    fault_everywhere("cut-after", 5000);
}

static void a_command_that_gives_up_has_lost_nothing(void **state)
{
    (void)state;
    fault_everywhere("cut-before", 0);
    fault_everywhere("cut-after", 0);
}

static void a_busy_server_is_asked_again(void **state)
{
    (void)state;
    fault_everywhere("503", 5000);
    fault_everywhere("500", 5000);
}

static void count_upload(void *arg, const char *key, const char *id, uint64_t begun_s)
{
    (void)id;
    assert_true(begun_s > 1500000000);
    *(unsigned *)arg += strncmp(key, "some/place/packs/", 17) == 0 ? 1 : 100;
}

static unsigned count_uploads(struct vb_s3 *s)
{
    const struct vb_s3_request q = { .method = "GET", .query = "prefix=&uploads=", .most = 100000 };
    struct vb_s3_reply reply = { 0 };
    unsigned n = 0;
    assert_int_equal(vb_s3_send(s, &q, &reply, NULL), 0);
    assert_int_equal(vb_s3_parse_uploads((const char *)reply.body.data, reply.body.len, count_upload, &n, NULL), 0);
    vb_s3_reply_clear(&reply);
    return n;
}

static void begin_upload(struct vb_s3 *s, const char *name)
{
    const struct vb_s3_request q = { .method = "POST", .name = name, .query = "uploads=", .body = "", .n = 0 };
    struct vb_s3_reply reply = { 0 };
    assert_int_equal(vb_s3_send(s, &q, &reply, NULL), 0);
    vb_s3_reply_clear(&reply);
}

static void uploads_that_nobody_ends_are_swept_away(void **state)
{
    VB_AUTO_FREE char *endpoint = vb_printf("http://127.0.0.1:%u", port);
    struct vb_s3_params p = { .location = "s3://bucket", .endpoint = endpoint, .bucket = "bucket", .prefix = "some/place",
                              .region = "us-test-1", .access_key = "test-key", .secret_key = "test/secret" };
    (void)state;
    struct vb_backend *b = make();
    struct vb_s3 *s = vb_s3_new(&p, NULL);
    unsigned before = count_uploads(s);
    p.prefix = "elsewhere";
    struct vb_s3 *other = vb_s3_new(&p, NULL);
    control("old-uploads", 0);
    begin_upload(s, "packs/aa/old");
    begin_upload(other, "packs/aa/old");
    control("clear", 0);
    begin_upload(s, "packs/aa/new");
    assert_int_equal(count_uploads(s), before + 102);
    vb_backend_sweep(b);
    assert_int_equal(count_uploads(s), before + 101); /* somebody may be sending the new one; the other is not ours */
    vb_s3_free(other);
    vb_s3_free(s);
    vb_backend_close(b);
}

int main(void)
{
    const struct backend_contract contract = { "backend_s3", make, again, NULL, true, false };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_documentation_is_signed_as_there),
        cmocka_unit_test(a_wrong_secret_is_refused_without_showing_it),
        cmocka_unit_test(another_time_is_got_over),
        cmocka_unit_test(a_server_without_exclusive_names_is_noticed),
        cmocka_unit_test(an_address_makes_one_object_once),
        cmocka_unit_test(damage_on_the_way_is_found_out),
        cmocka_unit_test(a_line_cut_at_any_request_is_mended),
        cmocka_unit_test(a_command_that_gives_up_has_lost_nothing),
        cmocka_unit_test(a_busy_server_is_asked_again),
        cmocka_unit_test(uploads_that_nobody_ends_are_swept_away),
    };
    signal(SIGPIPE, SIG_IGN);
    if (start_server() < 0) {
        printf("1..0 # SKIP no python3 for the scripted server\n");
        return 0;
    }
    int result = backend_contract_run(&contract, tests, VB_COUNT(tests));
    close(server_input);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    return result;
}
