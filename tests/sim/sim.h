/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/sim/sim.h - requester and any number of agents inside one process under a virtual clock and one seed.
 *
 * Real: the requester (run, plan, executor), the agents' sessions and dialogs, messages, documents, journals.
 * Simulated: the network (delays, cuts), the supervisor (jobs by id), writer and provider processes, capture and
 * restore, the store.  The seed decides everything, so a seed that fails fails again in the same way.
 *
 *   sim_world.c     hosts, supervisor, links, trace
 *   sim_children.c  writer, provider, capture and restore processes
 *   sim_store.c     the store
 *   sim_check.c     what must hold, from what the simulated parts saw themselves
 */
#ifndef VB_TESTS_SIM_H
#define VB_TESTS_SIM_H

#include "agent/dialog.h"
#include "agent/session.h"
#include "base/rng.h"
#include "requester/run.h"
#include "tests/requester/topology.h"

/* Chances per mille at each occasion. */
struct sim_faults {
    unsigned cut;             /* a message of a control or data stream: the stream breaks */
    unsigned link_refused;    /* opening a stream */
    unsigned writer_veto, writer_hang, writer_crash; /* per event */
    unsigned provider_veto, provider_crash;          /* per call */
    unsigned capture_failed, capture_crash;          /* per component, per process */
    unsigned restore_failed;  /* per component */
    unsigned store_full;      /* per chunk, barrier, commit */
    unsigned agent_crash;     /* per run: the workers of one host die at some time, and are cleaned up after */
    unsigned requester_crash; /* per run: dies at some time, and is started again */
    unsigned cancel;          /* per run: the user interrupts at some time */
    unsigned slow;            /* per message: seconds instead of milliseconds */
};

struct sim;
struct sim_job;

/* Directed faults, for tests of single rules. */
enum sim_mishap { SIM_FINE = 0, SIM_VETO, SIM_HANG, SIM_CRASH };
struct sim_script {
    void *arg;
    enum sim_mishap (*writer)(void *arg, size_t host, size_t writer, enum vb_event ev); /* any may be NULL */
    bool (*provider_fails)(void *arg, size_t host, const char *call);
    bool (*mover_fails)(void *arg, size_t host, const char *component);                 /* capture or restore */
    void (*event)(void *arg, size_t host, size_t writer, enum vb_event ev);             /* a writer got it */
    unsigned cut_in;          /* cut the stream at the n-th message from now on; 0: never */
    bool barrier_fails, commit_fails, chunks_fail;
    struct vb_buf *record;    /* not NULL: gets the frames that agents send (corpus of the fuzz target) */
};
enum sim_manner { SIM_ORDERLY = 0, SIM_MUTE, SIM_GARBAGE }; /* how an agent answers OPEN */

/* What a simulated application lived through; the truth that logs and catalogs are held against. */
enum sim_what { SIM_EVENT_BEGIN, SIM_EVENT_OK, SIM_EVENT_FAILED, SIM_GONE };
struct sim_trace {
    uint64_t ms;
    size_t host, writer;
    unsigned job;             /* running number over all jobs */
    enum vb_event event;
    enum sim_what what;
    bool told_success;        /* BackupComplete: some component of it was marked as succeeded */
    bool told_failure;
};

struct sim_snapshot { char *id; uint64_t counter; unsigned job; bool created; };
struct sim_file { char *path, *content; };

struct sim_app { bool frozen; unsigned job; uint64_t frozen_ms; };

struct sim_host {
    struct sim *sim;
    size_t index;
    struct sim_job **jobs; size_t n_jobs, cap_jobs;
    struct sim_job *slot;     /* creates a set now */
    enum sim_manner manner;
    bool crashed;             /* its workers died: what the cleaning up does keeps nobody's order */
    struct sim_app *apps;     /* per writer */
    uint64_t counter;         /* version of all data here; grows with every event */
    struct sim_snapshot *snaps; size_t n_snaps, cap_snaps;
    struct sim_file *files; size_t n_files, cap_files; /* what restores put here */
};

struct sim_child;

struct sim_job {
    struct sim_host *host;
    char *id, *token;
    unsigned number;
    enum vb_job_kind kind;
    struct vb_session_env env;
    struct vb_session *session;
    struct vb_dialog *dialog;
    struct vb_conn *data;     /* unused data stream */
    bool over, wants_slot;
    struct vb_buf kept, doc;  /* what the spool would hold */
    bool recovering;
    bool *writer_failed;      /* per writer, before its data were captured */
    struct sim_child **children; size_t n_children, cap_children;
};

struct sim_blob { struct vb_name name; char *content; bool durable; };

struct sim {
    struct vb_loop *loop;
    struct vb_rng rng;
    uint64_t seed;
    struct topo topo;
    struct sim_faults f;
    struct sim_script script;
    struct sim_host *hosts;
    struct vb_links links;
    struct sim_trace *trace; size_t n_trace, cap_trace;
    struct vb_strv broken;    /* rules that were seen broken */
    unsigned jobs;
    /* store */
    struct sim_blob *blobs; size_t n_blobs, cap_blobs;
    struct vb_buf *entries; size_t n_entries, cap_entries; /* encoded */
    struct vb_run_store store;
    bool store_held;
    void **streams; size_t n_streams, cap_streams;
};

void sim_init(struct sim *s, uint64_t seed,
              const struct sim_faults *f); /* topology is filled by the caller before sim_start */
void sim_start(struct sim *s);
void sim_free(struct sim *s);
void sim_broken(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_delay(struct sim *s, uint64_t max_ms);
void sim_note(struct sim *s, const struct sim_job *j, size_t writer, enum vb_event ev, enum sim_what what, bool yes,
              bool no);
void sim_agent_crash(struct sim_host *h);

/* sim_children.c */
int sim_child_start(struct sim_job *j, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out);
void sim_child_stop(struct sim_job *j, struct vb_child *c, bool kill);
void sim_children_drop(struct sim_job *j);
/* Connections between the parts; never cut when inside a host. */
void sim_pair(struct sim *s, bool network, struct vb_conn **a, struct vb_conn **b);

/* sim_store.c */
void sim_store_init(struct sim *s);
void sim_store_crash(struct sim *s);      /* what was not durable is gone */
void sim_store_free(struct sim *s);
const char *sim_store_content(const struct sim *s, const struct vb_name *name);

/* sim_check.c: appends to s->broken */
void sim_check_end(struct sim *s);
void sim_check_backup(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r);
void sim_check_restore(struct sim *s, const struct vb_plan *p, const struct vb_run_result *r);

#endif
