/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/writers/test_postgresql_writer.c - the PostgreSQL writer against a real server under load.
 *
 * The snapshot is a plain copy, file by file, of the running data directory: the worst that backup mode has to stand.
 * What the writer metadata document names is then taken from it, everything of the server is destroyed, and the copy
 * must come up where nothing of the source's log exists.  Accounts are reconciled with a ledger one by one.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/io.h"
#include "base/process.h"
#include "base/text.h"
#include "tests/cm.h"
#include "tests/contract/expect.h"
#include "tests/contract/host.h"

enum { ACCOUNTS = 500, CLIENTS = 3 };

static struct host H;
static pid_t load[CLIENTS];
static volatile long *acked; /* by client: the last transfer that the server has confirmed */

/* ---- the server; P(name) is a path in the scratch directory ---- */

#define BIN "/usr/lib/postgresql/15/bin"

/* A shell command as the user of the server, with $T for the scratch directory. */
static int sh(const char *command)
{
    VB_AUTO_FREE char *text = vb_printf("T=%s; %s", host_dir(), command);
    const char *const root[] = { "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "sh", "-c", text,
                                 NULL };
    struct vb_spawn s = VB_SPAWN_INIT;
    VB_AUTO_FREE char *out = NULL;
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    s.argv = geteuid() == 0 ? root : root + 4;
    s.search = true;
    s.chdir_to = "/";
    if (vb_run(&s, 60000, 65536, &out, &err) == 0)
        return 0;
    print_message("# %s: %s\n# %s\n", command, vb_error_text(&err), out != NULL ? out : "");
    return -1;
}

#define SH(command) assert_int_equal(sh(command), 0)

static char *conninfo(const char *db)
{
    const struct passwd *pw = getpwuid(geteuid());

    return vb_printf("host=%s/pg/run port=5999 dbname=%s user=%s", host_dir(), db,
                     geteuid() == 0 ? "postgres" : pw->pw_name);
}

static PGconn *connect_db(void)
{
    VB_AUTO_FREE char *info = conninfo("postgres");
    PGconn *c = PQconnectdb(info);

    if (PQstatus(c) == CONNECTION_OK)
        return c;
    PQfinish(c);
    return NULL;
}

static long query(const char *sql)
{
    PGconn *c = connect_db();
    PGresult *r = c != NULL ? PQexec(c, sql) : NULL;
    long v = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 ? strtol(PQgetvalue(r, 0, 0), NULL, 10) : -1;

    PQclear(r);
    PQfinish(c);
    return v;
}

static void make_server(void)
{
    VB_AUTO_FREE char *pg = host_path("pg");

    mkdir(pg, 0755);
    if (geteuid() == 0)
        assert_int_equal(chown(pg, getpwnam("postgres")->pw_uid, getpwnam("postgres")->pw_gid), 0);
    SH("set -e; cd $T/pg; mkdir -m 700 run conf ts snap saved; " BIN
       "/initdb -D $T/pg/data -A trust -k --wal-segsize=1 >/dev/null; mv data/postgresql.conf data/pg_hba.conf "
       "data/pg_ident.conf conf;"
       "printf "
       "\"data_directory='$T/pg/data'\\nlisten_addresses=''\\nport=5999\\nunix_socket_directories='$T/pg/"
       "run'\\nfsync=off\\n"
       "max_wal_size=2MB\\nmin_wal_size=2MB\\nwal_keep_size=0\\n\" >> conf/postgresql.conf;" BIN
       "/pg_ctl -D $T/pg/conf -l $T/pg/log -w start >/dev/null");
}

/* ---- the load ---- */

