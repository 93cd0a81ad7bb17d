/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/backend_contract.c - the contract suite of store/backend.h.
 */
#include <config.h>
#include "tests/cm.h"
#include "tests/store/backend_contract.h"

#include <pthread.h>

#include "base/mem.h"

static const struct backend_contract *contract;

static int setup(void **state)
{
    *state = contract->make();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    vb_backend_close(*state);
    if (contract->finish)
        contract->finish();
    return 0;
}

static void put(struct vb_backend *b, const char *name, const char *text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_backend_write(b, name, text, strlen(text), &err));
}

static void assert_holds(struct vb_backend *b, const char *name, const char *text)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_backend_read_all(b, name, 1000, &out, &err));
    assert_string_equal(vb_buf_str(&out), text);
}

static void written_is_read_in_whole_and_in_part(void **state)
{
    struct vb_backend *b = *state;
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t size = 99;
    put(b, "packs/ab/abcd", "0123456789");
    assert_holds(b, "packs/ab/abcd", "0123456789");
    vb_buf_add_str(&out, ">");
    assert_ok(vb_backend_read(b, "packs/ab/abcd", 3, 4, &out, &err));
    assert_string_equal(vb_buf_str(&out), ">3456");
    assert_ok(vb_backend_size(b, "packs/ab/abcd", &size, &err));
    assert_int_equal(size, 10);
    assert_ok(vb_backend_read(b, "packs/ab/abcd", 10, 0, &out, &err));
    put(b, "empty", "");
    assert_ok(vb_backend_size(b, "empty", &size, &err));
    assert_int_equal(size, 0);
}

static void reading_beyond_the_end_is_damage(void **state)
{
    struct vb_backend *b = *state;
    const uint64_t offsets[] = { 0, 5, 10, 11, UINT64_MAX / 4 };
    put(b, "config", "0123456789");
    for (size_t i = 0; i < VB_COUNT(offsets); i++) {
        VB_AUTO_BUF out = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_buf_add_str(&out, "kept");
        assert_int_equal(vb_backend_read(b, "config", offsets[i], 11, &out, &err), -1);
        assert_int_equal(err.code, VB_E_CORRUPT);
        assert_int_equal(out.len, 4);
    }
}

static void missing_files_are_not_found(void **state)
{
    struct vb_backend *b = *state;
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR e1 = VB_ERROR_INIT, e2 = VB_ERROR_INIT, e3 = VB_ERROR_INIT;
    uint64_t size;
    put(b, "index/aa", "x");
    assert_int_equal(vb_backend_read(b, "index/bb", 0, 1, &out, &e1), -1);
    assert_int_equal(e1.code, VB_E_NOT_FOUND);
    assert_contains(e1.text, "index/bb");
    assert_int_equal(vb_backend_size(b, "packs/aa/bb", &size, &e2), -1);
    assert_int_equal(e2.code, VB_E_NOT_FOUND);
    assert_int_equal(vb_backend_remove(b, "index/bb", &e3), -1);
    assert_int_equal(e3.code, VB_E_NOT_FOUND);
}

static void existing_files_are_never_changed(void **state)
{
    struct vb_backend *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    put(b, "index/aa", "first");
    assert_int_equal(vb_backend_write(b, "index/aa", "second", 6, &err), -1);
    assert_int_equal(err.code, VB_E_EXISTS);
    assert_holds(b, "index/aa", "first");
}

static void removed_is_gone_and_may_come_again(void **state)
{
    struct vb_backend *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t size;
    put(b, "index/aa", "first");
    assert_ok(vb_backend_barrier(b, &err));
    assert_holds(b, "index/aa", "first");
    assert_ok(vb_backend_remove(b, "index/aa", &err));
    assert_int_equal(vb_backend_size(b, "index/aa", &size, NULL), -1);
    put(b, "index/aa", "second");
    assert_ok(vb_backend_barrier(b, &err));
    assert_holds(b, "index/aa", "second");
}

static int gather(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    struct vb_strv *l = arg;
    (void)err;
    vb_strv_take(l, vb_printf("%s=%llu", name, (unsigned long long)size));
    return 0;
}

static void assert_list(struct vb_backend *b, const char *prefix, const char *want)
{
    struct vb_strv l = { 0 };
    VB_AUTO_BUF text = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_backend_list(b, prefix, gather, &l, &err));
    vb_strv_sort(&l);
    for (size_t i = 0; i < l.n; i++)
        vb_buf_addf(&text, "%s%s", i ? " " : "", l.v[i]);
    assert_string_equal(vb_buf_str(&text), want);
    vb_strv_clear(&l);
}

