/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a look: what was put is there, what was not committed is not, and no damage is believed.
 */
#include "config.h"

#include "tests/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tracking/look.h"

static char dir[] = "/tmp/tracking-look-XXXXXX";
static char *path;

static int setup(void **state)
{
    (void)state;
    memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
    if (!mkdtemp(dir))
        return -1;
    path = vb_printf("%s/a.look", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vb_free_ptr(&path);
    return vb_remove_tree_at(AT_FDCWD, dir, NULL);
}

static void put(struct vb_look *l, const char *where, uint64_t ino, const char *payload)
{
    VB_AUTO_BUF row = VB_BUF_INIT;
    VB_AUTO_BUF pay = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    const struct vb_look_entry v[2] = {
        { .st = { .ino = ino, .mode = S_IFREG | 0644, .ctime_sec = -5, .ctime_nsec = 7, .size = 1ull << 40, .nlink = 3,
                  .mtime_sec = INT64_MAX, .mtime_nsec = 999999999 },
          .flags = VB_LOOK_TRUSTED, .name = "a\xff" },
        { .st = { .ino = ino + 1, .mode = S_IFDIR }, .flags = VB_LOOK_CLOSED, .name = "b" },
    };
    vb_look_row_encode(&row, where, v, 2);
    vb_buf_add_str(&pay, payload);
    assert_int_equal(vb_look_put(l, where, &row, &pay, &err), 0);
}

static uint64_t ino_of(struct vb_look *l, const char *where)
{
    struct vb_look_row row;
    struct vb_look_entry e;
    size_t i;
    if (!vb_look_row(l, where, &row) || !vb_look_row_find(&row, "a\xff", &i))
        return 0;
    vb_look_row_get(&row, i, &e);
    assert_string_equal(e.name, "a\xff");
    assert_int_equal(e.st.ctime_sec, -5);
    assert_int_equal(e.st.size, 1ull << 40);
    assert_int_equal(e.st.mtime_sec, INT64_MAX);
    assert_int_equal(e.flags, VB_LOOK_TRUSTED);
    return e.st.ino;
}

static bool payload_is(struct vb_look *l, const char *where, const char *want)
{
    const unsigned char *p;
    size_t n;
    return vb_look_payload(l, where, &p, &n) == 1 && n == strlen(want) && !memcmp(p, want, n);
}

static struct vb_look *create(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_look *l = vb_look_create(path, &err);
    assert_non_null(l);
    return l;
}

static struct vb_look *reopen(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_look *l = vb_look_open(path, &err);
    if (!l)
        fail_msg("%s", vb_error_text(&err));
    return l;
}

static void kept_and_forgotten(void **state)
{
    (void)state;
    struct vb_look *l = create();
    put(l, "", 1, "top");
    put(l, "./a", 2, "A");
    put(l, "./a/x", 3, "X");
    put(l, "./a0", 4, "0");
    assert_int_equal(vb_look_set_note(l, "n", "v", 1, NULL), 0);
    assert_int_equal(vb_look_commit(l, NULL), 0);
    vb_look_close(l);
    l = reopen();
    assert_int_equal(ino_of(l, "./a/x"), 3);
    assert_int_equal(ino_of(l, ""), 1);
    assert_true(payload_is(l, "./a", "A"));
    assert_false(payload_is(l, "./b", "A"));
    const unsigned char *v;
    size_t n;
    assert_int_equal(vb_look_note(l, "n", &v, &n), 1);
    assert_int_equal(vb_look_note(l, "m", &v, &n), 0);
    assert_int_equal(vb_look_forget(l, "./a", true, NULL), 0);
    put(l, "", 9, "new");
    assert_int_equal(ino_of(l, "./a/x"), 0);
    vb_look_close(l); /* not committed */
    l = reopen();
    assert_int_equal(ino_of(l, "./a/x"), 3);
    assert_int_equal(ino_of(l, ""), 1);
    assert_int_equal(vb_look_forget(l, "./a", true, NULL), 0);
    assert_int_equal(vb_look_commit(l, NULL), 0);
    vb_look_close(l);
    l = reopen();
    assert_int_equal(ino_of(l, "./a/x"), 0);
    assert_int_equal(ino_of(l, "./a"), 0);
    assert_int_equal(ino_of(l, "./a0"), 4); /* no path below ./a */
    vb_look_close(l);
}

static bool part_is(struct vb_look *l, const char *where, const char *text)
{
    const unsigned char *v;
    size_t n;
    if (vb_look_part(l, where, &v, &n) != 1)
        return !text;
    return text && n == strlen(text) && !memcmp(v, text, n);
}

static void set_part(struct vb_look *l, const char *where, const char *text)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_add_str(&b, text);
    assert_int_equal(vb_look_set_part(l, where, &b, NULL), 0);
}

