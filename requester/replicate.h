/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* requester/replicate.h - one round of replication, by hand or by the service (replica_watch.c). */
#ifndef VB_REQUESTER_REPLICATE_H
#define VB_REQUESTER_REPLICATE_H

#include "replica/schedule.h"
#include "replica/watch.h"
#include "requester/cli.h"

struct vb_replicate_each {
    bool skip;         /* in: not this time */
    enum vb_code code; /* out: how it ended */
    bool locked;       /* and that was a lock */
};
struct vb_replicate_round {
    const struct vb_strv *paths;     /* only these are looked at; NULL: everything */
    struct vb_replicate_each *each;  /* one for each target of the command line */
    struct vb_tree_watch **tree;     /* opened before anything is looked at, if it points to NULL */
    /* out */
    struct vb_schedule schedule;     /* as it is in force (T60) */
    bool whole;                      /* tree integrity */
    uint64_t tick;                   /* of the scope: it rises with each change */
    int64_t wait_ms;                 /* not quiet yet: again after that */
};
/* -1: nothing was sent to anybody, and why. */
int vb_replicate_round(struct vb_cli *cli, struct vb_replicate_round *round, struct vb_error *err);
/* From another thread: what is going on ends soon, and fails. */
void vb_replicate_cut(void);

/* The service: until SIGTERM or SIGINT.  Returns an exit status. */
int vb_replicate_watch(struct vb_cli *cli);

#endif