static void listing_is_complete(void **state)
{
    struct vb_backend *b = *state;
    assert_list(b, "", "");
    assert_list(b, "packs/", "");
    put(b, "config", "abc");
    put(b, "packs/ab/abcd", "1");
    put(b, "packs/ab/abce", "22");
    put(b, "packs/ff/ff00", "333");
    put(b, "index/0a", "4444");
    assert_list(b, "packs/", "packs/ab/abcd=1 packs/ab/abce=2 packs/ff/ff00=3");
    assert_list(b, "packs/ff/", "packs/ff/ff00=3");
    assert_list(b, "", "config=3 index/0a=4 packs/ab/abcd=1 packs/ab/abce=2 packs/ff/ff00=3");
    assert_list(b, "catalog/", "");
}

static int stop_at_once(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)name, (void)size, (void)err;
    ++*(int *)arg;
    return 7;
}

static void listing_can_be_stopped(void **state)
{
    int calls = 0;
    put(*state, "index/0a", "1");
    put(*state, "index/0b", "1");
    assert_int_equal(vb_backend_list(*state, "index/", stop_at_once, &calls, NULL), 7);
    assert_int_equal(calls, 1);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    const char *const bad[] = { "", "/", "/config", "../config", "packs/../config", "packs//x", "packs/", "Config",
                                "a b", ".hidden", "packs/.x", "x\n", "-x" };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        VB_AUTO_BUF out = VB_BUF_INIT;
        VB_AUTO_ERROR e1 = VB_ERROR_INIT, e2 = VB_ERROR_INIT, e3 = VB_ERROR_INIT;
        assert_int_equal(vb_backend_write(*state, bad[i], "x", 1, &e1), -1);
        assert_int_equal(e1.code, VB_E_USAGE);
        assert_int_equal(vb_backend_read(*state, bad[i], 0, 0, &out, &e2), -1);
        assert_int_equal(e2.code, VB_E_USAGE);
        assert_int_equal(vb_backend_remove(*state, bad[i], &e3), -1);
        assert_int_equal(e3.code, VB_E_USAGE);
    }
}

static void one_handle_holds_the_lock(void **state)
{
    if (contract->no_lock)
        skip();
    struct vb_backend *b = *state, *second = contract->again(b);
    VB_AUTO_ERROR err = VB_ERROR_INIT, busy = VB_ERROR_INIT, twice = VB_ERROR_INIT;
    assert_non_null(second);
    assert_ok(vb_backend_lock(b, "host alpha, process 17", &err));
    assert_int_equal(vb_backend_lock(second, "other", &busy), -1);
    assert_int_equal(busy.code, VB_E_BUSY);
    assert_contains(busy.text, "host alpha, process 17");
    assert_non_null(busy.hint);
    assert_int_equal(vb_backend_lock(b, "again", &twice), -1);
    assert_int_equal(twice.code, VB_E_BAD_STATE);
    vb_backend_unlock(second); /* not the holder: changes nothing */
    vb_error_clear(&busy);
    assert_int_equal(vb_backend_lock(second, "other", &busy), -1);
    vb_backend_unlock(b);
    assert_ok(vb_backend_lock(second, "other", &err));
    vb_backend_close(second); /* whoever goes takes the lock along */
    assert_ok(vb_backend_lock(b, "again", &err));
}

static void another_handle_sees_what_was_written(void **state)
{
    struct vb_backend *b = *state, *second = contract->again(b);
    put(b, "index/0a", "seen");
    assert_holds(second, "index/0a", "seen");
    assert_list(second, "index/", "index/0a=4");
    vb_backend_close(second);
}

static void large_files_come_back_whole(void **state)
{
    struct vb_backend *b = *state;
    const size_t n = ((size_t)3 << 20) + 17;
    VB_AUTO_FREE unsigned char *bytes = vb_alloc(n);
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(i * 31 + (i >> 9));
    assert_ok(vb_backend_write(b, "packs/00/00", bytes, n, &err));
    assert_ok(vb_backend_barrier(b, &err));
    assert_ok(vb_backend_read_all(b, "packs/00/00", n, &out, &err));
    assert_int_equal(out.len, n);
    assert_memory_equal(out.data, bytes, n);
    assert_int_equal(vb_backend_read_all(b, "packs/00/00", n - 1, &out, &err), -1);
    assert_int_equal(err.code, VB_E_LIMIT);
}

