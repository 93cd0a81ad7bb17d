/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/provider_contract.c - what every provider promises, through its real host process.
 *
 *     provider_contract NAME [--volume MOUNT --type FS --tree DIR] [-o KEY=VALUE]...
 *
 * Without a volume: a temporary directory of any file system.  The tree is filled, a set is made, the original is
 * changed, and what the shadow copy shows is compared with what was there before (for providers that make one).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/provider_host.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "providers/registry.h"
#include "wire/conn.h"
#include "wire/protocol.h"

static struct {
    const struct vb_provider *p;
    const char *mount, *fs_type;
    char *tree, *state;
    const char *options[16];
    size_t n_options;
    char *temp;
    bool copies; /* it makes something, unlike live and null */
} given;

struct peer {
    int fd;
    pid_t pid;
    struct vb_buf in;
    uint64_t next_id;
    struct vb_msg done; /* the last answer */
    enum vb_code code;
    char set[VB_GUID_LEN + 1], snap[VB_GUID_LEN + 1];
};

static void start(struct peer *p)
{
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    p->pid = fork();
    if (p->pid == 0) {
        close(s[0]);
        _exit(vb_provider_host_serve(given.p, s[1], given.state, given.options, given.n_options, NULL) < 0);
    }
    close(s[1]);
    p->fd = s[0];
    p->next_id = 1;
    vb_buf_reset(&p->in);
    VB_AUTO_MSG ready = VB_MSG_INIT(0);
    assert_int_equal(vb_msg_recv_fd(p->fd, &p->in, &ready, NULL), 0);
    assert_int_equal(ready.type, VB_M_P_READY);
    VB_AUTO_FREE char *name = vb_msg_str(&ready, VB_F_NAME);
    assert_string_equal(name, given.p->name);
    assert_false(vb_msg_has(&ready, VB_F_CODE));
}

static void stop(struct peer *p, bool killed)
{
    int status;
    if (killed)
        kill(p->pid, SIGKILL);
    close(p->fd);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    if (!killed)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    vb_buf_clear(&p->in);
    vb_msg_clear(&p->done);
}

static enum vb_code call_with(struct peer *p, const char *call, const char *set, const char *snap, bool volume,
                              const char *path)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_P_CALL);
    m.id = p->next_id++;
    vb_msg_add_str(&m, VB_F_CALL, call);
    vb_msg_add_str(&m, VB_F_SET, set);
    vb_msg_add_str(&m, VB_F_SNAPSHOT, snap);
    vb_msg_add_str(&m, VB_F_PATH, path);
    if (volume) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_PATH, given.mount);
        vb_msg_add_str(&g, VB_F_DEVICE, "/dev/none");
        vb_msg_add_str(&g, VB_F_FS_TYPE, given.fs_type);
        vb_msg_add_str(&g, VB_F_SUBVOLUME, given.mount);
        vb_msg_add_str(&g, VB_F_TREE, given.tree);
        vb_msg_add_group(&m, VB_F_VOLUME, &g);
    }
    assert_int_equal(vb_msg_send_fd(p->fd, &m, NULL), 0);
    do {
        vb_msg_clear(&p->done);
        assert_int_equal(vb_msg_recv_fd(p->fd, &p->in, &p->done, NULL), 0);
    } while (p->done.type == VB_M_W_LOG);
    assert_int_equal(p->done.type, VB_M_P_DONE);
    assert_int_equal(p->done.id, m.id);
    p->code = (enum vb_code)vb_msg_u64(&p->done, VB_F_CODE, VB_OK);
    if (p->code != VB_OK)
        assert_true(vb_msg_has(&p->done, VB_F_TEXT)); /* a refusal says why (S-37) */
    return p->code;
}

static enum vb_code step(struct peer *p, const char *call)
{
    return call_with(p, call, p->set, NULL, false, NULL);
}

static void new_ids(struct peer *p)
{
    vb_guid_new(p->set);
    vb_guid_new(p->snap);
}

