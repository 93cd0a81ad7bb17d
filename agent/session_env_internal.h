/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_env_internal.h - what the parts of the real environment share.
 *
 *   session_env.c        processes, the window, services, shadow copies, and the table of all
 *   session_env_look.c   what there is on this host
 */
#ifndef VB_AGENT_SESSION_ENV_INTERNAL_H
#define VB_AGENT_SESSION_ENV_INTERNAL_H

#include "agent/session_env.h"
#include "agent/watchdog.h"

struct proc {
    struct vb_real_env *env;
    int pid;
    struct proc *next;
};

struct vb_real_env {
    struct vb_session_env t;
    struct vb_agent *agent;
    struct vb_loop *loop;
    struct vb_real_env_hooks h;
    void *arg;
    struct vb_session *session;
    char host[256];
    int data;
    int shadows;                  /* directory of the records, opened when first needed */
    struct proc *procs;           /* children that run or are to be reaped */
    struct vb_watchdog *watchdog;
    struct vb_service *service;
    struct vb_strv never_revert;
    struct vb_strv adhoc;         /* KEY=VALUE of the ad-hoc writer */
};

/* ---- session_env_look.c: entries of struct vb_session_env ---- */
int vb_real_env_writers(void *arg, const struct vb_job *job, struct vb_child_refs *out, struct vb_error *err);
int vb_real_env_providers(void *arg, struct vb_strv *names, struct vb_error *err);
int vb_real_env_mounts(void *arg, struct vb_mounts *out, struct vb_error *err);
int vb_real_env_exists(void *arg, const char *path, const char *filespec, bool recursive, struct vb_error *err);
bool vb_real_env_replaceable(void *arg, const char *path, const char *filespec, bool recursive);

#endif