static void names_of_every_form_are_kept(void **state)
{
    struct vb_backend *b = *state;
    VB_AUTO_BUF longest = VB_BUF_INIT;
    vb_buf_add_str(&longest, "catalog/");
    for (unsigned i = 0; i < 200; i++)
        vb_buf_add_char(&longest, (char)('a' + i % 26));
    const char *const names[] = { "a", "0", "a.b", "a-b", "catalog/00000000000000000007-0123abcd.json", "d/b/c/d",
                                  vb_buf_str(&longest) };
    for (size_t i = 0; i < VB_COUNT(names); i++)
        put(b, names[i], names[i]);
    for (size_t i = 0; i < VB_COUNT(names); i++)
        assert_holds(b, names[i], names[i]);
    assert_list(b, "d/b/", "d/b/c/d=7");
    put(b, "d.b", "x");
    assert_list(b, "d/", "d/b/c/d=7");
}

static void every_size_comes_back(void **state)
{
    struct vb_backend *b = *state;
    const size_t sizes[] = { 0, 1, 4095, 4096, 32767, 32768, 32769, 261120, 1000003 };
    VB_AUTO_FREE unsigned char *bytes = vb_alloc(1000003);
    for (size_t i = 0; i < 1000003; i++)
        bytes[i] = (unsigned char)(i * 17 + (i >> 8));
    for (size_t i = 0; i < VB_COUNT(sizes); i++) {
        VB_AUTO_FREE char *name = vb_printf("packs/%02zu", i);
        VB_AUTO_BUF out = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        uint64_t size = 0;
        assert_ok(vb_backend_write(b, name, bytes, sizes[i], &err));
        assert_ok(vb_backend_size(b, name, &size, &err));
        assert_int_equal(size, sizes[i]);
        assert_ok(vb_backend_read_all(b, name, sizes[i], &out, &err));
        assert_int_equal(out.len, sizes[i]);
        if (sizes[i] > 0)
            assert_memory_equal(out.data, bytes, sizes[i]);
        vb_buf_reset(&out);
        assert_ok(vb_backend_read(b, name, sizes[i] / 2, sizes[i] - sizes[i] / 2, &out, &err));
        if (out.len > 0)
            assert_memory_equal(out.data, bytes + sizes[i] / 2, out.len);
    }
}

#define MANY 300u
static void long_listing_is_complete(void **state)
{
    struct vb_backend *b = *state;
    struct vb_strv l = { 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    for (unsigned i = 0; i < MANY; i++) {
        VB_AUTO_FREE char *name = vb_printf("packs/%02x/%04u", i % 3, i);
        put(b, name, "x");
    }
    assert_ok(vb_backend_list(b, "packs/", gather, &l, &err));
    vb_strv_sort(&l);
    assert_int_equal(l.n, MANY);
    for (size_t i = 0; i + 1 < l.n; i++)
        assert_string_not_equal(l.v[i], l.v[i + 1]);
    vb_strv_clear(&l);
}

static int remove_it(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)size;
    return vb_backend_remove(arg, name, err);
}

static void files_may_go_while_they_are_listed(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    for (unsigned i = 0; i < 20; i++) {
        VB_AUTO_FREE char *name = vb_printf("packs/%02x/%04u", i % 3, i);
        put(*state, name, "x");
    }
    assert_ok(vb_backend_list(*state, "packs/", remove_it, *state, &err));
    assert_list(*state, "packs/", "");
}

static void what_the_store_promises_is_tested_at_opening(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_backend_probe(*state, &err));
    assert_ok(vb_backend_probe(*state, &err)); /* nothing of the first is in the way */
    assert_list(*state, "packs/", "");
}

/* ---- several at once ---- */

#define RIVALS 4u
#define RIVAL_SIZE ((size_t)600000)

struct rival {
    struct vb_backend *b;
    unsigned char mark;
    int result;
    enum vb_code code;
    pthread_t thread;
};

static void *rival_writes(void *arg)
{
    struct rival *r = arg;
    VB_AUTO_FREE unsigned char *bytes = vb_alloc(RIVAL_SIZE);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    memset(bytes, r->mark, RIVAL_SIZE);
    r->result = vb_backend_write(r->b, "packs/aa/one", bytes, RIVAL_SIZE, &err);
    r->code = err.code;
    return NULL;
}

