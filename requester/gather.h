/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/gather.h - who offers what: Identify on every host that the closure of the dependencies reaches.
 *
 * Each host gets a throw-away IDENTIFY job (B-8).  After every answer the selection is made again; hosts that it misses
 * are asked next, all in parallel, until nothing new turns up: chains over third hosts and circles end by themselves
 * (D-51). A host that cannot be asked is part of the result, with the reason, and does not stop the others.
 */
#ifndef VB_REQUESTER_GATHER_H
#define VB_REQUESTER_GATHER_H

#include <stdbool.h>
#include "base/error.h"
#include "base/loop.h"
#include "documents/job.h"
#include "documents/selection.h"
#include "requester/link.h"
#include "requester/run_state.h"

struct vb_gather;

/* Present, but Identify failed. writer is the name by which people know it. */
struct vb_gather_failed { char *writer, *class_id; bool required; struct vb_error error; };

struct vb_gather_host {
    char *name;
    bool asked;              /* an answer or a failure is there */
    bool reached;
    struct vb_error error;   /* when not reached */
    struct vb_writer_metadata **writers; size_t n_writers, cap_writers;
    struct vb_gather_failed *failed; size_t n_failed, cap_failed;
};

struct vb_gather_params {
    struct vb_loop *loop;
    struct vb_links *links;           /* NULL when offline */
    struct vb_run_state *offline;     /* not NULL: from the metadata of the last gather, no connection is made */
    const char *front_end, *run_id, *requester;
    uint64_t lease_ms;
    const struct vb_select_options *select; /* asks, excludes, resolve; borrowed until the gather is freed */
    const struct vb_strv *paths, *path_rules; /* ad-hoc component of the front end; borrowed as well */
    const struct vb_job_writer *policies; size_t n_policies; /* borrowed: whom to leave out, who must be there */
    const struct vb_strv *fixed;      /* restore: exactly these hosts, no closure; NULL otherwise */
    void (*new_guid)(void *arg, char out[37]); /* not NULL */
    void *guid_arg;
};

struct vb_gather_handler {
    void (*event)(void *arg, const char *host, uint64_t seq, const struct vb_msg *m); /* may be NULL */
    void (*call)(void *arg, const char *host, const char *what,
                 const struct vb_error *err); /* may be NULL: for the log */
    void (*done)(void *arg);          /* once; the hosts are complete */
};

struct vb_gather *vb_gather_start(const struct vb_gather_params *p, const struct vb_gather_handler *h, void *arg);
void vb_gather_free(struct vb_gather *g); /* NULL ok; cuts what is still open */

/* The front end first, then hosts named in asks, then the others by name. Borrowed. */
const struct vb_gather_host *vb_gather_hosts(const struct vb_gather *g, size_t *n);
/* The reached ones in the same order as input of the selection; map[i] is the index among all. Caller frees both. */
struct vb_sel_host *vb_gather_sel_hosts(const struct vb_gather *g, size_t *n, size_t **map);

/* Ends the throw-away jobs, whatever they are at; then as vb_gather_settle. `done` is not called any more. */
void vb_gather_cancel(struct vb_gather *g, uint64_t limit_ms, vb_loop_fn *fn, void *arg);
/* Calls fn once when the throw-away jobs have ended too, or after limit_ms. */
void vb_gather_settle(struct vb_gather *g, uint64_t limit_ms, vb_loop_fn *fn, void *arg);

/* Keeps the metadata of every host that was reached for --offline. */
int vb_gather_save(const struct vb_gather *g, struct vb_run_state *state, struct vb_error *err);

/* Reads WMD and FAILED groups of an IDENTIFY reply into h. */
void vb_gather_read_reply(struct vb_gather_host *h, const struct vb_msg *m);
void vb_gather_host_clear(struct vb_gather_host *h);

#endif
