/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_limits.c - section [agent]: defaults, reading, and the manual page that names every key.
 */
#include "config.h"

#include <fcntl.h>

#include "agent/limits.h"
#include "base/buf.h"
#include "base/io.h"
#include "tests/cm.h"

static int read_text(const char *text, struct vb_limits *l, struct vb_error *err)
{
    struct vb_config *c = vb_config_parse("test.conf", text, strlen(text), err);
    assert_non_null(c);
    int rc = vb_limits_read(l, c, err);
    vb_config_free(c);
    return rc;
}

static void defaults_and_values(void **state)
{
    (void)state;
    struct vb_limits l;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(read_text("", &l, &err), 0);
    assert_int_equal(l.identify, 60000);
    assert_int_equal(l.freeze, 0);
    assert_int_equal(l.hold, 10000); /* 2.3 */
    assert_int_equal(vb_limits_event(&l, VB_EV_PREPARE_BACKUP), 600000);
    assert_int_equal(vb_limits_event(&l, VB_EV_THAW), 30000);
    assert_int_equal(read_text("[agent]\ntimeout-thaw = 250ms\nlease = 2h\n", &l, &err), 0);
    assert_int_equal(l.thaw, 250);
    assert_int_equal(l.lease_default, 7200000);
    for (int e = VB_EV_IDENTIFY; e < VB_EV_COUNT; e++)
        if (e != VB_EV_FREEZE) /* the writer's own window */
            assert_true(vb_limits_event(&l, (enum vb_event)e) > 0);
}

static void mistakes_name_file_and_line(void **state)
{
    (void)state;
    struct vb_limits l;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_int_equal(read_text("[agent]\n\ntimeout-thaw = soon\n", &l, &err), -1);
    assert_contains(err.text, "test.conf:3");
    vb_error_clear(&err);
    assert_int_equal(read_text("[agent]\ntimeout-taw = 1s\n", &l, &err), -1);
    assert_contains(err.text, "test.conf:2");
    assert_contains(err.text, "timeout-taw");
}

/* Every word after .It Ic in the page's section is a key, and every key stands there. */
static void the_manual_page_names_every_key(void **state)
{
    (void)state;
    const char *src = getenv("abs_top_srcdir");
    VB_AUTO_BUF page = VB_BUF_INIT;
    VB_AUTO_BUF code = VB_BUF_INIT;
    VB_AUTO_FREE char *a = vb_printf("%s/doc/vbackup-agent.8", src ? src : "..");
    VB_AUTO_FREE char *b = vb_printf("%s/agent/limits.c", src ? src : "..");
    assert_int_equal(vb_read_file_at(AT_FDCWD, a, 1u << 20, &page, NULL), 0);
    assert_int_equal(vb_read_file_at(AT_FDCWD, b, 1u << 20, &code, NULL), 0);
    size_t n = 0;
    for (const char *p = vb_buf_str(&code); (p = strstr(p, "KEY(\"")); n++) {
        p += 5;
        VB_AUTO_FREE char *key = vb_strndup(p, strcspn(p, "\""));
        VB_AUTO_FREE char *want = vb_printf("Ic %s = Ar duration", key);
        if (!strstr(vb_buf_str(&page), want))
            fail_msg("vbackup-agent(8) does not name '%s'", key);
    }
    assert_true(n > 15);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("defaults and values", defaults_and_values),
        CM_TEST("mistakes name file and line", mistakes_name_file_and_line),
        CM_TEST("the manual page names every key", the_manual_page_names_every_key),
    };
    return CM_RUN("limits", t);
}
