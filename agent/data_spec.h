/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/data_spec.h - fields that capture and restore requests have in common.
 */
#ifndef VB_AGENT_DATA_SPEC_H
#define VB_AGENT_DATA_SPEC_H

#include "base/error.h"
#include "store/chunk/cutter.h"

/* CUT_PARAMS: three big-endian u32, min, avg, max. The bounds are the cutter's to check. */
int vb_cut_params_decode(const void *p, size_t n, struct vb_cut_params *cut, struct vb_error *err);

#endif
