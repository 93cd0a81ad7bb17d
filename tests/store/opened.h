/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/opened.h - a locked repository in memory as setup and teardown of a test, and the shortest put and get.
 */
#ifndef VB_TESTS_STORE_OPENED_H
#define VB_TESTS_STORE_OPENED_H

#include "base/mem.h"
#include "tests/store/fixture.h"

/* A locked repository in memory; the first handle keeps the files alive. */
struct bench {
    struct vb_backend *files;
    struct vb_repo *repo;
};

static inline struct vb_repo *open_again(struct bench *b, enum vb_repo_mode mode, struct vb_error *err)
{
    return fixture_open(vb_backend_memory_share(b->files), mode, err);
}

static inline int start(void **state)
{
    struct bench *b = vb_alloc(sizeof *b);
    *state = b;
    b->files = vb_backend_memory_new();
    if (fixture_init(b->files, NULL) < 0)
        return -1;
    b->repo = open_again(b, VB_REPO_WRITE, NULL);
    return b->repo ? vb_repo_lock(b->repo, FIXTURE_NOW, NULL) : -1;
}

static inline int stop(void **state)
{
    struct bench *b = *state;
    vb_repo_close(b->repo);
    vb_backend_close(b->files);
    free(b);
    return 0;
}

static inline struct vb_name put(struct vb_repo *r, enum vb_chunk_type type, const char *text)
{
    struct vb_name name;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_put_raw(r, type, text, strlen(text), &name, &err));
    return name;
}

static inline void assert_get(struct vb_repo *r, enum vb_chunk_type type, const struct vb_name *name, const char *text)
{
    VB_AUTO_BUF out = VB_BUF_INIT;
    VB_AUTO_ERROR err = VB_ERROR_INIT;
    assert_ok(vb_repo_get(r, type, name, &out, &err));
    assert_string_equal(vb_buf_str(&out), text);
}

#endif
