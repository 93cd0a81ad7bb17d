/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/provider_peer.c - see provider_peer.h.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/provider_host.h"
#include "base/io.h"
#include "tests/contract/provider_peer.h"
#include "wire/conn.h"

struct given given;
const char *const STEPS[N_STEPS] = { "end_prepare", "pre_commit", "commit", "post_commit", "pre_final", "post_final" };

void peer_start(struct peer *p)
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

void peer_stop(struct peer *p, bool killed)
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

void peer_send(struct peer *p, const char *call, const char *set, const char *snap, const struct given_volume *v,
               const char *path)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_P_CALL);
    m.id = p->next_id++;
    vb_msg_add_str(&m, VB_F_CALL, call);
    vb_msg_add_str(&m, VB_F_SET, set);
    vb_msg_add_str(&m, VB_F_SNAPSHOT, snap);
    vb_msg_add_str(&m, VB_F_PATH, path);
    if (v) {
        VB_AUTO_MSG g = VB_MSG_INIT(0);
        vb_msg_add_str(&g, VB_F_PATH, v->mount);
        vb_msg_add_str(&g, VB_F_DEVICE, v->device);
        vb_msg_add_str(&g, VB_F_FS_TYPE, v->fs_type);
        vb_msg_add_str(&g, VB_F_SUBVOLUME, v->subvolume);
        for (size_t i = 0; i < v->trees.n; i++)
            vb_msg_add_str(&g, VB_F_TREE, v->trees.v[i]);
        vb_msg_add_u64(&g, VB_F_ATTRIBUTES, given.attributes);
        vb_msg_add_group(&m, VB_F_VOLUME, &g);
    }
    assert_int_equal(vb_msg_send_fd(p->fd, &m, NULL), 0);
}

enum vb_code peer_call(struct peer *p, const char *call, const char *set, const char *snap,
                       const struct given_volume *v, const char *path)
{
    uint64_t id = p->next_id;
    peer_send(p, call, set, snap, v, path);
    do {
        vb_msg_clear(&p->done);
        if (vb_msg_recv_fd(p->fd, &p->in, &p->done, NULL) != 0)
            fail_msg("'%s': the provider's process is gone", call);
    } while (p->done.type == VB_M_W_LOG);
    assert_int_equal(p->done.type, VB_M_P_DONE);
    assert_int_equal(p->done.id, id);
    p->code = (enum vb_code)vb_msg_u64(&p->done, VB_F_CODE, VB_OK);
    if (p->code != VB_OK) { /* S-37 */
        VB_AUTO_FREE char *text = vb_msg_str(&p->done, VB_F_TEXT), *hint = vb_msg_str(&p->done, VB_F_HINT);
        if (!text || !text[0])
            fail_msg("'%s' was refused without a reason", call);
        if (!hint || !hint[0])
            fail_msg("'%s' was refused without a word on what to do: %s", call, text);
    }
    return p->code;
}

enum vb_code peer_step(struct peer *p, const char *call)
{
    bool hold = !strcmp(call, "commit");
    if (hold)
        freeze_volumes();
    enum vb_code c = peer_call(p, call, p->set, NULL, NULL, NULL);
    if (hold)
        thaw_volumes();
    return c;
}

void peer_new_ids(struct peer *p)
{
    vb_guid_new(p->set);
    for (size_t i = 0; i < given.n; i++)
        vb_guid_new(p->snap[i]);
}

void must(struct peer *p, enum vb_code code, const char *what)
{
    if (code == VB_OK)
        return;
    VB_AUTO_FREE char *text = vb_msg_str(&p->done, VB_F_TEXT);
    fail_msg("%s: %s", what, text ? text : "?");
}

void make_set(struct peer *p, size_t steps)
{
    peer_new_ids(p);
    for (size_t i = 0; i < given.n; i++)
        must(p, peer_call(p, "begin_prepare", p->set, p->snap[i], &given.v[i], NULL), "begin_prepare");
    for (size_t i = 0; i < steps; i++)
        must(p, peer_step(p, STEPS[i]), STEPS[i]);
}

char *peer_path(struct peer *p, size_t volume, const char *path)
{
    must(p, peer_call(p, "snapshot_path", NULL, p->snap[volume], NULL, path), "snapshot_path");
    return vb_msg_str(&p->done, VB_F_PATH);
}

static void known_ids(struct peer *p, struct vb_strv *ids)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *b;
    size_t n;
    must(p, peer_call(p, "query", NULL, NULL, NULL, NULL), "query");
    vb_field_iter_init(&it, &p->done);
    while (vb_field_next(&it, &tag, &b, &n))
        if (tag == VB_F_SNAPSHOT) {
            struct vb_msg g = vb_msg_view(b, n);
            vb_strv_take(ids, vb_msg_str(&g, VB_F_SNAPSHOT));
        }
}

