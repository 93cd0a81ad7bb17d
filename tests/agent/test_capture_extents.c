/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Large files that change, on a real btrfs (root): what is taken over without being read is what a full read gives.  The
 * oracle is a capture of the same snapshot that reads everything: same tree, to the name of the last chunk.
 *
 * The file system is kept almost full, so that addresses are given away again and again.
 */
#include "config.h"

#include "tests/agent/mover_lab.h"
#include "tests/cm.h"
#include "base/rng.h"
#include "tracking/btrfs.h"
#include "tracking/extents.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define FILES 5u
#define SIZE ((uint64_t)3 << 20)
#define PAGE ((uint64_t)4096)
#define ROOM ((off_t)240 << 20)

static struct vb_rng rng;
static char *snapshot; /* the one that is read */
static uint64_t taken_rounds;

static bool ready(struct lab *l)
{
    struct statfs fs;
    struct btrfs_ioctl_vol_args a = { .name = "src" };
    assert_int_equal(fstatfs(l->fd, &fs), 0);
    if (geteuid() != 0 || (unsigned long)fs.f_type != 0x9123683e) {
        print_message("# skip: needs root and a btrfs\n");
        skip();
        return false;
    }
    assert_int_equal(ioctl(l->fd, BTRFS_IOC_SUBVOL_CREATE, &a), 0);
    lab_mkdir(l, "looks", 0700);
    l->looks = lab_path(l, "looks");
    vb_rng_seed(&rng, getenv("VB_TEST_SEED") ? strtoull(getenv("VB_TEST_SEED"), NULL, 10) : 1);
    return true;
}

