/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_ext_hosts.c - calls of a replication block in a real writer host: bytes, failures, hangs, crashes. */
#include <config.h>
#include "tests/cm.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/io.h"
#include "base/text.h"
#include "replica/ext_hosts.h"
#include "vbackup/writer.h"

static char *dir;

static char *path_of(const char *name)
{
    return vb_path_join(dir, name);
}

static char *content_of(const char *name)
{
    VB_AUTO_FREE char *p = path_of(name);
    VB_AUTO_BUF b = VB_BUF_INIT;
    (void)vb_read_file_at(AT_FDCWD, p, 10 << 20, &b, NULL);
    return vb_buf_take_str(&b);
}

/* Sections a and b; `more` stands in a's. */
static struct vb_ext_hosts *hosts(const char *more)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *conf = path_of("vbackup.conf");
    VB_AUTO_FREE char *log = path_of("log");
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_strv names = { NULL, 0, 0 };
    vb_buf_addf(&b, "[writer a]\nmodule = recorder\nname = a\nlog = %s\ncontent = %s/a\n%s\n", log, dir, more);
    vb_buf_addf(&b, "[writer b]\nmodule = recorder-secret\nname = b\nlog = %s\ncontent = %s/b\n[writer c]\nmodule = null\n", log, dir);
    unlink(log);
    assert_ok(vb_write_file_at(AT_FDCWD, conf, b.data, b.len, 0600, &err));
    setenv("VBACKUP_CONFIG", conf, 1);
    vb_strv_add(&names, "a");
    vb_strv_add(&names, "b");
    vb_strv_add(&names, "c");
    struct vb_ext_hosts *x = vb_ext_hosts_new(NULL, dir, &names);
    vb_strv_clear(&names);
    return x;
}

