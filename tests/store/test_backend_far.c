/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_backend_far.c - the wrapper for remote stores keeps the contract, asks seldom, and believes nothing that
 * it has kept without looking.
 */
#include <config.h>
#include "tests/cm.h"
#include "tests/store/backend_contract.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/catalog.h"

/* The store that is wrapped last, for a second handle on it. */
static struct vb_backend *inner;
static char dir[] = "/tmp/vb-test-far-XXXXXX";

static struct vb_backend *make(void)
{
    inner = vb_backend_memory_new();
    return vb_backend_far_new(inner, dir);
}

static struct vb_backend *again(struct vb_backend *first)
{
    (void)first;
    return vb_backend_far_new(vb_backend_memory_share(inner), dir);
}

/* Counts what gets through. */
static struct vb_backend *counting(struct vb_backend **fault)
{
    *fault = vb_backend_fault_new(vb_backend_memory_new());
    vb_backend_fault_set(*fault, VB_FAULT_NONE, 0);
    return vb_backend_far_new(*fault, dir);
}

#define PACK "packs/aa/aabb"
#define SIZE ((size_t)3000000)

static unsigned char *fill(struct vb_backend *b)
{
    unsigned char *p = vb_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        p[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_int_equal(vb_backend_write(b, PACK, p, SIZE, NULL), 0);
    return p;
}

static void piece(struct vb_backend *b, const unsigned char *p, size_t at, size_t n)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    vb_buf_add_str(&out, "before");
    assert_int_equal(vb_backend_read_in(b, PACK, at, n, SIZE, &out, NULL), 0);
    assert_int_equal(out.len, n + 6);
    assert_memory_equal(out.data + 6, p + at, n);
}

static void pieces_in_order_take_few_requests(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault);
    VB_AUTO_FREE unsigned char *p = fill(b);
    vb_backend_fault_set(fault, VB_FAULT_NONE, 0);
    for (size_t at = 0; at < SIZE; at += 1000)
        piece(b, p, at, 1000);
    assert_in_range(vb_backend_fault_calls(fault), 1, 6);
    vb_backend_fault_set(fault, VB_FAULT_NONE, 0);
    piece(b, p, 10, 5); /* the last part has taken its place */
    for (size_t at = SIZE; at >= 1000; at -= 1000) /* as directories are read */
        piece(b, p, at - 1000, 1000);
    assert_in_range(vb_backend_fault_calls(fault), 1, 8);
    vb_backend_close(b);
}

static void pieces_here_and_there_are_right(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault);
    VB_AUTO_FREE unsigned char *p = fill(b);
    uint32_t x = 1;
    for (unsigned i = 0; i < 2000; i++) {
        x = x * 1664525u + 1013904223u;
        size_t at = x % SIZE;
        x = x * 1664525u + 1013904223u;
        size_t n = 1 + (x >> 8) % 70000;
        piece(b, p, at, n < SIZE - at ? n : SIZE - at);
    }
    vb_backend_close(b);
}

static void a_pack_that_is_shorter_than_the_index_says(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    assert_int_equal(vb_backend_write(b, PACK, "0123456789", 10, NULL), 0);
    assert_int_equal(vb_backend_read_in(b, PACK, 2, 3, 1000, &out, NULL), 0);
    assert_string_equal(vb_buf_str(&out), "234");
    assert_int_equal(vb_backend_read_in(b, PACK, 8, 3, 1000, &out, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
    assert_int_equal(vb_backend_read_in(b, PACK, 8, 3, 9, &out, NULL), -1);
    assert_int_equal(vb_backend_remove(b, PACK, NULL), 0);
    vb_error_clear(&err);
    assert_int_equal(vb_backend_read_in(b, PACK, 2, 3, 1000, &out, &err), -1);
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    vb_backend_close(b);
}

/* A failure of the connection is told; it does not become another request that may hide it. */
static void a_request_that_fails_is_told(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault);
    VB_AUTO_FREE unsigned char *p = fill(b);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF out = VB_BUF_INIT;
    vb_backend_fault_set(fault, VB_FAULT_IO, 1);
    assert_int_equal(vb_backend_read_in(b, PACK, 0, 10, SIZE, &out, &err), -1);
    assert_int_equal(err.code, VB_E_IO);
    assert_int_equal(out.len, 0);
    piece(b, p, 0, 10);
    vb_backend_close(b);
}

/* ---- kept files ---- */

static char *index_name(const void *p, size_t n)
{
    struct vb_name hash;
    char hex[VB_NAME_HEX_LEN + 1];
    vb_sha256(p, n, &hash);
    vb_name_hex(&hash, hex);
    return vb_printf("index/%s", hex);
}

static uint64_t read_count(struct vb_backend *fault, struct vb_backend *b, const char *name, const char *want)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    vb_backend_fault_set(fault, VB_FAULT_NONE, 0);
    assert_int_equal(vb_backend_read(b, name, 0, strlen(want), &out, NULL), 0);
    assert_string_equal(vb_buf_str(&out), want);
    return vb_backend_fault_calls(fault);
}

