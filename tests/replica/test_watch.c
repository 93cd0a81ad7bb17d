/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_watch.c - what a watch tells, and what it admits not to know. */
#include <config.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "replica/watch.h"

static struct lab l;

struct told {
    struct vb_strv paths;
    bool all, stale;
};

static struct told ask(struct vb_tree_watch *w)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct told t = { { NULL, 0, 0 }, false, false };
    assert_ok(vb_tree_watch_read(w, &t.paths, &t.all, &t.stale, &err));
    return t;
}

static void names(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_tree_watch *w = NULL;
    lab_open(&l, 1);
    lab_write(&l, 0, "d/e/f", "1");
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    struct vb_scan_result r;
    assert_ok(vb_scan(p, NULL, &r, &err));
    assert_ok(vb_tree_watch_open(p, &w, &err));
    struct told t = ask(w);
    assert_int_equal(t.paths.n, 0);
    lab_write(&l, 0, "d/e/f", "22");
    lab_write(&l, 0, "new", "n");
    lab_write(&l, 0, VB_PLACE_DIR "/stage/x", "ours");
    lab_remove(&l, 0, "new");
    t = ask(w);
    assert_false(t.all);
    assert_true(vb_strv_has(&t.paths, "d/e/f"));
    assert_true(vb_strv_has(&t.paths, "new"));
    for (size_t i = 0; i < t.paths.n; i++)
        assert_null(strstr(t.paths.v[i], VB_PLACE_DIR));
    uint64_t tick = vb_replica_tick(p->store);
    assert_ok(vb_scan_some(p, &t.paths, &r, &err));
    assert_int_equal(vb_replica_tick(p->store), tick + 1); /* the file; what came and went is nothing */
    vb_strv_clear(&t.paths);
    lab_write(&l, 0, "d/made/g", "1"); /* a directory: its files may have come before the watch */
    t = ask(w);
    assert_true(t.all && t.stale);
    vb_strv_clear(&t.paths);
    vb_tree_watch_close(w);
    vb_place_close(VB_STEAL(p));
    lab_close(&l);
}

static unsigned queue_size(void)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    uint32_t n;
    if (vb_read_file_at(AT_FDCWD, "/proc/sys/fs/inotify/max_queued_events", 64, &b, NULL) < 0)
        return 0;
    VB_AUTO_FREE char *text = vb_strndup(vb_buf_str(&b), strcspn(vb_buf_str(&b), "\n"));
    return vb_parse_u32(text, &n) ? n : 0;
}

static void overflow(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_tree_watch *w = NULL;
    unsigned n = queue_size() + 10;
    if (n < 20 || n > 40000)
        CM_SKIP("the kernel's queue is of an unusual size");
    lab_open(&l, 1);
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    struct vb_scan_result r;
    assert_ok(vb_scan(p, NULL, &r, &err));
    assert_ok(vb_tree_watch_open(p, &w, &err));
    for (unsigned i = 0; i < n; i++) {
        VB_AUTO_FREE char *name = vb_printf("f%u", i);
        VB_AUTO_FD int fd = openat(p->root, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
    }
    struct told t = ask(w);
    assert_true(t.all); /* nobody believes the names that fit the queue */
    vb_strv_clear(&t.paths);
    assert_ok(vb_scan(p, NULL, &r, &err));
    assert_int_equal(r.created, n);
    vb_tree_watch_close(w);
    vb_place_close(VB_STEAL(p));
    lab_close(&l);
}

int main(void)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest t[] = {
        CM_TEST("names that changed are told; what a watch cannot know, it says", names),
        CM_TEST("REPL-T57 after an overflow everything is looked at, and no change is lost", overflow),
    };
    return CM_RUN("watch", t);
}
