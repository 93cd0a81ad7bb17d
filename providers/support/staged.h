/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/staged.h - what providers have in common that copy trees into a directory of their own: reflink
 * (clones, on the same file system) and freeze-only (copies, on another one).
 *
 * The callbacks below go into struct vb_provider as they are; their context is a struct vb_ps_staged.  A provider adds
 * supports, begin_prepare (where the copies go) and commit (how they are made).
 */
#ifndef VB_PROVIDERS_STAGED_H
#define VB_PROVIDERS_STAGED_H

#include "providers/support/tree.h"

struct vb_ps_staged_volume {
    struct vb_ps_record record;
    char *above; /* directory that holds the hidden one */
    int stage;   /* descriptor of the shadow copy's directory, from end_prepare on */
    struct vb_ps_originals originals; /* of clones */
    struct vb_ps_staged_volume *next;
};

struct vb_ps_staged {
    struct vb_ps s;
    struct vb_ps_staged_volume *volumes; /* of the set being made */
};

int vb_ps_staged_open(void *host, const struct vb_provider_services *svc, void **ctx);
void vb_ps_staged_close(void *ctx);
/* begin_prepare, once `above` is known; takes it. */
int vb_ps_staged_begin(struct vb_ps_staged *c, const char *set_id, const struct vb_provider_volume *vol, char *above);
/* Makes the directories: all that can fail for lack of rights. */
int vb_ps_staged_end_prepare(void *ctx, const char *set_id);
/* Copies every tree of every volume by the limits and the manner of `how`. */
int vb_ps_staged_copy(struct vb_ps_staged *c, const struct vb_ps_tree *how);
int vb_ps_staged_post_commit(void *ctx, const char *set_id, unsigned *n_created);
/* The records are completed here and not in post_commit: they are synced, and the writers wait for post_commit. */
int vb_ps_staged_pre_final(void *ctx, const char *set_id);
/* The copies are ours alone: nobody else can reach them, so nothing has to be made read-only. */
int vb_ps_staged_post_final(void *ctx, const char *set_id);
int vb_ps_staged_abort(void *ctx, const char *set_id);
int vb_ps_staged_delete(void *ctx, const char *snapshot_id);
int vb_ps_staged_path(void *ctx, const char *snapshot_id, const char *path, char **out);
int vb_ps_staged_query(void *ctx,
                       int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                                 const char *path, int64_t created_sec), void *arg);

#endif
