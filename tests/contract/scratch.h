/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/contract/scratch.h - the host H of a test program, files in its scratch directory, and a null writer to look at.
 */
#ifndef VB_TESTS_CONTRACT_SCRATCH_H
#define VB_TESTS_CONTRACT_SCRATCH_H

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "base/text.h"
#include "tests/cm.h"
#include "tests/contract/expect.h"
#include "tests/contract/host.h"

static struct host H;

static inline uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static inline void put(const char *name, const char *text)
{
    VB_AUTO_FREE char *path = host_path(name);
    VB_AUTO_ERROR err = VB_ERROR_INIT;

    assert_ok(vb_write_file_at(AT_FDCWD, path, text, strlen(text), 0644, &err));
}

static inline char *get(const char *name)
{
    VB_AUTO_FREE char *path = host_path(name);
    struct vb_buf b = VB_BUF_INIT;

    if (vb_read_file_at(AT_FDCWD, path, 1 << 20, &b, NULL) != 0)
        return vb_strdup("");
    return vb_buf_take_str(&b);
}

static inline void make_dir(const char *name)
{
    VB_AUTO_FREE char *path = host_path(name);

    mkdir(path, 0755);
}

static inline int reset(void **state)
{
    (void)state;
    host_init(&H);
    return 0;
}

static inline int clear(void **state)
{
    (void)state;
    host_clear(&H);
    host_cleanup();
    return 0;
}
static inline void start_null(const char *more)
{
    VB_AUTO_FREE char *config = vb_printf("[writer null]\ncomponent = a\nevent-log = %s/log\n%s", host_dir(), more);

    GOOD(host_start(&H, "null", "null", config));
}

static inline void freeze_null(void)
{
    GOOD(host_choose(&H, false, NULL));
    GOOD(host_event(&H, VB_EV_PREPARE_BACKUP));
    GOOD(host_event(&H, VB_EV_PREPARE_SNAPSHOT));
    GOOD(host_event(&H, VB_EV_FREEZE));
}
#define T(fn)                                                                                                          \
    {                                                                                                                  \
#fn, fn, reset, clear, NULL                                                                                    \
    }

#endif
