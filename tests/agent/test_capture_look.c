/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The capture with a memory of the last look: never a missed change, unchanged files are not opened, and whatever is
 * wrong with the memory costs time only.  The oracle is always a capture that reads everything: same name, same tree.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"
#include "tests/cm.h"
#include "tests/tracking/mutate.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "providers/support/tree.h"

#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

static void settle(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 70000000 }, NULL); /* until a change gives another time */
}

static bool can_detect(struct lab *l)
{
    struct statfs fs;
    assert_int_equal(fstatfs(l->fd, &fs), 0);
    unsigned long t = (unsigned long)fs.f_type;
    if (t == 0xef53 || t == 0x9123683e || t == 0x58465342)
        return true;
    print_message("# skip: the test directory's file system has no change detection\n");
    skip();
    return false;
}

static const char *snapshot; /* read this instead */

static void begin(struct lab *l)
{
    snapshot = NULL;
    lab_mkdir(l, "looks", 0700);
    l->looks = lab_path(l, "looks");
    l->no_detector = false;
}

static bool ruled;           /* with rules by which something is left out */
static bool one_volume;      /* mount points are left out without a word */
static uint64_t left[2];     /* files and directories that the last capture left out */

static void capture(struct lab *l, struct lab_root *root)
{
    struct vb_msg c = lab_component("c");
    static const char *const rules[] = { "pattern:f3", "pattern:d2/d1", "larger-than:20000", "marker:f5", "pattern:d4/**/f7" };
    if (ruled) {
        lab_fileset_rules(l, &c, "src", "*", rules, VB_COUNT(rules));
        lab_exclude(l, &c, "src/d1", "f1*", true);
    } else if (one_volume) {
        lab_fileset_rules(l, &c, "src", "*", (const char *const[]){ "one-file-system" }, 1);
    } else {
        lab_fileset(l, &c, "src", snapshot, "*", true, !snapshot);
    }
    lab_capture(l, &c, 1);
    left[0] = lab_u64(l, 0, VB_F_LEFT_FILES);
    left[1] = lab_u64(l, 0, VB_F_LEFT_DIRS);
    assert_int_equal(l->end.code, VB_OK);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_true(lab_root(l, 0, 0, root));
}

/* Everything read, without any memory. */
static void oracle(struct lab *l, struct lab_root *root)
{
    const char *looks = l->looks;
    l->looks = NULL;
    capture(l, root);
    l->looks = looks;
}

/* One capture with memory, compared with the oracle; returns how many files were read. */
static uint64_t look(struct lab *l, const char *after)
{
    struct lab_root a, b;
    capture(l, &a);
    uint64_t left_files = left[0], left_dirs = left[1];
    oracle(l, &b);
    if (!vb_name_equal(&a.name, &b.name))
        fail_msg("a change was missed after: %s", after);
    assert_int_equal(a.files, b.files);
    assert_int_equal(a.dirs, b.dirs);
    assert_int_equal(a.bytes, b.bytes);
    if (left_files != left[0] || left_dirs != left[1])
        fail_msg("%llu files and %llu directories left out instead of %llu and %llu after: %s",
                 (unsigned long long)left_files, (unsigned long long)left_dirs, (unsigned long long)left[0],
                 (unsigned long long)left[1], after);
    return a.files_read;
}

static const char *source(struct lab *l)
{
    static char text[256];
    struct lab_root a;
    capture(l, &a);
    snprintf(text, sizeof text, "%s", a.detector);
    return text;
}

static void grow(struct lab *l, struct vb_rng *rng, uint64_t seed)
{
    vb_rng_seed(rng, seed);
    lab_mkdir(l, "src", 0755);
    VB_AUTO_FD int fd = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mutate_grow(fd, rng, 300);
}

/* On btrfs as root the tree is a subvolume, and what is read is a snapshot of it. */
static void make_snapshot(struct lab *l, unsigned i)
{
    struct btrfs_ioctl_vol_args_v2 a = { .flags = BTRFS_SUBVOL_RDONLY };
    VB_AUTO_FD int src = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VB_AUTO_FREE char *name = vb_printf("snap%u", i);
    a.fd = src;
    snprintf(a.name, sizeof a.name, "%s", name);
    assert_int_equal(ioctl(l->fd, BTRFS_IOC_SNAP_CREATE_V2, &a), 0);
    snapshot = lab_path(l, name) + strlen(l->dir) + 1;
}