static void make_bank(void)
{
    SH(BIN
       "/psql -q -v ON_ERROR_STOP=1 -h $T/pg/run -p 5999 postgres -c \"CREATE TABLESPACE ts LOCATION '$T/pg/ts'\""
       " -c 'CREATE TABLE account(id int PRIMARY KEY, balance bigint, pad text) WITH (fillfactor=60)'"
       " -c 'CREATE TABLE ledger(client int, n int, a int, b int, amount int, PRIMARY KEY (client, n)) TABLESPACE ts'"
       " -c 'CREATE INDEX la ON ledger(a)' -c 'CREATE INDEX lb ON ledger(b) TABLESPACE ts'"
       " -c \"INSERT INTO account SELECT i, 1000, repeat('x', 200) FROM generate_series(1, 500) i\"");
}

static void transfer_for_ever(int client)
{
    VB_AUTO_FREE char *info = conninfo("postgres");
    PGconn *c = PQconnectdb(info);
    unsigned seed = 99u + (unsigned)client;

    for (long n = acked[client] + 1; PQstatus(c) == CONNECTION_OK; n++) {
        seed = seed * 1103515245u + 12345u;
        unsigned a = 1 + (seed >> 8) % ACCOUNTS, b = 1 + (seed >> 16) % ACCOUNTS, amount = 1 + (seed >> 4) % 50;
        unsigned lo = a < b ? a : b, hi = a < b ? b : a;
        VB_AUTO_FREE char *sql = vb_printf("BEGIN; SELECT 1 FROM account WHERE id IN (%u, %u) ORDER BY id FOR UPDATE;"
                                           "UPDATE account SET balance = balance - %u WHERE id = %u; UPDATE account "
                                           "SET balance = balance + %u WHERE id = %u;"
                                           "INSERT INTO ledger VALUES(%d, %ld, %u, %u, %u); COMMIT",
                                           lo, hi, amount, a, amount, b, client, n, a, b, amount);
        PGresult *r = PQexec(c, sql);
        bool good = PQresultStatus(r) == PGRES_COMMAND_OK;
        PQclear(r);
        if (!good)
            break;
        acked[client] = n;
    }
    _exit(0);
}

static void start_load(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        load[i] = fork();
        if (load[i] == 0)
            transfer_for_ever(i);
    }
    usleep(300000);
}

static void stop_load(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (load[i] > 0) {
            kill(load[i], SIGKILL);
            waitpid(load[i], NULL, 0);
        }
        load[i] = 0;
    }
}

static void check_bank(const long *at_least)
{
    assert_int_equal(query("SELECT count(*) FROM account"), ACCOUNTS);
    assert_int_equal(query("SELECT count(*) FROM account x WHERE balance <> 1000"
                           " - (SELECT coalesce(sum(amount), 0) FROM ledger WHERE a = x.id)"
                           " + (SELECT coalesce(sum(amount), 0) FROM ledger WHERE b = x.id)"),
                     0);
    for (int i = 0; i < CLIENTS; i++) {
        VB_AUTO_FREE char *max = vb_printf("SELECT coalesce(max(n), 0) FROM ledger WHERE client = %d", i);
        VB_AUTO_FREE char *count = vb_printf("SELECT count(*) FROM ledger WHERE client = %d", i);
        long have = query(max);
        assert_int_equal(have, query(count)); /* no gap */
        if (have < at_least[i])
            fail_msg("client %d: %ld transfers were confirmed before the freeze, %ld are there", i, at_least[i], have);
    }
}

/* ---- the backup, as agent and capture would do it ---- */

static void start_host(const char *more)
{
    VB_AUTO_FREE char *info = conninfo("postgres");
    VB_AUTO_FREE char *config = vb_printf("[writer postgresql main]\nconninfo = %s\n%s", info, more);

    GOOD(host_start(&H, "postgresql main", "postgresql", config));
}

static void until_frozen(const char *const *names)
{
    GOOD(host_choose(&H, false, names));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
}

static void map(const char *from, const char *to)
{
    vb_strv_take(&H.map_from, host_path(from));
    vb_strv_take(&H.map_to, host_path(to));
}