static const char *const STEPS[] = { "end_prepare", "pre_commit", "commit", "post_commit", "pre_final", "post_final" };

static void must(struct peer *p, enum vb_code code, const char *what)
{
    if (code == VB_OK)
        return;
    VB_AUTO_FREE char *text = vb_msg_str(&p->done, VB_F_TEXT);
    fail_msg("%s: %s", what, text ? text : "?");
}

static void begin(struct peer *p)
{
    new_ids(p);
    must(p, call_with(p, "begin_prepare", p->set, p->snap, true, NULL), "begin_prepare");
}

static void make_set(struct peer *p, size_t steps)
{
    begin(p);
    for (size_t i = 0; i < steps; i++)
        must(p, step(p, STEPS[i]), STEPS[i]);
}

static char *ask_path(struct peer *p, const char *path)
{
    must(p, call_with(p, "snapshot_path", NULL, p->snap, false, path), "snapshot_path");
    return vb_msg_str(&p->done, VB_F_PATH);
}

static size_t known(struct peer *p)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *b;
    size_t n, count = 0;
    must(p, call_with(p, "query", NULL, NULL, false, NULL), "query");
    vb_field_iter_init(&it, &p->done);
    while (vb_field_next(&it, &tag, &b, &n))
        count += tag == VB_F_SNAPSHOT;
    return count;
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(vb_write_all(fd, text, strlen(text), NULL), 0);
    close(fd);
}

static void fill_tree(const char *text)
{
    VB_AUTO_FREE char *f = vb_path_join(given.tree, "file"), *d = vb_path_join(given.tree, "dir");
    VB_AUTO_FREE char *g = vb_path_join(given.tree, "dir/inner"), *l = vb_path_join(given.tree, "link");
    mkdir(given.tree, 0755);
    mkdir(d, 0751);
    unlink(l);
    write_text(f, text);
    write_text(g, text);
    assert_int_equal(symlink(text, l), 0);
    sync();
}