static void drop_snapshot(struct lab *l)
{
    struct btrfs_ioctl_vol_args a = { .fd = 0 };
    if (snapshot) {
        snprintf(a.name, sizeof a.name, "%s", snapshot);
        assert_int_equal(ioctl(l->fd, BTRFS_IOC_SNAP_DESTROY, &a), 0);
    }
    snapshot = NULL;
}

static bool make_subvolume(struct lab *l)
{
    struct btrfs_ioctl_vol_args a = { .fd = 0 };
    snprintf(a.name, sizeof a.name, "src");
    return geteuid() == 0 && ioctl(l->fd, BTRFS_IOC_SUBVOL_CREATE, &a) == 0;
}

/* ---- shadow copies made of clones ---- */

static char complaint[256];

static int take_failure(void *host, enum vb_code code, const char *text, const char *hint)
{
    (void)host, (void)code, (void)hint;
    snprintf(complaint, sizeof complaint, "%s", text);
    return -1;
}

static uint64_t all_the_time(void *host)
{
    (void)host;
    return 1000;
}

static const struct vb_provider_services SERVICES = { .fail = take_failure, .deadline_ms = all_the_time };
static const struct vb_ps PS = { NULL, &SERVICES };

static bool can_clone(struct lab *l)
{
    lab_text(l, "one", "1");
    VB_AUTO_FD int a = openat(l->fd, "one", O_RDONLY | O_CLOEXEC);
    VB_AUTO_FD int b = openat(l->fd, "two", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (ioctl(b, FICLONE, a) == 0)
        return true;
    print_message("# skip: the test directory's file system cannot clone files\n");
    skip();
    return false;
}

static void make_clones(struct lab *l, unsigned i)
{
    struct vb_ps_originals o = { .v = NULL };
    VB_AUTO_FREE char *stage = vb_printf("stage%u", i);
    struct timespec now;
    lab_mkdir(l, stage, 0700);
    VB_AUTO_FD int fd = openat(l->fd, stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct vb_ps_tree t = { .s = &PS, .stage = fd, .clone = true, .originals = &o };
    clock_gettime(CLOCK_REALTIME, &now);
    l->wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (vb_ps_tree_copy(&t, lab_path(l, "src")) < 0)
        fail_msg("%s", complaint);
    vb_ps_tree_clear(&t);
    vb_ps_originals_settle(&o);
    vb_ps_originals_write(&o, fd);
    vb_ps_originals_clear(&o);
    VB_AUTO_FREE char *read_path = vb_printf("%s%s", stage, lab_path(l, "src"));
    snapshot = lab_path(l, read_path) + strlen(l->dir) + 1;
}

static void drop_clones(struct lab *l, unsigned i)
{
    VB_AUTO_FREE char *stage = vb_printf("stage%u", i);
    if (vb_ps_tree_remove(&PS, lab_path(l, stage)) < 0)
        fail_msg("%s", complaint);
    snapshot = NULL;
    l->wall_ms = 0;
}

static void clones(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    const char *seed = getenv("VB_TEST_SEED"), *rounds = getenv("VB_TEST_ROUNDS");
    if (!can_detect(l) || !can_clone(l))
        return;
    begin(l);
    grow(l, &rng, seed ? strtoull(seed, NULL, 10) : 3);
    VB_AUTO_FD int fd = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    settle();
    for (unsigned i = 0; i < 2; i++) {
        make_clones(l, i);
        if (look(l, "nothing") != 0)
            assert_int_equal(i, 0);
        drop_clones(l, i);
    }
    uint64_t read = 0;
    unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 15;
    for (unsigned i = 2; i < 2 + n; i++) {
        VB_AUTO_BUF did = VB_BUF_INIT;
        if (vb_rng_chance(&rng, 200))
            mutate_map(fd, &rng);
        for (unsigned k = 1 + (unsigned)vb_rng_below(&rng, i % 4 ? 4 : 40); k > 0; k--) {
            const char *op = mutate_once(fd, &rng);
            vb_buf_addf(&did, " %s;", op ? op : "");
        }
        mutate_store(&rng);
        if (vb_rng_chance(&rng, 700))
            settle();
        make_clones(l, i);
        mutate_store(&rng);
        if (vb_rng_chance(&rng, 300)) { /* a writer repairs what it has in the shadow copy */
            VB_AUTO_FD int copy = openat(l->fd, snapshot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            for (unsigned k = 0; k < 6; k++) {
                const char *op = mutate_once(copy, &rng);
                vb_buf_addf(&did, " in the copy: %s;", op ? op : "");
            }
        }
        read += look(l, vb_buf_str(&did));
        drop_clones(l, i);
        mutate_store(&rng);
    }
    mutate_unmap();
    assert_true(read < n * 150); /* of 300 each */
}

static void never_a_missed_change(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    const char *seed = getenv("VB_TEST_SEED"), *rounds = getenv("VB_TEST_ROUNDS");
    if (!can_detect(l))
        return;
    begin(l);
    bool snapshots = make_subvolume(l);
    unsigned by_generations = 0;
    grow(l, &rng, seed ? strtoull(seed, NULL, 10) : 1);
    VB_AUTO_FD int fd = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 15;
    for (unsigned i = 0; i < n; i++) {
        VB_AUTO_BUF did = VB_BUF_INIT;
        unsigned ops = 1 + (unsigned)vb_rng_below(&rng, i % 4 ? 4 : 60);
        if (vb_rng_chance(&rng, 100))
            mutate_map(fd, &rng);
        for (unsigned k = 0; k < ops;) {
            const char *op = mutate_once(fd, &rng);
            if (op) {
                vb_buf_addf(&did, " %s;", op);
                k++;
            }
        }
        mutate_store(&rng);
        if (vb_rng_chance(&rng, 700))
            settle();
        if (snapshots)
            make_snapshot(l, i);
        mutate_store(&rng);
        look(l, vb_buf_str(&did));
        if (snapshots) {
            struct lab_root again;
            capture(l, &again);
            by_generations += !strncmp(again.detector, "generations", 11);
            drop_snapshot(l);
        }
        mutate_store(&rng); /* the page is dirty already, and nothing in between has cleaned it */
    }
    mutate_unmap();
    assert_int_equal(by_generations, snapshots ? n : 0);
}

/* The same with files and directories that are left out: by name, by size, by a mark that comes and goes. */
static void what_is_left_out(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    const char *seed = getenv("VB_TEST_SEED"), *rounds = getenv("VB_TEST_ROUNDS");
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, seed ? strtoull(seed, NULL, 10) : 2);
    VB_AUTO_FD int fd = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ruled = true;
    for (unsigned i = 0; i < (rounds ? (unsigned)strtoul(rounds, NULL, 10) : 10); i++) {
        VB_AUTO_BUF did = VB_BUF_INIT;
        for (unsigned k = 0; k < 1 + i % 5 * 4;) {
            const char *op = mutate_once(fd, &rng);
            if (op) {
                vb_buf_addf(&did, " %s;", op);
                k++;
            }
        }
        settle();
        look(l, vb_buf_str(&did));
    }
    ruled = false;
}

static void unchanged_is_not_opened(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    struct lab_root root;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 7);
    lab_text(l, "src/one", "1");
    settle();
    assert_true(look(l, "nothing") > 100);
    capture(l, &root);
    assert_int_equal(root.files_read, 0);
    assert_int_equal(l->stats.offered_chunks, 0); /* not even a directory was encoded */
    assert_string_equal(root.detector, "walk");
    lab_text(l, "src/one", "2");
    settle();
    assert_int_equal(look(l, "one file"), 1);
    assert_int_equal(look(l, "nothing"), 0);
    lab_text(l, "src/d1/new", "n");
    assert_int_equal(look(l, "a new file"), 1);
    settle();
    look(l, "nothing, but the file was too young");
    assert_int_equal(look(l, "now it is settled"), 0);
}

static void only_metadata(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 8);
    lab_text(l, "src/d1/x", "x");
    settle();
    look(l, "nothing");
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 99 } };
    assert_int_equal(utimensat(l->fd, "src/d1/x", t, 0), 0);
    settle();
    assert_int_equal(look(l, "mtime only"), 1);
    assert_int_equal(setxattr(lab_path(l, "src/d1/x"), "user.a", "1", 1, 0), 0);
    settle();
    assert_int_equal(look(l, "attribute only"), 1);
    assert_int_equal(setxattr(lab_path(l, "src/d1"), "user.a", "1", 1, 0), 0);
    settle();
    assert_int_equal(look(l, "attribute of a directory"), 0);
    assert_int_equal(fchmodat(l->fd, "src", 0700, 0), 0);
    settle();
    assert_int_equal(look(l, "mode of the top"), 0);
}

