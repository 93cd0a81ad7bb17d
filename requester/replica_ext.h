/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/replica_ext.h - one run of a scope to its targets with the writers that belong to it: the driver
 * (replica/extension.h), our own writers, and those of each target over its connection.
 *
 * Targets may be run one after the other, or each from a thread of its own.
 */
#ifndef VB_REQUESTER_REPLICA_EXT_H
#define VB_REQUESTER_REPLICA_EXT_H

#include "replica/pass.h"
#include "requester/cli.h"
#include "requester/replica_peer.h"

struct vb_ext_run;

struct vb_ext_run_options {
    size_t n_targets;
    bool skip_missing, dry_run;
    void (*warn)(void *arg, const struct vb_error *what); /* at the source, before any target */
    void *arg;
};
/* Starts the scope's writers here, if it has any. */
int vb_ext_run_open(struct vb_cli *cli, struct vb_place *p, const struct vb_ext_run_options *o, struct vb_ext_run **out,
                    struct vb_error *err);
/* Payloads are wiped; NULL ok. */
void vb_ext_run_close(struct vb_ext_run *r);

struct vb_ext_target {
    const char *name; /* as the user named it */
    /* The connection; asked for again, the same.  NULL with the error. */
    struct vb_replica_peer *(*open)(void *arg, struct vb_error *err);
    /* The passes. */
    int (*core)(void *arg, struct vb_error *err);
    void (*warn)(void *arg, const struct vb_error *what);
    void *arg;
};
/* All of one target's part; -1: it ended, and why.  A failure of the source is told to one target, the others are left out
 * (VB_E_CANCELLED). */
int vb_ext_run_target(struct vb_ext_run *r, size_t index, const struct vb_ext_target *t, struct vb_error *err);
/* Names of the writers that differed there (and were, or would be, carried over); the caller clears them. */
void vb_ext_run_carried(const struct vb_ext_run *r, size_t index, struct vb_strv *names);
/* The source failed: the whole run is over (IIS-24). */
bool vb_ext_run_failed(struct vb_ext_run *r);

#endif
