/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_index.c - the table of chunks and its files.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "store/index.h"

static struct vb_keys *keys;
static const uint8_t root[VB_KEY_LEN] = { 7 };
#define REPO_ID "11111111-1111-4111-8111-111111111111"

static int format0(void **state)
{
    (void)state;
    keys = vb_keys_format0(REPO_ID, root, root);
    return 0;
}

static int sealed(void **state)
{
    (void)state;
    keys = vb_keys_from_root(REPO_ID, true, root);
    return 0;
}

static int done(void **state)
{
    (void)state;
    vb_keys_free(keys);
    return 0;
}

static struct vb_pack_entry entry(uint32_t i)
{
    struct vb_pack_entry e = { .type = VB_CHUNK_DATA, .encoding = VB_ENC_ZSTD, .raw_size = 100 + i % 1000,
                               .stored_size = 50, .offset = 56 + i % 5000 };
    vb_sha256(&i, sizeof i, &e.name);
    return e;
}

static struct vb_pack_id pack_id(uint32_t i)
{
    struct vb_pack_id id = { .size = 100000 };
    i += 1u << 30;
    vb_sha256(&i, sizeof i, &id.name);
    memset(id.salt, vb_keys_format(keys) ? (int)i : 0, sizeof id.salt);
    return id;
}

