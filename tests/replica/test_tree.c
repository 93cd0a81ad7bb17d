/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_tree.c - tree integrity: all changes at once, or none. */
#include <config.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"
#include "replica/tree.h"

static struct lab l;

static void open_lab(void)
{
    l.settings = vb_scope_defaults();
    l.settings.integrity = VB_INTEGRITY_TREE;
    l.settings.guard_s = 0;
    lab_open(&l, 2);
}

static void same(void)
{
    VB_AUTO_FREE char *a = lab_tree(&l, 0);
    VB_AUTO_FREE char *b = lab_tree(&l, 1);
    assert_string_equal(a, b);
}

static ino_t inode(size_t at, const char *path)
{
    VB_AUTO_FREE char *full = lab_path(&l, at, path);
    struct stat st;
    assert_int_equal(lstat(full, &st), 0);
    return st.st_ino;
}

/* Nothing of a new tree is left, below .vbackup or beside the root. */
static void no_staging(void)
{
    VB_AUTO_FREE char *stage = lab_path(&l, 1, VB_PLACE_DIR "/stage");
    const char *const dirs[] = { stage, l.dir };
    for (size_t i = 0; i < VB_COUNT(dirs); i++) {
        VB_AUTO_DIR DIR *d = opendir(dirs[i]);
        assert_non_null(d);
        for (const struct dirent *e; (e = readdir(d));)
            if (strstr(e->d_name, "vbackup-") || !strcmp(e->d_name, "tree") || !strcmp(e->d_name, "swap") || e->d_name[0] == 'n')
                fail_msg("'%s' is left", e->d_name);
    }
}

static void fifty(const char *text)
{
    for (int i = 0; i < 50; i++) {
        VB_AUTO_FREE char *name = vb_printf("d%d/f%d", i % 3, i);
        VB_AUTO_FREE char *is = vb_printf("%s %d", text, i);
        lab_write(&l, 0, name, is);
    }
}

static void guard_time(void **state)
{
    (void)state;
    const int64_t s = 1000000000;
    int64_t wait;
    struct vb_pass_result r;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    l.settings = vb_scope_defaults();
    l.settings.integrity = VB_INTEGRITY_TREE;
    l.settings.guard_s = 3;
    lab_open(&l, 2);
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    struct vb_scan_result scan;
    for (int i = 0; i < 10; i++) { /* one each second, if the clock is believed */
        VB_AUTO_FREE char *name = vb_printf("f%d", i);
        lab_write(&l, 0, name, "x");
        assert_ok(vb_scan(p, NULL, &scan, &err));
        assert_int_equal(vb_scan_quiet(p, &scan, scan.last_change_ns + s, &wait, NULL), -1);
        assert_in_range(wait, 1900, 2100);
    }
    assert_int_equal(vb_scan_quiet(p, &scan, scan.last_change_ns + 3 * s - 1, &wait, &err), -1);
    assert_int_equal(err.code, VB_E_UNSTABLE);
    assert_int_equal(vb_scan_quiet(p, &scan, scan.last_change_ns + 3 * s, &wait, NULL), 0);
    assert_int_equal(wait, 0);
    lab_remove(&l, 0, "f0"); /* a deletion is a change, too */
    usleep(20000);
    assert_ok(vb_scan(p, NULL, &scan, &err));
    assert_int_equal(vb_scan_quiet(p, &scan, scan.now_ns, &wait, NULL), -1);
    p->set.integrity = VB_INTEGRITY_FILE; /* REPL-T67: file by file needs no quiet tree */
    assert_int_equal(vb_scan_quiet(p, &scan, scan.now_ns, &wait, NULL), 0);
    vb_place_close(VB_STEAL(p));
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_OK);
    same();
    lab_close(&l);
}

