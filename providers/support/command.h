/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/command.h - running a storage system's own command: no shell, a fixed environment, an end in time.
 *
 * The command runs in a session of its own: whoever kills the provider does not kill a command that is in the middle of
 * changing a device.  For the same reason it is asked to end (SIGTERM), never killed, when the time is up.
 */
#ifndef VB_PROVIDERS_COMMAND_H
#define VB_PROVIDERS_COMMAND_H

#include "providers/support/support.h"

#define VB_PS_OUTPUT_MAX ((size_t)16 << 20)

/* argv[0] is an absolute path.  stdin_fd: -1 for /dev/null; a descriptor with a lock is held as long as the command runs.
 * *out (may be NULL): what it printed, ended by a zero byte, caller frees.  The limit is the call's own deadline, 60
 * seconds if there is none.  -1 with a failure that holds the last line of its error output. */
int vb_ps_command(const struct vb_ps *s, const char *const *argv, int stdin_fd, char **out);

/* The same for a command that may be killed at any moment: it is, when we are, and holds lock_fd (-1: none) until then. */
int vb_ps_command_tied(const struct vb_ps *s, const char *const *argv, int stdin_fd, int lock_fd, char **out);

/* Opens (and makes) a lock file in the state directory and waits for it within the deadline; the descriptor survives
 * exec only as a command's stdin.  -1 with a failure. */
int vb_ps_lock(const struct vb_ps *s, const char *name);

#endif
