/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/live/live.c - no shadow copy at all: the original is read, and everybody is told so.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "providers/support/support.h"

#define ATTRIBUTES (VB_SA_NO_AUTORECOVERY | VB_SA_NO_WRITERS)

static int live_open(void *host, const struct vb_provider_services *svc, void **ctx)
{
    struct vb_ps *s = vb_ps_alloc(sizeof *s);
    *s = (struct vb_ps){ host, svc };
    *ctx = s;
    return 0;
}

static void live_close(void *ctx)
{
    free(ctx);
}

static int live_supports(void *ctx, const struct vb_provider_volume *vol, struct vb_provider_support *out)
{
    (void)ctx;
    (void)vol;
    out->supported = 1;
    snprintf(out->why, sizeof out->why,
             "there is no shadow copy: files are read one after the other while they may change");
    out->hold = VB_HOLD_NONE;
    out->attributes = ATTRIBUTES;
    out->without_writers = VB_CONSISTENCY_NONE;
    return 0;
}

static int live_post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    (void)ctx;
    (void)set_id;
    *n_created = 0; /* nothing was made */
    return 0;
}

static int live_path(void *ctx, const char *snapshot_id, const char *path, char **out)
{
    (void)ctx;
    (void)snapshot_id;
    *out = vb_ps_strdup(path);
    return 0;
}

extern const struct vb_provider vb_provider_live;
const struct vb_provider vb_provider_live = {
    .size = sizeof(struct vb_provider),
    .magic = VB_PROVIDER_MAGIC,
    .abi = VB_PROVIDER_ABI,
    .id = "d40d3a1e-3d66-4d6c-9b8e-4a4e9b3a5c00",
    .name = "live",
    .version = PACKAGE_VERSION,
    .type = VB_PROVIDER_SYSTEM,
    .preference = 0,
    .open = live_open,
    .close = live_close,
    .supports = live_supports,
    .post_commit = live_post_commit,
    .snapshot_path = live_path,
};
