/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/test_chunk.c - names, compression, cutting and content lists.
 */
#include <config.h>
#include "tests/cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "store/chunk/chunk.h"
#include "store/chunk/content.h"
#include "store/chunk/cutter.h"

static const uint8_t key_a[VB_CHUNK_KEY_LEN] = { 1 }, key_b[VB_CHUNK_KEY_LEN] = { 2 };

static void random_bytes(struct vb_rng *rng, struct vb_buf *b, size_t n)
{
    vb_buf_reset(b);
    vb_buf_reserve(b, n + 8);
    while (b->len < n)
        vb_buf_add_u64(b, vb_rng_next(rng));
    b->len = n;
}

/* ---- names ---- */

static void name_is_hmac_of_type_and_bytes(void **state)
{
    (void)state;
    /* Computed with: printf '\001hello' | openssl dgst -sha256 -mac HMAC -macopt hexkey:01000000...00 */
    struct vb_namer *n = vb_namer_new(key_a);
    struct vb_name name, again, parsed;
    char hex[VB_NAME_HEX_LEN + 1];
    vb_namer_name(n, VB_CHUNK_DATA, "hello", 5, &name);
    vb_name_hex(&name, hex);
    assert_string_equal(hex, "54d3a05703e9627346598505f86d5e0f67c570debaf26b5fa22f037143544b9e");
    vb_namer_name(n, VB_CHUNK_DATA, "hello", 5, &again);
    assert_true(vb_name_equal(&name, &again));
    assert_true(vb_name_parse(hex, &parsed) && vb_name_equal(&name, &parsed));
    vb_namer_free(n);
}

static void name_depends_on_key_type_and_bytes(void **state)
{
    (void)state;
    struct vb_namer *a = vb_namer_new(key_a), *b = vb_namer_new(key_b);
    struct vb_name base, other;
    vb_namer_name(a, VB_CHUNK_DATA, "hello", 5, &base);
    vb_namer_name(a, VB_CHUNK_TREE, "hello", 5, &other);
    assert_false(vb_name_equal(&base, &other));
    vb_namer_name(a, VB_CHUNK_DATA, "hellp", 5, &other);
    assert_false(vb_name_equal(&base, &other));
    vb_namer_name(b, VB_CHUNK_DATA, "hello", 5, &other);
    assert_false(vb_name_equal(&base, &other));
    vb_namer_free(a);
    vb_namer_free(b);
}

static void name_text_is_strict(void **state)
{
    (void)state;
    struct vb_name n;
    char hex[VB_NAME_HEX_LEN + 2];
    memset(hex, 'a', sizeof hex);
    hex[VB_NAME_HEX_LEN] = '\0';
    assert_true(vb_name_parse(hex, &n));
    hex[3] = 'A';
    assert_false(vb_name_parse(hex, &n));
    hex[3] = 'g';
    assert_false(vb_name_parse(hex, &n));
    hex[3] = '\0';
    assert_false(vb_name_parse(hex, &n));
    assert_false(vb_name_parse(NULL, &n));
}

/* ---- codec ---- */

static void round_trip(struct vb_codec *c, const struct vb_buf *raw, uint8_t want_encoding)
{
    VB_AUTO_BUF stored = VB_BUF_INIT, back = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint8_t encoding = 99;
    assert_ok(vb_codec_compress(c, raw->data, raw->len, &stored, &encoding, &err));
    assert_int_equal(encoding, want_encoding);
    assert_true(stored.len <= raw->len);
    assert_ok(vb_codec_decompress(c, encoding, stored.data, stored.len, raw->len, &back, &err));
    assert_int_equal(back.len, raw->len);
    assert_memory_equal(back.data, raw->data, raw->len);
}

static void codec_keeps_bytes_and_notices_incompressible_ones(void **state)
{
    (void)state;
    struct vb_codec *c = vb_codec_new(3), *none = vb_codec_new(0);
    struct vb_rng rng;
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_rng_seed(&rng, 1);
    for (size_t n = 1; n < 300000; n = n * 3 + 1) {
        random_bytes(&rng, &b, n);
        round_trip(c, &b, VB_ENC_RAW);
        memset(b.data, 'x', b.len);
        round_trip(c, &b, n >= 64 ? VB_ENC_ZSTD : VB_ENC_RAW);
        round_trip(none, &b, VB_ENC_RAW);
    }
    vb_codec_free(c);
    vb_codec_free(none);
}

