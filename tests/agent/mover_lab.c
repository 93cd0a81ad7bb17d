/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/mover_lab.c - a place to capture and restore in.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/capture.h"
#include "agent/restore.h"
#include "base/io.h"
#include "base/loop.h"
#include "base/rng.h"
#include "requester/serve_restore.h"
#include "tests/agent/mover_listing.h"
#include "wire/conn.h"

static struct vb_strv kept;

/* Restores sync their file system; that is memory unless the caller wants a real one (TMPDIR). */
static const char *scratch(void)
{
    struct statvfs fs;
    const char *tmp = getenv("TMPDIR");
    if (tmp && tmp[0])
        return tmp;
    bool room = statvfs("/dev/shm", &fs) == 0 && access("/dev/shm", W_OK) == 0 &&
                (uint64_t)fs.f_bavail * fs.f_frsize > (uint64_t)2 << 30;
    return room ? "/dev/shm" : "/tmp";
}

void lab_open(struct lab *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    memset(l, 0, sizeof *l);
    l->dir = vb_printf("%s/vb-mover-XXXXXX", scratch());
    assert_non_null(mkdtemp(l->dir));
    l->fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    l->files = vb_backend_memory_new();
    assert_int_equal(vb_repo_init_on(l->files, NULL, 1000, &err), 0);
    l->repo = vb_repo_open_on(vb_backend_memory_share(l->files), VB_REPO_WRITE, &err);
    assert_non_null(l->repo);
    assert_int_equal(vb_repo_lock(l->repo, 1000, &err), 0);
    signal(SIGPIPE, SIG_IGN);
}

void lab_reopen(struct lab *l)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_repo_close(l->repo);
    l->repo = vb_repo_open_on(vb_backend_memory_share(l->files), VB_REPO_WRITE, &err);
    assert_non_null(l->repo);
    assert_int_equal(vb_repo_lock(l->repo, 1000, &err), 0);
}

void lab_fakes_clear(struct lab *l)
{
    while (l->n_fakes)
        vb_buf_clear(&l->fakes[--l->n_fakes].bytes);
}

static void forget(struct lab *l)
{
    vb_msg_clear(&l->reply);
    vb_error_clear(&l->end);
    vb_strv_clear(&l->warned);
    l->progress = 0;
}

void lab_close(struct lab *l)
{
    forget(l);
    lab_fakes_clear(l);
    vb_free_ptr(&l->fakes);
    vb_repo_close(l->repo);
    vb_backend_close(l->files);
    close(l->fd);
    int tmp = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    vb_remove_tree_at(tmp, l->dir + 1, NULL);
    close(tmp);
    vb_free_ptr(&l->dir);
    vb_strv_clear(&kept);
}

int lab_setup(void **state)
{
    struct lab *l = vb_alloc(sizeof *l);
    lab_open(l);
    *state = l;
    return 0;
}

int lab_teardown(void **state)
{
    struct lab *l = *state;
    lab_close(l);
    vb_free_ptr(&l);
    return 0;
}

/* ---- files ---- */

void lab_mkdir(struct lab *l, const char *path, mode_t mode)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(vb_mkdirs_at(l->fd, path, mode, &err), 0);
}

void lab_file(struct lab *l, const char *path, const void *p, size_t n)
{
    VB_AUTO_FD int fd = openat(l->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(vb_write_all(fd, p, n, NULL), 0);
}

void lab_text(struct lab *l, const char *path, const char *text)
{
    lab_file(l, path, text, strlen(text));
}

void lab_noise(struct lab *l, const char *path, size_t n, uint64_t seed)
{
    VB_AUTO_FREE uint64_t *p = vb_alloc(n + 8);
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n / 8 + 1; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = x;
    }
    lab_file(l, path, p, n);
}

char *lab_path(struct lab *l, const char *path)
{
    char *s = path[0] ? vb_printf("%s/%s", l->dir, path) : vb_strdup(l->dir);
    vb_strv_take(&kept, s);
    return s;
}

