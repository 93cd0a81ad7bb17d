/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/writers/test_sqlite_writer.c - the SQLite writer against real databases under load.
 *
 * Processes move money between accounts, each transfer with a row in a ledger, in one transaction.  In a right copy
 * every account equals its start minus what went out plus what came in; a total would not notice a torn copy.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/io.h"
#include "tests/cm.h"
#include "tests/contract/expect.h"
#include "tests/contract/host.h"

enum { ACCOUNTS = 200, WRITERS = 3 };

static struct host H;
static pid_t load[WRITERS];

static void nap_us(long us)
{
    struct timespec t = { us / 1000000, (us % 1000000) * 1000 };

    nanosleep(&t, NULL);
}

/* ---- the load ---- */

static void make_db(const char *path, const char *mode)
{
    sqlite3 *c = NULL;
    VB_AUTO_FREE char *sql =
        vb_printf("PRAGMA journal_mode=%s; PRAGMA wal_autocheckpoint=50; BEGIN;"
                  "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, pad TEXT);"
                  "CREATE TABLE ledger(id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, amount INTEGER, pad TEXT);"
                  "CREATE INDEX la ON ledger(a); CREATE INDEX lb ON ledger(b);"
                  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d)"
                  "INSERT INTO account SELECT i, 1000, hex(randomblob(100)) FROM n; COMMIT;",
                  mode, ACCOUNTS);

    assert_int_equal(sqlite3_open(path, &c), SQLITE_OK);
    assert_int_equal(sqlite3_exec(c, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(c);
}

static void transfer_for_ever(const char *path, unsigned seed)
{
    sqlite3 *c = NULL;

    if (sqlite3_open(path, &c) != SQLITE_OK)
        _exit(1);
    sqlite3_busy_timeout(c, 60000);
    sqlite3_exec(c, "PRAGMA synchronous=off", NULL, NULL, NULL); /* processes die here, machines do not */
    for (;;) {
        seed = seed * 1103515245u + 12345u;
        unsigned a = 1 + (seed >> 8) % ACCOUNTS, b = 1 + (seed >> 16) % ACCOUNTS, amount = 1 + (seed >> 4) % 50;
        VB_AUTO_FREE char *sql =
            vb_printf("BEGIN IMMEDIATE; UPDATE account SET balance=balance-%u WHERE id=%u; UPDATE account SET "
                      "balance=balance+%u WHERE id=%u;"
                      "INSERT INTO ledger(a,b,amount,pad) VALUES(%u,%u,%u,hex(randomblob(60))); COMMIT;",
                      amount, a, amount, b, a, b, amount);
        if (sqlite3_exec(c, sql, NULL, NULL, NULL) != SQLITE_OK && sqlite3_get_autocommit(c) == 0)
            sqlite3_exec(c, "ROLLBACK", NULL, NULL, NULL);
        nap_us(1000);
    }
}

static void start_load(const char *path)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        load[i] = fork();
        if (load[i] == 0)
            transfer_for_ever(path, 17 + i);
    }
    nap_us(200000);
}

static void stop_load(void)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        if (load[i] > 0) {
            kill(load[i], SIGKILL);
            waitpid(load[i], NULL, 0);
        }
        load[i] = 0;
    }
}

