/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extents of a file then and now: what is the same by its address, and how they are kept.  On a real file system:
 * tests/agent/test_capture_extents.c.
 */
#include "config.h"

#include "tests/cm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tracking/extents.h"

#define M ((uint64_t)1 << 20)

static void add(struct vb_extents *x, uint64_t len, uint64_t address, uint64_t disk_len, uint64_t inside, uint8_t kind)
{
    uint64_t at = x->n ? x->v[x->n - 1].offset + x->v[x->n - 1].len : 0;
    VB_GROW(x->v, x->n, x->cap);
    x->v[x->n++] = (struct vb_extent){ at, len, address, disk_len, inside, kind, 0 };
    x->size = at + len;
}

static struct vb_extent_pairs pairs(const struct vb_extents *then, const struct vb_extents *now)
{
    struct vb_extent_pairs p = { .v = NULL };
    vb_extents_pair(then, now, &p);
    return p;
}

static void what_is_the_same(void **state)
{
    (void)state;
    struct vb_extents a = { .v = NULL }, b = { .v = NULL };
    add(&a, 10 * M, 100 * M, 10 * M, 0, VB_EXTENT_DATA);
    add(&a, M, 0, 0, 0, VB_EXTENT_ZEROS);
    add(&a, M, 200 * M, M, 0, VB_EXTENT_OTHER);
    add(&a, M, 300 * M, M, 0, VB_EXTENT_DATA);
    add(&a, M, 400 * M, M, 0, VB_EXTENT_DATA);
    /* a page in the middle was overwritten, the last was cut and lies elsewhere in its extent */
    add(&b, 4 * M, 100 * M, 10 * M, 0, VB_EXTENT_DATA);
    add(&b, 4096, 500 * M, 4096, 0, VB_EXTENT_DATA);
    add(&b, 6 * M - 4096, 100 * M, 10 * M, 4 * M + 4096, VB_EXTENT_DATA);
    add(&b, M, 0, 0, 0, VB_EXTENT_ZEROS);
    add(&b, M, 200 * M, M, 0, VB_EXTENT_OTHER);
    add(&b, M / 2, 300 * M, M, 0, VB_EXTENT_DATA);
    add(&b, M / 2, 300 * M, M, 0, VB_EXTENT_DATA);
    add(&b, M, 400 * M, 2 * M, 0, VB_EXTENT_DATA); /* another extent at this address */
    struct vb_extent_pairs p = pairs(&a, &b);
    const struct vb_extent_pair want[] = { { 0, 4 * M, 100 * M, 10 * M },
                                           { 4 * M + 4096, 6 * M - 4096, 100 * M, 10 * M },
                                           { 10 * M, M, 0, 0 },
                                           { 12 * M, M / 2, 300 * M, M } };
    assert_int_equal(p.n, VB_COUNT(want));
    assert_memory_equal(p.v, want, sizeof want);
    free(p.v);
    /* never beyond the shorter file */
    b.size = 2 * M + 5;
    p = pairs(&a, &b);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.v[0].len, 2 * M + 5);
    free(p.v);
    b.v[0].compression = 1;
    p = pairs(&a, &b);
    assert_int_equal(p.n, 0);
    free(p.v);
    vb_extents_clear(&a);
    vb_extents_clear(&b);
}

static void kept(void **state)
{
    (void)state;
    struct vb_extents a = { .v = NULL }, b = { .v = NULL };
    VB_AUTO_BUF buf = VB_BUF_INIT;
    struct vb_reader r;
    add(&a, M, 100 * M, M, 0, VB_EXTENT_DATA);
    add(&a, M, 0, 0, 0, VB_EXTENT_ZEROS);
    a.v[1].compression = 3;
    vb_extents_encode(&a, &buf);
    vb_reader_init(&r, buf.data, buf.len);
    assert_true(vb_extents_decode(&r, &b));
    assert_int_equal(r.left, 0);
    assert_int_equal(b.n, 2);
    assert_int_equal(b.size, 2 * M);
    for (size_t i = 0; i < 2; i++) {
        const struct vb_extent *x = &a.v[i], *y = &b.v[i];
        assert_true(x->offset == y->offset && x->len == y->len && x->address == y->address && x->disk_len == y->disk_len &&
                    x->inside == y->inside && x->kind == y->kind && x->compression == y->compression);
    }
    for (size_t n = 0; n < buf.len; n++) {
        vb_reader_init(&r, buf.data, n);
        assert_false(vb_extents_decode(&r, &b));
        assert_int_equal(b.n, 0);
    }
    /* a gap, and another kind */
    buf.data[12 + 42 + 7] ^= 1;
    vb_reader_init(&r, buf.data, buf.len);
    assert_false(vb_extents_decode(&r, &b));
    buf.data[12 + 42 + 7] ^= 1;
    buf.data[12 + 40] = 9;
    vb_reader_init(&r, buf.data, buf.len);
    assert_false(vb_extents_decode(&r, &b));
    vb_extents_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_the_same),
        cmocka_unit_test(kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
