/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/postgresql/pgw.h - the parts of the PostgreSQL writer.
 *
 *   postgresql.c  callbacks, components
 *   text.c        the facts as text, names and contents of log files (no server, no connection)
 *   facts.c       what is known of the cluster: asked from the server, remembered on disk, carried in the backup
 *   session.c     the connection: queries with a time limit that notice when the agent is gone
 *   backup.c      backup mode around the snapshot, and the write-ahead log that makes the copy usable
 *   restore.c     making room, and the label, log and settings that recovery needs
 *   server.c      finding, stopping and starting the server program
 */
#ifndef VB_WRITERS_PGW_H
#define VB_WRITERS_PGW_H

#include <libpq-fe.h>
#include "writers/support/support.h"

#define PGW_CLUSTER "cluster" /* component: data directory, tablespaces, log */
#define PGW_CONFIG "config"   /* component: settings that live outside the data directory */

struct pgw_facts {
    char *data_directory, *config_file, *hba_file, *ident_file;
    char *version;       /* "15": the major version as in PG_VERSION */
    char *system_id;     /* may be NULL */
    char *bin_directory; /* may be NULL */
    unsigned long segment_size;
    struct vbw_list ts_oid, ts_location; /* tablespaces outside the data directory, same index */
};

struct pgw {
    struct vbw w;
    struct pgw_facts facts;
    /* the backup session */
    PGconn *conn;
    int lock_fd;        /* one backup of this cluster at a time */
    bool wants_cluster; /* component cluster takes part */
    bool started;       /* pg_backup_start has returned on conn */
    bool stopped;       /* pg_backup_stop has: label and map are here */
    char *label, *map, *start_lsn, *stop_lsn, *stop_file;
    struct vbw_list wal; /* names of the copied segments */
};

/* ---- facts.c ---- */

void pgw_facts_clear(struct pgw_facts *f);
/* Asks the server over p->conn. */
int pgw_facts_ask(struct pgw *p);
/* From the state directory, else from the configured data directory; 1 if there is something, 0 if nothing is known.
 */
int pgw_facts_recall(struct pgw *p);
/* Keeps them in the state directory for the day when the server cannot be asked. */
int pgw_facts_remember(struct pgw *p);
/* As lines of key=value, and back (unknown keys are skipped). */
char *pgw_facts_text(const struct pgw_facts *f);
void pgw_facts_parse(struct pgw_facts *f, const char *text);
/* Value of one line of such a text; NULL if it is not there; caller frees. */
char *pgw_line(const char *text, const char *key);
/* True if the settings lie outside the data directory. */
bool pgw_config_outside(const struct pgw_facts *f);

/* ---- session.c ---- */

/* Connects with `conninfo` of the configuration, 10 s at most.  quiet: no failure is recorded, only logged. */
int pgw_connect(struct pgw *p, bool quiet);
void pgw_disconnect(struct pgw *p);
/* Runs one statement on c within the callback's time; NULL after a recorded failure "cannot WHAT: ...".  Cancels when
 * the agent is gone. */
PGresult *pgw_query(struct pgw *p, PGconn *c, const char *what, const char *sql, int n, const char *const *values);
/* The same without a result. */
int pgw_do(struct pgw *p, PGconn *c, const char *what, const char *sql);

/* ---- backup.c ---- */

int pgw_prepare_backup(struct pgw *p);
int pgw_prepare_snapshot(struct pgw *p);
int pgw_freeze(struct pgw *p);
int pgw_thaw(struct pgw *p);
int pgw_post_snapshot(struct pgw *p);
/* Ends the session and removes the copies of the log; repeatable. */
void pgw_release(struct pgw *p);
/* The same, and what a process that has died left behind. */
void pgw_shutdown(struct pgw *p);
/* Where the copies lie while a backup needs them. */
char *pgw_wal_place(const struct pgw *p);
/* ---- text.c: see also pgw_facts_text, pgw_facts_parse, pgw_line ---- */

/* The segments from first to last as names, both included; -1 if they are not of one timeline or out of order. */
int pgw_wal_names(const char *first, const char *last, unsigned long segment_size, struct vbw_list *names);
/* A segment file bears its own address and timeline in its first page: NULL, or what is wrong (static). */
const char *pgw_wal_check(const char *path, const char *name, unsigned long segment_size);
/* Name of a timeline's history file. */
bool pgw_is_history(const char *name);

/* ---- restore.c ---- */

int pgw_pre_restore(struct pgw *p);
int pgw_post_restore(struct pgw *p);

/* ---- server.c ---- */

/* Process of the server that runs on a data directory, or 0. */
pid_t pgw_running(const char *data_directory);
int pgw_stop(struct pgw *p, const struct pgw_facts *f);
int pgw_start(struct pgw *p, const struct pgw_facts *f);
/* Recovery, out of everybody's reach: a server of our own on a private socket, until it has been promoted and every
 * database answers; then it is stopped. */
int pgw_recover(struct pgw *p, const struct pgw_facts *f);

#endif