static void make_snapshot(struct lab *l)
{
    static unsigned n;
    struct btrfs_ioctl_vol_args_v2 a = { .flags = BTRFS_SUBVOL_RDONLY };
    VB_AUTO_FD int src = openat(l->fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    a.fd = src;
    snprintf(a.name, sizeof a.name, "snap%u", n++);
    assert_int_equal(ioctl(l->fd, BTRFS_IOC_SNAP_CREATE_V2, &a), 0);
    snapshot = vb_strdup(a.name);
}

static int count(void *arg, const struct btrfs_ioctl_search_header *h, const unsigned char *p, struct vb_error *err)
{
    (void)h, (void)p, (void)err;
    ++*(unsigned *)arg;
    return 0;
}

static bool is_there(struct lab *l, uint64_t tree)
{
    unsigned n = 0;
    const struct btrfs_ioctl_search_key k = { .tree_id = BTRFS_ROOT_TREE_OBJECTID, .min_objectid = tree,
                                              .max_objectid = tree, .min_type = BTRFS_ROOT_ITEM_KEY,
                                              .max_type = BTRFS_ROOT_ITEM_KEY, .max_offset = UINT64_MAX,
                                              .max_transid = UINT64_MAX };
    VB_AUTO_FREE struct btrfs_ioctl_search_args_v2 *args = vb_btrfs_search_new();
    assert_int_equal(vb_btrfs_search(l->fd, args, &k, count, &n, NULL), 0);
    return n > 0;
}

/* Gone, with all that it alone referred to: its addresses are free. */
static void drop_snapshot(struct lab *l)
{
    struct btrfs_ioctl_vol_args a = { .fd = 0 };
    struct btrfs_ioctl_get_subvol_info_args info;
    VB_AUTO_FREE char *name = VB_STEAL(snapshot);
    VB_AUTO_FD int fd = openat(l->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(&info, 0, sizeof info);
    assert_true(ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) >= 0);
    vb_close_fd(&fd);
    snprintf(a.name, sizeof a.name, "%s", name);
    assert_int_equal(ioctl(l->fd, BTRFS_IOC_SNAP_DESTROY, &a), 0);
    ioctl(l->fd, BTRFS_IOC_SYNC); /* wakes who cleans up */
    for (unsigned i = 0; i < 1000 && is_there(l, info.treeid); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    syncfs(l->fd);
}

static uint64_t root_u64(struct lab *l, uint16_t tag)
{
    struct vb_field_iter it, in;
    uint16_t t;
    const unsigned char *p;
    size_t n;
    vb_field_iter_init(&it, &l->reply);
    while (vb_field_next(&it, &t, &p, &n))
        if (t == VB_F_COMPONENT) {
            struct vb_msg c = vb_msg_view(p, n);
            vb_field_iter_init(&in, &c);
            while (vb_field_next(&in, &t, &p, &n))
                if (t == VB_F_ROOT) {
                    struct vb_msg g = vb_msg_view(p, n);
                    return vb_msg_u64(&g, tag, 0);
                }
        }
    return 0;
}

static void capture(struct lab *l, struct lab_root *root)
{
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", snapshot, "*", true, false);
    lab_capture(l, &c, 1);
    assert_int_equal(l->end.code, VB_OK);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_true(lab_root(l, 0, 0, root));
}

/* Takes a snapshot, captures it with memory, compares with the oracle; returns the bytes that were read. */
static uint64_t look(struct lab *l, const char *after)
{
    struct lab_root a, b;
    make_snapshot(l);
    capture(l, &a);
    uint64_t read = root_u64(l, VB_F_BYTES_READ);
    const char *looks = l->looks;
    l->looks = NULL;
    capture(l, &b);
    l->looks = looks;
    if (!vb_name_equal(&a.name, &b.name))
        fail_msg("what was captured is not what is in the files, after:%s", after);
    assert_int_equal(a.bytes, b.bytes);
    drop_snapshot(l);
    return read;
}

static int open_file(struct lab *l, const char *name, int flags)
{
    VB_AUTO_FREE char *path = vb_printf("src/%s", name);
    return openat(l->fd, path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0644);
}

static void fill(unsigned char *p, size_t n, bool plain)
{
    for (size_t i = 0; i < n; i++)
        p[i] = plain ? (unsigned char)(i / 64) : (unsigned char)vb_rng_next(&rng);
}

static bool put(int fd, uint64_t offset, size_t n, bool plain)
{
    VB_AUTO_FREE unsigned char *p = vb_alloc(n + 1);
    fill(p, n, plain);
    return pwrite(fd, p, n, (off_t)offset) == (ssize_t)n;
}

/* ---- random changes ---- */

static bool clone_range(int to, int from, bool dedupe)
{
    uint64_t len = PAGE * (1 + vb_rng_below(&rng, 64)), a = PAGE * vb_rng_below(&rng, SIZE / PAGE);
    uint64_t b = vb_rng_chance(&rng, 500) ? a : PAGE * vb_rng_below(&rng, SIZE / PAGE);
    if (!dedupe)
        return ioctl(to, FICLONERANGE, &(struct file_clone_range){ from, a, len, b }) == 0;
    /* the same bytes first, written; then one copy of them */
    VB_AUTO_FREE unsigned char *p = vb_alloc(len);
    if (pread(from, p, len, (off_t)a) != (ssize_t)len || pwrite(to, p, len, (off_t)b) != (ssize_t)len || fsync(to) < 0)
        return false;
    VB_AUTO_FREE struct file_dedupe_range *d = vb_alloc(sizeof *d + sizeof d->info[0]);
    d->src_offset = a;
    d->src_length = len;
    d->dest_count = 1;
    d->info[0].dest_fd = to;
    d->info[0].dest_offset = b;
    return ioctl(from, FIDEDUPERANGE, d) == 0 && d->info[0].status == FILE_DEDUPE_RANGE_SAME;
}

/* Bytes come in between, and all behind them moves. */
static bool insert(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !st.st_size)
        return false;
    uint64_t at = vb_rng_below(&rng, (uint64_t)st.st_size), n = 1 + vb_rng_below(&rng, 9000);
    size_t rest = (size_t)((uint64_t)st.st_size - at);
    VB_AUTO_FREE unsigned char *p = vb_alloc(rest);
    return rest < SIZE && pread(fd, p, rest, (off_t)at) == (ssize_t)rest && put(fd, at, n, false) &&
           pwrite(fd, p, rest, (off_t)(at + n)) == (ssize_t)rest;
}

static bool store(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !st.st_size)
        return false;
    unsigned char *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    for (unsigned i = 0; i < 5; i++)
        p[vb_rng_below(&rng, (uint64_t)st.st_size)]++;
    return munmap(p, (size_t)st.st_size) == 0;
}

static bool direct(struct lab *l, const char *name)
{
    void *p = NULL;
    VB_AUTO_FD int fd = open_file(l, name, O_DIRECT);
    if (fd < 0 || posix_memalign(&p, PAGE, 4 * PAGE) != 0)
        return false;
    fill(p, 4 * PAGE, false);
    bool ok = pwrite(fd, p, 4 * PAGE, (off_t)(PAGE * vb_rng_below(&rng, SIZE / PAGE))) == (ssize_t)(4 * PAGE);
    free(p);
    return ok;
}

static bool balance(struct lab *l)
{
    struct btrfs_ioctl_balance_args b;
    memset(&b, 0, sizeof b);
    b.flags = BTRFS_BALANCE_DATA;
    b.data.flags = BTRFS_BALANCE_ARGS_LIMIT;
    b.data.limit = 1;
    return ioctl(l->fd, BTRFS_IOC_BALANCE_V2, &b) == 0;
}

