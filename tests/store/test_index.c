/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_index.c - the table of chunks and its files.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "store/index.h"

static struct vb_pack_entry entry(uint32_t i)
{
    struct vb_pack_entry e = { .type = VB_CHUNK_DATA, .encoding = VB_ENC_ZSTD, .raw_size = 100 + i % 1000,
                               .stored_size = 50, .offset = 56 + i % 5000 };
    vb_sha256(&i, sizeof i, &e.name);
    return e;
}

static struct vb_name pack_name(uint32_t i)
{
    struct vb_name n;
    i += 1u << 30;
    vb_sha256(&i, sizeof i, &n);
    return n;
}

static struct vb_index *filled(uint32_t packs, uint32_t per_pack)
{
    struct vb_index *x = vb_index_new();
    for (uint32_t p = 0; p < packs; p++) {
        struct vb_name name = pack_name(p);
        uint32_t number = vb_index_add_pack(x, &name, 100000, false);
        for (uint32_t i = 0; i < per_pack; i++) {
            struct vb_pack_entry e = entry(p * per_pack + i);
            vb_index_add(x, number, &e);
        }
    }
    return x;
}

static void assert_filled(const struct vb_index *x, uint32_t packs, uint32_t per_pack)
{
    struct vb_index_hit hit;
    assert_int_equal(vb_index_chunk_count(x), packs * per_pack);
    for (uint32_t i = 0; i < packs * per_pack; i++) {
        struct vb_pack_entry e = entry(i);
        assert_true(vb_index_get(x, &e.name, &hit));
        assert_int_equal(hit.pack, i / per_pack);
        assert_int_equal(hit.entry.offset, e.offset);
        assert_int_equal(hit.entry.raw_size, e.raw_size);
    }
    struct vb_pack_entry none = entry(packs * per_pack);
    assert_false(vb_index_get(x, &none.name, &hit));
}

static void index_file_gives_the_same_index(void **state)
{
    (void)state;
    struct vb_index *x = filled(7, 3000), *y = vb_index_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint32_t next = 0;
    assert_filled(x, 7, 3000);
    assert_true(vb_index_encode_new(x, &next, &bytes));
    assert_ok(vb_index_decode(y, bytes.data, bytes.len, NULL, NULL, &err));
    assert_filled(y, 7, 3000);
    assert_true(vb_index_pack_at(y, 0)->durable);
    VB_AUTO_BUF more = VB_BUF_INIT;
    assert_false(vb_index_encode_new(x, &next, &more));
    vb_index_mark_durable(x);
    next = 0;
    assert_false(vb_index_encode_new(x, &next, &more));
    vb_index_free(x);
    vb_index_free(y);
}

static void large_indexes_are_cut_into_files(void **state)
{
    (void)state;
    struct vb_index *x = filled(4, 300000), *y = vb_index_new(); /* 55 MiB of index */
    uint32_t next = 0;
    unsigned files = 0;
    for (;;) {
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        if (!vb_index_encode_new(x, &next, &bytes))
            break;
        files++;
        assert_int_equal(vb_index_decode(y, bytes.data, bytes.len, NULL, NULL, NULL), 0);
    }
    assert_int_equal(files, 2);
    assert_int_equal(vb_index_chunk_count(y), 1200000);
    vb_index_free(x);
    vb_index_free(y);
}

static bool not_the_second(void *arg, const struct vb_name *pack, uint64_t size)
{
    struct vb_name second = pack_name(1);
    (void)arg;
    assert_int_equal(size, 100000);
    return !vb_name_equal(pack, &second);
}

static void packs_that_are_not_kept_do_not_count(void **state)
{
    (void)state;
    struct vb_index *x = filled(3, 10), *y = vb_index_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    uint32_t next = 0;
    struct vb_pack_entry e = entry(15);
    vb_index_encode_new(x, &next, &bytes);
    assert_int_equal(vb_index_decode(y, bytes.data, bytes.len, not_the_second, NULL, NULL), 0);
    assert_int_equal(vb_index_chunk_count(y), 20);
    assert_false(vb_index_get(y, &e.name, NULL));
    vb_index_free(x);
    vb_index_free(y);
}

static void dropped_chunks_can_come_back_elsewhere(void **state)
{
    (void)state;
    struct vb_index *x = filled(2, 10);
    struct vb_pack_entry e = entry(3);
    struct vb_index_hit hit;
    vb_index_drop(x, &e.name);
    vb_index_drop(x, &e.name);
    assert_false(vb_index_get(x, &e.name, &hit));
    assert_int_equal(vb_index_chunk_count(x), 19);
    e.offset = 77;
    vb_index_add(x, 1, &e);
    assert_true(vb_index_get(x, &e.name, &hit));
    assert_int_equal(hit.pack, 1);
    assert_int_equal(hit.entry.offset, 77);
    vb_index_add(x, 0, &e); /* known: keeps its place */
    vb_index_get(x, &e.name, &hit);
    assert_int_equal(hit.pack, 1);
    vb_index_pack_at(x, 1)->gone = true;
    assert_false(vb_index_get(x, &e.name, &hit));
    vb_index_add(x, 0, &e);
    assert_true(vb_index_get(x, &e.name, &hit));
    assert_int_equal(hit.pack, 0);
    vb_index_free(x);
}

static void open_packs_stay_out_of_files(void **state)
{
    (void)state;
    struct vb_index *x = filled(1, 5), *y = vb_index_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT, later = VB_BUF_INIT;
    struct vb_pack_entry e = entry(100);
    struct vb_name name = pack_name(9);
    uint32_t next = 0, open = vb_index_open_pack(x);
    vb_index_add(x, open, &e);
    vb_index_encode_new(x, &next, &bytes);
    vb_index_decode(y, bytes.data, bytes.len, NULL, NULL, NULL);
    assert_int_equal(vb_index_chunk_count(y), 5);
    vb_index_mark_durable(x);
    vb_index_name_pack(x, open, &name, 6000);
    next = 0;
    assert_true(vb_index_encode_new(x, &next, &later));
    vb_index_decode(y, later.data, later.len, NULL, NULL, NULL);
    assert_int_equal(vb_index_chunk_count(y), 6);
    vb_index_free(x);
    vb_index_free(y);
}

static void damaged_files_are_refused_whole(void **state)
{
    (void)state;
    struct vb_index *x = filled(2, 3);
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint32_t next = 0;
    vb_index_encode_new(x, &next, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        struct vb_index *y = vb_index_new();
        VB_AUTO_FREE unsigned char *copy = vb_memdup(bytes.data, len);
        /* a cut between two packs is a shorter index; its name tells */
        if (vb_index_decode(y, copy, len, NULL, NULL, NULL) == 0)
            assert_true(len == 8 || len == 8 + 44 + 3 * 48);
        else
            assert_int_equal(vb_index_chunk_count(y), 0);
        vb_index_free(y);
    }
    bytes.data[4] = VB_INDEX_VERSION + 1;
    assert_int_equal(vb_index_decode(x, bytes.data, bytes.len, NULL, NULL, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    vb_index_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_file_gives_the_same_index),
        cmocka_unit_test(large_indexes_are_cut_into_files),
        cmocka_unit_test(packs_that_are_not_kept_do_not_count),
        cmocka_unit_test(dropped_chunks_can_come_back_elsewhere),
        cmocka_unit_test(open_packs_stay_out_of_files),
        cmocka_unit_test(damaged_files_are_refused_whole),
    };
    return CM_RUN("index", tests);
}
