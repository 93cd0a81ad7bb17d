/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/server.c - the server program: is it running, stop, start, and a private one for recovery.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "writers/postgresql/pgw.h"

#define LOG_MAX (8u << 20)

pid_t pgw_running(const char *data_directory)
{
    VBW_AUTO char *path = vbw_join(data_directory, "postmaster.pid");
    VBW_AUTO char *text = vbw_read_file(path, 65536, NULL);
    long pid = text != NULL ? strtol(text, NULL, 10) : 0;

    if (pid <= 1 || (kill((pid_t)pid, 0) != 0 && errno != EPERM))
        return 0;
    /* a number that was given to another program since */
    VBW_AUTO char *comm_path = vbw_printf("/proc/%ld/comm", pid);
    VBW_AUTO char *comm = vbw_read_file(comm_path, 64, NULL);
    return comm == NULL || strncmp(comm, "postgres", 8) == 0 || strncmp(comm, "postmaster", 10) == 0 ? (pid_t)pid : 0;
}

/* Path of a program of the server's own version; a bare name is looked up in PATH. */
static char *program(const struct pgw *p, const struct pgw_facts *f, const char *name)
{
    const char *option = p->w.svc->option(p->w.h, "bin-directory");
    VBW_AUTO char *debian = vbw_printf("/usr/lib/postgresql/%s/bin", f->version);
    const char *const dirs[] = { option, f->bin_directory, debian };

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        if (dirs[i] == NULL || dirs[i][0] != '/')
            continue;
        char *path = vbw_join(dirs[i], name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return vbw_strdup(name);
}

static int start_limit_ms(const struct pgw *p, uint64_t *ms)
{
    uint64_t left = p->w.svc->deadline_ms(p->w.h);

    if (vbw_duration_ms(&p->w, "start-timeout", p->w.svc->option(p->w.h, "start-timeout"), 600000, ms) != 0)
        return -1;
    if (left > 2000 && *ms > left - 1000)
        *ms = left - 1000;
    return 0;
}

static int run_command(struct pgw *p, const char *what, char **argv, bool daemon)
{
    VBW_AUTO char *out = NULL;
    uint64_t ms;

    if (argv == NULL || argv[0] == NULL) {
        vbw_argv_free(argv);
        return vbw_fail(&p->w, VB_E_CONFIG, "correct the command in the writer's section",
                        "cannot %s the server: the command is empty or has "
                        "an open quote",
                        what);
    }
    if (start_limit_ms(p, &ms) != 0) {
        vbw_argv_free(argv);
        return -1;
    }
    int rc = vbw_run(argv, NULL, ms, daemon, &out);
    int e = errno;
    if (rc != 0)
        vbw_fail(&p->w, VB_E_WRITER_NON_RETRYABLE, "look at the server's log", "cannot %s the server: '%s' %s%s%s",
                 what, argv[0],
                 rc == -1   ? strerror(e)
                 : rc == -2 ? "did not end in time"
                            : "failed",
                 out != NULL && *out != '\0' ? ": " : "", out != NULL ? out : "");
    vbw_argv_free(argv);
    return rc == 0 ? 0 : -1;
}

static char **words(char *const *list)
{
    size_t n = 0;

    while (list[n] != NULL)
        n++;
    char **argv = vbw_alloc(n + 1, sizeof *argv);
    for (size_t i = 0; i < n; i++)
        argv[i] = vbw_strdup(list[i]);
    return argv;
}

/* Where pg_ctl finds the settings: Debian keeps them outside the data directory. */
static char *control_dir(const struct pgw_facts *f)
{
    return pgw_config_outside(f) && vbw_exists(f->config_file) ? vbw_dirname(f->config_file)
                                                               : vbw_strdup(f->data_directory);
}

static char **command(const struct pgw *p, const struct pgw_facts *f, const char *verb)
{
    VBW_AUTO char *key = vbw_printf("%s-command", verb);
    const char *own = p->w.svc->option(p->w.h, key), *service = p->w.svc->option(p->w.h, "service");
    VBW_AUTO char *ctl = program(p, f, "pg_ctl"), *dir = control_dir(f);
    VBW_AUTO char *log = vbw_join(p->w.svc->state_dir(p->w.h), "server.log");

    if (own != NULL)
        return vbw_argv(own);
    if (service != NULL)
        return words((char *[]){ (char[]){ "systemctl" }, (char *)(uintptr_t)verb, (char *)(uintptr_t)service, NULL });
    if (strcmp(verb, "stop") == 0)
        return words((char *[]){ ctl, (char[]){ "stop" }, (char[]){ "-D" }, f->data_directory, (char[]){ "-m" },
                                 (char[]){ "fast" }, (char[]){ "-w" }, NULL });
    return words(
        (char *[]){ ctl, (char[]){ "start" }, (char[]){ "-D" }, dir, (char[]){ "-l" }, log, (char[]){ "-w" }, NULL });
}

int pgw_stop(struct pgw *p, const struct pgw_facts *f)
{
    if (run_command(p, "stop", command(p, f, "stop"), false) != 0)
        return -1;
    for (int i = 0; i < 500 && pgw_running(f->data_directory) > 0; i++)
        vbw_nap_us(20000);
    if (pgw_running(f->data_directory) > 0)
        return vbw_fail(&p->w, VB_E_BUSY, "stop it by hand",
                        "the server on '%s' is still running after it was told to stop", f->data_directory);
    return 0;
}

/* The line of a log that says most: the last one with this mark; caller frees. */
static char *last_line(const char *log, const char *mark)
{
    const char *hit = NULL;

    for (const char *s = log; s != NULL && (s = strstr(s, mark)) != NULL; s++)
        hit = s;
    return hit != NULL ? vbw_printf("%.*s", (int)strcspn(hit, "\n"), hit) : NULL;
}

int pgw_start(struct pgw *p, const struct pgw_facts *f)
{
    VBW_AUTO char *own_log = vbw_join(p->w.svc->state_dir(p->w.h), "server.log"); /* of pg_ctl, unless told otherwise */
    uint64_t ms, until;

    if (start_limit_ms(p, &ms) != 0)
        return -1;
    until = vbw_now_us() + ms * 1000u;
    if (run_command(p, "start", command(p, f, "start"), true) != 0) {
        VBW_AUTO char *log = vbw_read_file(own_log, LOG_MAX, NULL);
        VBW_AUTO char *why = last_line(log, "FATAL:");
        return why == NULL ? -1
                           : vbw_fail(&p->w, VB_E_WRITER_NON_RETRYABLE, "look at the server's log",
                                      "cannot start the server: %s", why);
    }
    while (pgw_connect(p, true) != 0) {
        if (vbw_now_us() >= until || p->w.svc->shutting_down(p->w.h))
            return pgw_connect(p, false);
        vbw_nap_us(200000);
    }
    PGresult *r = pgw_query(p, p->conn, "look at the restored server",
                            "SELECT pg_is_in_recovery(), current_setting('data_directory')", 0, NULL);
    if (r == NULL)
        return -1;
    VBW_AUTO char *dir = realpath(PQgetvalue(r, 0, 1), NULL);
    bool recovery = PQgetvalue(r, 0, 0)[0] == 't', ours = dir == NULL || strcmp(dir, f->data_directory) == 0;
    PQclear(r);
    pgw_disconnect(p);
    if (!ours)
        return vbw_fail(&p->w, VB_E_CONFIG, "correct conninfo", "conninfo leads to another server, on '%s'", dir);
    return recovery ? vbw_fail(&p->w, VB_E_UNEXPECTED, NULL, "the started server is still in recovery") : 0;
}

/* ---- recovery ---- */

struct private_server {
    char *dir; /* short: the address of a unix socket holds 107 bytes */
    char *log, *hba, *conf;
    char *user; /* role */
    pid_t pid;
};

/* The role of conninfo, or our own name: the two ways in which people set a cluster up. */
static char *role(const struct pgw *p)
{
    const char *conninfo = p->w.svc->option(p->w.h, "conninfo");
    PQconninfoOption *o = conninfo != NULL ? PQconninfoParse(conninfo, NULL) : NULL;
    const struct passwd *pw = getpwuid(geteuid());
    char *user = NULL;

    for (PQconninfoOption *i = o; i != NULL && i->keyword != NULL; i++)
        if (strcmp(i->keyword, "user") == 0 && i->val != NULL && user == NULL)
            user = vbw_strdup(i->val);
    PQconninfoFree(o);
    return user != NULL ? user : vbw_strdup(pw != NULL ? pw->pw_name : "postgres");
}

static int prepare_private(struct pgw *p, const struct pgw_facts *f, struct private_server *s)
{
    static const char trust[] = "local all all trust\n";
    VBW_AUTO char *inside = vbw_join(f->data_directory, "postgresql.conf");

    s->dir = vbw_strdup("/tmp/vbackup-pg-XXXXXX");
    if (mkdtemp(s->dir) == NULL)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot create a directory in /tmp");
    s->hba = vbw_join(s->dir, "hba.conf");
    s->log = vbw_join(p->w.svc->state_dir(p->w.h), "recovery.log");
    s->user = role(p);
    unlink(s->log);
    if (f->config_file != NULL && access(f->config_file, R_OK) == 0)
        s->conf = vbw_strdup(f->config_file);
    else if (access(inside, R_OK) == 0)
        s->conf = vbw_strdup(inside);
    else
        s->conf = vbw_join(s->dir, "postgresql.conf");
    if (vbw_below(s->conf, s->dir) && vbw_write_file(s->conf, "", 0, 0600) != 0)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot write '%s'", s->conf);
    if (vbw_write_file(s->hba, trust, sizeof trust - 1, 0600) != 0)
        return vbw_fail_errno(&p->w, errno, NULL, "cannot write '%s'", s->hba);
    return 0;
}

/* Settings are given as words of the command: they beat every file, leave nothing behind, and meet no shell. */
static int launch(struct pgw *p, const struct pgw_facts *f, struct private_server *s)
{
    static const char *const fixed[] = {
        /* the targets that are emptied come before the one that is set */
        "listen_addresses=",
        "port=5432",
        "unix_socket_group=",
        "unix_socket_permissions=0700",
        "archive_mode=off",
        "archive_command=",
        "restore_command=/bin/false",
        "recovery_target_action=promote",
        "recovery_target_lsn=",
        "recovery_target_name=",
        "recovery_target_time=",
        "recovery_target_xid=",
        "recovery_target=immediate",
        "recovery_target_inclusive=on",
        "hot_standby=off",
        "primary_conninfo=",
        "primary_slot_name=",
        "synchronous_standby_names=",
        "ssl=off",
        "logging_collector=off",
        "log_destination=stderr",
        "log_min_messages=warning",
        "autovacuum=off",
        "max_logical_replication_workers=0",
        "external_pid_file=",
        "cluster_name=vbackup-restore",
    };
    enum { N = sizeof fixed / sizeof fixed[0] };
    struct vbw_list l = { NULL, 0, 0 };

    vbw_list_take(&l, program(p, f, "postgres"));
    vbw_list_take(&l, vbw_strdup("-D"));
    vbw_list_take(&l, vbw_strdup(f->data_directory));
    for (size_t i = 0; i < N + 4; i++) {
        vbw_list_take(&l, vbw_strdup("-c"));
        vbw_list_take(&l, i < N        ? vbw_strdup(fixed[i])
                          : i == N     ? vbw_printf("config_file=%s", s->conf)
                          : i == N + 1 ? vbw_printf("data_directory=%s", f->data_directory)
                          : i == N + 2 ? vbw_printf("hba_file=%s", s->hba)
                                       : vbw_printf("unix_socket_directories=%s", s->dir));
    }
    vbw_list_take(&l, NULL);
    int log = open(s->log, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    s->pid = log >= 0 ? fork() : -1;
    if (s->pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGQUIT); /* nobody would ever stop it */
        dup2(log, 1);
        dup2(log, 2);
        execvp(l.v[0], l.v);
        _exit(127);
    }
    int e = errno;
    if (log >= 0)
        close(log);
    vbw_list_clear(&l);
    return s->pid > 0 ? 0 : vbw_fail_errno(&p->w, e, NULL, "cannot start a server for the recovery");
}

static int died(struct pgw *p, const struct private_server *s)
{
    VBW_AUTO char *log = vbw_read_file(s->log, LOG_MAX, NULL);
    VBW_AUTO char *why = last_line(log, "FATAL:");
    VBW_AUTO char *panic = last_line(log, "PANIC:");

    return vbw_fail(&p->w, VB_E_CORRUPT, "the log of the recovery is in the writer's state directory",
                    "the restored cluster could not recover: %s",
                    panic != NULL ? panic
                    : why != NULL ? why
                                  : "the server program did not start");
}

static PGconn *connect_private(const struct private_server *s, const char *database)
{
    const char *const k[] = { "host", "port", "user", "dbname", "connect_timeout", "fallback_application_name", NULL };
    const char *const v[] = { s->dir, "5432", s->user, database, "10", "vbackup", NULL };
    PGconn *c = PQconnectdbParams(k, v, 0);

    if (PQstatus(c) == CONNECTION_OK)
        return c;
    PQfinish(c);
    return NULL;
}

static int wait_promoted(struct pgw *p, struct private_server *s)
{
    uint64_t ms, until;
    int status;

    if (start_limit_ms(p, &ms) != 0)
        return -1;
    until = vbw_now_us() + ms * 1000u;
    for (;;) {
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            return died(p, s);
        }
        PGconn *c = connect_private(s, "postgres");
        if (c != NULL) {
            PGresult *r = PQexec(c, "SELECT pg_is_in_recovery()");
            bool done = PQresultStatus(r) == PGRES_TUPLES_OK && PQgetvalue(r, 0, 0)[0] == 'f';
            PQclear(r);
            PQfinish(c);
            if (done)
                return 0;
        }
        if (vbw_now_us() >= until || p->w.svc->shutting_down(p->w.h))
            return vbw_fail(&p->w, VB_E_TIMEOUT, "raise start-timeout",
                            "the restored cluster did not end its recovery in time");
        vbw_nap_us(50000);
    }
}

