/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/test_journal.c - what a crash leaves is read up to the last whole record, never further. */
#include <config.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/buf.h"
#include "base/journal.h"
#include "tests/base/scratch.h"
#include "tests/cm.h"

static int collect(void *arg, uint64_t seq, const char *record)
{
    vb_buf_addf(arg, "%llu:%s|", (unsigned long long)seq, record);
    return 0;
}

static char *replayed(struct vb_journal *j)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    assert_int_equal(vb_journal_replay(j, collect, &b, NULL), 0);
    return vb_buf_take_str(&b);
}

static struct vb_journal *open_j(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_journal *j = vb_journal_open(scratch_fd, "j", "test", &err);
    if (!j) {
        fail_msg("%s", vb_error_text(&err));
    }
    return j;
}

static void write_three(void)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_journal *j = open_j();
    assert_ok(vb_journal_add(j, false, &err, "one a=%d", 1));
    assert_ok(vb_journal_add(j, true, &err, "two"));
    assert_ok(vb_journal_add(j, true, &err, "three"));
    vb_journal_close(j);
}

static void expect_replay(const char *want)
{
    struct vb_journal *j = open_j();
    VB_AUTO_FREE char *s = replayed(j);
    vb_journal_close(j);
    assert_string_equal(s, want);
}

static void read_raw(struct vb_buf *b)
{
    vb_buf_reset(b);
    assert_int_equal(vb_read_file_at(scratch_fd, "j", 1 << 20, b, NULL), 0);
}

static void write_raw(const void *p, size_t n)
{
    assert_int_equal(vb_write_file_at(scratch_fd, "j", p, n, 0600, NULL), 0);
}