static void at_once(void **state)
{
    (void)state;
    struct vb_pass_result r;
    open_lab();
    lab_write(&l, 0, "keep", "kept");
    lab_write(&l, 0, "a", "one");
    lab_write(&l, 0, "d/e/f", "deep");
    lab_write(&l, 0, "d/g", "g");
    lab_write(&l, 0, "d/mode", "m");
    lab_write(&l, 0, "gone/x", "x");
    VB_AUTO_FREE char *link = lab_path(&l, 0, "d/link");
    assert_int_equal(symlink("nowhere", link), 0);
    r = lab_go(&l, 0, 1);
    assert_int_equal(r.failed, 0);
    same();
    no_staging();
    lab_write(&l, 1, "ours", "only here");
    usleep(60000);
    lab_go(&l, 0, 1);
    ino_t kept = inode(1, "keep"), ours = inode(1, "ours");
    lab_write(&l, 0, "a", "two");
    lab_write(&l, 0, "new/n", "n");
    lab_remove(&l, 0, "gone");
    VB_AUTO_FREE char *mode = lab_path(&l, 0, "d/mode");
    assert_int_equal(chmod(mode, 0600), 0);
    r = lab_go(&l, 0, 1);
    assert_int_equal(r.extra, 1);
    assert_int_equal(inode(1, "keep"), kept); /* linked, not sent again */
    assert_int_equal(inode(1, "ours"), ours);
    lab_remove(&l, 1, "ours");
    same();
    no_staging();
    assert_int_equal(lab_trash(&l, 1), 2); /* the old "a", and gone/x */
    usleep(60000);
    lab_go(&l, 0, 1);
    assert_in_range(l.scan[1].bytes, 0, 5); /* what was linked is not read again: only "two", "n" and "m" */
    assert_int_equal(l.scan[1].created + l.scan[1].changed, 0);
    r = lab_go(&l, 1, 0);
    assert_true(vb_pass_quiet(&r));
    lab_close(&l);
}

static void smallest(void **state)
{
    (void)state;
    open_lab();
    lab_write(&l, 0, "d/a", "1");
    lab_write(&l, 0, "d/b", "1");
    lab_write(&l, 0, "e/c", "1");
    lab_go(&l, 0, 1);
    ino_t root = inode(1, ""), d = inode(1, "d"), e = inode(1, "e");
    lab_write(&l, 0, "d/a", "2"); /* one change: its name alone */
    lab_go(&l, 0, 1);
    same();
    assert_int_equal(inode(1, "d"), d);
    lab_write(&l, 0, "d/a", "3");
    lab_remove(&l, 0, "d/b");
    lab_go(&l, 0, 1);
    same();
    assert_int_equal(inode(1, ""), root);
    assert_int_equal(inode(1, "e"), e);
    assert_int_not_equal(inode(1, "d"), d);
    lab_write(&l, 0, "d/a", "4");
    lab_write(&l, 0, "e/c", "4");
    lab_go(&l, 0, 1);
    same();
    assert_int_not_equal(inode(1, ""), root);
    no_staging();
    lab_close(&l);
}

static unsigned steps, at_step;
static void lose_staged(void)
{
    if (++steps != at_step)
        return;
    VB_AUTO_FREE char *stage = lab_path(&l, 1, VB_PLACE_DIR "/stage");
    VB_AUTO_DIR DIR *d = opendir(stage);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] == 'n')
            unlinkat(dirfd(d), e->d_name, 0);
}

static void fails(void **state)
{
    (void)state;
    struct vb_pass_result r;
    open_lab();
    fifty("old");
    lab_go(&l, 0, 1);
    VB_AUTO_FREE char *before = lab_tree(&l, 1);
    size_t thrown = lab_trash(&l, 1);
    fifty("new");
    steps = 0;
    at_step = 40;
    vb_tree_step = lose_staged;
    enum vb_code c = lab_pass(&l, 0, 1, NULL, &r);
    vb_tree_step = NULL;
    assert_int_not_equal(c, VB_OK);
    VB_AUTO_FREE char *after = lab_tree(&l, 1);
    assert_string_equal(before, after);
    assert_int_equal(lab_trash(&l, 1), thrown);
    no_staging();
    lab_go(&l, 0, 1);
    same();
    lab_close(&l);
}

/* ---- a reader ---- */

static volatile bool stop;
static unsigned reads;

static int number_at(int dir, const char *name)
{
    char b[32] = "";
    VB_AUTO_FD int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    return fd < 0 || read(fd, b, sizeof b - 1) <= 0 ? -1 : (int)strtol(b, NULL, 10);
}