/* ---- memories that are wrong ---- */

static char *memory(struct lab *l)
{
    VB_AUTO_DIR DIR *d = opendir(l->looks);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (strstr(e->d_name, ".look") && !strstr(e->d_name, ".new"))
            return vb_printf("%s/%s", l->looks, e->d_name);
    return NULL;
}

static void damaged_memory(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 9);
    settle();
    look(l, "nothing");
    for (unsigned i = 0; i < 6; i++) {
        VB_AUTO_FREE char *path = memory(l);
        if (!path) { /* it was thrown away */
            look(l, "nothing");
            path = memory(l);
        }
        assert_non_null(path);
        VB_AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        if (i % 4 == 3) {
            assert_int_equal(ftruncate(fd, (off_t)vb_rng_below(&rng, (uint64_t)st.st_size)), 0);
        } else {
            for (unsigned k = 0; k < 40; k++) {
                unsigned char byte = (unsigned char)vb_rng_next(&rng);
                assert_int_equal(pwrite(fd, &byte, 1, (off_t)vb_rng_below(&rng, (uint64_t)st.st_size)), 1);
            }
        }
        VB_AUTO_FD int src = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned k = 0; k < 3; k++)
            mutate_once(src, &rng);
        settle();
        look(l, "damage");
    }
}

