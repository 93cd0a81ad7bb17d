/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/session_env.h - the real environment of a session: processes, the mount table, services, the watchdog.
 */
#ifndef VB_AGENT_SESSION_ENV_H
#define VB_AGENT_SESSION_ENV_H

#include "agent/agent.h"
#include "agent/session.h"

struct vb_real_env;

struct vb_real_env_hooks { /* what only the worker can do */
    void (*slot)(void *arg, bool want);
    void (*reply)(void *arg, const struct vb_msg *m);
    void (*event)(void *arg, struct vb_msg *m);
    void (*window)(void *arg, bool inside);
    int (*keep)(void *arg, const char *name, const void *p, size_t n, struct vb_error *err);
    void (*ended)(void *arg, const struct vb_error *why);
};

struct vb_real_env *vb_real_env_new(struct vb_agent *a, struct vb_loop *l, struct vb_journal *j,
                                    const struct vb_real_env_hooks *h, void *arg, struct vb_error *err);
void vb_real_env_free(struct vb_real_env *e);
const struct vb_session_env *vb_real_env_table(const struct vb_real_env *e);
/* The session that answers go to. */
void vb_real_env_bind(struct vb_real_env *e, struct vb_session *s);
/* A data stream (taken; an unused earlier one is closed). */
void vb_real_env_data(struct vb_real_env *e, int fd);
/* True while a child that was told to end is still there. */
bool vb_real_env_children(const struct vb_real_env *e);

/* Whether anything below path matches; see vb_session_env.exists. */
int vb_exists_match(const char *path, const char *filespec, bool recursive, struct vb_error *err);

#endif
