/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/test_writer_duties.c - what a writer's host owes everybody else: writers that misbehave, modules, settings, records.
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

/* ---- writers that misbehave ---- */

static void crash_is_seen(void **state)
{
    (void)state;
    start_null("crash = freeze\n");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    BAD(host_event(&H, VB_EV_FREEZE), VB_E_CONNECTION_LOST, "ended");
    int status = host_close(&H, 2000);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_false(WCOREDUMP(status));
}

static void failures_carry_their_code_and_reason(void **state)
{
    static const struct {
        const char *kind;
        enum vb_code code;
        const char *text;
    } k[] = {
        { "retryable", VB_E_WRITER_RETRYABLE, "told to fail" },
        { "non-retryable", VB_E_WRITER_NON_RETRYABLE, "told to fail" },
        { "timeout", VB_E_WRITER_TIMEOUT, "told to fail" },
        { "out-of-resources", VB_E_WRITER_OUT_OF_RESOURCES, "told to fail" },
        { "inconsistent", VB_E_WRITER_INCONSISTENT_SNAPSHOT, "told to fail" },
        { "silent", VB_E_WRITER_NON_RETRYABLE, "without giving a reason" },
    };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(k); i++) {
        VB_AUTO_FREE char *more = vb_printf("fail.freeze = %s\n", k[i].kind);
        start_null(more);
        GOOD(host_choose(&H, false, NULL));
        GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
        GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
        BAD(host_event(&H, VB_EV_FREEZE), k[i].code, k[i].text);
        GOOD(host_event(&H, VB_EV_ABORT));
        host_clear(&H);
    }
}

static void vss_w_29_partial_failure_marks_the_component(void **state)
{
    (void)state;
    start_null("component = b\nfail.post-snapshot = partial\n");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    GOOD(host_event(&H, VB_EV_THAW));
    BAD(host_event(&H, VB_EV_POST_SNAPSHOT), VB_E_WRITER_PARTIAL_FAILURE, "told to fail");
    assert_int_equal(host_record(&H, "a")->failure_code, VB_E_WRITER_NON_RETRYABLE);
    assert_string_equal(host_record(&H, "a")->post_snapshot_failure, "this component was told to fail");
    assert_int_equal(host_record(&H, "b")->failure_code, VB_OK);
    GOOD(host_event(&H, VB_EV_BACKUP_COMPLETE)); /* B-57 */
}

static void a_failure_may_pass_by_itself(void **state)
{
    (void)state;
    start_null("fail.freeze = retryable 2\n");
    GOOD(host_choose(&H, false, NULL));
    for (int i = 0; i < 3; i++) {
        GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
        GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
        if (i < 2)
            BAD(host_event(&H, VB_EV_FREEZE), VB_E_WRITER_RETRYABLE, "told to fail");
        else
            GOOD(host_event(&H, VB_EV_FREEZE));
        GOOD(host_event(&H, VB_EV_ABORT));
        GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    }
}

static void broken_documents_fail_identify(void **state)
{
    static const char *const kinds[] = { "separator",  "relative-path", "dots", "directory-in-filespec",
                                         "wrong-kind", "duplicate" };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(kinds); i++) {
        VB_AUTO_FREE char *more = vb_printf("broken = %s\n", kinds[i]);
        start_null(more);
        if (host_event(&H, VB_EV_IDENTIFY) == 0)
            fail_msg("a document with '%s' was accepted", kinds[i]);
        assert_true(H.error.text != NULL && strstr(H.error.text, "without giving a reason") == NULL);
        host_clear(&H);
    }
}

/* ---- modules and configuration ---- */

static void bad_modules_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *module;
        enum vb_code code;
        const char *text;
    } m[] = {
        { "bad-abi", VB_E_VERSION, "ABI 4711" },
        { "bad-magic", VB_E_WRITER_INFRASTRUCTURE, "magic number" },
        { "bad-size", VB_E_WRITER_INFRASTRUCTURE, "struct size 16" },
        { "bad-class", VB_E_WRITER_INFRASTRUCTURE, "is not a GUID" },
        { "bad-no-callbacks", VB_E_WRITER_INFRASTRUCTURE, "lacks the callback 'identify'" },
        { "bad-no-entry", VB_E_WRITER_INFRASTRUCTURE, "does not export 'vb_writer_entry'" },
        { "not-there", VB_E_PREREQUISITE, "is not installed" },
    };

    (void)state;
    for (size_t i = 0; i < VB_COUNT(m); i++) {
        BAD(host_start(&H, m[i].module, m[i].module, ""), m[i].code, m[i].text);
        assert_int_not_equal(host_close(&H, 2000), 0);
        host_clear(&H);
    }
}

