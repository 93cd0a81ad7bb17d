/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/test_writer_contract.c - what every writer owes its host, also when the agent goes away.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/io.h"
#include "base/text.h"
#include "tests/contract/scratch.h"
#include "wire/protocol.h"

/* ---- the same for every writer ---- */

struct writer {
    const char *module, *config; /* %s: the scratch directory, %p: the sources */
    void (*setup)(void);
};

static void setup_files(void)
{
    make_dir("www");
    put("www/index.html", "hello");
}

static void make_database(const char *name)
{
    VB_AUTO_FREE char *db = host_path(name);
    VB_AUTO_FREE char *command =
        vb_printf("sqlite3 %s 'PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null", db);
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void setup_sqlite(void)
{
    make_database("shop.db");
}

static void setup_shop(void)
{
    make_dir("shop");
    make_dir("shop/content");
    make_dir("shop/data");
    put("shop/content/index.html", "hello");
    put("shop/shop.conf", "title = shop\n");
    make_database("shop/data/shop.db");
}

static void no_setup(void)
{
}

static const struct writer WRITERS[] = {
    { "null", "[writer null]\ncomponent = a\ncomponent = b\na.path = %s\nb.logical-path = a\nb.selectable = no\n",
      no_setup },
    { "files", "[writer files]\npath = %s/www\nexclude = *.tmp\n", setup_files },
    { "sqlite", "[writer sqlite]\ndatabase = %s/shop.db\n", setup_sqlite },
    { "minimal", "[writer minimal]\ndirectory = %s/www\n", setup_files },
    { "script", "[writer script]\nprogram = %p/samples/writer-script\nargument = %s/www\n", setup_files },
    { "shop-front", "[writer shop-front]\ndirectory = %s/shop\nbackend = backend\n", setup_shop },
};

static char *config_of(const struct writer *w)
{
    VB_AUTO_BUF b = VB_BUF_INIT;

    for (const char *p = w->config; *p != '\0'; p++) {
        if (p[0] == '%' && (p[1] == 's' || p[1] == 'p')) {
            vb_buf_add_str(&b, p[1] == 's' ? host_dir() : getenv("abs_top_srcdir"));
            p++;
        } else {
            vb_buf_add_char(&b, *p);
        }
    }
    return vb_buf_take_str(&b);
}

static void start(const struct writer *w)
{
    w->setup();
    VB_AUTO_FREE char *config = config_of(w);
    if (host_start(&H, w->module, w->module, config) != 0)
        fail_msg("%s: %s", w->module, vb_error_text(&H.error));
}

static void each(void (*test)(const struct writer *w))
{
    for (size_t i = 0; i < VB_COUNT(WRITERS); i++) {
        start(&WRITERS[i]);
        test(&WRITERS[i]);
        host_clear(&H);
    }
}

static void facts(const struct writer *w)
{
    VB_AUTO_FREE char *class_id = vb_msg_str(&H.ready, VB_F_CLASS), *name = vb_msg_str(&H.ready, VB_F_WRITER);
    VB_AUTO_FREE char *instance = vb_msg_str(&H.ready, VB_F_INSTANCE);

    (void)w;
    assert_true(class_id != NULL && vb_guid_valid(class_id));
    assert_true(instance != NULL && vb_guid_valid(instance));
    assert_non_null(name);
    assert_int_equal(vb_msg_u64(&H.ready, VB_F_ABI, 99), 0);
    assert_true(vb_msg_u64(&H.ready, VB_F_FREEZE_MS, 0) > 0);
    assert_true(vb_msg_u64(&H.ready, VB_F_USAGE, 0) > 0);
}

static void ready_tells_the_facts(void **state)
{
    (void)state;
    each(facts);
}

static void same_document(const struct writer *w)
{
    VB_AUTO_BUF a = VB_BUF_INIT, b = VB_BUF_INIT;

    (void)w;
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    assert_true(H.wmd->n_components > 0);
    assert_true(H.wmd->has_restore_method);
    assert_int_equal(vb_wm_write(H.wmd, &a, NULL), 0);
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    assert_int_equal(vb_wm_write(H.wmd, &b, NULL), 0);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
}

static void identify_is_the_same_for_the_same_state(void **state)
{
    (void)state;
    each(same_document);
}

static void whole_backup(const struct writer *w)
{
    (void)w;
    H.atomic = true;
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_backup(&H));
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    assert_int_equal(host_quit(&H), 0);
}

static void backup_runs_through(void **state)
{
    (void)state;
    each(whole_backup);
}

static void identify_in_between(const struct writer *w)
{
    (void)w;
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    GOOD(host_event(&H, VB_EV_THAW));
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
}

static void identify_disturbs_nothing(void **state)
{
    (void)state;
    each(identify_in_between);
}