static void codec_check_sees_every_changed_byte(void **state)
{
    (void)state;
    struct vb_codec *c = vb_codec_new(3);
    VB_AUTO_BUF raw = VB_BUF_INIT, stored = VB_BUF_INIT;
    uint8_t encoding = 0;
    for (unsigned i = 0; i < 300; i++)
        vb_buf_addf(&raw, "line %u\n", i / 7);
    assert_int_equal(vb_codec_compress(c, raw.data, raw.len, &stored, &encoding, NULL), 0);
    assert_int_equal(encoding, VB_ENC_ZSTD);
    assert_int_equal(vb_codec_check(c, encoding, stored.data, stored.len, raw.data, raw.len, NULL), 0);
    for (size_t i = 0; i < raw.len; i += 37) {
        raw.data[i] ^= 1;
        assert_int_equal(vb_codec_check(c, encoding, stored.data, stored.len, raw.data, raw.len, NULL), -1);
        raw.data[i] ^= 1;
    }
    assert_int_equal(vb_codec_check(c, VB_ENC_RAW, raw.data, raw.len, raw.data, raw.len, NULL), 0);
    assert_int_equal(vb_codec_check(c, VB_ENC_RAW, raw.data, raw.len - 1, raw.data, raw.len, NULL), -1);
    assert_int_equal(vb_codec_check(c, encoding, stored.data, stored.len - 1, raw.data, raw.len, NULL), -1);
    vb_codec_free(c);
}

