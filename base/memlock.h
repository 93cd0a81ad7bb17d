/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/memlock.h - keeping the pages of this process in memory while a file system that they may come from is frozen.
 */
#ifndef VB_BASE_MEMLOCK_H
#define VB_BASE_MEMLOCK_H

#include <stddef.h>

/* Read-only tables that are larger are left out: of libraries that we have through others (character data of libicu, behind
 * libxml2: 30 MB) nothing is read, and to fetch all of it would take time in the freeze window. */
#define VB_MEMLOCK_TABLE_MAX ((size_t)4 << 20)

/* Locks what is mapped now, as mlockall(MCL_CURRENT) but without those tables, as far as the rights of the process go.
 * munlockall() undoes it. */
void vb_memory_lock(void);
/* Before the window opens: what vb_memory_lock would have to open then.  Each process for itself. */
void vb_memory_lock_prepare(void);

#endif