static void a_later_writer_with_a_longer_struct_is_welcome(void **state)
{
    (void)state;
    GOOD(host_start(&H, "bad-larger", "bad-larger", ""));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP)); /* a callback that is absent counts as success */
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    GOOD(host_event(&H, VB_EV_THAW));
}

static void use_module_dir(const char *dir, mode_t dir_mode, mode_t file_mode, uid_t owner)
{
    VB_AUTO_FREE char *path = host_path(dir);
    VB_AUTO_FREE char *file = vb_path_join(path, "vb-writer-null.so");
    VB_AUTO_FREE char *from = vb_printf("%s/.libs/vb-writer-null.so", getenv("abs_top_builddir"));
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    mkdir(path, 0755);
    assert_ok(vb_read_file_at(AT_FDCWD, from, 16 << 20, &b, &err));
    assert_ok(vb_write_file_at(AT_FDCWD, file, b.data, b.len, 0644, &err));
    assert_int_equal(chmod(file, file_mode), 0);
    if (owner != 0)
        assert_int_equal(chown(file, owner, (gid_t)-1), 0);
    assert_int_equal(chmod(path, dir_mode), 0);
    setenv("VBACKUP_WRITER_PATH", path, 1);
}

static void vss_x_13_modules_that_others_can_write_are_refused(void **state)
{
    VB_AUTO_FREE char *before = vb_strdup(getenv("VBACKUP_WRITER_PATH"));

    (void)state;
    use_module_dir("m1", 0755, 0644, 0);
    GOOD(host_start(&H, "null", "null", "")); /* below /tmp, whose sticky bit protects what is ours */
    host_clear(&H);
    use_module_dir("m2", 0755, 0664, 0);
    BAD(host_start(&H, "null", "null", ""), VB_E_ACCESS_DENIED, "written by others");
    host_clear(&H);
    use_module_dir("m3", 0777, 0644, 0);
    BAD(host_start(&H, "null", "null", ""), VB_E_ACCESS_DENIED, "written by others");
    host_clear(&H);
    if (geteuid() == 0) {
        use_module_dir("m4", 0755, 0644, 65534);
        BAD(host_start(&H, "null", "null", ""), VB_E_ACCESS_DENIED, "belongs to user 65534");
    }
    setenv("VBACKUP_WRITER_PATH", before, 1);
}

static void unknown_keys_name_file_and_line(void **state)
{
    (void)state;
    BAD(host_start(&H, "null", "null", "[writer null]\ncomponent = a\n\ncolour = green\n"), VB_E_CONFIG,
        "vbackup.conf:4");
    assert_contains(vb_error_text(&H.error), "'colour'");
    host_clear(&H);
    BAD(host_start(&H, "null", "null", "[writer null]\nlevel = top\n"), VB_E_CONFIG, "level is 'top'");
    host_clear(&H);
    BAD(host_start(&H, "null", "null", "[writer null]\nfreeze-timeout = soon\n"), VB_E_CONFIG, "freeze-timeout");
}

static void section_settings_beat_the_writers_own(void **state)
{
    (void)state;
    GOOD(host_start(&H, "null x y", "null", "[writer null x y]\nlevel = system\nfreeze-timeout = 1500ms\n"));
    assert_int_equal(vb_msg_u64(&H.ready, VB_F_LEVEL, 0), VB_LEVEL_SYSTEM);
    assert_int_equal(vb_msg_u64(&H.ready, VB_F_FREEZE_MS, 0), 1500);
    VB_AUTO_FREE char *instance = vb_msg_str(&H.ready, VB_F_INSTANCE_NAME);
    assert_string_equal(instance, "x y");
    VB_AUTO_FREE char *dir = host_path("state/writers/null+x+y");
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void runs_as_the_user_it_asks_for(void **state)
{
    struct stat st;

    (void)state;
    if (geteuid() != 0) {
        BAD(host_start(&H, "null", "null", "[writer null]\nuser = root\n"), VB_E_ACCESS_DENIED, "only root can do");
        return;
    }
    VB_AUTO_FREE char *log = host_path("user-log");
    VB_AUTO_FREE char *config = vb_printf("[writer null]\nuser = nobody\nevent-log = %s\n", log);
    put("user-log", "");
    assert_int_equal(chmod(log, 0666), 0);
    GOOD(host_start(&H, "null", "null", config));
    VB_AUTO_FREE char *run_as = vb_msg_str(&H.ready, VB_F_RUN_AS);
    assert_string_equal(run_as, "nobody");
    VB_AUTO_FREE char *status_path = vb_printf("/proc/%d/status", (int)H.pid);
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_read_file_at(AT_FDCWD, status_path, 65536, &b, NULL), 0);
    assert_contains(vb_buf_str(&b), "Uid:\t65534\t65534\t65534\t65534");
    assert_contains(vb_buf_str(&b), "Gid:\t65534\t65534\t65534\t65534");
    assert_contains(vb_buf_str(&b), "NoNewPrivs:\t1");
    VB_AUTO_FREE char *dir = host_path("state/writers/null");
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_uid, 65534);
    host_clear(&H);
    BAD(host_start(&H, "null", "null", "[writer null]\nuser = nobody-knows\n"), VB_E_CONFIG, "no user 'nobody-knows'");
}

