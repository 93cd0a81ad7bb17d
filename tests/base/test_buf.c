/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_buf.c */
#include <config.h>
#include "base/buf.h"
#include "base/mem.h"
#include "tests/cm.h"

static void grows_and_formats(void **state)
{
    (void)state;
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_string_equal(vb_buf_str(&b), "");
    for (int i = 0; i < 1000; i++) {
        vb_buf_addf(&b, "%d,", i);
    }
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_memory_equal(b.data, "0,1,2,", 6);
    vb_buf_reset(&b);
    VB_AUTO_FREE char *longer = vb_alloc_n(5001, 1);
    memset(longer, 'x', 5000);
    vb_buf_addf(&b, "<%s>", longer);
    assert_int_equal(strlen(vb_buf_str(&b)), 5002);
    VB_AUTO_FREE char *s = vb_buf_take_str(&b);
    assert_int_equal(s[5001], '>');
    assert_null(b.data);
    vb_buf_clear(&b);
    vb_buf_clear(&b);
}

static void consume_drops_the_front(void **state)
{
    (void)state;
    VB_AUTO_BUF b = VB_BUF_INIT;
    vb_buf_consume(&b, 5);
    vb_buf_add_str(&b, "abcdef");
    vb_buf_consume(&b, 2);
    assert_string_equal(vb_buf_str(&b), "cdef");
    vb_buf_consume(&b, 99);
    assert_int_equal(b.len, 0);
}

static void numbers_are_big_endian_and_come_back(void **state)
{
    (void)state;
    VB_AUTO_BUF b = VB_BUF_INIT;
    struct vb_reader r;
    uint8_t a = 0;
    uint16_t c = 0;
    uint32_t d = 0;
    uint64_t e = 0;
    const unsigned char *p;
    vb_buf_add_u8(&b, 0x01);
    vb_buf_add_u16(&b, 0x0203);
    vb_buf_add_u32(&b, 0x04050607);
    vb_buf_add_u64(&b, UINT64_C(0x08090a0b0c0d0e0f));
    vb_buf_add_str(&b, "xy");
    for (unsigned i = 0; i < 15; i++) {
        assert_int_equal(b.data[i], i + 1);
    }
    vb_reader_init(&r, b.data, b.len);
    assert_true(vb_get_u8(&r, &a) && vb_get_u16(&r, &c) && vb_get_u32(&r, &d) && vb_get_u64(&r, &e));
    assert_int_equal(c, 0x0203);
    assert_int_equal(d, 0x04050607);
    assert_int_equal(e, UINT64_C(0x08090a0b0c0d0e0f));
    assert_true(vb_get_bytes(&r, 2, &p));
    assert_memory_equal(p, "xy", 2);
    assert_true(vb_get_bytes(&r, 0, &p));
    assert_false(r.bad);
}

static void reader_cannot_pass_the_end_and_stays_bad(void **state)
{
    (void)state;
    struct vb_reader r;
    uint32_t d = 77;
    uint8_t a = 77;
    const unsigned char *p = NULL;
    vb_reader_init(&r, "abc", 3);
    assert_false(vb_get_u32(&r, &d));
    assert_int_equal(d, 77);
    assert_true(r.bad);
    assert_false(vb_get_u8(&r, &a)); /* would fit, but the parse is lost */
    assert_int_equal(a, 77);
    vb_reader_init(&r, "abc", 3);
    assert_false(vb_get_bytes(&r, SIZE_MAX, &p));
    vb_reader_init(&r, NULL, 0);
    assert_false(vb_get_u8(&r, &a));
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(grows_and_formats), cmocka_unit_test(consume_drops_the_front),
        cmocka_unit_test(numbers_are_big_endian_and_come_back),
        cmocka_unit_test(reader_cannot_pass_the_end_and_stays_bad),
    };
    return CM_RUN("buf", t);
}