static void refused(struct vb_codec *c, uint8_t encoding, const void *p, size_t n, size_t raw)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_buf_add_str(&out, "kept");
    assert_int_equal(vb_codec_decompress(c, encoding, p, n, raw, &out, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
    assert_int_equal(out.len, 4);
}

static void codec_refuses_what_is_not_one_frame_of_that_size(void **state)
{
    (void)state;
    struct vb_codec *c = vb_codec_new(3);
    VB_AUTO_BUF raw = VB_BUF_INIT, stored = VB_BUF_INIT;
    uint8_t encoding;
    for (unsigned i = 0; i < 2000; i++)
        vb_buf_addf(&raw, "line %u\n", i);
    vb_codec_compress(c, raw.data, raw.len, &stored, &encoding, NULL);
    refused(c, VB_ENC_ZSTD, stored.data, stored.len, raw.len - 1);
    refused(c, VB_ENC_ZSTD, stored.data, stored.len, raw.len + 1);
    refused(c, VB_ENC_ZSTD, stored.data, stored.len - 1, raw.len);
    refused(c, VB_ENC_RAW, stored.data, stored.len, raw.len);
    refused(c, 7, stored.data, stored.len, raw.len);
    refused(c, VB_ENC_ZSTD, stored.data, stored.len, 0);
    refused(c, VB_ENC_ZSTD, stored.data, stored.len, VB_CHUNK_MAX_RAW + 1);
    refused(c, VB_ENC_ZSTD, stored.data, raw.len, raw.len);
    VB_AUTO_BUF twice = VB_BUF_INIT;
    vb_buf_add(&twice, stored.data, stored.len);
    vb_buf_add(&twice, stored.data, stored.len);
    refused(c, VB_ENC_ZSTD, twice.data, twice.len, raw.len); /* bytes behind the frame */
    static const unsigned char skippable[8] = { 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0 };
    twice.len = stored.len;
    vb_buf_add(&twice, skippable, sizeof skippable); /* which zstd itself would pass over in silence */
    refused(c, VB_ENC_ZSTD, twice.data, twice.len, raw.len);
    vb_codec_free(c);
}

static void codec_refuses_every_size_that_is_no_chunk(void **state)
{
    (void)state;
    struct vb_codec *c = vb_codec_new(3);
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint8_t encoding;
    assert_int_equal(vb_codec_compress(c, "", 0, &out, &encoding, &err), -1);
    VB_AUTO_FREE char *big = vb_alloc(VB_CHUNK_MAX_RAW + 1);
    assert_int_equal(vb_codec_compress(c, big, VB_CHUNK_MAX_RAW + 1, &out, &encoding, &err), -1);
    assert_int_equal(err.code, VB_E_LIMIT);
    assert_ok(vb_codec_compress(c, big, VB_CHUNK_MAX_RAW, &out, &encoding, &err));
    vb_codec_free(c);
}

/* ---- cutter ---- */

struct cuts {
    size_t *at;
    size_t n, cap;
};

static void add_cut(struct cuts *c, size_t at)
{
    VB_GROW(c->at, c->n, c->cap);
    c->at[c->n++] = at;
}

/* step: bytes per feed, 0: random sizes. */
static struct cuts cut_all(const struct vb_buf *b, const struct vb_cut_params *params, const uint8_t *seed, size_t step)
{
    struct vb_cutter *c = vb_cutter_new(params, seed, NULL);
    struct cuts cuts = { 0 };
    struct vb_rng rng;
    size_t at = 0;
    assert_non_null(c);
    vb_rng_seed(&rng, b->len + step);
    while (at < b->len) {
        size_t n = step ? step : 1 + (size_t)vb_rng_below(&rng, 3000);
        bool end = false;
        if (n > b->len - at)
            n = b->len - at;
        size_t k = vb_cutter_feed(c, b->data + at, n, &end);
        assert_true(k > 0 && k <= n && (end || k == n));
        at += k;
        if (end) {
            assert_int_equal(vb_cutter_pending(c), 0);
            add_cut(&cuts, at);
        }
    }
    vb_cutter_free(c);
    return cuts;
}

static const struct vb_cut_params tiny = { 256, 1024, 4096 };

static void cutter_boundaries_do_not_depend_on_feeds(void **state)
{
    (void)state;
    struct vb_rng rng;
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_rng_seed(&rng, 5);
    for (unsigned round = 0; round < 20; round++) {
        random_bytes(&rng, &b, 1 + (size_t)vb_rng_below(&rng, 100000));
        struct cuts whole = cut_all(&b, &tiny, key_a, b.len);
        const size_t steps[] = { 1, 255, 256, 4096, 0 };
        for (size_t s = 0; s < VB_COUNT(steps); s++) {
            struct cuts other = cut_all(&b, &tiny, key_a, steps[s]);
            assert_int_equal(other.n, whole.n);
            if (whole.n)
                assert_memory_equal(other.at, whole.at, whole.n * sizeof *whole.at);
            free(other.at);
        }
        free(whole.at);
    }
}

static void cutter_sizes_keep_their_bounds(void **state)
{
    (void)state;
    const struct vb_cut_params all[] = { VB_CUT_DEFAULT, VB_CUT_PAGES, tiny };
    struct vb_rng rng;
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_rng_seed(&rng, 6);
    for (size_t i = 0; i < VB_COUNT(all); i++) {
        random_bytes(&rng, &b, (size_t)all[i].avg * 300);
        struct cuts c = cut_all(&b, &all[i], key_a, b.len);
        size_t before = 0;
        for (size_t k = 0; k < c.n; k++) {
            assert_in_range(c.at[k] - before, all[i].min, all[i].max);
            before = c.at[k];
        }
        /* The average is what the parameters say, within a fifth. */
        assert_in_range(b.len / c.n, all[i].avg - all[i].avg / 5, all[i].avg + all[i].avg / 5);
        free(c.at);
    }
    VB_AUTO_FREE unsigned char *zeros = vb_alloc(100000);
    struct vb_buf same = { zeros, 100000, 100000 };
    struct cuts c = cut_all(&same, &tiny, key_a, 100000);
    for (size_t k = 1; k < c.n; k++) /* bytes that never fulfil a condition are cut by force, all alike */
        assert_int_equal(c.at[k] - c.at[k - 1], c.at[0]);
    free(c.at);
}

static bool has_cut(const struct cuts *c, size_t at)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->at[i] == at)
            return true;
    return false;
}

static void cutter_falls_in_step_after_an_insertion(void **state)
{
    (void)state;
    struct vb_rng rng;
    VB_AUTO_BUF a = VB_BUF_INIT, b = VB_BUF_INIT;
    vb_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 10; round++) {
        size_t added = 1 + (size_t)vb_rng_below(&rng, 500), where = 100000 + (size_t)vb_rng_below(&rng, 50000);
        random_bytes(&rng, &a, 300000);
        vb_buf_reset(&b);
        vb_buf_add(&b, a.data, where);
        for (size_t i = 0; i < added; i++)
            vb_buf_add_u8(&b, (uint8_t)vb_rng_next(&rng));
        vb_buf_add(&b, a.data + where, a.len - where);
        struct cuts ca = cut_all(&a, &tiny, key_a, a.len), cb = cut_all(&b, &tiny, key_a, b.len);
        for (size_t i = 0; i < ca.n; i++) {
            if (ca.at[i] <= where)
                assert_true(has_cut(&cb, ca.at[i]));
            else if (ca.at[i] > where + 20 * tiny.max)
                assert_true(has_cut(&cb, ca.at[i] + added));
        }
        free(ca.at);
        free(cb.at);
    }
}

