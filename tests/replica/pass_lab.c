/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/pass_lab.c - the source's half runs in a thread of its own, as it would in a process of its own. */
#include <config.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"

int64_t lab_now_ms = 1700000000000;
static char *last_error;

static int64_t lab_clock(void *arg)
{
    (void)arg;
    return lab_now_ms;
}

char *lab_path(struct lab *l, size_t at, const char *path)
{
    return vb_printf("%s/t%zu/%s", l->dir, at, path);
}

struct vb_place_setup lab_setup(struct lab *l, size_t at)
{
    static char *dirs[LAB_MAX];
    free(dirs[at]);
    dirs[at] = vb_printf("%s/s%zu", l->dir, at);
    return (struct vb_place_setup){ .state_dir = dirs[at], .store = { .machine = "m", .now_ms = lab_clock } };
}

void lab_open(struct lab *l, size_t n)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    char guid[37] = "";
    struct vb_scope_settings set = l->settings;
    const char *tmp = getenv("TMPDIR");
    *l = (struct lab){ .n = n, .dir = vb_printf("%s/vbackup-pass.XXXXXX", tmp ? tmp : "/tmp") };
    l->settings = set.interval_s ? set : vb_scope_defaults();
    assert_non_null(mkdtemp(l->dir));
    for (size_t i = 0; i < n; i++) {
        struct vb_place_setup s = lab_setup(l, i);
        VB_AUTO_FREE char *root = vb_printf("%s/t%zu", l->dir, i);
        assert_ok(vb_place_add(&s, "web", root, *guid ? guid : NULL, true, &l->settings, &err));
        VB_AUTO_PLACE *p = lab_place(l, i);
        memcpy(guid, p->scope.guid, sizeof guid);
    }
}

void lab_close(struct lab *l)
{
    vb_remove_tree_at(AT_FDCWD, l->dir, NULL);
    vb_free_ptr(&l->dir);
    vb_buf_clear(&l->actions);
    vb_free_ptr(&last_error);
    l->settings = (struct vb_scope_settings){ .filter = NULL };
}

struct vb_place *lab_place(struct lab *l, size_t at)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_place_setup s = lab_setup(l, at);
    struct vb_place *p = NULL;
    assert_ok(vb_place_open(&s, "web", &p, &err));
    return p;
}

/* ---- trees ---- */

void lab_write(struct lab *l, size_t at, const char *path, const char *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *full = lab_path(l, at, path);
    const char *slash = strrchr(full, '/');
    VB_AUTO_FREE char *dir = vb_strndup(full, (size_t)(slash - full));
    assert_ok(vb_mkdirs_at(AT_FDCWD, dir, 0755, &err));
    VB_AUTO_FILE FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
}

void lab_mtime(struct lab *l, size_t at, const char *path, int64_t sec)
{
    VB_AUTO_FREE char *full = lab_path(l, at, path);
    const struct timespec t[2] = { { .tv_sec = sec }, { .tv_sec = sec } };
    assert_int_equal(utimensat(AT_FDCWD, full, t, AT_SYMLINK_NOFOLLOW), 0);
}

void lab_remove(struct lab *l, size_t at, const char *path)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_FREE char *full = lab_path(l, at, path);
    assert_ok(vb_remove_tree_at(AT_FDCWD, full, &err));
}

char *lab_read(struct lab *l, size_t at, const char *path)
{
    VB_AUTO_FREE char *full = lab_path(l, at, path);
    VB_AUTO_BUF b = VB_BUF_INIT;
    return vb_read_file_at(AT_FDCWD, full, 1u << 30, &b, NULL) < 0 ? NULL : vb_buf_take_str(&b);
}

static struct vb_strv found;
static size_t skip;

static int visit(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)type;
    if (w->level == 0)
        return 0;
    const char *rel = path + skip;
    if (!strncmp(rel, VB_PLACE_DIR, strlen(VB_PLACE_DIR)))
        return 0;
    if (S_ISDIR(st->st_mode)) {
        vb_strv_take(&found, vb_printf("%s/", rel));
    } else if (S_ISLNK(st->st_mode)) {
        char target[256];
        ssize_t n = readlink(path, target, sizeof target - 1);
        vb_strv_take(&found, vb_printf("%s->%.*s", rel, (int)n, target));
    } else if (!S_ISREG(st->st_mode)) {
        vb_strv_take(&found, vb_printf("%s|%o", rel, (unsigned)st->st_mode));
    } else {
        VB_AUTO_BUF b = VB_BUF_INIT;
        vb_read_file_at(AT_FDCWD, path, 1u << 30, &b, NULL);
        vb_strv_take(&found, vb_printf("%s=%.60s", rel, vb_buf_str(&b)));
    }
    return 0;
}