bool lab_exists(struct lab *l, const char *path)
{
    return faccessat(l->fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

char *lab_read(struct lab *l, const char *path)
{
    struct vb_buf b = VB_BUF_INIT;
    if (vb_read_file_at(l->fd, path, 64u << 20, &b, NULL) < 0) {
        vb_buf_clear(&b);
        return NULL;
    }
    return vb_buf_take_str(&b);
}

/* ---- one run ---- */

struct run {
    struct lab *l;
    struct vb_loop *loop;
    struct vb_conn *worker;
    struct vb_ingest *ingest;
    struct vb_serve_restore *serve;
    struct vb_conn *fake;
    bool replied, ended;
};

static void on_reply(void *arg, struct vb_msg *m)
{
    struct run *r = arg;
    if (m->type == VB_M_PROGRESS)
        r->l->progress++;
    if (m->type != VB_M_REPLY)
        return;
    r->l->reply.type = m->type;
    vb_buf_add(&r->l->reply.body, m->body.data, m->body.len);
    r->replied = true;
}

static void on_worker_close(void *arg, const struct vb_error *why VB_UNUSED)
{
    struct run *r = arg;
    r->replied = true;
}

static void on_warn(void *arg, const char *path, const struct vb_error *what)
{
    struct run *r = arg;
    vb_strv_take(&r->l->warned, vb_printf("%s: %s", path, vb_code_name(what->code)));
}

static void on_end(void *arg, const struct vb_error *why)
{
    struct run *r = arg;
    vb_error_copy(&r->l->end, why);
    if (r->ingest)
        vb_ingest_stats(r->ingest, &r->l->stats);
    if (r->serve)
        vb_serve_restore_stats(r->serve, &r->l->gets, &r->l->get_bytes);
    r->ended = true;
    vb_ingest_free(r->ingest);
    vb_serve_restore_free(r->serve);
    r->ingest = NULL;
    r->serve = NULL;
}

static const struct vb_conn_handler worker_handler = { on_reply, on_worker_close, NULL };

/* Between the process and the requester, when the stream is to be cut: passes whole messages, then ends. */
static int cutter(int from_process, int to_requester, uint64_t messages)
{
    VB_AUTO_BUF up = VB_BUF_INIT, down = VB_BUF_INIT;
    pid_t pid = fork();
    if (pid == 0) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        while (vb_msg_recv_fd(to_requester, &down, &m, NULL) == 0) {
            vb_msg_send_fd(from_process, &m, NULL);
            vb_msg_clear(&m);
        }
        _exit(0);
    }
    for (uint64_t i = 0; i < messages; i++) {
        VB_AUTO_MSG m = VB_MSG_INIT(0);
        if (vb_msg_recv_fd(from_process, &up, &m, NULL) != 0 || vb_msg_send_fd(to_requester, &m, NULL) < 0)
            break;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return 0;
}

/* ---- a requester that says what the test wants ---- */

struct vb_name lab_fake(struct lab *l, enum vb_chunk_type type, const void *p, size_t n, const struct vb_name *as)
{
    struct vb_namer *namer = vb_namer_new(vb_repo_info(l->repo)->naming_key);
    VB_GROW(l->fakes, l->n_fakes, l->cap_fakes);
    struct lab_fake *f = &l->fakes[l->n_fakes++];
    memset(f, 0, sizeof *f);
    f->type = type;
    vb_buf_add(&f->bytes, p, n);
    vb_namer_name(namer, type, p, n, &f->name);
    if (as)
        f->name = *as;
    vb_namer_free(namer);
    return f->name;
}

int lab_fake_emit(void *lab, enum vb_chunk_type type, const void *p, size_t n, struct vb_name *name,
                  struct vb_error *err VB_UNUSED)
{
    *name = lab_fake(lab, type, p, n, NULL);
    return 0;
}

static const struct lab_fake *find_fake(const struct lab *l, const struct vb_msg *m)
{
    const unsigned char *p;
    size_t n;
    for (size_t i = l->n_fakes; i-- > 0;)
        if (vb_msg_bytes(m, VB_F_CHUNK_NAME, &p, &n) && n == VB_NAME_LEN && !memcmp(p, l->fakes[i].name.b, n) &&
            vb_msg_u64(m, VB_F_CHUNK_TYPE, 0) == l->fakes[i].type)
            return &l->fakes[i];
    return NULL;
}

static void on_fake_msg(void *arg, struct vb_msg *m)
{
    struct run *r = arg;
    if (m->type == VB_M_DATA_END) {
        struct vb_msg ok = VB_MSG_INIT(VB_M_DATA_OK);
        vb_conn_send(r->fake, &ok);
        r->ended = true;
    }
    if (m->type == VB_M_WARN) {
        VB_AUTO_FREE char *path = vb_msg_str(m, VB_F_PATH);
        VB_AUTO_ERROR what = VB_ERROR_INIT;
        vb_msg_error(m, &what);
        on_warn(r, path, &what);
    }
    if (m->type != VB_M_GET)
        return;
    const struct lab_fake *f = find_fake(r->l, m);
    VB_AUTO_MSG reply = VB_MSG_INIT(VB_M_CHUNK);
    VB_AUTO_ERROR e = VB_ERROR_INIT;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    const unsigned char *p;
    size_t n;
    struct vb_name name;
    reply.id = m->id;
    r->l->gets++;
    vb_msg_bytes(m, VB_F_CHUNK_NAME, &p, &n);
    memcpy(name.b, p, VB_NAME_LEN);
    if (f && f->error != VB_OK)
        vb_fail(&e, f->error, "told to fail");
    else if (f)
        vb_buf_add(&bytes, f->bytes.data, f->bytes.len);
    else
        vb_repo_get(r->l->repo, (enum vb_chunk_type)vb_msg_u64(m, VB_F_CHUNK_TYPE, 0), &name, &bytes, &e);
    if (e.code != VB_OK) {
        vb_msg_add_error(&reply, &e);
    } else {
        vb_msg_add_u64(&reply, VB_F_SIZE, bytes.len);
        vb_msg_add_u64(&reply, VB_F_COMP, VB_ENC_RAW);
        vb_msg_add(&reply, VB_F_BYTES, bytes.data, bytes.len);
    }
    vb_conn_send(r->fake, &reply);
}

static void on_fake_close(void *arg, const struct vb_error *why VB_UNUSED)
{
    struct run *r = arg;
    r->ended = true;
}

static const struct vb_conn_handler fake_handler = { on_fake_msg, on_fake_close, NULL };

static void run_mover(struct lab *l, bool capture, const struct vb_msg *request)
{
    struct run r = { .l = l };
    int worker[2], data[2], cut[2] = { -1, -1 };
    pid_t cut_pid = 0;
    forget(l);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, worker), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, data), 0);
    if (l->cut_after) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, cut), 0);
        cut_pid = fork();
        if (cut_pid == 0) {
            close(worker[0]);
            close(worker[1]);
            close(data[0]);
            close(cut[1]);
            _exit(cutter(cut[0], data[1], l->cut_after));
        }
        close(cut[0]);
        close(data[1]);
        data[1] = cut[1];
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        close(worker[0]);
        close(data[0]);
        if (l->as_nobody && (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                             setresuid(65534, 65534, 65534) < 0))
            _exit(2);
        if (l->max_files && setrlimit(RLIMIT_NOFILE, &(struct rlimit){ l->max_files, l->max_files }) < 0)
            _exit(2);
        int rc = capture ? vb_capture_serve(worker[1], data[1], l->looks, &err) : vb_restore_serve(worker[1], data[1], &err);
        vb_error_clear(&err);
        exit(rc < 0 ? 1 : 0); /* not _exit: a leak checker looks here */
    }
    close(worker[1]);
    close(data[1]);
    r.loop = vb_loop_new();
    r.worker = vb_conn_fd(r.loop, worker[0], worker[0]);
    vb_conn_set_handler(r.worker, &worker_handler, &r);
    struct vb_conn *c = vb_conn_fd(r.loop, data[0], data[0]);
    vb_conn_set_name(c, "lab");
    if (capture) {
        struct vb_ingest_handler h = { NULL, on_warn, on_end };
        r.ingest = vb_ingest_new(c, l->repo, 0, &h, &r);
    } else if (l->n_fakes) {
        l->gets = 0;
        r.fake = c;
        vb_conn_set_handler(c, &fake_handler, &r);
    } else {
        struct vb_serve_restore_handler h = { NULL, on_warn, on_end };
        r.serve = vb_serve_restore_new(c, l->repo, NULL, NULL, 0, &h, &r);
    }
    vb_conn_send(r.worker, request);
    if (l->meanwhile)
        l->meanwhile(l, pid);
    while (!r.replied || !r.ended)
        vb_loop_turn(r.loop, 1000);
    vb_conn_free(r.worker);
    vb_conn_free(r.fake);
    vb_loop_free(r.loop);
    struct rusage used;
    wait4(pid, &l->status, 0, &used);
    l->max_rss_kb = used.ru_maxrss;
    assert_true(WIFEXITED(l->status) && WEXITSTATUS(l->status) <= 1);
    if (cut_pid)
        waitpid(cut_pid, NULL, 0);
    l->cut_after = 0;
    l->meanwhile = NULL;
    l->as_nobody = false;
    l->max_files = 0;
}

