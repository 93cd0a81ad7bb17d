/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/limits.h - every time limit of a session, from section [agent] of the configuration.
 */
#ifndef VB_AGENT_LIMITS_H
#define VB_AGENT_LIMITS_H

#include <stdint.h>
#include "base/config.h"
#include "documents/events.h"

struct vb_limits { /* milliseconds; the key is timeout-<name with dashes> unless said otherwise */
    uint64_t identify;          /* 60 s */
    uint64_t prepare_backup;    /* 10 min */
    uint64_t prepare_snapshot;  /* 5 min */
    uint64_t freeze;            /* 0: each writer's own window; else the least of both */
    uint64_t thaw;              /* 30 s, but never beyond the writer's window */
    uint64_t abort;             /* 30 s */
    uint64_t post_snapshot;     /* 10 min */
    uint64_t backup_complete;   /* 10 min */
    uint64_t backup_shutdown;   /* 60 s */
    uint64_t pre_restore, post_restore; /* 30 min */
    uint64_t provider_start;    /* 30 s: until a provider host is ready, and for its short questions */
    uint64_t provider_prepare;  /* 10 min: begin_prepare, end_prepare, pre_final, post_final, abort, delete */
    uint64_t provider_commit;   /* 10 s: pre_commit, commit, post_commit (2.3) */
    uint64_t shadow_check;      /* 2 s: between two looks at the shadow copies that are read; 0: only the last one */
    uint64_t hold;              /* 10 s: a file system is never frozen longer (2.3) */
    uint64_t service;           /* 5 min: starting or stopping a service */
    uint64_t cancel_grace;      /* 400 ms: for a writer that is inside an event when the job is cancelled */
    uint64_t lease_max;         /* 1 h: longest lease a requester may ask for; key lease-max */
    uint64_t lease_default;     /* 60 s: for a job that names none; key lease */
    uint64_t idle;              /* 5 min: the supervisor ends after; key idle-exit */
    uint64_t keep_failed;       /* 15 min: a lost job stays readable; key keep-failed */
};
void vb_limits_init(struct vb_limits *l);
/* Reads [agent]; refuses unknown keys there. */
int vb_limits_read(struct vb_limits *l, const struct vb_config *c, struct vb_error *err);
/* Limit of an event to a writer. */
uint64_t vb_limits_event(const struct vb_limits *l, enum vb_event ev);

#endif
