/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replica/metadata.h - what the files behind vbackup/replica.h share: the object, items in and out, one change applied. */
#ifndef VB_REPLICA_METADATA_H
#define VB_REPLICA_METADATA_H

#include "replica/place.h"
#include "tracking/reconcile.h"

struct vb_metadata {
    struct vb_replica *store;
    int64_t scope;
    struct vb_place *place; /* of a scope; NULL: a store of the program's own */
    struct vb_error last;
};

/* What a call returns: result 0 is VB_OK, else the code of m->last. */
enum vb_code vb_metadata_end(const struct vb_metadata *m, int result);
/* Tells how an opening failed. */
void vb_tell_failure(struct vb_error *err, enum vb_code *code, char **text);

/* A view; strings are borrowed. */
struct vb_metadata_item vb_metadata_item_of(const struct vb_item *i);
/* As much of it as its size says; strings are borrowed.  VB_E_USAGE without path or kind. */
int vb_metadata_item_read(const struct vb_metadata_item *from, struct vb_item *to, struct vb_error *err);

/* A failed application may leave the change for later: `failed`, and then why is in m->last. */
struct vb_applied {
    enum vb_decision what;
    bool failed, dropped;
};
/* Decides about one change and saves its row (within a transaction); own and source as vb_reconcile has them.  saver may be
 * NULL.  policy < 0: the saver's. */
int vb_metadata_apply(struct vb_metadata *m, const struct vb_item *in, const struct vb_knowledge *own, const struct vb_knowledge *source,
                      const struct vb_metadata_saver *saver, int policy, struct vb_applied *out);
/* Versions can be minted after it; not within a transaction. */
int vb_metadata_ticks(struct vb_metadata *m);

#endif