/* ---- requests ---- */

struct vb_msg lab_component(const char *name)
{
    struct vb_msg m = VB_MSG_INIT(0);
    vb_msg_add_str(&m, VB_F_CLASS, "6f5b15b5-da24-4d88-b737-63063e3a1f86");
    vb_msg_add_str(&m, VB_F_NAME, name);
    vb_msg_add_u64(&m, VB_F_CONSISTENCY, VB_CONSISTENCY_CRASH);
    return m;
}

void lab_fileset(struct lab *l, struct vb_msg *comp, const char *path, const char *read_path, const char *filespec,
                 bool recursive, bool live)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, lab_path(l, path));
    if (read_path)
        vb_msg_add_str(&g, VB_F_READ_PATH, lab_path(l, read_path));
    vb_msg_add_str(&g, VB_F_FILESPEC, filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, recursive);
    vb_msg_add_u64(&g, VB_F_LIVE, live);
    vb_msg_add_group(comp, VB_F_FILESET, &g);
}

void lab_fileset_rules(struct lab *l, struct vb_msg *comp, const char *path, const char *filespec,
                       const char *const *rules, size_t n)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, lab_path(l, path));
    vb_msg_add_str(&g, VB_F_FILESPEC, filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, 1);
    vb_msg_add_u64(&g, VB_F_LIVE, 1);
    for (size_t i = 0; i < n; i++)
        vb_msg_add_str(&g, VB_F_LEAVE_OUT, rules[i]);
    vb_msg_add_group(comp, VB_F_FILESET, &g);
}

