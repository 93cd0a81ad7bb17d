/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/shadow_stream.h - a shadow copy on its way between a provider and the requester's data stream.
 *
 *     agent:    SHADOW {CALL "send" or "receive"} -> OK {PATH}   the pipe that the provider opens to write, or to read
 *     send:     agent: OK, when the provider is done; then the rest goes out, and DATA_END
 *     process:  REPLY {BYTES_DONE, CODE? TEXT? HINT?}   all is sent, or all was received and lies in the pipe; or neither
 * The process ends when the agent closes its socket.  On the data stream: CHUNK {BYTES}... DATA_END {} -> DATA_OK (from
 * who receives), ERROR instead of what is missing.
 */
#ifndef VB_AGENT_SHADOW_STREAM_H
#define VB_AGENT_SHADOW_STREAM_H

#include "base/error.h"

int vb_shadow_stream_serve(int agent, int data, struct vb_error *err);
/* `vbackup-agent shadow-stream` */
int vb_shadow_stream_main(int argc, char **argv);

#endif
