/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/providers/test_lvm_report.c - the report of lvm, what its attributes mean, and the size of a change store. */
#include "config.h"

#include "providers/lvm/lvm.h"
#include "tests/cm.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* From a real machine (lvm2 2.03.16). */
static const char REAL[] =
    "  vg|pool|twi-aotz--|167772160|||12.66|11.52|253|4|796917760|4194304|/dev/mapper/vg-pool\n"
    "  vg|thick|owi-aos---|67108864|||||253|0|796917760|4194304|/dev/mapper/vg-thick\n"
    "  vg|thin|Vwi-aotz--|67108864||pool|14.06||253|6|796917760|4194304|/dev/mapper/vg-thin\n"
    "  vg|vbackup-1|swi-aos---|33554432|thick||0.01||253|9|796917760|4194304|/dev/mapper/vg-vbackup--1\n"
    "  vg|off|-wi-------|4194304|||||-1|-1|796917760|4194304|/dev/mapper/vg-off\n";

static void a_real_report(void **state)
{
    struct vb_lvm_list l = { NULL, 0, 0 };
    const char *why = NULL;
    (void)state;
    assert_int_equal(vb_lvm_parse(&l, REAL, &why), 0);
    assert_int_equal(l.n, 5);
    const struct vb_lvm_lv *thick = vb_lvm_by_number(&l, 253, 0), *thin = vb_lvm_by_name(&l, "vg", "thin");
    const struct vb_lvm_lv *copy = vb_lvm_by_name(&l, "vg", "vbackup-1"), *pool = vb_lvm_by_name(&l, "vg", "pool");
    assert_string_equal(thick->name, "thick");
    assert_int_equal(thick->size, 64 * MIB);
    assert_int_equal(thick->vg_free, 796917760);
    assert_int_equal(thick->data, -1);
    assert_string_equal(thin->pool, "pool");
    assert_int_equal(thin->data, 1406);
    assert_string_equal(copy->origin, "thick");
    assert_int_equal(copy->data, 1);
    assert_null(vb_lvm_by_number(&l, 253, 77));
    assert_null(vb_lvm_by_name(&l, "vh", "thin"));
    assert_true(vb_lvm_is_thin(thin));
    assert_false(vb_lvm_is_thin(thick));
    assert_null(vb_lvm_refusal(thick));
    assert_null(vb_lvm_refusal(thin));
    assert_non_null(vb_lvm_refusal(copy));
    assert_non_null(vb_lvm_refusal(pool));
    assert_non_null(vb_lvm_refusal(vb_lvm_by_name(&l, "vg", "off")));
    assert_null(vb_lvm_damage(copy, NULL));
    assert_null(vb_lvm_damage(thin, pool));
    assert_non_null(vb_lvm_damage(thin, NULL));
    vb_lvm_list_clear(&l);
}

static void what_is_refused(void **state)
{
    static const char *const BAD[] = {
        "garbage\n",
        "vg|thick|owi-aos---|67108864|||||253|0|1|4194304\n",                          /* a column too few */
        "vg|thick|owi-aos---|67108864|||||253|0|1|4194304|/dev/mapper/a|x\n",          /* one too many */
        "vg|thi ck|owi-aos---|67108864|||||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick;reboot|owi-aos---|67108864|||||253|0|1|4194304|/dev/mapper/a\n",
        "vg|-thick|owi-aos---|67108864|||||253|0|1|4194304|/dev/mapper/a\n",           /* an option, not a name */
        "vg||owi-aos---|67108864|||||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi|67108864|||||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi-aos---|99999999999999999999|||||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi-aos---|64.00m|||||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi-aos---|67108864|||100.01||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi-aos---|67108864|||7||253|0|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi-aos---|67108864|||||253|-2|1|4194304|/dev/mapper/a\n",
        "vg|thick|owi-aos---|67108864|||||253|0|1|0|/dev/mapper/a\n",                  /* extents of nothing */
        "vg|thick|owi-aos---|67108864|||||253|0|1|4194304|/etc/passwd\n",
        "vg|thick|owi-aos---|67108864|||||253|0|1|4194304|/dev/../etc/passwd\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct vb_lvm_list l = { NULL, 0, 0 };
        const char *why = NULL;
        if (vb_lvm_parse(&l, BAD[i], &why) == 0)
            fail_msg("taken: %s", BAD[i]);
        assert_non_null(why);
        vb_lvm_list_clear(&l);
    }
}

static const char *damage(const char *attr, int data, const char *pool_attr, int pool_data)
{
    struct vb_lvm_lv copy = { .attr = (char *)(uintptr_t)attr, .pool = (char *)(uintptr_t)(pool_attr ? "p" : ""), .data = data };
    struct vb_lvm_lv pool = { .attr = (char *)(uintptr_t)pool_attr, .data = pool_data, .metadata = 100 };
    return vb_lvm_damage(&copy, pool_attr ? &pool : NULL);
}

