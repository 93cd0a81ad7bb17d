/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/test_replica.c - the store's file, ticks, identity, scopes and rows. */
#include <config.h>
#include "tests/cm.h"
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/tracking/store.h"

static void one_process_at_a_time(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    struct vb_replica *second = NULL;
    const struct vb_replica_setup setup = { .machine = "this machine" };
    assert_int_equal(vb_replica_open(scratch_fd, "s.db", &setup, &second, &err), -1);
    assert_int_equal(err.code, VB_E_BUSY);
    VB_AUTO_FREE char *pid = vb_printf("process %ld", (long)getpid());
    assert_contains(err.text, pid);
    vb_replica_close(VB_STEAL(r));
    r = store_open("s.db");
    struct stat st;
    assert_int_equal(fstatat(scratch_fd, "s.db", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void newer_schema(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    vb_replica_close(store_open("s.db"));
    VB_AUTO_FREE char *path = vb_printf("%s/s.db", scratch_path);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 77", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct vb_replica *r = NULL;
    const struct vb_replica_setup setup = { .machine = "this machine" };
    assert_int_equal(vb_replica_open(scratch_fd, "s.db", &setup, &r, &err), -1);
    assert_int_equal(err.code, VB_E_NEWER_FORMAT);
    assert_contains(err.text, "77");
    assert_contains(err.text, "version 1");
    /* A file that is something else is left alone. */
    assert_ok(vb_write_file_at(scratch_fd, "other.db", "SQLite format 4, or not\n", 24, 0600, &err));
    vb_error_clear(&err);
    assert_int_equal(vb_replica_open(scratch_fd, "other.db", &setup, &r, &err), -1);
    assert_int_equal(err.code, VB_E_CORRUPT);
}

static void transactions(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    struct vb_item f = store_file("f", 'X', 1), row;
    enum vb_change what;
    assert_int_equal(vb_replica_note(r, scope, &f, &what, &err), -1);
    assert_int_equal(err.code, VB_E_BAD_STATE);
    vb_error_clear(&err);
    assert_ok(vb_replica_begin(r, &err));
    assert_int_equal(vb_replica_begin(r, &err), -1);
    vb_error_clear(&err);
    assert_ok(vb_replica_note(r, scope, &f, &what, &err));
    assert_int_equal(what, VB_CHANGE_CREATED);
    vb_replica_rollback(r);
    assert_int_equal(vb_replica_find(r, scope, "f", &row, &err), -1);
    assert_int_equal(err.code, VB_E_OBJECT_NOT_FOUND);
    assert_int_equal(vb_replica_tick(r), 0);
    vb_error_clear(&err);
    store_note(r, scope, "f", 'X', 1);
    assert_ok(vb_replica_find(r, scope, "f", &row, &err));
    assert_int_equal(row.changed.tick, 2); /* 1 was handed out, and is not handed out again */
    assert_int_equal(vb_replica_tick(r), 2);
    vb_item_clear(&row);
}

static void ticks_come_in_blocks(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    struct vb_version v;
    assert_ok(vb_replica_begin(r, &err));
    assert_int_equal(vb_replica_mint(r, &v, &err), -1);
    assert_int_equal(err.code, VB_E_BAD_STATE);
    vb_replica_rollback(r);
    vb_error_clear(&err);
    assert_ok(vb_replica_reserve(r, 3, &err));
    assert_int_equal(vb_replica_bound(r), 3);
    assert_ok(vb_replica_begin(r, &err));
    for (uint64_t n = 1; n <= 3; n++) {
        assert_ok(vb_replica_mint(r, &v, &err));
        assert_int_equal(v.tick, n);
    }
    assert_int_equal(vb_replica_mint(r, &v, &err), -1);
    assert_ok(vb_replica_commit(r, NULL));
}

/* A process that dies at some moment of minting: no version of its may come again, and what is published is committed. */
static void no_tick_twice_after_kills(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t highest = 0;
    int64_t scope;
    {
        VB_AUTO_REPLICA *r = store_open("s.db");
        scope = store_scope(r, "web");
    }
    for (int round = 0; round < 12; round++) {
        int p[2];
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            struct vb_replica *r = store_open("s.db");
            for (int i = 0;; i++) {
                struct vb_item f = store_file("f", (char)i, i);
                struct vb_version v;
                if (vb_replica_reserve(r, 8, NULL) < 0 || vb_replica_begin(r, NULL) < 0 || vb_replica_mint(r, &v, NULL) < 0 ||
                    write(p[1], &v.tick, sizeof v.tick) != sizeof v.tick)
                    _exit(1);
                enum vb_change what;
                if (vb_replica_note(r, scope, &f, &what, NULL) < 0 || vb_replica_commit(r, NULL) < 0)
                    _exit(1);
            }
        }
        close(p[1]);
        uint64_t first = 0, tick;
        for (int n = 0; n < round + 2; n++) { /* the second one tells that the first is committed */
            assert_int_equal(read(p[0], &tick, sizeof tick), sizeof tick);
            first = first ? first : tick;
        }
        assert_true(first > highest);
        kill(pid, SIGKILL);
        while (read(p[0], &tick, sizeof tick) == sizeof tick)
            highest = tick;
        highest = tick > highest ? tick : highest;
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        close(p[0]);
        VB_AUTO_REPLICA *r = store_open("s.db");
        VB_AUTO_KNOWLEDGE *k = vb_replica_knowledge(r, scope, "", NULL, &err);
        struct vb_item row;
        assert_ok(vb_replica_find(r, scope, "f", &row, &err));
        assert_true(vb_knowledge_contains(k, "f", &row.changed));
        vb_item_clear(&row);
    }
}

static void only_what_travels_mints(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    assert_int_equal(store_note(r, scope, "f", 'X', 100), VB_CHANGE_CREATED);
    assert_int_equal(store_note(r, scope, "f", 'X', 100), VB_CHANGE_NONE);
    assert_int_equal(store_note(r, scope, "f", 'X', 200), VB_CHANGE_REFRESHED);
    assert_int_equal(vb_replica_tick(r), 1);
    assert_int_equal(store_note(r, scope, "f", 'Y', 200), VB_CHANGE_CHANGED);
    struct vb_item row, mode = store_file("f", 'Y', 200);
    enum vb_change what;
    mode.mode = 0600;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_note(r, scope, &mode, &what, &err));
    assert_int_equal(what, VB_CHANGE_CHANGED);
    assert_ok(vb_replica_commit(r, &err));
    assert_ok(vb_replica_find(r, scope, "f", &row, &err));
    assert_int_equal(row.created.tick, 1);
    assert_int_equal(row.changed.tick, 3);
    assert_int_equal(row.mtime_ns, 200);
    assert_true(row.have_base && row.base[0] == 'Y');
    vb_item_clear(&row);
    assert_int_equal(store_delete(r, scope, "f"), VB_CHANGE_DELETED);
    assert_int_equal(store_delete(r, scope, "f"), VB_CHANGE_NONE);
    assert_int_equal(store_delete(r, scope, "never"), VB_CHANGE_NONE);
    assert_int_equal(vb_replica_tick(r), 4);
    assert_ok(vb_replica_find(r, scope, "f", &row, &err));
    assert_true(row.deleted && row.changed.tick == 4);
    vb_item_clear(&row);
    assert_int_equal(store_note(r, scope, "f", 'Y', 200), VB_CHANGE_CREATED);
}

static void foreign_rows_are_checked(void **state)
{
    (void)state;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    const struct vb_version v = { { { 9 } }, 7 };
    static const char *const bad[] = { "", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a/." };
    for (size_t i = 0; i < VB_COUNT(bad); i++) {
        VB_AUTO_ERROR err = VB_ERROR_INIT;
        struct vb_item f = store_file(bad[i], 'X', 1);
        f.created = f.changed = f.origin.version = v;
        assert_ok(vb_replica_begin(r, &err));
        assert_int_equal(vb_replica_save(r, scope, &f, &err), -1);
        assert_int_equal(err.code, VB_E_CORRUPT);
        vb_replica_rollback(r);
    }
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_item f = store_file("we\xffird\n..name", 'X', 1), row;
    f.created = f.changed = f.origin.version = v;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_save(r, scope, &f, &err));
    assert_ok(vb_replica_commit(r, &err));
    assert_ok(vb_replica_find(r, scope, f.path, &row, &err));
    assert_string_equal(row.path, f.path);
    assert_true(vb_version_equal(&row.changed, &v));
    assert_int_equal(vb_replica_tick(r), 0); /* nothing was minted */
    vb_item_clear(&row);
    f.changed.tick = UINT64_MAX;
    assert_ok(vb_replica_begin(r, &err));
    assert_int_equal(vb_replica_save(r, scope, &f, &err), -1);
    vb_replica_rollback(r);
}

static int collect(void *arg, const struct vb_item *i)
{
    struct vb_buf *b = arg;
    vb_buf_addf(b, "%s ", i->path);
    return 0;
}

static void delete_detector(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    int64_t scope = store_scope(r, "web"), other = store_scope(r, "other");
    VB_AUTO_BUF seen = VB_BUF_INIT;
    store_note(r, scope, "a", '1', 1);
    store_note(r, scope, "b", '1', 1);
    store_note(r, scope, "c", '1', 1);
    store_note(r, scope, "d", '1', 1);
    store_note(r, other, "a", '1', 1);
    store_delete(r, scope, "d");
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_unreport_all(r, scope, &err));
    assert_ok(vb_replica_commit(r, &err));
    assert_ok(vb_replica_unreported(r, scope, collect, &seen, &err));
    assert_string_equal(vb_buf_str(&seen), "a b c ");
    store_note(r, scope, "b", '2', 2);
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_report(r, scope, "c", &err));
    assert_int_equal(vb_replica_report(r, scope, "nobody", &err), -1);
    assert_int_equal(err.code, VB_E_OBJECT_NOT_FOUND);
    vb_error_clear(&err);
    assert_ok(vb_replica_commit(r, &err));
    vb_buf_reset(&seen);
    assert_ok(vb_replica_unreported(r, scope, collect, &seen, &err));
    assert_string_equal(vb_buf_str(&seen), "a ");
    vb_buf_reset(&seen);
    assert_ok(vb_replica_unreported(r, other, collect, &seen, &err));
    assert_string_equal(vb_buf_str(&seen), ""); /* the other scope's pass is its own */
}

