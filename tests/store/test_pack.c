/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_pack.c - pack files: what is written is read, and every flipped bit is noticed.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/text.h"
#include "store/pack.h"

static void add(struct vb_pack *p, unsigned i, const char *text)
{
    struct vb_pack_entry e = { .type = (uint8_t)(1 + i % 4), .encoding = VB_ENC_RAW,
                               .raw_size = (uint32_t)strlen(text), .stored_size = (uint32_t)strlen(text) };
    vb_sha256(&i, sizeof i, &e.name);
    vb_pack_add(p, &e, text);
}

static struct vb_name write_sample(struct vb_backend *b, uint64_t *size)
{
    struct vb_pack p;
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_pack_init(&p);
    add(&p, 0, "first chunk");
    add(&p, 1, "2");
    add(&p, 2, "the third chunk is somewhat longer than the others");
    assert_ok(vb_pack_write(&p, b, &name, size, &err));
    vb_pack_clear(&p);
    return name;
}

static void assert_sample(const struct vb_pack_entry *e, size_t n)
{
    assert_int_equal(n, 3);
    assert_int_equal(e[0].offset, VB_PACK_HEADER_LEN + VB_PACK_RECORD_LEN);
    assert_int_equal(e[0].stored_size, 11);
    assert_int_equal(e[1].offset, e[0].offset + 11 + VB_PACK_RECORD_LEN);
    assert_int_equal(e[2].type, VB_CHUNK_LIST);
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
    assert_true(vb_pack_path_parse(path, &back) && vb_name_equal(&name, &back));
    assert_ok(vb_pack_read_entries(b, &name, size, &e, &n, &err));
    assert_sample(e, n);
    free(e);
    assert_ok(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, &err));
    assert_int_equal(bytes.len, size);
    assert_ok(vb_pack_parse(bytes.data, bytes.len, &name, &e, &n, &err));
    assert_sample(e, n);
    assert_memory_equal(bytes.data + e[0].offset, "first chunk", 11);
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
    assert_true(vb_name_equal(&first, &second));
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
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    for (size_t i = 0; i < bytes.len; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct vb_pack_entry *e = NULL;
            size_t n;
            bytes.data[i] ^= (unsigned char)(1u << bit);
            assert_int_equal(vb_pack_parse(bytes.data, bytes.len, &name, &e, &n, NULL), -1);
            /* Without the name only the payload may differ unnoticed: that is what the chunks' names are for. */
            if (vb_pack_parse(bytes.data, bytes.len, NULL, &e, &n, NULL) == 0) {
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
    size_t n;
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    for (size_t len = 0; len < bytes.len; len++) {
        VB_AUTO_FREE unsigned char *copy = vb_memdup(bytes.data, len);
        assert_int_equal(vb_pack_parse(copy, len, NULL, &e, &n, NULL), -1);
    }
    bytes.data[4] = VB_PACK_VERSION + 1;
    assert_int_equal(vb_pack_parse(bytes.data, bytes.len, NULL, &e, &n, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    assert_contains(err.text, "format 1, this program knows up to 0");
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
    size_t n;
    assert_int_equal(vb_backend_read_all(b, path, VB_PACK_MAX, &bytes, NULL), 0);
    size_t trailer = bytes.len - VB_PACK_FOOTER_LEN - 3 * VB_PACK_TRAILER_ENTRY_LEN;
    bytes.data[trailer + VB_PACK_TRAILER_ENTRY_LEN + 15] ^= 1; /* offset of the second */
    uint32_t crc = vb_crc32(bytes.data + trailer, 3 * VB_PACK_TRAILER_ENTRY_LEN);
    for (unsigned i = 0; i < 4; i++)
        bytes.data[bytes.len - VB_PACK_FOOTER_LEN + 4 + i] = (unsigned char)(crc >> (24 - 8 * i));
    assert_int_equal(vb_pack_parse(bytes.data, bytes.len, NULL, &e, &n, &err), -1);
    assert_contains(err.text, "does not fit");
    assert_int_equal(vb_backend_write(forged, path, bytes.data, bytes.len, NULL), 0);
    assert_int_equal(vb_pack_read_entries(forged, &name, size, &e, &n, &e2), -1);
    assert_int_equal(e2.code, VB_E_CORRUPT);
    vb_backend_close(b);
    vb_backend_close(forged);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_tells_what_is_in_it),
        cmocka_unit_test(writing_the_same_pack_again_is_fine),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(truncated_or_newer_packs_are_refused),
        cmocka_unit_test(a_trailer_that_points_elsewhere_is_refused),
        cmocka_unit_test(strange_paths_are_no_packs),
    };
    return CM_RUN("pack", tests);
}