static void what_is_lost(void **state)
{
    (void)state;
    assert_null(damage("swi-aos---", 9999, NULL, 0));
    assert_non_null(damage("swi-aos---", 10000, NULL, 0));
    assert_non_null(damage("swi-Ios---", 10000, NULL, 0)); /* invalid: the kernel gave it up */
    assert_non_null(damage("swi-Sos---", 5, NULL, 0));
    assert_null(damage("Vwi-aotz--", 10000, "twi-aotz--", 5000)); /* a thin volume may be written in full */
    assert_non_null(damage("Vwi-aotz--", 10, "twi-aotz--", 10000));
    assert_non_null(damage("Vwi-aotz--", 10, "twi-aotzD-", 9990));
    assert_non_null(damage("Vwi-aotz--", 10, "twi-aotzF-", 10));
    assert_non_null(damage("Vwi-aotz--", 10, "twi-aotzM-", 10));
}

static void sizes_as_written(void **state)
{
    uint64_t v = 0;
    static const char *const BAD[] = { "", "0", "G", "1GB", "-1", "1.5G", "99999999999T", "0%", "1001%", "5 G", "%" };
    (void)state;
    assert_int_equal(vb_lvm_size("4096", 0, &v), 0);
    assert_int_equal(v, 4096);
    assert_int_equal(vb_lvm_size("512M", 0, &v), 0);
    assert_int_equal(v, 512 * MIB);
    assert_int_equal(vb_lvm_size("2g", 0, &v), 0);
    assert_int_equal(v, 2 * GIB);
    assert_int_equal(vb_lvm_size("15%", 1000, &v), 0);
    assert_int_equal(v, 150);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        if (vb_lvm_size(BAD[i], 1000, &v) == 0)
            fail_msg("'%s' is a size", BAD[i]);
}

static void change_store(void **state)
{
    const uint64_t e = 4 * MIB;
    const char *why = NULL;
    (void)state;
    /* S-47: the least, and a tenth above it */
    assert_int_equal(vb_lvm_store(NULL, 100 * MIB, e, GIB, &why), 32 * MIB);
    assert_int_equal(vb_lvm_store(NULL, 499 * MIB, e, GIB, &why), 52 * MIB); /* a tenth, in whole extents */
    assert_int_equal(vb_lvm_store(NULL, GIB, e, GIB, &why), 320 * MIB);
    assert_int_equal(vb_lvm_store(NULL, 100 * GIB, e, 50 * GIB, &why), 10 * GIB);
    /* what is free, if that is enough */
    assert_int_equal(vb_lvm_store(NULL, 100 * GIB, e, GIB + 1, &why), GIB);
    assert_int_equal(vb_lvm_store(NULL, GIB, e, 319 * MIB, &why), 0);
    assert_non_null(why);
    /* never more than it can use */
    assert_int_equal(vb_lvm_store(NULL, 8 * MIB, e, GIB, &why), 16 * MIB);
    assert_true(vb_lvm_store("10G", GIB, e, 20 * GIB, &why) < GIB + 32 * MIB);
    /* who names a size gets it or nothing */
    assert_int_equal(vb_lvm_store("64M", GIB, e, GIB, &why), 64 * MIB);
    assert_int_equal(vb_lvm_store("50%", GIB, e, GIB, &why), 512 * MIB);
    assert_int_equal(vb_lvm_store("512M", GIB, e, 500 * MIB, &why), 0);
    assert_int_equal(vb_lvm_store("much", GIB, e, GIB, &why), 0);
}

static void growing(void **state)
{
    struct vb_lvm_lv c = { .size = 64 * MIB, .extent = 4 * MIB, .vg_free = GIB, .data = 7400 };
    (void)state;
    assert_int_equal(vb_lvm_grow(NULL, &c, GIB), 0);
    c.data = 7500;
    assert_int_equal(vb_lvm_grow(NULL, &c, GIB), 32 * MIB);
    assert_int_equal(vb_lvm_grow("80M", &c, GIB), 16 * MIB);
    assert_int_equal(vb_lvm_grow("64M", &c, GIB), 0);
    c.vg_free = 10 * MIB;
    assert_int_equal(vb_lvm_grow(NULL, &c, GIB), 8 * MIB);
    c.vg_free = 3 * MIB;
    assert_int_equal(vb_lvm_grow(NULL, &c, GIB), 0);
    c.vg_free = GIB;
    assert_true(vb_lvm_grow(NULL, &c, 60 * MIB) <= 4 * MIB); /* it holds the whole volume already */
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("a real report", a_real_report),
        CM_TEST("what is not of its form is refused", what_is_refused),
        CM_TEST("VSS-Q-11 what the attributes say of a lost shadow copy", what_is_lost),
        CM_TEST("sizes as a user writes them", sizes_as_written),
        CM_TEST("VSS-S-47 the size of the change store", change_store),
        CM_TEST("it grows from three quarters on, within its limits", growing),
    };
    return CM_RUN("lvm_report", t);
}
