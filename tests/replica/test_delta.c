/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/replica/test_delta.c - what differs inside a large file travels, and nothing else; each side reads it once. */
#include <config.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/replica/pass_lab.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "replica/delta.h"
#include "replica/item_file.h"

#define SIZE (9u << 20)

static struct lab l;
static unsigned char *content;
static size_t size;

static void store(void)
{
    VB_AUTO_FREE char *path = lab_path(&l, 0, "big");
    VB_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(vb_write_all(fd, content, size, NULL), 0);
}

static int start(void **state)
{
    (void)state;
    struct vb_rng rng;
    lab_open(&l, 2);
    vb_rng_seed(&rng, 7);
    content = vb_alloc(SIZE + (1u << 20));
    size = SIZE;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t v = vb_rng_next(&rng);
        memcpy(content + i, &v, 8);
    }
    store();
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_int_equal(r.bytes, SIZE);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    lab_close(&l);
    vb_free_ptr(&content);
    return 0;
}

static struct vb_pass_result go(void)
{
    store();
    struct vb_pass_result r = lab_go(&l, 0, 1);
    VB_AUTO_FREE char *path = lab_path(&l, 1, "big");
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_read_file_at(AT_FDCWD, path, 1u << 30, &b, NULL), 0);
    assert_int_equal(b.len, size);
    if (memcmp(b.data, content, size) != 0)
        fail_msg("contents differ");
    struct vb_pass_result again = lab_go(&l, 0, 1);
    assert_true(vb_pass_quiet(&again));
    return r;
}

static void few_bytes(void **state)
{
    (void)state;
    memset(content + 5000000, 'x', 4096); /* touches two blocks at most */
    assert_in_range(go().bytes, 4096, 32768);
    content[0] ^= 1;
    content[size - 1] ^= 1;
    assert_in_range(go().bytes, 2, 32768);
    for (size_t i = 0; i < size; i += 1u << 20) /* in each window, and over its edges */
        content[i] ^= 1;
    memset(content + (4u << 20) - 10, 'y', 20);
    assert_in_range(go().bytes, 10, 11 * 16384);
}

static void other_lengths(void **state)
{
    (void)state;
    memset(content + SIZE, 'z', 100000);
    size = SIZE + 100000;
    assert_in_range(go().bytes, 100000, 100000 + 16384);
    size = SIZE - 4 * 1000 * 1000 - 7;
    assert_in_range(go().bytes, 0, 16384);
    size = SIZE;
    assert_in_range(go().bytes, 4000007, 4000007 + 16384);
}

static void everything(void **state)
{
    (void)state;
    for (size_t i = 0; i < size; i++)
        content[i] ^= 0x55;
    assert_int_equal(go().bytes, size);
    memset(content, 0, size); /* becomes a hole */
    go();
    VB_AUTO_FREE char *path = lab_path(&l, 1, "big");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 < SIZE / 2);
}

static void holes_stay(void **state)
{
    (void)state;
    memset(content + (1u << 20), 0, 6u << 20);
    go();
    content[10] ^= 1; /* what is the same is copied with its holes */
    assert_in_range(go().bytes, 1, 16384);
    VB_AUTO_FREE char *path = lab_path(&l, 1, "big");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 < 5u << 20);
}

/* Cut off in the middle: what was staged is not asked for again, what follows is compared from there on. */
static void continued(void **state)
{
    (void)state;
    unsigned char h[VB_HASH_LEN];
    VB_AUTO_BUF name = VB_BUF_INIT;
    memset(content + 1000, 'a', 3000000);
    memset(content + 7000000, 'b', 4096);
    vb_hash(content, size, h);
    vb_buf_add_char(&name, 'p');
    for (size_t i = 0; i < VB_HASH_LEN; i++)
        vb_buf_addf(&name, "%02x", h[i]);
    VB_AUTO_FREE char *dir = lab_path(&l, 1, VB_PLACE_DIR "/stage/");
    VB_AUTO_FREE char *path = vb_printf("%s%s", dir, vb_buf_str(&name));
    VB_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(vb_write_all(fd, content, 3500001, NULL), 0); /* not on the edge of a block */
    assert_in_range(go().bytes, 4096, 4 * 16384);
}

