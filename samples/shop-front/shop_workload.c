/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * samples/shop-front/shop_workload.c - customers of the shop, and the auditor who comes after a restore.
 *
 *     shop-workload init    --dir DIR --conninfo TEXT
 *     shop-workload run     --dir DIR --conninfo TEXT --journal FILE [--clients N] [--seconds N] [--pause-us N]
 *     shop-workload verify  --dir DIR --conninfo TEXT [--journal FILE] [--before-ms WALL] [--front-thawed-ms WALL]
 *
 * Order number n of a client is first booked in the back end (PostgreSQL), then in the front end (SQLite); each
 * booking moves money from one account to another and writes a ledger row, in one transaction.  Every acknowledged
 * commit goes to the journal, a file outside of all that is backed up: SIDE CLIENT N BEGIN ACKNOWLEDGED, in
 * microseconds of the wall clock.  What verify demands, row by row:
 *
 *   - every account equals its start minus what went out plus what came in, on both sides;
 *   - no gap in any client's ledger;
 *   - every commit that was acknowledged before --before-ms is there;
 *   - no front-end commit that began after --front-thawed-ms is there;
 *   - every order of the front end is known to the back end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <sqlite3.h>
#include <libpq-fe.h> /* lint: allow the sample application speaks to its own back end */

enum { ACCOUNTS = 300, START = 1000, MAX_CLIENTS = 64 };

static const char *dir, *conninfo, *journal_path;
static long clients = 4, seconds, pause_us = 2000;
static long long before_us = -1, thawed_us = -1;
static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

