/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/memlock.c - see memlock.h.
 */
#include "config.h"
#include "base/memlock.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

/* One line of /proc/self/maps: 7f0000000000-7f0000001000 r--p 00000000 08:01 1234   /path */
static void lock_mapping(const char *line)
{
    unsigned long from, to, inode;
    char rights[5];
    if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &from, &to, rights, &inode) != 4 || to <= from || strstr(line, "[v"))
        return;
    if (inode && !strcmp(rights, "r--p") && to - from > VB_MEMLOCK_TABLE_MAX)
        return;
    (void)mlock((void *)(uintptr_t)from, to - from);
}

void vb_memory_lock(void)
{
    VB_AUTO_FREE char *line = NULL;
    size_t cap = 0;
    VB_AUTO_FILE FILE *f = fopen("/proc/self/maps", "re");
    if (!f) {
        (void)mlockall(MCL_CURRENT);
        return;
    }
    while (getline(&line, &cap, f) > 0)
        lock_mapping(line);
}
