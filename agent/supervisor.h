/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/supervisor.h - one per user and host: accepts streams, starts a worker per job, keeps the queue for the
 * host's one slot of snapshot creation, and has a dead worker's job cleaned up at once.
 *
 * It reads no more of a stream than the greeting and the first message, then hands the descriptor to the worker.
 */
#ifndef VB_AGENT_SUPERVISOR_H
#define VB_AGENT_SUPERVISOR_H

#include "agent/agent.h"

#define VB_SUPERVISOR_SOCKET "agent.sock"

/* Runs until idle for long enough, or SIGTERM.  Returns 0 at once if another one runs.  With --detach as argument the
 * caller returns when the supervisor stands alone (own session, no terminal). */
int vb_supervisor_main(struct vb_agent *a, int argc, char **argv);

/* A connection to the supervisor that has answered, starting one if there is none.  Blocking socket. -1 on error. */
int vb_supervisor_connect(struct vb_agent *a, struct vb_error *err);

#endif