static void *reader(void *arg)
{
    VB_AUTO_FREE char *root = lab_path(&l, 1, "");
    const char **wrong = arg;
    int last = 0;
    while (!stop && !*wrong) {
        static const char *const names[] = { "a", "d/b", "d/e/c", "z" };
        /* Each path by itself: always there, and never an older one after a newer one. */
        for (size_t i = 0; i < VB_COUNT(names); i++) {
            VB_AUTO_FREE char *path = lab_path(&l, 1, names[i]);
            int n = number_at(AT_FDCWD, path);
            if (n < 0)
                *wrong = "a file was not there";
            else if (n < last)
                *wrong = "an old file beside a new one";
            last = n;
        }
        /* From one directory: all of one pass, as long as that is the live one. */
        VB_AUTO_FD int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int first = number_at(fd, names[0]);
        for (size_t i = 1; i < VB_COUNT(names); i++) {
            int n = number_at(fd, names[i]);
            if (first >= 0 && n >= 0 && n != first)
                *wrong = "files of two passes in one tree";
        }
        reads++;
    }
    return NULL;
}

static void looked_at(void **state)
{
    (void)state;
    const char *wrong = NULL;
    pthread_t t;
    open_lab();
    for (int i = 0; i < 25; i++) {
        VB_AUTO_FREE char *text = vb_printf("%d", i);
        static const char *const names[] = { "a", "d/b", "d/e/c", "z" };
        for (size_t k = 0; k < VB_COUNT(names); k++)
            lab_write(&l, 0, names[k], text);
        VB_AUTO_FREE char *more = vb_printf("more%d", i);
        lab_write(&l, 0, more, text);
        lab_go(&l, 0, 1);
        if (i == 0)
            assert_int_equal(pthread_create(&t, NULL, reader, &wrong), 0);
    }
    stop = true;
    pthread_join(t, NULL);
    if (wrong)
        fail_msg("%s", wrong);
    assert_true(reads > 10);
    lab_close(&l);
}

/* ---- others at work ---- */

static const char *scene;
static void meddle(void)
{
    if (++steps != at_step)
        return;
    lab_write(&l, 1, "d/theirs", "made meanwhile");
    VB_AUTO_FREE char *was = lab_path(&l, 1, "keep");
    VB_AUTO_FREE char *with = lab_path(&l, 1, "keep.tmp");
    lab_write(&l, 1, "keep.tmp", "replaced meanwhile");
    rename(with, was);
    if (!strcmp(scene, "edit"))
        lab_write(&l, 1, "d/a", "edited meanwhile");
}

static void meddled(void **state)
{
    (void)state;
    unsigned done = 0, refused = 0, all = 0;
    for (int round = 0; round < 2; round++) {
        scene = round ? "edit" : "names";
        for (at_step = 1; at_step < 20; at_step++) {
            struct vb_pass_result r;
            open_lab();
            lab_write(&l, 0, "keep", "kept");
            lab_write(&l, 0, "d/a", "old");
            lab_write(&l, 0, "z", "old");
            lab_go(&l, 0, 1);
            lab_write(&l, 0, "d/a", "new");
            lab_write(&l, 0, "z", "new");
            steps = 0;
            vb_tree_step = meddle;
            enum vb_code c = lab_pass(&l, 0, 1, NULL, &r);
            vb_tree_step = NULL;
            bool hit = steps >= at_step;
            all += hit;
            done += c == VB_OK;
            refused += c != VB_OK;
            if (c != VB_OK && c != VB_E_UNSTABLE)
                fail_msg("step %u: %s", at_step, lab_error());
            if (hit) {
                VB_AUTO_FREE char *theirs = lab_read(&l, 1, "d/theirs");
                VB_AUTO_FREE char *keep = lab_read(&l, 1, "keep");
                if (!theirs || !keep || strcmp(keep, "replaced meanwhile") != 0)
                    fail_msg("%s, step %u of %u: what was done meanwhile is lost: %s", scene, at_step, steps, keep ? keep : "-");
                /* Kept as a copy, or in the trash if only the last moment was missed. */
                if (round && !lab_count(&l, 1, "edited meanwhile")) {
                    VB_AUTO_FREE char *trash = lab_path(&l, 1, VB_PLACE_DIR "/trash");
                    const char *const grep[] = { "grep", "-rq", "edited meanwhile", trash, NULL };
                    pid_t pid = fork();
                    if (pid == 0) {
                        execvp("grep", (char *const *)(uintptr_t)grep);
                        _exit(9);
                    }
                    int status;
                    waitpid(pid, &status, 0);
                    if (status)
                        fail_msg("step %u of %u: the edit is lost", at_step, steps);
                }
            }
            lab_both(&l, 0, 1);
            lab_both(&l, 0, 1);
            same();
            no_staging();
            lab_close(&l);
            if (!hit)
                break;
        }
    }
    assert_true(all > 10);
    assert_true(done > 4);
    assert_true(refused > 1);
}

