/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/data_spec.h - what the processes beside the worker have in common: fields of requests, and their clock.
 */
#ifndef VB_AGENT_DATA_SPEC_H
#define VB_AGENT_DATA_SPEC_H

#include <linux/fs.h>
#include "base/error.h"
#include "store/chunk/cutter.h"

/* CUT_PARAMS: three big-endian u32, min, avg, max. The bounds are the cutter's to check. */
int vb_cut_params_decode(const void *p, size_t n, struct vb_cut_params *cut, struct vb_error *err);

/* The inode flags that mean something on the file system they come back to: s u c S i a d A j t D T C P F of chattr(1). */
#define VB_KEPT_INODE_FLAGS                                                                                          \
    ((uint32_t)(FS_SECRM_FL | FS_UNRM_FL | FS_COMPR_FL | FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL |  \
                FS_NOATIME_FL | FS_JOURNAL_DATA_FL | FS_NOTAIL_FL | FS_DIRSYNC_FL | FS_TOPDIR_FL | FS_NOCOW_FL |       \
                FS_PROJINHERIT_FL | FS_CASEFOLD_FL))

/* Monotonic milliseconds.  These processes do one thing after the other and have no loop whose clock they could ask. */
uint64_t vb_mover_now_ms(void);
uint64_t vb_mover_now_us(void);

#endif
