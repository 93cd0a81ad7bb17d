/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/writers/test_shop_front.c - the front end writer of the sample application: dependencies and topology lock.
 */
#include "config.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/io.h"
#include "tests/cm.h"
#include "tests/contract/expect.h"
#include "tests/contract/host.h"

static struct host H;

static int run(const char *command)
{
    VB_AUTO_FREE char *text =
        vb_printf("T=%s; A=%s/samples/shop-front/shop-admin; %s", host_dir(), getenv("abs_top_srcdir"), command);
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void start(const char *more)
{
    VB_AUTO_FREE char *config =
        vb_printf("[writer shop-front]\ndirectory = %s/shop\nbackend = backend\n%s", host_dir(), more);

    GOOD(host_start(&H, "shop-front", "shop-front", config));
}

static int setup(void **state)
{
    (void)state;
    host_init(&H);
    return run(
        "mkdir -p $T/shop/content $T/shop/data && echo 'title = x' >$T/shop/shop.conf && sqlite3 $T/shop/data/shop.db"
        " 'PRAGMA journal_mode=wal; CREATE TABLE t(a)' >/dev/null");
}

static int teardown(void **state)
{
    (void)state;
    host_clear(&H);
    host_cleanup();
    return 0;
}

static void expect_dependencies(const struct vb_wm_component *c, const char *path)
{
    assert_non_null(c);
    assert_int_equal(c->n_dependencies, 2);
    assert_string_equal(c->dependencies[0].target_class_id, "5f0f3a52-6d0c-4f7e-9b0e-0d1c5a7e0004");
    assert_string_equal(c->dependencies[0].target_logical_path, path);
    assert_string_equal(c->dependencies[0].target_name, "cluster");
    assert_string_equal(c->dependencies[1].target_name, "config");
}

static void vss_d_34_one_component_has_files_and_dependencies(void **state)
{
    (void)state;
    start("");
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    assert_int_equal(H.wmd->n_components, 1);
    expect_dependencies(&H.wmd->components[0], "\\\\backend\\");
    assert_true(H.wmd->components[0].n_filesets >= 3);
    assert_int_equal(H.wmd->level, VB_LEVEL_FRONT_END);
}

static void vss_d_35_dependencies_in_a_component_without_files(void **state)
{
    (void)state;
    start("shape = 2\nbackend-path = main\n");
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    assert_int_equal(H.wmd->n_components, 2);
    const struct vb_wm_component *shop = vb_wm_find(H.wmd, "", "shop"), *backend = vb_wm_find(H.wmd, "", "backend");
    assert_int_equal(shop->n_dependencies, 0);
    expect_dependencies(backend, "\\\\backend\\main");
    assert_int_equal(backend->n_filesets, 0);
    assert_true(backend->selectable);
}

/* VSS-D-45, VSS-D-53 */
static void vss_d_53_topology_stays_locked_until_backup_complete(void **state)
{
    static const enum vb_event order[] = { VB_EV_PREPARE_BACKUP, VB_EV_PREPARE_SNAPSHOT, VB_EV_FREEZE, VB_EV_THAW,
                                           VB_EV_POST_SNAPSHOT };

    (void)state;
    assert_int_equal(run("$A $T/shop add-database first"), 0);
    start("");
    GOOD(host_choose(&H, false, NULL));
    for (size_t i = 0; i < VB_COUNT(order); i++) {
        GOOD(host_event(&H, order[i]));
        assert_int_equal(run("$A $T/shop add-database second 2>/dev/null"), 75);
    }
    GOOD(host_event(&H, VB_EV_BACKUP_COMPLETE));
    assert_int_equal(run("$A $T/shop add-database third"), 0);
    assert_int_equal(run("grep -q first $T/shop/shop.conf && ! grep -q second $T/shop/shop.conf && grep -q third "
                         "$T/shop/shop.conf"),
                     0);
    assert_int_equal(run("grep -q 'topology locked' $T/shop/run/events.log && grep -q 'topology unlocked' "
                         "$T/shop/run/events.log"),
                     0);
}

static void topology_is_free_after_abort_and_after_death(void **state)
{
    (void)state;
    start("");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_ABORT));
    assert_int_equal(run("$A $T/shop add-database a"), 0);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    assert_int_equal(run("$A $T/shop add-database b 2>/dev/null"), 75);
    assert_int_equal(kill(H.pid, SIGKILL), 0);
    host_close(&H, 2000);
    assert_int_equal(run("$A $T/shop add-database c"), 0);
}

static void a_topology_being_changed_refuses_the_backup(void **state)
{
    (void)state;
    start("");
    GOOD(host_choose(&H, false, NULL));
    assert_int_equal(run("(flock -x 9; sleep 3) 9>>$T/shop/run/topology.lock & sleep 0.3"), 0);
    BAD(host_event(&H, VB_EV_PREPARE_BACKUP), VB_E_WRITER_RETRYABLE, "topology");
}

static void restore_asks_before_it_replaces(void **state)
{
    (void)state;
    start("");
    GOOD(host_choose(&H, true, NULL));
    BAD(host_event(&H, VB_EV_PRE_RESTORE), VB_E_GUARD, "has a database already");
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    host_record(&H, "shop")->restore_options = vb_strdup("overwrite");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    assert_int_equal(run("test ! -e $T/shop/data/shop.db && ls $T/shop/data/shop.db.vbackup-old-* >/dev/null"), 0);
}

#define T(fn)                                                                                                          \
    {                                                                                                                  \
#fn, fn, setup, teardown, NULL                                                                                 \
    }

int main(void)
{
    const struct CMUnitTest t[] = {
        T(vss_d_34_one_component_has_files_and_dependencies),    T(vss_d_35_dependencies_in_a_component_without_files),
        T(vss_d_53_topology_stays_locked_until_backup_complete), T(topology_is_free_after_abort_and_after_death),
        T(a_topology_being_changed_refuses_the_backup),          T(restore_asks_before_it_replaces),
    };
    return CM_RUN("shop front", t);
}
