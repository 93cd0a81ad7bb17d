/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fakes/agent_host_internal.h - what the parts of the fake host share.
 *
 *   agent_host.c            the environment of its session
 *   agent_host_children.c   the processes in it
 *   agent_host_talk.c       a requester to speak to it
 */
#ifndef VB_TESTS_FAKES_AGENT_HOST_INTERNAL_H
#define VB_TESTS_FAKES_AGENT_HOST_INTERNAL_H

#include "tests/fakes/agent_host.h"

/* Everything that takes time. */
struct vb_fake_later {
    struct vb_fake_host *h;
    void (*fn)(struct vb_fake_later *l);
    struct vb_fake_writer *w;
    struct vb_fake_provider *p;
    unsigned gen;
    struct vb_msg m;
    enum vb_event ev;
    int call;
    char *text;
    bool flag;
};

void vb_fake_note(struct vb_fake_host *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One to be given to the loop with vb_fake_run_later, which frees it. */
struct vb_fake_later *vb_fake_later(struct vb_fake_host *h, void (*fn)(struct vb_fake_later *l));
void vb_fake_run_later(void *later);

int vb_fake_env_start(void *arg, enum vb_child_kind kind, const struct vb_child_ref *who, struct vb_child *out,
                      struct vb_error *err);
void vb_fake_env_stop(void *arg, struct vb_child *c, bool kill);

#endif
