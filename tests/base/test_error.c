/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_error.c */
#include <config.h>
#include <errno.h>
#include "base/error.h"
#include "base/mem.h"
#include "tests/cm.h"

static void fail_sets_and_keeps_errno(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    errno = EBUSY;
    assert_int_equal(vb_fail(&err, VB_E_BUSY, "'%s' is busy", "x"), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(err.code, VB_E_BUSY);
    assert_string_equal(err.text, "'x' is busy");
    assert_null(err.hint);
    assert_int_equal(vb_fail(NULL, VB_E_BUSY, "nobody asks"), -1);
}

static void errno_chooses_the_code(void **state)
{
    static const struct {
        int errnum;
        enum vb_code code;
    } rows[] = {
        { ENOSPC, VB_E_NO_SPACE }, { EDQUOT, VB_E_NO_SPACE }, { EACCES, VB_E_ACCESS_DENIED },
        { EPERM, VB_E_ACCESS_DENIED }, { ENOENT, VB_E_NOT_FOUND }, { EEXIST, VB_E_EXISTS }, { EIO, VB_E_IO },
    };
    (void)state;
    for (size_t i = 0; i < VB_COUNT(rows); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        vb_fail_errno(&err, rows[i].errnum, "cannot open '%s'", "f");
        assert_int_equal(err.code, rows[i].code);
        VB_AUTO_FREE char *want = vb_printf("cannot open 'f': %s", strerror(rows[i].errnum));
        assert_string_equal(err.text, want);
    }
}

static void context_is_prepended_and_hint_replaced(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_context(&err, "without an error nothing happens");
    assert_string_equal(vb_error_text(&err), "no error");
    vb_fail(&err, VB_E_IO, "low");
    vb_context(&err, "host '%s'", "h");
    vb_context(&err, "backup");
    assert_string_equal(err.text, "backup: host 'h': low");
    vb_hint(&err, "first");
    vb_hint(&err, "second %d", 2);
    assert_string_equal(err.hint, "second 2");
}

static void text_may_be_made_from_itself(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_fail(&err, VB_E_IO, "inner");
    vb_hint(&err, "a hint of the old error");
    vb_fail(&err, VB_E_CONFIG, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    assert_null(err.hint);
}

static void move_and_copy(void **state)
{
    (void)state;
    VB_AUTO_ERROR a = VB_ERROR_INIT;
    VB_AUTO_ERROR b = VB_ERROR_INIT;
    VB_AUTO_ERROR c = VB_ERROR_INIT;
    vb_fail(&a, VB_E_IO, "a");
    vb_hint(&a, "h");
    vb_fail(&b, VB_E_BUSY, "old");
    assert_int_equal(vb_error_move(&b, &a), -1);
    assert_null(a.text);
    assert_int_equal(a.code, VB_OK);
    assert_string_equal(b.text, "a");
    vb_error_copy(&c, &b);
    assert_string_equal(c.hint, "h");
    assert_ptr_not_equal(c.text, b.text);
    assert_int_equal(vb_error_move(NULL, &b), -1);
    assert_null(b.text);
    vb_error_clear(&c);
    vb_error_clear(&c);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(fail_sets_and_keeps_errno), cmocka_unit_test(errno_chooses_the_code),
        cmocka_unit_test(context_is_prepended_and_hint_replaced), cmocka_unit_test(text_may_be_made_from_itself),
        cmocka_unit_test(move_and_copy),
    };
    return CM_RUN("error", t);
}
