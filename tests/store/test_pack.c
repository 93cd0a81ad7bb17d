/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_pack.c - pack files: what is written is read, and every flipped bit is noticed.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/text.h"
#include "store/pack.h"

/* The same tests for each kind of repository. */
static struct vb_keys *keys;
static const char repo_id[] = "11111111-1111-4111-8111-111111111111";
static const uint8_t root[VB_KEY_LEN] = { 7 };

static int format0(void **state)
{
    (void)state;
    keys = vb_keys_format0(repo_id, root, root);
    return 0;
}

static int plain(void **state)
{
    (void)state;
    keys = vb_keys_from_root(repo_id, false, root);
    return 0;
}

static int sealed(void **state)
{
    (void)state;
    keys = vb_keys_from_root(repo_id, true, root);
    return 0;
}

static int done(void **state)
{
    (void)state;
    vb_keys_free(keys);
    return 0;
}

static size_t record_len(void)
{
    return vb_keys_format(keys) ? 0 : VB_PACK_RECORD0_LEN;
}

static void add(struct vb_pack *p, unsigned i, const char *text)
{
    struct vb_pack_entry e = { .type = (uint8_t)(1 + i % 4), .encoding = VB_ENC_RAW,
                               .raw_size = (uint32_t)strlen(text), .stored_size = (uint32_t)strlen(text) };
    vb_sha256(&i, sizeof i, &e.name);
    vb_pack_add(p, keys, &e, text);
}

static struct vb_name write_sample(struct vb_backend *b, uint64_t *size)
{
    struct vb_pack p;
    struct vb_pack_id id;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_pack_init(&p, keys);
    add(&p, 0, "first chunk");
    add(&p, 1, "2");
    add(&p, 2, "the third chunk is somewhat longer than the others");
    assert_ok(vb_pack_write(&p, keys, 0, b, &id, &err));
    vb_pack_clear(&p);
    *size = id.size;
    return id.name;
}

static void assert_sample(const struct vb_pack_entry *e, size_t n)
{
    assert_int_equal(n, 3);
    assert_int_equal(e[0].offset, 56);
    assert_int_equal(e[0].stored_size, 11);
    assert_int_equal(e[1].offset, e[0].offset + 11 + vb_object_overhead(keys) + record_len());
    assert_int_equal(e[2].type, VB_CHUNK_LIST);
}

/* It is sealed where it lies: what could not be written is as it was, and can be read and written later. */
static void a_pack_that_could_not_be_written_is_as_it_was(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    struct vb_pack p;
    struct vb_pack_id id;
    struct vb_pack_entry *e = NULL;
    size_t n = 0;
    VB_AUTO_BUF before = VB_BUF_INIT;
    VB_AUTO_ERROR full = VB_ERROR_INIT, err = VB_ERROR_INIT;
    vb_pack_init(&p, keys);
    add(&p, 0, "first chunk");
    add(&p, 1, "2");
    add(&p, 2, "the third chunk is somewhat longer than the others");
    vb_buf_add(&before, p.bytes.data, p.bytes.len);
    vb_backend_memory_set_limit(b, 10);
    for (int tries = 0; tries < 2; tries++) {
        vb_error_clear(&full);
        assert_int_equal(vb_pack_write(&p, keys, 0, b, &id, &full), -1);
        assert_int_equal(full.code, VB_E_NO_SPACE);
        assert_int_equal(p.bytes.len, before.len);
        for (size_t i = 0; i < p.n; i++)
            assert_memory_equal(p.bytes.data + p.entries[i].offset, before.data + p.entries[i].offset,
                                p.entries[i].stored_size);
    }
    vb_backend_memory_set_limit(b, 0);
    assert_ok(vb_pack_write(&p, keys, 0, b, &id, &err));
    vb_pack_clear(&p);
    assert_ok(vb_pack_read_entries(b, keys, &id, &e, &n, &err));
    assert_sample(e, n);
    free(e);
    vb_backend_close(b);
}