static void cutter_is_secret(void **state)
{
    (void)state;
    struct vb_rng rng;
    VB_AUTO_BUF b = VB_BUF_INIT;
    size_t common = 0;
    vb_rng_seed(&rng, 8);
    random_bytes(&rng, &b, 500000);
    struct cuts a = cut_all(&b, &tiny, key_a, b.len), c = cut_all(&b, &tiny, key_b, b.len);
    for (size_t i = 0; i < a.n; i++)
        common += has_cut(&c, a.at[i]);
    assert_true(common * 20 < a.n); /* another seed: other cuts */
    free(a.at);
    free(c.at);
}

static void cutter_refuses_foolish_sizes(void **state)
{
    (void)state;
    const struct vb_cut_params bad[] = { { 0, 1024, 4096 },    { 255, 1024, 4096 },  { 1024, 1024, 4096 },
                                         { 256, 1000, 4096 },  { 256, 1024, 1024 },  { 256, 1024, 1 << 30 },
                                         { 256, 1u << 31, 1u << 31 } };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_null(vb_cutter_new(&bad[i], key_a, &err));
        assert_int_equal(err.code, VB_E_USAGE);
    }
}

/* ---- content ---- */

/* A store of emitted lists, for expanding them again. */
struct lists {
    struct vb_namer *namer;
    struct vb_buf *bytes;
    struct vb_name *names;
    size_t n, cap_bytes, cap_names;
};

static int keep_list(void *arg, enum vb_chunk_type type, const void *p, size_t len, struct vb_name *name,
                     struct vb_error *err)
{
    struct lists *l = arg;
    (void)err;
    assert_int_equal(type, VB_CHUNK_LIST);
    vb_namer_name(l->namer, type, p, len, name);
    VB_GROW(l->bytes, l->n, l->cap_bytes);
    VB_GROW(l->names, l->n, l->cap_names);
    l->bytes[l->n] = (struct vb_buf)VB_BUF_INIT;
    vb_buf_add(&l->bytes[l->n], p, len);
    l->names[l->n++] = *name;
    return 0;
}

static void forget_lists(struct lists *l)
{
    for (size_t i = 0; i < l->n; i++)
        vb_buf_clear(&l->bytes[i]);
    l->n = 0;
}

static void expand(const struct lists *l, const struct vb_ref *refs, size_t n, unsigned level, struct vb_content *out,
                   size_t *cap)
{
    for (size_t i = 0; i < n; i++) {
        if (level == 0) {
            size_t count = out->n;
            VB_GROW(out->refs, count, *cap);
            out->refs[out->n++] = refs[i];
            continue;
        }
        size_t k = 0;
        while (k < l->n && !vb_name_equal(&l->names[k], &refs[i].name))
            k++;
        assert_true(k < l->n);
        struct vb_ref *below = NULL;
        size_t m = 0;
        uint8_t own = 99;
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_ok(vb_list_decode(l->bytes[k].data, l->bytes[k].len, &own, &below, &m, &err));
        assert_int_equal(own, level - 1);
        uint64_t sum = 0;
        for (size_t j = 0; j < m; j++)
            sum += below[j].size;
        assert_int_equal(sum, refs[i].size);
        expand(l, below, m, level - 1, out, cap);
        free(below);
    }
}

static void content_lists_expand_to_what_was_added(void **state)
{
    (void)state;
    const size_t counts[] = { 0, 1, 255, 256, 257, 4096, 5000, 20000, 400000 };
    struct lists l = { .namer = vb_namer_new(key_a) };
    struct vb_rng rng;
    struct vb_content_builder *b = vb_content_builder_new(keep_list, &l);
    for (size_t k = 0; k < VB_COUNT(counts); k++) {
        struct vb_content content = { 0 }, flat = { 0 };
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        size_t cap = 0;
        vb_rng_seed(&rng, k);
        for (size_t i = 0; i < counts[k]; i++) {
            struct vb_name name = { { 0 } };
            for (unsigned j = 0; j < VB_NAME_LEN; j++)
                name.b[j] = (uint8_t)vb_rng_next(&rng);
            assert_ok(vb_content_builder_add(b, &name, 1 + i % 1000, &err));
        }
        assert_ok(vb_content_builder_finish(b, &content, &err));
        assert_true(content.n <= VB_CONTENT_MAX_DIRECT);
        assert_int_equal(content.level, counts[k] <= 256 ? 0 : counts[k] < 300000 ? 1 : 2);
        expand(&l, content.refs, content.n, content.level, &flat, &cap);
        assert_int_equal(flat.n, counts[k]);
        vb_rng_seed(&rng, k);
        for (size_t i = 0; i < counts[k]; i++) {
            assert_int_equal(flat.refs[i].size, 1 + i % 1000);
            for (unsigned j = 0; j < VB_NAME_LEN; j++)
                if (flat.refs[i].name.b[j] != (uint8_t)vb_rng_next(&rng))
                    fail_msg("reference %zu of %zu is another one", i, counts[k]);
        }
        vb_content_clear(&content);
        vb_content_clear(&flat);
        forget_lists(&l);
    }
    vb_content_builder_free(b);
    vb_namer_free(l.namer);
    free(l.bytes);
    free(l.names);
}