static void records_come_back_and_go_on(void **state)
{
    (void)state;
    struct stat st;
    write_three();
    assert_int_equal(fstatat(scratch_fd, "j", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    expect_replay("1:one a=1|2:two|3:three|");
    struct vb_journal *j = open_j();
    assert_int_equal(vb_journal_count(j), 3);
    assert_int_equal(vb_journal_add(j, true, NULL, "four"), 0);
    vb_journal_close(j);
    expect_replay("1:one a=1|2:two|3:three|4:four|");
}

/* The file is cut at every length: what is left is always the whole records before the cut, and appending
 * works again. */
static void every_torn_tail_is_cut(void **state)
{
    (void)state;
    VB_AUTO_BUF whole = VB_BUF_INIT;
    write_three();
    read_raw(&whole);
    for (size_t n = 0; n <= whole.len; n++) {
        write_raw(whole.data, n);
        struct vb_journal *j = open_j();
        size_t lines = 0;
        for (size_t i = 0; i < n; i++) {
            lines += whole.data[i] == '\n';
        }
        assert_int_equal(vb_journal_count(j), lines);
        assert_int_equal(vb_journal_add(j, false, NULL, "next"), 0);
        vb_journal_close(j);
        j = open_j();
        assert_int_equal(vb_journal_count(j), lines + 1);
        vb_journal_close(j);
    }
}

/* One flipped bit anywhere ends the reading before that line. */
static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    VB_AUTO_BUF whole = VB_BUF_INIT;
    write_three();
    read_raw(&whole);
    for (size_t bit = 0; bit < whole.len * 8; bit++) {
        size_t at = bit / 8, line = 0;
        for (size_t i = 0; i < at; i++) {
            line += whole.data[i] == '\n';
        }
        whole.data[at] ^= (unsigned char)(1u << bit % 8);
        write_raw(whole.data, whole.len);
        whole.data[at] ^= (unsigned char)(1u << bit % 8);
        struct vb_journal *j = open_j();
        assert_int_equal(vb_journal_count(j), line);
        vb_journal_close(j);
    }
}

static void a_line_out_of_its_place_is_damage(void **state)
{
    (void)state;
    VB_AUTO_BUF whole = VB_BUF_INIT;
    write_three();
    read_raw(&whole);
    unsigned char *first = memchr(whole.data, '\n', whole.len);
    size_t head = (size_t)(first - whole.data) + 1;
    write_raw(whole.data + head, whole.len - head); /* begins with record 2 */
    expect_replay("");
}

static void newlines_are_refused_and_leave_nothing(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_journal *j = open_j();
    assert_int_equal(vb_journal_add(j, true, &err, "a\nb"), -1);
    assert_int_equal(vb_journal_count(j), 0);
    vb_journal_hold(j);
    assert_int_equal(vb_journal_add(j, true, NULL, "a\nb"), -1);
    assert_int_equal(vb_journal_add(j, true, NULL, "fine"), 0);
    assert_int_equal(vb_journal_release(j, NULL), 0);
    vb_journal_close(j);
    expect_replay("1:fine|");
}

static void held_records_are_not_on_disk_until_released(void **state)
{
    (void)state;
    VB_AUTO_BUF raw = VB_BUF_INIT;
    struct vb_journal *j = open_j();
    assert_int_equal(vb_journal_add(j, true, NULL, "entering the window"), 0);
    read_raw(&raw);
    size_t before = raw.len;
    vb_journal_hold(j);
    vb_journal_hold(j); /* twice is once */
    for (int i = 0; i < 20000; i++) { /* more than the first region holds */
        assert_int_equal(vb_journal_add(j, true, NULL, "event n=%d padding=xxxxxxxxxxxxxxxxxxxx", i), 0);
    }
    read_raw(&raw);
    assert_int_equal(raw.len, before);
    VB_AUTO_FREE char *held = replayed(j); /* the holder itself sees them */
    assert_contains(held, "20001:event n=19999 ");
    assert_int_equal(vb_journal_count(j), 20001);
    assert_int_equal(vb_journal_release(j, NULL), 0);
    assert_int_equal(vb_journal_add(j, true, NULL, "after"), 0);
    vb_journal_close(j);
    j = open_j();
    assert_int_equal(vb_journal_count(j), 20002);
    VB_AUTO_FREE char *all = replayed(j);
    assert_contains(all, "|20001:event n=19999 padding=xxxxxxxxxxxxxxxxxxxx|20002:after|");
    vb_journal_close(j);
}

static void memory_journal_is_the_same(void **state)
{
    (void)state;
    struct vb_journal *j = vb_journal_memory("sim");
    assert_int_equal(vb_journal_add(j, true, NULL, "a"), 0);
    vb_journal_hold(j);
    assert_int_equal(vb_journal_add(j, true, NULL, "b"), 0);
    assert_int_equal(vb_journal_release(j, NULL), 0);
    VB_AUTO_FREE char *s = replayed(j);
    assert_string_equal(s, "1:a|2:b|");
    vb_journal_close(j);
    vb_journal_close(NULL);
}

static int stop_at_two(void *arg, uint64_t seq, const char *record)
{
    (void)record;
    ++*(int *)arg;
    return seq == 2 ? 42 : 0;
}

static void replay_can_be_stopped(void **state)
{
    (void)state;
    int calls = 0;
    write_three();
    struct vb_journal *j = open_j();
    assert_int_equal(vb_journal_replay(j, stop_at_two, &calls, NULL), 42);
    assert_int_equal(calls, 2);
    vb_journal_close(j);
}

/* A full disk: the record is refused, what was written of it is taken back, and the next one stands whole. */
static void a_full_disk_leaves_whole_records(void **state)
{
    (void)state;
    struct vb_journal *j = open_j();
    assert_int_equal(vb_journal_add(j, true, NULL, "first"), 0);
    pid_t pid = fork();
    if (pid == 0) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct rlimit lim = { 40, 40 };
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &lim);
        int r = vb_journal_add(j, true, &err, "a record that does not fit into the forty bytes there are");
        bool refused = r == -1 && err.text;
        _exit(refused && vb_journal_add(j, true, NULL, "small") == 0 ? 0 : 1);
    }
    int st = -1;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(st, 0);
    vb_journal_close(j);
    expect_replay("1:first|2:small|");
}

