/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's set of records and its bytes; tests/agent/test_capture_journal.c has the real thing.
 */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "tests/cm.h"
#include "tracking/changes.h"
#include "tracking/journal_talk.h"

static void touch(struct vb_journal_set *s, uint64_t ino, int64_t now)
{
    unsigned char key[8];
    vb_journal_ino_key(key, ino);
    vb_journal_set_touch(s, VB_JOURNAL_MOVED, key, sizeof key, now);
}

static size_t count_since(const struct vb_journal_set *s, int64_t since, uint64_t *sum)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_reader r;
    struct vb_journal_record one;
    size_t n = 0;
    uint64_t ino;
    int rc;
    vb_journal_set_encode(s, since, &b);
    vb_reader_init(&r, b.data, b.len);
    for (*sum = 0; (rc = vb_journal_record_take(&r, &one)) == 1; n++) {
        assert_true(vb_journal_key_ino(&one, &ino));
        assert_true(one.last >= since);
        *sum += ino;
    }
    assert_int_equal(rc, 0);
    return n;
}

static void a_set_not_a_list(void **state)
{
    struct vb_journal_set *s = vb_journal_set_new(1000);
    uint64_t sum;
    (void)state;
    for (int64_t i = 1; i <= 5000; i++)
        touch(s, (uint64_t)i % 100 + 1, i);
    assert_int_equal(vb_journal_set_count(s), 100);
    assert_int_equal(count_since(s, 0, &sum), 100);
    assert_int_equal(sum, 5050);
    assert_int_equal(count_since(s, 4991, &sum), 10);
    touch(s, 7, 3); /* an older time is not believed */
    assert_int_equal(count_since(s, 4991, &sum), 10);
    assert_int_equal(count_since(s, 5001, &sum), 0);
    assert_int_equal(vb_journal_set_dropped(s), 0);
    vb_journal_set_free(s);
}

/* When there is no room, what is left out is older than what `dropped` says, and nothing newer is. */
static void bounded(void **state)
{
    struct vb_journal_set *s = vb_journal_set_new(64);
    uint64_t sum;
    (void)state;
    for (int64_t i = 1; i <= 1000; i++) {
        touch(s, (uint64_t)i, i);
        assert_true(vb_journal_set_count(s) <= 64);
        int64_t floor = vb_journal_set_dropped(s);
        assert_int_equal(count_since(s, floor + 1, &sum), (size_t)(i - floor));
    }
    assert_true(vb_journal_set_dropped(s) > 900);
    for (int64_t i = 0; i < 100; i++)
        touch(s, (uint64_t)(2000 + i), 5000); /* all at once */
    assert_true(vb_journal_set_count(s) <= 64);
    assert_int_equal(vb_journal_set_dropped(s), 5000);
    vb_journal_set_free(s);
}

static void hints(void **state)
{
    struct vb_journal_set *s = vb_journal_set_new(64);
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_reader r;
    unsigned char key[8];
    struct vb_journal_record one;
    (void)state;
    vb_journal_ino_key(key, 5);
    vb_journal_set_add(s, &(struct vb_journal_record){ VB_JOURNAL_OPEN, 1, key, 8, 2, "/a" });
    vb_journal_set_add(s, &(struct vb_journal_record){ VB_JOURNAL_OPEN, 2, key, 8, 4, "/b/c" });
    vb_journal_set_encode(s, 2, &b);
    vb_reader_init(&r, b.data, b.len);
    assert_int_equal(vb_journal_record_take(&r, &one), 1);
    assert_int_equal(one.n_hint, 4);
    assert_memory_equal(one.hint, "/b/c", 4);
    vb_journal_set_free(s);
    for (size_t n = 1; n < b.len; n++) { /* cut off anywhere: noticed */
        vb_reader_init(&r, b.data, n);
        assert_int_equal(vb_journal_record_take(&r, &one), -1);
    }
    for (size_t i = 0; i < b.len; i++) {
        b.data[i] ^= 4;
        vb_reader_init(&r, b.data, b.len);
        assert_int_equal(vb_journal_record_take(&r, &one), -1);
        b.data[i] ^= 4;
    }
}

static void handles(void **state)
{
    unsigned char key[4 + VB_JOURNAL_HANDLE_MAX], handle[20] = { 0 };
    uint32_t small = 4711;
    uint64_t large = 1234567890123u, ino;
    (void)state;
    memcpy(handle, &small, sizeof small);
    assert_true(vb_journal_handle_ino(key, vb_journal_handle_key(key, 1, handle, 8), &ino));
    assert_int_equal(ino, small);
    memcpy(handle, &large, sizeof large);
    assert_true(vb_journal_handle_ino(key, vb_journal_handle_key(key, 0x4d, handle, 20), &ino));
    assert_int_equal(ino, large);
    assert_true(vb_journal_handle_ino(key, vb_journal_handle_key(key, 0x81, handle, 12), &ino));
    assert_int_equal(ino, large);
    assert_false(vb_journal_handle_ino(key, vb_journal_handle_key(key, 0x99, handle, 12), &ino));
    assert_int_equal(vb_journal_handle_key(key, 1, handle, VB_JOURNAL_HANDLE_MAX + 1), 0);
}

/* Times of the wall clock become times of the journal; what lies before its beginning has no position. */
static void positions(void **state)
{
    struct vb_journal_answer a = { .start = 1000, .now = 5000, .offset = 1000000, .open_known = true };
    struct vb_journal_position p;
    (void)state;
    assert_true(vb_journal_position_at(&a, 1002000, &p));
    assert_int_equal(p.since, 2000);
    assert_false(vb_journal_position_at(&a, 1000999, &p));
    assert_false(vb_journal_position_at(&a, 1005001, &p)); /* the clock was set */
    a.open_known = false;
    assert_false(vb_journal_position_at(&a, 1002000, &p));
}

static void moved_inodes(void **state)
{
    struct vb_changes *c = vb_changes_new();
    (void)state;
    assert_false(vb_changes_moved(c, 1));
    for (uint64_t i = 1; i <= 2000; i++)
        vb_changes_mark_moved(c, i * 4096);
    for (uint64_t i = 1; i <= 2000; i++) {
        assert_true(vb_changes_moved(c, i * 4096));
        assert_false(vb_changes_moved(c, i * 4096 + 1));
    }
    assert_false(vb_changes_moved(c, 0));
    vb_changes_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_not_a_list), cmocka_unit_test(bounded),   cmocka_unit_test(hints),
        cmocka_unit_test(handles),          cmocka_unit_test(positions), cmocka_unit_test(moved_inodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