static size_t lists_of(struct lists *l, size_t n, size_t insert_at)
{
    struct vb_content_builder *b = vb_content_builder_new(keep_list, l);
    struct vb_content content = { 0 };
    size_t before = l->n;
    for (size_t i = 0; i < n; i++) {
        struct vb_name name;
        if (i == insert_at) {
            vb_sha256("inserted", 8, &name);
            vb_content_builder_add(b, &name, 7, NULL);
        }
        vb_sha256(&i, sizeof i, &name);
        vb_content_builder_add(b, &name, 7, NULL);
    }
    vb_content_builder_finish(b, &content, NULL);
    vb_content_clear(&content);
    vb_content_builder_free(b);
    return l->n - before;
}

static void content_insertion_renews_few_lists(void **state)
{
    (void)state;
    struct lists l = { .namer = vb_namer_new(key_a) };
    size_t first = lists_of(&l, 50000, SIZE_MAX), second = lists_of(&l, 50000, 10);
    size_t fresh = 0;
    for (size_t i = first; i < first + second; i++) {
        bool known = false;
        for (size_t j = 0; j < first; j++)
            known = known || vb_name_equal(&l.names[i], &l.names[j]);
        fresh += !known;
    }
    assert_true(first > 20);
    assert_true(fresh <= 4);
    forget_lists(&l);
    vb_namer_free(l.namer);
    free(l.bytes);
    free(l.names);
}

static void list_decoder_refuses_damage(void **state)
{
    (void)state;
    struct vb_ref refs[3] = { { .size = 5 }, { .size = 6 }, { .size = 7 } };
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_ref *out = NULL;
    size_t n;
    uint8_t level;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_list_encode(0, refs, 3, &b, &err));
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(vb_list_decode(b.data, len, &level, &out, &n, NULL), -1);
    vb_buf_add_u8(&b, 0);
    assert_int_equal(vb_list_decode(b.data, b.len, &level, &out, &n, NULL), -1);
    b.len--;
    b.data[0] = 1;
    assert_int_equal(vb_list_decode(b.data, b.len, &level, &out, &n, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    b.data[0] = 0;
    b.data[8 + 32 + 7] = 0; /* size of the first reference */
    assert_int_equal(vb_list_decode(b.data, b.len, &level, &out, &n, &err), -1);
    memset(b.data + 8 + 32, 0xff, 8); /* and now the sum overflows */
    assert_int_equal(vb_list_decode(b.data, b.len, &level, &out, &n, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_is_hmac_of_type_and_bytes),
        cmocka_unit_test(name_depends_on_key_type_and_bytes),
        cmocka_unit_test(name_text_is_strict),
        cmocka_unit_test(codec_keeps_bytes_and_notices_incompressible_ones),
        cmocka_unit_test(codec_refuses_what_is_not_one_frame_of_that_size),
        cmocka_unit_test(codec_refuses_every_size_that_is_no_chunk),
        cmocka_unit_test(cutter_boundaries_do_not_depend_on_feeds),
        cmocka_unit_test(cutter_sizes_keep_their_bounds),
        cmocka_unit_test(cutter_falls_in_step_after_an_insertion),
        cmocka_unit_test(cutter_is_secret),
        cmocka_unit_test(codec_check_sees_every_changed_byte),
        cmocka_unit_test(cutter_refuses_foolish_sizes),
        cmocka_unit_test(content_lists_expand_to_what_was_added),
        cmocka_unit_test(content_insertion_renews_few_lists),
        cmocka_unit_test(list_decoder_refuses_damage),
    };
    return CM_RUN("chunk", tests);
}
