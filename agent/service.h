/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/service.h - starting and stopping the services of the two stop methods.
 *
 * The name comes from a document: it is checked, and goes to the service manager as one argument.  A section
 *     [service NAME]
 *     start-command = /usr/bin/pg_ctlcluster 15 main start
 *     stop-command = /usr/bin/pg_ctlcluster 15 main stop
 * (words separated by blanks, no shell) takes the place of systemctl.
 */
#ifndef VB_AGENT_SERVICE_H
#define VB_AGENT_SERVICE_H

#include <stdbool.h>
#include "base/config.h"
#include "base/loop.h"

typedef void vb_service_fn(void *arg, const struct vb_error *err); /* err NULL: done */

struct vb_service;
/* Runs the command; fn is called once from the loop, unless vb_service_free comes first (which kills it). */
struct vb_service *vb_service_run(struct vb_loop *l, const struct vb_config *c, const char *name, bool start,
                                  uint64_t limit_ms, vb_service_fn *fn, void *arg);
void vb_service_free(struct vb_service *s); /* NULL ok */

#endif
