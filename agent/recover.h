/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/recover.h - `vbackup-agent recover JOB`: cleans up after a worker that died.
 *
 * Order: file systems that its journal says are frozen are thawed; its own children get a moment to release by
 * themselves, then are killed; the rest is the ordinary end of a session (vb_session_recover).
 * Exit status 0: nothing is left; 3: a shadow copy is; 1: a file system may still be frozen, or nobody knows what is left.
 * It may be run again.  With VB_RECOVER_REPORT before the job what is left is written to descriptor 3 as one text.
 */
#ifndef VB_AGENT_RECOVER_H
#define VB_AGENT_RECOVER_H

#include "agent/agent.h"

#define VB_RECOVER_REPORT "--report"

int vb_recover_main(struct vb_agent *a, int argc, char **argv);

#endif
