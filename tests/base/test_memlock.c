/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/base/test_memlock.c - what is mapped is brought into memory and locked, large tables of libraries are not.
 */
#include "config.h"

#include "tests/cm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/memlock.h"

/* Kilobytes of this mapping that are locked. */
static unsigned long locked(const void *at)
{
    VB_AUTO_FREE char *line = NULL;
    size_t cap = 0;
    bool here = false;
    unsigned long from, to, kib = 0;
    VB_AUTO_FILE FILE *f = fopen("/proc/self/smaps", "re");
    assert_non_null(f);
    while (getline(&line, &cap, f) > 0) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)at >= from && (uintptr_t)at < to;
        else if (here && sscanf(line, "Locked: %lu", &kib) == 1)
            return kib;
    }
    return 0;
}

static void all_but_large_tables_is_locked(void **state)
{
    char name[] = "/tmp/vb-memlock-XXXXXX";
    size_t large = VB_MEMLOCK_TABLE_MAX + 4096;
    VB_AUTO_FD int fd = mkstemp(name);
    (void)state;
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(ftruncate(fd, (off_t)large), 0);
    void *table = mmap(NULL, large, PROT_READ, MAP_PRIVATE, fd, 0);
    void *small = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
    void *heap = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(table != MAP_FAILED && small != MAP_FAILED && heap != MAP_FAILED);
    if (mlock(small, 4096) < 0)
        CM_SKIP("no memory may be locked here");
    if (!locked(small))
        CM_SKIP("the sanitizers take no lock");
    munlockall();
    vb_memory_lock();
    assert_int_equal(locked(table), 0);
    if (geteuid() == 0) { /* others may lock a little only */
        assert_int_equal(locked(small), 8);
        assert_true(locked(heap) >= 64); /* the kernel joins it with its neighbours */
    }
    munlockall();
    assert_int_equal(locked(heap), 0);
    munmap(table, large);
    munmap(small, 8192);
    munmap(heap, 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_large_tables_is_locked),
    };
    return CM_RUN("memlock", tests);
}