size_t peer_known(struct peer *p)
{
    struct vb_strv ids = { NULL, 0, 0 };
    known_ids(p, &ids);
    size_t n = ids.n;
    vb_strv_clear(&ids);
    return n;
}

void peer_delete_known(struct peer *p)
{
    struct vb_strv ids = { NULL, 0, 0 };
    known_ids(p, &ids);
    for (size_t i = 0; i < ids.n; i++)
        must(p, peer_call(p, "delete", NULL, ids.v[i], NULL, NULL), "delete");
    vb_strv_clear(&ids);
}

void peer_delete_set(struct peer *p)
{
    for (size_t i = 0; i < given.n; i++)
        must(p, peer_call(p, "delete", NULL, p->snap[i], NULL, NULL), "delete");
}

/* ---- freezing ---- */

static bool to_be_frozen(const struct given_volume *v)
{
    return v->hold == VB_HOLD_FREEZE && !given.pretend_freeze && !v->absent;
}

void freeze_volumes(void)
{
    for (size_t i = given.n; i-- > 0;) {
        struct given_volume *v = &given.v[i];
        v->fd = to_be_frozen(v) ? open(v->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (v->fd >= 0 && ioctl(v->fd, FIFREEZE, 0) < 0 && errno != EBUSY) /* EBUSY: the same one, mounted twice */
            fail_msg("'%s' cannot be frozen: %s", v->mount, strerror(errno));
    }
}

void thaw_volumes(void)
{
    for (size_t i = 0; i < given.n; i++)
        if (to_be_frozen(&given.v[i]) && given.v[i].fd >= 0) {
            ioctl(given.v[i].fd, FITHAW, 0);
            close(given.v[i].fd);
            given.v[i].fd = -1;
        }
}

/* ---- content ---- */

void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        fail_msg("'%s': %s", path, strerror(errno));
    assert_int_equal(vb_write_all(fd, text, strlen(text), NULL), 0);
    close(fd);
}

static void fill_tree(const char *dir, const char *text, bool after)
{
    VB_AUTO_FREE char *f = vb_path_join(dir, "file"), *d = vb_path_join(dir, "dir");
    VB_AUTO_FREE char *g = vb_path_join(dir, "dir/inner"), *l = vb_path_join(dir, "link");
    VB_AUTO_FREE char *gone = vb_path_join(dir, "gone"), *fresh = vb_path_join(dir, "fresh");
    mkdir(dir, 0755);
    mkdir(d, 0751);
    unlink(l);
    write_text(f, text);
    write_text(g, text);
    assert_int_equal(symlink(text, l), 0);
    unlink(after ? gone : fresh);
    write_text(after ? fresh : gone, text);
}

void fill_volumes(const char *text, bool after)
{
    for (size_t i = 0; i < given.n; i++) {
        const struct given_volume *v = &given.v[i];
        for (size_t k = 0; k < v->trees.n && !v->absent; k++)
            fill_tree(v->trees.v[k], text, after);
        for (size_t k = 0; k < v->also.n && !v->absent; k++)
            fill_tree(v->also.v[k], text, after);
        int fd = v->absent ? -1 : open(v->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            syncfs(fd);
            close(fd);
        }
    }
}

static void expect_text(const char *path, const char *text)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (vb_read_file_at(AT_FDCWD, path, 4096, &b, &err) < 0)
        fail_msg("%s", err.text);
    if (strcmp(vb_buf_str(&b), text) != 0)
        fail_msg("'%s' holds '%s', not '%s'", path, vb_buf_str(&b), text);
}

void expect_tree(const char *dir, const char *text, bool after)
{
    VB_AUTO_FREE char *f = vb_path_join(dir, "file"), *d = vb_path_join(dir, "dir");
    VB_AUTO_FREE char *g = vb_path_join(dir, "dir/inner"), *l = vb_path_join(dir, "link");
    VB_AUTO_FREE char *gone = vb_path_join(dir, "gone"), *fresh = vb_path_join(dir, "fresh");
    char target[16] = "";
    struct stat st;
    expect_text(f, text);
    expect_text(g, text);
    expect_text(after ? fresh : gone, text);
    if (lstat(after ? gone : fresh, &st) == 0)
        fail_msg("'%s' is there", after ? gone : fresh);
    assert_true(readlink(l, target, sizeof target - 1) > 0);
    assert_string_equal(target, text);
    assert_int_equal(stat(d, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
}

char *watched(void)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    int out[2], status;
    if (!given.watch)
        return vb_strdup("");
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        execl("/bin/sh", "sh", "-c", given.watch, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char part[4096];
    for (ssize_t n; (n = read(out[0], part, sizeof part)) > 0;)
        vb_buf_add(&b, part, (size_t)n);
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return vb_strdup(vb_buf_str(&b));
}
