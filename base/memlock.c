/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/memlock.c - see memlock.h.
 */
#include "config.h"
#include "base/memlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Opened before the window: in it nothing is opened. */
static int maps = -1;
static pid_t maps_of;

void vb_memory_lock_prepare(void)
{
    vb_close_fd(&maps);
    maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    maps_of = getpid();
}

void vb_memory_lock(void)
{
    static char b[16384]; /* one thread asks */
    size_t have = 0;
    if (maps < 0 || maps_of != getpid())
        vb_memory_lock_prepare();
    if (maps < 0 || lseek(maps, 0, SEEK_SET) < 0) {
        (void)mlockall(MCL_CURRENT);
        return;
    }
    for (;;) {
        ssize_t n = read(maps, b + have, sizeof b - 1 - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        have += (size_t)n;
        b[have] = 0;
        char *at = b;
        for (char *end; (end = strchr(at, '\n')); at = end + 1) {
            *end = 0;
            lock_mapping(at);
        }
        have -= (size_t)(at - b);
        if (have == sizeof b - 1) /* no path is that long */
            have = 0;
        memmove(b, at, have);
    }
}
