/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * agent/provider_internal.h - what the parts of a provider's process share.
 *
 *   provider_host.c    services, the set and the order of its calls, the conversation
 *   provider_calls.c   calls about one volume or one shadow copy
 */
#ifndef VB_AGENT_PROVIDER_INTERNAL_H
#define VB_AGENT_PROVIDER_INTERNAL_H

#include "agent/provider_host.h"
#include "base/mem.h"
#include "base/text.h"
#include "vbackup/provider.h"
#include "wire/conn.h"

enum set_state { NONE, PREPARING, PREPARED, PRECOMMITTED, COMMITTED, POSTCOMMITTED, PREFINAL, CREATED, ABORTED };

struct vb_phost {
    struct vb_provider p; /* our copy: the smaller of both sizes, the rest absent */
    void *ctx;
    int fd;
    char *state_dir;
    const char *const *options;
    size_t n_options;
    enum set_state state;
    char *set_id;
    unsigned volumes;        /* taken by begin_prepare */
    struct vb_error error;   /* what the provider said in the call that runs */
    struct vb_strv held;     /* log lines */
    bool hold_log;
    uint64_t deadline_ms;    /* monotonic; 0: none */
};

/* ---- provider_host.c ---- */
/* What the provider said in `call` becomes an error within its contract, in h->error. */
void vb_ph_failed(struct vb_phost *h, const char *call);
bool vb_ph_in_progress(const struct vb_phost *h);
/* Drops what is being made; the reason it is dropped for stays in h->error. */
void vb_ph_drop_set(struct vb_phost *h);
/* Drops the set for a call that should not have come; always -1. */
int vb_ph_veto(struct vb_phost *h, const char *call, const char *why);

/* ---- provider_calls.c: 0, or -1 with h->error; what they answer goes to done ---- */
int vb_ph_supports(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done);
int vb_ph_begin(struct vb_phost *h, const struct vb_msg *m, const char *set_id);
int vb_ph_path(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done);
int vb_ph_delete(struct vb_phost *h, const struct vb_msg *m);
int vb_ph_check(struct vb_phost *h, const struct vb_msg *m);
int vb_ph_revert(struct vb_phost *h, const struct vb_msg *m, const char *set_id);
int vb_ph_make_writable(struct vb_phost *h, const struct vb_msg *m);
int vb_ph_send(struct vb_phost *h, const struct vb_msg *m, struct vb_msg *done);
int vb_ph_receive(struct vb_phost *h, const struct vb_msg *m, const char *set_id);
int vb_ph_query(struct vb_phost *h, struct vb_msg *done);

#endif