char *lab_tree(struct lab *l, size_t at)
{
    VB_AUTO_FREE char *root = vb_printf("%s/t%zu", l->dir, at);
    VB_AUTO_BUF out = VB_BUF_INIT;
    skip = strlen(root) + 1;
    assert_int_equal(nftw(root, visit, 30, FTW_PHYS), 0);
    vb_strv_sort(&found);
    for (size_t i = 0; i < found.n; i++)
        vb_buf_addf(&out, "%s ", found.v[i]);
    vb_strv_clear(&found);
    return vb_buf_take_str(&out);
}

size_t lab_count(struct lab *l, size_t at, const char *part)
{
    VB_AUTO_FREE char *tree = lab_tree(l, at);
    size_t n = 0;
    for (const char *p = tree; (p = strstr(p, part)); p++)
        n++;
    return n;
}

static size_t thrown;
static int count_file(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)path, (void)type, (void)w;
    thrown += !S_ISDIR(st->st_mode);
    return 0;
}

size_t lab_trash(struct lab *l, size_t at)
{
    VB_AUTO_FREE char *path = lab_path(l, at, VB_PLACE_DIR "/trash");
    thrown = 0;
    nftw(path, count_file, 30, FTW_PHYS);
    return thrown;
}

uint64_t lab_tick(struct lab *l, size_t at)
{
    VB_AUTO_PLACE *p = lab_place(l, at);
    return vb_replica_tick(p->store);
}

/* ---- passes ---- */

struct half {
    struct vb_place *p;
    struct vb_rstream s;
    struct vb_pass_options o;
    struct vb_pass_result r;
    struct vb_error err;
    int rc;
};

static void *source(void *arg)
{
    struct half *h = arg;
    h->rc = vb_pass_send(h->p, &h->s, &h->o, &h->r, &h->err);
    if (h->rc < 0)
        shutdown(h->s.out, SHUT_WR);
    return NULL;
}

static void add_action(void *arg, enum vb_action a, const char *path, const char *other)
{
    struct lab *l = arg;
    vb_buf_addf(&l->actions, "%s %s%s%s; ", vb_action_word(a), path, other ? " " : "", other ? other : "");
}

const char *lab_error(void)
{
    return last_error ? last_error : "";
}

enum vb_code lab_pass(struct lab *l, size_t from, size_t to, const struct vb_pass_options *o, struct vb_pass_result *r)
{
    static const struct vb_pass_options defaults = VB_PASS_OPTIONS_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_PLACE *a = lab_place(l, from);
    VB_AUTO_PLACE *b = lab_place(l, to);
    struct half src = { .p = a, .s = VB_RSTREAM_INIT, .o = o ? *o : defaults }, dst = { .p = b, .s = VB_RSTREAM_INIT, .o = src.o };
    pthread_t t;
    int pair[2];
    vb_buf_reset(&l->actions);
    assert_ok(vb_scan(a, NULL, &l->scan[0], &err));
    assert_ok(vb_scan(b, NULL, &l->scan[1], &err));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    src.s.in = src.s.out = pair[0];
    dst.s.in = dst.s.out = pair[1];
    dst.o.action = add_action;
    dst.o.arg = l;
    assert_int_equal(pthread_create(&t, NULL, source, &src), 0);
    dst.rc = vb_pass_receive(b, &dst.s, &dst.o, &dst.r, &dst.err);
    if (dst.rc < 0)
        shutdown(pair[1], SHUT_RDWR);
    pthread_join(t, NULL);
    vb_rstream_clear(&src.s);
    vb_rstream_clear(&dst.s);
    *r = dst.rc == 0 && src.rc == 0 ? src.r : dst.r;
    enum vb_code c = dst.err.code ? dst.err.code : src.err.code;
    free(last_error);
    last_error = vb_printf("destination: %s; source: %s", vb_error_text(&dst.err), vb_error_text(&src.err));
    vb_error_clear(&src.err);
    vb_error_clear(&dst.err);
    return c;
}

struct vb_pass_result lab_go(struct lab *l, size_t from, size_t to)
{
    struct vb_pass_result r;
    if (lab_pass(l, from, to, NULL, &r) != VB_OK)
        fail_msg("%s", lab_error());
    return r;
}

void lab_both(struct lab *l, size_t a, size_t b)
{
    lab_go(l, a, b);
    lab_go(l, b, a);
}
