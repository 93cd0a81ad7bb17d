/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* requester/replica_jobs.h - several targets at once, each in a thread of its own; what they print does not mix. */
#ifndef VB_REQUESTER_REPLICA_JOBS_H
#define VB_REQUESTER_REPLICA_JOBS_H

#include <stddef.h>

#define VB_REPLICA_JOBS 4u

/* Calls fn for 0 to n - 1, at most `jobs` at a time; returns when all are done. */
void vb_replica_jobs(size_t n, unsigned jobs, void (*fn)(void *arg, size_t i), void *arg);
void vb_replica_print_begin(void);
void vb_replica_print_end(void);

#endif
