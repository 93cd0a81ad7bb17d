/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The capture with the journal service (real fanotify; root, in TMPDIR a mounted file system of its own): never a missed
 * change.  The oracle is a capture that reads everything: same name, same tree.  tests/root/test_journal.sh runs it.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"
#include "tests/cm.h"
#include "tests/tracking/mutate.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracking/journal.h"

static pid_t service;
static const char *snapshot; /* read this instead */
static bool disturbed;       /* somebody else on this machine hid his open files, rightly the journal was not used */

static void settle(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 70000000 }, NULL); /* until a change gives another time */
}

static void stop_service(void)
{
    if (service <= 0)
        return;
    int status = 0;
    kill(service, SIGTERM);
    waitpid(service, &status, 0);
    service = 0;
    if (status)
        fail_msg("the service ended with wait status %d", status);
}

static void start_service(const char *records)
{
    const char *program = getenv("VB_JOURNAL_PROGRAM");
    struct vb_buf text = VB_BUF_INIT;
    assert_non_null(program);
    fflush(NULL);
    service = fork();
    if (service == 0) {
        execl(program, program, "run", "--records", records, getenv("TMPDIR"), (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500; i++) {
        if (vb_journal_status(vb_journal_socket(), &text, NULL) == 0) {
            vb_buf_clear(&text);
            return;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    fail_msg("the journal service does not answer");
}

static void begin(struct lab *l)
{
    disturbed = false;
    lab_mkdir(l, "looks", 0700);
    lab_mkdir(l, "src", 0755);
    l->looks = lab_path(l, "looks");
    start_service("100000");
}

static void capture(struct lab *l, struct lab_root *root)
{
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", snapshot, "*", true, !snapshot);
    lab_capture(l, &c, 1);
    assert_int_equal(l->end.code, VB_OK);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_true(lab_root(l, 0, 0, root));
}

/* One capture with memory, compared with one that reads everything; *a tells how. */
static void look(struct lab *l, const char *after, struct lab_root *a)
{
    struct lab_root b;
    const char *looks = l->looks;
    capture(l, a);
    l->looks = NULL;
    capture(l, &b);
    l->looks = looks;
    if (!vb_name_equal(&a->name, &b.name))
        fail_msg("a change was missed (%s) after: %s", a->detector, after);
    disturbed = disturbed || strstr(a->detector, "it is not known which files are open");
    assert_int_equal(a->files, b.files);
    assert_int_equal(a->bytes, b.bytes);
}

static bool by_journal(const struct lab_root *r)
{
    return !strncmp(r->detector, "journal (", 9);
}

static void skip_if_disturbed(void)
{
    if (!disturbed)
        return;
    print_message("# skip: a file system of somebody else's lies on another\n");
    skip();
}

static void look_by_journal(struct lab *l, const char *after)
{
    struct lab_root a;
    look(l, after, &a);
    if (!by_journal(&a))
        skip_if_disturbed();
    if (!by_journal(&a))
        fail_msg("after: %s: %s instead of the journal", after, a.detector);
}

static void look_by_walk(struct lab *l, const char *after, const char *why)
{
    struct lab_root a;
    look(l, after, &a);
    skip_if_disturbed();
    if (strncmp(a.detector, "walk", 4) != 0 || !strstr(a.detector, why))
        fail_msg("after: %s: \"%s\" does not say \"%s\"", after, a.detector, why);
}

static int open_src(struct lab *l)
{
    return openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Directories that are away for a moment, and changed there or on the way. */
static const char *wander(int at, struct vb_rng *rng)
{
    char a[8], b[24];
    snprintf(a, sizeof a, "d%u", (unsigned)vb_rng_below(rng, 12));
    snprintf(b, sizeof b, "d%u/away", (unsigned)vb_rng_below(rng, 12));
    if (renameat(at, a, at, b) < 0)
        return NULL;
    VB_AUTO_FREE char *f = vb_printf("%s/f%u", b, (unsigned)vb_rng_below(rng, 14));
    VB_AUTO_FD int fd = openat(at, f, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && write(fd, "w", 1) != 1)
        return NULL;
    return vb_rng_chance(rng, 700) && renameat(at, b, at, a) == 0 ? "directory away and back" : "directory away";
}

static void never_a_missed_change(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    const char *seed = getenv("VB_TEST_SEED"), *rounds = getenv("VB_TEST_ROUNDS");
    unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 15, journals = 0;
    begin(l);
    vb_rng_seed(&rng, seed ? strtoull(seed, NULL, 10) : 1);
    VB_AUTO_FD int fd = open_src(l);
    mutate_grow(fd, &rng, 300);
    for (unsigned i = 0; i < n; i++) {
        VB_AUTO_BUF did = VB_BUF_INIT;
        struct lab_root a;
        unsigned ops = 1 + (unsigned)vb_rng_below(&rng, i % 4 ? 4 : 60);
        if (vb_rng_chance(&rng, 200))
            mutate_map(fd, &rng);
        for (unsigned k = 0; k < ops;) {
            const char *op = vb_rng_chance(&rng, 100) ? wander(fd, &rng) : mutate_once(fd, &rng);
            if (op) {
                vb_buf_addf(&did, " %s;", op);
                k++;
            }
        }
        mutate_store(&rng);
        if (vb_rng_chance(&rng, 700))
            settle();
        look(l, vb_buf_str(&did), &a);
        journals += by_journal(&a);
        mutate_store(&rng);
    }
    mutate_unmap();
    if (journals + 1 != n)
        skip_if_disturbed();
    if (journals + 1 != n)
        fail_msg("%u of %u looks by the journal", journals, n);
}

static unsigned char *map(int fd, size_t n)
{
    unsigned char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

/* What fanotify does not tell of: found because the file is in use, or because its use has ended. */
static void what_fanotify_does_not_see(void **state)
{
    struct lab *l = *state;
    begin(l);
    lab_mkdir(l, "src/a", 0755);
    lab_mkdir(l, "src/b", 0755);
    lab_mkdir(l, "src/c", 0755);
    for (unsigned i = 0; i < 4; i++) {
        VB_AUTO_FREE char *name = vb_printf("src/a/f%u", i);
        lab_noise(l, name, 8192, i);
    }
    assert_int_equal(linkat(l->fd, "src/a/f3", l->fd, "src/b/f3", 0), 0);
    struct lab_root a;
    settle();
    look(l, "nothing", &a);
    look_by_journal(l, "nothing");

    /* mapped, and the descriptor closed; mapped, unmapped, and the descriptor open */
    VB_AUTO_FD int f0 = openat(l->fd, "src/a/f0", O_RDWR | O_CLOEXEC), f1 = openat(l->fd, "src/a/f1", O_RDWR | O_CLOEXEC);
    unsigned char *p0 = map(f0, 8192), *p1 = map(f1, 8192);
    vb_close_fd(&f0);
    p0[0]++;
    p1[0]++;
    munmap(p1, 8192);
    settle();
    look_by_journal(l, "stores through a mapping");
    p0[1]++;
    settle();
    look_by_journal(l, "another store");
    look_by_journal(l, "nothing");
    p0[2]++;
    munmap(p0, 8192);
    settle();
    look_by_journal(l, "a store, and unmapped");

    /* the old asynchronous interface */
    aio_context_t ctx = 0;
    char bytes[] = "aio";
    struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)f1, .aio_buf = (uintptr_t)bytes, .aio_nbytes = 3 };
    struct iocb *cbs[] = { &cb };
    struct io_event done;
    assert_int_equal(syscall(SYS_io_setup, 4, &ctx), 0);
    assert_int_equal(syscall(SYS_io_submit, ctx, 1, cbs), 1);
    assert_int_equal(syscall(SYS_io_getevents, ctx, 1, 1, &done, NULL), 1);
    syscall(SYS_io_destroy, ctx);
    settle();
    look_by_journal(l, "an asynchronous write");

    /* a file without a name gets one elsewhere; the event of its end names the directory that it was made in */
    VB_AUTO_FD int tmp = openat(l->fd, "src/a", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
    assert_true(tmp >= 0);
    assert_int_equal(ftruncate(tmp, 8192), 0);
    VB_AUTO_FREE char *self = vb_printf("/proc/self/fd/%d", tmp);
    assert_int_equal(linkat(AT_FDCWD, self, l->fd, "src/c/t", AT_SYMLINK_FOLLOW), 0);
    settle();
    look_by_journal(l, "a link to a nameless file");
    unsigned char *pt = map(tmp, 8192);
    pt[0] = 1;
    vb_close_fd(&tmp);
    munmap(pt, 8192);
    settle();
    look_by_journal(l, "a store to it, and its end");

    /* opened by a name that is gone before the store */
    VB_AUTO_FD int f3 = openat(l->fd, "src/a/f3", O_RDWR | O_CLOEXEC);
    unsigned char *p3 = map(f3, 8192);
    assert_int_equal(unlinkat(l->fd, "src/a/f3", 0), 0);
    settle();
    look_by_journal(l, "a name gone");
    p3[5]++;
    vb_close_fd(&f3);
    munmap(p3, 8192);
    settle();
    look_by_journal(l, "a store by way of it");
}

/* An event names one directory: the others that hold the file are known otherwise. */
static void several_names(void **state)
{
    struct lab *l = *state;
    struct lab_root a;
    begin(l);
    for (unsigned i = 0; i < 4; i++) {
        VB_AUTO_FREE char *dir = vb_printf("src/n%u", i);
        lab_mkdir(l, dir, 0755);
    }
    lab_text(l, "src/n0/f", "1");
    settle();
    look(l, "nothing", &a);
    assert_int_equal(linkat(l->fd, "src/n0/f", l->fd, "src/n1/g", 0), 0);
    settle();
    look_by_journal(l, "a second name, elsewhere");
    lab_text(l, "src/n1/g", "22");
    settle();
    look_by_journal(l, "a write through one of the names");
    assert_int_equal(fchmodat(l->fd, "src/n0/f", 0600, 0), 0);
    settle();
    look_by_journal(l, "a mode through the other");
    assert_int_equal(unlinkat(l->fd, "src/n1/g", 0), 0);
    settle();
    look_by_journal(l, "one name again");
}

static void set_queue(unsigned long n, unsigned long *old)
{
    FILE *f = fopen("/proc/sys/fs/fanotify/max_queued_events", "r+e");
    assert_non_null(f);
    if (old)
        assert_int_equal(fscanf(f, "%lu", old), 1);
    rewind(f);
    fprintf(f, "%lu\n", n);
    assert_int_equal(fclose(f), 0);
}

static void touch_many(struct lab *l, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        VB_AUTO_FREE char *name = vb_printf("src/x%u", i);
        VB_AUTO_FREE char *dir = vb_printf("src/y%u", i);
        lab_text(l, name, "x");
        lab_mkdir(l, dir, 0755);
    }
}

static void gaps(void **state)
{
    struct lab *l = *state;
    struct lab_root a;
    unsigned long queue;
    begin(l);
    lab_text(l, "src/f", "1");
    settle();
    look(l, "nothing", &a);
    look_by_journal(l, "nothing");

    stop_service();
    lab_text(l, "src/f", "22");
    settle();
    look(l, "a change without the service", &a);
    assert_string_equal(a.detector, "walk");
    lab_text(l, "src/f", "333");
    start_service("100000");
    settle();
    look_by_walk(l, "a change while it was away", "there was no journal");
    look_by_journal(l, "nothing");

    assert_int_equal(kill(service, SIGKILL), 0);
    waitpid(service, NULL, 0);
    lab_text(l, "src/f", "4444");
    start_service("100000");
    settle();
    look_by_walk(l, "a change while it was dead", "the journal service was started");
    look_by_journal(l, "nothing");

    stop_service();
    set_queue(20, &queue);
    start_service("100000");
    set_queue(queue, NULL);
    look_by_walk(l, "nothing", "the journal service was started");
    kill(service, SIGSTOP); /* it is late */
    touch_many(l, 100);
    kill(service, SIGCONT);
    settle();
    look_by_walk(l, "more than the queue holds", "the queue of events ran over");
    look_by_journal(l, "nothing");

    stop_service();
    start_service("16");
    look_by_walk(l, "nothing", "the journal service was started");
    for (unsigned i = 0; i < 100; i++) {
        VB_AUTO_FREE char *name = vb_printf("src/y%u/f", i);
        lab_text(l, name, "z");
        if (i % 10 == 0)
            settle();
    }
    settle();
    look_by_walk(l, "more than the journal has room for", "more had changed");
}

/* The journal is asked while the tree is another one already: a copy of the blocks stands for a snapshot. */
static void snapshots(void **state)
{
    struct lab *l = *state;
    const char *image = getenv("VB_TEST_IMAGE"), *options = getenv("VB_TEST_OPTIONS");
    struct lab_root a;
    struct vb_rng rng;
    if (!image || !*image) {
        print_message("# skip: no image that could be copied\n");
        skip();
    }
    begin(l);
    vb_rng_seed(&rng, 5);
    VB_AUTO_FD int src = open_src(l);
    lab_mkdir(l, "snap", 0755);
    VB_AUTO_FREE char *read = vb_printf("snap%s/src", l->dir + strlen(getenv("TMPDIR")));
    VB_AUTO_FREE char *make = vb_printf(
        "sync -f '%s'; fsfreeze -f '%s' && cp --sparse=always '%s' '%s.copy'; fsfreeze -u '%s'; "
        "mount -o 'loop,%s' '%s.copy' '%s'", l->dir, getenv("TMPDIR"), image, image, getenv("TMPDIR"),
        options ? options : "ro", image, lab_path(l, "snap"));
    VB_AUTO_FREE char *drop = vb_printf("umount '%s'; rm -f '%s.copy'", lab_path(l, "snap"), image);
    mutate_grow(src, &rng, 150);
    unsigned journals = 0;
    for (unsigned i = 0; i < 6; i++) {
        VB_AUTO_BUF did = VB_BUF_INIT;
        for (unsigned k = 0; k < i / 2; k++) {
            const char *op = mutate_once(src, &rng);
            vb_buf_addf(&did, " %s;", op ? op : "-");
        }
        /* every other time the directories are as they were, and only what is in the files is new */
        VB_AUTO_FREE char *text = vb_printf("%u", i);
        if (i % 2 == 0) {
            lab_mkdir(l, "src/one/gone", 0755);
            lab_mkdir(l, "src/far/way", 0755);
        }
        lab_text(l, "src/one/gone/f", text);
        lab_text(l, "src/far/way/f", text);
        settle();
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        l->wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
        assert_int_equal(system(make), 0);
        /* what happens now is not in the copy, and hides what is */
        if (i % 2) {
            unlinkat(l->fd, "src/one/gone/f", 0);
            unlinkat(l->fd, "src/one/gone", AT_REMOVEDIR);
            renameat(l->fd, "src/far/way", l->fd, "src/way");
        }
        for (unsigned k = 0; k < i / 2; k++)
            mutate_once(src, &rng);
        snapshot = read;
        look(l, vb_buf_str(&did), &a);
        snapshot = NULL;
        journals += by_journal(&a);
        if (i % 2)
            renameat(l->fd, "src/way", l->fd, "src/far/way");
        assert_int_equal(system(drop), 0);
    }
    if (journals != 5)
        skip_if_disturbed();
    if (journals != 5)
        fail_msg("%u of 6 looks by the journal, the last: %s", journals, a.detector);
}

static int teardown(void **state)
{
    stop_service();
    return lab_teardown(state);
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("by the journal: random changes, never a missed one", never_a_missed_change),
        LAB_TEST("by the journal: stores through mappings, asynchronous writes, names that are gone", what_fanotify_does_not_see),
        LAB_TEST("by the journal: files with several names", several_names),
        LAB_TEST("by the journal: a gap is a walk", gaps),
        LAB_TEST("by the journal: shadow copies, and what happens behind them", snapshots),
    };
    if (geteuid() != 0 || !getenv("TMPDIR") || !getenv("VB_JOURNAL_PROGRAM")) {
        puts("1..0 # SKIP needs root, a file system in TMPDIR, and VB_JOURNAL_PROGRAM");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
