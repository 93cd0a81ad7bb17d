/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/tracking/mutate.c - random changes to a tree.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/tracking/mutate.h"

#define DIRS 12u
#define NAMES 14u
#define SIZE 40000u

/* A random directory of three levels, not always there. */
static char *some_dir(struct vb_rng *r)
{
    unsigned a = (unsigned)vb_rng_below(r, DIRS), b = (unsigned)vb_rng_below(r, DIRS), c = (unsigned)vb_rng_below(r, 4);
    switch (vb_rng_below(r, 4)) {
    case 0: return vb_strdup(".");
    case 1: return vb_printf("d%u", a);
    case 2: return vb_printf("d%u/d%u", a, b);
    default: return vb_printf("d%u/d%u/d%u", a, b, c);
    }
}

static char *some_file(struct vb_rng *r)
{
    VB_AUTO_FREE char *d = some_dir(r);
    return vb_printf("%s/f%u", d, (unsigned)vb_rng_below(r, NAMES));
}

static void fill(struct vb_rng *r, unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)vb_rng_next(r);
}

static bool create(int at, struct vb_rng *r, const char *name, size_t n)
{
    VB_AUTO_FREE unsigned char *p = vb_alloc(n + 1);
    VB_AUTO_FD int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    fill(r, p, n);
    return fd >= 0 && write(fd, p, n) == (ssize_t)n;
}

void mutate_grow(int at, struct vb_rng *r, unsigned files)
{
    for (unsigned i = 0; i < files * 20 && files; i++) {
        VB_AUTO_FREE char *d = some_dir(r), *f = some_file(r);
        mkdirat(at, d, 0755);
        if (create(at, r, f, vb_rng_below(r, 3000)))
            files--;
    }
}

/* Writes somewhere in the middle; same size, and the old times are put back if asked for. */
static bool scribble(int at, struct vb_rng *r, const char *name, bool put_back)
{
    struct stat st;
    unsigned char p[64];
    VB_AUTO_FD int fd = openat(at, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof p)
        return false;
    fill(r, p, sizeof p);
    off_t where = (off_t)vb_rng_below(r, (uint64_t)st.st_size - sizeof p + 1);
    if (pwrite(fd, p, sizeof p, where) != (ssize_t)sizeof p)
        return false;
    struct timespec t[2] = { st.st_atim, st.st_mtim };
    return !put_back || futimens(fd, t) == 0;
}

/* Another file with the same name, size and mtime. */
static bool impostor(int at, struct vb_rng *r, const char *name)
{
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)SIZE ||
        unlinkat(at, name, 0) < 0 || !create(at, r, name, (size_t)st.st_size))
        return false;
    struct timespec t[2] = { st.st_atim, st.st_mtim };
    return utimensat(at, name, t, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool punch(int at, struct vb_rng *r, const char *name)
{
    VB_AUTO_FD int fd = openat(at, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)vb_rng_below(r, 4) * 4096, 4096) == 0;
}

static bool map_write(int at, struct vb_rng *r, const char *name)
{
    struct stat st;
    VB_AUTO_FD int fd = openat(at, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    unsigned char *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    p[vb_rng_below(r, (uint64_t)st.st_size)]++;
    return munmap(p, (size_t)st.st_size) == 0;
}

static bool set_attribute(int at, struct vb_rng *r, const char *name)
{
    char value[8];
    VB_AUTO_FD int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int n = snprintf(value, sizeof value, "%u", (unsigned)vb_rng_below(r, 1000));
    if (fd < 0)
        return false;
    if (vb_rng_chance(r, 300))
        return fremovexattr(fd, "user.test") == 0;
    return fsetxattr(fd, "user.test", value, (size_t)n, 0) == 0;
}

static bool set_time(int at, struct vb_rng *r, const char *name)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT },
                             { .tv_sec = (time_t)vb_rng_below(r, 2000000000), .tv_nsec = (long)vb_rng_below(r, 1000000000) } };
    return utimensat(at, name, t, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool remove_any(int at, const char *name)
{
    return unlinkat(at, name, 0) == 0 || unlinkat(at, name, AT_REMOVEDIR) == 0;
}

const char *mutate_once(int at, struct vb_rng *r)
{
    VB_AUTO_FREE char *f = some_file(r), *g = some_file(r), *d = some_dir(r), *e = some_dir(r);
    const char *any = vb_rng_chance(r, 500) ? f : d;
    switch (vb_rng_below(r, 20)) {
    case 0: return create(at, r, f, vb_rng_below(r, SIZE)) ? "create or overwrite" : NULL;
    case 1: return scribble(at, r, f, false) ? "write" : NULL;
    case 2: return scribble(at, r, f, true) ? "write, time put back" : NULL;
    case 3: return impostor(at, r, f) ? "delete and recreate, same size and time" : NULL;
    case 4: {
        VB_AUTO_FD int fd = openat(at, f, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        return fd >= 0 && ftruncate(fd, (off_t)vb_rng_below(r, SIZE)) == 0 ? "truncate" : NULL;
    }
    case 5: return renameat(at, f, at, g) == 0 ? "rename file" : NULL;
    case 6: return strcmp(d, ".") && strcmp(e, ".") && renameat(at, d, at, e) == 0 ? "rename directory" : NULL;
    case 7: return renameat2(at, d, at, e, RENAME_EXCHANGE) == 0 ? "exchange directories" : NULL;
    case 8: return linkat(at, f, at, g, 0) == 0 ? "hard link" : NULL;
    case 9: return fchmodat(at, any, (mode_t)(0700 | vb_rng_below(r, 64)), 0) == 0 ? "chmod" : NULL;
    case 10: return set_attribute(at, r, any) ? "attribute" : NULL;
    case 11: return set_time(at, r, any) ? "time" : NULL;
    case 12: return map_write(at, r, f) ? "store through a mapping" : NULL;
    case 13: return punch(at, r, f) ? "punch a hole" : NULL;
    case 14: return remove_any(at, f) ? "remove" : NULL;
    case 15: return mkdirat(at, d, 0755) == 0 ? "make directory" : NULL;
    case 16: return symlinkat(g, at, f) == 0 ? "symbolic link" : NULL;
    case 17: return mkfifoat(at, f, 0600) == 0 ? "fifo" : NULL;
    case 18: return renameat2(at, f, at, g, RENAME_EXCHANGE) == 0 ? "exchange files" : NULL;
    default: return geteuid() == 0 && fchownat(at, any, (uid_t)vb_rng_below(r, 5), 3, AT_SYMLINK_NOFOLLOW) == 0
                        ? "chown" : NULL;
    }
}

/* ---- a mapping that lasts ---- */

static unsigned char *mapped;
static size_t mapped_size;

void mutate_map(int at, struct vb_rng *r)
{
    mutate_unmap();
    for (unsigned tries = 0; tries < 200 && !mapped; tries++) {
        VB_AUTO_FREE char *f = some_file(r);
        struct stat st;
        VB_AUTO_FD int fd = openat(at, f, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
            continue;
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED) {
            mapped = p;
            mapped_size = (size_t)st.st_size < 4096 ? (size_t)st.st_size : 4096; /* it may be cut behind us */
        }
    }
}

void mutate_store(struct vb_rng *r)
{
    if (mapped)
        mapped[vb_rng_below(r, mapped_size)]++;
}

void mutate_unmap(void)
{
    if (mapped)
        munmap(mapped, mapped_size);
    mapped = NULL;
}
