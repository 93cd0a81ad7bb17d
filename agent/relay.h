/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/relay.h - what `vbackup-agent` is on standard input and output: a relay to the supervisor's socket.
 *
 * `relay --pass`, for a requester on the same machine, passes the connected socket over standard input instead (vb_fd_pass)
 * and is gone.  VBACKUP_RELAY=copy in the environment (tests of what the loss of a relay does) has it copy all the same.
 *
 * The job lives behind the socket; the relay knows nothing of it and may die at any time (house plan, idea 2).
 */
#ifndef VB_AGENT_RELAY_H
#define VB_AGENT_RELAY_H

/*
 * Copies standard input to the socket and the socket to standard output until both are over.  The end of one direction
 * is passed on as soon as its bytes are (shutdown of the socket, close of standard output); when nobody takes standard
 * output any more, what still comes on standard input is delivered, then the relay ends.  Takes sock_fd.
 * Returns the exit status: 0, or 1 after an error (written to stderr).
 */
int vb_relay_run(int sock_fd);

#endif