static void markers(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_REPLICA *r = store_open("s.db");
    store_scope(r, "web");
    struct vb_scope s, elsewhere;
    int64_t id;
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_scope_add(r, "img", "/srv/img", NULL, 42, &id, &err));
    assert_int_equal(vb_replica_scope_add(r, "img", "/srv/2", NULL, 42, &id, &err), -1);
    assert_int_equal(err.code, VB_E_EXISTS);
    vb_error_clear(&err);
    assert_ok(vb_replica_commit(r, &err));
    assert_ok(vb_replica_scope_find(r, "img", &s, &err));
    assert_ok(vb_replica_scope_find(r, "web", &elsewhere, &err));
    VB_AUTO_BUF text = VB_BUF_INIT, foreign = VB_BUF_INIT;
    vb_replica_marker(r, &s, &text);
    vb_replica_marker(r, &elsewhere, &foreign);
    const char *m = vb_buf_str(&text);
    const struct { const char *text; size_t n; uint64_t device; enum vb_marker_state state; const char *why; } cases[] = {
        { m, text.len, 42, VB_MARKER_GOOD, NULL },
        { NULL, 0, 42, VB_MARKER_OFFLINE, "no marker" },
        { m, text.len, 43, VB_MARKER_OFFLINE, "another device" },
        { vb_buf_str(&foreign), foreign.len, 42, VB_MARKER_OFFLINE, "not this scope's" },
        { m, text.len - 1, 42, VB_MARKER_OFFLINE, "not this scope's" },
        { "rubbish\n", 8, 42, VB_MARKER_OFFLINE, "not this scope's" },
    };
    for (size_t i = 0; i < VB_COUNT(cases); i++) {
        VB_AUTO_FREE char *why = NULL;
        assert_int_equal(vb_replica_judge_marker(r, &s, cases[i].text, cases[i].n, cases[i].device, &why), cases[i].state);
        if (cases[i].why)
            assert_contains(why, cases[i].why);
        else
            assert_null(why);
    }
    vb_scope_clear(&s);
    vb_scope_clear(&elsewhere);
}