static const char *change(struct lab *l)
{
    VB_AUTO_FREE char *name = vb_printf("f%u", (unsigned)vb_rng_below(&rng, FILES));
    VB_AUTO_FREE char *other = vb_printf("f%u", (unsigned)vb_rng_below(&rng, FILES));
    VB_AUTO_FD int fd = open_file(l, name, 0), from = open_file(l, other, 0);
    uint64_t at = vb_rng_below(&rng, SIZE), page = at / PAGE * PAGE;
    off_t len = (off_t)(PAGE * (1 + vb_rng_below(&rng, 40)));
    switch (vb_rng_below(&rng, 40)) {
    case 0: return ftruncate(fd, (off_t)at) == 0 ? " truncate" : NULL;
    case 1: return ftruncate(fd, (off_t)(SIZE / 2 + at)) == 0 ? " truncate or extend" : NULL;
    case 2: return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, len) == 0 ? " punch" : NULL;
    case 3: return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page, len) == 0 ? " punch" : NULL;
    case 4: return fallocate(fd, 0, (off_t)page, len) == 0 ? " allocate" : NULL;
    case 5: return fallocate(fd, FALLOC_FL_ZERO_RANGE, (off_t)at, len) == 0 ? " zero" : NULL;
    case 6: return insert(fd) ? " insert" : NULL;
    case 7: case 8: return clone_range(fd, from, false) ? " clone range" : NULL;
    case 9: return clone_range(fd, from, true) ? " deduplicate" : NULL;
    case 10: return vb_rng_chance(&rng, 100) && ioctl(fd, FICLONE, from) == 0 ? " clone" : NULL;
    case 11: return vb_rng_chance(&rng, 300) && ioctl(fd, BTRFS_IOC_DEFRAG, NULL) == 0 ? " defragment" : NULL;
    case 12: return store(fd) ? " store" : NULL;
    case 13: return direct(l, name) ? " direct" : NULL;
    case 14: return fsync(fd) == 0 ? " fsync" : NULL;
    case 15: {
        VB_AUTO_FREE char *a = vb_printf("src/%s", name), *b = vb_printf("src/%s", other);
        return vb_rng_chance(&rng, 200) && renameat2(l->fd, a, l->fd, b, RENAME_EXCHANGE) == 0 ? " exchange" : NULL;
    }
    case 16: return vb_rng_chance(&rng, 60) && balance(l) ? " balance" : NULL;
    case 17: return put(fd, page, (size_t)len, true) ? " plain" : NULL;
    case 18: case 19: case 20: return put(fd, at, 1 + vb_rng_below(&rng, 20), false) ? " bytes" : NULL;
    case 21: return put(fd, at, 1 + vb_rng_below(&rng, 200000), false) ? " much" : NULL;
    default: return put(fd, page, PAGE, false) ? " page" : NULL;
    }
}

/* f0 is compressed, f1 is written in place and has no checksums, the others are ordinary. */
static void grow(struct lab *l)
{
    for (unsigned i = 0; i < FILES; i++) {
        VB_AUTO_FREE char *name = vb_printf("f%u", i);
        VB_AUTO_FD int fd = open_file(l, name, 0);
        int flags = i == 0 ? FS_COMPR_FL : i == 1 ? FS_NOCOW_FL : 0;
        assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
        assert_true(put(fd, 0, SIZE - i * 100000, i == 0));
    }
}

/* The rest is for metadata, and for data that come and go. */
static void fill_up(struct lab *l)
{
    struct statfs fs;
    VB_AUTO_FD int fd = openat(l->fd, "ballast", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fstatfs(l->fd, &fs), 0);
    off_t size = (off_t)fs.f_blocks * (off_t)fs.f_bsize;
    if (size > ROOM)
        assert_int_equal(posix_fallocate(fd, 0, size - ROOM), 0);
    syncfs(l->fd);
}

static void random_changes(void **state)
{
    struct lab *l = *state;
    if (!ready(l))
        return;
    const char *rounds = getenv("VB_TEST_ROUNDS");
    unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 40, changes = 0;
    grow(l);
    fill_up(l);
    look(l, " nothing");
    for (unsigned i = 0; i < n; i++) {
        VB_AUTO_BUF did = VB_BUF_INIT;
        for (unsigned k = vb_rng_chance(&rng, 300) ? 150 : 10; k > 0; k--) {
            const char *what = change(l);
            vb_buf_add_str(&did, what ? what : "");
            changes += what != NULL;
        }
        uint64_t read = look(l, vb_buf_str(&did));
        taken_rounds += read < FILES * SIZE / 2;
    }
    print_message("# %u changes in %u rounds; less than half was read in %llu\n", changes, n,
                  (unsigned long long)taken_rounds);
    assert_true(taken_rounds * 3 > n);
}

/* ---- one rule each ---- */