void lab_exclude(struct lab *l, struct vb_msg *comp, const char *path, const char *filespec, bool recursive)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, lab_path(l, path));
    vb_msg_add_str(&g, VB_F_FILESPEC, filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, recursive);
    vb_msg_add_group(comp, VB_F_EXCLUDE, &g);
}

void lab_capture(struct lab *l, struct vb_msg *comps, size_t n)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_CAPTURE);
    vb_msg_add_u64(&m, VB_F_NO_DETECTOR, l->no_detector);
    if (l->wall_ms)
        vb_msg_add_u64(&m, VB_F_WALL_MS, l->wall_ms);
    vb_ingest_add_keys(&m, l->repo, 0);
    for (size_t i = 0; i < n; i++) {
        vb_msg_add_group(&m, VB_F_COMPONENT, &comps[i]);
        vb_msg_clear(&comps[i]);
    }
    run_mover(l, true, &m);
}

void lab_capture_tree(struct lab *l, const char *path)
{
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, path, NULL, "*", true, false);
    lab_capture(l, &c, 1);
}

static bool component(struct lab *l, size_t i, struct vb_msg *out)
{
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, &l->reply);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag == VB_F_COMPONENT && i-- == 0) {
            *out = vb_msg_view(p, n);
            return true;
        }
    return false;
}

enum vb_code lab_code(struct lab *l, size_t i)
{
    struct vb_msg c;
    if (vb_msg_has(&l->reply, VB_F_CODE))
        return (enum vb_code)vb_msg_u64(&l->reply, VB_F_CODE, 0);
    assert_true(component(l, i, &c));
    return (enum vb_code)vb_msg_u64(&c, VB_F_CODE, VB_OK);
}

char *lab_error(struct lab *l, size_t i)
{
    struct vb_msg c;
    if (vb_msg_has(&l->reply, VB_F_CODE))
        return vb_msg_str(&l->reply, VB_F_TEXT);
    assert_true(component(l, i, &c));
    char *s = vb_msg_str(&c, VB_F_TEXT);
    return s ? s : vb_strdup("");
}

