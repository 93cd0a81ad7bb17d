/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/requester/test_shadow_script.c - the parser of shadow scripts.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "requester/shadow_script.h"
#include "tests/cm.h"

static void commands(void **state VB_UNUSED)
{
    static const char text[] = "# a script\n"
                               "REM and another remark\n\n"
                               "SET CONTEXT persistent nowriters\r\n"
                               "set option differential noautorecover\n"
                               "set verbose on\nset metadata \"a file\"\nload metadata x\n"
                               "writer verify w\nwriter exclude w\n"
                               "add volume /srv alias data\nadd alias other 1234\nadd\n"
                               "begin backup\ncreate\nexec /bin/true %data%\nend backup\n"
                               "expose %data% /mnt\nunexpose %data%\n"
                               "list shadows\nlist shadows all\nlist shadows set 1\nlist writers\nlist providers\n"
                               "delete shadows all\ndelete shadows oldest /srv\nrevert 1\nbreak writable 1 /x\nimport f /d\n"
                               "reset\nexit"; /* no newline at the end */
    struct vb_script s = { NULL, 0, 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (vb_script_parse(text, sizeof text - 1, &s, &err) < 0)
        fail_msg("%s", vb_error_text(&err));
    assert_int_equal(s.n, 28);
    assert_int_equal(s.v[0].number, 4);
    assert_int_equal(s.v[0].command, VB_SC_SET_CONTEXT);
    assert_string_equal(s.v[0].args.v[1], "nowriters");
    assert_string_equal(s.v[3].args.v[0], "a file");
    assert_int_equal(s.v[7].command, VB_SC_ADD_VOLUME);
    assert_string_equal(s.v[7].args.v[2], "data");
    assert_int_equal(s.v[11].command, VB_SC_CREATE);
    assert_string_equal(s.v[12].args.v[1], "%data%");
    assert_string_equal(s.v[16].args.v[0], "shadows");
    assert_int_equal(s.v[27].command, VB_SC_EXIT);
    vb_script_clear(&s);
}

static void refused(void **state VB_UNUSED)
{
    static const struct { const char *text, *says; } BAD[] = {
        { "create\nfrobnicate now\n", "line 2: there is no command 'frobnicate now'" },
        { "add volume \"a\n", "line 1: a quote is not closed" },
        { "add volume\n", "line 1: expected 'add volume VOLUME [alias NAME]'" },
        { "add volume /a as b\n", "line 1: expected 'add volume VOLUME alias NAME'" },
        { "add volume /a alias 1b\n", "line 1: expected 'add volume VOLUME alias NAME'" },
        { "create now\n", "line 1: expected 'create '" },
        { "set context eternal\n", "line 1: expected 'set context clientaccessible | persistent | volatile [nowriters]'" },
        { "\n\nlist everything\n", "line 3: expected 'list writers | providers | shadows'" },
        { "exec a\001b\n", "line 1: control character 1 is not possible" },
        { "simulate restore\n", "line 1: 'simulate restore' is not possible here" },
        { "begin restore\n", "line 1: 'begin restore' is not possible here" },
        { "mask 1\n", "line 1: 'mask' is not possible here" },
    };
    for (size_t i = 0; i < VB_COUNT(BAD); i++) {
        struct vb_script s = { NULL, 0, 0 };
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        assert_int_equal(vb_script_parse(BAD[i].text, strlen(BAD[i].text), &s, &err), -1);
        assert_int_equal(err.code, VB_E_USAGE);
        assert_string_equal(vb_error_text(&err), BAD[i].says);
        vb_script_clear(&s);
    }
}

static void aliases(void **state VB_UNUSED)
{
    struct vb_strv a = { NULL, 0, 0 };
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_strv_add(&a, "data=1234");
    vb_strv_add(&a, "dat=5");
    char *w = vb_script_expand("x%DATA%%%%dat%", &a, &err);
    assert_string_equal(w, "x1234%5");
    free(w);
    assert_null(vb_script_expand("%none%", &a, &err));
    assert_int_equal(err.code, VB_E_OBJECT_NOT_FOUND);
    assert_null(vb_script_expand("100%", &a, &err));
    assert_int_equal(err.code, VB_E_USAGE);
    assert_false(vb_script_name_valid(""));
    assert_false(vb_script_name_valid("a-b"));
    assert_true(vb_script_name_valid("VSS_SHADOW_1"));
    vb_strv_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "VSS-8.2 every command is understood", commands, NULL, NULL, NULL },
        { "VSS-8.2 what is malformed is refused with its line", refused, NULL, NULL, NULL },
        { "VSS-8.2 aliases are variables", aliases, NULL, NULL, NULL },
    };
    return CM_RUN("shadow_script", tests);
}
