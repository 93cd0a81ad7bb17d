/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requester/run_options.h - an owned copy of a run's options, and its form in the run's state.
 */
#ifndef VB_REQUESTER_RUN_OPTIONS_H
#define VB_REQUESTER_RUN_OPTIONS_H

#include "base/buf.h"
#include "requester/run.h"

struct vb_run_opts {
    struct vb_run_options o;      /* points into what follows */
    struct vb_strv strings;       /* owns every string */
    struct vb_ask *asks, *excludes;
    struct vb_job_writer *writers;
    const char **paths, **path_rules;
    struct vb_strv maps, path_list, path_rule_list;
};
void vb_run_opts_copy(struct vb_run_opts *to, const struct vb_run_options *from);
void vb_run_opts_clear(struct vb_run_opts *o);
/* What a resumed run needs; asks and excludes are in the plan already. */
void vb_run_opts_json(const struct vb_run_options *o, struct vb_buf *out);
int vb_run_opts_from_json(struct vb_run_opts *o, const void *json, size_t n, struct vb_error *err);

#endif