static long long now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void nap(long us)
{
    const struct timespec t = { us / 1000000, us % 1000000 * 1000 };

    nanosleep(&t, NULL);
}

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("shop-workload: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

__attribute__((format(printf, 1, 2))) static char *text(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        die("out of memory");
    va_end(ap);
    return s;
}

/* ---- both databases ---- */

static sqlite3 *open_front(void)
{
    char *path = text("%s/data/shop.db", dir);
    sqlite3 *db = NULL;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        die("cannot open '%s': %s", path, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 60000);
    free(path);
    return db;
}

static bool front_exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static bool back_exec(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    bool good = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;

    PQclear(r);
    return good;
}

static void write_file(const char *path, const char *what)
{
    FILE *f = fopen(path, "w");

    if (f == NULL || fputs(what, f) < 0 || fclose(f) != 0)
        die("cannot write '%s': %s", path, strerror(errno));
}

static int init(void)
{
    static const char *const subs[] = { "",      "/content", "/content/pages", "/content/images", "/content/empty",
                                        "/data", "/run" };
    char *sql;

    for (size_t i = 0; i < sizeof subs / sizeof subs[0]; i++) {
        char *p = text("%s%s", dir, subs[i]);
        if (mkdir(p, 0755) != 0 && errno != EEXIST)
            die("cannot create '%s': %s", p, strerror(errno));
        free(p);
    }
    for (int i = 0; i < 40; i++) {
        char *p = text("%s/content/pages/page-%02d.html", dir, i),
             *t = text("<h1>Page %d</h1>\n%0*d\n", i, 100 + i * 37, i);
        write_file(p, t);
        free(p);
        free(t);
    }
    char *conf = text("%s/shop.conf", dir), *link = text("%s/content/index.html", dir);
    write_file(conf, "title = The shop\ncurrency = EUR\n");
    if (symlink("pages/page-00.html", link) != 0 && errno != EEXIST)
        die("cannot link '%s'", link);
    free(conf);
    free(link);

    sqlite3 *db = open_front();
    sql = text("PRAGMA journal_mode=wal; BEGIN;"
               "CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, name TEXT);"
               "CREATE TABLE ledger(client INTEGER, n INTEGER, a INTEGER, b INTEGER, amount INTEGER, PRIMARY "
               "KEY(client, n));"
               "CREATE TABLE orders(client INTEGER, n INTEGER, status TEXT, PRIMARY KEY(client, n));"
               "CREATE INDEX ledger_a ON ledger(a); CREATE INDEX ledger_b ON ledger(b);"
               "WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM i WHERE x < %d)"
               " INSERT INTO accounts SELECT x, %d, hex(randomblob(40)) FROM i; COMMIT",
               ACCOUNTS, START);
    if (!front_exec(db, sql))
        die("front end: %s", sqlite3_errmsg(db));
    sqlite3_close(db);
    free(sql);

    PGconn *c = PQconnectdb(conninfo);
    sql = text("CREATE TABLE accounts(id int PRIMARY KEY, balance bigint NOT NULL, name text) WITH (fillfactor = 70);"
               "CREATE TABLE ledger(client int, n bigint, a int, b int, amount int, PRIMARY KEY(client, n));"
               "CREATE TABLE orders(client int, n bigint, PRIMARY KEY(client, n));"
               "CREATE INDEX ledger_a ON ledger(a); CREATE INDEX ledger_b ON ledger(b);"
               "INSERT INTO accounts SELECT i, %d, repeat('x', 80) FROM generate_series(1, %d) i",
               START, ACCOUNTS);
    if (PQstatus(c) != CONNECTION_OK || !back_exec(c, sql))
        die("back end: %s", PQerrorMessage(c));
    PQfinish(c);
    free(sql);
    return 0;
}

/* ---- the load ---- */

static void note(int journal, const char *side, long client, long long n, long long begin)
{
    char line[160];
    int len = snprintf(line, sizeof line, "%s %ld %lld %lld %lld\n", side, client, n, begin, now_us());

    if (write(journal, line, (size_t)len) != len)
        die("cannot write the journal: %s", strerror(errno));
}

static long long last_number(PGconn *c, long client)
{
    char *sql = text("SELECT coalesce(max(n), 0) FROM ledger WHERE client = %ld", client);
    PGresult *r = PQexec(c, sql);
    long long n = PQresultStatus(r) == PGRES_TUPLES_OK ? strtoll(PQgetvalue(r, 0, 0), NULL, 10) : -1;

    PQclear(r);
    free(sql);
    return n;
}

/* One client: ends with the first error, so that its numbers have no gap. */
static int be_client(long client, long long until)
{
    int journal = open(journal_path, O_WRONLY | O_APPEND | O_CREAT, 0666);
    PGconn *c = PQconnectdb(conninfo);
    sqlite3 *db = open_front();
    unsigned seed = (unsigned)getpid() * 2654435761u;
    long long n = PQstatus(c) == CONNECTION_OK ? last_number(c, client) : -1;

    if (journal < 0 || n < 0)
        die("client %ld: %s", client, journal < 0 ? strerror(errno) : PQerrorMessage(c));
    while (!stop && (until < 0 || now_us() < until)) {
        seed = seed * 1103515245u + 12345u;
        unsigned a = 1 + (seed >> 8) % ACCOUNTS, b = 1 + (seed >> 17) % ACCOUNTS, amount = 1 + (seed >> 4) % 50;
        n++;
        char *moves = text(
            "UPDATE accounts SET balance = balance - %u WHERE id = %u; UPDATE accounts SET balance = balance + %u"
            " WHERE id = %u; INSERT INTO ledger VALUES(%ld, %lld, %u, %u, %u);",
            amount, a, amount, b, client, n, a, b, amount);
        char *back = text("BEGIN; SELECT 1 FROM accounts WHERE id IN (%u, %u) ORDER BY id FOR UPDATE; %s"
                          "INSERT INTO orders VALUES(%ld, %lld); COMMIT",
                          a, b, moves, client, n);
        char *front =
            text("BEGIN IMMEDIATE; %s INSERT INTO orders VALUES(%ld, %lld, 'open'); COMMIT", moves, client, n);
        long long begin = now_us();
        bool good = back_exec(c, back);
        if (good)
            note(journal, "back", client, n, begin);
        begin = now_us();
        good = good && front_exec(db, front);
        if (good)
            note(journal, "front", client, n, begin);
        free(moves);
        free(back);
        free(front);
        if (!good)
            break;
        nap(pause_us);
    }
    sqlite3_close(db);
    PQfinish(c);
    close(journal);
    return 0;
}

static int run(void)
{
    long long until = seconds > 0 ? now_us() + seconds * 1000000LL : -1;
    pid_t pids[MAX_CLIENTS];

    const struct sigaction sa = { .sa_handler = on_signal }; /* not restarting: waitpid below is to notice */

    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    for (long i = 0; i < clients; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            exit(be_client(i, until));
    }
    for (long i = 0; i < clients; i++) {
        int status;
        while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
            for (long k = 0; k < clients; k++)
                kill(pids[k], SIGTERM);
    }
    return 0;
}

/* ---- the audit ---- */

static long problems;

__attribute__((format(printf, 1, 2))) static void problem(const char *fmt, ...)
{
    va_list ap;

    if (++problems > 20)
        return;
    va_start(ap, fmt);
    printf("wrong: ");
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

/* Both sides answer the same questions: rows of one number each. */
static long front_number(const char *sql)
{
    sqlite3 *db = open_front();
    sqlite3_stmt *st = NULL;
    long v = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        v = (long)sqlite3_column_int64(st, 0);
    else
        problem("front end: %s", sqlite3_errmsg(db));
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static PGconn *back;

static long back_number(const char *sql)
{
    PGresult *r = PQexec(back, sql);
    long v = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0 ? strtol(PQgetvalue(r, 0, 0), NULL, 10) : -1;

    if (v == -1)
        problem("back end: %s", PQerrorMessage(back));
    PQclear(r);
    return v;
}

static void audit_side(const char *side, long (*number)(const char *sql))
{
    long n, wrong;
    char *each = text("SELECT count(*) FROM accounts x WHERE balance <> %d - (SELECT coalesce(sum(amount), 0) FROM "
                      "ledger WHERE a = x.id)"
                      " + (SELECT coalesce(sum(amount), 0) FROM ledger WHERE b = x.id)",
                      START);

    if ((n = number("SELECT count(*) FROM accounts")) != ACCOUNTS)
        problem("%s end: %ld accounts instead of %d", side, n, ACCOUNTS);
    if ((wrong = number(each)) != 0)
        problem("%s end: %ld accounts do not agree with the ledger", side, wrong);
    if ((n = number(
             "SELECT count(*) FROM (SELECT client FROM ledger GROUP BY client HAVING max(n) <> count(*)) x")) != 0)
        problem("%s end: %ld clients have a gap in their ledger", side, n);
    printf("%s end: %d accounts agree with %ld ledger rows\n", side, ACCOUNTS, number("SELECT count(*) FROM ledger"));
    free(each);
}

static void audit_journal(void)
{
    FILE *f = fopen(journal_path, "r");
    char side[8];
    long client;
    long long n, begin, ack, front_max[MAX_CLIENTS], back_max[MAX_CLIENTS];
    long lines = 0, due = 0;

    if (f == NULL)
        die("cannot read '%s': %s", journal_path, strerror(errno));
    for (long i = 0; i < MAX_CLIENTS; i++) {
        char *sql = text("SELECT coalesce(max(n), 0) FROM ledger WHERE client = %ld", i);
        front_max[i] = front_number(sql);
        back_max[i] = back_number(sql);
        free(sql);
    }
    while (fscanf(f, "%7s %ld %lld %lld %lld", side, &client, &n, &begin, &ack) == 5) {
        bool front = strcmp(side, "front") == 0;
        if (client < 0 || client >= MAX_CLIENTS)
            die("broken journal");
        lines++;
        if (before_us >= 0 && ack <= before_us) {
            due++;
            if (n > (front ? front_max : back_max)[client])
                problem("%s end: order %ld/%lld was confirmed before the backup and is missing", side, client, n);
        }
        if (front && thawed_us >= 0 && begin > thawed_us && n <= front_max[client])
            problem("front end: order %ld/%lld began after the thaw and is there", client, n);
    }
    fclose(f);
    printf("journal: %ld commits, %ld of them before the backup\n", lines, due);
}

static void audit_orders(void)
{
    sqlite3 *db = open_front();
    sqlite3_stmt *st = NULL;
    long unknown = 0, total = 0;

    sqlite3_prepare_v2(db, "SELECT client, n FROM orders WHERE status <> 'lost'", -1, &st, NULL);
    PGresult *r = PQexec(back, "CREATE TEMP TABLE theirs(client int, n bigint)");
    PQclear(r);
    r = PQexec(back, "COPY theirs FROM STDIN");
    PQclear(r);
    while (sqlite3_step(st) == SQLITE_ROW) {
        char *line =
            text("%lld\t%lld\n", (long long)sqlite3_column_int64(st, 0), (long long)sqlite3_column_int64(st, 1));
        PQputCopyData(back, line, (int)strlen(line));
        free(line);
        total++;
    }
    PQputCopyEnd(back, NULL);
    while ((r = PQgetResult(back)) != NULL)
        PQclear(r);
    unknown = back_number("SELECT count(*) FROM theirs t WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.client = "
                          "t.client AND o.n = t.n)");
    if (unknown != 0)
        problem("%ld orders of the front end are unknown to the back end", unknown);
    sqlite3_finalize(st);
    sqlite3_close(db);
    printf("orders: %ld of the front end, all known to the back end\n", total);
}

static int verify(void)
{
    back = PQconnectdb(conninfo);
    if (PQstatus(back) != CONNECTION_OK)
        die("back end: %s", PQerrorMessage(back));
    audit_side("front", front_number);
    audit_side("back", back_number);
    audit_orders();
    if (journal_path != NULL)
        audit_journal();
    PQfinish(back);
    if (problems > 0)
        printf("%ld problems\n", problems);
    return problems == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *k = argv[i], *v = argv[i + 1];
        if (strcmp(k, "--dir") == 0)
            dir = v;
        else if (strcmp(k, "--conninfo") == 0)
            conninfo = v;
        else if (strcmp(k, "--journal") == 0)
            journal_path = v;
        else if (strcmp(k, "--clients") == 0)
            clients = strtol(v, NULL, 10);
        else if (strcmp(k, "--seconds") == 0)
            seconds = strtol(v, NULL, 10);
        else if (strcmp(k, "--pause-us") == 0)
            pause_us = strtol(v, NULL, 10);
        else if (strcmp(k, "--before-ms") == 0)
            before_us = strtoll(v, NULL, 10) * 1000;
        else if (strcmp(k, "--front-thawed-ms") == 0)
            thawed_us = strtoll(v, NULL, 10) * 1000;
        else
            die("unknown option '%s'", k);
    }
    if (argc < 2 || argc % 2 != 0 || dir == NULL || conninfo == NULL || clients < 1 || clients > MAX_CLIENTS)
        die("usage: shop-workload init|run|verify --dir DIR --conninfo TEXT [--journal FILE] ...");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(argv[1], "init") == 0)
        return init();
    if (strcmp(argv[1], "run") == 0 && journal_path != NULL)
        return run();
    if (strcmp(argv[1], "verify") == 0)
        return verify();
    die("expected init, run (with --journal) or verify");
}
