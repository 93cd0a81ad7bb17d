/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/recover.h - `vbackup-agent recover JOB`: cleans up after a worker that died.
 *
 * Order: file systems that its journal says are frozen are thawed; its own children get a moment to release by
 * themselves, then are killed; the rest is the ordinary end of a session (vb_session_recover).
 * Exit status 0: nothing is left; 1: something is (a shadow copy, a service), and it may be run again.
 */
#ifndef VB_AGENT_RECOVER_H
#define VB_AGENT_RECOVER_H

#include "agent/agent.h"

int vb_recover_main(struct vb_agent *a, int argc, char **argv);

#endif