static void conflicts(void **state)
{
    (void)state;
    struct vb_pass_result r;
    open_lab();
    lab_write(&l, 0, "f", "base");
    lab_write(&l, 0, "g", "base");
    lab_write(&l, 0, "d/inside", "base");
    lab_write(&l, 0, "k/x", "base");
    lab_go(&l, 0, 1);
    lab_write(&l, 0, "f", "a, later");
    lab_write(&l, 1, "f", "b, earlier");
    lab_mtime(&l, 1, "f", 1000);
    lab_write(&l, 0, "g", "a, earlier");
    lab_mtime(&l, 0, "g", 1000);
    lab_write(&l, 1, "g", "b, later");
    lab_remove(&l, 0, "d");
    lab_write(&l, 1, "d/mine", "only at b");
    lab_remove(&l, 0, "k");
    lab_write(&l, 0, "k", "a file now");
    r = lab_go(&l, 0, 1);
    assert_int_equal(r.failed, 0);
    assert_int_equal(lab_count(&l, 1, "=b, earlier"), 1);
    assert_int_equal(lab_count(&l, 1, "=a, earlier"), 1);
    assert_int_equal(lab_count(&l, 1, "f=a, later"), 1);
    assert_int_equal(lab_count(&l, 1, "g=b, later"), 1);
    assert_int_equal(lab_count(&l, 1, "d/mine=only at b"), 1);
    assert_int_equal(lab_count(&l, 1, "d/inside"), 0);
    assert_int_equal(lab_count(&l, 1, "k=a file now"), 1);
    lab_both(&l, 1, 0);
    lab_both(&l, 1, 0);
    same();
    r = lab_go(&l, 0, 1);
    assert_true(vb_pass_quiet(&r));
    no_staging();
    /* exact: what is only there goes along with the rest */
    struct vb_pass_options o = VB_PASS_OPTIONS_INIT;
    o.exact = true;
    lab_write(&l, 1, "extra/e", "e");
    lab_write(&l, 0, "f", "last");
    lab_write(&l, 0, "g", "last");
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    same();
    o = (struct vb_pass_options)VB_PASS_OPTIONS_INIT;
    o.full = true;
    lab_remove(&l, 0, "g");
    lab_write(&l, 0, "f", "full");
    assert_int_equal(lab_pass(&l, 0, 1, &o, &r), VB_OK);
    same();
    r = lab_go(&l, 1, 0);
    assert_true(vb_pass_quiet(&r));
    lab_close(&l);
}

/* ---- killed ---- */

static void die(void)
{
    if (++steps == at_step)
        raise(SIGKILL);
}

static void change(unsigned round, bool root)
{
    VB_AUTO_FREE char *text = vb_printf("round %u", round);
    lab_write(&l, 0, "d/a", text);
    lab_write(&l, 0, "d/sub/b", text);
    if (root)
        lab_write(&l, 0, "top", text);
    if (round % 2) {
        lab_remove(&l, 0, "d/comes");
        lab_write(&l, 0, "d/goes/x", text);
    } else {
        lab_write(&l, 0, "d/comes", text);
        lab_remove(&l, 0, "d/goes");
    }
    VB_AUTO_FREE char *mode = lab_path(&l, 0, "d/mode");
    assert_int_equal(chmod(mode, round % 2 ? 0600 : 0640), 0);
}

