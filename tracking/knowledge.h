/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tracking/knowledge.h - versions, and knowledge: which versions a replica has seen.
 *
 * A version is (replica, tick).  Knowledge says, per replica, the highest tick whose changes it holds, plus entries for
 * single items that lie higher (applied ahead of the rest) or lower (failed, deferred) than that.  Everything that
 * replication decides - what to send, what to drop, what is a conflict, who is stale - is containment in knowledge
 * (DSN-15, DSN-16); no clock is asked.
 *
 * An item is named by its path below the scope's root: bytes without a zero, compared bytewise (DSN-4).
 * All of this is pure memory; tracking/replica.h keeps it.
 */
#ifndef VB_TRACKING_KNOWLEDGE_H
#define VB_TRACKING_KNOWLEDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "vbackup/replica.h"

#define VB_ITEM_PATH_MAX (1u << 20) /* bytes; longer names in foreign knowledge are refused */

int vb_replica_id_compare(const struct vb_replica_id *a, const struct vb_replica_id *b); /* bytewise */
bool vb_replica_id_is_none(const struct vb_replica_id *id);
void vb_replica_id_hex(const struct vb_replica_id *id, char out[2 * VB_REPLICA_ID_LEN + 1]);
bool vb_replica_id_parse(const char *hex, struct vb_replica_id *out); /* exactly 32 lower-case digits */
bool vb_version_equal(const struct vb_version *a, const struct vb_version *b);

/* What programs may use as well stands in vbackup/replica.h. */

void vb_knowledge_free_ptr(struct vb_knowledge **k);
#define VB_AUTO_KNOWLEDGE __attribute__((cleanup(vb_knowledge_free_ptr))) struct vb_knowledge

/* The first version that `other` has and k has not: for messages that say which replica's tick is missing (DSN-30).
 * Returns false if there is none.  *item is NULL for a main entry, else borrowed from one of the two. */
bool vb_knowledge_missing(const struct vb_knowledge *k, const struct vb_knowledge *other, const char **item,
                          struct vb_version *v);

/* Calls fn for each main entry (item NULL) in order of replica, then for each item entry in order of item and replica.
 * A return other than 0 ends the walk and is returned. */
int vb_knowledge_each(const struct vb_knowledge *k,
                      int (*fn)(void *arg, const char *item, const struct vb_version *v), void *arg);

/*
 * The bytes in which knowledge travels and is kept: one form per value.
 *   u8 1; u32 n, n x (replica, u64 tick); u32 m, m x (u32 length, item, u16 n, n x (replica, u64 tick))
 * big endian, replicas and items strictly ascending, no main tick 0, no item entry equal to the main one.
 */
void vb_knowledge_encode(const struct vb_knowledge *k, struct vb_buf *out);
/* NULL and VB_E_CORRUPT for anything that encode would not write; VB_E_NEWER_FORMAT for another first byte. */
struct vb_knowledge *vb_knowledge_decode(const void *p, size_t n, struct vb_error *err);

#endif