uint64_t lab_u64(struct lab *l, size_t i, uint16_t tag)
{
    struct vb_msg c;
    assert_true(component(l, i, &c));
    return vb_msg_u64(&c, tag, UINT64_MAX);
}

bool lab_root(struct lab *l, size_t i, size_t j, struct lab_root *out)
{
    struct vb_msg c;
    struct vb_field_iter it;
    uint16_t tag;
    const unsigned char *p;
    size_t n;
    memset(out, 0, sizeof *out);
    if (!component(l, i, &c))
        return false;
    vb_field_iter_init(&it, &c);
    while (vb_field_next(&it, &tag, &p, &n))
        if (tag == VB_F_ROOT && j-- == 0) {
            struct vb_msg g = vb_msg_view(p, n);
            if (vb_msg_bytes(&g, VB_F_CHUNK_NAME, &p, &n) && n == VB_NAME_LEN)
                memcpy(out->name.b, p, n);
            out->files = vb_msg_u64(&g, VB_F_FILES, 0);
            out->dirs = vb_msg_u64(&g, VB_F_DIRS, 0);
            out->bytes = vb_msg_u64(&g, VB_F_BYTES, 0);
            out->files_read = vb_msg_u64(&g, VB_F_FILES_READ, 0);
            VB_AUTO_FREE char *how = vb_msg_str(&g, VB_F_DETECTOR);
            snprintf(out->detector, sizeof out->detector, "%s", how ? how : "");
            return true;
        }
    return false;
}

bool lab_warned(struct lab *l, const char *path_end, enum vb_code code)
{
    VB_AUTO_FREE char *want = vb_printf("%s: %s", path_end, vb_code_name(code));
    for (size_t i = 0; i < l->warned.n; i++) {
        size_t a = strlen(l->warned.v[i]), b = strlen(want);
        if (a >= b && !strcmp(l->warned.v[i] + a - b, want))
            return true;
    }
    return false;
}

void lab_restore_root(struct lab *l, struct vb_msg *comp, const struct vb_name *name, const char *target,
                      const char *filespec, bool recursive, const char *source)
{
    VB_AUTO_MSG g = VB_MSG_INIT(0);
    vb_msg_add_str(&g, VB_F_PATH, "/as/it/was");
    vb_msg_add_str(&g, VB_F_FILESPEC, filespec);
    vb_msg_add_u64(&g, VB_F_RECURSIVE, recursive);
    vb_msg_add(&g, VB_F_CHUNK_NAME, name->b, sizeof name->b);
    vb_msg_add_str(&g, VB_F_TARGET, lab_path(l, target));
    vb_msg_add_str(&g, VB_F_SOURCE, source);
    vb_msg_add_group(comp, VB_F_ROOT, &g);
}

void lab_restore(struct lab *l, struct vb_msg *comps, size_t n, unsigned flags)
{
    VB_AUTO_MSG m = VB_MSG_INIT(VB_M_RESTORE_FILES);
    if (!(flags & LAB_NO_KEY))
        vb_msg_add(&m, VB_F_NAMING_KEY, vb_repo_info(l->repo)->naming_key, VB_CHUNK_KEY_LEN);
    vb_msg_add_u64(&m, VB_F_OVERWRITE, flags & LAB_OVERWRITE ? 1 : 0);
    vb_msg_add_u64(&m, VB_F_KEEP_OWNER, flags & LAB_KEEP_OWNER ? 1 : 0);
    vb_msg_add_u64(&m, VB_F_COUNT, flags & LAB_RESUME ? 2 : 1);
    if (flags & LAB_VERIFY)
        vb_msg_add_u64(&m, VB_F_VERIFY, 1);
    if (l->base)
        vb_msg_add_str(&m, VB_F_TARGET, lab_path(l, l->base));
    for (size_t i = 0; i < n; i++) {
        vb_msg_add_group(&m, VB_F_COMPONENT, &comps[i]);
        vb_msg_clear(&comps[i]);
    }
    run_mover(l, false, &m);
}

void lab_restore_tree(struct lab *l, const struct vb_name *name, const char *target, unsigned flags)
{
    struct vb_msg c = lab_component("c");
    lab_restore_root(l, &c, name, target, NULL, true, NULL);
    lab_restore(l, &c, 1, flags);
}

char *lab_listing(struct lab *l, const char *path, bool times)
{
    return listing_of(lab_path(l, path), times);
}