static void killed_everywhere(void **state)
{
    (void)state;
    for (int root = 0; root < 2; root++) {
        unsigned old = 0, new = 0;
        open_lab();
        lab_write(&l, 0, "keep", "kept");
        lab_write(&l, 0, "d/keep", "kept");
        lab_write(&l, 0, "d/mode", "m");
        lab_write(&l, 0, "d/goes/x", "round 0");
        lab_write(&l, 0, "top", "0");
        lab_go(&l, 0, 1);
        for (at_step = 1;; at_step++) {
            VB_AUTO_FREE char *before = lab_tree(&l, 1);
            change(at_step - 1, root);
            VB_AUTO_FREE char *wanted = lab_tree(&l, 0);
            pid_t pid = fork();
            if (pid == 0) {
                struct vb_pass_result r;
                steps = 0;
                vb_tree_step = die;
                _exit(lab_pass(&l, 0, 1, NULL, &r) == VB_OK ? 0 : 1);
            }
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            VB_AUTO_FREE char *is = lab_tree(&l, 1);
            bool is_old = !strcmp(is, before), is_new = !strcmp(is, wanted);
            if (!is_old && !is_new)
                fail_msg("killed at step %u: neither old nor new: %s", at_step, is);
            old += is_old;
            new += is_new;
            struct vb_pass_result r = lab_go(&l, 0, 1);
            if (r.conflicts || r.minted || l.scan[1].created + l.scan[1].changed + l.scan[1].deleted)
                fail_msg("killed at step %u: something was taken for a local edit", at_step);
            same();
            no_staging();
            r = lab_go(&l, 1, 0);
            assert_true(vb_pass_quiet(&r));
            if (WIFEXITED(status)) {
                assert_int_equal(WEXITSTATUS(status), 0);
                break;
            }
        }
        printf("# %u steps: old %u, new %u times\n", at_step - 1, old, new);
        assert_true(old > 5);
        assert_true(new > 5);
        lab_close(&l);
    }
}

/* ---- roots that cannot be exchanged ---- */

static void mounted(void **state)
{
    (void)state;
    struct vb_pass_result r;
    open_lab();
    lab_write(&l, 0, "d/a", "1");
    lab_write(&l, 0, "b", "1");
    VB_AUTO_FREE char *root = vb_printf("%s/t1", l.dir);
    bool by_mount = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                    mount(root, root, NULL, MS_BIND, NULL) == 0;
    if (!by_mount && (geteuid() == 0 || chmod(l.dir, 0500) != 0)) {
        lab_close(&l);
        CM_SKIP("nothing can be mounted here");
    }
    assert_int_equal(lab_pass(&l, 0, 1, NULL, &r), VB_E_NOT_SUPPORTED);
    assert_contains(lab_error(), by_mount ? "it is a mount point" : "may not be written");
    assert_int_equal(lab_count(&l, 1, "="), 0);
    no_staging();
    if (by_mount)
        umount(root);
    else
        chmod(l.dir, 0700);
    lab_go(&l, 0, 1);
    same();
    lab_close(&l);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    if (access("/dev/shm", W_OK) == 0) /* some hundred passes, each of which syncs a few times */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest t[] = {
        CM_TEST("REPL-T66 REPL-T67 REPL-REP-20 nothing travels before the guard time is over, then all of it", guard_time),
        CM_TEST("REPL-REP-21 all changes take the old tree's place together; what stays is linked", at_once),
        CM_TEST("the smallest directory that holds all changes is exchanged", smallest),
        CM_TEST("REPL-T68 one that fails leaves the tree as it was", fails),
        CM_TEST("REPL-T69 a reader sees old or new files, never a mix", looked_at),
        CM_TEST("REPL-DSN-6 what others do to the tree meanwhile is not lost", meddled),
        CM_TEST("conflicts, kept directories, exact and full passes with a whole tree", conflicts),
        CM_TEST("REPL-T46 killed at each step: old or new, and then completed", killed_everywhere),
        CM_TEST("a root that cannot be exchanged is refused before anything comes", mounted),
    };
    return CM_RUN("tree integrity", t);
}
