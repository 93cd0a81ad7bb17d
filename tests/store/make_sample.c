/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/make_sample.c - writes a small repository, and beside it what its first backup holds, for readers that
 * know the format from its man page only.
 *
 *     make_sample DIRECTORY     makes DIRECTORY/repo and DIRECTORY/files
 *
 * Nothing is compressed, so that the reader needs no zstd.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/store/fixture.h"

struct out {
    struct vb_repo *repo;
    int dir;
};

static int extract(void *arg, const char *path, const struct vb_tree_entry *e, struct vb_error *err)
{
    struct out *o = arg;
    VB_AUTO_BUF bytes = VB_BUF_INIT;
    if (e->type == VB_TREE_DIR)
        return *path && mkdirat(o->dir, path, 0700) < 0 ? vb_fail_errno(err, errno, "'%s'", path) : 0;
    if (e->type != VB_TREE_FILE)
        return 0;
    if (vb_repo_get_bytes(o->repo, VB_CHUNK_DATA, &e->content, 1 << 26, &bytes, err) < 0)
        return -1;
    return vb_write_file_at(o->dir, path, bytes.data, bytes.len, 0600, err);
}

static int run(const char *where, struct vb_error *err)
{
    const struct fixture_size size = { 3, 9, 900000 }; /* files of more than 256 chunks */
    struct vb_repo_params params = VB_REPO_PARAMS_DEFAULT;
    VB_AUTO_FREE char *path = vb_path_join(where, "repo");
    VB_AUTO_FREE char *files = vb_path_join(where, "files");
    params.compression = 0;
    if (vb_repo_init(path, &params, FIXTURE_NOW, err) < 0 ||
        fixture_run(vb_backend_dir_open(path, false, NULL), 1, size, err) < 0 || mkdir(files, 0700) < 0)
        return -1;
    struct out o = { vb_repo_open(path, VB_REPO_READ, err), open(files, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    struct vb_catalog_entry *e = o.repo ? vb_repo_find(o.repo, "latest", NULL, err) : NULL;
    int result = e ? fixture_verify(o.repo, "latest", size, err) : -1;
    if (result == 0)
        result = vb_tree_walk(o.repo, &e->hosts[0].components[0].roots[0].tree, extract, &o, err);
    vb_catalog_entry_free(e);
    vb_repo_close(o.repo);
    vb_close_fd(&o.dir);
    return result;
}

int main(int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    if (argc != 2)
        return 2;
    if (run(argv[1], &err) == 0)
        return 0;
    fprintf(stderr, "make_sample: %s\n", vb_error_text(&err));
    return 1;
}
