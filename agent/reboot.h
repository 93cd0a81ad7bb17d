/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/reboot.h - files that a restore may only replace at the next restart of the machine.
 *
 * They are staged on their own file system, in .vbackup/reboot-JOB (which captures leave out) beside where they belong.
 * When a component is staged whole, STATE/reboot/JOB says what takes whose place.  At boot, before the services start,
 * `vbackup-agent replace` (vbackup-replace.service) renames every file into its place; it may be cut short and run again,
 * because what is in place is no longer staged.  What became of it is told at the next session on the host.
 */
#ifndef VB_AGENT_REBOOT_H
#define VB_AGENT_REBOOT_H

#include "agent/paths.h"
#include "base/mem.h"

/* Whether files staged now would be replaced at the next boot: root, and the unit is enabled.  VB_E_PREREQUISITE. */
int vb_reboot_ready(struct vb_error *err);
/* Directory in which what belongs at `path` (absolute, need not exist) is to be staged: on the same file system, made, ours
 * alone, the n-th of the job; caller frees.  Its own record comes first, so that nothing is forgotten. */
char *vb_reboot_stage(const struct vb_paths *p, const char *job, size_t n, const char *path, struct vb_error *err);
/* From here on the component's files are replaced at the next boot: staged->v[i] takes the place of final->v[i].  Durable. */
int vb_reboot_commit(const struct vb_paths *p, const char *job, const char *component, const struct vb_strv *staged,
                     const struct vb_strv *final, struct vb_error *err);
/* Removes what the job staged and did not commit; job NULL: of all jobs (at boot). */
int vb_reboot_discard(const struct vb_paths *p, const char *job, struct vb_error *err);
/* `vbackup-agent replace`.  What cannot be put in place stays staged and is tried again; -1 then, err is the first reason. */
int vb_reboot_replace(const struct vb_paths *p, struct vb_error *err);
/* One line for every component that was put in place or could not be, since this was asked last. */
int vb_reboot_report(const struct vb_paths *p, struct vb_strv *lines, struct vb_error *err);

/* Puts one staged file or directory in its place: directories are merged, everything else is renamed over what is there.
 * Links on the way to `final` are followed only if they belong to root or to us.  *files counts. */
int vb_reboot_put(const char *staged, const char *final, size_t *files, struct vb_error *err);

struct vb_agent;
int vb_reboot_main(struct vb_agent *a, int argc, char **argv);

#endif
