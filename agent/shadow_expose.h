/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/shadow_expose.h - showing a shadow copy at a directory: a read-only bind mount of its whole root (S-51, S-53).
 */
#ifndef VB_AGENT_SHADOW_EXPOSE_H
#define VB_AGENT_SHADOW_EXPOSE_H

#include "agent/paths.h"
#include "base/loop.h"

/* at: an empty directory that exists and is no mount point.  It is read-only from the first moment on, and lets no
 * set-id bits and no device nodes act. */
int vb_expose(const char *from, const char *at, struct vb_error *err);
/* Takes away what vb_expose put there; no mount there is success (a reboot did it). */
int vb_unexpose(const char *at, struct vb_error *err);
/* After a reboot: every exposed shadow copy whose mount is gone is shown again (S-53).  Failures are logged. */
void vb_expose_again(const struct vb_paths *p);
/* The same for reverts (S-60: one goes on after a reboot): a provider with one that was cut off is opened, which
 * finishes it. */
void vb_revert_again(const struct vb_paths *p, struct vb_loop *l);

#endif
