/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/tracking/replica_world.h - some replicas of one scope that hold rows and no files, and passes between them. */
#ifndef VB_TESTS_TRACKING_REPLICA_WORLD_H
#define VB_TESTS_TRACKING_REPLICA_WORLD_H

#include "tracking/reconcile.h"

#define WORLD_MAX 5
struct world {
    int dirfd;
    size_t n;
    struct vb_replica *r[WORLD_MAX];
    int64_t scope[WORLD_MAX];
};
struct pass { /* what one pass did */
    unsigned sent, applied, converged, conflicts, copies, deferred, minted;
};

void world_open(struct world *w, int dirfd, size_t n);
void world_close(struct world *w);
void world_edit(struct world *w, size_t at, const char *path, char content, int64_t mtime);
void world_delete(struct world *w, size_t at, const char *path);
struct pass world_pass(struct world *w, size_t from, size_t to, enum vb_conflict_policy policy);
/* 0 if it is not there. */
char world_content(struct world *w, size_t at, const char *path);
/* Live paths with their contents in order, as one text, to be freed. */
char *world_tree(struct world *w, size_t at);
struct vb_knowledge *world_knowledge(struct world *w, size_t at);

#endif
