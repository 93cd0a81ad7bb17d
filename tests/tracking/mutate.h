/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/tracking/mutate.h - random changes to a tree: everything that a user, a program or an attacker of change
 * detection does to files, replayable by its seed.
 */
#ifndef VB_TESTS_TRACKING_MUTATE_H
#define VB_TESTS_TRACKING_MUTATE_H

#include "base/rng.h"

/* Makes a tree of about so many files below the directory. */
void mutate_grow(int dirfd, struct vb_rng *rng, unsigned files);
/* One random change; its name, static, or NULL if it came to nothing. */
const char *mutate_once(int dirfd, struct vb_rng *rng);
/* A file that is mapped; store changes a byte of it through the mapping. */
void mutate_map(int dirfd, struct vb_rng *rng);
void mutate_store(struct vb_rng *rng);
void mutate_unmap(void);

#endif
