/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/agent.h - the doors of the program vbackup-agent: one function per subcommand, and what all are given.
 *
 * Every child that the agent starts is the same program with another first word, so that one file is installed, named
 * and trusted.  The conventions of the children:
 *
 *   writer-host [...] SECTION [MODULE] [KEY=VALUE...]   socket on descriptor 3; agent/writer_host.h
 *   provider-host NAME --state-dir DIR [--options]   the same; agent/provider_host.h
 *   capture, restore   socket on descriptor 3, data stream on descriptor 4; agent/capture.h, agent/restore.h
 *   watchdog           socket (SOCK_SEQPACKET) on descriptor 3; agent/watchdog.h
 *   worker JOB         socket to the supervisor on descriptor 3; agent/control.h
 *   recover JOB        cleans up after a worker that died
 *
 * A main function returns the exit status of the process.
 */
#ifndef VB_AGENT_AGENT_H
#define VB_AGENT_AGENT_H

#include "base/config.h"
#include "agent/paths.h"

#define VB_LOOKS_DIR "looks" /* below the state directory: what captures remember (agent/capture_look.h) */
#define VB_CHILD_SOCKET_FD 3
#define VB_CHILD_DATA_FD 4

struct vb_agent {
    struct vb_config *config;   /* never NULL; empty if there is no file */
    char *config_path;          /* file it was read from, or NULL */
    struct vb_paths paths;
};

int vb_relay_main(struct vb_agent *a, int argc, char **argv);
int vb_watchdog_main(struct vb_agent *a, int argc, char **argv);
int vb_status_main(struct vb_agent *a, int argc, char **argv);

/* The other doors are in supervisor.h, worker.h and recover.h, and those of the children in their own headers. */

#endif