static void facts(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_ext_facts a, b, c;
    struct vb_ext_hosts *x = hosts("");
    assert_ok(vb_ext_hosts_facts(x, "a", &a, &err));
    assert_ok(vb_ext_hosts_facts(x, "b", &b, &err));
    assert_ok(vb_ext_hosts_facts(x, "c", &c, &err));
    assert_true(a.replicates && b.replicates && !c.replicates);
    assert_int_equal(a.calls, 0x3e);
    assert_int_equal(a.flags, 0);
    assert_int_equal(b.flags, VB_REPLICATION_SECRET);
    assert_string_equal(a.class_id, b.class_id);
    assert_int_equal(vb_ext_hosts_facts(x, "other", &a, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_false(vb_ext_hosts_has(x, "other"));
    vb_ext_hosts_free(x);
}

static void bytes(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *big = vb_alloc(3000001), *a = path_of("a");
    unsigned char one[32], two[32];
    struct vb_ext_hosts *x = hosts("");
    for (size_t i = 0; i < 3000000; i++)
        big[i] = (char)('a' + (i * 7 + i / 999) % 26);
    assert_ok(vb_write_file_at(AT_FDCWD, a, big, 3000000, 0600, &err));
    VB_AUTO_FD int fd = vb_ext_payload_new(dir, &err);
    assert_true(fd >= 0);
    assert_ok(vb_ext_hosts_serialize(x, "a", 0, fd, &err));
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3000000);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct vb_ext_call c = { .writer = "b", .call = VB_REPL_DESERIALIZE, .in = fd };
    assert_ok(vb_ext_hosts_call(x, &c, &err));
    VB_AUTO_FREE char *is = content_of("b");
    assert_string_equal(is, big);
    assert_ok(vb_ext_hosts_signature(x, "a", 0, one, &err));
    assert_ok(vb_ext_hosts_signature(x, "b", 0, two, &err));
    assert_memory_equal(one, two, 32);
    c = (struct vb_ext_call){ .writer = "b", .call = VB_REPL_DESERIALIZE, .in = -1 };
    assert_ok(vb_ext_hosts_call(x, &c, &err));
    assert_ok(vb_ext_hosts_signature(x, "b", 0, two, &err));
    assert_memory_not_equal(one, two, 32);
    int again = dup(fd);
    vb_ext_payload_wipe(&fd);
    char left[16];
    assert_int_equal(pread(again, left, sizeof left, 1000), 16);
    for (size_t i = 0; i < sizeof left; i++)
        assert_int_equal(left[i], 0);
    close(again);
    vb_ext_hosts_free(x);
    unlink(a);
}

static void words(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_ext_hosts *x = hosts("fail = propagate2");
    struct vb_ext_call c = { .writer = "a", .call = VB_REPL_PROPAGATE, .target = "far:site", .differs = true, .in = -1 };
    assert_ok(vb_ext_hosts_call(x, &c, &err));
    c.call = VB_REPL_PROPAGATE2;
    c.differs = false;
    assert_int_equal(vb_ext_hosts_call(x, &c, &err), -1);
    assert_string_equal(err.text, "told to fail");
    assert_string_equal(err.hint, "tell it otherwise");
    vb_ext_hosts_free(x);
    VB_AUTO_FREE char *log = content_of("log");
    assert_string_equal(log, "a propagate far:site differs\na propagate2 far:site same\n");
}

static void t10_fixed_buffers(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned char one[32], two[32];
    VB_AUTO_FREE char *b = path_of("b");
    char want[5000];
    struct vb_ext_hosts *x = hosts("fixed = 5000");
    memset(want, 's', sizeof want);
    assert_ok(vb_write_file_at(AT_FDCWD, b, want, sizeof want, 0600, &err));
    assert_ok(vb_ext_hosts_signature(x, "a", 0, one, &err));
    assert_ok(vb_ext_hosts_signature(x, "b", 0, two, &err));
    assert_memory_equal(one, two, 32);
    vb_ext_hosts_free(x);
    VB_AUTO_FREE char *log = content_of("log");
    assert_string_equal(log, "a signature\na buffer 1024\na buffer 5000\nb signature\n");
    unlink(b);
}

static void t13_hang(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned char sum[32];
    struct vb_ext_hosts *x = hosts("hang = deserialize\ncrash = propagate");
    struct vb_ext_call c = { .writer = "a", .call = VB_REPL_DESERIALIZE, .limit_ms = 300, .in = -1 };
    assert_int_equal(vb_ext_hosts_call(x, &c, &err), -1);
    assert_int_equal(err.code, VB_E_WRITER_NOT_RESPONDING);
    assert_contains(err.text, "did not answer deserialize within 1 s and was killed");
    assert_ok(vb_ext_hosts_signature(x, "a", 0, sum, &err)); /* in a process that was started anew */
    c.call = VB_REPL_PROPAGATE;
    c.limit_ms = 0;
    assert_int_equal(vb_ext_hosts_call(x, &c, &err), -1);
    assert_contains(err.text, "ended in the middle of propagate");
    assert_ok(vb_ext_hosts_signature(x, "a", 0, sum, &err));
    vb_ext_hosts_free(x);
    x = hosts("fail = open");
    assert_int_equal(vb_ext_hosts_signature(x, "a", 0, sum, &err), -1);
    assert_string_equal(err.text, "told not to open");
    vb_ext_hosts_free(x);
}

static int refuse(void *arg, const void *p, size_t n, struct vb_error *err)
{
    (void)arg;
    (void)p;
    (void)n;
    return vb_fail(err, VB_E_NO_SPACE, "no room");
}

static void nobody_takes_it(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *a = path_of("a");
    unsigned char sum[32];
    struct vb_ext_hosts *x = hosts("");
    assert_ok(vb_write_file_at(AT_FDCWD, a, "text", 4, 0600, &err));
    const struct vb_ext_call c = { .writer = "a", .call = VB_REPL_SERIALIZE, .in = -1, .out = refuse };
    assert_int_equal(vb_ext_hosts_call(x, &c, &err), -1);
    assert_int_equal(err.code, VB_E_NO_SPACE);
    assert_ok(vb_ext_hosts_signature(x, "a", 0, sum, &err));
    vb_ext_hosts_free(x);
    unlink(a);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("what a writer says of its block", facts),
        CM_TEST("DSN-39 payload and signature travel whole, and the payload is wiped", bytes),
        CM_TEST("IIS-16 propagate and propagate2 hear target and flag", words),
        CM_TEST("REPL-T10 the shim for fixed buffers", t10_fixed_buffers),
        CM_TEST("REPL-T13 what hangs is killed, what dies is told, and it is started again", t13_hang),
        CM_TEST("bytes that nobody takes", nobody_takes_it),
    };
    dir = vb_strdup("/tmp/vbackup-ext-hosts.XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    int result = CM_RUN("ext_hosts", t);
    vb_remove_tree_at(AT_FDCWD, dir, NULL);
    free(dir);
    return result;
}
