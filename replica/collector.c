/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/collector.c - vbackup/replica.h: the collector of a metadata store, which imports what a synchronizer sends. */
#include <config.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "replica/synchronize.h"

struct vb_collector {
    struct vb_metadata *m;
    struct vb_metadata_saver saver;
    struct vb_sync_state *state;  /* of this store: what the sender has; may be NULL */
    struct vb_knowledge *source;  /* the sender's, of the last import */
    unsigned flags;
    bool configured;
};

struct vb_collector *vb_collector_open(struct vb_metadata *m, const struct vb_metadata_saver *saver)
{
    struct vb_collector *c = vb_alloc(sizeof *c);
    c->m = m;
    c->saver = (struct vb_metadata_saver)VB_METADATA_SAVER_INIT;
    if (saver)
        memcpy(&c->saver, saver, saver->size < sizeof c->saver ? saver->size : sizeof c->saver);
    return c;
}

void vb_collector_close(struct vb_collector *c)
{
    if (!c)
        return;
    vb_knowledge_free(c->source);
    free(c);
}

static int config(void *arg, struct vb_sync_state *state, unsigned flags)
{
    struct vb_collector *c = arg;
    c->state = state;
    c->flags = flags;
    c->configured = true;
    return VB_SYNC_DONE;
}

static int update_state(void *arg, struct vb_sync_state *state)
{
    struct vb_collector *c = arg;
    struct vb_sync_state *to = state ? state : c->state;
    if (to && c->source)
        vb_knowledge_join(to->k, c->source); /* nothing of theirs goes back to them (ICS-12, ICS-35) */
    return VB_SYNC_DONE;
}

static const char *last_error(void *arg)
{
    return vb_metadata_error(((struct vb_collector *)arg)->m);
}

static void keep_source(struct vb_collector *c, const struct vb_knowledge *source)
{
    if (c->source && vb_knowledge_equal(c->source, source))
        return;
    vb_knowledge_free(c->source);
    c->source = vb_knowledge_copy(source);
}

/* Within a transaction: a result, and VB_SYNC_FAILED with the text of the store. */
static int apply(struct vb_collector *c, const struct vb_item *i, const struct vb_knowledge *source)
{
    struct vb_metadata *m = c->m;
    struct vb_applied a;
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(m->store, m->scope, "", NULL, &m->last);
    if (!own || vb_metadata_apply(m, i, own, source, &c->saver, c->flags & VB_SYNC_NO_CONFLICTS ? (int)VB_POLICY_DEFER : -1, &a) < 0 || a.failed)
        return VB_SYNC_FAILED;
    if (a.what == VB_DECIDE_DEFER) {
        vb_fail(&m->last, VB_E_CONFLICT, "'%s' was changed on both sides", i->path);
        return VB_SYNC_CONFLICT;
    }
    return VB_SYNC_DONE;
}

static int ended(struct vb_collector *c, int result)
{
    if (result == VB_SYNC_DONE || result == VB_SYNC_NEWER_HERE) {
        if (vb_replica_commit(c->m->store, &c->m->last) == 0)
            return result;
        return VB_SYNC_FAILED;
    }
    vb_replica_rollback(c->m->store);
    return result;
}

static int begin(struct vb_collector *c, const struct vb_metadata_item *given, struct vb_item *i, const struct vb_knowledge *source)
{
    struct vb_metadata *m = c->m;
    vb_error_clear(&m->last);
    if (!c->configured) {
        vb_fail(&m->last, VB_E_BAD_STATE, "the collector was not configured");
        return VB_SYNC_UNSYNCHRONIZED;
    }
    if ((given && vb_metadata_item_read(given, i, &m->last) < 0) || vb_metadata_ticks(m) < 0 || vb_replica_begin(m->store, &m->last) < 0)
        return VB_SYNC_FAILED;
    keep_source(c, source);
    return VB_SYNC_DONE;
}

/* 1 live, 0 deleted, -1 no row */
static int life_of(struct vb_metadata *m, const char *path, struct vb_version *changed)
{
    struct vb_item row;
    if (vb_replica_find(m->store, m->scope, path, &row, NULL) < 0)
        return -1;
    int live = !row.deleted;
    if (changed)
        *changed = row.changed;
    vb_item_clear(&row);
    return live;
}