/* The store is put back from a backup: the tree's marker, or a peer, knows better. */
static void an_old_copy_takes_a_new_identity(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    VB_AUTO_BUF marker = VB_BUF_INIT, copy = VB_BUF_INIT;
    struct vb_replica *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    store_note(r, scope, "old", '1', 1);
    struct vb_replica_id first = *vb_replica_own(r);
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_scope_trust(r, scope, true, &err));
    assert_ok(vb_replica_commit(r, &err));
    vb_replica_close(r);
    assert_ok(vb_read_file_at(scratch_fd, "s.db", 1 << 24, &copy, &err));
    r = store_open("s.db");
    assert_ok(vb_replica_reserve(r, 2000000, &err));
    store_note(r, scope, "later", '1', 1);
    VB_AUTO_KNOWLEDGE *peer = vb_replica_knowledge(r, scope, "", NULL, &err);
    struct vb_scope s;
    assert_ok(vb_replica_scope_find(r, "web", &s, &err));
    vb_replica_marker(r, &s, &marker);
    vb_scope_clear(&s);
    vb_replica_close(r);
    assert_ok(vb_write_file_at(scratch_fd, "s.db", copy.data, copy.len, 0600, &err));
    r = store_open("s.db");
    VB_AUTO_FREE char *why = NULL;
    bool renewed = false;
    assert_ok(vb_replica_scope_find(r, "web", &s, &err));
    assert_true(s.trusted);
    assert_int_equal(vb_replica_judge_marker(r, &s, vb_buf_str(&marker), marker.len, 0, &why), VB_MARKER_ROLLED_BACK);
    vb_scope_clear(&s);
    assert_ok(vb_replica_check_peer(r, peer, &renewed, &err));
    assert_true(renewed);
    assert_true(vb_replica_id_compare(vb_replica_own(r), &first) != 0);
    assert_int_equal(vb_replica_tick(r), 0);
    assert_ok(vb_replica_scope_find(r, "web", &s, &err));
    assert_false(s.trusted);
    VB_AUTO_KNOWLEDGE *now = vb_replica_knowledge(r, scope, "", NULL, &err);
    assert_int_equal(vb_knowledge_tick(now, &first), 1); /* what the copy has seen of the old identity, and no more */
    assert_ok(vb_replica_check_peer(r, peer, &renewed, &err));
    assert_false(renewed);
    vb_scope_clear(&s);
    vb_replica_close(r);
}