/* A copy that takes a while, file after file, while the server writes and checkpoints. */
static void copy_live(void)
{
    SH("cd $T/pg; rm -rf snap/*; cp -a data/global snap/global0; cp -a data snap/data || true; cp -a ts snap/ts || "
       "true; rm -rf snap/global0");
    map("pg/data", "pg/snap/data");
    map("pg/ts", "pg/snap/ts");
}

/* What the document names, from the snapshot, into saved/ by its normal path. */
static void capture(void)
{
    VB_AUTO_FREE char *data = host_path("pg/data"), *ts = host_path("pg/ts");

    SH("rm -rf $T/pg/saved; mkdir $T/pg/saved");
    for (size_t i = 0; i < H.wmd->n_components; i++)
        for (size_t k = 0; k < H.wmd->components[i].n_filesets; k++) {
            const struct vb_fileset *f = &H.wmd->components[i].filesets[k];
            VB_AUTO_FREE char *from = vb_strdup(f->alternate_path);
            if (from == NULL && vb_path_below(f->path, data))
                from = vb_printf("%s/pg/snap/data%s", host_dir(), f->path + strlen(data));
            else if (from == NULL && vb_path_below(f->path, ts))
                from = vb_printf("%s/pg/snap/ts%s", host_dir(), f->path + strlen(ts));
            else if (from == NULL)
                from = vb_strdup(f->path);
            VB_AUTO_FREE char *cmd =
                vb_printf("mkdir -p $T/pg/saved%s && cd %s && find . -mindepth 1 %s ! -type s \\( -type d -o -name "
                          "'%s' \\)"
                          " -print0 | tar --null -T - --no-recursion -cf - | tar -xf - -C $T/pg/saved%s",
                          f->path, from, f->recursive ? "" : "-maxdepth 1 ! -type d", f->filespec, f->path);
            SH(cmd);
        }
    for (size_t i = 0; i < H.wmd->n_excludes; i++) {
        const struct vb_exclude *x = &H.wmd->excludes[i];
        VB_AUTO_FREE char *cmd =
            vb_printf("d=$T/pg/saved%s; [ ! -d $d ] || find $d -mindepth 1 %s ! -type d -name '%s' -delete", x->path,
                      x->recursive ? "" : "-maxdepth 1", x->filespec);
        SH(cmd);
    }
}

static void destroy(void)
{
    stop_load();
    sh(BIN "/pg_ctl -D $T/pg/data -m immediate -w stop >/dev/null; rm -rf $T/pg/data $T/pg/ts $T/pg/conf "
           "$T/pg/snap");
}

static void put_back(void)
{
    SH("cp -a $T/pg/saved$T/pg/. $T/pg/");
}

static void restored(enum vb_file_restore_status status)
{
    struct vb_writer_components *w = &H.doc->writers[0];

    for (size_t i = 0; i < w->n_components; i++)
        w->components[i].restore_status = status;
}

/* The records of the backup in a new process: only documents and files are left. */
static void restart_for_restore(const char *more)
{
    struct vb_components *doc = VB_STEAL(H.doc);

    host_clear(&H);
    start_host(more);
    H.doc = doc;
    H.doc->restore = true;
}

static void whole_backup(long *before)
{
    make_server();
    make_bank();
    start_load();
    start_host("");
    until_frozen(NULL);
    for (int i = 0; i < CLIENTS; i++)
        before[i] = acked[i];
    copy_live();
    usleep(200000);
    GOOD(host_event(&H, VB_EV_THAW));
    GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
    capture();
    GOOD(host_event(&H, VB_EV_BACKUP_COMPLETE));
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
}

/* ---- tests ---- */

