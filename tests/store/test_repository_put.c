/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_repository_put.c - chunks and documents in and out; who lies is refused.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/rng.h"
#include "tests/store/opened.h"

/* ---- put and get ---- */

static void what_is_put_can_be_had_before_and_after_the_flush(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_name names[3] = { put(b->repo, VB_CHUNK_DATA, "data"), put(b->repo, VB_CHUNK_DOC, "document"),
                                { { 1 } } };
    bool present[3];
    assert_get(b->repo, VB_CHUNK_DATA, &names[0], "data");
    assert_ok(vb_repo_flush(b->repo, &err));
    assert_get(b->repo, VB_CHUNK_DATA, &names[0], "data");
    assert_get(b->repo, VB_CHUNK_DOC, &names[1], "document");
    vb_repo_has(b->repo, names, 3, present);
    assert_true(present[0] && present[1] && !present[2]);
    struct vb_repo *r = open_again(b, VB_REPO_READ, &err);
    assert_get(r, VB_CHUNK_DATA, &names[0], "data");
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR missing = VB_ERROR_INIT, type = VB_ERROR_INIT;
    assert_int_equal(vb_repo_get(r, VB_CHUNK_DATA, &names[2], &out, &missing), -1);
    assert_int_equal(missing.code, VB_E_NOT_FOUND);
    assert_contains(missing.text, "data chunk 0100");
    assert_int_equal(vb_repo_get(r, VB_CHUNK_TREE, &names[0], &out, &type), -1);
    assert_int_equal(type.code, VB_E_CORRUPT);
    vb_repo_close(r);
}

static void equal_chunks_are_stored_once(void **state)
{
    struct bench *b = *state;
    struct vb_repo_stats s;
    struct vb_name one = put(b->repo, VB_CHUNK_DATA, "same"), two = put(b->repo, VB_CHUNK_DATA, "same");
    assert_true(vb_name_equal(&one, &two));
    vb_repo_stats(b->repo, &s);
    assert_int_equal(s.put_chunks, 1);
    assert_int_equal(s.put_raw, 4);
    assert_int_equal(s.duplicate_chunks, 1);
}

static void lying_senders_are_refused(void **state)
{
    struct bench *b = *state;
    struct vb_namer *namer = vb_namer_new(vb_repo_info(b->repo)->naming_key);
    struct vb_codec *codec = vb_codec_new(3);
    VB_AUTO_BUF raw = VB_BUF_INIT, stored = VB_BUF_INIT;
    struct vb_name name, other;
    uint8_t encoding;
    bool present;
    for (unsigned i = 0; i < 500; i++)
        vb_buf_addf(&raw, "row %u\n", i);
    vb_namer_name(namer, VB_CHUNK_DATA, raw.data, raw.len, &name);
    vb_namer_name(namer, VB_CHUNK_DATA, "else", 4, &other);
    vb_codec_compress(codec, raw.data, raw.len, &stored, &encoding, NULL);
    VB_AUTO_BUF cut = VB_BUF_INIT, flipped = VB_BUF_INIT;
    vb_buf_add(&cut, stored.data, stored.len - 1);
    vb_buf_add(&flipped, stored.data, stored.len);
    flipped.data[stored.len / 2] ^= 4;
    const struct {
        enum vb_chunk_type type;
        const struct vb_name *name;
        size_t raw;
        uint8_t encoding;
        const struct vb_buf *stored;
    } lies[] = {
        { VB_CHUNK_DATA, &other, raw.len, encoding, &stored },  /* another name */
        { VB_CHUNK_DOC, &name, raw.len, encoding, &stored },    /* another type */
        { VB_CHUNK_TREE, &name, raw.len, encoding, &stored },
        { VB_CHUNK_DATA, &name, raw.len + 1, encoding, &stored }, /* another size */
        { VB_CHUNK_DATA, &name, raw.len, VB_ENC_RAW, &stored },
        { VB_CHUNK_DATA, &name, raw.len, 9, &stored },
        { VB_CHUNK_DATA, &name, raw.len, encoding, &cut },
        { VB_CHUNK_DATA, &name, raw.len, encoding, &flipped },
        { VB_CHUNK_DATA, &name, raw.len, VB_ENC_ZSTD, &raw },
        { (enum vb_chunk_type)9, &name, raw.len, encoding, &stored },
        { VB_CHUNK_DATA, &name, 0, encoding, &stored },
        { VB_CHUNK_DATA, &name, SIZE_MAX, encoding, &stored },
    };
    for (size_t i = 0; i < VB_COUNT(lies); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        if (vb_repo_put(b->repo, lies[i].type, lies[i].name, lies[i].raw, lies[i].encoding, lies[i].stored->data,
                        lies[i].stored->len, &err) != -1)
            fail_msg("lie %zu was believed", i);
        assert_int_equal(err.code, VB_E_CORRUPT);
        vb_repo_has(b->repo, lies[i].name, 1, &present);
        assert_false(present);
    }
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_put(b->repo, VB_CHUNK_DATA, &name, raw.len, encoding, stored.data, stored.len, &err));
    VB_AUTO_BUF back = VB_BUF_INIT;
    size_t raw_size = 0;
    assert_ok(vb_repo_get_stored(b->repo, VB_CHUNK_DATA, &name, &back, &encoding, &raw_size, &err));
    assert_int_equal(raw_size, raw.len);
    assert_int_equal(back.len, stored.len);
    assert_memory_equal(back.data, stored.data, stored.len);
    vb_namer_free(namer);
    vb_codec_free(codec);
}

