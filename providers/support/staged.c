/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * providers/support/staged.c - see staged.h.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "providers/support/staged.h"

int vb_ps_staged_open(void *host, const struct vb_provider_services *svc, void **ctx)
{
    struct vb_ps_staged *c = vb_ps_alloc(sizeof *c);
    c->s = (struct vb_ps){ host, svc };
    *ctx = c;
    return 0;
}

static void forget(struct vb_ps_staged *c)
{
    while (c->volumes) {
        struct vb_ps_staged_volume *v = c->volumes;
        c->volumes = v->next;
        if (v->stage >= 0)
            close(v->stage);
        vb_ps_record_clear(&v->record);
        vb_ps_originals_clear(&v->originals);
        free(v->above);
        free(v);
    }
}

void vb_ps_staged_close(void *ctx)
{
    forget(ctx);
    free(ctx);
}

int vb_ps_staged_begin(struct vb_ps_staged *c, const char *set_id, const struct vb_provider_volume *vol, char *above)
{
    char *trees = vb_ps_tree_join(&c->s, vol);
    if (!trees) {
        free(above);
        return -1;
    }
    struct vb_ps_staged_volume *v = vb_ps_alloc(sizeof *v);
    v->stage = -1;
    v->above = above;
    v->record = (struct vb_ps_record){ .snapshot_id = vb_ps_strdup(vol->snapshot_id),
                                       .set_id = vb_ps_strdup(set_id),
                                       .mount_point = vb_ps_strdup(vol->mount_point),
                                       .source = vb_ps_strdup(vol->mount_point),
                                       .trees = trees };
    v->next = c->volumes;
    c->volumes = v;
    return 0;
}

/* The record first: whatever is made afterwards is known to who comes after us. */
static int make_stage(struct vb_ps_staged *c, struct vb_ps_staged_volume *v)
{
    char *hidden = vb_ps_place_in(v->above);
    v->record.place = vb_ps_printf("%s/%s", hidden, v->record.snapshot_id);
    free(hidden);
    int rc = vb_ps_record_save(&c->s, &v->record);
    int place = rc == 0 ? vb_ps_place_open(&c->s, v->above) : -1;
    if (place < 0)
        return -1;
    if (mkdirat(place, v->record.snapshot_id, 0700) == 0)
        v->stage = openat(place, v->record.snapshot_id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (v->stage < 0)
        rc = vb_ps_fail_errno(&c->s, errno, "Set 'place' to a directory that can be written to.",
                              "directory '%s' cannot be made", v->record.place);
    close(place);
    return rc;
}

int vb_ps_staged_end_prepare(void *ctx, const char *set_id)
{
    struct vb_ps_staged *c = ctx;
    (void)set_id;
    for (struct vb_ps_staged_volume *v = c->volumes; v; v = v->next)
        if (make_stage(c, v) < 0)
            return -1;
    return 0;
}

int vb_ps_staged_copy(struct vb_ps_staged *c, const struct vb_ps_tree *how)
{
    struct vb_ps_tree t = *how; /* the limits are those of the whole set */
    int rc = 0;
    t.s = &c->s;
    for (struct vb_ps_staged_volume *v = c->volumes; v && rc == 0; v = v->next) {
        t.stage = v->stage;
        t.originals = t.clone ? &v->originals : NULL;
        rc = vb_ps_tree_copy_list(&t, v->record.trees);
        vb_ps_tree_clear(&t);
    }
    return rc;
}

int vb_ps_staged_post_commit(void *ctx, const char *set_id, unsigned *n_created)
{
    struct vb_ps_staged *c = ctx;
    (void)set_id;
    for (struct vb_ps_staged_volume *v = c->volumes; v; v = v->next)
        *n_created += 1;
    return 0;
}

int vb_ps_staged_pre_final(void *ctx, const char *set_id)
{
    struct vb_ps_staged *c = ctx;
    (void)set_id;
    for (struct vb_ps_staged_volume *v = c->volumes; v; v = v->next) {
        vb_ps_originals_settle(&v->originals); /* before a writer may change a copy */
        if (vb_ps_record_created(&c->s, &v->record) < 0)
            return -1;
    }
    return 0;
}

int vb_ps_staged_post_final(void *ctx, const char *set_id)
{
    struct vb_ps_staged *c = ctx;
    (void)set_id;
    for (struct vb_ps_staged_volume *v = c->volumes; v; v = v->next)
        if (v->originals.n)
            vb_ps_originals_write(&v->originals, v->stage);
    forget(c);
    return 0;
}

static int remove_shadow(void *ctx, const struct vb_ps_record *r)
{
    struct vb_ps_staged *c = ctx;
    if (vb_ps_record_check_place(&c->s, r) < 0 || vb_ps_tree_remove(&c->s, r->place) < 0)
        return -1;
    vb_ps_place_leave(r->place);
    return vb_ps_record_remove(&c->s, r->snapshot_id);
}

int vb_ps_staged_abort(void *ctx, const char *set_id)
{
    struct vb_ps_staged *c = ctx;
    int rc = 0;
    (void)set_id;
    for (struct vb_ps_staged_volume *v = c->volumes; v; v = v->next)
        if (v->record.place && remove_shadow(c, &v->record) < 0)
            rc = -1;
    forget(c);
    return rc;
}

int vb_ps_staged_delete(void *ctx, const char *snapshot_id)
{
    return vb_ps_delete(&((struct vb_ps_staged *)ctx)->s, snapshot_id, remove_shadow, ctx);
}

int vb_ps_staged_path(void *ctx, const char *snapshot_id, const char *path, char **out)
{
    return vb_ps_path(&((struct vb_ps_staged *)ctx)->s, snapshot_id, path, out);
}

int vb_ps_staged_query(void *ctx,
                       int (*fn)(void *arg, const char *snapshot_id, const char *set_id, const char *mount_point,
                                 const char *path, int64_t created_sec), void *arg)
{
    return vb_ps_query(&((struct vb_ps_staged *)ctx)->s, fn, arg);
}
