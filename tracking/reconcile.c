/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tracking/reconcile.c - contained, applied, converged or in conflict; and who wins. */
#include <config.h>
#include <string.h>
#include "base/mem.h"
#include "tracking/reconcile.h"

#define NAME_BYTES 255u

static int versions_order(const struct vb_version *a, const struct vb_version *b)
{
    int c = vb_replica_id_compare(&a->replica, &b->replica);
    return c ? c : a->tick < b->tick ? -1 : a->tick > b->tick;
}

int vb_item_order(const struct vb_item *a, const struct vb_item *b)
{
    if (a->deleted != b->deleted)
        return a->deleted ? -1 : 1;
    if (a->origin.mtime_ns != b->origin.mtime_ns)
        return a->origin.mtime_ns < b->origin.mtime_ns ? -1 : 1;
    return versions_order(&a->origin.version, &b->origin.version);
}

const struct vb_item *vb_converged(const struct vb_item *a, const struct vb_item *b)
{
    int c = vb_item_order(a, b);
    if (c == 0) /* one change that was resolved at two places: any order does that all use */
        c = versions_order(&a->changed, &b->changed);
    return c >= 0 ? a : b;
}

enum vb_decision vb_reconcile(const struct vb_item *local, const struct vb_item *incoming, const struct vb_knowledge *own,
                              const struct vb_knowledge *source, enum vb_conflict_policy policy)
{
    if (vb_knowledge_contains(own, incoming->path, &incoming->changed) ||
        (local && vb_version_equal(&local->changed, &incoming->changed)))
        return VB_DECIDE_DROP;
    if (!local || vb_knowledge_contains(source, incoming->path, &local->changed))
        return VB_DECIDE_APPLY;
    if (vb_item_same(local, incoming))
        return VB_DECIDE_CONVERGE;
    switch (policy) {
    case VB_POLICY_SOURCE:
        return VB_DECIDE_THEIRS;
    case VB_POLICY_TARGET:
        return VB_DECIDE_OURS;
    case VB_POLICY_DEFER:
        return VB_DECIDE_DEFER;
    case VB_POLICY_BOTH:
    case VB_POLICY_NEWER:
        break;
    }
    return vb_item_order(local, incoming) >= 0 ? VB_DECIDE_OURS : VB_DECIDE_THEIRS;
}

char *vb_conflict_name(const char *path, const struct vb_origin *loser)
{
    char id[2 * VB_REPLICA_ID_LEN + 1];
    vb_replica_id_hex(&loser->version.replica, id);
    VB_AUTO_FREE char *stamp = vb_printf(".conflict-%lld-%.16s-%llu", (long long)loser->mtime_ns, id,
                                         (unsigned long long)loser->version.tick);
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name || strlen(dot) > 16)
        dot = name + strlen(name);
    size_t stem = (size_t)(dot - name), tail = strlen(stamp) + strlen(dot);
    if (stem + tail > NAME_BYTES)
        stem = NAME_BYTES - tail;
    return vb_printf("%.*s%.*s%s%s", (int)(name - path), path, (int)stem, name, stamp, dot);
}
