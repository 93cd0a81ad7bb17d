/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/worker.h - `vbackup-agent worker JOB`: one job, from OPEN to the end.
 *
 * Ties the session (what happens), the dialog (who hears of it), the real environment (how), and the supervisor
 * (control.h) together.
 */
#ifndef VB_AGENT_WORKER_H
#define VB_AGENT_WORKER_H

#include "agent/agent.h"

int vb_worker_main(struct vb_agent *a, int argc, char **argv);

#endif