static void one_of_several_writers_of_a_name_wins(void **state)
{
    struct rival rivals[RIVALS];
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    unsigned won = 0;
    if (!contract->threads)
        skip();
    memset(rivals, 0, sizeof rivals);
    for (unsigned i = 0; i < RIVALS; i++) {
        rivals[i].b = contract->again(*state);
        rivals[i].mark = (unsigned char)('a' + i);
        assert_non_null(rivals[i].b);
    }
    for (unsigned i = 0; i < RIVALS; i++)
        assert_int_equal(pthread_create(&rivals[i].thread, NULL, rival_writes, &rivals[i]), 0);
    for (unsigned i = 0; i < RIVALS; i++)
        pthread_join(rivals[i].thread, NULL);
    assert_ok(vb_backend_read_all(*state, "packs/aa/one", RIVAL_SIZE, &out, &err));
    assert_int_equal(out.len, RIVAL_SIZE);
    for (unsigned i = 0; i < RIVALS; i++) {
        if (rivals[i].result == 0) {
            won++;
            assert_int_equal(out.data[0], rivals[i].mark);
            assert_int_equal(out.data[RIVAL_SIZE - 1], rivals[i].mark);
        } else {
            assert_int_equal(rivals[i].code, VB_E_EXISTS);
        }
        vb_backend_close(rivals[i].b);
    }
    assert_int_equal(won, 1);
}

static int whole(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)err;
    if (strcmp(name, "packs/aa/one") == 0 && size != RIVAL_SIZE)
        *(bool *)arg = false;
    return 0;
}

static void half_a_file_is_never_seen(void **state)
{
    struct rival r = { .mark = 'z' };
    bool fine = true;
    if (!contract->threads)
        skip();
    r.b = contract->again(*state);
    assert_int_equal(pthread_create(&r.thread, NULL, rival_writes, &r), 0);
    for (bool there = false; !there && fine;) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        uint64_t size = 0;
        there = vb_backend_size(*state, "packs/aa/one", &size, &err) == 0;
        fine = there ? size == RIVAL_SIZE : err.code == VB_E_NOT_FOUND;
        if (fine && vb_backend_list(*state, "packs/", whole, &fine, NULL) != 0)
            fine = false;
    }
    pthread_join(r.thread, NULL);
    assert_true(fine);
    assert_int_equal(r.result, 0);
    vb_backend_close(r.b);
}

static void failed_writes_leave_nothing(void **state)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    put(*state, "packs/aa/one", "first");
    assert_int_equal(vb_backend_write(*state, "packs/aa/one", "second", 6, &err), -1);
    assert_list(*state, "", "packs/aa/one=5");
    assert_ok(vb_backend_barrier(*state, &err));
    struct vb_backend *second = contract->again(*state);
    assert_non_null(second);
    assert_holds(second, "packs/aa/one", "first");
    vb_backend_close(second);
}

int backend_contract_run(const struct backend_contract *c, const struct CMUnitTest *own, size_t n_own)
{
    struct CMUnitTest all[64];
    contract = c;
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(written_is_read_in_whole_and_in_part), T(reading_beyond_the_end_is_damage), T(missing_files_are_not_found),
        T(existing_files_are_never_changed),     T(removed_is_gone_and_may_come_again), T(listing_is_complete),
        T(listing_can_be_stopped),               T(names_that_lead_elsewhere_are_refused),
        T(one_handle_holds_the_lock),            T(another_handle_sees_what_was_written),
        T(large_files_come_back_whole),
        T(names_of_every_form_are_kept),         T(every_size_comes_back),
        T(long_listing_is_complete),             T(files_may_go_while_they_are_listed),
        T(what_the_store_promises_is_tested_at_opening), T(one_of_several_writers_of_a_name_wins),
        T(half_a_file_is_never_seen),            T(failed_writes_leave_nothing),
    };
    const size_t n = VB_COUNT(tests);
    memset(all, 0, sizeof all);
    memcpy(all, tests, sizeof tests);
    if (n_own > VB_COUNT(all) - n)
        return 99;
    memcpy(all + n, own, n_own * sizeof *own);
    return _cmocka_run_group_tests(c->name, all, n + n_own, NULL, NULL);
}