static void order(const struct writer *w)
{
    (void)w;
    GOOD(host_choose(&H, false, NULL));
    BAD(host_event(&H, VB_EV_FREEZE), VB_E_BAD_STATE, "out of order");
    BAD(host_event(&H, VB_EV_THAW), VB_E_BAD_STATE, "out of order");
    BAD(host_event(&H, VB_EV_POST_SNAPSHOT), VB_E_BAD_STATE, "out of order");
    BAD(host_event(&H, VB_EV_BACKUP_COMPLETE), VB_E_BAD_STATE, "out of order");
    BAD(host_event(&H, VB_EV_POST_RESTORE), VB_E_BAD_STATE, "out of order");
    GOOD(host_event(&H, VB_EV_ABORT));
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    BAD(host_event(&H, VB_EV_PREPARE_BACKUP), VB_E_BAD_STATE, "out of order");
    BAD(host_event(&H, VB_EV_PRE_RESTORE), VB_E_BAD_STATE, "out of order");
    BAD(host_event(&H, VB_EV_FREEZE), VB_E_BAD_STATE, "out of order");
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    BAD(host_event(&H, VB_EV_THAW), VB_E_BAD_STATE, "out of order");
    GOOD(host_event(&H, VB_EV_FREEZE));
    BAD(host_event(&H, VB_EV_FREEZE), VB_E_BAD_STATE, "out of order");
    GOOD(host_event(&H, VB_EV_ABORT));
    BAD(host_event(&H, VB_EV_THAW), VB_E_BAD_STATE, "out of order");
}

static void events_out_of_order_reach_no_callback(void **state)
{
    (void)state;
    each(order);
}

/* VSS-B-73, VSS-W-20: at every place, twice, and a whole session afterwards. */
static void abort_everywhere(const struct writer *w)
{
    static const enum vb_event steps[] = { VB_EV_PREPARE_BACKUP, VB_EV_PREPARE_SNAPSHOT, VB_EV_FREEZE, VB_EV_THAW };

    (void)w;
    GOOD(host_choose(&H, false, NULL));
    for (size_t n = 1; n <= VB_COUNT(steps); n++) {
        for (size_t i = 0; i < n; i++)
            GOOD(host_event(&H, steps[i]));
        GOOD(host_event(&H, VB_EV_ABORT));
        GOOD(host_event(&H, VB_EV_ABORT));
        GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    }
    GOOD(host_backup(&H));
}

static void vss_w_20_abort_from_any_point_and_twice(void **state)
{
    (void)state;
    each(abort_everywhere);
}

/* ---- the agent goes away ---- */

static void lost_agent_means_abort_and_shutdown(void **state)
{
    (void)state;
    start_null("");
    freeze_null();
    assert_int_equal(host_close(&H, 3000), 0);
    VB_AUTO_FREE char *log = get("log");
    assert_contains(log, "abort end ok");
    assert_contains(log, "backup-shutdown end ok");
    assert_true(strstr(log, "abort begin") < strstr(log, "backup-shutdown begin"));
}

static void lost_agent_while_a_callback_runs(void **state)
{
    (void)state;
    start_null("delay.prepare-snapshot = 60s\ntopology-lock = /nonexistent/x\n");
    host_clear(&H);
    start_null("delay.prepare-snapshot = 60s\n");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    host_send(&H, VB_EV_PREPARE_SNAPSHOT);
    usleep(200000);
    uint64_t before = now_ms();
    assert_int_equal(host_close(&H, 4000), 0); /* the null writer looks at shutting_down */
    assert_true(now_ms() - before < 3000);
    VB_AUTO_FREE char *log = get("log");
    assert_contains(log, "abort end ok");
    assert_contains(log, "backup-shutdown end ok");
}

static void lost_agent_and_a_callback_that_hangs(void **state)
{
    (void)state;
    start_null("hang = freeze\n");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    host_send(&H, VB_EV_FREEZE);
    usleep(100000);
    uint64_t before = now_ms();
    int status = host_close(&H, 9000);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 70);
    assert_true(now_ms() - before >= 4500);
}

static void term_signal_cleans_up_too(void **state)
{
    (void)state;
    start_null("");
    freeze_null();
    kill(H.pid, SIGTERM);
    int status;
    assert_int_equal(waitpid(H.pid, &status, 0), H.pid);
    H.pid = 0;
    assert_int_equal(status, 0);
    VB_AUTO_FREE char *log = get("log");
    assert_contains(log, "abort end ok");
}

int main(void)
{
    const struct CMUnitTest t[] = {
        T(ready_tells_the_facts),
        T(identify_is_the_same_for_the_same_state),
        T(backup_runs_through),
        T(identify_disturbs_nothing),
        T(events_out_of_order_reach_no_callback),
        T(vss_w_20_abort_from_any_point_and_twice),
        T(lost_agent_means_abort_and_shutdown),
        T(lost_agent_while_a_callback_runs),
        T(lost_agent_and_a_callback_that_hangs),
        T(term_signal_cleans_up_too),
    };
    return CM_RUN("writer contract", t);
}