static void another_machine(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_replica *r = store_open("s.db");
    struct vb_replica_id first = *vb_replica_own(r);
    vb_replica_close(r);
    const struct vb_replica_setup setup = { .machine = "a clone of it" };
    assert_ok(vb_replica_open(scratch_fd, "s.db", &setup, &r, &err));
    struct vb_replica_id second = *vb_replica_own(r);
    assert_true(vb_replica_id_compare(&first, &second) != 0);
    vb_replica_close(r);
    assert_ok(vb_replica_open(scratch_fd, "s.db", &setup, &r, &err));
    assert_int_equal(vb_replica_id_compare(vb_replica_own(r), &second), 0);
    vb_replica_close(r);
}

static int one_intent(void *arg, const struct vb_intent *i)
{
    struct vb_buf *b = arg;
    vb_buf_addf(b, "%s=%s@%llu%.*s ", i->path, i->staged, (unsigned long long)i->version.tick, (int)i->what_len,
                i->what_len ? (const char *)i->what : "");
    return 0;
}

static void intents(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_replica *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    const struct vb_intent a = { "a", { { { 5 } }, 3 }, { 1 }, ".stage-1", "what", 4 },
                           b = { "b", { { { 5 } }, 4 }, { 2 }, ".stage-2", NULL, 0 };
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_intend(r, scope, &b, &err));
    assert_ok(vb_replica_intend(r, scope, &a, &err));
    assert_ok(vb_replica_commit(r, &err));
    vb_replica_close(r);
    r = store_open("s.db");
    VB_AUTO_BUF list = VB_BUF_INIT;
    assert_ok(vb_replica_intents(r, scope, one_intent, &list, &err));
    assert_string_equal(vb_buf_str(&list), "a=.stage-1@3what b=.stage-2@4 ");
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_intent_done(r, scope, "a", &err));
    assert_ok(vb_replica_scope_drop(r, scope, &err));
    assert_ok(vb_replica_commit(r, &err));
    vb_buf_reset(&list);
    assert_ok(vb_replica_intents(r, scope, one_intent, &list, &err));
    assert_string_equal(vb_buf_str(&list), "");
    vb_replica_close(r);
}

static void change_lock(struct vb_replica *r, int64_t scope, int by, int expect)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_replica_begin(r, &err));
    int c = by > 0 ? vb_replica_lock(r, scope, VB_SIDE_IMPORT, "root@here", "maintenance", &err)
                   : vb_replica_unlock(r, scope, VB_SIDE_IMPORT, by < -1, &err);
    assert_int_equal(c, expect);
    if (c == 0)
        assert_ok(vb_replica_commit(r, &err));
    else
        vb_replica_rollback(r);
}

static int join_locks(void *arg, int64_t since, const char *by, const char *reason)
{
    vb_buf_addf(arg, "%lld %s %s;", (long long)since, by, reason);
    return 0;
}