static bool has_parent(struct vb_metadata *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    VB_AUTO_FREE char *dir = slash ? vb_strndup(path, (size_t)(slash - path)) : NULL;
    return !dir || life_of(m, dir, NULL) == 1;
}

/* In the order of ICS-22. */
static int take_change(struct vb_collector *c, const struct vb_item *i, const struct vb_knowledge *source)
{
    struct vb_metadata *m = c->m;
    if (!has_parent(m, i->path)) {
        vb_fail(&m->last, VB_E_OBJECT_NOT_FOUND, "the directory of '%s' is not known", i->path);
        return VB_SYNC_NO_PARENT;
    }
    VB_AUTO_KNOWLEDGE *own = vb_replica_knowledge(m->store, m->scope, "", NULL, &m->last);
    if (!own)
        return VB_SYNC_FAILED;
    if (life_of(m, i->path, NULL) == 0 && vb_knowledge_contains(own, i->path, &i->changed))
        return VB_SYNC_OBJECT_DELETED;
    return apply(c, i, source);
}

static int import_change(void *arg, const struct vb_metadata_item *item, const struct vb_knowledge *source, unsigned fields)
{
    struct vb_collector *c = arg;
    struct vb_item i;
    (void)fields;
    int result = begin(c, item, &i, source);
    return result == VB_SYNC_DONE ? ended(c, take_change(c, &i, source)) : result;
}

/* Left the restriction: gone here, and no tombstone (MSS-12, ICS-36). */
static int soft_delete(struct vb_collector *c, const struct vb_metadata_item *item)
{
    struct vb_metadata *m = c->m;
    if (life_of(m, item->path, NULL) != 1)
        return VB_SYNC_DONE;
    if (c->saver.erase && c->saver.erase(c->saver.arg, item) != VB_OK)
        return VB_SYNC_FAILED;
    return vb_replica_forget_item(m->store, m->scope, item->path, &m->last) < 0 ? VB_SYNC_FAILED : VB_SYNC_DONE;
}

static int import_deletion(void *arg, unsigned flags, const struct vb_metadata_item *const *items, size_t n, const struct vb_knowledge *source)
{
    struct vb_collector *c = arg;
    struct vb_item i;
    int result = begin(c, NULL, NULL, source);
    if (result != VB_SYNC_DONE)
        return result;
    for (size_t k = 0; k < n && result == VB_SYNC_DONE; k++) {
        if (flags & VB_SYNC_SOFT_DELETE)
            result = soft_delete(c, items[k]);
        else
            result = vb_metadata_item_read(items[k], &i, &c->m->last) < 0 ? VB_SYNC_FAILED : apply(c, &i, source);
    }
    return ended(c, result);
}

static int import_move(void *arg, const struct vb_metadata_item *from, const struct vb_metadata_item *item, const struct vb_knowledge *source)
{
    struct vb_collector *c = arg;
    struct vb_metadata *m = c->m;
    struct vb_item i, gone;
    struct vb_version here;
    size_t n = strlen(from->path);
    if (!strncmp(item->path, from->path, n) && item->path[n] == '/') {
        vb_error_clear(&m->last);
        vb_fail(&m->last, VB_E_CONFLICT, "'%s' cannot be moved below itself", from->path);
        return VB_SYNC_INCEST;
    }
    int result = begin(c, item, &i, source);
    if (result != VB_SYNC_DONE)
        return result;
    result = vb_metadata_item_read(from, &gone, &m->last) < 0 ? VB_SYNC_FAILED : VB_SYNC_DONE;
    bool newer = life_of(m, item->path, &here) == 1 && !vb_knowledge_contains(source, item->path, &here);
    if (result == VB_SYNC_DONE && !newer)
        result = take_change(c, &i, source);
    if (result == VB_SYNC_DONE || result == VB_SYNC_OBJECT_DELETED)
        result = apply(c, &gone, source);
    return ended(c, result == VB_SYNC_DONE && newer ? VB_SYNC_NEWER_HERE : result);
}

const struct vb_collector_ops *vb_collector_functions(void)
{
    static const struct vb_collector_ops ops = { sizeof ops,  config,       import_change, import_deletion,
                                                 import_move, update_state, last_error };
    return &ops;
}
