/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/data_spec.c - what the processes beside the worker have in common.
 */
#include "config.h"

#include <time.h>

#include "agent/data_spec.h"

int vb_cut_params_decode(const void *p, size_t n, struct vb_cut_params *cut, struct vb_error *err)
{
    struct vb_reader r;
    vb_reader_init(&r, p, n);
    if (vb_get_u32(&r, &cut->min) && vb_get_u32(&r, &cut->avg) && vb_get_u32(&r, &cut->max) && !r.left)
        return 0;
    return vb_fail(err, VB_E_PROTOCOL, "cutting parameters have %zu bytes instead of 12", n);
}

uint64_t vb_mover_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* lint: allow clock_gettime, a process without a loop */
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t vb_mover_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* lint: allow clock_gettime, a process without a loop */
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
