/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/role.h - whether a scope is exported, imported, or both; and scopes that are registered before their tree exists. */
#ifndef VB_REPLICA_ROLE_H
#define VB_REPLICA_ROLE_H

#include "replica/place.h"

/* Both, unless it was set otherwise (REP-2). */
enum vb_replica_role vb_place_role(const struct vb_place *p);
/* Needs a transaction. */
int vb_place_set_role(struct vb_place *p, enum vb_replica_role role, struct vb_error *err);
/* VB_E_ACCESS_DENIED if the scope does not do that. */
int vb_place_may(const struct vb_place *p, enum vb_replica_role part, struct vb_error *err);
const char *vb_role_word(enum vb_replica_role role); /* "export", "import", "both" */

/* An importing scope has one master, the first that brought it something: VB_E_GUARD for another (REP-10, T76).  Setting
 * the role, to the same even, frees it. */
int vb_place_check_master(const struct vb_place *p, const char *replica, struct vb_error *err);
/* Needs a transaction. */
int vb_place_keep_master(struct vb_place *p, const char *replica, struct vb_error *err);
/* How long deletions are remembered, in seconds: 180 days unless it was set otherwise (DSN-24). */
uint64_t vb_place_tombstone_keep(const struct vb_place *p);
int vb_place_set_tombstone_keep(struct vb_place *p, uint64_t seconds, struct vb_error *err); /* needs a transaction */
/* Forgets those that are older, by the store's own elapsed time.  *clock_back: the clock went backwards, nothing was done. */
int vb_place_forget_old(struct vb_place *p, bool *clock_back, struct vb_error *err);

/* Registers an importing scope of that identity without making its directory (REP-29, T75): it is made by the first
 * vb_place_open while no lock holds it. */
int vb_place_advance(const struct vb_place_setup *s, const char *name, const char *root, const char *guid,
                     const struct vb_scope_settings *settings, struct vb_error *err);

#endif
