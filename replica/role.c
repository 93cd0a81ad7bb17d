/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/role.c - what a scope does, and how long it remembers deletions: numbers of its store, asked for in each pass. */
#include <config.h>
#include <string.h>
#include "replica/role.h"

#define ROLE "role"
#define MASTER "master"
#define KEEP "tombstone-keep"
#define KEEP_S (180u * 86400)

enum vb_replica_role vb_place_role(const struct vb_place *p)
{
    uint64_t v = 0;
    if (vb_replica_number(p->store, ROLE, &v, NULL) < 0 || v < VB_ROLE_EXPORT || v > VB_ROLE_BOTH)
        return VB_ROLE_BOTH;
    return (enum vb_replica_role)v;
}

int vb_place_set_role(struct vb_place *p, enum vb_replica_role role, struct vb_error *err)
{
    return vb_replica_set_number(p->store, MASTER, 0, err) < 0 ? -1 : vb_replica_set_number(p->store, ROLE, role, err);
}

const char *vb_role_word(enum vb_replica_role role)
{
    return role == VB_ROLE_EXPORT ? "export" : role == VB_ROLE_IMPORT ? "import" : "both";
}

int vb_place_may(const struct vb_place *p, enum vb_replica_role part, struct vb_error *err)
{
    enum vb_replica_role role = vb_place_role(p);
    if (role & part)
        return 0;
    vb_fail(err, VB_E_ACCESS_DENIED, "scope '%s' is not %s: its role is %s", p->scope.name, part == VB_ROLE_EXPORT ? "exported" : "imported",
            vb_role_word(role));
    vb_hint(err, "change it there with: vbackup scope set %s --role=both", p->scope.name);
    return -1;
}

/* Enough of its id to tell one from another. */
static uint64_t brief(const char *replica)
{
    struct vb_replica_id id;
    uint64_t v;
    if (!replica || !vb_replica_id_parse(replica, &id))
        return 0;
    memcpy(&v, id.b, sizeof v);
    return (v >> 1) | 1;
}

int vb_place_check_master(const struct vb_place *p, const char *replica, struct vb_error *err)
{
    uint64_t is = 0;
    if (vb_place_role(p) != VB_ROLE_IMPORT || vb_replica_number(p->store, MASTER, &is, NULL) < 0 || !is || is == brief(replica))
        return 0;
    vb_fail(err, VB_E_GUARD, "scope '%s' takes its changes from another replica already", p->scope.name);
    vb_hint(err, "if this one is to take over: vbackup scope set %s --role=import, at the target", p->scope.name);
    return -1;
}

int vb_place_keep_master(struct vb_place *p, const char *replica, struct vb_error *err)
{
    return vb_place_role(p) == VB_ROLE_IMPORT ? vb_replica_set_number(p->store, MASTER, brief(replica), err) : 0;
}

uint64_t vb_place_tombstone_keep(const struct vb_place *p)
{
    uint64_t v = 0;
    return vb_replica_number(p->store, KEEP, &v, NULL) < 0 || v == 0 ? KEEP_S : v;
}

int vb_place_set_tombstone_keep(struct vb_place *p, uint64_t seconds, struct vb_error *err)
{
    return vb_replica_set_number(p->store, KEEP, seconds, err);
}

int vb_place_forget_old(struct vb_place *p, bool *clock_back, struct vb_error *err)
{
    const struct vb_expiry x = { .keep_ms = vb_place_tombstone_keep(p) * 1000 };
    uint64_t removed;
    if (vb_replica_begin(p->store, err) < 0)
        return -1;
    if (vb_replica_expire(p->store, p->scope.id, &x, &removed, clock_back, err) < 0) {
        vb_replica_rollback(p->store);
        return -1;
    }
    return vb_replica_commit(p->store, err);
}