static void a_live_copy_comes_up_elsewhere_and_is_right(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    assert_int_equal(H.wmd->n_components, 2);
    struct vb_component *c = host_record(&H, "cluster");
    assert_string_equal(c->logical_path, "main");
    assert_contains(c->backup_metadata, "method=backup-mode");
    assert_contains(c->backup_metadata, "tablespace.");
    assert_int_equal(c->n_private, 2);
    assert_string_equal(c->private_files[0].name, "backup_label");
    VB_AUTO_FREE char *wal = host_path("state/writers/postgresql+main/wal");
    assert_int_not_equal(access(wal, F_OK), 0); /* our copies of the log are gone again */
    assert_int_equal(query("SELECT count(*) FROM pg_replication_slots"), 0);
    assert_true(before[0] > 10);
    destroy();
    restart_for_restore("");
    GOOD(host_event(&H, VB_EV_IDENTIFY)); /* the server cannot be asked, what was known is enough */
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    put_back();
    restored(VB_FILE_RESTORE_ALL);
    GOOD(host_event(&H, VB_EV_POST_RESTORE));
    check_bank(before);
    assert_int_equal(query("SELECT timeline_id FROM pg_control_checkpoint()"), 2);
    SH(BIN "/pg_amcheck --heapallindexed -h $T/pg/run -p 5999 --install-missing -d postgres");
    SH("test ! -e $T/pg/data/recovery.signal -a ! -e $T/pg/data/backup_label && ! grep -q recovery_target "
       "$T/pg/data/postgresql.auto.conf");
}

static void a_backup_without_its_label_is_refused(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    destroy();
    restart_for_restore("");
    for (size_t i = 0; i < host_record(&H, "cluster")->n_private; i++)
        host_record(&H, "cluster")->private_files[i].name[0] = 'x'; /* is there, under another name */
    BAD(host_event(&H, VB_EV_PRE_RESTORE), VB_E_CORRUPT, "has no label");
    SH("test ! -e $T/pg/data");
}

static void a_backup_without_its_log_is_refused(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    destroy();
    restart_for_restore("");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    put_back();
    SH("cd $T/pg/data/pg_wal && rm \"$(ls | grep -E '^[0-9A-F]{24}$' | tail -1)\"");
    restored(VB_FILE_RESTORE_ALL);
    BAD(host_event(&H, VB_EV_POST_RESTORE), VB_E_CORRUPT, "log segment");
    assert_int_equal(query("SELECT 1"), -1); /* no server was started on it */
}

/* The trials' silent loss: with the label left out, PostgreSQL itself starts on such a copy without complaint. */
static void the_server_alone_would_not_notice(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    destroy();
    SH("mkdir -m 700 $T/pg/conf");
    put_back();
    SH("cd $T/pg/data; chmod 700 .; mkdir -p pg_wal/archive_status pg_replslot pg_dynshmem pg_notify pg_serial "
       "pg_snapshots pg_stat_tmp"
       " pg_subtrans pg_twophase pg_commit_ts pg_logical/snapshots pg_logical/mappings pg_tblspc pg_stat;" BIN
       "/pg_ctl -D $T/pg/conf -l $T/pg/log2 -w start >/dev/null");
    assert_int_equal(query("SELECT 1"), 1);
}

static void restore_over_a_running_server_needs_consent(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    stop_load();
    restart_for_restore("");
    BAD(host_event(&H, VB_EV_PRE_RESTORE), VB_E_GUARD, "is running on");
    assert_int_equal(query("SELECT 1"), 1);
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    SH(BIN "/psql -q -h $T/pg/run -p 5999 postgres -c 'DELETE FROM ledger' -c 'UPDATE account SET balance = 0'");
    host_record(&H, "cluster")->restore_options = vb_strdup("overwrite");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    SH("ls -d $T/pg/data.vbackup-old-*/base >/dev/null && test ! -e $T/pg/data/base");
    put_back();
    restored(VB_FILE_RESTORE_ALL);
    GOOD(host_event(&H, VB_EV_POST_RESTORE));
    check_bank(before);
}

