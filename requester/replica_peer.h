/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/replica_peer.h - the other end of a replication: `vbackup scope serve NAME` on this machine or over SSH.
 *
 * Local is remote over a pipe: a scope of this machine is served by a child on a socket pair, one of another host by the
 * same command in an SSH channel.  Either way the passes (replica/pass.h) run over one descriptor.
 */
#ifndef VB_REQUESTER_REPLICA_PEER_H
#define VB_REQUESTER_REPLICA_PEER_H

#include "replica/ext_talk.h"
#include "replica/pass.h"
#include "requester/cli.h"

struct vb_replica_peer;

/* target: a scope of this machine, "HOST:SCOPE", or a directory (with a '/'), which becomes a scope of its own if it is none
 * yet: a copy of `like`, the scope that is replicated.  Two steps, for several targets at once: first, one by one, the scopes
 * that directories are (left NULL for another kind of target); then, at the same time, the connections.  VB_E_HOST_UNKNOWN,
 * VB_E_CONNECT ... */
int vb_replica_peer_scope(struct vb_cli *cli, const char *target, const struct vb_place *like, char **scope, struct vb_error *err);
struct vb_replica_peer *vb_replica_peer_reach(struct vb_cli *cli, const char *target, const char *scope, const struct vb_place *like,
                                              struct vb_error *err);
/* From another thread: whatever goes on with it fails soon. */
void vb_replica_peer_cut(struct vb_replica_peer *peer);
/* One pass to (push) or from (pull) the peer.  `p` was scanned by the caller; the peer scans by itself. */
int vb_replica_peer_pass(struct vb_replica_peer *peer, struct vb_place *p, bool push, const struct vb_pass_options *o,
                         struct vb_pass_result *out, struct vb_error *err);
/* The peer's writers; replica/ext_talk.h. */
int vb_replica_peer_writers(struct vb_replica_peer *peer, struct vb_ext_wanted *w, size_t n, struct vb_error *err);
int vb_replica_peer_call(struct vb_replica_peer *peer, const char *writer, enum vb_repl_call call, uint64_t limit_ms, int payload,
                         unsigned char hash[32], struct vb_error *err);
void vb_replica_peer_close(struct vb_replica_peer *peer); /* NULL ok */

/* The serving end, on these descriptors; until the peer says goodbye.  roles: "r" it may be read, "w" written. */
int vb_replica_serve(const struct vb_place_setup *s, const char *name, const char *roles, int in, int out, struct vb_error *err);

/* vb_place_open_store for verbs of a moment: a pass of --watch that has the store just now is waited for. */
int vb_replica_open_patiently(const struct vb_place_setup *setup, const char *name, struct vb_place **out, struct vb_error *err);
/* Where the stores of this user's scopes are. */
struct vb_place_setup vb_replica_setup(const struct vb_cli *cli);

#endif
