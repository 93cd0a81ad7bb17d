/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/agent/test_service.c - commands that start and stop services.
 */
#include "config.h"

#include <unistd.h>

#include "agent/service.h"
#include "base/mem.h"
#include "tests/cm.h"

struct outcome { struct vb_loop *loop; struct vb_service *s; bool done; enum vb_code code; char *text; };

static void on_done(void *arg, const struct vb_error *err)
{
    struct outcome *o = arg;
    o->done = true;
    o->code = err ? err->code : VB_OK;
    o->text = err ? vb_strdup(err->text) : NULL;
}

static enum vb_code run(const char *config, const char *name, bool start, uint64_t limit, char **text)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct outcome o = { vb_loop_new(), NULL, false, VB_OK, NULL };
    struct vb_config *c = vb_config_parse("test", config, strlen(config), &err);
    assert_non_null(c);
    o.s = vb_service_run(o.loop, c, name, start, limit, on_done, &o);
    assert_false(o.done); /* never from inside the call */
    while (!o.done)
        vb_loop_turn(o.loop, 1000);
    vb_service_free(o.s);
    vb_config_free(c);
    vb_loop_free(o.loop);
    if (text)
        *text = o.text;
    else
        free(o.text);
    return o.code;
}

static void words_are_arguments(void **state)
{
    (void)state;
    char dir[] = "/tmp/vbackup-service-XXXXXX";
    assert_non_null(mkdtemp(dir));
    VB_AUTO_FREE char *conf =
        vb_printf("[service web]\nstart-command = touch  %s/on;x\nstop-command = rm %s/on;x\n", dir, dir);
    VB_AUTO_FREE char *file = vb_printf("%s/on;x", dir); /* no shell has seen the semicolon */
    assert_int_equal(run(conf, "web", true, 5000, NULL), VB_OK);
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(run(conf, "web", false, 5000, NULL), VB_OK);
    assert_int_not_equal(access(file, F_OK), 0);
    assert_int_not_equal(run(conf, "web", false, 5000, NULL), VB_OK); /* it says so when it failed */
    rmdir(dir);
}

static void vss_x_15_names_are_checked(void **state)
{
    (void)state;
    static const char *const BAD[] = { "", "-rf", "a b", "a;b", "a/b", "../x", "a\nb" };
    for (size_t i = 0; i < VB_COUNT(BAD); i++)
        assert_int_equal(run("", BAD[i], true, 5000, NULL), VB_E_CONFIG);
}

static void a_hanging_command_is_killed(void **state)
{
    (void)state;
    VB_AUTO_FREE char *text = NULL;
    assert_int_equal(run("[service web]\nstart-command = sleep 60\nstop-command = true\n", "web", true, 100, &text),
                     VB_E_TIMEOUT);
    assert_contains(text, "web");
}

static void mistakes(void **state)
{
    (void)state;
    assert_int_equal(run("[service web]\nbegin = x\n", "web", true, 100, NULL), VB_E_CONFIG);
    assert_int_not_equal(
        run("[service web]\nstart-command = /no/such/program\nstop-command = true\n", "web", true, 100, NULL), VB_OK);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        CM_TEST("words are arguments, no shell", words_are_arguments),
        CM_TEST("VSS-X-15 names are checked", vss_x_15_names_are_checked),
        CM_TEST("a hanging command is killed", a_hanging_command_is_killed),
        CM_TEST("mistakes", mistakes),
    };
    return CM_RUN("service", t);
}