static void parts_of_entries(void **state)
{
    (void)state;
    struct vb_look *l = create();
    set_part(l, "./a/f", "one");
    set_part(l, "./a/f", "two");
    set_part(l, "./a0", "three");
    set_part(l, "./b", "four");
    assert_int_equal(vb_look_commit(l, NULL), 0);
    vb_look_close(l);
    l = reopen();
    assert_true(part_is(l, "./a/f", "two") && part_is(l, "./a0", "three") && part_is(l, "./c", NULL));
    assert_int_equal(vb_look_set_part(l, "./b", NULL, NULL), 0);
    assert_int_equal(vb_look_forget(l, "./a", true, NULL), 0);
    assert_true(part_is(l, "./a/f", NULL) && part_is(l, "./a0", "three") && part_is(l, "./b", NULL));
    vb_look_close(l);
}

static void new_one_takes_the_place_at_commit_only(void **state)
{
    (void)state;
    struct vb_look *l = create();
    put(l, "", 1, "one");
    assert_int_equal(vb_look_commit(l, NULL), 0);
    vb_look_close(l);
    l = create();
    put(l, "", 2, "two");
    vb_look_close(l);
    l = reopen();
    assert_int_equal(ino_of(l, ""), 1);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_look_open(path, &err)); /* one at a time */
    assert_int_equal(err.code, VB_E_BUSY);
    vb_look_close(l);
}

static void one_makes_it_at_a_time(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_look *l = create();
    put(l, "", 1, "mine");
    assert_null(vb_look_create(path, &err));
    assert_int_equal(err.code, VB_E_BUSY);
    assert_int_equal(vb_look_commit(l, NULL), 0);
    vb_look_close(l);
    l = reopen();
    assert_true(payload_is(l, "", "mine"));
    vb_look_close(l);
    l = create(); /* and one that was given up leaves nothing in the way */
    vb_look_close(l);
    l = create();
    vb_look_close(l);
}

static void absent_and_foreign(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_look_open(path, &err));
    assert_int_equal(err.code, VB_E_OBJECT_NOT_FOUND);
    vb_error_clear(&err);
    assert_int_equal(vb_write_file_at(AT_FDCWD, path, "not a database, not at all", 26, 0600, &err), 0);
    assert_null(vb_look_open(path, &err));
    assert_int_equal(err.code, VB_E_CORRUPT);
}

/* Every byte of the file is flipped in turn, some of them at a time: what is found is right or is not found. */
static void damage_is_never_believed(void **state)
{
    (void)state;
    struct vb_rng rng;
    vb_rng_seed(&rng, 5);
    struct vb_look *l = create();
    for (uint64_t i = 1; i < 60; i++) {
        VB_AUTO_FREE char *p = vb_printf("./d%u", (unsigned)i), *pay = vb_printf("payload %u", (unsigned)i);
        put(l, p, i, pay);
    }
    assert_int_equal(vb_look_commit(l, NULL), 0);
    vb_look_close(l);
    VB_AUTO_BUF whole = VB_BUF_INIT;
    assert_int_equal(vb_read_file_at(AT_FDCWD, path, 1u << 24, &whole, NULL), 0);
    for (unsigned round = 0; round < 300; round++) {
        VB_AUTO_BUF bad = VB_BUF_INIT;
        vb_buf_add(&bad, whole.data, whole.len);
        for (unsigned k = 0; k < 20; k++)
            bad.data[vb_rng_below(&rng, bad.len)] ^= (unsigned char)(1u << vb_rng_below(&rng, 8));
        if (round % 10 == 0)
            bad.len = (size_t)vb_rng_below(&rng, bad.len);
        VB_AUTO_FD int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(vb_write_all(fd, bad.data, bad.len, NULL), 0);
        l = vb_look_open(path, NULL);
        for (uint64_t i = 1; l && i < 60; i++) {
            VB_AUTO_FREE char *p = vb_printf("./d%u", (unsigned)i), *pay = vb_printf("payload %u", (unsigned)i);
            const unsigned char *v;
            size_t n;
            uint64_t ino = ino_of(l, p);
            assert_true(ino == 0 || ino == i);
            assert_true(vb_look_payload(l, p, &v, &n) == 0 || payload_is(l, p, pay));
        }
        vb_look_close(l);
    }
}

static void settled(void **state)
{
    (void)state;
    const int64_t s = 1000000000;
    struct vb_look_stat a = { .ino = 5, .ctime_sec = 100, .ctime_nsec = 500 };
    assert_true(vb_look_stat_settled(&a, 101 * s));
    assert_false(vb_look_stat_settled(&a, 100 * s + 1000));
    assert_false(vb_look_stat_settled(&a, 50 * s)); /* from the future */
    a.ctime_nsec = 0;
    assert_false(vb_look_stat_settled(&a, 101 * s)); /* perhaps it has seconds only */
    assert_true(vb_look_stat_settled(&a, 103 * s));
    a.ino = 0;
    assert_false(vb_look_stat_settled(&a, 200 * s));
    a = (struct vb_look_stat){ .ino = 5 };
    assert_false(vb_look_stat_settled(&a, 200 * s));
}

#define LOOK_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOK_TEST(kept_and_forgotten), LOOK_TEST(parts_of_entries), LOOK_TEST(one_makes_it_at_a_time),
        LOOK_TEST(new_one_takes_the_place_at_commit_only),
        LOOK_TEST(absent_and_foreign),
        LOOK_TEST(damage_is_never_believed),
        LOOK_TEST(settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