static void pack_tells_what_is_in_it(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    struct vb_pack_entry *e = NULL;
    size_t n = 0;
    uint64_t size = 0;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_name name = write_sample(b, &size);
    VB_AUTO_FREE char *path = vb_pack_path(&name);
    struct vb_name back;
    struct vb_pack_id id = { .name = name, .size = size }, whole;
    assert_true(vb_pack_path_parse(path, &back) && vb_name_equal(&name, &back));
    assert_ok(vb_pack_read_entries(b, keys, &id, &e, &n, &err));
    assert_sample(e, n);
    free(e);
    assert_ok(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, &err));
    assert_int_equal(bytes.len, size);
    assert_ok(vb_pack_parse(bytes.data, bytes.len, keys, &name, &whole, &e, &n, &err));
    assert_sample(e, n);
    assert_memory_equal(id.salt, whole.salt, sizeof id.salt);
    struct vb_object o;
    VB_AUTO_BUF first = VB_BUF_INIT, moved = VB_BUF_INIT;
    assert_ok(vb_object_recall(keys, VB_OBJECT_PACK, id.group, id.salt, &o, &err));
    assert_ok(vb_pack_unseal(keys, &o, &e[0], bytes.data + e[0].offset, &first, &err));
    assert_memory_equal(first.data, "first chunk", 11);
    if (vb_keys_sealed(keys)) { /* bound to place, type and name: none of these may be another's */
        assert_memory_not_equal(bytes.data + e[0].offset, "first chunk", 11);
        struct vb_pack_entry other = e[0];
        other.type = VB_CHUNK_TREE;
        assert_int_equal(vb_pack_unseal(keys, &o, &other, bytes.data + e[0].offset, &moved, NULL), -1);
        other = e[0];
        other.name = e[1].name;
        assert_int_equal(vb_pack_unseal(keys, &o, &other, bytes.data + e[0].offset, &moved, NULL), -1);
        other = e[0];
        other.offset++;
        assert_int_equal(vb_pack_unseal(keys, &o, &other, bytes.data + e[0].offset, &moved, NULL), -1);
        assert_int_equal(moved.len, 0);
    }
    free(e);
    vb_backend_close(b);
}

static void writing_the_same_pack_again_is_fine(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    uint64_t size = 0;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    struct vb_name first = write_sample(b, &size), second = write_sample(b, &size);
    assert_int_equal(vb_name_equal(&first, &second), !vb_keys_sealed(keys)); /* sealed with another key each time */
    if (vb_keys_sealed(keys)) {
        vb_backend_close(b);
        return;
    }
    /* and a damaged one under that name is replaced by what the name says */
    VB_AUTO_FREE char *path = vb_pack_path(&first);
    vb_backend_memory_damage(b, path, 60, 1);
    write_sample(b, &size);
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    struct vb_name real;
    vb_sha256(bytes.data, bytes.len, &real);
    assert_true(vb_name_equal(&real, &first));
    vb_backend_close(b);
}

static void every_flipped_bit_is_noticed(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    uint64_t size = 0;
    struct vb_name name = write_sample(b, &size);
    VB_AUTO_FREE char *path = vb_pack_path(&name);
    size_t silent = 0, payload = 11 + 1 + strlen("the third chunk is somewhat longer than the others");
    payload += 3 * vb_object_overhead(keys); /* opening the chunk tells */
    payload += vb_keys_format(keys) && !vb_keys_sealed(keys) ? VB_GROUP_TAG_LEN : 0; /* another group */
    struct vb_pack_id id;
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    for (size_t i = 0; i < bytes.len; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct vb_pack_entry *e = NULL;
            size_t n;
            bytes.data[i] ^= (unsigned char)(1u << bit);
            assert_int_equal(vb_pack_parse(bytes.data, bytes.len, keys, &name, &id, &e, &n, NULL), -1);
            /* Without the name only the payload may differ unnoticed: that is what the chunks' names are for. */
            if (vb_pack_parse(bytes.data, bytes.len, keys, NULL, &id, &e, &n, NULL) == 0) {
                silent++;
                free(e);
            }
            bytes.data[i] ^= (unsigned char)(1u << bit);
        }
    assert_int_equal(silent, payload * 8);
    vb_backend_close(b);
}

