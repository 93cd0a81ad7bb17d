/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/paths.h - where the agent keeps its state and its socket, and the care taken with both.
 *
 *   state    VBACKUP_STATE_DIR, else /var/lib/vbackup for root, else $XDG_STATE_HOME/vbackup,
 *            else ~/.local/state/vbackup
 *   runtime  VBACKUP_RUNTIME_DIR, else /run/vbackup for root, else $XDG_RUNTIME_DIR/vbackup, else <state>/run
 *
 * Both belong to the caller and nobody else can write or list them, or they are refused: whoever can write there can
 * make us run things.  The runtime directory is 0700; the state directory is 0711, so that a writer that runs as
 * another user reaches its own directory below it, and nothing else: every file and every other directory there is
 * closed.
 */
#ifndef VB_AGENT_PATHS_H
#define VB_AGENT_PATHS_H

#include "base/error.h"

struct vb_paths {
    char *state, *runtime;
    int state_fd, runtime_fd; /* open directories */
};
#define VB_PATHS_INIT { NULL, NULL, -1, -1 }

/* Finds, makes (with parents) and checks both. */
int vb_paths_open(struct vb_paths *p, struct vb_error *err);
void vb_paths_clear(struct vb_paths *p);

/* Path by which this very program can be started again; static. */
const char *vb_self_path(void);

/* Unix stream socket named below dirfd, whatever the length of the path (an address holds 107 bytes only, so it goes
 * through /proc/self/fd).  listen: made anew with mode 0600, an old one is removed.  Close-on-exec. -1 on error. */
int vb_unix_listen_at(int dirfd, const char *name, struct vb_error *err);
int vb_unix_connect_at(int dirfd, const char *name, struct vb_error *err);
/* The peer must be our own user or root, otherwise VB_E_ACCESS_DENIED. */
int vb_unix_check_peer(int fd, struct vb_error *err);

#endif