static int damage_pack(void *arg, const char *name, uint64_t size, struct vb_error *err)
{
    (void)err;
    if (strncmp(name, "packs/", 6) == 0)
        vb_backend_memory_damage(arg, name, size / 2, 1);
    return 0;
}

/* What is handed on for somebody else to verify has at least an unbroken seal. */
static void sealed_chunks_are_handed_on_unless_damaged(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR err = VB_ERROR_INIT, damaged = VB_ERROR_INIT, type = VB_ERROR_INIT;
    VB_AUTO_BUF whole = VB_BUF_INIT, sealed = VB_BUF_INIT;
    VB_AUTO_FREE char *text = vb_alloc(10001);
    uint8_t encoding = 9, again = 9;
    size_t raw = 0, raw_again = 0;
    memset(text, 'x', 10000);
    struct vb_name name = put(b->repo, VB_CHUNK_DATA, text);
    for (int written = 0; written < 2; written++) {
        vb_buf_reset(&whole);
        vb_buf_reset(&sealed);
        assert_ok(vb_repo_get_stored(b->repo, VB_CHUNK_DATA, &name, &whole, &encoding, &raw, &err));
        assert_ok(vb_repo_get_sealed(b->repo, VB_CHUNK_DATA, &name, &sealed, &again, &raw_again, &err));
        assert_int_equal(raw, 10000);
        assert_int_equal(raw_again, raw);
        assert_int_equal(again, encoding);
        assert_int_equal(sealed.len, whole.len);
        assert_memory_equal(sealed.data, whole.data, whole.len);
        assert_ok(vb_repo_flush(b->repo, &err));
    }
    assert_int_equal(vb_repo_get_sealed(b->repo, VB_CHUNK_DOC, &name, &sealed, &again, &raw_again, &type), -1);
    assert_int_equal(type.code, VB_E_CORRUPT);
    assert_ok(vb_backend_list(b->files, "packs/", damage_pack, b->files, &err));
    vb_buf_reset(&sealed);
    assert_int_equal(vb_repo_get_sealed(b->repo, VB_CHUNK_DATA, &name, &sealed, &again, &raw_again, &damaged), -1);
    assert_int_equal(damaged.code, VB_E_CORRUPT);
    assert_contains(damaged.text, "in pack");
    assert_int_equal(sealed.len, 0);
}

