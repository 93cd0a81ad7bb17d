/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/log.h - diagnostics on stderr (or the journal of systemd, which reads it there).
 *
 * Results go to stdout, progress and diagnostics here.  Never used between freeze and thaw: lines are
 * then held in memory (vb_log_hold) and written after the thaw, because stderr may lead to the frozen
 * file system.
 */
#ifndef VB_BASE_LOG_H
#define VB_BASE_LOG_H

#include <stdbool.h>
#include <stdarg.h>
#include "base/error.h"

enum vb_log_level { VB_LOG_ERROR = 0, VB_LOG_WARNING, VB_LOG_NOTICE, VB_LOG_INFO, VB_LOG_DEBUG };

/* ident stands before each line: "vbackup: ", "vbackup-agent[worker]: ".  Level from VBACKUP_LOG
 * (error, warning, notice, info, debug), default notice. */
void vb_log_init(const char *ident);
void vb_log_set_level(enum vb_log_level level);
bool vb_log_enabled(enum vb_log_level level);
void vb_log(enum vb_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The error's text, and its hint on a line of its own. */
void vb_log_error(enum vb_log_level level, const struct vb_error *err);
void vb_log_hold(void);
void vb_log_release(void);

#endif