static void locks_are_counted(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_replica *r = store_open("s.db");
    int64_t scope = store_scope(r, "web"), first = store_now / 1000, since;
    unsigned n;
    change_lock(r, scope, -1, -1);
    change_lock(r, scope, 1, 0);
    store_now += DAY;
    change_lock(r, scope, 1, 0);
    change_lock(r, scope, 1, 0);
    vb_replica_close(r);
    r = store_open("s.db");
    change_lock(r, scope, -1, 0);
    assert_ok(vb_replica_locks(r, scope, VB_SIDE_IMPORT, &n, &since, &err));
    assert_int_equal(n, 2);
    assert_int_equal(since, first);
    VB_AUTO_BUF list = VB_BUF_INIT;
    assert_ok(vb_replica_each_lock(r, scope, VB_SIDE_IMPORT, join_locks, &list, &err));
    VB_AUTO_FREE char *expect = vb_printf("%lld root@here maintenance;%lld root@here maintenance;", (long long)first,
                                          (long long)(first + DAY / 1000));
    assert_string_equal(vb_buf_str(&list), expect);
    assert_ok(vb_replica_locks(r, scope, VB_SIDE_EXPORT, &n, &since, &err));
    assert_int_equal(n, 0); /* the other side has its own */
    change_lock(r, scope, -2, 0);
    assert_ok(vb_replica_locks(r, scope, VB_SIDE_IMPORT, &n, &since, &err));
    assert_int_equal(n, 0);
    assert_int_equal(since, 0);
    change_lock(r, scope, -2, -1);
    vb_replica_close(r);
    store_now -= DAY;
}

static void settings_are_kept(void **state)
{
    (void)state;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    struct vb_replica *r = store_open("s.db");
    int64_t scope = store_scope(r, "web");
    struct vb_scope_settings s;
    assert_ok(vb_replica_scope_settings(r, scope, &s, &err));
    assert_true(s.integrity == VB_INTEGRITY_FILE && s.extent == VB_EXTENT_TREE && s.interval_s == 300 && s.pulse == 2 &&
                s.guard_s == 120 && s.random_s == 60 && !s.exact && !*s.filter);
    s.integrity = VB_INTEGRITY_TREE;
    s.guard_s = 9;
    s.exact = true;
    assert_int_equal(vb_replica_scope_set(r, scope, &s, &err), -1); /* no transaction */
    vb_error_clear(&err);
    assert_ok(vb_replica_begin(r, &err));
    assert_ok(vb_replica_scope_set(r, scope, &s, &err));
    assert_ok(vb_replica_commit(r, &err));
    vb_scope_settings_clear(&s);
    vb_replica_close(r);
    r = store_open("s.db");
    assert_ok(vb_replica_scope_settings(r, scope, &s, &err));
    assert_true(s.integrity == VB_INTEGRITY_TREE && s.guard_s == 9 && s.exact && s.interval_s == 300);
    vb_scope_settings_clear(&s);
    assert_int_equal(vb_replica_scope_settings(r, 99, &s, &err), -1);
    vb_replica_close(r);
}

#define T(text, fn) { text, fn, scratch_start, scratch_end, NULL }

int main(void)
{
    const struct CMUnitTest t[] = {
        T("REPL-DSN-13 REPL-MSS-38 a second process gets 'in use' with the first one's number", one_process_at_a_time),
        T("REPL-DSN-14 REPL-MSS-39 a newer schema is refused with both versions named", newer_schema),
        T("REPL-MSS-10 nothing is saved outside a transaction", transactions),
        T("REPL-DSN-8 versions are minted below the reserved bound only", ticks_come_in_blocks),
        T("REPL-DSN-1 REPL-DSN-2 no version comes twice, whenever the process is killed", no_tick_twice_after_kills),
        T("REPL-DSN-3 REPL-T26 a touch mints nothing, content and mode do", only_what_travels_mints),
        T("REPL-DSN-5 REPL-DSN-36 foreign rows are saved as they are, unless they could leave the root", foreign_rows_are_checked),
        T("REPL-MSS-22 the delete detector lists what was not reported", delete_detector),
        T("REPL-DSN-8 a missing or foreign marker puts the scope offline", markers),
        T("REPL-DSN-10 REPL-DSN-9 a store put back from a copy takes a new identity and trusts nothing", an_old_copy_takes_a_new_identity),
        T("REPL-DSN-10 a cloned machine takes a new identity, once", another_machine),
        T("REPL-REP-37 REPL-REP-38 REPL-REP-39 REPL-REP-41 locks are counted, survive a restart, and show the first one's time", locks_are_counted),
        T("REPL-REP-18 REPL-REP-26 settings have the seed's defaults and are kept", settings_are_kept),
        T("REPL-DSN-7 intents survive a restart", intents),
    };
    return CM_RUN("replica", t);
}
