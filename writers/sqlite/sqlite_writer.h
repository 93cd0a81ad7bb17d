/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writers/sqlite/sqlite_writer.h - one database of the SQLite writer: lock, check, move aside, verify (lock.c).
 */
#ifndef VB_WRITERS_SQLITE_WRITER_H
#define VB_WRITERS_SQLITE_WRITER_H

#include <sqlite3.h>
#include <sys/types.h>
#include "writers/support/support.h"

struct sqw_db {
    char *name, *path;
    bool chosen;      /* takes part in this session */
    sqlite3 *conn;    /* from prepare_snapshot to the release */
    bool locked, wal; /* wal: the lock is in the -shm file */
    dev_t dev;        /* the file that was opened */
    ino_t ino;
    const char *lost; /* why the lock does not count, static */
};

struct sqlite_writer {
    struct vbw w;
    struct sqw_db *db; /* sorted by path */
    size_t n;
};

/* Opens the connection in the database's own journal mode; nothing is locked yet. */
int sqw_connect(const struct vbw *w, struct sqw_db *d);
/* BEGIN IMMEDIATE, tried every half millisecond until `until_us` (the library's own back-off loses every race). */
int sqw_lock(const struct vbw *w, struct sqw_db *d, uint64_t until_us);
/* Sets d->lost unless the lock was ours all the time on the file that still bears the name. */
void sqw_check_held(struct sqw_db *d);
/* Rolls back and closes; harmless when there is nothing. */
void sqw_release(struct sqw_db *d);

/* Fails when another process has the database open (as far as locks can tell). */
int sqw_check_unused(const struct vbw *w, const char *path);
/* Moves the database, -wal, -shm and -journal to *.vbackup-old-TIME. */
int sqw_move_aside(const struct vbw *w, const char *path);
/* quick_check, integrity_check, foreign_key_check. */
int sqw_verify(const struct vbw *w, const char *path);

#endif
