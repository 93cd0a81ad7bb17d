/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/fuzz/fuzz_tar_in.c - archives from strangers: refused, or a file set that can be walked to its end. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "requester/tar_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUNS_PER_REPOSITORY 500u

static struct vb_repo *fresh(struct vb_repo *old)
{
    struct vb_repo_params params = VB_REPO_PARAMS_DEFAULT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    params.compression = 0;
    vb_repo_close(old);
    struct vb_backend *b = vb_backend_memory_new();
    struct vb_repo *r = vb_repo_init_on(b, &params, 1, &err) == 0 ? vb_repo_open_on(b, VB_REPO_WRITE, &err) : NULL;
    if (!r || vb_repo_lock(r, 1, &err) < 0)
        abort();
    return r;
}

static struct vb_repo *repo;

static void done(void)
{
    vb_repo_close(repo);
}

static int see(void *arg, const char *path, const struct vb_tree_entry *entry, struct vb_error *err)
{
    (void)err;
    if (strstr(path, "..") && (strncmp(path, "../", 3) == 0 || strstr(path, "/../") || strcmp(path, "..") == 0))
        abort();
    *(uint64_t *)arg += entry->type != VB_TREE_DIR;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs;
    struct vb_tar_in_result got;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    uint64_t files = 0;
    if (runs++ % RUNS_PER_REPOSITORY == 0)
        repo = fresh(repo);
    if (runs == 1)
        atexit(done);
    VB_AUTO_FD int fd = memfd_create("archive", MFD_CLOEXEC);
    if (fd < 0 || vb_write_all(fd, data, size, NULL) < 0 || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    struct vb_tar_in *t = vb_tar_in_new(repo, 0, &err);
    if (!t)
        abort();
    if (vb_tar_in_archive(t, fd, &err) == 0 && vb_tar_in_finish(t, &got, &err) == 0 &&
        (vb_repo_flush(repo, &err) < 0 || vb_tree_walk(repo, &got.root, see, &files, &err) != 0 || files < got.files))
        abort();
    vb_tar_in_free(t);
    return 0;
}
