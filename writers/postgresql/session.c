/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/session.c - the connection to the server.
 */
#include "config.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "writers/postgresql/pgw.h"

/* A message of libpq on one line; caller frees. */
static char *one_line(const char *text)
{
    char *s = vbw_strdup(text != NULL ? text : "no reason given");
    size_t n = strlen(s);

    while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == ' '))
        s[--n] = '\0';
    for (char *c = s; *c != '\0'; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
    return s;
}

static bool names_database(const char *conninfo)
{
    PQconninfoOption *o = PQconninfoParse(conninfo, NULL);
    bool found = false;

    for (PQconninfoOption *i = o; i != NULL && i->keyword != NULL; i++)
        found = found || (strcmp(i->keyword, "dbname") == 0 && i->val != NULL);
    PQconninfoFree(o);
    return found;
}

int pgw_connect(struct pgw *p, bool quiet)
{
    const char *conninfo = p->w.svc->option(p->w.h, "conninfo");
    const char *k[5] = { "connect_timeout", "fallback_application_name" }, *v[5] = { "10", "vbackup" };
    size_t n = 2;

    pgw_disconnect(p);
    if (conninfo != NULL) { /* the first dbname is expanded, later parameters win */
        k[n] = "dbname";
        v[n++] = conninfo;
    }
    if (conninfo == NULL || !names_database(conninfo)) {
        k[n] = "dbname";
        v[n++] = "postgres";
    }
    p->conn = PQconnectdbParams(k, v, 1);
    if (PQstatus(p->conn) == CONNECTION_OK)
        return 0;
    VBW_AUTO char *why = one_line(PQerrorMessage(p->conn));
    pgw_disconnect(p);
    if (quiet) {
        p->w.svc->log(p->w.h, VB_WLOG_INFO, "the server does not answer: %s", why);
        return -1;
    }
    return vbw_fail(&p->w, VB_E_WRITER_RETRYABLE, "start the server, or correct conninfo in the writer's section",
                    "cannot connect to PostgreSQL: %s", why);
}

void pgw_disconnect(struct pgw *p)
{
    if (p->conn != NULL)
        PQfinish(p->conn);
    p->conn = NULL;
}

static void cancel(PGconn *c)
{
    char text[256];
    PGcancel *x = PQgetCancel(c);

    if (x != NULL)
        PQcancel(x, text, (int)sizeof text);
    PQfreeCancel(x);
}

/* Waits for the statement to end; false when it was given up. */
static bool wait_done(struct pgw *p, PGconn *c)
{
    uint64_t until = vbw_now_us() + p->w.svc->deadline_ms(p->w.h) * 1000u;
    bool given_up = false;

    while (PQisBusy(c)) {
        struct pollfd fd = { .fd = PQsocket(c), .events = POLLIN };
        if (!given_up && (p->w.svc->shutting_down(p->w.h) || vbw_now_us() >= until)) {
            cancel(c);
            given_up = true;
            until = vbw_now_us() + 2000000u; /* the answer to the cancel */
        } else if (given_up && vbw_now_us() >= until) {
            return false;
        }
        poll(&fd, 1, 50);
        if (PQconsumeInput(c) == 0)
            return false;
    }
    return true;
}

PGresult *pgw_query(struct pgw *p, PGconn *c, const char *what, const char *sql, int n, const char *const *values)
{
    PGresult *last = NULL, *r;

    if (c == NULL || PQsendQueryParams(c, sql, n, NULL, values, NULL, NULL, 0) != 1) {
        VBW_AUTO char *why = one_line(c != NULL ? PQerrorMessage(c) : "there is no session");
        vbw_fail(&p->w, VB_E_WRITER_RETRYABLE, NULL, "cannot %s: %s", what, why);
        return NULL;
    }
    if (!wait_done(p, c)) {
        VBW_AUTO char *why = one_line(PQerrorMessage(c));
        vbw_fail(&p->w, VB_E_WRITER_TIMEOUT, NULL, "cannot %s: given up: %s", what, why);
        return NULL;
    }
    while ((r = PQgetResult(c)) != NULL) {
        PQclear(last);
        last = r;
    }
    ExecStatusType status = PQresultStatus(last);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return last;
    const char *state = last != NULL ? PQresultErrorField(last, PG_DIAG_SQLSTATE) : NULL;
    bool denied = state != NULL && strcmp(state, "42501") == 0;
    VBW_AUTO char *why = one_line(last != NULL ? PQresultErrorMessage(last) : PQerrorMessage(c));
    vbw_fail(&p->w, denied ? VB_E_ACCESS_DENIED : VB_E_WRITER_RETRYABLE,
             denied ? "grant the role what vbackup-writer-postgresql(8) lists" : NULL, "cannot %s: %s", what, why);
    PQclear(last);
    return NULL;
}

int pgw_do(struct pgw *p, PGconn *c, const char *what, const char *sql)
{
    PGresult *r = pgw_query(p, c, what, sql, 0, NULL);

    PQclear(r);
    return r != NULL ? 0 : -1;
}
