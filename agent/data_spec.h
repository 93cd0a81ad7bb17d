/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/data_spec.h - what the processes beside the worker have in common: fields of requests, and their clock.
 */
#ifndef VB_AGENT_DATA_SPEC_H
#define VB_AGENT_DATA_SPEC_H

#include "base/error.h"
#include "store/chunk/cutter.h"

/* CUT_PARAMS: three big-endian u32, min, avg, max. The bounds are the cutter's to check. */
int vb_cut_params_decode(const void *p, size_t n, struct vb_cut_params *cut, struct vb_error *err);

/* Monotonic milliseconds.  These processes do one thing after the other and have no loop whose clock they could ask. */
uint64_t vb_mover_now_ms(void);

#endif