static void a_partial_restore_starts_no_server(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    destroy();
    restart_for_restore("");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    put_back();
    restored(VB_FILE_RESTORE_FAILED);
    BAD(host_event(&H, VB_EV_POST_RESTORE), VB_E_WRITER_PARTIAL_FAILURE, "in part only");
    assert_int_equal(query("SELECT 1"), -1);
}

static void vss_r_67_more_restores_to_come_means_no_recovery(void **state)
{
    long before[CLIENTS];

    (void)state;
    whole_backup(before);
    destroy();
    restart_for_restore("");
    GOOD(host_event(&H, VB_EV_PRE_RESTORE));
    put_back();
    restored(VB_FILE_RESTORE_ALL);
    host_record(&H, "cluster")->additional_restores = true;
    GOOD(host_event(&H, VB_EV_POST_RESTORE));
    assert_int_equal(query("SELECT 1"), -1);
}

static void a_lost_session_fails_the_thaw(void **state)
{
    (void)state;
    make_server();
    start_host("");
    until_frozen(NULL);
    assert_int_equal(
        query("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'vbackup'"), 1);
    BAD(host_event(&H, VB_EV_THAW), VB_E_WRITER_RETRYABLE, "end backup mode");
    assert_int_equal(H.consistency, VB_CONSISTENCY_NONE);
    GOOD(host_event(&H, VB_EV_ABORT));
}

