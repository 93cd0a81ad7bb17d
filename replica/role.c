/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/role.c - what a scope does: kept in its store as a number, asked for at the beginning of each pass. */
#include <config.h>
#include "replica/role.h"

#define ROLE "role"

enum vb_replica_role vb_place_role(const struct vb_place *p)
{
    uint64_t v = 0;
    if (vb_replica_number(p->store, ROLE, &v, NULL) < 0 || v < VB_ROLE_EXPORT || v > VB_ROLE_BOTH)
        return VB_ROLE_BOTH;
    return (enum vb_replica_role)v;
}

int vb_place_set_role(struct vb_place *p, enum vb_replica_role role, struct vb_error *err)
{
    return vb_replica_set_number(p->store, ROLE, role, err);
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