static void truncated_or_newer_packs_are_refused(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t size = 0;
    struct vb_name name = write_sample(b, &size);
    VB_AUTO_FREE char *path = vb_pack_path(&name);
    struct vb_pack_entry *e = NULL;
    struct vb_pack_id id = { .name = name, .size = size };
    size_t n;
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    for (size_t len = 0; len < bytes.len; len++) {
        VB_AUTO_FREE unsigned char *copy = vb_memdup(bytes.data, len);
        assert_int_equal(vb_pack_parse(copy, len, keys, NULL, &id, &e, &n, NULL), -1);
    }
    bytes.data[4] = VB_OBJECT_VERSION + 1;
    assert_int_equal(vb_pack_parse(bytes.data, bytes.len, keys, NULL, &id, &e, &n, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    assert_contains(err.text, "format 2, this program knows up to 1");
    vb_backend_close(b);
}

/* With all checksums right: only the bounds stand between such a trailer and a read elsewhere. */
static void a_trailer_that_points_elsewhere_is_refused(void **state)
{
    (void)state;
    struct vb_backend *b = vb_backend_memory_new(), *forged = vb_backend_memory_new();
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT, e2 = VB_ERROR_INIT;
    uint64_t size = 0;
    struct vb_name name = write_sample(b, &size);
    VB_AUTO_FREE char *path = vb_pack_path(&name);
    struct vb_pack_entry *e = NULL;
    struct vb_pack_id id = { .name = name, .size = size };
    size_t n;
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    size_t trailer = bytes.len - VB_PACK_FOOTER_LEN - 3 * VB_PACK_TRAILER_ENTRY_LEN;
    bytes.data[trailer + VB_PACK_TRAILER_ENTRY_LEN + 15] ^= 1; /* offset of the second */
    uint32_t crc = vb_crc32(bytes.data + trailer, 3 * VB_PACK_TRAILER_ENTRY_LEN);
    for (unsigned i = 0; i < 4; i++)
        bytes.data[bytes.len - VB_PACK_FOOTER_LEN + 4 + i] = (unsigned char)(crc >> (24 - 8 * i));
    assert_int_equal(vb_pack_parse(bytes.data, bytes.len, keys, NULL, &id, &e, &n, &err), -1);
    assert_contains(err.text, "does not fit");
    id = (struct vb_pack_id){ .name = name, .size = size };
    assert_int_equal(vb_backend_write(forged, path, bytes.data, bytes.len, NULL), 0);
    assert_int_equal(vb_pack_read_entries(forged, keys, &id, &e, &n, &e2), -1);
    assert_int_equal(e2.code, VB_E_CORRUPT);
    vb_backend_close(b);
    vb_backend_close(forged);
}

/* Whoever can write to an encrypted repository cannot bring in what is not sealed, nor what another repository or a
 * key of another group has sealed. */
static void an_unsealed_pack_is_refused_where_packs_are_sealed(void **state)
{
    (void)state;
    struct vb_keys *own = keys;
    static const uint8_t other_root[VB_KEY_LEN] = { 8 };
    struct vb_keys *strangers[] = { vb_keys_format0(repo_id, root, root), vb_keys_from_root(repo_id, false, root),
                                    vb_keys_from_root(repo_id, true, other_root),
                                    vb_keys_from_root("22222222-1111-4111-8111-111111111111", true, root) };
    for (size_t i = 0; i < VB_COUNT(strangers); i++) {
        struct vb_backend *b = vb_backend_memory_new();
        VB_AUTO_BUF bytes = VB_BUF_INIT;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_pack_id id;
        struct vb_pack_entry *e = NULL;
        uint64_t size;
        size_t n;
        keys = strangers[i];
        struct vb_name name = write_sample(b, &size);
        VB_AUTO_FREE char *path = vb_pack_path(&name);
        assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
        keys = own;
        assert_int_equal(vb_pack_parse(bytes.data, bytes.len, keys, &name, &id, &e, &n, &err), -1);
        assert_int_equal(err.code, VB_E_CORRUPT);
        vb_keys_free(strangers[i]);
        vb_backend_close(b);
    }
}

static void strange_paths_are_no_packs(void **state)
{
    (void)state;
    struct vb_name n;
    assert_false(vb_pack_path_parse("packs/ab/abcd", &n));
    assert_false(vb_pack_path_parse("index/ab/ab", &n));
    assert_false(vb_pack_path_parse(
        "packs/ab/cb00000000000000000000000000000000000000000000000000000000000000", &n));
    assert_true(vb_pack_path_parse(
        "packs/ab/ab00000000000000000000000000000000000000000000000000000000000000", &n));
}

int main(void)
{
#define T(fn, kind) { #fn " " #kind, fn, kind, done, NULL }
#define ALL(fn) T(fn, format0), T(fn, plain), T(fn, sealed)
    const struct CMUnitTest tests[] = {
        ALL(pack_tells_what_is_in_it),
        ALL(a_pack_that_could_not_be_written_is_as_it_was),
        ALL(writing_the_same_pack_again_is_fine),
        ALL(every_flipped_bit_is_noticed),
        ALL(truncated_or_newer_packs_are_refused),
        T(a_trailer_that_points_elsewhere_is_refused, format0),
        T(a_trailer_that_points_elsewhere_is_refused, plain),
        T(an_unsealed_pack_is_refused_where_packs_are_sealed, sealed),
        cmocka_unit_test(strange_paths_are_no_packs),
    };
    return CM_RUN("pack", tests);
}