/* Every database lets itself be opened and reads its catalogue through. */
static int try_databases(struct pgw *p, const struct private_server *s)
{
    PGconn *c = connect_private(s, "postgres");
    PGresult *names = pgw_query(p, c, "list the restored databases",
                                "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname", 0, NULL);
    int rc = names != NULL ? 0 : -1;

    for (int i = 0; rc == 0 && i < PQntuples(names); i++) {
        PGconn *d = connect_private(s, PQgetvalue(names, i, 0));
        rc = pgw_do(p, d, "read a restored database",
                    "SELECT count(*), max(attnum) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid");
        PQfinish(d);
    }
    PQclear(names);
    PQfinish(c);
    return rc;
}

static int scan_log(struct pgw *p, const struct private_server *s)
{
    static const char *const bad[] = { "PANIC:", "invalid page", "could not read block" };
    VBW_AUTO char *log = vbw_read_file(s->log, LOG_MAX, NULL);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        VBW_AUTO char *line = last_line(log, bad[i]);
        if (line != NULL)
            return vbw_fail(&p->w, VB_E_CORRUPT, "choose another backup", "the restored cluster is damaged: %s", line);
    }
    return 0;
}

static void stop_private(struct private_server *s)
{
    static const int how[] = { SIGINT, SIGQUIT, SIGKILL }; /* fast, immediate, by force */

    for (size_t i = 0; s->pid > 0 && i < sizeof how / sizeof how[0]; i++) {
        kill(s->pid, how[i]);
        for (int k = 0; k < 6000 && s->pid > 0; k++) {
            if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
                s->pid = 0;
            else
                vbw_nap_us(10000);
        }
    }
    if (s->dir != NULL) {
        vbw_empty_dir(s->dir);
        rmdir(s->dir);
    }
    free(s->dir);
    free(s->hba);
    free(s->conf);
    free(s->log);
    free(s->user);
}

int pgw_recover(struct pgw *p, const struct pgw_facts *f)
{
    struct private_server s = { .pid = 0 };
    int rc = prepare_private(p, f, &s);

    if (rc == 0)
        rc = launch(p, f, &s);
    if (rc == 0)
        rc = wait_promoted(p, &s);
    if (rc == 0)
        rc = try_databases(p, &s);
    if (rc == 0)
        rc = scan_log(p, &s);
    stop_private(&s);
    return rc;
}