static struct vb_index *filled(uint32_t packs, uint32_t per_pack)
{
    struct vb_index *x = vb_index_new();
    for (uint32_t p = 0; p < packs; p++) {
        struct vb_pack_id id = pack_id(p);
        uint32_t number = vb_index_add_pack(x, &id, false);
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
    assert_int_equal(vb_index_encode_new(x, keys, 7, 0, &next, &bytes, NULL), 1);
    assert_ok(vb_index_decode(y, keys, bytes.data, bytes.len, NULL, NULL, &err));
    assert_filled(y, 7, 3000);
    assert_true(vb_index_pack_at(y, 0)->durable);
    assert_memory_equal(vb_index_pack_at(y, 3)->salt, vb_index_pack_at(x, 3)->salt, VB_KEY_LEN);
    VB_AUTO_BUF more = VB_BUF_INIT;
    assert_int_equal(vb_index_encode_new(x, keys, 7, 0, &next, &more, NULL), 0);
    vb_index_mark_durable(x);
    next = 0;
    assert_int_equal(vb_index_encode_new(x, keys, 7, 0, &next, &more, NULL), 0);
    vb_index_free(x);
    vb_index_free(y);
}

static void large_indexes_are_cut_into_files(void **state)
{
    (void)state;
    struct vb_index *x = filled(4, 300000), *y = vb_index_new(); /* 55 MiB of index; a pack is not divided */
    uint32_t next = 0;
    unsigned files = 0;
    for (;;) {
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        if (vb_index_encode_new(x, keys, 7, 0, &next, &bytes, NULL) != 1)
            break;
        files++;
        assert_int_equal(vb_index_decode(y, keys, bytes.data, bytes.len, NULL, NULL, NULL), 0);
    }
    assert_int_equal(files, 4);
    assert_int_equal(vb_index_chunk_count(y), 1200000);
    vb_index_free(x);
    vb_index_free(y);
}

static bool not_the_second(void *arg, const struct vb_name *pack, uint64_t size)
{
    struct vb_pack_id second = pack_id(1);
    (void)arg;
    assert_int_equal(size, 100000);
    return !vb_name_equal(pack, &second.name);
}

static void packs_that_are_not_kept_do_not_count(void **state)
{
    (void)state;
    struct vb_index *x = filled(3, 10), *y = vb_index_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    uint32_t next = 0;
    struct vb_pack_entry e = entry(15);
    vb_index_encode_new(x, keys, 7, 0, &next, &bytes, NULL);
    assert_int_equal(vb_index_decode(y, keys, bytes.data, bytes.len, not_the_second, NULL, NULL), 0);
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
    struct vb_pack_id id = pack_id(9);
    uint32_t next = 0, open = vb_index_open_pack(x, 0);
    vb_index_add(x, open, &e);
    vb_index_encode_new(x, keys, 7, 0, &next, &bytes, NULL);
    vb_index_decode(y, keys, bytes.data, bytes.len, NULL, NULL, NULL);
    assert_int_equal(vb_index_chunk_count(y), 5);
    vb_index_mark_durable(x);
    id.size = 6000;
    vb_index_name_pack(x, open, &id);
    next = 0;
    assert_int_equal(vb_index_encode_new(x, keys, 7, 0, &next, &later, NULL), 1);
    vb_index_decode(y, keys, later.data, later.len, NULL, NULL, NULL);
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
    vb_index_encode_new(x, keys, 7, 0, &next, &bytes, NULL);
    for (size_t len = 0; len < bytes.len; len++) {
        struct vb_index *y = vb_index_new();
        VB_AUTO_FREE unsigned char *copy = vb_memdup(bytes.data, len);
        /* a cut between two packs is a shorter index; its name tells */
        if (vb_index_decode(y, keys, copy, len, NULL, NULL, NULL) == 0)
            assert_true(!vb_keys_sealed(keys) && (len == 16 || len == 16 + 44 + 3 * 48));
        else
            assert_int_equal(vb_index_chunk_count(y), 0);
        vb_index_free(y);
    }
    bytes.data[4] = VB_OBJECT_INDEX_VERSION + 1;
    assert_int_equal(vb_index_decode(x, keys, bytes.data, bytes.len, NULL, NULL, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    vb_index_free(x);
}

static void an_index_of_another_group_or_repository_is_refused(void **state)
{
    (void)state;
    struct vb_index *x = filled(2, 3), *y = vb_index_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR group = VB_ERROR_INIT, repo = VB_ERROR_INIT;
    uint8_t secret[VB_KEYS_APPEND_LEN];
    uint32_t next = 0;
    struct vb_keys *other = vb_keys_from_root("22222222-1111-4111-8111-111111111111", true, root);
    assert_int_equal(vb_keys_append_export(keys, "web", secret, NULL), 0);
    struct vb_keys *web = vb_keys_from_append(REPO_ID, secret);
    vb_index_encode_new(x, keys, 7, 0, &next, &bytes, NULL);
    assert_int_equal(vb_index_decode(y, web, bytes.data, bytes.len, NULL, NULL, &group), -1);
    assert_int_equal(group.code, VB_E_ACCESS_DENIED);
    assert_int_equal(vb_index_decode(y, other, bytes.data, bytes.len, NULL, NULL, &repo), -1);
    assert_int_equal(repo.code, VB_E_CORRUPT);
    assert_int_equal(vb_index_chunk_count(y), 0);
    vb_keys_free(other);
    vb_keys_free(web);
    vb_index_free(x);
    vb_index_free(y);
}

/* So many that a list would be looked through for minutes. */
static void packs_are_found_by_name(void **state)
{
    enum { N = 100000 };
    struct vb_index *x = vb_index_new();
    uint32_t number;
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        const struct vb_pack_id id = pack_id(i);
        assert_int_equal(vb_index_add_pack(x, &id, true), i);
        assert_int_equal(vb_index_add_pack(x, &id, true), i);
    }
    const uint32_t open = vb_index_open_pack(x, 0);
    for (uint32_t i = 0; i < N; i += 3)
        vb_index_pack_at(x, i)->gone = true;
    for (uint32_t i = 0; i < N + 100; i++) {
        const struct vb_pack_id id = pack_id(i);
        assert_int_equal(vb_index_find_pack(x, &id.name, &number), i < N && i % 3);
        if (i < N && i % 3)
            assert_int_equal(number, i);
    }
    const struct vb_pack_id late = pack_id(N), again = pack_id(0);
    vb_index_name_pack(x, open, &late);
    assert_true(vb_index_find_pack(x, &late.name, &number));
    assert_int_equal(number, open);
    assert_int_equal(vb_index_add_pack(x, &again, true), open + 1); /* what is gone may come again */
    assert_true(vb_index_find_pack(x, &again.name, &number));
    assert_int_equal(number, open + 1);
    assert_int_equal(vb_index_pack_count(x), N + 2);
    vb_index_free(x);
}

int main(void)
{
#define T(fn, kind) { #fn " " #kind, fn, kind, done, NULL }
#define BOTH(fn) T(fn, format0), T(fn, sealed)
    const struct CMUnitTest tests[] = {
        BOTH(index_file_gives_the_same_index),
        BOTH(large_indexes_are_cut_into_files),
        BOTH(packs_that_are_not_kept_do_not_count),
        BOTH(dropped_chunks_can_come_back_elsewhere),
        BOTH(open_packs_stay_out_of_files),
        BOTH(damaged_files_are_refused_whole),
        T(packs_are_found_by_name, sealed),
        T(an_index_of_another_group_or_repository_is_refused, sealed),
    };
    return CM_RUN("index", tests);
}