static void another_repository(void **state)
{
    struct lab *l = *state, other;
    struct vb_rng rng;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 10);
    settle();
    look(l, "nothing");
    assert_string_equal(source(l), "walk");
    /* another repository: other names */
    lab_open(&other);
    struct vb_repo *own = l->repo;
    l->repo = other.repo;
    struct lab_root a;
    capture(l, &a);
    assert_string_equal(a.detector, "full read (first look)");
    assert_true(a.files_read > 100);
    l->repo = own;
    assert_string_equal(source(l), "walk");
    lab_close(&other);
}

/* The same repository, restored from an older copy: it lacks what the memory ends in. */
static void repository_lost_it(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 11);
    settle();
    struct lab_root root;
    capture(l, &root); /* nothing is committed */
    assert_true(root.files_read > 100);
    lab_reopen(l);
    capture(l, &root);
    assert_string_equal(root.detector, "full read (the repository does not have what the memory ends in)");
    assert_true(root.files_read > 100);
    look(l, "after the loss");
}

static void asked_for(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 12);
    settle();
    look(l, "nothing");
    l->no_detector = true;
    assert_string_equal(source(l), "full read (as asked for)");
    l->no_detector = false;
    assert_string_equal(source(l), "walk");
}

/* What could not be taken is told again every time, and taken as soon as that is possible. */
static void told_again(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    if (!can_detect(l) || geteuid() != 0)
        return;
    begin(l);
    assert_int_equal(fchmodat(l->fd, ".", 0755, 0), 0);
    lab_mkdir(l, "src/a/b", 0755);
    lab_text(l, "src/a/b/open", "o");
    lab_text(l, "src/a/b/closed", "c");
    assert_int_equal(fchmodat(l->fd, "src/a/b/closed", 0600, 0), 0);
    assert_int_equal(fchmodat(l->fd, "src/a/b/open", 0644, 0), 0);
    assert_int_equal(fchmodat(l->fd, "src", 0755, 0), 0);
    assert_int_equal(fchownat(l->fd, "looks", 65534, 65534, 0), 0);
    settle();
    for (int i = 0; i < 3; i++) {
        l->as_nobody = true;
        capture(l, &root);
        if (!lab_warned(l, "src/a/b/closed", VB_E_ACCESS_DENIED))
            fail_msg("look %d did not tell it (%s), %zu warnings, first '%s'", i, root.detector, l->warned.n,
                     l->warned.n ? l->warned.v[0] : "");
        assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_PARTIAL);
        assert_int_equal(root.files_read, i == 0 ? 1 : 0);
    }
    assert_int_equal(fchmodat(l->fd, "src/a/b/closed", 0644, 0), 0);
    settle();
    l->as_nobody = true;
    capture(l, &root);
    assert_int_equal(root.files_read, 1);
    assert_int_equal(lab_u64(l, 0, VB_F_COMPLETENESS), VB_COMPLETE);
}