static void the_server_ends_backup_mode_by_itself(void **state)
{
    (void)state;
    make_server();
    start_host("idle-timeout = 1s\n");
    until_frozen(NULL);
    assert_int_equal(kill(H.pid, SIGSTOP), 0); /* an agent that stalls */
    assert_int_equal(query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vbackup'"), 1);
    sleep(2);
    assert_int_equal(query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vbackup'"), 0);
    assert_int_equal(query("SELECT count(*) FROM pg_replication_slots"), 0);
    assert_int_equal(kill(H.pid, SIGCONT), 0);
    BAD(host_event(&H, VB_EV_THAW), VB_E_WRITER_RETRYABLE, "end backup mode");
}

static void a_second_backup_is_refused(void **state)
{
    struct host first;

    (void)state;
    make_server();
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    first = H;
    host_init(&H);
    start_host("");
    GOOD(host_choose(&H, false, NULL));
    BAD(host_event(&H, VB_EV_PREPARE_BACKUP), VB_E_WRITER_RETRYABLE, "another backup");
    host_clear(&first);
    GOOD(host_event(&H, VB_EV_ABORT));
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
}

static void without_a_snapshot_there_is_no_backup(void **state)
{
    (void)state;
    make_server();
    start_host("");
    until_frozen(NULL);
    GOOD(host_event(&H, VB_EV_THAW));
    BAD(host_event(&H, VB_EV_POST_SNAPSHOT), VB_E_WRITER_NON_RETRYABLE, "no snapshot was made");
}

static void copies_of_a_dead_process_are_removed(void **state)
{
    VB_AUTO_FREE char *wal = host_path("state/writers/postgresql+main/wal");

    (void)state;
    make_server();
    make_bank();
    start_host("");
    until_frozen(NULL);
    copy_live();
    GOOD(host_event(&H, VB_EV_THAW));
    GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
    assert_int_equal(kill(H.pid, SIGKILL), 0);
    host_close(&H, 2000);
    assert_int_equal(access(wal, F_OK), 0);
    host_clear(&H);
    start_host("");
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    host_clear(&H);
    assert_int_equal(access(wal, F_OK), 0); /* a process that only looks takes nothing away */
    start_host("");
    H.owed = true;
    GOOD(host_event(&H, VB_EV_BACKUP_SHUTDOWN));
    assert_int_not_equal(access(wal, F_OK), 0);
}

static void settings_alone_need_no_backup_mode(void **state)
{
    static const char *const config[] = { "config", NULL };

    (void)state;
    make_server();
    start_host("");
    until_frozen(config);
    assert_int_equal(query("SELECT count(*) FROM pg_replication_slots"), 0);
    GOOD(host_event(&H, VB_EV_THAW));
    GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
    const struct vb_wm_component *c = vb_wm_find(H.wmd, "main", "config");
    assert_int_equal(c->n_filesets, 3);
    assert_string_equal(c->filesets[0].filespec, "postgresql.conf");
}

static void a_stopped_server_is_a_clear_message(void **state)
{
    (void)state;
    make_server();
    start_host("");
    GOOD(host_event(&H, VB_EV_IDENTIFY));
    size_t n = vb_wm_find(H.wmd, "main", "cluster")->n_filesets;
    SH(BIN "/pg_ctl -D $T/pg/conf -m fast -w stop >/dev/null");
    GOOD(host_choose(&H, false, NULL));
    assert_int_equal(vb_wm_find(H.wmd, "main", "cluster")->n_filesets, n);
    BAD(host_event(&H, VB_EV_PREPARE_BACKUP), VB_E_WRITER_RETRYABLE, "cannot connect to PostgreSQL");
    assert_contains(H.error.hint, "start the server");
}

static void a_role_without_power_is_enough(void **state)
{
    (void)state;
    make_server();
    make_bank();
    SH(BIN "/psql -q -h $T/pg/run -p 5999 postgres -c 'CREATE ROLE backup LOGIN REPLICATION' -c 'GRANT "
           "pg_read_all_settings TO backup'"
           " -c 'GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean) TO backup' -c 'GRANT EXECUTE ON FUNCTION "
           "pg_backup_stop(boolean) TO backup'");
    VB_AUTO_FREE char *config =
        vb_printf("[writer postgresql main]\nconninfo = host=%s/pg/run port=5999 user=backup\n", host_dir());
    GOOD(host_start(&H, "postgresql main", "postgresql", config));
    until_frozen(NULL);
    assert_int_equal(query("SELECT count(*) FROM pg_replication_slots WHERE temporary"), 1);
    copy_live();
    GOOD(host_event(&H, VB_EV_THAW));
    GOOD(host_event(&H, VB_EV_POST_SNAPSHOT));
}

static int setup(void **state)
{
    (void)state;
    host_init(&H);
    for (int i = 0; i < CLIENTS; i++)
        acked[i] = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop_load();
    host_clear(&H);
    sh("[ ! -e $T/pg/data/postmaster.pid ] || " BIN "/pg_ctl -D $T/pg/data -m immediate -w stop >/dev/null");
    if (getenv("KEEP") == NULL)
        host_cleanup();
    return 0;
}

#define T(fn)                                                                                                          \
    {                                                                                                                  \
#fn, fn, setup, teardown, NULL                                                                                 \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest t[] = {
        T(a_live_copy_comes_up_elsewhere_and_is_right),
        T(a_backup_without_its_label_is_refused),
        T(a_backup_without_its_log_is_refused),
        T(the_server_alone_would_not_notice),
        T(restore_over_a_running_server_needs_consent),
        T(a_partial_restore_starts_no_server),
        T(vss_r_67_more_restores_to_come_means_no_recovery),
        T(a_lost_session_fails_the_thaw),
        T(the_server_ends_backup_mode_by_itself),
        T(a_second_backup_is_refused),
        T(without_a_snapshot_there_is_no_backup),
        T(copies_of_a_dead_process_are_removed),
        T(settings_alone_need_no_backup_mode),
        T(a_stopped_server_is_a_clear_message),
        T(a_role_without_power_is_enough),
    };
    if (access(BIN "/initdb", X_OK) != 0 || (geteuid() == 0 && getpwnam("postgres") == NULL)) {
        puts("1..0 # SKIP PostgreSQL 15 is not installed (apt-get install postgresql-15)");
        return 0;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    acked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return CM_RUN("postgresql writer", t);
}
