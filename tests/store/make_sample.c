/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/make_sample.c - writes a small repository, and beside it what its first backup holds, for readers that
 * know the format from its man page only.
 *
 *     make_sample DIRECTORY                 makes DIRECTORY/repo (its password is "correct horse"), DIRECTORY/plain,
 *                                           the same without encryption, and DIRECTORY/files
 *     make_sample --extract REPO DIRECTORY  reads the newest backup of a repository that this made, of any format
 *     make_sample --append REPO             adds another backup to it, and reads all
 *
 * Nothing is compressed, so that the reader needs no zstd.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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

static int extract_newest(const char *repo, const char *files, struct vb_error *err)
{
    if (mkdir(files, 0700) < 0)
        return vb_fail_errno(err, errno, "'%s'", files);
    struct out o = { vb_repo_open_auth(repo, VB_REPO_READ, &fixture_auth, err),
                     open(files, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    struct vb_catalog_entry *e = o.repo ? vb_repo_find(o.repo, "latest", NULL, err) : NULL;
    int result = e ? vb_tree_walk(o.repo, &e->hosts[0].components[0].roots[0].tree, extract, &o, err) : -1;
    vb_catalog_entry_free(e);
    vb_repo_close(o.repo);
    vb_close_fd(&o.dir);
    return result;
}

static const struct fixture_size small = { 2, 4, 9000 };

static int append(const char *repo, struct vb_error *err)
{
    unsigned n = 0;
    if (fixture_run(vb_backend_dir_open(repo, false, NULL), 2, small, err) < 0)
        return -1;
    struct vb_repo *r = vb_repo_open_auth(repo, VB_REPO_READ, &fixture_auth, err);
    int result = r ? fixture_verify_all(r, small, &n, err) : -1;
    if (result == 0)
        result = vb_repo_check(r, true, NULL, NULL, err);
    vb_repo_close(r);
    return result == 0 && n != 2 ? vb_fail(err, VB_E_UNEXPECTED, "%u backups", n) : result;
}

static int make(const char *path, const struct vb_repo_auth *auth, struct vb_error *err)
{
    const struct fixture_size size = { 3, 9, 900000 }; /* files of more than 256 chunks */
    struct vb_repo_params params = VB_REPO_PARAMS_DEFAULT;
    params.compression = 0;
    params.auth = auth;
    params.key_cost = 4;
    if (vb_repo_init(path, &params, FIXTURE_NOW, err) < 0)
        return -1;
    return fixture_run(vb_backend_dir_open(path, false, NULL), 1, size, err);
}

static int run(const char *where, struct vb_error *err)
{
    VB_AUTO_FREE char *sealed = vb_path_join(where, "repo");
    VB_AUTO_FREE char *plain = vb_path_join(where, "plain");
    VB_AUTO_FREE char *files = vb_path_join(where, "files");
    if (make(sealed, &fixture_auth, err) < 0 || make(plain, NULL, err) < 0)
        return -1;
    return extract_newest(sealed, files, err);
}

int main(int argc, char **argv)
{
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    int result = -1;
    if (argc == 2)
        result = run(argv[1], &err);
    else if (argc == 4 && strcmp(argv[1], "--extract") == 0)
        result = extract_newest(argv[2], argv[3], &err);
    else if (argc == 3 && strcmp(argv[1], "--append") == 0)
        result = append(argv[2], &err);
    else
        return 2;
    if (result == 0)
        return 0;
    fprintf(stderr, "make_sample: %s\n", vb_error_text(&err));
    return 1;
}
