/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/data_spec.c - fields that capture and restore requests have in common.
 */
#include "config.h"

#include "agent/data_spec.h"

int vb_cut_params_decode(const void *p, size_t n, struct vb_cut_params *cut, struct vb_error *err)
{
    struct vb_reader r;
    vb_reader_init(&r, p, n);
    if (vb_get_u32(&r, &cut->min) && vb_get_u32(&r, &cut->avg) && vb_get_u32(&r, &cut->max) && !r.left)
        return 0;
    return vb_fail(err, VB_E_PROTOCOL, "cutting parameters have %zu bytes instead of 12", n);
}
