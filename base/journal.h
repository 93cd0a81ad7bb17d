/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/journal.h - an append-only record of transitions, written before acting (house plan, idea 3).
 *
 * One text line per record: "<seq> <crc32 hex> <payload>\n"; payload is free of newlines (callers write
 * short key=value words; values are percent-escaped by vb_journal_add_kv).  Reading stops at the first
 * damaged line: a torn tail is what a crash leaves and is dropped, not an error.  Seq starts at 1.
 *
 * Two backings: a file under a directory descriptor, and memory (simulation, tests).
 *
 * Fault points: after the n-th record of a journal opened with role R has been written and before the
 * call returns, the process kills itself with SIGKILL if the environment says VBACKUP_TEST_KILL=R:n
 * (only in builds with --enable-fault-points, which `make check` uses; a release build has none).
 * VBACKUP_TEST_FULL=R:n lets the n-th record of such a journal and all after it fail as on a full disk;
 * R:n! only the n-th.
 */
#ifndef VB_BASE_JOURNAL_H
#define VB_BASE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

struct vb_journal;

/* Opens or creates (0600) name below dirfd for appending; the torn tail is cut off first.
 * role: "requester", "worker", "supervisor", "relay" ... */
struct vb_journal *vb_journal_open(int dirfd, const char *name, const char *role, struct vb_error *err);
struct vb_journal *vb_journal_memory(const char *role);
void vb_journal_close(struct vb_journal *j); /* NULL ok */

/* Appends one record; sync: fdatasync before returning.  The text must not contain a newline. */
int vb_journal_add(struct vb_journal *j, bool sync, struct vb_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* While held, records stay in locked memory and nothing is written: the freeze window.  vb_journal_release
 * writes them out, syncs, and returns the first error. */
void vb_journal_hold(struct vb_journal *j);
int vb_journal_release(struct vb_journal *j, struct vb_error *err);

/* Calls fn for every whole record, oldest first; fn returning non-zero stops and is returned. */
typedef int vb_journal_fn(void *arg, uint64_t seq, const char *record);
int vb_journal_replay(struct vb_journal *j, vb_journal_fn *fn, void *arg, struct vb_error *err);
uint64_t vb_journal_count(const struct vb_journal *j);

/* Percent-escapes space, '%', '=', newline and non-printables; caller frees. */
char *vb_journal_escape(const char *s);
/* Value of key=... in a record, unescaped, or NULL; caller frees. */
char *vb_journal_value(const char *record, const char *key);

/* General fault point for code without a journal record at hand: counts per role as the journal does. */
void vb_fault_point(const char *role);

#endif