static void expect_text(const char *path, const char *text)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (vb_read_file_at(AT_FDCWD, path, 4096, &b, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(vb_buf_str(&b), text);
}

/* ---- the promises ---- */

static void supports_says_what_it_is_worth(void **state)
{
    struct peer p = { .fd = -1 };
    (void)state;
    start(&p);
    must(&p, call_with(&p, "supports", NULL, NULL, true, NULL), "supports");
    assert_int_equal(vb_msg_u64(&p.done, VB_F_SUPPORTED, 0), 1);
    assert_true(vb_msg_has(&p.done, VB_F_HOLD));
    assert_true(vb_msg_has(&p.done, VB_F_CONSISTENCY));
    if (vb_msg_u64(&p.done, VB_F_ATOMIC, 0) == 0 && given.copies)
        assert_int_equal(vb_msg_u64(&p.done, VB_F_CONSISTENCY, 0), VB_CONSISTENCY_NONE);
    stop(&p, false);
}

static void whole_sequence(void **state)
{
    struct peer p = { .fd = -1 };
    (void)state;
    fill_tree("before");
    start(&p);
    size_t had = known(&p);
    begin(&p);
    for (size_t i = 0; i < VB_COUNT(STEPS); i++) {
        must(&p, step(&p, STEPS[i]), STEPS[i]);
        if (!strcmp(STEPS[i], "commit"))
            fill_tree("after!");
        if (!strcmp(STEPS[i], "post_commit") && given.copies)
            assert_int_equal(vb_msg_u64(&p.done, VB_F_COUNT, 0), 1);
    }
    VB_AUTO_FREE char *tree = ask_path(&p, given.tree);
    const char *want = given.copies ? "before" : "after!";
    char target[16] = "";
    struct stat st;
    VB_AUTO_FREE char *f = vb_path_join(tree, "file"), *g = vb_path_join(tree, "dir/inner");
    VB_AUTO_FREE char *l = vb_path_join(tree, "link"), *d = vb_path_join(tree, "dir");
    expect_text(f, want);
    expect_text(g, want);
    assert_true(readlink(l, target, sizeof target - 1) > 0);
    assert_string_equal(target, want);
    assert_int_equal(stat(d, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    if (given.copies)
        assert_int_equal(known(&p), had + 1);
    must(&p, call_with(&p, "delete", NULL, p.snap, false, NULL), "delete");
    assert_int_equal(known(&p), had);
    if (given.copies)
        assert_int_equal(access(tree, F_OK), -1); /* S-23 */
    must(&p, call_with(&p, "delete", NULL, p.snap, false, NULL), "delete again");
    stop(&p, false);
}

/* A crashed owner's shadow copies are found and deleted by a fresh process (S-67). */
static void another_process_sweeps(void **state)
{
    (void)state;
    for (size_t killed_after = 0; killed_after <= VB_COUNT(STEPS); killed_after++) {
        struct peer p = { .fd = -1 }, q = { .fd = -1 };
        start(&p);
        make_set(&p, killed_after);
        stop(&p, true);
        start(&q);
        must(&q, call_with(&q, "delete", NULL, p.snap, false, NULL), "delete");
        assert_int_equal(known(&q), 0);
        stop(&q, false);
    }
}

static void order_is_kept(void **state)
{
    (void)state;
    for (size_t at = 0; at < VB_COUNT(STEPS); at++)
        for (size_t wrong = 0; wrong < VB_COUNT(STEPS); wrong++) {
            if (wrong == at)
                continue;
            struct peer p = { .fd = -1 };
            start(&p);
            make_set(&p, at);
            assert_int_equal(step(&p, STEPS[wrong]), VB_E_PROVIDER_VETO);
            assert_int_equal(step(&p, STEPS[at]), VB_E_PROVIDER_VETO); /* the set is gone */
            assert_int_equal(known(&p), 0);
            stop(&p, false);
        }
}

static void another_set_id_is_a_veto(void **state)
{
    struct peer p = { .fd = -1 };
    char other[VB_GUID_LEN + 1];
    (void)state;
    start(&p);
    make_set(&p, 1);
    vb_guid_new(other);
    assert_int_equal(call_with(&p, "pre_commit", other, NULL, false, NULL), VB_E_PROVIDER_VETO);
    assert_int_equal(step(&p, "pre_commit"), VB_E_PROVIDER_VETO);
    assert_int_equal(known(&p), 0);
    stop(&p, false);
}

static void new_set_drops_the_old(void **state)
{
    struct peer p = { .fd = -1 };
    (void)state;
    start(&p);
    make_set(&p, 3); /* up to commit: something is there */
    make_set(&p, VB_COUNT(STEPS));
    assert_true(known(&p) <= 1);
    must(&p, call_with(&p, "delete", NULL, p.snap, false, NULL), "delete");
    assert_int_equal(known(&p), 0);
    stop(&p, false);
}

static void abort_any_time(void **state)
{
    (void)state;
    for (size_t at = 0; at < VB_COUNT(STEPS); at++) {
        struct peer p = { .fd = -1 };
        start(&p);
        make_set(&p, at);
        must(&p, step(&p, "abort"), "abort");
        assert_int_equal(known(&p), 0);
        must(&p, step(&p, "abort"), "abort again");
        stop(&p, false);
    }
}

static void abort_after_created_is_ignored(void **state)
{
    struct peer p = { .fd = -1 };
    (void)state;
    start(&p);
    make_set(&p, VB_COUNT(STEPS));
    must(&p, step(&p, "abort"), "abort");
    if (given.copies) {
        VB_AUTO_FREE char *tree = ask_path(&p, given.tree);
        assert_int_equal(access(tree, F_OK), 0);
        assert_int_equal(known(&p), 1);
    }
    must(&p, call_with(&p, "delete", NULL, p.snap, false, NULL), "delete");
    stop(&p, false);
}

/* Unload during creation counts as abort (S-35); a complete set stays. */
static void end_of_file(void **state)
{
    struct peer p = { .fd = -1 };
    (void)state;
    start(&p);
    make_set(&p, 3);
    stop(&p, false);
    start(&p);
    assert_int_equal(known(&p), 0);
    make_set(&p, VB_COUNT(STEPS));
    stop(&p, false);
    struct peer q = { .fd = -1 };
    start(&q);
    assert_int_equal(known(&q), given.copies || !strcmp(given.p->name, "null") ? 1 : 0);
    must(&q, call_with(&q, "delete", NULL, p.snap, false, NULL), "delete");
    stop(&q, false);
}

static void unknown_calls_and_shadow_copies(void **state)
{
    struct peer p = { .fd = -1 };
    (void)state;
    start(&p);
    new_ids(&p);
    assert_int_equal(step(&p, "make_coffee"), VB_E_NOT_SUPPORTED);
    assert_int_not_equal(call_with(&p, "begin_prepare", p.set, p.snap, false, NULL), VB_OK);
    if (strcmp(given.p->name, "live") != 0)
        assert_int_equal(call_with(&p, "snapshot_path", NULL, p.snap, false, given.tree), VB_E_OBJECT_NOT_FOUND);
    must(&p, call_with(&p, "delete", NULL, p.snap, false, NULL), "delete of one that never was");
    stop(&p, false);
}

static void nothing_is_left(void **state)
{
    (void)state;
    VB_AUTO_FREE char *place = vb_path_join(given.mount, ".vbackup");
    assert_int_equal(access(place, F_OK), -1);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    given.p = argc > 1 ? vb_provider_find(argv[1]) : NULL;
    if (!given.p)
        return 2;
    given.temp = vb_strdup("/tmp/vb-contract-XXXXXX");
    if (!mkdtemp(given.temp))
        return 2;
    given.mount = given.temp;
    given.fs_type = "any";
    for (int i = 2; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--volume"))
            given.mount = argv[i + 1];
        else if (!strcmp(argv[i], "--type"))
            given.fs_type = argv[i + 1];
        else if (!strcmp(argv[i], "--tree"))
            given.tree = vb_strdup(argv[i + 1]);
        else if (!strcmp(argv[i], "-o") && given.n_options < VB_COUNT(given.options))
            given.options[given.n_options++] = argv[i + 1];
    }
    if (!given.tree)
        given.tree = vb_path_join(given.mount, "tree");
    given.copies = strcmp(given.p->name, "live") != 0 && strcmp(given.p->name, "null") != 0;
    given.state = vb_path_join(given.temp, "state");
    fill_tree("start");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(supports_says_what_it_is_worth),
        { "VSS-S-45 the whole sequence shows the instant, and delete ends it", whole_sequence, NULL, NULL, NULL },
        { "VSS-S-67 another process sweeps what a dead one left", another_process_sweeps, NULL, NULL, NULL },
        { "VSS-S-33 a call out of order is a veto and drops the set", order_is_kept, NULL, NULL, NULL },
        { "VSS-S-33 another set id is a veto", another_set_id_is_a_veto, NULL, NULL, NULL },
        { "VSS-S-32 a new set drops the old one", new_set_drops_the_old, NULL, NULL, NULL },
        { "abort at any time leaves nothing", abort_any_time, NULL, NULL, NULL },
        { "VSS-S-34 abort after created is ignored", abort_after_created_is_ignored, NULL, NULL, NULL },
        { "VSS-S-35 unload during creation counts as abort", end_of_file, NULL, NULL, NULL },
        { "unknown calls and shadow copies", unknown_calls_and_shadow_copies, NULL, NULL, NULL },
        cmocka_unit_test(nothing_is_left),
    };
    int rc = cmocka_run_group_tests_name(given.p->name, tests, NULL, NULL);
    vb_remove_tree_at(AT_FDCWD, given.temp, NULL);
    vb_free_ptr(&given.temp);
    vb_free_ptr(&given.tree);
    vb_free_ptr(&given.state);
    return rc;
}