static void only_what_changed(void **state)
{
    struct lab *l = *state;
    if (!ready(l))
        return;
    VB_AUTO_FD int fd = open_file(l, "big", 0);
    assert_true(put(fd, 0, 30u << 20, false));
    assert_int_equal(look(l, " nothing"), 30u << 20);
    assert_true(put(fd, 7777777, 100, false));
    assert_in_range(look(l, " 100 bytes"), 1, 1u << 20);
    assert_int_equal(look(l, " nothing"), 0);
    assert_true(put(fd, 30u << 20, 5000, false));
    assert_in_range(look(l, " appended"), 1, 1u << 20);
    assert_int_equal(ftruncate(fd, 20u << 20), 0);
    assert_in_range(look(l, " truncated"), 1, 1u << 20);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5u << 20, 3u << 20), 0);
    assert_in_range(look(l, " punched"), 1, 1u << 20);
    assert_true(put(fd, 6u << 20, 1u << 20, false));
    assert_in_range(look(l, " filled"), 1, 3u << 20);
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(look(l, " mode alone"), 0);
}

static uint64_t first_address(struct lab *l, const char *name)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct stat st;
    struct vb_extents x = { .v = NULL };
    VB_AUTO_FD int fd = open_file(l, name, 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(vb_extents_read(fd, st.st_ino, (uint64_t)st.st_size, &x, &err), 0);
    uint64_t a = x.v[0].address;
    vb_extents_clear(&x);
    return a;
}

/* An address that was free meanwhile holds other data, at the same place of the same file. */
static void address_used_again(void **state)
{
    struct lab *l = *state;
    if (!ready(l))
        return;
    fill_up(l);
    unsigned again = 0;
    for (unsigned i = 0; i < 12 && !again; i++) {
        VB_AUTO_FREE char *name = vb_printf("g%u", i);
        VB_AUTO_FD int fd = open_file(l, name, 0);
        assert_true(put(fd, 0, 2u << 20, false));
        look(l, " nothing");
        uint64_t a = first_address(l, name);
        for (unsigned k = 0; k < 60 && !again; k++) {
            assert_true(put(fd, 0, 2u << 20, false));
            assert_int_equal(syncfs(l->fd), 0);
            again += first_address(l, name) == a;
        }
        look(l, " overwritten");
    }
    assert_true(again);
}

/* Files without copy-on-write: cloned to where nobody takes shadow copies, written there in place, cloned back. */
static void written_in_place(void **state)
{
    struct lab *l = *state;
    struct btrfs_ioctl_vol_args a = { .name = "aside" };
    const int in_place = FS_NOCOW_FL;
    if (!ready(l))
        return;
    assert_int_equal(ioctl(l->fd, BTRFS_IOC_SUBVOL_CREATE, &a), 0);
    VB_AUTO_FD int fd = open_file(l, "f", 0);
    VB_AUTO_FD int aside = openat(l->fd, "aside/n", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &in_place), 0);
    assert_int_equal(ioctl(aside, FS_IOC_SETFLAGS, &in_place), 0);
    assert_true(put(fd, 0, 2u << 20, false));
    look(l, " nothing");
    assert_int_equal(ioctl(aside, FICLONE, fd), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(syncfs(l->fd), 0);
    assert_true(put(aside, 300000, 50000, false));
    assert_int_equal(fsync(aside), 0);
    assert_int_equal(ioctl(fd, FICLONE, aside), 0);
    look(l, " cloned, written in place, cloned back");
}

/* What was read meanwhile without the file system's knowledge is in the memory, and what was known before is not used. */
static void looked_at_live_meanwhile(void **state)
{
    struct lab *l = *state;
    struct lab_root root;
    if (!ready(l))
        return;
    VB_AUTO_FD int fd = open_file(l, "f", 0);
    assert_true(put(fd, 0, 4u << 20, false));
    look(l, " nothing");
    assert_true(put(fd, 1u << 20, 100000, false));
    struct vb_msg c = lab_component("c");
    lab_fileset(l, &c, "src", NULL, "*", true, true);
    lab_capture(l, &c, 1);
    assert_int_equal(lab_code(l, 0), VB_OK);
    assert_true(lab_root(l, 0, 0, &root));
    assert_int_equal(root_u64(l, VB_F_BYTES_READ), 4u << 20);
    assert_true(put(fd, 3u << 20, 100000, false));
    assert_int_equal(look(l, " looked at live"), 4u << 20);
    assert_true(put(fd, 3u << 20, 100000, false));
    assert_in_range(look(l, " changed"), 1, 1u << 20);
}

#define LAB_TEST(name, fn) { name, fn, lab_setup, lab_teardown, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAB_TEST("only what changed in a large file is read", only_what_changed),
        LAB_TEST("an address that was given away again is no proof", address_used_again),
        LAB_TEST("files that are written in place are read", written_in_place),
        LAB_TEST("what was looked at live is read again", looked_at_live_meanwhile),
        LAB_TEST("random changes of large files: what is captured is what is there", random_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