/* The old file is not what its sums say any more: it is asked for anew, never mixed. */
static void damaged_base(void **state)
{
    (void)state;
    VB_AUTO_FREE char *path = lab_path(&l, 1, "big");
    struct stat st;
    struct vb_pass_result r;
    assert_int_equal(stat(path, &st), 0);
    VB_AUTO_FD int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "damage", 6, 6000000), 6);
    const struct timespec t[2] = { st.st_atim, st.st_mtim };
    assert_int_equal(futimens(fd, t), 0);
    content[0] ^= 1;
    store();
    lab_pass(&l, 0, 1, NULL, &r); /* a conflict, as the change shows in the inode's time */
    lab_go(&l, 1, 0);
    VB_AUTO_FREE char *a = lab_tree(&l, 0);
    VB_AUTO_FREE char *b = lab_tree(&l, 1);
    assert_string_equal(a, b);
}

/* The scan that found the change has the sums: the source's file is read by the pass for what is asked only. */
static void read_once(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_scan_result scan;
    unsigned char h[VB_HASH_LEN];
    memset(content + 5000000, 'x', 4096);
    store();
    vb_hash(content, size, h);
    VB_AUTO_PLACE *p = lab_place(&l, 0);
    assert_ok(vb_scan(p, NULL, &scan, &err));
    const struct vb_blocks *b = vb_blocks_find(p, h);
    assert_non_null(b);
    assert_int_equal(b->n, SIZE / 16384);
}

/* A block that a file has twice, or none: sums of every length. */
static void sums(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 3 * 16384; n = n * 2 + 1) {
        VB_AUTO_BLOCKS *a = vb_blocks_new(n);
        VB_AUTO_BLOCKS *b = vb_blocks_new(n);
        vb_blocks_add(a, content, (size_t)n);
        for (uint64_t at = 0; at < n; at += 1000)
            vb_blocks_add(b, content + at, (size_t)(n - at < 1000 ? n - at : 1000));
        assert_true(vb_blocks_end(a) && vb_blocks_end(b));
        assert_memory_equal(a->sums, b->sums, (size_t)a->n * VB_BLOCK_SUM);
        VB_AUTO_BLOCKS *c = vb_blocks_new(n + 1);
        vb_blocks_add(c, content, (size_t)n);
        assert_false(vb_blocks_end(c));
    }
    VB_AUTO_BLOCKS *huge = vb_blocks_new(1ull << 42);
    assert_in_range(huge->n, 1, 65536);
}

static void transfer(void)
{
    struct vb_pass_result r;
    _exit(lab_pass(&l, 0, 1, NULL, &r) == VB_OK ? 0 : 1);
}

static uint64_t staged(void)
{
    struct stat st;
    VB_AUTO_FREE char *dir = lab_path(&l, 1, VB_PLACE_DIR "/stage");
    uint64_t most = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] == 'p' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && (uint64_t)st.st_size > most)
            most = (uint64_t)st.st_size;
    closedir(d);
    return most;
}

/* Killed while a file arrives: the rest comes, and a block more at most.  DELTA_MIB makes it as large as wished. */
static void killed_inside(void **state)
{
    (void)state;
    const char *mib = getenv("DELTA_MIB");
    size_t n = (mib ? strtoul(mib, NULL, 10) : 48) << 20;
    VB_AUTO_FREE char *path = lab_path(&l, 0, "huge");
    VB_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (size_t at = 0; at < n; at += 1u << 20) {
        content[0] = (unsigned char)(at >> 20);
        content[1] = (unsigned char)(at >> 28);
        assert_int_equal(vb_write_all(fd, content, 1u << 20, NULL), 0);
    }
    pid_t pid = fork();
    if (pid == 0)
        transfer();
    for (int i = 0; i < 20000 && staged() < n / 4; i++)
        usleep(500);
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    uint64_t there = staged();
    if (there < 65536)
        skip(); /* it was through before we looked */
    struct vb_pass_result r = lab_go(&l, 0, 1);
    assert_in_range(r.bytes, 1, n - there + 4096);
    lab_remove(&l, 0, "huge");
    lab_go(&l, 0, 1);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest t[] = { /* one after the other in one lab */
        CM_TEST("sums of blocks", sums),
        CM_TEST("REPL-T47 killed inside a file", killed_inside),
        CM_TEST("a few bytes changed", few_bytes),
        CM_TEST("the source reads it once", read_once),
        CM_TEST("longer and shorter", other_lengths),
        CM_TEST("REPL-T33 holes stay holes", holes_stay),
        CM_TEST("REPL-T47 continued in the middle of a delta", continued),
        CM_TEST("REPL-T28 a base that changed meanwhile", damaged_base),
        CM_TEST("everything changed", everything),
    };
    return cmocka_run_group_tests_name("changes inside large files", t, start, stop);
}