static void escape_and_value(void **state)
{
    (void)state;
    VB_AUTO_FREE char *e = vb_journal_escape("a b=c%\n\xc3\xa4");
    assert_string_equal(e, "a%20b%3Dc%25%0A%C3%A4");
    VB_AUTO_FREE char *rec = vb_printf("step xname=no name=%s empty= last=1", e);
    VB_AUTO_FREE char *v = vb_journal_value(rec, "name");
    VB_AUTO_FREE char *none = vb_journal_value(rec, "nam");
    VB_AUTO_FREE char *empty = vb_journal_value(rec, "empty");
    VB_AUTO_FREE char *last = vb_journal_value(rec, "last");
    VB_AUTO_FREE char *broken = vb_journal_value("k=%4", "k");
    assert_string_equal(v, "a b=c%\n\xc3\xa4");
    assert_null(none);
    assert_string_equal(empty, "");
    assert_string_equal(last, "1");
    assert_string_equal(broken, "%4");
}

static void wrong_places_are_errors(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_null(vb_journal_open(scratch_fd, "no/such/dir", "test", &err));
    assert_int_equal(err.code, VB_E_NOT_FOUND);
    assert_contains(err.text, "'no/such/dir'");
    assert_int_equal(symlinkat("/etc/passwd", scratch_fd, "link"), 0);
    assert_null(vb_journal_open(scratch_fd, "link", "test", &err));
}

#ifdef VB_FAULT_POINTS
/* The process that adds five records with the given environment; returns how many stand afterwards, and
 * whether it was killed. */
static uint64_t run_with_kill(const char *kill_at, const char *token, bool *killed)
{
    unlinkat(scratch_fd, "j", 0);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("VBACKUP_TEST_KILL", kill_at, 1);
        if (token) {
            setenv("VBACKUP_TEST_KILL_FILE", token, 1);
        }
        struct vb_journal *j = vb_journal_open(scratch_fd, "j", "victim", NULL);
        for (int i = 0; i < 5; i++) {
            vb_journal_add(j, false, NULL, "r");
            vb_fault_point("other");
        }
        _exit(0);
    }
    int st;
    assert_int_equal(waitpid(pid, &st, 0), pid);
    *killed = WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL;
    assert_true(*killed || st == 0);
    struct vb_journal *j = open_j();
    uint64_t n = vb_journal_count(j);
    vb_journal_close(j);
    return n;
}

static void fault_points_kill_after_the_nth_record(void **state)
{
    (void)state;
    bool killed;
    assert_int_equal(run_with_kill("victim:3", NULL, &killed), 3);
    assert_true(killed);
    assert_int_equal(run_with_kill("victim:6", NULL, &killed), 5);
    assert_false(killed);
    assert_int_equal(run_with_kill("vict:3", NULL, &killed), 5);
    assert_false(killed);
    assert_int_equal(run_with_kill("other:2", NULL, &killed), 2);
    assert_true(killed);
    VB_AUTO_FREE char *token = vb_path_join(scratch_path, "token");
    assert_int_equal(vb_write_file_at(scratch_fd, "token", "", 0, 0600, NULL), 0);
    assert_int_equal(run_with_kill("victim:1", token, &killed), 1);
    assert_true(killed);
    assert_int_equal(faccessat(scratch_fd, "token", F_OK, 0), -1);
    assert_int_equal(run_with_kill("victim:1", token, &killed), 5); /* started again: not killed again */
    assert_false(killed);
}
#endif

#define T(fn) cmocka_unit_test_setup_teardown(fn, scratch_start, scratch_end)

int main(void)
{
    const struct CMUnitTest t[] = {
        T(records_come_back_and_go_on), T(every_torn_tail_is_cut), T(every_flipped_bit_is_seen),
        T(a_line_out_of_its_place_is_damage), T(newlines_are_refused_and_leave_nothing),
        T(held_records_are_not_on_disk_until_released), T(memory_journal_is_the_same), T(replay_can_be_stopped),
        T(a_full_disk_leaves_whole_records), T(escape_and_value), T(wrong_places_are_errors),
#ifdef VB_FAULT_POINTS
        T(fault_points_kill_after_the_nth_record),
#endif
    };
    return CM_RUN("journal", t);
}
