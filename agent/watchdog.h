/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/watchdog.h - the separate tiny process that owns the freeze window (house plan, idea 4).
 *
 * It opens and locks everything beforehand, has its own clock, is the only one that calls FIFREEZE, and thaws by
 * itself: when the time is up, and when its parent is gone.  Between ARM and DISARM it writes nothing anywhere.
 *
 * SOCK_SEQPACKET on descriptor 3; every packet is one struct below; requests are answered in order, except that
 * VB_WD_FIRED comes by itself.
 */
#ifndef VB_AGENT_WATCHDOG_H
#define VB_AGENT_WATCHDOG_H

#include <stdint.h>
#include "agent/session.h"
#include "base/loop.h"

enum { VB_WD_ADD_HOST = 100, VB_WD_ADD_MOUNT = 101, VB_WD_FIRED = 102 };

struct vb_wd_request {
    uint32_t call;      /* enum vb_watchdog_call, or VB_WD_ADD_HOST, VB_WD_ADD_MOUNT (with a descriptor) */
    int32_t pid;        /* ADD_HOST */
    uint64_t ms;        /* ARM, FREEZE */
};
struct vb_wd_answer {
    uint32_t call;
    int32_t error;      /* errno, 0: done */
    uint32_t code;      /* enum vb_code */
    char text[116];
};

#define VB_WD_HOST_GRACE_MS 5000u /* after the parent's death: for the hosts to abort by themselves */

/* ---- the worker's side ---- */

struct vb_watchdog;
typedef void vb_watchdog_fn(void *arg, enum vb_watchdog_call call, const struct vb_error *err);
typedef void vb_watchdog_fired_fn(void *arg, const char *text);

/* Starts the process; hands it the pids and opened mount points; answers START when all is locked and flushed. */
struct vb_watchdog *vb_watchdog_start(struct vb_loop *l, const int *pids, size_t n_pids, const struct vb_strv *mounts,
                                      vb_watchdog_fn *fn, vb_watchdog_fired_fn *fired, void *arg, struct vb_error *err);
/* ARM, FREEZE, THAW: answered by fn. */
void vb_watchdog_call(struct vb_watchdog *w, enum vb_watchdog_call call, uint64_t ms);
/* DISARM: thaws what is frozen and ends it; no answer. */
void vb_watchdog_end(struct vb_watchdog *w); /* NULL ok */

#endif
