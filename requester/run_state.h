/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_state.h - what the requester remembers between its lives.
 *
 *     STATE/runs/<run id>/journal      every step: start before acting, done or failed after (idea 3)
 *                         plan.json    the plan that is walked
 *                         run.json     the options of the run
 *                         <host>.job   the job document of each host; <host>.token the key to its job (0600)
 *     STATE/last/<host>/<writer id>[.instance].xml  metadata of the last gather, for `plan --offline`
 *
 * Behind a small interface, so that the simulation keeps it in memory and crashes the requester at will.
 */
#ifndef VB_REQUESTER_RUN_STATE_H
#define VB_REQUESTER_RUN_STATE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/journal.h"
#include "base/mem.h"

struct vb_run_state {
    void *ctx;
    /* name is "DIR/.../FILE" below the state directory; folders are made as needed; whole or not at all; 0600. */
    int (*save)(void *ctx, const char *name, const void *p, size_t n, struct vb_error *err);
    int (*load)(void *ctx, const char *name, struct vb_buf *out, struct vb_error *err); /* VB_E_NOT_FOUND */
    int (*remove)(void *ctx, const char *dir, struct vb_error *err);                    /* tree; missing is fine */
    int (*list)(void *ctx, const char *dir, struct vb_strv *names, struct vb_error *err); /* sorted; missing: none */
    struct vb_journal *(*journal)(void *ctx, const char *name, struct vb_error *err);   /* appends; the caller's */
    /* After the caller is done with it: a journal in a file is closed, one in memory kept for the next life. */
    void (*journal_close)(void *ctx, struct vb_journal *j);
    void (*free_ctx)(void *ctx);
};

/* Opens or makes (0700) the state directory. */
struct vb_run_state *vb_run_state_dir(const char *path, struct vb_error *err);
struct vb_run_state *vb_run_state_memory(void);
void vb_run_state_free(struct vb_run_state *s); /* NULL ok */

/* Where the state lives: VBACKUP_STATE_DIR, else /var/lib/vbackup/requester for root, else below XDG_STATE_HOME or
 * ~/.local/state/vbackup/requester; caller frees. */
char *vb_run_state_path(void);

/* Runs that began and did not end, oldest first (their ids). */
int vb_run_unfinished(struct vb_run_state *s, struct vb_strv *ids, struct vb_error *err);
/* Forgets a run's state without touching its jobs (they end with their leases). */
int vb_run_forget(struct vb_run_state *s, const char *run_id, struct vb_error *err);

#endif