/* The detector holds open what waits: where it has no file left, what is further down counts as changed. */
static void directories_that_cannot_be_opened(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    VB_AUTO_BUF at = VB_BUF_INIT;
    if (!can_detect(l))
        return;
    begin(l);
    vb_buf_add_str(&at, "src");
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned k = 0; k < 5; k++) {
            VB_AUTO_FREE char *side = vb_printf("%s/s%u", vb_buf_str(&at), k);
            lab_mkdir(l, side, 0755);
        }
        vb_buf_add_str(&at, "/d");
    }
    VB_AUTO_FREE char *deep = vb_printf("%s/s0/f", vb_buf_str(&at));
    lab_mkdir(l, vb_buf_str(&at), 0755);
    vb_buf_add_str(&at, "/s0");
    lab_mkdir(l, vb_buf_str(&at), 0755);
    lab_text(l, deep, "1");
    settle();
    look(l, "nothing");
    lab_text(l, deep, "22");
    settle();
    l->max_files = 110; /* enough for reading, which closes what is far above */
    capture(l, &root);
    assert_string_equal(root.detector, "walk");
    struct lab_root all;
    oracle(l, &all);
    if (!vb_name_equal(&root.name, &all.name))
        fail_msg("a change below a directory that could not be opened was missed");
    look(l, "few files could be open");
}

/* A directory mounted over itself is the same inode with the same times, before, meanwhile and after. */
static void mounted_over_itself(void **state)
{
    struct lab *l = *state;
    if (!can_detect(l) || geteuid() != 0)
        return;
    begin(l);
    lab_mkdir(l, "src/m/n", 0755);
    lab_text(l, "src/m/n/f", "1");
    lab_text(l, "src/m/f", "1");
    settle();
    for (int i = 0; i < 2; i++) {
        one_volume = i == 1;
        look(l, "nothing");
        if (mount(lab_path(l, "src/m"), lab_path(l, "src/m"), NULL, MS_BIND, NULL) < 0) {
            print_message("# skip: nothing can be mounted here\n");
            one_volume = false;
            skip();
        }
        struct lab_root a, b;
        capture(l, &a);
        lab_text(l, "src/m/n/f", i ? "333" : "22");
        capture(l, &a);
        oracle(l, &b);
        assert_int_equal(umount(lab_path(l, "src/m")), 0);
        assert_true(vb_name_equal(&a.name, &b.name));
        settle();
        look(l, "the mount is gone");
        look(l, "nothing");
    }
    one_volume = false;
}

/* A stream that breaks keeps the memory as it was. */
static void cut_stream(void **state)
{
    struct lab *l = *state;
    struct vb_rng rng;
    struct lab_root root;
    if (!can_detect(l))
        return;
    begin(l);
    grow(l, &rng, 13);
    settle();
    look(l, "nothing");
    for (unsigned i = 0; i < 10; i++)
        lab_noise(l, i % 2 ? "src/d2/noise" : "src/noise", 300000, i);
    settle();
    l->cut_after = 3;
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", NULL, "*", true, true);
    lab_capture(l, &c, 1);
    assert_int_not_equal(l->end.code, VB_OK);
    l->cut_after = 0;
    capture(l, &root);
    assert_string_equal(root.detector, "walk");
    assert_true(root.files_read <= 2);
    look(l, "a cut");
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, lab_teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("random changes: never a missed one", never_a_missed_change),
        LAB_TEST("random changes, read in clones: never a missed one", clones),
        LAB_TEST("random changes among what is left out", what_is_left_out),
        LAB_TEST("what is unchanged is not opened, not encoded, not offered", unchanged_is_not_opened),
        LAB_TEST("times, modes and attributes alone are changes", only_metadata),
        LAB_TEST("a damaged memory costs time only", damaged_memory),
        LAB_TEST("another repository has another memory", another_repository),
        LAB_TEST("a repository that lost the tree gets everything", repository_lost_it),
        LAB_TEST("without the detector everything is read", asked_for),
        LAB_TEST("what was left out is told again", told_again),
        LAB_TEST("below what the detector cannot open nothing counts as known", directories_that_cannot_be_opened),
        LAB_TEST("what was hidden by a mount is found when that is gone", mounted_over_itself),
        LAB_TEST("a stream that breaks leaves the memory", cut_stream),
    };
    if (!getenv("TMPDIR"))
        setenv("TMPDIR", "/var/tmp", 1); /* a memory file system has no change detection */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