/* -1: the database does not answer */
static long query(const char *path, const char *sql)
{
    sqlite3 *c = NULL;
    sqlite3_stmt *st = NULL;
    long v = -1;

    /* a transfer that commits just now makes a reader wait */
    if (sqlite3_open(path, &c) == SQLITE_OK && sqlite3_busy_timeout(c, 10000) == SQLITE_OK &&
        sqlite3_prepare_v2(c, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        v = (long)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(c);
    return v;
}

static long wrong_accounts(const char *path)
{
    return query(path, "SELECT count(*) FROM account x WHERE balance <> 1000"
                       " - (SELECT coalesce(sum(amount),0) FROM ledger WHERE a=x.id)"
                       " + (SELECT coalesce(sum(amount),0) FROM ledger WHERE b=x.id)");
}

static void copy(const char *from, const char *to)
{
    VB_AUTO_BUF b = VB_BUF_INIT;
    VB_AUTO_FD int out = -1;

    unlink(to);
    if (vb_read_file_at(AT_FDCWD, from, 256u << 20, &b, NULL) != 0)
        return;
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(out >= 0 && vb_write_all(out, b.data, b.len, NULL) == 0);
}

/* Database, log and journal, in an order that is wrong without a lock. */
static void copy_all(const char *from, const char *to)
{
    static const char *const parts[] = { "-wal", "-journal", "" };
    VB_AUTO_FREE char *shm = vb_printf("%s-shm", to);

    unlink(shm);
    for (size_t i = 0; i < VB_COUNT(parts); i++) {
        VB_AUTO_FREE char *f = vb_printf("%s%s", from, parts[i]), *t = vb_printf("%s%s", to, parts[i]);
        copy(f, t);
    }
}

/* ---- */

static char *db;

static void start_host(const char *more)
{
    VB_AUTO_FREE char *config = vb_printf("[writer sqlite]\ndatabase = %s\n%s", db, more);

    GOOD(host_start(&H, "sqlite", "sqlite", config));
}

static int setup(void **state)
{
    (void)state;
    host_init(&H);
    db = host_path("bank.db");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop_load();
    host_clear(&H);
    vb_free_ptr(&db);
    host_cleanup();
    return 0;
}

static void locked_copies(const char *mode, int n)
{
    VB_AUTO_FREE char *to = host_path("copy.db");

    make_db(db, mode);
    start_load(db);
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    for (int i = 0; i < n; i++) {
        nap_us(20000);
        GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
        GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
        GOOD(host_event(&H, VB_EV_FREEZE));
        long before = query(db, "SELECT count(*) FROM ledger");
        copy_all(db, to);
        nap_us(3000);
        assert_int_equal(query(db, "SELECT count(*) FROM ledger"), before); /* nobody commits while we hold */
        GOOD(host_event(&H, VB_EV_THAW));
        GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
        GOOD(host_event(&H, VB_EV_BACKUP_COMPLETE));
        GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
        assert_int_equal(wrong_accounts(to), 0);
        assert_int_equal(query(to, "SELECT count(*) FROM ledger"), before); /* all that was committed is there */
    }
    assert_true(query(db, "SELECT count(*) FROM ledger") > 10); /* there was a load */
}

static void thirty_locked_copies_of_a_log_database(void **state)
{
    (void)state;
    locked_copies("wal", 30);
}

static void ten_locked_copies_of_a_journal_database(void **state)
{
    (void)state;
    locked_copies("delete", 10);
}

/* Without the lock the same copying goes wrong: the check above has teeth. */
static void copies_without_the_lock_are_noticed(void **state)
{
    VB_AUTO_FREE char *to = host_path("copy.db");
    int wrong = 0;

    (void)state;
    make_db(db, "wal");
    start_load(db);
    for (int i = 0; i < 200 && wrong == 0; i++) {
        static const char *const parts[] = { "-wal", "" };
        VB_AUTO_FREE char *shm = vb_printf("%s-shm", to);
        unlink(shm);
        for (size_t k = 0; k < VB_COUNT(parts); k++) {
            VB_AUTO_FREE char *f = vb_printf("%s%s", db, parts[k]), *t = vb_printf("%s%s", to, parts[k]);
            copy(f, t);
            nap_us(k == 0 ? 30000 : 0);
        }
        wrong += wrong_accounts(to) != 0;
    }
    assert_true(wrong > 0);
}

static void the_application_waits_only_for_the_window(void **state)
{
    (void)state;
    make_db(db, "wal");
    start_load(db);
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    long before = query(db, "SELECT count(*) FROM ledger");
    nap_us(100000);
    assert_true(query(db, "SELECT count(*) FROM ledger") > before); /* prepared, not yet held */
    GOOD(host_event(&H, VB_EV_FREEZE));
    before = query(db, "SELECT count(*) FROM ledger");
    nap_us(100000);
    assert_int_equal(query(db, "SELECT count(*) FROM ledger"), before);
    host_close(&H, 3000); /* the agent dies: released at once */
    nap_us(200000);
    assert_true(query(db, "SELECT count(*) FROM ledger") > before);
}

static void freeze_gives_up_in_time(void **state)
{
    sqlite3 *c = NULL;

    (void)state;
    make_db(db, "wal");
    start_host("lock-wait = 300ms\n");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    assert_int_equal(sqlite3_open(db, &c), SQLITE_OK);
    assert_int_equal(sqlite3_exec(c, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    BAD(host_event(&H, VB_EV_FREEZE), VB_E_WRITER_RETRYABLE, "another process is writing");
    sqlite3_close(c);
}

/* A lock that was lost without the writer's knowledge is found out at thaw. */
static void a_lost_lock_fails_the_thaw(void **state)
{
    VB_AUTO_FREE char *other = host_path("other.db"), *shm = vb_printf("%s-shm", db);

    (void)state;
    make_db(db, "wal");
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    make_db(other, "wal");
    assert_int_equal(rename(other, db), 0); /* the application replaced its database */
    BAD(host_event(&H, VB_EV_THAW), VB_E_WRITER_RETRYABLE, "the file was replaced");
    assert_int_equal(H.consistency, VB_CONSISTENCY_CRASH);
    GOOD(host_event(&H, VB_EV_ABORT));
    host_clear(&H);
    unlink(shm);
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    unlink(shm);
    FILE *f = fopen(shm, "w"); /* another lock file stands in its place */
    assert_non_null(f);
    fclose(f);
    BAD(host_event(&H, VB_EV_THAW), VB_E_WRITER_RETRYABLE, "nobody holds it");
}

static void restore_moves_everything_aside_and_checks(void **state)
{
    VB_AUTO_FREE char *to = host_path("saved.db"), *wal = vb_printf("%s-wal", db),
                      *journal = vb_printf("%s-journal", db);
    VB_AUTO_FREE char *shm = vb_printf("%s-shm", db);

    (void)state;
    make_db(db, "wal");
    copy_all(db, to);
    copy(to, wal); /* left-overs that would destroy a restored database */
    copy(to, journal);
    start_host("");
    GOOD(host_choose(&H, true, NULL));
    BAD(host_event(&H, VB_EV_PRE_RESTORE), VB_E_GUARD, "exists");
    assert_int_equal(access(db, F_OK), 0);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    GOOD(host_choose(&H, true, NULL));
    host_record(&H, "bank")->restore_options = vb_strdup("overwrite");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    assert_int_not_equal(access(db, F_OK), 0);
    assert_int_not_equal(access(wal, F_OK), 0);
    assert_int_not_equal(access(journal, F_OK), 0);
    assert_int_not_equal(access(shm, F_OK), 0);
    assert_true(host_logged(&H, ".vbackup-old-"));
    copy_all(to, db);
    host_record(&H, "bank")->restore_status = VB_FILE_RESTORE_ALL;
    GOOD(host_event(&H, VB_EV_POST_RESTORE));
    assert_int_equal(wrong_accounts(db), 0);
}

static void restore_of_a_damaged_copy_fails(void **state)
{
    (void)state;
    make_db(db, "delete");
    start_host("");
    GOOD(host_choose(&H, true, NULL));
    host_record(&H, "bank")->restore_options = vb_strdup("overwrite");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    make_db(db, "delete");
    int fd = open(db, O_WRONLY);
    assert_true(fd >= 0);
    static const char noise[4096] = "noise";
    for (off_t at = 8192; at < 40000; at += 4096)
        assert_int_equal(pwrite(fd, noise, sizeof noise, at), (ssize_t)sizeof noise);
    close(fd);
    host_record(&H, "bank")->restore_status = VB_FILE_RESTORE_ALL;
    BAD(host_event(&H, VB_EV_POST_RESTORE), VB_E_CORRUPT, "is damaged");
    assert_int_equal(host_record(&H, "bank")->failure_code, VB_E_CORRUPT);
}

static void restore_into_a_database_in_use_is_refused(void **state)
{
    (void)state;
    make_db(db, "wal");
    start_load(db);
    start_host("");
    GOOD(host_choose(&H, true, NULL));
    host_record(&H, "bank")->restore_options = vb_strdup("overwrite");
    BAD(host_event(&H, VB_EV_PRE_RESTORE), VB_E_BUSY, "in use by process");
    assert_int_equal(access(db, F_OK), 0);
}

static void a_group_is_one_choice(void **state)
{
    (void)state;
    VB_AUTO_FREE char *second = host_path("second.db");
    VB_AUTO_FREE char *more = vb_printf("database = two\ntwo.path = %s\ngroup = shop\n", second);
    make_db(db, "wal");
    make_db(second, "delete");
    start_host(more);
    GOOD(host_choose(&H, false, NULL));
    assert_int_equal(H.wmd->n_components, 3);
    assert_int_equal(H.doc->writers[0].n_components, 1);
    assert_string_equal(H.doc->writers[0].components[0].name, "shop");
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
    sqlite3 *c = NULL;
    assert_int_equal(sqlite3_open(second, &c), SQLITE_OK);
    assert_int_equal(sqlite3_exec(c, "UPDATE account SET balance=0 WHERE id=1", NULL, NULL, NULL), SQLITE_BUSY);
    GOOD(host_event(&H, VB_EV_THAW));
    assert_int_equal(sqlite3_exec(c, "UPDATE account SET balance=0 WHERE id=1", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(c);
}

static void missing_databases_are_named(void **state)
{
    (void)state;
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    BAD(host_event(&H, VB_EV_PREPARE_SNAPSHOT), VB_E_NOT_FOUND, "bank.db");
    host_clear(&H);
    BAD(host_start(&H, "sqlite", "sqlite", "[writer sqlite]\n"), VB_E_CONFIG, "no database");
    host_clear(&H);
    BAD(host_start(&H, "sqlite", "sqlite", "[writer sqlite]\ndatabase = shop.db\n"), VB_E_CONFIG, "no absolute path");
}

#define T(fn)                                                                                                          \
    {                                                                                                                  \
#fn, fn, setup, teardown, NULL                                                                                 \
    }

int main(void)
{
    const struct CMUnitTest t[] = {
        T(thirty_locked_copies_of_a_log_database),
        T(ten_locked_copies_of_a_journal_database),
        T(copies_without_the_lock_are_noticed),
        T(the_application_waits_only_for_the_window),
        T(freeze_gives_up_in_time),
        T(a_lost_lock_fails_the_thaw),
        T(restore_moves_everything_aside_and_checks),
        T(restore_of_a_damaged_copy_fails),
        T(restore_into_a_database_in_use_is_refused),
        T(a_group_is_one_choice),
        T(missing_databases_are_named),
    };
    return CM_RUN("sqlite writer", t);
}
