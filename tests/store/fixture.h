/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/store/fixture.h - small backups whose content follows from a number, and the comparison afterwards.
 *
 * A backup made with seed N carries the job "seed N"; fixture_verify reads everything back and compares it with what
 * that seed gives.  A third of the files depends on the seed, the others are the same in every backup.
 */
#ifndef VB_TESTS_STORE_FIXTURE_H
#define VB_TESTS_STORE_FIXTURE_H

#include "store/repository.h"

/* Wall clock of all fixtures. */
#define FIXTURE_NOW 1795000000000ull

/* A password, cheap to derive a key from; asked for by what follows. */
extern const struct vb_repo_auth fixture_auth;
/* Makes an encrypted repository, and opens one of either kind (takes over b, as vb_repo_open_on). */
int fixture_init(struct vb_backend *b, struct vb_error *err);
struct vb_repo *fixture_open(struct vb_backend *b, enum vb_repo_mode mode, struct vb_error *err);

struct fixture_size {
    unsigned dirs, files; /* files in each directory */
    size_t max_file;
};
#define FIXTURE_SMALL ((struct fixture_size){ 2, 3, 6000 })

/* Puts all chunks and commits; the lock must be held.  id may be NULL. */
int fixture_backup(struct vb_repo *r, uint64_t seed, struct fixture_size size, char id[VB_GUID_LEN + 1],
                   struct vb_error *err);
/* Opens for writing, locks, backs up, closes. Takes over b. */
int fixture_run(struct vb_backend *b, uint64_t seed, struct fixture_size size, struct vb_error *err);
/* 0; -1 when something cannot be read; VB_E_UNEXPECTED is reserved for what was read as right and is wrong. */
int fixture_verify(struct vb_repo *r, const char *which, struct fixture_size size, struct vb_error *err);
/* The same for every entry of the catalog; *n is set to how many there are. */
int fixture_verify_all(struct vb_repo *r, struct fixture_size size, unsigned *n, struct vb_error *err);
/* Emits p as the content of a file, cut small. */
int fixture_put_file(struct vb_repo *r, const void *p, size_t n, struct vb_content *content, struct vb_error *err);

#endif