/* ---- records ---- */

static void what_the_writer_sets_comes_back(void **state)
{
    (void)state;
    start_null("component = b\na.metadata = some text\na.private = label\nconsistency = crash\n");
    GOOD(host_choose(&H, false, NULL));
    H.atomic = true;
    GOOD(host_backup(&H));
    struct vb_component *a = host_record(&H, "a");
    assert_string_equal(a->backup_metadata, "some text");
    assert_int_equal(a->n_private, 1);
    assert_string_equal(a->private_files[0].name, "note");
    assert_int_equal(a->private_files[0].data.len, 5);
    assert_int_equal(H.consistency, VB_CONSISTENCY_CRASH);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    /* and is there again at restore */
    H.doc->restore = true;
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    host_record(&H, "a")->restore_status = VB_FILE_RESTORE_ALL;
    GOOD(host_event(&H, VB_EV_POST_RESTORE));
    VB_AUTO_FREE char *log = get("log");
    assert_contains(log, "a status=2 metadata=some text private=label");
    assert_contains(log, "backup-complete a succeeded");
}

/* VSS-W-35: a restore handler works after Identify alone, in a new process. */
static void vss_w_35_restore_needs_no_earlier_event(void **state)
{
    (void)state;
    start_null("");
    GOOD(host_choose(&H, true, NULL));
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    GOOD(host_event(&H, VB_EV_POST_RESTORE));
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
}

static void topology_lock_is_held_until_the_end(void **state)
{
    (void)state;
    VB_AUTO_FREE char *lock = host_path("topology");
    VB_AUTO_FREE char *more = vb_printf("topology-lock = %s\n", lock);
    start_null(more);
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    assert_int_equal(access(lock, F_OK), 0);
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    GOOD(host_event(&H, VB_EV_THAW));
    GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
    assert_int_equal(access(lock, F_OK), 0);
    GOOD(host_event(&H, VB_EV_BACKUP_COMPLETE));
    assert_int_not_equal(access(lock, F_OK), 0);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    assert_int_equal(access(lock, F_OK), 0);
    assert_int_equal(host_close(&H, 3000), 0); /* agent lost */
    assert_int_not_equal(access(lock, F_OK), 0);
}

static void a_fresh_host_works_off_what_a_dead_one_owes(void **state)
{
    (void)state;
    VB_AUTO_FREE char *lock = host_path("topology");
    VB_AUTO_FREE char *more = vb_printf("topology-lock = %s\n", lock);
    start_null(more);
    freeze_null();
    assert_int_equal(kill(H.pid, SIGKILL), 0);
    host_close(&H, 2000);
    assert_int_equal(access(lock, F_OK), 0);
    start_null(more);
    GOOD(host_event(&H, VB_EV_ABORT)); /* not owed: nothing is under way here (B-71) */
    assert_int_equal(access(lock, F_OK), 0);
    H.owed = true;
    GOOD(host_event(&H, VB_EV_ABORT));
    assert_int_not_equal(access(lock, F_OK), 0);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
}

int main(void)
{
    const struct CMUnitTest t[] = {
        T(crash_is_seen),
        T(failures_carry_their_code_and_reason),
        T(vss_w_29_partial_failure_marks_the_component),
        T(a_failure_may_pass_by_itself),
        T(broken_documents_fail_identify),
        T(bad_modules_are_refused_with_a_reason),
        T(a_later_writer_with_a_longer_struct_is_welcome),
        T(vss_x_13_modules_that_others_can_write_are_refused),
        T(unknown_keys_name_file_and_line),
        T(section_settings_beat_the_writers_own),
        T(runs_as_the_user_it_asks_for),
        T(what_the_writer_sets_comes_back),
        T(vss_w_35_restore_needs_no_earlier_event),
        T(topology_lock_is_held_until_the_end),
        T(a_fresh_host_works_off_what_a_dead_one_owes),
    };
    return CM_RUN("writer duties", t);
}