static void parents_without_children_are_refused(void **state)
{
    struct bench *b = *state;
    struct vb_ref ref = { .size = 5, .name = { { 7 } } };
    struct vb_tree_entry file = { .name = "f", .type = VB_TREE_FILE, .size = 5, .content = { 0, 1, &ref } };
    struct vb_tree_entry dir = { .name = "d", .type = VB_TREE_DIR };
    struct vb_name name, list_name;
    VB_AUTO_BUF list = VB_BUF_INIT;
    VB_AUTO_ERROR e1 = VB_ERROR_INIT, e2 = VB_ERROR_INIT, e3 = VB_ERROR_INIT, e4 = VB_ERROR_INIT;
    assert_int_equal(vb_tree_write(&file, 1, vb_repo_put_raw, b->repo, &name, &e1), -1);
    assert_int_equal(e1.code, VB_E_CORRUPT);
    assert_contains(e1.text, "has not got");
    assert_int_equal(vb_tree_write(&dir, 1, vb_repo_put_raw, b->repo, &name, &e2), -1);
    vb_list_encode(0, &ref, 1, &list, NULL);
    assert_int_equal(vb_repo_put_raw(b->repo, VB_CHUNK_LIST, list.data, list.len, &list_name, &e3), -1);
    /* of the wrong kind is as good as missing */
    ref.name = put(b->repo, VB_CHUNK_DATA, "12345");
    dir.subtree = ref.name;
    assert_int_equal(vb_tree_write(&dir, 1, vb_repo_put_raw, b->repo, &name, &e4), -1);
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_tree_write(&file, 1, vb_repo_put_raw, b->repo, &name, &err));
    dir.subtree = name;
    assert_ok(vb_tree_write(&dir, 1, vb_repo_put_raw, b->repo, &name, &err));
}

static void damaged_trees_are_refused_at_the_door(void **state)
{
    struct bench *b = *state;
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(vb_repo_put_raw(b->repo, VB_CHUNK_TREE, "not a tree", 10, &name, &err), -1);
    assert_int_equal(vb_repo_put_raw(b->repo, VB_CHUNK_LIST, "not a list", 10, &name, NULL), -1);
}

static void writing_needs_the_lock(void **state)
{
    struct bench *b = *state;
    VB_AUTO_ERROR e1 = VB_ERROR_INIT, e2 = VB_ERROR_INIT, e3 = VB_ERROR_INIT;
    struct vb_name name;
    struct vb_repo *r = open_again(b, VB_REPO_WRITE, NULL), *reader = open_again(b, VB_REPO_READ, NULL);
    struct vb_catalog_entry *e = vb_catalog_entry_new();
    assert_int_equal(vb_repo_put_raw(r, VB_CHUNK_DATA, "x", 1, &name, &e1), -1);
    assert_int_equal(e1.code, VB_E_BAD_STATE);
    assert_int_equal(vb_repo_commit(r, e, &e2), -1);
    assert_int_equal(e2.code, VB_E_BAD_STATE);
    assert_int_equal(vb_repo_lock(reader, 0, &e3), -1);
    assert_int_equal(e3.code, VB_E_BAD_STATE);
    vb_catalog_entry_free(e);
    vb_repo_close(r);
    vb_repo_close(reader);
}

static void documents_come_back_whole(void **state)
{
    struct bench *b = *state;
    const size_t sizes[] = { 0, 1, 100000, 3000000 };
    struct vb_rng rng;
    vb_rng_seed(&rng, 4);
    for (size_t i = 0; i < VB_COUNT(sizes); i++) {
        VB_AUTO_BUF doc = VB_BUF_INIT, back = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT, limit = VB_ERROR_INIT;
        struct vb_content c = { 0 };
        while (doc.len < sizes[i])
            vb_buf_add_u8(&doc, (uint8_t)vb_rng_next(&rng));
        assert_ok(vb_repo_put_bytes(b->repo, VB_CHUNK_DOC, doc.data, doc.len, &c, &err));
        assert_ok(vb_repo_get_bytes(b->repo, VB_CHUNK_DOC, &c, sizes[i], &back, &err));
        assert_int_equal(back.len, doc.len);
        if (doc.len) {
            assert_memory_equal(back.data, doc.data, doc.len);
            assert_int_equal(vb_repo_get_bytes(b->repo, VB_CHUNK_DOC, &c, sizes[i] - 1, &back, &limit), -1);
            assert_int_equal(limit.code, VB_E_LIMIT);
            assert_int_equal(back.len, doc.len);
        }
        vb_content_clear(&c);
    }
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
    const struct CMUnitTest tests[] = {
        T(what_is_put_can_be_had_before_and_after_the_flush),
        T(equal_chunks_are_stored_once),
        T(lying_senders_are_refused),
        T(sealed_chunks_are_handed_on_unless_damaged),
        T(parents_without_children_are_refused),
        T(damaged_trees_are_refused_at_the_door),
        T(writing_needs_the_lock),
        T(documents_come_back_whole),
    };
    return CM_RUN("repository_put", tests);
}
