/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/base/scratch.h - a private directory per test: scratch_start and scratch_end as setup and teardown. */
#ifndef VB_TESTS_SCRATCH_H
#define VB_TESTS_SCRATCH_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"

static char *scratch_path;
static int scratch_fd = -1;

static inline int scratch_start(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    scratch_path = vb_printf("%s/vbackup-unit.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(scratch_path)) {
        return -1;
    }
    scratch_fd = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return scratch_fd < 0 ? -1 : 0;
}

static inline int scratch_end(void **state)
{
    (void)state;
    vb_close_fd(&scratch_fd);
    int r = vb_remove_tree_at(AT_FDCWD, scratch_path, NULL);
    free(scratch_path);
    scratch_path = NULL;
    return r;
}

#endif