static int nothing(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)arg, (void)name, (void)size, (void)err;
    return 0;
}

static void what_has_its_hash_as_name_is_read_once(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault), *other;
    VB_AUTO_FREE char *name = index_name("an index", 8);
    struct vb_name hash;
    char id[VB_GUID_LEN + 1];
    vb_guid_new(id);
    vb_sha256("a record", 8, &hash);
    VB_AUTO_FREE char *record = vb_catalog_path(7, id, &hash);
    assert_int_equal(vb_backend_write(fault, name, "an index", 8, NULL), 0);
    assert_int_equal(vb_backend_write(fault, record, "a record", 8, NULL), 0);
    assert_int_equal(vb_backend_write(fault, "ledger/0000000001", "a number", 8, NULL), 0);
    assert_int_equal(read_count(fault, b, name, "an index"), 1);
    assert_int_equal(read_count(fault, b, name, "an index"), 0);
    assert_int_equal(read_count(fault, b, record, "a record"), 1);
    assert_int_equal(read_count(fault, b, record, "a record"), 0);
    assert_int_equal(read_count(fault, b, "ledger/0000000001", "a number"), 1);
    assert_int_equal(read_count(fault, b, "ledger/0000000001", "a number"), 1);
    b->afresh = true; /* a check wants to see what is there */
    assert_int_equal(read_count(fault, b, name, "an index"), 1);
    b->afresh = false;
    /* another process finds it, until a listing says that it is gone */
    assert_int_equal(vb_backend_remove(fault, name, NULL), 0);
    other = vb_backend_far_new(vb_backend_memory_new(), dir);
    VB_AUTO_BUF out = VB_BUF_INIT;
    assert_int_equal(vb_backend_read(other, name, 0, 8, &out, NULL), 0);
    assert_int_equal(vb_backend_list(other, "index/", nothing, NULL, NULL), 0);
    assert_int_equal(vb_backend_read(other, name, 0, 8, &out, NULL), -1);
    assert_int_equal(vb_backend_read(other, record, 0, 8, &out, NULL), 0);
    vb_backend_close(other);
    vb_backend_close(b);
}

static void what_somebody_changed_in_the_directory_is_not_believed(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault);
    VB_AUTO_FREE char *name = index_name("an index", 8);
    VB_AUTO_FREE char *kept = vb_printf("%s/i-%s", dir, name + 6);
    assert_int_equal(vb_backend_write(b, name, "an index", 8, NULL), 0);
    assert_int_equal(read_count(fault, b, name, "an index"), 0); /* ours are kept when they are written */
    assert_int_equal(vb_write_file_at(AT_FDCWD, kept, "an indeX", 8, 0600, NULL), 0);
    assert_int_equal(read_count(fault, b, name, "an index"), 1);
    assert_int_equal(read_count(fault, b, name, "an index"), 0); /* and is mended */
    assert_int_equal(vb_write_file_at(AT_FDCWD, kept, "", 0, 0600, NULL), 0);
    assert_int_equal(read_count(fault, b, name, "an index"), 1);
    assert_int_equal(unlink(kept), 0);
    assert_int_equal(read_count(fault, b, name, "an index"), 1);
    vb_backend_close(b);
}

/* What the store tells falsely is not kept either. */
static void what_is_not_its_hash_is_not_kept(void **state)
{
    (void)state;
    struct vb_backend *fault, *b = counting(&fault);
    VB_AUTO_FREE char *name = index_name("the truth", 9);
    assert_int_equal(vb_backend_write(fault, name, "something", 9, NULL), 0);
    assert_int_equal(read_count(fault, b, name, "something"), 1);
    assert_int_equal(read_count(fault, b, name, "something"), 1);
    vb_backend_close(b);
}

int main(void)
{
    const struct backend_contract contract = { "backend_far", make, again, NULL, false, false };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_in_order_take_few_requests),
        cmocka_unit_test(pieces_here_and_there_are_right),
        cmocka_unit_test(a_pack_that_is_shorter_than_the_index_says),
        cmocka_unit_test(a_request_that_fails_is_told),
        cmocka_unit_test(what_has_its_hash_as_name_is_read_once),
        cmocka_unit_test(what_somebody_changed_in_the_directory_is_not_believed),
        cmocka_unit_test(what_is_not_its_hash_is_not_kept),
    };
    if (!mkdtemp(dir))
        return 99;
    int result = backend_contract_run(&contract, tests, VB_COUNT(tests));
    vb_remove_tree_at(AT_FDCWD, dir, NULL);
    return result;
}
